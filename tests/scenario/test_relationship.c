/* SPDX-License-Identifier: Apache-2.0 */
/* The main stories of a relationship, as traces: the text is the assertion. */
#include "sites.h"

#include <stdio.h>
#include <string.h>

static struct sites world;

static void operate(struct sites *w, uint32_t site, uint32_t operation)
{
	ck_assert_int_eq(sites_operate(w, site, operation, 0, NULL), HVREPL_OK);
	sites_settle(w, 4000);
	sites_trace_state(w);
}

static void story_begin(struct sites *w)
{
	sites_init(w, 1);
	sites_replicating(w);
	/* Cycles only where the story wants one. */
	w->site[0].timers[HVRI_TIMER_CYCLE] = 0;
	w->tracing = true;
}

/* Shut down at A, run at B, and back the same way. */
static void planned_and_back(struct sites *w)
{
	sites_write(w, 0);
	operate(w, 0, HVREPL_OPERATION_PLANNED);
	sites_write(w, 1);
	operate(w, 1, HVREPL_OPERATION_COMMIT);
	operate(w, 1, HVREPL_OPERATION_REVERSE);
	sites_write(w, 1);
	operate(w, 0, HVREPL_OPERATION_PLANNED);
}

/* A dies in the middle of writing, B takes over, A comes back. */
static void unplanned_and_return(struct sites *w)
{
	sites_cut_link(w);
	sites_write(w, 0);
	sites_crash(w, 0);
	operate(w, 1, HVREPL_OPERATION_UNPLANNED);
	sites_write(w, 1);
	sites_start(w, 0);
	sites_connect(w);
	sites_settle(w, 4000);
	sites_trace_state(w);
	operate(w, 1, HVREPL_OPERATION_COMMIT);
	operate(w, 1, HVREPL_OPERATION_REVERSE);
}

/* The link breaks, B fails over, both write; A's end is to lose. */
static void diverged_and_discarded(struct sites *w)
{
	sites_cut_link(w);
	sites_write(w, 0);
	operate(w, 1, HVREPL_OPERATION_UNPLANNED);
	sites_write(w, 1);
	sites_write(w, 0);
	sites_connect(w);
	sites_settle(w, 4000);
	sites_trace_state(w);
	operate(w, 1, HVREPL_OPERATION_COMMIT);
	ck_assert_int_eq(sites_operate(w, 1, HVREPL_OPERATION_REVERSE, 0, NULL),
			 HVREPL_E_DIVERGED);
	ck_assert_int_eq(sites_operate(w, 1, HVREPL_OPERATION_DISCARD, 0,
				       &w->site[1].r.record.verdict_peer),
			 HVREPL_OK);
	sites_settle(w, 4000);
	sites_trace_state(w);
	operate(w, 1, HVREPL_OPERATION_REVERSE);
}

/* B fails over while A cannot be reached, thinks again, and A goes on. */
static void cancelled(struct sites *w)
{
	sites_cut_link(w);
	sites_crash(w, 0);
	operate(w, 1, HVREPL_OPERATION_UNPLANNED);
	sites_start(w, 0);
	sites_connect(w);
	sites_settle(w, 4000);
	sites_trace_state(w);
	operate(w, 1, HVREPL_OPERATION_CANCEL);
}

/* A hands over, B is cut off before it hears; the operator takes it back. */
static void handover_cancelled(struct sites *w)
{
	ck_assert_int_eq(sites_operate(w, 0, HVREPL_OPERATION_PLANNED, 0, NULL),
			 HVREPL_OK);
	while (w->site[0].r.record.ownership !=
	       HVREPL_OWNERSHIP_RELINQUISHED)
		sites_settle(w, 1);
	sites_cut_link(w);
	sites_trace_state(w);
	sites_crash(w, 1);
	sites_start(w, 1);
	sites_connect(w);
	/* Of the new session A's cancel comes before the grant is said again. */
	while (!w->site[0].r.greeted || !w->site[1].r.greeted)
		sites_settle(w, 1);
	sites_operate(w, 0, HVREPL_OPERATION_CANCEL, 0, NULL);
	sites_settle(w, 4000);
	sites_trace_state(w);
}

static const char planned_and_back_trace[] =
	"A: planned-failover\n"
	"  A -> HELLO\n"
	"  A -> HANDOVER_CHECK\n"
	"  A! Primary, PreparedForFailover, owner\n"
	"  B -> HELLO\n"
	"  B: CHECK_REVERSE\n"
	"  B -> HANDOVER_READY\n"
	"  A: FENCE\n"
	"  A: CUT\n"
	"  A -> CUT_BEGIN\n"
	"  B: RECEIVE\n"
	"  B -> CUT_ACCEPT\n"
	"  A: SHIP\n"
	"  B -> DURABLE\n"
	"  B! recovery point 7\n"
	"  A: SETTLE\n"
	"  A -> HELLO\n"
	"  A -> GRANT\n"
	"  A! recovery point 7\n"
	"  A! Primary, PreparedForFailover, relinquished\n"
	"  B: OPEN_OVERLAY\n"
	"  B -> HELLO\n"
	"  B -> OWNED\n"
	"  B! Replica, FailedOverWaitingCompletion, owner\n"
	"  B: ARM\n"
	"  A -> HELLO\n"
	"  A! Replica, WaitingForRepurposeCompletion, standby\n"
	"  A job done: the other site owns the VM now, at point 7\n"
	"A = Replica WaitingForRepurposeCompletion standby\n"
	"B = Replica FailedOverWaitingCompletion owner writes\n"
	"B: commit\n"
	"  B: FOLD\n"
	"  B -> HELLO\n"
	"  B! Replica, FailedOver, owner\n"
	"  B job done: committed\n"
	"  B! the failover is folded into the disk\n"
	"  A -> HELLO\n"
	"A = Replica WaitingForRepurposeCompletion standby\n"
	"B = Replica FailedOver owner writes\n"
	"B: reverse\n"
	"  B -> JOIN\n"
	"  A: ADOPT\n"
	"  A -> HELLO\n"
	"  A -> JOIN_READY\n"
	"  A! Replica, Replicating, standby\n"
	"  B -> JOIN\n"
	"  B -> HELLO\n"
	"  B! Primary, Replicating, owner\n"
	"  B job done: replicating to the other site, from point 7\n"
	"  A -> JOIN_READY\n"
	"A = Replica Replicating standby\n"
	"B = Primary Replicating owner writes\n"
	"A: planned-failover\n"
	"  A -> HANDOVER_REQUEST\n"
	"  B -> HELLO\n"
	"  B -> HANDOVER_CHECK\n"
	"  B! Primary, PreparedForFailover, owner\n"
	"  A -> HELLO\n"
	"  A: CHECK_REVERSE\n"
	"  A -> HANDOVER_READY\n"
	"  B: FENCE\n"
	"  B: CUT\n"
	"  B -> CUT_BEGIN\n"
	"  A: RECEIVE\n"
	"  A -> CUT_ACCEPT\n"
	"  B: SHIP\n"
	"  A -> DURABLE\n"
	"  A! recovery point 8\n"
	"  B: SETTLE\n"
	"  B -> HELLO\n"
	"  B -> GRANT\n"
	"  B! recovery point 8\n"
	"  B! Primary, PreparedForFailover, relinquished\n"
	"  A: OPEN_OVERLAY\n"
	"  A -> HELLO\n"
	"  A -> OWNED\n"
	"  A! Replica, FailedOverWaitingCompletion, owner\n"
	"  A: ARM\n"
	"  A job done: failed over to point 8; the VM may start here\n"
	"  B -> HELLO\n"
	"  B -> ANSWER\n"
	"  B! Replica, WaitingForRepurposeCompletion, standby\n"
	"A = Replica FailedOverWaitingCompletion owner writes\n"
	"B = Replica WaitingForRepurposeCompletion standby\n";

static const char unplanned_and_return_trace[] =
	"A crashes\n"
	"B: unplanned-failover\n"
	"  B: OPEN_OVERLAY\n"
	"  B! unplanned failover. Lost: everything after point 6 of "
	"22:13:23 UTC, 0 s old, about 2.0 KiB\n"
	"  B! Replica, FailedOverWaitingCompletion, owner\n"
	"  B: ARM\n"
	"  B job done: failed over to point 6; the VM may start here; "
	"lost: everything after point 6 of 22:13:23 UTC, 0 s old, about "
	"2.0 KiB\n"
	"A = Primary Replicating owner down\n"
	"B = Replica FailedOverWaitingCompletion owner writes\n"
	"  A -> HELLO\n"
	"  B -> HELLO\n"
	"  B -> HELLO\n"
	"  A -> HELLO\n"
	"  A -> HELLO\n"
	"  A! superseded: the peer failed over and this site does not "
	"write. Writes are refused here; what the other site lacks "
	"stays on this disk until it is reversed\n"
	"  A! Primary, Error, superseded\n"
	"  B -> HELLO\n"
	"  B -> HELLO\n"
	"  B! the old primary is superseded by this site and refuses "
	"writes\n"
	"A = Primary Error superseded\n"
	"B = Replica FailedOverWaitingCompletion owner writes\n"
	"B: commit\n"
	"  B: FOLD\n"
	"  B -> HELLO\n"
	"  B! Replica, FailedOver, owner\n"
	"  B job done: committed\n"
	"  B! the failover is folded into the disk\n"
	"  A -> HELLO\n"
	"A = Primary Error superseded\n"
	"B = Replica FailedOver owner writes\n"
	"B: reverse\n"
	"  B -> JOIN\n"
	"  A: FENCE\n"
	"  A: ADOPT\n"
	"  A: EXPORT\n"
	"  A -> RANGES\n"
	"  A -> JOIN_READY\n"
	"  B: MARK\n"
	"  B: CUT\n"
	"  B -> CUT_BEGIN\n"
	"  A: RECEIVE\n"
	"  A -> CUT_ACCEPT\n"
	"  B: SHIP\n"
	"  A -> HELLO\n"
	"  A -> DURABLE\n"
	"  A! this site stands by for the other one; its own end is "
	"kept as point 257 until it is discarded\n"
	"  A! recovery point 258\n"
	"  A! Replica, Replicating, standby\n"
	"  B: SETTLE\n"
	"  B -> HELLO\n"
	"  B! recovery point 258\n"
	"  B! Primary, Replicating, owner\n"
	"  B job done: replicating, recovery point 258, 8192 bytes "
	"differed\n"
	"A = Replica Replicating standby\n"
	"B = Primary Replicating owner writes\n";

static const char diverged_and_discarded_trace[] =
	"B: unplanned-failover\n"
	"  B: OPEN_OVERLAY\n"
	"  B! unplanned failover. Lost: everything after point 6 of "
	"22:13:23 UTC, 0 s old, about 2.0 KiB\n"
	"  B! Replica, FailedOverWaitingCompletion, owner\n"
	"  B: ARM\n"
	"  B job done: failed over to point 6; the VM may start here; "
	"lost: everything after point 6 of 22:13:23 UTC, 0 s old, about "
	"2.0 KiB\n"
	"A = Primary Replicating owner writes\n"
	"B = Replica FailedOverWaitingCompletion owner writes\n"
	"  A -> HELLO\n"
	"  B -> HELLO\n"
	"  B -> HELLO\n"
	"  A -> HELLO\n"
	"  A! diverged: the peer failed over while this site writes. "
	"Here points 6 to 6 and newer writes, there 6 to 6 and newer "
	"writes since the fork. Nothing is overwritten until the epoch "
	"that is to lose is discarded\n"
	"  A! Primary, Error, diverged\n"
	"  B -> HELLO\n"
	"  B! diverged: the old primary writes as well. Cancel this "
	"failover, or commit it and discard the epoch that is to lose\n"
	"  B! Replica, FailedOverWaitingCompletion, diverged\n"
	"A = Primary Error diverged writes\n"
	"B = Replica FailedOverWaitingCompletion diverged writes\n"
	"B: commit\n"
	"  B: FOLD\n"
	"  B -> HELLO\n"
	"  B! Replica, FailedOver, diverged\n"
	"  B job done: committed\n"
	"  B! the failover is folded into the disk\n"
	"  A -> HELLO\n"
	"A = Primary Error diverged writes\n"
	"B = Replica FailedOver diverged writes\n"
	"B: reverse\n"
	"  refused: both sites wrote: discard the epoch that is to "
	"lose first\n"
	"B: discard\n"
	"  B -> HELLO\n"
	"  B -> DISCARD\n"
	"  A: FENCE\n"
	"  A -> HELLO\n"
	"  A -> DISCARDED\n"
	"  A! an operator discarded this site's epoch: writes are "
	"refused here; its bytes stay readable\n"
	"  A! Primary, Error, superseded\n"
	"  B -> HELLO\n"
	"  B! the old primary is superseded by this site and refuses "
	"writes\n"
	"  B! Replica, FailedOver, owner\n"
	"  B job done: discarded; the other site no longer writes, "
	"reverse makes it follow\n"
	"A = Primary Error superseded\n"
	"B = Replica FailedOver owner writes\n"
	"B: reverse\n"
	"  B -> JOIN\n"
	"  A: ADOPT\n"
	"  A: EXPORT\n"
	"  A -> RANGES\n"
	"  A -> JOIN_READY\n"
	"  B: MARK\n"
	"  B: CUT\n"
	"  B -> CUT_BEGIN\n"
	"  A: RECEIVE\n"
	"  A -> CUT_ACCEPT\n"
	"  B: SHIP\n"
	"  A -> HELLO\n"
	"  A -> DURABLE\n"
	"  A! this site stands by for the other one; its own end is "
	"kept as point 7 until it is discarded\n"
	"  A! recovery point 8\n"
	"  A! Replica, Replicating, standby\n"
	"  B: SETTLE\n"
	"  B -> HELLO\n"
	"  B! recovery point 8\n"
	"  B! Primary, Replicating, owner\n"
	"  B job done: replicating, recovery point 8, 8192 bytes "
	"differed\n"
	"A = Replica Replicating standby\n"
	"B = Primary Replicating owner writes\n";

static const char cancelled_trace[] =
	"A crashes\n"
	"B: unplanned-failover\n"
	"  B: OPEN_OVERLAY\n"
	"  B! unplanned failover. Lost: everything after point 6 of "
	"22:13:23 UTC, 0 s old, about 2.0 KiB\n"
	"  B! Replica, FailedOverWaitingCompletion, owner\n"
	"  B: ARM\n"
	"  B job done: failed over to point 6; the VM may start here; "
	"lost: everything after point 6 of 22:13:23 UTC, 0 s old, about "
	"2.0 KiB\n"
	"A = Primary Replicating owner down\n"
	"B = Replica FailedOverWaitingCompletion owner writes\n"
	"  A -> HELLO\n"
	"  B -> HELLO\n"
	"  B -> HELLO\n"
	"  A -> HELLO\n"
	"  A -> HELLO\n"
	"  A! superseded: the peer failed over and this site does not "
	"write. Writes are refused here; what the other site lacks "
	"stays on this disk until it is reversed\n"
	"  A! Primary, Error, superseded\n"
	"  B -> HELLO\n"
	"  B -> HELLO\n"
	"  B! the old primary is superseded by this site and refuses "
	"writes\n"
	"A = Primary Error superseded\n"
	"B = Replica FailedOverWaitingCompletion owner writes\n"
	"B: cancel\n"
	"  B: FENCE\n"
	"  B: DROP_OVERLAY\n"
	"  B -> HELLO\n"
	"  B! Replica, Replicating, standby\n"
	"  B job done: the failover is cancelled; this site stands by "
	"again\n"
	"  B -> HELLO\n"
	"  A: ARM\n"
	"  A -> HELLO\n"
	"  A! the other site's failover was cancelled; this site "
	"stands as owner again\n"
	"  A! Primary, Replicating, owner\n"
	"A = Primary Replicating owner writes\n"
	"B = Replica Replicating standby\n";

static const char handover_cancelled_trace[] =
	"A: planned-failover\n"
	"  A -> HELLO\n"
	"  A -> HANDOVER_CHECK\n"
	"  A! Primary, PreparedForFailover, owner\n"
	"  B -> HELLO\n"
	"  B: CHECK_REVERSE\n"
	"  B -> HANDOVER_READY\n"
	"  A: FENCE\n"
	"  A: CUT\n"
	"  A -> CUT_BEGIN\n"
	"  B: RECEIVE\n"
	"  B -> CUT_ACCEPT\n"
	"  A: SHIP\n"
	"  B -> DURABLE\n"
	"  B! recovery point 7\n"
	"  A: SETTLE\n"
	"  A -> HELLO\n"
	"  A -> GRANT\n"
	"  A! recovery point 7\n"
	"  A! Primary, PreparedForFailover, relinquished\n"
	"A = Primary PreparedForFailover relinquished\n"
	"B = Replica Replicating standby\n"
	"B crashes\n"
	"  B: DROP_OVERLAY\n"
	"  A -> HELLO\n"
	"  B -> HELLO\n"
	"  B -> HELLO\n"
	"  B -> HELLO\n"
	"  A -> HELLO\n"
	"  A -> HELLO\n"
	"  A -> GRANT\n"
	"A: cancel\n"
	"  A -> CANCEL_REQUEST\n"
	"  B: OPEN_OVERLAY\n"
	"  B -> HELLO\n"
	"  B -> OWNED\n"
	"  B! Replica, FailedOverWaitingCompletion, owner\n"
	"  B: ARM\n"
	"  B -> OWNED\n"
	"  A -> HELLO\n"
	"  A! Replica, WaitingForRepurposeCompletion, standby\n"
	"  A job HVREPL_E_STATE: the other site had taken the VM "
	"already; cancel the failover there\n"
	"  A job done: the other site owns the VM now, at point 7\n"
	"A = Replica WaitingForRepurposeCompletion standby\n"
	"B = Replica FailedOverWaitingCompletion owner writes\n";

static void play(void (*story)(struct sites *w), const char *expected)
{
	story_begin(&world);
	story(&world);
	ck_assert_ptr_null(world.broken);
	/* Longer than what a failed check can print. */
	if (strcmp(world.trace, expected) != 0)
		fprintf(stderr, "%s", world.trace);
	ck_assert(strcmp(world.trace, expected) == 0);
	world.tracing = false;
	/* And it goes on from there. */
	for (uint32_t i = 0; i < 6 && sites_operator(&world); i++)
		sites_wait(&world, UINT64_C(75000000000));
	ck_assert(sites_is_replicating(&world));
	ck_assert_ptr_null(world.broken);
	sites_free(&world);
}

START_TEST(planned_failover_and_back_loses_nothing_and_ships_the_changes)
{
	play(planned_and_back, planned_and_back_trace);
}
END_TEST

START_TEST(a_killed_primary_comes_back_superseded_and_is_reversed)
{
	play(unplanned_and_return, unplanned_and_return_trace);
}
END_TEST

START_TEST(where_both_wrote_nothing_is_overwritten_before_a_discard)
{
	play(diverged_and_discarded, diverged_and_discarded_trace);
}
END_TEST

START_TEST(a_cancelled_failover_gives_the_vm_back)
{
	play(cancelled, cancelled_trace);
}
END_TEST

START_TEST(a_handover_that_was_granted_is_not_cancelled_behind_its_back)
{
	play(handover_cancelled, handover_cancelled_trace);
}
END_TEST

/* Both have written, and each discards what the other wrote; neither has heard of the
 * other's. In at[]: the epochs of a and b. */
static void both_discard(struct hvrepl_uuid at[2])
{
	story_begin(&world);
	world.tracing = false;
	sites_cut_link(&world);
	sites_write(&world, 0);
	operate(&world, 1, HVREPL_OPERATION_UNPLANNED);
	sites_write(&world, 1);
	sites_write(&world, 0);
	sites_connect(&world);
	sites_settle(&world, 4000);
	operate(&world, 1, HVREPL_OPERATION_COMMIT);
	sites_settle(&world, 4000);
	for (uint32_t i = 0; i < 2; i++)
		at[i] = world.site[i].r.record.current;
	for (uint32_t i = 0; i < 2; i++)
		ck_assert_int_eq(sites_operate(&world, i,
					       HVREPL_OPERATION_DISCARD, 0,
					       &at[!i]),
				 HVREPL_OK);
}

/* O6: the conflict is shown, nobody loses by it, and one word ends it. */
START_TEST(two_discards_at_the_same_time_are_both_refused_and_say_what_to_do)
{
	struct hvrepl_uuid at[2];

	both_discard(at);
	sites_settle(&world, 4000);
	for (uint32_t i = 0; i < 2; i++) {
		struct one_site *site = &world.site[i];

		ck_assert_int_eq(site->last_code, HVREPL_E_PEER_REFUSED);
		ck_assert_ptr_nonnull(strstr(site->last_sentence,
					     "at one site only"));
		ck_assert_uint_eq(hvri_relationship_ownership(&site->r),
				  HVREPL_OWNERSHIP_DIVERGED);
		ck_assert(sites_write(&world, i));
	}
	/* At one site only. */
	ck_assert_int_eq(sites_operate(&world, 1, HVREPL_OPERATION_DISCARD, 0,
				       &at[0]),
			 HVREPL_OK);
	sites_settle(&world, 4000);
	ck_assert_int_eq(world.site[1].last_code, HVREPL_OK);
	ck_assert(!sites_write(&world, 0) && sites_write(&world, 1));
	operate(&world, 1, HVREPL_OPERATION_REVERSE);
	sites_wait(&world, UINT64_C(5000000000));
	ck_assert(sites_is_replicating(&world));
	ck_assert_msg(world.broken == NULL, "%s", world.broken);
	sites_free(&world);
}
END_TEST

/* The same over a link so slow that both ask a second time before they hear that they
 * are refused: what their operators were told was not done is not done then. */
START_TEST(a_discard_that_was_refused_is_not_done_when_it_comes_again)
{
	struct hvrepl_uuid at[2];
	uint32_t asked;

	both_discard(at);
	asked = world.wire_count;
	for (uint32_t k = 0; k < asked; k++)
		sites_deliver(&world, k, true);
	while (world.wire_count > asked)
		sites_deliver(&world, asked, false);
	for (uint32_t i = 0; i < 2; i++)
		ck_assert_int_eq(world.site[i].last_code, HVREPL_E_PEER_REFUSED);
	sites_settle(&world, 4000);
	for (uint32_t i = 0; i < 2; i++)
		ck_assert(sites_write(&world, i));
	/* Asked anew, it is another one. */
	ck_assert_int_eq(sites_operate(&world, 1, HVREPL_OPERATION_DISCARD, 0,
				       &at[0]),
			 HVREPL_OK);
	sites_settle(&world, 4000);
	ck_assert_int_eq(world.site[1].last_code, HVREPL_OK);
	ck_assert(!sites_write(&world, 0) && sites_write(&world, 1));
	ck_assert_msg(world.broken == NULL, "%s", world.broken);
	sites_free(&world);
}
END_TEST

/* O1: both sites diverge, B is superseded by a discard, and comes back from before
 * it. A's HELLO, by which B would see that, is lost once; the next one says it. */
START_TEST(a_hello_that_is_lost_leaves_no_site_that_forgot_its_discard)
{
	struct one_site *b = &world.site[1];
	struct hvrepl_uuid at_b;
	bool any = true;

	story_begin(&world);
	world.tracing = false;
	sites_cut_link(&world);
	operate(&world, 1, HVREPL_OPERATION_UNPLANNED);
	sites_write(&world, 1);
	sites_write(&world, 0);
	sites_connect(&world);
	sites_settle(&world, 4000);
	operate(&world, 1, HVREPL_OPERATION_COMMIT);
	at_b = b->r.record.current;
	sites_backup(&world, 1);
	ck_assert_int_eq(sites_operate(&world, 0, HVREPL_OPERATION_DISCARD, 0,
				       &at_b),
			 HVREPL_OK);
	sites_settle(&world, 4000);
	ck_assert_uint_eq(b->r.record.ownership, HVREPL_OWNERSHIP_SUPERSEDED);
	sites_restore(&world, 1);
	sites_connect(&world);
	/* A hears all that B says; B no more than who is there. */
	for (uint32_t heard = 0; any;) {
		any = false;
		for (uint32_t k = 0; k < world.wire_count && !any; k++) {
			if (world.wire[k].to == 1 && heard++ > 0)
				continue;
			sites_deliver(&world, k, false);
			any = true;
		}
	}
	ck_assert(!b->r.record.rolled_back && b->r.session);
	sites_cut_link(&world);
	sites_connect(&world);
	sites_settle(&world, 4000);
	ck_assert(b->r.record.rolled_back);
	ck_assert(sites_write(&world, 0) && !sites_write(&world, 1));
	operate(&world, 0, HVREPL_OPERATION_REVERSE);
	sites_wait(&world, UINT64_C(5000000000));
	ck_assert(sites_is_replicating(&world));
	ck_assert_msg(world.broken == NULL, "%s", world.broken);
	sites_free(&world);
}
END_TEST

/* O4: B asked for the VM, A gave it away and was forced before B heard. B follows
 * A's new epoch, and is told that nothing comes of what it asked for. */
START_TEST(who_asked_for_a_handover_hears_that_the_vm_was_forced_instead)
{
	struct one_site *a = &world.site[0], *b = &world.site[1];

	story_begin(&world);
	world.tracing = false;
	ck_assert_int_eq(sites_operate(&world, 1, HVREPL_OPERATION_PLANNED, 0,
				       NULL),
			 HVREPL_OK);
	while (a->r.record.ownership != HVREPL_OWNERSHIP_RELINQUISHED)
		ck_assert(sites_any(&world));
	sites_cut_link(&world);
	sites_settle(&world, 4000);
	ck_assert_uint_eq(b->r.record.ownership, HVREPL_OWNERSHIP_STANDBY);
	operate(&world, 0, HVREPL_OPERATION_FORCE);
	ck_assert_uint_ne(b->r.record.job.id, 0);
	sites_connect(&world);
	sites_settle(&world, 4000);
	sites_wait(&world, UINT64_C(12000000000));
	ck_assert_uint_eq(b->r.record.job.id, 0);
	ck_assert_int_eq(b->last_code, HVREPL_E_CANCELLED);
	ck_assert_msg(world.broken == NULL, "%s", world.broken);
	sites_free(&world);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("relationship");
	TCase *tc = tcase_create("stories");

	tcase_add_test(
		tc, planned_failover_and_back_loses_nothing_and_ships_the_changes);
	tcase_add_test(tc,
		       a_killed_primary_comes_back_superseded_and_is_reversed);
	tcase_add_test(
		tc, where_both_wrote_nothing_is_overwritten_before_a_discard);
	tcase_add_test(tc, a_cancelled_failover_gives_the_vm_back);
	tcase_add_test(tc, two_discards_at_the_same_time_are_both_refused_and_say_what_to_do);
	tcase_add_test(tc, a_discard_that_was_refused_is_not_done_when_it_comes_again);
	tcase_add_test(
		tc, a_hello_that_is_lost_leaves_no_site_that_forgot_its_discard);
	tcase_add_test(
		tc, who_asked_for_a_handover_hears_that_the_vm_was_forced_instead);
	tcase_add_test(
		tc, a_handover_that_was_granted_is_not_cancelled_behind_its_back);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
