/* SPDX-License-Identifier: Apache-2.0 */
/* Links: order of sending, borrowed slabs, every end in the middle of it. */
#include "linkrig.h"

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
	Suite *suite = suite_create("link data");
	TCase *tc;

	tc = tcase_create("data");
	tcase_add_checked_fixture(tc, setup, teardown);
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
