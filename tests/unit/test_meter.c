/* SPDX-License-Identifier: Apache-2.0 */
/* Minutes of who is noted: to the limit, one past it, and nobody by another's doing. */
#include "testing.h"

#include "driver/meter.h"

#include <stdio.h>
#include <string.h>

static struct hvri_meter meter;

static void setup(void)
{
	memset(&meter, 0, sizeof(meter));
}

static bool take(const char *name, uint32_t kind, uint64_t now)
{
	struct hvri_metered of = { .source = false };

	snprintf(of.name, sizeof(of.name), "%s", name);
	return hvri_meter_take(&meter, &of, kind, now);
}

static void fill(const char *name, uint32_t kind, uint64_t now)
{
	for (unsigned i = 0; i < HVRI_NOTES_MAX; i++)
		ck_assert(take(name, kind, now));
}

START_TEST(sixty_events_of_a_kind_are_noted_in_a_minute_and_not_one_more)
{
	struct hvri_minute minute;

	fill("noisy", HVREPL_AUDIT_DENIED, 5);
	ck_assert_uint_eq(hvri_meter_deadline(&meter), UINT64_MAX);
	ck_assert(!take("noisy", HVREPL_AUDIT_DENIED, 6));
	ck_assert_uint_eq(hvri_meter_deadline(&meter), 5 + HVRI_METER_NS);
	/* Not before it is over; and then the number, once. */
	ck_assert(!hvri_meter_over(&meter, 4 + HVRI_METER_NS, &minute));
	ck_assert(hvri_meter_over(&meter, 5 + HVRI_METER_NS, &minute));
	ck_assert_str_eq(minute.of.name, "noisy");
	ck_assert_uint_eq(minute.left_out[HVREPL_AUDIT_DENIED], 1);
	ck_assert(!hvri_meter_over(&meter, UINT64_MAX, &minute));
	ck_assert_uint_eq(hvri_meter_deadline(&meter), UINT64_MAX);
	fill("noisy", HVREPL_AUDIT_DENIED, 5 + HVRI_METER_NS);
}
END_TEST

/* A minute that nobody has told of does not begin anew and lose its number. */
START_TEST(what_was_left_out_is_never_forgotten)
{
	struct hvri_minute minute;

	fill("noisy", HVREPL_AUDIT_LIMIT, 0);
	ck_assert(!take("noisy", HVREPL_AUDIT_LIMIT, 1));
	ck_assert(!take("noisy", HVREPL_AUDIT_LIMIT, 2 * HVRI_METER_NS));
	ck_assert(hvri_meter_over(&meter, 2 * HVRI_METER_NS, &minute));
	ck_assert_uint_eq(minute.left_out[HVREPL_AUDIT_LIMIT], 2);
}
END_TEST

/* Neither another peer's nor another kind's, nor a source's of the same name. */
START_TEST(who_is_noisy_hides_nothing_else)
{
	struct hvri_metered source = { .source = true, .name = "noisy" };

	fill("noisy", HVREPL_AUDIT_DENIED, 0);
	ck_assert(!take("noisy", HVREPL_AUDIT_DENIED, 0));
	ck_assert(take("quiet", HVREPL_AUDIT_DENIED, 0));
	ck_assert(take("noisy", HVREPL_AUDIT_OPERATION, 0));
	ck_assert(hvri_meter_take(&meter, &source, HVREPL_AUDIT_DENIED, 0));
}
END_TEST

START_TEST(thirty_two_have_a_minute_of_their_own_and_the_others_share_one)
{
	struct hvri_minute minute;
	char name[16];

	for (unsigned i = 0; i < HVRI_METERED_MAX; i++) {
		snprintf(name, sizeof(name), "peer-%u", i);
		fill(name, HVREPL_AUDIT_DENIED, 0);
	}
	fill("the next", HVREPL_AUDIT_DENIED, 0);
	ck_assert(!take("the one after", HVREPL_AUDIT_DENIED, 0));
	ck_assert(hvri_meter_over(&meter, HVRI_METER_NS, &minute));
	ck_assert_str_eq(minute.of.name, "");
	ck_assert_uint_eq(minute.left_out[HVREPL_AUDIT_DENIED], 1);
	/* A minute that was kept gives its place to somebody else. */
	fill("the one after", HVREPL_AUDIT_DENIED, HVRI_METER_NS);
	fill("another", HVREPL_AUDIT_DENIED, HVRI_METER_NS);
}
END_TEST

/* Nor do they when they are many. */
START_TEST(any_number_of_addresses_leaves_identities_their_minutes)
{
	struct hvri_metered source = { .source = true };
	struct hvri_minute minute;

	for (unsigned i = 0; i <= HVRI_METERED_MAX; i++) {
		snprintf(source.name, sizeof(source.name), "192.0.2.%u", i);
		for (unsigned k = 0; k < HVRI_NOTES_MAX; k++)
			ck_assert(hvri_meter_take(&meter, &source,
						  HVREPL_AUDIT_DENIED, 0));
	}
	ck_assert(!hvri_meter_take(&meter, &source, HVREPL_AUDIT_DENIED, 0));
	fill("a peer", HVREPL_AUDIT_DENIED, 0);
	ck_assert(!take("a peer", HVREPL_AUDIT_DENIED, 0));
	fill("another", HVREPL_AUDIT_DENIED, 0);
	ck_assert(hvri_meter_over(&meter, HVRI_METER_NS, &minute));
	ck_assert_str_eq(minute.of.name, "a peer");
	ck_assert(hvri_meter_over(&meter, HVRI_METER_NS, &minute));
	ck_assert_str_eq(minute.of.name, "");
	ck_assert(minute.of.source);
}
END_TEST

START_TEST(what_could_not_be_noted_is_counted_as_left_out)
{
	struct hvri_metered of = { .source = true, .name = "192.0.2.7" };
	struct hvri_minute minute;

	ck_assert(hvri_meter_take(&meter, &of, HVREPL_AUDIT_REKEY, 0));
	hvri_meter_missed(&meter, &of, HVREPL_AUDIT_REKEY, 0);
	ck_assert(hvri_meter_over(&meter, HVRI_METER_NS, &minute));
	ck_assert(minute.of.source);
	ck_assert_uint_eq(minute.left_out[HVREPL_AUDIT_REKEY], 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("meter");
	TCase *tc = tcase_create("meter");

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(
		tc, sixty_events_of_a_kind_are_noted_in_a_minute_and_not_one_more);
	tcase_add_test(tc, what_was_left_out_is_never_forgotten);
	tcase_add_test(tc, who_is_noisy_hides_nothing_else);
	tcase_add_test(
		tc,
		thirty_two_have_a_minute_of_their_own_and_the_others_share_one);
	tcase_add_test(
		tc, any_number_of_addresses_leaves_identities_their_minutes);
	tcase_add_test(tc, what_could_not_be_noted_is_counted_as_left_out);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
