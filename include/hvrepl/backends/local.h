/* SPDX-License-Identifier: Apache-2.0 */
/* Disks, storage and state on local files and directories. */
#ifndef HVREPL_BACKENDS_LOCAL_H
#define HVREPL_BACKENDS_LOCAL_H

#include <hvrepl/disk.h>
#include <hvrepl/error.h>
#include <hvrepl/state.h>
#include <hvrepl/storage.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Writes are refused with READ_ONLY; several readers may share the file. */
#define HVREPL_FILE_READ_ONLY (1u << 0)
/** The caller promises HVREPL_DISK_EXCLUSIVE: nobody else ever writes it. */
#define HVREPL_FILE_EXCLUSIVE (1u << 1)
/**
 * Take no lock. For a disk that a hypervisor has open and locked, when the
 * caller knows that only one of them writes.
 */
#define HVREPL_FILE_NO_LOCK (1u << 2)
/** zero() keeps the space reserved, instead of making a hole. */
#define HVREPL_FILE_KEEP_ALLOCATED (1u << 3)

/**
 * A regular file or a block device as a disk.
 *
 * Its identity token (protocols T9) is inode, ctime, mtime and size. A block
 * device has no token: without HVREPL_FILE_EXCLUSIVE an unclean close of what
 * tracks it costs a compare of the whole disk. After a flush that failed every
 * later write and flush fails too: what reached the disk is unknown, and the
 * kernel tells only once. Open it anew.
 *
 * @param path      Copied. A symbolic link is followed.
 * @param flags     HVREPL_FILE_*.
 * @param disk_out  Filled on success: ops static, `user` owned by the disk;
 *                  give it to the library, or call disk_out->release(user).
 * @param error     Optional; sys_errno is set where there is one.
 * @return OK; BUSY when another opener holds it (this process included);
 *         NOT_FOUND, INVALID (neither file nor block device), DISK_IO, NOMEM.
 * @threadsafety Any thread; the disk's callbacks too. They block.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_file_disk_open(const char *path, uint32_t flags,
					 struct hvrepl_disk *disk_out,
					 struct hvrepl_error *error);

/**
 * Make a new file of `size` bytes (a multiple of 512), all zeroes and without
 * space reserved; durable when it returns. EXISTS when something is there.
 * @threadsafety Any thread. @since 0.1
 */
HVREPL_API int32_t hvrepl_file_disk_create(const char *path, uint64_t size,
					   struct hvrepl_error *error);

/**
 * A token_check for hvrepl_tracker_options over tokens of file disks: after an
 * unclean end the file counts as unchanged by others if it is the same file of
 * the same size and was not modified later than `saved_utc_ns` plus a slack, nor
 * by a clock that was set back: its ctime is none before the saved one.
 * The owner's own writes by such a clock, since it last saved, cost a compare
 * where there was no need of one.
 * The owner itself wrote up to its end, so save (hvrepl_tracker_save) more
 * often than the slack.
 *
 * @param user  Points to the slack in nanoseconds, a const uint64_t.
 * @return 1 or 0.
 * @threadsafety Any thread; callback-safe. @since 0.1
 */
HVREPL_API int32_t hvrepl_file_token_check(void *user, const uint8_t *saved,
					   uint32_t saved_length,
					   uint64_t saved_utc_ns,
					   const uint8_t *now,
					   uint32_t now_length);

/** Make the directory (0700) if it is not there; its parent must be. */
#define HVREPL_DIR_CREATE (1u << 0)
/** Nothing is changed, no lock file is made; readers may share it. */
#define HVREPL_DIR_READ_ONLY (1u << 1)

/**
 * A directory as storage: one file per object. The directory belongs to
 * hvrepl; names starting with '.' in it are the backend's own. A file ".lock"
 * in it is held locked, so that two daemons cannot run on one store.
 *
 * A symbolic link in the directory is never followed. After a flush or sync
 * that failed, that object (or the whole directory) refuses further writes.
 *
 * @param path         Copied.
 * @param flags        HVREPL_DIR_*.
 * @param storage_out  As disk_out of hvrepl_file_disk_open().
 * @param error        Optional.
 * @return OK; BUSY when another opener holds it; NOT_FOUND, STORAGE_IO, NOMEM.
 * @threadsafety Any thread; the storage's callbacks too. They block.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_dir_storage_open(const char *path, uint32_t flags,
					   struct hvrepl_storage *storage_out,
					   struct hvrepl_error *error);

/**
 * A directory as state store: one checksummed file per key (docs/formats.md),
 * replaced whole by write, flush, rename and flush of the directory. Held by
 * one process at a time, as a directory storage is; not the same directory.
 *
 * A blob that was damaged gives CORRUPT, to get and to put alike: what is
 * unreadable is never overwritten. get gives LIMIT and the length when the
 * buffer is too small. After a flush that failed every put is POISONED.
 *
 * @param path       Copied.
 * @param flags      HVREPL_DIR_*.
 * @param state_out  As disk_out of hvrepl_file_disk_open().
 * @param error      Optional.
 * @return OK; BUSY when another opener holds it; NOT_FOUND, STATE_IO, NOMEM.
 * @threadsafety Any thread; the callbacks too, one at a time. A put blocks for
 * two flushes. @since 0.1
 */
HVREPL_API int32_t hvrepl_dir_state_open(const char *path, uint32_t flags,
					 struct hvrepl_state *state_out,
					 struct hvrepl_error *error);

#ifdef __cplusplus
}
#endif
#endif
