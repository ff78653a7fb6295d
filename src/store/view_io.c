/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing through a view: active overlay, frozen overlay, point or
 * base. A commit moves ranges down these layers meanwhile (S8); which layer
 * answers is looked up for each run, and once more after anything that a
 * commit writes to was read.
 */
#include "store/view.h"

#include "base/plant.h"

#include <string.h>

#define LAYER_OVERLAY 1u
#define LAYER_ZERO 2u
#define LAYER_POINT 3u
#define LAYER_BASE 4u

struct layer {
	uint32_t kind;
	struct hvri_overlay *overlay; /* Referenced, or NULL. */
};

static bool in_overlay(struct hvri_overlay *overlay, uint32_t disk,
		       uint64_t offset, uint64_t *length_inout,
		       struct layer *out)
{
	uint32_t state;

	if (overlay == NULL)
		return false;
	state = hvri_overlay_run(overlay, disk, offset, length_inout);
	if (state == HVRI_OVERLAY_ABSENT)
		return false;
	out->kind = state == HVRI_OVERLAY_ZERO ? LAYER_ZERO : LAYER_OVERLAY;
	out->overlay = hvri_overlay_ref(overlay);
	return true;
}

/* Which layer answers at `offset`; *length_inout shrinks to how far. */
static void find_layer(hvrepl_view *view, uint32_t disk, uint64_t offset,
		       uint64_t *length_inout, struct layer *out)
{
	hvrepl_store *store = view->store;
	const struct hvri_manifest *state = &store->state;
	uint64_t direct;

	out->overlay = NULL;
	out->kind = LAYER_POINT;
	if (view->kind != HVREPL_VIEW_FAILOVER) {
		(void)in_overlay(view->scratch, disk, offset, length_inout,
				 out);
		return;
	}
	hvri_lock(&store->map);
	direct = state->phase == HVRI_MANIFEST_BASE_ONLY ?
			 state->disks[disk].size :
			 state->disks[disk].direct;
	if (offset < direct) {
		*length_inout = HVRI_MIN(*length_inout, direct - offset);
		out->kind = LAYER_BASE;
	} else if (!in_overlay(store->active, disk, offset, length_inout,
			       out) &&
		   !in_overlay(store->frozen, disk, offset, length_inout,
			       out)) {
		/* Once folded, the base is the point. */
		if (state->materialised != 0)
			out->kind = LAYER_BASE;
	}
	hvri_unlock(&store->map);
}

static int32_t read_layer(hvrepl_view *view, const struct layer *layer,
			  uint32_t disk, uint64_t offset, void *buffer,
			  size_t length)
{
	hvrepl_store *store = view->store;

	switch (layer->kind) {
	case LAYER_OVERLAY:
		return hvri_overlay_read(layer->overlay, disk, offset, buffer,
					 length);
	case LAYER_ZERO:
		memset(buffer, 0, length);
		return HVREPL_OK;
	case LAYER_BASE:
		return hvri_disk_read(&store->bases[disk], offset, buffer,
				      length);
	default:
		return hvri_store_read(store, view->point, disk, offset,
				       buffer, length);
	}
}

/* Does the same layer still answer for all of it? */
static bool still(hvrepl_view *view, const struct layer *was, uint32_t disk,
		  uint64_t offset, uint64_t length)
{
	uint64_t holds = length;
	struct layer now;

	find_layer(view, disk, offset, &holds, &now);
	hvri_overlay_unref(now.overlay);
	return now.kind == was->kind && holds == length;
}

int32_t hvri_view_read(hvrepl_view *view, uint32_t disk, uint64_t offset,
		       void *buffer, size_t length)
{
	bool moving = view->kind == HVREPL_VIEW_FAILOVER;
	uint8_t *to = buffer;

	while (length > 0) {
		uint64_t piece = length;
		struct layer layer;
		int32_t rc;

		find_layer(view, disk, offset, &piece, &layer);
		rc = read_layer(view, &layer, disk, offset, to, (size_t)piece);
		hvri_overlay_unref(layer.overlay);
		if (rc < 0)
			return rc;
		if (moving && layer.kind >= LAYER_POINT &&
		    !still(view, &layer, disk, offset, piece))
			continue;
		offset += piece;
		to += piece;
		length -= (size_t)piece;
	}
	return HVREPL_OK;
}

/* A block that the active overlay lacks, as the view shows it. */
int32_t hvri_view_below(void *argument, uint32_t disk, uint64_t offset,
			void *buffer, size_t length)
{
	return hvri_view_read(argument, disk, offset, buffer, length);
}

/* Where a write goes; the gate keeps it there until it has ended. */
static struct hvri_overlay *route(hvrepl_view *view, uint32_t disk,
				  uint64_t offset, uint64_t *length_inout)
{
	hvrepl_store *store = view->store;
	const struct hvri_manifest *state = &store->state;
	struct hvri_overlay *overlay = NULL;

	if (view->kind == HVREPL_VIEW_SCRATCH && HVRI_PLANT(test_on_base))
		return NULL;
	if (view->kind == HVREPL_VIEW_SCRATCH)
		return hvri_overlay_ref(view->scratch);
	hvri_lock(&store->map);
	if (state->phase != HVRI_MANIFEST_BASE_ONLY) {
		uint64_t direct = state->disks[disk].direct;

		if (offset < direct)
			*length_inout = HVRI_MIN(*length_inout,
						 direct - offset);
		else
			overlay = hvri_overlay_ref(store->active);
	}
	hvri_unlock(&store->map);
	return overlay;
}

static void pass_for(const hvrepl_view *view, uint32_t disk, uint64_t offset,
		     uint64_t length, struct hvri_gate_pass *pass)
{
	uint64_t end = offset + length;

	(void)view;
	pass->disk = disk;
	pass->from = offset / HVRI_OVERLAY_BLOCK * HVRI_OVERLAY_BLOCK;
	pass->to = (end + HVRI_OVERLAY_BLOCK - 1) / HVRI_OVERLAY_BLOCK *
		   HVRI_OVERLAY_BLOCK;
}

static bool can_write(const hvrepl_view *view)
{
	return view->kind != HVREPL_VIEW_READ_ONLY;
}

/* What is written for a test is held to the capacity; the writes of a VM that
 * runs here are not: they are worth more than points. */
static int32_t check_room(hvrepl_view *view, uint64_t length)
{
	hvrepl_store *store = view->store;
	uint64_t capacity = __atomic_load_n(&store->options.capacity,
					    __ATOMIC_RELAXED);

	if (view->kind == HVREPL_VIEW_FAILOVER || capacity == 0 ||
	    hvri_store_used(store) + length <= capacity)
		return HVREPL_OK;
	return HVREPL_E_NO_SPACE;
}

static int32_t write_pieces(hvrepl_view *view, uint32_t disk, uint64_t offset,
			    const uint8_t *bytes, uint64_t length)
{
	hvrepl_store *store = view->store;

	while (length > 0) {
		uint64_t piece = length;
		struct hvri_overlay *overlay;
		int32_t rc;

		overlay = route(view, disk, offset, &piece);
		if (overlay == NULL && bytes == NULL)
			rc = hvri_disk_zero(&store->env, &store->bases[disk],
					    offset, piece);
		else if (overlay == NULL)
			rc = hvri_disk_write(&store->bases[disk], offset,
					     bytes, (size_t)piece);
		else if (bytes == NULL)
			rc = hvri_overlay_zero(overlay, disk, offset, piece,
					       hvri_view_below, view);
		else
			rc = check_room(view, piece);
		if (rc == HVREPL_OK && overlay != NULL && bytes != NULL)
			rc = hvri_overlay_write(overlay, disk, offset, bytes,
						(size_t)piece, hvri_view_below,
						view);
		hvri_overlay_unref(overlay);
		if (rc < 0)
			return rc;
		offset += piece;
		bytes = bytes == NULL ? NULL : bytes + piece;
		length -= piece;
	}
	return HVREPL_OK;
}

int32_t hvri_view_write(hvrepl_view *view, uint32_t disk, uint64_t offset,
			const void *bytes, size_t length)
{
	struct hvri_gate_pass pass;
	int32_t rc;

	if (!can_write(view))
		return HVREPL_E_READ_ONLY;
	if (length == 0)
		return HVREPL_OK;
	pass_for(view, disk, offset, length, &pass);
	hvri_gate_enter(&view->gate, &pass);
	rc = write_pieces(view, disk, offset, bytes, length);
	hvri_gate_leave(&view->gate, &pass);
	return rc;
}

int32_t hvri_view_zero(hvrepl_view *view, uint32_t disk, uint64_t offset,
		       uint64_t length)
{
	struct hvri_gate_pass pass;
	int32_t rc;

	if (!can_write(view))
		return HVREPL_E_READ_ONLY;
	if (length == 0)
		return HVREPL_OK;
	pass_for(view, disk, offset, length, &pass);
	hvri_gate_enter(&view->gate, &pass);
	rc = write_pieces(view, disk, offset, NULL, length);
	hvri_gate_leave(&view->gate, &pass);
	return rc;
}

bool hvri_store_overlay_failed(hvrepl_store *store)
{
	struct hvri_overlay *active = NULL;
	bool failed;

	hvri_lock(&store->map);
	if (store->active != NULL)
		active = hvri_overlay_ref(store->active);
	hvri_unlock(&store->map);
	failed = active != NULL && hvri_overlay_failed(active);
	hvri_overlay_unref(active);
	return failed;
}

int32_t hvri_view_flush(hvrepl_view *view, uint32_t disk)
{
	hvrepl_store *store = view->store;
	struct hvri_overlay *active = NULL;
	bool base;
	int32_t rc = HVREPL_OK;

	if (view->kind != HVREPL_VIEW_FAILOVER)
		return HVREPL_OK; /* Nothing of it outlives the view. */
	hvri_lock(&store->map);
	if (store->active != NULL)
		active = hvri_overlay_ref(store->active);
	base = store->state.phase == HVRI_MANIFEST_BASE_ONLY ||
	       store->state.commit == HVRI_COMMIT_SWITCHING;
	hvri_unlock(&store->map);
	/* The guest's writes go where the next open may not look: it must not
	 * believe them durable. */
	if (__atomic_load_n(&store->switch_unsure, __ATOMIC_ACQUIRE))
		rc = HVREPL_E_POISONED;
	/* The frozen overlay was flushed when it was frozen, and the base
	 * before each record that makes it answer. */
	if (active != NULL && rc == HVREPL_OK &&
	    !HVRI_PLANT(guest_flush_leaves_overlay))
		rc = hvri_overlay_flush(active);
	/* Of the other disks nothing is flushed: whom that costs something would
	 * have to be told. */
	/* What was told something else is no answer to those who wait: what the
	 * commit lost stays noted. */
	if (base && rc == HVREPL_OK && !HVRI_PLANT(guest_flush_leaves_base))
		rc = hvri_base_guest_flush(store, disk);
	hvri_overlay_unref(active);
	return rc;
}
