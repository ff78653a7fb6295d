/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions that end where it is least expected: no VM keeps what is gone, and each peer
 * is connected to again. */
#include "driver/node.h"
#include "driver/vm.h"
#include "pair.h"

#include <string.h>

#define SECOND 1000000000ull
#define VMS 3u

static struct pair pair;

static void setup(void)
{
	pair_enable_more(&pair, VMS);
}

static void teardown(void)
{
	pair_free(&pair);
	ck_assert_int_eq(pair.a.env.alloc_live, 0);
	ck_assert_int_eq(pair.b.env.alloc_live, 0);
}

static bool is_there(const struct pair_site *site,
		     const struct hvri_session *session)
{
	const struct hvri_session *s = site->node->sessions;

	while (s != NULL && s != session)
		s = s->next;
	return s != NULL;
}

/* With a session each, as far as the node has one. */
static unsigned connected(const struct pair_site *site)
{
	unsigned count = 0;

	for (const struct hvri_vm *vm = site->node->vms; vm != NULL;
	     vm = vm->next) {
		if (vm->session == NULL)
			continue;
		ck_assert(is_there(site, vm->session));
		count++;
	}
	return count;
}

/* ---- Without memory. ---- */

static void comes_up_without_memory(struct pair_site *site, long n)
{
	pair_link(&pair, false);
	pair_run(&pair, 5 * SECOND);
	pair_link(&pair, true);
	site->env.alloc_fail_on = true;
	site->env.alloc_fail_at = n;
	for (unsigned i = 0; i < 30; i++) {
		pair_run(&pair, SECOND / 10);
		(void)connected(site);
	}
	site->env.alloc_fail_at = -1;
	site->env.alloc_fail_on = false;
	for (unsigned i = 0; i < 200 && connected(site) < VMS; i++)
		pair_run(&pair, SECOND);
	ck_assert_uint_eq(connected(&pair.a), VMS);
	ck_assert_uint_eq(connected(&pair.b), VMS);
}

/* Neither a message nor a BYE can be said: it is closed while the VMs come to it. */
START_TEST(a_session_that_ends_as_it_comes_up_is_left_by_each_vm)
{
	for (long n = 0; n < 60; n++)
		comes_up_without_memory(_i == 0 ? &pair.a : &pair.b, n);
}
END_TEST

/* ---- Attempts. ---- */

static unsigned attempts;

static int32_t begins(void *user)
{
	(void)user;
	attempts++;
	return HVREPL_OK;
}

static void knock(void)
{
	pair_intrude(&pair, &pair.a, "slow-site", false, "no hello", 8);
	pair_run(&pair, 120 * SECOND);
}

/* Somebody who proves to be it comes and goes: ours is on its way all the time, and how
 * it ends decides. */
START_TEST(there_is_one_attempt_at_a_time)
{
	struct hvrepl_peer_config slow = HVREPL_PEER_CONFIG_INIT;

	attempts = 0;
	slow.name = "slow-site";
	slow.connect = begins;
	ck_assert_int_eq(hvrepl_node_add_peer(pair.a.node, &slow, NULL),
			 HVREPL_OK);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(attempts, 1);
	for (unsigned i = 0; i < 3; i++)
		knock();
	ck_assert_uint_eq(attempts, 1);
	for (unsigned i = 2; i < 5; i++) {
		ck_assert_int_eq(hvrepl_node_connect_failed(
					 pair.a.node, "slow-site",
					 HVREPL_E_UNAVAILABLE),
				 HVREPL_OK);
		pair_run(&pair, 120 * SECOND);
		ck_assert_uint_eq(attempts, i);
		knock();
	}
	ck_assert_uint_eq(attempts, 4);
}
END_TEST

/* ---- Under another name. ---- */

static char told[HVREPL_PEER_NAME_MAX + 1]; /* By the last SESSION. */

static void seen(struct pair_site *site, const struct hvrepl_event *event)
{
	if (site == &pair.a && event->type == HVREPL_EVENT_SESSION)
		memcpy(told, event->actor, sizeof(told));
}

static bool is_up(void)
{
	struct hvrepl_node_status status = HVREPL_NODE_STATUS_INIT;

	ck_assert_int_eq(hvrepl_node_get_status(pair.a.node, &status),
			 HVREPL_OK);
	return status.session_count > 0 && connected(&pair.a) == VMS;
}

/* The certificate over there was of another host, or the address led elsewhere: when
 * that is mended, nobody has to start this site again. */
START_TEST(a_peer_that_proved_to_be_another_is_tried_again)
{
	const char *name = pair.b.name;

	pair.seen = seen;
	pair_link(&pair, false);
	pair_run(&pair, 5 * SECOND);
	pair.b.name = "site-x";
	pair_link(&pair, true);
	pair_run(&pair, 120 * SECOND);
	ck_assert(!is_up());
	ck_assert_str_eq(told, ""); /* It never was up. */
	pair.b.name = name;
	pair_run(&pair, 120 * SECOND);
	ck_assert(is_up());
	ck_assert_str_eq(told, name);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session_ends");
	TCase *tc = tcase_create("ends");

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(
		tc, a_session_that_ends_as_it_comes_up_is_left_by_each_vm, 0, 2);
	tcase_add_test(tc, there_is_one_attempt_at_a_time);
	tcase_add_test(tc, a_peer_that_proved_to_be_another_is_tried_again);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
