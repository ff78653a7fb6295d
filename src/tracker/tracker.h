/* SPDX-License-Identifier: Apache-2.0 */
/* The functions behind the public tracker, cut and group; see the public
 * headers for what they promise. */
#ifndef HVRI_TRACKER_TRACKER_H
#define HVRI_TRACKER_TRACKER_H

#include "base/env.h"

#include <hvrepl/cut.h>
#include <hvrepl/tracker.h>

HVRI_MUST_CHECK int32_t
hvri_group_create(const struct hvri_env *env,
		  const struct hvrepl_group_options *options,
		  struct hvrepl_error *error, hvrepl_group **group_out);
int32_t hvri_group_destroy(hvrepl_group *group);
void hvri_group_process(hvrepl_group *group);
uint64_t hvri_group_deadline(hvrepl_group *group);
/*
 * Only what frees writes whose wait for a mark was due by `up_to` (T8),
 * without a call to disk or storage: for a thread that must not hang while
 * hvri_group_process() does. Returns when the next such write falls due;
 * UINT64_MAX: none waits.
 */
uint64_t hvri_group_hurry(hvrepl_group *group, uint64_t up_to);

HVRI_MUST_CHECK int32_t
hvri_tracker_attach(hvrepl_group *group, const struct hvrepl_disk *disk,
		    const struct hvrepl_storage *storage,
		    const struct hvrepl_tracker_options *options,
		    struct hvrepl_error *error, hvrepl_tracker **tracker_out);
HVRI_MUST_CHECK int32_t hvri_tracker_detach(hvrepl_tracker *tracker,
					    uint32_t flags);
int32_t hvri_tracker_write_begin(hvrepl_tracker *tracker, uint64_t offset,
				 uint64_t length, uint32_t kind,
				 struct hvrepl_ticket *ticket);
int32_t hvri_tracker_write_end(hvrepl_tracker *tracker,
			       struct hvrepl_ticket *ticket, int32_t result);
int32_t hvri_tracker_fence(hvrepl_tracker *tracker);
void hvri_tracker_unfence(hvrepl_tracker *tracker);
/* `length` at least 1, all of it on the disk. */
HVRI_MUST_CHECK int32_t hvri_tracker_mark(hvrepl_tracker *tracker,
					  uint64_t offset, uint64_t length);
/* As the info's dirty_bytes, without the sums over all shards. */
uint64_t hvri_tracker_dirty(hvrepl_tracker *tracker);
void hvri_tracker_info(hvrepl_tracker *tracker,
		       struct hvrepl_tracker_info *info_out);
HVRI_MUST_CHECK int32_t
hvri_tracker_label(hvrepl_tracker *tracker,
		   const struct hvrepl_cut_label *label);

HVRI_MUST_CHECK int32_t hvri_group_cut(hvrepl_group *group,
				       struct hvrepl_error *error,
				       hvrepl_cut **cut_out);
HVRI_MUST_CHECK int32_t
hvri_source_cut(hvrepl_group *group, const struct hvrepl_source_ops *ops,
		void *user, const struct hvrepl_source_disk *disks,
		uint32_t disk_count, const struct hvrepl_cut_label *label,
		const struct hvrepl_change_token *from,
		struct hvrepl_error *error, hvrepl_cut **cut_out);
void hvri_cut_info(hvrepl_cut *cut, struct hvrepl_cut_info *info_out);
HVRI_MUST_CHECK int32_t hvri_cut_disk(hvrepl_cut *cut, uint32_t index,
				      struct hvrepl_cut_disk *disk_out);
HVRI_MUST_CHECK int32_t hvri_cut_advance(hvrepl_cut *cut, uint64_t budget,
					 uint32_t *progress_out);
HVRI_MUST_CHECK int32_t
hvri_cut_next_extents(hvrepl_cut *cut, uint32_t disk, uint64_t from,
		      struct hvrepl_extent *extents_out, uint32_t *count_inout,
		      uint64_t *end_out);
HVRI_MUST_CHECK int32_t hvri_cut_read(hvrepl_cut *cut, uint32_t disk,
				      uint64_t offset, void *buffer,
				      size_t length);
int32_t hvri_cut_settle(hvrepl_cut *cut, uint32_t disk, int32_t result);
HVRI_MUST_CHECK int32_t hvri_cut_close(hvrepl_cut *cut, int32_t result);
HVRI_MUST_CHECK int32_t hvri_cut_void(hvrepl_cut *cut);
#endif
