/* SPDX-License-Identifier: Apache-2.0 */
/* Sorted extents of one disk in one log: which chunk holds which bytes. */
#ifndef HVRI_STORE_EXTMAP_H
#define HVRI_STORE_EXTMAP_H

#include "base/env.h"

#include <stdbool.h>

struct hvri_xent {
	uint64_t offset; /* On the disk, bytes. */
	uint64_t length;
	uint64_t position; /* Of the chunk in its container; 0: zeroes. */
	uint32_t chunk_length; /* Encoded. */
	uint32_t raw_offset;   /* Of these bytes in the chunk's raw bytes. */
};

struct hvri_xmap {
	struct hvri_xent *at;
	size_t count, room;
};

/* Entries of one disk in one log at most: 2^26 of them are 2 GiB. */
#define HVRI_XMAP_MAX (1u << 26)

/* Add; what is there already of the range goes. Cheap in ascending order. */
HVRI_MUST_CHECK int32_t hvri_xmap_put(const struct hvri_env *env,
				      struct hvri_xmap *map,
				      const struct hvri_xent *entry);
/* The entry that holds `offset`, or NULL; then *next_out is where the next one
 * starts (UINT64_MAX: none). */
const struct hvri_xent *hvri_xmap_find(const struct hvri_xmap *map,
				       uint64_t offset, uint64_t *next_out);
void hvri_xmap_free(const struct hvri_env *env, struct hvri_xmap *map);
#endif
