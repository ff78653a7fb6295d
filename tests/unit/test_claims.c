/* SPDX-License-Identifier: Apache-2.0 */
/* What a HELLO does to the standing of a site, and what none may do (O2, O6). */
#include "replication/relationship.h"

#include "replication/lineage.h"
#include "sitesrig.h"

#include <string.h>

static void operate(uint32_t site, uint32_t operation,
		    const struct hvrepl_uuid *epoch)
{
	ck_assert_int_eq(sites_operate(&w, site, operation, 0, epoch),
			 HVREPL_OK);
	sites_settle(&w, 2000);
	ck_assert_ptr_null(w.broken);
}

static void meet(void)
{
	sites_connect(&w);
	sites_settle(&w, 2000);
	ck_assert_ptr_null(w.broken);
}

/* B writes in an epoch of its own, as A does; A discards that, and B follows. */
static void lose_at_b(void)
{
	struct hvrepl_uuid lost = w.site[1].r.record.current;

	ck_assert_uint_eq(w.site[0].r.record.ownership,
			  HVREPL_OWNERSHIP_DIVERGED);
	operate(0, HVREPL_OPERATION_DISCARD, &lost);
	operate(0, HVREPL_OPERATION_REVERSE, NULL);
	sites_wait(&w, UINT64_C(60000000000));
	sites_settle(&w, 2000);
	ck_assert_uint_eq(w.site[1].r.record.ownership,
			  HVREPL_OWNERSHIP_STANDBY);
	ck_assert(hvri_uuid_equal(&w.site[0].r.record.current,
				  &w.site[1].r.record.current));
	ck_assert(!hvri_lineage_dead(&w.site[0].r.record.lineage, &lost));
}

/* B fails over while A is down, and thinks better of it. */
static void fail_over_and_cancel(void)
{
	const struct hvri_record *a = &w.site[0].r.record;

	sites_crash(&w, 0);
	operate(1, HVREPL_OPERATION_UNPLANNED, NULL);
	sites_start(&w, 0);
	meet();
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_SUPERSEDED);
	operate(1, HVREPL_OPERATION_CANCEL, NULL);
	sites_wait(&w, UINT64_C(60000000000));
	sites_settle(&w, 2000);
	ck_assert_uint_eq(w.site[1].r.record.ownership,
			  HVREPL_OWNERSHIP_STANDBY);
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_OWNER);
	ck_assert(w.site[0].r.armed);
}

START_TEST(a_cancelled_failover_supersedes_nobody_after_one_that_was_discarded)
{
	operate(1, HVREPL_OPERATION_UNPLANNED, NULL);
	lose_at_b();
	fail_over_and_cancel();
}
END_TEST

START_TEST(a_cancelled_failover_supersedes_nobody_after_a_handover_was_lost)
{
	operate(0, HVREPL_OPERATION_PLANNED, NULL);
	sites_cut_link(&w);
	operate(0, HVREPL_OPERATION_UNPLANNED, NULL);
	meet();
	lose_at_b();
	fail_over_and_cancel();
}
END_TEST

START_TEST(what_superseded_a_site_is_not_lifted_by_a_peer_that_forgot_it)
{
	const struct hvri_record *a = &w.site[0].r.record;

	/* B fails over; its record is then restored from before. */
	sites_backup(&w, 1);
	sites_crash(&w, 0);
	operate(1, HVREPL_OPERATION_UNPLANNED, NULL);
	sites_start(&w, 0);
	meet();
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_SUPERSEDED);
	sites_restore(&w, 1);
	meet();
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_SUPERSEDED);
	ck_assert(!w.site[0].r.armed && !w.site[1].r.armed);
	ck_assert(w.site[1].r.record.rolled_back);
}
END_TEST

/* A gives the VM away, B has heard of it and not taken it; A's record is then
 * restored from before. */
static void restore_before_grant(void)
{
	sites_cut_link(&w);
	meet();
	ck_assert_int_eq(sites_operate(&w, 0, HVREPL_OPERATION_PLANNED, 0,
				       NULL),
			 HVREPL_OK);
	sites_backup(&w, 0);
	for (uint32_t n = 0; n < 200 && hvri_uuid_is_none(
			     &w.site[0].r.record.relinquished); n++)
		sites_settle(&w, 1);
	ck_assert(!hvri_uuid_is_none(&w.site[0].r.record.relinquished));
	while (w.site[1].r.record.peer_generation !=
	       w.site[0].r.record.generation)
		sites_settle(&w, 1);
	ck_assert_uint_eq(w.site[1].r.record.ownership,
			  HVREPL_OWNERSHIP_STANDBY);
	sites_restore(&w, 0);
}

START_TEST(a_restored_record_is_recognised_whatever_it_changed_before_contact)
{
	const struct hvri_record *a = &w.site[0].r.record;

	restore_before_grant();
	/* It gave the handover up as it started, and is as far as it was. */
	ck_assert_uint_eq(a->generation, w.site[1].r.record.peer_generation);
	/* Twice started, it is still what nobody was told of. */
	sites_crash(&w, 0);
	sites_start(&w, 0);
	ck_assert(!a->rolled_back);
	meet();
	ck_assert(a->rolled_back);
	ck_assert(!w.site[0].r.armed);
}
END_TEST

START_TEST(a_restored_record_that_was_forced_is_not_stopped_again)
{
	const struct hvri_record *a = &w.site[0].r.record;

	/* After the backup a handover is cancelled, and A writes on: what its
	 * disk says of that is how it knows without the peer. */
	sites_backup(&w, 0);
	ck_assert_int_eq(sites_operate(&w, 0, HVREPL_OPERATION_PLANNED, 0,
				       NULL),
			 HVREPL_OK);
	operate(0, HVREPL_OPERATION_CANCEL, NULL);
	sites_crash(&w, 0);
	sites_start(&w, 0);
	meet();
	ck_assert(w.site[0].r.armed);
	sites_restore(&w, 0);
	ck_assert(a->rolled_back);
	operate(0, HVREPL_OPERATION_FORCE, NULL);
	ck_assert(w.site[0].r.armed);
	ck_assert_uint_gt(w.site[1].r.record.peer_generation,
			  a->said_generation);
	meet();
	ck_assert(!a->rolled_back);
	ck_assert(w.site[0].r.armed);
}
END_TEST

START_TEST(a_change_without_contact_is_no_backup)
{
	const struct hvri_record *b = &w.site[1].r.record;

	/* Told once, and the other's answer is lost each time. */
	sites_cut_link(&w);
	operate(1, HVREPL_OPERATION_UNPLANNED, NULL);
	for (int i = 0; i < 3; i++) {
		sites_connect(&w);
		for (uint32_t k = 0; k < w.wire_count;)
			if (w.wire[k].to == 0)
				sites_deliver(&w, k, false);
			else
				k++;
		sites_cut_link(&w);
		sites_crash(&w, 1);
		sites_start(&w, 1);
		sites_settle(&w, 100);
	}
	ck_assert_uint_lt(b->said_generation, b->generation);
	meet();
	ck_assert(!b->rolled_back && !w.site[0].r.record.rolled_back);
	ck_assert_uint_eq(b->said_generation, b->generation);
	ck_assert_uint_eq(w.site[0].r.record.peer_generation, b->generation);
}
END_TEST

START_TEST(a_hello_that_comes_again_changes_nothing)
{
	static struct hvri_claim standby;
	static struct hvri_record before;
	struct hvri_message m = sites_message_to(&w, 0, HVRI_MESSAGE_HELLO);
	struct hvri_relationship *a = &w.site[0].r;

	/* What B said last. */
	standby = w.site[1].r.claim_out;
	ck_assert_uint_eq(standby.ownership, HVREPL_OWNERSHIP_STANDBY);
	m.claim = &standby;
	m.number = w.site[1].r.hellos_sent;
	/* B fails over, in the session; both write. */
	operate(1, HVREPL_OPERATION_UNPLANNED, NULL);
	ck_assert(a->armed && w.site[1].r.armed);
	ck_assert_uint_eq(a->record.ownership, HVREPL_OWNERSHIP_DIVERGED);
	before = a->record;
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert_mem_eq(&before, &a->record, sizeof(before));
	ck_assert_uint_eq(u.send_count + u.action_count + u.persist, 0);
	/* Nor one without a number, of a peer that gave its others one. */
	m.number = 0;
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert_mem_eq(&before, &a->record, sizeof(before));
	/* Nor one of an older start of the peer. */
	m.number = 1;
	m.from_incarnation--;
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert_mem_eq(&before, &a->record, sizeof(before));
	ck_assert(a->greeted);
	/* A new one counts. */
	m = sites_message_to(&w, 0, HVRI_MESSAGE_HELLO);
	m.claim = &standby;
	m.number = w.site[1].r.hellos_sent + 1;
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert_uint_eq(a->record.ownership, HVREPL_OWNERSHIP_OWNER);
}
END_TEST

/* The next HELLO of B to A, as it stands. */
static struct hvri_message hello_of_b(struct hvri_claim *claim)
{
	struct hvri_message m = sites_message_to(&w, 0, HVRI_MESSAGE_HELLO);

	*claim = w.site[1].r.claim_out;
	m.claim = claim;
	m.number = ++w.site[1].r.hellos_sent;
	return m;
}

/* Its HELLO says no more than that: rot there is as likely as somebody's hand. */
START_TEST(a_doubt_of_the_other_site_names_both_that_it_may_come_of)
{
	static struct hvri_claim claim;
	struct hvri_message m;

	sites_cut_link(&w);
	meet();
	m = hello_of_b(&claim);
	claim.untrusted = true;
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert_int_eq(u.notices[0].code, HVREPL_E_UNTRUSTED);
	ck_assert_ptr_nonnull(strstr(u.notices[0].sentence, "changed outside"));
	ck_assert_ptr_nonnull(strstr(u.notices[0].sentence, "damaged"));
}
END_TEST

START_TEST(a_history_that_contradicts_ours_is_not_taken_until_it_is_mended)
{
	static struct hvri_claim claim;
	struct hvri_relationship *a = &w.site[0].r;
	struct hvri_message m = hello_of_b(&claim);

	claim.lineage.epochs[0].planned ^= true;
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert(!a->greeted);
	ck_assert_uint_eq(u.notice_count, 2);
	ck_assert_int_eq(u.notices[0].code, HVREPL_E_PROTOCOL);
	ck_assert_uint_eq(u.notices[1].type, HVREPL_EVENT_HEALTH);
	ck_assert_uint_eq(u.notices[1].value, HVREPL_HEALTH_WARNING);
	/* And again: this one would have been the first of the session. */
	m = hello_of_b(&claim);
	claim.lineage.epochs[0].planned ^= true;
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert(!a->greeted);
	/* What is joined in this session stays so. */
	a->record.phase = HVRI_PHASE_JOIN;
	a->joined = true;
	m = hello_of_b(&claim);
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert(a->greeted && a->joined);
	for (uint32_t i = 0; i < u.send_count; i++)
		ck_assert_uint_ne(u.sends[i].type, HVRI_MESSAGE_JOIN);
}
END_TEST

/* It is on the medium as it is: it need not make sense. */
START_TEST(a_record_whose_epoch_is_not_in_its_history_is_left_as_it_is)
{
	static struct hvri_claim claim;
	struct hvri_relationship *a = &w.site[0].r;
	struct hvri_message m = hello_of_b(&claim);
	uint32_t count = a->record.lineage.count;

	a->record.current = sites_fresh(&w);
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert_uint_eq(a->record.lineage.count, count);
}
END_TEST

START_TEST(a_hello_outside_a_session_is_none)
{
	static struct hvri_claim claim;
	static struct hvri_record before;
	struct hvri_relationship *a = &w.site[0].r;
	struct hvri_message m = hello_of_b(&claim);

	before = a->record;
	a->session = false;
	claim.ownership = HVREPL_OWNERSHIP_OWNER;
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert_mem_eq(&before, &a->record, sizeof(before));
	ck_assert_uint_eq(u.send_count + u.action_count + u.persist, 0);
}
END_TEST

/* Of a version that did not count them. */
START_TEST(a_first_hello_may_have_no_number)
{
	static struct hvri_claim claim;
	struct hvri_relationship *a = &w.site[0].r;
	struct hvri_message m = hello_of_b(&claim);

	m.number = 0;
	a->hello_seen = 0;
	claim.generation += 5;
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert_uint_eq(a->record.peer_generation, claim.generation);
}
END_TEST

/* The child that was given the VM is dead, and so the record says; what else the
 * record says of it does not matter. */
START_TEST(a_handover_that_was_given_back_is_forgotten)
{
	static struct hvri_claim claim;
	struct hvri_relationship *a = &w.site[0].r;
	struct hvri_epoch dead;
	struct hvri_message m = hello_of_b(&claim);

	memset(&dead, 0, sizeof(dead));
	dead.id = sites_fresh(&w);
	dead.parent = a->record.current;
	dead.ordinal = hvri_lineage_next_ordinal(&a->record.lineage);
	dead.owner = a->record.peer;
	dead.outcome = HVREPL_OUTCOME_REFUSED;
	ck_assert_int_eq(hvri_lineage_add(&a->record.lineage, &dead), HVREPL_OK);
	a->record.relinquished = dead.id;
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert(hvri_uuid_is_none(&a->record.relinquished));
	ck_assert_uint_eq(a->record.ownership, HVREPL_OWNERSHIP_OWNER);
	ck_assert_uint_ne(u.persist, 0);
}
END_TEST

/* Both failed over, each in an epoch of its own; then A comes back as it was
 * before either did, and can claim nothing any more. */
START_TEST(a_divergence_ends_when_the_other_claimant_was_restored_from_before_it)
{
	const struct hvri_record *a = &w.site[0].r.record;
	const struct hvri_record *b = &w.site[1].r.record;

	sites_backup(&w, 0);
	sites_crash(&w, 0);
	operate(1, HVREPL_OPERATION_UNPLANNED, NULL);
	sites_start(&w, 0);
	meet();
	operate(0, HVREPL_OPERATION_FORCE, NULL);
	sites_settle(&w, 2000);
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_DIVERGED);
	ck_assert_uint_eq(b->ownership, HVREPL_OWNERSHIP_DIVERGED);
	operate(1, HVREPL_OPERATION_COMMIT, NULL);
	sites_restore(&w, 0);
	w.restored = true;
	meet();
	ck_assert(a->rolled_back);
	ck_assert_uint_eq(b->ownership, HVREPL_OWNERSHIP_OWNER);
	operate(1, HVREPL_OPERATION_REVERSE, NULL);
	sites_wait(&w, UINT64_C(60000000000));
	sites_settle(&w, 2000);
	ck_assert_ptr_null(w.broken);
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_STANDBY);
	ck_assert(sites_is_replicating(&w));
}
END_TEST

/* A concedes to B's epoch; B is brought back from before that, A forced, and B follows
 * there. Then A is brought back from its conceding and forced anew, while B fails over
 * and thinks better of it: where B stands by now is an epoch of A's that A has lost. */
static void stand_by_in_a_lost_epoch(void)
{
	static struct one_site then[2];
	const struct hvri_record *a = &w.site[0].r.record;

	then[1] = w.site[1];
	operate(1, HVREPL_OPERATION_UNPLANNED, NULL);
	operate(1, HVREPL_OPERATION_COMMIT, NULL);
	operate(0, HVREPL_OPERATION_DISCARD, &a->current);
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_SUPERSEDED);
	then[0] = w.site[0];
	w.conceded = true;
	sites_bring_back(&w, 1, &then[1]);
	operate(0, HVREPL_OPERATION_FORCE, NULL);
	meet();
	ck_assert(w.site[1].r.record.rolled_back);
	operate(0, HVREPL_OPERATION_RESYNC, NULL);
	sites_wait(&w, UINT64_C(60000000000));
	ck_assert(sites_is_replicating(&w));
	operate(1, HVREPL_OPERATION_UNPLANNED, NULL);
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_DIVERGED);
	sites_bring_back(&w, 0, &then[0]);
	meet();
	ck_assert(a->rolled_back);
	operate(0, HVREPL_OPERATION_FORCE, NULL);
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_DIVERGED);
}

START_TEST(a_divergence_ends_when_the_other_stands_by_in_an_epoch_that_was_lost_here)
{
	const struct hvri_record *a = &w.site[0].r.record;
	const struct hvri_record *b = &w.site[1].r.record;
	uint64_t held;

	stand_by_in_a_lost_epoch();
	operate(1, HVREPL_OPERATION_CANCEL, NULL);
	ck_assert_uint_eq(b->ownership, HVREPL_OWNERSHIP_STANDBY);
	ck_assert(!hvri_uuid_equal(&a->current, &b->current));
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_OWNER);
	/* Equal they are not: an operator has B follow, by a compare, and what it
	 * holds stays until retention takes it. */
	ck_assert(a->untrusted);
	held = b->position.number;
	operate(0, HVREPL_OPERATION_RESYNC, NULL);
	for (int k = 0; k < 60 && b->position.number == held; k++)
		sites_wait(&w, UINT64_C(1000000000));
	ck_assert_ptr_null(w.broken);
	ck_assert(sites_is_replicating(&w));
	for (uint32_t i = 0; i < w.site[1].point_count; i++)
		if (w.site[1].points[i].id.number == held)
			return;
	ck_abort_msg("point %llu is gone", (unsigned long long)held);
}
END_TEST

/* What stands by elsewhere than in an epoch of ours has not left its own. */
START_TEST(a_divergence_stands_while_it_is_not_known_what_the_other_follows)
{
	const struct hvri_record *a = &w.site[0].r.record;
	static struct hvri_claim claim;
	struct hvri_message m;

	stand_by_in_a_lost_epoch();
	claim = w.site[1].r.claim_out;
	claim.ownership = HVREPL_OWNERSHIP_STANDBY;
	if (_i == 1)
		claim.current = sites_fresh(&w);
	m = sites_message_to(&w, 0, HVRI_MESSAGE_HELLO);
	m.claim = &claim;
	m.number = w.site[1].r.hellos_sent + 1;
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_DIVERGED);
}
END_TEST

/* Retention and a full volume go on until the overlay stands on its point. */
START_TEST(a_failover_to_a_point_that_went_meanwhile_is_given_up)
{
	const struct hvri_record *b = &w.site[1].r.record;
	struct hvri_event event;

	for (int i = 0; i < 3; i++) {
		sites_write(&w, 0);
		sites_wait(&w, UINT64_C(2000000000));
	}
	ck_assert_uint_gt(w.site[1].point_count, 2);
	memset(&event, 0, sizeof(event));
	event.type = HVRI_EVENT_OPERATION;
	event.u.operation.operation = HVREPL_OPERATION_UNPLANNED;
	event.u.operation.job = 4711;
	event.u.operation.resolved = w.site[1].points[0].id;
	event.u.operation.point = event.u.operation.resolved.number;
	w.site[1].point_count--;
	memmove(&w.site[1].points[0], &w.site[1].points[1],
		w.site[1].point_count * sizeof(w.site[1].points[0]));
	w.restored = true; /* The world is told that points go. */
	w.site[1].last_job = 4711;
	sites_feed(&w, 1, &event);
	sites_settle(&w, 2000);
	ck_assert_int_eq(w.site[1].last_code, HVREPL_E_NOT_FOUND);
	sites_wait(&w, UINT64_C(20000000000));
	ck_assert_ptr_null(w.broken);
	ck_assert_uint_eq(b->ownership, HVREPL_OWNERSHIP_STANDBY);
	ck_assert_uint_eq(w.site[0].r.record.ownership, HVREPL_OWNERSHIP_OWNER);
	ck_assert(w.site[0].r.armed);
	ck_assert(sites_is_replicating(&w));
}
END_TEST

/* B forces in an epoch beside the one that A follows; A follows there, too, and
 * comes back as it was. */
START_TEST(a_replica_that_stands_by_in_another_epoch_is_said_to_need_a_resync)
{
	const struct hvri_record *a = &w.site[0].r.record;
	const struct hvri_record *b = &w.site[1].r.record;
	static struct hvri_claim claim;
	struct hvri_message m;

	operate(1, HVREPL_OPERATION_UNPLANNED, NULL);
	lose_at_b();
	/* What B would say had it stayed in an epoch of A's beside this one. */
	claim = w.site[1].r.claim_out;
	ck_assert_uint_eq(claim.ownership, HVREPL_OWNERSHIP_STANDBY);
	for (uint32_t i = 0; i < a->lineage.count; i++)
		if (!hvri_lineage_on_path(&a->lineage, &a->current,
					  &a->lineage.epochs[i].id))
			claim.current = a->lineage.epochs[i].id;
	ck_assert(!hvri_uuid_equal(&claim.current, &b->current));
	m = sites_message_to(&w, 0, HVRI_MESSAGE_HELLO);
	m.claim = &claim;
	m.number = w.site[1].r.hellos_sent + 1;
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert_uint_eq(hvri_relationship_state(&w.site[0].r),
			  HVREPL_STATE_WAITING_FOR_RESYNC);
}
END_TEST

START_TEST(a_reverse_ends_where_the_other_storage_failed_under_its_failover)
{
	struct hvrepl_uuid lost;

	operate(1, HVREPL_OPERATION_UNPLANNED, NULL);
	lost = w.site[1].r.record.current;
	operate(0, HVREPL_OPERATION_DISCARD, &lost);
	w.site[1].r.storage_failed = true;
	operate(0, HVREPL_OPERATION_REVERSE, NULL);
	ck_assert_int_eq(w.site[0].last_code, HVREPL_E_PEER_REFUSED);
	ck_assert_uint_eq(w.site[0].r.record.job.id, 0);
	/* A restart opens it again. */
	sites_crash(&w, 1);
	sites_start(&w, 1);
	w.site[1].r.storage_failed = false;
	meet();
	operate(0, HVREPL_OPERATION_REVERSE, NULL);
	sites_wait(&w, UINT64_C(60000000000));
	ck_assert_ptr_null(w.broken);
	ck_assert(sites_is_replicating(&w));
}
END_TEST

/* B failed over from a backup of itself, and cancels: what A took that for is over
 * with the claim. */
START_TEST(a_doubt_about_a_claim_goes_with_the_claim)
{
	struct hvri_record *a = &w.site[0].r.record;

	for (int i = 0; i < 2; i++) {
		sites_write(&w, 0);
		sites_wait(&w, UINT64_C(2000000000));
	}
	sites_crash(&w, 0);
	/* As if the peer had acknowledged more than it holds. */
	w.site[0].durable.last_acked.number += 3;
	w.site[0].durable.last_acked.cut.bytes[0] ^= 1;
	operate(1, HVREPL_OPERATION_UNPLANNED, NULL);
	sites_start(&w, 0);
	meet();
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_SUPERSEDED);
	ck_assert(a->untrusted);
	a->last_acked = w.site[1].r.record.position;
	operate(1, HVREPL_OPERATION_CANCEL, NULL);
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_OWNER);
	ck_assert(!a->untrusted);
	/* Lost tracking is another matter. */
	ck_assert_ptr_null(w.broken);
}
END_TEST

/* B learned that the epoch it is in was given up, in a future it has forgotten, and
 * has folded it into its disk since. */
START_TEST(force_in_an_epoch_that_was_given_up_is_not_dead_from_the_start)
{
	struct hvri_record *b = &w.site[1].r.record;

	sites_crash(&w, 0);
	operate(1, HVREPL_OPERATION_UNPLANNED, NULL);
	operate(1, HVREPL_OPERATION_COMMIT, NULL);
	ck_assert_uint_eq(b->form, HVRI_FORM_LIVE);
	hvri_lineage_find(&b->lineage, &b->current)->outcome =
		HVREPL_OUTCOME_ABANDONED;
	b->ownership = HVREPL_OWNERSHIP_SUPERSEDED;
	b->rolled_back = true;
	ck_assert_int_eq(sites_operate(&w, 1, HVREPL_OPERATION_FORCE, 0, NULL),
			 HVREPL_OK);
	ck_assert(!hvri_lineage_dead(&b->lineage, &b->current));
	ck_assert_uint_eq(hvri_lineage_look(&b->lineage, &b->current)->parent.bytes[0],
			  w.site[0].durable.current.bytes[0]);
}
END_TEST

START_TEST(any_number_of_planned_failovers_may_be_given_up)
{
	const struct hvri_record *a = &w.site[0].r.record;
	const struct hvri_record *b = &w.site[1].r.record;

	for (unsigned n = 0; n < 400; n++) {
		unsigned asked = n % 3 == 0;

		ck_assert_msg(sites_operate(&w, asked, HVREPL_OPERATION_PLANNED,
					    0, NULL) == HVREPL_OK,
			      "%u: %s", n, w.site[asked].last_sentence);
		/* At one step or another; sometimes it has been taken. */
		sites_settle(&w, n % 9);
		if (b->ownership == HVREPL_OWNERSHIP_STANDBY)
			(void)sites_operate(&w, n % 2, HVREPL_OPERATION_CANCEL,
					    0, NULL);
		sites_settle(&w, 2000);
		if (b->ownership == HVREPL_OWNERSHIP_OWNER)
			operate(1, HVREPL_OPERATION_CANCEL, NULL);
		if (n % 50 == 7) {
			sites_crash(&w, n % 4 == 3);
			sites_start(&w, n % 4 == 3);
			meet();
		}
		sites_write(&w, 0);
		sites_wait(&w, UINT64_C(12000000000));
		ck_assert_ptr_null(w.broken);
		ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_OWNER);
		ck_assert(w.site[0].r.armed);
	}
	ck_assert_uint_lt(a->lineage.count, HVRI_EPOCHS_MAX - 8);
	operate(0, HVREPL_OPERATION_PLANNED, NULL);
	ck_assert_uint_eq(b->ownership, HVREPL_OWNERSHIP_OWNER);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("claims");
	TCase *tc = tcase_create("steps");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(
		tc, a_cancelled_failover_supersedes_nobody_after_one_that_was_discarded);
	tcase_add_test(
		tc, a_cancelled_failover_supersedes_nobody_after_a_handover_was_lost);
	tcase_add_test(
		tc, what_superseded_a_site_is_not_lifted_by_a_peer_that_forgot_it);
	tcase_add_test(
		tc, a_restored_record_is_recognised_whatever_it_changed_before_contact);
	tcase_add_test(
		tc, a_restored_record_that_was_forced_is_not_stopped_again);
	tcase_add_test(tc, a_change_without_contact_is_no_backup);
	tcase_add_test(tc, a_hello_that_comes_again_changes_nothing);
	tcase_add_test(tc,
		       a_doubt_of_the_other_site_names_both_that_it_may_come_of);
	tcase_add_test(
		tc, a_history_that_contradicts_ours_is_not_taken_until_it_is_mended);
	tcase_add_test(
		tc, a_record_whose_epoch_is_not_in_its_history_is_left_as_it_is);
	tcase_add_test(tc, a_hello_outside_a_session_is_none);
	tcase_add_test(tc, a_first_hello_may_have_no_number);
	tcase_add_test(tc, a_handover_that_was_given_back_is_forgotten);
	tcase_add_test(
		tc, a_divergence_ends_when_the_other_claimant_was_restored_from_before_it);
	tcase_set_timeout(tc, 240);
	tcase_add_test(
		tc, a_reverse_ends_where_the_other_storage_failed_under_its_failover);
	tcase_add_test(
		tc,
		a_divergence_ends_when_the_other_stands_by_in_an_epoch_that_was_lost_here);
	tcase_add_loop_test(
		tc, a_divergence_stands_while_it_is_not_known_what_the_other_follows,
		0, 2);
	tcase_add_test(tc, a_doubt_about_a_claim_goes_with_the_claim);
	tcase_add_test(
		tc, force_in_an_epoch_that_was_given_up_is_not_dead_from_the_start);
	tcase_add_test(
		tc, a_replica_that_stands_by_in_another_epoch_is_said_to_need_a_resync);
	tcase_add_test(tc, any_number_of_planned_failovers_may_be_given_up);
	tcase_add_test(
		tc, a_failover_to_a_point_that_went_meanwhile_is_given_up);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
