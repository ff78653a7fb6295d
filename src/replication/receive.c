/* SPDX-License-Identifier: Apache-2.0 */
/* The standby's side of replication: take cuts in, confirm what is durable. */
#include "replication/internal.h"

#include "base/plant.h"
#include "replication/loss.h"

#include <string.h>

static void decline(struct hvri_step *s, const struct hvri_cut_begin *cut,
		    int32_t code, const char *sentence)
{
	struct hvri_message *m = hvri_send(s, HVRI_MESSAGE_CUT_DECLINE);

	m->u.progress.cut = cut->point.cut;
	m->answer.about = HVRI_MESSAGE_CUT_BEGIN;
	m->answer.code = code;
	hvri_sentence(m->answer.sentence, "%s",
		      sentence ? sentence : hvrepl_strerror(code));
}

static void confirm(struct hvri_step *s, const struct hvri_cut_begin *cut)
{
	struct hvri_message *m = hvri_send(s, HVRI_MESSAGE_DURABLE);

	m->u.durable.point = cut->point;
	m->u.durable.handover = cut->handover;
	m->u.durable.closed = cut->closed;
	m->u.durable.frontier = cut->frontier;
}

/* May frames of this epoch be taken in? NULL, or why not. */
static const char *refusal(const struct hvri_relationship *r,
			   const struct hvri_cut_begin *cut)
{
	const struct hvri_record *rec = &r->record;

	if (rec->form != HVRI_FORM_STORE)
		return "this site's disk does not receive now";
	if (r->pending.drop != 0 || r->drop_again || r->pending.adopt != 0)
		return "this site is getting ready to receive";
	if (!hvri_uuid_is_none(&rec->joining) &&
	    hvri_uuid_equal(&rec->joining, &cut->point.epoch))
		return hvri_point_equal(&cut->from, hvri_stands_at(rec)) ?
			       NULL :
			       "the cut does not follow what this site holds";
	if (rec->ownership != HVREPL_OWNERSHIP_STANDBY ||
	    !hvri_uuid_equal(&rec->current, &cut->point.epoch))
		return "this site does not follow that epoch";
	if (cut->kind == HVRI_CUT_INITIAL)
		return rec->position.number == 0 ?
			       NULL :
			       "this site holds recovery points already";
	if (rec->position.number == 0 ||
	    !hvri_point_equal(&cut->from, &rec->position))
		return "the cut does not follow this site's newest point";
	return NULL;
}

/* A handover's child is known from its final cut on (O4). */
static bool final_ok(struct hvri_step *s, const struct hvri_cut_begin *cut)
{
	struct hvri_record *rec = s->rec;
	const struct hvri_epoch *child =
		hvri_lineage_look(&rec->lineage, &cut->handover);

	return rec->ownership == HVREPL_OWNERSHIP_STANDBY && child &&
	       hvri_uuid_equal(&child->parent, &rec->current) &&
	       !hvri_outcome_dead(child->outcome);
}

/* What was being received may be complete all the same: then its point stands, and
 * is found. One that was not begun has none; that of the one before it may. */
static void leave(struct hvri_relationship *r)
{
	if (r->receiving.point.number != 0 &&
	    (r->begun || HVRI_PLANT(stopped_before_begun)))
		r->failed = r->receiving;
	r->receiving.point.number = 0;
}

/* It was made of a compare that may have gone by what is damaged; and it would be no
 * better in the next session, where the owner may not have heard this answer. */
static void decline_doubted(struct hvri_step *s, const struct hvri_cut_begin *cut)
{
	s->r->doubt_untold = false;
	s->r->doubted_cut = cut->point.cut;
	decline(s, cut, HVREPL_E_CORRUPT,
		"what was received there before is damaged: it is to be compared "
		"first");
}

/* By its own id: the record names the newest that was begun, and its frontier may be
 * of a first content that was given up. */
static bool window_is_in(const struct hvri_relationship *r,
			 const struct hvri_cut_begin *cut)
{
	const struct hvri_record *rec = &r->record;

	if (cut->kind != HVRI_CUT_INITIAL || cut->closed || rec->position.number != 0 ||
	    (rec->ownership != HVREPL_OWNERSHIP_STANDBY &&
	     !hvri_uuid_equal(&rec->joining, &cut->point.epoch)))
		return false;
	if (HVRI_PLANT(begun_is_confirmed))
		return hvri_frontier_order(cut->frontier, rec->frontier) <= 0 &&
		       hvri_uuid_equal(&rec->last_cut.cut, &cut->point.cut);
	return hvri_uuid_equal(&r->window_here, &cut->point.cut);
}

void hvri_on_cut_begin(struct hvri_step *s, const struct hvri_message *m)
{
	struct hvri_relationship *r = s->r;
	const struct hvri_cut_begin *cut = &m->u.cut;
	const char *why;
	char lacks[HVRI_SENTENCE_MAX + 1];
	struct hvri_action *act;

	/* What comes over a replica in doubt costs its older points (T9). */
	if (!hvri_may(s, HVREPL_VERB_RECEIVE, lacks) ||
	    (r->doubted && !hvri_may(s, HVREPL_VERB_OVERWRITE, lacks))) {
		decline(s, cut, HVREPL_E_DENIED, lacks);
		return;
	}
	/* Taken in before; the confirmation was lost. */
	if (hvri_point_equal(&cut->point, &s->rec->position)) {
		confirm(s, cut);
		return;
	}
	if (window_is_in(r, cut)) {
		confirm(s, cut);
		return;
	}
	/* Offered again before our answer had come: that is on its way. Beginning
	 * anew would drop what is already being sent. */
	if (!HVRI_PLANT(offer_begins_anew) && r->taking_in &&
	    r->receiving.point.number != 0 &&
	    hvri_uuid_equal(&r->receiving.point.cut, &cut->point.cut))
		return;
	if ((r->doubt_untold || hvri_uuid_equal(&r->doubted_cut, &cut->point.cut)) &&
	    !HVRI_PLANT(rot_behind_a_compare)) {
		decline_doubted(s, cut);
		s->say_hello = true;
		return;
	}
	why = refusal(r, cut);
	if (why == NULL && cut->kind == HVRI_CUT_FINAL && !final_ok(s, cut))
		why = "this site does not know of that handover";
	if (why) {
		/* Where this site stands may be news: a cut that was given up
		 * over there while its last bytes were on their way. */
		s->say_hello = true;
		/* Brought back to before it had made its disk a replica's, by
		 * an owner that takes it to be past that: nobody else asks. */
		if (hvri_offer_adopts(r, cut) &&
		    !HVRI_PLANT(brought_back_before_adopting)) {
			/* Asked for as it is by JOIN: rights go, and doubts come,
			 * with what happened since that was granted. */
			if (!HVRI_PLANT(offer_adopts) &&
			    !hvri_may_be_joined(s, lacks)) {
				decline(s, cut, HVREPL_E_DENIED, lacks);
				return;
			}
			hvri_join_advance(s);
		}
		decline(s, cut, HVREPL_E_STATE, why);
		return;
	}
	if (s->rec->pause & HVRI_PAUSE_FETCH) {
		decline(s, cut, HVREPL_E_CANCELLED, "replication is suspended "
						    "at this site");
		return;
	}
	if (cut->kind == HVRI_CUT_FINAL) {
		struct hvri_epoch *child = hvri_lineage_find(
			&s->rec->lineage, &cut->handover);

		if (child->fork_point != cut->point.number) {
			child->fork_point = cut->point.number;
			hvri_save(s);
		}
	}
	if (!hvri_uuid_equal(&r->receiving.point.cut, &cut->point.cut)) {
		leave(r);
		r->begun = false;
	}
	r->receiving = *cut;
	/* Its bytes go to the base as they come, and stay there if no more do: which
	 * window they are of is on record before the first (O1). */
	if (cut->kind == HVRI_CUT_INITIAL && !HVRI_PLANT(begun_not_on_record) &&
	    !hvri_uuid_equal(&s->rec->last_cut.cut, &cut->point.cut)) {
		s->rec->last_cut = cut->point;
		hvri_save(s);
	}
	if (cut->kind != HVRI_CUT_INITIAL)
		hvri_loss_offered(r, cut->bytes);
	r->taking_in = true;
	act = hvri_act_token(s, HVRI_ACTION_RECEIVE, &r->pending.receive);
	act->begin = *cut;
	act->point = cut->point;
	act->from = cut->from.number;
	act->cut = cut->point.cut;
}

void hvri_on_receive_done(struct hvri_step *s, const struct hvri_done *done)
{
	struct hvri_relationship *r = s->r;
	struct hvri_message *m;

	if (r->receiving.point.number == 0)
		return;
	if (done->code != HVREPL_OK) {
		decline(s, &r->receiving, done->code, done->sentence);
		r->receiving.point.number = 0;
		return;
	}
	r->begun = true;
	/* Left before, at a suspend: the store takes it in again, and holds no point
	 * of it that could be found. */
	if (hvri_uuid_equal(&r->failed.point.cut, &r->receiving.point.cut) &&
	    !HVRI_PLANT(taken_again_is_found))
		r->failed.point.number = 0;
	m = hvri_send(s, HVRI_MESSAGE_CUT_ACCEPT);
	m->u.progress.cut = r->receiving.point.cut;
	m->u.progress.chunk = done->chunk;
}

void hvri_stop_receiving(struct hvri_step *s, bool drop)
{
	struct hvri_relationship *r = s->r;
	struct hvri_action *act;

	if (r->receiving.point.number == 0)
		return;
	act = hvri_act(s, HVRI_ACTION_STOP_RECEIVE);
	act->cut = r->receiving.point.cut;
	act->drop = drop;
	leave(r);
	r->pending.receive = 0;
}

void hvri_has_first_point(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;

	if (rec->phase != HVRI_PHASE_INITIAL)
		return;
	rec->phase = HVRI_PHASE_DELTA;
	memset(&rec->last_cut, 0, sizeof(rec->last_cut));
	hvri_save(s);
}

/* `found`: it may be of before the doubt, and then no compare went into it (T9). */
static void complete(struct hvri_step *s, bool found)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	struct hvri_cut_begin cut = r->receiving;

	r->receiving.point.number = 0;
	r->pending.receive = 0;
	if (cut.kind == HVRI_CUT_INITIAL) {
		/* One that is found late is not the newest that was begun. */
		rec->frontier = cut.frontier;
		if (HVRI_PLANT(begun_not_on_record))
			rec->last_cut = cut.point;
		hvri_save(s);
	}
	if (cut.kind == HVRI_CUT_INITIAL && !cut.closed) {
		r->window_here = cut.point.cut;
		confirm(s, &cut);
		return;
	}
	if (cut.kind != HVRI_CUT_INITIAL)
		hvri_loss_arrived(r, &rec->position, &cut.point, cut.bytes);
	/* The owner was told, so it came by a compare of everything (T9). */
	if (rec->untrusted && hvri_uuid_is_none(&rec->joining)) {
		rec->untrusted = found;
		rec->rolled_back = false;
		hvri_save(s);
	}
	if (r->doubted && !found)
		hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_WARNING,
			    HVREPL_OK, rec->position.number,
			    "the disks are right again as of point %llu; older "
			    "recovery points that are in doubt, up to %llu, are "
			    "given up",
			    (unsigned long long)cut.point.number,
			    (unsigned long long)rec->position.number);
	r->doubted &= found;
	rec->position = cut.point;
	r->statistics.points++;
	r->statistics.last_point_utc_ns = cut.point.utc_ns;
	hvri_has_first_point(s);
	if (hvri_uuid_equal(&rec->joining, &cut.point.epoch))
		hvri_join_complete(s);
	hvri_notice(s, HVREPL_EVENT_POINT, HVREPL_SEVERITY_INFO, HVREPL_OK,
		    cut.point.number, "recovery point %llu",
		    (unsigned long long)cut.point.number);
	confirm(s, &cut);
}

/* What is on its way does not repair it: the owner must compare first, and again
 * where it may have gone by what is damaged now. */
void hvri_points_doubted(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	bool joins = !hvri_uuid_is_none(&rec->joining);

	r->doubted = true;
	r->doubt_untold = rec->untrusted || joins;
	if (!rec->untrusted || r->lost_by_claim) {
		hvri_distrust(s);
		hvri_save(s);
	}
	if (r->receiving.point.number != 0 &&
	    (joins || rec->ownership == HVREPL_OWNERSHIP_STANDBY)) {
		if (!HVRI_PLANT(stops_without_a_word))
			decline_doubted(s, &r->receiving);
		hvri_stop_receiving(s, true);
	}
	s->say_hello = true;
	hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_CRITICAL,
		    HVREPL_E_CORRUPT, rec->position.number,
		    "what was received is damaged on this site's storage: "
		    "recovery point %llu is in doubt until the other site has "
		    "compared",
		    (unsigned long long)rec->position.number);
}

/* Of which cut the store holds a point after all. More than one may have failed
 * or been given up before the store was opened again: it knows itself. */
static struct hvri_cut_begin found_cut(const struct hvri_step *s)
{
	const struct hvri_record *rec = s->rec;
	const struct hvri_point *newest = &s->e->u.data.found;
	struct hvri_cut_begin found = s->r->failed;

	if (found.point.number != 0 &&
	    hvri_uuid_equal(&s->e->u.data.cut, &found.point.cut))
		return found;
	memset(&found, 0, sizeof(found));
	/* Windows of the first content are told by their cut alone: they make no
	 * point. */
	if (HVRI_PLANT(found_is_forgotten) ||
	    newest->number <= hvri_stands_at(rec)->number)
		return found;
	found.kind = hvri_stands_at(rec)->number == 0 ? HVRI_CUT_INITIAL :
							HVRI_CUT_DELTA;
	found.closed = true;
	found.point = *newest;
	found.frontier.disk = rec->disk_count;
	return found;
}

/* What was offered does not follow it. */
static void stop_for_found(struct hvri_step *s)
{
	if (s->r->receiving.point.number == 0)
		return;
	decline(s, &s->r->receiving, HVREPL_E_STATE,
		"the point before it is here after all");
	hvri_stop_receiving(s, true);
}

/* A commit that seemed to fail is found durable when the store is opened again,
 * or it was under way when receiving was stopped: the point stands, and what was
 * offered instead of it does not follow it. */
static bool found_after_all(struct hvri_step *s,
			    const struct hvri_cut_begin *found)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	const struct hvri_point *point = &found->point;
	bool untrusted = rec->untrusted;

	if (rec->form != HVRI_FORM_STORE ||
	    (!hvri_uuid_equal(&rec->joining, &point->epoch) &&
	     (rec->ownership != HVREPL_OWNERSHIP_STANDBY ||
	      !hvri_uuid_equal(&rec->current, &point->epoch))))
		return false;
	stop_for_found(s);
	r->receiving = *found;
	r->failed.point.number = 0;
	complete(s, true);
	/* Who joined is right again by that point, unless its disks are in doubt. */
	if (untrusted && !rec->untrusted && r->doubted &&
	    !HVRI_PLANT(joined_in_doubt)) {
		rec->untrusted = true;
		hvri_save(s);
	}
	s->say_hello = true;
	return true;
}

/* Is it one that its record may take, though no epoch of now made it? */
static bool takes_found(const struct hvri_record *rec)
{
	if (rec->form == HVRI_FORM_STORE &&
	    !hvri_uuid_is_none(&rec->joining))
		return !HVRI_PLANT(joins_past_found);
	if (rec->form == HVRI_FORM_STORE && rec->phase == HVRI_PHASE_INITIAL)
		return !HVRI_PLANT(first_point_unseen);
	return (rec->form == HVRI_FORM_STORE ||
		rec->form == HVRI_FORM_OVERLAY) &&
	       (rec->phase == HVRI_PHASE_DELTA ||
		rec->phase == HVRI_PHASE_FAILED_OVER);
}

/*
 * The same under an overlay, where what a cancel comes back to is the store; and
 * of an epoch that this site has left. As at a start, the record takes what the
 * store holds, be it the first point, of which no first content is received any
 * more; the owner hears of it and compares. Who joins is asked anew: what it would
 * have told, or was sent, is of the point before.
 */
static bool found_elsewhere(struct hvri_step *s,
			    const struct hvri_cut_begin *found)
{
	struct hvri_record *rec = s->rec;
	bool window = found->kind == HVRI_CUT_INITIAL && !found->closed;

	if (window || !takes_found(rec))
		return false;
	stop_for_found(s);
	if (!hvri_uuid_is_none(&rec->joining))
		hvri_distrust(s);
	hvri_has_first_point(s);
	rec->position = found->point;
	s->r->failed.point.number = 0;
	s->say_hello = true;
	hvri_save(s);
	return true;
}

static bool was_found(struct hvri_step *s)
{
	struct hvri_cut_begin found = found_cut(s);

	return found.point.number != 0 &&
	       (found_after_all(s, &found) || found_elsewhere(s, &found));
}

/* CHUNK_DURABLE, POINT_COMPLETE, RECEIVE_FAILED. */
void hvri_on_received(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	struct hvri_message *m;

	if (s->e->type == HVRI_EVENT_POINT_COMPLETE && was_found(s))
		return;
	if (r->receiving.point.number == 0 ||
	    !hvri_uuid_equal(&s->e->u.data.cut, &r->receiving.point.cut))
		return;
	switch (s->e->type) {
	case HVRI_EVENT_CHUNK_DURABLE:
		m = hvri_send(s, HVRI_MESSAGE_PROGRESS);
		m->u.progress.cut = s->e->u.data.cut;
		m->u.progress.chunk = s->e->u.data.chunk;
		break;
	case HVRI_EVENT_POINT_COMPLETE:
		complete(s, false);
		break;
	default:
		decline(s, &r->receiving, s->e->u.data.code,
			s->e->u.data.sentence);
		r->failed = r->receiving;
		r->receiving.point.number = 0;
		r->pending.receive = 0;
		break;
	}
}

/* Overlays are gone: the store receives again. */
void hvri_drop_done(struct hvri_step *s, const struct hvri_done *done)
{
	if (done->code != HVREPL_OK) {
		hvri_notice(s, HVREPL_EVENT_STATE, HVREPL_SEVERITY_WARNING,
			    done->code, 0,
			    "what was written since the failover could not be "
			    "thrown away yet: %s",
			    done->sentence ? done->sentence :
					     hvrepl_strerror(done->code));
		s->r->drop_again = true;
		hvri_timer(s, HVRI_TIMER_RETRY, 10 * HVRI_SECOND);
		return;
	}
	/* The owner learns that it can go on. */
	s->say_hello = true;
}
