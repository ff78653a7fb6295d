/* SPDX-License-Identifier: Apache-2.0 */
/* What the application lends the library: clock, entropy, memory, log, CPU. */
#ifndef HVREPL_ENV_H
#define HVREPL_ENV_H

#include <hvrepl/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HVREPL_LOG_ERROR 1u
#define HVREPL_LOG_WARNING 2u
#define HVREPL_LOG_NOTICE 3u
#define HVREPL_LOG_DEBUG 4u

/**
 * The library opens no file, starts no thread, reads no clock and takes no
 * entropy of its own: all of it comes through this table. Every function that
 * makes a handle copies the table; `user` is borrowed until the last handle
 * made with it has been destroyed. All callbacks may run on any thread.
 */
struct hvrepl_env {
	uint32_t struct_size; /* sizeof(struct hvrepl_env) */
	uint32_t reserved;    /* Must be zero. */
	void *user;           /* First argument of every callback below. */

	/** Never goes back; nanoseconds from any origin. Mandatory. */
	uint64_t (*monotonic_ns)(void *user);
	/** Nanoseconds since 1970-01-01 UTC; a label only. Mandatory. */
	uint64_t (*utc_ns)(void *user);
	/** Fill `buffer` with unpredictable bytes; OK or negative. Mandatory. */
	int32_t (*random)(void *user, void *buffer, size_t length);

	/**
	 * `size` bytes aligned to `alignment` (a power of two), or NULL.
	 * Optional together with `free`: then malloc is used.
	 */
	void *(*alloc)(void *user, size_t size, size_t alignment);
	void (*free)(void *user, void *memory, size_t size);

	/** One line, without newline; borrowed for the call. Optional. */
	void (*log)(void *user, uint32_t level, const char *message);

	/**
	 * Run job(argument) once, soon, on any thread. Optional: without it
	 * jobs run on the thread that made them. Returns OK, or a negative
	 * code, in which case the library runs the job itself.
	 */
	int32_t (*execute)(void *user, void (*job)(void *argument),
			   void *argument);
};
#define HVREPL_ENV_INIT \
	{ sizeof(struct hvrepl_env), 0, 0, 0, 0, 0, 0, 0, 0, 0 }

#ifdef __cplusplus
}
#endif
#endif
