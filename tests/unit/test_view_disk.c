/* SPDX-License-Identifier: Apache-2.0 */
/* A view as a table of disk callbacks: what it says of itself, and where it says no. */
#include "storescript.h"

#include "store/view.h"

#include <string.h>

static struct world w;
static hvrepl_view *view;
static struct hvrepl_disk disk;
static uint8_t bytes[WORLD_SIZE_MAX];

static void setup(void)
{
	world_init(&w, 5);
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_send(&w), HVREPL_OK);
}

static void open_view(uint32_t kind)
{
	ck_assert_int_eq(hvrepl_view_open(w.store, world_newest(&w)->key, kind,
					  &view, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_view_disk(view, 0, &disk), HVREPL_OK);
}

static void close_view(void)
{
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_E_BUSY);
	disk.release(disk.user);
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
}

static void teardown(void)
{
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
}

static int32_t read_at(uint64_t offset, size_t length)
{
	struct hvrepl_iovec iov[2] = { { bytes, length / 2 },
				       { bytes + length / 2,
					 length - length / 2 } };

	return disk.ops->readv(disk.user, NULL, offset, iov, 2);
}

static int32_t write_at(uint64_t offset, size_t length)
{
	struct hvrepl_iovec iov[2] = { { bytes, length / 2 },
				       { bytes + length / 2,
					 length - length / 2 } };

	return disk.ops->writev(disk.user, NULL, offset, iov, 2);
}

START_TEST(a_recovery_point_is_a_disk_that_cannot_be_written)
{
	struct hvrepl_disk_info info = { 0 };

	open_view(HVREPL_VIEW_READ_ONLY);
	ck_assert_int_eq(disk.ops->info(disk.user, &info), HVREPL_OK);
	ck_assert_uint_eq(info.flags, HVREPL_DISK_READ_ONLY);
	ck_assert_uint_eq(info.size, w.sizes[0]);
	ck_assert_uint_eq(info.token_length, 0);
	ck_assert_int_eq(read_at(0, w.sizes[0]), HVREPL_OK);
	ck_assert_mem_eq(bytes, w.primary.bytes[0], w.sizes[0]);
	ck_assert_int_eq(write_at(0, 1024), HVREPL_E_READ_ONLY);
	ck_assert_int_eq(disk.ops->zero(disk.user, NULL, 0, 512),
			 HVREPL_E_READ_ONLY);
	ck_assert_int_eq(disk.ops->flush(disk.user, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_view_disk(view, WORLD_DISKS, &disk),
			 HVREPL_E_NOT_FOUND);
	w.env.alloc_fail_at = 0;
	{
		struct hvrepl_disk other;

		ck_assert_int_eq(hvrepl_view_disk(view, 0, &other),
				 HVREPL_E_NOMEM);
	}
	close_view();
}
END_TEST

START_TEST(what_is_outside_a_view_is_refused)
{
	struct hvrepl_extent extent;
	uint32_t count = 1;
	uint64_t end;

	open_view(HVREPL_VIEW_SCRATCH);
	ck_assert_int_eq(read_at(w.sizes[0] + 512, 1024), HVREPL_E_RANGE);
	ck_assert_int_eq(read_at(w.sizes[0] - 512, 1024), HVREPL_E_RANGE);
	ck_assert_int_eq(read_at(100, 1024), HVREPL_E_RANGE);
	ck_assert_int_eq(read_at(0, 100), HVREPL_E_RANGE);
	ck_assert_int_eq(write_at(w.sizes[0], 1024), HVREPL_E_RANGE);
	ck_assert_int_eq(disk.ops->zero(disk.user, NULL, w.sizes[0], 512),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(disk.ops->discard(disk.user, NULL, 1, 512),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(disk.ops->allocated(disk.user, w.sizes[0], 512, &extent,
					     &count, &end),
			 HVREPL_E_RANGE);
	/* Nothing is no write. */
	ck_assert_int_eq(write_at(0, 0), HVREPL_OK);
	ck_assert_int_eq(disk.ops->zero(disk.user, NULL, 0, 0), HVREPL_OK);
	close_view();
}
END_TEST

START_TEST(a_test_view_keeps_its_writes_to_itself)
{
	open_view(HVREPL_VIEW_SCRATCH);
	memset(bytes, 'w', 4096);
	ck_assert_int_eq(write_at(4096, 4096), HVREPL_OK);
	ck_assert_int_eq(disk.ops->discard(disk.user, NULL, 8192, 4096),
			 HVREPL_OK);
	ck_assert_int_eq(disk.ops->flush(disk.user, NULL), HVREPL_OK);
	ck_assert_int_eq(read_at(0, 16384), HVREPL_OK);
	ck_assert_mem_eq(bytes, w.primary.bytes[0], 4096);
	ck_assert_uint_eq(bytes[4096], 'w');
	ck_assert(hvri_is_zero(bytes + 8192, 4096));
	ck_assert_mem_eq(bytes + 12288, w.primary.bytes[0] + 12288, 4096);
	close_view();
	world_check(&w);
}
END_TEST

/* What `allocated` says holds: zeroes are nowhere else. */
static void check_holes(void)
{
	uint64_t at = 0;

	ck_assert_int_eq(read_at(0, w.sizes[0]), HVREPL_OK);
	while (at < w.sizes[0]) {
		struct hvrepl_extent extents[2];
		uint32_t count = 2;
		uint64_t end = 0;

		ck_assert_int_eq(disk.ops->allocated(disk.user, at,
						     w.sizes[0] - at, extents,
						     &count, &end),
				 HVREPL_OK);
		ck_assert_uint_gt(end, at);
		for (uint32_t i = 0; i < count; i++) {
			ck_assert_uint_ge(extents[i].offset, at);
			ck_assert(hvri_is_zero(bytes + at,
					       extents[i].offset - at));
			at = extents[i].offset + extents[i].length;
		}
		ck_assert(hvri_is_zero(bytes + at, end - at));
		at = end;
	}
}

START_TEST(holes_of_a_view_read_as_zeroes)
{
	static const struct world_change changes[] = {
		{ 0, 0, 8192, true },
		{ 0, 16384, 8192, true },
		{ 0, 24576, 4096, false },
		{ 0, 32768, 4096, true },
	};

	world_make_cut_with(&w, changes, 4);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	for (uint32_t kind = HVREPL_VIEW_READ_ONLY; kind <= HVREPL_VIEW_SCRATCH;
	     kind++) {
		open_view(kind);
		check_holes();
		if (kind == HVREPL_VIEW_SCRATCH) {
			memset(bytes, 'w', 4096);
			ck_assert_int_eq(write_at(4096, 4096), HVREPL_OK);
			ck_assert_int_eq(disk.ops->zero(disk.user, NULL, 24576,
							4096),
					 HVREPL_OK);
			check_holes();
		}
		close_view();
	}
	ck_assert_int_eq(world_merge(&w, world_newest(&w)->key), HVREPL_OK);
	open_view(HVREPL_VIEW_READ_ONLY);
	check_holes();
	close_view();
	ck_assert_int_eq(world_failover(&w, world_newest(&w)->key), HVREPL_OK);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
	ck_assert_int_eq(hvrepl_view_disk(w.view, 0, &disk), HVREPL_OK);
	check_holes();
	ck_assert_int_eq(disk.ops->flush(disk.user, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL), HVREPL_OK);
	/* While bytes move, it cannot be told. */
	check_holes();
	disk.release(disk.user);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("view disk");
	TCase *tcase = tcase_create("view disk");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_recovery_point_is_a_disk_that_cannot_be_written);
	tcase_add_test(tcase, what_is_outside_a_view_is_refused);
	tcase_add_test(tcase, a_test_view_keeps_its_writes_to_itself);
	tcase_add_test(tcase, holes_of_a_view_read_as_zeroes);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
