/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rule S1: what was received is decompressed and checked in the background;
 * damage is found before it gets into the base, named, and repaired by what a
 * comparing owner sends.
 */
#include "storerot.h"
#include "storeworld.h"

#include <string.h>

static struct world w;

/* The newest of four points is above the base, the others are below. */
static void build(uint32_t base_at)
{
	world_init(&w, 21);
	w.options.base_at = base_at;
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
		if (base_at == HVREPL_BASE_AT_NEWEST)
			ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	}
	world_make_cut_of(&w, 0, 16384);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
}

static void rot(void)
{
	ck_assert_uint_gt(store_rot_newest(w.store, w.storage), 0);
}

static void upkeep(void)
{
	uint32_t more = 1;

	for (unsigned i = 0; more != 0; i++) {
		ck_assert_uint_lt(i, 1000);
		ck_assert_int_eq(hvrepl_store_maintain(w.store, &more, NULL),
				 HVREPL_OK);
	}
}

static struct hvrepl_store_info info(void)
{
	struct hvrepl_store_info now = HVREPL_STORE_INFO_INIT;

	ck_assert_int_eq(hvrepl_store_info(w.store, &now), HVREPL_OK);
	return now;
}

/* The others are exact; the newest is refused, and never wrong. */
static void only_the_newest_is_in_doubt(void)
{
	struct world_point *newest = world_newest(&w);

	ck_assert_uint_eq(info().doubted_point, newest->key);
	ck_assert_uint_eq(info().newest_doubted, 1);
	ck_assert_int_eq(hvrepl_view_open(w.store, newest->key,
					  HVREPL_VIEW_READ_ONLY,
					  &(hvrepl_view *){ NULL }, NULL),
			 HVREPL_E_UNTRUSTED);
	for (uint32_t i = 0; i + 1 < w.point_count; i++) {
		static uint8_t bytes[4096];
		hvrepl_view *view;

		ck_assert_int_eq(hvrepl_view_open(w.store, w.points[i].key,
						  HVREPL_VIEW_READ_ONLY, &view,
						  NULL),
				 HVREPL_OK);
		for (uint64_t at = 0; at < w.sizes[0]; at += sizeof(bytes)) {
			ck_assert_int_eq(hvri_store_read(w.store,
							 w.points[i].key, 0, at,
							 bytes, sizeof(bytes)),
					 HVREPL_OK);
			ck_assert_mem_eq(bytes, w.points[i].image->bytes[0] +
							at,
					 sizeof(bytes));
		}
		ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	}
}

START_TEST(rot_is_found_before_the_base_moves)
{
	uint64_t base;

	build((uint32_t)_i);
	base = info().base_point;
	rot();
	upkeep();
	ck_assert_uint_eq(info().base_point, base);
	ck_assert_uint_eq(info().merge_target, 0);
	only_the_newest_is_in_doubt();
	/* It is known after a crash and after a clean end. */
	if (_i == 0) {
		w.sim.crash_at = w.sim.io_count;
		ck_assert_int_lt(hvri_store_set_blob(w.store, "x", 1), 0);
		world_abandon(&w);
		sim_restart(&w.sim, true);
	} else {
		world_close(&w);
	}
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	only_the_newest_is_in_doubt();
	world_free(&w);
}
END_TEST

/* In pieces, and again from where it was. */
START_TEST(the_check_is_made_in_bounded_pieces)
{
	uint32_t more = 1, pieces = 0;

	build(HVREPL_BASE_AT_OLDEST);
	w.store->piece_bytes = 4096;
	while (more != 0) {
		ck_assert_int_eq(hvri_check_step(w.store, &more), HVREPL_OK);
		pieces++;
	}
	ck_assert_uint_ge(pieces, 4);
	ck_assert_uint_eq(w.store->check.done, world_newest(&w)->key);
	ck_assert_uint_eq(info().doubted_point, 0);
	world_make_cut_of(&w, 0, 16384);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	rot();
	upkeep();
	only_the_newest_is_in_doubt();
	world_free(&w);
}
END_TEST

START_TEST(what_is_sent_again_is_right_and_the_damage_is_left_behind)
{
	uint64_t bad;

	build((uint32_t)_i);
	rot();
	upkeep();
	bad = world_newest(&w)->key;
	world_make_cut_of(&w, 0, UINT64_MAX);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	upkeep();
	ck_assert_uint_eq(info().doubted_point, 0);
	ck_assert_ptr_null(hvri_state_point(&w.store->state, bad));
	for (uint32_t i = 0; i < w.point_count; i++)
		if (w.points[i].key == bad)
			w.points[i].kept = false;
	world_check(&w);
	/* A new start meets the old damage, which nobody needs. */
	world_close(&w);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	upkeep();
	ck_assert_uint_eq(info().doubted_point, 0);
	world_check(&w);
	ck_assert_int_eq(world_send(&w), HVREPL_OK);
	upkeep();
	world_check(&w);
	world_free(&w);
}
END_TEST

/* It is a merge that meets it. */
static void rot_after_the_check(void)
{
	uint32_t more = 1;

	build(HVREPL_BASE_AT_NEWEST);
	while (w.store->state.merge_target == 0)
		ck_assert_int_eq(hvrepl_store_maintain(w.store, &more, NULL),
				 HVREPL_OK);
	/* Opened anew: nothing of it is in the cache. */
	world_close(&w);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	w.store->check.done = world_newest(&w)->key;
	rot();
}

START_TEST(rot_after_the_check_stops_no_upkeep)
{
	uint64_t bad;

	rot_after_the_check();
	upkeep();
	bad = world_newest(&w)->key;
	ck_assert_uint_eq(info().doubted_point, bad);
	ck_assert_uint_eq(info().merge_target, 0);
	world_make_cut_of(&w, 0, UINT64_MAX);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	upkeep();
	ck_assert_uint_eq(info().doubted_point, 0);
	for (uint32_t i = 0; i < w.point_count; i++)
		if (w.points[i].key == bad)
			w.points[i].kept = false;
	world_check(&w);
	world_free(&w);
}
END_TEST

/* Every chunk is sound, and the index points behind the end of one: whoever moves the
 * base meets it, and no check of chunks. _i 1: the commit of an older point, which ends
 * the merge first. */
START_TEST(damage_that_no_check_sees_stops_neither_upkeep_nor_a_commit)
{
	struct hvri_slog *log;
	uint32_t more = 1;

	build(HVREPL_BASE_AT_NEWEST);
	while (w.store->state.merge_target == 0)
		ck_assert_int_eq(hvrepl_store_maintain(w.store, &more, NULL),
				 HVREPL_OK);
	log = w.store->redo[w.store->state.redo_count - 1];
	for (size_t i = 0; i < log->disks[0].map.count; i++)
		log->disks[0].map.at[i].raw_offset = HVRI_CHUNK_RAW_MAX;
	if (_i == 0) {
		upkeep();
	} else {
		ck_assert_int_eq(world_failover(&w, world_kept(&w, 0)->key),
				 HVREPL_OK);
		ck_assert_int_eq(world_commit(&w), HVREPL_OK);
		world_check_guest(&w, false);
		world_free(&w);
		return;
	}
	ck_assert_uint_eq(info().doubted_point, world_newest(&w)->key);
	ck_assert_uint_eq(info().merge_target, 0);
	world_free(&w);
}
END_TEST

/* By hand, so that disks are not handed back with a hole that nobody was told of; and
 * then as the base keeps it. */
START_TEST(who_merges_by_hand_is_told_of_damage_once)
{
	uint32_t more = 1, told = 0;

	rot_after_the_check();
	while (more != 0 && told < 2) {
		int32_t rc = hvri_store_merge_advance(w.store, &more, NULL);

		ck_assert(rc == HVREPL_OK || rc == HVREPL_E_CORRUPT);
		told += rc == HVREPL_E_CORRUPT;
	}
	ck_assert_uint_eq(told, 1);
	ck_assert_uint_eq(info().doubted_point, world_newest(&w)->key);
	ck_assert_uint_eq(info().base_point, world_newest(&w)->key);
	world_free(&w);
}
END_TEST

/* _i: found by the check, or by the merge. */
START_TEST(a_crash_while_the_damage_is_noted_forgets_nothing)
{
	bool crashed = true;

	for (uint64_t at = 0; crashed; at++) {
		uint32_t more = 1;

		if (_i == 0) {
			build(HVREPL_BASE_AT_NEWEST);
			rot();
		} else {
			rot_after_the_check();
		}
		w.sim.crash_at = w.sim.io_count + at;
		while (more != 0 && !w.sim.crashed)
			(void)!hvrepl_store_maintain(w.store, &more, NULL);
		crashed = w.sim.crashed;
		if (crashed) {
			world_abandon(&w);
			sim_restart(&w.sim, at % 2 == 0);
			ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
		}
		upkeep();
		only_the_newest_is_in_doubt();
		world_free(&w);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store-check");
	TCase *tcase = tcase_create("store-check");

	tcase_add_loop_test(tcase, rot_is_found_before_the_base_moves, 0, 2);
	tcase_add_test(tcase, the_check_is_made_in_bounded_pieces);
	tcase_add_loop_test(
		tcase, what_is_sent_again_is_right_and_the_damage_is_left_behind,
		0, 2);
	tcase_add_test(tcase, rot_after_the_check_stops_no_upkeep);
	tcase_add_loop_test(
		tcase, damage_that_no_check_sees_stops_neither_upkeep_nor_a_commit,
		0, 2);
	tcase_add_test(tcase, who_merges_by_hand_is_told_of_damage_once);
	tcase_add_loop_test(tcase,
			    a_crash_while_the_damage_is_noted_forgets_nothing,
			    0, 2);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
