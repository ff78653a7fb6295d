/* SPDX-License-Identifier: Apache-2.0 */
/* Two sites meet: HELLO is exchanged, histories merged, the verdict applied. */
#include "replication/internal.h"

#include "base/plant.h"
#include "replication/names.h"
#include "replication/verdict.h"

#include <string.h>

void hvri_session_up(struct hvri_step *s)
{
	hvri_session_down(s);
	s->r->session = true;
	s->say_hello = true;
}

void hvri_session_down(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;

	r->session = false;
	r->greeted = false;
	r->hello_answered = false;
	r->peer_ready = false;
	r->joined = false;
	r->resend_at = 0;
	r->taking_in = false;
	r->export_again = false;
	/* Nor is the answer to its offer given in the next one: the cut is offered
	 * again there, and what is sent for both would be lost between them. */
	r->pending.receive = 0;
	if (r->cut.stage == HVRI_CUT_SHIPPING)
		r->cut.stage = HVRI_CUT_OFFERED;
	hvri_job_end_id(s, r->forward_job, HVREPL_E_DISCONNECTED,
			"the connection was lost before the other site "
			"answered; asking again does no harm");
	r->forward_job = 0;
	/* Who asked from over there is told so by its own side. */
	if (r->cut_asked)
		r->cut_job = 0;
	hvri_cut_job_end(s, HVREPL_E_DISCONNECTED,
			 "the connection was lost before the other site had "
			 "the point; what was written stays tracked");
}

/* Has the peer seen a later state of this record than the one we hold? What a
 * record changes on its own after it was restored (it gives up a job at start,
 * an operator asks) counts its generation up to where the peer saw the other
 * future of it; but none of that was told yet. */
static bool seen_newer(const struct hvri_record *rec,
		       const struct hvri_claim *claim)
{
	return rec->ownership != HVREPL_OWNERSHIP_STANDBY &&
	       hvri_uuid_equal(&claim->seen_id, &rec->id) &&
	       claim->seen_generation > rec->said_generation;
}

/* What the merged lineage says about our own handovers. */
static void settle_handovers(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;
	static const struct hvrepl_uuid none;

	if (hvri_epoch_dead(rec, &rec->relinquished)) {
		rec->relinquished = none;
		if (rec->ownership == HVREPL_OWNERSHIP_RELINQUISHED)
			rec->ownership = HVREPL_OWNERSHIP_OWNER;
		hvri_touch(s);
		hvri_job_end_id(s, s->r->cancel_job, HVREPL_OK, "cancelled");
		s->r->cancel_job = 0;
		if (hvri_job_is(s, HVREPL_OPERATION_PLANNED))
			hvri_job_end(s, HVREPL_E_PEER_REFUSED,
				     "the other site gave the VM back");
	}
	if (hvri_job_is(s, HVREPL_OPERATION_PLANNED) &&
	    hvri_epoch_dead(rec, &rec->job.epoch)) {
		hvri_handover_abort(s, HVREPL_E_PEER_REFUSED,
				    "the other site does not take the VM");
		hvri_job_end(s, HVREPL_E_PEER_REFUSED,
			     "the handover was given up at the other site");
	}
}

static void remember(struct hvri_step *s, const struct hvri_claim *claim)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;

	r->peer_ownership = claim->ownership;
	r->peer_mode = claim->mode;
	r->peer_phase = claim->phase;
	r->peer_armed = claim->armed;
	r->peer_current = claim->current;
	s->peer_left = hvri_uuid_equal(&r->peer_joining, &rec->current) &&
		       !hvri_uuid_equal(&claim->joining, &rec->current);
	r->peer_joining = claim->joining;
	r->peer_position = claim->position;
	r->peer_frontier = claim->frontier;
	r->peer_status.pause = claim->pause;
	hvri_peer_paused(s);
	/* A claimant that tells an older state of its record than one it told
	 * before was restored, and learns that from what we have seen. The HELLO
	 * that says it may be lost with the session: it is not forgotten. */
	if (!hvri_uuid_equal(&rec->peer_id, &claim->record_id) ||
	    rec->peer_generation < claim->generation ||
	    (rec->peer_generation != claim->generation &&
	     claim->ownership == HVREPL_OWNERSHIP_STANDBY)) {
		rec->peer_id = claim->record_id;
		rec->peer_generation = claim->generation;
		hvri_save(s);
	}
	hvri_on_enabled(s);
}

static void prune(struct hvri_step *s, const struct hvri_claim *claim)
{
	struct hvri_record *rec = s->rec;
	const struct hvri_epoch *mine =
		hvri_lineage_look(&rec->lineage, &rec->current);
	const struct hvri_epoch *theirs =
		hvri_lineage_look(&claim->lineage, &rec->current);
	struct hvrepl_uuid keep_ids[] = {
		rec->relinquished,   rec->verdict_mine,	 rec->verdict_peer,
		rec->discard_loser,  rec->discard_winner, rec->joining,
		rec->position.epoch, rec->tail.epoch,	 rec->job.epoch,
		rec->failover.epoch, s->r->checking.epoch, rec->current,
		claim->current,
	};
	uint64_t standby_at = 0;
	bool forgot;

	if (rec->ownership == HVREPL_OWNERSHIP_STANDBY)
		standby_at = rec->position.number;
	else if (claim->ownership == HVREPL_OWNERSHIP_STANDBY)
		standby_at = claim->position.number;
	forgot = hvri_lineage_forget(&rec->lineage, &claim->lineage, &rec->site,
				     standby_at, keep_ids,
				     HVRI_ARRAY_LEN(keep_ids));
	if (hvri_lineage_squeeze(&rec->lineage, &claim->lineage, standby_at,
				 keep_ids, HVRI_ARRAY_LEN(keep_ids)) ||
	    forgot)
		hvri_save(s);
	/* Both sides are in it and know it committed (O1). */
	if (mine == NULL || theirs == NULL ||
	    !hvri_uuid_equal(&claim->current, &rec->current) ||
	    mine->outcome != HVREPL_OUTCOME_COMMITTED ||
	    theirs->outcome != HVREPL_OUTCOME_COMMITTED)
		return;
	hvri_lineage_prune(&rec->lineage, &rec->current, keep_ids,
			   HVRI_ARRAY_LEN(keep_ids));
}

static bool related(const struct hvri_lineage *a, const struct hvri_lineage *b)
{
	for (uint32_t i = 0; i < a->count; i++)
		if (hvri_lineage_look(b, &a->epochs[i].id))
			return true;
	return false;
}

/*
 * Would nothing be left of this site's path that it could go on from, or would it, that
 * has failed over and whose guest writes, have to throw that away? No honest peer says
 * so: it has who follows do that in what is committed, where nobody gives it up any
 * more. Whoever handed the VM over and was forced goes back to an epoch of its own.
 */
static bool takes_the_ground(const struct hvri_record *rec,
			     const struct hvri_claim *claim, bool rolled)
{
	static const struct hvrepl_uuid none;
	struct hvrepl_uuid left;
	const struct hvri_epoch *before;

	if (!hvri_lineage_overturns(&rec->lineage, &claim->lineage,
				    rolled ? &none : &rec->site, &rec->current,
				    &left) ||
	    HVRI_PLANT(ground_taken))
		return false;
	before = hvri_lineage_look(&rec->lineage, &left);
	if (before == NULL)
		return true;
	return !rolled && hvri_is_claimant(rec) && hvri_owns_current(rec) &&
	       !hvri_uuid_equal(&before->owner, &rec->site);
}

static void meet(struct hvri_step *s, const struct hvri_claim *claim)
{
	struct hvri_record *rec = s->rec;
	bool rolled = hvri_lineage_knows_more(&claim->lineage, &rec->lineage,
					      &rec->site) ||
		      seen_newer(rec, claim);
	static const struct hvrepl_uuid none;
	bool changed = false;
	int32_t rc;

	/* The same VM, set up twice: neither learns from the other. */
	if (!related(&rec->lineage, &claim->lineage)) {
		if (!s->r->refusing)
			hvri_notice(s, HVREPL_EVENT_AUDIT,
				    HVREPL_SEVERITY_CRITICAL, HVREPL_E_EXISTS,
				    0,
				    "the other site has the VM from another "
				    "setting up: remove it at one of them");
		s->r->refusing = true;
		s->r->peer_ready = false;
		return;
	}
	/* One that was rolled back learns its own epochs from the peer. */
	rc = takes_the_ground(rec, claim, rolled) ?
		     HVREPL_E_PROTOCOL :
		     hvri_lineage_merge(&rec->lineage, &claim->lineage,
					rolled ? &none : &rec->site, &changed);
	if (rc != HVREPL_OK) {
		s->r->greeted = false;
		hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_CRITICAL, rc,
			    0,
			    "the other site's history of the VM contradicts "
			    "this site's, or is too long; nothing is exchanged");
		return;
	}
	if (changed)
		hvri_touch(s);
	remember(s, claim);
	if (rolled && !rec->rolled_back && !HVRI_PLANT(detect)) {
		rec->generation = HVRI_MAX(rec->generation,
					   claim->seen_generation);
		hvri_rolled_back(s, &claim->current);
		return;
	}
	settle_handovers(s);
	hvri_revert(s);
	hvri_lift(s, claim);
	hvri_apply_claim(s, claim);
	prune(s, claim);
}

void hvri_on_hello(struct hvri_step *s, const struct hvri_message *m)
{
	struct hvri_relationship *r = s->r;
	const struct hvri_claim *claim = m->claim;
	bool first;

	if (s->rec->mode == HVREPL_MODE_NONE ||
	    s->rec->phase == HVRI_PHASE_REMOVED)
		return;
	if (!hvri_uuid_equal(&claim->site, &s->rec->peer)) {
		hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_WARNING,
			    HVREPL_E_DENIED, 0,
			    "a site that is not this VM's other site says "
			    "HELLO; ignored");
		return;
	}
	/* One start of the peer to a session: this is of an older one. */
	if (r->greeted && m->from_incarnation != r->peer_incarnation)
		return;
	if (m->from_incarnation != r->peer_incarnation) {
		r->peer_incarnation = m->from_incarnation;
		r->doubt_met = false;
		r->discard_refused = 0;
		r->hello_seen = 0;
		r->greeted = false;
		r->hello_answered = false;
	}
	/* Bound to both incarnations, or it is only learned who is there. */
	if (m->to_incarnation != r->incarnation) {
		s->say_hello = true;
		return;
	}
	/* A claim stands for all before it. One that comes again, or late, says
	 * what is no longer so: a peer that does that is not obeyed. */
	if (m->number <= r->hello_seen && r->hello_seen != 0)
		return;
	r->hello_seen = m->number;
	r->peer_in_doubt = claim->untrusted &&
			   (claim->ownership == HVREPL_OWNERSHIP_STANDBY ||
			    claim->ownership == HVREPL_OWNERSHIP_RELINQUISHED);
	first = !r->greeted;
	r->greeted = true;
	r->contact = true;
	r->statistics.last_contact_ns = s->e->now_ns;
	if (!r->hello_answered)
		s->say_hello = true;
	meet(s, claim);
	if (first && r->greeted)
		hvri_greet_again(s);
}

void hvri_greet_again(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;

	memset(&r->status_sent, 0xff, sizeof(r->status_sent));
	/* A new session is often a new start over there: what a storage fault
	 * held back is tried at once (L4). */
	r->holding = false;
	hvri_handover_resend(s);
	if (!hvri_uuid_is_none(&s->rec->discard_loser) &&
	    hvri_job_is(s, HVREPL_OPERATION_DISCARD))
		hvri_send_discard(s);
	if (s->rec->phase == HVRI_PHASE_JOIN && !r->joined)
		hvri_join_ask(s);
	hvri_offer_cut(s);
}
