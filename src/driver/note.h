/* SPDX-License-Identifier: Apache-2.0 */
/* Audit events of a node, and the meter of what others bring about. */
#ifndef HVRI_DRIVER_NOTE_H
#define HVRI_DRIVER_NOTE_H

#include "base/rc.h"
#include "base/sync.h"
#include "driver/meter.h"
#include "driver/queue.h"
#include "driver/timers.h"

#include <hvrepl/node.h>

struct hvri_noted;

struct hvri_notes {
	hvri_mutex mutex; /* Around all but the alarm. */
	struct hvri_meter meter;
	struct hvri_alarm over; /* A minute of which something was left out. */
	struct hvri_noted *first, **last; /* By other threads, to be told. */
	struct hvri_item item;
	bool queued; /* The item, for them or for a new deadline. */
	bool closed; /* Nothing more is taken. */
};

void hvri_notes_init(struct hvri_notes *notes);
/* The node has drained: tell what was left out so far; false: something is on its
 * way still, call again when it came. */
bool hvri_notes_close(struct hvrepl_node *node);
void hvri_notes_free(struct hvrepl_node *node);
/* An HVREPL_EVENT_AUDIT of that HVREPL_AUDIT_*; `vm` NULL: of none. For what this
 * site does: all of it is told. */
void hvri_note(struct hvrepl_node *node, uint32_t kind, uint32_t severity,
	       int32_t code, const struct hvrepl_uuid *vm, const char *format,
	       ...) HVRI_PRINTF(6, 7);
/* The same of what `peer`, an identity that is proved, brings about: told or
 * counted; NULL: this site does. Control thread, as the one above. */
void hvri_note_of(struct hvrepl_node *node, const char *peer, uint32_t kind,
		  uint32_t severity, int32_t code, const struct hvrepl_uuid *vm,
		  const char *format, ...) HVRI_PRINTF(7, 8);
/* hvrepl_node_note() */
HVRI_MUST_CHECK int32_t hvri_node_note(struct hvrepl_node *node,
				       const struct hvrepl_note *note);
#endif
