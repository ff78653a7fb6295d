/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's own disk becomes the base of a store (O6, join). */
#include "storeworld.h"

#include <stdlib.h>
#include <string.h>

static struct world w;

static void setup(void)
{
	world_init(&w, 1);
}

static void teardown(void)
{
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
}

static void send(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
}

static void reopen(void)
{
	world_close(&w);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
}

START_TEST(an_adopted_tail_stays_readable_until_it_is_unpinned)
{
	struct hvri_store_point_commit tail = {
		.number = 9, .pins = HVREPL_PIN_TAIL, .epoch = { { 4 } },
	};
	uint64_t key;

	/* The old primary: its base, with writes nobody acknowledged. */
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(hvri_store_base_only(w.store, NULL), HVREPL_OK);
	test_fill(w.primary.bytes[0], w.sizes[0], 3);
	test_fill(w.primary.bytes[1], w.sizes[1], 4);
	for (unsigned d = 0; d < WORLD_DISKS; d++)
		sim_disk_poke(w.bases[d], 0, w.primary.bytes[d], w.sizes[d]);
	reopen();
	ck_assert_uint_eq(w.store->state.phase, HVRI_MANIFEST_BASE_ONLY);
	ck_assert_int_eq(hvri_store_adopt(w.store, &tail, &key, NULL),
			 HVREPL_OK);
	w.points[0] = (struct world_point){ .kept = true, .key = key,
					    .number = 9 };
	w.points[0].image = malloc(sizeof(w.primary));
	*w.points[0].image = w.primary;
	w.point_count = 1;
	w.last_number = 9;
	send(3);
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	ck_assert_uint_eq(w.store->state.base, world_newest(&w)->key);
	world_check(&w);
	w.options.points_max = 0;
	reopen();
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	ck_assert(w.points[0].kept);
	world_check(&w);
	ck_assert_int_eq(hvri_store_unpin(w.store, key, HVREPL_PIN_TAIL),
			 HVREPL_OK);
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	ck_assert(!w.points[0].kept);
	ck_assert_uint_eq(w.store->state.undo_count, 0);
	world_check(&w);
}
END_TEST

/* Nobody has the first one on record: the guest went on writing to the disk. */
START_TEST(a_disk_is_adopted_anew_until_something_was_received)
{
	struct hvri_store_point_commit tail = {
		.number = 9, .pins = HVREPL_PIN_TAIL, .epoch = { { 4 } },
	};
	uint64_t key;

	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(hvri_store_adopt(w.store, &tail, &key, NULL),
			 HVREPL_OK);
	for (unsigned d = 0; d < WORLD_DISKS; d++) {
		test_fill(w.primary.bytes[d], w.sizes[d], 3 + d);
		sim_disk_poke(w.bases[d], 0, w.primary.bytes[d], w.sizes[d]);
	}
	reopen();
	tail.number = 12;
	tail.cut.bytes[0] = 5;
	ck_assert_int_eq(hvri_store_adopt(w.store, &tail, &key, NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(w.store->state.point_count, 1);
	w.points[0] = (struct world_point){ .kept = true, .key = key,
					    .number = 12 };
	w.points[0].image = malloc(sizeof(w.primary));
	*w.points[0].image = w.primary;
	w.point_count = 1;
	w.last_number = 12;
	world_check(&w);
	reopen();
	world_check(&w);
	send(3);
	tail.number = 20;
	ck_assert_int_eq(hvri_store_adopt(w.store, &tail, &key, NULL),
			 HVREPL_E_STATE);
	world_check(&w);
}
END_TEST

START_TEST(what_was_adopted_in_doubt_stays_so_until_it_goes)
{
	struct hvri_store_point_commit handed = { .number = 9 };
	struct hvrepl_store_info info = HVREPL_STORE_INFO_INIT;
	hvrepl_view *view = NULL;
	uint64_t key, doubts;

	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	/* Nothing that could be. */
	ck_assert_int_eq(hvri_store_doubt_newest(w.store), HVREPL_E_STATE);
	ck_assert_int_eq(hvri_store_adopt(w.store, &handed, &key, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_store_doubt_newest(w.store), HVREPL_OK);
	doubts = w.store->generation;
	ck_assert_int_eq(hvri_store_doubt_newest(w.store), HVREPL_OK);
	ck_assert_uint_eq(w.store->generation, doubts); /* It is written once. */
	reopen();
	hvri_store_info(w.store, &info);
	ck_assert_uint_eq(info.newest_doubted, 1);
	ck_assert_uint_eq(info.doubted_point, key);
	ck_assert_int_eq(hvri_view_open(w.store, key, HVREPL_VIEW_READ_ONLY, &view,
					NULL),
			 HVREPL_E_UNTRUSTED);
	/* Adopted anew, by who knows what it is. */
	handed.number = 12;
	ck_assert_int_eq(hvri_store_adopt(w.store, &handed, &key, NULL),
			 HVREPL_OK);
	hvri_store_info(w.store, &info);
	ck_assert_uint_eq(info.newest_doubted, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("adopted disks");
	TCase *tcase = tcase_create("adopted disks");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase,
		       an_adopted_tail_stays_readable_until_it_is_unpinned);
	tcase_add_test(tcase,
		       a_disk_is_adopted_anew_until_something_was_received);
	tcase_add_test(tcase, what_was_adopted_in_doubt_stays_so_until_it_goes);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
