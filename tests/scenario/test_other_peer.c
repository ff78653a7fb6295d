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
	shadow_enable_over_quota();
	ck_assert_uint_eq(at(&pair.b).mode, HVREPL_MODE_NONE);
	change_places("site-c");
	shadow_protect();
}
END_TEST

static void let_in(const char *group, uint32_t verbs)
{
	struct hvrepl_authorisation entry = HVREPL_AUTHORISATION_INIT;

	entry.peer = pair.a.name;
	entry.trust_group = group;
	entry.verbs = verbs;
	ck_assert_int_eq(hvrepl_node_authorise(pair.b.node, &entry), HVREPL_OK);
	pair_run(&pair, 3 * SECOND);
}

START_TEST(who_may_not_enable_is_not_bound_to_what_an_enable_left)
{
	shadow_enable_over_quota();
	change_places("site-c");
	let_in("strangers", HVREPL_VERB_ALL & ~HVREPL_VERB_ENABLE);
	enable_refused("lacks the verb 'enable'");
	ck_assert_str_eq(at(&pair.b).peer_name, "site-a");
	let_in("strangers", HVREPL_VERB_ALL);
	shadow_ok(&pair.a, HVREPL_OPERATION_REMOVE);
	shadow_protect();
	ck_assert_str_eq(at(&pair.b).peer_name, "site-c");
}
END_TEST

/* ---- Another peer of the trust group: its node under another name. ---- */

static void comes_as(const char *name)
{
	pair_stop(&pair, &pair.a);
	pair.a.name = name;
	pair_rights(&pair.b, HVREPL_VERB_ALL); /* Of group "pair". */
	pair_start(&pair, &pair.a);
	/* An owner that is not let in writes after start_wait only. */
	pair_run(&pair, 15 * SECOND);
}

static void restart_replica(void)
{
	pair_stop(&pair, &pair.b);
	pair_start(&pair, &pair.b);
	pair_run(&pair, 60 * SECOND);
}

static void expect_replicating(void)
{
	shadow_scatter(&pair.a, 3, 10);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}

static void expect_refused(void)
{
	uint64_t newest = pair_newest_point(&pair.b);

	shadow_scatter(&pair.a, 3, 10);
	pair_run(&pair, 20 * SECOND);
	ck_assert_uint_eq(pair_newest_point(&pair.b), newest);
	ck_assert_uint_ne(at(&pair.a).reasons & HVREPL_REASON_PEER_REFUSES, 0);
}

static void leave_group(void)
{
	ck_assert_int_eq(hvrepl_vm_set_trust_group(pair.b.node, &pair_vm, "",
						   NULL),
			 HVREPL_OK);
	pair_run(&pair, SECOND);
}

#define FLAG_BOUND 2u
#define FLAG_GROUP 4u

/* The flags of the replica's record: docs/formats.md. */
static uint8_t *record_flags(void)
{
	for (unsigned i = 0; i < PAIR_KEYS; i++)
		if (strncmp(pair.b.blobs[i].key, "vm/", 3) == 0 &&
		    pair.b.blobs[i].length > 8)
			return pair.b.blobs[i].bytes + 4;
	ck_abort_msg("no record of a VM");
	return NULL;
}

START_TEST(a_right_taken_from_a_group_does_not_come_back_by_itself)
{
	shadow_protect();
	comes_as("site-a2");
	expect_replicating(); /* As long as the group has it. */
	comes_as("site-a");
	leave_group();
	pair_link_break(&pair);
	pair_run(&pair, 5 * SECOND);
	expect_replicating();
	comes_as("site-a2");
	expect_refused();
	restart_replica();
	expect_refused();
	comes_as("site-a");
	expect_replicating();
	comes_as("site-a2");
	expect_refused();
}
END_TEST

START_TEST(a_vm_of_an_older_version_joins_its_peers_group_for_good)
{
	shadow_protect();
	leave_group();
	pair_stop(&pair, &pair.b);
	ck_assert_uint_eq(*record_flags(), FLAG_GROUP);
	*record_flags() = 0; /* As it was before there were groups. */
	pair_start(&pair, &pair.b);
	pair_run(&pair, 60 * SECOND);
	expect_replicating();
	ck_assert_uint_eq(*record_flags(), FLAG_GROUP | FLAG_BOUND);
	pair_stop(&pair, &pair.b);
	comes_as("site-a2");
	pair_start(&pair, &pair.b);
	pair_run(&pair, 60 * SECOND);
	expect_replicating();
}
END_TEST

/* The connection is there before the disks are. */
START_TEST(a_group_that_is_decided_before_the_vm_is_open_is_on_record_at_once)
{
	shadow_protect();
	leave_group();
	pair_stop(&pair, &pair.b);
	*record_flags() = 0;
	pair.b.holds_jobs = true;
	pair_start(&pair, &pair.b);
	pair_run(&pair, 5 * SECOND);
	pair_do_jobs(&pair.b);
	pair.b.holds_jobs = false;
	pair_run(&pair, SECOND / 1000);
	ck_assert_uint_eq(*record_flags(), FLAG_GROUP | FLAG_BOUND);
}
END_TEST

START_TEST(a_group_in_a_record_of_an_older_version_counts)
{
	shadow_protect();
	pair_stop(&pair, &pair.b);
	ck_assert_uint_eq(*record_flags(), FLAG_GROUP | FLAG_BOUND);
	*record_flags() = FLAG_BOUND;
	comes_as("site-a2");
	pair_start(&pair, &pair.b);
	pair_run(&pair, 60 * SECOND);
	expect_replicating();
	leave_group();
	restart_replica();
	expect_refused();
}
END_TEST

static int32_t set_group(struct pair_site *site, const char *group,
			 const char *words)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc = hvrepl_vm_set_trust_group(site->node, &pair_vm, group,
					       &error);

	ck_assert_msg(strstr(error.sentence, words) != NULL, "%d %s", rc,
		      error.sentence);
	return rc;
}

START_TEST(a_vm_that_is_not_replicated_is_bound_to_no_group)
{
	ck_assert_int_eq(set_group(&pair.a, "other", "is not replicated"),
			 HVREPL_E_STATE);
	shadow_protect();
	comes_as("site-a2"); /* Of the group that the enable bound it to. */
	expect_replicating();
	ck_assert_int_eq(set_group(&pair.a, "pair", ""), HVREPL_OK);
}
END_TEST

START_TEST(a_vm_that_is_not_open_keeps_its_group)
{
	shadow_protect();
	pair_stop(&pair, &pair.b);
	pair.b.sim.fail_code = HVREPL_E_DISK_IO;
	pair.b.sim.fail_at = pair.b.sim.call_count;
	pair.b.sim.fail_on = true;
	pair_start(&pair, &pair.b);
	pair_run(&pair, SECOND);
	ck_assert_int_eq(set_group(&pair.b, "", "could not be opened"),
			 HVREPL_E_STORAGE_IO);
	pair.b.sim.fail_at = UINT64_MAX;
	pair.b.sim.fail_on = false;
	pair_run(&pair, 60 * SECOND);
	comes_as("site-a2");
	expect_replicating();
}
END_TEST

/* ---- A VM of the other site's own, of the same id. ---- */

static void replica_site_brings_its_own(void)
{
	pair_stop(&pair, &pair.b);
	for (unsigned i = 0; i < PAIR_KEYS; i++) {
		struct pair_blob *blob = &pair.b.blobs[i];

		if (strncmp(blob->key, "vm/", 3) != 0)
			continue;
		free(blob->bytes);
		blob->bytes = NULL;
		blob->length = 0;
		blob->version = 0;
	}
	pair.b.storage = sim_storage_new(&pair.b.sim);
	pair.b.brings_vm = true;
	pair_start(&pair, &pair.b);
	pair_run(&pair, 60 * SECOND);
	ck_assert_uint_eq(at(&pair.b).mode, HVREPL_MODE_NONE);
}

START_TEST(who_enables_a_vm_that_the_other_site_has_itself_hears_so)
{
	replica_site_brings_its_own();
	enable_refused("has a VM of its own by this id");
	shadow_ok(&pair.a, HVREPL_OPERATION_REMOVE);
	ck_assert_uint_eq(at(&pair.a).mode, HVREPL_MODE_NONE);
	ck_assert_uint_eq(at(&pair.b).mode, HVREPL_MODE_NONE);
}
END_TEST

START_TEST(a_replica_lost_to_a_vm_of_the_sites_own_is_known_to_be_gone)
{
	shadow_protect();
	replica_site_brings_its_own();
	ck_assert_uint_ne(at(&pair.a).state, HVREPL_STATE_REPLICATING);
	ck_assert_uint_eq(at(&pair.a).reasons & HVREPL_REASON_PEER_REFUSES, 0);
	shadow_scatter(&pair.a, 3, 10); /* Production goes on. */
	shadow_ok(&pair.a, HVREPL_OPERATION_REMOVE);
	ck_assert_uint_eq(at(&pair.a).mode, HVREPL_MODE_NONE);
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
	tcase_add_test(tc,
		       who_may_not_enable_is_not_bound_to_what_an_enable_left);
	tcase_add_test(tc,
		       a_right_taken_from_a_group_does_not_come_back_by_itself);
	tcase_add_test(tc,
		       a_vm_of_an_older_version_joins_its_peers_group_for_good);
	tcase_add_test(
		tc,
		a_group_that_is_decided_before_the_vm_is_open_is_on_record_at_once);
	tcase_add_test(tc, a_group_in_a_record_of_an_older_version_counts);
	tcase_add_test(tc, a_vm_that_is_not_replicated_is_bound_to_no_group);
	tcase_add_test(tc, a_vm_that_is_not_open_keeps_its_group);
	tcase_add_test(
		tc, who_enables_a_vm_that_the_other_site_has_itself_hears_so);
	tcase_add_test(
		tc,
		a_replica_lost_to_a_vm_of_the_sites_own_is_known_to_be_gone);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
