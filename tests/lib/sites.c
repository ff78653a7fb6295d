/* SPDX-License-Identifier: Apache-2.0 */
/* Two sites that perform updates on tiny disks. */
#include "sites.h"

#include "replication/lineage.h"
#include "replication/names.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


uint64_t sites_random(struct sites *w, uint64_t below)
{
	return test_random(&w->random) % below;
}

void sites_trace(struct sites *w, const char *format, ...)
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

void sites_broken(struct sites *w, const char *what)
{
	if (w->broken == NULL)
		w->broken = what;
	if (w->log)
		fprintf(stderr, "BROKEN: %s\n", what);
}

struct hvrepl_uuid sites_fresh(struct sites *w)
{
	struct hvrepl_uuid id;
	uint64_t n = ++w->next_uuid;

	memset(&id, 0, sizeof(id));
	memcpy(id.bytes, &n, sizeof(n));
	id.bytes[15] = 0x77;
	return id;
}

/* ---- Disks. ---- */

const uint32_t *sites_content(const struct one_site *site)
{
	return site->overlay ? site->over : site->live;
}

static uint32_t *content(struct one_site *site)
{
	return site->overlay ? site->over : site->live;
}

struct sites_point *sites_newest(struct one_site *site)
{
	return site->point_count ? &site->points[site->point_count - 1] : NULL;
}

static void drop_points(struct one_site *site)
{
	site->point_count = 0;
}

static struct sites_point *add_point(struct sites *w, struct one_site *site,
				     const struct hvri_point *id)
{
	struct sites_point *point;

	if (site->point_count >= w->points_max) {
		uint32_t k = 0;

		/* The oldest goes, unless it is the pinned tail. */
		if (hvri_uuid_equal(&site->points[0].id.cut,
				    &site->r.record.tail.cut))
			k = 1;
		memmove(&site->points[k], &site->points[k + 1],
			(site->point_count - k - 1) * sizeof(site->points[0]));
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

struct sites_point *sites_find(struct one_site *site, const struct hvri_point *id)
{
	for (uint32_t i = 0; i < site->point_count; i++)
		if (same_point(&site->points[i].id, id))
			return &site->points[i];
	return NULL;
}

/* Blocks below a frontier. */
static uint32_t below(struct hvri_frontier f)
{
	uint64_t n = f.disk > 0 ? SITES_BLOCKS : f.offset / SITES_BLOCK;

	return n >= SITES_BLOCKS ? SITES_ALL : (1u << n) - 1;
}

bool sites_write(struct sites *w, uint32_t i)
{
	struct one_site *site = &w->site[i];
	uint32_t block = (uint32_t)sites_random(w, SITES_BLOCKS);
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
			sites_broken(w, "two sites wrote in one epoch");
	}
	return true;
}

/* ---- The wire. ---- */

void sites_wire_remove(struct sites *w, uint32_t k)
{
	free(w->wire[k].bytes);
	memmove(&w->wire[k], &w->wire[k + 1],
		(w->wire_count - k - 1) * sizeof(w->wire[0]));
	w->wire_count--;
}

static struct sites_message *wire_add(struct sites *w, uint32_t from)
{
	struct sites_message *m;

	if (!w->session || w->wire_count >= SITES_WIRE)
		return NULL;
	m = &w->wire[w->wire_count++];
	memset(m, 0, sizeof(*m));
	m->to = (uint8_t)!from;
	return m;
}

static void transmit(struct sites *w, uint32_t from,
		     const struct hvri_message *message)
{
	static uint8_t buffer[HVRI_MESSAGE_ENCODED_MAX];
	struct sites_message *m;
	size_t length = 0;

	if (hvri_message_encode(message, buffer, sizeof(buffer), &length) !=
	    HVREPL_OK) {
		sites_broken(w, "a message cannot be encoded");
		return;
	}
	if ((w->tracing && message->type != HVRI_MESSAGE_STATUS) || w->log)
		sites_trace(w, "  %c -> %s", w->site[from].name,
			    hvri_message_name(message->type));
	m = wire_add(w, from);
	if (m == NULL)
		return;
	m->bytes = malloc(length);
	m->length = (uint32_t)length;
	memcpy(m->bytes, buffer, length);
}

static void to_unknown(struct sites *w, uint32_t i,
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
static void data_arrives(struct sites *w, uint32_t i,
			 const struct sites_message *m)
{
	struct one_site *site = &w->site[i];
	struct hvri_cut_begin *cut = &site->r.receiving;
	struct sites_point *from, *point;
	struct hvri_event event;
	uint32_t full = 0;

	if (cut->point.number == 0 ||
	    !hvri_uuid_equal(&cut->point.cut, &m->cut) ||
	    site->queue_count >= SITES_QUEUE ||
	    sites_find(site, &cut->point) != NULL)
		return;
	memset(&event, 0, sizeof(event));
	event.type = HVRI_EVENT_POINT_COMPLETE;
	event.u.data.cut = m->cut;
	if (cut->kind == HVRI_CUT_INITIAL && site->point_count > 0) {
		/* Nor does it take a first content over a point. */
		event.type = HVRI_EVENT_RECEIVE_FAILED;
		event.u.data.code = HVREPL_E_STATE;
	} else if (cut->kind == HVRI_CUT_INITIAL) {
		for (uint32_t b = 0; b < SITES_BLOCKS; b++)
			if (m->dirty >> b & 1)
				site->base[b] = m->content[b];
		site->frontier = cut->frontier;
		if (cut->closed) {
			point = add_point(w, site, &cut->point);
			memcpy(point->content, site->base, sizeof(site->base));
			point->changed = SITES_ALL;
			full = 1;
		}
	} else {
		from = sites_find(site, &cut->from);
		/* As a store does it: it follows its newest point or nothing. */
		if (from == NULL || from != sites_newest(site)) {
			event.type = HVRI_EVENT_RECEIVE_FAILED;
			event.u.data.code = HVREPL_E_STATE;
			site->queue[site->queue_count++].event = event;
			return;
		}
		{
			struct sites_point old = *from;

			point = add_point(w, site, &cut->point);
			memcpy(point->content, old.content,
			       sizeof(old.content));
		}
		for (uint32_t b = 0; b < SITES_BLOCKS; b++)
			if (m->dirty >> b & 1)
				point->content[b] = m->content[b];
		point->changed = m->dirty;
		full = 1;
	}
	if (full) /* What an adopted disk had changed has been sent. */
		site->untracked = true;
	/* The promise: a point is identical to its reference point. */
	if (full && memcmp(point->content, m->content, sizeof(m->content)) != 0)
		sites_broken(w, "a recovery point differs from its reference point");
	/* Durable in the store from here on, whatever happens next. */
	site->queue[site->queue_count++].event = event;
}

void sites_deliver(struct sites *w, uint32_t k, bool keep)
{
	static struct hvri_message_storage storage;
	static uint8_t copy[HVRI_MESSAGE_ENCODED_MAX];
	struct sites_message m = w->wire[k];
	struct one_site *site = &w->site[m.to];
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
		sites_broken(w, "a message cannot be decoded");
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
	event.u.message.authorised = 0x3f;
	sites_feed(w, m.to, &event);
}

/* ---- Performing an update. ---- */

static void later(struct one_site *site, const struct hvri_event *event)
{
	if (site->queue_count < SITES_QUEUE)
		site->queue[site->queue_count++].event = *event;
}

static void do_cut(struct sites *w, struct one_site *site,
		   const struct hvri_action *a, struct hvri_event *done)
{
	uint32_t part = below(a->frontier);

	if (site->cut_open)
		sites_broken(w, "two cuts are open (T5)");
	site->cut_open = true;
	site->cut_id = sites_fresh(w);
	memcpy(site->cut_content, content(site), sizeof(site->cut_content));
	site->cut_dirty = site->dirty & part;
	site->dirty &= ~part;
	done->u.done.cut = site->cut_id;
	done->u.done.utc_ns = w->utc_ns;
	done->u.done.bytes = (uint64_t)__builtin_popcount(site->cut_dirty) *
			     SITES_BLOCK;
}

static void do_ship(struct sites *w, uint32_t i, const struct hvri_action *a)
{
	struct one_site *site = &w->site[i];
	struct sites_message *m;

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

static void do_export(struct sites *w, uint32_t i, struct hvri_event *done)
{
	struct one_site *site = &w->site[i];
	uint8_t bytes[16 * SITES_BLOCKS];
	struct hvri_message m;
	uint32_t n = 0;

	memset(&m, 0, sizeof(m));
	m.type = HVRI_MESSAGE_RANGES;
	hvri_relationship_address(&site->r, &m);
	for (uint32_t b = 0; b < SITES_BLOCKS; b++)
		if (site->dirty >> b & 1)
			hvri_ranges_put(bytes, n++,
					(struct hvrepl_extent){
						(uint64_t)b * SITES_BLOCK,
						SITES_BLOCK });
	m.u.ranges.count = n;
	m.u.ranges.extents = bytes;
	transmit(w, i, &m);
	done->u.done.count = n;
	done->u.done.bytes = (uint64_t)n * SITES_BLOCK;
	hvri_ranges_digest(done->u.done.digest, &m.u.ranges);
}

static void do_compare(struct sites *w, uint32_t i,
		       const struct hvri_action *a, struct hvri_event *done)
{
	struct one_site *site = &w->site[i], *peer = &w->site[!i];
	uint32_t part = below(a->frontier) & ~below(a->from_frontier);
	struct sites_point *point = sites_find(peer, &a->point);

	if (!w->session || !peer->up || point == NULL) {
		done->u.done.code = HVREPL_E_DISCONNECTED;
		return;
	}
	for (uint32_t b = 0; b < SITES_BLOCKS; b++)
		if ((part >> b & 1) && content(site)[b] != point->content[b])
			site->dirty |= 1u << b;
}

/* A planned failover loses nothing: what is opened is what was fenced. */
static void check_planned(struct sites *w, uint32_t i)
{
	struct one_site *site = &w->site[i], *peer = &w->site[!i];
	const struct hvri_epoch *epoch = hvri_lineage_look(
		&site->r.record.lineage, &site->r.record.current);

	if (w->only_planned && epoch && epoch->planned &&
	    hvri_uuid_equal(&epoch->id, &site->overlay_name) &&
	    memcmp(site->over, peer->overlay ? peer->over : peer->live,
		   sizeof(site->over)) != 0)
		sites_broken(w, "a planned failover lost writes");
}

static void do_overlay(struct sites *w, struct one_site *site,
		       const struct hvri_action *a, struct hvri_event *done)
{
	struct sites_point *point = sites_find(site, &a->point);

	if (site->overlay && hvri_uuid_equal(&site->overlay_name, &a->epoch))
		return;
	/* Folded in already, and we died before we knew. */
	if (site->folded && hvri_uuid_equal(&site->overlay_name, &a->epoch))
		return;
	if (point == NULL) {
		done->u.done.code = HVREPL_E_NOT_FOUND;
		if (!w->restored)
			sites_broken(w, "a failover to a point that is not there");
		return;
	}
	site->overlay = true;
	site->folded = site->untracked = false;
	site->overlay_name = a->epoch;
	memcpy(site->over, point->content, sizeof(site->over));
	check_planned(w, (uint32_t)(site - w->site));
	site->dirty = 0;
	for (struct sites_point *p = point + 1;
	     p < site->points + site->point_count; p++)
		site->dirty |= p->changed;
}

static void perform(struct sites *w, uint32_t i, const struct hvri_action *a)
{
	struct one_site *site = &w->site[i];
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
			sites_broken(w, "armed in an epoch that is not durable");
		if (site->r.record.form == HVRI_FORM_STORE)
			sites_broken(w, "armed on a replica's store");
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
					      SITES_BLOCK);
		break;
	case HVRI_ACTION_MARK_ALL:
		site->dirty = SITES_ALL;
		break;
	case HVRI_ACTION_EXPORT:
		do_export(w, i, &done);
		break;
	case HVRI_ACTION_ADOPT:
		if (site->gate)
			sites_broken(w, "a disk that is written to became a replica");
		site->folded = false;
		if (site->point_count == 0 ||
		    !same_point(&sites_newest(site)->id, &a->point)) {
			drop_points(site);
			memcpy(add_point(w, site, &a->point)->content,
			       site->live, sizeof(site->live));
		}
		if (a->pin) {
			memcpy(site->tail, site->live, sizeof(site->tail));
			site->tail_id = a->point.cut;
		}
		break;
	case HVRI_ACTION_OPEN_OVERLAY:
		do_overlay(w, site, a, &done);
		break;
	case HVRI_ACTION_DROP_OVERLAY:
		if (site->gate)
			sites_broken(w, "an overlay was dropped under the guest");
		if (site->overlay)
			site->untracked = true;
		site->overlay = false;
		break;
	case HVRI_ACTION_FOLD:
		if (site->overlay)
			memcpy(site->live, site->over, sizeof(site->live));
		site->overlay = false;
		site->folded = true;
		drop_points(site);
		break;
	case HVRI_ACTION_CREATE_REPLICA:
		drop_points(site);
		site->overlay = site->folded = false;
		site->untracked = true;
		memset(&site->frontier, 0, sizeof(site->frontier));
		break;
	case HVRI_ACTION_REMOVE:
		site->cut_open = false;
		site->stamped = site->untracked = false;
		site->has_backup = false;
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
	NULL,	     "CUT",	 "SHIP",	 "HOLD",	"RELEASE",	"SETTLE",
	"FENCE",     "ARM",	 "COMPARE",	 "MARK",	"MARK_ALL",
	"EXPORT",    "ADOPT",	 "UNPIN",	 "CREATE_REPLICA", "RECEIVE",
	"STOP_RECEIVE", "OPEN_OVERLAY", "DROP_OVERLAY", "FOLD",
	"CHECK_REVERSE", "VERIFY", "REMOVE",	 "FORGET",
};

void sites_feed(struct sites *w, uint32_t i, struct hvri_event *event)
{
	static struct hvri_update u;
	struct one_site *site = &w->site[i];
	bool operation = event->type == HVRI_EVENT_OPERATION;
	static struct hvri_record before;

	event->now_ns = w->env.now_ns;
	event->utc_ns = w->utc_ns;
	for (int k = 0; k < 3; k++)
		event->fresh[k] = sites_fresh(w);
	if (operation)
		before = site->r.record;
	memset(&u, 0xa5, sizeof(u)); /* A step sets all of it that counts. */
	hvri_relationship_step(&site->r, event, &u);
	if (u.overflow)
		sites_broken(w, "an update does not hold all that is to be done");
	if (operation && u.code != HVREPL_OK) {
		if (memcmp(&before, &site->r.record, sizeof(before)) != 0 ||
		    u.action_count || u.send_count || u.persist)
			sites_broken(w, "a refused operation changed something");
		if (u.sentence[0] == 0)
			sites_broken(w, "a refusal without a sentence");
		site->refusal = u.code;
		memcpy(site->last_sentence, u.sentence, sizeof(u.sentence));
		return;
	}
	if (u.persist) {
		site->durable = site->r.record;
		site->has_record = site->r.record.mode != HVREPL_MODE_NONE;
	}
	for (uint32_t k = 0; k < u.action_count; k++) {
		sites_trace(w, "  %c: %s", site->name,
			    action_names[u.actions[k].type]);
		perform(w, i, &u.actions[k]);
	}
	for (uint32_t k = 0; k < u.send_count; k++)
		transmit(w, i, &u.sends[k]);
	for (uint32_t k = 0; k < u.timer_count; k++)
		site->timers[u.timers[k].timer] = u.timers[k].at_ns;
	for (uint32_t k = 0; k < u.notice_count; k++)
		if (u.notices[k].type == HVREPL_EVENT_HEALTH)
			site->told_health = (uint32_t)u.notices[k].value;
		else
			sites_trace(w, "  %c! %s", site->name,
				    u.notices[k].sentence);
	sites_check_health(w, site);
	for (uint32_t k = 0; k < u.job_count; k++) {
		sites_trace(w, "  %c job %s: %s", site->name,
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
		site->told_health = HVREPL_HEALTH_NONE;
		memset(site->timers, 0, sizeof(site->timers));
		site->queue_count = 0;
		site->gate = gate;
		site->r.started = false;
		sites_start(w, i);
		/* Nothing guards the VM any more. */
		site->gate = false;
	}
	sites_check(w);
}

