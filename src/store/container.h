/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that hold the chunks of many segments, or of one undo log (S3).
 *
 * Frames are appended in batches: a batch begins on a 4 KiB boundary with a
 * frame that counts it and ends with a flush. So no byte that was flushed
 * shares a sector with one that comes later, and a batch proves that all
 * before it were flushed: what does not check out there is damage, not a torn
 * tail.
 */
#ifndef HVRI_STORE_CONTAINER_H
#define HVRI_STORE_CONTAINER_H

#include "base/io.h"

#include <hvrepl/store.h>
#include <stdbool.h>

#define HVRI_CONTAINER_PREFIX "store.box."
#define HVRI_CONTAINER_PAGE 4096u
#define HVRI_FRAME_SIZE 32u

#define HVRI_FRAME_BATCH 1u   /* Payload: where the batch before ended. */
#define HVRI_FRAME_SEGMENT 2u /* Payload: a segment header. */
#define HVRI_FRAME_CHUNK 3u   /* Payload: an encoded chunk. */
#define HVRI_FRAME_END 4u     /* Payload: chunk count and root. */
#define HVRI_FRAME_INDEX 5u   /* Payload: the index of a log. */
#define HVRI_FRAME_SEAL 6u    /* Empty: only its batch counts. */
#define HVRI_FRAME_END_PAYLOAD 40u

struct hvri_container {
	const struct hvri_env *env;
	const struct hvri_storage *storage;
	uint64_t *used; /* Bytes of all containers; atomic. */
	uint32_t refs;	/* Atomic. */
	uint32_t doomed; /* Remove it with the last reference; atomic. */
	uint64_t id;
	struct hvri_object object;
	uint64_t size;	/* Where the next frame goes. */
	uint64_t room;	/* Size of the object, for `used`. */
	uint32_t batch; /* Of the frames being written. */
	bool sealed;	/* The last frame is a seal. */
	bool begin_batch, unflushed;
};

/* Durable on return. */
HVRI_MUST_CHECK int32_t hvri_container_create(
	const struct hvri_env *env, const struct hvri_storage *storage,
	uint64_t *used, uint64_t id, struct hvri_container **container_out);
/* For reading; hvri_container_scan() and _cut() before it is appended to. */
HVRI_MUST_CHECK int32_t hvri_container_open(
	const struct hvri_env *env, const struct hvri_storage *storage,
	uint64_t *used, uint64_t id, struct hvri_container **container_out);
struct hvri_container *hvri_container_ref(struct hvri_container *container);
void hvri_container_unref(struct hvri_container *container);
/* The last one to let go removes the file. */
void hvri_container_doom(struct hvri_container *container);

/* Append one frame; *position_out is that of its payload. After a failure what
 * was appended may be there in part: hvri_container_cut() it. */
HVRI_MUST_CHECK int32_t hvri_container_append(struct hvri_container *container,
					      uint16_t type, uint16_t disk,
					      const void *payload,
					      size_t length,
					      uint64_t *position_out);
/* End the batch. */
HVRI_MUST_CHECK int32_t hvri_container_flush(struct hvri_container *container);
/* Append a seal unless there is one. Between two flushes: from the second on
 * anything bad in what came before the first is known to be damage. Undo needs
 * that before the base is written: what passed for a torn tail would be saved
 * again, wrongly. */
HVRI_MUST_CHECK int32_t hvri_container_seal(struct hvri_container *container);
HVRI_MUST_CHECK int32_t
hvri_container_read(const struct hvri_container *container, uint64_t position,
		    void *buffer, size_t length);

/* Walk the frames from `from` on, which begins a batch. `found` (payload in
 * memory, not for INDEX) may refuse one with CORRUPT: then it counts as torn.
 * Ends with OK at the torn tail; CORRUPT when a later batch proves that it is
 * no tail. The container is appended to behind the last good frame then. */
typedef int32_t hvri_frame_found(void *argument, uint16_t type, uint16_t disk,
				 const uint8_t *payload, size_t length,
				 uint64_t position);
HVRI_MUST_CHECK int32_t hvri_container_scan(struct hvri_container *container,
					    uint64_t from,
					    hvri_frame_found *found,
					    void *argument);
/* Forget all from `size` on; durable on return. */
HVRI_MUST_CHECK int32_t hvri_container_cut(struct hvri_container *container,
					   uint64_t size);
#endif
