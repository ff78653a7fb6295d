/* SPDX-License-Identifier: Apache-2.0 */
/* A trial of a session: its bytes, and what is decided at both ends. */
#include "replication/trial.h"
#include "testing.h"

#include <stdio.h>
#include <string.h>

#define SECOND 1000000000ull

static const char *hex(const void *bytes, size_t length)
{
	static char text[2 * 64 + 1];

	for (size_t i = 0; i < length; i++)
		snprintf(text + 2 * i, 3, "%02x", ((const uint8_t *)bytes)[i]);
	return text;
}

static struct hvri_trial_ask sample_ask(void)
{
	return (struct hvri_trial_ask){ .number = 7,
					.bytes = HVRI_TRIAL_BYTES_MAX,
					.disk_bytes = 0x0102030405,
					.disk_count = 2,
					.points = 8 };
}

static struct hvri_trial_answer sample_answer(void)
{
	return (struct hvri_trial_answer){ .number = 7,
					   .code = HVREPL_E_DENIED,
					   .free_bytes = 0x1000,
					   .total_bytes = HVREPL_BYTES_UNKNOWN,
					   .bytes = 0x20000,
					   .sentence = "no" };
}

START_TEST(payloads_have_exactly_these_bytes)
{
	struct hvri_trial_ask ask = sample_ask();
	struct hvri_trial_answer answer = sample_answer();
	struct hvri_trial_data data = { 7, HVRI_TRIAL_FILLER, 3 };
	struct hvri_trial_result result = { 7, 0x20000, 1000 };
	uint8_t bytes[HVRI_TRIAL_ANSWER_MAX];

	hvri_trial_ask_encode(&ask, bytes);
	ck_assert_str_eq(hex(bytes, HVRI_TRIAL_ASK_SIZE),
			 "0700000000000000000080000000000005040302010000000200"
			 "000008000000");
	ck_assert_uint_eq(hvri_trial_answer_encode(&answer, bytes), 42);
	ck_assert_str_eq(hex(bytes, 42),
			 "07000000000000006cfeffff000000000010000000000000ffff"
			 "ffffffffffff00000200000000006e6f");
	hvri_trial_data_encode(&data, bytes);
	ck_assert_str_eq(hex(bytes, HVRI_TRIAL_DATA_PREFIX),
			 "07000000000000000200000000000000");
	hvri_trial_result_encode(&result, bytes);
	ck_assert_str_eq(hex(bytes, HVRI_TRIAL_RESULT_SIZE),
			 "07000000000000000000020000000000e803000000000000");
}
END_TEST

START_TEST(what_is_encoded_decodes_to_the_same)
{
	struct hvri_trial_ask ask = sample_ask(), ask_back;
	struct hvri_trial_answer answer = sample_answer(), answer_back;
	struct hvri_trial_data data = { 7, HVRI_TRIAL_FILLER, 3 }, data_back;
	struct hvri_trial_result result = { 7, 0x20000, 1000 }, result_back;
	uint8_t bytes[HVRI_TRIAL_ANSWER_MAX] = { 0 };
	uint32_t length;

	memset(answer.sentence, 'x', HVRI_TRIAL_SENTENCE_MAX);
	hvri_trial_ask_encode(&ask, bytes);
	ck_assert_int_eq(hvri_trial_ask_decode(bytes, HVRI_TRIAL_ASK_SIZE,
					       &ask_back),
			 HVREPL_OK);
	ck_assert_mem_eq(&ask, &ask_back, sizeof(ask));
	length = hvri_trial_answer_encode(&answer, bytes);
	ck_assert_uint_eq(length, HVRI_TRIAL_ANSWER_MAX);
	ck_assert_int_eq(hvri_trial_answer_decode(bytes, length, &answer_back),
			 HVREPL_OK);
	ck_assert_str_eq(answer.sentence, answer_back.sentence);
	ck_assert_uint_eq(answer_back.total_bytes, HVREPL_BYTES_UNKNOWN);
	ck_assert_int_eq(answer_back.code, HVREPL_E_DENIED);
	hvri_trial_data_encode(&data, bytes);
	ck_assert_int_eq(hvri_trial_data_decode(bytes,
						HVRI_TRIAL_DATA_PREFIX + 3,
						&data_back),
			 HVREPL_OK);
	ck_assert_uint_eq(data_back.length, 3);
	hvri_trial_result_encode(&result, bytes);
	ck_assert_int_eq(hvri_trial_result_decode(bytes,
						  HVRI_TRIAL_RESULT_SIZE,
						  &result_back),
			 HVREPL_OK);
	ck_assert_mem_eq(&result, &result_back, sizeof(result));
}
END_TEST

static int32_t decode_any(int kind, const uint8_t *bytes, size_t length)
{
	union {
		struct hvri_trial_ask ask;
		struct hvri_trial_answer answer;
		struct hvri_trial_data data;
		struct hvri_trial_result result;
	} u;

	switch (kind) {
	case 0:
		return hvri_trial_ask_decode(bytes, length, &u.ask);
	case 1:
		return hvri_trial_answer_decode(bytes, length, &u.answer);
	case 2:
		return hvri_trial_data_decode(bytes, length, &u.data);
	default:
		return hvri_trial_result_decode(bytes, length, &u.result);
	}
}

START_TEST(payloads_of_another_length_are_refused)
{
	static const uint32_t least[] = { HVRI_TRIAL_ASK_SIZE,
					  HVRI_TRIAL_ANSWER_HEAD,
					  HVRI_TRIAL_DATA_PREFIX + 1,
					  HVRI_TRIAL_RESULT_SIZE };
	static const uint32_t most[] = { HVRI_TRIAL_ASK_SIZE,
					 HVRI_TRIAL_ANSWER_MAX,
					 HVRI_FRAME_CONTROL_MAX,
					 HVRI_TRIAL_RESULT_SIZE };
	static uint8_t bytes[HVRI_FRAME_CONTROL_MAX + 8];

	memset(bytes, 0, sizeof(bytes));
	bytes[0] = 1;
	if (_i == 2)
		bytes[8] = HVRI_TRIAL_FILLER;
	for (uint32_t length = 0; length < sizeof(bytes); length++)
		ck_assert_int_eq(decode_any(_i, bytes, length),
				 length >= least[_i] && length <= most[_i] ?
					 HVREPL_OK :
					 HVREPL_E_PROTOCOL);
}
END_TEST

/* One byte changed to what no node says. */
START_TEST(what_no_node_says_is_refused)
{
	static const struct {
		int kind;
		uint32_t length;
		uint8_t at, value;
	} bad[] = {
		{ 0, 32, 0, 0 },     /* No number. */
		{ 0, 32, 11, 1 },    /* More than 8 MiB of filler. */
		{ 0, 32, 24, 65 },   /* More disks than a VM has. */
		{ 0, 32, 24, 0 },    /* Bytes and no disks. */
		{ 1, 40, 0, 0 },
		{ 1, 40, 11, 0x7f }, /* A code above 0. */
		{ 1, 40, 35, 1 },    /* More than 8 MiB. */
		{ 1, 40, 12, 1 },    /* To wait, and to send. */
		{ 2, 17, 0, 0 },
		{ 2, 17, 8, 0 },     /* No part. */
		{ 2, 17, 8, 1 },     /* A begin with filler. */
		{ 2, 17, 8, 3 },     /* An end with filler. */
		{ 2, 17, 8, 4 },
		{ 2, 16, 8, 2 },     /* Filler without any. */
		{ 2, 17, 15, 1 },    /* What has to be zero. */
		{ 3, 24, 0, 0 },
		{ 3, 24, 11, 1 },
	};
	const struct hvri_trial_ask ask = sample_ask();
	const struct hvri_trial_answer answer = sample_answer();
	const struct hvri_trial_data data = { 7, HVRI_TRIAL_FILLER, 1 };
	const struct hvri_trial_result result = { 7, 0x20000, 1000 };
	uint8_t bytes[HVRI_TRIAL_ANSWER_MAX] = { 0 };

	switch (bad[_i].kind) {
	case 0:
		hvri_trial_ask_encode(&ask, bytes);
		break;
	case 1:
		(void)hvri_trial_answer_encode(&answer, bytes);
		break;
	case 2:
		hvri_trial_data_encode(&data, bytes);
		break;
	default:
		hvri_trial_result_encode(&result, bytes);
	}
	if (bad[_i].length != 16)
		ck_assert_int_eq(decode_any(bad[_i].kind, bytes,
					    bad[_i].length),
				 HVREPL_OK);
	bytes[bad[_i].at] = bad[_i].value;
	ck_assert_int_eq(decode_any(bad[_i].kind, bytes, bad[_i].length),
			 HVREPL_E_PROTOCOL);
}
END_TEST

START_TEST(a_site_that_asks_of_no_disks_asks_of_no_points)
{
	struct hvri_trial_ask ask = { .number = 7, .points = 1 };
	uint8_t bytes[HVRI_TRIAL_ASK_SIZE];

	hvri_trial_ask_encode(&ask, bytes);
	ck_assert_int_eq(decode_any(0, bytes, sizeof(bytes)),
			 HVREPL_E_PROTOCOL);
	ask.points = 0;
	hvri_trial_ask_encode(&ask, bytes);
	ck_assert_int_eq(decode_any(0, bytes, sizeof(bytes)), HVREPL_OK);
}
END_TEST

START_TEST(a_sentence_from_outside_is_made_printable)
{
	struct hvri_trial_answer answer = sample_answer(), back;
	uint8_t bytes[HVRI_TRIAL_ANSWER_MAX];

	strcpy(answer.sentence, "a\033[2Jb\177");
	ck_assert_int_eq(
		hvri_trial_answer_decode(
			bytes, hvri_trial_answer_encode(&answer, bytes), &back),
		HVREPL_OK);
	ck_assert_str_eq(back.sentence, "a?[2Jb?");
}
END_TEST

/* ---- The site that is asked. ---- */

static struct hvri_trial_host host;
static uint64_t now;

static struct hvri_trial_update asked(uint64_t number, uint64_t bytes,
				      uint64_t rested)
{
	struct hvri_trial_event event = { .type = HVRI_TRIAL_ASKED,
					  .now_ns = now,
					  .number = number,
					  .bytes = bytes,
					  .rested_ns = rested };

	return hvri_trial_host_step(&host, &event);
}

static struct hvri_trial_update came(uint64_t number, uint8_t part,
				     uint32_t length)
{
	struct hvri_trial_event event = { .type = HVRI_TRIAL_CAME,
					  .now_ns = now,
					  .data = { number, part, length } };

	return hvri_trial_host_step(&host, &event);
}

static struct hvri_trial_update other(uint8_t type)
{
	struct hvri_trial_event event = { .type = type, .now_ns = now };

	return hvri_trial_host_step(&host, &event);
}

static void setup(void)
{
	memset(&host, 0, sizeof(host));
	now = 100 * SECOND;
}

START_TEST(bytes_are_counted_where_they_come_and_from_the_begin_on)
{
	struct hvri_trial_update update = asked(1, 1000, UINT64_MAX);

	ck_assert_uint_eq(update.lent, 1000);
	ck_assert_uint_eq(update.deadline_ns, now + HVRI_TRIAL_HOST_NS);
	now += SECOND;
	ck_assert_int_eq(came(1, HVRI_TRIAL_BEGIN, 0).code, HVREPL_OK);
	now += SECOND / 2;
	ck_assert_int_eq(came(1, HVRI_TRIAL_FILLER, 600).code, HVREPL_OK);
	ck_assert_int_eq(came(1, HVRI_TRIAL_FILLER, 400).code, HVREPL_OK);
	now += SECOND / 2;
	update = came(1, HVRI_TRIAL_END, 0);
	ck_assert(update.has_result);
	ck_assert_uint_eq(update.result.bytes, 1000);
	ck_assert_uint_eq(update.result.ns, SECOND);
	ck_assert_uint_eq(update.returned, 1000);
	ck_assert_uint_eq(update.deadline_ns, UINT64_MAX);
	/* ...and once. */
	ck_assert_uint_eq(other(HVRI_TRIAL_DOWN).returned, 0);
}
END_TEST

START_TEST(a_peer_that_stalls_is_counted_to_the_deadline_and_its_rest_let_go)
{
	struct hvri_trial_update update;

	asked(1, 1000, UINT64_MAX);
	came(1, HVRI_TRIAL_BEGIN, 0);
	came(1, HVRI_TRIAL_FILLER, 600);
	now += HVRI_TRIAL_HOST_NS;
	update = other(HVRI_TRIAL_DUE);
	ck_assert(update.has_result);
	ck_assert_uint_eq(update.result.bytes, 600);
	ck_assert_uint_eq(update.returned, 1000);
	update = came(1, HVRI_TRIAL_FILLER, 400);
	ck_assert_int_eq(update.code, HVREPL_OK);
	ck_assert(!update.has_result);
	update = came(1, HVRI_TRIAL_END, 0);
	ck_assert_int_eq(update.code, HVREPL_OK);
	ck_assert(!update.has_result);
	ck_assert_uint_eq(update.returned, 0);
	ck_assert_int_eq(came(1, HVRI_TRIAL_END, 0).code, HVREPL_E_PROTOCOL);
}
END_TEST

START_TEST(filler_comes_as_far_as_it_was_granted_and_not_a_byte_further)
{
	asked(1, 1000, UINT64_MAX);
	came(1, HVRI_TRIAL_BEGIN, 0);
	ck_assert_int_eq(came(1, HVRI_TRIAL_FILLER, 1000).code, HVREPL_OK);
	ck_assert_int_eq(came(1, HVRI_TRIAL_FILLER, 1).code, HVREPL_E_PROTOCOL);
	/* The credit goes back with the session. */
	ck_assert_uint_eq(other(HVRI_TRIAL_DOWN).returned, 1000);
}
END_TEST

START_TEST(what_nobody_granted_is_refused)
{
	ck_assert_int_eq(came(1, HVRI_TRIAL_BEGIN, 0).code, HVREPL_E_PROTOCOL);
	asked(2, 1000, UINT64_MAX);
	ck_assert_int_eq(came(1, HVRI_TRIAL_BEGIN, 0).code, HVREPL_E_PROTOCOL);
	ck_assert_int_eq(came(2, HVRI_TRIAL_FILLER, 1).code, HVREPL_E_PROTOCOL);
	ck_assert_int_eq(came(2, HVRI_TRIAL_END, 0).code, HVREPL_E_PROTOCOL);
	ck_assert_int_eq(came(2, HVRI_TRIAL_BEGIN, 0).code, HVREPL_OK);
	ck_assert_int_eq(came(2, HVRI_TRIAL_BEGIN, 0).code, HVREPL_E_PROTOCOL);
}
END_TEST

START_TEST(the_next_trial_of_an_entry_has_to_wait_five_seconds)
{
	struct hvri_trial_update update = asked(1, 10, HVRI_TRIAL_PAUSE_NS - 1);

	ck_assert_uint_eq(update.lent, 0);
	ck_assert_uint_eq(update.wait_ms, 1);
	update = asked(1, 10, HVRI_TRIAL_PAUSE_NS);
	ck_assert_uint_eq(update.lent, 10);
	ck_assert_uint_eq(update.wait_ms, 0);
	/* One at a time, whatever became of the entry. */
	update = asked(2, 10, UINT64_MAX);
	ck_assert_uint_eq(update.lent, 0);
	ck_assert_uint_gt(update.wait_ms, 0);
	ck_assert_int_eq(came(1, HVRI_TRIAL_BEGIN, 0).code, HVREPL_OK);
}
END_TEST

/* ---- The site that asks. ---- */

static struct hvri_trial_asker asker;

static int32_t answered(uint64_t number, uint64_t bytes)
{
	struct hvri_trial_answer answer = { .number = number, .bytes = bytes };

	return hvri_trial_asker_answered(&asker, &answer, now);
}

static void ask(void)
{
	const struct hvri_trial_ask what = { .number = 3, .bytes = 200000 };

	hvri_trial_asker_begin(&asker, &what, now);
}

START_TEST(what_was_granted_is_sent_and_no_more)
{
	struct hvri_trial_data data = { 0 };
	struct hvri_trial_result result = { 3, 150000, SECOND };
	uint64_t sum = 0;

	ask();
	now += 7;
	ck_assert(!hvri_trial_asker_pull(&asker, now, &data));
	ck_assert_int_eq(answered(3, 150000), HVREPL_OK);
	ck_assert_uint_eq(asker.round_trip_ns, 7);
	ck_assert(hvri_trial_asker_pull(&asker, now, &data));
	ck_assert_uint_eq(data.part, HVRI_TRIAL_BEGIN);
	while (hvri_trial_asker_pull(&asker, now, &data) &&
	       data.part == HVRI_TRIAL_FILLER) {
		ck_assert_uint_le(data.length, HVRI_TRIAL_FILLER_MAX);
		sum += data.length;
	}
	ck_assert_uint_eq(sum, 150000);
	ck_assert_uint_eq(data.part, HVRI_TRIAL_END);
	ck_assert(!hvri_trial_asker_pull(&asker, now, &data));
	ck_assert_int_eq(hvri_trial_asker_counted(&asker, &result), HVREPL_OK);
	ck_assert_uint_eq(asker.state, HVRI_TRIAL_DONE);
	ck_assert_uint_eq(asker.bytes, 150000);
	ck_assert_uint_eq(asker.ns, SECOND);
}
END_TEST

START_TEST(nothing_more_is_sent_after_two_seconds)
{
	struct hvri_trial_data data = { 0 };

	ask();
	ck_assert_int_eq(answered(3, 200000), HVREPL_OK);
	ck_assert(hvri_trial_asker_pull(&asker, now, &data));
	ck_assert(hvri_trial_asker_pull(&asker, now + HVRI_TRIAL_SEND_NS - 1,
					&data));
	ck_assert_uint_eq(data.part, HVRI_TRIAL_FILLER);
	ck_assert(hvri_trial_asker_pull(&asker, now + HVRI_TRIAL_SEND_NS,
					&data));
	ck_assert_uint_eq(data.part, HVRI_TRIAL_END);
}
END_TEST

START_TEST(an_answer_or_a_count_that_cannot_be_is_refused)
{
	struct hvri_trial_data data;
	struct hvri_trial_result more = { 3, 1, SECOND };
	struct hvri_trial_result old = { 2, 1, SECOND };

	ask();
	ck_assert_int_eq(hvri_trial_asker_counted(&asker, &more),
			 HVREPL_E_PROTOCOL); /* Before it answered. */
	ck_assert_int_eq(answered(2, 5), HVREPL_OK); /* Of an earlier one. */
	ck_assert_uint_eq(asker.state, HVRI_TRIAL_ASKING);
	ck_assert_int_eq(answered(4, 5), HVREPL_E_PROTOCOL);
	ck_assert_int_eq(answered(3, 200001), HVREPL_E_PROTOCOL);
	ck_assert_int_eq(answered(3, 5), HVREPL_OK);
	ck_assert_int_eq(answered(3, 5), HVREPL_E_PROTOCOL); /* Twice. */
	ck_assert(hvri_trial_asker_pull(&asker, now, &data));
	ck_assert_int_eq(hvri_trial_asker_counted(&asker, &old), HVREPL_OK);
	/* More than was sent. */
	ck_assert_int_eq(hvri_trial_asker_counted(&asker, &more),
			 HVREPL_E_PROTOCOL);
}
END_TEST

START_TEST(without_anything_granted_it_is_over_with_the_answer)
{
	struct hvri_trial_data data;

	ask();
	ck_assert_int_eq(answered(3, 0), HVREPL_OK);
	ck_assert_uint_eq(asker.state, HVRI_TRIAL_DONE);
	ck_assert_int_eq(asker.code, HVREPL_OK);
	ck_assert(!hvri_trial_asker_pull(&asker, now, &data));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("trial");
	TCase *tc = tcase_create("bytes"), *host_tc = tcase_create("host"),
	      *asker_tc = tcase_create("asker");

	tcase_add_test(tc, payloads_have_exactly_these_bytes);
	tcase_add_test(tc, what_is_encoded_decodes_to_the_same);
	tcase_add_loop_test(tc, payloads_of_another_length_are_refused, 0, 4);
	tcase_add_loop_test(tc, what_no_node_says_is_refused, 0, 17);
	tcase_add_test(tc,
		       a_site_that_asks_of_no_disks_asks_of_no_points);
	tcase_add_test(tc, a_sentence_from_outside_is_made_printable);
	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(host_tc, setup, NULL);
	tcase_add_test(host_tc,
		       bytes_are_counted_where_they_come_and_from_the_begin_on);
	tcase_add_test(
		host_tc,
		a_peer_that_stalls_is_counted_to_the_deadline_and_its_rest_let_go);
	tcase_add_test(
		host_tc,
		filler_comes_as_far_as_it_was_granted_and_not_a_byte_further);
	tcase_add_test(host_tc, what_nobody_granted_is_refused);
	tcase_add_test(host_tc,
		       the_next_trial_of_an_entry_has_to_wait_five_seconds);
	suite_add_tcase(suite, host_tc);
	tcase_add_checked_fixture(asker_tc, setup, NULL);
	tcase_add_test(asker_tc, what_was_granted_is_sent_and_no_more);
	tcase_add_test(asker_tc, nothing_more_is_sent_after_two_seconds);
	tcase_add_test(asker_tc, an_answer_or_a_count_that_cannot_be_is_refused);
	tcase_add_test(asker_tc,
		       without_anything_granted_it_is_over_with_the_answer);
	suite_add_tcase(suite, asker_tc);
	return test_run(suite);
}
