/* SPDX-License-Identifier: Apache-2.0 */
/* The index of a log and the frames of its container: what does not belong there is
 * refused, though its digest is right. */
#include "store/slog.h"

#include "base/digest.h"
#include "format/segment.h"
#include "sim.h"
#include "testing.h"

#include <string.h>

#define DISK 65536u

static struct test_env test;
static struct hvri_env env;
static struct sim sim;
static struct sim_storage *objects;
static struct hvri_storage storage;
static struct hvri_container *box;
static struct hvri_slog *slog;
static struct hvri_manifest state;
static struct hvri_segment_header header;
static uint64_t used;
static uint8_t chunk[HVRI_CHUNK_ENCODED_MAX];
static uint32_t chunk_length;
static uint64_t chunk_at;

static void setup(void)
{
	struct hvrepl_storage handle;
	struct hvrepl_extent extents[2] = { { 0, 512 }, { 4096, 512 } };
	uint8_t raw[1024], bytes[HVRI_SEGMENT_HEADER_SIZE];
	struct hvri_packer *packer;
	struct hvri_chunk decoded;
	uint64_t at;

	test_env_init(&test, 1);
	sim_init(&sim, 1);
	objects = sim_storage_new(&sim);
	handle = sim_storage_handle(objects);
	ck_assert_int_eq(hvri_env_copy(&env, &test.env, NULL), HVREPL_OK);
	ck_assert_int_eq(hvri_storage_take(&storage, &handle, NULL), HVREPL_OK);
	memset(&header, 0, sizeof(header));
	header.disk_size = DISK;
	header.block_size = 512;
	header.identity.to_point = 1;
	memset(&state, 0, sizeof(state));
	state.disk_count = 2;
	state.disks[0].size = state.disks[1].size = DISK;
	used = 0;
	ck_assert_int_eq(hvri_container_create(&env, &storage, &used, 9, &box),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_slog_create(&env, box, 2, &slog), HVREPL_OK);
	ck_assert_int_eq(hvri_packer_create(&env, 0, &packer), HVREPL_OK);
	test_fill(raw, sizeof(raw), 3);
	ck_assert_int_eq(hvri_chunk_pack(packer, &header, 0, HVRI_CHUNK_DATA,
					 extents, 2, raw, chunk, &chunk_length),
			 HVREPL_OK);
	hvri_packer_destroy(packer);
	hvri_segment_header_encode(&header, bytes);
	ck_assert_int_eq(hvri_container_append(box, HVRI_FRAME_SEGMENT, 0, bytes,
					       sizeof(bytes), &at),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_container_append(box, HVRI_FRAME_CHUNK, 0, chunk,
					       chunk_length, &chunk_at),
			 HVREPL_OK);
	slog->disks[0].header = header;
	slog->disks[0].begun = true;
	ck_assert_int_eq(hvri_chunk_decode(&header, chunk, chunk_length,
					   &decoded),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_slog_note_chunk(slog, 0, &decoded, chunk_at,
					      chunk_length),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_slog_write_index(slog), HVREPL_OK);
	ck_assert_int_eq(hvri_container_flush(box), HVREPL_OK);
}

static void teardown(void)
{
	hvri_slog_unref(slog);
	hvri_container_unref(box);
	hvri_storage_drop(&storage);
	sim_free(&sim);
	ck_assert_int_eq(test.alloc_live, 0);
}

static uint8_t *object(void)
{
	uint64_t size;

	return sim_object_bytes(objects, "store.box.0000000000000009", &size);
}

static int32_t load(const struct hvri_manifest_log *place)
{
	struct hvri_slog *back = NULL;
	int32_t rc = hvri_slog_load(&env, box, place, &state, &back);

	hvri_slog_unref(back);
	return rc;
}

/* With `count` bytes at `at` of the index. */
static int32_t forged(size_t at, uint64_t value, unsigned count)
{
	struct hvri_manifest_log place = slog->place;
	uint8_t *index = object() + place.index_position, kept[8];
	struct hvri_part part = { index, (size_t)place.index_length };
	int32_t rc;

	memcpy(kept, index + at, 8);
	for (unsigned i = 0; i < count; i++)
		index[at + i] = (uint8_t)(value >> (8 * i));
	hvri_xxh3(&part, 1, place.index_digest);
	rc = load(&place);
	memcpy(index + at, kept, 8);
	return rc;
}

#define OF_DISK 16u
#define OF_HEADER (OF_DISK + 16u)
#define OF_ENTRY (OF_HEADER + HVRI_SEGMENT_HEADER_SIZE)

START_TEST(an_index_that_cannot_be_one_is_damage)
{
	struct hvri_manifest_log place = slog->place;

	ck_assert_int_eq(load(&place), HVREPL_OK);
	place.index_length = UINT64_C(1) << 40;
	ck_assert_int_eq(load(&place), HVREPL_E_CORRUPT);
	place = slog->place;
	place.index_position = 1u << 20;
	ck_assert_int_eq(load(&place), HVREPL_E_TRUNCATED);
	place = slog->place;
	place.index_position += 512;
	ck_assert_int_lt(load(&place), 0);
	place = slog->place;
	place.index_digest[3] ^= 1;
	ck_assert_int_eq(load(&place), HVREPL_E_CORRUPT);

	ck_assert_int_eq(forged(0, 1, 1), HVREPL_E_CORRUPT);
	ck_assert_int_eq(forged(4, 2, 4), HVREPL_E_FORMAT_TOO_NEW);
	ck_assert_int_eq(forged(8, 3, 4), HVREPL_E_CORRUPT);
	ck_assert_int_eq(forged(12, 1, 4), HVREPL_E_CORRUPT);
	ck_assert_int_eq(forged(OF_DISK, 2, 4), HVREPL_E_CORRUPT);
	ck_assert_int_eq(forged(OF_DISK, 0, 4), HVREPL_E_CORRUPT);
	ck_assert_int_eq(forged(OF_DISK + 8, 100, 8), HVREPL_E_CORRUPT);
	ck_assert_int_eq(forged(OF_HEADER + 3, 1, 1), HVREPL_E_CORRUPT);
	/* Length, order, size, chunk, position. */
	ck_assert_int_eq(forged(OF_ENTRY + 8, 0, 8), HVREPL_E_CORRUPT);
	ck_assert_int_eq(forged(OF_ENTRY + 32, 256, 8), HVREPL_E_CORRUPT);
	ck_assert_int_eq(forged(OF_ENTRY + 32, DISK + 512, 8), HVREPL_E_CORRUPT);
	ck_assert_int_eq(forged(OF_ENTRY + 40, DISK, 8), HVREPL_E_CORRUPT);
	ck_assert_int_eq(forged(OF_ENTRY + 24, UINT32_MAX, 4), HVREPL_E_CORRUPT);
	ck_assert_int_eq(forged(OF_ENTRY + 16, UINT32_MAX, 8), HVREPL_E_CORRUPT);
	/* What it says of no chunk does not matter. */
	ck_assert_int_eq(load(&slog->place), HVREPL_OK);
}
END_TEST

START_TEST(an_index_survives_every_failing_allocation_and_read)
{
	bool failed = true;

	for (long n = 0; failed; n++) {
		int32_t rc;

		test.alloc_fail_at = n;
		rc = load(&slog->place);
		failed = test.alloc_fail_at < 0;
		test.alloc_fail_at = -1;
		ck_assert_int_eq(rc, failed ? HVREPL_E_NOMEM : HVREPL_OK);
	}
	failed = true;
	for (uint64_t n = 0; failed; n++) {
		int32_t rc;

		sim.failed = 0;
		sim.fail_at = sim.call_count + n;
		sim.fail_code = HVREPL_E_STORAGE_IO;
		rc = load(&slog->place);
		failed = sim.failed > 0;
		sim.fail_at = UINT64_MAX;
		ck_assert_int_eq(rc, failed ? HVREPL_E_STORAGE_IO : HVREPL_OK);
	}
}
END_TEST

static int32_t scan(uint16_t type, uint16_t disk, const uint8_t *payload,
		    size_t length)
{
	return hvri_slog_scan(slog, type, disk, payload, length, 4096);
}

START_TEST(frames_that_do_not_belong_to_a_log_are_damage)
{
	uint8_t bytes[HVRI_SEGMENT_HEADER_SIZE];

	hvri_segment_header_encode(&header, bytes);
	ck_assert_int_eq(scan(HVRI_FRAME_INDEX, 0, NULL, 0), HVREPL_OK);
	ck_assert_int_eq(scan(HVRI_FRAME_SEAL, 0, NULL, 0), HVREPL_OK);
	ck_assert_int_eq(scan(HVRI_FRAME_SEGMENT, 2, bytes, sizeof(bytes)),
			 HVREPL_E_CORRUPT);
	ck_assert_int_eq(scan(HVRI_FRAME_SEGMENT, 1, bytes, 9), HVREPL_E_CORRUPT);
	ck_assert_int_eq(scan(HVRI_FRAME_CHUNK, 1, chunk, chunk_length),
			 HVREPL_E_CORRUPT);
	ck_assert_int_eq(scan(HVRI_FRAME_SEGMENT, 1, bytes, sizeof(bytes)),
			 HVREPL_OK);
	ck_assert_int_eq(scan(HVRI_FRAME_CHUNK, 1, chunk, chunk_length),
			 HVREPL_OK);
	ck_assert_int_eq(scan(HVRI_FRAME_END, 1, chunk, chunk_length),
			 HVREPL_E_CORRUPT);
	chunk[60] ^= 1;
	ck_assert_int_eq(scan(HVRI_FRAME_CHUNK, 1, chunk, chunk_length),
			 HVREPL_E_CORRUPT);
	bytes[3] ^= 1;
	ck_assert_int_eq(scan(HVRI_FRAME_SEGMENT, 1, bytes, sizeof(bytes)),
			 HVREPL_E_CORRUPT);
}
END_TEST

static int32_t found_nothing(void *argument, uint16_t type, uint16_t disk,
			     const uint8_t *payload, size_t length,
			     uint64_t position)
{
	(void)type, (void)disk, (void)payload, (void)length, (void)position;
	(*(unsigned *)argument)++;
	return HVREPL_OK;
}

START_TEST(a_container_has_limits_and_an_end)
{
	struct hvri_container *other = NULL;
	unsigned frames = 0;
	uint8_t byte;
	uint64_t at;

	ck_assert_int_eq(hvri_container_append(box, HVRI_FRAME_INDEX, 0, chunk,
					       UINT32_MAX, &at),
			 HVREPL_E_LIMIT);
	ck_assert_int_eq(hvri_container_read(box, 1u << 20, &byte, 1),
			 HVREPL_E_TRUNCATED);
	ck_assert_int_eq(hvri_container_read(box, box->size, &byte, 1),
			 HVREPL_E_TRUNCATED);
	ck_assert_int_eq(hvri_container_scan(box, 1u << 20, found_nothing,
					     &frames),
			 HVREPL_E_TRUNCATED);
	ck_assert_int_eq(hvri_container_scan(box, box->size, found_nothing,
					     &frames),
			 HVREPL_OK);
	ck_assert_uint_eq(frames, 0);
	ck_assert_int_eq(hvri_container_scan(box, HVRI_CONTAINER_PAGE,
					     found_nothing, &frames),
			 HVREPL_OK);
	ck_assert_uint_eq(frames, 3);
	ck_assert_int_eq(hvri_container_open(&env, &storage, &used, 10, &other),
			 HVREPL_E_TRUNCATED);
	ck_assert_int_eq(hvri_container_cut(box, 100), HVREPL_OK);
	ck_assert_int_eq(hvri_container_open(&env, &storage, &used, 9, &other),
			 HVREPL_E_TRUNCATED);
	ck_assert_ptr_null(other);
}
END_TEST

/* Behind the last sound frame lies something that was torn, and page after page of
 * it is looked at for a batch that was flushed later. */
START_TEST(what_is_torn_is_looked_through_to_its_end)
{
	static const uint64_t past[] = { 20, 5000, 8192, 8192 + 31 };

	for (size_t i = 0; i < HVRI_ARRAY_LEN(past); i++)
		for (uint64_t n = 0;; n++) {
			unsigned frames = 0;
			uint64_t size, end, tail;
			int32_t rc;

			if (i + n > 0) {
				teardown();
				setup();
			}
			/* So far past the next page. */
			end = box->size;
			tail = HVRI_CONTAINER_PAGE - end % HVRI_CONTAINER_PAGE +
			       past[i];
			ck_assert_int_eq(hvri_object_resize(&box->object,
							    end + tail),
					 HVREPL_OK);
			test_fill(sim_object_bytes(objects,
						   "store.box.0000000000000009",
						   &size) +
					  end,
				  tail, i + 3);
			/* A frame that begins a batch, and is damaged. */
			if (past[i] > 8000)
				memcpy(object() + 8192, object() + 4096, 40);
			sim.failed = 0;
			sim.fail_at = sim.call_count + n;
			sim.fail_code = HVREPL_E_STORAGE_IO;
			rc = hvri_container_scan(box, HVRI_CONTAINER_PAGE,
						 found_nothing, &frames);
			sim.fail_at = UINT64_MAX;
			if (sim.failed > 0) {
				ck_assert_int_eq(rc, HVREPL_E_STORAGE_IO);
				continue;
			}
			ck_assert_int_eq(rc, HVREPL_OK);
			ck_assert_uint_eq(frames, 3);
			ck_assert_uint_eq(box->size, end);
			break;
		}
}
END_TEST

/* The batch ends where a page does, and the next one begins there. */
START_TEST(a_batch_that_ends_with_its_page_is_followed_by_the_next)
{
	struct hvri_container *fresh;
	static uint8_t payload[512];
	unsigned frames = 0;
	uint64_t at;

	ck_assert_int_eq(hvri_container_create(&env, &storage, &used, 11, &fresh),
			 HVREPL_OK);
	/* 40 of the batch's own frame, then seven of 544, then what is left. */
	for (unsigned i = 0; i < 7; i++)
		ck_assert_int_eq(hvri_container_append(fresh, HVRI_FRAME_END, 0,
						       payload, 512, &at),
				 HVREPL_OK);
	ck_assert_int_eq(hvri_container_append(fresh, HVRI_FRAME_END, 0, payload,
					       4096 - 40 - 7 * 544 - 32, &at),
			 HVREPL_OK);
	ck_assert_uint_eq(fresh->size % HVRI_CONTAINER_PAGE, 0);
	ck_assert_int_eq(hvri_container_flush(fresh), HVREPL_OK);
	ck_assert_int_eq(hvri_container_append(fresh, HVRI_FRAME_END, 0, payload,
					       8, &at),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_container_flush(fresh), HVREPL_OK);
	ck_assert_int_eq(hvri_container_scan(fresh, HVRI_CONTAINER_PAGE,
					     found_nothing, &frames),
			 HVREPL_OK);
	ck_assert_uint_eq(frames, 9);
	hvri_container_unref(fresh);
}
END_TEST

START_TEST(only_what_follows_in_the_chunk_too_is_one_entry)
{
	struct hvri_xmap map = { .at = NULL };
	struct hvri_xent first = { .offset = 0, .length = 4096, .position = 9000,
				   .chunk_length = 100, .raw_offset = 0 };
	struct hvri_xent second = first;
	uint64_t next;

	second.offset = 4096;
	second.raw_offset = 8192;
	ck_assert_int_eq(hvri_xmap_put(&env, &map, &first), HVREPL_OK);
	ck_assert_int_eq(hvri_xmap_put(&env, &map, &second), HVREPL_OK);
	ck_assert_uint_eq(map.count, 2);
	ck_assert_uint_eq(hvri_xmap_find(&map, 5000, &next)->raw_offset, 8192);
	second.offset = 8192;
	second.raw_offset = 12288;
	ck_assert_int_eq(hvri_xmap_put(&env, &map, &second), HVREPL_OK);
	ck_assert_uint_eq(map.count, 2);
	ck_assert_uint_eq(map.at[1].length, 8192);
	hvri_xmap_free(&env, &map);
}
END_TEST

START_TEST(a_container_survives_every_failing_allocation_and_io)
{
	bool failed = true;

	for (unsigned kind = 0; kind < 2; kind++, failed = true)
		for (uint64_t n = 0; failed; n++) {
			struct hvri_container *other = NULL;
			unsigned frames = 0;
			int32_t rc;

			sim.failed = 0;
			if (kind == 0)
				test.alloc_fail_at = (long)n;
			else
				sim.fail_at = sim.call_count + n;
			sim.fail_code = HVREPL_E_STORAGE_IO;
			rc = hvri_container_open(&env, &storage, &used, 9,
						 &other);
			if (rc == HVREPL_OK)
				rc = hvri_container_scan(other,
							 HVRI_CONTAINER_PAGE,
							 found_nothing, &frames);
			failed = kind == 0 ? test.alloc_fail_at < 0 :
					     sim.failed > 0;
			test.alloc_fail_at = -1;
			sim.fail_at = UINT64_MAX;
			hvri_container_unref(other);
			ck_assert_int_eq(rc, !failed   ? HVREPL_OK :
					     kind == 0 ? HVREPL_E_NOMEM :
							 HVREPL_E_STORAGE_IO);
		}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("slog");
	TCase *tcase = tcase_create("slog");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, an_index_that_cannot_be_one_is_damage);
	tcase_add_test(tcase,
		       an_index_survives_every_failing_allocation_and_read);
	tcase_add_test(tcase, frames_that_do_not_belong_to_a_log_are_damage);
	tcase_add_test(tcase, a_container_has_limits_and_an_end);
	tcase_add_test(tcase, what_is_torn_is_looked_through_to_its_end);
	tcase_add_test(tcase,
		       a_batch_that_ends_with_its_page_is_followed_by_the_next);
	tcase_add_test(tcase, only_what_follows_in_the_chunk_too_is_one_entry);
	tcase_add_test(tcase,
		       a_container_survives_every_failing_allocation_and_io);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
