/* SPDX-License-Identifier: Apache-2.0 */
/* Event queue: coalescing, one OVERFLOW for what was dropped; what there has to be even
 * without memory. */
#include "driver/events.h"

#include "base/abi.h"
#include "base/name.h"
#include "base/plant.h"

#include <hvrepl/audit.h>
#include <stdio.h>
#include <string.h>

struct hvri_event_node {
	struct hvri_event_node *next;
	struct hvrepl_event event;
};

void hvri_events_init(struct hvri_events *events, const struct hvri_env *env)
{
	*events = (struct hvri_events){ .env = env };
	events->last = &events->first;
}

static void free_node(struct hvri_events *events, struct hvri_event_node *node)
{
	hvri_free(events->env, node, sizeof(*node));
}

void hvri_events_free(struct hvri_events *events)
{
	while (events->first != NULL) {
		struct hvri_event_node *gone = events->first;

		events->first = gone->next;
		free_node(events, gone);
	}
	events->last = &events->first;
}

static bool is_status(uint32_t type)
{
	return type != HVREPL_EVENT_JOB_DONE && type != HVREPL_EVENT_AUDIT &&
	       type != HVREPL_EVENT_CLOSED;
}

/* Unlink the first droppable event that matches (or any, for NULL). */
static struct hvri_event_node *unlink_status(struct hvri_events *events,
					     const struct hvrepl_event *like)
{
	struct hvri_event_node **at = &events->first;

	for (; *at != NULL; at = &(*at)->next) {
		struct hvri_event_node *node = *at;

		if (!is_status(node->event.type))
			continue;
		if (like != NULL && (node->event.type != like->type ||
				     node->event.job != like->job ||
				     strcmp(node->event.actor, like->actor) != 0 ||
				     !hvri_uuid_equal(&node->event.vm,
						      &like->vm)))
			continue;
		*at = node->next;
		if (events->last == &node->next)
			events->last = at;
		events->status_count--;
		return node;
	}
	return NULL;
}

/* A place without memory: JOB_DONE and AUDIT are never dropped. */
static struct hvri_event_node *take_place(struct hvri_events *events)
{
	struct hvri_event_node *node =
		HVRI_PLANT(results_give_way) ? NULL :
					       unlink_status(events, NULL);

	events->dropped += node != NULL;
	return node;
}

static int32_t refuse(struct hvri_events *events, uint32_t type)
{
	if (is_status(type)) {
		events->dropped++;
		return HVREPL_OK;
	}
	if (type == HVREPL_EVENT_AUDIT && !HVRI_PLANT(audit_misses_unsaid)) {
		events->missed++;
		events->missed_seq = ++events->seq;
	}
	return HVREPL_E_NOMEM;
}

int32_t hvri_events_put(struct hvri_events *events,
			const struct hvrepl_event *event)
{
	struct hvri_event_node *node = NULL;

	if (event->type == HVREPL_EVENT_CLOSED &&
	    !HVRI_PLANT(closed_takes_memory)) {
		events->closed_seq = ++events->seq;
		events->closed_utc_ns = hvri_utc(events->env);
		return HVREPL_OK;
	}
	if (is_status(event->type)) {
		node = unlink_status(events, event);
		if (node == NULL && events->status_count == HVRI_EVENTS_MAX)
			node = take_place(events);
	}
	if (node == NULL)
		node = hvri_alloc(events->env, sizeof(*node));
	if (node == NULL && !is_status(event->type))
		node = take_place(events);
	if (node == NULL)
		return refuse(events, event->type);
	node->next = NULL;
	node->event = *event;
	node->event.struct_size = sizeof(node->event);
	node->event.utc_ns = hvri_utc(events->env);
	node->event.seq = ++events->seq;
	if (!HVRI_PLANT(sentence_as_it_came))
		hvri_text_clean(node->event.sentence);
	hvri_text_clean(node->event.actor);
	*events->last = node;
	events->last = &node->next;
	events->status_count += is_status(event->type);
	return HVREPL_OK;
}

/* What there is besides the list, in its turn; true: *event_out is filled. */
static bool take_counted(struct hvri_events *events,
			 struct hvrepl_event *event_out)
{
	*event_out = (struct hvrepl_event)HVREPL_EVENT_INIT;
	event_out->utc_ns = hvri_utc(events->env);
	if (events->dropped > 0) {
		event_out->type = HVREPL_EVENT_OVERFLOW;
		event_out->severity = HVREPL_SEVERITY_WARNING;
		event_out->value = events->dropped;
		events->dropped = 0;
		return true;
	}
	if (events->missed > 0 &&
	    (events->first == NULL ||
	     events->first->event.seq > events->missed_seq)) {
		event_out->type = HVREPL_EVENT_AUDIT;
		event_out->value = HVREPL_AUDIT_LIMIT;
		event_out->severity = HVREPL_SEVERITY_CRITICAL;
		event_out->code = HVREPL_E_NOMEM;
		event_out->seq = events->missed_seq;
		snprintf(event_out->sentence, sizeof(event_out->sentence),
			 "%llu audit events could not be kept, as this site had "
			 "no memory: its log has what they said",
			 (unsigned long long)events->missed);
		events->missed = 0;
		return true;
	}
	if (events->closed_seq == 0 || events->first != NULL)
		return false;
	event_out->type = HVREPL_EVENT_CLOSED;
	event_out->utc_ns = events->closed_utc_ns;
	event_out->seq = events->closed_seq;
	events->closed_seq = 0;
	return true;
}

int32_t hvri_events_take(struct hvri_events *events, struct hvrepl_event *event)
{
	struct hvri_event_node *node = events->first;
	struct hvrepl_event counted;

	if (take_counted(events, &counted)) {
		hvri_abi_copy_out(event, &counted, sizeof(counted));
		return 1;
	}
	if (node == NULL)
		return 0;
	events->first = node->next;
	if (events->first == NULL)
		events->last = &events->first;
	events->status_count -= is_status(node->event.type);
	hvri_abi_copy_out(event, &node->event, sizeof(node->event));
	free_node(events, node);
	return 1;
}
