/* SPDX-License-Identifier: Apache-2.0 */
/* Points that a failover is being decided about: nothing drops them meanwhile, and one
 * that is just being dropped is none. */
#include "storescript.h"

#include <string.h>

static struct world w;
static uint64_t oldest;
static int32_t kept; /* The least that who came between was told. */
static unsigned met;

static void setup(void)
{
	world_init(&w, 10);
	w.options.points_max = 2;
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
	oldest = w.store->state.points[0].key;
	kept = HVREPL_OK;
	met = 0;
}

static void teardown(void)
{
	w.sim.hook = NULL;
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
}

/* Whoever is asked says the same. */
static bool is_listed(uint64_t key)
{
	const struct hvri_manifest_point *known =
		hvri_state_point(&w.store->state, key);
	struct hvrepl_store_info info = HVREPL_STORE_INFO_INIT;
	struct hvrepl_point point = HVREPL_POINT_INIT;
	uint8_t config[64];
	uint32_t i = 0, length = sizeof(config);
	bool listed = false;
	int32_t found = HVREPL_E_NOT_FOUND;

	while (hvri_store_point_at(w.store, i, &point) == HVREPL_OK) {
		listed |= point.point == key;
		i++;
	}
	hvri_store_info(w.store, &info);
	ck_assert_uint_eq(info.point_count, i);
	/* What is hidden hides none of the others. */
	ck_assert_uint_ge(i + 1, w.store->state.point_count);
	if (known != NULL)
		found = hvri_store_point_find(w.store, &known->epoch,
					      known->number, &known->cut,
					      &point);
	ck_assert_int_eq(found, listed ? HVREPL_OK : HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(hvri_store_config(w.store, key, config, &length),
			 found);
	return listed;
}

START_TEST(upkeep_drops_nothing_until_points_are_let_go)
{
	uint64_t newest = w.store->state.points[3].key;

	ck_assert_int_eq(hvri_store_keep(w.store, newest), HVREPL_OK);
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	ck_assert(is_listed(oldest));
	ck_assert_int_eq(hvri_store_drop(w.store, oldest, NULL), HVREPL_E_BUSY);
	/* For another one it is the same. */
	ck_assert_int_eq(hvri_store_keep(w.store, oldest), HVREPL_OK);
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	ck_assert(is_listed(oldest));
	hvri_store_let_go(w.store);
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	ck_assert(!is_listed(oldest));
	ck_assert_int_eq(hvri_store_keep(w.store, oldest),
			 HVREPL_E_NOT_FOUND);
}
END_TEST

START_TEST(a_refusal_leaves_what_was_kept)
{
	ck_assert_int_eq(hvri_store_keep(w.store, oldest), HVREPL_OK);
	ck_assert_int_eq(hvri_store_keep(w.store, 12345), HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	ck_assert(is_listed(oldest));
}
END_TEST

static void ask(void *argument)
{
	int32_t rc = hvri_store_keep(w.store, oldest);

	(void)argument;
	ck_assert(is_listed(oldest) == (rc == HVREPL_OK));
	kept = HVRI_MIN(kept, rc);
	met++;
	hvri_store_let_go(w.store);
}

/* By a thread that comes while the record is being written. */
START_TEST(a_point_that_is_being_dropped_is_none)
{
	w.sim.hook = ask;
	ck_assert_int_eq(hvri_store_drop(w.store, oldest, NULL), HVREPL_OK);
	w.sim.hook = NULL;
	ck_assert_uint_gt(met, 0);
	ck_assert_int_eq(kept, HVREPL_E_NOT_FOUND);
	/* The next one is none's. */
	oldest = w.store->state.points[0].key;
	ck_assert_int_eq(hvri_store_keep(w.store, oldest), HVREPL_OK);
	ck_assert(is_listed(oldest));
}
END_TEST

/* The record may be on the medium or not: only who opens the store knows. _i: how
 * the flush fails. */
START_TEST(a_drop_that_failed_halfway_is_known_after_the_next_open_only)
{
	struct hvrepl_point point = HVREPL_POINT_INIT;

	w.sim.flush_fail_at = w.sim.flush_count;
	w.sim.flush_fails = _i == 0 ? SIM_FLUSH_REVERTS : SIM_FLUSH_KEEPS;
	ck_assert_int_lt(hvri_store_drop(w.store, oldest, NULL), 0);
	ck_assert(hvri_store_poisoned(w.store));
	ck_assert_int_eq(hvri_store_keep(w.store, oldest), HVREPL_E_NOT_FOUND);
	ck_assert(!is_listed(oldest));
	w.maintaining = true; /* It is gone or not. */
	world_close(&w);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	ck_assert_int_eq(hvri_store_point_at(w.store, 0, &point), HVREPL_OK);
	ck_assert_int_eq(hvri_store_keep(w.store, point.point), HVREPL_OK);
	ck_assert(is_listed(point.point));
}
END_TEST

/* Nothing was written: it is there as before. */
START_TEST(a_drop_that_could_not_begin_leaves_the_point)
{
	w.env.alloc_fail_at = 0;
	ck_assert_int_eq(hvri_store_drop(w.store, oldest, NULL),
			 HVREPL_E_NOMEM);
	w.env.alloc_fail_at = -1;
	ck_assert(!hvri_store_poisoned(w.store));
	ck_assert_int_eq(hvri_store_keep(w.store, oldest), HVREPL_OK);
	ck_assert(is_listed(oldest));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_keep");
	TCase *tcase = tcase_create("store_keep");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, upkeep_drops_nothing_until_points_are_let_go);
	tcase_add_test(tcase, a_refusal_leaves_what_was_kept);
	tcase_add_test(tcase, a_point_that_is_being_dropped_is_none);
	tcase_add_loop_test(
		tcase, a_drop_that_failed_halfway_is_known_after_the_next_open_only,
		0, 2);
	tcase_add_test(tcase, a_drop_that_could_not_begin_leaves_the_point);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
