/* SPDX-License-Identifier: Apache-2.0 */
/* Moving the base forward over redo logs, saving undo where needed (S4). */
#include "store/internal.h"

#include "base/plant.h"

#include <string.h>

#define RUNS 256u

void hvri_merge_reset(hvrepl_store *store)
{
	hvri_slog_writer_destroy(store->merge.writer);
	hvri_store_piece_free(store);
	memset(&store->merge, 0, sizeof(store->merge));
}

/* Raw bytes that lie in these logs: no undo of them is larger. */
static uint64_t touched(const hvrepl_store *store, uint64_t target)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < store->state.redo_count; i++) {
		const struct hvri_slog *slog = store->redo[i];

		if (slog->place.to <= store->state.base ||
		    slog->place.to > target)
			continue;
		for (uint32_t d = 0; d < store->disk_count; d++)
			for (size_t e = 0; e < slog->disks[d].map.count; e++)
				bytes += slog->disks[d].map.at[e].length;
	}
	return bytes;
}

int32_t hvri_merge_start(hvrepl_store *store, uint64_t target,
			 struct hvrepl_error *error)
{
	const struct hvri_manifest *state = &store->state;
	struct hvri_manifest_record record = { .type = HVRI_RECORD_MERGE };
	struct hvri_slog *undo = NULL;
	int32_t rc;

	if (target == 0)
		target = hvri_state_newest(state);
	record.key = target;
	record.undo = UINT64_MAX; /* The sort that may always be. */
	if (target <= state->base || hvri_state_check(state, &record) < 0)
		return hvri_fail(error, HVREPL_E_STATE,
				 "the base cannot be moved to point %llu now",
				 (unsigned long long)target);
	record.undo = 0;
	if (hvri_state_kept_in(state, 0, target) &&
	    !HVRI_PLANT(merge_keeps_no_undo)) {
		if (touched(store, target) > hvri_store_room(store, true))
			return hvri_fail(error, HVREPL_E_NO_SPACE,
					 "no room to keep the older points "
					 "while the base moves: drop or unpin "
					 "points");
		rc = hvri_store_new_undo(store, &undo);
		if (rc < 0)
			return hvri_fail_plain(error, rc);
		record.undo = undo->container->id;
	}
	/* Durable before the first base write. */
	rc = hvri_stamp_fill(store, HVRI_STAMP_OPEN, &record);
	if (rc == HVREPL_OK)
		rc = hvri_store_record(store, &record, undo);
	if (rc < 0 && undo != NULL && hvri_store_usable(store) == HVREPL_OK)
		hvri_container_doom(undo->container);
	hvri_slog_unref(undo);
	return rc < 0 ? hvri_fail_plain(error, rc) : rc;
}

int32_t hvri_store_merge_begin(hvrepl_store *store, uint64_t target,
			       struct hvrepl_error *error)
{
	int32_t rc;

	hvri_lock(&store->work);
	rc = hvri_store_usable(store);
	if (rc == HVREPL_OK)
		rc = hvri_merge_start(store, target, error);
	hvri_unlock(&store->work);
	return rc < 0 ? hvri_fail_plain(error, rc) : rc;
}

/* The redo logs the merge moves over, newest first. */
static uint32_t redo_of(hvrepl_store *store,
			struct hvri_slog *redo_out[HVRI_MANIFEST_LOGS])
{
	const struct hvri_manifest *state = &store->state;
	uint32_t count = 0;

	for (uint32_t i = state->redo_count; i-- > 0;)
		if (state->redo[i].to > state->base &&
		    state->redo[i].to <= state->merge_target)
			redo_out[count++] = store->redo[i];
	return count;
}

struct run {
	uint64_t offset, length;
	struct hvri_source source;
};

struct piece {
	struct run runs[RUNS];
	uint32_t count;
	uint64_t bytes;
	struct hvri_cursor next;
};

/* Ranges of one disk from the cursor on, as much as one piece may move. */
static void collect(hvrepl_store *store, struct hvri_slog *const *redo,
		    uint32_t redo_count, struct piece *piece)
{
	uint64_t size = store->state.disks[piece->next.disk].size;

	while (piece->next.at < size && piece->count < RUNS &&
	       piece->bytes < store->piece_bytes) {
		struct run *run = &piece->runs[piece->count];
		uint64_t length = size - piece->next.at;

		hvri_slogs_resolve(redo, redo_count, piece->next.disk,
				   piece->next.at, &length, &run->source);
		if (run->source.slog != NULL) {
			length = HVRI_MIN(length,
					  store->piece_bytes - piece->bytes);
			run->offset = piece->next.at;
			run->length = length;
			piece->bytes += length;
			piece->count++;
		}
		piece->next.at += length;
	}
}

static int32_t write_runs(hvrepl_store *store, uint32_t disk,
			  const struct piece *piece)
{
	for (uint32_t i = 0; i < piece->count; i++) {
		const struct run *run = &piece->runs[i];
		int32_t rc;

		if (run->source.entry.position == 0) {
			HVRI_TRY(hvri_store_zero_base(store, disk, run->offset,
						      run->length));
			continue;
		}
		rc = hvri_source_read(store, &run->source, disk, run->offset,
				      store->piece, (size_t)run->length);
		/* The target is in doubt and will go; what comes after it brings
		 * these bytes again. The base keeps what it has. */
		if (hvri_store_is_damage(rc) &&
		    hvri_store_doubts(store, store->state.merge_target))
			continue;
		if (hvri_store_is_damage(rc))
			store->merge.damaged = run->source.slog->place.to;
		if (rc < 0)
			return rc;
		HVRI_TRY(hvri_store_write_base(store, disk, run->offset,
					       store->piece,
					       (size_t)run->length));
	}
	return HVREPL_OK;
}

/* Old content saved, flushed and indexed, then the base is written. */
static int32_t move(hvrepl_store *store, const struct piece *piece)
{
	struct hvri_slog_writer *writer = store->merge.writer;
	uint32_t disk = piece->next.disk;

	for (uint32_t i = 0; i < piece->count && writer != NULL; i++)
		HVRI_TRY(hvri_store_save_base(store, writer, disk,
					      piece->runs[i].offset,
					      piece->runs[i].length));
	if (writer != NULL)
		HVRI_TRY(hvri_slog_writer_flush(writer, true));
	if (piece->count > 0)
		HVRI_TRY(hvri_stamp_writing(store));
	return write_runs(store, disk, piece);
}

static int32_t finish(hvrepl_store *store)
{
	struct hvri_manifest_record record = { .type = HVRI_RECORD_MERGED };
	struct hvri_slog *undo = store->running;
	int32_t rc;

	if (!HVRI_PLANT(merged_before_flush))
		HVRI_TRY(hvri_store_flush_bases(store));
	if (undo != NULL) {
		undo->place.from = store->state.base;
		undo->place.to = store->state.merge_target;
		HVRI_TRY(hvri_slog_write_index(undo));
		rc = hvri_container_flush(undo->container);
		if (rc < 0)
			return hvri_store_poison(store, rc);
		record.log = undo->place;
	}
	HVRI_TRY(hvri_stamp_fill(store, HVRI_STAMP_SETTLED, &record));
	HVRI_TRY(hvri_store_record(store, &record, undo));
	hvri_merge_reset(store);
	return HVREPL_OK;
}

static int32_t step(hvrepl_store *store, struct piece *piece)
{
	struct hvri_slog *redo[HVRI_MANIFEST_LOGS];
	struct hvri_merge *merge = &store->merge;
	uint32_t count = redo_of(store, redo);
	int32_t rc;

	HVRI_TRY(hvri_store_piece(store));
	if (!merge->ready) {
		if (store->running != NULL)
			HVRI_TRY(hvri_slog_writer_create(store, store->running,
							&merge->writer));
		merge->ready = true;
	}
	piece->next = merge->at;
	collect(store, redo, count, piece);
	rc = move(store, piece);
	for (uint32_t i = 0; i < piece->count; i++)
		hvri_slog_unref(piece->runs[i].source.slog);
	if (rc < 0)
		return rc;
	merge->at = piece->next;
	if (merge->at.at < store->state.disks[merge->at.disk].size)
		return HVREPL_OK;
	if (merge->at.disk + 1 < store->disk_count) {
		(void)hvri_cursor_next_disk(store, &merge->at);
		return HVREPL_OK;
	}
	return finish(store);
}

int32_t hvri_merge_step(hvrepl_store *store, uint32_t *more_out)
{
	struct piece *piece;
	int32_t rc;

	*more_out = 0;
	store->merge.damaged = 0;
	if (store->state.merge_target == 0)
		return HVREPL_OK;
	piece = hvri_alloc_raw(&store->env, sizeof(*piece));
	if (piece == NULL)
		return HVREPL_E_NOMEM;
	piece->count = 0;
	piece->bytes = 0;
	rc = step(store, piece);
	hvri_free(&store->env, piece, sizeof(*piece));
	*more_out = store->state.merge_target != 0;
	if (store->merge.damaged == 0)
		return rc;
	/* Since it was checked, or what a check does not see. Once its points are
	 * in doubt it is stepped over. */
	HVRI_TRY(hvri_check_damaged(store, store->merge.damaged));
	return rc;
}

int32_t hvri_merge_go_on(hvrepl_store *store, uint32_t *more_out)
{
	int32_t rc = hvri_merge_step(store, more_out);

	return store->merge.damaged != 0 && hvri_store_is_damage(rc) ?
		       HVREPL_OK :
		       rc;
}

int32_t hvri_store_merge_advance(hvrepl_store *store, uint32_t *more_out,
				 struct hvrepl_error *error)
{
	int32_t rc;

	*more_out = 0;
	hvri_lock(&store->work);
	rc = hvri_store_usable(store);
	if (rc == HVREPL_OK)
		rc = hvri_merge_step(store, more_out);
	hvri_unlock(&store->work);
	return rc < 0 ? hvri_fail_plain(error, rc) : rc;
}
