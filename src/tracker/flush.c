/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flushes of the disk, and those that failed. The error of a flush is told once, to
 * whoever asked, whatever it took. So they come one at a time (base/flush.h): none ends
 * well beside one that fails, nor begins before that one is noted.
 */
#include "tracker/internal.h"

int32_t hvri_tracker_flush_lost(hvrepl_tracker *tracker)
{
	return atomic_exchange(&tracker->flush_lost, HVREPL_OK);
}

void hvri_tracker_flush_failed(hvrepl_tracker *tracker, int32_t code)
{
	uint32_t shift = tracker->region_shift - tracker->block_shift;
	struct hvrepl_cut *cut = NULL;

	atomic_store(&tracker->flush_lost, code);
	for (uint32_t i = 0; i < tracker->regions; i++) {
		uint64_t first = (uint64_t)i << shift;

		if ((atomic_load(&tracker->region[i]) &
		     (HVRI_REGION_WRITTEN | HVRI_REGION_CANDIDATE)) == 0)
			continue;
		/* A sweep that has chosen it may flush well now, as an error is
		 * told once: the region does not cool by that. */
		atomic_fetch_or(&tracker->region[i], HVRI_REGION_WRITTEN);
		hvri_tracker_set_bits(tracker, first,
				      HVRI_MIN(UINT64_C(1) << shift,
					       tracker->blocks - first));
	}
	hvri_lock(&tracker->mutex);
	if (tracker->open != NULL) {
		cut = tracker->open->cut;
		hvri_cut_ref(cut);
	}
	hvri_unlock(&tracker->mutex);
	if (cut == NULL)
		return;
	hvri_cut_fail(cut, HVREPL_E_DISK_IO);
	hvri_cut_unref(cut);
}

static int32_t flush_disk(hvrepl_tracker *tracker, const struct hvri_disk *disk)
{
	int32_t rc = hvri_disk_flush(disk);

	if (rc < 0)
		hvri_tracker_flush_failed(tracker, rc);
	return rc;
}

static int32_t own_flush(void *user, const void *what)
{
	(void)what;
	return flush_disk(user, &((hvrepl_tracker *)user)->disk);
}

/* All guests' calls that it serves are told what is taken here. */
static int32_t guest_flush(void *user, const void *what)
{
	int32_t rc = flush_disk(user, what);
	int32_t lost = hvri_tracker_flush_lost(user);

	return rc < 0 ? rc : lost;
}

/* Apart from the guests': theirs may go by another way, and is told other errors. */
int32_t hvri_tracker_flush(hvrepl_tracker *tracker)
{
	return hvri_flushes_join(&tracker->flushing, own_flush, tracker, NULL);
}

int32_t hvri_tracker_guest_flush(hvrepl_tracker *tracker,
				 const struct hvri_disk *disk)
{
	return hvri_flushes_join(&tracker->flushing, guest_flush, tracker,
				 disk);
}
