/* SPDX-License-Identifier: Apache-2.0 */
/* Who is believed over TLS and who is not, and what the operator is told. */
#define _GNU_SOURCE
#include "tlspair.h"

#include <fcntl.h>
#include <time.h>

START_TEST(both_sides_learn_who_the_other_is)
{
	uint8_t a[HVREPL_EXPORTER_SIZE], b[HVREPL_EXPORTER_SIZE];
	hvrepl_tls *client = credentials("primary.test", "ca");
	hvrepl_tls *server = credentials("replica.test", "ca");
	struct link link;

	open_link(&link, client, server, "Replica.TEST.", NULL, 0);
	shake(&link);
	ck_assert_msg(link.client_rc == HVREPL_OK, "%s",
		      link.client_error.sentence);
	ck_assert_int_eq(link.server_rc, HVREPL_OK);
	ck_assert_str_eq(link.client.peer, "replica.test");
	ck_assert_str_eq(link.server.peer, "primary.test");
	ck_assert_uint_gt(link.client.peer_expires_utc_ns, 0);
	ck_assert_int_eq(hvri_tls_exporter(&link.client, a), HVREPL_OK);
	ck_assert_int_eq(hvri_tls_exporter(&link.server, b), HVREPL_OK);
	ck_assert_mem_eq(a, b, sizeof(a));
	close_link(&link);
	hvrepl_tls_destroy(client);
	hvrepl_tls_destroy(server);
}
END_TEST

/* The client may not believe itself connected before the server has looked at
 * its certificate. */
START_TEST(a_client_of_another_ca_is_refused_and_knows_it)
{
	struct link link;

	pki_good(evil, &dir, "mallory.test");
	try_pair(&link, credentials("mallory.test", "ca"),
		 credentials("replica.test", "ca"), "replica.test");
	ck_assert_int_eq(link.server_rc, HVREPL_E_UNAUTHENTICATED);
	ck_assert_uint_eq(link.server.step, HVREPL_STEP_CERTIFICATE);
	assert_says(link.server_error, "mallory.test");
	assert_says(link.server_error, "not signed by a CA");
	ck_assert_int_eq(link.client_rc, HVREPL_E_PEER_REFUSED);
	ck_assert_uint_eq(link.client.step, HVREPL_STEP_ACCEPTANCE);
	assert_says(link.client_error, "does not know the CA");
}
END_TEST

START_TEST(a_server_of_another_ca_is_refused)
{
	struct link link;

	try_pair(&link, credentials("primary.test", "evil"),
		 credentials("replica.test", "ca"), "replica.test");
	ck_assert_int_eq(link.client_rc, HVREPL_E_UNAUTHENTICATED);
	ck_assert_uint_eq(link.client.step, HVREPL_STEP_CERTIFICATE);
	ck_assert_int_eq(link.server_rc, HVREPL_E_PEER_REFUSED);
	ck_assert_uint_eq(link.server.step, HVREPL_STEP_ACCEPTANCE);
}
END_TEST

START_TEST(an_expired_certificate_is_refused_on_either_side)
{
	hvrepl_tls *old, *good = credentials("replica.test", "ca");
	struct link link;

	pki_leaf(ca, &dir, "old.test", "DNS:old.test", PKI_BOTH, -3600, 60);
	old = credentials("old.test", "ca");
	set_clock_forward(good, 120);
	open_link(&link, old, good, "replica.test", NULL, 0);
	shake(&link);
	close_link(&link);
	ck_assert_int_eq(link.server_rc, HVREPL_E_UNAUTHENTICATED);
	assert_says(link.server_error, "old.test has expired");
	ck_assert_int_eq(link.client_rc, HVREPL_E_PEER_REFUSED);
	assert_says(link.client_error, "expired");
	open_link(&link, good, old, "old.test", NULL, 0);
	shake(&link);
	close_link(&link);
	ck_assert_int_eq(link.client_rc, HVREPL_E_UNAUTHENTICATED);
	assert_says(link.client_error, "old.test has expired");
	hvrepl_tls_destroy(old);
	hvrepl_tls_destroy(good);
}
END_TEST

START_TEST(a_server_of_another_name_is_refused)
{
	struct link link;

	pki_leaf(ca, &dir, "wild.test", "DNS:*.test", PKI_BOTH, -3600, 3600);
	pki_leaf(ca, &dir, "two.test", "DNS:one.test,DNS:two.test,IP:127.0.0.1",
		 PKI_BOTH, -3600, 3600);
	try_pair(&link, credentials("primary.test", "ca"),
		 credentials("replica.test", "ca"), "other.test");
	ck_assert_int_eq(link.client_rc, HVREPL_E_UNAUTHENTICATED);
	ck_assert_uint_eq(link.client.step, HVREPL_STEP_CERTIFICATE);
	assert_says(link.client_error, "is for replica.test, not for other");
	ck_assert_int_eq(link.server_rc, HVREPL_E_PEER_REFUSED);
	assert_says(link.server_error, "does not expect our name");
	/* Any of its names will do, addresses too. */
	try_pair(&link, credentials("primary.test", "ca"),
		 credentials("two.test", "ca"), "two.test");
	ck_assert_int_eq(link.client_rc, HVREPL_OK);
	try_pair(&link, credentials("primary.test", "ca"),
		 credentials("two.test", "ca"), "127.0.0.1");
	ck_assert_int_eq(link.client_rc, HVREPL_OK);
	try_pair(&link, credentials("two.test", "ca"),
		 credentials("replica.test", "ca"), "replica.test");
	ck_assert_int_eq(link.server_rc, HVREPL_OK);
	ck_assert_str_eq(link.server.peer, "one.test");
}
END_TEST

/* Under the certificate's own name, and a whole name goes before a pattern. */
START_TEST(a_pattern_lets_in_the_hosts_it_means)
{
	static const char *const known[] = { "*.dr.test", "two.test" };
	static const struct {
		const char *names, *seen; /* NULL: refused. */
	} peers[] = {
		{ "DNS:primary.test,DNS:one.dr.test", "one.dr.test" },
		{ "DNS:one.dr.test,DNS:two.test", "two.test" },
		{ "DNS:a.one.dr.test", NULL },
		{ "DNS:dr.test,IP:127.0.0.1", NULL },
		{ "DNS:*.dr.test,DNS:x.test", NULL },
	};
	hvrepl_tls *server = credentials("replica.test", "ca");

	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
		struct link link;
		hvrepl_tls *peer;

		pki_leaf(ca, &dir, "many.test", peers[i].names, PKI_BOTH, -3600,
			 3600);
		peer = credentials("many.test", "ca");
		open_link(&link, peer, server, "replica.test", known, 2);
		shake(&link);
		close_link(&link);
		if (peers[i].seen != NULL) {
			ck_assert_int_eq(link.server_rc, HVREPL_OK);
			ck_assert_str_eq(link.server.peer, peers[i].seen);
		} else {
			ck_assert_int_eq(link.server_rc,
					 HVREPL_E_UNAUTHENTICATED);
			ck_assert_int_eq(link.client_rc,
					 HVREPL_E_PEER_REFUSED);
		}
		hvrepl_tls_destroy(peer);
	}
	hvrepl_tls_destroy(server);
}
END_TEST

START_TEST(only_known_peers_are_let_in_where_they_are_named)
{
	static const char *const known[] = { "else.test", "two.test" };
	hvrepl_tls *two, *primary, *server = credentials("replica.test", "ca");
	struct link link;

	pki_leaf(ca, &dir, "two.test", "DNS:one.test,DNS:two.test", PKI_BOTH,
		 -3600, 3600);
	two = credentials("two.test", "ca");
	primary = credentials("primary.test", "ca");
	open_link(&link, two, server, "replica.test", known, 2);
	shake(&link);
	close_link(&link);
	ck_assert_int_eq(link.server_rc, HVREPL_OK);
	ck_assert_str_eq(link.server.peer, "two.test");
	open_link(&link, primary, server, "replica.test", known, 2);
	shake(&link);
	close_link(&link);
	ck_assert_int_eq(link.server_rc, HVREPL_E_UNAUTHENTICATED);
	assert_says(link.server_error, "primary.test is not among the peers");
	ck_assert_int_eq(link.client_rc, HVREPL_E_PEER_REFUSED);
	hvrepl_tls_destroy(two);
	hvrepl_tls_destroy(primary);
	hvrepl_tls_destroy(server);
}
END_TEST

/* Peers that are not made by our library: plain OpenSSL with this and that
 * left out. Returns what our side said. */
#define RAW_NO_CERTIFICATE 1u
#define RAW_TLS12 2u
#define RAW_OTHER_ALPN 4u
#define RAW_NO_ALPN 8u
#define RAW_BAD_USAGE 16u

static SSL_CTX *raw_context(unsigned how, bool server)
{
	struct hvrepl_tls_options files =
		options_for((how & RAW_BAD_USAGE) != 0 ? "usage.test" :
							 "primary.test",
			    "ca");
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());
	const char *alpn = (how & RAW_OTHER_ALPN) != 0 ? "\x02h2" :
							 "\x08hvrepl/1";

	ck_assert_int_eq(SSL_CTX_load_verify_file(ctx, files.ca_file), 1);
	if ((how & RAW_NO_CERTIFICATE) == 0) {
		ck_assert_int_eq(SSL_CTX_use_certificate_chain_file(
					 ctx, files.cert_file),
				 1);
		ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(
					 ctx, files.key_file, SSL_FILETYPE_PEM),
				 1);
	}
	if ((how & RAW_TLS12) != 0)
		SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	if ((how & RAW_NO_ALPN) == 0 && !server)
		SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)alpn,
					(unsigned)strlen(alpn));
	return ctx;
}

static void try_raw(unsigned how, bool raw_is_server,
		    struct hvri_tls_session *ours, int32_t *rc,
		    struct hvrepl_error *error)
{
	hvrepl_tls *tls = credentials("replica.test", "ca");
	SSL_CTX *ctx = raw_context(how, raw_is_server);
	SSL *raw = SSL_new(ctx);
	bool raw_over = false;
	int fds[2];

	*error = (struct hvrepl_error)HVREPL_ERROR_INIT;
	ck_assert_int_eq(socketpair(AF_UNIX,
				    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
				    0, fds),
			 0);
	ck_assert_int_eq(hvri_tls_session_init(ours, tls, fds[0],
					       raw_is_server ? "primary.test" :
							       NULL,
					       NULL, 0),
			 HVREPL_OK);
	SSL_set_fd(raw, fds[1]);
	if (raw_is_server)
		SSL_set_accept_state(raw);
	else
		SSL_set_connect_state(raw);
	*rc = HVREPL_PENDING;
	for (int i = 0; i < 20 && *rc == HVREPL_PENDING; i++) {
		if (!raw_over) {
			int result = SSL_do_handshake(raw);

			raw_over = result != 1 &&
				   SSL_get_error(raw, result) !=
					   SSL_ERROR_WANT_READ;
			if (raw_over)
				shutdown(fds[1], SHUT_WR);
		}
		*rc = hvri_tls_handshake(ours, error);
	}
	SSL_free(raw);
	SSL_CTX_free(ctx);
	hvri_tls_session_free(ours);
	close(fds[0]);
	close(fds[1]);
	hvrepl_tls_destroy(tls);
}

START_TEST(peers_that_lack_something_are_refused)
{
	struct hvri_tls_session session;
	struct hvrepl_error error;
	int32_t rc;

	pki_leaf(ca, &dir, "usage.test", "DNS:usage.test,DNS:primary.test",
		 PKI_CLIENT, -3600, 3600);
	try_raw(RAW_NO_CERTIFICATE, false, &session, &rc, &error);
	ck_assert_int_eq(rc, HVREPL_E_UNAUTHENTICATED);
	ck_assert_uint_eq(session.step, HVREPL_STEP_CERTIFICATE);
	assert_says(error, "sent no certificate");

	try_raw(RAW_TLS12, false, &session, &rc, &error);
	ck_assert_int_eq(rc, HVREPL_E_PEER_VERSION);
	assert_says(error, "no TLS 1.3");
	try_raw(RAW_TLS12, true, &session, &rc, &error);
	ck_assert_int_eq(rc, HVREPL_E_PEER_VERSION);
	ck_assert_uint_eq(session.step, HVREPL_STEP_TLS);
	assert_says(error, "no TLS 1.3");

	try_raw(RAW_OTHER_ALPN, false, &session, &rc, &error);
	ck_assert_int_eq(rc, HVREPL_E_PEER_VERSION);
	assert_says(error, "not hvrepl/1");
	try_raw(RAW_NO_ALPN, false, &session, &rc, &error);
	ck_assert_int_eq(rc, HVREPL_E_PEER_VERSION);
	assert_says(error, "not hvrepl/1");
	try_raw(RAW_NO_ALPN, true, &session, &rc, &error);
	ck_assert_int_eq(rc, HVREPL_E_PEER_VERSION);
	assert_says(error, "not hvrepl/1");

	/* clientAuth alone: a server may not be, nor a client here. */
	try_raw(RAW_BAD_USAGE, false, &session, &rc, &error);
	ck_assert_int_eq(rc, HVREPL_E_UNAUTHENTICATED);
	assert_says(error, "lacks an extended key usage");
	try_raw(RAW_BAD_USAGE, true, &session, &rc, &error);
	ck_assert_int_eq(rc, HVREPL_E_UNAUTHENTICATED);
	/* And with nothing wrong this way of testing succeeds. */
	try_raw(0, false, &session, &rc, &error);
	ck_assert_msg(rc == HVREPL_OK, "%s", error.sentence);
}
END_TEST

START_TEST(what_is_not_tls_gets_a_sentence)
{
	hvrepl_tls *tls = credentials("replica.test", "ca");
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvri_tls_session session;
	int fds[2];

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(socketpair(AF_UNIX,
					    SOCK_STREAM | SOCK_NONBLOCK, 0,
					    fds),
				 0);
		ck_assert_int_eq(hvri_tls_session_init(&session, tls, fds[0],
						       i == 0 ? "x.test" : NULL,
						       NULL, 0),
				 HVREPL_OK);
		ck_assert_int_eq(write(fds[1], "GET / HTTP/1.0\r\n\r\n", 18),
				 18);
		ck_assert_int_eq(hvri_tls_handshake(&session, &error),
				 HVREPL_E_PROTOCOL);
		assert_says(error, "does not speak TLS");
		hvri_tls_session_free(&session);
		close(fds[0]);
		close(fds[1]);
	}
	hvrepl_tls_destroy(tls);
}
END_TEST

/* New keys by bytes and by records, in the middle of a stream. */
START_TEST(keys_change_under_way_without_losing_a_byte)
{
	static uint8_t sent[500000], got[500000];
	struct hvrepl_tls_options options = options_for("primary.test", "ca");
	struct hvrepl_iovec iov[3] = { { sent, 10 },
				       { sent + 10, 100000 },
				       { sent + 100010, 399990 } };
	struct hvri_tls_out out = { iov, 3, 0 };
	hvrepl_tls *client, *server = credentials("replica.test", "ca");
	int32_t rc = HVREPL_PENDING;
	struct link link;
	size_t at = 0;

	options.rekey_bytes = 100000;
	options.rekey_records = 3;
	ck_assert_int_eq(hvrepl_tls_create(&options, &client, NULL), HVREPL_OK);
	open_link(&link, client, server, "replica.test", NULL, 0);
	shake(&link);
	ck_assert_int_eq(link.client_rc, HVREPL_OK);
	test_fill(sent, sizeof(sent), 9);
	while (at < sizeof(got)) {
		size_t piece = 0;

		if (rc == HVREPL_PENDING)
			rc = hvri_tls_send(&link.client, &out, 1u << 20);
		ck_assert_int_ge(rc, 0);
		ck_assert_int_ge(hvri_tls_receive(&link.server, got + at,
						  sizeof(got) - at, &piece),
				 0);
		at += piece;
	}
	ck_assert_int_eq(rc, HVREPL_OK);
	ck_assert_mem_eq(sent, got, sizeof(sent));
	ck_assert_uint_ge(link.client.rekeys, 10);
	close_link(&link);
	hvrepl_tls_destroy(client);
	hvrepl_tls_destroy(server);
}
END_TEST

static void expect_refusal(const char *name, const char *words)
{
	struct hvrepl_tls_options options = options_for(name, "ca");
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_tls *tls;

	ck_assert_int_lt(hvrepl_tls_create(&options, &tls, &error), 0);
	assert_says(error, words);
}

START_TEST(own_files_are_checked_when_they_are_read)
{
	struct hvrepl_tls_options options = options_for("primary.test", "ca");
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_tls *tls;

	pki_leaf(ca, &dir, "expired.test", "DNS:a", PKI_BOTH, -3600, -60);
	expect_refusal("expired.test", "has expired");
	pki_leaf(ca, &dir, "early.test", "DNS:a", PKI_BOTH, 600, 3600);
	expect_refusal("early.test", "not valid yet");
	pki_leaf(ca, &dir, "nosan.test", NULL, PKI_BOTH, -3600, 3600);
	expect_refusal("nosan.test", "no subject alternative name");
	pki_leaf(ca, &dir, "server.test", "DNS:a", PKI_SERVER, -3600, 3600);
	expect_refusal("server.test", "serverAuth and clientAuth");
	pki_leaf(ca, &dir, "any.test", "DNS:a", PKI_NO_EXTENSION, -3600, 3600);
	expect_refusal("any.test", "serverAuth and clientAuth");
	expect_refusal("absent.test", "cannot read");
	options.key_file = options_for("replica.test", "ca").key_file;
	ck_assert_int_eq(hvrepl_tls_create(&options, &tls, &error),
			 HVREPL_E_INVALID);
	assert_says(error, "does not belong");
	options = options_for("primary.test", "ca");
	options.ca_file = options.key_file;
	ck_assert_int_eq(hvrepl_tls_create(&options, &tls, &error),
			 HVREPL_E_INVALID);
	assert_says(error, "CA file");
}
END_TEST

START_TEST(a_renewed_certificate_is_used_after_reload)
{
	hvrepl_tls *tls = credentials("primary.test", "ca");
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	uint64_t before = hvrepl_tls_expires(tls), renewed;
	char path[TEMPDIR_PATH_MAX], name[16];
	struct link link;

	ck_assert_uint_gt(before, 0);
	pki_leaf(ca, &dir, "primary.test", "DNS:renamed.test", PKI_BOTH, -3600,
		 7200);
	ck_assert_uint_eq(hvrepl_tls_expires(tls), before);
	ck_assert_int_eq(hvrepl_tls_reload(tls, &error), HVREPL_OK);
	renewed = hvrepl_tls_expires(tls);
	ck_assert_uint_ge(renewed, before + 3000ull * 1000000000u);
	hvrepl_tls_name(tls, name, sizeof(name));
	ck_assert_str_eq(name, "renamed.test");
	/* A reload that fails leaves what works. */
	ck_assert_int_eq(truncate(tempdir_join(&dir, "primary.test.pem", path),
				  10),
			 0);
	ck_assert_int_eq(hvrepl_tls_reload(tls, &error), HVREPL_E_INVALID);
	ck_assert_uint_eq(hvrepl_tls_expires(tls), renewed);
	try_pair(&link, tls, credentials("replica.test", "ca"), "replica.test");
	ck_assert_int_eq(link.server_rc, HVREPL_OK);
	ck_assert_str_eq(link.server.peer, "renamed.test");
}
END_TEST

START_TEST(names_have_one_spelling)
{
	char out[HVREPL_PEER_NAME_MAX + 1], longest[300];

	ck_assert(hvri_tls_canonical("Site-A.Example.", out));
	ck_assert_str_eq(out, "site-a.example");
	ck_assert(hvri_tls_canonical("2001:DB8:0:0::1", out));
	ck_assert_str_eq(out, "2001:db8::1");
	ck_assert(!hvri_tls_canonical("*.example", out));
	ck_assert(!hvri_tls_canonical("", out));
	/* A label that is empty is none: else "a.." would become "a.". */
	ck_assert(!hvri_tls_canonical("a..", out));
	ck_assert(!hvri_tls_canonical("a..b", out));
	ck_assert(!hvri_tls_canonical(".a", out));
	ck_assert(!hvri_tls_canonical(".", out));
	ck_assert(!hvri_tls_canonical("a b", out));
	memset(longest, 'a', 256);
	longest[256] = 0;
	ck_assert(!hvri_tls_canonical(longest, out));
	longest[255] = 0;
	ck_assert(hvri_tls_canonical(longest, out));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("TLS session");
	TCase *tc = tcase_create("trust");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, both_sides_learn_who_the_other_is);
	tcase_add_test(tc, a_client_of_another_ca_is_refused_and_knows_it);
	tcase_add_test(tc, a_server_of_another_ca_is_refused);
	tcase_add_test(tc, an_expired_certificate_is_refused_on_either_side);
	tcase_add_test(tc, a_server_of_another_name_is_refused);
	tcase_add_test(tc, only_known_peers_are_let_in_where_they_are_named);
	tcase_add_test(tc, a_pattern_lets_in_the_hosts_it_means);
	tcase_add_test(tc, peers_that_lack_something_are_refused);
	tcase_add_test(tc, what_is_not_tls_gets_a_sentence);
	tcase_add_test(tc, keys_change_under_way_without_losing_a_byte);
	tcase_add_test(tc, own_files_are_checked_when_they_are_read);
	tcase_add_test(tc, a_renewed_certificate_is_used_after_reload);
	tcase_add_test(tc, names_have_one_spelling);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
