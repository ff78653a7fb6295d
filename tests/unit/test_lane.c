/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes run jobs in order, one at a time, and finish them at home. */
#include "testing.h"

#include "driver/lane.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

static struct test_env env;
static struct hvri_env in;
static struct hvri_queue home;
static struct hvri_lane lane;

struct job {
	struct hvri_lane_job job;
	int pieces;
	bool done;
};
static int inside;

static bool work(struct hvri_lane_job *job)
{
	struct job *one = (struct job *)job;
	int left;

	ck_assert_int_eq(__atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST), 1);
	left = __atomic_sub_fetch(&one->pieces, 1, __ATOMIC_SEQ_CST);
	__atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
	return left > 0;
}

static void done(struct hvri_lane_job *job)
{
	struct job *one = (struct job *)job;

	ck_assert_int_eq(one->pieces, 0);
	one->done = true;
}

static void setup(void)
{
	test_env_init(&env, 1);
	ck_assert_int_eq(hvri_env_copy(&in, &env.env, NULL), HVREPL_OK);
	hvri_queue_init(&home, NULL, NULL);
	hvri_lane_init(&lane, &in, &home);
	inside = 0;
}

static void teardown(void)
{
	hvri_lane_free(&lane);
	hvri_queue_free(&home);
}

START_TEST(without_an_executor_one_piece_is_one_turn)
{
	struct job a = { .job = { .work = work, .done = done }, .pieces = 3 };

	hvri_lane_submit(&lane, &a.job);
	for (int turn = 0; turn < 3; turn++) {
		ck_assert_int_eq(a.pieces, 3 - turn);
		ck_assert_uint_eq(hvri_queue_run(&home, 1), 1);
	}
	ck_assert(!a.done && !hvri_lane_idle(&lane));
	ck_assert_uint_eq(hvri_queue_run(&home, 1), 1);
	ck_assert(a.done && hvri_lane_idle(&lane));
	ck_assert(hvri_queue_empty(&home));
}
END_TEST

struct thread_call {
	void (*job)(void *argument);
	void *argument;
};

static void *thread_main(void *argument)
{
	struct thread_call call = *(struct thread_call *)argument;

	free(argument);
	call.job(call.argument);
	return NULL;
}

static int32_t execute(void *user, void (*job)(void *argument), void *argument)
{
	struct thread_call *call = malloc(sizeof(*call));
	pthread_t thread;

	(void)user;
	*call = (struct thread_call){ job, argument };
	if (pthread_create(&thread, NULL, thread_main, call) != 0) {
		free(call);
		return HVREPL_E_LIMIT;
	}
	pthread_detach(thread);
	return HVREPL_OK;
}

START_TEST(with_threads_jobs_of_one_lane_never_overlap)
{
	struct job jobs[8];

	in.app.execute = execute;
	for (int i = 0; i < 8; i++) {
		jobs[i] = (struct job){ .job = { .work = work, .done = done },
					.pieces = 5 };
		hvri_lane_submit(&lane, &jobs[i].job);
	}
	while (!hvri_lane_idle(&lane))
		hvri_queue_run(&home, 100);
	for (int i = 0; i < 8; i++)
		ck_assert(jobs[i].done);
}
END_TEST

/* Whoever runs on what an earlier job left behind hears of that one first: a chunk
 * that found no room is why the next does not follow, not the other way round. */
START_TEST(no_job_begins_before_the_one_before_it_is_on_its_way_home)
{
	struct job a = { .job = { .work = work, .done = done }, .pieces = 1 };
	struct job b = a;
	const struct timespec moment = { .tv_nsec = 1000000 };

	in.app.execute = execute;
	hvri_lock(&home.mutex); /* Nothing comes home. */
	hvri_lane_submit(&lane, &a.job);
	while (__atomic_load_n(&a.pieces, __ATOMIC_SEQ_CST) > 0)
		nanosleep(&moment, NULL);
	for (int i = 0; i < 20; i++)
		nanosleep(&moment, NULL); /* a is through with the lane. */
	hvri_lane_submit(&lane, &b.job);
	for (int i = 0; i < 50; i++)
		nanosleep(&moment, NULL); /* b could be, too. */
	ck_assert_int_eq(__atomic_load_n(&b.pieces, __ATOMIC_SEQ_CST), 1);
	hvri_unlock(&home.mutex);
	while (!hvri_lane_idle(&lane))
		hvri_queue_run(&home, 1);
	ck_assert(a.done && b.done);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lane");
	TCase *tc = tcase_create("lane");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, without_an_executor_one_piece_is_one_turn);
	tcase_add_test(tc, with_threads_jobs_of_one_lane_never_overlap);
	tcase_add_test(
		tc, no_job_begins_before_the_one_before_it_is_on_its_way_home);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
