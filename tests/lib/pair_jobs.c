/* SPDX-License-Identifier: Apache-2.0 */
/* The executor of a site of pair.h: jobs that are held, or take a while. */
#include "pair.h"

#include <stddef.h>
#include <string.h>

int32_t pair_execute(void *user, void (*job)(void *argument), void *argument)
{
	struct pair_site *site =
		(struct pair_site *)((char *)user -
				     offsetof(struct pair_site, env));
	uint64_t take = site->jobs_take_ns;

	if ((!site->holds_jobs && take == 0) || site->job_count == PAIR_JOBS)
		return HVREPL_E_LIMIT; /* Done where it was asked for. */
	site->jobs[site->job_count++] = (struct pair_job){
		.run = job,
		.argument = argument,
		.at_ns = site->pair->now_ns +
			 (take == 0 ? 0 : test_random(&site->jobs_random) %
						  (take + 1)),
	};
	return HVREPL_OK;
}

static void do_job(struct pair_site *site, unsigned n)
{
	struct pair_job job = site->jobs[n];

	site->job_count--;
	memmove(&site->jobs[n], &site->jobs[n + 1],
		(site->job_count - n) * sizeof(job));
	job.run(job.argument);
}

bool pair_jobs_turn(struct pair_site *site)
{
	for (unsigned i = 0; i < site->job_count && !site->holds_jobs; i++)
		if (site->jobs[i].at_ns <= site->pair->now_ns) {
			do_job(site, i);
			return true;
		}
	return false;
}

void pair_do_jobs(struct pair_site *site)
{
	while (site->job_count > 0)
		do_job(site, 0);
}

uint64_t pair_jobs_next(const struct pair_site *site)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < site->job_count && !site->holds_jobs; i++)
		if (site->jobs[i].at_ns < next)
			next = site->jobs[i].at_ns;
	return next;
}
