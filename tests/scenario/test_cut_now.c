/* SPDX-License-Identifier: Apache-2.0 */
/* A recovery point on request holds all that was written before the request. */
#include "guestshadow.h"

#include <stdio.h>

static bool in_flight(struct pair *p)
{
	struct hvrepl_vm_status status;

	(void)p;
	pair_status(&pair.a, &status);
	return status.last_cut > status.last_point;
}

START_TEST(a_point_on_request_is_not_an_earlier_cut)
{
	unsigned long long point;
	struct pair_site *asker = _i % 2 == 0 ? &pair.a : &pair.b;

	shadow_scatter(&pair.a, 1, 30);
	shadow_protect();
	for (int i = 0; i < 4; i++) {
		shadow_scatter(&pair.a, 100 + (uint64_t)(_i * 10 + i), 5);
		/* One of the cycle's own is on its way. */
		ck_assert(pair_until(&pair, 60 * SECOND, in_flight));
		shadow_scatter(&pair.a, 200 + (uint64_t)(_i * 10 + i), 5);
		shadow_ok(asker, HVREPL_OPERATION_CUT_NOW);
		ck_assert_int_eq(sscanf(asker->job_sentence,
					"recovery point %llu", &point), 1);
		shadow_expect_point(&pair.b, point);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cut now");
	TCase *tcase = tcase_create("cut now");

	tcase_add_checked_fixture(tcase, shadow_setup, shadow_teardown);
	tcase_add_loop_test(tcase, a_point_on_request_is_not_an_earlier_cut, 0,
			    6);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
