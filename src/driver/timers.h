/* SPDX-License-Identifier: Apache-2.0 */
/* A set of deadlines, earliest first: a binary heap of embedded timers. */
#ifndef HVRI_DRIVER_TIMERS_H
#define HVRI_DRIVER_TIMERS_H

#include "base/env.h"

#define HVRI_NEVER UINT64_MAX

struct hvri_alarm {
	uint64_t deadline_ns; /* Monotonic; HVRI_NEVER: not set. */
	size_t slot;          /* In the heap, plus one; 0: not in it. */
	void (*fire)(struct hvri_alarm *timer);
};

struct hvri_timers {
	const struct hvri_env *env;
	struct hvri_alarm **heap;
	size_t count, capacity;
};

void hvri_timers_init(struct hvri_timers *timers, const struct hvri_env *env);
void hvri_timers_free(struct hvri_timers *timers);
/* Make room so that `count` timers can be set without an error later. */
HVRI_MUST_CHECK int32_t hvri_timers_reserve(struct hvri_timers *timers,
					    size_t count);
/* Set, move or (HVRI_NEVER) clear. There must be room for it. */
void hvri_alarm_set(struct hvri_timers *timers, struct hvri_alarm *timer,
		    uint64_t deadline_ns);
/* HVRI_NEVER when none is set. */
uint64_t hvri_timers_next(const struct hvri_timers *timers);
/* Fire at most `budget` of those due at `now_ns`; how many. */
uint32_t hvri_timers_run(struct hvri_timers *timers, uint64_t now_ns,
			 uint32_t budget);
#endif
