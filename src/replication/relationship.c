/* SPDX-License-Identifier: Apache-2.0 */
/* The step: one event in, dispatched to its flow, one update out. */
#include "replication/relationship.h"

#include "base/plant.h"
#include "replication/internal.h"
#include "replication/loss.h"
#include "replication/names.h"

#include <string.h>

void hvri_relationship_init(struct hvri_relationship *r,
			    const struct hvrepl_uuid *site,
			    const struct hvrepl_uuid *vm)
{
	memset(r, 0, sizeof(*r));
	r->record.site = *site;
	r->record.vm = *vm;
	r->shown_state = HVREPL_STATE_DISABLED;
}

void hvri_relationship_load(struct hvri_relationship *r,
			    const struct hvri_record *record)
{
	memset(r, 0, sizeof(*r));
	r->record = *record;
	r->shown_state = (uint8_t)hvri_relationship_state(r);
	r->shown_ownership = (uint8_t)hvri_relationship_ownership(r);
	r->shown_mode = record->mode;
}

void hvri_relationship_address(const struct hvri_relationship *r,
			       struct hvri_message *message)
{
	message->from_incarnation = r->incarnation;
	message->to_incarnation = r->peer_incarnation;
}

uint32_t hvri_relationship_unknown_answer(uint32_t message_type)
{
	switch (message_type) {
	case HVRI_MESSAGE_REMOVE:
		return HVRI_MESSAGE_REMOVED;
	case HVRI_MESSAGE_ENABLE: /* The driver makes a relationship. */
	case HVRI_MESSAGE_ENABLED:
	case HVRI_MESSAGE_UNKNOWN:
	case HVRI_MESSAGE_REMOVED:
	case HVRI_MESSAGE_ANSWER:
		return 0;
	default:
		return HVRI_MESSAGE_UNKNOWN;
	}
}

/* ---- Messages. ---- */

/* Acted on before HELLO: there is no bound pair of incarnations yet. */
static bool early(struct hvri_step *s, const struct hvri_message *m)
{
	struct hvri_relationship *r = s->r;

	switch (m->type) {
	case HVRI_MESSAGE_HELLO:
		hvri_on_hello(s, m);
		return true;
	case HVRI_MESSAGE_ENABLE:
		hvri_on_enable(s, m);
		return true;
	case HVRI_MESSAGE_ENABLED:
		if (m->to_incarnation == r->incarnation)
			hvri_on_enabled(s);
		return true;
	case HVRI_MESSAGE_UNKNOWN:
		if (m->to_incarnation == r->incarnation)
			hvri_on_unknown(s);
		return true;
	case HVRI_MESSAGE_REMOVED:
		if (m->to_incarnation == r->incarnation)
			hvri_on_removed(s, NULL);
		return true;
	case HVRI_MESSAGE_REMOVE: /* No HELLO is said of what was not made. */
		if (s->rec->mode != HVREPL_MODE_NONE)
			return false;
		hvri_on_remove_unmade(s, m);
		return true;
	case HVRI_MESSAGE_ANSWER:
		if (m->answer.about != HVRI_MESSAGE_ENABLE &&
		    m->answer.about != HVRI_MESSAGE_HELLO)
			return false;
		if (m->to_incarnation == r->incarnation)
			hvri_on_answer(s, m);
		return true;
	default:
		return false;
	}
}

/* Announced, and no point yet: a STATUS sent for another reason repeats a
 * number that may be older than the cut. */
static uint64_t on_its_way(const struct hvri_relationship *r)
{
	return r->receiving.point.number == 0 ||
			       r->receiving.kind == HVRI_CUT_INITIAL ?
		       0 :
		       r->receiving.bytes;
}

static void on_message(struct hvri_step *s, const struct hvri_message *m)
{
	struct hvri_relationship *r = s->r;

	if (!r->session || early(s, m))
		return;
	/* Bound to both incarnations, and never before HELLO (O2). */
	if ((!r->greeted && !HVRI_PLANT(hs)) ||
	    m->from_incarnation != r->peer_incarnation ||
	    m->to_incarnation != r->incarnation)
		return;
	if (s->rec->phase == HVRI_PHASE_REMOVED &&
	    m->type != HVRI_MESSAGE_ANSWER)
		return;
	r->statistics.last_contact_ns = s->e->now_ns;
	switch (m->type) {
	case HVRI_MESSAGE_STATUS:
		r->peer_status = m->u.status;
		if (m->u.status.unshipped_bytes != HVREPL_BYTES_UNKNOWN)
			hvri_loss_heard(r, HVRI_MAX(m->u.status.unshipped_bytes,
						    on_its_way(r)));
		hvri_peer_paused(s);
		break;
	case HVRI_MESSAGE_CUT_BEGIN:
		hvri_on_cut_begin(s, m);
		break;
	case HVRI_MESSAGE_CUT_ACCEPT:
	case HVRI_MESSAGE_PROGRESS:
		hvri_on_cut_message(s, m);
		break;
	case HVRI_MESSAGE_CUT_DECLINE:
		hvri_cut_declined(s, m);
		break;
	case HVRI_MESSAGE_CUT_GONE:
		if (hvri_uuid_equal(&r->receiving.point.cut,
				    &m->u.progress.cut))
			hvri_stop_receiving(s, true);
		break;
	case HVRI_MESSAGE_DURABLE:
		hvri_cut_durable(s, &m->u.durable.point);
		break;
	case HVRI_MESSAGE_HANDOVER_REQUEST:
	case HVRI_MESSAGE_HANDOVER_CHECK:
	case HVRI_MESSAGE_HANDOVER_READY:
	case HVRI_MESSAGE_GRANT:
	case HVRI_MESSAGE_OWNED:
	case HVRI_MESSAGE_REFUSED:
	case HVRI_MESSAGE_CANCEL_REQUEST:
		hvri_on_handover(s, m);
		break;
	case HVRI_MESSAGE_JOIN:
		hvri_on_join(s, m);
		break;
	case HVRI_MESSAGE_JOIN_READY:
		hvri_on_join_ready(s, m);
		break;
	case HVRI_MESSAGE_RANGES:
		hvri_on_ranges(s, m);
		break;
	case HVRI_MESSAGE_DISCARD:
		hvri_on_discard(s, m);
		break;
	case HVRI_MESSAGE_DISCARDED:
		hvri_on_discarded(s, m);
		break;
	case HVRI_MESSAGE_OPERATION:
		hvri_on_operation(s, m);
		break;
	case HVRI_MESSAGE_ANSWER:
		hvri_on_answer(s, m);
		break;
	case HVRI_MESSAGE_REMOVE:
		hvri_on_remove(s, m);
		break;
	default:
		break;
	}
}

/* ---- Ends of actions. ---- */

static bool took(uint64_t *pending, uint64_t token)
{
	if (*pending == 0 || *pending != token)
		return false;
	*pending = 0;
	return true;
}

static void verified(struct hvri_step *s, const struct hvri_done *done)
{
	uint64_t job = s->r->verify_job;

	s->r->verify_job = 0;
	if (done->code != HVREPL_OK)
		hvri_job_end_id(s, job, done->code, "%s",
				done->sentence ? done->sentence :
						 hvrepl_strerror(done->code));
	else if (done->bytes != 0)
		hvri_job_end_id(s, job, HVREPL_E_CORRUPT,
				"the two sites differ in %llu bytes: "
				"resynchronize",
				(unsigned long long)done->bytes);
	else
		hvri_job_end_id(s, job, HVREPL_OK, "the two sites are equal");
}

static void on_done(struct hvri_step *s, const struct hvri_done *done)
{
	struct hvri_relationship *r = s->r;
	struct hvri_pending *p = &r->pending;

	if (took(&p->cut, done->token))
		hvri_cut_named(s, done);
	else if (took(&p->fence, done->token))
		hvri_fence_done(s, done);
	else if (took(&p->arm, done->token))
		hvri_arm_done(s, done);
	else if (took(&p->overlay, done->token))
		hvri_overlay_opened(s, done);
	else if (took(&p->drop, done->token))
		hvri_drop_done(s, done);
	else if (took(&p->fold, done->token))
		hvri_folded(s, done);
	else if (took(&p->adopt, done->token))
		hvri_adopted(s, done);
	else if (took(&p->export_ranges, done->token))
		hvri_exported(s, done);
	else if (took(&p->compare, done->token))
		hvri_compared(s, done);
	else if (took(&p->receive, done->token))
		hvri_on_receive_done(s, done);
	else if (took(&p->create, done->token))
		hvri_created(s, done);
	else if (took(&p->check, done->token))
		hvri_checked(s, done);
	else if (took(&p->verify, done->token))
		verified(s, done);
	else if (took(&p->remove, done->token))
		hvri_removed_here(s, done);
	else if (took(&p->mark_all, done->token))
		hvri_all_marked(s, done);
	else if (took(&p->unpin, done->token))
		hvri_tail_gone(s, done);
}

/* ---- Timers. ---- */

static void retry(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;

	r->holding = false;
	r->arm_failed = false;
	if (r->drop_again && rec->form == HVRI_FORM_STORE &&
	    rec->phase != HVRI_PHASE_REMOVED)
		hvri_act_token(s, HVRI_ACTION_DROP_OVERLAY, &r->pending.drop);
	r->drop_again = false;
	if (rec->phase == HVRI_PHASE_REMOVED) {
		if (r->pending.remove == 0 && !r->forgotten)
			hvri_act_token(s, HVRI_ACTION_REMOVE,
				       &r->pending.remove);
		return;
	}
	if (hvri_tail_going(rec))
		hvri_let_tail_go(s);
	if (hvri_has_overlay(rec) && !r->overlay_open &&
	    r->pending.overlay == 0)
		hvri_open_overlay(s);
	else if (rec->form == HVRI_FORM_FOLDING)
		hvri_fold(s);
	if (r->fence_for == HVRI_FENCE_JOIN && r->pending.fence == 0)
		hvri_fence(s, HVRI_FENCE_JOIN);
	else if (!hvri_uuid_is_none(&rec->joining) &&
		 (rec->form != HVRI_FORM_STORE || r->export_again))
		hvri_join_advance(s);
	r->export_again = false;
}

static void on_timer(struct hvri_step *s)
{
	switch (s->e->u.timer) {
	case HVRI_TIMER_CYCLE:
		hvri_cycle(s);
		break;
	case HVRI_TIMER_START_WAIT:
		if (s->r->without_peer == HVRI_START_ALLOW)
			s->r->waited = true;
		break;
	case HVRI_TIMER_RESEND:
		s->r->resend_at = 0;
		s->say_hello = true;
		hvri_handover_resend(s);
		if (hvri_job_is(s, HVREPL_OPERATION_DISCARD))
			hvri_send_discard(s);
		hvri_offer_cut(s);
		break;
	case HVRI_TIMER_RETRY:
		retry(s);
		break;
	case HVRI_TIMER_STATUS:
		s->r->status_at = 0;
		s->r->changed_bytes = s->e->changed_bytes;
		/* No cut tells the other site that we are there, or one is long
		 * on its way: what it knows would look older than it is. */
		s->r->status_due = s->rec->pause != 0 ||
				   s->r->cut.stage > HVRI_CUT_NAMING;
		break;
	default:
		break;
	}
}

/* ---- After every event. ---- */

static void say_hello(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	struct hvri_update *u = s->u;
	struct hvri_message *m;

	if (!r->session || s->rec->mode == HVREPL_MODE_NONE ||
	    s->rec->phase == HVRI_PHASE_REMOVED)
		return;
	if (u->send_count >= HVRI_UPDATE_SENDS) {
		u->overflow = true;
		return;
	}
	/* First of all: what follows may be in the epoch it tells of. */
	memmove(&u->sends[1], &u->sends[0],
		u->send_count * sizeof(u->sends[0]));
	u->send_count++;
	m = &u->sends[0];
	memset(m, 0, sizeof(*m));
	m->type = HVRI_MESSAGE_HELLO;
	hvri_relationship_address(r, m);
	hvri_build_claim(r, &r->claim_out);
	m->claim = &r->claim_out;
	m->number = ++r->hellos_sent;
	if (r->peer_incarnation != 0)
		r->hello_answered = true;
}

/* Does the peer depend on what we have not shipped? */
static bool tells(const struct hvri_relationship *r)
{
	const struct hvri_record *rec = &r->record;

	return r->greeted && rec->mode == HVREPL_MODE_PRIMARY &&
	       rec->ownership == HVREPL_OWNERSHIP_OWNER &&
	       rec->peer_has_points && rec->phase != HVRI_PHASE_REMOVED;
}

static void set_status(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	uint64_t pause = hvri_loss_period_ns(s->rec);

	if (!tells(r)) {
		r->changed_bytes = HVREPL_BYTES_UNKNOWN;
		return;
	}
	if (r->status_at != 0)
		return;
	r->status_at = s->e->now_ns + pause;
	hvri_timer(s, HVRI_TIMER_STATUS, pause);
}

static uint64_t unshipped(const struct hvri_relationship *r)
{
	if (!tells(r) || r->changed_bytes == HVREPL_BYTES_UNKNOWN)
		return HVREPL_BYTES_UNKNOWN;
	return r->changed_bytes +
	       (r->cut.stage > HVRI_CUT_NAMING ? r->cut.begin.bytes : 0);
}

static void say_status(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	struct hvri_status status;
	bool due = r->status_due;

	r->status_due = false;
	if (!r->greeted || s->rec->phase == HVRI_PHASE_REMOVED)
		return;
	memset(&status, 0, sizeof(status));
	status.mode = s->rec->mode;
	status.state = (uint8_t)hvri_relationship_state(r);
	status.pause = s->rec->pause;
	status.phase = s->rec->phase;
	status.refuses = r->refusing;
	status.error_code = s->rec->error_code;
	/* Between two timers it is no news: the cuts themselves tell. */
	status.unshipped_bytes =
		s->e->type == HVRI_EVENT_TIMER &&
				s->e->u.timer == HVRI_TIMER_STATUS ?
			unshipped(r) :
			r->status_sent.unshipped_bytes;
	if (!due && memcmp(&status, &r->status_sent, sizeof(status)) == 0)
		return;
	r->status_sent = status;
	hvri_send(s, HVRI_MESSAGE_STATUS)->u.status = status;
}

static void set_resend(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	const struct hvri_record *rec = s->rec;
	bool waits;

	if (!r->session || rec->mode == HVREPL_MODE_NONE ||
	    rec->phase == HVRI_PHASE_REMOVED)
		return;
	waits = !r->greeted || !hvri_uuid_is_none(&rec->relinquished) ||
		r->handover_stage == HVRI_HANDOVER_CHECKING ||
		r->cut.stage == HVRI_CUT_OFFERED ||
		hvri_job_is(s, HVREPL_OPERATION_DISCARD) ||
		(hvri_job_is(s, HVREPL_OPERATION_PLANNED) &&
		 rec->ownership == HVREPL_OWNERSHIP_STANDBY);
	if (!waits || r->resend_at != 0)
		return;
	r->resend_at = s->e->now_ns + HVRI_RESEND_NS;
	hvri_timer(s, HVRI_TIMER_RESEND, HVRI_RESEND_NS);
}

static void tell_state(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	uint8_t state = (uint8_t)hvri_relationship_state(r);
	uint8_t ownership = (uint8_t)hvri_relationship_ownership(r);

	if (state == r->shown_state && ownership == r->shown_ownership &&
	    s->rec->mode == r->shown_mode)
		return;
	r->shown_state = state;
	r->shown_ownership = ownership;
	r->shown_mode = s->rec->mode;
	hvri_notice(s, HVREPL_EVENT_STATE,
		    ownership == HVREPL_OWNERSHIP_DIVERGED ||
				    state == HVREPL_STATE_ERROR ?
			    HVREPL_SEVERITY_CRITICAL :
			    HVREPL_SEVERITY_INFO,
		    HVREPL_OK, state, "%s, %s, %s",
		    hvri_mode_name(s->rec->mode), hvri_state_name(state),
		    hvri_ownership_name(ownership));
}

static void tell_health(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	struct hvri_health health;

	if (!r->started)
		return;
	hvri_relationship_health(r, s->e->now_ns, s->e->utc_ns, &health);
	if (health.level == r->shown_health &&
	    health.reasons == r->shown_reasons)
		return;
	r->shown_health = (uint8_t)health.level;
	r->shown_reasons = health.reasons;
	hvri_notice(s, HVREPL_EVENT_HEALTH,
		    hvri_health_severity(health.level), HVREPL_OK, health.level, "%s",
		    health.level == HVREPL_HEALTH_NONE	 ? "not replicated" :
		    health.level == HVREPL_HEALTH_NORMAL ? "health is normal" :
							   health.sentence);
}

/* A change is told to a peer that has been heard in this session, and whose
 * memory of this record was looked at before: see seen_newer(). */
static void tell_generation(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;

	if (!s->r->greeted || rec->said_generation == rec->generation)
		return;
	rec->said_generation = rec->generation;
	hvri_save(s);
	s->say_hello = true;
}

static void finish(struct hvri_step *s)
{
	if (s->r->forgotten) {
		s->u->persist = false;
		return;
	}
	if (s->r->cut_job != 0 &&
	    (s->rec->mode != HVREPL_MODE_PRIMARY ||
	     s->rec->ownership == HVREPL_OWNERSHIP_SUPERSEDED ||
	     s->rec->ownership == HVREPL_OWNERSHIP_DIVERGED))
		hvri_cut_job_end(s, HVREPL_E_FENCED,
				 "ownership of the VM has changed meanwhile");
	if (s->u->code == HVREPL_OK && s->r->started &&
	    s->rec->phase != HVRI_PHASE_REMOVED)
		hvri_maybe_cut(s);
	if (s->touched)
		s->rec->generation++;
	tell_generation(s);
	hvri_maybe_arm(s);
	if (s->say_hello)
		say_hello(s);
	say_status(s);
	set_status(s);
	set_resend(s);
	tell_state(s);
	tell_health(s);
}

void hvri_relationship_step(struct hvri_relationship *r,
			    const struct hvri_event *event,
			    struct hvri_update *update)
{
	struct hvri_step step;
	struct hvri_step *s = &step;

	hvri_update_begin(update);
	memset(s, 0, sizeof(*s));
	s->r = r;
	s->rec = &r->record;
	s->e = event;
	s->u = update;
	r->now_ns = event->now_ns;
	r->utc_ns = event->utc_ns;
	if (r->forgotten || (!r->started && event->type != HVRI_EVENT_START))
		return;
	switch (event->type) {
	case HVRI_EVENT_START:
		hvri_start(s, &event->u.start);
		break;
	case HVRI_EVENT_OPERATION:
		hvri_operate(s, &event->u.operation, false);
		if (update->code != HVREPL_OK)
			return; /* Refused: nothing has changed. */
		break;
	case HVRI_EVENT_SESSION_UP:
		hvri_session_up(s);
		if (s->rec->mode == HVREPL_MODE_PRIMARY &&
		    !s->rec->peer_enabled && s->rec->job.id != 0)
			hvri_send_enable(s);
		break;
	case HVRI_EVENT_SESSION_DOWN:
		hvri_session_down(s);
		if (s->rec->phase == HVRI_PHASE_REMOVED &&
		    r->pending.remove == 0)
			hvri_on_removed(s, NULL);
		break;
	case HVRI_EVENT_MESSAGE:
		on_message(s, event->u.message.message);
		break;
	case HVRI_EVENT_TIMER:
		on_timer(s);
		break;
	case HVRI_EVENT_DONE:
		on_done(s, &event->u.done);
		break;
	case HVRI_EVENT_SAVE:
		if (s->rec->mode != HVREPL_MODE_NONE)
			hvri_save(s);
		break;
	case HVRI_EVENT_CYCLE_SET:
		hvri_set_cycle(s, event->u.cycle_ns);
		break;
	case HVRI_EVENT_CUT_VOIDED:
		if (r->cut.stage > HVRI_CUT_NAMING &&
		    hvri_uuid_equal(&r->cut.begin.point.cut,
				    &event->u.data.cut)) {
			hvri_drop_cut(s, HVREPL_E_VOIDED);
			r->statistics.missed++;
			r->holding = true;
			hvri_timer(s, HVRI_TIMER_RETRY, HVRI_SECOND);
		}
		break;
	case HVRI_EVENT_TRACKING_LOST:
		hvri_distrust(s);
		if (s->rec->phase == HVRI_PHASE_DELTA &&
		    s->rec->mode == HVREPL_MODE_PRIMARY) {
			hvri_drop_cut(s, HVREPL_E_UNTRUSTED);
			s->rec->phase = HVRI_PHASE_RESYNC_WANTED;
			if (r->peer_ready && !s->rec->policy.manual_resync)
				hvri_start_resync(s);
		}
		hvri_save(s);
		break;
	case HVRI_EVENT_POINTS_DOUBTED:
		hvri_points_doubted(s);
		break;
	case HVRI_EVENT_CHUNK_DURABLE:
	case HVRI_EVENT_POINT_COMPLETE:
	case HVRI_EVENT_RECEIVE_FAILED:
		hvri_on_received(s);
		break;
	default:
		break;
	}
	finish(s);
}
