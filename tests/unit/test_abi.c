/* SPDX-License-Identifier: Apache-2.0 */
/* Structs of older and newer callers are read and filled by their own size. */
#include "testing.h"

#include "base/abi.h"

#include <string.h>

struct first {
	uint32_t struct_size;
	uint32_t a;
};

struct now {
	uint32_t struct_size;
	uint32_t a;
	uint64_t b;
};

struct later {
	uint32_t struct_size;
	uint32_t a;
	uint64_t b;
	uint64_t c;
};

START_TEST(an_older_callers_missing_tail_reads_as_zero)
{
	struct first old = { sizeof(old), 5 };
	struct now in = { 0, 0, 77 };

	ck_assert_int_eq(hvri_abi_copy_in(&in, sizeof(in), sizeof(old), &old),
			 HVREPL_OK);
	ck_assert_uint_eq(in.a, 5);
	ck_assert_uint_eq(in.b, 0);
}
END_TEST

START_TEST(a_newer_callers_unknown_tail_is_refused_unless_it_is_zero)
{
	struct later newer = { sizeof(newer), 5, 6, 0 };
	struct now in;

	ck_assert_int_eq(hvri_abi_copy_in(&in, sizeof(in), 8, &newer),
			 HVREPL_OK);
	ck_assert_uint_eq(in.b, 6);
	newer.c = 1;
	ck_assert_int_eq(hvri_abi_copy_in(&in, sizeof(in), 8, &newer),
			 HVREPL_E_TOO_NEW);
}
END_TEST

START_TEST(a_missing_or_too_small_struct_is_refused)
{
	struct first tiny = { 4, 5 };
	struct now in;

	ck_assert_int_eq(hvri_abi_copy_in(&in, sizeof(in), 8, NULL),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvri_abi_copy_in(&in, sizeof(in), 8, &tiny),
			 HVREPL_E_INVALID);
}
END_TEST

START_TEST(filling_stops_at_the_callers_size_and_keeps_it)
{
	struct now result = { sizeof(result), 1, 2 };
	struct {
		struct first first;
		uint64_t guard;
	} old = { { sizeof(struct first), 0 }, 99 };
	struct later newer = { sizeof(newer), 0, 0, 42 };

	hvri_abi_copy_out(&old.first, &result, sizeof(result));
	ck_assert_uint_eq(old.first.a, 1);
	ck_assert_uint_eq(old.first.struct_size, sizeof(struct first));
	ck_assert_uint_eq(old.guard, 99);
	hvri_abi_copy_out(&newer, &result, sizeof(result));
	ck_assert_uint_eq(newer.b, 2);
	ck_assert_uint_eq(newer.c, 42);
	ck_assert_uint_eq(newer.struct_size, sizeof(newer));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("abi");
	TCase *tcase = tcase_create("abi");

	tcase_add_test(tcase, an_older_callers_missing_tail_reads_as_zero);
	tcase_add_test(tcase,
		       a_newer_callers_unknown_tail_is_refused_unless_it_is_zero);
	tcase_add_test(tcase, a_missing_or_too_small_struct_is_refused);
	tcase_add_test(tcase, filling_stops_at_the_callers_size_and_keeps_it);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
