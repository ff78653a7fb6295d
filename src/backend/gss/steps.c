/* SPDX-License-Identifier: Apache-2.0 */
/* Kerberos as an authenticator: its calls as steps with tokens. */
#include "backend/fileio.h"
#include "backend/gss/gss.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int32_t begin(void *user, const struct hvrepl_proof_begin *begin,
		     void **proof_out, struct hvrepl_proof_step *step)
{
	struct hvri_gss *gss = calloc(1, sizeof(*gss));

	if (gss == NULL) {
		snprintf(step->sentence, sizeof(step->sentence),
			 "out of memory");
		return HVREPL_E_NOMEM;
	}
	hvri_gss_init(gss, user, begin->peer, begin->binding);
	gss->fresh = begin->initiator != 0 && begin->again != 0;
	*proof_out = gss;
	return HVREPL_OK;
}

static void end(void *user, void *proof)
{
	(void)user;
	hvri_gss_free(proof);
	free(proof);
}

/* What the peer is to hear. */
static void say(const struct hvri_gss *gss, struct hvrepl_proof_step *step)
{
	memcpy(step->token, gss->token, gss->token_length);
	step->token_length = gss->token_length;
}

static int32_t step(void *user, void *proof, const void *token, size_t length,
		    struct hvrepl_proof_step *out)
{
	struct hvri_gss *gss = proof;
	bool last = token != NULL;
	int32_t rc;

	(void)user;
	if (length > sizeof(gss->token))
		return HVREPL_E_LIMIT;
	if (token != NULL) {
		memcpy(gss->token, token, length);
		gss->token_length = (uint32_t)length;
	}
	if (gss->acceptor)
		rc = hvri_gss_answer(gss);
	else
		rc = last ? hvri_gss_finish(gss) : hvri_gss_begin(gss);
	if (rc < 0) {
		out->reason = gss->refusal;
		memcpy(out->sentence, gss->error.sentence,
		       sizeof(out->sentence));
		return rc;
	}
	if (gss->acceptor || !last)
		say(gss, out);
	if (!last)
		return HVREPL_PENDING;
	out->lifetime_ns = gss->lifetime_ns;
	memcpy(out->peer, gss->peer, sizeof(out->peer));
	memcpy(out->self, gss->self, sizeof(out->self));
	memcpy(out->key, gss->key, sizeof(out->key));
	return HVREPL_OK;
}

static int32_t canonical(void *user, const char *name,
			 char out[HVREPL_PEER_NAME_MAX + 1])
{
	return hvri_kerberos_canonical(user, name, out);
}

static int32_t check(void *user, struct hvrepl_error *error)
{
	return hvri_kerberos_check(user, error);
}

static void release(void *user)
{
	hvri_kerberos_free(user);
}

static int32_t explain(void *user, const char *peer, uint32_t reason,
		       struct hvrepl_error *error)
{
	return hvri_gss_refused(user, peer, reason, error);
}

struct hvri_mechanism *hvri_kerberos_mechanism(struct hvri_kerberos *kerberos)
{
	struct hvri_mechanism *mechanism = calloc(1, sizeof(*mechanism));

	if (mechanism == NULL) {
		hvri_kerberos_free(kerberos);
		return NULL;
	}
	(void)hvri_mechanism_name(mechanism, "krb5");
	mechanism->ops = (struct hvrepl_authenticator_ops){
		.struct_size = sizeof(mechanism->ops),
		.flags = HVREPL_AUTHENTICATOR_BLOCKS,
		.begin = begin,
		.step = step,
		.end = end,
		.canonical = canonical,
	};
	mechanism->user = kerberos;
	mechanism->release = release;
	mechanism->word = "Kerberos";
	mechanism->long_hint = ": has its principal too many groups?";
	mechanism->channel = HVREPL_MECHANISM_KERBEROS;
	mechanism->step = HVREPL_STEP_KERBEROS;
	mechanism->acceptance = HVREPL_STEP_KERBEROS_ACCEPTANCE;
	mechanism->cannot_listen = kerberos->keytab != NULL ?
		NULL :
		"to be called with Kerberos a site needs a keytab; tickets are "
		"for calling";
	mechanism->check = check;
	mechanism->explain = explain;
	memcpy(mechanism->self, kerberos->principal, sizeof(mechanism->self));
	mechanism->renewal_failed = kerberos->renewal_failed;
	mechanism->renewed = kerberos->renewed;
	mechanism->notify = kerberos->user;
	atomic_init(&mechanism->threads, 0);
	return mechanism;
}
