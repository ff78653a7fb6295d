/* SPDX-License-Identifier: Apache-2.0 */
/* The map of an overlay: what was flushed is there, also where storage lost a
 * write of the map, or put it elsewhere, without a word. */
#include "sim.h"
#include "testing.h"

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

static void setup(void)
{
	struct hvrepl_storage handle;
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	test_env_init(&env, 1);
	ck_assert_int_eq(hvri_env_copy(&inner, &env.env, &error),
			 HVREPL_OK);
	sim_init(&sim, 1);
	files = sim_storage_new(&sim);
	handle = sim_storage_handle(files);
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
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
