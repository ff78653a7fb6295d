/* SPDX-License-Identifier: Apache-2.0 */
/* The health that b's events tell is the one that its status shows. */
#include "guestshadow.h"

#include <string.h>

static uint64_t told; /* The last. */

static void seen(struct pair_site *site, const struct hvrepl_event *event)
{
	if (site == &pair.b && event->type == HVREPL_EVENT_HEALTH)
		told = event->value;
}

static bool store_is_lost(struct pair *p)
{
	(void)p;
	return shadow_status(&pair.b).open_code < 0;
}

static bool store_is_back(struct pair *p)
{
	return !store_is_lost(p);
}

/* The replica's storage fails a flush, and then is not there as it is to be opened
 * again. The connection comes and goes meanwhile: with it all would be well but for
 * that. */
START_TEST(a_store_that_cannot_be_opened_again_is_told)
{
	pair.seen = seen;
	shadow_scatter(&pair.a, 1, 20);
	shadow_protect();
	pair_run(&pair, 10 * SECOND);
	ck_assert_uint_eq(told, shadow_status(&pair.b).health);
	pair.b.sim.flush_fails = SIM_FLUSH_KEEPS;
	pair.b.sim.flush_fail_at = pair.b.sim.flush_count;
	shadow_scatter(&pair.a, 2, 20);
	pair_run(&pair, 10 * SECOND);
	pair.b.sim.fail_code = HVREPL_E_DISK_IO;
	pair.b.sim.fail_at = pair.b.sim.call_count;
	pair.b.sim.fail_on = true;
	ck_assert(pair_until(&pair, 600 * SECOND, store_is_lost));
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(shadow_status(&pair.b).health, HVREPL_HEALTH_CRITICAL);
	ck_assert_uint_eq(told, HVREPL_HEALTH_CRITICAL);
	pair_link(&pair, false);
	pair_run(&pair, 5 * SECOND);
	pair_link(&pair, true);
	pair_run(&pair, 30 * SECOND);
	ck_assert_uint_eq(shadow_status(&pair.b).health, HVREPL_HEALTH_CRITICAL);
	ck_assert_uint_eq(told, HVREPL_HEALTH_CRITICAL);
	pair.b.sim.fail_at = UINT64_MAX;
	pair.b.sim.fail_on = false;
	ck_assert(pair_until(&pair, 3600 * SECOND, store_is_back));
	pair_run(&pair, SECOND);
	ck_assert_uint_lt(shadow_status(&pair.b).health, HVREPL_HEALTH_CRITICAL);
	ck_assert_uint_eq(told, shadow_status(&pair.b).health);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("health told");
	TCase *tc = tcase_create("health told");

	tcase_add_checked_fixture(tc, shadow_setup, shadow_teardown);
	tcase_add_test(tc, a_store_that_cannot_be_opened_again_is_told);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
