/* SPDX-License-Identifier: Apache-2.0 */
/* Decoded frames by container and position, four ways a set. */
#include "store/cache.h"

#include <string.h>

#define FRAME_BYTES (64u << 10) /* As the writers make them. */

int32_t hvri_cache_init(struct hvri_cache *cache, const struct hvri_env *env,
			uint64_t bytes)
{
	uint64_t sets = bytes / FRAME_BYTES / HVRI_CACHE_WAYS;

	memset(cache, 0, sizeof(*cache));
	cache->env = env;
	cache->set_count = (uint32_t)HVRI_MIN(HVRI_MAX(sets, 1u), 1u << 20);
	cache->slots = hvri_alloc_array(
		env, (size_t)cache->set_count * HVRI_CACHE_WAYS,
		sizeof(cache->slots[0]));
	if (cache->slots == NULL)
		return HVREPL_E_NOMEM;
	hvri_mutex_init(&cache->mutex);
	return HVREPL_OK;
}

static size_t frame_size(uint32_t length)
{
	return sizeof(struct hvri_frame) + length;
}

static void drop(struct hvri_cache *cache, struct hvri_frame *frame)
{
	if (frame != NULL && --frame->refs == 0)
		hvri_free(cache->env, frame, frame_size(frame->length));
}

void hvri_cache_free(struct hvri_cache *cache)
{
	size_t count = (size_t)cache->set_count * HVRI_CACHE_WAYS;

	if (cache->slots == NULL)
		return;
	for (size_t i = 0; i < count; i++)
		drop(cache, cache->slots[i]);
	hvri_free(cache->env, cache->slots, count * sizeof(cache->slots[0]));
	cache->slots = NULL;
	hvri_mutex_destroy(&cache->mutex);
}

static struct hvri_frame **set_of(struct hvri_cache *cache, uint64_t container,
				  uint64_t position)
{
	uint64_t hash = (container * 0x9e3779b97f4a7c15u) ^
			(position * 0xc2b2ae3d27d4eb4fu);

	hash ^= hash >> 29;
	return &cache->slots[hash % cache->set_count * HVRI_CACHE_WAYS];
}

struct hvri_frame *hvri_cache_find(struct hvri_cache *cache, uint64_t container,
				   uint64_t position)
{
	struct hvri_frame **set = set_of(cache, container, position);
	struct hvri_frame *found = NULL;

	hvri_lock(&cache->mutex);
	for (unsigned i = 0; i < HVRI_CACHE_WAYS && found == NULL; i++)
		if (set[i] != NULL && set[i]->container == container &&
		    set[i]->position == position)
			found = set[i];
	if (found != NULL) {
		found->refs++;
		found->used = ++cache->clock;
	}
	hvri_unlock(&cache->mutex);
	return found;
}

struct hvri_frame *hvri_cache_new(struct hvri_cache *cache, uint64_t container,
				  uint64_t position, uint32_t length)
{
	struct hvri_frame *frame =
		hvri_alloc_raw(cache->env, frame_size(length));

	if (frame == NULL)
		return NULL;
	memset(frame, 0, sizeof(*frame));
	frame->refs = 1;
	frame->length = length;
	frame->container = container;
	frame->position = position;
	return frame;
}

void hvri_cache_add(struct hvri_cache *cache, struct hvri_frame *frame)
{
	struct hvri_frame **set =
		set_of(cache, frame->container, frame->position);
	struct hvri_frame **oldest = &set[0];

	hvri_lock(&cache->mutex);
	for (unsigned i = 0; i < HVRI_CACHE_WAYS; i++) {
		if (set[i] == NULL) {
			oldest = &set[i];
			break;
		}
		if (set[i]->used < (*oldest)->used)
			oldest = &set[i];
	}
	drop(cache, *oldest);
	frame->refs++;
	frame->used = ++cache->clock;
	*oldest = frame;
	hvri_unlock(&cache->mutex);
}

void hvri_cache_put(struct hvri_cache *cache, struct hvri_frame *frame)
{
	hvri_lock(&cache->mutex);
	drop(cache, frame);
	hvri_unlock(&cache->mutex);
}
