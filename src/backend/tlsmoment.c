/* SPDX-License-Identifier: Apache-2.0 */
/* A certificate of the moment: TLS wants one where something else proves the site. */
#include "backend/mechanism.h"

#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

/* Nobody looks at its names or dates; they are valid all the same. */
#define DAY_S 86400L
#define LIFE_S (3650 * DAY_S)

static bool fill(X509 *cert, EVP_PKEY *key)
{
	static const unsigned char name[] = "hvrepl";
	X509_NAME *subject = X509_get_subject_name(cert);
	uint32_t serial;

	return RAND_bytes((unsigned char *)&serial, sizeof(serial)) == 1 &&
	       X509_set_version(cert, 2) == 1 &&
	       ASN1_INTEGER_set(X509_get_serialNumber(cert),
				(long)(serial >> 1) + 1) == 1 &&
	       X509_gmtime_adj(X509_getm_notBefore(cert), -DAY_S) != NULL &&
	       X509_gmtime_adj(X509_getm_notAfter(cert), LIFE_S) != NULL &&
	       X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, name, -1,
					  -1, 0) == 1 &&
	       X509_set_issuer_name(cert, subject) == 1 &&
	       X509_set_pubkey(cert, key) == 1 &&
	       X509_sign(cert, key, EVP_sha256()) > 0;
}

bool hvri_mechanism_certificate(void *server)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	bool fine = key != NULL && cert != NULL && fill(cert, key) &&
		    SSL_CTX_use_certificate(server, cert) == 1 &&
		    SSL_CTX_use_PrivateKey(server, key) == 1;

	X509_free(cert);
	EVP_PKEY_free(key);
	return fine;
}
