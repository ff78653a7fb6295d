/* SPDX-License-Identifier: Apache-2.0 */
/* Writers, readers and comparisons of logs as handles: who may call when, what they
 * say when, and what they let go. */
#include "logbuf.h"
#include "sim.h"
#include "testing.h"

#include <string.h>

#define DISK (1u << 20)

static struct test_env test;
static struct logbuf buffer;

static void setup(void)
{
	test_env_init(&test, 5);
	logbuf_init(&buffer);
}

static void teardown(void)
{
	logbuf_free(&buffer);
	ck_assert_int_eq(test.alloc_live, 0);
}

struct reentry {
	hvrepl_log_compare *compare;
	unsigned refused;
};

static void reenter(void *argument)
{
	struct reentry *reentry = argument;

	reentry->refused += hvrepl_log_compare_advance(reentry->compare, NULL,
						       NULL) ==
			    HVREPL_E_REENTRANT;
}

struct inside {
	hvrepl_log_writer *writer;
	hvrepl_log_reader *reader;
	unsigned refused;
};

static void call_inside(void *argument)
{
	struct hvrepl_log_chunk chunk = HVREPL_LOG_CHUNK_INIT;
	struct inside *inside = argument;

	if (inside->writer != NULL) {
		ck_assert_int_eq(hvrepl_log_writer_add(inside->writer, 0, "x", 1),
				 HVREPL_E_REENTRANT);
		ck_assert_int_eq(hvrepl_log_writer_add_zero(inside->writer, 0,
							    512),
				 HVREPL_E_REENTRANT);
		ck_assert_int_eq(hvrepl_log_writer_add_discard(inside->writer, 0,
							       512),
				 HVREPL_E_REENTRANT);
		ck_assert_int_eq(hvrepl_log_writer_finish(inside->writer, 0, NULL,
							  NULL),
				 HVREPL_E_REENTRANT);
	}
	if (inside->reader != NULL) {
		ck_assert_int_eq(hvrepl_log_reader_next(inside->reader, &chunk),
				 HVREPL_E_REENTRANT);
		ck_assert_int_eq(hvrepl_log_reader_rewind(inside->reader),
				 HVREPL_E_REENTRANT);
	}
	inside->refused += inside->writer != NULL || inside->reader != NULL;
}

START_TEST(nobody_writes_or_reads_a_log_from_inside_its_callbacks)
{
	static const uint8_t bytes[4096] = { 1 };
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	struct hvrepl_log_chunk chunk = HVREPL_LOG_CHUNK_INIT;
	struct hvrepl_log_sink sink = logbuf_sink(&buffer);
	struct hvrepl_log_source source = logbuf_source(&buffer);
	struct inside inside = { NULL, NULL, 0 };

	info.disk_size = DISK;
	ck_assert_int_eq(hvrepl_log_writer_create(&test.env, &info, 1, &sink,
						  &inside.writer, NULL),
			 HVREPL_OK);
	buffer.hook = call_inside;
	buffer.hook_argument = &inside;
	ck_assert_int_eq(hvrepl_log_writer_add(inside.writer, 0, bytes,
					       sizeof(bytes)),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_writer_finish(inside.writer, 0, NULL, NULL),
			 HVREPL_OK);
	ck_assert_uint_gt(inside.refused, 0);
	hvrepl_log_writer_destroy(inside.writer);
	inside = (struct inside){ NULL, NULL, 0 };
	ck_assert_int_eq(hvrepl_log_reader_open(&test.env, &source,
						&inside.reader, NULL),
			 HVREPL_OK);
	inside.refused = 0;
	ck_assert_int_eq(hvrepl_log_reader_next(inside.reader, &chunk),
			 HVREPL_OK);
	ck_assert_uint_gt(inside.refused, 0);
	buffer.hook = NULL;
	hvrepl_log_reader_destroy(inside.reader);
}
END_TEST

START_TEST(a_comparison_says_what_it_made_once_it_is_done)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT, said = info;
	struct hvrepl_log_summary summary = HVREPL_LOG_SUMMARY_INIT;
	struct hvrepl_log_sink sink = logbuf_sink(&buffer);
	struct hvrepl_disk from, to;
	struct reentry reentry = { NULL, 0 };
	hvrepl_log_compare *operation = NULL;
	struct sim sim;

	sim_init(&sim, 3);
	from = sim_disk_handle(sim_disk_new(&sim, DISK));
	to = sim_disk_handle(sim_disk_new(&sim, DISK));
	info.from_point = 3;
	info.to_point = 4;
	ck_assert_int_eq(hvrepl_log_compare_create(&test.env, &info, 1, &from,
						   &to, &sink, &operation, NULL),
			 HVREPL_OK);
	buffer.hook = reenter;
	buffer.hook_argument = &reentry;
	reentry.compare = operation;
	ck_assert_int_eq(hvrepl_log_compare_summary(operation, &said, &summary),
			 HVREPL_E_STATE);
	/* Whoever does not ask how far it is gets no answer. */
	while (hvrepl_log_compare_summary(operation, NULL, NULL) ==
	       HVREPL_E_STATE)
		ck_assert_int_eq(hvrepl_log_compare_advance(operation, NULL,
							    NULL),
				 HVREPL_OK);
	ck_assert_uint_gt(reentry.refused, 0);
	ck_assert_int_eq(hvrepl_log_compare_advance(operation, NULL, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_compare_summary(operation, &said, &summary),
			 HVREPL_OK);
	ck_assert_uint_eq(said.to_point, 4);
	ck_assert_uint_eq(said.disk_size, DISK);
	ck_assert_uint_eq(summary.chunk_count, 0);
	buffer.hook = NULL;
	hvrepl_log_compare_destroy(operation);
	sim_free(&sim);
}
END_TEST

/* All three are let go, whichever of them cannot be used. */
START_TEST(disks_and_logs_that_cannot_be_used_are_let_go)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	hvrepl_log_compare *operation = NULL;
	struct sim_disk *disks[2];
	struct sim sim;

	sim_init(&sim, 3);
	for (unsigned d = 0; d < 2; d++)
		disks[d] = sim_disk_new(&sim, DISK);
	for (unsigned bad = 0; bad < 4; bad++) {
		struct hvrepl_log_sink sink = logbuf_sink(&buffer);
		struct hvrepl_disk from = sim_disk_handle(disks[0]);
		struct hvrepl_disk to = sim_disk_handle(disks[1]);
		struct hvrepl_disk_ops ops = *from.ops;
		struct hvrepl_log_sink_ops no_append = *sink.ops;
		uint8_t digest[32];

		ops.readv = NULL;
		no_append.append = NULL;
		if (bad == 0)
			from.ops = &ops;
		if (bad == 1)
			to.ops = &ops;
		if (bad == 2)
			sink.ops = &no_append;
		info.block_size = bad == 3 ? 100 : 0;
		disks[0]->released = disks[1]->released = buffer.released = 0;
		ck_assert_int_eq(hvrepl_log_compare_create(&test.env, &info, 1,
							   &from, &to, &sink,
							   &operation, NULL),
				 HVREPL_E_INVALID);
		ck_assert_uint_eq(disks[0]->released, 1);
		ck_assert_uint_eq(disks[1]->released, 1);
		ck_assert_uint_eq(buffer.released, 1);
		if (bad == 0)
			ck_assert_int_eq(hvrepl_disk_digest(&test.env, &from,
							    digest, NULL),
					 HVREPL_E_INVALID);
	}
	sim_free(&sim);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log compare");
	TCase *tcase = tcase_create("log compare");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase,
		       nobody_writes_or_reads_a_log_from_inside_its_callbacks);
	tcase_add_test(tcase, a_comparison_says_what_it_made_once_it_is_done);
	tcase_add_test(tcase, disks_and_logs_that_cannot_be_used_are_let_go);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
