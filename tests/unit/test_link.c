/* SPDX-License-Identifier: Apache-2.0 */
/* Links: handshake, deadlines, order of sending, borrowed slabs, every end. */
#include "driver/link.h"
#include "testing.h"

#include <hvrepl/backends.h>
#include <string.h>

#define SECOND 1000000000ull
#define HEARD_MAX 512u

/* What one side is and saw. */
struct side {
	struct hvri_link link;
	struct test_env env;
	struct hvri_env inner;
	struct hvri_timers timers;
	bool started, up, closed;
	unsigned heard;
	uint8_t types[HEARD_MAX];
	uint32_t lengths[HEARD_MAX];
	uint8_t first_bytes[HEARD_MAX];
	int32_t answer; /* What frame() returns. */
	struct hvri_slab *held; /* The slab of the first frame. */
	const uint8_t *held_payload;
	bool hold;
};

static struct hvri_queue home;
static struct side a, b;
static struct hvrepl_channel ends[2];
static hvrepl_memory_pair *pair;
static struct hvrepl_channel_ops forged_ops;

static struct side *side_of(struct hvri_link *link)
{
	return (struct side *)link;
}

static void on_up(struct hvri_link *link)
{
	ck_assert(!side_of(link)->up);
	side_of(link)->up = true;
}

static int32_t on_frame(struct hvri_link *link, const struct hvri_frame *frame,
			const uint8_t *payload, struct hvri_slab *slab)
{
	struct side *side = side_of(link);

	ck_assert(side->up);
	ck_assert_uint_lt(side->heard, HEARD_MAX);
	side->types[side->heard] = frame->type;
	side->lengths[side->heard] = frame->length;
	side->first_bytes[side->heard] = frame->length > 0 ? payload[0] : 0;
	side->heard++;
	if (side->hold && side->held == NULL) {
		hvri_slab_hold(slab);
		side->held = slab;
		side->held_payload = payload;
	}
	return side->answer;
}

static void on_closed(struct hvri_link *link)
{
	ck_assert(!side_of(link)->closed);
	side_of(link)->closed = true;
}

static const struct hvri_link_calls calls = { on_up, on_frame, on_closed };

static void side_init(struct side *side, uint64_t seed)
{
	memset(side, 0, sizeof(*side));
	test_env_init(&side->env, seed);
	side->env.now_ns = SECOND;
	side->inner.app = side->env.env;
	hvri_timers_init(&side->timers, &side->inner);
	ck_assert_int_eq(hvri_timers_reserve(&side->timers, 4), HVREPL_OK);
}

static void make_pair(uint64_t window, uint64_t receive_max)
{
	struct hvrepl_memory_pair_options options =
		HVREPL_MEMORY_PAIR_OPTIONS_INIT;

	options.names[0] = "primary";
	options.names[1] = "replica";
	options.window = window;
	options.receive_max = receive_max;
	memset(options.exporter, 0x5a, sizeof(options.exporter));
	ck_assert_int_eq(hvrepl_memory_pair_create(&options, ends, &pair),
			 HVREPL_OK);
}

static int32_t start(struct side *side, unsigned end)
{
	struct hvri_hello hello = { .version_min = HVRI_WIRE_VERSION,
				    .version_max = HVRI_WIRE_VERSION,
				    .incarnation = 7 };
	int32_t rc;

	memset(hello.node.bytes, side == &a ? 1 : 2, sizeof(hello.node));
	rc = hvri_link_start(&side->link, &side->inner, &home, &side->timers,
			     &ends[end], end == 0, &hello, &calls);
	side->started = rc == HVREPL_OK;
	ends[end].release = NULL; /* Taken. */
	return rc;
}

static void setup(void)
{
	hvri_queue_init(&home, NULL, NULL);
	side_init(&a, 1);
	side_init(&b, 2);
	make_pair(0, 0);
}

static void run(void)
{
	for (int i = 0; i < 100000; i++) {
		if (hvri_queue_run(&home, 16) == 0)
			return;
	}
	ck_abort_msg("it never comes to rest");
}

/* A send that ends only when the test says so; one at a time. */
static struct {
	struct hvrepl_op *op;
	unsigned sends;
} slow;

static int32_t slow_send(void *user, hvrepl_op *op,
			 const struct hvrepl_iovec *iov, uint32_t iov_count)
{
	static struct hvrepl_op inner;
	int32_t rc;

	ck_assert_ptr_null(slow.op);
	slow.op = op;
	slow.sends++;
	inner.complete = NULL;
	rc = ends[0].ops->send(user, &inner, iov, iov_count);
	ck_assert_int_eq(rc, HVREPL_OK); /* The window is wide. */
	return HVREPL_PENDING;
}

static void slow_go_on(void)
{
	for (;;) {
		struct hvrepl_op *op = slow.op;

		run();
		op = slow.op;
		slow.op = NULL;
		if (op == NULL)
			return;
		hvrepl_op_complete(op, HVREPL_OK);
	}
}

/* The clock of both sides; timers fire as they fall due. */
static void pass(uint64_t ns)
{
	while (ns > 0) {
		uint64_t step = HVRI_MIN(ns, SECOND / 2);

		a.env.now_ns += step;
		b.env.now_ns += step;
		ns -= step;
		(void)hvri_timers_run(&a.timers, a.env.now_ns, 8);
		(void)hvri_timers_run(&b.timers, b.env.now_ns, 8);
		run();
	}
}

static void side_end(struct side *side)
{
	if (side->started && !side->closed) {
		hvri_link_close(&side->link, HVREPL_E_CLOSED, NULL);
		run();
		/* A peer that does not read is not waited for for ever. */
		if (!side->closed)
			pass(HVRI_LINK_HANDSHAKE_NS + SECOND);
	}
	if (side->started) {
		ck_assert(side->closed);
		hvri_slab_drop(side->held);
		side->held = NULL;
		hvri_link_free(&side->link);
	}
	side->started = false;
	hvri_timers_free(&side->timers);
	ck_assert_int_eq(side->env.alloc_live, 0);
}

static void teardown(void)
{
	for (unsigned i = 0; i < 2; i++)
		if (ends[i].release != NULL) {
			ends[i].ops->close(ends[i].user);
			run();
		}
	side_end(&a);
	side_end(&b);
	for (unsigned i = 0; i < 2; i++)
		if (ends[i].release != NULL)
			ends[i].release(ends[i].user);
	hvrepl_memory_pair_free(pair);
	hvri_queue_free(&home);
}

static void both_up(void)
{
	ck_assert_int_eq(start(&a, 0), HVREPL_OK);
	ck_assert_int_eq(start(&b, 1), HVREPL_OK);
	run();
	ck_assert(a.up && b.up);
}

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
	ck_assert_uint_gt(sent, HVRI_LINK_CONTROL_MAX / sizeof(payload) / 2);
	/* Closing does not wait for it for ever. */
	hvri_link_close(&a.link, rc, NULL);
	pass(HVRI_LINK_HANDSHAKE_NS + SECOND);
	ck_assert(a.closed);
}
END_TEST

/* ---- Data. ---- */

struct feed {
	struct hvri_source source;
	uint8_t name;
	unsigned left, pulled, sent, lost;
	int32_t fail_at; /* Pull that fails; 0: none. */
	bool talks;      /* Sends a control frame from inside pull. */
	bool closes;     /* Closes the link from inside pull. */
	uint8_t payload[256];
};

static int32_t feed_pull(struct hvri_source *source, struct hvri_frame *frame,
			 struct hvrepl_iovec *iov, uint32_t iov_max)
{
	struct feed *feed = (struct feed *)source;
	struct hvri_link *link = source->link;

	ck_assert_uint_ge(iov_max, 2);
	feed->pulled++;
	if (feed->talks)
		ck_assert_int_eq(hvri_link_send(link, HVRI_FRAME_MESSAGE, NULL,
						"t", 1),
				 HVREPL_OK);
	if (feed->closes)
		hvri_link_close(link, HVREPL_E_CANCELLED, "enough");
	if (feed->fail_at != 0 && feed->pulled == (unsigned)feed->fail_at)
		return HVREPL_E_STORAGE_IO;
	if (feed->left == 0)
		return 0;
	feed->left--;
	memset(feed->payload, feed->name, sizeof(feed->payload));
	*frame = (struct hvri_frame){ .type = HVRI_FRAME_CHUNK,
				      .length = sizeof(feed->payload) };
	iov[0] = (struct hvrepl_iovec){ feed->payload, 100 };
	iov[1] = (struct hvrepl_iovec){ feed->payload + 100,
					sizeof(feed->payload) - 100 };
	return 2;
}

static void feed_sent(struct hvri_source *source, bool ok)
{
	struct feed *feed = (struct feed *)source;

	if (ok)
		feed->sent++;
	else
		feed->lost++;
}

static struct feed feed_of(uint8_t name, unsigned frames)
{
	return (struct feed){ .source = { .pull = feed_pull,
					  .sent = feed_sent },
			      .name = name,
			      .left = frames };
}

START_TEST(sources_take_turns)
{
	struct feed x = feed_of('x', 30), y = feed_of('y', 30);

	both_up();
	hvri_link_want(&a.link, &x.source);
	hvri_link_want(&a.link, &y.source);
	run();
	ck_assert_uint_eq(b.heard, 60);
	ck_assert_uint_eq(x.sent, 30);
	ck_assert_uint_eq(y.sent, 30);
	/* The first may have gone alone; then one of each. */
	for (unsigned i = 2; i < 58; i++)
		ck_assert_uint_ne(b.first_bytes[i], b.first_bytes[i + 1]);
	/* Nothing more: they left, and may come again. */
	ck_assert_ptr_null(x.source.link);
	x.left = 1;
	hvri_link_want(&a.link, &x.source);
	run();
	ck_assert_uint_eq(b.heard, 61);
}
END_TEST

START_TEST(control_goes_before_data)
{
	struct feed x = feed_of('x', 200);
	unsigned at;

	both_up();
	hvri_link_want(&a.link, &x.source);
	for (int i = 0; i < 3; i++)
		(void)hvri_queue_run(&home, 1);
	ck_assert_uint_lt(x.pulled, 50);
	at = x.pulled;
	ck_assert_int_eq(hvri_link_send(&a.link, HVRI_FRAME_MESSAGE, NULL, "c",
					1),
			 HVREPL_OK);
	run();
	ck_assert_uint_eq(b.heard, 201);
	for (unsigned i = 0; i < b.heard; i++)
		if (b.types[i] == HVRI_FRAME_MESSAGE)
			ck_assert_uint_le(i, at);
}
END_TEST

/* One send at a time, whatever a source does while it is asked. */
START_TEST(a_source_may_send_while_it_is_asked)
{
	struct feed x = feed_of('x', 20), y = feed_of('y', 20);
	unsigned chunks = 0, messages = 0;

	both_up();
	slow.op = NULL;
	a.link.ops.send = slow_send;
	x.talks = true;
	y.fail_at = _i;
	hvri_link_want(&a.link, &x.source);
	hvri_link_want(&a.link, &y.source);
	slow_go_on();
	a.link.ops.send = ends[0].ops->send;
	for (unsigned i = 0; i < b.heard; i++)
		*(b.types[i] == HVRI_FRAME_CHUNK ? &chunks : &messages) += 1;
	ck_assert_uint_eq(messages, x.pulled);
	ck_assert_uint_eq(chunks, x.sent + y.sent);
	ck_assert_uint_eq(x.sent, 20);
	ck_assert_uint_eq(y.sent, _i == 0 ? 20 : (unsigned)_i - 1);
	ck_assert(!a.closed && !b.closed);
}
END_TEST

START_TEST(a_source_may_close_while_it_is_asked)
{
	struct feed x = feed_of('x', 20), y = feed_of('y', 20);

	both_up();
	x.closes = true;
	if (_i == 1)
		x.left = 0;
	if (_i == 2)
		a.env.alloc_fail_at = 0; /* No memory for the BYE. */
	hvri_link_want(&a.link, &y.source);
	hvri_link_want(&a.link, &x.source);
	run();
	ck_assert(a.closed && b.closed);
	if (_i != 2)
		ck_assert_str_eq(b.link.close_sentence, "enough");
	ck_assert_uint_eq(x.sent + x.lost, _i == 1 ? 0 : 1);
	ck_assert_ptr_null(x.source.link);
	ck_assert_ptr_null(y.source.link);
	ck_assert_uint_eq(y.sent + y.lost, 20 - y.left);
}
END_TEST

START_TEST(a_source_that_leaves_is_not_asked)
{
	struct feed x = feed_of('x', 100);

	both_up();
	hvri_link_want(&a.link, &x.source);
	hvri_source_leave(&x.source);
	run();
	ck_assert_uint_le(x.pulled, 1);
	ck_assert_uint_eq(x.sent, x.pulled);
	hvri_source_leave(&x.source);
}
END_TEST

START_TEST(a_held_slab_stays_as_it_was)
{
	struct feed x = feed_of('x', 400);
	uint8_t before[256];

	both_up();
	b.hold = true;
	hvri_link_want(&a.link, &x.source);
	while (b.held == NULL)
		ck_assert_uint_gt(hvri_queue_run(&home, 1), 0);
	memcpy(before, b.held_payload, sizeof(before));
	/* Several slabs' worth of other frames. */
	for (unsigned i = 0; i < 16; i++) {
		run();
		b.heard = 0;
		x.left = 400;
		x.name++;
		hvri_link_want(&a.link, &x.source);
	}
	run();
	ck_assert_ptr_ne(b.held, b.link.slab);
	ck_assert_mem_eq(before, b.held_payload, sizeof(before));
}
END_TEST

START_TEST(the_longest_frames_pass_and_longer_ones_end_the_link)
{
	static uint8_t payload[HVRI_FRAME_CONTROL_MAX + 1];

	both_up();
	ck_assert_int_eq(hvri_link_send(&a.link, HVRI_FRAME_MESSAGE, NULL,
					payload, HVRI_FRAME_CONTROL_MAX),
			 HVREPL_OK);
	run();
	ck_assert_uint_eq(b.heard, 1);
	ck_assert_uint_eq(b.lengths[0], HVRI_FRAME_CONTROL_MAX);
	ck_assert_int_eq(hvri_link_send(&a.link, HVRI_FRAME_MESSAGE, NULL,
					payload, HVRI_FRAME_CONTROL_MAX + 1),
			 HVREPL_OK);
	run();
	ck_assert_uint_eq(b.heard, 1);
	ck_assert_int_eq(b.link.close_code, HVREPL_E_PROTOCOL);
}
END_TEST

/* ---- Ends. ---- */

/* The connection breaks after _i * 7 bytes of either direction. */
START_TEST(a_connection_may_break_anywhere)
{
	struct feed x = feed_of('x', 10);

	hvrepl_memory_pair_cut_after(pair, (uint32_t)(_i & 1),
				     (uint64_t)_i * 7);
	ck_assert_int_eq(start(&a, 0), HVREPL_OK);
	ck_assert_int_eq(start(&b, 1), HVREPL_OK);
	run();
	if (a.up)
		hvri_link_want(&a.link, &x.source);
	if (b.up)
		(void)!hvri_link_send(&b.link, HVRI_FRAME_MESSAGE, NULL, "x",
				      1);
	run();
	pass(3 * HVRI_LINK_DEAD_NS);
	ck_assert(a.closed == b.closed);
	ck_assert_uint_eq(x.sent + x.lost, 10 - x.left);
}
END_TEST

/* The n-th allocation of either side fails: the link ends or goes on, and
 * nothing is lost track of. */
START_TEST(want_of_memory_ends_a_link_cleanly)
{
	struct side *poor = (_i & 1) == 0 ? &a : &b;
	struct feed x = feed_of('x', 100);
	long n = _i / 2;

	poor->env.alloc_fail_at = n;
	(void)start(&a, 0);
	(void)start(&b, 1);
	run();
	if (a.up && !a.closed) {
		hvri_link_want(&a.link, &x.source);
		(void)!hvri_link_send(&a.link, HVRI_FRAME_MESSAGE, NULL, "x",
				      1);
	}
	if (b.up && !b.closed)
		(void)!hvri_link_send(&b.link, HVRI_FRAME_MESSAGE, NULL, "x",
				      1);
	run();
	pass(SECOND);
	ck_assert_uint_eq(x.sent + x.lost, 100 - x.left);
	/* The other allocations work: it does go up after the last one. */
	if (n >= 8)
		ck_assert(a.up && b.up);
}
END_TEST

START_TEST(closing_in_the_middle_of_sending_loses_nothing)
{
	struct feed x = feed_of('x', 100);

	both_up();
	hvri_link_want(&a.link, &x.source);
	for (int i = 0; i < _i; i++)
		(void)hvri_queue_run(&home, 1);
	hvri_link_close(_i & 1 ? &a.link : &b.link, HVREPL_E_CLOSED, NULL);
	run();
	ck_assert(a.closed && b.closed);
	ck_assert_uint_eq(x.sent + x.lost, 100 - x.left);
	ck_assert_ptr_null(x.source.link);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("link");
	TCase *tc = tcase_create("handshake");

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
	tcase_add_test(tc, a_handshake_has_ten_seconds);
	suite_add_tcase(suite, tc);
	tc = tcase_create("up");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_silent_link_is_kept_by_pings_and_a_stalled_one_is_dead);
	tcase_add_test(tc, a_goodbye_brings_its_sentence);
	tcase_add_test(tc, a_frame_that_is_refused_ends_the_link_with_its_code);
	tcase_add_test(tc, a_second_hello_is_refused);
	tcase_add_test(tc, a_peer_that_does_not_read_has_a_limit);
	tcase_add_test(tc, sources_take_turns);
	tcase_add_test(tc, control_goes_before_data);
	tcase_add_loop_test(tc, a_source_may_send_while_it_is_asked, 0, 4);
	tcase_add_loop_test(tc, a_source_may_close_while_it_is_asked, 0, 3);
	tcase_add_test(tc, a_source_that_leaves_is_not_asked);
	tcase_add_test(tc, a_held_slab_stays_as_it_was);
	tcase_add_test(tc, the_longest_frames_pass_and_longer_ones_end_the_link);
	suite_add_tcase(suite, tc);
	tc = tcase_create("ends");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, a_connection_may_break_anywhere, 0, 120);
	tcase_add_loop_test(tc, want_of_memory_ends_a_link_cleanly, 0, 20);
	tcase_add_loop_test(tc, closing_in_the_middle_of_sending_loses_nothing,
			    0, 30);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
