/* SPDX-License-Identifier: Apache-2.0 */
/* Values at the edge of what the codecs give and take, each in a good encoding whose
 * digest is right again. */
#include "base/cursor.h"
#include "format/hvt.h"
#include "format/manifest.h"
#include "format/message.h"
#include "format/record.h"
#include "format/wire.h"
#include "replication/names.h"
#include "testing.h"

#include <string.h>

static uint8_t bytes[2 * HVRI_MESSAGE_ENCODED_MAX];

START_TEST(nothing_is_padded_with_nothing)
{
	struct hvri_writer writer = hvri_writer_over(bytes, 1);

	bytes[0] = 7;
	hvri_write_pad(&writer, 0);
	hvri_write_bytes(&writer, NULL, 0);
	ck_assert(!writer.bad);
	ck_assert_uint_eq(writer.written, 0);
	ck_assert_uint_eq(bytes[0], 7);
}
END_TEST

START_TEST(a_tracker_file_has_sizes_within_its_limits)
{
	static const struct {
		uint32_t block, region;
		uint64_t size;
		int32_t expected;
	} cases[] = {
		{ 4096, 1u << 20, 1u << 30, HVREPL_OK },
		{ 512, 1u << 16, 1u << 30, HVREPL_OK },
		{ 512, 1u << 15, 1u << 30, HVREPL_E_INVALID },
		{ 1u << 17, 1u << 24, 1u << 30, HVREPL_E_INVALID },
		{ 4096, 3u << 20, 1u << 30, HVREPL_E_INVALID },
		{ 3072, 1u << 20, 1u << 30, HVREPL_E_INVALID },
		{ 0, 1u << 20, 1u << 30, HVREPL_E_INVALID },
		{ 512, 1u << 16, UINT64_C(1) << 60, HVREPL_E_INVALID },
	};

	for (size_t i = 0; i < HVRI_ARRAY_LEN(cases); i++) {
		struct hvri_hvt_header header = {
			.block_size = cases[i].block,
			.region_size = cases[i].region,
			.disk_size = cases[i].size,
		};

		ck_assert_int_eq(hvri_hvt_plan(&header), cases[i].expected);
	}
}
END_TEST

static struct hvri_hvt_header tracker(void)
{
	struct hvri_hvt_header header = { .block_size = 4096,
					  .region_size = 1u << 20,
					  .disk_size = UINT64_C(1) << 40 };

	ck_assert_int_eq(hvri_hvt_plan(&header), HVREPL_OK);
	return header;
}

START_TEST(a_tracker_file_of_a_newer_program_is_left_alone_in_either_slot)
{
	struct hvri_hvt_header header = tracker(), found;
	uint8_t slot[2][HVRI_HVT_HEADER_SIZE];
	struct hvri_part body = { slot[0], HVRI_HVT_HEADER_SIZE - 16 };
	bool damaged;

	hvri_hvt_header_encode(&header, slot[0]);
	hvri_hvt_header_encode(&header, slot[1]);
	slot[0][8] = 3;
	hvri_xxh3(&body, 1, slot[0] + HVRI_HVT_HEADER_SIZE - 16);
	ck_assert_int_eq(hvri_hvt_newest(slot[0], slot[1], NULL, &found,
					 &damaged),
			 HVREPL_E_FORMAT_TOO_NEW);
	ck_assert_int_eq(hvri_hvt_newest(slot[1], slot[0], NULL, &found,
					 &damaged),
			 HVREPL_E_FORMAT_TOO_NEW);
}
END_TEST

/* Eight do not fit: the last is cut short, and the digest is right. */
START_TEST(entries_that_end_behind_their_block_are_damage)
{
	static struct hvri_hvt_fine fine;
	struct hvri_hvt_header header = tracker();
	uint64_t words[HVRI_HVT_FINE_BITS / 64] = { 1 }, index;

	hvri_hvt_fine_begin(&fine, &header);
	for (uint64_t i = 0; i < 8; i++)
		hvri_hvt_fine_bits(&fine, i * HVRI_HVT_FINE_BITS, words);
	fine.entries++;
	hvri_hvt_fine_finish(&fine, bytes, &index);
	ck_assert_int_eq(hvri_hvt_fine_decode(&header, 0, bytes, NULL, NULL),
			 HVREPL_E_CORRUPT);
}
END_TEST

START_TEST(a_token_that_is_too_long_is_not_written)
{
	static struct hvri_manifest manifest;
	static struct hvri_manifest_stamp stamp = { .token_length =
							    HVREPL_TOKEN_MAX + 1 };
	struct hvri_manifest_record record = { .type = HVRI_RECORD_STAMP,
					       .stamp_count = 1,
					       .stamps = &stamp };
	uint32_t length;

	ck_assert_int_eq(hvri_manifest_record_encode(&record, bytes,
						     sizeof(bytes), &length),
			 HVREPL_E_INVALID);
	manifest.disk_count = 1;
	manifest.stamped = HVRI_STAMP_OPEN;
	manifest.stamps[0] = stamp;
	ck_assert_int_eq(hvri_manifest_encode(&manifest, bytes, sizeof(bytes),
					      &length),
			 HVREPL_E_INVALID);
}
END_TEST

START_TEST(a_manifest_record_has_a_frame_that_makes_sense)
{
	struct hvri_record_header header = { .type = HVRI_RECORD_BLOB },
				  back;
	static const struct {
		unsigned at;
		uint8_t value;
		int32_t expected;
	} cases[] = {
		{ 0, 1, HVREPL_E_CORRUPT },	    /* Magic. */
		{ 4, 0, HVREPL_E_FORMAT_TOO_NEW },  /* Version. */
		{ 4, 9, HVREPL_E_FORMAT_TOO_NEW },
		{ 6, 0, HVREPL_E_CORRUPT },	    /* Type. */
		{ 6, HVRI_RECORD_LAST + 1, HVREPL_E_FORMAT_TOO_NEW },
		{ 11, 9, HVREPL_E_CORRUPT },	    /* Length. */
		{ 12, 1, HVREPL_E_CORRUPT },	    /* Reserved. */
	};

	for (size_t i = 0; i < HVRI_ARRAY_LEN(cases); i++) {
		ck_assert_int_eq(hvri_record_seal(&header, NULL, NULL, bytes),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_record_header_decode(bytes, &back),
				 HVREPL_OK);
		bytes[cases[i].at] = cases[i].value;
		ck_assert_int_eq(hvri_record_header_decode(bytes, &back),
				 cases[i].expected);
	}
}
END_TEST

START_TEST(what_has_no_name_is_a_question_mark)
{
	ck_assert_str_eq(hvri_record_name(HVRI_RECORD_LAST + 1), "?");
	ck_assert_str_eq(hvri_record_name(HVRI_RECORD_LAST), "doubt");
	ck_assert_str_eq(hvri_message_name(0), "?");
	ck_assert_str_eq(hvri_message_name(HVRI_MESSAGE_TYPE_COUNT), "?");
	ck_assert_str_eq(hvri_mode_name(1000), "?");
}
END_TEST

START_TEST(a_message_has_a_type_and_a_length)
{
	static struct hvri_message_storage storage;
	struct hvri_message m = { .type = 0 }, back;
	size_t length;

	ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes), &length),
			 HVREPL_E_INVALID);
	m.type = HVRI_MESSAGE_REMOVED;
	ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes), &length),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_message_decode(bytes,
					     HVRI_MESSAGE_ENCODED_MAX + 1,
					     &storage, &back),
			 HVREPL_E_PROTOCOL);
	/* Left out where it is not known: said so, it is a second form. */
	m.type = HVRI_MESSAGE_STATUS;
	m.u.status.unshipped_bytes = 5;
	ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes), &length),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_message_decode(bytes, length, &storage, &back),
			 HVREPL_OK);
	memset(bytes + length - 8, 0xff, 8);
	ck_assert_int_eq(hvri_message_decode(bytes, length, &storage, &back),
			 HVREPL_E_PROTOCOL);
}
END_TEST

START_TEST(words_from_outside_are_printable_and_short)
{
	struct hvri_hello hello = { .version_min = 1, .version_max = 1 }, back;
	struct hvri_bye bye;
	uint8_t out[HVRI_HELLO_SIZE];

	memcpy(hello.site, "we\x7fst\x1b", 7);
	hvri_hello_encode(&hello, out);
	ck_assert_int_eq(hvri_hello_decode(out, sizeof(out), &back), HVREPL_OK);
	ck_assert_str_eq(back.site, "we?st?");
	memset(bytes, 'x', sizeof(bytes));
	ck_assert_int_eq(hvri_bye_decode(bytes, 4 + HVRI_BYE_SENTENCE_MAX, &bye),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_bye_decode(bytes, 5 + HVRI_BYE_SENTENCE_MAX, &bye),
			 HVREPL_E_PROTOCOL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("codec edges");
	TCase *tcase = tcase_create("codec edges");

	tcase_add_test(tcase, nothing_is_padded_with_nothing);
	tcase_add_test(tcase, a_tracker_file_has_sizes_within_its_limits);
	tcase_add_test(tcase,
		       a_tracker_file_of_a_newer_program_is_left_alone_in_either_slot);
	tcase_add_test(tcase, entries_that_end_behind_their_block_are_damage);
	tcase_add_test(tcase, a_token_that_is_too_long_is_not_written);
	tcase_add_test(tcase, a_manifest_record_has_a_frame_that_makes_sense);
	tcase_add_test(tcase, what_has_no_name_is_a_question_mark);
	tcase_add_test(tcase, a_message_has_a_type_and_a_length);
	tcase_add_test(tcase, words_from_outside_are_printable_and_short);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
