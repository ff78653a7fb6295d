/* SPDX-License-Identifier: Apache-2.0 */
/* The tracker: mark, cool, fence, lose and regain its file; T rules. */
#include "diskbed.h"

/* T7: one flush for all marks that were written before it began. */
START_TEST(one_flush_serves_all_marks_that_wait)
{
	struct hvrepl_ticket ticket[8];
	uint64_t flushes;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	flushes = info().flushes;
	completions = 0;
	for (unsigned i = 0; i < 8; i++) {
		ticket[i] = new_ticket();
		ck_assert_int_eq(hvrepl_tracker_write_begin(
					 tracker, i * 3 * REGION, 512, 0,
					 &ticket[i]),
				 HVREPL_PENDING);
	}
	ck_assert_uint_gt(woken, 0);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 8);
	ck_assert_uint_eq(info().flushes, flushes + 1);
	for (unsigned i = 0; i < 8; i++)
		hvrepl_tracker_write_end(tracker, &ticket[i], HVREPL_OK);
}
END_TEST

/* T1: nothing allocated, no I/O once the region is hot. */
START_TEST(a_hot_region_costs_neither_memory_nor_io)
{
	uint64_t ios;
	long allocs;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, REGION);
	ios = sim.call_count;
	allocs = env.alloc_count;
	for (int i = 0; i < 1000; i++)
		write_at((uint64_t)(i % 64) * 1024, 1024);
	ck_assert_uint_eq(sim.call_count, ios);
	ck_assert_int_eq(env.alloc_count, allocs);
}
END_TEST

START_TEST(an_acknowledged_region_cools_and_costs_no_compare)
{
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 4096);
	write_at(5 * REGION, 4096);
	acknowledge();
	write_at(9 * REGION, 512);
	cool_down();
	ck_assert_uint_eq(info().cooled, 2);
	ck_assert_uint_eq(info().hot_regions, 1);
	ck_assert_uint_eq(info().acknowledged_point, 0);
	detach(0);
	sim_restart(&sim, false);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, REGION);
}
END_TEST

/* T7 (a): read into the spool is not acknowledged. */
START_TEST(a_region_of_a_cut_that_is_not_acknowledged_stays_hot)
{
	hvrepl_cut *cut;
	uint32_t progress = 0;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 4096);
	ck_assert_int_eq(hvrepl_group_cut(group, 0, NULL, &cut), HVREPL_OK);
	cool_down();
	while (progress != HVREPL_CUT_DONE)
		ck_assert_int_eq(hvrepl_cut_advance(cut, 0, &progress),
				 HVREPL_OK);
	cool_down();
	ck_assert_uint_eq(info().hot_regions, 1);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	cool_down();
	ck_assert_uint_eq(info().hot_regions, 0);
}
END_TEST

/* T7: a writer that meets COOLING takes it back without I/O. */
START_TEST(a_region_being_written_does_not_cool)
{
	struct hvrepl_ticket ticket = new_ticket();

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 4096);
	acknowledge();
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 512, 0,
						    &ticket),
			 HVREPL_OK);
	cool_down();
	ck_assert_uint_eq(info().cooled, 0);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	cool_down();
	ck_assert_uint_eq(info().cooled, 0); /* Not acknowledged. */
	acknowledge();
	cool_down();
	ck_assert_uint_eq(info().cooled, 1);
}
END_TEST

/* A write in flight elsewhere holds the grace, and nothing else. */
START_TEST(cooling_waits_for_writes_in_flight)
{
	struct hvrepl_ticket ticket = new_ticket();
	struct hvrepl_ticket other = new_ticket();

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	write_at(7 * REGION, 512);
	acknowledge();
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 7 * REGION, 512, 0,
						    &ticket),
			 HVREPL_OK);
	cool_down();
	ck_assert_uint_eq(info().cooled, 0);
	/* COOLING; taken back. */
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 512, 0, &other),
			 HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &other, HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	cool_down();
	ck_assert_uint_eq(info().cooled, 0);
	acknowledge();
	cool_down();
	ck_assert_uint_eq(info().cooled, 2);
}
END_TEST

START_TEST(a_fence_refuses_new_writes_and_drains_the_old)
{
	struct hvrepl_ticket flying = new_ticket(), waiting = new_ticket();
	struct hvrepl_ticket late = new_ticket();

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 512, 0,
						    &flying),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 3 * REGION, 512, 0,
						    &waiting),
			 HVREPL_PENDING);
	ck_assert_int_eq(hvrepl_tracker_fence(tracker), HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 512, 0, &late),
			 HVREPL_E_FENCED);
	completions = 0;
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_E_FENCED);
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_E_BUSY);
	woken = 0;
	hvrepl_tracker_write_end(tracker, &flying, HVREPL_OK);
	ck_assert_uint_gt(woken, 0);
	ck_assert_int_eq(hvrepl_tracker_fence(tracker), HVREPL_OK);
	ck_assert_uint_eq(info().fenced, 1);
	ck_assert_int_eq(hvrepl_tracker_unfence(tracker), HVREPL_OK);
	write_at(0, 512);
}
END_TEST

static int32_t trust_result = HVREPL_OK;
static unsigned trust_calls[2];
static hvrepl_op *trust_op;

static int32_t trust(void *user, hvrepl_op *op, uint32_t trusted)
{
	(void)user;
	trust_calls[trusted]++;
	trust_op = op;
	return trust_result;
}

/* T8: strict, or nowhere to say "untrusted": the write fails. */
START_TEST(a_mark_that_cannot_be_made_fails_a_strict_write)
{
	struct hvrepl_tracker_options options =
		base_options(HVREPL_TRACKER_CREATE | HVREPL_TRACKER_STRICT);
	struct hvrepl_ticket ticket = new_ticket();

	if (_i == 0)
		options.trust = trust; /* Strict all the same. */
	else
		options.flags = HVREPL_TRACKER_CREATE;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	sim.fail_at = sim.call_count;
	sim.fail_code = HVREPL_E_STORAGE_IO;
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 512, 0,
						    &ticket),
			 HVREPL_PENDING);
	completions = 0;
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_E_STORAGE_IO);
	write_at(0, 512); /* The next one is marked again. */
	detach(0);
	sim_restart(&sim, true);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, REGION);
}
END_TEST

/* T8: "untrusted" made durable elsewhere, and the write goes on. */
START_TEST(a_mark_that_cannot_be_made_costs_a_compare_instead)
{
	struct hvrepl_tracker_options options =
		base_options(HVREPL_TRACKER_CREATE);
	struct hvrepl_ticket ticket = new_ticket(), next = new_ticket();

	options.trust = trust;
	memset(trust_calls, 0, sizeof(trust_calls));
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	sim.fail_at = sim.call_count;
	sim.fail_on = true;
	trust_result = HVREPL_PENDING;
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 512, 0,
						    &ticket),
			 HVREPL_PENDING);
	completions = 0;
	hvrepl_group_process(group);
	ck_assert_uint_eq(trust_calls[0], 1);
	ck_assert_uint_eq(completions, 0);
	hvrepl_op_complete(trust_op, HVREPL_OK);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_OK);
	ck_assert_uint_eq(info().untrusted, 1);
	/* No other region waits meanwhile. */
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 9 * REGION, 512, 0,
						    &next),
			 HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &next, HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	/* The file can be written again: said too. */
	sim.fail_on = false;
	sim.fail_at = UINT64_MAX;
	trust_result = HVREPL_OK;
	env.now_ns += 2000000000;
	hvrepl_group_process(group);
	ck_assert_uint_eq(trust_calls[1], 1);
	ck_assert_uint_eq(info().untrusted, 0);
	detach(0);
	sim_restart(&sim, true);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, SIZE);
	/* Killed while untrusted: the application tells. */
	detach(0);
	options.flags = HVREPL_TRACKER_UNTRUSTED;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_WHOLE);
	ck_assert_uint_eq(info().reason, HVREPL_REASON_UNTRUSTED);
	ck_assert_uint_eq(trust_calls[1], 2);
}
END_TEST

/* A storage whose flush hangs until told: as the pump's thread sees it. */
START_TEST(a_mark_that_hangs_is_ended_at_the_deadline)
{
	struct hvrepl_tracker_options options =
		base_options(HVREPL_TRACKER_CREATE);
	struct hvrepl_ticket ticket = new_ticket();

	options.trust = trust;
	trust_result = HVREPL_OK;
	memset(trust_calls, 0, sizeof(trust_calls));
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	/* Another thread is in the file and does not come back. */
	ck_assert(hvri_file_take(tracker, false));
	completions = 0;
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 512, 0,
						    &ticket),
			 HVREPL_PENDING);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 0);
	ck_assert_uint_eq(hvrepl_group_deadline(group),
			  env.now_ns + 50000000);
	env.now_ns += 50000000;
	hvrepl_group_process(group);
	ck_assert_uint_eq(trust_calls[0], 1);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	hvri_file_give(tracker);
}
END_TEST

START_TEST(marked_extents_survive_a_crash)
{
	const struct hvrepl_extent extents[2] = { { 1000, 100 },
						  { 50 * REGION, 2048 } };
	const struct hvrepl_extent beyond = { SIZE - 512, 1024 };

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	ck_assert_int_eq(hvrepl_tracker_mark(tracker, &beyond, 1),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_tracker_mark(tracker, extents, 2), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, 4 * BLOCK);
	detach(0);
	sim_restart(&sim, true);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, 2 * REGION);
	ck_assert_int_eq(hvrepl_tracker_mark_all(tracker), HVREPL_OK);
	detach(0);
	sim_restart(&sim, true);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, SIZE);
}
END_TEST

/* Boundaries: 2^32, 128 GiB, 2^40, the last block; 16 TiB, wholly dirty. */
START_TEST(huge_disks_cost_what_changed)
{
	const uint64_t size = (UINT64_C(16) << 40) - 512;
	const uint64_t edges[] = { UINT64_C(1) << 32, UINT64_C(128) << 30,
				   UINT64_C(1) << 40, size - 1 };
	struct sparse_disk *huge = sparse_disk_new(size);
	struct hvrepl_disk taken = sparse_disk_handle(huge);
	struct hvrepl_storage storage = sim_storage_handle(files);
	struct hvrepl_tracker_options options =
		base_options(HVREPL_TRACKER_CREATE);
	size_t idle;

	options.block_size = options.region_size = 0;
	ck_assert_int_eq(hvrepl_tracker_attach(group, &taken, &storage,
					       &options, &error, &tracker),
			 HVREPL_OK);
	idle = env.alloc_bytes;
	ck_assert_uint_lt(idle, 2 << 20);
	for (size_t i = 0; i < 4; i++)
		write_at(edges[i] - 4096, 4097);
	ck_assert_uint_eq(info().dirty_bytes, 8 * 4096);
	detach(HVREPL_DETACH_CLEAN);
	ck_assert_uint_eq(huge->released, 1);
	options.flags = 0;
	ck_assert_int_eq(hvrepl_tracker_attach(group, &taken, &storage,
					       &options, &error, &tracker),
			 HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, 8 * 4096);
	ck_assert_int_eq(hvrepl_tracker_mark_all(tracker), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, size);
	ck_assert_uint_lt(env.alloc_bytes, idle + (6 << 20));
	detach(0);
	sparse_disk_free(huge);
}
END_TEST

START_TEST(ranges_outside_the_disk_are_refused)
{
	struct hvrepl_ticket ticket = new_ticket();

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, SIZE, 1, 0,
						    &ticket),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, SIZE + 1, 1, 0,
						    &ticket),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 0, 0, &ticket),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 1, UINT64_MAX, 0,
						    &ticket),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 1, 3, &ticket),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_tracker_write_end(tracker, &ticket, 0),
			 HVREPL_E_STATE);
	ticket.struct_size = 0;
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 1, 0, &ticket),
			 HVREPL_E_INVALID);
	ck_assert_uint_eq(info().dirty_bytes, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tracker");
	TCase *tcase = tcase_create("all");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, one_flush_serves_all_marks_that_wait);
	tcase_add_test(tcase, a_hot_region_costs_neither_memory_nor_io);
	tcase_add_test(tcase,
		       an_acknowledged_region_cools_and_costs_no_compare);
	tcase_add_test(
		tcase, a_region_of_a_cut_that_is_not_acknowledged_stays_hot);
	tcase_add_test(tcase, a_region_being_written_does_not_cool);
	tcase_add_test(tcase, cooling_waits_for_writes_in_flight);
	tcase_add_test(tcase, a_fence_refuses_new_writes_and_drains_the_old);
	tcase_add_loop_test(tcase,
			    a_mark_that_cannot_be_made_fails_a_strict_write, 0,
			    2);
	tcase_add_test(tcase,
		       a_mark_that_cannot_be_made_costs_a_compare_instead);
	tcase_add_test(tcase, a_mark_that_hangs_is_ended_at_the_deadline);
	tcase_add_test(tcase, marked_extents_survive_a_crash);
	tcase_add_test(tcase, huge_disks_cost_what_changed);
	tcase_add_test(tcase, ranges_outside_the_disk_are_refused);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
