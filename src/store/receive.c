/* SPDX-License-Identifier: Apache-2.0 */
/* Receiving: chunks into a container, or into the base while no point exists. */
#include "store/internal.h"

#include "base/cursor.h"

#include <string.h>

static void reset_disk(struct hvri_receive_disk *disk)
{
	/* Kept for the next segment; freed with the store. */
	struct hvri_segment_root root = disk->root;

	memset(disk, 0, sizeof(*disk));
	disk->root = root;
}

void hvri_receive_free(hvrepl_store *store)
{
	hvri_receive_reset(store);
	for (uint32_t i = 0; i < store->disk_count; i++)
		hvri_segment_root_free(&store->receive.disks[i].root);
}

void hvri_receive_reset(hvrepl_store *store)
{
	struct hvri_receive *receive = &store->receive;

	for (uint32_t i = 0; i < store->disk_count; i++)
		reset_disk(&receive->disks[i]);
	hvri_slog_unref(receive->slog);
	receive->slog = NULL;
	/* 256 KiB that an idle relationship does not need. */
	hvri_free(&store->env, receive->raw, HVRI_CHUNK_RAW_MAX);
	receive->raw = NULL;
	receive->active = false;
}

static bool initial(const hvrepl_store *store)
{
	return store->state.phase <= HVRI_MANIFEST_INITIAL;
}

int32_t hvri_receive_drop(hvrepl_store *store)
{
	struct hvri_container *container = store->receive.container;
	int32_t rc = HVREPL_OK;

	if (!store->receive.active)
		return HVREPL_OK;
	if (!initial(store) && container->size > store->state.receiving_tail)
		rc = hvri_container_cut(container,
					store->state.receiving_tail);
	hvri_receive_reset(store);
	return rc < 0 ? hvri_store_poison(store, rc) : HVREPL_OK;
}

int32_t hvri_store_segments_drop(hvrepl_store *store)
{
	int32_t rc;

	hvri_lock(&store->work);
	rc = hvri_store_usable(store);
	if (rc == HVREPL_OK)
		rc = hvri_receive_drop(store);
	hvri_unlock(&store->work);
	return rc;
}

static bool same_cut(const struct hvri_segment_identity *a,
		     const struct hvri_segment_identity *b)
{
	return hvri_uuid_equal(&a->cut, &b->cut) &&
	       hvri_uuid_equal(&a->epoch, &b->epoch) &&
	       a->from_point == b->from_point && a->to_point == b->to_point;
}

static int32_t check_header(hvrepl_store *store, uint32_t disk,
			    const struct hvri_segment_header *header,
			    struct hvrepl_error *error)
{
	const struct hvri_manifest *state = &store->state;
	const struct hvri_manifest_disk *known = &state->disks[disk];
	uint32_t block = store->bases[disk].info.block_size;

	if (!hvri_uuid_equal(&header->identity.vm, &state->vm) ||
	    !hvri_uuid_equal(&header->identity.disk, &known->disk))
		return hvri_fail(error, HVREPL_E_WRONG_DISK,
				 "the segment belongs to another VM or disk");
	if (header->disk_size != known->size)
		return hvri_fail(error, HVREPL_E_WRONG_DISK,
				 "the segment is of a disk of %llu bytes, the "
				 "replica's has %llu: resize the replica first",
				 (unsigned long long)header->disk_size,
				 (unsigned long long)known->size);
	if (header->block_size % block != 0)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "the replica's disk is written in blocks of "
				 "%u bytes, the segment has blocks of %u",
				 block, header->block_size);
	if (hvri_uuid_is_none(&header->identity.cut))
		return hvri_fail(error, HVREPL_E_INVALID,
				 "the segment has no cut id");
	if (initial(store))
		return HVREPL_OK;
	if (state->phase != HVRI_MANIFEST_REPLICA ||
	    state->commit > HVRI_COMMIT_OVERLAY)
		return hvri_fail(error, HVREPL_E_STATE,
				 "the store does not receive now: this side "
				 "owns the disks or a commit runs");
	if (header->identity.from_point !=
	    state->points[state->point_count - 1].number)
		return hvri_fail(error, HVREPL_E_STATE,
				 "the log begins at point %llu, the newest "
				 "point here is %llu",
				 (unsigned long long)header->identity.from_point,
				 (unsigned long long)state
					 ->points[state->point_count - 1]
					 .number);
	return HVREPL_OK;
}

/* The container that takes the segments of the next point. */
static int32_t new_container(hvrepl_store *store)
{
	struct hvri_receive *receive = &store->receive;
	struct hvri_container *fresh;
	struct hvri_manifest_record record = { .type = HVRI_RECORD_RECEIVE };
	int32_t rc;

	HVRI_TRY(hvri_container_create(&store->env, &store->storage,
				       &store->used, hvri_store_new_id(store),
				       &fresh));
	record.id = fresh->id;
	record.tail = fresh->size;
	rc = hvri_store_record(store, &record, NULL);
	if (rc < 0) {
		/* It may be named after all when the record's fate is open. */
		if (hvri_store_usable(store) == HVREPL_OK)
			hvri_container_doom(fresh);
		hvri_container_unref(fresh);
		return rc;
	}
	if (receive->container != NULL &&
	    !hvri_state_needs_container(&store->state, receive->container->id))
		hvri_container_doom(receive->container);
	hvri_container_unref(receive->container);
	receive->container = fresh;
	return HVREPL_OK;
}

static int32_t roll_container(hvrepl_store *store)
{
	const struct hvri_container *container = store->receive.container;

	return container != NULL &&
			       container->size < hvri_container_limit(store) ?
		       HVREPL_OK :
		       new_container(store);
}

static bool has_room(hvrepl_store *store)
{
	return hvri_store_room(store, false) > HVRI_CHUNK_ENCODED_MAX;
}

static int32_t check_space(hvrepl_store *store, struct hvrepl_error *error)
{
	struct hvri_receive *receive = &store->receive;

	if (initial(store) || has_room(store))
		return HVREPL_OK;
	/* The room may lie in the very container that receives: let it go, or
	 * let it be compacted. */
	if (!receive->active && receive->container != NULL &&
	    (receive->container->size >= hvri_container_limit(store) ||
	     hvri_container_sparse(store, receive->container)))
		HVRI_TRY(new_container(store));
	if (has_room(store))
		return HVREPL_OK;
	receive->refused = true;
	return hvri_store_why_full(store, error);
}

/* The first segment of a cut. */
static int32_t begin_cut(hvrepl_store *store,
			 const struct hvri_segment_header *header)
{
	struct hvri_receive *receive = &store->receive;

	if (!initial(store)) {
		HVRI_TRY(roll_container(store));
		HVRI_TRY(hvri_slog_create(&store->env, receive->container,
					  store->disk_count, &receive->slog));
	}
	receive->identity = header->identity;
	memset(&receive->identity.disk, 0, sizeof(receive->identity.disk));
	receive->active = true;
	return HVREPL_OK;
}

static int32_t begin_disk(hvrepl_store *store, uint32_t disk,
			  const struct hvri_segment_header *header,
			  const uint8_t *bytes)
{
	struct hvri_receive *receive = &store->receive;
	struct hvri_receive_disk *to = &receive->disks[disk];
	uint64_t position;
	int32_t rc;

	rc = hvri_segment_root_again(&to->root, header);
	if (rc == HVREPL_OK && !initial(store))
		rc = hvri_container_append(receive->container,
					   HVRI_FRAME_SEGMENT, (uint16_t)disk,
					   bytes, HVRI_SEGMENT_HEADER_SIZE,
					   &position);
	if (rc < 0) {
		hvri_segment_root_free(&to->root);
		return rc;
	}
	receive->headers[disk] = *header;
	if (receive->slog != NULL) {
		receive->slog->disks[disk].header = *header;
		receive->slog->disks[disk].begun = true;
	}
	to->begun = true;
	/* After a crash in INITIAL the first chunks are in the base already. */
	to->root_whole = to->next == 0;
	return HVREPL_OK;
}

static int32_t begin(hvrepl_store *store, uint32_t disk, const uint8_t *bytes,
		     uint32_t *next_out, struct hvrepl_error *error)
{
	struct hvri_receive *receive = &store->receive;
	struct hvri_segment_header header;
	int32_t rc;

	rc = hvri_segment_header_decode(bytes, &header);
	if (rc < 0)
		return hvri_fail_plain(error, rc);
	HVRI_TRY(check_header(store, disk, &header, error));
	/* Only under an equal cut id is anything resumed (T6). */
	if (receive->active && !same_cut(&receive->identity, &header.identity))
		HVRI_TRY(hvri_receive_drop(store));
	if (receive->active && receive->disks[disk].begun) {
		*next_out = receive->disks[disk].next;
		return HVREPL_OK;
	}
	HVRI_TRY(check_space(store, error));
	if (!receive->active)
		HVRI_TRY(begin_cut(store, &header));
	if (initial(store) && receive->raw == NULL) {
		receive->raw = hvri_alloc_io(&store->env, HVRI_CHUNK_RAW_MAX);
		if (receive->raw == NULL)
			return HVREPL_E_NOMEM;
	}
	HVRI_TRY(begin_disk(store, disk, &header, bytes));
	*next_out = receive->disks[disk].next;
	return HVREPL_OK;
}

int32_t hvri_store_segment_begin(hvrepl_store *store, uint32_t disk,
				 const uint8_t header[HVRI_SEGMENT_HEADER_SIZE],
				 uint32_t *next_out, struct hvrepl_error *error)
{
	int32_t rc;

	if (disk >= store->disk_count)
		return HVREPL_E_INVALID;
	hvri_lock(&store->work);
	rc = hvri_store_usable(store);
	if (rc == HVREPL_OK)
		rc = begin(store, disk, header, next_out, error);
	hvri_unlock(&store->work);
	return rc < 0 ? hvri_fail_plain(error, rc) : rc;
}

static int32_t write_extents(hvrepl_store *store, uint32_t disk,
			     const struct hvri_chunk *chunk)
{
	const uint8_t *raw = store->receive.raw;
	bool data = chunk->kind == HVRI_CHUNK_DATA;

	if (data)
		HVRI_TRY(hvri_chunk_unpack(&store->receive.headers[disk], chunk,
					   store->receive.raw));
	for (uint32_t i = 0; i < chunk->extent_count; i++) {
		struct hvrepl_extent extent = hvri_chunk_extent(chunk, i);

		if (!data) {
			HVRI_TRY(hvri_store_zero_base(store, disk,
						      extent.offset,
						      extent.length));
			continue;
		}
		HVRI_TRY(hvri_store_write_base(store, disk, extent.offset, raw,
					       (size_t)extent.length));
		raw += extent.length;
	}
	return HVREPL_OK;
}

/* Append and index; on failure the container is as before. */
static int32_t append_chunk(hvrepl_store *store, uint32_t disk,
			    const struct hvri_chunk *chunk, const void *bytes,
			    size_t length)
{
	struct hvri_container *container = store->receive.container;
	uint64_t size = container->size, position;
	uint32_t batch = container->batch;
	bool begin_batch = container->begin_batch;
	int32_t rc;

	if (!hvri_store_fits(store, length)) {
		store->receive.refused = true;
		return HVREPL_E_NO_SPACE;
	}
	rc = hvri_container_append(container, HVRI_FRAME_CHUNK, (uint16_t)disk,
				   bytes, length, &position);
	if (rc == HVREPL_OK)
		rc = hvri_slog_note_chunk(store->receive.slog, disk, chunk,
					  position, (uint32_t)length);
	if (rc == HVREPL_E_NO_SPACE)
		store->receive.refused = true;
	if (rc < 0) {
		container->size = size;
		container->batch = batch;
		container->begin_batch = begin_batch;
	}
	return rc;
}

static int32_t append(hvrepl_store *store, uint32_t disk, const void *bytes,
		      size_t length)
{
	struct hvri_receive *receive = &store->receive;
	struct hvri_receive_disk *to = &receive->disks[disk];
	struct hvri_chunk chunk;

	if (!receive->active || !to->begun)
		return HVREPL_E_STATE;
	HVRI_TRY(hvri_chunk_decode(&receive->headers[disk], bytes, length,
				   &chunk));
	if (chunk.sequence < to->next)
		return HVREPL_OK;
	if (chunk.sequence > to->next || to->ended)
		return HVREPL_E_PROTOCOL;
	if (initial(store)) {
		if (store->state.phase == HVRI_MANIFEST_INITIAL)
			HVRI_TRY(hvri_stamp_writing(store));
		HVRI_TRY(write_extents(store, disk, &chunk));
	}
	else
		HVRI_TRY(append_chunk(store, disk, &chunk, bytes, length));
	to->next++;
	if (to->root_whole)
		HVRI_TRY(hvri_segment_root_add(&to->root,
					       chunk.stored_digest));
	return HVREPL_OK;
}

int32_t hvri_store_segment_append(hvrepl_store *store, uint32_t disk,
				  const void *chunk, size_t length)
{
	int32_t rc;

	if (disk >= store->disk_count)
		return HVREPL_E_INVALID;
	hvri_lock(&store->work);
	rc = hvri_store_usable(store);
	if (rc == HVREPL_OK)
		rc = append(store, disk, chunk, length);
	hvri_unlock(&store->work);
	return rc;
}

static int32_t flush(hvrepl_store *store)
{
	struct hvri_receive *receive = &store->receive;
	bool news = false;

	if (!receive->active)
		return HVREPL_OK;
	for (uint32_t i = 0; i < store->disk_count; i++)
		news |= receive->disks[i].next != receive->disks[i].durable;
	if (initial(store)) {
		if (!news)
			return HVREPL_OK;
		HVRI_TRY(hvri_store_flush_bases(store));
		HVRI_TRY(hvri_receive_record_initial(store, true, NULL));
	} else {
		int32_t rc = hvri_container_flush(receive->container);

		if (rc < 0)
			return hvri_store_poison(store, rc);
	}
	for (uint32_t i = 0; i < store->disk_count; i++)
		receive->disks[i].durable = receive->disks[i].next;
	return HVREPL_OK;
}

int32_t hvri_store_flush(hvrepl_store *store)
{
	int32_t rc;

	hvri_lock(&store->work);
	rc = hvri_store_usable(store);
	if (rc == HVREPL_OK)
		rc = flush(store);
	hvri_unlock(&store->work);
	return rc;
}

static int32_t end_segment(hvrepl_store *store, uint32_t disk, uint32_t count,
			   const uint8_t root[32])
{
	struct hvri_receive *receive = &store->receive;
	struct hvri_receive_disk *to = &receive->disks[disk];
	uint8_t payload[HVRI_FRAME_END_PAYLOAD], mine[32];
	struct hvri_writer writer = hvri_writer_over(payload, sizeof(payload));
	uint64_t position;

	if (!receive->active || !to->begun)
		return HVREPL_E_STATE;
	if (to->ended)
		return HVREPL_OK;
	if (to->next != count) {
		HVRI_TRY(hvri_receive_drop(store));
		return HVREPL_E_CORRUPT;
	}
	if (to->root_whole) {
		int32_t rc = hvri_segment_root_end(&to->root, mine);

		to->root_whole = false;
		if (rc < 0 || memcmp(mine, root, 32) != 0) {
			HVRI_TRY(hvri_receive_drop(store));
			return rc < 0 ? rc : HVREPL_E_CORRUPT;
		}
	}
	hvri_write_u32(&writer, count);
	hvri_write_u32(&writer, 0);
	hvri_write_bytes(&writer, root, 32);
	if (!initial(store))
		HVRI_TRY(hvri_container_append(receive->container,
					       HVRI_FRAME_END, (uint16_t)disk,
					       payload, sizeof(payload),
					       &position));
	to->ended = true;
	return HVREPL_OK;
}

int32_t hvri_store_segment_end(hvrepl_store *store, uint32_t disk,
			       uint32_t chunk_count, const uint8_t root[32])
{
	int32_t rc;

	if (disk >= store->disk_count)
		return HVREPL_E_INVALID;
	hvri_lock(&store->work);
	rc = hvri_store_usable(store);
	if (rc == HVREPL_OK)
		rc = end_segment(store, disk, chunk_count, root);
	hvri_unlock(&store->work);
	return rc;
}

int32_t hvri_store_partial(hvrepl_store *store, uint32_t disk,
			   struct hvri_store_partial *out)
{
	const struct hvri_receive *receive = &store->receive;
	const struct hvri_receive_disk *of;
	bool some;

	if (disk >= store->disk_count)
		return HVREPL_E_INVALID;
	of = &receive->disks[disk];
	hvri_lock(&store->work);
	memset(out, 0, sizeof(*out));
	out->frontier = store->state.disks[disk].frontier;
	some = receive->active && (of->begun || of->next > 0);
	if (some) {
		out->identity = receive->identity;
		out->identity.disk = store->state.disks[disk].disk;
		out->received = of->next;
		out->durable = of->durable;
		out->complete = of->ended;
	}
	hvri_unlock(&store->work);
	return some ? HVREPL_OK : HVREPL_E_NOT_FOUND;
}
