/* SPDX-License-Identifier: Apache-2.0 */
/* What a driver does for an update: disks, store and tracker of the model. */
#include "disk.h"

#include "replication/lineage.h"

#include <string.h>

struct model_point *model_newest(struct model_site *site)
{
	return site->point_count ? &site->points[site->point_count - 1] : NULL;
}

static uint8_t *content(struct model_site *site)
{
	return site->overlay ? &site->over : &site->live;
}

static bool same_point(const struct hvri_point *a, const struct hvri_point *b)
{
	return a->number == b->number && hvri_uuid_equal(&a->epoch, &b->epoch) &&
	       hvri_uuid_equal(&a->cut, &b->cut);
}

struct model_point *model_find(struct model_site *site,
			       const struct hvri_point *id)
{
	for (uint32_t i = 0; i < site->point_count; i++)
		if (same_point(&site->points[i].id, id))
			return &site->points[i];
	return NULL;
}

static struct model_point *add_point(struct model_site *site,
				     const struct hvri_point *id)
{
	struct model_point *point;

	if (site->point_count >= model_bounds->points) {
		/* The oldest goes, unless it is the pinned tail. */
		uint32_t k = hvri_uuid_equal(&site->points[0].id.cut,
					     &site->r.record.tail.cut);

		memmove(&site->points[k], &site->points[k + 1],
			(site->point_count - k - 1) * sizeof(site->points[0]));
		site->point_count--;
	}
	point = &site->points[site->point_count++];
	memset(point, 0, sizeof(*point));
	point->id = *id;
	return point;
}

static void drop_points(struct model_site *site)
{
	memset(site->points, 0, sizeof(site->points));
	site->point_count = 0;
}

/* Blocks below a frontier. */
static uint8_t below(struct hvri_frontier f)
{
	uint64_t n = f.disk > 0 ? MODEL_BLOCKS : f.offset / MODEL_BLOCK;

	return n >= MODEL_BLOCKS ? MODEL_ALL : (uint8_t)((1u << n) - 1);
}

static struct model_due *due(struct model_site *site)
{
	struct model_due *d;

	if (site->due_count >= MODEL_QUEUE) {
		model_break("the model's queue of ends is too short");
		site->due_count--;
	}
	d = &site->due[site->due_count++];
	memset(d, 0, sizeof(*d));
	return d;
}

/* A cut arrives whole. */
void model_data_arrives(struct model_world *w, uint32_t i,
			const struct model_message *m)
{
	struct model_site *site = &w->site[i];
	struct hvri_cut_begin *cut = &site->r.receiving;
	struct model_point *from, *point = NULL;
	struct model_due *end;
	uint8_t was;

	if (cut->point.number == 0 ||
	    !hvri_uuid_equal(&cut->point.cut, &m->cut) ||
	    model_find(site, &cut->point) != NULL)
		return;
	end = due(site);
	end->type = HVRI_EVENT_POINT_COMPLETE;
	end->cut = m->cut;
	if (cut->kind == HVRI_CUT_INITIAL) {
		site->base = (uint8_t)((site->base & ~m->dirty) |
				       (m->content & m->dirty));
		if (cut->closed) {
			point = add_point(site, &cut->point);
			point->content = site->base;
			point->changed = MODEL_ALL;
		}
	} else {
		from = model_find(site, &cut->from);
		if (from == NULL || from != model_newest(site)) {
			end->type = HVRI_EVENT_RECEIVE_FAILED;
			end->code = HVREPL_E_STATE;
			return;
		}
		was = from->content;
		point = add_point(site, &cut->point);
		point->content = (uint8_t)((was & ~m->dirty) |
					   (m->content & m->dirty));
		point->changed = m->dirty;
	}
	if (point != NULL && point->content != m->content)
		model_break("a recovery point differs from its reference point");
}

static void do_cut(struct model_world *w, struct model_site *site,
		   const struct hvri_action *a, struct model_due *end)
{
	uint8_t part = below(a->frontier);

	if (site->cut_open)
		model_break("two cuts are open (T5)");
	site->cut_open = true;
	site->cut_id = model_id(++w->next_id);
	site->cut_content = *content(site);
	site->cut_dirty = site->dirty & part;
	site->dirty &= (uint8_t)~part;
	end->cut = site->cut_id;
	end->bytes = (uint64_t)__builtin_popcount(site->cut_dirty) *
		     MODEL_BLOCK;
}

static void do_export(struct model_world *w, uint32_t i, struct model_due *end)
{
	struct model_site *site = &w->site[i];
	uint8_t bytes[16 * MODEL_BLOCKS];
	struct hvri_message m;
	uint32_t n = 0;

	memset(&m, 0, sizeof(m));
	m.type = HVRI_MESSAGE_RANGES;
	hvri_relationship_address(&site->r, &m);
	for (uint32_t b = 0; b < MODEL_BLOCKS; b++)
		if (site->dirty >> b & 1)
			hvri_ranges_put(bytes, n++,
					(struct hvrepl_extent){
						(uint64_t)b * MODEL_BLOCK,
						MODEL_BLOCK });
	m.u.ranges.count = n;
	m.u.ranges.extents = bytes;
	model_send(w, i, &m);
	end->count = n;
	end->bytes = (uint64_t)n * MODEL_BLOCK;
	hvri_ranges_digest(end->digest, &m.u.ranges);
}

static void do_compare(struct model_world *w, uint32_t i,
		       const struct hvri_action *a, struct model_due *end)
{
	struct model_site *site = &w->site[i];
	uint8_t part = below(a->frontier) & (uint8_t)~below(a->from_frontier);
	struct model_point *point = model_find(&w->site[!i], &a->point);

	if (!w->session || point == NULL)
		end->code = HVREPL_E_DISCONNECTED;
	else
		site->dirty |= part & (*content(site) ^ point->content);
}

/* What was acknowledged to guests in an epoch, by its writers. */
static uint8_t written_in(const struct model_world *w,
			  const struct hvrepl_uuid *epoch)
{
	uint8_t set = 0;

	for (uint32_t k = 0; k < w->write_count; k++)
		if (hvri_uuid_equal(&w->writes[k].epoch, epoch))
			set |= (uint8_t)(1u << k);
	return set;
}

static void do_overlay(struct model_world *w, uint32_t i,
		       const struct hvri_action *a, struct model_due *end)
{
	struct model_site *site = &w->site[i];
	struct model_point *point = model_find(site, &a->point);
	const struct hvri_epoch *epoch;

	/* Open for it already; or folded in, and we died before we knew. */
	if (hvri_uuid_equal(&site->overlay_name, &a->epoch))
		return;
	if (point == NULL) {
		end->code = HVREPL_E_NOT_FOUND;
		if (!w->restored)
			model_break("a failover to a point that is not there");
		return;
	}
	site->overlay = true;
	site->overlay_name = a->epoch;
	site->over = point->content;
	site->dirty = 0;
	for (struct model_point *p = point + 1;
	     p < site->points + site->point_count; p++)
		site->dirty |= p->changed;
	epoch = hvri_lineage_look(&site->r.record.lineage, &a->epoch);
	if (epoch && epoch->planned && !w->restored &&
	    (written_in(w, &epoch->parent) & ~site->over))
		model_break("a planned failover lost writes");
}

static void adopt(struct model_site *site, const struct hvri_action *a)
{
	if (site->gate)
		model_break("a disk that is written to became a replica");
	memset(&site->overlay_name, 0, sizeof(site->overlay_name));
	if (site->point_count == 0 ||
	    !same_point(&model_newest(site)->id, &a->point)) {
		drop_points(site);
		add_point(site, &a->point)->content = site->live;
	}
	if (a->pin)
		site->tail = site->live;
}

void model_perform(struct model_world *w, uint32_t i,
		   const struct hvri_action *a)
{
	struct model_site *site = &w->site[i];
	struct model_due end;

	memset(&end, 0, sizeof(end));
	end.type = HVRI_EVENT_DONE;
	end.action = (uint8_t)a->type;
	end.token = a->token;
	switch (a->type) {
	case HVRI_ACTION_CUT:
		do_cut(w, site, a, &end);
		break;
	case HVRI_ACTION_SHIP:
		if (site->cut_open && hvri_uuid_equal(&site->cut_id, &a->cut))
			model_send_data(w, i);
		break;
	case HVRI_ACTION_SETTLE:
		if (!site->cut_open || !hvri_uuid_equal(&site->cut_id, &a->cut))
			break;
		site->cut_open = false;
		if (a->code != HVREPL_OK)
			site->dirty |= site->cut_dirty;
		site->cut_content = site->cut_dirty = 0;
		memset(&site->cut_id, 0, sizeof(site->cut_id));
		break;
	case HVRI_ACTION_FENCE:
		site->gate = false;
		break;
	case HVRI_ACTION_ARM:
		site->stamp = a->generation;
		if (!hvri_uuid_equal(&a->epoch, &site->durable.current))
			model_break("armed in an epoch that is not durable");
		if (site->r.record.form == HVRI_FORM_STORE)
			model_break("armed on a replica's store");
		site->gate = true;
		break;
	case HVRI_ACTION_COMPARE:
		do_compare(w, i, a, &end);
		break;
	case HVRI_ACTION_MARK:
		for (uint32_t k = 0; k < a->message->u.ranges.count; k++)
			site->dirty |= (uint8_t)(1u << (hvri_ranges_get(
					&a->message->u.ranges, k).offset /
					MODEL_BLOCK));
		break;
	case HVRI_ACTION_MARK_ALL:
		site->dirty = MODEL_ALL;
		break;
	case HVRI_ACTION_EXPORT:
		do_export(w, i, &end);
		break;
	case HVRI_ACTION_ADOPT:
		adopt(site, a);
		break;
	case HVRI_ACTION_OPEN_OVERLAY:
		do_overlay(w, i, a, &end);
		break;
	case HVRI_ACTION_DROP_OVERLAY:
		if (site->gate)
			model_break("an overlay was dropped under the guest");
		site->overlay = false;
		site->over = 0;
		memset(&site->overlay_name, 0, sizeof(site->overlay_name));
		break;
	case HVRI_ACTION_FOLD:
		if (site->overlay)
			site->live = site->over;
		site->overlay = false;
		site->over = 0;
		drop_points(site);
		break;
	case HVRI_ACTION_CREATE_REPLICA:
		memset(&site->overlay_name, 0, sizeof(site->overlay_name));
		drop_points(site);
		break;
	default: /* RECEIVE, STOP_RECEIVE, RELEASE, UNPIN, CHECK, VERIFY. */
		break;
	}
	if (a->token != 0)
		*due(site) = end;
}

/* ---- What must never be so. ---- */

static bool dead_at(const struct hvri_record *rec, const struct hvrepl_uuid *id)
{
	const struct hvri_epoch *e = hvri_lineage_look(&rec->lineage, id);

	return e && hvri_outcome_dead(e->outcome);
}

static void check_armed(const struct model_world *w, uint32_t i)
{
	const struct model_site *x = &w->site[i], *y = &w->site[!i];
	const struct hvri_record *d = &x->durable;

	if (!x->gate)
		return;
	if (d->ownership != HVREPL_OWNERSHIP_OWNER &&
	    d->ownership != HVREPL_OWNERSHIP_DIVERGED)
		model_break("a site that is superseded or a standby is armed");
	if (!hvri_uuid_is_none(&d->relinquished))
		model_break("armed after relinquishing");
	if (dead_at(d, &d->current))
		model_break("armed in an epoch known abandoned");
	if (!hvri_uuid_equal(&x->r.record.current, &d->current))
		model_break("armed in an epoch that is not durable");
	if (!w->restored && dead_at(&y->durable, &d->current) &&
	    y->durable.ownership != HVREPL_OWNERSHIP_RELINQUISHED)
		model_break("armed in an epoch the peer holds abandoned");
}

/* What the owner has on record as acknowledged, its standby holds. */
static void check_acknowledged(const struct model_world *w, uint32_t i)
{
	const struct hvri_record *own = &w->site[i].durable;
	const struct model_site *y = &w->site[!i];

	if (own->ownership != HVREPL_OWNERSHIP_OWNER || w->restored ||
	    own->phase != HVRI_PHASE_DELTA || own->last_acked.number == 0 ||
	    y->durable.ownership != HVREPL_OWNERSHIP_STANDBY ||
	    y->durable.form != HVRI_FORM_STORE ||
	    !hvri_uuid_equal(&own->current, &y->durable.current))
		return;
	if (y->point_count == 0 ||
	    y->points[y->point_count - 1].id.number < own->last_acked.number)
		model_break("an acknowledged point is missing");
}

static void check_tail(const struct model_world *w, uint32_t i)
{
	const struct model_site *x = &w->site[i];
	const struct hvri_record *rec = &x->r.record;

	if (!rec->tail_pinned || rec->ownership != HVREPL_OWNERSHIP_STANDBY ||
	    w->restored)
		return;
	for (uint32_t k = 0; k < x->point_count; k++)
		if (same_point(&x->points[k].id, &rec->tail) &&
		    x->points[k].content == x->tail)
			return;
	model_break("a lost end was overwritten without a discard");
}

static void check_outcomes(const struct model_world *w)
{
	const struct hvri_lineage *a = &w->site[0].durable.lineage;

	for (uint32_t k = 0; k < a->count && !w->restored; k++) {
		const struct hvri_epoch *e = &a->epochs[k];
		const struct hvri_epoch *f = hvri_lineage_look(
			&w->site[1].durable.lineage, &e->id);

		if (f && ((e->outcome == HVREPL_OUTCOME_COMMITTED &&
			   hvri_outcome_dead(f->outcome)) ||
			  (f->outcome == HVREPL_OUTCOME_COMMITTED &&
			   hvri_outcome_dead(e->outcome))))
			model_break("an epoch is committed here, abandoned there");
	}
}

/* "The peer is superseded by me" is said of a site that refuses writes. */
static void check_verdict(const struct model_world *w, uint32_t i)
{
	const struct model_site *x = &w->site[i], *y = &w->site[!i];
	const struct hvri_record *rec = &x->durable;

	if (rec->ownership == HVREPL_OWNERSHIP_OWNER &&
	    rec->verdict == HVRI_VERDICT_SUPERSEDED && y->gate && !w->restored &&
	    hvri_uuid_equal(&rec->verdict_mine, &rec->current) &&
	    hvri_uuid_equal(&rec->verdict_peer, &y->durable.current))
		model_break("a verdict of superseded stands while both are "
			    "armed");
}

/* In contact, nothing under way, everybody has been heard. */
static void check_met(const struct model_world *w)
{
	const struct model_site *a = &w->site[0], *b = &w->site[1];
	const struct hvri_record *ra = &a->r.record, *rb = &b->r.record;
	int diverged;

	if (!w->session || !a->r.greeted || !b->r.greeted || !model_quiet(w))
		return;
	diverged = (hvri_relationship_ownership(&a->r) ==
		    HVREPL_OWNERSHIP_DIVERGED) +
		   (hvri_relationship_ownership(&b->r) ==
		    HVREPL_OWNERSHIP_DIVERGED);
	if (a->gate && b->gate && diverged < 2)
		model_break("both write, and after contact they do not know it");
	if (ra->ownership == HVREPL_OWNERSHIP_SUPERSEDED &&
	    rb->ownership == HVREPL_OWNERSHIP_SUPERSEDED && !w->conceded &&
	    !ra->rolled_back && !rb->rolled_back)
		model_break("both are superseded: nobody may start");
	if (ra->verdict != HVRI_VERDICT_NONE && rb->verdict != HVRI_VERDICT_NONE &&
	    ra->verdict != rb->verdict && !w->restored &&
	    hvri_uuid_equal(&ra->verdict_mine, &rb->verdict_peer) &&
	    hvri_uuid_equal(&ra->verdict_peer, &rb->verdict_mine) &&
	    hvri_uuid_equal(&ra->verdict_mine, &ra->current) &&
	    hvri_uuid_equal(&rb->verdict_mine, &rb->current))
		model_break("the two sites hold different verdicts of one pair");
	/* A handover neither side will ever finish. */
	for (uint32_t i = 0; i < 2; i++) {
		const struct hvri_record *x = i ? rb : ra, *y = i ? ra : rb;

		if (!hvri_uuid_is_none(&x->relinquished) &&
		    y->ownership == HVREPL_OWNERSHIP_OWNER && !w->restored &&
		    hvri_uuid_equal(&y->current, &x->relinquished))
			model_break("the handover was taken, and yet the old "
				    "owner does not stand by");
		if (x->ownership == HVREPL_OWNERSHIP_SUPERSEDED &&
		    y->ownership == HVREPL_OWNERSHIP_STANDBY &&
		    hvri_uuid_equal(&x->current, &y->current) &&
		    !x->rolled_back && !w->conceded &&
		    dead_at(x, &x->verdict_peer))
			model_break("the failover against it was cancelled, and "
				    "yet the old owner stays superseded");
	}
}

void model_check(const struct model_world *w)
{
	const struct model_site *a = &w->site[0], *b = &w->site[1];

	if (a->gate && b->gate &&
	    hvri_uuid_equal(&a->durable.current, &b->durable.current))
		model_break("two sites armed in one epoch");
	if (a->gate && b->gate && !w->unplanned && !w->restored)
		model_break("planned failovers only, and yet both are armed");
	for (uint32_t i = 0; i < 2; i++) {
		check_armed(w, i);
		check_acknowledged(w, i);
		check_tail(w, i);
		check_verdict(w, i);
	}
	check_outcomes(w);
	check_met(w);
}
