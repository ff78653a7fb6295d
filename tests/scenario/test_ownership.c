/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership by seed (O1 to O6): two sites, operators who press anything, links
 * that break, sites that die. What must never happen is checked after every
 * step by the world; here, that there is always a way back.
 */
#include "sites.h"

#include <stdio.h>
#include <stdlib.h>

/* Cut, crash and press buttons for a while. */
static void chaos(struct sites *w, uint32_t steps, uint32_t operations,
		  bool planned_only, bool backups)
{
	for (uint32_t k = 0; k < steps && w->broken == NULL; k++) {
		uint32_t i = (uint32_t)sites_random(w, 2);
		uint64_t dice = sites_random(w, 100);

		if (dice < 62) {
			if (!sites_any(w))
				sites_wait(w, UINT64_C(300000000));
		} else if (dice < 72) {
			sites_write(w, i);
		} else if (dice < 80) {
			sites_connect(w);
		} else if (dice < 83) {
			sites_cut_link(w);
		} else if (dice < 86) {
			sites_wait(w, sites_random(w, 12) *
					      UINT64_C(1000000000));
		} else if (dice < 88) {
			if (w->site[i].up)
				sites_crash(w, i);
		} else if (dice < 92) {
			if (!w->site[i].up)
				sites_start(w, i);
		} else if (backups && dice == 99) {
			if (w->site[i].has_backup)
				sites_restore(w, i);
			else
				sites_backup(w, i);
		} else if (operations > 0) {
			uint32_t op = 1 + (uint32_t)sites_random(
						  w, HVREPL_OPERATION_COUNT -
							     1);
			struct hvri_relationship *r = &w->site[i].r;
			const struct hvrepl_uuid *epoch =
				sites_random(w, 2) ?
					&r->record.verdict_peer :
					&r->record.current;

			if (planned_only &&
			    (op == HVREPL_OPERATION_UNPLANNED ||
			     op == HVREPL_OPERATION_CHANGE_POINT ||
			     op == HVREPL_OPERATION_FORCE ||
			     op == HVREPL_OPERATION_REMOVE))
				continue;
			if (op == HVREPL_OPERATION_REMOVE &&
			    sites_random(w, 4) != 0)
				continue;
			if (op == HVREPL_OPERATION_DISCARD &&
			    epoch == &r->record.current)
				w->conceded = true;
			if (sites_operate(w, i, op, 0, epoch) == HVREPL_OK)
				operations--;
			/* Asked twice, it does no harm. */
			if (sites_random(w, 4) == 0)
				sites_operate(w, i, op, 0, epoch);
		}
	}
}

/* Up, connected, everything delivered. */
static void calm(struct sites *w)
{
	w->hostile = false;
	sites_cut_link(w);
	for (uint32_t i = 0; i < 2; i++)
		if (!w->site[i].up)
			sites_start(w, i);
	sites_settle(w, 4000);
	sites_connect(w);
	sites_settle(w, 4000);
	sites_wait(w, UINT64_C(75000000000));
}

/* After a restore from a backup the pair may have to be set up anew; but the VM
 * must be able to run, at one site. */
static bool vm_runs(struct sites *w)
{
	for (uint32_t i = 0; i < 2; i++)
		if (!w->site[0].gate && !w->site[1].gate &&
		    sites_operate(w, i, HVREPL_OPERATION_FORCE, 0, NULL) ==
			    HVREPL_OK)
			sites_wait(w, UINT64_C(5000000000));
	return w->site[0].gate || w->site[1].gate;
}

static char failure[256];

/* False, and `failure`, when a promise was broken. */
static bool run(uint64_t seed, char kind, bool log)
{
	static struct sites w;
	uint32_t operations = 0;

	failure[0] = 0;
	sites_init(&w, seed);
	w.log = log;
	sites_replicating(&w);
	w.hostile = kind == 'h';
	chaos(&w, 40 + (uint32_t)sites_random(&w, 120), 5,
	      kind == 'p', kind == 'r');
	sites_trace(&w, "--- calm");
	if (w.broken == NULL)
		calm(&w);
	sites_trace_state(&w);
	while (w.broken == NULL && operations < 6 && sites_operator(&w)) {
		operations++;
		sites_wait(&w, UINT64_C(75000000000));
		sites_trace_state(&w);
	}
	if (w.broken == NULL && !sites_is_replicating(&w) &&
	    !(kind == 'r' && vm_runs(&w)))
		snprintf(failure, sizeof(failure),
			 "seed %llu: no way back: A %u/%u B %u/%u after %u "
			 "operations",
			 (unsigned long long)seed, sites_state(&w, 0),
			 w.site[0].r.record.ownership, sites_state(&w, 1),
			 w.site[1].r.record.ownership, operations);
	if (w.broken)
		snprintf(failure, sizeof(failure), "seed %llu: %s",
			 (unsigned long long)seed, w.broken);
	sites_free(&w);
	return failure[0] == 0;
}

static uint64_t first, count = 250;

START_TEST(any_sequence_keeps_one_writer_and_a_way_back)
{
	for (uint64_t seed = first; seed < first + count; seed++)
		ck_assert_msg(run(seed, 'c', false), "%s",
			      failure);
}
END_TEST

START_TEST(messages_twice_and_in_any_order_do_no_harm)
{
	for (uint64_t seed = first; seed < first + count; seed++)
		ck_assert_msg(run(1000000 + seed, 'h', false), "%s",
			      failure);
}
END_TEST

START_TEST(planned_failovers_alone_never_arm_both)
{
	for (uint64_t seed = first; seed < first + count; seed++)
		ck_assert_msg(run(2000000 + seed, 'p', false), "%s",
			      failure);
}
END_TEST

START_TEST(a_record_restored_from_a_backup_never_makes_a_second_writer)
{
	for (uint64_t seed = first; seed < first + count; seed++)
		ck_assert_msg(run(3000000 + seed, 'r', false), "%s", failure);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("ownership");
	TCase *tc = tcase_create("seeds");

	/* test_ownership FIRST COUNT; or SEED KIND log, KIND c h p r. */
	if (argc == 4) {
		bool fine = run(strtoull(argv[1], NULL, 10), argv[2][0], true);

		fprintf(stderr, "%s\n", fine ? "fine" : failure);
		return !fine;
	}
	if (argc > 1)
		first = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		count = strtoull(argv[2], NULL, 10);
	tcase_set_timeout(tc, 600);
	tcase_add_test(tc, any_sequence_keeps_one_writer_and_a_way_back);
	tcase_add_test(tc, messages_twice_and_in_any_order_do_no_harm);
	tcase_add_test(tc, planned_failovers_alone_never_arm_both);
	tcase_add_test(
		tc, a_record_restored_from_a_backup_never_makes_a_second_writer);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
