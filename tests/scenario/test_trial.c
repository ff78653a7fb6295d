/* SPDX-License-Identifier: Apache-2.0 */
/* A trial of a session between two nodes: the other site's storage, as far as
 * the entry goes, and what comes of filler that is sent beside replication. */
#include "driver/node.h"
#include "guestshadow.h"

#include <stdio.h>
#include <string.h>

#define TIB (UINT64_C(1) << 40)

static struct hvrepl_trial_result result;
static char sentence[HVREPL_SENTENCE_MAX], storage_sentence[HVREPL_SENTENCE_MAX];
static char denied[HVREPL_SENTENCE_MAX]; /* What b's audit hears. */
static unsigned told;
static unsigned ended_by_limit, ended_by_protocol;

static void seen(struct pair_site *site, const struct hvrepl_event *event)
{
	if (site == &pair.b && event->type == HVREPL_EVENT_AUDIT &&
	    event->value == HVREPL_AUDIT_DENIED)
		snprintf(denied, sizeof(denied), "%s", event->sentence);
	if (site != &pair.b || event->type != HVREPL_EVENT_SESSION ||
	    event->value != 0)
		return;
	ended_by_limit += event->code == HVREPL_E_LIMIT;
	ended_by_protocol += event->code == HVREPL_E_PROTOCOL;
}

static void setup(void)
{
	told = ended_by_limit = ended_by_protocol = 0;
	shadow_setup();
	pair.seen = seen;
	pair.b.root_free = 3 * TIB;
	pair.b.root_total = 4 * TIB;
}

static void done(void *user, const struct hvrepl_trial_result *found)
{
	ck_assert_ptr_eq(user, &told);
	result = *found;
	snprintf(sentence, sizeof(sentence), "%s", found->sentence);
	snprintf(storage_sentence, sizeof(storage_sentence), "%s",
		 found->storage_sentence);
	told++;
}

static int32_t begin(uint64_t disk_bytes, uint32_t points)
{
	struct hvrepl_trial trial = HVREPL_TRIAL_INIT;

	trial.peer = pair.b.name;
	trial.disk_bytes = disk_bytes;
	trial.disk_count = disk_bytes != 0;
	trial.points_max = points;
	trial.done = done;
	trial.user = &told;
	return hvrepl_node_try_peer(pair.a.node, &trial, NULL);
}

static bool is_told(struct pair *p)
{
	(void)p;
	return told > 0;
}

static void try_it(uint64_t disk_bytes, uint32_t points)
{
	told = 0;
	ck_assert_int_eq(begin(disk_bytes, points), HVREPL_OK);
	ck_assert(pair_until(&pair, 20 * SECOND, is_told));
	ck_assert_uint_eq(told, 1);
	pair_run(&pair, 6 * SECOND);
	ck_assert_uint_eq(told, 1);
	ck_assert_uint_eq(pair.b.node->credit_left, HVRI_CREDIT_POOL);
}

static void entry(uint32_t verbs, uint64_t bytes_max, const char *root)
{
	struct hvrepl_authorisation given = HVREPL_AUTHORISATION_INIT;

	given.peer = pair.a.name;
	given.verbs = verbs;
	given.trust_group = "pair";
	given.storage_root = root;
	given.bytes_max = bytes_max;
	given.points_max = 4;
	given.relationships_max = 1;
	ck_assert_int_eq(hvrepl_node_authorise(pair.b.node, &given), HVREPL_OK);
	pair_run(&pair, 5 * SECOND);
}

START_TEST(a_trial_tells_storage_bandwidth_and_round_trip)
{
	pair.delay_ns[0] = pair.delay_ns[1] = SECOND / 100;
	try_it(0, 0);
	ck_assert_int_eq(result.code, HVREPL_OK);
	ck_assert_int_eq(result.storage_code, HVREPL_OK);
	ck_assert_uint_eq(result.free_bytes, 3 * TIB);
	ck_assert_uint_eq(result.total_bytes, 4 * TIB);
	ck_assert_uint_ge(result.round_trip_ns, 2 * SECOND / 100);
	ck_assert_uint_lt(result.round_trip_ns, 3 * SECOND / 100);
	ck_assert_uint_eq(result.bytes, HVRI_TRIAL_BYTES_MAX);
	ck_assert_uint_gt(result.duration_ns, 0);
	ck_assert_str_eq(sentence, "");
}
END_TEST

START_TEST(the_entry_bounds_what_its_peer_hears_and_no_path_is_said)
{
	entry(HVREPL_VERB_ALL, TIB, "/secret/place");
	try_it(0, 0);
	ck_assert_uint_eq(result.free_bytes, TIB);
	ck_assert_uint_eq(result.total_bytes, TIB);
	ck_assert_str_eq(pair.b.root, "/secret/place");
	pair.b.root_code = HVREPL_E_STORAGE_IO;
	try_it(0, 0);
	ck_assert_int_eq(result.storage_code, HVREPL_E_STORAGE_IO);
	ck_assert_uint_eq(result.free_bytes, HVREPL_BYTES_UNKNOWN);
	ck_assert_ptr_null(strstr(storage_sentence, "secret"));
	ck_assert_ptr_nonnull(strstr(storage_sentence, "site-a"));
	/* What cannot be looked at hinders no filler. */
	ck_assert_uint_eq(result.bytes, HVRI_TRIAL_BYTES_MAX);
}
END_TEST

START_TEST(who_may_send_nothing_hears_nothing_of_storage)
{
	entry(HVREPL_VERB_REVERSE, 0, "/secret/place");
	try_it(0, 0);
	ck_assert_int_eq(result.code, HVREPL_OK);
	ck_assert_int_eq(result.storage_code, HVREPL_E_DENIED);
	ck_assert_msg(strstr(denied, "denied site-a: enable, receive") != NULL,
		      "%s", denied);
	ck_assert_uint_eq(result.free_bytes, HVREPL_BYTES_UNKNOWN);
	ck_assert_uint_eq(pair.b.root_asked, 0);
	ck_assert_ptr_nonnull(strstr(storage_sentence, "'enable'"));
}
END_TEST

START_TEST(a_vm_that_does_not_fit_is_told_before_it_is_enabled)
{
	entry(HVREPL_VERB_ALL, TIB, "");
	try_it(TIB, 4);
	ck_assert_int_eq(result.storage_code, HVREPL_OK);
	try_it(TIB + 1, 4);
	ck_assert_int_eq(result.storage_code, HVREPL_E_LIMIT);
	ck_assert_ptr_nonnull(strstr(storage_sentence, "it allows"));
	try_it(TIB, 5);
	ck_assert_int_eq(result.storage_code, HVREPL_E_LIMIT);
	entry(HVREPL_VERB_ALL, 0, "");
	try_it(3 * TIB, 4);
	ck_assert_int_eq(result.storage_code, HVREPL_OK);
	try_it(3 * TIB + 1, 4);
	ck_assert_int_eq(result.storage_code, HVREPL_E_NO_SPACE);
	ck_assert_ptr_nonnull(strstr(storage_sentence, "make room"));
}
END_TEST

START_TEST(a_vm_that_is_there_counts)
{
	struct hvrepl_authorisation_status status =
		HVREPL_AUTHORISATION_STATUS_INIT;

	shadow_protect();
	ck_assert_int_eq(hvrepl_node_get_authorisation(pair.b.node, "site-a",
						       &status),
			 HVREPL_OK);
	entry(HVREPL_VERB_ALL, TIB, "");
	told = 0;
	ck_assert_int_eq(begin(1, 1), HVREPL_OK);
	ck_assert(pair_until(&pair, 20 * SECOND, is_told));
	ck_assert_int_eq(result.storage_code, HVREPL_E_LIMIT);
	ck_assert_uint_eq(result.free_bytes, TIB - status.bytes);
}
END_TEST

START_TEST(a_peer_that_is_too_old_is_said_to_be)
{
	pair.a.node->sessions->link.peer.features &= ~HVRI_FEATURE_TRIAL;
	try_it(0, 0);
	ck_assert_int_eq(result.code, HVREPL_E_PEER_VERSION);
	ck_assert_ptr_nonnull(strstr(sentence, "too old"));
	ck_assert_uint_eq(result.bytes, 0);
	ck_assert_uint_eq(pair.b.root_asked, 0);
	ck_assert_uint_eq(ended_by_protocol, 0);
}
END_TEST

START_TEST(one_at_a_time_and_the_next_five_seconds_later)
{
	ck_assert_int_eq(begin(0, 0), HVREPL_OK);
	ck_assert_int_eq(begin(0, 0), HVREPL_E_BUSY);
	ck_assert(pair_until(&pair, SECOND, is_told));
	told = 0;
	ck_assert_int_eq(begin(0, 0), HVREPL_OK);
	ck_assert(pair_until(&pair, SECOND, is_told));
	ck_assert_int_eq(result.code, HVREPL_E_BUSY);
	ck_assert_ptr_nonnull(strstr(sentence, "try again in"));
	ck_assert_uint_eq(result.bytes, 0);
	ck_assert_uint_eq(pair.b.root_asked, 1);
	/* Nor by another session. */
	pair_link_break(&pair);
	pair_run(&pair, 2 * SECOND);
	told = 0;
	ck_assert_int_eq(begin(0, 0), HVREPL_OK);
	ck_assert(pair_until(&pair, SECOND, is_told));
	ck_assert_int_eq(result.code, HVREPL_E_BUSY);
	pair_run(&pair, 5 * SECOND);
	try_it(0, 0);
	ck_assert_int_eq(result.code, HVREPL_OK);
	ck_assert_uint_eq(pair.b.root_asked, 2);
}
END_TEST

START_TEST(a_peer_that_asks_and_asks_is_cut_off)
{
	struct hvri_trial_ask ask = { .number = 1, .bytes = 1 };
	uint8_t payload[HVRI_TRIAL_ASK_SIZE];
	struct hvri_link *link = &pair.a.node->sessions->link;

	/* Answers it did not ask for; they are of its own doing. */
	pair.a.node->trials = 1;
	hvri_trial_ask_encode(&ask, payload);
	for (unsigned i = 0; i < HVRI_LINK_ODD_MAX + 2; i++)
		ck_assert_int_eq(hvri_link_send(link, HVRI_FRAME_TRIAL, NULL,
						payload, sizeof(payload)),
				 HVREPL_OK);
	pair_run(&pair, SECOND / 10);
	ck_assert_uint_eq(ended_by_limit, 1);
	ck_assert_uint_eq(pair.b.root_asked, 1);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(pair.b.node->credit_left, HVRI_CREDIT_POOL);
}
END_TEST

START_TEST(filler_that_nobody_granted_ends_the_session)
{
	uint8_t payload[HVRI_TRIAL_DATA_PREFIX];
	struct hvri_trial_data data = { 1, HVRI_TRIAL_BEGIN, 0 };

	hvri_trial_data_encode(&data, payload);
	ck_assert_int_eq(hvri_link_send(&pair.a.node->sessions->link,
					HVRI_FRAME_TRIAL_DATA, NULL, payload,
					sizeof(payload)),
			 HVREPL_OK);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(ended_by_protocol, 1);
}
END_TEST

static void answer_from_b(uint64_t number)
{
	struct hvri_trial_answer answer = { .number = number };
	uint8_t payload[HVRI_TRIAL_ANSWER_MAX];

	ck_assert_int_eq(hvri_link_send(&pair.b.node->sessions->link,
					HVRI_FRAME_TRIAL_ANSWER, NULL, payload,
					hvri_trial_answer_encode(&answer,
								 payload)),
			 HVREPL_OK);
	pair_run(&pair, SECOND / 10);
}

START_TEST(an_answer_to_what_was_never_asked_ends_the_session)
{
	try_it(0, 0);
	answer_from_b(1); /* Late: let go. */
	ck_assert_ptr_nonnull(pair.a.node->sessions);
	ck_assert(pair.a.node->sessions->up);
	answer_from_b(2);
	ck_assert(pair.a.node->sessions == NULL ||
		  !pair.a.node->sessions->up);
}
END_TEST

START_TEST(a_session_that_ends_meanwhile_is_told_once)
{
	for (unsigned turns = 0; turns < 200; turns++) {
		told = 0;
		ck_assert_int_eq(begin(0, 0), HVREPL_OK);
		for (unsigned i = 0; i < turns && told == 0; i++) {
			hvrepl_node_process(pair.a.node, 1);
			hvrepl_node_process(pair.b.node, 1);
			pair_link_turn(&pair);
		}
		pair_link_break(&pair);
		pair_run(&pair, 12 * SECOND);
		ck_assert_uint_eq(told, 1);
		ck_assert_uint_eq(pair.b.node->credit_left, HVRI_CREDIT_POOL);
		if (result.code == HVREPL_OK && turns > 0)
			return; /* It was over before the link was. */
	}
	ck_abort_msg("it never came to an end");
}
END_TEST

START_TEST(a_peer_that_says_nothing_is_waited_for_ten_seconds)
{
	told = 0;
	pair.stalled[1] = true;
	ck_assert_int_eq(begin(0, 0), HVREPL_OK);
	pair_run(&pair, HVRI_TRIAL_WAIT_NS - SECOND);
	ck_assert_uint_eq(told, 0);
	pair_run(&pair, 2 * SECOND);
	ck_assert_uint_eq(told, 1);
	ck_assert_int_eq(result.code, HVREPL_E_TIMEOUT);
	ck_assert_ptr_nonnull(strstr(sentence, "no answer"));
	pair.stalled[1] = false;
	pair_run(&pair, 5 * SECOND);
	ck_assert_uint_eq(told, 1);
	ck_assert_uint_eq(pair.b.node->credit_left, HVRI_CREDIT_POOL);
}
END_TEST

START_TEST(a_node_that_closes_tells_it_first)
{
	told = 0;
	ck_assert_int_eq(begin(0, 0), HVREPL_OK);
	pair_stop(&pair, &pair.a);
	ck_assert_uint_eq(told, 1);
	ck_assert_int_eq(result.code, HVREPL_E_DISCONNECTED);
}
END_TEST

START_TEST(replication_goes_on_beside_a_trial)
{
	shadow_protect();
	shadow_scatter(&pair.a, 3, 20);
	ck_assert_int_eq(begin(0, 0), HVREPL_OK);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	ck_assert_uint_eq(told, 1);
	ck_assert_uint_eq(result.bytes, HVRI_TRIAL_BYTES_MAX);
}
END_TEST

START_TEST(a_rate_bounds_a_trial_too)
{
	struct hvrepl_authorisation given = HVREPL_AUTHORISATION_INIT;

	given.peer = pair.a.name;
	given.verbs = HVREPL_VERB_ALL;
	given.trust_group = "pair";
	given.rate_max = 1u << 20;
	ck_assert_int_eq(hvrepl_node_authorise(pair.b.node, &given), HVREPL_OK);
	pair_run(&pair, 20 * SECOND);
	try_it(0, 0);
	/* Two seconds of it. */
	ck_assert_uint_eq(result.bytes, 2u << 20);
}
END_TEST

START_TEST(what_cannot_be_asked_is_refused_at_once)
{
	struct hvrepl_trial trial = HVREPL_TRIAL_INIT;

	ck_assert_int_eq(hvrepl_node_try_peer(pair.a.node, NULL, NULL),
			 HVREPL_E_INVALID);
	trial.peer = pair.b.name;
	ck_assert_int_eq(hvrepl_node_try_peer(pair.a.node, &trial, NULL),
			 HVREPL_E_INVALID);
	trial.done = done;
	trial.disk_count = 1;
	ck_assert_int_eq(hvrepl_node_try_peer(pair.a.node, &trial, NULL),
			 HVREPL_E_INVALID);
	trial.disk_count = 0;
	trial.peer = "nobody";
	ck_assert_int_eq(hvrepl_node_try_peer(pair.a.node, &trial, NULL),
			 HVREPL_E_DISCONNECTED);
	ck_assert_uint_eq(told, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("trial");
	TCase *tc = tcase_create("trial");

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, setup, shadow_teardown);
	tcase_add_test(tc, a_trial_tells_storage_bandwidth_and_round_trip);
	tcase_add_test(tc,
		       the_entry_bounds_what_its_peer_hears_and_no_path_is_said);
	tcase_add_test(tc, who_may_send_nothing_hears_nothing_of_storage);
	tcase_add_test(tc, a_vm_that_does_not_fit_is_told_before_it_is_enabled);
	tcase_add_test(tc, a_vm_that_is_there_counts);
	tcase_add_test(tc, a_peer_that_is_too_old_is_said_to_be);
	tcase_add_test(tc, one_at_a_time_and_the_next_five_seconds_later);
	tcase_add_test(tc, a_peer_that_asks_and_asks_is_cut_off);
	tcase_add_test(tc, filler_that_nobody_granted_ends_the_session);
	tcase_add_test(tc, an_answer_to_what_was_never_asked_ends_the_session);
	tcase_add_test(tc, a_session_that_ends_meanwhile_is_told_once);
	tcase_add_test(tc, a_peer_that_says_nothing_is_waited_for_ten_seconds);
	tcase_add_test(tc, a_node_that_closes_tells_it_first);
	tcase_add_test(tc, replication_goes_on_beside_a_trial);
	tcase_add_test(tc, a_rate_bounds_a_trial_too);
	tcase_add_test(tc, what_cannot_be_asked_is_refused_at_once);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
