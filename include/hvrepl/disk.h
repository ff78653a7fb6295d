/* SPDX-License-Identifier: Apache-2.0 */
/* A disk as the application brings it. */
#ifndef HVREPL_DISK_H
#define HVREPL_DISK_H

#include <hvrepl/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HVREPL_DISK_READ_ONLY (1u << 0)
/** Nobody else writes the disk while hvrepl does not have it open (T9). */
#define HVREPL_DISK_EXCLUSIVE (1u << 1)

#define HVREPL_TOKEN_MAX 64u

struct hvrepl_disk_info {
	uint32_t struct_size; /* Set by the library; never write past it. */
	uint32_t flags;       /* HVREPL_DISK_* */
	uint64_t size;        /* Bytes; a multiple of block_size. */
	uint32_t block_size;  /* Smallest I/O, a power of two: 1 to 65536. */
	uint32_t token_length;
	/**
	 * Changes whenever the content may have changed behind hvrepl's back:
	 * VHDX DataWriteGuid; inode, ctime, mtime of a file (protocols T9).
	 */
	uint8_t token[HVREPL_TOKEN_MAX];
};

/**
 * Callbacks of one disk. They may run on any thread, on several at once, and
 * may block; they must not call into the handle that owns the disk. Offsets
 * and lengths are multiples of block_size and inside the disk. Buffers are
 * page-aligned where the library allocated them.
 */
struct hvrepl_disk_ops {
	uint32_t struct_size; /* sizeof(struct hvrepl_disk_ops) */
	uint32_t reserved;    /* Must be zero. */

	int32_t (*info)(void *user, struct hvrepl_disk_info *info_out);
	int32_t (*readv)(void *user, hvrepl_op *op, uint64_t offset,
			 const struct hvrepl_iovec *iov, uint32_t iov_count);
	int32_t (*writev)(void *user, hvrepl_op *op, uint64_t offset,
			  const struct hvrepl_iovec *iov, uint32_t iov_count);

	/**
	 * Optional; NULL means a completed write is durable. After one that
	 * failed reads give what is durable, or fail (see hvrepl/storage.h).
	 */
	int32_t (*flush)(void *user, hvrepl_op *op);
	/** Optional; NULL means zeroes are written. Reads give zeroes after. */
	int32_t (*zero)(void *user, hvrepl_op *op, uint64_t offset,
			uint64_t length);
	/** Optional; a hint. What reads give afterwards is undefined. */
	int32_t (*discard)(void *user, hvrepl_op *op, uint64_t offset,
			   uint64_t length);
	/**
	 * Optional. The first extents of [offset, offset + length) that may
	 * hold anything but zeroes, ascending, at most *count_inout of them;
	 * sets *count_inout and *end_out, the offset up to which the answer
	 * holds. Synchronous.
	 */
	int32_t (*allocated)(void *user, uint64_t offset, uint64_t length,
			     struct hvrepl_extent *extents_out,
			     uint32_t *count_inout, uint64_t *end_out);
};
#define HVREPL_DISK_OPS_INIT \
	{ sizeof(struct hvrepl_disk_ops), 0, 0, 0, 0, 0, 0, 0, 0 }

/**
 * A disk handed to the library: the table is copied; `user` is taken, and
 * `release` (optional) is called exactly once when the library lets it go,
 * also when the call it was passed to fails.
 */
struct hvrepl_disk {
	const struct hvrepl_disk_ops *ops;
	void *user;
	void (*release)(void *user);
};

#ifdef __cplusplus
}
#endif
#endif
