/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts: frozen content, owed blocks, voiding, spool, windows, outside sources. */
#include "sim.h"
#include "sparsedisk.h"
#include "testing.h"

#include "tracker/internal.h"

#include <stdlib.h>
#include <string.h>

#define SIZE (UINT64_C(4) << 20)
#define REGION 65536u
#define BLOCK 1024u

static struct test_env env;
static struct sim sim;
static struct sim_storage *files, *spill;
static struct sim_disk *disk;
static hvrepl_group *group;
static hvrepl_tracker *tracker;
static unsigned woken, completions;
static int32_t last_result;

static void wake(void *user)
{
	(void)user;
	woken++;
}

static void open_all(uint64_t memory, uint64_t spill_limit)
{
	struct hvrepl_group_options options = HVREPL_GROUP_OPTIONS_INIT;
	struct hvrepl_tracker_options mine = HVREPL_TRACKER_OPTIONS_INIT;
	struct hvrepl_storage storage = sim_storage_handle(files);
	struct hvrepl_storage spilling = sim_storage_handle(spill);
	struct hvrepl_disk taken = sim_disk_handle(disk);

	options.wake = wake;
	options.level = HVREPL_LEVEL_STORE;
	options.spool_memory = memory;
	options.spill_limit = spill_limit;
	if (spill_limit > 0)
		options.spill = &spilling;
	ck_assert_int_eq(hvrepl_group_create(&env.env, &options, NULL, &group),
			 HVREPL_OK);
	mine.flags = HVREPL_TRACKER_CREATE;
	mine.object_id = "d.hvt";
	mine.block_size = BLOCK;
	mine.region_size = REGION;
	ck_assert_int_eq(hvrepl_tracker_attach(group, &taken, &storage, &mine,
					       NULL, &tracker),
			 HVREPL_OK);
}

static void setup(void)
{
	test_env_init(&env, 1);
	sim_init(&sim, 1);
	files = sim_storage_new(&sim);
	spill = sim_storage_new(&sim);
	disk = sim_disk_new(&sim, SIZE);
	disk->flags = HVREPL_DISK_EXCLUSIVE;
	woken = completions = 0;
}

static void teardown(void)
{
	if (tracker != NULL)
		ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	tracker = NULL;
	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_OK);
	ck_assert_uint_eq(sim_storage_objects(spill), 0);
	sim_free(&sim);
	ck_assert_int_eq(env.alloc_live, 0);
}

static void completed(struct hvrepl_ticket *ticket, int32_t result)
{
	(void)ticket;
	last_result = result;
	completions++;
}

static int32_t begin(struct hvrepl_ticket *ticket, uint64_t offset,
		     uint64_t length, uint32_t kind)
{
	*ticket = (struct hvrepl_ticket)HVREPL_TICKET_INIT;
	ticket->complete = completed;
	return hvrepl_tracker_write_begin(tracker, offset, length, kind,
					  ticket);
}

static void put(uint64_t offset, uint64_t length, uint64_t seed)
{
	uint8_t *bytes = malloc(length);

	test_fill(bytes, length, seed);
	if (seed == 0)
		memset(bytes, 0, length);
	sim_disk_poke(disk, offset, bytes, length);
	free(bytes);
}

static void write_at(uint64_t offset, uint64_t length, uint64_t seed)
{
	struct hvrepl_ticket ticket;

	if (begin(&ticket, offset, length, 0) == HVREPL_PENDING) {
		completions = 0;
		hvrepl_group_process(group);
		ck_assert_uint_eq(completions, 1);
		ck_assert_int_eq(last_result, HVREPL_OK);
	}
	put(offset, length, seed);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
}

static hvrepl_cut *make_cut(void)
{
	hvrepl_cut *cut;

	completions = 0;
	ck_assert_int_eq(hvrepl_group_cut(group, 0, NULL, &cut), HVREPL_OK);
	return cut;
}

static int32_t spool(hvrepl_cut *cut)
{
	uint32_t progress = 0;
	int32_t rc = HVREPL_OK;

	while (rc == HVREPL_OK && progress != HVREPL_CUT_DONE) {
		rc = hvrepl_cut_advance(cut, 1, &progress);
		ck_assert(rc < 0 || progress != HVREPL_CUT_WAITING);
	}
	return rc;
}

static uint32_t state_of(hvrepl_cut *cut)
{
	struct hvrepl_cut_info info = HVREPL_CUT_INFO_INIT;

	ck_assert_int_eq(hvrepl_cut_get_info(cut, &info), HVREPL_OK);
	return info.state;
}

static uint64_t dirty(void)
{
	struct hvrepl_tracker_info info = HVREPL_TRACKER_INFO_INIT;

	ck_assert_int_eq(hvrepl_tracker_get_info(tracker, &info), HVREPL_OK);
	return info.dirty_bytes;
}

/* What the spool holds of one disk, onto `to`; bytes covered. */
static uint64_t apply(hvrepl_cut *cut, uint8_t *to)
{
	const struct hvri_segment_header *header = hvri_cut_header(cut, 0);
	uint8_t *raw = malloc(HVRI_CHUNK_RAW_MAX);
	const uint8_t *bytes;
	uint64_t covered = 0;
	uint32_t length;
	int32_t rc;

	for (uint32_t s = 0;
	     (rc = hvri_cut_chunk(cut, 0, s, &bytes, &length)) == HVREPL_OK;
	     s++) {
		struct hvri_chunk chunk;
		uint32_t at = 0;

		ck_assert_int_eq(hvri_chunk_decode(header, bytes, length,
						   &chunk),
				 HVREPL_OK);
		if (chunk.kind == HVRI_CHUNK_DATA)
			ck_assert_int_eq(hvri_chunk_unpack(header, &chunk, raw),
					 HVREPL_OK);
		for (uint32_t i = 0; i < chunk.extent_count; i++) {
			struct hvrepl_extent e = hvri_chunk_extent(&chunk, i);

			if (chunk.kind == HVRI_CHUNK_DATA)
				memcpy(to + e.offset, raw + at, e.length);
			else
				memset(to + e.offset, 0, e.length);
			at += (uint32_t)e.length;
			covered += e.length;
		}
	}
	free(raw);
	ck_assert_int_eq(rc, HVREPL_E_NOT_FOUND);
	return covered;
}

/* T3: a write over an owed block waits for its copy, and for nothing else. */
START_TEST(a_write_over_an_owed_block_waits_for_its_copy)
{
	struct hvrepl_ticket owed, other;
	uint8_t *image = calloc(1, SIZE), *then = malloc(SIZE);
	hvrepl_cut *cut;

	open_all(0, 0);
	write_at(0, 8192, 1);
	write_at(100 * BLOCK, BLOCK, 2);
	memcpy(then, sim_disk_bytes(disk), SIZE);
	cut = make_cut();
	ck_assert_int_eq(begin(&other, 64 * BLOCK, BLOCK, 0), HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &other, HVREPL_OK);
	ck_assert_int_eq(begin(&owed, 4096, 512, 0), HVREPL_PENDING);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_OK);
	put(4096, 512, 9);
	hvrepl_tracker_write_end(tracker, &owed, HVREPL_OK);
	/* Copied once: the next write goes through. */
	ck_assert_int_eq(begin(&owed, 4096, 512, 0), HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &owed, HVREPL_OK);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_uint_eq(apply(cut, image), 9 * BLOCK);
	ck_assert_mem_eq(image, then, SIZE);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 2 * BLOCK);
	free(image);
	free(then);
}
END_TEST

/* T3: nothing is read while a write of the cut's own generation flies. */
START_TEST(a_cut_waits_for_the_writes_that_are_in_it)
{
	struct hvrepl_ticket flying, next;
	uint8_t *image = calloc(1, SIZE);
	uint32_t progress;
	hvrepl_cut *cut;

	open_all(0, 0);
	write_at(0, 4096, 1);
	ck_assert_int_eq(begin(&flying, 1024, 1024, 0), HVREPL_OK);
	cut = make_cut();
	ck_assert_int_eq(hvrepl_cut_advance(cut, 0, &progress), HVREPL_OK);
	ck_assert_uint_eq(progress, HVREPL_CUT_WAITING);
	/* A new write to a block of it waits too. */
	ck_assert_int_eq(begin(&next, 0, 512, 0), HVREPL_PENDING);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 0);
	put(1024, 1024, 5);
	woken = 0;
	hvrepl_tracker_write_end(tracker, &flying, HVREPL_OK);
	ck_assert_uint_gt(woken, 0);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	put(0, 512, 6);
	hvrepl_tracker_write_end(tracker, &next, HVREPL_OK);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	(void)apply(cut, image);
	ck_assert_mem_eq(image + 1024, sim_disk_bytes(disk) + 1024,
			 SIZE - 1024);
	ck_assert_mem_ne(image, sim_disk_bytes(disk), 512);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	free(image);
}
END_TEST

/* T3: at the deadline the point is given up, the write goes on, and no change
 * is forgotten, copied ones included. */
START_TEST(a_wait_that_is_too_long_voids_the_cut)
{
	struct hvrepl_ticket flying, next;
	struct hvrepl_cut_info info = HVREPL_CUT_INFO_INIT;
	hvrepl_cut *cut, *again;
	uint32_t progress;

	open_all(0, 0);
	write_at(0, 64 * BLOCK, 1);
	ck_assert_int_eq(begin(&flying, 1024, 1024, 0), HVREPL_OK);
	cut = make_cut();
	ck_assert_int_eq(begin(&next, 0, 512, 0), HVREPL_PENDING);
	hvrepl_group_process(group);
	ck_assert_uint_eq(hvrepl_group_deadline(group), env.now_ns + 50000000);
	env.now_ns += 49999999;
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 0);
	env.now_ns++;
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_get_info(cut, &info), HVREPL_OK);
	ck_assert_uint_eq(info.state, HVREPL_CUT_VOIDED);
	ck_assert_int_eq(info.reason, HVREPL_E_TIMEOUT);
	ck_assert_int_eq(hvrepl_cut_advance(cut, 0, &progress),
			 HVREPL_E_VOIDED);
	ck_assert_uint_eq(dirty(), 64 * BLOCK);
	/* T5: none opens while an older write is in flight. */
	ck_assert_int_eq(hvrepl_group_cut(group, 0, NULL, &again),
			 HVREPL_E_BUSY);
	hvrepl_tracker_write_end(tracker, &flying, HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &next, HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_E_VOIDED);
	again = make_cut();
	ck_assert_int_eq(spool(again), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(again, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 0);
}
END_TEST

/* Half copied, then voided: all bits are back (ORLEFT). */
START_TEST(a_voided_cut_gives_back_copied_blocks_too)
{
	hvrepl_cut *cut;
	uint32_t progress;

	open_all(0, 0);
	write_at(0, 1 << 20, 1);
	cut = make_cut();
	ck_assert_int_eq(hvrepl_cut_advance(cut, 1, &progress), HVREPL_OK);
	ck_assert_uint_eq(progress, HVREPL_CUT_MORE);
	ck_assert_int_eq(hvrepl_cut_void(cut), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 1 << 20);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 1 << 20);
}
END_TEST

/* A discard is dropped rather than a point. */
START_TEST(a_discard_over_owed_blocks_is_dropped)
{
	struct hvrepl_ticket ticket;
	hvrepl_cut *cut;

	open_all(0, 0);
	write_at(0, 64 * BLOCK, 1);
	cut = make_cut();
	ck_assert_int_eq(begin(&ticket, 0, SIZE, HVREPL_WRITE_DISCARD),
			 HVREPL_PENDING);
	hvrepl_group_process(group); /* Its region marks, then the wait. */
	ck_assert_uint_eq(completions, 0);
	env.now_ns += 50000000;
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_E_BUSY);
	ck_assert_uint_eq(state_of(cut), HVREPL_CUT_OPEN);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	/* Nothing owed any more. */
	ck_assert_int_eq(begin(&ticket, 0, SIZE, HVREPL_WRITE_DISCARD),
			 HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), SIZE);
}
END_TEST

/* A zero over many owed blocks is copied piece by piece and then goes on. */
START_TEST(a_large_zero_over_owed_blocks_is_copied_first)
{
	struct hvrepl_ticket ticket;
	uint8_t *image = calloc(1, SIZE), *then = malloc(SIZE);
	hvrepl_cut *cut;

	open_all(0, 0);
	write_at(0, SIZE, 3);
	memcpy(then, sim_disk_bytes(disk), SIZE);
	cut = make_cut();
	ck_assert_int_eq(begin(&ticket, 0, SIZE, HVREPL_WRITE_ZERO),
			 HVREPL_PENDING);
	completions = 0;
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	put(0, SIZE, 0);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_uint_eq(apply(cut, image), SIZE);
	ck_assert_mem_eq(image, then, SIZE);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	free(image);
	free(then);
}
END_TEST

/* A failed read, copy or spill voids; the next cut has everything. */
START_TEST(a_failed_read_or_spill_voids_and_loses_nothing)
{
	struct hvrepl_ticket ticket;
	hvrepl_cut *cut;
	bool voided = true;

	open_all(30000, 1 << 20);
	write_at(0, 100 * BLOCK, 1);
	for (uint64_t n = 0; voided; n++) {
		cut = make_cut();
		sim.fail_at = sim.call_count + n;
		sim.fail_code = n % 2 == 0 ? HVREPL_E_DISK_IO :
					     HVREPL_E_NO_SPACE;
		if (begin(&ticket, 50 * BLOCK, 512, 0) == HVREPL_PENDING)
			hvrepl_group_process(group);
		hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
		voided = spool(cut) < 0;
		sim.fail_at = UINT64_MAX;
		if (voided) {
			ck_assert_uint_eq(dirty(), 100 * BLOCK);
			ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK),
					 HVREPL_E_VOIDED);
		}
		ck_assert_uint_lt(n, 100);
	}
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), BLOCK);
}
END_TEST

START_TEST(every_failing_allocation_of_a_cut_loses_nothing)
{
	struct hvrepl_ticket ticket;
	bool done = false;

	open_all(0, 0);
	write_at(0, 100 * BLOCK, 1);
	for (long n = 0; !done; n++) {
		hvrepl_cut *cut = NULL;
		uint32_t progress = 0;
		int32_t rc;

		env.alloc_fail_at = n;
		rc = hvrepl_group_cut(group, 0, NULL, &cut);
		if (rc == HVREPL_OK) {
			if (begin(&ticket, 50 * BLOCK, 512, 0) ==
			    HVREPL_PENDING)
				hvrepl_group_process(group);
			hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
			while (rc == HVREPL_OK && progress != HVREPL_CUT_DONE)
				rc = hvrepl_cut_advance(cut, 0, &progress);
			/* NOMEM changed nothing: again. */
			while (rc == HVREPL_E_NOMEM ||
			       (rc == HVREPL_OK && progress != HVREPL_CUT_DONE))
				rc = hvrepl_cut_advance(cut, 0, &progress);
			done = env.alloc_fail_at >= 0;
		}
		env.alloc_fail_at = -1;
		ck_assert(rc == HVREPL_OK || rc == HVREPL_E_NOMEM ||
			  rc == HVREPL_E_VOIDED);
		/* Failed, so that all of it is dirty again. */
		ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED),
				 HVREPL_OK);
		ck_assert_uint_ge(dirty(), 100 * BLOCK);
		ck_assert_int_lt(n, 200);
	}
}
END_TEST

/* L1: a window of the dirty blocks; the rest stays dirty. */
START_TEST(a_limit_cuts_a_window_and_keeps_the_rest_dirty)
{
	struct hvrepl_cut_label label = HVREPL_CUT_LABEL_INIT;
	struct hvrepl_cut_disk part = HVREPL_CUT_DISK_INIT;
	struct hvrepl_ticket ticket;
	uint8_t *image = calloc(1, SIZE);
	uint64_t window = 1 << 20;

	open_all(0, 0);
	put(0, SIZE, 4);
	ck_assert_int_eq(hvrepl_tracker_mark_all(tracker), HVREPL_OK);
	label.limit = 1000;
	ck_assert_int_eq(hvrepl_tracker_set_label(tracker, &label),
			 HVREPL_E_INVALID);
	for (uint64_t end = window; end <= SIZE; end += window) {
		hvrepl_cut *cut;

		label.limit = end == SIZE ? UINT64_MAX : end;
		label.to_point = end / window;
		ck_assert_int_eq(hvrepl_tracker_set_label(tracker, &label),
				 HVREPL_OK);
		cut = make_cut();
		/* Beyond the window nothing is frozen. */
		if (end < SIZE) {
			ck_assert_int_eq(begin(&ticket, end, 512, 0),
					 HVREPL_OK);
			put(end, 512, end);
			hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
		}
		ck_assert_int_eq(spool(cut), HVREPL_OK);
		ck_assert_int_eq(hvrepl_cut_get_disk(cut, 0, &part), HVREPL_OK);
		ck_assert_uint_eq(part.limit, end);
		ck_assert_uint_eq(part.changed_bytes, window);
		ck_assert_uint_eq(hvri_cut_header(cut, 0)->identity.to_point,
				  end / window);
		ck_assert_uint_eq(apply(cut, image), window);
		ck_assert_uint_eq(dirty(), SIZE - end);
		ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
		ck_assert_uint_eq(dirty(), SIZE - end);
	}
	ck_assert_mem_eq(image, sim_disk_bytes(disk), SIZE);
	free(image);
}
END_TEST

/* T5. */
START_TEST(a_cut_due_while_one_is_open_is_a_miss)
{
	struct hvri_group_counts counts;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_cut *cut, *second;

	open_all(0, 0);
	cut = make_cut();
	ck_assert_int_eq(hvrepl_group_cut(group, 0, &error, &second),
			 HVREPL_E_BUSY);
	ck_assert_ptr_nonnull(strstr(error.sentence, "still open"));
	hvri_group_count(group, &counts);
	ck_assert_uint_eq(counts.missed, 1);
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN),
			 HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_E_BUSY);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
}
END_TEST

/* T5: spooled cuts queue, are acknowledged in order, fail as a suffix. */
START_TEST(spooled_cuts_fail_with_all_after_them)
{
	hvrepl_cut *cut[3];

	open_all(0, 0);
	for (uint64_t i = 0; i < 3; i++) {
		write_at(i * 8192, 4096, i + 1);
		cut[i] = make_cut();
		ck_assert_int_eq(spool(cut[i]), HVREPL_OK);
	}
	ck_assert_uint_eq(dirty(), 0);
	ck_assert_int_eq(hvrepl_cut_close(cut[1], HVREPL_OK), HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_cut_close(cut[0], HVREPL_OK), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_settle(cut[1], 0, HVREPL_E_DISCONNECTED),
			 HVREPL_OK);
	ck_assert_uint_eq(state_of(cut[2]), HVREPL_CUT_VOIDED);
	ck_assert_uint_eq(dirty(), 8192);
	ck_assert_int_eq(hvrepl_cut_settle(cut[1], 0, HVREPL_OK),
			 HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_cut_close(cut[2], HVREPL_OK), HVREPL_E_VOIDED);
	ck_assert_int_eq(hvrepl_cut_close(cut[1], HVREPL_E_CANCELLED),
			 HVREPL_OK);
	ck_assert_uint_eq(dirty(), 8192);
}
END_TEST

START_TEST(over_budget_the_newest_queued_cut_is_folded)
{
	struct hvri_group_counts counts;
	hvrepl_cut *first, *second, *third;
	uint8_t *image = calloc(1, SIZE);

	open_all(100000, 0);
	write_at(0, 40000, 1);
	first = make_cut();
	ck_assert_int_eq(spool(first), HVREPL_OK);
	write_at(1 << 20, 40000, 2);
	second = make_cut();
	ck_assert_int_eq(spool(second), HVREPL_OK);
	write_at(2 << 20, 1024, 3);
	third = make_cut();
	ck_assert_uint_eq(state_of(first), HVREPL_CUT_SPOOLED);
	ck_assert_uint_eq(state_of(second), HVREPL_CUT_VOIDED);
	hvri_group_count(group, &counts);
	ck_assert_uint_eq(counts.folded, 1);
	ck_assert_int_eq(hvrepl_cut_close(second, HVREPL_OK), HVREPL_E_VOIDED);
	ck_assert_int_eq(spool(third), HVREPL_OK);
	(void)apply(first, image);
	(void)apply(third, image);
	ck_assert_mem_eq(image, sim_disk_bytes(disk), SIZE);
	ck_assert_int_eq(hvrepl_cut_close(first, HVREPL_OK), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(third, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 0);
	free(image);
}
END_TEST

START_TEST(a_cut_larger_than_all_budgets_is_given_up)
{
	struct hvrepl_cut_info info = HVREPL_CUT_INFO_INIT;
	hvrepl_cut *cut;

	open_all(100000, _i == 0 ? 0 : 200000);
	write_at(0, 1 << 20, 1);
	cut = make_cut();
	ck_assert_int_eq(spool(cut), HVREPL_E_VOIDED);
	ck_assert_int_eq(hvrepl_cut_get_info(cut, &info), HVREPL_OK);
	ck_assert_int_eq(info.reason, HVREPL_E_LIMIT);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_LIMIT), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 1 << 20);
}
END_TEST

/* T4: what memory does not hold is spilled, and gone afterwards. */
START_TEST(chunks_beyond_memory_are_spilled_and_come_back)
{
	struct hvri_group_counts counts;
	uint8_t *image = calloc(1, SIZE);
	hvrepl_cut *cut;

	open_all(100000, 8 << 20);
	write_at(0, SIZE, 1);
	cut = make_cut();
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_uint_eq(sim_storage_objects(spill), 1);
	hvri_group_count(group, &counts);
	ck_assert_uint_le(counts.memory, 100000);
	ck_assert_uint_ge(counts.memory + counts.spilled, SIZE);
	ck_assert_uint_eq(apply(cut, image), SIZE);
	ck_assert_mem_eq(image, sim_disk_bytes(disk), SIZE);
	hvri_cut_release_through(cut, 0, 1000000);
	hvri_group_count(group, &counts);
	ck_assert_uint_eq(counts.memory, 0);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(sim_storage_objects(spill), 0);
	hvri_group_count(group, &counts);
	ck_assert_uint_eq(counts.spilled, 0);
	free(image);
}
END_TEST

START_TEST(spill_that_a_killed_process_left_is_removed)
{
	struct hvrepl_storage storage = sim_storage_handle(spill);
	void *object;

	ck_assert_int_eq(storage.ops->open(storage.user, "spool-00",
					   HVREPL_OBJECT_CREATE, &object),
			 HVREPL_OK);
	storage.ops->close(storage.user, object);
	ck_assert_int_eq(storage.ops->open(storage.user, "other",
					   HVREPL_OBJECT_CREATE, &object),
			 HVREPL_OK);
	storage.ops->close(storage.user, object);
	open_all(0, 1 << 20);
	ck_assert_uint_eq(sim_storage_objects(spill), 1);
	ck_assert_int_eq(storage.ops->remove(storage.user, "other"), HVREPL_OK);
}
END_TEST

START_TEST(chunks_ship_while_the_cut_is_still_read)
{
	const uint8_t *bytes;
	uint32_t length, progress, chunks;
	hvrepl_cut *cut;
	bool complete;

	open_all(0, 0);
	write_at(0, SIZE, 1);
	cut = make_cut();
	ck_assert_int_eq(hvri_cut_chunk(cut, 0, 0, &bytes, &length),
			 HVREPL_PENDING);
	ck_assert_int_eq(hvrepl_cut_advance(cut, 1, &progress), HVREPL_OK);
	ck_assert_int_eq(hvri_cut_chunk(cut, 0, 0, &bytes, &length), HVREPL_OK);
	hvri_cut_release_through(cut, 0, 0);
	ck_assert_int_eq(hvri_cut_chunk(cut, 0, 0, &bytes, &length),
			 HVREPL_E_STATE);
	hvri_cut_progress(cut, 0, &chunks, &complete);
	ck_assert_uint_gt(chunks, 0);
	ck_assert(!complete);
	ck_assert_int_eq(hvrepl_cut_settle(cut, 0, HVREPL_OK), HVREPL_OK);
	hvri_cut_progress(cut, 0, &chunks, &complete);
	ck_assert(complete);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
}
END_TEST

/* The public way: list, read, while writers overwrite. */
START_TEST(a_cut_read_directly_shows_the_instant)
{
	uint8_t *image = calloc(1, SIZE), *then = malloc(SIZE);
	struct hvrepl_extent extents[3];
	uint64_t random = 3, from = 0, listed = 0;
	uint8_t buffer[2048];
	hvrepl_cut *cut;

	open_all(0, 0);
	for (int i = 0; i < 200; i++)
		write_at(test_random(&random) % (SIZE / 512 - 16) * 512,
			 1 + test_random(&random) % 8000, (uint64_t)i + 1);
	memcpy(then, sim_disk_bytes(disk), SIZE);
	cut = make_cut();
	for (int i = 0; i < 100; i++)
		write_at(test_random(&random) % (SIZE / 512 - 16) * 512,
			 1 + test_random(&random) % 8000, (uint64_t)i + 999);
	while (from < SIZE) {
		uint32_t count = 3;

		ck_assert_int_eq(hvrepl_cut_next_extents(cut, 0, from, extents,
							 &count, &from),
				 HVREPL_OK);
		for (uint32_t i = 0; i < count; i++) {
			ck_assert_int_eq(
				hvrepl_cut_read(cut, 0, extents[i].offset,
						image + extents[i].offset,
						extents[i].length),
				HVREPL_OK);
			listed += extents[i].length;
			write_at(extents[i].offset, 512, from);
		}
	}
	ck_assert_mem_eq(image, then, SIZE);
	ck_assert_uint_gt(listed, 0);
	ck_assert_uint_lt(listed, SIZE);
	/* What did not change is not in it. */
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 1, buffer, 1024),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, SIZE, buffer, 1024),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	free(image);
	free(then);
}
END_TEST

START_TEST(a_spooled_cut_can_still_be_read_directly)
{
	uint8_t *image = calloc(1, SIZE);
	hvrepl_cut *cut;

	open_all(50000, 8 << 20);
	write_at(4096, 300000, 1);
	write_at(1 << 20, 100000, 0);
	cut = make_cut();
	write_at(8192, 5000, 7);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	write_at(4096, 300000, 8);
	put(4096, 300000, 1);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 5120, image, 200 * BLOCK),
			 HVREPL_OK);
	ck_assert_mem_eq(image, sim_disk_bytes(disk) + 5120, 200 * BLOCK);
	memset(image, 1, 90 * BLOCK);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 1 << 20, image, 90 * BLOCK),
			 HVREPL_OK);
	ck_assert_mem_eq(image, sim_disk_bytes(disk) + (1 << 20), 90 * BLOCK);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 2 << 20, image, BLOCK),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	free(image);
}
END_TEST

/* Holes are not read, zeroes are not stored. */
START_TEST(holes_and_zeroes_cost_nothing)
{
	const uint64_t size = (UINT64_C(1) << 40) + 512;
	struct sparse_disk *huge = sparse_disk_new(size);
	struct hvrepl_disk taken = sparse_disk_handle(huge);
	struct hvrepl_storage storage = sim_storage_handle(files);
	struct hvrepl_tracker_options options = HVREPL_TRACKER_OPTIONS_INIT;
	struct hvrepl_cut_info info = HVREPL_CUT_INFO_INIT;
	uint8_t bytes[4096];
	hvrepl_cut *cut;

	open_all(0, 0);
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	options.flags = HVREPL_TRACKER_CREATE;
	options.object_id = "huge.hvt";
	ck_assert_int_eq(hvrepl_tracker_attach(group, &taken, &storage,
					       &options, NULL, &tracker),
			 HVREPL_OK);
	test_fill(bytes, sizeof(bytes), 1);
	sparse_disk_write(huge, 0, bytes, sizeof(bytes));
	sparse_disk_write(huge, UINT64_C(1) << 32, bytes, sizeof(bytes));
	sparse_disk_write(huge, size - 512, bytes, 512);
	ck_assert_int_eq(hvrepl_tracker_mark_all(tracker), HVREPL_OK);
	cut = make_cut();
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_get_info(cut, &info), HVREPL_OK);
	ck_assert_uint_eq(info.read_bytes, size);
	ck_assert_uint_lt(huge->read_bytes, 1 << 20);
	ck_assert_uint_lt(info.spool_bytes, 20000);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 0);
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	tracker = NULL;
	sparse_disk_free(huge);
}
END_TEST

/* T11 */
struct source {
	uint8_t frozen[1 << 20];
	uint64_t token;
	unsigned begun, ended, acknowledged;
	int32_t fails;
};

static int32_t source_begin(void *user, const struct hvrepl_change_token *from,
			    struct hvrepl_change_token *to, void **handle)
{
	struct source *source = user;

	if (from->length > 0 && from->bytes[0] != source->token)
		return HVREPL_E_UNTRUSTED;
	if (source->fails < 0)
		return source->fails;
	source->begun++;
	to->length = 1;
	to->bytes[0] = (uint8_t)(source->token + 1);
	*handle = from->length == 0 ? user : &source->token;
	return HVREPL_OK;
}

static int32_t source_changed(void *user, void *handle, uint32_t index,
			      uint64_t from, struct hvrepl_extent *out,
			      uint32_t *count, uint64_t *end)
{
	static const struct hvrepl_extent some[3] = { { 512, 1024 },
						      { 65536, 300000 / 512 *
								      512 },
						      { 1048064, 512 } };
	uint32_t found = 0;

	ck_assert_uint_eq(index, 0);
	if (handle == user) { /* Everything. */
		out->offset = from;
		out->length = sizeof(((struct source *)0)->frozen) - from;
		*count = 1;
		*end = sizeof(((struct source *)0)->frozen);
		return HVREPL_OK;
	}
	/* One at a time, from within extents too. */
	*end = sizeof(((struct source *)0)->frozen);
	for (size_t i = 0; i < 3 && found == 0; i++) {
		uint64_t stop = some[i].offset + some[i].length;

		if (stop <= from)
			continue;
		out->offset = from > some[i].offset ? from : some[i].offset;
		out->length = stop - out->offset;
		*end = stop;
		found = 1;
	}
	*count = found;
	return HVREPL_OK;
}

static int32_t source_read(void *user, hvrepl_op *op, void *handle,
			   uint32_t index, uint64_t offset, void *buffer,
			   size_t length)
{
	(void)handle, (void)index;
	memcpy(buffer, ((struct source *)user)->frozen + offset, length);
	hvrepl_op_complete(op, HVREPL_OK);
	return HVREPL_PENDING;
}

static void source_end(void *user, void *handle, uint32_t acknowledged)
{
	struct source *source = user;

	(void)handle;
	source->ended++;
	source->acknowledged += acknowledged;
	source->token += acknowledged;
}

START_TEST(an_external_source_gives_the_same_cut)
{
	static struct source source;
	static uint8_t image[SIZE];
	const struct hvrepl_source_ops ops = { sizeof(ops), 0, source_begin,
					       source_changed, source_read,
					       source_end };
	const struct hvrepl_source_disk mine = { .size = 1 << 20 };
	struct hvrepl_change_token token = { .length = 0 };
	uint8_t buffer[512];
	uint32_t whole;
	hvrepl_cut *cut;

	open_all(0, 0);
	source = (struct source){ .token = 1 };
	memset(image, 0, sizeof(image));
	test_fill(source.frozen, sizeof(source.frozen), 1);
	/* No token: all of it. */
	ck_assert_int_eq(hvrepl_source_cut(group, &ops, &source, &mine, 1, NULL,
					   NULL, NULL, &cut),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_token(cut, &token, &whole), HVREPL_OK);
	ck_assert_uint_eq(whole, 1);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_uint_eq(apply(cut, image), 1 << 20);
	ck_assert_mem_eq(image, source.frozen, 1 << 20);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(source.acknowledged, 1);
	/* From the token: what changed. It fails: the token stays. */
	for (unsigned i = 0; i < 2; i++) {
		test_fill(source.frozen + 512, 1024, 7);
		test_fill(source.frozen + 65536, 299520, 8);
		ck_assert_int_eq(hvrepl_source_cut(group, &ops, &source, &mine,
						   1, NULL, &token, NULL, &cut),
				 HVREPL_OK);
		ck_assert_int_eq(spool(cut), HVREPL_OK);
		ck_assert_uint_eq(apply(cut, image), 1024 + 299520 + 512);
		ck_assert_int_eq(hvrepl_cut_read(cut, 0, 512, buffer, 512),
				 HVREPL_OK);
		ck_assert_mem_eq(buffer, source.frozen + 512, 512);
		ck_assert_int_eq(
			hvrepl_cut_close(cut, i == 0 ? HVREPL_E_CANCELLED :
						       HVREPL_OK),
			HVREPL_OK);
		ck_assert_uint_eq(source.acknowledged, i + 1);
	}
	ck_assert_mem_eq(image, source.frozen, 1 << 20);
	/* A token that it does not know: everything again. */
	ck_assert_int_eq(hvrepl_source_cut(group, &ops, &source, &mine, 1, NULL,
					   &token, NULL, &cut),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_token(cut, &token, &whole), HVREPL_OK);
	ck_assert_uint_eq(whole, 1);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
	ck_assert_uint_eq(source.begun, source.ended);
	source.fails = HVREPL_E_DISK_IO;
	token.length = 0;
	ck_assert_int_eq(hvrepl_source_cut(group, &ops, &source, &mine, 1, NULL,
					   &token, NULL, &cut),
			 HVREPL_E_CALLBACK);
}
END_TEST

/* All disks of a group at one instant, those of several VMs too. */
START_TEST(a_cut_names_all_disks_of_the_group)
{
	struct sim_disk *second = sim_disk_new(&sim, SIZE);
	struct hvrepl_disk taken = sim_disk_handle(second);
	struct hvrepl_storage storage = sim_storage_handle(files);
	struct hvrepl_tracker_options options = HVREPL_TRACKER_OPTIONS_INIT;
	struct hvrepl_cut_disk part = HVREPL_CUT_DISK_INIT;
	struct hvrepl_cut_info info = HVREPL_CUT_INFO_INIT;
	hvrepl_tracker *other;
	hvrepl_cut *cut;

	open_all(0, 0);
	second->flags = HVREPL_DISK_EXCLUSIVE;
	options.flags = HVREPL_TRACKER_CREATE;
	options.object_id = "e.hvt";
	options.vm.bytes[0] = 5;
	ck_assert_int_eq(hvrepl_tracker_attach(group, &taken, &storage,
					       &options, NULL, &other),
			 HVREPL_OK);
	write_at(0, 4096, 1);
	cut = make_cut();
	ck_assert_int_eq(hvrepl_cut_get_info(cut, &info), HVREPL_OK);
	ck_assert_uint_eq(info.disk_count, 2);
	ck_assert_int_eq(hvrepl_cut_get_disk(cut, 1, &part), HVREPL_OK);
	ck_assert_uint_eq(part.vm.bytes[0], 5);
	ck_assert_ptr_eq(part.tracker, other);
	ck_assert_uint_eq(part.block_size, 4096);
	ck_assert_int_eq(hvrepl_cut_get_disk(cut, 2, &part), HVREPL_E_INVALID);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	/* One VM's part fails, the other's is acknowledged. */
	ck_assert_int_eq(hvrepl_cut_settle(cut, 1, HVREPL_OK), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_settle(cut, 1, HVREPL_OK), HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_cut_settle(cut, 0, HVREPL_E_DENIED), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_DENIED), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 4096);
	ck_assert_int_eq(hvrepl_tracker_detach(other, 0), HVREPL_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cut");
	TCase *tcase = tcase_create("all");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_write_over_an_owed_block_waits_for_its_copy);
	tcase_add_test(tcase, a_cut_waits_for_the_writes_that_are_in_it);
	tcase_add_test(tcase, a_wait_that_is_too_long_voids_the_cut);
	tcase_add_test(tcase, a_voided_cut_gives_back_copied_blocks_too);
	tcase_add_test(tcase, a_discard_over_owed_blocks_is_dropped);
	tcase_add_test(tcase, a_large_zero_over_owed_blocks_is_copied_first);
	tcase_add_test(tcase, a_failed_read_or_spill_voids_and_loses_nothing);
	tcase_add_test(tcase, every_failing_allocation_of_a_cut_loses_nothing);
	tcase_add_test(tcase, a_limit_cuts_a_window_and_keeps_the_rest_dirty);
	tcase_add_test(tcase, a_cut_due_while_one_is_open_is_a_miss);
	tcase_add_test(tcase, spooled_cuts_fail_with_all_after_them);
	tcase_add_test(tcase, over_budget_the_newest_queued_cut_is_folded);
	tcase_add_loop_test(tcase, a_cut_larger_than_all_budgets_is_given_up, 0,
			    2);
	tcase_add_test(tcase, chunks_beyond_memory_are_spilled_and_come_back);
	tcase_add_test(tcase, spill_that_a_killed_process_left_is_removed);
	tcase_add_test(tcase, chunks_ship_while_the_cut_is_still_read);
	tcase_add_test(tcase, a_cut_read_directly_shows_the_instant);
	tcase_add_test(tcase, a_spooled_cut_can_still_be_read_directly);
	tcase_add_test(tcase, holes_and_zeroes_cost_nothing);
	tcase_add_test(tcase, an_external_source_gives_the_same_cut);
	tcase_add_test(tcase, a_cut_names_all_disks_of_the_group);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
