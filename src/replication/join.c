/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coming together again (O6, join): the other site follows into our epoch. A
 * disk that holds writes of its own becomes a point first, then both sides'
 * changes are shipped over it. And discard: which side is to lose.
 */
#include "replication/internal.h"

#include "base/plant.h"

#include <string.h>

static const struct hvrepl_uuid none;

/* ---- The owner: reverse. ---- */

void hvri_reverse(struct hvri_step *s)
{
	hvri_drop_cut(s, HVREPL_E_CANCELLED);
	s->rec->phase = HVRI_PHASE_JOIN;
	s->rec->pause = 0;
	s->r->joined = false;
	s->r->holding = false;
	hvri_save(s);
	hvri_join_ask(s);
}

static bool disks_open(const struct hvri_step *s)
{
	return !hvri_has_overlay(s->rec) || s->r->overlay_open;
}

void hvri_join_ask(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	struct hvri_message *m;

	r->joined = false;
	r->ranges_next = 0;
	memset(&r->ranges, 0, sizeof(r->ranges));
	/* What the peer answers is marked in the disks' trackers: once they are
	 * open, it is asked. */
	if (!disks_open(s))
		return;
	m = hvri_send(s, HVRI_MESSAGE_JOIN);
	m->u.join.epoch = s->rec->current;
}

void hvri_on_ranges(struct hvri_step *s, const struct hvri_message *m)
{
	struct hvri_relationship *r = s->r;
	const struct hvri_ranges *ranges = &m->u.ranges;

	if (s->rec->phase != HVRI_PHASE_JOIN || r->joined || !disks_open(s))
		return;
	if (ranges->sequence == 0) {
		r->ranges_next = 0;
		memset(&r->ranges, 0, sizeof(r->ranges));
	}
	if (ranges->sequence != r->ranges_next)
		return; /* Its sums will not fit: asked again. */
	if (ranges->disk >= s->rec->disk_count)
		return;
	for (uint32_t i = 0; i < ranges->count; i++) {
		struct hvrepl_extent extent = hvri_ranges_get(ranges, i);

		if (extent.length > s->rec->disks[ranges->disk].size ||
		    extent.offset > s->rec->disks[ranges->disk].size -
					    extent.length)
			return;
		r->ranges.bytes += extent.length;
	}
	r->ranges_next++;
	r->ranges.ranges += ranges->count;
	hvri_ranges_digest(r->ranges.digest, ranges);
	if (!HVRI_PLANT(join_set_dropped))
		hvri_act(s, HVRI_ACTION_MARK)->message = m;
}

/* Was a point acknowledged after the failover, in whichever epoch? One of before is
 * on the path of the point that was failed over to. */
static bool acknowledged_since_failover(const struct hvri_record *rec)
{
	if (HVRI_PLANT(forced_forgets_acknowledged))
		return hvri_uuid_equal(&rec->last_acked.epoch, &rec->current);
	return rec->last_acked.number != 0 &&
	       !hvri_lineage_on_path(&rec->lineage, &rec->failover.epoch,
				     &rec->last_acked.epoch);
}

/* Does our tracker hold all that differs from that point? */
static bool tracked_since(const struct hvri_step *s,
			  const struct hvri_point *from)
{
	const struct hvri_record *rec = s->rec;

	/* Two sites without a point have none in common: equal they are not. */
	if (rec->untrusted || from->number == 0)
		return false;
	/* What was acknowledged since the failover is marked no more, nor after
	 * this site was forced: a peer that is back at it came from a backup
	 * (T7). */
	if (hvri_point_equal(from, &rec->failover) &&
	    !acknowledged_since_failover(rec))
		return true;
	return hvri_point_equal(from, &rec->last_acked) ||
	       (hvri_uuid_equal(&from->epoch, &rec->current) &&
		from->number > rec->last_acked.number &&
		hvri_named_here(s->r, from));
}

void hvri_on_join_ready(struct hvri_step *s, const struct hvri_message *m)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	const struct hvri_join *join = &m->u.join;
	bool compare = join->untrusted || rec->untrusted;

	if (rec->phase != HVRI_PHASE_JOIN || r->joined || !disks_open(s) ||
	    rec->ownership != HVREPL_OWNERSHIP_OWNER ||
	    !hvri_uuid_equal(&join->epoch, &rec->current))
		return;
	if (join->exact && !tracked_since(s, &join->from))
		compare = true;
	if (!join->exact && !join->untrusted &&
	    (join->ranges != r->ranges.ranges ||
	     join->bytes != r->ranges.bytes ||
	     memcmp(join->digest, r->ranges.digest, 16) != 0)) {
		hvri_join_ask(s);
		return;
	}
	r->joined = true;
	r->peer_join = *join;
	r->peer_ready = true;
	r->next_point = HVRI_MAX(r->next_point, join->from.number + 1);
	/* A cut made for another base does not fit this one. */
	if (r->cut.stage != HVRI_CUT_NONE &&
	    !hvri_point_equal(&r->cut.begin.from, &join->from))
		hvri_drop_cut(s, HVREPL_E_CANCELLED);
	rec->last_acked = join->from;
	rec->peer_has_points = join->from.number != 0;
	hvri_save(s);
	if (!rec->peer_has_points) {
		/* A replica without a point is given the first content. */
		hvri_start_initial(s);
	} else if (compare) {
		rec->mode = HVREPL_MODE_PRIMARY;
		hvri_start_resync(s);
		/* What is in doubt there by now is in that compare. */
		r->doubt_met = true;
	} else if (join->exact) {
		rec->verdict = HVRI_VERDICT_NONE;
		hvri_enter_delta(s);
		hvri_touch(s);
		hvri_job_end(s, HVREPL_OK,
			     "replicating to the other site, from point %llu",
			     (unsigned long long)join->from.number);
	}
}

/* ---- The one that follows. ---- */

static const char *join_refusal(const struct hvri_step *s,
				const struct hvrepl_uuid *epoch)
{
	const struct hvri_record *rec = s->rec;
	const struct hvri_epoch *found =
		hvri_lineage_look(&rec->lineage, epoch);

	if (found == NULL || !hvri_uuid_equal(&found->owner, &rec->peer) ||
	    hvri_lineage_dead(&rec->lineage, epoch))
		return "that epoch is not known here, or was abandoned";
	if (!hvri_uuid_is_none(&rec->relinquished))
		return "a handover is still open";
	if (rec->ownership == HVREPL_OWNERSHIP_STANDBY)
		return NULL;
	if (rec->ownership != HVREPL_OWNERSHIP_SUPERSEDED || s->r->armed)
		return "the other site still claims the VM; where both wrote, "
		       "discard the epoch that is to lose first";
	return NULL;
}

/* At the other's point by name; whether it is what that point was is another matter
 * (T9). */
static bool is_in_doubt(const struct hvri_record *rec)
{
	return rec->untrusted && !HVRI_PLANT(exact_means_trusted);
}

static void send_ready(struct hvri_step *s, bool exact, bool untrusted,
		       const struct hvri_done *exported)
{
	struct hvri_record *rec = s->rec;
	struct hvri_join *join = &hvri_send(s, HVRI_MESSAGE_JOIN_READY)->u.join;

	join->epoch = exact ? rec->current : rec->joining;
	join->from = exact ? rec->position : *hvri_stands_at(rec);
	join->exact = exact;
	join->untrusted = untrusted;
	if (exported) {
		join->ranges = exported->count;
		join->bytes = exported->bytes;
		join->hot = exported->hot;
		memcpy(join->digest, exported->digest, sizeof(join->digest));
	}
}

void hvri_join_decline(struct hvri_step *s, const struct hvrepl_uuid *epoch)
{
	hvri_send_answer(s, HVRI_MESSAGE_JOIN, epoch, 0, HVREPL_E_PEER_REFUSED,
			 "the other site's storage failed a flush under the VM, "
			 "whose failover cannot be folded into the disk before "
			 "that site was restarted: restart it, then reverse "
			 "again");
}

bool hvri_may_be_joined(struct hvri_step *s, char lacks[HVRI_SENTENCE_MAX + 1])
{
	/* Where it is not known what differs, all of it is overwritten. */
	return hvri_may(s, HVREPL_VERB_REVERSE, lacks) &&
	       ((!s->rec->untrusted && !s->rec->rolled_back) ||
		hvri_may(s, HVREPL_VERB_OVERWRITE, lacks));
}

bool hvri_offer_adopts(const struct hvri_relationship *r,
		       const struct hvri_cut_begin *cut)
{
	const struct hvri_record *rec = &r->record;

	return hvri_uuid_equal(&rec->joining, &cut->point.epoch) &&
	       rec->form != HVRI_FORM_STORE && r->pending.fence == 0 &&
	       r->pending.adopt == 0 && r->pending.fold == 0 &&
	       r->pending.overlay == 0;
}

void hvri_on_join(struct hvri_step *s, const struct hvri_message *m)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	const struct hvrepl_uuid *epoch = &m->u.join.epoch;
	const char *why = join_refusal(s, epoch);
	char lacks[HVRI_SENTENCE_MAX + 1];

	if (!hvri_may_be_joined(s, lacks)) {
		hvri_send_answer(s, HVRI_MESSAGE_JOIN, epoch, 0,
				 HVREPL_E_DENIED, lacks);
		return;
	}
	if (why) {
		hvri_send_answer(s, HVRI_MESSAGE_JOIN, epoch, 0,
				 HVREPL_E_PEER_REFUSED, why);
		return;
	}
	/* This site's disk could become a replica's only by losing the kept
	 * end: an operator decides that, and hears of it. */
	if (hvri_tail_blocks_fold(rec)) {
		char sentence[HVRI_SENTENCE_MAX + 1], tail[HVRI_UUID_TEXT];

		hvri_uuid_format(&rec->tail.epoch, tail);
		hvri_sentence(sentence,
			      "the other site keeps the end of lost epoch %s as "
			      "point %llu and cannot follow before that is "
			      "discarded there; then reverse again",
			      tail, (unsigned long long)rec->tail.number);
		hvri_send_answer(s, HVRI_MESSAGE_JOIN, epoch, 0,
				 HVREPL_E_PEER_REFUSED, sentence);
		return;
	}
	if (hvri_view_blocks_fold(r)) {
		hvri_send_answer(s, HVRI_MESSAGE_JOIN, epoch, 0,
				 HVREPL_E_PEER_REFUSED,
				 "a recovery point is open at the other site, "
				 "whose own commit waits for it: close what "
				 "reads it there, then reverse again");
		return;
	}
	/* Nothing is folded before its storage was opened again. */
	if (hvri_has_overlay(rec) && r->storage_failed) {
		hvri_join_decline(s, epoch);
		return;
	}
	/* Already in, as a replica. */
	if (rec->ownership == HVREPL_OWNERSHIP_STANDBY &&
	    hvri_uuid_equal(&rec->current, epoch) &&
	    rec->form == HVRI_FORM_STORE && hvri_uuid_is_none(&rec->joining)) {
		send_ready(s, true, is_in_doubt(rec), NULL);
		return;
	}
	if (!hvri_uuid_equal(&rec->joining, epoch)) {
		rec->joining = *epoch;
		/* What is under way was for a join that ended: the disk may have
		 * been written since. */
		r->adopt_stale = r->pending.adopt != 0 &&
				 !HVRI_PLANT(stale_adoption_counts);
		hvri_save(s);
	}
	if (rec->pause & HVRI_PAUSE_FETCH) {
		/* Asked to follow: that ends a pause of before. */
		rec->pause = 0;
		s->say_hello = true;
		hvri_save(s);
	}
	r->pending.export_ranges = 0; /* From the first range again. */
	hvri_join_advance(s);
}

static void adopt(struct hvri_step *s, bool clean)
{
	struct hvri_record *rec = s->rec;
	struct hvri_action *act;

	if (!clean && rec->tail.number == 0) {
		rec->tail.epoch = rec->current;
		rec->tail.number = hvri_number(s);
		rec->tail.cut = hvri_fresh(s);
		rec->tail.utc_ns = s->e->utc_ns;
		hvri_save(s);
	}
	act = hvri_act_token(s, HVRI_ACTION_ADOPT, &s->r->pending.adopt);
	act->point = clean ? rec->position : rec->tail;
	act->pin = !clean;
	/* Handed over as that point, and no more known to be it (T9). What is kept as
	 * this site's own end is whatever the disk holds. */
	act->doubted = clean && rec->untrusted;
}

/* One step nearer to being a replica of the epoch that is joined. */
void hvri_join_advance(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	bool clean = hvri_is_handed_over(rec);
	bool exact = clean && hvri_uuid_equal(&rec->current, &rec->joining);

	if (hvri_uuid_is_none(&rec->joining) || r->pending.fold != 0 ||
	    r->pending.adopt != 0 || r->pending.export_ranges != 0 ||
	    r->pending.fence != 0 || r->pending.overlay != 0)
		return;
	if (hvri_has_overlay(rec)) {
		if (rec->form == HVRI_FORM_OVERLAY) {
			rec->form = HVRI_FORM_FOLDING;
			hvri_save(s);
		}
		if (r->overlay_open)
			hvri_fold(s);
		else
			hvri_open_overlay(s);
	} else if (rec->form == HVRI_FORM_LIVE) {
		if (r->fenced)
			adopt(s, clean);
		else
			hvri_fence(s, HVRI_FENCE_JOIN);
	} else if (exact) {
		rec->joining = none;
		rec->handover_clean = false;
		rec->phase = HVRI_PHASE_DELTA;
		hvri_keep_in_store(rec);
		hvri_touch(s);
		send_ready(s, true, is_in_doubt(rec), NULL);
	} else if (rec->untrusted || rec->rolled_back ||
		   rec->ownership == HVREPL_OWNERSHIP_STANDBY) {
		send_ready(s, false, true, NULL);
	} else {
		hvri_act_token(s, HVRI_ACTION_EXPORT, &r->pending.export_ranges);
	}
}

void hvri_adopted(struct hvri_step *s, const struct hvri_done *done)
{
	struct hvri_record *rec = s->rec;
	bool stale = s->r->adopt_stale;

	s->r->adopt_stale = false;
	if (done->code != HVREPL_OK) {
		hvri_timer(s, HVRI_TIMER_RETRY, 10 * HVRI_SECOND);
		hvri_notice(s, HVREPL_EVENT_STATE, HVREPL_SEVERITY_WARNING,
			    done->code, 0,
			    "this site cannot become a replica yet: %s",
			    done->sentence ? done->sentence :
					     hvrepl_strerror(done->code));
		return;
	}
	/* Forced meanwhile, or it joins nobody any more: the disk stays what it
	 * is, and the next adoption takes this one's place. */
	if (hvri_uuid_is_none(&rec->joining))
		return;
	if (stale) {
		hvri_join_advance(s);
		return;
	}
	rec->form = HVRI_FORM_STORE;
	rec->adopted = true;
	rec->tail_pinned = rec->tail.number != 0;
	s->r->doubted = rec->untrusted && hvri_is_handed_over(rec);
	hvri_save(s);
	hvri_join_advance(s);
}

void hvri_exported(struct hvri_step *s, const struct hvri_done *done)
{
	if (hvri_uuid_is_none(&s->rec->joining))
		return;
	/* A connection lost on the way: asked for again in the next. Anything
	 * else may pass. */
	if (done->code != HVREPL_OK) {
		if (!s->r->session)
			return;
		s->r->export_again = !HVRI_PLANT(export_given_up);
		hvri_timer(s, HVRI_TIMER_RETRY, HVRI_SECOND);
		return;
	}
	send_ready(s, false, false, done);
}

/* The first point of the joined epoch is durable here. */
void hvri_join_complete(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;

	hvri_job_overtaken(s, true);
	memset(&rec->loss, 0, sizeof(rec->loss));
	memset(&s->r->said, 0, sizeof(s->r->said));
	rec->current = rec->joining;
	rec->joining = none;
	rec->ownership = HVREPL_OWNERSHIP_STANDBY;
	rec->mode = HVREPL_MODE_REPLICA;
	rec->phase = HVRI_PHASE_DELTA;
	rec->verdict = HVRI_VERDICT_NONE;
	rec->verdict_mine = rec->verdict_peer = none;
	rec->discard_loser = rec->discard_winner = none;
	rec->rolled_back = false;
	rec->untrusted = false;
	s->r->lost_by_claim = false;
	rec->dirty = false;
	rec->handover_clean = false;
	hvri_keep_in_store(rec);
	memset(&rec->last_cut, 0, sizeof(rec->last_cut));
	memset(&rec->failover, 0, sizeof(rec->failover));
	s->r->refusing = false;
	hvri_touch(s);
	hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_INFO, HVREPL_OK,
		    rec->tail.number,
		    rec->tail.number ?
			    "this site stands by for the other one; its own "
			    "end is kept as point %llu until it is discarded" :
			    "this site stands by for the other one (%llu)",
		    (unsigned long long)rec->tail.number);
}

/* ---- Discard. ---- */

/*
 * The record says first that the end is let go, and forgets it when the store
 * has: a pin that nobody remembers would hold up every commit after it.
 */
void hvri_let_tail_go(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;

	if (rec->tail_pinned) {
		rec->tail_pinned = false;
		hvri_save(s);
	}
	if (s->r->pending.unpin == 0)
		hvri_act_token(s, HVRI_ACTION_UNPIN, &s->r->pending.unpin)
			->point = rec->tail;
}

void hvri_tail_gone(struct hvri_step *s, const struct hvri_done *done)
{
	struct hvri_record *rec = s->rec;

	if (!hvri_tail_going(rec))
		return;
	if (done->code != HVREPL_OK) {
		hvri_timer(s, HVRI_TIMER_RETRY, 10 * HVRI_SECOND);
		hvri_notice(s, HVREPL_EVENT_STATE, HVREPL_SEVERITY_WARNING,
			    done->code, rec->tail.number,
			    "the kept end, point %llu, could not be given up "
			    "yet: %s",
			    (unsigned long long)rec->tail.number,
			    done->sentence ? done->sentence :
					     hvrepl_strerror(done->code));
		return;
	}
	memset(&rec->tail, 0, sizeof(rec->tail));
	hvri_save(s);
}

bool hvri_tail_named(const struct hvri_record *rec,
		     const struct hvrepl_uuid *epoch)
{
	return rec->tail.number != 0 &&
	       (hvri_uuid_equal(epoch, &rec->tail.cut) ||
		hvri_uuid_equal(epoch, &rec->tail.epoch));
}

static void supersede_self(struct hvri_step *s,
			   const struct hvrepl_uuid *winner)
{
	struct hvri_record *rec = s->rec;

	hvri_handover_abort(s, HVREPL_E_FENCED, "this site's epoch was "
						"discarded");
	hvri_job_overtaken(s, true);
	hvri_drop_cut(s, HVREPL_E_CANCELLED);
	if (s->r->armed)
		hvri_fence(s, HVRI_FENCE_NOTHING);
	rec->discard_loser = rec->current;
	rec->discard_winner = *winner;
	rec->ownership = HVREPL_OWNERSHIP_SUPERSEDED;
	rec->verdict = HVRI_VERDICT_SUPERSEDED;
	rec->verdict_mine = rec->current;
	rec->verdict_peer = *winner;
	hvri_touch(s);
	hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_CRITICAL,
		    HVREPL_E_FENCED, 0,
		    "an operator discarded this site's epoch: writes are "
		    "refused here; its bytes stay readable");
}

void hvri_send_discard(struct hvri_step *s)
{
	struct hvri_discard *d = &hvri_send(s, HVRI_MESSAGE_DISCARD)->u.discard;

	d->loser = s->rec->discard_loser;
	d->winner = s->rec->discard_winner;
	d->job = s->rec->job.id;
}

int32_t hvri_discard(struct hvri_step *s, const struct hvri_operator *op)
{
	struct hvri_record *rec = s->rec;
	const struct hvri_epoch *mine =
		hvri_lineage_look(&rec->lineage, &rec->current);
	const struct hvri_epoch *peer =
		hvri_lineage_look(&rec->lineage, &rec->verdict_peer);

	/* Over a standing overlay it is of an older history than that. */
	if (hvri_tail_named(rec, &op->epoch) &&
	    (rec->ownership == HVREPL_OWNERSHIP_STANDBY ||
	     hvri_has_overlay(rec))) {
		/* What the other site ships is to follow just that point. */
		if (!hvri_has_overlay(rec) && !hvri_uuid_is_none(&rec->joining))
			return HVREPL_E_BUSY;
		hvri_let_tail_go(s);
		hvri_job_end_id(s, op->job, HVREPL_OK, "discarded");
		return HVREPL_OK;
	}
	/* The new side of a divergence is shown as diverged, too. */
	if (hvri_relationship_ownership(s->r) != HVREPL_OWNERSHIP_DIVERGED)
		return HVREPL_E_NOT_FOUND;
	if (mine == NULL || peer == NULL)
		return HVREPL_E_NOT_FOUND;
	/* This site is to lose, typed here: it concedes. */
	if (hvri_uuid_equal(&op->epoch, &rec->current)) {
		if (peer->outcome != HVREPL_OUTCOME_COMMITTED &&
		    !HVRI_PLANT(joinc))
			return HVREPL_E_STATE;
		supersede_self(s, &rec->verdict_peer);
		hvri_job_end_id(s, op->job, HVREPL_OK,
				"this site no longer writes");
		return HVREPL_OK;
	}
	if (!hvri_uuid_equal(&op->epoch, &rec->verdict_peer))
		return HVREPL_E_NOT_FOUND;
	if (mine->outcome != HVREPL_OUTCOME_COMMITTED && !HVRI_PLANT(joinc))
		return HVREPL_E_STATE;
	/* Durable at the winner first. */
	rec->discard_loser = op->epoch;
	rec->discard_winner = rec->current;
	hvri_job_begin(s, HVREPL_OPERATION_DISCARD, op->job, false);
	hvri_touch(s);
	hvri_send_discard(s);
	return HVREPL_OK;
}

/* Its operator is told that it was not done; so it is not when it comes again. */
static void refuse_discard(struct hvri_step *s, const struct hvri_discard *d,
			   int32_t code, const char *why)
{
	s->r->discard_refused = d->job;
	hvri_send_answer(s, HVRI_MESSAGE_DISCARD, &d->loser, d->job, code, why);
}

void hvri_on_discard(struct hvri_step *s, const struct hvri_message *m)
{
	struct hvri_record *rec = s->rec;
	const struct hvri_discard *d = &m->u.discard;
	const struct hvri_epoch *winner =
		hvri_lineage_look(&rec->lineage, &d->winner);
	const char *why = NULL;
	char lacks[HVRI_SENTENCE_MAX + 1];
	bool done = rec->ownership == HVREPL_OWNERSHIP_SUPERSEDED &&
		    hvri_uuid_equal(&rec->discard_loser, &d->loser) &&
		    hvri_uuid_equal(&rec->discard_winner, &d->winner);

	if (!hvri_may(s, HVREPL_VERB_OVERWRITE, lacks)) {
		refuse_discard(s, d, HVREPL_E_DENIED, lacks);
		return;
	}
	if (!hvri_uuid_equal(&rec->current, &d->loser) ||
		 !hvri_owns_current(rec))
		why = "the other site has left that epoch";
	else if (winner == NULL ||
		 (winner->outcome != HVREPL_OUTCOME_COMMITTED &&
		  !HVRI_PLANT(joinc)))
		why = "the winning epoch is not committed";
	else if (!done && !hvri_uuid_is_none(&rec->discard_loser) &&
		 hvri_uuid_equal(&rec->discard_winner, &rec->current) &&
		 !HVRI_PLANT(discref))
		why = "the other site was discarding this site's epoch at the "
		      "same time, so neither was done: agree which epoch is to "
		      "lose, then discard it at one site only";
	else if (rec->ownership == HVREPL_OWNERSHIP_RELINQUISHED ||
		 rec->ownership == HVREPL_OWNERSHIP_STANDBY)
		why = "the other site does not claim the VM";
	else if (!done && d->job != 0 && d->job == s->r->discard_refused &&
		 !HVRI_PLANT(refused_and_done))
		why = "it was refused before: discard again";
	if (why) {
		refuse_discard(s, d, HVREPL_E_PEER_REFUSED, why);
		return;
	}
	if (!done)
		supersede_self(s, &d->winner);
	hvri_send(s, HVRI_MESSAGE_DISCARDED)->u.discard = *d;
}

void hvri_on_discarded(struct hvri_step *s, const struct hvri_message *m)
{
	if (!hvri_job_is(s, HVREPL_OPERATION_DISCARD) ||
	    !hvri_uuid_equal(&s->rec->discard_loser, &m->u.discard.loser))
		return;
	hvri_job_end(s, HVREPL_OK, "discarded; the other site no longer "
				   "writes, reverse makes it follow");
}
