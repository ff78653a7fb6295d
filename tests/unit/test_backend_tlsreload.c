/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates, CAs and lists exchanged while connections live. */
#define _GNU_SOURCE
#include "backend/tls.h"
#include "tlsrig.h"
#include "tlsstream.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

/* A connection of its own, beside the rig's. */
struct connection {
	struct side client, server;
};

static struct {
	unsigned count;
	char peer[HVREPL_PEER_NAME_MAX + 1];
	char sentence[HVREPL_SENTENCE_MAX];
} told;

static void on_distrusted(void *user, const char *peer,
			  const struct hvrepl_error *error)
{
	(void)user;
	ck_assert_int_eq(error->code, HVREPL_E_UNAUTHENTICATED);
	told.count++;
	snprintf(told.peer, sizeof(told.peer), "%s", peer);
	snprintf(told.sentence, sizeof(told.sentence), "%s", error->sentence);
}

static void attempt(hvrepl_tls *from)
{
	struct hvrepl_tls_connect connect = HVREPL_TLS_CONNECT_INIT;

	memset(&client, 0, sizeof(client));
	memset(&server, 0, sizeof(server));
	connect.host = "127.0.0.1";
	connect.port = hvrepl_listener_port(listener);
	connect.peer = "replica.test";
	connect.done = on_done;
	ck_assert_int_eq(hvrepl_tls_connect(loop, from, &connect, NULL),
			 HVREPL_OK);
	await(2);
}

static bool try_from(hvrepl_tls *from, struct connection *made)
{
	attempt(from);
	if (client.code != HVREPL_OK || server.code != HVREPL_OK)
		return false;
	made->client = client;
	made->server = server;
	memset(&client, 0, sizeof(client));
	memset(&server, 0, sizeof(server));
	return true;
}

static struct connection join_from(hvrepl_tls *from)
{
	struct connection made;

	ck_assert_msg(try_from(from, &made), "%s %s", client.sentence,
		      server.sentence);
	return made;
}

static void part(struct connection *c)
{
	c->client.channel.release(c->client.channel.user);
	c->server.channel.release(c->server.channel.user);
}

/* It lives: bytes go both ways. */
static void use(struct connection *c)
{
	struct stream streams[2];

	streams_open = 0;
	stream_init(&streams[0], &c->client, &c->server, 200000, 70000, 65536);
	stream_init(&streams[1], &c->server, &c->client, 100000, 30000, 65536);
	ck_assert_int_eq(hvrepl_loop_post(loop, start_streams, streams),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	stream_check(&streams[0]);
	stream_check(&streams[1]);
}

struct last_op {
	struct hvrepl_op op;
	int32_t result;
};

static void last_done(struct hvrepl_op *op, int32_t result)
{
	((struct last_op *)op)->result = result;
	hvrepl_loop_stop(loop);
}

/* How a receive at this side ends, and with how many bytes. */
static int32_t end_of(const struct side *side, size_t *got)
{
	struct last_op last = { .op.complete = last_done };
	uint8_t byte;
	int32_t rc = side->channel.ops->receive(side->channel.user, &last.op,
						&byte, 1, got);

	if (rc != HVREPL_PENDING)
		return rc;
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	return last.result;
}

/* `side` closed it, as it no longer believes `other`. */
static void check_closed(const struct side *side, const struct side *other)
{
	size_t got = 1;

	ck_assert_int_eq(end_of(side, &got), HVREPL_E_UNAUTHENTICATED);
	ck_assert_int_eq(end_of(other, &got), HVREPL_OK);
	ck_assert_uint_eq(got, 0);
}

static atomic_bool over;

static void *reload_all_the_time(void *argument)
{
	atomic_uint *reloads = argument;

	do {
		if (hvrepl_tls_reload(primary, NULL) < 0 ||
		    hvrepl_tls_reload(replica, NULL) < 0 ||
		    hvrepl_tls_refresh(replica, NULL) < 0)
			break;
		atomic_fetch_add(reloads, 1);
	} while (!atomic_load(&over));
	return NULL;
}

START_TEST(reloads_in_mid_transfer_lose_no_byte)
{
	struct stream streams[2];
	atomic_uint reloads = 0;
	pthread_t thread;

	join_sides();
	atomic_store(&over, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, reload_all_the_time,
					&reloads),
			 0);
	while (atomic_load(&reloads) == 0)
		usleep(1000);
	streams_open = 0;
	stream_init(&streams[0], &client, &server, 4u << 20, 300000, 65536);
	stream_init(&streams[1], &server, &client, 4u << 20, 70000, 65536);
	ck_assert_int_eq(hvrepl_loop_post(loop, start_streams, streams),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	/* Handshakes beside it, too. */
	for (int i = 0; i < 10; i++) {
		struct connection made;
		struct side kept[2] = { client, server };

		made = join_from(primary);
		use(&made);
		part(&made);
		client = kept[0];
		server = kept[1];
	}
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	stream_check(&streams[0]);
	stream_check(&streams[1]);
}
END_TEST

static void renew(const struct pki_ca *from, const char *name, hvrepl_tls *tls)
{
	struct hvrepl_tls_info before = HVREPL_TLS_INFO_INIT,
			       after = HVREPL_TLS_INFO_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	ck_assert_int_eq(hvrepl_tls_get_info(tls, &before), HVREPL_OK);
	pki_good(from, &dir, name);
	ck_assert_msg(hvrepl_tls_reload(tls, &error) == HVREPL_OK, "%s",
		      error.sentence);
	ck_assert_int_eq(hvrepl_tls_get_info(tls, &after), HVREPL_OK);
	ck_assert_str_ne(before.pin, after.pin);
}

START_TEST(both_sites_renew_in_either_order_and_nothing_is_lost)
{
	struct connection lives[4];

	start_listening("127.0.0.1", 0);
	for (int order = 0; order < 2; order++) {
		lives[0] = join_from(primary);
		for (int step = 0; step < 2; step++) {
			if (step == order)
				renew(ca, "primary.test", primary);
			else
				renew(ca, "replica.test", replica);
			lives[step + 1] = join_from(primary);
			for (int i = 0; i <= step + 1; i++)
				use(&lives[i]);
		}
		for (int i = 0; i < 3; i++)
			part(&lives[i]);
	}
}
END_TEST

/* ca.pem is what both sites believe. */
static void believe(const char *first, const char *second)
{
	char path[TEMPDIR_PATH_MAX];

	(void)unlink(tempdir_join(&dir, "ca.pem", path));
	pki_append(&dir, "ca.pem", first);
	if (second != NULL)
		pki_append(&dir, "ca.pem", second);
}

static void reload(hvrepl_tls *tls)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	ck_assert_msg(hvrepl_tls_reload(tls, &error) == HVREPL_OK, "%s",
		      error.sentence);
}

/* Both CAs are believed, then each site renews, then the old one goes. */
START_TEST(a_ca_is_exchanged_in_either_order_and_nothing_is_lost)
{
	struct pki_ca *fresh = pki_ca_new(&dir, "new");

	start_listening("127.0.0.1", 0);
	pki_append(&dir, "old.pem", "ca.pem");
	for (int order = 0; order < 4; order++) {
		hvrepl_tls *sites[2] = { primary, replica };
		const char *names[2] = { "primary.test", "replica.test" };
		struct connection old, made[5];
		unsigned count = 0;

		believe("old.pem", NULL);
		renew(ca, "primary.test", primary);
		renew(ca, "replica.test", replica);
		old = join_from(primary);
		believe("old.pem", "new.pem");
		for (int i = 0; i < 2; i++) {
			reload(sites[(order + i) & 1]);
			made[count++] = join_from(primary);
		}
		for (int i = 0; i < 2; i++) {
			int site = (order / 2 + i) & 1;

			renew(fresh, names[site], sites[site]);
			made[count++] = join_from(primary);
			use(&old);
			for (unsigned k = 0; k < count; k++)
				use(&made[k]);
		}
		/* Who was proved by the old one must prove itself anew. */
		believe("new.pem", NULL);
		reload(primary);
		check_closed(&old.client, &old.server);
		use(&made[3]);
		reload(replica);
		use(&made[3]);
		made[count] = join_from(primary);
		use(&made[count]);
		part(&old);
		for (unsigned k = 0; k <= count; k++)
			part(&made[k]);
	}
	pki_ca_free(fresh);
}
END_TEST

static struct hvrepl_tls_options replica_options(void)
{
	static char paths[3][TEMPDIR_PATH_MAX];
	struct hvrepl_tls_options options = HVREPL_TLS_OPTIONS_INIT;

	options.ca_file = tempdir_join(&dir, "ca.pem", paths[0]);
	options.cert_file = tempdir_join(&dir, "replica.test.pem", paths[1]);
	options.key_file = tempdir_join(&dir, "replica.test.key", paths[2]);
	options.distrusted = on_distrusted;
	memset(&told, 0, sizeof(told));
	return options;
}

static hvrepl_tls *other_site(void)
{
	struct hvrepl_tls_options options = HVREPL_TLS_OPTIONS_INIT;
	char paths[3][TEMPDIR_PATH_MAX];
	hvrepl_tls *tls;

	pki_good(ca, &dir, "other.test");
	options.ca_file = tempdir_join(&dir, "ca.pem", paths[0]);
	options.cert_file = tempdir_join(&dir, "other.test.pem", paths[1]);
	options.key_file = tempdir_join(&dir, "other.test.key", paths[2]);
	ck_assert_int_eq(hvrepl_tls_create(&options, &tls, NULL), HVREPL_OK);
	return tls;
}

START_TEST(a_revocation_closes_what_lives_with_that_peer_and_nothing_else)
{
	static const char *const revoked[] = { "primary.test" };
	struct hvrepl_tls_options options = replica_options();
	hvrepl_tls *other = other_site();
	struct connection one, two;
	char list[TEMPDIR_PATH_MAX];

	pki_list(ca, &dir, "list.crl", NULL, 0, -60, 3600);
	options.crl = tempdir_join(&dir, "list.crl", list);
	ck_assert_int_eq(hvrepl_tls_replace(replica, &options, NULL),
			 HVREPL_OK);
	start_listening("127.0.0.1", 0);
	one = join_from(primary);
	two = join_from(other);
	reload(replica);
	use(&one);
	ck_assert_uint_eq(told.count, 0);
	pki_list(ca, &dir, "list.crl", revoked, 1, -60, 3600);
	ck_assert_int_eq(hvrepl_tls_refresh(replica, NULL), 1);
	ck_assert_uint_eq(told.count, 1);
	ck_assert_str_eq(told.peer, "primary.test");
	ck_assert_ptr_nonnull(strstr(told.sentence, "was revoked"));
	check_closed(&one.server, &one.client);
	use(&two);
	attempt(primary);
	ck_assert_int_eq(server.code, HVREPL_E_UNAUTHENTICATED);
	ck_assert_int_eq(client.code, HVREPL_E_PEER_REFUSED);
	part(&one);
	part(&two);
	hvrepl_tls_destroy(other);
}
END_TEST

/* Somebody who forgot to renew must still be able to put a peer out. */
START_TEST(a_revocation_counts_also_past_the_end_of_ones_own_certificate)
{
	static const char *const revoked[] = { "primary.test" };
	struct hvrepl_tls_options options = replica_options();
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct connection made;
	char list[TEMPDIR_PATH_MAX];
	long seconds = 1;
	uint64_t now;

	pki_list(ca, &dir, "list.crl", NULL, 0, -60, 3600);
	options.crl = tempdir_join(&dir, "list.crl", list);
	start_listening("127.0.0.1", 0);
	/* It is to outlast a handshake, on a slow machine too. */
	do {
		seconds *= 2;
		ck_assert_msg(seconds < 100, "%s", client.sentence);
		pki_renew(ca, &dir, "replica.test", "DNS:replica.test", -60,
			  seconds);
	} while (hvrepl_tls_replace(replica, &options, NULL) != HVREPL_OK ||
		 !try_from(primary, &made));
	do {
		usleep(100000);
		now = (uint64_t)time(NULL) * 1000000000u;
	} while (now <= hvrepl_tls_expires(replica) + 1000000000u);
	pki_list(ca, &dir, "list.crl", revoked, 1, -60, 3600);
	ck_assert_msg(hvrepl_tls_refresh(replica, &error) == 1, "%s",
		      error.sentence);
	ck_assert_uint_eq(told.count, 1);
	ck_assert_str_eq(told.peer, "primary.test");
	check_closed(&made.server, &made.client);
	/* As new it would not be taken. */
	ck_assert_int_eq(hvrepl_tls_reload(replica, &error), HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(error.sentence, "has expired"));
	part(&made);
}
END_TEST

static int32_t judgement; /* Of everybody. */

static int32_t answer(void *user,
		      const struct hvrepl_tls_certificate *certificate)
{
	(void)user, (void)certificate;
	return judgement;
}

START_TEST(the_applications_word_and_new_pins_count_for_what_lives)
{
	static const int32_t words[] = { HVREPL_TLS_UNKNOWN,
					 HVREPL_TLS_REVOKED };
	struct hvrepl_tls_options options = replica_options();
	char own[PKI_PIN], spare[PKI_PIN];
	struct hvrepl_tls_pin pin = { "primary.test", own, spare };
	struct connection made;

	start_listening("127.0.0.1", 0);
	options.revocation = answer;
	for (int i = 0; i < 2; i++) {
		judgement = HVREPL_TLS_GOOD;
		ck_assert_int_eq(hvrepl_tls_replace(replica, &options, NULL),
				 HVREPL_OK);
		made = join_from(primary);
		reload(replica);
		use(&made);
		judgement = words[i];
		reload(replica);
		check_closed(&made.server, &made.client);
		part(&made);
	}
	options.revocation = NULL;
	pki_pin(&dir, "primary.test", own);
	pki_good(ca, &dir, "spare.test");
	pki_pin(&dir, "spare.test", spare);
	options.pins = &pin;
	options.pin_count = 1;
	ck_assert_int_eq(hvrepl_tls_replace(replica, &options, NULL),
			 HVREPL_OK);
	made = join_from(primary);
	reload(replica);
	use(&made);
	pki_pin(&dir, "replica.test", own);
	ck_assert_int_eq(hvrepl_tls_replace(replica, &options, NULL),
			 HVREPL_OK);
	ck_assert_ptr_nonnull(strstr(told.sentence, "backup pin"));
	check_closed(&made.server, &made.client);
	part(&made);
}
END_TEST

/* A link is not cut because a date passed at night: only what is new must
 * prove itself by what is valid. */
START_TEST(the_end_of_a_certificate_or_list_ends_no_connection)
{
	static const char *const revoked[] = { "other.test" };
	static struct hvri_tls_session scratch;
	struct hvrepl_tls_options options = replica_options();
	hvrepl_tls *other = other_site();
	struct hvri_tls_context *context;
	struct connection made, bad;
	char list[TEMPDIR_PATH_MAX];

	start_listening("127.0.0.1", 0);
	made = join_from(primary);
	bad = join_from(other);
	/* What a list says stays true after its end. */
	pki_list(ca, &dir, "list.crl", revoked, 1, -3600, -60);
	options.crl = tempdir_join(&dir, "list.crl", list);
	ck_assert_int_eq(hvrepl_tls_replace(replica, &options, NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(told.count, 1);
	ck_assert_str_eq(told.peer, "other.test");
	check_closed(&bad.server, &bad.client);
	use(&made);
	/* By a clock at which all certificates have ended. */
	context = hvri_tls_current(replica);
	X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(context->store),
				   time(NULL) + 86400);
	hvri_tls_living_recheck(replica, context, &scratch);
	hvri_tls_context_drop(context);
	ck_assert_uint_eq(told.count, 1);
	use(&made);
	attempt(primary);
	ck_assert_int_eq(server.code, HVREPL_E_UNAUTHENTICATED);
	ck_assert_ptr_nonnull(strstr(server.sentence, "past its end"));
	part(&made);
	part(&bad);
	hvrepl_tls_destroy(other);
}
END_TEST

/* Who is set back in time can let nobody in; what lives need not go for it, nor for a
 * list by a clock that is a little ahead of ours. */
START_TEST(a_clock_that_is_set_back_ends_no_connection)
{
	static const char *const revoked[] = { "other.test" };
	static struct hvri_tls_session scratch;
	struct hvrepl_tls_options options = replica_options();
	hvrepl_tls *other = other_site();
	struct hvri_tls_context *context;
	struct connection made, bad;
	char list[TEMPDIR_PATH_MAX];

	start_listening("127.0.0.1", 0);
	made = join_from(primary);
	bad = join_from(other);
	pki_list(ca, &dir, "list.crl", revoked, 1, 3600, 7200);
	options.crl = tempdir_join(&dir, "list.crl", list);
	ck_assert_int_eq(hvrepl_tls_replace(replica, &options, NULL),
			 HVREPL_OK);
	/* What it lists is revoked all the same. */
	ck_assert_uint_eq(told.count, 1);
	ck_assert_str_eq(told.peer, "other.test");
	check_closed(&bad.server, &bad.client);
	use(&made);
	/* By a clock at which no certificate has begun. */
	context = hvri_tls_current(replica);
	X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(context->store),
				   time(NULL) - 10 * 365 * 86400L);
	hvri_tls_living_recheck(replica, context, &scratch);
	hvri_tls_context_drop(context);
	ck_assert_uint_eq(told.count, 1);
	use(&made);
	/* The new one has to be valid now, by a list that is. */
	attempt(primary);
	ck_assert_int_eq(server.code, HVREPL_E_UNAUTHENTICATED);
	part(&made);
	part(&bad);
	hvrepl_tls_destroy(other);
}
END_TEST

START_TEST(files_that_are_bad_leave_all_as_it_was)
{
	struct hvrepl_tls_options options = replica_options();
	struct hvrepl_tls_info before = HVREPL_TLS_INFO_INIT,
			       after = HVREPL_TLS_INFO_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct connection made, later;

	start_listening("127.0.0.1", 0);
	made = join_from(primary);
	ck_assert_int_eq(hvrepl_tls_get_info(replica, &before), HVREPL_OK);
	options.key_file = primary_options.key_file;
	ck_assert_int_eq(hvrepl_tls_replace(replica, &options, &error),
			 HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(error.sentence, "does not belong"));
	ck_assert_int_eq(hvrepl_tls_get_info(replica, &after), HVREPL_OK);
	ck_assert_uint_eq(after.reads, before.reads);
	ck_assert_str_eq(after.pin, before.pin);
	ck_assert_int_eq(after.last_code, HVREPL_E_INVALID);
	ck_assert_str_eq(after.sentence, error.sentence);
	use(&made);
	later = join_from(primary);
	use(&later);
	/* And the old paths count for the next reload. */
	reload(replica);
	use(&later);
	part(&made);
	part(&later);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("TLS reload");
	TCase *tc = tcase_create("renewal");

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, reloads_in_mid_transfer_lose_no_byte);
	tcase_add_test(tc, both_sites_renew_in_either_order_and_nothing_is_lost);
	tcase_add_test(tc, a_ca_is_exchanged_in_either_order_and_nothing_is_lost);
	tcase_add_test(tc, a_revocation_closes_what_lives_with_that_peer_and_nothing_else);
	tcase_add_test(tc, a_revocation_counts_also_past_the_end_of_ones_own_certificate);
	tcase_add_test(tc, the_applications_word_and_new_pins_count_for_what_lives);
	tcase_add_test(tc, the_end_of_a_certificate_or_list_ends_no_connection);
	tcase_add_test(tc, a_clock_that_is_set_back_ends_no_connection);
	tcase_add_test(tc, files_that_are_bad_leave_all_as_it_was);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
