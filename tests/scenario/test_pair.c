/* SPDX-License-Identifier: Apache-2.0 */
/* Two sites: enable, initial, deltas, suspend and resume, broken links. */
#include "guestshadow.h"

#include <string.h>

START_TEST(initial_replication_gives_a_point_equal_to_the_disks)
{
	shadow_scatter(&pair.a, 1, 200);
	shadow_protect();
	shadow_expect_point(&pair.b, 0);
}
END_TEST

START_TEST(writes_during_initial_replication_are_in_the_next_point)
{
	shadow_scatter(&pair.a, 1, 100);
	shadow_ok(&pair.a, HVREPL_OPERATION_ENABLE);
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_START_INITIAL, 0,
				  NULL),
			 HVREPL_OK);
	for (unsigned i = 0; i < 50; i++) {
		pair_run(&pair, SECOND / 1000);
		shadow_scatter(&pair.a, 100 + i, 3);
	}
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

START_TEST(each_delta_is_exactly_its_cut_and_stays_so)
{
	static struct shadow before;
	uint64_t points[5];

	shadow_scatter(&pair.a, 1, 50);
	shadow_protect();
	for (unsigned i = 0; i < 5; i++) {
		shadow_scatter(&pair.a, 10 + i, 20);
		points[i] = shadow_next_point(&pair.a, &pair.b);
		shadow_expect_point(&pair.b, points[i]);
		if (i == 1)
			before = shadow;
	}
	shadow = before;
	shadow_expect_point(&pair.b, points[1]);
}
END_TEST

START_TEST(a_suspended_vm_ships_nothing_and_catches_up)
{
	uint64_t point, moved;

	shadow_protect();
	shadow_scatter(&pair.a, 5, 20);
	point = shadow_next_point(&pair.a, &pair.b);
	shadow_ok(&pair.a, HVREPL_OPERATION_SUSPEND);
	pair_run(&pair, 2 * SECOND);
	point = pair_newest_point(&pair.b);
	moved = pair.moved;
	shadow_scatter(&pair.a, 6, 20);
	pair_run(&pair, 5 * SECOND);
	ck_assert_uint_lt(pair.moved - moved, 4096);
	ck_assert_uint_eq(pair_newest_point(&pair.b), point);
	shadow_ok(&pair.a, HVREPL_OPERATION_RESUME);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

START_TEST(a_link_cut_in_the_middle_resumes_and_loses_nothing)
{
	shadow_scatter(&pair.a, 1, 200);
	/* The initial copy is cut off after so many bytes, wherever it is. */
	pair.cut_after = pair.moved + 20000 + (uint64_t)_i * 37123;
	shadow_protect();
	shadow_scatter(&pair.a, 2, 30);
	pair.cut_after = pair.moved + 3000 + (uint64_t)_i * 1111;
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

START_TEST(one_byte_at_a_time_gives_the_same_points)
{
	shadow_scatter(&pair.a, 1, 5);
	pair.piece = 1;
	shadow_ok(&pair.a, HVREPL_OPERATION_ENABLE);
	pair.piece = 509;
	shadow_ok(&pair.a, HVREPL_OPERATION_START_INITIAL);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

START_TEST(either_site_may_restart_cleanly)
{
	shadow_scatter(&pair.a, 1, 50);
	shadow_protect();
	shadow_scatter(&pair.a, 2, 20);
	pair_stop(&pair, &pair.b);
	pair_run(&pair, 3 * SECOND);
	pair_start(&pair, &pair.b);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	pair_stop(&pair, &pair.a);
	pair_run(&pair, SECOND);
	pair_start(&pair, &pair.a);
	pair_run(&pair, 15 * SECOND);
	shadow_scatter(&pair.a, 3, 20);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

/* _i picks site, kind of end and moment. */
/* Advice to restore a record would fence a VM that has nothing. */
START_TEST(short_of_memory_nobody_is_sent_for_a_backup)
{
	unsigned short_of = 0;

	shadow_protect();
	for (long n = 0; n < 40; n++) {
		pair_stop(&pair, &pair.b);
		pair.b.start_sentence[0] = 0;
		pair.b.env.alloc_fail_at = n;
		pair_start(&pair, &pair.b);
		pair.b.env.alloc_fail_at = -1;
		ck_assert_ptr_null(strstr(pair.b.start_sentence, "backup"));
		short_of += strstr(pair.b.start_sentence, "record") != NULL;
	}
	ck_assert_uint_gt(short_of, 0);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

START_TEST(either_site_may_be_killed_and_nothing_acknowledged_is_lost)
{
	struct pair_site *victim = (_i & 1) != 0 ? &pair.a : &pair.b;
	struct hvrepl_vm_status status;
	uint64_t acknowledged;

	shadow_scatter(&pair.a, 1, 50);
	shadow_protect();
	shadow_scatter(&pair.a, 2, 20);
	pair_run(&pair, (uint64_t)_i / 4 * 90000000 + 1000000);
	pair_status(&pair.a, &status);
	acknowledged = status.last_point;
	shadow_flush(&pair.a);
	pair_kill(&pair, victim, (_i & 2) != 0);
	pair_run(&pair, SECOND);
	pair_start(&pair, victim);
	pair_run(&pair, 20 * SECOND);
	ck_assert_uint_ge(pair_newest_point(&pair.b), acknowledged);
	shadow_scatter(&pair.a, 3, 20);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

static unsigned released;

static void release(void *user)
{
	(void)user;
	released++;
}

START_TEST(a_nodes_config_of_a_later_meaning_is_refused)
{
	struct hvrepl_node_config config = HVREPL_NODE_CONFIG_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_node *node = NULL;

	released = 0;
	config.env = &pair.a.env.env;
	config.site = "site-d";
	config.state.release = release;
	config.release = release;
	config.reserved = 1;
	ck_assert_int_eq(hvrepl_node_create(&config, &node, &error),
			 HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(error.sentence, "reserved"));
	ck_assert_ptr_null(node);
	ck_assert_uint_eq(released, 2);
}
END_TEST

START_TEST(a_vms_config_of_a_later_meaning_is_refused)
{
	static const struct hvrepl_uuid id = { { 0x5e, 3 } };
	struct hvrepl_vm_config config = HVREPL_VM_CONFIG_INIT;
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_disk_spec spec = { { { 0x5d } }, 65536, "root" };
	struct sim_disk *given = sim_disk_new(&pair.a.sim, spec.size);
	struct hvrepl_disk disk = sim_disk_handle(given);
	struct sim_storage *storage = sim_storage_new(&pair.a.sim);

	config.id = id;
	config.name = "mail";
	config.specs = &spec;
	config.disks = &disk;
	config.disk_count = 1;
	config.storage = sim_storage_handle(storage);
	config.reserved = 1;
	ck_assert_int_eq(hvrepl_node_add_vm(pair.a.node, &config, &error),
			 HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(error.sentence, "reserved"));
	ck_assert_uint_eq(given->released, 1);
	ck_assert_uint_eq(storage->released, 1);
	ck_assert_int_eq(hvrepl_vm_get_status(pair.a.node, &id, &status),
			 HVREPL_E_NOT_FOUND);
	config.reserved = 0;
	ck_assert_int_eq(hvrepl_node_add_vm(pair.a.node, &config, &error),
			 HVREPL_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pair");
	TCase *tc = tcase_create("replication");

	tcase_add_checked_fixture(tc, shadow_setup, shadow_teardown);
	tcase_add_test(tc, initial_replication_gives_a_point_equal_to_the_disks);
	tcase_add_test(tc, writes_during_initial_replication_are_in_the_next_point);
	tcase_add_test(tc, each_delta_is_exactly_its_cut_and_stays_so);
	tcase_add_test(tc, a_suspended_vm_ships_nothing_and_catches_up);
	tcase_add_loop_test(tc, a_link_cut_in_the_middle_resumes_and_loses_nothing,
			    0, 8);
	tcase_add_test(tc, one_byte_at_a_time_gives_the_same_points);
	tcase_add_test(tc, either_site_may_restart_cleanly);
	tcase_add_test(tc, short_of_memory_nobody_is_sent_for_a_backup);
	tcase_add_loop_test(tc, either_site_may_be_killed_and_nothing_acknowledged_is_lost,
			    0, 16);
	tcase_add_test(tc, a_nodes_config_of_a_later_meaning_is_refused);
	tcase_add_test(tc, a_vms_config_of_a_later_meaning_is_refused);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
