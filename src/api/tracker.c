/* SPDX-License-Identifier: Apache-2.0 */
/* Public functions of groups and trackers: arguments checked, structs sized. */
#include "base/abi.h"
#include "tracker/internal.h"

#include <string.h>

int32_t hvrepl_group_create(const struct hvrepl_env *env,
			    const struct hvrepl_group_options *options,
			    struct hvrepl_error *error,
			    hvrepl_group **group_out)
{
	struct hvrepl_group_options ours = HVREPL_GROUP_OPTIONS_INIT;
	struct hvri_env copied;
	int32_t rc = HVREPL_OK;

	if (options != NULL) {
		rc = hvri_abi_copy_in(&ours, sizeof(ours),
				      HVRI_SIZE_UP_TO(
					      struct hvrepl_group_options,
					      wake_user),
				      options);
		if (rc < 0)
			hvri_fail(error, rc,
				  "the group's options have a wrong "
				  "struct_size");
		/* Nothing is taken from what cannot be read. */
		if (rc == HVREPL_E_INVALID)
			return rc;
	}
	if (rc == HVREPL_OK && group_out == NULL)
		rc = hvri_fail_plain(error, HVREPL_E_INVALID);
	if (rc == HVREPL_OK)
		rc = hvri_env_copy(&copied, env, error);
	if (rc < 0) {
		/* Taken all the same. */
		if (ours.spill != NULL && ours.spill->release != NULL)
			ours.spill->release(ours.spill->user);
		return rc;
	}
	return hvri_group_create(&copied, &ours, error, group_out);
}

int32_t hvrepl_group_destroy(hvrepl_group *group)
{
	return group == NULL ? HVREPL_OK : hvri_group_destroy(group);
}

int32_t hvrepl_group_process(hvrepl_group *group)
{
	if (group == NULL)
		return HVREPL_E_INVALID;
	hvri_group_process(group);
	return HVREPL_OK;
}

uint64_t hvrepl_group_deadline(hvrepl_group *group)
{
	return group == NULL ? UINT64_MAX : hvri_group_deadline(group);
}

static int32_t check_options(const struct hvrepl_tracker_options *options,
			     struct hvrepl_error *error)
{
	const uint32_t known = HVREPL_TRACKER_CREATE | HVREPL_TRACKER_STRICT |
			       HVREPL_TRACKER_UNTRUSTED |
			       HVREPL_TRACKER_TAKE_OVER |
			       HVREPL_TRACKER_REBUILD;

	if ((options->flags & ~known) != 0)
		return hvri_fail(error, HVREPL_E_TOO_NEW,
				 "the tracker's flags hold one that this "
				 "version does not know");
	if (options->object_id == NULL || options->object_id[0] == 0 ||
	    strlen(options->object_id) > HVREPL_OBJECT_ID_MAX)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "object_id must be 1 to 63 characters");
	return HVREPL_OK;
}

int32_t hvrepl_tracker_attach(hvrepl_group *group,
			      const struct hvrepl_disk *disk,
			      const struct hvrepl_storage *storage,
			      const struct hvrepl_tracker_options *options,
			      struct hvrepl_error *error,
			      hvrepl_tracker **tracker_out)
{
	struct hvrepl_tracker_options ours;
	int32_t rc = HVREPL_E_INVALID;

	if (disk != NULL && storage != NULL && group != NULL &&
	    tracker_out != NULL)
		rc = hvri_abi_copy_in(&ours, sizeof(ours),
				      HVRI_SIZE_UP_TO(
					      struct hvrepl_tracker_options,
					      user),
				      options);
	if (rc < 0)
		(void)hvri_fail(error, rc,
				"attach needs group, disk, storage and options "
				"with their struct_size");
	else
		rc = check_options(&ours, error);
	if (rc < 0) {
		if (disk != NULL && disk->release != NULL)
			disk->release(disk->user);
		if (storage != NULL && storage->release != NULL)
			storage->release(storage->user);
		return rc;
	}
	return hvri_tracker_attach(group, disk, storage, &ours, error,
				   tracker_out);
}

int32_t hvrepl_tracker_detach(hvrepl_tracker *tracker, uint32_t flags)
{
	if (tracker == NULL)
		return HVREPL_OK;
	if ((flags & ~HVREPL_DETACH_CLEAN) != 0)
		return HVREPL_E_INVALID;
	return hvri_tracker_detach(tracker, flags);
}

int32_t hvrepl_tracker_write_begin(hvrepl_tracker *tracker, uint64_t offset,
				   uint64_t length, uint32_t kind,
				   struct hvrepl_ticket *ticket)
{
	if (tracker == NULL || ticket == NULL ||
	    ticket->struct_size < sizeof(*ticket) ||
	    kind > HVREPL_WRITE_DISCARD || ticket->complete == NULL)
		return HVREPL_E_INVALID;
	return hvri_tracker_write_begin(tracker, offset, length, kind, ticket);
}

int32_t hvrepl_tracker_write_end(hvrepl_tracker *tracker,
				 struct hvrepl_ticket *ticket, int32_t result)
{
	if (tracker == NULL || ticket == NULL)
		return HVREPL_E_INVALID;
	return hvri_tracker_write_end(tracker, ticket, result);
}

int32_t hvrepl_tracker_fence(hvrepl_tracker *tracker)
{
	return tracker == NULL ? HVREPL_E_INVALID :
				 hvri_tracker_fence(tracker);
}

int32_t hvrepl_tracker_unfence(hvrepl_tracker *tracker)
{
	if (tracker == NULL)
		return HVREPL_E_INVALID;
	hvri_tracker_unfence(tracker);
	return HVREPL_OK;
}

int32_t hvrepl_tracker_mark(hvrepl_tracker *tracker,
			    const struct hvrepl_extent *extents, size_t count)
{
	int32_t rc = HVREPL_OK;

	if (tracker == NULL || (extents == NULL && count > 0))
		return HVREPL_E_INVALID;
	for (size_t i = 0; i < count; i++)
		if (extents[i].length == 0 ||
		    extents[i].offset > tracker->size ||
		    extents[i].length > tracker->size - extents[i].offset)
			return HVREPL_E_RANGE;
	/* All of them count in memory, whatever becomes of the marks. */
	for (size_t i = 0; i < count; i++) {
		int32_t one = hvri_tracker_mark(tracker, extents[i].offset,
						extents[i].length);

		rc = rc < 0 ? rc : one;
	}
	return rc;
}

int32_t hvrepl_tracker_mark_all(hvrepl_tracker *tracker)
{
	return tracker == NULL ? HVREPL_E_INVALID :
				 hvri_tracker_mark(tracker, 0, tracker->size);
}

int32_t hvrepl_tracker_save(hvrepl_tracker *tracker,
			    const struct hvrepl_tracker_stamp *stamp)
{
	struct hvrepl_tracker_stamp ours;

	if (tracker == NULL)
		return HVREPL_E_INVALID;
	if (stamp != NULL)
		HVRI_TRY(hvri_abi_copy_in(
			&ours, sizeof(ours),
			HVRI_SIZE_UP_TO(struct hvrepl_tracker_stamp, record_id),
			stamp));
	return hvri_record_save(tracker, stamp != NULL ? &ours : NULL, true);
}

int32_t hvrepl_tracker_get_info(hvrepl_tracker *tracker,
				struct hvrepl_tracker_info *info)
{
	struct hvrepl_tracker_info ours;

	if (tracker == NULL || info == NULL ||
	    info->struct_size < sizeof(info->struct_size))
		return HVREPL_E_INVALID;
	hvri_tracker_info(tracker, &ours);
	hvri_abi_copy_out(info, &ours, sizeof(ours));
	return HVREPL_OK;
}
