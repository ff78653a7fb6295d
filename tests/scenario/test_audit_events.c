/* SPDX-License-Identifier: Apache-2.0 */
/* What an audit has to hear of is told by the library, each of its kind, and none of
 * it is dropped however much else there is to tell. */
#include "driver/vm.h"
#include "guestshadow.h"
#include "replication/internal.h"

#include <hvrepl/audit.h>
#include <stdio.h>
#include <string.h>

static struct {
	unsigned count;
	char last[HVREPL_SENTENCE_MAX];
	char actor[HVREPL_PEER_NAME_MAX + 1];
} heard[2][HVREPL_AUDIT_REKEY + 1]; /* Site-a's, site-b's. */

/* What site-b was told of sessions that ended. */
static struct {
	unsigned count;
	int32_t code;
} ended;

static void seen(struct pair_site *site, const struct hvrepl_event *event)
{
	unsigned at = site == &pair.b;

	if (at == 1 && event->type == HVREPL_EVENT_SESSION &&
	    event->value == 0) {
		ended.count++;
		ended.code = event->code;
	}
	if (event->type != HVREPL_EVENT_AUDIT)
		return;
	/* No event without a kind that audit.h has. */
	ck_assert_uint_ge(event->value, HVREPL_AUDIT_AUTHENTICATION);
	ck_assert_uint_le(event->value, HVREPL_AUDIT_REKEY);
	ck_assert_str_ne(event->sentence, "");
	heard[at][event->value].count++;
	memcpy(heard[at][event->value].last, event->sentence,
	       sizeof(event->sentence));
	memcpy(heard[at][event->value].actor, event->actor,
	       sizeof(event->actor));
}

static void setup(void)
{
	memset(heard, 0, sizeof(heard));
	memset(&ended, 0, sizeof(ended));
	memset(&shadow, 0, sizeof(shadow));
	pair_init(&pair, 7, SHADOW_SIZE);
	pair.seen = seen;
	pair_start(&pair, &pair.b);
	pair_start(&pair, &pair.a);
	pair_run(&pair, SECOND);
}

#define SAID(site, kind, words)                                             \
	ck_assert_msg(strstr(heard[site][kind].last, words) != NULL, "%s",  \
		      heard[site][kind].last)

#define BY(site, kind, who) ck_assert_str_eq(heard[site][kind].actor, who)

START_TEST(who_proved_itself_and_whose_session_ended_is_told)
{
	for (unsigned site = 0; site < 2; site++) {
		ck_assert_uint_eq(
			heard[site][HVREPL_AUDIT_AUTHENTICATION].count, 1);
		SAID(site, HVREPL_AUDIT_AUTHENTICATION, "proved itself by");
	}
	pair_link_break(&pair);
	pair_run(&pair, SECOND / 10);
	SAID(1, HVREPL_AUDIT_AUTHENTICATION, "session with site-a ended");
	/* Somebody whose identity is proved, and who is nobody here. */
	pair_intrude(&pair, &pair.b, "stranger", false, "", 0);
	pair_run(&pair, 11 * SECOND);
	SAID(1, HVREPL_AUDIT_AUTHENTICATION, "stranger got no session");
	BY(1, HVREPL_AUDIT_AUTHENTICATION, "stranger");
	BY(1, HVREPL_AUDIT_RIGHTS, ""); /* This site's own doing. */
}
END_TEST

/* ---- The reason that a peer gives in its BYE. ---- */

static const struct {
	int32_t given, told;
} reasons[] = {
	/* One closes with that what is not to be told: here it is the peer's word. */
	{ HVREPL_E_EXISTS, HVREPL_E_EXISTS },
	{ HVREPL_E_DENIED, HVREPL_E_DENIED },
	{ HVREPL_E_LIMIT, HVREPL_E_LIMIT },
	/* None of this version's; no failure. */
	{ -12345, HVREPL_E_DISCONNECTED },
	{ INT32_MIN, HVREPL_E_DISCONNECTED },
	{ HVREPL_PENDING, HVREPL_E_DISCONNECTED },
};

static const char *const its_words = "it has no wish to be seen";
static int32_t reason_given; /* HVREPL_OK: none yet. */

static size_t bye_of(int32_t code, uint8_t *out)
{
	struct hvri_bye bye = { .code = code };
	struct hvri_frame frame = { .type = HVRI_FRAME_BYE };

	snprintf(bye.sentence, sizeof(bye.sentence), "%s", its_words);
	frame.length = hvri_bye_encode(&bye, out + HVRI_FRAME_HEADER_SIZE);
	hvri_frame_encode(&frame, out + HVRI_FRAME_HEADER_SIZE, out);
	return HVRI_FRAME_HEADER_SIZE + frame.length;
}

/* Behind what site-a says next. */
static void says_bye(struct pair *p, struct pair_site *to, struct pair_end *end,
		     const uint8_t *bytes, size_t length)
{
	uint8_t bye[HVRI_FRAME_HEADER_SIZE + HVRI_BYE_SIZE_MAX];

	pair_deliver(end, bytes, length);
	if (to != &p->b || reason_given == HVREPL_OK)
		return;
	pair_deliver(end, bye, bye_of(reason_given, bye));
	reason_given = HVREPL_OK;
}

static void expect_told(unsigned i, const char *words)
{
	ck_assert_uint_eq(heard[1][HVREPL_AUDIT_AUTHENTICATION].count, 1);
	SAID(1, HVREPL_AUDIT_AUTHENTICATION, words);
	SAID(1, HVREPL_AUDIT_AUTHENTICATION, its_words);
	ck_assert_uint_eq(ended.count, 1);
	ck_assert_int_eq(ended.code, reasons[i].told);
	/* It is no limit of this site's, and nobody was denied anything. */
	ck_assert_uint_eq(heard[1][HVREPL_AUDIT_LIMIT].count, 0);
	ck_assert_uint_eq(heard[1][HVREPL_AUDIT_DENIED].count, 0);
}

START_TEST(the_end_of_a_session_is_told_whatever_reason_its_peer_gives)
{
	pair.tamper = says_bye;
	reason_given = reasons[_i].given;
	heard[1][HVREPL_AUDIT_AUTHENTICATION].count = 0;
	for (unsigned i = 0; i < 200 && ended.count == 0; i++)
		pair_run(&pair, SECOND / 10);
	expect_told((unsigned)_i, "session with site-a ended: ");
	BY(1, HVREPL_AUDIT_AUTHENTICATION, "site-a");
}
END_TEST

START_TEST(an_attempt_is_told_whatever_reason_it_is_given_up_for)
{
	uint8_t bye[HVRI_FRAME_HEADER_SIZE + HVRI_BYE_SIZE_MAX];
	size_t length = bye_of(reasons[_i].given, bye);

	heard[1][HVREPL_AUDIT_AUTHENTICATION].count = 0;
	pair_intrude(&pair, &pair.b, "site-c", false, bye, length);
	pair_run(&pair, SECOND);
	expect_told((unsigned)_i, "site-c got no session: ");
	BY(1, HVREPL_AUDIT_AUTHENTICATION, "site-c");
}
END_TEST

/* Status events of sessions coalesce; these do not. */
START_TEST(none_is_dropped_though_nobody_looks)
{
	unsigned before = heard[1][HVREPL_AUDIT_AUTHENTICATION].count;

	for (unsigned i = 0; i < 40; i++) {
		pair_intrude(&pair, &pair.b, i % 2 == 0 ? "one" : "two", true,
			     "garbage that is no frame, but long enough to be "
			     "taken for one", 62);
		pair_intrude(&pair, &pair.b, "three", false,
			     "garbage that is no frame, but long enough to be "
			     "taken for one", 62);
	}
	pair_run(&pair, SECOND);
	/* Without a secret a channel is refused before it is a link. */
	ck_assert_uint_ge(heard[1][HVREPL_AUDIT_AUTHENTICATION].count +
				  heard[1][HVREPL_AUDIT_LIMIT].count,
			  before + 40);
}
END_TEST

START_TEST(each_change_of_an_entry_is_told_and_nothing_else_is)
{
	unsigned before = heard[1][HVREPL_AUDIT_RIGHTS].count;

	ck_assert_uint_ge(before, 1);
	SAID(1, HVREPL_AUDIT_RIGHTS, "'site-a' was added: it allows enable");
	pair_rights(&pair.b, HVREPL_VERB_ALL); /* As it was. */
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(heard[1][HVREPL_AUDIT_RIGHTS].count, before);
	pair_rights(&pair.b, HVREPL_VERB_RECEIVE);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(heard[1][HVREPL_AUDIT_RIGHTS].count, before + 1);
	SAID(1, HVREPL_AUDIT_RIGHTS, "'site-a' was changed: it allows receive");
	pair_rights(&pair.b, 0);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(heard[1][HVREPL_AUDIT_RIGHTS].count, before + 2);
	SAID(1, HVREPL_AUDIT_RIGHTS, "'site-a' was taken away");
}
END_TEST

START_TEST(what_was_asked_for_is_told_with_who_asked_and_why_not)
{
	shadow_protect();
	ck_assert_uint_ge(heard[0][HVREPL_AUDIT_OPERATION].count, 2);
	SAID(0, HVREPL_AUDIT_OPERATION, "asked for by the operator");
	BY(0, HVREPL_AUDIT_OPERATION, "");
	ck_assert_int_lt(pair_operate(&pair, &pair.a, HVREPL_OPERATION_ENABLE,
				      0),
			 0);
	pair_run(&pair, SECOND / 10);
	SAID(0, HVREPL_AUDIT_OPERATION, "was refused: ");
	/* Typed at the replica's site, done at the owner's. */
	shadow_ok(&pair.b, HVREPL_OPERATION_RESYNC);
	SAID(0, HVREPL_AUDIT_OPERATION, "asked for by site-b");
	BY(0, HVREPL_AUDIT_OPERATION, "site-b");
}
END_TEST

/* What is typed at one site and refused at the other was not begun there. */
START_TEST(what_a_peer_asks_for_and_does_not_get_is_told_as_refused)
{
	unsigned before;

	shadow_protect();
	shadow_ok(&pair.a, HVREPL_OPERATION_SUSPEND);
	before = heard[0][HVREPL_AUDIT_OPERATION].count;
	ck_assert_int_lt(pair_operate(&pair, &pair.b, HVREPL_OPERATION_CUT_NOW,
				      0),
			 0);
	ck_assert_uint_eq(heard[0][HVREPL_AUDIT_OPERATION].count, before + 1);
	SAID(0, HVREPL_AUDIT_OPERATION, "asked for by site-b, was refused: ");
}
END_TEST

static bool b_has_a_replica(struct pair *p)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	return hvrepl_vm_get_status(p->b.node, &pair_vm, &status) ==
		       HVREPL_OK &&
	       status.mode == HVREPL_MODE_REPLICA;
}

/* What a peer's deed costs is known before it is done, or it is not done. */
START_TEST(a_replica_is_made_once_that_is_permitted)
{
	pair.b.permit_code = HVREPL_E_STORAGE_IO;
	ck_assert_int_eq(pair_operate(&pair, &pair.a, HVREPL_OPERATION_ENABLE,
				      0),
			 HVREPL_E_DENIED);
	ck_assert_ptr_nonnull(strstr(pair.a.job_sentence,
				     "cannot write its audit"));
	ck_assert_uint_ge(pair.b.permits, 1);
	ck_assert_ptr_nonnull(strstr(pair.b.permit_sentence,
				     "site-a asks for a replica of VM"));
	ck_assert(!b_has_a_replica(&pair));
	/* It lacks no verb: that is not what is said here. */
	ck_assert_uint_eq(heard[1][HVREPL_AUDIT_DENIED].count, 0);
	pair.b.permit_code = HVREPL_OK;
	shadow_ok(&pair.a, HVREPL_OPERATION_START_INITIAL);
	ck_assert(b_has_a_replica(&pair));
}
END_TEST

START_TEST(a_replica_is_removed_only_if_that_is_permitted)
{
	unsigned before;

	shadow_protect();
	before = pair.b.permits;
	/* Points of late cost nothing here. */
	shadow_next_point(&pair.a, &pair.b);
	ck_assert_uint_eq(pair.b.permits, before);
	pair.b.permit_code = HVREPL_E_STORAGE_IO;
	(void)pair_operate(&pair, &pair.a, HVREPL_OPERATION_REMOVE, 0);
	ck_assert_uint_gt(pair.b.permits, before);
	ck_assert_ptr_nonnull(strstr(pair.b.permit_sentence,
				     "the removal of the replica of VM"));
	ck_assert(b_has_a_replica(&pair));
	ck_assert_uint_gt(pair_newest_point(&pair.b), 0);
}
END_TEST

START_TEST(sixty_deeds_a_minute_are_asked_for_and_not_one_more)
{
	const struct hvri_message remove = { .type = HVRI_MESSAGE_REMOVE };
	struct hvri_vm *vm;

	shadow_protect();
	pair_run(&pair, 61 * SECOND);
	vm = hvri_node_find_vm(pair.b.node, &pair_vm);
	pair.b.permits = 0;
	for (unsigned i = 0; i < HVRI_DEEDS_MAX; i++)
		ck_assert_uint_eq(hvri_withheld(vm, &remove), 0);
	ck_assert_uint_eq(heard[1][HVREPL_AUDIT_LIMIT].count, 0);
	ck_assert_uint_eq(hvri_withheld(vm, &remove),
			  HVREPL_VERB_DELETE_POINTS);
	pair_run(&pair, SECOND / 10);
	ck_assert_uint_eq(heard[1][HVREPL_AUDIT_LIMIT].count, 1);
	SAID(1, HVREPL_AUDIT_LIMIT, "site-a asks for the removal of the replica "
				    "of VM");
	SAID(1, HVREPL_AUDIT_LIMIT, "had 60 deeds that cost data within a minute");
	ck_assert_uint_eq(pair.b.permits, HVRI_DEEDS_MAX);
	pair_run(&pair, 61 * SECOND);
	ck_assert_uint_eq(hvri_withheld(vm, &remove), 0);
}
END_TEST

START_TEST(failover_and_commit_are_told_as_ownership)
{
	unsigned before;

	shadow_protect();
	before = heard[1][HVREPL_AUDIT_OWNERSHIP].count;
	shadow_scatter(&pair.a, 3, 10);
	(void)shadow_next_point(&pair.a, &pair.b);
	pair_stop(&pair, &pair.a);
	shadow_ok(&pair.b, HVREPL_OPERATION_UNPLANNED);
	ck_assert_uint_gt(heard[1][HVREPL_AUDIT_OWNERSHIP].count, before);
	before = heard[1][HVREPL_AUDIT_OWNERSHIP].count;
	shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
	ck_assert_uint_gt(heard[1][HVREPL_AUDIT_OWNERSHIP].count, before);
	pair_start(&pair, &pair.a);
	pair_run(&pair, 20 * SECOND);
	/* The old side is told that it is superseded. */
	ck_assert_uint_gt(heard[0][HVREPL_AUDIT_OWNERSHIP].count, 0);
}
END_TEST

static void come_and_go(const char *peer, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		pair_intrude(&pair, &pair.b, peer, false,
			     "garbage that is no frame, but long enough to be "
			     "taken for one", 62);
}

static uint32_t told_of_sessions(void)
{
	return heard[1][HVREPL_AUDIT_AUTHENTICATION].count;
}

/* As often as it likes; the next is that it was more, the moment it may be. */
START_TEST(a_noisy_peer_is_told_of_sixty_times_and_hides_nobody)
{
	uint32_t before, limits;

	pair_run(&pair, 61 * SECOND);
	before = told_of_sessions();
	for (unsigned i = 0; i < HVRI_NOTES_MAX / 10; i++) {
		come_and_go("noisy", 10);
		pair_run(&pair, SECOND / 10);
	}
	ck_assert_uint_eq(told_of_sessions(), before + HVRI_NOTES_MAX);
	come_and_go("noisy", 5);
	pair_run(&pair, SECOND / 10);
	ck_assert_uint_eq(told_of_sessions(), before + HVRI_NOTES_MAX);
	come_and_go("quiet", 1);
	pair_run(&pair, SECOND / 10);
	ck_assert_uint_eq(told_of_sessions(), before + HVRI_NOTES_MAX + 1);
	SAID(1, HVREPL_AUDIT_AUTHENTICATION, "quiet got no session");
	/* Nothing else happens: the node is due by itself. */
	limits = heard[1][HVREPL_AUDIT_LIMIT].count;
	pair_run(&pair, 58 * SECOND);
	ck_assert_uint_eq(heard[1][HVREPL_AUDIT_LIMIT].count, limits);
	pair_run(&pair, 2 * SECOND);
	ck_assert_uint_eq(heard[1][HVREPL_AUDIT_LIMIT].count, limits + 1);
	SAID(1, HVREPL_AUDIT_LIMIT,
	     "noisy brought about more than is noted one by one; left out: "
	     "5 of authentication");
	come_and_go("noisy", 1);
	pair_run(&pair, SECOND / 10);
	SAID(1, HVREPL_AUDIT_AUTHENTICATION, "noisy got no session");
}
END_TEST

START_TEST(what_was_left_out_is_told_before_the_node_is_closed)
{
	for (unsigned i = 0; i < 7; i++) {
		come_and_go("noisy", 10);
		pair_run(&pair, SECOND / 10);
	}
	ck_assert_uint_eq(heard[1][HVREPL_AUDIT_LIMIT].count, 0);
	pair_stop(&pair, &pair.b);
	SAID(1, HVREPL_AUDIT_LIMIT, "10 of authentication");
}
END_TEST

static int32_t note(const char *source, const char *sentence)
{
	struct hvrepl_note seen = HVREPL_NOTE_INIT;

	seen.kind = HVREPL_AUDIT_AUTHENTICATION;
	seen.code = HVREPL_E_UNAUTHENTICATED;
	seen.severity = HVREPL_SEVERITY_WARNING;
	seen.source = source;
	seen.sentence = sentence;
	return hvrepl_node_note(pair.b.node, &seen);
}

START_TEST(what_happens_before_a_node_is_noted_by_its_source)
{
	uint32_t before = told_of_sessions();

	for (unsigned i = 0; i <= HVRI_NOTES_MAX; i++)
		ck_assert_int_eq(note("192.0.2.7", "refused at the door"),
				 HVREPL_OK);
	ck_assert_int_eq(note("2001:db8::/64", "refused from elsewhere"),
			 HVREPL_OK);
	pair_run(&pair, SECOND / 10);
	ck_assert_uint_eq(told_of_sessions(), before + HVRI_NOTES_MAX + 1);
	SAID(1, HVREPL_AUDIT_AUTHENTICATION, "refused from elsewhere");
	pair_run(&pair, 60 * SECOND);
	SAID(1, HVREPL_AUDIT_LIMIT, "address 192.0.2.7 brought about more");
	BY(1, HVREPL_AUDIT_LIMIT, "192.0.2.7");
	SAID(1, HVREPL_AUDIT_LIMIT, "left out: 1 of authentication");
}
END_TEST

START_TEST(a_note_says_whose_doing_it_was)
{
	struct hvrepl_note seen = HVREPL_NOTE_INIT;

	ck_assert_int_eq(hvrepl_node_note(NULL, &seen), HVREPL_E_INVALID);
	ck_assert_int_eq(note(NULL, "nobody's"), HVREPL_E_INVALID);
	ck_assert_int_eq(note("", "nobody's"), HVREPL_E_INVALID);
	ck_assert_int_eq(note("192.0.2.7", NULL), HVREPL_E_INVALID);
	seen.peer = "west";
	seen.source = "192.0.2.7";
	seen.sentence = "somebody's";
	seen.kind = HVREPL_AUDIT_REKEY;
	ck_assert_int_eq(hvrepl_node_note(pair.b.node, &seen),
			 HVREPL_E_INVALID);
	seen.source = NULL;
	seen.kind = HVREPL_AUDIT_OPENED;
	ck_assert_int_eq(hvrepl_node_note(pair.b.node, &seen),
			 HVREPL_E_INVALID);
	seen.kind = HVREPL_AUDIT_REKEY;
	ck_assert_int_eq(hvrepl_node_note(pair.b.node, &seen), HVREPL_OK);
	pair_run(&pair, SECOND / 10);
	SAID(1, HVREPL_AUDIT_REKEY, "somebody's");
}
END_TEST

static int32_t closed_code;

static void note_when_closed(struct pair_site *site,
			     const struct hvrepl_event *event)
{
	if (site == &pair.b && event->type == HVREPL_EVENT_CLOSED)
		closed_code = note("192.0.2.7", "refused at a closed door");
	seen(site, event);
}

/* Nobody would hear of it: whoever notes is told. */
START_TEST(a_note_after_the_last_event_is_refused)
{
	pair.seen = note_when_closed;
	closed_code = HVREPL_OK;
	pair_stop(&pair, &pair.b);
	ck_assert_int_eq(closed_code, HVREPL_E_CLOSED);
}
END_TEST

/* Without memory it is told as a number, and with it as itself. */
START_TEST(a_note_without_memory_is_counted)
{
	pair.b.env.alloc_fail_at = 0;
	ck_assert_int_eq(note("192.0.2.7", "refused at the door"), HVREPL_OK);
	pair.b.env.alloc_fail_at = -1;
	pair_run(&pair, 61 * SECOND);
	SAID(1, HVREPL_AUDIT_LIMIT, "left out: 1 of authentication");
}
END_TEST

/* A peer that says over and over what decides nothing. */
START_TEST(a_peer_that_repeats_nonsense_is_told_of_sixty_times)
{
	struct hvri_vm *vm;
	struct hvri_message hello = { .type = HVRI_MESSAGE_HELLO };
	struct hvri_claim claim;
	struct hvri_frame frame = { .type = HVRI_FRAME_MESSAGE };
	static uint8_t bytes[HVRI_MESSAGE_ENCODED_MAX];
	size_t length;
	uint32_t before;

	shadow_protect();
	vm = hvri_node_find_vm(pair.b.node, &pair_vm);
	before = heard[1][HVREPL_AUDIT_DENIED].count;
	hvri_build_claim(&vm->relationship, &claim);
	claim.site.bytes[0] ^= 1; /* Of a site that is not its peer. */
	hello.claim = &claim;
	hello.from_incarnation = pair.a.node->incarnation;
	hello.to_incarnation = pair.b.node->incarnation;
	ck_assert_int_eq(hvri_message_encode(&hello, bytes, sizeof(bytes),
					     &length), HVREPL_OK);
	frame.vm = pair_vm;
	frame.length = (uint32_t)length;
	for (unsigned i = 0; i < HVRI_NOTES_MAX + 7; i++) {
		ck_assert_int_eq(hvri_vms_frame(pair.b.node, vm->session,
						&frame, bytes, NULL),
				 HVREPL_OK);
		pair_run(&pair, SECOND / 1000);
	}
	ck_assert_uint_eq(heard[1][HVREPL_AUDIT_DENIED].count,
			  before + HVRI_NOTES_MAX);
	pair_run(&pair, 60 * SECOND);
	SAID(1, HVREPL_AUDIT_LIMIT, "site-a brought about more");
	SAID(1, HVREPL_AUDIT_LIMIT, "left out: 7 of denied");
}
END_TEST

START_TEST(a_quota_and_a_limit_that_are_hit_are_told)
{
	shadow_enable_over_quota();
	SAID(1, HVREPL_AUDIT_LIMIT, "goes over its entry's quota");
	for (unsigned i = 0; i < 17; i++)
		pair_intrude(&pair, &pair.b, "crowd", false, "", 0);
	pair_run(&pair, SECOND);
	SAID(1, HVREPL_AUDIT_LIMIT, "it has 16 connections already");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("audit events");
	TCase *tc = tcase_create("audit events");

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, setup, shadow_teardown);
	tcase_add_test(tc, who_proved_itself_and_whose_session_ended_is_told);
	tcase_add_loop_test(
		tc, the_end_of_a_session_is_told_whatever_reason_its_peer_gives,
		0, HVRI_ARRAY_LEN(reasons));
	tcase_add_loop_test(
		tc, an_attempt_is_told_whatever_reason_it_is_given_up_for, 0,
		HVRI_ARRAY_LEN(reasons));
	tcase_add_test(tc, none_is_dropped_though_nobody_looks);
	tcase_add_test(tc,
		       each_change_of_an_entry_is_told_and_nothing_else_is);
	tcase_add_test(tc,
		       what_was_asked_for_is_told_with_who_asked_and_why_not);
	tcase_add_test(
		tc, what_a_peer_asks_for_and_does_not_get_is_told_as_refused);
	tcase_add_test(tc,
		       a_replica_is_made_once_that_is_permitted);
	tcase_add_test(tc,
		       a_replica_is_removed_only_if_that_is_permitted);
	tcase_add_test(tc,
		       sixty_deeds_a_minute_are_asked_for_and_not_one_more);
	tcase_add_test(tc, failover_and_commit_are_told_as_ownership);
	tcase_add_test(tc, a_quota_and_a_limit_that_are_hit_are_told);
	tcase_add_test(tc, a_noisy_peer_is_told_of_sixty_times_and_hides_nobody);
	tcase_add_test(tc, what_was_left_out_is_told_before_the_node_is_closed);
	tcase_add_test(tc, what_happens_before_a_node_is_noted_by_its_source);
	tcase_add_test(tc, a_note_says_whose_doing_it_was);
	tcase_add_test(tc, a_note_after_the_last_event_is_refused);
	tcase_add_test(tc, a_note_without_memory_is_counted);
	tcase_add_test(tc, a_peer_that_repeats_nonsense_is_told_of_sixty_times);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
