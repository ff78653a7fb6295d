/* SPDX-License-Identifier: Apache-2.0 */
/* Data jobs that other threads do late: what was decided meanwhile counts. */
#include "guestshadow.h"

#include <string.h>

static void protected_with_points(void)
{
	shadow_scatter(&pair.a, 1, 60);
	shadow_protect();
	shadow_scatter(&pair.a, 2, 30);
	(void)shadow_next_point(&pair.a, &pair.b);
}

static bool connected(struct pair *p)
{
	struct hvrepl_vm_status a, b;

	pair_status(&p->a, &a);
	pair_status(&p->b, &b);
	return a.connected && b.connected;
}

static bool b_has_job(struct pair *p)
{
	return p->b.job_count > 0;
}

static bool taken_over(struct pair *p)
{
	struct hvrepl_vm_status b;

	pair_status(&p->b, &b);
	return b.writable;
}

START_TEST(a_fence_that_overtakes_an_arm_stands)
{
	struct hvrepl_vm_status status;

	protected_with_points();
	pair_kill(&pair, &pair.a, false);
	pair_link(&pair, false);
	pair_start(&pair, &pair.a);
	pair_run(&pair, SECOND);
	/* With contact the former owner may write: the arm begins, and while it
	 * is under way the VM is handed over. */
	pair.a.holds_jobs = true;
	pair_link(&pair, true);
	ck_assert(pair_until(&pair, 60 * SECOND, connected));
	pair_run(&pair, SECOND / 10);
	ck_assert_uint_gt(pair.a.job_count, 0);
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_PLANNED, 0, NULL),
			 HVREPL_OK);
	pair_run(&pair, SECOND / 10);
	pair_do_jobs(&pair.a);
	/* The disks were flushed: no write may slip in behind that. */
	while (hvrepl_node_deadline(pair.a.node) <= pair.now_ns) {
		(void)hvrepl_node_process(pair.a.node, 1);
		shadow_expect_fenced(&pair.a);
		pair_do_jobs(&pair.a);
	}
	pair.a.holds_jobs = false;
	ck_assert(pair_until(&pair, 60 * SECOND, taken_over));
	pair_status(&pair.a, &status);
	ck_assert(!status.writable);
	shadow_expect_fenced(&pair.a);
	shadow_expect_disks(&pair.b);
}
END_TEST

/* The standby is about to take a cut in when the connection is lost. */
static void lost_while_taking_in(uint64_t seed)
{
	pair_run(&pair, SECOND / 5); /* What follows a point is done. */
	ck_assert_uint_eq(pair.b.job_count, 0);
	pair.b.holds_jobs = true;
	shadow_scatter(&pair.a, seed, 10);
	ck_assert(pair_until(&pair, 10 * SECOND, b_has_job));
	pair_link_break(&pair);
	pair_run(&pair, 1000000);
}

START_TEST(a_cut_is_not_accepted_twice_when_the_connection_was_lost)
{
	protected_with_points();
	lost_while_taking_in(3);
	pair.delay_ns[0] = pair.delay_ns[1] = SECOND / 5;
	ck_assert(pair_until(&pair, 60 * SECOND, connected));
	/* Both greet each other. The answer to the offer that was made before is
	 * ready now, while the owner makes that offer again. */
	pair_run(&pair, SECOND / 4);
	pair_do_jobs(&pair.b);
	/* What the owner sends then comes before the standby has begun anew. */
	pair_run(&pair, SECOND / 2 + SECOND / 20);
	pair_do_jobs(&pair.b);
	pair.b.holds_jobs = false;
	pair.delay_ns[0] = pair.delay_ns[1] = 0;
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

START_TEST(credit_of_a_reception_that_begins_anew_comes_back)
{
	protected_with_points();
	/* More often than the pool of all receptions has credit for. */
	for (unsigned i = 0; i < 12; i++) {
		lost_while_taking_in(3 + i);
		ck_assert(pair_until(&pair, 60 * SECOND, connected));
		pair_run(&pair, SECOND / 10);
		pair_do_jobs(&pair.b);
		pair.b.holds_jobs = false;
		shadow_expect_point(&pair.b,
				    shadow_next_point(&pair.a, &pair.b));
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("late_jobs");
	TCase *tcase = tcase_create("late_jobs");

	tcase_add_checked_fixture(tcase, shadow_setup, shadow_teardown);
	tcase_add_test(tcase, a_fence_that_overtakes_an_arm_stands);
	tcase_add_test(tcase,
		       a_cut_is_not_accepted_twice_when_the_connection_was_lost);
	tcase_add_test(tcase, credit_of_a_reception_that_begins_anew_comes_back);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
