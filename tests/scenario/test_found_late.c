/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A point that a store shows only when it is opened again, its storage having failed
 * the flush that made it: when another epoch has begun since. Both sites go on from
 * what is there, and call nothing equal that was not compared.
 */
#include "replication/internal.h"

#include "base/env.h"
#include "base/rc.h"

#define SITES_SEED 11
#define SITES_BEGIN sites_connect
#include "sitesrig.h"

#include <stdlib.h>
#include <string.h>

static struct hvri_event *completes(struct one_site *site)
{
	struct sites_point *newest = sites_newest(site);

	for (uint32_t k = 0; newest != NULL && k < site->queue_count; k++) {
		struct hvri_event *event = &site->queue[k].event;

		if (event->type == HVRI_EVENT_POINT_COMPLETE &&
		    hvri_uuid_equal(&event->u.data.cut, &newest->id.cut))
			return event;
	}
	return NULL;
}

/* The next point of that site is durable in its store, which says that it failed: no
 * more is heard of it, or of the store, for now. */
static struct hvri_point hide_next_point(uint32_t i)
{
	struct one_site *site = &w.site[i];
	struct hvri_point point;

	for (int k = 0; k < 4000 && completes(site) == NULL; k++)
		sites_settle(&w, 1);
	ck_assert_ptr_nonnull(completes(site));
	point = sites_newest(site)->id;
	completes(site)->u.data.code = HVREPL_E_STORAGE_IO;
	completes(site)->type = HVRI_EVENT_RECEIVE_FAILED;
	sites_settle(&w, 4000);
	sites_cut_link(&w);
	sites_settle(&w, 4000);
	ck_assert_uint_lt(site->r.record.position.number, point.number);
	return point;
}

static void complete_at_b(const struct hvrepl_uuid *cut)
{
	struct hvri_event e;

	memset(&e, 0, sizeof(e));
	e.type = HVRI_EVENT_POINT_COMPLETE;
	e.u.data.cut = *cut;
	sites_feed(&w, 1, &e);
}

static void show_it(uint32_t i)
{
	struct hvri_event e;

	memset(&e, 0, sizeof(e));
	e.type = HVRI_EVENT_POINT_COMPLETE;
	e.u.data.found = sites_newest(&w.site[i])->id;
	e.u.data.cut = e.u.data.found.cut;
	sites_feed(&w, i, &e);
	ck_assert_ptr_null(w.broken);
}

/* The next cut is to be taken in, which has the store opened, and it shows what it
 * holds before anything of that cut comes. */
static void find_it(uint32_t i)
{
	const struct hvri_relationship *r = &w.site[i].r;

	for (int k = 0; k < 400 && r->receiving.point.number == 0; k++) {
		sites_settle(&w, 1);
		if (w.wire_count == 0 && w.site[0].queue_count == 0 &&
		    w.site[1].queue_count == 0)
			sites_wait(&w, UINT64_C(1000000000));
	}
	ck_assert_uint_ne(r->receiving.point.number, 0);
	show_it(i);
}

static bool both_replicate(void)
{
	return sites_state(&w, 0) == HVREPL_STATE_REPLICATING &&
	       sites_state(&w, 1) == HVREPL_STATE_REPLICATING &&
	       w.site[0].point_count + w.site[1].point_count > 1;
}

/* They replicate, the point is still there, and what came after it was compared. */
static void expect_both(uint32_t copy, const struct hvri_point *held)
{
	const struct one_site *site = &w.site[copy];
	bool kept = false;

	for (int k = 0; k < 300 && !both_replicate(); k++)
		sites_wait(&w, UINT64_C(1000000000));
	ck_assert_ptr_null(w.broken);
	ck_assert(both_replicate());
	ck_assert_uint_eq(site->r.record.ownership, HVREPL_OWNERSHIP_STANDBY);
	ck_assert_uint_gt(site->point_count, 1);
	for (uint32_t k = 0; k < site->point_count; k++)
		kept |= hvri_uuid_equal(&site->points[k].id.cut, &held->cut);
	ck_assert(kept);
	ck_assert(sites_is_replicating(&w));
}

static void expect_the_first_content(void)
{
	struct hvri_point first;

	for (int k = 0; k < 300 && w.site[1].point_count == 0; k++)
		sites_wait(&w, UINT64_C(1000000000));
	ck_assert_uint_gt(w.site[1].point_count, 0);
	first = w.site[1].points[0].id;
	expect_both(1, &first);
}

/* Before anybody hears that the other site could be reached, it is forced. */
static void force_in_a_new_epoch(uint32_t i)
{
	sites_crash(&w, i);
	sites_start(&w, i);
	begin(i, HVREPL_OPERATION_FORCE);
	sites_settle(&w, 4000);
	ck_assert(w.site[i].gate);
	for (int k = 0; k < 4; k++)
		sites_write(&w, i);
	sites_connect(&w);
}

/* B's first point. A is forced, and begins the first content anew for a site that
 * says it has nothing. */
START_TEST(a_first_point_that_is_found_in_another_epoch_ends_the_first_content)
{
	const struct hvri_record *a = &w.site[0].r.record;
	struct hvri_point held;

	begin(0, HVREPL_OPERATION_ENABLE);
	sites_settle(&w, 2000);
	begin(0, HVREPL_OPERATION_START_INITIAL);
	held = hide_next_point(1);
	force_in_a_new_epoch(0);
	find_it(1);
	ck_assert_uint_eq(a->phase, HVRI_PHASE_INITIAL);
	ck_assert_uint_eq(w.site[1].r.record.phase, HVRI_PHASE_DELTA);
	ck_assert_uint_eq(w.site[1].r.record.position.number, held.number);
	ck_assert_uint_eq(w.site[1].r.receiving.point.number, 0);
	for (int k = 0; k < 4000 && a->phase == HVRI_PHASE_INITIAL; k++)
		sites_settle(&w, 1);
	ck_assert(a->untrusted);
	expect_both(1, &held);
}
END_TEST

/* A window of a first content is none, of whatever epoch. */
START_TEST(a_window_that_is_found_in_another_epoch_is_no_point)
{
	const struct hvri_record *a = &w.site[0].r.record;
	struct hvri_relationship *b = &w.site[1].r;

	begin(0, HVREPL_OPERATION_ENABLE);
	sites_settle(&w, 2000);
	begin(0, HVREPL_OPERATION_START_INITIAL);
	for (int k = 0; k < 4000 && !a->peer_has_points; k++)
		sites_settle(&w, 1);
	sites_cut_link(&w);
	memset(&b->failed, 0, sizeof(b->failed));
	b->failed.kind = HVRI_CUT_INITIAL;
	b->failed.point = b->record.last_cut;
	ck_assert_uint_ne(b->failed.point.number, 0);
	force_in_a_new_epoch(0);
	for (int k = 0; k < 4000 && !hvri_uuid_equal(&a->current,
						     &b->record.current);
	     k++)
		sites_settle(&w, 1);
	complete_at_b(&b->failed.point.cut);
	ck_assert_uint_eq(b->record.position.number, 0);
	ck_assert_uint_eq(b->record.phase, HVRI_PHASE_INITIAL);
	expect_the_first_content();
}
END_TEST

/* B knows one that has failed after all, though another was offered and stopped since:
 * that was not begun, so there is nothing to find of it. */
START_TEST(a_cut_that_was_not_begun_is_not_what_is_found)
{
	struct hvri_relationship *b = &w.site[1].r;

	begin(0, HVREPL_OPERATION_ENABLE);
	sites_settle(&w, 2000);
	sites_cut_link(&w);
	b->failed.kind = HVRI_CUT_INITIAL;
	b->failed.point.epoch = b->record.current;
	b->failed.point.number = 1;
	b->failed.point.cut = sites_fresh(&w);
	b->failed.frontier.offset = 5 * SITES_BLOCK;
	b->receiving = b->failed;
	b->receiving.point.number = 2;
	b->receiving.point.cut = sites_fresh(&w);
	b->receiving.frontier.offset = 10 * SITES_BLOCK;
	b->begun = false;
	begin(1, HVREPL_OPERATION_SUSPEND);
	complete_at_b(&b->failed.point.cut);
	ck_assert_uint_eq(b->record.frontier.offset, 5 * SITES_BLOCK);
	ck_assert_uint_eq(b->record.phase, HVRI_PHASE_INITIAL);
}
END_TEST

/* The same point where A goes on in its epoch: another cut has failed since, which
 * is all that B remembers. */
START_TEST(a_first_point_is_known_whatever_failed_since)
{
	struct hvri_relationship *b = &w.site[1].r;
	struct hvri_point held;

	begin(0, HVREPL_OPERATION_ENABLE);
	sites_settle(&w, 2000);
	begin(0, HVREPL_OPERATION_START_INITIAL);
	held = hide_next_point(1);
	b->failed.point.cut = sites_fresh(&w);
	sites_connect(&w);
	find_it(1);
	ck_assert_uint_eq(b->record.position.number, held.number);
	expect_both(1, &held);
}
END_TEST

static void supersede_a(void)
{
	sites_replicating(&w);
	sites_crash(&w, 0);
	begin(1, HVREPL_OPERATION_UNPLANNED);
	sites_settle(&w, 2000);
	begin(1, HVREPL_OPERATION_COMMIT);
	sites_settle(&w, 2000);
	sites_write(&w, 1);
	sites_start(&w, 0);
	sites_connect(&w);
	sites_settle(&w, 2000);
	ck_assert_uint_eq(w.site[0].r.record.ownership,
			  HVREPL_OWNERSHIP_SUPERSEDED);
}

/* A follows B's failover over its own disk. B is forced while the first point of
 * that is not known: A joins the new epoch, and is asked about what it holds, whether
 * its store is opened for the next cut or by a start. */
START_TEST(who_joins_is_asked_anew_about_a_point_that_is_found)
{
	const struct hvri_record *a = &w.site[0].r.record;
	struct hvri_point held;

	supersede_a();
	begin(1, HVREPL_OPERATION_REVERSE);
	held = hide_next_point(0);
	force_in_a_new_epoch(1);
	sites_settle(&w, 2000);
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_SUPERSEDED);
	begin(1, HVREPL_OPERATION_REVERSE);
	if (_i == 0) {
		find_it(0);
	} else {
		for (int k = 0; k < 4000 && hvri_uuid_is_none(&a->joining); k++)
			sites_settle(&w, 1);
		sites_settle(&w, 2000);
		sites_crash(&w, 0);
		sites_start(&w, 0);
		sites_connect(&w);
	}
	ck_assert_uint_eq(a->position.number, held.number);
	ck_assert(a->untrusted);
	expect_both(0, &held);
}
END_TEST

/* In RESYNC of a join, in a session that began with the point before. */
START_TEST(who_finds_a_point_in_a_later_session_of_its_compare_is_asked)
{
	struct one_site *a = &w.site[0];
	const struct hvri_relationship *b = &w.site[1].r;
	struct hvri_point held;

	supersede_a();
	begin(1, HVREPL_OPERATION_REVERSE);
	held = hide_next_point(0);
	force_in_a_new_epoch(1);
	sites_settle(&w, 2000);
	a->r.record.untrusted = true;
	begin(1, HVREPL_OPERATION_REVERSE);
	for (int k = 0; k < 4000 && b->record.phase != HVRI_PHASE_RESYNC; k++)
		sites_settle(&w, 1);
	sites_cut_link(&w);
	sites_connect(&w);
	for (int k = 0; k < 4000 && !b->peer_ready; k++)
		sites_settle(&w, 1);
	ck_assert_uint_eq(b->record.phase, HVRI_PHASE_RESYNC);
	ck_assert(b->peer_ready && !b->joined);
	show_it(0);
	ck_assert_uint_eq(a->r.record.position.number, held.number);
	expect_both(0, &held);
}
END_TEST

/* A handed over, has been asked to follow, and is brought back to before it had made its disk a
 * replica's: B, in the midst of the compare, takes it to be past that. */
static void bring_a_back_to_before_it_adopted(void)
{
	struct one_site *a = &w.site[0];
	const struct hvri_relationship *b = &w.site[1].r;

	sites_replicating(&w);
	begin(0, HVREPL_OPERATION_PLANNED);
	sites_settle(&w, 4000);
	begin(1, HVREPL_OPERATION_COMMIT);
	sites_settle(&w, 4000);
	sites_write(&w, 1);
	a->r.record.untrusted = true;
	begin(1, HVREPL_OPERATION_REVERSE);
	for (int k = 0; k < 4000 && hvri_uuid_is_none(&a->durable.joining); k++)
		sites_settle(&w, 1);
	ck_assert_uint_eq(a->durable.form, HVRI_FORM_LIVE);
	sites_backup(&w, 0);
	for (int k = 0; k < 4000 && b->record.phase != HVRI_PHASE_RESYNC; k++)
		sites_settle(&w, 1);
	ck_assert_uint_eq(b->record.phase, HVRI_PHASE_RESYNC);
	sites_restore(&w, 0);
	ck_assert_uint_eq(a->r.record.form, HVRI_FORM_LIVE);
	ck_assert(!hvri_uuid_is_none(&a->r.record.joining));
	sites_connect(&w);
}

START_TEST(who_is_brought_back_to_before_it_adopted_its_disk_follows_all_the_same)
{
	bring_a_back_to_before_it_adopted();
	for (int k = 0; k < 300 && !both_replicate(); k++)
		sites_wait(&w, UINT64_C(1000000000));
	ck_assert_ptr_null(w.broken);
	ck_assert(both_replicate());
}
END_TEST

/* Rights that an offer of B needs for that: each of them may have been taken away since
 * it was asked to follow. */
static const struct {
	uint32_t verbs;
	bool adopts;
} rights_of_b[] = {
	{ HVREPL_VERB_ALL, true },
	{ HVREPL_VERB_ALL & ~HVREPL_VERB_REVERSE, false },
	{ HVREPL_VERB_ALL & ~HVREPL_VERB_OVERWRITE, false },
	{ HVREPL_VERB_RECEIVE, false },
};

START_TEST(who_is_brought_back_adopts_for_nobody_who_may_not_have_it_follow)
{
	struct one_site *a = &w.site[0];
	struct hvri_message m;
	struct hvri_update *update = malloc(sizeof(*update));
	bool steps = false, denied = false;
	const char *what;

	ck_assert_ptr_nonnull(update);
	bring_a_back_to_before_it_adopted();
	for (int k = 0; k < 4000 && !a->r.greeted; k++)
		sites_settle(&w, 1);
	ck_assert(a->r.greeted);
	ck_assert_uint_eq(a->r.record.form, HVRI_FORM_LIVE);
	ck_assert_uint_eq(a->r.pending.fence, 0);
	ck_assert_uint_eq(a->r.pending.adopt, 0);
	m = sites_message_to(&w, 0, HVRI_MESSAGE_CUT_BEGIN);
	m.u.cut.kind = HVRI_CUT_DELTA;
	m.u.cut.point.epoch = a->r.record.joining;
	m.u.cut.point.number = a->r.record.position.number + 1;
	m.u.cut.point.cut = sites_fresh(&w);
	m.u.cut.from = a->r.record.position;
	/* The operator's audit is asked, as it is of JOIN: once. */
	ck_assert_uint_eq(hvri_relationship_costs(&a->r, &m, &what),
			  HVREPL_VERB_OVERWRITE);
	sites_step(&w, 0, &m, rights_of_b[_i].verbs, update);
	ck_assert_uint_eq(hvri_relationship_costs(&a->r, &m, &what),
			  rights_of_b[_i].adopts ? 0 : HVREPL_VERB_OVERWRITE);
	for (uint32_t k = 0; k < update->action_count; k++)
		steps |= update->actions[k].type == HVRI_ACTION_ADOPT ||
			 update->actions[k].type == HVRI_ACTION_FENCE;
	for (uint32_t k = 0; k < update->send_count; k++)
		denied |= update->sends[k].type == HVRI_MESSAGE_CUT_DECLINE &&
			  update->sends[k].answer.code == HVREPL_E_DENIED;
	ck_assert_int_eq(steps, rights_of_b[_i].adopts);
	ck_assert_int_eq(denied, !rights_of_b[_i].adopts);
	free(update);
}
END_TEST

/* As before its first point B was brought back; nothing of what it had is there. */
static void bring_b_back_empty(void)
{
	sites_cut_link(&w);
	w.site[1].point_count = 0;
	memset(&w.site[1].frontier, 0, sizeof(w.site[1].frontier));
	sites_restore(&w, 1);
	w.restored = true;
}

/* B is not believed and joins by a first content; that has become a point. */
START_TEST(who_joins_by_a_first_content_is_compared_when_it_has_a_point)
{
	const struct hvri_record *a = &w.site[0].r.record;
	struct hvri_record *b = &w.site[1].r.record;
	struct hvri_point held;

	begin(0, HVREPL_OPERATION_ENABLE);
	sites_settle(&w, 2000);
	sites_backup(&w, 1);
	begin(0, HVREPL_OPERATION_START_INITIAL);
	sites_settle(&w, 2000);
	begin(1, HVREPL_OPERATION_UNPLANNED);
	sites_settle(&w, 2000);
	bring_b_back_empty();
	sites_connect(&w);
	sites_settle(&w, 2000);
	ck_assert(b->rolled_back);
	ck_assert_uint_eq(a->ownership, HVREPL_OWNERSHIP_OWNER);
	begin(0, HVREPL_OPERATION_RESYNC);
	held = hide_next_point(1);
	force_in_a_new_epoch(0);
	sites_settle(&w, 2000);
	begin(0, HVREPL_OPERATION_RESYNC);
	find_it(1);
	ck_assert_uint_eq(b->position.number, held.number);
	ck_assert_uint_eq(a->phase, HVRI_PHASE_INITIAL);
	expect_both(1, &held);
}
END_TEST

/* B stands by without a point in an epoch that A has lost with a backup, and joins by
 * a first content. */
static void join_without_a_point(void)
{
	const struct hvri_record *a = &w.site[0].r.record;
	const struct hvri_record *b = &w.site[1].r.record;

	begin(0, HVREPL_OPERATION_ENABLE);
	sites_settle(&w, 2000);
	sites_backup(&w, 0);
	begin(0, HVREPL_OPERATION_START_INITIAL);
	for (int k = 0; k < 4000 && !a->peer_has_points; k++)
		sites_settle(&w, 1);
	sites_cut_link(&w);
	force_in_a_new_epoch(0);
	for (int k = 0; k < 4000 && !hvri_uuid_equal(&a->current, &b->current);
	     k++)
		sites_settle(&w, 1);
	ck_assert(hvri_uuid_equal(&a->current, &b->current));
	sites_cut_link(&w);
	sites_backup(&w, 1);
	sites_restore(&w, 0);
	sites_connect(&w);
	sites_settle(&w, 2000);
	ck_assert(a->rolled_back);
	begin(0, HVREPL_OPERATION_FORCE);
	sites_settle(&w, 2000);
	ck_assert(!hvri_uuid_equal(&a->current, &b->current));
	ck_assert_uint_eq(b->ownership, HVREPL_OWNERSHIP_STANDBY);
	ck_assert_uint_eq(b->position.number, 0);
	begin(0, HVREPL_OPERATION_RESYNC);
	for (int k = 0; k < 4000 && a->phase != HVRI_PHASE_INITIAL; k++)
		sites_settle(&w, 1);
	ck_assert_uint_eq(a->phase, HVRI_PHASE_INITIAL);
}

/* Whenever the connection was lost. */
START_TEST(a_first_content_of_a_join_goes_on_in_the_next_session)
{
	join_without_a_point();
	sites_settle(&w, (uint32_t)_i);
	sites_cut_link(&w);
	sites_settle(&w, 2000);
	sites_connect(&w);
	expect_the_first_content();
}
END_TEST

/* B is brought back from before it was asked to join: an operator asks again. */
START_TEST(a_first_content_ends_where_the_other_site_joins_no_more)
{
	join_without_a_point();
	sites_restore(&w, 1);
	sites_connect(&w);
	sites_settle(&w, 2000);
	ck_assert(hvri_uuid_is_none(&w.site[1].r.record.joining));
	ck_assert_uint_eq(sites_state(&w, 0), HVREPL_STATE_WAITING_FOR_RESYNC);
	begin(0, HVREPL_OPERATION_RESYNC);
	expect_the_first_content();
}
END_TEST

/* Nor is one begun again that was cancelled, over a point that is found since. */
START_TEST(a_first_content_that_was_cancelled_is_none_any_more_over_a_point)
{
	struct hvri_point held;

	join_without_a_point();
	held = hide_next_point(1);
	force_in_a_new_epoch(0);
	sites_settle(&w, 2000);
	begin(0, HVREPL_OPERATION_RESYNC);
	for (int k = 0; k < 4000 &&
			sites_state(&w, 0) != HVREPL_STATE_INITIAL_IN_PROGRESS;
	     k++)
		sites_settle(&w, 1);
	begin(0, HVREPL_OPERATION_CANCEL);
	sites_settle(&w, 2000);
	ck_assert_uint_eq(sites_state(&w, 0), HVREPL_STATE_READY_FOR_INITIAL);
	show_it(1);
	sites_settle(&w, 2000);
	ck_assert_uint_eq(sites_state(&w, 0), HVREPL_STATE_WAITING_FOR_RESYNC);
	begin(0, HVREPL_OPERATION_RESYNC);
	expect_both(1, &held);
}
END_TEST

/* The next cut of A, which B's storage takes and says that it failed. */
static struct hvri_point hide_next_cut(void)
{
	begin(0, HVREPL_OPERATION_CUT_NOW);
	return hide_next_point(1);
}

/* A is brought back to just before that cut, within its epoch, and names one of its
 * own before B finds the other: at a number that A had reserved, and so beyond it. */
START_TEST(a_cut_of_before_its_owner_was_brought_back_is_compared)
{
	const struct hvri_record *a = &w.site[0].r.record;
	struct hvri_point held;

	sites_replicating(&w);
	sites_write(&w, 0);
	sites_backup(&w, 0);
	held = hide_next_cut();
	ck_assert_uint_lt(w.site[0].backup.last_cut.number, held.number);
	sites_restore(&w, 0);
	sites_connect(&w);
	sites_settle(&w, 4000);
	ck_assert(!a->rolled_back && !a->untrusted);
	begin(0, HVREPL_OPERATION_CUT_NOW);
	find_it(1);
	ck_assert_uint_eq(w.site[1].r.record.position.number, held.number);
	ck_assert_uint_gt(a->last_cut.number, held.number);
	for (int k = 0; k < 4000 && !a->untrusted; k++)
		sites_settle(&w, 1);
	ck_assert(a->untrusted);
	expect_both(1, &held);
}
END_TEST

/* What A gave up since it was started it knows: nothing is compared. Of what B took in
 * before the newest few it may not, and compares. */
START_TEST(a_cut_that_was_given_up_is_known_while_its_owner_runs)
{
	struct hvri_relationship *a = &w.site[0].r;
	struct hvri_point held, other;

	sites_replicating(&w);
	sites_write(&w, 0);
	held = hide_next_cut();
	other = held;
	for (int k = 0; k < _i; k++) {
		other.cut = sites_fresh(&w);
		hvri_begun_there(a, &other);
	}
	sites_connect(&w);
	sites_settle(&w, 4000);
	begin(0, HVREPL_OPERATION_CUT_NOW);
	find_it(1);
	for (int k = 0; k < 4000 && a->record.last_acked.number < held.number;
	     k++)
		sites_settle(&w, 1);
	ck_assert(hvri_uuid_equal(&a->record.last_acked.cut, &held.cut));
	ck_assert_int_eq(a->record.untrusted, _i >= (int)HVRI_BEGUN_MAX);
	expect_both(1, &held);
}
END_TEST

/* Under a failover to the point before it: found while that runs, or by a start. */
START_TEST(a_cancel_comes_back_to_a_point_that_was_found_under_the_failover)
{
	struct hvri_point held;

	sites_replicating(&w);
	held = hide_next_cut();
	ck_assert_int_eq(
		sites_operate(&w, 1, HVREPL_OPERATION_UNPLANNED,
			      w.site[1].r.record.position.number, NULL),
		HVREPL_OK);
	sites_settle(&w, 4000);
	ck_assert(w.site[1].gate);
	if (_i == 0) {
		show_it(1);
	} else {
		sites_crash(&w, 1);
		sites_start(&w, 1);
	}
	begin(1, HVREPL_OPERATION_CANCEL);
	sites_settle(&w, 4000);
	ck_assert_uint_eq(w.site[1].r.record.position.number, held.number);
	sites_connect(&w);
	expect_both(1, &held);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("found_late");
	TCase *tc = tcase_create("found_late");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(
		tc,
		a_first_point_that_is_found_in_another_epoch_ends_the_first_content);
	tcase_add_test(tc, a_window_that_is_found_in_another_epoch_is_no_point);
	tcase_add_test(tc, a_cut_that_was_not_begun_is_not_what_is_found);
	tcase_add_test(tc, a_first_point_is_known_whatever_failed_since);
	tcase_add_loop_test(
		tc, who_joins_is_asked_anew_about_a_point_that_is_found, 0, 2);
	tcase_add_test(
		tc, who_finds_a_point_in_a_later_session_of_its_compare_is_asked);
	tcase_add_test(
		tc,
		who_is_brought_back_to_before_it_adopted_its_disk_follows_all_the_same);
	tcase_add_loop_test(
		tc, who_is_brought_back_adopts_for_nobody_who_may_not_have_it_follow,
		0, HVRI_ARRAY_LEN(rights_of_b));
	tcase_add_test(
		tc, who_joins_by_a_first_content_is_compared_when_it_has_a_point);
	tcase_add_loop_test(
		tc, a_first_content_of_a_join_goes_on_in_the_next_session, 0, 30);
	tcase_add_test(
		tc,
		a_first_content_that_was_cancelled_is_none_any_more_over_a_point);
	tcase_add_test(tc, a_cut_of_before_its_owner_was_brought_back_is_compared);
	tcase_add_loop_test(tc,
			    a_cut_that_was_given_up_is_known_while_its_owner_runs,
			    (int)HVRI_BEGUN_MAX - 1, (int)HVRI_BEGUN_MAX + 1);
	tcase_add_loop_test(
		tc,
		a_cancel_comes_back_to_a_point_that_was_found_under_the_failover,
		0, 2);
	tcase_add_test(tc, a_first_content_ends_where_the_other_site_joins_no_more);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
