/* SPDX-License-Identifier: Apache-2.0 */
/* Walks over a lineage. A child's ordinal is larger than its parent's (checked
 * when bytes come in and when lineages are merged), so every walk ends. */
#include "replication/lineage.h"

#include "base/plant.h"

#include <string.h>

/* Pruning starts when this many epochs are held. */
#define PRUNE_ABOVE (HVRI_EPOCHS_MAX / 2)
/* With so few places left what both know as given up goes, too. */
#define SQUEEZE_ABOVE (HVRI_EPOCHS_MAX - 24u)

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

/* Older than its children and younger than its parent, if those are known: what is
 * known may have a parent that is not, and a peer may say that it is this one. */
static bool fits(const struct hvri_lineage *lineage,
		 const struct hvri_epoch *epoch)
{
	const struct hvri_epoch *parent =
		hvri_lineage_look(lineage, &epoch->parent);

	if (hvri_uuid_is_none(&epoch->id) || epoch->ordinal == 0 ||
	    (parent && parent->ordinal >= epoch->ordinal))
		return false;
	for (uint32_t i = 0; i < lineage->count; i++)
		if (hvri_uuid_equal(&lineage->epochs[i].parent, &epoch->id) &&
		    lineage->epochs[i].ordinal <= epoch->ordinal)
			return false;
	return true;
}

int32_t hvri_lineage_add(struct hvri_lineage *lineage,
			 const struct hvri_epoch *epoch)
{
	if (hvri_lineage_look(lineage, &epoch->id))
		return HVREPL_OK;
	if (!fits(lineage, epoch) && !HVRI_PLANT(its_own_ancestor))
		return HVREPL_E_PROTOCOL;
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
		    (known == NULL && epoch->ordinal < mine->floor))
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

static bool is_leaf(const struct hvri_lineage *lineage,
		    const struct hvrepl_uuid *id)
{
	for (uint32_t i = 0; i < lineage->count; i++)
		if (hvri_uuid_equal(&lineage->epochs[i].parent, id))
			return false;
	return true;
}

/* A handover that came to nothing: its child epoch was never entered. */
static bool is_unused(const struct hvri_epoch *epoch)
{
	return epoch->planned && !epoch->entered &&
	       hvri_outcome_dead(epoch->outcome);
}

/* Forgotten here, to whom it was to be given, and the peer is about to. */
static bool stays_forgotten(const struct hvri_lineage *theirs,
			    const struct hvri_epoch *epoch,
			    const struct hvrepl_uuid *site)
{
	return is_unused(epoch) && hvri_uuid_equal(&epoch->owner, site) &&
	       is_leaf(theirs, &epoch->id);
}

/* What is not known here. An open handover to the peer is only ever this site's
 * own: one that it does not know, it has given up and forgotten. */
static struct hvri_epoch news(const struct hvri_epoch *epoch,
			      const struct hvrepl_uuid *site)
{
	struct hvri_epoch learned = *epoch;

	if (epoch->planned && !epoch->entered &&
	    epoch->outcome == HVREPL_OUTCOME_OPEN && !hvri_uuid_is_none(site) &&
	    !hvri_uuid_equal(&epoch->owner, site))
		learned.outcome = HVREPL_OUTCOME_ABANDONED;
	return learned;
}

/* Is the peer's outcome to be taken over? */
static bool counts(const struct hvri_epoch *epoch,
		   const struct hvri_epoch *known,
		   const struct hvrepl_uuid *site)
{
	/* We were restored from a backup: what was decided since, here too, only
	 * the peer knows. */
	if (hvri_uuid_is_none(site))
		return epoch->outcome != HVREPL_OUTCOME_OPEN &&
		       epoch->outcome != known->outcome;
	/* Final is final: who says otherwise of an epoch that was committed was
	 * restored from before that. */
	return epoch->outcome > known->outcome &&
	       known->outcome != HVREPL_OUTCOME_COMMITTED &&
	       !(known->entered && hvri_uuid_equal(&known->owner, site));
}

static int32_t mergeable(const struct hvri_lineage *mine,
			 const struct hvri_lineage *theirs,
			 const struct hvrepl_uuid *site)
{
	uint32_t added = 0;

	for (uint32_t i = 0; i < theirs->count; i++) {
		const struct hvri_epoch *epoch = &theirs->epochs[i];
		const struct hvri_epoch *known =
			hvri_lineage_look(mine, &epoch->id);
		const struct hvri_epoch *parent =
			hvri_lineage_look(mine, &epoch->parent);

		if (known == NULL && epoch->ordinal < mine->floor)
			continue;
		if (known && !same_birth(known, epoch))
			return HVREPL_E_PROTOCOL;
		if (parent && parent->ordinal >= epoch->ordinal)
			return HVREPL_E_PROTOCOL;
		added += known == NULL &&
			 !stays_forgotten(theirs, epoch, site);
	}
	/* A child of theirs that we know must not become its own ancestor. */
	for (uint32_t i = 0; i < mine->count; i++) {
		const struct hvri_epoch *parent =
			hvri_lineage_look(theirs, &mine->epochs[i].parent);

		if (parent && parent->ordinal >= mine->epochs[i].ordinal)
			return HVREPL_E_PROTOCOL;
	}
	return added > 0 && mine->count + added > HVRI_EPOCHS_OF_PEER ?
		       HVREPL_E_LIMIT :
		       HVREPL_OK;
}

bool hvri_lineage_overturns(const struct hvri_lineage *mine,
			    const struct hvri_lineage *theirs,
			    const struct hvrepl_uuid *site,
			    const struct hvrepl_uuid *id,
			    struct hvrepl_uuid *left_out)
{
	const struct hvri_epoch *epoch = hvri_lineage_look(mine, id);
	bool overturned = false;

	if (hvri_lineage_dead(mine, id))
		return false;
	while (epoch) {
		const struct hvri_epoch *said =
			hvri_lineage_look(theirs, &epoch->id);
		bool dead = epoch == said ?
				    hvri_outcome_dead(news(said, site).outcome) :
				    said && hvri_outcome_dead(said->outcome) &&
					    counts(said, epoch, site);

		if (dead) {
			overturned = true;
			*left_out = epoch->parent;
		}
		id = &epoch->parent;
		epoch = hvri_lineage_look(mine, id);
		/* It would become known by them. */
		if (epoch == NULL)
			epoch = hvri_lineage_look(theirs, id);
	}
	return overturned;
}

int32_t hvri_lineage_merge(struct hvri_lineage *mine,
			   const struct hvri_lineage *theirs,
			   const struct hvrepl_uuid *site, bool *changed_out)
{
	HVRI_TRY(mergeable(mine, theirs, site));
	*changed_out = false;
	for (uint32_t i = 0; i < theirs->count; i++) {
		const struct hvri_epoch *epoch = &theirs->epochs[i];
		struct hvri_epoch *known = hvri_lineage_find(mine, &epoch->id);

		if (known == NULL && epoch->ordinal < mine->floor)
			continue;
		if (known == NULL) {
			if (stays_forgotten(theirs, epoch, site))
				continue;
			mine->epochs[mine->count++] = news(epoch, site);
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
		if (counts(epoch, known, site)) {
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

/*
 * Can nobody take that handover up any more? Only the site that gives the VM away
 * can grant it, and does not where it is given up; a grant that is late is taken at
 * exactly its point only, and the standby stands beyond it. Who was to get it
 * forgets it first, once the other says that it is given up; the other when it is
 * not named any more.
 */
static bool is_past(const struct hvri_epoch *epoch,
		    const struct hvri_lineage *theirs,
		    const struct hvrepl_uuid *site, uint64_t standby_at)
{
	const struct hvri_epoch *known = hvri_lineage_look(theirs, &epoch->id);
	uint64_t fork = epoch->fork_point;

	if (hvri_uuid_equal(&epoch->owner, site)) {
		if (known == NULL || !is_unused(known))
			return false;
		fork = HVRI_MAX(fork, known->fork_point);
	} else if (known != NULL) {
		return false;
	}
	return fork == 0 || fork < standby_at;
}

static void drop(struct hvri_lineage *lineage, uint32_t i)
{
	lineage->count--;
	memmove(&lineage->epochs[i], &lineage->epochs[i + 1],
		(lineage->count - i) * sizeof(lineage->epochs[0]));
}

static bool is_kept(const struct hvri_lineage *lineage,
		    const struct hvrepl_uuid *id,
		    const struct hvrepl_uuid *keep, size_t keep_count)
{
	for (size_t i = 0; i < keep_count; i++)
		if (hvri_lineage_on_path(lineage, &keep[i], id))
			return true;
	return false;
}

bool hvri_lineage_forget(struct hvri_lineage *lineage,
			 const struct hvri_lineage *theirs,
			 const struct hvrepl_uuid *site, uint64_t standby_at,
			 const struct hvrepl_uuid *keep, size_t keep_count)
{
	bool any = false;

	if (lineage->count <= PRUNE_ABOVE)
		return false;
	for (uint32_t i = 0; i < lineage->count;) {
		const struct hvri_epoch *epoch = &lineage->epochs[i];

		if (is_unused(epoch) && is_leaf(lineage, &epoch->id) &&
		    is_past(epoch, theirs, site, standby_at) &&
		    !is_kept(lineage, &epoch->id, keep, keep_count)) {
			drop(lineage, i);
			any = true;
		} else {
			i++;
		}
	}
	return any;
}

/* Was entered, is given up, and the peer knows or has forgotten it. */
static bool is_over(const struct hvri_epoch *epoch,
		    const struct hvri_lineage *theirs, uint64_t standby_at)
{
	const struct hvri_epoch *known = hvri_lineage_look(theirs, &epoch->id);

	if (!epoch->entered || !hvri_outcome_dead(epoch->outcome) ||
	    (epoch->planned && epoch->fork_point >= standby_at))
		return false;
	return known ? hvri_outcome_dead(known->outcome) :
		       epoch->ordinal < theirs->floor;
}

bool hvri_lineage_squeeze(struct hvri_lineage *lineage,
			  const struct hvri_lineage *theirs,
			  uint64_t standby_at, const struct hvrepl_uuid *keep,
			  size_t keep_count)
{
	uint64_t floor = lineage->floor;
	bool any = false;

	if (lineage->count <= SQUEEZE_ABOVE)
		return false;
	/* Children stand behind their parents' ordinals: newest first. */
	for (uint32_t i = lineage->count; i-- > 0;) {
		const struct hvri_epoch *epoch = &lineage->epochs[i];

		if (!is_over(epoch, theirs, standby_at) ||
		    !is_leaf(lineage, &epoch->id) ||
		    is_kept(lineage, &epoch->id, keep, keep_count))
			continue;
		floor = HVRI_MAX(floor, epoch->ordinal + 1);
		drop(lineage, i);
		any = true;
	}
	lineage->floor = floor;
	return any;
}
