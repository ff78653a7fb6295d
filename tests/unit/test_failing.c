/* SPDX-License-Identifier: Apache-2.0 */
/* What digests, codecs and logs do when libcrypto, libzstd or the application has no
 * memory: each call fails in turn, the answer is NOMEM, and nothing is left behind. */
#include "failing.h"

#include "base/digest.h"
#include "format/content.h"
#include "format/manifest.h"
#include "format/segment.h"
#include "format/wire.h"
#include "logbuf.h"
#include "sim.h"
#include "testing.h"

#include <stdlib.h>
#include <string.h>

static struct test_env test;
static struct hvri_env env;
static uint8_t bytes[65536];

static int32_t sha(void)
{
	struct hvri_sha256 sha;
	uint8_t digest[32];
	int32_t rc;

	HVRI_TRY(hvri_sha256_begin(&sha));
	rc = hvri_sha256_add(&sha, "abc", 3);
	if (rc == HVREPL_OK)
		rc = hvri_sha256_end(&sha, digest);
	hvri_sha256_free(&sha);
	return rc;
}

static int32_t gmac(void)
{
	static const uint8_t key[HVRI_GMAC_KEY];
	struct hvri_gmac gmac;
	uint8_t digest[16];
	int32_t rc;

	HVRI_TRY(hvri_gmac_init(&gmac, key));
	rc = hvri_gmac_block(&gmac, 0, 512, bytes, 4096, digest);
	hvri_gmac_free(&gmac);
	return rc;
}

static int32_t content(void)
{
	struct hvri_content content;
	uint8_t digest[32];
	int32_t rc;

	HVRI_TRY(hvri_content_begin(&content, sizeof(bytes)));
	rc = hvri_content_add(&content, 0, bytes, sizeof(bytes));
	if (rc == HVREPL_OK)
		rc = hvri_content_end(&content, digest);
	hvri_content_free(&content);
	return rc;
}

static int32_t head(void)
{
	struct hvri_head head = { .log = 1 }, back;
	struct hvri_record_header header = { .type = HVRI_RECORD_BLOB,
					     .length = 8 };
	uint8_t slot[HVRI_HEAD_SIZE], record[HVRI_RECORD_HEADER];

	HVRI_TRY(hvri_head_encode(&head, NULL, slot));
	HVRI_TRY(hvri_head_decode(slot, NULL, &back));
	HVRI_TRY(hvri_record_seal(&header, bytes, NULL, record));
	return hvri_record_check(record, &header, bytes, NULL);
}

static int32_t binder(void)
{
	static const uint8_t exporter[32], hello[HVRI_HELLO_SIZE];
	uint8_t out[32];

	return hvri_binder(exporter, true, hello, hello, out);
}

/* A checkpoint with configurations and blob. */
static int32_t manifest(void)
{
	static struct hvri_manifest state, back;
	static uint8_t out[65536];
	uint32_t length;

	memset(&state, 0, sizeof(state));
	state.disk_count = 1;
	state.config_count = 2;
	for (uint32_t i = 0; i < 2; i++) {
		state.configs[i].id = i + 1;
		state.configs[i].bytes = bytes;
		state.configs[i].length = 16;
	}
	state.blob = bytes;
	state.blob_length = 8;
	ck_assert_int_eq(hvri_manifest_encode(&state, out, sizeof(out), &length),
			 HVREPL_OK);
	HVRI_TRY(hvri_manifest_decode(&env, out, length, &back));
	hvri_manifest_clear(&env, &back);
	return HVREPL_OK;
}

static int32_t chunk(void)
{
	struct hvri_segment_header header = { .disk_size = 1u << 20,
					      .block_size = 512 };
	struct hvrepl_extent extent = { 0, 8192 };
	static uint8_t out[HVRI_CHUNK_ENCODED_MAX], raw[8192];
	struct hvri_packer *packer;
	struct hvri_chunk decoded;
	uint32_t length;
	int32_t rc;

	HVRI_TRY(hvri_packer_create(&env, 1, &packer));
	rc = hvri_chunk_pack(packer, &header, 0, HVRI_CHUNK_DATA, &extent, 1,
			     raw, out, &length);
	if (rc == HVREPL_OK)
		rc = hvri_chunk_decode(&header, out, length, &decoded);
	if (rc == HVREPL_OK)
		rc = hvri_chunk_unpack(&header, &decoded, raw);
	hvri_packer_destroy(packer);
	return rc;
}

static int32_t write_log(hvrepl_log_writer *writer)
{
	uint8_t block[4096];

	/* Down and up again: each step back sends what is pending. */
	for (unsigned i = 3; i-- > 0;) {
		test_fill(block, sizeof(block), i + 1);
		memset(block, 'x', 2048);
		HVRI_TRY(hvrepl_log_writer_add(writer, i * 16384u, block,
					       sizeof(block)));
		HVRI_TRY(hvrepl_log_writer_add_zero(writer, i * 16384u + 8192,
						    4096));
		HVRI_TRY(hvrepl_log_writer_add_discard(writer,
						       i * 16384u + 12288, 4096));
	}
	return hvrepl_log_writer_finish(writer, 0, NULL, NULL);
}

static int32_t read_log(struct logbuf *buffer)
{
	struct hvrepl_log_source source = logbuf_source(buffer);
	struct hvrepl_log_chunk chunk = HVREPL_LOG_CHUNK_INIT;
	hvrepl_log_reader *reader = NULL;
	int32_t rc;

	HVRI_TRY(hvrepl_log_reader_open(&test.env, &source, &reader, NULL));
	do
		rc = hvrepl_log_reader_next(reader, &chunk);
	while (rc == HVREPL_OK && chunk.kind != HVREPL_LOG_END);
	/* What failed stays failed, until it is read from the beginning. */
	if (rc < 0)
		ck_assert_int_eq(hvrepl_log_reader_next(reader, &chunk), rc);
	hvrepl_log_reader_destroy(reader);
	return rc;
}

static int32_t log_written_and_read(void)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	struct logbuf buffer;
	struct hvrepl_log_sink sink;
	hvrepl_log_writer *writer = NULL;
	int32_t rc;

	logbuf_init(&buffer);
	sink = logbuf_sink(&buffer);
	info.disk_size = 1u << 20;
	rc = hvrepl_log_writer_create(&test.env, &info, 1, &sink, &writer, NULL);
	if (rc == HVREPL_OK)
		rc = write_log(writer);
	if (rc < 0 && writer != NULL)
		ck_assert_int_eq(hvrepl_log_writer_finish(writer, 0, NULL, NULL),
				 HVREPL_E_STATE);
	hvrepl_log_writer_destroy(writer);
	if (rc == HVREPL_OK)
		rc = read_log(&buffer);
	logbuf_free(&buffer);
	return rc;
}

/* ---- whole disks ---- */

#define DISK ((2u << 20) + 512)

static struct sim sim;
static struct sim_disk *left, *right;
static struct sim_storage *objects;

static void make_disks(void)
{
	static uint8_t piece[65536];

	sim_init(&sim, 1);
	left = sim_disk_new(&sim, DISK);
	right = sim_disk_new(&sim, DISK);
	left->flags = right->flags = HVREPL_DISK_EXCLUSIVE;
	objects = sim_storage_new(&sim);
	for (unsigned i = 0; i < 3; i++) {
		test_fill(piece, sizeof(piece), i + 1);
		sim_disk_poke(left, i * 700000u / 512 * 512, piece,
			      sizeof(piece));
		sim_disk_poke(right, i * 500000u / 512 * 512, piece,
			      sizeof(piece));
	}
}

static int32_t digested(void)
{
	struct hvrepl_disk disk = sim_disk_handle(left);
	uint8_t digest[32];

	return hvrepl_disk_digest(&test.env, &disk, digest, NULL);
}

static int32_t compare_into(struct logbuf *buffer)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	struct hvrepl_log_progress progress = HVREPL_LOG_PROGRESS_INIT;
	struct hvrepl_log_sink sink = logbuf_sink(buffer);
	struct hvrepl_disk from = sim_disk_handle(right),
			   to = sim_disk_handle(left);
	hvrepl_log_compare *compare = NULL;
	int32_t rc = hvrepl_log_compare_create(&test.env, &info, 1, &from, &to,
					       &sink, &compare, NULL);

	while (rc == HVREPL_OK && progress.phase != HVREPL_LOG_PHASE_DONE)
		rc = hvrepl_log_compare_advance(compare, &progress, NULL);
	/* What failed stays failed. */
	if (rc < 0 && compare != NULL)
		ck_assert_int_lt(hvrepl_log_compare_advance(compare, &progress,
							    NULL),
				 0);
	hvrepl_log_compare_destroy(compare);
	return rc;
}

static int32_t compared(void)
{
	struct logbuf buffer;
	int32_t rc;

	logbuf_init(&buffer);
	rc = compare_into(&buffer);
	logbuf_free(&buffer);
	return rc;
}

static int32_t apply_log(struct logbuf *buffer)
{
	struct hvrepl_log_apply_config config = HVREPL_LOG_APPLY_CONFIG_INIT;
	struct hvrepl_log_progress progress = HVREPL_LOG_PROGRESS_INIT;
	struct hvrepl_log_source source = logbuf_source(buffer);
	hvrepl_log_reader *reader = NULL;
	hvrepl_log_apply *apply = NULL;
	int32_t rc = hvrepl_log_reader_open(&test.env, &source, &reader, NULL);

	if (rc < 0)
		return rc;
	config.readers = &reader;
	config.reader_count = 1;
	config.disk = sim_disk_handle(right);
	config.storage = sim_storage_handle(objects);
	config.record_id = "apply";
	rc = hvrepl_log_apply_create(&test.env, &config, &apply, NULL);
	while (rc == HVREPL_OK && progress.phase != HVREPL_LOG_PHASE_DONE)
		rc = hvrepl_log_apply_advance(apply, &progress, NULL);
	if (rc < 0 && apply != NULL)
		ck_assert_int_lt(hvrepl_log_apply_advance(apply, &progress,
							  NULL),
				 0);
	hvrepl_log_apply_destroy(apply);
	hvrepl_log_reader_destroy(reader);
	return rc;
}

static struct logbuf kept;

static int32_t applied(void)
{
	return apply_log(&kept);
}

static int32_t (*const works[])(void) = {
	sha,	  gmac,	 content,	       head,	 binder,
	manifest, chunk, log_written_and_read, digested, compared,
	applied,
};

static void begin_disks(void)
{
	make_disks();
	logbuf_init(&kept);
	ck_assert_int_eq(compare_into(&kept), HVREPL_OK);
}

static void end_disks(void)
{
	logbuf_free(&kept);
	sim_free(&sim);
}

static void setup(void)
{
	test_env_init(&test, 1);
	ck_assert_int_eq(hvri_env_copy(&env, &test.env, NULL), HVREPL_OK);
	test_fill(bytes, sizeof(bytes), 3);
}

START_TEST(want_of_memory_elsewhere_is_said_and_leaves_nothing)
{
	bool reached = true;
	unsigned times = 0;

	for (long n = 0; reached; n++) {
		int32_t rc;

		begin_disks();
		failing_arm(n, n % 2 == 1);
		rc = works[_i]();
		reached = failing.failed > 0;
		failing_arm(-1, false);
		end_disks();
		ck_assert_int_eq(rc, reached ? HVREPL_E_NOMEM : HVREPL_OK);
		ck_assert_int_eq(test.alloc_live, 0);
		times += reached;
		n += n / 64;
	}
	/* The manifest calls neither of them. */
	ck_assert(times > 0 || works[_i] == manifest);
}
END_TEST

START_TEST(want_of_memory_here_is_said_and_leaves_nothing)
{
	bool reached = true;

	for (long n = 0; reached; n++) {
		int32_t rc;

		begin_disks();
		test.alloc_fail_at = n;
		rc = works[_i]();
		reached = test.alloc_fail_at < 0;
		test.alloc_fail_at = -1;
		end_disks();
		ck_assert_int_eq(rc, reached ? HVREPL_E_NOMEM : HVREPL_OK);
		ck_assert_int_eq(test.alloc_live, 0);
	}
}
END_TEST

START_TEST(a_disk_or_an_object_that_fails_is_said_and_leaves_nothing)
{
	bool reached = true;

	for (uint64_t n = 0; reached; n++) {
		int32_t rc;

		begin_disks();
		sim.fail_at = sim.call_count + n;
		sim.fail_code = HVREPL_E_DISK_IO;
		rc = works[_i]();
		reached = sim.failed > 0;
		end_disks();
		ck_assert_msg(reached ? rc == HVREPL_E_DISK_IO ||
						rc == HVREPL_E_STORAGE_IO :
					rc == HVREPL_OK,
			      "I/O %u gives %d", (unsigned)n, rc);
		ck_assert_int_eq(test.alloc_live, 0);
	}
}
END_TEST

START_TEST(no_more_is_digested_at_once_than_libcrypto_can_take)
{
	static const uint8_t key[HVRI_GMAC_KEY];
	struct hvri_gmac gmac;
	uint8_t digest[16];

	ck_assert_int_eq(hvri_gmac_init(&gmac, key), HVREPL_OK);
	ck_assert_int_eq(hvri_gmac_block(&gmac, 0, 0, bytes,
					 (size_t)INT32_MAX + 1, digest),
			 HVREPL_E_INVALID);
	hvri_gmac_free(&gmac);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("failing");
	TCase *tcase = tcase_create("failing");

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_loop_test(tcase,
			    want_of_memory_elsewhere_is_said_and_leaves_nothing,
			    0, (int)HVRI_ARRAY_LEN(works));
	tcase_add_loop_test(tcase, want_of_memory_here_is_said_and_leaves_nothing,
			    0, (int)HVRI_ARRAY_LEN(works));
	tcase_add_loop_test(
		tcase, a_disk_or_an_object_that_fails_is_said_and_leaves_nothing,
		8, (int)HVRI_ARRAY_LEN(works));
	tcase_add_test(tcase,
		       no_more_is_digested_at_once_than_libcrypto_can_take);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
