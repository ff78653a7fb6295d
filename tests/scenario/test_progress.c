/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of a transfer or a verify under way only grows, up to the whole. */
#include "guestshadow.h"

#define WHOLE ((uint64_t)PAIR_DISKS * SHADOW_SIZE)

static uint64_t last, seen;

static bool replicating(struct pair *p)
{
	struct hvrepl_vm_status status;

	pair_status(&p->a, &status);
	if (status.state != HVREPL_STATE_INITIAL_IN_PROGRESS)
		return status.state == HVREPL_STATE_REPLICATING;
	ck_assert_uint_eq(status.total, WHOLE);
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

/* Of one job's events. */
static struct told {
	struct pair_site *site;
	uint64_t count, value, job;
} told;

static void take_progress(struct pair_site *site,
			  const struct hvrepl_event *event)
{
	if (event->type != HVREPL_EVENT_PROGRESS || site != told.site)
		return;
	ck_assert_uint_eq(event->total, WHOLE);
	ck_assert_uint_ge(event->value, told.value);
	ck_assert_uint_le(event->value, event->total);
	ck_assert_uint_ne(event->job, 0);
	ck_assert(told.count == 0 || told.job == event->job);
	told.count++;
	told.value = event->value;
	told.job = event->job;
}

static void listen_to(struct pair_site *site)
{
	told = (struct told){ .site = site };
	pair.seen = take_progress;
}

/* At either site, and beside a VM that goes on replicating. */
START_TEST(a_verify_says_how_far_it_is_up_to_all_disks)
{
	struct pair_site *asker = _i == 0 ? &pair.a : &pair.b;

	shadow_protect();
	shadow_scatter(&pair.a, 1, 60);
	shadow_next_point(&pair.a, &pair.b);
	listen_to(asker);
	shadow_ok(asker, HVREPL_OPERATION_VERIFY);
	ck_assert_uint_ge(told.count, PAIR_DISKS);
	ck_assert_uint_eq(told.value, WHOLE);
	ck_assert_uint_eq(told.job, asker->job);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("progress");
	TCase *tcase = tcase_create("progress");

	tcase_add_checked_fixture(tcase, shadow_setup, shadow_teardown);
	tcase_add_test(tcase,
		       initial_replication_counts_up_to_the_whole_disks);
	tcase_add_loop_test(tcase, a_verify_says_how_far_it_is_up_to_all_disks,
			    0, 2);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
