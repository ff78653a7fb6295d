/* SPDX-License-Identifier: Apache-2.0 */
/* Two nodes on real files in one directory, driven by the caller's thread. */
#ifndef TWONODES_H
#define TWONODES_H

#include "tempdir.h"

#include <hvrepl/backends.h>
#include <stdbool.h>

struct twonodes {
	struct tempdir dir;
	hvrepl_pool *pool;
	struct hvrepl_env env;
	hvrepl_node *nodes[2];
	uint64_t disk_size;
	uint64_t cycle_ns;
	uint32_t vms; /* Brought so far. */
	uint64_t last_job;
	int32_t last_code;
};

/* Connected over a pair in memory; site 0 brings VMs, site 1 takes them. */
void twonodes_start(struct twonodes *two, uint64_t disk_size,
		    uint64_t cycle_ns);
/* One more VM with one sparse disk; its id and its disk's. */
void twonodes_bring(struct twonodes *two, struct hvrepl_uuid *vm,
		    struct hvrepl_uuid *disk);
/* A little of everything; sleeps shortly when nothing was due. */
void twonodes_turn(struct twonodes *two);
/* Ask, and run until the job ended. */
void twonodes_operate(struct twonodes *two, int site, uint32_t type,
		      const struct hvrepl_uuid *vm);
void twonodes_status(struct twonodes *two, int site,
		     const struct hvrepl_uuid *vm,
		     struct hvrepl_vm_status *status);
void twonodes_end(struct twonodes *two);
#endif
