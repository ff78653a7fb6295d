/* SPDX-License-Identifier: Apache-2.0 */
/* Sparse bitmap: pages, ranges, runs. */
#include "base/bitmap.h"

#include "base/plant.h"

#include <string.h>

#define LEAF_BYTES (HVRI_LEAF_WORDS * sizeof(uint64_t))
#define MID_BYTES (HVRI_MID_ENTRIES * sizeof(uintptr_t))
#define MID_BITS (UINT64_C(1) << HVRI_MID_SHIFT)

void hvri_page_pool_init(struct hvri_page_pool *pool,
			 const struct hvri_env *env)
{
	*pool = (struct hvri_page_pool){ .env = *env };
	hvri_mutex_init(&pool->mutex);
}

static void free_list(struct hvri_page_pool *pool, void *page, size_t size)
{
	while (page != NULL) {
		void *next = *(void **)page;

		hvri_free(&pool->env, page, size);
		page = next;
	}
}

void hvri_page_pool_free(struct hvri_page_pool *pool)
{
	free_list(pool, pool->leaves, LEAF_BYTES);
	free_list(pool, pool->mids, MID_BYTES);
	pool->leaves = pool->mids = NULL;
	hvri_mutex_destroy(&pool->mutex);
}

static void note_level(struct hvri_page_pool *pool)
{
	atomic_store_explicit(&pool->low,
			      pool->leaf_count * 2 < pool->leaf_target ||
				      pool->mid_count * 2 < pool->mid_target,
			      memory_order_relaxed);
}

static void *take(struct hvri_page_pool *pool, bool mid)
{
	void **list = mid ? &pool->mids : &pool->leaves;
	void *page;

	hvri_lock(&pool->mutex);
	page = *list;
	if (page != NULL) {
		*list = *(void **)page;
		*(void **)page = NULL;
		if (mid)
			pool->mid_count--;
		else
			pool->leaf_count--;
	}
	note_level(pool);
	hvri_unlock(&pool->mutex);
	return page;
}

/* `page` is zeroed here unless it is known to be. */
static void give(struct hvri_page_pool *pool, bool mid, void *page)
{
	size_t size = mid ? MID_BYTES : LEAF_BYTES;
	bool keep;

	memset(page, 0, size);
	hvri_lock(&pool->mutex);
	keep = mid ? pool->mid_count < pool->mid_target :
		     pool->leaf_count < pool->leaf_target;
	if (keep) {
		void **list = mid ? &pool->mids : &pool->leaves;

		*(void **)page = *list;
		*list = page;
		if (mid)
			pool->mid_count++;
		else
			pool->leaf_count++;
		note_level(pool);
	}
	hvri_unlock(&pool->mutex);
	if (!keep)
		hvri_free(&pool->env, page, size);
}

int32_t hvri_page_pool_fill(struct hvri_page_pool *pool, size_t leaves,
			    size_t mids)
{
	size_t wanted[2];

	hvri_lock(&pool->mutex);
	pool->leaf_target = leaves;
	pool->mid_target = mids;
	wanted[0] = leaves > pool->leaf_count ? leaves - pool->leaf_count : 0;
	wanted[1] = mids > pool->mid_count ? mids - pool->mid_count : 0;
	note_level(pool);
	hvri_unlock(&pool->mutex);
	for (int mid = 0; mid < 2; mid++) {
		for (size_t i = 0; i < wanted[mid]; i++) {
			void *page = hvri_alloc(&pool->env,
						mid ? MID_BYTES : LEAF_BYTES);

			if (page == NULL)
				return HVREPL_E_NOMEM;
			give(pool, mid != 0, page);
		}
	}
	return HVREPL_OK;
}

int32_t hvri_bitmap_init(struct hvri_bitmap *map, const struct hvri_env *env,
			 uint64_t bits)
{
	size_t count = (size_t)((bits + MID_BITS - 1) >> HVRI_MID_SHIFT);
	void *top;

	if (bits == 0)
		count = 1;
	top = hvri_alloc_array(env, count, sizeof(uintptr_t));
	if (top == NULL)
		return HVREPL_E_NOMEM;
	map->bits = bits;
	map->top_count = count;
	map->top = top;
	return HVREPL_OK;
}

static uintptr_t entry_of(const _Atomic uintptr_t *at)
{
	return atomic_load_explicit(at, memory_order_acquire);
}

static void *page_of(uintptr_t entry)
{
	return (void *)(entry & ~HVRI_ENTRY_ALL);
}

static void empty_mid(_Atomic uintptr_t *mid, struct hvri_page_pool *pool)
{
	for (size_t i = 0; i < HVRI_MID_ENTRIES; i++) {
		void *leaf = page_of(entry_of(&mid[i]));

		if (leaf != NULL)
			give(pool, false, leaf);
		atomic_store_explicit(&mid[i], 0, memory_order_relaxed);
	}
}

void hvri_bitmap_free(struct hvri_bitmap *map, struct hvri_page_pool *pool)
{
	if (map->top == NULL)
		return;
	hvri_bitmap_reset(map, pool, NULL);
	hvri_free(&pool->env, map->top, map->top_count * sizeof(uintptr_t));
	map->top = NULL;
}

void hvri_bitmap_reset(struct hvri_bitmap *map, struct hvri_page_pool *pool,
		       const struct hvri_bitmap *like)
{
	for (size_t i = 0; i < map->top_count; i++) {
		void *mid = page_of(entry_of(&map->top[i]));
		bool wanted = like != NULL &&
			      page_of(entry_of(&like->top[i])) != NULL;

		if (mid != NULL)
			empty_mid(mid, pool);
		if (mid != NULL && !wanted) {
			give(pool, true, mid);
			mid = NULL;
		}
		if (mid == NULL && wanted)
			mid = hvri_alloc(&pool->env, MID_BYTES);
		atomic_store_explicit(&map->top[i], (uintptr_t)mid,
				      memory_order_release);
	}
}

/* The page of an entry, put there if there is none; NULL when the entry is or
 * becomes "all" for want of one. */
static void *need_page(_Atomic uintptr_t *at, struct hvri_page_pool *pool,
		       bool mid)
{
	uintptr_t entry = entry_of(at), none = 0;
	void *page;

	if ((entry & HVRI_ENTRY_ALL) != 0)
		return NULL;
	if (entry != 0)
		return page_of(entry);
	page = take(pool, mid);
	if (page == NULL) {
		(void)atomic_fetch_or(at, HVRI_ENTRY_ALL);
		return NULL;
	}
	if (atomic_compare_exchange_strong(at, &none, (uintptr_t)page))
		return page;
	give(pool, mid, page);
	return (none & HVRI_ENTRY_ALL) != 0 ? NULL : page_of(none);
}

static void set_in_leaf(_Atomic uint64_t *words, uint32_t first, uint32_t end)
{
	while (first < end) {
		uint32_t bit = first & 63;
		uint32_t count = HVRI_MIN(64 - bit, end - first);
		uint64_t mask = (count == 64 ? UINT64_MAX :
					       (UINT64_C(1) << count) - 1)
				<< bit;
		_Atomic uint64_t *word = &words[first >> 6];

		if ((atomic_load_explicit(word, memory_order_relaxed) & mask) !=
		    mask)
			(void)atomic_fetch_or_explicit(word, mask,
						       memory_order_release);
		first += count;
	}
}

static void set_in_mid(struct hvri_bitmap *map, struct hvri_page_pool *pool,
		       _Atomic uintptr_t *mid, uint64_t first, uint64_t end)
{
	while (first < end) {
		_Atomic uintptr_t *at =
			&mid[first >> HVRI_LEAF_SHIFT & (HVRI_MID_ENTRIES - 1)];
		uint64_t start = first & ~(uint64_t)(HVRI_LEAF_BITS - 1);
		uint64_t stop = start + HVRI_LEAF_BITS;
		uint64_t until = HVRI_MIN(stop, end);

		if (first == start && until == HVRI_MIN(stop, map->bits)) {
			(void)atomic_fetch_or(at, HVRI_ENTRY_ALL);
		} else {
			_Atomic uint64_t *leaf = need_page(at, pool, false);

			if (leaf != NULL)
				set_in_leaf(leaf, (uint32_t)(first - start),
					    (uint32_t)(until - start));
			else if (HVRI_PLANT(oom_forgets_dirty))
				atomic_store(at, 0);
		}
		first = until;
	}
}

void hvri_bitmap_set(struct hvri_bitmap *map, struct hvri_page_pool *pool,
		     uint64_t first, uint64_t count)
{
	uint64_t end = first + count;

	while (first < end) {
		_Atomic uintptr_t *at = &map->top[first >> HVRI_MID_SHIFT];
		uint64_t start = first & ~(MID_BITS - 1);
		uint64_t until = HVRI_MIN(start + MID_BITS, end);

		if (first == start &&
		    until == HVRI_MIN(start + MID_BITS, map->bits)) {
			(void)atomic_fetch_or(at, HVRI_ENTRY_ALL);
		} else {
			_Atomic uintptr_t *mid = need_page(at, pool, true);

			if (mid != NULL)
				set_in_mid(map, pool, mid, first, until);
			else if (HVRI_PLANT(oom_forgets_dirty))
				atomic_store(at, 0);
		}
		first = until;
	}
}

/* As need_page(), but from the allocator; false: no memory. */
static bool add_page(struct hvri_page_pool *pool, _Atomic uintptr_t *at,
		     bool mid)
{
	size_t size = mid ? MID_BYTES : LEAF_BYTES;
	uintptr_t none = 0;
	void *page;

	if (entry_of(at) != 0)
		return true;
	page = hvri_alloc(&pool->env, size);
	if (page == NULL)
		return false;
	if (!atomic_compare_exchange_strong(at, &none, (uintptr_t)page))
		hvri_free(&pool->env, page, size);
	return true;
}

static bool covers(const struct hvri_bitmap *map, uint64_t first, uint64_t end,
		   uint64_t start, uint64_t stop)
{
	return first <= start && end >= HVRI_MIN(stop, map->bits);
}

int32_t hvri_bitmap_reserve(struct hvri_bitmap *map,
			    struct hvri_page_pool *pool, uint64_t first,
			    uint64_t count)
{
	uint64_t end = first + count, at = first;

	while (at < end) {
		uint64_t start = at & ~(MID_BITS - 1);
		_Atomic uintptr_t *top = &map->top[at >> HVRI_MID_SHIFT];
		_Atomic uintptr_t *mid;

		if (covers(map, first, end, start, start + MID_BITS) ||
		    (entry_of(top) & HVRI_ENTRY_ALL) != 0) {
			at = start + MID_BITS;
			continue;
		}
		if (!add_page(pool, top, true))
			return HVREPL_E_NOMEM;
		mid = page_of(entry_of(top));
		start = at & ~(uint64_t)(HVRI_LEAF_BITS - 1);
		if (mid != NULL &&
		    !covers(map, first, end, start, start + HVRI_LEAF_BITS) &&
		    !add_page(pool,
			      &mid[at >> HVRI_LEAF_SHIFT &
				   (HVRI_MID_ENTRIES - 1)],
			      false))
			return HVREPL_E_NOMEM;
		at = start + HVRI_LEAF_BITS;
	}
	return HVREPL_OK;
}

/* What is known about the place of `bit`: wholly set or clear up to *until,
 * or the leaf that says. */
enum place { CLEAR, SET, MIXED };

static enum place look(const struct hvri_bitmap *map, uint64_t bit,
		       uint64_t *until, const _Atomic uint64_t **leaf)
{
	uintptr_t entry = entry_of(&map->top[bit >> HVRI_MID_SHIFT]);
	const _Atomic uintptr_t *mid;

	*until = (bit & ~(MID_BITS - 1)) + MID_BITS;
	if ((entry & HVRI_ENTRY_ALL) != 0)
		return SET;
	if (entry == 0)
		return CLEAR;
	mid = page_of(entry);
	entry = entry_of(
		&mid[bit >> HVRI_LEAF_SHIFT & (HVRI_MID_ENTRIES - 1)]);
	*until = (bit & ~(uint64_t)(HVRI_LEAF_BITS - 1)) + HVRI_LEAF_BITS;
	if ((entry & HVRI_ENTRY_ALL) != 0)
		return SET;
	if (entry == 0)
		return CLEAR;
	*leaf = page_of(entry);
	return MIXED;
}

static uint64_t word_at(const _Atomic uint64_t *leaf, uint64_t bit)
{
	return atomic_load_explicit(&leaf[bit >> 6 & (HVRI_LEAF_WORDS - 1)],
				    memory_order_acquire);
}

bool hvri_bitmap_get(const struct hvri_bitmap *map, uint64_t bit)
{
	const _Atomic uint64_t *leaf = NULL;
	uint64_t until;
	enum place place = look(map, bit, &until, &leaf);

	if (place != MIXED)
		return place == SET;
	return (word_at(leaf, bit) >> (bit & 63) & 1) != 0;
}

/* The first bit at or after `from`, before `end`, that is `set` or not. */
static uint64_t find(const struct hvri_bitmap *map, uint64_t from, uint64_t end,
		     bool set)
{
	while (from < end) {
		const _Atomic uint64_t *leaf = NULL;
		uint64_t until, word;
		enum place place = look(map, from, &until, &leaf);

		if (place != MIXED) {
			if ((place == SET) == set)
				return from;
			from = until;
			continue;
		}
		while (from < until && from < end) {
			word = word_at(leaf, from);
			if (!set)
				word = ~word;
			word &= UINT64_MAX << (from & 63);
			if (word != 0) {
				from = (from & ~UINT64_C(63)) +
				       (uint64_t)__builtin_ctzll(word);
				return HVRI_MIN(from, end);
			}
			from = (from | 63) + 1;
		}
	}
	return end;
}

bool hvri_bitmap_next(const struct hvri_bitmap *map, uint64_t from,
		      uint64_t end, uint64_t max, uint64_t *first_out,
		      uint64_t *count_out)
{
	uint64_t first, stop;

	end = HVRI_MIN(end, map->bits);
	if (from >= end)
		return false;
	first = find(map, from, end, true);
	if (first == end)
		return false;
	stop = end - first > max ? first + max : end;
	*first_out = first;
	*count_out = find(map, first, stop, false) - first;
	return true;
}

bool hvri_bitmap_any(const struct hvri_bitmap *map, uint64_t first,
		     uint64_t count)
{
	return find(map, first, first + count, true) != first + count;
}

uint64_t hvri_bitmap_count(const struct hvri_bitmap *map, uint64_t first,
			   uint64_t count)
{
	uint64_t end = first + count, total = 0;

	while (first < end) {
		const _Atomic uint64_t *leaf = NULL;
		uint64_t until;
		enum place place = look(map, first, &until, &leaf);

		until = HVRI_MIN(until, end);
		if (place == SET)
			total += until - first;
		while (place == MIXED && first < until) {
			uint64_t stop = HVRI_MIN((first | 63) + 1, until);
			uint64_t word = word_at(leaf, first) >> (first & 63);

			if (stop - first < 64)
				word &= (UINT64_C(1) << (stop - first)) - 1;
			total += (uint64_t)__builtin_popcountll(word);
			first = stop;
		}
		first = until;
	}
	return total;
}

void hvri_bitmap_or(struct hvri_bitmap *to, struct hvri_page_pool *pool,
		    const struct hvri_bitmap *from, uint64_t first,
		    uint64_t count)
{
	uint64_t end = first + count;

	while (first < end) {
		const _Atomic uint64_t *leaf = NULL;
		uint64_t until;
		enum place place = look(from, first, &until, &leaf);

		until = HVRI_MIN(until, end);
		if (place == SET)
			hvri_bitmap_set(to, pool, first, until - first);
		while (place == MIXED && first < until) {
			uint64_t run, length;

			if (!hvri_bitmap_next(from, first, until, UINT64_MAX,
					      &run, &length))
				break;
			hvri_bitmap_set(to, pool, run, length);
			first = run + length;
		}
		first = until;
	}
}
