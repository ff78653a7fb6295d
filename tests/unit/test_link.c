/* SPDX-License-Identifier: Apache-2.0 */
/* Links: handshake, deadlines, refusals, goodbyes. */
#include "linkrig.h"

static struct hvrepl_channel_ops forged_ops;

/* ---- The other end by hand. ---- */

struct raw {
	struct hvrepl_op op;
	struct hvrepl_iovec iov;
	int32_t result;
};
static struct raw raw_out, raw_in;
static uint8_t raw_bytes[1 << 16];

static void raw_note(struct hvrepl_op *op, int32_t result)
{
	((struct raw *)op)->result = result;
}

static void raw_send(const void *bytes, size_t length)
{
	raw_out = (struct raw){ .op.complete = raw_note };
	raw_out.iov = (struct hvrepl_iovec){ (void *)(uintptr_t)bytes, length };
	ck_assert_int_ge(ends[1].ops->send(ends[1].user, &raw_out.op,
					   &raw_out.iov, 1),
			 0);
	run();
}

static size_t raw_receive(void)
{
	size_t received = 0;

	raw_in = (struct raw){ .op.complete = raw_note,
			       .result = HVREPL_PENDING };
	(void)ends[1].ops->receive(ends[1].user, &raw_in.op, raw_bytes,
				   sizeof(raw_bytes), &received);
	run();
	return received;
}

static void raw_frame(uint8_t type, const void *payload, uint32_t length)
{
	static uint8_t bytes[HVRI_FRAME_HEADER_SIZE + (256u << 10)];
	struct hvri_frame frame = { .type = type, .length = length };

	memcpy(bytes + HVRI_FRAME_HEADER_SIZE, payload, length);
	hvri_frame_encode(&frame, payload, bytes);
	raw_send(bytes, HVRI_FRAME_HEADER_SIZE + length);
}

static void expect_end(struct side *side, int32_t code)
{
	run();
	ck_assert(side->closed);
	ck_assert_int_eq(side->link.close_code, code);
}

/* What lies in raw_bytes: HELLO maybe, then a BYE with the code. */
static void expect_bye(size_t length, int32_t code)
{
	size_t at = 0;
	struct hvri_frame frame;
	struct hvri_bye bye;

	for (;;) {
		ck_assert_uint_ge(length - at, HVRI_FRAME_HEADER_SIZE);
		ck_assert_int_eq(hvri_frame_decode(raw_bytes + at, true,
						   &frame),
				 HVREPL_OK);
		at += HVRI_FRAME_HEADER_SIZE;
		if (frame.type == HVRI_FRAME_BYE)
			break;
		at += frame.length;
	}
	ck_assert_int_eq(hvri_bye_decode(raw_bytes + at, frame.length, &bye),
			 HVREPL_OK);
	ck_assert_int_eq(bye.code, code);
}

/* ---- Handshake. ---- */

START_TEST(two_links_find_each_other)
{
	both_up();
	ck_assert_str_eq(a.link.info.peer, "replica");
	ck_assert_uint_eq(a.link.peer.node.bytes[0], 2);
	ck_assert_uint_eq(b.link.peer.node.bytes[0], 1);
}
END_TEST

START_TEST(a_link_works_byte_by_byte)
{
	teardown();
	setup();
	teardown();
	hvri_queue_init(&home, NULL, NULL);
	side_init(&a, 1);
	side_init(&b, 2);
	make_pair(0, 1);
	both_up();
	ck_assert_int_eq(hvri_link_send(&a.link, HVRI_FRAME_MESSAGE, NULL,
					"hello", 5),
			 HVREPL_OK);
	run();
	ck_assert_uint_eq(b.heard, 1);
	ck_assert_uint_eq(b.lengths[0], 5);
	ck_assert_uint_eq(b.first_bytes[0], 'h');
}
END_TEST

static int32_t forged_info(void *user, struct hvrepl_channel_info *info_out)
{
	int32_t rc = ends[0].ops->info(user, info_out);

	info_out->exporter[0] ^= 1;
	return rc;
}

static int32_t unbound_info(void *user, struct hvrepl_channel_info *info_out)
{
	int32_t rc = ends[0].ops->info(user, info_out);

	memset(info_out->exporter, 0, sizeof(info_out->exporter));
	return rc;
}

static const struct hvrepl_channel_ops *with_info(
	int32_t (*info)(void *, struct hvrepl_channel_info *))
{
	forged_ops = *ends[1].ops;
	forged_ops.info = info;
	return &forged_ops;
}

START_TEST(two_channels_spliced_together_do_not_authenticate)
{
	ends[1].ops = with_info(forged_info);
	ck_assert_int_eq(start(&a, 0), HVREPL_OK);
	ck_assert_int_eq(start(&b, 1), HVREPL_OK);
	run();
	ck_assert(!a.up && !b.up);
	ck_assert(a.closed && b.closed);
	ck_assert(a.link.close_code == HVREPL_E_UNAUTHENTICATED ||
		  b.link.close_code == HVREPL_E_UNAUTHENTICATED);
}
END_TEST

START_TEST(a_channel_without_an_exporter_value_is_refused)
{
	ends[1].ops = with_info(unbound_info);
	ck_assert_int_eq(start(&b, 1), HVREPL_E_UNAUTHENTICATED);
	ck_assert(!b.closed);
}
END_TEST

START_TEST(our_own_words_reflected_are_refused)
{
	size_t length;

	ck_assert_int_eq(start(&a, 0), HVREPL_OK);
	run();
	length = raw_receive();
	ck_assert_uint_eq(length, HVRI_FRAME_HEADER_SIZE + HVRI_HELLO_SIZE);
	raw_send(raw_bytes, length);
	length = raw_receive();
	expect_bye(length, HVREPL_E_PROTOCOL);
	expect_end(&a, HVREPL_E_PROTOCOL);
	ck_assert(!a.up);
}
END_TEST

START_TEST(a_changed_hello_does_not_authenticate)
{
	struct hvri_frame frame = { .type = HVRI_FRAME_HELLO,
				    .length = HVRI_HELLO_SIZE };
	struct hvri_hello hello = { .version_min = 1, .version_max = 1 };
	uint8_t mine[HVRI_HELLO_SIZE], binder[32];
	uint8_t theirs[HVRI_HELLO_SIZE], exporter[32];

	memset(exporter, 0x5a, sizeof(exporter));
	hello.node.bytes[0] = 9;
	hvri_hello_encode(&hello, mine);
	ck_assert_int_eq(start(&a, 0), HVREPL_OK);
	run();
	(void)raw_receive();
	memcpy(theirs, raw_bytes + HVRI_FRAME_HEADER_SIZE, sizeof(theirs));
	raw_frame(frame.type, mine, frame.length);
	/* As if a relay had offered it something else. */
	theirs[_i == 0 ? 0 : 8 + _i] ^= 1;
	ck_assert_int_eq(hvri_binder(exporter, false, theirs, mine, binder),
			 HVREPL_OK);
	raw_frame(HVRI_FRAME_BINDER, binder, sizeof(binder));
	expect_end(&a, HVREPL_E_UNAUTHENTICATED);
	ck_assert(!a.up);
}
END_TEST

START_TEST(the_peers_own_binder_sent_back_does_not_authenticate)
{
	struct hvri_hello hello = { .version_min = 1, .version_max = 1 };
	uint8_t mine[HVRI_HELLO_SIZE];

	hello.node.bytes[0] = 9;
	hvri_hello_encode(&hello, mine);
	ck_assert_int_eq(start(&a, 0), HVREPL_OK);
	run();
	(void)raw_receive();
	raw_frame(HVRI_FRAME_HELLO, mine, sizeof(mine));
	ck_assert_uint_eq(raw_receive(), HVRI_FRAME_HEADER_SIZE + 32u);
	raw_send(raw_bytes, HVRI_FRAME_HEADER_SIZE + 32u);
	expect_end(&a, HVREPL_E_UNAUTHENTICATED);
}
END_TEST

/* Nothing but HELLO, BINDER and BYE, and those bounded, before UP. */
START_TEST(frames_before_the_handshake_are_refused)
{
	static const uint8_t types[] = { 4, 5, 16, 32, 33, 34, 35, 36, 37,
					 0, 6, 2 };
	static uint8_t payload[HVRI_FRAME_EARLY_MAX + 1];

	ck_assert_int_eq(start(&a, 0), HVREPL_OK);
	run();
	if ((unsigned)_i < sizeof(types))
		raw_frame(types[_i], payload, 32);
	else
		raw_frame(HVRI_FRAME_HELLO, payload,
			  HVRI_FRAME_EARLY_MAX + (_i & 1));
	expect_end(&a, HVREPL_E_PROTOCOL);
	ck_assert(!a.up);
}
END_TEST

START_TEST(garbage_ends_the_link)
{
	uint8_t garbage[512];

	ck_assert_int_eq(start(&a, 0), HVREPL_OK);
	run();
	test_fill(garbage, sizeof(garbage), (uint64_t)_i + 1);
	raw_send(garbage, sizeof(garbage));
	expect_end(&a, HVREPL_E_PROTOCOL);
}
END_TEST

START_TEST(another_protocol_version_is_named)
{
	struct hvri_hello hello = { .version_min = 2, .version_max = 3 };
	uint8_t mine[HVRI_HELLO_SIZE];

	hvri_hello_encode(&hello, mine);
	ck_assert_int_eq(start(&a, 0), HVREPL_OK);
	run();
	raw_frame(HVRI_FRAME_HELLO, mine, sizeof(mine));
	expect_bye(raw_receive(), HVREPL_E_PEER_VERSION);
	expect_end(&a, HVREPL_E_PEER_VERSION);
	ck_assert_ptr_nonnull(strstr(a.link.close_sentence,
				     "update the older one"));
}
END_TEST

START_TEST(a_newer_peer_that_still_speaks_our_version_is_taken)
{
	struct hvri_hello hello = { .version_min = 1,
				    .version_max = 9,
				    .features = UINT64_MAX,
				    .node.bytes[0] = 9 };
	uint8_t mine[HVRI_HELLO_SIZE];

	hvri_hello_encode(&hello, mine);
	ck_assert_int_eq(start(&a, 0), HVREPL_OK);
	run();
	raw_frame(HVRI_FRAME_HELLO, mine, sizeof(mine));
	ck_assert(!a.closed && a.link.state == HVRI_LINK_BINDER_WAIT);
	ck_assert(a.link.peer.features == UINT64_MAX);
}
END_TEST

/* 77 may be a frame of a later version; nobody sends it unasked. */
START_TEST(an_unknown_frame_ends_the_session_and_says_what_to_do)
{
	both_up();
	ck_assert_int_eq(hvri_link_send(&a.link, 77, NULL, "x", 1), HVREPL_OK);
	run();
	ck_assert(a.closed && b.closed);
	ck_assert_int_eq(b.link.close_code, HVREPL_E_PROTOCOL);
	ck_assert_int_eq(a.link.close_code, HVREPL_E_PROTOCOL);
	ck_assert_uint_eq(b.heard, 0);
	ck_assert_ptr_nonnull(strstr(a.link.close_sentence,
				     "update the older one"));
}
END_TEST

START_TEST(a_handshake_has_ten_seconds)
{
	ck_assert_int_eq(start(&a, 0), HVREPL_OK);
	run();
	pass(HVRI_LINK_HANDSHAKE_NS - SECOND);
	ck_assert(!a.closed);
	pass(SECOND);
	expect_end(&a, HVREPL_E_TIMEOUT);
}
END_TEST

/* ---- Up. ---- */

START_TEST(a_silent_link_is_kept_by_pings_and_a_stalled_one_is_dead)
{
	both_up();
	pass(300 * SECOND);
	ck_assert(!a.closed && !b.closed);
	hvrepl_memory_pair_stall(pair, 1, 1);
	pass(HVRI_LINK_DEAD_NS - 11 * SECOND);
	ck_assert(!a.closed);
	pass(12 * SECOND + HVRI_LINK_PING_NS);
	expect_end(&a, HVREPL_E_TIMEOUT);
}
END_TEST

/* The other end by hand, all the way up. */
static void raw_up(void)
{
	struct hvri_hello hello = { .version_min = 1, .version_max = 1 };
	uint8_t mine[HVRI_HELLO_SIZE], theirs[HVRI_HELLO_SIZE], binder[32];
	uint8_t exporter[HVREPL_EXPORTER_SIZE];

	hello.node.bytes[0] = 9;
	hvri_hello_encode(&hello, mine);
	memset(exporter, 0x5a, sizeof(exporter));
	ck_assert_int_eq(start(&a, 0), HVREPL_OK);
	run();
	ck_assert_uint_eq(raw_receive(),
			  HVRI_FRAME_HEADER_SIZE + HVRI_HELLO_SIZE);
	memcpy(theirs, raw_bytes + HVRI_FRAME_HEADER_SIZE, sizeof(theirs));
	raw_frame(HVRI_FRAME_HELLO, mine, sizeof(mine));
	ck_assert_int_eq(hvri_binder(exporter, false, theirs, mine, binder),
			 HVREPL_OK);
	raw_frame(HVRI_FRAME_BINDER, binder, sizeof(binder));
	ck_assert(a.up);
}

/* Silence has its limit, and so have bytes that never become a frame. */
START_TEST(a_frame_that_is_begun_has_a_minute)
{
	struct hvri_frame frame = { .type = HVRI_FRAME_MESSAGE, .length = 64 };
	uint8_t payload[64] = { 1 }, bytes[HVRI_FRAME_HEADER_SIZE];
	uint64_t waited = 0;

	raw_up();
	hvri_frame_encode(&frame, payload, bytes);
	raw_send(bytes, sizeof(bytes));
	/* One that ends just in time. */
	for (unsigned i = 0; i < 11; i++) {
		raw_send(payload + i, 1);
		pass(5 * SECOND);
	}
	raw_send(payload + 11, sizeof(payload) - 11);
	ck_assert(!a.closed);
	ck_assert_uint_eq(a.heard, 1);
	/* And one that does not. */
	raw_send(bytes, sizeof(bytes));
	for (unsigned i = 0; i < 40 && !a.closed; i++) {
		raw_send(payload + i % 8, 1);
		pass(5 * SECOND);
		waited += 5 * SECOND;
	}
	expect_end(&a, HVREPL_E_TIMEOUT);
	ck_assert_uint_ge(waited, HVRI_LINK_FRAME_NS - 5 * SECOND);
	ck_assert_uint_le(waited, HVRI_LINK_FRAME_NS + HVRI_LINK_PING_NS +
					  5 * SECOND);
}
END_TEST

START_TEST(harmless_frames_have_a_limit_too)
{
	static const uint8_t types[] = { HVRI_FRAME_PING, HVRI_FRAME_PONG };

	raw_up();
	/* As many as are let, each ten seconds again. */
	for (unsigned turn = 0; turn < 3; turn++) {
		for (unsigned i = a.link.odd; i < HVRI_LINK_ODD_MAX; i++)
			raw_frame(types[_i], "", 0);
		ck_assert(!a.closed);
		pass(HVRI_LINK_PING_NS);
		ck_assert(!a.closed);
	}
	while (a.link.odd < HVRI_LINK_ODD_MAX)
		raw_frame(types[_i], "", 0);
	ck_assert(!a.closed);
	raw_frame(types[_i], "", 0);
	ck_assert_int_eq(a.link.close_code, HVREPL_E_LIMIT);
}
END_TEST

START_TEST(a_goodbye_brings_its_sentence)
{
	both_up();
	hvri_link_close(&a.link, HVREPL_E_DENIED, "you may not");
	run();
	ck_assert(a.closed && b.closed);
	ck_assert_int_eq(b.link.close_code, HVREPL_E_DENIED);
	ck_assert_str_eq(b.link.close_sentence, "you may not");
	ck_assert_int_eq(hvri_link_send(&a.link, HVRI_FRAME_MESSAGE, NULL, "x",
					1),
			 HVREPL_E_DISCONNECTED);
}
END_TEST

/* It goes into events, logs and what a program of another language reads. */
START_TEST(what_a_peer_says_is_well_formed_when_it_is_here)
{
	both_up();
	hvri_link_close(&a.link, HVREPL_E_DENIED,
			"\xff\xfe no\r\nentry \xc3\xb6 \xc2\x9b \xe2\x82");
	run();
	ck_assert(strcmp(b.link.close_sentence,
			 "\?\? no\?\?entry \xc3\xb6 \?\? \?\?") == 0);
}
END_TEST

START_TEST(a_frame_that_is_refused_ends_the_link_with_its_code)
{
	both_up();
	b.answer = HVREPL_E_DENIED;
	ck_assert_int_eq(hvri_link_send(&a.link, HVRI_FRAME_MESSAGE, NULL, "x",
					1),
			 HVREPL_OK);
	run();
	ck_assert(a.closed && b.closed);
	ck_assert_int_eq(a.link.close_code, HVREPL_E_DENIED);
}
END_TEST

START_TEST(a_second_hello_is_refused)
{
	both_up();
	ck_assert_int_eq(hvri_link_send(&a.link, HVRI_FRAME_HELLO, NULL,
					a.link.my_hello, HVRI_HELLO_SIZE),
			 HVREPL_OK);
	run();
	ck_assert(b.closed);
	ck_assert_int_eq(b.link.close_code, HVREPL_E_PROTOCOL);
}
END_TEST

START_TEST(a_peer_that_does_not_read_has_a_limit)
{
	static uint8_t payload[HVRI_FRAME_CONTROL_MAX];
	int32_t rc = HVREPL_OK;
	unsigned sent = 0;

	both_up();
	hvrepl_memory_pair_stall(pair, 0, 1);
	while (rc == HVREPL_OK && sent < 1000) {
		rc = hvri_link_send(&a.link, HVRI_FRAME_MESSAGE, NULL, payload,
				    sizeof(payload));
		run();
		sent++;
	}
	ck_assert_int_eq(rc, HVREPL_E_LIMIT);
	/* As many as fit, and not one more. */
	ck_assert_uint_le(a.link.control_bytes, HVRI_LINK_CONTROL_MAX);
	ck_assert_uint_gt(a.link.control_bytes + HVRI_FRAME_HEADER_SIZE +
				  sizeof(payload),
			  HVRI_LINK_CONTROL_MAX);
	/* Closing does not wait for it for ever. */
	hvri_link_close(&a.link, rc, NULL);
	pass(HVRI_LINK_HANDSHAKE_NS + SECOND);
	ck_assert(a.closed);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("link");
	TCase *tc;

	tc = tcase_create("handshake");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, two_links_find_each_other);
	tcase_add_test(tc, a_link_works_byte_by_byte);
	tcase_add_test(tc, two_channels_spliced_together_do_not_authenticate);
	tcase_add_test(tc, a_channel_without_an_exporter_value_is_refused);
	tcase_add_test(tc, our_own_words_reflected_are_refused);
	tcase_add_loop_test(tc, a_changed_hello_does_not_authenticate, 0, 3);
	tcase_add_test(tc, the_peers_own_binder_sent_back_does_not_authenticate);
	tcase_add_loop_test(tc, frames_before_the_handshake_are_refused, 0, 14);
	tcase_add_loop_test(tc, garbage_ends_the_link, 0, 8);
	tcase_add_test(tc, another_protocol_version_is_named);
	tcase_add_test(tc, a_newer_peer_that_still_speaks_our_version_is_taken);
	tcase_add_test(tc, an_unknown_frame_ends_the_session_and_says_what_to_do);
	tcase_add_test(tc, a_handshake_has_ten_seconds);
	suite_add_tcase(suite, tc);
	tc = tcase_create("up");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_silent_link_is_kept_by_pings_and_a_stalled_one_is_dead);
	tcase_add_test(tc, a_frame_that_is_begun_has_a_minute);
	tcase_add_loop_test(tc, harmless_frames_have_a_limit_too, 0, 2);
	tcase_add_test(tc, a_goodbye_brings_its_sentence);
	tcase_add_test(tc, what_a_peer_says_is_well_formed_when_it_is_here);
	tcase_add_test(tc, a_frame_that_is_refused_ends_the_link_with_its_code);
	tcase_add_test(tc, a_second_hello_is_refused);
	tcase_add_test(tc, a_peer_that_does_not_read_has_a_limit);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
