/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts of two disks, of which one is slower than the other, fails, or is let go: the
 * other one is served, and no change of either is forgotten. */
#include "cutbed.h"

#include "tracker/cut.h"

#define MORE 7u /* Trackers beside these two that fill the group's places. */

static struct sim_disk *second;
static hvrepl_tracker *other;

static int32_t attach_another(const char *id, struct sim_disk *its,
			      hvrepl_tracker **out)
{
	struct hvrepl_disk taken = sim_disk_handle(its);
	struct hvrepl_storage storage = sim_storage_handle(files);
	struct hvrepl_tracker_options options = HVREPL_TRACKER_OPTIONS_INIT;

	options.flags = HVREPL_TRACKER_CREATE;
	options.object_id = id;
	options.block_size = BLOCK;
	options.region_size = REGION;
	options.disk.bytes[0] = (uint8_t)id[0];
	return hvrepl_tracker_attach(group, &taken, &storage, &options, NULL,
				     out);
}

static void setup_two(void)
{
	setup();
	open_all(0, 0);
	second = sim_disk_new(&sim, SIZE);
	second->flags = HVREPL_DISK_EXCLUSIVE;
	ck_assert_int_eq(attach_another("e.hvt", second, &other), HVREPL_OK);
}

static void teardown_two(void)
{
	if (other != NULL)
		ck_assert_int_eq(hvrepl_tracker_detach(other, 0), HVREPL_OK);
	other = NULL;
	teardown();
}

static int32_t begin_other(struct hvrepl_ticket *ticket, uint64_t offset)
{
	hvrepl_tracker *mine = tracker;
	int32_t rc;

	tracker = other;
	rc = begin(ticket, offset, BLOCK, 0);
	tracker = mine;
	return rc;
}

static void write_other(uint64_t offset)
{
	struct hvrepl_ticket ticket;

	if (begin_other(&ticket, offset) == HVREPL_PENDING)
		hvrepl_group_process(group);
	hvrepl_tracker_write_end(other, &ticket, HVREPL_OK);
}

static uint64_t dirty_other(void)
{
	hvrepl_tracker *mine = tracker;
	uint64_t bytes;

	tracker = other;
	bytes = dirty();
	tracker = mine;
	return bytes;
}

static void advance_to_wait(hvrepl_cut *cut)
{
	for (uint32_t progress = 0; progress != HVREPL_CUT_WAITING;)
		ck_assert_int_eq(hvrepl_cut_advance(cut, 1, &progress),
				 HVREPL_OK);
}

static hvrepl_cut *ending;

static void end_the_other(void *user)
{
	hvrepl_cut *cut = ending;
	uint32_t progress = 0;

	(void)user;
	woken++;
	if (cut == NULL || !cut->parts[0].detached)
		return;
	ending = NULL;
	while (progress != HVREPL_CUT_DONE)
		ck_assert_int_eq(hvrepl_cut_advance(cut, 1, &progress),
				 HVREPL_OK);
}

/* Both see that there is nothing left: one of them says that it is spooled. */
START_TEST(two_threads_that_end_the_last_two_disks_end_the_cut_once)
{
	struct hvrepl_ticket cold;
	hvrepl_cut *cut;

	write_at(0, BLOCK, 1);
	write_other(0);
	cut = make_cut();
	ck_assert_int_eq(begin(&cold, 9 * REGION, BLOCK, 0), HVREPL_PENDING);
	group->wake = end_the_other;
	ending = cut;
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_ptr_null(ending);
	group->wake = wake;
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	hvrepl_tracker_write_end(tracker, &cold, HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), BLOCK);
	ck_assert_uint_eq(dirty_other(), 0);
}
END_TEST

START_TEST(a_disk_that_is_read_to_its_end_waits_for_the_other)
{
	struct hvrepl_ticket flying;
	hvrepl_cut *cut;

	write_at(0, BLOCK, 1);
	write_other(0);
	ck_assert_int_eq(begin_other(&flying, 0), HVREPL_OK);
	cut = make_cut();
	advance_to_wait(cut);
	advance_to_wait(cut);
	ck_assert(cut->parts[0].detached && !cut->parts[1].detached);
	hvrepl_tracker_write_end(other, &flying, HVREPL_OK);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty() + dirty_other(), 0);
}
END_TEST

/* A writer of one disk was stopped before it set its bit: the bits of the other
 * one are back at once, and only once. */
START_TEST(a_voided_cut_gives_back_one_disk_after_the_other)
{
	_Atomic uint64_t *counter;
	hvrepl_cut *cut;

	write_at(0, BLOCK, 1);
	write_other(0);
	counter = &other->shards[0].counter
			   [hvri_generation(atomic_load(&group->word)) & 1];
	atomic_fetch_add(counter, HVRI_COUNT_FLIGHT + HVRI_COUNT_PUBLISHING);
	cut = make_cut();
	ck_assert_int_eq(hvrepl_cut_void(cut), HVREPL_OK);
	ck_assert_uint_eq(dirty(), BLOCK);
	ck_assert_uint_eq(dirty_other(), 0);
	hvrepl_group_process(group);
	ck_assert_uint_eq(dirty(), BLOCK);
	atomic_fetch_sub(counter, HVRI_COUNT_FLIGHT + HVRI_COUNT_PUBLISHING);
	hvrepl_group_process(group);
	ck_assert_uint_eq(dirty_other(), BLOCK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
}
END_TEST

START_TEST(what_was_acknowledged_of_a_cut_stays_so_when_the_rest_is_voided)
{
	hvrepl_cut *cut;

	write_at(0, BLOCK, 1);
	write_other(0);
	cut = make_cut();
	ck_assert_int_eq(hvrepl_cut_settle(cut, 0, HVREPL_OK), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_void(cut), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 0);
	ck_assert_uint_eq(dirty_other(), BLOCK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
}
END_TEST

START_TEST(of_a_disk_whose_shipping_failed_nothing_is_listed_or_complete)
{
	struct hvrepl_extent extent;
	uint32_t count = 1, chunks;
	uint64_t end;
	hvrepl_cut *cut;
	bool complete;

	write_at(0, BLOCK, 1);
	write_other(0);
	cut = make_cut();
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_settle(cut, 0, HVREPL_E_DISCONNECTED),
			 HVREPL_OK);
	ck_assert_uint_eq(state_of(cut), HVREPL_CUT_SPOOLED);
	ck_assert_int_eq(hvrepl_cut_next_extents(cut, 0, 0, &extent, &count,
						 &end),
			 HVREPL_E_VOIDED);
	hvri_cut_progress(cut, 0, &chunks, &complete);
	ck_assert(!complete);
	hvri_cut_progress(cut, 1, &chunks, &complete);
	ck_assert(complete);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_E_VOIDED);
	/* And of one that was voided whole. */
	cut = make_cut();
	ck_assert_int_eq(hvrepl_cut_void(cut), HVREPL_OK);
	hvri_cut_progress(cut, 1, &chunks, &complete);
	ck_assert(!complete);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
	ck_assert_uint_eq(dirty(), BLOCK);
}
END_TEST

START_TEST(a_tracker_that_waits_to_be_served_is_detached_from_among_others)
{
	struct hvrepl_ticket ticket;

	/* Both are in the queue of the pump, which has not run. */
	ck_assert_int_eq(begin(&ticket, 0, BLOCK, 0), HVREPL_PENDING);
	hvri_tracker_kick(other);
	ck_assert_int_eq(hvrepl_tracker_detach(other, HVREPL_DETACH_CLEAN),
			 HVREPL_OK);
	other = NULL;
	hvrepl_group_process(group);
	ck_assert_int_eq(last_result, HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	ck_assert_uint_eq(dirty(), BLOCK);
}
END_TEST

/* T8, without a call to disk or storage: the first that falls due is told. */
START_TEST(a_hurry_says_when_the_next_mark_falls_due)
{
	struct hvrepl_ticket early, late, last;
	uint64_t due = env.now_ns + 50000000;

	completions = 0;
	ck_assert_uint_eq(hvri_group_hurry(group, env.now_ns), UINT64_MAX);
	ck_assert_int_eq(begin(&early, 0, BLOCK, 0), HVREPL_PENDING);
	env.now_ns += 1000;
	ck_assert_int_eq(begin(&late, 9 * REGION, BLOCK, 0), HVREPL_PENDING);
	ck_assert_int_eq(begin_other(&last, 0), HVREPL_PENDING);
	ck_assert_uint_eq(hvri_group_hurry(group, env.now_ns), due);
	ck_assert_uint_eq(completions, 0);
	/* Nowhere to say "untrusted": those that are due fail. */
	ck_assert_uint_eq(hvri_group_hurry(group, due), due + 1000);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_E_TIMEOUT);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 3);
	hvrepl_tracker_write_end(tracker, &late, HVREPL_OK);
	hvrepl_tracker_write_end(other, &last, HVREPL_OK);
}
END_TEST

static hvrepl_tracker *more[MORE];

static void attach_the_last(void *argument)
{
	(void)argument;
	sim.hook = NULL;
	env.alloc_fail_on = false;
	env.alloc_fail_at = -1;
	ck_assert_int_eq(attach_another("z.hvt", sim_disk_new(&sim, SIZE),
					&more[MORE - 1]),
			 HVREPL_OK);
	/* From here on there is no memory. */
	env.alloc_fail_at = 0;
	env.alloc_fail_on = true;
	sim.fail_at = sim.call_count;
}

/* Its place is kept for it, though another one was attached meanwhile. */
START_TEST(a_tracker_whose_close_fails_is_still_in_its_group)
{
	static const char *const ids[] = { "f", "g", "h", "i", "j", "k" };
	hvrepl_cut *cut;

	for (unsigned i = 0; i < MORE - 1; i++)
		ck_assert_int_eq(attach_another(ids[i],
						sim_disk_new(&sim, SIZE),
						&more[i]),
				 HVREPL_OK);
	write_at(0, BLOCK, 1);
	sim.hook = attach_the_last;
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN),
			 sim.fail_code);
	env.alloc_fail_on = false;
	env.alloc_fail_at = -1;
	write_at(5 * BLOCK, BLOCK, 2);
	cut = make_cut();
	ck_assert_uint_eq(cut->part_count, MORE + 2);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 0);
	for (unsigned i = 0; i < MORE; i++)
		ck_assert_int_eq(hvrepl_tracker_detach(more[i], 0), HVREPL_OK);
}
END_TEST

START_TEST(a_disk_that_ends_within_a_block_is_counted_to_its_last_byte)
{
	struct hvrepl_cut_disk part = HVREPL_CUT_DISK_INIT;
	hvrepl_tracker *third;
	hvrepl_cut *cut;

	ck_assert_int_eq(attach_another("f.hvt", sim_disk_new(&sim, SIZE - 512),
					&third),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_tracker_mark_all(third), HVREPL_OK);
	cut = make_cut();
	ck_assert_int_eq(hvrepl_cut_get_disk(cut, 2, &part), HVREPL_OK);
	ck_assert_uint_eq(part.changed_bytes, SIZE - 512);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
	ck_assert_int_eq(hvrepl_tracker_detach(third, 0), HVREPL_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cut disks");
	TCase *tcase = tcase_create("all");

	tcase_add_checked_fixture(tcase, setup_two, teardown_two);
	tcase_add_test(
		tcase, two_threads_that_end_the_last_two_disks_end_the_cut_once);
	tcase_add_test(tcase,
		       a_disk_that_is_read_to_its_end_waits_for_the_other);
	tcase_add_test(tcase, a_voided_cut_gives_back_one_disk_after_the_other);
	tcase_add_test(
		tcase,
		what_was_acknowledged_of_a_cut_stays_so_when_the_rest_is_voided);
	tcase_add_test(
		tcase,
		of_a_disk_whose_shipping_failed_nothing_is_listed_or_complete);
	tcase_add_test(
		tcase,
		a_tracker_that_waits_to_be_served_is_detached_from_among_others);
	tcase_add_test(tcase, a_hurry_says_when_the_next_mark_falls_due);
	tcase_add_test(tcase,
		       a_tracker_whose_close_fails_is_still_in_its_group);
	tcase_add_test(
		tcase,
		a_disk_that_ends_within_a_block_is_counted_to_its_last_byte);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
