/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of frames between nodes: golden vectors, limits, damage. */
#include "format/wire.h"
#include "testing.h"

#include <stdio.h>
#include <string.h>

#define HEAD HVRI_FRAME_HEADER_SIZE

static const struct hvrepl_uuid vm = { { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
					 12, 13, 14, 15 } };

static const char *hex(const void *bytes, size_t length)
{
	static char text[2 * 400 + 1];

	for (size_t i = 0; i < length; i++)
		snprintf(text + 2 * i, 3, "%02x", ((const uint8_t *)bytes)[i]);
	return text;
}

static size_t encode(uint8_t type, const void *payload, uint32_t length,
		     uint8_t *out)
{
	struct hvri_frame frame = { .type = type, .length = length, .vm = vm };

	memcpy(out + HEAD, payload, length);
	hvri_frame_encode(&frame, payload, out);
	return HEAD + length;
}

START_TEST(frames_have_exactly_these_bytes)
{
	uint8_t bytes[64];

	encode(HVRI_FRAME_MESSAGE, "abc", 3, bytes);
	ck_assert_str_eq(hex(bytes, HEAD + 3),
			 "4856011003000000000102030405060708090a0b0c0d0e0f"
			 "ae4fb0d923e112e7616263");
	/* The check of a chunk is of its header alone. */
	encode(HVRI_FRAME_CHUNK, "abc", 3, bytes);
	ck_assert_str_eq(hex(bytes, HEAD),
			 "4856012103000000000102030405060708090a0b0c0d0e0f"
			 "5c8e3c723a1504f2");
}
END_TEST

static struct hvri_hello sample_hello(void)
{
	struct hvri_hello hello = { .version_min = 1,
				    .version_max = 2,
				    .features = 0x0102030405060708,
				    .node = vm,
				    .incarnation = 0x1112131415161718 };

	memset(hello.nonce, 0xaa, sizeof(hello.nonce));
	strcpy(hello.site, "berlin");
	return hello;
}

START_TEST(payloads_have_exactly_these_bytes)
{
	struct hvri_hello hello = sample_hello();
	struct hvri_bye bye = { .code = HVREPL_E_DENIED,
				.sentence = "no entry" };
	struct hvri_segment_end end = { .disk = 3, .chunk_count = 9, .cut = vm };
	struct hvri_credit credit = { .cut = vm, .bytes = 1u << 25 };
	struct hvri_digest_ask ask = { .disk = 1,
				       .count = 2,
				       .offset = 0x30000,
				       .point = 5 };
	struct hvri_digests digests = { .disk = 1,
					.code = HVREPL_E_BUSY,
					.offset = 0x30000,
					.point = 5 };
	uint8_t bytes[HVRI_BYE_SIZE_MAX];

	hvri_hello_encode(&hello, bytes);
	ck_assert_str_eq(
		hex(bytes, 80),
		"01000000020000000807060504030201000102030405060708090a0b0c0d0e"
		"0f1817161514131211aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaaaaaaaaaaaaaaaaaa6265726c696e0000");
	for (size_t i = 80; i < HVRI_HELLO_SIZE; i++)
		ck_assert_uint_eq(bytes[i], 0);
	ck_assert_uint_eq(hvri_bye_encode(&bye, bytes), 12);
	ck_assert_str_eq(hex(bytes, 12), "6cfeffff6e6f20656e747279");
	memset(end.root, 0xbb, sizeof(end.root));
	hvri_segment_end_encode(&end, bytes);
	ck_assert_str_eq(hex(bytes, HVRI_SEGMENT_END_SIZE),
			 "0300000009000000000102030405060708090a0b0c0d0e0fbbbbbb"
			 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
			 "bbbb");
	hvri_credit_encode(&credit, bytes);
	ck_assert_str_eq(hex(bytes, HVRI_CREDIT_SIZE),
			 "000102030405060708090a0b0c0d0e0f0000000200000000");
	memset(ask.key, 0xcc, sizeof(ask.key));
	hvri_digest_ask_encode(&ask, bytes);
	ck_assert_str_eq(hex(bytes, HVRI_DIGEST_ASK_SIZE),
			 "010000000200000000000300000000000500000000000000cccccc"
			 "cccccccccccccccccccccccccccccccccccccccccccccccccccccc"
			 "cccc");
	hvri_digests_encode(&digests, bytes);
	ck_assert_str_eq(hex(bytes, HVRI_DIGESTS_PREFIX_SIZE),
			 "0100000098ffffff00000300000000000500000000000000000000"
			 "0000000000");
}
END_TEST

START_TEST(a_binder_is_exactly_this)
{
	struct hvri_hello hello = sample_hello();
	uint8_t exporter[32], one[HVRI_HELLO_SIZE], two[HVRI_HELLO_SIZE];
	uint8_t of_initiator[32], of_acceptor[32], other[32];

	memset(exporter, 1, sizeof(exporter));
	hvri_hello_encode(&hello, one);
	hello.node.bytes[0] = 99;
	hvri_hello_encode(&hello, two);
	ck_assert_int_eq(hvri_binder(exporter, true, one, two, of_initiator),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_binder(exporter, false, one, two, of_acceptor),
			 HVREPL_OK);
	ck_assert_str_eq(hex(of_initiator, 32),
			 "4b347f3f5ecb7957f9d358df17390a02"
			 "a1fbb59c9fc07992d16f447646565e16");
	ck_assert_mem_ne(of_initiator, of_acceptor, 32);
	/* Each input counts: who, both HELLOs in their order, the channel. */
	ck_assert_int_eq(hvri_binder(exporter, true, two, one, other),
			 HVREPL_OK);
	ck_assert_mem_ne(of_initiator, other, 32);
	exporter[31] ^= 1;
	ck_assert_int_eq(hvri_binder(exporter, true, one, two, other),
			 HVREPL_OK);
	ck_assert_mem_ne(of_initiator, other, 32);
}
END_TEST

/* The same struct back. */
START_TEST(what_is_encoded_decodes_to_the_same)
{
	struct hvri_hello hello = sample_hello(), hello_back;
	struct hvri_bye bye = { .code = -404 }, bye_back;
	struct hvri_digests digests = { .disk = 7,
					.offset = 0x10000,
					.point = 3,
					.count = 2 },
			    digests_back;
	uint8_t bytes[HVRI_DIGESTS_PREFIX_SIZE + 400];
	uint32_t length;

	hvri_hello_encode(&hello, bytes);
	ck_assert_int_eq(hvri_hello_decode(bytes, HVRI_HELLO_SIZE, &hello_back),
			 HVREPL_OK);
	ck_assert_uint_eq(hello_back.version_max, 2);
	ck_assert_uint_eq(hello_back.features, hello.features);
	ck_assert_uint_eq(hello_back.incarnation, hello.incarnation);
	ck_assert_mem_eq(hello_back.nonce, hello.nonce, 32);
	ck_assert_str_eq(hello_back.site, "berlin");
	memset(bye.sentence, 'x', HVRI_BYE_SENTENCE_MAX);
	length = hvri_bye_encode(&bye, bytes);
	ck_assert_uint_eq(length, HVRI_BYE_SIZE_MAX);
	ck_assert_int_eq(hvri_bye_decode(bytes, length, &bye_back), HVREPL_OK);
	ck_assert_int_eq(bye_back.code, -404);
	ck_assert_str_eq(bye_back.sentence, bye.sentence);
	hvri_digests_encode(&digests, bytes);
	memset(bytes + HVRI_DIGESTS_PREFIX_SIZE, 5, 32);
	ck_assert_int_eq(hvri_digests_decode(bytes,
					     HVRI_DIGESTS_PREFIX_SIZE + 32,
					     &digests_back),
			 HVREPL_OK);
	ck_assert_uint_eq(digests_back.count, 2);
	ck_assert_uint_eq(digests_back.digests[31], 5);
}
END_TEST

/* ---- Limits. ---- */

static int32_t decode_header(uint8_t type, uint32_t length, bool early)
{
	struct hvri_frame frame = { .type = type, .length = length };
	uint8_t bytes[HEAD];
	static uint8_t payload[HVRI_FRAME_CHUNK_MAX + 1];

	hvri_frame_encode(&frame, payload, bytes);
	return hvri_frame_decode(bytes, early, &frame);
}

START_TEST(every_type_has_its_limit)
{
	for (unsigned type = 0; type < 256; type++) {
		bool opening = type >= HVRI_FRAME_HELLO &&
			       type <= HVRI_FRAME_BYE;
		bool control = type == HVRI_FRAME_PING ||
			       type == HVRI_FRAME_PONG ||
			       type == HVRI_FRAME_MESSAGE ||
			       (type >= HVRI_FRAME_SEGMENT &&
				type <= HVRI_FRAME_DIGESTS &&
				type != HVRI_FRAME_CHUNK);
		bool chunk = type == HVRI_FRAME_CHUNK;
		uint32_t max = opening ? HVRI_FRAME_EARLY_MAX :
			       control ? HVRI_FRAME_CONTROL_MAX :
					 HVRI_FRAME_CHUNK_MAX;
		bool known = opening || control || chunk;

		ck_assert_int_eq(decode_header((uint8_t)type, max, false),
				 known ? HVREPL_OK : HVREPL_E_PROTOCOL);
		ck_assert_int_eq(decode_header((uint8_t)type, max + 1, false),
				 HVREPL_E_PROTOCOL);
		ck_assert_int_eq(decode_header((uint8_t)type,
					       HVRI_FRAME_EARLY_MAX, true),
				 opening ? HVREPL_OK : HVREPL_E_PROTOCOL);
	}
}
END_TEST

START_TEST(digests_have_limits)
{
	static uint8_t bytes[HVRI_DIGESTS_PREFIX_SIZE +
			     (HVRI_DIGESTS_MAX + 1) * 16];
	struct hvri_digest_ask ask = { .count = HVRI_DIGESTS_MAX }, ask_back;
	struct hvri_digests digests = { .count = HVRI_DIGESTS_MAX }, back;

	hvri_digest_ask_encode(&ask, bytes);
	ck_assert_int_eq(hvri_digest_ask_decode(bytes, HVRI_DIGEST_ASK_SIZE,
						&ask_back),
			 HVREPL_OK);
	ask.count++;
	hvri_digest_ask_encode(&ask, bytes);
	ck_assert_int_eq(hvri_digest_ask_decode(bytes, HVRI_DIGEST_ASK_SIZE,
						&ask_back),
			 HVREPL_E_PROTOCOL);
	ask.count = 0;
	hvri_digest_ask_encode(&ask, bytes);
	ck_assert_int_eq(hvri_digest_ask_decode(bytes, HVRI_DIGEST_ASK_SIZE,
						&ask_back),
			 HVREPL_E_PROTOCOL);
	ask.count = 1;
	ask.offset = 512;
	hvri_digest_ask_encode(&ask, bytes);
	ck_assert_int_eq(hvri_digest_ask_decode(bytes, HVRI_DIGEST_ASK_SIZE,
						&ask_back),
			 HVREPL_E_PROTOCOL);
	/* An end beyond 64 bits. */
	ask.offset = UINT64_MAX / HVRI_DIGEST_GRANULE * HVRI_DIGEST_GRANULE;
	hvri_digest_ask_encode(&ask, bytes);
	ck_assert_int_eq(hvri_digest_ask_decode(bytes, HVRI_DIGEST_ASK_SIZE,
						&ask_back),
			 HVREPL_E_PROTOCOL);
	hvri_digests_encode(&digests, bytes);
	ck_assert_int_eq(hvri_digests_decode(bytes,
					     HVRI_DIGESTS_PREFIX_SIZE +
						     HVRI_DIGESTS_MAX * 16,
					     &back),
			 HVREPL_OK);
	digests.count++;
	hvri_digests_encode(&digests, bytes);
	ck_assert_int_eq(hvri_digests_decode(bytes, sizeof(bytes), &back),
			 HVREPL_E_PROTOCOL);
	/* A refusal brings no digests, and no code is positive. */
	digests.count = 1;
	digests.code = HVREPL_E_BUSY;
	hvri_digests_encode(&digests, bytes);
	ck_assert_int_eq(hvri_digests_decode(
				 bytes, HVRI_DIGESTS_PREFIX_SIZE + 16, &back),
			 HVREPL_E_PROTOCOL);
	digests.count = 0;
	digests.code = 1;
	hvri_digests_encode(&digests, bytes);
	ck_assert_int_eq(hvri_digests_decode(bytes, HVRI_DIGESTS_PREFIX_SIZE,
					     &back),
			 HVREPL_E_PROTOCOL);
}
END_TEST

/* ---- Damage. ---- */

START_TEST(any_flipped_bit_of_a_frame_is_found)
{
	static const uint8_t payload[40] = { 1, 2, 3 };
	uint8_t bytes[HEAD + sizeof(payload)];

	encode(HVRI_FRAME_CREDIT, payload, sizeof(payload), bytes);
	for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
		struct hvri_frame frame;

		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (hvri_frame_decode(bytes, false, &frame) == HVREPL_OK &&
		    frame.length <= sizeof(payload))
			ck_assert_int_eq(hvri_frame_check(bytes, &frame,
							  bytes + HEAD),
					 HVREPL_E_PROTOCOL);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}
END_TEST

static int32_t decode_any(unsigned kind, const uint8_t *bytes, size_t length)
{
	union {
		struct hvri_hello hello;
		struct hvri_segment_end end;
		struct hvri_credit credit;
		struct hvri_digest_ask ask;
		struct hvri_digests digests;
	} u;

	switch (kind) {
	case 0:
		return hvri_hello_decode(bytes, length, &u.hello);
	case 1:
		return hvri_segment_end_decode(bytes, length, &u.end);
	case 2:
		return hvri_credit_decode(bytes, length, &u.credit);
	case 3:
		return hvri_digest_ask_decode(bytes, length, &u.ask);
	default:
		return hvri_digests_decode(bytes, length, &u.digests);
	}
}

/* Shorter and longer payloads of fixed size are refused. */
START_TEST(payloads_of_another_length_are_refused)
{
	static const uint32_t sizes[] = { HVRI_HELLO_SIZE,
					  HVRI_SEGMENT_END_SIZE,
					  HVRI_CREDIT_SIZE,
					  HVRI_DIGEST_ASK_SIZE,
					  HVRI_DIGESTS_PREFIX_SIZE + 16 };
	struct hvri_hello hello = sample_hello();
	struct hvri_digest_ask ask = { .count = 1 };
	struct hvri_digests digests = { .count = 1 };
	uint8_t bytes[512] = { 0 };

	if (_i == 0)
		hvri_hello_encode(&hello, bytes);
	else if (_i == 3)
		hvri_digest_ask_encode(&ask, bytes);
	else if (_i == 4)
		hvri_digests_encode(&digests, bytes);
	ck_assert_int_eq(decode_any((unsigned)_i, bytes, sizes[_i]),
			 HVREPL_OK);
	for (uint32_t length = 0; length < 512; length++)
		if (length != sizes[_i])
			ck_assert_int_eq(decode_any((unsigned)_i, bytes,
						    length),
					 HVREPL_E_PROTOCOL);
}
END_TEST

START_TEST(labels_and_sentences_from_outside_are_made_printable)
{
	struct hvri_hello hello = sample_hello(), back;
	uint8_t bytes[HVRI_HELLO_SIZE], bye[16] = { 1, 0, 0, 0, 'a', 0x1b,
						    '[', '\n', 'b' };
	struct hvri_bye bye_back;

	memset(hello.site, '\n', sizeof(hello.site));
	hvri_hello_encode(&hello, bytes);
	ck_assert_int_eq(hvri_hello_decode(bytes, sizeof(bytes), &back),
			 HVREPL_OK);
	ck_assert_uint_eq(strlen(back.site), sizeof(back.site) - 1);
	for (size_t i = 0; i < strlen(back.site); i++)
		ck_assert_uint_eq((unsigned char)back.site[i], '?');
	ck_assert_int_eq(hvri_bye_decode(bye, 9, &bye_back), HVREPL_OK);
	ck_assert_str_eq(bye_back.sentence, "a?[?b");
	for (size_t length = 0; length < 4; length++)
		ck_assert_int_eq(hvri_bye_decode(bye, length, &bye_back),
				 HVREPL_E_PROTOCOL);
}
END_TEST

START_TEST(versions_must_overlap)
{
	struct hvri_hello hello = sample_hello(), back;
	uint8_t bytes[HVRI_HELLO_SIZE];

	hello.version_min = 2;
	hvri_hello_encode(&hello, bytes);
	ck_assert_int_eq(hvri_hello_decode(bytes, sizeof(bytes), &back),
			 HVREPL_E_PEER_VERSION);
	hello.version_min = 3;
	hvri_hello_encode(&hello, bytes);
	ck_assert_int_eq(hvri_hello_decode(bytes, sizeof(bytes), &back),
			 HVREPL_E_PROTOCOL);
	hello.version_min = hello.version_max = 0;
	hvri_hello_encode(&hello, bytes);
	ck_assert_int_eq(hvri_hello_decode(bytes, sizeof(bytes), &back),
			 HVREPL_E_PEER_VERSION);
}
END_TEST

/* Labels and sentences: whatever a peer put there, or cut in the midst of a character. */
START_TEST(texts_are_well_formed)
{
	static const char said[] = "\xff\xfe no\r\nentry \xc3\xb6 \xc2\x9b \xe2\x82";
	struct hvri_hello hello = { .version_min = HVRI_WIRE_VERSION,
				    .version_max = HVRI_WIRE_VERSION },
			  hello_back;
	struct hvri_bye bye = { .code = HVREPL_E_DENIED }, bye_back;
	uint8_t bytes[HVRI_HELLO_SIZE], bye_bytes[HVRI_BYE_SIZE_MAX];
	uint32_t length;

	memcpy(bye.sentence, said, sizeof(said));
	length = hvri_bye_encode(&bye, bye_bytes);
	ck_assert_int_eq(hvri_bye_decode(bye_bytes, length, &bye_back),
			 HVREPL_OK);
	/* Not shown where it is not so: who reads that wants UTF-8. */
	ck_assert(strcmp(bye_back.sentence,
			 "\?\? no\?\?entry \xc3\xb6 \?\? \?\?") == 0);
	memset(hello.site, 'x', sizeof(hello.site));
	memcpy(hello.site + sizeof(hello.site) - 3, "\xe2\x82\xac", 3);
	hvri_hello_encode(&hello, bytes);
	ck_assert_int_eq(hvri_hello_decode(bytes, sizeof(bytes), &hello_back),
			 HVREPL_OK);
	ck_assert(strcmp(hello_back.site + sizeof(hello.site) - 4,
			 "x\?\?") == 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wire");
	TCase *tc = tcase_create("wire");

	tcase_add_test(tc, frames_have_exactly_these_bytes);
	tcase_add_test(tc, payloads_have_exactly_these_bytes);
	tcase_add_test(tc, a_binder_is_exactly_this);
	tcase_add_test(tc, what_is_encoded_decodes_to_the_same);
	tcase_add_test(tc, every_type_has_its_limit);
	tcase_add_test(tc, digests_have_limits);
	tcase_add_test(tc, texts_are_well_formed);
	tcase_add_test(tc, any_flipped_bit_of_a_frame_is_found);
	tcase_add_loop_test(tc, payloads_of_another_length_are_refused, 0, 5);
	tcase_add_test(tc, labels_and_sentences_from_outside_are_made_printable);
	tcase_add_test(tc, versions_must_overlap);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
