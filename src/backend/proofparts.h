/* SPDX-License-Identifier: Apache-2.0 */
/* A proof inside: what the first one and those that follow share. */
#ifndef HVRI_BACKEND_PROOFPARTS_H
#define HVRI_BACKEND_PROOFPARTS_H

#include "backend/proof.h"
#include "backend/proofjob.h"

#define SECOND_NS 1000000000ull

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

/* A new exchange, and its first step. */
int32_t hvri_proof_start_job(struct hvri_proof *proof, bool again);
/* The exchange goes on with the token that came; LIMIT: there were too many. */
int32_t hvri_proof_step_on(struct hvri_proof *proof);
/* The exchange is over and good. */
void hvri_proof_take_result(struct hvri_proof *proof);
/* Between two frames: make the next record this one. */
void hvri_proof_put_frame(struct hvri_proof *proof, uint32_t kind,
			  const void *bytes, uint32_t length);
int32_t hvri_proof_flush(struct hvri_proof *proof);
/* Bytes of the TLS connection; CLOSED when there are no more. */
int32_t hvri_proof_read_some(struct hvri_proof *proof, void *buffer,
			     size_t length, size_t *got_out);
/* Until a DATA frame has begun (kind DATA) or another is whole (left 0). */
int32_t hvri_proof_next_frame(struct hvri_proof *proof);
/* Between two frames: what the step that ended well has to say. */
void hvri_proof_put_step(struct hvri_proof *proof);
/* Does it end here, without another word? Only at the client: the server has the
 * last one. */
bool hvri_proof_ends_silently(const struct hvri_proof *proof);
/* The server says no; why is in the job. */
void hvri_proof_refuse(struct hvri_proof *proof, uint32_t reason);
/* Sentences of what the peer did, and their codes. */
int32_t hvri_proof_broken(struct hvri_proof *proof, int32_t code,
			  struct hvrepl_error *error);
int32_t hvri_proof_refused(struct hvri_proof *proof,
			   struct hvrepl_error *error);
#endif
