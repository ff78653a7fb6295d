/* SPDX-License-Identifier: Apache-2.0 */
/* The openat2(2) rule: a caller older than us has its missing tail read as
 * zero; a newer one is served while the tail we cannot read is zero. */
#include "base/abi.h"

#include <string.h>

int32_t hvri_abi_copy_in(void *dst, size_t dst_size, size_t size_first,
			 const void *src)
{
	uint32_t src_size;

	if (src == NULL)
		return HVREPL_E_INVALID;
	memcpy(&src_size, src, sizeof(src_size));
	if (src_size < size_first)
		return HVREPL_E_INVALID;
	memset(dst, 0, dst_size);
	memcpy(dst, src, HVRI_MIN(src_size, dst_size));
	for (size_t i = dst_size; i < src_size; i++)
		if (((const unsigned char *)src)[i] != 0)
			return HVREPL_E_TOO_NEW;
	return HVREPL_OK;
}

bool hvri_abi_sized(const void *dst)
{
	uint32_t size = 0;

	if (dst != NULL)
		memcpy(&size, dst, sizeof(size));
	return size >= sizeof(size);
}

void hvri_abi_copy_out(void *dst, const void *src, size_t src_size)
{
	uint32_t dst_size;

	memcpy(&dst_size, dst, sizeof(dst_size));
	if (dst_size < sizeof(dst_size))
		return;
	memcpy(dst, src, HVRI_MIN(dst_size, src_size));
	memcpy(dst, &dst_size, sizeof(dst_size));
}
