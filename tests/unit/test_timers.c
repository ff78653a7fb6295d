/* SPDX-License-Identifier: Apache-2.0 */
/* The timer heap fires in order, once, whatever is set, moved and cleared. */
#include "testing.h"

#include "driver/timers.h"

#define COUNT 200u
#define MANY 5000u /* More than any room was ever kept for. */

static uint64_t last_fired, fired;

struct timer {
	struct hvri_alarm timer;
	uint64_t wanted; /* What the model says; HVRI_NEVER: must not fire. */
};

static struct timer all[MANY];

static void on_fire(struct hvri_alarm *timer)
{
	struct timer *one = (struct timer *)timer;

	ck_assert_uint_ge(one->wanted, last_fired);
	ck_assert_uint_ne(one->wanted, HVRI_NEVER);
	last_fired = one->wanted;
	one->wanted = HVRI_NEVER;
	fired++;
}

static void init(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		hvri_alarm_init(&all[i].timer, on_fire);
		all[i].wanted = HVRI_NEVER;
	}
	fired = last_fired = 0;
}

/* How many are under `timer`, it too; one more for each that is not in its place, or
 * earlier than the one above it. */
static size_t in_place(const struct hvri_alarm *above,
		       const struct hvri_alarm *timer, size_t place)
{
	bool well;

	if (timer == NULL)
		return 0;
	well = timer->above == above && timer->place == place &&
	       timer->deadline_ns != HVRI_NEVER &&
	       (above == NULL || above->deadline_ns <= timer->deadline_ns);
	return 1u + (well ? 0u : 1u) + in_place(timer, timer->below[0], 2 * place) +
	       in_place(timer, timer->below[1], 2 * place + 1);
}

/* Each set timer hangs in its place, and no other one does. */
static void expect_full_tree(const struct hvri_timers *timers, unsigned count)
{
	size_t set = 0, beyond = 0;

	for (unsigned i = 0; i < count; i++) {
		set += all[i].timer.deadline_ns != HVRI_NEVER;
		beyond += all[i].timer.place > timers->count;
		beyond += (all[i].timer.place == 0) !=
			  (all[i].timer.deadline_ns == HVRI_NEVER);
	}
	ck_assert_uint_eq(beyond, 0);
	ck_assert_uint_eq(timers->count, set);
	ck_assert_uint_eq(in_place(NULL, timers->first, 1), set);
}

START_TEST(timers_fire_in_order_and_once_under_random_moves)
{
	struct hvri_timers timers = { 0 };
	uint64_t state = (uint64_t)_i * 2 + 1, set = 0;

	init(COUNT);
	for (size_t i = 0; i < 5 * COUNT; i++) {
		struct timer *one = &all[test_random(&state) % COUNT];

		one->wanted = test_random(&state) % 4 == 0 ?
				      HVRI_NEVER :
				      test_random(&state) % 1000;
		hvri_alarm_set(&timers, &one->timer, one->wanted);
		expect_full_tree(&timers, COUNT);
	}
	for (size_t i = 0; i < COUNT; i++)
		set += all[i].wanted != HVRI_NEVER;
	for (uint64_t now = 0; now < 1000; now += 100) {
		hvri_timers_run(&timers, now, UINT32_MAX);
		expect_full_tree(&timers, COUNT);
		for (size_t i = 0; i < COUNT; i++)
			ck_assert(all[i].wanted > now);
	}
	hvri_timers_run(&timers, 1000, UINT32_MAX);
	ck_assert_uint_eq(fired, set);
	ck_assert_uint_eq(hvri_timers_next(&timers), HVRI_NEVER);
}
END_TEST

START_TEST(however_many_timers_are_set_takes_no_room)
{
	struct hvri_timers timers = { 0 };
	uint64_t state = 5;

	init(MANY);
	for (size_t i = 0; i < MANY; i++) {
		all[i].wanted = test_random(&state);
		hvri_alarm_set(&timers, &all[i].timer, all[i].wanted);
	}
	expect_full_tree(&timers, MANY);
	ck_assert_uint_eq(timers.count, MANY);
	ck_assert_uint_eq(hvri_timers_run(&timers, HVRI_NEVER - 1, 1000), 1000);
	expect_full_tree(&timers, MANY);
	hvri_timers_run(&timers, HVRI_NEVER - 1, UINT32_MAX);
	ck_assert_uint_eq(fired, MANY);
	ck_assert_ptr_null(timers.first);
}
END_TEST

/* One that fires may set itself anew, or clear one that is due as well. */
static struct hvri_timers *ringing;

static void on_ring(struct hvri_alarm *timer)
{
	fired++;
	if (fired < 3)
		hvri_alarm_set(ringing, timer, 20);
	else
		hvri_alarm_set(ringing, &all[1].timer, HVRI_NEVER);
}

START_TEST(a_timer_that_fires_may_set_itself_and_clear_another)
{
	struct hvri_timers timers = { 0 };

	init(2);
	hvri_alarm_init(&all[0].timer, on_ring);
	ringing = &timers;
	hvri_alarm_set(&timers, &all[0].timer, 10);
	hvri_alarm_set(&timers, &all[1].timer, 21);
	ck_assert_uint_eq(hvri_timers_run(&timers, 30, UINT32_MAX), 3);
	ck_assert_uint_eq(timers.count, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("timers");
	TCase *tc = tcase_create("heap");

	tcase_add_loop_test(tc, timers_fire_in_order_and_once_under_random_moves,
			    0, 20);
	tcase_add_test(tc, however_many_timers_are_set_takes_no_room);
	tcase_add_test(tc, a_timer_that_fires_may_set_itself_and_clear_another);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
