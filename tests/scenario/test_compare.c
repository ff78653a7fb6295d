/* SPDX-License-Identifier: Apache-2.0 */
/* Two sites that compare their content: resynchronization and verify. */
#include "guestshadow.h"

#include <string.h>

#define BLOCK 4096u

static uint8_t noise[SHADOW_SIZE];

/* Both disks full of bytes that do not compress, and a point of it at b. */
static uint64_t filled(void)
{
	shadow_protect_full();
	pair_run(&pair, 5 * SECOND);
	return pair_newest_point(&pair.b);
}

static void resync(void)
{
	int32_t rc = pair_ask(&pair.a, HVREPL_OPERATION_RESYNC, 0, NULL);

	ck_assert_int_eq(rc, HVREPL_OK);
}

/* Bytes of b's disk that the library does not know of. */
static void damage(unsigned disk, uint64_t offset, size_t length)
{
	test_fill(noise, length, 5);
	sim_disk_poke(pair.b.disks[disk], offset, noise, length);
}

START_TEST(a_resynchronization_of_equal_sites_ships_no_data)
{
	uint64_t moved;

	filled();
	moved = pair.moved;
	resync();
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	/* Digests of 32 granules and the messages; the data is 2 MiB. */
	ck_assert_uint_lt(pair.moved - moved, 65536);
}
END_TEST

START_TEST(a_resynchronization_repairs_what_differs_and_ships_little_else)
{
	uint64_t moved;

	filled();
	damage(0, 3 * BLOCK, BLOCK);
	damage(1, SHADOW_SIZE - 512, 512);
	moved = pair.moved;
	resync();
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	ck_assert_uint_gt(pair.moved - moved, 2 * 65536);
	ck_assert_uint_lt(pair.moved - moved, 4 * 65536);
}
END_TEST

START_TEST(zeroes_at_one_site_only_are_shipped)
{
	memset(shadow.disks[0], 0, SHADOW_SIZE);
	shadow_scatter(&pair.a, 3, 10);
	shadow_protect();
	pair_run(&pair, 5 * SECOND);
	damage(0, 8 * 65536, 3 * 65536);
	damage(1, 5 * 65536 + 512, 512);
	resync();
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	memset(noise, 0, sizeof(noise));
}
END_TEST

START_TEST(writes_while_comparing_are_in_the_point)
{
	filled();
	damage(0, 9 * 65536, BLOCK);
	resync();
	for (unsigned i = 0; i < 200; i++) {
		pair_run(&pair, SECOND / 20000 * (unsigned)(_i + 1));
		shadow_scatter(&pair.a, 1000 + i, 1);
	}
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	shadow_scatter(&pair.a, 7, 5);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

/* Wherever it is cut off: digests asked for, answers, the chunks. */
START_TEST(a_compare_that_is_cut_off_is_made_again)
{
	filled();
	damage(0, 9 * 65536, BLOCK);
	damage(1, 0, BLOCK);
	pair.cut_after = pair.moved + 100 + (uint64_t)_i * 157;
	resync();
	pair_run(&pair, SECOND);
	shadow_scatter(&pair.a, 4, 3);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

START_TEST(a_site_killed_while_comparing_starts_over)
{
	struct pair_site *victim = (_i & 1) != 0 ? &pair.a : &pair.b;

	filled();
	shadow_flush(&pair.a);
	damage(0, 9 * 65536, BLOCK);
	resync();
	pair_run(&pair, (unsigned)(_i / 2) * (SECOND / 500));
	pair_kill(&pair, victim, true);
	pair_run(&pair, SECOND);
	pair_start(&pair, victim);
	pair_run(&pair, 20 * SECOND);
	shadow_scatter(&pair.a, 4, 3);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

/* The n-th allocation of a site fails while digests go to and fro. */
START_TEST(want_of_memory_while_comparing_loses_nothing)
{
	struct pair_site *poor = (_i & 1) != 0 ? &pair.a : &pair.b;

	filled();
	damage(0, 9 * 65536, BLOCK);
	resync();
	poor->env.alloc_fail_at = _i * 3;
	pair_run(&pair, SECOND / 100);
	poor->env.alloc_fail_at = -1;
	pair_run(&pair, 20 * SECOND);
	shadow_scatter(&pair.a, 4, 3);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	poor->env.alloc_fail_at = _i;
	(void)pair_operate(&pair, poor, HVREPL_OPERATION_VERIFY, 0);
	ck_assert_int_ne(poor->job_code, HVREPL_E_CORRUPT);
	poor->env.alloc_fail_at = -1;
	pair_run(&pair, 20 * SECOND);
	shadow_ok(poor, HVREPL_OPERATION_VERIFY);
}
END_TEST

START_TEST(equal_sites_verify_at_either)
{
	filled();
	shadow_ok(&pair.a, HVREPL_OPERATION_VERIFY);
	shadow_ok(&pair.b, HVREPL_OPERATION_VERIFY);
}
END_TEST

START_TEST(verify_finds_one_changed_sector_from_either_site)
{
	struct pair_site *asker = _i == 0 ? &pair.a : &pair.b;

	filled();
	damage(1, SHADOW_SIZE - 512, 512);
	ck_assert_int_eq(pair_operate(&pair, asker, HVREPL_OPERATION_VERIFY, 0),
			 HVREPL_E_CORRUPT);
	ck_assert_ptr_nonnull(strstr(pair.a.job_code != 0 ?
					     pair.a.job_sentence :
					     pair.b.job_sentence,
				     "65536 bytes"));
}
END_TEST

START_TEST(what_cannot_be_read_is_no_difference)
{
	struct pair_site *asker = _i == 0 ? &pair.a : &pair.b;

	filled();
	pair.b.sim.fail_at = pair.b.sim.call_count;
	pair.b.sim.fail_code = HVREPL_E_DISK_IO;
	pair.b.sim.fail_on = true;
	ck_assert_int_eq(pair_operate(&pair, asker, HVREPL_OPERATION_VERIFY, 0),
			 HVREPL_E_STORAGE_IO);
	ck_assert_ptr_nonnull(strstr(asker->job_sentence, "cannot be read"));
	pair.b.sim.fail_at = UINT64_MAX;
	pair.b.sim.fail_on = false;
	shadow_ok(asker, HVREPL_OPERATION_VERIFY);
}
END_TEST

static void cut_now(void)
{
	struct hvrepl_operation operation = HVREPL_OPERATION_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	uint64_t job;

	operation.type = HVREPL_OPERATION_CUT_NOW;
	operation.vm = pair_vm;
	(void)hvrepl_node_operate(pair.a.node, &operation, &job, &error);
}

/* The guest writes all the time, points come and go: never a difference. */
START_TEST(verify_raises_no_false_alarm_while_the_guest_writes)
{
	struct pair_site *asker = (_i & 1) == 0 ? &pair.a : &pair.b;

	filled();
	for (unsigned i = 0; i < 20; i++) {
		ck_assert_int_eq(pair_ask(asker, HVREPL_OPERATION_VERIFY, 0,
					  NULL),
				 HVREPL_OK);
		for (unsigned k = 0;
		     k < 20000 && asker->job_code == HVREPL_PENDING; k++) {
			if (k % 3 == 0)
				shadow_scatter(&pair.a, i * 1000 + k, 1);
			if (k % 50 == (unsigned)_i)
				cut_now();
			pair_run(&pair, SECOND / 3000);
		}
		ck_assert_msg(asker->job_code == HVREPL_OK, "%d %s",
			      asker->job_code, asker->job_sentence);
	}
}
END_TEST

START_TEST(verify_ends_when_the_link_does)
{
	struct pair_site *asker = (_i & 1) == 0 ? &pair.a : &pair.b;

	filled();
	pair.cut_after = pair.moved + 60 + (uint64_t)_i * 97;
	ck_assert_int_eq(pair_operate(&pair, asker, HVREPL_OPERATION_VERIFY, 0),
			 HVREPL_E_DISCONNECTED);
	pair_run(&pair, 10 * SECOND);
	shadow_ok(asker, HVREPL_OPERATION_VERIFY);
}
END_TEST

START_TEST(an_older_point_has_nothing_to_be_verified_with)
{
	uint64_t first = filled();

	shadow_scatter(&pair.a, 1, 3);
	(void)shadow_next_point(&pair.a, &pair.b);
	pair_run(&pair, SECOND / 3); /* And the owner knows. */
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pair_ask(i == 0 ? &pair.a : &pair.b,
					  HVREPL_OPERATION_VERIFY, first, NULL),
				 HVREPL_E_UNSUPPORTED);
	ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_VERIFY, 999999,
				  NULL),
			 HVREPL_E_NOT_FOUND);
	shadow_ok(&pair.b, HVREPL_OPERATION_VERIFY);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("compare");
	TCase *tc = tcase_create("resync");

	tcase_add_checked_fixture(tc, shadow_setup, shadow_teardown);
	tcase_add_test(tc, a_resynchronization_of_equal_sites_ships_no_data);
	tcase_add_test(tc, a_resynchronization_repairs_what_differs_and_ships_little_else);
	tcase_add_test(tc, zeroes_at_one_site_only_are_shipped);
	tcase_add_loop_test(tc, writes_while_comparing_are_in_the_point, 0, 4);
	tcase_add_loop_test(tc, a_compare_that_is_cut_off_is_made_again, 0, 12);
	tcase_add_loop_test(tc, a_site_killed_while_comparing_starts_over, 0,
			    8);
	tcase_add_loop_test(tc, want_of_memory_while_comparing_loses_nothing, 0,
			    40);
	suite_add_tcase(suite, tc);
	tc = tcase_create("verify");
	tcase_add_checked_fixture(tc, shadow_setup, shadow_teardown);
	tcase_add_test(tc, equal_sites_verify_at_either);
	tcase_add_loop_test(tc, verify_finds_one_changed_sector_from_either_site,
			    0, 2);
	tcase_add_loop_test(tc, what_cannot_be_read_is_no_difference, 0, 2);
	tcase_add_loop_test(tc, verify_raises_no_false_alarm_while_the_guest_writes,
			    0, 4);
	tcase_add_loop_test(tc, verify_ends_when_the_link_does, 0, 4);
	tcase_add_test(tc, an_older_point_has_nothing_to_be_verified_with);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
