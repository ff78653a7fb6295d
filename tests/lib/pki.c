/* SPDX-License-Identifier: Apache-2.0 */
/* Makes keys and certificates with libcrypto, without the openssl program. */
#include "pki.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

struct pki_ca {
	EVP_PKEY *key;
	X509 *cert;
};

static void must(int fine)
{
	if (!fine)
		abort();
}

static void write_pem(const struct tempdir *dir, const char *name,
		      const char *suffix, X509 *cert, EVP_PKEY *key)
{
	char file[TEMPDIR_PATH_MAX], path[TEMPDIR_PATH_MAX];
	FILE *out;

	snprintf(file, sizeof(file), "%s%s", name, suffix);
	out = fopen(tempdir_join(dir, file, path), "w");
	must(out != NULL);
	if (cert != NULL)
		must(PEM_write_X509(out, cert) == 1);
	if (key != NULL)
		must(PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL,
					  NULL) == 1);
	must(fclose(out) == 0);
}

static void extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	must(extension != NULL);
	must(X509_add_ext(cert, extension, -1) == 1);
	X509_EXTENSION_free(extension);
}

static X509 *new_cert(const char *name, EVP_PKEY *key, long first, long last)
{
	static long serial = 1;
	X509 *cert = X509_new();
	X509_NAME *subject;

	must(cert != NULL && X509_set_version(cert, 2) == 1);
	must(ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++) == 1);
	must(X509_gmtime_adj(X509_getm_notBefore(cert), first) != NULL);
	must(X509_gmtime_adj(X509_getm_notAfter(cert), last) != NULL);
	must(X509_set_pubkey(cert, key) == 1);
	subject = X509_get_subject_name(cert);
	must(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
					(const unsigned char *)name, -1, -1,
					0) == 1);
	return cert;
}

struct pki_ca *pki_ca_new(const struct tempdir *dir, const char *name)
{
	struct pki_ca *ca = calloc(1, sizeof(*ca));

	must(ca != NULL);
	ca->key = EVP_EC_gen("P-256");
	must(ca->key != NULL);
	ca->cert = new_cert(name, ca->key, -3600, 3600);
	must(X509_set_issuer_name(ca->cert, X509_get_subject_name(ca->cert)) ==
	     1);
	extend(ca->cert, ca->cert, NID_basic_constraints, "critical,CA:TRUE");
	extend(ca->cert, ca->cert, NID_key_usage,
	       "critical,keyCertSign,cRLSign");
	extend(ca->cert, ca->cert, NID_subject_key_identifier, "hash");
	must(X509_sign(ca->cert, ca->key, EVP_sha256()) > 0);
	write_pem(dir, name, ".pem", ca->cert, NULL);
	return ca;
}

void pki_ca_free(struct pki_ca *ca)
{
	EVP_PKEY_free(ca->key);
	X509_free(ca->cert);
	free(ca);
}

void pki_leaf(const struct pki_ca *ca, const struct tempdir *dir,
	      const char *name, const char *alternatives, unsigned usages,
	      long first, long last)
{
	static const char *const texts[] = { NULL, "serverAuth", "clientAuth",
					     "serverAuth,clientAuth" };
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert;

	must(key != NULL);
	cert = new_cert(name, key, first, last);
	must(X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) == 1);
	extend(cert, ca->cert, NID_basic_constraints, "critical,CA:FALSE");
	extend(cert, ca->cert, NID_key_usage, "critical,digitalSignature");
	if ((usages & PKI_NO_EXTENSION) == 0)
		extend(cert, ca->cert, NID_ext_key_usage, texts[usages & 3]);
	if (alternatives != NULL)
		extend(cert, ca->cert, NID_subject_alt_name, alternatives);
	must(X509_sign(cert, ca->key, EVP_sha256()) > 0);
	write_pem(dir, name, ".pem", cert, NULL);
	write_pem(dir, name, ".key", NULL, key);
	X509_free(cert);
	EVP_PKEY_free(key);
}

void pki_good(const struct pki_ca *ca, const struct tempdir *dir,
	      const char *name)
{
	char alternatives[300];

	snprintf(alternatives, sizeof(alternatives), "DNS:%s", name);
	pki_leaf(ca, dir, name, alternatives, PKI_BOTH, -3600, 3600);
}
