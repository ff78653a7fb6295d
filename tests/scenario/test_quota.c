/* SPDX-License-Identifier: Apache-2.0 */
/* A quota of a VM's recovery points: old ones go, then the owner hears why
 * nothing is received; set while the node runs. */
#include "guestshadow.h"

#include <stdio.h>
#include <string.h>

#define QUOTA (4u << 20)

static char said[HVREPL_SENTENCE_MAX];

static void seen(struct pair_site *site, const struct hvrepl_event *event)
{
	if (site == &pair.a && event->code == HVREPL_E_NO_SPACE)
		snprintf(said, sizeof(said), "%s", event->sentence);
}

static unsigned points_of(struct pair_site *site)
{
	struct hvrepl_point point = HVREPL_POINT_INIT;
	unsigned count = 0;

	while (hvrepl_vm_get_point(site->node, &pair_vm, count, &point) ==
	       HVREPL_OK)
		count++;
	return count;
}

static void quota(uint64_t bytes, uint32_t points_min)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	ck_assert_msg(hvrepl_vm_set_quota(pair.b.node, &pair_vm, bytes,
					  points_min, &error) == HVREPL_OK,
		      "%s", error.sentence);
}

START_TEST(old_points_go_and_the_newest_keep_coming)
{
	unsigned before;

	shadow_protect();
	for (unsigned i = 0; i < 6; i++) {
		shadow_scatter(&pair.a, i, 300);
		(void)shadow_next_point(&pair.a, &pair.b);
	}
	before = points_of(&pair.b);
	quota(QUOTA, 0);
	for (unsigned i = 6; i < 16; i++) {
		shadow_scatter(&pair.a, i, 300);
		shadow_expect_point(&pair.b,
				    shadow_next_point(&pair.a, &pair.b));
	}
	ck_assert_uint_lt(points_of(&pair.b), before);
	/* The upkeep that follows the last of them tells. */
	pair_run(&pair, SECOND / 4);
	ck_assert_uint_eq(shadow_status(&pair.b).reasons & HVREPL_REASON_REPLICA_FULL,
			  0);
}
END_TEST

START_TEST(with_no_point_to_give_up_both_sites_say_why_until_there_is_room)
{
	uint64_t newest = 0;

	pair.seen = seen;
	said[0] = 0;
	shadow_protect();
	/* All that there are, if 24 are kept at most. */
	quota(QUOTA, 24);
	for (unsigned i = 0; i < 60 && said[0] == 0; i++) {
		shadow_scatter(&pair.a, i, 300);
		pair_run(&pair, 2 * SECOND);
	}
	ck_assert_msg(strstr(said, "the quota of 4.0 MiB is full"), "%s", said);
	pair_run(&pair, 2 * SECOND);
	ck_assert(shadow_status(&pair.b).reasons & HVREPL_REASON_REPLICA_FULL);
	ck_assert_uint_eq(shadow_status(&pair.b).health, HVREPL_HEALTH_CRITICAL);
	newest = pair_newest_point(&pair.b);
	shadow_expect_disks(&pair.a); /* Production goes on. */
	quota(0, 0);
	pair_run(&pair, 130 * SECOND); /* A fault of storage has minutes (L4). */
	ck_assert_uint_gt(pair_newest_point(&pair.b), newest);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	pair_run(&pair, 2 * SECOND);
	ck_assert_uint_eq(shadow_status(&pair.b).reasons & HVREPL_REASON_REPLICA_FULL,
			  0);
}
END_TEST

START_TEST(a_quota_that_cannot_be_meant_is_refused_and_changes_nothing)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_uuid stranger = { { 3 } };

	shadow_protect();
	ck_assert_int_eq(hvrepl_vm_set_quota(pair.b.node, &pair_vm, 5000, 0,
					     &error),
			 HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(error.sentence, "at least 4 MiB"));
	ck_assert_int_eq(hvrepl_vm_set_quota(pair.b.node, &stranger, QUOTA, 0,
					     &error),
			 HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(hvrepl_vm_set_quota(NULL, &pair_vm, QUOTA, 0, &error),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_vm_set_quota(pair.b.node, NULL, QUOTA, 0,
					     &error),
			 HVREPL_E_INVALID);
	shadow_scatter(&pair.a, 1, 10);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("quota");
	TCase *tc = tcase_create("quota");

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, shadow_setup, shadow_teardown);
	tcase_add_test(tc, old_points_go_and_the_newest_keep_coming);
	tcase_add_test(tc, with_no_point_to_give_up_both_sites_say_why_until_there_is_room);
	tcase_add_test(tc, a_quota_that_cannot_be_meant_is_refused_and_changes_nothing);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
