/* SPDX-License-Identifier: Apache-2.0 */
/* The interval between recovery points changes while the VM is replicated. */
#include "guestshadow.h"

static uint64_t cuts_in(struct pair_site *owner, uint64_t ns)
{
	struct hvrepl_vm_status status;
	uint64_t before;

	pair_status(owner, &status);
	before = status.cuts;
	pair_run(&pair, ns);
	pair_status(owner, &status);
	return status.cuts - before;
}

static void set(struct pair_site *site, uint64_t cycle_ns)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_vm_status status;

	ck_assert_msg(hvrepl_vm_set_cycle(site->node, &pair_vm, cycle_ns,
					  &error) == HVREPL_OK,
		      "%s", error.sentence);
	pair_run(&pair, SECOND / 10);
	pair_status(site, &status);
	ck_assert_uint_eq(status.cycle_ns, cycle_ns);
}

START_TEST(a_new_interval_holds_from_now_on)
{
	struct hvrepl_vm_status before, after;

	shadow_protect();
	ck_assert_uint_ge(cuts_in(&pair.a, 10 * SECOND), 9);
	pair_status(&pair.a, &before);
	set(&pair.a, 30 * SECOND);
	ck_assert_uint_le(cuts_in(&pair.a, 60 * SECOND), 2);
	/* The wait for the end of the long interval is given up. */
	set(&pair.a, SECOND);
	ck_assert_uint_ge(cuts_in(&pair.a, 10 * SECOND), 9);
	pair_status(&pair.a, &after);
	ck_assert_uint_eq(after.missed, before.missed);
	ck_assert_uint_eq(after.connected, 1);
}
END_TEST

START_TEST(the_site_that_takes_over_has_the_interval_it_was_told)
{
	shadow_protect();
	set(&pair.b, 5 * SECOND);
	/* The owner's own is left alone. */
	ck_assert_uint_ge(cuts_in(&pair.a, 10 * SECOND), 9);
	/* And it survives a loss of power there. */
	pair_kill(&pair, &pair.b, true);
	pair_start(&pair, &pair.b);
	shadow_next_point(&pair.a, &pair.b);
	shadow_ok(&pair.b, HVREPL_OPERATION_PLANNED);
	shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
	shadow_ok(&pair.b, HVREPL_OPERATION_REVERSE);
	ck_assert_uint_le(cuts_in(&pair.b, 20 * SECOND), 5);
}
END_TEST

START_TEST(an_interval_out_of_range_is_refused_and_changes_nothing)
{
	static const uint64_t bad[] = { 0, 99999999, 86400000000001 };
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_uuid stranger = { { 9 } };
	struct hvrepl_vm_status status;

	shadow_protect();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(hvrepl_vm_set_cycle(pair.a.node, &pair_vm,
						     bad[i], &error),
				 HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(error.sentence, "100 ms to 24 hours"));
	ck_assert_int_eq(hvrepl_vm_set_cycle(pair.a.node, &stranger, SECOND,
					     &error),
			 HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(hvrepl_vm_set_cycle(NULL, &pair_vm, SECOND, &error),
			 HVREPL_E_INVALID);
	pair_status(&pair.a, &status);
	ck_assert_uint_eq(status.cycle_ns, SECOND);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("interval");
	TCase *tcase = tcase_create("interval");

	tcase_add_checked_fixture(tcase, shadow_setup, shadow_teardown);
	tcase_add_test(tcase, a_new_interval_holds_from_now_on);
	tcase_add_test(tcase,
		       the_site_that_takes_over_has_the_interval_it_was_told);
	tcase_add_test(
		tcase,
		an_interval_out_of_range_is_refused_and_changes_nothing);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
