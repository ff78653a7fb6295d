/* SPDX-License-Identifier: Apache-2.0 */
/* The verdict table (O6): total, and what the searched model decides. */
#include "replication/verdict.h"

#include "base/env.h"
#include "replication/lineage.h"
#include "testing.h"

#include <string.h>

#define HAS(name) ((f->set & HVRI_FACT_##name) != 0)

/*
 * The model's receipt of HELLO, written down branch by branch as it was
 * searched, apart from the table. What it calls "return" is NOTHING here.
 */
static enum hvri_standing model(const struct hvri_verdict_facts *f)
{
	uint8_t st = f->ownership, fo = f->peer_ownership;

	if (HAS(ROLLED_BACK))
		return HVRI_STANDING_ROLLED_BACK;
	/* Not in the searched model, which restores nothing. */
	if (st == HVREPL_OWNERSHIP_DIVERGED &&
	    fo == HVREPL_OWNERSHIP_SUPERSEDED && HAS(PEER_BACK) && HAS(MINE) &&
	    f->relation != HVRI_RELATION_SAME &&
	    f->relation != HVRI_RELATION_UNRELATED)
		return HVRI_STANDING_KEEP;
	if (HAS(STALE))
		return HVRI_STANDING_STALE;
	if (f->relation == HVRI_RELATION_SAME)
		return HVRI_STANDING_NORMAL;
	if (f->relation == HVRI_RELATION_UNRELATED)
		return HVRI_STANDING_UNRELATED;
	if (f->relation == HVRI_RELATION_OLD) {
		if (!HAS(THEIRS))
			return HVRI_STANDING_NOTHING;
		if (!HAS(MINE)) {
			if (st == HVREPL_OWNERSHIP_STANDBY &&
			    fo != HVREPL_OWNERSHIP_STANDBY)
				return HAS(BEYOND) ? HVRI_STANDING_REFUSE :
						     HVRI_STANDING_FOLLOW;
			return HVRI_STANDING_NOTHING;
		}
		if (HAS(CHILD))
			return HVRI_STANDING_OWNED;
		if (fo == HVREPL_OWNERSHIP_STANDBY)
			return HVRI_STANDING_NOTHING;
		if (fo == HVREPL_OWNERSHIP_SUPERSEDED || HAS(DISCARDED))
			return HVRI_STANDING_KEEP;
		return HAS(ARMED) ? HVRI_STANDING_DIVERGED :
				    HVRI_STANDING_SUPERSEDED;
	}
	if (f->relation == HVRI_RELATION_NEW) {
		if (!HAS(MINE) || st == HVREPL_OWNERSHIP_STANDBY ||
		    !HAS(THEIRS))
			return HVRI_STANDING_NOTHING;
		if (!HAS(ECHO))
			return HVRI_STANDING_NOTHING;
		if (fo == HVREPL_OWNERSHIP_SUPERSEDED)
			return HVRI_STANDING_ADOPT_SUPERSEDED;
		if (fo == HVREPL_OWNERSHIP_DIVERGED && !HAS(HELD))
			return HVRI_STANDING_ADOPT_DIVERGED;
		return HVRI_STANDING_NOTHING;
	}
	if (!HAS(MINE) || !HAS(THEIRS) || fo == HVREPL_OWNERSHIP_STANDBY ||
	    st == HVREPL_OWNERSHIP_STANDBY ||
	    st == HVREPL_OWNERSHIP_SUPERSEDED ||
	    st == HVREPL_OWNERSHIP_RELINQUISHED)
		return HVRI_STANDING_NOTHING;
	if (fo == HVREPL_OWNERSHIP_SUPERSEDED || HAS(DISCARDED))
		return HVRI_STANDING_KEEP;
	if (!HAS(ARMED) && HAS(PEER_ARMED))
		return HVRI_STANDING_SUPERSEDED;
	return HVRI_STANDING_DIVERGED;
}

START_TEST(the_table_decides_as_the_searched_model_does)
{
	struct hvri_verdict_facts f;
	bool used[64] = { false };

	for (f.relation = 0; f.relation < HVRI_RELATION_COUNT; f.relation++)
		for (f.ownership = 0; f.ownership < HVREPL_OWNERSHIP_COUNT;
		     f.ownership++)
			for (f.peer_ownership = 0;
			     f.peer_ownership < HVREPL_OWNERSHIP_COUNT;
			     f.peer_ownership++)
				for (f.set = 0;
				     f.set < 1u << HVRI_FACT_COUNT; f.set++) {
					uint32_t row = hvri_verdict_row(&f);

					/* Total: the last row is no
					 * fallback, it matches too. */
					if (!hvri_verdict_row_matches(row, &f))
						ck_abort_msg("no row");
					used[row] = true;
					if (hvri_verdict_standing(row) !=
					    model(&f))
						ck_abort_msg(
							"row %u for relation "
							"%u %u %u set %x",
							row, f.relation,
							f.ownership,
							f.peer_ownership,
							f.set);
				}
	for (uint32_t i = 0; i < hvri_verdict_row_count(); i++) {
		ck_assert_msg(used[i], "row %u is never the first", i);
		ck_assert_uint_gt(strlen(hvri_verdict_rule(i)), 10);
	}
}
END_TEST

/* ---- From records to facts. ---- */

static struct hvrepl_uuid id(uint8_t n)
{
	struct hvrepl_uuid u;

	memset(&u, 0, sizeof(u));
	u.bytes[0] = n;
	return u;
}

static void add(struct hvri_lineage *l, uint8_t n, uint8_t parent,
		uint64_t fork, uint8_t owner, uint8_t outcome)
{
	struct hvri_epoch e;

	memset(&e, 0, sizeof(e));
	e.id = id(n);
	if (parent)
		e.parent = id(parent);
	e.ordinal = n;
	e.fork_point = fork;
	e.owner = id(owner);
	e.outcome = outcome;
	e.entered = true;
	ck_assert_int_eq(hvri_lineage_add(l, &e), HVREPL_OK);
}

/* Site 100 owns epoch 1, up to cut 7; site 200 failed over to epoch 2 at 5. */
static void forked(struct hvri_record *mine, struct hvri_claim *peer)
{
	memset(mine, 0, sizeof(*mine));
	memset(peer, 0, sizeof(*peer));
	mine->site = id(100);
	mine->peer = id(200);
	mine->current = id(1);
	mine->last_cut.number = 7;
	add(&mine->lineage, 1, 0, 0, 100, HVREPL_OUTCOME_COMMITTED);
	add(&mine->lineage, 2, 1, 5, 200, HVREPL_OUTCOME_OPEN);
	peer->site = id(200);
	peer->current = id(2);
	peer->ownership = HVREPL_OWNERSHIP_OWNER;
	peer->position.number = 9;
	peer->armed = true;
}

static enum hvri_standing standing(const struct hvri_record *mine, bool armed,
				   const struct hvri_claim *peer)
{
	struct hvri_verdict_facts f;

	hvri_verdict_look(mine, armed, peer, false, &f);
	return hvri_verdict_standing(hvri_verdict_row(&f));
}

START_TEST(a_returning_primary_that_does_not_write_is_superseded)
{
	struct hvri_record mine;
	struct hvri_claim peer;

	forked(&mine, &peer);
	ck_assert_uint_eq(standing(&mine, false, &peer),
			  HVRI_STANDING_SUPERSEDED);
	ck_assert_uint_eq(standing(&mine, true, &peer),
			  HVRI_STANDING_DIVERGED);
	/* Given up over there: nothing stands against us. */
	hvri_lineage_decide(&mine.lineage, &peer.current,
			    HVREPL_OUTCOME_ABANDONED);
	ck_assert_uint_eq(standing(&mine, true, &peer), HVRI_STANDING_STALE);
}
END_TEST

START_TEST(an_owner_shows_as_diverged_where_it_was_found_so_and_nowhere_else)
{
	struct hvri_record mine;
	struct hvri_claim peer;

	forked(&mine, &peer);
	mine.ownership = HVREPL_OWNERSHIP_OWNER;
	mine.verdict = HVRI_VERDICT_DIVERGED;
	mine.verdict_mine = mine.current;
	ck_assert_uint_eq(hvri_shown_ownership(&mine),
			  HVREPL_OWNERSHIP_DIVERGED);
	/* It was said of an epoch that it has left. */
	mine.verdict_mine = id(99);
	ck_assert_uint_eq(hvri_shown_ownership(&mine), HVREPL_OWNERSHIP_OWNER);
	mine.verdict_mine = mine.current;
	mine.verdict = HVRI_VERDICT_NONE;
	ck_assert_uint_eq(hvri_shown_ownership(&mine), HVREPL_OWNERSHIP_OWNER);
	mine.verdict = HVRI_VERDICT_DIVERGED;
	mine.ownership = HVREPL_OWNERSHIP_STANDBY;
	ck_assert_uint_eq(hvri_shown_ownership(&mine),
			  HVREPL_OWNERSHIP_STANDBY);
}
END_TEST

START_TEST(a_claim_through_the_relinquished_child_is_its_confirmation)
{
	struct hvri_record mine;
	struct hvri_claim peer;

	forked(&mine, &peer);
	mine.ownership = HVREPL_OWNERSHIP_RELINQUISHED;
	mine.relinquished = id(2);
	add(&mine.lineage, 3, 2, 6, 200, HVREPL_OUTCOME_OPEN);
	peer.current = id(3);
	ck_assert_uint_eq(standing(&mine, false, &peer), HVRI_STANDING_OWNED);
	/* Another child of ours is not. */
	add(&mine.lineage, 4, 1, 5, 200, HVREPL_OUTCOME_OPEN);
	peer.current = id(4);
	ck_assert_uint_eq(standing(&mine, false, &peer),
			  HVRI_STANDING_SUPERSEDED);
}
END_TEST

/* The new side adopts what the old one decided, if it is about the two of now. */
START_TEST(what_the_old_side_decided_of_another_epoch_is_no_verdict_on_this_one)
{
	struct hvri_record mine;
	struct hvri_claim peer;

	forked(&mine, &peer);
	mine.site = peer.site;
	mine.peer = peer.site = id(100);
	peer.current = mine.current;
	mine.current = id(2);
	peer.ownership = HVREPL_OWNERSHIP_SUPERSEDED;
	ck_assert_uint_eq(standing(&mine, true, &peer), HVRI_STANDING_NOTHING);
	peer.verdict_peer = id(3);
	ck_assert_uint_eq(standing(&mine, true, &peer), HVRI_STANDING_NOTHING);
	peer.ownership = HVREPL_OWNERSHIP_DIVERGED;
	ck_assert_uint_eq(standing(&mine, true, &peer), HVRI_STANDING_NOTHING);
	peer.verdict_peer = id(2);
	ck_assert_uint_eq(standing(&mine, true, &peer),
			  HVRI_STANDING_ADOPT_DIVERGED);
	peer.ownership = HVREPL_OWNERSHIP_SUPERSEDED;
	ck_assert_uint_eq(standing(&mine, true, &peer),
			  HVRI_STANDING_ADOPT_SUPERSEDED);
}
END_TEST

START_TEST(a_standby_follows_only_where_its_points_lie_on_the_path)
{
	struct hvri_record mine;
	struct hvri_claim peer;

	forked(&mine, &peer);
	mine.site = id(50); /* Neither epoch is ours. */
	mine.ownership = HVREPL_OWNERSHIP_STANDBY;
	mine.position.number = 5;
	ck_assert_uint_eq(standing(&mine, false, &peer), HVRI_STANDING_FOLLOW);
	mine.position.number = 6;
	ck_assert_uint_eq(standing(&mine, false, &peer), HVRI_STANDING_REFUSE);
}
END_TEST

START_TEST(data_is_told_apart_from_standing)
{
	struct hvri_record mine;
	struct hvri_claim peer;
	struct hvri_verdict_data d;

	forked(&mine, &peer);
	hvri_verdict_data(&mine, &peer, &d);
	ck_assert_uint_eq(d.unique, HVRI_DATA_MINE | HVRI_DATA_PEER);
	ck_assert_uint_eq(d.mine_from, 5);
	ck_assert_uint_eq(d.mine_to, 7);
	ck_assert(!d.firm);
	/* Everything acknowledged, and the other side wrote nothing. */
	mine.last_cut.number = 5;
	peer.position.number = 5;
	hvri_verdict_data(&mine, &peer, &d);
	ck_assert_uint_eq(d.unique, 0);
	mine.dirty = true;
	hvri_verdict_data(&mine, &peer, &d);
	ck_assert_uint_eq(d.unique, HVRI_DATA_MINE);
	mine.dirty = false;
	peer.untrusted = true;
	hvri_verdict_data(&mine, &peer, &d);
	ck_assert_uint_eq(d.unique, HVRI_DATA_PEER);
	mine.ownership = HVREPL_OWNERSHIP_SUPERSEDED;
	hvri_verdict_data(&mine, &peer, &d);
	ck_assert(d.firm);
}
END_TEST

START_TEST(what_an_operator_or_a_backup_said_counts_for_its_epochs_only)
{
	struct hvri_verdict_facts f;
	struct hvri_record mine;
	struct hvri_claim peer;

	forked(&mine, &peer);
	hvri_verdict_look(&mine, false, &peer, true, &f);
	ck_assert_uint_eq(hvri_verdict_standing(hvri_verdict_row(&f)),
			  HVRI_STANDING_ROLLED_BACK);
	/* Discarded for the epoch that is current, or for another one. */
	mine.discard_loser = peer.current;
	mine.discard_winner = mine.current;
	hvri_verdict_look(&mine, false, &peer, false, &f);
	ck_assert((f.set & HVRI_FACT_DISCARDED) != 0);
	mine.discard_winner = id(9);
	hvri_verdict_look(&mine, false, &peer, false, &f);
	ck_assert((f.set & HVRI_FACT_DISCARDED) == 0);
	/* A verdict held over these two, or over others. */
	mine.verdict = HVRI_VERDICT_SUPERSEDED;
	mine.verdict_mine = mine.current;
	mine.verdict_peer = peer.current;
	hvri_verdict_look(&mine, false, &peer, false, &f);
	ck_assert((f.set & HVRI_FACT_HELD) != 0);
	mine.verdict_mine = id(9);
	hvri_verdict_look(&mine, false, &peer, false, &f);
	ck_assert((f.set & HVRI_FACT_HELD) == 0);
	mine.verdict_mine = mine.current;
	mine.verdict_peer = id(9);
	hvri_verdict_look(&mine, false, &peer, false, &f);
	ck_assert((f.set & HVRI_FACT_HELD) == 0);
}
END_TEST

START_TEST(data_is_firm_when_either_side_has_stopped)
{
	static const struct {
		uint8_t ownership;
		bool stopped;
	} sides[] = {
		{ HVREPL_OWNERSHIP_OWNER, false },
		{ HVREPL_OWNERSHIP_DIVERGED, false },
		{ HVREPL_OWNERSHIP_STANDBY, true },
		{ HVREPL_OWNERSHIP_RELINQUISHED, true },
		{ HVREPL_OWNERSHIP_SUPERSEDED, true },
	};
	struct hvri_record mine;
	struct hvri_claim peer;
	struct hvri_verdict_data d;

	for (unsigned i = 0; i < 5; i++)
		for (unsigned k = 0; k < 5; k++) {
			forked(&mine, &peer);
			mine.ownership = sides[i].ownership;
			peer.ownership = sides[k].ownership;
			hvri_verdict_data(&mine, &peer, &d);
			ck_assert_int_eq(d.firm, sides[i].stopped ||
							 sides[k].stopped);
		}
	/* In one epoch nobody has what the other lacks. */
	peer.current = mine.current;
	hvri_verdict_data(&mine, &peer, &d);
	ck_assert_uint_eq(d.unique, 0);
	/* Of histories that never met all is one's own. */
	peer.current = id(77);
	mine.last_cut.number = 0;
	mine.untrusted = true;
	hvri_verdict_data(&mine, &peer, &d);
	ck_assert_uint_eq(d.unique, HVRI_DATA_MINE | HVRI_DATA_PEER);
	ck_assert_uint_eq(d.peer_from, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("verdict");
	TCase *tc = tcase_create("verdict");

	tcase_add_test(tc, the_table_decides_as_the_searched_model_does);
	tcase_add_test(tc, a_returning_primary_that_does_not_write_is_superseded);
	tcase_add_test(tc,
		       a_claim_through_the_relinquished_child_is_its_confirmation);
	tcase_add_test(
		tc,
		what_the_old_side_decided_of_another_epoch_is_no_verdict_on_this_one);
	tcase_add_test(tc,
		       a_standby_follows_only_where_its_points_lie_on_the_path);
	tcase_add_test(tc, data_is_told_apart_from_standing);
	tcase_add_test(
		tc, what_an_operator_or_a_backup_said_counts_for_its_epochs_only);
	tcase_add_test(tc, data_is_firm_when_either_side_has_stopped);
	tcase_add_test(
		tc,
		an_owner_shows_as_diverged_where_it_was_found_so_and_nowhere_else);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
