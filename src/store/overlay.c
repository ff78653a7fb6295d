/* SPDX-License-Identifier: Apache-2.0 */
/* Overlays: blocks in place in a data object, and a map in memory. */
#include "store/overlay.h"

#include "store/overlay_map.h"

#include <stdio.h>
#include <string.h>

static void object_ids(const struct hvri_overlay *overlay, uint32_t disk,
		       char data_out[HVREPL_OBJECT_ID_MAX + 1],
		       char map_out[HVREPL_OBJECT_ID_MAX + 1])
{
	unsigned long long id = overlay->id;

	(void)snprintf(data_out, HVREPL_OBJECT_ID_MAX + 1,
		       HVRI_OVERLAY_DATA_PREFIX "%016llx.%02u", id, disk);
	(void)snprintf(map_out, HVREPL_OBJECT_ID_MAX + 1,
		       HVRI_OVERLAY_MAP_PREFIX "%016llx.%02u", id, disk);
}

static struct hvri_overlay *new_overlay(const struct hvri_env *env,
					const struct hvri_storage *storage,
					uint64_t *used, uint64_t id,
					const struct hvri_manifest *state)
{
	struct hvri_overlay *overlay = hvri_alloc(env, sizeof(*overlay));

	if (overlay == NULL)
		return NULL;
	overlay->disks = hvri_alloc_array(env, state->disk_count,
					  sizeof(*overlay->disks));
	if (overlay->disks == NULL) {
		hvri_free(env, overlay, sizeof(*overlay));
		return NULL;
	}
	overlay->env = env;
	overlay->storage = storage;
	overlay->used = used;
	overlay->refs = 1;
	overlay->id = id;
	overlay->disk_count = state->disk_count;
	hvri_mutex_init(&overlay->mutex);
	hvri_mutex_init(&overlay->flushing);
	for (uint32_t i = 0; i < state->disk_count; i++) {
		struct hvri_overlay_disk *disk = &overlay->disks[i];

		disk->size = state->disks[i].size;
		disk->page_count = (size_t)((disk->size + PAGE_BYTES - 1) /
					    PAGE_BYTES);
		disk->pages = hvri_alloc_array(env, disk->page_count,
					       sizeof(disk->pages[0]));
		if (disk->pages == NULL) {
			disk->page_count = 0;
			hvri_overlay_unref(overlay);
			return NULL;
		}
	}
	return overlay;
}

static int32_t create_disk(struct hvri_overlay *overlay, uint32_t i)
{
	struct hvri_overlay_disk *disk = &overlay->disks[i];
	char data[HVREPL_OBJECT_ID_MAX + 1], map[HVREPL_OBJECT_ID_MAX + 1];
	uint8_t *buffer;
	int32_t rc;

	object_ids(overlay, i, data, map);
	HVRI_TRY(hvri_object_open(overlay->storage, data, HVREPL_OBJECT_CREATE,
				  &disk->data));
	if (!overlay->durable)
		return HVREPL_OK;
	HVRI_TRY(hvri_object_open(overlay->storage, map, HVREPL_OBJECT_CREATE,
				  &disk->map));
	buffer = hvri_alloc(overlay->env, OVERLAY_RECORD_MAX);
	if (buffer == NULL)
		return HVREPL_E_NOMEM;
	rc = hvri_overlay_map_append(overlay, i, NULL, 0, buffer);
	hvri_free(overlay->env, buffer, OVERLAY_RECORD_MAX);
	HVRI_TRY(rc);
	HVRI_TRY(hvri_object_flush(&disk->map));
	return hvri_object_flush(&disk->data);
}

int32_t hvri_overlay_create(const struct hvri_env *env,
			    const struct hvri_storage *storage, uint64_t *used,
			    uint64_t id, bool durable,
			    const struct hvri_manifest *state,
			    struct hvri_overlay **overlay_out)
{
	struct hvri_overlay *overlay =
		new_overlay(env, storage, used, id, state);
	int32_t rc = HVREPL_OK;

	if (overlay == NULL)
		return HVREPL_E_NOMEM;
	overlay->durable = durable;
	for (uint32_t i = 0; i < overlay->disk_count && rc == HVREPL_OK; i++)
		rc = create_disk(overlay, i);
	if (rc < 0) {
		hvri_overlay_doom(overlay);
		hvri_overlay_unref(overlay);
		return rc;
	}
	*overlay_out = overlay;
	return HVREPL_OK;
}

int32_t hvri_overlay_recover(const struct hvri_env *env,
			     const struct hvri_storage *storage, uint64_t *used,
			     uint64_t id, const struct hvri_manifest *state,
			     struct hvri_overlay **overlay_out)
{
	struct hvri_overlay *overlay =
		new_overlay(env, storage, used, id, state);
	char data[HVREPL_OBJECT_ID_MAX + 1], map[HVREPL_OBJECT_ID_MAX + 1];
	int32_t rc = HVREPL_OK;

	if (overlay == NULL)
		return HVREPL_E_NOMEM;
	overlay->durable = true;
	for (uint32_t i = 0; i < overlay->disk_count && rc == HVREPL_OK; i++) {
		struct hvri_overlay_disk *disk = &overlay->disks[i];

		object_ids(overlay, i, data, map);
		rc = hvri_object_open(storage, data, 0, &disk->data);
		if (rc == HVREPL_OK)
			rc = hvri_object_open(storage, map, 0, &disk->map);
		if (rc == HVREPL_E_NOT_FOUND)
			rc = HVREPL_E_TRUNCATED;
		if (rc == HVREPL_OK)
			rc = hvri_overlay_map_load(overlay, i);
	}
	if (rc < 0) {
		hvri_overlay_unref(overlay);
		return rc;
	}
	*overlay_out = overlay;
	return HVREPL_OK;
}

struct hvri_overlay *hvri_overlay_ref(struct hvri_overlay *overlay)
{
	__atomic_add_fetch(&overlay->refs, 1, __ATOMIC_RELAXED);
	return overlay;
}

void hvri_overlay_doom(struct hvri_overlay *overlay)
{
	__atomic_store_n(&overlay->doomed, 1, __ATOMIC_RELAXED);
}

static void free_disk(struct hvri_overlay *overlay, uint32_t i, bool doomed)
{
	struct hvri_overlay_disk *disk = &overlay->disks[i];
	bool had_data = disk->data.object != NULL;
	bool had_map = disk->map.object != NULL;
	char data[HVREPL_OBJECT_ID_MAX + 1], map[HVREPL_OBJECT_ID_MAX + 1];
	int32_t rc = HVREPL_OK;

	object_ids(overlay, i, data, map);
	hvri_object_close(&disk->data);
	hvri_object_close(&disk->map);
	for (size_t p = 0; p < disk->page_count; p++)
		hvri_free(overlay->env, disk->pages[p],
			  sizeof(struct hvri_overlay_page));
	hvri_free(overlay->env, disk->pages,
		  disk->page_count * sizeof(disk->pages[0]));
	if (doomed && had_data)
		rc = hvri_storage_remove(overlay->storage, data);
	if (doomed && had_map)
		rc = hvri_storage_remove(overlay->storage, map);
	(void)rc; /* Left over at worst: opening the store removes it. */
}

void hvri_overlay_unref(struct hvri_overlay *overlay)
{
	bool doomed;

	if (overlay == NULL ||
	    __atomic_sub_fetch(&overlay->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	doomed = __atomic_load_n(&overlay->doomed, __ATOMIC_RELAXED) != 0;
	for (uint32_t i = 0; i < overlay->disk_count; i++)
		free_disk(overlay, i, doomed);
	__atomic_sub_fetch(overlay->used, overlay->accounted, __ATOMIC_RELAXED);
	hvri_mutex_destroy(&overlay->mutex);
	hvri_mutex_destroy(&overlay->flushing);
	hvri_free(overlay->env, overlay->disks,
		  overlay->disk_count * sizeof(*overlay->disks));
	hvri_free(overlay->env, overlay, sizeof(*overlay));
}

uint32_t hvri_overlay_run(struct hvri_overlay *overlay, uint32_t disk,
			  uint64_t offset, uint64_t *length_inout)
{
	uint64_t block = offset / HVRI_OVERLAY_BLOCK;
	uint64_t last = (offset + *length_inout - 1) / HVRI_OVERLAY_BLOCK;
	uint32_t state;

	hvri_lock(&overlay->mutex);
	state = hvri_overlay_get(&overlay->disks[disk], block);
	while (block < last &&
	       hvri_overlay_get(&overlay->disks[disk], block + 1) == state)
		block = hvri_overlay_skip(&overlay->disks[disk], block + 1,
					  last, state);
	hvri_unlock(&overlay->mutex);
	*length_inout = HVRI_MIN(*length_inout,
				 (block + 1) * HVRI_OVERLAY_BLOCK - offset);
	return state;
}

void hvri_overlay_next(struct hvri_overlay *overlay, uint32_t disk,
		       uint64_t offset, uint64_t max,
		       struct hvrepl_extent *out)
{
	uint64_t size = overlay->disks[disk].size;

	out->offset = offset;
	out->length = 0;
	while (offset < size) {
		uint64_t length = size - offset;
		uint32_t state =
			hvri_overlay_run(overlay, disk, offset, &length);

		if (state != HVRI_OVERLAY_ABSENT) {
			out->offset = offset;
			out->length = HVRI_MIN(length, max);
			return;
		}
		offset += length;
	}
}

uint64_t hvri_overlay_bytes(struct hvri_overlay *overlay)
{
	uint64_t bytes;

	hvri_lock(&overlay->mutex);
	bytes = overlay->written_bytes;
	hvri_unlock(&overlay->mutex);
	return bytes;
}

int32_t hvri_overlay_read(struct hvri_overlay *overlay, uint32_t disk,
			  uint64_t offset, void *buffer, size_t length)
{
	return hvri_object_read(&overlay->disks[disk].data, offset, buffer,
				length);
}

/* Write to the data object and mark the blocks. */
static int32_t write_blocks(struct hvri_overlay *overlay, uint32_t disk,
			    uint64_t offset, const void *bytes, size_t length)
{
	uint64_t first = offset / HVRI_OVERLAY_BLOCK;
	uint64_t past = (offset + length - 1) / HVRI_OVERLAY_BLOCK + 1;
	int32_t rc;

	/* Room for the marks first: a write that cannot be marked is lost. */
	hvri_lock(&overlay->mutex);
	rc = overlay->broken;
	if (rc == HVREPL_OK)
		rc = hvri_overlay_prepare(overlay, disk, first, past);
	hvri_unlock(&overlay->mutex);
	if (rc < 0)
		return rc;
	HVRI_TRY(hvri_object_write(&overlay->disks[disk].data, offset, bytes,
				   length));
	hvri_lock(&overlay->mutex);
	hvri_overlay_set(overlay, disk, first, past, HVRI_OVERLAY_DATA);
	overlay->disks[disk].data_dirty = true;
	hvri_unlock(&overlay->mutex);
	return HVREPL_OK;
}

/* A write of less than a block; bytes NULL: zeroes. */
static int32_t write_part(struct hvri_overlay *overlay, uint32_t disk,
			  uint64_t offset, const void *bytes, size_t length,
			  hvri_overlay_below *below, void *argument)
{
	uint64_t start = offset / HVRI_OVERLAY_BLOCK * HVRI_OVERLAY_BLOCK;
	uint64_t whole = HVRI_MIN((uint64_t)HVRI_OVERLAY_BLOCK,
				  overlay->disks[disk].size - start);
	uint64_t one = 1;
	uint32_t state = hvri_overlay_run(overlay, disk, start, &one);
	uint8_t block[HVRI_OVERLAY_BLOCK];

	memset(block, 0, sizeof(block));
	if (state == HVRI_OVERLAY_DATA)
		return write_blocks(overlay, disk, offset,
				    bytes != NULL ? bytes : block, length);
	if (state == HVRI_OVERLAY_ABSENT)
		HVRI_TRY(below(argument, disk, start, block, (size_t)whole));
	if (bytes != NULL)
		memcpy(block + (offset - start), bytes, length);
	else
		memset(block + (offset - start), 0, length);
	return write_blocks(overlay, disk, start, block, (size_t)whole);
}

/* Bytes of [offset, end) up to which blocks are only touched in part, or, at a
 * block's beginning, are whole. */
static uint64_t piece_of(const struct hvri_overlay_disk *disk, uint64_t offset,
			 uint64_t end, bool *whole_out)
{
	uint64_t in_block = offset % HVRI_OVERLAY_BLOCK;
	uint64_t whole;

	*whole_out = false;
	if (in_block != 0)
		return HVRI_MIN(end - offset, HVRI_OVERLAY_BLOCK - in_block);
	/* The end of the disk ends a block too. */
	whole = end == disk->size ? end - offset :
				    (end - offset) / HVRI_OVERLAY_BLOCK *
					    HVRI_OVERLAY_BLOCK;
	*whole_out = whole > 0;
	return whole > 0 ? whole : end - offset;
}

int32_t hvri_overlay_write(struct hvri_overlay *overlay, uint32_t disk,
			   uint64_t offset, const void *bytes, size_t length,
			   hvri_overlay_below *below, void *argument)
{
	const uint8_t *from = bytes;
	uint64_t end = offset + length;

	while (offset < end) {
		bool whole;
		uint64_t piece = piece_of(&overlay->disks[disk], offset, end,
					  &whole);

		if (whole)
			HVRI_TRY(write_blocks(overlay, disk, offset, from,
					      (size_t)piece));
		else
			HVRI_TRY(write_part(overlay, disk, offset, from,
					    (size_t)piece, below, argument));
		from += piece;
		offset += piece;
	}
	return HVREPL_OK;
}

static int32_t zero_blocks(struct hvri_overlay *overlay, uint32_t disk,
			   uint64_t offset, uint64_t length)
{
	uint64_t first = offset / HVRI_OVERLAY_BLOCK;
	uint64_t past = (offset + length - 1) / HVRI_OVERLAY_BLOCK + 1;
	bool had_data = false;
	int32_t rc;

	hvri_lock(&overlay->mutex);
	rc = overlay->broken;
	if (rc == HVREPL_OK)
		rc = hvri_overlay_prepare(overlay, disk, first, past);
	if (rc == HVREPL_OK) {
		had_data = hvri_overlay_set(overlay, disk, first, past,
					    HVRI_OVERLAY_ZERO);
		overlay->disks[disk].data_dirty |= had_data;
	}
	hvri_unlock(&overlay->mutex);
	if (rc < 0 || !had_data)
		return rc;
	/* Only to give the space back: the map says zeroes already. */
	rc = hvri_object_punch(&overlay->disks[disk].data, offset, length);
	return rc == HVREPL_E_NOMEM ? rc : HVREPL_OK;
}

int32_t hvri_overlay_zero(struct hvri_overlay *overlay, uint32_t disk,
			  uint64_t offset, uint64_t length,
			  hvri_overlay_below *below, void *argument)
{
	uint64_t end = offset + length;

	while (offset < end) {
		bool whole;
		uint64_t piece = piece_of(&overlay->disks[disk], offset, end,
					  &whole);

		if (whole)
			HVRI_TRY(zero_blocks(overlay, disk, offset, piece));
		else
			HVRI_TRY(write_part(overlay, disk, offset, NULL,
					    (size_t)piece, below, argument));
		offset += piece;
	}
	return HVREPL_OK;
}

static int32_t flush_disk(struct hvri_overlay *overlay, uint32_t i,
			  uint8_t *buffer)
{
	struct hvri_overlay_disk *disk = &overlay->disks[i];
	struct hvri_overlay_change *changes = NULL;
	size_t count = 0;
	bool data;
	int32_t rc;

	hvri_lock(&overlay->mutex);
	rc = overlay->broken;
	if (rc == HVREPL_OK)
		rc = hvri_overlay_take_changes(overlay, i, &changes, &count);
	data = disk->data_dirty;
	if (rc == HVREPL_OK)
		disk->data_dirty = false;
	hvri_unlock(&overlay->mutex);
	if (rc < 0)
		return rc;
	if (data)
		rc = hvri_object_flush(&disk->data);
	if (rc == HVREPL_OK && count > 0)
		rc = hvri_overlay_map_append(overlay, i, changes, count,
					     buffer);
	if (rc == HVREPL_OK && count > 0)
		rc = hvri_object_flush(&disk->map);
	hvri_free(overlay->env, changes, count * sizeof(changes[0]));
	if (rc < 0) {
		/* The marks taken are gone, and nobody knows what a failed
		 * flush left: what was not flushed before may be lost. */
		hvri_lock(&overlay->mutex);
		overlay->broken = HVREPL_E_POISONED;
		hvri_unlock(&overlay->mutex);
	}
	return rc;
}

bool hvri_overlay_failed(struct hvri_overlay *overlay)
{
	bool failed;

	hvri_lock(&overlay->mutex);
	failed = overlay->broken < 0;
	hvri_unlock(&overlay->mutex);
	return failed;
}

int32_t hvri_overlay_flush(struct hvri_overlay *overlay)
{
	int32_t rc = HVREPL_OK;
	uint8_t *buffer;

	/* Before changes are taken: those that cannot be written are lost. */
	buffer = hvri_alloc(overlay->env, OVERLAY_RECORD_MAX);
	if (buffer == NULL)
		return HVREPL_E_NOMEM;
	hvri_lock(&overlay->flushing);
	for (uint32_t i = 0; i < overlay->disk_count && rc == HVREPL_OK; i++)
		rc = flush_disk(overlay, i, buffer);
	hvri_unlock(&overlay->flushing);
	hvri_free(overlay->env, buffer, OVERLAY_RECORD_MAX);
	return rc;
}
