/* SPDX-License-Identifier: Apache-2.0 */
/* Another peer asks for a VM that is somebody's: it gets neither the VM nor what
 * the VM lies in, and hears why. */
#include "driver/vm.h"
#include "guestshadow.h"

#include <hvrepl/audit.h>
#include <stdio.h>
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

static void expect_no_vm(void)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	ck_assert_int_eq(hvrepl_vm_get_status(pair.b.node, &pair_vm, &status),
			 HVREPL_E_NOT_FOUND);
}

/* Nothing of the first peer's lies there. */
START_TEST(a_vm_whose_enable_was_refused_is_left_to_who_asks_next)
{
	shadow_enable_over_quota();
	expect_no_vm();
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

START_TEST(who_may_not_enable_gets_no_vm_that_was_refused_to_another)
{
	shadow_enable_over_quota();
	change_places("site-c");
	let_in("strangers", HVREPL_VERB_ALL & ~HVREPL_VERB_ENABLE);
	enable_refused("lacks the verb 'enable'");
	expect_no_vm();
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

/* ---- Two of the trust group at once, each of which says it is that node. ---- */

static char denied[HVREPL_SENTENCE_MAX]; /* The last at site-b. */
static unsigned denials, ends_without_session;
static char of_verdict[HVREPL_PEER_NAME_MAX + 1]; /* Whose doing the last one was. */

static void seen(struct pair_site *site, const struct hvrepl_event *event)
{
	if (site != &pair.b || event->type != HVREPL_EVENT_AUDIT)
		return;
	ends_without_session += strstr(event->sentence, "got no session") !=
				NULL;
	if (event->value == HVREPL_AUDIT_OWNERSHIP)
		snprintf(of_verdict, sizeof(of_verdict), "%s", event->actor);
	if (event->value != HVREPL_AUDIT_DENIED)
		return;
	snprintf(denied, sizeof(denied), "%s", event->sentence);
	denials++;
}

static void also_let_in(struct pair_site *site, const char *peer,
			const char *group)
{
	struct hvrepl_authorisation entry = HVREPL_AUTHORISATION_INIT;

	entry.peer = peer;
	entry.trust_group = group;
	entry.verbs = HVREPL_VERB_ALL;
	ck_assert_int_eq(hvrepl_node_authorise(site->node, &entry), HVREPL_OK);
}

/* One more session between the two nodes, as these identities. */
static void connect_as(const char *a, const char *b)
{
	pair.a.name = a;
	pair.b.name = b;
	ck_assert_int_eq(pair_connect(&pair.a), HVREPL_OK);
	pair.a.name = "site-a";
	pair.b.name = "site-b";
	pair_run(&pair, SECOND);
}

/* Site-c is of site-a's trust group at site-b, and says that it is its node; site-a
 * has nothing to do with it. */
static void site_c_waits(void)
{
	struct hvrepl_node_status node = HVREPL_NODE_STATUS_INIT;

	denials = ends_without_session = 0;
	pair.seen = seen;
	shadow_protect();
	also_let_in(&pair.a, "site-d", "strangers");
	also_let_in(&pair.b, "site-c", "pair");
	connect_as("site-c", "site-d");
	ck_assert_int_eq(hvrepl_node_get_status(pair.b.node, &node), HVREPL_OK);
	ck_assert_uint_eq(node.session_count, 2);
}

static const char *who_has_it(void)
{
	struct hvri_vm *vm = hvri_node_find_vm(pair.b.node, &pair_vm);

	return vm->session == NULL ? "nobody" : vm->session->link.info.peer;
}

static void expect_denied(const char *who, const char *holder)
{
	char start[64], end[64];

	snprintf(start, sizeof(start), "denied %s: VM ", who);
	snprintf(end, sizeof(end), " is with %s, of its trust group", holder);
	ck_assert_uint_eq(denials, 1);
	ck_assert_msg(strncmp(denied, start, strlen(start)) == 0 &&
			      strstr(denied, end) != NULL, "%s", denied);
}

START_TEST(who_comes_second_as_a_node_does_not_get_its_vm_and_is_noted)
{
	site_c_waits();
	ck_assert_str_eq(who_has_it(), "site-a");
	expect_denied("site-c", "site-a");
	expect_replicating();
}
END_TEST

START_TEST(who_waits_as_a_node_does_not_get_its_vm_when_that_reconnects)
{
	site_c_waits();
	for (unsigned i = 0; i < 3; i++) {
		connect_as("site-a", "site-b");
		ck_assert_str_eq(who_has_it(), "site-a");
	}
	/* Site-c heard so once, and what was replaced had been a session. */
	expect_denied("site-c", "site-a");
	ck_assert_uint_eq(ends_without_session, 0);
	expect_replicating();
}
END_TEST

START_TEST(a_vm_comes_to_the_peer_that_it_is_bound_to_before_others_of_its_group)
{
	site_c_waits();
	ck_assert_int_eq(set_group(&pair.b, "elsewhere", ""), HVREPL_OK);
	pair_run(&pair, SECOND);
	ck_assert_str_eq(who_has_it(), "nobody");
	ck_assert_int_eq(set_group(&pair.b, "pair", ""), HVREPL_OK);
	ck_assert_str_eq(who_has_it(), "site-a");
	expect_replicating();
}
END_TEST

/* The group decides: who is of it may have it while the other is away. It keeps it
 * over its own reconnects, and that the other one finds it taken is noted. */
START_TEST(a_peer_that_comes_back_and_finds_its_vm_taken_is_noted)
{
	site_c_waits();
	pair_rights(&pair.b, 0);
	pair_run(&pair, SECOND);
	ck_assert_str_eq(who_has_it(), "site-c");
	pair_rights(&pair.b, HVREPL_VERB_ALL);
	denials = 0;
	pair_run(&pair, 20 * SECOND);
	expect_denied("site-a", "site-c");
	connect_as("site-c", "site-d");
	ck_assert_str_eq(who_has_it(), "site-c");
	ck_assert_uint_eq(denials, 1);
	/* Out of the group, and the VM is site-a's again. */
	also_let_in(&pair.b, "site-c", "strangers");
	pair_run(&pair, 10 * SECOND);
	ck_assert_str_eq(who_has_it(), "site-a");
	expect_replicating();
}
END_TEST

/* What its message came to is told when it is durable, and who had the VM by then has
 * nothing to do with it. */
START_TEST(a_verdict_is_told_with_who_brought_it_about)
{
	struct pair_site *b = &pair.b;

	pair.seen = seen;
	shadow_protect();
	pair_stop(&pair, &pair.a);
	shadow_ok(b, HVREPL_OPERATION_UNPLANNED);
	pair.a.name = "site-a2";
	pair_rights(b, HVREPL_VERB_ALL);
	strcpy(of_verdict, "nothing yet");
	b->put_fails_at = b->puts;
	pair_start(&pair, &pair.a);
	for (unsigned i = 0; i < 10000 && b->puts == b->put_fails_at; i++)
		pair_run(&pair, SECOND / 1000);
	ck_assert_uint_eq(b->puts, b->put_fails_at + 1);
	ck_assert_str_eq(of_verdict, "nothing yet");
	pair_link(&pair, false);
	pair_run(&pair, SECOND / 1000);
	ck_assert_str_eq(who_has_it(), "nobody");
	pair_run(&pair, SECOND);
	ck_assert_str_eq(of_verdict, "site-a2");
}
END_TEST

static uint64_t third_point(void)
{
	const struct hvrepl_uuid vm = { { 0xcc, 1 } };
	struct hvrepl_point point = HVREPL_POINT_INIT;

	for (uint32_t i = 0; hvrepl_vm_get_point(pair.b.node, &vm, i, &point) ==
			     HVREPL_OK; i++)
		;
	return point.number;
}

/* Its application is slower than its connections. */
START_TEST(a_vm_that_is_added_to_a_site_with_sessions_comes_to_its_peers)
{
	uint64_t before;

	pair_add_third(&pair, "site-c", 99);
	pair_start(&pair, pair.c);
	pair_run(&pair, SECOND);
	pair_add_vm(pair.c, 1);
	ck_assert_int_eq(pair_operate_more(&pair, pair.c, 1,
					   HVREPL_OPERATION_ENABLE), HVREPL_OK);
	ck_assert_int_eq(pair_operate_more(&pair, pair.c, 1,
					   HVREPL_OPERATION_START_INITIAL),
			 HVREPL_OK);
	pair_run(&pair, 5 * SECOND);
	pair_stop(&pair, pair.c);
	pair_start(&pair, pair.c);
	pair_run(&pair, 5 * SECOND);
	before = third_point();
	ck_assert_uint_gt(before, 0);
	pair_add_vm(pair.c, 1);
	pair_run(&pair, 20 * SECOND);
	ck_assert_uint_gt(third_point(), before);
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

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, shadow_setup, teardown);
	tcase_add_test(
		tc, a_replica_that_is_being_made_is_not_given_to_who_asks_next);
	tcase_add_test(
		tc,
		disks_of_a_replica_that_was_not_made_are_not_given_to_who_asks_next);
	tcase_add_test(
		tc, a_vm_whose_enable_was_refused_is_left_to_who_asks_next);
	tcase_add_test(tc,
		       who_may_not_enable_gets_no_vm_that_was_refused_to_another);
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
		tc,
		who_comes_second_as_a_node_does_not_get_its_vm_and_is_noted);
	tcase_add_test(
		tc,
		who_waits_as_a_node_does_not_get_its_vm_when_that_reconnects);
	tcase_add_test(
		tc,
		a_vm_comes_to_the_peer_that_it_is_bound_to_before_others_of_its_group);
	tcase_add_test(tc,
		       a_peer_that_comes_back_and_finds_its_vm_taken_is_noted);
	tcase_add_test(tc, a_verdict_is_told_with_who_brought_it_about);
	tcase_add_test(
		tc,
		a_vm_that_is_added_to_a_site_with_sessions_comes_to_its_peers);
	tcase_add_test(
		tc, who_enables_a_vm_that_the_other_site_has_itself_hears_so);
	tcase_add_test(
		tc,
		a_replica_lost_to_a_vm_of_the_sites_own_is_known_to_be_gone);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
