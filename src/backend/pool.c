/* SPDX-License-Identifier: Apache-2.0 */
/* The operating system's clocks and entropy, and a pool of job threads. */
#include <errno.h>
#include <hvrepl/backends/pool.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "backend/fileio.h"

#define THREADS_MAX 256u

struct job {
	void (*run)(void *argument);
	void *argument;
};

struct hvrepl_pool {
	pthread_mutex_t mutex;
	pthread_cond_t work;
	struct job jobs[HVREPL_POOL_QUEUE_MAX]; /* Ring. */
	uint32_t first, waiting;
	bool closing;
	void (*log)(void *log_user, uint32_t level, const char *message);
	void *log_user;
	uint32_t thread_count;
	pthread_t threads[THREADS_MAX];
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t env_monotonic_ns(void *user)
{
	(void)user;
	return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t env_utc_ns(void *user)
{
	(void)user;
	return clock_ns(CLOCK_REALTIME);
}

static int32_t env_random(void *user, void *buffer, size_t length)
{
	uint8_t *to = buffer;

	(void)user;
	while (length > 0) {
		ssize_t got = getrandom(to, length, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return HVREPL_E_UNAVAILABLE;
		to += got;
		length -= (size_t)got;
	}
	return HVREPL_OK;
}

int32_t hvrepl_default_env(struct hvrepl_env *env_out)
{
	struct hvrepl_env env = HVREPL_ENV_INIT;

	if (env_out == NULL || env_out->struct_size < sizeof(env))
		return HVREPL_E_INVALID;
	env.monotonic_ns = env_monotonic_ns;
	env.utc_ns = env_utc_ns;
	env.random = env_random;
	*env_out = env;
	return HVREPL_OK;
}

static void *work(void *argument)
{
	hvrepl_pool *pool = argument;

	pthread_mutex_lock(&pool->mutex);
	for (;;) {
		struct job job;

		while (pool->waiting == 0 && !pool->closing)
			pthread_cond_wait(&pool->work, &pool->mutex);
		if (pool->waiting == 0)
			break;
		job = pool->jobs[pool->first];
		pool->first = (pool->first + 1) % HVREPL_POOL_QUEUE_MAX;
		pool->waiting--;
		pthread_mutex_unlock(&pool->mutex);
		job.run(job.argument);
		pthread_mutex_lock(&pool->mutex);
	}
	pthread_mutex_unlock(&pool->mutex);
	return NULL;
}

int32_t hvrepl_pool_execute(hvrepl_pool *pool, void (*job)(void *argument),
			    void *argument)
{
	int32_t rc = HVREPL_OK;

	if (pool == NULL || job == NULL)
		return HVREPL_E_INVALID;
	pthread_mutex_lock(&pool->mutex);
	if (pool->closing) {
		rc = HVREPL_E_CLOSED;
	} else if (pool->waiting == HVREPL_POOL_QUEUE_MAX) {
		rc = HVREPL_E_LIMIT;
	} else {
		uint32_t at = (pool->first + pool->waiting) %
			      HVREPL_POOL_QUEUE_MAX;

		pool->jobs[at] = (struct job){ job, argument };
		pool->waiting++;
		pthread_cond_signal(&pool->work);
	}
	pthread_mutex_unlock(&pool->mutex);
	return rc;
}

static int32_t env_execute(void *user, void (*job)(void *argument),
			   void *argument)
{
	return hvrepl_pool_execute(user, job, argument);
}

static void env_log(void *user, uint32_t level, const char *message)
{
	hvrepl_pool *pool = user;

	pool->log(pool->log_user, level, message);
}

int32_t hvrepl_pool_env(hvrepl_pool *pool,
			void (*log)(void *log_user, uint32_t level,
				    const char *message),
			void *log_user, struct hvrepl_env *env_out)
{
	int32_t rc = pool == NULL ? HVREPL_E_INVALID :
				    hvrepl_default_env(env_out);

	if (rc < 0)
		return rc;
	pool->log = log;
	pool->log_user = log_user;
	env_out->user = pool;
	env_out->log = log == NULL ? NULL : env_log;
	env_out->execute = env_execute;
	return HVREPL_OK;
}

/* Signals are the application's: none may land on a thread of ours. */
static int start_threads(hvrepl_pool *pool, uint32_t threads)
{
	sigset_t all, before;
	int failed = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (pool->thread_count < threads && failed == 0) {
		failed = pthread_create(&pool->threads[pool->thread_count],
					NULL, work, pool);
		if (failed == 0)
			pool->thread_count++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return failed;
}

int32_t hvrepl_pool_create(uint32_t threads, hvrepl_pool **pool_out,
			   struct hvrepl_error *error)
{
	hvrepl_pool *pool;
	int failed;

	if (pool_out == NULL || threads > THREADS_MAX)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "a pool has at most %u threads",
				     THREADS_MAX);
	if (threads == 0) {
		long online = sysconf(_SC_NPROCESSORS_ONLN);

		threads = online < 1 ? 1 : (uint32_t)online;
		if (threads > THREADS_MAX)
			threads = THREADS_MAX;
	}
	pool = calloc(1, sizeof(*pool));
	if (pool == NULL)
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	pthread_mutex_init(&pool->mutex, NULL);
	pthread_cond_init(&pool->work, NULL);
	failed = start_threads(pool, threads);
	if (failed != 0) {
		hvrepl_pool_destroy(pool);
		return hvri_sys_fail(error, HVREPL_E_UNAVAILABLE, failed,
				     "cannot start %u threads: %s", threads,
				     strerror(failed));
	}
	*pool_out = pool;
	return HVREPL_OK;
}

void hvrepl_pool_destroy(hvrepl_pool *pool)
{
	if (pool == NULL)
		return;
	pthread_mutex_lock(&pool->mutex);
	pool->closing = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->mutex);
	for (uint32_t i = 0; i < pool->thread_count; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->mutex);
	free(pool);
}
