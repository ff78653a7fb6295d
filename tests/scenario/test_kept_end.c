/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a lost epoch that a site keeps (O6) and the overlay it stands in the
 * way of: whatever is cut short while it is let go, the way on stays open.
 */
#include "guestshadow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct hvrepl_uuid lost;  /* The epoch of the end kept at a. */
static const char *story;        /* For a failure. */
static unsigned at_step;

static struct hvrepl_uuid kept_end(struct pair_site *site)
{
	struct hvrepl_point point = HVREPL_POINT_INIT;

	for (uint32_t i = 0; hvrepl_vm_get_point(site->node, &pair_vm, i,
						 &point) == HVREPL_OK;
	     i++)
		if ((point.pins & HVREPL_PIN_TAIL) != 0)
			return point.epoch;
	return (struct hvrepl_uuid){ { 0 } };
}

static bool keeps_an_end(struct pair_site *site)
{
	static const struct hvrepl_uuid none;
	struct hvrepl_uuid epoch = kept_end(site);

	return memcmp(&epoch, &none, sizeof(none)) != 0;
}

static void reverse(struct pair_site *owner, struct pair_site *standby)
{
	shadow_ok(owner, HVREPL_OPERATION_COMMIT);
	shadow_ok(owner, HVREPL_OPERATION_REVERSE);
	shadow_await(owner, HVREPL_STATE_REPLICATING, HVREPL_OWNERSHIP_OWNER);
	shadow_await(standby, HVREPL_STATE_REPLICATING,
		     HVREPL_OWNERSHIP_STANDBY);
}

/* The VM runs at a on an overlay, replicated to b; a keeps the end of the epoch
 * in which it was lost before. */
static void a_keeps_an_end(void)
{
	shadow_scatter(&pair.a, 1, 20);
	shadow_protect();
	shadow_scatter(&pair.a, 2, 10);
	shadow_flush(&pair.a);
	(void)shadow_next_point(&pair.a, &pair.b);
	pair_kill(&pair, &pair.a, false);
	shadow_ok(&pair.b, HVREPL_OPERATION_UNPLANNED);
	shadow_reload(&pair.b);
	shadow_scatter(&pair.b, 4, 10);
	pair_start(&pair, &pair.a);
	pair_run(&pair, 5 * SECOND);
	reverse(&pair.b, &pair.a);
	ck_assert(keeps_an_end(&pair.a));
	lost = kept_end(&pair.a);
	shadow_ok(&pair.a, HVREPL_OPERATION_PLANNED);
	shadow_scatter(&pair.a, 5, 10);
	reverse(&pair.a, &pair.b);
	shadow_scatter(&pair.a, 6, 10);
	shadow_flush(&pair.a);
}

static unsigned turns_left;

static bool turned(struct pair *p)
{
	(void)p;
	return turns_left-- == 0;
}

static void turns(unsigned count)
{
	turns_left = count;
	(void)pair_until(&pair, SECOND, turned);
}

/* What an operator does at b, until the two replicate; he lets go at a what he is
 * told is kept there. */
static void until_b_is_followed(void)
{
	for (unsigned round = 0; round < 20; round++) {
		int32_t rc = pair_operate(&pair, &pair.b,
					  HVREPL_OPERATION_REVERSE, 0);

		if (rc == HVREPL_OK)
			return;
		if (rc == HVREPL_E_PEER_REFUSED)
			(void)pair_ask(&pair.a, HVREPL_OPERATION_DISCARD, 0,
				       &lost);
		pair_run(&pair, SECOND);
	}
	ck_abort_msg("%s at %u: b is not followed: %s", story, at_step,
		     pair.b.job_sentence);
}

static void expect_all_is_well(void)
{
	shadow_await(&pair.b, HVREPL_STATE_REPLICATING, HVREPL_OWNERSHIP_OWNER);
	shadow_await(&pair.a, HVREPL_STATE_REPLICATING,
		     HVREPL_OWNERSHIP_STANDBY);
	shadow_expect_disks(&pair.b);
	shadow_scatter(&pair.b, 8, 10);
	shadow_expect_point(&pair.a, shadow_next_point(&pair.b, &pair.a));
	ck_assert_msg(!keeps_an_end(&pair.a), "%s at %u: an end is kept for ever",
		      story, at_step);
}

enum loss { PROCESS, POWER, LINK, LOSSES, STORAGE = LOSSES };

static void something_is_lost(enum loss loss)
{
	if (loss == STORAGE) {
		pair_run(&pair, 15 * SECOND);
		pair.a.sim.fail_at = UINT64_MAX;
		/* A flush that failed under a standing overlay asks for it. */
		pair_kill(&pair, &pair.a, false);
		pair_start(&pair, &pair.a);
	} else if (loss == LINK) {
		pair_link(&pair, false);
		pair_run(&pair, SECOND);
		pair_link(&pair, true);
	} else {
		pair_kill(&pair, &pair.a, loss == POWER);
		pair_start(&pair, &pair.a);
	}
	pair_run(&pair, 3 * SECOND);
}

/* _i: what is lost; of the storage, the call at that step fails. */
START_TEST(an_end_being_let_go_is_never_in_the_way_for_ever)
{
	unsigned last = getenv("HVREPL_LONG") != NULL ? 60 : 6;

	story = "let go";
	for (at_step = 0; at_step < last; at_step++) {
		shadow_setup();
		a_keeps_an_end();
		shadow_ok(&pair.b, HVREPL_OPERATION_PLANNED);
		shadow_scatter(&pair.b, 7, 10);
		shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
		ck_assert_int_eq(pair_operate(&pair, &pair.b,
					      HVREPL_OPERATION_REVERSE, 0),
				 HVREPL_E_PEER_REFUSED);
		if (_i == STORAGE)
			pair.a.sim.fail_at = pair.a.sim.call_count + at_step;
		(void)pair_ask(&pair.a, HVREPL_OPERATION_DISCARD, 0, &lost);
		turns(_i == STORAGE ? 40 : at_step);
		something_is_lost((enum loss)_i);
		until_b_is_followed();
		expect_all_is_well();
		shadow_teardown();
	}
}
END_TEST

/* _i: what is lost. The end is let go, then reverse is cut short. */
START_TEST(a_reverse_cut_short_is_gone_on_with_or_ends)
{
	unsigned step = getenv("HVREPL_LONG") != NULL ? 2 : 60;
	unsigned last = 240;

	story = "reverse";
	for (at_step = (unsigned)_i; at_step < last; at_step += step) {
		shadow_setup();
		a_keeps_an_end();
		shadow_ok(&pair.b, HVREPL_OPERATION_PLANNED);
		shadow_scatter(&pair.b, 7, 10);
		shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
		ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_DISCARD, 0,
					  &lost),
				 HVREPL_OK);
		pair_run(&pair, SECOND);
		ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_REVERSE, 0,
					  NULL),
				 HVREPL_OK);
		turns(at_step);
		something_is_lost((enum loss)_i);
		pair_run(&pair, 20 * SECOND);
		expect_all_is_well();
		shadow_teardown();
	}
}
END_TEST

/* Where the VM runs and is protected again, the end can be let go, too. */
START_TEST(a_kept_end_is_let_go_where_the_vm_runs_and_the_commit_goes_on)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	story = "where it runs";
	shadow_setup();
	a_keeps_an_end();
	pair_status(&pair.a, &status);
	ck_assert(status.reasons & HVREPL_REASON_TAIL_KEPT);
	ck_assert(status.allowed & (1u << HVREPL_OPERATION_DISCARD));
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_DISCARD, 0, &lost),
			 HVREPL_OK);
	pair_run(&pair, 3 * SECOND);
	pair_status(&pair.a, &status);
	ck_assert(!(status.reasons & HVREPL_REASON_TAIL_KEPT));
	ck_assert(!keeps_an_end(&pair.a));
	shadow_expect_disks(&pair.a);
	shadow_scatter(&pair.a, 9, 10);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	/* Folded: nothing is in the way of following. */
	shadow_ok(&pair.b, HVREPL_OPERATION_PLANNED);
	reverse(&pair.b, &pair.a);
	shadow_teardown();
}
END_TEST

/* No end of before is shown: what is listed at a, at any moment, is of the epoch in
 * which its guest wrote last. */
static bool no_stale_end(struct pair *p)
{
	struct hvrepl_point point = HVREPL_POINT_INIT;

	for (uint32_t i = 0;
	     p->a.node != NULL &&
	     hvrepl_vm_get_point(p->a.node, &pair_vm, i, &point) == HVREPL_OK;
	     i++)
		ck_assert_msg((point.pins & HVREPL_PIN_TAIL) == 0 ||
				      memcmp(&point.epoch, &lost,
					     sizeof(lost)) == 0,
			      "the end of another epoch is shown as point %llu",
			      (unsigned long long)point.number);
	return false;
}

/* a was superseded, and fails to become a replica of b; it is forced, its guest
 * writes, and it is superseded again. The end that the first adoption left in its
 * store is of no interest to anybody while the second is under way. */
START_TEST(the_end_of_a_failed_adoption_is_not_shown_during_the_next_one)
{
	unsigned failed = 0;

	for (unsigned step = 0; step < 60; step++) {
		struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

		shadow_setup();
		shadow_scatter(&pair.a, 1, 20);
		shadow_protect();
		shadow_scatter(&pair.a, 2, 10);
		pair_kill(&pair, &pair.a, false);
		shadow_ok(&pair.b, HVREPL_OPERATION_UNPLANNED);
		shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
		pair_start(&pair, &pair.a);
		pair_run(&pair, 3 * SECOND);
		pair.a.sim.fail_code = HVREPL_E_NO_SPACE;
		pair.a.sim.fail_at = pair.a.sim.call_count + step;
		(void)pair_ask(&pair.b, HVREPL_OPERATION_REVERSE, 0, NULL);
		pair_run(&pair, SECOND);
		pair.a.sim.fail_at = UINT64_MAX;
		pair_link(&pair, false);
		pair_run(&pair, SECOND);
		pair_status(&pair.a, &status);
		/* It is a replica already. */
		if (status.ownership != HVREPL_OWNERSHIP_SUPERSEDED ||
		    pair_operate(&pair, &pair.a, HVREPL_OPERATION_FORCE, 0) !=
			    HVREPL_OK) {
			shadow_teardown();
			continue;
		}
		failed++;
		pair_run(&pair, 15 * SECOND);
		/* One that failed meanwhile is told once. */
		for (unsigned i = 0; i < PAIR_DISKS; i++)
			(void)pair_flush(&pair.a, i);
		shadow_reload(&pair.a);
		shadow_scatter(&pair.a, 5, 20);
		shadow_flush(&pair.a);
		pair_link(&pair, true);
		shadow_await(&pair.a, HVREPL_STATE_ERROR,
			     HVREPL_OWNERSHIP_DIVERGED);
		pair_status(&pair.a, &status);
		ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_DISCARD, 0,
					  &status.epoch),
				 HVREPL_OK);
		pair_run(&pair, 3 * SECOND);
		(void)pair_ask(&pair.b, HVREPL_OPERATION_REVERSE, 0, NULL);
		lost = status.epoch;
		pair.a.jobs_take_ns = SECOND / 20;
		(void)pair_until(&pair, 5 * SECOND, no_stale_end);
		pair.a.jobs_take_ns = 0;
		shadow_await(&pair.a, HVREPL_STATE_REPLICATING,
			     HVREPL_OWNERSHIP_STANDBY);
		ck_assert(keeps_an_end(&pair.a));
		shadow_teardown();
	}
	ck_assert_uint_gt(failed, 3);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("kept end");
	TCase *tc = tcase_create("kept end");

	tcase_set_timeout(tc, 240);
	tcase_add_loop_test(tc, an_end_being_let_go_is_never_in_the_way_for_ever,
			    0, STORAGE + 1);
	tcase_add_loop_test(tc, a_reverse_cut_short_is_gone_on_with_or_ends, 0,
			    LOSSES);
	tcase_add_test(tc,
		       a_kept_end_is_let_go_where_the_vm_runs_and_the_commit_goes_on);
	tcase_add_test(
		tc, the_end_of_a_failed_adoption_is_not_shown_during_the_next_one);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
