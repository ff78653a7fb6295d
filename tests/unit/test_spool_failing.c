/* SPDX-License-Identifier: Apache-2.0 */
/* The spool while something is short or another thread is in it: libzstd, memory, the
 * spill. A cut that cannot be kept is given up, and what is read is its instant. */
#include "cutbed.h"
#include "failing.h"

#include "tracker/cut.h"

static uint8_t then[SIZE], image[SIZE];
static hvrepl_cut *cut;

static void write_some(void)
{
	write_at(0, 300000, 1);
	write_at(1 << 20, 40000, 2);
	memcpy(then, sim_disk_bytes(disk), SIZE);
	cut = make_cut();
}

static void close_whole(void)
{
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 0);
}

START_TEST(a_chunk_that_cannot_be_packed_costs_the_cut)
{
	unsigned voided = 0, unchanged = 0;
	bool failed = true;

	open_all(0, 0);
	group->level = 1;
	write_some();
	for (long n = 0; failed; n++) {
		int32_t rc;

		failing_arm(n, false);
		rc = spool(cut);
		failed = failing.failed > 0;
		failing_arm(-1, false);
		ck_assert_int_eq(rc < 0, failed);
		unchanged += rc == HVREPL_E_NOMEM;
		if (!failed || rc == HVREPL_E_NOMEM)
			continue;
		voided++;
		ck_assert_int_eq(rc, HVREPL_E_VOIDED);
		ck_assert_uint_ge(dirty(), 340000);
		ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK),
				 HVREPL_E_VOIDED);
		cut = make_cut();
	}
	ck_assert(voided > 0 && unchanged > 0);
	memset(image, 0, sizeof(image));
	(void)apply(cut, image);
	ck_assert_mem_eq(image, then, SIZE);
	close_whole();
}
END_TEST

START_TEST(a_chunk_that_cannot_be_unpacked_is_read_another_time)
{
	bool failed = true;
	unsigned refused = 0;

	open_all(0, 0);
	group->level = 1;
	write_at(0, 100 * BLOCK, 1);
	put(0, 100 * BLOCK, 0);
	/* It can be packed, and is no zero. */
	for (uint64_t i = 0; i < 100; i++)
		put(i * BLOCK, 512, 7);
	memcpy(then, sim_disk_bytes(disk), SIZE);
	cut = make_cut();
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	for (long n = 0; failed; n++) {
		int32_t rc;

		memset(image, 0, sizeof(image));
		failing_arm(n, false);
		rc = hvrepl_cut_read(cut, 0, 0, image, 100 * BLOCK);
		failed = failing.failed > 0;
		failing_arm(-1, false);
		ck_assert_int_eq(rc < 0, failed);
		refused += failed;
		if (rc == HVREPL_OK)
			ck_assert_mem_eq(image, then, SIZE);
	}
	ck_assert_uint_gt(refused, 0);
	close_whole();
}
END_TEST

/* What the replica has is let go, and is nowhere any more. */
START_TEST(what_was_released_is_not_read_any_more)
{
	open_all(0, 0);
	write_some();
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 0, image, BLOCK), HVREPL_OK);
	hvri_cut_release_through(cut, 0, 0);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 0, image, 200 * BLOCK),
			 HVREPL_E_STATE);
	close_whole();
}
END_TEST

/* ---- Another thread, while this one is in the spill. ---- */

static void (*inside)(void);
static unsigned inside_at;

static void hook(void *argument)
{
	void (*now)(void) = inside;

	(void)argument;
	if (now == NULL || inside_at-- > 0)
		return;
	inside = NULL;
	now();
}

static void come_in(void (*what)(void), unsigned n)
{
	inside = what;
	inside_at = n;
	sim.hook = hook;
}

static void release_all(void)
{
	hvri_cut_release_through(cut, 0, 1000);
}

START_TEST(a_chunk_that_is_not_packed_yet_is_not_released)
{
	open_all(1000, 8 << 20);
	write_some();
	/* Read, the spill opened, the first chunk about to be written. */
	come_in(release_all, 2);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_ptr_null(inside);
	memset(image, 0, sizeof(image));
	(void)apply(cut, image);
	ck_assert_mem_eq(image, then, SIZE);
	close_whole();
}
END_TEST

static void bring_the_first(void)
{
	const uint8_t *bytes;
	uint32_t length;

	ck_assert_int_eq(hvri_cut_chunk(cut, 0, 0, &bytes, &length), HVREPL_OK);
}

START_TEST(a_chunk_that_two_threads_bring_back_is_there_once)
{
	struct hvri_group_counts counts;
	const uint8_t *bytes;
	uint32_t length;

	open_all(1000, 8 << 20);
	write_some();
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	come_in(bring_the_first, 0);
	ck_assert_int_eq(hvri_cut_chunk(cut, 0, 0, &bytes, &length), HVREPL_OK);
	ck_assert_ptr_null(inside);
	hvri_group_count(group, &counts);
	ck_assert_uint_eq(counts.memory, length);
	close_whole();
}
END_TEST

static long short_at;
static bool fell_short;

static void advance_short(void)
{
	uint32_t progress;

	env.alloc_fail_at = short_at;
	(void)!hvrepl_cut_advance(cut, 1, &progress);
	fell_short = env.alloc_fail_at < 0;
	env.alloc_fail_at = -1;
}

/* A chunk goes beyond the budget rather than wait; without memory for that the cut
 * is given up. */
START_TEST(while_the_spill_is_being_opened_a_chunk_stays_in_memory)
{
	bool voided = false, kept = false;

	open_all(1000, 8 << 20);
	write_some();
	fell_short = true;
	for (short_at = 0; fell_short; short_at++) {
		int32_t rc;

		/* The read, then the opening. */
		come_in(advance_short, 1);
		rc = spool(cut);
		ck_assert_ptr_null(inside);
		if (rc < 0) {
			ck_assert_int_eq(rc, HVREPL_E_VOIDED);
			ck_assert(fell_short);
			voided = true;
			ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK),
					 HVREPL_E_VOIDED);
		} else {
			memset(image, 0, sizeof(image));
			(void)apply(cut, image);
			ck_assert_mem_eq(image, then, SIZE);
			kept |= !fell_short;
			ck_assert_int_eq(hvrepl_cut_close(
						 cut, HVREPL_E_CANCELLED),
					 HVREPL_OK);
		}
		ck_assert_uint_ge(dirty(), 340000);
		cut = make_cut();
	}
	ck_assert(voided && kept);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("spool failing");
	TCase *tcase = tcase_create("all");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_chunk_that_cannot_be_packed_costs_the_cut);
	tcase_add_test(tcase,
		       a_chunk_that_cannot_be_unpacked_is_read_another_time);
	tcase_add_test(tcase, what_was_released_is_not_read_any_more);
	tcase_add_test(tcase, a_chunk_that_is_not_packed_yet_is_not_released);
	tcase_add_test(tcase, a_chunk_that_two_threads_bring_back_is_there_once);
	tcase_add_test(tcase,
		       while_the_spill_is_being_opened_a_chunk_stays_in_memory);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
