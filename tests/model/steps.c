/* SPDX-License-Identifier: Apache-2.0 */
/* What may happen next, and how a state comes to rest. */
#include "disk.h"

#include "base/env.h"

#include "replication/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_MAX 400u
#define TIMER_ROUNDS 4u

static const char *const timer_names[HVRI_TIMER_COUNT] = {
	"", "cycle", "start wait", "resend", "retry"
};

bool model_quiet(const struct model_world *w)
{
	return w->wire_count[0] == 0 && w->wire_count[1] == 0 &&
	       w->has_late[0] == 0 && w->has_late[1] == 0 &&
	       w->site[0].due_count == 0 && w->site[1].due_count == 0;
}

struct list {
	struct model_step *out;
	uint32_t count, size;
};

static void add(struct list *list, uint8_t kind, uint32_t site,
		uint32_t operation, uint32_t argument)
{
	if (list->count >= list->size)
		abort();
	list->out[list->count++] = (struct model_step){
		.kind = kind,
		.site = (uint8_t)site,
		.operation = (uint8_t)operation,
		.argument = (uint8_t)argument,
	};
}

static void add_operations(struct list *list, const struct model_world *w,
			   uint32_t i)
{
	const struct model_site *x = &w->site[i];
	char sentence[HVRI_SENTENCE_MAX + 1];

	for (uint32_t op = 1; op < HVREPL_OPERATION_COUNT; op++) {
		uint32_t arguments = 1;

		if (!(model_bounds->allowed >> op & 1) ||
		    hvri_relationship_may(&x->r, op, sentence) != HVREPL_OK)
			continue;
		if (op == HVREPL_OPERATION_UNPLANNED ||
		    op == HVREPL_OPERATION_CHANGE_POINT)
			arguments = HVRI_MAX(x->point_count, 1);
		if (op == HVREPL_OPERATION_DISCARD)
			arguments = 3;
		for (uint32_t k = 0; k < arguments; k++)
			add(list, MODEL_OPERATE, i, op, k);
	}
}

/* The data plane is serial: an end is told before the next cut is taken in. */
static bool has_end(const struct model_site *site)
{
	for (uint32_t k = 0; k < site->due_count; k++)
		if (site->due[k].type != HVRI_EVENT_DONE)
			return true;
	return false;
}

static void add_deliveries(struct list *list, const struct model_world *w,
			   uint32_t to)
{
	bool late = w->lates < model_bounds->late && w->has_late[to] == 0;

	if (w->wire_count[to] > 0 &&
	    (!w->wire[to][0].data || !has_end(&w->site[to]))) {
		add(list, MODEL_DELIVER, to, 0, MODEL_FIRST);
		/* A claim replaces the one before it: what follows a HELLO may
		 * be in the epoch it tells of. It may come again. */
		if (late && !w->wire[to][0].data) {
			add(list, MODEL_DELIVER, to, 0, MODEL_FIRST_COPY);
			if (w->wire[to][0].m.type != HVRI_MESSAGE_HELLO)
				add(list, MODEL_DELIVER, to, 0, MODEL_OVERTAKEN);
		}
	}
}

static bool may_fire(const struct model_world *w, uint32_t i, uint32_t timer)
{
	if (!(w->site[i].timers >> timer & 1))
		return false;
	if (timer == HVRI_TIMER_STATUS)
		return false; /* Bytes that a failover would lose: display. */
	if (timer == HVRI_TIMER_START_WAIT && model_bounds->refuse)
		return false;
	/* Once what was sent has arrived: the wire is faster. */
	return timer != HVRI_TIMER_RESEND || w->wire_count[!i] == 0;
}

uint32_t model_steps(const struct model_world *w, struct model_step *out,
		     uint32_t size)
{
	struct list list = { .out = out, .size = size };
	bool calm = w->wire_count[0] + w->wire_count[1] <=
		    model_bounds->traffic;

	for (uint32_t i = 0; i < 2; i++)
		if (!model_bounds->order || list.count == 0)
			add_deliveries(&list, w, i);
	for (uint32_t i = 0; i < 2; i++) {
		const struct model_site *x = &w->site[i];

		if (w->has_late[i])
			add(&list, MODEL_DELIVER, i, 0, MODEL_LATE);
		for (uint32_t k = 0; k < x->due_count; k++)
			add(&list, MODEL_DUE, i, 0, k);
		for (uint32_t t = 1; t < HVRI_TIMER_COUNT; t++)
			if (calm && may_fire(w, i, t))
				add(&list, MODEL_TIMER, i, 0, t);
		if (calm && x->gate &&
		    w->write_count < model_bounds->writes)
			add(&list, MODEL_WRITE, i, 0, 0);
		if (w->crashes < model_bounds->crashes)
			add(&list, MODEL_CRASH, i, 0, 0);
		if (calm && w->operations < model_bounds->operations)
			add_operations(&list, w, i);
		if (w->restores < model_bounds->restores && !x->has_backup)
			add(&list, MODEL_BACKUP, i, 0, 0);
		if (x->has_backup)
			add(&list, MODEL_RESTORE, i, 0, 0);
	}
	if (!w->session)
		add(&list, MODEL_CONNECT, 0, 0, 0);
	else if (w->links < model_bounds->links)
		add(&list, MODEL_CUT_LINK, 0, 0, 0);
	return list.count;
}

/* ---- Coming to rest. ---- */

bool model_settle(struct model_world *w)
{
	for (uint32_t n = 0; n < SETTLE_MAX; n++) {
		struct model_step step = { .kind = MODEL_DUE };

		if (w->site[0].due_count > 0)
			;
		else if (w->site[1].due_count > 0)
			step.site = 1;
		else if (w->wire_count[0] > 0)
			step.kind = MODEL_DELIVER;
		else if (w->wire_count[1] > 0)
			step = (struct model_step){ .kind = MODEL_DELIVER,
						    .site = 1 };
		else
			return true;
		model_take(w, &step, NULL);
	}
	return false;
}

void model_settle_all(struct model_world *w)
{
	struct model_step connect = { .kind = MODEL_CONNECT };

	if (!w->session)
		model_take(w, &connect, NULL);
	if (!model_settle(w))
		model_break("messages go round without end");
	for (uint32_t round = 0; round < TIMER_ROUNDS; round++)
		for (uint32_t i = 0; i < 2; i++)
			for (uint32_t t = 1; t < HVRI_TIMER_COUNT; t++) {
				struct model_step fire = {
					.kind = MODEL_TIMER,
					.site = (uint8_t)i,
					.argument = (uint8_t)t,
				};

				if (!may_fire(w, i, t))
					continue;
				model_take(w, &fire, NULL);
				if (!model_settle(w))
					model_break("messages go round without "
						    "end");
			}
}

bool model_protected(struct model_world *w)
{
	struct model_site *owner;
	uint8_t *content;

	for (uint32_t i = 0; i < 2; i++)
		if (hvri_relationship_state(&w->site[i].r) !=
		    HVREPL_STATE_REPLICATING)
			return false;
	owner = &w->site[w->site[0].r.record.ownership !=
			 HVREPL_OWNERSHIP_OWNER];
	if (!owner->gate)
		return false;
	content = owner->overlay ? &owner->over : &owner->live;
	*content ^= MODEL_PROBE;
	owner->dirty |= MODEL_PROBE;
	model_settle_all(w);
	owner = &w->site[w->site[0].r.record.ownership !=
			 HVREPL_OWNERSHIP_OWNER];
	content = owner->overlay ? &owner->over : &owner->live;
	return model_newest(&w->site[owner == w->site]) != NULL &&
	       model_newest(&w->site[owner == w->site])->content == *content;
}

void model_init(struct model_world *w)
{
	static struct model_bounds setting_up;
	const struct model_bounds *bounds = model_bounds;
	struct hvrepl_uuid vm;
	struct model_step step = { .kind = MODEL_CONNECT };

	memset(w, 0, sizeof(*w));
	setting_up = *bounds;
	setting_up.channel = MODEL_WIRE;
	model_bounds = &setting_up;
	vm = model_id(++w->next_id);
	for (uint32_t i = 0; i < 2; i++) {
		struct hvrepl_uuid site = model_id(++w->next_id);

		hvri_relationship_init(&w->site[i].r, &site, &vm);
		w->site[i].durable = w->site[i].r.record;
	}
	/* START of each. */
	step.kind = MODEL_NOTHING;
	model_take(w, &step, NULL);
	model_start(w, 0);
	model_start(w, 1);
	step.kind = MODEL_CONNECT;
	model_take(w, &step, NULL);
	step.kind = MODEL_OPERATE;
	step.operation = HVREPL_OPERATION_ENABLE;
	model_take(w, &step, NULL);
	model_settle(w);
	step.operation = HVREPL_OPERATION_START_INITIAL;
	model_take(w, &step, NULL);
	model_settle_all(w);
	w->operations = 0;
	model_bounds = bounds;
	if (!model_protected(w))
		model_break("the model does not come to replicate");
	for (uint32_t i = 0; i < 2; i++)
		w->site[i].dirty = 0;
}

/* ---- For people. ---- */

const char *model_step_text(const struct model_step *step)
{
	static char text[120];
	char site = (char)('A' + step->site);
	char what[80];

	switch (step->kind) {
	case MODEL_CRASH:
		snprintf(what, sizeof(what), "crashes and starts");
		break;
	case MODEL_WRITE:
		snprintf(what, sizeof(what), "guest writes");
		break;
	case MODEL_TIMER:
		snprintf(what, sizeof(what), "timer: %s",
			 timer_names[step->argument]);
		break;
	case MODEL_DUE:
		snprintf(what, sizeof(what), "action %u ends", step->argument);
		break;
	case MODEL_DELIVER:
		snprintf(what, sizeof(what), "%s",
			 step->argument == MODEL_FIRST ? "a message arrives" :
			 step->argument == MODEL_FIRST_COPY ?
				 "a message arrives, and will again" :
			 step->argument == MODEL_OVERTAKEN ?
				 "a message will arrive later" :
				 "the late message arrives");
		break;
	case MODEL_OPERATE:
		snprintf(what, sizeof(what), "OPERATOR %s (%u)",
			 hvri_operation_name(step->operation), step->argument);
		break;
	case MODEL_BACKUP:
		snprintf(what, sizeof(what), "record is backed up");
		break;
	case MODEL_RESTORE:
		snprintf(what, sizeof(what), "record is restored");
		break;
	case MODEL_CONNECT:
		return "the sites connect";
	case MODEL_CUT_LINK:
		return "the link is cut";
	default:
		return "nothing";
	}
	snprintf(text, sizeof(text), "%c: %s", site, what);
	if (step->crash_at != 0)
		snprintf(text, sizeof(text), "%c: %s, crash at boundary %u",
			 site, what, step->crash_at);
	return text;
}

static uint32_t short_id(const struct hvrepl_uuid *id)
{
	return id->bytes[0];
}

void model_show(const struct model_world *w)
{
	for (uint32_t i = 0; i < 2; i++) {
		const struct model_site *x = &w->site[i];
		const struct hvri_record *rec = &x->r.record;

		printf("    %c %s %s %s%s e%u", 'A' + (char)i,
		       hvri_mode_name(rec->mode),
		       hvri_state_name(hvri_relationship_state(&x->r)),
		       hvri_ownership_name(hvri_relationship_ownership(&x->r)),
		       x->gate ? " ARMED" : "", short_id(&rec->current));
		if (!hvri_uuid_is_none(&rec->relinquished))
			printf(" gave e%u", short_id(&rec->relinquished));
		printf(" lineage");
		for (uint32_t k = 0; k < rec->lineage.count; k++) {
			const struct hvri_epoch *e = &rec->lineage.epochs[k];

			printf(" e%u<e%u@%u%c%s%c", short_id(&e->id),
			       short_id(&e->parent), (unsigned)e->fork_point,
			       hvri_uuid_equal(&e->owner, &w->site[0].r.record.site) ?
				       'A' :
				       'B',
			       e->planned ? (e->entered ? "P" : "p") : "",
			       "ocxr????"[e->outcome & 7]);
		}
		printf(" disk %x%s dirty %x points", x->live,
		       x->overlay ? " +overlay" : "", x->dirty);
		for (uint32_t k = 0; k < x->point_count; k++)
			printf(" %u:%x", (unsigned)x->points[k].id.number,
			       x->points[k].content);
		printf("\n");
	}
}
