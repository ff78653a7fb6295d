/* SPDX-License-Identifier: Apache-2.0 */
/* Why a handshake failed, in a sentence for whoever has to put it right. */
#include "backend/fileio.h"
#include "backend/tls.h"

#include <openssl/err.h>
#include <string.h>

const char *hvrepl_step_name(uint32_t step)
{
	static const char *const names[] = {
		"nothing", "name lookup", "TCP connection", "TLS handshake",
		"their certificate", "our certificate at the peer", "done",
		"Kerberos", "Kerberos at the peer", "proof", "proof at the peer",
		"route",
	};

	return names[step < HVRI_COUNT_OF(names) ? step : 0];
}

const char *hvrepl_check_name(uint32_t check)
{
	static const char *const names[] = {
		"", "chain", "validity", "usage", "name", "known", "revoked",
		"revocation-unknown", "revocation-stale", "pin", "other",
	};

	return names[check < HVRI_COUNT_OF(names) ? check : 0];
}

uint32_t hvri_tls_check_of(int verify_error)
{
	switch (verify_error) {
	case X509_V_OK:
		return HVREPL_CHECK_NONE;
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return HVREPL_CHECK_VALIDITY;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
		return HVREPL_CHECK_CHAIN;
	case X509_V_ERR_INVALID_PURPOSE:
	case X509_V_ERR_EE_KEY_TOO_SMALL:
	case X509_V_ERR_CA_KEY_TOO_SMALL:
	case X509_V_ERR_CA_MD_TOO_WEAK:
	case HVRI_VERIFY_NO_USAGE:
		return HVREPL_CHECK_USAGE;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case HVRI_VERIFY_NO_NAME:
		return HVREPL_CHECK_NAME;
	case HVRI_VERIFY_NOT_KNOWN:
		return HVREPL_CHECK_KNOWN;
	case X509_V_ERR_CERT_REVOKED:
	case HVRI_VERIFY_REVOKED:
		return HVREPL_CHECK_REVOKED;
	case X509_V_ERR_UNABLE_TO_GET_CRL:
	case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
	case X509_V_ERR_DIFFERENT_CRL_SCOPE:
	case X509_V_ERR_CRL_NOT_YET_VALID:
	case X509_V_ERR_CRL_SIGNATURE_FAILURE:
	case X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE:
	case X509_V_ERR_KEYUSAGE_NO_CRL_SIGN:
	case X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION:
	case HVRI_VERIFY_UNKNOWN:
		return HVREPL_CHECK_REVOCATION_UNKNOWN;
	case X509_V_ERR_CRL_HAS_EXPIRED:
		return HVREPL_CHECK_REVOCATION_STALE;
	case HVRI_VERIFY_NO_PIN:
		return HVREPL_CHECK_PIN;
	default:
		return HVREPL_CHECK_OTHER;
	}
}

/* Of revocation and pins. */
static int32_t explain_status(const struct hvri_tls_session *session,
			      const char *who, struct hvrepl_error *error)
{
	const int32_t code = HVREPL_E_UNAUTHENTICATED;
	const char *about = session->verify_about;

	switch (session->verify_error) {
	case X509_V_ERR_CERT_REVOKED:
	case HVRI_VERIFY_REVOKED:
		return hvri_sys_fail(error, code, 0,
				     "the certificate of %.80s was revoked "
				     "(%.64s): if that is right keep it out, "
				     "else get it a new one from its CA",
				     who, about);
	case X509_V_ERR_CRL_HAS_EXPIRED:
		return hvri_sys_fail(error, code, 0,
				     "the revocation list of %.64s is past its "
				     "end, so that nobody knows whether %.64s "
				     "is revoked: get the CA's newest list",
				     about, who);
	case X509_V_ERR_CRL_NOT_YET_VALID:
		return hvri_sys_fail(error, code, 0,
				     "the revocation list of %.80s is not valid "
				     "yet: check this machine's clock", about);
	case X509_V_ERR_CRL_SIGNATURE_FAILURE:
	case X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE:
	case X509_V_ERR_KEYUSAGE_NO_CRL_SIGN:
		return hvri_sys_fail(error, code, 0,
				     "the revocation list of %.80s is not "
				     "signed by that CA: get it from the CA "
				     "again", about);
	case X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION:
	case X509_V_ERR_DIFFERENT_CRL_SCOPE:
		return hvri_sys_fail(error, code, 0,
				     "whether %.64s is revoked is not known: the "
				     "list of %.64s here is a part (of some "
				     "certificates); get that CA's full list",
				     who, about);
	case HVRI_VERIFY_UNKNOWN:
		return hvri_sys_fail(error, code, 0,
				     "whether %.64s is revoked (%.64s) is not "
				     "known: this site's own check gave no "
				     "answer", who, about);
	case HVRI_VERIFY_NO_PIN:
		return hvri_sys_fail(error, code, 0,
				     "the key of %.64s is neither its pin nor "
				     "its backup pin; it is %s: ask there "
				     "whether that is right, then change the "
				     "pins", who, about);
	default:
		return hvri_sys_fail(error, code, 0,
				     "whether %.64s is revoked is not known: "
				     "there is no revocation list of %.64s "
				     "here; get one from that CA", who, about);
	}
}

int32_t hvri_tls_explain_theirs(const struct hvri_tls_session *session,
				struct hvrepl_error *error)
{
	const char *who = session->verify_name[0] != 0 ? session->verify_name :
							 "the peer";
	const int32_t code = HVREPL_E_UNAUTHENTICATED;

	switch (hvri_tls_check_of(session->verify_error)) {
	case HVREPL_CHECK_REVOKED:
	case HVREPL_CHECK_REVOCATION_UNKNOWN:
	case HVREPL_CHECK_REVOCATION_STALE:
	case HVREPL_CHECK_PIN:
		return explain_status(session, who, error);
	default:
		break;
	}
	switch (session->verify_error) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return hvri_sys_fail(error, code, 0,
				     "the certificate of %s has expired (or a "
				     "clock is wrong): renew it there", who);
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return hvri_sys_fail(error, code, 0,
				     "the certificate of %s is not valid yet: "
				     "check the clocks of both machines", who);
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
		return hvri_sys_fail(error, code, 0,
				     "the certificate of %s is not signed by a "
				     "CA in our CA file: use one CA for both "
				     "sites, or add theirs", who);
	case X509_V_ERR_INVALID_PURPOSE:
	case HVRI_VERIFY_NO_USAGE:
		return hvri_sys_fail(error, code, 0,
				     "the certificate of %s lacks an extended "
				     "key usage: it needs serverAuth and "
				     "clientAuth", who);
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case HVRI_VERIFY_NO_NAME:
		return hvri_sys_fail(error, code, 0,
				     "the peer's certificate is for %s, not for "
				     "%s: call it by that name, or get it one "
				     "with this name", who, session->expected);
	case HVRI_VERIFY_NOT_KNOWN:
		return hvri_sys_fail(error, code, 0,
				     "%s is not among the peers of this site: "
				     "add it if it should be", who);
	default:
		return hvri_sys_fail(error, code, 0,
				     "the certificate of %s was refused: %s",
				     who,
				     X509_verify_cert_error_string(
					     session->verify_error));
	}
}

static const char *meaning_of_alert(int alert)
{
	switch (alert) {
	case SSL_AD_UNKNOWN_CA:
		return "it does not know the CA that signed it";
	case SSL_AD_CERTIFICATE_EXPIRED:
		return "it has expired, or a clock is wrong";
	case SSL_AD_CERTIFICATE_REVOKED:
		return "it was revoked";
	case SSL_AD_BAD_CERTIFICATE:
		return "it does not expect our name";
	case SSL_AD_UNSUPPORTED_CERTIFICATE:
		return "it lacks serverAuth or clientAuth";
	case SSL_AD_CERTIFICATE_UNKNOWN:
	case SSL_AD_ACCESS_DENIED:
		return "it is not accepted there (name, revocation or pin)";
	case SSL_AD_CERTIFICATE_REQUIRED:
		return "we sent none";
	default:
		return NULL;
	}
}

int32_t hvri_tls_other_protocol(const struct hvri_tls_session *session,
				struct hvrepl_error *error)
{
	if (session->mechanism != NULL &&
	    session->mechanism->channel != HVREPL_MECHANISM_KERBEROS)
		return hvri_sys_fail(error, HVREPL_E_PEER_VERSION, 0,
				     "the peer speaks TLS, but not hvrepl/1 "
				     "with %s: is that the right port, and does "
				     "that site prove itself by the same "
				     "mechanism?", session->mechanism->name);
	if (session->mechanism != NULL)
		return hvri_sys_fail(error, HVREPL_E_PEER_VERSION, 0,
				     "the peer speaks TLS, but not hvrepl/1 "
				     "with Kerberos: is that the right port, "
				     "and has that site a section kerberos "
				     "instead of certificates?");
	return hvri_sys_fail(error, HVREPL_E_PEER_VERSION, 0,
			     "the peer speaks TLS, but not hvrepl/1 with "
			     "certificates: is that the right port, and has "
			     "that site certificates instead of kerberos?");
}

void hvri_tls_explain_late(const struct hvri_tls_session *session,
			   struct hvrepl_error *error)
{
	hvri_sys_fail(error, HVREPL_E_TIMEOUT, 0,
		      session->step == HVREPL_STEP_KERBEROS ?
			      "Kerberos took too long: does the KDC answer, and "
			      "the peer?" :
		      session->step == HVREPL_STEP_PROOF ?
			      "the proof took too long: does what it asks "
			      "answer, and the peer?" :
			      "the TLS handshake took too long: is the peer "
			      "overloaded, or something else on that port?");
}

/* An alert is what the peer says. */
static int32_t explain_alert(struct hvri_tls_session *session, int alert,
			     struct hvrepl_error *error)
{
	const char *meaning = meaning_of_alert(alert);

	/* Ours is one of the moment then, or none: nothing to be mended. */
	if (meaning != NULL && session->mechanism != NULL)
		return hvri_sys_fail(error, HVREPL_E_PEER_REFUSED, 0,
				     "the peer expects a certificate that it "
				     "trusts, and this site proves itself by %s: "
				     "does that site prove itself by the same?",
				     session->mechanism->word);
	if (meaning != NULL) {
		session->step = HVREPL_STEP_ACCEPTANCE;
		return hvri_sys_fail(error, HVREPL_E_PEER_REFUSED, 0,
				     "the peer refused our certificate: %s; "
				     "look there, and at our certificate file",
				     meaning);
	}
	if (alert == SSL_AD_NO_APPLICATION_PROTOCOL)
		return hvri_tls_other_protocol(session, error);
	if (alert == SSL_AD_PROTOCOL_VERSION)
		return hvri_sys_fail(error, HVREPL_E_PEER_VERSION, 0,
				     "the peer has no TLS 1.3: upgrade it");
	return hvri_sys_fail(error, HVREPL_E_PEER_REFUSED, 0,
			     "the peer broke off the TLS handshake: %s",
			     SSL_alert_desc_string_long(alert));
}

static int32_t explain_reason(struct hvri_tls_session *session,
			      unsigned long queued, struct hvrepl_error *error)
{
	int reason = ERR_GET_REASON(queued);
	const char *text = ERR_reason_error_string(queued);

	if (reason >= SSL_AD_REASON_OFFSET &&
	    reason < SSL_AD_REASON_OFFSET + 256)
		return explain_alert(session, reason - SSL_AD_REASON_OFFSET,
				     error);
	switch (reason) {
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		session->step = HVREPL_STEP_CERTIFICATE;
		return hvri_sys_fail(error, HVREPL_E_UNAUTHENTICATED, 0,
				     "the peer sent no certificate: give it one "
				     "signed by our CA");
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_UNKNOWN_PROTOCOL:
	case SSL_R_VERSION_TOO_LOW:
		return hvri_sys_fail(error, HVREPL_E_PEER_VERSION, 0,
				     "the peer has no TLS 1.3: upgrade it");
	case SSL_R_NO_APPLICATION_PROTOCOL:
		return hvri_tls_other_protocol(session, error);
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_HTTP_REQUEST:
	case SSL_R_HTTPS_PROXY_REQUEST:
	case SSL_R_PACKET_LENGTH_TOO_LONG:
		return hvri_sys_fail(error, HVREPL_E_PROTOCOL, 0,
				     "what is at the other end does not speak "
				     "TLS: is that the right port?");
	case SSL_R_UNEXPECTED_EOF_WHILE_READING:
		return hvri_sys_fail(error, HVREPL_E_DISCONNECTED, 0,
				     "the peer closed the connection during the "
				     "handshake");
	default:
		return hvri_sys_fail(error, HVREPL_E_PROTOCOL, 0,
				     "the TLS handshake failed: %s",
				     text != NULL ? text : "no reason given");
	}
}

int32_t hvri_tls_explain(struct hvri_tls_session *session, int ssl_result,
			 int sys_errno, struct hvrepl_error *error)
{
	unsigned long queued = ERR_peek_error();
	int32_t code;

	if (session->verify_error != X509_V_OK) {
		session->step = HVREPL_STEP_CERTIFICATE;
		code = hvri_tls_explain_theirs(session, error);
	} else if (queued != 0) {
		code = explain_reason(session, queued, error);
	} else if (ssl_result == SSL_ERROR_SYSCALL && sys_errno != 0) {
		code = hvri_sys_fail(error, HVREPL_E_DISCONNECTED, sys_errno,
				     "the connection broke during the "
				     "handshake: %s", strerror(sys_errno));
	} else {
		code = hvri_sys_fail(error, HVREPL_E_DISCONNECTED, 0,
				     "the peer closed the connection during the "
				     "handshake");
	}
	ERR_clear_error();
	return code;
}
