/* SPDX-License-Identifier: Apache-2.0 */
/* Result codes: names, classes and the sentence that goes with them. */
#include "testing.h"

#include "base/rc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(every_code_has_its_name_and_class)
{
	ck_assert_str_eq(hvrepl_error_name(HVREPL_OK), "HVREPL_OK");
	ck_assert_str_eq(hvrepl_error_name(HVREPL_E_VOIDED), "HVREPL_E_VOIDED");
	ck_assert_uint_eq(hvrepl_error_class(HVREPL_OK), HVREPL_CLASS_NONE);
	ck_assert_uint_eq(hvrepl_error_class(HVREPL_E_INVALID),
			  HVREPL_CLASS_CALLER);
	ck_assert_uint_eq(hvrepl_error_class(HVREPL_E_NOMEM),
			  HVREPL_CLASS_RESOURCE);
	ck_assert_uint_eq(hvrepl_error_class(HVREPL_E_POISONED),
			  HVREPL_CLASS_CALLBACK);
	ck_assert_uint_eq(hvrepl_error_class(HVREPL_E_DENIED),
			  HVREPL_CLASS_PEER);
	ck_assert_uint_eq(hvrepl_error_class(HVREPL_E_CORRUPT),
			  HVREPL_CLASS_INTEGRITY);
	ck_assert_uint_eq(hvrepl_error_class(HVREPL_E_TIMEOUT),
			  HVREPL_CLASS_UNAVAILABLE);
}
END_TEST

START_TEST(an_unknown_code_still_has_class_name_and_sentence)
{
	ck_assert_uint_eq(hvrepl_error_class(-599), HVREPL_CLASS_INTEGRITY);
	ck_assert_str_eq(hvrepl_error_name(-599), "HVREPL_E_?");
	ck_assert_ptr_nonnull(hvrepl_strerror(-599));
	ck_assert_ptr_nonnull(hvrepl_strerror(12345));
}
END_TEST

START_TEST(a_failure_fills_the_struct_and_returns_its_code)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	ck_assert_int_eq(hvri_fail(&error, HVREPL_E_NO_SPACE, "free %d bytes",
				   7),
			 HVREPL_E_NO_SPACE);
	ck_assert_int_eq(error.code, HVREPL_E_NO_SPACE);
	ck_assert_uint_eq(error.error_class, HVREPL_CLASS_RESOURCE);
	ck_assert_str_eq(error.sentence, "free 7 bytes");
	ck_assert_uint_eq(error.struct_size, sizeof(error));
	ck_assert_int_eq(hvri_fail(NULL, HVREPL_E_STATE, "nobody listens"),
			 HVREPL_E_STATE);
}
END_TEST

START_TEST(the_words_of_the_lowest_layer_win)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc = hvri_fail(&error, HVREPL_E_CORRUPT, "chunk 3 is damaged");

	ck_assert_int_eq(hvri_fail_plain(&error, rc), HVREPL_E_CORRUPT);
	ck_assert_str_eq(error.sentence, "chunk 3 is damaged");
	ck_assert_int_eq(hvri_fail_plain(&error, HVREPL_E_NOMEM),
			 HVREPL_E_NOMEM);
	ck_assert_str_eq(error.sentence, hvrepl_strerror(HVREPL_E_NOMEM));
}
END_TEST

START_TEST(an_older_callers_smaller_error_is_not_written_past_its_end)
{
	struct {
		uint32_t struct_size;
		int32_t code;
		uint32_t error_class;
		uint32_t guard;
	} old = { 12, 0, 0, 0x5a5a5a5a };

	ck_assert_int_eq(hvri_fail((struct hvrepl_error *)(void *)&old,
				   HVREPL_E_BUSY, "in use"),
			 HVREPL_E_BUSY);
	ck_assert_int_eq(old.code, HVREPL_E_BUSY);
	ck_assert_uint_eq(old.struct_size, 12);
	ck_assert_uint_eq(old.guard, 0x5a5a5a5a);
}
END_TEST

START_TEST(a_long_sentence_is_cut_and_ended)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	char words[2 * HVREPL_SENTENCE_MAX];

	memset(words, 'x', sizeof(words));
	words[sizeof(words) - 1] = 0;
	(void)hvri_fail(&error, HVREPL_E_INVALID, "%s", words);
	ck_assert_uint_eq(strlen(error.sentence), HVREPL_SENTENCE_MAX - 1);
}
END_TEST

START_TEST(version_text_and_number_agree_with_the_headers)
{
	char text[32];

	snprintf(text, sizeof(text), "%d.%d.%d", HVREPL_VERSION_MAJOR,
		 HVREPL_VERSION_MINOR, HVREPL_VERSION_PATCH);
	ck_assert_str_eq(hvrepl_version_string(), text);
	ck_assert_uint_eq(hvrepl_version(), HVREPL_VERSION_NUMBER);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("error");
	TCase *tcase = tcase_create("error");

	tcase_add_test(tcase, every_code_has_its_name_and_class);
	tcase_add_test(tcase, an_unknown_code_still_has_class_name_and_sentence);
	tcase_add_test(tcase, a_failure_fills_the_struct_and_returns_its_code);
	tcase_add_test(tcase, the_words_of_the_lowest_layer_win);
	tcase_add_test(tcase,
		       an_older_callers_smaller_error_is_not_written_past_its_end);
	tcase_add_test(tcase, a_long_sentence_is_cut_and_ended);
	tcase_add_test(tcase, version_text_and_number_agree_with_the_headers);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
