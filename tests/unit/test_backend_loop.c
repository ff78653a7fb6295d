/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: descriptors, timers, posts from threads, doors with deadlines. */
#define _GNU_SOURCE
#include "testing.h"

#include <hvrepl/backends.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static hvrepl_loop *loop;

static void setup(void)
{
	ck_assert_int_eq(hvrepl_loop_create(&loop, NULL), HVREPL_OK);
}

static void teardown(void)
{
	hvrepl_loop_destroy(loop);
}

static void stop_loop(void *argument)
{
	(void)argument;
	hvrepl_loop_stop(loop);
}

static hvrepl_loop_watch *watch;
static unsigned calls;
static uint32_t seen;

static void read_one(void *user, uint32_t events)
{
	char byte;

	calls++;
	seen |= events;
	if ((events & HVREPL_LOOP_READ) != 0 &&
	    read(*(int *)user, &byte, 1) == 1)
		return;
	/* Removed from inside its own callback. */
	hvrepl_loop_watch_remove(watch);
	hvrepl_loop_stop(loop);
}

START_TEST(a_descriptor_is_reported_until_it_is_drained)
{
	int ends[2];

	calls = seen = 0;
	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(write(ends[1], "abc", 3), 3);
	close(ends[1]);
	ck_assert_int_eq(hvrepl_loop_watch_fd(loop, ends[0], HVREPL_LOOP_READ,
					      read_one, &ends[0], &watch),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	ck_assert_uint_eq(calls, 4);
	ck_assert((seen & HVREPL_LOOP_FAILED) != 0);
	close(ends[0]);
}
END_TEST

START_TEST(a_watch_of_nothing_stays_silent)
{
	int ends[2];

	calls = seen = 0;
	ck_assert_int_eq(pipe(ends), 0);
	close(ends[1]);
	ck_assert_int_eq(hvrepl_loop_watch_fd(loop, ends[0], 0, read_one,
					      &ends[0], &watch),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_loop_post(loop, stop_loop, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	ck_assert_uint_eq(calls, 0);
	ck_assert_int_eq(hvrepl_loop_watch_change(watch, HVREPL_LOOP_READ),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	ck_assert_uint_eq(calls, 1);
	close(ends[0]);
}
END_TEST

static int order[4];
static unsigned fired;
static hvrepl_loop_timer *timers[3];

static void fire(void *user)
{
	int which = *(int *)user;

	order[fired++] = which;
	hvrepl_loop_timer_free(timers[which]);
	if (fired == 2)
		hvrepl_loop_stop(loop);
}

START_TEST(timers_fire_once_in_order_and_not_when_taken_back)
{
	static int ids[3] = { 0, 1, 2 };
	uint64_t now = hvrepl_loop_now();

	fired = 0;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(hvrepl_loop_timer_create(loop, fire, &ids[i],
							  &timers[i]),
				 HVREPL_OK);
	hvrepl_loop_timer_set(timers[0], now + 8000000);
	hvrepl_loop_timer_set(timers[1], now + 2000000);
	hvrepl_loop_timer_set(timers[2], now + 1000000);
	hvrepl_loop_timer_set(timers[2], UINT64_MAX);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	ck_assert_uint_eq(fired, 2);
	ck_assert_int_eq(order[0], 1);
	ck_assert_int_eq(order[1], 0);
	ck_assert_uint_ge(hvrepl_loop_now(), now + 8000000);
	hvrepl_loop_timer_free(timers[2]);
}
END_TEST

#define POSTERS 4
#define POSTS 2000
static unsigned posted; /* Only touched on the loop's thread. */

static void count_post(void *argument)
{
	(void)argument;
	if (++posted == POSTERS * POSTS)
		hvrepl_loop_stop(loop);
}

static void *post_many(void *argument)
{
	(void)argument;
	for (int i = 0; i < POSTS; i++)
		if (hvrepl_loop_post(loop, count_post, NULL) != HVREPL_OK)
			abort();
	return NULL;
}

START_TEST(functions_posted_by_many_threads_all_run)
{
	pthread_t threads[POSTERS];

	posted = 0;
	for (int i = 0; i < POSTERS; i++)
		pthread_create(&threads[i], NULL, post_many, NULL);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	for (int i = 0; i < POSTERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(posted, POSTERS * POSTS);
	/* Posted to a loop that never runs again: run by destroy. */
	ck_assert_int_eq(hvrepl_loop_post(loop, count_post, NULL), HVREPL_OK);
	hvrepl_loop_destroy(loop);
	ck_assert_uint_eq(posted, POSTERS * POSTS + 1);
	loop = NULL;
}
END_TEST

struct machine {
	unsigned processed, more;
	uint64_t deadline, patience_ns;
	hvrepl_loop_attachment *attachment;
};

static int32_t machine_process(void *user, uint32_t budget)
{
	struct machine *machine = user;

	ck_assert_uint_eq(budget, 64);
	machine->processed++;
	if (machine->more > 0) {
		machine->more--;
		return 1;
	}
	/* It begins now: on a slow machine it could be over by the first "no". */
	if (machine->patience_ns > 0) {
		machine->deadline = hvrepl_loop_now() + machine->patience_ns;
		machine->patience_ns = 0;
	} else if (hvrepl_loop_now() >= machine->deadline) {
		machine->deadline = UINT64_MAX;
		hvrepl_loop_stop(loop);
	}
	return 0;
}

static uint64_t machine_deadline(void *user)
{
	return ((struct machine *)user)->deadline;
}

static int32_t fail_process(void *user, uint32_t budget)
{
	(void)user, (void)budget;
	return HVREPL_E_NOMEM;
}

START_TEST(a_door_is_driven_by_wakes_deadlines_and_its_own_word)
{
	struct machine machine = { .more = 3,
				   .deadline = UINT64_MAX,
				   .patience_ns = 5000000 };
	struct hvrepl_loop_door door = HVREPL_LOOP_DOOR_INIT;

	door.user = &machine;
	door.process = machine_process;
	door.deadline = machine_deadline;
	ck_assert_int_eq(hvrepl_loop_attach(loop, &door, &machine.attachment),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	/* Three times "more", the one that said no, the deadline. */
	ck_assert_uint_eq(machine.processed, 5);
	machine.deadline = 0;
	hvrepl_loop_wake(loop);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	ck_assert_uint_eq(machine.processed, 6);
	hvrepl_loop_detach(machine.attachment);
	door.process = fail_process;
	ck_assert_int_eq(hvrepl_loop_attach(loop, &door, &machine.attachment),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_E_NOMEM);
	door.process = NULL;
	ck_assert_int_eq(hvrepl_loop_attach(loop, &door, &machine.attachment),
			 HVREPL_E_INVALID);
}
END_TEST

/* A door with a timer and a watch of its own, which go with it. */
struct owner {
	hvrepl_loop_attachment *attachment;
	hvrepl_loop_timer *timer;
	hvrepl_loop_watch *watch;
	unsigned released;
};

static int32_t owner_process(void *user, uint32_t budget)
{
	(void)user, (void)budget;
	hvrepl_loop_stop(loop);
	return 0;
}

static uint64_t owner_deadline(void *user)
{
	(void)user;
	return UINT64_MAX;
}

static void owner_release(void *user)
{
	struct owner *owner = user;

	owner->released++;
	hvrepl_loop_timer_set(owner->timer, 0);
	hvrepl_loop_timer_free(owner->timer);
	hvrepl_loop_watch_remove(owner->watch);
}

/* Both ways: as it is detached, and with the loop. */
START_TEST(a_door_lets_go_of_its_timer_and_watch_as_it_is_released)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	for (unsigned with_the_loop = 0; with_the_loop < 2; with_the_loop++) {
		struct hvrepl_loop_door door = HVREPL_LOOP_DOOR_INIT;
		struct owner owner = { .released = 0 };

		ck_assert_int_eq(hvrepl_loop_timer_create(loop, fire, NULL,
							  &owner.timer),
				 HVREPL_OK);
		ck_assert_int_eq(hvrepl_loop_watch_fd(loop, ends[0],
						      HVREPL_LOOP_READ,
						      read_one, &ends[0],
						      &owner.watch),
				 HVREPL_OK);
		door.user = &owner;
		door.process = owner_process;
		door.deadline = owner_deadline;
		door.release = owner_release;
		ck_assert_int_eq(hvrepl_loop_attach(loop, &door,
						    &owner.attachment),
				 HVREPL_OK);
		ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
		if (with_the_loop == 0) {
			hvrepl_loop_detach(owner.attachment);
			hvrepl_loop_stop(loop);
			hvrepl_loop_wake(loop);
			ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
		}
		hvrepl_loop_destroy(loop);
		ck_assert_uint_eq(owner.released, 1);
		setup();
	}
	close(ends[0]);
	close(ends[1]);
}
END_TEST

static atomic_bool went;

static void *run_elsewhere(void *argument)
{
	(void)argument;
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	atomic_store(&went, true);
	return NULL;
}

START_TEST(a_loop_is_stopped_from_another_thread)
{
	pthread_t thread;

	atomic_store(&went, false);
	pthread_create(&thread, NULL, run_elsewhere, NULL);
	hvrepl_loop_stop(loop);
	pthread_join(thread, NULL);
	ck_assert(atomic_load(&went));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("loop");
	TCase *tc = tcase_create("loop");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_descriptor_is_reported_until_it_is_drained);
	tcase_add_test(tc, a_watch_of_nothing_stays_silent);
	tcase_add_test(tc, timers_fire_once_in_order_and_not_when_taken_back);
	tcase_add_test(tc, functions_posted_by_many_threads_all_run);
	tcase_add_test(tc, a_door_is_driven_by_wakes_deadlines_and_its_own_word);
	tcase_add_test(tc, a_door_lets_go_of_its_timer_and_watch_as_it_is_released);
	tcase_add_test(tc, a_loop_is_stopped_from_another_thread);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
