/* SPDX-License-Identifier: Apache-2.0 */
/* A protected disk as the running VM uses it: I/O that follows ownership. */
#ifndef HVREPL_GUEST_H
#define HVREPL_GUEST_H

#include <hvrepl/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * One disk of one VM, whatever holds it just now: the tracked base disk, the
 * overlay of a failover, or nothing that may be used. The same handle stays
 * good through failover, commit, reverse and failback. Opened with
 * hvrepl_node_open_disk(); data plane: any thread, several at once.
 */
typedef struct hvrepl_guest_disk hvrepl_guest_disk;

#define HVREPL_GUEST_WRITABLE (1u << 0) /* This site owns the VM now. */
#define HVREPL_GUEST_READABLE (1u << 1)

struct hvrepl_guest_info {
	uint32_t struct_size; /* Set by the caller; never written past. */
	uint32_t flags;       /* HVREPL_GUEST_*, as of now. */
	uint64_t size;        /* Bytes. */
	uint32_t block_size;  /* Offsets and lengths are multiples of it. */
	uint32_t reserved;
	uint64_t reads, writes, flushes;     /* Since the node began. */
	uint64_t read_bytes, written_bytes;
	uint64_t refused;                    /* Writes answered with FENCED. */
};
#define HVREPL_GUEST_INFO_INIT \
	{ sizeof(struct hvrepl_guest_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/** Fill `info_out`; OK or INVALID. Any thread. @since 0.1 */
HVREPL_API int32_t hvrepl_guest_get_info(hvrepl_guest_disk *disk,
					 struct hvrepl_guest_info *info_out);

/**
 * Guest I/O. Synchronous; buffers borrowed for the call.
 *
 * @returns HVREPL_OK; FENCED: this site does not own the VM (for a read: and
 *          has no current content of it); RANGE; DISK_IO, NO_SPACE; CLOSED.
 * @threadsafety  Any thread. Not from callbacks of the node's disks.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_guest_read(hvrepl_guest_disk *disk, uint64_t offset,
				     void *buffer, size_t length);
HVREPL_API int32_t hvrepl_guest_write(hvrepl_guest_disk *disk, uint64_t offset,
				      const void *buffer, size_t length);
/** Reads give zeroes afterwards. */
HVREPL_API int32_t hvrepl_guest_zero(hvrepl_guest_disk *disk, uint64_t offset,
				     uint64_t length);
/**
 * The first extents of [offset, offset + length) that may hold anything but
 * zeroes, ascending and apart, at most *count_inout of them (1 or more); sets
 * *count_inout and *end_out, up to which the answer holds. As of now: a write
 * that ended before the call is in it. Where it is not known, all counts.
 *
 * @returns as hvrepl_guest_read(). Any thread.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_guest_allocated(hvrepl_guest_disk *disk,
					  uint64_t offset, uint64_t length,
					  struct hvrepl_extent *extents_out,
					  uint32_t *count_inout,
					  uint64_t *end_out);
/** A hint that content is not needed; reads give anything afterwards. */
HVREPL_API int32_t hvrepl_guest_discard(hvrepl_guest_disk *disk,
					uint64_t offset, uint64_t length);
/** Completed writes survive a crash once this has returned OK. */
HVREPL_API int32_t hvrepl_guest_flush(hvrepl_guest_disk *disk);

#ifdef __cplusplus
}
#endif
#endif
