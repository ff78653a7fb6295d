/* SPDX-License-Identifier: Apache-2.0 */
/* A cut that is read directly while memory, the disk or the spill is short: it says so,
 * and what is read afterwards is the instant of the cut all the same. */
#include "cutbed.h"

#include "tracker/cut.h"

#define LENGTH (256u * BLOCK)

static uint8_t image[SIZE], then[SIZE];

/* A cut of some data and some zeroes; more than memory holds is spilled. */
static hvrepl_cut *prepare(bool spooled)
{
	hvrepl_cut *cut;

	setup();
	open_all(50000, 8 << 20);
	write_at(0, LENGTH / 2, 1);
	write_at(LENGTH / 2, LENGTH / 2, 0);
	write_at(LENGTH, LENGTH, 3);
	memcpy(then, sim_disk_bytes(disk), SIZE);
	cut = make_cut();
	if (spooled)
		ck_assert_int_eq(spool(cut), HVREPL_OK);
	memset(image, 0xee, sizeof(image));
	return cut;
}

static void finish(hvrepl_cut *cut)
{
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
	/* What it held is still to be shipped. */
	ck_assert_uint_eq(dirty(), 2 * LENGTH);
	teardown();
}

START_TEST(a_spooled_cut_is_read_once_there_is_memory)
{
	bool failed = true;

	for (long n = 0; failed; n++) {
		hvrepl_cut *cut = prepare(true);
		int32_t rc;

		env.alloc_fail_at = n;
		rc = hvrepl_cut_read(cut, 0, 0, image, 2 * LENGTH);
		failed = env.alloc_fail_at < 0;
		env.alloc_fail_at = -1;
		ck_assert_int_eq(rc, failed ? HVREPL_E_NOMEM : HVREPL_OK);
		if (failed)
			ck_assert_int_eq(hvrepl_cut_read(cut, 0, 0, image,
							 2 * LENGTH),
					 HVREPL_OK);
		ck_assert_mem_eq(image, then, 2 * LENGTH);
		finish(cut);
	}
}
END_TEST

START_TEST(a_spooled_cut_is_read_once_its_spill_can_be)
{
	bool failed = true;

	for (uint64_t n = 0; failed; n++) {
		hvrepl_cut *cut = prepare(true);
		int32_t rc;

		sim.failed = 0;
		sim.fail_code = HVREPL_E_STORAGE_IO;
		sim.fail_at = sim.call_count + n;
		rc = hvrepl_cut_read(cut, 0, 0, image, 2 * LENGTH);
		failed = sim.failed > 0;
		sim.fail_at = UINT64_MAX;
		ck_assert_int_eq(rc, failed ? HVREPL_E_STORAGE_IO : HVREPL_OK);
		if (failed)
			ck_assert_int_eq(hvrepl_cut_read(cut, 0, 0, image,
							 2 * LENGTH),
					 HVREPL_OK);
		ck_assert_mem_eq(image, then, 2 * LENGTH);
		finish(cut);
	}
}
END_TEST

static char spill_id[HVREPL_OBJECT_ID_MAX + 1];

static int32_t note_id(void *argument, const char *id, uint64_t size)
{
	(void)argument, (void)size;
	memcpy(spill_id, id, strlen(id) + 1);
	return HVREPL_OK;
}

/* Every so many bytes of the spill rot: never anything else is read. */
START_TEST(a_spill_that_rots_is_not_believed)
{
	struct hvrepl_storage storage;
	unsigned refused = 0;

	for (uint64_t at = 5; at < 2 * LENGTH; at += 40009) {
		hvrepl_cut *cut = prepare(true);
		uint64_t size;
		uint8_t *bytes;
		int32_t rc;

		storage = sim_storage_handle(spill);
		ck_assert_int_eq(storage.ops->list(storage.user, "", note_id,
						   NULL),
				 HVREPL_OK);
		bytes = sim_object_bytes(spill, spill_id, &size);
		if (at < size)
			bytes[at] ^= 8;
		rc = hvrepl_cut_read(cut, 0, 0, image, 2 * LENGTH);
		refused += rc == HVREPL_E_CORRUPT;
		ck_assert(rc == HVREPL_E_CORRUPT || rc == HVREPL_OK);
		if (rc == HVREPL_OK)
			ck_assert_mem_eq(image, then, 2 * LENGTH);
		finish(cut);
	}
	ck_assert_uint_gt(refused, 3);
}
END_TEST

/* Not yet in the spool: the disk is read, and writers wait for that. */
START_TEST(an_open_cut_whose_disk_cannot_be_read_says_so)
{
	struct hvrepl_ticket ticket;
	uint32_t state;
	int32_t rc;
	hvrepl_cut *cut = prepare(false);

	sim.fail_code = HVREPL_E_DISK_IO;
	sim.fail_at = sim.call_count;
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 0, image, LENGTH),
			 HVREPL_E_DISK_IO);
	sim.fail_at = UINT64_MAX;
	state = state_of(cut);
	ck_assert(state == HVREPL_CUT_OPEN || state == HVREPL_CUT_VOIDED);
	rc = hvrepl_cut_read(cut, 0, 0, image, LENGTH);
	if (state == HVREPL_CUT_OPEN) {
		ck_assert_int_eq(rc, HVREPL_OK);
		ck_assert_mem_eq(image, then, LENGTH);
	} else {
		ck_assert_int_eq(rc, HVREPL_E_VOIDED);
	}
	/* Nobody waits for it any more. */
	if (begin(&ticket, 0, BLOCK, 0) == HVREPL_PENDING)
		hvrepl_group_process(group);
	put(0, BLOCK, 9);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	if (state == HVREPL_CUT_OPEN) {
		ck_assert_int_eq(spool(cut), HVREPL_OK);
		memset(image, 0, sizeof(image));
		ck_assert_int_eq(hvrepl_cut_read(cut, 0, 0, image, 2 * LENGTH),
				 HVREPL_OK);
		ck_assert_mem_eq(image, then, 2 * LENGTH);
	}
	finish(cut);
}
END_TEST

START_TEST(what_there_is_not_of_a_cut_is_refused)
{
	hvrepl_cut *cut = prepare(true);
	struct hvrepl_cut_info info = HVREPL_CUT_INFO_INIT;
	struct hvrepl_cut_disk facts = HVREPL_CUT_DISK_INIT;
	const uint8_t *bytes;
	uint32_t length;

	ck_assert_int_eq(hvri_cut_chunk(cut, 1, 0, &bytes, &length),
			 HVREPL_E_INVALID);
	ck_assert_ptr_null(hvri_cut_header(cut, 1));
	/* Of another disk nothing is released. */
	hvri_cut_release_through(cut, 1, 100);
	ck_assert_int_eq(hvri_cut_chunk(cut, 0, 0, &bytes, &length), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_get_disk(cut, 1, &facts), HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_cut_get_disk(cut, 0, &facts), HVREPL_OK);
	ck_assert_uint_eq(facts.changed_bytes, 2 * LENGTH);
	ck_assert_int_eq(hvrepl_cut_get_info(cut, &info), HVREPL_OK);
	ck_assert_uint_eq(info.changed_bytes, 2 * LENGTH);
	ck_assert_int_eq(hvrepl_cut_settle(cut, 0, HVREPL_E_CANCELLED),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_cut_chunk(cut, 0, 0, &bytes, &length),
			 HVREPL_E_VOIDED);
	ck_assert_int_eq(hvrepl_cut_settle(cut, 0, HVREPL_E_CANCELLED),
			 HVREPL_E_STATE);
	finish(cut);
}
END_TEST

START_TEST(the_end_of_a_disk_that_ends_within_a_block_is_read)
{
	const uint64_t size = SIZE - 512;
	hvrepl_cut *cut;

	setup();
	disk = sim_disk_new(&sim, size);
	disk->flags = HVREPL_DISK_EXCLUSIVE;
	open_all(1 << 20, 0);
	write_at(size - 1536, 1536, 5);
	cut = make_cut();
	for (unsigned spooled = 0; spooled < 2; spooled++) {
		if (spooled == 1)
			ck_assert_int_eq(spool(cut), HVREPL_OK);
		memset(image, 0xee, sizeof(image));
		ck_assert_int_eq(hvrepl_cut_read(cut, 0, size - 512, image, 512),
				 HVREPL_OK);
		ck_assert_mem_eq(image, sim_disk_bytes(disk) + size - 512, 512);
		ck_assert_uint_eq(image[512], 0xee);
		/* Anywhere else only whole blocks are. */
		ck_assert_int_eq(hvrepl_cut_read(cut, 0, size - 512, image, 256),
				 HVREPL_E_RANGE);
		ck_assert_int_eq(hvrepl_cut_read(cut, 0, size - 1536, image, 512),
				 HVREPL_E_RANGE);
	}
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 0);
	teardown();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cut read");
	TCase *tcase = tcase_create("cut read");

	tcase_add_test(tcase, a_spooled_cut_is_read_once_there_is_memory);
	tcase_add_test(tcase, a_spooled_cut_is_read_once_its_spill_can_be);
	tcase_add_test(tcase, a_spill_that_rots_is_not_believed);
	tcase_add_test(tcase, an_open_cut_whose_disk_cannot_be_read_says_so);
	tcase_add_test(tcase, what_there_is_not_of_a_cut_is_refused);
	tcase_add_test(tcase,
		       the_end_of_a_disk_that_ends_within_a_block_is_read);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
