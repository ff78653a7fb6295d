/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flushes of the disk, and those that failed. The error of a flush is told once, to
 * whoever asked, whatever it took. So the tracker's own come alone: no guest's ends
 * well, and none of the tracker's either, before a failed one is noted.
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

int32_t hvri_tracker_flush(hvrepl_tracker *tracker)
{
	int32_t rc;

	hvri_lock_alone(&tracker->flushing);
	rc = hvri_disk_flush(&tracker->disk);
	if (rc < 0)
		hvri_tracker_flush_failed(tracker, rc);
	hvri_rwlock_unlock(&tracker->flushing);
	return rc;
}

int32_t hvri_tracker_guest_flush(hvrepl_tracker *tracker,
				 const struct hvri_disk *disk)
{
	int32_t rc, lost;

	hvri_lock_shared(&tracker->flushing);
	rc = hvri_disk_flush(disk);
	if (rc < 0)
		hvri_tracker_flush_failed(tracker, rc);
	lost = hvri_tracker_flush_lost(tracker);
	hvri_rwlock_unlock(&tracker->flushing);
	return rc < 0 ? rc : lost;
}
