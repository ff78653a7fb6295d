/* SPDX-License-Identifier: Apache-2.0 */
/* Feeding events, carrying messages, crashing: one step of the model. */
#include "disk.h"

#include "replication/lineage.h"
#include "replication/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct model_bounds *model_bounds;
const char *model_broken;
uint64_t model_bound_hits;
bool model_tracing;
uint32_t model_last_crash;

/* Of the step that is taken now. */
static uint32_t boundaries, crash_at;
static int halted_site;
static bool overflowed;
static int32_t refusal;

void model_break(const char *what)
{
	if (model_broken == NULL)
		model_broken = what;
}

struct hvrepl_uuid model_id(uint64_t n)
{
	struct hvrepl_uuid id;

	memset(&id, 0, sizeof(id));
	memcpy(id.bytes, &n, sizeof(n));
	id.bytes[15] = 0x77;
	return id;
}

/* ---- The wire. ---- */

static struct model_message *wire_add(struct model_world *w, uint32_t from)
{
	struct model_message *m;
	uint32_t to = !from;

	if (!w->session)
		return NULL;
	if (w->wire_count[to] >= HVRI_MIN(model_bounds->channel, MODEL_WIRE)) {
		overflowed = true;
		return NULL;
	}
	m = &w->wire[to][w->wire_count[to]++];
	memset(m, 0, offsetof(struct model_message, claim));
	memset(m->extents, 0, sizeof(m->extents));
	m->has_claim = false;
	return m;
}

static void copy_claim(struct hvri_claim *to, const struct hvri_claim *from)
{
	memcpy(to, from, offsetof(struct hvri_claim, lineage.epochs));
	memcpy(to->lineage.epochs, from->lineage.epochs,
	       from->lineage.count * sizeof(from->lineage.epochs[0]));
}

void model_send(struct model_world *w, uint32_t from,
		const struct hvri_message *message)
{
	struct model_message *m = wire_add(w, from);

	if (m == NULL)
		return;
	m->m = *message;
	m->m.claim = NULL;
	m->m.setup = NULL;
	memset(m->m.answer.sentence, 0, sizeof(m->m.answer.sentence));
	if (message->claim) {
		copy_claim(&m->claim, message->claim);
		m->has_claim = true;
	}
	if (message->type == HVRI_MESSAGE_RANGES) {
		memcpy(m->extents, message->u.ranges.extents,
		       (size_t)message->u.ranges.count * 16);
		m->m.u.ranges.extents = NULL;
	}
	if (model_tracing && message->type != HVRI_MESSAGE_STATUS)
		printf("      %c -> %s\n", 'A' + (char)from,
		       hvri_message_name(message->type));
}

void model_send_data(struct model_world *w, uint32_t from)
{
	struct model_message *m = wire_add(w, from);

	if (m == NULL)
		return;
	m->data = true;
	m->cut = w->site[from].cut_id;
	m->content = w->site[from].cut_content;
	m->dirty = w->site[from].cut_dirty;
}

static void copy_message(struct model_message *a, const struct model_message *b)
{
	memcpy(a, b, offsetof(struct model_message, claim));
	if (b->has_claim)
		copy_claim(&a->claim, &b->claim);
	a->has_claim = b->has_claim;
	memcpy(a->extents, b->extents, sizeof(a->extents));
}

static void forget_messages(struct model_world *w)
{
	w->session = false;
	w->wire_count[0] = w->wire_count[1] = 0;
	w->has_late[0] = w->has_late[1] = 0;
}

static void deliver(struct model_world *w, uint32_t to, uint32_t how)
{
	static struct model_message m;
	static struct hvri_setup no_setup;
	struct hvri_event event;

	if (how == MODEL_LATE) {
		copy_message(&m, &w->late[to]);
		w->has_late[to] = 0;
	} else {
		copy_message(&m, &w->wire[to][0]);
		for (uint32_t i = 0; i + 1 < w->wire_count[to]; i++)
			copy_message(&w->wire[to][i], &w->wire[to][i + 1]);
		w->wire_count[to]--;
	}
	if (how == MODEL_FIRST_COPY || how == MODEL_OVERTAKEN) {
		copy_message(&w->late[to], &m);
		w->has_late[to] = 1;
		w->lates++;
		if (how == MODEL_OVERTAKEN)
			return;
	}
	if (m.data) {
		model_data_arrives(w, to, &m);
		return;
	}
	if (m.has_claim)
		m.m.claim = &m.claim;
	if (m.m.type == HVRI_MESSAGE_ENABLE) {
		no_setup.vm = w->site[!to].r.record.vm;
		no_setup.policy = w->site[!to].r.record.policy;
		no_setup.disk_count = w->site[!to].r.record.disk_count;
		no_setup.disks[0] = w->site[!to].r.record.disks[0];
		m.m.setup = &no_setup;
	}
	if (m.m.type == HVRI_MESSAGE_RANGES)
		m.m.u.ranges.extents = m.extents;
	memset(&event, 0, sizeof(event));
	event.type = HVRI_EVENT_MESSAGE;
	event.u.message.message = &m.m;
	event.u.message.authorised = 0x3f;
	model_feed(w, to, &event);
}

/* ---- Feeding. ---- */

bool model_halted(void)
{
	return halted_site >= 0;
}

/* Something is durable now: here the site may crash. */
static bool boundary(uint32_t site)
{
	boundaries++;
	if (crash_at != 0 && boundaries == crash_at)
		halted_site = (int)site;
	return halted_site >= 0;
}

static const char *const action_names[HVRI_ACTION_TYPE_COUNT] = {
	NULL,	     "CUT",	 "SHIP",	 "HOLD",	"RELEASE",	"SETTLE",
	"FENCE",     "ARM",	 "COMPARE",	 "MARK",	"MARK_ALL",
	"EXPORT",    "ADOPT",	 "UNPIN",	 "CREATE_REPLICA", "RECEIVE",
	"STOP_RECEIVE", "OPEN_OVERLAY", "DROP_OVERLAY", "FOLD",
	"CHECK_REVERSE", "VERIFY", "REMOVE",	 "FORGET",
};

static bool durable_effect(uint32_t action)
{
	switch (action) {
	case HVRI_ACTION_ARM:
	case HVRI_ACTION_ADOPT:
	case HVRI_ACTION_OPEN_OVERLAY:
	case HVRI_ACTION_DROP_OVERLAY:
	case HVRI_ACTION_FOLD:
	case HVRI_ACTION_MARK:
	case HVRI_ACTION_MARK_ALL:
	case HVRI_ACTION_SETTLE:
	case HVRI_ACTION_COMPARE:
		return true;
	default:
		return false;
	}
}

static void copy_record(struct hvri_record *to, const struct hvri_record *from)
{
	memcpy(to, from, offsetof(struct hvri_record, disks[1]));
	memcpy((char *)to + offsetof(struct hvri_record, mode),
	       (const char *)from + offsetof(struct hvri_record, mode),
	       offsetof(struct hvri_record, lineage.epochs) -
		       offsetof(struct hvri_record, mode));
	memcpy(to->lineage.epochs, from->lineage.epochs,
	       from->lineage.count * sizeof(from->lineage.epochs[0]));
	memcpy((char *)to + offsetof(struct hvri_record, current),
	       (const char *)from + offsetof(struct hvri_record, current),
	       sizeof(*to) - offsetof(struct hvri_record, current));
}

void model_feed(struct model_world *w, uint32_t i, struct hvri_event *event)
{
	static struct hvri_update u;
	struct model_site *site = &w->site[i];

	if (model_halted())
		return;
	event->now_ns = MODEL_NOW;
	event->utc_ns = MODEL_UTC;
	for (int k = 0; k < 3; k++)
		event->fresh[k] = model_id(++w->next_id);
	hvri_relationship_step(&site->r, event, &u);
	if (u.overflow)
		model_break("an update does not hold all that is to be done");
	refusal = u.code;
	if (event->type == HVRI_EVENT_OPERATION && u.code != HVREPL_OK)
		return;
	if (u.persist) {
		copy_record(&site->durable, &site->r.record);
		if (boundary(i))
			return;
	}
	for (uint32_t k = 0; k < u.action_count; k++) {
		if (model_tracing)
			printf("      %c: %s\n", 'A' + (char)i,
			       action_names[u.actions[k].type]);
		model_perform(w, i, &u.actions[k]);
		if (durable_effect(u.actions[k].type) && boundary(i))
			return;
	}
	for (uint32_t k = 0; k < u.send_count; k++)
		model_send(w, i, &u.sends[k]);
	for (uint32_t k = 0; k < u.timer_count; k++)
		site->timers |= (uint8_t)(1u << u.timers[k].timer);
	for (uint32_t k = 0; k < u.job_count && model_tracing; k++)
		printf("      %c job %s: %s\n", 'A' + (char)i,
		       u.jobs[k].code == HVREPL_OK ?
			       "done" :
			       hvrepl_error_name(u.jobs[k].code),
		       u.jobs[k].sentence);
}

static void complete(struct model_world *w, uint32_t i, uint32_t k)
{
	struct model_site *site = &w->site[i];
	struct model_due d = site->due[k];
	struct hvri_event event;

	memmove(&site->due[k], &site->due[k + 1],
		(site->due_count - k - 1) * sizeof(site->due[0]));
	site->due_count--;
	memset(&site->due[site->due_count], 0, sizeof(site->due[0]));
	memset(&event, 0, sizeof(event));
	event.type = d.type;
	if (d.type == HVRI_EVENT_DONE) {
		event.u.done.token = d.token;
		event.u.done.code = d.code;
		event.u.done.cut = d.cut;
		event.u.done.utc_ns = MODEL_UTC;
		event.u.done.bytes = d.bytes;
		event.u.done.count = d.count;
		memcpy(event.u.done.digest, d.digest, sizeof(d.digest));
	} else {
		event.u.data.cut = d.cut;
		event.u.data.code = d.code;
	}
	model_feed(w, i, &event);
}

static bool at_once(const struct model_due *d)
{
	return d->type == HVRI_EVENT_DONE &&
	       !(model_bounds->later >> d->action & 1);
}

/* What needs no decision: STATUS does nothing but inform, and actions that the
 * bounds do not let end later end now. */
static void stabilise(struct model_world *w)
{
	bool again = true;

	while (again && !model_halted()) {
		again = false;
		for (uint32_t i = 0; i < 2; i++) {
			for (uint32_t k = 0; k < w->site[i].due_count; k++)
				if (at_once(&w->site[i].due[k])) {
					complete(w, i, k);
					again = true;
					break;
				}
			if (w->wire_count[i] > 0 && !w->wire[i][0].data &&
			    w->wire[i][0].m.type == HVRI_MESSAGE_STATUS) {
				deliver(w, i, MODEL_FIRST);
				again = true;
			}
		}
	}
}

/* ---- What happens to sites. ---- */

/* Until both have heard each other, or cannot. */
static void greet(struct model_world *w)
{
	for (uint32_t n = 0; n < 4 && model_bounds->greeting; n++) {
		struct hvri_relationship *a = &w->site[0].r;
		struct hvri_relationship *b = &w->site[1].r;

		if ((a->greeted && b->greeted) || model_halted())
			return;
		for (uint32_t i = 0; i < 2; i++)
			if (w->wire_count[i] > 0)
				deliver(w, i, MODEL_FIRST);
	}
}

void model_connect(struct model_world *w)
{
	w->session = true;
	for (uint32_t i = 0; i < 2; i++) {
		struct hvri_event event = { .type = HVRI_EVENT_SESSION_UP };

		model_feed(w, i, &event);
	}
	greet(w);
}

static void session_ends(struct model_world *w, uint32_t site)
{
	struct hvri_event event = { .type = HVRI_EVENT_SESSION_DOWN };

	model_feed(w, site, &event);
}

void model_cut_link(struct model_world *w)
{
	forget_messages(w);
	session_ends(w, 0);
	session_ends(w, 1);
}

void model_start(struct model_world *w, uint32_t i)
{
	static const struct hvri_frontier start;
	struct model_site *site = &w->site[i];
	struct hvri_event event;

	memset(&event, 0, sizeof(event));
	if (site->durable.mode != HVREPL_MODE_NONE) {
		memset(&site->r, 0, sizeof(site->r));
		hvri_relationship_load(&site->r, &site->durable);
	}
	event.type = HVRI_EVENT_START;
	event.u.start.incarnation = ++w->next_incarnation;
	event.u.start.stamped = site->stamp != 0;
	event.u.start.stamp_generation = site->stamp;
	event.u.start.unclean = true;
	event.u.start.frontier = start;
	if (site->point_count > 0) {
		event.u.start.newest = model_newest(site)->id;
		event.u.start.has_points = true;
	}
	model_feed(w, i, &event);
}

/* Crash, and start again. */
void model_crash(struct model_world *w, uint32_t i)
{
	struct model_site *site = &w->site[i];

	site->gate = false;
	/* What was cut and not settled is hot after the crash. */
	if (site->cut_open)
		site->dirty |= site->cut_dirty;
	site->cut_open = false;
	site->cut_content = site->cut_dirty = 0;
	memset(&site->cut_id, 0, sizeof(site->cut_id));
	site->due_count = 0;
	memset(site->due, 0, sizeof(site->due));
	site->timers = 0;
	if (w->session) {
		forget_messages(w);
		session_ends(w, !i);
	}
	model_start(w, i);
}

static void restore(struct model_world *w, uint32_t i)
{
	struct model_site *site = &w->site[i];

	w->restored = true;
	site->durable = site->backup;
	memset(&site->backup, 0, sizeof(site->backup));
	site->has_backup = false;
	model_crash(w, i);
}

static void guest_write(struct model_world *w, uint32_t i)
{
	struct model_site *site = &w->site[i], *peer = &w->site[!i];
	const struct hvrepl_uuid *epoch = &site->r.record.current;
	uint8_t bit = (uint8_t)(1u << w->write_count);

	*(site->overlay ? &site->over : &site->live) |= bit;
	site->dirty |= bit;
	for (uint32_t k = 0; k < w->write_count; k++)
		if (w->writes[k].site != i &&
		    hvri_uuid_equal(&w->writes[k].epoch, epoch))
			model_break("two sites wrote in one epoch");
	for (uint32_t k = 0; k < peer->durable.lineage.count; k++) {
		const struct hvri_epoch *e = &peer->durable.lineage.epochs[k];

		if (e->planned && e->entered && !hvri_outcome_dead(e->outcome) &&
		    hvri_uuid_equal(&e->parent, epoch) && !w->restored)
			model_break("a write after the planned failover of its "
				    "epoch");
	}
	w->writes[w->write_count].epoch = *epoch;
	w->writes[w->write_count++].site = (uint8_t)i;
}

static void fire(struct model_world *w, uint32_t i, uint32_t timer)
{
	struct hvri_event event;

	memset(&event, 0, sizeof(event));
	w->site[i].timers &= (uint8_t)~(1u << timer);
	event.type = HVRI_EVENT_TIMER;
	event.u.timer = timer;
	model_feed(w, i, &event);
}

static bool operate(struct model_world *w, const struct model_step *step)
{
	static struct hvri_setup setup;
	struct model_site *site = &w->site[step->site];
	const struct hvri_record *rec = &site->r.record;
	struct hvri_event event;
	struct hvri_operator *op = &event.u.operation;

	memset(&event, 0, sizeof(event));
	event.type = HVRI_EVENT_OPERATION;
	op->authorised = 0x3f;
	op->operation = step->operation;
	op->job = ++w->next_job;
	switch (step->operation) {
	case HVREPL_OPERATION_UNPLANNED:
	case HVREPL_OPERATION_CHANGE_POINT:
		if (step->argument < site->point_count) {
			op->resolved = site->points[step->argument].id;
			op->point = op->resolved.number;
		}
		w->unplanned = true;
		break;
	case HVREPL_OPERATION_FORCE:
		w->unplanned = true;
		break;
	case HVREPL_OPERATION_DISCARD:
		op->epoch = step->argument == 0 ? rec->verdict_peer :
			    step->argument == 1 ? rec->current :
						  rec->tail.cut;
		if (step->argument == 1)
			w->conceded = true;
		break;
	case HVREPL_OPERATION_ENABLE:
		memset(&setup, 0, sizeof(setup));
		setup.vm = rec->vm;
		setup.vm_name[0] = 'v';
		setup.policy.cycle_ns = 1000000000;
		setup.policy.window_bytes = (MODEL_BLOCKS + 1) * MODEL_BLOCK;
		setup.policy.start_without_peer = model_bounds->refuse ?
							  HVRI_START_REFUSE :
							  HVRI_START_ALLOW;
		setup.disk_count = 1;
		setup.disks[0].size = MODEL_BLOCKS * MODEL_BLOCK;
		setup.disks[0].block_size = MODEL_BLOCK;
		setup.disks[0].id = model_id(++w->next_id);
		op->setup = &setup;
		op->peer = w->site[!step->site].r.record.site;
		break;
	default:
		break;
	}
	model_feed(w, step->site, &event);
	return refusal == HVREPL_OK;
}

static struct model_recorded *recorder;
static uint32_t recorded, recorder_size;

uint32_t model_record(struct model_recorded *out, uint32_t size)
{
	uint32_t count = recorded;

	recorder = out;
	recorder_size = size;
	recorded = 0;
	return count;
}

static void note(const struct model_world *w, const struct model_step *step)
{
	static uint8_t bytes[MODEL_ENCODED_MAX];
	struct model_recorded *r = &recorder[recorded++];

	if (recorded > recorder_size)
		abort();
	r->step = *step;
	r->length = model_encode(w, bytes);
	r->bytes = malloc(r->length);
	if (r->bytes == NULL)
		abort();
	memcpy(r->bytes, bytes, r->length);
}

bool model_take(struct model_world *w, const struct model_step *step,
		uint32_t *boundaries_out)
{
	bool taken = true;

	if (recorder != NULL)
		note(w, step);

	boundaries = 0;
	crash_at = step->crash_at;
	halted_site = -1;
	overflowed = false;
	refusal = HVREPL_OK;
	switch (step->kind) {
	case MODEL_CRASH:
		w->crashes++;
		model_crash(w, step->site);
		break;
	case MODEL_WRITE:
		guest_write(w, step->site);
		break;
	case MODEL_TIMER:
		fire(w, step->site, step->argument);
		break;
	case MODEL_DUE:
		complete(w, step->site, step->argument);
		break;
	case MODEL_DELIVER:
		deliver(w, step->site, step->argument);
		break;
	case MODEL_OPERATE:
		w->operations++;
		taken = operate(w, step);
		break;
	case MODEL_CONNECT:
		model_connect(w);
		break;
	case MODEL_CUT_LINK:
		if (model_bounds->links != 255)
			w->links++;
		model_cut_link(w);
		break;
	case MODEL_BACKUP:
		copy_record(&w->site[step->site].backup,
			    &w->site[step->site].durable);
		w->site[step->site].has_backup = true;
		w->restores++;
		break;
	case MODEL_RESTORE:
		restore(w, step->site);
		break;
	default:
		break;
	}
	stabilise(w);
	if (recorder != NULL)
		recorder[recorded - 1].boundaries = boundaries;
	if (boundaries_out)
		*boundaries_out = boundaries;
	if (crash_at != 0) {
		uint32_t site = (uint32_t)halted_site;

		if (!model_halted())
			return false;
		crash_at = 0;
		halted_site = -1;
		overflowed = false;
		w->crashes++;
		model_last_crash = site;
		model_crash(w, site);
		stabilise(w);
	}
	if (overflowed) {
		model_bound_hits++;
		return false;
	}
	return taken;
}
