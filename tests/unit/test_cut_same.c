/* SPDX-License-Identifier: Apache-2.0 */
/* A cut that leaves out what the replica has already, of data, of zeroes that are read
 * and of holes that the disk knows of. */
#include "cutbed.h"

#include "format/wire.h"
#include "tracker/cut.h"

#define GRANULE HVRI_DIGEST_GRANULE

static uint8_t replica[SIZE];
static uint64_t left_out_bytes;

static bool same(void *user, uint32_t of, uint64_t offset, const void *bytes,
		 size_t length)
{
	static const uint8_t zeroes[GRANULE];

	(void)user;
	ck_assert_uint_eq(of, 0);
	ck_assert_uint_eq(offset % GRANULE, 0);
	ck_assert_uint_eq(length, GRANULE);
	/* The instant of the cut, whole. */
	ck_assert_mem_eq(bytes == NULL ? zeroes : bytes,
			 sim_disk_bytes(disk) + offset, length);
	if (memcmp(bytes == NULL ? zeroes : bytes, replica + offset, length) != 0)
		return false;
	left_out_bytes += length;
	return true;
}

static int32_t allocated(void *user, uint64_t offset, uint64_t length,
			 struct hvrepl_extent *extents_out,
			 uint32_t *count_inout, uint64_t *end_out)
{
	const uint8_t *bytes = sim_disk_bytes(user);
	uint64_t end = offset + length, first = offset, past;

	while (first < end && hvri_is_zero(bytes + first, BLOCK))
		first += BLOCK;
	for (past = first; past < end && !hvri_is_zero(bytes + past, BLOCK);)
		past += BLOCK;
	*extents_out = (struct hvrepl_extent){ first, past - first };
	*count_inout = past > first;
	*end_out = past > first ? past : end;
	return HVREPL_OK;
}

static uint64_t below(uint64_t *random, uint64_t limit)
{
	return test_random(random) % limit;
}

static void change(uint64_t *random)
{
	for (unsigned i = 0; i < 12; i++) {
		uint64_t unit = i % 3 == 0 ? BLOCK : GRANULE;
		uint64_t offset = below(random, SIZE / unit) * unit;
		uint64_t length =
			(1 + below(random, i % 4 == 0 ? 20 : 4)) * unit;

		write_at(offset, HVRI_MIN(length, SIZE - offset),
			 i % 2 == 0 ? 0 : 1 + below(random, 1000));
	}
	/* Some of it was there before: half of the granules, at random. */
	for (uint64_t at = 0; at < SIZE; at += GRANULE)
		if (below(random, 2) == 0)
			memcpy(replica + at, sim_disk_bytes(disk) + at, GRANULE);
}

START_TEST(what_the_replica_has_is_left_out_and_the_rest_makes_it_whole)
{
	uint64_t random = 7, all_left_out = 0;

	open_all(64 << 20, 0);
	memset(replica, 0, sizeof(replica));
	if (_i == 1)
		tracker->disk.ops.allocated = allocated;
	for (unsigned round = 0; round < 30; round++) {
		uint64_t changed;
		hvrepl_cut *cut;

		change(&random);
		changed = dirty();
		cut = make_cut();
		hvri_cut_set_filter(cut, same, NULL, NULL);
		left_out_bytes = 0;
		ck_assert_int_eq(spool(cut), HVREPL_OK);
		ck_assert_uint_eq(apply(cut, replica) + left_out_bytes, changed);
		ck_assert_mem_eq(replica, sim_disk_bytes(disk), SIZE);
		all_left_out += left_out_bytes;
		/* What was left out is nowhere to be read from. */
		ck_assert_int_eq(hvrepl_cut_read(cut, 0, 0, replica, BLOCK),
				 HVREPL_E_STATE);
		ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
		ck_assert_uint_eq(dirty(), 0);
	}
	ck_assert_uint_gt(all_left_out, 2 << 20);
}
END_TEST

/* Nothing is left out for good of a cut that was given up. */
START_TEST(what_was_left_out_of_a_cancelled_cut_is_still_to_be_shipped)
{
	hvrepl_cut *cut;

	open_all(64 << 20, 0);
	write_at(0, 2 * GRANULE, 1);
	memcpy(replica, sim_disk_bytes(disk), SIZE);
	cut = make_cut();
	hvri_cut_set_filter(cut, same, NULL, NULL);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_uint_eq(apply(cut, replica), 0);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 2 * GRANULE);
}
END_TEST

/* A cut that finds no memory goes on when there is some, or is given up as a whole, and
 * the next one has it all. */
START_TEST(a_cut_that_no_memory_is_left_for_forgets_nothing)
{
	bool failed = true;

	for (long n = 0; failed; n++) {
		uint64_t random = 11, changed;
		hvrepl_cut *cut;
		int32_t rc;

		setup();
		open_all(64 << 20, 0);
		memset(replica, 0, sizeof(replica));
		change(&random);
		changed = dirty();
		cut = make_cut();
		hvri_cut_set_filter(cut, same, NULL, NULL);
		env.alloc_fail_at = n;
		rc = spool(cut);
		failed = env.alloc_fail_at < 0;
		env.alloc_fail_at = -1;
		ck_assert(rc == HVREPL_OK || failed);
		if (rc == HVREPL_E_NOMEM &&
		    state_of(cut) != HVREPL_CUT_VOIDED) {
			ck_assert_int_eq(spool(cut), HVREPL_OK);
		} else if (rc != HVREPL_OK) {
			ck_assert_int_eq(state_of(cut), HVREPL_CUT_VOIDED);
			ck_assert_int_eq(
				hvrepl_cut_close(cut, HVREPL_E_CANCELLED),
				HVREPL_OK);
			ck_assert_uint_eq(dirty(), changed);
			cut = make_cut();
			ck_assert_int_eq(spool(cut), HVREPL_OK);
		}
		(void)apply(cut, replica);
		ck_assert_mem_eq(replica, sim_disk_bytes(disk), SIZE);
		ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
		teardown();
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cut-same");
	TCase *tcase = tcase_create("cut-same");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(
		tcase,
		what_the_replica_has_is_left_out_and_the_rest_makes_it_whole, 0,
		2);
	tcase_add_test(
		tcase,
		what_was_left_out_of_a_cancelled_cut_is_still_to_be_shipped);
	suite_add_tcase(suite, tcase);
	tcase = tcase_create("memory");
	tcase_add_test(tcase, a_cut_that_no_memory_is_left_for_forgets_nothing);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
