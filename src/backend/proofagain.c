/* SPDX-License-Identifier: Apache-2.0 */
/* A proved connection: its data in frames, and the proofs that follow between them. */
#include "backend/fileio.h"
#include "backend/proofparts.h"

#include <string.h>

/* Between two tries to prove ourselves anew. */
#define RETRY_MAX_NS (300 * SECOND_NS)
/* A client begins one a second at most. */
#define AGAIN_NS (HVRI_PROOF_AGAIN_MAX * SECOND_NS / 2)

uint64_t hvri_proof_deadline(const struct hvri_proof *proof)
{
	return proof->next_ns < proof->ends_ns ? proof->next_ns :
						 proof->ends_ns;
}

static void try_later(struct hvri_proof *proof)
{
	const struct hvri_mechanism *mechanism = proof->mechanism;
	uint64_t now = hvrepl_loop_now();
	uint64_t left = proof->ends_ns > now ? proof->ends_ns - now : 0;
	uint64_t pause = left / 8;

	if (pause < SECOND_NS)
		pause = SECOND_NS;
	if (pause > RETRY_MAX_NS)
		pause = RETRY_MAX_NS;
	proof->renewal_failed |= proof->job != NULL;
	if (mechanism->renewal_failed != NULL && proof->job != NULL)
		mechanism->renewal_failed(mechanism->notify,
					  proof->session->peer, left,
					  &proof->job->error);
	hvri_proof_stop(proof);
	proof->next_ns = now + pause;
}

int32_t hvri_proof_due(struct hvri_proof *proof)
{
	uint64_t now = hvrepl_loop_now();

	if (now >= proof->ends_ns)
		return hvri_sys_fail(
			&proof->why, HVREPL_E_UNAUTHENTICATED, 0,
			proof->session->server ?
				"%.100s has not proved itself anew in time: its "
				"proof by %s has ended" :
				"our proof to %.100s by %s has ended and could "
				"not be made anew",
			proof->session->peer, proof->mechanism->word);
	if (now < proof->next_ns)
		return HVREPL_OK;
	proof->next_ns = UINT64_MAX;
	if (proof->job == NULL && hvri_proof_start_job(proof, true) < 0)
		try_later(proof);
	return HVREPL_OK;
}

static void over_again(struct hvri_proof *proof)
{
	hvri_proof_take_result(proof);
	hvri_proof_stop(proof);
}

/* It is over, for what the job says. Who asked hears a number for it, if there is
 * room for that just now. */
static int32_t ends_again(struct hvri_proof *proof)
{
	const struct hvri_proof_job *job = proof->job;

	if (proof->session->server && !proof->in_data) {
		hvri_proof_refuse(proof, job->step.reason);
		(void)hvri_proof_flush(proof);
	}
	return hvri_sys_fail(&proof->why, HVREPL_E_UNAUTHENTICATED,
			     job->error.sys_errno,
			     "the new proof of %.60s by %s failed: %.150s",
			     proof->session->peer, proof->mechanism->word,
			     job->error.sentence);
}

/* What the authenticator made of it. */
static int32_t called_again(struct hvri_proof *proof)
{
	struct hvri_proof_job *job = proof->job;
	bool server = proof->session->server;

	job->done = false;
	if (job->result == HVREPL_OK &&
	    strcmp(job->step.peer, proof->session->peer) != 0) {
		job->result = hvri_sys_fail(
			&job->error, HVREPL_E_UNAUTHENTICATED, 0,
			"on its connection %.100s proved itself",
			job->step.peer);
		job->step.reason = HVREPL_REFUSED_NAME;
	}
	if (job->result >= 0 && !hvri_proof_ends_silently(proof)) {
		proof->token_waits = true;
	} else if (job->result >= 0) {
		over_again(proof);
	} else if (server || job->heard > 0) {
		return ends_again(proof);
	} else {
		try_later(proof); /* The peer has not heard of it. */
	}
	return HVREPL_OK;
}

int32_t hvri_proof_pump(struct hvri_proof *proof)
{
	int32_t rc = HVREPL_OK;

	if (proof->job != NULL && proof->job->done)
		rc = called_again(proof);
	if (rc < 0 || proof->in_data)
		return rc;
	if (proof->token_waits) {
		hvri_proof_put_step(proof);
		proof->token_waits = false;
		proof->token_leaves = true;
	}
	if (!proof->token_leaves)
		return HVREPL_OK;
	rc = hvri_proof_flush(proof);
	if (rc != HVREPL_OK)
		return rc;
	proof->token_leaves = false;
	if (proof->session->server && proof->job->result == HVREPL_OK)
		over_again(proof);
	else
		proof->job->awaits = true;
	return HVREPL_OK;
}

int32_t hvri_proof_send(struct hvri_proof *proof, struct hvri_tls_out *out,
			size_t budget)
{
	struct hvri_tls_session *session = proof->session;
	uint64_t length = 0;
	int32_t rc = hvri_proof_pump(proof);

	if (rc != HVREPL_OK)
		return rc;
	if (!proof->in_data) {
		for (uint32_t i = 0; i < out->count; i++)
			length += out->iov[i].length;
		if (length == 0)
			return HVREPL_OK;
		hvri_proof_put_frame(proof, HVRI_PROOF_DATA, "", 0);
		for (uint32_t i = 0; i < HVRI_PROOF_HEADER - 1; i++)
			session->record[i] = (uint8_t)(length >> (8 * i));
		hvri_tls_gather(session, out);
		proof->in_data = true;
	}
	rc = hvri_tls_send(session, out, budget);
	if (rc == HVREPL_OK)
		proof->in_data = false;
	return rc;
}

/* The peer proves itself anew, as often as a client of ours would and no more: each
 * costs a thread, and may cost a question to a KDC. */
static int32_t begin_again(struct hvri_proof *proof)
{
	uint64_t *oldest = &proof->again_ns[proof->again_at];
	uint64_t now = hvrepl_loop_now();

	if (*oldest != 0 && now - *oldest < AGAIN_NS)
		return hvri_sys_fail(&proof->why, HVREPL_E_LIMIT, 0,
				     "%.100s began more than %u new proofs by %s "
				     "within %u s",
				     proof->session->peer, HVRI_PROOF_AGAIN_MAX,
				     proof->mechanism->word,
				     (unsigned)(AGAIN_NS / SECOND_NS));
	*oldest = now;
	proof->again_at = (proof->again_at + 1) % HVRI_PROOF_AGAIN_MAX;
	return hvri_proof_start_job(proof, true);
}

static int32_t heard_again(struct hvri_proof *proof)
{
	struct hvri_proof_job *job = proof->job;
	int32_t rc;

	if (proof->kind == HVRI_PROOF_REFUSED) {
		(void)hvri_proof_refused(proof, &proof->why);
		return HVREPL_E_UNAUTHENTICATED;
	}
	if (job == NULL && proof->session->server)
		return begin_again(proof);
	/* Nothing is due to us unless ours is out; who has ended waits to be
	 * accepted, and for nothing else. */
	if (job == NULL || !job->awaits ||
	    (job->result == HVREPL_OK) != (proof->kind == HVRI_PROOF_ACCEPTED))
		return hvri_proof_broken(proof, HVREPL_E_PROTOCOL, &proof->why);
	if (proof->kind == HVRI_PROOF_ACCEPTED) {
		over_again(proof);
		return HVREPL_OK;
	}
	rc = hvri_proof_step_on(proof);
	return rc == HVREPL_E_LIMIT ?
		       hvri_proof_broken(proof, rc, &proof->why) : rc;
}

int32_t hvri_proof_receive(struct hvri_proof *proof, void *buffer,
			   size_t length, size_t *received_out)
{
	size_t got = 0;

	while (got < length) {
		int32_t rc = hvri_proof_next_frame(proof);
		size_t piece = 0, room = length - got;

		if (rc == HVREPL_OK && proof->kind != HVRI_PROOF_DATA) {
			rc = heard_again(proof);
			if (rc < 0)
				return rc;
			continue;
		}
		if (rc == HVREPL_OK) {
			rc = hvri_proof_read_some(proof,
						  (uint8_t *)buffer + got,
						  proof->left < room ?
							  (size_t)proof->left :
							  room,
						  &piece);
			if (rc == HVREPL_E_CLOSED)
				rc = HVREPL_E_DISCONNECTED;
		}
		got += piece;
		proof->left -= piece;
		if (rc == HVREPL_OK)
			continue;
		/* What came is handed over first; why no more came is found
		 * out again by the next call. */
		if (got > 0)
			break;
		if (rc != HVREPL_E_CLOSED)
			return rc;
		*received_out = 0;
		return HVREPL_OK;
	}
	*received_out = got;
	return HVREPL_OK;
}
