/* SPDX-License-Identifier: Apache-2.0 */
/* Walks over a lineage. A child's ordinal is larger than its parent's (checked
 * when bytes come in and when lineages are merged), so every walk ends. */
#include "replication/lineage.h"

#include <string.h>

/* Pruning starts when this many epochs are held. */
#define PRUNE_ABOVE (HVRI_EPOCHS_MAX / 2)

const struct hvri_epoch *hvri_lineage_look(const struct hvri_lineage *lineage,
					   const struct hvrepl_uuid *id)
{
	if (hvri_uuid_is_none(id))
		return NULL;
	for (uint32_t i = lineage->count; i-- > 0;)
		if (hvri_uuid_equal(&lineage->epochs[i].id, id))
			return &lineage->epochs[i];
	return NULL;
}

struct hvri_epoch *hvri_lineage_find(struct hvri_lineage *lineage,
				     const struct hvrepl_uuid *id)
{
	const struct hvri_epoch *epoch = hvri_lineage_look(lineage, id);

	return epoch ? &lineage->epochs[epoch - lineage->epochs] : NULL;
}

bool hvri_outcome_dead(uint8_t outcome)
{
	return outcome == HVREPL_OUTCOME_ABANDONED ||
	       outcome == HVREPL_OUTCOME_REFUSED;
}

bool hvri_lineage_on_path(const struct hvri_lineage *lineage,
			  const struct hvrepl_uuid *id,
			  const struct hvrepl_uuid *ancestor)
{
	const struct hvri_epoch *epoch = hvri_lineage_look(lineage, id);

	for (; epoch; epoch = hvri_lineage_look(lineage, &epoch->parent))
		if (hvri_uuid_equal(&epoch->id, ancestor))
			return true;
	return false;
}

bool hvri_lineage_dead(const struct hvri_lineage *lineage,
		       const struct hvrepl_uuid *id)
{
	const struct hvri_epoch *epoch = hvri_lineage_look(lineage, id);

	for (; epoch; epoch = hvri_lineage_look(lineage, &epoch->parent))
		if (hvri_outcome_dead(epoch->outcome))
			return true;
	return false;
}

bool hvri_lineage_common(const struct hvri_lineage *lineage,
			 const struct hvrepl_uuid *a,
			 const struct hvrepl_uuid *b,
			 struct hvrepl_uuid *common_out)
{
	const struct hvri_epoch *epoch = hvri_lineage_look(lineage, a);

	for (; epoch; epoch = hvri_lineage_look(lineage, &epoch->parent))
		if (hvri_lineage_on_path(lineage, b, &epoch->id)) {
			*common_out = epoch->id;
			return true;
		}
	return false;
}

uint64_t hvri_lineage_fork(const struct hvri_lineage *lineage,
			   const struct hvrepl_uuid *ancestor,
			   const struct hvrepl_uuid *id)
{
	const struct hvri_epoch *epoch = hvri_lineage_look(lineage, id);
	uint64_t fork = UINT64_MAX;

	for (; epoch && !hvri_uuid_equal(&epoch->id, ancestor);
	     epoch = hvri_lineage_look(lineage, &epoch->parent))
		fork = HVRI_MIN(fork, epoch->fork_point);
	return fork;
}

uint64_t hvri_lineage_next_ordinal(const struct hvri_lineage *lineage)
{
	uint64_t ordinal = lineage->floor;

	for (uint32_t i = 0; i < lineage->count; i++)
		ordinal = HVRI_MAX(ordinal, lineage->epochs[i].ordinal);
	return ordinal + 1;
}

int32_t hvri_lineage_add(struct hvri_lineage *lineage,
			 const struct hvri_epoch *epoch)
{
	if (hvri_lineage_look(lineage, &epoch->id))
		return HVREPL_OK;
	if (lineage->count >= HVRI_EPOCHS_MAX)
		return HVREPL_E_LIMIT;
	lineage->epochs[lineage->count++] = *epoch;
	return HVREPL_OK;
}

void hvri_lineage_decide(struct hvri_lineage *lineage,
			 const struct hvrepl_uuid *id, uint8_t outcome)
{
	struct hvri_epoch *epoch = hvri_lineage_find(lineage, id);

	if (epoch && epoch->outcome == HVREPL_OUTCOME_OPEN)
		epoch->outcome = outcome;
}

bool hvri_lineage_knows_more(const struct hvri_lineage *theirs,
			     const struct hvri_lineage *mine,
			     const struct hvrepl_uuid *site)
{
	for (uint32_t i = 0; i < theirs->count; i++) {
		const struct hvri_epoch *epoch = &theirs->epochs[i];
		const struct hvri_epoch *known =
			hvri_lineage_look(mine, &epoch->id);

		if (known && epoch->entered && !known->entered &&
		    hvri_outcome_dead(known->outcome))
			return true;
		/* An epoch drawn by the peer for a handover to us is news, not
		 * something we forgot, until we had entered it. */
		if (!hvri_uuid_equal(&epoch->owner, site) || !epoch->entered ||
		    epoch->ordinal < mine->floor)
			continue;
		if (known == NULL || !known->entered)
			return true;
		if (epoch->outcome != HVREPL_OUTCOME_OPEN &&
		    epoch->outcome != known->outcome)
			return true;
	}
	return false;
}

static bool same_birth(const struct hvri_epoch *a, const struct hvri_epoch *b)
{
	return hvri_uuid_equal(&a->parent, &b->parent) &&
	       hvri_uuid_equal(&a->owner, &b->owner) &&
	       a->ordinal == b->ordinal && a->planned == b->planned;
}

static int32_t mergeable(const struct hvri_lineage *mine,
			 const struct hvri_lineage *theirs)
{
	uint32_t added = 0;

	for (uint32_t i = 0; i < theirs->count; i++) {
		const struct hvri_epoch *epoch = &theirs->epochs[i];
		const struct hvri_epoch *known =
			hvri_lineage_look(mine, &epoch->id);
		const struct hvri_epoch *parent =
			hvri_lineage_look(mine, &epoch->parent);

		if (epoch->ordinal < mine->floor)
			continue;
		if (known && !same_birth(known, epoch))
			return HVREPL_E_PROTOCOL;
		if (parent && parent->ordinal >= epoch->ordinal)
			return HVREPL_E_PROTOCOL;
		added += known == NULL;
	}
	/* A child of theirs that we know must not become its own ancestor. */
	for (uint32_t i = 0; i < mine->count; i++) {
		const struct hvri_epoch *parent =
			hvri_lineage_look(theirs, &mine->epochs[i].parent);

		if (parent && parent->ordinal >= mine->epochs[i].ordinal)
			return HVREPL_E_PROTOCOL;
	}
	return added > HVRI_EPOCHS_MAX - mine->count ? HVREPL_E_LIMIT :
						       HVREPL_OK;
}

int32_t hvri_lineage_merge(struct hvri_lineage *mine,
			   const struct hvri_lineage *theirs,
			   const struct hvrepl_uuid *site, bool *changed_out)
{
	HVRI_TRY(mergeable(mine, theirs));
	*changed_out = false;
	for (uint32_t i = 0; i < theirs->count; i++) {
		const struct hvri_epoch *epoch = &theirs->epochs[i];
		struct hvri_epoch *known = hvri_lineage_find(mine, &epoch->id);

		if (epoch->ordinal < mine->floor)
			continue;
		if (known == NULL) {
			mine->epochs[mine->count++] = *epoch;
			*changed_out = true;
			continue;
		}
		if (epoch->entered && !known->entered) {
			/* Given up unentered: said before we were restored. */
			if (hvri_outcome_dead(known->outcome))
				known->outcome = epoch->outcome;
			known->entered = true;
			*changed_out = true;
		}
		if (epoch->outcome > known->outcome &&
		    !(known->entered &&
		      hvri_uuid_equal(&known->owner, site))) {
			known->outcome = epoch->outcome;
			*changed_out = true;
		}
		/* Of a handover it is known from the final cut on. */
		if (known->fork_point == 0 && epoch->fork_point != 0) {
			known->fork_point = epoch->fork_point;
			*changed_out = true;
		}
	}
	return HVREPL_OK;
}

void hvri_lineage_prune(struct hvri_lineage *lineage,
			const struct hvrepl_uuid *committed,
			const struct hvrepl_uuid *keep, size_t keep_count)
{
	const struct hvri_epoch *epoch = hvri_lineage_look(lineage, committed);
	const struct hvri_epoch *parent;
	uint64_t floor;
	uint32_t to = 0;

	if (epoch == NULL || lineage->count <= PRUNE_ABOVE)
		return;
	parent = hvri_lineage_look(lineage, &epoch->parent);
	floor = parent ? parent->ordinal : epoch->ordinal;
	for (size_t i = 0; i < keep_count; i++) {
		const struct hvri_epoch *kept =
			hvri_lineage_look(lineage, &keep[i]);

		if (kept)
			floor = HVRI_MIN(floor, kept->ordinal);
	}
	if (floor <= lineage->floor)
		return;
	for (uint32_t i = 0; i < lineage->count; i++)
		if (lineage->epochs[i].ordinal >= floor)
			lineage->epochs[to++] = lineage->epochs[i];
	lineage->count = to;
	lineage->floor = floor;
}
