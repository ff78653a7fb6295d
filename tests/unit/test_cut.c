/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts: frozen content, owed blocks, voiding, windows, several disks. */
#include "cutbed.h"

/* T3: a write over an owed block waits for its copy, and for nothing else. */
START_TEST(a_write_over_an_owed_block_waits_for_its_copy)
{
	struct hvrepl_ticket owed, other;
	uint8_t *image = calloc(1, SIZE), *then = malloc(SIZE);
	hvrepl_cut *cut;

	open_all(0, 0);
	write_at(0, 8192, 1);
	write_at(100 * BLOCK, BLOCK, 2);
	memcpy(then, sim_disk_bytes(disk), SIZE);
	cut = make_cut();
	ck_assert_int_eq(begin(&other, 64 * BLOCK, BLOCK, 0), HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &other, HVREPL_OK);
	ck_assert_int_eq(begin(&owed, 4096, 512, 0), HVREPL_PENDING);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_OK);
	put(4096, 512, 9);
	hvrepl_tracker_write_end(tracker, &owed, HVREPL_OK);
	/* Copied once: the next write goes through. */
	ck_assert_int_eq(begin(&owed, 4096, 512, 0), HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &owed, HVREPL_OK);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_uint_eq(apply(cut, image), 9 * BLOCK);
	ck_assert_mem_eq(image, then, SIZE);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 2 * BLOCK);
	free(image);
	free(then);
}
END_TEST

/* T3: nothing is read while a write of the cut's own generation flies. */
START_TEST(a_cut_waits_for_the_writes_that_are_in_it)
{
	struct hvrepl_ticket flying, next;
	uint8_t *image = calloc(1, SIZE);
	uint32_t progress;
	hvrepl_cut *cut;

	open_all(0, 0);
	write_at(0, 4096, 1);
	ck_assert_int_eq(begin(&flying, 1024, 1024, 0), HVREPL_OK);
	cut = make_cut();
	ck_assert_int_eq(hvrepl_cut_advance(cut, 0, &progress), HVREPL_OK);
	ck_assert_uint_eq(progress, HVREPL_CUT_WAITING);
	/* A new write to a block of it waits too. */
	ck_assert_int_eq(begin(&next, 0, 512, 0), HVREPL_PENDING);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 0);
	put(1024, 1024, 5);
	woken = 0;
	hvrepl_tracker_write_end(tracker, &flying, HVREPL_OK);
	ck_assert_uint_gt(woken, 0);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	put(0, 512, 6);
	hvrepl_tracker_write_end(tracker, &next, HVREPL_OK);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	(void)apply(cut, image);
	ck_assert_mem_eq(image + 1024, sim_disk_bytes(disk) + 1024,
			 SIZE - 1024);
	ck_assert_mem_ne(image, sim_disk_bytes(disk), 512);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	free(image);
}
END_TEST

/* T3: at the deadline the point is given up, the write goes on, and no change
 * is forgotten, copied ones included. */
START_TEST(a_wait_that_is_too_long_voids_the_cut)
{
	struct hvrepl_ticket flying, next;
	struct hvrepl_cut_info info = HVREPL_CUT_INFO_INIT;
	hvrepl_cut *cut, *again;
	uint32_t progress;

	open_all(0, 0);
	write_at(0, 64 * BLOCK, 1);
	ck_assert_int_eq(begin(&flying, 1024, 1024, 0), HVREPL_OK);
	cut = make_cut();
	ck_assert_int_eq(begin(&next, 0, 512, 0), HVREPL_PENDING);
	hvrepl_group_process(group);
	ck_assert_uint_eq(hvrepl_group_deadline(group), env.now_ns + 50000000);
	env.now_ns += 49999999;
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 0);
	env.now_ns++;
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_get_info(cut, &info), HVREPL_OK);
	ck_assert_uint_eq(info.state, HVREPL_CUT_VOIDED);
	ck_assert_int_eq(info.reason, HVREPL_E_TIMEOUT);
	ck_assert_int_eq(hvrepl_cut_advance(cut, 0, &progress),
			 HVREPL_E_VOIDED);
	ck_assert_uint_eq(dirty(), 64 * BLOCK);
	/* T5: none opens while an older write is in flight. */
	ck_assert_int_eq(hvrepl_group_cut(group, 0, NULL, &again),
			 HVREPL_E_BUSY);
	hvrepl_tracker_write_end(tracker, &flying, HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &next, HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_E_VOIDED);
	again = make_cut();
	ck_assert_int_eq(spool(again), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(again, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 0);
}
END_TEST

/* Half copied, then voided: all bits are back (ORLEFT). */
START_TEST(a_voided_cut_gives_back_copied_blocks_too)
{
	hvrepl_cut *cut;
	uint32_t progress;

	open_all(0, 0);
	write_at(0, 1 << 20, 1);
	cut = make_cut();
	ck_assert_int_eq(hvrepl_cut_advance(cut, 1, &progress), HVREPL_OK);
	ck_assert_uint_eq(progress, HVREPL_CUT_MORE);
	ck_assert_int_eq(hvrepl_cut_void(cut), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 1 << 20);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 1 << 20);
}
END_TEST

/* A discard is dropped rather than a point. */
START_TEST(a_discard_over_owed_blocks_is_dropped)
{
	struct hvrepl_ticket ticket;
	hvrepl_cut *cut;

	open_all(0, 0);
	write_at(0, 64 * BLOCK, 1);
	cut = make_cut();
	ck_assert_int_eq(begin(&ticket, 0, SIZE, HVREPL_WRITE_DISCARD),
			 HVREPL_PENDING);
	hvrepl_group_process(group); /* Its region marks, then the wait. */
	ck_assert_uint_eq(completions, 0);
	env.now_ns += 50000000;
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_E_BUSY);
	ck_assert_uint_eq(state_of(cut), HVREPL_CUT_OPEN);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	/* Nothing owed any more. */
	ck_assert_int_eq(begin(&ticket, 0, SIZE, HVREPL_WRITE_DISCARD),
			 HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), SIZE);
}
END_TEST

/* A zero over many owed blocks is copied piece by piece and then goes on. */
START_TEST(a_large_zero_over_owed_blocks_is_copied_first)
{
	struct hvrepl_ticket ticket;
	uint8_t *image = calloc(1, SIZE), *then = malloc(SIZE);
	hvrepl_cut *cut;

	open_all(0, 0);
	write_at(0, SIZE, 3);
	memcpy(then, sim_disk_bytes(disk), SIZE);
	cut = make_cut();
	ck_assert_int_eq(begin(&ticket, 0, SIZE, HVREPL_WRITE_ZERO),
			 HVREPL_PENDING);
	completions = 0;
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	put(0, SIZE, 0);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_uint_eq(apply(cut, image), SIZE);
	ck_assert_mem_eq(image, then, SIZE);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	free(image);
	free(then);
}
END_TEST

/* A failed read, copy or spill voids; the next cut has everything. */
START_TEST(a_failed_read_or_spill_voids_and_loses_nothing)
{
	struct hvrepl_ticket ticket;
	hvrepl_cut *cut;
	bool voided = true;

	open_all(30000, 1 << 20);
	write_at(0, 100 * BLOCK, 1);
	for (uint64_t n = 0; voided; n++) {
		cut = make_cut();
		sim.fail_at = sim.call_count + n;
		sim.fail_code = n % 2 == 0 ? HVREPL_E_DISK_IO :
					     HVREPL_E_NO_SPACE;
		if (begin(&ticket, 50 * BLOCK, 512, 0) == HVREPL_PENDING)
			hvrepl_group_process(group);
		hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
		voided = spool(cut) < 0;
		sim.fail_at = UINT64_MAX;
		if (voided) {
			ck_assert_uint_eq(dirty(), 100 * BLOCK);
			ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK),
					 HVREPL_E_VOIDED);
		}
		ck_assert_uint_lt(n, 100);
	}
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), BLOCK);
}
END_TEST

START_TEST(every_failing_allocation_of_a_cut_loses_nothing)
{
	struct hvrepl_ticket ticket;
	bool done = false;

	open_all(0, 0);
	write_at(0, 100 * BLOCK, 1);
	for (long n = 0; !done; n++) {
		hvrepl_cut *cut = NULL;
		uint32_t progress = 0;
		int32_t rc;

		env.alloc_fail_at = n;
		rc = hvrepl_group_cut(group, 0, NULL, &cut);
		if (rc == HVREPL_OK) {
			if (begin(&ticket, 50 * BLOCK, 512, 0) ==
			    HVREPL_PENDING)
				hvrepl_group_process(group);
			hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
			while (rc == HVREPL_OK && progress != HVREPL_CUT_DONE)
				rc = hvrepl_cut_advance(cut, 0, &progress);
			/* NOMEM changed nothing: again. */
			while (rc == HVREPL_E_NOMEM ||
			       (rc == HVREPL_OK && progress != HVREPL_CUT_DONE))
				rc = hvrepl_cut_advance(cut, 0, &progress);
			done = env.alloc_fail_at >= 0;
		}
		env.alloc_fail_at = -1;
		ck_assert(rc == HVREPL_OK || rc == HVREPL_E_NOMEM ||
			  rc == HVREPL_E_VOIDED);
		/* Failed, so that all of it is dirty again. */
		ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED),
				 HVREPL_OK);
		ck_assert_uint_ge(dirty(), 100 * BLOCK);
		ck_assert_int_lt(n, 200);
	}
}
END_TEST

/* L1: a window of the dirty blocks; the rest stays dirty. */
START_TEST(a_limit_cuts_a_window_and_keeps_the_rest_dirty)
{
	struct hvrepl_cut_label label = HVREPL_CUT_LABEL_INIT;
	struct hvrepl_cut_disk part = HVREPL_CUT_DISK_INIT;
	struct hvrepl_ticket ticket;
	uint8_t *image = calloc(1, SIZE);
	uint64_t window = 1 << 20;

	open_all(0, 0);
	put(0, SIZE, 4);
	ck_assert_int_eq(hvrepl_tracker_mark_all(tracker), HVREPL_OK);
	label.limit = 1000;
	ck_assert_int_eq(hvrepl_tracker_set_label(tracker, &label),
			 HVREPL_E_INVALID);
	for (uint64_t end = window; end <= SIZE; end += window) {
		hvrepl_cut *cut;

		label.limit = end == SIZE ? UINT64_MAX : end;
		label.to_point = end / window;
		ck_assert_int_eq(hvrepl_tracker_set_label(tracker, &label),
				 HVREPL_OK);
		cut = make_cut();
		/* Beyond the window nothing is frozen. */
		if (end < SIZE) {
			ck_assert_int_eq(begin(&ticket, end, 512, 0),
					 HVREPL_OK);
			put(end, 512, end);
			hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
		}
		ck_assert_int_eq(spool(cut), HVREPL_OK);
		ck_assert_int_eq(hvrepl_cut_get_disk(cut, 0, &part), HVREPL_OK);
		ck_assert_uint_eq(part.limit, end);
		ck_assert_uint_eq(part.changed_bytes, window);
		ck_assert_uint_eq(hvri_cut_header(cut, 0)->identity.to_point,
				  end / window);
		ck_assert_uint_eq(apply(cut, image), window);
		ck_assert_uint_eq(dirty(), SIZE - end);
		ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
		ck_assert_uint_eq(dirty(), SIZE - end);
	}
	ck_assert_mem_eq(image, sim_disk_bytes(disk), SIZE);
	free(image);
}
END_TEST

/* T5. */
START_TEST(a_cut_due_while_one_is_open_is_a_miss)
{
	struct hvri_group_counts counts;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_cut *cut, *second;

	open_all(0, 0);
	cut = make_cut();
	ck_assert_int_eq(hvrepl_group_cut(group, 0, &error, &second),
			 HVREPL_E_BUSY);
	ck_assert_ptr_nonnull(strstr(error.sentence, "still open"));
	hvri_group_count(group, &counts);
	ck_assert_uint_eq(counts.missed, 1);
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN),
			 HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_E_BUSY);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
}
END_TEST

/* T5: spooled cuts queue, are acknowledged in order, fail as a suffix. */
START_TEST(spooled_cuts_fail_with_all_after_them)
{
	hvrepl_cut *cut[3];

	open_all(0, 0);
	for (uint64_t i = 0; i < 3; i++) {
		write_at(i * 8192, 4096, i + 1);
		cut[i] = make_cut();
		ck_assert_int_eq(spool(cut[i]), HVREPL_OK);
	}
	ck_assert_uint_eq(dirty(), 0);
	ck_assert_int_eq(hvrepl_cut_close(cut[1], HVREPL_OK), HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_cut_close(cut[0], HVREPL_OK), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_settle(cut[1], 0, HVREPL_E_DISCONNECTED),
			 HVREPL_OK);
	ck_assert_uint_eq(state_of(cut[2]), HVREPL_CUT_VOIDED);
	ck_assert_uint_eq(dirty(), 8192);
	ck_assert_int_eq(hvrepl_cut_settle(cut[1], 0, HVREPL_OK),
			 HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_cut_close(cut[2], HVREPL_OK), HVREPL_E_VOIDED);
	ck_assert_int_eq(hvrepl_cut_close(cut[1], HVREPL_E_CANCELLED),
			 HVREPL_OK);
	ck_assert_uint_eq(dirty(), 8192);
}
END_TEST

/* All disks of a group at one instant, those of several VMs too. */
START_TEST(a_cut_names_all_disks_of_the_group)
{
	struct hvrepl_extent extent;
	uint32_t count = 1;
	uint64_t end;
	struct sim_disk *second = sim_disk_new(&sim, SIZE);
	struct hvrepl_disk taken = sim_disk_handle(second);
	struct hvrepl_storage storage = sim_storage_handle(files);
	struct hvrepl_tracker_options options = HVREPL_TRACKER_OPTIONS_INIT;
	struct hvrepl_cut_disk part = HVREPL_CUT_DISK_INIT;
	struct hvrepl_cut_info info = HVREPL_CUT_INFO_INIT;
	hvrepl_tracker *other;
	hvrepl_cut *cut;

	open_all(0, 0);
	second->flags = HVREPL_DISK_EXCLUSIVE;
	options.flags = HVREPL_TRACKER_CREATE;
	options.object_id = "e.hvt";
	options.vm.bytes[0] = 5;
	ck_assert_int_eq(hvrepl_tracker_attach(group, &taken, &storage,
					       &options, NULL, &other),
			 HVREPL_OK);
	write_at(0, 4096, 1);
	cut = make_cut();
	ck_assert_int_eq(hvrepl_cut_get_info(cut, &info), HVREPL_OK);
	ck_assert_uint_eq(info.disk_count, 2);
	ck_assert_int_eq(hvrepl_cut_get_disk(cut, 1, &part), HVREPL_OK);
	ck_assert_uint_eq(part.vm.bytes[0], 5);
	ck_assert_ptr_eq(part.tracker, other);
	ck_assert_uint_eq(part.block_size, 4096);
	ck_assert_int_eq(hvrepl_cut_get_disk(cut, 2, &part), HVREPL_E_INVALID);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	/* One VM's part fails, the other's is acknowledged. */
	ck_assert_int_eq(hvrepl_cut_settle(cut, 1, HVREPL_OK), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_settle(cut, 1, HVREPL_OK), HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_cut_next_extents(cut, 1, 0, &extent, &count,
						 &end),
			 HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_cut_settle(cut, 0, HVREPL_E_DENIED), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_DENIED), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 4096);
	ck_assert_int_eq(hvrepl_tracker_detach(other, 0), HVREPL_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cut");
	TCase *tcase = tcase_create("all");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_write_over_an_owed_block_waits_for_its_copy);
	tcase_add_test(tcase, a_cut_waits_for_the_writes_that_are_in_it);
	tcase_add_test(tcase, a_wait_that_is_too_long_voids_the_cut);
	tcase_add_test(tcase, a_voided_cut_gives_back_copied_blocks_too);
	tcase_add_test(tcase, a_discard_over_owed_blocks_is_dropped);
	tcase_add_test(tcase, a_large_zero_over_owed_blocks_is_copied_first);
	tcase_add_test(tcase, a_failed_read_or_spill_voids_and_loses_nothing);
	tcase_add_test(tcase, every_failing_allocation_of_a_cut_loses_nothing);
	tcase_add_test(tcase, a_limit_cuts_a_window_and_keeps_the_rest_dirty);
	tcase_add_test(tcase, a_cut_due_while_one_is_open_is_a_miss);
	tcase_add_test(tcase, spooled_cuts_fail_with_all_after_them);
	tcase_add_test(tcase, a_cut_names_all_disks_of_the_group);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
