/* SPDX-License-Identifier: Apache-2.0 */
/* Owed blocks of an open cut: who may overwrite, who reads, what is copied. */
#include "tracker/internal.h"

#include "base/plant.h"

#include <string.h>

void hvri_part_poll(struct hvri_member *part)
{
	struct hvrepl_tracker *tracker = part->tracker;
	uint64_t generation = part->cut->generation;

	/* Made, but not named yet: its writers still publish. */
	if (tracker == NULL ||
	    hvri_generation(atomic_load(&tracker->group->word)) == generation)
		return;
	if (!part->published && hvri_published(tracker, generation)) {
		part->published = true;
		/* L1: what lies beyond the window stays dirty. */
		if (part->limit < part->blocks)
			hvri_bitmap_or(
				atomic_load(&tracker->map[(generation + 1) & 1]),
				&tracker->group->pages, part->map, part->limit,
				part->blocks - part->limit);
	}
	if (part->published && !part->drained &&
	    (hvri_drained(tracker, generation) ||
	     HVRI_PLANT(cut_without_drain)))
		part->drained = true;
}

static bool overlaps(uint64_t a, uint64_t a_count, uint64_t b, uint64_t b_count)
{
	return a < b + b_count && b < a + a_count;
}

bool hvri_part_owes(struct hvri_member *part, uint64_t first, uint64_t count)
{
	uint64_t end = first + count, run, length, copied, copied_length;

	hvri_part_poll(part);
	if (!part->published)
		return true;
	end = HVRI_MIN(end, part->limit);
	if (first >= end)
		return false;
	for (const struct hvri_claim *c = part->claims; c != NULL; c = c->next)
		for (uint32_t i = 0; i < c->count; i++)
			if (overlaps(first, end - first, c->run[i].first,
				     c->run[i].count))
				return true;
	first = HVRI_MAX(first, part->frontier);
	while (first < end && hvri_bitmap_next(part->map, first, end,
					       UINT64_MAX, &run, &length)) {
		if (part->copied.top == NULL ||
		    !hvri_bitmap_next(&part->copied, run, run + length,
				      UINT64_MAX, &copied, &copied_length) ||
		    copied != run || copied_length != length)
			return true;
		first = run + length;
	}
	return false;
}

bool hvri_part_next(const struct hvri_member *part, uint64_t from, uint64_t end,
		    uint64_t max, uint64_t *first_out, uint64_t *count_out)
{
	uint64_t at = HVRI_MAX(from, part->frontier), first, count;

	end = HVRI_MIN(end, part->limit);
	while (at < end &&
	       hvri_bitmap_next(part->map, at, end, max, &first, &count)) {
		uint64_t copied, length;
		bool skip = false;

		if (part->copied.top != NULL &&
		    hvri_bitmap_next(&part->copied, first, first + count,
				     UINT64_MAX, &copied, &length)) {
			if (copied == first) {
				at = copied + length;
				continue;
			}
			count = copied - first;
		}
		for (const struct hvri_claim *c = part->claims;
		     c != NULL && !skip; c = c->next) {
			/* A direct read leaves its blocks owed. */
			for (uint32_t i = 0;
			     i < c->count && !c->keep && !skip; i++) {
				if (!overlaps(first, count, c->run[i].first,
					      c->run[i].count))
					continue;
				skip = c->run[i].first <= first;
				if (skip)
					at = c->run[i].first + c->run[i].count;
				else
					count = c->run[i].first - first;
			}
		}
		if (skip)
			continue;
		*first_out = first;
		*count_out = count;
		return true;
	}
	return false;
}

uint64_t hvri_part_bytes(const struct hvri_member *part, uint64_t first,
			 uint64_t count)
{
	uint64_t from = first << part->block_shift;
	uint64_t to = (first + count) << part->block_shift;

	return HVRI_MIN(to, part->header.disk_size) - from;
}

void hvri_claim_add(struct hvri_claim *claim, uint64_t first, uint64_t count)
{
	uint32_t at = claim->count++;

	/* Ascending, as chunks want their extents. */
	while (at > 0 && claim->run[at - 1].first > first) {
		claim->run[at] = claim->run[at - 1];
		at--;
	}
	claim->run[at].first = first;
	claim->run[at].count = count;
}

void hvri_claim_link(struct hvri_claim *claim, struct hvri_member *part)
{
	claim->part = part;
	claim->next = part->claims;
	part->claims = claim;
	if (!claim->keep)
		part->packing++;
	hvri_cut_ref(part->cut);
}

bool hvri_claim_end(struct hvri_claim *claim, bool ok)
{
	struct hvri_member *part = claim->part;
	struct hvrepl_cut *cut = part->cut;
	struct hvri_claim **link;
	bool alive;

	hvri_lock(part->mutex);
	for (link = &part->claims; *link != claim; link = &(*link)->next)
		;
	*link = claim->next;
	alive = atomic_load(&cut->state) == HVREPL_CUT_OPEN;
	for (uint32_t i = 0; ok && alive && !claim->keep && i < claim->count;
	     i++) {
		uint64_t first = claim->run[i].first;
		uint64_t count = claim->run[i].count;

		/* The cutter's own claims lie before the frontier. */
		if (first + count > part->frontier)
			hvri_bitmap_set(&part->copied,
					&cut->group->pages, first, count);
		part->read_bytes += hvri_part_bytes(part, first, count);
	}
	hvri_unlock(part->mutex);
	hvri_lock(&cut->mutex);
	hvri_cut_wake(cut);
	hvri_unlock(&cut->mutex);
	return alive;
}

static int32_t read_external(const struct hvri_member *part, uint64_t offset,
			     uint8_t *to, uint64_t length)
{
	const struct hvrepl_cut *cut = part->cut;
	struct hvri_op_wait wait;
	int32_t rc;

	hvri_op_wait_init(&wait);
	rc = cut->source.read_frozen(cut->source_user, &wait.op,
				     cut->source_handle, part->index, offset,
				     to, (size_t)length);
	rc = hvri_op_wait_end(&wait, rc);
	return rc < 0 ? HVREPL_E_DISK_IO : HVREPL_OK;
}

int32_t hvri_claim_read(const struct hvri_claim *claim, uint8_t *raw)
{
	const struct hvri_member *part = claim->part;

	for (uint32_t i = 0; i < claim->count && !claim->zero; i++) {
		uint64_t bytes = hvri_part_bytes(part, claim->run[i].first,
						 claim->run[i].count);
		uint64_t offset = claim->run[i].first << part->block_shift;

		if (part->tracker == NULL)
			HVRI_TRY(read_external(part, offset, raw, bytes));
		else if (HVRI_PLANT(read_error_is_zeroes))
			(void)!hvri_disk_read(&part->tracker->disk, offset,
					      raw, (size_t)bytes);
		else
			HVRI_TRY(hvri_disk_read(&part->tracker->disk, offset,
						raw, (size_t)bytes));
		raw += bytes;
	}
	return HVREPL_OK;
}

/* part->mutex held. Room for the blocks in the out-of-order map: exact, for
 * it must never claim more than is true. */
static int32_t reserve_copied(struct hvri_member *part,
			      const struct hvri_claim *claim)
{
	struct hvri_page_pool *pages = &part->cut->group->pages;

	if (part->copied.top == NULL)
		HVRI_TRY(hvri_bitmap_init(&part->copied, &part->cut->group->env,
					  part->blocks));
	for (uint32_t i = 0; i < claim->count; i++)
		HVRI_TRY(hvri_bitmap_reserve(&part->copied, pages,
					     claim->run[i].first,
					     claim->run[i].count));
	return HVREPL_OK;
}

/* Blocks that tickets wait for, the oldest ticket's first, up to a bound. */
static void claim_waiting(struct hvrepl_tracker *tracker,
			  struct hvri_member *part, struct hvri_claim *claim)
{
	uint64_t room = HVRI_CLAIM_BYTES >> part->block_shift;

	for (struct hvrepl_ticket *t = tracker->waiting;
	     t != NULL && claim->count < HVRI_CLAIM_EXTENTS && room > 0;
	     t = hvri_wait_of(t)->next) {
		const struct hvri_wait *wait = hvri_wait_of(t);
		uint64_t at = wait->first, end = at + wait->count;
		uint64_t first, count;

		if (wait->reason != HVRI_WAIT_OWED ||
		    wait->kind == HVREPL_WRITE_DISCARD)
			continue;
		/* The claim is linked: what it holds is not found again. */
		while (claim->count < HVRI_CLAIM_EXTENTS && room > 0 &&
		       hvri_part_next(part, at, end, room, &first, &count)) {
			hvri_claim_add(claim, first, count);
			room -= count;
			at = first + count;
		}
	}
}

bool hvri_copies_serve(struct hvrepl_tracker *tracker)
{
	struct hvri_claim claim = { .keep = false };
	struct hvri_kit *kit = NULL;
	struct hvri_member *part;
	struct hvrepl_cut *cut;
	int32_t rc;
	bool alive;

	if (atomic_load(&tracker->waiting_count) == 0)
		return false;
	hvri_lock(&tracker->mutex);
	part = tracker->open;
	if (part == NULL ||
	    atomic_load(&part->cut->state) != HVREPL_CUT_OPEN) {
		hvri_unlock(&tracker->mutex);
		return false;
	}
	cut = part->cut;
	hvri_part_poll(part);
	/* T3: nothing is read before the writes of its generation ended. */
	if (!part->drained) {
		hvri_unlock(&tracker->mutex);
		return false;
	}
	hvri_claim_link(&claim, part);
	claim_waiting(tracker, part, &claim);
	if (claim.count == 0) {
		part->claims = claim.next;
		part->packing--;
		hvri_unlock(&tracker->mutex);
		hvri_cut_unref(cut);
		return false;
	}
	rc = reserve_copied(part, &claim);
	hvri_unlock(&tracker->mutex);
	if (rc == HVREPL_OK)
		rc = hvri_kit_take(cut, &kit);
	if (rc == HVREPL_OK)
		rc = hvri_claim_read(&claim, kit->raw);
	alive = hvri_claim_end(&claim, rc == HVREPL_OK);
	if (rc < 0)
		hvri_cut_fail(cut, rc);
	hvri_waiters_serve(tracker);
	if (rc == HVREPL_OK && alive) {
		uint64_t blocks = 0;

		for (uint32_t i = 0; i < claim.count; i++)
			blocks += claim.run[i].count;
		(void)atomic_fetch_add(&tracker->copies, blocks);
		hvri_claim_spool(&claim, kit);
	} else {
		if (kit != NULL)
			hvri_kit_give(cut, kit);
		hvri_claim_drop(&claim);
	}
	return true;
}

uint64_t hvri_cut_news(struct hvrepl_cut *cut)
{
	uint64_t news;

	hvri_lock(&cut->mutex);
	news = cut->news;
	hvri_unlock(&cut->mutex);
	return news;
}

void hvri_cut_await(struct hvrepl_cut *cut, uint64_t seen)
{
	/* Whoever copies and packs them makes news when that ends. */
	hvri_lock(&cut->mutex);
	while (cut->news == seen)
		hvri_wait(&cut->cond, &cut->mutex);
	hvri_unlock(&cut->mutex);
}
