/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest's log and head (S3): begun anywhere, checkpointed, fenced, damaged;
 * what was acknowledged is there, and what is damaged is refused by name. */
#include "store/journal.h"

#include "sim.h"
#include "testing.h"

#include <string.h>

static struct test_env test;
static struct hvri_env env;
static struct sim sim;
static struct sim_storage *objects;
static struct hvri_storage storage;
static struct hvri_journal journal;
static struct hvri_manifest state, back;
static uint8_t said; /* The last blob that was acknowledged; 0: none. */

static void setup(void)
{
	struct hvrepl_storage handle;

	test_env_init(&test, 4);
	sim_init(&sim, 4);
	objects = sim_storage_new(&sim);
	handle = sim_storage_handle(objects);
	ck_assert_int_eq(hvri_env_copy(&env, &test.env, NULL), HVREPL_OK);
	ck_assert_int_eq(hvri_storage_take(&storage, &handle, NULL), HVREPL_OK);
	memset(&state, 0, sizeof(state));
	state.vm.bytes[3] = 5;
	state.disk_count = 1;
	state.disks[0].size = 1u << 20;
	state.next_id = 1;
	said = 0;
}

static void teardown(void)
{
	hvri_manifest_clear(&env, &state);
	hvri_storage_drop(&storage);
	sim_free(&sim);
	ck_assert_int_eq(test.alloc_live, 0);
}

static int32_t create(void)
{
	return hvri_journal_create(&journal, &env, &storage, 1, &state);
}

static int32_t reopen(uint64_t token)
{
	memset(&back, 0, sizeof(back));
	return hvri_journal_open(&journal, &env, &storage, token, &back);
}

static void close_it(void)
{
	hvri_journal_close(&journal);
	hvri_manifest_clear(&env, &back);
}

static int32_t say(uint8_t blob)
{
	struct hvri_manifest_record record = { .type = HVRI_RECORD_BLOB,
					       .bytes = &blob,
					       .length = 1 };
	int32_t rc = hvri_journal_append(&journal, &record);

	if (rc < 0)
		return rc;
	/* As the store does; a checkpoint says it again. */
	hvri_free(&env, state.blob, state.blob_length);
	state.blob = hvri_alloc(&env, 1);
	ck_assert_ptr_nonnull(state.blob);
	state.blob[0] = said = blob;
	state.blob_length = 1;
	return HVREPL_OK;
}

static void expect_said(void)
{
	ck_assert_int_eq(reopen(1), HVREPL_OK);
	ck_assert_uint_eq(back.blob_length, said != 0);
	if (said != 0)
		ck_assert_uint_eq(back.blob[0], said);
	ck_assert_uint_eq(back.disk_count, 1);
}

static void begun_with(uint8_t records)
{
	ck_assert_int_eq(create(), HVREPL_OK);
	for (uint8_t i = 1; i <= records; i++)
		ck_assert_int_eq(say(i), HVREPL_OK);
}

static void begun(void)
{
	begun_with(3);
}

/* I/Os of a checkpoint, each of which can be the last. */
static uint64_t checkpoint_ios(void)
{
	uint64_t before;

	setup();
	begun();
	before = sim.io_count;
	ck_assert_int_eq(hvri_journal_checkpoint(&journal, &state), HVREPL_OK);
	before = sim.io_count - before;
	hvri_journal_close(&journal);
	teardown();
	ck_assert_uint_gt(before, 5);
	return before;
}

START_TEST(a_checkpoint_loses_nothing_wherever_power_is_lost_in_it)
{
	uint64_t ios = checkpoint_ios();
	unsigned crashes = 0;

	for (uint64_t at = 0; at <= ios; at++)
		for (unsigned way = 0; way < 4; way++) {
			setup();
			/* Either slot of the head is the newer one. */
			begun_with((uint8_t)(3 + way / 2));
			sim.crash_at = sim.io_count + at;
			(void)!hvri_journal_checkpoint(&journal, &state);
			crashes += sim.crashed;
			sim.crashed = true;
			hvri_journal_close(&journal);
			sim_restart(&sim, way % 2 != 0);
			expect_said();
			ck_assert_int_eq(say(9), HVREPL_OK);
			close_it();
			expect_said();
			/* What is left of the other log is no trouble. */
			ck_assert_int_eq(hvri_journal_checkpoint(&journal,
								 &state),
					 HVREPL_OK);
			ck_assert_int_eq(say(10), HVREPL_OK);
			close_it();
			expect_said();
			close_it();
			teardown();
		}
	ck_assert_uint_eq(crashes, 4 * ios);
}
END_TEST

static int32_t failing_checkpoint(uint64_t n, unsigned kind, bool *failed_out)
{
	static const int32_t codes[] = { HVREPL_E_STORAGE_IO, HVREPL_E_NO_SPACE };
	struct test_refusals refusals = { 0, n, false };
	int32_t rc;

	sim.failed = 0;
	if (kind < 2) {
		sim.fail_at = sim.call_count + n;
		sim.fail_code = codes[kind];
	} else if (kind == 2) {
		test.alloc_fail_at = (long)n;
	} else {
		sim.refusals = &refusals;
	}
	rc = hvri_journal_checkpoint(&journal, &state);
	*failed_out = kind < 2	? sim.failed > 0 :
		      kind == 2 ? test.alloc_fail_at < 0 :
				  refusals.count > n;
	sim.refusals = NULL;
	sim.fail_at = UINT64_MAX;
	test.alloc_fail_at = -1;
	return rc;
}

START_TEST(a_checkpoint_that_fails_leaves_the_old_log_or_stops_the_journal)
{
	unsigned stopped = 0, went_on = 0;

	for (unsigned kind = 0; kind < 4; kind++)
		for (bool failed = true, again = true; again;) {
			static uint64_t n;
			int32_t rc;

			if (!failed)
				n = 0;
			setup();
			begun();
			rc = failing_checkpoint(n, kind, &failed);
			if (rc < 0 && journal.broken < 0) {
				stopped++;
				/* Nothing may follow. */
				ck_assert_int_eq(say(7), HVREPL_E_POISONED);
				ck_assert_int_eq(
					hvri_journal_checkpoint(&journal,
								&state),
					HVREPL_E_POISONED);
			} else {
				went_on += rc < 0;
				ck_assert_int_eq(say(7), HVREPL_OK);
			}
			close_it();
			expect_said();
			ck_assert_int_eq(say(8), HVREPL_OK);
			close_it();
			expect_said();
			close_it();
			teardown();
			again = failed;
			n = failed ? n + 1 : 0;
		}
	ck_assert_uint_gt(stopped, 3);
	ck_assert_uint_gt(went_on, 3);
}
END_TEST

/* Crash at every I/O of it; then whoever looks is told so, also while I/O fails, and
 * it can be begun anew. */
START_TEST(a_creation_that_stopped_anywhere_is_begun_again)
{
	bool crashed = true;

	/* The process dies, or power goes in one of three ways. */
	for (uint64_t at = 0; crashed; at++)
		for (uint64_t n = 0, way = (uint64_t)_i;; n++) {
			bool failed;
			int32_t rc;

			setup();
			sim.random = at * 7 + way * 1000 + 1;
			sim.crash_at = at;
			rc = create();
			crashed = sim.crashed;
			if (rc == HVREPL_OK)
				hvri_journal_close(&journal);
			sim_restart(&sim, way > 0);
			sim.crash_at = UINT64_MAX;
			sim.failed = 0;
			sim.fail_code = HVREPL_E_STORAGE_IO;
			sim.fail_at = sim.call_count + n / 2;
			rc = n % 2 == 0 ? reopen(1) : create();
			failed = sim.failed > 0;
			sim.fail_at = UINT64_MAX;
			ck_assert_msg(rc == HVREPL_OK ||
					      rc == HVREPL_E_NOT_FOUND ||
					      rc == HVREPL_E_EXISTS ||
					      (failed &&
					       rc == HVREPL_E_STORAGE_IO),
				      "I/O %llu, then %llu: %d",
				      (unsigned long long)at,
				      (unsigned long long)n, rc);
			if (rc == HVREPL_OK)
				close_it();
			rc = create();
			if (rc == HVREPL_E_EXISTS)
				rc = reopen(1);
			ck_assert_int_eq(rc, HVREPL_OK);
			ck_assert_int_eq(say(3), HVREPL_OK);
			close_it();
			expect_said();
			close_it();
			teardown();
			if (!failed && n % 2 == 1)
				break;
		}
}
END_TEST

static void put(const char *id, const void *bytes, size_t length)
{
	struct hvri_object object;

	ck_assert_int_eq(hvri_object_open(&storage, id, HVREPL_OBJECT_CREATE,
					  &object),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_object_write(&object, 0, bytes, length),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_object_flush(&object), HVREPL_OK);
	hvri_object_close(&object);
}

START_TEST(the_rest_of_a_removal_goes_before_there_is_a_head_again)
{
	for (uint64_t n = 0;; n++) {
		bool failed;
		int32_t rc;

		setup();
		begun();
		hvri_journal_close(&journal);
		put("store.box.0000000000000001", "x", 1);
		ck_assert_int_eq(hvri_storage_remove(&storage, HVRI_HEAD_ID),
				 HVREPL_OK);
		ck_assert_int_eq(reopen(1), HVREPL_E_NOT_FOUND);
		sim.failed = 0;
		sim.fail_code = HVREPL_E_STORAGE_IO;
		sim.fail_at = sim.call_count + n;
		rc = create();
		failed = sim.failed > 0;
		sim.fail_at = UINT64_MAX;
		if (rc < 0) {
			ck_assert(failed);
			ck_assert_int_eq(rc, HVREPL_E_STORAGE_IO);
			/* Only the last flush of the head may have failed. */
			rc = create();
			ck_assert(rc == HVREPL_OK || rc == HVREPL_E_EXISTS);
		}
		ck_assert_uint_eq(sim_storage_objects(objects), 2);
		if (rc == HVREPL_OK)
			hvri_journal_close(&journal);
		/* What it was created with, and not what lay there. */
		expect_said();
		close_it();
		teardown();
		if (!failed)
			break;
	}
}
END_TEST

/* The head has no slot, and of the first log not even its header is whole: nothing was
 * ever acknowledged here. */
START_TEST(a_first_log_that_is_torn_is_the_rest_of_a_creation)
{
	uint8_t junk[700];

	for (unsigned i = 0; i < 2; i++)
		for (uint64_t n = 0;; n++) {
			bool failed;
			int32_t rc;

			setup();
			test_fill(junk, sizeof(junk), 3);
			put(HVRI_HEAD_ID, junk, 0);
			put(HVRI_LOG_PREFIX "0000000000000001", junk,
			    sizeof(junk));
			sim.failed = 0;
			sim.fail_code = HVREPL_E_STORAGE_IO;
			sim.fail_at = sim.call_count + n;
			rc = i == 0 ? reopen(1) : create();
			failed = sim.failed > 0;
			sim.fail_at = UINT64_MAX;
			ck_assert_int_eq(rc, failed ? HVREPL_E_STORAGE_IO :
					     i == 0 ? HVREPL_E_NOT_FOUND :
						      HVREPL_OK);
			if (rc == HVREPL_OK)
				hvri_journal_close(&journal);
			rc = create();
			ck_assert(rc == HVREPL_OK || rc == HVREPL_E_EXISTS);
			if (rc == HVREPL_OK)
				hvri_journal_close(&journal);
			expect_said();
			close_it();
			teardown();
			if (!failed)
				break;
		}
}
END_TEST

/* A storage that lists what no object of ours can be called, first and last. */
static const struct hvrepl_storage_ops *real;

static int32_t odd_list(void *user, const char *prefix,
			int32_t (*found)(void *argument, const char *id,
					 uint64_t size),
			void *argument)
{
	static const char long_name[] = "store.0123456789012345678901234567890"
					"123456789012345678901234567890";

	HVRI_TRY(real->list(user, prefix, found, argument));
	return found(argument, long_name, 1);
}

START_TEST(a_name_that_is_too_long_is_nobodys)
{
	struct hvrepl_storage handle;
	struct hvrepl_storage_ops ops;
	struct hvri_storage kept;

	setup();
	kept = storage;
	handle = sim_storage_handle(objects);
	handle.release = NULL;
	real = handle.ops;
	ops = *real;
	ops.list = odd_list;
	handle.ops = &ops;
	ck_assert_int_eq(hvri_storage_take(&storage, &handle, NULL), HVREPL_OK);
	begun();
	hvri_journal_close(&journal);
	ck_assert_int_eq(hvri_storage_remove(&storage, HVRI_HEAD_ID), HVREPL_OK);
	ck_assert_int_eq(create(), HVREPL_OK);
	hvri_journal_close(&journal);
	expect_said();
	close_it();
	storage = kept;
	teardown();
}
END_TEST

/* ---- damage ---- */

static uint8_t *log_bytes(uint64_t *size_out)
{
	return sim_object_bytes(objects, HVRI_LOG_PREFIX "0000000000000001",
				size_out);
}

static void resize_log(uint64_t size)
{
	struct hvri_object object;

	ck_assert_int_eq(hvri_object_open(&storage,
					  HVRI_LOG_PREFIX "0000000000000001", 0,
					  &object),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_object_resize(&object, size), HVREPL_OK);
	ck_assert_int_eq(hvri_object_flush(&object), HVREPL_OK);
	hvri_object_close(&object);
}

START_TEST(a_torn_tail_of_any_length_is_cut_off)
{
	for (uint64_t tail = 1; tail < 2048; tail += tail < 120 ? 13 : 200) {
		uint64_t size;

		setup();
		begun();
		close_it();
		(void)log_bytes(&size);
		resize_log(size + tail);
		test_fill(log_bytes(&size) + size - tail, tail, tail);
		expect_said();
		ck_assert_int_eq(say(6), HVREPL_OK);
		close_it();
		expect_said();
		close_it();
		teardown();
	}
}
END_TEST

START_TEST(a_log_longer_than_any_that_is_written_is_damage)
{
	setup();
	begun();
	close_it();
	resize_log(HVRI_RECORD_BODY_MAX + (UINT64_C(8) << 20));
	ck_assert_int_eq(reopen(1), HVREPL_E_CORRUPT);
	teardown();
}
END_TEST

/* A record that is signed and follows, of a type that cannot stand there. */
START_TEST(a_checkpoint_in_the_middle_of_a_log_is_damage)
{
	struct hvri_record_header header;
	uint64_t size, at;
	uint8_t *bytes;

	setup();
	begun();
	close_it();
	bytes = log_bytes(&size);
	ck_assert_int_eq(hvri_record_header_decode(bytes, &header), HVREPL_OK);
	at = hvri_record_span(header.length);
	ck_assert_int_eq(hvri_record_header_decode(bytes + at, &header),
			 HVREPL_OK);
	header.type = HVRI_RECORD_CHECKPOINT;
	ck_assert_int_eq(hvri_record_seal(&header,
					  bytes + at + HVRI_RECORD_HEADER,
					  &journal.sha, bytes + at),
			 HVREPL_OK);
	hvri_sha256_free(&journal.sha);
	ck_assert_int_eq(reopen(1), HVREPL_E_CORRUPT);
	teardown();
}
END_TEST

/* What a checkpoint left that did not get so far: no later log, or half of one. */
START_TEST(a_later_log_that_does_not_follow_is_left_alone)
{
	uint8_t junk[700];

	for (unsigned i = 0; i < 3; i++) {
		setup();
		begun();
		close_it();
		test_fill(junk, sizeof(junk), i);
		put(HVRI_LOG_PREFIX "0000000000000002", junk,
		    i == 0 ? 1 : i == 1 ? 100 : sizeof(junk));
		for (uint64_t n = 0;; n++) {
			int32_t rc;

			sim.failed = 0;
			sim.fail_code = HVREPL_E_STORAGE_IO;
			sim.fail_at = sim.call_count + n;
			rc = reopen(1);
			sim.fail_at = UINT64_MAX;
			if (rc == HVREPL_OK)
				close_it();
			else
				ck_assert_int_eq(rc, HVREPL_E_STORAGE_IO);
			if (sim.failed == 0)
				break;
		}
		expect_said();
		ck_assert_int_eq(say(5), HVREPL_OK);
		/* It stands where the next checkpoint goes. */
		ck_assert_int_eq(hvri_journal_checkpoint(&journal, &state),
				 HVREPL_OK);
		ck_assert_int_eq(say(6), HVREPL_OK);
		close_it();
		expect_said();
		close_it();
		teardown();
	}
}
END_TEST

/* A backup of the storage that a later owner opened: an earlier generation, and
 * still a higher token. */
START_TEST(a_higher_token_in_an_older_head_fences)
{
	struct hvri_journal first;

	setup();
	ck_assert_int_eq(create(), HVREPL_OK);
	sim_backup(&sim);
	for (uint8_t i = 1; i < 9; i++)
		ck_assert_int_eq(say(i), HVREPL_OK);
	first = journal;
	sim_restore(&sim);
	ck_assert_int_eq(reopen(7), HVREPL_OK);
	ck_assert_uint_lt(journal.head.generation, first.head.generation);
	close_it();
	journal = first;
	ck_assert_int_eq(say(9), HVREPL_E_FENCED);
	ck_assert_int_eq(hvri_journal_checkpoint(&journal, &state),
			 HVREPL_E_FENCED);
	hvri_journal_close(&journal);
	teardown();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("journal");
	TCase *tcase = tcase_create("journal");

	tcase_add_test(tcase,
		       a_checkpoint_loses_nothing_wherever_power_is_lost_in_it);
	tcase_add_test(
		tcase,
		a_checkpoint_that_fails_leaves_the_old_log_or_stops_the_journal);
	tcase_add_loop_test(tcase, a_creation_that_stopped_anywhere_is_begun_again,
			    0, 4);
	tcase_add_test(tcase,
		       the_rest_of_a_removal_goes_before_there_is_a_head_again);
	tcase_add_test(tcase,
		       a_first_log_that_is_torn_is_the_rest_of_a_creation);
	tcase_add_test(tcase, a_name_that_is_too_long_is_nobodys);
	tcase_add_test(tcase, a_torn_tail_of_any_length_is_cut_off);
	tcase_add_test(tcase, a_log_longer_than_any_that_is_written_is_damage);
	tcase_add_test(tcase, a_checkpoint_in_the_middle_of_a_log_is_damage);
	tcase_add_test(tcase, a_later_log_that_does_not_follow_is_left_alone);
	tcase_add_test(tcase, a_higher_token_in_an_older_head_fences);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
