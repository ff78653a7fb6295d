/* SPDX-License-Identifier: Apache-2.0 */
/* The map of an overlay: what was flushed is there, also where storage lost a
 * write of the map, or put it elsewhere, without a word. */
#include "sim.h"
#include "testing.h"

#include "base/cursor.h"
#include "base/digest.h"
#include "base/env.h"
#include "store/overlay.h"

#include <string.h>

#define BLOCKS 600u
#define SIZE ((uint64_t)BLOCKS * HVRI_OVERLAY_BLOCK)
#define MAP "store.map.0000000000000007.00"
#define STRIPE 65536u

static struct test_env env;
static struct hvri_env inner;
static struct sim sim;
static struct sim_storage *files;
static struct hvri_storage storage;
static struct hvri_manifest state;
static struct hvri_overlay *overlay;
static uint64_t used;
static uint8_t expected[BLOCKS]; /* First byte of each block; 0: absent. */

/* Bits of the copies of which these bytes cannot be read. */
static unsigned unreadable;
static uint64_t unreadable_from, unreadable_past;
static struct hvrepl_storage_ops plain;

static int32_t read_some(void *user, hvrepl_op *op, void *object,
			 uint64_t offset, void *buffer, size_t length)
{
	if ((unreadable >> (offset / STRIPE % 2) & 1) != 0 &&
	    offset % STRIPE + length > unreadable_from &&
	    offset % STRIPE < unreadable_past)
		return HVREPL_E_STORAGE_IO;
	return plain.read(user, op, object, offset, buffer, length);
}

static void setup(void)
{
	static struct hvrepl_storage_ops ops;
	struct hvrepl_storage handle;
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	test_env_init(&env, 1);
	ck_assert_int_eq(hvri_env_copy(&inner, &env.env, &error),
			 HVREPL_OK);
	sim_init(&sim, 1);
	files = sim_storage_new(&sim);
	handle = sim_storage_handle(files);
	ops = plain = *handle.ops;
	ops.read = read_some;
	handle.ops = &ops;
	unreadable = 0;
	ck_assert_int_eq(hvri_storage_take(&storage, &handle, &error),
			 HVREPL_OK);
	memset(&state, 0, sizeof(state));
	state.disk_count = 1;
	state.disks[0].size = SIZE;
	memset(expected, 0, sizeof(expected));
	used = 0;
	ck_assert_int_eq(hvri_overlay_create(&inner, &storage, &used, 7, true,
					     &state, &overlay),
			 HVREPL_OK);
}

static void teardown(void)
{
	hvri_overlay_unref(overlay);
	overlay = NULL;
	hvri_storage_drop(&storage);
	sim_free(&sim);
	ck_assert_int_eq(env.alloc_live, 0);
}

static int32_t below(void *argument, uint32_t disk, uint64_t offset,
		     void *buffer, size_t length)
{
	(void)argument, (void)disk, (void)offset;
	memset(buffer, 0, length);
	return HVREPL_OK;
}

static void write_block(uint32_t block, uint8_t value)
{
	uint8_t bytes[HVRI_OVERLAY_BLOCK];

	memset(bytes, value, sizeof(bytes));
	ck_assert_int_eq(hvri_overlay_write(overlay, 0,
					    (uint64_t)block * sizeof(bytes),
					    bytes, sizeof(bytes), below, NULL),
			 HVREPL_OK);
	expected[block] = value;
}

static void flush(void)
{
	ck_assert_int_eq(hvri_overlay_flush(overlay), HVREPL_OK);
}

/* Every other block of them, so that each is a change of its own. */
static void write_many(uint32_t first, uint32_t past, uint8_t value)
{
	for (uint32_t i = first; i < past; i += 2)
		write_block(i, value);
	flush();
}

static int32_t open_again(void)
{
	hvri_overlay_unref(overlay);
	overlay = NULL;
	return hvri_overlay_recover(&inner, &storage, &used, 7, &state,
				    &overlay);
}

static void check(void)
{
	for (uint32_t i = 0; i < BLOCKS; i++) {
		uint64_t length = HVRI_OVERLAY_BLOCK;
		uint32_t found = hvri_overlay_run(
			overlay, 0, (uint64_t)i * HVRI_OVERLAY_BLOCK, &length);
		uint8_t byte = 0;

		if (found == HVRI_OVERLAY_DATA)
			ck_assert_int_eq(
				hvri_overlay_read(overlay, 0,
						  (uint64_t)i *
							  HVRI_OVERLAY_BLOCK,
						  &byte, 1),
				HVREPL_OK);
		ck_assert_uint_eq(byte, expected[i]);
	}
}

/* Six flushes; the n-th write of storage from here on goes astray. False: there
 * was none. */
static bool live_astray(uint64_t n, unsigned kind)
{
	sim.stray = kind;
	sim.stray_at = sim.io_count + n;
	sim.stray_in = files;
	for (uint8_t round = 1; round <= 6; round++)
		write_many(round, round + 6u, round);
	return sim.stray == SIM_STRAY_NONE;
}

START_TEST(a_lost_write_of_the_map_loses_no_flushed_block)
{
	unsigned kind = _i < 2 ? SIM_STRAY_LOST : SIM_STRAY_ELSEWHERE;
	bool met = true;
	uint64_t n;

	for (n = 0; met; n++) {
		teardown();
		setup();
		met = live_astray(n, kind);
		sim_restart(&sim, _i % 2 == 0);
		ck_assert_int_eq(open_again(), HVREPL_OK);
		check();
	}
	ck_assert_uint_gt(n, 24);
}
END_TEST

/* What one copy alone had stands twice again once it was opened. */
START_TEST(a_map_with_one_sound_copy_is_mended_when_it_is_opened)
{
	uint64_t size;
	uint8_t *bytes;

	write_many(0, 100, 1);
	write_many(100, 200, 2);
	bytes = sim_object_bytes(files, MAP, &size);
	/* The first byte of the record of the second flush; the one before has
	 * 50 changes. */
	bytes[(unsigned)_i * STRIPE + 512 + 1024] ^= 1;
	ck_assert_int_eq(open_again(), HVREPL_OK);
	check();
	sim.survive_percent = 0;
	sim_restart(&sim, true);
	/* The other copy, and all of that one. */
	bytes = sim_object_bytes(files, MAP, &size);
	memset(bytes + (1u - (unsigned)_i) * STRIPE, 0,
	       HVRI_MIN(size - (1u - (unsigned)_i) * STRIPE, STRIPE));
	ck_assert_int_eq(open_again(), HVREPL_OK);
	check();
	write_block(300, 3);
	flush();
	ck_assert_int_eq(open_again(), HVREPL_OK);
	check();
}
END_TEST

/* Bad in both copies: a tail that tore, or, where something was flushed behind
 * it, damage. */
START_TEST(a_record_bad_in_both_copies_is_the_tail_or_damage)
{
	uint64_t size, first = 512, second = 512 + 1024;
	uint8_t *bytes;

	write_many(0, 100, 1);
	write_many(100, 200, 2);
	bytes = sim_object_bytes(files, MAP, &size);
	bytes[second] ^= 1;
	bytes[second + STRIPE] ^= 1;
	memset(expected + 100, 0, 100);
	ck_assert_int_eq(open_again(), HVREPL_OK);
	check();
	write_many(100, 200, 3);
	bytes = sim_object_bytes(files, MAP, &size);
	bytes[first] ^= 1;
	bytes[first + STRIPE] ^= 1;
	ck_assert_int_eq(open_again(), HVREPL_E_CORRUPT);
}
END_TEST

/* Records over the edges of stripes, and a power loss at any I/O. */
START_TEST(a_map_of_many_stripes_survives_a_power_loss_at_any_io)
{
	for (uint64_t at = 0, ended = 0; !ended; at += 1 + at / 3) {
		uint8_t kept[BLOCKS];
		bool flushed = true;

		teardown();
		setup();
		for (uint8_t round = 1; round <= 30; round++)
			write_many(0, BLOCKS, round);
		memcpy(kept, expected, sizeof(kept));
		sim.crash_at = sim.io_count + at;
		for (uint32_t i = 1; i < BLOCKS && flushed; i += 2) {
			uint8_t bytes[HVRI_OVERLAY_BLOCK];

			memset(bytes, 99, sizeof(bytes));
			flushed = hvri_overlay_write(
					  overlay, 0,
					  (uint64_t)i * sizeof(bytes), bytes,
					  sizeof(bytes), below,
					  NULL) == HVREPL_OK;
			if (i % 40 != 39 || !flushed)
				continue;
			flushed = hvri_overlay_flush(overlay) == HVREPL_OK;
			for (uint32_t k = 1; k <= i && flushed; k += 2)
				kept[k] = 99;
		}
		ended = !sim.crashed;
		sim_restart(&sim, true);
		ck_assert_int_eq(open_again(), HVREPL_OK);
		for (uint32_t i = 0; i < BLOCKS; i++) {
			uint64_t length = HVRI_OVERLAY_BLOCK;

			if (kept[i] != 0)
				ck_assert_uint_eq(
					hvri_overlay_run(
						overlay, 0,
						(uint64_t)i *
							HVRI_OVERLAY_BLOCK,
						&length),
					HVRI_OVERLAY_DATA);
		}
		write_many(0, BLOCKS, 77);
		ck_assert_int_eq(open_again(), HVREPL_OK);
	}
}
END_TEST

static uint8_t *record_of(uint64_t at, unsigned copy)
{
	uint64_t size;

	return sim_object_bytes(files, MAP, &size) + copy * STRIPE + at;
}

/* The last record ends where the object does; the next begins a stripe. */
START_TEST(a_map_that_fills_its_stripes_to_the_last_byte_is_whole)
{
	uint8_t flushed = 0;

	for (uint64_t size = 0; size != 2 * STRIPE; flushed++) {
		ck_assert_uint_lt(flushed, STRIPE / 512);
		write_block(flushed, (uint8_t)(flushed + 1));
		flush();
		(void)sim_object_bytes(files, MAP, &size);
	}
	ck_assert_int_eq(open_again(), HVREPL_OK);
	check();
	/* A tail that says that it goes on behind the end tore. */
	record_of(STRIPE - 512, 0)[4] = record_of(STRIPE - 512, 1)[4] = 200;
	expected[flushed - 1u] = 0;
	ck_assert_int_eq(open_again(), HVREPL_OK);
	check();
	write_block(500, 1);
	flush();
	write_block(501, 1);
	flush();
	ck_assert_int_eq(open_again(), HVREPL_OK);
	check();
}
END_TEST

static int32_t open_without(unsigned copies, uint64_t from, uint64_t past)
{
	int32_t rc;

	unreadable = copies;
	unreadable_from = from;
	unreadable_past = past;
	rc = open_again();
	unreadable = 0;
	return rc;
}

/* A bad sector under one copy: the other one serves, and the map stands twice
 * again afterwards. */
START_TEST(a_map_of_which_one_copy_cannot_be_read_is_opened)
{
	unsigned copy = (unsigned)_i;

	write_many(0, 100, 1);
	write_many(100, 200, 2);
	ck_assert_int_eq(open_without(3, 0, 512), HVREPL_E_STORAGE_IO);
	ck_assert_int_eq(open_without(3, 512 + 1024, STRIPE),
			 HVREPL_E_STORAGE_IO);
	memset(record_of(512, copy), 0, 1024);
	ck_assert_int_eq(open_without(1u << copy, 0, 512 + 2 * 1024),
			 HVREPL_OK);
	check();
	sim.survive_percent = 0;
	sim_restart(&sim, true);
	memset(record_of(512, 1u - copy), 0, 1024);
	ck_assert_int_eq(open_again(), HVREPL_OK);
	check();
}
END_TEST

/* Whether there is a record, nobody can say: it is not taken for the end. */
START_TEST(a_record_that_is_bad_here_and_cannot_be_read_there_is_no_end)
{
	write_many(0, 100, 1);
	write_many(100, 200, 2);
	*record_of(512 + 1024, 1u - (unsigned)_i) ^= 1;
	ck_assert_int_eq(open_without(1u << _i, 512, STRIPE),
			 HVREPL_E_STORAGE_IO);
	ck_assert_int_eq(open_again(), HVREPL_OK);
	check();
}
END_TEST

/* Behind a tail that tore either copy tells whether more was flushed. */
START_TEST(what_lies_behind_a_torn_tail_is_looked_for_in_both_copies)
{
	uint64_t tail = 512 + 1024;

	write_many(0, 100, 1);
	write_many(100, 200, 2);
	write_many(200, 202, 3);
	for (unsigned copy = 0; copy < 2; copy++)
		*record_of(tail, copy) ^= 1;
	ck_assert_int_eq(open_without(1u << _i, tail + 512, STRIPE),
			 HVREPL_E_CORRUPT);
	for (unsigned copy = 0; copy < 2; copy++)
		*record_of(tail + 1024, copy) ^= 1;
	memset(expected + 100, 0, 102);
	ck_assert_int_eq(open_without(3, tail + 512, STRIPE),
			 HVREPL_E_STORAGE_IO);
	ck_assert_int_eq(open_without(1u << _i, tail + 512, STRIPE), HVREPL_OK);
	check();
}
END_TEST

static void sign(uint8_t *record)
{
	struct hvri_part parts[] = { { record, 48 }, { record + 64, 16 } };

	hvri_xxh3(parts, 2, record + 48);
}

/* Of a version to come. _i: the copy that has it, beside one that is bad; and behind a
 * record that is bad in both, or in its place. It is no tail to cut. */
START_TEST(a_record_of_a_newer_version_is_left_as_it_is)
{
	static uint8_t before[4 * STRIPE];
	uint64_t at = _i / 2 == 0 ? 512 : 1024, size, now;
	unsigned copy = (unsigned)_i % 2;
	const uint8_t *bytes;

	for (uint8_t i = 0; i < 2; i++) {
		write_block(i, 1);
		flush();
	}
	for (unsigned c = 0; c < 2; c++)
		*record_of(512, c) ^= (uint8_t)(_i / 2 != 0);
	record_of(at, copy)[36] = 3;
	sign(record_of(at, copy));
	*record_of(at, 1 - copy) ^= 1;
	bytes = sim_object_bytes(files, MAP, &size);
	ck_assert_uint_le(size, sizeof(before));
	memcpy(before, bytes, size);
	ck_assert_int_eq(open_again(), HVREPL_E_FORMAT_TOO_NEW);
	bytes = sim_object_bytes(files, MAP, &now);
	ck_assert_uint_eq(now, size);
	ck_assert_mem_eq(bytes, before, size);
}
END_TEST

/* One of them is of before, and nothing tells which: neither counts silently. */
START_TEST(two_sound_copies_of_a_record_that_differ_are_damage)
{
	write_block(0, 1);
	flush();
	write_block(1, 1);
	flush();
	record_of(512u * (1u + (unsigned)_i / 2), (unsigned)_i % 2)[64] += 7;
	sign(record_of(512u * (1u + (unsigned)_i / 2), (unsigned)_i % 2));
	ck_assert_int_eq(open_again(), HVREPL_E_CORRUPT);
}
END_TEST

/* The second of `total` records of that batch, or the first. */
static void make_record(uint8_t *record, const uint8_t *of_batch,
			uint8_t index, uint8_t total)
{
	memcpy(record + 8, of_batch + 8, 8);
	record[16] = index;
	record[20] = total;
	sign(record);
}

/* _i 0: its batch begins with another number. 1: it has more records than its
 * beginning says. */
START_TEST(a_record_that_does_not_go_on_from_the_one_before_is_a_torn_tail)
{
	write_block(0, 1);
	flush();
	write_block(1, 1);
	flush();
	for (unsigned copy = 0; copy < 2; copy++) {
		uint8_t *first = record_of(512, copy);
		uint8_t *second = record_of(1024, copy);

		if (_i == 0) {
			make_record(second, second, 1, 2);
		} else {
			make_record(first, first, 0, 2);
			make_record(second, first, 1, 3);
		}
	}
	expected[1] = 0;
	ck_assert_int_eq(open_again(), HVREPL_OK);
	check();
	write_block(2, 5);
	flush();
	ck_assert_int_eq(open_again(), HVREPL_OK);
	check();
}
END_TEST

/* The cut is where a stripe begins: nothing of copy 0 lies behind it. */
START_TEST(a_torn_tail_that_begins_a_stripe_goes_with_its_stripes)
{
	uint64_t size = 0;

	for (uint8_t flushed = 0; size != 2 * STRIPE; flushed++) {
		write_block(flushed, (uint8_t)(flushed + 1));
		flush();
		(void)sim_object_bytes(files, MAP, &size);
	}
	write_block(300, 1);
	flush();
	write_block(301, 1);
	flush();
	for (unsigned copy = 0; copy < 2; copy++) {
		uint8_t *torn = record_of(2 * STRIPE, copy);

		make_record(torn + 512, torn, 1, 2);
		torn[0] ^= 1;
	}
	expected[300] = expected[301] = 0;
	ck_assert_int_eq(open_again(), HVREPL_OK);
	check();
	(void)sim_object_bytes(files, MAP, &size);
	ck_assert_uint_eq(size, 2 * STRIPE);
	write_block(302, 1);
	flush();
	ck_assert_int_eq(open_again(), HVREPL_OK);
	check();
}
END_TEST

static const struct {
	uint64_t block;
	uint32_t run, state;
} nonsense[] = {
	{ 0, 0, HVRI_OVERLAY_DATA },
	{ BLOCKS + 1, 1, HVRI_OVERLAY_DATA },
	{ UINT64_MAX, 2, HVRI_OVERLAY_DATA },
	{ BLOCKS - 1, 2, HVRI_OVERLAY_DATA },
	{ 0, UINT32_MAX, HVRI_OVERLAY_ZERO },
	{ 0, 1, HVRI_OVERLAY_ABSENT },
	{ 0, 1, HVRI_OVERLAY_ZERO + 1 },
};

START_TEST(a_change_that_no_map_can_hold_is_damage_whatever_its_digest)
{
	write_block(0, 1);
	flush();
	write_block(1, 1);
	flush();
	for (unsigned copy = 0; copy < 2; copy++) {
		uint8_t *record = record_of(512, copy);
		struct hvri_writer writer = hvri_writer_over(record + 64, 16);

		hvri_write_u64(&writer, nonsense[_i].block);
		hvri_write_u32(&writer, nonsense[_i].run);
		hvri_write_u32(&writer, nonsense[_i].state);
		sign(record);
	}
	ck_assert_int_eq(open_again(), HVREPL_E_CORRUPT);
}
END_TEST

/* What cannot be read is no reason to drop anything, and a copy that cannot be
 * mended is mended another time. */
START_TEST(a_map_is_opened_and_mended_once_its_storage_answers)
{
	struct test_refusals refusals;
	unsigned copy = (unsigned)_i % 2;
	bool refused = _i >= 2, failed = true;

	write_many(0, 100, 1);
	write_many(100, 200, 2);
	*record_of(512 + 1024, copy) ^= 1;
	for (uint64_t n = 0; failed; n++) {
		int32_t rc;

		sim.failed = 0;
		refusals = (struct test_refusals){ 0, n, false };
		sim.refusals = refused ? &refusals : NULL;
		sim.fail_at = refused ? UINT64_MAX : sim.call_count + n;
		rc = open_again();
		sim.fail_at = UINT64_MAX;
		sim.refusals = NULL;
		failed = refused ? refusals.count > n : sim.failed > 0;
		ck_assert(rc == HVREPL_OK || failed);
		if (rc == HVREPL_OK)
			check();
		else
			ck_assert_int_ne(rc, HVREPL_E_CORRUPT);
	}
	ck_assert_int_eq(open_again(), HVREPL_OK);
	check();
	/* By now either copy suffices. */
	*record_of(512 + 1024, 1u - copy) ^= 1;
	ck_assert_int_eq(open_again(), HVREPL_OK);
	check();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("overlay map");
	TCase *tcase = tcase_create("all");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase,
			    a_lost_write_of_the_map_loses_no_flushed_block, 0,
			    4);
	tcase_add_loop_test(
		tcase, a_map_with_one_sound_copy_is_mended_when_it_is_opened, 0,
		2);
	tcase_add_test(tcase,
		       a_record_bad_in_both_copies_is_the_tail_or_damage);
	tcase_add_test(tcase,
		       a_map_of_many_stripes_survives_a_power_loss_at_any_io);
	tcase_add_test(
		tcase, a_map_that_fills_its_stripes_to_the_last_byte_is_whole);
	tcase_add_loop_test(tcase,
			    a_map_of_which_one_copy_cannot_be_read_is_opened, 0,
			    2);
	tcase_add_loop_test(
		tcase,
		a_record_that_is_bad_here_and_cannot_be_read_there_is_no_end, 0,
		2);
	tcase_add_loop_test(
		tcase,
		what_lies_behind_a_torn_tail_is_looked_for_in_both_copies, 0,
		2);
	tcase_add_loop_test(
		tcase,
		a_record_that_does_not_go_on_from_the_one_before_is_a_torn_tail,
		0, 2);
	tcase_add_test(tcase,
		       a_torn_tail_that_begins_a_stripe_goes_with_its_stripes);
	tcase_add_loop_test(tcase,
			    a_record_of_a_newer_version_is_left_as_it_is, 0, 4);
	tcase_add_loop_test(tcase,
			    two_sound_copies_of_a_record_that_differ_are_damage,
			    0, 4);
	tcase_add_loop_test(
		tcase,
		a_change_that_no_map_can_hold_is_damage_whatever_its_digest, 0,
		HVRI_ARRAY_LEN(nonsense));
	tcase_add_loop_test(
		tcase, a_map_is_opened_and_mended_once_its_storage_answers, 0,
		4);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
