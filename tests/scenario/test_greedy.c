/* SPDX-License-Identifier: Apache-2.0 */
/* Three sites: what one peer takes, another does not lack. Site-a replicates to
 * site-b; site-c, which may do the same, takes all it can get. */
#include "driver/compare.h"
#include "driver/node.h"
#include "driver/vm.h"
#include "format/wire.h"
#include "guestshadow.h"

#include <string.h>

static unsigned ended_by_limit;
static bool withholds; /* Site-c's content does not arrive. */
static unsigned floods; /* So many frames behind each of site-c's. */
static struct pair_end *ear; /* Where site-b hears site-c. */

static void seen(struct pair_site *site, const struct hvrepl_event *event)
{
	ended_by_limit += site == &pair.b &&
			  event->type == HVREPL_EVENT_SESSION &&
			  event->value == 0 && event->code == HVREPL_E_LIMIT;
}

/* A frame of site-c's that its node did not say. */
static void one_more(struct pair_end *end, const struct hvri_frame *frame,
		     const void *payload)
{
	uint8_t header[HVRI_FRAME_HEADER_SIZE];

	hvri_frame_encode(frame, payload, header);
	pair_deliver(end, header, sizeof(header));
	pair_deliver(end, payload, frame->length);
}

static void on_the_way(struct pair *p, struct pair_site *to,
		       struct pair_end *end, const uint8_t *bytes,
		       size_t length)
{
	static const struct hvri_frame nobodys = { .type = HVRI_FRAME_CHUNK,
						   .vm = { { 0x99 } } };
	struct hvri_frame frame = { .type = 0 };

	(void)to;
	if (pair_sender(end) != p->c ||
	    hvri_frame_decode(bytes, false, &frame) < 0) {
		pair_deliver(end, bytes, length);
		return;
	}
	ear = end;
	if (withholds && (frame.type == HVRI_FRAME_CHUNK ||
			  frame.type == HVRI_FRAME_SEGMENT_END))
		return;
	pair_deliver(end, bytes, length);
	/* Content of a VM that there is not: harmless, looked at, dropped. */
	for (unsigned i = 0; i < floods && frame.type == HVRI_FRAME_MESSAGE; i++)
		one_more(end, &nobodys, NULL);
}

static void setup(void)
{
	ended_by_limit = floods = 0;
	ear = NULL;
	withholds = false;
	shadow_setup();
	pair.seen = seen;
	pair.tamper = on_the_way;
	pair_add_third(&pair, "site-c", 99);
	pair_start(&pair, pair.c);
	pair_run(&pair, SECOND);
}

static void site_a_is_served(uint64_t seed)
{
	shadow_scatter(&pair.a, seed, 20);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}

/* ---- Credit. ---- */

static void site_c_takes_credit(unsigned vms)
{
	for (unsigned i = 1; i <= vms; i++) {
		pair_add_vm(pair.c, i);
		ck_assert_int_eq(pair_operate_more(&pair, pair.c, i,
						   HVREPL_OPERATION_ENABLE),
				 HVREPL_OK);
		ck_assert_int_eq(
			pair_operate_more(&pair, pair.c, i,
					  HVREPL_OPERATION_START_INITIAL),
			withholds ? HVREPL_PENDING : HVREPL_OK);
	}
	pair_run(&pair, 5 * SECOND);
}

START_TEST(a_peer_that_takes_credit_and_sends_nothing_leaves_as_much)
{
	withholds = true;
	site_c_takes_credit(8);
	ck_assert_uint_eq(pair.b.node->credit_left, HVRI_CREDIT_POOL / 2);
	shadow_protect();
	site_a_is_served(3);
	/* ...and gives it back with its session. */
	pair_stop(&pair, pair.c);
	pair_run(&pair, 5 * SECOND);
	site_a_is_served(4);
	pair_stop(&pair, &pair.a);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(pair.b.node->credit_left, HVRI_CREDIT_POOL);
}
END_TEST

START_TEST(one_vm_has_its_window_and_no_more)
{
	withholds = true;
	site_c_takes_credit(1);
	ck_assert_uint_eq(pair.b.node->credit_left,
			  HVRI_CREDIT_POOL - HVRI_CREDIT_VM);
	pair_run(&pair, 20 * SECOND);
	ck_assert_uint_eq(pair.b.node->credit_left,
			  HVRI_CREDIT_POOL - HVRI_CREDIT_VM);
}
END_TEST

static struct hvrepl_uuid first_vm(void)
{
	return (struct hvrepl_uuid){ { 0xcc, 1 } };
}

static bool site_c_is_up(void)
{
	struct hvrepl_node_status status = HVREPL_NODE_STATUS_INIT;

	pair_run(&pair, SECOND / 100);
	ck_assert_int_eq(hvrepl_node_get_status(pair.b.node, &status),
			 HVREPL_OK);
	return status.session_count == 2;
}

/* So many bytes of content, none of which is looked at yet. */
static void more_content(uint64_t bytes)
{
	static uint8_t payload[HVRI_FRAME_CHUNK_MAX];

	while (bytes > 0) {
		struct hvri_frame frame = {
			.type = HVRI_FRAME_CHUNK,
			.vm = first_vm(),
			.length = (uint32_t)HVRI_MIN(bytes,
						     HVRI_FRAME_CHUNK_MAX),
		};

		one_more(ear, &frame, payload);
		bytes -= frame.length;
	}
}

/* The last chunk may go beyond, for its length is known when it is made. */
START_TEST(content_may_come_as_far_as_its_credit_and_no_further)
{
	withholds = true;
	site_c_takes_credit(1);
	pair.b.holds_jobs = true;
	more_content(HVRI_CREDIT_VM + HVRI_FRAME_CHUNK_MAX);
	ck_assert(site_c_is_up());
	more_content(HVRI_CHUNK_PREFIX_SIZE + HVRI_CHUNK_HEADER_SIZE);
	ck_assert(!site_c_is_up());
	pair.b.holds_jobs = false;
	pair_do_jobs(&pair.b);
}
END_TEST

static void headers(unsigned count)
{
	static const uint8_t payload[HVRI_SEGMENT_FRAME_SIZE];
	const struct hvri_frame frame = { .type = HVRI_FRAME_SEGMENT,
					  .vm = first_vm(),
					  .length = sizeof(payload) };

	for (unsigned i = 0; i < count; i++)
		one_more(ear, &frame, payload);
}

/* Neither is kept short by credit, and each that waits takes memory. */
START_TEST(headers_that_wait_have_a_limit_and_chunks_are_no_crumbs)
{
	withholds = true;
	site_c_takes_credit(1);
	pair.b.holds_jobs = true;
	ck_assert(site_c_is_up());
	if (_i == 0) {
		const struct hvri_vm *vm = hvri_node_find_vm(
			pair.b.node, &(struct hvrepl_uuid){ { 0xcc, 1 } });

		headers(HVRI_VM_SEGMENTS_MAX - vm->reception.segments);
		ck_assert(site_c_is_up());
		headers(1);
	} else {
		more_content(HVRI_CHUNK_PREFIX_SIZE + HVRI_CHUNK_HEADER_SIZE);
		ck_assert(site_c_is_up());
		more_content(HVRI_CHUNK_PREFIX_SIZE + HVRI_CHUNK_HEADER_SIZE -
			     1);
	}
	ck_assert(!site_c_is_up());
	ck_assert_uint_eq(ended_by_limit, _i == 0);
	pair.b.holds_jobs = false;
	pair_do_jobs(&pair.b);
	withholds = false;
	pair_run(&pair, 60 * SECOND);
	ck_assert(site_c_is_up());
}
END_TEST

static uint64_t newest_of_c(void)
{
	const struct hvrepl_uuid vm = first_vm();
	struct hvrepl_point point = HVREPL_POINT_INIT;

	for (uint32_t i = 0; hvrepl_vm_get_point(pair.b.node, &vm, i, &point) ==
			     HVREPL_OK; i++)
		;
	return point.number;
}

static void ask_for_digests(unsigned count)
{
	struct hvri_digest_ask ask = { .count = 1, .point = newest_of_c() };
	const struct hvri_frame frame = { .type = HVRI_FRAME_DIGEST_ASK,
					  .vm = first_vm(),
					  .length = HVRI_DIGEST_ASK_SIZE };
	uint8_t payload[HVRI_DIGEST_ASK_SIZE];

	hvri_digest_ask_encode(&ask, payload);
	for (unsigned i = 0; i < count; i++)
		one_more(ear, &frame, payload);
}

START_TEST(sixteen_asks_may_wait_for_digests_and_not_one_more)
{
	site_c_takes_credit(1);
	pair.b.holds_jobs = true;
	ask_for_digests(HVRI_ASKS_MAX);
	ck_assert(site_c_is_up());
	ask_for_digests(1);
	ck_assert(!site_c_is_up());
	pair.b.holds_jobs = false;
	pair_do_jobs(&pair.b);
}
END_TEST

START_TEST(a_peer_with_many_vms_and_one_with_few_both_get_on)
{
	site_c_takes_credit(8);
	shadow_protect();
	site_a_is_served(5);
	for (unsigned i = 1; i <= 8; i++) {
		struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

		ck_assert_int_eq(hvrepl_node_get_vm(pair.c->node, i - 1,
						    &status),
				 HVREPL_OK);
		ck_assert_uint_gt(status.last_point, 0);
	}
	pair_stop(&pair, pair.c);
	pair_stop(&pair, &pair.a);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(pair.b.node->credit_left, HVRI_CREDIT_POOL);
}
END_TEST

/* ---- Connections. ---- */

static void knocks(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		pair_intrude(&pair, &pair.b, "site-c", false, "", 0);
	pair_run(&pair, SECOND);
}

static unsigned links(void)
{
	unsigned count = 0;

	for (const struct hvri_session *s = pair.b.node->sessions; s != NULL;
	     s = s->next)
		count += strcmp(s->link.info.peer, "site-c") == 0;
	return count;
}

START_TEST(a_peer_has_sixteen_links)
{
	shadow_protect();
	knocks(HVRI_LINKS_MAX - 1); /* And its session. */
	ck_assert_uint_eq(links(), HVRI_LINKS_MAX);
	ck_assert_uint_eq(ended_by_limit, 0);
	site_a_is_served(6);
}
END_TEST

START_TEST(the_seventeenth_link_of_a_peer_is_closed_at_once)
{
	long live;

	shadow_protect();
	knocks(HVRI_LINKS_MAX);
	ck_assert_uint_eq(links(), HVRI_LINKS_MAX);
	ck_assert_uint_eq(ended_by_limit, 1);
	live = pair.b.env.alloc_live;
	knocks(100);
	ck_assert_uint_eq(links(), HVRI_LINKS_MAX);
	/* A link has three and more. */
	ck_assert_int_lt(pair.b.env.alloc_live, live + 50);
	site_a_is_served(7);
	/* Silent ones end, and there is room again. */
	pair_run(&pair, 11 * SECOND);
	ck_assert_uint_eq(links(), 1);
	knocks(HVRI_LINKS_MAX - 1);
	ck_assert_uint_eq(links(), HVRI_LINKS_MAX);
}
END_TEST

/* ---- Frames. ---- */

START_TEST(a_peer_that_floods_frames_delays_nobody)
{
	uint64_t began, quiet;

	shadow_protect();
	site_c_takes_credit(1);
	began = pair.now_ns;
	site_a_is_served(8);
	quiet = pair.now_ns - began;
	floods = 20000;
	began = pair.now_ns;
	site_a_is_served(9);
	/* No later than by one cut more: its own turn comes each time. */
	ck_assert_uint_le(pair.now_ns - began, quiet + SECOND);
	ck_assert_uint_eq(ended_by_limit, 0);
}
END_TEST

static int32_t (*put)(void *, hvrepl_op *, const char *, const void *, uint32_t,
		      uint64_t);
static hvrepl_op *held; /* A put of a VM of site-c's. */

static int32_t holds_put(void *user, hvrepl_op *op, const char *key,
			 const void *blob, uint32_t length, uint64_t expected)
{
	int32_t rc = put(user, op, key, blob, length, expected);

	if (held != NULL || rc != HVREPL_OK || strncmp(key, "vm/cc01", 7) != 0)
		return rc;
	held = op;
	return HVREPL_PENDING;
}

static void more_messages(size_t bytes)
{
	static uint8_t payload[HVRI_MESSAGE_ENCODED_MAX];
	struct hvri_frame frame = { .type = HVRI_FRAME_MESSAGE,
				    .vm = first_vm(),
				    .length = sizeof(payload) };

	for (size_t at = 0; at < bytes; at += sizeof(payload))
		one_more(ear, &frame, payload);
	pair_run(&pair, SECOND / 10);
}

/* The record of a VM of its is being put, and is not done with it. */
static struct hvri_vm *a_vm_that_puts(void)
{
	shadow_protect();
	pair_add_vm(pair.c, 1);
	ck_assert_int_eq(pair_operate_more(&pair, pair.c, 1,
					   HVREPL_OPERATION_ENABLE),
			 HVREPL_OK);
	put = pair.b.node->state.put;
	pair.b.node->state.put = holds_put;
	held = NULL;
	ck_assert_int_eq(pair_ask_more(pair.c, 1,
				       HVREPL_OPERATION_START_INITIAL),
			 HVREPL_OK);
	pair_run(&pair, 5 * SECOND);
	ck_assert_ptr_nonnull(held);
	return hvri_node_find_vm(pair.b.node,
				 &(struct hvrepl_uuid){ { 0xcc, 1 } });
}

static void the_put_is_done(void)
{
	pair.b.node->state.put = put;
	hvrepl_op_complete(held, HVREPL_OK);
}

/* The map of a large disk that was written all over has more ranges than may wait. */
START_TEST(a_map_that_comes_during_a_put_ends_no_session)
{
	static uint8_t payload[HVRI_MESSAGE_ENCODED_MAX];
	static uint8_t extents[HVRI_RANGES_MAX * 16];
	struct hvri_message message = { .type = HVRI_MESSAGE_RANGES };
	struct hvri_frame frame = { .type = HVRI_FRAME_MESSAGE };
	struct hvri_vm *vm = a_vm_that_puts();
	const struct hvri_session *session = vm->session;
	size_t length, waiting;

	for (uint32_t i = 0; i < HVRI_RANGES_MAX; i++)
		hvri_ranges_put(extents, i,
				(struct hvrepl_extent){ i * 8192u, 4096 });
	message.u.ranges.count = HVRI_RANGES_MAX;
	message.u.ranges.extents = extents;
	frame.vm = first_vm();
	for (size_t at = 0; at < 2 * HVRI_VM_HEARD_MAX; at += length) {
		ck_assert_int_eq(hvri_message_encode(&message, payload,
						     sizeof(payload), &length),
				 HVREPL_OK);
		frame.length = (uint32_t)length;
		one_more(ear, &frame, payload);
		message.u.ranges.sequence++;
	}
	pair_run(&pair, SECOND / 10);
	ck_assert_uint_eq(ended_by_limit, 0);
	ck_assert_uint_gt(vm->heard_bytes, HVRI_VM_RANGES_MAX / 2);
	ck_assert_uint_le(vm->heard_bytes, HVRI_VM_RANGES_MAX);
	/* What says that it was the last of them still has its place. */
	waiting = vm->heard_bytes;
	message.type = HVRI_MESSAGE_CUT_GONE;
	ck_assert_int_eq(hvri_message_encode(&message, payload,
					     sizeof(payload), &length),
			 HVREPL_OK);
	frame.length = (uint32_t)length;
	one_more(ear, &frame, payload);
	pair_run(&pair, SECOND / 10);
	ck_assert_uint_gt(vm->heard_bytes, waiting);
	the_put_is_done();
	pair_run(&pair, 60 * SECOND);
	ck_assert_uint_gt(vm->relationship.record.position.number, 0);
	ck_assert_ptr_eq(vm->session, session);
	site_a_is_served(12);
}
END_TEST

/* While the record of a VM of its is being put. */
START_TEST(messages_that_wait_for_a_vm_have_a_limit)
{
	size_t one = sizeof(struct hvri_vm_event) + HVRI_MESSAGE_ENCODED_MAX;
	struct hvri_vm *vm = a_vm_that_puts();
	long live;

	live = pair.b.env.alloc_live;
	more_messages((HVRI_VM_HEARD_MAX - vm->heard_bytes) / one *
		      HVRI_MESSAGE_ENCODED_MAX);
	ck_assert_uint_eq(ended_by_limit, 0);
	ck_assert_uint_gt(vm->heard_bytes, HVRI_VM_HEARD_MAX - one);
	site_a_is_served(10);
	more_messages(1);
	ck_assert_uint_eq(ended_by_limit, 1);
	/* They are gone with their session. */
	ck_assert_uint_lt(vm->heard_bytes, one);
	ck_assert_int_lt(pair.b.env.alloc_live, live + 50);
	the_put_is_done();
	pair_run(&pair, 60 * SECOND);
	ck_assert_uint_gt(vm->relationship.record.position.number, 0);
	site_a_is_served(11);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("greedy");
	TCase *tc = tcase_create("greedy");

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, setup, shadow_teardown);
	tcase_add_test(
		tc, a_peer_that_takes_credit_and_sends_nothing_leaves_as_much);
	tcase_add_test(tc, one_vm_has_its_window_and_no_more);
	tcase_add_test(tc,
		       content_may_come_as_far_as_its_credit_and_no_further);
	tcase_add_loop_test(
		tc, headers_that_wait_have_a_limit_and_chunks_are_no_crumbs, 0,
		2);
	tcase_add_test(tc,
		       sixteen_asks_may_wait_for_digests_and_not_one_more);
	tcase_add_test(tc, a_peer_with_many_vms_and_one_with_few_both_get_on);
	tcase_add_test(tc, a_peer_has_sixteen_links);
	tcase_add_test(tc, the_seventeenth_link_of_a_peer_is_closed_at_once);
	tcase_add_test(tc, a_peer_that_floods_frames_delays_nobody);
	tcase_add_test(tc, messages_that_wait_for_a_vm_have_a_limit);
	tcase_add_test(tc, a_map_that_comes_during_a_put_ends_no_session);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
