/* SPDX-License-Identifier: Apache-2.0 */
/* What ends after the relationship went on: points found late, adoptions that an
 * operator overtook. */
#include "replication/relationship.h"

#include "base/env.h"
#include "replication/lineage.h"

#define SITES_SEED 5
#include "sitesrig.h"

#include <string.h>

static const struct hvri_action *action(uint32_t type)
{
	for (uint32_t i = 0; i < u.action_count; i++)
		if (u.actions[i].type == type)
			return &u.actions[i];
	return NULL;
}

static const struct hvri_message *sent(uint32_t type)
{
	for (uint32_t i = 0; i < u.send_count; i++)
		if (u.sends[i].type == type)
			return &u.sends[i];
	return NULL;
}

/* A cut after the newest point begins, and fails as if nothing of it had come. */
static struct hvri_point fail_a_cut(struct hvri_relationship *r)
{
	struct hvri_point point = r->record.position;
	struct hvri_event e;

	memset(&e, 0, sizeof(e));
	point.number++;
	point.cut = sites_fresh(&w);
	r->receiving.point = point;
	r->receiving.from = r->record.position;
	r->receiving.kind = HVRI_CUT_DELTA;
	e.type = HVRI_EVENT_RECEIVE_FAILED;
	e.u.data.cut = point.cut;
	e.u.data.code = HVREPL_E_STORAGE_IO;
	sites_feed(&w, 1, &e);
	ck_assert_uint_eq(r->receiving.point.number, 0);
	return point;
}

/* Its store was opened again only after another cut had failed, too. */
START_TEST(a_point_that_is_there_after_all_is_known_whatever_failed_since)
{
	struct hvri_relationship *r = &w.site[1].r;
	struct hvri_point there;
	struct hvri_event e;

	sites_cut_link(&w);
	there = fail_a_cut(r);
	for (int i = 0; i < _i; i++)
		(void)fail_a_cut(r);
	memset(&e, 0, sizeof(e));
	e.type = HVRI_EVENT_POINT_COMPLETE;
	e.u.data.cut = there.cut;
	e.u.data.found = there;
	sites_feed(&w, 1, &e);
	ck_assert_uint_eq(r->record.position.number, there.number);
	ck_assert(hvri_uuid_equal(&r->record.position.cut, &there.cut));
	/* Once: what is older is no news. */
	there = r->record.position;
	e.u.data.found.number--;
	e.u.data.found.cut = e.u.data.cut = sites_fresh(&w);
	sites_feed(&w, 1, &e);
	ck_assert_uint_eq(r->record.position.number, there.number);
	ck_assert(hvri_uuid_equal(&r->record.position.cut, &there.cut));
}
END_TEST

/* It is what the store says, of whatever epoch: where the disk is not the store's, it is
 * about nothing. */
START_TEST(a_point_of_another_epoch_is_taken_where_the_store_is_what_counts)
{
	struct hvri_relationship *r = &w.site[1].r;
	uint8_t form = (uint8_t)(_i / HVRI_PHASE_COUNT);
	uint8_t phase = (uint8_t)(_i % HVRI_PHASE_COUNT);
	uint64_t before = r->record.position.number;
	struct hvri_event e;

	sites_cut_link(&w);
	r->record.form = form;
	r->record.phase = phase;
	memset(&e, 0, sizeof(e));
	e.type = HVRI_EVENT_POINT_COMPLETE;
	e.u.data.found = r->record.position;
	e.u.data.found.number++;
	e.u.data.found.epoch = sites_fresh(&w);
	e.u.data.found.cut = e.u.data.cut = sites_fresh(&w);
	sites_feed(&w, 1, &e);
	ck_assert_uint_eq(r->record.position.number,
			  before + ((form == HVRI_FORM_STORE &&
				     phase == HVRI_PHASE_INITIAL) ||
				    ((form == HVRI_FORM_STORE ||
				      form == HVRI_FORM_OVERLAY) &&
				     (phase == HVRI_PHASE_DELTA ||
				      phase == HVRI_PHASE_FAILED_OVER))));
}
END_TEST

/* The store has its first point, and its record ended before that said so. */
START_TEST(a_first_point_found_at_a_start_ends_the_windows_as_any_other)
{
	struct one_site *site = &w.site[1];
	struct hvri_record *rec = &site->r.record;
	uint64_t held = rec->position.number;

	sites_crash(&w, 1);
	site->durable.phase = HVRI_PHASE_INITIAL;
	site->durable.last_cut = site->durable.position;
	site->durable.last_cut.number++;
	site->durable.last_cut.cut = sites_fresh(&w);
	memset(&site->durable.position, 0, sizeof(site->durable.position));
	sites_start(&w, 1);
	for (int i = 0; i < 2; i++) {
		const struct hvri_record *at = i == 0 ? rec : &site->durable;

		ck_assert_uint_eq(at->phase, HVRI_PHASE_DELTA);
		ck_assert_uint_eq(at->position.number, held);
		ck_assert_uint_eq(at->last_cut.number, 0);
	}
	sites_connect(&w);
	sites_settle(&w, 4000);
	sites_wait(&w, UINT64_C(5000000000));
	ck_assert(sites_is_replicating(&w));
	ck_assert_ptr_null(w.broken);
}
END_TEST

/* Suspended in the midst of a cut, and offered the same one again: that is not one that
 * was left and is found. Said to be, it would not make right what it was to make right. */
START_TEST(a_cut_offered_again_after_a_suspend_is_received_as_any_other)
{
	struct hvri_relationship *r = &w.site[1].r;
	struct hvri_message m = sites_message_to(&w, 1, HVRI_MESSAGE_CUT_BEGIN);
	struct hvri_event e;

	/* It follows a compare. */
	r->record.untrusted = true;
	m.u.cut.kind = HVRI_CUT_DELTA;
	m.u.cut.closed = true;
	m.u.cut.from = m.u.cut.point = r->record.position;
	m.u.cut.point.number++;
	m.u.cut.point.cut = sites_fresh(&w);
	m.u.cut.frontier.disk = r->record.disk_count;
	for (int round = 0; round < 2; round++) {
		sites_step(&w, 1, &m, 0xf, &u);
		memset(&e, 0, sizeof(e));
		e.type = HVRI_EVENT_DONE;
		ck_assert_ptr_nonnull(action(HVRI_ACTION_RECEIVE));
		e.u.done.token = action(HVRI_ACTION_RECEIVE)->token;
		hvri_relationship_step(r, &e, &u);
		ck_assert_ptr_nonnull(sent(HVRI_MESSAGE_CUT_ACCEPT));
		if (round > 0)
			break;
		ck_assert_int_eq(sites_operate(&w, 1, HVREPL_OPERATION_SUSPEND,
					       0, NULL),
				 HVREPL_OK);
		ck_assert_uint_eq(r->receiving.point.number, 0);
		ck_assert_int_eq(sites_operate(&w, 1, HVREPL_OPERATION_RESUME,
					       0, NULL),
				 HVREPL_OK);
	}
	memset(&e, 0, sizeof(e));
	e.type = HVRI_EVENT_POINT_COMPLETE;
	e.u.data.cut = m.u.cut.point.cut;
	hvri_relationship_step(r, &e, &u);
	ck_assert_ptr_null(sent(HVRI_MESSAGE_CUT_DECLINE));
	ck_assert_ptr_null(action(HVRI_ACTION_STOP_RECEIVE));
	ck_assert_ptr_nonnull(sent(HVRI_MESSAGE_DURABLE));
	ck_assert(hvri_uuid_equal(&r->record.position.cut,
				  &m.u.cut.point.cut));
	ck_assert(!r->record.untrusted);
}
END_TEST

static struct hvri_message join_of(const struct hvrepl_uuid *epoch)
{
	struct hvri_message m = sites_message_to(&w, 0, HVRI_MESSAGE_JOIN);

	m.u.join.epoch = *epoch;
	return m;
}

/* A hands over, begins to become a replica, and fails over before its disk is one:
 * the next join stands on what the disk is then, not on what was begun. */
START_TEST(an_adoption_of_an_older_join_is_not_what_the_next_one_stands_on)
{
	struct hvri_relationship *r = &w.site[0].r;
	struct hvri_event done;
	struct hvri_message m;
	const struct hvri_action *begun;
	struct hvrepl_uuid epoch;

	ck_assert_int_eq(sites_operate(&w, 0, HVREPL_OPERATION_PLANNED, 0, NULL),
			 HVREPL_OK);
	sites_settle(&w, 4000);
	ck_assert_uint_eq(r->record.ownership, HVREPL_OWNERSHIP_STANDBY);
	ck_assert_int_eq(sites_operate(&w, 1, HVREPL_OPERATION_COMMIT, 0, NULL),
			 HVREPL_OK);
	sites_settle(&w, 4000);
	epoch = w.site[1].r.record.current;
	m = join_of(&epoch);
	sites_step(&w, 0, &m, 0xf, &u);
	begun = action(HVRI_ACTION_ADOPT);
	ck_assert_ptr_nonnull(begun);
	ck_assert(!begun->pin);
	memset(&done, 0, sizeof(done));
	done.type = HVRI_EVENT_DONE;
	done.u.done.token = begun->token;
	/* Cut off, an operator fails over to the disk as it is. */
	sites_cut_link(&w);
	ck_assert_int_eq(sites_operate(&w, 0, HVREPL_OPERATION_UNPLANNED, 0,
				       NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(r->record.ownership, HVREPL_OWNERSHIP_OWNER);
	sites_connect(&w);
	sites_settle(&w, 4000);
	ck_assert_uint_eq(r->record.ownership, HVREPL_OWNERSHIP_SUPERSEDED);
	m = join_of(&epoch);
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert(hvri_uuid_equal(&r->record.joining, &epoch));
	sites_feed(&w, 0, &done);
	ck_assert_uint_eq(r->record.form, HVRI_FORM_LIVE);
	ck_assert(!r->record.adopted);
	sites_settle(&w, 4000);
	/* Its own end is the point that it stands on. */
	ck_assert_uint_eq(r->record.form, HVRI_FORM_STORE);
	ck_assert_uint_ne(r->record.tail.number, 0);
	ck_assert_ptr_null(w.broken);
}
END_TEST

/* A request that comes again after its handover was given up begins nothing. */
START_TEST(a_handover_that_was_given_up_is_not_begun_by_its_request_again)
{
	struct hvri_relationship *r = &w.site[0].r;
	struct hvri_message m =
		sites_message_to(&w, 0, HVRI_MESSAGE_HANDOVER_REQUEST);

	m.u.handover.epoch = sites_fresh(&w);
	m.u.handover.parent = r->record.current;
	m.u.handover.ordinal = hvri_lineage_next_ordinal(&r->record.lineage);
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert_uint_eq(r->handover_stage, HVRI_HANDOVER_CHECKING);
	/* On its way, it answers for itself. */
	sites_step(&w, 0, &m, 0xf, &u);
	for (uint32_t i = 0; i < u.send_count; i++)
		ck_assert_uint_ne(u.sends[i].type, HVRI_MESSAGE_ANSWER);
	ck_assert_int_eq(sites_operate(&w, 0, HVREPL_OPERATION_CANCEL, 0, NULL),
			 HVREPL_OK);
	sites_settle(&w, 4000);
	ck_assert_uint_eq(r->handover_stage, HVRI_HANDOVER_NONE);
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert_uint_eq(r->handover_stage, HVRI_HANDOVER_NONE);
	ck_assert_uint_eq(r->record.job.id, 0);
	ck_assert_uint_eq(u.action_count, 0);
	ck_assert_uint_eq(u.send_count, 1);
	ck_assert_uint_eq(u.sends[0].type, HVRI_MESSAGE_ANSWER);
	ck_assert_int_eq(u.sends[0].answer.code, HVREPL_E_CANCELLED);
	ck_assert(hvri_lineage_dead(&r->record.lineage, &m.u.handover.epoch));
}
END_TEST

/* B fails over before the grant comes, and does not say yet that it refuses it: A is
 * superseded and goes on to hold what it gave away, until it hears. */
START_TEST(what_was_handed_over_stays_so_until_the_other_site_has_answered)
{
	struct hvri_record *rec = &w.site[0].r.record;
	struct hvri_record *peer = &w.site[1].r.record;
	struct hvrepl_uuid given;
	struct hvri_epoch *child;
	int k = 0;

	ck_assert_int_eq(sites_operate(&w, 0, HVREPL_OPERATION_PLANNED, 0, NULL),
			 HVREPL_OK);
	for (; k < 4000 && rec->ownership != HVREPL_OWNERSHIP_RELINQUISHED; k++)
		sites_settle(&w, 1);
	given = rec->relinquished;
	ck_assert(!hvri_uuid_is_none(&given));
	sites_cut_link(&w);
	ck_assert_int_eq(sites_operate(&w, 1, HVREPL_OPERATION_UNPLANNED, 0,
				       NULL),
			 HVREPL_OK);
	sites_settle(&w, 4000);
	child = hvri_lineage_find(&peer->lineage, &given);
	ck_assert_ptr_nonnull(child);
	ck_assert_uint_eq(child->outcome, HVREPL_OUTCOME_REFUSED);
	child->outcome = HVREPL_OUTCOME_OPEN;
	sites_connect(&w);
	for (k = 0; k < 4000 && rec->ownership != HVREPL_OWNERSHIP_SUPERSEDED;
	     k++)
		sites_settle(&w, 1);
	ck_assert_uint_eq(rec->ownership, HVREPL_OWNERSHIP_SUPERSEDED);
	ck_assert(hvri_uuid_equal(&rec->relinquished, &given));
	sites_settle(&w, 4000);
	ck_assert(hvri_uuid_equal(&rec->relinquished, &given));
	hvri_lineage_find(&peer->lineage, &given)->outcome =
		HVREPL_OUTCOME_REFUSED;
	sites_cut_link(&w);
	sites_connect(&w);
	sites_settle(&w, 4000);
	ck_assert(hvri_uuid_is_none(&rec->relinquished));
	ck_assert_ptr_null(w.broken);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("overtaken");
	TCase *tc = tcase_create("overtaken");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(
		tc, a_point_that_is_there_after_all_is_known_whatever_failed_since,
		0, 3);
	tcase_add_loop_test(
		tc, a_point_of_another_epoch_is_taken_where_the_store_is_what_counts,
		0, HVRI_FORM_COUNT * HVRI_PHASE_COUNT);
	tcase_add_test(tc,
		       a_first_point_found_at_a_start_ends_the_windows_as_any_other);
	tcase_add_test(tc,
		       a_cut_offered_again_after_a_suspend_is_received_as_any_other);
	tcase_add_test(
		tc, an_adoption_of_an_older_join_is_not_what_the_next_one_stands_on);
	tcase_add_test(
		tc, a_handover_that_was_given_up_is_not_begun_by_its_request_again);
	tcase_add_test(
		tc, what_was_handed_over_stays_so_until_the_other_site_has_answered);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
