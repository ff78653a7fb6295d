/* SPDX-License-Identifier: Apache-2.0 */
/* A proof inside one TLS connection: its frames, and the proofs that follow. */
#ifndef HVRI_BACKEND_PROOF_H
#define HVRI_BACKEND_PROOF_H

#include "backend/mechanism.h"
#include "backend/tls.h"

/*
 * Everything in such a TLS connection is in frames (docs/formats.md): eight
 * bytes, little-endian, the length in the lower 56 bits and the kind in the
 * upper 8, then so many bytes. Before the peer is proved, the client's TOKEN, then
 * one each way in turn, or a REFUSED is all there may be. The server has the last
 * word: ACCEPTED where it has no token to say it with. Then DATA, and the same
 * between DATA whenever the client proves itself anew.
 */
#define HVRI_PROOF_HEADER 8u
#define HVRI_PROOF_TOKEN 1u
#define HVRI_PROOF_REFUSED 2u /* 4 bytes: why; HVREPL_REFUSED_* */
#define HVRI_PROOF_DATA 3u
#define HVRI_PROOF_ACCEPTED 4u /* 4 bytes, zero. */

/* New proofs that a peer may begin in as many half seconds. */
#define HVRI_PROOF_AGAIN_MAX 8u

/* Everything on the loop's thread; calls that may block run on their own. */
struct hvri_proof;

/* `wake` is called on the loop's thread when hvri_proof_step() or _pump() has
 * something to do again. All is borrowed until hvri_proof_free(). */
int32_t hvri_proof_create(struct hvri_tls_session *session, hvrepl_tls *tls,
			  hvrepl_loop *loop, void (*wake)(void *user),
			  void *user, struct hvri_proof **out);
/* OK: the peer is proved, session->peer says who it is. PENDING: wait for
 * session->want, or with 0 for `wake`. Negative: with a sentence, at
 * session->step. */
int32_t hvri_proof_step(struct hvri_proof *proof, struct hvrepl_error *error);
const uint8_t *hvri_proof_exporter(const struct hvri_proof *proof);

/* When proved: as hvri_tls_send() and hvri_tls_receive(). */
int32_t hvri_proof_send(struct hvri_proof *proof, struct hvri_tls_out *out,
			size_t budget);
int32_t hvri_proof_receive(struct hvri_proof *proof, void *buffer,
			   size_t length, size_t *received_out);
/* Go on with proving anew, as far as that has to do with sending. Comes before
 * hvri_proof_send(), and may be PENDING for session->want. */
int32_t hvri_proof_pump(struct hvri_proof *proof);
/* When to call hvri_proof_due(). */
uint64_t hvri_proof_deadline(const struct hvri_proof *proof);
/* UNAUTHENTICATED: the proof has ended. */
int32_t hvri_proof_due(struct hvri_proof *proof);
/* After a failure of one of those: a code and a sentence, NULL: the connection
 * itself failed. */
const struct hvrepl_error *hvri_proof_why(const struct hvri_proof *proof);
/* How often the peer was proved. For tests. */
uint64_t hvri_proof_count(const struct hvri_proof *proof);
/* `wake` is not called any more. Before the loop goes. */
void hvri_proof_stop(struct hvri_proof *proof);
/* NULL is fine. */
void hvri_proof_free(struct hvri_proof *proof);
#endif
