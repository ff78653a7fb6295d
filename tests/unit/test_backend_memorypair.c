/* SPDX-License-Identifier: Apache-2.0 */
/* The memory pair: every byte in order, windows, delays, cuts, closing. */
#include "base/op.h"
#include "testing.h"

#include <hvrepl/backends.h>
#include <string.h>

/* An operation and how it ended. */
struct watched {
	struct hvrepl_op op;
	unsigned completions;
	int32_t result;
};

static void note(struct hvrepl_op *op, int32_t result)
{
	struct watched *watched = (struct watched *)op;

	watched->completions++;
	watched->result = result;
}

static struct hvrepl_channel ends[2];
static hvrepl_memory_pair *pair;
static struct watched sent, got;
static uint8_t buffer[65536];
static size_t received;

static void make(uint64_t window, uint64_t delay_ns, uint64_t receive_max)
{
	struct hvrepl_memory_pair_options options =
		HVREPL_MEMORY_PAIR_OPTIONS_INIT;

	options.names[0] = "primary";
	options.names[1] = "replica";
	options.window = window;
	options.delay_ns = delay_ns;
	options.receive_max = receive_max;
	ck_assert_int_eq(hvrepl_memory_pair_create(&options, ends, &pair),
			 HVREPL_OK);
	sent = got = (struct watched){ .op.complete = note };
	received = 0;
}

static void drop(void)
{
	ends[0].release(ends[0].user);
	ends[1].release(ends[1].user);
	hvrepl_memory_pair_free(pair);
}

static int32_t send_bytes(const void *bytes, size_t length)
{
	static struct hvrepl_iovec iov;

	iov = (struct hvrepl_iovec){ (void *)(uintptr_t)bytes, length };
	return ends[0].ops->send(ends[0].user, &sent.op, &iov, 1);
}

static int32_t receive(size_t length)
{
	return ends[1].ops->receive(ends[1].user, &got.op, buffer, length,
				    &received);
}

START_TEST(both_ends_know_each_other_and_share_a_secret)
{
	struct hvrepl_channel_info a = { 0 }, b = { 0 };
	static const uint8_t none[HVREPL_EXPORTER_SIZE];

	make(0, 0, 0);
	ck_assert_int_eq(ends[0].ops->info(ends[0].user, &a), HVREPL_OK);
	ck_assert_int_eq(ends[1].ops->info(ends[1].user, &b), HVREPL_OK);
	ck_assert_str_eq(a.peer, "replica");
	ck_assert_str_eq(b.peer, "primary");
	ck_assert_uint_eq(a.mechanism, HVREPL_MECHANISM_MEMORY);
	ck_assert_mem_eq(a.exporter, b.exporter, sizeof(a.exporter));
	ck_assert(memcmp(a.exporter, none, sizeof(none)) != 0);
	drop();
}
END_TEST

START_TEST(a_receive_waits_for_bytes_and_gets_them)
{
	make(0, 0, 0);
	ck_assert_int_eq(receive(100), HVREPL_PENDING);
	ck_assert_int_eq(send_bytes("hello", 5), HVREPL_OK);
	ck_assert_uint_eq(got.completions, 1);
	ck_assert_int_eq(got.result, HVREPL_OK);
	ck_assert_uint_eq(received, 5);
	ck_assert_mem_eq(buffer, "hello", 5);
	/* And bytes wait for a receive. */
	ck_assert_int_eq(send_bytes("again", 5), HVREPL_OK);
	ck_assert_int_eq(receive(3), HVREPL_OK);
	ck_assert_uint_eq(received, 3);
	ck_assert_int_eq(receive(100), HVREPL_OK);
	ck_assert_mem_eq(buffer, "in", 2);
	ck_assert_uint_eq(hvrepl_memory_pair_moved(pair, 0), 10);
	drop();
}
END_TEST

START_TEST(a_full_window_holds_the_sender_back)
{
	static uint8_t bytes[300000], arrived[300000];
	size_t at = 0;

	make(1000, 0, 700);
	test_fill(bytes, sizeof(bytes), 4);
	ck_assert_int_eq(send_bytes(bytes, sizeof(bytes)), HVREPL_PENDING);
	while (at < sizeof(arrived)) {
		ck_assert_int_eq(receive(sizeof(buffer)), HVREPL_OK);
		ck_assert_uint_le(received, 700);
		memcpy(arrived + at, buffer, received);
		at += received;
		ck_assert_uint_eq(sent.completions,
				  at + 1000 >= sizeof(bytes) ? 1 : 0);
	}
	ck_assert_mem_eq(bytes, arrived, sizeof(bytes));
	ck_assert_int_eq(sent.result, HVREPL_OK);
	ck_assert_int_eq(receive(1), HVREPL_PENDING);
	ck_assert_int_eq(send_bytes("x", 1), HVREPL_OK);
	drop();
}
END_TEST

START_TEST(delayed_bytes_arrive_when_the_clock_says_so)
{
	make(0, 5000, 0);
	ck_assert_int_eq(receive(100), HVREPL_PENDING);
	ck_assert_uint_eq(hvrepl_memory_pair_advance(pair, 1000), UINT64_MAX);
	ck_assert_int_eq(send_bytes("late", 4), HVREPL_OK);
	ck_assert_uint_eq(hvrepl_memory_pair_advance(pair, 2000), 6000);
	ck_assert_uint_eq(got.completions, 0);
	ck_assert_uint_eq(hvrepl_memory_pair_advance(pair, 6000), UINT64_MAX);
	ck_assert_uint_eq(got.completions, 1);
	ck_assert_uint_eq(received, 4);
	drop();
}
END_TEST

START_TEST(a_stall_holds_bytes_without_losing_them)
{
	make(0, 0, 0);
	hvrepl_memory_pair_stall(pair, 0, 1);
	ck_assert_int_eq(send_bytes("x", 1), HVREPL_OK);
	ck_assert_int_eq(receive(10), HVREPL_PENDING);
	hvrepl_memory_pair_stall(pair, 0, 0);
	ck_assert_uint_eq(got.completions, 1);
	ck_assert_uint_eq(received, 1);
	drop();
}
END_TEST

START_TEST(a_cut_link_fails_both_ends_at_the_given_byte)
{
	make(4, 0, 0);
	hvrepl_memory_pair_cut_after(pair, 0, 6);
	ck_assert_int_eq(send_bytes("0123456789", 10), HVREPL_PENDING);
	ck_assert_int_eq(receive(100), HVREPL_OK);
	ck_assert_uint_eq(received, 4);
	ck_assert_int_eq(receive(100), HVREPL_OK);
	ck_assert_uint_eq(received, 2);
	ck_assert_uint_eq(sent.completions, 1);
	ck_assert_int_eq(sent.result, HVREPL_E_DISCONNECTED);
	ck_assert_int_eq(receive(100), HVREPL_E_DISCONNECTED);
	ck_assert_int_eq(send_bytes("x", 1), HVREPL_E_DISCONNECTED);
	drop();
	make(0, 0, 0);
	ck_assert_int_eq(receive(100), HVREPL_PENDING);
	hvrepl_memory_pair_cut(pair);
	ck_assert_uint_eq(got.completions, 1);
	ck_assert_int_eq(got.result, HVREPL_E_DISCONNECTED);
	drop();
}
END_TEST

START_TEST(closing_delivers_what_was_sent_and_then_the_end)
{
	make(0, 0, 0);
	ck_assert_int_eq(send_bytes("bye", 3), HVREPL_OK);
	ends[0].ops->close(ends[0].user);
	ck_assert_int_eq(send_bytes("x", 1), HVREPL_E_CLOSED);
	ck_assert_int_eq(receive(2), HVREPL_OK);
	ck_assert_int_eq(receive(2), HVREPL_OK);
	ck_assert_uint_eq(received, 1);
	ck_assert_int_eq(receive(2), HVREPL_OK);
	ck_assert_uint_eq(received, 0);
	drop();
}
END_TEST

START_TEST(closing_completes_what_is_under_way)
{
	make(2, 0, 0);
	ck_assert_int_eq(send_bytes("long", 4), HVREPL_PENDING);
	ends[1].ops->close(ends[1].user);
	ck_assert_uint_eq(sent.completions, 1);
	ck_assert_int_eq(sent.result, HVREPL_E_DISCONNECTED);
	drop();
	/* Releasing an end without close is closing it. */
	make(0, 0, 0);
	ck_assert_int_eq(receive(2), HVREPL_PENDING);
	ends[0].release(ends[0].user);
	ck_assert_uint_eq(got.completions, 1);
	ck_assert_int_eq(got.result, HVREPL_OK);
	ck_assert_uint_eq(received, 0);
	hvrepl_memory_pair_free(pair);
	ends[1].release(ends[1].user);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("memory pair");
	TCase *tc = tcase_create("channels");

	tcase_add_test(tc, both_ends_know_each_other_and_share_a_secret);
	tcase_add_test(tc, a_receive_waits_for_bytes_and_gets_them);
	tcase_add_test(tc, a_full_window_holds_the_sender_back);
	tcase_add_test(tc, delayed_bytes_arrive_when_the_clock_says_so);
	tcase_add_test(tc, a_stall_holds_bytes_without_losing_them);
	tcase_add_test(tc, a_cut_link_fails_both_ends_at_the_given_byte);
	tcase_add_test(tc, closing_delivers_what_was_sent_and_then_the_end);
	tcase_add_test(tc, closing_completes_what_is_under_way);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
