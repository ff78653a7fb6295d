/* SPDX-License-Identifier: Apache-2.0 */
/* Rule S1 between two sites: what rots at the replica is got again. */
#include "driver/vm.h"
#include "guestshadow.h"
#include "storerot.h"

static struct hvri_vm *replica(void)
{
	return pair.b.node->vms;
}

/* The next point stays as it came: nothing is checked or merged. */
static uint64_t received(uint64_t seed)
{
	replica()->store_held = true;
	shadow_scatter(&pair.a, seed, 6);
	return shadow_next_point(&pair.a, &pair.b);
}

/* Upkeep goes on over what has rotted. */
static void rot(void)
{
	ck_assert_uint_gt(store_rot_newest(replica()->store, pair.b.storage),
			  0);
	replica()->store_held = false;
	hvri_standby_maintain(replica());
}

static uint32_t reasons(struct pair_site *site)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	pair_status(site, &status);
	return status.reasons;
}

static bool in_doubt(struct pair *p)
{
	return (reasons(&p->b) & HVREPL_REASON_REPLICA_CHANGED) != 0;
}
static bool healed(struct pair *p)
{
	return pair_newest_point(&p->b) != 0 && !in_doubt(p);
}

static bool holds(uint64_t number)
{
	struct hvrepl_point point = HVREPL_POINT_INIT;

	for (uint32_t i = 0; hvrepl_vm_get_point(pair.b.node, &pair_vm, i,
						 &point) == HVREPL_OK;
	     i++)
		if (point.number == number)
			return true;
	return false;
}

START_TEST(what_rots_is_named_and_got_again)
{
	uint64_t good, bad;

	shadow_scatter(&pair.a, 3, 10);
	shadow_protect();
	shadow_scatter(&pair.a, 4, 10);
	good = shadow_next_point(&pair.a, &pair.b);
	for (unsigned round = 0; round < 3; round++) {
		bad = received(50 + round);
		rot();
		ck_assert(pair_until(&pair, 10 * SECOND, in_doubt));
		ck_assert(pair_until(&pair, 60 * SECOND, healed));
		ck_assert_uint_gt(pair_newest_point(&pair.b), bad);
		shadow_expect_point(&pair.b, pair_newest_point(&pair.b));
		pair_run(&pair, SECOND);
		/* Points before the damage are as good as ever. */
		ck_assert(holds(good));
		ck_assert(!holds(bad));
	}
	shadow_scatter(&pair.a, 7, 5);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	ck_assert_int_eq(pair_operate(&pair, &pair.a, HVREPL_OPERATION_VERIFY,
				      0),
			 HVREPL_OK);
}
END_TEST

/* While the link is down, then with a restart of the site in between. */
START_TEST(rot_found_alone_is_not_forgotten)
{
	shadow_scatter(&pair.a, 3, 10);
	shadow_protect();
	(void)received(60);
	pair_link(&pair, false);
	rot();
	ck_assert(pair_until(&pair, 10 * SECOND, in_doubt));
	ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_UNPLANNED, 0, NULL),
			 HVREPL_E_UNTRUSTED);
	if (_i == 1)
		pair_stop(&pair, &pair.b);
	if (_i == 2)
		pair_kill(&pair, &pair.b, true);
	if (_i > 0)
		pair_start(&pair, &pair.b);
	pair_run(&pair, SECOND);
	ck_assert(in_doubt(&pair));
	pair_link(&pair, true);
	ck_assert(pair_until(&pair, 120 * SECOND, healed));
	shadow_expect_point(&pair.b, pair_newest_point(&pair.b));
}
END_TEST

/* Guests write on, and a delta is on its way when the damage is found. */
START_TEST(a_delta_on_its_way_does_not_pass_for_the_repair)
{
	shadow_scatter(&pair.a, 3, 10);
	shadow_protect();
	(void)received(70);
	shadow_scatter(&pair.a, 71, 8);
	pair_run(&pair, SECOND + SECOND / 200 * (unsigned)_i);
	rot();
	for (unsigned i = 0; i < 50; i++) {
		pair_run(&pair, SECOND / 20);
		shadow_scatter(&pair.a, 1000 + i, 1);
	}
	ck_assert(pair_until(&pair, 60 * SECOND, healed));
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	ck_assert_int_eq(pair_operate(&pair, &pair.a, HVREPL_OPERATION_VERIFY,
				      0),
			 HVREPL_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("replica-rot");
	TCase *tcase = tcase_create("replica-rot");

	tcase_add_checked_fixture(tcase, shadow_setup, shadow_teardown);
	tcase_add_test(tcase, what_rots_is_named_and_got_again);
	tcase_add_loop_test(tcase, rot_found_alone_is_not_forgotten, 0, 3);
	tcase_add_loop_test(tcase,
			    a_delta_on_its_way_does_not_pass_for_the_repair, 0,
			    12);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
