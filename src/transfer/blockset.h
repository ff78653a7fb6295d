/* SPDX-License-Identifier: Apache-2.0 */
/* A set of blocks of a disk; memory follows what is in it, not the disk. */
#ifndef HVRI_TRANSFER_BLOCKSET_H
#define HVRI_TRANSFER_BLOCKSET_H

#include "base/env.h"

struct hvri_blockset {
	const struct hvri_env *env;
	uint64_t **regions; /* Bitmaps, NULL where nothing is set. */
	uint64_t region_count;
	uint32_t block_size;
};

/* LIMIT for a disk of more than a few PiB (at 4 KiB blocks). */
HVRI_MUST_CHECK int32_t hvri_blockset_init(struct hvri_blockset *set,
					   const struct hvri_env *env,
					   uint64_t disk_size,
					   uint32_t block_size);
/* offset is on a block; a tail shorter than one counts as one. */
HVRI_MUST_CHECK int32_t hvri_blockset_add(struct hvri_blockset *set,
					  uint64_t offset, uint64_t length);
bool hvri_blockset_has(const struct hvri_blockset *set, uint64_t offset);
/* A zeroed struct is fine. */
void hvri_blockset_free(struct hvri_blockset *set);
#endif
