/* SPDX-License-Identifier: Apache-2.0 */
/* A site whose environment gives no random bytes for a while: what happens
 * meanwhile is decided afterwards, and nothing is missing. */
#include "guestshadow.h"

/* Either site; the link comes back, or an operator asks; from the n-th time on
 * that something random is wanted there is nothing. */
START_TEST(what_happens_without_entropy_is_decided_once_there_is_some)
{
	struct pair_site *site = _i % 2 == 0 ? &pair.a : &pair.b;
	bool link = _i / 2 % 2 == 0;
	struct test_refusals refusals = { 0, (uint64_t)_i / 4, true };

	shadow_setup();
	shadow_protect();
	shadow_scatter(&pair.a, 3, 4);
	if (link)
		pair_link(&pair, false);
	pair_run(&pair, SECOND);
	site->env.refusals = &refusals;
	if (link)
		pair_link(&pair, true);
	else
		(void)pair_ask(&pair.a, HVREPL_OPERATION_CUT_NOW, 0, NULL);
	pair_run(&pair, 5 * SECOND);
	site->env.refusals = NULL;
	/* A cut that was made meanwhile is said. */
	pair_run(&pair, 2 * SECOND);
	shadow_scatter(&pair.a, 5, 4);
	shadow_flush(&pair.a);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	shadow_teardown();
}
END_TEST

/* The connection is there before the disks are, and entropy after both: the start
 * comes first, then the session. */
START_TEST(a_session_of_before_the_start_is_heard_after_it)
{
	struct test_refusals refusals = { 0, 0, true };

	shadow_setup();
	shadow_protect();
	pair_stop(&pair, &pair.b);
	pair.b.holds_jobs = true;
	pair_start(&pair, &pair.b);
	pair_run(&pair, 5 * SECOND);
	pair.b.env.refusals = &refusals;
	pair_do_jobs(&pair.b);
	pair.b.holds_jobs = false;
	pair_run(&pair, SECOND / 10);
	ck_assert_uint_gt(refusals.count, 0);
	pair.b.env.refusals = NULL;
	pair_run(&pair, SECOND);
	shadow_scatter(&pair.a, 5, 4);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	shadow_teardown();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("no entropy");
	TCase *tc = tcase_create("all");

	tcase_add_loop_test(tc, what_happens_without_entropy_is_decided_once_there_is_some,
			    0, 4 * 12);
	tcase_add_test(tc, a_session_of_before_the_start_is_heard_after_it);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
