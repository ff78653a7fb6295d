/* SPDX-License-Identifier: Apache-2.0 */
/* What the `cert` verbs share: reading, writing and describing certificates. */
#ifndef TOOL_CERT_H
#define TOOL_CERT_H

#include "tool.h"

#include <openssl/x509.h>
#include <openssl/x509v3.h>

#define CERT_PATH_MAX 4096
#define CERT_CA_DAYS 3650u  /* Of a CA, unless said. */
#define CERT_SITE_DAYS 365u /* Of a site's certificate. */
#define CERT_LIST_DAYS 30u  /* Of a revocation list. */
#define CERT_DAYS_MAX 7300u

/* cert_files.c. All of these have said why when they fail. */

/* A CA's directory: ca.pem, ca.key, ca.crl. */
struct cert_ca {
	EVP_PKEY *key;
	X509 *cert;
};
bool cert_ca_open(const struct tool_run *run, struct cert_ca *ca);
void cert_ca_close(struct cert_ca *ca);
/* "DIR/NAME.SUFFIX" into `out`. */
bool cert_path(const struct tool_run *run, const char *dir, const char *name,
	       const char *suffix, char out[CERT_PATH_MAX]);
/*
 * Write PEM: a key with mode 0600, what is public with 0644, durably. A file
 * that is there is never touched, except with `replace`: then a new one takes
 * its name at once.
 */
bool cert_write_key(const struct tool_run *run, const char *path,
		    EVP_PKEY *key);
bool cert_write_cert(const struct tool_run *run, const char *path, X509 *cert);
bool cert_write_list(const struct tool_run *run, const char *path,
		     X509_CRL *crl, bool replace);
/* NULL: said. */
EVP_PKEY *cert_read_key(const struct tool_run *run, const char *path);
X509 *cert_read_cert(const struct tool_run *run, const char *path);
X509_CRL *cert_read_list(const struct tool_run *run, const char *path);

/* cert_make.c */

/* A random serial of 159 bits, positive. False: no memory or no entropy. */
bool cert_serial(ASN1_INTEGER *serial);
/* 1 to CERT_DAYS_MAX from --days; false after saying why. */
bool cert_days(const struct tool_run *run, unsigned *days_inout);
/* What OpenSSL complains of: says it, returns TOOL_FAILED. */
int cert_failed(const struct tool_run *run, const char *what);
/* "DNS:a" or "IP:1.2.3.4" of a word; false: it is neither. */
bool cert_alternative(const char *word, char out[300]);
bool cert_extend(X509 *cert, X509 *issuer, int nid, const char *value);
X509 *cert_make(EVP_PKEY *key, const char *name, unsigned days);

/* cert_show.c: since 1970; 0: none, or before. */
uint64_t cert_seconds(const ASN1_TIME *time);
#endif
