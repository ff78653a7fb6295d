/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commit of a failover while the VM runs on it, and cancel (S8).
 *
 *   OVERLAY --freeze--> FOLDING (frozen overlay and point into the base, with
 *   undo) --folded--> [freeze and fold again] --first direct--> SWITCHING
 *   (range by range) --committed--> base only
 *   OVERLAY or FOLDING --cancel--> RESTORING --restored--> as before
 */
#include "store/internal.h"

#include "base/plant.h"

#include <string.h>

/* A range of the base and what it gets. */
struct fold_run {
	uint64_t offset, length;
	uint32_t state; /* HVRI_OVERLAY_DATA, _ZERO, or _ABSENT: the source. */
	struct hvri_source source;
};

#define RUNS 256u
struct fold_piece {
	struct fold_run runs[RUNS];
	uint32_t count;
	uint64_t bytes;
	uint64_t end; /* The cursor moves here. */
};

static void piece_free(hvrepl_store *store, struct fold_piece *piece)
{
	for (uint32_t i = 0; i < piece->count; i++)
		hvri_slog_unref(piece->runs[i].source.slog);
	hvri_free(&store->env, piece, sizeof(*piece));
}

/* What the view answers for at `offset` without the commit's own undo: this is
 * what the base gets, and it stays the same however often it is done. */
static void resolve_point(hvrepl_store *store, uint32_t disk, uint64_t offset,
			  uint64_t *length_inout, struct hvri_source *out)
{
	struct hvri_slog *saved;

	hvri_lock(&store->map);
	saved = store->saved;
	store->saved = NULL;
	hvri_store_resolve(store, store->state.commit_point, disk, offset,
			   length_inout, out);
	store->saved = saved;
	hvri_unlock(&store->map);
}

static void add_run(struct fold_piece *piece, uint64_t offset, uint64_t length,
		    uint32_t state, const struct hvri_source *source)
{
	struct fold_run *run = &piece->runs[piece->count++];

	run->offset = offset;
	run->length = length;
	run->state = state;
	run->source = *source;
	piece->bytes += length;
}

/* Ranges from the cursor on that the fold writes. */
static void collect_fold(hvrepl_store *store, struct fold_piece *piece)
{
	uint32_t disk = store->fold.disk;
	uint64_t size = store->state.disks[disk].size;

	piece->end = store->fold.at;
	while (piece->end < size && piece->count < RUNS &&
	       piece->bytes < store->piece_bytes) {
		struct hvri_source source = { .slog = NULL };
		uint64_t length = size - piece->end;
		uint64_t left = store->piece_bytes - piece->bytes;
		uint32_t state = hvri_overlay_run(store->frozen, disk,
						  piece->end, &length);

		if (state == HVRI_OVERLAY_ABSENT &&
		    store->state.materialised == 0 &&
		    !HVRI_PLANT(fold_overlay_only))
			resolve_point(store, disk, piece->end, &length,
				      &source);
		if (state != HVRI_OVERLAY_ABSENT || source.slog != NULL) {
			length = HVRI_MIN(length, left);
			add_run(piece, piece->end, length, state, &source);
		}
		piece->end += length;
	}
}

static int32_t write_run(hvrepl_store *store, struct hvri_overlay *overlay,
			 uint32_t disk, const struct fold_run *run)
{
	uint8_t *bytes = store->piece;
	size_t length = (size_t)run->length;

	if (run->state == HVRI_OVERLAY_ZERO ||
	    (run->state == HVRI_OVERLAY_ABSENT &&
	     run->source.entry.position == 0))
		return hvri_store_zero_base(store, disk, run->offset,
					    run->length);
	if (run->state == HVRI_OVERLAY_DATA)
		HVRI_TRY(hvri_overlay_read(overlay, disk, run->offset, bytes,
					   length));
	else
		HVRI_TRY(hvri_source_read(store, &run->source, disk,
					  run->offset, bytes, length));
	return hvri_store_write_base(store, disk, run->offset, bytes, length);
}

/* Undo saved, flushed and indexed, then the base is written. */
static int32_t write_piece(hvrepl_store *store, struct hvri_overlay *overlay,
			   uint32_t disk, const struct fold_piece *piece)
{
	if (piece->count == 0)
		return HVREPL_OK;
	HVRI_TRY(hvri_store_piece(store));
	if (store->saved != NULL) {
		if (store->saver == NULL)
			HVRI_TRY(hvri_slog_writer_create(store, store->saved,
							&store->saver));
		for (uint32_t i = 0; i < piece->count; i++)
			HVRI_TRY(hvri_store_save_base(store, store->saver, disk,
						      piece->runs[i].offset,
						      piece->runs[i].length));
		HVRI_TRY(hvri_slog_writer_flush(store->saver, true));
	}
	HVRI_TRY(hvri_stamp_writing(store));
	for (uint32_t i = 0; i < piece->count; i++)
		HVRI_TRY(write_run(store, overlay, disk, &piece->runs[i]));
	return HVREPL_OK;
}

static void fold_reset(hvrepl_store *store)
{
	memset(&store->fold, 0, sizeof(store->fold));
}

void hvri_commit_reset(hvrepl_store *store)
{
	store->committing = false;
	hvri_store_piece_free(store);
	fold_reset(store);
	hvri_slog_writer_destroy(store->saver);
	store->saver = NULL;
	store->freezes = 0;
}

static int32_t flush_active(hvrepl_store *store)
{
	int32_t rc = hvri_overlay_flush(store->active);

	/* For want of memory nothing was begun. */
	return rc < 0 && rc != HVREPL_E_NOMEM ? hvri_store_poison(store, rc) :
						rc;
}

/* ---- freezing ---- */

/* Hold new writes, drain, flush, record, release. */
static int32_t freeze_held(hvrepl_store *store, struct hvri_overlay *fresh,
			   struct hvri_slog *undo)
{
	struct hvri_manifest_record record = {
		.type = HVRI_RECORD_FREEZE,
		.id = fresh->id,
		.undo = undo == NULL ? 0 : undo->container->id,
	};
	int32_t rc = flush_active(store);

	if (rc < 0)
		return rc;
	HVRI_TRY(hvri_store_record(store, &record, undo));
	hvri_store_take_overlays(store, fresh, store->active);
	return HVREPL_OK;
}

static int32_t freeze(hvrepl_store *store)
{
	struct hvrepl_view *view = hvri_store_failover_view(store);
	struct hvri_overlay *fresh;
	struct hvri_slog *undo = NULL;
	int32_t rc = HVREPL_OK;

	HVRI_TRY(hvri_overlay_create(&store->env, &store->storage, &store->used,
				     hvri_store_new_id(store), true,
				     &store->state, &fresh));
	if (store->state.commit == HVRI_COMMIT_OVERLAY)
		rc = hvri_store_new_undo(store, &undo);
	if (rc == HVREPL_OK && view != NULL)
		hvri_gate_hold_all(&view->gate);
	if (rc == HVREPL_OK)
		rc = freeze_held(store, fresh, undo);
	if (view != NULL)
		hvri_gate_release(&view->gate);
	if (rc < 0) {
		if (hvri_store_usable(store) == HVREPL_OK) {
			hvri_overlay_doom(fresh);
			if (undo != NULL)
				hvri_container_doom(undo->container);
		}
		hvri_overlay_unref(fresh);
	}
	hvri_slog_unref(undo);
	fold_reset(store);
	store->freezes++;
	return rc;
}

/* ---- folding ---- */

static int32_t folded(hvrepl_store *store)
{
	struct hvri_manifest_record record = { .type = HVRI_RECORD_FOLDED };

	if (!HVRI_PLANT(folded_before_flush))
		HVRI_TRY(hvri_store_flush_bases(store));
	HVRI_TRY(hvri_store_record(store, &record, NULL));
	/* Only now does the frozen overlay's space come back. */
	hvri_store_take_overlays(store, store->active, NULL);
	fold_reset(store);
	return HVREPL_OK;
}

static int32_t fold(hvrepl_store *store)
{
	struct fold_piece *piece = hvri_alloc(&store->env, sizeof(*piece));
	int32_t rc;

	if (piece == NULL)
		return HVREPL_E_NOMEM;
	collect_fold(store, piece);
	rc = write_piece(store, store->frozen, store->fold.disk, piece);
	if (rc == HVREPL_OK)
		store->fold.at = piece->end;
	piece_free(store, piece);
	if (rc < 0)
		return rc;
	if (store->fold.at < store->state.disks[store->fold.disk].size ||
	    hvri_cursor_next_disk(store, &store->fold))
		return HVREPL_OK;
	return folded(store);
}

/* ---- the last switch ---- */

/* End of the range that is switched next: so much of the overlay, or all. */
static uint64_t switch_end(hvrepl_store *store, uint32_t disk, uint64_t from)
{
	uint64_t size = store->state.disks[disk].size, bytes = 0, at = from;
	uint32_t runs = 0;

	while (at < size && bytes < store->switch_bytes && runs < RUNS) {
		struct hvrepl_extent next;

		hvri_overlay_next(store->active, disk, at,
				  store->switch_bytes - bytes, &next);
		if (next.length == 0)
			return size;
		bytes += next.length;
		at = next.offset + next.length;
		runs++;
	}
	return HVRI_MIN(at, size);
}

/* Ranges of the active overlay in [from, to), a piece at a time. */
static int32_t switch_piece(hvrepl_store *store, uint32_t disk, uint64_t *at,
			    uint64_t to)
{
	struct fold_piece *piece = hvri_alloc(&store->env, sizeof(*piece));
	struct hvri_source none = { .slog = NULL };
	int32_t rc;

	if (piece == NULL)
		return HVREPL_E_NOMEM;
	piece->end = *at;
	while (piece->end < to && piece->count < RUNS &&
	       piece->bytes < store->piece_bytes) {
		uint64_t length = to - piece->end;
		uint32_t state = hvri_overlay_run(store->active, disk,
						  piece->end, &length);

		if (state != HVRI_OVERLAY_ABSENT) {
			length = HVRI_MIN(length,
					  store->piece_bytes - piece->bytes);
			add_run(piece, piece->end, length, state, &none);
		}
		piece->end += length;
	}
	rc = write_piece(store, store->active, disk, piece);
	*at = piece->end;
	piece_free(store, piece);
	return rc;
}

/* In the range lock: flush the overlay, write, flush the base, record. */
static int32_t switch_range(hvrepl_store *store, uint32_t disk, uint64_t from,
			    uint64_t to)
{
	struct hvri_manifest_record record = { .type = HVRI_RECORD_DIRECT,
					       .disk = disk,
					       .offset = to };
	uint64_t at = from;
	int32_t rc = flush_active(store);

	if (rc < 0)
		return rc;
	hvri_base_switch_begin(store, disk);
	while (at < to)
		HVRI_TRY(switch_piece(store, disk, &at, to));
	/* With a flush that fails may go what the guest wrote below. */
	if (!HVRI_PLANT(direct_before_flush))
		rc = hvri_base_switch_flush(store, disk, from > 0);
	if (rc < 0)
		return hvri_store_poison(store, rc);
	HVRI_TRY(hvri_stamp_fill(store, HVRI_STAMP_OPEN, &record));
	rc = hvri_store_record(store, &record, NULL);
	if (rc < 0 && hvri_store_usable(store) < 0)
		__atomic_store_n(&store->switch_unsure, true, __ATOMIC_RELEASE);
	return rc;
}

static int32_t committed(hvrepl_store *store)
{
	struct hvri_manifest_record record = { .type = HVRI_RECORD_COMMITTED };

	HVRI_TRY(hvri_store_record(store, &record, NULL));
	hvri_store_take_overlays(store, NULL, NULL);
	hvri_commit_reset(store);
	if (store->receive.container != NULL) {
		hvri_container_doom(store->receive.container);
		hvri_container_unref(store->receive.container);
		store->receive.container = NULL;
	}
	return HVREPL_OK;
}

/* Other views need the points, which the first direct range ends. */
static bool other_views(const hvrepl_store *store)
{
	for (const struct hvrepl_view *view = store->views; view != NULL;
	     view = view->next)
		if (view->kind != HVREPL_VIEW_FAILOVER)
			return true;
	return false;
}

static int32_t switch_next(hvrepl_store *store, struct hvrepl_error *error)
{
	const struct hvri_manifest *state = &store->state;
	struct hvrepl_view *view = hvri_store_failover_view(store);
	uint32_t disk = 0;
	uint64_t from, to;
	int32_t rc;

	if (state->commit == HVRI_COMMIT_FOLDING && other_views(store))
		return hvri_fail(error, HVREPL_E_BUSY,
				 "other recovery points are open: close them, "
				 "the commit drops all points");
	while (disk < store->disk_count &&
	       state->disks[disk].direct == state->disks[disk].size)
		disk++;
	if (disk == store->disk_count)
		return committed(store);
	from = state->disks[disk].direct;
	to = switch_end(store, disk, from);
	if (view != NULL)
		hvri_gate_hold(&view->gate, disk, from, to);
	rc = switch_range(store, disk, from, to);
	if (view != NULL)
		hvri_gate_release(&view->gate);
	if (rc == HVREPL_OK && store->saver != NULL) {
		/* The points went with the first range, and their undo. */
		hvri_slog_writer_destroy(store->saver);
		store->saver = NULL;
	}
	return rc;
}

static int32_t advance(hvrepl_store *store, uint32_t *more_out,
		       struct hvrepl_error *error)
{
	const struct hvri_manifest *state = &store->state;
	uint32_t more;

	switch (state->commit) {
	case HVRI_COMMIT_FOLDING:
		*more_out = 1;
		if (store->frozen != NULL)
			return fold(store);
		if (store->freezes < HVRI_STORE_FREEZES &&
		    hvri_overlay_bytes(store->active) > store->refreeze_bytes)
			return freeze(store);
		return switch_next(store, error);
	case HVRI_COMMIT_SWITCHING:
		HVRI_TRY(switch_next(store, error));
		*more_out = state->commit == HVRI_COMMIT_SWITCHING;
		return HVREPL_OK;
	case HVRI_COMMIT_OVERLAY:
		if (!store->committing)
			break;
		/* A merge that runs ends first: one move of the base at a
		 * time. */
		*more_out = 1;
		if (state->merge_target != 0)
			return hvri_merge_go_on(store, &more);
		hvri_compact_reset(store);
		HVRI_TRY(hvri_receive_drop(store));
		return freeze(store);
	default:
		break;
	}
	if (state->phase == HVRI_MANIFEST_BASE_ONLY)
		return HVREPL_OK;
	return hvri_fail(error, HVREPL_E_STATE, "there is no commit to go on "
						"with");
}

int32_t hvri_store_commit_begin(hvrepl_store *store, struct hvrepl_error *error)
{
	const struct hvri_manifest *state = &store->state;
	int32_t rc;

	hvri_lock(&store->work);
	rc = hvri_store_usable(store);
	/* Asked for again after a crash: it is under way. */
	if (rc == HVREPL_OK && (state->commit == HVRI_COMMIT_FOLDING ||
				state->commit == HVRI_COMMIT_SWITCHING)) {
		hvri_unlock(&store->work);
		return HVREPL_OK;
	}
	if (rc == HVREPL_OK && state->commit != HVRI_COMMIT_OVERLAY)
		rc = hvri_fail(error, HVREPL_E_STATE,
			       "there is no failover to commit");
	for (uint32_t i = 0; i < state->point_count && rc == HVREPL_OK; i++)
		if (state->points[i].pins != 0 &&
		    state->points[i].key != state->commit_point)
			rc = hvri_fail(error, HVREPL_E_BUSY,
				       "point %llu is pinned: a commit drops "
				       "all points, unpin or discard it first",
				       (unsigned long long)state->points[i]
					       .number);
	if (rc == HVREPL_OK && other_views(store))
		rc = hvri_fail(error, HVREPL_E_BUSY,
			       "other recovery points are open: close them "
			       "first");
	if (rc == HVREPL_OK)
		store->committing = true;
	hvri_unlock(&store->work);
	return rc < 0 ? hvri_fail_plain(error, rc) : rc;
}

int32_t hvri_store_commit_advance(hvrepl_store *store, uint32_t *more_out,
				  struct hvrepl_error *error)
{
	int32_t rc;

	*more_out = 0;
	hvri_lock(&store->work);
	rc = hvri_store_usable(store);
	if (rc == HVREPL_OK)
		rc = advance(store, more_out, error);
	hvri_unlock(&store->work);
	return rc < 0 ? hvri_fail_plain(error, rc) : rc;
}

/* ---- cancel ---- */

/* The base gets back what the durable undo says it held. */
static int32_t restore(hvrepl_store *store, uint32_t *more_out)
{
	struct hvri_manifest_record record = { .type = HVRI_RECORD_RESTORED };
	struct hvri_cursor *at = &store->fold;
	uint64_t size = store->state.disks[at->disk].size, bytes = 0;

	*more_out = 1;
	HVRI_TRY(hvri_store_piece(store));
	HVRI_TRY(hvri_stamp_writing(store));
	while (at->at < size && bytes < store->piece_bytes) {
		struct hvri_source source;
		uint64_t length = size - at->at;
		struct fold_run run;
		int32_t rc = HVREPL_OK;

		hvri_slogs_resolve(&store->saved, 1, at->disk, at->at, &length,
				   &source);
		if (source.slog != NULL) {
			run = (struct fold_run){ at->at, length,
						 HVRI_OVERLAY_ABSENT, source };
			rc = write_run(store, NULL, at->disk, &run);
			hvri_slog_unref(source.slog);
			bytes += length;
		}
		if (rc < 0)
			return rc;
		at->at += length;
	}
	if (at->at < size || hvri_cursor_next_disk(store, at))
		return HVREPL_OK;
	at->disk = 0; /* Again from the start if the record fails. */
	if (!HVRI_PLANT(cancelled_before_flush))
		HVRI_TRY(hvri_store_flush_bases(store));
	HVRI_TRY(hvri_stamp_fill(store, HVRI_STAMP_SETTLED, &record));
	HVRI_TRY(hvri_store_record(store, &record, NULL));
	hvri_commit_reset(store);
	*more_out = 0;
	return HVREPL_OK;
}

static int32_t cancel(hvrepl_store *store, uint32_t *more_out,
		      struct hvrepl_error *error)
{
	struct hvri_manifest_record record = { .type = HVRI_RECORD_CANCEL };
	uint32_t commit = store->state.commit;

	if (commit == HVRI_COMMIT_RESTORING)
		return restore(store, more_out);
	if (commit != HVRI_COMMIT_OVERLAY && commit != HVRI_COMMIT_FOLDING)
		return hvri_fail(error, HVREPL_E_STATE,
				 commit == HVRI_COMMIT_NONE ?
					 "there is no failover to cancel" :
					 "the commit is past the point where "
					 "it can be cancelled: let it end");
	if (hvri_store_failover_view(store) != NULL)
		return hvri_fail(error, HVREPL_E_BUSY,
				 "stop the VM and close its disks first");
	if (commit == HVRI_COMMIT_OVERLAY)
		record.type = HVRI_RECORD_OVERLAY_DROP;
	HVRI_TRY(hvri_store_record(store, &record, NULL));
	hvri_store_take_overlays(store, NULL, NULL);
	hvri_commit_reset(store);
	*more_out = commit == HVRI_COMMIT_FOLDING;
	return HVREPL_OK;
}

int32_t hvri_store_cancel(hvrepl_store *store, uint32_t *more_out,
			  struct hvrepl_error *error)
{
	int32_t rc;

	*more_out = 0;
	hvri_lock(&store->work);
	rc = hvri_store_usable(store);
	if (rc == HVREPL_OK)
		rc = cancel(store, more_out, error);
	hvri_unlock(&store->work);
	return rc < 0 ? hvri_fail_plain(error, rc) : rc;
}
