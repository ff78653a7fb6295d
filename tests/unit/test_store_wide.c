/* SPDX-License-Identifier: Apache-2.0 */
/* Disks on which more lies apart than one piece, chunk or record of a store takes: a
 * merge, its undo and a commit go over all of it, a bounded piece at a time. */
#include "sim.h"
#include "store/internal.h"
#include "store/view.h"
#include "testing.h"

#include <string.h>

#define SIZE (10u << 20)
#define PAGE 4096u
#define PAGES (SIZE / PAGE)

static struct test_env env;
static struct sim sim;
static struct sim_disk *base;
static struct sim_storage *objects;
static hvrepl_store *store;
static uint8_t expected[SIZE], seen[SIZE];

static void open_store(uint32_t flags)
{
	struct hvrepl_storage storage = sim_storage_handle(objects);
	struct hvrepl_store_options options = HVREPL_STORE_OPTIONS_INIT;
	struct hvrepl_store_disk disk = { .disk = { { 1 } } };

	disk.base = sim_disk_handle(base);
	options.vm.bytes[0] = 4;
	options.flags = flags;
	options.points_max = 8;
	options.compression = 1;
	ck_assert_int_eq(hvrepl_store_open(&env.env, &storage, &disk, 1, &options,
					   &store, NULL),
			 HVREPL_OK);
}

/* A disk of which every other page holds something. */
static void setup(void)
{
	struct hvri_store_point_commit commit = { .number = 1 };

	test_env_init(&env, 2);
	sim_init(&sim, 2);
	base = sim_disk_new(&sim, SIZE);
	objects = sim_storage_new(&sim);
	memset(expected, 0, sizeof(expected));
	for (unsigned i = 0; i < PAGES; i += 2)
		expected[(size_t)i * PAGE] = (uint8_t)(i + 1);
	sim_disk_poke(base, 0, expected, SIZE);
	open_store(HVREPL_STORE_CREATE);
	ck_assert_int_eq(hvri_store_adopt(store, &commit, NULL, NULL), HVREPL_OK);
}

static void teardown(void)
{
	ck_assert_int_eq(hvrepl_store_destroy(store), HVREPL_OK);
	sim_free(&sim);
	ck_assert_int_eq(env.alloc_live, 0);
}

static void expect(uint64_t point)
{
	hvrepl_view *view;

	ck_assert_int_eq(hvrepl_view_open(store, point, HVREPL_VIEW_READ_ONLY,
					  &view, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_view_read(view, 0, 0, seen, SIZE), HVREPL_OK);
	ck_assert(memcmp(seen, expected, SIZE) == 0);
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
}

/* A point that says of each `step`-th page that it is zero, one by one. */
static uint64_t zeroes_point(unsigned step)
{
	struct hvri_env copy = { env.env };
	struct hvri_segment_header header = {
		.identity = { .vm = { { 4 } },
			      .disk = { { 1 } },
			      .cut = { { 6 } },
			      .from_point = 1,
			      .to_point = 2 },
		.disk_size = SIZE,
		.block_size = 512,
	};
	struct hvri_store_point_commit commit = { .number = 2,
						  .cut = header.identity.cut };
	static struct hvrepl_extent extents[HVRI_CHUNK_EXTENTS_MAX];
	static uint8_t bytes[HVRI_CHUNK_ENCODED_MAX];
	uint8_t encoded[HVRI_SEGMENT_HEADER_SIZE], root[32];
	struct hvri_segment_root sum;
	struct hvri_packer *packer;
	struct hvri_chunk chunk;
	uint32_t next, length, sequence = 0, count = 0;
	uint64_t key;

	hvri_segment_header_encode(&header, encoded);
	ck_assert_int_eq(hvri_packer_create(&copy, 1, &packer), HVREPL_OK);
	ck_assert_int_eq(hvri_segment_root_begin(&sum, &header), HVREPL_OK);
	ck_assert_int_eq(hvri_store_segment_begin(store, 0, encoded, &next, NULL),
			 HVREPL_OK);
	for (unsigned i = 0; i < PAGES; i += step) {
		extents[count++] =
			(struct hvrepl_extent){ (uint64_t)i * PAGE, PAGE };
		if (count < HVRI_CHUNK_EXTENTS_MAX && i + step < PAGES)
			continue;
		ck_assert_int_eq(hvri_chunk_pack(packer, &header, sequence++,
						 HVRI_CHUNK_ZERO, extents, count,
						 NULL, bytes, &length),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_chunk_decode(&header, bytes, length, &chunk),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_segment_root_add(&sum,
						       chunk.stored_digest),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_store_segment_append(store, 0, bytes,
							   length),
				 HVREPL_OK);
		count = 0;
	}
	ck_assert_int_eq(hvri_segment_root_end(&sum, root), HVREPL_OK);
	hvri_segment_root_free(&sum);
	hvri_packer_destroy(packer);
	ck_assert_int_eq(hvri_store_segment_end(store, 0, sequence, root),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_store_point_commit(store, &commit, &key, NULL),
			 HVREPL_OK);
	return key;
}

START_TEST(undo_of_many_pages_apart_brings_each_of_them_back)
{
	uint32_t more = 1;
	uint64_t key;

	store->piece_bytes = SIZE;
	key = zeroes_point(1);
	ck_assert_int_eq(hvri_store_merge_begin(store, key, NULL), HVREPL_OK);
	while (more != 0)
		ck_assert_int_eq(hvri_store_merge_advance(store, &more, NULL),
				 HVREPL_OK);
	ck_assert(hvri_is_zero(sim_disk_bytes(base), SIZE));
	expect(1);
	ck_assert_int_eq(hvrepl_store_destroy(store), HVREPL_OK);
	open_store(0);
	expect(1);
	memset(expected, 0, sizeof(expected));
	expect(key);
}
END_TEST

/* Every other page: a piece is full of ranges before it is full of bytes. */
START_TEST(a_merge_moves_more_ranges_apart_than_one_piece_takes)
{
	uint32_t more = 1, steps = 0;
	uint64_t key;

	store->piece_bytes = SIZE;
	key = zeroes_point(2);
	ck_assert_int_eq(hvri_store_merge_begin(store, key, NULL), HVREPL_OK);
	for (; more != 0; steps++)
		ck_assert_int_eq(hvri_store_merge_advance(store, &more, NULL),
				 HVREPL_OK);
	ck_assert_uint_ge(steps, PAGES / 2 / 256);
	ck_assert(hvri_is_zero(sim_disk_bytes(base), SIZE));
	expect(1);
	memset(expected, 0, sizeof(expected));
	expect(key);
}
END_TEST

/* The n-th I/O of the first piece: while undo is packed, full of bytes or of ranges. */
START_TEST(a_merge_that_fails_midway_is_done_again)
{
	static const uint64_t places[] = { 0, 1, 2, 3, 5, 66, 67, 68, 69, 70, 71 };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint32_t more = 1;
		uint64_t key;
		int32_t rc;

		if (i > 0) {
			teardown();
			setup();
		}
		store->piece_bytes = SIZE;
		key = zeroes_point(1);
		ck_assert_int_eq(hvri_store_merge_begin(store, key, NULL),
				 HVREPL_OK);
		sim.failed = 0;
		sim.fail_code = HVREPL_E_NO_SPACE;
		sim.fail_at = sim.call_count + places[i];
		rc = hvri_store_merge_advance(store, &more, NULL);
		ck_assert_uint_eq(sim.failed, 1);
		if (rc < 0 && hvri_store_poisoned(store)) {
			ck_assert_int_eq(hvrepl_store_destroy(store), HVREPL_OK);
			open_store(0);
		}
		more = 1;
		while (more != 0)
			ck_assert_int_eq(hvri_store_merge_advance(store, &more,
								  NULL),
					 HVREPL_OK);
		expect(1);
		memset(expected, 0, sizeof(expected));
		expect(key);
	}
}
END_TEST

START_TEST(a_commit_moves_more_pages_apart_than_one_piece_takes)
{
	static uint8_t page[PAGE];
	hvrepl_view *view;
	uint32_t more = 1, steps = 0;

	/* Pieces are bounded by their ranges, or by bytes. */
	store->switch_bytes = 4u << 20;
	store->piece_bytes = _i == 0 ? 4u << 20 : 256u << 10;
	store->refreeze_bytes = 64u << 20;
	ck_assert_int_eq(hvrepl_view_open(store, 1, HVREPL_VIEW_FAILOVER, &view,
					  NULL),
			 HVREPL_OK);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = round; i < PAGES; i += 4) {
			memset(page, (int)(i | 1), sizeof(page));
			memcpy(expected + (size_t)i * PAGE, page, PAGE);
			ck_assert_int_eq(hvri_view_write(view, 0,
							 (uint64_t)i * PAGE,
							 page, PAGE),
					 HVREPL_OK);
		}
		if (round == 0)
			ck_assert_int_eq(hvrepl_store_commit_begin(store, NULL),
					 HVREPL_OK);
		/* Frozen; what comes now is switched in the end. */
		if (round == 0)
			ck_assert_int_eq(hvrepl_store_commit_advance(store, &more,
								     NULL),
					 HVREPL_OK);
	}
	for (; more != 0; steps++)
		ck_assert_int_eq(hvrepl_store_commit_advance(store, &more, NULL),
				 HVREPL_OK);
	ck_assert_uint_gt(steps, PAGES / 4 / 256);
	ck_assert_int_eq(hvri_view_read(view, 0, 0, seen, SIZE), HVREPL_OK);
	ck_assert(memcmp(seen, expected, SIZE) == 0);
	ck_assert(memcmp(sim_disk_bytes(base), expected, SIZE) == 0);
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
}
END_TEST

/* Undo that was written in very small pieces is mostly air, and moved. */
START_TEST(undo_that_is_mostly_air_is_moved_into_less)
{
	uint32_t more = 1;
	uint64_t key, before;

	store->piece_bytes = 8 * PAGE;
	key = zeroes_point(1);
	ck_assert_int_eq(hvri_store_merge_begin(store, key, NULL), HVREPL_OK);
	while (more != 0)
		ck_assert_int_eq(hvri_store_merge_advance(store, &more, NULL),
				 HVREPL_OK);
	before = hvri_store_used(store);
	more = 1;
	while (more != 0)
		ck_assert_int_eq(hvri_store_compact(store, &more), HVREPL_OK);
	ck_assert_uint_lt(hvri_store_used(store), before / 2);
	expect(1);
	ck_assert_int_eq(hvrepl_store_destroy(store), HVREPL_OK);
	open_store(0);
	expect(1);
	memset(expected, 0, sizeof(expected));
	expect(key);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wide disks");
	TCase *tcase = tcase_create("wide disks");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, undo_of_many_pages_apart_brings_each_of_them_back);
	tcase_add_test(tcase,
		       a_merge_moves_more_ranges_apart_than_one_piece_takes);
	tcase_add_test(tcase, a_merge_that_fails_midway_is_done_again);
	tcase_add_loop_test(tcase,
			    a_commit_moves_more_pages_apart_than_one_piece_takes,
			    0, 2);
	tcase_add_test(tcase, undo_that_is_mostly_air_is_moved_into_less);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
