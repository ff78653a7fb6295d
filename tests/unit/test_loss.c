/* SPDX-License-Identifier: Apache-2.0 */
/* What a failover gives up: how the estimate is made, and its words. */
#include "replication/loss.h"

#include "testing.h"

#include <string.h>

#define SECOND 1000000000ull
#define MIB (1ull << 20)
/* 2026-11-26 12:03:22 UTC */
#define THEN (1795694602ull * SECOND)

static struct hvri_relationship r;
static struct hvri_point_facts facts;
static const struct hvri_point point = { .number = 41, .utc_ns = THEN };
static struct hvri_loss loss;

static void setup(void)
{
	memset(&r, 0, sizeof(r));
	memset(&facts, 0, sizeof(facts));
	facts.newest_utc_ns = THEN;
	r.record.policy.cycle_ns = 5 * SECOND;
	r.now_ns = 1000 * SECOND;
}

/* `late` after the point; the owner told of bytes `silent` before that. */
static const char *after(uint64_t late, uint64_t silent)
{
	static char text[HVRI_LOSS_TEXT];

	hvri_loss_now(&r, &point, &facts, 1000 * SECOND + silent, THEN + late,
		      &loss);
	hvri_loss_text(&loss, text);
	return text;
}

static void a_point_each(uint64_t seconds, uint64_t bytes, unsigned count)
{
	struct hvri_point from = { .number = 1, .utc_ns = THEN };

	for (unsigned i = 0; i < count; i++) {
		struct hvri_point to = from;

		to.number++;
		to.utc_ns += seconds * SECOND;
		hvri_loss_arrived(&r, &from, &to, bytes);
		from = to;
	}
}

START_TEST(what_the_owner_said_is_the_least_and_its_rate_is_added_for_its_silence)
{
	a_point_each(5, 10 * MIB, 4);
	hvri_loss_heard(&r, 3 * MIB);
	ck_assert_str_eq(after(9 * SECOND, 6 * SECOND),
			 "everything after point 41 of 12:03:22 UTC, 9 s old, "
			 "about 20.0 MiB: 3.0 MiB it told of, the rest at its "
			 "recent rate");
	ck_assert_uint_eq(hvri_loss_said(&loss), 3 * MIB);
	ck_assert_uint_eq(hvri_loss_bytes(&loss), 20 * MIB);
	ck_assert_uint_eq(hvri_loss_age_ns(&loss), 9 * SECOND);
	/* Just heard: a report may be a period old, 2.5 s. */
	ck_assert_str_eq(after(3 * SECOND, SECOND / 4),
			 "everything after point 41 of 12:03:22 UTC, 3 s old, "
			 "about 8.5 MiB: 3.0 MiB it told of, the rest at its "
			 "recent rate");
}
END_TEST

START_TEST(what_arrived_since_is_not_lost)
{
	struct hvri_point next = { .number = 42, .utc_ns = THEN + SECOND };

	hvri_loss_heard(&r, 5 * MIB);
	hvri_loss_offered(&r, 4 * MIB); /* Less than it said: more follows. */
	hvri_loss_arrived(&r, &point, &next, 4 * MIB);
	(void)after(2 * SECOND, 0);
	ck_assert_uint_eq(hvri_loss_said(&loss), MIB);
	hvri_loss_offered(&r, 7 * MIB);
	(void)after(2 * SECOND, 0);
	ck_assert_uint_eq(hvri_loss_said(&loss), 7 * MIB);
	hvri_loss_arrived(&r, &point, &next, 9 * MIB);
	(void)after(2 * SECOND, 0);
	ck_assert_uint_eq(hvri_loss_said(&loss), 0);
}
END_TEST

START_TEST(a_point_that_just_came_is_not_taken_for_the_last_write)
{
	struct hvri_point next = { .number = 42,
				   .utc_ns = THEN + 5 * SECOND };

	/* It writes 200 KiB a second; the cut took 4 s to come over. */
	a_point_each(5, MIB, 4);
	hvri_loss_heard(&r, MIB);
	hvri_loss_offered(&r, MIB);
	r.now_ns += 4 * SECOND;
	hvri_loss_arrived(&r, &point, &next, MIB);
	r.statistics.last_contact_ns = r.now_ns;
	ck_assert_str_eq(after(9 * SECOND, 4 * SECOND),
			 "everything after point 41 of 12:03:22 UTC, 9 s old, "
			 "about 1.3 MiB at its recent rate");
	ck_assert_uint_eq(hvri_loss_said(&loss), 0);
}
END_TEST

START_TEST(a_burst_that_began_with_the_newest_point_counts_in_full)
{
	a_point_each(5, MIB, 8);
	a_point_each(5, 20 * MIB, 1);
	hvri_loss_heard(&r, MIB);
	(void)after(9 * SECOND, 5 * SECOND);
	ck_assert_uint_eq(hvri_loss_bytes(&loss), 31 * MIB);
	/* One quiet point does not hide what the others say. */
	a_point_each(5, 0, 1);
	(void)after(9 * SECOND, 5 * SECOND);
	ck_assert_uint_gt(hvri_loss_bytes(&loss), 3 * MIB);
}
END_TEST

START_TEST(after_a_restart_the_points_on_record_give_the_rate)
{
	facts.recent_bytes = 60 * MIB;
	facts.recent_ns = 60 * SECOND;
	ck_assert_str_eq(after(30 * SECOND, 0),
			 "everything after point 41 of 12:03:22 UTC, 30 s old, "
			 "about 30.0 MiB");
	ck_assert_uint_eq(hvri_loss_said(&loss), HVREPL_BYTES_UNKNOWN);
	ck_assert_uint_eq(hvri_loss_bytes(&loss), 30 * MIB);
}
END_TEST

START_TEST(nothing_known_is_said_to_be_not_known)
{
	ck_assert_str_eq(after(30 * SECOND, 0),
			 "everything after point 41 of 12:03:22 UTC, 30 s old, "
			 "how much is not known");
	ck_assert_uint_eq(hvri_loss_said(&loss), HVREPL_BYTES_UNKNOWN);
	ck_assert_uint_eq(hvri_loss_bytes(&loss), HVREPL_BYTES_UNKNOWN);
	/* Said, but silent since, and never a rate. */
	hvri_loss_heard(&r, 512);
	ck_assert_str_eq(after(30 * SECOND, SECOND),
			 "everything after point 41 of 12:03:22 UTC, 30 s old, "
			 "at least 512 bytes");
	ck_assert_uint_eq(hvri_loss_bytes(&loss), HVREPL_BYTES_UNKNOWN);
	/* A rate of nothing is a rate. */
	a_point_each(5, 0, 2);
	hvri_loss_heard(&r, 512);
	ck_assert_str_eq(after(30 * SECOND, SECOND),
			 "everything after point 41 of 12:03:22 UTC, 30 s old, "
			 "about 512 bytes");
}
END_TEST

START_TEST(points_that_are_passed_over_are_added)
{
	hvri_loss_heard(&r, MIB);
	facts.skipped_bytes = 2 * MIB;
	(void)after(SECOND, 0);
	ck_assert_uint_eq(hvri_loss_said(&loss), 3 * MIB);
	ck_assert_uint_eq(hvri_loss_bytes(&loss), HVREPL_BYTES_UNKNOWN);
	a_point_each(5, 0, 2);
	(void)after(SECOND, 0);
	ck_assert_uint_eq(hvri_loss_bytes(&loss), 3 * MIB);
	facts.skipped_bytes = HVREPL_BYTES_UNKNOWN;
	ck_assert_str_eq(after(SECOND, 0),
			 "everything after point 41 of 12:03:22 UTC, 1 s old, "
			 "how much is not known");
}
END_TEST

START_TEST(a_rate_of_long_ago_is_forgotten)
{
	a_point_each(5, 100 * MIB, 100);
	a_point_each(5, 0, 100);
	hvri_loss_heard(&r, 0);
	(void)after(SECOND, 5 * SECOND);
	ck_assert_uint_lt(hvri_loss_bytes(&loss), MIB);
	/* The first content is no rate, and neither is a clock set back. */
	memset(&r.said, 0, sizeof(r.said));
	hvri_loss_arrived(&r, &(struct hvri_point){ 0 }, &point, 100 * MIB);
	hvri_loss_arrived(&r, &point, &point, 100 * MIB);
	ck_assert_uint_eq(r.said.rate_ns, 0);
}
END_TEST

START_TEST(an_old_point_is_named_with_its_day_and_huge_numbers_do_not_wrap)
{
	a_point_each(1, 1000 * MIB, 4);
	hvri_loss_heard(&r, UINT64_MAX - 5);
	ck_assert_str_eq(after(3 * 86400 * SECOND, SECOND),
			 "everything after point 41 of 2026-11-26 12:03:22 UTC, "
			 "3 days old, at least 16.0 EiB");
	hvri_loss_heard(&r, 0);
	ck_assert_str_eq(after(7300 * SECOND, 400ull * 86400 * SECOND),
			 "everything after point 41 of 12:03:22 UTC, 2 h old, "
			 "about 32.2 PiB at its recent rate");
	/* The owner's clock is ahead of ours. */
	hvri_loss_now(&r, &point, &facts, 0, THEN - 5, &loss);
	ck_assert_uint_eq(hvri_loss_age_ns(&loss), 0);
}
END_TEST

START_TEST(a_point_without_a_time_or_a_rate_without_end_is_said_so)
{
	struct hvri_point before = { .number = 40 };

	/* No time, no age, no rate. */
	hvri_loss_arrived(&r, &before, &point, MIB);
	ck_assert_uint_eq(r.said.rate_ns, 0);
	hvri_loss_heard(&r, 0);
	hvri_loss_now(&r, &before, &facts, r.now_ns, THEN, &loss);
	ck_assert_uint_eq(hvri_loss_age_ns(&loss), 0);
	{
		char text[HVRI_LOSS_TEXT];

		hvri_loss_text(&loss, text);
		ck_assert_str_eq(text, "everything after point 40 of unknown "
				       "time, 0 s old, at least 0 bytes");
	}
	ck_assert_str_eq(after(300 * SECOND, 0),
			 "everything after point 41 of 12:03:22 UTC, 5 min "
			 "old, at least 0 bytes");
	/* 2027-02-03 04:05:06: of a year that begins in March. */
	before.utc_ns = 1801627506ull * SECOND;
	hvri_loss_now(&r, &before, &facts, r.now_ns,
		      before.utc_ns + 86400 * SECOND, &loss);
	{
		char text[HVRI_LOSS_TEXT];

		hvri_loss_text(&loss, text);
		ck_assert_ptr_nonnull(strstr(text, "of 2027-02-03 04:05:06 UTC"));
	}
	/* A rate of which nobody knows how much it was. */
	facts.recent_bytes = HVREPL_BYTES_UNKNOWN;
	facts.recent_ns = SECOND;
	(void)after(SECOND, SECOND);
	ck_assert_uint_eq(hvri_loss_bytes(&loss), HVREPL_BYTES_UNKNOWN);
	/* More than anybody can count. */
	facts.recent_bytes = UINT64_C(1) << 62;
	(void)after(SECOND, 400 * SECOND);
	ck_assert_uint_eq(hvri_loss_bytes(&loss), HVREPL_BYTES_UNKNOWN);
	/* A cycle so long that sixteen of them cannot be counted. */
	r.record.policy.cycle_ns = UINT64_MAX / 2;
	a_point_each(5, MIB, 3);
	ck_assert_uint_eq(r.said.rate_ns, 15 * SECOND);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("loss");
	TCase *tc = tcase_create("loss");

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, what_the_owner_said_is_the_least_and_its_rate_is_added_for_its_silence);
	tcase_add_test(tc, what_arrived_since_is_not_lost);
	tcase_add_test(tc, a_point_that_just_came_is_not_taken_for_the_last_write);
	tcase_add_test(tc, a_burst_that_began_with_the_newest_point_counts_in_full);
	tcase_add_test(tc, after_a_restart_the_points_on_record_give_the_rate);
	tcase_add_test(tc, nothing_known_is_said_to_be_not_known);
	tcase_add_test(tc, points_that_are_passed_over_are_added);
	tcase_add_test(tc, a_rate_of_long_ago_is_forgotten);
	tcase_add_test(tc, an_old_point_is_named_with_its_day_and_huge_numbers_do_not_wrap);
	tcase_add_test(tc,
		       a_point_without_a_time_or_a_rate_without_end_is_said_so);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
