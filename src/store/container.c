/* SPDX-License-Identifier: Apache-2.0 */
/* Container files: frames in batches, and what is left of them after a crash. */
#include "store/container.h"

#include "base/cursor.h"
#include "base/digest.h"
#include "base/plant.h"
#include "format/segment.h"

#include <stdio.h>
#include <string.h>

#define FILE_MAGIC "HVRBOX01"
#define FRAME_MAGIC 0x46525648u /* "HVRF" */
#define SMALL_MAX 512u		/* Payloads the frame's digest covers. */
#define LOOK_AHEAD (64u << 10)

struct frame {
	uint16_t type, disk;
	uint32_t length;
	uint32_t batch;
	uint8_t digest[16];
};

static uint64_t page_up(uint64_t at)
{
	return (at + HVRI_CONTAINER_PAGE - 1) / HVRI_CONTAINER_PAGE *
	       HVRI_CONTAINER_PAGE;
}

static void container_id(uint64_t id, char out[HVREPL_OBJECT_ID_MAX + 1])
{
	(void)snprintf(out, HVREPL_OBJECT_ID_MAX + 1,
		       HVRI_CONTAINER_PREFIX "%016llx",
		       (unsigned long long)id);
}

/* The big ones have digests of their own. */
static bool is_small(uint16_t type)
{
	return type != HVRI_FRAME_CHUNK && type != HVRI_FRAME_INDEX;
}

/* Where it lies is part of what it is: no stale frame passes. */
static void frame_digest(uint64_t container, uint64_t at,
			 const uint8_t fixed[16], const void *payload,
			 size_t length, uint8_t out[16])
{
	uint8_t place[16];
	struct hvri_writer writer = hvri_writer_over(place, sizeof(place));
	struct hvri_part parts[3] = { { place, sizeof(place) },
				      { fixed, 16 },
				      { payload, length } };

	hvri_write_u64(&writer, container);
	hvri_write_u64(&writer, at);
	hvri_xxh3(parts, length > 0 ? 3 : 2, out);
}

static void frame_encode(uint64_t container, uint64_t at,
			 const struct frame *frame, const void *payload,
			 uint8_t out[HVRI_FRAME_SIZE])
{
	struct hvri_writer writer = hvri_writer_over(out, 16);

	hvri_write_u32(&writer, FRAME_MAGIC);
	hvri_write_u16(&writer, frame->type);
	hvri_write_u16(&writer, frame->disk);
	hvri_write_u32(&writer, frame->length);
	hvri_write_u32(&writer, frame->batch);
	frame_digest(container, at, out, payload,
		     is_small(frame->type) ? frame->length : 0, out + 16);
}

static bool frame_decode(const uint8_t bytes[HVRI_FRAME_SIZE],
			 struct frame *out)
{
	struct hvri_reader reader = hvri_reader_over(bytes, HVRI_FRAME_SIZE);
	uint32_t magic = hvri_read_u32(&reader);

	out->type = hvri_read_u16(&reader);
	out->disk = hvri_read_u16(&reader);
	out->length = hvri_read_u32(&reader);
	out->batch = hvri_read_u32(&reader);
	hvri_read_bytes(&reader, out->digest, 16);
	if (magic != FRAME_MAGIC || out->type < HVRI_FRAME_BATCH ||
	    out->type > HVRI_FRAME_SEAL ||
	    out->disk >= HVREPL_STORE_DISKS_MAX)
		return false;
	if (is_small(out->type))
		return out->length <= SMALL_MAX;
	return out->type == HVRI_FRAME_INDEX ||
	       out->length <= HVRI_CHUNK_ENCODED_MAX;
}

static struct hvri_container *new_container(const struct hvri_env *env,
					    const struct hvri_storage *storage,
					    uint64_t *used, uint64_t id)
{
	struct hvri_container *container = hvri_alloc(env, sizeof(*container));

	if (container == NULL)
		return NULL;
	container->env = env;
	container->storage = storage;
	container->used = used;
	container->refs = 1;
	container->id = id;
	container->begin_batch = true;
	return container;
}

static void set_room(struct hvri_container *container, uint64_t room)
{
	__atomic_add_fetch(container->used, room - container->room,
			   __ATOMIC_RELAXED);
	container->room = room;
}

static void head_page(uint64_t id, uint8_t page[HVRI_CONTAINER_PAGE])
{
	struct hvri_writer writer = hvri_writer_over(page, HVRI_CONTAINER_PAGE);
	struct hvri_part part = { page, 24 };

	hvri_write_bytes(&writer, FILE_MAGIC, 8);
	hvri_write_u32(&writer, 1); /* Version. */
	hvri_write_u32(&writer, 0); /* Flags. */
	hvri_write_u64(&writer, id);
	hvri_xxh3(&part, 1, page + 24);
	memset(page + 40, 0, HVRI_CONTAINER_PAGE - 40);
}

int32_t hvri_container_create(const struct hvri_env *env,
			      const struct hvri_storage *storage,
			      uint64_t *used, uint64_t id,
			      struct hvri_container **container_out)
{
	struct hvri_container *container;
	char name[HVREPL_OBJECT_ID_MAX + 1];
	uint8_t page[HVRI_CONTAINER_PAGE];
	int32_t rc;

	container = new_container(env, storage, used, id);
	if (container == NULL)
		return HVREPL_E_NOMEM;
	container_id(id, name);
	rc = hvri_object_open(storage, name, HVREPL_OBJECT_CREATE,
			      &container->object);
	if (rc < 0) {
		hvri_container_unref(container);
		return rc;
	}
	head_page(id, page);
	rc = hvri_object_write(&container->object, 0, page, sizeof(page));
	if (rc == HVREPL_OK)
		rc = hvri_object_flush(&container->object);
	container->size = HVRI_CONTAINER_PAGE;
	set_room(container, container->size);
	if (rc < 0) {
		hvri_container_doom(container);
		hvri_container_unref(container);
		return rc;
	}
	*container_out = container;
	return HVREPL_OK;
}

int32_t hvri_container_open(const struct hvri_env *env,
			    const struct hvri_storage *storage, uint64_t *used,
			    uint64_t id, struct hvri_container **container_out)
{
	struct hvri_container *container;
	char name[HVREPL_OBJECT_ID_MAX + 1];
	uint8_t page[HVRI_CONTAINER_PAGE], wanted[HVRI_CONTAINER_PAGE];
	uint64_t size = 0;
	int32_t rc;

	container = new_container(env, storage, used, id);
	if (container == NULL)
		return HVREPL_E_NOMEM;
	container_id(id, name);
	rc = hvri_object_open(storage, name, 0, &container->object);
	if (rc == HVREPL_E_NOT_FOUND)
		rc = HVREPL_E_TRUNCATED;
	if (rc == HVREPL_OK)
		rc = hvri_object_size(&container->object, &size);
	if (rc == HVREPL_OK && size < HVRI_CONTAINER_PAGE)
		rc = HVREPL_E_TRUNCATED;
	if (rc == HVREPL_OK)
		rc = hvri_object_read(&container->object, 0, page,
				      sizeof(page));
	head_page(id, wanted);
	if (rc == HVREPL_OK && memcmp(page, wanted, sizeof(page)) != 0)
		rc = HVREPL_E_CORRUPT;
	if (rc < 0) {
		hvri_container_unref(container);
		return rc;
	}
	container->size = size;
	set_room(container, size);
	*container_out = container;
	return HVREPL_OK;
}

struct hvri_container *hvri_container_ref(struct hvri_container *container)
{
	__atomic_add_fetch(&container->refs, 1, __ATOMIC_RELAXED);
	return container;
}

void hvri_container_doom(struct hvri_container *container)
{
	__atomic_store_n(&container->doomed, 1, __ATOMIC_RELAXED);
}

void hvri_container_unref(struct hvri_container *container)
{
	char name[HVREPL_OBJECT_ID_MAX + 1];
	int32_t rc;

	if (container == NULL ||
	    __atomic_sub_fetch(&container->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	hvri_object_close(&container->object);
	set_room(container, 0);
	if (__atomic_load_n(&container->doomed, __ATOMIC_RELAXED) != 0) {
		container_id(container->id, name);
		rc = hvri_storage_remove(container->storage, name);
		(void)rc; /* Left over at worst: opening removes it. */
	}
	hvri_free(container->env, container, sizeof(*container));
}

/* The frame that begins a batch, and its payload, in front of another. */
static size_t batch_frame(struct hvri_container *container, uint64_t at,
			  uint8_t out[HVRI_FRAME_SIZE + 8])
{
	struct frame frame = { .type = HVRI_FRAME_BATCH,
			       .length = 8,
			       .batch = container->batch + 1 };
	struct hvri_writer writer = hvri_writer_over(out + HVRI_FRAME_SIZE, 8);

	hvri_write_u64(&writer, container->size);
	frame_encode(container->id, at, &frame, out + HVRI_FRAME_SIZE, out);
	return HVRI_FRAME_SIZE + 8;
}

int32_t hvri_container_append(struct hvri_container *container, uint16_t type,
			      uint16_t disk, const void *payload,
			      size_t length, uint64_t *position_out)
{
	struct frame frame = { .type = type,
			       .disk = disk,
			       .length = (uint32_t)length,
			       .batch = container->batch };
	uint8_t head[2u * HVRI_FRAME_SIZE + 8];
	struct hvrepl_iovec iov[2];
	uint64_t at = container->size;
	size_t lead = 0;
	int32_t rc;

	if (length > UINT32_MAX - HVRI_FRAME_SIZE)
		return HVREPL_E_LIMIT;
	if (container->begin_batch) {
		at = page_up(at);
		lead = batch_frame(container, at, head);
		frame.batch++;
	}
	frame_encode(container->id, at + lead, &frame, payload, head + lead);
	iov[0] = (struct hvrepl_iovec){ head, lead + HVRI_FRAME_SIZE };
	iov[1] = (struct hvrepl_iovec){ (void *)(uintptr_t)payload, length };
	container->unflushed = true;
	container->sealed = false;
	rc = hvri_object_writev(&container->object, at, iov,
				length > 0 ? 2 : 1);
	if (rc < 0)
		return rc;
	container->batch = frame.batch;
	container->begin_batch = false;
	*position_out = at + lead + HVRI_FRAME_SIZE;
	container->size = *position_out + length;
	if (container->size > container->room)
		set_room(container, container->size);
	return HVREPL_OK;
}

int32_t hvri_container_flush(struct hvri_container *container)
{
	if (!container->unflushed)
		return HVREPL_OK;
	HVRI_TRY(hvri_object_flush(&container->object));
	container->unflushed = false;
	container->begin_batch = true;
	return HVREPL_OK;
}

int32_t hvri_container_seal(struct hvri_container *container)
{
	uint64_t position;

	if (container->sealed)
		return HVREPL_OK;
	HVRI_TRY(hvri_container_append(container, HVRI_FRAME_SEAL, 0, NULL, 0,
				       &position));
	container->sealed = true;
	return HVREPL_OK;
}

int32_t hvri_container_read(const struct hvri_container *container,
			    uint64_t position, void *buffer, size_t length)
{
	uint64_t size;

	HVRI_TRY(hvri_object_size(&container->object, &size));
	if (position > size || length > size - position)
		return HVREPL_E_TRUNCATED;
	return hvri_object_read(&container->object, position, buffer, length);
}

int32_t hvri_container_cut(struct hvri_container *container, uint64_t size)
{
	HVRI_TRY(hvri_object_resize(&container->object, size));
	/* Durable before anything is written over it: batches that were cut
	 * off and came back would pass for proof of damage. */
	HVRI_TRY(hvri_object_flush(&container->object));
	container->size = size;
	container->begin_batch = true;
	container->unflushed = false;
	set_room(container, size);
	return HVREPL_OK;
}

struct scan {
	struct hvri_container *container;
	uint64_t size;	/* Of the object. */
	uint8_t *buffer; /* LOOK_AHEAD + HVRI_CHUNK_ENCODED_MAX */
	uint32_t batch;	/* Last one seen; 0: none yet. */
};
#define SCAN_BUFFER (LOOK_AHEAD + HVRI_CHUNK_ENCODED_MAX)

/* A sound frame at `at`? Its payload is in the buffer then, behind it. */
static int32_t read_frame(struct scan *scan, uint64_t at, struct frame *frame)
{
	struct hvri_container *container = scan->container;
	uint8_t *payload = scan->buffer + HVRI_FRAME_SIZE;
	uint8_t digest[16];
	size_t covered;

	if (at > scan->size || scan->size - at < HVRI_FRAME_SIZE)
		return HVREPL_E_CORRUPT;
	HVRI_TRY(hvri_object_read(&container->object, at, scan->buffer,
				  HVRI_FRAME_SIZE));
	if (!frame_decode(scan->buffer, frame) ||
	    frame->length > scan->size - at - HVRI_FRAME_SIZE)
		return HVREPL_E_CORRUPT;
	if (frame->type != HVRI_FRAME_INDEX)
		HVRI_TRY(hvri_object_read(&container->object,
					  at + HVRI_FRAME_SIZE, payload,
					  frame->length));
	covered = is_small(frame->type) ? frame->length : 0;
	frame_digest(container->id, at, scan->buffer, payload, covered, digest);
	return memcmp(digest, frame->digest, 16) == 0 ? HVREPL_OK :
							HVREPL_E_CORRUPT;
}

/* Does a batch begin at `at` that follows the frames up to `end`? */
static int32_t next_batch(struct scan *scan, uint64_t at, uint64_t end)
{
	struct hvri_reader reader;
	struct frame frame;

	HVRI_TRY(read_frame(scan, at, &frame));
	if (frame.type != HVRI_FRAME_BATCH || frame.length != 8)
		return HVREPL_E_CORRUPT;
	reader = hvri_reader_over(scan->buffer + HVRI_FRAME_SIZE, 8);
	/* Numbers have gaps: of a torn batch only its first frame may be
	 * there, and the next one begins at the same place. */
	if (hvri_read_u64(&reader) != end || frame.batch <= scan->batch)
		return HVREPL_E_CORRUPT;
	scan->batch = frame.batch;
	return HVREPL_OK;
}

/* A later batch behind a bad frame: that one was flushed, so it is damaged. */
static int32_t look_for_damage(struct scan *scan, uint64_t from)
{
	struct hvri_container *container = scan->container;
	struct frame frame;
	int32_t rc;

	for (uint64_t at = page_up(from);
	     at < scan->size && scan->size - at >= HVRI_FRAME_SIZE;
	     at += HVRI_CONTAINER_PAGE) {
		uint8_t head[HVRI_FRAME_SIZE];

		HVRI_TRY(hvri_object_read(&container->object, at, head,
					  sizeof(head)));
		if (!frame_decode(head, &frame) ||
		    frame.type != HVRI_FRAME_BATCH)
			continue;
		rc = read_frame(scan, at, &frame);
		if (rc == HVREPL_OK && frame.batch > scan->batch)
			return HVREPL_E_CORRUPT;
		if (rc < 0 && rc != HVREPL_E_CORRUPT)
			return rc;
	}
	return HVREPL_OK;
}

static int32_t scan_frames(struct scan *scan, uint64_t from,
			   hvri_frame_found *found, void *argument,
			   uint64_t *end_out)
{
	uint64_t end = from, at = from;
	struct frame frame;
	int32_t rc;

	for (;;) {
		rc = scan->batch == 0 ? HVREPL_E_CORRUPT :
					read_frame(scan, at, &frame);
		if (rc == HVREPL_OK && (frame.type == HVRI_FRAME_BATCH ||
					frame.batch != scan->batch))
			rc = HVREPL_E_CORRUPT;
		if (rc == HVREPL_OK)
			rc = found(argument, frame.type, frame.disk,
				   scan->buffer + HVRI_FRAME_SIZE,
				   frame.length, at + HVRI_FRAME_SIZE);
		if (rc == HVREPL_OK) {
			at += HVRI_FRAME_SIZE + (uint64_t)frame.length;
			end = at;
			continue;
		}
		if (rc != HVREPL_E_CORRUPT)
			return rc;
		rc = next_batch(scan, page_up(end), end);
		if (rc == HVREPL_E_CORRUPT)
			break;
		if (rc < 0)
			return rc;
		at = page_up(end) + HVRI_FRAME_SIZE + 8;
	}
	*end_out = end;
	return look_for_damage(scan, end);
}

int32_t hvri_container_scan(struct hvri_container *container, uint64_t from,
			    hvri_frame_found *found, void *argument)
{
	struct scan scan = { .container = container };
	uint64_t end = from;
	int32_t rc;

	/* What a dead process left in a cache becomes durable before it is
	 * believed (S4). */
	if (!HVRI_PLANT(undo_believed_unflushed))
		HVRI_TRY(hvri_object_flush(&container->object));
	HVRI_TRY(hvri_object_size(&container->object, &scan.size));
	scan.buffer = hvri_alloc_raw(container->env, SCAN_BUFFER);
	if (scan.buffer == NULL)
		return HVREPL_E_NOMEM;
	if (from < scan.size)
		rc = scan_frames(&scan, from, found, argument, &end);
	else
		rc = from == scan.size ? HVREPL_OK : HVREPL_E_TRUNCATED;
	hvri_free(container->env, scan.buffer, SCAN_BUFFER);
	if (rc < 0)
		return rc;
	container->batch = scan.batch;
	container->begin_batch = true;
	return end < scan.size ? hvri_container_cut(container, end) : HVREPL_OK;
}
