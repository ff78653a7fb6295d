/* SPDX-License-Identifier: Apache-2.0 */
/* The table of operations: one rule for each of all combinations. */
#include "replication/rules.h"

#include "replication/names.h"
#include "testing.h"

#include <string.h>

#define EACH(mode, state, own, op)                                           \
	for (uint32_t mode = 0; mode < HVREPL_MODE_COUNT; mode++)            \
		for (uint32_t state = 0; state < HVREPL_STATE_COUNT; state++) \
			for (uint32_t own = 0; own < HVREPL_OWNERSHIP_COUNT; \
			     own++)                                          \
				for (uint32_t op = 1;                        \
				     op < HVREPL_OPERATION_COUNT; op++)

START_TEST(exactly_one_rule_for_every_combination)
{
	EACH(mode, state, own, op) {
		const struct hvri_rule *rule =
			hvri_rule_find(mode, state, own, op);

		ck_assert_ptr_nonnull(rule);
		/* One special rule at most; the general one takes the rest. */
		ck_assert_msg(hvri_rule_matches(mode, state, own, op) <= 1,
			      "%s in %s %s %s has two rules",
			      hvri_operation_name(op), hvri_mode_name(mode),
			      hvri_state_name(state),
			      hvri_ownership_name(own));
	}
	ck_assert_ptr_null(hvri_rule_find(0, 0, 0, HVREPL_OPERATION_COUNT));
}
END_TEST

/* What a status shows is what an operation would find. */
START_TEST(the_allowed_ones_are_those_whose_rule_allows_them)
{
	EACH(mode, state, own, op) {
		const struct hvri_rule *rule =
			hvri_rule_find(mode, state, own, op);
		bool refused = rule->plan == HVRI_PLAN_REFUSE;

		for (uint32_t i = 0; i <= HVRI_NEED_COUNT; i++) {
			/* All needs but one; all of them. */
			uint32_t has = ~(1u << i);
			bool shown = hvri_rules_allowed(mode, state, own,
							has) >>
					     op & 1;

			ck_assert_int_eq(shown, !refused &&
							(rule->needs & ~has) ==
								0);
		}
		ck_assert_int_eq(hvri_rules_allowed(mode, state, own, 0) >> op &
					 1,
				 !refused && rule->needs == 0);
	}
}
END_TEST

START_TEST(a_refusal_has_a_code_and_a_sentence)
{
	EACH(mode, state, own, op) {
		const struct hvri_rule *rule =
			hvri_rule_find(mode, state, own, op);

		if (rule->plan == HVRI_PLAN_REFUSE) {
			ck_assert_int_lt(rule->code, 0);
			ck_assert_uint_gt(strlen(rule->sentence), 10);
		} else {
			ck_assert_int_eq(rule->code, HVREPL_OK);
		}
	}
	for (uint32_t i = 0; i < HVRI_NEED_COUNT; i++) {
		const char *sentence = NULL;

		ck_assert_int_lt(hvri_rule_need(1u << i, &sentence), 0);
		ck_assert_uint_gt(strlen(sentence), 10);
	}
}
END_TEST

START_TEST(every_state_with_a_relationship_can_be_left)
{
	EACH(mode, state, own, op) {
		uint32_t exits = 0;

		if (op != HVREPL_OPERATION_REMOVE ||
		    (mode != HVREPL_MODE_PRIMARY &&
		     mode != HVREPL_MODE_REPLICA))
			continue;
		for (uint32_t k = 1; k < HVREPL_OPERATION_COUNT; k++) {
			const struct hvri_rule *rule =
				hvri_rule_find(mode, state, own, k);

			exits += rule->plan == HVRI_PLAN_HERE;
		}
		ck_assert_uint_gt(exits, 0);
	}
}
END_TEST

START_TEST(a_site_that_gave_the_vm_away_starts_it_only_by_force)
{
	EACH(mode, state, own, op) {
		const struct hvri_rule *rule =
			hvri_rule_find(mode, state, own, op);

		if ((own == HVREPL_OWNERSHIP_SUPERSEDED ||
		     own == HVREPL_OWNERSHIP_RELINQUISHED) &&
		    (op == HVREPL_OPERATION_UNPLANNED ||
		     op == HVREPL_OPERATION_CHANGE_POINT ||
		     op == HVREPL_OPERATION_COMMIT ||
		     op == HVREPL_OPERATION_PLANNED))
			ck_assert_uint_eq(rule->plan, HVRI_PLAN_REFUSE);
	}
}
END_TEST

START_TEST(reverse_comes_after_commit_and_never_while_diverged)
{
	EACH(mode, state, own, op) {
		const struct hvri_rule *rule =
			hvri_rule_find(mode, state, own, op);

		if (op != HVREPL_OPERATION_REVERSE)
			continue;
		if (own == HVREPL_OWNERSHIP_DIVERGED)
			ck_assert_uint_eq(rule->plan, HVRI_PLAN_REFUSE);
		if (rule->plan == HVRI_PLAN_HERE)
			ck_assert(rule->needs & HVRI_NEED_COMMITTED);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rules");
	TCase *tc = tcase_create("rules");

	tcase_add_test(tc, exactly_one_rule_for_every_combination);
	tcase_add_test(tc,
		       the_allowed_ones_are_those_whose_rule_allows_them);
	tcase_add_test(tc, a_refusal_has_a_code_and_a_sentence);
	tcase_add_test(tc, every_state_with_a_relationship_can_be_left);
	tcase_add_test(tc, a_site_that_gave_the_vm_away_starts_it_only_by_force);
	tcase_add_test(tc, reverse_comes_after_commit_and_never_while_diverged);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
