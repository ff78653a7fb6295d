/* SPDX-License-Identifier: Apache-2.0 */
/* One proof by Kerberos: tokens in, tokens out, everything checked. */
#include "backend/fileio.h"
#include "backend/gss/gss.h"

#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <krb5.h>
#include <openssl/crypto.h>
#include <string.h>

#define MECH ((gss_OID)(uintptr_t)gss_mech_krb5)
/* What both sides must have in the end. */
#define NEEDED                                                       \
	(GSS_C_MUTUAL_FLAG | GSS_C_REPLAY_FLAG | GSS_C_SEQUENCE_FLAG | \
	 GSS_C_INTEG_FLAG | GSS_C_CONF_FLAG)
#define FORBIDDEN (GSS_C_DELEG_FLAG | GSS_C_ANON_FLAG | GSS_C_DCE_STYLE)
/* RFC 5056: the binding's name goes before its value, here RFC 9266's. */
#define BINDING_PREFIX "tls-exporter:"
#define BINDING_PREFIX_LENGTH (sizeof(BINDING_PREFIX) - 1)
#define SECOND_NS 1000000000ull

static const krb5_enctype enctypes[] = {
	ENCTYPE_AES256_CTS_HMAC_SHA384_192,
	ENCTYPE_AES128_CTS_HMAC_SHA256_128,
	ENCTYPE_AES256_CTS_HMAC_SHA1_96,
	ENCTYPE_AES128_CTS_HMAC_SHA1_96,
};

/* The channel bindings of RFC 2743 over the exporter; addresses take no part. */
struct binding {
	uint8_t bytes[BINDING_PREFIX_LENGTH + HVREPL_EXPORTER_SIZE];
	struct gss_channel_bindings_struct gss;
};

static void bind_to(const struct hvri_gss *gss, struct binding *binding)
{
	memset(binding, 0, sizeof(*binding));
	memcpy(binding->bytes, BINDING_PREFIX, BINDING_PREFIX_LENGTH);
	memcpy(binding->bytes + BINDING_PREFIX_LENGTH, gss->binding,
	       HVREPL_EXPORTER_SIZE);
	binding->gss.application_data.length = sizeof(binding->bytes);
	binding->gss.application_data.value = binding->bytes;
}

void hvri_gss_init(struct hvri_gss *gss, struct hvri_kerberos *kerberos,
		   const char *peer,
		   const uint8_t binding[HVREPL_EXPORTER_SIZE])
{
	memset(gss, 0, sizeof(*gss));
	gss->kerberos = kerberos;
	gss->acceptor = peer == NULL;
	if (peer != NULL)
		strncpy(gss->peer, peer, HVREPL_PEER_NAME_MAX);
	memcpy(gss->binding, binding, sizeof(gss->binding));
	gss->context = GSS_C_NO_CONTEXT;
	gss->error = (struct hvrepl_error)HVREPL_ERROR_INIT;
}

void hvri_gss_free(struct hvri_gss *gss)
{
	uint32_t minor;

	if (gss->context != GSS_C_NO_CONTEXT)
		(void)gss_delete_sec_context(&minor, &gss->context,
					     GSS_C_NO_BUFFER);
	OPENSSL_cleanse(gss->token, sizeof(gss->token));
	OPENSSL_cleanse(gss->key, sizeof(gss->key));
}

static uint32_t import(const char *principal, gss_name_t *name_out,
		       uint32_t *minor)
{
	gss_buffer_desc text = { strlen(principal),
				 (void *)(uintptr_t)principal };

	/* Not a host-based name: nothing is looked up or canonicalised. */
	return gss_import_name(minor, &text,
			       (gss_OID)(uintptr_t)GSS_KRB5_NT_PRINCIPAL_NAME,
			       name_out);
}

static int32_t acquire(struct hvri_gss *gss, const char *cache,
		       gss_cred_id_t *cred_out)
{
	const struct hvri_kerberos *kerberos = gss->kerberos;
	gss_key_value_element_desc elements[2];
	gss_key_value_set_desc store = { 0, elements };
	gss_OID_set_desc mechs = { 1, MECH };
	gss_name_t name = GSS_C_NO_NAME;
	krb5_enctype allowed[HVRI_COUNT_OF(enctypes)];
	uint32_t major = GSS_S_COMPLETE, minor = 0, ignored;

	if (gss->acceptor) {
		elements[store.count++] = (gss_key_value_element_desc){
			"keytab", kerberos->keytab };
	} else {
		if (kerberos->ccache == NULL)
			elements[store.count++] = (gss_key_value_element_desc){
				"client_keytab", kerberos->keytab };
		elements[store.count++] = (gss_key_value_element_desc){
			"ccache",
			kerberos->ccache == NULL ? cache : kerberos->ccache };
	}
	if (kerberos->principal[0] != 0)
		major = import(kerberos->principal, &name, &minor);
	if (major != GSS_S_COMPLETE)
		return hvri_gss_explain(gss, "gss_import_name", major, minor);
	major = gss_acquire_cred_from(&minor, name, GSS_C_INDEFINITE, &mechs,
				      gss->acceptor ? GSS_C_ACCEPT :
						      GSS_C_INITIATE,
				      &store, cred_out, NULL, NULL);
	if (name != GSS_C_NO_NAME)
		(void)gss_release_name(&ignored, &name);
	if (major != GSS_S_COMPLETE)
		return hvri_gss_explain(gss, "gss_acquire_cred_from", major,
					minor);
	memcpy(allowed, enctypes, sizeof(allowed));
	major = gss_krb5_set_allowable_enctypes(&minor, *cred_out,
						HVRI_COUNT_OF(allowed),
						allowed);
	if (major == GSS_S_COMPLETE)
		return HVREPL_OK;
	(void)gss_release_cred(&ignored, cred_out);
	return hvri_gss_explain(gss, "gss_krb5_set_allowable_enctypes", major,
				minor);
}

/* Take what GSSAPI wants sent. */
static int32_t take_token(struct hvri_gss *gss, const char *call,
			  gss_buffer_t out, unsigned kind)
{
	bool fine = hvri_gss_token_is(out->value, out->length, kind);
	uint32_t minor;

	if (fine) {
		memcpy(gss->token, out->value, out->length);
		gss->token_length = (uint32_t)out->length;
	}
	(void)gss_release_buffer(&minor, out);
	if (fine)
		return HVREPL_OK;
	gss->refusal = HVRI_REFUSE_OURS;
	return hvri_sys_fail(&gss->error, HVREPL_E_LIMIT, 0,
			     "%s made a token that is longer than %u bytes or "
			     "none of krb5: has our principal too many groups "
			     "at the KDC?", call, HVRI_GSS_TOKEN_MAX);
}

static void take_lifetime(struct hvri_gss *gss, uint32_t seconds)
{
	gss->lifetime_ns = seconds == GSS_C_INDEFINITE ?
				   UINT64_MAX : seconds * SECOND_NS;
}

static uint32_t step(struct hvri_gss *gss, gss_cred_id_t cred,
		     gss_buffer_t in, gss_buffer_t out, uint32_t *flags_out,
		     gss_OID *mech_out, uint32_t *minor)
{
	struct binding binding;
	gss_name_t target;
	uint32_t major = import(gss->peer, &target, minor);
	uint32_t seconds = 0, ignored;

	if (major != GSS_S_COMPLETE)
		return major;
	bind_to(gss, &binding);
	major = gss_init_sec_context(minor, cred, &gss->context, target, MECH,
				     NEEDED | GSS_C_CHANNEL_BOUND_FLAG, 0,
				     &binding.gss, in, mech_out, out, flags_out,
				     &seconds);
	(void)gss_release_name(&ignored, &target);
	take_lifetime(gss, seconds);
	return major;
}

static int32_t begin_with(struct hvri_gss *gss, const char *cache)
{
	gss_buffer_desc out = GSS_C_EMPTY_BUFFER;
	gss_cred_id_t cred;
	gss_OID mech;
	uint32_t major, minor, flags, ignored;
	int32_t rc = acquire(gss, cache, &cred);

	if (rc < 0)
		return rc;
	major = step(gss, cred, GSS_C_NO_BUFFER, &out, &flags, &mech, &minor);
	(void)gss_release_cred(&ignored, &cred);
	if (major == GSS_S_CONTINUE_NEEDED)
		return take_token(gss, "gss_init_sec_context", &out,
				  HVRI_GSS_AP_REQ);
	(void)gss_release_buffer(&ignored, &out);
	/* Done without an answer would not be mutual. */
	return major == GSS_S_COMPLETE ?
		       hvri_gss_lacks(gss, HVRI_REFUSE_FLAGS) :
		       hvri_gss_explain(gss, "gss_init_sec_context", major,
					minor);
}

int32_t hvri_gss_begin(struct hvri_gss *gss)
{
	char name[HVRI_GSS_CACHE_NAME];
	struct hvri_gss_tickets *tickets;
	uint64_t cache;
	int32_t rc;

	if (gss->kerberos->ccache != NULL)
		return begin_with(gss, NULL);
	tickets = hvri_gss_tickets_lock(gss->kerberos, gss->peer);
	if (tickets == NULL)
		return hvri_sys_fail(&gss->error, HVREPL_E_NOMEM, 0,
				     "out of memory");
	/* A fresh ticket needs a fresh cache; the old tickets are good until
	 * there are new ones. */
	cache = gss->fresh || tickets->cache == 0 ?
			hvri_gss_cache_new(gss->kerberos) : tickets->cache;
	hvri_gss_cache_name(gss->kerberos, cache, name);
	rc = begin_with(gss, name);
	if (cache != tickets->cache) {
		hvri_gss_cache_destroy(gss->kerberos, rc == HVREPL_OK ?
							      tickets->cache :
							      cache);
		if (rc == HVREPL_OK)
			tickets->cache = cache;
	}
	pthread_mutex_unlock(&tickets->mutex);
	return rc;
}

static bool has_aes_key(gss_ctx_id_t context)
{
	/* 1.2.840.113554.1.2.2.4, then the number of the enctype. */
	static const uint8_t prefix[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7,
					  0x12, 0x01, 0x02, 0x02, 0x04 };
	gss_buffer_set_t set = GSS_C_NO_BUFFER_SET;
	uint32_t minor;
	bool fine = false;

	if (gss_inquire_sec_context_by_oid(&minor, context,
					   GSS_C_INQ_SSPI_SESSION_KEY,
					   &set) != GSS_S_COMPLETE)
		return false;
	if (set != GSS_C_NO_BUFFER_SET && set->count == 2 &&
	    set->elements[1].length == sizeof(prefix) + 1 &&
	    memcmp(set->elements[1].value, prefix, sizeof(prefix)) == 0) {
		uint8_t enctype =
			((const uint8_t *)set->elements[1].value)[sizeof(prefix)];

		for (size_t i = 0; i < HVRI_COUNT_OF(enctypes); i++)
			fine |= enctype == enctypes[i];
	}
	if (set != GSS_C_NO_BUFFER_SET && set->count > 0)
		OPENSSL_cleanse(set->elements[0].value,
				set->elements[0].length);
	(void)gss_release_buffer_set(&minor, &set);
	return fine;
}

static bool show(gss_name_t name, char out[HVREPL_PEER_NAME_MAX + 1])
{
	gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
	uint32_t minor;
	bool fine;

	if (gss_display_name(&minor, name, &text, NULL) != GSS_S_COMPLETE)
		return false;
	fine = hvri_gss_is_plain(text.value, text.length);
	if (fine) {
		memcpy(out, text.value, text.length);
		out[text.length] = 0;
	}
	(void)gss_release_buffer(&minor, &text);
	return fine;
}

/* Both names as the context has them: who called, and who was called. */
static bool take_names(struct hvri_gss *gss)
{
	char initiator[HVREPL_PEER_NAME_MAX + 1] = "";
	char acceptor[HVREPL_PEER_NAME_MAX + 1] = "";
	gss_name_t source = GSS_C_NO_NAME, target = GSS_C_NO_NAME;
	uint32_t minor;
	bool fine = gss_inquire_context(&minor, gss->context, &source, &target,
					NULL, NULL, NULL, NULL,
					NULL) == GSS_S_COMPLETE &&
		    show(source, initiator) && show(target, acceptor);

	(void)gss_release_name(&minor, &source);
	(void)gss_release_name(&minor, &target);
	if (!fine)
		return false;
	if (gss->acceptor) {
		strcpy(gss->peer, initiator);
		strcpy(gss->self, acceptor);
		return strcmp(acceptor, gss->kerberos->principal) == 0;
	}
	strcpy(gss->self, initiator);
	return strcmp(acceptor, gss->peer) == 0;
}

/* A key that only holders of the ticket's key have, for what the session is bound
 * to from here on. */
static bool derive(struct hvri_gss *gss)
{
	static const char label[] = "hvrepl/1 krb5";
	uint8_t text[sizeof(label) + HVREPL_EXPORTER_SIZE];
	gss_buffer_desc in = { sizeof(text), text }, out = GSS_C_EMPTY_BUFFER;
	uint32_t minor;
	bool fine;

	memcpy(text, label, sizeof(label));
	memcpy(text + sizeof(label), gss->binding, HVREPL_EXPORTER_SIZE);
	if (gss_pseudo_random(&minor, gss->context, GSS_C_PRF_KEY_FULL, &in,
			      sizeof(gss->key), &out) != GSS_S_COMPLETE)
		return false;
	fine = out.length == sizeof(gss->key);
	if (fine)
		memcpy(gss->key, out.value, sizeof(gss->key));
	OPENSSL_cleanse(out.value, out.length);
	(void)gss_release_buffer(&minor, &out);
	return fine;
}

/* The context is complete: is it as it must be? */
static int32_t judge(struct hvri_gss *gss, uint32_t flags, gss_const_OID mech)
{
	uint32_t minor, refusal = 0;

	if (mech == GSS_C_NO_OID || !gss_oid_equal(mech, MECH))
		refusal = HVRI_REFUSE_TOKEN;
	else if (gss->acceptor && (flags & GSS_C_CHANNEL_BOUND_FLAG) == 0)
		refusal = HVRI_REFUSE_UNBOUND; /* MIT lets it pass. */
	else if ((flags & NEEDED) != NEEDED || (flags & FORBIDDEN) != 0)
		refusal = HVRI_REFUSE_FLAGS;
	else if (!has_aes_key(gss->context))
		refusal = HVRI_REFUSE_ENCTYPE;
	else if (!take_names(gss))
		refusal = HVRI_REFUSE_NAME;
	else if (!derive(gss))
		refusal = HVRI_REFUSE_OURS;
	(void)gss_delete_sec_context(&minor, &gss->context, GSS_C_NO_BUFFER);
	return refusal == 0 ? HVREPL_OK : hvri_gss_lacks(gss, refusal);
}

int32_t hvri_gss_finish(struct hvri_gss *gss)
{
	gss_buffer_desc in = { gss->token_length, gss->token };
	gss_buffer_desc out = GSS_C_EMPTY_BUFFER;
	gss_OID mech = GSS_C_NO_OID;
	uint32_t major, minor, flags = 0, ignored;
	bool more;

	if (!hvri_gss_token_is(gss->token, gss->token_length, HVRI_GSS_AP_REP))
		return hvri_gss_lacks(gss, HVRI_REFUSE_TOKEN);
	major = step(gss, GSS_C_NO_CREDENTIAL, &in, &out, &flags, &mech,
		     &minor);
	more = out.length > 0;
	(void)gss_release_buffer(&ignored, &out);
	if (major == GSS_S_COMPLETE && !more)
		return judge(gss, flags, mech);
	return major == GSS_S_COMPLETE || major == GSS_S_CONTINUE_NEEDED ?
		       hvri_gss_lacks(gss, HVRI_REFUSE_TOKEN) :
		       hvri_gss_explain(gss, "gss_init_sec_context", major,
					minor);
}

int32_t hvri_gss_answer(struct hvri_gss *gss)
{
	gss_buffer_desc in = { gss->token_length, gss->token };
	gss_buffer_desc out = GSS_C_EMPTY_BUFFER;
	gss_cred_id_t cred;
	gss_OID mech = GSS_C_NO_OID;
	struct binding binding;
	uint32_t major, minor, flags = 0, seconds = 0, ignored;
	int32_t rc;

	if (!hvri_gss_token_is(gss->token, gss->token_length, HVRI_GSS_AP_REQ))
		return hvri_gss_lacks(gss, HVRI_REFUSE_TOKEN);
	rc = acquire(gss, NULL, &cred);
	if (rc < 0) {
		gss->refusal = HVRI_REFUSE_OURS;
		return rc;
	}
	bind_to(gss, &binding);
	major = gss_accept_sec_context(&minor, &gss->context, cred, &in,
				       &binding.gss, NULL, &mech, &out, &flags,
				       &seconds, NULL);
	(void)gss_release_cred(&ignored, &cred);
	if (major == GSS_S_COMPLETE) {
		take_lifetime(gss, seconds);
		rc = judge(gss, flags, mech);
		if (rc == HVREPL_OK)
			return take_token(gss, "gss_accept_sec_context", &out,
					  HVRI_GSS_AP_REP);
	} else {
		rc = major == GSS_S_CONTINUE_NEEDED ?
			     hvri_gss_lacks(gss, HVRI_REFUSE_FLAGS) :
			     hvri_gss_explain(gss, "gss_accept_sec_context",
					      major, minor);
	}
	(void)gss_release_buffer(&ignored, &out);
	return rc;
}
