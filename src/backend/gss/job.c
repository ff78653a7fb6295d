/* SPDX-License-Identifier: Apache-2.0 */
/* Runs what may wait for a KDC on its own thread, and tells the loop. */
#include "backend/gss/job.h"

#include "backend/detach.h"
#include "backend/fileio.h"
#include "backend/tls.h"

#include <stdlib.h>
#include <string.h>

struct hvri_gss_job *hvri_gss_job_new(hvrepl_tls *tls,
				      struct hvri_kerberos *kerberos,
				      const char *peer,
				      const uint8_t binding[HVREPL_EXPORTER_SIZE])
{
	struct hvri_gss_job *job = calloc(1, sizeof(*job));

	if (job == NULL)
		return NULL;
	hvri_gss_init(&job->gss, kerberos, peer, binding);
	pthread_mutex_init(&job->mutex, NULL);
	job->references = 1;
	job->tls = hvri_tls_hold(tls);
	return job;
}

static void drop(struct hvri_gss_job *job)
{
	uint32_t left;

	pthread_mutex_lock(&job->mutex);
	left = --job->references;
	pthread_mutex_unlock(&job->mutex);
	if (left > 0)
		return;
	hvri_gss_free(&job->gss);
	hvrepl_tls_destroy(job->tls);
	pthread_mutex_destroy(&job->mutex);
	free(job);
}

static void answered(void *argument)
{
	struct hvri_gss_job *job = argument;
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
	struct hvri_gss_job *job = argument;
	bool waited_for;

	job->result = job->call(&job->gss);
	atomic_fetch_sub(&job->gss.kerberos->threads, 1);
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

int32_t hvri_gss_job_start(struct hvri_gss_job *job, hvrepl_loop *loop,
			   int32_t (*call)(struct hvri_gss *gss), bool limited,
			   void (*wake)(void *user), void *user)
{
	atomic_uint *threads = &job->gss.kerberos->threads;
	int failed = 0;

	job->loop = loop;
	job->call = call;
	job->wake = wake;
	job->user = user;
	job->answer.function = answered;
	job->answer.argument = job;
	if (atomic_fetch_add(threads, 1) >= HVRI_GSS_THREADS_MAX && limited) {
		atomic_fetch_sub(threads, 1);
		return hvri_sys_fail(&job->gss.error, HVREPL_E_BUSY, 0,
				     "more than %u peers are being proved at "
				     "once: is the KDC slow, or somebody "
				     "knocking?", HVRI_GSS_THREADS_MAX);
	}
	job->references++;
	failed = hvri_detach(run, job);
	if (failed == 0)
		return HVREPL_OK;
	job->references--;
	atomic_fetch_sub(threads, 1);
	return hvri_sys_fail(&job->gss.error, HVREPL_E_BUSY, failed,
			     "cannot start a thread for Kerberos: %s",
			     strerror(failed));
}

void hvri_gss_job_drop(struct hvri_gss_job *job)
{
	if (job == NULL)
		return;
	pthread_mutex_lock(&job->mutex);
	job->loop = NULL;
	pthread_mutex_unlock(&job->mutex);
	drop(job);
}
