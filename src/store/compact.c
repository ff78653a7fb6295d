/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joining logs and moving them out of half-empty containers (S6): a new file,
 * a durable record, then the old files go.
 */
#include "store/internal.h"

#include "base/plant.h"

#include <string.h>

#define SLACK (64u << 10) /* Bytes not worth the work. */

void hvri_compact_reset(hvrepl_store *store)
{
	struct hvri_compact *compact = &store->compact;

	for (uint32_t i = 0; i < compact->count; i++)
		hvri_slog_unref(compact->inputs[i]);
	if (compact->writer != NULL) {
		struct hvri_container *out = compact->writer->slog->container;

		/* A record whose fate is open may name it after all. */
		if ((hvri_store_usable(store) == HVREPL_OK ||
		     HVRI_PLANT(output_removed_early)) &&
		    !hvri_state_needs_container(&store->state, out->id))
			hvri_container_doom(out);
		hvri_slog_writer_destroy(compact->writer);
	}
	if (compact->active)
		hvri_store_piece_free(store);
	memset(compact, 0, sizeof(*compact));
}

static uint64_t live_bytes(const struct hvri_manifest *state,
			   uint64_t container)
{
	uint64_t live = 0;

	for (uint32_t i = 0; i < state->redo_count; i++)
		if (state->redo[i].container == container)
			live += state->redo[i].stored_bytes +
				state->redo[i].index_length;
	for (uint32_t i = 0; i < state->undo_count; i++)
		if (state->undo[i].container == container)
			live += state->undo[i].stored_bytes +
				state->undo[i].index_length;
	return live;
}

bool hvri_container_sparse(const hvrepl_store *store,
			   const struct hvri_container *container)
{
	uint64_t live = live_bytes(&store->state, container->id);

	return container->size > live + live / 10 * 3 + SLACK;
}

/* Undo that is being written is in no list yet. */
static bool moves(const hvrepl_store *store,
		  const struct hvri_container *container)
{
	return container->id != store->state.receiving &&
	       hvri_container_sparse(store, container);
}

static bool pick_join(hvrepl_store *store, bool is_undo)
{
	const struct hvri_manifest *state = &store->state;
	struct hvri_compact *compact = &store->compact;
	struct hvri_slog **list = is_undo ? store->undo : store->redo;
	uint32_t count = is_undo ? state->undo_count : state->redo_count;

	for (uint32_t i = 0; i + 1 < count; i++) {
		if (!(is_undo ? hvri_state_undo_joins(state, i) :
				hvri_state_redo_joins(state, i)))
			continue;
		compact->is_undo = is_undo;
		compact->count = 2;
		/* The newer redo wins, the older undo. */
		compact->inputs[0] = hvri_slog_ref(list[is_undo ? i : i + 1]);
		compact->inputs[1] = hvri_slog_ref(list[is_undo ? i + 1 : i]);
		compact->replaced[0] = list[i]->place.id;
		compact->replaced[1] = list[i + 1]->place.id;
		return true;
	}
	return false;
}

static bool pick_move(hvrepl_store *store, bool is_undo)
{
	const struct hvri_manifest *state = &store->state;
	struct hvri_compact *compact = &store->compact;
	struct hvri_slog **list = is_undo ? store->undo : store->redo;
	uint32_t count = is_undo ? state->undo_count : state->redo_count;

	for (uint32_t i = 0; i < count; i++) {
		if (!moves(store, list[i]->container))
			continue;
		compact->is_undo = is_undo;
		compact->count = 1;
		compact->inputs[0] = hvri_slog_ref(list[i]);
		compact->replaced[0] = list[i]->place.id;
		return true;
	}
	return false;
}

static void fill_header(hvrepl_store *store, struct hvri_slog *slog,
			uint32_t disk)
{
	const struct hvri_compact *compact = &store->compact;
	struct hvri_slog_disk *to = &slog->disks[disk];

	for (uint32_t i = 0; i < compact->count && !to->begun; i++) {
		const struct hvri_slog_disk *from =
			&compact->inputs[i]->disks[disk];

		to->header = from->header;
		to->header.block_size = HVRI_SEGMENT_BLOCK_MIN;
		to->begun = from->begun;
	}
}

static int32_t set_up(hvrepl_store *store)
{
	struct hvri_compact *compact = &store->compact;
	struct hvri_container *container;
	struct hvri_slog *slog = NULL;
	uint64_t need = HVRI_CONTAINER_PAGE;
	int32_t rc;

	for (uint32_t i = 0; i < compact->count; i++)
		need += compact->inputs[i]->place.stored_bytes +
			compact->inputs[i]->place.index_length;
	if (hvri_store_room(store, true) < need)
		return HVREPL_E_NO_SPACE;
	HVRI_TRY(hvri_container_create(&store->env, &store->storage,
				       &store->used, hvri_store_new_id(store),
				       &container));
	rc = hvri_slog_create(&store->env, container, store->disk_count, &slog);
	if (rc == HVREPL_OK)
		rc = hvri_slog_writer_create(store, slog, &compact->writer);
	if (rc < 0)
		hvri_container_doom(container);
	for (uint32_t i = 0; i < store->disk_count && rc == HVREPL_OK; i++)
		fill_header(store, slog, i);
	hvri_slog_unref(slog);
	hvri_container_unref(container);
	if (rc == HVREPL_OK)
		compact->active = true;
	return rc;
}

static int32_t copy(hvrepl_store *store, const struct hvri_source *source,
		    uint32_t disk, uint64_t offset, uint64_t length)
{
	struct hvri_slog_writer *writer = store->compact.writer;

	if (source->entry.position == 0)
		return hvri_slog_writer_zero(writer, disk, offset, length);
	HVRI_TRY(hvri_source_read(store, source, disk, offset, store->piece,
				  (size_t)length));
	return hvri_slog_writer_add(writer, disk, offset, store->piece,
				   (size_t)length);
}

/* A bounded number of runs from the cursor on. */
static int32_t copy_piece(hvrepl_store *store)
{
	struct hvri_compact *compact = &store->compact;
	struct hvri_cursor *at = &compact->at;
	uint64_t size = store->state.disks[at->disk].size;
	uint64_t bytes = 0;

	while (at->at < size && bytes < store->piece_bytes) {
		struct hvri_source source;
		uint64_t length = size - at->at;
		int32_t rc = HVREPL_OK;

		hvri_slogs_resolve(compact->inputs, compact->count, at->disk,
				   at->at, &length, &source);
		if (source.slog != NULL) {
			rc = copy(store, &source, at->disk, at->at, length);
			hvri_slog_unref(source.slog);
			bytes += source.entry.position == 0 ? HVRI_PAGE :
							      length;
		}
		if (rc < 0)
			return rc;
		at->at += length;
	}
	return HVREPL_OK;
}

static int32_t finish(hvrepl_store *store)
{
	struct hvri_compact *compact = &store->compact;
	struct hvri_slog *slog = compact->writer->slog;
	const struct hvri_slog *older = compact->inputs[compact->count - 1];
	const struct hvri_slog *newer = compact->inputs[0];
	struct hvri_manifest_record record = {
		.type = HVRI_RECORD_REPLACE,
		.is_undo = compact->is_undo,
		.replaced = { compact->replaced[0], compact->replaced[1] },
	};
	int32_t rc;

	if (compact->is_undo) {
		older = compact->inputs[0];
		newer = compact->inputs[compact->count - 1];
	}
	HVRI_TRY(hvri_slog_writer_flush(compact->writer, false));
	slog->place.id = hvri_store_new_id(store);
	slog->place.from = older->place.from;
	slog->place.to = newer->place.to;
	HVRI_TRY(hvri_slog_write_index(slog));
	rc = hvri_container_flush(slog->container);
	if (rc < 0)
		return hvri_store_poison(store, rc);
	record.log = slog->place;
	rc = hvri_store_record(store, &record, slog);
	/* Points came or went meanwhile: what was made is of no use. */
	if (rc == HVREPL_E_STATE)
		rc = HVREPL_OK;
	if (rc == HVREPL_OK)
		hvri_compact_reset(store);
	return rc;
}

static bool inputs_live(const hvrepl_store *store)
{
	const struct hvri_compact *compact = &store->compact;

	for (uint32_t i = 0; i < compact->count; i++)
		if (!hvri_state_has_log(&store->state, compact->replaced[i]))
			return false;
	return true;
}

int32_t hvri_compact_step(hvrepl_store *store, uint32_t *more_out)
{
	struct hvri_compact *compact = &store->compact;
	int32_t rc;

	*more_out = 0;
	if (store->state.phase != HVRI_MANIFEST_REPLICA ||
	    store->state.commit > HVRI_COMMIT_OVERLAY) {
		hvri_compact_reset(store);
		return HVREPL_OK;
	}
	if (compact->active && !inputs_live(store))
		hvri_compact_reset(store);
	if (!compact->active) {
		if (!pick_join(store, false) && !pick_join(store, true) &&
		    !pick_move(store, false) && !pick_move(store, true))
			return HVREPL_OK;
		rc = set_up(store);
		if (rc < 0) {
			hvri_compact_reset(store);
			return rc;
		}
		*more_out = 1;
		return HVREPL_OK;
	}
	*more_out = 1;
	HVRI_TRY(hvri_store_piece(store));
	rc = copy_piece(store);
	if (rc == HVREPL_OK &&
	    compact->at.at >= store->state.disks[compact->at.disk].size &&
	    !hvri_cursor_next_disk(store, &compact->at))
		rc = finish(store);
	/* What a failed try left half done is made again from the start. */
	if (rc < 0)
		hvri_compact_reset(store);
	return rc;
}

int32_t hvri_store_compact(hvrepl_store *store, uint32_t *more_out)
{
	int32_t rc;

	*more_out = 0;
	hvri_lock(&store->work);
	rc = hvri_store_usable(store);
	if (rc == HVREPL_OK)
		rc = hvri_compact_step(store, more_out);
	hvri_unlock(&store->work);
	return rc;
}
