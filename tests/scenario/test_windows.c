/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Windows of the first content: what a replica has of them, whole or in part, when its
 * owner is brought back from a backup of between two of them.
 */
#include "replication/internal.h"

#define SITES_SEED 11
#define SITES_BEGIN sites_connect
#include "sitesrig.h"

#include <string.h>

/* A as it was: its record and its disk, with what is marked there. */
static struct {
	uint32_t live[SITES_BLOCKS], dirty;
} kept;

static void back_up_a(void)
{
	sites_backup(&w, 0);
	memcpy(kept.live, w.site[0].live, sizeof(kept.live));
	kept.dirty = w.site[0].dirty;
	if (w.site[0].cut_open)
		kept.dirty |= w.site[0].cut_dirty;
}

static void bring_a_back(void)
{
	sites_crash(&w, 0);
	memcpy(w.site[0].live, kept.live, sizeof(kept.live));
	w.site[0].dirty = kept.dirty;
	sites_restore(&w, 0);
	w.restored = true;
}

/* The bed compares each point with what its cut saw. */
static void expect_the_first_content(void)
{
	for (int k = 0; k < 300 && w.site[1].point_count == 0; k++)
		sites_wait(&w, UINT64_C(1000000000));
	ck_assert_ptr_null(w.broken);
	ck_assert_uint_gt(w.site[1].point_count, 0);
	ck_assert(sites_is_replicating(&w));
}

static void until_frontier(const struct hvri_frontier *frontier, uint64_t blocks)
{
	for (int k = 0; k < 4000 && frontier->offset != blocks * SITES_BLOCK; k++)
		sites_settle(&w, 1);
	ck_assert_uint_eq(frontier->offset, blocks * SITES_BLOCK);
}

/* The first window is in, and no second one has a name, when A is backed up; its guest
 * then writes to what that window took. */
static void back_up_between_windows(void)
{
	const struct one_site *a = &w.site[0];

	until_frontier(&a->r.record.frontier, 5);
	ck_assert_uint_le(a->r.cut.stage, HVRI_CUT_NAMING);
	back_up_a();
	begin(0, HVREPL_OPERATION_SUSPEND);
	sites_settle(&w, 2000);
	ck_assert_uint_eq(a->r.cut.stage, HVRI_CUT_NONE);
	for (int k = 0; k < 64; k++)
		sites_write(&w, 0);
	ck_assert_int_ne(memcmp(kept.live, a->live, 5 * sizeof(kept.live[0])), 0);
	begin(0, HVREPL_OPERATION_RESUME);
}

static void bring_a_back_and_meet(void)
{
	sites_cut_link(&w);
	bring_a_back();
	ck_assert_uint_eq(w.site[0].r.record.frontier.offset, 5 * SITES_BLOCK);
	sites_connect(&w);
	expect_the_first_content();
}

/* B failed over, is not believed, and has nothing: it joins by a first content. */
static void join_by_a_first_content(void)
{
	begin(0, HVREPL_OPERATION_ENABLE);
	sites_settle(&w, 2000);
	sites_backup(&w, 1);
	begin(0, HVREPL_OPERATION_START_INITIAL);
	sites_settle(&w, 2000);
	begin(1, HVREPL_OPERATION_UNPLANNED);
	sites_settle(&w, 2000);
	sites_cut_link(&w);
	w.site[1].point_count = 0;
	memset(&w.site[1].frontier, 0, sizeof(w.site[1].frontier));
	sites_restore(&w, 1);
	w.restored = true;
	sites_connect(&w);
	sites_settle(&w, 2000);
	begin(0, HVREPL_OPERATION_RESYNC);
}

/* A is brought back to between two windows of a first content, of which B, that joins
 * by it, has the later one. */
START_TEST(a_window_of_one_that_joins_is_compared_when_its_owner_was_brought_back)
{
	const struct hvri_record *b = &w.site[1].r.record;

	join_by_a_first_content();
	back_up_between_windows();
	ck_assert(!hvri_uuid_is_none(&b->joining));
	until_frontier(&b->frontier, 10);
	bring_a_back_and_meet();
}
END_TEST

/* Where A was not, the window is known, and what it took is not sent again. */
START_TEST(a_window_of_one_that_joins_is_known_in_the_next_session)
{
	const struct hvri_relationship *a = &w.site[0].r;

	join_by_a_first_content();
	until_frontier(&w.site[1].r.record.frontier, 5);
	ck_assert_uint_eq(a->record.frontier.offset, 0);
	sites_cut_link(&w);
	sites_settle(&w, 2000);
	sites_connect(&w);
	until_frontier(&a->record.frontier, 5);
	ck_assert(a->base_marked);
	expect_the_first_content();
}
END_TEST

/* The same where B stands by, and ended between its store's commit and its record: it
 * cannot say which window it has. */
START_TEST(a_window_without_an_id_is_compared_when_its_owner_was_brought_back)
{
	const struct hvri_record *b = &w.site[1].r.record;

	begin(0, HVREPL_OPERATION_ENABLE);
	sites_settle(&w, 2000);
	begin(0, HVREPL_OPERATION_START_INITIAL);
	back_up_between_windows();
	until_frontier(&w.site[1].frontier, 10);
	ck_assert_uint_eq(b->frontier.offset, 5 * SITES_BLOCK);
	sites_crash(&w, 1);
	sites_start(&w, 1);
	bring_a_back_and_meet();
}
END_TEST

static struct sites_message *window_on_its_way(void)
{
	for (uint32_t k = 0; k < w.wire_count; k++)
		if (w.wire[k].data && w.wire[k].to == 1)
			return &w.wire[k];
	return NULL;
}

/* B takes in a part of what is in its base from then on: the rest is lost. */
static void take_a_window_in_part(void)
{
	const struct sites_message *m;

	while (window_on_its_way() == NULL)
		sites_settle(&w, 1);
	m = window_on_its_way();
	ck_assert(hvri_uuid_equal(&w.site[1].r.receiving.point.cut, &m->cut));
	ck_assert_uint_ne(m->dirty & 0x1f, 0);
	for (uint32_t b = 0; b < 5; b++)
		if (m->dirty >> b & 1)
			w.site[1].base[b] = m->content[b];
}

/* Of the later window B has a part alone, whose bytes are in its base all the same,
 * whether it has gone on since or was started again. */
START_TEST(a_part_of_a_window_is_compared_when_its_owner_was_brought_back)
{
	begin(0, HVREPL_OPERATION_ENABLE);
	sites_settle(&w, 2000);
	begin(0, HVREPL_OPERATION_START_INITIAL);
	back_up_between_windows();
	take_a_window_in_part();
	sites_cut_link(&w);
	if (_i == 1) {
		sites_crash(&w, 1);
		sites_start(&w, 1);
	}
	bring_a_back_and_meet();
}
END_TEST

/* Where A was not brought back, no window is sent again for its id, whenever the link
 * is lost. */
START_TEST(a_first_content_is_marked_once_whenever_the_link_is_lost)
{
	const struct hvri_relationship *a = &w.site[0].r;

	begin(0, HVREPL_OPERATION_ENABLE);
	sites_settle(&w, 2000);
	begin(0, HVREPL_OPERATION_START_INITIAL);
	for (int k = 0; k < 400 && !a->base_marked; k++)
		sites_settle(&w, 1);
	sites_settle(&w, (uint32_t)_i);
	sites_cut_link(&w);
	sites_settle(&w, 2000);
	sites_connect(&w);
	for (int k = 0; k < 4000 && a->record.phase == HVRI_PHASE_INITIAL; k++) {
		ck_assert(a->base_marked);
		sites_settle(&w, 1);
	}
	ck_assert_uint_eq(a->record.phase, HVRI_PHASE_DELTA);
	expect_the_first_content();
}
END_TEST

/* What was begun is no point of one that was to join and does not any more: it claims
 * to have none. */
START_TEST(a_window_that_was_begun_is_claimed_as_no_point)
{
	struct hvri_relationship *b = &w.site[1].r;
	struct hvri_claim claim;

	join_by_a_first_content();
	until_frontier(&b->record.frontier, 10);
	for (int k = 0; k < 4000 && b->receiving.point.number == 0; k++)
		sites_settle(&w, 1);
	ck_assert(b->receiving.closed);
	ck_assert_uint_ne(b->record.last_cut.number, 0);
	ck_assert_uint_eq(b->record.position.number, 0);
	ck_assert_uint_ne(b->record.ownership, HVREPL_OWNERSHIP_STANDBY);
	hvri_build_claim(b, &claim);
	ck_assert_uint_eq(claim.position.number, 0);
	ck_assert(hvri_uuid_equal(&claim.position.cut,
				  &b->record.last_cut.cut));
	memset(&b->record.joining, 0, sizeof(b->record.joining));
	hvri_build_claim(b, &claim);
	ck_assert_uint_eq(claim.position.number, 0);
}
END_TEST

/* A first content is begun anew. Of what it has begun B says nothing before it is in,
 * though it has as much of the one before, and is offered it again meanwhile. */
START_TEST(a_window_begun_anew_is_not_confirmed_for_the_one_before)
{
	const struct hvri_relationship *a = &w.site[0].r, *b = &w.site[1].r;
	struct hvri_message m;

	begin(0, HVREPL_OPERATION_ENABLE);
	sites_settle(&w, 2000);
	begin(0, HVREPL_OPERATION_START_INITIAL);
	until_frontier(&a->record.frontier, 5);
	begin(0, HVREPL_OPERATION_CANCEL);
	sites_settle(&w, 2000);
	for (int k = 0; k < 64; k++)
		sites_write(&w, 0);
	begin(0, HVREPL_OPERATION_START_INITIAL);
	for (int k = 0; k < 4000 && b->receiving.point.number == 0; k++)
		sites_settle(&w, 1);
	ck_assert_uint_eq(b->receiving.frontier.offset, 5 * SITES_BLOCK);
	ck_assert(hvri_uuid_equal(&b->record.last_cut.cut, &b->receiving.point.cut));
	m = sites_message_to(&w, 1, HVRI_MESSAGE_CUT_BEGIN);
	m.u.cut = b->receiving;
	sites_step(&w, 1, &m, 0x3f, &u);
	for (uint32_t k = 0; k < u.send_count; k++)
		ck_assert_uint_ne(u.sends[k].type, HVRI_MESSAGE_DURABLE);
	expect_the_first_content();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("windows");
	TCase *tc = tcase_create("windows");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(
		tc,
		a_window_of_one_that_joins_is_compared_when_its_owner_was_brought_back);
	tcase_add_test(tc, a_window_of_one_that_joins_is_known_in_the_next_session);
	tcase_add_test(
		tc,
		a_window_without_an_id_is_compared_when_its_owner_was_brought_back);
	tcase_add_loop_test(
		tc, a_part_of_a_window_is_compared_when_its_owner_was_brought_back,
		0, 2);
	tcase_add_loop_test(
		tc, a_first_content_is_marked_once_whenever_the_link_is_lost, 0, 30);
	tcase_add_test(tc, a_window_that_was_begun_is_claimed_as_no_point);
	tcase_add_test(tc, a_window_begun_anew_is_not_confirmed_for_the_one_before);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
