/* SPDX-License-Identifier: Apache-2.0 */
/* Why Kerberos refused, in a sentence that names call, principal and remedy. */
#include "backend/fileio.h"
#include "backend/gss/gss.h"

#include <gssapi/gssapi_krb5.h>
#include <krb5.h>
#include <stdio.h>
#include <string.h>

#define REASON (HVREPL_SENTENCE_MAX / 2)

static void append_status(uint32_t status, int kind, char out[REASON])
{
	gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
	uint32_t minor, context = 0;
	size_t used = strlen(out);

	if (gss_display_status(&minor, status, kind,
			       (gss_OID)(uintptr_t)gss_mech_krb5, &context,
			       &text) != GSS_S_COMPLETE)
		return;
	snprintf(out + used, REASON - used, "%.*s", (int)text.length,
		 (const char *)text.value);
	(void)gss_release_buffer(&minor, &text);
	for (char *at = out; *at != 0; at++)
		if (*at < 0x20 || *at >= 0x7f)
			*at = '?';
}

/* MIT's own words: those of the mechanism if it has any. */
static void reason_of(uint32_t major, uint32_t minor, char out[REASON])
{
	out[0] = 0;
	if (minor != 0)
		append_status(minor, GSS_C_MECH_CODE, out);
	if (out[0] == 0)
		append_status(major, GSS_C_GSS_CODE, out);
}

static const char *name_of(const struct hvri_kerberos *kerberos)
{
	return kerberos->principal[0] != 0 ? kerberos->principal :
					     "our principal";
}

static const char *self_of(const struct hvri_gss *gss)
{
	return name_of(gss->kerberos);
}

static const char *store_of(const struct hvri_gss *gss)
{
	return !gss->acceptor && gss->kerberos->ccache != NULL ?
		       gss->kerberos->ccache : gss->kerberos->keytab;
}

static int32_t say(struct hvri_gss *gss, uint32_t refusal, int32_t code,
		   const char *call, const char *sentence)
{
	gss->refusal = refusal;
	return hvri_sys_fail(&gss->error, code, 0, "%s: %s", call, sentence);
}

/* The client's side: credentials and the KDC. NULL: not known here. */
static int32_t explain_ours(struct hvri_gss *gss, const char *call,
			    uint32_t minor, const char *reason)
{
	const char *self = self_of(gss), *store = store_of(gss);
	struct hvrepl_error *error = &gss->error;

	switch ((krb5_error_code)minor) {
	case KRB5_KDC_UNREACH:
	case KRB5_REALM_UNKNOWN:
	case KRB5_REALM_CANT_RESOLVE:
		return hvri_sys_fail(error, HVREPL_E_UNAVAILABLE, 0,
				     "%s for %.70s: no KDC answers (%.60s): is "
				     "it running, and is its address in "
				     "krb5.conf right?", call, self, reason);
	case KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN:
		return hvri_sys_fail(error, HVREPL_E_UNAUTHENTICATED, 0,
				     "%s: the KDC does not know us as %.80s: "
				     "create it there, or name the right "
				     "principal", call, self);
	case KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN:
		return hvri_sys_fail(error, HVREPL_E_UNAUTHENTICATED, 0,
				     "%s: the KDC does not know the peer %.80s: "
				     "create it there, or name the right "
				     "principal here", call, gss->peer);
	case KRB5KDC_ERR_PREAUTH_FAILED:
	case KRB5KRB_AP_ERR_BAD_INTEGRITY:
		return hvri_sys_fail(error, HVREPL_E_UNAUTHENTICATED, 0,
				     "%s: the key of %.60s in %.60s is not the "
				     "KDC's: export it again", call, self,
				     store);
	case KRB5KRB_AP_ERR_SKEW:
		return hvri_sys_fail(error, HVREPL_E_UNAUTHENTICATED, 0,
				     "%s for %.80s: this machine's clock and "
				     "the other's differ too much: set both",
				     call, self);
	case KRB5KDC_ERR_ETYPE_NOSUPP:
	case KRB5_NOPERM_ETYPE:
		return hvri_sys_fail(error, HVREPL_E_UNAUTHENTICATED, 0,
				     "%s: the KDC has no AES key for %.60s or "
				     "%.60s: give both one", call, self,
				     gss->peer);
	case KRB5KDC_ERR_NAME_EXP:
	case KRB5KDC_ERR_CLIENT_REVOKED:
		return hvri_sys_fail(error, HVREPL_E_UNAUTHENTICATED, 0,
				     "%s: the KDC has locked %.80s or let it "
				     "expire: unlock it there", call, self);
	case KRB5KRB_AP_ERR_TKT_EXPIRED:
		return hvri_sys_fail(error, HVREPL_E_UNAUTHENTICATED, 0,
				     "%s: the ticket of %.60s in %.60s has "
				     "expired: renew it, or give us a keytab",
				     call, self, store);
	default:
		return HVREPL_OK;
	}
}

/* The server's side: the ticket that was sent. */
static int32_t explain_theirs(struct hvri_gss *gss, const char *call,
			      uint32_t major, uint32_t minor)
{
	const int32_t code = HVREPL_E_UNAUTHENTICATED;
	struct hvrepl_error *error = &gss->error;

	if (GSS_ROUTINE_ERROR(major) == GSS_S_BAD_BINDINGS)
		return hvri_gss_lacks(gss, HVRI_REFUSE_BINDING);
	if (GSS_ROUTINE_ERROR(major) == GSS_S_DUPLICATE_TOKEN ||
	    (krb5_error_code)minor == KRB5KRB_AP_ERR_REPEAT)
		return hvri_gss_lacks(gss, HVRI_REFUSE_REPLAY);
	switch ((krb5_error_code)minor) {
	case KRB5_NOPERM_ETYPE:
		return hvri_gss_lacks(gss, HVRI_REFUSE_ENCTYPE);
	case KRB5KRB_AP_ERR_SKEW:
	case KRB5KRB_AP_ERR_TKT_NYV:
		return say(gss, HVRI_REFUSE_CLOCK, code, call,
			   "the peer's clock and ours differ too much: set "
			   "both");
	case KRB5KRB_AP_ERR_TKT_EXPIRED:
		return say(gss, HVRI_REFUSE_EXPIRED, code, call,
			   "the peer's ticket has expired (or a clock is "
			   "wrong): let it get a new one");
	case KRB5KRB_AP_ERR_NOKEY:
	case KRB5KRB_AP_ERR_BADKEYVER:
	case KRB5KRB_AP_ERR_NOT_US:
	case KRB5KRB_AP_WRONG_PRINC:
	case KRB5_KT_NOTFOUND:
	case KRB5_KT_KVNONOTFOUND:
	case KRB5KRB_AP_ERR_BAD_INTEGRITY:
		gss->refusal = HVRI_REFUSE_KEY;
		return hvri_sys_fail(error, code, 0,
				     "%s: the peer's ticket fits no key of "
				     "%.60s in %.60s: export the key again, or "
				     "let the peer call us by this name", call,
				     self_of(gss), store_of(gss));
	default:
		return HVREPL_OK;
	}
}

int32_t hvri_gss_explain(struct hvri_gss *gss, const char *call,
			 uint32_t major, uint32_t minor)
{
	char reason[REASON];
	int32_t code;

	reason_of(major, minor, reason);
	code = gss->acceptor ? explain_theirs(gss, call, major, minor) :
			       explain_ours(gss, call, minor, reason);
	if (code != HVREPL_OK)
		return code;
	if (GSS_ROUTINE_ERROR(major) == GSS_S_CREDENTIALS_EXPIRED)
		return hvri_sys_fail(&gss->error, HVREPL_E_UNAUTHENTICATED, 0,
				     "%s: the ticket of %.60s in %.60s has "
				     "expired: renew it, or give us a keytab",
				     call, self_of(gss), store_of(gss));
	if (gss->acceptor &&
	    (GSS_ROUTINE_ERROR(major) == GSS_S_DEFECTIVE_TOKEN ||
	     GSS_ROUTINE_ERROR(major) == GSS_S_BAD_SIG ||
	     (krb5_error_code)minor == KRB5KRB_AP_ERR_MODIFIED))
		return hvri_gss_lacks(gss, HVRI_REFUSE_TOKEN);
	gss->refusal = HVRI_REFUSE_OURS;
	return hvri_sys_fail(&gss->error, HVREPL_E_UNAUTHENTICATED, 0,
			     "%s for %.60s with %.50s: %.110s", call,
			     self_of(gss), store_of(gss), reason);
}

int32_t hvri_gss_lacks(struct hvri_gss *gss, uint32_t refusal)
{
	static const char *const texts[] = {
		[HVRI_REFUSE_TOKEN] =
			"what the peer sent is damaged, or no krb5 token: is "
			"something in between, or not hvrepl there?",
		[HVRI_REFUSE_UNBOUND] =
			"the peer's request is not bound to this TLS "
			"connection: somebody may relay it; look for who is "
			"in between, and update that site",
		[HVRI_REFUSE_BINDING] =
			"the peer's request is bound to another TLS "
			"connection: somebody is in between; find out who",
		[HVRI_REFUSE_FLAGS] =
			"the proof is not mutual, lacks a protection or "
			"delegates: update that site",
		[HVRI_REFUSE_ENCTYPE] =
			"the session has no AES key: give both principals AES "
			"keys at the KDC and export them",
		[HVRI_REFUSE_NAME] =
			"the proof is for another principal than was called, "
			"or for one with characters we refuse: check the "
			"names on both sides",
		[HVRI_REFUSE_REPLAY] =
			"the peer's request was seen before: somebody repeats "
			"it; find out who",
		[HVRI_REFUSE_OURS] =
			"no key could be taken from the proof: out of memory",
	};

	return say(gss, refusal, HVREPL_E_UNAUTHENTICATED,
		   gss->acceptor ? "gss_accept_sec_context" :
				   "gss_init_sec_context",
		   texts[refusal]);
}

int32_t hvri_gss_refused(const struct hvri_kerberos *kerberos, const char *peer,
			 uint32_t refusal, struct hvrepl_error *error)
{
	static const char *const texts[] = {
		"for a reason we do not know: look there",
		"what we sent arrived damaged: is something in between?",
		"its keytab has no key for our ticket: export it there again, "
		"or call it by its own principal",
		"its clock and ours differ too much: set both",
		"our ticket has expired: renew it",
		"our proof is bound to no connection: update this site",
		"our proof is bound to another connection: somebody is in "
		"between",
		"our proof lacks a protection: update this site",
		"there is no AES key: give both principals one",
		"we are not among its peers: add us there",
		"it has seen our proof before: somebody repeats it",
		"it is busy proving others: try again",
		"its own keytab or system fails: look there",
	};

	return hvri_sys_fail(error, HVREPL_E_PEER_REFUSED, 0,
			     "%.60s refused us as %.60s: %s", peer,
			     name_of(kerberos),
			     texts[refusal < HVRI_COUNT_OF(texts) ? refusal :
								    0]);
}
