/* SPDX-License-Identifier: Apache-2.0 */
/* What a certificate says: its names in one spelling, usages, end. */
#include "backend/tls.h"

#include <arpa/inet.h>
#include <hvrepl/authorisation.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bool hvri_tls_canonical(const char *name,
			char out[HVREPL_PEER_NAME_MAX + 1])
{
	return hvrepl_peer_name_fold(name, out) == 1;
}

static bool dns_name(const GENERAL_NAME *name,
		     char out[HVREPL_PEER_NAME_MAX + 1])
{
	const ASN1_IA5STRING *text;
	char copy[HVREPL_PEER_NAME_MAX + 1];
	int length;

	if (name->type != GEN_DNS)
		return false;
	text = name->d.dNSName;
	length = ASN1_STRING_length(text);
	if (length <= 0 || length > (int)HVREPL_PEER_NAME_MAX ||
	    memchr(ASN1_STRING_get0_data(text), 0, (size_t)length) != NULL)
		return false;
	memcpy(copy, ASN1_STRING_get0_data(text), (size_t)length);
	copy[length] = 0;
	/* A wildcard has a character that no name may have. */
	return hvri_tls_canonical(copy, out);
}

static bool address_name(const GENERAL_NAME *name,
			 char out[HVREPL_PEER_NAME_MAX + 1])
{
	int length, family;

	if (name->type != GEN_IPADD)
		return false;
	length = ASN1_STRING_length(name->d.iPAddress);
	family = length == 4 ? AF_INET : AF_INET6;
	return (length == 4 || length == 16) &&
	       inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), out,
			 HVREPL_PEER_NAME_MAX + 1) != NULL;
}

int32_t hvri_tls_names_of(X509 *cert, struct hvri_tls_names *names_out)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL,
					      NULL);
	int total = all == NULL ? 0 : sk_GENERAL_NAME_num(all);
	struct hvri_tls_names names = { 0 };

	if (total > (int)HVRI_TLS_NAMES_MAX)
		total = (int)HVRI_TLS_NAMES_MAX;
	if (total > 0) {
		names.names = calloc((size_t)total, sizeof(*names.names));
		if (names.names == NULL) {
			GENERAL_NAMES_free(all);
			return HVREPL_E_NOMEM;
		}
	}
	for (int i = 0; i < total; i++)
		if (dns_name(sk_GENERAL_NAME_value(all, i),
			     names.names[names.count]))
			names.count++;
	names.dns_count = names.count;
	for (int i = 0; i < total; i++)
		if (address_name(sk_GENERAL_NAME_value(all, i),
				 names.names[names.count]))
			names.count++;
	GENERAL_NAMES_free(all);
	*names_out = names;
	return HVREPL_OK;
}

void hvri_tls_names_free(struct hvri_tls_names *names)
{
	free(names->names);
	*names = (struct hvri_tls_names){ 0 };
}

bool hvri_tls_has_both_usages(X509 *cert)
{
	const uint32_t both = XKU_SSL_SERVER | XKU_SSL_CLIENT;
	uint32_t usages = X509_get_extended_key_usage(cert);

	/* UINT32_MAX: no such extension, which would allow anything. */
	return usages != UINT32_MAX && (usages & both) == both;
}

uint64_t hvri_tls_time(const ASN1_TIME *time)
{
	struct tm when;
	time_t seconds;

	if (time == NULL || ASN1_TIME_to_tm(time, &when) != 1)
		return 0;
	seconds = timegm(&when);
	/* Dates end at 9999, ns in 64 bits at 2554. */
	if (seconds <= 0)
		return 0;
	return (uint64_t)seconds > UINT64_MAX / 1000000000u ?
		       UINT64_MAX : (uint64_t)seconds * 1000000000u;
}

uint64_t hvri_tls_not_after(const X509 *cert)
{
	return hvri_tls_time(X509_get0_notAfter(cert));
}
