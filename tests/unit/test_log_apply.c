/* SPDX-License-Identifier: Apache-2.0 */
/* Applying a log while something is short: it says so, and done again it ends with the
 * disk that the log makes; and what an apply is not given is refused. */
#include "logbuf.h"
#include "shortage.h"
#include "sim.h"
#include "testing.h"

#include <string.h>

#define SIZE (64u << 10)
#define RECORD "apply"

static const enum shortage_kind kinds[] = {
	SHORT_MEMORY,  SHORT_CRYPTO,  SHORT_IO,
	SHORT_ANSWERS, SHORT_ENTROPY, SHORT_OWN, /* The log is not read. */
};
#define KINDS ((int)(sizeof(kinds) / sizeof(kinds[0])))

static struct test_env test;
static struct sim sim;
static struct sim_disk *disk;
static struct sim_storage *storage;
static struct logbuf buffer;
static struct shortage shortage = { .env = &test,
				    .sim = &sim,
				    .code = HVREPL_E_NO_SPACE };
static uint8_t before[SIZE], after[SIZE];

static void make_log(void)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	struct hvrepl_log_progress progress = HVREPL_LOG_PROGRESS_INIT;
	struct hvrepl_log_sink sink = logbuf_sink(&buffer);
	struct sim_disk *to = sim_disk_new(&sim, SIZE);
	struct hvrepl_disk old = sim_disk_handle(disk), new;
	hvrepl_log_compare *compare;

	sim_disk_poke(disk, 0, before, SIZE);
	sim_disk_poke(to, 0, after, SIZE);
	new = sim_disk_handle(to);
	ck_assert_int_eq(hvrepl_log_compare_create(&test.env, &info, 1, &old, &new,
						   &sink, &compare, NULL),
			 HVREPL_OK);
	while (progress.phase != HVREPL_LOG_PHASE_DONE)
		ck_assert_int_eq(hvrepl_log_compare_advance(compare, &progress,
							    NULL),
				 HVREPL_OK);
	hvrepl_log_compare_destroy(compare);
}

static void begin(void)
{
	test_env_init(&test, 5);
	sim_init(&sim, 5);
	logbuf_init(&buffer);
	disk = sim_disk_new(&sim, SIZE);
	storage = sim_storage_new(&sim);
	test_fill(before, sizeof(before), 3);
	memcpy(after, before, sizeof(after));
	test_fill(after + 8192, 8192, 4);
	memset(after + 32768, 0, 4096);
	make_log();
}

static void end(void)
{
	sim_free(&sim);
	logbuf_free(&buffer);
	ck_assert_int_eq(test.alloc_live, 0);
}

static struct hvrepl_log_apply_config config_for(hvrepl_log_reader **readers)
{
	struct hvrepl_log_apply_config config = HVREPL_LOG_APPLY_CONFIG_INIT;

	config.readers = readers;
	config.reader_count = 1;
	config.disk = sim_disk_handle(disk);
	config.storage = sim_storage_handle(storage);
	config.record_id = RECORD;
	return config;
}

static int32_t open_reader(hvrepl_log_reader **reader)
{
	struct hvrepl_log_source source = logbuf_source(&buffer);

	*reader = NULL;
	return hvrepl_log_reader_open(&test.env, &source, reader, NULL);
}

static int32_t run(void)
{
	struct hvrepl_log_progress progress = HVREPL_LOG_PROGRESS_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_log_apply_config config;
	hvrepl_log_apply *apply = NULL;
	hvrepl_log_reader *reader;
	int32_t rc = open_reader(&reader);

	if (rc == HVREPL_OK) {
		config = config_for(&reader);
		rc = hvrepl_log_apply_create(&test.env, &config, &apply, &error);
	}
	while (rc == HVREPL_OK && progress.phase != HVREPL_LOG_PHASE_DONE)
		rc = hvrepl_log_apply_advance(apply, &progress, &error);
	/* What has failed once does not go on. */
	if (rc < 0 && apply != NULL)
		ck_assert_int_eq(hvrepl_log_apply_advance(apply, NULL, NULL),
				 HVREPL_E_STATE);
	hvrepl_log_apply_destroy(apply);
	hvrepl_log_reader_destroy(reader);
	return rc;
}

static void arm(int kind, uint64_t n)
{
	shortage_begin(&shortage, kinds[kind], n);
	if (kinds[kind] == SHORT_OWN)
		buffer.fail_read_at = buffer.read_count + n;
}

static bool disarm(void)
{
	bool reached = shortage_end(&shortage) ||
		       buffer.read_count > buffer.fail_read_at;

	buffer.fail_read_at = SIZE_MAX;
	return reached;
}

START_TEST(an_apply_that_fails_anywhere_is_done_again)
{
	bool reached = true;

	/* On a fresh disk, and on one that was done before. */
	for (uint64_t n = 0; reached; n++)
		for (unsigned done = 0; done < 2; done++) {
			int32_t rc;

			begin();
			if (done == 1)
				ck_assert_int_eq(run(), HVREPL_OK);
			arm(_i, n);
			rc = run();
			reached = disarm();
			ck_assert_msg((rc < 0) == reached, "place %llu: %d",
				      (unsigned long long)n, rc);
			ck_assert_int_eq(run(), HVREPL_OK);
			ck_assert_mem_eq(sim_disk_bytes(disk), after, SIZE);
			/* And of its record nothing is left. */
			ck_assert_uint_eq(sim_storage_objects(storage), 0);
			end();
		}
}
END_TEST

START_TEST(an_apply_that_cannot_be_begun_lets_everything_go)
{
	static char long_id[HVREPL_OBJECT_ID_MAX + 2];
	struct hvrepl_log_apply_config config;
	struct hvrepl_storage_ops no_list;
	struct hvrepl_disk_ops no_read;
	hvrepl_log_apply *apply = NULL;
	hvrepl_log_reader *reader;

	begin();
	memset(long_id, 'r', sizeof(long_id) - 1);
	ck_assert_int_eq(open_reader(&reader), HVREPL_OK);
#define NO_APPLY(change, rc)                                                  \
	do {                                                                  \
		config = config_for(&reader);                                 \
		change;                                                       \
		disk->released = storage->released = 0;                       \
		ck_assert_int_eq(hvrepl_log_apply_create(&test.env, &config,  \
							 &apply, NULL),       \
				 rc);                                         \
		ck_assert_uint_eq(disk->released, 1);                         \
		ck_assert_uint_eq(storage->released, 1);                      \
	} while (0)
	NO_APPLY(config.record_id = NULL, HVREPL_E_INVALID);
	NO_APPLY(config.record_id = "", HVREPL_E_INVALID);
	NO_APPLY(config.record_id = long_id, HVREPL_E_INVALID);
	NO_APPLY(config.flags = 1u << 30, HVREPL_E_TOO_NEW);
	NO_APPLY(test.alloc_fail_at = 0, HVREPL_E_NOMEM);
	no_list = *sim_storage_handle(storage).ops;
	no_list.list = NULL;
	NO_APPLY(config.storage.ops = &no_list, HVREPL_E_INVALID);
	no_read = *sim_disk_handle(disk).ops;
	no_read.readv = NULL;
	NO_APPLY(config.disk.ops = &no_read, HVREPL_E_INVALID);
	disk->flags = HVREPL_DISK_READ_ONLY;
	NO_APPLY((void)0, HVREPL_E_READ_ONLY);
	disk->flags = 0;
	hvrepl_log_reader_destroy(reader);
	ck_assert_int_eq(run(), HVREPL_OK);
	ck_assert_mem_eq(sim_disk_bytes(disk), after, SIZE);
	end();
}
END_TEST

static hvrepl_log_apply *inside;
static unsigned refused;

static void call_inside(void *argument)
{
	(void)argument;
	refused += hvrepl_log_apply_advance(inside, NULL, NULL) ==
		   HVREPL_E_REENTRANT;
}

START_TEST(an_apply_is_not_advanced_from_inside_its_callbacks)
{
	struct hvrepl_log_apply_config config;
	hvrepl_log_reader *reader;

	begin();
	ck_assert_int_eq(open_reader(&reader), HVREPL_OK);
	config = config_for(&reader);
	ck_assert_int_eq(hvrepl_log_apply_create(&test.env, &config, &inside,
						 NULL),
			 HVREPL_OK);
	buffer.hook = call_inside;
	refused = 0;
	ck_assert_int_eq(hvrepl_log_apply_advance(inside, NULL, NULL), HVREPL_OK);
	ck_assert_uint_gt(refused, 0);
	buffer.hook = NULL;
	hvrepl_log_apply_destroy(inside);
	hvrepl_log_reader_destroy(reader);
	end();
}
END_TEST

/* One that is torn, or of something else, is no record. */
START_TEST(a_record_that_is_none_does_not_stop_an_apply)
{
	static const uint8_t junk[HVREPL_OBJECT_ID_MAX * 4] = { 7 };

	for (size_t length = 0; length < sizeof(junk); length += 31) {
		struct hvrepl_storage handle;
		struct hvrepl_iovec iov = { (void *)(uintptr_t)junk, length };
		void *object;

		begin();
		handle = sim_storage_handle(storage);
		ck_assert_int_eq(handle.ops->open(handle.user, RECORD,
						  HVREPL_OBJECT_CREATE, &object),
				 HVREPL_OK);
		ck_assert_int_eq(handle.ops->write(handle.user, NULL, object, 0,
						   &iov, 1),
				 HVREPL_OK);
		handle.ops->close(handle.user, object);
		ck_assert_int_eq(run(), HVREPL_OK);
		ck_assert_mem_eq(sim_disk_bytes(disk), after, SIZE);
		end();
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log apply");
	TCase *tcase = tcase_create("log apply");

	tcase_add_loop_test(tcase, an_apply_that_fails_anywhere_is_done_again, 0,
			    KINDS);
	tcase_add_test(tcase, an_apply_that_cannot_be_begun_lets_everything_go);
	tcase_add_test(tcase, an_apply_is_not_advanced_from_inside_its_callbacks);
	tcase_add_test(tcase, a_record_that_is_none_does_not_stop_an_apply);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
