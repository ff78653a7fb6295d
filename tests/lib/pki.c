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
	static long serial = 0x1000;
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

static struct pki_ca *make_ca(const struct pki_ca *parent,
			      const struct tempdir *dir, const char *name)
{
	struct pki_ca *ca = calloc(1, sizeof(*ca));

	must(ca != NULL);
	ca->key = EVP_EC_gen("P-256");
	must(ca->key != NULL);
	ca->cert = new_cert(name, ca->key, -3600, 3600);
	if (parent == NULL)
		parent = ca;
	must(X509_set_issuer_name(ca->cert,
				  X509_get_subject_name(parent->cert)) == 1);
	extend(ca->cert, parent->cert, NID_basic_constraints,
	       "critical,CA:TRUE");
	extend(ca->cert, parent->cert, NID_key_usage,
	       "critical,keyCertSign,cRLSign");
	extend(ca->cert, parent->cert, NID_subject_key_identifier, "hash");
	must(X509_sign(ca->cert, parent->key, EVP_sha256()) > 0);
	write_pem(dir, name, ".pem", ca->cert, NULL);
	return ca;
}

struct pki_ca *pki_ca_new(const struct tempdir *dir, const char *name)
{
	return make_ca(NULL, dir, name);
}

struct pki_ca *pki_ca_below(const struct pki_ca *parent,
			    const struct tempdir *dir, const char *name)
{
	return make_ca(parent, dir, name);
}

void pki_ca_free(struct pki_ca *ca)
{
	EVP_PKEY_free(ca->key);
	X509_free(ca->cert);
	free(ca);
}

static X509 *sign_leaf(const struct pki_ca *ca, EVP_PKEY *key,
		       const char *name, const char *alternatives,
		       unsigned usages, long first, long last)
{
	static const char *const texts[] = { NULL, "serverAuth", "clientAuth",
					     "serverAuth,clientAuth" };
	X509 *cert = new_cert(name, key, first, last);

	must(X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) == 1);
	extend(cert, ca->cert, NID_basic_constraints, "critical,CA:FALSE");
	extend(cert, ca->cert, NID_key_usage, "critical,digitalSignature");
	extend(cert, ca->cert, NID_authority_key_identifier, "keyid:always");
	if ((usages & PKI_NO_EXTENSION) == 0)
		extend(cert, ca->cert, NID_ext_key_usage, texts[usages & 3]);
	if (alternatives != NULL)
		extend(cert, ca->cert, NID_subject_alt_name, alternatives);
	must(X509_sign(cert, ca->key, EVP_sha256()) > 0);
	return cert;
}

static void write_leaf(const struct pki_ca *ca, const struct tempdir *dir,
		       const char *name, const char *alternatives,
		       unsigned usages, long first, long last, EVP_PKEY *key)
{
	X509 *cert;

	must(key != NULL);
	cert = sign_leaf(ca, key, name, alternatives, usages, first, last);
	write_pem(dir, name, ".pem", cert, NULL);
	write_pem(dir, name, ".key", NULL, key);
	X509_free(cert);
	EVP_PKEY_free(key);
}

void pki_leaf(const struct pki_ca *ca, const struct tempdir *dir,
	      const char *name, const char *alternatives, unsigned usages,
	      long first, long last)
{
	write_leaf(ca, dir, name, alternatives, usages, first, last,
		   EVP_EC_gen("P-256"));
}

static FILE *open_file(const struct tempdir *dir, const char *name,
		       const char *suffix, const char *mode)
{
	char file[TEMPDIR_PATH_MAX], path[TEMPDIR_PATH_MAX];
	FILE *stream;

	snprintf(file, sizeof(file), "%s%s", name, suffix);
	stream = fopen(tempdir_join(dir, file, path), mode);
	must(stream != NULL);
	return stream;
}

static X509 *read_cert(const struct tempdir *dir, const char *name)
{
	FILE *in = open_file(dir, name, ".pem", "r");
	X509 *cert = PEM_read_X509(in, NULL, NULL, NULL);

	must(cert != NULL && fclose(in) == 0);
	return cert;
}

void pki_renew(const struct pki_ca *ca, const struct tempdir *dir,
	       const char *name, const char *alternatives, long first,
	       long last)
{
	FILE *in = open_file(dir, name, ".key", "r");
	EVP_PKEY *key = PEM_read_PrivateKey(in, NULL, NULL, NULL);
	X509 *cert;

	must(key != NULL && fclose(in) == 0);
	cert = sign_leaf(ca, key, name, alternatives, PKI_BOTH, first, last);
	write_pem(dir, name, ".pem", cert, NULL);
	X509_free(cert);
	EVP_PKEY_free(key);
}

void pki_list(const struct pki_ca *ca, const struct tempdir *dir,
	      const char *file, const char *const *names, unsigned count,
	      long first, long last)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *from = X509_gmtime_adj(NULL, first);
	ASN1_TIME *until = X509_gmtime_adj(NULL, last);
	FILE *out;

	must(crl != NULL && X509_CRL_set_version(crl, 1) == 1);
	must(X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert)) ==
	     1);
	must(X509_CRL_set1_lastUpdate(crl, from) == 1);
	must(X509_CRL_set1_nextUpdate(crl, until) == 1);
	for (unsigned i = 0; i < count; i++) {
		X509 *cert = read_cert(dir, names[i]);
		X509_REVOKED *entry = X509_REVOKED_new();

		must(entry != NULL);
		must(X509_REVOKED_set_serialNumber(
			     entry, X509_get_serialNumber(cert)) == 1);
		must(X509_REVOKED_set_revocationDate(entry, from) == 1);
		must(X509_CRL_add0_revoked(crl, entry) == 1);
		X509_free(cert);
	}
	must(X509_CRL_sort(crl) == 1);
	must(X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0);
	out = open_file(dir, file, "", "w");
	must(PEM_write_X509_CRL(out, crl) == 1 && fclose(out) == 0);
	ASN1_TIME_free(from);
	ASN1_TIME_free(until);
	X509_CRL_free(crl);
}

static void add_part(X509_CRL *crl, enum pki_part part)
{
	ISSUING_DIST_POINT *point = ISSUING_DIST_POINT_new();
	ASN1_INTEGER *base = ASN1_INTEGER_new();
	ASN1_OCTET_STRING *bytes = ASN1_OCTET_STRING_new();
	X509_EXTENSION *unknown;

	must(point != NULL && base != NULL && bytes != NULL);
	point->onlyattr = 1;
	must(ASN1_INTEGER_set(base, 1) == 1);
	must(ASN1_OCTET_STRING_set(bytes, (const unsigned char *)"\5", 2) == 1);
	/* No list has it. */
	unknown = X509_EXTENSION_create_by_NID(NULL, NID_netscape_comment, 1,
					       bytes);
	must(unknown != NULL);
	if (part == PKI_PART_ATTRIBUTES)
		must(X509_CRL_add1_ext_i2d(crl, NID_issuing_distribution_point,
					   point, 1, 0) == 1);
	else if (part == PKI_PART_DELTA)
		must(X509_CRL_add1_ext_i2d(crl, NID_delta_crl, base, 1, 0) == 1);
	else
		must(X509_CRL_add_ext(crl, unknown, -1) == 1);
	X509_EXTENSION_free(unknown);
	ASN1_OCTET_STRING_free(bytes);
	ASN1_INTEGER_free(base);
	ISSUING_DIST_POINT_free(point);
}

void pki_list_part(const struct pki_ca *ca, const struct tempdir *dir,
		   const char *file, enum pki_part part)
{
	FILE *stream = open_file(dir, file, "", "r");
	X509_CRL *crl = PEM_read_X509_CRL(stream, NULL, NULL, NULL);

	must(crl != NULL && fclose(stream) == 0);
	add_part(crl, part);
	must(X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0);
	stream = open_file(dir, file, "", "w");
	must(PEM_write_X509_CRL(stream, crl) == 1 && fclose(stream) == 0);
	X509_CRL_free(crl);
}

void pki_append(const struct tempdir *dir, const char *to, const char *from)
{
	FILE *in = open_file(dir, from, "", "r");
	FILE *out = open_file(dir, to, "", "a");
	char piece[4096];
	size_t got;

	while ((got = fread(piece, 1, sizeof(piece), in)) > 0)
		must(fwrite(piece, 1, got, out) == got);
	must(fclose(in) == 0 && fclose(out) == 0);
}

void pki_pin(const struct tempdir *dir, const char *name, char out[PKI_PIN])
{
	X509 *cert = read_cert(dir, name);
	unsigned char *der = NULL, digest[32];
	int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);

	must(length > 0);
	must(EVP_Digest(der, (size_t)length, digest, NULL, EVP_sha256(),
			NULL) == 1);
	snprintf(out, PKI_PIN, "sha256:");
	for (int i = 0; i < 32; i++)
		snprintf(out + 7 + 2 * i, 3, "%02x", digest[i]);
	OPENSSL_free(der);
	X509_free(cert);
}

void pki_good(const struct pki_ca *ca, const struct tempdir *dir,
	      const char *name)
{
	char alternatives[300];

	snprintf(alternatives, sizeof(alternatives), "DNS:%s", name);
	pki_leaf(ca, dir, name, alternatives, PKI_BOTH, -3600, 3600);
}

void pki_weak(const struct pki_ca *ca, const struct tempdir *dir,
	      const char *name)
{
	char alternatives[300];

	snprintf(alternatives, sizeof(alternatives), "DNS:%s", name);
	write_leaf(ca, dir, name, alternatives, PKI_BOTH, -3600, 3600,
		   EVP_RSA_gen(1024));
}
