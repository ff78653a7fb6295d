/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was written on top of a point (S7, S8). For each disk a data object, in
 * which a block lies where it lies on the disk, and, for a durable overlay, a
 * map object: a log of which blocks hold data or zeroes.
 *
 * A flush makes data durable before the map names it. So a block of the map is
 * whole, and one that is not in it reads as what lies below.
 */
#ifndef HVRI_STORE_OVERLAY_H
#define HVRI_STORE_OVERLAY_H

#include "base/io.h"
#include "base/sync.h"
#include "format/manifest.h"

#include <stdbool.h>

#define HVRI_OVERLAY_DATA_PREFIX "store.ovl."
#define HVRI_OVERLAY_MAP_PREFIX "store.map."
#define HVRI_OVERLAY_BLOCK 4096u

#define HVRI_OVERLAY_ABSENT 0u
#define HVRI_OVERLAY_DATA 1u
#define HVRI_OVERLAY_ZERO 2u

struct hvri_overlay_page;

struct hvri_overlay_disk {
	uint64_t size; /* Of the disk. */
	struct hvri_object data, map;
	struct hvri_overlay_page **pages;
	size_t page_count;
	struct hvri_overlay_page *dirty; /* Pages with unsaved blocks. */
	uint64_t map_size;
	uint64_t batch;
	bool data_dirty;
};

struct hvri_overlay {
	const struct hvri_env *env;
	const struct hvri_storage *storage;
	uint64_t *used;
	uint32_t refs, doomed; /* Atomic. */
	uint64_t id;
	bool durable;
	int32_t broken; /* A flush failed. */
	hvri_mutex mutex, flushing;
	uint64_t accounted;	/* Bytes of it in *used. */
	uint64_t written_bytes; /* Data blocks, bytes. */
	uint32_t disk_count;
	struct hvri_overlay_disk *disks;
};

/* Durable on return when `durable`. */
HVRI_MUST_CHECK int32_t hvri_overlay_create(
	const struct hvri_env *env, const struct hvri_storage *storage,
	uint64_t *used, uint64_t id, bool durable,
	const struct hvri_manifest *state, struct hvri_overlay **overlay_out);
/* What is left of a durable one. CORRUPT, TRUNCATED. */
HVRI_MUST_CHECK int32_t hvri_overlay_recover(
	const struct hvri_env *env, const struct hvri_storage *storage,
	uint64_t *used, uint64_t id, const struct hvri_manifest *state,
	struct hvri_overlay **overlay_out);
struct hvri_overlay *hvri_overlay_ref(struct hvri_overlay *overlay);
void hvri_overlay_unref(struct hvri_overlay *overlay);
void hvri_overlay_doom(struct hvri_overlay *overlay);

/* State of the block at `offset`; *length_inout shrinks to where it ends. */
uint32_t hvri_overlay_run(struct hvri_overlay *overlay, uint32_t disk,
			  uint64_t offset, uint64_t *length_inout);
/* First range at or after `offset` that is not absent, at most `max` long;
 * length 0: none. */
void hvri_overlay_next(struct hvri_overlay *overlay, uint32_t disk,
		       uint64_t offset, uint64_t max,
		       struct hvrepl_extent *out);
/* Data blocks it holds, bytes. */
uint64_t hvri_overlay_bytes(struct hvri_overlay *overlay);
/* Bytes of a run in state DATA. */
HVRI_MUST_CHECK int32_t hvri_overlay_read(struct hvri_overlay *overlay,
					  uint32_t disk, uint64_t offset,
					  void *buffer, size_t length);
/* Reads what lies below, for blocks that are written in part. */
typedef int32_t hvri_overlay_below(void *argument, uint32_t disk,
				   uint64_t offset, void *buffer,
				   size_t length);
/* The caller keeps other writers off the blocks touched (gate). */
HVRI_MUST_CHECK int32_t hvri_overlay_write(struct hvri_overlay *overlay,
					   uint32_t disk, uint64_t offset,
					   const void *bytes, size_t length,
					   hvri_overlay_below *below,
					   void *argument);
HVRI_MUST_CHECK int32_t hvri_overlay_zero(struct hvri_overlay *overlay,
					  uint32_t disk, uint64_t offset,
					  uint64_t length,
					  hvri_overlay_below *below,
					  void *argument);
/* Everything completed before the call is durable. */
HVRI_MUST_CHECK int32_t hvri_overlay_flush(struct hvri_overlay *overlay);
/* One has failed: nothing is written to it any more. Any thread. */
bool hvri_overlay_failed(struct hvri_overlay *overlay);
#endif
