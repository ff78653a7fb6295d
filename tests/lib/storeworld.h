/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store on fake disks beside a naive model of it: an array of whole images,
 * one a point, and what the guest of a failover has written and flushed.
 */
#ifndef STOREWORLD_H
#define STOREWORLD_H

#include "sim.h"
#include "store/internal.h"
#include "testing.h"

#define WORLD_DISKS 2u
#define WORLD_SIZE_MAX (96u << 10)
#define WORLD_POINTS 128u
#define WORLD_CHUNKS 64u

struct world_image {
	uint8_t bytes[WORLD_DISKS][WORLD_SIZE_MAX];
};

struct world_point {
	bool kept;
	bool pinned, pin_tried; /* As said; as last asked for. */
	bool held, doubted;	/* In an upkeep, at some time: it could not go; goes first. */
	uint64_t key, number;
	struct hvrepl_uuid cut;
	struct world_image *image;
};

/* One cut as the primary holds it until it is acknowledged. */
struct world_cut {
	bool pending;
	uint64_t number;
	struct hvrepl_uuid cut;
	struct world_image *image;
	uint8_t header[WORLD_DISKS][HVRI_SEGMENT_HEADER_SIZE];
	uint8_t root[WORLD_DISKS][32];
	uint8_t *chunks[WORLD_DISKS][WORLD_CHUNKS];
	uint32_t lengths[WORLD_DISKS][WORLD_CHUNKS];
	uint32_t counts[WORLD_DISKS];
};

struct world {
	struct sim sim;
	struct test_env env;
	uint64_t random;
	struct sim_storage *storage;
	struct sim_disk *bases[WORLD_DISKS];
	uint64_t sizes[WORLD_DISKS];
	uint64_t utc_step;	/* Between two I/Os: the clock runs (T9). */
	uint64_t token_slack;
	uint32_t change_blocks; /* Most blocks a cut changes on a disk. */
	uint32_t send_block;	/* Granularity of the segments. */
	struct hvrepl_store_options options;
	hvrepl_store *store;
	hvrepl_view *view; /* Of the failover. */
	struct hvrepl_uuid vm, epoch, disks[WORLD_DISKS];

	struct world_image primary;
	uint64_t last_number;
	struct world_cut cut;
	struct world_point points[WORLD_POINTS];
	uint32_t point_count;

	/* The failed-over VM: what it sees, and what may be anything after a
	 * crash (512-byte sectors written since the last flush). */
	bool failover;
	uint64_t failover_key;
	struct world_image guest;
	uint8_t loose[WORLD_DISKS][WORLD_SIZE_MAX / SIM_SECTOR];
	bool maintaining; /* Policy may have given up points. */
	bool full; /* Storage may say that it is: points may go early. */
	/* Optional: what is to fail does not while the model works. */
	void (*aside)(bool begun);
	bool direct; /* The last switch may have begun: points may be gone. */
};

void world_init(struct world *world, uint64_t seed);
void world_init_sized(struct world *world, uint64_t seed,
		      const uint64_t sizes[WORLD_DISKS]);
void world_free(struct world *world);
/* Tokens of the bases move as a file's times do, and the clock with each I/O. */
void world_run_clock(struct world *world, uint64_t step_ns);
/* Open or create; small pieces, so that there are many steps. */
int32_t world_open(struct world *world, bool create);
void world_close(struct world *world);
/* The process ends without closing anything. */
void world_abandon(struct world *world);

/* First content by initial replication, or (adopt) the bases as they are. */
int32_t world_first_point(struct world *world, bool adopt);
/* After a commit: the base as it is becomes a point, and receiving goes on. */
int32_t world_adopt_base(struct world *world);
/* Change the primary and cut; then send what is pending, resuming. */
void world_make_cut(struct world *world);
/* A cut of the blocks of [from, to) of each disk, changed or not. */
void world_make_cut_of(struct world *world, uint64_t from, uint64_t to);
/* A cut of just these places, which get new content, or zeroes. */
struct world_change {
	uint32_t disk;
	uint64_t offset, length; /* Of send_block. */
	bool zero;
};
void world_cut_free(struct world_cut *cut);
void world_make_cut_with(struct world *world, const struct world_change *changes,
			 unsigned count);
/* Some of the pending cut's chunks, durable, and no point yet. */
int32_t world_send_part(struct world *world);
/* All of it, and no point yet. */
int32_t world_send_segments(struct world *world);
int32_t world_send_cut(struct world *world);
int32_t world_send(struct world *world);
int32_t world_drop(struct world *world, uint64_t key);
/* Pinned, neither upkeep nor a drop gives it up. */
int32_t world_pin(struct world *world, struct world_point *point, bool pinned);

int32_t world_failover(struct world *world, uint64_t key);
int32_t world_guest_write(struct world *world);
/* A write, or a discard, of just that. */
int32_t world_guest_change(struct world *world, unsigned d, uint64_t at,
			   uint64_t length, bool zero);
int32_t world_guest_flush(struct world *world);
/* After a write that failed: the guest looks at what is there now. */
int32_t world_guest_look(struct world *world);
/* Close and open the view. */
void world_view_close(struct world *world);

int32_t world_merge(struct world *world, uint64_t target);
int32_t world_maintain(struct world *world);
int32_t world_commit(struct world *world);
int32_t world_cancel(struct world *world);

/* After recovery: a pending cut is there as a whole or not at all. */
void world_settle(struct world *world);
/* Every point the model keeps is exact, and no other is listed. */
void world_check(struct world *world);
/* The guest's view, or the base after a commit; `crashed`: loose sectors may
 * hold anything, and become what they hold. */
void world_check_guest(struct world *world, bool crashed);
/* Kept points, for picking one; NULL past the end. */
struct world_point *world_kept(struct world *world, uint32_t i);
uint32_t world_kept_count(struct world *world);
struct world_point *world_newest(struct world *world);
#endif
