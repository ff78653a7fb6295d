/* SPDX-License-Identifier: Apache-2.0 */
/* Applying logs: refused, resumed, repeated, with power lost at every I/O. */
#include "logbuf.h"
#include "sim.h"
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#define MIB (1u << 20)
#define SIZE (3 * MIB)
#define RECORD "apply"

static struct test_env test;
static struct sim sim;
static struct sim_disk *disk; /* What is applied to. */
static struct sim_storage *storage;
static struct logbuf logs[2]; /* A chain: content 0 -> 1 -> 2. */
static uint8_t *content[3];

static void differ(uint8_t *bytes, uint64_t *random, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t block = test_random(random) % (SIZE / 4096);

		if (i % 4 == 0)
			memset(bytes + block * 4096, 0, 4096);
		else
			test_fill(bytes + block * 4096, 4096,
				  test_random(random));
	}
}

static void make_log(struct logbuf *log, const uint8_t *from,
		     const uint8_t *to)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	struct hvrepl_log_sink sink = logbuf_sink(log);
	struct hvrepl_log_progress progress = HVREPL_LOG_PROGRESS_INIT;
	struct hvrepl_disk old_handle, new_handle;
	hvrepl_log_compare *compare = NULL;
	struct sim_disk *disks[2];
	struct sim other;

	sim_init(&other, 1);
	disks[0] = sim_disk_new(&other, SIZE);
	disks[1] = sim_disk_new(&other, SIZE);
	sim_disk_poke(disks[0], 0, from, SIZE);
	sim_disk_poke(disks[1], 0, to, SIZE);
	old_handle = sim_disk_handle(disks[0]);
	new_handle = sim_disk_handle(disks[1]);
	info.to_point = 1;
	logbuf_init(log);
	ck_assert_int_eq(hvrepl_log_compare_create(&test.env, &info, 1,
						   &old_handle, &new_handle,
						   &sink, &compare, NULL),
			 HVREPL_OK);
	while (progress.phase != HVREPL_LOG_PHASE_DONE)
		ck_assert_int_eq(hvrepl_log_compare_advance(compare, &progress,
							    NULL),
				 HVREPL_OK);
	hvrepl_log_compare_destroy(compare);
	sim_free(&other);
}

static void setup(void)
{
	uint64_t random = 17;

	test_env_init(&test, 5);
	for (unsigned i = 0; i < 3; i++)
		content[i] = calloc(1, SIZE);
	test_fill(content[0], SIZE - MIB, 4); /* The last MiB stays zero. */
	memcpy(content[1], content[0], SIZE);
	differ(content[1], &random, 20);
	memcpy(content[2], content[1], SIZE);
	differ(content[2], &random, 20);
	make_log(&logs[0], content[0], content[1]);
	make_log(&logs[1], content[1], content[2]);
	sim_init(&sim, 11);
	disk = sim_disk_new(&sim, SIZE);
	storage = sim_storage_new(&sim);
	sim_disk_poke(disk, 0, content[0], SIZE);
}

static void teardown(void)
{
	sim_free(&sim);
	for (unsigned i = 0; i < 3; i++)
		free(content[i]);
	logbuf_free(&logs[0]);
	logbuf_free(&logs[1]);
	ck_assert_int_eq(test.alloc_live, 0);
}

struct outcome {
	int32_t rc;
	uint32_t how; /* HVREPL_LOG_APPLY_* */
	uint64_t written;
	char sentence[HVREPL_SENTENCE_MAX];
};

static struct outcome apply_logs(const unsigned *which, uint32_t count,
				 bool with_record, uint32_t flags)
{
	struct hvrepl_log_apply_config config = HVREPL_LOG_APPLY_CONFIG_INIT;
	struct hvrepl_log_progress progress = HVREPL_LOG_PROGRESS_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_log_reader *readers[4] = { NULL };
	hvrepl_log_apply *apply = NULL;
	struct outcome outcome = { 0 };
	int32_t rc = HVREPL_OK;

	for (uint32_t i = 0; i < count && rc == HVREPL_OK; i++) {
		struct hvrepl_log_source source =
			logbuf_source(&logs[which[i]]);

		rc = hvrepl_log_reader_open(&test.env, &source, &readers[i],
					    &error);
	}
	if (rc == HVREPL_OK) {
		config.flags = flags;
		config.readers = readers;
		config.reader_count = count;
		config.disk = sim_disk_handle(disk);
		if (with_record) {
			config.storage = sim_storage_handle(storage);
			config.record_id = RECORD;
		}
		rc = hvrepl_log_apply_create(&test.env, &config, &apply,
					     &error);
	}
	while (rc == HVREPL_OK && progress.phase != HVREPL_LOG_PHASE_DONE)
		rc = hvrepl_log_apply_advance(apply, &progress, &error);
	hvrepl_log_apply_destroy(apply);
	for (uint32_t i = 0; i < count; i++)
		hvrepl_log_reader_destroy(readers[i]);
	outcome.rc = rc;
	outcome.how = progress.outcome;
	outcome.written = progress.written;
	memcpy(outcome.sentence, error.sentence, sizeof(error.sentence));
	return outcome;
}

static const unsigned first[] = { 0 }, second[] = { 1 }, chain[] = { 0, 1 },
		      backwards[] = { 1, 0 }, twice[] = { 0, 0 };

static void assert_disk(unsigned which)
{
	ck_assert_mem_eq(sim_disk_bytes(disk), content[which], SIZE);
}

START_TEST(logs_apply_one_by_one_and_as_a_chain)
{
	struct outcome outcome = apply_logs(first, 1, true, 0);

	ck_assert_int_eq(outcome.rc, HVREPL_OK);
	ck_assert_uint_eq(outcome.how, HVREPL_LOG_APPLY_FRESH);
	assert_disk(1);
	ck_assert_uint_eq(sim_storage_objects(storage), 0);
	/* A chain begun elsewhere is picked up where the disk stands. */
	outcome = apply_logs(chain, 2, true, 0);
	ck_assert_int_eq(outcome.rc, HVREPL_OK);
	assert_disk(2);
	/* And done again, nothing is written. */
	outcome = apply_logs(chain, 2, true, 0);
	ck_assert_int_eq(outcome.rc, HVREPL_OK);
	ck_assert_uint_eq(outcome.how, HVREPL_LOG_APPLY_ALREADY);
	ck_assert_uint_eq(outcome.written, 0);
	sim_disk_poke(disk, 0, content[0], SIZE);
	ck_assert_int_eq(apply_logs(chain, 2, false, 0).rc, HVREPL_OK);
	assert_disk(2);
	/* Without a flush it would not outlast this. */
	sim_restart(&sim, true);
	assert_disk(2);
}
END_TEST

/* Any block changed by somebody else, inside or outside what the log writes. */
START_TEST(disk_that_is_not_the_base_is_refused_untouched)
{
	uint8_t *before = malloc(SIZE);

	for (uint64_t block = 0; block < SIZE / 4096; block += 7) {
		struct outcome outcome;

		sim_disk_poke(disk, 0, content[0], SIZE);
		sim_disk_poke(disk, block * 4096 + 77, "other", 5);
		memcpy(before, sim_disk_bytes(disk), SIZE);
		outcome = apply_logs(chain, 2, true, 0);
		ck_assert_int_eq(outcome.rc, HVREPL_E_WRONG_DISK);
		ck_assert_ptr_nonnull(strstr(outcome.sentence,
					     "not what the log was made from"));
		ck_assert_mem_eq(sim_disk_bytes(disk), before, SIZE);
		ck_assert_uint_eq(sim_storage_objects(storage), 0);
	}
	free(before);
	sim_disk_poke(disk, 0, content[0], SIZE);
	ck_assert_int_eq(apply_logs(second, 1, true, 0).rc,
			 HVREPL_E_WRONG_DISK);
	assert_disk(0);
}
END_TEST

START_TEST(logs_that_are_no_chain_are_refused_untouched)
{
	struct outcome outcome = apply_logs(backwards, 2, true, 0);

	ck_assert_int_eq(outcome.rc, HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(outcome.sentence, "does not begin"));
	ck_assert_int_eq(apply_logs(twice, 2, true, 0).rc, HVREPL_E_INVALID);
	ck_assert_int_eq(apply_logs(first, 0, true, 0).rc, HVREPL_E_INVALID);
	assert_disk(0);
}
END_TEST

START_TEST(disk_of_another_size_or_geometry_is_refused)
{
	struct outcome outcome;

	disk = sim_disk_new(&sim, SIZE + MIB);
	outcome = apply_logs(first, 1, true, 0);
	ck_assert_int_eq(outcome.rc, HVREPL_E_WRONG_DISK);
	ck_assert_ptr_nonnull(strstr(outcome.sentence, "4194304"));
	disk = sim_disk_new(&sim, SIZE);
	disk->block_size = 16384;
	sim_disk_poke(disk, 0, content[0], SIZE);
	ck_assert_int_eq(apply_logs(first, 1, true, 0).rc, HVREPL_E_RANGE);
	assert_disk(0);
	disk->block_size = 512;
	disk->flags = HVREPL_DISK_READ_ONLY;
	ck_assert_int_eq(apply_logs(first, 1, true, 0).rc, HVREPL_E_READ_ONLY);
}
END_TEST

/* The last log of the chain is damaged: the first one is not applied. */
START_TEST(damage_anywhere_in_the_chain_stops_the_first_write)
{
	for (size_t at = 0; at < logs[1].length; at += 1009) {
		logs[1].bytes[at] ^= 4;
		ck_assert_int_lt(apply_logs(chain, 2, true, 0).rc, 0);
		logs[1].bytes[at] ^= 4;
	}
	logs[1].length -= 1;
	ck_assert_int_eq(apply_logs(chain, 2, true, 0).rc,
			 HVREPL_E_TRUNCATED);
	logs[1].length += 1;
	ck_assert_uint_eq(sim.io_count, 0);
	assert_disk(0);
}
END_TEST

/* A log that does not name its base is applied on the operator's word only. */
START_TEST(log_without_base_digest_needs_a_word)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	struct hvrepl_log_sink sink;
	hvrepl_log_writer *writer = NULL;

	logbuf_free(&logs[0]);
	logbuf_init(&logs[0]);
	sink = logbuf_sink(&logs[0]);
	info.disk_size = SIZE;
	ck_assert_int_eq(hvrepl_log_writer_create(&test.env, &info, 1, &sink,
						  &writer, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_writer_add_discard(writer, 4096, 2 * MIB),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_writer_finish(writer, 0, NULL, NULL),
			 HVREPL_OK);
	hvrepl_log_writer_destroy(writer);
	ck_assert_int_eq(apply_logs(first, 1, true, 0).rc, HVREPL_E_UNTRUSTED);
	assert_disk(0);
	ck_assert_int_eq(
		apply_logs(first, 1, true, HVREPL_LOG_APPLY_ANY_BASE).rc,
		HVREPL_OK);
	memset(content[0] + 4096, 0, 2 * MIB);
	assert_disk(0);
}
END_TEST

/* Crash at every I/O, with power and without; again while resuming; then the
 * same command completes it. */
static void crash_everywhere(bool power_loss, unsigned garbage)
{
	bool crashed = true;
	unsigned resumed = 0;

	for (uint64_t at = 0; crashed; at++) {
		struct outcome outcome;

		sim.garbage_percent = garbage;
		sim_disk_poke(disk, 0, content[0], SIZE);
		sim.io_count = 0;
		sim.crash_at = at;
		outcome = apply_logs(chain, 2, true, 0);
		crashed = sim.crashed;
		ck_assert_int_eq(outcome.rc == HVREPL_OK, !crashed);
		sim_restart(&sim, power_loss);
		/* The second crash comes somewhere in the repeat. */
		sim.io_count = 0;
		sim.crash_at = at / 2;
		outcome = apply_logs(chain, 2, true, 0);
		ck_assert_int_eq(outcome.rc == HVREPL_OK, !sim.crashed);
		sim_restart(&sim, power_loss);
		sim.crash_at = UINT64_MAX;
		outcome = apply_logs(chain, 2, true, 0);
		ck_assert_msg(outcome.rc == HVREPL_OK, "crash at %u: %s",
			      (unsigned)at, outcome.sentence);
		resumed += outcome.how == HVREPL_LOG_APPLY_RESUMED;
		assert_disk(2);
		ck_assert_uint_eq(sim_storage_objects(storage), 0);
		sim_restart(&sim, true);
		assert_disk(2);
	}
	ck_assert_uint_gt(resumed, 10);
}

START_TEST(apply_crashed_at_any_io_is_completed_by_the_same_command)
{
	crash_everywhere(true, 10);
}
END_TEST

START_TEST(apply_killed_at_any_io_is_completed_by_the_same_command)
{
	crash_everywhere(false, 0);
}
END_TEST

/* Half written, and then somebody else writes where the logs do not. */
START_TEST(interrupted_disk_that_was_changed_since_is_refused)
{
	uint64_t kept = 0;
	struct outcome outcome;

	while (memcmp(content[0] + kept, content[1] + kept, 4096) != 0 ||
	       memcmp(content[1] + kept, content[2] + kept, 4096) != 0)
		kept += 4096;
	sim.crash_at = 15;
	ck_assert_int_lt(apply_logs(chain, 2, true, 0).rc, 0);
	sim_restart(&sim, false);
	sim.crash_at = UINT64_MAX;
	/* Other logs do not continue it. */
	outcome = apply_logs(first, 1, true, 0);
	ck_assert_int_eq(outcome.rc, HVREPL_E_WRONG_DISK);
	ck_assert_ptr_nonnull(strstr(outcome.sentence, "other logs"));
	/* Without the record the half-written disk is not known. */
	ck_assert_int_eq(apply_logs(chain, 2, false, 0).rc,
			 HVREPL_E_WRONG_DISK);
	sim_disk_poke(disk, kept, "foreign", 7);
	outcome = apply_logs(chain, 2, true, 0);
	ck_assert_int_eq(outcome.rc, HVREPL_E_WRONG_DISK);
	ck_assert_ptr_nonnull(strstr(outcome.sentence, "interrupted"));
	sim_disk_poke(disk, kept, content[0] + kept, 7);
	ck_assert_int_eq(apply_logs(chain, 2, true, 0).rc, HVREPL_OK);
	assert_disk(2);
}
END_TEST

/* What knows of no base leaves the record of others alone. */
START_TEST(log_of_any_base_does_not_end_an_interrupted_apply)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	struct hvrepl_log_sink sink;
	struct logbuf kept = logs[1];
	hvrepl_log_writer *writer = NULL;

	sim.crash_at = 15;
	ck_assert_int_lt(apply_logs(chain, 2, true, 0).rc, 0);
	sim_restart(&sim, false);
	sim.crash_at = UINT64_MAX;
	logbuf_init(&logs[1]);
	sink = logbuf_sink(&logs[1]);
	info.disk_size = SIZE;
	ck_assert_int_eq(hvrepl_log_writer_create(&test.env, &info, 1, &sink,
						  &writer, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_writer_finish(writer, 0, NULL, NULL),
			 HVREPL_OK);
	hvrepl_log_writer_destroy(writer);
	ck_assert_int_eq(
		apply_logs(second, 1, true, HVREPL_LOG_APPLY_ANY_BASE).rc,
		HVREPL_OK);
	ck_assert_uint_eq(sim_storage_objects(storage), 1);
	logbuf_free(&logs[1]);
	logs[1] = kept;
	ck_assert_int_eq(apply_logs(chain, 2, true, 0).rc, HVREPL_OK);
	assert_disk(2);
}
END_TEST

/* Each callback of disk and storage fails once; the repeat completes it. */
START_TEST(any_failed_io_is_reported_and_can_be_repeated)
{
	bool failed = true;

	for (uint64_t at = 0; failed; at++) {
		struct outcome outcome;

		sim_disk_poke(disk, 0, content[0], SIZE);
		sim.call_count = 0;
		sim.fail_at = at;
		sim.fail_code = HVREPL_E_NO_SPACE;
		outcome = apply_logs(chain, 2, true, 0);
		failed = sim.call_count > at;
		sim.fail_at = UINT64_MAX;
		/* A hint about holes may fail without harm. */
		if (outcome.rc < 0)
			ck_assert_int_eq(outcome.rc, HVREPL_E_NO_SPACE);
		ck_assert_int_eq(apply_logs(chain, 2, true, 0).rc, HVREPL_OK);
		assert_disk(2);
	}
}
END_TEST

START_TEST(every_failed_allocation_leaves_the_disk_repeatable)
{
	bool failed = true;

	for (long n = 0; failed; n++) {
		struct outcome outcome;

		ck_assert_int_lt(n, 100);
		sim_disk_poke(disk, 0, content[0], SIZE);
		test.alloc_fail_at = n;
		outcome = apply_logs(chain, 2, true, 0);
		failed = test.alloc_fail_at < 0;
		test.alloc_fail_at = -1;
		ck_assert_int_eq(outcome.rc, failed ? HVREPL_E_NOMEM
						    : HVREPL_OK);
		ck_assert_int_eq(test.alloc_live, 0);
		ck_assert_int_eq(apply_logs(chain, 2, true, 0).rc, HVREPL_OK);
		assert_disk(2);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log apply");
	TCase *tcase = tcase_create("apply");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, logs_apply_one_by_one_and_as_a_chain);
	tcase_add_test(tcase, disk_that_is_not_the_base_is_refused_untouched);
	tcase_add_test(tcase, logs_that_are_no_chain_are_refused_untouched);
	tcase_add_test(tcase, disk_of_another_size_or_geometry_is_refused);
	tcase_add_test(tcase,
		       damage_anywhere_in_the_chain_stops_the_first_write);
	tcase_add_test(tcase, log_without_base_digest_needs_a_word);
	tcase_add_test(
		tcase,
		apply_crashed_at_any_io_is_completed_by_the_same_command);
	tcase_add_test(tcase,
		       apply_killed_at_any_io_is_completed_by_the_same_command);
	tcase_add_test(tcase,
		       interrupted_disk_that_was_changed_since_is_refused);
	tcase_add_test(tcase,
		       log_of_any_base_does_not_end_an_interrupted_apply);
	tcase_add_test(tcase, any_failed_io_is_reported_and_can_be_repeated);
	tcase_add_test(tcase,
		       every_failed_allocation_leaves_the_disk_repeatable);
	tcase_set_timeout(tcase, 240);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
