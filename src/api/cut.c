/* SPDX-License-Identifier: Apache-2.0 */
/* Public functions of cuts and external sources: arguments, struct sizes. */
#include "base/abi.h"
#include "tracker/internal.h"

int32_t hvrepl_tracker_set_label(hvrepl_tracker *tracker,
				 const struct hvrepl_cut_label *label)
{
	struct hvrepl_cut_label ours;

	if (tracker == NULL)
		return HVREPL_E_INVALID;
	HVRI_TRY(hvri_abi_copy_in(&ours, sizeof(ours),
				  HVRI_SIZE_UP_TO(struct hvrepl_cut_label,
						  limit),
				  label));
	return hvri_tracker_label(tracker, &ours);
}

int32_t hvrepl_group_cut(hvrepl_group *group, uint32_t flags,
			 struct hvrepl_error *error, hvrepl_cut **cut_out)
{
	if (group == NULL || cut_out == NULL || flags != 0)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "a cut needs a group, flags of zero and a place "
				 "for the handle");
	return hvri_group_cut(group, error, cut_out);
}

int32_t hvrepl_cut_get_info(hvrepl_cut *cut, struct hvrepl_cut_info *info)
{
	struct hvrepl_cut_info ours;

	if (cut == NULL || info == NULL ||
	    info->struct_size < sizeof(info->struct_size))
		return HVREPL_E_INVALID;
	hvri_cut_info(cut, &ours);
	hvri_abi_copy_out(info, &ours, sizeof(ours));
	return HVREPL_OK;
}

int32_t hvrepl_cut_get_disk(hvrepl_cut *cut, uint32_t index,
			    struct hvrepl_cut_disk *disk)
{
	struct hvrepl_cut_disk ours;

	if (cut == NULL || disk == NULL ||
	    disk->struct_size < sizeof(disk->struct_size))
		return HVREPL_E_INVALID;
	HVRI_TRY(hvri_cut_disk(cut, index, &ours));
	hvri_abi_copy_out(disk, &ours, sizeof(ours));
	return HVREPL_OK;
}

int32_t hvrepl_cut_advance(hvrepl_cut *cut, uint64_t budget,
			   uint32_t *progress_out)
{
	if (cut == NULL || progress_out == NULL)
		return HVREPL_E_INVALID;
	return hvri_cut_advance(cut, budget, progress_out);
}

int32_t hvrepl_cut_next_extents(hvrepl_cut *cut, uint32_t disk, uint64_t from,
				struct hvrepl_extent *extents_out,
				uint32_t *count_inout, uint64_t *end_out)
{
	if (cut == NULL || extents_out == NULL || count_inout == NULL ||
	    end_out == NULL)
		return HVREPL_E_INVALID;
	return hvri_cut_next_extents(cut, disk, from, extents_out, count_inout,
				     end_out);
}

int32_t hvrepl_cut_read(hvrepl_cut *cut, uint32_t disk, uint64_t offset,
			void *buffer, size_t length)
{
	if (cut == NULL || (buffer == NULL && length > 0))
		return HVREPL_E_INVALID;
	return hvri_cut_read(cut, disk, offset, buffer, length);
}

int32_t hvrepl_cut_settle(hvrepl_cut *cut, uint32_t disk, int32_t result)
{
	if (cut == NULL || result > 0)
		return HVREPL_E_INVALID;
	return hvri_cut_settle(cut, disk, result);
}

int32_t hvrepl_cut_close(hvrepl_cut *cut, int32_t result)
{
	if (cut == NULL)
		return HVREPL_OK;
	return result > 0 ? HVREPL_E_INVALID : hvri_cut_close(cut, result);
}

int32_t hvrepl_cut_void(hvrepl_cut *cut)
{
	return cut == NULL ? HVREPL_E_INVALID : hvri_cut_void(cut);
}

int32_t hvrepl_source_cut(hvrepl_group *group,
			  const struct hvrepl_source_ops *ops, void *user,
			  const struct hvrepl_source_disk *disks,
			  uint32_t disk_count,
			  const struct hvrepl_cut_label *label,
			  const struct hvrepl_change_token *from,
			  struct hvrepl_error *error, hvrepl_cut **cut_out)
{
	struct hvrepl_cut_label ours = HVREPL_CUT_LABEL_INIT;
	struct hvrepl_source_ops table;
	int32_t rc;

	if (group == NULL || disks == NULL || disk_count == 0 ||
	    cut_out == NULL || (from != NULL &&
				from->length > sizeof(from->bytes)))
		return hvri_fail(error, HVREPL_E_INVALID,
				 "a source cut needs a group, disks, a sound "
				 "token and a place for the handle");
	rc = hvri_abi_copy_in(&table, sizeof(table),
			      HVRI_SIZE_UP_TO(struct hvrepl_source_ops,
					      end_cut),
			      ops);
	if (rc == HVREPL_OK && label != NULL)
		rc = hvri_abi_copy_in(&ours, sizeof(ours),
				      HVRI_SIZE_UP_TO(struct hvrepl_cut_label,
						      limit),
				      label);
	if (rc == HVREPL_OK && table.reserved != 0)
		rc = HVREPL_E_TOO_NEW;
	if (rc == HVREPL_OK &&
	    (table.begin_cut == NULL || table.changed == NULL ||
	     table.read_frozen == NULL || table.end_cut == NULL))
		rc = HVREPL_E_INVALID;
	if (rc < 0)
		return hvri_fail(error, rc,
				 "the source table needs all four callbacks and "
				 "its struct_size");
	return hvri_source_cut(group, &table, user, disks, disk_count, &ours,
			       from, error, cut_out);
}

int32_t hvrepl_cut_token(hvrepl_cut *cut, struct hvrepl_change_token *token_out,
			 uint32_t *whole_out)
{
	if (cut == NULL || token_out == NULL || whole_out == NULL ||
	    !cut->external)
		return HVREPL_E_INVALID;
	*token_out = cut->token;
	*whole_out = cut->whole;
	return HVREPL_OK;
}
