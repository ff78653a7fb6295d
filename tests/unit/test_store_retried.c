/* SPDX-License-Identifier: Apache-2.0 */
/* Joining logs, and taking a commit back, while memory, room or an answer is wanting:
 * what failed is done again from where it has to be, and every point stays exact. */
#include "shortage.h"
#include "storescript.h"

#include <string.h>

static struct world w;
static const enum shortage_kind kinds[] = { SHORT_MEMORY, SHORT_IO,
					    SHORT_FLUSHES, SHORT_ANSWERS };
#define KINDS ((int)(sizeof(kinds) / sizeof(kinds[0])))

static struct shortage shortage = { .env = &w.env,
				    .sim = &w.sim,
				    .code = HVREPL_E_NO_SPACE };

static void arm(int kind, uint64_t n)
{
	w.sim.flush_fails = SIM_FLUSH_REVERTS;
	shortage_begin(&shortage, kinds[kind], n);
}

static void open_again(void)
{
	world_close(&w);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	world_settle(&w);
}

static int32_t compact(void)
{
	uint32_t more = 1;

	while (more != 0)
		HVRI_TRY(hvri_store_compact(w.store, &more));
	return HVREPL_OK;
}

/* Logs of a dropped point, of both disks, with data and zeroes. */
static void dropped(void)
{
	world_init(&w, 19);
	w.change_blocks = 16;
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
	ck_assert_int_eq(world_drop(&w, world_kept(&w, 1)->key), HVREPL_OK);
}

START_TEST(logs_are_joined_once_nothing_is_wanting)
{
	bool reached = true;

	for (uint64_t n = 0; reached; n++) {
		uint32_t logs;
		int32_t rc;

		dropped();
		logs = w.store->state.redo_count;
		arm(_i, n);
		rc = compact();
		reached = shortage_end(&shortage);
		ck_assert(rc == HVREPL_OK || reached);
		if (rc < 0 && hvri_store_poisoned(w.store))
			open_again();
		world_check(&w);
		ck_assert_int_eq(compact(), HVREPL_OK);
		ck_assert_uint_lt(w.store->state.redo_count, logs);
		world_check(&w);
		world_free(&w);
		ck_assert_int_eq(w.env.alloc_live, 0);
	}
}
END_TEST

/* There is not even room for what is joined: it waits, and nothing else does. */
START_TEST(upkeep_goes_on_where_there_is_no_room_to_join)
{
	dropped();
	w.storage->capacity = sim_storage_used(w.storage) + 512;
	w.full = true;
	w.store->options.base_at = HVREPL_BASE_AT_OLDEST;
	ck_assert_int_eq(compact(), HVREPL_E_NO_SPACE);
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	ck_assert_ptr_nonnull(world_kept(&w, 2));
	world_check(&w);
	w.storage->capacity = UINT64_MAX;
	ck_assert_int_eq(compact(), HVREPL_OK);
	world_check(&w);
	world_free(&w);
}
END_TEST

START_TEST(a_commit_is_taken_back_once_nothing_is_wanting)
{
	bool reached = true;

	for (uint64_t n = 0; reached; n++) {
		uint32_t more = 1;
		int32_t rc;

		world_init(&w, 19);
		ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
		ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
		for (unsigned i = 0; i < 2; i++)
			ck_assert_int_eq(world_send(&w), HVREPL_OK);
		ck_assert_int_eq(world_failover(&w, world_kept(&w, 1)->key),
				 HVREPL_OK);
		ck_assert_int_eq(world_guest_change(&w, 0, 0, 32768, false),
				 HVREPL_OK);
		ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL),
				 HVREPL_OK);
		for (unsigned i = 0; i < 3; i++)
			ck_assert_int_eq(hvrepl_store_commit_advance(
						 w.store, &more, NULL),
					 HVREPL_OK);
		world_view_close(&w);
		arm(_i, n);
		rc = HVREPL_OK;
		for (more = 1; more != 0 && rc == HVREPL_OK;)
			rc = hvrepl_store_cancel(w.store, &more, NULL);
		reached = shortage_end(&shortage);
		ck_assert(rc == HVREPL_OK || reached);
		w.failover = false;
		if (rc < 0 && hvri_store_poisoned(w.store))
			open_again();
		if (w.store->state.commit != HVRI_COMMIT_NONE)
			ck_assert_int_eq(world_cancel(&w), HVREPL_OK);
		world_check(&w);
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
		world_check(&w);
		world_free(&w);
		ck_assert_int_eq(w.env.alloc_live, 0);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stores retried");
	TCase *tcase = tcase_create("stores retried");

	tcase_add_loop_test(tcase, logs_are_joined_once_nothing_is_wanting, 0,
			    KINDS);
	tcase_add_test(tcase, upkeep_goes_on_where_there_is_no_room_to_join);
	tcase_add_loop_test(tcase,
			    a_commit_is_taken_back_once_nothing_is_wanting, 0,
			    KINDS);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
