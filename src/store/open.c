/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a store, with recovery, and letting go of it. */
#include "store/internal.h"

#include <stdlib.h>
#include <string.h>

static void free_logs(hvrepl_store *store)
{
	for (uint32_t i = 0; i < HVRI_MANIFEST_LOGS; i++) {
		hvri_slog_unref(store->redo[i]);
		hvri_slog_unref(store->undo[i]);
	}
	hvri_slog_unref(store->running);
	hvri_slog_unref(store->saved);
}

static void free_store(hvrepl_store *store)
{
	struct hvri_env env = store->env;

	hvri_merge_reset(store);
	hvri_compact_reset(store);
	hvri_commit_reset(store);
	hvri_receive_free(store);
	hvri_container_unref(store->receive.container);
	free_logs(store);
	hvri_overlay_unref(store->active);
	hvri_overlay_unref(store->frozen);
	hvri_cache_free(&store->cache);
	hvri_journal_close(&store->journal);
	hvri_manifest_clear(&env, &store->state);
	for (uint32_t i = 0; i < HVREPL_STORE_DISKS_MAX; i++)
		hvri_disk_drop(&store->bases[i]);
	hvri_storage_drop(&store->storage);
	hvri_store_piece_free(store);
	hvri_mutex_destroy(&store->work);
	hvri_mutex_destroy(&store->map);
	for (uint32_t i = 0; i < HVREPL_STORE_DISKS_MAX; i++)
		hvri_base_flush_destroy(&store->flushes[i]);
	hvri_free(&env, store, sizeof(*store));
}

int32_t hvri_store_destroy(hvrepl_store *store)
{
	bool busy;

	if (store == NULL)
		return HVREPL_OK;
	hvri_lock(&store->work);
	busy = store->views != NULL;
	hvri_unlock(&store->work);
	if (busy)
		return HVREPL_E_BUSY;
	hvri_lock(&store->work);
	hvri_stamp_close(store);
	hvri_unlock(&store->work);
	free_store(store);
	return HVREPL_OK;
}

/* ---- recovery ---- */

static int32_t check_disks(hvrepl_store *store,
			   const struct hvrepl_store_disk *disks,
			   struct hvrepl_error *error)
{
	const struct hvri_manifest *state = &store->state;

	if (!hvri_uuid_equal(&state->vm, &store->options.vm))
		return hvri_fail(error, HVREPL_E_WRONG_DISK,
				 "the storage holds the store of another VM");
	if (state->disk_count != store->disk_count)
		return hvri_fail(error, HVREPL_E_WRONG_DISK,
				 "the store was made for %u disks, %u are given",
				 state->disk_count, store->disk_count);
	for (uint32_t i = 0; i < store->disk_count; i++) {
		if (!hvri_uuid_equal(&state->disks[i].disk, &disks[i].disk))
			return hvri_fail(error, HVREPL_E_WRONG_DISK,
					 "disk %u is not the one the store was "
					 "made for",
					 i);
		if (state->disks[i].size != store->bases[i].info.size)
			return hvri_fail(
				error, HVREPL_E_WRONG_DISK,
				"disk %u has %llu bytes, the store was made "
				"for %llu",
				i,
				(unsigned long long)store->bases[i].info.size,
				(unsigned long long)state->disks[i].size);
	}
	return HVREPL_OK;
}

static struct hvri_container *known_container(hvrepl_store *store, uint64_t id)
{
	/* Undo is alone in its container. */
	for (uint32_t i = 0; i < HVRI_MANIFEST_LOGS; i++)
		if (store->redo[i] != NULL &&
		    store->redo[i]->container->id == id)
			return hvri_container_ref(store->redo[i]->container);
	return NULL;
}

static int32_t get_container(hvrepl_store *store, uint64_t id,
			     struct hvri_container **container_out)
{
	struct hvri_container *known = known_container(store, id);

	if (known != NULL) {
		*container_out = known;
		return HVREPL_OK;
	}
	return hvri_container_open(&store->env, &store->storage, &store->used,
				   id, container_out);
}

static int32_t load_list(hvrepl_store *store,
			 const struct hvri_manifest_log *logs, uint32_t count,
			 struct hvri_slog **list)
{
	for (uint32_t i = 0; i < count; i++) {
		struct hvri_container *container;
		int32_t rc;

		HVRI_TRY(get_container(store, logs[i].container, &container));
		rc = hvri_slog_load(&store->env, container, &logs[i],
				    &store->state, &list[i]);
		hvri_container_unref(container);
		if (rc < 0)
			return rc;
	}
	return HVREPL_OK;
}

struct listing {
	hvrepl_store *store;
	uint64_t highest;
	char (*ids)[HVREPL_OBJECT_ID_MAX + 1];
	size_t count, room;
};

/* The number in an object's id, behind `prefix`; false for other ids. */
static bool numbered(const char *id, const char *prefix, uint64_t *number_out)
{
	size_t length = strlen(prefix);
	char *end;

	if (strncmp(id, prefix, length) != 0 || strlen(id + length) < 16)
		return false;
	*number_out = strtoull(id + length, &end, 16);
	return end == id + length + 16 && (*end == '\0' || *end == '.');
}

static bool is_left_over(const hvrepl_store *store, const char *id,
			 uint64_t *number_out)
{
	const struct hvri_manifest *state = &store->state;

	if (numbered(id, HVRI_CONTAINER_PREFIX, number_out))
		return !hvri_state_needs_container(state, *number_out);
	if (numbered(id, HVRI_OVERLAY_DATA_PREFIX, number_out) ||
	    numbered(id, HVRI_OVERLAY_MAP_PREFIX, number_out))
		return *number_out != state->overlay_active &&
		       *number_out != state->overlay_frozen;
	return false;
}

static int32_t listed(void *argument, const char *id, uint64_t size)
{
	struct listing *listing = argument;
	const struct hvri_env *env = &listing->store->env;
	uint64_t number = 0;
	bool old_log;

	(void)size;
	old_log = numbered(id, HVRI_LOG_PREFIX, &number) &&
		  number != listing->store->journal.head.log;
	if (!old_log && !is_left_over(listing->store, id, &number)) {
		if (strncmp(id, HVRI_LOG_PREFIX, strlen(HVRI_LOG_PREFIX)) != 0)
			listing->highest = HVRI_MAX(listing->highest, number);
		return HVREPL_OK;
	}
	if (!old_log)
		listing->highest = HVRI_MAX(listing->highest, number);
	HVRI_TRY(hvri_grow(env, (void **)&listing->ids, &listing->room,
			   listing->count + 1, 1u << 20,
			   sizeof(listing->ids[0])));
	if (strlen(id) <= HVREPL_OBJECT_ID_MAX)
		memcpy(listing->ids[listing->count++], id, strlen(id) + 1);
	return HVREPL_OK;
}

/* Remove what no record names, and choose ids that nothing there has. */
static int32_t sweep(hvrepl_store *store)
{
	struct listing listing = { .store = store };
	int32_t rc;

	rc = hvri_storage_list(&store->storage, "store.", listed, &listing);
	for (size_t i = 0; i < listing.count && rc == HVREPL_OK; i++) {
		rc = hvri_storage_remove(&store->storage, listing.ids[i]);
		if (rc == HVREPL_E_NOT_FOUND)
			rc = HVREPL_OK;
	}
	if (rc == HVREPL_OK && listing.count > 0)
		rc = hvri_storage_sync(&store->storage);
	hvri_free(&store->env, listing.ids,
		  listing.room * sizeof(listing.ids[0]));
	if (rc == HVREPL_OK)
		store->next_id = HVRI_MAX(store->state.next_id,
					  listing.highest + 1);
	return rc;
}

static int32_t recover(hvrepl_store *store)
{
	const struct hvri_manifest *state = &store->state;

	store->next_id = state->next_id;
	store->generation = store->journal.head.generation;
	HVRI_TRY(load_list(store, state->redo, state->redo_count, store->redo));
	HVRI_TRY(load_list(store, state->undo, state->undo_count, store->undo));
	/* Undo of what was under way counts before any view is served (S4). */
	if (state->merge_undo != 0)
		HVRI_TRY(hvri_store_load_undo(store, state->merge_undo,
					      &store->running));
	if (state->commit_undo != 0)
		HVRI_TRY(hvri_store_load_undo(store, state->commit_undo,
					      &store->saved));
	HVRI_TRY(hvri_overlays_recover(store));
	if (state->receiving != 0)
		HVRI_TRY(get_container(store, state->receiving,
				       &store->receive.container));
	HVRI_TRY(hvri_receive_recover(store));
	return sweep(store);
}

static void first_state(hvrepl_store *store,
			const struct hvrepl_store_disk *disks)
{
	struct hvri_manifest *state = &store->state;

	state->vm = store->options.vm;
	state->disk_count = store->disk_count;
	state->next_id = 1;
	for (uint32_t i = 0; i < store->disk_count; i++) {
		state->disks[i].disk = disks[i].disk;
		state->disks[i].size = store->bases[i].info.size;
	}
}

static int32_t open_journal(hvrepl_store *store,
			    const struct hvrepl_store_disk *disks,
			    struct hvrepl_error *error)
{
	uint64_t token = store->options.fencing_token;
	int32_t rc;

	if ((store->options.flags & HVREPL_STORE_CREATE) == 0) {
		rc = hvri_journal_open(&store->journal, &store->env,
				       &store->storage, token, &store->state);
		if (rc == HVREPL_E_CORRUPT || rc == HVREPL_E_TRUNCATED)
			return hvri_fail(error, rc,
					 "the store's manifest is damaged: "
					 "restore it, or replicate anew");
		HVRI_TRY(rc);
		return check_disks(store, disks, error);
	}
	first_state(store, disks);
	rc = hvri_journal_create(&store->journal, &store->env, &store->storage,
				 token, &store->state);
	if (rc == HVREPL_E_EXISTS)
		return hvri_fail(error, rc,
				 "the storage holds a store already: open it "
				 "or remove it");
	return rc;
}

static int32_t set_up(hvrepl_store *store,
		      const struct hvrepl_store_disk *disks,
		      struct hvrepl_error *error)
{
	int32_t rc;

	store->piece_bytes = HVRI_STORE_PIECE;
	store->switch_bytes = HVRI_STORE_SWITCH_BYTES;
	store->refreeze_bytes = HVRI_STORE_REFREEZE_BYTES;
	if (store->options.container_bytes == 0)
		store->options.container_bytes = HVRI_STORE_CONTAINER_BYTES;
	if (store->options.cache_bytes == 0)
		store->options.cache_bytes = HVRI_STORE_CACHE_BYTES;
	HVRI_TRY(hvri_cache_init(&store->cache, &store->env,
				 store->options.cache_bytes));
	HVRI_TRY(open_journal(store, disks, error));
	HVRI_TRY(hvri_capacity_check(store, store->options.capacity,
				     store->options.reserve, error));
	HVRI_TRY(hvri_stamp_check(store, error));
	rc = recover(store);
	if (rc == HVREPL_E_CORRUPT || rc == HVREPL_E_TRUNCATED)
		return hvri_fail(error, rc,
				 "a log or overlay of the store is damaged: "
				 "restore it, or replicate anew");
	return rc;
}

/* Take everything over, whatever comes of it: release is called once. */
static int32_t take_all(hvrepl_store *store,
			const struct hvrepl_storage *storage,
			const struct hvrepl_store_disk *disks, uint32_t count,
			struct hvrepl_error *error)
{
	int32_t result = hvri_storage_take(&store->storage, storage, error);

	for (uint32_t i = 0; i < count; i++) {
		int32_t rc = hvri_disk_take(&store->bases[i], &disks[i].base,
					    error);

		if (rc == HVREPL_OK && result == HVREPL_OK &&
		    ((store->bases[i].info.flags & HVREPL_DISK_READ_ONLY) !=
		     0)) {
			hvri_fail(error, HVREPL_E_READ_ONLY,
				  "disk %u is read-only: a replica's disk must "
				  "be writable",
				  i);
			rc = HVREPL_E_READ_ONLY;
		}
		if (rc == HVREPL_OK && store->bases[i].info.size == 0)
			rc = HVREPL_E_INVALID;
		if (result == HVREPL_OK)
			result = rc;
	}
	store->disk_count = count;
	return result;
}

static void release_all(const struct hvrepl_storage *storage,
			const struct hvrepl_store_disk *disks, uint32_t count)
{
	if (storage->release != NULL)
		storage->release(storage->user);
	for (uint32_t i = 0; i < count; i++)
		if (disks[i].base.release != NULL)
			disks[i].base.release(disks[i].base.user);
}

int32_t hvri_store_open(const struct hvrepl_env *env,
			const struct hvrepl_storage *storage,
			const struct hvrepl_store_disk *disks,
			uint32_t disk_count,
			const struct hvrepl_store_options *options,
			hvrepl_store **store_out, struct hvrepl_error *error)
{
	struct hvri_env copy;
	hvrepl_store *store = NULL;
	int32_t rc;

	rc = hvri_env_copy(&copy, env, error);
	if (rc == HVREPL_OK) {
		store = hvri_alloc(&copy, sizeof(*store));
		if (store == NULL)
			rc = HVREPL_E_NOMEM;
	}
	if (rc < 0) {
		release_all(storage, disks, disk_count);
		return hvri_fail_plain(error, rc);
	}
	store->env = copy;
	store->options = *options;
	hvri_mutex_init(&store->work);
	hvri_mutex_init(&store->map);
	for (uint32_t i = 0; i < HVREPL_STORE_DISKS_MAX; i++)
		hvri_base_flush_init(&store->flushes[i], &store->bases[i]);
	rc = take_all(store, storage, disks, disk_count, error);
	if (rc == HVREPL_OK)
		rc = set_up(store, disks, error);
	if (rc < 0) {
		free_store(store);
		return hvri_fail_plain(error, rc);
	}
	*store_out = store;
	return HVREPL_OK;
}

static int32_t all_ids(void *argument, const char *id, uint64_t size)
{
	struct listing *listing = argument;
	const struct hvri_env *env = &listing->store->env;

	(void)size;
	if (strlen(id) > HVREPL_OBJECT_ID_MAX)
		return HVREPL_OK;
	HVRI_TRY(hvri_grow(env, (void **)&listing->ids, &listing->room,
			   listing->count + 1, 1u << 20,
			   sizeof(listing->ids[0])));
	memcpy(listing->ids[listing->count++], id, strlen(id) + 1);
	return HVREPL_OK;
}

int32_t hvri_store_remove(const struct hvrepl_env *env,
			  const struct hvrepl_storage *storage,
			  struct hvrepl_error *error)
{
	struct hvri_env copy;
	hvrepl_store *store = NULL;
	struct listing listing = { .store = NULL };
	int32_t rc;

	rc = hvri_env_copy(&copy, env, error);
	if (rc == HVREPL_OK)
		store = hvri_alloc(&copy, sizeof(*store));
	if (store == NULL) {
		release_all(storage, NULL, 0);
		return hvri_fail_plain(error, rc < 0 ? rc : HVREPL_E_NOMEM);
	}
	store->env = copy;
	listing.store = store;
	rc = hvri_storage_take(&store->storage, storage, error);
	if (rc == HVREPL_OK)
		rc = hvri_storage_list(&store->storage, "store.", all_ids,
				       &listing);
	/* The head first: without it there is no store. */
	if (rc == HVREPL_OK) {
		rc = hvri_storage_remove(&store->storage, HVRI_HEAD_ID);
		if (rc == HVREPL_OK || rc == HVREPL_E_NOT_FOUND)
			rc = hvri_storage_sync(&store->storage);
	}
	for (size_t i = 0; i < listing.count && rc == HVREPL_OK; i++) {
		rc = hvri_storage_remove(&store->storage, listing.ids[i]);
		if (rc == HVREPL_E_NOT_FOUND)
			rc = HVREPL_OK;
	}
	hvri_free(&copy, listing.ids, listing.room * sizeof(listing.ids[0]));
	hvri_storage_drop(&store->storage);
	hvri_free(&copy, store, sizeof(*store));
	return rc < 0 ? hvri_fail_plain(error, rc) : rc;
}

static uint32_t public_state(const struct hvri_manifest *state)
{
	static const uint32_t by_commit[] = {
		HVREPL_STORE_REPLICA, HVREPL_STORE_FAILOVER,
		HVREPL_STORE_FOLDING, HVREPL_STORE_SWITCHING,
		HVREPL_STORE_RESTORING,
	};

	switch (state->phase) {
	case HVRI_MANIFEST_EMPTY:
		return HVREPL_STORE_EMPTY;
	case HVRI_MANIFEST_INITIAL:
		return HVREPL_STORE_INITIAL;
	case HVRI_MANIFEST_BASE_ONLY:
		return HVREPL_STORE_BASE_ONLY;
	default:
		return by_commit[state->commit];
	}
}

void hvri_store_info(hvrepl_store *store, struct hvrepl_store_info *info_out)
{
	const struct hvri_manifest *state = &store->state;
	struct hvrepl_store_info info = { .struct_size = sizeof(info) };

	/* Not under work: who asks for this must not wait for a merge. */
	hvri_lock(&store->map);
	info.state = public_state(state);
	info.point_count = hvri_store_points_offered(store);
	info.disk_count = store->disk_count;
	info.base_point = state->base;
	info.merge_target = state->merge_target;
	info.newest_point = hvri_state_newest(state);
	info.failover_point = state->commit_point;
	info.used_bytes = hvri_store_used(store);
	for (uint32_t i = 0; i < state->redo_count; i++)
		info.live_bytes += state->redo[i].stored_bytes +
				   state->redo[i].index_length;
	for (uint32_t i = 0; i < state->undo_count; i++)
		info.live_bytes += state->undo[i].stored_bytes +
				   state->undo[i].index_length;
	info.generation = store->generation;
	info.doubted_point = state->doubt_to;
	info.newest_doubted = store->base_changed ||
			    hvri_store_doubts(store, info.newest_point);
	hvri_unlock(&store->map);
	info.accepting = hvri_store_room(store, false) >
			 HVRI_CHUNK_ENCODED_MAX;
	info.poisoned = hvri_store_poisoned(store);
	*info_out = info;
}
