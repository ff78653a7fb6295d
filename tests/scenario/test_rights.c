/* SPDX-License-Identifier: Apache-2.0 */
/* Authorisation entries: who may do what, of which VM, how much of it; and what
 * is said to who may not. */
#include "driver/node.h"
#include "guestshadow.h"

#include <stdio.h>
#include <string.h>

#define ALL_BUT(verb) (HVREPL_VERB_ALL & ~(uint32_t)(verb))

static char audit[HVREPL_SENTENCE_MAX]; /* The last of either site. */
static unsigned audits, sessions_down, sessions_up;
static unsigned up_at_b; /* Of these. */
static char proved[2][HVREPL_SENTENCE_MAX]; /* The last of each. */
static struct hvrepl_uuid audit_vm; /* What it was about. */

static void seen(struct pair_site *site, const struct hvrepl_event *event)
{
	if (event->type == HVREPL_EVENT_AUDIT &&
	    event->value == HVREPL_AUDIT_DENIED) {
		ck_assert_int_eq(event->code, HVREPL_E_DENIED);
		snprintf(audit, sizeof(audit), "%s", event->sentence);
		audit_vm = event->vm;
		audits++;
	}
	if (event->type == HVREPL_EVENT_SESSION && event->value == 0)
		sessions_down++;
	if (event->type == HVREPL_EVENT_SESSION && event->value == 1) {
		sessions_up++;
		up_at_b += site == &pair.b;
	}
	if (event->type == HVREPL_EVENT_AUDIT &&
	    event->value == HVREPL_AUDIT_AUTHENTICATION)
		snprintf(proved[site == &pair.b], sizeof(proved[0]), "%s",
			 event->sentence);
}

static void setup(void)
{
	audits = sessions_down = 0;
	audit[0] = 0;
	shadow_setup();
	pair.seen = seen;
}

static void entry_at(struct pair_site *site,
		     const struct hvrepl_authorisation *entry)
{
	ck_assert_int_eq(hvrepl_node_authorise(site->node, entry), HVREPL_OK);
	pair_run(&pair, 3 * SECOND); /* Sessions come back. */
}

static void rights(struct pair_site *site, uint32_t verbs)
{
	pair_rights(site, verbs);
	pair_run(&pair, 3 * SECOND);
}

static void expect_denied(struct pair_site *site, uint32_t operation,
			  const char *words)
{
	int32_t rc = pair_operate(&pair, site, operation, 0);

	ck_assert_msg(rc == HVREPL_E_DENIED && strstr(site->job_sentence, words),
		      "%d %s", rc, site->job_sentence);
}

static bool here(struct pair_site *site)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	return hvrepl_vm_get_status(site->node, &pair_vm, &status) == HVREPL_OK;
}

START_TEST(without_an_entry_there_is_no_session_and_it_is_said_why)
{
	struct hvrepl_authorisation_status status =
		HVREPL_AUTHORISATION_STATUS_INIT;
	struct hvrepl_node_status node = HVREPL_NODE_STATUS_INIT;

	rights(&pair.b, 0);
	ck_assert_uint_gt(sessions_down, 0);
	ck_assert_int_eq(hvrepl_node_get_status(pair.b.node, &node), HVREPL_OK);
	ck_assert_uint_eq(node.session_count, 0);
	ck_assert_msg(strstr(audit, "denied site-a: ") &&
			      strstr(audit, "no authorisation entry of site "
					    "site-b names site-a"),
		      "%s", audit);
	ck_assert_mem_eq(&audit_vm, &(struct hvrepl_uuid){ { 0 } },
			 sizeof(audit_vm)); /* Of no VM. */
	ck_assert_int_eq(hvrepl_node_get_authorisation(pair.b.node, "site-a",
						       &status),
			 HVREPL_E_NOT_FOUND);
	ck_assert_uint_eq(status.verbs, 0);
	rights(&pair.b, HVREPL_VERB_ALL);
	pair_run(&pair, 10 * SECOND); /* Who was denied pauses longer each time. */
	ck_assert_int_eq(hvrepl_node_get_authorisation(pair.b.node, "SITE-A",
						       &status),
			 HVREPL_OK);
	ck_assert_uint_eq(status.verbs, HVREPL_VERB_ALL);
	ck_assert_str_eq(status.entry, "site-a");
	ck_assert_ptr_nonnull(strstr(status.sentence, "allows enable, receive"));
	shadow_protect();
}
END_TEST

/* Neither side takes the session for one that stands, whoever it is that denies it,
 * and both note it. */
START_TEST(a_session_that_is_denied_was_never_up)
{
	struct pair_site *denies = _i == 0 ? &pair.a : &pair.b;
	struct pair_site *other = pair_other(denies);

	rights(denies, 0);
	ck_assert_uint_gt(sessions_down, 0);
	sessions_up = sessions_down = 0;
	audits = 0;
	pair_run(&pair, 20 * SECOND); /* It tries again and again. */
	ck_assert_uint_gt(sessions_down, 2);
	ck_assert_uint_eq(sessions_up, 0);
	ck_assert_uint_gt(audits, 0);
	ck_assert_msg(strstr(proved[other == &pair.b],
			     "got no session: no authorisation entry names you") !=
			      NULL, "%s", proved[other == &pair.b]);
	rights(denies, HVREPL_VERB_ALL);
	pair_run(&pair, 60 * SECOND);
	ck_assert_uint_gt(sessions_up, 0);
}
END_TEST

static enum hvri_link_state newest_at_b(void)
{
	const struct hvri_session *session = pair.b.node->sessions;

	return session == NULL ? HVRI_LINK_CLOSED : session->link.state;
}

/* Whose HELLO was good is asked for its entry again when it has proved that it is no
 * other's: no session that is up would be looked at. */
START_TEST(an_entry_that_goes_while_a_session_is_made_lets_nobody_in)
{
	pair.delay_ns[0] = pair.delay_ns[1] = SECOND / 10;
	pair_link_break(&pair);
	for (unsigned i = 0;
	     i < 20000 && newest_at_b() != HVRI_LINK_BINDER_WAIT; i++)
		pair_run(&pair, SECOND / 1000);
	ck_assert_int_eq(newest_at_b(), HVRI_LINK_BINDER_WAIT);
	up_at_b = audits = 0;
	pair_rights(&pair.b, 0);
	ck_assert_int_eq(newest_at_b(), HVRI_LINK_BINDER_WAIT);
	pair_run(&pair, SECOND / 2);
	ck_assert_uint_eq(up_at_b, 0);
	ck_assert_uint_eq(audits, 1);
	ck_assert_msg(strncmp(audit, "denied site-a: ", 15) == 0, "%s", audit);
	rights(&pair.b, HVREPL_VERB_ALL);
	pair_run(&pair, 60 * SECOND);
	ck_assert_uint_gt(up_at_b, 0);
}
END_TEST

static void also_authorised(struct pair_site *site, const char *peer)
{
	struct hvrepl_authorisation entry = HVREPL_AUTHORISATION_INIT;

	entry.peer = peer;
	entry.verbs = HVREPL_VERB_ALL;
	ck_assert_int_eq(hvrepl_node_authorise(site->node, &entry), HVREPL_OK);
}

/* What node it is, a peer says by itself. */
START_TEST(nobody_ends_a_session_by_saying_that_he_is_its_node)
{
	struct hvrepl_node_status node = HVREPL_NODE_STATUS_INIT;
	uint64_t point;

	shadow_protect();
	also_authorised(&pair.a, "site-d");
	also_authorised(&pair.b, "site-c");
	sessions_down = 0;
	/* The same two nodes, each with another identity. */
	pair.a.name = "site-c";
	pair.b.name = "site-d";
	ck_assert_int_eq(pair_connect(&pair.a), HVREPL_OK);
	pair.a.name = "site-a";
	pair.b.name = "site-b";
	pair_run(&pair, SECOND);
	ck_assert_int_eq(hvrepl_node_get_status(pair.b.node, &node), HVREPL_OK);
	ck_assert_uint_eq(node.session_count, 2);
	ck_assert_uint_eq(sessions_down, 0);
	shadow_scatter(&pair.a, 3, 10);
	point = shadow_next_point(&pair.a, &pair.b);
	shadow_expect_point(&pair.b, point);
	/* Theirs goes on when the other one is gone. */
	pair_link_break(&pair);
	pair_run(&pair, 10 * SECOND);
	shadow_scatter(&pair.a, 4, 10);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

START_TEST(each_refusal_names_the_entry_and_the_verb_that_it_lacks)
{
	rights(&pair.b, ALL_BUT(HVREPL_VERB_ENABLE));
	expect_denied(&pair.a, HVREPL_OPERATION_ENABLE,
		      "entry 'site-a' lacks the verb 'enable'");
	ck_assert(!here(&pair.b) || shadow_status(&pair.b).mode == HVREPL_MODE_NONE);
	rights(&pair.b, HVREPL_VERB_ALL);
	shadow_ok(&pair.a, HVREPL_OPERATION_REMOVE);
	shadow_protect();
	rights(&pair.a, ALL_BUT(HVREPL_VERB_VERIFY));
	expect_denied(&pair.b, HVREPL_OPERATION_VERIFY, "");
	ck_assert_msg(strstr(audit, "denied site-b: verify"), "%s", audit);
	ck_assert_mem_eq(&audit_vm, &pair_vm, sizeof(audit_vm));
	rights(&pair.a, HVREPL_VERB_ALL);
	shadow_ok(&pair.b, HVREPL_OPERATION_VERIFY);
}
END_TEST

/* Not at the next session: what is under way ends. */
START_TEST(a_verb_that_is_taken_away_ends_what_is_under_way)
{
	uint64_t newest, received;

	shadow_protect();
	newest = pair_newest_point(&pair.b);
	sessions_down = 0;
	pair_rights(&pair.b, ALL_BUT(HVREPL_VERB_RECEIVE));
	pair_run(&pair, SECOND / 10);
	ck_assert_uint_gt(sessions_down, 0);
	received = shadow_status(&pair.b).received_bytes;
	shadow_scatter(&pair.a, 3, 40);
	pair_run(&pair, 20 * SECOND);
	ck_assert_uint_eq(pair_newest_point(&pair.b), newest);
	ck_assert_uint_eq(shadow_status(&pair.b).received_bytes, received);
	ck_assert_uint_eq(shadow_status(&pair.a).state, HVREPL_STATE_ERROR);
	ck_assert_msg(strstr(audit, "denied site-a: receive"), "%s", audit);
	shadow_expect_disks(&pair.a); /* Production goes on. */
	/* More is no reason to end a session. */
	sessions_down = 0;
	pair_rights(&pair.b, HVREPL_VERB_ALL);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(sessions_down, 0);
	shadow_ok(&pair.a, HVREPL_OPERATION_RESUME);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

/* The session in which it is put right begins while the error stands. */
START_TEST(initial_replication_that_was_denied_goes_on_when_it_is_resumed)
{
	shadow_scatter(&pair.a, 3, 10);
	shadow_ok(&pair.a, HVREPL_OPERATION_ENABLE);
	rights(&pair.b, ALL_BUT(HVREPL_VERB_RECEIVE));
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_START_INITIAL, 0,
				  NULL),
			 HVREPL_OK);
	pair_run(&pair, 5 * SECOND);
	ck_assert_uint_eq(shadow_status(&pair.a).state, HVREPL_STATE_ERROR);
	pair_rights(&pair.b, HVREPL_VERB_ALL);
	pair_link_break(&pair);
	pair_run(&pair, 30 * SECOND);
	ck_assert_uint_eq(shadow_status(&pair.a).state, HVREPL_STATE_ERROR);
	shadow_ok(&pair.a, HVREPL_OPERATION_RESUME);
	shadow_await(&pair.a, HVREPL_STATE_REPLICATING, HVREPL_OWNERSHIP_OWNER);
	shadow_expect_point(&pair.b, pair_newest_point(&pair.b));
}
END_TEST

/* A peer that asks again and again is not noted again and again. */
START_TEST(a_denial_is_noted_once_a_session)
{
	shadow_protect();
	rights(&pair.b, ALL_BUT(HVREPL_VERB_OVERWRITE |
				HVREPL_VERB_DELETE_POINTS));
	shadow_ok(&pair.a, HVREPL_OPERATION_PLANNED);
	pair_run(&pair, SECOND);
	audits = 0;
	for (unsigned i = 0; i < 5; i++)
		expect_denied(&pair.a, HVREPL_OPERATION_CANCEL,
			      "lacks the verb 'overwrite'");
	ck_assert_uint_eq(audits, 1);
	ck_assert_uint_eq(shadow_status(&pair.b).ownership, HVREPL_OWNERSHIP_OWNER);
}
END_TEST

/* O4, (1): before the fence, at both sites, wherever it was typed. */
START_TEST(nobody_fails_over_by_plan_to_where_there_is_no_way_back)
{
	shadow_protect();
	shadow_scatter(&pair.a, 3, 10);
	rights(&pair.a, ALL_BUT(HVREPL_VERB_REVERSE));
	expect_denied(&pair.a, HVREPL_OPERATION_PLANNED, "'reverse'");
	expect_denied(&pair.b, HVREPL_OPERATION_PLANNED,
		      "entry 'site-b' lacks the verb 'reverse'");
	rights(&pair.a, ALL_BUT(HVREPL_VERB_RECEIVE));
	expect_denied(&pair.a, HVREPL_OPERATION_PLANNED, "'receive'");
	expect_denied(&pair.b, HVREPL_OPERATION_PLANNED,
		      "entry 'site-b' lacks the verb 'receive'");
	rights(&pair.a, HVREPL_VERB_ALL);
	rights(&pair.b, ALL_BUT(HVREPL_VERB_REVERSE));
	expect_denied(&pair.a, HVREPL_OPERATION_PLANNED, "reverse");
	ck_assert_uint_eq(shadow_status(&pair.a).ownership, HVREPL_OWNERSHIP_OWNER);
	shadow_scatter(&pair.a, 4, 10); /* Never fenced. */
	rights(&pair.b, HVREPL_VERB_ALL);
	shadow_ok(&pair.a, HVREPL_OPERATION_PLANNED);
	shadow_expect_disks(&pair.b);
	shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
	shadow_ok(&pair.b, HVREPL_OPERATION_REVERSE);
	shadow_await(&pair.b, HVREPL_STATE_REPLICATING, HVREPL_OWNERSHIP_OWNER);
}
END_TEST

START_TEST(points_are_deleted_only_by_who_may_delete_points)
{
	shadow_protect();
	rights(&pair.b, ALL_BUT(HVREPL_VERB_DELETE_POINTS));
	ck_assert_int_eq(pair_operate(&pair, &pair.a, HVREPL_OPERATION_REMOVE,
				      0),
			 HVREPL_OK);
	ck_assert_msg(strstr(pair.a.job_sentence, "kept at the other site") &&
			      strstr(pair.a.job_sentence, "delete-points"),
		      "%s", pair.a.job_sentence);
	ck_assert_uint_eq(shadow_status(&pair.b).mode, HVREPL_MODE_REPLICA);
	shadow_expect_point(&pair.b, 0);
}
END_TEST

START_TEST(a_replica_is_removed_by_who_names_its_epoch)
{
	shadow_protect();
	shadow_ok(&pair.a, HVREPL_OPERATION_REMOVE);
	pair_run(&pair, SECOND);
	ck_assert_str_eq(pair.a.job_sentence, "removed");
	ck_assert(!here(&pair.b) || shadow_status(&pair.b).mode == HVREPL_MODE_NONE);
}
END_TEST

START_TEST(a_failover_is_committed_from_over_there_by_who_may_delete_points)
{
	shadow_protect();
	rights(&pair.b, ALL_BUT(HVREPL_VERB_DELETE_POINTS));
	shadow_ok(&pair.b, HVREPL_OPERATION_PLANNED);
	pair_run(&pair, SECOND);
	expect_denied(&pair.a, HVREPL_OPERATION_COMMIT,
		      "lacks the verb 'delete-points'");
	rights(&pair.b, HVREPL_VERB_ALL);
	shadow_ok(&pair.a, HVREPL_OPERATION_COMMIT);
}
END_TEST

/* ---- Patterns. ---- */

static void setup_hosts(void)
{
	audits = sessions_down = 0;
	pair_init(&pair, 7, SHADOW_SIZE);
	memset(&shadow, 0, sizeof(shadow));
	pair.seen = seen;
	pair.a.name = "One.dr.example.com";
	pair.b.name = "two.dr.example.com";
	pair_start(&pair, &pair.b);
	pair_start(&pair, &pair.a);
	pair_run(&pair, SECOND);
}

START_TEST(a_pattern_lets_a_host_in_and_its_exact_entry_counts_before_it)
{
	struct hvrepl_authorisation entry = HVREPL_AUTHORISATION_INIT;
	struct hvrepl_authorisation_status status =
		HVREPL_AUTHORISATION_STATUS_INIT;

	rights(&pair.b, 0);
	entry.peer = "*.DR.example.com";
	entry.trust_group = "pair";
	entry.verbs = HVREPL_VERB_ALL;
	entry_at(&pair.b, &entry);
	pair_run(&pair, 60 * SECOND);
	shadow_protect();
	ck_assert_int_eq(hvrepl_node_get_authorisation(
				 pair.b.node, "one.dr.example.com", &status),
			 HVREPL_OK);
	ck_assert_str_eq(status.entry, "*.dr.example.com");
	ck_assert_uint_eq(status.relationships, 1);
	ck_assert_uint_eq(status.bytes, PAIR_DISKS * SHADOW_SIZE);
	/* One host is shut out that the pattern would let in. */
	sessions_down = 0;
	entry.peer = "one.dr.example.com";
	entry.verbs = 0;
	entry.flags = HVREPL_AUTHORISATION_DENY;
	entry_at(&pair.b, &entry);
	ck_assert_uint_gt(sessions_down, 0);
	ck_assert_msg(strstr(audit, "denies one.dr.example.com everything"),
		      "%s", audit);
	/* ...and let in again by taking that away. */
	entry.flags = 0;
	entry_at(&pair.b, &entry);
	pair_run(&pair, 60 * SECOND);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

START_TEST(what_cannot_be_meant_is_no_entry)
{
	struct hvrepl_authorisation entry = HVREPL_AUTHORISATION_INIT;
	char group[HVREPL_TRUST_GROUP_MAX + 2];

	memset(group, 'g', sizeof(group));
	group[sizeof(group) - 1] = 0;
	entry.verbs = HVREPL_VERB_ALL;
#define REFUSED(member, value, code)                                       \
	do {                                                               \
		struct hvrepl_authorisation bad = entry;                   \
		bad.peer = "x.example.com";                                \
		bad.member = (value);                                      \
		ck_assert_int_eq(hvrepl_node_authorise(pair.b.node, &bad), \
				 (code));                                  \
	} while (0)
	REFUSED(peer, NULL, HVREPL_E_INVALID);
	REFUSED(peer, "*.com", HVREPL_E_INVALID);
	REFUSED(trust_group, group, HVREPL_E_INVALID);
	REFUSED(points_max, 25, HVREPL_E_INVALID);
	REFUSED(rate_max, HVREPL_RATE_MIN - 1, HVREPL_E_INVALID);
	REFUSED(reserved, 1, HVREPL_E_INVALID);
	REFUSED(flags, HVREPL_AUTHORISATION_DENY, HVREPL_E_INVALID);
	REFUSED(flags, 2, HVREPL_E_TOO_NEW);
	REFUSED(verbs, HVREPL_VERB_ALL + 1, HVREPL_E_TOO_NEW);
	REFUSED(rate_max, HVREPL_RATE_MIN, HVREPL_OK);
	group[HVREPL_TRUST_GROUP_MAX] = 0;
	REFUSED(trust_group, group, HVREPL_OK);
	REFUSED(points_max, 24, HVREPL_OK);
#undef REFUSED
}
END_TEST

/* ---- Trust groups. ---- */

START_TEST(a_vm_is_bound_to_its_group_at_first_contact)
{
	struct hvrepl_authorisation entry = HVREPL_AUTHORISATION_INIT;
	uint64_t newest;

	shadow_protect();
	newest = pair_newest_point(&pair.b);
	entry.peer = "site-a";
	entry.trust_group = "other";
	entry.verbs = HVREPL_VERB_ALL;
	entry_at(&pair.b, &entry);
	shadow_scatter(&pair.a, 3, 10);
	pair_run(&pair, 20 * SECOND);
	ck_assert_uint_eq(pair_newest_point(&pair.b), newest);
	ck_assert_uint_ne(shadow_status(&pair.a).reasons & HVREPL_REASON_PEER_REFUSES, 0);
	ck_assert_msg(strstr(audit, "bound to trust group 'pair'") &&
			      strstr(audit, "has 'other'"),
		      "%s", audit);
	/* It is durable. */
	pair_stop(&pair, &pair.b);
	pair_start(&pair, &pair.b);
	entry_at(&pair.b, &entry);
	pair_run(&pair, 60 * SECOND);
	ck_assert_uint_eq(pair_newest_point(&pair.b), newest);
	/* The operator says that it is so now. */
	ck_assert_int_eq(hvrepl_vm_set_trust_group(pair.b.node, &pair_vm,
						   "other", NULL),
			 HVREPL_OK);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	pair_stop(&pair, &pair.b);
	pair_start(&pair, &pair.b);
	entry_at(&pair.b, &entry);
	pair_run(&pair, 60 * SECOND);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	ck_assert_int_eq(hvrepl_vm_set_trust_group(pair.b.node, &pair_disk_ids[0],
						   "", NULL),
			 HVREPL_E_NOT_FOUND);
}
END_TEST

/* ---- Quotas. ---- */

static void expect_limit(const struct hvrepl_authorisation *entry,
			 const char *words)
{
	int32_t rc;

	entry_at(&pair.b, entry);
	rc = pair_operate(&pair, &pair.a, HVREPL_OPERATION_ENABLE, 0);
	ck_assert_msg(rc == HVREPL_E_LIMIT && strstr(pair.a.job_sentence, words),
		      "%d %s", rc, pair.a.job_sentence);
	ck_assert(!here(&pair.b) || shadow_status(&pair.b).mode == HVREPL_MODE_NONE);
	shadow_ok(&pair.a, HVREPL_OPERATION_REMOVE);
	pair_run(&pair, SECOND);
}

START_TEST(a_quota_holds_at_its_value_and_not_one_past_it)
{
	struct hvrepl_authorisation entry = HVREPL_AUTHORISATION_INIT;

	entry.peer = "site-a";
	entry.trust_group = "pair";
	entry.verbs = HVREPL_VERB_ALL;
	entry.points_max = 7; /* The VM asks for 8. */
	expect_limit(&entry, "asks for 8 recovery points and the other site's "
			     "entry 'site-a' allows 7");
	entry.points_max = 8;
	entry.bytes_max = PAIR_DISKS * SHADOW_SIZE - 1;
	expect_limit(&entry, "would have 2097152 bytes and it allows 2097151");
	entry.bytes_max = PAIR_DISKS * SHADOW_SIZE;
	entry.relationships_max = 1;
	entry_at(&pair.b, &entry);
	shadow_protect();
}
END_TEST

static const struct hvrepl_uuid second_vm = { { 0x5e, 2 } };

/* Another VM of the same primary, of one small disk. */
static void bring_second_vm(void)
{
	struct hvrepl_vm_config config = HVREPL_VM_CONFIG_INIT;
	struct hvrepl_disk_spec spec = { { { 0x5d } }, 65536, "root" };
	struct hvrepl_disk disk =
		sim_disk_handle(sim_disk_new(&pair.a.sim, spec.size));

	config.id = second_vm;
	config.name = "mail";
	config.specs = &spec;
	config.disks = &disk;
	config.disk_count = 1;
	config.storage = sim_storage_handle(sim_storage_new(&pair.a.sim));
	ck_assert_int_eq(hvrepl_node_add_vm(pair.a.node, &config, NULL),
			 HVREPL_OK);
}

START_TEST(one_vm_more_than_the_entry_lets_in_is_refused)
{
	struct hvrepl_authorisation entry = HVREPL_AUTHORISATION_INIT;
	struct hvrepl_operation enable = HVREPL_OPERATION_INIT;

	entry.peer = "site-a";
	entry.trust_group = "pair";
	entry.verbs = HVREPL_VERB_ALL;
	entry.relationships_max = 1;
	entry_at(&pair.b, &entry);
	shadow_protect();
	bring_second_vm();
	enable.type = HVREPL_OPERATION_ENABLE;
	enable.vm = second_vm;
	enable.peer = pair.b.name;
	pair_run(&pair, SECOND);
	ck_assert_int_eq(hvrepl_node_operate(pair.a.node, &enable, &pair.a.job,
					     NULL),
			 HVREPL_OK);
	pair.a.job_code = HVREPL_PENDING;
	pair_run(&pair, 2 * SECOND);
	ck_assert_int_eq(pair.a.job_code, HVREPL_E_LIMIT);
	ck_assert_msg(strstr(pair.a.job_sentence,
			     "entry 'site-a' lets in 1 VMs and they are there"),
		      "%s", pair.a.job_sentence);
	/* What is there goes on. */
	shadow_scatter(&pair.a, 3, 10);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

START_TEST(a_peer_sends_no_more_a_second_than_its_entry_lets_it)
{
	struct hvrepl_authorisation entry = HVREPL_AUTHORISATION_INIT;
	uint64_t begun, before, rate = 256u << 10;

	entry.peer = "site-a";
	entry.trust_group = "pair";
	entry.verbs = HVREPL_VERB_ALL;
	entry.rate_max = rate;
	entry_at(&pair.b, &entry);
	shadow_ok(&pair.a, HVREPL_OPERATION_ENABLE);
	shadow_scatter(&pair.a, 1, 4000); /* Random: nothing to compress. */
	before = shadow_status(&pair.b).received_bytes;
	begun = pair.now_ns;
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_START_INITIAL, 0,
				  NULL),
			 HVREPL_OK);
	for (unsigned i = 0; i < 300 && pair_newest_point(&pair.b) == 0; i++) {
		uint64_t seconds, got;

		pair_run(&pair, SECOND / 10);
		seconds = (pair.now_ns - begun) / SECOND + 1;
		got = shadow_status(&pair.b).received_bytes - before;
		/* The burst, what has passed, and one frame (F1). */
		ck_assert_uint_le(got, 4 * rate + seconds * rate);
	}
	ck_assert_uint_gt(pair.now_ns - begun, 2 * SECOND);
	shadow_expect_point(&pair.b, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rights");
	TCase *tc = tcase_create("rights");
	TCase *hosts = tcase_create("hosts");

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, setup, shadow_teardown);
	tcase_add_test(tc,
		       without_an_entry_there_is_no_session_and_it_is_said_why);
	tcase_add_loop_test(tc, a_session_that_is_denied_was_never_up, 0, 2);
	tcase_add_test(
		tc, an_entry_that_goes_while_a_session_is_made_lets_nobody_in);
	tcase_add_test(tc,
		       nobody_ends_a_session_by_saying_that_he_is_its_node);
	tcase_add_test(tc,
		       each_refusal_names_the_entry_and_the_verb_that_it_lacks);
	tcase_add_test(tc, a_verb_that_is_taken_away_ends_what_is_under_way);
	tcase_add_test(
		tc,
		initial_replication_that_was_denied_goes_on_when_it_is_resumed);
	tcase_add_test(tc, a_denial_is_noted_once_a_session);
	tcase_add_test(tc,
		       nobody_fails_over_by_plan_to_where_there_is_no_way_back);
	tcase_add_test(tc, points_are_deleted_only_by_who_may_delete_points);
	tcase_add_test(tc, a_replica_is_removed_by_who_names_its_epoch);
	tcase_add_test(
		tc,
		a_failover_is_committed_from_over_there_by_who_may_delete_points);
	tcase_add_test(tc, what_cannot_be_meant_is_no_entry);
	tcase_add_test(tc, a_vm_is_bound_to_its_group_at_first_contact);
	tcase_add_test(tc, a_quota_holds_at_its_value_and_not_one_past_it);
	tcase_add_test(tc, one_vm_more_than_the_entry_lets_in_is_refused);
	tcase_add_test(tc, a_peer_sends_no_more_a_second_than_its_entry_lets_it);
	suite_add_tcase(suite, tc);
	tcase_set_timeout(hosts, 240);
	tcase_add_checked_fixture(hosts, setup_hosts, shadow_teardown);
	tcase_add_test(
		hosts,
		a_pattern_lets_a_host_in_and_its_exact_entry_counts_before_it);
	suite_add_tcase(suite, hosts);
	return test_run(suite);
}
