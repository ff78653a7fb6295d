/* SPDX-License-Identifier: Apache-2.0 */
/* Whole reads and writes of file descriptors, and errno in hvrepl's codes. */
#ifndef HVRI_BACKEND_FILEIO_H
#define HVRI_BACKEND_FILEIO_H

#include <hvrepl/error.h>
#include <stdbool.h>

#define HVRI_PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))
#define HVRI_COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* Fill `error` (may be NULL), return `code`. */
int32_t hvri_sys_fail(struct hvrepl_error *error, int32_t code, int sys_errno,
		      const char *format, ...) HVRI_PRINTF_LIKE(4, 5);

/* Code of an errno; `other` for those without a meaning of their own. */
int32_t hvri_sys_code(int sys_errno, int32_t other);

/* All bytes or a failure. A read that meets the end is `other`. */
int32_t hvri_fd_read(int fd, uint64_t offset, const struct hvrepl_iovec *iov,
		     uint32_t iov_count, int32_t other);
int32_t hvri_fd_write(int fd, uint64_t offset, const struct hvrepl_iovec *iov,
		      uint32_t iov_count, int32_t other);

/* Whole-file lock that lives as long as the descriptor's open file and also
 * keeps other openers of this process out. BUSY when held by another. */
int32_t hvri_fd_lock(int fd, bool shared, int32_t other);

/* fallocate() retried over EINTR; errno or 0. */
int hvri_fd_fallocate(int fd, int mode, uint64_t offset, uint64_t length);

/* Makes the name of what lies at `path` durable; -1 with errno. */
int hvri_sync_parent(const char *path);

/*
 * Reads give what is on the medium from now on, where that differs from what a
 * cache holds: Linux marks pages clean that it could not write, so after an
 * fdatasync() that failed they look durable and are not.
 */
void hvri_fd_drop_cache(int fd);
/* The same at open, for what an earlier process left: written out, or gone. */
void hvri_fd_settle_cache(int fd);

/* Write zeroes over [offset, offset + length). */
int32_t hvri_fd_write_zeroes(int fd, uint64_t offset, uint64_t length,
			     int32_t other);
#endif
