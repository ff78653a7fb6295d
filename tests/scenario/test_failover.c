/* SPDX-License-Identifier: Apache-2.0 */
/* Planned and unplanned failover, cancel, commit, reverse, failback. */
#include "guestshadow.h"

#include <stdio.h>
#include <string.h>

static void protected_with_points(void)
{
	shadow_scatter(&pair.a, 1, 60);
	shadow_protect();
	shadow_scatter(&pair.a, 2, 30);
	(void)shadow_next_point(&pair.a, &pair.b);
	pair_run(&pair, SECOND / 3);
}

/* The VM runs at `from`, replicates to `to`; there and back. */
static void planned(struct pair_site *from, struct pair_site *to)
{
	(void)from;
	shadow_ok(to, HVREPL_OPERATION_PLANNED);
	shadow_expect_fenced(from);
	shadow_expect_disks(to);
}

static void commit_and_reverse(struct pair_site *from, struct pair_site *to)
{
	shadow_ok(to, HVREPL_OPERATION_COMMIT);
	shadow_ok(to, HVREPL_OPERATION_REVERSE);
	shadow_await(to, HVREPL_STATE_REPLICATING, HVREPL_OWNERSHIP_OWNER);
	shadow_await(from, HVREPL_STATE_REPLICATING,
		     HVREPL_OWNERSHIP_STANDBY);
}

START_TEST(planned_failover_loses_no_acknowledged_write)
{
	protected_with_points();
	shadow_scatter(&pair.a, 3, 30);
	planned(&pair.a, &pair.b);
	shadow_scatter(&pair.b, 4, 10);
	shadow_expect_disks(&pair.b);
}
END_TEST

START_TEST(planned_failover_may_be_typed_at_either_site)
{
	protected_with_points();
	shadow_scatter(&pair.a, 3, 30);
	shadow_ok(&pair.a, HVREPL_OPERATION_PLANNED);
	shadow_expect_fenced(&pair.a);
	shadow_expect_disks(&pair.b);
	shadow_scatter(&pair.b, 4, 10);
}
END_TEST

/* The owner knows of it, and gave it up, before the replica heard that it does. */
START_TEST(a_planned_failover_cancelled_over_there_ends_here_too)
{
	struct hvrepl_vm_status a, b;

	shadow_protect();
	pair.stalled[1] = true; /* From a to b. */
	ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_PLANNED, 0, NULL),
			 HVREPL_OK);
	pair_run(&pair, SECOND / 2);
	pair_status(&pair.a, &a);
	ck_assert_uint_eq(a.state, HVREPL_STATE_PREPARED_FOR_FAILOVER);
	shadow_ok(&pair.a, HVREPL_OPERATION_CANCEL);
	pair_link_break(&pair);
	pair.stalled[1] = false;
	pair_run(&pair, 20 * SECOND);
	pair_status(&pair.a, &a);
	pair_status(&pair.b, &b);
	ck_assert(a.connected && b.connected && a.writable);
	ck_assert_uint_eq(b.job, 0);
	ck_assert_int_eq(pair.b.job_code, HVREPL_E_CANCELLED);
	shadow_ok(&pair.b, HVREPL_OPERATION_PLANNED);
	shadow_expect_disks(&pair.b);
}
END_TEST

START_TEST(reverse_after_a_planned_failover_ships_what_changed_not_the_disk)
{
	uint64_t moved;

	protected_with_points();
	planned(&pair.a, &pair.b);
	shadow_scatter(&pair.b, 4, 10);
	moved = pair.moved;
	commit_and_reverse(&pair.a, &pair.b);
	shadow_expect_point(&pair.a, shadow_next_point(&pair.b, &pair.a));
	/* Ten writes of at most 8 KiB, whole blocks, and some talk. */
	ck_assert_uint_lt(pair.moved - moved, 10 * 3 * 4096 + 65536);
}
END_TEST

START_TEST(failback_the_same_way_ends_where_it_began)
{
	protected_with_points();
	planned(&pair.a, &pair.b);
	shadow_scatter(&pair.b, 4, 20);
	commit_and_reverse(&pair.a, &pair.b);
	shadow_scatter(&pair.b, 5, 20);
	shadow_expect_point(&pair.a, shadow_next_point(&pair.b, &pair.a));
	shadow_scatter(&pair.b, 6, 20);
	planned(&pair.b, &pair.a);
	shadow_scatter(&pair.a, 7, 20);
	commit_and_reverse(&pair.b, &pair.a);
	shadow_scatter(&pair.a, 8, 20);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	shadow_expect_disks(&pair.a);
}
END_TEST

/* The image of a point at site b. */
static void take_point(uint64_t point, struct shadow *into)
{
	for (unsigned i = 0; i < PAIR_DISKS; i++)
		pair_read_point(&pair.b, point, i, into->disks[i]);
}

START_TEST(unplanned_failover_gives_exactly_the_chosen_point)
{
	static struct shadow chosen;

	protected_with_points();
	take_point(0, &chosen);
	shadow_scatter(&pair.a, 3, 30);
	pair_kill(&pair, &pair.a, true);
	shadow_ok(&pair.b, HVREPL_OPERATION_UNPLANNED);
	shadow = chosen;
	shadow_expect_disks(&pair.b);
	shadow_scatter(&pair.b, 4, 20);
	shadow_expect_disks(&pair.b);
}
END_TEST

START_TEST(an_unplanned_failover_can_be_cancelled_and_replication_goes_on)
{
	static struct shadow truth;

	protected_with_points();
	shadow_ok(&pair.a, HVREPL_OPERATION_SUSPEND);
	truth = shadow;
	pair_link(&pair, false);
	pair_run(&pair, SECOND);
	shadow_ok(&pair.b, HVREPL_OPERATION_UNPLANNED);
	take_point(0, &shadow);
	shadow_scatter(&pair.b, 4, 20);
	shadow_ok(&pair.b, HVREPL_OPERATION_CANCEL);
	shadow_expect_fenced(&pair.b);
	pair_link(&pair, true);
	pair_run(&pair, 70 * SECOND);
	shadow = truth;
	shadow_ok(&pair.a, HVREPL_OPERATION_RESUME);
	shadow_expect_disks(&pair.a);
	shadow_scatter(&pair.a, 5, 10);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

/* _i: 0 clean, 1 process killed, 2 power lost. */
START_TEST(a_returning_old_primary_is_superseded_and_reverse_joins_it)
{
	static struct shadow ahead;

	protected_with_points();
	shadow_scatter(&pair.a, 3, 30);
	shadow_flush(&pair.a);
	ahead = shadow;
	if (_i == 0)
		pair_stop(&pair, &pair.a);
	else
		pair_kill(&pair, &pair.a, _i == 2);
	shadow_ok(&pair.b, HVREPL_OPERATION_UNPLANNED);
	take_point(0, &shadow);
	shadow_expect_disks(&pair.b);
	shadow_scatter(&pair.b, 4, 20);
	pair_start(&pair, &pair.a);
	pair_run(&pair, 5 * SECOND);
	shadow_expect_fenced(&pair.a);
	pair_run(&pair, 30 * SECOND);
	shadow_expect_fenced(&pair.a);
	commit_and_reverse(&pair.a, &pair.b);
	shadow_scatter(&pair.b, 5, 20);
	shadow_expect_point(&pair.a, shadow_next_point(&pair.b, &pair.a));
	/* The tail that nobody acknowledged is still readable. */
	{
		struct hvrepl_point point = HVREPL_POINT_INIT;
		static struct shadow now;
		bool found = false;

		now = shadow;
		for (uint32_t i = 0; hvrepl_vm_get_point(pair.a.node, &pair_vm,
							 i, &point) ==
				     HVREPL_OK;
		     i++) {
			if ((point.pins & HVREPL_PIN_TAIL) == 0)
				continue;
			found = true;
			shadow = ahead;
			shadow_expect_point(&pair.a, point.number);
			shadow = now;
		}
		ck_assert_msg(found, "the tail is not kept");
	}
	/* And back. */
	planned(&pair.b, &pair.a);
	shadow_scatter(&pair.a, 7, 10);
	commit_and_reverse(&pair.b, &pair.a);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

static struct hvrepl_uuid kept_end(struct pair_site *site, uint64_t *number)
{
	struct hvrepl_point point = HVREPL_POINT_INIT;

	for (uint32_t i = 0; hvrepl_vm_get_point(site->node, &pair_vm, i,
						 &point) == HVREPL_OK;
	     i++)
		if ((point.pins & HVREPL_PIN_TAIL) != 0)
			break;
	ck_assert_msg((point.pins & HVREPL_PIN_TAIL) != 0, "no tail");
	*number = point.number;
	return point.epoch;
}

/* Its commit would drop that end, so it runs on its overlay; when the VM has
 * left again, it can follow only after an operator let the end go. */
START_TEST(a_kept_end_that_holds_up_a_commit_is_named_and_reverse_says_so)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;
	struct hvrepl_uuid lost;
	char sentence[64];
	uint64_t number;

	protected_with_points();
	shadow_scatter(&pair.a, 3, 30);
	shadow_flush(&pair.a);
	pair_kill(&pair, &pair.a, false);
	shadow_ok(&pair.b, HVREPL_OPERATION_UNPLANNED);
	take_point(0, &shadow);
	shadow_scatter(&pair.b, 4, 20);
	pair_start(&pair, &pair.a);
	pair_run(&pair, 5 * SECOND);
	commit_and_reverse(&pair.a, &pair.b);
	lost = kept_end(&pair.a, &number);
	snprintf(sentence, sizeof(sentence), "point %llu",
		 (unsigned long long)number);
	/* There: it says that the commit waits, and replicates all the same. */
	planned(&pair.b, &pair.a);
	shadow_scatter(&pair.a, 5, 10);
	shadow_ok(&pair.a, HVREPL_OPERATION_COMMIT);
	ck_assert_ptr_nonnull(strstr(pair.a.job_sentence, sentence));
	pair_run(&pair, SECOND);
	pair_status(&pair.a, &status);
	ck_assert(status.reasons & HVREPL_REASON_TAIL_KEPT);
	shadow_ok(&pair.a, HVREPL_OPERATION_REVERSE);
	shadow_scatter(&pair.a, 6, 10);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	/* And away: the other site cannot be followed yet, and that is said. */
	planned(&pair.a, &pair.b);
	shadow_scatter(&pair.b, 7, 10);
	shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
	ck_assert_int_eq(pair_operate(&pair, &pair.b, HVREPL_OPERATION_REVERSE,
				      0),
			 HVREPL_E_PEER_REFUSED);
	ck_assert_msg(strstr(pair.b.job_sentence, sentence) &&
			      strstr(pair.b.job_sentence, "discarded there"),
		      "%s", pair.b.job_sentence);
	shadow_expect_disks(&pair.b);
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_DISCARD, 0, &lost),
			 HVREPL_OK);
	pair_run(&pair, 5 * SECOND);
	commit_and_reverse(&pair.a, &pair.b);
	shadow_scatter(&pair.b, 8, 10);
	shadow_expect_point(&pair.a, shadow_next_point(&pair.b, &pair.a));
}
END_TEST

/* As with a kept end: a commit drops the point that somebody reads. */
START_TEST(a_point_that_is_read_holds_up_a_commit_and_that_is_said)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_view *view = NULL;

	protected_with_points();
	ck_assert_int_eq(hvrepl_vm_open_view(pair.b.node, &pair_vm,
					     pair_newest_point(&pair.b), &view,
					     &error),
			 HVREPL_OK);
	planned(&pair.a, &pair.b);
	shadow_scatter(&pair.b, 4, 10);
	shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
	ck_assert_ptr_nonnull(strstr(pair.b.job_sentence,
				     "until the recovery points that are open "
				     "here are closed"));
	pair_run(&pair, SECOND);
	pair_status(&pair.b, &status);
	ck_assert(status.reasons & HVREPL_REASON_POINT_VIEWED);
	ck_assert_uint_eq(status.reasons & HVREPL_REASON_TAIL_KEPT, 0);
	/* It runs and replicates all the same; only to follow, it must wait. */
	shadow_ok(&pair.b, HVREPL_OPERATION_REVERSE);
	shadow_scatter(&pair.b, 5, 10);
	shadow_expect_point(&pair.a, shadow_next_point(&pair.b, &pair.a));
	planned(&pair.b, &pair.a);
	shadow_ok(&pair.a, HVREPL_OPERATION_COMMIT);
	ck_assert_int_eq(pair_operate(&pair, &pair.a, HVREPL_OPERATION_REVERSE,
				      0),
			 HVREPL_E_PEER_REFUSED);
	ck_assert_msg(strstr(pair.a.job_sentence, "close what reads it there"),
		      "%s", pair.a.job_sentence);
	shadow_expect_disks(&pair.a);
	/* Closed: all of it goes on by itself. */
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	pair_run(&pair, 5 * SECOND);
	commit_and_reverse(&pair.b, &pair.a);
	shadow_scatter(&pair.a, 6, 10);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	status = (struct hvrepl_vm_status)HVREPL_VM_STATUS_INIT;
	pair_status(&pair.b, &status);
	ck_assert_uint_eq(status.reasons & HVREPL_REASON_POINT_VIEWED, 0);
}
END_TEST

/* What the overlay holds after that is known only when its store is opened again,
 * which needs the VM away. Nobody is left to find that out from errors. */
START_TEST(a_failed_flush_under_a_failover_asks_for_a_restart_and_goes_on_after_it)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	protected_with_points();
	planned(&pair.a, &pair.b);
	shadow_scatter(&pair.b, 4, 10);
	shadow_flush(&pair.b);
	shadow_scatter(&pair.b, 6, 5);
	pair.b.sim.fail_at = pair.b.sim.call_count;
	pair.b.sim.fail_code = HVREPL_E_DISK_IO;
	pair.b.sim.fail_on = true;
	pair.b.sim.flush_fails = SIM_FLUSH_KEEPS;
	ck_assert_int_lt(pair_flush(&pair.b, 0), 0);
	pair.b.sim.fail_at = UINT64_MAX;
	pair.b.sim.fail_on = false;
	/* At once: no guest can write there any more. */
	pair_status(&pair.b, &status);
	ck_assert(status.reasons & HVREPL_REASON_STORAGE_FAILED);
	ck_assert_uint_eq(status.health, HVREPL_HEALTH_CRITICAL);
	shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
	pair_run(&pair, SECOND);
	pair_status(&pair.b, &status);
	ck_assert(status.reasons & HVREPL_REASON_STORAGE_FAILED);
	ck_assert_uint_eq(status.health, HVREPL_HEALTH_CRITICAL);
	ck_assert_msg(strstr(status.sentence, "restart the site") != NULL, "%s",
		      status.sentence);
	pair_stop(&pair, &pair.b);
	pair_start(&pair, &pair.b);
	pair_run(&pair, 5 * SECOND);
	pair_status(&pair.b, &status);
	ck_assert_uint_eq(status.reasons & HVREPL_REASON_STORAGE_FAILED, 0);
	shadow_ok(&pair.b, HVREPL_OPERATION_REVERSE);
	shadow_await(&pair.b, HVREPL_STATE_REPLICATING, HVREPL_OWNERSHIP_OWNER);
	/* The guest was told of its failed flush, and writes that again. */
	shadow_scatter(&pair.b, 6, 5);
	shadow_expect_disks(&pair.b);
	shadow_expect_point(&pair.a, shadow_next_point(&pair.b, &pair.a));
}
END_TEST

/* What is thrown away need not be on the disk first. */
START_TEST(a_failover_whose_disks_cannot_be_flushed_can_be_cancelled_or_changed)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	protected_with_points();
	pair_link(&pair, false);
	ck_assert_int_eq(pair_operate(&pair, &pair.b, HVREPL_OPERATION_UNPLANNED,
				      0),
			 HVREPL_OK);
	shadow_scatter(&pair.b, 4, 10);
	pair.b.sim.fail_at = pair.b.sim.call_count;
	pair.b.sim.fail_code = HVREPL_E_STORAGE_IO;
	pair.b.sim.fail_on = true;
	pair.b.sim.flush_fails = SIM_FLUSH_KEEPS;
	ck_assert_int_lt(pair_flush(&pair.b, 0), 0);
	pair.b.sim.fail_at = UINT64_MAX;
	pair.b.sim.fail_on = false;
	/* The disk stays poisoned for the guest that wrote to it. */
	ck_assert_int_lt(pair_flush(&pair.b, 0), 0);
	if (_i == 1) {
		pair_status(&pair.b, &status);
		ck_assert_int_eq(pair_operate(&pair, &pair.b,
					      HVREPL_OPERATION_CHANGE_POINT,
					      status.last_point),
				 HVREPL_OK);
		pair_run(&pair, SECOND);
		ck_assert_int_eq(pair_flush(&pair.b, 0), HVREPL_OK);
	}
	pair_link(&pair, true);
	pair_run(&pair, SECOND);
	shadow_ok(&pair.b, HVREPL_OPERATION_CANCEL);
	shadow_await(&pair.a, HVREPL_STATE_REPLICATING, HVREPL_OWNERSHIP_OWNER);
	shadow_reload(&pair.a);
	shadow_scatter(&pair.a, 5, 10);
	shadow_expect_disks(&pair.a);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

static bool writes_alone(struct pair_site *site)
{
	struct hvrepl_vm_status status;

	pair_run(&pair, 60 * SECOND);
	pair_status(site, &status);
	return status.writable;
}

/* What a site does without its peer is what it says now, not what the owner said
 * when the VM was enabled. */
START_TEST(whether_a_former_owner_starts_alone_is_each_sites_own_word_of_today)
{
	protected_with_points();
	pair_kill(&pair, &pair.a, false);
	shadow_ok(&pair.b, HVREPL_OPERATION_UNPLANNED);
	pair_kill(&pair, &pair.b, false);
	pair.b.start_without_peer = HVREPL_START_REFUSE;
	pair_start(&pair, &pair.b);
	ck_assert(!writes_alone(&pair.b));
	pair_kill(&pair, &pair.b, false);
	pair.a.start_without_peer = HVREPL_START_REFUSE;
	pair_start(&pair, &pair.a);
	ck_assert(!writes_alone(&pair.a));
	pair_stop(&pair, &pair.a);
	pair.a.start_without_peer = HVREPL_START_ALLOW;
	pair_start(&pair, &pair.a);
	ck_assert(writes_alone(&pair.a));
}
END_TEST

START_TEST(both_sites_writing_ends_in_diverged_and_nothing_is_overwritten)
{
	static struct shadow at_a, at_b;

	protected_with_points();
	pair_link(&pair, false);
	pair_run(&pair, SECOND);
	shadow_scatter(&pair.a, 3, 30);
	at_a = shadow;
	shadow_ok(&pair.b, HVREPL_OPERATION_UNPLANNED);
	take_point(0, &shadow);
	shadow_scatter(&pair.b, 4, 30);
	at_b = shadow;
	pair_link(&pair, true);
	shadow_await(&pair.a, HVREPL_STATE_ERROR, HVREPL_OWNERSHIP_DIVERGED);
	pair_run(&pair, 30 * SECOND);
	shadow_expect_disks(&pair.b);
	shadow = at_a;
	shadow_expect_disks(&pair.a);
	shadow = at_b;
}
END_TEST

static bool b_has_a_point(struct pair *p)
{
	return pair_newest_point(&p->b) != 0;
}

/* O3: a has not heard that its first content has become a point, and dies. b may
 * have failed over from it by now: a waits, as any former owner does. */
START_TEST(an_owner_that_has_not_heard_of_the_first_point_waits_all_the_same)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	shadow_scatter(&pair.a, 1, 20);
	shadow_ok(&pair.a, HVREPL_OPERATION_ENABLE);
	pair_run(&pair, 2 * SECOND);
	pair.delay_ns[0] = SECOND / 4;
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_START_INITIAL, 0,
				  NULL),
			 HVREPL_OK);
	ck_assert(pair_until(&pair, 10 * SECOND, b_has_a_point));
	pair_status(&pair.a, &status);
	ck_assert_uint_eq(status.last_point, 0);
	pair_kill(&pair, &pair.a, false);
	pair_link(&pair, false);
	shadow_ok(&pair.b, HVREPL_OPERATION_UNPLANNED);
	pair_start(&pair, &pair.a);
	pair_run(&pair, 6 * SECOND);
	pair_status(&pair.a, &status);
	ck_assert(!status.writable);
	/* For what it waited it hears, and gives way. */
	pair_link(&pair, true);
	shadow_await(&pair.a, HVREPL_STATE_ERROR,
		     HVREPL_OWNERSHIP_SUPERSEDED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("failover");
	TCase *tc = tcase_create("failover");

	tcase_add_checked_fixture(tc, shadow_setup, shadow_teardown);
	tcase_add_test(tc, planned_failover_loses_no_acknowledged_write);
	tcase_add_test(tc, planned_failover_may_be_typed_at_either_site);
	tcase_add_test(tc,
		       a_planned_failover_cancelled_over_there_ends_here_too);
	tcase_add_test(tc, reverse_after_a_planned_failover_ships_what_changed_not_the_disk);
	tcase_add_test(tc, failback_the_same_way_ends_where_it_began);
	tcase_add_test(tc, unplanned_failover_gives_exactly_the_chosen_point);
	tcase_add_test(tc, an_unplanned_failover_can_be_cancelled_and_replication_goes_on);
	tcase_add_loop_test(tc, a_returning_old_primary_is_superseded_and_reverse_joins_it,
			    0, 3);
	tcase_add_test(tc, a_kept_end_that_holds_up_a_commit_is_named_and_reverse_says_so);
	tcase_add_test(tc, a_point_that_is_read_holds_up_a_commit_and_that_is_said);
	tcase_add_test(tc, a_failed_flush_under_a_failover_asks_for_a_restart_and_goes_on_after_it);
	tcase_add_loop_test(
		tc,
		a_failover_whose_disks_cannot_be_flushed_can_be_cancelled_or_changed,
		0, 2);
	tcase_add_test(tc, whether_a_former_owner_starts_alone_is_each_sites_own_word_of_today);
	tcase_add_test(tc, both_sites_writing_ends_in_diverged_and_nothing_is_overwritten);
	tcase_add_test(
		tc,
		an_owner_that_has_not_heard_of_the_first_point_waits_all_the_same);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
