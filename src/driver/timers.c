/* SPDX-License-Identifier: Apache-2.0 */
/* Binary heap by deadline; a timer knows its slot, so moving it is cheap. */
#include "driver/timers.h"

#define TIMERS_MAX (1u << 20)

void hvri_timers_init(struct hvri_timers *timers, const struct hvri_env *env)
{
	*timers = (struct hvri_timers){ .env = env };
}

void hvri_timers_free(struct hvri_timers *timers)
{
	hvri_free(timers->env, timers->heap,
		  timers->capacity * sizeof(struct hvri_alarm *));
	timers->heap = NULL;
	timers->count = timers->capacity = 0;
}

int32_t hvri_timers_reserve(struct hvri_timers *timers, size_t count)
{
	void *heap = timers->heap;
	int32_t rc = hvri_grow(timers->env, &heap, &timers->capacity, count,
			       TIMERS_MAX, sizeof(struct hvri_alarm *));

	timers->heap = heap;
	return rc;
}

static void place(struct hvri_timers *timers, size_t slot,
		  struct hvri_alarm *timer)
{
	timers->heap[slot] = timer;
	timer->slot = slot + 1;
}

static void sift_up(struct hvri_timers *timers, size_t slot)
{
	struct hvri_alarm *timer = timers->heap[slot];

	while (slot > 0) {
		size_t parent = (slot - 1) / 2;

		if (timers->heap[parent]->deadline_ns <= timer->deadline_ns)
			break;
		place(timers, slot, timers->heap[parent]);
		slot = parent;
	}
	place(timers, slot, timer);
}

static void sift_down(struct hvri_timers *timers, size_t slot)
{
	struct hvri_alarm *timer = timers->heap[slot];

	for (;;) {
		size_t child = 2 * slot + 1;

		if (child >= timers->count)
			break;
		if (child + 1 < timers->count &&
		    timers->heap[child + 1]->deadline_ns <
			    timers->heap[child]->deadline_ns)
			child++;
		if (timer->deadline_ns <= timers->heap[child]->deadline_ns)
			break;
		place(timers, slot, timers->heap[child]);
		slot = child;
	}
	place(timers, slot, timer);
}

static void take_out(struct hvri_timers *timers, struct hvri_alarm *timer)
{
	size_t slot = timer->slot - 1;
	struct hvri_alarm *last = timers->heap[--timers->count];

	timer->slot = 0;
	if (last == timer)
		return;
	place(timers, slot, last);
	sift_down(timers, slot);
	sift_up(timers, last->slot - 1);
}

void hvri_alarm_set(struct hvri_timers *timers, struct hvri_alarm *timer,
		    uint64_t deadline_ns)
{
	if (timer->slot != 0)
		take_out(timers, timer);
	timer->deadline_ns = deadline_ns;
	if (deadline_ns == HVRI_NEVER)
		return;
	place(timers, timers->count++, timer);
	sift_up(timers, timers->count - 1);
}

uint64_t hvri_timers_next(const struct hvri_timers *timers)
{
	return timers->count == 0 ? HVRI_NEVER : timers->heap[0]->deadline_ns;
}

uint32_t hvri_timers_run(struct hvri_timers *timers, uint64_t now_ns,
			 uint32_t budget)
{
	uint32_t fired = 0;

	while (fired < budget && timers->count > 0 &&
	       timers->heap[0]->deadline_ns <= now_ns) {
		struct hvri_alarm *timer = timers->heap[0];

		take_out(timers, timer);
		timer->deadline_ns = HVRI_NEVER;
		timer->fire(timer);
		fired++;
	}
	return fired;
}
