/* SPDX-License-Identifier: Apache-2.0 */
/* Ancestry, outcomes, merging and pruning of epochs. */
#include "replication/lineage.h"

#include "testing.h"

#include <string.h>

static struct hvrepl_uuid id(uint32_t n)
{
	struct hvrepl_uuid u;

	memset(&u, 0, sizeof(u));
	memcpy(u.bytes, &n, sizeof(n));
	return u;
}

static struct hvri_epoch epoch(uint32_t n, uint32_t parent, uint64_t fork,
			       uint32_t owner)
{
	struct hvri_epoch e;

	memset(&e, 0, sizeof(e));
	e.id = id(n);
	e.parent = id(parent);
	e.ordinal = n;
	e.fork_point = fork;
	e.owner = id(owner);
	e.entered = true;
	return e;
}

/* 1 - 2 - 4 and 1 - 3 */
static void tree(struct hvri_lineage *l)
{
	struct hvri_epoch e[] = {
		epoch(1, 0, 0, 100),
		epoch(2, 1, 10, 200),
		epoch(3, 1, 12, 100),
		epoch(4, 2, 8, 100),
	};

	memset(l, 0, sizeof(*l));
	for (size_t i = 0; i < HVRI_ARRAY_LEN(e); i++)
		ck_assert_int_eq(hvri_lineage_add(l, &e[i]), HVREPL_OK);
}

static bool on_path(const struct hvri_lineage *l, uint32_t a, uint32_t b)
{
	struct hvrepl_uuid ida = id(a), idb = id(b);

	return hvri_lineage_on_path(l, &ida, &idb);
}

START_TEST(paths_lead_to_the_root_and_nowhere_else)
{
	struct hvri_lineage l;
	struct hvrepl_uuid two = id(2), three = id(3), four = id(4), common;
	struct hvrepl_uuid one = id(1), unknown = id(9);

	tree(&l);
	ck_assert(on_path(&l, 4, 1) && on_path(&l, 4, 2) && on_path(&l, 4, 4));
	ck_assert(!on_path(&l, 4, 3) && !on_path(&l, 1, 4));
	ck_assert(!on_path(&l, 9, 1) && !on_path(&l, 4, 0));
	ck_assert(hvri_lineage_common(&l, &four, &three, &common));
	ck_assert(hvri_uuid_equal(&common, &one));
	ck_assert(hvri_lineage_common(&l, &four, &two, &common));
	ck_assert(hvri_uuid_equal(&common, &two));
	ck_assert(!hvri_lineage_common(&l, &four, &unknown, &common));
	/* 4 forks below where 2 forked: 1 is shared up to 8 only. */
	ck_assert_uint_eq(hvri_lineage_fork(&l, &one, &four), 8);
	ck_assert_uint_eq(hvri_lineage_fork(&l, &one, &two), 10);
	ck_assert_uint_eq(hvri_lineage_fork(&l, &one, &one), UINT64_MAX);
	ck_assert_uint_eq(hvri_lineage_next_ordinal(&l), 5);
}
END_TEST

START_TEST(an_outcome_is_final_and_kills_what_descends)
{
	struct hvri_lineage l;
	struct hvrepl_uuid two = id(2), three = id(3), four = id(4);

	tree(&l);
	hvri_lineage_decide(&l, &three, HVREPL_OUTCOME_COMMITTED);
	hvri_lineage_decide(&l, &three, HVREPL_OUTCOME_ABANDONED);
	ck_assert(!hvri_lineage_dead(&l, &three));
	hvri_lineage_decide(&l, &two, HVREPL_OUTCOME_REFUSED);
	ck_assert(hvri_lineage_dead(&l, &four));
	ck_assert(!hvri_lineage_dead(&l, &three));
}
END_TEST

START_TEST(a_peer_that_knows_more_of_our_epochs_is_noticed)
{
	struct hvri_lineage mine, theirs;
	struct hvrepl_uuid us = id(100), four = id(4);
	struct hvri_epoch e = epoch(5, 4, 20, 100);

	tree(&mine);
	tree(&theirs);
	ck_assert(!hvri_lineage_knows_more(&theirs, &mine, &us));
	/* News about epochs of others is just news. */
	e.owner = id(200);
	ck_assert_int_eq(hvri_lineage_add(&theirs, &e), HVREPL_OK);
	ck_assert(!hvri_lineage_knows_more(&theirs, &mine, &us));
	/* So is one offered to us that we never entered. */
	theirs.epochs[4].owner = us;
	theirs.epochs[4].entered = false;
	ck_assert(!hvri_lineage_knows_more(&theirs, &mine, &us));
	theirs.epochs[4].entered = true;
	ck_assert(hvri_lineage_knows_more(&theirs, &mine, &us));
	/* An outcome of ours. */
	tree(&theirs);
	hvri_lineage_decide(&theirs, &four, HVREPL_OUTCOME_COMMITTED);
	ck_assert(hvri_lineage_knows_more(&theirs, &mine, &us));
	/* One that we gave up before it was granted, and yet it was entered:
	 * what we granted we have forgotten. */
	tree(&mine);
	tree(&theirs);
	mine.epochs[1].entered = false;
	ck_assert(!hvri_lineage_knows_more(&theirs, &mine, &us));
	mine.epochs[3].entered = false;
	ck_assert(hvri_lineage_knows_more(&theirs, &mine, &us));
	mine.epochs[3].entered = true;
	mine.epochs[1].outcome = HVREPL_OUTCOME_ABANDONED;
	ck_assert(hvri_lineage_knows_more(&theirs, &mine, &us));
	tree(&mine);
	theirs.epochs[3].outcome = HVREPL_OUTCOME_COMMITTED;
	/* Ones that were pruned are no sign. */
	mine.floor = 5;
	mine.count = 3;
	ck_assert(!hvri_lineage_knows_more(&theirs, &mine, &us));
}
END_TEST

START_TEST(merging_takes_over_news_and_refuses_contradictions)
{
	struct hvri_lineage mine, theirs, before;
	struct hvri_epoch e = epoch(5, 4, 0, 200);
	struct hvrepl_uuid us = id(100);
	bool changed = false;

	tree(&mine);
	tree(&theirs);
	ck_assert_int_eq(hvri_lineage_merge(&mine, &theirs, &us, &changed),
			 HVREPL_OK);
	ck_assert(!changed);
	ck_assert_int_eq(hvri_lineage_add(&theirs, &e), HVREPL_OK);
	theirs.epochs[1].outcome = HVREPL_OUTCOME_COMMITTED;
	ck_assert_int_eq(hvri_lineage_merge(&mine, &theirs, &us, &changed),
			 HVREPL_OK);
	ck_assert(changed);
	ck_assert_uint_eq(mine.count, 5);
	ck_assert_uint_eq(mine.epochs[1].outcome, HVREPL_OUTCOME_COMMITTED);
	/* What came of an epoch of ours is not for others to say. */
	theirs.epochs[3].outcome = HVREPL_OUTCOME_ABANDONED;
	ck_assert_int_eq(hvri_lineage_merge(&mine, &theirs, &us, &changed),
			 HVREPL_OK);
	ck_assert_uint_eq(mine.epochs[3].outcome, HVREPL_OUTCOME_OPEN);
	/* The fork of a handover is known later. */
	theirs.epochs[4].fork_point = 33;
	ck_assert_int_eq(hvri_lineage_merge(&mine, &theirs, &us, &changed),
			 HVREPL_OK);
	ck_assert_uint_eq(mine.epochs[4].fork_point, 33);
	/* Another parent for an epoch we know. */
	before = mine;
	theirs.epochs[3].parent = id(3);
	ck_assert_int_eq(hvri_lineage_merge(&mine, &theirs, &us, &changed),
			 HVREPL_E_PROTOCOL);
	ck_assert_mem_eq(&mine, &before, sizeof(mine));
	/* A child older than its parent would make a circle possible. */
	tree(&theirs);
	e = epoch(6, 4, 0, 200);
	e.ordinal = 3;
	ck_assert_int_eq(hvri_lineage_add(&theirs, &e), HVREPL_E_PROTOCOL);
	theirs.epochs[theirs.count++] = e;
	ck_assert_int_eq(hvri_lineage_merge(&mine, &theirs, &us, &changed),
			 HVREPL_E_PROTOCOL);
	ck_assert_mem_eq(&mine, &before, sizeof(mine));
}
END_TEST

START_TEST(what_was_committed_stays_committed)
{
	struct hvri_lineage mine, theirs;
	struct hvrepl_uuid us = id(100);
	bool changed = false;

	/* The peer's own failover, which it commits; then it is brought back as
	 * it was before, and cancels it. */
	tree(&mine);
	tree(&theirs);
	mine.epochs[1].outcome = HVREPL_OUTCOME_COMMITTED;
	theirs.epochs[1].outcome = HVREPL_OUTCOME_ABANDONED;
	ck_assert_int_eq(hvri_lineage_merge(&mine, &theirs, &us, &changed),
			 HVREPL_OK);
	ck_assert(!changed);
	ck_assert_uint_eq(mine.epochs[1].outcome, HVREPL_OUTCOME_COMMITTED);
	/* The peer learns it: it knows by now that it was brought back. */
	us = id(0);
	ck_assert_int_eq(hvri_lineage_merge(&theirs, &mine, &us, &changed),
			 HVREPL_OK);
	ck_assert(changed);
	ck_assert_uint_eq(theirs.epochs[1].outcome, HVREPL_OUTCOME_COMMITTED);
	us = id(200);
	ck_assert(!hvri_lineage_knows_more(&mine, &theirs, &us));
}
END_TEST

/* Root 1 of 100, and `count` handovers to 200 that were given up. */
static void given_up(struct hvri_lineage *l, uint32_t count)
{
	struct hvri_epoch e = epoch(1, 0, 0, 100);

	memset(l, 0, sizeof(*l));
	ck_assert_int_eq(hvri_lineage_add(l, &e), HVREPL_OK);
	for (uint32_t n = 0; n < count; n++) {
		e = epoch(2 + n, 1, n % 2 == 0 ? 0 : 50 + n, 200);
		e.planned = true;
		e.entered = false;
		e.outcome = HVREPL_OUTCOME_ABANDONED;
		ck_assert_int_eq(hvri_lineage_add(l, &e), HVREPL_OK);
	}
}

START_TEST(handovers_that_came_to_nothing_are_forgotten_once_nobody_can_take_them)
{
	struct hvri_lineage giver, taker;
	struct hvrepl_uuid a = id(100), b = id(200), kept = id(2);
	bool changed = false;

	given_up(&giver, 100);
	given_up(&taker, 100);
	/* Who gives waits for the other, which waits to hear that it is so. */
	ck_assert(!hvri_lineage_forget(&giver, &taker, &a, 1000, NULL, 0));
	giver.epochs[5].outcome = HVREPL_OUTCOME_OPEN;
	ck_assert(hvri_lineage_forget(&taker, &giver, &b, 100, &kept, 1));
	/* The open one, one that is needed, and those whose final cut the
	 * standby has not passed. */
	ck_assert_ptr_nonnull(hvri_lineage_look(&taker, &giver.epochs[5].id));
	ck_assert_ptr_nonnull(hvri_lineage_look(&taker, &kept));
	for (uint32_t i = 0; i < taker.count; i++)
		ck_assert(i == 0 || taker.epochs[i].fork_point >= 100 ||
			  hvri_uuid_equal(&taker.epochs[i].id, &kept) ||
			  hvri_uuid_equal(&taker.epochs[i].id,
					  &giver.epochs[5].id));
	giver.epochs[5].outcome = HVREPL_OUTCOME_ABANDONED;
	/* They do not come back. */
	ck_assert_int_eq(hvri_lineage_merge(&taker, &giver, &b, &changed),
			 HVREPL_OK);
	ck_assert(!changed);
	ck_assert(hvri_lineage_forget(&giver, &taker, &a, 100, NULL, 0));
	ck_assert_uint_eq(giver.count, taker.count);
	/* Little used: nothing goes. */
	given_up(&giver, 20);
	memset(&taker, 0, sizeof(taker));
	ck_assert(!hvri_lineage_forget(&giver, &taker, &a, 1000, NULL, 0));
}
END_TEST

START_TEST(nearly_full_what_was_entered_and_given_up_goes_and_stays_away)
{
	struct hvri_lineage mine, theirs;
	struct hvrepl_uuid us = id(200), live = id(60), kept = id(70);
	bool changed = false;

	given_up(&mine, 120);
	for (uint32_t i = 1; i < mine.count; i++)
		mine.epochs[i].entered = true;
	hvri_lineage_find(&mine, &live)->outcome = HVREPL_OUTCOME_COMMITTED;
	theirs = mine;
	/* Not those that the peer does not know to be over. */
	for (uint32_t i = 1; i < theirs.count; i++)
		theirs.epochs[i].outcome = HVREPL_OUTCOME_OPEN;
	ck_assert(!hvri_lineage_squeeze(&mine, &theirs, 1000, NULL, 0));
	theirs = mine;
	ck_assert(hvri_lineage_squeeze(&mine, &theirs, 1000, &kept, 1));
	ck_assert_uint_eq(mine.count, 3);
	ck_assert_ptr_nonnull(hvri_lineage_look(&mine, &live));
	ck_assert_ptr_nonnull(hvri_lineage_look(&mine, &kept));
	/* What the peer still names does not come back, nor is it a sign of a
	 * backup; what it says of the others counts. */
	hvri_lineage_find(&theirs, &kept)->fork_point = 7;
	ck_assert(!hvri_lineage_knows_more(&theirs, &mine, &us));
	ck_assert_int_eq(hvri_lineage_merge(&mine, &theirs, &us, &changed),
			 HVREPL_OK);
	ck_assert_uint_eq(mine.count, 3);
	ck_assert_uint_gt(hvri_lineage_next_ordinal(&mine), 121);
	/* The peer follows, as it is not named any more. */
	ck_assert(hvri_lineage_squeeze(&theirs, &mine, 1000, &kept, 1));
	ck_assert_uint_eq(theirs.count, 3);
}
END_TEST

/* Only a handover can still be taken up by a standby that has not passed it. */
START_TEST(nearly_full_a_failover_that_was_given_up_goes_wherever_it_forked)
{
	struct hvri_lineage mine, theirs;
	struct hvrepl_uuid handover = id(101), failover = id(103);

	given_up(&mine, 120);
	for (uint32_t i = 1; i < mine.count; i++)
		mine.epochs[i].entered = true;
	hvri_lineage_find(&mine, &failover)->planned = false;
	ck_assert_uint_gt(hvri_lineage_look(&mine, &handover)->fork_point, 100);
	ck_assert_uint_gt(hvri_lineage_look(&mine, &failover)->fork_point, 100);
	theirs = mine;
	ck_assert(hvri_lineage_squeeze(&mine, &theirs, 100, NULL, 0));
	ck_assert_ptr_nonnull(hvri_lineage_look(&mine, &handover));
	ck_assert_ptr_null(hvri_lineage_look(&mine, &failover));
}
END_TEST

START_TEST(a_handover_that_its_giver_forgot_is_never_open_again)
{
	struct hvri_lineage giver, taker;
	struct hvrepl_uuid a = id(100), b = id(200), c = id(3);
	bool changed = false;

	/* The taker comes back from a backup of when it was offered. */
	given_up(&taker, 2);
	taker.epochs[2].outcome = HVREPL_OUTCOME_OPEN;
	given_up(&giver, 1);
	ck_assert_int_eq(hvri_lineage_merge(&giver, &taker, &a, &changed),
			 HVREPL_OK);
	ck_assert(changed);
	ck_assert_uint_eq(hvri_lineage_look(&giver, &c)->outcome,
			  HVREPL_OUTCOME_ABANDONED);
	ck_assert_int_eq(hvri_lineage_merge(&taker, &giver, &b, &changed),
			 HVREPL_OK);
	ck_assert(hvri_lineage_dead(&taker, &c));
}
END_TEST

/* Whatever became of an epoch, one that stands on it is not left without. */
START_TEST(what_others_stand_on_is_neither_forgotten_nor_squeezed_out)
{
	struct hvri_lineage mine, theirs;
	struct hvrepl_uuid us = id(200), parent = id(10), unknown = id(20);
	struct hvri_epoch child = epoch(300, 10, 3, 100);
	bool changed = false;

	given_up(&mine, 100);
	given_up(&theirs, 100);
	ck_assert_int_eq(hvri_lineage_add(&mine, &child), HVREPL_OK);
	/* And one that its giver does not name: it may not have heard of it. */
	hvri_lineage_find(&theirs, &unknown)->id = id(400);
	ck_assert(hvri_lineage_forget(&mine, &theirs, &us, 1000, NULL, 0));
	ck_assert_uint_eq(mine.count, 4);
	ck_assert_ptr_nonnull(hvri_lineage_look(&mine, &parent));
	ck_assert_ptr_nonnull(hvri_lineage_look(&mine, &unknown));
	/* Forgotten, it comes back with what stands on it. */
	given_up(&mine, 2);
	given_up(&theirs, 12);
	ck_assert_int_eq(hvri_lineage_add(&theirs, &child), HVREPL_OK);
	ck_assert_int_eq(hvri_lineage_merge(&mine, &theirs, &us, &changed),
			 HVREPL_OK);
	ck_assert(changed);
	ck_assert_ptr_nonnull(hvri_lineage_look(&mine, &child.id));
	ck_assert_ptr_nonnull(hvri_lineage_look(&mine, &parent));
	ck_assert_ptr_null(hvri_lineage_look(&mine, &unknown));
	/* Nearly full, and entered. */
	given_up(&mine, 118);
	for (uint32_t i = 1; i < mine.count; i++)
		mine.epochs[i].entered = true;
	ck_assert_int_eq(hvri_lineage_add(&mine, &child), HVREPL_OK);
	theirs = mine;
	ck_assert(hvri_lineage_squeeze(&mine, &theirs, 100, NULL, 0));
	ck_assert_ptr_nonnull(hvri_lineage_look(&mine, &parent));
	ck_assert_ptr_nonnull(hvri_lineage_look(&mine, &child.id));
	/* A handover that the standby has not passed might still be taken up. */
	for (uint32_t i = 0; i < mine.count; i++)
		ck_assert(!mine.epochs[i].planned ||
			  mine.epochs[i].fork_point >= 100 ||
			  hvri_uuid_equal(&mine.epochs[i].id, &parent));
	ck_assert_uint_gt(mine.count, 20);
	ck_assert_uint_lt(mine.count, 60);
}
END_TEST

START_TEST(a_full_lineage_says_so_and_pruning_makes_room)
{
	struct hvri_lineage l, theirs;
	struct hvrepl_uuid last = id(HVRI_EPOCHS_MAX), keep = id(40);
	bool changed;

	memset(&l, 0, sizeof(l));
	memset(&theirs, 0, sizeof(theirs));
	for (uint32_t n = 1; n <= HVRI_EPOCHS_MAX; n++) {
		struct hvri_epoch e = epoch(n, n - 1, n, 100);

		ck_assert_int_eq(hvri_lineage_add(&l, &e), HVREPL_OK);
	}
	{
		struct hvri_epoch e = epoch(HVRI_EPOCHS_MAX + 1,
					    HVRI_EPOCHS_MAX, 1, 100);

		ck_assert_int_eq(hvri_lineage_add(&l, &e), HVREPL_E_LIMIT);
		ck_assert_int_eq(hvri_lineage_add(&theirs, &e), HVREPL_OK);
		ck_assert_int_eq(hvri_lineage_merge(&l, &theirs, &keep, &changed),
				 HVREPL_E_LIMIT);
	}
	hvri_lineage_prune(&l, &last, &keep, 1);
	ck_assert_uint_eq(l.floor, 40);
	ck_assert_uint_eq(l.count, HVRI_EPOCHS_MAX - 39);
	hvri_lineage_prune(&l, &last, NULL, 0);
	ck_assert_uint_eq(l.count, 2);
	ck_assert_uint_eq(hvri_lineage_next_ordinal(&l), HVRI_EPOCHS_MAX + 1);
	/* Below the floor nothing comes back. */
	tree(&theirs);
	ck_assert_int_eq(hvri_lineage_merge(&l, &theirs, &keep, &changed), HVREPL_OK);
	ck_assert_uint_eq(l.count, 2);
	/* Little used: nothing is dropped. */
	tree(&l);
	last = id(4);
	hvri_lineage_prune(&l, &last, NULL, 0);
	ck_assert_uint_eq(l.count, 4);
}
END_TEST

START_TEST(an_epoch_is_known_by_its_birth)
{
	struct hvri_lineage mine, theirs;
	struct hvrepl_uuid us = id(100);
	struct hvri_epoch again = epoch(4, 2, 8, 100);
	bool changed;

	tree(&mine);
	ck_assert_int_eq(hvri_lineage_add(&mine, &again), HVREPL_OK);
	ck_assert_uint_eq(mine.count, 4);
	for (unsigned i = 0; i < 5; i++) {
		struct hvri_epoch *told = &theirs.epochs[3];

		tree(&theirs);
		if (i == 1)
			told->parent = id(1);
		if (i == 2)
			told->owner = id(200);
		if (i == 3)
			told->ordinal = 5;
		if (i == 4)
			told->planned = true;
		ck_assert_int_eq(hvri_lineage_merge(&mine, &theirs, &us,
						    &changed),
				 i == 0 ? HVREPL_OK : HVREPL_E_PROTOCOL);
	}
	/* Its parent, which only they know, is younger than it is. */
	memset(&mine, 0, sizeof(mine));
	memset(&theirs, 0, sizeof(theirs));
	again = epoch(4, 9, 8, 100);
	ck_assert_int_eq(hvri_lineage_add(&mine, &again), HVREPL_OK);
	again = epoch(9, 0, 8, 100);
	ck_assert_int_eq(hvri_lineage_add(&theirs, &again), HVREPL_OK);
	ck_assert_int_eq(hvri_lineage_merge(&mine, &theirs, &us, &changed),
			 HVREPL_E_PROTOCOL);
	theirs.epochs[0].ordinal = 3;
	ck_assert_int_eq(hvri_lineage_merge(&mine, &theirs, &us, &changed),
			 HVREPL_OK);
}
END_TEST

START_TEST(only_what_nobody_names_is_pruned)
{
	static struct hvri_lineage full, l;
	struct hvrepl_uuid root = id(1), last = id(HVRI_EPOCHS_MAX),
			   unknown = id(5000);

	memset(&full, 0, sizeof(full));
	for (uint32_t n = 1; n <= HVRI_EPOCHS_MAX; n++) {
		struct hvri_epoch e = epoch(n, n - 1, n, 100);

		ck_assert_int_eq(hvri_lineage_add(&full, &e), HVREPL_OK);
	}
	l = full;
	hvri_lineage_prune(&l, &unknown, NULL, 0);
	ck_assert_uint_eq(l.count, HVRI_EPOCHS_MAX);
	/* The root has no parent to stop at. */
	hvri_lineage_prune(&l, &root, NULL, 0);
	ck_assert_uint_eq(l.count, HVRI_EPOCHS_MAX);
	ck_assert_uint_eq(l.floor, 1);
	/* As far as it was pruned before. */
	hvri_lineage_prune(&l, &root, NULL, 0);
	ck_assert_uint_eq(l.floor, 1);
	/* A name for which there is no epoch keeps nothing. */
	hvri_lineage_prune(&l, &last, &unknown, 1);
	ck_assert_uint_eq(l.count, 2);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lineage");
	TCase *tc = tcase_create("lineage");

	tcase_add_test(tc, paths_lead_to_the_root_and_nowhere_else);
	tcase_add_test(tc, an_outcome_is_final_and_kills_what_descends);
	tcase_add_test(tc, a_peer_that_knows_more_of_our_epochs_is_noticed);
	tcase_add_test(tc, merging_takes_over_news_and_refuses_contradictions);
	tcase_add_test(tc, what_was_committed_stays_committed);
	tcase_add_test(
		tc, handovers_that_came_to_nothing_are_forgotten_once_nobody_can_take_them);
	tcase_add_test(
		tc, nearly_full_what_was_entered_and_given_up_goes_and_stays_away);
	tcase_add_test(tc, a_handover_that_its_giver_forgot_is_never_open_again);
	tcase_add_test(tc, a_full_lineage_says_so_and_pruning_makes_room);
	tcase_add_test(tc, an_epoch_is_known_by_its_birth);
	tcase_add_test(tc, only_what_nobody_names_is_pruned);
	tcase_add_test(
		tc,
		what_others_stand_on_is_neither_forgotten_nor_squeezed_out);
	tcase_add_test(
		tc,
		nearly_full_a_failover_that_was_given_up_goes_wherever_it_forked);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
