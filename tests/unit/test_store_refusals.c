/* SPDX-License-Identifier: Apache-2.0 */
/* What a store is asked for at the wrong time, or of what it has not: it says no, and
 * goes on as before. */
#include "storescript.h"

#include "store/view.h"

#include <stdlib.h>
#include <string.h>

static struct world w;

static void setup(void)
{
	world_init(&w, 5);
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
}

static void teardown(void)
{
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
}

static void replica(void)
{
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
}

START_TEST(a_disk_that_there_is_not_receives_nothing)
{
	struct hvri_store_partial partial;
	struct hvrepl_extent extent;
	hvrepl_view *view;
	uint32_t next;

	replica();
	world_make_cut(&w);
	ck_assert_int_lt(hvri_store_segment_begin(w.store, WORLD_DISKS,
						  w.cut.header[0], &next, NULL),
			 0);
	ck_assert_int_lt(hvri_store_segment_append(w.store, WORLD_DISKS,
						   w.cut.chunks[0][0],
						   w.cut.lengths[0][0]),
			 0);
	ck_assert_int_lt(hvri_store_segment_end(w.store, WORLD_DISKS, 0,
						w.cut.root[0]),
			 0);
	ck_assert_int_lt(hvri_store_partial(w.store, WORLD_DISKS, &partial), 0);
	ck_assert_int_eq(hvrepl_view_open(w.store, world_newest(&w)->key,
					  HVREPL_VIEW_READ_ONLY, &view, NULL),
			 HVREPL_OK);
	ck_assert_int_lt(hvri_view_next_changed(view, WORLD_DISKS, 0, &extent),
			 0);
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	ck_assert_int_lt(hvrepl_view_open(w.store, world_newest(&w)->key,
					  HVREPL_VIEW_FAILOVER + 1, &view, NULL),
			 0);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	world_check(&w);
}
END_TEST

START_TEST(a_point_is_committed_of_a_whole_cut_only)
{
	struct hvri_store_point_commit commit = { .number = 9 };
	uint64_t frontiers[WORLD_DISKS] = { 0 };
	uint32_t next;

	replica();
	world_make_cut(&w);
	commit.number = w.cut.number;
	commit.epoch = w.epoch;
	commit.cut = w.cut.cut;
	ck_assert_int_eq(hvri_store_point_commit(w.store, &commit, NULL, NULL),
			 HVREPL_E_STATE);
	ck_assert_int_eq(world_send_part(&w), HVREPL_OK);
	ck_assert_int_eq(hvri_store_point_commit(w.store, &commit, NULL, NULL),
			 HVREPL_E_STATE);
	for (uint32_t d = 0; d < WORLD_DISKS; d++) {
		ck_assert_int_eq(hvri_store_segment_begin(w.store, d,
							  w.cut.header[d], &next,
							  NULL),
				 HVREPL_OK);
		for (uint32_t i = next; i < w.cut.counts[d]; i++)
			ck_assert_int_eq(hvri_store_segment_append(
						 w.store, d, w.cut.chunks[d][i],
						 w.cut.lengths[d][i]),
					 HVREPL_OK);
		ck_assert_int_eq(hvri_store_segment_end(w.store, d,
							w.cut.counts[d],
							w.cut.root[d]),
				 HVREPL_OK);
	}
	/* Behind its end nothing comes. */
	ck_assert_int_lt(hvri_store_segment_append(w.store, 0, w.cut.chunks[0][0],
						   1),
			 0);
	/* Of another cut, number, epoch, and too long a configuration. */
	commit.cut.bytes[5] ^= 1;
	ck_assert_int_eq(hvri_store_point_commit(w.store, &commit, NULL, NULL),
			 HVREPL_E_STATE);
	commit.cut = w.cut.cut;
	commit.number++;
	ck_assert_int_lt(hvri_store_point_commit(w.store, &commit, NULL, NULL),
			 0);
	commit.number--;
	commit.epoch.bytes[3] ^= 1;
	ck_assert_int_lt(hvri_store_point_commit(w.store, &commit, NULL, NULL),
			 0);
	commit.epoch = w.epoch;
	commit.config = "";
	commit.config_length = HVREPL_CONFIG_MAX + 1;
	ck_assert_int_eq(hvri_store_point_commit(w.store, &commit, NULL, NULL),
			 HVREPL_E_LIMIT);
	/* No window of a store that has points. */
	ck_assert_int_lt(hvri_store_window_commit(w.store, &w.cut.cut, frontiers,
						  NULL),
			 0);
	ck_assert_int_eq(hvri_store_segments_drop(w.store), HVREPL_OK);
	ck_assert_int_eq(hvri_store_segments_drop(w.store), HVREPL_OK);
	ck_assert_int_eq(hvri_store_flush(w.store), HVREPL_OK);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	world_check(&w);
}
END_TEST

START_TEST(configurations_are_kept_while_a_point_has_them)
{
	struct hvri_store_point_commit commit = { .number = 1 };
	static const char *const configs[] = { "one", "one", "two!", "one", "" };
	char back[8];

	/* Adopted again and again: every one is the newest then. */
	for (size_t i = 0; i < HVRI_ARRAY_LEN(configs); i++) {
		uint32_t length = sizeof(back);
		uint64_t key;

		world_close(&w);
		world_free(&w);
		setup();
		for (size_t k = 0; k <= i; k++) {
			uint32_t size = (uint32_t)strlen(configs[k]);

			commit.number = k + 1;
			commit.config = configs[k];
			commit.config_length = size;
			commit.config_version = k;
			if (k == 0) {
				ck_assert_int_eq(hvri_store_adopt(w.store,
								  &commit, &key,
								  NULL),
						 HVREPL_OK);
				w.last_number = 1;
				continue;
			}
			world_make_cut(&w);
			for (uint32_t d = 0; d < WORLD_DISKS; d++) {
				uint32_t next;

				ck_assert_int_eq(
					hvri_store_segment_begin(
						w.store, d, w.cut.header[d],
						&next, NULL),
					HVREPL_OK);
				for (uint32_t n = 0; n < w.cut.counts[d]; n++)
					ck_assert_int_eq(
						hvri_store_segment_append(
							w.store, d,
							w.cut.chunks[d][n],
							w.cut.lengths[d][n]),
						HVREPL_OK);
				ck_assert_int_eq(hvri_store_segment_end(
							 w.store, d,
							 w.cut.counts[d],
							 w.cut.root[d]),
						 HVREPL_OK);
			}
			commit.epoch = w.epoch;
			commit.cut = w.cut.cut;
			ck_assert_int_eq(hvri_store_point_commit(w.store, &commit,
								 &key, NULL),
					 HVREPL_OK);
			w.last_number = w.cut.number;
			free(w.cut.image); /* The model does not take it. */
			world_cut_free(&w.cut);
		}
		ck_assert_int_eq(hvrepl_store_config(w.store, key, back, &length),
				 HVREPL_OK);
		ck_assert_uint_eq(length, strlen(configs[i]));
		ck_assert_mem_eq(back, configs[i], length);
		length = 1;
		if (strlen(configs[i]) > 0)
			ck_assert_int_eq(hvrepl_store_config(w.store, key, back,
							     &length),
					 HVREPL_E_LIMIT);
		ck_assert_int_eq(hvrepl_store_config(w.store, 999, back, &length),
				 HVREPL_E_NOT_FOUND);
	}
}
END_TEST

START_TEST(a_store_with_points_is_not_made_anew)
{
	struct hvri_store_point_commit commit = { .number = 3 };

	replica();
	ck_assert_int_eq(hvri_store_adopt(w.store, &commit, NULL, NULL),
			 HVREPL_E_STATE);
	ck_assert_int_eq(hvri_store_base_only(w.store, NULL), HVREPL_E_STATE);
	ck_assert_int_eq(hvri_store_pin(w.store, 999, HVREPL_PIN_OPERATOR),
			 HVREPL_E_NOT_FOUND);
	{
		static uint8_t blob[HVREPL_STORE_BLOB_MAX + 1];

		ck_assert_int_eq(hvri_store_set_blob(w.store, blob,
						     sizeof(blob)),
				 HVREPL_E_LIMIT);
	}
	world_check(&w);
}
END_TEST

START_TEST(failovers_are_opened_committed_and_cancelled_in_their_order)
{
	hvrepl_view *view, *other;
	uint32_t more;

	ck_assert_int_lt(hvrepl_view_open(w.store, 1, HVREPL_VIEW_FAILOVER, &view,
					  NULL),
			 0);
	replica();
	ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL),
			 HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_store_commit_advance(w.store, &more, NULL),
			 HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_store_cancel(w.store, &more, NULL),
			 HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_view_open(w.store, 999, HVREPL_VIEW_FAILOVER,
					  &view, NULL),
			 HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(hvrepl_view_open(w.store, 999, HVREPL_VIEW_READ_ONLY,
					  &view, NULL),
			 HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(world_failover(&w, world_kept(&w, 1)->key), HVREPL_OK);
	ck_assert_int_eq(hvrepl_view_open(w.store, 0, HVREPL_VIEW_FAILOVER, &view,
					  NULL),
			 HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_store_commit_advance(w.store, &more, NULL),
			 HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_store_cancel(w.store, &more, NULL),
			 HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_view_open(w.store, world_kept(&w, 0)->key,
					  HVREPL_VIEW_READ_ONLY, &other, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL), HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_view_close(other), HVREPL_OK);
	world_view_close(&w);
	ck_assert_int_eq(hvrepl_view_open(w.store, world_kept(&w, 0)->key,
					  HVREPL_VIEW_FAILOVER, &view, NULL),
			 HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_view_open(w.store, world_kept(&w, 1)->key,
					  HVREPL_VIEW_FAILOVER, &w.view, NULL),
			 HVREPL_OK);
	for (unsigned i = 0; i < 6; i++)
		ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
	ck_assert_int_eq(world_guest_flush(&w), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL), HVREPL_OK);
	do
		ck_assert_int_eq(hvrepl_store_commit_advance(w.store, &more,
							     NULL),
				 HVREPL_OK);
	while (w.store->state.commit == HVRI_COMMIT_OVERLAY);
	ck_assert_int_eq(hvrepl_store_cancel(w.store, &more, NULL),
			 HVREPL_E_BUSY);
	world_view_close(&w);
	ck_assert_int_eq(hvrepl_store_cancel(w.store, &more, NULL), HVREPL_OK);
	ck_assert_uint_eq(more, 1);
	/* Until the base is back there is no other. */
	ck_assert_int_eq(hvrepl_view_open(w.store, world_kept(&w, 1)->key,
					  HVREPL_VIEW_FAILOVER, &view, NULL),
			 HVREPL_E_STATE);
	while (more != 0)
		ck_assert_int_eq(hvrepl_store_cancel(w.store, &more, NULL),
				 HVREPL_OK);
	w.failover = false;
	world_check(&w);
}
END_TEST

/* A commit gives up all points: too late for a pin, after a restart as well; once
 * it was cancelled there is time again. */
START_TEST(no_point_is_pinned_while_a_commit_is_under_way)
{
	struct world_point *point;
	uint32_t more = 1;

	replica();
	point = world_kept(&w, 0);
	ck_assert_int_eq(world_failover(&w, world_kept(&w, 1)->key), HVREPL_OK);
	ck_assert_int_eq(world_pin(&w, point, true), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL), HVREPL_E_BUSY);
	ck_assert_int_eq(world_pin(&w, point, false), HVREPL_OK);
	ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
	ck_assert_int_eq(world_guest_flush(&w), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL), HVREPL_OK);
	ck_assert_int_eq(world_pin(&w, point, true), HVREPL_E_BUSY);
	while (w.store->state.commit == HVRI_COMMIT_OVERLAY)
		ck_assert_int_eq(hvrepl_store_commit_advance(w.store, &more,
							     NULL),
				 HVREPL_OK);
	world_close(&w);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	ck_assert_uint_eq(w.store->state.commit, HVRI_COMMIT_FOLDING);
	ck_assert_int_eq(world_pin(&w, point, true), HVREPL_E_BUSY);
	ck_assert_int_eq(world_pin(&w, point, false), HVREPL_OK);
	ck_assert_int_eq(world_cancel(&w), HVREPL_OK);
	ck_assert_int_eq(world_pin(&w, point, true), HVREPL_OK);
	ck_assert_int_eq(world_drop(&w, point->key), HVREPL_E_BUSY);
	world_check(&w);
}
END_TEST

START_TEST(a_commit_that_has_ended_stays_ended)
{
	uint32_t more = 1;

	replica();
	ck_assert_int_eq(world_failover(&w, world_newest(&w)->key), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL), HVREPL_OK);
	while (w.store->state.commit != HVRI_COMMIT_SWITCHING && more != 0)
		ck_assert_int_eq(hvrepl_store_commit_advance(w.store, &more,
							     NULL),
				 HVREPL_OK);
	if (more != 0) {
		uint32_t none;

		ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL),
				 HVREPL_OK);
		ck_assert_int_eq(hvrepl_store_cancel(w.store, &none, NULL),
				 HVREPL_E_STATE);
	}
	while (more != 0)
		ck_assert_int_eq(hvrepl_store_commit_advance(w.store, &more,
							     NULL),
				 HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_advance(w.store, &more, NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(more, 0);
	ck_assert_int_eq(hvrepl_store_cancel(w.store, &more, NULL),
			 HVREPL_E_STATE);
}
END_TEST

START_TEST(a_window_holds_no_more_than_its_disks)
{
	uint64_t frontiers[WORLD_DISKS] = { UINT64_MAX, 0 };

	world_make_cut(&w);
	ck_assert_int_lt(hvri_store_window_commit(w.store, &w.cut.cut, frontiers,
						  NULL),
			 0);
	for (uint32_t d = 0; d < WORLD_DISKS; d++) {
		uint32_t next;

		ck_assert_int_eq(hvri_store_segment_begin(w.store, d,
							  w.cut.header[d], &next,
							  NULL),
				 HVREPL_OK);
		for (uint32_t i = 0; i < w.cut.counts[d]; i++)
			ck_assert_int_eq(hvri_store_segment_append(
						 w.store, d, w.cut.chunks[d][i],
						 w.cut.lengths[d][i]),
					 HVREPL_OK);
		ck_assert_int_eq(hvri_store_segment_end(w.store, d,
							w.cut.counts[d],
							w.cut.root[d]),
				 HVREPL_OK);
	}
	ck_assert_int_lt(hvri_store_window_commit(w.store, &w.cut.cut, frontiers,
						  NULL),
			 0);
	frontiers[0] = w.sizes[0];
	frontiers[1] = w.sizes[1];
	ck_assert_int_eq(hvri_store_window_commit(w.store, &w.cut.cut, frontiers,
						  NULL),
			 HVREPL_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store refusals");
	TCase *tcase = tcase_create("store refusals");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_disk_that_there_is_not_receives_nothing);
	tcase_add_test(tcase, a_point_is_committed_of_a_whole_cut_only);
	tcase_add_test(tcase, configurations_are_kept_while_a_point_has_them);
	tcase_add_test(tcase, a_store_with_points_is_not_made_anew);
	tcase_add_test(tcase,
		       failovers_are_opened_committed_and_cancelled_in_their_order);
	tcase_add_test(tcase, no_point_is_pinned_while_a_commit_is_under_way);
	tcase_add_test(tcase, a_commit_that_has_ended_stays_ended);
	tcase_add_test(tcase, a_window_holds_no_more_than_its_disks);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
