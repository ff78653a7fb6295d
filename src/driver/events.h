/* SPDX-License-Identifier: Apache-2.0 */
/* The bounded queue of events: status coalesces, results are never lost. */
#ifndef HVRI_DRIVER_EVENTS_H
#define HVRI_DRIVER_EVENTS_H

#include "base/env.h"

#include <hvrepl/event.h>

/* Status events kept; beyond it the oldest of them goes. */
#define HVRI_EVENTS_MAX 1024u

struct hvri_event_node;
struct hvri_events {
	const struct hvri_env *env;
	struct hvri_event_node *first, **last;
	uint32_t status_count; /* Droppable ones in the list. */
	uint64_t dropped;      /* Since the last OVERFLOW that was taken. */
	uint64_t seq;
	/* Audit events that there was no memory for, since the last time that this was
	 * told; the newest one's number. */
	uint64_t missed, missed_seq;
	uint64_t closed_seq, closed_utc_ns; /* CLOSED waits; 0: not. */
};

void hvri_events_init(struct hvri_events *events, const struct hvri_env *env);
void hvri_events_free(struct hvri_events *events);
/* A status event (STATE, PROGRESS, POINT...) replaces a waiting one of the same
 * type, VM, job and peer. Out of memory counts as dropped. JOB_DONE and AUDIT take the place of
 * a status event then; where there is none NOMEM is returned: JOB_DONE the caller repeats,
 * of AUDIT it is told how many there were. CLOSED is always kept: who waits for it would
 * wait for ever. */
HVRI_MUST_CHECK int32_t hvri_events_put(struct hvri_events *events,
					const struct hvrepl_event *event);
/* 1: *event was filled; 0: none. */
int32_t hvri_events_take(struct hvri_events *events,
			 struct hvrepl_event *event);
#endif
