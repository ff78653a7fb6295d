/* SPDX-License-Identifier: Apache-2.0 */
/* One disk and its tracker file for the tests of the tracker. */
#ifndef DISKBED_H
#define DISKBED_H

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

static inline void wake(void *user)
{
	(void)user;
	woken++;
}

static inline void make_group(void)
{
	struct hvrepl_group_options options = HVREPL_GROUP_OPTIONS_INIT;

	options.wake = wake;
	options.cool_after_ns = 1000;
	ck_assert_int_eq(hvrepl_group_create(&env.env, &options, NULL, &group),
			 HVREPL_OK);
}

static inline void setup(void)
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

static inline void teardown(void)
{
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_OK);
	sim_free(&sim);
	ck_assert_int_eq(env.alloc_live, 0);
}

static inline struct hvrepl_tracker_options base_options(uint32_t flags)
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

static inline int32_t attach_with(const struct hvrepl_tracker_options *options)
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

static inline int32_t attach(uint32_t flags)
{
	struct hvrepl_tracker_options options = base_options(flags);

	return attach_with(&options);
}

static inline void detach(uint32_t flags)
{
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, flags), HVREPL_OK);
	tracker = NULL;
}

static int32_t last_result;
static unsigned completions;

static inline void completed(struct hvrepl_ticket *ticket, int32_t result)
{
	(void)ticket;
	last_result = result;
	completions++;
}

static inline struct hvrepl_ticket new_ticket(void)
{
	struct hvrepl_ticket ticket = HVREPL_TICKET_INIT;

	ticket.complete = completed;
	return ticket;
}

/* A write that waits for nothing but its mark. */
static inline void write_at(uint64_t offset, uint64_t length)
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

static inline struct hvrepl_tracker_info info(void)
{
	struct hvrepl_tracker_info found = HVREPL_TRACKER_INFO_INIT;

	ck_assert_int_eq(hvrepl_tracker_get_info(tracker, &found), HVREPL_OK);
	return found;
}

static inline bool is_dirty(uint64_t offset)
{
	uint64_t generation = hvri_generation(atomic_load(&group->word));

	return hvri_bitmap_get(atomic_load(&tracker->map[generation & 1]),
			       offset / BLOCK);
}

/* All that is dirty becomes acknowledged. */
static inline void acknowledge(void)
{
	hvrepl_cut *cut;
	uint32_t progress = 0;

	ck_assert_int_eq(hvrepl_group_cut(group, 0, NULL, &cut), HVREPL_OK);
	while (progress != HVREPL_CUT_DONE)
		ck_assert_int_eq(hvrepl_cut_advance(cut, 0, &progress),
				 HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
}

static inline void cool_down(void)
{
	for (int i = 0; i < 4; i++) {
		env.now_ns += 2000;
		hvrepl_group_process(group);
	}
}
#endif
