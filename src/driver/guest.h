/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's door to a disk: what lies behind it is changed under way. */
#ifndef HVRI_DRIVER_GUEST_H
#define HVRI_DRIVER_GUEST_H

#include "base/io.h"
#include "base/sync.h"

#include <hvrepl/guest.h>
#include <hvrepl/tracker.h>

/* What the door leads to. All borrowed from the VM that owns the door. */
struct hvri_backing {
	const struct hvri_disk *disk; /* NULL: nothing; reads are refused. */
	hvrepl_tracker *tracker;      /* NULL: writes are refused. */
};

struct hvrepl_guest_disk {
	const struct hvri_env *env;
	/* Shared by I/O, alone to change `backing`. */
	hvri_rwlock lock;
	struct hvri_backing backing;
	uint64_t size;
	uint32_t block_size;
	/* A write had to wait: somebody should look at the group's deadline.
	 * Any thread. */
	void (*waiting)(void *user);
	void *user;
	/* Relaxed atomics. */
	uint64_t reads, writes, flushes, read_bytes, written_bytes, refused;
};

void hvri_guest_init(struct hvrepl_guest_disk *guest,
		     const struct hvri_env *env, uint64_t size,
		     uint32_t block_size);
void hvri_guest_free(struct hvrepl_guest_disk *guest);
/* Waits for I/O that is under way: fence the tracker first when it may hang.
 * Control thread. */
void hvri_guest_switch(struct hvrepl_guest_disk *guest,
		       const struct hvri_backing *backing);

HVRI_MUST_CHECK int32_t hvri_guest_allocated(
	struct hvrepl_guest_disk *guest, uint64_t offset, uint64_t length,
	struct hvrepl_extent *extents_out, uint32_t *count_inout,
	uint64_t *end_out);
HVRI_MUST_CHECK int32_t hvri_guest_read(struct hvrepl_guest_disk *guest,
					uint64_t offset, void *buffer,
					size_t length);
HVRI_MUST_CHECK int32_t hvri_guest_write(struct hvrepl_guest_disk *guest,
					 uint64_t offset, const void *buffer,
					 size_t length);
HVRI_MUST_CHECK int32_t hvri_guest_zero(struct hvrepl_guest_disk *guest,
					uint64_t offset, uint64_t length);
HVRI_MUST_CHECK int32_t hvri_guest_discard(struct hvrepl_guest_disk *guest,
					   uint64_t offset, uint64_t length);
HVRI_MUST_CHECK int32_t hvri_guest_flush(struct hvrepl_guest_disk *guest);
void hvri_guest_info(struct hvrepl_guest_disk *guest,
		     struct hvrepl_guest_info *info_out);
#endif
