/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting and listening: families, limits, deadlines, failed steps. */
#define _GNU_SOURCE
#include "backend/tcp.h"
#include "loopclock.h"
#include "tlsrig.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

START_TEST(a_connection_gives_two_channels_bound_to_each_other)
{
	struct hvrepl_channel_info a = { .struct_size = sizeof(a) },
				   b = { .struct_size = sizeof(b) };

	join_sides();
	client.channel.ops->info(client.channel.user, &a);
	server.channel.ops->info(server.channel.user, &b);
	ck_assert_str_eq(a.peer, "replica.test");
	ck_assert_str_eq(b.peer, "primary.test");
	ck_assert_uint_eq(a.mechanism, HVREPL_MECHANISM_X509);
	ck_assert_mem_eq(a.exporter, b.exporter, HVREPL_EXPORTER_SIZE);
	ck_assert_uint_eq(client.step, HVREPL_STEP_DONE);
	ck_assert_ptr_nonnull(strstr(client.address, "127.0.0.1:"));
	ck_assert_ptr_nonnull(strstr(server.address, "127.0.0.1:"));
}
END_TEST

/* A container may lack either; there is nothing to prove then. */
static bool machine_knows(const char *name)
{
	struct addrinfo *list = NULL;
	bool can = false;

	if (getaddrinfo(name, NULL, NULL, &list) != 0)
		return false;
	for (struct addrinfo *one = list; one != NULL && !can;
	     one = one->ai_next) {
		int fd = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

		can = fd >= 0 && bind(fd, one->ai_addr, one->ai_addrlen) == 0;
		if (fd >= 0)
			close(fd);
	}
	freeaddrinfo(list);
	return can;
}

START_TEST(a_name_is_looked_up)
{
	if (!machine_knows("localhost"))
		return;
	start_listening(NULL, 0); /* Both families. */
	dial("localhost", hvrepl_listener_port(listener), "replica.test", 0);
	await(2);
	ck_assert_msg(client.code == HVREPL_OK, "%s", client.sentence);
}
END_TEST

START_TEST(ipv6_works_too)
{
	if (!machine_knows("::1"))
		return;
	start_listening("::1", 0);
	dial("::1", hvrepl_listener_port(listener), "replica.test", 0);
	await(2);
	ck_assert_msg(client.code == HVREPL_OK, "%s", client.sentence);
	ck_assert_ptr_nonnull(strstr(client.address, "[::1]:"));
}
END_TEST

/* From 127.0.0.`source`. */
static int raw_connect_from(uint32_t port, uint32_t source)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)port) };
	struct sockaddr_in from = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + source);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static int raw_connect(uint32_t port)
{
	return raw_connect_from(port, 1);
}

#define SILENT_MAX 80
static int silent_ones[SILENT_MAX];
static int silent_count;

static void knock(int count, uint32_t source)
{
	for (int i = 0; i < count; i++)
		silent_ones[silent_count++] = raw_connect_from(
			hvrepl_listener_port(listener), source);
}

static void hang_up(void)
{
	while (silent_count > 0)
		close(silent_ones[--silent_count]);
}

/* An honest one calls, from 127.0.0.1. */
static void call(void)
{
	dial("127.0.0.1", hvrepl_listener_port(listener), "replica.test", 0);
}

START_TEST(one_source_has_sixteen_handshakes_at_once)
{
	start_listening("127.0.0.1", 0);
	knock(15, 1);
	call();
	await(2);
	ck_assert_msg(client.code == HVREPL_OK, "%s", client.sentence);
	ck_assert_uint_eq(server.settled, 1);
	hang_up();
}
END_TEST

START_TEST(the_seventeenth_of_a_source_is_closed_and_told)
{
	start_listening("127.0.0.1", 0);
	knock(16, 1);
	call();
	await(2);
	ck_assert_int_eq(server.code, HVREPL_E_LIMIT);
	ck_assert_uint_eq(server.step, HVREPL_STEP_TCP);
	ck_assert_ptr_nonnull(strstr(server.sentence, "16 handshakes of this"));
	ck_assert_ptr_nonnull(strstr(server.address, "127.0.0.1:"));
	ck_assert_int_ne(client.code, HVREPL_OK);
	ck_assert_uint_eq(server.settled, 1);
	hang_up();
}
END_TEST

/* ...and takes nobody else's place. */
START_TEST(who_knocks_without_end_keeps_no_other_source_out)
{
	start_listening("127.0.0.1", 0);
	knock(SILENT_MAX, 2);
	call();
	/* All but sixteen of them are turned away at once. */
	await(SILENT_MAX - 16 + 2);
	ck_assert_msg(client.code == HVREPL_OK, "%s", client.sentence);
	ck_assert_ptr_nonnull(server.channel.ops);
	hang_up();
}
END_TEST

static void listen_with(uint32_t handshakes, uint32_t per_source, int32_t code)
{
	struct hvrepl_tls_listen listen = HVREPL_TLS_LISTEN_INIT;

	listen.address = "127.0.0.1";
	listen.handshakes_max = handshakes;
	listen.handshakes_per_source = per_source;
	listen.accepted = on_accepted;
	listen.refused = on_refused;
	ck_assert_int_eq(hvrepl_tls_listen(loop, replica, &listen, &listener,
					   NULL),
			 code);
}

START_TEST(a_share_is_what_the_listener_says)
{
	listen_with(8, 2, HVREPL_OK);
	knock(2, 1);
	call();
	await(2);
	ck_assert_int_eq(server.code, HVREPL_E_LIMIT);
	hang_up();
	/* Those two go, and there is room again. */
	await(2);
	call();
	await(2);
	ck_assert_msg(client.code == HVREPL_OK, "%s", client.sentence);
}
END_TEST

START_TEST(sixty_three_handshakes_leave_room_for_one_more)
{
	start_listening("127.0.0.1", 0);
	for (uint32_t source = 2; source < 5; source++)
		knock(16, source);
	knock(15, 5);
	call();
	await(2);
	ck_assert_msg(client.code == HVREPL_OK, "%s", client.sentence);
	ck_assert_uint_eq(server.settled, 1);
	hang_up();
}
END_TEST

/* How long a listener waits for a handshake by the clock that is put forward, and how
 * much longer who calls it does. */
#define THEIRS (60 * SECOND)
#define OURS (3000 * SECOND)

static void wait_longer_than_they(void)
{
	tear_down();
	set_up(THEIRS);
	hvrepl_tls_destroy(primary);
	primary_options.handshake_timeout_ns = OURS;
	primary = credentials("primary.test", &primary_options);
}

/* So many settlements at the listener, all of which have to wait for their deadline. */
static void put_out(unsigned settlements)
{
	hvrepl_loop_timer *timer;

	ck_assert_int_eq(hvrepl_loop_timer_create(loop, stop_loop, NULL,
						  &timer), HVREPL_OK);
	while (server.settled < settlements) {
		awaited = settlements - server.settled;
		hvrepl_loop_timer_set(timer, hvrepl_loop_now() + SECOND / 50);
		ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
		/* Those that were let in by now. */
		if (server.settled < settlements)
			loop_clock_forward(THEIRS);
	}
	hvrepl_loop_timer_free(timer);
}

START_TEST(the_sixty_fifth_handshake_waits_until_another_ended)
{
	wait_longer_than_they();
	start_listening("127.0.0.1", 0);
	for (uint32_t source = 2; source < 6; source++)
		knock(16, source);
	dial("127.0.0.1", hvrepl_listener_port(listener), "replica.test", OURS);
	put_out(1);
	ck_assert_int_eq(server.code, HVREPL_E_TIMEOUT);
	while (client.settled == 0)
		await(1);
	ck_assert_msg(client.code == HVREPL_OK, "%s", client.sentence);
	hang_up();
}
END_TEST

START_TEST(a_listener_may_ask_for_4096_handshakes_and_not_for_more)
{
	listen_with(4096, 4096, HVREPL_OK);
	hvrepl_listener_close(listener);
	listener = NULL;
	listen_with(4097, 0, HVREPL_E_INVALID);
}
END_TEST

START_TEST(a_callers_options_of_an_older_size_count)
{
	struct hvrepl_tls_listen listen = HVREPL_TLS_LISTEN_INIT;

	listen.accepted = on_accepted;
	listen.struct_size = offsetof(struct hvrepl_tls_listen,
				      handshakes_per_source);
	listen.handshakes_per_source = 1; /* Not there for the library. */
	listen.refused = on_refused;
	listen.address = "127.0.0.1";
	ck_assert_int_eq(hvrepl_tls_listen(loop, replica, &listen, &listener,
					   NULL),
			 HVREPL_OK);
	knock(1, 1);
	call();
	await(2);
	ck_assert_msg(client.code == HVREPL_OK, "%s", client.sentence);
	hang_up();
	hvrepl_listener_close(listener);
	listener = NULL;
	listen.struct_size--;
	ck_assert_int_eq(hvrepl_tls_listen(loop, replica, &listen, &listener,
					   NULL),
			 HVREPL_E_INVALID);
	listen.struct_size = sizeof(listen);
	listen.reserved = 1;
	ck_assert_int_eq(hvrepl_tls_listen(loop, replica, &listen, &listener,
					   NULL),
			 HVREPL_E_INVALID);
}
END_TEST

static struct hvri_tcp_source source_of(const char *text)
{
	struct sockaddr_in four = { .sin_family = AF_INET };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	struct hvri_tcp_source source;

	if (inet_pton(AF_INET, text, &four.sin_addr) == 1) {
		hvri_tcp_source((struct sockaddr *)&four, sizeof(four),
				&source);
	} else {
		ck_assert_int_eq(inet_pton(AF_INET6, text, &six.sin6_addr), 1);
		hvri_tcp_source((struct sockaddr *)&six, sizeof(six), &source);
	}
	return source;
}

static bool one_source(const char *a, const char *b)
{
	struct hvri_tcp_source x = source_of(a), y = source_of(b);

	return hvri_tcp_same_source(&x, &y);
}

START_TEST(a_source_is_an_ipv4_address_or_64_bits_of_ipv6)
{
	ck_assert(one_source("192.0.2.1", "::ffff:192.0.2.1"));
	ck_assert(!one_source("192.0.2.1", "192.0.2.2"));
	ck_assert(!one_source("192.0.2.1", "::ffff:192.0.2.2"));
	ck_assert(one_source("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
	ck_assert(!one_source("2001:db8:1:2::1", "2001:db8:1:3::1"));
	/* A whole link has that prefix. */
	ck_assert(!one_source("fe80::1", "fe80::2"));
	ck_assert(!one_source("::1", "::2"));
}
END_TEST

static void is_called(const char *address, const char *name)
{
	struct hvri_tcp_source source = source_of(address);
	char text[HVRI_ADDRESS_TEXT];

	hvri_tcp_source_format(&source, text);
	ck_assert_str_eq(text, name);
}

START_TEST(a_source_is_called_by_as_much_of_its_address_as_counts)
{
	is_called("192.0.2.7", "192.0.2.7");
	is_called("::ffff:192.0.2.7", "192.0.2.7");
	is_called("2001:db8:1:2:3::9", "2001:db8:1:2::/64");
	is_called("fe80::1", "fe80::1");
	is_called("::1", "::1");
	is_called("::", ""); /* As of a socket of another family. */
}
END_TEST

/* Slowloris: silent connections take no handshake place for ever. */
START_TEST(silent_connections_are_dropped_at_the_deadline)
{
	int silent[3];

	wait_longer_than_they();
	start_listening("127.0.0.1", 2);
	for (int i = 0; i < 3; i++)
		silent[i] = raw_connect(hvrepl_listener_port(listener));
	/* One byte now and then does not help. */
	ck_assert_int_eq(write(silent[0], "\x16", 1), 1);
	dial("127.0.0.1", hvrepl_listener_port(listener), "replica.test", OURS);
	/* Three refusals and both sides of the honest one. */
	put_out(2);
	ck_assert_int_eq(server.code, HVREPL_E_TIMEOUT);
	ck_assert_ptr_nonnull(strstr(server.sentence, "took too long"));
	while (server.channel.ops == NULL || client.settled == 0)
		await(1);
	ck_assert_int_eq(client.code, HVREPL_OK);
	put_out(4);
	ck_assert_uint_eq(server.settled, 4);
	for (int i = 0; i < 3; i++)
		close(silent[i]);
}
END_TEST

START_TEST(each_failed_step_is_named)
{
	int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t length = sizeof(at);

	/* A port that is bound and not listened on refuses. */
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(taken, (struct sockaddr *)&at, length), 0);
	ck_assert_int_eq(getsockname(taken, (struct sockaddr *)&at, &length),
			 0);
	dial("127.0.0.1", ntohs(at.sin_port), "replica.test", 0);
	await(1);
	ck_assert_uint_eq(client.step, HVREPL_STEP_TCP);
	ck_assert_int_eq(client.code, HVREPL_E_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(client.sentence, "nothing listens there"));
	/* Listening, but nobody ever answers the handshake. */
	ck_assert_int_eq(listen(taken, 5), 0);
	hvrepl_tls_destroy(primary);
	primary_options.handshake_timeout_ns = SECOND / 5;
	primary = credentials("primary.test", &primary_options);
	dial("127.0.0.1", ntohs(at.sin_port), "replica.test", 0);
	await(1);
	ck_assert_uint_eq(client.step, HVREPL_STEP_TLS);
	ck_assert_int_eq(client.code, HVREPL_E_TIMEOUT);
	close(taken);
	/* The others are to end by what they are told, not by time. */
	hvrepl_tls_destroy(primary);
	primary_options.handshake_timeout_ns = 0;
	primary = credentials("primary.test", &primary_options);
	dial("no-such-host.invalid", 1, NULL, SECOND);
	await(1);
	ck_assert_uint_eq(client.step, HVREPL_STEP_NAME);
	ck_assert_ptr_nonnull(strstr(client.sentence, "no-such-host.invalid"));
	start_listening("127.0.0.1", 0);
	dial("127.0.0.1", hvrepl_listener_port(listener), "other.test", 0);
	await(2);
	ck_assert_uint_eq(client.step, HVREPL_STEP_CERTIFICATE);
	ck_assert_int_eq(client.code, HVREPL_E_UNAUTHENTICATED);
	ck_assert_uint_eq(server.step, HVREPL_STEP_ACCEPTANCE);
	ck_assert_str_eq(hvrepl_step_name(client.step), "their certificate");
}
END_TEST

/* To such an address no TCP connection has a way, whatever the machine's routes. */
START_TEST(an_address_without_a_route_is_told_from_a_port_that_refuses)
{
	dial("255.255.255.255", 4471, "replica.test", 0);
	await(1);
	ck_assert_msg(client.step == HVREPL_STEP_ROUTE, "%u %s", client.step,
		      client.sentence);
	ck_assert_int_eq(client.code, HVREPL_E_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(client.sentence, "no route there"));
	ck_assert_str_eq(hvrepl_step_name(client.step), "route");
	ck_assert_uint_eq(client.round_trip_ns, 0);
}
END_TEST

START_TEST(an_attempt_says_how_long_a_round_trip_takes)
{
	join_sides();
	ck_assert_uint_gt(client.round_trip_ns, 0);
	ck_assert_uint_le(client.round_trip_ns, client.duration_ns);
	ck_assert_uint_eq(server.round_trip_ns, 0);
}
END_TEST

START_TEST(an_unanswered_connect_ends_at_its_deadline)
{
	int full = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fds[8];
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t length = sizeof(at);
	uint64_t timeout_ns = SECOND / 5;

	/* A full backlog drops further attempts without a word. */
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(full, (struct sockaddr *)&at, length), 0);
	ck_assert_int_eq(listen(full, 0), 0);
	ck_assert_int_eq(getsockname(full, (struct sockaddr *)&at, &length), 0);
	for (int i = 0; i < 8; i++) {
		fds[i] = socket(AF_INET,
				SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)connect(fds[i], (struct sockaddr *)&at, length);
	}
	/* On a slow machine the time is over before there is an attempt. */
	do {
		ck_assert_uint_lt(timeout_ns, 60 * SECOND);
		dial("127.0.0.1", ntohs(at.sin_port), "replica.test",
		     timeout_ns);
		await(1);
		ck_assert_uint_eq(client.step, HVREPL_STEP_TCP);
		ck_assert_int_eq(client.code, HVREPL_E_TIMEOUT);
		timeout_ns *= 2;
	} while (strstr(client.sentence, "took all the time") != NULL);
	ck_assert_ptr_nonnull(strstr(client.sentence, "no answer"));
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	close(full);
}
END_TEST

START_TEST(an_attempt_ends_when_its_loop_does)
{
	int quiet = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t length = sizeof(at);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(quiet, (struct sockaddr *)&at, length), 0);
	ck_assert_int_eq(listen(quiet, 1), 0);
	ck_assert_int_eq(getsockname(quiet, (struct sockaddr *)&at, &length),
			 0);
	dial("127.0.0.1", ntohs(at.sin_port), "replica.test", 0);
	hvrepl_loop_destroy(loop);
	ck_assert_uint_eq(client.settled, 1);
	ck_assert_int_eq(client.code, HVREPL_E_CANCELLED);
	ck_assert_int_eq(hvrepl_loop_create(&loop, NULL), HVREPL_OK);
	close(quiet);
}
END_TEST

/* Linked with --wrap: whoever is taken out of epoll first is not let in again, once. */
int __real_epoll_ctl(int epoll, int operation, int fd,
		     struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int operation, int fd,
		     struct epoll_event *event);
static bool shut_out;
static int shut_out_fd;

int __wrap_epoll_ctl(int epoll, int operation, int fd,
		     struct epoll_event *event)
{
	if (shut_out && operation == EPOLL_CTL_DEL && shut_out_fd < 0)
		shut_out_fd = fd;
	if (shut_out && operation == EPOLL_CTL_ADD && fd == shut_out_fd) {
		shut_out = false;
		errno = ENOMEM;
		return -1;
	}
	return __real_epoll_ctl(epoll, operation, fd, event);
}

/* Nothing else would bring it back: no handshake is under way. */
START_TEST(a_listener_that_found_no_memory_to_listen_on_listens_again)
{
	start_listening("127.0.0.1", 1);
	shut_out = true;
	shut_out_fd = -1;
	knock(1, 1);
	hang_up();
	await(1);
	ck_assert_uint_eq(server.settled, 1);
	ck_assert(!shut_out);
	loop_clock_forward(SECOND);
	call();
	while (client.settled == 0 || server.settled == 1) {
		await(1);
		ck_assert_int_eq(client.code, HVREPL_OK);
	}
	ck_assert_int_eq(server.code, HVREPL_OK);
}
END_TEST

static unsigned open_files(void)
{
	DIR *open_now = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(open_now) != NULL)
		count++;
	closedir(open_now);
	return count;
}

static unsigned refusals, most_files;

static void count_refusal(void *user, const struct hvrepl_connect_result *result)
{
	(void)user, (void)result;
	if (open_files() > most_files)
		most_files = open_files();
	if (++refusals == 12)
		hvrepl_loop_stop(loop);
}

/* Nobody hangs up: in the end their time to read why is over. */
static void pass_time(void *user)
{
	loop_clock_forward(SECOND / 2);
	hvrepl_loop_timer_set(*(hvrepl_loop_timer **)user,
			      hvrepl_loop_now() + SECOND / 50);
}

/* Whoever fails at once could have all descriptors of the process otherwise. */
START_TEST(who_fails_and_stays_takes_no_more_sockets_than_places)
{
	struct hvrepl_tls_listen listen = HVREPL_TLS_LISTEN_INIT;
	hvrepl_loop_timer *timer;
	unsigned before;

	tear_down();
	set_up(600 * SECOND);
	listen.address = "127.0.0.1";
	listen.handshakes_max = 2;
	listen.accepted = on_accepted;
	listen.refused = count_refusal;
	ck_assert_int_eq(hvrepl_tls_listen(loop, replica, &listen, &listener,
					   NULL), HVREPL_OK);
	refusals = most_files = 0;
	knock(12, 1);
	for (int i = 0; i < 12; i++)
		ck_assert_int_eq(write(silent_ones[i], "GET / HTTP/1.1\r\n\r\n",
				       18), 18);
	before = open_files();
	ck_assert_int_eq(hvrepl_loop_timer_create(loop, pass_time, &timer,
						  &timer), HVREPL_OK);
	hvrepl_loop_timer_set(timer, hvrepl_loop_now() + SECOND / 50);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	hvrepl_loop_timer_free(timer);
	ck_assert_uint_eq(refusals, 12);
	ck_assert_uint_le(most_files, before + 2);
	hang_up();
}
END_TEST

/* Time limits have no end of their own, such as where a sum would wrap. */
START_TEST(whoever_waits_for_ever_is_not_late_at_once)
{
	tear_down();
	set_up(UINT64_MAX);
	hvrepl_tls_destroy(primary);
	primary_options.handshake_timeout_ns = UINT64_MAX;
	primary = credentials("primary.test", &primary_options);
	start_listening("127.0.0.1", 0);
	dial("127.0.0.1", hvrepl_listener_port(listener), "replica.test",
	     UINT64_MAX);
	while (client.settled == 0 || server.settled == 0) {
		await(1);
		ck_assert_msg(client.code == HVREPL_OK, "%s", client.sentence);
		ck_assert_msg(server.code == HVREPL_OK, "%s", server.sentence);
	}
}
END_TEST

START_TEST(bad_arguments_and_taken_ports_are_refused)
{
	struct hvrepl_tls_listen listen = HVREPL_TLS_LISTEN_INIT;
	struct hvrepl_tls_connect connect = HVREPL_TLS_CONNECT_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_listener *second;

	start_listening("127.0.0.1", 0);
	listen.address = "127.0.0.1";
	listen.port = hvrepl_listener_port(listener);
	listen.accepted = on_accepted;
	ck_assert_int_eq(hvrepl_tls_listen(loop, replica, &listen, &second,
					   &error),
			 HVREPL_E_BUSY);
	ck_assert_ptr_nonnull(strstr(error.sentence, "in use"));
	listen.address = "localhost";
	ck_assert_int_eq(hvrepl_tls_listen(loop, replica, &listen, &second,
					   &error),
			 HVREPL_E_INVALID);
	/* Whoever names peers and gives none does not mean everybody. */
	listen.address = "127.0.0.1";
	listen.port = 0;
	listen.peer_count = 1;
	ck_assert_int_eq(hvrepl_tls_listen(loop, replica, &listen, &second,
					   &error),
			 HVREPL_E_INVALID);
	connect.host = "x.test";
	connect.done = on_done;
	ck_assert_int_eq(hvrepl_tls_connect(loop, primary, &connect, &error),
			 HVREPL_E_INVALID);
	connect.port = 1;
	connect.peer = "not a name";
	ck_assert_int_eq(hvrepl_tls_connect(loop, primary, &connect, &error),
			 HVREPL_E_INVALID);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("TLS connect");
	TCase *tc = tcase_create("channels");

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_connection_gives_two_channels_bound_to_each_other);
	tcase_add_test(tc, a_name_is_looked_up);
	tcase_add_test(tc, ipv6_works_too);
	tcase_add_test(tc, one_source_has_sixteen_handshakes_at_once);
	tcase_add_test(tc, the_seventeenth_of_a_source_is_closed_and_told);
	tcase_add_test(tc, who_knocks_without_end_keeps_no_other_source_out);
	tcase_add_test(tc, a_share_is_what_the_listener_says);
	tcase_add_test(tc, sixty_three_handshakes_leave_room_for_one_more);
	tcase_add_test(tc,
		       the_sixty_fifth_handshake_waits_until_another_ended);
	tcase_add_test(
		tc, a_listener_may_ask_for_4096_handshakes_and_not_for_more);
	tcase_add_test(tc, a_callers_options_of_an_older_size_count);
	tcase_add_test(tc, a_source_is_an_ipv4_address_or_64_bits_of_ipv6);
	tcase_add_test(tc,
		       a_source_is_called_by_as_much_of_its_address_as_counts);
	tcase_add_test(tc, silent_connections_are_dropped_at_the_deadline);
	tcase_add_test(tc, each_failed_step_is_named);
	tcase_add_test(
		tc, an_address_without_a_route_is_told_from_a_port_that_refuses);
	tcase_add_test(tc, an_attempt_says_how_long_a_round_trip_takes);
	tcase_add_test(tc, an_unanswered_connect_ends_at_its_deadline);
	tcase_add_test(tc, an_attempt_ends_when_its_loop_does);
	tcase_add_test(
		tc,
		a_listener_that_found_no_memory_to_listen_on_listens_again);
	tcase_add_test(
		tc, who_fails_and_stays_takes_no_more_sockets_than_places);
	tcase_add_test(tc, whoever_waits_for_ever_is_not_late_at_once);
	tcase_add_test(tc, bad_arguments_and_taken_ports_are_refused);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
