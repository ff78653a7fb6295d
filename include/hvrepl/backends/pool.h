/* SPDX-License-Identifier: Apache-2.0 */
/* A ready-made environment, and threads for its executor. */
#ifndef HVREPL_BACKENDS_POOL_H
#define HVREPL_BACKENDS_POOL_H

#include <hvrepl/env.h>
#include <hvrepl/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The operating system's clocks and entropy, malloc, no log, no executor.
 * None of the callbacks uses env_out->user, so the caller may set `log` and
 * `user` afterwards.
 *
 * @param env_out  struct_size set by the caller (HVREPL_ENV_INIT); the rest is
 *                 overwritten.
 * @return OK, or INVALID when struct_size is too small.
 * @threadsafety Any thread. @since 0.1
 */
HVREPL_API int32_t hvrepl_default_env(struct hvrepl_env *env_out);

/** Threads that run jobs. Opaque. */
typedef struct hvrepl_pool hvrepl_pool;

/** Jobs that may wait in a pool; beyond it the giver runs them itself. */
#define HVREPL_POOL_QUEUE_MAX 1024u

/**
 * Start `threads` threads (0: one per processor, at most 256). They block all
 * signals. NOMEM or UNAVAILABLE when they cannot be started.
 * @threadsafety Any thread. @since 0.1
 */
HVREPL_API int32_t hvrepl_pool_create(uint32_t threads,
				      hvrepl_pool **pool_out,
				      struct hvrepl_error *error);

/**
 * As hvrepl_default_env(), with the pool as executor and `log` (optional)
 * called with `log_user`; log_user is borrowed as long as the pool. Every call
 * sets the pool's one log hook: call it before the env is used. env_out->user
 * is the pool's and must stay.
 * @threadsafety Not at the same time as jobs that log. @since 0.1
 */
HVREPL_API int32_t hvrepl_pool_env(hvrepl_pool *pool,
				   void (*log)(void *log_user, uint32_t level,
					       const char *message),
				   void *log_user, struct hvrepl_env *env_out);

/**
 * Run job(argument) once on a thread of the pool. LIMIT when
 * HVREPL_POOL_QUEUE_MAX jobs wait, CLOSED while the pool is being destroyed.
 * @threadsafety Any thread, jobs included. @since 0.1
 */
HVREPL_API int32_t hvrepl_pool_execute(hvrepl_pool *pool,
				       void (*job)(void *argument),
				       void *argument);

/**
 * Run what waits, then stop the threads and free the pool. NULL is fine.
 * Destroy the handles made with its env first.
 * @threadsafety Once, on any thread that is not the pool's. @since 0.1
 */
HVREPL_API void hvrepl_pool_destroy(hvrepl_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
