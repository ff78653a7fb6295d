/* SPDX-License-Identifier: Apache-2.0 */
/* The gate of a view's writers: who waits for whom (S8). */
#include "store/gate.h"
#include "testing.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static struct hvri_gate gate;
static atomic_bool held;

static void setup(void)
{
	hvri_gate_init(&gate);
	atomic_store(&held, false);
}

static void teardown(void)
{
	hvri_gate_free(&gate);
}

START_TEST(only_writers_of_the_same_blocks_wait_for_each_other)
{
	struct hvri_gate_pass first = { NULL, 0, 0, 4096 };
	struct hvri_gate_pass second = { NULL, 0, 8192, 12288 };
	struct hvri_gate_pass other = { NULL, 1, 0, 4096 };

	hvri_gate_enter(&gate, &first);
	hvri_gate_enter(&gate, &second);
	hvri_gate_enter(&gate, &other);
	ck_assert(hvri_gate_would_wait(&gate, 0, 0, 512));
	ck_assert(hvri_gate_would_wait(&gate, 0, 8192, 16384));
	ck_assert(!hvri_gate_would_wait(&gate, 0, 4096, 8192));
	ck_assert(!hvri_gate_would_wait(&gate, 1, 8192, 12288));
	/* In any order. */
	hvri_gate_leave(&gate, &first);
	ck_assert(!hvri_gate_would_wait(&gate, 0, 0, 512));
	ck_assert(hvri_gate_would_wait(&gate, 0, 8192, 16384));
	hvri_gate_leave(&gate, &other);
	hvri_gate_leave(&gate, &second);
	ck_assert(!hvri_gate_would_wait(&gate, 0, 8192, 16384));
}
END_TEST

static void *hold_all(void *argument)
{
	(void)argument;
	hvri_gate_hold_all(&gate);
	atomic_store(&held, true);
	return NULL;
}

static void *enter(void *argument)
{
	hvri_gate_enter(&gate, argument);
	atomic_store(&held, true);
	return NULL;
}

START_TEST(who_holds_all_waits_for_those_inside_and_keeps_the_others_out)
{
	struct hvri_gate_pass inside = { NULL, 0, 0, 4096 };
	pthread_t thread;

	hvri_gate_enter(&gate, &inside);
	ck_assert_int_eq(pthread_create(&thread, NULL, hold_all, NULL), 0);
	while (!hvri_gate_would_wait(&gate, 1, 0, 4096))
		sched_yield();
	ck_assert(!atomic_load(&held));
	hvri_gate_leave(&gate, &inside);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert(hvri_gate_would_wait(&gate, 1, 0, 4096));
	hvri_gate_release(&gate);
	ck_assert(!hvri_gate_would_wait(&gate, 1, 0, 4096));
}
END_TEST

START_TEST(a_writer_gets_in_when_the_one_before_has_left)
{
	struct hvri_gate_pass first = { NULL, 0, 0, 8192 };
	struct hvri_gate_pass second = { NULL, 0, 4096, 12288 };
	pthread_t thread;

	hvri_gate_enter(&gate, &first);
	ck_assert_int_eq(pthread_create(&thread, NULL, enter, &second), 0);
	for (unsigned i = 0; i < 200; i++) /* Mostly it waits by then. */
		sched_yield();
	ck_assert(!atomic_load(&held));
	hvri_gate_leave(&gate, &first);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert(hvri_gate_would_wait(&gate, 0, 8192, 12288));
	hvri_gate_leave(&gate, &second);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gate");
	TCase *tcase = tcase_create("gate");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase,
		       only_writers_of_the_same_blocks_wait_for_each_other);
	tcase_add_test(
		tcase,
		who_holds_all_waits_for_those_inside_and_keeps_the_others_out);
	tcase_add_test(tcase, a_writer_gets_in_when_the_one_before_has_left);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
