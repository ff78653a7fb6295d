/* SPDX-License-Identifier: Apache-2.0 */
/* A reader of a view, and the one who moves what it reads: each time something comes
 * between looking up and reading, and the reader has the right bytes or an error. */
#include "storescript.h"

#include "store/view.h"

#include <string.h>

static struct world w;
static hvrepl_view *view;
static struct hvrepl_disk disk;
static uint8_t bytes[WORLD_SIZE_MAX];
static void (*between)(void); /* Once, at the next I/O or question. */
static uint64_t holes_from; /* Of the first base: what it says it holds nothing of. */

static void setup(void)
{
	world_init(&w, 8);
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	between = NULL;
	holes_from = UINT64_MAX;
}

static void teardown(void)
{
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
}

static void come_between(void *argument)
{
	void (*now)(void) = between;

	(void)argument;
	between = NULL;
	if (now != NULL)
		now();
}

static int32_t allocated(void *user, uint64_t offset, uint64_t length,
			 struct hvrepl_extent *extents_out,
			 uint32_t *count_inout, uint64_t *end_out)
{
	(void)user;
	come_between(NULL);
	*end_out = offset + length;
	*count_inout = offset < holes_from ? 1 : 0;
	extents_out->offset = offset;
	extents_out->length = HVRI_MIN(length, holes_from - offset);
	/* One that begins later. */
	if (holes_from == 0 && offset + length > 8192) {
		*count_inout = 1;
		extents_out->offset = HVRI_MAX(offset, 8192u);
		extents_out->length = offset + length - extents_out->offset;
	}
	return HVREPL_OK;
}

static void look(uint64_t point, uint32_t kind)
{
	ck_assert_int_eq(hvrepl_view_open(w.store, point, kind, &view, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_view_disk(view, 0, &disk), HVREPL_OK);
	w.store->bases[0].ops.allocated = allocated;
}

static void look_away(void)
{
	disk.release(disk.user);
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	w.sim.hook = NULL;
}

static void merge_all(void)
{
	ck_assert_int_eq(world_merge(&w, world_newest(&w)->key), HVREPL_OK);
}

static void merge_all_and_fail(void)
{
	merge_all();
	/* The read this came before is done; the next is of the undo. */
	w.sim.fail_at = w.sim.call_count + 1;
	w.sim.fail_code = HVREPL_E_STORAGE_IO;
}

static void change_all(void)
{
	world_make_cut_of(&w, 0, WORLD_SIZE_MAX);
	for (unsigned d = 0; d < WORLD_DISKS; d++)
		ck_assert_uint_gt(w.cut.counts[d], 0);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
}

START_TEST(a_base_written_while_it_is_read_is_answered_for_by_undo)
{
	const struct world_point *old = world_kept(&w, 0);

	w.change_blocks = 16;
	world_make_cut(&w);
	while (w.cut.counts[0] == 0) {
		ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
		world_make_cut(&w);
	}
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	look(old->key, HVREPL_VIEW_READ_ONLY);
	w.sim.hook = come_between;
	between = merge_all_and_fail;
	ck_assert_int_eq(hvri_view_read(view, 0, 0, bytes, w.sizes[0]),
			 HVREPL_E_STORAGE_IO);
	ck_assert_ptr_null((void *)(uintptr_t)between);
	ck_assert_uint_eq(w.sim.fail_at, UINT64_MAX);
	ck_assert_int_eq(hvri_view_read(view, 0, 0, bytes, w.sizes[0]),
			 HVREPL_OK);
	ck_assert_mem_eq(bytes, old->image->bytes[0], w.sizes[0]);
	look_away();
	world_check(&w);
}
END_TEST

static int32_t ask(uint64_t at, uint64_t length, struct hvrepl_extent *found,
		   uint64_t *end)
{
	uint32_t count = 1;
	int32_t rc = disk.ops->allocated(disk.user, at, length, found, &count,
					 end);

	ck_assert_int_eq(rc, HVREPL_OK);
	return (int32_t)count;
}

START_TEST(a_hole_that_is_written_while_it_is_asked_for_is_no_hole)
{
	const struct world_point *old = world_kept(&w, 0);
	struct hvrepl_extent found;
	uint64_t end;

	change_all();
	look(old->key, HVREPL_VIEW_READ_ONLY);
	holes_from = 16384;
	ck_assert_int_eq(ask(0, w.sizes[0], &found, &end), 1);
	ck_assert_uint_eq(found.offset, 0);
	ck_assert_uint_eq(found.length, 16384);
	ck_assert_int_eq(ask(16384, 8192, &found, &end), 0);
	ck_assert_uint_eq(end, 24576);
	holes_from = 0;
	ck_assert_int_eq(ask(0, 16384, &found, &end), 1);
	ck_assert_uint_eq(found.offset, 8192);
	ck_assert_uint_eq(found.length, 8192);
	/* The base moves over it: what was there is in the undo by then. */
	holes_from = 16384;
	between = merge_all;
	ck_assert_int_eq(ask(16384, 8192, &found, &end), 1);
	ck_assert_uint_eq(found.offset, 16384);
	look_away();
	world_check(&w);
}
END_TEST

/* Only a part of it: the answer holds for less than it was given for. */
START_TEST(a_hole_that_is_written_in_part_meanwhile_is_no_hole)
{
	static const struct world_change later[] = { { 0, 28672, 4096, false },
						     { 1, 0, 4096, false } };
	const struct world_point *old = world_kept(&w, 0);
	struct hvrepl_extent found;
	uint64_t end;

	world_make_cut_with(&w, later, 2);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	look(old->key, HVREPL_VIEW_READ_ONLY);
	holes_from = 16384;
	between = merge_all;
	ck_assert_int_eq(ask(16384, 16384, &found, &end), 1);
	ck_assert_uint_eq(found.offset, 16384);
	look_away();
	world_check(&w);
}
END_TEST

static void begin_commit(void)
{
	uint32_t more;

	ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_advance(w.store, &more, NULL),
			 HVREPL_OK);
	ck_assert_uint_gt(w.store->state.commit, HVRI_COMMIT_OVERLAY);
}

START_TEST(while_a_commit_moves_bytes_everything_may_hold_something)
{
	struct hvrepl_extent found;
	uint64_t end;

	holes_from = 0;
	look(world_newest(&w)->key, HVREPL_VIEW_FAILOVER);
	holes_from = 16384;
	ck_assert_int_eq(ask(16384, 8192, &found, &end), 0);
	ck_assert_int_eq(hvri_view_zero(view, 0, 32768, 4096), HVREPL_OK);
	ck_assert_int_eq(ask(32768, 4096, &found, &end), 0);
	/* It begins while it is asked. */
	between = begin_commit;
	ck_assert_int_eq(ask(16384, 8192, &found, &end), 1);
	ck_assert_uint_eq(found.length, 8192);
	ck_assert_int_eq(ask(32768, 4096, &found, &end), 1);
	look_away();
}
END_TEST

static void guest_writes(void)
{
	static uint8_t new[4096];

	memset(new, 'n', sizeof(new));
	ck_assert_int_eq(hvri_view_write(view, 0, 8192, new, sizeof(new)),
			 HVREPL_OK);
}

START_TEST(a_guest_that_reads_while_it_writes_sees_both)
{
	const struct world_point *newest = world_newest(&w);

	look(newest->key, HVREPL_VIEW_FAILOVER);
	w.sim.hook = come_between;
	between = guest_writes;
	ck_assert_int_eq(hvri_view_read(view, 0, 0, bytes, 16384), HVREPL_OK);
	ck_assert_mem_eq(bytes, newest->image->bytes[0], 8192);
	for (unsigned i = 8192; i < 12288; i++)
		ck_assert_uint_eq(bytes[i], 'n');
	ck_assert_mem_eq(bytes + 12288, newest->image->bytes[0] + 12288, 4096);
	look_away();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("meeting");
	TCase *tcase = tcase_create("meeting");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase,
		       a_base_written_while_it_is_read_is_answered_for_by_undo);
	tcase_add_test(tcase,
		       a_hole_that_is_written_while_it_is_asked_for_is_no_hole);
	tcase_add_test(tcase,
		       a_hole_that_is_written_in_part_meanwhile_is_no_hole);
	tcase_add_test(tcase,
		       while_a_commit_moves_bytes_everything_may_hold_something);
	tcase_add_test(tcase, a_guest_that_reads_while_it_writes_sees_both);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
