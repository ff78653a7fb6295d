/* SPDX-License-Identifier: Apache-2.0 */
/* The tracker: attach, recover, mark, cool, fence; T rules one by one. */
#include "sim.h"
#include "sparsedisk.h"
#include "testing.h"

#include "tracker/internal.h"

#include <string.h>

#define SIZE (UINT64_C(8) << 20)
#define REGION 65536u
#define BLOCK 1024u

static struct test_env env;
static struct sim sim;
static struct sim_storage *files;
static struct sim_disk *disk;
static hvrepl_group *group;
static hvrepl_tracker *tracker;
static struct hvrepl_error error;
static unsigned woken;

static void wake(void *user)
{
	(void)user;
	woken++;
}

static void make_group(void)
{
	struct hvrepl_group_options options = HVREPL_GROUP_OPTIONS_INIT;

	options.wake = wake;
	options.cool_after_ns = 1000;
	ck_assert_int_eq(hvrepl_group_create(&env.env, &options, NULL, &group),
			 HVREPL_OK);
}

static void setup(void)
{
	test_env_init(&env, 1);
	sim_init(&sim, 1);
	files = sim_storage_new(&sim);
	disk = sim_disk_new(&sim, SIZE);
	disk->flags = HVREPL_DISK_EXCLUSIVE;
	error = (struct hvrepl_error)HVREPL_ERROR_INIT;
	tracker = NULL;
	make_group();
}

static void teardown(void)
{
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_OK);
	sim_free(&sim);
	ck_assert_int_eq(env.alloc_live, 0);
}

static struct hvrepl_tracker_options base_options(uint32_t flags)
{
	struct hvrepl_tracker_options options = HVREPL_TRACKER_OPTIONS_INIT;

	options.flags = flags;
	options.disk.bytes[0] = 1;
	options.owner.bytes[0] = 1;
	options.object_id = "d.hvt";
	options.block_size = BLOCK;
	options.region_size = REGION;
	return options;
}

static int32_t attach_with(const struct hvrepl_tracker_options *options)
{
	struct hvrepl_disk taken = sim_disk_handle(disk);
	struct hvrepl_storage storage = sim_storage_handle(files);
	unsigned released = disk->released;
	int32_t rc;

	error = (struct hvrepl_error)HVREPL_ERROR_INIT;
	rc = hvrepl_tracker_attach(group, &taken, &storage, options, &error,
				   &tracker);
	/* Taken, and let go at once when it failed. */
	ck_assert_uint_eq(disk->released - released, rc < 0 ? 1u : 0u);
	ck_assert(rc == HVREPL_OK || strlen(error.sentence) > 8);
	return rc;
}

static int32_t attach(uint32_t flags)
{
	struct hvrepl_tracker_options options = base_options(flags);

	return attach_with(&options);
}

static void detach(uint32_t flags)
{
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, flags), HVREPL_OK);
	tracker = NULL;
}

static int32_t last_result;
static unsigned completions;

static void completed(struct hvrepl_ticket *ticket, int32_t result)
{
	(void)ticket;
	last_result = result;
	completions++;
}

static struct hvrepl_ticket new_ticket(void)
{
	struct hvrepl_ticket ticket = HVREPL_TICKET_INIT;

	ticket.complete = completed;
	return ticket;
}

/* A write that waits for nothing but its mark. */
static void write_at(uint64_t offset, uint64_t length)
{
	struct hvrepl_ticket ticket = new_ticket();
	int32_t rc = hvrepl_tracker_write_begin(tracker, offset, length,
						HVREPL_WRITE_DATA, &ticket);

	if (rc == HVREPL_PENDING) {
		hvrepl_group_process(group);
		rc = last_result;
	}
	ck_assert_int_eq(rc, HVREPL_OK);
	ck_assert_int_eq(hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK),
			 HVREPL_OK);
}

static struct hvrepl_tracker_info info(void)
{
	struct hvrepl_tracker_info found = HVREPL_TRACKER_INFO_INIT;

	ck_assert_int_eq(hvrepl_tracker_get_info(tracker, &found), HVREPL_OK);
	return found;
}

/* All that is dirty becomes acknowledged. */
static void acknowledge(void)
{
	hvrepl_cut *cut;
	uint32_t progress = 0;

	ck_assert_int_eq(hvrepl_group_cut(group, 0, NULL, &cut), HVREPL_OK);
	while (progress != HVREPL_CUT_DONE)
		ck_assert_int_eq(hvrepl_cut_advance(cut, 0, &progress),
				 HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
}

static void cool_down(void)
{
	for (int i = 0; i < 4; i++) {
		env.now_ns += 2000;
		hvrepl_group_process(group);
	}
}

START_TEST(clean_close_brings_back_exactly_the_dirty_blocks)
{
	uint64_t random = 7, dirty = 0;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_CREATED);
	for (int i = 0; i < 300; i++)
		write_at(test_random(&random) % (SIZE / 512 - 8) * 512, 4096);
	write_at(1 << 20, 5 << 20);
	write_at(SIZE - 512, 512);
	dirty = info().dirty_bytes;
	for (int round = 0; round < 2; round++) {
		detach(HVREPL_DETACH_CLEAN);
		sim_restart(&sim, true);
		ck_assert_int_eq(attach(0), HVREPL_OK);
		ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_CLEAN);
		ck_assert_uint_eq(info().dirty_bytes, dirty);
		ck_assert_uint_eq(info().incarnation, (uint64_t)round + 2);
	}
}
END_TEST

START_TEST(after_a_crash_the_hot_regions_are_dirty_and_no_others)
{
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(10 * REGION, 512);
	write_at(20 * REGION - 512, 1024);
	detach(0);
	sim_restart(&sim, true);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_HOT);
	ck_assert_uint_eq(info().reason, HVREPL_REASON_CRASH);
	ck_assert_uint_eq(info().dirty_bytes, 3 * REGION);
	ck_assert_uint_eq(info().compare_bytes, 3 * REGION);
}
END_TEST

/* T7: one flush for all marks that were written before it began. */
START_TEST(one_flush_serves_all_marks_that_wait)
{
	struct hvrepl_ticket ticket[8];
	uint64_t flushes;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	flushes = info().flushes;
	completions = 0;
	for (unsigned i = 0; i < 8; i++) {
		ticket[i] = new_ticket();
		ck_assert_int_eq(hvrepl_tracker_write_begin(
					 tracker, i * 3 * REGION, 512, 0,
					 &ticket[i]),
				 HVREPL_PENDING);
	}
	ck_assert_uint_gt(woken, 0);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 8);
	ck_assert_uint_eq(info().flushes, flushes + 1);
	for (unsigned i = 0; i < 8; i++)
		hvrepl_tracker_write_end(tracker, &ticket[i], HVREPL_OK);
}
END_TEST

/* T1: nothing allocated, no I/O once the region is hot. */
START_TEST(a_hot_region_costs_neither_memory_nor_io)
{
	uint64_t ios;
	long allocs;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, REGION);
	ios = sim.call_count;
	allocs = env.alloc_count;
	for (int i = 0; i < 1000; i++)
		write_at((uint64_t)(i % 64) * 1024, 1024);
	ck_assert_uint_eq(sim.call_count, ios);
	ck_assert_int_eq(env.alloc_count, allocs);
}
END_TEST

START_TEST(an_acknowledged_region_cools_and_costs_no_compare)
{
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 4096);
	write_at(5 * REGION, 4096);
	acknowledge();
	write_at(9 * REGION, 512);
	cool_down();
	ck_assert_uint_eq(info().cooled, 2);
	ck_assert_uint_eq(info().hot_regions, 1);
	ck_assert_uint_eq(info().acknowledged_point, 0);
	detach(0);
	sim_restart(&sim, false);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, REGION);
}
END_TEST

/* T7 (a): read into the spool is not acknowledged. */
START_TEST(a_region_of_a_cut_that_is_not_acknowledged_stays_hot)
{
	hvrepl_cut *cut;
	uint32_t progress = 0;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 4096);
	ck_assert_int_eq(hvrepl_group_cut(group, 0, NULL, &cut), HVREPL_OK);
	cool_down();
	while (progress != HVREPL_CUT_DONE)
		ck_assert_int_eq(hvrepl_cut_advance(cut, 0, &progress),
				 HVREPL_OK);
	cool_down();
	ck_assert_uint_eq(info().hot_regions, 1);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	cool_down();
	ck_assert_uint_eq(info().hot_regions, 0);
}
END_TEST

/* What is acknowledged and closed cannot go back to what it was before. */
START_TEST(a_clean_close_makes_the_disk_durable)
{
	struct hvrepl_disk handle = sim_disk_handle(disk);
	uint8_t bytes[512];
	struct hvrepl_iovec iov = { bytes, sizeof(bytes) };

	test_fill(bytes, sizeof(bytes), 4);
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	ck_assert_int_eq(handle.ops->writev(handle.user, NULL, 0, &iov, 1),
			 HVREPL_OK);
	acknowledge();
	detach(HVREPL_DETACH_CLEAN);
	sim.survive_percent = 0;
	sim_restart(&sim, true);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, 0);
	ck_assert_mem_eq(sim_disk_bytes(disk), bytes, sizeof(bytes));
}
END_TEST

/* T7: a writer that meets COOLING takes it back without I/O. */
START_TEST(a_region_being_written_does_not_cool)
{
	struct hvrepl_ticket ticket = new_ticket();

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 4096);
	acknowledge();
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 512, 0,
						    &ticket),
			 HVREPL_OK);
	cool_down();
	ck_assert_uint_eq(info().cooled, 0);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	cool_down();
	ck_assert_uint_eq(info().cooled, 0); /* Not acknowledged. */
	acknowledge();
	cool_down();
	ck_assert_uint_eq(info().cooled, 1);
}
END_TEST

/* A write in flight elsewhere holds the grace, and nothing else. */
START_TEST(cooling_waits_for_writes_in_flight)
{
	struct hvrepl_ticket ticket = new_ticket();
	struct hvrepl_ticket other = new_ticket();

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	write_at(7 * REGION, 512);
	acknowledge();
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 7 * REGION, 512, 0,
						    &ticket),
			 HVREPL_OK);
	cool_down();
	ck_assert_uint_eq(info().cooled, 0);
	/* COOLING; taken back. */
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 512, 0, &other),
			 HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &other, HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	cool_down();
	ck_assert_uint_eq(info().cooled, 0);
	acknowledge();
	cool_down();
	ck_assert_uint_eq(info().cooled, 2);
}
END_TEST

START_TEST(a_fence_refuses_new_writes_and_drains_the_old)
{
	struct hvrepl_ticket flying = new_ticket(), waiting = new_ticket();
	struct hvrepl_ticket late = new_ticket();

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 512, 0,
						    &flying),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 3 * REGION, 512, 0,
						    &waiting),
			 HVREPL_PENDING);
	ck_assert_int_eq(hvrepl_tracker_fence(tracker), HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 512, 0, &late),
			 HVREPL_E_FENCED);
	completions = 0;
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_E_FENCED);
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_E_BUSY);
	woken = 0;
	hvrepl_tracker_write_end(tracker, &flying, HVREPL_OK);
	ck_assert_uint_gt(woken, 0);
	ck_assert_int_eq(hvrepl_tracker_fence(tracker), HVREPL_OK);
	ck_assert_uint_eq(info().fenced, 1);
	ck_assert_int_eq(hvrepl_tracker_unfence(tracker), HVREPL_OK);
	write_at(0, 512);
}
END_TEST

static int32_t trust_result = HVREPL_OK;
static unsigned trust_calls[2];
static hvrepl_op *trust_op;

static int32_t trust(void *user, hvrepl_op *op, uint32_t trusted)
{
	(void)user;
	trust_calls[trusted]++;
	trust_op = op;
	return trust_result;
}

/* T8: strict, or nowhere to say "untrusted": the write fails. */
START_TEST(a_mark_that_cannot_be_made_fails_a_strict_write)
{
	struct hvrepl_tracker_options options =
		base_options(HVREPL_TRACKER_CREATE | HVREPL_TRACKER_STRICT);
	struct hvrepl_ticket ticket = new_ticket();

	if (_i == 0)
		options.trust = trust; /* Strict all the same. */
	else
		options.flags = HVREPL_TRACKER_CREATE;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	sim.fail_at = sim.call_count;
	sim.fail_code = HVREPL_E_STORAGE_IO;
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 512, 0,
						    &ticket),
			 HVREPL_PENDING);
	completions = 0;
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_E_STORAGE_IO);
	write_at(0, 512); /* The next one is marked again. */
	detach(0);
	sim_restart(&sim, true);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, REGION);
}
END_TEST

/* T8: "untrusted" made durable elsewhere, and the write goes on. */
START_TEST(a_mark_that_cannot_be_made_costs_a_compare_instead)
{
	struct hvrepl_tracker_options options =
		base_options(HVREPL_TRACKER_CREATE);
	struct hvrepl_ticket ticket = new_ticket(), next = new_ticket();

	options.trust = trust;
	memset(trust_calls, 0, sizeof(trust_calls));
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	sim.fail_at = sim.call_count;
	sim.fail_on = true;
	trust_result = HVREPL_PENDING;
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 512, 0,
						    &ticket),
			 HVREPL_PENDING);
	completions = 0;
	hvrepl_group_process(group);
	ck_assert_uint_eq(trust_calls[0], 1);
	ck_assert_uint_eq(completions, 0);
	hvrepl_op_complete(trust_op, HVREPL_OK);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_OK);
	ck_assert_uint_eq(info().untrusted, 1);
	/* No other region waits meanwhile. */
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 9 * REGION, 512, 0,
						    &next),
			 HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &next, HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	/* The file can be written again: said too. */
	sim.fail_on = false;
	sim.fail_at = UINT64_MAX;
	trust_result = HVREPL_OK;
	env.now_ns += 2000000000;
	hvrepl_group_process(group);
	ck_assert_uint_eq(trust_calls[1], 1);
	ck_assert_uint_eq(info().untrusted, 0);
	detach(0);
	sim_restart(&sim, true);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, SIZE);
	/* Killed while untrusted: the application tells. */
	detach(0);
	options.flags = HVREPL_TRACKER_UNTRUSTED;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_WHOLE);
	ck_assert_uint_eq(info().reason, HVREPL_REASON_UNTRUSTED);
	ck_assert_uint_eq(trust_calls[1], 2);
}
END_TEST

/* A storage whose flush hangs until told: as the pump's thread sees it. */
START_TEST(a_mark_that_hangs_is_ended_at_the_deadline)
{
	struct hvrepl_tracker_options options =
		base_options(HVREPL_TRACKER_CREATE);
	struct hvrepl_ticket ticket = new_ticket();

	options.trust = trust;
	trust_result = HVREPL_OK;
	memset(trust_calls, 0, sizeof(trust_calls));
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	/* Another thread is in the file and does not come back. */
	ck_assert(hvri_file_take(tracker, false));
	completions = 0;
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 512, 0,
						    &ticket),
			 HVREPL_PENDING);
	hvrepl_group_process(group);
	ck_assert_uint_eq(completions, 0);
	ck_assert_uint_eq(hvrepl_group_deadline(group),
			  env.now_ns + 50000000);
	env.now_ns += 50000000;
	hvrepl_group_process(group);
	ck_assert_uint_eq(trust_calls[0], 1);
	ck_assert_uint_eq(completions, 1);
	ck_assert_int_eq(last_result, HVREPL_OK);
	hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK);
	hvri_file_give(tracker);
}
END_TEST

/* T9. */
START_TEST(a_disk_changed_while_untracked_is_noticed)
{
	struct hvrepl_tracker_options options = base_options(0);

	disk->flags = 0;
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	detach(HVREPL_DETACH_CLEAN);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_CLEAN);
	detach(HVREPL_DETACH_CLEAN);
	disk->token++;
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_WHOLE);
	ck_assert_uint_eq(info().reason, HVREPL_REASON_TOKEN);
	ck_assert_uint_eq(info().dirty_bytes, SIZE);
	/* A crash, and nobody vouches for the disk. */
	detach(0);
	options.token_check = NULL;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	ck_assert_uint_eq(info().reason, HVREPL_REASON_TOKEN);
}
END_TEST

static int32_t token_seen(void *user, const uint8_t *saved, uint32_t saved_len,
			  uint64_t saved_utc, const uint8_t *now,
			  uint32_t now_len)
{
	(void)user;
	ck_assert_uint_eq(saved_len, 8);
	ck_assert_uint_eq(now_len, 8);
	ck_assert_uint_gt(saved_utc, 0);
	return memcmp(saved, now, 8) == 0;
}

START_TEST(after_a_crash_the_application_judges_the_token)
{
	struct hvrepl_tracker_options options =
		base_options(HVREPL_TRACKER_CREATE);

	disk->flags = 0;
	options.token_check = token_seen;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	write_at(0, 512);
	disk->token++;
	ck_assert_int_eq(hvrepl_tracker_save(tracker, NULL), HVREPL_OK);
	detach(0);
	options.flags = 0;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_HOT);
	detach(0);
	disk->token++;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_WHOLE);
}
END_TEST

START_TEST(a_second_opener_is_refused_and_one_taken_over_is_fenced)
{
	struct hvrepl_tracker_options options = base_options(0);
	hvrepl_tracker *first;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	first = tracker;
	options.owner.bytes[0] = 2;
	ck_assert_int_eq(attach_with(&options), HVREPL_E_BUSY);
	options.flags = HVREPL_TRACKER_TAKE_OVER;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	ck_assert_uint_eq(info().owner.bytes[0], 1);
	/* The old one learns of it when it next saves. */
	ck_assert_int_eq(hvrepl_tracker_save(first, NULL), HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_tracker_fence(first), HVREPL_OK);
	ck_assert_int_eq(hvrepl_tracker_detach(first, 0), HVREPL_OK);
	detach(HVREPL_DETACH_CLEAN);
	/* Closed cleanly: anybody may. */
	options.flags = 0;
	options.owner.bytes[0] = 3;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
}
END_TEST

START_TEST(stamp_and_acknowledgement_survive)
{
	struct hvrepl_tracker_stamp stamp = HVREPL_TRACKER_STAMP_INIT;
	struct hvrepl_cut_label label = HVREPL_CUT_LABEL_INIT;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	stamp.epoch.bytes[3] = 5;
	stamp.generation = 17;
	stamp.record_id.bytes[1] = 2;
	label.epoch.bytes[3] = 5;
	label.to_point = 33;
	ck_assert_int_eq(hvrepl_tracker_set_label(tracker, &label), HVREPL_OK);
	write_at(0, 512);
	acknowledge();
	ck_assert_int_eq(hvrepl_tracker_save(tracker, &stamp), HVREPL_OK);
	detach(0);
	sim_restart(&sim, true);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().generation, 17);
	ck_assert_uint_eq(info().epoch.bytes[3], 5);
	ck_assert_uint_eq(info().record_id.bytes[1], 2);
	ck_assert_uint_eq(info().acknowledged_point, 33);
	ck_assert_uint_eq(info().acknowledged_epoch.bytes[3], 5);
}
END_TEST

START_TEST(marked_extents_survive_a_crash)
{
	const struct hvrepl_extent extents[2] = { { 1000, 100 },
						  { 50 * REGION, 2048 } };
	const struct hvrepl_extent beyond = { SIZE - 512, 1024 };

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	ck_assert_int_eq(hvrepl_tracker_mark(tracker, &beyond, 1),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_tracker_mark(tracker, extents, 2), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, 4 * BLOCK);
	detach(0);
	sim_restart(&sim, true);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, 2 * REGION);
	ck_assert_int_eq(hvrepl_tracker_mark_all(tracker), HVREPL_OK);
	detach(0);
	sim_restart(&sim, true);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, SIZE);
}
END_TEST

static uint64_t hash(const uint8_t *bytes, uint64_t size)
{
	uint64_t sum = size;

	for (uint64_t i = 0; i < size; i++)
		sum = sum * 1099511628211u + bytes[i];
	return sum;
}

/* A code, a sentence, nothing changed; then REBUILD helps. */
START_TEST(damaged_files_are_refused_and_left_alone)
{
	uint8_t *bytes, keep;
	uint64_t size, before;
	struct hvrepl_tracker_options other = base_options(0);
	/* Both headers are hit through one; the coarse map; the fine map. */
	const uint64_t places[] = { 40, 8192 + 100, 12288 + 40 };

	ck_assert_int_eq(attach(0), HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	detach(HVREPL_DETACH_CLEAN);
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_E_EXISTS);
	for (size_t i = 0; i < 3; i++) {
		bytes = sim_object_bytes(files, "d.hvt", &size);
		keep = bytes[places[i]];
		bytes[places[i]] ^= 4;
		if (i == 0)
			bytes[4096 + 40] ^= 4;
		before = hash(bytes, size);
		ck_assert_int_eq(attach(0), HVREPL_E_CORRUPT);
		bytes = sim_object_bytes(files, "d.hvt", &size);
		ck_assert_uint_eq(hash(bytes, size), before);
		bytes[places[i]] = keep;
		if (i == 0)
			bytes[4096 + 40] ^= 4;
	}
	other.disk.bytes[0] = 9;
	ck_assert_int_eq(attach_with(&other), HVREPL_E_WRONG_DISK);
	other = base_options(0);
	other.object_id = "";
	ck_assert_int_eq(attach_with(&other), HVREPL_E_INVALID);
	other.object_id = "x.hvt";
	other.flags = HVREPL_TRACKER_CREATE;
	other.block_size = 768;
	ck_assert_int_eq(attach_with(&other), HVREPL_E_INVALID);
	other.flags = 1u << 20;
	ck_assert_int_eq(attach_with(&other), HVREPL_E_TOO_NEW);
	sim_object_bytes(files, "d.hvt", &size)[12288 + 40] ^= 1;
	ck_assert_int_eq(attach(HVREPL_TRACKER_REBUILD), HVREPL_OK);
	ck_assert_uint_eq(info().reason, HVREPL_REASON_FINE_MAP);
	ck_assert_uint_eq(info().dirty_bytes, REGION);
	detach(0);
	bytes = sim_object_bytes(files, "d.hvt", &size);
	bytes[3] = bytes[4099] = 0;
	ck_assert_int_eq(attach(0), HVREPL_E_CORRUPT);
	ck_assert_int_eq(attach(HVREPL_TRACKER_REBUILD), HVREPL_OK);
	ck_assert_uint_eq(info().reason, HVREPL_REASON_REBUILT);
	ck_assert_uint_eq(info().dirty_bytes, SIZE);
}
END_TEST

/* T8: a header slot lost after the open must not bring "closed" back. */
START_TEST(one_lost_header_slot_never_says_closed)
{
	for (unsigned slot = 0; slot < 2; slot++) {
		uint64_t size;

		ck_assert_int_eq(attach(slot == 0 ? HVREPL_TRACKER_CREATE : 0),
				 HVREPL_OK);
		acknowledge();
		detach(HVREPL_DETACH_CLEAN);
		ck_assert_int_eq(attach(0), HVREPL_OK);
		write_at(70 * REGION, 512);
		detach(0);
		sim_object_bytes(files, "d.hvt", &size)[slot * 4096 + 9] ^= 1;
		ck_assert_int_eq(attach(0), HVREPL_OK);
		ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_HOT);
		ck_assert_uint_gt(info().dirty_bytes, 0);
		detach(HVREPL_DETACH_CLEAN);
	}
}
END_TEST

START_TEST(shorter_and_longer_disks_are_refused)
{
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	detach(HVREPL_DETACH_CLEAN);
	disk = sim_disk_new(&sim, SIZE + 512);
	ck_assert_int_eq(attach(0), HVREPL_E_WRONG_DISK);
	disk = sim_disk_new(&sim, SIZE - 512);
	disk->flags = HVREPL_DISK_EXCLUSIVE;
	ck_assert_int_eq(attach(0), HVREPL_E_WRONG_DISK);
	ck_assert_int_eq(attach(HVREPL_TRACKER_REBUILD), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, SIZE - 512);
}
END_TEST

/* Detach that fails leaves a tracker that works, or is fenced. */
START_TEST(a_clean_close_that_fails_at_any_io_loses_nothing)
{
	bool failed = true;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	for (uint64_t n = 0; failed; n++) {
		int32_t rc;

		write_at(n % 100 * REGION, 512);
		sim.fail_at = sim.call_count + n;
		sim.fail_code = n % 2 == 0 ? HVREPL_E_STORAGE_IO :
					     HVREPL_E_NO_SPACE;
		rc = hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN);
		failed = rc < 0;
		sim.fail_at = UINT64_MAX;
		if (failed) {
			write_at(n % 100 * REGION + 1024, 512);
			detach(0);
		}
		tracker = NULL;
		sim_restart(&sim, true);
		ck_assert_int_eq(attach(0), HVREPL_OK);
		ck_assert_uint_eq(info().recovery,
				  failed ? HVREPL_RECOVERY_HOT :
					   HVREPL_RECOVERY_CLEAN);
		ck_assert_uint_ge(info().dirty_bytes, 1024);
	}
}
END_TEST

START_TEST(attach_survives_every_failing_allocation_and_io)
{
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 4096);
	detach(HVREPL_DETACH_CLEAN);
	for (long n = 0; tracker == NULL; n++) {
		long live = env.alloc_live;
		int32_t rc;

		env.alloc_fail_at = n;
		rc = attach(0);
		env.alloc_fail_at = -1;
		ck_assert(rc == HVREPL_OK || rc == HVREPL_E_NOMEM);
		if (rc < 0)
			ck_assert_int_eq(env.alloc_live, live);
	}
	detach(HVREPL_DETACH_CLEAN);
	for (uint64_t n = 0; tracker == NULL; n++) {
		long live = env.alloc_live;
		int32_t rc;

		sim.fail_at = sim.call_count + n;
		sim.fail_code = HVREPL_E_STORAGE_IO;
		rc = attach(0);
		sim.fail_at = UINT64_MAX;
		ck_assert(rc == HVREPL_OK || rc == HVREPL_E_STORAGE_IO);
		if (rc < 0)
			ck_assert_int_eq(env.alloc_live, live);
	}
	ck_assert_uint_ge(info().dirty_bytes, 4096);
}
END_TEST

/* Boundaries: 2^32, 128 GiB, 2^40, the last block; 16 TiB, wholly dirty. */
START_TEST(huge_disks_cost_what_changed)
{
	const uint64_t size = (UINT64_C(16) << 40) - 512;
	const uint64_t edges[] = { UINT64_C(1) << 32, UINT64_C(128) << 30,
				   UINT64_C(1) << 40, size - 1 };
	struct sparse_disk *huge = sparse_disk_new(size);
	struct hvrepl_disk taken = sparse_disk_handle(huge);
	struct hvrepl_storage storage = sim_storage_handle(files);
	struct hvrepl_tracker_options options =
		base_options(HVREPL_TRACKER_CREATE);
	size_t idle;

	options.block_size = options.region_size = 0;
	ck_assert_int_eq(hvrepl_tracker_attach(group, &taken, &storage,
					       &options, &error, &tracker),
			 HVREPL_OK);
	idle = env.alloc_bytes;
	ck_assert_uint_lt(idle, 2 << 20);
	for (size_t i = 0; i < 4; i++)
		write_at(edges[i] - 4096, 4097);
	ck_assert_uint_eq(info().dirty_bytes, 8 * 4096);
	detach(HVREPL_DETACH_CLEAN);
	ck_assert_uint_eq(huge->released, 1);
	options.flags = 0;
	ck_assert_int_eq(hvrepl_tracker_attach(group, &taken, &storage,
					       &options, &error, &tracker),
			 HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, 8 * 4096);
	ck_assert_int_eq(hvrepl_tracker_mark_all(tracker), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, size);
	ck_assert_uint_lt(env.alloc_bytes, idle + (6 << 20));
	detach(0);
	sparse_disk_free(huge);
}
END_TEST

START_TEST(ranges_outside_the_disk_are_refused)
{
	struct hvrepl_ticket ticket = new_ticket();

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, SIZE, 1, 0,
						    &ticket),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 0, 0, &ticket),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 1, UINT64_MAX, 0,
						    &ticket),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 1, 3, &ticket),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_tracker_write_end(tracker, &ticket, 0),
			 HVREPL_E_STATE);
	ticket.struct_size = 0;
	ck_assert_int_eq(hvrepl_tracker_write_begin(tracker, 0, 1, 0, &ticket),
			 HVREPL_E_INVALID);
	ck_assert_uint_eq(info().dirty_bytes, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tracker");
	TCase *tcase = tcase_create("all");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, clean_close_brings_back_exactly_the_dirty_blocks);
	tcase_add_test(tcase,
		       after_a_crash_the_hot_regions_are_dirty_and_no_others);
	tcase_add_test(tcase, one_flush_serves_all_marks_that_wait);
	tcase_add_test(tcase, a_hot_region_costs_neither_memory_nor_io);
	tcase_add_test(tcase,
		       an_acknowledged_region_cools_and_costs_no_compare);
	tcase_add_test(
		tcase, a_region_of_a_cut_that_is_not_acknowledged_stays_hot);
	tcase_add_test(tcase, a_clean_close_makes_the_disk_durable);
	tcase_add_test(tcase, a_region_being_written_does_not_cool);
	tcase_add_test(tcase, cooling_waits_for_writes_in_flight);
	tcase_add_test(tcase, a_fence_refuses_new_writes_and_drains_the_old);
	tcase_add_loop_test(tcase,
			    a_mark_that_cannot_be_made_fails_a_strict_write, 0,
			    2);
	tcase_add_test(tcase,
		       a_mark_that_cannot_be_made_costs_a_compare_instead);
	tcase_add_test(tcase, a_mark_that_hangs_is_ended_at_the_deadline);
	tcase_add_test(tcase, a_disk_changed_while_untracked_is_noticed);
	tcase_add_test(tcase, after_a_crash_the_application_judges_the_token);
	tcase_add_test(
		tcase,
		a_second_opener_is_refused_and_one_taken_over_is_fenced);
	tcase_add_test(tcase, stamp_and_acknowledgement_survive);
	tcase_add_test(tcase, marked_extents_survive_a_crash);
	tcase_add_test(tcase, damaged_files_are_refused_and_left_alone);
	tcase_add_test(tcase, one_lost_header_slot_never_says_closed);
	tcase_add_test(tcase, shorter_and_longer_disks_are_refused);
	tcase_add_test(tcase,
		       a_clean_close_that_fails_at_any_io_loses_nothing);
	tcase_add_test(tcase,
		       attach_survives_every_failing_allocation_and_io);
	tcase_add_test(tcase, huge_disks_cost_what_changed);
	tcase_add_test(tcase, ranges_outside_the_disk_are_refused);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
