/* SPDX-License-Identifier: Apache-2.0 */
/* A site whose state store takes nothing says so, decides nothing, and goes on as soon
 * as it does. */
#include "base/rc.h"
#include "guestshadow.h"

#include <stdio.h>
#include <string.h>

/* How often b's events said that its record could not be written, and what came then. */
static unsigned failed, mended;
static char sentence[HVREPL_SENTENCE_MAX];

static void seen(struct pair_site *site, const struct hvrepl_event *event)
{
	if (site != &pair.b || event->type != HVREPL_EVENT_HEALTH)
		return;
	if (event->code < 0) {
		ck_assert_uint_eq(event->severity, HVREPL_SEVERITY_CRITICAL);
		ck_assert_uint_eq(event->value, HVREPL_HEALTH_CRITICAL);
		failed++;
	} else if (failed > 0) {
		ck_assert_uint_lt(event->value, HVREPL_HEALTH_CRITICAL);
		mended++;
	}
	snprintf(sentence, sizeof(sentence), "%s", event->sentence);
}

static void setup(void)
{
	shadow_setup();
	shadow_protect();
	failed = mended = 0;
	pair.seen = seen;
}

static bool job_ended(struct pair *p)
{
	return p->b.job_code != HVREPL_PENDING;
}

/* What to do about it, as the sentence says. */
static const struct {
	int32_t code;
	const char *cure;
} codes[] = {
	{ HVREPL_E_NO_SPACE, "free space" },
	{ HVREPL_E_STATE_IO, "free space" },
	{ HVREPL_E_POISONED, "restart the site" },
};

START_TEST(what_waits_for_the_state_store_is_said_and_goes_on_when_it_can)
{
	struct hvrepl_operation again = {
		.struct_size = sizeof(again),
		.vm = pair_vm,
		.type = HVREPL_OPERATION_COMMIT,
	};
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	uint64_t job, puts;

	pair_stop(&pair, &pair.a);
	pair_run(&pair, SECOND);
	pair.b.put_code = codes[_i].code;
	ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_UNPLANNED, 0, NULL),
			 HVREPL_OK);
	puts = pair.b.puts;
	pair_run(&pair, 10 * SECOND);
	ck_assert_int_eq(pair.b.job_code, HVREPL_PENDING);
	ck_assert_uint_eq(shadow_status(&pair.b).writable, 0);
	shadow_expect_fenced(&pair.b);
	/* Tried again now and then, and said once. */
	ck_assert_uint_ge(pair.b.puts - puts, 5);
	ck_assert_uint_le(pair.b.puts - puts, 100);
	ck_assert_uint_eq(failed, 1);
	ck_assert_ptr_nonnull(strstr(sentence, hvrepl_strerror(codes[_i].code)));
	ck_assert_ptr_nonnull(strstr(sentence, codes[_i].cure));
	ck_assert(shadow_status(&pair.b).reasons & HVREPL_REASON_STATE_FAILED);
	ck_assert_uint_eq(shadow_status(&pair.b).health, HVREPL_HEALTH_CRITICAL);
	ck_assert_ptr_nonnull(
		strstr(shadow_status(&pair.b).sentence, hvrepl_strerror(codes[_i].code)));
	ck_assert_int_eq(hvrepl_node_operate(pair.b.node, &again, &job, &error),
			 HVREPL_E_BUSY);
	ck_assert_ptr_nonnull(
		strstr(error.sentence, hvrepl_strerror(codes[_i].code)));
	pair.b.put_code = HVREPL_OK;
	ck_assert(pair_until(&pair, 10 * SECOND, job_ended));
	ck_assert_int_eq(pair.b.job_code, HVREPL_OK);
	ck_assert_uint_eq(shadow_status(&pair.b).writable, 1);
	ck_assert_uint_eq(shadow_status(&pair.b).reasons & HVREPL_REASON_STATE_FAILED, 0);
	ck_assert_uint_eq(failed, 1);
	ck_assert_uint_ge(mended, 1);
	shadow_expect_disks(&pair.b);
	shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
}
END_TEST

START_TEST(a_record_that_cannot_be_removed_is_tried_again_now_and_then)
{
	uint64_t puts;

	pair_stop(&pair, &pair.a);
	pair_run(&pair, SECOND);
	pair.b.removal_code = HVREPL_E_STATE_IO;
	ck_assert_int_eq(pair_operate(&pair, &pair.b, HVREPL_OPERATION_REMOVE,
				      0),
			 HVREPL_OK);
	pair_run(&pair, SECOND);
	ck_assert(!shadow_b_is_gone(&pair));
	puts = pair.b.puts;
	pair_run(&pair, 10 * SECOND);
	ck_assert_uint_ge(pair.b.puts - puts, 5);
	ck_assert_uint_le(pair.b.puts - puts, 100);
	ck_assert_uint_eq(failed, 1);
	pair.b.removal_code = HVREPL_OK;
	ck_assert(pair_until(&pair, 10 * SECOND, shadow_b_is_gone));
}
END_TEST

/* A put that failed has happened or has not (state.h): where it has, what is put again
 * meets the version it made itself, and is taken for no other process's. */
START_TEST(a_put_that_failed_and_happened_fences_nobody)
{
	pair_stop(&pair, &pair.a);
	pair_run(&pair, SECOND);
	pair.b.put_code = HVREPL_E_STATE_IO;
	pair.b.put_happens = true;
	ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_UNPLANNED, 0, NULL),
			 HVREPL_OK);
	ck_assert(pair_until(&pair, 10 * SECOND, job_ended));
	ck_assert_int_eq(pair.b.job_code, HVREPL_OK);
	ck_assert_uint_eq(shadow_status(&pair.b).writable, 1);
	shadow_scatter(&pair.b, 7, 20);
	/* No answer as it looks whose that is: neither is it fenced. */
	ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_COMMIT, 0, NULL),
			 HVREPL_OK);
	pair.b.get_code = HVREPL_E_STATE_IO;
	pair_run(&pair, 5 * SECOND);
	ck_assert(shadow_status(&pair.b).reasons & HVREPL_REASON_STATE_FAILED);
	ck_assert_uint_eq(shadow_status(&pair.b).writable, 1);
	pair.b.get_code = HVREPL_OK;
	ck_assert(pair_until(&pair, 10 * SECOND, job_ended));
	pair_run(&pair, 10 * SECOND);
	pair.b.put_code = HVREPL_OK;
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(shadow_status(&pair.b).reasons & HVREPL_REASON_STATE_FAILED, 0);
	pair_stop(&pair, &pair.b);
	pair_start(&pair, &pair.b);
	pair_run(&pair, 20 * SECOND);
	ck_assert_uint_eq(shadow_status(&pair.b).ownership,
			  HVREPL_OWNERSHIP_OWNER);
	shadow_expect_disks(&pair.b);
}
END_TEST

/* But one that has not happened, with a version that moved all the same. */
START_TEST(another_process_that_writes_the_record_meanwhile_is_seen)
{
	pair_stop(&pair, &pair.a);
	pair_run(&pair, SECOND);
	pair.b.put_code = HVREPL_E_STATE_IO;
	ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_UNPLANNED, 0, NULL),
			 HVREPL_OK);
	pair_run(&pair, SECOND);
	for (unsigned i = 0; i < PAIR_KEYS; i++)
		if (strncmp(pair.b.blobs[i].key, "vm/", 3) == 0)
			pair.b.blobs[i].version++;
	pair.b.put_code = HVREPL_OK;
	ck_assert(pair_until(&pair, 10 * SECOND, shadow_b_is_gone));
}
END_TEST

START_TEST(a_removal_that_failed_and_happened_is_one)
{
	pair_stop(&pair, &pair.a);
	pair_run(&pair, SECOND);
	pair.b.removal_code = HVREPL_E_STATE_IO;
	pair.b.put_happens = true;
	ck_assert_int_eq(pair_operate(&pair, &pair.b, HVREPL_OPERATION_REMOVE,
				      0),
			 HVREPL_OK);
	ck_assert(pair_until(&pair, 10 * SECOND, shadow_b_is_gone));
	ck_assert_uint_eq(mended, 1);
}
END_TEST

/* Every put of both sites says that it failed, and each has happened: nothing that a
 * site decides is lost, mixed up with what it decides next, or fences it. */
START_TEST(a_store_that_always_says_that_it_failed_serves_all_the_same)
{
	pair.seen = NULL;
	pair.a.put_code = pair.b.put_code = HVREPL_E_STATE_IO;
	pair.a.put_happens = pair.b.put_happens = true;
	shadow_scatter(&pair.a, 11, 20);
	ck_assert_int_eq(pair_operate(&pair, &pair.a, HVREPL_OPERATION_PLANNED,
				      0),
			 HVREPL_OK);
	pair_run(&pair, 10 * SECOND);
	ck_assert_uint_eq(shadow_status(&pair.b).writable, 1);
	shadow_expect_fenced(&pair.a);
	shadow_scatter(&pair.b, 12, 20);
	ck_assert_int_eq(pair_operate(&pair, &pair.b, HVREPL_OPERATION_COMMIT,
				      0),
			 HVREPL_OK);
	ck_assert_int_eq(pair_operate(&pair, &pair.b, HVREPL_OPERATION_REVERSE,
				      0),
			 HVREPL_OK);
	shadow_scatter(&pair.b, 13, 20);
	shadow_expect_point(&pair.a, shadow_next_point(&pair.b, &pair.a));
	/* Back to where it came from, and ended there: the VM runs on. */
	ck_assert_int_eq(pair_operate(&pair, &pair.b, HVREPL_OPERATION_PLANNED,
				      0),
			 HVREPL_OK);
	pair_run(&pair, 10 * SECOND);
	shadow_expect_disks(&pair.a);
	ck_assert_int_eq(pair_operate(&pair, &pair.a, HVREPL_OPERATION_COMMIT,
				      0),
			 HVREPL_OK);
	ck_assert_int_eq(pair_operate(&pair, &pair.a, HVREPL_OPERATION_REMOVE,
				      0),
			 HVREPL_OK);
	ck_assert(pair_until(&pair, 60 * SECOND, shadow_b_is_gone));
	pair_run(&pair, 10 * SECOND);
	shadow_scatter(&pair.a, 14, 20);
	shadow_expect_disks(&pair.a);
	shadow_protect();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("state full");
	TCase *tc = tcase_create("state full");

	tcase_add_checked_fixture(tc, setup, shadow_teardown);
	tcase_add_loop_test(
		tc, what_waits_for_the_state_store_is_said_and_goes_on_when_it_can,
		0, HVRI_ARRAY_LEN(codes));
	tcase_add_test(tc,
		       a_record_that_cannot_be_removed_is_tried_again_now_and_then);
	tcase_add_test(tc, a_put_that_failed_and_happened_fences_nobody);
	tcase_add_test(tc,
		       another_process_that_writes_the_record_meanwhile_is_seen);
	tcase_add_test(tc, a_removal_that_failed_and_happened_is_one);
	tcase_add_test(tc,
		       a_store_that_always_says_that_it_failed_serves_all_the_same);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
