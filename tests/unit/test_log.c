/* SPDX-License-Identifier: Apache-2.0 */
/* Log writer, reader and compare: what goes in comes out, damage does not. */
#include "format/segment.h"
#include "logbuf.h"
#include "sim.h"
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#define KIB 1024u
#define MIB (1u << 20)
#define DISK (4 * MIB + 512)

static struct test_env test;
static struct logbuf buffer;
static uint8_t *image; /* DISK bytes: what the log should make. */

static void setup(void)
{
	test_env_init(&test, 7);
	logbuf_init(&buffer);
	image = calloc(1, DISK);
}

static void teardown(void)
{
	logbuf_free(&buffer);
	free(image);
	ck_assert_int_eq(test.alloc_live, 0);
}

static hvrepl_log_writer *make_writer(void)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	struct hvrepl_log_sink sink = logbuf_sink(&buffer);
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_log_writer *writer = NULL;

	info.disk_size = DISK;
	info.vm.bytes[0] = 1;
	info.from_point = 3;
	info.to_point = 4;
	ck_assert_int_eq(hvrepl_log_writer_create(&test.env, &info,
						  HVREPL_LOG_LEVEL_DEFAULT,
						  &sink, &writer, &error),
			 HVREPL_OK);
	return writer;
}

static void add(hvrepl_log_writer *writer, uint64_t offset, size_t length,
		uint64_t seed)
{
	if (seed == 0)
		memset(image + offset, 0, length);
	else
		test_fill(image + offset, length, seed);
	ck_assert_int_eq(hvrepl_log_writer_add(writer, offset, image + offset,
					       length),
			 HVREPL_OK);
}

/* Read all of `buffer` into out (DISK bytes); the first failure. */
static int32_t replay(uint8_t *out, struct hvrepl_log_summary *summary_out)
{
	struct hvrepl_log_source source = logbuf_source(&buffer);
	struct hvrepl_log_chunk chunk = HVREPL_LOG_CHUNK_INIT;
	hvrepl_log_reader *reader = NULL;
	int32_t rc = hvrepl_log_reader_open(&test.env, &source, &reader, NULL);

	while (rc == HVREPL_OK) {
		const uint8_t *data;

		rc = hvrepl_log_reader_next(reader, &chunk);
		if (rc < 0 || chunk.kind == HVREPL_LOG_END)
			break;
		data = chunk.data;
		for (uint32_t i = 0; i < chunk.extent_count && out != NULL;
		     i++) {
			const struct hvrepl_extent *extent = &chunk.extents[i];

			ck_assert_uint_le(extent->offset + extent->length,
					  DISK);
			if (chunk.kind != HVREPL_LOG_DATA) {
				memset(out + extent->offset, 0,
				       extent->length);
				continue;
			}
			memcpy(out + extent->offset, data, extent->length);
			data += extent->length;
		}
	}
	if (rc == HVREPL_OK && summary_out != NULL)
		rc = hvrepl_log_reader_summary(reader, summary_out);
	hvrepl_log_reader_destroy(reader);
	return rc;
}

START_TEST(what_was_added_is_read)
{
	struct hvrepl_log_summary wrote = HVREPL_LOG_SUMMARY_INIT,
				  read = HVREPL_LOG_SUMMARY_INIT;
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	hvrepl_log_writer *writer = make_writer();
	uint8_t *out = calloc(1, DISK), digest[32];

	memset(out, 0x11, 2 * MIB);
	memset(image, 0x11, 2 * MIB);
	memset(digest, 0x77, sizeof(digest));
	add(writer, 4 * KIB, 200 * KIB, 1);   /* Several chunks. */
	add(writer, 4 * MIB, 512, 2);         /* The short last block. */
	add(writer, 0, 4 * KIB, 0);           /* Zero block, out of order. */
	add(writer, 8 * KIB, 4 * KIB, 3);     /* Over the first. */
	ck_assert_int_eq(hvrepl_log_writer_add_discard(writer, 1 * MIB,
						       64 * KIB),
			 HVREPL_OK);
	memset(image + 1 * MIB, 0, 64 * KIB);
	ck_assert_int_eq(hvrepl_log_writer_add_zero(writer, 1 * MIB + 64 * KIB,
						    64 * KIB),
			 HVREPL_OK);
	memset(image + 1 * MIB + 64 * KIB, 0, 64 * KIB);
	ck_assert_int_eq(hvrepl_log_writer_finish(
				 writer, HVREPL_LOG_DIGEST_SHA256, digest,
				 &wrote),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_writer_info(writer, &info), HVREPL_OK);
	ck_assert_uint_eq(info.block_size, 4096);
	ck_assert_uint_eq(info.utc_ns, test.utc_ns);
	ck_assert_uint_eq(buffer.flush_count, 1);
	ck_assert_int_eq(hvrepl_log_writer_add(writer, 0, image, 4096),
			 HVREPL_E_STATE);
	hvrepl_log_writer_destroy(writer);
	ck_assert_uint_eq(buffer.released, 1);

	ck_assert_int_eq(replay(out, &read), HVREPL_OK);
	ck_assert_mem_eq(out, image, DISK);
	ck_assert_mem_eq(&read, &wrote, sizeof(read));
	ck_assert_uint_eq(read.length, buffer.length);
	ck_assert_uint_eq(read.data_bytes, 204 * KIB + 512);
	ck_assert_uint_eq(read.zero_bytes, 68 * KIB);
	ck_assert_uint_eq(read.discard_bytes, 64 * KIB);
	ck_assert_mem_eq(read.result_digest, digest, 32);
	ck_assert_uint_eq(buffer.released, 2);
	free(out);
}
END_TEST

/* Random ranges in any order, overlapping: the later one wins. */
START_TEST(any_order_of_ranges_gives_the_last_bytes)
{
	uint64_t random = 99;
	uint8_t *out = calloc(1, DISK);

	for (unsigned round = 0; round < 4; round++) {
		hvrepl_log_writer *writer = make_writer();

		for (unsigned i = 0; i < 400; i++) {
			uint64_t block = test_random(&random) % 1025;
			uint64_t count = 1 + test_random(&random) % 40;
			uint64_t offset = block * 4096;
			uint64_t length = HVRI_MIN(count * 4096,
						   DISK - offset);

			add(writer, offset, (size_t)length,
			    test_random(&random) % 4);
		}
		ck_assert_int_eq(hvrepl_log_writer_finish(writer, 0, NULL,
							  NULL),
				 HVREPL_OK);
		hvrepl_log_writer_destroy(writer);
		ck_assert_int_eq(replay(out, NULL), HVREPL_OK);
		ck_assert_mem_eq(out, image, DISK);
		buffer.length = 0;
	}
	free(out);
}
END_TEST

/* More chunks than one index page holds. */
START_TEST(long_log_has_several_index_pages)
{
	hvrepl_log_writer *writer;
	struct hvrepl_log_summary summary = HVREPL_LOG_SUMMARY_INIT;

	for (unsigned chunks = 1023; chunks <= 1025; chunks++) {
		uint8_t trailer[HVRI_SEGMENT_TRAILER_SIZE];
		struct hvri_segment_trailer decoded;

		buffer.length = 0;
		writer = make_writer();
		/* Going backwards, each block is a chunk of its own. */
		for (unsigned i = chunks; i-- > 0;)
			add(writer, i * 4096, i < 1024 ? 4096 : 512, i + 1);
		ck_assert_int_eq(hvrepl_log_writer_finish(writer, 0, NULL,
							  NULL),
				 HVREPL_OK);
		hvrepl_log_writer_destroy(writer);
		ck_assert_int_eq(replay(NULL, &summary), HVREPL_OK);
		ck_assert_uint_eq(summary.chunk_count, chunks);
		memcpy(trailer, buffer.bytes + buffer.length - sizeof(trailer),
		       sizeof(trailer));
		ck_assert_int_eq(hvri_segment_trailer_decode(trailer,
							     &decoded),
				 HVREPL_OK);
		ck_assert_uint_eq(decoded.index_length,
				  HVRI_PAGE_ENCODED(chunks > 1024 ? 1 : chunks));
	}
}
END_TEST

START_TEST(empty_log_is_a_log)
{
	hvrepl_log_writer *writer = make_writer();
	struct hvrepl_log_summary summary = HVREPL_LOG_SUMMARY_INIT;

	ck_assert_int_eq(hvrepl_log_writer_add(writer, 0, NULL, 0), HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_writer_finish(writer, 0, NULL, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_writer_finish(writer, 0, NULL, NULL),
			 HVREPL_E_STATE);
	hvrepl_log_writer_destroy(writer);
	ck_assert_uint_eq(buffer.length, HVRI_SEGMENT_HEADER_SIZE +
						 HVRI_SEGMENT_TRAILER_SIZE);
	ck_assert_int_eq(replay(NULL, &summary), HVREPL_OK);
	ck_assert_uint_eq(summary.chunk_count, 0);
}
END_TEST

static void small_log(void)
{
	hvrepl_log_writer *writer = make_writer();
	uint8_t digest[32] = { 1 };

	buffer.length = 0;
	hvrepl_log_writer_destroy(writer);
	writer = make_writer();
	add(writer, 0, 4096, 5);
	memset(image, 'x', 64 * KIB);
	ck_assert_int_eq(hvrepl_log_writer_add(writer, 64 * KIB, image,
					       64 * KIB),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_writer_add_zero(writer, 1 * MIB, 8 * KIB),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_writer_finish(
				 writer, HVREPL_LOG_DIGEST_SHA256, digest,
				 NULL),
			 HVREPL_OK);
	hvrepl_log_writer_destroy(writer);
}

/* Every byte, three ways: no damaged log is read to its end. */
START_TEST(log_with_any_byte_changed_is_refused)
{
	static const uint8_t damage[] = { 0x01, 0x80, 0xff };

	small_log();
	for (size_t i = 0; i < buffer.length; i++) {
		for (size_t k = 0; k < sizeof(damage); k++) {
			buffer.bytes[i] ^= damage[k];
			ck_assert_msg(replay(NULL, NULL) < 0, "byte %zu", i);
			buffer.bytes[i] ^= damage[k];
		}
	}
	ck_assert_int_eq(replay(NULL, NULL), HVREPL_OK);
}
END_TEST

START_TEST(log_cut_anywhere_is_truncated)
{
	size_t whole;

	small_log();
	whole = buffer.length;
	for (buffer.length = 0; buffer.length < whole; buffer.length++)
		ck_assert_int_eq(replay(NULL, NULL), HVREPL_E_TRUNCATED);
	/* And one byte more is not right either. */
	buffer.bytes = realloc(buffer.bytes, whole + 1);
	buffer.capacity = whole + 1;
	buffer.bytes[whole] = 0;
	buffer.length = whole + 1;
	ck_assert_int_eq(replay(NULL, NULL), HVREPL_E_CORRUPT);
}
END_TEST

/* Whole records moved, repeated or left out, each of them valid. */
START_TEST(log_with_chunks_out_of_place_is_refused)
{
	uint8_t *copy;
	uint32_t first, second;
	size_t whole;

	small_log();
	whole = buffer.length;
	copy = malloc(whole);
	memcpy(copy, buffer.bytes, whole);
	ck_assert_int_eq(hvri_chunk_measure(copy + 256, &first), HVREPL_OK);
	ck_assert_int_eq(hvri_chunk_measure(copy + 256 + first, &second),
			 HVREPL_OK);

	/* Swapped. */
	memcpy(buffer.bytes + 256, copy + 256 + first, second);
	memcpy(buffer.bytes + 256 + second, copy + 256, first);
	ck_assert_int_eq(replay(NULL, NULL), HVREPL_E_CORRUPT);
	/* The first left out. */
	memcpy(buffer.bytes + 256, copy + 256 + first, whole - 256 - first);
	buffer.length = whole - first;
	ck_assert_int_eq(replay(NULL, NULL), HVREPL_E_CORRUPT);
	/* The last left out: index and trailer follow at once. */
	memcpy(buffer.bytes, copy, 256 + first);
	memcpy(buffer.bytes + 256 + first, copy + 256 + first + second,
	       whole - 256 - first - second);
	buffer.length = whole - second;
	ck_assert_int_eq(replay(NULL, NULL), HVREPL_E_CORRUPT);
	/* The index page left out. */
	memcpy(buffer.bytes, copy, whole);
	memcpy(buffer.bytes + whole - 128 - HVRI_PAGE_ENCODED(3),
	       copy + whole - 128, 128);
	buffer.length = whole - HVRI_PAGE_ENCODED(3);
	ck_assert_int_eq(replay(NULL, NULL), HVREPL_E_CORRUPT);
	free(copy);
}
END_TEST

START_TEST(log_of_a_future_version_says_so)
{
	struct hvrepl_log_source source = logbuf_source(&buffer);
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_log_reader *reader = NULL;

	small_log();
	buffer.bytes[8] = 2;
	ck_assert_int_eq(hvrepl_log_reader_open(&test.env, &source, &reader,
						&error),
			 HVREPL_E_FORMAT_TOO_NEW);
	ck_assert_ptr_nonnull(strstr(error.sentence, "newer"));
	buffer.bytes[0] = 0;
	ck_assert_int_eq(hvrepl_log_reader_open(&test.env, &source, &reader,
						&error),
			 HVREPL_E_CORRUPT);
	ck_assert_ptr_nonnull(strstr(error.sentence, "not a log"));
	ck_assert_ptr_null(reader);
}
END_TEST

/* The sink fails at each append; nothing leaks, the log is lost and said so. */
START_TEST(failing_sink_fails_the_writer_for_good)
{
	size_t appends;

	small_log();
	appends = buffer.append_count;
	for (size_t at = 0; at <= appends; at++) {
		struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
		struct hvrepl_log_sink sink = logbuf_sink(&buffer);
		hvrepl_log_writer *writer = NULL;
		int32_t rc;

		info.disk_size = DISK;
		buffer.length = buffer.append_count = 0;
		buffer.released = 0;
		buffer.fail_append_at = at;
		buffer.fail_code = HVREPL_E_NO_SPACE;
		rc = hvrepl_log_writer_create(&test.env, &info, 1, &sink,
					      &writer, NULL);
		if (rc == HVREPL_OK) {
			for (unsigned i = 8; i-- > 0 && rc == HVREPL_OK;)
				rc = hvrepl_log_writer_add(
					writer, i * 64 * KIB, image, 4096);
			if (rc == HVREPL_OK)
				rc = hvrepl_log_writer_finish(writer, 0, NULL,
							      NULL);
			if (rc < 0)
				ck_assert_int_eq(hvrepl_log_writer_finish(
							 writer, 0, NULL,
							 NULL),
						 HVREPL_E_STATE);
		}
		if (at < buffer.append_count)
			ck_assert_int_eq(rc, HVREPL_E_NO_SPACE);
		hvrepl_log_writer_destroy(writer);
		ck_assert_uint_eq(buffer.released, 1);
	}
}
END_TEST

START_TEST(failing_source_is_reported_and_rewind_starts_again)
{
	struct hvrepl_log_source source = logbuf_source(&buffer);
	struct hvrepl_log_chunk chunk = HVREPL_LOG_CHUNK_INIT;
	hvrepl_log_reader *reader = NULL;

	small_log();
	buffer.read_count = 0;
	buffer.fail_read_at = 0;
	ck_assert_int_eq(hvrepl_log_reader_open(&test.env, &source, &reader,
						NULL),
			 HVREPL_E_CALLBACK);
	buffer.fail_read_at = SIZE_MAX;
	ck_assert_int_eq(hvrepl_log_reader_open(&test.env, &source, &reader,
						NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_reader_rewind(reader), HVREPL_OK);
	buffer.fail_read_at = buffer.read_count;
	ck_assert_int_eq(hvrepl_log_reader_next(reader, &chunk),
			 HVREPL_E_CALLBACK);
	ck_assert_int_eq(hvrepl_log_reader_next(reader, &chunk),
			 HVREPL_E_CALLBACK);
	ck_assert_int_eq(hvrepl_log_reader_rewind(reader), HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_reader_next(reader, &chunk), HVREPL_OK);
	ck_assert_uint_eq(chunk.sequence, 0);
	hvrepl_log_reader_destroy(reader);
}
END_TEST

struct reentry {
	hvrepl_log_writer *writer;
	int32_t result;
};

static void reenter(void *argument)
{
	struct reentry *reentry = argument;

	if (reentry->writer != NULL)
		reentry->result = hvrepl_log_writer_finish(reentry->writer, 0,
							   NULL, NULL);
}

START_TEST(call_from_inside_a_callback_is_refused)
{
	struct reentry reentry = { NULL, 0 };

	buffer.hook = reenter;
	buffer.hook_argument = &reentry;
	reentry.writer = make_writer();
	ck_assert_int_eq(hvrepl_log_writer_finish(reentry.writer, 0, NULL,
						  NULL),
			 HVREPL_OK);
	ck_assert_int_eq(reentry.result, HVREPL_E_REENTRANT);
	hvrepl_log_writer_destroy(reentry.writer);
}
END_TEST

START_TEST(bad_arguments_are_refused_and_what_was_given_is_released)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	struct hvrepl_log_sink sink = logbuf_sink(&buffer);
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_log_writer *writer = NULL;
	unsigned given = 0;
	static const struct {
		uint64_t size;
		uint32_t block;
		int32_t level;
		uint32_t kind;
		int32_t expected;
	} cases[] = {
		{ 0, 4096, 1, 0, HVREPL_E_INVALID },
		{ UINT64_MAX, 4096, 1, 0, HVREPL_E_INVALID },
		{ 4096, 1000, 1, 0, HVREPL_E_INVALID },
		{ 4096, 4096, 20, 0, HVREPL_E_INVALID },
		{ 4096, 4096, 1, 1, HVREPL_E_INVALID },
	};

	for (size_t i = 0; i < HVRI_ARRAY_LEN(cases); i++) {
		info.disk_size = cases[i].size;
		info.block_size = cases[i].block;
		info.base_digest_kind = cases[i].kind;
		ck_assert_int_eq(hvrepl_log_writer_create(
					 &test.env, &info, cases[i].level,
					 &sink, &writer, &error),
				 cases[i].expected);
		ck_assert_uint_eq(buffer.released, ++given);
		ck_assert_ptr_null(writer);
		ck_assert_uint_ne((unsigned char)error.sentence[0], 0);
	}
	info.struct_size = 8;
	ck_assert_int_eq(hvrepl_log_writer_create(&test.env, &info, 1, &sink,
						  &writer, &error),
			 HVREPL_E_INVALID);
	ck_assert_uint_eq(buffer.released, ++given);
	writer = make_writer();
	ck_assert_int_eq(hvrepl_log_writer_add(writer, 512, image, 4096),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_log_writer_add(writer, 0, image, 512),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_log_writer_add_zero(writer, DISK, 4096),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_log_writer_add_zero(writer, 4096,
						    UINT64_MAX - 4095),
			 HVREPL_E_RANGE);
	/* A refused range does not spoil the log. */
	ck_assert_int_eq(hvrepl_log_writer_add_zero(writer, 4 * MIB, 512),
			 HVREPL_OK);
	hvrepl_log_writer_destroy(writer);
	hvrepl_log_writer_destroy(NULL);
	hvrepl_log_reader_destroy(NULL);
	hvrepl_log_compare_destroy(NULL);
	hvrepl_log_apply_destroy(NULL);
}
END_TEST

/* --- compare --- */

static int32_t compare(struct sim_disk *from, struct sim_disk *to)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	struct hvrepl_log_sink sink = logbuf_sink(&buffer);
	struct hvrepl_log_progress progress = HVREPL_LOG_PROGRESS_INIT;
	struct hvrepl_disk from_handle = sim_disk_handle(from),
			   to_handle = sim_disk_handle(to);
	hvrepl_log_compare *operation = NULL;
	int32_t rc;

	buffer.length = 0;
	rc = hvrepl_log_compare_create(&test.env, &info, 1, &from_handle,
				       &to_handle, &sink, &operation, NULL);
	while (rc == HVREPL_OK && progress.phase != HVREPL_LOG_PHASE_DONE)
		rc = hvrepl_log_compare_advance(operation, &progress, NULL);
	hvrepl_log_compare_destroy(operation);
	return rc;
}

static int32_t digest_of(struct sim_disk *disk, uint8_t digest_out[32])
{
	struct hvrepl_disk handle = sim_disk_handle(disk);

	return hvrepl_disk_digest(&test.env, &handle, digest_out, NULL);
}

START_TEST(compare_turns_one_disk_into_the_other)
{
	struct hvrepl_log_summary summary = HVREPL_LOG_SUMMARY_INIT;
	uint8_t *out = calloc(1, DISK), digest[32];
	struct sim sim;
	struct sim_disk *from, *to;

	sim_init(&sim, 3);
	from = sim_disk_new(&sim, DISK);
	to = sim_disk_new(&sim, DISK);
	test_fill(image, 2 * MIB, 8);
	sim_disk_poke(from, 0, image, 2 * MIB);
	sim_disk_poke(to, 0, image, 2 * MIB);
	memcpy(out, image, 2 * MIB);
	/* One block changed, one to zero, one beyond, and the short tail. */
	sim_disk_poke(to, 12288, "new", 3);
	memset(image, 0, 4096);
	sim_disk_poke(to, 20480, image, 4096);
	sim_disk_poke(to, 3 * MIB, "beyond", 6);
	sim_disk_poke(to, 4 * MIB + 100, "tail", 4);
	ck_assert_int_eq(compare(from, to), HVREPL_OK);
	ck_assert_int_eq(replay(out, &summary), HVREPL_OK);
	ck_assert_mem_eq(out, sim_disk_bytes(to), DISK);
	ck_assert_uint_eq(summary.data_bytes, 4096 + 4096 + 512);
	ck_assert_uint_eq(summary.zero_bytes, 4096);
	ck_assert_int_eq(digest_of(to, digest), HVREPL_OK);
	ck_assert_mem_eq(summary.result_digest, digest, 32);
	ck_assert_uint_eq(from->released + to->released, 3);

	ck_assert_int_eq(compare(to, to), HVREPL_OK);
	ck_assert_int_eq(replay(NULL, &summary), HVREPL_OK);
	ck_assert_uint_eq(summary.chunk_count, 0);
	sim_free(&sim);
	free(out);
}
END_TEST

static void poke_later(void *argument)
{
	struct sim_disk *disk = argument;

	/* The first append: the second pass begins. */
	sim_disk_poke(disk, 4096, "moved", 5);
}

START_TEST(disk_that_moves_while_compared_is_noticed)
{
	struct sim sim;
	struct sim_disk *from, *to;

	sim_init(&sim, 3);
	from = sim_disk_new(&sim, DISK);
	to = sim_disk_new(&sim, DISK);
	buffer.hook = poke_later;
	buffer.hook_argument = from;
	ck_assert_int_eq(compare(from, to), HVREPL_E_UNTRUSTED);
	ck_assert_int_eq(replay(NULL, NULL), HVREPL_E_TRUNCATED);
	sim_free(&sim);
}
END_TEST

START_TEST(disks_of_two_sizes_are_not_compared)
{
	struct sim sim;
	struct sim_disk *from, *to;

	sim_init(&sim, 3);
	from = sim_disk_new(&sim, MIB);
	to = sim_disk_new(&sim, DISK);
	ck_assert_int_eq(compare(from, to), HVREPL_E_INVALID);
	ck_assert_uint_eq(from->released, 1);
	ck_assert_uint_eq(to->released, 1);
	ck_assert_uint_eq(buffer.released, 1);
	sim_free(&sim);
}
END_TEST

/* Holes and written zeroes are the same; anything else is not. */
START_TEST(content_digest_sees_content_and_not_holes)
{
	struct sim sim;
	struct sim_disk *a, *b, *shorter;
	uint8_t da[32], db[32];

	sim_init(&sim, 3);
	a = sim_disk_new(&sim, 4 * MIB);
	b = sim_disk_new(&sim, 4 * MIB);
	shorter = sim_disk_new(&sim, 3 * MIB);
	sim_disk_poke(a, 3 * MIB - 1, "\0", 1);
	ck_assert_int_eq(digest_of(a, da), HVREPL_OK);
	ck_assert_int_eq(digest_of(b, db), HVREPL_OK);
	ck_assert_mem_eq(da, db, 32);
	ck_assert_int_eq(digest_of(shorter, db), HVREPL_OK);
	ck_assert_mem_ne(da, db, 32);
	sim_disk_poke(a, 3 * MIB - 1, "\1", 1);
	sim_disk_poke(b, 2 * MIB - 1, "\1", 1);
	ck_assert_int_eq(digest_of(a, da), HVREPL_OK);
	ck_assert_int_eq(digest_of(b, db), HVREPL_OK);
	ck_assert_mem_ne(da, db, 32);
	sim_free(&sim);
}
END_TEST

/* Each allocation of writing, reading and comparing fails once. */
START_TEST(every_failed_allocation_is_survived)
{
	struct sim sim;
	struct sim_disk *from, *to;
	bool failed = true;

	sim_init(&sim, 3);
	from = sim_disk_new(&sim, DISK);
	to = sim_disk_new(&sim, DISK);
	test_fill(image, 300 * KIB, 8);
	sim_disk_poke(to, 0, image, 300 * KIB);
	for (long n = 0; failed; n++) {
		int32_t rc;

		ck_assert_int_lt(n, 100);
		test.alloc_fail_at = n;
		rc = compare(from, to);
		if (rc == HVREPL_OK)
			rc = replay(NULL, NULL);
		failed = test.alloc_fail_at < 0;
		test.alloc_fail_at = -1;
		ck_assert_int_eq(rc, failed ? HVREPL_E_NOMEM : HVREPL_OK);
		ck_assert_int_eq(test.alloc_live, 0);
	}
	sim_free(&sim);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *tcase = tcase_create("log");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, what_was_added_is_read);
	tcase_add_test(tcase, any_order_of_ranges_gives_the_last_bytes);
	tcase_add_test(tcase, long_log_has_several_index_pages);
	tcase_add_test(tcase, empty_log_is_a_log);
	tcase_add_test(tcase, log_with_any_byte_changed_is_refused);
	tcase_add_test(tcase, log_cut_anywhere_is_truncated);
	tcase_add_test(tcase, log_with_chunks_out_of_place_is_refused);
	tcase_add_test(tcase, log_of_a_future_version_says_so);
	tcase_add_test(tcase, failing_sink_fails_the_writer_for_good);
	tcase_add_test(tcase,
		       failing_source_is_reported_and_rewind_starts_again);
	tcase_add_test(tcase, call_from_inside_a_callback_is_refused);
	tcase_add_test(
		tcase,
		bad_arguments_are_refused_and_what_was_given_is_released);
	tcase_add_test(tcase, compare_turns_one_disk_into_the_other);
	tcase_add_test(tcase, disk_that_moves_while_compared_is_noticed);
	tcase_add_test(tcase, disks_of_two_sizes_are_not_compared);
	tcase_add_test(tcase, content_digest_sees_content_and_not_holes);
	tcase_add_test(tcase, every_failed_allocation_is_survived);
	tcase_set_timeout(tcase, 240);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
