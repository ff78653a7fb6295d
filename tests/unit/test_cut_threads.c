/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that wait for each other in a cut or in the tracker's file: who waits is woken,
 * and what is read is the instant of the cut. */
#include "threadbed.h"
#include "waits.h"

#include <stdlib.h>

#define ROUNDS 3 /* The other thread is seen to wait: for this, or in passing. */
#define BLOCKS (DISK_SIZE / BLOCK)

static struct disk disk;
static struct store store, spill;
static struct hvrepl_env env;
static hvrepl_group *group;
static hvrepl_tracker *tracker;
static hvrepl_cut *cut;
static uint8_t then[DISK_SIZE], image[DISK_SIZE];

/* Where the thread is: in the callback that it is held in, and told to go on. */
static atomic_bool inside, go_on;

static void pause_a_little(void)
{
	const struct timespec time = { 0, 3000000 };

	nanosleep(&time, NULL);
}

static void await(atomic_bool *that)
{
	while (!atomic_load(that))
		pause_a_little();
}

/* The first call is held until it is told; those of others are not. */
static void hold(void)
{
	if (atomic_exchange(&inside, true))
		return;
	await(&go_on);
}

static void wake(void *user)
{
	(void)user;
}

static void write_all(void)
{
	for (uint32_t i = 0; i < BLOCKS; i++) {
		struct hvrepl_ticket ticket = HVREPL_TICKET_INIT;

		ticket.complete = (void (*)(struct hvrepl_ticket *,
					    int32_t))abort;
		ck_assert_int_eq(hvrepl_tracker_write_begin(
					 tracker, i * BLOCK, BLOCK, 0, &ticket),
				 HVREPL_OK);
		test_fill(disk.bytes + i * BLOCK, BLOCK, i + 1);
		hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	}
	memcpy(then, disk.bytes, sizeof(then));
	memset(image, 0, sizeof(image));
	atomic_store(&inside, false);
	atomic_store(&go_on, false);
}

static void attach(uint32_t flags)
{
	struct hvrepl_tracker_options mine = HVREPL_TRACKER_OPTIONS_INIT;
	struct hvrepl_disk taken = { &disk_ops, &disk, NULL };
	struct hvrepl_storage storage = { &store_ops, &store, NULL };

	mine.flags = flags;
	mine.object_id = "disk.hvt";
	ck_assert_int_eq(hvrepl_tracker_attach(group, &taken, &storage, &mine,
					       NULL, &tracker),
			 HVREPL_OK);
}

static void setup(void)
{
	struct hvrepl_group_options options = HVREPL_GROUP_OPTIONS_INIT;
	struct hvrepl_storage spilling = { &store_ops, &spill, NULL };

	memset(&disk, 0, sizeof(disk));
	memset(&store, 0, sizeof(store));
	memset(&spill, 0, sizeof(spill));
	pthread_mutex_init(&store.mutex, NULL);
	pthread_mutex_init(&spill.mutex, NULL);
	env = real_env();
	options.wake = wake;
	options.level = HVREPL_LEVEL_STORE;
	options.spill = &spilling;
	options.spill_limit = sizeof(spill.bytes);
	options.spool_memory = DISK_SIZE * 2;
	options.cool_after_ns = 1;
	/* However late the pump is: a cut gives way to who has waited for so long. */
	options.write_wait_ns = UINT64_C(1000000000000);
	ck_assert_int_eq(hvrepl_group_create(&env, &options, NULL, &group),
			 HVREPL_OK);
	attach(HVREPL_TRACKER_CREATE);
	/* One region: hot from here on. */
	ck_assert_int_eq(hvrepl_tracker_mark_all(tracker), HVREPL_OK);
}

static void teardown(void)
{
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_OK);
	pthread_mutex_destroy(&store.mutex);
	pthread_mutex_destroy(&spill.mutex);
}

static void make_cut(void)
{
	write_all();
	ck_assert_int_eq(hvrepl_group_cut(group, 0, NULL, &cut), HVREPL_OK);
}

static void *advance_once(void *argument)
{
	uint32_t progress;

	(void)argument;
	(void)!hvrepl_cut_advance(cut, 1, &progress);
	return NULL;
}

static void *read_first(void *argument)
{
	(void)argument;
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 0, image, 8 * BLOCK),
			 HVREPL_OK);
	return NULL;
}

/* _i 0: while its blocks are read for the spool. 1: while they are packed. */
START_TEST(who_reads_what_another_thread_copies_waits_for_it)
{
	for (int round = 0; round < ROUNDS; round++) {
		pthread_t cutter, reader;

		make_cut();
		if (_i == 0)
			disk.before_read = hold;
		spill.before_write = _i == 0 ? NULL : hold;
		group->spool_memory = _i == 0 ? DISK_SIZE * 2 : 1;
		pthread_create(&cutter, NULL, advance_once, NULL);
		await(&inside);
		pthread_create(&reader, NULL, read_first, NULL);
		waits_await();
		atomic_store(&go_on, true);
		pthread_join(cutter, NULL);
		pthread_join(reader, NULL);
		ck_assert_mem_eq(image, then, 8 * BLOCK);
		disk.before_read = spill.before_write = NULL;
		ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED),
				 HVREPL_OK);
	}
}
END_TEST

static atomic_uint completions;

static void completed(struct hvrepl_ticket *ticket, int32_t result)
{
	(void)ticket;
	ck_assert_int_eq(result, HVREPL_OK);
	atomic_fetch_add(&completions, 1);
}

static void *pump(void *argument)
{
	(void)argument;
	hvrepl_group_process(group);
	return NULL;
}

static void *let_go_when_void(void *argument)
{
	(void)argument;
	while (atomic_load(&cut->state) != HVREPL_CUT_VOIDED)
		pause_a_little();
	waits_await();
	atomic_store(&go_on, true);
	return NULL;
}

/* The pump copies a block of it for a writer. */
START_TEST(a_cut_is_closed_when_the_pump_has_let_go_of_it)
{
	for (int round = 0; round < ROUNDS; round++) {
		struct hvrepl_ticket ticket = HVREPL_TICKET_INIT;
		pthread_t pumping, other;

		make_cut();
		atomic_store(&completions, 0);
		ticket.complete = completed;
		ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, BLOCK,
							    0, &ticket),
				 HVREPL_PENDING);
		disk.before_read = hold;
		pthread_create(&pumping, NULL, pump, NULL);
		await(&inside);
		pthread_create(&other, NULL, let_go_when_void, NULL);
		ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED),
				 HVREPL_OK);
		ck_assert(atomic_load(&go_on));
		pthread_join(pumping, NULL);
		pthread_join(other, NULL);
		disk.before_read = NULL;
		hvrepl_group_process(group);
		ck_assert_uint_eq(atomic_load(&completions), 1);
		hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	}
}
END_TEST

static pthread_t first;

static void end_the_first(void)
{
	disk.before_read = NULL;
	atomic_store(&go_on, true);
	pthread_join(first, NULL);
}

/* The one that began later is still reading. */
START_TEST(claims_end_in_any_order)
{
	make_cut();
	disk.before_read = hold;
	pthread_create(&first, NULL, advance_once, NULL);
	await(&inside);
	disk.before_read = end_the_first;
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 200 * BLOCK, image, BLOCK),
			 HVREPL_OK);
	ck_assert_mem_eq(image, then + 200 * BLOCK, BLOCK);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 0, image, DISK_SIZE),
			 HVREPL_OK);
	ck_assert_mem_eq(image, then, DISK_SIZE);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
}
END_TEST

static void *save(void *argument)
{
	(void)argument;
	ck_assert_int_eq(hvrepl_tracker_save(tracker, NULL), HVREPL_OK);
	return NULL;
}

START_TEST(who_saves_waits_for_the_file)
{
	for (int round = 0; round < ROUNDS; round++) {
		pthread_t one, other;

		atomic_store(&inside, false);
		atomic_store(&go_on, false);
		store.before_write = hold;
		pthread_create(&one, NULL, save, NULL);
		await(&inside);
		pthread_create(&other, NULL, save, NULL);
		waits_await();
		atomic_store(&go_on, true);
		pthread_join(one, NULL);
		pthread_join(other, NULL);
		store.before_write = NULL;
	}
}
END_TEST

/* Regions cool a while after they were written. */
static void *pump_until_held(void *argument)
{
	(void)argument;
	while (!atomic_load(&inside)) {
		hvri_tracker_kick(tracker);
		hvrepl_group_process(group);
	}
	return NULL;
}

static void *let_go_later(void *argument)
{
	(void)argument;
	waits_await();
	atomic_store(&go_on, true);
	return NULL;
}

/* The pump saves what was acknowledged before regions cool, and is in that. */
START_TEST(who_detaches_waits_for_the_pump)
{
	uint32_t progress = 0;
	pthread_t pumping, other;

	make_cut();
	while (progress != HVREPL_CUT_DONE)
		ck_assert_int_eq(hvrepl_cut_advance(cut, 0, &progress),
				 HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	store.before_write = hold;
	pthread_create(&pumping, NULL, pump_until_held, NULL);
	await(&inside);
	pthread_create(&other, NULL, let_go_later, NULL);
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	ck_assert(atomic_load(&go_on)); /* No sooner. */
	pthread_join(pumping, NULL);
	pthread_join(other, NULL);
	store.before_write = NULL;
	attach(0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cut threads");
	TCase *tcase = tcase_create("all");

	tcase_set_timeout(tcase, 240);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase,
			    who_reads_what_another_thread_copies_waits_for_it,
			    0, 2);
	tcase_add_test(tcase, a_cut_is_closed_when_the_pump_has_let_go_of_it);
	tcase_add_test(tcase, claims_end_in_any_order);
	tcase_add_test(tcase, who_saves_waits_for_the_file);
	tcase_add_test(tcase, who_detaches_waits_for_the_pump);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
