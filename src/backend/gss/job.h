/* SPDX-License-Identifier: Apache-2.0 */
/* One exchange of tokens, its blocking call on a thread of its own. */
#ifndef HVRI_BACKEND_GSS_JOB_H
#define HVRI_BACKEND_GSS_JOB_H

#include "backend/gss/gss.h"
#include "backend/loop.h"

struct hvri_gss_job {
	struct hvri_gss gss; /* The thread's until `done`. */
	int32_t result;
	bool done; /* Loop thread. */
	/* Below: job.c's. */
	pthread_mutex_t mutex;
	uint32_t references; /* Owner, thread. */
	hvrepl_loop *loop;   /* NULL: nobody waits any more. */
	hvrepl_tls *tls;     /* Keeps gss.kerberos. */
	struct hvri_loop_post answer;
	int32_t (*call)(struct hvri_gss *gss);
	void (*wake)(void *user);
	void *user;
};

/* NULL: no memory. `peer` and `binding` as in hvri_gss_init(). */
struct hvri_gss_job *hvri_gss_job_new(hvrepl_tls *tls,
				      struct hvri_kerberos *kerberos,
				      const char *peer,
				      const uint8_t binding[HVREPL_EXPORTER_SIZE]);
/* Have call(&job->gss) run; then `done` is set and wake(user) called on the
 * loop's thread, unless the job was dropped. BUSY: no thread, or `limited` and
 * too many of them. */
int32_t hvri_gss_job_start(struct hvri_gss_job *job, hvrepl_loop *loop,
			   int32_t (*call)(struct hvri_gss *gss), bool limited,
			   void (*wake)(void *user), void *user);
/* Loop thread; what runs goes on by itself. NULL is fine. */
void hvri_gss_job_drop(struct hvri_gss_job *job);
#endif
