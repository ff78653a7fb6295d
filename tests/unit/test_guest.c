/* SPDX-License-Identifier: Apache-2.0 */
/* Guest doors and live disks: what lies behind changes under I/O. */
#include "driver/guest.h"
#include "driver/live.h"
#include "tempdir.h"
#include "testing.h"
#include "tracker/cut.h"

#include <hvrepl/backends.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#define BLOCK 4096u
#define BLOCKS 16u
#define SIZE (BLOCK * BLOCKS)
#define THREADS 4u
#define SWITCHES 30u

/* A disk in memory. It takes no lock: whoever still uses it after a switch is
 * seen by the sanitizer, and by what he reads. */
struct memory {
	struct hvri_disk disk;
	uint8_t bytes[SIZE];
	_Atomic(hvrepl_op *) zeroing; /* Of an unfinished zero. */
};

static struct memory one, two;
static struct hvrepl_env app;
static struct hvri_env env;
static struct hvrepl_guest_disk guest;
static struct hvri_live live;
static atomic_bool stop;
static atomic_uint seen[2], refused;

static int32_t memory_info(void *user, struct hvrepl_disk_info *out)
{
	(void)user;
	out->flags = HVREPL_DISK_EXCLUSIVE;
	out->size = SIZE;
	out->block_size = 512;
	return HVREPL_OK;
}

static int32_t memory_readv(void *user, hvrepl_op *op, uint64_t offset,
			    const struct hvrepl_iovec *iov, uint32_t count)
{
	struct memory *memory = user;

	(void)op;
	for (uint32_t i = 0; i < count; i++) {
		memcpy(iov[i].base, memory->bytes + offset, iov[i].length);
		offset += iov[i].length;
	}
	return HVREPL_OK;
}

static int32_t memory_writev(void *user, hvrepl_op *op, uint64_t offset,
			     const struct hvrepl_iovec *iov, uint32_t count)
{
	struct memory *memory = user;

	(void)op;
	for (uint32_t i = 0; i < count; i++) {
		memcpy(memory->bytes + offset, iov[i].base, iov[i].length);
		offset += iov[i].length;
	}
	return HVREPL_OK;
}

static int32_t memory_flush(void *user, hvrepl_op *op)
{
	(void)user, (void)op;
	return HVREPL_OK;
}

static int32_t memory_zero(void *user, hvrepl_op *op, uint64_t offset,
			   uint64_t length)
{
	struct memory *memory = user;

	(void)offset, (void)length;
	atomic_store(&memory->zeroing, op);
	return HVREPL_PENDING;
}

static void memory_init(struct memory *memory, uint8_t with)
{
	static const struct hvrepl_disk_ops ops = {
		.struct_size = sizeof(ops),
		.info = memory_info,
		.readv = memory_readv,
		.writev = memory_writev,
		.flush = memory_flush,
	};
	struct hvrepl_disk disk = { &ops, memory, NULL };

	ck_assert_int_eq(hvri_disk_take(&memory->disk, &disk, NULL), HVREPL_OK);
	memset(memory->bytes, with, sizeof(memory->bytes));
	atomic_store(&memory->zeroing, NULL);
}

static void setup(void)
{
	app = (struct hvrepl_env){ .struct_size = sizeof(app) };
	ck_assert_int_eq(hvrepl_default_env(&app), HVREPL_OK);
	ck_assert_int_eq(hvri_env_copy(&env, &app, NULL), HVREPL_OK);
	memory_init(&one, 0);
	memory_init(&two, 1);
	hvri_guest_init(&guest, &env, SIZE, 512);
	hvri_live_init(&live);
	atomic_store(&stop, false);
	atomic_store(&seen[0], 0);
	atomic_store(&seen[1], 0);
	atomic_store(&refused, 0);
}

static void teardown(void)
{
	hvri_guest_free(&guest);
	hvri_live_free(&live);
}

/* ---- Switching under reads. ---- */

static void look(const uint8_t *block, int32_t rc)
{
	if (rc == HVREPL_E_FENCED) {
		(void)atomic_fetch_add(&refused, 1);
		return;
	}
	/* Asserting costs a message each, which would be all that is done. */
	if (rc != HVREPL_OK || block[0] > 1 ||
	    memcmp(block, block + 1, BLOCK - 1) != 0)
		ck_abort_msg("read %d: %u ... %u", rc, block[0],
			     block[BLOCK - 1]);
	(void)atomic_fetch_add(&seen[block[0]], 1);
}

static void *read_door(void *argument)
{
	uint64_t random = (uintptr_t)argument + 1;
	uint8_t block[BLOCK];

	while (!atomic_load(&stop)) {
		uint64_t offset = test_random(&random) % BLOCKS * BLOCK;

		look(block, hvri_guest_read(&guest, offset, block, BLOCK));
	}
	return NULL;
}

static void *read_live(void *argument)
{
	uint64_t random = (uintptr_t)argument + 1;
	uint8_t block[BLOCK];

	while (!atomic_load(&stop)) {
		uint64_t offset = test_random(&random) % BLOCKS * BLOCK;

		look(block, hvri_disk_read(&live.disk, offset, block, BLOCK));
	}
	return NULL;
}

static void point_door(struct memory *memory)
{
	struct hvri_backing backing = { .disk = memory == NULL ? NULL :
								 &memory->disk };

	hvri_guest_switch(&guest, &backing);
}

static void point_live(struct memory *memory)
{
	hvri_live_set(&live, memory == NULL ? NULL : &memory->disk);
}

/* What nobody can see any more is scribbled over. */
static void switch_about(void *(*reader)(void *),
			 void (*point)(struct memory *memory))
{
	pthread_t threads[THREADS];

	memory_init(&one, 0);
	memory_init(&two, 1);
	point(&one);
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, reader,
						(void *)i),
				 0);
	/* Each in turn, until all three were met by somebody. */
	for (unsigned i = 0; i < SWITCHES || atomic_load(&seen[0]) == 0 ||
			     atomic_load(&seen[1]) == 0 ||
			     atomic_load(&refused) == 0;
	     i++) {
		point(&two);
		memset(one.bytes, 0xee, SIZE);
		memset(one.bytes, 0, SIZE);
		sched_yield();
		point(NULL);
		memset(two.bytes, 0xee, SIZE);
		memset(two.bytes, 1, SIZE);
		sched_yield();
		point(&one);
		sched_yield();
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}

START_TEST(a_door_is_switched_between_two_reads)
{
	switch_about(read_door, point_door);
}
END_TEST

START_TEST(a_live_disk_is_switched_between_two_reads)
{
	switch_about(read_live, point_live);
}
END_TEST

/* Reads that take a while, always one under way. */
static int32_t slow_readv(void *user, hvrepl_op *op, uint64_t offset,
			  const struct hvrepl_iovec *iov, uint32_t count)
{
	for (int i = 0; i < 50; i++)
		sched_yield();
	return memory_readv(user, op, offset, iov, count);
}

static void *only_read(void *argument)
{
	uint8_t block[512];

	(void)argument;
	while (!atomic_load(&stop))
		(void)!hvri_guest_read(&guest, 0, block, sizeof(block));
	return NULL;
}

START_TEST(a_switch_is_not_kept_waiting_by_readers_that_never_stop)
{
	pthread_t threads[THREADS];

	one.disk.ops.readv = two.disk.ops.readv = slow_readv;
	point_door(&one);
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, only_read,
						(void *)i),
				 0);
	for (unsigned i = 0; i < 20; i++)
		point_door(i % 2 == 0 ? &two : &one);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}
END_TEST

START_TEST(nothing_behind_is_fenced)
{
	struct hvrepl_guest_info info;
	struct hvrepl_disk_info disk_info;
	uint8_t block[BLOCK];

	ck_assert_int_eq(hvri_guest_read(&guest, 0, block, BLOCK),
			 HVREPL_E_FENCED);
	ck_assert_int_eq(hvri_guest_write(&guest, 0, block, BLOCK),
			 HVREPL_E_FENCED);
	ck_assert_int_eq(hvri_guest_zero(&guest, 0, BLOCK), HVREPL_E_FENCED);
	ck_assert_int_eq(hvri_guest_discard(&guest, 0, BLOCK),
			 HVREPL_E_FENCED);
	ck_assert_int_eq(hvri_guest_flush(&guest), HVREPL_E_FENCED);
	hvri_guest_info(&guest, &info);
	ck_assert_uint_eq(info.flags, 0);
	ck_assert_uint_eq(info.reads, 1);
	ck_assert_uint_eq(info.read_bytes, 0);
	ck_assert_uint_eq(info.writes, 3);
	ck_assert_uint_eq(info.written_bytes, 0);
	ck_assert_uint_eq(info.refused, 3);
	/* A readable door takes no writes. */
	point_door(&one);
	ck_assert_int_eq(hvri_guest_read(&guest, 0, block, BLOCK), HVREPL_OK);
	ck_assert_int_eq(hvri_guest_write(&guest, 0, block, BLOCK),
			 HVREPL_E_FENCED);
	hvri_guest_info(&guest, &info);
	ck_assert_uint_eq(info.flags, HVREPL_GUEST_READABLE);
	ck_assert_uint_eq(info.read_bytes, BLOCK);
	ck_assert_int_eq(hvri_disk_flush(&live.disk), HVREPL_E_FENCED);
	disk_info.struct_size = sizeof(disk_info);
	ck_assert_int_eq(live.disk.ops.info(&live, &disk_info),
			 HVREPL_E_FENCED);
}
END_TEST

/* ---- An asynchronous zero holds the disk. ---- */

static atomic_bool switched;

static void *zero_live(void *argument)
{
	(void)argument;
	ck_assert_int_eq(hvri_disk_zero(&env, &live.disk, 0, BLOCK),
			 HVREPL_OK);
	return NULL;
}

static void *take_away(void *argument)
{
	(void)argument;
	hvri_live_set(&live, NULL);
	atomic_store(&switched, true);
	return NULL;
}

START_TEST(a_live_disk_is_not_taken_from_a_zero_under_way)
{
	pthread_t zeroer, switcher;

	one.disk.ops.zero = memory_zero;
	hvri_live_set(&live, &one.disk);
	atomic_store(&switched, false);
	ck_assert_int_eq(pthread_create(&zeroer, NULL, zero_live, NULL), 0);
	while (atomic_load(&one.zeroing) == NULL)
		sched_yield();
	ck_assert_int_eq(pthread_create(&switcher, NULL, take_away, NULL), 0);
	for (int i = 0; i < 500; i++)
		sched_yield();
	ck_assert(!atomic_load(&switched));
	hvrepl_op_complete(atomic_load(&one.zeroing), HVREPL_OK);
	ck_assert_int_eq(pthread_join(zeroer, NULL), 0);
	ck_assert_int_eq(pthread_join(switcher, NULL), 0);
	ck_assert(atomic_load(&switched));
}
END_TEST

/* ---- Writes under a tracker. ---- */

static struct tempdir dir;
static hvrepl_group *group;
static hvrepl_tracker *tracker;
/* Of each writer's blocks: the number last written there. */
static uint8_t written[BLOCKS];

static void tracked(void)
{
	struct hvrepl_tracker_options options = HVREPL_TRACKER_OPTIONS_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_disk disk = hvri_live_handle(&live);
	struct hvrepl_storage storage;

	tempdir_make(&dir);
	ck_assert_int_eq(hvrepl_dir_storage_open(dir.path, 0, &storage, &error),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_group_create(&app, NULL, &error, &group),
			 HVREPL_OK);
	hvri_live_set(&live, &one.disk);
	options.flags = HVREPL_TRACKER_CREATE;
	options.vm.bytes[0] = options.disk.bytes[0] = 1;
	options.owner.bytes[0] = 9;
	options.object_id = "disk.hvt";
	options.block_size = BLOCK;
	ck_assert_msg(hvrepl_tracker_attach(group, &disk, &storage, &options,
					    &error, &tracker) == HVREPL_OK,
		      "%s", error.sentence);
}

static void untracked(void)
{
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_OK);
	tempdir_remove(&dir);
}

static void *write_door(void *argument)
{
	uintptr_t me = (uintptr_t)argument;
	uint64_t random = me + 1;
	uint8_t block[BLOCK];

	for (uint8_t n = 1; !atomic_load(&stop); n = (uint8_t)(n % 250 + 1)) {
		uint64_t at = me + THREADS * (test_random(&random) %
					      (BLOCKS / THREADS));
		int32_t rc;

		memset(block, n, sizeof(block));
		rc = hvri_guest_write(&guest, at * BLOCK, block, BLOCK);
		if (rc == HVREPL_OK)
			written[at] = n;
		else if (rc != HVREPL_E_FENCED)
			ck_abort_msg("write: %d", rc);
		(void)atomic_fetch_add(rc == HVREPL_OK ? &seen[0] : &refused,
				       1);
		/* A read of one's own is what was written. */
		rc = hvri_guest_read(&guest, at * BLOCK, block, BLOCK);
		if (rc == HVREPL_OK && block[BLOCK - 1] != written[at])
			ck_abort_msg("block %u: %u, not %u", (unsigned)at,
				     block[BLOCK - 1], written[at]);
	}
	return NULL;
}

static void door(struct hvrepl_guest_disk *of, bool writable)
{
	struct hvri_backing backing = { .disk = &live.disk,
					.tracker = writable ? tracker : NULL };

	hvri_guest_switch(of, &backing);
}

START_TEST(a_fence_and_a_move_lose_no_acknowledged_write)
{
	pthread_t threads[THREADS];
	struct memory *now = &one, *next = &two;
	struct hvrepl_guest_info info;

	tracked();
	memset(written, 0, sizeof(written));
	door(&guest, true);
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, write_door,
						(void *)i),
				 0);
	for (unsigned i = 0; i < 8; i++) {
		unsigned before = atomic_load(&seen[0]);

		while (atomic_load(&seen[0]) < before + 10)
			sched_yield();
		/* As FENCE does: nobody waits inside when the door closes. */
		while (hvrepl_tracker_fence(tracker) == HVREPL_E_BUSY)
			sched_yield();
		door(&guest, false);
		before = atomic_load(&refused);
		while (atomic_load(&refused) < before + 1)
			sched_yield();
		/* Nobody writes: the sanitizer would see it. */
		memcpy(next->bytes, now->bytes, SIZE);
		hvri_live_set(&live, &next->disk);
		memset(now->bytes, 0xee, SIZE);
		next = now;
		now = live.current == &one.disk ? &one : &two;
		ck_assert_int_eq(hvrepl_tracker_unfence(tracker), HVREPL_OK);
		door(&guest, true);
	}
	/* And moves under full writes, as a commit's last step does. */
	for (unsigned i = 0; i < 8; i++) {
		hvri_lock_alone(&live.lock);
		memcpy(next->bytes, now->bytes, SIZE);
		live.current = &next->disk;
		hvri_rwlock_unlock(&live.lock);
		memset(now->bytes, 0xee, SIZE);
		next = now;
		now = now == &one ? &two : &one;
		sched_yield();
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	for (unsigned i = 0; i < BLOCKS; i++) {
		struct hvrepl_extent changed;

		ck_assert_uint_eq(now->bytes[i * BLOCK], written[i]);
		ck_assert_uint_eq(now->bytes[i * BLOCK + BLOCK - 1],
				  written[i]);
		ck_assert(written[i] == 0 ||
			  hvri_tracker_next_changed(tracker, i * BLOCK,
						    (i + 1) * BLOCK,
						    &changed));
	}
	hvri_guest_info(&guest, &info);
	ck_assert_uint_eq(info.written_bytes,
			  (uint64_t)atomic_load(&seen[0]) * BLOCK);
	ck_assert_uint_eq(info.refused, atomic_load(&refused));
	ck_assert_uint_eq(info.flags,
			  HVREPL_GUEST_READABLE | HVREPL_GUEST_WRITABLE);
	untracked();
}
END_TEST

/* What a tracker shows as changed since the last acknowledged cut. */
START_TEST(changes_are_shown_until_they_are_acknowledged)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_extent changed;
	uint8_t block[BLOCK] = { 1 };
	uint32_t progress = 0;
	hvrepl_cut *cut;

	tracked();
	door(&guest, true);
	ck_assert(!hvri_tracker_next_changed(tracker, 0, SIZE, &changed));
	ck_assert_int_eq(hvri_guest_write(&guest, 3 * BLOCK, block, BLOCK),
			 HVREPL_OK);
	ck_assert(hvri_tracker_next_changed(tracker, 0, SIZE, &changed));
	ck_assert_uint_eq(changed.offset, 3 * BLOCK);
	ck_assert_uint_eq(changed.length, BLOCK);
	ck_assert(!hvri_tracker_next_changed(tracker, 0, 3 * BLOCK, &changed));
	ck_assert(!hvri_tracker_next_changed(tracker, 4 * BLOCK, SIZE,
					     &changed));
	ck_assert(!hvri_tracker_next_changed(tracker, SIZE, UINT64_MAX,
					     &changed));
	/* Open, spooled or given up: still changed. */
	ck_assert_int_eq(hvrepl_group_cut(group, 0, &error, &cut), HVREPL_OK);
	ck_assert(hvri_tracker_next_changed(tracker, 3 * BLOCK + 512, SIZE,
					    &changed));
	ck_assert_int_eq(hvri_guest_write(&guest, 9 * BLOCK, block, BLOCK),
			 HVREPL_OK);
	while (progress != HVREPL_CUT_DONE)
		ck_assert_int_eq(hvrepl_cut_advance(cut, 0, &progress),
				 HVREPL_OK);
	ck_assert(hvri_tracker_next_changed(tracker, 0, SIZE, &changed));
	ck_assert_uint_eq(changed.offset, 3 * BLOCK);
	ck_assert_int_eq(hvrepl_cut_close(cut, _i == 0 ? HVREPL_OK :
							 HVREPL_E_CANCELLED),
			 HVREPL_OK);
	ck_assert(hvri_tracker_next_changed(tracker, 0, SIZE, &changed));
	ck_assert_uint_eq(changed.offset, (_i == 0 ? 9 : 3) * BLOCK);
	untracked();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("guest");
	TCase *tc = tcase_create("guest");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_door_is_switched_between_two_reads);
	tcase_add_test(tc, a_live_disk_is_switched_between_two_reads);
	tcase_add_test(tc, a_switch_is_not_kept_waiting_by_readers_that_never_stop);
	tcase_add_test(tc, nothing_behind_is_fenced);
	tcase_add_test(tc, a_live_disk_is_not_taken_from_a_zero_under_way);
	tcase_add_test(tc, a_fence_and_a_move_lose_no_acknowledged_write);
	tcase_add_loop_test(tc, changes_are_shown_until_they_are_acknowledged, 0,
			    2);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
