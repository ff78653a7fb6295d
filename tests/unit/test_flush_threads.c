/* SPDX-License-Identifier: Apache-2.0 */
/* A tracker and its guests flush the same disk: the error that one of them is told counts
 * for the others, who are in a flush then or wait for one. */
#include "threadbed.h"
#include "waits.h"

#include "tracker/cut.h"

#include <sched.h>

static struct disk disk;
static struct store store;
static struct hvrepl_env env;
static struct hvri_disk backing; /* As the guest's door has it. */
static hvrepl_group *group;
static hvrepl_tracker *tracker;

static pthread_t thread;
static atomic_uint flushes, ended;
static int32_t code; /* Of the other thread's flush. */

static void setup(void)
{
	struct hvrepl_group_options options = HVREPL_GROUP_OPTIONS_INIT;
	struct hvrepl_tracker_options mine = HVREPL_TRACKER_OPTIONS_INIT;
	struct hvrepl_disk taken = { &disk_ops, &disk, NULL };
	struct hvrepl_storage storage = { &store_ops, &store, NULL };

	memset(&disk, 0, sizeof(disk));
	memset(&store, 0, sizeof(store));
	pthread_mutex_init(&store.mutex, NULL);
	env = real_env();
	ck_assert_int_eq(hvrepl_group_create(&env, &options, NULL, &group),
			 HVREPL_OK);
	mine.flags = HVREPL_TRACKER_CREATE;
	mine.object_id = "disk.hvt";
	ck_assert_int_eq(hvrepl_tracker_attach(group, &taken, &storage, &mine,
					       NULL, &tracker),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_disk_take(&backing, &taken, NULL), HVREPL_OK);
	atomic_store(&flushes, 0);
	atomic_store(&ended, 0);
}

static void teardown(void)
{
	disk.flushed = NULL;
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_OK);
	pthread_mutex_destroy(&store.mutex);
}

static uint64_t dirty_bytes(void)
{
	struct hvrepl_tracker_info info = HVREPL_TRACKER_INFO_INIT;

	ck_assert_int_eq(hvrepl_tracker_get_info(tracker, &info), HVREPL_OK);
	return info.dirty_bytes;
}

static void *guest_flushes(void *argument)
{
	(void)argument;
	code = hvri_tracker_guest_flush(tracker, &backing);
	atomic_store(&ended, 1);
	return NULL;
}

/* The first fails once the other thread waits for it, or went past it. */
static void until_the_other_is_there(void)
{
	while (waits_now() == 0 && atomic_load(&ended) == 0)
		sched_yield();
}

static int32_t fail_under_the_guest(void)
{
	if (atomic_fetch_add(&flushes, 1) > 0)
		return HVREPL_OK;
	ck_assert_int_eq(pthread_create(&thread, NULL, guest_flushes, NULL), 0);
	until_the_other_is_there();
	return HVREPL_E_DISK_IO;
}

START_TEST(a_guest_that_flushes_while_the_trackers_flush_fails_is_told)
{
	disk.flushed = fail_under_the_guest;
	ck_assert_int_eq(hvri_tracker_flush(tracker), HVREPL_E_DISK_IO);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(atomic_load(&flushes), 2);
	ck_assert_int_eq(code, HVREPL_E_DISK_IO);
	/* Once. */
	ck_assert_int_eq(hvri_tracker_guest_flush(tracker, &backing),
			 HVREPL_OK);
}
END_TEST

static int32_t fail_under_the_tracker(void)
{
	if (atomic_fetch_add(&flushes, 1) > 0)
		return HVREPL_OK;
	until_the_other_is_there();
	return HVREPL_E_DISK_IO;
}

/* By the tracker's a region would cool. */
START_TEST(no_flush_of_the_tracker_ends_well_before_a_failed_one_is_noted)
{
	const struct hvrepl_extent all = { 0, DISK_SIZE };
	uint32_t progress = 0;
	hvrepl_cut *cut;

	ck_assert_int_eq(hvrepl_tracker_mark(tracker, &all, 1), HVREPL_OK);
	ck_assert_int_eq(hvrepl_group_cut(group, 0, NULL, &cut), HVREPL_OK);
	while (progress != HVREPL_CUT_DONE)
		ck_assert_int_eq(hvrepl_cut_advance(cut, 0, &progress),
				 HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty_bytes(), 0);
	disk.flushed = fail_under_the_tracker;
	ck_assert_int_eq(pthread_create(&thread, NULL, guest_flushes, NULL), 0);
	while (atomic_load(&flushes) == 0)
		sched_yield();
	ck_assert_int_eq(hvri_tracker_flush(tracker), HVREPL_OK);
	ck_assert_uint_eq(dirty_bytes(), DISK_SIZE);
	pthread_join(thread, NULL);
	ck_assert_int_eq(code, HVREPL_E_DISK_IO);
}
END_TEST

#define GUESTS 4u

static int32_t codes[GUESTS];

static void *one_guest_flushes(void *argument)
{
	*(int32_t *)argument = hvri_tracker_guest_flush(tracker, &backing);
	atomic_fetch_add(&ended, 1);
	return NULL;
}

static pthread_t guests[GUESTS];

static void guests_begin(void)
{
	for (unsigned i = 0; i < GUESTS; i++)
		ck_assert_int_eq(pthread_create(&guests[i], NULL,
						one_guest_flushes, &codes[i]),
				 0);
}

static void until_all_are_there(void)
{
	while (waits_for_flush(&tracker->flushing) < GUESTS &&
	       atomic_load(&ended) == 0)
		sched_yield();
}

static void all_were_told(void)
{
	for (unsigned i = 0; i < GUESTS; i++) {
		pthread_join(guests[i], NULL);
		ck_assert_int_eq(codes[i], HVREPL_E_DISK_IO);
	}
	/* One flush for all that waited, and no later one is told. */
	ck_assert_uint_eq(atomic_load(&flushes), 2);
	ck_assert_int_eq(hvri_tracker_guest_flush(tracker, &backing),
			 HVREPL_OK);
}

/* The second is one for all that came while the first was under way. */
static int32_t fail_second_under_all(void)
{
	unsigned nth = atomic_fetch_add(&flushes, 1);

	if (nth == 0)
		until_all_are_there();
	return nth == 1 ? HVREPL_E_DISK_IO : HVREPL_OK;
}

START_TEST(guests_that_flush_together_are_all_told_that_it_failed)
{
	disk.flushed = fail_second_under_all;
	ck_assert_int_eq(pthread_create(&thread, NULL, guest_flushes, NULL), 0);
	while (atomic_load(&flushes) == 0)
		sched_yield();
	guests_begin();
	pthread_join(thread, NULL);
	ck_assert_int_eq(code, HVREPL_OK);
	all_were_told();
}
END_TEST

/* What it took is told with a flush that is none of its own. */
static int32_t fail_under_all(void)
{
	if (atomic_fetch_add(&flushes, 1) > 0)
		return HVREPL_OK;
	guests_begin();
	until_all_are_there();
	return HVREPL_E_DISK_IO;
}

START_TEST(guests_that_wait_while_the_trackers_flush_fails_are_all_told)
{
	disk.flushed = fail_under_all;
	ck_assert_int_eq(hvri_tracker_flush(tracker), HVREPL_E_DISK_IO);
	all_were_told();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("flush threads");
	TCase *tcase = tcase_create("all");

	tcase_set_timeout(tcase, 240);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase,
		       a_guest_that_flushes_while_the_trackers_flush_fails_is_told);
	tcase_add_test(
		tcase,
		no_flush_of_the_tracker_ends_well_before_a_failed_one_is_noted);
	tcase_add_test(tcase,
		       guests_that_flush_together_are_all_told_that_it_failed);
	tcase_add_test(
		tcase,
		guests_that_wait_while_the_trackers_flush_fails_are_all_told);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
