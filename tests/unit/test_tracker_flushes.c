/* SPDX-License-Identifier: Apache-2.0 */
/* Flushes of a tracker's disk that fail: what they may have taken counts as changed,
 * whoever asked for them. */
#include "diskbed.h"

/* A sweep has chosen the region, and its own flush is to come: an error that another
 * flush was told meanwhile is told once. */
START_TEST(a_lost_flush_reaches_a_region_that_a_sweep_has_chosen)
{
	_Atomic uint8_t *region;

	attach(HVREPL_TRACKER_CREATE);
	write_at(2 * REGION, 512);
	region = &tracker->region[2];
	atomic_store(region, (uint8_t)((atomic_load(region) &
					~HVRI_REGION_WRITTEN) |
				       HVRI_REGION_CANDIDATE));
	ck_assert_uint_eq(info().dirty_bytes, BLOCK);
	hvri_tracker_flush_failed(tracker, HVREPL_E_DISK_IO);
	/* All of it, and of no other. */
	ck_assert_uint_eq(info().dirty_bytes, REGION);
	ck_assert(is_dirty(3 * REGION - BLOCK));
	/* So that the sweep gives it up. */
	ck_assert((atomic_load(region) & HVRI_REGION_WRITTEN) != 0);
	(void)hvri_tracker_flush_lost(tracker);
}
END_TEST

/* The error is told once: tried again, the close succeeds. What the flush took was
 * acknowledged before, and differs now. _i: what readers see of it. */
START_TEST(what_the_flush_of_a_close_lost_counts_as_changed)
{
	attach(HVREPL_TRACKER_CREATE);
	write_at(2 * REGION, 512);
	acknowledge();
	write_at(5 * REGION, 512);
	ck_assert_uint_eq(info().dirty_bytes, BLOCK);
	sim.flush_fails = _i == 0 ? SIM_FLUSH_REVERTS : SIM_FLUSH_KEEPS;
	sim.flush_fail_at = sim.flush_count;
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN),
			 HVREPL_E_DISK_IO);
	ck_assert_uint_gt(sim.flush_count, sim.flush_fail_at);
	/* The guest did not ask for it: it is told with its next one. */
	ck_assert_int_eq(hvri_tracker_flush_lost(tracker), HVREPL_E_DISK_IO);
	detach(HVREPL_DETACH_CLEAN);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_CLEAN);
	ck_assert(is_dirty(2 * REGION) && is_dirty(5 * REGION));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tracker flushes");
	TCase *tcase = tcase_create("all");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase,
		       a_lost_flush_reaches_a_region_that_a_sweep_has_chosen);
	tcase_add_loop_test(tcase,
			    what_the_flush_of_a_close_lost_counts_as_changed, 0,
			    2);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
