/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a cut: settled disk by disk, closed (T5, T7). */
#include "tracker/internal.h"

#include "base/plant.h"

/* group->mutex held. */
static int32_t acknowledge(struct hvri_member *part, bool *detached_out)
{
	struct hvrepl_tracker *tracker = part->tracker;
	struct hvri_bitmap *map;
	int32_t rc = HVREPL_OK;

	if (part->settled ||
	    atomic_load(&part->cut->state) == HVREPL_CUT_VOIDED)
		return HVREPL_E_STATE;
	hvri_lock(part->mutex);
	hvri_part_poll(part);
	if (tracker != NULL && tracker->parts != part)
		rc = HVREPL_E_STATE;
	else if (!part->drained || part->claims != NULL || part->packing > 0)
		rc = HVREPL_E_BUSY;
	if (rc < 0) {
		hvri_unlock(part->mutex);
		return rc;
	}
	if (!part->detached) {
		hvri_part_detach(part);
		*detached_out = true;
	}
	map = part->map;
	part->map = NULL;
	part->settled = true;
	if (tracker != NULL) {
		tracker->parts = part->newer;
		/* Lazily made durable: before cooling, and at each save (T7). */
		tracker->header.ack_epoch = part->header.identity.epoch;
		tracker->header.ack_point = part->header.identity.to_point;
		tracker->header.ack_cut = part->cut->id;
		tracker->ack_unsaved = true;
	}
	hvri_unlock(part->mutex);
	hvri_map_free(part->cut->group, map);
	return HVREPL_OK;
}

int32_t hvri_cut_settle(hvrepl_cut *cut, uint32_t disk, int32_t result)
{
	struct hvrepl_group *group = cut->group;
	struct hvri_member *part;
	bool detached = false;
	int32_t rc = HVREPL_OK;

	if (disk >= cut->part_count)
		return HVREPL_E_INVALID;
	part = &cut->parts[disk];
	hvri_lock(&group->mutex);
	if (result == HVREPL_OK)
		rc = acknowledge(part, &detached);
	else if (part->settled)
		rc = HVREPL_E_STATE;
	else
		hvri_part_fail(part, result);
	hvri_unlock(&group->mutex);
	if (detached)
		hvri_part_freed(part);
	else if (result < 0)
		hvri_cut_after_void(group);
	return rc;
}

/* group->mutex held: would each part that is left be acknowledged? */
static int32_t can_close(struct hvrepl_cut *cut)
{
	for (uint32_t i = 0; i < cut->part_count; i++) {
		struct hvri_member *part = &cut->parts[i];
		int32_t rc = HVREPL_OK;

		if (part->settled)
			continue;
		hvri_lock(part->mutex);
		hvri_part_poll(part);
		if (part->tracker != NULL && part->tracker->parts != part)
			rc = HVREPL_E_STATE;
		else if (!part->drained || part->claims != NULL ||
			 part->packing > 0)
			rc = HVREPL_E_BUSY;
		hvri_unlock(part->mutex);
		if (rc < 0)
			return rc;
	}
	return HVREPL_OK;
}

static void dispose(struct hvrepl_cut *cut, bool acknowledged)
{
	struct hvrepl_group *group = cut->group;
	bool open;

	/* What reads and packs comes to its end by itself. */
	hvri_lock(&cut->mutex);
	while (cut->active > 0)
		hvri_wait(&cut->cond, &cut->mutex);
	hvri_unlock(&cut->mutex);
	if (cut->external)
		cut->source.end_cut(cut->source_user, cut->source_handle,
				    acknowledged ? 1 : 0);
	hvri_cut_clean(group);
	hvri_lock(&group->mutex);
	open = group->open == cut;
	if (open)
		cut->orphan = true; /* The pump frees it. */
	else
		hvri_cut_delist(cut);
	hvri_unlock(&group->mutex);
	if (!open)
		hvri_cut_free(cut);
	else
		hvri_group_kick(group);
}

int32_t hvri_cut_close(hvrepl_cut *cut, int32_t result)
{
	struct hvrepl_group *group = cut->group;
	bool acknowledged = true;
	int32_t rc = HVREPL_OK;

	if (HVRI_PLANT(spool_freed_unsent) && result < 0 &&
	    atomic_load(&cut->state) == HVREPL_CUT_SPOOLED)
		result = HVREPL_OK;
	if (result == HVREPL_OK) {
		hvri_lock(&group->mutex);
		if (atomic_load(&cut->state) != HVREPL_CUT_VOIDED)
			rc = can_close(cut);
		hvri_unlock(&group->mutex);
		HVRI_TRY(rc);
	}
	for (uint32_t i = 0; i < cut->part_count; i++)
		if (!cut->parts[i].settled)
			/* Voided meanwhile: it stays failed. */
			(void)hvri_cut_settle(cut, i, result);
	for (uint32_t i = 0; i < cut->part_count; i++)
		acknowledged &= cut->parts[i].settled && !cut->parts[i].failed;
	if (result == HVREPL_OK && !acknowledged)
		rc = HVREPL_E_VOIDED;
	dispose(cut, acknowledged);
	return rc;
}
