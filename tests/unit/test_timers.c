/* SPDX-License-Identifier: Apache-2.0 */
/* The timer heap fires in order, once, whatever is set, moved and cleared. */
#include "testing.h"

#include "driver/timers.h"

#define COUNT 200

static uint64_t last_fired, fired;

struct timer {
	struct hvri_alarm timer;
	uint64_t wanted; /* What the model says; HVRI_NEVER: must not fire. */
};

static void on_fire(struct hvri_alarm *timer)
{
	struct timer *one = (struct timer *)timer;

	ck_assert_uint_ge(one->wanted, last_fired);
	ck_assert_uint_ne(one->wanted, HVRI_NEVER);
	last_fired = one->wanted;
	one->wanted = HVRI_NEVER;
	fired++;
}

START_TEST(timers_fire_in_order_and_once_under_random_moves)
{
	struct test_env env;
	struct hvri_env in;
	struct hvri_timers timers;
	static struct timer all[COUNT];
	uint64_t state = (uint64_t)_i * 2 + 1, set = 0;

	test_env_init(&env, 1);
	ck_assert_int_eq(hvri_env_copy(&in, &env.env, NULL), HVREPL_OK);
	hvri_timers_init(&timers, &in);
	ck_assert_int_eq(hvri_timers_reserve(&timers, COUNT), HVREPL_OK);
	for (size_t i = 0; i < COUNT; i++)
		all[i] = (struct timer){ { HVRI_NEVER, 0, on_fire },
					 HVRI_NEVER };
	for (size_t i = 0; i < 5 * COUNT; i++) {
		struct timer *one = &all[test_random(&state) % COUNT];

		one->wanted = test_random(&state) % 4 == 0 ?
				      HVRI_NEVER :
				      test_random(&state) % 1000;
		hvri_alarm_set(&timers, &one->timer, one->wanted);
	}
	for (size_t i = 0; i < COUNT; i++)
		set += all[i].wanted != HVRI_NEVER;
	fired = last_fired = 0;
	for (uint64_t now = 0; now < 1000; now += 100) {
		hvri_timers_run(&timers, now, UINT32_MAX);
		for (size_t i = 0; i < COUNT; i++)
			ck_assert(all[i].wanted > now);
	}
	hvri_timers_run(&timers, 1000, UINT32_MAX);
	ck_assert_uint_eq(fired, set);
	ck_assert_uint_eq(hvri_timers_next(&timers), HVRI_NEVER);
	hvri_timers_free(&timers);
	ck_assert_int_eq(env.alloc_live, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("timers");
	TCase *tc = tcase_create("heap");

	tcase_add_loop_test(tc, timers_fire_in_order_and_once_under_random_moves,
			    0, 20);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
