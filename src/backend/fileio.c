/* SPDX-License-Identifier: Apache-2.0 */
/* Short transfers, EINTR, locks and errno, in one place for all files. */
#include "backend/fileio.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <unistd.h>

#define IOV_BATCH 64u
#define ZERO_PIECE 65536u

int32_t hvri_sys_fail(struct hvrepl_error *error, int32_t code, int sys_errno,
		      const char *format, ...)
{
	struct hvrepl_error full = HVREPL_ERROR_INIT;
	va_list args;

	if (error == NULL || error->struct_size < sizeof(uint32_t))
		return code;
	full.struct_size = error->struct_size;
	full.code = code;
	full.error_class = hvrepl_error_class(code);
	full.sys_errno = sys_errno;
	va_start(args, format);
	vsnprintf(full.sentence, sizeof(full.sentence), format, args);
	va_end(args);
	memcpy(error, &full,
	       error->struct_size < sizeof(full) ? error->struct_size :
						   sizeof(full));
	return code;
}

int32_t hvri_sys_code(int sys_errno, int32_t other)
{
	switch (sys_errno) {
	case ENOENT:
		return HVREPL_E_NOT_FOUND;
	case EEXIST:
		return HVREPL_E_EXISTS;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return HVREPL_E_NO_SPACE;
	case EROFS:
		return HVREPL_E_READ_ONLY;
	case ENOMEM:
		return HVREPL_E_NOMEM;
	case EBUSY:
		return HVREPL_E_BUSY;
	default:
		return other;
	}
}

/* Next batch of `iov`, starting at byte `skip` of its first element. */
static int next_batch(struct iovec *batch, const struct hvrepl_iovec *iov,
		      uint32_t count, size_t skip)
{
	uint32_t n = count < IOV_BATCH ? count : IOV_BATCH;

	for (uint32_t i = 0; i < n; i++) {
		batch[i].iov_base = (char *)iov[i].base + skip;
		batch[i].iov_len = iov[i].length - skip;
		skip = 0;
	}
	return (int)n;
}

static int32_t transfer(int fd, uint64_t offset, const struct hvrepl_iovec *iov,
			uint32_t count, int32_t other, bool write)
{
	struct iovec batch[IOV_BATCH];
	size_t skip = 0;

	while (count > 0) {
		ssize_t done;
		int n;

		if (iov->length == skip) {
			iov++, count--;
			skip = 0;
			continue;
		}
		n = next_batch(batch, iov, count, skip);
		done = write ? pwritev(fd, batch, n, (off_t)offset) :
			       preadv(fd, batch, n, (off_t)offset);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? hvri_sys_code(errno, other) : other;
		offset += (uint64_t)done;
		skip += (size_t)done;
		while (count > 0 && skip >= iov->length) {
			skip -= iov->length;
			iov++, count--;
		}
	}
	return HVREPL_OK;
}

int32_t hvri_fd_read(int fd, uint64_t offset, const struct hvrepl_iovec *iov,
		     uint32_t iov_count, int32_t other)
{
	return transfer(fd, offset, iov, iov_count, other, false);
}

int32_t hvri_fd_write(int fd, uint64_t offset, const struct hvrepl_iovec *iov,
		      uint32_t iov_count, int32_t other)
{
	return transfer(fd, offset, iov, iov_count, other, true);
}

int32_t hvri_fd_lock(int fd, bool shared, int32_t other)
{
	struct flock all = { .l_type = shared ? F_RDLCK : F_WRLCK,
			     .l_whence = SEEK_SET };
	int rc = fcntl(fd, F_OFD_SETLK, &all);

	/* File systems without byte locks may still have whole-file ones. Where there
	 * are both kinds they do not see each other: one that fails for want of
	 * something is no reason to take the other. */
	if (rc < 0 &&
	    (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL))
		rc = flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB);
	if (rc == 0)
		return HVREPL_OK;
	return errno == EAGAIN || errno == EACCES ? HVREPL_E_BUSY : other;
}

int hvri_fd_fallocate(int fd, int mode, uint64_t offset, uint64_t length)
{
	while (fallocate(fd, mode, (off_t)offset, (off_t)length) < 0)
		if (errno != EINTR)
			return errno;
	return 0;
}

int hvri_sync_parent(const char *path)
{
	char *copy = strdup(path);
	int fd, rc, reason;

	if (copy == NULL) {
		errno = ENOMEM;
		return -1;
	}
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (fd < 0)
		return -1;
	rc = fsync(fd);
	reason = errno;
	close(fd);
	errno = reason;
	return rc;
}

void hvri_fd_drop_cache(int fd)
{
	/* Dirty and mapped pages stay; those were not said to be durable. A
	 * file system that cannot do it has no such cache. */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

void hvri_fd_settle_cache(int fd)
{
	/* A failure is of the process before; what it lost is read as lost. */
	if (fdatasync(fd) < 0)
		errno = 0;
	hvri_fd_drop_cache(fd);
}

int32_t hvri_fd_write_zeroes(int fd, uint64_t offset, uint64_t length,
			     int32_t other)
{
	static const uint8_t zeroes[ZERO_PIECE];
	int32_t rc = HVREPL_OK;

	while (length > 0 && rc == HVREPL_OK) {
		size_t piece = length < ZERO_PIECE ? (size_t)length : ZERO_PIECE;
		struct hvrepl_iovec iov = { (void *)(uintptr_t)zeroes, piece };

		rc = hvri_fd_write(fd, offset, &iov, 1, other);
		offset += piece;
		length -= piece;
	}
	return rc;
}
