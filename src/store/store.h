/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store as the rooms above use it; <hvrepl/store.h> has the public part,
 * whose functions exist here as hvri_* with the same arguments.
 *
 * Receiving, for each cut:
 *   segment_begin(disk 0..n-1)   says from which chunk on (T6, resume)
 *   segment_append(disk, chunk)  stored digest checked, appended as received
 *   flush()                      what came so far survives a crash
 *   segment_end(disk)            count and root agree
 *   point_commit()               durable; only now acknowledge (S4)
 * While no point exists (L2) the same calls write straight into the base:
 * window_commit() ends a cut whose frontier is not closed yet, point_commit()
 * the one that closes it and makes the first point.
 */
#ifndef HVRI_STORE_STORE_H
#define HVRI_STORE_STORE_H

#include "base/io.h"
#include "format/segment.h"

#include <hvrepl/store.h>

/* Flag of the options: the bases were not let go of since this process had the
 * store open last, nothing can have changed them. */
#define HVRI_STORE_SAME_BASES (1u << 31)

/* Public twins; see <hvrepl/store.h>. `options` is complete here. */
HVRI_MUST_CHECK int32_t hvri_store_open(
	const struct hvrepl_env *env, const struct hvrepl_storage *storage,
	const struct hvrepl_store_disk *disks, uint32_t disk_count,
	const struct hvrepl_store_options *options, hvrepl_store **store_out,
	struct hvrepl_error *error);
HVRI_MUST_CHECK int32_t hvri_store_destroy(hvrepl_store *store);
HVRI_MUST_CHECK int32_t hvri_store_remove(const struct hvrepl_env *env,
					  const struct hvrepl_storage *storage,
					  struct hvrepl_error *error);
void hvri_store_info(hvrepl_store *store, struct hvrepl_store_info *info_out);
/* i-th oldest point; NOT_FOUND past the end. One that is just being dropped, or
 * whose drop failed halfway, is not among them. */
HVRI_MUST_CHECK int32_t hvri_store_point_at(hvrepl_store *store, uint32_t i,
					    struct hvrepl_point *point_out);
/* By identity; cut may be none: then any. */
HVRI_MUST_CHECK int32_t hvri_store_point_find(hvrepl_store *store,
					      const struct hvrepl_uuid *epoch,
					      uint64_t number,
					      const struct hvrepl_uuid *cut,
					      struct hvrepl_point *point_out);
HVRI_MUST_CHECK int32_t hvri_store_pin(hvrepl_store *store, uint64_t point,
				       uint32_t pins);
HVRI_MUST_CHECK int32_t hvri_store_unpin(hvrepl_store *store, uint64_t point,
					 uint32_t pins);
HVRI_MUST_CHECK int32_t hvri_store_drop(hvrepl_store *store, uint64_t point,
					struct hvrepl_error *error);
/* From now on no point is dropped, until they are let go: for a failover to `point`
 * (its key), from its decision until its overlay stands. NOT_FOUND: that point is not
 * there, or is just being dropped, and nothing has changed. Not durable. Any thread,
 * and neither waits for I/O. */
HVRI_MUST_CHECK int32_t hvri_store_keep(hvrepl_store *store, uint64_t point);
void hvri_store_let_go(hvrepl_store *store);
HVRI_MUST_CHECK int32_t hvri_store_config(hvrepl_store *store, uint64_t point,
					  void *buffer,
					  uint32_t *length_inout);
HVRI_MUST_CHECK int32_t hvri_store_maintain(hvrepl_store *store,
					    uint32_t *more_out,
					    struct hvrepl_error *error);

struct hvri_store_limits {
	uint64_t capacity, reserve; /* As in the options; capacity 0: none. */
	uint32_t points_min;
};
/* Change the limits of an open store. NO_SPACE, with the numbers: less than what
 * pinned points, the newest and the reserve need (S6); nothing is changed then,
 * unless `always`: a store must open for a failover whatever its limit, and
 * receives nothing until there is room. Any thread. */
HVRI_MUST_CHECK int32_t
hvri_store_set_limits(hvrepl_store *store,
		      const struct hvri_store_limits *limits, bool always,
		      struct hvrepl_error *error);
/* NO_SPACE, and the reason: the limit or the volume. */
int32_t hvri_store_why_full(hvrepl_store *store, struct hvrepl_error *error);

/* The owner's own bytes, kept beside the points in the same log: ownership
 * (O1). Replaced whole, durable on return, never looked into. */
HVRI_MUST_CHECK int32_t hvri_store_set_blob(hvrepl_store *store,
					    const void *blob, uint32_t length);
/* *length_inout: room, then length; LIMIT when the room is too small. */
HVRI_MUST_CHECK int32_t hvri_store_blob(hvrepl_store *store, void *buffer,
					uint32_t *length_inout);

/* What is held of a segment that is not part of a point yet. */
struct hvri_store_partial {
	struct hvri_segment_identity identity;
	uint64_t frontier; /* INITIAL only: durable frontier, bytes. */
	uint32_t received; /* Chunks held: the next sequence expected. */
	uint32_t durable;  /* Of those, how many survive a crash. */
	uint32_t complete; /* 1: segment_end() was done. */
};
/* NOT_FOUND when the disk has none. */
HVRI_MUST_CHECK int32_t hvri_store_partial(hvrepl_store *store, uint32_t disk,
					   struct hvri_store_partial *out);

/* Start or go on with a segment. A partial one of another cut is dropped, on
 * all disks (T6). *next_out: the sequence to send first. WRONG_DISK: other VM,
 * disk or size. STATE: does not follow the newest point, or the store does not
 * receive now. NO_SPACE: refused at the high-water mark. */
HVRI_MUST_CHECK int32_t hvri_store_segment_begin(
	hvrepl_store *store, uint32_t disk,
	const uint8_t header[HVRI_SEGMENT_HEADER_SIZE], uint32_t *next_out,
	struct hvrepl_error *error);
/* One encoded chunk, as received. One held already is fine and does nothing;
 * a gap is PROTOCOL. */
HVRI_MUST_CHECK int32_t hvri_store_segment_append(hvrepl_store *store,
						  uint32_t disk,
						  const void *chunk,
						  size_t length);
/* Everything appended so far, of all disks, is durable. */
HVRI_MUST_CHECK int32_t hvri_store_flush(hvrepl_store *store);
/* CORRUPT when count or root differ: the segment is dropped. */
HVRI_MUST_CHECK int32_t hvri_store_segment_end(hvrepl_store *store,
					       uint32_t disk,
					       uint32_t chunk_count,
					       const uint8_t root[32]);
/* Forget all partial segments. */
HVRI_MUST_CHECK int32_t hvri_store_segments_drop(hvrepl_store *store);

struct hvri_store_point_commit {
	uint64_t number;
	struct hvrepl_uuid epoch;
	struct hvrepl_uuid cut;
	uint64_t utc_ns;
	uint32_t pins;
	const void *config; /* NULL: that of the point before. */
	uint32_t config_length;
	uint64_t config_version;
};
/* All disks' segments are complete and of this cut (a disk without changes
 * still has an empty one): make the point durable. The caller acknowledges
 * after OK only. *point_out (optional): its key. */
HVRI_MUST_CHECK int32_t
hvri_store_point_commit(hvrepl_store *store,
			const struct hvri_store_point_commit *commit,
			uint64_t *point_out, struct hvrepl_error *error);
/* INITIAL only: the segments of this cut are complete; `frontiers`, one a
 * disk, is how far the base now holds content. Durable on return. */
HVRI_MUST_CHECK int32_t
hvri_store_window_commit(hvrepl_store *store, const struct hvrepl_uuid *cut,
			 const uint64_t *frontiers,
			 struct hvrepl_error *error);

/* The base, as it is, becomes the only point of the store: the old primary
 * begins to receive (join), or a replica was seeded by other means. From
 * EMPTY, INITIAL or BASE_ONLY; and from a REPLICA that is nothing but its base, as
 * one point, which goes: an adoption that nobody has on record, over which the
 * guest may have written since. With HVREPL_PIN_TAIL it stays readable while
 * later points are merged, until it is unpinned. */
HVRI_MUST_CHECK int32_t
hvri_store_adopt(hvrepl_store *store,
		 const struct hvri_store_point_commit *commit,
		 uint64_t *point_out, struct hvrepl_error *error);
/* What was adopted may not be what its point says (T9): that is in doubt from here on,
 * durably on return; once more: nothing. STATE: there is no point. */
HVRI_MUST_CHECK int32_t hvri_store_doubt_newest(hvrepl_store *store);
/* The other way at once, without a failover: no points, base is the disk. From
 * EMPTY or BASE_ONLY (an old primary's own store). */
HVRI_MUST_CHECK int32_t hvri_store_base_only(hvrepl_store *store,
					     struct hvrepl_error *error);

/* Merge by hand; hvri_store_maintain() does it by policy. Target 0: the newest
 * point. One bounded piece per advance (S4). */
HVRI_MUST_CHECK int32_t hvri_store_merge_begin(hvrepl_store *store,
					       uint64_t target,
					       struct hvrepl_error *error);
HVRI_MUST_CHECK int32_t hvri_store_merge_advance(hvrepl_store *store,
						 uint32_t *more_out,
						 struct hvrepl_error *error);
/* One bounded piece of joining and moving logs (S6). */
HVRI_MUST_CHECK int32_t hvri_store_compact(hvrepl_store *store,
					   uint32_t *more_out);

HVRI_MUST_CHECK int32_t hvri_view_open(hvrepl_store *store, uint64_t point,
				       uint32_t kind, hvrepl_view **view_out,
				       struct hvrepl_error *error);
HVRI_MUST_CHECK int32_t hvri_view_close(hvrepl_view *view);
/* Views that are open, but the failover's: a commit waits for them. Any thread. */
uint32_t hvri_store_open_points(const hvrepl_store *store);
/* Everything fails until it is opened again. Any thread. */
bool hvri_store_poisoned(const hvrepl_store *store);
/* A flush of the failover's overlay failed: its guest writes no more before the store
 * was opened again. Any thread. */
bool hvri_store_overlay_failed(hvrepl_store *store);
/* A flush of this disk's base failed in the last switch of a commit, and took what the
 * guest wrote there. Once for each; never, where the guest's flush has told it already,
 * whose caller knows then. The guest's next flush fails all the same. Any thread. */
bool hvri_store_take_base_lost(hvrepl_store *store, uint32_t disk);
uint64_t hvri_view_point(const hvrepl_view *view);
HVRI_MUST_CHECK int32_t hvri_view_disk(hvrepl_view *view, uint32_t index,
				       struct hvrepl_disk *disk_out);
/* S7: next range at or after `offset` that may differ between the view and the
 * newest point at the peer: written in the overlay, or changed by a point the
 * failover skipped. Length 0: none. Seeds the tracker's map. */
HVRI_MUST_CHECK int32_t hvri_view_next_changed(hvrepl_view *view,
					       uint32_t disk, uint64_t offset,
					       struct hvrepl_extent *out);

HVRI_MUST_CHECK int32_t hvri_store_commit_begin(hvrepl_store *store,
						struct hvrepl_error *error);
HVRI_MUST_CHECK int32_t hvri_store_commit_advance(hvrepl_store *store,
						  uint32_t *more_out,
						  struct hvrepl_error *error);
HVRI_MUST_CHECK int32_t hvri_store_cancel(hvrepl_store *store,
					  uint32_t *more_out,
					  struct hvrepl_error *error);
#endif
