/* SPDX-License-Identifier: Apache-2.0 */
/* The application's env: what is refused, memory, jobs, ids. */
#include "testing.h"

#include "base/env.h"

#include <stdlib.h>
#include <string.h>

static struct test_env test;
static struct hvri_env env;

static void setup(void)
{
	test_env_init(&test, 1);
	ck_assert_int_eq(hvri_env_copy(&env, &test.env, NULL), HVREPL_OK);
}

static void teardown(void)
{
	ck_assert_int_eq(test.alloc_live, 0);
}

START_TEST(an_incomplete_env_is_refused_with_a_sentence)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_env app = test.env;

	app.random = NULL;
	ck_assert_int_eq(hvri_env_copy(&env, &app, &error), HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(error.sentence, "random"));
	app = test.env;
	app.free = NULL;
	ck_assert_int_eq(hvri_env_copy(&env, &app, &error), HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(error.sentence, "free"));
	app = test.env;
	app.reserved = 1;
	ck_assert_int_eq(hvri_env_copy(&env, &app, &error), HVREPL_E_TOO_NEW);
	ck_assert_int_eq(hvri_env_copy(&env, NULL, &error), HVREPL_E_INVALID);
	app = test.env;
	app.monotonic_ns = NULL;
	ck_assert_int_eq(hvri_env_copy(&env, &app, &error), HVREPL_E_INVALID);
	app = test.env;
	app.utc_ns = NULL;
	ck_assert_int_eq(hvri_env_copy(&env, &app, &error), HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(error.sentence, "utc_ns"));
	{
		struct {
			struct hvrepl_env env;
			uint64_t more;
		} newer = { test.env, 1 };

		newer.env.struct_size = sizeof(newer);
		ck_assert_int_eq(hvri_env_copy(&env, &newer.env, &error),
				 HVREPL_E_TOO_NEW);
		ck_assert_ptr_nonnull(strstr(error.sentence, "newer"));
	}
	/* A place for an error that has no size is no place. */
	memset(&error, 0, sizeof(error));
	ck_assert_int_eq(hvri_env_copy(&env, NULL, &error), HVREPL_E_INVALID);
	ck_assert_int_eq(hvri_fail_plain(&error, HVREPL_E_NOMEM),
			 HVREPL_E_NOMEM);
	ck_assert_int_eq(error.code, 0);
	ck_assert_str_eq(error.sentence, "");
}
END_TEST

START_TEST(memory_is_zeroed_aligned_and_returned_with_its_size)
{
	uint8_t *zeroed = hvri_alloc(&env, 100);
	void *page = hvri_alloc_io(&env, 5000);

	ck_assert_ptr_nonnull(zeroed);
	for (int i = 0; i < 100; i++)
		ck_assert_uint_eq(zeroed[i], 0);
	ck_assert_uint_eq((uintptr_t)page % HVRI_PAGE, 0);
	ck_assert_uint_eq(test.alloc_bytes, 5100);
	hvri_free(&env, zeroed, 100);
	hvri_free(&env, page, 5000);
	hvri_free(&env, NULL, 7);
	ck_assert_uint_eq(test.alloc_bytes, 0);
}
END_TEST

START_TEST(an_array_whose_size_overflows_is_refused)
{
	ck_assert_ptr_null(hvri_alloc_array(&env, SIZE_MAX / 4, 8));
	ck_assert_ptr_null(hvri_alloc_array(&env, 0, 8));
	ck_assert_int_eq(test.alloc_count, 0);
}
END_TEST

START_TEST(growing_keeps_content_and_its_limit_and_survives_failure)
{
	void *array = NULL;
	size_t capacity = 0;

	ck_assert_int_eq(hvri_grow(&env, &array, &capacity, 3, 20, 4),
			 HVREPL_OK);
	ck_assert_uint_ge(capacity, 3);
	memcpy(array, "abcdefghijkl", 12);
	test.alloc_fail_at = 0;
	ck_assert_int_eq(hvri_grow(&env, &array, &capacity, 20, 20, 4),
			 HVREPL_E_NOMEM);
	ck_assert_mem_eq(array, "abcdefghijkl", 12);
	test.alloc_fail_at = -1;
	ck_assert_int_eq(hvri_grow(&env, &array, &capacity, 20, 20, 4),
			 HVREPL_OK);
	ck_assert_uint_eq(capacity, 20);
	ck_assert_mem_eq(array, "abcdefghijkl", 12);
	ck_assert_int_eq(hvri_grow(&env, &array, &capacity, 21, 20, 4),
			 HVREPL_E_LIMIT);
	hvri_free(&env, array, capacity * 4);
}
END_TEST

static void count_job(void *argument)
{
	++*(int *)argument;
}

static int32_t refuse_job(void *user, void (*job)(void *argument),
			  void *argument)
{
	(void)user, (void)job, (void)argument;
	return HVREPL_E_LIMIT;
}

START_TEST(a_job_runs_once_with_or_without_an_executor)
{
	int ran = 0;

	hvri_execute(&env, count_job, &ran);
	ck_assert_int_eq(ran, 1);
	env.app.execute = refuse_job;
	hvri_execute(&env, count_job, &ran);
	ck_assert_int_eq(ran, 2);
}
END_TEST

START_TEST(ids_are_random_version_4_and_survive_their_text)
{
	struct hvrepl_uuid first, second, parsed;
	char text[HVRI_UUID_TEXT];

	ck_assert_int_eq(hvri_uuid_new(&env, &first), HVREPL_OK);
	ck_assert_int_eq(hvri_uuid_new(&env, &second), HVREPL_OK);
	ck_assert(!hvri_uuid_equal(&first, &second));
	ck_assert(!hvri_uuid_is_none(&first));
	ck_assert_uint_eq(first.bytes[6] >> 4, 4);
	ck_assert_uint_eq(first.bytes[8] >> 6, 2);
	hvri_uuid_format(&first, text);
	ck_assert_uint_eq(strlen(text), HVRI_UUID_TEXT - 1);
	ck_assert_int_eq(hvri_uuid_parse(text, &parsed), HVREPL_OK);
	ck_assert(hvri_uuid_equal(&first, &parsed));
	/* As others write it; and what is no digit. */
	for (char *c = text; *c != 0; c++)
		if (*c >= 'a' && *c <= 'f')
			*c = (char)(*c - 'a' + 'A');
	memset(&parsed, 0, sizeof(parsed));
	ck_assert_int_eq(hvri_uuid_parse(text, &parsed), HVREPL_OK);
	ck_assert(hvri_uuid_equal(&first, &parsed));
	text[0] = 'G';
	ck_assert_int_eq(hvri_uuid_parse(text, &parsed), HVREPL_E_INVALID);
	text[0] = 'g';
	ck_assert_int_eq(hvri_uuid_parse(text, &parsed), HVREPL_E_INVALID);
	text[0] = '@';
	ck_assert_int_eq(hvri_uuid_parse(text, &parsed), HVREPL_E_INVALID);
}
END_TEST

START_TEST(malformed_id_text_is_refused_without_reading_past_its_end)
{
	char text[HVRI_UUID_TEXT];
	struct hvrepl_uuid uuid, parsed;

	ck_assert_int_eq(hvri_uuid_new(&env, &uuid), HVREPL_OK);
	hvri_uuid_format(&uuid, text);
	for (size_t length = 0; length < HVRI_UUID_TEXT - 1; length++) {
		char *cut = malloc(length + 1);

		memcpy(cut, text, length);
		cut[length] = 0;
		ck_assert_int_eq(hvri_uuid_parse(cut, &parsed),
				 HVREPL_E_INVALID);
		free(cut);
		cut = strdup(text);
		cut[length] = '!';
		ck_assert_int_eq(hvri_uuid_parse(cut, &parsed),
				 HVREPL_E_INVALID);
		free(cut);
	}
	ck_assert_int_eq(hvri_uuid_parse("00000000-0000-0000-0000-0000000000000",
					 &parsed),
			 HVREPL_E_INVALID);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("env");
	TCase *tcase = tcase_create("env");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, an_incomplete_env_is_refused_with_a_sentence);
	tcase_add_test(tcase,
		       memory_is_zeroed_aligned_and_returned_with_its_size);
	tcase_add_test(tcase, an_array_whose_size_overflows_is_refused);
	tcase_add_test(tcase,
		       growing_keeps_content_and_its_limit_and_survives_failure);
	tcase_add_test(tcase, a_job_runs_once_with_or_without_an_executor);
	tcase_add_test(tcase, ids_are_random_version_4_and_survive_their_text);
	tcase_add_test(tcase,
		       malformed_id_text_is_refused_without_reading_past_its_end);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
