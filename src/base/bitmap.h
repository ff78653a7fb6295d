/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sparse bitmap that many threads set bits in without a lock.
 *
 * Three levels: a flat top, mids of 512 entries, leaves of 4096 bits. An entry
 * is absent (clean), a page, or marked "all": wholly set, whatever its page
 * says (T10: a page that is wholly dirty costs nothing; without memory for a
 * page a set widens to "all" and never fails). Pages stay until the map is
 * reset, so a reader needs no protection from writers.
 */
#ifndef HVRI_BASE_BITMAP_H
#define HVRI_BASE_BITMAP_H

#include "base/env.h"
#include "base/sync.h"

#include <stdatomic.h>

#define HVRI_LEAF_SHIFT 12u
#define HVRI_LEAF_BITS (1u << HVRI_LEAF_SHIFT)
#define HVRI_LEAF_WORDS (HVRI_LEAF_BITS / 64)
#define HVRI_MID_SHIFT (HVRI_LEAF_SHIFT + 9u)
#define HVRI_MID_ENTRIES 512u
#define HVRI_ENTRY_ALL ((uintptr_t)1)

/* Pages for live maps, filled beforehand: the write path never allocates. */
struct hvri_page_pool {
	struct hvri_env env;
	hvri_mutex mutex;
	void *leaves, *mids; /* Free, zeroed, linked through the first word. */
	size_t leaf_count, mid_count;
	size_t leaf_target, mid_target; /* More than this is given back. */
	_Atomic bool low; /* Below half: worth a fill. */
};

void hvri_page_pool_init(struct hvri_page_pool *pool,
			 const struct hvri_env *env);
void hvri_page_pool_free(struct hvri_page_pool *pool);
/* Up to this many pages of each kind; allocates without holding the lock. */
HVRI_MUST_CHECK int32_t hvri_page_pool_fill(struct hvri_page_pool *pool,
					    size_t leaves, size_t mids);

struct hvri_bitmap {
	uint64_t bits;
	size_t top_count;
	_Atomic uintptr_t *top;
};

HVRI_MUST_CHECK int32_t hvri_bitmap_init(struct hvri_bitmap *map,
					 const struct hvri_env *env,
					 uint64_t bits);
void hvri_bitmap_free(struct hvri_bitmap *map, struct hvri_page_pool *pool);
/* Clear all; nobody else uses the map. Mids that `like` (may be NULL) has too
 * are kept, missing ones are added as far as memory allows, so that the next
 * sets need leaves only. */
void hvri_bitmap_reset(struct hvri_bitmap *map, struct hvri_page_pool *pool,
		       const struct hvri_bitmap *like);

/* Any thread, several at once. Ranges lie inside the map. */
void hvri_bitmap_set(struct hvri_bitmap *map, struct hvri_page_pool *pool,
		     uint64_t first, uint64_t count);
/* Allocate what an exact set() of the range needs; NOMEM: it may widen. */
HVRI_MUST_CHECK int32_t hvri_bitmap_reserve(struct hvri_bitmap *map,
					    struct hvri_page_pool *pool,
					    uint64_t first, uint64_t count);
bool hvri_bitmap_get(const struct hvri_bitmap *map, uint64_t bit);
/* The first run of set bits in [from, end), at most max long; false: none. */
bool hvri_bitmap_next(const struct hvri_bitmap *map, uint64_t from,
		      uint64_t end, uint64_t max, uint64_t *first_out,
		      uint64_t *count_out);
bool hvri_bitmap_any(const struct hvri_bitmap *map, uint64_t first,
		     uint64_t count);
uint64_t hvri_bitmap_count(const struct hvri_bitmap *map, uint64_t first,
			   uint64_t count);
/* to |= from within [first, first + count); `from` does not change meanwhile.
 * Cost follows the pages of `from`. */
void hvri_bitmap_or(struct hvri_bitmap *to, struct hvri_page_pool *pool,
		    const struct hvri_bitmap *from, uint64_t first,
		    uint64_t count);

/* One or a few bits in a word whose page exists; false: use set(). */
static inline bool hvri_bitmap_try_set(struct hvri_bitmap *map, uint64_t first,
				       uint64_t count)
{
	uintptr_t entry = atomic_load_explicit(
		&map->top[first >> HVRI_MID_SHIFT], memory_order_acquire);
	_Atomic uintptr_t *mid;
	_Atomic uint64_t *word;
	uint64_t mask;

	if ((entry & HVRI_ENTRY_ALL) != 0 || entry == 0 ||
	    (first & 63) + count > 64)
		return false;
	mid = (_Atomic uintptr_t *)entry;
	entry = atomic_load_explicit(
		&mid[first >> HVRI_LEAF_SHIFT & (HVRI_MID_ENTRIES - 1)],
		memory_order_acquire);
	if ((entry & HVRI_ENTRY_ALL) != 0)
		return true;
	if (entry == 0)
		return false;
	word = (_Atomic uint64_t *)entry +
	       (first >> 6 & (HVRI_LEAF_WORDS - 1));
	mask = (count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1)
	       << (first & 63);
	/* A block that is rewritten has its bit already. */
	if ((atomic_load_explicit(word, memory_order_relaxed) & mask) != mask)
		(void)atomic_fetch_or_explicit(word, mask,
					       memory_order_release);
	return true;
}
#endif
