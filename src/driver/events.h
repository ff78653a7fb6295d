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
};

void hvri_events_init(struct hvri_events *events, const struct hvri_env *env);
void hvri_events_free(struct hvri_events *events);
/* A status event (STATE, PROGRESS, POINT...) replaces a waiting one of the same
 * type, VM and job. Out of memory counts as dropped; for JOB_DONE and AUDIT it is
 * returned, and the caller repeats. */
HVRI_MUST_CHECK int32_t hvri_events_put(struct hvri_events *events,
					const struct hvrepl_event *event);
/* 1: *event was filled; 0: none. */
int32_t hvri_events_take(struct hvri_events *events,
			 struct hvrepl_event *event);
#endif
