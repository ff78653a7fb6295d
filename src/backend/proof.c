/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of a connection that an authenticator proves: the first proof. */
#include "backend/proofparts.h"

#include "backend/fileio.h"

#include <hvrepl/authorisation.h>

#include <stdlib.h>
#include <string.h>

/* A proof of a moment may be followed so late, if a handshake may take as long. */
#define LATE_NS (10 * SECOND_NS)

int32_t hvri_proof_create(struct hvri_tls_session *session, hvrepl_tls *tls,
			  hvrepl_loop *loop, void (*wake)(void *user),
			  void *user, struct hvri_proof **out)
{
	struct hvri_proof *proof = calloc(1, sizeof(*proof));

	if (proof == NULL)
		return HVREPL_E_NOMEM;
	proof->session = session;
	proof->mechanism = hvri_tls_mechanism(tls);
	proof->tls = tls;
	proof->loop = loop;
	proof->wake = wake;
	proof->user = user;
	proof->next_ns = proof->ends_ns = UINT64_MAX;
	proof->why = (struct hvrepl_error)HVREPL_ERROR_INIT;
	*out = proof;
	return HVREPL_OK;
}

void hvri_proof_free(struct hvri_proof *proof)
{
	if (proof == NULL)
		return;
	hvri_proof_job_drop(proof->job);
	OPENSSL_cleanse(proof, sizeof(*proof));
	free(proof);
}

void hvri_proof_stop(struct hvri_proof *proof)
{
	hvri_proof_job_drop(proof->job);
	proof->job = NULL;
}

const uint8_t *hvri_proof_exporter(const struct hvri_proof *proof)
{
	return proof->exporter;
}

const struct hvrepl_error *hvri_proof_why(const struct hvri_proof *proof)
{
	return proof->why.code < 0 ? &proof->why : NULL;
}

uint64_t hvri_proof_count(const struct hvri_proof *proof)
{
	return proof->count;
}

/* What the peer sent goes to the authenticator; nothing for the first of ours. */
static int32_t next_step(struct hvri_proof *proof)
{
	bool server = proof->session->server;

	/* Who knocks for the first time is one of many. */
	return hvri_proof_job_step(proof->job, proof->token, proof->token_at,
				   proof->loop,
				   server && proof->stage != PROVED,
				   proof->wake, proof->user);
}

/* A new exchange, and its first step. */
int32_t hvri_proof_start_job(struct hvri_proof *proof, bool again)
{
	bool server = proof->session->server;

	proof->job = hvri_proof_job_new(proof->tls,
					server ? NULL : proof->session->expected,
					proof->binding, again);
	if (proof->job == NULL)
		return HVREPL_E_NOMEM;
	if (!server)
		proof->token_at = 0;
	proof->job->heard = server;
	return next_step(proof);
}

/* The exchange goes on with the token that came; LIMIT: there were too many. */
int32_t hvri_proof_step_on(struct hvri_proof *proof)
{
	return ++proof->job->heard > HVREPL_PROOF_TOKENS_MAX ? HVREPL_E_LIMIT :
							 next_step(proof);
}

/* The exchange is over and good. */
void hvri_proof_take_result(struct hvri_proof *proof)
{
	const struct hvrepl_proof_step *step = &proof->job->step;
	const struct hvri_mechanism *mechanism = proof->mechanism;
	uint64_t now = hvrepl_loop_now(), life = step->lifetime_ns, end;
	/* The client's next proof may come so much late: as a handshake may take, but
	 * where that is for ever the proof ends all the same. */
	uint64_t late = hvri_tls_options(proof->tls)->handshake_timeout_ns;
	uint64_t late_max = life > LATE_NS ? life : LATE_NS;
	bool ends = life < UINT64_MAX - now;

	if (proof->count++ == 0)
		strcpy(proof->session->peer, step->peer);
	if (proof->renewal_failed && mechanism->renewed != NULL)
		mechanism->renewed(mechanism->notify, proof->session->peer);
	proof->renewal_failed = false;
	proof->next_ns = proof->ends_ns = UINT64_MAX;
	if (!ends)
		return;
	if (proof->session->server) {
		late = late < late_max ? late : late_max;
		proof->ends_ns = __builtin_add_overflow(now + life, late, &end) ?
					 UINT64_MAX : end;
	} else {
		proof->ends_ns = now + life;
		proof->next_ns = now + (life > 2 * SECOND_NS ? life / 2 :
							       SECOND_NS);
	}
}

/* Between two frames: make the next record this one. */
void hvri_proof_put_frame(struct hvri_proof *proof, uint32_t kind,
			  const void *bytes, uint32_t length)
{
	struct hvri_tls_session *session = proof->session;

	memset(session->record, 0, HVRI_PROOF_HEADER);
	session->record[0] = (uint8_t)length;
	session->record[1] = (uint8_t)(length >> 8);
	session->record[HVRI_PROOF_HEADER - 1] = (uint8_t)kind;
	memcpy(session->record + HVRI_PROOF_HEADER, bytes, length);
	session->record_length = HVRI_PROOF_HEADER + length;
}

int32_t hvri_proof_flush(struct hvri_proof *proof)
{
	struct hvri_tls_out nothing = { NULL, 0, 0 };

	return hvri_tls_send(proof->session, &nothing, SIZE_MAX);
}

static int32_t take_header(struct hvri_proof *proof)
{
	uint64_t value = 0;

	for (uint32_t i = 0; i < HVRI_PROOF_HEADER; i++)
		value |= (uint64_t)proof->header[i] << (8 * i);
	proof->header_at = 0;
	proof->kind = (uint32_t)(value >> 56);
	proof->left = value & ((1ull << 56) - 1);
	proof->token_at = 0;
	if (proof->left == 0)
		return HVREPL_E_PROTOCOL;
	switch (proof->kind) {
	case HVRI_PROOF_TOKEN:
		return proof->left <= HVREPL_PROOF_TOKEN_MAX ? HVREPL_OK :
							 HVREPL_E_LIMIT;
	case HVRI_PROOF_ACCEPTED:
	case HVRI_PROOF_REFUSED:
		return proof->left == 4 && !proof->session->server ?
			       HVREPL_OK : HVREPL_E_PROTOCOL;
	case HVRI_PROOF_DATA:
		return proof->stage == PROVED ? HVREPL_OK : HVREPL_E_PROTOCOL;
	default:
		return HVREPL_E_PROTOCOL;
	}
}

/* Bytes of the TLS connection; CLOSED when there are no more. */
int32_t hvri_proof_read_some(struct hvri_proof *proof, void *buffer,
			     size_t length, size_t *got_out)
{
	int32_t rc = hvri_tls_receive(proof->session, buffer, length, got_out);

	return rc == HVREPL_OK && *got_out == 0 ? HVREPL_E_CLOSED : rc;
}

/* Until a DATA frame has begun (kind DATA) or another is whole (left 0). */
int32_t hvri_proof_next_frame(struct hvri_proof *proof)
{
	size_t got = 0;
	int32_t rc;

	while (proof->left == 0) {
		bool first = proof->header_at == 0;

		rc = hvri_proof_read_some(proof,
					  proof->header + proof->header_at,
					  HVRI_PROOF_HEADER - proof->header_at,
					  &got);
		if (rc != HVREPL_OK)
			return rc == HVREPL_E_CLOSED && !first ?
				       HVREPL_E_DISCONNECTED : rc;
		proof->header_at += (uint32_t)got;
		if (proof->header_at < HVRI_PROOF_HEADER)
			continue;
		rc = take_header(proof);
		if (rc < 0)
			return rc;
	}
	while (proof->kind != HVRI_PROOF_DATA && proof->left > 0) {
		rc = hvri_proof_read_some(proof, proof->token + proof->token_at,
					  (size_t)proof->left, &got);
		if (rc != HVREPL_OK)
			return rc == HVREPL_E_CLOSED ? HVREPL_E_DISCONNECTED :
						       rc;
		proof->token_at += (uint32_t)got;
		proof->left -= got;
	}
	return HVREPL_OK;
}

static uint32_t refusal_of(const struct hvri_proof *proof)
{
	uint32_t value = 0;

	for (uint32_t i = 0; i < 4; i++)
		value |= (uint32_t)proof->token[i] << (8 * i);
	return value;
}

/* ---- The first proof. ---- */

static bool is_known(const struct hvri_tls_session *session, const char *peer)
{
	if (session->known == NULL)
		return true;
	for (uint32_t i = 0; i < session->known_count; i++)
		if (strcmp(session->known[i], peer) == 0 ||
		    (session->known[i][0] == '*' &&
		     hvrepl_peer_pattern_matches(session->known[i], peer) != 0))
			return true;
	return false;
}

/* Between two frames: what the step that ended well has to say. */
void hvri_proof_put_step(struct hvri_proof *proof)
{
	static const uint8_t zeroes[4];
	const struct hvrepl_proof_step *step = &proof->job->step;

	if (step->token_length > 0)
		hvri_proof_put_frame(proof, HVRI_PROOF_TOKEN, step->token,
				     step->token_length);
	else
		hvri_proof_put_frame(proof, HVRI_PROOF_ACCEPTED, zeroes,
				     sizeof(zeroes));
}

/* Does it end here, without another word? Only at the client: the server has the
 * last one. */
bool hvri_proof_ends_silently(const struct hvri_proof *proof)
{
	return !proof->session->server && proof->job->result == HVREPL_OK &&
	       proof->job->step.token_length == 0;
}

/* The server says no; why is in the job. */
void hvri_proof_refuse(struct hvri_proof *proof, uint32_t reason)
{
	uint8_t bytes[4];

	for (unsigned i = 0; i < 4; i++)
		bytes[i] = (uint8_t)(reason >> (8 * i));
	hvri_proof_put_frame(proof, HVRI_PROOF_REFUSED, bytes, sizeof(bytes));
	proof->stage = REFUSING;
}

static int32_t settled(struct hvri_proof *proof, struct hvrepl_error *error)
{
	if (!hvri_proof_job_exporter(proof->job, proof->exporter))
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0,
				     "out of memory");
	hvri_proof_take_result(proof);
	hvri_proof_stop(proof);
	proof->stage = PROVED;
	return HVREPL_OK;
}

static int32_t called(struct hvri_proof *proof, struct hvrepl_error *error)
{
	struct hvri_proof_job *job = proof->job;

	if (job->result == HVREPL_OK && proof->session->server &&
	    !is_known(proof->session, job->step.peer)) {
		job->result = hvri_sys_fail(&job->error,
					    HVREPL_E_UNAUTHENTICATED, 0,
					    "%.180s is not among the peers of "
					    "this site: add it if it should be",
					    job->step.peer);
		job->step.reason = HVREPL_REFUSED_NAME;
	}
	if (job->result < 0 && proof->session->server) {
		hvri_proof_refuse(proof, job->step.reason);
	} else if (job->result < 0) {
		proof->stage = REFUSING; /* Nobody to be told. */
	} else if (hvri_proof_ends_silently(proof)) {
		return settled(proof, error);
	} else {
		hvri_proof_put_step(proof);
		proof->stage = FLUSHING;
	}
	return HVREPL_OK;
}

static int32_t fail_like_job(struct hvri_proof *proof,
			     struct hvrepl_error *error)
{
	const struct hvri_proof_job *job = proof->job;

	return hvri_sys_fail(error, job->result, job->error.sys_errno, "%s",
			     job->error.sentence);
}

int32_t hvri_proof_broken(struct hvri_proof *proof, int32_t code,
			  struct hvrepl_error *error)
{
	const struct hvri_mechanism *mechanism = proof->mechanism;

	proof->session->step = mechanism->step;
	if (code == HVREPL_E_LIMIT &&
	    (proof->job == NULL || proof->job->heard <= HVREPL_PROOF_TOKENS_MAX))
		return hvri_sys_fail(error, code, 0,
				     "the peer's %s token has more than %u "
				     "bytes%s", mechanism->word,
				     HVREPL_PROOF_TOKEN_MAX, mechanism->long_hint);
	if (code == HVREPL_E_LIMIT)
		return hvri_sys_fail(error, code, 0,
				     "the peer sent more than %u tokens of %s "
				     "and is not proved: is it the same version "
				     "of that mechanism?", HVREPL_PROOF_TOKENS_MAX,
				     mechanism->word);
	if (code == HVREPL_E_PROTOCOL)
		return hvri_sys_fail(error, code, 0,
				     "the peer sent something else than a "
				     "%s token: is that hvrepl, and the "
				     "same version?", mechanism->word);
	return hvri_sys_fail(error, HVREPL_E_DISCONNECTED, 0,
			     "the peer closed the connection during the "
			     "%s exchange: look at its log", mechanism->word);
}

/* The step could not even be begun. */
static int32_t not_begun(struct hvri_proof *proof, int32_t rc,
			 struct hvrepl_error *error)
{
	if (proof->job == NULL)
		return hvri_sys_fail(error, rc, 0, "out of memory");
	if (rc == HVREPL_E_LIMIT)
		return hvri_proof_broken(proof, rc, error);
	proof->job->result = rc;
	if (!proof->session->server)
		return fail_like_job(proof, error);
	hvri_proof_refuse(proof, HVREPL_REFUSED_BUSY);
	return HVREPL_OK;
}

int32_t hvri_proof_refused(struct hvri_proof *proof, struct hvrepl_error *error)
{
	const struct hvri_mechanism *mechanism = proof->mechanism;
	char own[HVREPL_SENTENCE_MAX] = "";
	uint32_t reason = refusal_of(proof);

	proof->session->step = mechanism->acceptance;
	if (mechanism->explain != NULL)
		return mechanism->explain(mechanism->user,
					  proof->session->expected, reason,
					  error);
	if (reason == HVREPL_REFUSED_NAME)
		strcpy(own, "we are not among its peers: add us there");
	else if (reason == HVREPL_REFUSED_BUSY)
		strcpy(own, "it is busy proving others: try again");
	else if (reason >= HVREPL_REFUSED_OWN && mechanism->ops.refused != NULL)
		mechanism->ops.refused(mechanism->user, reason, own);
	own[sizeof(own) - 1] = 0;
	return hvri_sys_fail(error, HVREPL_E_PEER_REFUSED, 0,
			     "%.80s refused our proof by %s: %s",
			     proof->session->expected, mechanism->word,
			     own[0] != 0 ? own : "its log says why");
}

/* A frame of the peer is here. */
static int32_t first_heard(struct hvri_proof *proof, struct hvrepl_error *error)
{
	bool over = proof->job != NULL && proof->job->result == HVREPL_OK;
	int32_t rc;

	if (proof->kind == HVRI_PROOF_REFUSED)
		return hvri_proof_refused(proof, error);
	/* Who has ended waits to be accepted, and for nothing else. */
	if (over != (proof->kind == HVRI_PROOF_ACCEPTED))
		return hvri_proof_broken(proof, HVREPL_E_PROTOCOL, error);
	if (over)
		return settled(proof, error);
	proof->stage = CALLING;
	rc = proof->job == NULL ? hvri_proof_start_job(proof, false) :
				  hvri_proof_step_on(proof);
	return rc < 0 ? not_begun(proof, rc, error) : HVREPL_OK;
}

static int32_t flushed(struct hvri_proof *proof, struct hvrepl_error *error)
{
	if (proof->stage == REFUSING)
		return fail_like_job(proof, error);
	if (proof->session->server && proof->job->result == HVREPL_OK)
		return settled(proof, error);
	proof->stage = READING;
	return HVREPL_OK;
}

static int32_t start(struct hvri_proof *proof, struct hvrepl_error *error)
{
	int32_t rc = hvri_tls_exporter(proof->session, proof->binding);

	if (rc < 0)
		return hvri_sys_fail(error, rc, 0,
				     "TLS gave no value to bind %s to",
				     proof->mechanism->word);
	proof->stage = proof->session->server ? READING : CALLING;
	rc = proof->session->server ? HVREPL_OK : hvri_proof_start_job(proof, false);
	return rc < 0 ? not_begun(proof, rc, error) : HVREPL_OK;
}

int32_t hvri_proof_step(struct hvri_proof *proof, struct hvrepl_error *error)
{
	int32_t rc = HVREPL_OK;

	proof->session->step = proof->mechanism->step;
	while (rc == HVREPL_OK && proof->stage != PROVED) {
		switch (proof->stage) {
		case START:
			rc = start(proof, error);
			break;
		case CALLING:
			proof->session->want = 0;
			rc = HVREPL_PENDING;
			if (proof->job->done) {
				rc = called(proof, error);
			}
			break;
		case FLUSHING:
		case REFUSING:
			rc = hvri_proof_flush(proof);
			if (rc < 0 && proof->stage == FLUSHING)
				rc = hvri_proof_broken(proof, rc, error);
			else if (rc != HVREPL_PENDING)
				rc = flushed(proof, error);
			break;
		case READING:
			rc = hvri_proof_next_frame(proof);
			if (rc < 0)
				rc = hvri_proof_broken(proof, rc, error);
			else if (rc == HVREPL_OK)
				rc = first_heard(proof, error);
			break;
		case PROVED:
			break;
		}
	}
	if (rc == HVREPL_OK)
		proof->session->step = HVREPL_STEP_DONE;
	return rc;
}
