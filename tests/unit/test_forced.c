/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a site that was forced, when an epoch before its own is given up. */
#include "replication/relationship.h"

#include "base/env.h"
#include "replication/lineage.h"
#define SITES_SEED 7
#include "sitesrig.h"

#include <string.h>

static void operate(uint32_t site, uint32_t operation)
{
	begin(site, operation);
	sites_settle(&w, 2000);
	ck_assert_ptr_null(w.broken);
}

/* A hands over, fails over by itself, is brought back from before that and forced: in a
 * child of the epoch that it handed over. Meanwhile B, alone, cancels the handover. */
static void force_behind_a_handover(void)
{
	static struct one_site then;
	const struct hvri_record *a = &w.site[0].r.record;
	const struct hvri_record *b = &w.site[1].r.record;
	struct hvrepl_uuid handed;

	operate(0, HVREPL_OPERATION_PLANNED);
	ck_assert_uint_eq(b->ownership, HVREPL_OWNERSHIP_OWNER);
	handed = b->current;
	then = w.site[0];
	operate(0, HVREPL_OPERATION_UNPLANNED);
	sites_bring_back(&w, 0, &then);
	sites_connect(&w);
	sites_settle(&w, 2000);
	ck_assert(a->rolled_back);
	sites_cut_link(&w);
	operate(0, HVREPL_OPERATION_FORCE);
	sites_settle(&w, 2000);
	ck_assert(w.site[0].gate);
	ck_assert(hvri_lineage_on_path(&a->lineage, &a->current, &handed));
	sites_write(&w, 0);
	operate(1, HVREPL_OPERATION_CANCEL);
	ck_assert_uint_eq(b->ownership, HVREPL_OWNERSHIP_STANDBY);
}

/* They replicate, by a compare of everything: what B holds was not tracked by A. */
static void expect_a_compare(void)
{
	const struct hvri_record *a = &w.site[0].r.record;
	bool compared = false;

	for (int k = 0; k < 60 && !sites_is_replicating(&w); k++) {
		for (int i = 0; i < 400; i++) {
			sites_settle(&w, 1);
			compared |= a->phase == HVRI_PHASE_RESYNC;
		}
		sites_wait(&w, UINT64_C(1000000000));
	}
	ck_assert(compared);
	ck_assert(sites_is_replicating(&w));
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_OWNER);
	ck_assert(!hvri_lineage_dead(&a->lineage, &a->current));
}

START_TEST(who_was_forced_behind_a_handover_that_is_cancelled_owns_the_vm)
{
	uint32_t live[SITES_BLOCKS];

	force_behind_a_handover();
	memcpy(live, w.site[0].live, sizeof(live));
	sites_connect(&w);
	for (int i = 0; i < 8; i++)
		sites_settle(&w, 1);
	/* The guest is not stopped, nor anything taken from it. */
	ck_assert(w.site[0].gate);
	ck_assert_mem_eq(live, w.site[0].live, sizeof(live));
	expect_a_compare();
}
END_TEST

/* B fails over, too, and cancels that while it is alone, or when it has met A. */
START_TEST(nor_does_a_divergence_over_it_make_the_two_equal)
{
	force_behind_a_handover();
	operate(1, HVREPL_OPERATION_UNPLANNED);
	if (_i == 0) {
		operate(1, HVREPL_OPERATION_CANCEL);
		sites_connect(&w);
	} else {
		sites_connect(&w);
		sites_settle(&w, 2000);
		ck_assert_uint_eq(w.site[0].r.record.ownership,
				  HVREPL_OWNERSHIP_DIVERGED);
		ck_assert_int_eq(sites_operate(&w, 1, HVREPL_OPERATION_CANCEL,
					       0, NULL),
				 HVREPL_OK);
	}
	expect_a_compare();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("forced");
	TCase *tc = tcase_create("forced");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(
		tc, who_was_forced_behind_a_handover_that_is_cancelled_owns_the_vm);
	tcase_add_loop_test(
		tc, nor_does_a_divergence_over_it_make_the_two_equal, 0, 2);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
