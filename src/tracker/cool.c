/* SPDX-License-Identifier: Apache-2.0 */
/* Cooling: a region that needs no compare after a crash loses its mark (T7). */
#include "tracker/internal.h"

#include "base/plant.h"

#include <string.h>

/* Regions looked at under one hold of the lock. */
#define PIECE 4096u
#define AGAIN_NS UINT64_C(10000000)

/* tracker->mutex held: any change of the region that is not acknowledged? */
static bool unacknowledged(const struct hvrepl_tracker *tracker,
			   uint32_t region)
{
	uint32_t shift = tracker->region_shift - tracker->block_shift;
	uint64_t first = (uint64_t)region << shift;
	uint64_t count = HVRI_MIN(UINT64_C(1) << shift,
				  tracker->blocks - first);

	if (HVRI_PLANT(cool_with_bits))
		return false;
	for (int i = 0; i < 2; i++)
		if (hvri_bitmap_any(atomic_load(&tracker->map[i]), first,
				    count))
			return true;
	for (const struct hvri_member *part = tracker->parts; part != NULL;
	     part = part->newer)
		if (hvri_bitmap_any(part->map, first, count))
			return true;
	return false;
}

/* (a), (b) and (c) of T7. */
static bool may_cool(const struct hvrepl_tracker *tracker, uint32_t region)
{
	return (atomic_load(&tracker->region[region]) &
		HVRI_REGION_WRITTEN) == 0 &&
	       (!tracker->ack_unsaved || HVRI_PLANT(cool_before_record)) &&
	       !unacknowledged(tracker, region);
}

/* Regions that were not written since the last sweep and have nothing to
 * acknowledge. *flush_out: one was written since the last flush. */
static uint32_t choose(struct hvrepl_tracker *tracker, bool *flush_out)
{
	uint32_t chosen = 0, region = 0;

	*flush_out = false;
	while (region < tracker->regions) {
		uint32_t end = HVRI_MIN(region + PIECE, tracker->regions);

		hvri_lock(&tracker->mutex);
		for (; region < end; region++) {
			_Atomic uint8_t *byte = &tracker->region[region];
			uint8_t was = atomic_load(byte);

			if ((was & HVRI_REGION_STATE) != HVRI_REGION_HOT)
				continue;
			if ((was & HVRI_REGION_RECENT) != 0) {
				(void)atomic_fetch_and(
					byte, (uint8_t)~HVRI_REGION_RECENT);
				continue;
			}
			if (unacknowledged(tracker, region))
				continue;
			/* Cleared before the flush begins: a write that ends
			 * from here on counts as not flushed. */
			if ((was & HVRI_REGION_WRITTEN) != 0)
				*flush_out = true;
			(void)atomic_fetch_or(byte, HVRI_REGION_CANDIDATE);
			(void)atomic_fetch_and(byte,
					       (uint8_t)~HVRI_REGION_WRITTEN);
			chosen++;
		}
		hvri_unlock(&tracker->mutex);
	}
	return chosen;
}

static void drop_candidates(struct hvrepl_tracker *tracker, bool unflushed)
{
	for (uint32_t i = 0; i < tracker->regions; i++) {
		_Atomic uint8_t *byte = &tracker->region[i];

		if ((atomic_load(byte) & HVRI_REGION_CANDIDATE) == 0)
			continue;
		if (unflushed)
			(void)atomic_fetch_or(byte, HVRI_REGION_WRITTEN);
		(void)atomic_fetch_and(byte, (uint8_t)~HVRI_REGION_CANDIDATE);
	}
}

static void sweep_end(struct hvrepl_tracker *tracker)
{
	uint64_t at =
		hvri_now(&tracker->group->env) + tracker->group->cool_after;

	hvri_lock(&tracker->mutex);
	tracker->sweeping = false;
	tracker->sweep_at = at;
	hvri_unlock(&tracker->mutex);
	if (atomic_load(&tracker->hot) > 0)
		hvri_timer_set(tracker->group, at);
}

/* HOT -> COOLING for candidates that still qualify; then the parity moves, so
 * that the old one's counters reach zero when every writer that pinned a
 * region before has ended. */
static bool start_grace(struct hvrepl_tracker *tracker)
{
	uint32_t cooling = 0;

	hvri_lock(&tracker->mutex);
	for (uint32_t i = 0; i < tracker->regions; i++) {
		_Atomic uint8_t *byte = &tracker->region[i];

		if ((atomic_load(byte) & HVRI_REGION_CANDIDATE) == 0)
			continue;
		/* A candidate is hot: nothing but this cools it. */
		if (may_cool(tracker, i)) {
			(void)hvri_region_change(byte, HVRI_REGION_HOT,
						 HVRI_REGION_COOLING);
			cooling++;
			if (HVRI_PLANT(image_loses_early))
				hvri_image_set(tracker, i, false);
		} else {
			(void)atomic_fetch_and(
				byte, (uint8_t)~HVRI_REGION_CANDIDATE);
		}
	}
	if (cooling > 0) {
		tracker->grace = true;
		(void)atomic_fetch_xor(&tracker->mode, HVRI_MODE_PARITY);
	}
	hvri_unlock(&tracker->mutex);
	return cooling > 0;
}

static bool grace_over(const struct hvrepl_tracker *tracker)
{
	uint32_t old = (~atomic_load(&tracker->mode) & HVRI_MODE_PARITY) << 1;

	return hvri_counters_zero(tracker, old, false) &&
	       hvri_counters_zero(tracker, old | 1, false);
}

/* The conditions are looked at again; then COOLING -> ERASING, and only now
 * the image loses the bits. */
static uint32_t start_erase(struct hvrepl_tracker *tracker)
{
	uint32_t erasing = 0;

	hvri_lock(&tracker->mutex);
	for (uint32_t i = 0; i < tracker->regions; i++) {
		_Atomic uint8_t *byte = &tracker->region[i];

		if ((atomic_load(byte) & HVRI_REGION_CANDIDATE) == 0)
			continue;
		(void)atomic_fetch_and(byte, (uint8_t)~HVRI_REGION_CANDIDATE);
		if (HVRI_PLANT(erase_without_look))
			(void)hvri_region_change(byte, HVRI_REGION_HOT,
						 HVRI_REGION_COOLING);
		if (!may_cool(tracker, i) &&
		    !HVRI_PLANT(cool_without_recheck)) {
			(void)hvri_region_change(byte, HVRI_REGION_COOLING,
						 HVRI_REGION_HOT);
		} else if (hvri_region_change(byte, HVRI_REGION_COOLING,
					      HVRI_REGION_ERASING)) {
			hvri_image_set(tracker, i, false);
			erasing++;
		}
	}
	tracker->grace = false;
	hvri_unlock(&tracker->mutex);
	return erasing;
}

static void end_erase(struct hvrepl_tracker *tracker, bool written)
{
	uint32_t cold = 0;

	hvri_lock(&tracker->mutex);
	for (uint32_t i = 0; i < tracker->regions; i++)
		if (hvri_region_change(&tracker->region[i],
				       HVRI_REGION_ERASING, HVRI_REGION_COLD))
			cold++;
	/* A sector that could not be written is written with the next mark. */
	if (written)
		memset(tracker->sector_dirty, 0, tracker->header.sectors);
	hvri_unlock(&tracker->mutex);
	(void)atomic_fetch_sub(&tracker->hot, cold);
	(void)atomic_fetch_sub(&tracker->group->hot, cold);
	(void)atomic_fetch_add(&tracker->cooled, cold);
}

static void erase(struct hvrepl_tracker *tracker)
{
	bool ready;

	if (!hvri_file_take(tracker, false))
		return;
	hvri_lock(&tracker->mutex);
	ready = tracker->grace && (grace_over(tracker) ||
				   HVRI_PLANT(cool_without_grace));
	hvri_unlock(&tracker->mutex);
	if (!ready) {
		uint64_t at = hvri_now(&tracker->group->env) + AGAIN_NS;

		hvri_lock(&tracker->mutex);
		tracker->sweep_at = at;
		hvri_unlock(&tracker->mutex);
		hvri_timer_set(tracker->group, at);
		hvri_file_give(tracker);
		return;
	}
	HVRI_YIELD();
	if (start_erase(tracker) > 0)
		/* Needs no flush: a mark too many costs a compare. */
		end_erase(tracker, hvri_sectors_write(tracker) == HVREPL_OK);
	hvri_file_give(tracker);
	sweep_end(tracker);
	hvri_marks_serve(tracker);
	hvri_waiters_serve(tracker);
}

static bool begin_sweep(struct hvrepl_tracker *tracker)
{
	bool begun;

	hvri_lock(&tracker->mutex);
	/* Until its grace is over and the file has it. */
	begun = !tracker->sweeping && atomic_load(&tracker->hot) > 0 &&
		!atomic_load(&tracker->untrusted) &&
		hvri_now(&tracker->group->env) >= tracker->sweep_at;
	if (begun)
		tracker->sweeping = true;
	hvri_unlock(&tracker->mutex);
	return begun;
}

void hvri_cool_serve(struct hvrepl_tracker *tracker)
{
	bool grace, flush, ack;
	int32_t rc = HVREPL_OK;

	if (begin_sweep(tracker)) {
		if (choose(tracker, &flush) == 0) {
			sweep_end(tracker);
			return;
		}
		HVRI_YIELD();
		if (flush && !HVRI_PLANT(cool_without_flush))
			rc = hvri_tracker_flush(tracker);
		HVRI_YIELD();
		if (HVRI_PLANT(flush_covers_later))
			for (uint32_t i = 0; i < tracker->regions; i++)
				(void)atomic_fetch_and(
					&tracker->region[i],
					(uint8_t)~HVRI_REGION_WRITTEN);
		if (rc < 0) {
			drop_candidates(tracker, true);
			sweep_end(tracker);
			return;
		}
		hvri_lock(&tracker->mutex);
		ack = tracker->ack_unsaved;
		hvri_unlock(&tracker->mutex);
		HVRI_YIELD();
		if (ack && !HVRI_PLANT(cool_before_record))
			rc = hvri_record_save(tracker, NULL, false);
		if (rc < 0 || !start_grace(tracker)) {
			drop_candidates(tracker, false);
			sweep_end(tracker);
			return;
		}
	}
	hvri_lock(&tracker->mutex);
	grace = tracker->grace;
	hvri_unlock(&tracker->mutex);
	HVRI_YIELD();
	if (grace)
		erase(tracker);
}

uint64_t hvri_cool_deadline(const struct hvrepl_tracker *tracker)
{
	/* tracker->mutex held by the caller. */
	if (tracker->grace)
		return tracker->sweep_at;
	if (tracker->sweeping || atomic_load(&tracker->hot) == 0 ||
	    atomic_load(&tracker->untrusted))
		return UINT64_MAX;
	return tracker->sweep_at;
}

/* Has another program attached the file since? */
static int32_t still_ours(struct hvrepl_tracker *tracker)
{
	uint8_t slot[2][HVRI_HVT_HEADER_SIZE];
	struct hvri_hvt_header found;
	bool damaged;

	for (int i = 0; i < 2; i++)
		HVRI_TRY(hvri_object_read(&tracker->file,
					  (uint64_t)i * HVRI_HVT_SLOT_STRIDE,
					  slot[i], sizeof(slot[i])));
	if (hvri_hvt_newest(slot[0], slot[1], &tracker->header.disk, &found,
			    &damaged) == HVREPL_OK &&
	    hvri_uuid_equal(&found.disk, &tracker->header.disk) &&
	    found.incarnation > tracker->header.incarnation)
		return HVREPL_E_BUSY;
	return HVREPL_OK;
}

int32_t hvri_record_save(struct hvrepl_tracker *tracker,
			 const struct hvrepl_tracker_stamp *stamp, bool wait)
{
	struct hvri_disk disk = tracker->disk;
	struct hvri_hvt_header *header = &tracker->header;
	struct hvri_hvt_header before;
	bool ack_before;
	int32_t rc = hvri_disk_refresh(&disk);

	if (rc < 0)
		return rc;
	if (!hvri_file_take(tracker, wait))
		return HVREPL_E_BUSY;
	rc = still_ours(tracker);
	if (rc == HVREPL_E_BUSY) {
		hvri_file_give(tracker);
		hvri_log(&tracker->group->env, HVREPL_LOG_ERROR,
			 "tracker file %s was attached again since, by "
			 "another program or by this one: writes are refused "
			 "here",
			 tracker->object_id);
		(void)hvri_tracker_fence(tracker);
		return rc;
	}
	if (rc < 0) {
		hvri_file_give(tracker);
		return rc;
	}
	hvri_lock(&tracker->mutex);
	before = *header;
	ack_before = tracker->ack_unsaved;
	header->token_length = disk.info.token_length;
	memset(header->token, 0, sizeof(header->token));
	memcpy(header->token, disk.info.token, disk.info.token_length);
	header->saved_utc_ns = hvri_utc(&tracker->group->env);
	if (stamp != NULL) {
		header->epoch = stamp->epoch;
		header->generation = stamp->generation;
		header->record = stamp->record_id;
	}
	tracker->ack_unsaved = false;
	hvri_unlock(&tracker->mutex);
	rc = hvri_header_write(tracker);
	if (rc < 0) {
		hvri_lock(&tracker->mutex);
		header->epoch = before.epoch;
		header->generation = before.generation;
		header->record = before.record;
		tracker->ack_unsaved |= ack_before;
		hvri_unlock(&tracker->mutex);
	}
	hvri_file_give(tracker);
	return rc;
}
