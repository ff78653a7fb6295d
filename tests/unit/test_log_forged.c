/* SPDX-License-Identifier: Apache-2.0 */
/* Logs that someone made who knows the format: every record by itself is right, what
 * they say together is not. And the edges of writer, sinks and sources. */
#include "format/segment.h"
#include "logbuf.h"
#include "testing.h"

#include "base/digest.h"
#include "transfer/log_writer.h"

#include <stdlib.h>
#include <string.h>

#define DISK (8u << 20)

static struct test_env test;
static struct hvri_env env;
static struct logbuf buffer;

static void setup(void)
{
	test_env_init(&test, 7);
	ck_assert_int_eq(hvri_env_copy(&env, &test.env, NULL), HVREPL_OK);
	logbuf_init(&buffer);
}

static void teardown(void)
{
	logbuf_free(&buffer);
	ck_assert_int_eq(test.alloc_live, 0);
}

/* ---- a log made by hand ---- */

static struct {
	struct hvri_segment_header header;
	struct hvri_segment_root root;
	struct hvri_packer *packer;
	struct hvri_segment_entry entries[HVRI_PAGE_ENTRIES + 1];
	struct hvri_segment_page page;
	struct hvri_segment_trailer trailer;
	uint32_t sequence, count;
} made;

static void put(const void *bytes, size_t length)
{
	struct hvrepl_log_sink sink = logbuf_sink(&buffer);

	ck_assert_int_eq(sink.ops->append(sink.user, NULL, bytes, length),
			 HVREPL_OK);
}

static void begin(void)
{
	uint8_t bytes[HVRI_SEGMENT_HEADER_SIZE];

	memset(&made, 0, sizeof(made));
	made.header.disk_size = DISK;
	made.header.block_size = 512;
	buffer.length = 0;
	ck_assert_int_eq(hvri_packer_create(&env, 0, &made.packer), HVREPL_OK);
	ck_assert_int_eq(hvri_segment_root_begin(&made.root, &made.header),
			 HVREPL_OK);
	hvri_segment_header_encode(&made.header, bytes);
	put(bytes, sizeof(bytes));
}

static void chunk(uint8_t kind)
{
	static uint8_t out[HVRI_CHUNK_ENCODED_MAX];
	struct hvrepl_extent extent = { 512u * made.count, 512 };
	uint8_t raw[512] = { 1 };
	struct hvri_segment_entry *entry = &made.entries[made.count++];
	struct hvri_chunk decoded;
	uint32_t length;

	ck_assert_int_eq(hvri_chunk_pack(made.packer, &made.header,
					 made.sequence++, kind, &extent, 1,
					 kind == HVRI_CHUNK_DATA ? raw : NULL,
					 out, &length),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_chunk_decode(&made.header, out, length, &decoded),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_segment_root_add(&made.root,
					       decoded.stored_digest),
			 HVREPL_OK);
	entry->position = buffer.length;
	entry->length = length;
	memcpy(entry->stored_digest, decoded.stored_digest, 16);
	made.trailer.raw_bytes += decoded.raw_length;
	put(out, length);
}

/* What `made` says: a caller may have it say something else. */
static void page_ready(void)
{
	made.page.first_sequence = made.sequence - made.count;
	made.page.count = made.count;
}

static void page(void)
{
	static uint8_t out[HVRI_PAGE_ENCODED_MAX];
	uint32_t length = HVRI_PAGE_ENCODED(made.page.count);

	hvri_segment_page_encode(&made.header, &made.page, made.entries, out);
	made.trailer.index_position = buffer.length;
	made.trailer.index_length = length;
	made.page.previous = buffer.length;
	made.count = 0;
	put(out, length);
}

static void trailer_ready(void)
{
	made.trailer.chunk_count = made.sequence;
	ck_assert_int_eq(hvri_segment_root_end(&made.root, made.trailer.root),
			 HVREPL_OK);
}

static int32_t finish(void)
{
	struct hvrepl_log_source source = logbuf_source(&buffer);
	struct hvrepl_log_chunk read = HVREPL_LOG_CHUNK_INIT;
	uint8_t out[HVRI_SEGMENT_TRAILER_SIZE];
	hvrepl_log_reader *reader = NULL;
	int32_t rc;

	hvri_segment_trailer_encode(&made.trailer, out);
	put(out, sizeof(out));
	hvri_segment_root_free(&made.root);
	hvri_packer_destroy(made.packer);
	rc = hvrepl_log_reader_open(&test.env, &source, &reader, NULL);
	do
		rc = rc < 0 ? rc : hvrepl_log_reader_next(reader, &read);
	while (rc == HVREPL_OK && read.kind != HVREPL_LOG_END);
	hvrepl_log_reader_destroy(reader);
	return rc;
}

static void three(void)
{
	begin();
	chunk(HVRI_CHUNK_DATA);
	chunk(HVRI_CHUNK_ZERO);
	chunk(HVRI_CHUNK_DISCARD);
	page_ready();
}

/* With the change before index and trailer, and with the one before the trailer. */
#define FORGED(before_page, before_trailer)             \
	do {                                            \
		three();                                \
		before_page;                            \
		page();                                 \
		trailer_ready();                        \
		before_trailer;                         \
		ck_assert_msg(finish() == HVREPL_E_CORRUPT, \
			      #before_page "; " #before_trailer); \
	} while (0)

START_TEST(an_index_or_trailer_that_names_other_chunks_is_refused)
{
	three();
	page();
	trailer_ready();
	ck_assert_int_eq(finish(), HVREPL_OK);
	FORGED(made.page.count = 2, );
	FORGED(made.page.first_sequence = 1, );
	FORGED(made.page.previous = 512, );
	FORGED(made.entries[1].position++, );
	FORGED(made.entries[1].length++, );
	FORGED(made.entries[2].stored_digest[7] ^= 1, );
	FORGED(, made.trailer.chunk_count = 2);
	FORGED(, made.trailer.raw_bytes = 513);
	FORGED(, made.trailer.index_position--);
	FORGED(, made.trailer.index_length++);
	FORGED(, made.trailer.root[31] ^= 1);
}
END_TEST

START_TEST(behind_the_last_index_page_only_the_trailer_follows)
{
	/* A chunk. */
	three();
	page();
	chunk(HVRI_CHUNK_ZERO);
	trailer_ready();
	ck_assert_int_eq(finish(), HVREPL_E_CORRUPT);
	/* Another page, of nothing that is new. */
	three();
	page();
	made.count = 3;
	page();
	trailer_ready();
	ck_assert_int_eq(finish(), HVREPL_E_CORRUPT);
}
END_TEST

START_TEST(a_chunk_says_its_number)
{
	begin();
	chunk(HVRI_CHUNK_ZERO);
	made.sequence++;
	chunk(HVRI_CHUNK_ZERO);
	page_ready();
	page();
	trailer_ready();
	ck_assert_int_eq(finish(), HVREPL_E_CORRUPT);
}
END_TEST

START_TEST(a_page_comes_when_it_is_full)
{
	begin();
	for (unsigned i = 0; i < HVRI_PAGE_ENTRIES; i++)
		chunk(HVRI_CHUNK_ZERO);
	page_ready();
	page();
	chunk(HVRI_CHUNK_ZERO);
	page_ready();
	page();
	trailer_ready();
	ck_assert_int_eq(finish(), HVREPL_OK);

	begin();
	for (unsigned i = 0; i <= HVRI_PAGE_ENTRIES; i++)
		chunk(HVRI_CHUNK_ZERO);
	made.page.first_sequence = 1;
	made.page.count = HVRI_PAGE_ENTRIES;
	page();
	trailer_ready();
	ck_assert_int_eq(finish(), HVREPL_E_CORRUPT);
}
END_TEST

/* ---- the writer ---- */

static hvrepl_log_writer *make_writer(int32_t level)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	struct hvrepl_log_sink sink = logbuf_sink(&buffer);
	hvrepl_log_writer *writer = NULL;

	info.disk_size = DISK;
	info.block_size = 512;
	ck_assert_int_eq(hvrepl_log_writer_create(&test.env, &info, level,
						  &sink, &writer, NULL),
			 HVREPL_OK);
	return writer;
}

/* More places than a chunk has extents, of each kind; then back, over what is
 * pending. */
static int32_t scattered(hvrepl_log_writer *writer)
{
	static uint8_t block[512 * 132] = { 1 };

	for (unsigned i = 0; i <= HVRI_CHUNK_EXTENTS_MAX; i++) {
		HVRI_TRY(hvrepl_log_writer_add_zero(writer, i * 2048u, 512));
		HVRI_TRY(hvrepl_log_writer_add_discard(writer, i * 2048u + 1024,
						       512));
	}
	for (unsigned i = 0; i < 130; i++)
		block[512 * i] = 1;
	/* More than a chunk holds at once, and zeroes behind it. */
	HVRI_TRY(hvrepl_log_writer_add(writer, 4u << 20, block, sizeof(block)));
	for (unsigned i = 0; i < 4; i++)
		HVRI_TRY(hvrepl_log_writer_add(writer, i * 1024u, block, 512));
	HVRI_TRY(hvrepl_log_writer_add(writer, 0, block, 512));
	return hvrepl_log_writer_finish(writer, 0, NULL, NULL);
}

START_TEST(a_sink_that_fails_loses_the_log_wherever_it_fails)
{
	int32_t rc;
	size_t at = 1;

	do {
		hvrepl_log_writer *writer;

		buffer.length = buffer.append_count = 0;
		buffer.fail_append_at = at++;
		buffer.fail_code = HVREPL_E_NO_SPACE;
		writer = make_writer(0);
		rc = scattered(writer);
		ck_assert(rc == HVREPL_OK || rc == HVREPL_E_NO_SPACE);
		ck_assert_int_eq(rc == HVREPL_OK,
				 buffer.append_count < at);
		ck_assert_int_eq(hvrepl_log_writer_add_zero(writer, 0, 512),
				 HVREPL_E_STATE);
		ck_assert_int_eq(hvri_log_writer_add_chunk(writer, NULL, 0),
				 HVREPL_E_STATE);
		ck_assert_int_eq(hvrepl_log_writer_finish(writer, 0, NULL, NULL),
				 HVREPL_E_STATE);
		hvrepl_log_writer_destroy(writer);
	} while (rc != HVREPL_OK);
	ck_assert_uint_gt(at, 8);
}
END_TEST

START_TEST(the_result_has_a_digest_or_none)
{
	static const uint8_t digest[32];
	hvrepl_log_writer *writer = make_writer(0);

	ck_assert_int_eq(hvri_log_writer_finish(writer, HVRI_DIGEST_GMAC,
						digest),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvri_log_writer_finish(writer, HVRI_DIGEST_NONE,
						digest),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvri_log_writer_finish(writer, HVRI_DIGEST_SHA256,
						NULL),
			 HVREPL_E_INVALID);
	/* Nothing of nothing is no range. */
	ck_assert_int_eq(hvrepl_log_writer_add_zero(writer, 512, 0), HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_writer_add_zero(writer, DISK + 512, 512),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvri_log_writer_finish(writer, HVRI_DIGEST_SHA256,
						digest),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_writer_add_zero(writer, 0, 512),
			 HVREPL_E_STATE);
	hvrepl_log_writer_destroy(writer);
}
END_TEST

/* What was packed elsewhere goes through the same gate. */
START_TEST(a_chunk_from_elsewhere_is_checked)
{
	static uint8_t out[HVRI_CHUNK_ENCODED_MAX];
	struct hvrepl_extent extent = { 0, 512 };
	struct hvri_packer *packer;
	uint32_t length;

	ck_assert_int_eq(hvri_packer_create(&env, 0, &packer), HVREPL_OK);
	for (uint32_t sequence = 0; sequence < 2; sequence++) {
		hvrepl_log_writer *writer = make_writer(0);

		ck_assert_int_eq(hvri_chunk_pack(
					 packer, hvri_log_writer_header(writer),
					 sequence, HVRI_CHUNK_ZERO, &extent, 1,
					 NULL, out, &length),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_log_writer_add_chunk(writer, out, length),
				 sequence == 0 ? HVREPL_OK : HVREPL_E_INVALID);
		hvrepl_log_writer_destroy(writer);
	}
	for (uint32_t bad = 0; bad < 2; bad++) {
		hvrepl_log_writer *writer = make_writer(0);

		ck_assert_int_eq(hvri_chunk_pack(
					 packer, hvri_log_writer_header(writer),
					 0, HVRI_CHUNK_ZERO, &extent, 1, NULL,
					 out, &length),
				 HVREPL_OK);
		out[20] ^= (uint8_t)bad;
		ck_assert_int_eq(hvri_log_writer_add_chunk(writer, out, length),
				 bad == 0 ? HVREPL_OK : HVREPL_E_CORRUPT);
		hvrepl_log_writer_destroy(writer);
	}
	/* What is pending goes first, and may fail. */
	buffer.append_count = 0;
	buffer.fail_append_at = 1;
	hvrepl_log_writer *writer = make_writer(0);
	ck_assert_int_eq(hvrepl_log_writer_add_zero(writer, 512, 512),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_log_writer_add_chunk(writer, out, length),
			 HVREPL_E_CALLBACK);
	hvrepl_log_writer_destroy(writer);
	hvri_packer_destroy(packer);
}
END_TEST

static int32_t no_entropy(void *user, void *bytes, size_t length)
{
	(void)user, (void)bytes, (void)length;
	return -1;
}

START_TEST(a_log_without_entropy_has_no_name)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	struct hvrepl_log_sink sink = logbuf_sink(&buffer);
	hvrepl_log_writer *writer = NULL;

	info.disk_size = DISK;
	test.env.random = no_entropy;
	ck_assert_int_eq(hvrepl_log_writer_create(&test.env, &info, 0, &sink,
						  &writer, NULL),
			 HVREPL_E_CALLBACK);
	ck_assert_ptr_null(writer);
	ck_assert_uint_eq(buffer.released, 1);
}
END_TEST

/* ---- sources and sinks ---- */

static int32_t refuses_size(void *user, uint64_t *size_out)
{
	(void)user, (void)size_out;
	return -1;
}

static int32_t open_source(const struct hvrepl_log_source_ops *ops)
{
	struct hvrepl_log_source source = logbuf_source(&buffer);
	hvrepl_log_reader *reader = NULL;
	int32_t rc;
	unsigned before = buffer.released;

	source.ops = ops;
	rc = hvrepl_log_reader_open(&test.env, &source, &reader, NULL);
	ck_assert_ptr_null(reader);
	ck_assert_uint_eq(buffer.released, before + 1);
	return rc;
}

START_TEST(a_source_has_a_whole_table)
{
	struct hvrepl_log_source_ops ops = *logbuf_source(&buffer).ops;

	ops.reserved = 1;
	ck_assert_int_eq(open_source(&ops), HVREPL_E_TOO_NEW);
	ops = *logbuf_source(&buffer).ops;
	ops.size = NULL;
	ck_assert_int_eq(open_source(&ops), HVREPL_E_INVALID);
	ops = *logbuf_source(&buffer).ops;
	ops.read = NULL;
	ck_assert_int_eq(open_source(&ops), HVREPL_E_INVALID);
	ck_assert_int_eq(open_source(NULL), HVREPL_E_INVALID);
	ops = *logbuf_source(&buffer).ops;
	ops.size = refuses_size;
	ck_assert_int_eq(open_source(&ops), HVREPL_E_CALLBACK);
}
END_TEST

static int32_t open_sink(const struct hvrepl_log_sink_ops *ops,
			 hvrepl_log_writer **writer)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	struct hvrepl_log_sink sink = logbuf_sink(&buffer);

	sink.ops = ops;
	info.disk_size = DISK;
	return hvrepl_log_writer_create(&test.env, &info, 0, &sink, writer, NULL);
}

START_TEST(a_sink_need_not_flush)
{
	struct hvrepl_log_sink_ops ops = *logbuf_sink(&buffer).ops;
	hvrepl_log_writer *writer = NULL;

	ops.reserved = 1;
	ck_assert_int_eq(open_sink(&ops, &writer), HVREPL_E_TOO_NEW);
	ops = *logbuf_sink(&buffer).ops;
	ops.append = NULL;
	ck_assert_int_eq(open_sink(&ops, &writer), HVREPL_E_INVALID);
	ck_assert_int_eq(open_sink(NULL, &writer), HVREPL_E_INVALID);
	ck_assert_uint_eq(buffer.released, 3);
	ck_assert_ptr_null(writer);
	ops = *logbuf_sink(&buffer).ops;
	ops.flush = NULL;
	ck_assert_int_eq(open_sink(&ops, &writer), HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_writer_finish(writer, 0, NULL, NULL),
			 HVREPL_OK);
	hvrepl_log_writer_destroy(writer);
}
END_TEST

/* ---- the reader ---- */

static hvrepl_log_reader *inside;
static int32_t inside_result;

static void read_inside(void *argument)
{
	struct hvrepl_log_chunk chunk = HVREPL_LOG_CHUNK_INIT;

	(void)argument;
	if (inside != NULL)
		inside_result = hvrepl_log_reader_next(inside, &chunk);
}

/* Longer than what is read at once, so that the second reading begins in front of
 * what is in memory. */
START_TEST(a_log_is_read_again_from_its_beginning)
{
	struct hvrepl_log_source source = logbuf_source(&buffer);
	struct hvrepl_log_chunk chunk = HVREPL_LOG_CHUNK_INIT;
	struct hvrepl_log_summary summary = HVREPL_LOG_SUMMARY_INIT;
	hvrepl_log_writer *writer = make_writer(0);
	hvrepl_log_reader *reader = NULL;
	uint8_t *bytes = malloc(1u << 20);

	for (unsigned i = 0; i < 3; i++) {
		test_fill(bytes, 1u << 20, i + 1);
		ck_assert_int_eq(hvrepl_log_writer_add(writer, i << 20, bytes,
						       1u << 20),
				 HVREPL_OK);
	}
	free(bytes);
	ck_assert_int_eq(hvrepl_log_writer_finish(writer, 0, NULL, NULL),
			 HVREPL_OK);
	hvrepl_log_writer_destroy(writer);
	ck_assert_int_eq(hvrepl_log_reader_open(&test.env, &source, &reader,
						NULL),
			 HVREPL_OK);
	for (unsigned times = 0; times < 2; times++) {
		ck_assert_int_eq(hvrepl_log_reader_summary(reader, &summary),
				 HVREPL_E_STATE);
		do
			ck_assert_int_eq(hvrepl_log_reader_next(reader, &chunk),
					 HVREPL_OK);
		while (chunk.kind != HVREPL_LOG_END);
		/* The end stays the end. */
		ck_assert_int_eq(hvrepl_log_reader_next(reader, &chunk),
				 HVREPL_OK);
		ck_assert_uint_eq(chunk.kind, HVREPL_LOG_END);
		ck_assert_int_eq(hvrepl_log_reader_summary(reader, &summary),
				 HVREPL_OK);
		ck_assert_uint_eq(summary.data_bytes, 3u << 20);
		ck_assert_int_eq(hvrepl_log_reader_rewind(reader), HVREPL_OK);
	}
	inside = reader;
	buffer.hook = read_inside;
	ck_assert_int_eq(hvrepl_log_reader_next(reader, &chunk), HVREPL_OK);
	ck_assert_int_eq(inside_result, HVREPL_E_REENTRANT);
	inside = NULL;
	hvrepl_log_reader_destroy(reader);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("forged logs");
	TCase *tcase = tcase_create("forged logs");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase,
		       an_index_or_trailer_that_names_other_chunks_is_refused);
	tcase_add_test(tcase,
		       behind_the_last_index_page_only_the_trailer_follows);
	tcase_add_test(tcase, a_chunk_says_its_number);
	tcase_add_test(tcase, a_page_comes_when_it_is_full);
	tcase_add_test(tcase,
		       a_sink_that_fails_loses_the_log_wherever_it_fails);
	tcase_add_test(tcase, the_result_has_a_digest_or_none);
	tcase_add_test(tcase, a_chunk_from_elsewhere_is_checked);
	tcase_add_test(tcase, a_log_without_entropy_has_no_name);
	tcase_add_test(tcase, a_source_has_a_whole_table);
	tcase_add_test(tcase, a_sink_need_not_flush);
	tcase_add_test(tcase, a_log_is_read_again_from_its_beginning);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
