/* SPDX-License-Identifier: Apache-2.0 */
/* A disk as the guest sees it: every write passes the tracker. */
#ifndef SITE_GUEST_H
#define SITE_GUEST_H

#include <hvrepl/hvrepl.h>
#include <stdbool.h>

struct guest_disk {
	/* Where "untrusted" of this disk is noted (protocols T8). */
	const struct hvrepl_storage *storage;
	char untrusted_id[HVREPL_OBJECT_ID_MAX + 1];
	struct hvrepl_disk disk;  /* Held by the tracker; used beside it. */
	struct hvrepl_disk_info info;
	hvrepl_tracker *tracker;
};

/*
 * Guest I/O: HVREPL_OK or HVREPL_E_*. Ranges lie inside the disk; INVALID when
 * they are not multiples of its block size. Any thread, several at once; they
 * block. `durable` as NBD's FUA: on disk when the call returns.
 */
int32_t guest_read(struct guest_disk *disk, void *buffer, uint64_t length,
		   uint64_t offset);
int32_t guest_write(struct guest_disk *disk, const void *buffer,
		    uint64_t length, uint64_t offset, bool durable);
int32_t guest_zero(struct guest_disk *disk, uint64_t length, uint64_t offset,
		   bool durable);
/* A hint: what a cut still needs is kept. */
int32_t guest_discard(struct guest_disk *disk, uint64_t length,
		      uint64_t offset, bool durable);
int32_t guest_flush(struct guest_disk *disk);

/* errno for an NBD client; ESHUTDOWN for FENCED. */
int guest_errno(int32_t code);

#endif
