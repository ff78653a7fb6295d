/* SPDX-License-Identifier: Apache-2.0 */
/* A directory as storage: objects are files, names durable at first flush. */
#include "backend/dir.h"
#include "backend/fdsync.h"

#include <errno.h>
#include <fcntl.h>
#include <hvrepl/backends/local.h>
#include <linux/falloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FLAGS_KNOWN (HVREPL_DIR_CREATE | HVREPL_DIR_READ_ONLY)

struct dir_storage {
	int dir_fd, lock_fd;
	bool read_only;
	/* Names made, and how many of them an fsync of the directory covered.
	 * Starts at one: what an earlier process made may not be durable. */
	atomic_uint_fast64_t names_made, names_synced;
	atomic_bool poisoned; /* An fsync of the directory failed. */
	struct hvri_fd_sync sync; /* Of the directory. */
};

struct dir_object {
	int fd;
	bool read_only;
	atomic_bool poisoned;
	struct hvri_fd_sync sync;
};

static bool id_is_valid(const char *id)
{
	size_t length = strlen(id);

	return length > 0 && length <= HVREPL_OBJECT_ID_MAX && id[0] != '.' &&
	       strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789._-") == length;
}

static int32_t io_code(int sys_errno)
{
	return hvri_sys_code(sys_errno, HVREPL_E_STORAGE_IO);
}

static int32_t storage_open(void *user, const char *id, uint32_t flags,
			    void **object_out)
{
	struct dir_storage *storage = user;
	bool create = (flags & HVREPL_OBJECT_CREATE) != 0;
	bool read_only = (flags & HVREPL_OBJECT_READ_ONLY) != 0 ||
			 storage->read_only;
	struct dir_object *object;
	struct stat st;

	if (!id_is_valid(id))
		return HVREPL_E_INVALID;
	if (create && storage->read_only)
		return HVREPL_E_READ_ONLY;
	if (create && atomic_load(&storage->poisoned))
		return HVREPL_E_POISONED;
	object = calloc(1, sizeof(*object));
	if (object == NULL)
		return HVREPL_E_NOMEM;
	hvri_fd_sync_init(&object->sync);
	object->read_only = read_only;
	object->fd = openat(storage->dir_fd, id,
			    (read_only && !create ? O_RDONLY : O_RDWR) |
				    (create ? O_CREAT | O_EXCL : 0) |
				    O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK,
			    0600);
	if (object->fd < 0 || fstat(object->fd, &st) < 0 ||
	    !S_ISREG(st.st_mode)) {
		int32_t rc = object->fd < 0 ? io_code(errno) :
					      HVREPL_E_STORAGE_IO;

		if (object->fd >= 0)
			close(object->fd);
		hvri_fd_sync_destroy(&object->sync);
		free(object);
		return rc;
	}
	if (create)
		atomic_fetch_add(&storage->names_made, 1);
	else if (!read_only)
		hvri_fd_settle_cache(object->fd);
	*object_out = object;
	return HVREPL_OK;
}

static void storage_close(void *user, void *object_user)
{
	struct dir_object *object = object_user;

	(void)user;
	close(object->fd);
	hvri_fd_sync_destroy(&object->sync);
	free(object);
}

static int32_t storage_size(void *user, void *object_user, uint64_t *size_out)
{
	struct dir_object *object = object_user;
	struct stat st;

	(void)user;
	if (fstat(object->fd, &st) < 0)
		return HVREPL_E_STORAGE_IO;
	*size_out = (uint64_t)st.st_size;
	return HVREPL_OK;
}

static int32_t storage_read(void *user, hvrepl_op *op, void *object_user,
			    uint64_t offset, void *buffer, size_t length)
{
	struct dir_object *object = object_user;
	struct hvrepl_iovec iov = { buffer, length };

	(void)user, (void)op;
	return hvri_fd_read(object->fd, offset, &iov, 1, HVREPL_E_STORAGE_IO);
}

/* Which names there are is unknown once a flush of the directory failed, and no
 * later flush could make anything in it durable. */
static int32_t may_change(const struct dir_storage *storage,
			  const struct dir_object *object)
{
	if (object->read_only)
		return HVREPL_E_READ_ONLY;
	return atomic_load(&object->poisoned) ||
			       atomic_load(&storage->poisoned) ?
		       HVREPL_E_POISONED : HVREPL_OK;
}

static int32_t storage_write(void *user, hvrepl_op *op, void *object_user,
			     uint64_t offset, const struct hvrepl_iovec *iov,
			     uint32_t iov_count)
{
	struct dir_object *object = object_user;
	int32_t rc = may_change(user, object);

	(void)op;
	if (rc == HVREPL_OK)
		rc = hvri_fd_write(object->fd, offset, iov, iov_count,
				   HVREPL_E_STORAGE_IO);
	return rc;
}

static int sync_directory(void *user)
{
	struct dir_storage *storage = user;
	int failed;

	if (fsync(storage->dir_fd) == 0)
		return 0;
	failed = errno;
	atomic_store(&storage->poisoned, true);
	return failed;
}

/* Names made before the call are durable afterwards: none returns before an fsync
 * that began after it was called. */
static int32_t sync_names(struct dir_storage *storage, bool always)
{
	uint_fast64_t made = atomic_load(&storage->names_made);
	uint_fast64_t synced = atomic_load(&storage->names_synced);
	int failed;

	if (atomic_load(&storage->poisoned))
		return HVREPL_E_POISONED;
	if (!always && synced >= made)
		return HVREPL_OK;
	failed = hvri_fd_sync_join(&storage->sync, sync_directory, storage);
	if (failed != 0)
		return io_code(failed);
	while (synced < made &&
	       !atomic_compare_exchange_weak(&storage->names_synced, &synced,
					     made))
		;
	return HVREPL_OK;
}

/* The kernel reports a lost write once and forgets it. */
static int sync_object(void *user)
{
	struct dir_object *object = user;
	int failed;

	if (fdatasync(object->fd) == 0)
		return 0;
	failed = errno;
	atomic_store(&object->poisoned, true);
	hvri_fd_drop_cache(object->fd);
	return failed;
}

static int32_t storage_flush(void *user, hvrepl_op *op, void *object_user)
{
	struct dir_object *object = object_user;
	int failed;

	(void)op;
	if (object->read_only)
		return HVREPL_OK;
	if (atomic_load(&object->poisoned))
		return HVREPL_E_POISONED;
	failed = hvri_fd_sync_join(&object->sync, sync_object, object);
	if (failed != 0)
		return io_code(failed);
	return sync_names(user, false);
}

static int32_t storage_resize(void *user, void *object_user, uint64_t size)
{
	struct dir_object *object = object_user;
	int32_t rc = may_change(user, object);

	if (rc < 0)
		return rc;
	if (size > INT64_MAX)
		return HVREPL_E_NO_SPACE;
	return ftruncate(object->fd, (off_t)size) == 0 ? HVREPL_OK :
							 io_code(errno);
}

static int32_t storage_punch(void *user, void *object_user, uint64_t offset,
			     uint64_t length)
{
	struct dir_object *object = object_user;
	int32_t rc = may_change(user, object);
	uint64_t size = 0;
	int failed;

	if (rc < 0 || length == 0)
		return rc;
	failed = hvri_fd_fallocate(object->fd,
				   FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
				   offset, length);
	if (failed == 0)
		return HVREPL_OK;
	if (failed != EOPNOTSUPP && failed != ENOSYS)
		return io_code(failed);
	/* No holes here: the promise about content can still be kept. */
	rc = storage_size(user, object, &size);
	if (rc < 0 || offset >= size)
		return rc;
	return hvri_fd_write_zeroes(object->fd, offset,
				    length < size - offset ? length :
							     size - offset,
				    HVREPL_E_STORAGE_IO);
}

static int32_t storage_remove(void *user, const char *id)
{
	struct dir_storage *storage = user;

	if (!id_is_valid(id))
		return HVREPL_E_INVALID;
	if (storage->read_only)
		return HVREPL_E_READ_ONLY;
	if (atomic_load(&storage->poisoned))
		return HVREPL_E_POISONED;
	return unlinkat(storage->dir_fd, id, 0) == 0 ? HVREPL_OK :
						       io_code(errno);
}

static int32_t storage_sync(void *user)
{
	struct dir_storage *storage = user;

	return storage->read_only ? HVREPL_OK : sync_names(storage, true);
}

static bool keeps(const char *name, const void *prefix)
{
	return id_is_valid(name) &&
	       strncmp(name, prefix, strlen(prefix)) == 0;
}

/* The names are collected first: found() may make and remove objects. */
static int32_t storage_list(void *user, const char *prefix,
			    int32_t (*found)(void *argument, const char *id,
					     uint64_t size),
			    void *argument)
{
	struct dir_storage *storage = user;
	struct hvri_dir_names names = { 0 };
	int32_t rc = hvri_dir_list(storage->dir_fd, keeps, prefix,
				   HVREPL_E_STORAGE_IO, &names);

	for (size_t i = 0; i < names.count && rc == HVREPL_OK; i++) {
		struct stat st;

		if (fstatat(storage->dir_fd, names.names[i], &st,
			    AT_SYMLINK_NOFOLLOW) < 0) {
			if (errno != ENOENT)
				rc = HVREPL_E_STORAGE_IO;
		} else if (S_ISREG(st.st_mode)) {
			int32_t stop = found(argument, names.names[i],
					     (uint64_t)st.st_size);

			rc = stop < 0 ? stop : HVREPL_OK;
		}
	}
	hvri_dir_names_free(&names);
	return rc;
}

static int32_t storage_free_space(void *user, uint64_t *bytes_out)
{
	struct dir_storage *storage = user;
	struct statvfs st;

	if (fstatvfs(storage->dir_fd, &st) < 0)
		return HVREPL_E_STORAGE_IO;
	*bytes_out = (uint64_t)st.f_bavail * (uint64_t)st.f_frsize;
	return HVREPL_OK;
}

static void storage_release(void *user)
{
	struct dir_storage *storage = user;

	if (storage->lock_fd >= 0)
		close(storage->lock_fd);
	if (storage->dir_fd >= 0)
		close(storage->dir_fd);
	hvri_fd_sync_destroy(&storage->sync);
	free(storage);
}

static const struct hvrepl_storage_ops dir_storage_ops = {
	.struct_size = sizeof(dir_storage_ops),
	.open = storage_open,
	.close = storage_close,
	.size = storage_size,
	.read = storage_read,
	.write = storage_write,
	.flush = storage_flush,
	.resize = storage_resize,
	.punch = storage_punch,
	.remove = storage_remove,
	.sync = storage_sync,
	.list = storage_list,
	.free_space = storage_free_space,
};

int32_t hvrepl_dir_storage_open(const char *path, uint32_t flags,
				struct hvrepl_storage *storage_out,
				struct hvrepl_error *error)
{
	struct dir_storage *storage;
	int32_t rc;

	if (path == NULL || storage_out == NULL || (flags & ~FLAGS_KNOWN) != 0)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "a path, known flags and storage_out are "
				     "needed");
	storage = calloc(1, sizeof(*storage));
	if (storage == NULL)
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	storage->read_only = (flags & HVREPL_DIR_READ_ONLY) != 0;
	atomic_init(&storage->names_made, 1);
	hvri_fd_sync_init(&storage->sync);
	rc = hvri_dir_open(path, (flags & HVREPL_DIR_CREATE) != 0,
			   storage->read_only, HVREPL_E_STORAGE_IO,
			   &storage->dir_fd, &storage->lock_fd, error);
	if (rc < 0) {
		hvri_fd_sync_destroy(&storage->sync);
		free(storage);
		return rc;
	}
	storage_out->ops = &dir_storage_ops;
	storage_out->user = storage;
	storage_out->release = storage_release;
	return HVREPL_OK;
}
