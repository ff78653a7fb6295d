/* SPDX-License-Identifier: Apache-2.0 */
/* The guard of control handles, for every row of the table. */
#include "testing.h"

#include "api/guard.h"

#include <string.h>

START_TEST(a_second_entry_is_refused_unless_the_function_is_callback_safe)
{
	for (unsigned outer = 0; outer < HVRI_FUNCTION_COUNT; outer++) {
		if (hvri_function_row(outer)->callback_safe)
			continue;
		for (unsigned inner = 0; inner < HVRI_FUNCTION_COUNT; inner++) {
			struct hvri_guard guard = { 0 };
			bool safe = hvri_function_row(inner)->callback_safe;

			ck_assert_int_eq(hvri_guard_enter(&guard, outer),
					 HVREPL_OK);
			ck_assert_int_eq(hvri_guard_enter(&guard, inner),
					 safe ? HVREPL_OK : HVREPL_E_REENTRANT);
			if (safe)
				hvri_guard_leave(&guard, inner);
			/* Whatever was tried inside, the outer one holds. */
			ck_assert_int_eq(hvri_guard_enter(&guard, outer),
					 HVREPL_E_REENTRANT);
			hvri_guard_leave(&guard, outer);
			ck_assert_int_eq(hvri_guard_enter(&guard, outer),
					 HVREPL_OK);
		}
	}
}
END_TEST

START_TEST(nothing_that_ends_a_handle_is_callback_safe)
{
	for (unsigned i = 0; i < HVRI_FUNCTION_COUNT; i++) {
		const struct hvri_function_row *row = hvri_function_row(i);

		ck_assert_ptr_nonnull(row->name);
		ck_assert_int_eq(strncmp(row->name, "hvrepl_", 7), 0);
		if (row->destroys)
			ck_assert_msg(!row->callback_safe, "%s", row->name);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("guard");
	TCase *tcase = tcase_create("guard");

	tcase_add_test(tcase,
		       a_second_entry_is_refused_unless_the_function_is_callback_safe);
	tcase_add_test(tcase, nothing_that_ends_a_handle_is_callback_safe);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
