/* SPDX-License-Identifier: Apache-2.0 */
/* What proves two sites ends one day, and the health of their VMs says so. */
#include "guestshadow.h"

#define DAY 86400000000000ull

static uint32_t reasons_at(struct pair_site *site)
{
	struct hvrepl_vm_status status;

	pair_status(site, &status);
	return status.reasons;
}

static void set_own(struct pair_site *site, uint64_t left)
{
	struct hvrepl_trust trust = HVREPL_TRUST_INIT;

	trust.until_utc_ns = site->env.utc_ns + left;
	trust.from_utc_ns = trust.until_utc_ns - 365 * DAY;
	ck_assert_int_eq(hvrepl_node_set_trust(site->node, &trust), HVREPL_OK);
}

START_TEST(the_end_of_the_own_certificate_is_a_reason_until_it_is_renewed)
{
	struct hvrepl_vm_status status;

	shadow_protect();
	set_own(&pair.a, 31 * DAY);
	ck_assert_uint_eq(reasons_at(&pair.a), 0);
	set_own(&pair.a, 29 * DAY);
	pair_status(&pair.a, &status);
	ck_assert_uint_eq(status.reasons, HVREPL_REASON_CERTIFICATE_ENDS);
	ck_assert_uint_eq(status.health, HVREPL_HEALTH_WARNING);
	ck_assert_ptr_nonnull(strstr(status.sentence, "ends in 29 days"));
	/* That is this site's matter; the other says nothing of it. */
	ck_assert_uint_eq(reasons_at(&pair.b), 0);
	set_own(&pair.a, 6 * DAY);
	pair_status(&pair.a, &status);
	ck_assert_uint_eq(status.health, HVREPL_HEALTH_CRITICAL);
	set_own(&pair.a, 365 * DAY);
	ck_assert_uint_eq(reasons_at(&pair.a), 0);
}
END_TEST

/* And stays known while nobody is there to show it. */
START_TEST(what_the_peer_showed_last_is_a_reason_also_without_it)
{
	struct hvrepl_peer_status peer = HVREPL_PEER_STATUS_INIT;

	pair.b.valid_from = pair.b.env.utc_ns - 365 * DAY;
	pair.b.valid_until = pair.b.env.utc_ns + 10 * DAY;
	pair_link_break(&pair);
	shadow_protect();
	ck_assert_uint_eq(reasons_at(&pair.a),
			  HVREPL_REASON_PEER_CERTIFICATE_ENDS);
	ck_assert_uint_eq(reasons_at(&pair.b), 0);
	ck_assert_int_eq(hvrepl_node_get_peer(pair.a.node, 0, &peer),
			 HVREPL_OK);
	ck_assert_uint_eq(peer.until_utc_ns, pair.b.valid_until);
	ck_assert_uint_eq(peer.from_utc_ns, pair.b.valid_from);
	pair_link(&pair, false);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(reasons_at(&pair.a),
			  HVREPL_REASON_PEER_CERTIFICATE_ENDS |
				  HVREPL_REASON_DISCONNECTED);
	pair.b.valid_until += 300 * DAY;
	pair_link(&pair, true);
	pair_run(&pair, 90 * SECOND);
	ck_assert_uint_eq(reasons_at(&pair.a), 0);
}
END_TEST

START_TEST(a_failed_renewal_is_a_reason_until_a_session_is_new)
{
	struct hvrepl_peer_status peer = HVREPL_PEER_STATUS_INIT;
	uint64_t until;

	shadow_protect();
	until = pair.a.env.utc_ns + 3600 * SECOND * 3;
	ck_assert_int_eq(hvrepl_node_get_peer(pair.a.node, 0, &peer),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_node_set_renewal(pair.a.node, "nobody", until),
			 HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(hvrepl_node_set_renewal(pair.a.node, peer.name, until),
			 HVREPL_OK);
	ck_assert_uint_eq(reasons_at(&pair.a),
			  HVREPL_REASON_TICKET_NOT_RENEWED);
	ck_assert_int_eq(hvrepl_node_set_renewal(pair.a.node, peer.name, 0),
			 HVREPL_OK);
	ck_assert_uint_eq(reasons_at(&pair.a), 0);
	ck_assert_int_eq(hvrepl_node_set_renewal(pair.a.node, peer.name, until),
			 HVREPL_OK);
	pair_link_break(&pair);
	pair_run(&pair, 90 * SECOND);
	ck_assert_uint_eq(reasons_at(&pair.a), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("trust and health");
	TCase *tcase = tcase_create("ends");

	tcase_add_checked_fixture(tcase, shadow_setup, shadow_teardown);
	tcase_add_test(
		tcase,
		the_end_of_the_own_certificate_is_a_reason_until_it_is_renewed);
	tcase_add_test(
		tcase, what_the_peer_showed_last_is_a_reason_also_without_it);
	tcase_add_test(tcase,
		       a_failed_renewal_is_a_reason_until_a_session_is_new);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
