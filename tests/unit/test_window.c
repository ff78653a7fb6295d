/* SPDX-License-Identifier: Apache-2.0 */
/* Rule L1: a window is bounded by what it holds. */
#include "sparsedisk.h"
#include "testing.h"

#include "driver/window.h"

#define TIB (UINT64_C(1) << 40)
#define GIB (UINT64_C(1) << 30)
#define BLOCK 4096u

static struct sparse_disk *sparse[2];
static struct hvri_disk disks[2];
static const struct hvri_disk *list[2] = { &disks[0], &disks[1] };

static void make(uint64_t first, uint64_t second)
{
	uint64_t sizes[2] = { first, second };

	for (unsigned i = 0; i < 2; i++) {
		struct hvrepl_disk handle;

		sparse[i] = sparse_disk_new(sizes[i]);
		ck_assert_ptr_nonnull(sparse[i]);
		handle = sparse_disk_handle(sparse[i]);
		ck_assert_int_eq(hvri_disk_take(&disks[i], &handle, NULL),
				 HVREPL_OK);
	}
}

static void teardown(void)
{
	for (unsigned i = 0; i < 2; i++) {
		hvri_disk_drop(&disks[i]);
		sparse_disk_free(sparse[i]);
	}
}

static void fill(unsigned disk, uint64_t offset, uint64_t bytes)
{
	static uint8_t ones[SPARSE_PAGE];

	memset(ones, 1, sizeof(ones));
	for (; bytes > 0; bytes -= SPARSE_PAGE, offset += SPARSE_PAGE)
		sparse_disk_write(sparse[disk], offset, ones, SPARSE_PAGE);
}

static struct hvri_frontier window(uint32_t disk, uint64_t offset,
				   uint64_t bytes)
{
	struct hvri_frontier from = { .disk = disk, .offset = offset };
	struct hvri_frontier end = { .disk = disk, .offset = offset + bytes };

	return hvri_window_over_holes(list, 2, BLOCK, from, end);
}

START_TEST(holes_cost_no_window)
{
	struct hvri_frontier end;

	make(16 * TIB, 2 * TIB);
	end = window(0, 0, GIB);
	ck_assert_uint_eq(end.disk, 2);
	ck_assert_uint_eq(end.offset, 0);
	fill(0, 5 * TIB, SPARSE_PAGE);
	fill(1, 2 * TIB - SPARSE_PAGE, SPARSE_PAGE);
	end = window(0, 0, GIB);
	ck_assert_uint_eq(end.disk, 2);
	end = window(1, 0, BLOCK);
	ck_assert_uint_eq(end.disk, 1);
	ck_assert_uint_eq(end.offset, 2 * TIB - SPARSE_PAGE + BLOCK);
}
END_TEST

START_TEST(a_window_holds_no_more_than_it_may)
{
	uint64_t at = 0, held = 0, windows = 0;

	make(4 * TIB, BLOCK);
	fill(0, 0, 20 * SPARSE_PAGE);
	fill(0, TIB, 30 * SPARSE_PAGE);
	for (; windows < 100; windows++) {
		struct hvri_frontier end = window(0, at, 8 * SPARSE_PAGE);
		uint64_t bytes = 0, to = end.disk == 0 ? end.offset : 4 * TIB;

		ck_assert_uint_gt(to, at);
		ck_assert_uint_eq(to % BLOCK, 0);
		for (unsigned k = 0; k < 50; k++) {
			uint64_t page = k < 20 ? k * SPARSE_PAGE :
						 TIB + (k - 20) * SPARSE_PAGE;

			bytes += page >= at && page < to ? SPARSE_PAGE : 0;
		}
		ck_assert_uint_le(bytes, 8 * SPARSE_PAGE);
		held += bytes;
		at = to;
		if (end.disk > 0)
			break;
	}
	ck_assert_uint_eq(held, 50 * SPARSE_PAGE);
	ck_assert_uint_eq(windows, 6);
}
END_TEST

/* Also where a disk cannot tell: all of it counts as allocated. */
START_TEST(a_full_disk_has_windows_as_asked_for)
{
	struct hvri_frontier end;

	make(TIB, TIB);
	disks[0].ops.allocated = NULL;
	end = window(0, GIB, GIB);
	ck_assert_uint_eq(end.disk, 0);
	ck_assert_uint_eq(end.offset, 2 * GIB);
	/* A window that is shorter than a block is still one. */
	end = window(0, 0, 512);
	ck_assert_uint_eq(end.offset, 512);
}
END_TEST

START_TEST(a_disk_in_very_many_pieces_is_not_looked_at_for_ever)
{
	struct hvri_frontier end;

	make(64 * GIB, BLOCK);
	for (uint64_t k = 0; k < 5000; k++)
		fill(0, k * 4 * SPARSE_PAGE, SPARSE_PAGE);
	end = window(0, 0, GIB);
	ck_assert_uint_eq(end.disk, 0);
	ck_assert_uint_ge(end.offset, GIB);
	ck_assert_uint_lt(end.offset, 5000 * 4 * (uint64_t)SPARSE_PAGE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("window");
	TCase *tcase = tcase_create("window");

	tcase_add_checked_fixture(tcase, NULL, teardown);
	tcase_add_test(tcase, holes_cost_no_window);
	tcase_add_test(tcase, a_window_holds_no_more_than_it_may);
	tcase_add_test(tcase, a_full_disk_has_windows_as_asked_for);
	tcase_add_test(tcase,
		       a_disk_in_very_many_pieces_is_not_looked_at_for_ever);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
