/* SPDX-License-Identifier: Apache-2.0 */
/* One tracked disk for the tests of cuts: written, cut, spooled, applied. */
#ifndef CUTBED_H
#define CUTBED_H

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

static inline void wake(void *user)
{
	(void)user;
	woken++;
}

static inline void open_all(uint64_t memory, uint64_t spill_limit)
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

static inline void setup(void)
{
	test_env_init(&env, 1);
	sim_init(&sim, 1);
	files = sim_storage_new(&sim);
	spill = sim_storage_new(&sim);
	disk = sim_disk_new(&sim, SIZE);
	disk->flags = HVREPL_DISK_EXCLUSIVE;
	woken = completions = 0;
}

static inline void teardown(void)
{
	if (tracker != NULL)
		ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	tracker = NULL;
	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_OK);
	ck_assert_uint_eq(sim_storage_objects(spill), 0);
	sim_free(&sim);
	ck_assert_int_eq(env.alloc_live, 0);
}

static inline void completed(struct hvrepl_ticket *ticket, int32_t result)
{
	(void)ticket;
	last_result = result;
	completions++;
}

static inline int32_t begin(struct hvrepl_ticket *ticket, uint64_t offset,
		     uint64_t length, uint32_t kind)
{
	*ticket = (struct hvrepl_ticket)HVREPL_TICKET_INIT;
	ticket->complete = completed;
	return hvrepl_tracker_write_begin(tracker, offset, length, kind,
					  ticket);
}

static inline void put(uint64_t offset, uint64_t length, uint64_t seed)
{
	uint8_t *bytes = malloc(length);

	test_fill(bytes, length, seed);
	if (seed == 0)
		memset(bytes, 0, length);
	sim_disk_poke(disk, offset, bytes, length);
	free(bytes);
}

static inline void write_at(uint64_t offset, uint64_t length, uint64_t seed)
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

static inline hvrepl_cut *make_cut(void)
{
	hvrepl_cut *cut;

	completions = 0;
	ck_assert_int_eq(hvrepl_group_cut(group, 0, NULL, &cut), HVREPL_OK);
	return cut;
}

static inline int32_t spool(hvrepl_cut *cut)
{
	uint32_t progress = 0;
	int32_t rc = HVREPL_OK;

	while (rc == HVREPL_OK && progress != HVREPL_CUT_DONE) {
		rc = hvrepl_cut_advance(cut, 1, &progress);
		ck_assert(rc < 0 || progress != HVREPL_CUT_WAITING);
	}
	return rc;
}

static inline uint32_t state_of(hvrepl_cut *cut)
{
	struct hvrepl_cut_info info = HVREPL_CUT_INFO_INIT;

	ck_assert_int_eq(hvrepl_cut_get_info(cut, &info), HVREPL_OK);
	return info.state;
}

static inline uint64_t dirty(void)
{
	struct hvrepl_tracker_info info = HVREPL_TRACKER_INFO_INIT;

	ck_assert_int_eq(hvrepl_tracker_get_info(tracker, &info), HVREPL_OK);
	return info.dirty_bytes;
}

/* What the spool holds of one disk, onto `to`; bytes covered. */
static inline uint64_t apply(hvrepl_cut *cut, uint8_t *to)
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
#endif
