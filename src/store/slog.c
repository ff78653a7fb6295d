/* SPDX-License-Identifier: Apache-2.0 */
/* Logs in memory, and their index in the container. */
#include "store/slog.h"

#include "base/cursor.h"
#include "base/plant.h"

#include <string.h>

#define INDEX_MAGIC 0x49525648u /* "HVRI" */
#define INDEX_FIXED 16u
#define INDEX_DISK (16u + HVRI_SEGMENT_HEADER_SIZE)
#define INDEX_ENTRY 32u
#define INDEX_MAX (2048u << 20)

int32_t hvri_slog_create(const struct hvri_env *env,
			 struct hvri_container *container, uint32_t disk_count,
			 struct hvri_slog **slog_out)
{
	struct hvri_slog *slog = hvri_alloc(env, sizeof(*slog));

	if (slog == NULL)
		return HVREPL_E_NOMEM;
	slog->disks = hvri_alloc_array(env, disk_count, sizeof(*slog->disks));
	if (slog->disks == NULL) {
		hvri_free(env, slog, sizeof(*slog));
		return HVREPL_E_NOMEM;
	}
	slog->env = env;
	slog->refs = 1;
	slog->disk_count = disk_count;
	slog->container = hvri_container_ref(container);
	*slog_out = slog;
	return HVREPL_OK;
}

struct hvri_slog *hvri_slog_ref(struct hvri_slog *slog)
{
	__atomic_add_fetch(&slog->refs, 1, __ATOMIC_RELAXED);
	return slog;
}

void hvri_slog_unref(struct hvri_slog *slog)
{
	if (slog == NULL ||
	    __atomic_sub_fetch(&slog->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (uint32_t i = 0; i < slog->disk_count; i++)
		hvri_xmap_free(slog->env, &slog->disks[i].map);
	hvri_free(slog->env, slog->disks,
		  slog->disk_count * sizeof(*slog->disks));
	hvri_container_unref(slog->container);
	hvri_free(slog->env, slog, sizeof(*slog));
}

int32_t hvri_slog_note_chunk(struct hvri_slog *slog, uint32_t disk,
			     const struct hvri_chunk *chunk, uint64_t position,
			     uint32_t length)
{
	bool data = chunk->kind == HVRI_CHUNK_DATA;
	uint32_t raw = 0;

	for (uint32_t i = 0; i < chunk->extent_count; i++) {
		struct hvrepl_extent extent = hvri_chunk_extent(chunk, i);
		struct hvri_xent entry = {
			.offset = extent.offset,
			.length = extent.length,
			.position = data ? position : 0,
			.chunk_length = data ? length : 0,
			.raw_offset = data && !HVRI_PLANT(chunk_elsewhere) ?
					      raw :
					      0,
		};

		HVRI_TRY(hvri_xmap_put(slog->env, &slog->disks[disk].map,
				       &entry));
		if (data)
			raw += (uint32_t)extent.length;
	}
	slog->place.stored_bytes += length;
	return HVREPL_OK;
}

uint64_t hvri_slog_bytes(const struct hvri_slog *slog)
{
	uint64_t bytes = 0;

	for (uint32_t disk = 0; disk < slog->disk_count; disk++) {
		const struct hvri_xmap *map = &slog->disks[disk].map;

		for (size_t i = 0; i < map->count; i++)
			bytes += map->at[i].length;
	}
	return bytes;
}

static void write_disk(struct hvri_writer *writer,
		       const struct hvri_slog_disk *disk)
{
	uint8_t header[HVRI_SEGMENT_HEADER_SIZE] = { 0 };

	if (disk->begun)
		hvri_segment_header_encode(&disk->header, header);
	hvri_write_u32(writer, disk->begun ? 1 : 0);
	hvri_write_u32(writer, 0);
	hvri_write_u64(writer, disk->map.count);
	hvri_write_bytes(writer, header, sizeof(header));
	for (size_t i = 0; i < disk->map.count; i++) {
		const struct hvri_xent *entry = &disk->map.at[i];

		hvri_write_u64(writer, entry->offset);
		hvri_write_u64(writer, entry->length);
		hvri_write_u64(writer, entry->position);
		hvri_write_u32(writer, entry->chunk_length);
		hvri_write_u32(writer, entry->raw_offset);
	}
}

int32_t hvri_slog_write_index(struct hvri_slog *slog)
{
	const struct hvri_env *env = slog->env;
	struct hvri_part part;
	struct hvri_writer writer;
	uint64_t length = INDEX_FIXED, position;
	uint8_t *bytes;
	int32_t rc;

	for (uint32_t i = 0; i < slog->disk_count; i++)
		length += INDEX_DISK +
			  (uint64_t)slog->disks[i].map.count * INDEX_ENTRY;
	if (length > INDEX_MAX)
		return HVREPL_E_LIMIT;
	bytes = hvri_alloc(env, (size_t)length);
	if (bytes == NULL)
		return HVREPL_E_NOMEM;
	writer = hvri_writer_over(bytes, (size_t)length);
	hvri_write_u32(&writer, INDEX_MAGIC);
	hvri_write_u32(&writer, 1); /* Version. */
	hvri_write_u32(&writer, slog->disk_count);
	hvri_write_u32(&writer, 0);
	for (uint32_t i = 0; i < slog->disk_count; i++)
		write_disk(&writer, &slog->disks[i]);
	rc = hvri_container_append(slog->container, HVRI_FRAME_INDEX, 0, bytes,
				   (size_t)length, &position);
	part = (struct hvri_part){ bytes, (size_t)length };
	if (rc == HVREPL_OK) {
		slog->place.container = slog->container->id;
		slog->place.index_position = position;
		slog->place.index_length = length;
		hvri_xxh3(&part, 1, slog->place.index_digest);
	}
	hvri_free(env, bytes, (size_t)length);
	return rc;
}

static int32_t read_entries(struct hvri_reader *reader, uint64_t count,
			    uint64_t disk_size, struct hvri_slog *slog,
			    struct hvri_xmap *map)
{
	uint64_t past = 0;

	_Static_assert(INDEX_MAX / INDEX_ENTRY <= HVRI_XMAP_MAX,
		       "what an index holds, a map does");
	if (count > reader->left / INDEX_ENTRY)
		return HVREPL_E_CORRUPT;
	HVRI_TRY(hvri_grow(slog->env, (void **)&map->at, &map->room,
			   (size_t)count, HVRI_XMAP_MAX, sizeof(map->at[0])));
	for (uint64_t i = 0; i < count; i++) {
		struct hvri_xent *entry = &map->at[i];

		entry->offset = hvri_read_u64(reader);
		entry->length = hvri_read_u64(reader);
		entry->position = hvri_read_u64(reader);
		entry->chunk_length = hvri_read_u32(reader);
		entry->raw_offset = hvri_read_u32(reader);
		if (entry->length == 0 || entry->offset < past ||
		    entry->offset > disk_size ||
		    entry->length > disk_size - entry->offset ||
		    entry->chunk_length > HVRI_CHUNK_ENCODED_MAX ||
		    entry->position > slog->place.index_position)
			return HVREPL_E_CORRUPT;
		past = entry->offset + entry->length;
	}
	map->count = (size_t)count;
	return HVREPL_OK;
}

static int32_t read_index(struct hvri_reader *reader, struct hvri_slog *slog,
			  const struct hvri_manifest *state)
{
	if (hvri_read_u32(reader) != INDEX_MAGIC)
		return HVREPL_E_CORRUPT;
	if (hvri_read_u32(reader) != 1)
		return HVREPL_E_FORMAT_TOO_NEW;
	if (hvri_read_u32(reader) != slog->disk_count)
		return HVREPL_E_CORRUPT;
	hvri_read_pad(reader, 4, true);
	for (uint32_t i = 0; i < slog->disk_count; i++) {
		struct hvri_slog_disk *disk = &slog->disks[i];
		uint32_t begun = hvri_read_u32(reader);
		uint64_t count;
		const uint8_t *header;

		hvri_read_pad(reader, 4, true);
		count = hvri_read_u64(reader);
		header = hvri_read_span(reader, HVRI_SEGMENT_HEADER_SIZE);
		if (reader->bad || begun > 1 || (count > 0 && begun == 0))
			return HVREPL_E_CORRUPT;
		disk->begun = begun == 1;
		if (disk->begun)
			HVRI_TRY(hvri_segment_header_decode(header,
							    &disk->header));
		HVRI_TRY(read_entries(reader, count, state->disks[i].size, slog,
				      &disk->map));
	}
	return hvri_reader_end(reader, HVREPL_E_CORRUPT);
}

int32_t hvri_slog_load(const struct hvri_env *env,
		       struct hvri_container *container,
		       const struct hvri_manifest_log *place,
		       const struct hvri_manifest *state,
		       struct hvri_slog **slog_out)
{
	size_t length = (size_t)place->index_length;
	struct hvri_slog *slog = NULL;
	struct hvri_reader reader;
	uint8_t *bytes, digest[16];
	struct hvri_part part;
	int32_t rc;

	if (place->index_length > INDEX_MAX)
		return HVREPL_E_CORRUPT;
	bytes = hvri_alloc(env, length);
	if (bytes == NULL)
		return HVREPL_E_NOMEM;
	rc = hvri_slog_create(env, container, state->disk_count, &slog);
	if (rc == HVREPL_OK)
		rc = hvri_container_read(container, place->index_position,
					 bytes, length);
	if (rc == HVREPL_OK) {
		part = (struct hvri_part){ bytes, length };
		hvri_xxh3(&part, 1, digest);
		reader = hvri_reader_over(bytes, length);
		slog->place = *place;
		rc = memcmp(digest, place->index_digest, 16) == 0 ?
			     read_index(&reader, slog, state) :
			     HVREPL_E_CORRUPT;
	}
	hvri_free(env, bytes, length);
	if (rc < 0) {
		hvri_slog_unref(slog);
		return rc;
	}
	*slog_out = slog;
	return HVREPL_OK;
}

int32_t hvri_slog_scan(void *argument, uint16_t type, uint16_t disk,
		       const uint8_t *payload, size_t length, uint64_t position)
{
	struct hvri_slog *slog = argument;
	struct hvri_slog_disk *to;
	struct hvri_chunk chunk;

	/* An index that was written, but is not in the manifest. */
	if (type == HVRI_FRAME_INDEX || type == HVRI_FRAME_SEAL)
		return HVREPL_OK;
	if (disk >= slog->disk_count)
		return HVREPL_E_CORRUPT;
	to = &slog->disks[disk];
	if (type == HVRI_FRAME_SEGMENT) {
		if (length != HVRI_SEGMENT_HEADER_SIZE)
			return HVREPL_E_CORRUPT;
		HVRI_TRY(hvri_segment_header_decode(payload, &to->header));
		to->begun = true;
		return HVREPL_OK;
	}
	if (type != HVRI_FRAME_CHUNK || !to->begun)
		return HVREPL_E_CORRUPT;
	HVRI_TRY(hvri_chunk_decode(&to->header, payload, length, &chunk));
	return hvri_slog_note_chunk(slog, disk, &chunk, position,
				    (uint32_t)length);
}
