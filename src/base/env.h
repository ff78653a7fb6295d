/* SPDX-License-Identifier: Apache-2.0 */
/* The application's environment inside the library: memory, clock, jobs. */
#ifndef HVRI_BASE_ENV_H
#define HVRI_BASE_ENV_H

#include "base/rc.h"

#include <hvrepl/env.h>
#include <stdbool.h>

/* Large enough for direct I/O and to keep source and destination of copies
 * aligned to each other (misaligned ones run at a fifth of the speed). */
#define HVRI_PAGE 4096u

struct hvri_env {
	struct hvrepl_env app; /* Our size, missing tail zero. */
};

/* Check and copy the application's table. */
HVRI_MUST_CHECK int32_t hvri_env_copy(struct hvri_env *env_out,
				      const struct hvrepl_env *app,
				      struct hvrepl_error *error);

/* Zeroed memory, or NULL. Freed with the same size. */
void *hvri_alloc(const struct hvri_env *env, size_t size);
/* count * size, checked. */
void *hvri_alloc_array(const struct hvri_env *env, size_t count, size_t size);
/* Not cleared: for what is filled before anybody reads it. */
void *hvri_alloc_raw(const struct hvri_env *env, size_t size);
/* Page-aligned, not zeroed: I/O buffers. */
void *hvri_alloc_io(const struct hvri_env *env, size_t size);
/* NULL is fine. */
void hvri_free(const struct hvri_env *env, void *memory, size_t size);

/* Grow *array_inout from *capacity_inout to at least `wanted` elements of
 * `size` bytes (doubling, at most `max`); old content is kept. */
HVRI_MUST_CHECK int32_t hvri_grow(const struct hvri_env *env,
				  void **array_inout, size_t *capacity_inout,
				  size_t wanted, size_t max, size_t size);

uint64_t hvri_now(const struct hvri_env *env);
uint64_t hvri_utc(const struct hvri_env *env);
HVRI_MUST_CHECK int32_t hvri_random(const struct hvri_env *env, void *buffer,
				    size_t length);
void hvri_log(const struct hvri_env *env, uint32_t level, const char *format,
	      ...) HVRI_PRINTF(3, 4);
/* On the executor, or here and now when there is none or it refuses. */
void hvri_execute(const struct hvri_env *env, void (*job)(void *argument),
		  void *argument);

HVRI_MUST_CHECK int32_t hvri_uuid_new(const struct hvri_env *env,
				      struct hvrepl_uuid *uuid_out);
bool hvri_uuid_equal(const struct hvrepl_uuid *a, const struct hvrepl_uuid *b);
bool hvri_uuid_is_none(const struct hvrepl_uuid *uuid);
#define HVRI_UUID_TEXT 37
/* RFC 4122 text, lower case, with terminating zero. */
void hvri_uuid_format(const struct hvrepl_uuid *uuid,
		      char text_out[HVRI_UUID_TEXT]);
HVRI_MUST_CHECK int32_t hvri_uuid_parse(const char *text,
					struct hvrepl_uuid *uuid_out);
#endif
