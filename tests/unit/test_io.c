/* SPDX-License-Identifier: Apache-2.0 */
/* The one wrapper around disk and storage callbacks, and the fakes under it. */
#include "testing.h"

#include "base/io.h"
#include "sim.h"

#include <stddef.h>
#include <string.h>

#define SIZE (1u << 20)

static struct test_env test;
static struct hvri_env env;
static struct sim sim;
static struct sim_disk *fake;
static struct hvri_disk disk;
static struct sim_storage *store;
static struct hvri_storage storage;

static void setup(void)
{
	struct hvrepl_disk disk_handle;
	struct hvrepl_storage storage_handle;

	test_env_init(&test, 1);
	ck_assert_int_eq(hvri_env_copy(&env, &test.env, NULL), HVREPL_OK);
	sim_init(&sim, 1);
	fake = sim_disk_new(&sim, SIZE);
	store = sim_storage_new(&sim);
	disk_handle = sim_disk_handle(fake);
	storage_handle = sim_storage_handle(store);
	ck_assert_int_eq(hvri_disk_take(&disk, &disk_handle, NULL), HVREPL_OK);
	ck_assert_int_eq(hvri_storage_take(&storage, &storage_handle, NULL),
			 HVREPL_OK);
}

static void teardown(void)
{
	hvri_disk_drop(&disk);
	hvri_disk_drop(&disk);
	hvri_storage_drop(&storage);
	hvri_storage_drop(&storage);
	ck_assert_uint_eq(fake->released, 1);
	ck_assert_uint_eq(store->released, 1);
	ck_assert_int_eq(test.alloc_live, 0);
	sim_free(&sim);
}

static int32_t no_callback(void *user, hvrepl_op *op, uint64_t offset,
			   uint64_t length)
{
	(void)user, (void)op, (void)offset, (void)length;
	return HVREPL_E_UNSUPPORTED;
}

static bool all_are(size_t offset, size_t length, uint8_t value)
{
	const uint8_t *bytes = sim_disk_bytes(fake) + offset;

	for (size_t i = 0; i < length; i++)
		if (bytes[i] != value)
			return false;
	return true;
}

START_TEST(an_incomplete_disk_is_refused_and_still_released_once)
{
	struct hvrepl_disk handle = sim_disk_handle(fake);
	struct hvrepl_disk_ops ops = *handle.ops;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvri_disk taken;

	ops.writev = NULL;
	handle.ops = &ops;
	ck_assert_int_eq(hvri_disk_take(&taken, &handle, &error),
			 HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(error.sentence, "writev"));
	ck_assert_uint_eq(fake->released, 1);
	fake->released = 0;
}
END_TEST

START_TEST(an_impossible_geometry_is_refused)
{
	struct hvrepl_disk handle = sim_disk_handle(fake);
	struct hvri_disk taken;

	fake->block_size = 768;
	ck_assert_int_eq(hvri_disk_take(&taken, &handle, NULL),
			 HVREPL_E_INVALID);
	fake->block_size = 512;
	fake->released = 0;
}
END_TEST

/* A table without one of its callbacks, and with a word of a later version. */
START_TEST(each_callback_that_is_needed_is_missed)
{
	static const size_t of_disk[] = {
		offsetof(struct hvrepl_disk_ops, info),
		offsetof(struct hvrepl_disk_ops, readv),
		offsetof(struct hvrepl_disk_ops, writev),
	};
	static const size_t of_storage[] = {
		offsetof(struct hvrepl_storage_ops, open),
		offsetof(struct hvrepl_storage_ops, close),
		offsetof(struct hvrepl_storage_ops, size),
		offsetof(struct hvrepl_storage_ops, read),
		offsetof(struct hvrepl_storage_ops, write),
		offsetof(struct hvrepl_storage_ops, flush),
		offsetof(struct hvrepl_storage_ops, resize),
		offsetof(struct hvrepl_storage_ops, remove),
		offsetof(struct hvrepl_storage_ops, list),
	};
	struct hvrepl_storage objects = sim_storage_handle(store);
	struct hvrepl_disk handle = sim_disk_handle(fake);
	struct hvrepl_storage_ops storage_ops;
	struct hvrepl_disk_ops ops;
	struct hvri_storage taken_storage;
	struct hvri_disk taken;

	for (size_t i = 0; i < HVRI_ARRAY_LEN(of_disk); i++) {
		ops = *sim_disk_handle(fake).ops;
		memset((char *)&ops + of_disk[i], 0, sizeof(ops.info));
		handle.ops = &ops;
		ck_assert_int_eq(hvri_disk_take(&taken, &handle, NULL),
				 HVREPL_E_INVALID);
	}
	ops = *sim_disk_handle(fake).ops;
	ops.reserved = 1;
	ck_assert_int_eq(hvri_disk_take(&taken, &handle, NULL),
			 HVREPL_E_TOO_NEW);
	ck_assert_uint_eq(fake->released, HVRI_ARRAY_LEN(of_disk) + 1);
	for (size_t i = 0; i < HVRI_ARRAY_LEN(of_storage); i++) {
		storage_ops = *sim_storage_handle(store).ops;
		memset((char *)&storage_ops + of_storage[i], 0,
		       sizeof(storage_ops.open));
		objects.ops = &storage_ops;
		ck_assert_int_eq(hvri_storage_take(&taken_storage, &objects,
						   NULL),
				 HVREPL_E_INVALID);
	}
	storage_ops = *sim_storage_handle(store).ops;
	storage_ops.reserved = 1;
	ck_assert_int_eq(hvri_storage_take(&taken_storage, &objects, NULL),
			 HVREPL_E_TOO_NEW);
	ck_assert_uint_eq(store->released, HVRI_ARRAY_LEN(of_storage) + 1);
	fake->released = store->released = 0;
}
END_TEST

static struct hvrepl_disk_info geometry;

static int32_t told_geometry(void *user, struct hvrepl_disk_info *out)
{
	(void)user;
	*out = geometry;
	return HVREPL_OK;
}

START_TEST(only_a_geometry_that_can_be_is_taken)
{
	static const struct hvrepl_disk_info good = {
		.struct_size = sizeof(good),
		.size = SIZE,
		.block_size = 512,
	};

	disk.ops.info = told_geometry;
	geometry = good;
	ck_assert_int_eq(hvri_disk_refresh(&disk), HVREPL_OK);
	geometry.block_size = 131072;
	ck_assert_int_eq(hvri_disk_refresh(&disk), HVREPL_E_INVALID);
	geometry.block_size = 384;
	ck_assert_int_eq(hvri_disk_refresh(&disk), HVREPL_E_INVALID);
	geometry = good;
	geometry.size = SIZE + 100;
	ck_assert_int_eq(hvri_disk_refresh(&disk), HVREPL_E_INVALID);
	geometry = good;
	geometry.token_length = HVREPL_TOKEN_MAX + 1;
	ck_assert_int_eq(hvri_disk_refresh(&disk), HVREPL_E_INVALID);
	/* What was known before stays; and none is one byte. */
	ck_assert_uint_eq(disk.info.block_size, 512);
	geometry = good;
	geometry.block_size = 0;
	geometry.size = SIZE + 100;
	ck_assert_int_eq(hvri_disk_refresh(&disk), HVREPL_OK);
	ck_assert_uint_eq(disk.info.block_size, 1);
}
END_TEST

START_TEST(nothing_and_hints_that_make_no_sense_reach_no_callback)
{
	uint64_t calls = sim.call_count;
	uint8_t block[512] = { 0 };

	ck_assert_int_eq(hvri_disk_read(&disk, SIZE, block, 0), HVREPL_OK);
	ck_assert_int_eq(hvri_disk_write(&disk, 512, block, 0), HVREPL_OK);
	ck_assert_int_eq(hvri_disk_zero(&env, &disk, 512, 0), HVREPL_OK);
	hvri_disk_discard(&disk, 512, 0);
	hvri_disk_discard(&disk, SIZE, 512);
	ck_assert_uint_eq(sim.call_count, calls);
	memset(block, 0xff, sizeof(block));
	ck_assert_int_eq(hvri_disk_write(&disk, 512, block, 512), HVREPL_OK);
	disk.ops.discard = NULL;
	calls = sim.call_count;
	hvri_disk_discard(&disk, 512, 512);
	ck_assert_uint_eq(sim.call_count, calls);
	ck_assert(all_are(512, 512, 0xff));
}
END_TEST

START_TEST(ranges_outside_the_disk_or_unaligned_reach_no_callback)
{
	uint64_t calls = sim.call_count;
	uint8_t block[1024] = { 0 };

	ck_assert_int_eq(hvri_disk_read(&disk, SIZE, block, 512),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvri_disk_write(&disk, SIZE - 512, block, 1024),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvri_disk_read(&disk, UINT64_MAX - 511, block, 1024),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvri_disk_write(&disk, 100, block, 512),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvri_disk_zero(&env, &disk, 0, SIZE + 512),
			 HVREPL_E_RANGE);
	ck_assert_uint_eq(sim.call_count, calls);
}
END_TEST

START_TEST(codes_that_mean_something_pass_and_others_become_disk_io)
{
	uint8_t block[512] = { 0 };

	sim.fail_at = sim.call_count;
	sim.fail_code = HVREPL_E_NO_SPACE;
	ck_assert_int_eq(hvri_disk_write(&disk, 0, block, 512),
			 HVREPL_E_NO_SPACE);
	sim.fail_at = sim.call_count;
	sim.fail_code = -9999;
	ck_assert_int_eq(hvri_disk_write(&disk, 0, block, 512),
			 HVREPL_E_DISK_IO);
	ck_assert_int_eq(hvri_disk_write(&disk, 0, block, 512), HVREPL_OK);
}
END_TEST

START_TEST(zeroing_works_with_and_without_the_callback)
{
	uint8_t block[512];

	memset(block, 0xff, sizeof(block));
	for (int way = 0; way < 3; way++) {
		ck_assert_int_eq(hvri_disk_write(&disk, 66560, block, 512), 0);
		if (way == 1)
			disk.ops.zero = no_callback;
		if (way == 2)
			disk.ops.zero = NULL;
		ck_assert_int_eq(hvri_disk_zero(&env, &disk, 512, 128 * 1024),
				 HVREPL_OK);
		ck_assert(all_are(0, SIZE, 0));
	}
	test.alloc_fail_at = 0;
	ck_assert_int_eq(hvri_disk_zero(&env, &disk, 0, 512), HVREPL_E_NOMEM);
}
END_TEST

START_TEST(without_the_callback_everything_is_allocated)
{
	struct hvrepl_extent extent;

	disk.ops.allocated = NULL;
	hvri_disk_next_allocated(&disk, 4096, 8192, &extent);
	ck_assert_uint_eq(extent.offset, 4096);
	ck_assert_uint_eq(extent.length, 4096);
	hvri_disk_next_allocated(&disk, 8192, 8192, &extent);
	ck_assert_uint_eq(extent.length, 0);
}
END_TEST

/* An answer that makes no sense must not hide data. */
struct answer {
	int32_t rc;
	uint32_t count;
	struct hvrepl_extent extent;
	uint64_t end;
};
static struct answer answer;

static int32_t answered(void *user, uint64_t offset, uint64_t length,
			struct hvrepl_extent *extents_out,
			uint32_t *count_inout, uint64_t *end_out)
{
	(void)user, (void)offset, (void)length;
	*extents_out = answer.extent;
	*count_inout = answer.count;
	*end_out = answer.end;
	return answer.rc;
}

START_TEST(a_nonsense_answer_about_allocation_means_allocated)
{
	static const struct answer nonsense[] = {
		{ HVREPL_E_DISK_IO, 0, { 0, 0 }, SIZE },
		{ HVREPL_OK, 0, { 0, 0 }, 512 },
		{ HVREPL_OK, 0, { 0, 0 }, SIZE + 512 },
		{ HVREPL_OK, 1, { 0, 512 }, SIZE },
		{ HVREPL_OK, 1, { SIZE, 512 }, SIZE },
		{ HVREPL_OK, 1, { 1024, 0 }, SIZE },
	};
	struct hvrepl_extent extent;

	disk.ops.allocated = answered;
	for (size_t i = 0; i < HVRI_ARRAY_LEN(nonsense); i++) {
		answer = nonsense[i];
		hvri_disk_next_allocated(&disk, 512, SIZE, &extent);
		ck_assert_uint_eq(extent.offset, 512);
		ck_assert_uint_eq(extent.length, SIZE - 512);
	}
	/* One that does is believed, and cut to what was asked for. */
	answer = (struct answer){ HVREPL_OK, 1, { 4096, SIZE }, SIZE };
	hvri_disk_next_allocated(&disk, 512, SIZE, &extent);
	ck_assert_uint_eq(extent.offset, 4096);
	ck_assert_uint_eq(extent.length, SIZE - 4096);
}
END_TEST

START_TEST(objects_are_made_grown_read_listed_and_removed)
{
	struct hvri_object object = { 0 };
	uint8_t byte = 0;
	uint64_t size;

	ck_assert_int_eq(hvri_object_open(&storage, "a", 0, &object),
			 HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(hvri_object_open(&storage, "a", HVREPL_OBJECT_CREATE,
					  &object),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_object_write(&object, 100, "x", 1), HVREPL_OK);
	ck_assert_int_eq(hvri_object_size(&object, &size), HVREPL_OK);
	ck_assert_uint_eq(size, 101);
	ck_assert_int_eq(hvri_object_read(&object, 100, &byte, 1), HVREPL_OK);
	ck_assert_uint_eq(byte, 'x');
	ck_assert_int_eq(hvri_object_read(&object, 101, &byte, 1),
			 HVREPL_E_STORAGE_IO);
	hvri_object_close(&object);
	hvri_object_close(&object);
	ck_assert_int_eq(hvri_object_open(&storage, "a", HVREPL_OBJECT_CREATE,
					  &object),
			 HVREPL_E_EXISTS);
	ck_assert_int_eq(hvri_storage_remove(&storage, "a"), HVREPL_OK);
	ck_assert_int_eq(hvri_storage_remove(&storage, "a"),
			 HVREPL_E_NOT_FOUND);
}
END_TEST

START_TEST(optional_storage_callbacks_have_their_defaults)
{
	struct hvri_object object = { 0 };
	uint64_t room = 0;

	storage.ops.punch = NULL;
	storage.ops.sync = NULL;
	storage.ops.free_space = NULL;
	ck_assert_int_eq(hvri_object_open(&storage, "a", HVREPL_OBJECT_CREATE,
					  &object),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_object_punch(&object, 0, 10),
			 HVREPL_E_UNSUPPORTED);
	ck_assert_int_eq(hvri_storage_sync(&storage), HVREPL_OK);
	ck_assert_int_eq(hvri_storage_free_space(&storage, &room), HVREPL_OK);
	ck_assert_uint_eq(room, UINT64_MAX);
	hvri_object_close(&object);
}
END_TEST

/* The fakes under every crash test: flushed bytes survive a power loss, and
 * over many seeds an unflushed one is seen kept, lost and torn. */
START_TEST(the_fake_disk_keeps_what_was_flushed_and_tears_the_rest)
{
	unsigned kept = 0, lost = 0, torn = 0;
	uint8_t bytes[1024];

	for (unsigned round = 0; round < 100; round++) {
		unsigned there = 0;

		memset(bytes, 0x11, sizeof(bytes));
		ck_assert_int_eq(hvri_disk_write(&disk, 0, bytes, 1024), 0);
		ck_assert_int_eq(hvri_disk_flush(&disk), HVREPL_OK);
		memset(bytes, 0x22, sizeof(bytes));
		ck_assert_int_eq(hvri_disk_write(&disk, 4096, bytes, 1024), 0);
		sim.crash_at = sim.io_count;
		ck_assert_int_eq(hvri_disk_write(&disk, 8192, bytes, 1024),
				 HVREPL_E_DISK_IO);
		ck_assert_int_eq(hvri_disk_flush(&disk), HVREPL_E_DISK_IO);
		sim_restart(&sim, true);
		ck_assert(all_are(0, 1024, 0x11));
		for (unsigned i = 0; i < 1024; i += 512)
			there += sim_disk_bytes(fake)[4096 + i] == 0x22;
		kept += there == 2;
		lost += there == 0;
		torn += there == 1;
		memset(bytes, 0, sizeof(bytes));
		ck_assert_int_eq(hvri_disk_write(&disk, 4096, bytes, 1024), 0);
		ck_assert_int_eq(hvri_disk_write(&disk, 8192, bytes, 1024), 0);
		ck_assert_int_eq(hvri_disk_flush(&disk), HVREPL_OK);
	}
	ck_assert_uint_gt(kept, 0);
	ck_assert_uint_gt(lost, 0);
	ck_assert_uint_gt(torn, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("io");
	TCase *tcase = tcase_create("io");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase,
		       an_incomplete_disk_is_refused_and_still_released_once);
	tcase_add_test(tcase, an_impossible_geometry_is_refused);
	tcase_add_test(tcase, each_callback_that_is_needed_is_missed);
	tcase_add_test(tcase, only_a_geometry_that_can_be_is_taken);
	tcase_add_test(tcase,
		       nothing_and_hints_that_make_no_sense_reach_no_callback);
	tcase_add_test(tcase,
		       ranges_outside_the_disk_or_unaligned_reach_no_callback);
	tcase_add_test(tcase,
		       codes_that_mean_something_pass_and_others_become_disk_io);
	tcase_add_test(tcase, zeroing_works_with_and_without_the_callback);
	tcase_add_test(tcase, without_the_callback_everything_is_allocated);
	tcase_add_test(tcase,
		       a_nonsense_answer_about_allocation_means_allocated);
	tcase_add_test(tcase, objects_are_made_grown_read_listed_and_removed);
	tcase_add_test(tcase, optional_storage_callbacks_have_their_defaults);
	tcase_add_test(tcase,
		       the_fake_disk_keeps_what_was_flushed_and_tears_the_rest);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
