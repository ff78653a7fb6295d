/* SPDX-License-Identifier: Apache-2.0 */
/* What is spoken inside TLS 1.3, and what a plain OpenSSL client that offers
 * less, or wants more, gets of us. */
#define _GNU_SOURCE
#include "tlspair.h"

#include <openssl/err.h>
#include <sys/ioctl.h>

/* One plain client against one of our servers; NULL: our default. */
struct raw {
	const char *groups, *ciphers;
	SSL_SESSION *session; /* Offered. */
	bool early;           /* With early data. */
	/* What became of it. */
	int32_t rc;
	struct hvrepl_error error;
	char peer[HVREPL_PEER_NAME_MAX + 1];
	char cipher[64];
	int group, early_status;
	bool reused, resumable;
};

static SSL_CTX *raw_ctx(const char *name, const char *authority, bool server)
{
	struct hvrepl_tls_options files = options_for(name, authority);
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());

	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	ck_assert_int_eq(SSL_CTX_load_verify_file(ctx, files.ca_file), 1);
	ck_assert_int_eq(SSL_CTX_use_certificate_chain_file(ctx,
							    files.cert_file),
			 1);
	ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(ctx, files.key_file,
						     SSL_FILETYPE_PEM),
			 1);
	if (!server)
		SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)"\x08hvrepl/1",
					9);
	return ctx;
}

static int alpn(SSL *ssl, const unsigned char **out, unsigned char *length,
		const unsigned char *in, unsigned in_length, void *argument)
{
	(void)ssl, (void)in_length, (void)argument;
	*out = in + 1;
	*length = in[0];
	return SSL_TLSEXT_ERR_OK;
}

static void make_pair(int fds[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX,
				    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
				    0, fds),
			 0);
}

/* The handshake of a plain client, as far as it goes now. */
static bool raw_step(SSL *ssl, bool *early)
{
	size_t written;
	int result;

	if (*early) {
		*early = false;
		ck_assert_int_eq(SSL_write_early_data(ssl, "too early", 9,
						      &written),
				 1);
	}
	result = SSL_do_handshake(ssl);
	return result != 1 && SSL_get_error(ssl, result) != SSL_ERROR_WANT_READ;
}

static void try_client(const char *name, struct raw *raw)
{
	hvrepl_tls *tls = credentials("replica.test", "ca");
	SSL_CTX *ctx = raw_ctx(name, "ca", false);
	struct hvri_tls_session ours;
	bool early = raw->early, over = false;
	uint8_t byte;
	SSL *ssl;
	int fds[2];

	make_pair(fds);
	if (raw->groups != NULL)
		ck_assert_int_eq(SSL_CTX_set1_groups_list(ctx, raw->groups), 1);
	if (raw->ciphers != NULL)
		ck_assert_int_eq(SSL_CTX_set_ciphersuites(ctx, raw->ciphers),
				 1);
	ssl = SSL_new(ctx);
	SSL_set_fd(ssl, fds[1]);
	SSL_set_connect_state(ssl);
	if (raw->session != NULL)
		ck_assert_int_eq(SSL_set_session(ssl, raw->session), 1);
	ck_assert_int_eq(hvri_tls_session_init(&ours, tls, fds[0], NULL, NULL,
					       0),
			 HVREPL_OK);
	raw->error = (struct hvrepl_error)HVREPL_ERROR_INIT;
	raw->rc = HVREPL_PENDING;
	for (int i = 0; i < 20 && raw->rc == HVREPL_PENDING; i++) {
		if (!over)
			over = raw_step(ssl, &early);
		if (over)
			shutdown(fds[1], SHUT_WR);
		raw->rc = hvri_tls_handshake(&ours, &raw->error);
	}
	strcpy(raw->peer, ours.peer);
	if (raw->rc == HVREPL_OK) {
		size_t got = 1;

		/* Whatever the server had to say after the handshake. */
		ck_assert_int_eq(SSL_read(ssl, &byte, 1), 1);
		snprintf(raw->cipher, sizeof(raw->cipher), "%s",
			 SSL_get_cipher(ssl));
		raw->group = (int)SSL_get_negotiated_group(ssl);
		raw->reused = SSL_session_reused(ssl) == 1;
		raw->early_status = SSL_get_early_data_status(ssl);
		raw->resumable =
			SSL_SESSION_is_resumable(SSL_get_session(ssl)) == 1;
		/* None of the early data comes out here. */
		ck_assert_int_eq(hvri_tls_receive(&ours, &byte, 1, &got),
				 HVREPL_PENDING);
	}
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	hvri_tls_session_free(&ours);
	hvrepl_tls_destroy(tls);
	close(fds[0]);
	close(fds[1]);
	ERR_clear_error();
}

START_TEST(only_named_ciphers_and_groups_are_spoken)
{
	static const struct {
		const char *groups, *ciphers, *cipher;
		int group; /* 0: refused. */
	} cases[] = {
		{ NULL, NULL, "TLS_AES_256_GCM_SHA384", NID_X25519 },
		{ "P-256", NULL, "TLS_AES_256_GCM_SHA384",
		  NID_X9_62_prime256v1 },
		{ "P-521:P-256", "TLS_AES_128_GCM_SHA256",
		  "TLS_AES_128_GCM_SHA256", NID_X9_62_prime256v1 },
		{ NULL, "TLS_CHACHA20_POLY1305_SHA256",
		  "TLS_CHACHA20_POLY1305_SHA256", NID_X25519 },
		{ "P-384", NULL, NULL, 0 },
		{ "P-521:X448", NULL, NULL, 0 },
		{ "ffdhe2048", NULL, NULL, 0 },
		{ NULL, "TLS_AES_128_CCM_SHA256", NULL, 0 },
		{ NULL, "TLS_AES_128_CCM_8_SHA256", NULL, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct raw raw = { .groups = cases[i].groups,
				   .ciphers = cases[i].ciphers };

		try_client("primary.test", &raw);
		if (cases[i].group == 0) {
			ck_assert_int_lt(raw.rc, 0);
			continue;
		}
		ck_assert_msg(raw.rc == HVREPL_OK, "%s", raw.error.sentence);
		ck_assert_str_eq(raw.cipher, cases[i].cipher);
		/* Where OpenSSL has a hybrid group, it comes first. */
		if (cases[i].groups != NULL || OPENSSL_VERSION_NUMBER < 0x30500000L)
			ck_assert_int_eq(raw.group, cases[i].group);
	}
}
END_TEST

START_TEST(keys_that_are_too_weak_are_refused)
{
	struct hvrepl_tls_options options = options_for("weak.test", "ca");
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_tls *tls;

	pki_weak(ca, &dir, "weak.test");
	ck_assert_int_eq(hvrepl_tls_create(&options, &tls, &error),
			 HVREPL_E_INVALID);
	assert_says(error, "key too small");
}
END_TEST

/* A session that a plain server gave to "primary.test", for early data too. */
static SSL_SESSION *session_kept;

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(session_kept);
	session_kept = session;
	return 1;
}

/* One of a plain client and a plain server; true: the session was taken up. */
static bool meet_plainly(SSL_CTX *server_ctx, SSL_SESSION *offered)
{
	SSL_CTX *client_ctx = raw_ctx("primary.test", "ca", false);
	SSL *client, *server;
	uint8_t byte;
	bool reused;
	int fds[2];

	make_pair(fds);
	SSL_CTX_set_session_cache_mode(client_ctx,
				       SSL_SESS_CACHE_CLIENT |
					       SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(client_ctx, keep_session);
	client = SSL_new(client_ctx);
	server = SSL_new(server_ctx);
	SSL_set_fd(client, fds[0]);
	SSL_set_fd(server, fds[1]);
	SSL_set_connect_state(client);
	SSL_set_accept_state(server);
	if (offered != NULL)
		ck_assert_int_eq(SSL_set_session(client, offered), 1);
	for (int i = 0; i < 5; i++) {
		(void)SSL_do_handshake(client);
		(void)SSL_do_handshake(server);
	}
	ck_assert_int_eq(SSL_write(server, "x", 1), 1);
	ck_assert_int_eq(SSL_read(client, &byte, 1), 1);
	reused = SSL_session_reused(client) == 1;
	/* Else the session would count as broken off. */
	SSL_set_shutdown(client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_set_shutdown(server, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(client);
	SSL_free(server);
	SSL_CTX_free(client_ctx);
	close(fds[0]);
	close(fds[1]);
	return reused;
}

/* It is a good one: where sessions are taken up, it is. */
static void get_session(void)
{
	SSL_CTX *server_ctx = raw_ctx("replica.test", "ca", true);
	SSL_SESSION *first;

	SSL_CTX_set_alpn_select_cb(server_ctx, alpn, NULL);
	SSL_CTX_set_max_early_data(server_ctx, 16384);
	SSL_CTX_set_options(server_ctx, SSL_OP_NO_ANTI_REPLAY);
	ck_assert(!meet_plainly(server_ctx, NULL));
	first = session_kept;
	session_kept = NULL;
	ck_assert(meet_plainly(server_ctx, first));
	SSL_SESSION_free(first);
	ck_assert_ptr_nonnull(session_kept);
	ck_assert_int_eq(SSL_SESSION_is_resumable(session_kept), 1);
	ck_assert_uint_eq(SSL_SESSION_get_max_early_data(session_kept), 16384);
	SSL_CTX_free(server_ctx);
}

/* It proves itself by its own certificate, or not at all. */
START_TEST(a_session_of_another_identity_is_worth_nothing)
{
	struct raw raw = { 0 };

	pki_good(ca, &dir, "mallory.test");
	get_session();
	raw.session = session_kept;
	try_client("mallory.test", &raw);
	ck_assert_msg(raw.rc == HVREPL_OK, "%s", raw.error.sentence);
	ck_assert(!raw.reused);
	ck_assert_str_eq(raw.peer, "mallory.test");
	/* And nothing to be resumed is given out. */
	ck_assert(!raw.resumable);
	SSL_SESSION_free(session_kept);
	session_kept = NULL;
}
END_TEST

START_TEST(early_data_is_never_taken)
{
	struct raw raw = { .early = true };

	get_session();
	raw.session = session_kept;
	try_client("primary.test", &raw);
	ck_assert_msg(raw.rc == HVREPL_OK, "%s", raw.error.sentence);
	ck_assert_int_eq(raw.early_status, SSL_EARLY_DATA_REJECTED);
	ck_assert(!raw.reused);
	SSL_SESSION_free(session_kept);
	session_kept = NULL;
}
END_TEST

/* Bytes alone, records alone, time alone: each as small as can be. */
START_TEST(keys_change_by_each_limit_alone)
{
	static uint8_t sent[3 * HVRI_TLS_RECORD], got[sizeof(sent)];

	test_fill(sent, sizeof(sent), 4);
	for (int i = 0; i < 4; i++) {
		struct hvrepl_tls_options options =
			options_for("primary.test", "ca");
		struct hvrepl_iovec iov = { sent, sizeof(sent) };
		struct hvri_tls_out out = { &iov, 1, 0 };
		hvrepl_tls *client, *server = credentials("replica.test", "ca");
		struct link link;
		size_t at = 0;

		options.rekey_bytes = i == 1;
		options.rekey_records = i == 2;
		options.rekey_ns = i == 3;
		ck_assert_int_eq(hvrepl_tls_create(&options, &client, NULL),
				 HVREPL_OK);
		open_link(&link, client, server, "replica.test", NULL, 0);
		shake(&link);
		ck_assert_int_eq(link.client_rc, HVREPL_OK);
		while (at < sizeof(got)) {
			size_t piece = 0;

			if (out.count > 0)
				ck_assert_int_ge(hvri_tls_send(&link.client,
							       &out, 1u << 20),
						 0);
			ck_assert_int_ge(hvri_tls_receive(&link.server,
							  got + at,
							  sizeof(got) - at,
							  &piece),
					 0);
			at += piece;
		}
		ck_assert_mem_eq(sent, got, sizeof(sent));
		/* Every record in keys of its own; by default the first do. */
		ck_assert_uint_eq(link.client.rekeys, i == 0 ? 0 : 3);
		close_link(&link);
		hvrepl_tls_destroy(client);
		hvrepl_tls_destroy(server);
	}
}
END_TEST

/* So many changes of keys as one end would send them, taken before they are. */
static size_t updates_of_keys(struct hvri_tls_session *session, unsigned count,
			      uint8_t *bytes, size_t room)
{
	int real = session->fd, aside[2];
	size_t length = 0;

	make_pair(aside);
	session->fd = aside[0];
	for (unsigned i = 0; i < count; i++) {
		ssize_t got;

		ck_assert_int_eq(SSL_key_update(session->ssl,
						SSL_KEY_UPDATE_NOT_REQUESTED),
				 1);
		ck_assert_int_eq(SSL_do_handshake(session->ssl), 1);
		got = read(aside[1], bytes + length, room - length);
		ck_assert_int_gt(got, 0);
		length += (size_t)got;
	}
	session->fd = real;
	close(aside[0]);
	close(aside[1]);
	return length;
}

/* Each is work and brings no byte: who sends nothing else would have the loop's
 * thread for itself, and no time limit would be looked at. */
START_TEST(keys_that_change_without_end_hold_nobody_else_up)
{
	static uint8_t bytes[256 * 1024];
	hvrepl_tls *client = credentials("primary.test", "ca");
	hvrepl_tls *server = credentials("replica.test", "ca");
	struct hvrepl_iovec iov = { "x", 1 };
	struct hvri_tls_out out = { &iov, 1, 0 };
	int left = 0, before;
	struct link link;
	size_t length, got = 0;
	uint8_t byte = 0;
	int32_t rc;

	open_link(&link, client, server, "replica.test", NULL, 0);
	shake(&link);
	ck_assert_int_eq(link.client_rc, HVREPL_OK);
	length = updates_of_keys(&link.client, 5000, bytes, sizeof(bytes));
	ck_assert_int_eq(write(link.fds[0], bytes, length), (ssize_t)length);
	ck_assert_int_eq(hvri_tls_send(&link.client, &out, 1u << 20),
			 HVREPL_OK);
	before = (int)length;
	do {
		rc = hvri_tls_receive(&link.server, &byte, 1, &got);
		ck_assert_int_eq(ioctl(link.fds[1], FIONREAD, &left), 0);
		/* A piece, then others have their turn. */
		ck_assert_int_lt(before - left, 80000);
		ck_assert_int_lt(left, before);
		before = left;
		if (rc == HVREPL_PENDING)
			ck_assert_uint_eq(link.server.want, HVREPL_LOOP_READ);
	} while (rc == HVREPL_PENDING);
	ck_assert_int_eq(rc, HVREPL_OK);
	ck_assert_uint_eq(got, 1);
	ck_assert_int_eq(byte, 'x');
	close_link(&link);
	hvrepl_tls_destroy(client);
	hvrepl_tls_destroy(server);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("TLS limits");
	TCase *tc = tcase_create("limits");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, only_named_ciphers_and_groups_are_spoken);
	tcase_add_test(tc, keys_that_are_too_weak_are_refused);
	tcase_add_test(tc, a_session_of_another_identity_is_worth_nothing);
	tcase_add_test(tc, early_data_is_never_taken);
	tcase_add_test(tc, keys_change_by_each_limit_alone);
	tcase_add_test(tc, keys_that_change_without_end_hold_nobody_else_up);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
