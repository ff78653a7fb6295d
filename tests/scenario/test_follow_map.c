/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A site that is to follow (O6) dies before its first point, and comes back with
 * the map of what differs damaged, or unreadable for a while: it follows all the
 * same. One that has points needs that map no more.
 */
#include "guestshadow.h"

#include <stdio.h>
#include <string.h>

#define TURNS 24

static unsigned turns_left;

static bool turned(struct pair *p)
{
	(void)p;
	return turns_left-- == 0;
}

/* b took over from a, which is back and is asked to follow, for so many turns. */
static void a_begins_to_follow(unsigned turns)
{
	shadow_scatter(&pair.a, 1, 20);
	shadow_protect();
	shadow_scatter(&pair.a, 2, 10);
	shadow_flush(&pair.a);
	(void)shadow_next_point(&pair.a, &pair.b);
	pair_kill(&pair, &pair.a, false);
	shadow_ok(&pair.b, HVREPL_OPERATION_UNPLANNED);
	shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
	shadow_reload(&pair.b);
	shadow_scatter(&pair.b, 4, 10);
	pair_start(&pair, &pair.a);
	pair_run(&pair, 5 * SECOND);
	ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_REVERSE, 0, NULL),
			 HVREPL_OK);
	turns_left = turns;
	(void)pair_until(&pair, 5 * SECOND, turned);
}

static unsigned damage_maps(void)
{
	unsigned found = 0;

	for (unsigned i = 0; i < PAIR_DISKS; i++) {
		char id[32];
		uint64_t size;
		uint8_t *bytes;

		snprintf(id, sizeof(id), "disk%u.hvt", i);
		bytes = sim_object_bytes(pair.a.storage, id, &size);
		if (bytes == NULL)
			continue;
		test_fill(bytes, size, 99);
		found++;
	}
	return found;
}

/* The operator at b asks again until the two replicate. */
static void b_is_followed(unsigned turns)
{
	struct hvrepl_vm_status a, b;

	for (unsigned round = 0; round < 30; round++) {
		pair_run(&pair, 2 * SECOND);
		pair_status(&pair.a, &a);
		pair_status(&pair.b, &b);
		if (b.state == HVREPL_STATE_REPLICATING && a.point_count > 0 &&
		    a.ownership == HVREPL_OWNERSHIP_STANDBY &&
		    a.last_point == b.last_point)
			return;
		(void)pair_operate(&pair, &pair.b, HVREPL_OPERATION_REVERSE, 0);
	}
	ck_abort_msg("after %u turns: a: %d %s; b: state %u, %s; %s", turns,
		     a.open_code, a.sentence, b.state, b.sentence,
		     pair.b.job_sentence);
}

/* Maps damaged, or starts that met an error. */
static unsigned troubled;

static void follow_with_a_map(unsigned turns, bool unreadable)
{
	uint64_t failed;

	shadow_setup();
	a_begins_to_follow(turns);
	pair_kill(&pair, &pair.a, false);
	if (!unreadable)
		troubled += damage_maps();
	pair_start(&pair, &pair.a);
	if (unreadable) {
		failed = pair.a.sim.failed;
		pair.a.sim.fail_code = HVREPL_E_STORAGE_IO;
		pair.a.sim.fail_at = pair.a.sim.call_count + turns % 7;
		pair.a.sim.fail_on = true;
		pair_run(&pair, SECOND);
		pair.a.sim.fail_on = false;
		pair.a.sim.fail_at = UINT64_MAX;
		troubled += pair.a.sim.failed > failed;
	}
	b_is_followed(turns);
	shadow_scatter(&pair.b, 7, 5);
	shadow_expect_point(&pair.a, shadow_next_point(&pair.b, &pair.a));
	shadow_teardown();
}

START_TEST(a_damaged_map_of_what_differs_costs_a_compare)
{
	troubled = 0;
	for (unsigned turns = 0; turns < TURNS; turns++)
		follow_with_a_map(turns, false);
	ck_assert_uint_gt(troubled, 10);
}
END_TEST

START_TEST(a_map_of_what_differs_that_cannot_be_read_is_read_later)
{
	troubled = 0;
	for (unsigned turns = 0; turns < TURNS; turns++)
		follow_with_a_map(turns, true);
	ck_assert_uint_gt(troubled, 10);
}
END_TEST

/* A file of the map that could not be removed, with nothing in it that makes sense. */
static void leave_a_map(void)
{
	struct hvrepl_storage storage = sim_storage_handle(pair.a.storage);
	uint8_t bytes[8192];
	struct hvrepl_iovec iov = { bytes, sizeof(bytes) };
	void *object;

	test_fill(bytes, sizeof(bytes), 5);
	ck_assert_int_eq(storage.ops->open(storage.user, "disk0.hvt",
					   HVREPL_OBJECT_CREATE, &object),
			 HVREPL_OK);
	ck_assert_int_eq(storage.ops->write(storage.user, NULL, object, 0, &iov,
					    1), HVREPL_OK);
	storage.ops->close(storage.user, object);
}

START_TEST(what_is_left_of_the_map_keeps_no_replica_with_points_from_a_failover)
{
	a_begins_to_follow(1);
	b_is_followed(1);
	shadow_scatter(&pair.b, 7, 5);
	(void)shadow_next_point(&pair.b, &pair.a);
	pair_kill(&pair, &pair.a, false);
	leave_a_map();
	pair_kill(&pair, &pair.b, true);
	pair_start(&pair, &pair.a);
	pair_run(&pair, SECOND);
	shadow_ok(&pair.a, HVREPL_OPERATION_UNPLANNED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("follow map");
	TCase *tc = tcase_create("follow map");

	tcase_set_timeout(tc, 240);
	tcase_add_test(tc, a_damaged_map_of_what_differs_costs_a_compare);
	tcase_add_test(tc,
		       a_map_of_what_differs_that_cannot_be_read_is_read_later);
	suite_add_tcase(suite, tc);
	tc = tcase_create("leftover");
	tcase_add_checked_fixture(tc, shadow_setup, shadow_teardown);
	tcase_add_test(
		tc,
		what_is_left_of_the_map_keeps_no_replica_with_points_from_a_failover);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
