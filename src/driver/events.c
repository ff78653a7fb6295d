/* SPDX-License-Identifier: Apache-2.0 */
/* Event queue: coalescing, one OVERFLOW for what was dropped. */
#include "driver/events.h"

#include "base/abi.h"

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

int32_t hvri_events_put(struct hvri_events *events,
			const struct hvrepl_event *event)
{
	struct hvri_event_node *node = NULL;

	if (is_status(event->type)) {
		node = unlink_status(events, event);
		if (node == NULL && events->status_count == HVRI_EVENTS_MAX) {
			node = unlink_status(events, NULL);
			events->dropped++;
		}
	}
	if (node == NULL)
		node = hvri_alloc(events->env, sizeof(*node));
	if (node == NULL) {
		if (!is_status(event->type))
			return HVREPL_E_NOMEM;
		events->dropped++;
		return HVREPL_OK;
	}
	node->next = NULL;
	node->event = *event;
	node->event.struct_size = sizeof(node->event);
	node->event.utc_ns = hvri_utc(events->env);
	node->event.seq = ++events->seq;
	*events->last = node;
	events->last = &node->next;
	events->status_count += is_status(event->type);
	return HVREPL_OK;
}

int32_t hvri_events_take(struct hvri_events *events, struct hvrepl_event *event)
{
	struct hvri_event_node *node = events->first;

	if (events->dropped > 0) {
		struct hvrepl_event overflow = {
			.struct_size = sizeof(overflow),
			.type = HVREPL_EVENT_OVERFLOW,
			.severity = HVREPL_SEVERITY_WARNING,
			.utc_ns = hvri_utc(events->env),
			.value = events->dropped,
		};

		events->dropped = 0;
		hvri_abi_copy_out(event, &overflow, sizeof(overflow));
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
