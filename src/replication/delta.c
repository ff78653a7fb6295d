/* SPDX-License-Identifier: Apache-2.0 */
/* The owner's side of replication: a cut each cycle, offered, shipped, settled. */
#include "replication/internal.h"

#include "base/plant.h"

#include <string.h>

/* Point numbers are reserved durably in blocks (T6). */
#define NUMBER_BLOCK 256u

/* Storage faults at the other side: minutes until the next attempt (L4). */
static const uint8_t retry_minutes[] = { 1, 2, 4, 8, 10, 30 };

uint64_t hvri_number(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	uint64_t n = HVRI_MAX(r->next_point, hvri_newest_number(rec) + 1);

	n = HVRI_MAX(n, rec->last_acked.number + 1);
	if (n >= rec->point_reserved) {
		rec->point_reserved = n + NUMBER_BLOCK;
		hvri_save(s);
	}
	r->next_point = n + 1;
	return n;
}

void hvri_distrust(struct hvri_step *s)
{
	s->rec->untrusted = true;
	s->r->lost_by_claim = false;
}

void hvri_enter_delta(struct hvri_step *s)
{
	s->r->lost_by_claim = false;
	s->r->doubt_met = false;
	s->rec->phase = HVRI_PHASE_DELTA;
	s->rec->mode = HVREPL_MODE_PRIMARY;
	s->rec->untrusted = false;
	memset(&s->rec->loss, 0, sizeof(s->rec->loss));
	hvri_save(s);
	hvri_timer(s, HVRI_TIMER_CYCLE, s->rec->policy.cycle_ns);
}

static void need_resync(struct hvri_step *s, const char *why)
{
	struct hvri_record *rec = s->rec;

	if (rec->phase == HVRI_PHASE_RESYNC && rec->untrusted)
		return;
	hvri_drop_cut(s, HVREPL_E_UNTRUSTED);
	hvri_distrust(s);
	rec->phase = HVRI_PHASE_RESYNC_WANTED;
	hvri_save(s);
	hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_WARNING,
		    HVREPL_E_UNTRUSTED, 0, "resynchronization needed: %s", why);
}

static void ready(struct hvri_step *s, const struct hvri_point *position)
{
	struct hvri_record *rec = s->rec;

	s->r->peer_ready = true;
	if (!hvri_point_equal(&rec->last_acked, position)) {
		rec->last_acked = *position;
		hvri_save(s);
	}
	if (rec->phase == HVRI_PHASE_RESYNC_WANTED && !rec->untrusted)
		hvri_enter_delta(s);
	else if (rec->phase == HVRI_PHASE_DELTA)
		hvri_timer(s, HVRI_TIMER_CYCLE, rec->policy.cycle_ns);
	if (rec->phase == HVRI_PHASE_RESYNC_WANTED && rec->untrusted &&
	    !rec->policy.manual_resync && rec->pause == 0)
		hvri_start_resync(s);
	/* What was asked for has become something that an operator starts, who
	 * cannot while its job is under way. */
	if (rec->phase == HVRI_PHASE_RESYNC_WANTED && hvri_job_protects(s))
		hvri_job_end(s, HVREPL_E_UNTRUSTED,
			     "the other site holds points that have to be "
			     "compared with this site's disks first: resume, or "
			     "resync");
}

static void meet_empty(struct hvri_step *s, const struct hvri_claim *claim)
{
	struct hvri_record *rec = s->rec;
	bool known = hvri_windows_known(s->r, claim);

	switch (rec->phase) {
	case HVRI_PHASE_READY:
		s->r->peer_ready = true;
		return;
	case HVRI_PHASE_INITIAL:
		if (!known) {
			s->r->base_marked = false;
			s->r->window_there = claim->position.cut;
		}
		/* A cut of before all was marked does not close it. */
		if (!known || hvri_frontier_order(claim->frontier,
						  rec->frontier) != 0) {
			rec->frontier = claim->frontier;
			hvri_drop_cut(s, HVREPL_E_CANCELLED);
			hvri_save(s);
		}
		s->r->peer_ready = true;
		return;
	case HVRI_PHASE_DELTA:
	case HVRI_PHASE_RESYNC:
	case HVRI_PHASE_RESYNC_WANTED:
		hvri_drop_cut(s, HVREPL_E_UNTRUSTED);
		hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_WARNING,
			    HVREPL_E_NOT_FOUND, 0,
			    "the other site has lost all recovery points; "
			    "initial replication starts over");
		s->r->peer_ready = true;
		hvri_start_initial(s);
		s->rec->peer_has_points = false;
		return;
	default:
		return;
	}
}

static bool own_point(const struct hvri_relationship *r,
		      const struct hvri_point *point)
{
	const struct hvri_record *rec = &r->record;
	const struct hvri_epoch *epoch =
		hvri_lineage_look(&rec->lineage, &point->epoch);

	return epoch && hvri_uuid_equal(&epoch->owner, &rec->site) &&
	       hvri_point_ours(rec, point) &&
	       hvri_named_here(r, point);
}

/* Initial replication is over, seen in its acknowledgement or, after a crash,
 * in where the peer stands. */
static void first_point(struct hvri_step *s, uint64_t number);
static void together(struct hvri_step *s, const struct hvri_point *point,
		     uint64_t bytes);

/*
 * The peer has a cut of ours that we gave up while it arrived: the two sites
 * stand there. What changed since the acknowledgement before is marked again,
 * and with it what changed since that cut. One that was made for the point
 * before does not follow it.
 */
static void caught_up(struct hvri_step *s, const struct hvri_point *point)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;

	if (r->cut.stage != HVRI_CUT_NONE) {
		hvri_drop_cut(s, HVREPL_E_CANCELLED);
		r->cycle_due = true;
	}
	/* A compare was with the point before. */
	if (rec->phase == HVRI_PHASE_RESYNC) {
		memset(&rec->frontier, 0, sizeof(rec->frontier));
		r->pending.compare = 0;
	}
	rec->last_acked = *point;
	hvri_none_begun_there(r);
	hvri_save(s);
	if (rec->phase == HVRI_PHASE_JOIN)
		together(s, point, 0);
}

/* Of the epoch that we own, and beyond what we know to be there? */
static bool is_later(const struct hvri_relationship *r,
		     const struct hvri_point *point)
{
	const struct hvri_record *rec = &r->record;

	return own_point(r, point) &&
	       hvri_uuid_equal(&point->epoch, &rec->current) &&
	       point->number > rec->last_acked.number;
}

/* Are the peer's disks not what its points say (T9, S1)? Whatever it holds is then
 * compared, from the start, once until it says that all is well. */
void hvri_meet_doubt(struct hvri_step *s, const struct hvri_claim *claim)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;

	if (!claim->untrusted) {
		r->doubt_met = false;
		return;
	}
	if (rec->phase != HVRI_PHASE_DELTA && rec->untrusted &&
	    r->doubt_met)
		return;
	r->doubt_met = true;
	if (rec->phase == HVRI_PHASE_RESYNC) {
		hvri_drop_cut(s, HVREPL_E_UNTRUSTED);
		memset(&rec->frontier, 0, sizeof(rec->frontier));
		r->pending.compare = 0;
		hvri_distrust(s);
		hvri_save(s);
		return;
	}
	need_resync(s, "what the other site holds is in doubt: its disks were "
		       "changed outside or are damaged");
}

/* That point is the cut under way. */
static bool is_at_our_cut(const struct hvri_relationship *r,
			  const struct hvri_point *at)
{
	return r->cut.stage > HVRI_CUT_NAMING &&
	       hvri_point_equal(at, &r->cut.begin.point);
}

/* The peer stands by in our epoch: is it where we believe it to be? */
static void meet_standby(struct hvri_step *s, const struct hvri_claim *claim)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	const struct hvri_point *at = &claim->position;

	if (claim->phase == HVRI_PHASE_INITIAL && at->number == 0) {
		meet_empty(s, claim);
		return;
	}
	/* Of a cut that was given up while it arrived, or of before a backup. */
	if (at->number != 0 && !rec->peer_has_points) {
		rec->peer_has_points = true;
		hvri_save(s);
	}
	/* An old primary that has not been reversed is no replica yet. */
	if (claim->phase == HVRI_PHASE_WAITING)
		return;
	/* Nor is the VM given to disks that somebody else changed. That may give
	 * the cut up. */
	if (claim->untrusted && is_at_our_cut(r, at))
		hvri_handover_abort(s, HVREPL_E_UNTRUSTED,
				    "the other site's disks were changed "
				    "outside or are damaged");
	if (is_at_our_cut(r, at)) {
		ready(s, &rec->last_acked);
		hvri_cut_durable(s, at);
		if (!claim->untrusted)
			return;
	}
	/* JOIN_READY says what it is; or the join was over, unseen. */
	if (rec->phase == HVRI_PHASE_JOIN && r->joined && is_later(r, at))
		caught_up(s, at);
	if (rec->phase == HVRI_PHASE_JOIN ||
	    rec->phase == HVRI_PHASE_FAILED_OVER)
		return;
	if (rec->phase == HVRI_PHASE_INITIAL ||
	    rec->phase == HVRI_PHASE_READY) {
		/* It got its first point and we crashed before we knew. */
		if (hvri_uuid_equal(&at->epoch, &rec->current) &&
		    hvri_named_here(r, at) &&
		    rec->phase == HVRI_PHASE_INITIAL) {
			hvri_drop_cut(s, HVREPL_E_CANCELLED);
			first_point(s, at->number);
			hvri_meet_doubt(s, claim);
			ready(s, at);
			return;
		}
		hvri_drop_cut(s, HVREPL_E_CANCELLED);
		rec->last_acked = *at;
		need_resync(s, "the other site holds points of an earlier "
			       "replication");
		ready(s, at);
		return;
	}
	hvri_meet_doubt(s, claim);
	if (hvri_point_equal(at, &rec->last_acked)) {
		ready(s, at);
		return;
	}
	/*
	 * A cut of ours, later than the last acknowledgement we know of: lost
	 * by a crash, or the cut was given up while it arrived. What changed
	 * since the acknowledgement is marked, and so what changed since.
	 */
	if (own_point(r, at) && at->number > rec->last_acked.number) {
		caught_up(s, at);
		ready(s, at);
		return;
	}
	if (!rec->untrusted)
		need_resync(s, at->number > rec->last_cut.number &&
					       hvri_point_ours(rec, at) ?
				       "the other site holds a later point of "
				       "this VM than this site knows of: this "
				       "site was brought back from a backup" :
				       "the other site is not at the point it "
				       "had confirmed");
	/* The compare is against what it has now. */
	if (!hvri_point_equal(at, &rec->last_acked) &&
	    rec->phase == HVRI_PHASE_RESYNC) {
		memset(&rec->frontier, 0, sizeof(rec->frontier));
		r->pending.compare = 0;
	}
	ready(s, at);
}

void hvri_meet_standby(struct hvri_step *s, const struct hvri_claim *claim)
{
	hvri_behind_error(s, claim, meet_standby);
}

void hvri_meet_empty(struct hvri_step *s, const struct hvri_claim *claim)
{
	hvri_behind_error(s, claim, meet_empty);
}

static void begin_cut(struct hvri_step *s, uint8_t kind)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	struct hvri_cut_begin *cut = &r->cut.begin;
	struct hvri_action *act;

	memset(&r->cut, 0, sizeof(r->cut));
	r->cut.stage = HVRI_CUT_NAMING;
	r->cut.job = r->cut_job;
	cut->kind = kind;
	cut->closed = true;
	cut->point.epoch = rec->current;
	cut->point.number = hvri_number(s);
	cut->from = rec->last_acked;
	cut->frontier.disk = rec->disk_count;
	if (kind == HVRI_CUT_INITIAL) {
		memset(&cut->from, 0, sizeof(cut->from));
		cut->frontier = hvri_frontier_add(rec, rec->frontier,
						  rec->policy.window_bytes);
		cut->closed = hvri_frontier_closed(rec, cut->frontier);
	}
	if (kind == HVRI_CUT_FINAL)
		cut->handover = rec->job.epoch;
	if (rec->phase == HVRI_PHASE_JOIN)
		memcpy(cut->set_digest, r->peer_join.digest,
		       sizeof(cut->set_digest));
	act = hvri_act_token(s, HVRI_ACTION_CUT, &r->pending.cut);
	act->point = cut->point;
	act->from = cut->from.number;
	act->from_frontier = rec->frontier;
	act->frontier = cut->frontier;
}

void hvri_maybe_cut(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;

	if (!r->greeted || r->holding || r->cut.stage != HVRI_CUT_NONE ||
	    r->pending.cut != 0 ||
	    rec->ownership != HVREPL_OWNERSHIP_OWNER)
		return;
	/* The last cut is a delta: on a base that is in doubt it would leave
	 * out what was acknowledged, and the VM would go on without it (O4). */
	if (r->handover_stage == HVRI_HANDOVER_FINAL && r->peer_ready &&
	    (rec->phase != HVRI_PHASE_DELTA || rec->untrusted))
		hvri_handover_abort(s, HVREPL_E_UNTRUSTED,
				    "the replica must be resynchronized "
				    "first");
	if (r->handover_stage == HVRI_HANDOVER_FINAL && r->peer_ready) {
		begin_cut(s, HVRI_CUT_FINAL);
		return;
	}
	if (r->handover_stage != HVRI_HANDOVER_NONE)
		return;
	if ((rec->pause | r->peer_status.pause) & HVRI_PAUSE_FETCH)
		return;
	if (rec->phase == HVRI_PHASE_JOIN) {
		if (r->joined)
			begin_cut(s, HVRI_CUT_DELTA);
		return;
	}
	if (!r->peer_ready)
		return;
	if (rec->phase == HVRI_PHASE_INITIAL) {
		if (r->base_marked)
			begin_cut(s, HVRI_CUT_INITIAL);
		else if (r->pending.mark_all == 0)
			hvri_act_token(s, HVRI_ACTION_MARK_ALL,
				       &r->pending.mark_all);
	} else if (rec->phase == HVRI_PHASE_RESYNC) {
		if (!hvri_frontier_closed(rec, rec->frontier))
			hvri_next_compare(s);
		else
			begin_cut(s, HVRI_CUT_DELTA);
	} else if (rec->phase == HVRI_PHASE_DELTA && r->cycle_due) {
		r->cycle_due = false;
		begin_cut(s, HVRI_CUT_DELTA);
	}
}

void hvri_cycle(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;

	if (s->rec->phase != HVRI_PHASE_DELTA ||
	    s->rec->ownership != HVREPL_OWNERSHIP_OWNER)
		return;
	hvri_timer(s, HVRI_TIMER_CYCLE, s->rec->policy.cycle_ns);
	if (s->rec->pause & HVRI_PAUSE_FETCH)
		return;
	/* T5: a cut that falls due while one is open is a miss. */
	if (r->cut.stage != HVRI_CUT_NONE || !r->peer_ready)
		r->statistics.missed++;
	else
		r->cycle_due = true;
}

void hvri_set_cycle(struct hvri_step *s, uint64_t cycle_ns)
{
	struct hvri_record *rec = s->rec;

	if (rec->mode == HVREPL_MODE_NONE || rec->policy.cycle_ns == cycle_ns)
		return;
	rec->policy.cycle_ns = cycle_ns;
	hvri_save(s);
	/* A longer wait must not hold a shorter one up. */
	if (rec->phase == HVRI_PHASE_DELTA)
		hvri_timer(s, HVRI_TIMER_CYCLE, cycle_ns);
}

void hvri_cut_named(struct hvri_step *s, const struct hvri_done *done)
{
	struct hvri_relationship *r = s->r;
	struct hvri_cut_begin *cut = &r->cut.begin;

	if (r->cut.stage != HVRI_CUT_NAMING) {
		struct hvri_action *act = hvri_act(s, HVRI_ACTION_SETTLE);

		act->cut = done->cut;
		act->code = HVREPL_E_CANCELLED;
		return;
	}
	if (done->code != HVREPL_OK) {
		r->cut.stage = HVRI_CUT_NONE;
		if (done->code == HVREPL_E_BUSY)
			r->statistics.missed++;
		r->holding = true;
		hvri_timer(s, HVRI_TIMER_RETRY, HVRI_SECOND);
		return;
	}
	r->statistics.cuts++;
	cut->point.cut = done->cut;
	cut->point.utc_ns = done->utc_ns;
	cut->bytes = done->bytes;
	if (cut->kind == HVRI_CUT_INITIAL &&
	    hvri_frontier_order(done->frontier, cut->frontier) > 0) {
		cut->frontier = done->frontier;
		cut->closed = hvri_frontier_closed(s->rec, cut->frontier);
	}
	/* Before anybody hears of it: see hvri_named_here. A cut that may become a
	 * point lets the peer fail over, whether we hear of the point or not. */
	if (cut->closed)
		s->rec->peer_has_points = true;
	s->rec->last_cut = cut->point;
	hvri_save(s);
	r->cut.stage = HVRI_CUT_OFFERED;
	if (cut->kind == HVRI_CUT_FINAL)
		hvri_handover_final(s, cut->point.number);
	hvri_offer_cut(s);
}

void hvri_offer_cut(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;

	if (r->cut.stage == HVRI_CUT_OFFERED && r->greeted &&
	    (r->peer_ready || s->rec->phase == HVRI_PHASE_JOIN))
		hvri_send(s, HVRI_MESSAGE_CUT_BEGIN)->u.cut = r->cut.begin;
}

/* A peer that was suspended lets go of what it was receiving: the cut is offered
 * again, and taken or declined. */
void hvri_peer_paused(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;

	if ((r->peer_status.pause & HVRI_PAUSE_FETCH) != 0 &&
	    !HVRI_PLANT(pause_loses_cut) &&
	    r->cut.stage == HVRI_CUT_SHIPPING) {
		r->cut.stage = HVRI_CUT_OFFERED;
		hvri_act(s, HVRI_ACTION_HOLD)->cut = r->cut.begin.point.cut;
	}
}

static void settle(struct hvri_step *s, int32_t code)
{
	struct hvri_action *act = hvri_act(s, HVRI_ACTION_SETTLE);

	act->cut = s->r->cut.begin.point.cut;
	act->code = code;
	s->r->cut.stage = HVRI_CUT_NONE;
}

void hvri_drop_cut(struct hvri_step *s, int32_t code)
{
	struct hvri_relationship *r = s->r;

	if (r->cut.stage == HVRI_CUT_NONE)
		return;
	if (r->cut.stage == HVRI_CUT_NAMING) {
		/* Settled when it has a name; none is made before. */
		r->cut.stage = HVRI_CUT_NONE;
		return;
	}
	hvri_send(s, HVRI_MESSAGE_CUT_GONE)->u.progress.cut =
		r->cut.begin.point.cut;
	settle(s, code);
}

static void first_point(struct hvri_step *s, uint64_t number)
{
	s->rec->peer_has_points = true;
	memset(&s->r->window_there, 0, sizeof(s->r->window_there));
	hvri_enter_delta(s);
	if (hvri_job_protects(s))
		hvri_job_end(s, HVREPL_OK, "replicating, first point %llu",
			     (unsigned long long)number);
}

static void initial_durable(struct hvri_step *s,
			    const struct hvri_cut_begin *cut)
{
	struct hvri_record *rec = s->rec;

	rec->frontier = cut->frontier;
	if (cut->closed) {
		first_point(s, cut->point.number);
		return;
	}
	s->r->window_there = cut->point.cut;
	hvri_notice(s, HVREPL_EVENT_PROGRESS, HVREPL_SEVERITY_INFO, HVREPL_OK,
		    0, "initial replication: disk %u", cut->frontier.disk);
}

/* A resynchronization or a join is over. */
static void together(struct hvri_step *s, const struct hvri_point *point,
		     uint64_t bytes)
{
	s->rec->peer_has_points = true;
	s->r->peer_ready = true;
	s->rec->verdict = HVRI_VERDICT_NONE;
	hvri_enter_delta(s);
	hvri_touch(s);
	if (hvri_job_protects(s))
		hvri_job_end(s, HVREPL_OK,
			     "replicating, recovery point %llu, %llu bytes "
			     "differed",
			     (unsigned long long)point->number,
			     (unsigned long long)bytes);
}

/* The peer has the open cut durably. */
void hvri_cut_durable(struct hvri_step *s, const struct hvri_point *point)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	struct hvri_cut_begin cut = r->cut.begin;
	uint64_t job = r->cut.job;

	if (r->cut.stage <= HVRI_CUT_NAMING ||
	    !hvri_point_equal(point, &cut.point)) {
		/* Nobody says so again: the next cut must follow it. */
		if (rec->ownership == HVREPL_OWNERSHIP_OWNER &&
		    (rec->phase == HVRI_PHASE_DELTA ||
		     rec->phase == HVRI_PHASE_RESYNC ||
		     (rec->phase == HVRI_PHASE_JOIN && r->joined)) &&
		    is_later(r, point))
			caught_up(s, point);
		return;
	}
	/* On record before the tracker may forget (T7 b). */
	if (cut.kind != HVRI_CUT_INITIAL || cut.closed)
		rec->last_acked = cut.point;
	hvri_none_begun_there(r);
	hvri_save(s);
	settle(s, HVREPL_OK);
	r->retries = 0;
	r->statistics.bytes += cut.bytes;
	if (cut.kind == HVRI_CUT_INITIAL) {
		initial_durable(s, &cut);
		if (!cut.closed)
			return;
	}
	r->statistics.points++;
	r->statistics.last_point_utc_ns = cut.point.utc_ns;
	hvri_notice(s, HVREPL_EVENT_POINT, HVREPL_SEVERITY_INFO, HVREPL_OK,
		    cut.point.number, "recovery point %llu",
		    (unsigned long long)cut.point.number);
	if (cut.kind == HVRI_CUT_FINAL) {
		hvri_handover_durable(s, point);
		return;
	}
	/* A cut from before the request lacks what was written until then. */
	if (r->cut_job == job)
		hvri_cut_job_end(s, HVREPL_OK, "recovery point %llu",
				 (unsigned long long)cut.point.number);
	if (rec->phase == HVRI_PHASE_RESYNC || rec->phase == HVRI_PHASE_JOIN)
		together(s, &cut.point, cut.bytes);
}

/* Worth an operator, or worth trying again? */
static bool lasting(int32_t code)
{
	return code == HVREPL_E_DENIED || code == HVREPL_E_WRONG_DISK ||
	       code == HVREPL_E_READ_ONLY || code == HVREPL_E_UNSUPPORTED;
}

void hvri_cut_declined(struct hvri_step *s, const struct hvri_message *m)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	int32_t code = m->answer.code;

	if (r->cut.stage <= HVRI_CUT_NAMING ||
	    !hvri_uuid_equal(&m->u.progress.cut, &r->cut.begin.point.cut))
		return;
	settle(s, HVREPL_E_PEER_REFUSED);
	/* What it holds may have gone bad behind a compare: its HELLO follows. */
	if (code == HVREPL_E_CORRUPT && !HVRI_PLANT(rot_behind_a_compare))
		r->doubt_met = false;
	if (r->handover_stage != HVRI_HANDOVER_NONE) {
		hvri_handover_abort(s, code, m->answer.sentence);
		return;
	}
	if (code == HVREPL_E_CANCELLED) { /* Until its HELLO says otherwise. */
		r->peer_status.pause |= HVRI_PAUSE_FETCH;
		return;
	}
	if (lasting(code) && rec->phase != HVRI_PHASE_ERROR &&
	    rec->phase != HVRI_PHASE_JOIN) {
		rec->phase_before = rec->phase;
		rec->phase = HVRI_PHASE_ERROR;
		rec->error_code = code;
		hvri_save(s);
	}
	r->holding = true;
	/* The two do not agree where they are: its HELLO came before this. Only
	 * faults of storage are given minutes (L4). */
	if (code == HVREPL_E_STATE) {
		hvri_timer(s, HVRI_TIMER_RETRY, 2 * HVRI_SECOND);
		return;
	}
	hvri_timer(s, HVRI_TIMER_RETRY,
		   60 * HVRI_SECOND *
			   retry_minutes[HVRI_MIN(
				   r->retries,
				   HVRI_ARRAY_LEN(retry_minutes) - 1)]);
	r->retries++;
	hvri_notice(s, HVREPL_EVENT_STATE, HVREPL_SEVERITY_WARNING, code, 0,
		    "the other site did not take the cut: %s",
		    m->answer.sentence);
}

void hvri_on_cut_message(struct hvri_step *s, const struct hvri_message *m)
{
	struct hvri_relationship *r = s->r;
	struct hvri_action *act;

	if (r->cut.stage <= HVRI_CUT_NAMING ||
	    !hvri_uuid_equal(&m->u.progress.cut, &r->cut.begin.point.cut))
		return;
	if (m->type == HVRI_MESSAGE_CUT_ACCEPT) {
		if (r->cut.stage == HVRI_CUT_SHIPPING)
			return;
		r->cut.stage = HVRI_CUT_SHIPPING;
		hvri_begun_there(r, &r->cut.begin.point);
		act = hvri_act(s, HVRI_ACTION_SHIP);
	} else {
		act = hvri_act(s, HVRI_ACTION_RELEASE);
	}
	act->cut = m->u.progress.cut;
	act->chunk = m->u.progress.chunk;
}
