/* SPDX-License-Identifier: Apache-2.0 */
/* Rule T9 between two sites: the replica's disk is changed while it is down. */
#include "guestshadow.h"

#include <string.h>

#define BLOCK 4096u

static uint8_t noise[SHADOW_SIZE];

/* Points at b, whose disks nobody promises to leave alone. */
static void replicated(void)
{
	pair.b.disks[0]->flags = 0;
	pair.b.disks[1]->flags = 0;
	shadow_protect_full();
	for (unsigned i = 0; i < 3; i++) {
		shadow_scatter(&pair.a, 20 + i, 2);
		shadow_expect_point(&pair.b,
				    shadow_next_point(&pair.a, &pair.b));
	}
}

/* As an administrator who mounts the image: bytes and times change. */
static void damage(unsigned disk, uint64_t offset, size_t length)
{
	test_fill(noise, length, 5);
	sim_disk_poke(pair.b.disks[disk], offset, noise, length);
	pair.b.disks[disk]->token++;
}

static uint32_t reasons(struct pair_site *site)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	pair_status(site, &status);
	return status.reasons;
}

static bool healed(struct pair *p)
{
	return pair_newest_point(&p->b) != 0 &&
	       (reasons(&p->b) & HVREPL_REASON_REPLICA_CHANGED) == 0;
}

/* Down, changed, up again: by a clean end or by a kill. */
static void changed_while_down(bool clean)
{
	if (clean)
		pair_stop(&pair, &pair.b);
	else
		pair_kill(&pair, &pair.b, true);
	damage(0, 3 * BLOCK, BLOCK);
	damage(1, SHADOW_SIZE - 512, 512);
	pair_start(&pair, &pair.b);
}

/* All points of b, or none, are listed as in doubt; there is one at least. */
static void expect_doubt(bool in_doubt)
{
	struct hvrepl_point point = HVREPL_POINT_INIT;
	uint32_t i = 0;

	for (; hvrepl_vm_get_point(pair.b.node, &pair_vm, i, &point) ==
	       HVREPL_OK; i++)
		ck_assert_uint_eq(point.flags,
				  in_doubt ? HVREPL_POINT_DOUBTED : 0);
	ck_assert_uint_gt(i, 0);
}

START_TEST(a_replica_changed_while_down_is_compared_and_right_again)
{
	uint64_t moved, before;

	replicated();
	before = pair_newest_point(&pair.b);
	moved = pair.moved;
	changed_while_down(_i == 0);
	ck_assert(pair_until(&pair, 60 * SECOND, healed));
	ck_assert_uint_gt(pair_newest_point(&pair.b), before);
	shadow_expect_point(&pair.b, pair_newest_point(&pair.b));
	shadow_scatter(&pair.a, 7, 5);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	/* What differs, not the disks. */
	ck_assert_uint_lt(pair.moved - moved, 8 * 65536);
	for (unsigned i = 0; i < 100; i++) {
		struct hvrepl_point point = HVREPL_POINT_INIT;

		if (hvrepl_vm_get_point(pair.b.node, &pair_vm, i, &point) < 0)
			break;
		ck_assert_uint_gt(point.number, before);
	}
	ck_assert_int_eq(pair_operate(&pair, &pair.a, HVREPL_OPERATION_VERIFY,
				      0),
			 HVREPL_OK);
}
END_TEST

START_TEST(the_compare_goes_on_over_a_link_that_breaks)
{
	replicated();
	pair.cut_after = pair.moved + 1000 + (uint64_t)_i * 911;
	changed_while_down(true);
	pair_run(&pair, 2 * SECOND);
	pair_link(&pair, true);
	ck_assert(pair_until(&pair, 120 * SECOND, healed));
	shadow_expect_point(&pair.b, pair_newest_point(&pair.b));
}
END_TEST

START_TEST(a_restart_before_the_compare_has_ended_forgets_nothing)
{
	replicated();
	pair_link(&pair, false);
	changed_while_down(_i % 2 == 0);
	pair_run(&pair, 2 * SECOND);
	ck_assert(!healed(&pair));
	if (_i < 2)
		pair_stop(&pair, &pair.b);
	else
		pair_kill(&pair, &pair.b, true);
	pair_start(&pair, &pair.b);
	pair_run(&pair, 2 * SECOND);
	ck_assert(!healed(&pair));
	pair_link(&pair, true);
	ck_assert(pair_until(&pair, 120 * SECOND, healed));
	shadow_expect_point(&pair.b, pair_newest_point(&pair.b));
	pair_run(&pair, 10 * SECOND);
	expect_doubt(false);
}
END_TEST

START_TEST(a_failover_to_points_in_doubt_must_name_the_point)
{
	uint8_t byte[512];
	uint64_t newest;
	int32_t rc;

	replicated();
	newest = pair_newest_point(&pair.b);
	pair_link(&pair, false);
	expect_doubt(false);
	changed_while_down(true);
	pair_run(&pair, 2 * SECOND);
	expect_doubt(true);
	rc = pair_ask(&pair.b, HVREPL_OPERATION_UNPLANNED, 0, NULL);
	ck_assert_int_eq(rc, HVREPL_E_UNTRUSTED);
	ck_assert_uint_eq(pair_newest_point(&pair.b), newest);
	/* Nothing was decided by asking. */
	pair_kill(&pair, &pair.a, true);
	ck_assert_int_eq(pair_operate(&pair, &pair.b,
				      HVREPL_OPERATION_UNPLANNED, newest),
			 HVREPL_OK);
	pair_run(&pair, 2 * SECOND);
	ck_assert(!healed(&pair));
	/* Its disk as it is, said loudly, and writable. */
	ck_assert_int_eq(pair_read(&pair.b, 0, 3 * BLOCK, byte, 512),
			 HVREPL_OK);
	test_fill(noise, BLOCK, 5);
	ck_assert_mem_eq(byte, noise, 512);
	ck_assert_int_eq(pair_write(&pair.b, 0, 0, byte, 512), HVREPL_OK);
}
END_TEST

START_TEST(a_replica_nobody_changed_is_not_compared)
{
	uint64_t before;

	replicated();
	before = pair_newest_point(&pair.b);
	pair_link(&pair, false);
	if (_i == 0)
		pair_stop(&pair, &pair.b);
	else
		pair_kill(&pair, &pair.b, _i == 1);
	pair_start(&pair, &pair.b);
	pair_run(&pair, 2 * SECOND);
	ck_assert(healed(&pair));
	ck_assert_uint_eq(pair_newest_point(&pair.b), before);
	pair_link(&pair, true);
	shadow_scatter(&pair.a, 7, 5);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	ck_assert_uint_eq(reasons(&pair.a) & HVREPL_REASON_RESYNC_NEEDED, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("replica-changed");
	TCase *tcase = tcase_create("replica-changed");

	tcase_add_checked_fixture(tcase, shadow_setup, shadow_teardown);
	tcase_add_loop_test(
		tcase, a_replica_changed_while_down_is_compared_and_right_again,
		0, 2);
	tcase_add_loop_test(tcase, the_compare_goes_on_over_a_link_that_breaks,
			    0, 8);
	tcase_add_loop_test(
		tcase, a_restart_before_the_compare_has_ended_forgets_nothing,
		0, 4);
	tcase_add_test(tcase,
		       a_failover_to_points_in_doubt_must_name_the_point);
	tcase_add_loop_test(tcase, a_replica_nobody_changed_is_not_compared, 0,
			    3);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
