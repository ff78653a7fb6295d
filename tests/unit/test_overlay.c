/* SPDX-License-Identifier: Apache-2.0 */
/* The map of an overlay beyond one page and one record: what was flushed is there
 * after a crash anywhere, and damage of what was flushed is not taken for a torn tail. */
#include "store/overlay.h"
#include "store/overlay_map.h"

#include "sim.h"
#include "testing.h"

#include <stdio.h>
#include <string.h>

#define BLOCK ((uint64_t)HVRI_OVERLAY_BLOCK)
#define BLOCKS (3u * PAGE_BLOCKS / 2u) /* A page and a half. */
#define STRIDES 2100u /* Separate changes: more than one record takes. */

static struct test_env test;
static struct hvri_env env;
static struct sim sim;
static struct sim_storage *objects;
static struct hvri_storage storage;
static struct hvri_manifest state;
static struct hvri_overlay *overlay;
static uint64_t used;

static int32_t nothing_below(void *argument, uint32_t disk, uint64_t offset,
			     void *buffer, size_t length)
{
	(void)argument, (void)disk, (void)offset;
	memset(buffer, 'b', length);
	return HVREPL_OK;
}

static void setup(void)
{
	struct hvrepl_storage handle;

	test_env_init(&test, 4);
	sim_init(&sim, 4);
	objects = sim_storage_new(&sim);
	handle = sim_storage_handle(objects);
	ck_assert_int_eq(hvri_env_copy(&env, &test.env, NULL), HVREPL_OK);
	ck_assert_int_eq(hvri_storage_take(&storage, &handle, NULL), HVREPL_OK);
	memset(&state, 0, sizeof(state));
	state.disk_count = 1;
	state.disks[0].size = BLOCKS * BLOCK;
	used = 0;
	ck_assert_int_eq(hvri_overlay_create(&env, &storage, &used, 1, true,
					     &state, &overlay),
			 HVREPL_OK);
}

static void teardown(void)
{
	hvri_overlay_unref(overlay);
	hvri_storage_drop(&storage);
	sim_free(&sim);
	ck_assert_int_eq(test.alloc_live, 0);
	ck_assert_uint_eq(used, 0);
}

static int32_t zero(uint64_t block, uint64_t count)
{
	return hvri_overlay_zero(overlay, 0, block * BLOCK, count * BLOCK,
				 nothing_below, NULL);
}

/* Every other block of the first ones, in two records of the map. */
static void scatter(uint64_t from)
{
	for (uint64_t i = 0; i < STRIDES; i++)
		ck_assert_int_eq(zero(from + 2 * i, 1), HVREPL_OK);
}

static bool is_zero(uint64_t block)
{
	uint64_t one = 1;

	return hvri_overlay_run(overlay, 0, block * BLOCK, &one) ==
	       HVRI_OVERLAY_ZERO;
}

static int32_t recover(void)
{
	hvri_overlay_unref(overlay);
	overlay = NULL;
	return hvri_overlay_recover(&env, &storage, &used, 1, &state, &overlay);
}

static void recovered(bool power)
{
	sim.crashed = true;
	hvri_overlay_unref(overlay);
	overlay = NULL;
	sim_restart(&sim, power);
	ck_assert_int_eq(recover(), HVREPL_OK);
}

START_TEST(a_run_ends_where_the_next_page_holds_nothing)
{
	uint64_t length = BLOCKS * BLOCK;
	struct hvrepl_extent next;

	ck_assert_int_eq(zero(PAGE_BLOCKS - 4, 4), HVREPL_OK);
	ck_assert_uint_eq(hvri_overlay_run(overlay, 0, (PAGE_BLOCKS - 4) * BLOCK,
					   &length),
			  HVRI_OVERLAY_ZERO);
	ck_assert_uint_eq(length, 4 * BLOCK);
	length = BLOCKS * BLOCK;
	ck_assert_uint_eq(hvri_overlay_run(overlay, 0, 0, &length),
			  HVRI_OVERLAY_ABSENT);
	ck_assert_uint_eq(length, (PAGE_BLOCKS - 4) * BLOCK);
	hvri_overlay_next(overlay, 0, 0, UINT64_MAX, &next);
	ck_assert_uint_eq(next.offset, (PAGE_BLOCKS - 4) * BLOCK);
	ck_assert_uint_eq(next.length, 4 * BLOCK);
	/* Over the edge, and to the very end of the first page. */
	ck_assert_int_eq(zero(PAGE_BLOCKS, 2), HVREPL_OK);
	length = BLOCKS * BLOCK;
	(void)hvri_overlay_run(overlay, 0, (PAGE_BLOCKS - 4) * BLOCK, &length);
	ck_assert_uint_eq(length, 6 * BLOCK);
	ck_assert_int_eq(hvri_overlay_flush(overlay), HVREPL_OK);
	recovered(true);
	for (uint64_t i = PAGE_BLOCKS - 4; i < PAGE_BLOCKS + 2; i++)
		ck_assert(is_zero(i));
	ck_assert(!is_zero(PAGE_BLOCKS - 5));
	ck_assert(!is_zero(PAGE_BLOCKS + 2));
}
END_TEST

START_TEST(a_flush_of_many_changes_is_there_as_a_whole_or_refused)
{
	bool failed = true;

	for (uint64_t n = 0; failed; n++) {
		int32_t rc;

		if (n > 0)
			setup();
		scatter(0);
		sim.failed = 0;
		sim.fail_code = HVREPL_E_STORAGE_IO;
		sim.fail_at = sim.call_count + n;
		rc = hvri_overlay_flush(overlay);
		failed = sim.failed > 0;
		sim.fail_at = UINT64_MAX;
		ck_assert_int_eq(rc, failed ? HVREPL_E_STORAGE_IO : HVREPL_OK);
		/* Nobody knows what is durable: no flush ends well any more. */
		if (failed) {
			ck_assert_int_lt(hvri_overlay_flush(overlay), 0);
			ck_assert_int_lt(zero(BLOCKS - 2, 1), 0);
		}
		recovered(true);
		for (uint64_t i = 0; i < STRIDES && !failed; i++) {
			ck_assert(is_zero(2 * i));
			ck_assert(!is_zero(2 * i + 1));
		}
		if (failed)
			teardown();
	}
}
END_TEST

/* Power is lost at every I/O of the flush; what came before is there, and what is
 * flushed after the recovery follows it. */
START_TEST(a_flush_torn_anywhere_costs_nothing_that_was_flushed)
{
	bool crashed = true;

	for (uint64_t at = 0; crashed; at++)
		for (unsigned seed = 0; seed < 4; seed++) {
			if (at + seed > 0)
				setup();
			sim.random = at * 77 + seed * 5 + 3;
			ck_assert_int_eq(zero(BLOCKS - 1, 1), HVREPL_OK);
			ck_assert_int_eq(hvri_overlay_flush(overlay), HVREPL_OK);
			scatter(0);
			sim.crash_at = sim.io_count + at;
			(void)!hvri_overlay_flush(overlay);
			crashed = sim.crashed;
			sim.crash_at = UINT64_MAX;
			recovered(true);
			ck_assert(is_zero(BLOCKS - 1));
			for (uint64_t i = 0; i < STRIDES; i++)
				ck_assert(!is_zero(2 * i + 1));
			scatter(1);
			ck_assert_int_eq(hvri_overlay_flush(overlay), HVREPL_OK);
			recovered(true);
			ck_assert(is_zero(BLOCKS - 1));
			for (uint64_t i = 0; i < STRIDES; i++)
				ck_assert(is_zero(2 * i + 1));
			ck_assert_int_eq(recover(), HVREPL_OK);
			teardown();
		}
	setup();
}
END_TEST

static uint8_t *map(uint64_t *size_out)
{
	return sim_object_bytes(objects,
				HVRI_OVERLAY_MAP_PREFIX "0000000000000001.00",
				size_out);
}

/* The log stands twice in the map, in stripes that take turns. */
#define STRIPE 65536u

/* Where byte `at` of the log lies in a copy. */
static uint64_t place_of(unsigned copy, uint64_t at)
{
	return (at / STRIPE * 2 + copy) * STRIPE + at % STRIPE;
}

static uint64_t log_length(void)
{
	uint64_t size;

	(void)map(&size);
	return size % (2 * STRIPE) == 0 ?
		       size / 2 :
		       size / (2 * STRIPE) * STRIPE + size % (2 * STRIPE) -
			       STRIPE;
}

static void flip(uint64_t at)
{
	uint64_t size;

	for (unsigned copy = 0; copy < 2; copy++)
		map(&size)[place_of(copy, at)] ^= 4;
}

/* What lies from `from` on moves to `to`, which is before it. */
static void move_log(uint64_t to, uint64_t from, uint64_t length)
{
	uint64_t size;
	uint8_t *bytes = map(&size);

	for (unsigned copy = 0; copy < 2; copy++)
		for (uint64_t i = 0; from + i < length; i++)
			bytes[place_of(copy, to + i)] =
				bytes[place_of(copy, from + i)];
}

START_TEST(damage_before_a_later_flush_is_damage)
{
	static const uint64_t places[] = { 0, 512 + 70, 512 + 20000, 512 + 33000 };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (i > 0)
			setup();
		scatter(0);
		ck_assert_int_eq(hvri_overlay_flush(overlay), HVREPL_OK);
		ck_assert_int_eq(zero(BLOCKS - 1, 1), HVREPL_OK);
		ck_assert_int_eq(hvri_overlay_flush(overlay), HVREPL_OK);
		hvri_overlay_unref(overlay);
		overlay = NULL;
		flip(places[i]);
		/* Also while it cannot be read: damage is not told then. */
		for (uint64_t n = 0;; n++) {
			int32_t rc;

			sim.failed = 0;
			sim.fail_code = HVREPL_E_STORAGE_IO;
			sim.fail_at = sim.call_count + n;
			sim.fail_on = true;
			rc = recover();
			sim.fail_on = false;
			sim.fail_at = UINT64_MAX;
			ck_assert_int_eq(rc, sim.failed > 0 ?
						     HVREPL_E_STORAGE_IO :
						     HVREPL_E_CORRUPT);
			if (sim.failed == 0)
				break;
		}
		teardown();
	}
	setup();
}
END_TEST

START_TEST(a_torn_tail_goes_also_when_cutting_it_off_fails_at_first)
{
	uint64_t size, before, first;
	const uint8_t *bytes;

	ck_assert_int_eq(zero(3, 1), HVREPL_OK);
	ck_assert_int_eq(hvri_overlay_flush(overlay), HVREPL_OK);
	(void)map(&before);
	first = log_length();
	scatter(100);
	ck_assert_int_eq(hvri_overlay_flush(overlay), HVREPL_OK);
	hvri_overlay_unref(overlay);
	overlay = NULL;
	/* The first record of the last flush; sound ones of it may follow. */
	flip(first + 100);
	for (uint64_t n = 0;; n++) {
		int32_t rc;

		sim.failed = 0;
		sim.fail_code = HVREPL_E_STORAGE_IO;
		sim.fail_at = sim.call_count + n;
		sim.fail_on = true; /* One copy alone would be bridged. */
		rc = recover();
		sim.fail_on = false;
		sim.fail_at = UINT64_MAX;
		if (sim.failed == 0) {
			ck_assert_int_eq(rc, HVREPL_OK);
			break;
		}
		ck_assert_int_eq(rc, HVREPL_E_STORAGE_IO);
	}
	ck_assert(is_zero(3));
	ck_assert(!is_zero(100));
	bytes = map(&size);
	ck_assert_uint_eq(size, before);
	/* Nor does copy 0 keep a record that the next batch could lead to. */
	ck_assert_uint_lt(first, STRIPE);
	for (uint64_t at = first; at < STRIPE; at++)
		ck_assert_uint_eq(bytes[at], 0);
}
END_TEST

/* After a torn batch nothing but the next one follows: not one whose beginning or
 * whose predecessor is gone. */
START_TEST(a_batch_that_lost_the_one_before_it_is_damage)
{
	for (unsigned i = 0; i < 2; i++) {
		struct hvri_object object;
		uint64_t torn, next, size, length;
		char id[HVREPL_OBJECT_ID_MAX + 1];

		if (i > 0)
			setup();
		torn = log_length() + OVERLAY_RECORD_MAX;
		scatter(0);
		ck_assert_int_eq(hvri_overlay_flush(overlay), HVREPL_OK);
		hvri_overlay_unref(overlay);
		overlay = NULL;
		/* The second half of the flush is gone. */
		(void)snprintf(id, sizeof(id),
			       HVRI_OVERLAY_MAP_PREFIX "0000000000000001.00");
		ck_assert_int_eq(hvri_object_open(&storage, id, 0, &object),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_object_resize(&object,
						    place_of(1, torn)),
				 HVREPL_OK);
		memset(map(&size) + torn, 0, STRIPE - torn);
		hvri_object_close(&object);
		ck_assert_int_eq(recover(), HVREPL_OK);
		if (i == 0) {
			scatter(1);
			ck_assert_int_eq(hvri_overlay_flush(overlay), HVREPL_OK);
			next = torn + OVERLAY_RECORD_MAX;
		} else {
			ck_assert_int_eq(zero(BLOCKS - 1, 1), HVREPL_OK);
			ck_assert_int_eq(hvri_overlay_flush(overlay), HVREPL_OK);
			next = log_length();
			ck_assert_int_eq(zero(BLOCKS - 3, 1), HVREPL_OK);
			ck_assert_int_eq(hvri_overlay_flush(overlay), HVREPL_OK);
		}
		ck_assert_int_eq(recover(), HVREPL_OK);
		hvri_overlay_unref(overlay);
		overlay = NULL;
		length = log_length();
		ck_assert_uint_lt(next, length);
		move_log(torn, next, length);
		ck_assert_int_eq(recover(), HVREPL_E_CORRUPT);
		teardown();
	}
	setup();
}
END_TEST

START_TEST(a_map_is_read_once_there_is_memory)
{
	bool failed = true;

	scatter(0);
	ck_assert_int_eq(zero(BLOCKS - 1, 1), HVREPL_OK);
	ck_assert_int_eq(hvri_overlay_flush(overlay), HVREPL_OK);
	for (long n = 0; failed; n++) {
		int32_t rc;

		test.alloc_fail_at = n;
		rc = recover();
		failed = test.alloc_fail_at < 0;
		test.alloc_fail_at = -1;
		ck_assert_int_eq(rc, failed ? HVREPL_E_NOMEM : HVREPL_OK);
	}
	ck_assert(is_zero(0));
	ck_assert(is_zero(BLOCKS - 1));
}
END_TEST

START_TEST(zeroes_that_cannot_be_marked_are_not_said)
{
	static const uint8_t data[4096] = { 1 };

	test.alloc_fail_at = 0;
	ck_assert_int_eq(zero(0, 1), HVREPL_E_NOMEM);
	ck_assert(!is_zero(0));
	ck_assert_int_eq(hvri_overlay_write(overlay, 0, 0, data, sizeof(data),
					    nothing_below, NULL),
			 HVREPL_OK);
	/* Space that does not come back is no failure, want of memory is. */
	sim.fail_at = sim.call_count;
	sim.fail_code = HVREPL_E_NOMEM;
	ck_assert_int_eq(zero(0, 1), HVREPL_E_NOMEM);
	ck_assert_int_eq(hvri_overlay_write(overlay, 0, 0, data, sizeof(data),
					    nothing_below, NULL),
			 HVREPL_OK);
	sim.fail_at = sim.call_count;
	sim.fail_code = HVREPL_E_STORAGE_IO;
	ck_assert_int_eq(zero(0, 1), HVREPL_OK);
	ck_assert(is_zero(0));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("overlay");
	TCase *tcase = tcase_create("overlay");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_run_ends_where_the_next_page_holds_nothing);
	tcase_add_test(tcase,
		       a_flush_of_many_changes_is_there_as_a_whole_or_refused);
	tcase_add_test(tcase,
		       a_flush_torn_anywhere_costs_nothing_that_was_flushed);
	tcase_add_test(tcase, damage_before_a_later_flush_is_damage);
	tcase_add_test(tcase,
		       a_torn_tail_goes_also_when_cutting_it_off_fails_at_first);
	tcase_add_test(tcase, a_batch_that_lost_the_one_before_it_is_damage);
	tcase_add_test(tcase, a_map_is_read_once_there_is_memory);
	tcase_add_test(tcase, zeroes_that_cannot_be_marked_are_not_said);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
