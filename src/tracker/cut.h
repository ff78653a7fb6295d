/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the driver uses of cuts and trackers beyond the public headers: the
 * spool. Chunks of a disk carry sequence 0, 1, 2...; they are in sequence and
 * may be shipped while the cut is still being read.
 */
#ifndef HVRI_TRACKER_CUT_H
#define HVRI_TRACKER_CUT_H

#include "base/io.h"
#include "format/segment.h"

#include <hvrepl/cut.h>

/* Identity, size, block size and time of a disk's part; lives as long as the
 * cut. NULL for an index out of range. */
const struct hvri_segment_header *hvri_cut_header(hvrepl_cut *cut,
						  uint32_t disk);

/* Encoded chunk `sequence`, borrowed until hvri_cut_release_through() reaches
 * it or the cut is closed. OK; PENDING: not read yet; NOT_FOUND: the part is
 * complete and has fewer; STATE: released before; VOIDED; STORAGE_IO, NOMEM or
 * CORRUPT from the spill. One thread at a time for one disk. */
HVRI_MUST_CHECK int32_t hvri_cut_chunk(hvrepl_cut *cut, uint32_t disk,
				       uint32_t sequence,
				       const uint8_t **bytes_out,
				       uint32_t *length_out);
/* The replica has chunks 0 to `sequence` durably: forget them (T4). */
void hvri_cut_release_through(hvrepl_cut *cut, uint32_t disk,
			      uint32_t sequence);
/* Chunks so far, and whether that is all of them. */
void hvri_cut_progress(hvrepl_cut *cut, uint32_t disk, uint32_t *chunks_out,
		       bool *complete_out);

/* Called (any thread, no locks held) when a chunk was added, the cut was
 * completed or voided: look again. One listener; NULL for none. A call under
 * way may still end after it was changed. */
void hvri_cut_listen(hvrepl_cut *cut, void (*changed)(void *user), void *user);

/*
 * Leave out of the cut what the replica has already. `same` is asked for each
 * granule of HVRI_DIGEST_GRANULE bytes (the disk's last one may be shorter)
 * that was read frozen as a whole; `bytes` NULL: it reads as zeroes. What it
 * says true to is not spooled, and is acknowledged with the cut all the same.
 * Any thread, several at once, no lock held. `release` when the cut is freed.
 * Set before the first advance; such a cut cannot be read directly.
 */
void hvri_cut_set_filter(hvrepl_cut *cut,
			 bool (*same)(void *user, uint32_t disk,
				      uint64_t offset, const void *bytes,
				      size_t length),
			 void (*release)(void *user), void *user);

/* The first range at or after `from`, before `end`, that may have changed since
 * the last acknowledged cut; false: none has. A write is seen here before it
 * can be read from the disk. Any thread. */
bool hvri_tracker_next_changed(hvrepl_tracker *tracker, uint64_t from,
			       uint64_t end, struct hvrepl_extent *extent_out);

/* A flush of the disk failed: what was written since the last good one may be
 * on it, or what was there before (a cache can go back). All of it counts as
 * changed, acknowledged or not, and a cut that is being read is given up. Any
 * thread, no lock held. */
void hvri_tracker_flush_failed(hvrepl_tracker *tracker, int32_t code);
/* Code of a flush that failed and that no guest was told of; once. */
int32_t hvri_tracker_flush_lost(hvrepl_tracker *tracker);
/* The disk's flush, and the note of one that fails, before any other one begins. Waits for
 * at most two of the guests'. No lock held. */
HVRI_MUST_CHECK int32_t hvri_tracker_flush(hvrepl_tracker *tracker);
/* A guest's, of what it writes to: its own error, or that of another one since. One serves
 * all that came before it began, and its error is told to all of them; so one waits for
 * at most two of the guests' and one of the tracker's. Any thread. */
HVRI_MUST_CHECK int32_t hvri_tracker_guest_flush(hvrepl_tracker *tracker,
						 const struct hvri_disk *disk);

/* T5: give up the newest spooled cut of the group that is not settled, with
 * everything after it; NOT_FOUND when there is none. */
int32_t hvri_group_fold_newest(hvrepl_group *group);
/* Bytes held in memory and spilled, of all cuts; cuts missed and voided. */
struct hvri_group_counts {
	uint64_t memory, spilled;
	uint64_t cuts, missed, voided, folded;
};
void hvri_group_count(hvrepl_group *group, struct hvri_group_counts *out);
#endif
