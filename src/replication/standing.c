/* SPDX-License-Identifier: Apache-2.0 */
/* What a claim does to this site's standing: the verdict applied, and lifted when
 * what it was about is gone (O6). */
#include "replication/internal.h"

#include "base/plant.h"
#include "replication/names.h"
#include "replication/verdict.h"

#include <string.h>

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

/* What was folded into the disk cannot be thrown away: it follows by a join, where
 * the disk's content is kept. So it is when that has made a store of the disk. */
static bool holds_its_own(const struct hvri_record *rec)
{
	return rec->form == HVRI_FORM_LIVE || rec->form == HVRI_FORM_FOLDING ||
	       (rec->form == HVRI_FORM_STORE &&
		(rec->mode == HVREPL_MODE_PRIMARY ||
		 rec->phase == HVRI_PHASE_FAILED_OVER ||
		 rec->phase == HVRI_PHASE_JOIN));
}

/*
 * Epochs that were abandoned are left, up to the last that stands. So is one that this
 * site was forced to behind a handover of which it did not know that it would be
 * cancelled: nobody could follow there. The VM goes on with what it has; what that is
 * to the other site nothing short of a compare can say.
 */
void hvri_revert(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;
	static const struct hvrepl_uuid none;
	struct hvrepl_uuid before = rec->current;
	bool claimed = hvri_is_claimant(rec) && hvri_owns_current(rec);
	bool changed = false;

	if (rec->ownership == HVREPL_OWNERSHIP_OWNER && claimed &&
	    (HVRI_PLANT(forced_on_a_dead_path) ||
	     !hvri_lineage_dead(&rec->lineage, &rec->current)))
		return;
	while (hvri_lineage_dead(&rec->lineage, &rec->current)) {
		const struct hvri_epoch *epoch =
			hvri_lineage_look(&rec->lineage, &rec->current);

		if (hvri_lineage_look(&rec->lineage, &epoch->parent) == NULL)
			break;
		rec->current = epoch->parent;
		changed = true;
	}
	if (changed && rec->rolled_back && !hvri_owns_current(rec) &&
	    holds_its_own(rec)) {
		rec->current = before;
		return;
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
		/* Nobody marked what it wrote of its own, or what else became of its disk (T9). */
		if ((claimed || rec->untrusted) &&
		    !HVRI_PLANT(left_and_trusted)) {
			hvri_drop_cut(s, HVREPL_E_UNTRUSTED);
			hvri_distrust(s);
			rec->phase = HVRI_PHASE_RESYNC_WANTED;
		}
		hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_INFO,
			    HVREPL_OK, 0,
			    "the planned failover was cancelled at the other "
			    "site; this site owns the VM again");
	} else {
		rec->ownership = HVREPL_OWNERSHIP_STANDBY;
		rec->mode = HVREPL_MODE_REPLICA;
		/* Cancelled here after the backup that the record is from: what
		 * the cancel threw away is thrown away again. */
		if (rec->form == HVRI_FORM_OVERLAY) {
			hvri_keep_in_store(rec);
			rec->overlay = none;
			rec->phase = HVRI_PHASE_DELTA;
			memset(&rec->failover, 0, sizeof(rec->failover));
			memset(&rec->last_cut, 0, sizeof(rec->last_cut));
			s->r->overlay_open = false;
			s->r->pending.overlay = 0;
			hvri_act_token(s, HVRI_ACTION_DROP_OVERLAY,
				       &s->r->pending.drop);
		}
	}
	hvri_touch(s);
}

/*
 * Has the peer left that epoch of its own for ours? It knows that it was in it,
 * and stands by all the same, in an epoch of ours, if only in one that we have left
 * or forgotten with a backup: it came by a join, and nobody enters an epoch twice.
 * A peer that was restored from before does not know it. What superseded us is
 * lifted by its outcome only.
 */
static bool left(const struct hvri_record *rec, const struct hvri_claim *claim,
		 const struct hvrepl_uuid *epoch)
{
	const struct hvri_epoch *known =
		hvri_lineage_look(&claim->lineage, epoch);
	const struct hvri_epoch *follows =
		hvri_lineage_look(&rec->lineage, &claim->current);

	return claim->ownership == HVREPL_OWNERSHIP_STANDBY &&
	       hvri_owns_current(rec) && follows &&
	       hvri_uuid_equal(&follows->owner, &rec->site) &&
	       (hvri_uuid_equal(&claim->current, &rec->current) ||
		!HVRI_PLANT(left_elsewhere_stands)) &&
	       known && known->entered &&
	       !hvri_lineage_on_path(&rec->lineage, &rec->verdict_peer, epoch);
}

/* Superseded or diverged no longer, once every claim against it is gone. */
void hvri_lift(struct hvri_step *s, const struct hvri_claim *claim)
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
	    (!hvri_epoch_dead(rec, &rec->discard_winner) || HVRI_PLANT(pair)))
		return;
	for (uint32_t i = 0; i < lineage->count; i++) {
		const struct hvri_epoch *epoch = &lineage->epochs[i];

		if (hvri_uuid_equal(&epoch->owner, &rec->site) ||
		    hvri_outcome_dead(epoch->outcome) ||
		    hvri_lineage_on_path(lineage, &rec->current, &epoch->id) ||
		    hvri_uuid_equal(&epoch->id, &rec->relinquished) ||
		    (epoch->planned && !epoch->entered) ||
		    hvri_lineage_dead(lineage, &epoch->id) ||
		    left(rec, claim, &epoch->id))
			continue;
		return; /* It stands. */
	}
	back_to_owner(s);
	/* What the peer holds now it says itself; what else is in doubt is
	 * compared before a delta follows it. */
	if (s->r->lost_by_claim)
		rec->untrusted = false;
	s->r->lost_by_claim = false;
	if (rec->untrusted && rec->mode == HVREPL_MODE_PRIMARY &&
	    rec->phase == HVRI_PHASE_DELTA)
		rec->phase = HVRI_PHASE_RESYNC_WANTED;
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
	hvri_job_overtaken(s, true);
	hvri_drop_cut(s, HVREPL_E_CANCELLED);
	if (s->r->armed)
		hvri_fence(s, HVRI_FENCE_NOTHING);
	rec->rolled_back = true;
	hvri_distrust(s);
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

/*
 * The ranges of a join are what either side changed since the newest point that
 * the other held at the failover. One that failed over from a backup of itself
 * no longer held all that it had acknowledged: that is marked at neither side,
 * and only a compare of everything finds it (O2, T7). Its position says so while
 * it stands on the overlay of that failover; later it has none in our epoch, and
 * then whatever lies beyond the fork counts as lost with it.
 */
static bool peer_lost_acknowledged(const struct hvri_record *rec,
				   const struct hvri_claim *claim)
{
	const struct hvri_point *acked = &rec->last_acked;

	if (acked->number == 0)
		return false;
	if (hvri_uuid_equal(&claim->position.epoch, &acked->epoch) &&
	    claim->position.number >= acked->number)
		return false;
	return !hvri_lineage_on_path(&rec->lineage, &claim->current,
				     &acked->epoch) ||
	       hvri_lineage_fork(&rec->lineage, &acked->epoch,
				 &claim->current) < acked->number;
}

/*
 * And where the other left an epoch of ours at a cut beyond those that this record
 * has named, or beyond where we left it ourselves, it is this site that was brought
 * back: what it wrote up to that cut is at the other site, and marked at neither.
 */
static bool left_beyond(const struct hvri_record *rec,
			const struct hvri_claim *claim)
{
	const struct hvri_lineage *lineage = &rec->lineage;
	const struct hvri_epoch *epoch;
	struct hvrepl_uuid common;
	uint64_t known;

	if (!hvri_lineage_common(lineage, &rec->current, &claim->current,
				 &common) ||
	    hvri_uuid_equal(&common, &claim->current))
		return false;
	epoch = hvri_lineage_look(lineage, &common);
	known = hvri_uuid_equal(&common, &rec->current) ?
			hvri_newest_number(rec) :
			hvri_lineage_fork(lineage, &common, &rec->current);
	return epoch && hvri_uuid_equal(&epoch->owner, &rec->site) &&
	       hvri_lineage_fork(lineage, &common, &claim->current) > known;
}

/* The compare that this asks for is for a join; a claim that is lifted has none. */
static void doubt_claim(struct hvri_step *s, const struct hvri_claim *claim)
{
	if (s->rec->untrusted || (!peer_lost_acknowledged(s->rec, claim) &&
				  !left_beyond(s->rec, claim)))
		return;
	hvri_distrust(s);
	s->r->lost_by_claim = true;
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
	hvri_job_overtaken(s, true);
	hvri_drop_cut(s, HVREPL_E_CANCELLED);
	/* What joins an epoch that is not the claimed one stops. */
	if (!hvri_lineage_on_path(&rec->lineage, &claim->current,
				  &rec->joining)) {
		rec->joining = none;
		hvri_stop_receiving(s, true);
	}
	if (HVRI_PLANT(relkeep))
		rec->relinquished = none;
	doubt_claim(s, claim);
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
	hvri_job_overtaken(s, rec->policy.fence_diverged);
	hvri_drop_cut(s, HVREPL_E_CANCELLED);
	doubt_claim(s, claim);
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

/*
 * The new side takes the old one's word. What it had diverged from may be another
 * epoch of the peer: one that was restored from a backup is in it no more, and says
 * that it is superseded by ours. Who goes back to that epoch meets us anew.
 */
static void adopt(struct hvri_step *s, const struct hvri_claim *claim,
		  uint8_t kind)
{
	struct hvri_record *rec = s->rec;
	bool ends = kind == HVRI_VERDICT_SUPERSEDED &&
		    rec->ownership == HVREPL_OWNERSHIP_DIVERGED;

	if (!ends && rec->verdict == kind &&
	    hvri_uuid_equal(&rec->verdict_mine, &rec->current) &&
	    hvri_uuid_equal(&rec->verdict_peer, &claim->current))
		return;
	if (ends)
		rec->ownership = hvri_uuid_is_none(&rec->relinquished) ?
					 HVREPL_OWNERSHIP_OWNER :
					 HVREPL_OWNERSHIP_RELINQUISHED;
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

	/* One that came back from a backup claims nothing, whatever it knew or
	 * did before: it follows, or is forced, and then in another epoch. */
	if (claim->ownership != HVREPL_OWNERSHIP_SUPERSEDED ||
	    hvri_shown_ownership(rec) != HVREPL_OWNERSHIP_DIVERGED ||
	    (!claim->rolled_back &&
	     !hvri_uuid_equal(&claim->verdict_peer, &rec->current)))
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

#ifdef HVREPL_PLANT
static bool both_hold_data(const struct hvri_record *rec,
			   const struct hvri_claim *claim)
{
	struct hvri_verdict_data data;

	hvri_verdict_data(rec, claim, &data);
	return data.mine_to > data.mine_from && data.peer_to > data.peer_from;
}
#else
#define both_hold_data(rec, claim) true
#endif

/* A standby of another epoch than ours, which is not on our path, or which holds
 * points beyond where our path left it. */
static bool cannot_follow(const struct hvri_record *rec,
			  const struct hvri_claim *claim)
{
	if (hvri_uuid_equal(&claim->current, &rec->current))
		return false;
	return !hvri_lineage_on_path(&rec->lineage, &rec->current,
				     &claim->current) ||
	       (claim->position.number != 0 &&
		!hvri_point_ours(rec, &claim->position));
}

void hvri_behind_error(struct hvri_step *s, const struct hvri_claim *claim,
		       void (*as)(struct hvri_step *, const struct hvri_claim *))
{
	struct hvri_record *rec = s->rec;
	bool error = rec->phase == HVRI_PHASE_ERROR &&
		     !HVRI_PLANT(error_meets_nobody);

	if (error)
		rec->phase = rec->phase_before;
	as(s, claim);
	if (!error)
		return;
	rec->phase_before = rec->phase;
	rec->phase = HVRI_PHASE_ERROR;
}

/* Nothing is sent to who does not stand by: that waits for an operator. */
static void wait_for_reverse(struct hvri_step *s)
{
	hvri_drop_cut(s, HVREPL_E_CANCELLED);
	s->rec->phase = HVRI_PHASE_RESYNC_WANTED;
	s->r->pending.compare = 0;
	hvri_save(s);
	if (hvri_job_protects(s))
		hvri_job_end(s, HVREPL_E_PEER_REFUSED,
			     "the other site was restored from a backup: resync "
			     "or reverse makes it follow this one");
}

/* A point was found there in the midst of it: what was asked and sent is not about
 * that one, nor is what a first content left marked here. It is asked, whether or not
 * this session began with that: asking twice does no harm. */
static void join_again(struct hvri_step *s)
{
	bool initial = s->rec->phase == HVRI_PHASE_INITIAL;

	hvri_drop_cut(s, HVREPL_E_CANCELLED);
	if (initial)
		hvri_distrust(s);
	s->rec->phase = HVRI_PHASE_JOIN;
	s->r->pending.compare = 0;
	hvri_save(s);
	if (s->r->joined || initial || !HVRI_PLANT(asks_where_it_had_asked))
		hvri_join_ask(s);
}

/* Where this site owns the VM and the other one may not stand by yet. */
static void meet_no_standby(struct hvri_step *s, const struct hvri_claim *claim)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	bool joins = hvri_uuid_equal(&claim->joining, &rec->current);
	/* Or handed over, and not yet reversed. */
	bool superseded = claim->ownership == HVREPL_OWNERSHIP_SUPERSEDED ||
			  (claim->ownership == HVREPL_OWNERSHIP_STANDBY &&
			   claim->phase == HVRI_PHASE_WAITING && !joins &&
			   !HVRI_PLANT(waits_for_no_reverse));

	switch (rec->phase) {
	case HVRI_PHASE_DELTA:
		/* It follows only when an operator says so; nor does a replica
		 * that came back from a time when it stood by in an epoch
		 * beside ours. */
		if (superseded ||
		    (claim->ownership == HVREPL_OWNERSHIP_STANDBY &&
		     cannot_follow(rec, claim)))
			wait_for_reverse(s);
		break;
	case HVRI_PHASE_READY:
	case HVRI_PHASE_INITIAL:
		/* Neither does one from before its first point. One that has
		 * found a point meanwhile is given no first content. */
		if (HVRI_PLANT(joins_empty_once) && !superseded)
			break;
		if (joins && claim->position.number == 0)
			hvri_meet_empty(s, claim);
		else if (joins && rec->phase == HVRI_PHASE_INITIAL)
			join_again(s);
		else if (superseded ||
			 (claim->ownership == HVREPL_OWNERSHIP_STANDBY &&
			  cannot_follow(rec, claim)))
			wait_for_reverse(s);
		break;
	case HVRI_PHASE_RESYNC:
		/* It is on its way into our epoch, by a compare of everything. */
		if (joins &&
		    hvri_point_equal(&claim->position, &rec->last_acked)) {
			/* Or was, of what its disks were then (T9). */
			if (!claim->untrusted ||
			    !HVRI_PLANT(joins_unlike_before))
				hvri_meet_doubt(s, claim);
			r->peer_ready = true;
		} else if (joins) {
			join_again(s);
		} else if ((superseded ||
			    (claim->ownership == HVREPL_OWNERSHIP_STANDBY &&
			     cannot_follow(rec, claim))) &&
			   !HVRI_PLANT(compare_goes_on)) {
			wait_for_reverse(s);
		}
		break;
	case HVRI_PHASE_JOIN:
		/* What it holds is another point, or in doubt since it was asked. */
		if (r->joined && joins &&
		    (!hvri_point_equal(&claim->position, &r->peer_join.from) ||
		     (claim->untrusted && !r->peer_join.untrusted)) &&
		    !HVRI_PLANT(joins_past_found)) {
			join_again(s);
			break;
		}
		/* It was about to and does not any more, or stands by already:
		 * cancelled there. */
		if (!r->joined && !HVRI_PLANT(join_asked_once) &&
		    (s->peer_left ||
		     (!joins && claim->ownership == HVREPL_OWNERSHIP_STANDBY &&
		      claim->phase != HVRI_PHASE_WAITING &&
		      hvri_uuid_equal(&claim->current, &rec->current))))
			hvri_join_ask(s);
		break;
	default:
		break;
	}
}

void hvri_apply_claim(struct hvri_step *s, const struct hvri_claim *claim)
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
		if (HVRI_PLANT(contest) && !both_hold_data(s->rec, claim))
			break;
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
	if (s->rec->ownership == HVREPL_OWNERSHIP_OWNER)
		hvri_behind_error(s, claim, meet_no_standby);
}
