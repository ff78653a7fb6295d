/* SPDX-License-Identifier: Apache-2.0 */
/* Binary heap by deadline, a full tree of links in the timers; one knows its place. */
#include "driver/timers.h"

/* The side of its parent on which a place is: the children of n are 2n and 2n + 1. */
static unsigned side_of(size_t place)
{
	return place & 1;
}

/* `timer` NULL: nothing is there any more. `above` NULL: at the top. */
static void hang(struct hvri_timers *timers, struct hvri_alarm *above,
		 unsigned side, struct hvri_alarm *timer)
{
	if (above == NULL)
		timers->first = timer;
	else
		above->below[side] = timer;
	if (timer != NULL)
		timer->above = above;
}

/* Who is at `place`, 1 to count: the bits below its highest are the way down. */
static struct hvri_alarm *at(const struct hvri_timers *timers, size_t place)
{
	struct hvri_alarm *timer = timers->first;
	size_t bit = 1;

	while (bit <= place / 2)
		bit *= 2;
	while ((bit /= 2) > 0)
		timer = timer->below[(place & bit) != 0];
	return timer;
}

/* It and the one above it change places. */
static void rise(struct hvri_timers *timers, struct hvri_alarm *timer)
{
	struct hvri_alarm *above = timer->above, *top = above->above;
	size_t place = above->place;
	unsigned side = side_of(timer->place);
	struct hvri_alarm *beside = above->below[!side];

	hang(timers, above, 0, timer->below[0]);
	hang(timers, above, 1, timer->below[1]);
	hang(timers, top, side_of(place), timer);
	hang(timers, timer, side, above);
	hang(timers, timer, !side, beside);
	above->place = timer->place;
	timer->place = place;
}

static void sift_up(struct hvri_timers *timers, struct hvri_alarm *timer)
{
	while (timer->above != NULL &&
	       timer->above->deadline_ns > timer->deadline_ns)
		rise(timers, timer);
}

static void sift_down(struct hvri_timers *timers, struct hvri_alarm *timer)
{
	for (;;) {
		struct hvri_alarm *child = timer->below[0];

		/* A right one is there only beside a left one. */
		if (child == NULL)
			break;
		if (timer->below[1] != NULL &&
		    timer->below[1]->deadline_ns < child->deadline_ns)
			child = timer->below[1];
		if (timer->deadline_ns <= child->deadline_ns)
			break;
		rise(timers, child);
	}
}

static void put_in(struct hvri_timers *timers, struct hvri_alarm *timer)
{
	size_t place = ++timers->count;

	timer->place = place;
	timer->below[0] = timer->below[1] = NULL;
	hang(timers, place == 1 ? NULL : at(timers, place / 2), side_of(place),
	     timer);
	sift_up(timers, timer);
}

/* The last one comes in its place, and finds its own from there. */
static void take_out(struct hvri_timers *timers, struct hvri_alarm *timer)
{
	size_t place = timer->place;
	struct hvri_alarm *last = at(timers, timers->count--);

	hang(timers, last->above, side_of(last->place), NULL);
	timer->place = 0;
	if (last == timer)
		return;
	hang(timers, timer->above, side_of(place), last);
	hang(timers, last, 0, timer->below[0]);
	hang(timers, last, 1, timer->below[1]);
	last->place = place;
	sift_down(timers, last);
	sift_up(timers, last);
}

void hvri_alarm_init(struct hvri_alarm *timer,
		     void (*fire)(struct hvri_alarm *timer))
{
	*timer = (struct hvri_alarm){ .deadline_ns = HVRI_NEVER, .fire = fire };
}

void hvri_alarm_set(struct hvri_timers *timers, struct hvri_alarm *timer,
		    uint64_t deadline_ns)
{
	if (timer->place != 0)
		take_out(timers, timer);
	timer->deadline_ns = deadline_ns;
	if (deadline_ns != HVRI_NEVER)
		put_in(timers, timer);
}

uint64_t hvri_timers_next(const struct hvri_timers *timers)
{
	return timers->count == 0 ? HVRI_NEVER : timers->first->deadline_ns;
}

uint32_t hvri_timers_run(struct hvri_timers *timers, uint64_t now_ns,
			 uint32_t budget)
{
	uint32_t fired = 0;

	while (fired < budget && timers->count > 0 &&
	       timers->first->deadline_ns <= now_ns) {
		struct hvri_alarm *timer = timers->first;

		take_out(timers, timer);
		timer->deadline_ns = HVRI_NEVER;
		timer->fire(timer);
		fired++;
	}
	return fired;
}
