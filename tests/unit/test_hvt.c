/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of the tracker file: known vectors, round trips, every flipped bit. */
#include "testing.h"

#include "base/digest.h"
#include "format/hvt.h"

#include <string.h>

static struct hvri_hvt_header sample(void)
{
	struct hvri_hvt_header header = {
		.flags = HVRI_HVT_FINE,
		.sequence = 7,
		.disk_size = (UINT64_C(1) << 40) + 512,
		.block_size = 4096,
		.region_size = 16 << 20,
		.fine_blocks = 3,
		.incarnation = 5,
		.generation = 11,
		.ack_point = 42,
		.saved_utc_ns = 99,
		.token_length = 3,
		.token = "abc",
	};

	header.file.bytes[0] = 1;
	header.vm.bytes[1] = 2;
	header.disk.bytes[2] = 3;
	header.owner.bytes[3] = 4;
	header.epoch.bytes[4] = 5;
	header.record.bytes[5] = 6;
	header.ack_epoch.bytes[6] = 7;
	header.ack_cut.bytes[7] = 8;
	ck_assert_int_eq(hvri_hvt_plan(&header), HVREPL_OK);
	return header;
}

START_TEST(header_comes_back_as_it_went)
{
	struct hvri_hvt_header header = sample(), back = { 0 };
	uint8_t bytes[HVRI_HVT_HEADER_SIZE];

	ck_assert_uint_eq(header.blocks, (UINT64_C(1) << 28) + 1);
	ck_assert_uint_eq(header.regions, 65537);
	ck_assert_uint_eq(header.sectors, 18);
	ck_assert_uint_eq(header.second_offset, 65536);
	ck_assert_uint_eq(header.fine_offset, 77824);
	hvri_hvt_header_encode(&header, bytes);
	ck_assert_int_eq(hvri_hvt_header_decode(bytes, &back), HVREPL_OK);
	ck_assert_mem_eq(&back, &header, sizeof(back));
	for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(hvri_hvt_header_decode(bytes, &back),
				 HVREPL_E_CORRUPT);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}
END_TEST

/* docs/formats.md: the bytes at their places. */
START_TEST(header_lies_as_documented)
{
	static const uint8_t head[16] = { 'H', 'V', 'R', 'T', 'R', 'A',
					  'C', 'K', 2,	 0,   0,   0,
					  2,   0,   0,	 0 };
	struct hvri_hvt_header header = sample();
	uint8_t bytes[HVRI_HVT_HEADER_SIZE], digest[16];
	struct hvri_part body = { bytes, 496 };

	hvri_hvt_header_encode(&header, bytes);
	ck_assert_mem_eq(bytes, head, sizeof(head));
	ck_assert_uint_eq(bytes[16], 7);   /* sequence */
	ck_assert_uint_eq(bytes[24], 1);   /* file */
	ck_assert_uint_eq(bytes[41], 2);   /* vm */
	ck_assert_uint_eq(bytes[58], 3);   /* disk */
	ck_assert_uint_eq(bytes[73], 2);   /* disk size: 512 */
	ck_assert_uint_eq(bytes[77], 1);   /* ... + 2^40 */
	ck_assert_uint_eq(bytes[81], 16);  /* block size */
	ck_assert_uint_eq(bytes[87], 1);   /* region size */
	ck_assert_uint_eq(bytes[89], 32);  /* coarse offset */
	ck_assert_uint_eq(bytes[96], 18);  /* sectors */
	ck_assert_uint_eq(bytes[105], 48); /* fine offset: 0x13000 */
	ck_assert_uint_eq(bytes[106], 1);
	ck_assert_uint_eq(bytes[112], 3);  /* fine blocks */
	ck_assert_uint_eq(bytes[123], 4);  /* owner */
	ck_assert_uint_eq(bytes[136], 5);  /* incarnation */
	ck_assert_uint_eq(bytes[148], 5);  /* epoch */
	ck_assert_uint_eq(bytes[160], 11); /* generation */
	ck_assert_uint_eq(bytes[173], 6);  /* record */
	ck_assert_uint_eq(bytes[190], 7);  /* acknowledged epoch */
	ck_assert_uint_eq(bytes[200], 42); /* acknowledged point */
	ck_assert_uint_eq(bytes[215], 8);  /* acknowledged cut */
	ck_assert_uint_eq(bytes[224], 99); /* saved at */
	ck_assert_uint_eq(bytes[232], 3);  /* token length */
	ck_assert_uint_eq(bytes[240], 'a');
	ck_assert_uint_eq(bytes[306], 1); /* second copy */
	hvri_xxh3(&body, 1, digest);
	ck_assert_mem_eq(bytes + 496, digest, 16);
}
END_TEST

START_TEST(other_versions_and_impossible_sizes_are_refused)
{
	struct hvri_hvt_header header = sample(), back;
	uint8_t bytes[HVRI_HVT_HEADER_SIZE];
	struct hvri_part body = { bytes, 496 };

	hvri_hvt_header_encode(&header, bytes);
	bytes[8] = 3;
	hvri_xxh3(&body, 1, bytes + 496);
	ck_assert_int_eq(hvri_hvt_header_decode(bytes, &back),
			 HVREPL_E_FORMAT_TOO_NEW);
	bytes[8] = 1; /* Never released. */
	hvri_xxh3(&body, 1, bytes + 496);
	ck_assert_int_eq(hvri_hvt_header_decode(bytes, &back),
			 HVREPL_E_CORRUPT);
	hvri_hvt_header_encode(&header, bytes);
	bytes[306] = 2; /* The second copy elsewhere. */
	hvri_xxh3(&body, 1, bytes + 496);
	ck_assert_int_eq(hvri_hvt_header_decode(bytes, &back),
			 HVREPL_E_CORRUPT);
	hvri_hvt_header_encode(&header, bytes);
	bytes[96] = 17; /* A sector too few. */
	hvri_xxh3(&body, 1, bytes + 496);
	ck_assert_int_eq(hvri_hvt_header_decode(bytes, &back),
			 HVREPL_E_CORRUPT);
	header.block_size = 256;
	ck_assert_int_eq(hvri_hvt_plan(&header), HVREPL_E_INVALID);
	header.block_size = 65536;
	header.region_size = 1 << 20;
	ck_assert_int_eq(hvri_hvt_plan(&header), HVREPL_E_INVALID);
	header.region_size = 16 << 20;
	header.disk_size = 0;
	ck_assert_int_eq(hvri_hvt_plan(&header), HVREPL_E_INVALID);
	header.disk_size = UINT64_MAX;
	ck_assert_int_eq(hvri_hvt_plan(&header), HVREPL_E_INVALID);
}
END_TEST

START_TEST(the_newer_valid_slot_counts)
{
	struct hvri_hvt_header old = sample(), new = sample(), found;
	uint8_t slot[2][HVRI_HVT_HEADER_SIZE], none[HVRI_HVT_HEADER_SIZE] = { 0 };
	bool damaged;

	new.sequence = 8;
	hvri_hvt_header_encode(&new, slot[0]);
	hvri_hvt_header_encode(&old, slot[1]);
	ck_assert_int_eq(hvri_hvt_newest(slot[0], slot[1], NULL, &found,
					 &damaged),
			 HVREPL_OK);
	ck_assert_uint_eq(found.sequence, 8);
	ck_assert_uint_eq(found.flags, new.flags);
	ck_assert_uint_eq(found.fine_blocks, new.fine_blocks);
	ck_assert(!damaged);
	slot[0][300] ^= 1;
	ck_assert_int_eq(hvri_hvt_newest(slot[0], slot[1], NULL, &found,
					 &damaged),
			 HVREPL_OK);
	ck_assert_uint_eq(found.sequence, 7);
	ck_assert(damaged);
	/* T8: the damaged one may have said so. */
	ck_assert_uint_eq(found.flags, HVRI_HVT_OPEN);
	ck_assert_uint_eq(found.fine_blocks, 0);
	/* One is of another file, whichever. */
	new.file.bytes[0] ^= 1;
	hvri_hvt_header_encode(&new, slot[0]);
	ck_assert_int_eq(hvri_hvt_newest(slot[0], slot[1], NULL, &found,
					 &damaged),
			 HVREPL_OK);
	ck_assert(damaged);
	ck_assert_uint_eq(found.flags, HVRI_HVT_OPEN);
	slot[0][300] ^= 1;
	slot[1][3] ^= 1;
	ck_assert_int_eq(hvri_hvt_newest(slot[0], slot[1], NULL, &found,
					 &damaged),
			 HVREPL_E_CORRUPT);
	ck_assert_int_eq(hvri_hvt_newest(none, none, NULL, &found,
					 &damaged),
			 HVREPL_E_NOT_FOUND);
}
END_TEST

START_TEST(a_coarse_sector_is_its_own_file_and_place)
{
	struct hvri_hvt_header header = sample(), other = sample();
	uint8_t bits[HVRI_HVT_SECTOR_BYTES], back[HVRI_HVT_SECTOR_BYTES];
	uint8_t bytes[HVRI_HVT_SECTOR_SIZE];

	test_fill(bits, sizeof(bits), 3);
	ck_assert_uint_eq(hvri_hvt_sector_at(&header, 0, 9), 8192 + 9 * 512);
	ck_assert_uint_eq(hvri_hvt_sector_at(&header, 1, 9), 65536 + 9 * 512);
	hvri_hvt_sector_encode(&header, 1, 9, bits, bytes);
	ck_assert_uint_eq(bytes[16], 9);
	ck_assert_uint_eq(bytes[20], 1);
	ck_assert_int_eq(hvri_hvt_sector_decode(&header, 1, 9, bytes, back),
			 HVREPL_OK);
	ck_assert_mem_eq(back, bits, sizeof(bits));
	ck_assert_int_eq(hvri_hvt_sector_decode(&header, 1, 8, bytes, back),
			 HVREPL_E_CORRUPT);
	ck_assert_int_eq(hvri_hvt_sector_decode(&header, 0, 9, bytes, back),
			 HVREPL_E_CORRUPT);
	other.file.bytes[9] = 1;
	ck_assert_int_eq(hvri_hvt_sector_decode(&other, 1, 9, bytes, back),
			 HVREPL_E_CORRUPT);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] ^= 0x10;
		ck_assert_int_eq(hvri_hvt_sector_decode(&header, 1, 9, bytes,
							back),
				 HVREPL_E_CORRUPT);
		bytes[i] ^= 0x10;
	}
}
END_TEST

/* T7: cold is what two sound copies call cold. */
START_TEST(a_region_is_cold_only_if_both_copies_say_so)
{
	struct hvri_hvt_header header = sample();
	uint8_t one[HVRI_HVT_SECTOR_BYTES] = { 0x05 };
	uint8_t two[HVRI_HVT_SECTOR_BYTES] = { 0x11 };
	uint8_t found[HVRI_HVT_SECTOR_BYTES];
	uint8_t bytes[2][HVRI_HVT_SECTOR_SIZE];
	bool unequal;

	hvri_hvt_sector_encode(&header, 0, 3, one, bytes[0]);
	hvri_hvt_sector_encode(&header, 1, 3, two, bytes[1]);
	ck_assert_uint_eq(hvri_hvt_sector_join(&header, 3, bytes[0], bytes[1],
					       found, &unequal),
			  0);
	ck_assert(unequal);
	ck_assert_uint_eq(found[0], 0x15);
	ck_assert_uint_eq(found[1], 0);
	/* Where one is damaged the other may be of before: nothing is cold. */
	for (unsigned damage = 1; damage < 4; damage++) {
		for (unsigned i = 0; i < 2; i++)
			bytes[i][100] ^= (uint8_t)(damage >> i & 1);
		ck_assert_uint_eq(
			hvri_hvt_sector_join(&header, 3, bytes[0], bytes[1],
					     found, &unequal),
			damage == 3 ? 2 : 1);
		ck_assert(!unequal);
		for (size_t i = 0; i < sizeof(found); i++)
			ck_assert_uint_eq(found[i], 0xff);
		for (unsigned i = 0; i < 2; i++)
			bytes[i][100] ^= (uint8_t)(damage >> i & 1);
	}
	hvri_hvt_sector_encode(&header, 1, 3, one, bytes[1]);
	ck_assert_uint_eq(hvri_hvt_sector_join(&header, 3, bytes[0], bytes[1],
					       found, &unequal),
			  0);
	ck_assert(!unequal);
	ck_assert_mem_eq(found, one, sizeof(one));
}
END_TEST

struct runs {
	uint64_t first[8], count[8];
	unsigned seen;
};

static void found(void *argument, uint64_t first, uint64_t count)
{
	struct runs *runs = argument;

	ck_assert_uint_lt(runs->seen, 8);
	runs->first[runs->seen] = first;
	runs->count[runs->seen++] = count;
}

START_TEST(fine_blocks_give_back_runs_and_bits)
{
	static struct hvri_hvt_fine fine;
	struct hvri_hvt_header header = sample(), later = sample();
	uint64_t words[HVRI_HVT_FINE_BITS / 64] = { 0 }, index;
	uint8_t bytes[HVRI_HVT_FINE_BLOCK];
	struct runs runs = { .seen = 0 };

	words[0] = 1;
	words[1] = UINT64_MAX;
	words[2] = 3;
	words[63] = UINT64_C(1) << 63;
	hvri_hvt_fine_begin(&fine, &header);
	ck_assert(hvri_hvt_fine_room(&fine));
	hvri_hvt_fine_run(&fine, 4096, 1 << 20);
	hvri_hvt_fine_bits(&fine, UINT64_C(1) << 27, words);
	hvri_hvt_fine_finish(&fine, bytes, &index);
	ck_assert_uint_eq(index, 0);
	ck_assert_int_eq(hvri_hvt_fine_decode(&header, 0, bytes, found, &runs),
			 HVREPL_OK);
	ck_assert_uint_eq(runs.seen, 4);
	ck_assert_uint_eq(runs.first[0], 4096);
	ck_assert_uint_eq(runs.count[0], 1 << 20);
	ck_assert_uint_eq(runs.first[1], UINT64_C(1) << 27);
	ck_assert_uint_eq(runs.count[1], 1);
	ck_assert_uint_eq(runs.first[2], (UINT64_C(1) << 27) + 64);
	ck_assert_uint_eq(runs.count[2], 66);
	ck_assert_uint_eq(runs.first[3], (UINT64_C(1) << 27) + 4095);
	/* Of another place, or saved by an earlier close: not this map. */
	ck_assert_int_eq(hvri_hvt_fine_decode(&header, 1, bytes, found, &runs),
			 HVREPL_E_CORRUPT);
	later.sequence++;
	ck_assert_int_eq(hvri_hvt_fine_decode(&later, 0, bytes, found, &runs),
			 HVREPL_E_CORRUPT);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] ^= 0x80;
		ck_assert_int_eq(hvri_hvt_fine_decode(&header, 0, bytes, found,
						      &runs),
				 HVREPL_E_CORRUPT);
		bytes[i] ^= 0x80;
	}
	ck_assert_uint_eq(runs.seen, 4);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hvt");
	TCase *tcase = tcase_create("all");

	tcase_add_test(tcase, header_comes_back_as_it_went);
	tcase_add_test(tcase, header_lies_as_documented);
	tcase_add_test(tcase, other_versions_and_impossible_sizes_are_refused);
	tcase_add_test(tcase, the_newer_valid_slot_counts);
	tcase_add_test(tcase, a_coarse_sector_is_its_own_file_and_place);
	tcase_add_test(tcase, a_region_is_cold_only_if_both_copies_say_so);
	tcase_add_test(tcase, fine_blocks_give_back_runs_and_bits);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
