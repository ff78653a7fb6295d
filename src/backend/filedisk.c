/* SPDX-License-Identifier: Apache-2.0 */
/* A file or block device as a disk: locked, sparse, with an identity token. */
#include "backend/fdsync.h"
#include "backend/fileio.h"

#include <errno.h>
#include <fcntl.h>
#include <hvrepl/backends/local.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u
#define FLAGS_KNOWN                                                 \
	(HVREPL_FILE_READ_ONLY | HVREPL_FILE_EXCLUSIVE |            \
	 HVREPL_FILE_NO_LOCK | HVREPL_FILE_KEEP_ALLOCATED)

struct file_disk {
	int fd;
	uint32_t flags;
	bool block_device;
	uint32_t sector; /* Logical sector of a block device. */
	atomic_bool poisoned;
	struct hvri_fd_sync sync;
};

static void put_u64(uint8_t *to, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

static void fill_token(struct hvrepl_disk_info *out, const struct stat *st)
{
	const uint64_t parts[] = {
		(uint64_t)st->st_ino,	      (uint64_t)st->st_ctim.tv_sec,
		(uint64_t)st->st_ctim.tv_nsec, (uint64_t)st->st_mtim.tv_sec,
		(uint64_t)st->st_mtim.tv_nsec, (uint64_t)st->st_size,
	};

	/* Not the device number: it may differ after a reboot. */
	for (size_t i = 0; i < HVRI_COUNT_OF(parts); i++)
		put_u64(out->token + 8 * i, parts[i]);
	out->token_length = 8 * (uint32_t)HVRI_COUNT_OF(parts);
}

static uint64_t get_u64(const uint8_t *from)
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value |= (uint64_t)from[i] << (8 * i);
	return value;
}

/* Nanoseconds since 1970 of the seconds at `at` and what follows them. */
static uint64_t token_time(const uint8_t *at)
{
	uint64_t ns;

	if (__builtin_mul_overflow(get_u64(at), 1000000000u, &ns) ||
	    __builtin_add_overflow(ns, get_u64(at + 8), &ns))
		return UINT64_MAX;
	return ns;
}

int32_t hvrepl_file_token_check(void *user, const uint8_t *saved,
				uint32_t saved_length, uint64_t saved_utc_ns,
				const uint8_t *now, uint32_t now_length)
{
	const uint64_t *slack_ns = user;
	uint64_t latest;

	if (slack_ns == NULL || saved_length != 48 || now_length != 48 ||
	    memcmp(saved, now, 8) != 0 || memcmp(saved + 40, now + 40, 8) != 0)
		return 0;
	if (__builtin_add_overflow(saved_utc_ns, *slack_ns, &latest))
		return 0;
	/* Nobody can set a ctime; one that went back is of a clock that did. */
	return token_time(now + 8) >= token_time(saved + 8) &&
	       token_time(now + 8) <= latest && token_time(now + 24) <= latest;
}

static int32_t disk_info(void *user, struct hvrepl_disk_info *out)
{
	struct file_disk *disk = user;
	struct stat st;

	out->flags = (disk->flags & HVREPL_FILE_READ_ONLY ?
			      HVREPL_DISK_READ_ONLY : 0) |
		     (disk->flags & HVREPL_FILE_EXCLUSIVE ?
			      HVREPL_DISK_EXCLUSIVE : 0);
	out->token_length = 0;
	if (disk->block_device) {
		if (ioctl(disk->fd, BLKGETSIZE64, &out->size) < 0)
			return HVREPL_E_DISK_IO;
		out->block_size = disk->sector;
		return HVREPL_OK;
	}
	if (fstat(disk->fd, &st) < 0)
		return HVREPL_E_DISK_IO;
	out->size = (uint64_t)st.st_size;
	out->block_size = out->size % SECTOR == 0 ? SECTOR : 1;
	fill_token(out, &st);
	return HVREPL_OK;
}

static int32_t disk_readv(void *user, hvrepl_op *op, uint64_t offset,
			  const struct hvrepl_iovec *iov, uint32_t iov_count)
{
	struct file_disk *disk = user;

	(void)op;
	return hvri_fd_read(disk->fd, offset, iov, iov_count,
			    HVREPL_E_DISK_IO);
}

static int32_t may_change(struct file_disk *disk)
{
	if ((disk->flags & HVREPL_FILE_READ_ONLY) != 0)
		return HVREPL_E_READ_ONLY;
	return atomic_load(&disk->poisoned) ? HVREPL_E_POISONED : HVREPL_OK;
}

static int32_t disk_writev(void *user, hvrepl_op *op, uint64_t offset,
			   const struct hvrepl_iovec *iov, uint32_t iov_count)
{
	struct file_disk *disk = user;
	int32_t rc = may_change(disk);

	(void)op;
	if (rc == HVREPL_OK)
		rc = hvri_fd_write(disk->fd, offset, iov, iov_count,
				   HVREPL_E_DISK_IO);
	return rc;
}

/* The kernel reports a lost write once and then forgets it. */
static int sync_disk(void *user)
{
	struct file_disk *disk = user;
	int failed;

	if (fdatasync(disk->fd) == 0)
		return 0;
	failed = errno;
	atomic_store(&disk->poisoned, true);
	hvri_fd_drop_cache(disk->fd);
	return failed;
}

static int32_t disk_flush(void *user, hvrepl_op *op)
{
	struct file_disk *disk = user;
	int failed;

	(void)op;
	if ((disk->flags & HVREPL_FILE_READ_ONLY) != 0)
		return HVREPL_OK;
	if (atomic_load(&disk->poisoned))
		return HVREPL_E_POISONED;
	failed = hvri_fd_sync_join(&disk->sync, sync_disk, disk);
	return failed == 0 ? HVREPL_OK :
			     hvri_sys_code(failed, HVREPL_E_DISK_IO);
}

static int32_t disk_zero(void *user, hvrepl_op *op, uint64_t offset,
			 uint64_t length)
{
	struct file_disk *disk = user;
	bool keep = disk->block_device ||
		    (disk->flags & HVREPL_FILE_KEEP_ALLOCATED) != 0;
	int32_t rc = may_change(disk);
	int failed;

	(void)op;
	if (rc < 0)
		return rc;
	failed = hvri_fd_fallocate(disk->fd,
				   FALLOC_FL_KEEP_SIZE |
					   (keep ? FALLOC_FL_ZERO_RANGE :
						   FALLOC_FL_PUNCH_HOLE),
				   offset, length);
	if (failed == EOPNOTSUPP || failed == ENOSYS || failed == EINVAL)
		return HVREPL_E_UNSUPPORTED; /* Then zeroes are written. */
	return failed == 0 ? HVREPL_OK :
			     hvri_sys_code(failed, HVREPL_E_DISK_IO);
}

static int32_t disk_discard(void *user, hvrepl_op *op, uint64_t offset,
			    uint64_t length)
{
	struct file_disk *disk = user;
	int32_t rc = may_change(disk);
	int failed;

	(void)op;
	if (rc < 0 || (disk->flags & HVREPL_FILE_KEEP_ALLOCATED) != 0)
		return rc;
	failed = hvri_fd_fallocate(disk->fd,
				   FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
				   offset, length);
	return failed == 0 ? HVREPL_OK : HVREPL_E_UNSUPPORTED;
}

/* Behind the end of a file that was cut short is no hole: a hole is zeroes, and what
 * was there is lost. */
static bool is_as_long(const struct file_disk *disk, uint64_t end)
{
	struct stat st;

	return fstat(disk->fd, &st) == 0 && (uint64_t)st.st_size >= end;
}

static int32_t disk_allocated(void *user, uint64_t offset, uint64_t length,
			      struct hvrepl_extent *extents_out,
			      uint32_t *count_inout, uint64_t *end_out)
{
	struct file_disk *disk = user;
	uint64_t at = offset, end = offset + length;
	uint32_t room = *count_inout, count = 0;

	if (disk->block_device)
		return HVREPL_E_UNSUPPORTED;
	while (at < end && count < room) {
		off_t data = lseek(disk->fd, (off_t)at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO) {
			if (!is_as_long(disk, end))
				return HVREPL_E_DISK_IO;
			at = end; /* Only a hole up to the end of the file. */
			break;
		}
		if (data < 0)
			return HVREPL_E_UNSUPPORTED;
		if ((uint64_t)data >= end) {
			at = end;
			break;
		}
		hole = lseek(disk->fd, data, SEEK_HOLE);
		if (hole <= data)
			return HVREPL_E_UNSUPPORTED;
		at = (uint64_t)hole < end ? (uint64_t)hole : end;
		extents_out[count].offset = (uint64_t)data;
		extents_out[count].length = at - (uint64_t)data;
		count++;
	}
	*count_inout = count;
	*end_out = at;
	return HVREPL_OK;
}

static void disk_release(void *user)
{
	struct file_disk *disk = user;

	close(disk->fd); /* And with it the lock. */
	hvri_fd_sync_destroy(&disk->sync);
	free(disk);
}

static const struct hvrepl_disk_ops file_disk_ops = {
	.struct_size = sizeof(file_disk_ops),
	.info = disk_info,
	.readv = disk_readv,
	.writev = disk_writev,
	.flush = disk_flush,
	.zero = disk_zero,
	.discard = disk_discard,
	.allocated = disk_allocated,
};

/* O_EXCL on a block device keeps mounted ones and other claimants out. */
static int open_path(const char *path, uint32_t flags, struct stat *st)
{
	int mode = (flags & HVREPL_FILE_READ_ONLY) != 0 ? O_RDONLY : O_RDWR;

	if (stat(path, st) == 0 && S_ISBLK(st->st_mode) && mode == O_RDWR &&
	    (flags & HVREPL_FILE_NO_LOCK) == 0)
		mode |= O_EXCL;
	/* Never hang on a pipe that stands where a file should. */
	return open(path, mode | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

static int32_t inspect(struct file_disk *disk, const char *path,
		       const struct stat *st, struct hvrepl_error *error)
{
	bool shared = (disk->flags & HVREPL_FILE_READ_ONLY) != 0;
	int sector = SECTOR;
	int32_t rc;

	disk->block_device = S_ISBLK(st->st_mode);
	if (!disk->block_device && !S_ISREG(st->st_mode))
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "%s is neither a file nor a block device",
				     path);
	if (disk->block_device && (ioctl(disk->fd, BLKSSZGET, &sector) < 0 ||
				   sector < 1 || sector > 65536))
		return hvri_sys_fail(error, HVREPL_E_DISK_IO, errno,
				     "%s does not tell its sector size: %s", path,
				     strerror(errno));
	disk->sector = (uint32_t)sector;
	if ((disk->flags & HVREPL_FILE_NO_LOCK) != 0)
		return HVREPL_OK;
	rc = hvri_fd_lock(disk->fd, shared, HVREPL_E_DISK_IO);
	if (rc == HVREPL_E_BUSY)
		return hvri_sys_fail(error, rc, 0,
				     "%s is open in another program (or twice "
				     "in this one): close it there first",
				     path);
	if (rc < 0)
		return hvri_sys_fail(error, rc, errno, "cannot lock %s: %s",
				     path, strerror(errno));
	return HVREPL_OK;
}

/* What to do about a disk that does not open. */
static const char *advice(int sys_errno)
{
	switch (sys_errno) {
	case ENOENT:
	case ENOTDIR:
		return "correct the path, or put the disk back";
	case EROFS:
	case EACCES:
	case EPERM:
		return "the disk must be writable for who opens it";
	default:
		return "mend that and try again";
	}
}

int32_t hvrepl_file_disk_open(const char *path, uint32_t flags,
			      struct hvrepl_disk *disk_out,
			      struct hvrepl_error *error)
{
	struct file_disk *disk;
	struct stat st;
	int32_t rc;

	if (path == NULL || disk_out == NULL || (flags & ~FLAGS_KNOWN) != 0)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "a path, known flags and disk_out are "
				     "needed");
	disk = calloc(1, sizeof(*disk));
	if (disk == NULL)
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	hvri_fd_sync_init(&disk->sync);
	disk->flags = flags;
	disk->fd = open_path(path, flags, &st);
	if (disk->fd < 0 && errno == EBUSY) {
		rc = hvri_sys_fail(error, HVREPL_E_BUSY, EBUSY,
				   "%s is mounted or open in another program: "
				   "unmount or close it there first", path);
		goto failed;
	}
	if (disk->fd < 0 || fstat(disk->fd, &st) < 0) {
		rc = hvri_sys_fail(error,
				   hvri_sys_code(errno, HVREPL_E_DISK_IO),
				   errno, "cannot open %s: %s; %s", path,
				   strerror(errno), advice(errno));
		goto failed;
	}
	rc = inspect(disk, path, &st, error);
	if (rc < 0)
		goto failed;
	if ((flags & HVREPL_FILE_READ_ONLY) == 0)
		hvri_fd_settle_cache(disk->fd);
	disk_out->ops = &file_disk_ops;
	disk_out->user = disk;
	disk_out->release = disk_release;
	return HVREPL_OK;
failed:
	if (disk->fd >= 0)
		close(disk->fd);
	hvri_fd_sync_destroy(&disk->sync);
	free(disk);
	return rc;
}

int32_t hvrepl_file_disk_create(const char *path, uint64_t size,
				struct hvrepl_error *error)
{
	int32_t rc;
	int fd;

	if (path == NULL || size == 0 || size % SECTOR != 0 ||
	    size > INT64_MAX)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "the size of a disk is a multiple of 512 "
				     "bytes");
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return hvri_sys_fail(error,
				     hvri_sys_code(errno, HVREPL_E_DISK_IO),
				     errno, "cannot create %s: %s", path,
				     strerror(errno));
	if (ftruncate(fd, (off_t)size) == 0 && fsync(fd) == 0 &&
	    hvri_sync_parent(path) == 0) {
		close(fd);
		return HVREPL_OK;
	}
	rc = hvri_sys_fail(error, hvri_sys_code(errno, HVREPL_E_DISK_IO),
			   errno, "cannot make %s that large: %s", path,
			   strerror(errno));
	close(fd);
	unlink(path);
	return rc;
}
