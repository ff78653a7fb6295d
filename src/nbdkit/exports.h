/* SPDX-License-Identifier: Apache-2.0 */
/* What an NBD client opens: VM/DISK, or VM/DISK@POINT. */
#ifndef SITE_EXPORTS_H
#define SITE_EXPORTS_H

#include "site.h"

#include <hvrepl/guest.h>
#include <hvrepl/store.h>

/* One connection's handle: exactly one of the three is there. */
struct export {
	struct guest_disk *tracked;  /* A captured VM's disk. */
	hvrepl_guest_disk *guest;    /* The node's: follows ownership. */
	hvrepl_view *view;           /* A recovery point, read-only... */
	struct hvrepl_disk disk;     /* ...and this disk of it. */
	uint64_t size;
	uint32_t block_size;
	struct export *next, **link; /* Among all that are open. */
};

/* NOT_FOUND, and what opening a view returns. Any thread. */
int32_t export_open(struct site *site, const char *name, struct export **out,
		    struct hvrepl_error *error);
void export_close(struct export *export);
/* What is open still, when no connection is left. */
void export_close_all(void);
/* Call each(argument, name) for all exports; non-zero ends it. */
int export_list(struct site *site,
		int (*each)(void *argument, const char *name), void *argument);

/* As guest_*(), whatever is behind. */
int32_t export_read(struct export *export, void *buffer, uint64_t length,
		    uint64_t offset);
int32_t export_write(struct export *export, const void *buffer,
		     uint64_t length, uint64_t offset, bool durable);
int32_t export_zero(struct export *export, uint64_t length, uint64_t offset,
		    bool durable);
int32_t export_discard(struct export *export, uint64_t length,
		       uint64_t offset, bool durable);
int32_t export_flush(struct export *export);
/* As struct hvrepl_disk_ops' allocated; UNSUPPORTED when not known. */
int32_t export_allocated(struct export *export, uint64_t offset,
			 uint64_t length, struct hvrepl_extent *extents_out,
			 uint32_t *count_inout, uint64_t *end_out);

#endif
