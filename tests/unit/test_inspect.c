/* SPDX-License-Identifier: Apache-2.0 */
/* Describing files: what is said of good, damaged and foreign ones. */
#include "base/digest.h"
#include "format/apply_record.h"
#include "format/hvt.h"
#include "format/manifest.h"
#include "logbuf.h"
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct test_env test;
static struct logbuf buffer;

/* A visitor that writes the walk down as one line of text. */
struct told {
	char text[16384];
	size_t length;
	unsigned calls, fail_at; /* n-th callback fails. */
	int depth;
};
static struct told told;

static int32_t tell(struct told *to, const char *format, const char *key,
		    const char *value)
{
	int wrote = snprintf(to->text + to->length,
			     sizeof(to->text) - to->length, format,
			     key != NULL ? key : "-", value);

	ck_assert_int_gt(wrote, 0);
	to->length += (size_t)wrote;
	ck_assert_uint_lt(to->length, sizeof(to->text));
	return to->calls++ == to->fail_at ? HVREPL_E_CANCELLED : HVREPL_OK;
}

static int32_t on_begin(void *user, const char *key, uint32_t node)
{
	struct told *to = user;

	to->depth++;
	return tell(to, "%s%s ", key, node == HVREPL_NODE_LIST ? "[" : "{");
}

static int32_t on_end(void *user)
{
	struct told *to = user;

	to->depth--;
	ck_assert_int_ge(to->depth, 0);
	return tell(to, "%.0s%s ", NULL, "}");
}

static int32_t on_value(void *user, const char *key,
			const struct hvrepl_value *value)
{
	char text[300];

	switch (value->type) {
	case HVREPL_VALUE_NUMBER:
	case HVREPL_VALUE_BOOL:
		snprintf(text, sizeof(text), "%llu",
			 (unsigned long long)value->number);
		break;
	case HVREPL_VALUE_TEXT:
		snprintf(text, sizeof(text), "%.*s", (int)value->length,
			 (const char *)value->bytes);
		break;
	default:
		snprintf(text, sizeof(text), "%zu:%02x", value->length,
			 *(const uint8_t *)value->bytes);
		break;
	}
	return tell(user, "%s=%s ", key, text);
}

static int32_t inspect(uint32_t flags, struct hvrepl_error *error)
{
	struct hvrepl_log_source source = logbuf_source(&buffer);
	struct hvrepl_visitor visitor = HVREPL_VISITOR_INIT;

	told.length = told.calls = 0;
	told.depth = 0;
	told.text[0] = 0;
	visitor.user = &told;
	visitor.begin = on_begin;
	visitor.end = on_end;
	visitor.value = on_value;
	return hvrepl_inspect(&test.env, &source, flags, &visitor, error);
}

static void assert_told(const char *words)
{
	ck_assert_msg(strstr(told.text, words) != NULL, "no '%s' in: %s",
		      words, told.text);
}

static void make_log(void)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	struct hvrepl_log_sink sink = logbuf_sink(&buffer);
	hvrepl_log_writer *writer = NULL;
	uint8_t block[4096];

	test_fill(block, sizeof(block), 3);
	info.disk_size = 1 << 20;
	info.vm.bytes[0] = 0x5a;
	info.from_point = 41;
	info.to_point = 42;
	ck_assert_int_eq(hvrepl_log_writer_create(&test.env, &info, 1, &sink,
						  &writer, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_writer_add(writer, 8192, block, 4096),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_writer_add_discard(writer, 65536, 65536),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_log_writer_finish(writer, 0, NULL, NULL),
			 HVREPL_OK);
	hvrepl_log_writer_destroy(writer);
}

static void setup(void)
{
	test_env_init(&test, 9);
	logbuf_init(&buffer);
	memset(&told, 0, sizeof(told));
	told.fail_at = UINT32_MAX;
	make_log();
	buffer.released = 0;
}

static void teardown(void)
{
	logbuf_free(&buffer);
	ck_assert_int_eq(test.alloc_live, 0);
}

START_TEST(segment_is_described)
{
	ck_assert_int_eq(inspect(0, NULL), HVREPL_OK);
	assert_told("kind=segment length=");
	assert_told("vm=16:5a ");
	assert_told("from_point=41 to_point=42 disk_size=1048576 ");
	assert_told("chunk_count=2 data_bytes=4096 stored_bytes=4096 "
		    "zero_bytes=0 discard_bytes=65536 root=32:");
	assert_told("valid=1 ");
	ck_assert_ptr_null(strstr(told.text, "chunks"));
	ck_assert_uint_eq(buffer.released, 1);
	ck_assert_int_eq(inspect(HVREPL_INSPECT_DETAILS, NULL), HVREPL_OK);
	assert_told("chunks[ -{ position=256 kind=data raw_length=4096 "
		    "stored_length=4096 extents[ -{ offset=8192 length=4096 } "
		    "} } -{ ");
	assert_told("kind=discard raw_length=0 stored_length=0 extents[ -{ "
		    "offset=65536 length=65536 } } } } ");
	ck_assert_int_eq(told.depth, 0);
}
END_TEST

START_TEST(damaged_segment_is_described_as_far_as_it_goes)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	buffer.bytes[400] ^= 1;
	ck_assert_int_eq(inspect(HVREPL_INSPECT_DETAILS, &error),
			 HVREPL_E_CORRUPT);
	ck_assert_ptr_nonnull(strstr(error.sentence, "damaged near byte 256"));
	assert_told("from_point=41");
	assert_told("chunks[ } damage=the log is damaged near byte 256");
	assert_told("valid=0 ");
	buffer.bytes[400] ^= 1;
	buffer.length -= 1;
	ck_assert_int_eq(inspect(0, &error), HVREPL_E_TRUNCATED);
	assert_told("valid=0 ");
	buffer.length = 100;
	ck_assert_int_eq(inspect(0, &error), HVREPL_E_TRUNCATED);
	assert_told("kind=segment length=100 damage=");
	buffer.bytes[8] = 9;
	buffer.length = 4000;
	ck_assert_int_eq(inspect(0, &error), HVREPL_E_FORMAT_TOO_NEW);
	assert_told("newer hvrepl");
}
END_TEST

START_TEST(foreign_file_is_no_file_of_ours)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	buffer.bytes[0] = 'x';
	ck_assert_int_eq(inspect(0, &error), HVREPL_E_UNSUPPORTED);
	ck_assert_ptr_nonnull(strstr(error.sentence, "no file of hvrepl's"));
	ck_assert_uint_eq(told.calls, 0);
	buffer.length = 0;
	ck_assert_int_eq(inspect(0, &error), HVREPL_E_UNSUPPORTED);
	ck_assert_uint_eq(buffer.released, 2);
}
END_TEST

START_TEST(apply_record_is_described)
{
	struct hvri_apply_record record = { .disk_size = 77777,
					    .granule = 4096 };

	memset(record.kept, 0x99, sizeof(record.kept));
	hvri_apply_record_encode(&record, buffer.bytes);
	buffer.length = HVRI_APPLY_RECORD_SIZE;
	ck_assert_int_eq(inspect(0, NULL), HVREPL_OK);
	assert_told("kind=apply-record length=160 version=1 disk_size=77777 "
		    "granule=4096 ");
	assert_told("kept=32:99 valid=1 ");
	for (size_t i = 8; i < 8u * HVRI_APPLY_RECORD_SIZE; i++) {
		buffer.bytes[i / 8] ^= (uint8_t)(1u << (i % 8));
		ck_assert_int_lt(inspect(0, NULL), 0);
		buffer.bytes[i / 8] ^= (uint8_t)(1u << (i % 8));
	}
	buffer.length--;
	ck_assert_int_eq(inspect(0, NULL), HVREPL_E_TRUNCATED);
	buffer.length += 2;
	ck_assert_int_eq(inspect(0, NULL), HVREPL_E_CORRUPT);
}
END_TEST

static struct hvri_hvt_header tracker_header(void)
{
	struct hvri_hvt_header header = {
		.flags = HVRI_HVT_FINE,
		.sequence = 12,
		.disk_size = 10u << 20,
		.block_size = 4096,
		.region_size = 1u << 20,
		.fine_blocks = 1,
		.ack_point = 33,
		.token_length = 3,
	};

	ck_assert_int_eq(hvri_hvt_plan(&header), HVREPL_OK);
	return header;
}

/* One copy of the coarse map: region 9, the last one, and some of the first
 * eight. */
static void make_sector(uint32_t copy, uint8_t first)
{
	struct hvri_hvt_header header = tracker_header();
	uint8_t bits[HVRI_HVT_SECTOR_BYTES] = { first, 0x02 };

	hvri_hvt_sector_encode(&header, copy, 0, bits,
			       buffer.bytes +
				       hvri_hvt_sector_at(&header, copy, 0));
}

static void make_tracker_file(void)
{
	struct hvri_hvt_header header = tracker_header();
	struct hvri_hvt_fine fine;
	uint64_t index;

	buffer.length = (size_t)header.fine_offset + HVRI_HVT_FINE_BLOCK;
	buffer.bytes = realloc(buffer.bytes, buffer.length);
	buffer.capacity = buffer.length;
	memset(buffer.bytes, 0, buffer.length);
	hvri_hvt_header_encode(&header, buffer.bytes);
	header.sequence = 13;
	hvri_hvt_header_encode(&header, buffer.bytes + HVRI_HVT_SLOT_STRIDE);
	for (uint32_t copy = 0; copy < HVRI_HVT_COPIES; copy++)
		make_sector(copy, 0x81);
	hvri_hvt_fine_begin(&fine, &header);
	hvri_hvt_fine_run(&fine, 2, 5);
	hvri_hvt_fine_finish(&fine, buffer.bytes + header.fine_offset, &index);
}

START_TEST(tracker_file_is_described)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	make_tracker_file();
	ck_assert_int_eq(inspect(HVREPL_INSPECT_DETAILS, NULL), HVREPL_OK);
	assert_told("kind=tracker ");
	assert_told("open=0 fine_map=1 slot_torn=0 sequence=13 ");
	assert_told("acknowledged_point=33 ");
	assert_told("hot[ -{ offset=0 length=1048576 } -{ offset=7340032 "
		    "length=1048576 } -{ offset=9437184 length=1048576 } } "
		    "hot_regions=3 unequal_sectors=0 dirty[ -{ offset=8192 "
		    "length=20480 } } "
		    "dirty_blocks=5 valid=1 ");
	/* One slot torn: the other one counts, and it is still found. It is no
	 * proof that the file was closed, for an attach neither. */
	buffer.bytes[3] ^= 1;
	ck_assert_int_eq(inspect(0, NULL), HVREPL_OK);
	assert_told("open=1 fine_map=0 slot_torn=1 sequence=13 ");
	assert_told("hot_regions=3 unequal_sectors=0 valid=1 ");
	buffer.bytes[3] ^= 1;
	buffer.bytes[HVRI_HVT_SLOT_STRIDE + 300] ^= 1;
	ck_assert_int_eq(inspect(0, NULL), HVREPL_OK);
	assert_told("open=1 fine_map=0 slot_torn=1 sequence=12 ");
	buffer.bytes[300] ^= 1;
	ck_assert_int_eq(inspect(0, &error), HVREPL_E_CORRUPT);
	buffer.bytes[300] ^= 1;
	buffer.bytes[HVRI_HVT_SLOT_STRIDE + 300] ^= 1;
	buffer.bytes[HVRI_HVT_COARSE_OFFSET + 100] ^= 1;
	ck_assert_int_eq(inspect(0, &error), HVREPL_E_CORRUPT);
	assert_told("hot_regions=10 unequal_sectors=0 dirty_blocks=5 damage=1 "
		    "sectors of the");
	/* Both copies of it: one sector all the same. */
	buffer.bytes[HVRI_HVT_APART + 100] ^= 1;
	ck_assert_int_eq(inspect(0, &error), HVREPL_E_CORRUPT);
	assert_told("hot_regions=10 unequal_sectors=0 dirty_blocks=5 damage=1 "
		    "sectors of the");
	buffer.bytes[HVRI_HVT_APART + 100] ^= 1;
	buffer.bytes[HVRI_HVT_COARSE_OFFSET + 100] ^= 1;
	buffer.bytes[buffer.length - 1] ^= 1;
	ck_assert_int_eq(inspect(0, &error), HVREPL_E_CORRUPT);
	assert_told("hot_regions=3 unequal_sectors=0 dirty_blocks=0 damage=0 "
		    "sectors of the coarse map and 1 blocks");
	buffer.bytes[buffer.length - 1] ^= 1;
	/* A mark whose other write was lost counts, and is shown. */
	make_sector(1, 0x91);
	ck_assert_int_eq(inspect(0, &error), HVREPL_OK);
	assert_told("hot_regions=4 unequal_sectors=1 dirty_blocks=5 ");
	buffer.length = 9000;
	ck_assert_int_eq(inspect(0, &error), HVREPL_E_TRUNCATED);
}
END_TEST

START_TEST(store_head_is_described)
{
	struct hvri_head head = { .generation = 5, .log = 2, .length = 1024,
				  .sequence = 9, .fencing_token = 3 };

	buffer.length = HVRI_HEAD_SLOT_STEP + HVRI_HEAD_SIZE;
	buffer.bytes = realloc(buffer.bytes, buffer.length);
	buffer.capacity = buffer.length;
	memset(buffer.bytes, 0, buffer.length);
	ck_assert_int_eq(hvri_head_encode(&head, NULL, buffer.bytes), HVREPL_OK);
	head.generation = 6;
	ck_assert_int_eq(hvri_head_encode(&head, NULL, buffer.bytes +
							 HVRI_HEAD_SLOT_STEP),
			 HVREPL_OK);
	ck_assert_int_eq(inspect(0, NULL), HVREPL_OK);
	assert_told("kind=store-head ");
	assert_told("slot=1 slot_torn=0 vm=16:00 generation=6 "
		    "fencing_token=3 log=2 committed=1024 sequence=9 ");
	buffer.bytes[buffer.length - 1] ^= 1;
	ck_assert_int_eq(inspect(0, NULL), HVREPL_OK);
	assert_told("slot=0 slot_torn=1 ");
	buffer.length = HVRI_HEAD_SIZE;
	ck_assert_int_eq(inspect(0, NULL), HVREPL_OK);
	assert_told("slot=0 slot_torn=1 ");
	buffer.bytes[30] ^= 1;
	ck_assert_int_eq(inspect(0, NULL), HVREPL_E_CORRUPT);
}
END_TEST

/* Append a record to `buffer`, chained to the one before it. */
static void append_record(uint16_t type, const uint8_t *body, uint32_t length)
{
	static struct hvri_record_header last;
	struct hvri_record_header header = { .type = type,
					     .length = length,
					     .log = 4 };
	uint64_t span = hvri_record_span(length);

	if (type != HVRI_RECORD_CHECKPOINT) {
		header.sequence = last.sequence + 1;
		memcpy(header.previous, last.digest, 32);
	}
	buffer.bytes = realloc(buffer.bytes, buffer.length + span);
	memset(buffer.bytes + buffer.length, 0, span);
	ck_assert_int_eq(hvri_record_seal(&header, body, NULL,
					  buffer.bytes + buffer.length),
			 HVREPL_OK);
	memcpy(buffer.bytes + buffer.length + HVRI_RECORD_HEADER, body,
	       length);
	buffer.length += span;
	last = header;
}

static void make_store_log(void)
{
	static struct hvri_manifest manifest;
	struct hvri_manifest_record record = { .type = HVRI_RECORD_POINT };
	uint8_t body[4096];
	uint32_t length;

	manifest.phase = HVRI_MANIFEST_REPLICA;
	manifest.disk_count = 1;
	manifest.disks[0].size = 1u << 30;
	manifest.base = 1;
	manifest.point_count = 1;
	manifest.points[0].key = 1;
	manifest.points[0].number = 70;
	buffer.length = 0;
	ck_assert_int_eq(hvri_manifest_encode(&manifest, body, sizeof(body),
					      &length),
			 HVREPL_OK);
	append_record(HVRI_RECORD_CHECKPOINT, body, length);
	record.point.key = 2;
	record.point.number = 71;
	ck_assert_int_eq(hvri_manifest_record_encode(&record, body,
						     sizeof(body), &length),
			 HVREPL_OK);
	append_record(HVRI_RECORD_POINT, body, length);
	record.type = HVRI_RECORD_DROP;
	record.key = 1;
	ck_assert_int_eq(hvri_manifest_record_encode(&record, body,
						     sizeof(body), &length),
			 HVREPL_OK);
	append_record(HVRI_RECORD_DROP, body, length);
	buffer.capacity = buffer.length;
}

/* As a record of version 1 lies there: without the changed bytes and stamps. */
static void make_older(uint32_t body_length)
{
	struct hvri_sha256 sha;

	buffer.bytes[4] = 1;
	buffer.bytes[8] = (uint8_t)body_length;
	buffer.bytes[9] = (uint8_t)(body_length >> 8);
	ck_assert_int_eq(hvri_sha256_begin(&sha), HVREPL_OK);
	ck_assert_int_eq(hvri_sha256_add(&sha, buffer.bytes, 64), HVREPL_OK);
	ck_assert_int_eq(hvri_sha256_add(&sha,
					 buffer.bytes + HVRI_RECORD_HEADER,
					 body_length),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_sha256_end(&sha, buffer.bytes + 64), HVREPL_OK);
	hvri_sha256_free(&sha);
	buffer.length = hvri_record_span(body_length);
	buffer.capacity = buffer.length;
}

START_TEST(a_store_log_of_version_1_is_read)
{
	uint32_t length;

	make_store_log();
	memcpy(&length, buffer.bytes + 8, sizeof(length));
	buffer.length = hvri_record_span(length);
	ck_assert_int_eq(inspect(HVREPL_INSPECT_DETAILS, NULL), HVREPL_OK);
	assert_told("config_version=0 changed_bytes=0 pins=0 ");
	make_older(length - 8 - 24);
	ck_assert_int_eq(inspect(HVREPL_INSPECT_DETAILS, NULL), HVREPL_OK);
	assert_told("points[ -{ key=1 number=70 ");
	assert_told("config_version=0 pins=0 "); /* Not known. */
}
END_TEST

START_TEST(store_log_is_described)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	size_t whole;

	make_store_log();
	whole = buffer.length;
	ck_assert_int_eq(inspect(HVREPL_INSPECT_DETAILS, NULL), HVREPL_OK);
	assert_told("kind=store-log ");
	assert_told("phase=replica disks[ -{ disk=16:00 size=1073741824 ");
	assert_told("points[ -{ key=1 number=70 ");
	assert_told("type=point point{ key=2 number=71 ");
	assert_told("type=drop key=1 } } log=4 record_count=3 "
		    "last_sequence=2 good_bytes=1536 valid=1 ");
	ck_assert_int_eq(told.depth, 0);
	/* A torn end is no damage... */
	buffer.length = whole - 500;
	ck_assert_int_eq(inspect(0, NULL), HVREPL_OK);
	assert_told("record_count=2 last_sequence=1 good_bytes=1024 valid=1 ");
	/* ...but what good records follow is. */
	buffer.length = whole;
	buffer.bytes[600] ^= 1;
	ck_assert_int_eq(inspect(HVREPL_INSPECT_DETAILS, &error),
			 HVREPL_E_CORRUPT);
	assert_told("record_count=1 last_sequence=0 good_bytes=512 "
		    "damage=the record at byte 512 is damaged");
	ck_assert_int_eq(told.depth, 0);
	buffer.bytes[200] ^= 1;
	ck_assert_int_eq(inspect(0, &error), HVREPL_E_CORRUPT);
	ck_assert_ptr_null(strstr(told.text, "record_count"));
}
END_TEST

/* A visitor may end the walk at any call; so may memory. */
START_TEST(failing_visitor_ends_the_walk)
{
	unsigned calls;

	ck_assert_int_eq(inspect(HVREPL_INSPECT_DETAILS, NULL), HVREPL_OK);
	calls = told.calls;
	ck_assert_uint_gt(calls, 30);
	for (told.fail_at = 0; told.fail_at < calls; told.fail_at++) {
		ck_assert_int_eq(inspect(HVREPL_INSPECT_DETAILS, NULL),
				 HVREPL_E_CANCELLED);
		ck_assert_uint_eq(told.calls, told.fail_at + 1);
	}
	told.fail_at = UINT32_MAX;
	for (long n = 0;; n++) {
		int32_t rc;

		test.alloc_fail_at = n;
		rc = inspect(0, NULL);
		if (test.alloc_fail_at >= 0)
			break;
		ck_assert_int_eq(rc, HVREPL_E_NOMEM);
		ck_assert_int_eq(test.alloc_live, 0);
	}
	test.alloc_fail_at = -1;
}
END_TEST

START_TEST(bad_arguments_are_refused)
{
	struct hvrepl_log_source source = logbuf_source(&buffer);
	struct hvrepl_visitor visitor = HVREPL_VISITOR_INIT;

	ck_assert_int_eq(hvrepl_inspect(&test.env, &source, 0, &visitor, NULL),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_inspect(&test.env, &source, 0, NULL, NULL),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_inspect(NULL, &source, 0, &visitor, NULL),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(inspect(2, NULL), HVREPL_E_TOO_NEW);
	ck_assert_uint_eq(buffer.released, 4);
	ck_assert_int_eq(hvrepl_inspect(&test.env, NULL, 0, &visitor, NULL),
			 HVREPL_E_INVALID);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("inspect");
	TCase *tcase = tcase_create("inspect");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, segment_is_described);
	tcase_add_test(tcase, damaged_segment_is_described_as_far_as_it_goes);
	tcase_add_test(tcase, foreign_file_is_no_file_of_ours);
	tcase_add_test(tcase, apply_record_is_described);
	tcase_add_test(tcase, tracker_file_is_described);
	tcase_add_test(tcase, store_head_is_described);
	tcase_add_test(tcase, store_log_is_described);
	tcase_add_test(tcase, a_store_log_of_version_1_is_read);
	tcase_add_test(tcase, failing_visitor_ends_the_walk);
	tcase_add_test(tcase, bad_arguments_are_refused);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
