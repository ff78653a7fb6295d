/* SPDX-License-Identifier: Apache-2.0 */
/* The size of a struct is its version: copying callers' structs in and out. */
#ifndef HVRI_BASE_ABI_H
#define HVRI_BASE_ABI_H

#include "base/rc.h"

#include <stdbool.h>

/* Bring a caller's size-prefixed struct to the size this library knows.
 * `size_first` is its size in the first release that had it. TOO_NEW brings what is
 * known of it all the same, so that what is taken can be let go; INVALID nothing. */
HVRI_MUST_CHECK int32_t hvri_abi_copy_in(void *dst, size_t dst_size,
					 size_t size_first, const void *src);
/* Can a caller's struct be filled: is it there, and does it say how large it is? One that
 * was never begun would be left as it is, and look as if it had been filled. */
bool hvri_abi_sized(const void *dst);
/* Fill a caller's struct, never past the size it gave; keeps that size. */
void hvri_abi_copy_out(void *dst, const void *src, size_t src_size);
/* Offset of the first byte past member M. */
#define HVRI_SIZE_UP_TO(T, M) (offsetof(T, M) + sizeof(((T *)0)->M))
#endif
