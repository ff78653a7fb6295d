/* SPDX-License-Identifier: Apache-2.0 */
/* T9 and S1 where a site's disks are in doubt as it is to follow, or to take the VM. */
#include "replication/relationship.h"

#include "base/env.h"
#include "replication/lineage.h"
#define SITES_SEED 7
#include "sitesrig.h"

#include <string.h>

static struct hvri_record *const a = &w.site[0].r.record;
static struct hvri_record *const b = &w.site[1].r.record;

static bool a_follows(void)
{
	return a->ownership == HVREPL_OWNERSHIP_STANDBY &&
	       hvri_uuid_equal(&a->current, &b->current);
}

static void until(bool (*is)(void))
{
	for (int k = 0; k < 4000 && !is(); k++) {
		sites_settle(&w, 1);
		if (k % 200 == 199)
			sites_wait(&w, UINT64_C(1000000000));
	}
	ck_assert(is());
	ck_assert_ptr_null(w.broken);
}

/* A disk is changed outside while the site is down, where `block` is of its newest point. */
static void change(uint32_t site, uint32_t block)
{
	sites_newest(&w.site[site])->content[block] += 1000000;
	w.site[site].changed = true;
}

static void rot(uint32_t site)
{
	struct hvri_event e;

	memset(&e, 0, sizeof(e));
	e.type = HVRI_EVENT_POINTS_DOUBTED;
	e.u.data.code = HVREPL_E_CORRUPT;
	sites_feed(&w, site, &e);
}

/* They replicate again, and A's newest point is what B has. */
static void expect_a_compare(void)
{
	bool compared = false;

	for (int k = 0; k < 60; k++) {
		for (int i = 0; i < 400; i++) {
			sites_settle(&w, 1);
			compared |= b->phase == HVRI_PHASE_RESYNC;
		}
		sites_wait(&w, UINT64_C(1000000000));
	}
	ck_assert(compared);
	ck_assert(sites_is_replicating(&w));
	ck_assert_mem_eq(sites_content(&w.site[1]),
			 sites_newest(&w.site[0])->content,
			 SITES_BLOCKS * sizeof(uint32_t));
}

/* A joined B, whose power went before it heard so; then A's disks are changed. */
START_TEST(who_joined_unseen_and_is_in_doubt_is_compared)
{
	uint32_t brings, n = 0;

	sites_cut_link(&w);
	begin(1, HVREPL_OPERATION_UNPLANNED);
	sites_settle(&w, 500);
	sites_write(&w, 1);
	begin(1, HVREPL_OPERATION_COMMIT);
	sites_settle(&w, 500);
	sites_connect(&w);
	sites_settle(&w, 500);
	if (a->ownership == HVREPL_OWNERSHIP_DIVERGED) {
		ck_assert_int_eq(sites_operate(&w, 0, HVREPL_OPERATION_DISCARD,
					       0, &a->current),
				 HVREPL_OK);
		sites_settle(&w, 500);
	}
	begin(1, HVREPL_OPERATION_REVERSE);
	until(a_follows);
	ck_assert_uint_eq(b->phase, HVRI_PHASE_JOIN);
	sites_cut_link(&w);
	sites_settle(&w, 500);
	sites_crash(&w, 1);
	sites_crash(&w, 0);
	/* One that B does not send anyway. */
	brings = w.site[1].dirty | w.site[1].cut_dirty;
	while (n < SITES_BLOCKS && (brings >> n & 1))
		n++;
	ck_assert_uint_lt(n, SITES_BLOCKS);
	change(0, n);
	sites_start(&w, 1);
	sites_start(&w, 0);
	sites_settle(&w, 500);
	ck_assert(a->untrusted);
	sites_connect(&w);
	expect_a_compare();
}
END_TEST

static bool a_relinquished(void)
{
	return a->ownership == HVREPL_OWNERSHIP_RELINQUISHED;
}

/* The GRANT is lost, and comes again: to disks that were changed while it was down (0), or
 * to such as have rotted meanwhile (1). */
START_TEST(a_vm_is_not_taken_onto_disks_in_doubt)
{
	uint32_t before[SITES_BLOCKS];

	sites_write(&w, 0);
	begin(0, HVREPL_OPERATION_PLANNED);
	until(a_relinquished);
	ck_assert_uint_eq(b->ownership, HVREPL_OWNERSHIP_STANDBY);
	memcpy(before, sites_content(&w.site[0]), sizeof(before));
	sites_cut_link(&w);
	if (_i == 0) {
		sites_crash(&w, 1);
		change(1, 0);
		sites_start(&w, 1);
	} else {
		sites_newest(&w.site[1])->content[0] += 1000000;
		rot(1);
	}
	sites_settle(&w, 500);
	ck_assert(b->untrusted);
	sites_connect(&w);
	sites_settle(&w, 4000);
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_OWNER);
	ck_assert(!w.site[1].gate);
	ck_assert_mem_eq(sites_content(&w.site[0]), before, sizeof(before));
}
END_TEST

/* The point that a handed-over disk becomes is in doubt where the disk is: until all was
 * compared, it is failed over to by name alone. */
START_TEST(a_disk_in_doubt_becomes_a_point_in_doubt)
{
	sites_write(&w, 0);
	begin(0, HVREPL_OPERATION_PLANNED);
	sites_settle(&w, 2000);
	ck_assert_uint_eq(b->ownership, HVREPL_OWNERSHIP_OWNER);
	begin(1, HVREPL_OPERATION_COMMIT);
	sites_settle(&w, 2000);
	if (_i == 0) {
		sites_crash(&w, 0);
		w.site[0].changed = true;
		sites_start(&w, 0);
		sites_connect(&w);
		sites_settle(&w, 2000);
	}
	begin(1, HVREPL_OPERATION_REVERSE);
	until(a_follows);
	for (int k = 0; k < 4000 && a->form != HVRI_FORM_STORE; k++)
		sites_settle(&w, 1);
	ck_assert_uint_eq(a->form, HVRI_FORM_STORE);
	ck_assert_int_eq(w.site[0].r.doubted, _i == 0);
	sites_cut_link(&w);
	sites_settle(&w, 200);
	ck_assert_int_eq(sites_operate(&w, 0, HVREPL_OPERATION_UNPLANNED, 0,
				       NULL),
			 _i == 0 ? HVREPL_E_UNTRUSTED : HVREPL_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("in doubt");
	TCase *tc = tcase_create("in doubt");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, who_joined_unseen_and_is_in_doubt_is_compared);
	tcase_add_loop_test(tc, a_vm_is_not_taken_onto_disks_in_doubt, 0, 2);
	tcase_add_loop_test(tc, a_disk_in_doubt_becomes_a_point_in_doubt, 0, 2);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
