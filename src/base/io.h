/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one wrapper around the application's disk and storage callbacks.
 *
 * Calls return when the I/O is over: they run on the application's threads or
 * on its executor, never inside a step. Long work (merge, compare, recovery)
 * is cut into bounded pieces by its own room, so that a seed can interleave
 * and crash it at each call here.
 */
#ifndef HVRI_BASE_IO_H
#define HVRI_BASE_IO_H

#include "base/env.h"

#include <hvrepl/disk.h>
#include <hvrepl/storage.h>

/* A disk taken from the application. */
struct hvri_disk {
	struct hvrepl_disk_ops ops; /* Our size. */
	void *user;
	void (*release)(void *user);
	struct hvrepl_disk_info info; /* As of hvri_disk_take(). */
};

/* Take over `disk` and ask for its info. On failure `disk` is let go too. */
HVRI_MUST_CHECK int32_t hvri_disk_take(struct hvri_disk *disk_out,
				       const struct hvrepl_disk *disk,
				       struct hvrepl_error *error);
/* Call release, once; a zeroed struct is fine. */
void hvri_disk_drop(struct hvri_disk *disk);
/* Ask again: size and token may have moved. */
HVRI_MUST_CHECK int32_t hvri_disk_refresh(struct hvri_disk *disk);

/* offset and length must be multiples of info.block_size, inside the disk:
 * RANGE otherwise. Any failure of the callback is DISK_IO, except NO_SPACE,
 * READ_ONLY, FENCED and NOMEM, which pass. */
HVRI_MUST_CHECK int32_t hvri_disk_read(const struct hvri_disk *disk,
				       uint64_t offset, void *buffer,
				       size_t length);
HVRI_MUST_CHECK int32_t hvri_disk_write(const struct hvri_disk *disk,
					uint64_t offset, const void *buffer,
					size_t length);
HVRI_MUST_CHECK int32_t hvri_disk_flush(const struct hvri_disk *disk);
/* Zeroes; through writes where the disk has no zero callback. */
HVRI_MUST_CHECK int32_t hvri_disk_zero(const struct hvri_env *env,
				       const struct hvri_disk *disk,
				       uint64_t offset, uint64_t length);
/* A hint: a missing or failing callback is fine. */
void hvri_disk_discard(const struct hvri_disk *disk, uint64_t offset,
		       uint64_t length);
/* Next range at or after `offset` that may hold non-zero bytes, clipped to
 * `end`; length 0 when there is none. Without the callback: all of it. */
void hvri_disk_next_allocated(const struct hvri_disk *disk, uint64_t offset,
			      uint64_t end, struct hvrepl_extent *out);

/* A storage taken from the application. */
struct hvri_storage {
	struct hvrepl_storage_ops ops;
	void *user;
	void (*release)(void *user);
};

/* An open object. */
struct hvri_object {
	const struct hvri_storage *storage;
	void *object; /* NULL: not open. */
};

HVRI_MUST_CHECK int32_t hvri_storage_take(struct hvri_storage *storage_out,
					  const struct hvrepl_storage *storage,
					  struct hvrepl_error *error);
void hvri_storage_drop(struct hvri_storage *storage);

/* Failures are STORAGE_IO, except NOT_FOUND, EXISTS, NO_SPACE, BUSY, READ_ONLY
 * and NOMEM, which pass. */
HVRI_MUST_CHECK int32_t hvri_object_open(const struct hvri_storage *storage,
					 const char *id, uint32_t flags,
					 struct hvri_object *object_out);
void hvri_object_close(struct hvri_object *object);
HVRI_MUST_CHECK int32_t hvri_object_size(const struct hvri_object *object,
					 uint64_t *size_out);
HVRI_MUST_CHECK int32_t hvri_object_read(const struct hvri_object *object,
					 uint64_t offset, void *buffer,
					 size_t length);
HVRI_MUST_CHECK int32_t hvri_object_write(const struct hvri_object *object,
					  uint64_t offset, const void *buffer,
					  size_t length);
HVRI_MUST_CHECK int32_t hvri_object_writev(const struct hvri_object *object,
					   uint64_t offset,
					   const struct hvrepl_iovec *iov,
					   uint32_t iov_count);
HVRI_MUST_CHECK int32_t hvri_object_flush(const struct hvri_object *object);
HVRI_MUST_CHECK int32_t hvri_object_resize(const struct hvri_object *object,
					   uint64_t size);
/* UNSUPPORTED without the callback. */
HVRI_MUST_CHECK int32_t hvri_object_punch(const struct hvri_object *object,
					  uint64_t offset, uint64_t length);
HVRI_MUST_CHECK int32_t hvri_storage_remove(const struct hvri_storage *storage,
					    const char *id);
HVRI_MUST_CHECK int32_t hvri_storage_sync(const struct hvri_storage *storage);
HVRI_MUST_CHECK int32_t
hvri_storage_list(const struct hvri_storage *storage, const char *prefix,
		  int32_t (*found)(void *argument, const char *id,
				   uint64_t size),
		  void *argument);
/* UINT64_MAX when the storage cannot tell. */
HVRI_MUST_CHECK int32_t
hvri_storage_free_space(const struct hvri_storage *storage,
			uint64_t *bytes_out);
#endif
