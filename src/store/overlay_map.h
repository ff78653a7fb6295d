/* SPDX-License-Identifier: Apache-2.0 */
/* An overlay's map: two bits a block in memory, and its log on storage. */
#ifndef HVRI_STORE_OVERLAY_MAP_H
#define HVRI_STORE_OVERLAY_MAP_H

#include "store/overlay.h"

#define PAGE_BLOCKS 16384u
#define PAGE_BYTES ((uint64_t)PAGE_BLOCKS * HVRI_OVERLAY_BLOCK)

struct hvri_overlay_page {
	struct hvri_overlay_page *next_dirty;
	uint64_t index;
	bool is_dirty;
	uint8_t state[PAGE_BLOCKS / 4];	  /* Two bits a block. */
	uint8_t unsaved[PAGE_BLOCKS / 8]; /* One: not in the map object. */
};

struct hvri_overlay_change {
	uint64_t block;
	uint32_t count;
	uint32_t state;
};

/* The functions on memory are called under the overlay's mutex. */
uint32_t hvri_overlay_get(const struct hvri_overlay_disk *disk, uint64_t block);
/* Last block of the run of `state` that `block` is in, at most `last`. */
uint64_t hvri_overlay_skip(const struct hvri_overlay_disk *disk, uint64_t block,
			   uint64_t last, uint32_t state);
/* Pages for [first, past). */
HVRI_MUST_CHECK int32_t hvri_overlay_prepare(struct hvri_overlay *overlay,
					     uint32_t disk, uint64_t first,
					     uint64_t past);
/* Set prepared blocks; true when one of them held data before. */
bool hvri_overlay_set(struct hvri_overlay *overlay, uint32_t disk,
		      uint64_t first, uint64_t past, uint32_t state);
/* What the map object lacks; it counts as saved then. */
HVRI_MUST_CHECK int32_t
hvri_overlay_take_changes(struct hvri_overlay *overlay, uint32_t disk,
			  struct hvri_overlay_change **changes_out,
			  size_t *count_out);

/* On storage; not flushed. `buffer` has OVERLAY_RECORD_MAX bytes. */
#define OVERLAY_RECORD_MAX (32u << 10)
HVRI_MUST_CHECK int32_t
hvri_overlay_map_append(struct hvri_overlay *overlay, uint32_t disk,
			const struct hvri_overlay_change *changes, size_t count,
			uint8_t *buffer);
HVRI_MUST_CHECK int32_t hvri_overlay_map_load(struct hvri_overlay *overlay,
					      uint32_t disk);
#endif
