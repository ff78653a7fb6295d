/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks of a replica that turn out to be not what they were, in the midst of the
 * compare that was to make them right: a site that joins, or one that stands by. What
 * was compared before counts no more, and nobody waits for what was let go.
 */
#include "replication/internal.h"

#include "base/env.h"

#define SITES_SEED 11
#include "sitesrig.h"

#include <string.h>

/* B fails over and A, whose tracking was lost, is to follow it. */
static void begin_a_join(bool compared)
{
	sites_crash(&w, 0);
	begin(1, HVREPL_OPERATION_UNPLANNED);
	sites_settle(&w, 2000);
	begin(1, HVREPL_OPERATION_COMMIT);
	sites_settle(&w, 2000);
	sites_write(&w, 1);
	w.site[0].durable.untrusted |= compared;
	sites_start(&w, 0);
	sites_connect(&w);
	sites_settle(&w, 2000);
	ck_assert_uint_eq(w.site[0].r.record.ownership,
			  HVREPL_OWNERSHIP_SUPERSEDED);
	begin(1, HVREPL_OPERATION_REVERSE);
}

static void doubt(uint32_t i)
{
	struct hvri_event e;

	memset(&e, 0, sizeof(e));
	e.type = HVRI_EVENT_POINTS_DOUBTED;
	e.u.data.code = HVREPL_E_CORRUPT;
	sites_feed(&w, i, &e);
	ck_assert_ptr_null(w.broken);
}

/* What is under way between the two does not bring that block. */
static void change_a_block(uint32_t owner)
{
	const struct one_site *from = &w.site[owner];
	struct one_site *replica = &w.site[!owner];
	struct sites_point *at = sites_newest(replica);
	uint32_t brings = from->dirty | from->cut_dirty, b = 0;

	while (b < SITES_BLOCKS && (brings >> b & 1))
		b++;
	ck_assert_uint_lt(b, SITES_BLOCKS);
	at->content[b] += 1000000;
	/* The end that a joiner keeps is the same bytes. */
	if (hvri_uuid_equal(&at->id.cut, &replica->tail_id))
		replica->tail[b] = at->content[b];
}

/* The owner has compared everything. */
static void until_compared(uint32_t owner, uint8_t stage)
{
	const struct hvri_relationship *r = &w.site[owner].r;

	for (int k = 0; k < 4000 && (r->record.phase != HVRI_PHASE_RESYNC ||
				     r->cut.stage != stage);
	     k++)
		sites_settle(&w, 1);
	ck_assert_uint_eq(r->record.phase, HVRI_PHASE_RESYNC);
	ck_assert_uint_eq(r->cut.stage, stage);
}

static bool together(uint32_t owner)
{
	return sites_state(&w, 0) == HVREPL_STATE_REPLICATING &&
	       sites_state(&w, 1) == HVREPL_STATE_REPLICATING &&
	       w.site[!owner].r.record.ownership == HVREPL_OWNERSHIP_STANDBY &&
	       !w.site[!owner].r.record.untrusted;
}

/* In the session that there is. */
static void expect_equal(uint32_t owner)
{
	for (int k = 0; k < 300 && !together(owner); k++)
		sites_wait(&w, UINT64_C(1000000000));
	ck_assert_ptr_null(w.broken);
	ck_assert(together(owner));
	ck_assert(sites_is_replicating(&w));
	ck_assert_mem_eq(sites_content(&w.site[owner]),
			 sites_newest(&w.site[!owner])->content,
			 SITES_BLOCKS * sizeof(uint32_t));
}

START_TEST(a_joiner_changed_outside_in_the_midst_of_its_compare_is_compared_again)
{
	begin_a_join(true);
	until_compared(1, (uint8_t)_i);
	sites_crash(&w, 0);
	change_a_block(1);
	w.site[0].changed = true;
	sites_start(&w, 0);
	ck_assert(w.site[0].r.doubted);
	sites_connect(&w);
	expect_equal(1);
}
END_TEST

/* A start that finds nothing, and a session, cost no second compare. */
START_TEST(what_was_compared_of_a_joiner_counts_in_its_next_session)
{
	begin_a_join(true);
	until_compared(1, HVRI_CUT_SHIPPING);
	sites_cut_link(&w);
	sites_connect(&w);
	for (int k = 0; k < 4000 && !w.site[1].r.peer_ready; k++)
		sites_settle(&w, 1);
	ck_assert(w.site[1].r.peer_ready);
	ck_assert_uint_gt(w.site[1].r.record.frontier.disk, 0);
	expect_equal(1);
}
END_TEST

START_TEST(damage_at_a_joiner_behind_its_compare_is_compared_again)
{
	begin_a_join(true);
	until_compared(1, (uint8_t)_i);
	change_a_block(1);
	doubt(0);
	ck_assert_uint_eq(w.site[0].r.receiving.point.number, 0);
	expect_equal(1);
}
END_TEST

/* Nothing was compared, and that does no more. */
START_TEST(a_joiner_that_finds_damage_is_compared)
{
	const struct hvri_relationship *b = &w.site[1].r;

	begin_a_join(false);
	for (int k = 0; k < 4000 && b->cut.stage != _i; k++)
		sites_settle(&w, 1);
	ck_assert_int_eq(b->cut.stage, _i);
	ck_assert_uint_eq(b->record.phase, HVRI_PHASE_JOIN);
	change_a_block(1);
	doubt(0);
	expect_equal(1);
}
END_TEST

START_TEST(damage_at_a_standby_behind_its_compare_is_compared_again)
{
	doubt(1);
	until_compared(0, (uint8_t)_i);
	change_a_block(0);
	doubt(1);
	ck_assert_uint_eq(w.site[1].r.receiving.point.number, 0);
	expect_equal(0);
}
END_TEST

/* The answer is lost with its session, and comes in the next one. */
START_TEST(an_owner_hears_of_damage_behind_its_compare_in_the_next_session)
{
	doubt(1);
	until_compared(0, HVRI_CUT_SHIPPING);
	change_a_block(0);
	doubt(1);
	sites_cut_link(&w);
	sites_connect(&w);
	expect_equal(0);
}
END_TEST

/* Its first point in the joined epoch is shown late, and it finds damage before that:
 * the point ends the join, and not the doubt. */
START_TEST(a_point_of_a_join_that_is_found_does_not_end_a_doubt)
{
	struct one_site *a = &w.site[0];
	uint64_t before;
	struct hvri_event e;

	begin_a_join(true);
	until_compared(1, HVRI_CUT_SHIPPING);
	before = sites_newest(a)->id.number;
	for (int k = 0; k < 4000 && sites_newest(a)->id.number == before; k++)
		sites_settle(&w, 1);
	ck_assert_uint_ne(sites_newest(a)->id.number, before);
	sites_cut_link(&w);
	a->queue_count = 0;
	doubt(0);
	memset(&e, 0, sizeof(e));
	e.type = HVRI_EVENT_POINT_COMPLETE;
	e.u.data.found = sites_newest(a)->id;
	e.u.data.cut = e.u.data.found.cut;
	sites_feed(&w, 0, &e);
	ck_assert_uint_eq(a->r.record.ownership, HVREPL_OWNERSHIP_STANDBY);
	ck_assert(a->r.record.untrusted && a->r.doubted);
	sites_connect(&w);
	change_a_block(1);
	expect_equal(1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("joiner_doubted");
	TCase *tc = tcase_create("joiner_doubted");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(
		tc,
		a_joiner_changed_outside_in_the_midst_of_its_compare_is_compared_again,
		HVRI_CUT_NAMING, HVRI_CUT_SHIPPING + 1);
	tcase_add_test(tc,
		       what_was_compared_of_a_joiner_counts_in_its_next_session);
	tcase_add_loop_test(
		tc, damage_at_a_joiner_behind_its_compare_is_compared_again,
		HVRI_CUT_NAMING, HVRI_CUT_SHIPPING + 1);
	tcase_add_loop_test(tc, a_joiner_that_finds_damage_is_compared,
			    HVRI_CUT_NAMING, HVRI_CUT_SHIPPING + 1);
	tcase_add_loop_test(
		tc, damage_at_a_standby_behind_its_compare_is_compared_again,
		HVRI_CUT_NAMING, HVRI_CUT_SHIPPING + 1);
	tcase_add_test(
		tc,
		an_owner_hears_of_damage_behind_its_compare_in_the_next_session);
	tcase_add_test(tc, a_point_of_a_join_that_is_found_does_not_end_a_doubt);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
