/* SPDX-License-Identifier: Apache-2.0 */
/* The tracker's file while it cannot be written, is busy, or is damaged under its
 * tracker (T7, T8): what cannot be marked is said elsewhere, once, until the file
 * serves again; a close that fails leaves a tracker that works or is fenced. */
#include "diskbed.h"

static int32_t trust_result;
static unsigned trust_calls[2];
static hvrepl_op *trust_op;

static int32_t trust(void *user, hvrepl_op *op, uint32_t trusted)
{
	(void)user;
	trust_calls[trusted]++;
	trust_op = op;
	return trust_result;
}

static struct hvrepl_tracker_options trusting(uint32_t flags)
{
	struct hvrepl_tracker_options options = base_options(flags);

	options.trust = trust;
	return options;
}

static void open_trusting(void)
{
	struct hvrepl_tracker_options options = trusting(HVREPL_TRACKER_CREATE);

	trust_result = HVREPL_OK;
	memset(trust_calls, 0, sizeof(trust_calls));
	completions = 0;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
}

static void file_fails(bool fails)
{
	sim.fail_code = HVREPL_E_STORAGE_IO;
	sim.fail_on = fails;
	sim.fail_at = fails ? sim.call_count : UINT64_MAX;
}

static void begin_cold(struct hvrepl_ticket *ticket, uint64_t offset)
{
	*ticket = new_ticket();
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, offset, 512, 0,
						    ticket),
			 HVREPL_PENDING);
}

static void end(struct hvrepl_ticket *ticket)
{
	ck_assert_int_eq(hvrepl_tracker_write_end(tracker, ticket, HVREPL_OK),
			 HVREPL_OK);
}

/* A mark failed, and the application has it on record. */
static void lose_trust(void)
{
	struct hvrepl_ticket ticket;

	file_fails(true);
	begin_cold(&ticket, 0);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_OK);
	ck_assert_uint_eq(info().untrusted, 1);
	end(&ticket);
}

static void retry(void)
{
	env.now_ns += 1000000000;
	hvrepl_group_process(group);
}

START_TEST(a_record_that_cannot_be_taken_back_costs_a_compare_and_no_close)
{
	struct hvrepl_tracker_options options;

	open_trusting();
	lose_trust();
	file_fails(false);
	trust_result = HVREPL_E_UNAVAILABLE;
	/* The flush of the disk, then the first of the marks that are missing. */
	sim.fail_at = sim.call_count + 1;
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN),
			 HVREPL_E_STORAGE_IO);
	detach(HVREPL_DETACH_CLEAN);
	ck_assert_uint_eq(trust_calls[1], 1);
	/* As it is still on record. */
	options = trusting(HVREPL_TRACKER_UNTRUSTED);
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	ck_assert_uint_eq(trust_calls[1], 2);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_WHOLE);
	detach(HVREPL_DETACH_CLEAN);
	options.trust = NULL;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_WHOLE);
}
END_TEST

START_TEST(an_answer_that_is_none_fails_the_write)
{
	struct hvrepl_ticket ticket;

	open_trusting();
	trust_result = 7;
	file_fails(true);
	begin_cold(&ticket, 0);
	hvrepl_group_process(group);
	ck_assert_int_eq(last_result, HVREPL_E_CALLBACK);
	file_fails(false);
	ck_assert_uint_eq(info().untrusted, 0);
	write_at(0, 512);
}
END_TEST

START_TEST(the_application_is_asked_once_however_many_marks_fail)
{
	struct hvrepl_ticket first, second;

	open_trusting();
	trust_result = HVREPL_PENDING;
	file_fails(true);
	begin_cold(&first, 0);
	hvrepl_group_process(group);
	begin_cold(&second, 9 * REGION);
	hvrepl_group_process(group);
	ck_assert_uint_eq(trust_calls[0], 1);
	/* Past their deadline they wait for the answer, and nothing falls due. */
	env.now_ns += 60000000;
	hvrepl_group_process(group);
	ck_assert_uint_eq(hvrepl_group_deadline(group), UINT64_MAX);
	ck_assert_uint_eq(completions, 0);
	ck_assert_uint_eq(trust_calls[0], 1);
	hvrepl_op_complete(trust_op, HVREPL_OK);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 2);
	ck_assert_int_eq(last_result, HVREPL_OK);
	end(&first);
	end(&second);
	file_fails(false);
}
END_TEST

START_TEST(nothing_is_detached_that_waits_for_a_mark_or_an_answer)
{
	struct hvrepl_ticket ticket;

	open_trusting();
	begin_cold(&ticket, 0);
	ck_assert_uint_eq(info().writes_in_flight, 0);
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_E_BUSY);
	hvrepl_group_process(group);
	end(&ticket);
	completions = 0;
	file_fails(true);
	begin_cold(&ticket, 9 * REGION);
	hvrepl_group_process(group);
	end(&ticket);
	file_fails(false);
	trust_result = HVREPL_PENDING;
	retry();
	ck_assert_uint_eq(trust_calls[1], 1);
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN),
			 HVREPL_E_BUSY);
	hvrepl_op_complete(trust_op, HVREPL_OK);
	hvrepl_group_process(group);
	ck_assert_uint_eq(info().untrusted, 0);
	detach(HVREPL_DETACH_CLEAN);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_CLEAN);
}
END_TEST

/* The file is busy, then it fails again, then the application does. */
START_TEST(trust_comes_back_when_file_and_application_have_it)
{
	open_trusting();
	lose_trust();
	ck_assert(hvri_file_take(tracker, false));
	retry();
	hvri_file_give(tracker);
	ck_assert_uint_eq(trust_calls[1], 0);
	retry();
	ck_assert_uint_eq(trust_calls[1], 0);
	file_fails(false);
	trust_result = HVREPL_E_UNAVAILABLE;
	retry();
	ck_assert_uint_eq(trust_calls[1], 1);
	ck_assert_uint_eq(info().untrusted, 1);
	trust_result = HVREPL_OK;
	retry();
	ck_assert_uint_eq(trust_calls[1], 2);
	ck_assert_uint_eq(info().untrusted, 0);
}
END_TEST

/* ---- Another thread, from within a callback. ---- */

static unsigned clock_calls, clock_at;

static uint64_t clock_that_serves(void *user)
{
	(void)user;
	if (clock_calls++ == clock_at) {
		hvri_tracker_kick(tracker);
		hvrepl_group_process(group);
	}
	return env.now_ns;
}

START_TEST(two_threads_that_write_the_file_again_ask_once)
{
	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_OK);
	env.env.monotonic_ns = clock_that_serves;
	clock_at = UINT32_MAX;
	make_group();
	for (unsigned n = 0; n < 6; n++) {
		open_trusting();
		lose_trust();
		file_fails(false);
		trust_result = HVREPL_PENDING;
		env.now_ns += 1000000000;
		clock_calls = 0;
		clock_at = n;
		hvrepl_group_process(group);
		clock_at = UINT32_MAX;
		ck_assert_uint_eq(trust_calls[1], 1);
		hvrepl_op_complete(trust_op, HVREPL_OK);
		hvrepl_group_process(group);
		ck_assert_uint_eq(info().untrusted, 0);
		detach(HVREPL_DETACH_CLEAN);
		sim_restart(&sim, false);
		{
			struct hvrepl_storage storage =
				sim_storage_handle(files);

			ck_assert_int_eq(storage.ops->remove(storage.user,
							     "d.hvt"),
					 HVREPL_OK);
		}
	}
	open_trusting();
}
END_TEST

static void hang_past_the_deadline(void *argument)
{
	(void)argument;
	sim.hook = NULL;
	env.now_ns += 50000000;
	hvrepl_group_process(group);
	sim.fail_at = sim.call_count;
}

/* It hung, the write went on as untrusted, and in the end it failed. */
START_TEST(a_mark_that_fails_after_it_was_given_up_is_not_told_again)
{
	struct hvrepl_ticket ticket;

	open_trusting();
	begin_cold(&ticket, 0);
	sim.hook = hang_past_the_deadline;
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_OK);
	ck_assert_uint_eq(trust_calls[0], 1);
	ck_assert_uint_eq(info().untrusted, 1);
	end(&ticket);
}
END_TEST

START_TEST(a_region_that_cools_when_trust_is_lost_is_hot_again)
{
	struct hvrepl_ticket flying = new_ticket(), cold;

	open_trusting();
	write_at(5 * REGION, 512);
	write_at(7 * REGION, 512);
	acknowledge();
	/* Holds the grace. */
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 7 * REGION, 512, 0,
						    &flying),
			 HVREPL_OK);
	cool_down();
	ck_assert_uint_eq(atomic_load(&tracker->region[5]) & HVRI_REGION_STATE,
			  HVRI_REGION_COOLING);
	file_fails(true);
	completions = 0;
	begin_cold(&cold, 0);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_uint_eq(info().hot_regions, SIZE / REGION);
	for (uint64_t i = 0; i < SIZE / REGION; i++)
		ck_assert_uint_eq(atomic_load(&tracker->region[i]) &
					  HVRI_REGION_STATE,
				  HVRI_REGION_HOT);
	end(&flying);
	end(&cold);
	file_fails(false);
}
END_TEST

static struct hvrepl_ticket met;

static void lose_trust_inside(void *argument)
{
	(void)argument;
	if ((atomic_load(&tracker->region[5]) & HVRI_REGION_STATE) !=
	    HVRI_REGION_ERASING)
		return;
	sim.hook = NULL;
	begin_cold(&met, 0);
	env.now_ns += 50000000;
	hvrepl_group_process(group);
	ck_assert_uint_eq(info().untrusted, 1);
}

START_TEST(a_region_that_is_erased_when_trust_is_lost_stays_hot)
{
	open_trusting();
	write_at(5 * REGION, 512);
	acknowledge();
	completions = 0;
	sim.hook = lose_trust_inside;
	cool_down();
	ck_assert_ptr_null(sim.hook);
	ck_assert_uint_eq(completions, 1);
	ck_assert_uint_eq(info().hot_regions, SIZE / REGION);
	ck_assert_uint_eq(info().cooled, 0);
	end(&met);
	/* The whole map was written again, with it; what nobody wrote cools. */
	retry();
	ck_assert_uint_eq(info().untrusted, 0);
	write_at(5 * REGION, 512);
	detach(0);
	sim_restart(&sim, true);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, 2 * REGION);
}
END_TEST

static void serve_inside(void *argument)
{
	(void)argument;
	hvri_tracker_kick(tracker);
	hvrepl_group_process(group);
}

START_TEST(one_sweep_at_a_time_cools)
{
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	acknowledge();
	sim.hook = serve_inside;
	cool_down();
	sim.hook = NULL;
	ck_assert_uint_eq(info().cooled, 1);
	ck_assert_uint_eq(info().hot_regions, 0);
}
END_TEST

START_TEST(nothing_cools_while_its_acknowledgement_cannot_be_saved)
{
	struct hvrepl_tracker_info found;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	acknowledge();
	ck_assert(hvri_file_take(tracker, false));
	cool_down();
	found = info();
	hvri_file_give(tracker);
	ck_assert_uint_eq(found.cooled, 0);
	ck_assert_uint_eq(found.hot_regions, 1);
	cool_down();
	ck_assert_uint_eq(info().cooled, 1);
}
END_TEST

/* While untrusted: the wait for a copy is due before the file is tried again. */
START_TEST(a_wait_for_a_copy_ends_in_time_also_while_untrusted)
{
	struct hvrepl_ticket owed = new_ticket(), flying = new_ticket();
	hvrepl_cut *cut;

	open_trusting();
	lose_trust();
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 9 * REGION, 512, 0,
						    &flying),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_group_cut(group, 0, NULL, &cut), HVREPL_OK);
	completions = 0;
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 512, 0, &owed),
			 HVREPL_PENDING);
	hvrepl_group_process(group);
	ck_assert_uint_eq(hvrepl_group_deadline(group), env.now_ns + 50000000);
	env.now_ns += 1000;
	atomic_store(&group->timer_at, 0);
	hvrepl_group_process(group);
	ck_assert_uint_eq(hvrepl_group_deadline(group),
			  env.now_ns + 50000000 - 1000);
	env.now_ns += 50000000;
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_OK);
	end(&owed);
	end(&flying);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_E_VOIDED);
	file_fails(false);
}
END_TEST

/* What it waited for moved on: the pump is told when it leaves. */
START_TEST(a_discard_that_is_dropped_under_a_fence_lets_it_close)
{
	struct hvrepl_ticket discard = new_ticket();
	hvrepl_cut *cut;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	ck_assert_int_eq(hvrepl_group_cut(group, 0, NULL, &cut), HVREPL_OK);
	completions = 0;
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 512,
						    HVREPL_WRITE_DISCARD,
						    &discard),
			 HVREPL_PENDING);
	ck_assert_int_eq(hvrepl_tracker_fence(tracker), HVREPL_E_BUSY);
	env.now_ns += 50000000;
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_tracker_fence(tracker), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
}
END_TEST

/* ---- Saved and closed. ---- */

START_TEST(a_disk_that_does_not_answer_is_neither_saved_nor_closed)
{
	struct test_refusals refusals = { 0, 0, false };

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	sim.refusals = &refusals;
	ck_assert_int_eq(hvrepl_tracker_save(tracker, NULL), HVREPL_E_DISK_IO);
	refusals.count = 0;
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN),
			 HVREPL_E_DISK_IO);
	sim.refusals = NULL;
	write_at(REGION, 512);
	for (long n = 0; tracker != NULL; n++) {
		int32_t rc;

		env.alloc_fail_at = n;
		rc = hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN);
		env.alloc_fail_at = -1;
		ck_assert(rc == HVREPL_OK || rc == HVREPL_E_NOMEM);
		if (rc == HVREPL_OK)
			tracker = NULL;
	}
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_CLEAN);
	ck_assert_uint_eq(info().dirty_bytes, 2 * BLOCK);
}
END_TEST

/* Nothing that can be read says that another took it over: it is written on. */
START_TEST(a_save_goes_on_over_headers_that_are_none)
{
	struct hvri_hvt_header header;
	uint64_t size;
	uint8_t *bytes;
	bool damaged;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	bytes = sim_object_bytes(files, "d.hvt", &size);
	ck_assert_int_eq(hvri_hvt_newest(bytes, bytes + HVRI_HVT_SLOT_STRIDE,
					 NULL, &header, &damaged),
			 HVREPL_OK);
	header.disk.bytes[3] ^= 1;
	header.incarnation += 5;
	for (unsigned slot = 0; slot < 2; slot++) {
		if (_i == 0)
			bytes[slot * HVRI_HVT_SLOT_STRIDE] ^= 1;
		else
			hvri_hvt_header_encode(
				&header, bytes + slot * HVRI_HVT_SLOT_STRIDE);
	}
	ck_assert_int_eq(hvrepl_tracker_save(tracker, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_tracker_save(tracker, NULL), HVREPL_OK);
	detach(0);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, REGION);
}
END_TEST

static uint64_t again_after;

static void fail_again(void *argument)
{
	(void)argument;
	if (sim.failed == 1 && again_after != UINT64_MAX) {
		sim.fail_at = sim.call_count + again_after;
		again_after = UINT64_MAX;
	}
}

/* The file may say "closed" then: what cannot be said otherwise is fenced. */
START_TEST(a_close_that_fails_twice_leaves_no_writer_on_a_closed_file)
{
	unsigned poisoned = 0;
	bool failed = true;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	for (uint64_t n = 0; failed; n++) {
		struct hvrepl_ticket ticket = new_ticket();
		uint64_t at = n * REGION; /* Where nothing is dirty yet. */
		int32_t rc;

		ck_assert_uint_lt(at, SIZE);
		ck_assert(!is_dirty(at));
		write_at(at, 512);
		sim.failed = 0;
		sim.fail_at = sim.call_count + n;
		sim.fail_code = HVREPL_E_STORAGE_IO;
		again_after = (uint64_t)_i;
		sim.hook = fail_again;
		rc = hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN);
		sim.hook = NULL;
		sim.fail_at = UINT64_MAX;
		failed = rc < 0;
		if (rc == HVREPL_E_POISONED) {
			poisoned++;
			ck_assert_int_eq(hvrepl_tracker_write_begin(
						 tracker, 0, 512, 0, &ticket),
					 HVREPL_E_FENCED);
		} else if (failed) {
			write_at(at + BLOCK, 512);
		}
		if (failed)
			detach(0);
		tracker = NULL;
		sim_restart(&sim, true);
		ck_assert_int_eq(attach(0), HVREPL_OK);
		ck_assert(rc == HVREPL_E_POISONED ||
			  info().recovery == (failed ? HVREPL_RECOVERY_HOT :
						       HVREPL_RECOVERY_CLEAN));
		ck_assert(is_dirty(at));
		ck_assert(!failed || rc == HVREPL_E_POISONED ||
			  is_dirty(at + BLOCK));
	}
	ck_assert_uint_gt(poisoned, 0);
}
END_TEST

/* ---- Memory, and the executor. ---- */

START_TEST(a_tracker_without_memory_for_its_map_tracks_coarser)
{
	struct hvrepl_tracker_options options =
		base_options(HVREPL_TRACKER_CREATE);
	struct hvrepl_ticket ticket;
	int32_t rc = HVREPL_E_NOMEM;

	env.alloc_fail_on = true;
	for (long n = 0; rc < 0; n++) {
		struct hvrepl_storage storage = sim_storage_handle(files);

		ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_OK);
		env.alloc_fail_at = -1;
		make_group();
		(void)storage.ops->remove(storage.user, "d.hvt");
		env.alloc_fail_at = n;
		rc = attach_with(&options);
	}
	begin_cold(&ticket, 3 * REGION);
	hvrepl_group_process(group);
	ck_assert_int_eq(last_result, HVREPL_OK);
	env.alloc_fail_at = -1;
	env.alloc_fail_on = false;
	end(&ticket);
	ck_assert(is_dirty(3 * REGION));
	/* Coarser, and no more than there is. */
	ck_assert_uint_gt(info().dirty_bytes, BLOCK);
	ck_assert_uint_le(info().dirty_bytes, SIZE);
}
END_TEST

static void (*job)(void *argument);
static void *job_argument;

static int32_t execute(void *user, void (*run)(void *argument), void *argument)
{
	(void)user;
	job = run;
	job_argument = argument;
	return HVREPL_OK;
}

START_TEST(a_group_waits_for_its_job_on_the_executor)
{
	hvrepl_group *made;
	struct hvrepl_env with = env.env;

	with.execute = execute;
	ck_assert_int_eq(hvrepl_group_create(&with, NULL, NULL, &made),
			 HVREPL_OK);
	hvri_group_kick(made);
	ck_assert_ptr_nonnull(job);
	ck_assert_int_eq(hvrepl_group_destroy(made), HVREPL_E_BUSY);
	job(job_argument);
	ck_assert_int_eq(hvrepl_group_destroy(made), HVREPL_OK);
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tracker lost");
	TCase *tcase = tcase_create("all");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(
		tcase,
		a_record_that_cannot_be_taken_back_costs_a_compare_and_no_close);
	tcase_add_test(tcase, an_answer_that_is_none_fails_the_write);
	tcase_add_test(tcase,
		       the_application_is_asked_once_however_many_marks_fail);
	tcase_add_test(tcase,
		       nothing_is_detached_that_waits_for_a_mark_or_an_answer);
	tcase_add_test(tcase,
		       trust_comes_back_when_file_and_application_have_it);
	tcase_add_test(tcase, two_threads_that_write_the_file_again_ask_once);
	tcase_add_test(tcase,
		       a_mark_that_fails_after_it_was_given_up_is_not_told_again);
	tcase_add_test(tcase,
		       a_region_that_cools_when_trust_is_lost_is_hot_again);
	tcase_add_test(tcase,
		       a_region_that_is_erased_when_trust_is_lost_stays_hot);
	tcase_add_test(tcase, one_sweep_at_a_time_cools);
	tcase_add_test(tcase,
		       nothing_cools_while_its_acknowledgement_cannot_be_saved);
	tcase_add_test(tcase,
		       a_wait_for_a_copy_ends_in_time_also_while_untrusted);
	tcase_add_test(tcase,
		       a_discard_that_is_dropped_under_a_fence_lets_it_close);
	tcase_add_test(
		tcase, a_disk_that_does_not_answer_is_neither_saved_nor_closed);
	tcase_add_loop_test(tcase, a_save_goes_on_over_headers_that_are_none, 0,
			    2);
	tcase_add_loop_test(
		tcase,
		a_close_that_fails_twice_leaves_no_writer_on_a_closed_file, 0,
		4);
	tcase_add_test(tcase,
		       a_tracker_without_memory_for_its_map_tracks_coarser);
	tcase_add_test(tcase, a_group_waits_for_its_job_on_the_executor);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
