/* SPDX-License-Identifier: Apache-2.0 */
/* A set of deadlines, earliest first: a binary heap that the timers are themselves. */
#ifndef HVRI_DRIVER_TIMERS_H
#define HVRI_DRIVER_TIMERS_H

#include "base/env.h"

#define HVRI_NEVER UINT64_MAX

/* Embedded in what owns it, and not moved or freed while it is set. */
struct hvri_alarm {
	uint64_t deadline_ns; /* Monotonic; HVRI_NEVER: not set. */
	void (*fire)(struct hvri_alarm *timer);
	/* Its place in the tree, counted from 1 row by row; 0: not in it. */
	size_t place;
	struct hvri_alarm *above, *below[2];
};

/* All zero: none is set. As the links are in the timers, however many are set takes
 * no memory: setting one needs no room and cannot fail. */
struct hvri_timers {
	struct hvri_alarm *first; /* Place 1: the earliest. */
	size_t count;
};

/* Not set; once, before its first use. */
void hvri_alarm_init(struct hvri_alarm *timer,
		     void (*fire)(struct hvri_alarm *timer));
/* Set, move or (HVRI_NEVER) clear. */
void hvri_alarm_set(struct hvri_timers *timers, struct hvri_alarm *timer,
		    uint64_t deadline_ns);
/* HVRI_NEVER when none is set. */
uint64_t hvri_timers_next(const struct hvri_timers *timers);
/* Fire at most `budget` of those due at `now_ns`; how many. */
uint32_t hvri_timers_run(struct hvri_timers *timers, uint64_t now_ns,
			 uint32_t budget);
#endif
