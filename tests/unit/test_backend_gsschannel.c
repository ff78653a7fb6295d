/* SPDX-License-Identifier: Apache-2.0 */
/* Channels that Kerberos proves: steps, limits, relays, renewal, transfers. */
#define _GNU_SOURCE
#include "backend/gss/gss.h"
#include "backend/proof.h"
#include "kdc.h"
#include "loopclock.h"
#include "tlsreaders.h"
#include "tlsstream.h"

#define RAW_ALPN "\x0dhvrepl/1-krb5"
#include "middleman.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EAST "hvrepl/east.test@HVREPL.TEST"
#define WEST "hvrepl/west.test@HVREPL.TEST"
#define BRIEF "hvrepl/brief.test@HVREPL.TEST"
/* Of tickets for BRIEF: minutes for the loop's clock, that is put forward; on the
 * machine's it lasts longer than any of these tests. */
#define LIFE (600 * SECOND)
#define HALF (LIFE / 2 + SECOND)
/* By how much clocks may differ: no token on its way is older, on any machine. */
#define SKEW_SECONDS "60"
#define SKEW (60 * SECOND)

static const char *const principals[] = {
	"hvrepl/east.test", "hvrepl/west.test", "hvrepl/north.test",
	"hvrepl/brief.test=-maxlife 10min", NULL,
};
static struct kdc kdc;

static uint64_t life_ns = LIFE;
static unsigned renewals_failed, renewals_mended;
static char renewal_said[HVREPL_SENTENCE_MAX];

static void on_renewal_failed(void *user, const char *peer, uint64_t left_ns,
			      const struct hvrepl_error *error)
{
	ck_assert_ptr_eq(user, &kdc);
	ck_assert_str_eq(peer, BRIEF);
	ck_assert(left_ns > 0 && left_ns <= life_ns / 2);
	snprintf(renewal_said, sizeof(renewal_said), "%s", error->sentence);
	renewals_failed++;
}

static void on_renewed(void *user, const char *peer)
{
	ck_assert(user == &kdc && strcmp(peer, BRIEF) == 0);
	renewals_mended++;
}

static hvrepl_tls *kerberos(const char *name, uint64_t timeout_ns)
{
	struct hvrepl_kerberos_options options = HVREPL_KERBEROS_OPTIONS_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	char path[TEMPDIR_PATH_MAX], principal[80];
	hvrepl_tls *tls;

	snprintf(principal, sizeof(principal), "hvrepl/%s", name);
	options.keytab = kdc_keytab(&kdc, name, path);
	options.principal = principal;
	options.handshake_timeout_ns = timeout_ns;
	options.renewal_failed = on_renewal_failed;
	options.renewed = on_renewed;
	options.user = &kdc;
	ck_assert_msg(hvrepl_kerberos_create(&options, &tls, &error) ==
			      HVREPL_OK,
		      "%s", error.sentence);
	return tls;
}

static void open_ends(const char *called, uint64_t timeout_ns)
{
	memset(&client, 0, sizeof(client));
	memset(&server, 0, sizeof(server));
	primary = kerberos("east.test", 0);
	replica = kerberos(called, timeout_ns);
	ck_assert_int_eq(hvrepl_loop_create(&loop, NULL), HVREPL_OK);
}

static void west_answers(void)
{
	open_ends("west.test", 0);
}

static void close_ends(void)
{
	tear_down();
	client.channel.ops = server.channel.ops = NULL;
	primary = replica = NULL;
	loop = NULL;
}

static void again(const char *called, uint64_t timeout_ns)
{
	close_ends();
	open_ends(called, timeout_ns);
}

static void call(const char *peer)
{
	dial("127.0.0.1", hvrepl_listener_port(listener), peer, 0);
}

static void join_as(const char *peer)
{
	start_listening("127.0.0.1", 0);
	call(peer);
	await(2);
	ck_assert_msg(client.code == HVREPL_OK, "%s", client.sentence);
	ck_assert_msg(server.code == HVREPL_OK, "%s", server.sentence);
}

static void transfer(size_t total, size_t send_piece, size_t receive_piece)
{
	struct stream streams[2];

	stream_init(&streams[0], &client, &server, total, send_piece,
		    receive_piece);
	stream_init(&streams[1], &server, &client, total / 2 + 1,
		    receive_piece, send_piece);
	ck_assert_int_eq(hvrepl_loop_post(loop, start_streams, streams), 0);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	stream_check(&streams[0]);
	stream_check(&streams[1]);
}

START_TEST(a_channel_says_which_principal_it_proved)
{
	struct hvrepl_channel_info a = { .struct_size = sizeof(a) },
				   b = { .struct_size = sizeof(b) };
	char name[HVREPL_PEER_NAME_MAX + 1];

	join_as("west.test"); /* hvrepl/west.test in the default realm. */
	client.channel.ops->info(client.channel.user, &a);
	server.channel.ops->info(server.channel.user, &b);
	ck_assert_str_eq(a.peer, WEST);
	ck_assert_str_eq(b.peer, EAST);
	ck_assert_uint_eq(a.mechanism, HVREPL_MECHANISM_KERBEROS);
	ck_assert_uint_eq(b.mechanism, HVREPL_MECHANISM_KERBEROS);
	ck_assert_mem_eq(a.exporter, b.exporter, HVREPL_EXPORTER_SIZE);
	ck_assert_uint_eq(client.step, HVREPL_STEP_DONE);
	hvrepl_tls_name(primary, name, sizeof(name));
	ck_assert_str_eq(name, EAST);
	ck_assert_uint_eq(hvrepl_tls_expires(primary), 0);
	ck_assert_int_eq(hvrepl_tls_reload(primary, NULL), HVREPL_OK);
}
END_TEST

START_TEST(transfers_run_both_ways_whatever_their_pieces)
{
	static const size_t pieces[][2] = {
		{ 1 << 20, 1 << 20 }, { 16384, 16384 }, { 16376, 5000 },
		{ 70001, 333 },
	};

	join_as(WEST);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
		transfer(5000000, pieces[i][0], pieces[i][1]);
	transfer(3000, 1, 1);
}
END_TEST

static void steps(uint32_t ours, uint32_t theirs)
{
	ck_assert_msg(client.step == ours && server.step == theirs,
		      "%s at %u, %s at %u", client.sentence, client.step,
		      server.sentence, server.step);
	ck_assert_int_lt(client.code, 0);
	ck_assert_int_lt(server.code, 0);
}
#define SAID(side, text) \
	ck_assert_msg(strstr((side).sentence, text), "%s", (side).sentence)

START_TEST(each_failed_step_is_named_on_both_sides)
{
	static const char *const peers[] = { "hvrepl/north.test" };
	struct hvrepl_tls_listen listen = HVREPL_TLS_LISTEN_INIT;

	/* A principal that the site does not know. */
	listen.address = "127.0.0.1";
	listen.peers = peers;
	listen.peer_count = 1;
	listen.accepted = on_accepted;
	listen.refused = on_refused;
	ck_assert_int_eq(hvrepl_tls_listen(loop, replica, &listen, &listener,
					   NULL), HVREPL_OK);
	call(WEST);
	await(2);
	steps(HVREPL_STEP_KERBEROS_ACCEPTANCE, HVREPL_STEP_KERBEROS);
	SAID(client, "we are not among its peers");
	SAID(server, EAST " is not among the peers of this site");
	ck_assert_int_eq(client.code, HVREPL_E_PEER_REFUSED);
	/* One that the KDC does not know: the server hears nothing. */
	again("west.test", 0);
	start_listening("127.0.0.1", 0);
	call("hvrepl/nobody.test");
	await(2);
	steps(HVREPL_STEP_KERBEROS, HVREPL_STEP_KERBEROS);
	SAID(client, "does not know the peer hvrepl/nobody.test@HVREPL.TEST");
	SAID(server, "closed the connection during the Kerberos exchange");
	/* One that is not the site that answers. */
	again("west.test", 0);
	start_listening("127.0.0.1", 0);
	call("hvrepl/north.test");
	await(2);
	steps(HVREPL_STEP_KERBEROS_ACCEPTANCE, HVREPL_STEP_KERBEROS);
	SAID(client, "no key for our ticket");
	SAID(server, "fits no key of " WEST);
}
END_TEST

START_TEST(certificates_and_kerberos_refuse_each_other)
{
	struct hvrepl_tls_options options = HVREPL_TLS_OPTIONS_INIT;

	tempdir_make(&dir);
	ca = pki_ca_new(&dir, "ca");
	pki_good(ca, &dir, "primary.test");
	hvrepl_tls_destroy(primary);
	primary = credentials("primary.test", &options);
	start_listening("127.0.0.1", 0);
	call("replica.test");
	await(2);
	steps(HVREPL_STEP_TLS, HVREPL_STEP_TLS);
	SAID(client, "has that site certificates instead of kerberos?");
	SAID(server, "has that site a section kerberos");
	again("west.test", 0);
	hvrepl_tls_destroy(replica);
	replica = credentials("primary.test", &options);
	start_listening("127.0.0.1", 0);
	call(WEST);
	await(2);
	steps(HVREPL_STEP_TLS, HVREPL_STEP_TLS);
	SAID(client, "has that site a section kerberos");
	pki_ca_free(ca);
	tempdir_remove(&dir);
}
END_TEST

/* ---- Peers that are none of ours, on threads of their own. ---- */

static struct raw {
	uint32_t port;
	const uint8_t *bytes;
	int length;
	hvrepl_tls *second; /* Whose credentials the second proof has. */
} raw;

/* Finishes TLS, says what it has to say, and waits to be let go. */
static void *speak_raw(void *argument)
{
	char end[64];
	int fd = connect_to(raw.port);
	SSL *ssl = tls_over(fd, false);
	sigset_t broken;

	/* The server may wait no longer. */
	sigemptyset(&broken);
	sigaddset(&broken, SIGPIPE);
	ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &broken, NULL), 0);
	if (SSL_connect(ssl) == 1)
		SSL_write(ssl, raw.bytes, raw.length);
	while (SSL_read(ssl, end, sizeof(end)) > 0)
		;
	SSL_free(ssl);
	close(fd);
	return argument;
}

static void hear_within(const void *bytes, int length, uint64_t timeout_ns)
{
	pthread_t thread;

	again("west.test", timeout_ns);
	start_listening("127.0.0.1", 0);
	raw.port = hvrepl_listener_port(listener);
	raw.bytes = bytes;
	raw.length = length;
	ck_assert_int_eq(pthread_create(&thread, NULL, speak_raw, NULL), 0);
	await(1);
	hvrepl_loop_destroy(loop); /* Lets go of the socket. */
	loop = NULL;
	listener = NULL;
	pthread_join(thread, NULL);
}

static void hear_raw(const void *bytes, int length)
{
	hear_within(bytes, length, 0);
	ck_assert_uint_eq(server.step, HVREPL_STEP_KERBEROS);
}

START_TEST(nothing_but_a_bounded_token_is_read_before_the_proof)
{
	static uint8_t bytes[HVRI_PROOF_HEADER + HVRI_GSS_TOKEN_MAX];
	uint64_t timeout_ns = SECOND / 4;

	/* One byte more than there may be: not even waited for. */
	bytes[0] = 0x01, bytes[1] = 0x30, bytes[7] = HVRI_PROOF_TOKEN;
	hear_raw(bytes, 8);
	ck_assert_int_eq(server.code, HVREPL_E_LIMIT);
	SAID(server, "more than 12288 bytes");
	/* As long as it may be, and nothing in it. */
	bytes[0] = 0x00;
	hear_raw(bytes, sizeof(bytes));
	ck_assert_int_eq(server.code, HVREPL_E_UNAUTHENTICATED);
	SAID(server, "no krb5 token");
	bytes[7] = HVRI_PROOF_DATA;
	hear_raw(bytes, 16);
	ck_assert_int_eq(server.code, HVREPL_E_PROTOCOL);
	bytes[7] = HVRI_PROOF_REFUSED;
	hear_raw(bytes, 16);
	ck_assert_int_eq(server.code, HVREPL_E_PROTOCOL);
	bytes[7] = 9;
	hear_raw(bytes, 16);
	ck_assert_int_eq(server.code, HVREPL_E_PROTOCOL);
	bytes[1] = 0, bytes[7] = HVRI_PROOF_TOKEN; /* Empty. */
	hear_raw(bytes, 8);
	ck_assert_int_eq(server.code, HVREPL_E_PROTOCOL);
	/* A part of a token, and then silence; TLS is through by then, at last. */
	bytes[0] = 200;
	do {
		hear_within(bytes, 100, timeout_ns);
		ck_assert_int_eq(server.code, HVREPL_E_TIMEOUT);
		timeout_ns *= 2;
	} while (server.step == HVREPL_STEP_TLS && timeout_ns < 60 * SECOND);
	ck_assert_uint_eq(server.step, HVREPL_STEP_KERBEROS);
	SAID(server, "Kerberos took too long");
	again("west.test", 0);
}
END_TEST

START_TEST(a_proof_relayed_by_a_man_in_the_middle_is_refused)
{
	start_listening("127.0.0.1", 0);
	dial("127.0.0.1", middleman_starts(), WEST, 0);
	await(2);
	steps(HVREPL_STEP_KERBEROS_ACCEPTANCE, HVREPL_STEP_KERBEROS);
	SAID(server, "bound to another TLS connection");
	SAID(client, "somebody is in between");
	hvrepl_loop_destroy(loop);
	listener = NULL;
	middleman_ends();
	ck_assert_int_eq(hvrepl_loop_create(&loop, NULL), HVREPL_OK);
}
END_TEST

/* ---- Time: the loop's, put forward. ---- */

static void send_byte(void *argument)
{
	static struct hvrepl_op ops[2];
	static const struct hvrepl_iovec byte = { (void *)(uintptr_t)"x", 1 };

	(void)argument;
	ops[0].complete = ops[1].complete = read_ended;
	ck_assert_int_eq(client.channel.ops->send(client.channel.user, &ops[0],
						  &byte, 1), HVREPL_OK);
	ck_assert_int_eq(server.channel.ops->send(server.channel.user, &ops[1],
						  &byte, 1), HVREPL_OK);
}

static uint64_t proofs[2]; /* That are over for the client, for the server. */

static void note_proof(void *user, const char *peer, uint64_t count)
{
	ck_assert_str_eq(peer, user == &proofs[0] ? BRIEF : EAST);
	*(uint64_t *)user = count;
}

static bool proved_on_both_sides(uint64_t times)
{
	return proofs[0] >= times && proofs[1] >= times;
}

START_TEST(a_connection_outlives_its_ticket_and_loses_no_byte)
{
	struct hvrepl_tls_notes notes = HVREPL_TLS_NOTES_INIT;
	unsigned issued;

	again("brief.test", 0);
	notes.proved = note_proof;
	notes.user = &proofs[0];
	ck_assert_int_eq(hvrepl_tls_set_notes(primary, &notes), HVREPL_OK);
	notes.user = &proofs[1];
	ck_assert_int_eq(hvrepl_tls_set_notes(replica, &notes), HVREPL_OK);
	join_as(BRIEF); /* A new proof when half of it is over. */
	transfer(2000000, 100000, 65536);
	issued = kdc_logged(&kdc, "ISSUE");
	read_on_both_sides();
	/* Idle: a ticket for us and one for the peer... */
	loop_clock_forward(HALF);
	UNTIL(proved_on_both_sides(2)); /* The first let it in. */
	ck_assert_uint_ge(kdc_logged(&kdc, "ISSUE"), issued + 2);
	ck_assert(both_wait());
	ck_assert_int_eq(hvrepl_loop_post(loop, send_byte, NULL), 0);
	UNTIL(none_waits());
	ck_assert_int_eq(readers[0].rc, HVREPL_OK);
	ck_assert_int_eq(readers[1].rc, HVREPL_OK);
	ck_assert_uint_eq(readers[0].byte, 'x');
	/* ...and under load, past the end of the first. */
	loop_clock_forward(HALF);
	while (!proved_on_both_sides(3))
		transfer(3000000, 260000, 1 << 20);
	ck_assert_uint_ge(kdc_logged(&kdc, "ISSUE"), issued + 4);
}
END_TEST

static void send_proof(SSL *ssl, hvrepl_tls *tls, const uint8_t *binding)
{
	static uint8_t frame[HVRI_PROOF_HEADER + HVRI_GSS_TOKEN_MAX];
	static struct hvri_gss gss;

	hvri_gss_init(&gss, hvri_tls_mechanism(tls)->user, BRIEF, binding);
	ck_assert_int_eq(hvri_gss_begin(&gss), HVREPL_OK);
	frame[0] = (uint8_t)gss.token_length;
	frame[1] = (uint8_t)(gss.token_length >> 8);
	frame[7] = HVRI_PROOF_TOKEN;
	memcpy(frame + HVRI_PROOF_HEADER, gss.token, gss.token_length);
	SSL_write(ssl, frame, (int)(HVRI_PROOF_HEADER + gss.token_length));
	hvri_gss_free(&gss);
}

/* Proves itself, perhaps once more, and then says nothing. */
static void *prove_once(void *argument)
{
	static const char label[] = "EXPORTER-Channel-Binding";
	uint8_t binding[HVREPL_EXPORTER_SIZE], heard[4096];
	int fd = connect_to(raw.port);
	SSL *ssl = tls_over(fd, false);

	ck_assert_int_eq(SSL_connect(ssl), 1);
	SSL_export_keying_material(ssl, binding, sizeof(binding), label,
				   sizeof(label) - 1, (const uint8_t *)"", 0,
				   1);
	send_proof(ssl, primary, binding);
	ck_assert_int_gt(SSL_read(ssl, heard, sizeof(heard)), 0);
	if (raw.second != NULL)
		send_proof(ssl, raw.second, binding);
	while (SSL_read(ssl, heard, sizeof(heard)) > 0)
		;
	SSL_free(ssl);
	close(fd);
	return argument;
}

START_TEST(who_does_not_prove_itself_anew_is_put_out)
{
	pthread_t thread;

	again("brief.test", 20 * SECOND);
	start_listening("127.0.0.1", 0);
	raw.port = hvrepl_listener_port(listener);
	ck_assert_int_eq(pthread_create(&thread, NULL, prove_once, NULL), 0);
	await(1);
	ck_assert_msg(server.code == HVREPL_OK, "%s", server.sentence);
	read_at_server();
	loop_clock_forward(LIFE);
	run_for(SECOND / 20);
	ck_assert_int_eq(readers[1].rc, HVREPL_PENDING);
	/* The clocks may differ, and it may be as late as a handshake. */
	loop_clock_forward(SKEW + 20 * SECOND);
	UNTIL(readers[1].rc != HVREPL_PENDING);
	ck_assert_int_eq(readers[1].rc, HVREPL_E_UNAUTHENTICATED);
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(nobody_else_proves_himself_on_a_proved_connection)
{
	hvrepl_tls *north = kerberos("north.test", 0);
	pthread_t thread;

	/* Without the other one it would go on. */
	again("brief.test", 0);
	start_listening("127.0.0.1", 0);
	raw.port = hvrepl_listener_port(listener);
	raw.second = north;
	ck_assert_int_eq(pthread_create(&thread, NULL, prove_once, NULL), 0);
	await(1);
	ck_assert_msg(server.code == HVREPL_OK, "%s", server.sentence);
	read_at_server();
	UNTIL(readers[1].rc < 0);
	ck_assert_int_eq(readers[1].rc, HVREPL_E_UNAUTHENTICATED);
	pthread_join(thread, NULL);
	raw.second = NULL;
	hvrepl_tls_destroy(north);
}
END_TEST

static struct kdc shared;

static void own_realm(const char *const *names)
{
	shared = kdc;
	kdc_make(&kdc, names);
}
static void shared_realm(void)
{
	close_ends();
	kdc_remove(&kdc);
	kdc = shared;
	kdc_use(&kdc);
	west_answers();
}

/* With a ticket of so many seconds, which the machine's clock counts: false, it took
 * too large a part of them. */
static bool joined_and_lost_the_kdc(unsigned seconds)
{
	const time_t begun = time(NULL);

	again("brief.test", 0);
	start_listening("127.0.0.1", 0);
	call(BRIEF);
	await(2);
	kdc_stop(&kdc);
	if (client.code != HVREPL_OK || server.code != HVREPL_OK)
		return false;
	read_on_both_sides();
	return both_wait() && time(NULL) - begun <= (time_t)seconds / 2;
}

START_TEST(without_a_kdc_the_connection_ends_with_its_ticket)
{
	static const char *const own[] = { "hvrepl/east.test",
		"hvrepl/brief.test=-maxlife 4sec", NULL };
	unsigned seconds = 4;
	char command[80];
	time_t until;

	own_realm(own);
	while (!joined_and_lost_the_kdc(seconds)) {
		ck_assert_msg(seconds < 64, "%s", client.sentence);
		seconds *= 2; /* The machine is slow. */
		snprintf(command, sizeof(command), "modprinc -maxlife %usec "
			 "hvrepl/brief.test", seconds);
		kdc_admin(&kdc, command);
		kdc_start(&kdc);
	}
	until = time(NULL) + (time_t)seconds;
	life_ns = seconds * SECOND;
	/* It is said before. */
	loop_clock_forward(life_ns / 2);
	UNTIL(renewals_failed >= 1);
	ck_assert_ptr_nonnull(strstr(renewal_said, "no KDC answers"));
	loop_clock_forward(life_ns);
	UNTIL(none_waits());
	ck_assert_int_eq(readers[0].rc, HVREPL_E_UNAUTHENTICATED);
	ck_assert_int_eq(readers[1].rc, HVREPL_OK); /* An end in good order. */
	ck_assert_uint_eq(readers[1].got, 0);
	/* What a new attempt says is why; a ticket's end is told by the second. */
	while (time(NULL) <= until)
		run_for(SECOND / 10);
	client.settled = 0;
	call(BRIEF);
	await(2);
	ck_assert_int_eq(client.code, HVREPL_E_UNAVAILABLE);
	SAID(client, "no KDC answers");
	shared_realm();
}
END_TEST

START_TEST(a_kdc_that_comes_back_in_time_mends_the_renewal)
{
	own_realm(principals);
	again("brief.test", 0);
	join_as(BRIEF);
	kdc_stop(&kdc);
	read_on_both_sides();
	loop_clock_forward(HALF);
	UNTIL(renewals_failed >= 1);
	ck_assert_uint_eq(renewals_mended, 0);
	kdc_start(&kdc);
	loop_clock_forward(LIFE / 16); /* An eighth of what was left. */
	UNTIL(renewals_mended == 1);
	loop_clock_forward(LIFE / 2); /* The first proof would be over. */
	run_for(SECOND / 20);
	ck_assert(both_wait());
	shared_realm();
}
END_TEST

START_TEST(a_kdc_that_hangs_stalls_nobody_else)
{
	own_realm(principals);
	again("west.test", 0);
	join_as(WEST);
	kill(kdc.pid, SIGSTOP);
	client.channel.release(client.channel.user);
	server.channel.release(server.channel.user);
	call("hvrepl/north.test"); /* Needs a ticket. */
	call(WEST);                /* Has one. */
	client.settled = 0;
	await(2);
	ck_assert_msg(client.code == HVREPL_OK, "%s", client.sentence);
	ck_assert_uint_eq(client.settled, 1);
	transfer(100000, 10000, 10000);
	kill(kdc.pid, SIGCONT);
	shared_realm();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("Kerberos channels");
	TCase *tc = tcase_create("channels");
	int failed;

	setenv("KDC_CLOCKSKEW", SKEW_SECONDS, 1);
	kdc_make(&kdc, principals);
	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, west_answers, close_ends);
	tcase_add_test(tc, a_channel_says_which_principal_it_proved);
	tcase_add_test(tc, transfers_run_both_ways_whatever_their_pieces);
	tcase_add_test(tc, each_failed_step_is_named_on_both_sides);
	tcase_add_test(tc, certificates_and_kerberos_refuse_each_other);
	tcase_add_test(tc,
		       nothing_but_a_bounded_token_is_read_before_the_proof);
	tcase_add_test(tc, a_proof_relayed_by_a_man_in_the_middle_is_refused);
	tcase_add_test(tc, a_connection_outlives_its_ticket_and_loses_no_byte);
	tcase_add_test(tc, who_does_not_prove_itself_anew_is_put_out);
	tcase_add_test(tc, nobody_else_proves_himself_on_a_proved_connection);
	tcase_add_test(tc, without_a_kdc_the_connection_ends_with_its_ticket);
	tcase_add_test(tc, a_kdc_that_comes_back_in_time_mends_the_renewal);
	tcase_add_test(tc, a_kdc_that_hangs_stalls_nobody_else);
	suite_add_tcase(suite, tc);
	failed = test_run(suite);
	kdc_remove(&kdc);
	return failed;
}
