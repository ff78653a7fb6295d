/* SPDX-License-Identifier: Apache-2.0 */
/* Two sites that perform updates on tiny disks; see world.h. */
#include "world.h"

#include "replication/lineage.h"
#include "replication/names.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALL ((1u << WORLD_BLOCKS) - 1)

static void feed(struct world *w, uint32_t i, struct hvri_event *event);

uint64_t world_random(struct world *w, uint64_t below)
{
	return test_random(&w->random) % below;
}

void world_trace(struct world *w, const char *format, ...)
{
	va_list args;
	char line[512];
	int n;

	if (!w->tracing && !w->log)
		return;
	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (w->log)
		fprintf(stderr, "%s\n", line);
	if (n < 0 || !w->tracing ||
	    w->trace_length + (size_t)n + 2 > sizeof(w->trace))
		return;
	memcpy(w->trace + w->trace_length, line, (size_t)n);
	w->trace_length += (size_t)n;
	w->trace[w->trace_length++] = '\n';
	w->trace[w->trace_length] = 0;
}

static void broken(struct world *w, const char *what)
{
	if (w->broken == NULL)
		w->broken = what;
	if (w->log)
		fprintf(stderr, "BROKEN: %s\n", what);
}

static struct hvrepl_uuid fresh(struct world *w)
{
	struct hvrepl_uuid id;
	uint64_t n = ++w->next_uuid;

	memset(&id, 0, sizeof(id));
	memcpy(id.bytes, &n, sizeof(n));
	id.bytes[15] = 0x77;
	return id;
}

/* ---- Disks. ---- */

const uint32_t *world_content(const struct world_site *site)
{
	return site->overlay ? site->over : site->live;
}

static uint32_t *content(struct world_site *site)
{
	return site->overlay ? site->over : site->live;
}

static struct world_point *newest(struct world_site *site)
{
	return site->point_count ? &site->points[site->point_count - 1] : NULL;
}

static void drop_points(struct world_site *site)
{
	site->point_count = 0;
}

static struct world_point *add_point(struct world *w, struct world_site *site,
				     const struct hvri_point *id)
{
	struct world_point *point;

	if (site->point_count >= w->points_max) {
		/* What the oldest changed is not needed by younger ones. */
		memmove(&site->points[0], &site->points[1],
			(site->point_count - 1) * sizeof(site->points[0]));
		site->point_count--;
	}
	point = &site->points[site->point_count++];
	memset(point, 0, sizeof(*point));
	point->id = *id;
	return point;
}

static bool same_point(const struct hvri_point *a, const struct hvri_point *b)
{
	return a->number == b->number &&
	       hvri_uuid_equal(&a->epoch, &b->epoch) &&
	       hvri_uuid_equal(&a->cut, &b->cut);
}

static struct world_point *find_point(struct world_site *site,
				      const struct hvri_point *id)
{
	for (uint32_t i = 0; i < site->point_count; i++)
		if (same_point(&site->points[i].id, id))
			return &site->points[i];
	return NULL;
}

/* Blocks below a frontier. */
static uint32_t below(struct hvri_frontier f)
{
	uint64_t n = f.disk > 0 ? WORLD_BLOCKS : f.offset / WORLD_BLOCK;

	return n >= WORLD_BLOCKS ? ALL : (1u << n) - 1;
}

bool world_write(struct world *w, uint32_t i)
{
	struct world_site *site = &w->site[i];
	uint32_t block = (uint32_t)world_random(w, WORLD_BLOCKS);
	uint32_t k;

	if (!site->up || !site->gate)
		return false;
	content(site)[block] = (uint32_t)++w->next_write;
	site->dirty |= 1u << block;
	for (k = 0; k < w->writer_count; k++)
		if (hvri_uuid_equal(&w->writers[k].epoch,
				    &site->r.record.current))
			break;
	if (k == w->writer_count && k < 64) {
		w->writers[k].epoch = site->r.record.current;
		w->writers[k].writers = 0;
		w->writer_count++;
	}
	if (k < 64) {
		w->writers[k].writers |= (uint8_t)(1u << i);
		if (w->writers[k].writers == 3)
			broken(w, "two sites wrote in one epoch");
	}
	return true;
}

/* ---- The wire. ---- */

static void wire_remove(struct world *w, uint32_t k)
{
	free(w->wire[k].bytes);
	memmove(&w->wire[k], &w->wire[k + 1],
		(w->wire_count - k - 1) * sizeof(w->wire[0]));
	w->wire_count--;
}

static struct world_message *wire_add(struct world *w, uint32_t from)
{
	struct world_message *m;

	if (!w->session || w->wire_count >= WORLD_WIRE)
		return NULL;
	m = &w->wire[w->wire_count++];
	memset(m, 0, sizeof(*m));
	m->to = (uint8_t)!from;
	return m;
}

static void transmit(struct world *w, uint32_t from,
		     const struct hvri_message *message)
{
	static uint8_t buffer[HVRI_MESSAGE_ENCODED_MAX];
	struct world_message *m;
	size_t length = 0;

	if (hvri_message_encode(message, buffer, sizeof(buffer), &length) !=
	    HVREPL_OK) {
		broken(w, "a message cannot be encoded");
		return;
	}
	if (w->tracing || w->log)
		world_trace(w, "  %c -> %s", w->site[from].name,
			    hvri_message_name(message->type));
	m = wire_add(w, from);
	if (m == NULL)
		return;
	m->bytes = malloc(length);
	m->length = (uint32_t)length;
	memcpy(m->bytes, buffer, length);
}

static void to_unknown(struct world *w, uint32_t i,
		       const struct hvri_message *message)
{
	uint32_t type = hvri_relationship_unknown_answer(message->type);
	struct hvri_message answer;

	if (type == 0)
		return;
	memset(&answer, 0, sizeof(answer));
	answer.type = type;
	answer.to_incarnation = message->from_incarnation;
	transmit(w, i, &answer);
}

/* A cut arrives whole. */
static void data_arrives(struct world *w, uint32_t i,
			 const struct world_message *m)
{
	struct world_site *site = &w->site[i];
	struct hvri_cut_begin *cut = &site->r.receiving;
	struct world_point *from, *point;
	struct hvri_event event;
	uint32_t full = 0;

	if (cut->point.number == 0 ||
	    !hvri_uuid_equal(&cut->point.cut, &m->cut) ||
	    site->queue_count >= WORLD_QUEUE)
		return;
	memset(&event, 0, sizeof(event));
	event.type = HVRI_EVENT_POINT_COMPLETE;
	event.u.data.cut = m->cut;
	if (cut->kind == HVRI_CUT_INITIAL) {
		for (uint32_t b = 0; b < WORLD_BLOCKS; b++)
			if (m->dirty >> b & 1)
				site->base[b] = m->content[b];
		site->frontier = cut->frontier;
		if (cut->closed) {
			point = add_point(w, site, &cut->point);
			memcpy(point->content, site->base, sizeof(site->base));
			point->changed = ALL;
			full = 1;
		}
	} else {
		from = find_point(site, &cut->from);
		if (from == NULL || from != newest(site)) {
			broken(w, "a cut was accepted that does not follow the "
				  "newest point");
			return;
		}
		{
			struct world_point old = *from;

			point = add_point(w, site, &cut->point);
			memcpy(point->content, old.content,
			       sizeof(old.content));
		}
		for (uint32_t b = 0; b < WORLD_BLOCKS; b++)
			if (m->dirty >> b & 1)
				point->content[b] = m->content[b];
		point->changed = m->dirty;
		full = 1;
	}
	/* The promise: a point is identical to its reference point. */
	if (full && memcmp(point->content, m->content, sizeof(m->content)) != 0)
		broken(w, "a recovery point differs from its reference point");
	/* Durable in the store from here on, whatever happens next. */
	site->queue[site->queue_count++].event = event;
}

static void deliver(struct world *w, uint32_t k, bool keep)
{
	static struct hvri_message_storage storage;
	static uint8_t copy[HVRI_MESSAGE_ENCODED_MAX];
	struct world_message m = w->wire[k];
	struct world_site *site = &w->site[m.to];
	struct hvri_message message;
	struct hvri_event event;

	if (!keep) {
		memmove(&w->wire[k], &w->wire[k + 1],
			(w->wire_count - k - 1) * sizeof(w->wire[0]));
		w->wire_count--;
	}
	if (m.data) {
		if (site->up)
			data_arrives(w, m.to, &m);
		return;
	}
	memcpy(copy, m.bytes, m.length);
	if (!keep)
		free(m.bytes);
	if (!site->up)
		return;
	if (hvri_message_decode(copy, m.length, &storage, &message) !=
	    HVREPL_OK) {
		broken(w, "a message cannot be decoded");
		return;
	}
	if (!site->has_record && message.type != HVRI_MESSAGE_ENABLE &&
	    site->r.record.mode == HVREPL_MODE_NONE) {
		to_unknown(w, m.to, &message);
		return;
	}
	memset(&event, 0, sizeof(event));
	event.type = HVRI_EVENT_MESSAGE;
	event.u.message.message = &message;
	event.u.message.authorised = 0xf;
	feed(w, m.to, &event);
}

/* ---- Performing an update. ---- */

static void later(struct world_site *site, const struct hvri_event *event)
{
	if (site->queue_count < WORLD_QUEUE)
		site->queue[site->queue_count++].event = *event;
}

static void do_cut(struct world *w, struct world_site *site,
		   const struct hvri_action *a, struct hvri_event *done)
{
	uint32_t part = below(a->frontier);

	if (site->cut_open)
		broken(w, "two cuts are open (T5)");
	site->cut_open = true;
	site->cut_id = fresh(w);
	memcpy(site->cut_content, content(site), sizeof(site->cut_content));
	site->cut_dirty = site->dirty & part;
	site->dirty &= ~part;
	done->u.done.cut = site->cut_id;
	done->u.done.utc_ns = w->utc_ns;
	done->u.done.bytes = (uint64_t)__builtin_popcount(site->cut_dirty) *
			     WORLD_BLOCK;
}

static void do_ship(struct world *w, uint32_t i, const struct hvri_action *a)
{
	struct world_site *site = &w->site[i];
	struct world_message *m;

	if (!site->cut_open || !hvri_uuid_equal(&site->cut_id, &a->cut))
		return;
	m = wire_add(w, i);
	if (m == NULL)
		return;
	m->data = true;
	m->cut = a->cut;
	memcpy(m->content, site->cut_content, sizeof(m->content));
	m->dirty = site->cut_dirty;
}

static void do_export(struct world *w, uint32_t i, struct hvri_event *done)
{
	struct world_site *site = &w->site[i];
	uint8_t bytes[16 * WORLD_BLOCKS];
	struct hvri_message m;
	uint32_t n = 0;

	memset(&m, 0, sizeof(m));
	m.type = HVRI_MESSAGE_RANGES;
	hvri_relationship_address(&site->r, &m);
	for (uint32_t b = 0; b < WORLD_BLOCKS; b++)
		if (site->dirty >> b & 1)
			hvri_ranges_put(bytes, n++,
					(struct hvrepl_extent){
						(uint64_t)b * WORLD_BLOCK,
						WORLD_BLOCK });
	m.u.ranges.count = n;
	m.u.ranges.extents = bytes;
	transmit(w, i, &m);
	done->u.done.count = n;
	done->u.done.bytes = (uint64_t)n * WORLD_BLOCK;
	hvri_ranges_digest(done->u.done.digest, &m.u.ranges);
}

static void do_compare(struct world *w, uint32_t i,
		       const struct hvri_action *a, struct hvri_event *done)
{
	struct world_site *site = &w->site[i], *peer = &w->site[!i];
	uint32_t part = below(a->frontier) & ~below(a->from_frontier);
	struct world_point *point = find_point(peer, &a->point);

	if (!w->session || !peer->up || point == NULL) {
		done->u.done.code = HVREPL_E_DISCONNECTED;
		return;
	}
	for (uint32_t b = 0; b < WORLD_BLOCKS; b++)
		if ((part >> b & 1) && content(site)[b] != point->content[b])
			site->dirty |= 1u << b;
}

static void do_overlay(struct world *w, struct world_site *site,
		       const struct hvri_action *a, struct hvri_event *done)
{
	struct world_point *point = find_point(site, &a->point);

	if (site->overlay && hvri_uuid_equal(&site->overlay_name, &a->epoch))
		return;
	if (point == NULL) {
		done->u.done.code = HVREPL_E_NOT_FOUND;
		broken(w, "a failover to a point that is not there");
		return;
	}
	site->overlay = true;
	site->overlay_name = a->epoch;
	memcpy(site->over, point->content, sizeof(site->over));
	site->dirty = 0;
	for (struct world_point *p = point + 1;
	     p < site->points + site->point_count; p++)
		site->dirty |= p->changed;
}

static void perform(struct world *w, uint32_t i, const struct hvri_action *a)
{
	struct world_site *site = &w->site[i];
	struct hvri_event done;

	memset(&done, 0, sizeof(done));
	done.type = HVRI_EVENT_DONE;
	done.u.done.token = a->token;
	switch (a->type) {
	case HVRI_ACTION_CUT:
		do_cut(w, site, a, &done);
		break;
	case HVRI_ACTION_SHIP:
		do_ship(w, i, a);
		break;
	case HVRI_ACTION_SETTLE:
		if (!site->cut_open || !hvri_uuid_equal(&site->cut_id, &a->cut))
			break;
		site->cut_open = false;
		if (a->code != HVREPL_OK)
			site->dirty |= site->cut_dirty;
		break;
	case HVRI_ACTION_FENCE:
		site->gate = false;
		break;
	case HVRI_ACTION_ARM:
		site->stamped = true;
		site->stamp = a->generation;
		if (!hvri_uuid_equal(&a->epoch, &site->durable.current))
			broken(w, "armed in an epoch that is not durable");
		if (site->r.record.form == HVRI_FORM_STORE)
			broken(w, "armed on a replica's store");
		site->gate = true;
		break;
	case HVRI_ACTION_COMPARE:
		do_compare(w, i, a, &done);
		break;
	case HVRI_ACTION_MARK:
		for (uint32_t k = 0; k < a->message->u.ranges.count; k++)
			site->dirty |= 1u << (hvri_ranges_get(
						      &a->message->u.ranges, k)
						      .offset /
					      WORLD_BLOCK);
		break;
	case HVRI_ACTION_MARK_ALL:
		site->dirty = ALL;
		break;
	case HVRI_ACTION_EXPORT:
		do_export(w, i, &done);
		break;
	case HVRI_ACTION_ADOPT:
		if (site->gate)
			broken(w, "a disk that is written to became a replica");
		if (site->point_count == 0 ||
		    !same_point(&newest(site)->id, &a->point)) {
			drop_points(site);
			memcpy(add_point(w, site, &a->point)->content,
			       site->live, sizeof(site->live));
		}
		break;
	case HVRI_ACTION_OPEN_OVERLAY:
		do_overlay(w, site, a, &done);
		break;
	case HVRI_ACTION_DROP_OVERLAY:
		if (site->gate)
			broken(w, "an overlay was dropped under the guest");
		site->overlay = false;
		break;
	case HVRI_ACTION_FOLD:
		if (site->overlay)
			memcpy(site->live, site->over, sizeof(site->live));
		site->overlay = false;
		drop_points(site);
		break;
	case HVRI_ACTION_CREATE_REPLICA:
		drop_points(site);
		site->overlay = false;
		memset(&site->frontier, 0, sizeof(site->frontier));
		break;
	case HVRI_ACTION_REMOVE:
		site->cut_open = false;
		break;
	case HVRI_ACTION_FORGET:
		site->has_record = false;
		memset(&site->durable, 0, sizeof(site->durable));
		break;
	default: /* RECEIVE, STOP_RECEIVE, RELEASE, UNPIN, CHECK, VERIFY. */
		break;
	}
	if (a->token != 0)
		later(site, &done);
}

static const char *const action_names[HVRI_ACTION_TYPE_COUNT] = {
	NULL,	     "CUT",	 "SHIP",	 "RELEASE",	"SETTLE",
	"FENCE",     "ARM",	 "COMPARE",	 "MARK",	"MARK_ALL",
	"EXPORT",    "ADOPT",	 "UNPIN",	 "CREATE_REPLICA", "RECEIVE",
	"STOP_RECEIVE", "OPEN_OVERLAY", "DROP_OVERLAY", "FOLD",
	"CHECK_REVERSE", "VERIFY", "REMOVE",	 "FORGET",
};

static bool dead_at(const struct hvri_record *rec, const struct hvrepl_uuid *id)
{
	const struct hvri_epoch *e = hvri_lineage_look(&rec->lineage, id);

	return e && hvri_outcome_dead(e->outcome);
}

/* What must never be so. */
static void check(struct world *w)
{
	struct world_site *a = &w->site[0], *b = &w->site[1];

	if (a->gate && b->gate &&
	    hvri_uuid_equal(&a->durable.current, &b->durable.current))
		broken(w, "two sites armed in one epoch");
	if (a->gate && b->gate && w->only_planned)
		broken(w, "planned failovers only, and yet both are armed");
	for (int i = 0; i < 2; i++) {
		struct world_site *x = &w->site[i], *y = &w->site[!i];
		const struct hvri_record *d = &x->durable;

		if (!x->gate || d->mode == HVREPL_MODE_NONE ||
		    d->phase == HVRI_PHASE_REMOVED)
			continue;
		if (d->ownership != HVREPL_OWNERSHIP_OWNER &&
		    d->ownership != HVREPL_OWNERSHIP_DIVERGED)
			broken(w, "armed without owning");
		if (!hvri_uuid_is_none(&d->relinquished))
			broken(w, "armed after relinquishing");
		if (dead_at(d, &d->current))
			broken(w, "armed in an epoch known abandoned");
		if (y->has_record && dead_at(&y->durable, &d->current) &&
		    y->durable.ownership != HVREPL_OWNERSHIP_RELINQUISHED)
			broken(w, "armed in an epoch the peer holds abandoned");
	}
	for (uint32_t k = 0; k < a->durable.lineage.count; k++) {
		const struct hvri_epoch *e = &a->durable.lineage.epochs[k];
		const struct hvri_epoch *f =
			hvri_lineage_look(&b->durable.lineage, &e->id);

		if (f && ((e->outcome == HVREPL_OUTCOME_COMMITTED &&
			   hvri_outcome_dead(f->outcome)) ||
			  (f->outcome == HVREPL_OUTCOME_COMMITTED &&
			   hvri_outcome_dead(e->outcome))))
			broken(w, "an epoch is committed here, abandoned there");
	}
	if (a->durable.ownership == HVREPL_OWNERSHIP_SUPERSEDED &&
	    b->durable.ownership == HVREPL_OWNERSHIP_SUPERSEDED &&
	    !w->conceded && a->r.greeted && b->r.greeted && a->has_record &&
	    b->has_record && !a->durable.rolled_back && !b->durable.rolled_back)
		broken(w, "both are superseded: nobody may start");
}

static void feed(struct world *w, uint32_t i, struct hvri_event *event)
{
	static struct hvri_update u;
	struct world_site *site = &w->site[i];
	bool operation = event->type == HVRI_EVENT_OPERATION;
	static struct hvri_record before;

	event->now_ns = w->env.now_ns;
	event->utc_ns = w->utc_ns;
	for (int k = 0; k < 3; k++)
		event->fresh[k] = fresh(w);
	if (operation)
		before = site->r.record;
	hvri_relationship_step(&site->r, event, &u);
	if (u.overflow)
		broken(w, "an update does not hold all that is to be done");
	if (operation && u.code != HVREPL_OK) {
		if (memcmp(&before, &site->r.record, sizeof(before)) != 0 ||
		    u.action_count || u.send_count || u.persist)
			broken(w, "a refused operation changed something");
		if (u.sentence[0] == 0)
			broken(w, "a refusal without a sentence");
		site->last_code = u.code;
		memcpy(site->last_sentence, u.sentence, sizeof(u.sentence));
		return;
	}
	if (u.persist) {
		site->durable = site->r.record;
		site->has_record = site->r.record.mode != HVREPL_MODE_NONE;
	}
	for (uint32_t k = 0; k < u.action_count; k++) {
		world_trace(w, "  %c: %s", site->name,
			    action_names[u.actions[k].type]);
		perform(w, i, &u.actions[k]);
	}
	for (uint32_t k = 0; k < u.send_count; k++)
		transmit(w, i, &u.sends[k]);
	for (uint32_t k = 0; k < u.timer_count; k++)
		site->timers[u.timers[k].timer] = u.timers[k].at_ns;
	for (uint32_t k = 0; k < u.notice_count; k++)
		world_trace(w, "  %c! %s", site->name, u.notices[k].sentence);
	for (uint32_t k = 0; k < u.job_count; k++) {
		world_trace(w, "  %c job %s: %s", site->name,
			    u.jobs[k].code == HVREPL_OK ?
				    "done" :
				    hvrepl_error_name(u.jobs[k].code),
			    u.jobs[k].sentence);
		site->last_code = u.jobs[k].code;
		memcpy(site->last_sentence, u.jobs[k].sentence,
		       sizeof(site->last_sentence));
		site->jobs_ended++;
	}
	if (site->r.forgotten) {
		struct hvrepl_uuid me = site->r.record.site,
				   vm = site->r.record.vm;
		bool gate = site->gate;

		hvri_relationship_init(&site->r, &me, &vm);
		memset(site->timers, 0, sizeof(site->timers));
		site->queue_count = 0;
		site->gate = gate;
		site->r.started = false;
		world_start(w, i);
		/* Nothing guards the VM any more. */
		site->gate = false;
	}
	check(w);
}

/* ---- What may happen. ---- */

void world_connect(struct world *w)
{
	if (w->session || !w->site[0].up || !w->site[1].up)
		return;
	w->session = true;
	for (uint32_t i = 0; i < 2; i++) {
		struct hvri_event event = { .type = HVRI_EVENT_SESSION_UP };

		feed(w, i, &event);
	}
}

void world_cut_link(struct world *w)
{
	if (!w->session)
		return;
	w->session = false;
	while (w->wire_count > 0)
		wire_remove(w, w->wire_count - 1);
	for (uint32_t i = 0; i < 2; i++) {
		struct hvri_event event = { .type = HVRI_EVENT_SESSION_DOWN };

		if (w->site[i].up)
			feed(w, i, &event);
	}
}

void world_crash(struct world *w, uint32_t i)
{
	struct world_site *site = &w->site[i];

	world_trace(w, "%c crashes", site->name);
	site->up = false;
	site->gate = false;
	/* What was cut and not settled is hot after the crash. */
	if (site->cut_open)
		site->dirty |= site->cut_dirty;
	site->cut_open = false;
	site->queue_count = 0;
	memset(site->timers, 0, sizeof(site->timers));
	world_cut_link(w);
}

void world_start(struct world *w, uint32_t i)
{
	struct world_site *site = &w->site[i];
	struct hvri_event event;
	struct hvrepl_uuid me = site->r.record.site, vm = site->r.record.vm;

	memset(&event, 0, sizeof(event));
	site->up = true;
	if (site->has_record)
		hvri_relationship_load(&site->r, &site->durable);
	else
		hvri_relationship_init(&site->r, &me, &vm);
	event.type = HVRI_EVENT_START;
	event.u.start.incarnation = ++w->next_uuid;
	event.u.start.stamped = site->stamped;
	event.u.start.stamp_generation = site->stamp;
	event.u.start.unclean = true;
	event.u.start.frontier = site->frontier;
	if (site->point_count > 0) {
		event.u.start.newest = newest(site)->id;
		event.u.start.has_points = true;
	}
	feed(w, i, &event);
	if (w->session) {
		struct hvri_event up = { .type = HVRI_EVENT_SESSION_UP };

		feed(w, i, &up);
	}
}

static void complete(struct world *w, uint32_t i, uint32_t k)
{
	struct world_site *site = &w->site[i];
	struct hvri_event event = site->queue[k].event;

	memmove(&site->queue[k], &site->queue[k + 1],
		(site->queue_count - k - 1) * sizeof(site->queue[0]));
	site->queue_count--;
	feed(w, i, &event);
}

bool world_any(struct world *w)
{
	uint32_t n0 = w->site[0].up ? w->site[0].queue_count : 0;
	uint32_t n1 = w->site[1].up ? w->site[1].queue_count : 0;
	uint32_t total = n0 + n1 + w->wire_count;
	uint32_t k;

	if (total == 0)
		return false;
	k = (uint32_t)world_random(w, total);
	if (k < n0) {
		complete(w, 0, k);
	} else if (k < n0 + n1) {
		complete(w, 1, k - n0);
	} else if (w->hostile) {
		bool again = world_random(w, 4) == 0;

		deliver(w, k - n0 - n1, again && w->wire_count < 40);
	} else {
		uint8_t to = w->wire[k - n0 - n1].to;

		for (k = 0; w->wire[k].to != to; k++)
			;
		deliver(w, k, false);
	}
	return true;
}

void world_settle(struct world *w, uint32_t limit)
{
	while (limit-- > 0) {
		if (w->site[0].up && w->site[0].queue_count > 0)
			complete(w, 0, 0);
		else if (w->site[1].up && w->site[1].queue_count > 0)
			complete(w, 1, 0);
		else if (w->wire_count > 0)
			deliver(w, 0, false);
		else
			return;
	}
}

void world_wait(struct world *w, uint64_t ns)
{
	uint64_t end = w->env.now_ns + ns;

	for (;;) {
		uint64_t at = UINT64_MAX;
		uint32_t site = 0, timer = 0;

		for (uint32_t i = 0; i < 2; i++)
			for (uint32_t t = 1; t < HVRI_TIMER_COUNT; t++)
				if (w->site[i].up && w->site[i].timers[t] &&
				    w->site[i].timers[t] < at) {
					at = w->site[i].timers[t];
					site = i;
					timer = t;
				}
		if (at > end)
			break;
		if (at > w->env.now_ns) {
			w->utc_ns += at - w->env.now_ns;
			w->env.now_ns = at;
		}
		w->site[site].timers[timer] = 0;
		{
			struct hvri_event event = {
				.type = HVRI_EVENT_TIMER,
			};

			event.u.timer = timer;
			feed(w, site, &event);
		}
		world_settle(w, 2000);
	}
	w->utc_ns += end - w->env.now_ns;
	w->env.now_ns = end;
}

int32_t world_operate(struct world *w, uint32_t i, uint32_t operation,
		      uint64_t point, const struct hvrepl_uuid *epoch)
{
	static struct hvri_setup setup;
	struct world_site *site = &w->site[i];
	struct hvri_event event;
	struct hvri_operator *op = &event.u.operation;

	if (!site->up)
		return HVREPL_E_UNAVAILABLE;
	memset(&event, 0, sizeof(event));
	event.type = HVRI_EVENT_OPERATION;
	op->operation = operation;
	op->job = ++w->next_uuid;
	op->point = point;
	for (uint32_t k = 0; k < site->point_count; k++)
		if (point == 0 || site->points[k].id.number == point)
			op->resolved = site->points[k].id;
	if (epoch)
		op->epoch = *epoch;
	if (operation == HVREPL_OPERATION_ENABLE) {
		memset(&setup, 0, sizeof(setup));
		setup.vm = site->r.record.vm;
		strcpy(setup.vm_name, "web");
		setup.policy.cycle_ns = 1000000000;
		setup.policy.window_bytes = 5 * WORLD_BLOCK;
		setup.disk_count = 1;
		setup.disks[0].size = WORLD_BLOCKS * WORLD_BLOCK;
		setup.disks[0].block_size = WORLD_BLOCK;
		setup.disks[0].id = fresh(w);
		op->setup = &setup;
		op->peer = w->site[!i].r.record.site;
	}
	if (operation == HVREPL_OPERATION_UNPLANNED ||
	    operation == HVREPL_OPERATION_CHANGE_POINT ||
	    operation == HVREPL_OPERATION_FORCE)
		w->only_planned = false;
	world_trace(w, "%c: %s", site->name, hvri_operation_name(operation));
	site->last_job = op->job;
	site->last_code = HVREPL_OK;
	feed(w, i, &event);
	if (site->last_code != HVREPL_OK)
		world_trace(w, "  refused: %s", site->last_sentence);
	return site->last_code;
}

uint32_t world_state(struct world *w, uint32_t i)
{
	return hvri_relationship_state(&w->site[i].r);
}

void world_init(struct world *w, uint64_t seed)
{
	struct hvrepl_uuid vm;

	memset(w, 0, sizeof(*w));
	test_env_init(&w->env, seed);
	w->env.now_ns = 1000;
	w->utc_ns = UINT64_C(1700000000000000000);
	w->random = seed * 2654435761u + 88172645463325252u;
	w->only_planned = true;
	w->points_max = 8;
	vm = fresh(w);
	for (uint32_t i = 0; i < 2; i++) {
		struct hvrepl_uuid site = fresh(w);

		w->site[i].name = (char)('A' + i);
		hvri_relationship_init(&w->site[i].r, &site, &vm);
		world_start(w, i);
	}
	w->site[0].gate = true;
	for (int k = 0; k < 5; k++)
		w->site[0].live[world_random(w, WORLD_BLOCKS)] =
			(uint32_t)++w->next_write;
	w->site[0].gate = false;
}

void world_free(struct world *w)
{
	while (w->wire_count > 0)
		wire_remove(w, w->wire_count - 1);
}

void world_replicating(struct world *w)
{
	world_connect(w);
	world_operate(w, 0, HVREPL_OPERATION_ENABLE, 0, NULL);
	world_settle(w, 1000);
	world_operate(w, 0, HVREPL_OPERATION_START_INITIAL, 0, NULL);
	world_settle(w, 1000);
	world_write(w, 0);
	world_wait(w, UINT64_C(3500000000));
	if (world_state(w, 0) != HVREPL_STATE_REPLICATING ||
	    world_state(w, 1) != HVREPL_STATE_REPLICATING)
		broken(w, "does not come to replicate");
}

bool world_is_replicating(struct world *w)
{
	struct world_site *a = &w->site[0], *b = &w->site[1], *owner;

	if (world_state(w, 0) != HVREPL_STATE_REPLICATING ||
	    world_state(w, 1) != HVREPL_STATE_REPLICATING)
		return false;
	owner = a->r.record.ownership == HVREPL_OWNERSHIP_OWNER ? a : b;
	if (!world_write(w, owner == b))
		return false;
	world_wait(w, UINT64_C(3000000000));
	return newest(owner == a ? b : a) &&
	       memcmp(newest(owner == a ? b : a)->content,
		      world_content(owner), sizeof(a->live)) == 0;
}

static bool operator_at(struct world *w, uint32_t i)
{
	struct world_site *site = &w->site[i];
	struct hvri_relationship *r = &site->r;
	uint32_t own = hvri_relationship_ownership(r);
	uint32_t state = world_state(w, i);
	uint32_t op = 0;
	const struct hvrepl_uuid *epoch = NULL;

	if (own == HVREPL_OWNERSHIP_DIVERGED &&
	    state == HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION)
		op = HVREPL_OPERATION_COMMIT;
	else if (own == HVREPL_OWNERSHIP_DIVERGED) {
		/* Both discard: settled by conceding at one. */
		op = HVREPL_OPERATION_DISCARD;
		epoch = &r->record.verdict_peer;
		if (!hvri_uuid_is_none(&r->record.discard_loser) && i == 1) {
			epoch = &r->record.current;
			w->conceded = true;
		}
	} else if (state == HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION)
		op = HVREPL_OPERATION_COMMIT;
	else if (state == HVREPL_STATE_FAILED_OVER)
		op = HVREPL_OPERATION_REVERSE;
	else if (state == HVREPL_STATE_WAITING_FOR_RESYNC)
		op = HVREPL_OPERATION_RESYNC;
	else if (state == HVREPL_STATE_SUSPENDED ||
		 state == HVREPL_STATE_RESYNC_SUSPENDED ||
		 (state == HVREPL_STATE_ERROR &&
		  own != HVREPL_OWNERSHIP_SUPERSEDED))
		op = HVREPL_OPERATION_RESUME;
	else if (state == HVREPL_STATE_READY_FOR_INITIAL)
		op = HVREPL_OPERATION_START_INITIAL;
	else if (state == HVREPL_STATE_PREPARED_FOR_FAILOVER)
		op = HVREPL_OPERATION_CANCEL;
	if (op == 0)
		return false;
	return world_operate(w, i, op, 0, epoch) == HVREPL_OK;
}

bool world_operator(struct world *w)
{
	if (operator_at(w, 0) || operator_at(w, 1))
		return true;
	/* Nobody can be reversed to: somebody must be forced. */
	for (uint32_t i = 0; i < 2; i++)
		if (w->site[i].r.record.ownership ==
			    HVREPL_OWNERSHIP_SUPERSEDED &&
		    w->site[!i].r.record.ownership !=
			    HVREPL_OWNERSHIP_OWNER &&
		    w->site[!i].r.record.ownership !=
			    HVREPL_OWNERSHIP_DIVERGED)
			return world_operate(w, i, HVREPL_OPERATION_FORCE, 0,
					     NULL) == HVREPL_OK;
	for (uint32_t i = 0; i < 2; i++)
		if (w->site[i].r.record.mode == HVREPL_MODE_NONE &&
		    w->site[!i].r.record.mode == HVREPL_MODE_NONE && i == 0)
			return world_operate(w, i, HVREPL_OPERATION_ENABLE, 0,
					     NULL) == HVREPL_OK;
	return false;
}

void world_trace_state(struct world *w)
{
	for (uint32_t i = 0; i < 2; i++) {
		struct world_site *site = &w->site[i];

		world_trace(w, "%c = %s %s %s%s%s", site->name,
			    hvri_mode_name(site->r.record.mode),
			    hvri_state_name(world_state(w, i)),
			    hvri_ownership_name(
				    hvri_relationship_ownership(&site->r)),
			    site->gate ? " writes" : "",
			    site->up ? "" : " down");
	}
}
