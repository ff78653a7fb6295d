/* SPDX-License-Identifier: Apache-2.0 */
/* Trackers, killed or without power at every I/O: no changed block is missed. */
#include "trackbed.h"

#include <string.h>

#define STEPS 110

/* A life: steps from `seed` until the crash or the end. True: it ended. */
static bool live(struct bed *bed, uint64_t seed, unsigned steps)
{
	bed->random = seed * 2 + 1;
	for (unsigned i = 0; i < steps && !bed->sim.crashed; i++)
		bed_step(bed);
	return !bed->sim.crashed;
}

/* Crash at I/O `at`; recover; go on; in the end the replica is the disk. */
static bool crash_once(uint64_t seed, uint64_t at, bool power_loss,
		       unsigned calm)
{
	struct bed bed;
	bool ended;
	int32_t rc;

	bed_init(&bed, seed);
	bed.mingle = true;
	bed.calm = calm;
	bed.sim.garbage_percent = calm;
	rc = bed_attach(&bed, HVREPL_TRACKER_CREATE);
	ck_assert_int_eq(rc, HVREPL_OK);
	bed.sim.crash_at = bed.sim.io_count + at;
	ended = live(&bed, seed, calm > 0 ? STEPS / 8 : STEPS);
	bed_kill(&bed);
	sim_restart(&bed.sim, power_loss);
	rc = bed_attach(&bed, 0);
	ck_assert_int_eq(rc, HVREPL_OK);
	bed_check_covered(&bed);
	/* A second crash, soon after. */
	bed.sim.crash_at = bed.sim.io_count + at % (calm > 0 ? 67 : 23);
	(void)live(&bed, seed + 77, STEPS / 4);
	bed_kill(&bed);
	sim_restart(&bed.sim, !power_loss);
	rc = bed_attach(&bed, 0);
	ck_assert_int_eq(rc, HVREPL_OK);
	bed_check_covered(&bed);
	(void)live(&bed, seed + 99, STEPS / 8);
	bed_ship_all(&bed);
	bed_kill(&bed);
	bed_free(&bed);
	return ended;
}

static void crash_everywhere(uint64_t seed, bool power_loss, unsigned calm)
{
	uint64_t at = 0;

	while (!crash_once(seed, at, power_loss, calm))
		at += test_stride();
	ck_assert_uint_gt(at, 50);
}

/* T2 to T9 together, O9. */
START_TEST(power_loss_at_any_io_misses_no_changed_block)
{
	crash_everywhere((uint64_t)_i + 1, true, 0);
}
END_TEST

START_TEST(killed_at_any_io_misses_no_changed_block)
{
	crash_everywhere(11, false, 0);
}
END_TEST

/* T7: marks are erased while little is written, and sectors tear. */
START_TEST(power_loss_while_regions_cool_misses_no_changed_block)
{
	crash_everywhere((uint64_t)_i + 21, _i % 2 == 0, 50);
}
END_TEST

/* T7, T8: one write of the file, at any I/O before the crash, is lost or lands
 * elsewhere, and nobody is told. True: there was no crash. */
static bool astray_once(uint64_t seed, uint64_t at, uint64_t back,
			bool power_loss)
{
	struct bed bed;
	bool ended;
	int32_t rc;

	bed_init(&bed, seed);
	bed.mingle = true;
	bed.calm = 50;
	rc = bed_attach(&bed, HVREPL_TRACKER_CREATE);
	ck_assert_int_eq(rc, HVREPL_OK);
	(void)live(&bed, seed, STEPS / 8);
	bed_settle(&bed);
	bed.sim.crash_at = bed.sim.io_count + at;
	bed.sim.stray = at % 5 == 4 ? SIM_STRAY_ELSEWHERE : SIM_STRAY_LOST;
	bed.sim.stray_in = bed.files;
	bed.sim.stray_at = bed.sim.io_count + (at > back ? at - back : 0);
	rc = bed_detach(&bed);
	if (rc == HVREPL_OK)
		rc = bed_attach(&bed, 0);
	/* A fine map that was not written is noticed. */
	if (rc == HVREPL_E_CORRUPT)
		rc = bed_attach(&bed, HVREPL_TRACKER_REBUILD);
	if (rc == HVREPL_OK) {
		(void)live(&bed, seed + 1, STEPS / 4);
		bed_kill(&bed);
	}
	ended = !bed.sim.crashed;
	bed.sim.stray = SIM_STRAY_NONE;
	sim_restart(&bed.sim, power_loss);
	rc = bed_attach(&bed, 0);
	if (rc == HVREPL_E_CORRUPT)
		rc = bed_attach(&bed, HVREPL_TRACKER_REBUILD);
	ck_assert_int_eq(rc, HVREPL_OK);
	bed_check_covered(&bed);
	bed_ship_all(&bed);
	bed_kill(&bed);
	bed_free(&bed);
	return ended;
}

START_TEST(a_write_of_the_file_that_goes_astray_misses_no_changed_block)
{
	static const uint64_t backs[] = { 2, 5, 12 };
	uint64_t at = 0;

	/* Far enough to close, to open and to cool; the simulator has the rest. */
	while (at < 120 && !astray_once((uint64_t)_i + 31, at, backs[at % 3],
					at / 3 % 2 == 0))
		at += 2 * test_stride() - 1;
	ck_assert_uint_gt(at, 80);
}
END_TEST

/* T8: while it is closed, attached, detached. */
START_TEST(crash_while_attaching_or_detaching_misses_no_changed_block)
{
	for (uint64_t at = 0, ended = 0; !ended; at += test_stride()) {
		struct bed bed;
		int32_t rc;

		bed_init(&bed, 5);
		bed.mingle = true;
		rc = bed_attach(&bed, HVREPL_TRACKER_CREATE);
		ck_assert_int_eq(rc, HVREPL_OK);
		(void)live(&bed, 5, STEPS);
		bed_settle(&bed);
		bed.sim.crash_at = bed.sim.io_count + at;
		rc = bed_detach(&bed);
		if (rc == HVREPL_OK)
			rc = bed_attach(&bed, 0);
		if (rc == HVREPL_OK) {
			(void)live(&bed, 6, STEPS / 10);
			bed_kill(&bed);
		}
		ended = !bed.sim.crashed;
		sim_restart(&bed.sim, _i == 0);
		rc = bed_attach(&bed, 0);
		ck_assert_int_eq(rc, HVREPL_OK);
		bed_check_covered(&bed);
		bed_ship_all(&bed);
		bed_kill(&bed);
		bed_free(&bed);
	}
}
END_TEST

/* A file that was never finished does not count; one that was, does. */
START_TEST(crash_while_the_file_is_made_leaves_no_half_truth)
{
	for (uint64_t at = 0, ended = 0; !ended; at++) {
		struct bed bed;
		int32_t rc;

		bed_init(&bed, 6);
		bed.sim.crash_at = at;
		rc = bed_attach(&bed, HVREPL_TRACKER_CREATE);
		ended = rc == HVREPL_OK && !bed.sim.crashed;
		if (rc == HVREPL_OK)
			bed_kill(&bed);
		sim_restart(&bed.sim, true);
		rc = bed_attach(&bed, HVREPL_TRACKER_REBUILD);
		ck_assert_int_eq(rc, HVREPL_OK);
		bed_ship_all(&bed);
		bed_kill(&bed);
		bed_free(&bed);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tracker crash");
	TCase *tcase = tcase_create("all");

	tcase_set_timeout(tcase, 240);
	tcase_add_loop_test(tcase, power_loss_at_any_io_misses_no_changed_block,
			    0, 2);
	tcase_add_test(tcase, killed_at_any_io_misses_no_changed_block);
	tcase_add_loop_test(
		tcase, power_loss_while_regions_cool_misses_no_changed_block, 0,
		4);
	tcase_add_loop_test(
		tcase,
		crash_while_attaching_or_detaching_misses_no_changed_block, 0,
		2);
	tcase_add_loop_test(
		tcase,
		a_write_of_the_file_that_goes_astray_misses_no_changed_block, 0,
		2);
	tcase_add_test(tcase,
		       crash_while_the_file_is_made_leaves_no_half_truth);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
