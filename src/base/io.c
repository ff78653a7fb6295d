/* SPDX-License-Identifier: Apache-2.0 */
/* Disk and storage callbacks: checks before, waiting, and one set of codes. */
#include "base/io.h"

#include "base/abi.h"
#include "base/op.h"

#include <string.h>

#define ZERO_CHUNK (64u << 10)

/* Codes of the application that mean the same to everybody pass; anything else
 * becomes `other`. */
static int32_t translate(int32_t rc, int32_t other)
{
	static const int32_t passing[] = {
		HVREPL_E_NOT_FOUND, HVREPL_E_EXISTS,	HVREPL_E_NO_SPACE,
		HVREPL_E_BUSY,	    HVREPL_E_READ_ONLY, HVREPL_E_NOMEM,
		HVREPL_E_FENCED,
	};

	if (rc >= 0)
		return HVREPL_OK;
	for (size_t i = 0; i < HVRI_ARRAY_LEN(passing); i++)
		if (rc == passing[i])
			return rc;
	return other;
}

int32_t hvri_disk_refresh(struct hvri_disk *disk)
{
	struct hvrepl_disk_info info = { .struct_size = sizeof(info) };
	int32_t rc = disk->ops.info(disk->user, &info);

	if (rc < 0)
		return translate(rc, HVREPL_E_DISK_IO);
	if (info.block_size == 0)
		info.block_size = 1;
	if (info.block_size > 65536 ||
	    (info.block_size & (info.block_size - 1)) != 0 ||
	    info.size % info.block_size != 0 ||
	    info.token_length > HVREPL_TOKEN_MAX)
		return HVREPL_E_INVALID;
	disk->info = info;
	return HVREPL_OK;
}

int32_t hvri_disk_take(struct hvri_disk *disk_out,
		       const struct hvrepl_disk *disk,
		       struct hvrepl_error *error)
{
	struct hvri_disk taken = { .user = disk->user,
				   .release = disk->release };
	int32_t rc;

	rc = hvri_abi_copy_in(&taken.ops, sizeof(taken.ops),
			      HVRI_SIZE_UP_TO(struct hvrepl_disk_ops,
					      allocated),
			      disk->ops);
	if (rc == HVREPL_OK && taken.ops.reserved != 0)
		rc = HVREPL_E_TOO_NEW;
	if (rc == HVREPL_OK &&
	    (taken.ops.info == NULL || taken.ops.readv == NULL ||
	     taken.ops.writev == NULL))
		rc = HVREPL_E_INVALID;
	if (rc < 0)
		hvri_fail(error, rc,
			  "the disk table is incomplete: give info, readv and "
			  "writev, and its struct_size");
	if (rc == HVREPL_OK) {
		rc = hvri_disk_refresh(&taken);
		if (rc < 0)
			hvri_fail(error, rc,
				  "the disk's info callback failed or gave an "
				  "impossible geometry");
	}
	if (rc < 0) {
		hvri_disk_drop(&taken);
		return rc;
	}
	*disk_out = taken;
	return HVREPL_OK;
}

void hvri_disk_drop(struct hvri_disk *disk)
{
	void (*release)(void *user) = disk->release;

	disk->release = NULL;
	if (release != NULL)
		release(disk->user);
}

static int32_t check_range(const struct hvri_disk *disk, uint64_t offset,
			   uint64_t length)
{
	uint64_t mask = disk->info.block_size - 1;

	if (offset > disk->info.size || length > disk->info.size - offset)
		return HVREPL_E_RANGE;
	return ((offset | length) & mask) != 0 ? HVREPL_E_RANGE : HVREPL_OK;
}

int32_t hvri_disk_read(const struct hvri_disk *disk, uint64_t offset,
		       void *buffer, size_t length)
{
	struct hvrepl_iovec iov = { buffer, length };
	struct hvri_op_wait wait;
	int32_t rc;

	HVRI_TRY(check_range(disk, offset, length));
	if (length == 0)
		return HVREPL_OK;
	hvri_op_wait_init(&wait);
	rc = disk->ops.readv(disk->user, &wait.op, offset, &iov, 1);
	return translate(hvri_op_wait_end(&wait, rc), HVREPL_E_DISK_IO);
}

int32_t hvri_disk_write(const struct hvri_disk *disk, uint64_t offset,
			const void *buffer, size_t length)
{
	/* The table has one iovec type; a write callback does not write it. */
	struct hvrepl_iovec iov = { (void *)(uintptr_t)buffer, length };
	struct hvri_op_wait wait;
	int32_t rc;

	HVRI_TRY(check_range(disk, offset, length));
	if (length == 0)
		return HVREPL_OK;
	hvri_op_wait_init(&wait);
	rc = disk->ops.writev(disk->user, &wait.op, offset, &iov, 1);
	return translate(hvri_op_wait_end(&wait, rc), HVREPL_E_DISK_IO);
}

int32_t hvri_disk_flush(const struct hvri_disk *disk)
{
	struct hvri_op_wait wait;
	int32_t rc;

	if (disk->ops.flush == NULL)
		return HVREPL_OK;
	hvri_op_wait_init(&wait);
	rc = disk->ops.flush(disk->user, &wait.op);
	return translate(hvri_op_wait_end(&wait, rc), HVREPL_E_DISK_IO);
}

static int32_t zero_by_writing(const struct hvri_env *env,
			       const struct hvri_disk *disk, uint64_t offset,
			       uint64_t length)
{
	size_t size = (size_t)HVRI_MIN(length, ZERO_CHUNK);
	void *zeroes = hvri_alloc_io(env, size);
	int32_t rc = HVREPL_OK;

	if (zeroes == NULL)
		return HVREPL_E_NOMEM;
	memset(zeroes, 0, size);
	while (length > 0 && rc == HVREPL_OK) {
		size_t piece = (size_t)HVRI_MIN(length, size);

		rc = hvri_disk_write(disk, offset, zeroes, piece);
		offset += piece;
		length -= piece;
	}
	hvri_free(env, zeroes, size);
	return rc;
}

int32_t hvri_disk_zero(const struct hvri_env *env, const struct hvri_disk *disk,
		       uint64_t offset, uint64_t length)
{
	struct hvri_op_wait wait;
	int32_t rc;

	HVRI_TRY(check_range(disk, offset, length));
	if (length == 0)
		return HVREPL_OK;
	if (disk->ops.zero == NULL)
		return zero_by_writing(env, disk, offset, length);
	hvri_op_wait_init(&wait);
	rc = disk->ops.zero(disk->user, &wait.op, offset, length);
	rc = hvri_op_wait_end(&wait, rc);
	if (rc == HVREPL_E_UNSUPPORTED)
		return zero_by_writing(env, disk, offset, length);
	return translate(rc, HVREPL_E_DISK_IO);
}

void hvri_disk_discard(const struct hvri_disk *disk, uint64_t offset,
		       uint64_t length)
{
	struct hvri_op_wait wait;
	int32_t rc;

	if (disk->ops.discard == NULL || length == 0 ||
	    check_range(disk, offset, length) < 0)
		return;
	hvri_op_wait_init(&wait);
	rc = disk->ops.discard(disk->user, &wait.op, offset, length);
	rc = hvri_op_wait_end(&wait, rc);
	(void)rc; /* A hint: the space stays used, nothing else changes. */
}

void hvri_disk_next_allocated(const struct hvri_disk *disk, uint64_t offset,
			      uint64_t end, struct hvrepl_extent *out)
{
	out->offset = offset;
	out->length = end > offset ? end - offset : 0;
	if (disk->ops.allocated == NULL)
		return;
	while (offset < end) {
		struct hvrepl_extent found = { 0, 0 };
		uint32_t count = 1;
		uint64_t answered = offset;
		int32_t rc = disk->ops.allocated(disk->user, offset,
						 end - offset, &found, &count,
						 &answered);

		/* Not being able to tell means "allocated"; so does an answer
		 * that makes no sense. */
		if (rc < 0 || answered <= offset || answered > end ||
		    (count > 0 && (found.offset < offset ||
				   found.offset >= end || found.length == 0)))
			return;
		if (count > 0) {
			out->offset = found.offset;
			out->length = HVRI_MIN(found.length,
					       end - found.offset);
			return;
		}
		offset = answered;
		out->offset = offset;
		out->length = end - offset;
	}
}

int32_t hvri_storage_take(struct hvri_storage *storage_out,
			  const struct hvrepl_storage *storage,
			  struct hvrepl_error *error)
{
	struct hvri_storage taken = { .user = storage->user,
				      .release = storage->release };
	const struct hvrepl_storage_ops *ops = &taken.ops;
	int32_t rc;

	rc = hvri_abi_copy_in(&taken.ops, sizeof(taken.ops),
			      HVRI_SIZE_UP_TO(struct hvrepl_storage_ops,
					      free_space),
			      storage->ops);
	if (rc == HVREPL_OK && taken.ops.reserved != 0)
		rc = HVREPL_E_TOO_NEW;
	if (rc == HVREPL_OK &&
	    (ops->open == NULL || ops->close == NULL || ops->size == NULL ||
	     ops->read == NULL || ops->write == NULL || ops->flush == NULL ||
	     ops->resize == NULL || ops->remove == NULL || ops->list == NULL))
		rc = HVREPL_E_INVALID;
	if (rc < 0) {
		hvri_storage_drop(&taken);
		return hvri_fail(error, rc,
				 "the storage table is incomplete: only punch, "
				 "sync and free_space are optional");
	}
	*storage_out = taken;
	return HVREPL_OK;
}

void hvri_storage_drop(struct hvri_storage *storage)
{
	void (*release)(void *user) = storage->release;

	storage->release = NULL;
	if (release != NULL)
		release(storage->user);
}

int32_t hvri_object_open(const struct hvri_storage *storage, const char *id,
			 uint32_t flags, struct hvri_object *object_out)
{
	void *object = NULL;
	int32_t rc = storage->ops.open(storage->user, id, flags, &object);

	if (rc < 0)
		return translate(rc, HVREPL_E_STORAGE_IO);
	object_out->storage = storage;
	object_out->object = object;
	return HVREPL_OK;
}

void hvri_object_close(struct hvri_object *object)
{
	if (object->object != NULL)
		object->storage->ops.close(object->storage->user,
					   object->object);
	object->object = NULL;
}

int32_t hvri_object_size(const struct hvri_object *object, uint64_t *size_out)
{
	return translate(object->storage->ops.size(object->storage->user,
						   object->object, size_out),
			 HVREPL_E_STORAGE_IO);
}

int32_t hvri_object_read(const struct hvri_object *object, uint64_t offset,
			 void *buffer, size_t length)
{
	struct hvri_op_wait wait;
	int32_t rc;

	if (length == 0)
		return HVREPL_OK;
	hvri_op_wait_init(&wait);
	rc = object->storage->ops.read(object->storage->user, &wait.op,
				       object->object, offset, buffer, length);
	return translate(hvri_op_wait_end(&wait, rc), HVREPL_E_STORAGE_IO);
}

int32_t hvri_object_writev(const struct hvri_object *object, uint64_t offset,
			   const struct hvrepl_iovec *iov, uint32_t iov_count)
{
	struct hvri_op_wait wait;
	int32_t rc;

	hvri_op_wait_init(&wait);
	rc = object->storage->ops.write(object->storage->user, &wait.op,
					object->object, offset, iov, iov_count);
	return translate(hvri_op_wait_end(&wait, rc), HVREPL_E_STORAGE_IO);
}

int32_t hvri_object_write(const struct hvri_object *object, uint64_t offset,
			  const void *buffer, size_t length)
{
	struct hvrepl_iovec iov = { (void *)(uintptr_t)buffer, length };

	return length == 0 ? HVREPL_OK :
			     hvri_object_writev(object, offset, &iov, 1);
}

int32_t hvri_object_flush(const struct hvri_object *object)
{
	struct hvri_op_wait wait;
	int32_t rc;

	hvri_op_wait_init(&wait);
	rc = object->storage->ops.flush(object->storage->user, &wait.op,
					object->object);
	return translate(hvri_op_wait_end(&wait, rc), HVREPL_E_STORAGE_IO);
}

int32_t hvri_object_resize(const struct hvri_object *object, uint64_t size)
{
	return translate(object->storage->ops.resize(object->storage->user,
						     object->object, size),
			 HVREPL_E_STORAGE_IO);
}

int32_t hvri_object_punch(const struct hvri_object *object, uint64_t offset,
			  uint64_t length)
{
	if (object->storage->ops.punch == NULL)
		return HVREPL_E_UNSUPPORTED;
	return translate(object->storage->ops.punch(object->storage->user,
						    object->object, offset,
						    length),
			 HVREPL_E_STORAGE_IO);
}

int32_t hvri_storage_remove(const struct hvri_storage *storage, const char *id)
{
	return translate(storage->ops.remove(storage->user, id),
			 HVREPL_E_STORAGE_IO);
}

int32_t hvri_storage_sync(const struct hvri_storage *storage)
{
	if (storage->ops.sync == NULL)
		return HVREPL_OK;
	return translate(storage->ops.sync(storage->user), HVREPL_E_STORAGE_IO);
}

int32_t hvri_storage_list(const struct hvri_storage *storage,
			  const char *prefix,
			  int32_t (*found)(void *argument, const char *id,
					   uint64_t size),
			  void *argument)
{
	return translate(storage->ops.list(storage->user, prefix, found,
					   argument),
			 HVREPL_E_STORAGE_IO);
}

int32_t hvri_storage_free_space(const struct hvri_storage *storage,
				uint64_t *bytes_out)
{
	if (storage->ops.free_space == NULL) {
		*bytes_out = UINT64_MAX;
		return HVREPL_OK;
	}
	return translate(storage->ops.free_space(storage->user, bytes_out),
			 HVREPL_E_STORAGE_IO);
}
