/* SPDX-License-Identifier: Apache-2.0 */
/* Planned handover of a child epoch (O4), both sides. */
#include "replication/internal.h"

#include "base/plant.h"

#include <string.h>

static const struct hvrepl_uuid none;

static struct hvri_epoch child_of(const struct hvri_handover *h,
				  const struct hvrepl_uuid *owner)
{
	struct hvri_epoch epoch;

	memset(&epoch, 0, sizeof(epoch));
	epoch.id = h->epoch;
	epoch.parent = h->parent;
	epoch.owner = *owner;
	epoch.ordinal = h->ordinal;
	epoch.planned = true;
	return epoch;
}

/* The message about an epoch that is in the lineage. */
static void send_about(struct hvri_step *s, uint32_t type,
		       const struct hvrepl_uuid *id)
{
	const struct hvri_epoch *epoch =
		hvri_lineage_look(&s->rec->lineage, id);
	struct hvri_handover *h = &hvri_send(s, type)->u.handover;

	h->epoch = *id;
	if (epoch) {
		h->parent = epoch->parent;
		h->ordinal = epoch->ordinal;
		h->point = epoch->fork_point;
	}
}

/* ---- The owner. ---- */

static int32_t begin(struct hvri_step *s, const struct hvri_handover *h)
{
	struct hvri_record *rec = s->rec;
	struct hvri_epoch epoch = child_of(h, &rec->peer);

	if (rec->lineage.count + HVRI_EPOCHS_SPARE > HVRI_EPOCHS_MAX)
		return HVREPL_E_LIMIT;
	HVRI_TRY(hvri_lineage_add(&rec->lineage, &epoch));
	rec->job.epoch = h->epoch;
	s->r->handover_stage = HVRI_HANDOVER_CHECKING;
	s->r->armed_before = s->r->armed;
	hvri_touch(s);
	send_about(s, HVRI_MESSAGE_HANDOVER_CHECK, &h->epoch);
	return HVREPL_OK;
}

int32_t hvri_planned_here(struct hvri_step *s, const struct hvri_operator *op)
{
	const uint32_t back = HVREPL_VERB_REVERSE | HVREPL_VERB_RECEIVE;
	struct hvri_handover h;
	int32_t rc;

	/* Before anything moves: into a site from which this one could not be
	 * replicated back to, nobody fails over by plan (O4, 1). */
	if ((op->authorised & back) != back)
		return HVREPL_E_DENIED;

	memset(&h, 0, sizeof(h));
	h.epoch = hvri_fresh(s);
	h.parent = s->rec->current;
	h.ordinal = hvri_lineage_next_ordinal(&s->rec->lineage);
	hvri_job_begin(s, HVREPL_OPERATION_PLANNED, op->job, false);
	rc = begin(s, &h);
	if (rc != HVREPL_OK)
		memset(&s->rec->job, 0, sizeof(s->rec->job));
	return rc;
}

/* Given up before it was relinquished: free, nothing has changed hands. */
void hvri_handover_abort(struct hvri_step *s, int32_t code,
			 const char *sentence)
{
	struct hvri_relationship *r = s->r;

	if (r->handover_stage == HVRI_HANDOVER_NONE)
		return;
	r->handover_stage = HVRI_HANDOVER_NONE;
	hvri_lineage_decide(&s->rec->lineage, &s->rec->job.epoch,
			    HVREPL_OUTCOME_ABANDONED);
	if (r->cut.stage != HVRI_CUT_NONE &&
	    r->cut.begin.kind == HVRI_CUT_FINAL)
		hvri_drop_cut(s, HVREPL_E_CANCELLED);
	if (r->fence_for == HVRI_FENCE_HANDOVER)
		r->fence_for = HVRI_FENCE_NOTHING;
	hvri_touch(s);
	hvri_job_end(s, code, "the planned failover was given up, the VM stays "
			      "here: %s",
		     sentence && sentence[0] ? sentence :
					       hvrepl_strerror(code));
}

void hvri_handover_fenced(struct hvri_step *s)
{
	if (s->r->handover_stage == HVRI_HANDOVER_FENCING)
		s->r->handover_stage = HVRI_HANDOVER_FINAL;
}

/* The final cut is named: the child forks from it. */
void hvri_handover_final(struct hvri_step *s, uint64_t number)
{
	struct hvri_epoch *child =
		hvri_lineage_find(&s->rec->lineage, &s->rec->job.epoch);

	if (child == NULL)
		return;
	child->fork_point = number;
	hvri_save(s);
}

/* The peer is durable at exactly n: relinquish, durably, then grant. */
void hvri_handover_durable(struct hvri_step *s, const struct hvri_point *point)
{
	struct hvri_record *rec = s->rec;

	if (s->r->handover_stage != HVRI_HANDOVER_FINAL ||
	    rec->ownership != HVREPL_OWNERSHIP_OWNER)
		return;
	if (HVRI_PLANT(relfirst)) {
		/* Granted, and only relinquished when the answer comes. */
		s->r->handover_stage = HVRI_HANDOVER_NONE;
		send_about(s, HVRI_MESSAGE_GRANT, &rec->job.epoch);
		return;
	}
	s->r->handover_stage = HVRI_HANDOVER_NONE;
	rec->relinquished = rec->job.epoch;
	rec->relinquished_point = point->number;
	rec->ownership = HVREPL_OWNERSHIP_RELINQUISHED;
	rec->dirty = false;
	hvri_touch(s);
	send_about(s, HVRI_MESSAGE_GRANT, &rec->relinquished);
}

void hvri_handover_resend(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;

	if (!hvri_uuid_is_none(&rec->relinquished)) {
		if (s->r->cancel_job != 0)
			send_about(s, HVRI_MESSAGE_CANCEL_REQUEST,
				   &rec->relinquished);
		else if (rec->ownership == HVREPL_OWNERSHIP_RELINQUISHED)
			send_about(s, HVRI_MESSAGE_GRANT, &rec->relinquished);
	} else if (s->r->handover_stage == HVRI_HANDOVER_CHECKING) {
		send_about(s, HVRI_MESSAGE_HANDOVER_CHECK, &rec->job.epoch);
	} else if (hvri_job_is(s, HVREPL_OPERATION_PLANNED) &&
		   rec->ownership == HVREPL_OWNERSHIP_STANDBY) {
		struct hvri_handover *h =
			&hvri_send(s, HVRI_MESSAGE_HANDOVER_REQUEST)
				 ->u.handover;

		h->epoch = rec->job.epoch;
		h->parent = rec->current;
		h->ordinal = rec->job.point;
	}
}

void hvri_handover_cancel(struct hvri_step *s, uint64_t job)
{
	if (hvri_uuid_is_none(&s->rec->relinquished)) {
		hvri_handover_abort(s, HVREPL_E_CANCELLED, NULL);
		hvri_job_end_id(s, job, HVREPL_OK, "cancelled");
		return;
	}
	s->r->cancel_job = job;
	send_about(s, HVRI_MESSAGE_CANCEL_REQUEST, &s->rec->relinquished);
}

/* The other site has it: follow. */
void hvri_become_standby(struct hvri_step *s, const struct hvrepl_uuid *epoch)
{
	struct hvri_record *rec = s->rec;
	struct hvri_epoch *child =
		hvri_lineage_find(&rec->lineage, &rec->relinquished);

	if (child)
		child->entered = true;
	rec->relinquished = none;
	rec->current = *epoch;
	rec->ownership = HVREPL_OWNERSHIP_STANDBY;
	rec->mode = HVREPL_MODE_REPLICA;
	rec->phase = HVRI_PHASE_WAITING;
	rec->handover_clean = true;
	rec->position = rec->last_acked;
	rec->verdict = HVRI_VERDICT_NONE;
	rec->verdict_mine = rec->verdict_peer = none;
	rec->discard_loser = rec->discard_winner = none;
	rec->joining = none;
	rec->dirty = false;
	memset(&rec->loss, 0, sizeof(rec->loss));
	memset(&s->r->said, 0, sizeof(s->r->said));
	hvri_touch(s);
	hvri_job_end_id(s, s->r->cancel_job, HVREPL_E_STATE,
			"the other site had taken the VM already; cancel the "
			"failover there");
	s->r->cancel_job = 0;
	if (hvri_job_is(s, HVREPL_OPERATION_PLANNED))
		hvri_job_end(s, HVREPL_OK, "the other site owns the VM now, at "
					   "point %llu",
			     (unsigned long long)rec->position.number);
	hvri_job_overtaken(s, true);
}

/* Given up, or left behind by a force: then it is not answered otherwise. */
static bool is_under_way(const struct hvri_step *s,
			 const struct hvri_epoch *child)
{
	const struct hvri_record *rec = s->rec;

	return !hvri_outcome_dead(child->outcome) &&
	       (hvri_uuid_equal(&rec->relinquished, &child->id) ||
		hvri_lineage_on_path(&rec->lineage, &rec->current,
				     &child->id) ||
		(hvri_job_is(s, HVREPL_OPERATION_PLANNED) &&
		 hvri_uuid_equal(&rec->job.epoch, &child->id)));
}

static void on_request(struct hvri_step *s, const struct hvri_handover *h)
{
	struct hvri_record *rec = s->rec;
	const struct hvri_epoch *known;
	char sentence[HVRI_SENTENCE_MAX + 1];
	int32_t rc;

	/* Once: an id known already was used or given up (O4). Who asks again has
	 * not heard which. */
	known = hvri_lineage_look(&rec->lineage, &h->epoch);
	if (known != NULL && !HVRI_PLANT(reqonce)) {
		if (!is_under_way(s, known) && !HVRI_PLANT(given_up_in_silence))
			hvri_send_answer(s, HVRI_MESSAGE_HANDOVER_REQUEST,
					 &h->epoch, 0, HVREPL_E_CANCELLED,
					 "the planned failover was given up; "
					 "the VM stays at its site");
		return;
	}
	rc = hvri_relationship_may(s->r, HVREPL_OPERATION_PLANNED, sentence);
	if (rc == HVREPL_OK &&
	    (rec->ownership != HVREPL_OWNERSHIP_OWNER ||
	     !hvri_uuid_equal(&h->parent, &rec->current))) {
		rc = HVREPL_E_STATE;
		hvri_sentence(sentence, "this site does not own that epoch");
	}
	/* `receive` as well, or it could not be replicated back to here. */
	if (rc == HVREPL_OK && (!hvri_may(s, HVREPL_VERB_REVERSE, sentence) ||
				!hvri_may(s, HVREPL_VERB_RECEIVE, sentence)))
		rc = HVREPL_E_DENIED;
	if (rc == HVREPL_OK) {
		const struct hvri_epoch *parent =
			hvri_lineage_look(&rec->lineage, &h->parent);

		/* Drawn before the VM was forced into another epoch: a child of
		 * that cannot come of it. */
		if (parent == NULL || h->ordinal <= parent->ordinal) {
			rc = HVREPL_E_CANCELLED;
			hvri_sentence(sentence,
				      "the VM is in another epoch since this was "
				      "asked for: ask again");
		} else {
			hvri_job_begin(s, HVREPL_OPERATION_PLANNED,
				       HVRI_JOB_OF_PEER, true);
			rc = begin(s, h);
			if (rc != HVREPL_OK) {
				memset(&rec->job, 0, sizeof(rec->job));
				hvri_sentence(sentence, "%s",
					      hvrepl_strerror(rc));
			}
		}
	}
	if (rc != HVREPL_OK)
		hvri_send_answer(s, HVRI_MESSAGE_HANDOVER_REQUEST, &h->epoch, 0,
				 rc, sentence);
}

static void on_ready(struct hvri_step *s, const struct hvri_handover *h)
{
	if (s->r->handover_stage != HVRI_HANDOVER_CHECKING ||
	    !hvri_uuid_equal(&h->epoch, &s->rec->job.epoch))
		return;
	s->r->handover_stage = HVRI_HANDOVER_FENCING;
	s->r->armed_before = s->r->armed;
	hvri_fence(s, HVRI_FENCE_HANDOVER);
}

static void on_owned(struct hvri_step *s, const struct hvri_handover *h)
{
	const struct hvri_epoch *child =
		hvri_lineage_look(&s->rec->lineage, &h->epoch);

	if (!hvri_uuid_equal(&s->rec->relinquished, &h->epoch) ||
	    child == NULL || hvri_outcome_dead(child->outcome))
		return;
	hvri_become_standby(s, &h->epoch);
}

static void on_refused(struct hvri_step *s, const struct hvri_handover *h)
{
	struct hvri_record *rec = s->rec;
	bool mine = hvri_uuid_equal(&rec->relinquished, &h->epoch) ||
		    (HVRI_PLANT(jobid) &&
		     !hvri_uuid_is_none(&rec->relinquished));

	if (!mine && !(s->r->handover_stage != HVRI_HANDOVER_NONE &&
		       hvri_uuid_equal(&rec->job.epoch, &h->epoch)))
		return;
	if (!mine) {
		hvri_handover_abort(s, HVREPL_E_PEER_REFUSED, NULL);
		return;
	}
	hvri_lineage_decide(&rec->lineage, &h->epoch, HVREPL_OUTCOME_REFUSED);
	rec->relinquished = none;
	if (rec->ownership == HVREPL_OWNERSHIP_RELINQUISHED)
		rec->ownership = HVREPL_OWNERSHIP_OWNER;
	hvri_touch(s);
	hvri_job_end_id(s, s->r->cancel_job, HVREPL_OK, "cancelled; this site "
							"owns the VM again");
	if (hvri_job_is(s, HVREPL_OPERATION_PLANNED))
		hvri_job_end(s, s->r->cancel_job ? HVREPL_E_CANCELLED :
						   HVREPL_E_PEER_REFUSED,
			     "the other site did not take the VM; this site "
			     "owns it again");
	s->r->cancel_job = 0;
}

/* ---- The standby. ---- */

int32_t hvri_planned_ask(struct hvri_step *s, uint64_t job)
{
	struct hvri_record *rec = s->rec;

	if (rec->lineage.count + HVRI_EPOCHS_SPARE > HVRI_EPOCHS_MAX)
		return HVREPL_E_LIMIT;
	hvri_job_begin(s, HVREPL_OPERATION_PLANNED, job, false);
	rec->job.epoch = hvri_fresh(s);
	rec->job.point = hvri_lineage_next_ordinal(&rec->lineage);
	hvri_handover_resend(s);
	return HVREPL_OK;
}

/* The child becomes known here. False: it cannot be what it says. */
bool hvri_handover_learn(struct hvri_step *s, const struct hvri_handover *h,
			 uint64_t fork)
{
	struct hvri_record *rec = s->rec;
	const struct hvri_epoch *parent =
		hvri_lineage_look(&rec->lineage, &h->parent);
	struct hvri_epoch epoch = child_of(h, &rec->site);

	if (hvri_lineage_look(&rec->lineage, &h->epoch))
		return true;
	if (parent == NULL)
		return false;
	epoch.fork_point = fork;
	if (rec->lineage.count >= HVRI_EPOCHS_OF_PEER ||
	    hvri_lineage_add(&rec->lineage, &epoch) != HVREPL_OK)
		return false;
	hvri_touch(s);
	return true;
}

static void on_check(struct hvri_step *s, const struct hvri_handover *h)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	const struct hvri_epoch *child;
	char sentence[HVRI_SENTENCE_MAX + 1];

	if (!hvri_may(s, HVREPL_VERB_RECEIVE, sentence)) {
		hvri_send_answer(s, HVRI_MESSAGE_HANDOVER_CHECK, &h->epoch, 0,
				 HVREPL_E_DENIED, sentence);
		return;
	}
	if (rec->ownership != HVREPL_OWNERSHIP_STANDBY ||
	    rec->form != HVRI_FORM_STORE ||
	    !hvri_uuid_equal(&rec->current, &h->parent) ||
	    (rec->pause & HVRI_PAUSE_FETCH)) {
		hvri_send_answer(s, HVRI_MESSAGE_HANDOVER_CHECK, &h->epoch, 0,
				 HVREPL_E_STATE,
				 rec->pause ?
					 "replication is suspended there" :
					 "the other site does not stand by "
					 "for this epoch");
		return;
	}
	if (!hvri_handover_learn(s, h, 0))
		return;
	child = hvri_lineage_look(&rec->lineage, &h->epoch);
	if (hvri_outcome_dead(child->outcome)) {
		hvri_send_answer(s, HVRI_MESSAGE_HANDOVER_CHECK, &h->epoch, 0,
				 HVREPL_E_CANCELLED, NULL);
		return;
	}
	r->checking = *h;
	hvri_act_token(s, HVRI_ACTION_CHECK_REVERSE, &r->pending.check);
}

void hvri_checked(struct hvri_step *s, const struct hvri_done *done)
{
	if (done->code == HVREPL_OK)
		send_about(s, HVRI_MESSAGE_HANDOVER_READY,
			   &s->r->checking.epoch);
	else
		hvri_send_answer(s, HVRI_MESSAGE_HANDOVER_CHECK,
				 &s->r->checking.epoch, 0, done->code,
				 done->sentence);
}

/* In it, or past it. */
static bool entered(const struct hvri_record *rec,
		    const struct hvrepl_uuid *epoch)
{
	return hvri_lineage_on_path(&rec->lineage, &rec->current, epoch);
}

/* Durably refused before REFUSED is sent, also an epoch never seen. */
static void refuse(struct hvri_step *s, const struct hvri_handover *h)
{
	struct hvri_record *rec = s->rec;

	if (!hvri_handover_learn(s, h, h->point))
		return;
	if (!HVRI_PLANT(refdur))
		hvri_lineage_decide(&rec->lineage, &h->epoch,
				    HVREPL_OUTCOME_REFUSED);
	hvri_touch(s);
	send_about(s, HVRI_MESSAGE_REFUSED, &h->epoch);
	if (hvri_job_is(s, HVREPL_OPERATION_PLANNED) &&
	    hvri_uuid_equal(&rec->job.epoch, &h->epoch))
		hvri_job_end(s, HVREPL_E_CANCELLED, "the handover was given "
						    "up; the other site keeps "
						    "the VM");
}

static void enter(struct hvri_step *s, const struct hvri_handover *h)
{
	struct hvri_record *rec = s->rec;
	struct hvri_epoch *child;

	if (!hvri_handover_learn(s, h, h->point))
		return;
	child = hvri_lineage_find(&rec->lineage, &h->epoch);
	child->entered = true;
	child->fork_point = h->point;
	hvri_stop_receiving(s, true);
	rec->current = h->epoch;
	rec->ownership = HVREPL_OWNERSHIP_OWNER;
	rec->phase = HVRI_PHASE_FAILED_OVER;
	rec->form = HVRI_FORM_OVERLAY;
	rec->failover = rec->position;
	rec->overlay = h->epoch;
	rec->verdict = HVRI_VERDICT_NONE;
	rec->discard_loser = rec->discard_winner = none;
	rec->dirty = false;
	/* Asked for here as well, it is this one that was granted. */
	if (hvri_job_is(s, HVREPL_OPERATION_PLANNED))
		rec->job.epoch = h->epoch;
	s->r->waited = true; /* An operator's word stands behind it. */
	s->r->peer_ready = false;
	s->r->next_point = HVRI_MAX(s->r->next_point, h->point + 1);
	rec->point_reserved = HVRI_MAX(rec->point_reserved, h->point + 1);
	hvri_touch(s);
	hvri_open_overlay(s);
	send_about(s, HVRI_MESSAGE_OWNED, &h->epoch);
}

/* Nor is the VM taken onto disks in doubt: the other site has what is right, and owns
 * it again (T9). Who wants it here all the same fails over by naming the point. */
static void on_grant(struct hvri_step *s, const struct hvri_handover *h)
{
	struct hvri_record *rec = s->rec;
	const struct hvri_epoch *child =
		hvri_lineage_look(&rec->lineage, &h->epoch);

	if (entered(rec, &h->epoch)) {
		send_about(s, HVRI_MESSAGE_OWNED, &h->epoch);
		return;
	}
	if (rec->ownership == HVREPL_OWNERSHIP_STANDBY &&
	    rec->form == HVRI_FORM_STORE &&
	    hvri_uuid_equal(&rec->current, &h->parent) &&
	    hvri_uuid_equal(&rec->position.epoch, &h->parent) &&
	    rec->position.number == h->point &&
	    (!rec->untrusted || HVRI_PLANT(granted_in_doubt)) &&
	    !(child && hvri_outcome_dead(child->outcome)))
		enter(s, h);
	else
		refuse(s, h);
}

static void on_cancel_request(struct hvri_step *s,
			      const struct hvri_handover *h)
{
	const struct hvri_epoch *child =
		hvri_lineage_look(&s->rec->lineage, &h->epoch);

	if (entered(s->rec, &h->epoch) &&
	    !(child && hvri_outcome_dead(child->outcome)))
		send_about(s, HVRI_MESSAGE_OWNED, &h->epoch);
	else
		refuse(s, h);
}

void hvri_on_handover(struct hvri_step *s, const struct hvri_message *m)
{
	const struct hvri_handover *h = &m->u.handover;

	switch (m->type) {
	case HVRI_MESSAGE_HANDOVER_REQUEST:
		on_request(s, h);
		break;
	case HVRI_MESSAGE_HANDOVER_CHECK:
		on_check(s, h);
		break;
	case HVRI_MESSAGE_HANDOVER_READY:
		on_ready(s, h);
		break;
	case HVRI_MESSAGE_GRANT:
		on_grant(s, h);
		break;
	case HVRI_MESSAGE_OWNED:
		on_owned(s, h);
		break;
	case HVRI_MESSAGE_REFUSED:
		on_refused(s, h);
		break;
	default:
		on_cancel_request(s, h);
		break;
	}
}
