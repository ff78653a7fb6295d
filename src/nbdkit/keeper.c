/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's own thread for slow work: cuts when due or asked for, saves. */
#include "site.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CUT_TRIES 10
/* More often than the slack a file's token is given after a crash (T9). */
#define SAVE_INTERVAL_NS 10000000000u

struct ask {
	struct ask *next;
	keeper_done *done;
	void *argument;
};

struct keeper {
	struct site_vm_state *vm;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct ask *first, **last;
	bool started;
	bool woken;
	bool stop;
};

static uint64_t now_ns(const struct keeper *keeper)
{
	const struct hvrepl_env *env = &keeper->vm->site->env;

	return env->monotonic_ns(env->user);
}

/* Under the lock. */
static void sleep_until(struct keeper *keeper, uint64_t deadline)
{
	struct timespec until = { (time_t)(deadline / 1000000000u),
				  (long)(deadline % 1000000000u) };

	pthread_cond_timedwait(&keeper->changed, &keeper->lock, &until);
}

int32_t keeper_pause(struct keeper *keeper)
{
	pthread_mutex_lock(&keeper->lock);
	if (!keeper->woken && !keeper->stop)
		sleep_until(keeper, now_ns(keeper) + 50000000u);
	keeper->woken = false;
	pthread_mutex_unlock(&keeper->lock);
	return keeper_check(keeper);
}

int32_t keeper_check(struct keeper *keeper)
{
	bool stop;

	pthread_mutex_lock(&keeper->lock);
	stop = keeper->stop;
	pthread_mutex_unlock(&keeper->lock);
	return stop ? HVREPL_E_CANCELLED : HVREPL_OK;
}

static void save_all(struct keeper *keeper)
{
	struct site_vm_state *vm = keeper->vm;
	char line[256];

	for (size_t i = 0; i < vm->config->disk_count; i++) {
		int32_t rc = hvrepl_tracker_save(vm->disks[i].tracker, NULL);

		if (rc == HVREPL_OK)
			continue;
		snprintf(line, sizeof(line),
			 "%s/%s: the tracker file could not be saved: %s",
			 vm->config->name, vm->config->disks[i].name,
			 hvrepl_strerror(rc));
		vm->site->log(vm->site, HVREPL_LOG_WARNING, line);
	}
}

static void cut_once(struct keeper *keeper, struct ask *ask)
{
	struct capture_result result = { 0 };
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct site_vm_state *vm = keeper->vm;
	char line[HVREPL_SENTENCE_MAX + 128];
	int32_t rc = capture_cut(vm, &result, &error);

	/* Voided for the guest's sake: whoever asked does not ask in vain. */
	for (int tries = 1; tries < CUT_TRIES && ask != NULL &&
			    (rc == HVREPL_E_VOIDED || rc == HVREPL_E_BUSY);
	     tries++) {
		if (keeper_pause(keeper) < 0)
			break;
		memset(&result, 0, sizeof(result));
		rc = capture_cut(vm, &result, &error);
	}
	if (ask != NULL) {
		ask->done(ask->argument, rc, &result, &error);
		free(ask);
	} else if (rc < 0) {
		snprintf(line, sizeof(line), "%s: no cut: %s", vm->config->name,
			 error.sentence);
		vm->site->log(vm->site, HVREPL_LOG_WARNING, line);
	}
}

static struct ask *take_ask(struct keeper *keeper)
{
	struct ask *ask = keeper->first;

	if (ask != NULL) {
		keeper->first = ask->next;
		if (keeper->first == NULL)
			keeper->last = &keeper->first;
	}
	return ask;
}

static void *keeper_main(void *argument)
{
	struct keeper *keeper = argument;
	uint64_t interval = keeper->vm->config->capture_interval_ms * 1000000u;
	uint64_t save_at = now_ns(keeper) + SAVE_INTERVAL_NS;
	uint64_t cut_at = interval == 0 ? UINT64_MAX : now_ns(keeper) + interval;

	pthread_mutex_lock(&keeper->lock);
	while (!keeper->stop) {
		struct ask *ask = take_ask(keeper);
		uint64_t now = now_ns(keeper);

		if (ask == NULL && now < cut_at && now < save_at) {
			sleep_until(keeper, cut_at < save_at ? cut_at : save_at);
			continue;
		}
		pthread_mutex_unlock(&keeper->lock);
		if (ask != NULL || now >= cut_at)
			cut_once(keeper, ask);
		if (now >= save_at) {
			save_all(keeper);
			save_at = now + SAVE_INTERVAL_NS;
		}
		/* Late cuts are missed, not made up for (T5). */
		while (cut_at <= now)
			cut_at += interval;
		pthread_mutex_lock(&keeper->lock);
	}
	pthread_mutex_unlock(&keeper->lock);
	return NULL;
}

struct keeper *keeper_create(struct site_vm_state *vm)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));
	pthread_condattr_t attributes;

	if (keeper == NULL)
		return NULL;
	keeper->vm = vm;
	keeper->last = &keeper->first;
	pthread_mutex_init(&keeper->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&keeper->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	return keeper;
}

int32_t keeper_start(struct keeper *keeper)
{
	if (pthread_create(&keeper->thread, NULL, keeper_main, keeper) != 0)
		return HVREPL_E_UNAVAILABLE;
	keeper->started = true;
	return HVREPL_OK;
}

void keeper_wake(struct keeper *keeper)
{
	pthread_mutex_lock(&keeper->lock);
	keeper->woken = true;
	pthread_cond_signal(&keeper->changed);
	pthread_mutex_unlock(&keeper->lock);
}

void keeper_ask(struct keeper *keeper, keeper_done *done, void *argument)
{
	struct ask *ask = calloc(1, sizeof(*ask));
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	if (ask == NULL) {
		error.code = HVREPL_E_NOMEM;
		done(argument, HVREPL_E_NOMEM, NULL, &error);
		return;
	}
	ask->done = done;
	ask->argument = argument;
	pthread_mutex_lock(&keeper->lock);
	*keeper->last = ask;
	keeper->last = &ask->next;
	pthread_cond_signal(&keeper->changed);
	pthread_mutex_unlock(&keeper->lock);
}

void keeper_stop(struct keeper *keeper)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct ask *ask;

	if (keeper == NULL || !keeper->started)
		return;
	pthread_mutex_lock(&keeper->lock);
	keeper->stop = true;
	pthread_cond_signal(&keeper->changed);
	pthread_mutex_unlock(&keeper->lock);
	pthread_join(keeper->thread, NULL);
	error.code = HVREPL_E_CLOSED;
	while ((ask = take_ask(keeper)) != NULL) {
		ask->done(ask->argument, HVREPL_E_CLOSED, NULL, &error);
		free(ask);
	}
	keeper->started = false;
}

void keeper_free(struct keeper *keeper)
{
	if (keeper == NULL)
		return;
	pthread_cond_destroy(&keeper->changed);
	pthread_mutex_destroy(&keeper->lock);
	free(keeper);
}
