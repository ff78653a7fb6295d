/* SPDX-License-Identifier: Apache-2.0 */
/* Rule S6: what a store may use is refused up front where it cannot be kept, old
 * points go at the high-water mark, then receiving is refused with a reason. */
#include "storeworld.h"

#include <string.h>

static struct world w;

static void setup(void)
{
	world_init(&w, 11);
	w.options.container_bytes = 8192;
	w.options.points_max = 24;
}

static void teardown(void)
{
	world_free(&w);
}

static void first_points(unsigned count)
{
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	for (unsigned i = 0; i < count; i++) {
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
		ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	}
}

static unsigned kept(void)
{
	unsigned count = 0;

	while (world_kept(&w, count) != NULL)
		count++;
	return count;
}

/* Open with the options as they are; what is said. */
static int32_t open_says(struct hvrepl_error *error)
{
	struct hvrepl_storage storage = sim_storage_handle(w.storage);
	struct hvrepl_store_disk disks[WORLD_DISKS];
	int32_t rc;

	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		disks[i].disk = w.disks[i];
		disks[i].base = sim_disk_handle(w.bases[i]);
	}
	w.options.flags = 0;
	rc = hvrepl_store_open(&w.env.env, &storage, disks, WORLD_DISKS,
			       &w.options, &w.store, error);
	if (rc < 0)
		w.store = NULL;
	return rc;
}

static void limits(uint64_t capacity, uint64_t reserve, uint32_t points_min)
{
	struct hvri_store_limits set = { capacity, reserve, points_min };

	ck_assert_int_eq(hvri_store_set_limits(w.store, &set, false, NULL),
			 HVREPL_OK);
	w.options.capacity = capacity; /* The model: points may go. */
}

START_TEST(a_capacity_below_pinned_newest_and_reserve_is_refused_up_front)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvri_store_limits small = { 48u << 10, 8u << 10, 0 };
	uint64_t pinned;

	w.options.base_at = (uint32_t)_i;
	first_points(6);
	pinned = world_kept(&w, 0)->key;
	ck_assert_int_eq(hvrepl_store_pin(w.store, pinned, HVREPL_PIN_OPERATOR),
			 HVREPL_OK);
	/* Of a store that is open: nothing changes, and it goes on. */
	ck_assert_int_eq(hvri_store_set_limits(w.store, &small, false, &error),
			 HVREPL_E_NO_SPACE);
	ck_assert_ptr_nonnull(strstr(error.sentence, "capacity of 48.0 KiB"));
	ck_assert_ptr_nonnull(strstr(error.sentence, "reserve is 8.0 KiB"));
	ck_assert_ptr_nonnull(strstr(error.sentence, "unpin"));
	ck_assert_int_eq(world_send(&w), HVREPL_OK);
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	world_close(&w);
	/* When it is opened: nothing is written, no point goes. */
	w.options.capacity = small.capacity;
	w.options.reserve = small.reserve;
	ck_assert_int_eq(open_says(&error), HVREPL_E_NO_SPACE);
	ck_assert_int_eq(error.code, HVREPL_E_NO_SPACE);
	ck_assert_ptr_nonnull(strstr(error.sentence, "or more, or unpin"));
	/* A failover needs no limit. */
	w.options.capacity = w.options.reserve = 0;
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	ck_assert_uint_eq(kept(), 8);
	world_check(&w);
	/* Nor is it refused to a node, which must open the store for a failover:
	 * it has all its points, and takes no more. */
	ck_assert_int_eq(hvri_store_set_limits(w.store, &small, true, &error),
			 HVREPL_E_NO_SPACE);
	ck_assert_int_eq(world_send(&w), HVREPL_E_NO_SPACE);
	world_check(&w);
	/* Unpinned, the same is enough: the others may go. */
	ck_assert_int_eq(hvrepl_store_unpin(w.store, pinned, HVREPL_PIN_OPERATOR),
			 HVREPL_OK);
	if (_i == HVREPL_BASE_AT_NEWEST) {
		ck_assert_int_eq(hvri_store_set_limits(w.store, &small, false,
						       &error),
				 HVREPL_OK);
		w.options.capacity = small.capacity;
		ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
		ck_assert_uint_lt(kept(), 8);
		world_check(&w);
	}
}
END_TEST

START_TEST(limits_that_contradict_each_other_are_refused)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	first_points(0);
	world_close(&w);
	w.options.points_max = 3;
	w.options.points_min = 4;
	ck_assert_int_eq(open_says(&error), HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(error.sentence, "at least 4 points"));
	w.options.points_min = 3;
	w.options.capacity = w.options.reserve = 1u << 20;
	ck_assert_int_eq(open_says(&error), HVREPL_E_INVALID);
	w.options.capacity = w.options.reserve = 0;
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
}
END_TEST

START_TEST(the_oldest_points_go_down_to_the_minimum_then_receiving_is_refused)
{
	struct hvrepl_store_info info = HVREPL_STORE_INFO_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc = HVREPL_OK;
	uint64_t oldest, key;

	w.options.base_at = (uint32_t)_i;
	first_points(10);
	oldest = world_kept(&w, 0)->key;
	limits(hvri_store_used(w.store) + (160u << 10), 64u << 10, 4);
	for (unsigned i = 0; i < 60 && rc == HVREPL_OK; i++) {
		rc = world_send(&w);
		for (unsigned n = 0; n < 30 && rc == HVREPL_E_NO_SPACE; n++) {
			int32_t m = world_maintain(&w);

			if (m < 0)
				break;
			rc = world_send(&w);
		}
		if (rc == HVREPL_OK)
			ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
		ck_assert_uint_ge(w.store->state.point_count, 5);
		ck_assert_uint_le(hvri_store_used(w.store),
				  w.options.capacity);
	}
	/* Or the oldest made room for ever: they went, and no more than that. */
	ck_assert_uint_gt(w.store->state.points[0].key, oldest);
	/* A minimum that cannot be kept: it stands, and that is the reason. */
	limits(hvri_store_used(w.store) + (8u << 10), 0, 24);
	w.store->receive.refused = false;
	rc = world_send(&w);
	ck_assert_int_eq(rc, HVREPL_E_NO_SPACE);
	(void)!hvri_store_why_full(w.store, &error);
	ck_assert_ptr_nonnull(strstr(error.sentence, "the quota of "));
	ck_assert_ptr_nonnull(strstr(error.sentence, "raise it"));
	key = w.store->state.points[0].key;
	w.maintaining = true;
	(void)!world_maintain(&w);
	ck_assert_uint_eq(w.store->state.points[0].key, key);
	/* Room again: the same cut goes on. */
	limits(0, 0, 0);
	hvri_store_info(w.store, &info);
	ck_assert_uint_ne(info.accepting, 0);
	ck_assert_int_eq(world_send(&w), HVREPL_OK);
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	ck_assert_uint_eq(w.store->state.points[0].key, key);
	w.maintaining = true;
	world_check(&w);
}
END_TEST

START_TEST(a_vm_that_runs_here_is_not_held_to_the_capacity)
{
	unsigned points;

	first_points(6);
	limits(hvri_store_used(w.store) + (24u << 10), 0, 0);
	points = w.store->state.point_count;
	ck_assert_int_eq(world_failover(&w, world_newest(&w)->key), HVREPL_OK);
	for (unsigned i = 0; i < 60; i++)
		ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
	ck_assert_int_eq(world_guest_flush(&w), HVREPL_OK);
	ck_assert_uint_gt(hvri_store_used(w.store), w.options.capacity);
	/* Its writes cost no recovery point: the operator may choose another. */
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	ck_assert_uint_eq(w.store->state.point_count, points);
	world_check_guest(&w, false);
	ck_assert_int_eq(world_commit(&w), HVREPL_OK);
	world_check_guest(&w, false);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store-capacity");
	TCase *tcase = tcase_create("store-capacity");

	tcase_set_timeout(tcase, 240);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(
		tcase,
		a_capacity_below_pinned_newest_and_reserve_is_refused_up_front,
		0, 2);
	tcase_add_test(tcase, limits_that_contradict_each_other_are_refused);
	tcase_add_loop_test(
		tcase,
		the_oldest_points_go_down_to_the_minimum_then_receiving_is_refused,
		0, 2);
	tcase_add_test(tcase, a_vm_that_runs_here_is_not_held_to_the_capacity);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
