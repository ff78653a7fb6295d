/* SPDX-License-Identifier: Apache-2.0 */
/* Data jobs that other threads do late: what was decided meanwhile counts. */
#include "driver/vm.h"
#include "guestshadow.h"

#include <stdlib.h>
#include <string.h>

static void protected_with_points(void)
{
	shadow_scatter(&pair.a, 1, 60);
	shadow_protect();
	shadow_scatter(&pair.a, 2, 30);
	(void)shadow_next_point(&pair.a, &pair.b);
}

static bool connected(struct pair *p)
{
	struct hvrepl_vm_status a, b;

	pair_status(&p->a, &a);
	pair_status(&p->b, &b);
	return a.connected && b.connected;
}

static bool b_has_job(struct pair *p)
{
	return p->b.job_count > 0;
}

static bool taken_over(struct pair *p)
{
	struct hvrepl_vm_status b;

	pair_status(&p->b, &b);
	return b.writable;
}

START_TEST(a_fence_that_overtakes_an_arm_stands)
{
	struct hvrepl_vm_status status;

	protected_with_points();
	pair_kill(&pair, &pair.a, false);
	pair_link(&pair, false);
	pair_start(&pair, &pair.a);
	pair_run(&pair, SECOND);
	/* With contact the former owner may write: the arm begins, and while it
	 * is under way the VM is handed over. */
	pair.a.holds_jobs = true;
	pair_link(&pair, true);
	ck_assert(pair_until(&pair, 60 * SECOND, connected));
	pair_run(&pair, SECOND / 10);
	ck_assert_uint_gt(pair.a.job_count, 0);
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_PLANNED, 0, NULL),
			 HVREPL_OK);
	pair_run(&pair, SECOND / 10);
	pair_do_jobs(&pair.a);
	/* The disks were flushed: no write may slip in behind that. */
	while (hvrepl_node_deadline(pair.a.node) <= pair.now_ns) {
		(void)hvrepl_node_process(pair.a.node, 1);
		shadow_expect_fenced(&pair.a);
		pair_do_jobs(&pair.a);
	}
	pair.a.holds_jobs = false;
	ck_assert(pair_until(&pair, 60 * SECOND, taken_over));
	pair_status(&pair.a, &status);
	ck_assert(!status.writable);
	shadow_expect_fenced(&pair.a);
	shadow_expect_disks(&pair.b);
}
END_TEST

/* The standby is about to take a cut in when the connection is lost. */
static void lost_while_taking_in(uint64_t seed)
{
	pair_run(&pair, SECOND / 5); /* What follows a point is done. */
	ck_assert_uint_eq(pair.b.job_count, 0);
	pair.b.holds_jobs = true;
	shadow_scatter(&pair.a, seed, 10);
	ck_assert(pair_until(&pair, 10 * SECOND, b_has_job));
	pair_link_break(&pair);
	pair_run(&pair, 1000000);
}

START_TEST(a_cut_is_not_accepted_twice_when_the_connection_was_lost)
{
	protected_with_points();
	lost_while_taking_in(3);
	pair.delay_ns[0] = pair.delay_ns[1] = SECOND / 5;
	ck_assert(pair_until(&pair, 60 * SECOND, connected));
	/* Both greet each other. The answer to the offer that was made before is
	 * ready now, while the owner makes that offer again. */
	pair_run(&pair, SECOND / 4);
	pair_do_jobs(&pair.b);
	/* What the owner sends then comes before the standby has begun anew. */
	pair_run(&pair, SECOND / 2 + SECOND / 20);
	pair_do_jobs(&pair.b);
	pair.b.holds_jobs = false;
	pair.delay_ns[0] = pair.delay_ns[1] = 0;
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

START_TEST(credit_of_a_reception_that_begins_anew_comes_back)
{
	protected_with_points();
	/* More often than the pool of all receptions has credit for. */
	for (unsigned i = 0; i < 12; i++) {
		lost_while_taking_in(3 + i);
		ck_assert(pair_until(&pair, 60 * SECOND, connected));
		pair_run(&pair, SECOND / 10);
		pair_do_jobs(&pair.b);
		pair.b.holds_jobs = false;
		shadow_expect_point(&pair.b,
				    shadow_next_point(&pair.a, &pair.b));
	}
}
END_TEST

/* ---- Whatever takes how long. ---- */

static uint64_t dice;

static uint64_t below(uint64_t limit)
{
	return test_random(&dice) % limit;
}

static void somebody_is_killed(void)
{
	struct pair_site *site = below(2) ? &pair.a : &pair.b;

	pair_kill(&pair, site, false);
	pair_run(&pair, below(SECOND / 5));
	pair_start(&pair, site);
}

static void the_link_breaks(void)
{
	for (uint64_t n = below(3); n < 3; n++) {
		pair_link_break(&pair);
		pair_run(&pair, below(3 * SECOND));
	}
}

static void somebody_pauses(void)
{
	struct pair_site *site = below(2) ? &pair.a : &pair.b;

	shadow_ok(site, HVREPL_OPERATION_SUSPEND);
	pair_run(&pair, below(SECOND));
	shadow_ok(site, HVREPL_OPERATION_RESUME);
}

static struct pair_site *taking_over;

static bool has_taken_over(struct pair *p)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	(void)p;
	return hvrepl_vm_get_status(taking_over->node, &pair_vm, &status) ==
		       HVREPL_OK &&
	       status.writable;
}

/* The operator asks again, and one of the two may be killed meanwhile. */
static struct pair_site *fails_over(struct pair_site *from)
{
	struct hvrepl_vm_status status;
	bool kill = below(2) == 0;

	taking_over = pair_other(from);
	for (unsigned n = 0; !has_taken_over(&pair); n++) {
		ck_assert_uint_lt(n, 60);
		(void)pair_ask(taking_over, HVREPL_OPERATION_PLANNED, 0, NULL);
		pair_run(&pair, below(SECOND / 2));
		if (kill)
			somebody_is_killed();
		kill = false;
		(void)pair_until(&pair, 2 * SECOND, has_taken_over);
	}
	shadow_expect_disks(taking_over);
	pair_run(&pair, 5 * SECOND);
	pair_status(from, &status);
	ck_assert(!status.writable);
	shadow_expect_fenced(from);
	shadow_ok(taking_over, HVREPL_OPERATION_COMMIT);
	shadow_ok(taking_over, HVREPL_OPERATION_REVERSE);
	return taking_over;
}

/* _i: seed. */
START_TEST(replication_goes_on_however_late_jobs_and_messages_are)
{
	struct pair_site *owner = &pair.a;
	struct hvrepl_vm_status status;
	uint64_t point;

	protected_with_points();
	dice = 1000 + (uint64_t)_i * test_stride();
	for (unsigned step = 0; step < 8; step++) {
		/* A guest's write waits for jobs, and would wait for this thread. */
		pair.a.jobs_take_ns = pair.b.jobs_take_ns = 0;
		pair_run(&pair, SECOND / 2);
		shadow_scatter(owner, step + 10 * (uint64_t)_i * test_stride(), 10);
		pair_status(owner, &status);
		pair.a.jobs_take_ns = below(3) * SECOND / 10;
		pair.b.jobs_take_ns = below(3) * SECOND / 10;
		pair.delay_ns[0] = below(3) * SECOND / 20;
		pair.delay_ns[1] = below(3) * SECOND / 20;
		pair_run(&pair, below(2 * SECOND));
		switch (below(4)) {
		case 0:
			somebody_is_killed();
			break;
		case 1:
			the_link_breaks();
			break;
		case 2:
			somebody_pauses();
			break;
		default:
			owner = fails_over(owner);
			break;
		}
		do /* An owner that was killed may not know of its last cut. */
			point = shadow_next_point(owner, pair_other(owner));
		while (point <= status.last_cut);
		shadow_expect_point(pair_other(owner), point);
		taking_over = owner;
		ck_assert(pair_until(&pair, 60 * SECOND, has_taken_over));
	}
}
END_TEST

/* b's storage fails while it fails over; the operator cancels, and fails over anew
 * before what was begun is thrown away. The store is opened again for the cancel
 * first: that comes late, and takes nothing from under the guest. _i: the call that
 * fails. */
static bool waits_for_resync(struct pair *p)
{
	return shadow_status(&p->a).state ==
	       HVREPL_STATE_WAITING_FOR_RESYNC;
}

/* It is the only thing under way: replication was suspended, and the other site's disks
 * were changed outside. The link breaks as it marks what is to be compared, one disk
 * after the other, and a little later it is ended: all of it at any time. It waits for
 * no timer: there need be none. */
START_TEST(a_site_that_is_ended_in_the_midst_of_a_compare_ends)
{
	uint64_t began;

	protected_with_points();
	shadow_ok(&pair.a, HVREPL_OPERATION_SUSPEND);
	pair_stop(&pair, &pair.b);
	for (unsigned i = 0; i < PAIR_DISKS; i++) {
		pair.b.disks[i]->flags = 0;
		pair.b.disks[i]->token++;
	}
	pair_start(&pair, &pair.b);
	ck_assert(pair_until(&pair, 60 * SECOND, waits_for_resync));
	pair.a.jobs_take_ns = SECOND / 10;
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_RESUME, 0, NULL),
			 HVREPL_OK);
	pair_run(&pair, (unsigned)_i % 10 * SECOND / 100);
	pair_link(&pair, false);
	pair_run(&pair, (unsigned)_i / 10 * SECOND / 100);
	began = pair.now_ns;
	pair_stop(&pair, &pair.a);
	ck_assert_uint_lt(pair.now_ns - began, SECOND / 20);
	pair.a.jobs_take_ns = 0;
	pair_link(&pair, true);
	pair_start(&pair, &pair.a);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

START_TEST(a_cancel_that_ends_late_takes_nothing_from_the_next_failover)
{
	protected_with_points();
	shadow_flush(&pair.a);
	(void)shadow_next_point(&pair.a, &pair.b);
	pair_kill(&pair, &pair.a, false);
	pair.b.sim.fail_code = HVREPL_E_NO_SPACE;
	pair.b.sim.fail_on = true;
	pair.b.sim.fail_at = pair.b.sim.call_count + (uint64_t)_i;
	(void)pair_ask(&pair.b, HVREPL_OPERATION_UNPLANNED, 0, NULL);
	pair_run(&pair, SECOND / 10);
	pair.b.sim.fail_at = UINT64_MAX;
	pair.b.sim.fail_on = false;
	(void)pair_ask(&pair.b, HVREPL_OPERATION_CANCEL, 0, NULL);
	pair_run(&pair, 1);
	(void)pair_ask(&pair.b, HVREPL_OPERATION_UNPLANNED, 0, NULL);
	ck_assert_msg(pair_until(&pair, 60 * SECOND, taken_over), "%s",
		      pair.b.job_sentence);
	shadow_scatter(&pair.b, 5, 20);
	pair_run(&pair, SECOND);
	shadow_scatter(&pair.b, 6, 20);
	shadow_flush(&pair.b);
	shadow_expect_disks(&pair.b);
}
END_TEST

static uint64_t oldest(struct pair_site *site)
{
	struct hvrepl_point point = HVREPL_POINT_INIT;

	ck_assert_int_eq(hvrepl_vm_get_point(site->node, &pair_vm, 0, &point),
			 HVREPL_OK);
	return point.number;
}

static void hold_upkeep(bool held)
{
	hvri_node_find_vm(pair.b.node, &pair_vm)->store_held = held;
}

/* b holds as many points as it may and two more, as upkeep rests. */
static void too_many_points(void)
{
	shadow_scatter(&pair.a, 1, 60);
	shadow_protect();
	hold_upkeep(true);
	for (uint64_t i = 0; i < 9; i++) {
		shadow_scatter(&pair.a, 2 + i, 10);
		(void)shadow_next_point(&pair.a, &pair.b);
	}
	pair_run(&pair, SECOND / 5);
}

/* The piece of upkeep that drops the oldest has begun; its number. */
static uint64_t about_to_be_dropped(void)
{
	ck_assert_uint_eq(pair.b.job_count, 0);
	pair.b.holds_jobs = true;
	hold_upkeep(false);
	ck_assert_int_eq(hvrepl_vm_set_quota(pair.b.node, &pair_vm, 0, 1, NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(pair.b.job_count, 1);
	return oldest(&pair.b);
}

static void upkeep_goes_on(void)
{
	pair_do_jobs(&pair.b);
	pair.b.holds_jobs = false;
}

/* A forced failover was asked for, to the point that is about to be dropped. */
static void forced_to_what_is_dropped(void)
{
	uint64_t point;

	too_many_points();
	point = about_to_be_dropped();
	ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_UNPLANNED, point,
				  NULL),
			 HVREPL_OK);
	ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_FORCE, 0, NULL),
			 HVREPL_OK);
}

/* A failover that was forced cannot be given up, whatever becomes of its point. */
START_TEST(upkeep_that_has_begun_leaves_the_point_of_a_forced_failover)
{
	forced_to_what_is_dropped();
	upkeep_goes_on();
	ck_assert(pair_until(&pair, 60 * SECOND, taken_over));
}
END_TEST

/* Nor after the process died between the decision and the overlay. _i: by power. */
START_TEST(nor_does_upkeep_drop_it_after_a_crash_before_the_overlay_stands)
{
	forced_to_what_is_dropped();
	pair_kill(&pair, &pair.b, _i == 1);
	pair.b.holds_jobs = false;
	pair_start(&pair, &pair.b);
	ck_assert(pair_until(&pair, 60 * SECOND, taken_over));
}
END_TEST

/* Nor does it drop the point that a standing failover is moved to. */
START_TEST(upkeep_that_has_begun_leaves_the_point_a_failover_is_moved_to)
{
	struct hvrepl_vm_status status;
	uint64_t point;

	too_many_points();
	ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_UNPLANNED, 0, NULL),
			 HVREPL_OK);
	ck_assert(pair_until(&pair, 60 * SECOND, taken_over));
	pair_run(&pair, SECOND / 5);
	point = about_to_be_dropped();
	ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_CHANGE_POINT, point,
				  NULL),
			 HVREPL_OK);
	upkeep_goes_on();
	pair_run(&pair, SECOND);
	ck_assert(pair_until(&pair, 60 * SECOND, taken_over));
	pair_status(&pair.b, &status);
	ck_assert_uint_eq(status.loss_point, point);
	/* What is too many goes once nothing needs it. */
	ck_assert_int_eq(pair_operate(&pair, &pair.b, HVREPL_OPERATION_CANCEL, 0),
			 HVREPL_OK);
	pair_run(&pair, 5 * SECOND);
	ck_assert_uint_gt(oldest(&pair.b), point);
}
END_TEST

/* b is given the VM, and a writes on all the same: b is to follow it before the
 * overlay stands that b would have started from. */
START_TEST(asked_to_follow_while_its_overlay_is_opened_it_goes_on_after_that)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	protected_with_points();
	pair.delay_ns[1] = SECOND / 20; /* That the VM is b's is on its way. */
	pair.b.holds_jobs = true;
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_PLANNED, 0, NULL),
			 HVREPL_OK);
	for (unsigned turns = 0;
	     status.ownership != HVREPL_OWNERSHIP_RELINQUISHED; turns++) {
		ck_assert_uint_lt(turns, 10000);
		pair_do_jobs(&pair.b);
		pair_run(&pair, SECOND / 1000);
		pair_status(&pair.a, &status);
	}
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_FORCE, 0, NULL),
			 HVREPL_OK);
	pair_run(&pair, SECOND / 10);
	pair_status(&pair.b, &status);
	ck_assert_uint_eq(status.ownership, HVREPL_OWNERSHIP_SUPERSEDED);
	ck_assert_uint_gt(pair.b.job_count, 0);
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_RESYNC, 0, NULL),
			 HVREPL_OK);
	pair_run(&pair, SECOND / 10);
	pair_do_jobs(&pair.b);
	pair.b.holds_jobs = false;
	shadow_await(&pair.a, HVREPL_STATE_REPLICATING, HVREPL_OWNERSHIP_OWNER);
	shadow_scatter(&pair.a, 3, 10);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

/* Asked for and refused, it keeps nothing back. */
START_TEST(a_failover_that_is_refused_keeps_no_point)
{
	uint64_t point;

	too_many_points();
	point = about_to_be_dropped();
	ck_assert_int_lt(pair_ask(&pair.b, HVREPL_OPERATION_CHANGE_POINT, point,
				  NULL),
			 0);
	upkeep_goes_on();
	pair_run(&pair, SECOND / 100);
	ck_assert_uint_gt(oldest(&pair.b), point);
}
END_TEST

/* b is short of memory for a moment of its failover, and ends before what waited for
 * it is tried again: that is begun no more, as the VM whose job it would be is gone by
 * then. _i: the allocation that fails. */
START_TEST(what_waits_for_memory_is_not_begun_behind_a_close)
{
	protected_with_points();
	pair.b.jobs_take_ns = 1000;
	pair.b.env.alloc_fail_at = _i;
	(void)pair_ask(&pair.b, HVREPL_OPERATION_UNPLANNED, 0, NULL);
	pair_run(&pair, SECOND / 1000);
	pair_kill(&pair, &pair.b, false);
	ck_assert_int_eq(pair.b.env.alloc_live, 0);
	pair_start(&pair, &pair.b);
	(void)pair_ask(&pair.b, HVREPL_OPERATION_UNPLANNED, 0, NULL);
	ck_assert(pair_until(&pair, 60 * SECOND, taken_over));
}
END_TEST

static uint64_t failed_before;

static bool has_failed(struct pair *p)
{
	return p->b.sim.failed > failed_before;
}

/* A cut is on its way to b, all of it, when b's storage fails once; that b says so is
 * lost with the session. What came behind the frame that could not be taken in is not
 * taken in either, and the cut is sent again from there. _i: the call that fails. */
START_TEST(nothing_is_taken_in_behind_a_frame_that_could_not_be)
{
	protected_with_points();
	pair_run(&pair, SECOND / 5);
	failed_before = pair.b.sim.failed;
	shadow_scatter(&pair.a, 5, 20);
	pair.b.jobs_take_ns = SECOND / 1000;
	pair.b.sim.fail_code = HVREPL_E_NO_SPACE;
	pair.b.sim.fail_at = pair.b.sim.call_count + (uint64_t)_i;
	(void)pair_ask(&pair.a, HVREPL_OPERATION_CUT_NOW, 0, NULL);
	ck_assert(pair_until(&pair, 10 * SECOND, has_failed));
	pair.delay_ns[0] = pair.delay_ns[1] = 10 * SECOND;
	pair_run(&pair, SECOND / 2);
	pair.delay_ns[0] = pair.delay_ns[1] = 0;
	pair_link_break(&pair);
	pair.b.jobs_take_ns = 0;
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

/* b has no memory for a moment of its start, and its jobs are done later by the very
 * thread that makes the node: that waits for none of them. _i: the allocation that
 * fails. */
START_TEST(a_node_that_cannot_be_made_waits_for_no_job)
{
	protected_with_points();
	pair_kill(&pair, &pair.b, false);
	pair.b.jobs_take_ns = SECOND;
	pair.b.env.alloc_fail_at = _i;
	pair_start(&pair, &pair.b);
	pair.b.env.alloc_fail_at = -1;
	pair.b.jobs_take_ns = 0;
	pair_run(&pair, 5 * SECOND);
	shadow_scatter(&pair.a, 5, 20);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("late_jobs");
	TCase *tcase = tcase_create("late_jobs");

	tcase_add_checked_fixture(tcase, shadow_setup, shadow_teardown);
	tcase_add_test(tcase, a_fence_that_overtakes_an_arm_stands);
	tcase_add_test(tcase,
		       a_cut_is_not_accepted_twice_when_the_connection_was_lost);
	tcase_add_test(tcase, credit_of_a_reception_that_begins_anew_comes_back);
	tcase_add_loop_test(tcase,
			    replication_goes_on_however_late_jobs_and_messages_are,
			    0, getenv("HVREPL_LONG") != NULL ?
				       1000 :
				       60 / (int)test_stride());
	tcase_add_loop_test(
		tcase, a_site_that_is_ended_in_the_midst_of_a_compare_ends, 0, 60);
	tcase_add_loop_test(
		tcase, a_cancel_that_ends_late_takes_nothing_from_the_next_failover,
		0, 40);
	tcase_add_test(tcase,
		       upkeep_that_has_begun_leaves_the_point_of_a_forced_failover);
	tcase_add_loop_test(
		tcase, nor_does_upkeep_drop_it_after_a_crash_before_the_overlay_stands,
		0, 2);
	tcase_add_test(tcase,
		       upkeep_that_has_begun_leaves_the_point_a_failover_is_moved_to);
	tcase_add_test(tcase, a_failover_that_is_refused_keeps_no_point);
	tcase_add_test(tcase,
		       asked_to_follow_while_its_overlay_is_opened_it_goes_on_after_that);
	tcase_add_loop_test(tcase,
			    what_waits_for_memory_is_not_begun_behind_a_close, 0,
			    100);
	tcase_add_loop_test(tcase,
			    nothing_is_taken_in_behind_a_frame_that_could_not_be, 0,
			    30);
	tcase_add_loop_test(tcase, a_node_that_cannot_be_made_waits_for_no_job,
			    0, 30);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
