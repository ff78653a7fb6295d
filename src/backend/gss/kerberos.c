/* SPDX-License-Identifier: Apache-2.0 */
/* Kerberos credentials: keytab, own principal, names of others, tickets. */
#include "backend/gss/gss.h"

#include "backend/fileio.h"

#include <errno.h>
#include <hvrepl/authorisation.h>
#include <krb5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SERVICE_DEFAULT "hvrepl"

/* MIT's own text of a failure, as far as it is plain. */
static void reason_of(krb5_context context, krb5_error_code failed,
		      char out[HVREPL_SENTENCE_MAX / 2])
{
	const char *text = krb5_get_error_message(context, failed);

	snprintf(out, HVREPL_SENTENCE_MAX / 2, "%s", text);
	krb5_free_error_message(context, text);
	for (char *at = out; *at != 0; at++)
		if (*at < 0x20 || *at >= 0x7f)
			*at = '?';
}

static krb5_error_code canonical(krb5_context context, const char *text,
				 char out[HVREPL_PEER_NAME_MAX + 1])
{
	krb5_principal principal = NULL;
	char *full = NULL;
	krb5_error_code failed = krb5_parse_name(context, text, &principal);

	if (failed == 0)
		failed = krb5_unparse_name(context, principal, &full);
	if (failed == 0 && !hvri_gss_is_plain(full, strlen(full)))
		failed = KRB5_PARSE_MALFORMED;
	if (failed == 0)
		strcpy(out, full);
	krb5_free_unparsed_name(context, full);
	krb5_free_principal(context, principal);
	return failed;
}

/* "host" to "service/host". False: it cannot be a name. */
static bool spell_out(const struct hvri_kerberos *kerberos, const char *name,
		      char out[2 * HVREPL_PEER_NAME_MAX])
{
	size_t length = strlen(name);
	char host[HVREPL_PEER_NAME_MAX + 1];

	if (!hvri_gss_is_plain(name, length))
		return false;
	if (strpbrk(name, "/@") != NULL) {
		memcpy(out, name, length + 1);
		return true;
	}
	if (hvrepl_peer_name_fold(name, host) < 0)
		return false;
	snprintf(out, 2 * HVREPL_PEER_NAME_MAX, "%s/%s", kerberos->service,
		 host);
	return true;
}

int32_t hvri_kerberos_canonical(const struct hvri_kerberos *kerberos,
				const char *name,
				char out[HVREPL_PEER_NAME_MAX + 1])
{
	char text[2 * HVREPL_PEER_NAME_MAX];
	krb5_context context;
	krb5_error_code failed;

	if (!spell_out(kerberos, name, text))
		return HVREPL_E_INVALID;
	if (krb5_init_context(&context) != 0)
		return HVREPL_E_UNAVAILABLE;
	failed = canonical(context, text, out);
	krb5_free_context(context);
	return failed == 0 ? HVREPL_OK : HVREPL_E_INVALID;
}

static bool is_aes(krb5_enctype enctype)
{
	return enctype == ENCTYPE_AES128_CTS_HMAC_SHA1_96 ||
	       enctype == ENCTYPE_AES256_CTS_HMAC_SHA1_96 ||
	       enctype == ENCTYPE_AES128_CTS_HMAC_SHA256_128 ||
	       enctype == ENCTYPE_AES256_CTS_HMAC_SHA384_192;
}

struct found {
	bool principal, aes;
	char other[HVREPL_PEER_NAME_MAX + 1]; /* One that is in there. */
};

static krb5_error_code scan(krb5_context context, krb5_keytab keytab,
			    const char *principal, struct found *found)
{
	krb5_kt_cursor cursor;
	krb5_keytab_entry entry;
	krb5_error_code failed = krb5_kt_start_seq_get(context, keytab,
						       &cursor);

	if (failed != 0)
		return failed;
	while (krb5_kt_next_entry(context, keytab, &entry, &cursor) == 0) {
		char *name = NULL;

		if (krb5_unparse_name(context, entry.principal, &name) == 0) {
			if (strcmp(name, principal) == 0) {
				found->principal = true;
				found->aes |= is_aes(entry.key.enctype);
			} else {
				snprintf(found->other, sizeof(found->other),
					 "%s", name);
			}
		}
		krb5_free_unparsed_name(context, name);
		krb5_free_keytab_entry_contents(context, &entry);
	}
	return krb5_kt_end_seq_get(context, keytab, &cursor);
}

static int32_t check_keytab(const struct hvri_kerberos *kerberos,
			    krb5_context context, struct hvrepl_error *error)
{
	char reason[HVREPL_SENTENCE_MAX / 2];
	struct found found = { .principal = false };
	krb5_keytab keytab = NULL;
	krb5_error_code failed = krb5_kt_resolve(context, kerberos->keytab,
						 &keytab);

	if (failed == 0)
		failed = scan(context, keytab, kerberos->principal, &found);
	if (failed != 0)
		reason_of(context, failed, reason);
	if (keytab != NULL)
		krb5_kt_close(context, keytab);
	if (failed != 0)
		return hvri_sys_fail(error,
				     failed == ENOENT ? HVREPL_E_NOT_FOUND :
							HVREPL_E_INVALID,
				     0, "cannot read the keytab %.90s: %.120s",
				     kerberos->keytab, reason);
	if (!found.principal)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "the keytab %.60s has no key of %.70s%s"
				     "%.60s: name the right principal, or "
				     "export its key",
				     kerberos->keytab, kerberos->principal,
				     found.other[0] != 0 ? " but of " : "",
				     found.other);
	if (!found.aes)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "the keytab %.80s has no AES key of %.80s: "
				     "give it one at the KDC and export it",
				     kerberos->keytab, kerberos->principal);
	return HVREPL_OK;
}

static int32_t with_context(const struct hvri_kerberos *kerberos,
			    int32_t (*function)(const struct hvri_kerberos *,
						krb5_context,
						struct hvrepl_error *),
			    struct hvrepl_error *error)
{
	char reason[HVREPL_SENTENCE_MAX / 2];
	krb5_context context;
	krb5_error_code failed = krb5_init_context(&context);
	int32_t rc;

	if (failed != 0) {
		reason_of(NULL, failed, reason);
		return hvri_sys_fail(error, HVREPL_E_UNAVAILABLE, 0,
				     "Kerberos cannot start: %.100s; check "
				     "krb5.conf", reason);
	}
	rc = function(kerberos, context, error);
	krb5_free_context(context);
	return rc;
}

int32_t hvri_kerberos_check(const struct hvri_kerberos *kerberos,
			    struct hvrepl_error *error)
{
	return kerberos->keytab == NULL ?
		       HVREPL_OK :
		       with_context(kerberos, check_keytab, error);
}

/* The principal is in place as it was given, or is made up. */
static int32_t settle_principal(const struct hvri_kerberos *kerberos,
				krb5_context context,
				struct hvrepl_error *error)
{
	char *principal = (char *)(uintptr_t)kerberos->principal;
	char text[2 * HVREPL_PEER_NAME_MAX], host[HVREPL_PEER_NAME_MAX + 1];
	char reason[HVREPL_SENTENCE_MAX / 2];
	krb5_error_code failed;

	if (principal[0] != 0) {
		snprintf(host, sizeof(host), "%s", principal);
	} else if (gethostname(host, sizeof(host)) < 0) {
		host[0] = 0;
	}
	host[sizeof(host) - 1] = 0;
	if (!spell_out(kerberos, host, text))
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "%.80s is no principal: name it as "
				     "hvrepl/host@REALM", host);
	failed = canonical(context, text, principal);
	if (failed == 0)
		return HVREPL_OK;
	reason_of(context, failed, reason);
	return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
			     "%.80s is no principal: %.90s; name it as "
			     "hvrepl/host@REALM", text, reason);
}

static int32_t fill(struct hvri_kerberos *kerberos,
		    const struct hvrepl_kerberos_options *options,
		    struct hvrepl_error *error)
{
	const char *service = options->service != NULL ? options->service :
							 SERVICE_DEFAULT;

	if (options->keytab != NULL)
		kerberos->keytab = strdup(options->keytab);
	if (options->ccache != NULL)
		kerberos->ccache = strdup(options->ccache);
	if ((options->keytab != NULL) != (kerberos->keytab != NULL) ||
	    (options->ccache != NULL) != (kerberos->ccache != NULL))
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	if (strlen(service) >= sizeof(kerberos->service) ||
	    !hvri_gss_is_plain(service, strlen(service)) ||
	    strpbrk(service, "/@\\") != NULL)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "the service is the first part of "
				     "principals, as in hvrepl/host@REALM: 1 to "
				     "63 characters without / and @");
	strcpy(kerberos->service, service);
	if (options->principal != NULL) {
		if (!hvri_gss_is_plain(options->principal,
				       strlen(options->principal)))
			return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
					     "a principal is 1 to 255 printable "
					     "ASCII characters without spaces");
		strcpy(kerberos->principal, options->principal);
	}
	if (options->principal == NULL && options->keytab == NULL)
		return HVREPL_OK; /* As the ccache says. */
	return with_context(kerberos, settle_principal, error);
}

int32_t hvri_kerberos_new(const struct hvrepl_kerberos_options *options,
			  struct hvri_kerberos **out,
			  struct hvrepl_error *error)
{
	struct hvri_kerberos *kerberos = calloc(1, sizeof(*kerberos));
	int32_t rc;

	if (kerberos == NULL)
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	atomic_init(&kerberos->last_cache, 0);
	pthread_mutex_init(&kerberos->mutex, NULL);
	kerberos->renewal_failed = options->renewal_failed;
	kerberos->renewed = options->renewed;
	kerberos->user = options->user;
	rc = fill(kerberos, options, error);
	if (rc == HVREPL_OK)
		rc = hvri_kerberos_check(kerberos, error);
	if (rc < 0) {
		hvri_kerberos_free(kerberos);
		return rc;
	}
	*out = kerberos;
	return HVREPL_OK;
}

void hvri_kerberos_free(struct hvri_kerberos *kerberos)
{
	if (kerberos == NULL)
		return;
	while (kerberos->tickets != NULL) {
		struct hvri_gss_tickets *tickets = kerberos->tickets;

		kerberos->tickets = tickets->next;
		hvri_gss_cache_destroy(kerberos, tickets->cache);
		pthread_mutex_destroy(&tickets->mutex);
		free(tickets);
	}
	pthread_mutex_destroy(&kerberos->mutex);
	free(kerberos->keytab);
	free(kerberos->ccache);
	free(kerberos);
}

struct hvri_gss_tickets *hvri_gss_tickets_lock(struct hvri_kerberos *kerberos,
					       const char *peer)
{
	struct hvri_gss_tickets *tickets;

	pthread_mutex_lock(&kerberos->mutex);
	tickets = kerberos->tickets;
	while (tickets != NULL && strcmp(tickets->peer, peer) != 0)
		tickets = tickets->next;
	if (tickets == NULL) {
		tickets = calloc(1, sizeof(*tickets));
		if (tickets != NULL) {
			pthread_mutex_init(&tickets->mutex, NULL);
			snprintf(tickets->peer, sizeof(tickets->peer), "%s",
				 peer);
			tickets->next = kerberos->tickets;
			kerberos->tickets = tickets;
		}
	}
	pthread_mutex_unlock(&kerberos->mutex);
	if (tickets != NULL)
		pthread_mutex_lock(&tickets->mutex);
	return tickets;
}

uint64_t hvri_gss_cache_new(struct hvri_kerberos *kerberos)
{
	return atomic_fetch_add(&kerberos->last_cache, 1) + 1;
}

/* Such names are the process's. The address is nobody else's as long as there
 * are caches of these credentials. */
void hvri_gss_cache_name(const struct hvri_kerberos *kerberos, uint64_t cache,
			 char out[HVRI_GSS_CACHE_NAME])
{
	snprintf(out, HVRI_GSS_CACHE_NAME, "MEMORY:hvrepl-%p-%llu",
		 (const void *)kerberos, (unsigned long long)cache);
}

void hvri_gss_cache_destroy(const struct hvri_kerberos *kerberos,
			    uint64_t cache)
{
	char name[HVRI_GSS_CACHE_NAME];
	krb5_context context;
	krb5_ccache ccache;

	if (cache == 0 || krb5_init_context(&context) != 0)
		return;
	hvri_gss_cache_name(kerberos, cache, name);
	if (krb5_cc_resolve(context, name, &ccache) == 0)
		(void)krb5_cc_destroy(context, ccache);
	krb5_free_context(context);
}
