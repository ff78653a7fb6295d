/* SPDX-License-Identifier: Apache-2.0 */
/* Rules L1, L2: the first content goes straight into the base, by windows. */
#include "storeworld.h"

#include <stdlib.h>
#include <string.h>

static struct world w;

static void setup(void)
{
	world_init(&w, 21);
	w.change_blocks = 0;
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
}

static void teardown(void)
{
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
}

static void reopen(void)
{
	world_close(&w);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
}

/* A cut with the blocks of [from, to) of each disk. */
static void window(uint64_t from, uint64_t to, uint64_t number)
{
	for (unsigned d = 0; d < WORLD_DISKS; d++)
		for (uint64_t at = from; at < to && at < w.sizes[d]; at += 4096)
			if (at / 4096 % 3 != 0)
				test_fill(w.primary.bytes[d] + at,
					  HVRI_MIN(4096u, w.sizes[d] - at),
					  at + number);
	w.last_number = number - 1;
	world_make_cut_of(&w, from, to);
}

static void append(unsigned disk, uint32_t first, uint32_t past)
{
	for (uint32_t i = first; i < past; i++)
		ck_assert_int_eq(hvri_store_segment_append(
					 w.store, disk, w.cut.chunks[disk][i],
					 w.cut.lengths[disk][i]),
				 HVREPL_OK);
}

static uint32_t begin(unsigned disk)
{
	uint32_t next;

	ck_assert_int_eq(hvri_store_segment_begin(w.store, disk,
						  w.cut.header[disk], &next,
						  NULL),
			 HVREPL_OK);
	return next;
}

static void end(void)
{
	for (unsigned d = 0; d < WORLD_DISKS; d++)
		ck_assert_int_eq(hvri_store_segment_end(w.store, d,
							w.cut.counts[d],
							w.cut.root[d]),
				 HVREPL_OK);
}

static void forget_cut(void)
{
	free(w.cut.image);
	w.cut.pending = false;
}

START_TEST(windows_resume_at_the_last_durable_chunk)
{
	uint64_t frontiers[WORLD_DISKS] = { 32768, 32768 };
	struct hvri_store_partial partial;
	struct hvrepl_store_info info;

	window(0, 32768, 1);
	ck_assert_uint_gt(w.cut.counts[0], 2);
	(void)begin(0);
	(void)begin(1);
	append(0, 0, 2);
	ck_assert_int_eq(hvri_store_flush(w.store), HVREPL_OK);
	append(1, 0, 1);
	/* Lost with the process: never reported durable. */
	reopen();
	hvri_store_info(w.store, &info);
	ck_assert_uint_eq(info.state, HVREPL_STORE_INITIAL);
	ck_assert_int_eq(hvri_store_partial(w.store, 0, &partial), HVREPL_OK);
	ck_assert_uint_eq(partial.durable, 2);
	ck_assert_uint_eq(begin(0), 2);
	ck_assert_uint_eq(begin(1), 0);
	append(0, 2, w.cut.counts[0]);
	append(1, 0, w.cut.counts[1]);
	end();
	ck_assert_int_eq(hvri_store_window_commit(w.store, &w.cut.cut,
						  frontiers, NULL),
			 HVREPL_OK);
	forget_cut();
	reopen();
	ck_assert_int_eq(hvri_store_partial(w.store, 0, &partial),
			 HVREPL_E_NOT_FOUND);
	ck_assert_uint_eq(partial.frontier, 32768);
	/* The rest, and dirty blocks behind the frontier: all again. */
	window(0, WORLD_SIZE_MAX, 2);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	for (unsigned d = 0; d < WORLD_DISKS; d++)
		ck_assert_mem_eq(sim_disk_bytes(w.bases[d]), w.primary.bytes[d],
				 w.sizes[d]);
	world_check(&w);
	ck_assert_int_eq(hvri_store_window_commit(w.store, &w.cut.cut,
						  frontiers, NULL),
			 HVREPL_E_STATE);
	reopen();
	world_check(&w);
	w.change_blocks = 5;
	ck_assert_int_eq(world_send(&w), HVREPL_OK);
	world_check(&w);
}
END_TEST

START_TEST(an_incomplete_cut_makes_no_point)
{
	struct hvri_store_point_commit commit = { .number = 1 };
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	window(0, WORLD_SIZE_MAX, 1);
	commit.cut = w.cut.cut;
	commit.epoch = w.epoch;
	(void)begin(0);
	append(0, 0, w.cut.counts[0]);
	ck_assert_int_eq(hvri_store_point_commit(w.store, &commit, NULL,
						 &error),
			 HVREPL_E_STATE);
	ck_assert_uint_gt(strlen(error.sentence), 0);
	/* One chunk short: the segment starts over. */
	(void)begin(1);
	ck_assert_int_eq(hvri_store_segment_end(w.store, 1, w.cut.counts[1],
						w.cut.root[1]),
			 w.cut.counts[1] == 0 ? HVREPL_OK : HVREPL_E_CORRUPT);
	ck_assert_uint_eq(begin(0), 0);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	world_check(&w);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store-initial");
	TCase *tcase = tcase_create("store-initial");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, windows_resume_at_the_last_durable_chunk);
	tcase_add_test(tcase, an_incomplete_cut_makes_no_point);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
