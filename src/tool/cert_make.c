/* SPDX-License-Identifier: Apache-2.0 */
/* `cert init`, `issue` and `revoke`: a CA for sites that have none. */
#include "cert.h"
#include "text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERIAL_BYTES 20
/* A clock that is behind a little finds it valid all the same. */
#define EARLIER_S (-3600L)
#define DAY_S 86400L
#define NAMES_MAX 16

int cert_failed(const struct tool_run *run, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	tool_fail(run, TOOL_FAILED, HVREPL_E_NOMEM, "%s cannot be made: %s.", what,
		  reason != NULL ? reason : "not enough memory");
	ERR_clear_error();
	return TOOL_FAILED;
}

bool cert_serial(ASN1_INTEGER *serial)
{
	unsigned char bytes[SERIAL_BYTES];
	BIGNUM *number;
	bool fine;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	/* Positive, and of full length whatever was drawn (RFC 5280). */
	bytes[0] = (unsigned char)((bytes[0] & 0x7f) | 0x40);
	number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	fine = number != NULL && BN_to_ASN1_INTEGER(number, serial) != NULL;
	BN_free(number);
	return fine;
}

bool cert_days(const struct tool_run *run, unsigned *days_inout)
{
	const char *text = tool_option(run, "days");
	unsigned long value;
	char *end;

	if (text == NULL)
		return true;
	value = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != 0 || value < 1 ||
	    value > CERT_DAYS_MAX) {
		tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
			  "--days takes a number from 1 to %u, not '%s'.",
			  CERT_DAYS_MAX, text);
		return false;
	}
	*days_inout = (unsigned)value;
	return true;
}

bool cert_alternative(const char *word, char out[300])
{
	unsigned char address[16];
	size_t length = strlen(word);

	if (inet_pton(AF_INET, word, address) == 1 ||
	    inet_pton(AF_INET6, word, address) == 1) {
		snprintf(out, 300, "IP:%s", word);
		return true;
	}
	if (length == 0 || length > 253 || word[0] == '.' ||
	    word[length - 1] == '.' || strstr(word, "..") != NULL)
		return false;
	if (strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			 "0123456789-._") != length)
		return false;
	snprintf(out, 300, "DNS:%s", word);
	return true;
}

bool cert_extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *extension;
	X509V3_CTX context;
	bool fine;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	fine = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return fine;
}

X509 *cert_make(EVP_PKEY *key, const char *name, unsigned days)
{
	X509 *cert = X509_new();
	X509_NAME *subject = cert == NULL ? NULL : X509_get_subject_name(cert);

	/* A common name has 64 characters at most; it does not count. */
	if (cert != NULL && X509_set_version(cert, 2) == 1 &&
	    cert_serial(X509_get_serialNumber(cert)) &&
	    X509_gmtime_adj(X509_getm_notBefore(cert), EARLIER_S) != NULL &&
	    X509_gmtime_adj(X509_getm_notAfter(cert), days * DAY_S) != NULL &&
	    X509_set_pubkey(cert, key) == 1 &&
	    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
				       (const unsigned char *)name,
				       strlen(name) > 64 ? 64 : -1, -1, 0) == 1)
		return cert;
	X509_free(cert);
	return NULL;
}

/* An empty list, so that a site that asks for one has it from the start. */
static X509_CRL *make_list(const struct cert_ca *ca, const X509_CRL *before,
			   unsigned days)
{
	X509_CRL *crl = before == NULL ? X509_CRL_new() : X509_CRL_dup(before);
	ASN1_TIME *now = X509_gmtime_adj(NULL, 0);
	ASN1_TIME *end = X509_gmtime_adj(NULL, days * DAY_S);

	if (crl != NULL && now != NULL && end != NULL &&
	    X509_CRL_set_version(crl, 1) == 1 &&
	    X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert)) ==
		    1 &&
	    X509_CRL_set1_lastUpdate(crl, now) == 1 &&
	    X509_CRL_set1_nextUpdate(crl, end) == 1) {
		ASN1_TIME_free(now);
		ASN1_TIME_free(end);
		return crl;
	}
	ASN1_TIME_free(now);
	ASN1_TIME_free(end);
	X509_CRL_free(crl);
	return NULL;
}

static bool add_authority(X509_CRL *crl, X509 *ca)
{
	X509_EXTENSION *extension, *old;
	X509V3_CTX context;
	bool fine;
	int at = X509_CRL_get_ext_by_NID(crl, NID_authority_key_identifier, -1);

	if (at >= 0) {
		old = X509_CRL_delete_ext(crl, at);
		X509_EXTENSION_free(old);
	}
	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, ca, NULL, NULL, crl, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context,
					NID_authority_key_identifier,
					"keyid:always");
	fine = extension != NULL && X509_CRL_add_ext(crl, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return fine;
}

static bool sign_list(X509_CRL *crl, const struct cert_ca *ca)
{
	return add_authority(crl, ca->cert) && X509_CRL_sort(crl) == 1 &&
	       X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0;
}

static int done(const struct tool_run *run, const char *file, const X509 *cert,
		const char *more)
{
	char ends[TOOL_ENDS_MAX];

	if (run->json)
		return tool_print_json(json_pack("{s:o}", "file",
						 text_json(file)));
	printf("%s: %s. %s\n", file,
	       tool_ends(cert_seconds(X509_get0_notAfter(cert)), ends), more);
	return TOOL_OK;
}

static int run_init(struct tool_run *run)
{
	const char *dir = run->operands[0];
	const char *name = tool_option(run, "name");
	unsigned days = CERT_CA_DAYS;
	char cert_file[CERT_PATH_MAX], key_file[CERT_PATH_MAX];
	char list_file[CERT_PATH_MAX];
	struct cert_ca ca = { NULL, NULL };
	X509_CRL *crl = NULL;
	int status = TOOL_FAILED;

	if (name == NULL)
		name = "hvrepl CA";
	if (!cert_days(run, &days))
		return TOOL_USAGE;
	if (name[0] == 0 || strlen(name) > 64)
		return tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
				 "A CA's name has 1 to 64 bytes.");
	if (!cert_path(run, dir, "ca", ".pem", cert_file) ||
	    !cert_path(run, dir, "ca", ".key", key_file) ||
	    !cert_path(run, dir, "ca", ".crl", list_file))
		return TOOL_FAILED;
	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return tool_fail(run, TOOL_FAILED, HVREPL_E_STORAGE_IO,
				 "%s cannot be made: %s.", dir, strerror(errno));
	ca.key = EVP_EC_gen("P-256");
	if (ca.key != NULL)
		ca.cert = cert_make(ca.key, name, days);
	if (ca.cert == NULL ||
	    X509_set_issuer_name(ca.cert, X509_get_subject_name(ca.cert)) != 1 ||
	    !cert_extend(ca.cert, ca.cert, NID_basic_constraints,
			 "critical,CA:TRUE,pathlen:0") ||
	    !cert_extend(ca.cert, ca.cert, NID_key_usage,
			 "critical,keyCertSign,cRLSign") ||
	    !cert_extend(ca.cert, ca.cert, NID_subject_key_identifier,
			 "hash") ||
	    X509_sign(ca.cert, ca.key, EVP_sha256()) <= 0 ||
	    (crl = make_list(&ca, NULL, CERT_LIST_DAYS)) == NULL ||
	    !sign_list(crl, &ca))
		cert_failed(run, "The CA");
	/* The key first: without it the rest would be worth nothing. */
	else if (cert_write_key(run, key_file, ca.key)) {
		if (!cert_write_cert(run, cert_file, ca.cert)) {
			unlink(key_file); /* Ours, and for nothing. */
		} else if (!cert_write_list(run, list_file, crl, false)) {
			/* 'cert revoke' makes none where there was none. */
			unlink(cert_file);
			unlink(key_file);
		} else {
			status = done(run, cert_file, ca.cert,
				      "Give it to every site as 'authority'; keep ca.key where no site reads it.");
		}
	}
	X509_CRL_free(crl);
	cert_ca_close(&ca);
	return status;
}

static const struct tool_option init_options[] = {
	{ "name", "NAME", "The CA's name (\"hvrepl CA\")" },
	{ "days", "N", "Valid so many days (3650)" },
	{ NULL, NULL, NULL },
};

const struct tool_verb tool_verb_cert_init = {
	.name = "cert init",
	.group = TOOL_GROUP_CERT,
	.operands = "DIR",
	.summary = "Make a CA for sites that have none",
	.details = "Writes DIR/ca.pem, DIR/ca.key (mode 0600) and DIR/ca.crl, a revocation list that is\n"
		   "empty yet. Nothing that is there is overwritten. Sites get ca.pem, and ca.crl where\n"
		   "they are to notice revocations; ca.key stays away from them.",
	.options = init_options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run_init,
};

static bool alternatives(const struct tool_run *run, char *out, size_t size)
{
	size_t used = 0;

	out[0] = 0;
	if (run->operand_count > NAMES_MAX) {
		tool_fail(run, TOOL_USAGE, HVREPL_E_LIMIT,
			  "A certificate gets %d names at most.", NAMES_MAX);
		return false;
	}
	for (int i = 0; i < run->operand_count; i++) {
		char one[300];

		if (!cert_alternative(run->operands[i], one)) {
			tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
				  "'%.100s' is neither a host name nor an address. Name the site as its peers call it.",
				  run->operands[i]);
			return false;
		}
		used += (size_t)snprintf(out + used, size - used, "%s%s",
					 i == 0 ? "" : ",", one);
	}
	return true;
}

static X509 *sign_site(const struct cert_ca *ca, EVP_PKEY *key,
		       const char *name, const char *names, unsigned days)
{
	X509 *cert = cert_make(key, name, days);

	if (cert == NULL)
		return NULL;
	/* Not longer than who vouches for it. */
	if (ASN1_TIME_compare(X509_get0_notAfter(cert),
			      X509_get0_notAfter(ca->cert)) > 0)
		X509_set1_notAfter(cert, X509_get0_notAfter(ca->cert));
	if (X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) == 1 &&
	    cert_extend(cert, ca->cert, NID_basic_constraints,
			"critical,CA:FALSE") &&
	    cert_extend(cert, ca->cert, NID_key_usage,
			"critical,digitalSignature") &&
	    cert_extend(cert, ca->cert, NID_ext_key_usage,
			"serverAuth,clientAuth") &&
	    cert_extend(cert, ca->cert, NID_subject_key_identifier, "hash") &&
	    cert_extend(cert, ca->cert, NID_authority_key_identifier,
			"keyid:always") &&
	    cert_extend(cert, ca->cert, NID_subject_alt_name, names) &&
	    X509_sign(cert, ca->key, EVP_sha256()) > 0)
		return cert;
	X509_free(cert);
	return NULL;
}

static bool ca_lives(const struct tool_run *run, const struct cert_ca *ca)
{
	if (X509_cmp_current_time(X509_get0_notAfter(ca->cert)) > 0)
		return true;
	tool_fail(run, TOOL_FAILED, HVREPL_E_INVALID,
		  "The CA itself has ended. Make a new one with 'hvrepl cert init', and let sites believe both while they change over.");
	return false;
}

static int write_site(const struct tool_run *run, X509 *cert, EVP_PKEY *key,
		      bool new_key)
{
	const char *dir = tool_option(run, "out");
	char cert_file[CERT_PATH_MAX], key_file[CERT_PATH_MAX];

	if (dir == NULL)
		dir = ".";
	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return tool_fail(run, TOOL_FAILED, HVREPL_E_STORAGE_IO,
				 "%s cannot be made: %s.", dir, strerror(errno));
	if (!cert_path(run, dir, run->operands[0], ".pem", cert_file) ||
	    !cert_path(run, dir, run->operands[0], ".key", key_file))
		return TOOL_FAILED;
	if (new_key && access(cert_file, F_OK) == 0)
		return tool_fail(run, TOOL_FAILED, HVREPL_E_EXISTS,
				 "%s is there already and is never overwritten. Move it away, or choose another directory with --out.",
				 cert_file);
	if (new_key && !cert_write_key(run, key_file, key))
		return TOOL_FAILED;
	if (!cert_write_cert(run, cert_file, cert)) {
		if (new_key)
			unlink(key_file); /* Ours, and for nothing. */
		return TOOL_FAILED;
	}
	return done(run, cert_file, cert,
		    new_key ? "Its key is beside it." :
			      "The key is the old one, and so are its pins.");
}

static int run_issue(struct tool_run *run)
{
	const char *old_key = tool_option(run, "key");
	unsigned days = CERT_SITE_DAYS;
	char names[NAMES_MAX * 304];
	struct cert_ca ca;
	EVP_PKEY *key;
	X509 *cert = NULL;
	int status = TOOL_FAILED;

	if (!cert_days(run, &days) ||
	    !alternatives(run, names, sizeof(names)))
		return TOOL_USAGE;
	if (!cert_ca_open(run, &ca))
		return tool_option(run, "ca") == NULL ? TOOL_USAGE :
							TOOL_FAILED;
	if (!ca_lives(run, &ca)) {
		cert_ca_close(&ca);
		return TOOL_FAILED;
	}
	key = old_key != NULL ? cert_read_key(run, old_key) :
				EVP_EC_gen("P-256");
	if (key != NULL)
		cert = sign_site(&ca, key, run->operands[0], names, days);
	if (cert != NULL)
		status = write_site(run, cert, key, old_key == NULL);
	else if (key != NULL || old_key == NULL)
		cert_failed(run, "The certificate");
	X509_free(cert);
	EVP_PKEY_free(key);
	cert_ca_close(&ca);
	return status;
}

static const struct tool_option issue_options[] = {
	{ "ca", "DIR", "The CA, as 'cert init' made it (required)" },
	{ "out", "DIR", "Where NAME.pem and NAME.key go (here)" },
	{ "key", "FILE", "Renew for this key instead of making one: pins stay" },
	{ "days", "N", "Valid so many days (365), the CA's end at most" },
	{ NULL, NULL, NULL },
};

const struct tool_verb tool_verb_cert_issue = {
	.name = "cert issue",
	.group = TOOL_GROUP_CERT,
	.operands = "NAME [NAME...]",
	.summary = "Issue a site's certificate",
	.details = "The first NAME is what peers call the site and what the files are called; others are\n"
		   "host names or addresses that it has too. Writes NAME.pem and NAME.key (mode 0600);\n"
		   "nothing that is there is overwritten. To renew, issue into another directory, put the\n"
		   "files in place of the old ones, and 'hvrepl site reload': no session is dropped.",
	.options = issue_options,
	.operands_min = 1,
	.operands_max = -1,
	.run = run_issue,
};

static bool add_entry(X509_CRL *crl, X509 *cert)
{
	X509_REVOKED *entry = X509_REVOKED_new();
	ASN1_TIME *now = X509_gmtime_adj(NULL, 0);
	bool fine = entry != NULL && now != NULL &&
		    X509_REVOKED_set_serialNumber(
			    entry, X509_get_serialNumber(cert)) == 1 &&
		    X509_REVOKED_set_revocationDate(entry, now) == 1 &&
		    X509_CRL_add0_revoked(crl, entry) == 1;

	ASN1_TIME_free(now);
	if (!fine)
		X509_REVOKED_free(entry);
	return fine;
}

static bool revoke_one(const struct tool_run *run, const struct cert_ca *ca,
		       X509_CRL *crl, const char *path)
{
	X509 *cert = cert_read_cert(run, path);
	X509_REVOKED *found;
	bool fine = false;

	if (cert != NULL &&
	    (X509_NAME_cmp(X509_get_issuer_name(cert),
			   X509_get_subject_name(ca->cert)) != 0 ||
	     X509_verify(cert, ca->key) != 1)) {
		ERR_clear_error();
		tool_fail(run, TOOL_FAILED, HVREPL_E_INVALID,
			  "%s was not issued by this CA. Revoke it where it was.",
			  path);
	} else if (cert != NULL) {
		/* Once is enough. */
		fine = X509_CRL_get0_by_cert(crl, &found, cert) == 1 ||
		       add_entry(crl, cert);
		if (!fine)
			cert_failed(run, "The list");
	}
	X509_free(cert);
	return fine;
}

static int say_list(const struct tool_run *run, const char *path,
		    const X509_CRL *crl)
{
	STACK_OF(X509_REVOKED) *all =
		X509_CRL_get_REVOKED((X509_CRL *)(uintptr_t)crl);
	int count = all == NULL ? 0 : sk_X509_REVOKED_num(all);
	char ends[TOOL_ENDS_MAX];

	if (run->json)
		return tool_print_json(json_pack("{s:o,s:i}", "file",
						 text_json(path),
						 "revoked", count));
	printf("%s: %d revoked; %s. Bring it to every site.\n", path, count,
	       tool_ends(cert_seconds(X509_CRL_get0_nextUpdate(crl)), ends));
	return TOOL_OK;
}

static int run_revoke(struct tool_run *run)
{
	unsigned days = CERT_LIST_DAYS;
	X509_CRL *before = NULL, *crl = NULL;
	char path[CERT_PATH_MAX];
	struct cert_ca ca;
	int status = TOOL_FAILED;
	bool fine;

	if (!cert_days(run, &days))
		return TOOL_USAGE;
	if (!cert_ca_open(run, &ca))
		return tool_option(run, "ca") == NULL ? TOOL_USAGE :
							TOOL_FAILED;
	/* Without the one before, all that was revoked would be let in again. */
	fine = cert_path(run, tool_option(run, "ca"), "ca", ".crl", path) &&
	       (before = cert_read_list(run, path)) != NULL;
	/* A list that somebody else put there would be signed as ours. */
	if (fine && X509_CRL_verify(before, ca.key) != 1) {
		ERR_clear_error();
		tool_fail(run, TOOL_FAILED, HVREPL_E_INVALID,
			  "%s is not this CA's list. Restore the last one, so that nobody who was revoked is let in again.",
			  path);
		fine = false;
	}
	if (fine) {
		crl = make_list(&ca, before, days);
		if (crl == NULL)
			cert_failed(run, "The list");
		fine = crl != NULL;
	}
	for (int i = 0; fine && i < run->operand_count; i++)
		fine = revoke_one(run, &ca, crl, run->operands[i]);
	if (fine && !sign_list(crl, &ca)) {
		cert_failed(run, "The list");
		fine = false;
	}
	if (fine && cert_write_list(run, path, crl, true))
		status = say_list(run, path, crl);
	X509_CRL_free(before);
	X509_CRL_free(crl);
	cert_ca_close(&ca);
	return status;
}

static const struct tool_option revoke_options[] = {
	{ "ca", "DIR", "The CA, as 'cert init' made it (required)" },
	{ "days", "N", "The list is valid so many days (30)" },
	{ NULL, NULL, NULL },
};

const struct tool_verb tool_verb_cert_revoke = {
	.name = "cert revoke",
	.group = TOOL_GROUP_CERT,
	.operands = "[CERTIFICATE...]",
	.summary = "Revoke certificates, or make the CA's list anew",
	.details = "Replaces DIR/ca.crl by one that also lists these files' certificates and ends later;\n"
		   "without a file it only ends later. What was revoked stays revoked: without the list\n"
		   "before there is no new one, restore DIR/ca.crl first. Bring the list to\n"
		   "every site ('crl' in its configuration) before the old one ends: a site lets nobody\n"
		   "in by a list that has ended.",
	.options = revoke_options,
	.operands_max = -1,
	.run = run_revoke,
};
