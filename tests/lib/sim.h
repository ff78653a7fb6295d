/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fake disks and storage that lose power. All of one `sim` share one count of
 * I/O, so that "crash at I/O k" means the same instant everywhere.
 *
 * What was written but not flushed is pending. A power loss keeps or drops
 * each 512-byte sector of each pending write on its own (torn, lost,
 * reordered); a kept one may be garbage. A process crash keeps them all.
 * A removed object's bytes come back only if the remove is undone, and then
 * as they were at the last flush. From the crash on every callback fails;
 * sim_restart() ends that.
 * Single-threaded.
 */
#ifndef SIM_H
#define SIM_H

#include "testing.h"

#include <hvrepl/hvrepl.h>
#include <stdbool.h>

#define SIM_SECTOR 512u
#define SIM_OWNED_MAX 1100u /* Disks and storages of one sim. */

struct sim_image; /* Bytes with a list of pending writes. */
struct sim_copy;  /* One of them, in a backup. */

/* What a flush that fails leaves behind. */
#define SIM_FLUSH_KEEPS 0u   /* Nothing happened: the next one may do it. */
#define SIM_FLUSH_CLEANS 1u  /* Readers see the new, the medium has the old. */
#define SIM_FLUSH_REVERTS 2u /* Readers see the old again. */
#define SIM_FLUSH_LATE 3u    /* As CLEANS, and the flush after it says so. */

/* What becomes of one write of an object that seems to succeed. */
#define SIM_STRAY_NONE 0u
#define SIM_STRAY_LOST 1u
#define SIM_STRAY_ELSEWHERE 2u

struct sim {
	uint64_t random;   /* State of the seeded generator. */
	uint64_t io_count; /* Writes, flushes, resizes, removes so far. */
	uint64_t crash_at; /* I/O number that crashes; UINT64_MAX: none. */
	bool crashed;
	/* One I/O that fails, reads counted too (own count). */
	uint64_t call_count;
	uint64_t fail_at;  /* UINT64_MAX: none. */
	int32_t fail_code; /* HVREPL_E_DISK_IO, HVREPL_E_NO_SPACE... */
	bool fail_on;      /* ...and all after it. */
	unsigned flush_fails; /* SIM_FLUSH_*, when the one that fails is a flush. */
	/* One flush that fails, flushes counted alone. */
	uint64_t flush_count, flush_fail_at;
	bool flush_objects; /* Of objects only, not of disks. */
	/* Disk I/O and object I/O is PENDING, and completed by then. */
	bool late;
	bool flush_may_finish; /* One that crashes may have done its work. */
	/* The first object write from this I/O on goes astray: SIM_STRAY_*. */
	unsigned stray;
	uint64_t stray_at;
	struct sim_storage *stray_in; /* Of this storage only; NULL: of any. */
	const char *stray_of; /* Of objects with this prefix; NULL: of any. */
	bool improper; /* An object id was none. */
	struct test_refusals *refusals; /* NULL: nothing is refused. */
	uint64_t events, failed; /* Callbacks that did I/O; that failed. */
	uint64_t hurt;  /* Bytes went wrong without a word, so often. */
	uint64_t trace; /* Of all that was written, where and how much. */
	/* Percent of pending sectors that survive a power loss, and of the
	 * survivors that are garbage. */
	unsigned survive_percent, garbage_percent;
	struct sim_image *images; /* All, for restart. */
	struct sim_copy *backup;
	void *owned[SIM_OWNED_MAX];
	unsigned owned_count;
	/* Optional: called before each I/O, to interleave other work. */
	void (*hook)(void *argument);
	void *hook_argument;
};

void sim_init(struct sim *sim, uint64_t seed);
/* Frees every disk and storage of the sim. */
void sim_free(struct sim *sim);
/* Resolve pending writes (power loss or process crash) and work again. */
void sim_restart(struct sim *sim, bool power_loss);

/* Flip one bit of an object, durable and all; its id, or NULL: there is none. */
const char *sim_rot(struct sim *sim);
/* Remember all disks and objects as a reader sees them; bring them back. */
void sim_backup(struct sim *sim);
void sim_restore(struct sim *sim);

struct sim_disk {
	struct sim *sim;
	struct sim_image *image;
	uint32_t flags;      /* HVREPL_DISK_* given by info. */
	uint32_t block_size; /* 512 unless changed. */
	uint64_t token;      /* Given by info; outside changes move it. */
	bool no_token;       /* It cannot say whether it was changed. */
	const uint64_t *token_clock; /* A write makes the token what it says. */
	unsigned released;   /* How often release was called. */
};
struct sim_disk *sim_disk_new(struct sim *sim, uint64_t size);
/* As the library takes it. */
struct hvrepl_disk sim_disk_handle(struct sim_disk *disk);
/* What a reader sees now. */
const uint8_t *sim_disk_bytes(const struct sim_disk *disk);
uint64_t sim_disk_size(const struct sim_disk *disk);
/* How often a flush of it failed and took what readers saw (SIM_FLUSH_REVERTS). */
unsigned sim_disk_reverts(const struct sim_disk *disk);
/* Write behind the library's back, durable at once with all that is pending, no I/O
 * counted. */
void sim_disk_poke(struct sim_disk *disk, uint64_t offset, const void *bytes,
		   size_t length);

struct sim_storage {
	struct sim *sim;
	uint64_t capacity; /* Bytes; UINT64_MAX: no limit. */
	unsigned released;
};
struct sim_storage *sim_storage_new(struct sim *sim);
struct hvrepl_storage sim_storage_handle(struct sim_storage *storage);
/* Bytes of one object as a reader sees it now, or NULL. For tests that damage
 * it: what is changed here is durable. */
uint8_t *sim_object_bytes(struct sim_storage *storage, const char *id,
			  uint64_t *size_out);
/* How often a flush of a guest's overlay failed and took what readers saw. */
unsigned sim_storage_reverts(const struct sim_storage *storage);
/* Sum of the sizes of all objects, and their number. */
uint64_t sim_storage_used(const struct sim_storage *storage);
unsigned sim_storage_objects(const struct sim_storage *storage);
#endif
