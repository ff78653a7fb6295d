/* SPDX-License-Identifier: Apache-2.0 */
/* The tracker file while it is open: marks, sectors, header, trust (T7, T8). */
#include "tracker/internal.h"

#include "base/plant.h"

#include <string.h>

#define RETRY_NS UINT64_C(1000000000)
#define BATCH 8u /* Sectors written by one call. */

bool hvri_file_take(struct hvrepl_tracker *tracker, bool wait)
{
	bool taken;

	hvri_lock(&tracker->mutex);
	while (tracker->file_busy && wait)
		hvri_wait(&tracker->cond, &tracker->mutex);
	taken = !tracker->file_busy;
	tracker->file_busy = true;
	tracker->file_wanted |= !taken;
	hvri_unlock(&tracker->mutex);
	return taken;
}

void hvri_file_give(struct hvrepl_tracker *tracker)
{
	bool wanted;

	hvri_lock(&tracker->mutex);
	wanted = tracker->file_wanted;
	tracker->file_wanted = tracker->file_busy = false;
	hvri_wake_all(&tracker->cond);
	hvri_unlock(&tracker->mutex);
	if (wanted)
		hvri_tracker_kick(tracker);
}

static uint8_t *image_byte(const struct hvrepl_tracker *tracker,
			   uint32_t region, uint8_t *mask_out)
{
	uint32_t sector = region / HVRI_HVT_SECTOR_REGIONS;
	uint32_t bit = region % HVRI_HVT_SECTOR_REGIONS;

	*mask_out = (uint8_t)(1u << (bit & 7));
	return &tracker->image[(size_t)sector * HVRI_HVT_SECTOR_BYTES +
			       bit / 8];
}

bool hvri_image_get(const struct hvrepl_tracker *tracker, uint32_t region)
{
	uint8_t mask;

	return (*image_byte(tracker, region, &mask) & mask) != 0;
}

void hvri_image_set(struct hvrepl_tracker *tracker, uint32_t region, bool hot)
{
	uint8_t mask, *byte = image_byte(tracker, region, &mask);

	*byte = (uint8_t)(hot ? *byte | mask : *byte & ~mask);
	tracker->sector_dirty[region / HVRI_HVT_SECTOR_REGIONS] = 1;
}

void hvri_region_heat(struct hvrepl_tracker *tracker, uint32_t region)
{
	_Atomic uint8_t *byte = &tracker->region[region];

	/* The others are counted as hot until they are cold. */
	if (hvri_region_change(byte, HVRI_REGION_COLD, HVRI_REGION_HOT)) {
		(void)atomic_fetch_add(&tracker->hot, 1);
		(void)atomic_fetch_add(&tracker->group->hot, 1);
	}
	(void)hvri_region_change(byte, HVRI_REGION_COOLING, HVRI_REGION_HOT);
	(void)hvri_region_change(byte, HVRI_REGION_ERASING, HVRI_REGION_HOT);
}

int32_t hvri_file_flush(struct hvrepl_tracker *tracker)
{
	(void)atomic_fetch_add_explicit(&tracker->flushes, 1,
					memory_order_relaxed);
	return hvri_object_flush(&tracker->file);
}

int32_t hvri_sectors_copy(struct hvrepl_tracker *tracker, uint32_t copy)
{
	uint8_t bytes[BATCH * HVRI_HVT_SECTOR_SIZE];
	uint32_t sector = 0, sectors = tracker->header.sectors;

	while (sector < sectors) {
		uint32_t count = 0;

		if (tracker->sector_dirty[sector] == 0) {
			sector++;
			continue;
		}
		while (count < BATCH && sector + count < sectors &&
		       tracker->sector_dirty[sector + count] != 0) {
			uint32_t index = sector + count;

			hvri_hvt_sector_encode(
				&tracker->header, copy, index,
				tracker->image +
					(size_t)index * HVRI_HVT_SECTOR_BYTES,
				bytes + (size_t)count * HVRI_HVT_SECTOR_SIZE);
			count++;
		}
		HVRI_TRY(hvri_object_write(
			&tracker->file,
			hvri_hvt_sector_at(&tracker->header, copy, sector),
			bytes, (size_t)count * HVRI_HVT_SECTOR_SIZE));
		sector += count;
	}
	return HVREPL_OK;
}

int32_t hvri_sectors_write(struct hvrepl_tracker *tracker)
{
	for (uint32_t copy = 0; copy < HVRI_HVT_COPIES; copy++)
		HVRI_TRY(hvri_sectors_copy(tracker, copy));
	return HVREPL_OK;
}

int32_t hvri_header_write(struct hvrepl_tracker *tracker)
{
	uint8_t bytes[HVRI_HVT_HEADER_SIZE];
	uint64_t sequence;
	int32_t rc;

	hvri_lock(&tracker->mutex);
	/* A write that failed is repeated in the same slot: the other one holds
	 * the last header that is whole. */
	sequence = tracker->header.sequence++;
	hvri_hvt_header_encode(&tracker->header, bytes);
	tracker->header.sequence = sequence;
	hvri_unlock(&tracker->mutex);
	rc = hvri_object_write(&tracker->file,
			       ((sequence + 1) & 1) * HVRI_HVT_SLOT_STRIDE,
			       bytes, sizeof(bytes));
	if (rc == HVREPL_OK)
		rc = hvri_file_flush(tracker);
	if (rc < 0)
		return rc;
	hvri_lock(&tracker->mutex);
	tracker->header.sequence = sequence + 1;
	hvri_unlock(&tracker->mutex);
	return HVREPL_OK;
}

/* With the file taken and the mutex held: put the regions into the image.
 * True if any of them still needs its mark. */
static bool want(struct hvrepl_tracker *tracker, uint32_t region,
		 uint32_t count)
{
	bool any = false;

	for (uint32_t i = region; i < region + count; i++) {
		if ((atomic_load(&tracker->region[i]) & HVRI_REGION_STATE) !=
		    HVRI_REGION_COLD)
			continue;
		any = true;
		hvri_image_set(tracker, i, true);
	}
	return any;
}

/* With the file taken: what the image holds becomes durable, and hot. A bit
 * that somebody wants meanwhile is not in it: it waits for the next round. */
static int32_t mark_round(struct hvrepl_tracker *tracker)
{
	uint64_t marked = 0, sweep_at;
	int32_t rc = hvri_sectors_write(tracker);

	if (rc == HVREPL_OK)
		rc = hvri_file_flush(tracker);
	if (rc < 0)
		return rc;
	hvri_lock(&tracker->mutex);
	for (uint32_t s = 0; s < tracker->header.sectors; s++) {
		uint32_t from = s * HVRI_HVT_SECTOR_REGIONS;
		uint32_t to = HVRI_MIN(from + HVRI_HVT_SECTOR_REGIONS,
				       tracker->regions);

		if (tracker->sector_dirty[s] == 0)
			continue;
		tracker->sector_dirty[s] = 0;
		for (uint32_t i = from; i < to; i++) {
			if ((!hvri_image_get(tracker, i) &&
			     !HVRI_PLANT(mark_for_all)) ||
			    (atomic_load(&tracker->region[i]) &
			     HVRI_REGION_STATE) != HVRI_REGION_COLD)
				continue;
			hvri_region_heat(tracker, i);
			marked++;
		}
	}
	sweep_at = hvri_cool_deadline(tracker);
	hvri_unlock(&tracker->mutex);
	hvri_timer_set(tracker->group, sweep_at);
	(void)atomic_fetch_add_explicit(&tracker->marks, marked,
					memory_order_relaxed);
	return HVREPL_OK;
}

/* Allocation belongs here, not into the write path: the pages that this write
 * sets bits in. Without memory the set widens (T10). */
static void prepare(struct hvrepl_tracker *tracker,
		    const struct hvri_wait *wait)
{
	uint64_t word = atomic_load(&tracker->group->word);

	if (hvri_bitmap_reserve(
		    atomic_load(&tracker->map[hvri_generation(word) & 1]),
		    &tracker->group->pages, wait->first, wait->count) < 0)
		hvri_log(&tracker->group->env, HVREPL_LOG_WARNING,
			 "no memory for the change map: it gets coarser");
}

void hvri_marks_serve(struct hvrepl_tracker *tracker)
{
	bool any = false;
	int32_t rc;

	if (atomic_load(&tracker->waiting_count) == 0 ||
	    !hvri_file_take(tracker, false))
		return;
	hvri_lock(&tracker->mutex);
	for (struct hvrepl_ticket *ticket = tracker->waiting; ticket != NULL;
	     ticket = hvri_wait_of(ticket)->next) {
		struct hvri_wait *wait = hvri_wait_of(ticket);

		if (wait->reason == HVRI_WAIT_MARK) {
			any |= want(tracker, wait->region, wait->region_count);
			prepare(tracker, wait);
		}
	}
	hvri_unlock(&tracker->mutex);
	rc = any ? mark_round(tracker) : HVREPL_OK;
	hvri_file_give(tracker);
	if (rc < 0) {
		hvri_log(&tracker->group->env, HVREPL_LOG_ERROR,
			 "tracker file %s cannot be written: %s",
			 tracker->object_id, hvrepl_strerror(rc));
		hvri_trust_lose(tracker, UINT64_MAX, rc);
	}
	if (any)
		hvri_group_refill(tracker->group);
}

int32_t hvri_marks_make(struct hvrepl_tracker *tracker, uint32_t region,
			uint32_t count)
{
	int32_t rc = HVREPL_OK;
	bool any;

	(void)hvri_file_take(tracker, true);
	hvri_lock(&tracker->mutex);
	/* A region that cools is taken back, as a writer does. */
	for (uint32_t i = region; i < region + count; i++)
		(void)hvri_region_change(&tracker->region[i],
					 HVRI_REGION_COOLING, HVRI_REGION_HOT);
	any = want(tracker, region, count);
	hvri_unlock(&tracker->mutex);
	if (any)
		rc = mark_round(tracker);
	hvri_file_give(tracker);
	if (any)
		hvri_group_refill(tracker->group);
	return rc;
}

int32_t hvri_tracker_mark(hvrepl_tracker *tracker, uint64_t offset,
			  uint64_t length)
{
	uint64_t first, last;
	uint32_t region;

	first = offset >> tracker->block_shift;
	last = (offset + length - 1) >> tracker->block_shift;
	/* Bits first: then a region that is erased meanwhile is marked again
	 * below, and one that is not erased yet stays hot for the bits. */
	hvri_tracker_set_bits(tracker, first, last - first + 1);
	region = (uint32_t)(offset >> tracker->region_shift);
	last = (offset + length - 1) >> tracker->region_shift;
	/* Whoever changed it may not have flushed. */
	for (uint32_t i = region; i <= (uint32_t)last; i++)
		(void)atomic_fetch_or(&tracker->region[i], HVRI_REGION_WRITTEN);
	return hvri_marks_make(tracker, region, (uint32_t)last - region + 1);
}

static void trust_answer(struct hvrepl_op *op, int32_t result)
{
	struct hvrepl_tracker *tracker =
		(struct hvrepl_tracker *)((char *)op -
					  offsetof(struct hvrepl_tracker,
						   trust_op));

	atomic_store(&tracker->trust_result, result);
	atomic_store(&tracker->trust_state, HVRI_TRUST_ANSWERED);
	hvri_tracker_kick(tracker);
}

static void trust_ask(struct hvrepl_tracker *tracker, uint32_t trusted)
{
	int32_t rc;

	tracker->trust_asked = trusted;
	if (HVRI_PLANT(untrusted_not_said)) {
		trust_answer(&tracker->trust_op, HVREPL_OK);
		return;
	}
	tracker->trust_op.complete = trust_answer;
	rc = tracker->trust(tracker->trust_user, &tracker->trust_op, trusted);
	if (rc != HVREPL_PENDING)
		trust_answer(&tracker->trust_op,
			     rc > 0 ? HVREPL_E_CALLBACK : rc);
}

void hvri_trust_lose(struct hvrepl_tracker *tracker, uint64_t due,
		     int32_t reason)
{
	uint32_t idle = HVRI_TRUST_IDLE;

	if (atomic_load(&tracker->untrusted))
		return;
	if ((tracker->flags & HVREPL_TRACKER_STRICT) != 0 ||
	    tracker->trust == NULL) {
		hvri_waiters_fail(tracker, HVRI_WAIT_MARK, due, reason);
		return;
	}
	if (atomic_compare_exchange_strong(&tracker->trust_state, &idle,
					   HVRI_TRUST_ASKING))
		trust_ask(tracker, 0);
}

static void trust_lost(struct hvrepl_tracker *tracker, int32_t rc)
{
	uint64_t now = hvri_now(&tracker->group->env);

	if (rc < 0) {
		atomic_store(&tracker->trust_state, HVRI_TRUST_IDLE);
		hvri_waiters_fail(tracker, HVRI_WAIT_MARK, UINT64_MAX, rc);
		return;
	}
	hvri_log(&tracker->group->env, HVREPL_LOG_ERROR,
		 "tracker file %s cannot be written in time: after a crash the "
		 "whole disk will be compared",
		 tracker->object_id);
	atomic_store(&tracker->retry_at, now + RETRY_NS);
	atomic_store(&tracker->untrusted, true);
	hvri_timer_set(tracker->group, now + RETRY_NS);
	/* No mark matters now: all go on as if hot. */
	hvri_lock(&tracker->mutex);
	for (uint32_t i = 0; i < tracker->regions; i++)
		hvri_region_heat(tracker, i);
	hvri_unlock(&tracker->mutex);
	atomic_store(&tracker->trust_state, HVRI_TRUST_IDLE);
}

/* Write the whole coarse map, all hot, as memory has it. */
static void trust_retry(struct hvrepl_tracker *tracker)
{
	uint32_t idle = HVRI_TRUST_IDLE;
	uint64_t retry_at = hvri_now(&tracker->group->env) + RETRY_NS;
	int32_t rc;

	atomic_store(&tracker->retry_at, retry_at);
	hvri_timer_set(tracker->group, retry_at);
	if (!hvri_file_take(tracker, false))
		return;
	hvri_lock(&tracker->mutex);
	for (uint32_t i = 0; i < tracker->regions; i++)
		hvri_image_set(tracker, i, true);
	hvri_unlock(&tracker->mutex);
	rc = mark_round(tracker);
	hvri_file_give(tracker);
	if (rc == HVREPL_OK &&
	    atomic_compare_exchange_strong(&tracker->trust_state, &idle,
					   HVRI_TRUST_ASKING))
		trust_ask(tracker, 1);
}

void hvri_trust_serve(struct hvrepl_tracker *tracker)
{
	if (atomic_load(&tracker->trust_state) == HVRI_TRUST_IDLE &&
	    atomic_load(&tracker->untrusted) &&
	    hvri_now(&tracker->group->env) >= tracker->retry_at)
		trust_retry(tracker);
	hvri_trust_take(tracker);
}

void hvri_trust_take(struct hvrepl_tracker *tracker)
{
	uint32_t answered = HVRI_TRUST_ANSWERED;

	/* One thread takes the answer; a new question waits until IDLE. */
	if (!atomic_compare_exchange_strong(&tracker->trust_state, &answered,
					    HVRI_TRUST_ASKING))
		return;
	if (tracker->trust_asked == 0) {
		trust_lost(tracker, atomic_load(&tracker->trust_result));
		return;
	}
	if (atomic_load(&tracker->trust_result) == HVREPL_OK) {
		hvri_log(&tracker->group->env, HVREPL_LOG_NOTICE,
			 "tracker file %s is written again",
			 tracker->object_id);
		atomic_store(&tracker->untrusted, false);
	}
	atomic_store(&tracker->trust_state, HVRI_TRUST_IDLE);
}
