/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log in memory: where each changed byte of each disk lies in a container.
 * Redo logs lead to a point, undo logs away from one. Never changes once it is
 * in the store's lists; readers hold references (S2). A running undo log grows
 * under the store's map lock.
 */
#ifndef HVRI_STORE_SLOG_H
#define HVRI_STORE_SLOG_H

#include "format/manifest.h"
#include "format/segment.h"
#include "store/container.h"
#include "store/extmap.h"

struct hvri_slog_disk {
	struct hvri_segment_header header; /* Identity of the chunks. */
	bool begun;			   /* A header was set. */
	struct hvri_xmap map;
};

struct hvri_slog {
	const struct hvri_env *env;
	uint32_t refs; /* Atomic. */
	struct hvri_manifest_log place;
	struct hvri_container *container; /* Referenced. */
	uint32_t disk_count;
	struct hvri_slog_disk *disks;
};

/* Takes a reference of its own on the container. */
HVRI_MUST_CHECK int32_t hvri_slog_create(const struct hvri_env *env,
					 struct hvri_container *container,
					 uint32_t disk_count,
					 struct hvri_slog **slog_out);
struct hvri_slog *hvri_slog_ref(struct hvri_slog *slog);
/* Lets go of the container with the last reference. NULL is fine. */
void hvri_slog_unref(struct hvri_slog *slog);
/* Enter the extents of a chunk that lies at `position`. */
HVRI_MUST_CHECK int32_t hvri_slog_note_chunk(struct hvri_slog *slog,
					     uint32_t disk,
					     const struct hvri_chunk *chunk,
					     uint64_t position,
					     uint32_t length);
/* Bytes of the disks that it holds. */
uint64_t hvri_slog_bytes(const struct hvri_slog *slog);
/* Append the index to the container (not flushed) and fill slog->place. */
HVRI_MUST_CHECK int32_t hvri_slog_write_index(struct hvri_slog *slog);
/* Read the index that `place` names; the opposite of the above. CORRUPT,
 * TRUNCATED. */
HVRI_MUST_CHECK int32_t hvri_slog_load(const struct hvri_env *env,
				       struct hvri_container *container,
				       const struct hvri_manifest_log *place,
				       const struct hvri_manifest *state,
				       struct hvri_slog **slog_out);
/* For hvri_container_scan() of an undo container: rebuild the index from the
 * chunks themselves; `slog` is the argument. */
int32_t hvri_slog_scan(void *slog, uint16_t type, uint16_t disk,
		       const uint8_t *payload, size_t length,
		       uint64_t position);
#endif
