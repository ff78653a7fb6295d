/* SPDX-License-Identifier: Apache-2.0 */
/* The audit while something is short: memory, libcrypto, the storage; whatever fails is
 * said, what was acknowledged stays in the chain, and it goes on. */
#include "transfer/audit_log.h"

#include "driver/meter.h"
#include "shortage.h"
#include "sim.h"
#include "testing.h"

#include <stdio.h>
#include <string.h>

static struct test_env test;
static struct sim sim;
static struct sim_storage *storage;
static hvrepl_audit *audit;

static const enum shortage_kind kinds[] = { SHORT_MEMORY, SHORT_CRYPTO,
					    SHORT_IO, SHORT_ANSWERS };
#define KINDS ((int)(sizeof(kinds) / sizeof(kinds[0])))

static struct shortage shortage = { .env = &test,
				    .sim = &sim,
				    .code = HVREPL_E_STORAGE_IO };

/* What a newer version writes has none; the meter counts each that has. */
START_TEST(each_kind_has_a_name)
{
	ck_assert_ptr_null(hvrepl_audit_kind_name(0));
	ck_assert_str_eq(hvrepl_audit_kind_name(HVREPL_AUDIT_OPENED), "opened");
	ck_assert_str_eq(hvrepl_audit_kind_name(HVREPL_AUDIT_REKEY), "rekey");
	for (uint32_t kind = 1; kind < HVRI_METER_KINDS; kind++)
		ck_assert_ptr_nonnull(hvrepl_audit_kind_name(kind));
	ck_assert_ptr_null(hvrepl_audit_kind_name(HVRI_METER_KINDS));
}
END_TEST

static void begin(void)
{
	test_env_init(&test, 3);
	sim_init(&sim, 3);
	storage = sim_storage_new(&sim);
	audit = NULL;
}

static void end(void)
{
	hvrepl_audit_close(audit);
	audit = NULL;
	sim_free(&sim);
	ck_assert_int_eq(test.alloc_live, 0);
}

static int32_t open_it(void)
{
	struct hvrepl_storage handle = sim_storage_handle(storage);
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc = hvrepl_audit_open(&test.env, &handle, &audit, &error);

	if (rc < 0)
		ck_assert_str_ne(error.sentence, "");
	return rc;
}

static int32_t add(const char *sentence)
{
	struct hvrepl_audit_record record = HVREPL_AUDIT_RECORD_INIT;

	record.kind = HVREPL_AUDIT_OPERATION;
	record.actor = "east";
	record.sentence = sentence;
	return hvrepl_audit_append(audit, &record);
}

static char last[HVREPL_SENTENCE_MAX];
static unsigned seen;

static int32_t note(void *user, const struct hvrepl_audit_record *record)
{
	(void)user;
	if (record->kind == HVREPL_AUDIT_OPERATION) {
		snprintf(last, sizeof(last), "%s", record->sentence);
		seen++;
	}
	return HVREPL_OK;
}

static int32_t verify(void)
{
	struct hvrepl_storage handle = sim_storage_handle(storage);

	seen = 0;
	last[0] = 0;
	return hvrepl_audit_verify(&test.env, &handle, note, NULL, NULL, NULL);
}

START_TEST(an_audit_is_opened_once_nothing_is_short)
{
	for (bool reached = true, first = true; reached; first = false) {
		static uint64_t n;
		int32_t rc;

		n = first ? 0 : n + 1;
		begin();
		ck_assert_int_eq(open_it(), HVREPL_OK);
		ck_assert_int_eq(add("before"), HVREPL_OK);
		hvrepl_audit_close(audit);
		audit = NULL;
		shortage_begin(&shortage, kinds[_i], n);
		rc = open_it();
		reached = shortage_end(&shortage);
		ck_assert_int_eq(rc < 0, reached);
		if (rc < 0)
			ck_assert_int_eq(open_it(), HVREPL_OK);
		ck_assert_int_eq(add("after"), HVREPL_OK);
		ck_assert_int_eq(verify(), HVREPL_OK);
		ck_assert_uint_eq(seen, 2);
		ck_assert_str_eq(last, "after");
		end();
	}
}
END_TEST

/* A record that could not be written is not there; the next look tells. */
START_TEST(a_record_that_failed_does_not_stop_the_next)
{
	for (bool reached = true, first = true; reached; first = false) {
		static uint64_t n;
		int32_t rc, again;

		n = first ? 0 : n + 1;
		begin();
		ck_assert_int_eq(open_it(), HVREPL_OK);
		ck_assert_int_eq(add("before"), HVREPL_OK);
		shortage_begin(&shortage, kinds[_i], n);
		rc = add("one");
		/* What failed first is looked at again, and may fail there too. */
		if (rc < 0 && kinds[_i] != SHORT_MEMORY)
			shortage_begin(&shortage, kinds[_i], n);
		again = add("two");
		reached = shortage_end(&shortage);
		if (again < 0)
			ck_assert_int_eq(add("two"), HVREPL_OK);
		ck_assert_int_eq(verify(), HVREPL_OK);
		ck_assert_uint_ge(seen, rc < 0 ? 2 : 3);
		ck_assert_str_eq(last, "two");
		end();
		/* Some are short of nothing that an append needs. */
		reached &= n < 60;
	}
}
END_TEST

START_TEST(an_audit_that_cannot_be_read_is_not_called_damaged)
{
	for (bool reached = true, first = true; reached; first = false) {
		static uint64_t n;
		int32_t rc;

		n = first ? 0 : n + 1;
		begin();
		ck_assert_int_eq(open_it(), HVREPL_OK);
		ck_assert_int_eq(add("one"), HVREPL_OK);
		shortage_begin(&shortage, kinds[_i], n);
		rc = verify();
		reached = shortage_end(&shortage);
		ck_assert_int_eq(rc, !reached ? HVREPL_OK :
				     kinds[_i] == SHORT_MEMORY ||
						     kinds[_i] == SHORT_CRYPTO ?
						HVREPL_E_NOMEM :
						HVREPL_E_STORAGE_IO);
		ck_assert_int_eq(verify(), HVREPL_OK);
		ck_assert_uint_eq(seen, 1);
		end();
	}
}
END_TEST

static void put(const char *id, uint64_t size)
{
	struct hvrepl_storage handle = sim_storage_handle(storage);
	void *object;

	ck_assert_int_eq(handle.ops->open(handle.user, id, HVREPL_OBJECT_CREATE,
					  &object),
			 HVREPL_OK);
	ck_assert_int_eq(handle.ops->resize(handle.user, object, size),
			 HVREPL_OK);
	handle.ops->close(handle.user, object);
}

START_TEST(what_is_not_of_the_audit_is_left_alone)
{
	static const char *const names[] = {
		"audit.0", "audit.1", "audit.00000000", "audit.notes",
		"audit.000000001",
	};

	begin();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		put(names[i], 10);
	ck_assert_int_eq(verify(), HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(open_it(), HVREPL_OK);
	ck_assert_int_eq(add("one"), HVREPL_OK);
	ck_assert_int_eq(verify(), HVREPL_OK);
	ck_assert_uint_eq(seen, 1);
	ck_assert_uint_eq(sim_storage_objects(storage),
			  sizeof(names) / sizeof(names[0]) + 1);
	end();
	/* An object that no audit grows to. */
	begin();
	put("audit.00000001", HVRI_AUDIT_SEGMENT + (1u << 20));
	ck_assert_int_eq(verify(), HVREPL_E_CORRUPT);
	ck_assert_int_eq(open_it(), HVREPL_E_CORRUPT);
	end();
}
END_TEST

START_TEST(a_sentence_that_is_too_long_ends_with_a_whole_character)
{
	char sentence[HVREPL_SENTENCE_MAX + 8];

	begin();
	ck_assert_int_eq(open_it(), HVREPL_OK);
	memset(sentence, 'x', sizeof(sentence));
	/* A character of three bytes over the place where it is cut. */
	memcpy(sentence + HVREPL_SENTENCE_MAX - 2, "\xe2\x82\xac", 3);
	sentence[sizeof(sentence) - 1] = 0;
	ck_assert_int_eq(add(sentence), HVREPL_OK);
	ck_assert_int_eq(add(NULL), HVREPL_OK);
	ck_assert_int_eq(add(sentence), HVREPL_OK);
	ck_assert_int_eq(verify(), HVREPL_OK);
	ck_assert_uint_eq(seen, 3);
	ck_assert_uint_eq(strlen(last), HVREPL_SENTENCE_MAX - 2);
	ck_assert_uint_eq((unsigned char)last[HVREPL_SENTENCE_MAX - 3], 'x');
	end();
}
END_TEST

START_TEST(what_an_audit_is_not_asked_is_refused)
{
	struct hvrepl_storage handle;
	struct hvrepl_storage_ops ops;
	struct hvrepl_env half;
	struct hvrepl_audit_info info = HVREPL_AUDIT_INFO_INIT;
	struct hvrepl_audit_record record = HVREPL_AUDIT_RECORD_INIT;

	begin();
	handle = sim_storage_handle(storage);
	half = test.env;
	half.random = NULL;
	ck_assert_int_eq(hvrepl_audit_open(&test.env, NULL, &audit, NULL),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_audit_open(&test.env, &handle, NULL, NULL),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_audit_verify(&test.env, NULL, NULL, NULL, NULL,
					     NULL),
			 HVREPL_E_INVALID);
	storage->released = 0;
	ck_assert_int_eq(hvrepl_audit_open(&half, &handle, &audit, NULL),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_audit_verify(&half, &handle, NULL, NULL, NULL,
					     NULL),
			 HVREPL_E_INVALID);
	ck_assert_uint_eq(storage->released, 2);
	handle.release = NULL;
	ck_assert_int_eq(hvrepl_audit_open(&half, &handle, &audit, NULL),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_audit_verify(&half, &handle, NULL, NULL, NULL,
					     NULL),
			 HVREPL_E_INVALID);
	ops = *handle.ops;
	ops.list = NULL;
	handle.ops = &ops;
	ck_assert_int_eq(hvrepl_audit_open(&test.env, &handle, &audit, NULL),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_audit_verify(&test.env, &handle, NULL, NULL, NULL,
					     NULL),
			 HVREPL_E_INVALID);
	ck_assert_ptr_null(audit);
	ck_assert_int_eq(hvrepl_audit_append(NULL, &record), HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_audit_get_info(NULL, &info), HVREPL_E_INVALID);
	ck_assert_int_eq(open_it(), HVREPL_OK);
	ck_assert_int_eq(hvrepl_audit_append(audit, NULL), HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_audit_append(audit, &record), HVREPL_E_INVALID);
	record.struct_size = 4;
	ck_assert_int_eq(hvrepl_audit_append(audit, &record), HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_audit_get_info(audit, NULL), HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_audit_get_info(audit, &info), HVREPL_OK);
	ck_assert_uint_eq(info.records, 1);
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("audit log");
	TCase *tcase = tcase_create("audit log");

	tcase_add_test(tcase, each_kind_has_a_name);
	tcase_add_loop_test(tcase, an_audit_is_opened_once_nothing_is_short, 0,
			    KINDS);
	tcase_add_loop_test(tcase, a_record_that_failed_does_not_stop_the_next, 0,
			    KINDS);
	tcase_add_loop_test(tcase,
			    an_audit_that_cannot_be_read_is_not_called_damaged, 0,
			    KINDS);
	tcase_add_test(tcase, what_is_not_of_the_audit_is_left_alone);
	tcase_add_test(tcase,
		       a_sentence_that_is_too_long_ends_with_a_whole_character);
	tcase_add_test(tcase, what_an_audit_is_not_asked_is_refused);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
