/* SPDX-License-Identifier: Apache-2.0 */
/* The pool runs every job once and drains; the env is usable. */
#include "base/env.h"
#include "testing.h"

#include <hvrepl/backends.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

static atomic_int ran;

static void count(void *argument)
{
	atomic_fetch_add((atomic_int *)argument, 1);
}

START_TEST(every_job_runs_once_and_destroy_drains)
{
	struct hvrepl_env app = HVREPL_ENV_INIT;
	struct hvri_env env;
	hvrepl_pool *pool;

	atomic_store(&ran, 0);
	ck_assert_int_eq(hvrepl_pool_create(3, &pool, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_pool_env(pool, NULL, NULL, &app), HVREPL_OK);
	ck_assert_int_eq(hvri_env_copy(&env, &app, NULL), HVREPL_OK);
	for (int i = 0; i < 5000; i++)
		hvri_execute(&env, count, &ran); /* Runs here when full. */
	hvrepl_pool_destroy(pool);
	ck_assert_int_eq(atomic_load(&ran), 5000);
}
END_TEST

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void wait_at_gate(void *argument)
{
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	count(argument);
}

START_TEST(a_full_queue_pushes_back)
{
	unsigned taken = 0, given = 0;
	hvrepl_pool *pool;

	atomic_store(&ran, 0);
	ck_assert_int_eq(hvrepl_pool_create(1, &pool, NULL), HVREPL_OK);
	pthread_mutex_lock(&gate);
	while (hvrepl_pool_execute(pool, wait_at_gate, &ran) == HVREPL_OK)
		given++;
	taken = given;
	/* The one thread may have taken one out before we filled it. */
	ck_assert_uint_ge(taken, HVREPL_POOL_QUEUE_MAX);
	ck_assert_uint_le(taken, HVREPL_POOL_QUEUE_MAX + 1);
	pthread_mutex_unlock(&gate);
	hvrepl_pool_destroy(pool);
	ck_assert_int_eq(atomic_load(&ran), (int)given);
}
END_TEST

static void look_at_signals(void *argument)
{
	sigset_t blocked;

	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	if (sigismember(&blocked, SIGTERM) == 1)
		count(argument);
}

static void keep_line(void *user, uint32_t level, const char *message)
{
	ck_assert_uint_eq(level, HVREPL_LOG_NOTICE);
	strcpy(user, message);
}

START_TEST(the_environment_has_clocks_entropy_and_a_log)
{
	struct hvrepl_env app = HVREPL_ENV_INIT;
	struct hvri_env env;
	uint8_t a[32] = { 0 }, b[32] = { 0 };
	char line[64] = "";
	hvrepl_pool *pool;
	uint64_t before;

	atomic_store(&ran, 0);
	ck_assert_int_eq(hvrepl_pool_create(0, &pool, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_pool_env(pool, keep_line, line, &app),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_env_copy(&env, &app, NULL), HVREPL_OK);
	before = hvri_now(&env);
	ck_assert_uint_ge(hvri_now(&env), before);
	ck_assert_uint_gt(hvri_utc(&env), 1600000000ull * 1000000000ull);
	ck_assert_int_eq(hvri_random(&env, a, sizeof(a)), HVREPL_OK);
	ck_assert_int_eq(hvri_random(&env, b, sizeof(b)), HVREPL_OK);
	ck_assert(memcmp(a, b, sizeof(a)) != 0);
	hvri_log(&env, HVREPL_LOG_NOTICE, "disk %d", 3);
	ck_assert_str_eq(line, "disk 3");
	hvri_execute(&env, look_at_signals, &ran);
	hvrepl_pool_destroy(pool);
	ck_assert_int_eq(atomic_load(&ran), 1);
	ck_assert_int_eq(hvrepl_pool_create(257, &pool, NULL),
			 HVREPL_E_INVALID);
	app.struct_size = 8;
	ck_assert_int_eq(hvrepl_default_env(&app), HVREPL_E_INVALID);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pool");
	TCase *tc = tcase_create("jobs");

	tcase_add_test(tc, every_job_runs_once_and_destroy_drains);
	tcase_add_test(tc, a_full_queue_pushes_back);
	tcase_add_test(tc, the_environment_has_clocks_entropy_and_a_log);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
