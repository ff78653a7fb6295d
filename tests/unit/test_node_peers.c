/* SPDX-License-Identifier: Apache-2.0 */
/* Peers, channels and entries that a node does not take: refused with a code, and let
 * go; who is there already is not disturbed. */
#include "pair.h"

#include <string.h>

#define SIZE (64u << 10)
#define SECOND UINT64_C(1000000000)

static struct pair pair;
static unsigned let_go;

static void release(void *user)
{
	(void)user;
	let_go++;
}

static void setup(void)
{
	pair_init(&pair, 3, SIZE);
	pair_start(&pair, &pair.b);
	pair_start(&pair, &pair.a);
	pair_run(&pair, SECOND);
}

static void teardown(void)
{
	pair_free(&pair);
	ck_assert_int_eq(pair.a.env.alloc_live, 0);
	ck_assert_int_eq(pair.b.env.alloc_live, 0);
}

START_TEST(peers_without_a_name_of_their_own_are_refused)
{
	struct hvrepl_peer_config good = HVREPL_PEER_CONFIG_INIT, peer;
	struct hvrepl_trust trust = HVREPL_TRUST_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	good.name = "third";
	good.release = release;
#define NO_PEER(change, rc, word)                                             \
	do {                                                                  \
		peer = good;                                                  \
		change;                                                       \
		let_go = 0;                                                   \
		ck_assert_int_eq(hvrepl_node_add_peer(pair.a.node, &peer,     \
						      &error),                \
				 rc);                                         \
		ck_assert_uint_eq(let_go, rc != HVREPL_OK);                   \
		ck_assert_msg(strstr(error.sentence, word) != NULL, "%s",     \
			      error.sentence);                                \
	} while (0)
	NO_PEER(peer.name = NULL, HVREPL_E_INVALID, "needs a name");
	NO_PEER(peer.name = "*.site", HVREPL_E_INVALID, "needs a name");
	NO_PEER(peer.name = "SITE-B.", HVREPL_E_EXISTS, "there already");
	NO_PEER(pair.a.env.alloc_fail_at = 0, HVREPL_E_NOMEM, "");
	NO_PEER((void)0, HVREPL_OK, "");
	NO_PEER((void)0, HVREPL_E_EXISTS, "there already");
	good.release = NULL;
	ck_assert_int_eq(hvrepl_node_add_peer(pair.a.node, &good, NULL),
			 HVREPL_E_EXISTS);
	good.struct_size = 8;
	ck_assert_int_eq(hvrepl_node_add_peer(pair.a.node, &good, NULL),
			 HVREPL_E_INVALID);
	trust.reserved = 1;
	ck_assert_int_eq(hvrepl_node_set_trust(pair.a.node, &trust),
			 HVREPL_E_INVALID);
	trust.struct_size = 8;
	ck_assert_int_eq(hvrepl_node_set_trust(pair.a.node, &trust),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_node_set_renewal(pair.a.node, "nobody", 1),
			 HVREPL_E_NOT_FOUND);
}
END_TEST

static struct hvrepl_channel_info identity;
static int32_t info_code;
static unsigned used, closed;

static int32_t channel_info(void *user, struct hvrepl_channel_info *out)
{
	(void)user;
	memcpy(out->peer, identity.peer, sizeof(out->peer));
	memcpy(out->exporter, identity.exporter, sizeof(out->exporter));
	return info_code;
}

static int32_t channel_send(void *user, hvrepl_op *op,
			    const struct hvrepl_iovec *iov, uint32_t iov_count)
{
	(void)user, (void)op, (void)iov, (void)iov_count;
	used++;
	return HVREPL_OK;
}

static int32_t channel_receive(void *user, hvrepl_op *op, void *buffer,
			       size_t length, size_t *received_out)
{
	(void)user, (void)op, (void)buffer, (void)length;
	used++;
	*received_out = 0; /* Closed by the peer. */
	return HVREPL_OK;
}

static void channel_close(void *user)
{
	(void)user;
	closed++;
}

static void hand_over(const struct hvrepl_channel_ops *ops, bool refused)
{
	struct hvrepl_channel channel = { ops, NULL, release };

	let_go = used = closed = 0;
	ck_assert_int_eq(hvrepl_node_connected(pair.a.node, &channel, 0),
			 HVREPL_OK);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(let_go, 1);
	ck_assert_uint_eq(used > 0, !refused);
}

START_TEST(a_channel_that_proves_nobody_is_let_go_unused)
{
	static const struct hvrepl_channel_ops whole = {
		sizeof(whole), 0, channel_info, channel_send, channel_receive,
		channel_close
	};
	struct hvrepl_channel channel = { &whole, NULL, release };
	struct hvrepl_channel_ops ops;

	for (unsigned i = 0; i < 8; i++) {
		ops = whole;
		memset(&identity, 0, sizeof(identity));
		memcpy(identity.peer, "stranger", 9);
		identity.exporter[31] = 1;
		info_code = HVREPL_OK;
		if (i == 0)
			ops.info = NULL;
		if (i == 1)
			ops.send = NULL;
		if (i == 2)
			ops.receive = NULL;
		if (i == 3)
			ops.close = NULL;
		if (i == 4)
			ops.struct_size = 8;
		if (i == 5)
			info_code = HVREPL_E_UNAUTHENTICATED;
		if (i == 6)
			identity.peer[0] = '\n';
		if (i == 7)
			identity.exporter[31] = 0;
		hand_over(&ops, true);
	}
	identity.exporter[31] = 1;
	hand_over(&whole, false);
	ck_assert_uint_eq(closed, 1);
	/* Without memory it is closed at once, if it can be. */
	for (unsigned i = 0; i < 2; i++) {
		ops = whole;
		if (i == 1)
			ops.close = NULL;
		channel.ops = &ops;
		let_go = closed = 0;
		pair.a.env.alloc_fail_at = 0;
		ck_assert_int_eq(hvrepl_node_connected(pair.a.node, &channel,
						       HVREPL_CHANNEL_INITIATOR),
				 HVREPL_E_NOMEM);
		ck_assert_uint_eq(let_go, 1);
		ck_assert_uint_eq(closed, i == 0);
	}
	channel.release = NULL;
	pair.a.env.alloc_fail_at = 0;
	ck_assert_int_eq(hvrepl_node_connected(pair.a.node, &channel, 0),
			 HVREPL_E_NOMEM);
	pair.a.env.alloc_fail_at = 0;
	ck_assert_int_eq(hvrepl_node_connect_failed(pair.a.node, "site-b",
						    HVREPL_E_DISCONNECTED),
			 HVREPL_E_NOMEM);
	ck_assert_int_eq(hvrepl_node_connect_failed(pair.a.node, "nobody",
						    HVREPL_E_DISCONNECTED),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_node_connect_failed(pair.a.node, "site-b",
						    HVREPL_E_DISCONNECTED),
			 HVREPL_OK);
	pair_run(&pair, SECOND);
}
END_TEST

START_TEST(entries_that_cannot_be_kept_change_no_right)
{
	static char long_text[HVREPL_PEER_NAME_MAX + 10];
	struct hvrepl_authorisation_status status =
		HVREPL_AUTHORISATION_STATUS_INIT;
	struct hvrepl_authorisation good = HVREPL_AUTHORISATION_INIT, entry;

	memset(long_text, 'g', sizeof(long_text) - 1);
	good.peer = "third";
	good.verbs = HVREPL_VERB_ALL;
	good.trust_group = "group";
#define NO_ENTRY(change, rc)                                                  \
	do {                                                                  \
		entry = good;                                                 \
		change;                                                       \
		ck_assert_int_eq(hvrepl_node_authorise(pair.a.node, &entry),  \
				 rc);                                         \
	} while (0)
	NO_ENTRY(entry.struct_size = 4, HVREPL_E_INVALID);
	NO_ENTRY(entry.peer = "*", HVREPL_E_INVALID);
	NO_ENTRY(entry.trust_group = long_text, HVREPL_E_INVALID);
	NO_ENTRY(entry.storage_root = long_text, HVREPL_E_INVALID);
	NO_ENTRY(entry.verbs = 1u << 30, HVREPL_E_TOO_NEW);
	NO_ENTRY(entry.flags = 1u << 30, HVREPL_E_TOO_NEW);
	NO_ENTRY(pair.a.env.alloc_fail_at = 0, HVREPL_E_NOMEM);
	ck_assert_int_eq(hvrepl_node_get_authorisation(pair.a.node, "third",
						       &status),
			 HVREPL_E_NOT_FOUND);
	NO_ENTRY((void)0, HVREPL_OK);
	ck_assert_int_eq(hvrepl_node_get_authorisation(pair.a.node, "third",
						       &status),
			 HVREPL_OK);
	ck_assert_uint_eq(status.verbs, HVREPL_VERB_ALL);
	ck_assert_int_eq(hvrepl_vm_set_trust_group(pair.a.node, &pair_vm,
						   long_text, NULL),
			 HVREPL_E_INVALID);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("node peers");
	TCase *tcase = tcase_create("node peers");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, peers_without_a_name_of_their_own_are_refused);
	tcase_add_test(tcase, a_channel_that_proves_nobody_is_let_go_unused);
	tcase_add_test(tcase, entries_that_cannot_be_kept_change_no_right);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
