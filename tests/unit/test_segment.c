/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a segment: golden vectors, limits, and damage that is found. */
#include "format/segment.h"
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define MIB (1u << 20)

static struct test_env test;
static struct hvri_env env;
static struct hvri_packer *packer, *storer;
static uint8_t *raw, *out, *back;

static void setup(void)
{
	test_env_init(&test, 1);
	ck_assert_int_eq(hvri_env_copy(&env, &test.env, NULL), HVREPL_OK);
	ck_assert_int_eq(hvri_packer_create(&env, 1, &packer), HVREPL_OK);
	ck_assert_int_eq(hvri_packer_create(&env, 0, &storer), HVREPL_OK);
	raw = calloc(1, HVRI_CHUNK_RAW_MAX + 4096);
	back = calloc(1, HVRI_CHUNK_RAW_MAX);
	out = calloc(1, HVRI_CHUNK_ENCODED_MAX + 4096);
}

static void teardown(void)
{
	hvri_packer_destroy(packer);
	hvri_packer_destroy(storer);
	hvri_packer_destroy(NULL);
	free(raw);
	free(back);
	free(out);
	ck_assert_int_eq(test.alloc_live, 0);
}

static struct hvri_segment_header sample(void)
{
	struct hvri_segment_header header;

	memset(&header, 0, sizeof(header));
	for (uint8_t i = 0; i < 16; i++) {
		header.identity.vm.bytes[i] = i;
		header.identity.disk.bytes[i] = (uint8_t)(16 + i);
		header.identity.epoch.bytes[i] = (uint8_t)(32 + i);
		header.identity.cut.bytes[i] = (uint8_t)(48 + i);
	}
	header.identity.from_point = 7;
	header.identity.to_point = 8;
	header.disk_size = 16 * MIB + 512;
	header.block_size = 4096;
	header.utc_ns = 1700000000000000000u;
	header.base_digest_kind = HVRI_DIGEST_SHA256;
	memset(header.base_digest, 0xab, 32);
	return header;
}

static void assert_hex(const uint8_t *bytes, size_t length, const char *hex)
{
	char *text = calloc(1, 2 * length + 1);

	for (size_t i = 0; i < length; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	ck_assert_str_eq(text, hex);
	free(text);
}

static void flip(uint8_t *bytes, size_t bit)
{
	bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
}

/* The digests in these vectors were not computed by this library: the bytes
 * were laid out by hand and hashed by one-shot XXH3 and SHA-256 programs. */
START_TEST(header_has_its_golden_bytes)
{
	struct hvri_segment_header header = sample(), decoded;
	uint8_t bytes[HVRI_SEGMENT_HEADER_SIZE];

	hvri_segment_header_encode(&header, bytes);
	assert_hex(bytes, 152,
		   "894856525345470a" "0100" "0001" "00000000"
		   "000102030405060708090a0b0c0d0e0f"
		   "101112131415161718191a1b1c1d1e1f"
		   "202122232425262728292a2b2c2d2e2f"
		   "303132333435363738393a3b3c3d3e3f"
		   "0700000000000000" "0800000000000000"
		   "0002000100000000" "00100000" "02" "000000"
		   "00002a36fe9c9717"
		   "abababababababababababababababab"
		   "abababababababababababababababab");
	ck_assert(hvri_is_zero(bytes + 152, 88));
	assert_hex(bytes + 240, 16, "a3565d7e37e941df750a0b0310f0d481");
	ck_assert_int_eq(hvri_segment_header_decode(bytes, &decoded),
			 HVREPL_OK);
	ck_assert_mem_eq(&decoded.identity, &header.identity,
			 sizeof(header.identity));
	ck_assert_uint_eq(decoded.disk_size, header.disk_size);
	ck_assert_uint_eq(decoded.block_size, 4096);
	ck_assert_uint_eq(decoded.utc_ns, header.utc_ns);
	ck_assert_uint_eq(decoded.base_digest_kind, HVRI_DIGEST_SHA256);
	ck_assert_mem_eq(decoded.base_digest, header.base_digest, 32);
}
END_TEST

START_TEST(header_beyond_a_limit_is_refused)
{
	static const struct {
		uint64_t disk_size;
		uint32_t block_size;
		uint32_t flags;
		uint8_t digest_kind;
		uint8_t digest_byte;
		int32_t expected;
	} cases[] = {
		{ 512, 512, 0, 0, 0, HVREPL_OK },
		{ INT64_MAX, 65536, 0, 0, 0, HVREPL_OK },
		{ 0, 4096, 0, 0, 0, HVREPL_E_CORRUPT },
		{ (uint64_t)INT64_MAX + 1, 4096, 0, 0, 0, HVREPL_E_CORRUPT },
		{ 4096, 256, 0, 0, 0, HVREPL_E_CORRUPT },
		{ 4096, 131072, 0, 0, 0, HVREPL_E_CORRUPT },
		{ 4096, 0, 0, 0, 0, HVREPL_E_CORRUPT },
		{ 4096, 4097, 0, 0, 0, HVREPL_E_CORRUPT },
		{ 4096, 4096, 1, 0, 0, HVREPL_E_FORMAT_TOO_NEW },
		{ 4096, 4096, 0, HVRI_DIGEST_XXH3_128, 1, HVREPL_E_CORRUPT },
		{ 4096, 4096, 0, HVRI_DIGEST_NONE, 1, HVREPL_E_CORRUPT },
	};
	struct hvri_segment_header header, decoded;
	uint8_t bytes[HVRI_SEGMENT_HEADER_SIZE];

	for (size_t i = 0; i < HVRI_ARRAY_LEN(cases); i++) {
		header = sample();
		header.disk_size = cases[i].disk_size;
		header.block_size = cases[i].block_size;
		header.flags = cases[i].flags;
		header.base_digest_kind = cases[i].digest_kind;
		memset(header.base_digest, cases[i].digest_byte, 32);
		hvri_segment_header_encode(&header, bytes);
		ck_assert_int_eq(hvri_segment_header_decode(bytes, &decoded),
				 cases[i].expected);
	}
	header = sample();
	hvri_segment_header_encode(&header, bytes);
	bytes[8] = 2;
	ck_assert_int_eq(hvri_segment_header_decode(bytes, &decoded),
			 HVREPL_E_FORMAT_TOO_NEW);
}
END_TEST

START_TEST(header_with_any_bit_flipped_is_refused)
{
	struct hvri_segment_header header = sample(), decoded;
	uint8_t bytes[HVRI_SEGMENT_HEADER_SIZE];

	hvri_segment_header_encode(&header, bytes);
	for (size_t i = 0; i < 8 * sizeof(bytes); i++) {
		flip(bytes, i);
		ck_assert_int_lt(hvri_segment_header_decode(bytes, &decoded),
				 0);
		flip(bytes, i);
	}
	ck_assert_int_eq(hvri_segment_header_decode(bytes, &decoded),
			 HVREPL_OK);
}
END_TEST

START_TEST(chunk_has_its_golden_bytes)
{
	struct hvri_segment_header header = sample();
	struct hvrepl_extent extents[2] = { { 4096, 8192 },
					    { 16 * MIB, 512 } };
	struct hvri_chunk chunk;
	uint32_t length = 0;

	ck_assert_int_eq(hvri_chunk_pack(packer, &header, 3, HVRI_CHUNK_ZERO,
					 extents, 2, NULL, out, &length),
			 HVREPL_OK);
	ck_assert_uint_eq(length, 88);
	assert_hex(out, 24, "48565243" "02" "00" "0200" "03000000" "00000000"
			    "00000000" "00000000");
	assert_hex(out + 24, 32,
		   "dcb4bf503ca4d21158f96b6306e66895"
		   "e4d77310a8665e35e2eb87cbaf61249f");
	assert_hex(out + 56, 32, "0010000000000000" "0020000000000000"
				 "0000000100000000" "0002000000000000");
	ck_assert_int_eq(hvri_chunk_decode(&header, out, length, &chunk),
			 HVREPL_OK);
	ck_assert_uint_eq(chunk.sequence, 3);
	ck_assert_uint_eq(hvri_chunk_covered(&chunk), 8704);
	ck_assert_uint_eq(hvri_chunk_extent(&chunk, 1).offset, 16 * MIB);
	ck_assert_int_eq(hvri_chunk_unpack(&header, &chunk, back),
			 HVREPL_E_INVALID);

	/* Stored data: bytes 0, 1, 2... of 4 KiB. */
	extents[0].length = 4096;
	for (size_t i = 0; i < 4096; i++)
		raw[i] = (uint8_t)i;
	ck_assert_int_eq(hvri_chunk_pack(storer, &header, 0, HVRI_CHUNK_DATA,
					 extents, 1, raw, out, &length),
			 HVREPL_OK);
	ck_assert_uint_eq(length, 56 + 16 + 4096);
	assert_hex(out, 24, "48565243" "01" "00" "0100" "00000000" "00100000"
			    "00100000" "00000000");
	assert_hex(out + 24, 32,
		   "de03940a046d657ecc408799e5158f58"
		   "fdd9173c56dad44361a6f533537b1372");
	ck_assert_mem_eq(out + 72, raw, 4096);
}
END_TEST

START_TEST(trailer_and_page_have_their_golden_bytes)
{
	struct hvri_segment_header header = sample();
	struct hvri_segment_trailer trailer = { .chunk_count = 1,
						.raw_bytes = 4096,
						.index_position = 344,
						.index_length = 76 },
				    got;
	struct hvri_segment_entry entry = { .position = 256, .length = 88 };
	struct hvri_segment_page page = { .first_sequence = 5,
					  .count = 1,
					  .previous = 9 };
	struct hvri_segment_root root;
	uint8_t bytes[HVRI_SEGMENT_TRAILER_SIZE];
	uint32_t length = 0;

	memset(entry.stored_digest, 0xcd, 16);
	hvri_segment_page_encode(&header, &page, &entry, out);
	assert_hex(out, 32, "48565258" "01000000" "05000000" "00000000"
			    "0900000000000000" "0000000000000000");
	assert_hex(out + 32, 28, "0001000000000000" "58000000"
				 "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd");
	assert_hex(out + 60, 16, "2297f8398a0e4c15f7e4ee16bee44e51");
	ck_assert_int_eq(hvri_segment_page_measure(out, &length), HVREPL_OK);
	ck_assert_uint_eq(length, 76);
	ck_assert_int_eq(hvri_segment_page_decode(&header, out, 76, &page),
			 HVREPL_OK);
	ck_assert_uint_eq(page.first_sequence, 5);
	ck_assert_uint_eq(page.previous, 9);
	ck_assert_uint_eq(hvri_segment_page_entry(&page, 0).length, 88);

	ck_assert_int_eq(hvri_segment_root_begin(&root, &header), HVREPL_OK);
	ck_assert_int_eq(hvri_segment_root_add(&root, entry.stored_digest),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_segment_root_end(&root, trailer.root),
			 HVREPL_OK);
	hvri_segment_root_free(&root);
	trailer.result_digest_kind = HVRI_DIGEST_SHA256;
	memset(trailer.result_digest, 0xef, 32);
	hvri_segment_trailer_encode(&trailer, bytes);
	assert_hex(bytes, 40, "485652545241494c" "01000000" "02" "000000"
			      "0010000000000000" "5801000000000000"
			      "4c00000000000000");
	assert_hex(bytes + 40, 32,
		   "0c3f082edad74cc3223ef627998902d2"
		   "7eee513a33c00db5dd56257725c700a9");
	assert_hex(bytes + 112, 16, "a1b64dd8992f0a599fe2f8ad4a0bc025");
	ck_assert_int_eq(hvri_segment_trailer_decode(bytes, &got), HVREPL_OK);
	ck_assert_uint_eq(got.index_position, 344);
	ck_assert_mem_eq(got.root, trailer.root, 32);
	ck_assert_mem_eq(got.result_digest, trailer.result_digest, 32);

	for (size_t i = 0; i < 8 * sizeof(bytes); i++) {
		flip(bytes, i);
		ck_assert_int_eq(hvri_segment_trailer_decode(bytes, &got),
				 HVREPL_E_CORRUPT);
		flip(bytes, i);
	}
	for (size_t i = 0; i < 8u * 76; i++) {
		flip(out, i);
		ck_assert_int_lt(hvri_segment_page_decode(&header, out, 76,
							  &page),
				 0);
		flip(out, i);
	}
}
END_TEST

START_TEST(data_of_every_kind_comes_back)
{
	struct hvri_segment_header header = sample();

	/* What the data is like: text, noise, and a mix of both. */
	for (unsigned kind = 0; kind < 3; kind++) {
		for (uint32_t length = 4096; length <= HVRI_CHUNK_RAW_WRITTEN;
		     length += 4096) {
			/* Every second block, so that extents stay apart. */
			struct hvrepl_extent extents[16];
			uint32_t count = length / 4096, encoded = 0;
			struct hvri_chunk chunk;

			for (uint32_t i = 0; i < count; i++)
				extents[i] = (struct hvrepl_extent){
					i * 8192u, 4096
				};
			test_fill(raw, length, length);
			for (size_t i = 0; i < length; i++)
				if (kind == 0 || (kind == 2 && i % 1000 > 500))
					raw[i] = (uint8_t)(i / 100);
			ck_assert_int_eq(
				hvri_chunk_pack(packer, &header, 0,
						HVRI_CHUNK_DATA, extents,
						count, raw, out, &encoded),
				HVREPL_OK);
			ck_assert_int_eq(hvri_chunk_decode(&header, out,
							   encoded, &chunk),
					 HVREPL_OK);
			ck_assert_uint_eq(chunk.codec,
					  kind == 1 ? HVRI_CODEC_STORED
						    : HVRI_CODEC_ZSTD);
			ck_assert_uint_eq(chunk.raw_length, length);
			ck_assert_int_eq(hvri_chunk_unpack(&header, &chunk,
							   back),
					 HVREPL_OK);
			ck_assert_mem_eq(back, raw, length);
		}
	}
}
END_TEST

START_TEST(packer_refuses_what_the_format_does_not_allow)
{
	struct hvri_segment_header header = sample();
	struct hvri_packer *none = NULL;
	struct hvrepl_extent many[HVRI_CHUNK_EXTENTS_MAX + 1];
	uint32_t length = 0;
	static const struct {
		struct hvrepl_extent extents[2];
		uint32_t count;
		uint8_t kind;
		bool with_raw;
		int32_t expected;
	} cases[] = {
		{ { { 0, 65536 } }, 1, HVRI_CHUNK_DATA, true, HVREPL_OK },
		{ { { 0, 69632 } }, 1, HVRI_CHUNK_DATA, true,
		  HVREPL_E_LIMIT },
		{ { { 0, 4096 } }, 0, HVRI_CHUNK_DATA, true,
		  HVREPL_E_INVALID },
		{ { { 0, 4096 } }, 1, HVRI_CHUNK_DATA, false,
		  HVREPL_E_INVALID },
		{ { { 0, 4096 } }, 1, HVRI_CHUNK_ZERO, true,
		  HVREPL_E_INVALID },
		{ { { 0, 4096 } }, 1, 4, false, HVREPL_E_INVALID },
		{ { { 0, 0 } }, 1, HVRI_CHUNK_ZERO, false, HVREPL_E_RANGE },
		{ { { 0, 512 } }, 1, HVRI_CHUNK_ZERO, false, HVREPL_E_RANGE },
		{ { { 512, 4096 } }, 1, HVRI_CHUNK_ZERO, false,
		  HVREPL_E_RANGE },
		{ { { 16 * MIB, 512 } }, 1, HVRI_CHUNK_ZERO, false,
		  HVREPL_OK },
		{ { { 16 * MIB, 4096 } }, 1, HVRI_CHUNK_ZERO, false,
		  HVREPL_E_RANGE },
		{ { { 32 * MIB, 4096 } }, 1, HVRI_CHUNK_ZERO, false,
		  HVREPL_E_RANGE },
		{ { { 4096, UINT64_MAX - 4095 } }, 1, HVRI_CHUNK_ZERO, false,
		  HVREPL_E_RANGE },
		{ { { 8192, 4096 }, { 4096, 4096 } }, 2, HVRI_CHUNK_ZERO,
		  false, HVREPL_E_RANGE },
		{ { { 4096, 8192 }, { 8192, 4096 } }, 2, HVRI_CHUNK_DISCARD,
		  false, HVREPL_E_RANGE },
		{ { { 4096, 4096 }, { 8192, 4096 } }, 2, HVRI_CHUNK_DISCARD,
		  false, HVREPL_OK },
	};

	for (size_t i = 0; i < HVRI_ARRAY_LEN(cases); i++)
		ck_assert_int_eq(
			hvri_chunk_pack(packer, &header, 0, cases[i].kind,
					cases[i].extents, cases[i].count,
					cases[i].with_raw ? raw : NULL, out,
					&length),
			cases[i].expected);
	for (uint32_t i = 0; i <= HVRI_CHUNK_EXTENTS_MAX; i++)
		many[i] = (struct hvrepl_extent){ i * 8192u, 4096 };
	ck_assert_int_eq(hvri_chunk_pack(packer, &header, 0, HVRI_CHUNK_ZERO,
					 many, HVRI_CHUNK_EXTENTS_MAX, NULL,
					 out, &length),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_chunk_pack(packer, &header, 0, HVRI_CHUNK_ZERO,
					 many, HVRI_CHUNK_EXTENTS_MAX + 1,
					 NULL, out, &length),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvri_packer_create(&env, 20, &none),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvri_packer_create(&env, -8, &none),
			 HVREPL_E_INVALID);
	test.alloc_fail_at = 0;
	ck_assert_int_eq(hvri_packer_create(&env, 1, &none), HVREPL_E_NOMEM);
	ck_assert_ptr_null(none);
	test.alloc_fail_at = -1;
}
END_TEST

/* One bit anywhere: the stored digest covers header, extents, payload. */
START_TEST(chunk_with_any_bit_flipped_is_refused)
{
	struct hvri_segment_header header = sample();
	struct hvrepl_extent extents[2] = { { 0, 4096 }, { 8192, 4096 } };
	struct hvri_chunk chunk;
	uint32_t length = 0;

	for (size_t i = 0; i < 8192; i++)
		raw[i] = (uint8_t)(i / 64);
	ck_assert_int_eq(hvri_chunk_pack(packer, &header, 0, HVRI_CHUNK_DATA,
					 extents, 2, raw, out, &length),
			 HVREPL_OK);
	for (size_t i = 0; i < 8u * length; i++) {
		flip(out, i);
		ck_assert_int_lt(hvri_chunk_decode(&header, out, length,
						   &chunk),
				 0);
		flip(out, i);
	}
	for (size_t i = 0; i < length; i++)
		ck_assert_int_eq(hvri_chunk_decode(&header, out, i, &chunk),
				 HVREPL_E_TRUNCATED);
	ck_assert_int_eq(hvri_chunk_decode(&header, out, length + 1, &chunk),
			 HVREPL_E_CORRUPT);
	ck_assert_int_eq(hvri_chunk_decode(&header, out, length, &chunk),
			 HVREPL_OK);
}
END_TEST

/* A chunk of another VM, disk, epoch, cut or point is not this one's. */
START_TEST(chunk_of_another_identity_is_refused)
{
	struct hvri_segment_header header = sample(), other;
	struct hvrepl_extent extent = { 0, 4096 };
	struct hvri_chunk chunk;
	uint32_t length = 0;

	ck_assert_int_eq(hvri_chunk_pack(packer, &header, 0, HVRI_CHUNK_DATA,
					 &extent, 1, raw, out, &length),
			 HVREPL_OK);
	for (size_t i = 0; i < sizeof(header.identity); i++) {
		other = header;
		((uint8_t *)&other.identity)[i] ^= 1;
		ck_assert_int_eq(hvri_chunk_decode(&other, out, length,
						   &chunk),
				 HVREPL_E_CORRUPT);
	}
}
END_TEST

/* Build a chunk around any payload, with correct digests: what an attacker who
 * knows the format can send. */
static uint32_t forge(const struct hvri_segment_header *header,
		      uint32_t raw_length, const uint8_t *payload,
		      size_t payload_length, uint8_t codec)
{
	uint8_t identity[HVRI_IDENTITY_SIZE];
	struct hvri_part parts[4];

	memset(out, 0, HVRI_CHUNK_HEADER_SIZE + 16);
	memcpy(out, "HVRC", 4);
	out[4] = HVRI_CHUNK_DATA;
	out[5] = codec;
	out[6] = 1;
	for (unsigned i = 0; i < 4; i++) {
		out[12 + i] = (uint8_t)(raw_length >> (8 * i));
		out[16 + i] = (uint8_t)(payload_length >> (8 * i));
		out[64 + i] = (uint8_t)(raw_length >> (8 * i));
	}
	memcpy(out + 72, payload, payload_length);
	hvri_segment_identity_encode(&header->identity, identity);
	parts[0] = (struct hvri_part){ identity, sizeof(identity) };
	parts[1] = (struct hvri_part){ out + 56, 16 };
	parts[2] = (struct hvri_part){ raw, raw_length };
	hvri_xxh3(parts, 3, out + 24);
	parts[1] = (struct hvri_part){ out, 40 };
	parts[2] = (struct hvri_part){ out + 56, 16 + payload_length };
	hvri_xxh3(parts, 3, out + 40);
	return 72 + (uint32_t)payload_length;
}

static void assert_forged(uint32_t raw_length, const uint8_t *payload,
			  size_t payload_length, int32_t decodes,
			  int32_t unpacks)
{
	struct hvri_segment_header header = sample();
	struct hvri_chunk chunk;
	uint32_t length = forge(&header, raw_length, payload, payload_length,
				HVRI_CODEC_ZSTD);

	ck_assert_int_eq(hvri_chunk_decode(&header, out, length, &chunk),
			 decodes);
	if (decodes == HVREPL_OK)
		ck_assert_int_eq(hvri_chunk_unpack(&header, &chunk, back),
				 unpacks);
}

START_TEST(frame_that_is_not_exactly_one_of_the_declared_size_is_refused)
{
	struct hvri_segment_header header = sample();
	struct hvri_chunk chunk;
	uint8_t *frame = calloc(1, MIB), *bomb = calloc(1, 64 * MIB);
	ZSTD_CCtx *context = ZSTD_createCCtx();
	uint32_t length;
	size_t made;

	/* The honest one at the format's limit, and one block past it. */
	made = ZSTD_compress(frame, MIB, raw, HVRI_CHUNK_RAW_MAX, 1);
	assert_forged(HVRI_CHUNK_RAW_MAX, frame, made, HVREPL_OK, HVREPL_OK);
	made = ZSTD_compress(frame, MIB, raw, HVRI_CHUNK_RAW_MAX + 4096, 1);
	assert_forged(HVRI_CHUNK_RAW_MAX + 4096, frame, made,
		      HVREPL_E_CORRUPT, 0);

	/* A bomb: 256 KiB declared outside, 64 MiB inside. */
	made = ZSTD_compress(frame, MIB, bomb, 64 * MIB, 19);
	assert_forged(HVRI_CHUNK_RAW_MAX, frame, made, HVREPL_OK,
		      HVREPL_E_CORRUPT);
	/* The frame's own size lies too. Its header: magic, descriptor with
	 * a four-byte size, window, then the size. */
	ck_assert_uint_eq(frame[4] >> 6, 2);
	for (unsigned i = 0; i < 4; i++)
		frame[((frame[4] & 0x20) != 0 ? 5 : 6) + i] =
			(uint8_t)(HVRI_CHUNK_RAW_MAX >> (8 * i));
	assert_forged(HVRI_CHUNK_RAW_MAX, frame, made, HVREPL_OK,
		      HVREPL_E_CORRUPT);

	/* Two frames that together have the right size; a skippable frame. */
	made = ZSTD_compress(frame, MIB, raw, 4096, 1);
	made += ZSTD_compress(frame + made, MIB - made, raw, 4096, 1);
	assert_forged(8192, frame, made, HVREPL_OK, HVREPL_E_CORRUPT);
	memcpy(frame, "\x50\x2a\x4d\x18\x08\0\0\0whatever", 16);
	assert_forged(8192, frame, 16, HVREPL_OK, HVREPL_E_CORRUPT);

	/* No size in the frame. */
	(void)ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
	made = ZSTD_compress2(context, frame, MIB, raw, 8192);
	assert_forged(8192, frame, made, HVREPL_OK, HVREPL_E_CORRUPT);

	/* One that asks for dictionary 5, and else would be taken: 4096 times
	 * the same byte. */
	memcpy(frame, "\x28\xb5\x2f\xfd\x61\x05\x00\x0f\x03\x80\x00\x00", 12);
	assert_forged(4096, frame, 12, HVREPL_OK, HVREPL_E_CORRUPT);
	memmove(frame + 5, frame + 6, 6);
	frame[4] = 0x60;
	assert_forged(4096, frame, 11, HVREPL_OK, HVREPL_OK);

	/* Not a frame; ends early; other bytes than were digested. */
	memset(frame, 0x5a, 64);
	assert_forged(8192, frame, 64, HVREPL_OK, HVREPL_E_CORRUPT);
	made = ZSTD_compress(frame, MIB, raw, 8192, 1);
	assert_forged(8192, frame, made - 1, HVREPL_OK, HVREPL_E_CORRUPT);
	raw[100] = 1;
	made = ZSTD_compress(frame, MIB, raw, 8192, 1);
	raw[100] = 0;
	assert_forged(8192, frame, made, HVREPL_OK, HVREPL_E_CORRUPT);

	/* A codec nobody knows. */
	length = forge(&header, 8192, frame, made, 2);
	ck_assert_int_eq(hvri_chunk_decode(&header, out, length, &chunk),
			 HVREPL_E_CORRUPT);
	(void)ZSTD_freeCCtx(context);
	free(bomb);
	free(frame);
}
END_TEST

START_TEST(zero_is_seen_at_every_length_and_place)
{
	for (size_t length = 0; length < 300; length++)
		ck_assert(hvri_is_zero(raw, length));
	for (size_t at = 0; at < 300; at++) {
		raw[at] = 0x80;
		ck_assert(!hvri_is_zero(raw, 300));
		ck_assert(hvri_is_zero(raw, at));
		ck_assert(!hvri_is_zero(raw + at, 1));
		raw[at] = 0;
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("segment");
	TCase *tcase = tcase_create("bytes");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, header_has_its_golden_bytes);
	tcase_add_test(tcase, header_beyond_a_limit_is_refused);
	tcase_add_test(tcase, header_with_any_bit_flipped_is_refused);
	tcase_add_test(tcase, chunk_has_its_golden_bytes);
	tcase_add_test(tcase, trailer_and_page_have_their_golden_bytes);
	tcase_add_test(tcase, data_of_every_kind_comes_back);
	tcase_add_test(tcase, packer_refuses_what_the_format_does_not_allow);
	tcase_add_test(tcase, chunk_with_any_bit_flipped_is_refused);
	tcase_add_test(tcase, chunk_of_another_identity_is_refused);
	tcase_add_test(
		tcase,
		frame_that_is_not_exactly_one_of_the_declared_size_is_refused);
	tcase_add_test(tcase, zero_is_seen_at_every_length_and_place);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
