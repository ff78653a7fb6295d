/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a peer's certificate is believed: chain, name, revocation, pin. */
#include "backend/fileio.h"
#include "backend/tls.h"

#include <hvrepl/authorisation.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

/* One look, while OpenSSL's own is under way. */
struct look {
	struct hvri_tls_session *session;
	bool living;
};

/* What OpenSSL shall tell the peer. An error that it does not know becomes
 * "certificate unknown": not accepted, for a reason of ours. */
static int openssl_error(int failed)
{
	switch (failed) {
	case HVRI_VERIFY_NO_USAGE:
		return X509_V_ERR_INVALID_PURPOSE;
	case HVRI_VERIFY_NO_NAME:
		return X509_V_ERR_HOSTNAME_MISMATCH;
	case HVRI_VERIFY_NOT_KNOWN:
		return X509_V_ERR_CERT_REJECTED;
	case HVRI_VERIFY_REVOKED:
		return X509_V_ERR_CERT_REVOKED;
	/* OpenSSL's alerts of these would blame the certificate or its CA. */
	case X509_V_ERR_UNABLE_TO_GET_CRL:
	case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
	case X509_V_ERR_DIFFERENT_CRL_SCOPE:
	case X509_V_ERR_CRL_HAS_EXPIRED:
	case X509_V_ERR_CRL_NOT_YET_VALID:
	case X509_V_ERR_CRL_SIGNATURE_FAILURE:
	case X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE:
	case X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION:
	case HVRI_VERIFY_NO_PIN:
	case HVRI_VERIFY_UNKNOWN:
		return X509_V_ERR_CRL_PATH_VALIDATION_ERROR;
	default:
		return failed;
	}
}

static void remember_name(struct hvri_tls_session *session, X509 *cert)
{
	struct hvri_tls_names names = { 0 };

	if (cert == NULL || hvri_tls_names_of(cert, &names) < 0)
		return;
	if (names.count > 0)
		strcpy(session->verify_name, names.names[0]);
	hvri_tls_names_free(&names);
}

/* About which certificate of the chain, and which list: for the sentence. */
static void remember_about(struct hvri_tls_session *session, int failed,
			   X509_STORE_CTX *store)
{
	X509 *cert = X509_STORE_CTX_get_current_cert(store);
	bool leaf = X509_STORE_CTX_get_error_depth(store) == 0;

	if (cert == NULL)
		return;
	if (failed == X509_V_ERR_CERT_REVOKED && leaf) {
		BIGNUM *serial = ASN1_INTEGER_to_BN(
			X509_get0_serialNumber(cert), NULL);
		char *text = serial == NULL ? NULL : BN_bn2hex(serial);

		snprintf(session->verify_about, sizeof(session->verify_about),
			 "serial %s", text == NULL ? "?" : text);
		OPENSSL_free(text);
		BN_free(serial);
		return;
	}
	X509_NAME_oneline(failed == X509_V_ERR_CERT_REVOKED ||
					  failed == HVRI_VERIFY_REVOKED ?
				  X509_get_subject_name(cert) :
				  X509_get_issuer_name(cert),
			  session->verify_about,
			  sizeof(session->verify_about));
}

static bool is_anchor(X509_STORE_CTX *store)
{
	STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(store);

	return X509_STORE_CTX_get_error_depth(store) ==
	       sk_X509_num(chain) - 1;
}

/* Is this failure none after all? */
static bool forgiven(const struct look *look, X509_STORE_CTX *store)
{
	uint32_t flags = look->session->context->sources->flags;

	switch (X509_STORE_CTX_get_error(store)) {
	case X509_V_ERR_UNABLE_TO_GET_CRL:
	case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
	case X509_V_ERR_DIFFERENT_CRL_SCOPE:
		/* An anchor is believed because it is in the CA file. */
		return is_anchor(store) ||
		       (flags & HVREPL_TLS_ALLOW_UNKNOWN) != 0;
	case X509_V_ERR_CRL_HAS_EXPIRED:
		/* What it lists is still looked at. */
		return look->living || (flags & HVREPL_TLS_ALLOW_STALE) != 0;
	case X509_V_ERR_CERT_HAS_EXPIRED:
	/* It was valid when the peer was let in: our clock was set back since. And
	 * what a list names that a clock ahead of ours made is revoked. */
	case X509_V_ERR_CERT_NOT_YET_VALID:
	case X509_V_ERR_CRL_NOT_YET_VALID:
		return look->living;
	default:
		return false;
	}
}

static int on_certificate(int fine, X509_STORE_CTX *store)
{
	struct look *look = X509_STORE_CTX_get_app_data(store);
	struct hvri_tls_session *session = look->session;
	int failed = X509_STORE_CTX_get_error(store);

	if (fine == 1)
		return 1;
	if (forgiven(look, store)) {
		X509_STORE_CTX_set_error(store, X509_V_OK);
		return 1;
	}
	session->verify_error = failed;
	remember_name(session, X509_STORE_CTX_get0_cert(store));
	remember_about(session, failed, store);
	X509_STORE_CTX_set_error(store, openssl_error(failed));
	return 0;
}

static bool is_known(struct hvri_tls_session *session,
		     const struct hvri_tls_names *names)
{
	char wanted[HVREPL_PEER_NAME_MAX + 1];

	for (uint32_t i = 0; i < session->known_count; i++)
		for (uint32_t k = 0; k < names->count; k++)
			if (hvri_tls_canonical(session->known[i], wanted) &&
			    strcmp(wanted, names->names[k]) == 0) {
				strcpy(session->peer, wanted);
				return true;
			}
	/* Whole names go before patterns, which let in by their own. */
	for (uint32_t i = 0; i < session->known_count; i++)
		for (uint32_t k = 0; k < names->dns_count; k++)
			if (session->known[i][0] == '*' &&
			    hvrepl_peer_pattern_matches(session->known[i],
							names->names[k])) {
				strcpy(session->peer, names->names[k]);
				return true;
			}
	return false;
}

/* Who the peer is, from a certificate whose chain is good. */
static int check_name(struct hvri_tls_session *session, X509 *cert)
{
	struct hvri_tls_names names = { 0 };
	int failed = X509_V_OK;

	if (hvri_tls_names_of(cert, &names) < 0)
		return X509_V_ERR_OUT_OF_MEM;
	if (names.count > 0)
		strcpy(session->verify_name, names.names[0]);
	if (!hvri_tls_has_both_usages(cert)) {
		failed = HVRI_VERIFY_NO_USAGE;
	} else if (names.count == 0) {
		failed = HVRI_VERIFY_NO_NAME;
	} else if (!session->server) {
		failed = HVRI_VERIFY_NO_NAME;
		for (uint32_t i = 0; i < names.count; i++)
			if (strcmp(session->expected, names.names[i]) == 0)
				failed = X509_V_OK;
		strcpy(session->peer, session->expected);
	} else if (session->known == NULL) {
		strcpy(session->peer, names.names[0]);
	} else if (!is_known(session, &names)) {
		failed = HVRI_VERIFY_NOT_KNOWN;
	}
	hvri_tls_names_free(&names);
	return failed;
}

static int check_pin(struct hvri_tls_session *session, X509 *cert)
{
	const struct hvri_tls_pin *pin =
		hvri_tls_pin_of(session->context->sources, session->peer);
	uint8_t digest[32];

	if (pin == NULL)
		return X509_V_OK;
	if (!hvri_tls_key_digest(cert, digest))
		return X509_V_ERR_OUT_OF_MEM;
	if (memcmp(digest, pin->keys[0], 32) == 0 ||
	    memcmp(digest, pin->keys[1], 32) == 0)
		return X509_V_OK;
	hvri_tls_pin_text(digest, session->verify_about);
	return HVRI_VERIFY_NO_PIN;
}

/* The application's word on one certificate. */
static int ask(const struct hvri_tls_session *session, X509 *cert, int depth)
{
	const struct hvri_tls_sources *sources = session->context->sources;
	struct hvrepl_tls_certificate question = {
		.struct_size = sizeof(question),
		.depth = (uint32_t)depth,
		.peer = session->verify_name,
	};
	unsigned char *der = NULL;
	int length = i2d_X509(cert, &der);
	int32_t answer;

	if (length <= 0 || !hvri_tls_key_digest(cert, question.pin)) {
		OPENSSL_free(der);
		return X509_V_ERR_OUT_OF_MEM;
	}
	question.der = der;
	question.der_length = (size_t)length;
	answer = sources->revocation(sources->user, &question);
	OPENSSL_free(der);
	if (answer == HVREPL_TLS_GOOD)
		return X509_V_OK;
	if (answer == HVREPL_TLS_REVOKED)
		return HVRI_VERIFY_REVOKED;
	return (sources->flags & HVREPL_TLS_ALLOW_UNKNOWN) != 0 ?
		       X509_V_OK : HVRI_VERIFY_UNKNOWN;
}

static int ask_about_chain(struct hvri_tls_session *session,
			   X509_STORE_CTX *store)
{
	STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(store);
	int failed = X509_V_OK;

	if (session->context->sources->revocation == NULL)
		return X509_V_OK;
	/* All below the anchor; the peer's own in any case. */
	for (int i = 0; failed == X509_V_OK &&
			(i == 0 || i < sk_X509_num(chain) - 1); i++) {
		X509 *cert = sk_X509_value(chain, i);

		failed = ask(session, cert, i);
		if (failed != X509_V_OK)
			X509_NAME_oneline(X509_get_subject_name(cert),
					  session->verify_about,
					  sizeof(session->verify_about));
	}
	return failed;
}

bool hvri_tls_verify(struct hvri_tls_session *session, X509_STORE_CTX *store,
		     bool living)
{
	struct look look = { session, living };
	X509 *cert = X509_STORE_CTX_get0_cert(store);
	int failed = X509_V_OK;

	session->verify_error = X509_V_OK;
	session->verify_name[0] = session->verify_about[0] = 0;
	X509_STORE_CTX_set_app_data(store, &look);
	X509_STORE_CTX_set_verify_cb(store, on_certificate);
	if (session->context->lists.crls != NULL)
		X509_STORE_CTX_set_flags(store, X509_V_FLAG_CRL_CHECK |
						X509_V_FLAG_CRL_CHECK_ALL);
	if (X509_verify_cert(store) != 1) {
		if (session->verify_error == X509_V_OK)
			session->verify_error = X509_STORE_CTX_get_error(store);
		if (session->verify_error == X509_V_OK)
			session->verify_error = X509_V_ERR_UNSPECIFIED;
		X509_STORE_CTX_set_app_data(store, NULL);
		return false;
	}
	if (!living)
		failed = check_name(session, cert);
	else
		remember_name(session, cert);
	if (failed == X509_V_OK)
		failed = ask_about_chain(session, store);
	if (failed == X509_V_OK)
		failed = check_pin(session, cert);
	session->peer_from_utc_ns =
		hvri_tls_time(X509_get0_notBefore(cert));
	session->peer_expires_utc_ns = hvri_tls_not_after(cert);
	session->verify_error = failed;
	X509_STORE_CTX_set_error(store, openssl_error(failed));
	X509_STORE_CTX_set_app_data(store, NULL);
	return failed == X509_V_OK;
}

static int verify_in_handshake(X509_STORE_CTX *store, void *argument)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(
		store, SSL_get_ex_data_X509_STORE_CTX_idx());

	(void)argument;
	return hvri_tls_verify(SSL_get_app_data(ssl), store, false);
}

void hvri_tls_verify_with(SSL_CTX *ctx)
{
	SSL_CTX_set_cert_verify_callback(ctx, verify_in_handshake, NULL);
}
