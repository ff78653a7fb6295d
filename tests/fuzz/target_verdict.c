/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verdict: the table of O6 beside a second writing of it as decisions, over
 * any facts; and the walks over a lineage beside walks over an array of parent
 * numbers, with what two sites merge.
 */
#include "fuzz.h"

#include "replication/lineage.h"
#include "replication/verdict.h"

#include <string.h>

#define EPOCHS 12u
#define NONE 255u

#define HAS(name) ((facts->set & HVRI_FACT_##name) != 0)

static enum hvri_standing reference(const struct hvri_verdict_facts *facts)
{
	bool peer_claims = facts->peer_ownership != HVREPL_OWNERSHIP_STANDBY;
	bool peer_lost = facts->peer_ownership == HVREPL_OWNERSHIP_SUPERSEDED;
	bool standby = facts->ownership == HVREPL_OWNERSHIP_STANDBY;
	bool claimant = facts->ownership == HVREPL_OWNERSHIP_OWNER ||
			facts->ownership == HVREPL_OWNERSHIP_DIVERGED;

	if (HAS(ROLLED_BACK))
		return HVRI_STANDING_ROLLED_BACK;
	/* Whatever it claimed before: it came back, and fences itself. */
	if (HAS(PEER_BACK) && peer_lost && HAS(MINE) &&
	    facts->ownership == HVREPL_OWNERSHIP_DIVERGED &&
	    facts->relation != HVRI_RELATION_SAME &&
	    facts->relation != HVRI_RELATION_UNRELATED)
		return HVRI_STANDING_KEEP;
	if (HAS(STALE))
		return HVRI_STANDING_STALE;
	if (facts->relation == HVRI_RELATION_SAME)
		return HVRI_STANDING_NORMAL;
	if (facts->relation == HVRI_RELATION_UNRELATED)
		return HVRI_STANDING_UNRELATED;
	/* An epoch of my own that the peer still speaks of says nothing. */
	if (!HAS(THEIRS))
		return HVRI_STANDING_NOTHING;
	if (!HAS(MINE)) {
		/* Not mine to lose; a standby goes where an owner goes. */
		if (facts->relation != HVRI_RELATION_OLD || !standby ||
		    !peer_claims)
			return HVRI_STANDING_NOTHING;
		return HAS(BEYOND) ? HVRI_STANDING_REFUSE :
				     HVRI_STANDING_FOLLOW;
	}
	if (facts->relation == HVRI_RELATION_NEW) {
		/* The old side decides; this one takes it from the echo. */
		if (standby || !HAS(ECHO))
			return HVRI_STANDING_NOTHING;
		if (peer_lost)
			return HVRI_STANDING_ADOPT_SUPERSEDED;
		return facts->peer_ownership == HVREPL_OWNERSHIP_DIVERGED &&
				       !HAS(HELD) ?
			       HVRI_STANDING_ADOPT_DIVERGED :
			       HVRI_STANDING_NOTHING;
	}
	if (facts->relation == HVRI_RELATION_OLD && HAS(CHILD))
		return HVRI_STANDING_OWNED;
	if (!peer_claims ||
	    (facts->relation == HVRI_RELATION_SIBLING && !claimant))
		return HVRI_STANDING_NOTHING;
	if (peer_lost || HAS(DISCARDED))
		return HVRI_STANDING_KEEP;
	if (facts->relation == HVRI_RELATION_SIBLING)
		return HAS(PEER_ARMED) && !HAS(ARMED) ?
			       HVRI_STANDING_SUPERSEDED :
			       HVRI_STANDING_DIVERGED;
	return HAS(ARMED) ? HVRI_STANDING_DIVERGED : HVRI_STANDING_SUPERSEDED;
}

static void judge(struct fuzz_in *in)
{
	struct hvri_verdict_facts facts;
	uint32_t row;

	facts.relation = fuzz_u8(in) % HVRI_RELATION_COUNT;
	facts.ownership = fuzz_u8(in) % HVREPL_OWNERSHIP_COUNT;
	facts.peer_ownership = fuzz_u8(in) % HVREPL_OWNERSHIP_COUNT;
	facts.set = fuzz_u16(in) % (1u << HVRI_FACT_COUNT);
	row = hvri_verdict_row(&facts);
	fuzz_must(row < hvri_verdict_row_count() &&
			  hvri_verdict_row_matches(row, &facts) &&
			  hvri_verdict_rule(row) != NULL,
		  "no row for these facts");
	fuzz_must(hvri_verdict_standing(row) == reference(&facts),
		  "another verdict than the reference");
}

/* ---- Lineages out of one history: a parent comes before its children. ---- */

struct history {
	uint8_t parent[EPOCHS]; /* NONE: the first, or unrelated. */
	uint64_t fork[EPOCHS];
};

static struct hvrepl_uuid id_of(unsigned i)
{
	struct hvrepl_uuid id = { { 0 } };

	if (i != NONE)
		id.bytes[0] = (uint8_t)(i + 1);
	return id;
}

static void take(struct hvri_lineage *lineage, const struct history *history,
		 uint16_t which, struct fuzz_in *in)
{
	memset(lineage, 0, sizeof(*lineage));
	for (unsigned i = 0; i < EPOCHS; i++) {
		struct hvri_epoch epoch;
		uint8_t form = fuzz_u8(in);

		if (!(which >> i & 1))
			continue;
		memset(&epoch, 0, sizeof(epoch));
		epoch.id = id_of(i);
		epoch.parent = id_of(history->parent[i]);
		epoch.owner.bytes[0] = (uint8_t)(1 + i % 2);
		epoch.ordinal = i + 1;
		epoch.fork_point = history->fork[i];
		epoch.outcome = form % 8 < 4 ? form % 4 : HVREPL_OUTCOME_OPEN;
		epoch.entered = (form & 0x10) != 0;
		fuzz_must(hvri_lineage_add(lineage, &epoch) == HVREPL_OK,
			  "not added");
	}
}

static bool on_path(const struct history *history, uint16_t which, unsigned i,
		    unsigned ancestor)
{
	for (; i != NONE && which >> i & 1; i = history->parent[i])
		if (i == ancestor)
			return true;
	return false;
}

static void walk(const struct hvri_lineage *lineage,
		 const struct history *history, uint16_t which, unsigned a,
		 unsigned b)
{
	struct hvrepl_uuid ia = id_of(a), ib = id_of(b), common;
	unsigned nearest = a;
	uint64_t fork = UINT64_MAX;
	bool found;

	fuzz_must(hvri_lineage_on_path(lineage, &ia, &ib) ==
			  on_path(history, which, a, b),
		  "a path is another");
	while (nearest != NONE && which >> nearest & 1 &&
	       !on_path(history, which, b, nearest))
		nearest = history->parent[nearest];
	found = nearest != NONE && which >> nearest & 1;
	fuzz_must(hvri_lineage_common(lineage, &ia, &ib, &common) == found,
		  "a common ancestor is there or not");
	if (found)
		fuzz_must(common.bytes[0] == nearest + 1,
			  "the common ancestor is another");
	if (on_path(history, which, a, b)) {
		for (unsigned i = a; i != b; i = history->parent[i])
			fork = HVRI_MIN(fork, history->fork[i]);
		fuzz_must(hvri_lineage_fork(lineage, &ib, &ia) == fork,
			  "a fork point is another");
	}
}

/* A handover to this site that came to nothing: it may have forgotten it. */
static bool may_stay_away(const struct hvri_epoch *epoch)
{
	return epoch->planned && !epoch->entered && epoch->owner.bytes[0] == 1 &&
	       hvri_outcome_dead(epoch->outcome);
}

static void merge(struct hvri_lineage *mine, const struct hvri_lineage *theirs)
{
	static struct hvri_lineage before;
	struct hvrepl_uuid site = { { 1 } };
	bool changed = false;

	before = *mine;
	if (hvri_lineage_merge(mine, theirs, &site, &changed) < 0) {
		fuzz_must(memcmp(mine, &before, sizeof(before)) == 0,
			  "a merge that fails has changed something");
		return;
	}
	for (uint32_t i = 0; i < theirs->count; i++)
		fuzz_must(theirs->epochs[i].ordinal < mine->floor ||
				  hvri_lineage_look(mine,
						    &theirs->epochs[i].id) ||
				  may_stay_away(&theirs->epochs[i]),
			  "an epoch of the peer's is not taken over");
	for (uint32_t i = 0; i < before.count; i++) {
		const struct hvri_epoch *now =
			hvri_lineage_look(mine, &before.epochs[i].id);

		fuzz_must(now != NULL, "an own epoch is forgotten");
		/* Where the two differ the graver outcome stays, except that
		 * what was given up unentered and was entered is not given
		 * up; and of what this site entered its own word counts. */
		fuzz_must(before.epochs[i].outcome !=
					  HVREPL_OUTCOME_COMMITTED ||
				  now->outcome == HVREPL_OUTCOME_COMMITTED,
			  "a commit is taken back");
		fuzz_must(now->outcome >= before.epochs[i].outcome ||
				  (hvri_outcome_dead(before.epochs[i].outcome) &&
				   !before.epochs[i].entered && now->entered),
			  "an outcome is taken back");
		fuzz_must(!before.epochs[i].entered ||
				  before.epochs[i].owner.bytes[0] != 1 ||
				  now->outcome == before.epochs[i].outcome,
			  "the peer decides about an epoch of this site");
	}
	fuzz_must(hvri_lineage_merge(mine, theirs, &site, &changed) ==
				  HVREPL_OK &&
			  !changed,
		  "merged twice is something else");
}

static void lineages(struct fuzz_in *in)
{
	static struct hvri_lineage mine, theirs;
	struct history history;
	uint16_t which = fuzz_u16(in), other = fuzz_u16(in);

	for (unsigned i = 0; i < EPOCHS; i++) {
		uint8_t parent = fuzz_u8(in);

		history.parent[i] = NONE;
		if (parent < 240 && i > 0)
			history.parent[i] = (uint8_t)(parent % i);
		history.fork[i] = fuzz_u8(in);
	}
	take(&mine, &history, which, in);
	take(&theirs, &history, other, in);
	for (unsigned a = 0; a < EPOCHS; a++)
		for (unsigned b = 0; b < EPOCHS; b++)
			walk(&mine, &history, which, a, b);
	merge(&mine, &theirs);
}

static void one(const uint8_t *bytes, size_t length)
{
	struct fuzz_in in = { bytes, length };

	if (fuzz_u8(&in) % 2 == 0)
		while (in.left >= 5)
			judge(&in);
	else
		lineages(&in);
}

static void seeds(void)
{
	/* All facts of every pair of ownerships, a relation each. */
	static uint8_t bytes[1 + 5 * (1u << HVRI_FACT_COUNT)];

	for (uint8_t relation = 0; relation < HVRI_RELATION_COUNT; relation++)
		for (uint8_t own = 0; own < HVREPL_OWNERSHIP_COUNT; own++)
			for (uint8_t peer = 0; peer < HVREPL_OWNERSHIP_COUNT;
			     peer++) {
				size_t at = 1;

				for (uint32_t set = 0;
				     set < 1u << HVRI_FACT_COUNT; set++) {
					bytes[at++] = relation;
					bytes[at++] = own;
					bytes[at++] = peer;
					bytes[at++] = (uint8_t)set;
					bytes[at++] = (uint8_t)(set >> 8);
				}
				bytes[0] = 0;
				fuzz_seed(bytes, at);
			}
	for (uint64_t i = 0; i < 16; i++)
		fuzz_seed_random(2 * i + 1, 60);
}

extern const struct fuzz_target fuzz_verdict;
const struct fuzz_target fuzz_verdict = { "verdict", one, seeds, NULL };
