/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the step share: the update under construction, and the
 * entry points of each flow. */
#ifndef HVRI_REPLICATION_INTERNAL_H
#define HVRI_REPLICATION_INTERNAL_H

#include "base/plant.h"
#include "replication/lineage.h"
#include "replication/relationship.h"

#define HVRI_SECOND UINT64_C(1000000000)
/* Epochs that an operation may not use up: a handover must always be
 * answerable. */
#define HVRI_EPOCHS_SPARE 8u
/* An answer is overdue after this long. */
#define HVRI_RESEND_NS (5 * HVRI_SECOND)
/* Id of a job that the peer asked for. */
#define HVRI_JOB_OF_PEER UINT64_MAX

struct hvri_step {
	struct hvri_relationship *r;
	struct hvri_record *rec; /* &r->record */
	const struct hvri_event *e;
	struct hvri_update *u;
	uint32_t fresh_used;
	bool touched; /* Ownership changed: a new generation. */
	bool say_hello;
	bool peer_left; /* It was joining us, and its claim says so no more. */
	uint64_t asked_job; /* The operation came from the peer: its job. */
};

/* ---- Making the update (update.c). ---- */
/* Nothing is to be done. What is beyond the counts may be anything. */
void hvri_update_begin(struct hvri_update *update);
void hvri_save(struct hvri_step *s);
void hvri_touch(struct hvri_step *s); /* Save, new generation, tell the peer. */
struct hvrepl_uuid hvri_fresh(struct hvri_step *s);
struct hvri_action *hvri_act(struct hvri_step *s, uint32_t type);
/* With a token, which goes into *pending. */
struct hvri_action *hvri_act_token(struct hvri_step *s, uint32_t type,
				   uint64_t *pending);
/* Never NULL; dropped when there is no greeted session. */
struct hvri_message *hvri_send(struct hvri_step *s, uint32_t type);
void hvri_send_answer(struct hvri_step *s, uint8_t about,
		      const struct hvrepl_uuid *epoch, uint64_t job,
		      int32_t code, const char *sentence);
void hvri_timer(struct hvri_step *s, uint32_t timer, uint64_t delay_ns);
void hvri_notice(struct hvri_step *s, uint32_t type, uint32_t severity,
		 int32_t code, uint64_t value, const char *format, ...)
	HVRI_PRINTF(6, 7);
/* End a job that has no record. */
void hvri_job_end_id(struct hvri_step *s, uint64_t id, int32_t code,
		     const char *format, ...) HVRI_PRINTF(4, 5);
/* End the CUT_NOW that waits, if there is one, wherever it was asked for. */
void hvri_cut_job_end(struct hvri_step *s, int32_t code, const char *format,
		      ...) HVRI_PRINTF(3, 4);
/* End the recorded job, if there is one; tells the peer if it asked. */
void hvri_job_end(struct hvri_step *s, int32_t code, const char *format, ...)
	HVRI_PRINTF(3, 4);
/* ...if it is this operation's. */
bool hvri_job_is(const struct hvri_step *s, uint32_t operation);
/* Is the job under way one that is to have the peer stand by? */
static inline bool hvri_job_protects(const struct hvri_step *s)
{
	return hvri_job_is(s, HVREPL_OPERATION_START_INITIAL) ||
	       hvri_job_is(s, HVREPL_OPERATION_RESYNC) ||
	       hvri_job_is(s, HVREPL_OPERATION_REVERSE);
}
/* `fenced`: the VM may not start here in this epoch any more. */
void hvri_job_overtaken(struct hvri_step *s, bool fenced);
void hvri_job_begin(struct hvri_step *s, uint32_t operation, uint64_t id,
		    bool asked_by_peer);
void hvri_sentence(char *out, const char *format, ...) HVRI_PRINTF(2, 3);

/* ---- What the peer may (rights.c). ---- */
/* If its entry lacks the verb: noted, and `sentence` says what to do. */
bool hvri_may(struct hvri_step *s, uint32_t verb,
	      char sentence[HVRI_SENTENCE_MAX + 1]);
/* Does the token of something destructive name the epoch this site is in? */
bool hvri_names_epoch(struct hvri_step *s, const struct hvrepl_uuid *epoch,
		      const char *what, char sentence[HVRI_SENTENCE_MAX + 1]);

/* ---- What is so (state.c). ---- */
bool hvri_owns_current(const struct hvri_record *rec);
bool hvri_is_claimant(const struct hvri_record *rec); /* Owner or diverged. */
bool hvri_has_overlay(const struct hvri_record *rec);
/* Known here as abandoned or refused. */
bool hvri_epoch_dead(const struct hvri_record *rec,
		     const struct hvrepl_uuid *id);
/* A commit drops all points (S8), and the end of a lost epoch is one that only
 * an operator gives up (O6): until then the overlay is not folded in. */
bool hvri_tail_blocks_fold(const struct hvri_record *rec);
/* Nor while a point is open: who reads it would read something else. */
bool hvri_view_blocks_fold(const struct hvri_relationship *r);
/* An operator gave the kept end up, and the store may not have yet. */
bool hvri_tail_going(const struct hvri_record *rec);
/* Is that epoch, or cut, what the kept end is of? */
bool hvri_tail_named(const struct hvri_record *rec,
		     const struct hvrepl_uuid *epoch);
uint32_t hvri_needs_missing(const struct hvri_relationship *r, uint32_t needs);
/* Newest number known here, of cuts and points. */
uint64_t hvri_newest_number(const struct hvri_record *rec);
/* The newest of what the store holds: a point, or its own end made one. */
const struct hvri_point *hvri_stands_at(const struct hvri_record *rec);
bool hvri_point_equal(const struct hvri_point *a, const struct hvri_point *b);
/* Is the point on the path of our current epoch? */
bool hvri_point_ours(const struct hvri_record *rec,
		     const struct hvri_point *point);
void hvri_build_claim(const struct hvri_relationship *r,
		      struct hvri_claim *claim);
void hvri_build_setup(const struct hvri_record *rec, struct hvri_setup *setup);

/* ---- Meeting (claims.c). ---- */
void hvri_session_up(struct hvri_step *s);
void hvri_session_down(struct hvri_step *s);
void hvri_on_hello(struct hvri_step *s, const struct hvri_message *m);
void hvri_greet_again(struct hvri_step *s); /* Send what waits for an answer. */
/* ---- What a claim does to our standing (standing.c). ---- */
void hvri_rolled_back(struct hvri_step *s, const struct hvrepl_uuid *peer);
void hvri_revert(struct hvri_step *s);
void hvri_lift(struct hvri_step *s, const struct hvri_claim *claim);
void hvri_apply_claim(struct hvri_step *s, const struct hvri_claim *claim);
/* An error waits for the operator, who resumes the phase before it: `as` meets the
 * peer in that one meanwhile, for it will not say again where it stands. */
void hvri_behind_error(struct hvri_step *s, const struct hvri_claim *claim,
		       void (*as)(struct hvri_step *, const struct hvri_claim *));

/* ---- Cuts and receiving (delta.c). ---- */
/* A store tracks nothing: what the peer acknowledged before is no base for what
 * this site may write later (T7). */
static inline void hvri_keep_in_store(struct hvri_record *rec)
{
	rec->form = HVRI_FORM_STORE;
	if (!HVRI_PLANT(acknowledged_for_ever))
		rec->last_acked = (struct hvri_point){ 0 };
}
void hvri_meet_standby(struct hvri_step *s, const struct hvri_claim *claim);
void hvri_meet_empty(struct hvri_step *s, const struct hvri_claim *claim);
void hvri_meet_doubt(struct hvri_step *s, const struct hvri_claim *claim);
void hvri_maybe_cut(struct hvri_step *s);
void hvri_offer_cut(struct hvri_step *s);
void hvri_peer_paused(struct hvri_step *s);
void hvri_drop_cut(struct hvri_step *s, int32_t code);
void hvri_cut_named(struct hvri_step *s, const struct hvri_done *done);
void hvri_cut_durable(struct hvri_step *s, const struct hvri_point *point);
void hvri_cut_declined(struct hvri_step *s, const struct hvri_message *m);
void hvri_on_cut_message(struct hvri_step *s, const struct hvri_message *m);
void hvri_cycle(struct hvri_step *s);
void hvri_set_cycle(struct hvri_step *s, uint64_t cycle_ns);
uint64_t hvri_number(struct hvri_step *s); /* A new point number, reserved. */
void hvri_enter_delta(struct hvri_step *s);
/* The whole disk must be compared, whatever becomes of a claim. */
void hvri_distrust(struct hvri_step *s);
/* named.c: does this record know that it named that cut? */
bool hvri_named_here(const struct hvri_relationship *r,
		     const struct hvri_point *point);
/* And the windows of a first content that the peer claims to have, with the part that it
 * may have of one? */
bool hvri_windows_known(const struct hvri_relationship *r,
			const struct hvri_claim *claim);
/* The peer begins to take that cut in, and may have it. */
void hvri_begun_there(struct hvri_relationship *r, const struct hvri_point *point);
/* It has acknowledged one: what it took in before it cannot show any more. */
void hvri_none_begun_there(struct hvri_relationship *r);
/* receive.c */
void hvri_on_cut_begin(struct hvri_step *s, const struct hvri_message *m);
void hvri_on_receive_done(struct hvri_step *s, const struct hvri_done *done);
void hvri_points_doubted(struct hvri_step *s);
void hvri_on_received(struct hvri_step *s);
/* The store holds a point: who waited for the first one does not any more, and which
 * window it began last is nobody's business. */
void hvri_has_first_point(struct hvri_step *s);
void hvri_stop_receiving(struct hvri_step *s, bool drop);
void hvri_drop_done(struct hvri_step *s, const struct hvri_done *done);

/* ---- Long ones (initial.c). ---- */
void hvri_start_initial(struct hvri_step *s);
void hvri_start_resync(struct hvri_step *s);
void hvri_next_compare(struct hvri_step *s);
void hvri_compared(struct hvri_step *s, const struct hvri_done *done);
void hvri_all_marked(struct hvri_step *s, const struct hvri_done *done);
struct hvri_frontier hvri_frontier_add(const struct hvri_record *rec,
				       struct hvri_frontier from,
				       uint64_t bytes);
bool hvri_frontier_closed(const struct hvri_record *rec,
			  struct hvri_frontier frontier);
int hvri_frontier_order(struct hvri_frontier a, struct hvri_frontier b);

/* ---- Handover (handover.c). ---- */
int32_t hvri_planned_here(struct hvri_step *s, const struct hvri_operator *op);
int32_t hvri_planned_ask(struct hvri_step *s, uint64_t job);
void hvri_handover_abort(struct hvri_step *s, int32_t code,
			 const char *sentence);
void hvri_handover_fenced(struct hvri_step *s);
void hvri_handover_final(struct hvri_step *s, uint64_t number);
void hvri_handover_durable(struct hvri_step *s,
			   const struct hvri_point *point);
void hvri_handover_resend(struct hvri_step *s);
void hvri_handover_cancel(struct hvri_step *s, uint64_t job);
void hvri_on_handover(struct hvri_step *s, const struct hvri_message *m);
void hvri_checked(struct hvri_step *s, const struct hvri_done *done);
void hvri_become_standby(struct hvri_step *s, const struct hvrepl_uuid *epoch);
bool hvri_handover_learn(struct hvri_step *s, const struct hvri_handover *h,
			 uint64_t fork);

/* ---- Failover without the peer (unplanned.c). ---- */
int32_t hvri_unplanned(struct hvri_step *s, const struct hvri_operator *op);
void hvri_change_fenced(struct hvri_step *s);
void hvri_cancel_fenced(struct hvri_step *s);
void hvri_commit(struct hvri_step *s);
int32_t hvri_force(struct hvri_step *s);
void hvri_open_overlay(struct hvri_step *s);
void hvri_overlay_opened(struct hvri_step *s, const struct hvri_done *done);
void hvri_fold(struct hvri_step *s);
void hvri_folded(struct hvri_step *s, const struct hvri_done *done);
/* Fence, and go on with `purpose` when it is done. */
void hvri_fence(struct hvri_step *s, uint8_t purpose);
void hvri_fence_done(struct hvri_step *s, const struct hvri_done *done);
void hvri_maybe_arm(struct hvri_step *s);
void hvri_arm_done(struct hvri_step *s, const struct hvri_done *done);
/* A new epoch owned here; LIMIT. *id_out: its id. */
int32_t hvri_new_epoch(struct hvri_step *s, const struct hvrepl_uuid *parent,
		       uint64_t fork, struct hvrepl_uuid *id_out);

/* ---- Coming together again (join.c). ---- */
void hvri_reverse(struct hvri_step *s);
void hvri_join_ask(struct hvri_step *s);
/* May the peer have this site's disk made a replica's; if not, what it lacks. */
bool hvri_may_be_joined(struct hvri_step *s,
			char lacks[HVRI_SENTENCE_MAX + 1]);
/* Is that cut offered by who was granted it, to a site that was brought back to before
 * its disk was a replica's, and does nothing about that yet? */
bool hvri_offer_adopts(const struct hvri_relationship *r,
		       const struct hvri_cut_begin *cut);
void hvri_on_join(struct hvri_step *s, const struct hvri_message *m);
/* The storage here failed a flush: what is folded first cannot be. */
void hvri_join_decline(struct hvri_step *s, const struct hvrepl_uuid *epoch);
void hvri_on_join_ready(struct hvri_step *s, const struct hvri_message *m);
void hvri_on_ranges(struct hvri_step *s, const struct hvri_message *m);
void hvri_join_advance(struct hvri_step *s);
void hvri_adopted(struct hvri_step *s, const struct hvri_done *done);
void hvri_exported(struct hvri_step *s, const struct hvri_done *done);
void hvri_join_complete(struct hvri_step *s); /* First point of the epoch. */
int32_t hvri_discard(struct hvri_step *s, const struct hvri_operator *op);
void hvri_on_discard(struct hvri_step *s, const struct hvri_message *m);
void hvri_on_discarded(struct hvri_step *s, const struct hvri_message *m);
void hvri_send_discard(struct hvri_step *s);
void hvri_let_tail_go(struct hvri_step *s);
void hvri_tail_gone(struct hvri_step *s, const struct hvri_done *done);

/* ---- Setting up and taking away (enable.c). ---- */
int32_t hvri_enable(struct hvri_step *s, const struct hvri_operator *op);
void hvri_send_enable(struct hvri_step *s);
void hvri_on_enable(struct hvri_step *s, const struct hvri_message *m);
void hvri_on_enabled(struct hvri_step *s);
void hvri_on_unknown(struct hvri_step *s);
void hvri_created(struct hvri_step *s, const struct hvri_done *done);
void hvri_remove(struct hvri_step *s, uint64_t job);
void hvri_on_remove(struct hvri_step *s, const struct hvri_message *m);
/* ...of one whose making failed after it had disks. */
void hvri_on_remove_unmade(struct hvri_step *s, const struct hvri_message *m);
void hvri_removed_here(struct hvri_step *s, const struct hvri_done *done);
/* `refused`: why it will not, or NULL. */
void hvri_on_removed(struct hvri_step *s, const struct hvri_answer *refused);
void hvri_start(struct hvri_step *s, const struct hvri_start *start);

/* ---- Operations (operate.c). ---- */
void hvri_operate(struct hvri_step *s, const struct hvri_operator *op,
		  bool asked_by_peer);
void hvri_on_operation(struct hvri_step *s, const struct hvri_message *m);
void hvri_on_answer(struct hvri_step *s, const struct hvri_message *m);
#endif
