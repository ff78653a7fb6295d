/* SPDX-License-Identifier: Apache-2.0 */
/* The event queue stays bounded, and what must arrive does. */
#include "testing.h"

#include "driver/events.h"

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

int main(void)
{
	Suite *suite = suite_create("events");
	TCase *tc = tcase_create("queue");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, progress_of_one_vm_coalesces_to_its_newest);
	tcase_add_test(tc, a_flood_drops_status_and_says_so_but_no_job_result);
	tcase_add_test(tc, without_memory_a_result_is_refused_and_a_status_counted);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
