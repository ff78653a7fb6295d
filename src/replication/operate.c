/* SPDX-License-Identifier: Apache-2.0 */
/* What operators ask for, here or through the other site. */
#include "replication/internal.h"

#include "base/plant.h"

#include "replication/rules.h"

#include <string.h>

static void suspend(struct hvri_step *s)
{
	hvri_drop_cut(s, HVREPL_E_CANCELLED);
	hvri_stop_receiving(s, false);
	s->rec->pause |= HVRI_PAUSE_FETCH;
	/* The owner learns at once and stops offering. */
	s->say_hello = true;
	hvri_save(s);
}

/* Make the peer stand by, at a known point: by compare, or by joining. */
static void resync(struct hvri_step *s)
{
	bool under_way = s->rec->phase == HVRI_PHASE_RESYNC &&
			 s->rec->pause == 0;

	s->rec->pause = 0;
	if (s->r->peer_ready && under_way)
		return;
	if (s->r->peer_ready && s->rec->phase != HVRI_PHASE_READY)
		hvri_start_resync(s);
	else
		hvri_reverse(s);
}

static void resume(struct hvri_step *s, uint64_t job)
{
	struct hvri_record *rec = s->rec;

	rec->pause = 0;
	s->r->holding = false;
	s->r->retries = 0;
	if (rec->phase == HVRI_PHASE_ERROR) {
		rec->phase = rec->phase_before;
		rec->error_code = HVREPL_OK;
	}
	if (rec->phase == HVRI_PHASE_RESYNC_WANTED &&
	    rec->mode == HVREPL_MODE_PRIMARY && s->r->greeted) {
		hvri_job_begin(s, HVREPL_OPERATION_RESYNC, job, false);
		resync(s);
		return;
	}
	if (rec->phase == HVRI_PHASE_DELTA) {
		s->r->cycle_due = true;
		/* An error let the cycles end. */
		if (!HVRI_PLANT(cycle_ends_with_error))
			hvri_timer(s, HVRI_TIMER_CYCLE,
				   rec->policy.cycle_ns);
	}
	s->say_hello = true;
	hvri_save(s);
	hvri_job_end_id(s, job, HVREPL_OK, "resumed");
}

static int32_t change_point(struct hvri_step *s,
			    const struct hvri_operator *op)
{
	struct hvri_record *rec = s->rec;
	const struct hvri_epoch *epoch =
		hvri_lineage_look(&rec->lineage, &rec->current);
	const struct hvri_point *point = &op->resolved;

	if (epoch == NULL || point->number == 0 ||
	    !hvri_lineage_on_path(&rec->lineage, &epoch->parent,
				  &point->epoch) ||
	    point->number > hvri_lineage_fork(&rec->lineage, &point->epoch,
					      &epoch->parent))
		return HVREPL_E_NOT_FOUND;
	if (s->r->doubted && op->point == 0)
		return HVREPL_E_UNTRUSTED;
	if (rec->lineage.count + HVRI_EPOCHS_SPARE > HVRI_EPOCHS_MAX)
		return HVREPL_E_LIMIT;
	s->r->change_to = *point;
	s->r->change_facts = op->facts;
	hvri_job_begin(s, HVREPL_OPERATION_CHANGE_POINT, op->job, false);
	rec->job.point = point->number;
	hvri_fence(s, HVRI_FENCE_CHANGE);
	return HVREPL_OK;
}

static int32_t cancel(struct hvri_step *s, const struct hvri_operator *op)
{
	struct hvri_record *rec = s->rec;
	const struct hvri_epoch *left =
		hvri_lineage_look(&rec->lineage, &rec->current);

	switch (hvri_relationship_state(s->r)) {
	case HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION:
		/* What it handed over is right here alone: its guest would go on with
		 * what is wrong there, and that be compared over this (T9). */
		if (left != NULL && left->planned && s->r->peer_in_doubt)
			return HVREPL_E_UNTRUSTED;
		if (rec->job.id != 0)
			hvri_job_end(s, HVREPL_E_CANCELLED,
				     "the failover was cancelled");
		hvri_job_begin(s, HVREPL_OPERATION_CANCEL, op->job, false);
		hvri_fence(s, HVRI_FENCE_CANCEL);
		return HVREPL_OK;
	case HVREPL_STATE_INITIAL_IN_PROGRESS:
		hvri_drop_cut(s, HVREPL_E_CANCELLED);
		hvri_job_end(s, HVREPL_E_CANCELLED,
			     "initial replication was cancelled");
		rec->phase = HVRI_PHASE_READY;
		break;
	case HVREPL_STATE_RESYNCHRONIZING:
	case HVREPL_STATE_RESYNC_SUSPENDED:
		hvri_drop_cut(s, HVREPL_E_CANCELLED);
		hvri_job_end(s, HVREPL_E_CANCELLED,
			     "resynchronization was cancelled");
		rec->phase = HVRI_PHASE_RESYNC_WANTED;
		s->r->pending.compare = 0;
		break;
	case HVREPL_STATE_REPLICATING: { /* A standby that asked to take over. */
		struct hvri_epoch *epoch;

		if (!hvri_job_is(s, HVREPL_OPERATION_PLANNED))
			return HVREPL_E_STATE;
		epoch = hvri_lineage_find(&rec->lineage, &rec->job.epoch);
		if (epoch && epoch->outcome == HVREPL_OUTCOME_OPEN) {
			struct hvri_handover *h =
				&hvri_send(s, HVRI_MESSAGE_REFUSED)->u.handover;

			epoch->outcome = HVREPL_OUTCOME_REFUSED;
			h->epoch = epoch->id;
			h->parent = epoch->parent;
			h->ordinal = epoch->ordinal;
			hvri_touch(s);
		}
		hvri_job_end(s, HVREPL_E_CANCELLED, "cancelled");
		break;
	}
	default: /* Handed over, or about to be. */
		hvri_handover_cancel(s, op->job);
		return HVREPL_OK;
	}
	hvri_save(s);
	hvri_job_end_id(s, op->job, HVREPL_OK, "cancelled");
	return HVREPL_OK;
}

static int32_t verify(struct hvri_step *s, const struct hvri_operator *op)
{
	struct hvri_relationship *r = s->r;
	const struct hvri_point *newest =
		s->rec->ownership == HVREPL_OWNERSHIP_STANDBY ?
			&s->rec->position :
			&s->rec->last_acked;
	struct hvri_action *act;

	if (r->verify_job != 0)
		return HVREPL_E_BUSY;
	/* The owner's disk has moved on from older ones, and it keeps no
	 * digests of what is not there any more. */
	if (op->point != 0 && op->point != newest->number)
		return s->rec->ownership == HVREPL_OWNERSHIP_STANDBY &&
				       op->resolved.number == 0 ?
			       HVREPL_E_NOT_FOUND :
			       HVREPL_E_UNSUPPORTED;
	r->verify_job = op->job;
	act = hvri_act_token(s, HVRI_ACTION_VERIFY, &r->pending.verify);
	act->point = *newest;
	return HVREPL_OK;
}

static int32_t here(struct hvri_step *s, const struct hvri_operator *op)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;

	switch (op->operation) {
	case HVREPL_OPERATION_ENABLE:
		return hvri_enable(s, op);
	case HVREPL_OPERATION_START_INITIAL:
		hvri_job_begin(s, op->operation, op->job, false);
		if (rec->peer_enabled)
			hvri_start_initial(s);
		else
			hvri_send_enable(s);
		return HVREPL_OK;
	case HVREPL_OPERATION_SUSPEND:
		suspend(s);
		hvri_job_end_id(s, op->job, HVREPL_OK, "suspended");
		return HVREPL_OK;
	case HVREPL_OPERATION_RESUME:
		resume(s, op->job);
		return HVREPL_OK;
	case HVREPL_OPERATION_RESYNC:
		hvri_job_begin(s, op->operation, op->job, false);
		if (rec->phase == HVRI_PHASE_ERROR)
			rec->error_code = HVREPL_OK;
		resync(s);
		return HVREPL_OK;
	case HVREPL_OPERATION_PLANNED:
		return rec->ownership == HVREPL_OWNERSHIP_STANDBY ?
			       hvri_planned_ask(s, op->job) :
			       hvri_planned_here(s, op);
	case HVREPL_OPERATION_UNPLANNED:
		return hvri_unplanned(s, op);
	case HVREPL_OPERATION_CHANGE_POINT:
		return change_point(s, op);
	case HVREPL_OPERATION_CANCEL:
		return cancel(s, op);
	case HVREPL_OPERATION_COMMIT:
		hvri_commit(s);
		if (hvri_tail_blocks_fold(rec))
			hvri_job_end_id(s, op->job, HVREPL_OK,
					"committed; folding it into the disk "
					"waits until the end of a lost epoch "
					"that is kept here as point %llu is "
					"discarded",
					(unsigned long long)rec->tail.number);
		else if (r->points_open)
			hvri_job_end_id(s, op->job, HVREPL_OK,
					"committed; folding it into the disk "
					"waits until the recovery points that "
					"are open here are closed");
		else
			hvri_job_end_id(s, op->job, HVREPL_OK, "committed");
		return HVREPL_OK;
	case HVREPL_OPERATION_REVERSE:
		hvri_job_begin(s, op->operation, op->job, false);
		if (rec->phase == HVRI_PHASE_RESYNC_WANTED && r->peer_ready)
			hvri_start_resync(s);
		else if (rec->peer_enabled)
			hvri_reverse(s);
		else {
			rec->phase = HVRI_PHASE_JOIN;
			hvri_send_enable(s);
		}
		return HVREPL_OK;
	case HVREPL_OPERATION_DISCARD:
		return hvri_discard(s, op);
	case HVREPL_OPERATION_FORCE:
		HVRI_TRY(hvri_force(s));
		hvri_job_end_id(s, op->job, HVREPL_OK, "the VM may start here, "
						       "in an epoch of its own");
		return HVREPL_OK;
	case HVREPL_OPERATION_REMOVE:
		hvri_remove(s, op->job);
		return HVREPL_OK;
	case HVREPL_OPERATION_VERIFY:
		return verify(s, op);
	case HVREPL_OPERATION_CUT_NOW:
		if (r->cut_job != 0)
			return HVREPL_E_BUSY;
		r->cut_job = op->job;
		r->cut_asked = op->job == s->asked_job;
		r->cycle_due = true;
		return HVREPL_OK;
	default:
		return HVREPL_E_INVALID;
	}
}

static void forward(struct hvri_step *s, const struct hvri_operator *op)
{
	struct hvri_operation *out =
		&hvri_send(s, HVRI_MESSAGE_OPERATION)->u.operation;

	out->job = op->job;
	out->operation = op->operation;
	out->point = op->point;
	out->epoch = op->epoch;
	/* What it is for, so that nothing later is given up by it. */
	if (op->operation == HVREPL_OPERATION_CANCEL ||
	    op->operation == HVREPL_OPERATION_COMMIT)
		out->epoch = s->r->peer_current;
	s->r->forward_job = op->job;
}

static const char *why_not(uint32_t operation, int32_t code)
{
	if (operation == HVREPL_OPERATION_CANCEL && code == HVREPL_E_UNTRUSTED)
		return "the other site's disks are in doubt: what it handed over "
		       "is right here alone. Commit and reverse, which compares "
		       "all of them, then fail over back";
	switch (code) {
	case HVREPL_E_NOT_FOUND:
		return "there is no such recovery point or epoch on this VM's "
		       "path";
	case HVREPL_E_UNSUPPORTED:
		return "only the newest recovery point can be compared: the "
		       "primary's disk has moved on from older ones. What they "
		       "are made of was checked by digest as it arrived; "
		       "verify without a number";
	case HVREPL_E_LIMIT:
		return "too many failovers without contact with the other "
		       "site; connect the two first";
	case HVREPL_E_BUSY:
		return "one of these is under way already, or this site is just "
		       "joining the other one: wait for that";
	case HVREPL_E_STATE:
		return "the epochs concerned are not committed, or nothing is "
		       "under way that could be cancelled";
	case HVREPL_E_UNTRUSTED:
		return "this site's disks may have been changed outside or are damaged: "
		       "connect the sites and resynchronize. If the other site is lost, "
		       "name the recovery point to take its disks as they are";
	case HVREPL_E_DENIED:
		return "once the other site has the VM, this one would refuse to "
		       "be replicated back to: its authorisation entry for the "
		       "other site lacks 'reverse' or 'receive'; add them here, "
		       "then fail over";
	default:
		return hvrepl_strerror(code);
	}
}

/* A primary forwards what is to be discarded to its standby; but after a failover
 * it may itself keep that end, and run on an overlay because of it. */
static bool keeps_it_here(const struct hvri_record *rec,
			  const struct hvri_operator *op)
{
	return op->operation == HVREPL_OPERATION_DISCARD &&
	       hvri_has_overlay(rec) && hvri_tail_named(rec, &op->epoch);
}

void hvri_operate(struct hvri_step *s, const struct hvri_operator *op,
		  bool asked_by_peer)
{
	struct hvri_update *u = s->u;
	const struct hvri_rule *rule;

	u->code = hvri_relationship_may(s->r, op->operation, u->sentence);
	if (u->code == HVREPL_OK) {
		rule = hvri_rule_find(s->rec->mode,
				      hvri_relationship_state(s->r),
				      hvri_relationship_ownership(s->r),
				      op->operation);
		if (rule->plan == HVRI_PLAN_NOTHING) {
			hvri_job_end_id(s, op->job, HVREPL_OK, "so it is "
							       "already");
		} else if (rule->plan == HVRI_PLAN_HERE ||
			   keeps_it_here(s->rec, op)) {
			u->code = here(s, op);
		} else if (asked_by_peer) {
			u->code = HVREPL_E_STATE;
		} else {
			forward(s, op);
		}
		if (u->code != HVREPL_OK)
			hvri_sentence(u->sentence, "%s", why_not(op->operation, u->code));
	}
	if (u->code != HVREPL_OK && asked_by_peer)
		hvri_send_answer(s, HVRI_MESSAGE_OPERATION, NULL, op->job,
				 u->code, u->sentence);
}

/* What is asked for from over there, beyond `reverse`: what costs data needs a
 * verb of its own, and says which epoch it means. */
static bool may_ask(struct hvri_step *s, const struct hvri_operation *in,
		    char sentence[HVRI_SENTENCE_MAX + 1])
{
	if (!hvri_may(s, HVREPL_VERB_REVERSE, sentence))
		return false;
	switch (in->operation) {
	case HVREPL_OPERATION_DISCARD: /* Names what is to go by itself. */
		return hvri_may(s, HVREPL_VERB_OVERWRITE, sentence);
	case HVREPL_OPERATION_CANCEL:
		return !hvri_has_overlay(s->rec) ||
		       (hvri_may(s, HVREPL_VERB_OVERWRITE, sentence) &&
			hvri_names_epoch(s, &in->epoch, "cancelling a failover",
					 sentence));
	case HVREPL_OPERATION_COMMIT:
		return hvri_may(s, HVREPL_VERB_DELETE_POINTS, sentence) &&
		       hvri_names_epoch(s, &in->epoch, "committing a failover",
					sentence);
	default:
		return true;
	}
}

void hvri_on_operation(struct hvri_step *s, const struct hvri_message *m)
{
	const struct hvri_operation *in = &m->u.operation;
	char sentence[HVRI_SENTENCE_MAX + 1] = "";
	struct hvri_operator op;

	/* Its own repetition. */
	if (s->rec->job.asked_by_peer && s->rec->job.id == in->job)
		return;
	memset(&op, 0, sizeof(op));
	op.operation = in->operation;
	op.job = in->job;
	op.epoch = in->epoch;
	s->asked_job = in->job;
	switch (in->operation) {
	case HVREPL_OPERATION_START_INITIAL:
	case HVREPL_OPERATION_RESYNC:
	case HVREPL_OPERATION_CANCEL:
	case HVREPL_OPERATION_COMMIT:
	case HVREPL_OPERATION_REVERSE:
	case HVREPL_OPERATION_DISCARD:
	case HVREPL_OPERATION_CUT_NOW:
		if (in->job != 0 && may_ask(s, in, sentence)) {
			hvri_operate(s, &op, true);
			break;
		}
		/* fall through */
	default:
		hvri_send_answer(s, HVRI_MESSAGE_OPERATION, NULL, in->job,
				 HVREPL_E_DENIED,
				 sentence[0] != 0 ? sentence : NULL);
		break;
	}
	s->u->asked_operation = in->operation;
	s->u->asked_code = s->u->denied != 0 ? HVREPL_E_DENIED : s->u->code;
	hvri_sentence(s->u->asked_sentence, "%s",
		      s->u->denied != 0 ? sentence : s->u->sentence);
	/* The answer was for the peer, not for a caller here. */
	s->u->code = HVREPL_OK;
	s->u->sentence[0] = 0;
}

static void join_declined(struct hvri_step *s, const struct hvri_answer *a)
{
	struct hvri_record *rec = s->rec;

	if (rec->phase != HVRI_PHASE_JOIN)
		return;
	rec->phase = rec->mode == HVREPL_MODE_PRIMARY ?
			     HVRI_PHASE_RESYNC_WANTED :
			     HVRI_PHASE_FAILED_OVER;
	s->r->joined = false;
	hvri_save(s);
	hvri_job_end(s, a->code, "%s", a->sentence);
}

void hvri_on_answer(struct hvri_step *s, const struct hvri_message *m)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	const struct hvri_answer *a = &m->answer;

	switch (a->about) {
	case HVRI_MESSAGE_HELLO:
		/* It has the VM, and does not take us for its peer. */
		r->peer_status.refuses = true;
		r->peer_status.error_code = a->code;
		break;
	case HVRI_MESSAGE_ENABLE:
		if (rec->peer_enabled)
			return;
		if (rec->phase == HVRI_PHASE_JOIN)
			join_declined(s, a);
		else if (hvri_job_is(s, HVREPL_OPERATION_ENABLE) ||
			 hvri_job_is(s, HVREPL_OPERATION_START_INITIAL))
			hvri_job_end(s, a->code, "%s", a->sentence);
		break;
	case HVRI_MESSAGE_HANDOVER_CHECK:
		if (r->handover_stage == HVRI_HANDOVER_CHECKING &&
		    hvri_uuid_equal(&a->epoch, &rec->job.epoch))
			hvri_handover_abort(s, a->code, a->sentence);
		break;
	case HVRI_MESSAGE_HANDOVER_REQUEST:
		if (hvri_job_is(s, HVREPL_OPERATION_PLANNED) &&
		    rec->ownership == HVREPL_OWNERSHIP_STANDBY &&
		    hvri_uuid_equal(&a->epoch, &rec->job.epoch) &&
		    a->code != HVREPL_OK)
			hvri_job_end(s, a->code, "%s", a->sentence);
		break;
	case HVRI_MESSAGE_JOIN:
		if (hvri_uuid_equal(&a->epoch, &rec->current))
			join_declined(s, a);
		break;
	case HVRI_MESSAGE_DISCARD:
		if (hvri_job_is(s, HVREPL_OPERATION_DISCARD) &&
		    hvri_uuid_equal(&a->epoch, &rec->discard_loser) &&
		    (a->job == rec->job.id || a->job == 0)) {
			/* Not done: it may not stand in the other's way. */
			rec->discard_loser = rec->discard_winner =
				(struct hvrepl_uuid){ { 0 } };
			hvri_job_end(s, a->code, "%s", a->sentence);
		}
		break;
	case HVRI_MESSAGE_OPERATION:
		if (r->forward_job != 0 && r->forward_job == a->job) {
			hvri_job_end_id(s, a->job, a->code, "%s", a->sentence);
			r->forward_job = 0;
		}
		break;
	case HVRI_MESSAGE_REMOVE:
		hvri_on_removed(s, a);
		break;
	default:
		break;
	}
}
