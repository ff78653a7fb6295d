/* SPDX-License-Identifier: Apache-2.0 */
/* Operations completed at once, later, by another thread, or wrongly. */
#include "testing.h"

#include "base/op.h"

#include <pthread.h>

static void *complete_elsewhere(void *argument)
{
	hvrepl_op_complete(argument, HVREPL_E_DISK_IO);
	return NULL;
}

START_TEST(a_result_returned_at_once_is_the_result)
{
	struct hvri_op_wait wait;

	hvri_op_wait_init(&wait);
	ck_assert_int_eq(hvri_op_wait_end(&wait, HVREPL_OK), HVREPL_OK);
	hvri_op_wait_init(&wait);
	ck_assert_int_eq(hvri_op_wait_end(&wait, HVREPL_E_NO_SPACE),
			 HVREPL_E_NO_SPACE);
}
END_TEST

START_TEST(completion_before_the_callback_returned_counts)
{
	struct hvri_op_wait wait;

	hvri_op_wait_init(&wait);
	hvrepl_op_complete(&wait.op, HVREPL_OK);
	ck_assert_int_eq(hvri_op_wait_end(&wait, HVREPL_PENDING), HVREPL_OK);
}
END_TEST

START_TEST(completion_from_another_thread_wakes_the_waiter)
{
	for (int i = 0; i < 200; i++) {
		struct hvri_op_wait wait;
		pthread_t thread;

		hvri_op_wait_init(&wait);
		ck_assert_int_eq(pthread_create(&thread, NULL,
						complete_elsewhere, &wait.op),
				 0);
		ck_assert_int_eq(hvri_op_wait_end(&wait, HVREPL_PENDING),
				 HVREPL_E_DISK_IO);
		pthread_join(thread, NULL);
	}
}
END_TEST

START_TEST(a_positive_result_is_a_fault_of_the_callback)
{
	struct hvri_op_wait wait;

	hvri_op_wait_init(&wait);
	ck_assert_int_eq(hvri_op_wait_end(&wait, 7), HVREPL_E_CALLBACK);
	hvri_op_wait_init(&wait);
	hvrepl_op_complete(&wait.op, 7);
	ck_assert_int_eq(hvri_op_wait_end(&wait, HVREPL_PENDING),
			 HVREPL_E_CALLBACK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("op");
	TCase *tcase = tcase_create("op");

	tcase_add_test(tcase, a_result_returned_at_once_is_the_result);
	tcase_add_test(tcase, completion_before_the_callback_returned_counts);
	tcase_add_test(tcase, completion_from_another_thread_wakes_the_waiter);
	tcase_add_test(tcase, a_positive_result_is_a_fault_of_the_callback);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
