/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of a connection that an authenticator proves, once and again. */
#include "backend/proof.h"

#include "backend/fileio.h"
#include "backend/proofjob.h"

#include <hvrepl/authorisation.h>

#include <stdlib.h>
#include <string.h>

#define SECOND_NS 1000000000ull
/* Between two tries to prove ourselves anew. */
#define RETRY_MAX_NS (300 * SECOND_NS)
/* A client begins one a second at most. */
#define AGAIN_NS (HVRI_PROOF_AGAIN_MAX * SECOND_NS / 2)

enum stage {
	START,    /* Of the first proof. */
	CALLING,  /* The authenticator has it. */
	FLUSHING, /* A token, or that all is well, is on its way out. */
	READING,  /* The peer's frame is awaited. */
	REFUSING, /* FLUSHING, and then it has failed. */
	PROVED,
};

struct hvri_proof {
	struct hvri_tls_session *session;
	struct hvri_mechanism *mechanism;
	hvrepl_tls *tls;
	hvrepl_loop *loop;
	void (*wake)(void *user);
	void *user;
	enum stage stage;
	struct hvri_proof_job *job; /* An exchange under way, or NULL. */
	uint8_t binding[HVREPL_EXPORTER_SIZE];
	uint8_t exporter[HVREPL_EXPORTER_SIZE];
	uint64_t next_ns, ends_ns; /* Client's next proof; end of this one. */
	uint64_t count;
	/* Server: when the peer last began anew, oldest at `again_at`. */
	uint64_t again_ns[HVRI_PROOF_AGAIN_MAX];
	uint32_t again_at;
	bool renewal_failed; /* And it was said. */
	struct hvrepl_error why; /* It ended, once it was proved; or all zero. */
	/* The frame being received. */
	uint8_t header[HVRI_PROOF_HEADER];
	uint32_t header_at;
	uint32_t kind;
	uint64_t left;
	uint8_t token[HVREPL_PROOF_TOKEN_MAX];
	uint32_t token_at;
	/* Sending. */
	bool in_data; /* Between two DATA frames otherwise. */
	bool token_waits, token_leaves;
};

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
static int32_t start_job(struct hvri_proof *proof, bool again)
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
static int32_t step_on(struct hvri_proof *proof)
{
	return ++proof->job->heard > HVREPL_PROOF_TOKENS_MAX ? HVREPL_E_LIMIT :
							 next_step(proof);
}

/* The exchange is over and good. */
static void take_result(struct hvri_proof *proof)
{
	const struct hvrepl_proof_step *step = &proof->job->step;
	const struct hvri_mechanism *mechanism = proof->mechanism;
	uint64_t now = hvrepl_loop_now(), life = step->lifetime_ns;
	/* The client's next proof may come so much late. */
	uint64_t late = hvri_tls_options(proof->tls)->handshake_timeout_ns;
	bool ends = life < UINT64_MAX - now && late < UINT64_MAX - now - life;

	if (proof->count++ == 0)
		strcpy(proof->session->peer, step->peer);
	if (proof->renewal_failed && mechanism->renewed != NULL)
		mechanism->renewed(mechanism->notify, proof->session->peer);
	proof->renewal_failed = false;
	proof->next_ns = proof->ends_ns = UINT64_MAX;
	if (!ends)
		return;
	if (proof->session->server) {
		proof->ends_ns = now + life + late;
	} else {
		proof->ends_ns = now + life;
		proof->next_ns = now + (life > 2 * SECOND_NS ? life / 2 :
							       SECOND_NS);
	}
}

/* Between two frames: make the next record this one. */
static void put_frame(struct hvri_proof *proof, uint32_t kind,
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

static int32_t flush(struct hvri_proof *proof)
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
static int32_t read_some(struct hvri_proof *proof, void *buffer, size_t length,
			 size_t *got_out)
{
	int32_t rc = hvri_tls_receive(proof->session, buffer, length, got_out);

	return rc == HVREPL_OK && *got_out == 0 ? HVREPL_E_CLOSED : rc;
}

/* Until a DATA frame has begun (kind DATA) or another is whole (left 0). */
static int32_t next_frame(struct hvri_proof *proof)
{
	size_t got = 0;
	int32_t rc;

	while (proof->left == 0) {
		bool first = proof->header_at == 0;

		rc = read_some(proof, proof->header + proof->header_at,
			       HVRI_PROOF_HEADER - proof->header_at, &got);
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
		rc = read_some(proof, proof->token + proof->token_at,
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
static void put_step(struct hvri_proof *proof)
{
	static const uint8_t zeroes[4];
	const struct hvrepl_proof_step *step = &proof->job->step;

	if (step->token_length > 0)
		put_frame(proof, HVRI_PROOF_TOKEN, step->token,
			  step->token_length);
	else
		put_frame(proof, HVRI_PROOF_ACCEPTED, zeroes, sizeof(zeroes));
}

/* Does it end here, without another word? Only at the client: the server has the
 * last one. */
static bool ends_silently(const struct hvri_proof *proof)
{
	return !proof->session->server && proof->job->result == HVREPL_OK &&
	       proof->job->step.token_length == 0;
}

/* The server says no; why is in the job. */
static void refuse(struct hvri_proof *proof, uint32_t reason)
{
	uint8_t bytes[4];

	for (unsigned i = 0; i < 4; i++)
		bytes[i] = (uint8_t)(reason >> (8 * i));
	put_frame(proof, HVRI_PROOF_REFUSED, bytes, sizeof(bytes));
	proof->stage = REFUSING;
}

static int32_t settled(struct hvri_proof *proof, struct hvrepl_error *error)
{
	if (!hvri_proof_job_exporter(proof->job, proof->exporter))
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0,
				     "out of memory");
	take_result(proof);
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
		refuse(proof, job->step.reason);
	} else if (job->result < 0) {
		proof->stage = REFUSING; /* Nobody to be told. */
	} else if (ends_silently(proof)) {
		return settled(proof, error);
	} else {
		put_step(proof);
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

static int32_t broken(struct hvri_proof *proof, int32_t code,
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
		return broken(proof, rc, error);
	proof->job->result = rc;
	if (!proof->session->server)
		return fail_like_job(proof, error);
	refuse(proof, HVREPL_REFUSED_BUSY);
	return HVREPL_OK;
}

static int32_t refused(struct hvri_proof *proof, struct hvrepl_error *error)
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
		return refused(proof, error);
	/* Who has ended waits to be accepted, and for nothing else. */
	if (over != (proof->kind == HVRI_PROOF_ACCEPTED))
		return broken(proof, HVREPL_E_PROTOCOL, error);
	if (over)
		return settled(proof, error);
	proof->stage = CALLING;
	rc = proof->job == NULL ? start_job(proof, false) : step_on(proof);
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
	rc = proof->session->server ? HVREPL_OK : start_job(proof, false);
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
			rc = flush(proof);
			if (rc < 0 && proof->stage == FLUSHING)
				rc = broken(proof, rc, error);
			else if (rc != HVREPL_PENDING)
				rc = flushed(proof, error);
			break;
		case READING:
			rc = next_frame(proof);
			if (rc < 0)
				rc = broken(proof, rc, error);
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

/* ---- Data, and the proofs that follow. ---- */

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
	if (proof->job == NULL && start_job(proof, true) < 0)
		try_later(proof);
	return HVREPL_OK;
}

static void over_again(struct hvri_proof *proof)
{
	take_result(proof);
	hvri_proof_stop(proof);
}

/* It is over, for what the job says. Who asked hears a number for it, if there is
 * room for that just now. */
static int32_t ends_again(struct hvri_proof *proof)
{
	const struct hvri_proof_job *job = proof->job;

	if (proof->session->server && !proof->in_data) {
		refuse(proof, job->step.reason);
		(void)flush(proof);
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
	if (job->result >= 0 && !ends_silently(proof)) {
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
		put_step(proof);
		proof->token_waits = false;
		proof->token_leaves = true;
	}
	if (!proof->token_leaves)
		return HVREPL_OK;
	rc = flush(proof);
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
		put_frame(proof, HVRI_PROOF_DATA, "", 0);
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
	return start_job(proof, true);
}

static int32_t heard_again(struct hvri_proof *proof)
{
	struct hvri_proof_job *job = proof->job;
	int32_t rc;

	if (proof->kind == HVRI_PROOF_REFUSED) {
		(void)refused(proof, &proof->why);
		return HVREPL_E_UNAUTHENTICATED;
	}
	if (job == NULL && proof->session->server)
		return begin_again(proof);
	/* Nothing is due to us unless ours is out; who has ended waits to be
	 * accepted, and for nothing else. */
	if (job == NULL || !job->awaits ||
	    (job->result == HVREPL_OK) != (proof->kind == HVRI_PROOF_ACCEPTED))
		return broken(proof, HVREPL_E_PROTOCOL, &proof->why);
	if (proof->kind == HVRI_PROOF_ACCEPTED) {
		over_again(proof);
		return HVREPL_OK;
	}
	rc = step_on(proof);
	return rc == HVREPL_E_LIMIT ? broken(proof, rc, &proof->why) : rc;
}

int32_t hvri_proof_receive(struct hvri_proof *proof, void *buffer,
			   size_t length, size_t *received_out)
{
	size_t got = 0;

	while (got < length) {
		int32_t rc = next_frame(proof);
		size_t piece = 0, room = length - got;

		if (rc == HVREPL_OK && proof->kind != HVRI_PROOF_DATA) {
			rc = heard_again(proof);
			if (rc < 0)
				return rc;
			continue;
		}
		if (rc == HVREPL_OK) {
			rc = read_some(proof, (uint8_t *)buffer + got,
				       proof->left < room ?
					       (size_t)proof->left : room,
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
