/* SPDX-License-Identifier: Apache-2.0 */
/* Another peer asks for a VM that is somebody's: it gets neither the VM nor what
 * the VM lies in, and hears why. */
#include "guestshadow.h"

#include <stdlib.h>
#include <string.h>

/* What site-a keeps while another site is in its place. */
static struct pair_blob kept[PAIR_KEYS];
static struct sim_storage *kept_storage;

static void change_places(const char *name)
{
	struct pair_blob blobs[PAIR_KEYS];
	struct sim_storage *storage = pair.a.storage;

	if (pair.a.node != NULL)
		pair_stop(&pair, &pair.a);
	memcpy(blobs, pair.a.blobs, sizeof(blobs));
	memcpy(pair.a.blobs, kept, sizeof(kept));
	memcpy(kept, blobs, sizeof(kept));
	pair.a.storage = kept_storage != NULL ? kept_storage :
						sim_storage_new(&pair.a.sim);
	kept_storage = storage;
	pair.a.name = name;
	pair_rights(&pair.b, HVREPL_VERB_ALL);
	pair_start(&pair, &pair.a);
	pair_run(&pair, 3 * SECOND);
}

static void teardown(void)
{
	for (unsigned i = 0; i < PAIR_KEYS; i++)
		free(kept[i].bytes);
	memset(kept, 0, sizeof(kept));
	kept_storage = NULL;
	shadow_teardown();
}

static void enable_refused(const char *words)
{
	int32_t rc = pair_operate(&pair, &pair.a, HVREPL_OPERATION_ENABLE, 0);

	ck_assert_msg(rc == HVREPL_E_DENIED &&
			      strstr(pair.a.job_sentence, words) != NULL,
		      "%d %s", rc, pair.a.job_sentence);
}

static struct hvrepl_vm_status at(struct pair_site *site)
{
	struct hvrepl_vm_status status;

	pair_status(site, &status);
	return status;
}

/* ---- A replica that is being made. ---- */

static void begin_enable(void)
{
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_ENABLE, 0, NULL),
			 HVREPL_OK);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(at(&pair.b).mode, HVREPL_MODE_NONE);
}

static void first_peer_has_it(void)
{
	change_places("site-a");
	pair_run(&pair, 60 * SECOND);
	ck_assert_uint_eq(at(&pair.b).mode, HVREPL_MODE_REPLICA);
	shadow_ok(&pair.a, HVREPL_OPERATION_START_INITIAL);
	shadow_await(&pair.a, HVREPL_STATE_REPLICATING, HVREPL_OWNERSHIP_OWNER);
	shadow_scatter(&pair.a, 3, 10);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}

START_TEST(a_replica_that_is_being_made_is_not_given_to_who_asks_next)
{
	pair.b.holds_jobs = true;
	begin_enable();
	change_places("site-c");
	enable_refused("another peer");
	pair.b.holds_jobs = false;
	pair_do_jobs(&pair.b);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(at(&pair.b).mode, HVREPL_MODE_REPLICA);
	first_peer_has_it();
}
END_TEST

START_TEST(disks_of_a_replica_that_was_not_made_are_not_given_to_who_asks_next)
{
	uint64_t capacity = pair.b.storage->capacity;

	pair.b.storage->capacity = 0;
	begin_enable();
	change_places("site-c");
	pair.b.storage->capacity = capacity;
	enable_refused("another peer");
	ck_assert_uint_eq(at(&pair.b).mode, HVREPL_MODE_NONE);
	/* A node that starts again has forgotten it. */
	pair_stop(&pair, &pair.b);
	pair_start(&pair, &pair.b);
	pair_run(&pair, 60 * SECOND);
	shadow_ok(&pair.a, HVREPL_OPERATION_REMOVE);
	shadow_protect();
}
END_TEST

/* Nothing of the first peer's lies there. */
START_TEST(what_an_enable_left_without_disks_is_given_to_who_asks_next)
{
	struct hvrepl_authorisation entry = HVREPL_AUTHORISATION_INIT;

	entry.peer = "site-a";
	entry.trust_group = "pair";
	entry.verbs = HVREPL_VERB_ALL;
	entry.points_max = 7; /* The VM asks for 8. */
	ck_assert_int_eq(hvrepl_node_authorise(pair.b.node, &entry), HVREPL_OK);
	pair_run(&pair, 3 * SECOND);
	ck_assert_int_eq(pair_operate(&pair, &pair.a, HVREPL_OPERATION_ENABLE,
				      0),
			 HVREPL_E_LIMIT);
	ck_assert_uint_eq(at(&pair.b).mode, HVREPL_MODE_NONE);
	change_places("site-c");
	shadow_protect();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("other_peer");
	TCase *tc = tcase_create("other_peer");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, shadow_setup, teardown);
	tcase_add_test(
		tc, a_replica_that_is_being_made_is_not_given_to_who_asks_next);
	tcase_add_test(
		tc,
		disks_of_a_replica_that_was_not_made_are_not_given_to_who_asks_next);
	tcase_add_test(
		tc, what_an_enable_left_without_disks_is_given_to_who_asks_next);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
