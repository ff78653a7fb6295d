/* SPDX-License-Identifier: Apache-2.0 */
/* Channels that a mechanism of the application's proves: both ways, and against
 * keys, identities and peers that are wrong. */
#define _GNU_SOURCE
#include "backend/proof.h"
#include "pskrig.h"

#include <fcntl.h>

#define RAW_ALPN "\x0ehvrepl/1-psk-1"
#include "middleman.h"


/* ---- A mechanism that does it right. ---- */

START_TEST(both_sides_are_proved_and_bytes_go_both_ways)
{
	struct hvrepl_channel_info a, b;
	char name[HVREPL_PEER_NAME_MAX + 1];

	join();
	infos(&a, &b);
	ck_assert_str_eq(a.peer, "west");
	ck_assert_str_eq(b.peer, "east");
	ck_assert_uint_eq(a.mechanism, HVREPL_MECHANISM_OTHER);
	ck_assert_uint_eq(b.mechanism, HVREPL_MECHANISM_OTHER);
	ck_assert_mem_eq(a.exporter, b.exporter, HVREPL_EXPORTER_SIZE);
	ck_assert_uint_eq(east.begun, 1);
	ck_assert_uint_eq(east.ended, 1); /* Nothing is kept of it. */
	hvrepl_tls_name(primary, name, sizeof(name));
	ck_assert_str_eq(name, "east");
	ck_assert_int_eq(hvrepl_tls_reload(primary, NULL), HVREPL_OK);
	transfer(3000000, 100000);
	transfer(2000, 7);
}
END_TEST

START_TEST(one_that_blocks_runs_on_threads_of_its_own)
{
	struct hvrepl_authenticator_ops ops = blocking();

	again_with(&ops, &ops);
	join();
	transfer(1000000, 65536);
	/* One side may, and the other not. */
	again_with(&psk_ops, &ops);
	join();
}
END_TEST

START_TEST(another_key_is_refused_on_either_side)
{
	/* The acceptor proves itself first. */
	west.key[31] ^= 1;
	try_to_join();
	steps(HVREPL_STEP_PROOF, HVREPL_STEP_PROOF);
	ck_assert_int_eq(client.code, HVREPL_E_UNAUTHENTICATED);
	SAID(client, "the acceptor has another key");
	SAID(server, "closed the connection during the psk-1 exchange");
}
END_TEST

START_TEST(an_initiator_without_the_key_is_told_why_it_is_refused)
{
	struct hvrepl_authenticator_ops blind = psk_ops;

	blind.step = psk_blind_step;
	again_with(&blind, &psk_ops);
	east.key[0] ^= 1;
	try_to_join();
	steps(HVREPL_STEP_PROOF_ACCEPTANCE, HVREPL_STEP_PROOF);
	ck_assert_int_eq(client.code, HVREPL_E_PEER_REFUSED);
	ck_assert_int_eq(server.code, HVREPL_E_UNAUTHENTICATED);
	SAID(client, "west refused our proof by psk-1: it has another key for us");
	SAID(server, "the initiator has another key");
}
END_TEST

START_TEST(only_who_was_called_is_taken)
{
	strcpy(west.name, "north");
	try_to_join();
	ck_assert_uint_eq(client.step, HVREPL_STEP_PROOF);
	ck_assert_int_eq(client.code, HVREPL_E_UNAUTHENTICATED);
	SAID(client, "west was called, and north answered");
}
END_TEST

static void listen_for(const char *peer)
{
	struct hvrepl_tls_listen listen = HVREPL_TLS_LISTEN_INIT;

	listen.address = "127.0.0.1";
	listen.peers = &peer;
	listen.peer_count = 1;
	listen.accepted = on_accepted;
	listen.refused = on_refused;
	ck_assert_int_eq(hvrepl_tls_listen(loop, replica, &listen, &listener,
					   NULL), HVREPL_OK);
}

START_TEST(who_is_no_peer_of_the_site_is_told_so)
{
	listen_for("north");
	call("west");
	await(2);
	steps(HVREPL_STEP_PROOF_ACCEPTANCE, HVREPL_STEP_PROOF);
	SAID(client, "we are not among its peers");
	SAID(server, "east is not among the peers of this site");
	hvrepl_listener_close(listener);
	/* Identities that are names of hosts have patterns. */
	strcpy(east.name, "east.example.com");
	listen_for("*.example.com");
	call("west");
	await(2);
	ck_assert_msg(client.code == HVREPL_OK, "%s", client.sentence);
}
END_TEST

START_TEST(sites_of_different_mechanisms_refuse_each_other)
{
	hvrepl_tls_destroy(replica);
	replica = credentials_of(&psk_ops, &west, "psk-2");
	try_to_join();
	steps(HVREPL_STEP_TLS, HVREPL_STEP_TLS);
	SAID(client, "not hvrepl/1 with psk-1");
	SAID(server, "not hvrepl/1 with psk-2");
}
END_TEST

/* ---- Both ends must have seen the same. ---- */

static int32_t other_key(void *user, void *proof, const void *token,
			 size_t length, struct hvrepl_proof_step *step)
{
	int32_t rc = psk_step(user, proof, token, length, step);

	step->key[0] ^= 1;
	return rc;
}

static int32_t other_self(void *user, void *proof, const void *token,
			  size_t length, struct hvrepl_proof_step *step)
{
	int32_t rc = psk_step(user, proof, token, length, step);

	if (rc == HVREPL_OK)
		strcpy(step->self, "north");
	return rc;
}

START_TEST(a_session_is_bound_to_key_and_identities)
{
	struct hvrepl_authenticator_ops ops = psk_ops;
	struct hvrepl_channel_info a, b;

	ops.step = _i == 0 ? other_key : other_self;
	again_with(&ops, &psk_ops);
	join();
	infos(&a, &b);
	ck_assert_mem_ne(a.exporter, b.exporter, HVREPL_EXPORTER_SIZE);
}
END_TEST

/* ---- Peers that are none of ours, on threads of their own. ---- */

static void put_header(uint8_t out[8], uint8_t kind, uint32_t length)
{
	memset(out, 0, 8);
	out[0] = (uint8_t)length;
	out[1] = (uint8_t)(length >> 8);
	out[7] = kind;
}

static void say_frame(SSL *ssl, uint8_t kind, const void *bytes,
		      uint32_t length)
{
	static uint8_t frame[8 + HVREPL_PROOF_TOKEN_MAX + 1];

	put_header(frame, kind, length);
	memcpy(frame + 8, bytes, length);
	SSL_write(ssl, frame, (int)length + 8);
}

/* What a raw client says instead of what it should. */
static struct raw {
	uint32_t port;
	void (*act)(SSL *ssl);
} raw;

static void *speak_raw(void *argument)
{
	char end[256];
	int fd = connect_to(raw.port);
	SSL *ssl = tls_over(fd, false);

	ck_assert_int_eq(SSL_connect(ssl), 1);
	raw.act(ssl);
	while (SSL_read(ssl, end, sizeof(end)) > 0)
		;
	SSL_free(ssl);
	close(fd);
	return argument;
}

/* How the server ended with it. */
static void hear_raw(void (*act)(SSL *ssl), int32_t code)
{
	pthread_t thread;

	again_with(&psk_ops, &psk_ops);
	start_listening("127.0.0.1", 0);
	raw.port = hvrepl_listener_port(listener);
	raw.act = act;
	ck_assert_int_eq(pthread_create(&thread, NULL, speak_raw, NULL), 0);
	await(1);
	ck_assert_msg(server.code == code, "%d %s", server.code,
		      server.sentence);
	if (code < 0)
		ck_assert_uint_eq(server.step, HVREPL_STEP_PROOF);
	if (server.channel.ops != NULL)
		server.channel.release(server.channel.user);
	server.channel.ops = NULL;
	hvrepl_loop_destroy(loop);
	listener = NULL;
	pthread_join(thread, NULL);
	ck_assert_int_eq(hvrepl_loop_create(&loop, NULL), HVREPL_OK);
}

/* A whole proof by hand, as the right key makes it; what is said and when is
 * changed by those below. */
struct by_hand {
	struct psk_proof *proof;
	struct psk psk;
	uint8_t first[PSK_FIRST], third[PSK_MAC];
};

static void first_by_hand(SSL *ssl, struct by_hand *hand)
{
	static const char label[] = "EXPORTER-Channel-Binding";
	struct hvrepl_proof_begin begin = { sizeof(begin), 1, "west", { 0 }, 0,
					    0 };
	struct hvrepl_proof_step step = { .token = hand->first };
	void *proof;

	hand->psk = east;
	SSL_export_keying_material(ssl, begin.binding, sizeof(begin.binding),
				   label, sizeof(label) - 1,
				   (const uint8_t *)"", 0, 1);
	ck_assert_int_eq(psk_begin(&hand->psk, &begin, &proof, &step),
			 HVREPL_OK);
	hand->proof = proof;
	ck_assert_int_eq(psk_step(&hand->psk, proof, NULL, 0, &step),
			 HVREPL_PENDING);
}

static void third_by_hand(SSL *ssl, struct by_hand *hand)
{
	struct hvrepl_proof_step step = { .token = hand->third };
	uint8_t frame[8 + PSK_SECOND];
	int got = 0, rc = 1;

	while (got < (int)sizeof(frame) && rc > 0) {
		rc = SSL_read(ssl, frame + got, (int)sizeof(frame) - got);
		got += rc > 0 ? rc : 0;
	}
	ck_assert_int_eq(got, sizeof(frame));
	ck_assert_uint_eq(frame[7], HVRI_PROOF_TOKEN);
	ck_assert_int_eq(psk_step(&hand->psk, hand->proof, frame + 8,
				  PSK_SECOND, &step),
			 HVREPL_OK);
	free(hand->proof);
}

static struct by_hand recorded;

static void honest(SSL *ssl)
{
	uint8_t answer[12];

	first_by_hand(ssl, &recorded);
	say_frame(ssl, HVRI_PROOF_TOKEN, recorded.first, PSK_FIRST);
	third_by_hand(ssl, &recorded);
	say_frame(ssl, HVRI_PROOF_TOKEN, recorded.third, PSK_MAC);
	/* The acceptor has the last word. */
	ck_assert_int_eq(SSL_read(ssl, answer, sizeof(answer)), 12);
	ck_assert_uint_eq(answer[7], HVRI_PROOF_ACCEPTED);
	SSL_shutdown(ssl);
}

static void replays(SSL *ssl)
{
	uint8_t answer[8 + PSK_SECOND];

	say_frame(ssl, HVRI_PROOF_TOKEN, recorded.first, PSK_FIRST);
	ck_assert_int_gt(SSL_read(ssl, answer, sizeof(answer)), 0);
	say_frame(ssl, HVRI_PROOF_TOKEN, recorded.third, PSK_MAC);
}

static uint32_t cut_to;
static bool cut_third;

static void truncates(SSL *ssl)
{
	struct by_hand hand;

	first_by_hand(ssl, &hand);
	if (!cut_third) {
		free(hand.proof);
		say_frame(ssl, HVRI_PROOF_TOKEN, hand.first, cut_to);
		return;
	}
	say_frame(ssl, HVRI_PROOF_TOKEN, hand.first, PSK_FIRST);
	third_by_hand(ssl, &hand);
	say_frame(ssl, HVRI_PROOF_TOKEN, hand.third, cut_to);
}

static void breaks_off(SSL *ssl)
{
	uint8_t header[8];

	put_header(header, HVRI_PROOF_TOKEN, PSK_FIRST);
	SSL_write(ssl, header, 8);
	SSL_write(ssl, header, 5);
	SSL_shutdown(ssl);
}

START_TEST(a_proof_by_hand_is_taken_once_and_not_when_it_is_replayed)
{
	hear_raw(honest, HVREPL_OK);
	hear_raw(replays, HVREPL_E_UNAUTHENTICATED);
	SAID(server, "the initiator has another key");
}
END_TEST

START_TEST(a_truncated_token_is_refused)
{
	static const uint32_t firsts[] = { 1, PSK_NONCE, PSK_FIRST - 1 };
	static const uint32_t thirds[] = { 1, PSK_MAC - 1 };

	for (size_t i = 0; i < 3; i++) {
		cut_third = false;
		cut_to = firsts[i];
		hear_raw(truncates, HVREPL_E_UNAUTHENTICATED);
	}
	for (size_t i = 0; i < 2; i++) {
		cut_third = true;
		cut_to = thirds[i];
		hear_raw(truncates, HVREPL_E_UNAUTHENTICATED);
	}
	hear_raw(breaks_off, HVREPL_E_DISCONNECTED);
}
END_TEST

static uint8_t odd_kind;
static uint32_t odd_length;

static void says_odd(SSL *ssl)
{
	static uint8_t bytes[HVREPL_PROOF_TOKEN_MAX + 1];

	say_frame(ssl, odd_kind, bytes, odd_length);
}

START_TEST(nothing_but_a_bounded_token_is_read_before_the_proof)
{
	odd_kind = HVRI_PROOF_TOKEN;
	odd_length = HVREPL_PROOF_TOKEN_MAX; /* It comes as far as the mechanism. */
	hear_raw(says_odd, HVREPL_E_UNAUTHENTICATED);
	SAID(server, "no token of ours");
	odd_length++;
	hear_raw(says_odd, HVREPL_E_LIMIT);
	SAID(server, "more than 12288 bytes");
	odd_length = 0;
	hear_raw(says_odd, HVREPL_E_PROTOCOL);
	odd_length = 4;
	for (odd_kind = 2; odd_kind < 7; odd_kind++)
		hear_raw(says_odd, HVREPL_E_PROTOCOL);
}
END_TEST

/* Nothing that a certificate file could mend: there is none. */
START_TEST(who_wants_a_certificate_is_told_of_the_mechanism)
{
	SSL *ssl;
	int fd;

	start_listening("127.0.0.1", 0);
	fd = connect_to(hvrepl_listener_port(listener));
	ssl = tls_over(fd, false);
	SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	for (int i = 0; i < 10000 && server.settled == 0; i++) {
		(void)SSL_connect(ssl);
		run_for(SECOND / 100);
	}
	SSL_free(ssl);
	close(fd);
	ck_assert_int_eq(server.code, HVREPL_E_PEER_REFUSED);
	ck_assert_uint_eq(server.step, HVREPL_STEP_TLS);
	SAID(server, "this site proves itself by psk-1");
	ck_assert_ptr_null(strstr(server.sentence, "our certificate"));
}
END_TEST

START_TEST(a_name_that_cannot_be_is_said_in_words_of_the_mechanism)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_tls_connect connect = HVREPL_TLS_CONNECT_INIT;

	connect.host = "127.0.0.1";
	connect.peer = "*";
	connect.port = 1;
	connect.done = on_done;
	ck_assert_int_eq(hvrepl_tls_connect(loop, primary, &connect, &error),
			 HVREPL_E_INVALID);
	ck_assert_str_eq(error.sentence,
			 "the peer's name is none that psk-1 knows");
}
END_TEST

START_TEST(a_proof_relayed_by_a_man_in_the_middle_is_refused)
{
	start_listening("127.0.0.1", 0);
	dial("127.0.0.1", middleman_starts(), "west", 0);
	await(2);
	/* Each is bound to another connection. */
	ck_assert_int_eq(client.code, HVREPL_E_UNAUTHENTICATED);
	ck_assert_int_lt(server.code, 0);
	SAID(client, "the acceptor has another key");
	middleman_ends();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("authenticator");
	TCase *tc = tcase_create("authenticator");

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, open_ends, close_ends);
	tcase_add_test(tc, both_sides_are_proved_and_bytes_go_both_ways);
	tcase_add_test(tc, one_that_blocks_runs_on_threads_of_its_own);
	tcase_add_test(tc, another_key_is_refused_on_either_side);
	tcase_add_test(tc,
		       an_initiator_without_the_key_is_told_why_it_is_refused);
	tcase_add_test(tc, only_who_was_called_is_taken);
	tcase_add_test(tc, who_is_no_peer_of_the_site_is_told_so);
	tcase_add_test(tc, sites_of_different_mechanisms_refuse_each_other);
	tcase_add_loop_test(tc, a_session_is_bound_to_key_and_identities, 0, 2);
	tcase_add_test(
		tc, a_proof_by_hand_is_taken_once_and_not_when_it_is_replayed);
	tcase_add_test(tc, a_truncated_token_is_refused);
	tcase_add_test(tc,
		       nothing_but_a_bounded_token_is_read_before_the_proof);
	tcase_add_test(tc, who_wants_a_certificate_is_told_of_the_mechanism);
	tcase_add_test(tc,
		       a_name_that_cannot_be_is_said_in_words_of_the_mechanism);
	tcase_add_test(tc, a_proof_relayed_by_a_man_in_the_middle_is_refused);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
