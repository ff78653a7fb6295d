/* SPDX-License-Identifier: Apache-2.0 */
/* Words for numbers, ids as text, and requests that wait. */
#include "control.h"
#include "names.h"
#include "testing.h"
#include "tool.h"
#include "waits.h"

#include <stdlib.h>
#include <string.h>

START_TEST(every_state_and_operation_has_a_word_of_its_own)
{
	uint32_t value;

	for (uint32_t i = 0; i < HVREPL_STATE_COUNT; i++) {
		ck_assert(state_of_name(name_of_state(i), &value));
		ck_assert_uint_eq(value, i);
	}
	for (uint32_t i = 0; i < HVREPL_OWNERSHIP_COUNT; i++) {
		ck_assert(ownership_of_name(name_of_ownership(i), &value));
		ck_assert_uint_eq(value, i);
	}
	for (uint32_t i = 1; i < HVREPL_OPERATION_COUNT; i++) {
		ck_assert(operation_of_name(name_of_operation(i), &value));
		ck_assert_uint_eq(value, i);
	}
	for (uint32_t i = 0; i < HVREPL_REASON_COUNT; i++)
		ck_assert_str_ne(name_of_reason(i), "?");
	for (uint32_t i = 0; i < HVREPL_MODE_COUNT; i++)
		ck_assert_str_ne(name_of_mode(i), "?");
	ck_assert_str_eq(name_of_state(HVREPL_STATE_COUNT), "?");
	ck_assert_str_eq(name_of_health(99), "?");
	ck_assert(!operation_of_name("job", &value));
	ck_assert(!state_of_name("asleep", &value));
}
END_TEST

/* failover has two of them, so that the operator says which. */
START_TEST(every_operation_can_be_asked_for_by_a_verb)
{
	for (uint32_t i = 1; i < HVREPL_OPERATION_COUNT; i++) {
		const char *word = name_of_operation(i);
		bool found = strcmp(word, "planned-failover") == 0 ||
			     strcmp(word, "unplanned-failover") == 0;

		for (size_t v = 0; tool_verbs[v] != NULL; v++)
			found |= strcmp(tool_verbs[v]->name, word) == 0;
		ck_assert_msg(found, "%s", word);
	}
}
END_TEST

START_TEST(ids_go_to_text_and_back)
{
	struct hvrepl_uuid id, back;
	char text[UUID_TEXT];

	for (size_t i = 0; i < sizeof(id.bytes); i++)
		id.bytes[i] = (uint8_t)(i * 17);
	uuid_text(&id, text);
	ck_assert_str_eq(text, "00112233-4455-6677-8899-aabbccddeeff");
	ck_assert(uuid_parse(text, &back));
	ck_assert_mem_eq(&id, &back, sizeof(id));
	text[35] = 'x';
	ck_assert(!uuid_parse(text, &back));
	ck_assert(!uuid_parse("00112233-4455-6677-8899-aabbccddeef", &back));
	ck_assert(!uuid_parse("00112233a4455-6677-8899-aabbccddeeff", &back));
	ck_assert(!uuid_parse("0011 233-4455-6677-8899-aabbccddeeff", &back));
	ck_assert(!uuid_parse("", &back));
}
END_TEST

/* The waits pass the request on without looking into it. */
static int answered, looked, expired_seen;

static bool look(struct control_request *request, void *argument, bool expired)
{
	(void)request;
	looked++;
	if (expired)
		expired_seen++;
	if (*(bool **)argument != NULL && **(bool **)argument) {
		answered++;
		return true;
	}
	answered += expired;
	return expired;
}

static void *flag_of(bool *flag)
{
	bool **argument = malloc(sizeof(*argument));

	*argument = flag;
	return argument;
}

START_TEST(a_wait_ends_when_it_happens_or_when_time_is_up)
{
	struct waits waits = { NULL };
	bool happened = false, never = false;

	answered = looked = expired_seen = 0;
	waits_add(&waits, NULL, 100, 50, look, flag_of(&happened));
	waits_add(&waits, NULL, 100, 90, look, flag_of(&never));
	ck_assert_uint_eq(waits_deadline(&waits), 150);
	waits_turn(&waits, 149);
	ck_assert_int_eq(answered, 0);
	happened = true;
	waits_turn(&waits, 149);
	ck_assert_int_eq(answered, 1);
	ck_assert_uint_eq(waits_deadline(&waits), 190);
	waits_turn(&waits, 190);
	ck_assert_int_eq(answered, 2);
	ck_assert_int_eq(expired_seen, 1);
	ck_assert_uint_eq(waits_deadline(&waits), UINT64_MAX);
}
END_TEST

START_TEST(a_wait_without_time_is_answered_at_once)
{
	struct waits waits = { NULL };

	answered = looked = expired_seen = 0;
	waits_add(&waits, NULL, 100, 0, look, flag_of(NULL));
	ck_assert_int_eq(answered, 1);
	ck_assert_ptr_null(waits.first);
}
END_TEST

START_TEST(ending_answers_every_wait)
{
	struct waits waits = { NULL };

	answered = looked = expired_seen = 0;
	for (int i = 0; i < 5; i++)
		waits_add(&waits, NULL, 1, UINT64_MAX - 1, look, flag_of(NULL));
	waits_end(&waits);
	ck_assert_int_eq(answered, 5);
	ck_assert_ptr_null(waits.first);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("site names");
	TCase *tcase = tcase_create("names");

	tcase_add_test(tcase, every_state_and_operation_has_a_word_of_its_own);
	tcase_add_test(tcase, every_operation_can_be_asked_for_by_a_verb);
	tcase_add_test(tcase, ids_go_to_text_and_back);
	tcase_add_test(tcase, a_wait_ends_when_it_happens_or_when_time_is_up);
	tcase_add_test(tcase, a_wait_without_time_is_answered_at_once);
	tcase_add_test(tcase, ending_answers_every_wait);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
