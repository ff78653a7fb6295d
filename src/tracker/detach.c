/* SPDX-License-Identifier: Apache-2.0 */
/* Detaching: the exact map saved, the file closed; and what is known of it. */
#include "tracker/internal.h"

#include "base/plant.h"

#include <string.h>

/* One full block of the fine map. */
static int32_t fine_flush(struct hvrepl_tracker *tracker,
			  struct hvri_hvt_fine *fine)
{
	uint8_t bytes[HVRI_HVT_FINE_BLOCK];
	uint64_t index;

	hvri_hvt_fine_finish(fine, bytes, &index);
	return hvri_object_write(&tracker->file,
				 tracker->header.fine_offset +
					 index * HVRI_HVT_FINE_BLOCK,
				 bytes, sizeof(bytes));
}

/* The bits of the leaf that starts at `start`. */
static void leaf_words(const struct hvri_bitmap *map, uint64_t start,
		       uint64_t words[HVRI_HVT_FINE_BITS / 64])
{
	uint64_t at = start, end = start + HVRI_HVT_FINE_BITS, first, count;

	memset(words, 0, HVRI_HVT_FINE_BITS / 8);
	while (at < end && hvri_bitmap_next(map, at, end, UINT64_MAX, &first,
					    &count)) {
		for (uint64_t i = first - start; i < first + count - start; i++)
			words[i / 64] |= UINT64_C(1) << (i % 64);
		at = first + count;
	}
}

static int32_t fine_write(struct hvrepl_tracker *tracker,
			  const struct hvri_bitmap *map,
			  struct hvri_hvt_fine *fine, uint64_t *blocks_out)
{
	uint64_t at = 0, first, count, words[HVRI_HVT_FINE_BITS / 64];
	struct hvri_hvt_header closing = tracker->header;

	/* The one that hvri_header_write() makes next. */
	closing.sequence++;
	hvri_hvt_fine_begin(fine, &closing);
	while (hvri_bitmap_next(map, at, tracker->blocks, UINT64_MAX, &first,
				&count)) {
		uint64_t start = first - first % HVRI_HVT_FINE_BITS;
		uint64_t whole = count - count % HVRI_HVT_FINE_BITS;

		if (first == start && first + count == tracker->blocks)
			whole = count;
		if (!hvri_hvt_fine_room(fine))
			HVRI_TRY(fine_flush(tracker, fine));
		if (first == start && whole > 0) {
			hvri_hvt_fine_run(fine, first, whole);
			at = first + whole;
		} else {
			leaf_words(map, start, words);
			hvri_hvt_fine_bits(fine, start, words);
			at = start + HVRI_HVT_FINE_BITS;
		}
	}
	if (fine->entries > 0)
		HVRI_TRY(fine_flush(tracker, fine));
	*blocks_out = fine->index;
	return hvri_file_flush(tracker);
}

static int32_t fine_save(struct hvrepl_tracker *tracker)
{
	uint64_t word = atomic_load(&tracker->group->word), blocks = 0;
	struct hvri_hvt_fine *fine =
		hvri_alloc(&tracker->group->env, sizeof(*fine));
	int32_t rc;

	if (fine == NULL)
		return HVREPL_E_NOMEM;
	rc = fine_write(tracker,
			atomic_load(&tracker->map[hvri_generation(word) & 1]),
			fine, &blocks);
	hvri_free(&tracker->group->env, fine, sizeof(*fine));
	if (rc == HVREPL_OK)
		tracker->header.fine_blocks = blocks;
	return rc;
}

/* Marks that the file lacks: while "untrusted" all of them may be. And sectors
 * that could not be written to both copies, or copies of a closed file would
 * differ though nothing was lost. fine_save() flushes. */
static int32_t marks_again(struct hvrepl_tracker *tracker)
{
	for (uint32_t i = 0;
	     atomic_load(&tracker->untrusted) && i < tracker->regions; i++)
		hvri_image_set(tracker, i, true);
	return hvri_sectors_write(tracker);
}

static void say_trusted(struct hvrepl_tracker *tracker)
{
	struct hvri_op_wait wait;
	int32_t rc;

	if (!atomic_load(&tracker->untrusted))
		return;
	hvri_op_wait_init(&wait);
	rc = tracker->trust(tracker->trust_user, &wait.op, 1);
	rc = hvri_op_wait_end(&wait, rc);
	if (rc < 0)
		hvri_log(&tracker->group->env, HVREPL_LOG_WARNING,
			 "the record \"untrusted\" could not be taken back: the "
			 "next attach compares the whole disk");
}

/* Blocks may have been written, and no header counts them: the next ones must
 * have another sequence, in the same slot. */
static void give_up_fine(struct hvri_hvt_header *header)
{
	header->fine_blocks = 0;
	header->sequence += 2;
}

static int32_t close_clean(struct hvrepl_tracker *tracker)
{
	struct hvri_hvt_header *header = &tracker->header;
	int32_t rc;

	/* What was acknowledged must not go back after the close. */
	if (!HVRI_PLANT(closed_before_flush))
		HVRI_TRY(hvri_tracker_flush(tracker));
	HVRI_TRY(hvri_disk_refresh(&tracker->disk));
	HVRI_TRY(marks_again(tracker));
	rc = fine_save(tracker);
	if (rc < 0) {
		give_up_fine(header);
		return rc;
	}
	header->flags = HVRI_HVT_FINE;
	header->token_length = tracker->disk.info.token_length;
	memset(header->token, 0, sizeof(header->token));
	memcpy(header->token, tracker->disk.info.token, header->token_length);
	header->saved_utc_ns = hvri_utc(&tracker->group->env);
	rc = hvri_header_write(tracker);
	if (rc == HVREPL_OK) {
		say_trusted(tracker);
		return HVREPL_OK;
	}
	/* It may say "closed" now, and must not while writes go on: in both
	 * slots, as when it was opened. */
	header->flags = HVRI_HVT_OPEN;
	give_up_fine(header);
	if (hvri_header_write(tracker) < 0 || hvri_header_write(tracker) < 0) {
		(void)hvri_tracker_fence(tracker);
		return HVREPL_E_POISONED;
	}
	return rc;
}

static bool idle(struct hvrepl_tracker *tracker)
{
	for (uint32_t i = 0; i < HVRI_COUNTERS; i++)
		if (!hvri_counters_zero(tracker, i, false))
			return false;
	return atomic_load(&tracker->waiting_count) == 0 &&
	       atomic_load(&tracker->trust_state) == HVRI_TRUST_IDLE;
}

int32_t hvri_tracker_detach(hvrepl_tracker *tracker, uint32_t flags)
{
	struct hvrepl_group *group = tracker->group;
	int32_t rc = HVREPL_OK;

	/* The bits of a voided cut come back first. */
	hvri_cut_clean(group);
	if (!idle(tracker) || !hvri_tracker_part(tracker))
		return HVREPL_E_BUSY;
	/* The pump forgets it, and ends what it does with it. */
	hvri_tracker_forget(tracker);
	hvri_lock(&tracker->mutex);
	while (atomic_load(&tracker->users) > 0)
		hvri_wait(&tracker->cond, &tracker->mutex);
	hvri_unlock(&tracker->mutex);
	if ((flags & HVREPL_DETACH_CLEAN) != 0)
		rc = close_clean(tracker);
	if (rc < 0) {
		hvri_tracker_join(tracker);
		return rc;
	}
	hvri_tracker_stay_out(group);
	(void)atomic_fetch_sub(&group->hot, atomic_load(&tracker->hot));
	hvri_tracker_free(tracker);
	return HVREPL_OK;
}

static uint64_t dirty_bytes(hvrepl_tracker *tracker)
{
	uint64_t word = atomic_load(&tracker->group->word);
	uint64_t blocks = hvri_bitmap_count(
		atomic_load(&tracker->map[hvri_generation(word) & 1]), 0,
		tracker->blocks);

	return HVRI_MIN(blocks << tracker->block_shift, tracker->size);
}

uint64_t hvri_tracker_dirty(hvrepl_tracker *tracker)
{
	uint64_t bytes;

	hvri_lock(&tracker->mutex);
	bytes = dirty_bytes(tracker);
	hvri_unlock(&tracker->mutex);
	return bytes;
}

void hvri_tracker_info(hvrepl_tracker *tracker,
		       struct hvrepl_tracker_info *info_out)
{
	uint64_t flight = 0;

	for (uint32_t i = 0; i < HVRI_SHARDS; i++)
		for (uint32_t k = 0; k < HVRI_COUNTERS; k++)
			flight += atomic_load(
					  &tracker->shards[i].counter[k]) >>
				  32;
	hvri_lock(&tracker->mutex);
	*info_out = (struct hvrepl_tracker_info){
		.recovery = tracker->recovery,
		.reason = tracker->reason,
		.fenced = (atomic_load(&tracker->mode) &
			   HVRI_MODE_FENCED) != 0,
		.untrusted = atomic_load(&tracker->untrusted),
		.block_size = tracker->header.block_size,
		.region_size = tracker->header.region_size,
		.disk_size = tracker->size,
		.dirty_bytes = dirty_bytes(tracker),
		.compare_bytes = tracker->compare_bytes,
		.hot_regions = atomic_load(&tracker->hot),
		.writes_in_flight = flight,
		.writes_waiting = atomic_load(&tracker->waiting_count),
		.marks = atomic_load(&tracker->marks),
		.flushes = atomic_load(&tracker->flushes),
		.cooled = atomic_load(&tracker->cooled),
		.waits = atomic_load(&tracker->waits),
		.copies = atomic_load(&tracker->copies),
		.incarnation = tracker->header.incarnation,
		.owner = tracker->owner_before,
		.epoch = tracker->header.epoch,
		.generation = tracker->header.generation,
		.record_id = tracker->header.record,
		.acknowledged_epoch = tracker->header.ack_epoch,
		.acknowledged_point = tracker->header.ack_point,
		.acknowledged_cut = tracker->header.ack_cut,
	};
	hvri_unlock(&tracker->mutex);
}
