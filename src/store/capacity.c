/* SPDX-License-Identifier: Apache-2.0 */
/* How much of a volume a store may use (S6): checked up front, and what room is
 * left of it. */
#include "store/internal.h"

#include "base/size.h"

uint64_t hvri_store_used(hvrepl_store *store)
{
	return __atomic_load_n(&store->used, __ATOMIC_RELAXED);
}

uint64_t hvri_store_capacity(hvrepl_store *store)
{
	uint64_t capacity =
		__atomic_load_n(&store->options.capacity, __ATOMIC_RELAXED);
	bool receives;

	if (capacity == 0)
		return UINT64_MAX;
	hvri_lock(&store->map);
	receives = store->state.phase != HVRI_MANIFEST_BASE_ONLY &&
		   store->state.commit == HVRI_COMMIT_NONE;
	hvri_unlock(&store->map);
	/* It bounds what is kept for a failover. A VM that runs here is held to
	 * the volume only, and takes no recovery points for its writes. */
	return receives ? capacity : UINT64_MAX;
}

static uint64_t reserve_of(const hvrepl_store *store)
{
	return __atomic_load_n(&store->options.reserve, __ATOMIC_RELAXED);
}

uint64_t hvri_store_room(hvrepl_store *store, bool reserve_too)
{
	uint64_t room = UINT64_MAX, used = hvri_store_used(store);
	uint64_t capacity = hvri_store_capacity(store);
	uint64_t reserve = reserve_too ? 0 : reserve_of(store);

	if (hvri_storage_free_space(&store->storage, &room) < 0)
		room = UINT64_MAX; /* It will say so when it is full. */
	if (capacity != UINT64_MAX)
		room = HVRI_MIN(room, capacity > used ? capacity - used : 0);
	return room > reserve ? room - reserve : 0;
}

uint64_t hvri_store_high_water(hvrepl_store *store)
{
	const struct hvrepl_store_options *options = &store->options;
	uint64_t capacity = hvri_store_capacity(store), usable;

	if (__atomic_load_n(&options->capacity, __ATOMIC_RELAXED) == 0)
		return options->high_water != 0 ? options->high_water :
						  UINT64_MAX;
	if (capacity == UINT64_MAX)
		return UINT64_MAX;
	usable = capacity - HVRI_MIN(reserve_of(store), capacity);
	/* Below what receiving may use, or nothing would ever give way. */
	return options->high_water != 0 ? HVRI_MIN(options->high_water,
						   usable) :
					  usable / 10 * 9;
}

static uint64_t add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Points that went give back whole containers only: small ones in a small
 * capacity, or what is free would lie in one that is still needed. */
uint64_t hvri_container_limit(hvrepl_store *store)
{
	uint64_t capacity = hvri_store_capacity(store);

	return capacity == UINT64_MAX ? store->options.container_bytes :
					HVRI_MIN(store->options.container_bytes,
						 capacity / 16);
}

static uint64_t log_bytes(const struct hvri_manifest_log *log)
{
	return add(log->stored_bytes, log->index_length);
}

bool hvri_store_fits(hvrepl_store *store, uint64_t length)
{
	uint64_t capacity = hvri_store_capacity(store);

	return capacity == UINT64_MAX ||
	       add(add(hvri_store_used(store), length), reserve_of(store)) <=
		       capacity;
}

/* What no upkeep gives back: the newest point's log, and every log between the
 * oldest pinned point and the newest. Logs below that go into the base. */
static uint64_t needed(const struct hvri_manifest *state)
{
	uint64_t newest = hvri_state_newest(state), oldest = newest, bytes = 0;

	for (uint32_t i = state->point_count; i-- > 0;)
		if (state->points[i].pins != 0)
			oldest = state->points[i].key;
	for (uint32_t i = 0; i < state->redo_count; i++)
		if (state->redo[i].to > oldest || state->redo[i].to == newest)
			bytes = add(bytes, log_bytes(&state->redo[i]));
	for (uint32_t i = 0; i < state->undo_count; i++)
		if (state->undo[i].to > oldest)
			bytes = add(bytes, log_bytes(&state->undo[i]));
	return bytes;
}

int32_t hvri_capacity_check(hvrepl_store *store, uint64_t capacity,
			    uint64_t reserve, struct hvrepl_error *error)
{
	char has[HVRI_SIZE_TEXT], needs[HVRI_SIZE_TEXT], keeps[HVRI_SIZE_TEXT],
		least[HVRI_SIZE_TEXT];
	uint64_t bytes;

	if (capacity == 0)
		return HVREPL_OK;
	hvri_lock(&store->map);
	bytes = needed(&store->state);
	hvri_unlock(&store->map);
	if (add(bytes, reserve) <= capacity)
		return HVREPL_OK;
	hvri_size_text(capacity, has);
	hvri_size_text(bytes, needs);
	hvri_size_text(reserve, keeps);
	hvri_size_text(add(bytes, reserve), least);
	return hvri_fail(error, HVREPL_E_NO_SPACE,
			 "a capacity of %s is too small: the newest and the "
			 "pinned recovery points need %s, the reserve is %s: "
			 "give %s or more, or unpin points",
			 has, needs, keeps, least);
}

int32_t hvri_store_set_limits(hvrepl_store *store,
			      const struct hvri_store_limits *limits,
			      bool always, struct hvrepl_error *error)
{
	struct hvrepl_store_options *options = &store->options;
	int32_t rc = hvri_capacity_check(store, limits->capacity,
					 limits->reserve, error);

	if (rc < 0 && !always)
		return rc;
	/* Not under work: nobody waits for a merge to say this. */
	__atomic_store_n(&options->reserve, limits->reserve, __ATOMIC_RELAXED);
	__atomic_store_n(&options->points_min, limits->points_min,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&options->capacity, limits->capacity,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&store->limits_new, true, __ATOMIC_RELEASE);
	return rc;
}

int32_t hvri_store_why_full(hvrepl_store *store, struct hvrepl_error *error)
{
	uint64_t capacity = hvri_store_capacity(store);
	char has[HVRI_SIZE_TEXT], used[HVRI_SIZE_TEXT];
	uint64_t room = UINT64_MAX;

	if (hvri_storage_free_space(&store->storage, &room) < 0)
		room = UINT64_MAX;
	if (capacity == UINT64_MAX ||
	    room <= reserve_of(store) + HVRI_CHUNK_ENCODED_MAX)
		return hvri_fail(error, HVREPL_E_NO_SPACE,
				 "the volume of the recovery points is full: "
				 "give it more space, or drop or unpin "
				 "recovery points");
	hvri_size_text(capacity, has);
	hvri_size_text(hvri_store_used(store), used);
	return hvri_fail(error, HVREPL_E_NO_SPACE,
			 "the quota of %s is full: %s are in use and no older "
			 "point may go; raise it, or drop or unpin recovery "
			 "points",
			 has, used);
}
