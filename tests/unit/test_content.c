/* SPDX-License-Identifier: Apache-2.0 */
/* The content digest and the record of an apply: golden vectors, refusals. */
#include "format/apply_record.h"
#include "format/content.h"
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1u << 20)
#define SIZE (3 * MIB + 512)

static void assert_hex(const uint8_t *bytes, size_t length, const char *hex)
{
	char text[513];

	ck_assert_uint_le(length, 256);
	for (size_t i = 0; i < length; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	ck_assert_str_eq(text, hex);
}

/* Digest of `disk`, without the pieces whose bit in `holes` is set. */
static void digest(const uint8_t *disk, unsigned holes, uint8_t out[32])
{
	struct hvri_content content;

	ck_assert_int_eq(hvri_content_begin(&content, SIZE), HVREPL_OK);
	for (uint32_t at = 0; at < SIZE; at += MIB)
		if ((holes >> (at / MIB) & 1) == 0)
			ck_assert_int_eq(
				hvri_content_add(&content, at, disk + at,
						 at + MIB > SIZE ? SIZE - at
								 : MIB),
				HVREPL_OK);
	ck_assert_int_eq(hvri_content_end(&content, out), HVREPL_OK);
	hvri_content_free(&content);
}

/* Computed by hand with another SHA-256. */
START_TEST(content_digest_has_its_golden_values)
{
	uint8_t *disk = calloc(1, SIZE), out[32];

	digest(disk, 0, out);
	assert_hex(out, 32,
		   "422f7f5177cc83c7fa483b763f60cbceb7d5839d1e46c983efd7f217fd46267b");
	digest(disk, 15, out);
	assert_hex(out, 32,
		   "422f7f5177cc83c7fa483b763f60cbceb7d5839d1e46c983efd7f217fd46267b");
	disk[5] = 1;
	disk[2 * MIB + 100] = 2;
	disk[3 * MIB + 511] = 3;
	digest(disk, 0, out);
	assert_hex(out, 32,
		   "1c6ba5a60f54ca868ae7b920bf7e653d752a6b88f77e96afd7c450fd870d969b");
	digest(disk, 2, out);
	assert_hex(out, 32,
		   "1c6ba5a60f54ca868ae7b920bf7e653d752a6b88f77e96afd7c450fd870d969b");
	free(disk);
}
END_TEST

START_TEST(pieces_out_of_order_or_out_of_place_are_refused)
{
	struct hvri_content content;
	uint8_t *bytes = calloc(1, MIB + 1);

	ck_assert_int_eq(hvri_content_begin(&content, SIZE), HVREPL_OK);
	ck_assert_int_eq(hvri_content_add(&content, MIB, bytes, MIB),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_content_add(&content, MIB, bytes, MIB),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvri_content_add(&content, 0, bytes, MIB),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvri_content_add(&content, 2 * MIB + 512, bytes, 512),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvri_content_add(&content, 2 * MIB, bytes, MIB + 1),
			 HVREPL_E_INVALID);
	hvri_content_free(&content);
	free(bytes);
}
END_TEST

START_TEST(apply_record_has_its_golden_bytes)
{
	struct hvri_apply_record record = { .disk_size = 3 * MIB,
					    .granule = 4096 },
				 decoded;
	uint8_t bytes[HVRI_APPLY_RECORD_SIZE], again[HVRI_APPLY_RECORD_SIZE];

	for (uint8_t i = 0; i < 32; i++)
		record.chain[i] = i;
	memset(record.salt, 0x55, sizeof(record.salt));
	memset(record.kept, 0x66, sizeof(record.kept));
	hvri_apply_record_encode(&record, bytes);
	assert_hex(bytes, 32, "4856524150504c59" "0100" "a000" "00000000"
			      "0000300000000000" "00100000" "00000000");
	ck_assert_mem_eq(bytes + 32, record.chain, 32);
	ck_assert_mem_eq(bytes + 64, record.salt, 16);
	ck_assert_mem_eq(bytes + 80, record.kept, 32);
	assert_hex(bytes + 144, 16, "ecdd81bdda0080558841e792f9066197");
	ck_assert_int_eq(hvri_apply_record_decode(bytes, &decoded), HVREPL_OK);
	hvri_apply_record_encode(&decoded, again);
	ck_assert_mem_eq(again, bytes, sizeof(bytes));
	bytes[8] = 2;
	ck_assert_int_eq(hvri_apply_record_decode(bytes, &decoded),
			 HVREPL_E_FORMAT_TOO_NEW);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("content");
	TCase *tcase = tcase_create("content");

	tcase_add_test(tcase, content_digest_has_its_golden_values);
	tcase_add_test(tcase,
		       pieces_out_of_order_or_out_of_place_are_refused);
	tcase_add_test(tcase, apply_record_has_its_golden_bytes);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
