/* SPDX-License-Identifier: Apache-2.0 */
/* The bounded cursor: what was written is read; out of bounds is bad for good. */
#include "testing.h"

#include "base/cursor.h"

#include <stdlib.h>
#include <string.h>

static size_t write_all(void *bytes, size_t length, bool *bad_out)
{
	static const struct hvrepl_uuid uuid = { { 1, 2, 3, [15] = 16 } };
	struct hvri_writer writer = hvri_writer_over(bytes, length);

	hvri_write_u8(&writer, 0x12);
	hvri_write_u16(&writer, 0x3456);
	hvri_write_u32(&writer, 0x789abcde);
	hvri_write_u64(&writer, 0x0123456789abcdefull);
	hvri_write_uuid(&writer, &uuid);
	hvri_write_pad(&writer, 3);
	hvri_write_bytes(&writer, "end", 3);
	*bad_out = writer.bad;
	return writer.written;
}

static int32_t read_all(const void *bytes, size_t length)
{
	struct hvri_reader reader = hvri_reader_over(bytes, length);
	struct hvrepl_uuid uuid;
	char text[3];

	if (hvri_read_u8(&reader) != 0x12 ||
	    hvri_read_u16(&reader) != 0x3456 ||
	    hvri_read_u32(&reader) != 0x789abcde ||
	    hvri_read_u64(&reader) != 0x0123456789abcdefull)
		return HVREPL_E_TRUNCATED;
	hvri_read_uuid(&reader, &uuid);
	hvri_read_pad(&reader, 3, true);
	hvri_read_bytes(&reader, text, sizeof(text));
	if (hvri_reader_end(&reader, HVREPL_E_CORRUPT) < 0)
		return HVREPL_E_CORRUPT;
	return uuid.bytes[15] == 16 && memcmp(text, "end", 3) == 0 ?
		       HVREPL_OK :
		       HVREPL_E_CORRUPT;
}

START_TEST(what_was_written_is_read_little_endian)
{
	uint8_t bytes[64];
	bool bad;
	size_t length = write_all(bytes, sizeof(bytes), &bad);

	ck_assert(!bad);
	ck_assert_uint_eq(length, 1 + 2 + 4 + 8 + 16 + 3 + 3);
	ck_assert_uint_eq(bytes[1], 0x56);
	ck_assert_uint_eq(bytes[3], 0xde);
	ck_assert_int_eq(read_all(bytes, length), HVREPL_OK);
}
END_TEST

START_TEST(every_truncation_is_noticed_and_nothing_beyond_is_touched)
{
	uint8_t bytes[64];
	bool bad;
	size_t length = write_all(bytes, sizeof(bytes), &bad);

	for (size_t cut = 0; cut < length; cut++) {
		/* Exact allocations, so that a sanitizer sees one byte more. */
		uint8_t *exact = malloc(cut + 1);

		memcpy(exact, bytes, cut);
		exact[cut] = 0xee;
		ck_assert_int_lt(read_all(exact, cut), 0);
		(void)write_all(exact, cut, &bad);
		ck_assert(bad);
		ck_assert_uint_eq(exact[cut], 0xee);
		free(exact);
	}
}
END_TEST

START_TEST(bytes_left_over_and_dirty_padding_are_refused)
{
	uint8_t bytes[64] = { 0 };
	bool bad;
	size_t length = write_all(bytes, sizeof(bytes), &bad);

	ck_assert_int_eq(read_all(bytes, length + 1), HVREPL_E_CORRUPT);
	bytes[length - 4] = 1;
	ck_assert_int_eq(read_all(bytes, length), HVREPL_E_CORRUPT);
}
END_TEST

START_TEST(a_huge_length_from_outside_is_out_of_bounds_not_an_overflow)
{
	uint8_t bytes[8] = { 0 };
	struct hvri_reader reader = hvri_reader_over(bytes, sizeof(bytes));

	ck_assert_ptr_null(hvri_read_span(&reader, SIZE_MAX));
	ck_assert(reader.bad);
	ck_assert_uint_eq(hvri_read_u32(&reader), 0);
	ck_assert_int_eq(hvri_reader_end(&reader, HVREPL_E_TRUNCATED),
			 HVREPL_E_TRUNCATED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cursor");
	TCase *tcase = tcase_create("cursor");

	tcase_add_test(tcase, what_was_written_is_read_little_endian);
	tcase_add_test(tcase,
		       every_truncation_is_noticed_and_nothing_beyond_is_touched);
	tcase_add_test(tcase, bytes_left_over_and_dirty_padding_are_refused);
	tcase_add_test(tcase,
		       a_huge_length_from_outside_is_out_of_bounds_not_an_overflow);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
