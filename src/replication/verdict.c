/* SPDX-License-Identifier: Apache-2.0 */
/* The table of O6 and the facts it looks at. */
#include "replication/verdict.h"

#include "base/plant.h"
#include "replication/lineage.h"

#define OWN(name) (1u << HVREPL_OWNERSHIP_##name)
#define REL(name) (1u << HVRI_RELATION_##name)
#define ANY 0xffffffffu
#define NOT(set) (ANY & ~(set))
#define F(name) HVRI_FACT_##name

struct row {
	uint32_t relation, ownership, peer; /* Sets of values. */
	uint32_t set, clear;                /* Facts that must (not) hold. */
	enum hvri_standing standing;
	const char *rule;
};

static const struct row rows[] = {
	{ ANY, ANY, ANY, F(ROLLED_BACK), 0, HVRI_STANDING_ROLLED_BACK,
	  "the peer knows more of this site's own epochs than this site does: "
	  "its record was restored from a backup" },
	{ NOT(REL(SAME) | REL(UNRELATED)), OWN(DIVERGED), OWN(SUPERSEDED),
	  F(PEER_BACK) | F(MINE), 0, HVRI_STANDING_KEEP,
	  "the peer was restored from a backup and claims nothing any more" },
	{ ANY, ANY, ANY, F(STALE), 0, HVRI_STANDING_STALE,
	  "the peer's claim rests on an epoch that was abandoned" },
	{ REL(SAME), ANY, ANY, 0, 0, HVRI_STANDING_NORMAL,
	  "both sites are in the same epoch" },
	{ REL(UNRELATED), ANY, ANY, 0, 0, HVRI_STANDING_UNRELATED,
	  "the two histories have nothing in common" },

	/* My epoch is an ancestor of the peer's: I decide. */
	{ REL(OLD), ANY, ANY, 0, F(THEIRS), HVRI_STANDING_NOTHING,
	  "the peer's epoch is one that this site owned and left" },
	{ REL(OLD), OWN(STANDBY), NOT(OWN(STANDBY)), 0, F(MINE) | F(BEYOND),
	  HVRI_STANDING_FOLLOW,
	  "the standby's newest point lies on the owner's new path" },
	{ REL(OLD), OWN(STANDBY), NOT(OWN(STANDBY)), F(BEYOND), F(MINE),
	  HVRI_STANDING_REFUSE,
	  "the standby holds points beyond the fork of the owner's path" },
	{ REL(OLD), ANY, ANY, 0, F(MINE), HVRI_STANDING_NOTHING,
	  "this site does not own its epoch" },
	{ REL(OLD), ANY, ANY, F(CHILD), 0, HVRI_STANDING_OWNED,
	  "the peer took the epoch that was handed over to it" },
	{ REL(OLD), ANY, OWN(STANDBY), 0, 0, HVRI_STANDING_NOTHING,
	  "the peer is a standby and claims nothing" },
	{ REL(OLD), ANY, OWN(SUPERSEDED), 0, 0, HVRI_STANDING_KEEP,
	  "the claimant is superseded itself" },
	{ REL(OLD), ANY, ANY, F(DISCARDED), 0, HVRI_STANDING_KEEP,
	  "the claimant's epoch was discarded by an operator" },
	{ REL(OLD), ANY, ANY, 0, F(ARMED), HVRI_STANDING_SUPERSEDED,
	  "the peer failed over and this site does not write" },
	{ REL(OLD), ANY, ANY, F(ARMED), 0, HVRI_STANDING_DIVERGED,
	  "the peer failed over while this site writes" },

	/* The peer's is an ancestor of mine: it decides, I adopt its echo. */
	{ REL(NEW), ANY, ANY, 0, F(MINE), HVRI_STANDING_NOTHING,
	  "this site does not own its epoch" },
	{ REL(NEW), OWN(STANDBY), ANY, 0, 0, HVRI_STANDING_NOTHING,
	  "this site is a standby" },
	{ REL(NEW), ANY, ANY, 0, F(THEIRS), HVRI_STANDING_NOTHING,
	  "the peer still follows an epoch this site left" },
	{ REL(NEW), ANY, ANY, 0, F(ECHO), HVRI_STANDING_NOTHING,
	  "the old side has not decided about this epoch yet" },
	{ REL(NEW), ANY, OWN(SUPERSEDED), 0, 0, HVRI_STANDING_ADOPT_SUPERSEDED,
	  "the old side says that it is superseded by this one" },
	{ REL(NEW), ANY, OWN(DIVERGED), 0, F(HELD),
	  HVRI_STANDING_ADOPT_DIVERGED,
	  "the old side says that both write" },
	{ REL(NEW), ANY, ANY, 0, 0, HVRI_STANDING_NOTHING,
	  "the old side has not decided about this epoch yet" },

	{ REL(SIBLING), ANY, ANY, 0, F(MINE), HVRI_STANDING_NOTHING,
	  "this site does not own its epoch" },
	{ REL(SIBLING), ANY, ANY, 0, F(THEIRS), HVRI_STANDING_NOTHING,
	  "the peer's epoch is one that this site owned and left" },
	{ REL(SIBLING), ANY, OWN(STANDBY), 0, 0, HVRI_STANDING_NOTHING,
	  "the peer is a standby and claims nothing" },
	{ REL(SIBLING), OWN(STANDBY) | OWN(SUPERSEDED) | OWN(RELINQUISHED),
	  ANY, 0, 0, HVRI_STANDING_NOTHING,
	  "only an owner or a diverged claimant can be superseded" },
	{ REL(SIBLING), ANY, OWN(SUPERSEDED), 0, 0, HVRI_STANDING_KEEP,
	  "the claimant is superseded itself" },
	{ REL(SIBLING), ANY, ANY, F(DISCARDED), 0, HVRI_STANDING_KEEP,
	  "the claimant's epoch was discarded by an operator" },
	{ REL(SIBLING), ANY, ANY, F(PEER_ARMED), F(ARMED),
	  HVRI_STANDING_SUPERSEDED,
	  "both sites failed over and only the peer writes" },
	{ REL(SIBLING), ANY, ANY, 0, 0, HVRI_STANDING_DIVERGED,
	  "both sites failed over" },
};

bool hvri_verdict_row_matches(uint32_t i,
			      const struct hvri_verdict_facts *facts)
{
	const struct row *row = &rows[i];

	return (row->relation >> facts->relation & 1) &&
	       (row->ownership >> facts->ownership & 1) &&
	       (row->peer >> facts->peer_ownership & 1) &&
	       (facts->set & row->set) == row->set &&
	       (facts->set & row->clear) == 0;
}

uint32_t hvri_verdict_row_count(void)
{
	return HVRI_ARRAY_LEN(rows);
}

uint32_t hvri_verdict_row(const struct hvri_verdict_facts *facts)
{
	uint32_t i = 0;

	while (i + 1 < HVRI_ARRAY_LEN(rows) &&
	       !hvri_verdict_row_matches(i, facts))
		i++;
	return i;
}

enum hvri_standing hvri_verdict_standing(uint32_t row)
{
	return rows[row].standing;
}

const char *hvri_verdict_rule(uint32_t row)
{
	return rows[row].rule;
}

static bool owned_by(const struct hvri_lineage *lineage,
		     const struct hvrepl_uuid *epoch,
		     const struct hvrepl_uuid *site)
{
	const struct hvri_epoch *found = hvri_lineage_look(lineage, epoch);

	return found && hvri_uuid_equal(&found->owner, site);
}

static uint8_t relation(const struct hvri_lineage *lineage,
			const struct hvrepl_uuid *mine,
			const struct hvrepl_uuid *peer)
{
	struct hvrepl_uuid common;

	if (hvri_uuid_equal(mine, peer))
		return HVRI_RELATION_SAME;
	if (hvri_lineage_on_path(lineage, peer, mine))
		return HVRI_RELATION_OLD;
	if (hvri_lineage_on_path(lineage, mine, peer))
		return HVRI_RELATION_NEW;
	return hvri_lineage_common(lineage, mine, peer, &common) ?
		       HVRI_RELATION_SIBLING :
		       HVRI_RELATION_UNRELATED;
}

/* Newest number a record holds, complete point or cut. */
static uint64_t newest(const struct hvri_record *record)
{
	return HVRI_MAX(record->position.number, record->last_cut.number);
}

uint8_t hvri_shown_ownership(const struct hvri_record *record)
{
	if (record->ownership == HVREPL_OWNERSHIP_OWNER &&
	    record->verdict == HVRI_VERDICT_DIVERGED &&
	    hvri_uuid_equal(&record->verdict_mine, &record->current))
		return HVREPL_OWNERSHIP_DIVERGED;
	return record->ownership;
}

void hvri_verdict_look(const struct hvri_record *mine, bool armed,
		       const struct hvri_claim *peer, bool knows_more,
		       struct hvri_verdict_facts *facts_out)
{
	const struct hvri_lineage *lineage = &mine->lineage;
	const struct hvrepl_uuid *theirs = &peer->current;
	uint32_t set = 0;

	facts_out->relation = relation(lineage, &mine->current, theirs);
	facts_out->ownership = hvri_shown_ownership(mine);
	facts_out->peer_ownership = peer->ownership;
	if (knows_more)
		set |= F(ROLLED_BACK);
	if (hvri_lineage_dead(lineage, theirs))
		set |= F(STALE);
	if (owned_by(lineage, &mine->current, &mine->site))
		set |= F(MINE);
	if (!owned_by(lineage, theirs, &mine->site))
		set |= F(THEIRS);
	/* None is on no path. */
	if (hvri_lineage_on_path(lineage, theirs, &mine->relinquished) &&
	    !HVRI_PLANT(impl))
		set |= F(CHILD);
	if (mine->position.number >
	    hvri_lineage_fork(lineage, &mine->current, theirs))
		set |= F(BEYOND);
	if (hvri_uuid_equal(&mine->discard_loser, theirs) &&
	    hvri_uuid_equal(&mine->discard_winner, &mine->current) &&
	    !HVRI_PLANT(deadcl))
		set |= F(DISCARDED);
	if (peer->rolled_back)
		set |= F(PEER_BACK);
	if (armed)
		set |= F(ARMED);
	if (peer->armed)
		set |= F(PEER_ARMED);
	if (hvri_uuid_equal(&peer->verdict_peer, &mine->current) ||
	    HVRI_PLANT(by) || HVRI_PLANT(olddec))
		set |= F(ECHO);
	/* Both sides decide: the new one by what it sees of the old one. */
	if (HVRI_PLANT(olddec) && facts_out->relation == HVRI_RELATION_NEW)
		facts_out->peer_ownership =
			peer->armed ? HVREPL_OWNERSHIP_DIVERGED :
				      HVREPL_OWNERSHIP_SUPERSEDED;
	/* A superseded claimant still counts. */
	if (HVRI_PLANT(deadcl) &&
	    peer->ownership == HVREPL_OWNERSHIP_SUPERSEDED &&
	    facts_out->relation != HVRI_RELATION_NEW)
		facts_out->peer_ownership = HVREPL_OWNERSHIP_OWNER;
	if (mine->verdict == HVRI_VERDICT_SUPERSEDED &&
	    hvri_uuid_equal(&mine->verdict_mine, &mine->current) &&
	    hvri_uuid_equal(&mine->verdict_peer, theirs))
		set |= F(HELD);
	facts_out->set = set;
}

static bool fenced(uint8_t ownership)
{
	return ownership == HVREPL_OWNERSHIP_SUPERSEDED ||
	       ownership == HVREPL_OWNERSHIP_RELINQUISHED ||
	       ownership == HVREPL_OWNERSHIP_STANDBY;
}

void hvri_verdict_data(const struct hvri_record *mine,
		       const struct hvri_claim *peer,
		       struct hvri_verdict_data *data_out)
{
	const struct hvri_lineage *lineage = &mine->lineage;
	struct hvrepl_uuid common;

	*data_out = (struct hvri_verdict_data){ 0 };
	data_out->mine_to = newest(mine);
	data_out->peer_to = peer->position.number;
	data_out->firm = fenced(mine->ownership) || fenced(peer->ownership);
	if (hvri_uuid_equal(&mine->current, &peer->current))
		return;
	if (hvri_lineage_common(lineage, &mine->current, &peer->current,
				&common)) {
		uint64_t to_mine =
			hvri_lineage_fork(lineage, &common, &mine->current);
		uint64_t to_peer =
			hvri_lineage_fork(lineage, &common, &peer->current);

		/* What one has beyond the other's fork, the other lacks. */
		data_out->mine_from = HVRI_MIN(to_mine, to_peer);
		data_out->peer_from = data_out->mine_from;
	}
	if (data_out->mine_to > data_out->mine_from || mine->dirty ||
	    mine->untrusted)
		data_out->unique |= HVRI_DATA_MINE;
	if (data_out->peer_to > data_out->peer_from || peer->dirty ||
	    peer->untrusted)
		data_out->unique |= HVRI_DATA_PEER;
}
