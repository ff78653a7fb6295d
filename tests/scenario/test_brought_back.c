/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A site that is brought back whole as a backup had it, disks and all (O1, T7), or
 * whose becoming a replica was cut short (O6): what the two hold is found out, and
 * never taken for what it was.
 */
#include "guestshadow.h"

#include <string.h>

static uint8_t disks_then[PAIR_DISKS][SHADOW_SIZE];

static void back_up(struct pair_site *site)
{
	pair_backup(site);
	memcpy(disks_then, shadow.disks, sizeof(disks_then));
}

static void bring_back(struct pair_site *site)
{
	pair_kill(&pair, site, false);
	pair_restore(site);
	pair_start(&pair, site);
	pair_run(&pair, 20 * SECOND);
}

START_TEST(a_primary_brought_back_from_a_backup_is_compared_with_its_replica)
{
	shadow_setup();
	shadow_scatter(&pair.a, 1, 20);
	shadow_protect();
	shadow_scatter(&pair.a, 2, 10);
	(void)shadow_next_point(&pair.a, &pair.b);
	/* Its regions are cold: what the backup's tracker says is little. */
	shadow_flush(&pair.a);
	pair_run(&pair, 300 * SECOND);
	back_up(&pair.a);
	/* Written, shipped, acknowledged; and then it never was. */
	shadow_scatter(&pair.a, 3, 20);
	(void)shadow_next_point(&pair.a, &pair.b);
	bring_back(&pair.a);
	memcpy(shadow.disks, disks_then, sizeof(disks_then));
	shadow_await(&pair.a, HVREPL_STATE_REPLICATING, HVREPL_OWNERSHIP_OWNER);
	shadow_expect_disks(&pair.a);
	shadow_scatter(&pair.a, 4, 2);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	shadow_teardown();
}
END_TEST

/* It has failed over since its backup, which its peer has seen: it is not believed,
 * but it has nothing, and an operator's word gives it the first content. */
START_TEST(a_replica_brought_back_from_before_its_first_point_can_follow)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	shadow_setup();
	shadow_scatter(&pair.a, 1, 20);
	shadow_ok(&pair.a, HVREPL_OPERATION_ENABLE);
	pair_run(&pair, 2 * SECOND);
	pair_backup(&pair.b);
	shadow_ok(&pair.a, HVREPL_OPERATION_START_INITIAL);
	(void)shadow_next_point(&pair.a, &pair.b);
	shadow_ok(&pair.b, HVREPL_OPERATION_UNPLANNED);
	pair_run(&pair, 2 * SECOND);
	bring_back(&pair.b);
	pair_status(&pair.b, &status);
	ck_assert(status.reasons & HVREPL_REASON_ROLLED_BACK);
	/* There is nothing there that a VM could start from. */
	ck_assert_int_eq(pair_operate(&pair, &pair.b, HVREPL_OPERATION_FORCE,
				      0),
			 HVREPL_E_NOT_FOUND);
	shadow_scatter(&pair.a, 2, 10);
	shadow_ok(&pair.a, HVREPL_OPERATION_RESYNC);
	shadow_await(&pair.a, HVREPL_STATE_REPLICATING, HVREPL_OWNERSHIP_OWNER);
	shadow_await(&pair.b, HVREPL_STATE_REPLICATING,
		     HVREPL_OWNERSHIP_STANDBY);
	shadow_scatter(&pair.a, 3, 10);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	shadow_expect_disks(&pair.a);
	shadow_teardown();
}
END_TEST

/* a was superseded, and follows b again; at some step of that it dies, and the
 * operator forces it instead. The end that it had begun to keep is overwritten by
 * the guest: it is not shown, and a later one is whole. */
START_TEST(a_disk_forced_while_it_became_a_replica_keeps_no_end_of_before)
{
	for (unsigned step = 0; step < 40; step++) {
		struct hvrepl_point point = HVREPL_POINT_INIT;
		struct hvrepl_vm_status b = HVREPL_VM_STATUS_INIT;

		shadow_setup();
		shadow_scatter(&pair.a, 1, 20);
		shadow_protect();
		shadow_scatter(&pair.a, 2, 10);
		pair_kill(&pair, &pair.a, false);
		shadow_ok(&pair.b, HVREPL_OPERATION_UNPLANNED);
		shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
		pair_start(&pair, &pair.a);
		pair_run(&pair, 3 * SECOND);
		pair.a.sim.crash_at = pair.a.sim.io_count + step;
		ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_REVERSE, 0,
					  NULL),
				 HVREPL_OK);
		pair_run(&pair, SECOND);
		pair_kill(&pair, &pair.a, false);
		pair_link(&pair, false);
		pair_start(&pair, &pair.a);
		pair_run(&pair, SECOND);
		if (pair_operate(&pair, &pair.a, HVREPL_OPERATION_FORCE, 0) !=
		    HVREPL_OK) {
			/* It was a replica already. */
			shadow_teardown();
			continue;
		}
		pair_run(&pair, SECOND);
		shadow_reload(&pair.a);
		shadow_scatter(&pair.a, 5, 20);
		shadow_flush(&pair.a);
		pair_link(&pair, true);
		pair_run(&pair, 3 * SECOND);
		/* It loses after all. */
		pair_status(&pair.a, &b);
		ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_DISCARD, 0,
					  &b.epoch),
				 HVREPL_OK);
		pair_run(&pair, 3 * SECOND);
		shadow_ok(&pair.b, HVREPL_OPERATION_REVERSE);
		shadow_await(&pair.a, HVREPL_STATE_REPLICATING,
			     HVREPL_OWNERSHIP_STANDBY);
		for (uint32_t i = 0;; i++) {
			ck_assert_int_eq(hvrepl_vm_get_point(pair.a.node,
							     &pair_vm, i,
							     &point),
					 HVREPL_OK);
			if ((point.pins & HVREPL_PIN_TAIL) != 0)
				break;
		}
		shadow_expect_point(&pair.a, point.number);
		shadow_teardown();
	}
}
END_TEST

/* The same, and its records alone are brought back to before that: its store stands in
 * a failover that they do not know, or nothing says any more what its end had changed. */
static void force_and_bring_the_record_back(unsigned step, unsigned then)
{
	shadow_setup();
	shadow_scatter(&pair.a, 1, 20);
	shadow_protect();
	shadow_scatter(&pair.a, 2, 10);
	pair_kill(&pair, &pair.a, false);
	shadow_ok(&pair.b, HVREPL_OPERATION_UNPLANNED);
	shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
	shadow_reload(&pair.b);
	shadow_scatter(&pair.b, 3, 10);
	pair_start(&pair, &pair.a);
	pair_run(&pair, 3 * SECOND);
	pair.a.sim.crash_at = pair.a.sim.io_count + step;
	ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_REVERSE, 0, NULL),
			 HVREPL_OK);
	pair_run(&pair, SECOND);
	pair_kill(&pair, &pair.a, false);
	pair_link(&pair, false);
	pair_backup(&pair.a);
	pair_start(&pair, &pair.a);
	pair_run(&pair, SECOND);
	pair.a.sim.crash_at = pair.a.sim.io_count + then;
	(void)pair_ask(&pair.a, HVREPL_OPERATION_FORCE, 0, NULL);
	pair_run(&pair, SECOND);
	pair_kill(&pair, &pair.a, false);
	pair_restore_records(&pair.a);
	pair_start(&pair, &pair.a);
	pair_link(&pair, true);
	pair_run(&pair, 30 * SECOND);
	/* Not believed, or it could not become a replica as it died. */
	if (shadow_status(&pair.b).state == HVREPL_STATE_FAILED_OVER)
		(void)pair_ask(&pair.b, HVREPL_OPERATION_REVERSE, 0, NULL);
}

START_TEST(a_record_brought_back_to_before_a_force_is_followed_by_a_compare)
{
	for (unsigned then = 0; then < 40; then += 6) {
		force_and_bring_the_record_back(6 * (unsigned)_i, then);
		shadow_await(&pair.a, HVREPL_STATE_REPLICATING,
			     HVREPL_OWNERSHIP_STANDBY);
		shadow_scatter(&pair.b, 4, 10);
		shadow_expect_point(&pair.a, shadow_next_point(&pair.b, &pair.a));
		shadow_teardown();
	}
}
END_TEST

/* Both failed over; then b is brought back from before its epoch, in which nobody
 * stands any more: the divergence has ended, and a goes on as owner. */
START_TEST(a_divergence_ends_when_the_other_site_is_brought_back_from_before_it)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	shadow_setup();
	shadow_scatter(&pair.a, 1, 20);
	shadow_protect();
	shadow_scatter(&pair.a, 2, 10);
	shadow_flush(&pair.a);
	(void)shadow_next_point(&pair.a, &pair.b);
	pair_backup(&pair.b);
	shadow_ok(&pair.a, HVREPL_OPERATION_PLANNED);
	pair_run(&pair, 2 * SECOND);
	shadow_ok(&pair.a, HVREPL_OPERATION_UNPLANNED);
	shadow_await(&pair.a, HVREPL_STATE_FAILED_OVER,
		     HVREPL_OWNERSHIP_DIVERGED);
	bring_back(&pair.b);
	pair_status(&pair.b, &status);
	ck_assert(status.reasons & HVREPL_REASON_ROLLED_BACK);
	shadow_await(&pair.a, HVREPL_STATE_FAILED_OVER, HVREPL_OWNERSHIP_OWNER);
	shadow_scatter(&pair.a, 3, 10);
	shadow_ok(&pair.a, HVREPL_OPERATION_REVERSE);
	shadow_await(&pair.b, HVREPL_STATE_REPLICATING,
		     HVREPL_OWNERSHIP_STANDBY);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	shadow_expect_disks(&pair.a);
	shadow_teardown();
}
END_TEST

/* What a had acknowledged since its backup is at b alone, which failed over with
 * it; a wins all the same, and no tracker knows what differs. */
START_TEST(a_primary_brought_back_and_forced_is_compared_after_the_divergence)
{
	struct hvrepl_vm_status b = HVREPL_VM_STATUS_INIT;

	shadow_setup();
	shadow_scatter(&pair.a, 1, 20);
	shadow_protect();
	shadow_scatter(&pair.a, 2, 10);
	(void)shadow_next_point(&pair.a, &pair.b);
	shadow_flush(&pair.a);
	pair_run(&pair, 300 * SECOND);
	back_up(&pair.a);
	shadow_scatter(&pair.a, 3, 20);
	(void)shadow_next_point(&pair.a, &pair.b);
	pair_link(&pair, false);
	pair_kill(&pair, &pair.a, false);
	pair_restore(&pair.a);
	memcpy(shadow.disks, disks_then, sizeof(disks_then));
	shadow_ok(&pair.b, HVREPL_OPERATION_UNPLANNED);
	shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
	pair_start(&pair, &pair.a);
	pair_run(&pair, SECOND);
	shadow_ok(&pair.a, HVREPL_OPERATION_FORCE);
	pair_run(&pair, SECOND);
	pair_link(&pair, true);
	pair_run(&pair, 5 * SECOND);
	pair_status(&pair.b, &b);
	ck_assert_uint_eq(b.ownership, HVREPL_OWNERSHIP_DIVERGED);
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_DISCARD, 0,
				  &b.epoch),
			 HVREPL_OK);
	pair_run(&pair, 3 * SECOND);
	shadow_ok(&pair.a, HVREPL_OPERATION_RESYNC);
	shadow_await(&pair.b, HVREPL_STATE_REPLICATING,
		     HVREPL_OWNERSHIP_STANDBY);
	shadow_scatter(&pair.a, 4, 2);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	shadow_teardown();
}
END_TEST

/* Brought back while its first content was suspended, and b has points by now. The
 * job of then has nothing more to do, and is not in the operator's way. */
START_TEST(a_primary_brought_back_from_its_first_content_can_be_resumed)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	shadow_setup();
	shadow_scatter(&pair.a, 1, 20);
	shadow_flush(&pair.a);
	shadow_ok(&pair.a, HVREPL_OPERATION_ENABLE);
	pair_run(&pair, 2 * SECOND);
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_START_INITIAL, 0,
				  NULL),
			 HVREPL_OK);
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_SUSPEND, 0, NULL),
			 HVREPL_OK);
	pair_run(&pair, SECOND);
	pair_status(&pair.a, &status);
	ck_assert(status.state == HVREPL_STATE_SUSPENDED && status.job != 0);
	pair_backup(&pair.a);
	shadow_ok(&pair.a, HVREPL_OPERATION_RESUME);
	shadow_await(&pair.a, HVREPL_STATE_REPLICATING, HVREPL_OWNERSHIP_OWNER);
	bring_back(&pair.a);
	shadow_await(&pair.a, HVREPL_STATE_WAITING_FOR_RESYNC,
		     HVREPL_OWNERSHIP_OWNER);
	pair_status(&pair.a, &status);
	ck_assert_uint_eq(status.job, 0);
	shadow_ok(&pair.a, HVREPL_OPERATION_RESUME);
	shadow_await(&pair.a, HVREPL_STATE_REPLICATING, HVREPL_OWNERSHIP_OWNER);
	shadow_scatter(&pair.a, 2, 5);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	shadow_teardown();
}
END_TEST

/* What differs is known to the owner, who has not sent it: no damage is found. */
START_TEST(a_replica_brought_back_is_not_verified_before_it_was_compared)
{
	shadow_setup();
	shadow_scatter(&pair.a, 1, 20);
	shadow_protect();
	pair_backup(&pair.b);
	shadow_scatter(&pair.a, 2, 20);
	(void)shadow_next_point(&pair.a, &pair.b);
	shadow_ok(&pair.a, HVREPL_OPERATION_SUSPEND);
	bring_back(&pair.b);
	ck_assert_int_eq(pair_operate(&pair, &pair.b, HVREPL_OPERATION_VERIFY,
				      0),
			 HVREPL_E_UNTRUSTED);
	shadow_ok(&pair.a, HVREPL_OPERATION_RESYNC);
	shadow_await(&pair.a, HVREPL_STATE_REPLICATING, HVREPL_OWNERSHIP_OWNER);
	(void)shadow_next_point(&pair.a, &pair.b);
	shadow_ok(&pair.b, HVREPL_OPERATION_VERIFY);
	shadow_teardown();
}
END_TEST

/* a handed over and is brought back as of then, by its backup. b has replicated to it
 * since, in the epoch that it took over, and was then forced: what a acknowledged in
 * that epoch is marked no more, in an epoch later than that neither. */
START_TEST(who_was_forced_compares_with_a_backup_from_its_handover)
{
	shadow_setup();
	shadow_scatter(&pair.a, 1, 20);
	shadow_protect();
	shadow_scatter(&pair.a, 2, 10);
	/* Cold: a disk that is hot as a whole would be in doubt by itself. */
	shadow_flush(&pair.a);
	pair_run(&pair, 300 * SECOND);
	shadow_ok(&pair.b, HVREPL_OPERATION_PLANNED);
	pair_run(&pair, SECOND);
	pair_backup(&pair.a);
	shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
	shadow_ok(&pair.b, HVREPL_OPERATION_REVERSE);
	shadow_await(&pair.b, HVREPL_STATE_REPLICATING, HVREPL_OWNERSHIP_OWNER);
	shadow_scatter(&pair.b, 3, 30);
	(void)shadow_next_point(&pair.b, &pair.a);
	pair_kill(&pair, &pair.a, false);
	/* Closed cleanly: nothing is marked because it was hot. */
	pair_stop(&pair, &pair.b);
	pair_start(&pair, &pair.b);
	pair_run(&pair, SECOND / 100);
	shadow_ok(&pair.b, HVREPL_OPERATION_FORCE);
	shadow_scatter(&pair.b, 4, 3);
	pair_restore(&pair.a);
	pair_start(&pair, &pair.a);
	pair_run(&pair, 5 * SECOND);
	(void)pair_operate(&pair, &pair.b, HVREPL_OPERATION_RESUME, 0);
	shadow_await(&pair.b, HVREPL_STATE_REPLICATING, HVREPL_OWNERSHIP_OWNER);
	shadow_scatter(&pair.b, 5, 2);
	shadow_expect_point(&pair.a, shadow_next_point(&pair.b, &pair.a));
	shadow_teardown();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("brought back");
	TCase *tc = tcase_create("brought back");

	tcase_set_timeout(tc, 240);
	tcase_add_test(
		tc, a_primary_brought_back_from_a_backup_is_compared_with_its_replica);
	tcase_add_test(
		tc, a_replica_brought_back_from_before_its_first_point_can_follow);
	tcase_add_test(
		tc, a_disk_forced_while_it_became_a_replica_keeps_no_end_of_before);
	tcase_add_loop_test(
		tc, a_record_brought_back_to_before_a_force_is_followed_by_a_compare,
		0, 7);
	tcase_add_test(
		tc,
		a_divergence_ends_when_the_other_site_is_brought_back_from_before_it);
	tcase_add_test(
		tc, a_primary_brought_back_and_forced_is_compared_after_the_divergence);
	tcase_add_test(
		tc, a_primary_brought_back_from_its_first_content_can_be_resumed);
	tcase_add_test(
		tc, a_replica_brought_back_is_not_verified_before_it_was_compared);
	tcase_add_test(tc,
		       who_was_forced_compares_with_a_backup_from_its_handover);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
