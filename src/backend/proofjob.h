/* SPDX-License-Identifier: Apache-2.0 */
/* One proof of an authenticator: its calls, on a thread of their own if they block. */
#ifndef HVRI_BACKEND_PROOFJOB_H
#define HVRI_BACKEND_PROOFJOB_H

#include "backend/loop.h"
#include "backend/mechanism.h"

#include <hvrepl/backends/tls.h>
#include <pthread.h>

/* Proofs of strangers under way at once on threads of their own, for each set of
 * credentials; who is proved already, and our own calls, are not held back. */
#define HVRI_PROOF_THREADS_MAX 64u

struct hvri_proof_job {
	/* The thread's until `done`. */
	struct hvrepl_proof_step step;
	uint8_t token[HVREPL_PROOF_TOKEN_MAX]; /* Of `step`. */
	int32_t result; /* PENDING: more is needed; OK: proved; or why not. */
	struct hvrepl_error error; /* With a failure. */
	/* Loop thread. */
	bool done;
	bool awaits; /* What was to be sent is out; a frame of the peer is due. */
	uint32_t heard; /* Tokens of the peer. */
	/* Below: proofjob.c's. */
	struct hvri_mechanism *mechanism;
	struct hvrepl_proof_begin begin;
	char peer[HVREPL_PEER_NAME_MAX + 1];
	void *proof;
	bool begun;
	uint8_t in[HVREPL_PROOF_TOKEN_MAX];
	uint32_t in_length; /* 0: the first step. */
	pthread_mutex_t mutex;
	uint32_t references; /* Owner, thread. */
	hvrepl_loop *loop;   /* NULL: nobody waits any more. */
	hvrepl_tls *tls;     /* Keeps the mechanism. */
	struct hvri_loop_post answer;
	void (*wake)(void *user);
	void *user;
};

/* NULL: no memory. `peer` NULL: acceptor. */
struct hvri_proof_job *
hvri_proof_job_new(hvrepl_tls *tls, const char *peer,
		   const uint8_t binding[HVREPL_EXPORTER_SIZE], bool again);
/* The next step, with the peer's token or none. Then `done` is set, and if that is
 * later wake(user) is called on the loop's thread, unless the job was dropped.
 * BUSY: no thread, or `limited` and too many of them; in job->error, too. */
int32_t hvri_proof_job_step(struct hvri_proof_job *job, const void *token,
			    uint32_t length, hvrepl_loop *loop, bool limited,
			    void (*wake)(void *user), void *user);
/* With a result of OK: what the session is bound to. False: no memory. */
bool hvri_proof_job_exporter(const struct hvri_proof_job *job,
			     uint8_t out[HVREPL_EXPORTER_SIZE]);
/* Loop thread; what runs goes on by itself. NULL is fine. */
void hvri_proof_job_drop(struct hvri_proof_job *job);
#endif
