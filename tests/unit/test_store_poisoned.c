/* SPDX-License-Identifier: Apache-2.0 */
/* A store that failed a flush knows no longer what is durable: until it is opened
 * again nothing is changed, whoever asks for what; then it goes on. */
#include "storescript.h"

#include "store/view.h"

#include <string.h>

static struct world w;
static struct hvri_store_point_commit commit;
static uint64_t frontiers[WORLD_DISKS];
static uint32_t next, more;

static void setup(void)
{
	world_init(&w, 9);
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
	world_make_cut(&w);
	ck_assert_int_eq(world_send_part(&w), HVREPL_OK);
	memset(&commit, 0, sizeof(commit));
	commit.number = w.cut.number;
	commit.epoch = w.epoch;
	commit.cut = w.cut.cut;
}

static void teardown(void)
{
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
}

static void poison(void)
{
	w.sim.flush_fail_at = w.sim.flush_count;
	w.sim.flush_fails = SIM_FLUSH_REVERTS;
	ck_assert_int_lt(hvri_store_set_blob(w.store, "x", 1), 0);
	ck_assert(hvri_store_poisoned(w.store));
}

static int32_t segments_drop(void)
{
	return hvri_store_segments_drop(w.store);
}

static int32_t segment_begin(void)
{
	return hvri_store_segment_begin(w.store, 0, w.cut.header[0], &next,
					NULL);
}

static int32_t segment_append(void)
{
	return hvri_store_segment_append(w.store, 0, w.cut.chunks[0][0],
					 w.cut.lengths[0][0]);
}

static int32_t segment_end(void)
{
	return hvri_store_segment_end(w.store, 0, w.cut.counts[0], w.cut.root[0]);
}

static int32_t flush(void)
{
	return hvri_store_flush(w.store);
}

static int32_t point_commit(void)
{
	return hvri_store_point_commit(w.store, &commit, NULL, NULL);
}

static int32_t window_commit(void)
{
	return hvri_store_window_commit(w.store, &w.cut.cut, frontiers, NULL);
}

static int32_t adopt(void)
{
	return hvri_store_adopt(w.store, &commit, NULL, NULL);
}

static int32_t base_only(void)
{
	return hvri_store_base_only(w.store, NULL);
}

static int32_t pin(void)
{
	return world_pin(&w, world_kept(&w, 0), true);
}

static int32_t drop(void)
{
	return hvri_store_drop(w.store, world_kept(&w, 1)->key, NULL);
}

static int32_t maintain(void)
{
	return hvrepl_store_maintain(w.store, &more, NULL);
}

static int32_t compact(void)
{
	return hvri_store_compact(w.store, &more);
}

static int32_t merge_begin(void)
{
	return hvri_store_merge_begin(w.store, 0, NULL);
}

static int32_t merge_advance(void)
{
	return hvri_store_merge_advance(w.store, &more, NULL);
}

static int32_t view_open(void)
{
	hvrepl_view *view;
	int32_t rc = hvrepl_view_open(w.store, world_newest(&w)->key,
				      HVREPL_VIEW_READ_ONLY, &view, NULL);

	if (rc == HVREPL_OK)
		ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	return rc;
}

static int32_t commit_begin(void)
{
	return hvrepl_store_commit_begin(w.store, NULL);
}

static int32_t commit_advance(void)
{
	return hvrepl_store_commit_advance(w.store, &more, NULL);
}

static int32_t cancel(void)
{
	return hvrepl_store_cancel(w.store, &more, NULL);
}

static int32_t set_blob(void)
{
	return hvri_store_set_blob(w.store, "y", 1);
}

static int32_t (*const asked[])(void) = {
	segments_drop, segment_begin, segment_append, segment_end, flush,
	point_commit,  window_commit, adopt,	      base_only,   pin,
	drop,	       maintain,      compact,	      merge_begin, merge_advance,
	view_open,     commit_begin,  commit_advance, cancel,	   set_blob,
};

START_TEST(nothing_is_changed_until_it_is_opened_again)
{
	uint64_t changes;

	poison();
	changes = w.sim.io_count;
	for (size_t i = 0; i < HVRI_ARRAY_LEN(asked); i++)
		ck_assert_msg(asked[i]() == HVREPL_E_POISONED,
			      "call %zu gives %d", i, asked[i]());
	/* Not even when it ends. */
	world_close(&w);
	ck_assert_uint_eq(w.sim.io_count, changes);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	world_check(&w);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	world_check(&w);
}
END_TEST

/* What it is asked for while it works must have been possible but for that. */
START_TEST(most_of_it_would_have_been_done)
{
	unsigned done = 0;

	for (size_t i = 0; i < HVRI_ARRAY_LEN(asked); i++)
		done += asked[i]() == HVREPL_OK;
	ck_assert_uint_ge(done, 10);
	world_settle(&w);
}
END_TEST

START_TEST(a_journal_that_somebody_else_writes_to_stops_its_store)
{
	hvrepl_store *first = w.store;

	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	ck_assert_int_eq(hvri_store_set_blob(first, "x", 1), HVREPL_E_FENCED);
	ck_assert(hvri_store_poisoned(first));
	ck_assert_int_eq(hvri_store_flush(first), HVREPL_E_FENCED);
	ck_assert_int_eq(hvrepl_store_destroy(first), HVREPL_OK);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	world_check(&w);
}
END_TEST

/* The last switch of a commit is half way over disk 0: what the guest writes there
 * goes to the base. */
static void half_way(void)
{
	ck_assert_int_eq(world_failover(&w, world_newest(&w)->key), HVREPL_OK);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
	ck_assert_int_eq(world_guest_flush(&w), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL), HVREPL_OK);
	w.store->refreeze_bytes = 1u << 20;
	while (w.store->frozen == NULL)
		ck_assert_int_eq(hvrepl_store_commit_advance(w.store, &more,
							     NULL),
				 HVREPL_OK);
	for (uint64_t at = 0; at < w.sizes[0] - 4096; at += 12288)
		ck_assert_int_eq(world_guest_change(&w, 0, at, 4096, false),
				 HVREPL_OK);
	while (w.store->state.disks[0].direct == 0)
		ck_assert_int_eq(hvrepl_store_commit_advance(w.store, &more,
							     NULL),
				 HVREPL_OK);
	ck_assert_uint_lt(w.store->state.disks[0].direct, w.sizes[0]);
	ck_assert_int_eq(world_guest_change(&w, 0, 0, 4096, false), HVREPL_OK);
}

/* The n-th flush from here on fails and takes what it was to cover. _i 0: of the commit,
 * which flushes this base too. 1: of the guest of the other disk; that leaves this base
 * alone, so that nobody else has anything to be told. */
START_TEST(a_guest_is_told_that_a_flush_of_the_base_lost_its_writes)
{
	bool lost = false;

	for (unsigned n = 0; n < 16; n++) {
		int32_t rc;

		if (n > 0) {
			teardown();
			setup();
		}
		half_way();
		w.sim.flush_fails = SIM_FLUSH_REVERTS;
		w.sim.flush_fail_at = w.sim.flush_count + n;
		rc = _i == 0 ? hvrepl_store_commit_advance(w.store, &more, NULL) :
			       hvri_view_flush(w.view, 1);
		w.sim.flush_fail_at = UINT64_MAX;
		if (sim_disk_reverts(w.bases[0]) == 0)
			continue;
		lost = true;
		ck_assert_int_lt(rc, 0);
		/* Who keeps what changed hears it once; the guest all the same. */
		ck_assert(!hvri_store_take_base_lost(w.store, 1));
		ck_assert(hvri_store_take_base_lost(w.store, 0));
		ck_assert(!hvri_store_take_base_lost(w.store, 0));
		ck_assert_int_eq(hvri_view_flush(w.view, 0),
				 HVREPL_E_POISONED);
		ck_assert(!hvri_store_take_base_lost(w.store, 0));
		/* Once: what it writes from then on is there. */
		ck_assert_int_eq(world_guest_change(&w, 0, 0, 4096, false),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_view_flush(w.view, 0), HVREPL_OK);
	}
	ck_assert(lost == (_i == 0));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("poisoned stores");
	TCase *tcase = tcase_create("poisoned stores");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, nothing_is_changed_until_it_is_opened_again);
	tcase_add_test(tcase, most_of_it_would_have_been_done);
	tcase_add_test(tcase,
		       a_journal_that_somebody_else_writes_to_stops_its_store);
	tcase_add_loop_test(tcase,
			    a_guest_is_told_that_a_flush_of_the_base_lost_its_writes,
			    0, 2);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
