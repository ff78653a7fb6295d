/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VM's disk at this site as its tracker sees it: one handle, whatever it
 * leads to. Commit of a failover moves it from the overlay's view to the base
 * disk while the VM runs.
 */
#ifndef HVRI_DRIVER_LIVE_H
#define HVRI_DRIVER_LIVE_H

#include "base/io.h"
#include "base/sync.h"

struct hvri_live {
	hvri_rwlock lock;                /* Shared by I/O. */
	const struct hvri_disk *current; /* NULL: nothing; I/O is FENCED. */
	struct hvri_disk disk;           /* I/O through the lock. */
};

void hvri_live_init(struct hvri_live *live);
void hvri_live_free(struct hvri_live *live);
/* Waits for I/O under way. `current` is borrowed. Any thread. */
void hvri_live_set(struct hvri_live *live, const struct hvri_disk *current);
/* A handle for a tracker; releasing it does nothing. */
struct hvrepl_disk hvri_live_handle(struct hvri_live *live);

/* The same for a disk or storage that stays with the VM: a handle whose
 * release does nothing. */
struct hvrepl_disk hvri_lend_disk(const struct hvri_disk *disk);
struct hvrepl_storage hvri_lend_storage(const struct hvri_storage *storage);
#endif
