/* SPDX-License-Identifier: Apache-2.0 */
/* Logs that the store writes itself: undo, and joined or moved logs. */
#include "store/internal.h"

#include "base/plant.h"

#include <string.h>

int32_t hvri_slog_writer_create(hvrepl_store *store, struct hvri_slog *slog,
			       struct hvri_slog_writer **writer_out)
{
	const struct hvri_env *env = &store->env;
	struct hvri_slog_writer *writer = hvri_alloc_raw(env, sizeof(*writer));
	int32_t rc;

	if (writer == NULL)
		return HVREPL_E_NOMEM;
	memset(writer, 0, offsetof(struct hvri_slog_writer, data));
	writer->store = store;
	writer->slog = hvri_slog_ref(slog);
	writer->raw = hvri_alloc_io(env, HVRI_CHUNK_RAW_WRITTEN);
	writer->out = hvri_alloc_io(env, HVRI_CHUNK_ENCODED_MAX);
	rc = writer->raw == NULL || writer->out == NULL ?
		     HVREPL_E_NOMEM :
		     hvri_packer_create(env, store->options.compression,
					&writer->packer);
	if (rc < 0) {
		hvri_slog_writer_destroy(writer);
		return rc;
	}
	*writer_out = writer;
	return HVREPL_OK;
}

void hvri_slog_writer_destroy(struct hvri_slog_writer *writer)
{
	const struct hvri_env *env;

	if (writer == NULL)
		return;
	env = &writer->store->env;
	if (writer->packer != NULL)
		hvri_packer_destroy(writer->packer);
	hvri_free(env, writer->raw, HVRI_CHUNK_RAW_WRITTEN);
	hvri_free(env, writer->out, HVRI_CHUNK_ENCODED_MAX);
	hvri_free(env, writer->written,
		  writer->written_room * sizeof(writer->written[0]));
	hvri_free(env, writer->extents,
		  writer->extent_room * sizeof(writer->extents[0]));
	hvri_slog_unref(writer->slog);
	hvri_free(env, writer, sizeof(*writer));
}

static int32_t remember(struct hvri_slog_writer *writer, bool data,
			const struct hvrepl_extent *extents, uint32_t count,
			uint64_t position, uint32_t length)
{
	struct hvri_written *written = &writer->written[writer->written_count];

	*written = (struct hvri_written){
		.disk = writer->disk,
		.extent_count = count,
		.position = position,
		.length = length,
		.data = data,
		.first = (uint32_t)writer->extent_count,
	};
	memcpy(&writer->extents[writer->extent_count], extents,
	       count * sizeof(extents[0]));
	writer->extent_count += count;
	writer->written_count++;
	return HVREPL_OK;
}

static int32_t pack(struct hvri_slog_writer *writer, uint8_t kind,
		    const struct hvrepl_extent *extents, uint32_t count)
{
	const struct hvri_env *env = &writer->store->env;
	struct hvri_slog *slog = writer->slog;
	bool data = kind == HVRI_CHUNK_DATA;
	uint32_t length;
	uint64_t position;

	if (count == 0)
		return HVREPL_OK;
	HVRI_TRY(hvri_grow(env, (void **)&writer->written,
			   &writer->written_room, writer->written_count + 1,
			   UINT32_MAX, sizeof(writer->written[0])));
	HVRI_TRY(hvri_grow(env, (void **)&writer->extents, &writer->extent_room,
			   writer->extent_count + count, UINT32_MAX,
			   sizeof(writer->extents[0])));
	HVRI_TRY(hvri_chunk_pack(writer->packer,
				 &slog->disks[writer->disk].header,
				 writer->sequence[writer->disk], kind, extents,
				 count, data ? writer->raw : NULL, writer->out,
				 &length));
	HVRI_TRY(hvri_container_append(slog->container, HVRI_FRAME_CHUNK,
				       (uint16_t)writer->disk, writer->out,
				       length, &position));
	writer->sequence[writer->disk]++;
	return remember(writer, data, extents, count, position, length);
}

static int32_t pack_data(struct hvri_slog_writer *writer)
{
	int32_t rc = pack(writer, HVRI_CHUNK_DATA, writer->data,
			  writer->data_count);

	if (rc == HVREPL_OK) {
		writer->data_count = 0;
		writer->raw_length = 0;
	}
	return rc;
}

static int32_t pack_zeroes(struct hvri_slog_writer *writer)
{
	int32_t rc = pack(writer, HVRI_CHUNK_ZERO, writer->zeroes,
			  writer->zero_count);

	if (rc == HVREPL_OK)
		writer->zero_count = 0;
	return rc;
}

/* A chunk is of one disk, its extents ascend. */
static int32_t turn_to(struct hvri_slog_writer *writer, uint32_t disk,
		       uint64_t offset)
{
	const struct hvrepl_extent *last;
	bool back = false;

	if (writer->data_count > 0) {
		last = &writer->data[writer->data_count - 1];
		back |= offset < last->offset + last->length;
	}
	if (writer->zero_count > 0) {
		last = &writer->zeroes[writer->zero_count - 1];
		back |= offset < last->offset + last->length;
	}
	if (writer->disk == disk && !back)
		return HVREPL_OK;
	HVRI_TRY(pack_data(writer));
	HVRI_TRY(pack_zeroes(writer));
	writer->disk = disk;
	return HVREPL_OK;
}

int32_t hvri_slog_writer_zero(struct hvri_slog_writer *writer, uint32_t disk,
			     uint64_t offset, uint64_t length)
{
	struct hvrepl_extent *last;

	HVRI_TRY(turn_to(writer, disk, offset));
	if (writer->zero_count > 0) {
		last = &writer->zeroes[writer->zero_count - 1];
		if (last->offset + last->length == offset) {
			last->length += length;
			return HVREPL_OK;
		}
	}
	if (writer->zero_count == HVRI_CHUNK_EXTENTS_MAX)
		HVRI_TRY(pack_zeroes(writer));
	writer->zeroes[writer->zero_count++] =
		(struct hvrepl_extent){ offset, length };
	return HVREPL_OK;
}

static int32_t add_data(struct hvri_slog_writer *writer, uint64_t offset,
			const uint8_t *bytes, size_t length)
{
	struct hvrepl_extent *last = NULL;

	/* So much is some 128 extents: all but a disk's end are of 512 bytes. */
	_Static_assert(HVRI_CHUNK_RAW_WRITTEN / HVRI_SEGMENT_BLOCK_MIN <=
			       HVRI_CHUNK_EXTENTS_MAX,
		       "a chunk is full of bytes before it is of extents");
	if (writer->raw_length == HVRI_CHUNK_RAW_WRITTEN)
		HVRI_TRY(pack_data(writer));
	if (writer->data_count > 0)
		last = &writer->data[writer->data_count - 1];
	if (last != NULL && last->offset + last->length == offset)
		last->length += length;
	else
		writer->data[writer->data_count++] =
			(struct hvrepl_extent){ offset, length };
	memcpy(writer->raw + writer->raw_length, bytes, length);
	writer->raw_length += (uint32_t)length;
	return HVREPL_OK;
}

int32_t hvri_slog_writer_add(struct hvri_slog_writer *writer, uint32_t disk,
			    uint64_t offset, const uint8_t *bytes,
			    size_t length)
{
	HVRI_TRY(turn_to(writer, disk, offset));
	while (length > 0) {
		size_t room = HVRI_CHUNK_RAW_WRITTEN - writer->raw_length;
		size_t piece;

		if (room == 0)
			room = HVRI_CHUNK_RAW_WRITTEN;
		/* Zeroes are looked for by 4 KiB of the disk. */
		piece = HVRI_PAGE - (size_t)(offset % HVRI_PAGE);
		piece = HVRI_MIN(HVRI_MIN(piece, room), length);
		if (hvri_is_zero(bytes, piece))
			HVRI_TRY(hvri_slog_writer_zero(writer, disk, offset,
						      piece));
		else
			HVRI_TRY(add_data(writer, offset, bytes, piece));
		offset += piece;
		bytes += piece;
		length -= piece;
	}
	return HVREPL_OK;
}

/* Enter what is durable now. Failing leaves the rest to be entered later. */
static int32_t note(struct hvri_slog_writer *writer, size_t *done)
{
	for (; *done < writer->written_count; (*done)++) {
		const struct hvri_written *one = &writer->written[*done];
		uint32_t raw = 0;

		for (uint32_t i = 0; i < one->extent_count; i++) {
			const struct hvrepl_extent *extent =
				&writer->extents[one->first + i];
			struct hvri_xent entry = {
				.offset = extent->offset,
				.length = extent->length,
				.position = one->data ? one->position : 0,
				.chunk_length = one->data ? one->length : 0,
				.raw_offset = one->data ? raw : 0,
			};

			HVRI_TRY(hvri_xmap_put(
				writer->slog->env,
				&writer->slog->disks[one->disk].map, &entry));
			if (one->data)
				raw += (uint32_t)extent->length;
		}
		writer->slog->place.stored_bytes += one->length;
	}
	return HVREPL_OK;
}

int32_t hvri_slog_writer_flush(struct hvri_slog_writer *writer, bool undo)
{
	hvrepl_store *store = writer->store;
	size_t done = 0;
	int32_t rc;

	HVRI_TRY(pack_data(writer));
	HVRI_TRY(pack_zeroes(writer));
	/* The other half of it is in hvri_container_scan(). */
	if (HVRI_PLANT(undo_believed_unflushed) && writer->written_count == 0)
		return HVREPL_OK;
	if (undo && HVRI_PLANT(undo_not_flushed))
		rc = HVREPL_OK;
	else
		rc = hvri_container_flush(writer->slog->container);
	if (rc < 0)
		return hvri_store_poison(store, rc);
	if (undo && !HVRI_PLANT(undo_not_flushed)) {
		HVRI_TRY(hvri_container_seal(writer->slog->container));
		rc = hvri_container_flush(writer->slog->container);
	}
	if (rc < 0)
		return hvri_store_poison(store, rc);
	if (undo)
		hvri_lock(&store->map);
	if (undo && HVRI_PLANT(undo_not_indexed))
		rc = HVREPL_OK;
	else
		rc = note(writer, &done);
	if (undo)
		hvri_unlock(&store->map);
	if (rc < 0)
		return rc; /* Noting it again is harmless. */
	writer->written_count = 0;
	writer->extent_count = 0;
	return HVREPL_OK;
}

static void undo_header(hvrepl_store *store, uint32_t disk,
			const struct hvrepl_uuid *cut,
			struct hvri_segment_header *header)
{
	const struct hvri_manifest *state = &store->state;

	memset(header, 0, sizeof(*header));
	header->identity.vm = state->vm;
	header->identity.disk = state->disks[disk].disk;
	header->identity.cut = *cut;
	header->identity.from_point = state->base;
	header->identity.to_point = state->base + 1;
	header->disk_size = state->disks[disk].size;
	header->block_size = HVRI_SEGMENT_BLOCK_MIN;
}

int32_t hvri_store_new_undo(hvrepl_store *store, struct hvri_slog **slog_out)
{
	struct hvri_container *container;
	struct hvri_slog *slog = NULL;
	struct hvrepl_uuid cut;
	int32_t rc;

	HVRI_TRY(hvri_uuid_new(&store->env, &cut));
	HVRI_TRY(hvri_container_create(&store->env, &store->storage,
				       &store->used, hvri_store_new_id(store),
				       &container));
	rc = hvri_slog_create(&store->env, container, store->disk_count, &slog);
	for (uint32_t i = 0; i < store->disk_count && rc == HVREPL_OK; i++) {
		uint8_t bytes[HVRI_SEGMENT_HEADER_SIZE];
		uint64_t position;

		undo_header(store, i, &cut, &slog->disks[i].header);
		slog->disks[i].begun = true;
		hvri_segment_header_encode(&slog->disks[i].header, bytes);
		rc = hvri_container_append(container, HVRI_FRAME_SEGMENT,
					   (uint16_t)i, bytes, sizeof(bytes),
					   &position);
	}
	if (rc == HVREPL_OK)
		rc = hvri_container_flush(container);
	if (rc < 0) {
		hvri_container_doom(container);
		hvri_slog_unref(slog);
		hvri_container_unref(container);
		return rc;
	}
	slog->place.id = hvri_store_new_id(store);
	hvri_container_unref(container);
	*slog_out = slog;
	return HVREPL_OK;
}

int32_t hvri_store_load_undo(hvrepl_store *store, uint64_t id,
			     struct hvri_slog **slog_out)
{
	struct hvri_container *container;
	struct hvri_slog *slog = NULL;
	int32_t rc;

	HVRI_TRY(hvri_container_open(&store->env, &store->storage, &store->used,
				     id, &container));
	rc = hvri_slog_create(&store->env, container, store->disk_count, &slog);
	if (rc == HVREPL_OK) {
		rc = hvri_container_scan(container, HVRI_CONTAINER_PAGE,
					 hvri_slog_scan, slog);
		for (uint32_t i = 0; i < store->disk_count; i++)
			if (rc == HVREPL_OK && !slog->disks[i].begun)
				rc = HVREPL_E_CORRUPT;
		slog->place.id = hvri_store_new_id(store);
	}
	hvri_container_unref(container);
	if (rc < 0) {
		hvri_slog_unref(slog);
		return rc;
	}
	*slog_out = slog;
	return HVREPL_OK;
}

int32_t hvri_store_save_base(hvrepl_store *store,
			     struct hvri_slog_writer *writer, uint32_t disk,
			     uint64_t offset, uint64_t length)
{
	const struct hvri_xmap *map = &writer->slog->disks[disk].map;

	while (length > 0) {
		uint64_t next;
		const struct hvri_xent *entry =
			hvri_xmap_find(map, offset, &next);
		uint64_t piece = length;

		/* Saved already: a second time would save the new content. */
		if (entry != NULL && !HVRI_PLANT(undo_saved_again)) {
			piece = HVRI_MIN(length, entry->offset + entry->length -
							 offset);
		} else {
			if (next != UINT64_MAX)
				piece = HVRI_MIN(piece, next - offset);
			piece = HVRI_MIN(piece, HVRI_STORE_PIECE);
			HVRI_TRY(hvri_disk_read(&store->bases[disk], offset,
						store->piece, (size_t)piece));
			HVRI_TRY(hvri_slog_writer_add(writer, disk, offset,
						     store->piece,
						     (size_t)piece));
		}
		offset += piece;
		length -= piece;
	}
	return HVREPL_OK;
}

bool hvri_cursor_next_disk(const hvrepl_store *store, struct hvri_cursor *at)
{
	at->disk++;
	at->at = 0;
	return at->disk < store->disk_count;
}
