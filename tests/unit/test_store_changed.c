/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rule T9 for replicas: a base that others changed while the store was not open
 * is noticed, never served unasked, and right again with the next point.
 */
#include "storeworld.h"

#include <string.h>

static struct world w;

#define MINUTE 60000000000ull

/* Base at the newest of four points, older ones by undo. */
static void build(void)
{
	world_init(&w, 11);
	world_run_clock(&w, 1000000);
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
	ck_assert_int_eq(world_merge(&w, world_newest(&w)->key), HVREPL_OK);
}

/* The process ends without closing anything, the machine stays up. */
static void killed(void)
{
	w.sim.crash_at = w.sim.io_count;
	(void)!world_send(&w);
	ck_assert(w.sim.crashed);
	world_abandon(&w);
	sim_restart(&w.sim, false);
}

static void change_outside(uint64_t later)
{
	static const uint8_t wrong[512] = { 0x5a, 0xa5 };

	w.env.utc_ns += later;
	sim_disk_poke(w.bases[1], 8192, wrong, sizeof(wrong));
	w.bases[1]->token = w.env.utc_ns;
}

static void open_and_see(bool changed)
{
	struct hvrepl_store_info info = HVREPL_STORE_INFO_INIT;

	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_info(w.store, &info), HVREPL_OK);
	ck_assert_uint_eq(info.newest_doubted, changed);
	ck_assert_uint_eq(info.doubted_point,
			  changed ? world_newest(&w)->key : 0);
}

/* Points go that the model would keep. */
static void upkeep(void)
{
	uint32_t more = 1;

	while (more != 0)
		ck_assert_int_eq(hvrepl_store_maintain(w.store, &more, NULL),
				 HVREPL_OK);
}

static void refused_unless_asked_for(void)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_view *view;

	for (uint32_t kind = 0; kind <= HVREPL_VIEW_FAILOVER; kind++) {
		ck_assert_int_eq(hvrepl_view_open(w.store,
						  world_newest(&w)->key, kind,
						  &view, &error),
				 HVREPL_E_UNTRUSTED);
		ck_assert(strstr(error.sentence, "changed outside") != NULL);
	}
	ck_assert_int_eq(hvrepl_view_open(w.store, world_newest(&w)->key,
					  HVREPL_VIEW_READ_ONLY |
						  HVREPL_VIEW_AS_IS,
					  &view, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
}

START_TEST(a_base_changed_after_a_clean_close_is_noticed)
{
	build();
	world_close(&w);
	/* At once: after a clean close there is no slack. */
	change_outside(1);
	open_and_see(true);
	refused_unless_asked_for();
	/* Known for good, whatever the token says later. */
	world_close(&w);
	open_and_see(true);
	refused_unless_asked_for();
	world_free(&w);
}
END_TEST

START_TEST(a_base_changed_after_a_kill_is_noticed)
{
	build();
	killed();
	change_outside(MINUTE);
	open_and_see(true);
	refused_unless_asked_for();
	world_free(&w);
}
END_TEST

START_TEST(an_unclean_end_without_an_answer_is_a_doubt)
{
	for (unsigned i = 0; i < 3; i++) {
		build();
		/* In the middle of a merge: our own writes move the token. */
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
		ck_assert_int_eq(hvri_store_merge_begin(w.store, 0, NULL),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_store_merge_advance(w.store,
							  &(uint32_t){ 0 },
							  NULL),
				 HVREPL_OK);
		killed();
		w.bases[0]->token++;
		if (i > 0)
			w.options.token_check = NULL;
		if (i == 2)
			for (unsigned d = 0; d < WORLD_DISKS; d++)
				w.bases[d]->flags = HVREPL_DISK_EXCLUSIVE;
		open_and_see(i == 1);
		if (i != 1)
			world_check(&w);
		world_free(&w);
	}
}
END_TEST

START_TEST(what_nobody_changed_is_trusted)
{
	build();
	for (unsigned i = 0; i < 3; i++) {
		world_close(&w);
		w.env.utc_ns += 60 * MINUTE;
		open_and_see(false);
		world_check(&w);
		killed();
		w.env.utc_ns += 60 * MINUTE;
		open_and_see(false);
		world_settle(&w);
		world_check(&w);
	}
	world_free(&w);
}
END_TEST

/* What a comparing owner sends: the blocks that differ from what the store
 * shows, and more. */
START_TEST(the_next_point_is_right_and_the_doubted_ones_go)
{
	struct hvrepl_store_info info = HVREPL_STORE_INFO_INIT;
	uint64_t pinned;

	build();
	pinned = w.points[1].key;
	ck_assert_int_eq(hvrepl_store_pin(w.store, pinned, HVREPL_PIN_OPERATOR),
			 HVREPL_OK);
	world_close(&w);
	change_outside(MINUTE);
	open_and_see(true);
	/* As long as nothing better is there, nothing is given up. */
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	ck_assert_uint_eq(w.store->state.point_count, 4);
	world_make_cut_of(&w, 4096, 16384);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	upkeep();
	ck_assert_int_eq(hvrepl_store_info(w.store, &info), HVREPL_OK);
	/* The pinned one stays for who wants to look at it. */
	ck_assert_uint_eq(info.point_count, 2);
	ck_assert_uint_ge(info.doubted_point, pinned);
	ck_assert_int_eq(hvrepl_view_open(w.store, pinned,
					  HVREPL_VIEW_READ_ONLY,
					  &(hvrepl_view *){ NULL }, NULL),
			 HVREPL_E_UNTRUSTED);
	ck_assert_int_eq(hvrepl_store_unpin(w.store, pinned,
					    HVREPL_PIN_OPERATOR),
			 HVREPL_OK);
	upkeep();
	world_close(&w);
	for (unsigned i = 0; i + 1 < w.point_count; i++)
		w.points[i].kept = false;
	open_and_see(false);
	world_check(&w);
	ck_assert_int_eq(world_send(&w), HVREPL_OK);
	world_check(&w);
	world_free(&w);
}
END_TEST

START_TEST(before_the_first_point_the_content_starts_over)
{
	struct hvri_store_partial partial;

	world_init(&w, 12);
	world_run_clock(&w, 1000000);
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	/* A window of it is durable. */
	w.store->state.phase = HVRI_MANIFEST_INITIAL;
	ck_assert_int_eq(hvri_receive_record_initial(
				 w.store, false,
				 (uint64_t[WORLD_DISKS]){ 16384, 0 }),
			 HVREPL_OK);
	world_close(&w);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	ck_assert_uint_eq(w.store->state.disks[0].frontier, 16384);
	world_close(&w);
	change_outside(MINUTE);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	ck_assert_uint_eq(w.store->state.disks[0].frontier, 0);
	(void)!hvri_store_partial(w.store, 0, &partial);
	ck_assert_uint_eq(partial.frontier, 0);
	ck_assert_int_eq(world_first_point(&w, false), HVREPL_OK);
	world_check(&w);
	world_free(&w);
}
END_TEST

START_TEST(a_crash_while_the_doubt_is_noted_forgets_nothing)
{
	for (uint64_t at = 0; at < 12; at++) {
		build();
		world_close(&w);
		change_outside(MINUTE);
		w.sim.crash_at = w.sim.io_count + at;
		if (world_open(&w, false) == HVREPL_OK && !w.sim.crashed)
			world_close(&w);
		else if (w.sim.crashed)
			world_abandon(&w);
		sim_restart(&w.sim, at % 2 == 0);
		w.env.utc_ns += MINUTE;
		open_and_see(true);
		world_free(&w);
	}
}
END_TEST

/* A base that cannot say whether it was changed, before and after: only a clean end
 * is proof then. */
START_TEST(a_base_without_a_token_is_trusted_after_a_clean_end_only)
{
	for (unsigned i = 0; i < 8; i++) {
		bool clean = i % 2 == 0, before = i / 2 % 2, after = i / 4 % 2;

		build();
		for (unsigned d = 0; d < WORLD_DISKS; d++)
			w.bases[d]->no_token = before;
		/* Its own writes, and the stamp that they end with. */
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
		ck_assert_int_eq(world_merge(&w, world_newest(&w)->key),
				 HVREPL_OK);
		if (clean) {
			world_close(&w);
		} else {
			ck_assert_int_eq(world_send(&w), HVREPL_OK);
			ck_assert_int_eq(hvri_store_merge_begin(w.store, 0, NULL),
					 HVREPL_OK);
			ck_assert_int_eq(hvri_store_merge_advance(
						 w.store, &(uint32_t){ 0 }, NULL),
					 HVREPL_OK);
			killed();
		}
		for (unsigned d = 0; d < WORLD_DISKS; d++)
			w.bases[d]->no_token = after;
		open_and_see(before || after ? !(clean && before && after) :
					       false);
		world_free(&w);
	}
}
END_TEST

START_TEST(a_disk_that_its_vm_owns_is_nobodys_doubt)
{
	build();
	ck_assert_int_eq(world_failover(&w, world_newest(&w)->key), HVREPL_OK);
	ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
	ck_assert_int_eq(world_commit(&w), HVREPL_OK);
	ck_assert_uint_eq(w.store->state.stamped, HVRI_STAMP_NONE);
	world_close(&w);
	change_outside(MINUTE);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	ck_assert(!w.store->base_changed);
	world_free(&w);
}
END_TEST

START_TEST(a_doubt_that_cannot_be_noted_is_noted_at_the_next_opening)
{
	bool refused = true;

	for (uint64_t n = 0; refused; n++) {
		struct test_refusals refusals = { 0, n, false };
		int32_t rc;

		build();
		world_close(&w);
		change_outside(1);
		w.sim.refusals = &refusals;
		rc = world_open(&w, false);
		w.sim.refusals = NULL;
		refused = refusals.count > n;
		ck_assert(rc == HVREPL_OK || refused);
		world_close(&w);
		open_and_see(true);
		refused_unless_asked_for();
		world_free(&w);
	}
}
END_TEST

START_TEST(doubted_points_are_given_up_also_when_that_fails_at_first)
{
	bool failed = true;

	for (uint64_t n = 0; failed; n++) {
		struct hvrepl_store_info info = HVREPL_STORE_INFO_INIT;
		uint32_t more = 1;

		build();
		world_close(&w);
		change_outside(1);
		open_and_see(true);
		world_make_cut_of(&w, 0, WORLD_SIZE_MAX);
		ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
		w.sim.failed = 0;
		w.sim.fail_code = HVREPL_E_NO_SPACE;
		w.sim.fail_at = w.sim.call_count + n;
		(void)!hvrepl_store_maintain(w.store, &more, NULL);
		failed = w.sim.failed > 0;
		w.sim.fail_at = UINT64_MAX;
		world_close(&w);
		ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
		upkeep();
		ck_assert_int_eq(hvrepl_store_info(w.store, &info), HVREPL_OK);
		ck_assert_uint_eq(info.point_count, 1);
		ck_assert_uint_eq(info.newest_doubted, 0);
		for (uint32_t i = 0; i + 1 < w.point_count; i++)
			w.points[i].kept = false;
		world_check(&w);
		world_free(&w);
	}
}
END_TEST

START_TEST(a_clock_that_goes_back_does_not_make_a_stamp_last)
{
	uint32_t more = 1;

	build();
	ck_assert_int_eq(world_send(&w), HVREPL_OK);
	ck_assert_int_eq(hvri_store_merge_begin(w.store, 0, NULL), HVREPL_OK);
	w.env.utc_ns -= 10 * MINUTE;
	ck_assert_int_eq(hvri_store_merge_advance(w.store, &more, NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(w.store->state.stamped, HVRI_STAMP_OPEN);
	ck_assert_uint_le(w.store->state.stamps[0].utc_ns, w.env.utc_ns);
	ck_assert_int_eq(world_merge(&w, 0), HVREPL_OK);
	world_check(&w);
	world_free(&w);
}
END_TEST

/* The stamp grows old on a full volume; a compare after a crash is all it costs. */
START_TEST(a_stamp_that_finds_no_room_stops_no_merge)
{
	uint32_t more = 1;

	world_init(&w, 11);
	world_run_clock(&w, 1000000);
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	world_make_cut_of(&w, 0, WORLD_SIZE_MAX);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	ck_assert_int_eq(world_drop(&w, world_kept(&w, 0)->key), HVREPL_OK);
	ck_assert_int_eq(hvri_store_merge_begin(w.store, 0, NULL), HVREPL_OK);
	w.env.utc_ns += MINUTE;
	w.storage->capacity = sim_storage_used(w.storage);
	ck_assert_int_eq(hvri_store_merge_advance(w.store, &more, NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(more, 1);
	w.storage->capacity = UINT64_MAX;
	ck_assert_int_eq(world_merge(&w, 0), HVREPL_OK);
	ck_assert_uint_eq(w.store->state.stamped, HVRI_STAMP_SETTLED);
	world_check(&w);
	world_free(&w);
}
END_TEST

/* The first one of a commit says "written", and goes before the write. */
START_TEST(a_first_stamp_that_finds_no_room_stops_a_commit)
{
	bool opened = false;

	for (uint64_t n = 0; !opened; n++) {
		uint32_t more = 1;
		int32_t rc;

		build();
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
		ck_assert_int_eq(world_failover(&w, world_newest(&w)->key),
				 HVREPL_OK);
		ck_assert_int_eq(world_guest_change(&w, 0, 0, 16384, false),
				 HVREPL_OK);
		ck_assert_int_eq(world_guest_flush(&w), HVREPL_OK);
		ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL),
				 HVREPL_OK);
		ck_assert_int_eq(
			hvrepl_store_commit_advance(w.store, &more, NULL),
			HVREPL_OK);
		ck_assert_uint_eq(w.store->state.stamped, HVRI_STAMP_SETTLED);
		w.sim.failed = 0;
		w.sim.fail_code = HVREPL_E_NO_SPACE;
		w.sim.fail_at = w.sim.call_count + n;
		rc = hvrepl_store_commit_advance(w.store, &more, NULL);
		w.sim.fail_at = UINT64_MAX;
		opened = w.store->state.stamped == HVRI_STAMP_OPEN;
		if (!opened) {
			ck_assert_int_eq(rc, HVREPL_E_NO_SPACE);
			/* Nothing was written to the base. */
			ck_assert_uint_eq(w.store->fold.at, 0);
		}
		if (!hvri_store_poisoned(w.store)) {
			ck_assert_int_eq(world_commit(&w), HVREPL_OK);
			world_check_guest(&w, false);
		}
		world_free(&w);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store-changed");
	TCase *tcase = tcase_create("store-changed");

	tcase_add_test(tcase, a_base_changed_after_a_clean_close_is_noticed);
	tcase_add_test(tcase, a_base_changed_after_a_kill_is_noticed);
	tcase_add_test(tcase, an_unclean_end_without_an_answer_is_a_doubt);
	tcase_add_test(tcase, what_nobody_changed_is_trusted);
	tcase_add_test(tcase, the_next_point_is_right_and_the_doubted_ones_go);
	tcase_add_test(tcase, before_the_first_point_the_content_starts_over);
	tcase_add_test(tcase,
		       a_crash_while_the_doubt_is_noted_forgets_nothing);
	tcase_add_test(tcase,
		       a_base_without_a_token_is_trusted_after_a_clean_end_only);
	tcase_add_test(tcase, a_disk_that_its_vm_owns_is_nobodys_doubt);
	tcase_add_test(tcase,
		       a_doubt_that_cannot_be_noted_is_noted_at_the_next_opening);
	tcase_add_test(
		tcase,
		doubted_points_are_given_up_also_when_that_fails_at_first);
	tcase_add_test(tcase, a_clock_that_goes_back_does_not_make_a_stamp_last);
	tcase_add_test(tcase, a_stamp_that_finds_no_room_stops_no_merge);
	tcase_add_test(tcase,
		       a_first_stamp_that_finds_no_room_stops_a_commit);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
