/* SPDX-License-Identifier: Apache-2.0 */
/* The public door of guest I/O. */
#include "base/abi.h"
#include "driver/guest.h"

#include <hvrepl/guest.h>

int32_t hvrepl_guest_get_info(hvrepl_guest_disk *disk,
			      struct hvrepl_guest_info *info_out)
{
	struct hvrepl_guest_info full;

	if (disk == NULL || !hvri_abi_sized(info_out))
		return HVREPL_E_INVALID;
	hvri_guest_info(disk, &full);
	hvri_abi_copy_out(info_out, &full, sizeof(full));
	return HVREPL_OK;
}

int32_t hvrepl_guest_read(hvrepl_guest_disk *disk, uint64_t offset,
			  void *buffer, size_t length)
{
	if (disk == NULL || (buffer == NULL && length > 0))
		return HVREPL_E_INVALID;
	return hvri_guest_read(disk, offset, buffer, length);
}

int32_t hvrepl_guest_allocated(hvrepl_guest_disk *disk, uint64_t offset,
			       uint64_t length,
			       struct hvrepl_extent *extents_out,
			       uint32_t *count_inout, uint64_t *end_out)
{
	if (disk == NULL || extents_out == NULL || count_inout == NULL ||
	    *count_inout == 0 || end_out == NULL)
		return HVREPL_E_INVALID;
	return hvri_guest_allocated(disk, offset, length, extents_out,
				    count_inout, end_out);
}

int32_t hvrepl_guest_write(hvrepl_guest_disk *disk, uint64_t offset,
			   const void *buffer, size_t length)
{
	if (disk == NULL || (buffer == NULL && length > 0))
		return HVREPL_E_INVALID;
	return hvri_guest_write(disk, offset, buffer, length);
}

int32_t hvrepl_guest_zero(hvrepl_guest_disk *disk, uint64_t offset,
			  uint64_t length)
{
	if (disk == NULL)
		return HVREPL_E_INVALID;
	return hvri_guest_zero(disk, offset, length);
}

int32_t hvrepl_guest_discard(hvrepl_guest_disk *disk, uint64_t offset,
			     uint64_t length)
{
	if (disk == NULL)
		return HVREPL_E_INVALID;
	return hvri_guest_discard(disk, offset, length);
}

int32_t hvrepl_guest_flush(hvrepl_guest_disk *disk)
{
	if (disk == NULL)
		return HVREPL_E_INVALID;
	return hvri_guest_flush(disk);
}
