/* SPDX-License-Identifier: Apache-2.0 */
/* Suspend and resume at every step of a cut, at either site, with and without a
 * connection lost: replication always goes on, within seconds. */
#include "guestshadow.h"
#include "sites.h"

#include <stdlib.h>
#include <string.h>

/* ---- The step alone: one event after the other. ---- */

static struct sites world;

/* What happens between suspend and resume. */
enum between {
	NOTHING,      /* Resumed at once. */
	ONE_EVENT,
	ALL_EVENTS,
	LINK_LOST,    /* After it, and back before resume. */
	LINK_LOST_FIRST, /* Just before it. */
	LINK_BACK_LATE,  /* Back after resume. */
	CRASH,        /* Of the site that suspended. */
	PEER_CRASH,
	BETWEEN_COUNT
};

static void happens(uint32_t between, uint32_t site)
{
	switch (between) {
	case ONE_EVENT:
		sites_settle(&world, 1);
		break;
	case ALL_EVENTS:
		sites_settle(&world, 4000);
		break;
	case LINK_LOST:
		sites_cut_link(&world);
		sites_settle(&world, 2);
		sites_connect(&world);
		break;
	case LINK_BACK_LATE:
		sites_cut_link(&world);
		break;
	case CRASH:
	case PEER_CRASH:
		site = between == CRASH ? site : !site;
		sites_crash(&world, site);
		sites_start(&world, site);
		sites_connect(&world);
		break;
	default:
		break;
	}
}

/* A cut begins at A; `step` things happen; then the story. Whether the cut was
 * over before that. */
static bool story(uint32_t site, uint32_t step, uint32_t between, bool random)
{
	struct hvri_event event = { .type = HVRI_EVENT_TIMER };
	bool over = false;

	sites_init(&world, 1 + step);
	sites_replicating(&world);
	ck_assert(sites_write(&world, 0));
	event.u.timer = HVRI_TIMER_CYCLE;
	world.site[0].timers[HVRI_TIMER_CYCLE] = 0;
	sites_feed(&world, 0, &event);
	for (uint32_t i = 0; i < step && random; i++)
		over |= !sites_any(&world);
	if (!random)
		sites_settle(&world, step);
	over |= world.site[0].queue_count + world.site[1].queue_count +
			world.wire_count == 0;
	if (between == LINK_LOST_FIRST) {
		sites_cut_link(&world);
		sites_connect(&world);
	}
	ck_assert_int_eq(sites_operate(&world, site, HVREPL_OPERATION_SUSPEND, 0,
				       NULL),
			 HVREPL_OK);
	happens(between, site);
	(void)sites_write(&world, 0);
	(void)sites_operate(&world, site, HVREPL_OPERATION_RESUME, 0, NULL);
	if (between == LINK_BACK_LATE)
		sites_connect(&world);
	/* Ten cycles: nothing that is held back for a minute. */
	sites_wait(&world, 10 * SECOND);
	ck_assert_msg(sites_is_replicating(&world) && world.broken == NULL,
		      "site %u, step %u, between %u, random %d: A %u, B %u, %s",
		      site, step, between, random, sites_state(&world, 0),
		      sites_state(&world, 1),
		      world.broken != NULL ? world.broken : "stuck");
	sites_free(&world);
	return over;
}

START_TEST(suspend_at_any_step_of_a_cut_is_no_dead_end)
{
	uint32_t site = (uint32_t)_i % 2, between = (uint32_t)_i / 2;
	uint32_t step = 0;

	while (!story(site, step, between, false))
		step++;
	ck_assert_uint_gt(step, 5);
}
END_TEST

START_TEST(nor_in_any_order_of_events)
{
	uint32_t site = (uint32_t)_i % 2, between = (uint32_t)_i / 2;

	for (uint32_t step = 0; step < 60; step++)
		(void)story(site, step % 20, between, true);
}
END_TEST

/* The owner is fenced for the final cut, which will not arrive. */
START_TEST(a_handover_does_not_wait_for_a_site_that_has_suspended)
{
	bool given = false, kept = false;

	for (uint32_t step = 0; step < 40; step++) {
		sites_init(&world, 1 + step);
		sites_replicating(&world);
		ck_assert(sites_write(&world, 0));
		ck_assert_int_eq(sites_operate(&world, 0,
					       HVREPL_OPERATION_PLANNED, 0,
					       NULL),
				 HVREPL_OK);
		sites_settle(&world, step);
		(void)sites_operate(&world, 1, HVREPL_OPERATION_SUSPEND, 0,
				    NULL);
		sites_wait(&world, 20 * SECOND);
		ck_assert_msg(world.broken == NULL, "%s", world.broken);
		/* Exactly one of them has the VM. */
		ck_assert_msg(sites_write(&world, 0) != sites_write(&world, 1),
			      "step %u: nobody may write", step);
		given |= world.site[1].gate;
		kept |= world.site[0].gate;
		sites_free(&world);
	}
	ck_assert(given && kept);
}
END_TEST

/* ---- Two whole nodes: a cut is stopped while its point is being written. */

static unsigned turns_left;

static bool turned(struct pair *p)
{
	(void)p;
	return turns_left-- == 0;
}

static bool in_flight(struct pair *p)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	(void)p;
	pair_status(&pair.a, &status);
	return status.last_cut > status.last_point;
}

static void turns(unsigned count)
{
	turns_left = count;
	(void)pair_until(&pair, 5 * SECOND, turned);
}

/* _i: site of the suspend, what is lost meanwhile. */
START_TEST(two_nodes_go_on_wherever_a_cut_was_when_it_was_suspended)
{
	struct pair_site *at = _i % 2 == 0 ? &pair.a : &pair.b;
	int what = _i / 2;
	unsigned last = getenv("HVREPL_LONG") != NULL ? 90 : 24;

	shadow_protect();
	for (unsigned step = (unsigned)_i / 2; step < last; step += 3) {
		shadow_scatter(&pair.a, 10 + step, 3);
		ck_assert(pair_until(&pair, 60 * SECOND, in_flight));
		turns(step);
		if (what == 1)
			pair_link(&pair, false);
		if (what != 3)
			shadow_ok(at, HVREPL_OPERATION_SUSPEND);
		turns(step % 7);
		if (what >= 2)
			pair_link(&pair, false);
		turns(step % 5);
		pair_link(&pair, true);
		if (what != 3)
			shadow_ok(at, HVREPL_OPERATION_RESUME);
		shadow_scatter(&pair.a, 1000 + step, 3);
		pair_run(&pair, 8 * SECOND);
		shadow_expect_point(&pair.b, 0);
	}
}
END_TEST

/* ---- Much more than the credit of one reception is on its way. ---- */

#define MIB (1u << 20)
#define DATA 100u /* MiB. */

static bool beyond_its_first_credit(struct pair *p)
{
	return p->moved > 60 * MIB;
}

static bool has_point(struct pair *p)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	pair_status(&p->b, &status);
	return status.last_point > 0;
}

START_TEST(a_long_transfer_goes_on_after_it_was_suspended_for_a_moment)
{
	static uint8_t wrote[MIB], seen[MIB];
	uint64_t random = 5;

	pair_init_sparse(&pair, 7, (DATA + 1) * MIB);
	pair_start(&pair, &pair.b);
	pair_start(&pair, &pair.a);
	pair_run(&pair, SECOND);
	for (uint64_t i = 0; i < DATA; i++) {
		test_fill(wrote, MIB, test_random(&random));
		ck_assert_int_eq(pair_write(&pair.a, 0, i * MIB, wrote, MIB),
				 HVREPL_OK);
	}
	shadow_ok(&pair.a, HVREPL_OPERATION_ENABLE);
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_START_INITIAL, 0,
				  NULL),
			 HVREPL_OK);
	ck_assert(pair_until(&pair, 60 * SECOND, beyond_its_first_credit));
	ck_assert(!has_point(&pair));
	shadow_ok(&pair.b, HVREPL_OPERATION_SUSPEND);
	shadow_ok(&pair.b, HVREPL_OPERATION_RESUME);
	ck_assert(pair_until(&pair, 20 * SECOND, has_point));
	/* It went on from where it was. */
	ck_assert_uint_lt(pair.moved, (DATA + 40) * MIB);
	shadow_ok(&pair.b, HVREPL_OPERATION_PLANNED);
	random = 5;
	for (uint64_t i = 0; i < DATA; i++) {
		test_fill(wrote, MIB, test_random(&random));
		ck_assert_int_eq(pair_read(&pair.b, 0, i * MIB, seen, MIB),
				 HVREPL_OK);
		ck_assert_int_eq(memcmp(wrote, seen, MIB), 0);
	}
	pair_free(&pair);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("suspend");
	TCase *steps = tcase_create("steps");
	TCase *nodes = tcase_create("nodes");
	TCase *much = tcase_create("much");

	tcase_add_loop_test(steps, suspend_at_any_step_of_a_cut_is_no_dead_end,
			    0, 2 * BETWEEN_COUNT);
	tcase_add_loop_test(steps, nor_in_any_order_of_events, 0,
			    2 * BETWEEN_COUNT);
	tcase_add_test(steps,
		       a_handover_does_not_wait_for_a_site_that_has_suspended);
	suite_add_tcase(suite, steps);
	tcase_add_checked_fixture(nodes, shadow_setup, shadow_teardown);
	tcase_add_loop_test(nodes,
			    two_nodes_go_on_wherever_a_cut_was_when_it_was_suspended,
			    0, 7);
	suite_add_tcase(suite, nodes);
	tcase_add_test(much,
		       a_long_transfer_goes_on_after_it_was_suspended_for_a_moment);
	suite_add_tcase(suite, much);
	return test_run(suite);
}
