/* SPDX-License-Identifier: Apache-2.0 */
/* When the end of a certificate, a list or a ticket becomes a reason. */
#include "replication/trust.h"

#include "testing.h"

#include <string.h>

#define HOUR 3600000000000ull
#define DAY (24 * HOUR)
#define NOW 1700000000000000000ull

static struct hvri_health health_of(const struct hvri_trust *trust)
{
	struct hvri_health h = { .level = HVREPL_HEALTH_NORMAL,
				 .sentence = "normal" };

	hvri_trust_health(trust, NOW, &h);
	return h;
}

static struct hvri_validity year(uint64_t left)
{
	return (struct hvri_validity){ NOW + left - 365 * DAY, NOW + left };
}

START_TEST(thirty_days_ahead_warn_seven_are_critical)
{
	static const struct {
		uint64_t left;
		uint32_t level;
		const char *words;
	} cases[] = {
		{ 30 * DAY + 1, HVREPL_HEALTH_NORMAL, "normal" },
		{ 30 * DAY, HVREPL_HEALTH_WARNING, "ends in 30 days" },
		{ 7 * DAY + 1, HVREPL_HEALTH_WARNING, "ends in 7 days" },
		{ 7 * DAY, HVREPL_HEALTH_CRITICAL, "ends in 7 days" },
		{ 2 * DAY - 1, HVREPL_HEALTH_CRITICAL, "ends in 47 hours" },
		{ 1, HVREPL_HEALTH_CRITICAL, "ends in 0 minutes" },
		{ 0, HVREPL_HEALTH_CRITICAL, "has ended" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hvri_trust t[3] = {
			{ .own = year(cases[i].left) },
			{ .peer = year(cases[i].left) },
			{ .list = year(cases[i].left) },
		};
		static const struct { uint32_t reason; const char *words; }
		what[] = {
			{ HVREPL_REASON_CERTIFICATE_ENDS,
			  "this site's certificate" },
			{ HVREPL_REASON_PEER_CERTIFICATE_ENDS,
			  "the other site's certificate" },
			{ HVREPL_REASON_REVOCATION_LIST_ENDS,
			  "a revocation list here" },
		};

		for (int k = 0; k < 3; k++) {
			struct hvri_health h = health_of(&t[k]);

			ck_assert_uint_eq(h.level, cases[i].level);
			ck_assert_ptr_nonnull(strstr(h.sentence,
						     cases[i].words));
			if (h.level == HVREPL_HEALTH_NORMAL) {
				ck_assert_uint_eq(h.reasons, 0);
				continue;
			}
			ck_assert_uint_eq(h.reasons, what[k].reason);
			ck_assert_ptr_nonnull(strstr(h.sentence,
						     what[k].words));
		}
	}
}
END_TEST

/* Else a list of a week, or a certificate of a day, would never be normal. */
START_TEST(what_lives_shortly_warns_in_the_last_third)
{
	static const struct { uint64_t life, left; uint32_t level; } cases[] = {
		{ 9 * DAY, 3 * DAY + 1, HVREPL_HEALTH_NORMAL },
		{ 9 * DAY, 3 * DAY, HVREPL_HEALTH_WARNING },
		{ 9 * DAY, 7 * DAY / 10 + 1, HVREPL_HEALTH_WARNING },
		{ 9 * DAY, 7 * DAY / 10, HVREPL_HEALTH_CRITICAL },
		{ DAY, 8 * HOUR + 1, HVREPL_HEALTH_NORMAL },
		{ DAY, 8 * HOUR, HVREPL_HEALTH_WARNING },
		{ 90 * DAY, 30 * DAY, HVREPL_HEALTH_WARNING },
		{ 90 * DAY, 30 * DAY + 1, HVREPL_HEALTH_NORMAL },
		{ 3650 * DAY, 30 * DAY + 1, HVREPL_HEALTH_NORMAL },
		{ 1, 1, HVREPL_HEALTH_NORMAL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hvri_trust t = { .list = {
			NOW + cases[i].left - cases[i].life,
			NOW + cases[i].left,
		} };

		ck_assert_uint_eq(health_of(&t).level, cases[i].level);
	}
}
END_TEST

START_TEST(dates_that_make_no_sense_are_taken_at_their_end)
{
	struct hvri_trust t = { .own = { NOW + DAY, NOW + HOUR } };

	ck_assert_uint_eq(health_of(&t).level, HVREPL_HEALTH_CRITICAL);
	t.own = (struct hvri_validity){ 0, UINT64_MAX };
	ck_assert_uint_eq(health_of(&t).level, HVREPL_HEALTH_NORMAL);
	t.own = (struct hvri_validity){ NOW + DAY, 0 };
	ck_assert_uint_eq(health_of(&t).level, HVREPL_HEALTH_NORMAL);
	t.own = (struct hvri_validity){ 0, 1 };
	ck_assert_uint_eq(health_of(&t).level, HVREPL_HEALTH_CRITICAL);
}
END_TEST

START_TEST(a_ticket_that_is_not_renewed_is_a_reason)
{
	struct hvri_trust t = { .session_until_ns = NOW + 5 * HOUR };
	struct hvri_health h = health_of(&t);

	ck_assert_uint_eq(h.reasons, HVREPL_REASON_TICKET_NOT_RENEWED);
	ck_assert_uint_eq(h.level, HVREPL_HEALTH_WARNING);
	ck_assert_ptr_nonnull(strstr(h.sentence, "ends in 5 hours"));
	t.session_until_ns = NOW + HOUR;
	ck_assert_uint_eq(health_of(&t).level, HVREPL_HEALTH_CRITICAL);
	t.session_until_ns = NOW - 1;
	h = health_of(&t);
	ck_assert_uint_eq(h.level, HVREPL_HEALTH_CRITICAL);
	ck_assert_ptr_nonnull(strstr(h.sentence, "the session has ended"));
}
END_TEST

START_TEST(only_what_is_graver_takes_the_sentence)
{
	struct hvri_trust t = { .own = year(20 * DAY) };
	struct hvri_health h = { .level = HVREPL_HEALTH_WARNING,
				 .reasons = HVREPL_REASON_DISCONNECTED,
				 .sentence = "gone" };

	hvri_trust_health(&t, NOW, &h);
	ck_assert_str_eq(h.sentence, "gone");
	ck_assert_uint_eq(h.reasons, HVREPL_REASON_DISCONNECTED |
					     HVREPL_REASON_CERTIFICATE_ENDS);
	t.own = year(DAY);
	hvri_trust_health(&t, NOW, &h);
	ck_assert_uint_eq(h.level, HVREPL_HEALTH_CRITICAL);
	ck_assert_ptr_nonnull(strstr(h.sentence, "renew it here"));
	/* A VM that is not replicated has no health. */
	h = (struct hvri_health){ .level = HVREPL_HEALTH_NONE };
	hvri_trust_health(&t, NOW, &h);
	ck_assert_uint_eq(h.level, HVREPL_HEALTH_NONE);
	ck_assert_uint_eq(h.reasons, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("trust");
	TCase *tc = tcase_create("health");

	tcase_add_test(tc, thirty_days_ahead_warn_seven_are_critical);
	tcase_add_test(tc, what_lives_shortly_warns_in_the_last_third);
	tcase_add_test(tc, dates_that_make_no_sense_are_taken_at_their_end);
	tcase_add_test(tc, a_ticket_that_is_not_renewed_is_a_reason);
	tcase_add_test(tc, only_what_is_graver_takes_the_sentence);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
