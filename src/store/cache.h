/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded number of decoded frames, shared by all views (S2). */
#ifndef HVRI_STORE_CACHE_H
#define HVRI_STORE_CACHE_H

#include "base/env.h"
#include "base/sync.h"

struct hvri_frame {
	uint32_t refs; /* Under the cache's lock. */
	uint32_t length;
	uint64_t container, position;
	uint64_t used; /* Clock of the last use. */
	uint8_t bytes[];
};

struct hvri_cache {
	const struct hvri_env *env;
	hvri_mutex mutex;
	struct hvri_frame **slots; /* Sets of HVRI_CACHE_WAYS. */
	uint32_t set_count;
	uint64_t clock;
};
#define HVRI_CACHE_WAYS 4u

HVRI_MUST_CHECK int32_t hvri_cache_init(struct hvri_cache *cache,
					const struct hvri_env *env,
					uint64_t bytes);
void hvri_cache_free(struct hvri_cache *cache);
/* Referenced, or NULL. */
struct hvri_frame *hvri_cache_find(struct hvri_cache *cache, uint64_t container,
				   uint64_t position);
/* A frame to fill, referenced, not in the cache yet; or NULL. */
struct hvri_frame *hvri_cache_new(struct hvri_cache *cache, uint64_t container,
				  uint64_t position, uint32_t length);
/* Others may find it from now on; the caller keeps its reference. */
void hvri_cache_add(struct hvri_cache *cache, struct hvri_frame *frame);
void hvri_cache_put(struct hvri_cache *cache, struct hvri_frame *frame);
#endif
