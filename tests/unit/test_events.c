/* SPDX-License-Identifier: Apache-2.0 */
/* The event queue stays bounded, and what must arrive does. */
#include "testing.h"

#include "driver/events.h"

#include <hvrepl/audit.h>
#include <string.h>

static struct test_env env;
static struct hvri_env in;
static struct hvri_events events;

static void setup(void)
{
	test_env_init(&env, 1);
	ck_assert_int_eq(hvri_env_copy(&in, &env.env, NULL), HVREPL_OK);
	hvri_events_init(&events, &in);
}

static void teardown(void)
{
	hvri_events_free(&events);
	ck_assert_int_eq(env.alloc_live, 0);
}

static void put(uint32_t type, uint8_t vm, uint64_t value)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	event.type = type;
	event.vm.bytes[0] = vm;
	event.value = value;
	ck_assert_int_eq(hvri_events_put(&events, &event), HVREPL_OK);
}

START_TEST(progress_of_one_vm_coalesces_to_its_newest)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	for (uint64_t i = 1; i <= 100; i++) {
		put(HVREPL_EVENT_PROGRESS, 1, i);
		put(HVREPL_EVENT_PROGRESS, 2, i);
	}
	ck_assert_int_eq(hvri_events_take(&events, &event), 1);
	ck_assert_uint_eq(event.value, 100);
	ck_assert_int_eq(hvri_events_take(&events, &event), 1);
	ck_assert_uint_eq(event.value, 100);
	ck_assert_int_eq(hvri_events_take(&events, &event), 0);
}
END_TEST

static void put_session(const char *peer, uint64_t up)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	event.type = HVREPL_EVENT_SESSION;
	strcpy(event.actor, peer);
	event.value = up;
	ck_assert_int_eq(hvri_events_put(&events, &event), HVREPL_OK);
}

START_TEST(what_became_of_one_session_says_nothing_of_another)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	put_session("site-b", 1);
	put_session("site-c", 1);
	put_session("site-b", 0);
	ck_assert_int_eq(hvri_events_take(&events, &event), 1);
	ck_assert_str_eq(event.actor, "site-c");
	ck_assert_uint_eq(event.value, 1);
	ck_assert_int_eq(hvri_events_take(&events, &event), 1);
	ck_assert_str_eq(event.actor, "site-b");
	ck_assert_uint_eq(event.value, 0);
	ck_assert_int_eq(hvri_events_take(&events, &event), 0);
}
END_TEST

START_TEST(a_flood_drops_status_and_says_so_but_no_job_result)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;
	unsigned results = 0, status = 0;
	uint64_t dropped = 0;

	for (uint32_t i = 0; i < 2 * HVRI_EVENTS_MAX; i++) {
		put(HVREPL_EVENT_JOB_DONE, 1, i);
		put(1000 + i, 1, i);
	}
	while (hvri_events_take(&events, &event) == 1) {
		if (event.type == HVREPL_EVENT_OVERFLOW)
			dropped = event.value;
		else if (event.type == HVREPL_EVENT_JOB_DONE)
			ck_assert_uint_eq(event.value, results++);
		else
			status++;
	}
	ck_assert_uint_eq(results, 2 * HVRI_EVENTS_MAX);
	ck_assert_uint_eq(status, HVRI_EVENTS_MAX);
	ck_assert_uint_eq(dropped, HVRI_EVENTS_MAX);
}
END_TEST

START_TEST(without_memory_a_result_is_refused_and_a_status_counted)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	env.alloc_fail_at = 0;
	env.alloc_fail_on = true;
	event.type = HVREPL_EVENT_JOB_DONE;
	ck_assert_int_eq(hvri_events_put(&events, &event), HVREPL_E_NOMEM);
	put(HVREPL_EVENT_STATE, 1, 1);
	ck_assert_int_eq(hvri_events_take(&events, &event), 1);
	ck_assert_uint_eq(event.type, HVREPL_EVENT_OVERFLOW);
}
END_TEST

static void without_memory(uint32_t type, int32_t code)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	event.type = type;
	event.value = HVREPL_AUDIT_RIGHTS;
	env.alloc_fail_at = 0;
	env.alloc_fail_on = true;
	ck_assert_int_eq(hvri_events_put(&events, &event), code);
	env.alloc_fail_at = -1;
}

static struct hvrepl_event take(uint32_t type)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	ck_assert_int_eq(hvri_events_take(&events, &event), 1);
	ck_assert_uint_eq(event.type, type);
	return event;
}

START_TEST(without_memory_what_is_never_dropped_takes_the_place_of_a_status)
{
	uint32_t type = _i == 0 ? HVREPL_EVENT_AUDIT : HVREPL_EVENT_JOB_DONE;

	put(HVREPL_EVENT_STATE, 1, 1);
	put(HVREPL_EVENT_AUDIT, 1, HVREPL_AUDIT_DENIED);
	without_memory(type, HVREPL_OK);
	ck_assert_uint_eq(take(HVREPL_EVENT_OVERFLOW).value, 1);
	ck_assert_uint_eq(take(HVREPL_EVENT_AUDIT).value, HVREPL_AUDIT_DENIED);
	ck_assert_uint_eq(take(type).value, HVREPL_AUDIT_RIGHTS);
}
END_TEST

START_TEST(audit_events_that_there_was_no_memory_for_are_told_as_a_number)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	put(HVREPL_EVENT_AUDIT, 1, HVREPL_AUDIT_DENIED);
	without_memory(HVREPL_EVENT_AUDIT, HVREPL_E_NOMEM);
	without_memory(HVREPL_EVENT_AUDIT, HVREPL_E_NOMEM);
	put(HVREPL_EVENT_AUDIT, 1, HVREPL_AUDIT_OPERATION);
	ck_assert_uint_eq(take(HVREPL_EVENT_AUDIT).seq, 1);
	event = take(HVREPL_EVENT_AUDIT);
	ck_assert_uint_eq(event.value, HVREPL_AUDIT_LIMIT);
	ck_assert_int_eq(event.code, HVREPL_E_NOMEM);
	ck_assert_uint_eq(event.severity, HVREPL_SEVERITY_CRITICAL);
	ck_assert_uint_eq(event.seq, 3);
	ck_assert_msg(strncmp(event.sentence, "2 audit events ", 15) == 0, "%s",
		      event.sentence);
	event = take(HVREPL_EVENT_AUDIT);
	ck_assert_uint_eq(event.value, HVREPL_AUDIT_OPERATION);
	ck_assert_uint_eq(event.seq, 4);
	ck_assert_int_eq(hvri_events_take(&events, &event), 0);
}
END_TEST

/* Who waits for it could wait for ever; nothing comes behind it. */
START_TEST(the_end_of_a_node_is_told_without_memory)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	put(HVREPL_EVENT_STATE, 1, 1);
	without_memory(HVREPL_EVENT_CLOSED, HVREPL_OK);
	ck_assert_uint_eq(take(HVREPL_EVENT_STATE).seq, 1);
	ck_assert_uint_eq(take(HVREPL_EVENT_CLOSED).seq, 2);
	ck_assert_int_eq(hvri_events_take(&events, &event), 0);
}
END_TEST

/* A name that was cut in the midst of a character, or what a peer said. */
START_TEST(a_sentence_is_well_formed_whatever_is_in_it)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	event.type = HVREPL_EVENT_SESSION;
	strcpy(event.sentence, "H\xc3\xb6he \xe2\x82, \xff\n\xc2\x85 \xf0\x9f\x98");
	ck_assert_int_eq(hvri_events_put(&events, &event), HVREPL_OK);
	event = take(HVREPL_EVENT_SESSION);
	/* Not shown where it is not so: who reads that wants UTF-8. */
	ck_assert(strcmp(event.sentence,
			 "H\xc3\xb6he \?\?, \?\?\?\? \?\?\?") == 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("events");
	TCase *tc = tcase_create("queue");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, progress_of_one_vm_coalesces_to_its_newest);
	tcase_add_test(tc, what_became_of_one_session_says_nothing_of_another);
	tcase_add_test(tc, a_flood_drops_status_and_says_so_but_no_job_result);
	tcase_add_test(tc, without_memory_a_result_is_refused_and_a_status_counted);
	tcase_add_loop_test(
		tc,
		without_memory_what_is_never_dropped_takes_the_place_of_a_status,
		0, 2);
	tcase_add_test(
		tc, audit_events_that_there_was_no_memory_for_are_told_as_a_number);
	tcase_add_test(tc, the_end_of_a_node_is_told_without_memory);
	tcase_add_test(tc, a_sentence_is_well_formed_whatever_is_in_it);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
