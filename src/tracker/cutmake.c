/* SPDX-License-Identifier: Apache-2.0 */
/* Making a cut, and its end: voided, settled, folded, closed (T2 to T5). */
#include "tracker/internal.h"

#include "base/plant.h"

#include <string.h>

void hvri_cut_ref(struct hvrepl_cut *cut)
{
	hvri_lock(&cut->mutex);
	cut->active++;
	hvri_unlock(&cut->mutex);
}

void hvri_cut_unref(struct hvrepl_cut *cut)
{
	hvri_lock(&cut->mutex);
	cut->active--;
	hvri_cut_wake(cut);
	hvri_unlock(&cut->mutex);
}

void hvri_cut_tell(struct hvrepl_cut *cut)
{
	void (*listener)(void *user);
	void *user;

	hvri_lock(&cut->mutex);
	listener = cut->listener;
	user = cut->listener_user;
	hvri_unlock(&cut->mutex);
	if (listener != NULL)
		listener(user);
}

void hvri_cut_listen(hvrepl_cut *cut, void (*changed)(void *user), void *user)
{
	/* A cut is read from the moment it is made, so this may come late. */
	hvri_lock(&cut->mutex);
	cut->listener = changed;
	cut->listener_user = user;
	hvri_unlock(&cut->mutex);
}

int32_t hvri_cut_alloc(struct hvrepl_group *group, uint32_t parts,
		       struct hvrepl_cut **cut_out)
{
	struct hvrepl_cut *cut = hvri_alloc(&group->env, sizeof(*cut));

	if (cut == NULL)
		return HVREPL_E_NOMEM;
	cut->parts = hvri_alloc_array(&group->env, parts, sizeof(*cut->parts));
	if (cut->parts == NULL) {
		hvri_free(&group->env, cut, sizeof(*cut));
		return HVREPL_E_NOMEM;
	}
	cut->group = group;
	cut->part_count = parts;
	hvri_mutex_init(&cut->mutex);
	hvri_mutex_init(&cut->reading);
	hvri_cond_init(&cut->cond);
	for (uint32_t i = 0; i < parts; i++) {
		struct hvri_member *part = &cut->parts[i];

		part->cut = cut;
		part->index = i;
		hvri_mutex_init(&part->own);
		part->mutex = &part->own;
	}
	atomic_store(&cut->state, HVREPL_CUT_OPEN);
	atomic_store(&cut->parts_open, parts);
	cut->utc_ns = hvri_utc(&group->env);
	if (hvri_uuid_new(&group->env, &cut->id) < 0) {
		hvri_cut_free(cut);
		return HVREPL_E_CALLBACK;
	}
	*cut_out = cut;
	return HVREPL_OK;
}

void hvri_map_free(struct hvrepl_group *group, struct hvri_bitmap *map)
{
	if (map == NULL)
		return;
	hvri_bitmap_free(map, &group->pages);
	hvri_free(&group->env, map, sizeof(*map));
}

void hvri_cut_free(struct hvrepl_cut *cut)
{
	struct hvrepl_group *group = cut->group;

	if (cut->same_release != NULL)
		cut->same_release(cut->same_user);
	hvri_kits_free(cut);
	hvri_spool_free(cut);
	for (uint32_t i = 0; i < cut->part_count; i++) {
		struct hvri_member *part = &cut->parts[i];

		hvri_map_free(group, part->map);
		hvri_map_free(group, part->spare);
		hvri_bitmap_free(&part->copied, &group->pages);
		hvri_mutex_destroy(&part->own);
		if (part->tracker != NULL)
			(void)atomic_fetch_sub(&part->tracker->cuts, 1);
	}
	hvri_mutex_destroy(&cut->mutex);
	hvri_mutex_destroy(&cut->reading);
	hvri_cond_destroy(&cut->cond);
	hvri_free(&group->env, cut->parts,
		  cut->part_count * sizeof(*cut->parts));
	hvri_free(&group->env, cut, sizeof(*cut));
}

void hvri_cut_enlist(struct hvrepl_cut *cut)
{
	struct hvrepl_group *group = cut->group;

	cut->next = NULL;
	*group->cuts_last = cut;
	group->cuts_last = &cut->next;
}

void hvri_cut_delist(struct hvrepl_cut *cut)
{
	struct hvrepl_group *group = cut->group;
	struct hvrepl_cut **link = &group->cuts;

	while (*link != cut)
		link = &(*link)->next;
	*link = cut->next;
	if (group->cuts_last == &cut->next)
		group->cuts_last = link;
}

/* All that can fail, before anything is named. */
static int32_t part_prepare(struct hvri_member *part,
			    struct hvrepl_tracker *tracker)
{
	const struct hvri_env *env = &tracker->group->env;
	struct hvri_segment_header *header = &part->header;
	int32_t rc;

	part->tracker = tracker;
	(void)atomic_fetch_add(&tracker->cuts, 1);
	part->mutex = &tracker->mutex;
	part->blocks = tracker->blocks;
	part->block_shift = tracker->block_shift;
	part->spare = hvri_alloc(env, sizeof(*part->spare));
	if (part->spare == NULL)
		return HVREPL_E_NOMEM;
	rc = hvri_bitmap_init(part->spare, env, tracker->blocks);
	if (rc < 0) {
		hvri_free(env, part->spare, sizeof(*part->spare));
		part->spare = NULL;
		return rc;
	}
	header->identity.vm = tracker->header.vm;
	header->identity.disk = tracker->header.disk;
	header->identity.cut = part->cut->id;
	header->disk_size = tracker->size;
	header->block_size = tracker->header.block_size;
	header->utc_ns = part->cut->utc_ns;
	return HVREPL_OK;
}

static void part_open(struct hvri_member *part, uint64_t generation)
{
	struct hvrepl_tracker *tracker = part->tracker;
	struct hvri_member **link = &tracker->parts;
	uint64_t limit;

	hvri_lock(&tracker->mutex);
	part->header.identity.epoch = tracker->label.epoch;
	part->header.identity.from_point = tracker->label.from_point;
	part->header.identity.to_point = tracker->label.to_point;
	limit = tracker->label.limit >> tracker->block_shift;
	part->limit = HVRI_MIN(limit, part->blocks);
	part->map = atomic_load(&tracker->map[generation & 1]);
	while (*link != NULL)
		link = &(*link)->newer;
	*link = part;
	tracker->open = part;
	hvri_unlock(&tracker->mutex);
}

/* group->mutex held: the old counters of all disks stand at zero, so that
 * their slots and maps can serve the next generation (T5). */
static bool drained(struct hvrepl_group *group, uint64_t generation)
{
	if (!group->undrained || HVRI_PLANT(cut_opens_undrained))
		return true;
	for (size_t i = 0; i < group->tracker_count; i++)
		if (!hvri_drained(group->trackers[i], generation - 1))
			return false;
	group->undrained = false;
	return true;
}

/* T5. Never the oldest: it is being shipped, and folding it at every cycle
 * would keep a slow link from ever finishing one. */
static void fold_over_budget(struct hvrepl_group *group)
{
	uint32_t queued = 0;
	uint64_t used = atomic_load(&group->memory) +
			atomic_load(&group->spilled);
	uint64_t budget = group->spool_memory +
			  (group->has_spill ? group->spill_limit : 0);

	if (used <= budget - budget / 4)
		return;
	hvri_lock(&group->mutex);
	for (struct hvrepl_cut *cut = group->cuts; cut != NULL; cut = cut->next)
		queued += !cut->external &&
			  atomic_load(&cut->state) == HVREPL_CUT_SPOOLED;
	hvri_unlock(&group->mutex);
	if (queued > 1)
		(void)hvri_group_fold_newest(group);
}

int32_t hvri_group_cut(hvrepl_group *group, struct hvrepl_error *error,
		       hvrepl_cut **cut_out)
{
	struct hvrepl_cut *cut = NULL;
	uint64_t generation;
	int32_t rc = HVREPL_OK;

	fold_over_budget(group);
	hvri_cut_clean(group);
	hvri_lock(&group->mutex);
	generation = hvri_generation(atomic_load(&group->word));
	if (group->tracker_count == 0)
		rc = HVREPL_E_STATE;
	else if (group->open != NULL || !drained(group, generation))
		rc = HVREPL_E_BUSY;
	if (rc == HVREPL_OK)
		rc = hvri_cut_alloc(group, (uint32_t)group->tracker_count,
				    &cut);
	for (size_t i = 0; rc == HVREPL_OK && i < group->tracker_count; i++)
		rc = part_prepare(&cut->parts[i], group->trackers[i]);
	if (rc < 0) {
		hvri_unlock(&group->mutex);
		if (rc == HVREPL_E_BUSY)
			(void)atomic_fetch_add(&group->missed, 1);
		if (cut != NULL)
			hvri_cut_free(cut);
		if (rc == HVREPL_E_BUSY)
			return hvri_fail(error, rc,
					 "the cut before is still open: read it "
					 "to its end, close or void it first");
		if (rc == HVREPL_E_STATE)
			return hvri_fail(error, rc,
					 "the group has no trackers: attach "
					 "the disks first");
		return hvri_fail_plain(error, rc);
	}
	cut->generation = generation;
	for (uint32_t i = 0; i < cut->part_count; i++)
		part_open(&cut->parts[i], generation);
	group->open = cut;
	hvri_cut_enlist(cut);
	/* This names the cut, on all disks at once. */
	atomic_store(&group->word,
		     (generation + 1) << 1 | HVRI_WORD_OPEN);
	hvri_unlock(&group->mutex);
	(void)atomic_fetch_add(&group->cuts_made, 1);
	*cut_out = cut;
	return HVREPL_OK;
}

/* part->mutex held; drained, and nobody reads: the disk is free. */
void hvri_part_detach(struct hvri_member *part)
{
	struct hvrepl_tracker *tracker = part->tracker;

	part->detached = true;
	if (tracker != NULL) {
		hvri_bitmap_reset(part->spare, &tracker->group->pages,
				  part->map);
		atomic_store(&tracker->map[part->cut->generation & 1],
			     part->spare);
		part->spare = NULL;
		tracker->open = NULL;
	}
	(void)atomic_fetch_sub(&part->cut->parts_open, 1);
}

void hvri_cut_maybe_spooled(struct hvrepl_cut *cut)
{
	struct hvrepl_group *group = cut->group;
	bool now = false;

	if (atomic_load(&cut->parts_open) > 0)
		return;
	hvri_lock(&group->mutex);
	if (atomic_load(&cut->state) == HVREPL_CUT_OPEN) {
		now = true;
		atomic_store(&cut->state, HVREPL_CUT_SPOOLED);
		if (!cut->external) {
			(void)atomic_fetch_and(&group->word, ~HVRI_WORD_OPEN);
			group->open = NULL;
		}
	}
	hvri_unlock(&group->mutex);
	if (now)
		hvri_kits_free(cut);
}

int32_t hvri_tracker_label(hvrepl_tracker *tracker,
			   const struct hvrepl_cut_label *label)
{
	if (label->limit != UINT64_MAX &&
	    (label->limit & ((UINT64_C(1) << tracker->block_shift) - 1)) != 0)
		return HVREPL_E_INVALID;
	hvri_lock(&tracker->mutex);
	tracker->label = *label;
	hvri_unlock(&tracker->mutex);
	return HVREPL_OK;
}
