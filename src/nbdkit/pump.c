/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that serves the groups' deadlines: no write waits for ever. */
#include "site.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct pump {
	struct site *site;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool started;
	bool woken;
	bool stop;
};

/* Process what is due; the next deadline of all groups. */
static uint64_t turn(struct site *site, uint64_t now)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < site->vm_count; i++) {
		hvrepl_group *group = site->vms[i].group;
		uint64_t deadline;

		if (group == NULL)
			continue;
		deadline = hvrepl_group_deadline(group);
		if (deadline <= now) {
			hvrepl_group_process(group);
			deadline = hvrepl_group_deadline(group);
		}
		if (deadline < next)
			next = deadline;
	}
	return next;
}

static void *pump_main(void *argument)
{
	struct pump *pump = argument;
	const struct hvrepl_env *env = &pump->site->env;

	pthread_mutex_lock(&pump->lock);
	while (!pump->stop) {
		uint64_t now = env->monotonic_ns(env->user);
		uint64_t next;
		struct timespec until;

		pump->woken = false;
		pthread_mutex_unlock(&pump->lock);
		next = turn(pump->site, now);
		pthread_mutex_lock(&pump->lock);
		if (next > now + 1000000000u)
			next = now + 1000000000u;
		until.tv_sec = (time_t)(next / 1000000000u);
		until.tv_nsec = (long)(next % 1000000000u);
		while (!pump->woken && !pump->stop)
			if (pthread_cond_timedwait(&pump->changed, &pump->lock,
						   &until) != 0)
				break;
	}
	pthread_mutex_unlock(&pump->lock);
	return NULL;
}

struct pump *pump_create(struct site *site)
{
	struct pump *pump = calloc(1, sizeof(*pump));
	pthread_condattr_t attributes;

	if (pump == NULL)
		return NULL;
	pump->site = site;
	pthread_mutex_init(&pump->lock, NULL);
	pthread_condattr_init(&attributes);
	/* The env's monotonic clock is this one. */
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&pump->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	return pump;
}

int32_t pump_start(struct pump *pump)
{
	if (pthread_create(&pump->thread, NULL, pump_main, pump) != 0)
		return HVREPL_E_UNAVAILABLE;
	pump->started = true;
	return HVREPL_OK;
}

void pump_wake(struct pump *pump)
{
	pthread_mutex_lock(&pump->lock);
	pump->woken = true;
	pthread_cond_signal(&pump->changed);
	pthread_mutex_unlock(&pump->lock);
}

void pump_stop(struct pump *pump)
{
	if (pump == NULL || !pump->started)
		return;
	pthread_mutex_lock(&pump->lock);
	pump->stop = true;
	pthread_cond_signal(&pump->changed);
	pthread_mutex_unlock(&pump->lock);
	pthread_join(pump->thread, NULL);
	pump->started = false;
}

void pump_free(struct pump *pump)
{
	if (pump == NULL)
		return;
	pthread_cond_destroy(&pump->changed);
	pthread_mutex_destroy(&pump->lock);
	free(pump);
}
