/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of an authenticator, held to what they may do; threads for those that may
 * wait. */
#include "backend/proofjob.h"

#include "backend/detach.h"
#include "backend/fileio.h"
#include "backend/tls.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

struct hvri_proof_job *
hvri_proof_job_new(hvrepl_tls *tls, const char *peer,
		   const uint8_t binding[HVREPL_EXPORTER_SIZE], bool again)
{
	struct hvri_proof_job *job = calloc(1, sizeof(*job));

	if (job == NULL)
		return NULL;
	job->begin.struct_size = sizeof(job->begin);
	job->begin.initiator = peer != NULL;
	job->begin.again = again;
	memcpy(job->begin.binding, binding, HVREPL_EXPORTER_SIZE);
	if (peer != NULL) {
		strncpy(job->peer, peer, HVREPL_PEER_NAME_MAX);
		job->begin.peer = job->peer;
	}
	job->error = (struct hvrepl_error)HVREPL_ERROR_INIT;
	pthread_mutex_init(&job->mutex, NULL);
	job->references = 1;
	job->tls = hvri_tls_hold(tls);
	job->mechanism = hvri_tls_mechanism(tls);
	return job;
}

static void drop(struct hvri_proof_job *job)
{
	uint32_t left;

	pthread_mutex_lock(&job->mutex);
	left = --job->references;
	pthread_mutex_unlock(&job->mutex);
	if (left > 0)
		return;
	if (job->begun)
		job->mechanism->ops.end(job->mechanism->user, job->proof);
	hvrepl_tls_destroy(job->tls);
	pthread_mutex_destroy(&job->mutex);
	OPENSSL_cleanse(job, sizeof(*job));
	free(job);
}

static int32_t mistaken(struct hvri_proof_job *job, const char *what)
{
	return hvri_sys_fail(&job->error, HVREPL_E_CALLBACK, 0,
			     "the authenticator of %s %s",
			     job->mechanism->word, what);
}

static bool is_terminated(const char name[HVREPL_PEER_NAME_MAX + 1])
{
	return memchr(name, 0, HVREPL_PEER_NAME_MAX + 1) != NULL;
}

/* What a mechanism says is looked at as what a peer says is: it may be wrong. */
static int32_t judge(struct hvri_proof_job *job, int32_t rc)
{
	struct hvrepl_proof_step *step = &job->step;

	step->sentence[sizeof(step->sentence) - 1] = 0;
	if (rc < 0)
		return hvri_sys_fail(&job->error, rc, 0, "%s",
				     step->sentence[0] != 0 ?
					     step->sentence :
					     hvrepl_strerror(rc));
	if (step->token != job->token)
		return mistaken(job, "puts its token elsewhere");
	if (step->token_length > HVREPL_PROOF_TOKEN_MAX)
		return mistaken(job, "made a token that is too long");
	if (rc == HVREPL_PENDING && step->token_length == 0)
		return mistaken(job, "waits for a token and sends none");
	if (rc == HVREPL_PENDING)
		return rc;
	if (rc != HVREPL_OK)
		return mistaken(job, "returned no code there is");
	if (!is_terminated(step->peer) || !is_terminated(step->self) ||
	    !hvri_mechanism_identity(step->peer) ||
	    !hvri_mechanism_identity(step->self))
		return mistaken(job, "proved no identity that there can be");
	/* Nobody has been asked anything yet. */
	if (job->begin.initiator != 0 && job->in_length == 0 &&
	    step->token_length == 0)
		return mistaken(job, "ended before it said or heard anything");
	if (job->begin.initiator != 0 && strcmp(step->peer, job->peer) != 0)
		return hvri_sys_fail(&job->error, HVREPL_E_UNAUTHENTICATED, 0,
				     "%.90s was called, and %.90s answered: is "
				     "that the right host, and the right name?",
				     job->peer, step->peer);
	return HVREPL_OK;
}

static void clear_step(struct hvri_proof_job *job)
{
	memset(&job->step, 0, sizeof(job->step));
	job->step.struct_size = sizeof(job->step);
	job->step.token = job->token;
	job->step.lifetime_ns = UINT64_MAX;
}

static void call(struct hvri_proof_job *job)
{
	const struct hvrepl_authenticator_ops *ops = &job->mechanism->ops;
	int32_t rc = HVREPL_OK;

	clear_step(job);
	if (!job->begun) {
		rc = ops->begin(job->mechanism->user, &job->begin, &job->proof,
				&job->step);
		job->begun = rc == HVREPL_OK;
		if (job->begun) /* What it says counts where it fails. */
			clear_step(job);
	}
	if (rc == HVREPL_OK)
		rc = ops->step(job->mechanism->user, job->proof,
			       job->in_length == 0 ? NULL : job->in,
			       job->in_length, &job->step);
	else if (rc > 0)
		rc = HVREPL_E_CALLBACK;
	job->result = judge(job, rc);
}

static void answered(void *argument)
{
	struct hvri_proof_job *job = argument;
	bool waited_for;

	pthread_mutex_lock(&job->mutex);
	waited_for = job->loop != NULL;
	pthread_mutex_unlock(&job->mutex);
	if (waited_for) {
		job->done = true;
		job->wake(job->user);
	}
	drop(job); /* The thread's reference. */
}

static void *run(void *argument)
{
	struct hvri_proof_job *job = argument;
	bool waited_for;

	call(job);
	atomic_fetch_sub(&job->mechanism->threads, 1);
	pthread_mutex_lock(&job->mutex);
	waited_for = job->loop != NULL;
	/* Under the mutex: who has not dropped the job keeps its loop there. */
	if (waited_for)
		hvri_loop_post(job->loop, &job->answer);
	pthread_mutex_unlock(&job->mutex);
	if (!waited_for)
		drop(job);
	return NULL;
}

static int32_t start_thread(struct hvri_proof_job *job, bool limited)
{
	atomic_uint *threads = &job->mechanism->threads;
	int failed;

	if (atomic_fetch_add(threads, 1) >= HVRI_PROOF_THREADS_MAX && limited) {
		atomic_fetch_sub(threads, 1);
		return hvri_sys_fail(&job->error, HVREPL_E_BUSY, 0,
				     "more than %u peers are being proved at "
				     "once: is what %s asks slow, or somebody "
				     "knocking?", HVRI_PROOF_THREADS_MAX,
				     job->mechanism->word);
	}
	job->references++;
	failed = hvri_detach(run, job);
	if (failed == 0)
		return HVREPL_OK;
	job->references--;
	atomic_fetch_sub(threads, 1);
	return hvri_sys_fail(&job->error, HVREPL_E_BUSY, failed,
			     "cannot start a thread for %s: %s",
			     job->mechanism->word, strerror(failed));
}

int32_t hvri_proof_job_step(struct hvri_proof_job *job, const void *token,
			    uint32_t length, hvrepl_loop *loop, bool limited,
			    void (*wake)(void *user), void *user)
{
	job->loop = loop;
	job->wake = wake;
	job->user = user;
	job->answer.function = answered;
	job->answer.argument = job;
	job->done = job->awaits = false;
	job->in_length = length;
	if (length > 0)
		memcpy(job->in, token, length);
	if ((job->mechanism->ops.flags & HVREPL_AUTHENTICATOR_BLOCKS) != 0)
		return start_thread(job, limited);
	call(job);
	job->done = true;
	return HVREPL_OK;
}

bool hvri_proof_job_exporter(const struct hvri_proof_job *job,
			     uint8_t out[HVREPL_EXPORTER_SIZE])
{
	const struct hvrepl_proof_step *step = &job->step;
	bool initiator = job->begin.initiator != 0;

	return hvri_mechanism_exporter(job->mechanism->name, job->begin.binding,
				       initiator ? step->self : step->peer,
				       initiator ? step->peer : step->self,
				       step->key, out);
}

void hvri_proof_job_drop(struct hvri_proof_job *job)
{
	if (job == NULL)
		return;
	pthread_mutex_lock(&job->mutex);
	job->loop = NULL;
	pthread_mutex_unlock(&job->mutex);
	drop(job);
}
