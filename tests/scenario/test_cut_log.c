/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts as logs: what a tracker saw, written, read, and applied beside. */
#include "logbuf.h"
#include "trackbed.h"

#include <stdlib.h>
#include <string.h>

static struct bed bed;

static void setup(void)
{
	int32_t rc;

	bed_init(&bed, 21);
	rc = bed_attach(&bed, HVREPL_TRACKER_CREATE);
	ck_assert_int_eq(rc, HVREPL_OK);
}

static void teardown(void)
{
	int32_t rc = bed_detach(&bed);

	ck_assert_int_eq(rc, HVREPL_OK);
	bed_free(&bed);
}

static hvrepl_cut *make_cut(void)
{
	hvrepl_cut *cut = NULL;

	for (unsigned i = 0; i < 150; i++)
		bed_step(&bed);
	bed_settle(&bed);
	ck_assert_int_eq(hvrepl_group_cut(bed.group, 0, NULL, &cut),
			 HVREPL_OK);
	return cut;
}

static void spool(hvrepl_cut *cut)
{
	uint32_t progress = HVREPL_CUT_MORE;

	while (progress != HVREPL_CUT_DONE)
		ck_assert_int_eq(hvrepl_cut_advance(cut, 0, &progress),
				 HVREPL_OK);
}

/* The log in `log` onto a disk that holds `bytes`; back into `bytes`. */
static void apply_log(struct logbuf *log, uint8_t *bytes, uint64_t size)
{
	struct hvrepl_log_apply_config config = HVREPL_LOG_APPLY_CONFIG_INIT;
	struct hvrepl_log_progress progress = HVREPL_LOG_PROGRESS_INIT;
	struct hvrepl_log_source source = logbuf_source(log);
	hvrepl_log_reader *reader = NULL;
	hvrepl_log_apply *apply = NULL;
	struct sim_disk *disk;
	struct sim sim;

	sim_init(&sim, 1);
	disk = sim_disk_new(&sim, size);
	sim_disk_poke(disk, 0, bytes, size);
	ck_assert_int_eq(hvrepl_log_reader_open(&bed.env.env, &source, &reader,
						NULL),
			 HVREPL_OK);
	config.flags = HVREPL_LOG_APPLY_ANY_BASE;
	config.readers = &reader;
	config.reader_count = 1;
	config.disk = sim_disk_handle(disk);
	ck_assert_int_eq(hvrepl_log_apply_create(&bed.env.env, &config, &apply,
						 NULL),
			 HVREPL_OK);
	while (progress.phase != HVREPL_LOG_PHASE_DONE)
		ck_assert_int_eq(hvrepl_log_apply_advance(apply, &progress,
							  NULL),
				 HVREPL_OK);
	hvrepl_log_apply_destroy(apply);
	hvrepl_log_reader_destroy(reader);
	memcpy(bytes, sim_disk_bytes(disk), size);
	sim_free(&sim);
}

START_TEST(each_cut_becomes_a_log_that_makes_the_disk)
{
	for (unsigned round = 0; round < 10; round++) {
		hvrepl_cut *cut = make_cut();
		struct hvrepl_cut_info info = HVREPL_CUT_INFO_INIT;
		uint64_t changed = 0;

		ck_assert_int_eq(hvrepl_cut_get_info(cut, &info), HVREPL_OK);
		spool(cut);
		for (uint32_t d = 0; d < BED_DISKS; d++) {
			struct hvrepl_log_summary summary =
				HVREPL_LOG_SUMMARY_INIT;
			struct hvrepl_log_sink sink;
			struct logbuf log;

			logbuf_init(&log);
			sink = logbuf_sink(&log);
			ck_assert_int_eq(hvrepl_log_from_cut(&bed.env.env, cut,
							     d, &sink,
							     &summary, NULL),
					 HVREPL_OK);
			ck_assert_uint_eq(log.released, 1);
			changed += summary.data_bytes + summary.zero_bytes +
				   summary.discard_bytes;
			/* The header of the log names the cut (T6). */
			ck_assert_mem_eq(log.bytes + 64, info.id.bytes, 16);
			apply_log(&log, bed.replica[d], bed.size[d]);
			ck_assert_mem_eq(bed.replica[d],
					 sim_disk_bytes(bed.disk[d]),
					 bed.size[d]);
			logbuf_free(&log);
		}
		ck_assert_int_eq(hvrepl_cut_get_info(cut, &info), HVREPL_OK);
		/* It counts the short last block as a whole one. */
		ck_assert_uint_le(changed, info.changed_bytes);
		ck_assert_uint_gt(changed + BED_DISKS * BED_BLOCK,
				  info.changed_bytes);
		ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	}
}
END_TEST

START_TEST(cut_that_cannot_be_a_log_is_refused)
{
	hvrepl_cut *cut = make_cut();
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_log_sink sink;
	struct logbuf log;

	logbuf_init(&log);
	sink = logbuf_sink(&log);
	ck_assert_int_eq(hvrepl_log_from_cut(&bed.env.env, cut, 0, &sink, NULL,
					     &error),
			 HVREPL_E_BUSY);
	ck_assert_ptr_nonnull(strstr(error.sentence, "advance it"));
	ck_assert_int_eq(hvrepl_log_from_cut(&bed.env.env, cut, BED_DISKS,
					     &sink, NULL, &error),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_log_from_cut(&bed.env.env, NULL, 0, &sink,
					     NULL, &error),
			 HVREPL_E_INVALID);
	ck_assert_uint_eq(log.released, 3);
	spool(cut);
	log.append_count = 0;
	log.fail_append_at = 1;
	log.fail_code = HVREPL_E_NO_SPACE;
	ck_assert_int_eq(hvrepl_log_from_cut(&bed.env.env, cut, 0, &sink, NULL,
					     &error),
			 HVREPL_E_NO_SPACE);
	/* And once more, from the same spool. */
	log.length = 0;
	log.fail_append_at = SIZE_MAX;
	ck_assert_int_eq(hvrepl_log_from_cut(&bed.env.env, cut, 0, &sink, NULL,
					     &error),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_void(cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_from_cut(&bed.env.env, cut, 0, &sink, NULL,
					     &error),
			 HVREPL_E_VOIDED);
	ck_assert_uint_eq(log.released, 6);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
	logbuf_free(&log);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cut log");
	TCase *tcase = tcase_create("cut log");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, each_cut_becomes_a_log_that_makes_the_disk);
	tcase_add_test(tcase, cut_that_cannot_be_a_log_is_refused);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
