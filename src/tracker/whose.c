/* SPDX-License-Identifier: Apache-2.0 */
/* Whose tracker file it is: its header, as far as one can be read. */
#include "tracker/internal.h"

#include <string.h>

int32_t hvri_tracker_read_header(struct hvrepl_tracker *tracker,
				 const struct hvrepl_uuid *disk,
				 struct hvri_hvt_header *header_out)
{
	uint8_t slot[2][HVRI_HVT_HEADER_SIZE];
	uint64_t size = 0;
	bool damaged;
	int32_t rc = hvri_object_open(&tracker->storage, tracker->object_id, 0,
				      &tracker->file);

	if (rc == HVREPL_OK)
		rc = hvri_object_size(&tracker->file, &size);
	if (rc == HVREPL_OK && size == 0)
		return HVREPL_E_NOT_FOUND;
	memset(slot, 0, sizeof(slot));
	for (int i = 0; rc == HVREPL_OK && i < 2; i++) {
		uint64_t at = (uint64_t)i * HVRI_HVT_SLOT_STRIDE;

		if (size >= at + sizeof(slot[i]))
			rc = hvri_object_read(&tracker->file, at, slot[i],
					      sizeof(slot[i]));
	}
	if (rc == HVREPL_OK) {
		rc = hvri_hvt_newest(slot[0], slot[1], disk, header_out,
				     &damaged);
		if ((rc == HVREPL_E_NOT_FOUND || rc == HVREPL_E_CORRUPT) &&
		    size < HVRI_HVT_SLOT_STRIDE + HVRI_HVT_HEADER_SIZE)
			rc = HVREPL_E_TRUNCATED;
	}
	if (rc < 0)
		return rc;
	if (damaged)
		hvri_log(&tracker->group->env, HVREPL_LOG_WARNING,
			 "tracker file %s: one header is damaged, the other "
			 "serves",
			 tracker->object_id);
	if (size < header_out->fine_offset +
			   header_out->fine_blocks * HVRI_HVT_FINE_BLOCK)
		return HVREPL_E_TRUNCATED;
	return HVREPL_OK;
}

/* Who has it open is a tracker of this group. */
static bool attached_here(struct hvrepl_group *group,
			  const struct hvri_hvt_header *found)
{
	bool here = false;

	hvri_lock(&group->mutex);
	for (size_t i = 0; i < group->tracker_count; i++) {
		const struct hvri_hvt_header *other =
			&group->trackers[i]->header;

		here |= hvri_uuid_equal(&other->file, &found->file) &&
			hvri_uuid_equal(&other->owner, &found->owner);
	}
	hvri_unlock(&group->mutex);
	return here;
}

int32_t hvri_tracker_check_owner(const struct hvrepl_tracker *tracker,
				 const struct hvri_hvt_header *found,
				 const struct hvrepl_tracker_options *options,
				 struct hvrepl_error *error)
{
	if (!hvri_uuid_equal(&found->disk, &options->disk) ||
	    !hvri_uuid_equal(&found->vm, &options->vm))
		return hvri_fail(error, HVREPL_E_WRONG_DISK,
				 "tracker file %s belongs to another VM or "
				 "disk: give this disk a file of its own, or "
				 "delete that one if nothing needs it any more",
				 tracker->object_id);
	if ((found->flags & HVRI_HVT_OPEN) != 0 &&
	    !hvri_uuid_equal(&found->owner, &options->owner) &&
	    (options->flags & HVREPL_TRACKER_TAKE_OVER) == 0)
		return hvri_fail(error, HVREPL_E_BUSY,
				 attached_here(tracker->group, found) ?
					 "tracker file %s is attached to this "
					 "group already, for another owner" :
					 "tracker file %s is open for another "
					 "owner, on this host or another; if "
					 "that one is dead, attach with "
					 "TAKE_OVER",
				 tracker->object_id);
	return HVREPL_OK;
}

int32_t hvri_tracker_check_size(const struct hvrepl_tracker *tracker,
				const struct hvri_hvt_header *found,
				struct hvrepl_error *error)
{
	if (found->disk_size == tracker->disk.info.size)
		return HVREPL_OK;
	return hvri_fail(error, HVREPL_E_WRONG_DISK,
			 "tracker file %s was made for a disk of %llu bytes, "
			 "this one has %llu: put the right disk back, or attach "
			 "with REBUILD to take the new size",
			 tracker->object_id,
			 (unsigned long long)found->disk_size,
			 (unsigned long long)tracker->disk.info.size);
}
