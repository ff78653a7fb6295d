/* SPDX-License-Identifier: Apache-2.0 */
/* Random work of a store matches a naive model, with and without power losses. */
#include "storeplay.h"
#include "testing.h"

#include <stdlib.h>

START_TEST(random_work_matches_the_model)
{
	ck_assert_uint_gt(store_play((uint64_t)_i * test_stride(), false).hooks, 50);
}
END_TEST

START_TEST(random_work_with_power_losses_matches_the_model)
{
	(void)store_play((uint64_t)_i * test_stride() + 1000, true);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("store-random");
	TCase *tcase = tcase_create("store-random");
	int seeds = argc > 1 ? atoi(argv[1]) : 25 / (int)test_stride();

	tcase_add_loop_test(tcase, random_work_matches_the_model, 0, seeds);
	tcase_add_loop_test(tcase,
			    random_work_with_power_losses_matches_the_model, 0,
			    seeds);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
