/* SPDX-License-Identifier: Apache-2.0 */
/* Which log or the base answers for a byte of a point, and reading it (S5). */
#include "store/internal.h"

#include "base/plant.h"

#include <string.h>

/* One log of the walk: true when it holds `offset`. *length_inout shrinks to
 * how far the answer holds. */
static bool ask(struct hvri_slog *slog, uint32_t disk, uint64_t offset,
		uint64_t *length_inout, struct hvri_source *out)
{
	uint64_t next;
	const struct hvri_xent *entry =
		hvri_xmap_find(&slog->disks[disk].map, offset, &next);

	if (entry == NULL) {
		if (next != UINT64_MAX)
			*length_inout = HVRI_MIN(*length_inout, next - offset);
		return false;
	}
	*length_inout = HVRI_MIN(*length_inout,
				 entry->offset + entry->length - offset);
	out->slog = hvri_slog_ref(slog);
	out->entry = *entry;
	return true;
}

void hvri_slogs_resolve(struct hvri_slog *const *slogs, uint32_t count,
			uint32_t disk, uint64_t offset, uint64_t *length_inout,
			struct hvri_source *source_out)
{
	source_out->slog = NULL;
	for (uint32_t i = 0; i < count; i++)
		if (ask(slogs[i], disk, offset, length_inout, source_out))
			return;
}

void hvri_store_resolve(hvrepl_store *store, uint64_t point, uint32_t disk,
			uint64_t offset, uint64_t *length_inout,
			struct hvri_source *source_out)
{
	struct hvri_state_walk walk;

	source_out->slog = NULL;
	hvri_state_walk(&store->state, point, &walk);
	for (uint32_t i = 0; i < walk.count; i++) {
		uint32_t at = walk.at[i] & ~HVRI_WALK_UNDO;
		struct hvri_slog *slog = (walk.at[i] & HVRI_WALK_UNDO) != 0 ?
						 store->undo[at] :
						 store->redo[at];

		if (ask(slog, disk, offset, length_inout, source_out))
			return;
	}
	if (walk.running && store->running != NULL &&
	    ask(store->running, disk, offset, length_inout, source_out))
		return;
	/* A commit is the last merge of all, past every point (S8). */
	if (store->saved != NULL)
		(void)ask(store->saved, disk, offset, length_inout, source_out);
}

/* The decoded frame that an entry points into, referenced. */
static int32_t fetch(hvrepl_store *store, const struct hvri_source *source,
		     uint32_t disk, struct hvri_frame **frame_out)
{
	const struct hvri_slog *slog = source->slog;
	const struct hvri_segment_header *header = &slog->disks[disk].header;
	uint64_t position = source->entry.position;
	size_t length = source->entry.chunk_length;
	struct hvri_frame *frame;
	struct hvri_chunk chunk;
	uint8_t *bytes;
	int32_t rc;

	frame = hvri_cache_find(&store->cache, slog->container->id, position);
	if (frame != NULL) {
		*frame_out = frame;
		return HVREPL_OK;
	}
	bytes = hvri_alloc_io(&store->env, length);
	if (bytes == NULL)
		return HVREPL_E_NOMEM;
	rc = hvri_container_read(slog->container, position, bytes, length);
	if (rc == HVREPL_OK)
		rc = hvri_chunk_decode(header, bytes, length, &chunk);
	if (rc == HVREPL_OK && chunk.kind != HVRI_CHUNK_DATA)
		rc = HVREPL_E_CORRUPT;
	if (rc == HVREPL_OK) {
		frame = hvri_cache_new(&store->cache, slog->container->id,
				       position, chunk.raw_length);
		rc = frame != NULL ? hvri_chunk_unpack(header, &chunk,
						       frame->bytes) :
				     HVREPL_E_NOMEM;
		if (rc == HVREPL_OK)
			hvri_cache_add(&store->cache, frame);
		else if (frame != NULL)
			hvri_cache_put(&store->cache, frame);
	}
	hvri_free(&store->env, bytes, length);
	if (HVRI_PLANT(damage_is_zeroes) && rc == HVREPL_E_CORRUPT) {
		frame = hvri_cache_new(&store->cache, slog->container->id,
				       position, HVRI_CHUNK_RAW_MAX);
		if (frame == NULL)
			return HVREPL_E_NOMEM;
		memset(frame->bytes, 0, HVRI_CHUNK_RAW_MAX);
		rc = HVREPL_OK;
	}
	if (rc == HVREPL_OK)
		*frame_out = frame;
	return rc;
}

int32_t hvri_source_read(hvrepl_store *store, const struct hvri_source *source,
			 uint32_t disk, uint64_t offset, void *buffer,
			 size_t length)
{
	const struct hvri_xent *entry = &source->entry;
	struct hvri_frame *frame = NULL;
	uint64_t at;
	int32_t rc;

	if (entry->position == 0) {
		memset(buffer, 0, length);
		return HVREPL_OK;
	}
	rc = fetch(store, source, disk, &frame);
	if (rc < 0)
		return rc;
	at = entry->raw_offset + (offset - entry->offset);
	if (at > frame->length || length > frame->length - at)
		rc = HVREPL_E_CORRUPT;
	else
		memcpy(buffer, frame->bytes + at, length);
	hvri_cache_put(&store->cache, frame);
	return rc;
}

int32_t hvri_source_check(hvrepl_store *store,
			  const struct hvri_source *source, uint32_t disk)
{
	struct hvri_frame *frame = NULL;
	int32_t rc = fetch(store, source, disk, &frame);

	if (rc == HVREPL_OK)
		hvri_cache_put(&store->cache, frame);
	return rc;
}

/* Bytes just read from the base: whatever a log answers for by now was written
 * over while they were read. No hit means that they are right. */
static int32_t check_again(hvrepl_store *store, uint64_t point, uint32_t disk,
			   uint64_t offset, uint8_t *buffer, size_t length)
{
	while (length > 0 && !HVRI_PLANT(base_read_once)) {
		struct hvri_source source;
		uint64_t piece = length;

		hvri_lock(&store->map);
		hvri_store_resolve(store, point, disk, offset, &piece, &source);
		hvri_unlock(&store->map);
		if (source.slog != NULL) {
			int32_t rc = hvri_source_read(store, &source, disk,
						      offset, buffer,
						      (size_t)piece);

			hvri_slog_unref(source.slog);
			if (rc < 0)
				return rc;
		}
		offset += piece;
		buffer += piece;
		length -= (size_t)piece;
	}
	return HVREPL_OK;
}

int32_t hvri_store_read(hvrepl_store *store, uint64_t point, uint32_t disk,
			uint64_t offset, void *buffer, size_t length)
{
	uint8_t *to = buffer;

	while (length > 0) {
		struct hvri_source source;
		uint64_t piece = length;
		int32_t rc;

		hvri_lock(&store->map);
		hvri_store_resolve(store, point, disk, offset, &piece, &source);
		hvri_unlock(&store->map);
		if (source.slog != NULL) {
			rc = hvri_source_read(store, &source, disk, offset, to,
					      (size_t)piece);
			hvri_slog_unref(source.slog);
		} else {
			rc = hvri_disk_read(&store->bases[disk], offset, to,
					    (size_t)piece);
			if (rc == HVREPL_OK)
				rc = check_again(store, point, disk, offset, to,
						 (size_t)piece);
		}
		if (rc < 0)
			return rc;
		offset += piece;
		to += piece;
		length -= (size_t)piece;
	}
	return HVREPL_OK;
}

int32_t hvri_store_zero_base(hvrepl_store *store, uint32_t disk,
			     uint64_t offset, uint64_t length)
{
	const struct hvri_disk *base = &store->bases[disk];
	uint64_t end = offset + length;

	while (offset < end) {
		struct hvrepl_extent found;

		hvri_disk_next_allocated(base, offset, end, &found);
		if (found.length == 0)
			break;
		HVRI_TRY(hvri_disk_zero(&store->env, base, found.offset,
					found.length));
		offset = found.offset + found.length;
	}
	return HVREPL_OK;
}

int32_t hvri_store_write_base(hvrepl_store *store, uint32_t disk,
			      uint64_t offset, const void *bytes, size_t length)
{
	/* Zeroes that need not be stored are not (initial replication of a
	 * sparse disk stays sparse). */
	if (hvri_is_zero(bytes, length))
		return hvri_store_zero_base(store, disk, offset, length);
	return hvri_disk_write(&store->bases[disk], offset, bytes, length);
}
