/* SPDX-License-Identifier: Apache-2.0 */
/* Channels over TLS: transfers, threads, closing, the loop's end. */
#define _GNU_SOURCE
#include "tlsrig.h"
#include "tlsstream.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

START_TEST(large_transfers_run_both_ways_at_once)
{
	struct stream streams[2];

	join_sides();
	streams_open = 0;
	stream_init(&streams[0], &client, &server, 8u << 20, 3000000, 100000);
	stream_init(&streams[1], &server, &client, 6u << 20, 70000, 65536);
	ck_assert_int_eq(hvrepl_loop_post(loop, start_streams, streams),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	/* The sockets are smaller than that: sends had to wait. */
	ck_assert_uint_gt(streams[0].pendings, 0);
	stream_check(&streams[0]);
	stream_check(&streams[1]);
}
END_TEST

START_TEST(one_byte_at_a_time_is_slow_but_right)
{
	struct stream streams[2];

	join_sides();
	streams_open = 0;
	stream_init(&streams[0], &client, &server, 5000, 7, 1);
	stream_init(&streams[1], &server, &client, 15000, 15000, 1);
	ck_assert_int_eq(hvrepl_loop_post(loop, start_streams, streams),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	stream_check(&streams[0]);
	stream_check(&streams[1]);
}
END_TEST

static uint64_t rekeys_told;

static void note_rekey(void *user, const char *peer, uint64_t count)
{
	ck_assert_ptr_eq(user, &rekeys_told);
	ck_assert_str_eq(peer, "replica.test");
	ck_assert_uint_gt(count, rekeys_told);
	rekeys_told = count;
}

START_TEST(keys_change_during_a_transfer)
{
	struct hvrepl_tls_notes notes = HVREPL_TLS_NOTES_INIT;
	struct stream streams[2];

	tear_down();
	set_up(0);
	hvrepl_tls_destroy(primary);
	primary_options.rekey_bytes = 50000;
	primary = credentials("primary.test", &primary_options);
	notes.rekeyed = note_rekey;
	notes.user = &rekeys_told;
	rekeys_told = 0;
	ck_assert_int_eq(hvrepl_tls_set_notes(primary, &notes), HVREPL_OK);
	join_sides();
	ck_assert_uint_eq(rekeys_told, 0);
	streams_open = 0;
	stream_init(&streams[0], &client, &server, 2u << 20, 100000, 65536);
	stream_init(&streams[1], &server, &client, 2u << 20, 100000, 65536);
	ck_assert_int_eq(hvrepl_loop_post(loop, start_streams, streams),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	stream_check(&streams[0]);
	stream_check(&streams[1]);
	/* Each is told: two mebibytes, new keys every 50,000 bytes. */
	ck_assert_uint_ge(rekeys_told, 20);
}
END_TEST

/* Operations from threads that are not the loop's. */
struct waiter {
	struct side *side;
	uint8_t *bytes;
	size_t total;
	int32_t rc;
};

static void *send_from_thread(void *argument)
{
	struct waiter *waiter = argument;
	size_t at = 0;

	while (at < waiter->total && waiter->rc == HVREPL_OK) {
		size_t piece = waiter->total - at;
		struct hvrepl_iovec iov;
		struct hvri_op_wait wait;

		if (piece > 150000)
			piece = 150000;
		iov = (struct hvrepl_iovec){ waiter->bytes + at, piece };
		hvri_op_wait_init(&wait);
		waiter->rc = waiter->side->channel.ops->send(
			waiter->side->channel.user, &wait.op, &iov, 1);
		waiter->rc = hvri_op_wait_end(&wait, waiter->rc);
		at += piece;
	}
	return NULL;
}

static void *receive_from_thread(void *argument)
{
	struct waiter *waiter = argument;
	size_t at = 0, got = 1;

	while (at < waiter->total && waiter->rc == HVREPL_OK && got > 0) {
		struct hvri_op_wait wait;

		hvri_op_wait_init(&wait);
		waiter->rc = waiter->side->channel.ops->receive(
			waiter->side->channel.user, &wait.op,
			waiter->bytes + at, waiter->total - at, &got);
		waiter->rc = hvri_op_wait_end(&wait, waiter->rc);
		at += waiter->rc == HVREPL_OK ? got : 0;
	}
	return NULL;
}

static void *run_the_loop(void *argument)
{
	(void)argument;
	if (hvrepl_loop_run(loop) != HVREPL_OK)
		abort();
	return NULL;
}

START_TEST(channels_are_used_from_other_threads)
{
	struct waiter waiters[4];
	pthread_t threads[4], runner;

	join_sides();
	for (int i = 0; i < 4; i++) {
		waiters[i] = (struct waiter){ i / 2 == 0 ? &client : &server,
					      malloc(4u << 20), 4u << 20,
					      HVREPL_OK };
		test_fill(waiters[i].bytes, waiters[i].total,
			  i % 2 == 0 ? (uint64_t)i + 1 : 99);
	}
	pthread_create(&runner, NULL, run_the_loop, NULL);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL,
			       i % 2 == 0 ? send_from_thread :
					    receive_from_thread,
			       &waiters[i]);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	/* Closing from outside, too. */
	client.channel.ops->close(client.channel.user);
	hvrepl_loop_stop(loop);
	pthread_join(runner, NULL);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(waiters[i].rc, HVREPL_OK);
	ck_assert_mem_eq(waiters[0].bytes, waiters[3].bytes, 4u << 20);
	ck_assert_mem_eq(waiters[2].bytes, waiters[1].bytes, 4u << 20);
	for (int i = 0; i < 4; i++)
		free(waiters[i].bytes);
}
END_TEST

/* An operation that stops the loop when it is over. */
struct last_op {
	struct hvrepl_op op;
	int32_t result;
	unsigned completions;
};

static void last_done(struct hvrepl_op *op, int32_t result)
{
	struct last_op *last = (struct last_op *)op;

	last->result = result;
	last->completions++;
	hvrepl_loop_stop(loop);
}

static void close_client(void *argument)
{
	(void)argument;
	client.channel.ops->close(client.channel.user);
}

static int32_t receive_now(struct last_op *last, void *buffer, size_t room,
			   size_t *got)
{
	int32_t rc = server.channel.ops->receive(server.channel.user, &last->op,
						 buffer, room, got);

	if (rc != HVREPL_PENDING)
		return rc;
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	return last->result;
}

static void send_and_close(void *argument)
{
	struct stream *stream = argument;

	send_more(stream);
	client.channel.ops->close(client.channel.user);
}

START_TEST(closing_delivers_what_was_sent_and_then_the_end)
{
	struct last_op last = { .op.complete = last_done };
	struct stream stream;
	uint8_t buffer[3000];
	size_t got = 0, at = 0;

	join_sides();
	streams_open = 0;
	stream_init(&stream, &client, &server, 20000, 20000, 1);
	ck_assert_int_eq(hvrepl_loop_post(loop, send_and_close, &stream),
			 HVREPL_OK);
	do {
		ck_assert_int_eq(receive_now(&last, buffer, sizeof(buffer),
					     &got),
				 HVREPL_OK);
		ck_assert_mem_eq(stream.bytes + at, buffer, got);
		at += got;
	} while (got > 0);
	ck_assert_uint_eq(at, 20000);
	/* The end stays the end. */
	ck_assert_int_eq(receive_now(&last, buffer, 10, &got), HVREPL_OK);
	ck_assert_uint_eq(got, 0);
	ck_assert_int_eq(client.channel.ops->send(client.channel.user, &last.op,
						  stream.iov, 3),
			 HVREPL_E_CLOSED);
	free(stream.bytes);
	free(stream.got);
}
END_TEST

START_TEST(closing_in_mid_stream_ends_the_operations_of_both_sides)
{
	struct last_op receiving = { .op.complete = last_done };
	struct last_op sending = { .op.complete = last_done };
	static uint8_t bytes[32u << 20];
	struct hvrepl_iovec iov = { bytes, sizeof(bytes) };
	uint8_t buffer[10];
	size_t got = 0;
	int32_t rc;

	join_sides();
	/* Nobody reads: the send stays. */
	ck_assert_int_eq(client.channel.ops->send(client.channel.user,
						  &sending.op, &iov, 1),
			 HVREPL_PENDING);
	ck_assert_int_eq(client.channel.ops->receive(client.channel.user,
						     &receiving.op, buffer,
						     sizeof(buffer), &got),
			 HVREPL_PENDING);
	ck_assert_int_eq(client.channel.ops->send(client.channel.user,
						  &sending.op, &iov, 1),
			 HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_loop_post(loop, close_client, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	ck_assert_uint_eq(sending.completions, 1);
	ck_assert_int_eq(sending.result, HVREPL_E_CLOSED);
	ck_assert_uint_eq(receiving.completions, 1);
	ck_assert_int_eq(receiving.result, HVREPL_E_CLOSED);
	/* The other side gets what came through, then a loss or the end:
	 * never more, never other bytes. */
	do {
		struct last_op last = { .op.complete = last_done };
		static uint8_t piece[65536];

		rc = receive_now(&last, piece, sizeof(piece), &got);
		if (rc == HVREPL_OK)
			ck_assert_mem_eq(piece, bytes, got);
	} while (rc == HVREPL_OK && got > 0);
	ck_assert(rc == HVREPL_OK || rc == HVREPL_E_DISCONNECTED);
}
END_TEST

START_TEST(destroying_the_loop_breaks_its_connections)
{
	struct last_op last = { .op.complete = last_done };
	uint8_t buffer[10];
	size_t got;

	join_sides();
	ck_assert_int_eq(server.channel.ops->receive(server.channel.user,
						     &last.op, buffer, 10,
						     &got),
			 HVREPL_PENDING);
	last.completions = 0;
	hvrepl_loop_destroy(loop);
	ck_assert_uint_eq(last.completions, 1);
	ck_assert_int_eq(last.result, HVREPL_E_CLOSED);
	ck_assert_int_eq(server.channel.ops->receive(server.channel.user,
						     &last.op, buffer, 10,
						     &got),
			 HVREPL_E_CLOSED);
	listener = NULL;
	ck_assert_int_eq(hvrepl_loop_create(&loop, NULL), HVREPL_OK);
}
END_TEST

static void close_listener(void *user, const struct hvrepl_connect_result *result)
{
	hvrepl_listener_close(listener);
	listener = NULL;
	on_refused(user, result);
}

/* In good order, not by a reset, which may overtake what was said. */
START_TEST(who_was_refused_hears_why_also_where_the_listener_is_closed)
{
	struct hvrepl_tls_listen listen = HVREPL_TLS_LISTEN_INIT;
	/* A handshake of a kind that there is not, and more than is read at once. */
	static const uint8_t nonsense[100000] = { 22, 3, 1, 0, 16, 99, 0, 0, 12 };
	struct sockaddr_in to = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), broken = -1;
	socklen_t size = sizeof(broken);
	uint8_t said[256];
	size_t length = 0;
	ssize_t got;

	listen.address = "127.0.0.1";
	listen.accepted = on_accepted;
	listen.refused = close_listener;
	ck_assert_int_eq(hvrepl_tls_listen(loop, replica, &listen, &listener,
					   NULL), HVREPL_OK);
	to.sin_port = htons((uint16_t)hvrepl_listener_port(listener));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	ck_assert_int_eq(write(fd, nonsense, sizeof(nonsense)),
			 sizeof(nonsense));
	await(1);
	ck_assert_int_lt(server.code, 0);
	ck_assert_ptr_null(listener);
	while ((got = read(fd, said + length, sizeof(said) - length)) > 0)
		length += (size_t)got;
	ck_assert_msg(got == 0, "%s", strerror(errno));
	/* An alert of TLS. */
	ck_assert_uint_ge(length, 7);
	ck_assert_int_eq(said[0], 21);
	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_ERROR,
				    &broken, &size), 0);
	ck_assert_msg(broken == 0, "%s", strerror(broken));
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("TLS channel");
	TCase *tc = tcase_create("channels");

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, large_transfers_run_both_ways_at_once);
	tcase_add_test(tc, one_byte_at_a_time_is_slow_but_right);
	tcase_add_test(tc, keys_change_during_a_transfer);
	tcase_add_test(tc, channels_are_used_from_other_threads);
	tcase_add_test(tc, closing_delivers_what_was_sent_and_then_the_end);
	tcase_add_test(tc, closing_in_mid_stream_ends_the_operations_of_both_sides);
	tcase_add_test(tc, destroying_the_loop_breaks_its_connections);
	tcase_add_test(
		tc,
		who_was_refused_hears_why_also_where_the_listener_is_closed);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
