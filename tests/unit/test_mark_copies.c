/* SPDX-License-Identifier: Apache-2.0 */
/* A write of the tracker file that is lost, or lands elsewhere, without a word:
 * what changed is sent all the same (T7, T8). */
#include "diskbed.h"

#define FIRST 8192u
#define SECOND 65536u
#define CLOSED (70 * REGION)
#define LATER (20 * REGION)
#define RECORDED (90 * REGION)

/* A closed file in which all is cold but what is dirty. One write of storage,
 * the n-th I/O from its opening on, goes astray. */
static void open_astray(uint64_t n, unsigned kind)
{
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(LATER, 512);
	acknowledge();
	cool_down();
	ck_assert_uint_eq(info().hot_regions, 0);
	write_at(CLOSED, 512);
	detach(HVREPL_DETACH_CLEAN);
	sim.stray = kind;
	sim.stray_at = sim.io_count + n;
	ck_assert_int_eq(attach(0), HVREPL_OK);
}

/* ...then a life. False: nothing of it went astray. */
static bool live_astray(uint64_t n, unsigned kind)
{
	open_astray(n, kind);
	write_at(LATER, 512);
	acknowledge();
	ck_assert_int_eq(hvrepl_tracker_save(tracker, NULL), HVREPL_OK);
	cool_down();
	write_at(RECORDED, 512);
	write_at(LATER, 512);
	return sim.stray == SIM_STRAY_NONE;
}

static void assert_dirty(uint64_t offset)
{
	uint64_t word = atomic_load(&group->word);

	ck_assert(hvri_bitmap_get(
		atomic_load(&tracker->map[hvri_generation(word) & 1]),
		offset / BLOCK));
}

START_TEST(a_lost_write_of_the_file_loses_no_change)
{
	unsigned kind = _i < 2 ? SIM_STRAY_LOST : SIM_STRAY_ELSEWHERE;
	unsigned astray = 0;
	bool met = true;

	for (uint64_t n = 0; met; n++) {
		int32_t rc;

		teardown();
		setup();
		met = live_astray(n, kind);
		astray += met;
		detach(0);
		sim_restart(&sim, _i % 2 == 0);
		rc = attach(0);
		/* What landed elsewhere may have hit what nobody can do without;
		 * that is said. */
		if (rc == HVREPL_E_CORRUPT && kind == SIM_STRAY_ELSEWHERE)
			rc = attach(HVREPL_TRACKER_REBUILD);
		ck_assert_int_eq(rc, HVREPL_OK);
		assert_dirty(RECORDED);
		assert_dirty(LATER);
	}
	/* Both headers of the open, marks and what cooled in both copies, a
	 * record. */
	ck_assert_uint_gt(astray, 8);
}
END_TEST

/* T8: the header that says "open" in one slot is lost; and later the other slot
 * is torn by a crash, or damaged. */
START_TEST(a_lost_open_and_a_torn_header_do_not_bring_closed_back)
{
	bool met = true;

	for (uint64_t n = 0; met; n++) {
		for (unsigned slot = 0; slot < 2; slot++) {
			uint64_t size;

			teardown();
			setup();
			open_astray(n, SIM_STRAY_LOST);
			met = sim.stray == SIM_STRAY_NONE;
			write_at(LATER, 512);
			detach(0);
			sim_object_bytes(files, "d.hvt",
					 &size)[slot * 4096 + 9] ^= 1;
			sim_restart(&sim, true);
			ck_assert_int_eq(attach(0), HVREPL_OK);
			ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_HOT);
			assert_dirty(LATER);
			assert_dirty(CLOSED);
		}
	}
}
END_TEST

/* The header of another file landed in one slot: the other one serves. */
START_TEST(a_header_of_another_file_is_damage_and_not_another_disk)
{
	struct hvri_hvt_header header;
	uint64_t size;
	uint8_t *bytes;
	bool damaged;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(LATER, 512);
	bytes = sim_object_bytes(files, "d.hvt", &size);
	ck_assert_int_eq(hvri_hvt_newest(bytes, bytes + HVRI_HVT_SLOT_STRIDE,
					 NULL, &header, &damaged),
			 HVREPL_OK);
	header.disk.bytes[5] = 9;
	header.sequence += 10;
	header.incarnation += 10;
	hvri_hvt_header_encode(&header, bytes + (unsigned)_i *
						   HVRI_HVT_SLOT_STRIDE);
	/* Nobody took the file over. */
	ck_assert_int_eq(hvrepl_tracker_save(tracker, NULL), HVREPL_OK);
	hvri_hvt_header_encode(&header, bytes + (unsigned)_i *
						   HVRI_HVT_SLOT_STRIDE);
	detach(0);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	assert_dirty(LATER);
	detach(0);
	/* In both it is another disk's. */
	bytes = sim_object_bytes(files, "d.hvt", &size);
	hvri_hvt_header_encode(&header, bytes);
	hvri_hvt_header_encode(&header, bytes + HVRI_HVT_SLOT_STRIDE);
	ck_assert_int_eq(attach(0), HVREPL_E_WRONG_DISK);
}
END_TEST

static void forge(unsigned copy, const uint8_t bits[HVRI_HVT_SECTOR_BYTES])
{
	struct hvri_hvt_header header;
	uint64_t size;
	uint8_t *bytes = sim_object_bytes(files, "d.hvt", &size);
	bool damaged;

	ck_assert_int_eq(hvri_hvt_newest(bytes, bytes + HVRI_HVT_SLOT_STRIDE,
					 NULL, &header, &damaged),
			 HVREPL_OK);
	hvri_hvt_sector_encode(&header, copy, 0, bits,
			       bytes + hvri_hvt_sector_at(&header, copy, 0));
}

/* Whichever copy is of before: what either calls hot is, and both say so from
 * then on, so that the next loss finds two again. */
START_TEST(copies_that_differ_are_joined_and_made_equal)
{
	static const uint8_t none[HVRI_HVT_SECTOR_BYTES];
	uint64_t size;
	uint8_t *bytes;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(3 * REGION, 512);
	write_at(4 * REGION, 512);
	detach(0);
	forge((unsigned)_i, none);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, 2 * REGION);
	detach(0);
	sim_restart(&sim, true);
	bytes = sim_object_bytes(files, "d.hvt", &size);
	ck_assert_mem_eq(bytes + FIRST + 32, bytes + SECOND + 32,
			 HVRI_HVT_SECTOR_BYTES);
	ck_assert_uint_eq(bytes[FIRST + 32], 0x18);
}
END_TEST

/* The sound one may be the one that a write was lost of. */
START_TEST(a_sound_copy_beside_a_damaged_one_calls_nothing_cold)
{
	static const uint8_t none[HVRI_HVT_SECTOR_BYTES];
	uint64_t size, places[2] = { FIRST + 100, SECOND + 100 };
	unsigned sound = (unsigned)_i;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(3 * REGION, 512);
	detach(0);
	forge(sound, none);
	sim_object_bytes(files, "d.hvt", &size)[places[1 - sound]] ^= 1;
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, SIZE);
}
END_TEST

/* Its fine map says what is dirty; the coarse one only has to cover that, and
 * what is written before the regions have cooled again. */
START_TEST(a_closed_file_serves_with_one_copy_and_is_whole_again)
{
	uint64_t size, place = _i == 0 ? FIRST + 100 : SECOND + 100, dirty;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(3 * REGION, 512);
	dirty = info().dirty_bytes;
	detach(HVREPL_DETACH_CLEAN);
	sim_object_bytes(files, "d.hvt", &size)[place] ^= 1;
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_CLEAN);
	ck_assert_uint_eq(info().dirty_bytes, dirty);
	ck_assert_uint_eq(info().hot_regions, SIZE / REGION);
	/* Killed at once, all of it is compared: no mark is missing. */
	detach(0);
	sim_restart(&sim, true);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, SIZE);
	acknowledge();
	cool_down();
	ck_assert_uint_eq(info().hot_regions, 0);
	write_at(5 * REGION, 512);
	detach(HVREPL_DETACH_CLEAN);
	/* The other one, alone. */
	sim_object_bytes(files, "d.hvt",
			 &size)[FIRST + 100 + SECOND + 100 - place] ^= 1;
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, BLOCK);
}
END_TEST

/* Of two closes by one incarnation the blocks of the first are none of the
 * second's. */
START_TEST(a_fine_map_of_a_close_that_failed_is_not_taken_for_a_later_one)
{
	bool failed = true;

	for (uint64_t n = 0; failed; n++) {
		int32_t rc;

		teardown();
		setup();
		ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
		write_at(3 * REGION, 512);
		sim.fail_at = sim.call_count + n;
		sim.fail_code = HVREPL_E_STORAGE_IO;
		failed = hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN) <
			 0;
		sim.fail_at = UINT64_MAX;
		if (!failed) {
			tracker = NULL;
			break;
		}
		write_at(50 * REGION, 512);
		/* The first write of a close is that of its fine map. */
		sim.stray = SIM_STRAY_LOST;
		sim.stray_at = sim.io_count;
		rc = hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN);
		ck_assert_int_eq(rc, HVREPL_OK);
		ck_assert_uint_eq(sim.stray, SIM_STRAY_NONE);
		tracker = NULL;
		ck_assert_int_eq(attach(0), HVREPL_E_CORRUPT);
		ck_assert_int_eq(attach(HVREPL_TRACKER_REBUILD), HVREPL_OK);
		assert_dirty(3 * REGION);
		assert_dirty(50 * REGION);
	}
}
END_TEST

static unsigned warnings;

static void warned(void *user, uint32_t level, const char *text)
{
	(void)user, (void)text;
	warnings += level == HVREPL_LOG_WARNING;
}

/* A mark of which one copy could not be written: the write was refused, and the
 * file is closed. Nothing was lost, so nothing is said to be. */
START_TEST(a_close_leaves_two_copies_that_are_equal)
{
	struct hvrepl_ticket ticket = new_ticket();
	uint64_t size;
	uint8_t *bytes;

	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_OK);
	warnings = 0;
	env.env.log = warned;
	make_group();
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	sim.fail_at = sim.call_count + (unsigned)_i;
	sim.fail_code = HVREPL_E_STORAGE_IO;
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 3 * REGION, 512, 0,
						    &ticket),
			 HVREPL_PENDING);
	hvrepl_group_process(group);
	ck_assert_int_eq(last_result, HVREPL_E_STORAGE_IO);
	sim.fail_at = UINT64_MAX;
	detach(HVREPL_DETACH_CLEAN);
	bytes = sim_object_bytes(files, "d.hvt", &size);
	ck_assert_mem_eq(bytes + FIRST + 32, bytes + SECOND + 32,
			 HVRI_HVT_SECTOR_BYTES);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_CLEAN);
	ck_assert_uint_eq(info().dirty_bytes, 0);
	ck_assert_uint_eq(warnings, 0);
}
END_TEST

/* Of a file whose copies are equal there is nothing to write but that it is
 * open. */
START_TEST(an_attach_flushes_what_it_read_and_both_headers)
{
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(3 * REGION, 512);
	detach(_i == 0 ? HVREPL_DETACH_CLEAN : 0);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().flushes, 3);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mark copies");
	TCase *tcase = tcase_create("all");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, a_lost_write_of_the_file_loses_no_change, 0,
			    4);
	tcase_add_test(
		tcase,
		a_lost_open_and_a_torn_header_do_not_bring_closed_back);
	tcase_add_loop_test(
		tcase, a_header_of_another_file_is_damage_and_not_another_disk,
		0, 2);
	tcase_add_loop_test(
		tcase, copies_that_differ_are_joined_and_made_equal, 0, 2);
	tcase_add_loop_test(
		tcase, a_sound_copy_beside_a_damaged_one_calls_nothing_cold, 0,
		2);
	tcase_add_loop_test(
		tcase, a_closed_file_serves_with_one_copy_and_is_whole_again, 0,
		2);
	tcase_add_test(
		tcase,
		a_fine_map_of_a_close_that_failed_is_not_taken_for_a_later_one);
	tcase_add_loop_test(tcase, a_close_leaves_two_copies_that_are_equal, 0,
			    3);
	tcase_add_loop_test(tcase,
			    an_attach_flushes_what_it_read_and_both_headers, 0,
			    2);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
