/* SPDX-License-Identifier: Apache-2.0 */
/* Opening views, and which ranges of one the peer may not have (S7). */
#include "store/internal.h"

#include "store/view.h"

#include <string.h>

struct hvrepl_view *hvri_store_failover_view(hvrepl_store *store)
{
	struct hvrepl_view *view = store->views;

	while (view != NULL && view->kind != HVREPL_VIEW_FAILOVER)
		view = view->next;
	return view;
}

void hvri_store_take_overlays(hvrepl_store *store, struct hvri_overlay *active,
			      struct hvri_overlay *frozen)
{
	struct hvri_overlay *old[2];

	hvri_lock(&store->map);
	old[0] = store->active;
	old[1] = store->frozen;
	store->active = active;
	store->frozen = frozen;
	hvri_unlock(&store->map);
	for (unsigned i = 0; i < 2; i++) {
		if (old[i] == NULL || old[i] == active || old[i] == frozen)
			continue;
		hvri_overlay_doom(old[i]);
		hvri_overlay_unref(old[i]);
	}
}

int32_t hvri_overlays_recover(hvrepl_store *store)
{
	const struct hvri_manifest *state = &store->state;

	if (state->overlay_active != 0)
		HVRI_TRY(hvri_overlay_recover(&store->env, &store->storage,
					      &store->used,
					      state->overlay_active, state,
					      &store->active));
	if (state->overlay_frozen != 0)
		HVRI_TRY(hvri_overlay_recover(&store->env, &store->storage,
					      &store->used,
					      state->overlay_frozen, state,
					      &store->frozen));
	return HVREPL_OK;
}

/* The durable overlay of a new failover, named before anything is written. */
static int32_t start_failover(hvrepl_store *store, uint64_t point)
{
	struct hvri_manifest_record record = {
		.type = HVRI_RECORD_OVERLAY,
		.key = point,
		.id = hvri_store_new_id(store),
	};
	struct hvri_overlay *overlay;
	int32_t rc;

	rc = hvri_overlay_create(&store->env, &store->storage, &store->used,
				 record.id, true, &store->state, &overlay);
	if (rc < 0)
		return rc;
	rc = hvri_store_record(store, &record, NULL);
	if (rc < 0) {
		if (hvri_store_usable(store) == HVREPL_OK)
			hvri_overlay_doom(overlay);
		hvri_overlay_unref(overlay);
		return rc;
	}
	hvri_store_take_overlays(store, overlay, NULL);
	return HVREPL_OK;
}

static int32_t open_failover(hvrepl_store *store, uint64_t *point_inout,
			     struct hvrepl_error *error)
{
	const struct hvri_manifest *state = &store->state;

	if (hvri_store_failover_view(store) != NULL)
		return hvri_fail(error, HVREPL_E_BUSY,
				 "the failover is open already");
	if (state->commit == HVRI_COMMIT_RESTORING)
		return hvri_fail(error, HVREPL_E_STATE,
				 "the failover is being cancelled: wait until "
				 "that has ended");
	if (state->commit == HVRI_COMMIT_NONE) {
		if (hvri_state_point(state, *point_inout) == NULL)
			return hvri_fail(error, HVREPL_E_NOT_FOUND,
					 "there is no point %llu",
					 (unsigned long long)*point_inout);
		return start_failover(store, *point_inout);
	}
	if (*point_inout != 0 && *point_inout != state->commit_point)
		return hvri_fail(error, HVREPL_E_STATE,
				 "the failover is at point %llu: cancel it "
				 "before choosing another",
				 (unsigned long long)state->commit_point);
	*point_inout = state->commit_point;
	return HVREPL_OK;
}

static int32_t open_view(hvrepl_store *store, uint64_t point, bool as_is,
			 struct hvrepl_view *view, struct hvrepl_error *error)
{
	uint64_t asked = point != 0 ? point : store->state.commit_point;

	HVRI_TRY(hvri_store_usable(store));
	if (!as_is && hvri_store_doubts(store, asked))
		return hvri_fail(error, HVREPL_E_UNTRUSTED,
				 "point %llu is in doubt: a disk of the replica "
				 "was changed outside, or a log is damaged. "
				 "Resynchronize",
				 (unsigned long long)asked);
	if (view->kind == HVREPL_VIEW_FAILOVER) {
		HVRI_TRY(open_failover(store, &point, error));
	} else if (hvri_state_point(&store->state, point) == NULL) {
		return hvri_fail(error, HVREPL_E_NOT_FOUND,
				 "there is no point %llu",
				 (unsigned long long)point);
	}
	if (view->kind == HVREPL_VIEW_SCRATCH)
		HVRI_TRY(hvri_overlay_create(&store->env, &store->storage,
					     &store->used,
					     hvri_store_new_id(store), false,
					     &store->state, &view->scratch));
	view->point = point;
	view->store = store;
	view->next = store->views;
	store->views = view;
	if (view->kind != HVREPL_VIEW_FAILOVER)
		__atomic_add_fetch(&store->open_points, 1, __ATOMIC_RELAXED);
	return HVREPL_OK;
}

int32_t hvri_view_open(hvrepl_store *store, uint64_t point, uint32_t kind,
		       hvrepl_view **view_out, struct hvrepl_error *error)
{
	bool as_is = (kind & HVREPL_VIEW_AS_IS) != 0;
	struct hvrepl_view *view;
	int32_t rc;

	kind &= ~HVREPL_VIEW_AS_IS;
	if (kind > HVREPL_VIEW_FAILOVER)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "there is no such kind of view");
	view = hvri_alloc(&store->env, sizeof(*view));
	if (view == NULL)
		return hvri_fail_plain(error, HVREPL_E_NOMEM);
	view->kind = kind;
	hvri_gate_init(&view->gate);
	hvri_lock(&store->work);
	rc = open_view(store, point, as_is, view, error);
	hvri_unlock(&store->work);
	if (rc < 0) {
		hvri_gate_free(&view->gate);
		hvri_free(&store->env, view, sizeof(*view));
		return hvri_fail_plain(error, rc);
	}
	*view_out = view;
	return HVREPL_OK;
}

int32_t hvri_view_close(hvrepl_view *view)
{
	struct hvrepl_view **link;
	hvrepl_store *store;

	if (view == NULL)
		return HVREPL_OK;
	if (__atomic_load_n(&view->disks_held, __ATOMIC_ACQUIRE) > 0)
		return HVREPL_E_BUSY;
	store = view->store;
	hvri_lock(&store->work);
	for (link = &store->views; *link != view; link = &(*link)->next)
		;
	*link = view->next;
	if (view->kind != HVREPL_VIEW_FAILOVER)
		__atomic_sub_fetch(&store->open_points, 1, __ATOMIC_RELAXED);
	hvri_unlock(&store->work);
	if (view->scratch != NULL)
		hvri_overlay_doom(view->scratch);
	hvri_overlay_unref(view->scratch);
	hvri_gate_free(&view->gate);
	hvri_free(&store->env, view, sizeof(*view));
	return HVREPL_OK;
}

uint32_t hvri_store_open_points(const hvrepl_store *store)
{
	return __atomic_load_n(&store->open_points, __ATOMIC_RELAXED);
}

uint64_t hvri_view_point(const hvrepl_view *view)
{
	return view->point;
}

/* The earlier of what was found and a candidate, which ends behind `from`. */
static void consider(struct hvrepl_extent *found, uint64_t from, uint64_t start,
		     uint64_t length)
{
	uint64_t end = start + length;

	start = HVRI_MAX(start, from);
	if (found->length > 0 && found->offset <= start)
		return;
	found->offset = start;
	found->length = end - start;
}

static void consider_slog(struct hvrepl_extent *found,
			  const struct hvri_slog *slog, uint32_t disk,
			  uint64_t from)
{
	const struct hvri_xmap *map = &slog->disks[disk].map;
	uint64_t next;
	const struct hvri_xent *entry = hvri_xmap_find(map, from, &next);

	if (entry == NULL && next != UINT64_MAX)
		entry = hvri_xmap_find(map, next, &next);
	if (entry != NULL)
		consider(found, from, entry->offset, entry->length);
}

static void consider_overlay(struct hvrepl_extent *found,
			     struct hvri_overlay *overlay, uint32_t disk,
			     uint64_t from)
{
	struct hvrepl_extent range;

	if (overlay == NULL)
		return;
	hvri_overlay_next(overlay, disk, from, UINT64_MAX, &range);
	if (range.length > 0)
		consider(found, from, range.offset, range.length);
}

int32_t hvri_view_next_changed(hvrepl_view *view, uint32_t disk,
			       uint64_t offset, struct hvrepl_extent *out)
{
	hvrepl_store *store = view->store;
	struct hvri_overlay *layers[3];
	struct hvrepl_extent found = { offset, 0 };

	if (disk >= store->disk_count)
		return HVREPL_E_INVALID;
	hvri_lock(&store->map);
	/* What a skipped point changed: still as redo, or as undo of the merge
	 * that took it in, which may say more than that. */
	for (uint32_t i = 0; i < store->state.redo_count; i++)
		if (store->state.redo[i].to > view->point)
			consider_slog(&found, store->redo[i], disk, offset);
	for (uint32_t i = 0; i < store->state.undo_count; i++)
		if (store->state.undo[i].to > view->point)
			consider_slog(&found, store->undo[i], disk, offset);
	if (store->running != NULL && store->state.merge_target > view->point)
		consider_slog(&found, store->running, disk, offset);
	layers[0] = view->scratch;
	layers[1] = view->kind == HVREPL_VIEW_FAILOVER ? store->active : NULL;
	layers[2] = view->kind == HVREPL_VIEW_FAILOVER ? store->frozen : NULL;
	for (unsigned i = 0; i < 3; i++)
		if (layers[i] != NULL)
			hvri_overlay_ref(layers[i]);
	hvri_unlock(&store->map);
	for (unsigned i = 0; i < 3; i++) {
		consider_overlay(&found, layers[i], disk, offset);
		hvri_overlay_unref(layers[i]);
	}
	*out = found;
	return HVREPL_OK;
}
