/* SPDX-License-Identifier: Apache-2.0 */
/* An unplanned failover says what is lost: point, age, bytes. */
#include "guestshadow.h"

#include <string.h>

static struct hvrepl_vm_status status;

static void look(struct pair_site *site)
{
	status = (struct hvrepl_vm_status)HVREPL_VM_STATUS_INIT;
	pair_status(site, &status);
}

/* A write of `blocks` blocks of 4 KiB that nobody wrote before. */
static void write_blocks(unsigned from, unsigned blocks)
{
	static uint8_t bytes[4096];

	for (unsigned i = 0; i < blocks; i++) {
		memset(bytes, (int)(from + i) | 1, sizeof(bytes));
		ck_assert_int_eq(pair_write(&pair.a, 0, (from + i) * 4096ull,
					    bytes, sizeof(bytes)),
				 HVREPL_OK);
	}
}

static uint64_t changed_bytes_of(uint64_t number)
{
	struct hvrepl_point point = HVREPL_POINT_INIT;

	for (uint32_t i = 0; hvrepl_vm_get_point(pair.b.node, &pair_vm, i,
						 &point) == HVREPL_OK;
	     i++)
		if (point.number == number)
			return point.changed_bytes;
	ck_abort_msg("no such point");
	return 0;
}

START_TEST(the_failover_names_point_age_and_what_the_owner_had_not_shipped)
{
	uint64_t newest;

	shadow_protect();
	newest = shadow_next_point(&pair.a, &pair.b);
	shadow_ok(&pair.a, HVREPL_OPERATION_SUSPEND);
	write_blocks(0, 20);
	pair_run(&pair, 11 * SECOND); /* It says so within 10 s. */
	look(&pair.b);
	ck_assert_uint_eq(status.loss_point, newest);
	ck_assert_uint_eq(status.loss_said_bytes, 20 * 4096);
	pair_kill(&pair, &pair.a, true);
	pair_run(&pair, 2 * SECOND);
	look(&pair.b);
	ck_assert_uint_eq(status.loss_point, newest);
	ck_assert_uint_eq(status.loss_said_bytes, 20 * 4096);
	ck_assert_uint_ge(status.loss_bytes, 20 * 4096);
	ck_assert_uint_ge(status.loss_age_ns, 13 * SECOND);
	shadow_ok(&pair.b, HVREPL_OPERATION_UNPLANNED);
	ck_assert_ptr_nonnull(strstr(pair.b.job_sentence,
				     "; lost: everything after point "));
	ck_assert_ptr_nonnull(strstr(pair.b.job_sentence, " s old, about 80.0 "
							  "KiB"));
	/* It stays said, and does not grow, also over a restart. */
	look(&pair.b);
	newest = status.loss_bytes;
	pair_run(&pair, 30 * SECOND);
	pair_kill(&pair, &pair.b, true);
	pair_start(&pair, &pair.b);
	pair_run(&pair, 5 * SECOND);
	look(&pair.b);
	ck_assert_uint_eq(status.loss_bytes, newest);
	ck_assert_uint_eq(status.loss_said_bytes, 20 * 4096);
	ck_assert_uint_lt(status.loss_age_ns, 20 * SECOND);
}
END_TEST

START_TEST(an_older_point_loses_the_newer_ones_as_well)
{
	uint64_t older, mid, newest, said;

	shadow_protect();
	older = shadow_next_point(&pair.a, &pair.b);
	write_blocks(0, 7);
	mid = shadow_next_point(&pair.a, &pair.b);
	write_blocks(50, 5);
	newest = shadow_next_point(&pair.a, &pair.b);
	ck_assert_uint_ge(changed_bytes_of(mid), 7 * 4096);
	ck_assert_uint_ge(changed_bytes_of(newest), 5 * 4096);
	said = changed_bytes_of(mid) + changed_bytes_of(newest);
	pair_kill(&pair, &pair.a, true);
	pair_run(&pair, SECOND);
	ck_assert_int_eq(pair_operate(&pair, &pair.b,
				      HVREPL_OPERATION_UNPLANNED, 0),
			 HVREPL_OK);
	look(&pair.b);
	newest = status.loss_said_bytes;
	ck_assert_uint_ne(newest, HVREPL_BYTES_UNKNOWN);
	ck_assert_int_eq(pair_operate(&pair, &pair.b,
				      HVREPL_OPERATION_CHANGE_POINT, older),
			 HVREPL_OK);
	look(&pair.b);
	ck_assert_uint_eq(status.loss_point, older);
	ck_assert_uint_ge(status.loss_said_bytes, newest + said);
	ck_assert_ptr_nonnull(strstr(pair.b.job_sentence, "lost: everything "
							  "after point "));
	/* And not after it is over. */
	shadow_ok(&pair.b, HVREPL_OPERATION_CANCEL);
	pair_run(&pair, SECOND);
	look(&pair.b);
	ck_assert_uint_gt(status.loss_point, older);
}
END_TEST

START_TEST(a_standby_that_was_restarted_knows_the_rate_from_its_points)
{
	shadow_protect();
	for (unsigned i = 0; i < 4; i++) {
		write_blocks(i * 20, 10);
		(void)shadow_next_point(&pair.a, &pair.b);
	}
	pair_kill(&pair, &pair.a, true);
	pair_kill(&pair, &pair.b, true);
	pair_start(&pair, &pair.b);
	pair_run(&pair, 60 * SECOND);
	look(&pair.b);
	ck_assert_uint_eq(status.loss_said_bytes, HVREPL_BYTES_UNKNOWN);
	ck_assert_uint_ne(status.loss_bytes, HVREPL_BYTES_UNKNOWN);
	ck_assert_uint_gt(status.loss_bytes, 10 * 4096);
}
END_TEST

/* Blocks of disk 0 that the newest point at the standby lacks. */
static uint64_t truth(const uint8_t *disk)
{
	static uint8_t point[SHADOW_SIZE];
	uint64_t bytes = 0;

	pair_read_point(&pair.b, pair_newest_point(&pair.b), 0, point);
	for (size_t at = 0; at < SHADOW_SIZE; at += 4096)
		if (memcmp(point + at, disk + at, 4096) != 0)
			bytes += 4096;
	return bytes;
}

START_TEST(at_no_moment_is_the_loss_of_a_busy_owner_told_too_low)
{
	static uint8_t disk[SHADOW_SIZE];
	unsigned points = 0;
	uint64_t newest, most = 0;

	shadow_protect();
	/* A link that takes its time: what was announced is long not there. */
	pair.delay_ns[0] = pair.delay_ns[1] = SECOND / 5;
	newest = pair_newest_point(&pair.b);
	pair_read(&pair.a, 0, 0, disk, sizeof(disk));
	for (unsigned i = 0; points < 12; i++) {
		size_t at = (i % 250) * 4096;

		memset(disk + at, (int)(i / 250) + 1, 4096);
		ck_assert_int_eq(pair_write(&pair.a, 0, at, disk + at, 4096),
				 HVREPL_OK);
		pair_run(&pair, SECOND / 8);
		points += pair_newest_point(&pair.b) != newest;
		newest = pair_newest_point(&pair.b);
		if (points < 2) /* No rate yet. */
			continue;
		look(&pair.b);
		ck_assert_uint_ge(status.loss_bytes, truth(disk));
		ck_assert_uint_le(status.loss_said_bytes, truth(disk) + 8192);
		most = status.loss_bytes > most ? status.loss_bytes : most;
	}
	/* Nor out of all proportion: it writes 32 KiB a second and a cycle, and
	 * two cycles may be under way. */
	ck_assert_uint_le(most, 4 * 32768);
}
END_TEST

START_TEST(the_owner_and_a_planned_failover_lose_nothing)
{
	shadow_protect();
	(void)shadow_next_point(&pair.a, &pair.b);
	look(&pair.a);
	ck_assert_uint_eq(status.loss_point, 0);
	shadow_ok(&pair.b, HVREPL_OPERATION_PLANNED);
	look(&pair.b);
	ck_assert_uint_eq(status.loss_point, 0);
	ck_assert_ptr_null(strstr(pair.b.job_sentence, "lost"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("loss");
	TCase *tc = tcase_create("loss");

	tcase_add_checked_fixture(tc, shadow_setup, shadow_teardown);
	tcase_add_test(tc, the_failover_names_point_age_and_what_the_owner_had_not_shipped);
	tcase_add_test(tc, an_older_point_loses_the_newer_ones_as_well);
	tcase_add_test(tc, a_standby_that_was_restarted_knows_the_rate_from_its_points);
	tcase_add_test(tc, at_no_moment_is_the_loss_of_a_busy_owner_told_too_low);
	tcase_add_test(tc, the_owner_and_a_planned_failover_lose_nothing);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
