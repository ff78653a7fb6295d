/* SPDX-License-Identifier: Apache-2.0 */
/* A peer that is let in and says what no honest one would: what it cannot do by that. */
#include "replication/relationship.h"

#include "base/env.h"

#include <hvrepl/store.h>

#include "replication/lineage.h"
#define SITES_SEED 5
#include "sitesrig.h"

#include <string.h>

#define NO_VERB 0u

/* What the site would start from again. */
static void expect_a_record_that_is_kept(uint32_t site)
{
	static uint8_t bytes[HVRI_RECORD_ENCODED_MAX];
	static struct hvri_record again;
	const struct hvri_record *rec = &w.site[site].r.record;
	size_t length = 0;

	ck_assert_int_eq(hvri_record_encode(rec, bytes, sizeof(bytes), &length),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_record_decode(bytes, length, &again), HVREPL_OK);
	ck_assert_ptr_nonnull(hvri_lineage_look(&again.lineage, &again.current));
}

/* As it comes over the wire: no message, if it does not come in. */
static bool hears(uint32_t site, const struct hvri_message *m, uint32_t verbs)
{
	static uint8_t bytes[HVRI_MESSAGE_ENCODED_MAX];
	static struct hvri_message_storage storage;
	struct hvri_message in;
	size_t length = 0;

	ck_assert_int_eq(hvri_message_encode(m, bytes, sizeof(bytes), &length),
			 HVREPL_OK);
	if (hvri_message_decode(bytes, length, &storage, &in) < 0)
		return false;
	sites_step(&w, site, &in, verbs, &u);
	ck_assert(!u.overflow);
	w.site[site].told_health = w.site[site].r.shown_health;
	return true;
}

/* HELLO of the other site, as it said it last, to be changed. */
static struct hvri_message hello_to(uint32_t site, struct hvri_claim *claim)
{
	struct hvri_message m = sites_message_to(&w, site, HVRI_MESSAGE_HELLO);

	*claim = w.site[!site].r.claim_out;
	m.claim = claim;
	m.number = ++w.site[!site].r.hellos_sent;
	return m;
}

static struct hvri_epoch *add(struct hvri_lineage *lineage,
			      const struct hvrepl_uuid *parent,
			      const struct hvrepl_uuid *owner)
{
	struct hvri_epoch epoch = { .id = sites_fresh(&w), .parent = *parent,
				    .owner = *owner };

	epoch.ordinal = hvri_lineage_next_ordinal(lineage);
	epoch.entered = true;
	ck_assert_int_eq(hvri_lineage_add(lineage, &epoch), HVREPL_OK);
	return &lineage->epochs[lineage->count - 1];
}

/* It tells of an epoch whose parent nobody knows, and then makes that parent its
 * child: a walk to the root would never end, and the record not be read again. */
START_TEST(no_epoch_becomes_its_own_ancestor)
{
	static const uint32_t types[] = { HVRI_MESSAGE_HANDOVER_CHECK,
					  HVRI_MESSAGE_CANCEL_REQUEST,
					  HVRI_MESSAGE_GRANT,
					  HVRI_MESSAGE_HANDOVER_REQUEST };
	static struct hvri_claim claim;

	for (uint32_t i = 0; i < HVRI_ARRAY_LEN(types); i++) {
		uint32_t to = types[i] == HVRI_MESSAGE_HANDOVER_REQUEST ? 0 : 1;
		struct hvri_record *rec = &w.site[to].r.record;
		struct hvrepl_uuid nobody = sites_fresh(&w);
		struct hvri_message m = hello_to(to, &claim);
		struct hvri_epoch *child = add(&claim.lineage, &nobody, &rec->peer);

		ck_assert(hears(to, &m, NO_VERB));
		ck_assert_ptr_nonnull(hvri_lineage_look(&rec->lineage, &child->id));
		m = sites_message_to(&w, to, types[i]);
		m.u.handover.epoch = nobody;
		m.u.handover.parent = rec->current;
		m.u.handover.ordinal = child->ordinal + 1;
		m.u.handover.point = rec->position.number;
		ck_assert(hears(to, &m, 0xf));
		ck_assert_ptr_null(hvri_lineage_look(&rec->lineage, &nobody));
		expect_a_record_that_is_kept(to);
		/* Nor is it the root of all that gets a parent. */
		hvri_lineage_find(&rec->lineage, &rec->current)->parent = nobody;
		m.u.handover.ordinal = 9;
		ck_assert(hears(to, &m, 0xf));
		ck_assert_ptr_null(hvri_lineage_look(&rec->lineage, &nobody));
		expect_a_record_that_is_kept(to);
		memset(&hvri_lineage_find(&rec->lineage, &rec->current)->parent, 0,
		       sizeof(nobody));
	}
}
END_TEST

static struct hvri_message cut_to(uint32_t site)
{
	struct hvri_message m = sites_message_to(&w, site, HVRI_MESSAGE_CUT_BEGIN);
	const struct hvri_record *rec = &w.site[site].r.record;

	m.u.cut.kind = HVRI_CUT_DELTA;
	m.u.cut.closed = true;
	m.u.cut.from = rec->position;
	m.u.cut.point = rec->position;
	m.u.cut.point.number++;
	m.u.cut.point.cut = sites_fresh(&w);
	m.u.cut.frontier.disk = rec->disk_count;
	return m;
}

static bool begins_to_receive(void)
{
	for (uint32_t i = 0; i < u.action_count; i++)
		if (u.actions[i].type == HVRI_ACTION_RECEIVE)
			return true;
	return false;
}

/* "Of no epoch" is not the one that is joined where none is. */
START_TEST(a_point_of_no_epoch_is_not_taken_in)
{
	struct hvri_message m = cut_to(1);

	ck_assert(hears(1, &m, 0xf));
	ck_assert(begins_to_receive());
	m = cut_to(1);
	memset(&m.u.cut.point.epoch, 0, sizeof(m.u.cut.point.epoch));
	ck_assert(!hears(1, &m, 0xf) || !begins_to_receive());
	/* The step says so by itself, too. */
	sites_step(&w, 1, &m, 0xf, &u);
	ck_assert(!begins_to_receive());
	m = cut_to(1);
	memset(&m.u.cut.point.cut, 0, sizeof(m.u.cut.point.cut));
	ck_assert(!hears(1, &m, 0xf));
}
END_TEST

/* An operator chooses points by their numbers. */
START_TEST(a_number_that_was_given_is_not_given_to_another_point)
{
	struct hvri_message m = cut_to(1);

	m.u.cut.point.number = m.u.cut.from.number;
	ck_assert(!hears(1, &m, 0xf));
	m.u.cut.point.number--;
	ck_assert(m.u.cut.point.number == 0 || !hears(1, &m, 0xf));
}
END_TEST

/* The owner had the VM enabled here in an epoch that is not committed. The site that
 * failed over goes on with what its guest wrote, whatever becomes of that epoch. */
START_TEST(who_failed_over_loses_nothing_by_what_is_said_of_epochs_before)
{
	static struct hvri_claim claim;
	struct hvri_relationship *b = &w.site[1].r;
	struct hvrepl_uuid root = b->record.current, mine;
	struct hvri_message m;

	hvri_lineage_find(&b->record.lineage, &root)->outcome =
		HVREPL_OUTCOME_OPEN;
	sites_cut_link(&w);
	begin(1, HVREPL_OPERATION_UNPLANNED);
	sites_settle(&w, 2000);
	ck_assert(w.site[1].gate && b->armed);
	sites_write(&w, 1);
	mine = b->record.current;
	b->session = b->greeted = true;
	m = hello_to(1, &claim);
	hvri_lineage_find(&claim.lineage, &root)->outcome =
		HVREPL_OUTCOME_ABANDONED;
	ck_assert(hears(1, &m, NO_VERB));
	for (uint32_t i = 0; i < u.action_count; i++) {
		ck_assert_uint_ne(u.actions[i].type, HVRI_ACTION_DROP_OVERLAY);
		ck_assert_uint_ne(u.actions[i].type, HVRI_ACTION_FENCE);
	}
	ck_assert(hvri_uuid_equal(&b->record.current, &mine));
	ck_assert_uint_eq(b->record.ownership, HVREPL_OWNERSHIP_OWNER);
	ck_assert(!hvri_lineage_dead(&b->record.lineage, &mine));
	ck_assert(b->armed);
	b->session = b->greeted = false;
}
END_TEST

/* Whatever it fills this site's history with, an operator here can go on alone. */
START_TEST(a_history_that_a_peer_fills_leaves_room_for_a_failover)
{
	static struct hvri_claim claim;
	struct hvri_record *rec = &w.site[1].r.record;
	struct hvri_message m;

	for (uint32_t i = 0; i < 2 * HVRI_EPOCHS_MAX; i++) {
		m = sites_message_to(&w, 1, i % 2 ? HVRI_MESSAGE_CANCEL_REQUEST :
						    HVRI_MESSAGE_HANDOVER_CHECK);
		m.u.handover.epoch = sites_fresh(&w);
		m.u.handover.parent = rec->current;
		m.u.handover.ordinal = 10 + i;
		ck_assert(hears(1, &m, 0xf));
	}
	for (uint32_t i = 0; i < 2 * HVRI_EPOCHS_MAX; i++) {
		m = hello_to(1, &claim);
		(void)add(&claim.lineage, &rec->current, &rec->peer);
		ck_assert(hears(1, &m, 0xf));
	}
	ck_assert_uint_gt(rec->lineage.count, HVRI_EPOCHS_MAX - 16);
	expect_a_record_that_is_kept(1);
	sites_cut_link(&w);
	begin(1, HVREPL_OPERATION_UNPLANNED);
	sites_settle(&w, 2000);
	ck_assert(w.site[1].gate);
	begin(1, HVREPL_OPERATION_CANCEL);
	sites_settle(&w, 2000);
	begin(1, HVREPL_OPERATION_UNPLANNED);
	sites_settle(&w, 2000);
	ck_assert(w.site[1].gate);
	expect_a_record_that_is_kept(1);
}
END_TEST

/* Known by heart who wrote what: the newest of the peer says that this record is of a
 * backup, and that all before it was given up. */
START_TEST(nobody_is_told_that_there_is_nothing_to_go_on_from)
{
	static struct hvri_claim claim;
	static struct hvri_record before;

	for (uint32_t to = 0; to < 2; to++) {
		struct hvri_relationship *r = &w.site[to].r;
		struct hvri_message m = hello_to(to, &claim);

		before = r->record;
		claim.seen_id = r->record.id;
		claim.seen_generation = HVRI_COUNTER_MAX;
		add(&claim.lineage, &r->record.current, &r->record.site);
		hvri_lineage_find(&claim.lineage, &r->record.current)->outcome =
			HVREPL_OUTCOME_ABANDONED;
		ck_assert(hears(to, &m, NO_VERB));
		ck_assert(!hvri_lineage_dead(&r->record.lineage,
					     &r->record.current));
		ck_assert_uint_eq(r->record.ownership, before.ownership);
		ck_assert(!r->record.rolled_back);
		expect_a_record_that_is_kept(to);
	}
	sites_cut_link(&w);
	ck_assert(w.site[0].gate && w.site[0].r.armed);
	begin(1, HVREPL_OPERATION_UNPLANNED);
	sites_settle(&w, 2000);
	ck_assert(w.site[1].gate);
}
END_TEST

static void set_up_unmet(void)
{
	sites_init(&w, 6);
	sites_connect(&w);
}

/* ENABLE of a peer, with its policy, in an epoch that this has become of. */
static uint32_t disks = 1, block = 4096;

static void enable(const struct hvri_policy *policy, uint8_t outcome)
{
	static struct hvri_claim claim;
	static struct hvri_setup setup;
	struct hvri_relationship *b = &w.site[1].r;
	struct hvri_message m = sites_message_to(&w, 1, HVRI_MESSAGE_ENABLE);

	memset(&claim, 0, sizeof(claim));
	memset(&setup, 0, sizeof(setup));
	setup.vm = b->record.vm;
	setup.policy = *policy;
	setup.disk_count = disks;
	setup.disks[0].id = sites_fresh(&w);
	setup.disks[0].size = 1 << 20;
	setup.disks[0].block_size = block;
	setup.disks[1] = setup.disks[0];
	claim.site = w.site[0].r.record.site;
	claim.current = sites_fresh(&w);
	claim.lineage.count = 1;
	claim.lineage.epochs[0] = (struct hvri_epoch){
		.id = claim.current, .owner = claim.site, .ordinal = 1,
		.outcome = outcome, .entered = true,
	};
	m.claim = &claim;
	m.setup = &setup;
	ck_assert(hears(1, &m, 0xf));
}

/* The replica is made: with which. */
static const struct hvri_policy *enabled_with(const struct hvri_policy *policy)
{
	struct hvri_relationship *b = &w.site[1].r;

	enable(policy, HVREPL_OUTCOME_COMMITTED);
	ck_assert_uint_eq(u.action_count, 1);
	ck_assert_uint_eq(u.actions[0].type, HVRI_ACTION_CREATE_REPLICA);
	b->pending.create = 0;
	return &b->record.policy;
}

START_TEST(no_replica_is_made_of_disks_that_cannot_be)
{
	const struct hvri_policy usual = { .cycle_ns = HVRI_CYCLE_MIN_NS };
	static const uint32_t blocks[] = { 0, 4095, UINT32_C(1) << 21,
					   UINT32_MAX };

	for (uint32_t i = 0; i < HVRI_ARRAY_LEN(blocks); i++) {
		block = blocks[i];
		enable(&usual, HVREPL_OUTCOME_COMMITTED);
		ck_assert_uint_eq(u.action_count, 0);
	}
	block = 4096;
	disks = 2; /* By one id. */
	enable(&usual, HVREPL_OUTCOME_COMMITTED);
	ck_assert_uint_eq(u.action_count, 0);
	disks = 1;
	enable(&usual, HVREPL_OUTCOME_COMMITTED);
	ck_assert_uint_eq(u.action_count, 1);
}
END_TEST

START_TEST(no_replica_is_made_in_an_epoch_that_was_given_up)
{
	const struct hvri_policy usual = { .cycle_ns = HVRI_CYCLE_MIN_NS };

	enable(&usual, HVREPL_OUTCOME_ABANDONED);
	ck_assert_uint_eq(u.action_count, 0);
	enable(&usual, HVREPL_OUTCOME_OPEN);
	ck_assert_uint_eq(u.action_count, 1);
}
END_TEST

START_TEST(a_peers_policy_is_no_other_than_an_operator_here_could_set)
{
	struct hvri_policy wrong = { .cycle_ns = UINT64_MAX,
				     .start_wait_ns = UINT64_MAX,
				     .points_max = UINT32_MAX,
				     .fence_diverged = true };
	const struct hvri_policy *kept = enabled_with(&wrong);

	ck_assert_uint_eq(kept->cycle_ns, HVRI_CYCLE_MAX_NS);
	ck_assert_uint_le(kept->start_wait_ns, HVRI_CYCLE_MAX_NS);
	ck_assert_uint_eq(kept->points_max, HVREPL_POINTS_MAX);
	/* Nobody here asked for that: it would fence who writes here. */
	ck_assert(!kept->fence_diverged);
	wrong.cycle_ns = 1;
	kept = enabled_with(&wrong);
	ck_assert_uint_eq(kept->cycle_ns, HVRI_CYCLE_MIN_NS);
	wrong.cycle_ns = 0;
	kept = enabled_with(&wrong);
	ck_assert_uint_ge(kept->cycle_ns, UINT64_C(1000000000));
}
END_TEST

/* A time beyond the end of the clock is never, and not at once. */
START_TEST(a_timer_does_not_wrap)
{
	struct hvri_event e;

	memset(&e, 0, sizeof(e));
	e.type = HVRI_EVENT_CYCLE_SET;
	e.now_ns = w.env.now_ns;
	e.u.cycle_ns = UINT64_MAX - 1;
	hvri_relationship_step(&w.site[0].r, &e, &u);
	ck_assert_uint_eq(u.timer_count, 1);
	ck_assert_uint_eq(u.timers[0].at_ns, UINT64_MAX);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hostile");
	TCase *tc = tcase_create("replicating"), *unmet = tcase_create("unmet");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, no_epoch_becomes_its_own_ancestor);
	tcase_add_test(tc, a_point_of_no_epoch_is_not_taken_in);
	tcase_add_test(tc, a_number_that_was_given_is_not_given_to_another_point);
	tcase_add_test(tc,
		       who_failed_over_loses_nothing_by_what_is_said_of_epochs_before);
	tcase_add_test(tc, a_history_that_a_peer_fills_leaves_room_for_a_failover);
	tcase_add_test(tc, nobody_is_told_that_there_is_nothing_to_go_on_from);
	tcase_add_test(tc, a_timer_does_not_wrap);
	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(unmet, set_up_unmet, tear_down);
	tcase_add_test(unmet,
		       a_peers_policy_is_no_other_than_an_operator_here_could_set);
	tcase_add_test(unmet, no_replica_is_made_of_disks_that_cannot_be);
	tcase_add_test(unmet, no_replica_is_made_in_an_epoch_that_was_given_up);
	suite_add_tcase(suite, unmet);
	return test_run(suite);
}
