/* SPDX-License-Identifier: Apache-2.0 */
/* A node with hundreds of VMs: what comes over all of them at once finds room. */
#include "driver/node.h"
#include "driver/vm.h"
#include "pair.h"

#include <stdlib.h>

#define SECOND 1000000000ull
#define VMS 520u

static struct pair pair;

static void setup(void)
{
	pair_enable_more(&pair, VMS);
}

static void teardown(void)
{
	pair_free(&pair);
}

static unsigned connected(const struct pair_site *site)
{
	unsigned count = 0;

	for (const struct hvri_vm *vm = site->node->vms; vm != NULL;
	     vm = vm->next)
		count += vm->session != NULL;
	return count;
}

static unsigned with_points(const struct pair_site *site)
{
	unsigned count = 0;

	for (const struct hvri_vm *vm = site->node->vms; vm != NULL;
	     vm = vm->next)
		count += vm->relationship.record.position.number != 0;
	return count;
}

/* Each VM had set one timer, and now sets another: no VM was made, nothing was asked
 * for that what the node has for its timers would have grown by. */
START_TEST(a_link_that_comes_back_comes_back_to_each_of_520_vms)
{
	size_t apart, most = 0;

	pair_link(&pair, false);
	pair_run(&pair, 60 * SECOND);
	ck_assert_uint_eq(connected(&pair.a), 0);
	apart = pair.a.node->timers.count;
	ck_assert_uint_ge(apart, VMS);
	pair_link(&pair, true);
	for (unsigned i = 0; i < 9000 && connected(&pair.b) < VMS; i++) {
		pair_run(&pair, SECOND / 100);
		most = HVRI_MAX(most, pair.a.node->timers.count);
	}
	ck_assert_uint_eq(connected(&pair.a), VMS);
	ck_assert_uint_eq(connected(&pair.b), VMS);
	ck_assert_uint_ge(most, apart + VMS);
}
END_TEST

static int32_t takes_nothing(void *user, hvrepl_op *op, const char *key,
			     const void *blob, uint32_t length,
			     uint64_t expected)
{
	(void)user, (void)op, (void)key, (void)blob, (void)length;
	(void)expected;
	return HVREPL_E_STATE_IO;
}

START_TEST(a_state_store_that_takes_nothing_holds_up_520_replicas_and_loses_none)
{
	int32_t (*put)(void *, hvrepl_op *, const char *, const void *,
		       uint32_t, uint64_t) = pair.b.node->state.put;

	pair.b.node->state.put = takes_nothing;
	for (unsigned i = 0; i < VMS; i++)
		ck_assert_int_eq(pair_ask_more(&pair.a, i,
					       HVREPL_OPERATION_START_INITIAL),
				 HVREPL_OK);
	pair_run(&pair, 5 * SECOND);
	ck_assert_uint_eq(with_points(&pair.b), 0);
	ck_assert_uint_ge(pair.b.node->timers.count, VMS);
	pair.b.node->state.put = put;
	pair_run(&pair, 5 * SECOND);
	ck_assert_uint_eq(with_points(&pair.b), VMS);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("many_vms");
	TCase *tc = tcase_create("at once");

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_link_that_comes_back_comes_back_to_each_of_520_vms);
	tcase_add_test(tc,
		       a_state_store_that_takes_nothing_holds_up_520_replicas_and_loses_none);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
