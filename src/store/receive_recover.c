/* SPDX-License-Identifier: Apache-2.0 */
/* What is left of a cut that was being received (T6: resume by cut id). */
#include "store/internal.h"

#include "base/cursor.h"

#include <string.h>

static int32_t found_segment(hvrepl_store *store, uint32_t disk,
			     const uint8_t *payload, size_t length)
{
	struct hvri_receive *receive = &store->receive;
	const struct hvri_manifest *state = &store->state;
	struct hvri_segment_header header;

	if (length != HVRI_SEGMENT_HEADER_SIZE || receive->disks[disk].begun)
		return HVREPL_E_CORRUPT;
	HVRI_TRY(hvri_segment_header_decode(payload, &header));
	if (!hvri_uuid_equal(&header.identity.vm, &state->vm) ||
	    !hvri_uuid_equal(&header.identity.disk, &state->disks[disk].disk) ||
	    header.disk_size != state->disks[disk].size)
		return HVREPL_E_CORRUPT;
	if (!receive->active) {
		HVRI_TRY(hvri_slog_create(&store->env, receive->container,
					  store->disk_count, &receive->slog));
		receive->identity = header.identity;
		memset(&receive->identity.disk, 0,
		       sizeof(receive->identity.disk));
		receive->active = true;
	} else if (!hvri_uuid_equal(&receive->identity.cut,
				    &header.identity.cut)) {
		return HVREPL_E_CORRUPT;
	}
	HVRI_TRY(hvri_segment_root_again(&receive->disks[disk].root, &header));
	receive->headers[disk] = header;
	receive->slog->disks[disk].header = header;
	receive->slog->disks[disk].begun = true;
	receive->disks[disk].begun = true;
	receive->disks[disk].root_whole = true;
	return HVREPL_OK;
}

static int32_t found_chunk(hvrepl_store *store, uint32_t disk,
			   const uint8_t *payload, size_t length,
			   uint64_t position)
{
	struct hvri_receive *receive = &store->receive;
	struct hvri_receive_disk *to = &receive->disks[disk];
	struct hvri_chunk chunk;

	if (!to->begun || to->ended)
		return HVREPL_E_CORRUPT;
	if (hvri_chunk_decode(&receive->headers[disk], payload, length,
			      &chunk) < 0 ||
	    chunk.sequence != to->next)
		return HVREPL_E_CORRUPT;
	HVRI_TRY(hvri_slog_note_chunk(receive->slog, disk, &chunk, position,
				      (uint32_t)length));
	HVRI_TRY(hvri_segment_root_add(&to->root, chunk.stored_digest));
	to->next++;
	return HVREPL_OK;
}

static int32_t found_end(hvrepl_store *store, uint32_t disk,
			 const uint8_t *payload, size_t length)
{
	struct hvri_receive_disk *to = &store->receive.disks[disk];
	uint8_t root[32];
	uint32_t count;
	struct hvri_reader reader = hvri_reader_over(payload, length);

	count = hvri_read_u32(&reader);
	hvri_read_pad(&reader, 4, true);
	if (length != HVRI_FRAME_END_PAYLOAD || !to->begun || to->ended ||
	    count != to->next)
		return HVREPL_E_CORRUPT;
	to->root_whole = false;
	HVRI_TRY(hvri_segment_root_end(&to->root, root));
	if (memcmp(root, payload + 8, 32) != 0)
		return HVREPL_E_CORRUPT;
	to->ended = true;
	return HVREPL_OK;
}

static int32_t found(void *argument, uint16_t type, uint16_t disk,
		     const uint8_t *payload, size_t length, uint64_t position)
{
	hvrepl_store *store = argument;

	if (type == HVRI_FRAME_INDEX) /* Its point is not in the manifest. */
		return HVREPL_OK;
	if (disk >= store->disk_count)
		return HVREPL_E_CORRUPT;
	switch (type) {
	case HVRI_FRAME_SEGMENT:
		return found_segment(store, disk, payload, length);
	case HVRI_FRAME_CHUNK:
		return found_chunk(store, disk, payload, length, position);
	case HVRI_FRAME_END:
		return found_end(store, disk, payload, length);
	default:
		return HVREPL_E_CORRUPT;
	}
}

static void resume_initial(hvrepl_store *store)
{
	struct hvri_receive *receive = &store->receive;
	const struct hvri_manifest *state = &store->state;

	if (hvri_uuid_is_none(&state->init_cut))
		return;
	receive->active = true;
	receive->identity.vm = state->vm;
	receive->identity.cut = state->init_cut;
	receive->identity.epoch = state->init_epoch;
	receive->identity.from_point = state->init_from;
	receive->identity.to_point = state->init_to;
	for (uint32_t i = 0; i < store->disk_count; i++) {
		receive->disks[i].next = state->disks[i].init_sequence;
		receive->disks[i].durable = state->disks[i].init_sequence;
		receive->disks[i].ended = state->disks[i].init_ended != 0;
	}
}

/* Nothing of it was acknowledged as a point, so what is damaged is fetched
 * again. */
static int32_t start_over(hvrepl_store *store, struct hvri_container *container)
{
	hvri_receive_reset(store);
	return hvri_container_cut(container, store->state.receiving_tail);
}

int32_t hvri_receive_recover(hvrepl_store *store)
{
	struct hvri_receive *receive = &store->receive;
	const struct hvri_manifest *state = &store->state;
	struct hvri_container *container = receive->container;
	int32_t rc;

	if (state->phase == HVRI_MANIFEST_INITIAL)
		resume_initial(store);
	if (state->phase != HVRI_MANIFEST_REPLICA || container == NULL)
		return HVREPL_OK;
	if (container->size < state->receiving_tail)
		return HVREPL_E_TRUNCATED;
	rc = hvri_container_scan(container, state->receiving_tail, found,
				 store);
	if (rc == HVREPL_E_CORRUPT)
		return start_over(store, container);
	if (rc < 0)
		return rc;
	if (receive->active &&
	    receive->identity.from_point !=
		    state->points[state->point_count - 1].number)
		return start_over(store, container);
	for (uint32_t i = 0; i < store->disk_count; i++)
		receive->disks[i].durable = receive->disks[i].next;
	return HVREPL_OK;
}
