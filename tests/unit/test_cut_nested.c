/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts while another thread comes between two of their steps: what it does there is
 * done from the callback that the step is in, or left half done as by a thread that
 * was stopped. Every cut is the instant it names, or gives its bits back. */
#include "cutbed.h"

#include "tracker/cut.h"

static uint8_t then[SIZE], image[SIZE];
static hvrepl_cut *cut;

/* Done once, before the n-th I/O from now. */
static void (*inside)(void);
static unsigned inside_at, inside_done;

static void hook(void *argument)
{
	void (*now)(void) = inside;

	(void)argument;
	if (now == NULL || inside_at-- > 0)
		return;
	inside = NULL;
	now();
	inside_done++;
}

static void come_in(void (*what)(void), unsigned n)
{
	inside = what;
	inside_at = n;
	inside_done = 0;
}

static void setup_nested(void)
{
	setup();
	inside = NULL;
	sim.hook = hook;
	memset(image, 0, sizeof(image));
}

/* So many blocks were written, each `step` after the one before. */
static void open_written(uint64_t count, uint64_t step)
{
	open_all(0, 0);
	for (uint64_t i = 0; i < count; i++)
		write_at(i * step * BLOCK, BLOCK, i + 1);
	memcpy(then, sim_disk_bytes(disk), SIZE);
	cut = make_cut();
}

static void end_whole(void)
{
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	(void)apply(cut, image);
	ck_assert_mem_eq(image, then, SIZE);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
}

static void end_voided(uint64_t blocks)
{
	ck_assert_uint_eq(state_of(cut), HVREPL_CUT_VOIDED);
	ck_assert_uint_eq(dirty(), blocks * BLOCK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_E_VOIDED);
}

static void void_it(void)
{
	ck_assert_int_eq(hvrepl_cut_void(cut), HVREPL_OK);
}

START_TEST(what_was_read_of_a_cut_that_is_void_by_then_is_thrown_away)
{
	uint32_t progress;

	open_written(100, 1);
	come_in(void_it, 0);
	ck_assert_int_eq(hvrepl_cut_advance(cut, 0, &progress),
			 HVREPL_E_VOIDED);
	ck_assert_uint_eq(inside_done, 1);
	end_voided(100);
}
END_TEST

START_TEST(a_writer_goes_on_when_the_cut_is_voided_while_its_blocks_are_copied)
{
	struct hvrepl_ticket ticket;

	open_written(100, 1);
	ck_assert_int_eq(begin(&ticket, 50 * BLOCK, BLOCK, 0), HVREPL_PENDING);
	come_in(void_it, 0);
	hvrepl_group_process(group);
	ck_assert_uint_eq(inside_done, 1);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_OK);
	put(50 * BLOCK, BLOCK, 999);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	end_voided(100);
}
END_TEST

/* _i 1: and the read fails, too. */
START_TEST(a_direct_read_of_a_cut_that_is_voided_meanwhile_says_so)
{
	open_written(100, 1);
	come_in(void_it, 0);
	if (_i == 1)
		sim.fail_at = sim.call_count;
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 0, image, BLOCK),
			 _i == 1 ? HVREPL_E_DISK_IO : HVREPL_E_VOIDED);
	end_voided(100);
}
END_TEST

static struct hvrepl_ticket over;

static void write_over(void)
{
	ck_assert_int_eq(begin(&over, 10 * BLOCK, BLOCK, 0), HVREPL_PENDING);
	hvrepl_group_process(group);
}

START_TEST(a_writer_waits_while_its_block_is_read_directly)
{
	open_written(100, 1);
	come_in(write_over, 0);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 10 * BLOCK,
					 image + 10 * BLOCK, BLOCK),
			 HVREPL_OK);
	ck_assert_uint_eq(inside_done, 1);
	ck_assert_mem_eq(image + 10 * BLOCK, then + 10 * BLOCK, BLOCK);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_OK);
	put(10 * BLOCK, BLOCK, 999);
	hvrepl_tracker_write_end(tracker, &over, HVREPL_OK);
	end_whole();
}
END_TEST

static void read_and_spool(void)
{
	uint8_t bytes[2 * BLOCK];

	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 9 * BLOCK, bytes,
					 sizeof(bytes)),
			 HVREPL_OK);
	ck_assert_mem_eq(bytes, then + 9 * BLOCK, sizeof(bytes));
	/* All but the end: that waits for the reader. */
	for (uint32_t progress = 0; progress != HVREPL_CUT_WAITING;)
		ck_assert_int_eq(hvrepl_cut_advance(cut, 1, &progress),
				 HVREPL_OK);
}

/* A direct read leaves its blocks to the others. */
START_TEST(a_cut_is_spooled_while_it_is_read_directly)
{
	open_written(100, 1);
	come_in(read_and_spool, 0);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 10 * BLOCK, image, BLOCK),
			 HVREPL_OK);
	ck_assert_uint_eq(inside_done, 1);
	ck_assert_mem_eq(image, then + 10 * BLOCK, BLOCK);
	memset(image, 0, BLOCK);
	end_whole();
}
END_TEST

static void read_around(void)
{
	uint8_t bytes[2 * BLOCK];

	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 48 * BLOCK, bytes,
					 sizeof(bytes)),
			 HVREPL_OK);
	ck_assert_mem_eq(bytes, then + 48 * BLOCK, sizeof(bytes));
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 51 * BLOCK, bytes,
					 sizeof(bytes)),
			 HVREPL_OK);
	ck_assert_mem_eq(bytes, then + 51 * BLOCK, sizeof(bytes));
}

START_TEST(what_lies_around_blocks_that_are_being_copied_is_read_from_the_disk)
{
	struct hvrepl_ticket ticket;

	open_written(100, 1);
	ck_assert_int_eq(begin(&ticket, 50 * BLOCK, BLOCK, 0), HVREPL_PENDING);
	come_in(read_around, 0);
	hvrepl_group_process(group);
	ck_assert_uint_eq(inside_done, 1);
	ck_assert_uint_eq(completions, 1);
	put(50 * BLOCK, BLOCK, 999);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	end_whole();
}
END_TEST

START_TEST(a_cut_that_is_half_spooled_is_read_from_both)
{
	uint32_t progress;

	open_all(0, 0);
	write_at(0, 1 << 20, 1);
	memcpy(then, sim_disk_bytes(disk), SIZE);
	cut = make_cut();
	ck_assert_int_eq(hvrepl_cut_advance(cut, 1, &progress), HVREPL_OK);
	ck_assert_uint_eq(progress, HVREPL_CUT_MORE);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 0, image, 1 << 20),
			 HVREPL_OK);
	ck_assert_mem_eq(image, then, SIZE);
	end_whole();
}
END_TEST

START_TEST(what_lies_behind_the_window_of_a_cut_is_not_read_from_it)
{
	struct hvrepl_cut_label label = HVREPL_CUT_LABEL_INIT;

	open_all(0, 0);
	write_at(0, 100 * BLOCK, 1);
	label.limit = 50 * BLOCK;
	ck_assert_int_eq(hvrepl_tracker_set_label(tracker, &label), HVREPL_OK);
	cut = make_cut();
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 49 * BLOCK, image, BLOCK),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 50 * BLOCK, image, BLOCK),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 50 * BLOCK);
}
END_TEST

/* Over the bounds of one claim, of the cutter's and of a writer's. */
START_TEST(more_places_apart_than_one_claim_holds_are_all_copied)
{
	struct hvrepl_ticket zero, next;

	open_written(200, 2);
	ck_assert_int_eq(begin(&zero, 0, 300 * BLOCK, HVREPL_WRITE_ZERO),
			 HVREPL_PENDING);
	ck_assert_int_eq(begin(&next, 20 * BLOCK, BLOCK, 0), HVREPL_PENDING);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 2);
	put(0, 300 * BLOCK, 0);
	hvrepl_tracker_write_end(tracker, &zero, HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &next, HVREPL_OK);
	end_whole();
}
END_TEST

START_TEST(a_cut_of_many_places_apart_is_spooled_claim_by_claim)
{
	open_written(200, 3);
	end_whole();
}
END_TEST

/* ---- While the disk is asked what is allocated. ---- */

static int32_t allocated(void *user, uint64_t offset, uint64_t length,
			 struct hvrepl_extent *extents_out,
			 uint32_t *count_inout, uint64_t *end_out)
{
	const uint8_t *bytes = sim_disk_bytes(user);
	uint64_t end = offset + length, first = offset;

	while (first < end && hvri_is_zero(bytes + first, BLOCK))
		first += BLOCK;
	*extents_out = (struct hvrepl_extent){ first, end - first };
	*count_inout = end > first;
	*end_out = end;
	/* The answer is of before. */
	hook(NULL);
	return HVREPL_OK;
}

static void open_hole(void)
{
	open_all(0, 0);
	tracker->disk.ops.allocated = allocated;
	memset(image, 0, sizeof(image));
	write_at(0, 1 << 20, 0);
	write_at(1 << 20, 1 << 20, 5);
	memcpy(then, sim_disk_bytes(disk), SIZE);
	/* The last block is of the hole's run, and is none. */
	memset(image, 'x', 1 << 20);
	cut = make_cut();
}

static void advance_once(void)
{
	uint32_t progress;

	ck_assert_int_eq(hvrepl_cut_advance(cut, 1, &progress), HVREPL_OK);
}

static void spool_all(void)
{
	ck_assert_int_eq(spool(cut), HVREPL_OK);
}

static void copy_in_the_middle(void)
{
	struct hvrepl_ticket ticket;

	ck_assert_int_eq(begin(&ticket, 500 * BLOCK, BLOCK, 0),
			 HVREPL_PENDING);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	put(500 * BLOCK, BLOCK, 7);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
}

START_TEST(another_thread_goes_on_while_the_disk_is_asked)
{
	void (*const what[])(void) = { advance_once, spool_all,
				       copy_in_the_middle };

	open_hole();
	come_in(what[_i], 0);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_uint_eq(inside_done, 1);
	end_whole();
}
END_TEST

START_TEST(a_cut_that_is_voided_while_the_disk_is_asked_is_not_read)
{
	uint32_t progress;

	open_hole();
	come_in(void_it, 0);
	ck_assert_int_eq(hvrepl_cut_advance(cut, 0, &progress),
			 HVREPL_E_VOIDED);
	end_voided(2 << 10);
}
END_TEST

/* ---- Settled while something of it is under way. ---- */

static void settle_busy(void)
{
	ck_assert_int_eq(hvrepl_cut_settle(cut, 0, HVREPL_OK), HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_E_BUSY);
}

START_TEST(a_cut_that_is_being_read_is_not_acknowledged)
{
	open_written(100, 1);
	come_in(settle_busy, 0);
	end_whole();
	ck_assert_uint_eq(inside_done, 1);
}
END_TEST

static bool none_is_same(void *user, uint32_t index, uint64_t offset,
			 const void *bytes, size_t length)
{
	(void)user, (void)index, (void)offset, (void)bytes, (void)length;
	hook(NULL);
	return false;
}

START_TEST(a_cut_that_is_being_packed_is_not_acknowledged)
{
	open_written(100, 1);
	hvri_cut_set_filter(cut, none_is_same, NULL, NULL);
	/* The read of the disk, then the first granule that is looked at. */
	come_in(settle_busy, 1);
	end_whole();
	ck_assert_uint_eq(inside_done, 1);
}
END_TEST

START_TEST(a_cut_with_writes_in_flight_is_not_acknowledged)
{
	struct hvrepl_ticket flying;

	open_all(0, 0);
	write_at(0, BLOCK, 1);
	ck_assert_int_eq(begin(&flying, 0, BLOCK, 0), HVREPL_OK);
	memcpy(then, sim_disk_bytes(disk), SIZE);
	cut = make_cut();
	settle_busy();
	hvrepl_tracker_write_end(tracker, &flying, HVREPL_OK);
	end_whole();
}
END_TEST

START_TEST(cuts_of_a_disk_are_settled_in_their_order)
{
	hvrepl_cut *first;

	open_written(10, 1);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	first = cut;
	write_at(50 * BLOCK, BLOCK, 2);
	cut = make_cut();
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_settle(cut, 0, HVREPL_OK), HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_cut_settle(first, 0, HVREPL_OK), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_settle(cut, 0, HVREPL_OK), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(first, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 0);
}
END_TEST

/* ---- A writer that was stopped between counting and setting its bit. ---- */

static _Atomic uint64_t *stopped;

static void stop_a_writer(uint32_t parity)
{
	uint64_t word = atomic_load(&group->word);

	stopped = &tracker->shards[3].counter[(hvri_generation(word) & 1) |
					      parity << 1];
	atomic_fetch_add(stopped,
			 HVRI_COUNT_FLIGHT + HVRI_COUNT_PUBLISHING);
}

/* It sets its bit, in the map of its own generation, and its write ends. */
static void let_it_go(uint64_t block, uint64_t generation)
{
	hvri_bitmap_set(atomic_load(&tracker->map[generation & 1]),
			&group->pages, block, 1);
	atomic_fetch_sub(stopped,
			 HVRI_COUNT_FLIGHT + HVRI_COUNT_PUBLISHING);
	hvri_tracker_kick(tracker);
	hvrepl_group_process(group);
}

START_TEST(a_cut_is_not_listed_before_its_bits_stand)
{
	struct hvrepl_cut_info info = HVREPL_CUT_INFO_INIT;
	struct hvrepl_cut_disk part = HVREPL_CUT_DISK_INIT;
	struct hvrepl_extent extent;
	uint32_t count = 1;
	uint64_t end;

	open_all(0, 0);
	write_at(0, BLOCK, 1);
	memcpy(then, sim_disk_bytes(disk), SIZE);
	stop_a_writer((uint32_t)_i);
	cut = make_cut();
	ck_assert_int_eq(hvrepl_cut_get_info(cut, &info), HVREPL_OK);
	ck_assert_uint_eq(info.changed_bytes, 0);
	ck_assert_int_eq(hvrepl_cut_get_disk(cut, 0, &part), HVREPL_OK);
	ck_assert_uint_eq(part.changed_bytes, 0);
	ck_assert_int_eq(hvrepl_cut_next_extents(cut, 0, 0, &extent, &count,
						 &end),
			 HVREPL_E_BUSY);
	let_it_go(7, cut->generation);
	ck_assert_int_eq(hvrepl_cut_get_disk(cut, 0, &part), HVREPL_OK);
	ck_assert_uint_eq(part.changed_bytes, 2 * BLOCK);
	ck_assert_int_eq(hvrepl_cut_get_disk(cut, 0, &part), HVREPL_OK);
	ck_assert_uint_eq(part.changed_bytes, 2 * BLOCK);
	end_whole();
}
END_TEST

START_TEST(a_voided_cut_waits_for_the_bits_of_its_writers_also_when_it_is_closed)
{
	struct hvrepl_ticket over_it, cold;
	hvrepl_cut *next;
	const uint8_t *bytes;
	uint64_t generation;
	uint32_t length;

	open_all(0, 0);
	write_at(0, BLOCK, 1);
	stop_a_writer(0);
	cut = make_cut();
	generation = cut->generation;
	/* It waits, for the bits are not known; and goes on though they are not. */
	ck_assert_int_eq(begin(&over_it, 30 * BLOCK, BLOCK, 0), HVREPL_PENDING);
	void_it();
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	hvrepl_tracker_write_end(tracker, &over_it, HVREPL_OK);
	completions = 0;
	ck_assert_uint_eq(dirty(), BLOCK); /* The others are not back yet. */
	ck_assert_int_eq(hvri_cut_chunk(cut, 0, 0, &bytes, &length),
			 HVREPL_E_VOIDED);
	/* No writer waits for what is void. */
	ck_assert_int_eq(begin(&over_it, 0, BLOCK, 0), HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &over_it, HVREPL_OK);
	/* One that waits for its mark finds nothing to be copied. */
	ck_assert(hvri_file_take(tracker, false));
	ck_assert_int_eq(begin(&cold, 20 * REGION, BLOCK, 0), HVREPL_PENDING);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 0);
	hvri_file_give(tracker);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	hvrepl_tracker_write_end(tracker, &cold, HVREPL_OK);
	ck_assert_int_eq(hvrepl_group_cut(group, 0, NULL, &next),
			 HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_E_VOIDED);
	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_E_BUSY);
	let_it_go(7, generation);
	/* Blocks 0, 7, 30 and that of the cold region. */
	ck_assert_uint_eq(dirty(), 4 * BLOCK);
	cut = make_cut();
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cut nested");
	TCase *tcase = tcase_create("all");

	tcase_add_checked_fixture(tcase, setup_nested, teardown);
	tcase_add_test(
		tcase,
		what_was_read_of_a_cut_that_is_void_by_then_is_thrown_away);
	tcase_add_test(
		tcase,
		a_writer_goes_on_when_the_cut_is_voided_while_its_blocks_are_copied);
	tcase_add_loop_test(
		tcase, a_direct_read_of_a_cut_that_is_voided_meanwhile_says_so,
		0, 2);
	tcase_add_test(tcase, a_writer_waits_while_its_block_is_read_directly);
	tcase_add_test(tcase, a_cut_is_spooled_while_it_is_read_directly);
	tcase_add_test(
		tcase,
		what_lies_around_blocks_that_are_being_copied_is_read_from_the_disk);
	tcase_add_test(tcase, a_cut_that_is_half_spooled_is_read_from_both);
	tcase_add_test(
		tcase, what_lies_behind_the_window_of_a_cut_is_not_read_from_it);
	tcase_add_test(
		tcase, more_places_apart_than_one_claim_holds_are_all_copied);
	tcase_add_test(
		tcase, a_cut_of_many_places_apart_is_spooled_claim_by_claim);
	tcase_add_loop_test(
		tcase, another_thread_goes_on_while_the_disk_is_asked, 0, 3);
	tcase_add_test(
		tcase, a_cut_that_is_voided_while_the_disk_is_asked_is_not_read);
	tcase_add_test(tcase, a_cut_that_is_being_read_is_not_acknowledged);
	tcase_add_test(tcase, a_cut_that_is_being_packed_is_not_acknowledged);
	tcase_add_test(tcase, a_cut_with_writes_in_flight_is_not_acknowledged);
	tcase_add_test(tcase, cuts_of_a_disk_are_settled_in_their_order);
	tcase_add_loop_test(tcase, a_cut_is_not_listed_before_its_bits_stand, 0,
			    2);
	tcase_add_test(
		tcase,
		a_voided_cut_waits_for_the_bits_of_its_writers_also_when_it_is_closed);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
