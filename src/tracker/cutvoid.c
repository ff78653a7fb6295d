/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts given up: writers go on at once, every bit goes back (T3, T5). */
#include "tracker/internal.h"

#include "base/plant.h"

/* group->mutex held. The part of a spooled cut fails: its bits go back. */
static void part_return(struct hvri_member *part)
{
	struct hvrepl_tracker *tracker = part->tracker;
	struct hvrepl_group *group = part->cut->group;
	uint64_t generation = hvri_generation(atomic_load(&group->word));
	struct hvri_member **link;

	part->settled = part->failed = true;
	if (tracker == NULL)
		return;
	hvri_lock(&tracker->mutex);
	hvri_bitmap_or(atomic_load(&tracker->map[generation & 1]),
		       &group->pages, part->map, 0, part->limit);
	for (link = &tracker->parts; *link != part; link = &(*link)->newer)
		;
	*link = part->newer;
	hvri_map_free(group, part->map);
	part->map = NULL;
	hvri_unlock(&tracker->mutex);
}

/* group->mutex held. True: the cut was open. */
static bool void_open(struct hvrepl_cut *cut, int32_t reason)
{
	if (atomic_load(&cut->state) != HVREPL_CUT_OPEN)
		return false;
	atomic_store(&cut->reason, reason);
	atomic_store(&cut->state, HVREPL_CUT_VOIDED);
	if (!cut->external)
		(void)atomic_fetch_and(&cut->group->word, ~HVRI_WORD_OPEN);
	(void)atomic_fetch_add(&cut->group->voided, 1);
	return true;
}

static void note_failed(struct hvrepl_cut *cut, int32_t reason)
{
	for (uint32_t i = 0; i < cut->part_count; i++)
		if (!cut->parts[i].failed)
			return;
	atomic_store(&cut->reason, reason);
	atomic_store(&cut->state, HVREPL_CUT_VOIDED);
}

/* group->mutex held. The part, which is not settled, and all newer ones of its
 * disk, which build on it (T5: never an older one without those after it). */
void hvri_part_fail(struct hvri_member *part, int32_t reason)
{
	if (atomic_load(&part->cut->state) == HVREPL_CUT_OPEN) {
		(void)void_open(part->cut, reason);
		return;
	}
	/* Voided while open: part_clean() gives its bits back. */
	if (atomic_load(&part->cut->state) == HVREPL_CUT_VOIDED)
		return;
	if (part->newer != NULL && !HVRI_PLANT(folds_oldest))
		hvri_part_fail(part->newer, reason);
	part_return(part);
	note_failed(part->cut, reason);
}

/* Writers that wait for the cut go on. No lock held. */
static void release_writers(struct hvrepl_cut *cut)
{
	for (uint32_t i = 0; i < cut->part_count; i++) {
		struct hvrepl_tracker *tracker = cut->parts[i].tracker;

		if (tracker != NULL &&
		    atomic_load(&tracker->waiting_count) > 0)
			hvri_tracker_kick(tracker);
	}
}

/* The n-th voided cut, referenced. */
static struct hvrepl_cut *voided_cut(struct hvrepl_group *group, size_t n)
{
	struct hvrepl_cut *cut;

	hvri_lock(&group->mutex);
	for (cut = group->cuts; cut != NULL; cut = cut->next)
		if (atomic_load(&cut->state) == HVREPL_CUT_VOIDED && n-- == 0)
			break;
	if (cut != NULL)
		hvri_cut_ref(cut);
	hvri_unlock(&group->mutex);
	return cut;
}

/* Those that were voided just now, perhaps newer ones too: writers go on at
 * once, owners are told. */
void hvri_cut_after_void(struct hvrepl_group *group)
{
	struct hvrepl_cut *cut;

	for (size_t n = 0; (cut = voided_cut(group, n)) != NULL; n++) {
		release_writers(cut);
		hvri_cut_tell(cut);
		hvri_cut_unref(cut);
	}
	hvri_cut_clean(group);
}

void hvri_cut_fail(struct hvrepl_cut *cut, int32_t reason)
{
	struct hvrepl_group *group = cut->group;
	bool any = false;

	hvri_lock(&group->mutex);
	if (void_open(cut, reason)) {
		any = true;
	} else if (atomic_load(&cut->state) == HVREPL_CUT_SPOOLED) {
		for (uint32_t i = 0; i < cut->part_count; i++) {
			if (cut->parts[i].settled)
				continue;
			any = true;
			hvri_part_fail(&cut->parts[i], reason);
		}
		if (any) {
			atomic_store(&cut->reason, reason);
			atomic_store(&cut->state, HVREPL_CUT_VOIDED);
			(void)atomic_fetch_add(&group->voided, 1);
		}
	}
	hvri_unlock(&group->mutex);
	if (any)
		hvri_cut_after_void(group);
}

int32_t hvri_cut_void(hvrepl_cut *cut)
{
	hvri_cut_fail(cut, HVREPL_E_CANCELLED);
	return atomic_load(&cut->state) == HVREPL_CUT_VOIDED ? HVREPL_OK :
							       HVREPL_E_STATE;
}

/* group->mutex held. Voided while open: the bits go back once the writers of
 * its generation have set theirs, copied blocks too (T3). */
static bool part_clean(struct hvri_member *part)
{
	struct hvrepl_tracker *tracker = part->tracker;
	struct hvrepl_group *group = part->cut->group;
	uint64_t generation = part->cut->generation;
	struct hvri_member **link;
	struct hvri_bitmap *map;

	if (part->returned || part->settled)
		return true;
	hvri_lock(&tracker->mutex);
	if (!part->published && !hvri_published(tracker, generation)) {
		hvri_unlock(&tracker->mutex);
		return false;
	}
	if (!part->drained && !hvri_drained(tracker, generation))
		group->undrained = true;
	map = part->map;
	hvri_bitmap_or(atomic_load(&tracker->map[(generation + 1) & 1]),
		       &group->pages, map,
		       HVRI_PLANT(void_returns_rest) ? part->frontier : 0,
		       part->published ? part->limit : part->blocks);
	if (!part->detached)
		hvri_part_detach(part);
	for (link = &tracker->parts; *link != part; link = &(*link)->newer)
		;
	*link = part->newer;
	part->map = NULL;
	part->returned = true;
	hvri_unlock(&tracker->mutex);
	hvri_map_free(group, map);
	return true;
}

void hvri_cut_clean(struct hvrepl_group *group)
{
	struct hvrepl_cut *cut, *orphan = NULL;
	bool all = true;

	hvri_lock(&group->mutex);
	cut = group->open;
	if (cut != NULL && atomic_load(&cut->state) == HVREPL_CUT_VOIDED) {
		for (uint32_t i = 0; i < cut->part_count; i++)
			all &= part_clean(&cut->parts[i]);
		if (all) {
			group->open = NULL;
			if (cut->orphan) {
				hvri_cut_delist(cut);
				orphan = cut;
			}
		}
	}
	hvri_unlock(&group->mutex);
	if (orphan != NULL)
		hvri_cut_free(orphan);
}

/* Writes that had to wait for the part look again. */
void hvri_part_freed(struct hvri_member *part)
{
	if (part->tracker != NULL &&
	    atomic_load(&part->tracker->waiting_count) > 0)
		hvri_tracker_kick(part->tracker);
	hvri_cut_maybe_spooled(part->cut);
	hvri_cut_tell(part->cut);
}

void hvri_part_finish(struct hvri_member *part)
{
	bool done;

	hvri_lock(part->mutex);
	hvri_part_poll(part);
	/* Drained, or nobody would have read of it. */
	done = !part->detached && part->frontier >= part->limit && part->claims == NULL &&
	       part->packing == 0 &&
	       atomic_load(&part->cut->state) == HVREPL_CUT_OPEN;
	if (done)
		hvri_part_detach(part);
	hvri_unlock(part->mutex);
	if (done)
		hvri_part_freed(part);
}

int32_t hvri_group_fold_newest(hvrepl_group *group)
{
	struct hvrepl_cut *newest = NULL;

	hvri_lock(&group->mutex);
	for (struct hvrepl_cut *cut = group->cuts; cut != NULL;
	     cut = cut->next) {
		bool whole = true;

		for (uint32_t i = 0; i < cut->part_count; i++)
			whole &= !cut->parts[i].settled;
		if (!cut->external && whole &&
		    !(HVRI_PLANT(folds_oldest) && newest != NULL) &&
		    atomic_load(&cut->state) == HVREPL_CUT_SPOOLED)
			newest = cut;
	}
	if (newest != NULL)
		hvri_cut_ref(newest);
	hvri_unlock(&group->mutex);
	if (newest == NULL)
		return HVREPL_E_NOT_FOUND;
	hvri_cut_fail(newest, HVREPL_E_LIMIT);
	(void)atomic_fetch_add(&group->folded, 1);
	hvri_cut_unref(newest);
	return HVREPL_OK;
}
