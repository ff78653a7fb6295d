/* SPDX-License-Identifier: Apache-2.0 */
/* Failover without the peer (O5), and what it shares with every owner: overlay,
 * fence, arming. */
#include "replication/internal.h"

#include "base/plant.h"
#include "replication/loss.h"

#include <string.h>

static const struct hvrepl_uuid none;

/* Some are spared for the answers to handovers, but where it is the other site that
 * has used the others up, an operator here gets those, too. */
static bool has_place(const struct hvri_record *rec)
{
	const struct hvri_lineage *lineage = &rec->lineage;
	uint32_t own = 0;

	for (uint32_t i = 0; i < lineage->count; i++)
		own += lineage->epochs[i].entered &&
		       hvri_uuid_equal(&lineage->epochs[i].owner, &rec->site);
	return lineage->count + HVRI_EPOCHS_SPARE <= HVRI_EPOCHS_MAX ||
	       (own < lineage->count / 2 && !HVRI_PLANT(filled_by_the_peer));
}

int32_t hvri_new_epoch(struct hvri_step *s, const struct hvrepl_uuid *parent,
		       uint64_t fork, struct hvrepl_uuid *id_out)
{
	struct hvri_record *rec = s->rec;
	struct hvri_epoch epoch;

	if (!has_place(rec))
		return HVREPL_E_LIMIT;
	memset(&epoch, 0, sizeof(epoch));
	epoch.id = hvri_fresh(s);
	epoch.parent = *parent;
	epoch.owner = rec->site;
	epoch.ordinal = hvri_lineage_next_ordinal(&rec->lineage);
	epoch.fork_point = fork;
	epoch.entered = true;
	HVRI_TRY(hvri_lineage_add(&rec->lineage, &epoch));
	*id_out = epoch.id;
	return HVREPL_OK;
}

void hvri_open_overlay(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	struct hvri_action *act;

	r->overlay_open = false;
	r->pending.drop = 0;
	r->drop_again = false;
	act = hvri_act_token(s, HVRI_ACTION_OPEN_OVERLAY, &r->pending.overlay);
	act->point = s->rec->failover;
	act->epoch = s->rec->overlay;
}

/* Back to standby of the parent; what the failover wrote is thrown away. */
static void leave_failover(struct hvri_step *s, const struct hvri_epoch *left)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;

	hvri_lineage_decide(&rec->lineage, &rec->current,
			    HVREPL_OUTCOME_ABANDONED);
	rec->current = left->parent;
	rec->ownership = HVREPL_OWNERSHIP_STANDBY;
	rec->phase = HVRI_PHASE_DELTA;
	hvri_keep_in_store(rec);
	/* What this site was to follow into is asked of it again, or it is there. */
	rec->joining = none;
	rec->overlay = none;
	rec->verdict = HVRI_VERDICT_NONE;
	rec->verdict_mine = rec->verdict_peer = none;
	rec->discard_loser = rec->discard_winner = none;
	memset(&rec->failover, 0, sizeof(rec->failover));
	memset(&rec->loss, 0, sizeof(rec->loss));
	memset(&rec->last_cut, 0, sizeof(rec->last_cut));
	rec->dirty = false;
	r->overlay_open = false;
	r->pending.overlay = 0;
	hvri_act_token(s, HVRI_ACTION_DROP_OVERLAY, &r->pending.drop);
	hvri_touch(s);
}

/* The point was dropped (retention, a full volume) while the failover to it began:
 * there is nothing to open, and nobody has written in this epoch. */
static bool point_is_gone(struct hvri_step *s, const struct hvri_done *done)
{
	struct hvri_record *rec = s->rec;
	const struct hvri_epoch *left =
		hvri_lineage_look(&rec->lineage, &rec->current);

	if (done->code != HVREPL_E_NOT_FOUND || rec->dirty || left == NULL ||
	    left->outcome != HVREPL_OUTCOME_OPEN || left->planned ||
	    rec->form != HVRI_FORM_OVERLAY ||
	    rec->ownership == HVREPL_OWNERSHIP_STANDBY ||
	    hvri_lineage_look(&rec->lineage, &left->parent) == NULL)
		return false;
	if (rec->job.id != 0)
		hvri_job_end(s, HVREPL_E_NOT_FOUND,
			     "recovery point %llu was dropped while the "
			     "failover to it began; this site stands by "
			     "again: choose another point",
			     (unsigned long long)rec->failover.number);
	leave_failover(s, left);
	return true;
}

void hvri_overlay_opened(struct hvri_step *s, const struct hvri_done *done)
{
	if (!hvri_has_overlay(s->rec) || point_is_gone(s, done))
		return;
	if (done->code != HVREPL_OK) {
		hvri_timer(s, HVRI_TIMER_RETRY, 10 * HVRI_SECOND);
		hvri_notice(s, HVREPL_EVENT_STATE, HVREPL_SEVERITY_CRITICAL,
			    done->code, 0,
			    "the disks of the failover cannot be opened: %s",
			    done->sentence ? done->sentence :
					     hvrepl_strerror(done->code));
		return;
	}
	s->r->overlay_open = true;
	if (s->rec->form == HVRI_FORM_FOLDING)
		hvri_fold(s);
	if (s->rec->phase == HVRI_PHASE_JOIN &&
	    s->rec->ownership == HVREPL_OWNERSHIP_OWNER && s->r->greeted &&
	    !s->r->joined)
		hvri_join_ask(s);
	/* Asked to follow meanwhile. */
	if (!HVRI_PLANT(overlay_forgets_join))
		hvri_join_advance(s);
}

void hvri_fold(struct hvri_step *s)
{
	if (s->r->pending.fold == 0 && s->r->overlay_open)
		hvri_act_token(s, HVRI_ACTION_FOLD, &s->r->pending.fold);
}

/* The name of an end belongs to its bytes alone (T6): once guests may write on,
 * the next one gets another. */
static void forget_tail(struct hvri_record *rec)
{
	memset(&rec->tail, 0, sizeof(rec->tail));
	rec->tail_pinned = false;
}

void hvri_folded(struct hvri_step *s, const struct hvri_done *done)
{
	if (s->rec->form != HVRI_FORM_FOLDING)
		return;
	if (done->code != HVREPL_OK) {
		hvri_timer(s, HVRI_TIMER_RETRY, 60 * HVRI_SECOND);
		hvri_notice(s, HVREPL_EVENT_STATE, HVREPL_SEVERITY_WARNING,
			    done->code, 0,
			    "folding the failover into the disk has stopped: "
			    "%s",
			    done->sentence ? done->sentence :
					     hvrepl_strerror(done->code));
		/* Who waits for it over there is told, and may do otherwise. */
		if (done->code == HVREPL_E_POISONED &&
		    !hvri_uuid_is_none(&s->rec->joining)) {
			hvri_join_decline(s, &s->rec->joining);
			s->rec->joining = none;
			hvri_save(s);
		}
		return;
	}
	s->rec->form = HVRI_FORM_LIVE;
	s->rec->overlay = none;
	forget_tail(s->rec);
	s->r->overlay_open = false;
	s->r->doubted = false;
	/* Its points are gone with the fold. */
	if (s->rec->ownership != HVREPL_OWNERSHIP_STANDBY)
		memset(&s->rec->position, 0, sizeof(s->rec->position));
	hvri_save(s);
	hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_INFO, HVREPL_OK, 0,
		    "the failover is folded into the disk");
	hvri_join_advance(s);
}

/* A handover to us that was not taken yet must not be taken later. */
static void refuse_handovers(struct hvri_record *rec)
{
	for (uint32_t i = 0; i < rec->lineage.count; i++) {
		struct hvri_epoch *epoch = &rec->lineage.epochs[i];

		if (HVRI_PLANT(ufref))
			return;

		if (epoch->planned && !epoch->entered &&
		    epoch->outcome == HVREPL_OUTCOME_OPEN &&
		    hvri_uuid_equal(&epoch->owner, &rec->site) &&
		    hvri_uuid_equal(&epoch->parent, &rec->current))
			epoch->outcome = HVREPL_OUTCOME_REFUSED;
	}
}

static void enter(struct hvri_step *s, const struct hvrepl_uuid *epoch,
		  const struct hvri_point *point)
{
	struct hvri_record *rec = s->rec;

	if (rec->form == HVRI_FORM_LIVE)
		forget_tail(rec);
	rec->current = *epoch;
	rec->ownership = HVREPL_OWNERSHIP_OWNER;
	rec->phase = HVRI_PHASE_FAILED_OVER;
	rec->verdict = HVRI_VERDICT_NONE;
	rec->verdict_mine = rec->verdict_peer = none;
	rec->discard_loser = rec->discard_winner = none;
	rec->joining = none;
	rec->dirty = false;
	rec->failover = *point;
	memset(&rec->loss, 0, sizeof(rec->loss));
	s->r->waited = true;
	s->r->peer_ready = false;
	s->r->refusing = false;
	/* Numbers never return, whoever gave them (T6). */
	s->r->next_point = HVRI_MAX(s->r->next_point,
				    hvri_newest_number(rec) + 1);
	rec->point_reserved = HVRI_MAX(rec->point_reserved, s->r->next_point);
	if (rec->form == HVRI_FORM_STORE) {
		rec->form = HVRI_FORM_OVERLAY;
		rec->overlay = *epoch;
	}
	hvri_touch(s);
	if (hvri_has_overlay(rec) && !s->r->overlay_open)
		hvri_open_overlay(s);
}

int32_t hvri_unplanned(struct hvri_step *s, const struct hvri_operator *op)
{
	struct hvri_record *rec = s->rec;
	struct hvri_point point = op->resolved;
	struct hvrepl_uuid epoch;
	bool on_disk = rec->form != HVRI_FORM_STORE;
	struct hvri_loss loss;
	char lost[HVRI_LOSS_TEXT];

	/* Never by default; who names the point has read what is wrong (T9). */
	if (op->point == 0 && (on_disk ? rec->untrusted : s->r->doubted))
		return HVREPL_E_UNTRUSTED;
	/* The disk of a handed-over VM is one point, and only that; no store lists it. */
	if (on_disk && (op->point == 0 || op->point == rec->position.number))
		point = rec->position;
	if (!hvri_point_ours(rec, &point) ||
	    (on_disk && point.number != rec->position.number))
		return HVREPL_E_NOT_FOUND;
	/* That disk holds nothing of the epoch it was handed over in, which may
	 * yet be abandoned: a sibling of it, not a child. */
	HVRI_TRY(hvri_new_epoch(s, on_disk ? &point.epoch : &rec->current,
				point.number, &epoch));
	if (HVRI_PLANT(epoch_kept))
		epoch = rec->current;
	refuse_handovers(rec);
	/* The store may be ahead of what it was heard to say. */
	if (!on_disk && point.number > rec->position.number)
		rec->position = point;
	hvri_stop_receiving(s, true);
	if (rec->job.id != 0)
		hvri_job_end(s, HVREPL_E_CANCELLED,
			     "an unplanned failover was started instead");
	hvri_job_begin(s, HVREPL_OPERATION_UNPLANNED, op->job, false);
	rec->job.epoch = epoch;
	rec->job.point = point.number;
	hvri_loss_now(s->r, &point, &op->facts, s->e->now_ns, s->e->utc_ns,
		      &loss);
	enter(s, &epoch, &point);
	rec->loss = loss;
	if (on_disk) {
		/* Written straight to the disk: there is no way back. */
		hvri_lineage_decide(&rec->lineage, &epoch,
				    HVREPL_OUTCOME_COMMITTED);
		rec->handover_clean = false;
		memset(&rec->position, 0, sizeof(rec->position));
	}
	hvri_loss_text(&loss, lost);
	hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_WARNING, HVREPL_OK,
		    point.number, "unplanned failover. Lost: %s", lost);
	return HVREPL_OK;
}

/* Fenced: leave the epoch for a sibling that forks elsewhere. */
void hvri_change_fenced(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;
	const struct hvri_epoch *left =
		hvri_lineage_look(&rec->lineage, &rec->current);
	struct hvri_point point = s->r->change_to;
	struct hvri_loss loss = rec->loss;
	struct hvrepl_uuid parent, epoch;

	if (!hvri_job_is(s, HVREPL_OPERATION_CHANGE_POINT) || left == NULL)
		return;
	parent = left->parent;
	if (left->outcome != HVREPL_OUTCOME_OPEN ||
	    rec->form != HVRI_FORM_OVERLAY) {
		hvri_job_end(s, HVREPL_E_STATE, "the failover can no longer be "
						"changed");
		return;
	}
	if (hvri_new_epoch(s, &parent, point.number, &epoch) != HVREPL_OK) {
		hvri_job_end(s, HVREPL_E_LIMIT,
			     "too many failovers without contact with the "
			     "other site");
		return;
	}
	hvri_lineage_decide(&rec->lineage, &rec->current,
			    HVREPL_OUTCOME_ABANDONED);
	rec->job.epoch = epoch;
	rec->overlay = epoch;
	s->r->overlay_open = false;
	enter(s, &epoch, &point);
	/* What the other site had more is what it was; here it moves. */
	loss.point = point.number;
	loss.point_utc_ns = point.utc_ns;
	loss.skipped_bytes = s->r->change_facts.skipped_bytes;
	rec->loss = loss;
}

/* Fenced: back to standby of the parent, what was written is thrown away. */
void hvri_cancel_fenced(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;
	const struct hvri_epoch *left =
		hvri_lineage_look(&rec->lineage, &rec->current);

	if (!hvri_job_is(s, HVREPL_OPERATION_CANCEL) || left == NULL)
		return;
	if (left->outcome != HVREPL_OUTCOME_OPEN ||
	    rec->form != HVRI_FORM_OVERLAY) {
		hvri_job_end(s, HVREPL_E_STATE,
			     "the failover can no longer be cancelled");
		return;
	}
	leave_failover(s, left);
	hvri_job_end(s, HVREPL_OK, "the failover is cancelled; this site "
				   "stands by again");
}

void hvri_commit(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;

	if (!HVRI_PLANT(commit_forgotten))
		hvri_lineage_decide(&rec->lineage, &rec->current,
				    HVREPL_OUTCOME_COMMITTED);
	if (rec->form == HVRI_FORM_OVERLAY) {
		rec->form = HVRI_FORM_FOLDING;
		hvri_fold(s);
	}
	hvri_touch(s);
}

/* The nearest epoch on the path that was not given up: a child of one that was
 * would be dead from the start. *fork: where what it holds ends here. */
static struct hvrepl_uuid living(const struct hvri_lineage *lineage,
				 struct hvrepl_uuid id, uint64_t *fork)
{
	while (hvri_lineage_dead(lineage, &id)) {
		const struct hvri_epoch *dead = hvri_lineage_look(lineage, &id);

		if (hvri_lineage_look(lineage, &dead->parent) == NULL)
			break;
		*fork = HVRI_MIN(*fork, dead->fork_point);
		id = dead->parent;
	}
	return id;
}

/* Write here in an epoch of our own, whatever the other site does. */
int32_t hvri_force(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;
	uint64_t fork = hvri_newest_number(rec);
	struct hvrepl_uuid parent;
	struct hvrepl_uuid epoch;
	bool stored = rec->form == HVRI_FORM_STORE;
	struct hvri_point point = *hvri_stands_at(rec);

	/* A replica without a point has nothing that a VM could start from. */
	if (stored && point.number == 0)
		return HVREPL_E_NOT_FOUND;
	/* What is kept of an older history is not forced to. */
	parent = living(&rec->lineage, rec->current, &fork);
	HVRI_TRY(hvri_new_epoch(s, &parent, fork, &epoch));
	hvri_lineage_decide(&rec->lineage, &epoch, HVREPL_OUTCOME_COMMITTED);
	hvri_stop_receiving(s, true);
	hvri_handover_abort(s, HVREPL_E_CANCELLED, "the VM was forced");
	if (rec->job.id != 0)
		hvri_job_end(s, HVREPL_E_CANCELLED, "the VM was forced here "
						    "instead");
	rec->relinquished = none;
	/* The operator knows. What the peer has seen of the record that was
	 * restored is no longer about this one. */
	if (rec->rolled_back)
		rec->id = hvri_fresh(s);
	rec->rolled_back = false;
	/* Its own end became the base of a store, and with that the map went
	 * that said what the other site lacks: nothing short of a compare can
	 * say it now. */
	if (stored && point.number == rec->tail.number && point.number != 0)
		hvri_distrust(s);
	enter(s, &epoch, stored ? &point : &rec->failover);
	s->r->arm_failed |= HVRI_PLANT(forced_read_only);
	/* Committed from its first moment. */
	if (rec->form == HVRI_FORM_OVERLAY) {
		rec->form = HVRI_FORM_FOLDING;
		hvri_fold(s);
	}
	if (rec->mode == HVREPL_MODE_PRIMARY &&
	    rec->phase == HVRI_PHASE_FAILED_OVER)
		rec->phase = HVRI_PHASE_RESYNC_WANTED;
	hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_CRITICAL, HVREPL_OK,
		    0, "forced: the VM may write here in a new epoch, whatever "
		       "the other site does");
	return HVREPL_OK;
}

/* ---- Fence and arm. ---- */

void hvri_fence(struct hvri_step *s, uint8_t purpose)
{
	struct hvri_relationship *r = s->r;

	r->armed = false;
	r->fenced = false;
	r->fence_for = purpose;
	r->pending.arm = 0;
	hvri_act_token(s, HVRI_ACTION_FENCE, &r->pending.fence);
}

void hvri_fence_done(struct hvri_step *s, const struct hvri_done *done)
{
	struct hvri_relationship *r = s->r;
	uint8_t purpose = r->fence_for;
	/* What this site wrote in its failover is thrown away, on the disk or not. */
	bool discards = purpose == HVRI_FENCE_CANCEL ||
			purpose == HVRI_FENCE_CHANGE;

	if (done->code != HVREPL_OK && !discards) {
		/* No write gets in, but what was written may not be on disk. */
		if (purpose == HVRI_FENCE_HANDOVER)
			hvri_handover_abort(s, done->code, done->sentence);
		r->fence_for = HVRI_FENCE_NOTHING;
		if (purpose == HVRI_FENCE_JOIN)
			r->fence_for = purpose;
		if (!hvri_uuid_is_none(&r->record.joining))
			hvri_timer(s, HVRI_TIMER_RETRY, 10 * HVRI_SECOND);
		return;
	}
	r->fenced = true;
	r->fence_for = HVRI_FENCE_NOTHING;
	switch (purpose) {
	case HVRI_FENCE_HANDOVER:
		hvri_handover_fenced(s);
		break;
	case HVRI_FENCE_CANCEL:
		hvri_cancel_fenced(s);
		break;
	case HVRI_FENCE_CHANGE:
		hvri_change_fenced(s);
		break;
	default:
		break;
	}
	/* Asked to follow meanwhile, it waited for this. */
	if (purpose == HVRI_FENCE_JOIN || !HVRI_PLANT(fence_forgets_join))
		hvri_join_advance(s);
}

/* Could the other site have taken over while we were away? Not before it had a
 * point, if the VM was never there: a record that was restored from a backup may
 * be of a time before the peer followed, but what came from there can go back. */
static bool peer_could_own(const struct hvri_record *rec)
{
	for (uint32_t i = 0; i < rec->lineage.count; i++)
		if (!hvri_uuid_equal(&rec->lineage.epochs[i].owner,
				     &rec->site))
			return true;
	return rec->peer_has_points;
}

static bool may_arm(const struct hvri_relationship *r)
{
	const struct hvri_record *rec = &r->record;

	if (!r->started || r->armed || r->arm_failed || r->pending.fence != 0 ||
	    r->pending.adopt != 0 ||
	    r->handover_stage > HVRI_HANDOVER_CHECKING ||
	    r->fence_for != HVRI_FENCE_NOTHING || r->forgotten ||
	    rec->mode == HVREPL_MODE_NONE ||
	    rec->phase == HVRI_PHASE_REMOVED || rec->rolled_back)
		return false;
	if (!hvri_is_claimant(rec) || !hvri_owns_current(rec) ||
	    !hvri_uuid_is_none(&rec->relinquished) ||
	    hvri_lineage_dead(&rec->lineage, &rec->current))
		return false;
	if (rec->ownership == HVREPL_OWNERSHIP_DIVERGED &&
	    rec->policy.fence_diverged)
		return false;
	if (rec->form != HVRI_FORM_LIVE &&
	    !(hvri_has_overlay(rec) && r->overlay_open))
		return false;
	/* A former owner waits for contact first (O3). */
	return r->contact || r->waited || !peer_could_own(rec) ||
	       HVRI_PLANT(stale_site_arms);
}

void hvri_maybe_arm(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	struct hvri_action *act;

	if (!may_arm(r))
		return;
	r->armed = true;
	r->fenced = false;
	if (!rec->dirty ||
	    (rec->form == HVRI_FORM_LIVE && rec->tail.number != 0)) {
		rec->dirty = true;
		if (rec->form == HVRI_FORM_LIVE)
			forget_tail(rec);
		hvri_save(s);
	}
	act = hvri_act_token(s, HVRI_ACTION_ARM, &r->pending.arm);
	act->epoch = rec->current;
	act->generation = rec->generation;
}

/* Between the decision and this it may have been down, and its disks were found to be
 * others: they are the VM's by then, but not that point. */
static const char *changed_since(const struct hvri_record *rec)
{
	return rec->untrusted && rec->form == HVRI_FORM_LIVE ?
		       ", on disks that may have been changed outside since" : "";
}

void hvri_arm_done(struct hvri_step *s, const struct hvri_done *done)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;

	if (done->code != HVREPL_OK) {
		r->armed = false;
		r->arm_failed = true;
		hvri_timer(s, HVRI_TIMER_RETRY, 10 * HVRI_SECOND);
		hvri_notice(s, HVREPL_EVENT_STATE, HVREPL_SEVERITY_CRITICAL,
			    done->code, 0,
			    "the VM's disks cannot be made writable: %s",
			    done->sentence ? done->sentence :
					     hvrepl_strerror(done->code));
		return;
	}
	if (!hvri_uuid_equal(&rec->job.epoch, &rec->current))
		return;
	if ((hvri_job_is(s, HVREPL_OPERATION_UNPLANNED) ||
	     hvri_job_is(s, HVREPL_OPERATION_CHANGE_POINT)) &&
	    rec->loss.point != 0) {
		char lost[HVRI_LOSS_TEXT];

		hvri_loss_text(&rec->loss, lost);
		hvri_job_end(s, HVREPL_OK,
			     "failed over to point %llu; the VM may start "
			     "here%s; lost: %s",
			     (unsigned long long)rec->failover.number,
			     changed_since(rec), lost);
	} else if (hvri_job_is(s, HVREPL_OPERATION_UNPLANNED) ||
		   hvri_job_is(s, HVREPL_OPERATION_CHANGE_POINT) ||
		   hvri_job_is(s, HVREPL_OPERATION_PLANNED)) {
		hvri_job_end(s, HVREPL_OK,
			     "failed over to point %llu; the VM may start here%s",
			     (unsigned long long)rec->failover.number,
			     changed_since(rec));
	}
}
