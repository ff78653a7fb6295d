/* SPDX-License-Identifier: Apache-2.0 */
/* Making a cut, and its end: voided, settled, folded, closed (T2 to T5). */
#include "tracker/internal.h"

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
	hvri_wake_all(&cut->cond);
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

void hvri_cut_set_filter(hvrepl_cut *cut,
			 bool (*same)(void *user, uint32_t disk,
				      uint64_t offset, const void *bytes,
				      size_t length),
			 void (*release)(void *user), void *user)
{
	cut->same = same;
	cut->same_release = release;
	cut->same_user = user;
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

static void map_free(struct hvrepl_group *group, struct hvri_bitmap *map)
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

		map_free(group, part->map);
		map_free(group, part->spare);
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

static void delist(struct hvrepl_cut *cut)
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
	if (!group->undrained)
		return true;
	for (size_t i = 0; i < group->tracker_count; i++)
		if (!hvri_drained(group->trackers[i], generation - 1))
			return false;
	group->undrained = false;
	return true;
}

static void fold_over_budget(struct hvrepl_group *group)
{
	uint64_t used = atomic_load(&group->memory) +
			atomic_load(&group->spilled);
	uint64_t budget = group->spool_memory +
			  (group->has_spill ? group->spill_limit : 0);

	if (used > budget - budget / 4)
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
	map_free(group, part->map);
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

/* group->mutex held. The part, and all newer ones of its disk, which build on
 * it (T5: never an older one without those after it). */
static void fail_suffix(struct hvri_member *part, int32_t reason)
{
	if (atomic_load(&part->cut->state) == HVREPL_CUT_OPEN) {
		(void)void_open(part->cut, reason);
		return;
	}
	/* Voided while open: part_clean() gives its bits back. */
	if (part->settled ||
	    atomic_load(&part->cut->state) == HVREPL_CUT_VOIDED)
		return;
	if (part->newer != NULL)
		fail_suffix(part->newer, reason);
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
static void after_void(struct hvrepl_group *group)
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
			fail_suffix(&cut->parts[i], reason);
		}
		if (any) {
			atomic_store(&cut->reason, reason);
			atomic_store(&cut->state, HVREPL_CUT_VOIDED);
			(void)atomic_fetch_add(&group->voided, 1);
		}
	}
	hvri_unlock(&group->mutex);
	if (any)
		after_void(group);
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
		       &group->pages, map, 0,
		       part->published ? part->limit : part->blocks);
	if (!part->detached)
		hvri_part_detach(part);
	for (link = &tracker->parts; *link != part; link = &(*link)->newer)
		;
	*link = part->newer;
	part->map = NULL;
	part->returned = true;
	hvri_unlock(&tracker->mutex);
	map_free(group, map);
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
				delist(cut);
				orphan = cut;
			}
		}
	}
	hvri_unlock(&group->mutex);
	if (orphan != NULL)
		hvri_cut_free(orphan);
}

/* Writes that had to wait for the part look again. */
static void freed(struct hvri_member *part)
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
	done = !part->detached && part->drained &&
	       part->frontier >= part->limit && part->claims == NULL &&
	       part->packing == 0 &&
	       atomic_load(&part->cut->state) == HVREPL_CUT_OPEN;
	if (done)
		hvri_part_detach(part);
	hvri_unlock(part->mutex);
	if (done)
		freed(part);
}

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
	map_free(part->cut->group, map);
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
		fail_suffix(part, result);
	hvri_unlock(&group->mutex);
	if (detached)
		freed(part);
	else if (result < 0)
		after_void(group);
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
		delist(cut);
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

	if (result == HVREPL_OK &&
	    atomic_load(&cut->state) != HVREPL_CUT_VOIDED) {
		hvri_lock(&group->mutex);
		rc = can_close(cut);
		hvri_unlock(&group->mutex);
		if (rc < 0 && atomic_load(&cut->state) != HVREPL_CUT_VOIDED)
			return rc;
		rc = HVREPL_OK;
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
