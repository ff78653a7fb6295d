/* SPDX-License-Identifier: Apache-2.0 */
/* What a status says of a transfer under way only grows, up to the whole. */
#include "guestshadow.h"

static uint64_t last, seen;

static bool replicating(struct pair *p)
{
	struct hvrepl_vm_status status;

	pair_status(&p->a, &status);
	if (status.state != HVREPL_STATE_INITIAL_IN_PROGRESS)
		return status.state == HVREPL_STATE_REPLICATING;
	ck_assert_uint_eq(status.total, (uint64_t)PAIR_DISKS * SHADOW_SIZE);
	ck_assert_uint_ge(status.progress, last);
	ck_assert_uint_le(status.progress, status.total);
	seen += status.progress != last;
	last = status.progress;
	return false;
}

START_TEST(initial_replication_counts_up_to_the_whole_disks)
{
	struct hvrepl_vm_status status;

	last = seen = 0;
	shadow_scatter(&pair.a, 1, 60);
	shadow_ok(&pair.a, HVREPL_OPERATION_ENABLE);
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_START_INITIAL, 0,
				  NULL), HVREPL_OK);
	ck_assert(pair_until(&pair, 60 * SECOND, replicating));
	ck_assert_uint_gt(seen, 0);
	/* Nothing is under way: nothing is said. */
	pair_run(&pair, SECOND / 2);
	pair_status(&pair.a, &status);
	ck_assert_uint_eq(status.total, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("progress");
	TCase *tcase = tcase_create("progress");

	tcase_add_checked_fixture(tcase, shadow_setup, shadow_teardown);
	tcase_add_test(tcase,
		       initial_replication_counts_up_to_the_whole_disks);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
