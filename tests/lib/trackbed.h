/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bed for trackers: two simulated disks in one cut group, guests that write
 * through tickets in any interleaving a seed picks, cuts that are spooled,
 * shipped to replica images and compared with the instant they name.
 */
#ifndef TRACKBED_H
#define TRACKBED_H

#include "sim.h"
#include "testing.h"

#include "tracker/internal.h"

#define BED_DISKS 2u
#define BED_TICKETS 8u
#define BED_CUTS 4u
#define BED_BLOCK 1024u
#define BED_REGION 65536u
#define BED_GROWS 4096u /* A disk may get larger by so much. */
#define BED_REGIONS 8u	/* At most, of a disk. */

struct bed;

enum bed_stage { BED_FREE, BED_WAITING, BED_GO, BED_WRITING, BED_WRITTEN };

struct bed_ticket {
	struct hvrepl_ticket ticket;
	struct bed *bed;
	enum bed_stage stage;
	uint32_t disk, kind;
	uint64_t offset, length;
	int32_t result; /* Of the disk. */
};

/* What the application has on record of a disk: its marks are not to be trusted
 * (T8). */
struct bed_word {
	struct bed *bed;
	bool untrusted;
};

struct bed_cut {
	hvrepl_cut *cut; /* NULL: free place. */
	uint64_t order;
	uint8_t *expect[BED_DISKS]; /* Content at the instant. */
};

struct bed {
	struct test_env env;
	struct sim sim;
	struct sim_storage *files, *spill;
	struct sim_disk *disk[BED_DISKS];
	uint8_t *replica[BED_DISKS];
	uint8_t *next[BED_DISKS]; /* What it becomes while a cut is applied. */
	uint64_t size[BED_DISKS];
	hvrepl_group *group;
	hvrepl_tracker *tracker[BED_DISKS];
	struct bed_word word[BED_DISKS];
	struct bed_ticket ticket[BED_TICKETS];
	struct bed_cut cut[BED_CUTS];
	uint64_t random, orders;
	/* The point of the newest cut that changed it at the replica. */
	uint64_t acknowledged[BED_DISKS][BED_REGIONS];
	uint64_t shipped, voided, pended; /* What a run exercised. */
	bool woken;
	bool mingle; /* Guests and cuts come between any two I/Os; before attach. */
	bool yields; /* Others come also between two steps of a write. */
	bool inside; /* The hook runs. */
	/* The application has a record of trust (T8); before attach. Marks that are
	 * late cost no write then, but make all regions hot for long. */
	bool trusts;
	unsigned calm; /* Percent of steps that let regions cool. */
};

/* Storage and disks; nothing attached. */
void bed_init(struct bed *bed, uint64_t seed);
void bed_init_sized(struct bed *bed, uint64_t seed,
		    const uint64_t sizes[BED_DISKS]);
void bed_free(struct bed *bed);
/* Group and trackers; the first time makes the files. Negative: a crash or a
 * fault got in the way, and nothing is attached. */
int32_t bed_attach(struct bed *bed, uint32_t flags);
/* What a killed process leaves: nothing reaches disk or storage any more. */
void bed_kill(struct bed *bed);
/* End all writes, ship all cuts, detach cleanly. */
int32_t bed_detach(struct bed *bed);
/* One seeded step. */
void bed_step(struct bed *bed);
/* The pieces of a step, for who wants them in an order of his own. `mine` names
 * disk, place and kind; afterwards its stage says how far it is. */
void bed_begin(struct bed *bed, struct bed_ticket *mine);
void bed_perform(struct bed *bed, struct bed_ticket *mine);
void bed_end(struct bed *bed, struct bed_ticket *mine);
void bed_process(struct bed *bed);
/* False: there is no place for one more, or the library says no. */
bool bed_cut_all(struct bed *bed);
void bed_advance(struct bed *bed); /* The newest cut, if it is open. */
/* The oldest cut, if it is not open: acknowledged, or its shipping fails. */
void bed_ship(struct bed *bed, bool fails);
/* Up to so many steps of others, wherever the caller is; of a bed that mingles. */
void bed_between(struct bed *bed, unsigned most);
/* Writes ended, cuts settled. */
void bed_settle(struct bed *bed);
/* Cut all, ship it, compare replicas with disks. */
void bed_ship_all(struct bed *bed);
/* Every block that differs between disk and replica is dirty. And a region is
 * not hot any more only if the file knows the cut that took it to the replica
 * (T7 b), unless a write of the file went astray. */
void bed_check_covered(struct bed *bed);
#endif
