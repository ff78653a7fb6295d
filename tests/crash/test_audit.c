/* SPDX-License-Identifier: Apache-2.0 */
/* The audit: power lost at every I/O, failing storage, damage anywhere. */
#include "transfer/audit_log.h"

#include "sim.h"
#include "testing.h"

#include "base/digest.h"

#include <stdio.h>
#include <string.h>

#define RECORDS 12u

static struct test_env test;
static struct sim sim;
static struct sim_storage *storage;

static void setup(void)
{
	test_env_init(&test, 3);
	sim_init(&sim, 3);
	storage = sim_storage_new(&sim);
}

static void teardown(void)
{
	sim_free(&sim);
	ck_assert_int_eq(test.alloc_live, 0);
}

static int32_t open_audit(hvrepl_audit **audit, struct hvrepl_error *error)
{
	struct hvrepl_storage handle = sim_storage_handle(storage);

	return hvrepl_audit_open(&test.env, &handle, audit, error);
}

static int32_t add(hvrepl_audit *audit, unsigned i)
{
	struct hvrepl_audit_record record = HVREPL_AUDIT_RECORD_INIT;
	char sentence[64];

	snprintf(sentence, sizeof(sentence), "event %u%.*s", i, (int)(i % 9),
		 "........");
	record.kind = HVREPL_AUDIT_OPERATION;
	record.code = i % 2 ? HVREPL_E_DENIED : HVREPL_OK;
	record.vm.bytes[0] = (uint8_t)i;
	record.actor = "east";
	record.sentence = sentence;
	return hvrepl_audit_append(audit, &record);
}

static unsigned events[64], event_count, repairs;

static int32_t note(void *user, const struct hvrepl_audit_record *record)
{
	(void)user;
	if (record->kind == HVREPL_AUDIT_REPAIRED)
		repairs++;
	if (record->kind == HVREPL_AUDIT_OPERATION && event_count < 64) {
		ck_assert_str_eq(record->actor, "east");
		ck_assert_int_eq(sscanf(record->sentence, "event %u",
					&events[event_count]),
				 1);
		ck_assert_uint_eq(record->vm.bytes[0], events[event_count]);
		event_count++;
	}
	return HVREPL_OK;
}

static int32_t verify(struct hvrepl_error *error)
{
	struct hvrepl_storage handle = sim_storage_handle(storage);
	struct hvrepl_audit_info info = HVREPL_AUDIT_INFO_INIT;

	event_count = repairs = 0;
	return hvrepl_audit_verify(&test.env, &handle, note, NULL, &info,
				   error);
}

/* All of [0, acknowledged), in order; after them at most what was tried. */
static void expect_events(unsigned acknowledged, unsigned tried)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	ck_assert_msg(verify(&error) == HVREPL_OK, "%s", error.sentence);
	ck_assert_uint_ge(event_count, acknowledged);
	ck_assert_uint_le(event_count, tried);
	for (unsigned i = 0; i < event_count; i++)
		ck_assert_uint_eq(events[i], i);
}

/* Until a crash, or to the end; how many were acknowledged. */
static unsigned work(hvrepl_audit *audit, unsigned from, unsigned *tried)
{
	unsigned i = from;

	for (; i < RECORDS; i++) {
		*tried = i + 1;
		if (add(audit, i) < 0)
			break;
	}
	return i;
}

static void crash_everywhere(bool power_loss, uint64_t segment_max)
{
	for (uint64_t at = 0;; at++) {
		hvrepl_audit *audit = NULL;
		unsigned done = 0, tried = 0;
		bool crashed;

		setup();
		sim.crash_at = at;
		if (open_audit(&audit, NULL) == HVREPL_OK) {
			audit->segment_max = segment_max;
			done = work(audit, 0, &tried);
		}
		crashed = sim.crashed;
		hvrepl_audit_close(audit);
		sim_restart(&sim, power_loss);
		ck_assert_int_eq(open_audit(&audit, NULL), HVREPL_OK);
		expect_events(done, tried);
		/* It goes on where it stands. */
		audit->segment_max = segment_max;
		ck_assert_int_eq(add(audit, event_count), HVREPL_OK);
		hvrepl_audit_close(audit);
		expect_events(done + 1, tried + 1);
		teardown();
		if (!crashed) {
			ck_assert_uint_gt(at, 2 * RECORDS);
			return;
		}
	}
}

START_TEST(no_acknowledged_record_is_lost_or_reordered_by_a_power_loss)
{
	crash_everywhere(true, HVRI_AUDIT_SEGMENT);
	crash_everywhere(false, HVRI_AUDIT_SEGMENT);
}
END_TEST

/* A segment of two or three records each. */
START_TEST(nor_where_a_segment_ends)
{
	crash_everywhere(true, 400);
	crash_everywhere(false, 400);
}
END_TEST

START_TEST(a_failed_append_is_said_and_the_next_one_goes_on)
{
	struct hvrepl_audit_info info = HVREPL_AUDIT_INFO_INIT;
	hvrepl_audit *audit = NULL;
	unsigned i = 0;

	ck_assert_int_eq(open_audit(&audit, NULL), HVREPL_OK);
	for (; i < 3; i++)
		ck_assert_int_eq(add(audit, i), HVREPL_OK);
	storage->capacity = sim_storage_used(storage);
	ck_assert_int_eq(add(audit, i), HVREPL_E_NO_SPACE);
	ck_assert_int_eq(add(audit, i), HVREPL_E_NO_SPACE);
	ck_assert_int_eq(hvrepl_audit_get_info(audit, &info), HVREPL_OK);
	ck_assert_uint_eq(info.broken, 1);
	storage->capacity = UINT64_MAX;
	for (; i < 6; i++)
		ck_assert_int_eq(add(audit, i), HVREPL_OK);
	ck_assert_int_eq(hvrepl_audit_get_info(audit, &info), HVREPL_OK);
	ck_assert_uint_eq(info.broken, 0);
	hvrepl_audit_close(audit);
	expect_events(6, 6);
}
END_TEST

/* In the middle it is damage, which nobody repairs; at the end it may be torn,
 * and then it is said that something went. */
START_TEST(a_changed_byte_is_found_wherever_it_is)
{
	hvrepl_audit *audit = NULL;
	uint64_t size = 0;
	uint8_t *bytes;

	ck_assert_int_eq(open_audit(&audit, NULL), HVREPL_OK);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(add(audit, i), HVREPL_OK);
	hvrepl_audit_close(audit);
	expect_events(4, 4);
	bytes = sim_object_bytes(storage, "audit.00000001", &size);
	ck_assert_ptr_nonnull(bytes);
	for (uint64_t i = 0; i < size; i++) {
		struct hvrepl_error error = HVREPL_ERROR_INIT;
		int32_t rc;

		bytes[i] ^= 0x20;
		rc = verify(&error);
		ck_assert_msg(rc == HVREPL_E_CORRUPT || rc == HVREPL_E_TRUNCATED,
			      "byte %llu: %d", (unsigned long long)i, rc);
		ck_assert_msg(strstr(error.sentence, "record ") != NULL &&
				      strstr(error.sentence, "byte ") != NULL,
			      "%s", error.sentence);
		/* All but the last record: never taken for a torn end. The
		 * header neither, where whole records follow it. */
		if (event_count < 3) {
			ck_assert_int_eq(rc, HVREPL_E_CORRUPT);
			audit = NULL;
			ck_assert_int_eq(open_audit(&audit, NULL),
					 HVREPL_E_CORRUPT);
			ck_assert_ptr_null(audit);
		}
		bytes[i] ^= 0x20;
	}
	expect_events(4, 4);
	/* Torn: repaired, and the repair stands in the chain. */
	bytes[size - 40] ^= 1;
	ck_assert_int_eq(open_audit(&audit, NULL), HVREPL_OK);
	hvrepl_audit_close(audit);
	expect_events(3, 3);
	ck_assert_uint_eq(repairs, 1);
}
END_TEST

START_TEST(a_record_taken_out_or_a_missing_object_is_found)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_storage handle = sim_storage_handle(storage);
	hvrepl_audit *audit = NULL;

	ck_assert_int_eq(open_audit(&audit, NULL), HVREPL_OK);
	audit->segment_max = 300;
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(add(audit, i), HVREPL_OK);
	hvrepl_audit_close(audit);
	ck_assert_uint_gt(sim_storage_objects(storage), 3);
	ck_assert_int_eq(handle.ops->remove(handle.user, "audit.00000002"),
			 HVREPL_OK);
	ck_assert_int_eq(verify(&error), HVREPL_E_CORRUPT);
	ck_assert_msg(strstr(error.sentence, "all of object audit.00000002"),
		      "%s", error.sentence);
	/* The oldest may have been taken away by who keeps archives. */
	ck_assert_int_eq(handle.ops->remove(handle.user, "audit.00000001"),
			 HVREPL_OK);
	ck_assert_int_eq(verify(&error), HVREPL_OK);
	ck_assert_uint_gt(event_count, 0);
	ck_assert_uint_eq(events[event_count - 1], 7);
}
END_TEST

static int32_t stops_with;

static int32_t stop(void *user, const struct hvrepl_audit_record *record)
{
	(void)user;
	return record->number < 2 ? HVREPL_OK : stops_with;
}

/* Whatever the code is: who reads gets his own, and nothing is called damage. */
START_TEST(a_reader_that_stops_gets_its_own_code)
{
	static const int32_t codes[] = { HVREPL_E_NOT_FOUND, HVREPL_E_TRUNCATED,
					 HVREPL_E_CORRUPT, HVREPL_E_NOMEM };
	hvrepl_audit *audit = NULL;

	ck_assert_int_eq(open_audit(&audit, NULL), HVREPL_OK);
	audit->segment_max = 300;
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(add(audit, i), HVREPL_OK);
	hvrepl_audit_close(audit);
	for (unsigned i = 0; i < 4; i++) {
		struct hvrepl_error error = HVREPL_ERROR_INIT;
		struct hvrepl_storage handle = sim_storage_handle(storage);

		stops_with = codes[i];
		ck_assert_int_eq(hvrepl_audit_verify(&test.env, &handle, stop,
						     NULL, NULL, &error),
				 codes[i]);
		ck_assert_ptr_null(strstr(error.sentence, "record"));
	}
	stops_with = 1; /* Not negative: nothing. */
	{
		struct hvrepl_storage handle = sim_storage_handle(storage);

		ck_assert_int_eq(hvrepl_audit_verify(&test.env, &handle, stop,
						     NULL, NULL, NULL),
				 HVREPL_OK);
	}
}
END_TEST

/* One record of a later version's: nothing is cut, nothing is begun anew. */
START_TEST(a_newer_audit_is_left_alone)
{
	struct hvri_sha256 sha = { NULL };
	hvrepl_audit *audit = NULL;
	uint8_t copy[4096];
	uint64_t size = 0;
	uint8_t *bytes;

	ck_assert_int_eq(open_audit(&audit, NULL), HVREPL_OK);
	ck_assert_int_eq(add(audit, 0), HVREPL_OK);
	hvrepl_audit_close(audit);
	bytes = sim_object_bytes(storage, "audit.00000001", &size);
	ck_assert_uint_lt(size, sizeof(copy));
	bytes[8] = 2;
	ck_assert_int_eq(hvri_sha256_begin(&sha), HVREPL_OK);
	ck_assert_int_eq(hvri_sha256_add(&sha, bytes, HVRI_AUDIT_HEADER - 32),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_sha256_end(&sha, bytes + HVRI_AUDIT_HEADER - 32),
			 HVREPL_OK);
	hvri_sha256_free(&sha);
	memcpy(copy, bytes, size);
	audit = NULL;
	ck_assert_int_eq(open_audit(&audit, NULL), HVREPL_E_FORMAT_TOO_NEW);
	ck_assert_ptr_null(audit);
	ck_assert_int_eq(memcmp(copy, sim_object_bytes(storage, "audit.00000001",
						       &size), size), 0);
}
END_TEST

START_TEST(what_cannot_be_meant_is_refused)
{
	struct hvrepl_audit_record record = HVREPL_AUDIT_RECORD_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_audit *audit = NULL;

	ck_assert_int_eq(verify(&error), HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(hvrepl_audit_open(&test.env, NULL, &audit, NULL),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(open_audit(&audit, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_audit_append(audit, &record), HVREPL_E_INVALID);
	record.kind = HVREPL_AUDIT_LIMIT; /* No actor, no sentence. */
	ck_assert_int_eq(hvrepl_audit_append(audit, &record), HVREPL_OK);
	record.reserved = 1;
	ck_assert_int_eq(hvrepl_audit_append(audit, &record), HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_audit_append(NULL, &record), HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_audit_get_info(audit, NULL), HVREPL_E_INVALID);
	hvrepl_audit_close(audit);
	hvrepl_audit_close(NULL);
	ck_assert_int_eq(verify(&error), HVREPL_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("audit");
	TCase *crash = tcase_create("crash"), *tc = tcase_create("audit");

	tcase_set_timeout(crash, 240);
	tcase_add_test(crash,
		       no_acknowledged_record_is_lost_or_reordered_by_a_power_loss);
	tcase_add_test(crash, nor_where_a_segment_ends);
	suite_add_tcase(suite, crash);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_failed_append_is_said_and_the_next_one_goes_on);
	tcase_add_test(tc, a_changed_byte_is_found_wherever_it_is);
	tcase_add_test(tc, a_record_taken_out_or_a_missing_object_is_found);
	tcase_add_test(tc, a_reader_that_stops_gets_its_own_code);
	tcase_add_test(tc, a_newer_audit_is_left_alone);
	tcase_add_test(tc, what_cannot_be_meant_is_refused);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
