/* SPDX-License-Identifier: Apache-2.0 */
/* Two sites meet: HELLO is exchanged, histories merged, the verdict applied. */
#include "replication/internal.h"

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

static bool dead(const struct hvri_record *rec, const struct hvrepl_uuid *id)
{
	const struct hvri_epoch *epoch = hvri_lineage_look(&rec->lineage, id);

	return epoch && hvri_outcome_dead(epoch->outcome);
}

static void clear_verdict(struct hvri_record *rec)
{
	static const struct hvrepl_uuid none;

	rec->verdict = HVRI_VERDICT_NONE;
	rec->verdict_mine = none;
	rec->verdict_peer = none;
}

static void back_to_owner(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;
	static const struct hvrepl_uuid none;

	if (!hvri_owns_current(rec))
		rec->ownership = HVREPL_OWNERSHIP_STANDBY;
	else if (!hvri_uuid_is_none(&rec->relinquished))
		rec->ownership = HVREPL_OWNERSHIP_RELINQUISHED;
	else
		rec->ownership = HVREPL_OWNERSHIP_OWNER;
	clear_verdict(rec);
	rec->discard_loser = none;
	rec->discard_winner = none;
	rec->joining = none;
	hvri_touch(s);
}

/* Epochs that were abandoned are left, up to the last that stands. */
static void revert(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;
	static const struct hvrepl_uuid none;
	bool changed = false;

	if (rec->ownership == HVREPL_OWNERSHIP_OWNER && hvri_owns_current(rec))
		return;
	while (hvri_lineage_dead(&rec->lineage, &rec->current)) {
		const struct hvri_epoch *epoch =
			hvri_lineage_look(&rec->lineage, &rec->current);

		if (hvri_lineage_look(&rec->lineage, &epoch->parent) == NULL)
			break;
		rec->current = epoch->parent;
		changed = true;
	}
	if (!changed)
		return;
	rec->relinquished = none;
	rec->joining = none;
	clear_verdict(rec);
	if (hvri_owns_current(rec)) {
		rec->ownership = HVREPL_OWNERSHIP_OWNER;
		rec->mode = HVREPL_MODE_PRIMARY;
		/* The final cut of the handover was acknowledged. */
		rec->phase = HVRI_PHASE_DELTA;
		rec->handover_clean = false;
		hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_INFO,
			    HVREPL_OK, 0,
			    "the planned failover was cancelled at the other "
			    "site; this site owns the VM again");
	} else {
		rec->ownership = HVREPL_OWNERSHIP_STANDBY;
		rec->mode = HVREPL_MODE_REPLICA;
	}
	hvri_touch(s);
}

/* Superseded or diverged no longer, once every claim against it is gone. */
static void lift(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;
	const struct hvri_lineage *lineage = &rec->lineage;

	if ((rec->ownership != HVREPL_OWNERSHIP_SUPERSEDED &&
	     rec->ownership != HVREPL_OWNERSHIP_DIVERGED) ||
	    rec->rolled_back)
		return;
	/* Discarded by an operator: void only if the winner is abandoned. */
	if (rec->ownership == HVREPL_OWNERSHIP_SUPERSEDED &&
	    !hvri_uuid_is_none(&rec->discard_loser) &&
	    hvri_uuid_equal(&rec->discard_loser, &rec->current) &&
	    !dead(rec, &rec->discard_winner))
		return;
	for (uint32_t i = 0; i < lineage->count; i++) {
		const struct hvri_epoch *epoch = &lineage->epochs[i];

		if (hvri_uuid_equal(&epoch->owner, &rec->site) ||
		    hvri_outcome_dead(epoch->outcome) ||
		    hvri_lineage_on_path(lineage, &rec->current, &epoch->id) ||
		    hvri_uuid_equal(&epoch->id, &rec->relinquished) ||
		    (epoch->planned && !epoch->entered) ||
		    hvri_lineage_dead(lineage, &epoch->id))
			continue;
		return; /* It stands. */
	}
	back_to_owner(s);
	hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_INFO, HVREPL_OK, 0,
		    "the other site's failover was cancelled; this site stands "
		    "as %s again",
		    hvri_ownership_name(rec->ownership));
}

void hvri_rolled_back(struct hvri_step *s, const struct hvrepl_uuid *peer)
{
	struct hvri_record *rec = s->rec;
	static const struct hvrepl_uuid none;

	hvri_handover_abort(s, HVREPL_E_STATE,
			    "this site's record was restored from a backup");
	hvri_drop_cut(s, HVREPL_E_CANCELLED);
	if (s->r->armed)
		hvri_fence(s, HVRI_FENCE_NOTHING);
	rec->rolled_back = true;
	rec->untrusted = true;
	rec->relinquished = none;
	rec->joining = none;
	rec->ownership = HVREPL_OWNERSHIP_SUPERSEDED;
	rec->verdict = HVRI_VERDICT_SUPERSEDED;
	rec->verdict_mine = rec->current;
	rec->verdict_peer = peer ? *peer : rec->current;
	hvri_touch(s);
	hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_CRITICAL,
		    HVREPL_E_STATE, 0,
		    "this site's record of the VM is older than what the disk "
		    "or the other site knows: it was restored from a backup. "
		    "Let it follow the other site (reverse there), or force");
}

/* Has the peer seen a later state of this record than the one we hold? */
static bool seen_newer(const struct hvri_record *rec,
		       const struct hvri_claim *claim)
{
	return rec->ownership != HVREPL_OWNERSHIP_STANDBY &&
	       hvri_uuid_equal(&claim->seen_id, &rec->id) &&
	       claim->seen_generation > rec->generation;
}

static void supersede(struct hvri_step *s, const struct hvri_claim *claim)
{
	struct hvri_record *rec = s->rec;
	static const struct hvrepl_uuid none;

	if (rec->ownership == HVREPL_OWNERSHIP_SUPERSEDED &&
	    hvri_uuid_equal(&rec->verdict_mine, &rec->current) &&
	    hvri_uuid_equal(&rec->verdict_peer, &claim->current))
		return;
	hvri_handover_abort(s, HVREPL_E_FENCED,
			    "the other site failed over by itself");
	hvri_job_overtaken(s);
	hvri_drop_cut(s, HVREPL_E_CANCELLED);
	/* What joins an epoch that is not the claimed one stops. */
	if (!hvri_lineage_on_path(&rec->lineage, &claim->current,
				  &rec->joining)) {
		rec->joining = none;
		hvri_stop_receiving(s, true);
	}
	rec->ownership = HVREPL_OWNERSHIP_SUPERSEDED;
	rec->verdict = HVRI_VERDICT_SUPERSEDED;
	rec->verdict_mine = rec->current;
	rec->verdict_peer = claim->current;
	hvri_touch(s);
	hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_CRITICAL,
		    HVREPL_E_FENCED, 0,
		    "superseded: %s. Writes are refused here; what the other "
		    "site lacks stays on this disk until it is reversed",
		    hvri_verdict_rule(s->r->rule));
}

static void diverge(struct hvri_step *s, const struct hvri_claim *claim)
{
	struct hvri_record *rec = s->rec;
	struct hvri_verdict_data data;

	if (rec->ownership == HVREPL_OWNERSHIP_DIVERGED &&
	    hvri_uuid_equal(&rec->verdict_mine, &rec->current) &&
	    hvri_uuid_equal(&rec->verdict_peer, &claim->current))
		return;
	hvri_handover_abort(s, HVREPL_E_DIVERGED,
			    "the other site failed over by itself");
	hvri_job_overtaken(s);
	hvri_drop_cut(s, HVREPL_E_CANCELLED);
	rec->ownership = HVREPL_OWNERSHIP_DIVERGED;
	rec->verdict = HVRI_VERDICT_DIVERGED;
	rec->verdict_mine = rec->current;
	rec->verdict_peer = claim->current;
	if (rec->mode == HVREPL_MODE_PRIMARY)
		rec->phase = HVRI_PHASE_RESYNC_WANTED;
	if (rec->policy.fence_diverged && s->r->armed)
		hvri_fence(s, HVRI_FENCE_NOTHING);
	hvri_touch(s);
	hvri_verdict_data(rec, claim, &data);
	hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_CRITICAL,
		    HVREPL_E_DIVERGED, 0,
		    "diverged: %s. Here points %llu to %llu%s, there %llu to "
		    "%llu%s since the fork. Nothing is overwritten until the "
		    "epoch that is to lose is discarded",
		    hvri_verdict_rule(s->r->rule),
		    (unsigned long long)data.mine_from,
		    (unsigned long long)data.mine_to,
		    data.unique & HVRI_DATA_MINE ? " and newer writes" : "",
		    (unsigned long long)data.peer_from,
		    (unsigned long long)data.peer_to,
		    data.unique & HVRI_DATA_PEER ? " and newer writes" : "");
}

static void adopt(struct hvri_step *s, const struct hvri_claim *claim,
		  uint8_t kind)
{
	struct hvri_record *rec = s->rec;

	if (rec->verdict == kind &&
	    hvri_uuid_equal(&rec->verdict_mine, &rec->current) &&
	    hvri_uuid_equal(&rec->verdict_peer, &claim->current))
		return;
	rec->verdict = kind;
	rec->verdict_mine = rec->current;
	rec->verdict_peer = claim->current;
	if (kind == HVRI_VERDICT_DIVERGED && rec->mode == HVREPL_MODE_PRIMARY)
		rec->phase = HVRI_PHASE_RESYNC_WANTED;
	hvri_touch(s);
	if (kind == HVRI_VERDICT_DIVERGED)
		hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_CRITICAL,
			    HVREPL_E_DIVERGED, 0,
			    "diverged: the old primary writes as well. Cancel "
			    "this failover, or commit it and discard the epoch "
			    "that is to lose");
	else
		hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_INFO,
			    HVREPL_OK, 0,
			    "the old primary is superseded by this site and "
			    "refuses writes");
}

static void same_epoch(struct hvri_step *s, const struct hvri_claim *claim)
{
	struct hvri_record *rec = s->rec;

	s->r->refusing = false;
	/* One that was restored from a backup claims nothing either. */
	if ((claim->ownership != HVREPL_OWNERSHIP_STANDBY &&
	     !(claim->ownership == HVREPL_OWNERSHIP_SUPERSEDED &&
	       claim->rolled_back)) ||
	    !hvri_owns_current(rec))
		return;
	/* The other claimant came into our epoch. */
	if (rec->ownership == HVREPL_OWNERSHIP_DIVERGED)
		back_to_owner(s);
	else if (rec->ownership == HVREPL_OWNERSHIP_OWNER &&
		 rec->verdict != HVRI_VERDICT_NONE) {
		clear_verdict(rec);
		hvri_touch(s);
	}
	if (rec->ownership == HVREPL_OWNERSHIP_OWNER &&
	    claim->ownership == HVREPL_OWNERSHIP_STANDBY)
		hvri_meet_standby(s, claim);
}

static void keep(struct hvri_step *s, const struct hvri_claim *claim)
{
	struct hvri_record *rec = s->rec;

	if (claim->ownership != HVREPL_OWNERSHIP_SUPERSEDED ||
	    rec->ownership != HVREPL_OWNERSHIP_DIVERGED ||
	    !hvri_uuid_equal(&claim->verdict_peer, &rec->current))
		return;
	rec->ownership = hvri_uuid_is_none(&rec->relinquished) ?
				 HVREPL_OWNERSHIP_OWNER :
				 HVREPL_OWNERSHIP_RELINQUISHED;
	rec->verdict = HVRI_VERDICT_SUPERSEDED;
	hvri_touch(s);
	hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_INFO, HVREPL_OK, 0,
		    "the other site is superseded by this one; reverse or "
		    "resync makes it follow");
}

static void apply(struct hvri_step *s, const struct hvri_claim *claim)
{
	struct hvri_verdict_facts facts;
	struct hvri_relationship *r = s->r;
	bool armed = r->armed || (r->handover_stage != HVRI_HANDOVER_NONE &&
				  r->armed_before);

	hvri_verdict_look(s->rec, armed, claim, false, &facts);
	r->rule = hvri_verdict_row(&facts);
	r->peer_ready = false;
	switch (hvri_verdict_standing(r->rule)) {
	case HVRI_STANDING_NORMAL:
		same_epoch(s, claim);
		break;
	case HVRI_STANDING_OWNED:
		hvri_become_standby(s, &claim->current);
		break;
	case HVRI_STANDING_FOLLOW:
		s->rec->current = claim->current;
		r->refusing = false;
		hvri_touch(s);
		break;
	case HVRI_STANDING_REFUSE:
	case HVRI_STANDING_UNRELATED:
		r->refusing = true;
		break;
	case HVRI_STANDING_KEEP:
		keep(s, claim);
		break;
	case HVRI_STANDING_SUPERSEDED:
		supersede(s, claim);
		break;
	case HVRI_STANDING_DIVERGED:
		diverge(s, claim);
		break;
	case HVRI_STANDING_ADOPT_SUPERSEDED:
		adopt(s, claim, HVRI_VERDICT_SUPERSEDED);
		break;
	case HVRI_STANDING_ADOPT_DIVERGED:
		adopt(s, claim, HVRI_VERDICT_DIVERGED);
		break;
	case HVRI_STANDING_NOTHING:
	case HVRI_STANDING_STALE:
	case HVRI_STANDING_ROLLED_BACK: /* Seen before the lineages merged. */
	case HVRI_STANDING_COUNT:
		break;
	}
	/* It follows only when an operator says so. */
	if (s->rec->ownership == HVREPL_OWNERSHIP_OWNER &&
	    s->rec->phase == HVRI_PHASE_DELTA &&
	    claim->ownership == HVREPL_OWNERSHIP_SUPERSEDED) {
		hvri_drop_cut(s, HVREPL_E_CANCELLED);
		s->rec->phase = HVRI_PHASE_RESYNC_WANTED;
		hvri_save(s);
	}
	/* It is on its way into our epoch, by a compare of everything. */
	if (s->rec->ownership == HVREPL_OWNERSHIP_OWNER &&
	    s->rec->phase == HVRI_PHASE_RESYNC &&
	    hvri_uuid_equal(&claim->joining, &s->rec->current)) {
		if (hvri_point_equal(&claim->position, &s->rec->last_acked)) {
			r->peer_ready = true;
		} else {
			hvri_drop_cut(s, HVREPL_E_CANCELLED);
			s->rec->phase = HVRI_PHASE_JOIN;
			hvri_save(s);
		}
	}
}

/* What the merged lineage says about our own handovers. */
static void settle_handovers(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;
	static const struct hvrepl_uuid none;

	if (dead(rec, &rec->relinquished)) {
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
	    dead(rec, &rec->job.epoch)) {
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
	r->peer_joining = claim->joining;
	r->peer_position = claim->position;
	r->peer_frontier = claim->frontier;
	r->peer_status.pause = claim->pause;
	hvri_peer_paused(s);
	if (!hvri_uuid_equal(&rec->peer_id, &claim->record_id) ||
	    rec->peer_generation != claim->generation) {
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
		rec->failover.epoch,
	};

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
	rc = hvri_lineage_merge(&rec->lineage, &claim->lineage,
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
	if (rolled && !rec->rolled_back) {
		rec->generation = HVRI_MAX(rec->generation,
					   claim->seen_generation);
		hvri_rolled_back(s, &claim->current);
		return;
	}
	settle_handovers(s);
	revert(s);
	lift(s);
	apply(s, claim);
	prune(s, claim);
}

void hvri_on_hello(struct hvri_step *s, const struct hvri_message *m)
{
	struct hvri_relationship *r = s->r;
	const struct hvri_claim *claim = m->claim;
	bool first;

	if (!r->session || s->rec->mode == HVREPL_MODE_NONE ||
	    s->rec->phase == HVRI_PHASE_REMOVED)
		return;
	if (!hvri_uuid_equal(&claim->site, &s->rec->peer)) {
		hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_WARNING,
			    HVREPL_E_DENIED, 0,
			    "a site that is not this VM's other site says "
			    "HELLO; ignored");
		return;
	}
	if (m->from_incarnation != r->peer_incarnation) {
		r->peer_incarnation = m->from_incarnation;
		r->greeted = false;
		r->hello_answered = false;
	}
	/* Bound to both incarnations, or it is only learned who is there. */
	if (m->to_incarnation != r->incarnation) {
		s->say_hello = true;
		return;
	}
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
