/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane: data jobs of one VM side, run one after the other on the executor,
 * each finished on the control thread. What one lane touches needs no lock
 * against another job of the same lane. Without an executor (or when it
 * refuses) a piece of a job is an item of the control thread's queue: one piece
 * a turn, so that a seed can interleave anything between two pieces.
 */
#ifndef HVRI_DRIVER_LANE_H
#define HVRI_DRIVER_LANE_H

#include "driver/queue.h"

struct hvri_lane;

/* Embedded in the job's own struct, which stays valid until `done` is called. */
struct hvri_lane_job {
	struct hvri_item item;
	struct hvri_lane_job *next;
	struct hvri_lane *lane;
	bool was_last; /* Nothing was behind it: the lane rests when it is home. */
	/* On the executor; true: run me again after the others (more to do). */
	bool (*work)(struct hvri_lane_job *job);
	/* On the control thread, once. */
	void (*done)(struct hvri_lane_job *job);
};

struct hvri_lane {
	struct hvri_item self; /* A turn on the control thread. */
	const struct hvri_env *env;
	struct hvri_queue *home; /* Where `done` runs. */
	hvri_mutex mutex;
	struct hvri_lane_job *first, **last;
	bool running;
	uint32_t pending; /* Submitted and not yet done; control thread only. */
};

void hvri_lane_init(struct hvri_lane *lane, const struct hvri_env *env,
		    struct hvri_queue *home);
/* Only when idle. */
void hvri_lane_free(struct hvri_lane *lane);
/* Control thread. */
void hvri_lane_submit(struct hvri_lane *lane, struct hvri_lane_job *job);
static inline bool hvri_lane_idle(const struct hvri_lane *lane)
{
	return lane->pending == 0;
}
#endif
