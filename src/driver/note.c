/* SPDX-License-Identifier: Apache-2.0 */
/* What an audit has to hear of, as events that are never dropped: what is this site's
 * own doing all of it, what others bring about as far as the meter goes, and then how
 * much of it there was. */
#include "driver/note.h"

#include "base/abi.h"
#include "base/text.h"
#include "driver/node.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Noted by a thread that is not the control thread; in order. */
struct hvri_noted {
	struct hvri_noted *next;
	struct hvrepl_event event;
};

static void fill(struct hvrepl_event *event, uint32_t kind, uint32_t severity,
		 int32_t code, const struct hvrepl_uuid *vm, const char *format,
		 va_list args) __attribute__((format(printf, 6, 0)));
static void fill(struct hvrepl_event *event, uint32_t kind, uint32_t severity,
		 int32_t code, const struct hvrepl_uuid *vm, const char *format,
		 va_list args)
{
	event->type = HVREPL_EVENT_AUDIT;
	event->value = kind;
	event->severity = severity;
	event->code = code;
	if (vm != NULL)
		event->vm = *vm;
	vsnprintf(event->sentence, sizeof(event->sentence), format, args);
}

void hvri_note(struct hvrepl_node *node, uint32_t kind, uint32_t severity,
	       int32_t code, const struct hvrepl_uuid *vm, const char *format,
	       ...)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;
	va_list args;

	va_start(args, format);
	fill(&event, kind, severity, code, vm, format, args);
	va_end(args);
	hvri_node_event(node, &event);
}

/* ---- What was left out. ---- */

static void tell_left_out(struct hvrepl_node *node,
			  const struct hvri_minute *minute)
{
	const struct hvri_metered *of = &minute->of;
	struct hvrepl_event event = HVREPL_EVENT_INIT;
	char counts[HVREPL_SENTENCE_MAX] = "";
	const char *who = of->source ? "address " : "";
	size_t used = 0;

	if (of->name[0] == 0)
		who = of->source ? "other addresses" : "others";
	for (uint32_t kind = 0; kind < HVRI_METER_KINDS; kind++)
		if (minute->left_out[kind] > 0 && used < sizeof(counts))
			used += (size_t)snprintf(
				counts + used, sizeof(counts) - used,
				"%s%llu of %s", used == 0 ? "" : ", ",
				(unsigned long long)minute->left_out[kind],
				hvrepl_audit_kind_name(kind));
	event.type = HVREPL_EVENT_AUDIT;
	event.value = HVREPL_AUDIT_LIMIT;
	event.severity = HVREPL_SEVERITY_WARNING;
	event.code = HVREPL_E_LIMIT;
	snprintf(event.actor, sizeof(event.actor), "%s", of->name);
	snprintf(event.sentence, sizeof(event.sentence),
		 "within a minute %s%.44s brought about more than is noted one "
		 "by one; left out: %.110s",
		 who, of->name, counts);
	hvri_node_event(node, &event);
}

/* Minutes that are over at `now_ns`, and when the next one will be. */
static void tell_over(struct hvrepl_node *node, uint64_t now_ns)
{
	struct hvri_notes *notes = &node->notes;
	struct hvri_minute minute;
	uint64_t deadline;
	bool over;

	do {
		hvri_lock(&notes->mutex);
		over = hvri_meter_over(&notes->meter, now_ns, &minute);
		deadline = hvri_meter_deadline(&notes->meter);
		hvri_unlock(&notes->mutex);
		if (over)
			tell_left_out(node, &minute);
	} while (over);
	hvri_alarm_set(&node->timers, &notes->over, deadline);
}

static void on_over(struct hvri_alarm *alarm)
{
	struct hvrepl_node *node =
		(struct hvrepl_node *)((char *)alarm -
				       offsetof(struct hvrepl_node, notes.over));

	tell_over(node, hvri_now(&node->env));
}

/* ---- What others bring about. ---- */

/* Or counted. */
static bool is_noted(struct hvrepl_node *node, const char *peer, uint32_t kind)
{
	struct hvri_notes *notes = &node->notes;
	struct hvri_metered of = { .source = false };
	uint64_t now = hvri_now(&node->env), deadline;
	bool noted;

	hvri_text(of.name, sizeof(of.name), peer);
	tell_over(node, now);
	hvri_lock(&notes->mutex);
	noted = hvri_meter_take(&notes->meter, &of, kind, now);
	deadline = hvri_meter_deadline(&notes->meter);
	hvri_unlock(&notes->mutex);
	/* With the first that is left out its end is a new one. */
	if (!noted)
		hvri_alarm_set(&node->timers, &notes->over, deadline);
	return noted;
}

void hvri_note_of(struct hvrepl_node *node, const char *peer, uint32_t kind,
		  uint32_t severity, int32_t code, const struct hvrepl_uuid *vm,
		  const char *format, ...)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;
	va_list args;

	if (peer != NULL && !is_noted(node, peer, kind))
		return;
	hvri_text(event.actor, sizeof(event.actor), peer == NULL ? "" : peer);
	va_start(args, format);
	fill(&event, kind, severity, code, vm, format, args);
	va_end(args);
	hvri_node_event(node, &event);
}

static struct hvri_noted *take_noted(struct hvri_notes *notes)
{
	struct hvri_noted *first;

	hvri_lock(&notes->mutex);
	first = notes->first;
	notes->first = NULL;
	notes->last = &notes->first;
	notes->queued = false;
	hvri_unlock(&notes->mutex);
	return first;
}

static void on_noted(struct hvri_item *item)
{
	struct hvrepl_node *node =
		(struct hvrepl_node *)((char *)item -
				       offsetof(struct hvrepl_node, notes.item));
	struct hvri_noted *noted = take_noted(&node->notes);

	tell_over(node, hvri_now(&node->env));
	while (noted != NULL) {
		struct hvri_noted *next = noted->next;

		hvri_node_event(node, &noted->event);
		hvri_free(&node->env, noted, sizeof(*noted));
		noted = next;
	}
}

static int32_t check(const struct hvrepl_note *given,
		     struct hvri_metered *of_out)
{
	const char *name = given->peer != NULL ? given->peer : given->source;

	if ((given->peer == NULL) == (given->source == NULL) ||
	    given->sentence == NULL || name[0] == 0 ||
	    given->kind < HVREPL_AUDIT_AUTHENTICATION ||
	    given->kind > HVREPL_AUDIT_REKEY ||
	    given->severity > HVREPL_SEVERITY_CRITICAL ||
	    strlen(name) > HVREPL_PEER_NAME_MAX)
		return HVREPL_E_INVALID;
	of_out->source = given->source != NULL;
	snprintf(of_out->name, sizeof(of_out->name), "%s", name);
	return HVREPL_OK;
}

static struct hvri_noted *copy(struct hvrepl_node *node,
			       const struct hvrepl_note *given,
			       const struct hvri_metered *of)
{
	struct hvri_noted *noted = hvri_alloc(&node->env, sizeof(*noted));

	if (noted == NULL)
		return NULL;
	noted->event.struct_size = sizeof(noted->event);
	noted->event.type = HVREPL_EVENT_AUDIT;
	noted->event.value = given->kind;
	noted->event.severity = given->severity;
	noted->event.code = given->code;
	snprintf(noted->event.sentence, sizeof(noted->event.sentence), "%s",
		 given->sentence);
	snprintf(noted->event.actor, sizeof(noted->event.actor), "%s",
		 of->name);
	return noted;
}

int32_t hvri_node_note(struct hvrepl_node *node, const struct hvrepl_note *note)
{
	struct hvri_notes *notes = &node->notes;
	struct hvri_metered of = { .source = false };
	uint64_t now = hvri_now(&node->env);
	struct hvrepl_note given = HVREPL_NOTE_INIT;
	struct hvri_noted *noted;
	int32_t rc = HVREPL_OK;

	HVRI_TRY(hvri_abi_copy_in(&given, sizeof(given),
				  HVRI_SIZE_UP_TO(struct hvrepl_note, sentence),
				  note));
	HVRI_TRY(check(&given, &of));
	noted = copy(node, &given, &of);
	hvri_lock(&notes->mutex);
	if (notes->closed) {
		rc = HVREPL_E_CLOSED;
	} else {
		bool taken = hvri_meter_take(&notes->meter, &of, given.kind,
					     now);

		if (taken && noted != NULL) {
			*notes->last = noted;
			notes->last = &noted->next;
			noted = NULL;
		} else if (taken) {
			/* It is told as a number at least. */
			hvri_meter_missed(&notes->meter, &of, given.kind, now);
		}
		if (!notes->queued) {
			notes->queued = true;
			notes->item.run = on_noted;
			hvri_queue_put(&node->home, &notes->item);
		}
	}
	hvri_unlock(&notes->mutex);
	hvri_free(&node->env, noted, sizeof(*noted));
	return rc;
}

/* ---- The life of it. ---- */

void hvri_notes_init(struct hvri_notes *notes)
{
	hvri_mutex_init(&notes->mutex);
	notes->last = &notes->first;
	hvri_alarm_init(&notes->over, on_over);
}

bool hvri_notes_close(struct hvrepl_node *node)
{
	struct hvri_notes *notes = &node->notes;

	hvri_lock(&notes->mutex);
	notes->closed = !notes->queued;
	hvri_unlock(&notes->mutex);
	if (notes->closed)
		tell_over(node, UINT64_MAX);
	return notes->closed;
}

void hvri_notes_free(struct hvrepl_node *node)
{
	struct hvri_noted *noted = take_noted(&node->notes);

	while (noted != NULL) {
		struct hvri_noted *next = noted->next;

		hvri_free(&node->env, noted, sizeof(*noted));
		noted = next;
	}
	hvri_mutex_destroy(&node->notes.mutex);
}
