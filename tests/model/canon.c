/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Equal states become equal bytes: ids, tokens, jobs and incarnations are named
 * in the order in which they are met, point numbers and generations keep their
 * order and nothing else, and what is only for display is cleared.
 *
 * What is not named here is compared byte by byte: a member that is added to
 * the library and forgotten here makes the search larger, never wrong.
 */
#include "world.h"

#include "base/env.h"

#include <stdlib.h>
#include <string.h>

#define IDS_MAX 512u
#define NUMBERS_MAX 128u
/* A block of reserved numbers never ends, except by a restart. */
#define RESERVED_AHEAD 4u

struct names {
	uint64_t from[IDS_MAX];
	uint32_t count;
};

struct numbers {
	uint64_t from[NUMBERS_MAX];
	uint32_t count;
	uint64_t gap; /* Larger ones count as this. */
};

static struct names ids, jobs, incarnations, tokens;
static struct numbers points, generations[2];
static bool collecting; /* First pass: numbers are gathered. */

/* ---- Names: by the order in which they are met. ---- */

static uint64_t rename_as(struct names *names, uint64_t from)
{
	uint32_t k = 0;

	while (k < names->count && names->from[k] != from)
		k++;
	if (k == names->count) {
		if (k == IDS_MAX)
			abort();
		names->from[names->count++] = from;
	}
	return k + 1;
}

static void name(struct names *names, uint64_t *value)
{
	if (!collecting && *value != 0)
		*value = rename_as(names, *value);
}

static void id(struct hvrepl_uuid *u)
{
	uint64_t n;

	if (collecting || hvri_uuid_is_none(u))
		return;
	memcpy(&n, u->bytes, sizeof(n));
	n = rename_as(&ids, n);
	memcpy(u->bytes, &n, sizeof(n));
}

static void job(uint64_t *value)
{
	if (*value != UINT64_MAX) /* HVRI_JOB_OF_PEER */
		name(&jobs, value);
}

/* ---- Numbers: by their order. ---- */

static void number(struct numbers *numbers, uint64_t *value)
{
	uint64_t to = 0, before = 0;

	if (*value == 0)
		return;
	if (collecting) {
		uint32_t k = numbers->count;

		for (uint32_t i = 0; i < k; i++)
			if (numbers->from[i] == *value)
				return;
		if (k == NUMBERS_MAX)
			abort();
		while (k > 0 && numbers->from[k - 1] > *value) {
			numbers->from[k] = numbers->from[k - 1];
			k--;
		}
		numbers->from[k] = *value;
		numbers->count++;
		return;
	}
	for (uint32_t i = 0; i < numbers->count; i++) {
		to += HVRI_MIN(numbers->from[i] - before, numbers->gap);
		before = numbers->from[i];
		if (before == *value)
			break;
	}
	*value = to;
}

static void point(struct hvri_point *p)
{
	id(&p->epoch);
	number(&points, &p->number);
	id(&p->cut);
}

/* ---- Structures. ---- */

static int by_ordinal(const void *a, const void *b)
{
	const struct hvri_epoch *x = a, *y = b;

	if (x->ordinal != y->ordinal)
		return x->ordinal < y->ordinal ? -1 : 1;
	return memcmp(x->owner.bytes, y->owner.bytes, sizeof(x->owner.bytes));
}

static void lineage(struct hvri_lineage *l)
{
	/* The order of a lineage says nothing. */
	if (collecting)
		qsort(l->epochs, l->count, sizeof(l->epochs[0]), by_ordinal);
	for (uint32_t i = 0; i < l->count; i++) {
		id(&l->epochs[i].id);
		id(&l->epochs[i].parent);
		id(&l->epochs[i].owner);
		number(&points, &l->epochs[i].fork_point);
	}
}

static void record(struct hvri_record *rec, uint32_t site)
{
	id(&rec->id);
	number(&generations[site], &rec->generation);
	number(&generations[site], &rec->said_generation);
	id(&rec->peer_id);
	number(&generations[!site], &rec->peer_generation);
	id(&rec->vm);
	id(&rec->site);
	id(&rec->peer);
	for (uint32_t i = 0; i < rec->disk_count; i++)
		id(&rec->disks[i].id);
	lineage(&rec->lineage);
	id(&rec->current);
	id(&rec->relinquished);
	number(&points, &rec->relinquished_point);
	id(&rec->verdict_mine);
	id(&rec->verdict_peer);
	id(&rec->discard_loser);
	id(&rec->discard_winner);
	id(&rec->joining);
	point(&rec->position);
	point(&rec->last_cut);
	point(&rec->last_acked);
	point(&rec->failover);
	id(&rec->overlay);
	point(&rec->tail);
	job(&rec->job.id);
	id(&rec->job.epoch);
	/* Of a handover asked for by the standby it is an ordinal. */
	if (rec->job.operation != HVREPL_OPERATION_PLANNED)
		number(&points, &rec->job.point);
}

static void cut_begin(struct hvri_cut_begin *cut)
{
	point(&cut->point);
	point(&cut->from);
	id(&cut->handover);
}

static void handover(struct hvri_handover *h)
{
	id(&h->epoch);
	id(&h->parent);
	number(&points, &h->point);
}

static void join(struct hvri_join *j)
{
	id(&j->epoch);
	point(&j->from);
}

static void claim(struct hvri_claim *c, uint32_t from)
{
	id(&c->site);
	id(&c->record_id);
	number(&generations[from], &c->generation);
	id(&c->seen_id);
	number(&generations[!from], &c->seen_generation);
	id(&c->current);
	id(&c->verdict_peer);
	id(&c->joining);
	point(&c->position);
	lineage(&c->lineage);
}

static void message(struct model_message *m, uint32_t from)
{
	if (m->data) {
		id(&m->cut);
		return;
	}
	name(&incarnations, &m->m.from_incarnation);
	name(&incarnations, &m->m.to_incarnation);
	if (m->has_claim)
		claim(&m->claim, from);
	id(&m->m.answer.epoch);
	job(&m->m.answer.job);
	switch (m->m.type) {
	case HVRI_MESSAGE_CUT_BEGIN:
		cut_begin(&m->m.u.cut);
		break;
	case HVRI_MESSAGE_CUT_ACCEPT:
	case HVRI_MESSAGE_CUT_DECLINE:
	case HVRI_MESSAGE_CUT_GONE:
	case HVRI_MESSAGE_PROGRESS:
		id(&m->m.u.progress.cut);
		break;
	case HVRI_MESSAGE_DURABLE:
		point(&m->m.u.durable.point);
		id(&m->m.u.durable.handover);
		break;
	case HVRI_MESSAGE_HANDOVER_REQUEST:
	case HVRI_MESSAGE_HANDOVER_CHECK:
	case HVRI_MESSAGE_HANDOVER_READY:
	case HVRI_MESSAGE_GRANT:
	case HVRI_MESSAGE_OWNED:
	case HVRI_MESSAGE_REFUSED:
	case HVRI_MESSAGE_CANCEL_REQUEST:
		handover(&m->m.u.handover);
		break;
	case HVRI_MESSAGE_JOIN:
	case HVRI_MESSAGE_JOIN_READY:
		join(&m->m.u.join);
		break;
	case HVRI_MESSAGE_DISCARD:
	case HVRI_MESSAGE_DISCARDED:
		id(&m->m.u.discard.loser);
		id(&m->m.u.discard.winner);
		job(&m->m.u.discard.job);
		break;
	case HVRI_MESSAGE_OPERATION:
		job(&m->m.u.operation.job);
		id(&m->m.u.operation.epoch);
		break;
	default:
		break;
	}
}

/* ---- What runs on its own: display, counters, tokens. ---- */

static uint64_t *pending(struct hvri_relationship *r, uint32_t k)
{
	return (uint64_t *)((char *)&r->pending + k * sizeof(uint64_t));
}

static void clear_display(struct hvri_relationship *r)
{
	memset(&r->statistics, 0, sizeof(r->statistics));
	r->retries = 0;
	r->rule = 0;
	r->shown_state = r->shown_ownership = r->shown_mode = 0;
	r->shown_health = 0;
	r->shown_reasons = 0;
	r->now_ns = r->utc_ns = 0;
	r->peer_ownership = r->peer_mode = r->peer_phase = 0;
	r->peer_armed = false;
	memset(&r->peer_current, 0, sizeof(r->peer_current));
	memset(&r->peer_joining, 0, sizeof(r->peer_joining));
	memset(&r->peer_position, 0, sizeof(r->peer_position));
	memset(&r->peer_frontier, 0, sizeof(r->peer_frontier));
	/* What a failover would lose: said for people, see loss.h. */
	memset(&r->said, 0, sizeof(r->said));
	memset(&r->change_facts, 0, sizeof(r->change_facts));
	memset(&r->record.loss, 0, sizeof(r->record.loss));
	r->changed_bytes = 0;
	r->status_at = 0;
	r->status_due = false;
	r->peer_status = (struct hvri_status){
		.pause = r->peer_status.pause,
	};
}

static bool has_to_retry(const struct hvri_relationship *r)
{
	const struct hvri_record *rec = &r->record;

	return r->holding || r->arm_failed || r->drop_again ||
	       rec->form == HVRI_FORM_OVERLAY ||
	       rec->form == HVRI_FORM_FOLDING ||
	       r->fence_for == HVRI_FENCE_JOIN ||
	       !hvri_uuid_is_none(&rec->joining);
}

/* What can no longer have an effect is forgotten: an end that nobody waits for
 * (tokens never return), positions of cuts that are over. */
static void forget_past(struct model_site *site)
{
	uint32_t to = 0;

	/* Timers that would do nothing. */
	if (!site->r.session)
		site->timers &= (uint8_t)~(1u << HVRI_TIMER_RESEND);
	if (!has_to_retry(&site->r))
		site->timers &= (uint8_t)~(1u << HVRI_TIMER_RETRY);
	/* Who has had contact waits for nothing (O3). */
	if (site->r.contact) {
		site->r.waited = true;
		site->timers &= (uint8_t)~(1u << HVRI_TIMER_START_WAIT);
	}
	if (site->r.cut.stage == HVRI_CUT_NONE)
		memset(&site->r.cut, 0, sizeof(site->r.cut));
	if (site->r.receiving.point.number == 0)
		memset(&site->r.receiving, 0, sizeof(site->r.receiving));
	if (site->r.pending.check == 0)
		memset(&site->r.checking, 0, sizeof(site->r.checking));
	if (site->r.pending.compare == 0)
		memset(&site->r.comparing, 0, sizeof(site->r.comparing));
	for (uint32_t i = 0; i < site->due_count; i++) {
		bool wanted = site->due[i].type != HVRI_EVENT_DONE;

		for (uint32_t k = 0;
		     k < sizeof(site->r.pending) / sizeof(uint64_t); k++)
			if (*pending(&site->r, k) == site->due[i].token)
				wanted = true;
		if (wanted)
			site->due[to++] = site->due[i];
	}
	memset(&site->due[to], 0, (site->due_count - to) * sizeof(site->due[0]));
	site->due_count = to;
}

static int by_token(const void *a, const void *b)
{
	const struct model_due *x = a, *y = b;

	if (x->type != y->type)
		return x->type < y->type ? -1 : 1;
	return x->token < y->token ? -1 : x->token > y->token;
}

static void name_tokens(struct model_site *site)
{
	tokens.count = 0;
	for (uint32_t k = 0; k < sizeof(site->r.pending) / sizeof(uint64_t);
	     k++)
		name(&tokens, pending(&site->r, k));
	for (uint32_t i = 0; i < site->due_count; i++)
		name(&tokens, &site->due[i].token);
	site->r.next_token = tokens.count;
	qsort(site->due, site->due_count, sizeof(site->due[0]), by_token);
}

static void relationship(struct model_site *site, uint32_t i)
{
	struct hvri_relationship *r = &site->r;

	record(&r->record, i);
	name(&incarnations, &r->incarnation);
	name(&incarnations, &r->peer_incarnation);
	number(&points, &r->next_point);
	job(&r->cut.job);
	cut_begin(&r->cut.begin);
	for (uint32_t k = 0; k < HVRI_BEGUN_MAX; k++)
		point(&r->begun_there[k]);
	id(&r->window_there);
	id(&r->window_here);
	id(&r->doubted_cut);
	cut_begin(&r->receiving);
	cut_begin(&r->failed);
	join(&r->peer_join);
	join(&r->ranges);
	job(&r->discard_refused);
	job(&r->forward_job);
	job(&r->cancel_job);
	job(&r->verify_job);
	job(&r->cut_job);
	handover(&r->checking);
	point(&r->change_to);
}

static void visit_site(struct model_site *site, uint32_t i)
{
	relationship(site, i);
	record(&site->durable, i);
	if (site->has_backup)
		record(&site->backup, i);
	number(&generations[i], &site->stamp);
	id(&site->overlay_name);
	id(&site->cut_id);
	for (uint32_t k = 0; k < site->point_count; k++)
		point(&site->points[k].id);
	for (uint32_t k = 0; k < site->due_count; k++)
		id(&site->due[k].cut);
}

static void visit(struct model_world *w)
{
	for (uint32_t i = 0; i < 2; i++)
		visit_site(&w->site[i], i);
	for (uint32_t i = 0; i < 2; i++)
		for (uint32_t k = 0; k < w->wire_count[i]; k++)
			message(&w->wire[i][k], !i);
	for (uint32_t i = 0; i < 2; i++)
		if (w->has_late[i])
			message(&w->late[i], !i);
	for (uint32_t k = 0; k < w->write_count; k++)
		id(&w->writes[k].epoch);
}

/* Relative to the next number to be drawn, see RESERVED_AHEAD. */
static uint64_t ahead(uint64_t reserved, uint64_t next)
{
	return reserved > next ? RESERVED_AHEAD : 0;
}

void model_canonical(struct model_world *w)
{
	uint64_t now[2], durable[2], backup[2];

	ids.count = jobs.count = incarnations.count = 0;
	points.count = generations[0].count = generations[1].count = 0;
	points.gap = 1;
	generations[0].gap = generations[1].gap =
		model_bounds->restores ? 4 : 1;
	for (uint32_t i = 0; i < 2; i++) {
		struct model_site *site = &w->site[i];
		struct hvri_relationship *r = &site->r;
		uint64_t next = HVRI_MAX(r->next_point, 1);

		/* Never below what was drawn: see hvri_number(). */
		next = HVRI_MAX(next, r->record.position.number + 1);
		next = HVRI_MAX(next, r->record.last_cut.number + 1);
		next = HVRI_MAX(next, r->record.last_acked.number + 1);
		r->next_point = next;
		now[i] = ahead(r->record.point_reserved, next);
		durable[i] = ahead(site->durable.point_reserved, next);
		backup[i] = ahead(site->backup.point_reserved, next);
		r->record.point_reserved = site->durable.point_reserved = 0;
		site->backup.point_reserved = 0;
		clear_display(r);
		memset(&site->durable.loss, 0, sizeof(site->durable.loss));
		site->timers &= (uint8_t)~(1u << HVRI_TIMER_STATUS);
		forget_past(site);
	}
	model_hello_numbers(w, 0);
	model_hello_numbers(w, 1);
	collecting = true;
	visit(w);
	collecting = false;
	visit(w);
	for (uint32_t i = 0; i < 2; i++) {
		struct model_site *site = &w->site[i];

		site->r.record.point_reserved = site->r.next_point + now[i];
		site->durable.point_reserved = site->r.next_point + durable[i];
		if (site->has_backup)
			site->backup.point_reserved =
				site->r.next_point + backup[i];
		name_tokens(site);
	}
	w->next_id = ids.count;
	w->next_job = jobs.count;
	w->next_incarnation = incarnations.count;
}

/* ---- Bytes. ---- */

struct span {
	size_t offset, length;
};

#define SPANS_MAX 128u

/* The parts of a world that say something, in order. A decoder knows them from
 * what it has read so far: counts come before what they count. */
struct spans {
	void (*each)(void *context, void *at, size_t length);
	void *context;
	bool reading;
};

static void span(struct spans *s, void *at, size_t length)
{
	s->each(s->context, at, length);
}

#define BETWEEN(object, first, after)                                  \
	span(s, (char *)(object) + offsetof(__typeof__(*(object)), first), \
	     offsetof(__typeof__(*(object)), after) -                   \
		     offsetof(__typeof__(*(object)), first))
#define FROM(object, first)                                            \
	span(s, (char *)(object) + offsetof(__typeof__(*(object)), first), \
	     sizeof(*(object)) - offsetof(__typeof__(*(object)), first))

static void record_spans(struct spans *s, struct hvri_record *rec)
{
	span(s, rec, offsetof(struct hvri_record, disks[1]));
	BETWEEN(rec, mode, lineage.epochs);
	span(s, rec->lineage.epochs,
	     rec->lineage.count * sizeof(rec->lineage.epochs[0]));
	FROM(rec, current);
}

_Static_assert(offsetof(struct hvri_relationship, setup_out) ==
		       offsetof(struct hvri_relationship, claim_out) +
			       sizeof(struct hvri_claim),
	       "only what an update points at is left out");
_Static_assert(offsetof(struct hvri_relationship, shown_health) + 8 >
		       sizeof(struct hvri_relationship),
	       "and what was shown last");

static void site_spans(struct spans *s, struct model_site *site)
{
	record_spans(s, &site->r.record);
	BETWEEN(&site->r, started, claim_out);
	BETWEEN(&site->r, status_sent, shown_reasons);
	record_spans(s, &site->durable);
	span(s, &site->has_backup, sizeof(site->has_backup));
	if (site->has_backup)
		record_spans(s, &site->backup);
	BETWEEN(site, live, points);
	span(s, site->points, site->point_count * sizeof(site->points[0]));
	BETWEEN(site, stamp, due);
	span(s, site->due, site->due_count * sizeof(site->due[0]));
	span(s, &site->timers, sizeof(site->timers));
}

static void message_spans(struct spans *s, struct model_message *m)
{
	BETWEEN(m, m, claim);
	span(s, &m->has_claim, sizeof(m->has_claim));
	if (m->has_claim) {
		BETWEEN(&m->claim, site, lineage.epochs);
		span(s, m->claim.lineage.epochs,
		     m->claim.lineage.count *
			     sizeof(m->claim.lineage.epochs[0]));
	}
	span(s, m->extents, sizeof(m->extents));
}

static void world_spans(struct spans *s, struct model_world *w)
{
	for (uint32_t i = 0; i < 2; i++)
		site_spans(s, &w->site[i]);
	FROM(w, session);
	for (uint32_t i = 0; i < 2; i++) {
		span(s, &w->wire_count[i], sizeof(w->wire_count[i]));
		for (uint32_t k = 0; k < w->wire_count[i]; k++)
			message_spans(s, &w->wire[i][k]);
		span(s, &w->has_late[i], sizeof(w->has_late[i]));
		if (w->has_late[i])
			message_spans(s, &w->late[i]);
	}
}

/* Runs of zeros and of other bytes, a length byte each; zeros first. */
struct packer {
	uint8_t *out;
	size_t length;
	uint8_t zeros;
	size_t run_at; /* Of the open run of others; 0: none. */
};

static void close_zeros(struct packer *p)
{
	p->out[p->length++] = p->zeros;
	p->zeros = 0;
	p->run_at = p->length++;
	p->out[p->run_at] = 0;
}

static void pack(void *context, void *at, size_t length)
{
	struct packer *p = context;
	const uint8_t *bytes = at;

	if (p->length + 3 * length + 16 > MODEL_ENCODED_MAX)
		abort();
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] == 0) {
			uint64_t eight;

			p->run_at = 0;
			while (i + 8 < length && p->zeros < 240) {
				memcpy(&eight, bytes + i, sizeof(eight));
				if (eight != 0)
					break;
				p->zeros += 8;
				i += 8;
			}
			if (bytes[i] == 0) {
				if (++p->zeros == 255) {
					close_zeros(p);
					p->run_at = 0;
				}
				continue;
			}
		}
		if (p->run_at == 0 || p->out[p->run_at] == 255)
			close_zeros(p);
		p->out[p->length++] = bytes[i];
		p->out[p->run_at]++;
	}
}

size_t model_encode(const struct model_world *w, uint8_t *out)
{
	struct packer p = { .out = out };
	struct spans s = { .each = pack, .context = &p };

	world_spans(&s, (struct model_world *)w);
	if (p.zeros > 0)
		close_zeros(&p);
	return p.length;
}

struct unpacker {
	const uint8_t *in;
	size_t length, at;
	uint32_t zeros, others;
};

static void unpack(void *context, void *at, size_t length)
{
	struct unpacker *u = context;
	uint8_t *bytes = at;

	while (length > 0) {
		size_t n;

		if (u->zeros == 0 && u->others == 0) {
			if (u->at + 2 > u->length)
				abort();
			u->zeros = u->in[u->at++];
			u->others = u->in[u->at++];
			continue;
		}
		n = HVRI_MIN(length, u->zeros ? u->zeros : u->others);
		if (u->zeros) {
			memset(bytes, 0, n);
			u->zeros -= (uint32_t)n;
		} else {
			memcpy(bytes, u->in + u->at, n);
			u->at += n;
			u->others -= (uint32_t)n;
		}
		bytes += n;
		length -= n;
	}
}

void model_decode(const uint8_t *bytes, size_t length, struct model_world *w)
{
	struct unpacker u = { .in = bytes, .length = length };
	struct spans s = { .each = unpack, .context = &u, .reading = true };

	world_spans(&s, w);
}

struct copier {
	ptrdiff_t to; /* From an address of the source. */
};

static void copy(void *context, void *at, size_t length)
{
	struct copier *c = context;

	memcpy((char *)at + c->to, at, length);
}

void model_copy(struct model_world *to, const struct model_world *from)
{
	struct copier c = { .to = (const char *)to - (const char *)from };
	struct spans s = { .each = copy, .context = &c };

	world_spans(&s, (struct model_world *)from);
}
