/* SPDX-License-Identifier: Apache-2.0 */
/* `cert show`: what a certificate or a revocation list says, and its pin. */
#include "cert.h"
#include "text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>
#include <time.h>

#define TEXT_MAX 256
#define PEM_BEGIN "-----BEGIN"

uint64_t cert_seconds(const ASN1_TIME *time)
{
	struct tm tm;
	time_t at;

	if (time == NULL || ASN1_TIME_to_tm(time, &tm) != 1)
		return 0;
	at = timegm(&tm);
	return at < 0 ? 0 : (uint64_t)at;
}

/* Whole and printable, whatever a stranger put into it. */
static const char *name_text(const X509_NAME *name, char out[TEXT_MAX])
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *bytes;
	long length = 0;

	out[0] = 0;
	if (bio != NULL && X509_NAME_print_ex(bio, name, 0,
					      XN_FLAG_RFC2253) >= 0)
		length = BIO_get_mem_data(bio, &bytes);
	if (length >= TEXT_MAX)
		length = TEXT_MAX - 1;
	for (long i = 0; i < length; i++)
		out[i] = isprint((unsigned char)bytes[i]) ? bytes[i] : '?';
	out[length] = 0;
	BIO_free(bio);
	return out;
}

static void serial_text(const X509 *cert, char out[TEXT_MAX])
{
	BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	char *text = number == NULL ? NULL : BN_bn2hex(number);

	snprintf(out, TEXT_MAX, "%s", text == NULL ? "?" : text);
	OPENSSL_free(text);
	BN_free(number);
}

static bool pin_text(const X509 *cert, char out[TEXT_MAX])
{
	unsigned char digest[32], *der = NULL;
	int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	bool fine = length > 0 &&
		    EVP_Digest(der, (size_t)length, digest, NULL, EVP_sha256(),
			       NULL) == 1;

	OPENSSL_free(der);
	snprintf(out, TEXT_MAX, "sha256:");
	for (size_t i = 0; fine && i < sizeof(digest); i++)
		snprintf(out + 7 + 2 * i, 3, "%02x", digest[i]);
	return fine;
}

static json_t *names_json(X509 *cert)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL,
					      NULL);
	json_t *names = json_array();

	for (int i = 0; all != NULL && i < sk_GENERAL_NAME_num(all); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);
		char text[TEXT_MAX] = "";

		if (name->type == GEN_DNS) {
			int length = ASN1_STRING_length(name->d.dNSName);
			const unsigned char *from =
				ASN1_STRING_get0_data(name->d.dNSName);

			for (int k = 0; k < length && k < TEXT_MAX - 1; k++) {
				text[k] = isprint(from[k]) ? (char)from[k] : '?';
				text[k + 1] = 0;
			}
		} else if (name->type == GEN_IPADD) {
			int length = ASN1_STRING_length(name->d.iPAddress);

			if (length == 4 || length == 16)
				inet_ntop(length == 4 ? AF_INET : AF_INET6,
					  ASN1_STRING_get0_data(
						  name->d.iPAddress),
					  text, sizeof(text));
		}
		if (text[0] != 0)
			json_array_append_new(names, json_string(text));
	}
	GENERAL_NAMES_free(all);
	return names;
}

static json_t *cert_json(X509 *cert)
{
	char subject[TEXT_MAX], issuer[TEXT_MAX], serial[TEXT_MAX];
	char pin[TEXT_MAX];
	uint32_t usages = X509_get_extended_key_usage(cert);

	if (!pin_text(cert, pin))
		return NULL;
	serial_text(cert, serial);
	return json_pack(
		"{s:s,s:o,s:o,s:o,s:b,s:b,s:b,s:s,s:I,s:I,s:s}", "kind",
		"certificate", "subject",
		text_json(name_text(X509_get_subject_name(cert), subject)),
		"issuer",
		text_json(name_text(X509_get_issuer_name(cert), issuer)), "names",
		names_json(cert), "ca", X509_check_ca(cert) == 1, "server",
		usages != UINT32_MAX && (usages & XKU_SSL_SERVER) != 0,
		"client",
		usages != UINT32_MAX && (usages & XKU_SSL_CLIENT) != 0,
		"serial", serial, "from_utc_s",
		(json_int_t)cert_seconds(X509_get0_notBefore(cert)), "until_utc_s",
		(json_int_t)cert_seconds(X509_get0_notAfter(cert)), "pin", pin);
}

static json_t *list_json(X509_CRL *crl)
{
	STACK_OF(X509_REVOKED) *all = X509_CRL_get_REVOKED(crl);
	char issuer[TEXT_MAX];

	return json_pack("{s:s,s:o,s:i,s:I,s:I}", "kind", "revocation list",
			 "issuer",
			 text_json(name_text(X509_CRL_get_issuer(crl), issuer)),
			 "revoked", all == NULL ? 0 : sk_X509_REVOKED_num(all),
			 "from_utc_s",
			 (json_int_t)cert_seconds(X509_CRL_get0_lastUpdate(crl)),
			 "until_utc_s",
			 (json_int_t)cert_seconds(X509_CRL_get0_nextUpdate(crl)));
}

static const char *string_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text == NULL ? "" : text;
}

static uint64_t number_of(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

static void print_one(const json_t *item)
{
	const json_t *names = json_object_get(item, "names"), *name;
	bool server = json_is_true(json_object_get(item, "server"));
	bool client = json_is_true(json_object_get(item, "client"));
	char ends[TOOL_ENDS_MAX];
	size_t i;

	if (strcmp(string_of(item, "kind"), "certificate") != 0) {
		printf("revocation list of %s\n  revoked  %llu\n  validity %s\n",
		       string_of(item, "issuer"),
		       (unsigned long long)number_of(item, "revoked"),
		       tool_ends(number_of(item, "until_utc_s"), ends));
		return;
	}
	printf("%s %s\n  issuer   %s\n",
	       json_is_true(json_object_get(item, "ca")) ? "CA" : "certificate",
	       string_of(item, "subject"), string_of(item, "issuer"));
	if (json_array_size(names) > 0)
		printf("  names   ");
	json_array_foreach(names, i, name)
		printf(" %s", json_string_value(name));
	if (json_array_size(names) > 0)
		printf("\n");
	if (!json_is_true(json_object_get(item, "ca")))
		printf("  usages   %s\n",
		       server && client ? "serverAuth, clientAuth" :
		       server		? "serverAuth only: a site needs clientAuth too" :
		       client		? "clientAuth only: a site needs serverAuth too" :
					  "none: a site needs serverAuth and clientAuth");
	printf("  serial   %s\n  validity %s\n  pin      %s\n",
	       string_of(item, "serial"),
	       tool_ends(number_of(item, "until_utc_s"), ends),
	       string_of(item, "pin"));
}

/* Of what is in one part of a PEM file; false: damaged. Other kinds are left
 * out. */
static bool add_item(json_t *items, const char *kind,
		     const unsigned char *bytes, long length)
{
	const unsigned char *at = bytes;
	json_t *item = NULL;

	if (strcmp(kind, PEM_STRING_X509) == 0) {
		X509 *cert = d2i_X509(NULL, &at, length);

		item = cert == NULL ? NULL : cert_json(cert);
		X509_free(cert);
	} else if (strcmp(kind, PEM_STRING_X509_CRL) == 0) {
		X509_CRL *crl = d2i_X509_CRL(NULL, &at, length);

		item = crl == NULL ? NULL : list_json(crl);
		X509_CRL_free(crl);
	} else {
		return true;
	}
	return item != NULL && json_array_append_new(items, item) == 0;
}

/* `part` of a file, from its BEGIN to before the next one's, and leaves it empty.
 * By itself, as OpenSSL would take the end of a later one for this one's. */
static bool add_part(json_t *items, BIO *part)
{
	char *kind, *header;
	unsigned char *bytes;
	long length;
	bool whole = PEM_read_bio(part, &kind, &header, &bytes, &length) == 1;

	if (whole) {
		whole = add_item(items, kind, bytes, length);
		OPENSSL_free(kind);
		OPENSSL_free(header);
		OPENSSL_clear_free(bytes, (size_t)length);
	}
	ERR_clear_error();
	return BIO_reset(part) == 1 && whole;
}

/* Every certificate and list that is whole, in order. Returns which part of the
 * file, keys counted, is the first that is not, from 1; 0: none. */
static int read_items(FILE *file, json_t *items)
{
	BIO *part = BIO_new(BIO_s_mem());
	int parts = 0, damaged = 0;
	char *line = NULL;
	size_t size = 0;

	for (;;) {
		ssize_t length = getline(&line, &size, file);
		bool begins = length > 0 &&
			      strncmp(line, PEM_BEGIN, strlen(PEM_BEGIN)) == 0;

		if (parts > 0 && (begins || length <= 0) &&
		    !add_part(items, part) && damaged == 0)
			damaged = parts;
		if (length <= 0)
			break;
		parts += begins;
		if (parts > 0 && BIO_write(part, line, (int)length) != length &&
		    damaged == 0)
			damaged = parts;
	}
	/* A file that cannot be read to its end is not whole either. */
	if (ferror(file) && damaged == 0)
		damaged = parts + 1;
	OPENSSL_cleanse(line, size);
	free(line);
	BIO_free(part);
	return damaged;
}

/* NULL after saying why. */
static json_t *read_all(const struct tool_run *run, const char *path,
			int *damaged_out, int *status_out)
{
	FILE *file = fopen(path, "re");
	json_t *items;

	if (file == NULL) {
		*status_out = tool_fail(run, TOOL_FAILED,
			  errno == ENOENT ? HVREPL_E_NOT_FOUND :
					    HVREPL_E_STORAGE_IO,
			  "%s cannot be read: %s.", path, strerror(errno));
		return NULL;
	}
	items = json_array();
	*damaged_out = read_items(file, items);
	fclose(file);
	if (json_array_size(items) > 0)
		return items;
	json_decref(items);
	*status_out = tool_fail(run, TOOL_DAMAGED, HVREPL_E_CORRUPT,
		  "There is no whole certificate or revocation list in %s. It must be PEM.",
		  path);
	return NULL;
}

static int run_show(struct tool_run *run)
{
	int status = TOOL_OK, damaged = 0;
	const char *path = run->operands[0];
	json_t *items = read_all(run, path, &damaged, &status);
	const json_t *item;
	size_t i;

	if (items == NULL)
		return status;
	if (run->json) {
		/* One document: so its words on the damage are in it. */
		json_t *all = json_pack("{s:o}", "items", items);

		if (damaged != 0)
			json_object_set_new(all, "damaged_item",
					    json_integer(damaged));
		tool_print_json(all);
		return damaged != 0 ? TOOL_DAMAGED : TOOL_OK;
	}
	json_array_foreach(items, i, item)
		print_one(item);
	json_decref(items);
	if (damaged == 0)
		return TOOL_OK;
	return tool_fail(run, TOOL_DAMAGED, HVREPL_E_CORRUPT,
			 "Item %d of %s is damaged. Get the file again from where it was made.",
			 damaged, path);
}

const struct tool_verb tool_verb_cert_show = {
	.name = "cert show",
	.group = TOOL_GROUP_CERT,
	.operands = "FILE",
	.summary = "Show a certificate or revocation list, its end and its pin",
	.details = "All of the file, in order. The pin is what 'pin' and 'backup-pin' of a peer take; a\n"
		   "key that is in the file is not shown. Where an item is damaged, the others are shown\n"
		   "and the exit status is 5.",
	.operands_min = 1,
	.operands_max = 1,
	.run = run_show,
};
