/* SPDX-License-Identifier: Apache-2.0 */
/* Epochs and their ancestry: what descends from what, and what came of it. */
#ifndef HVRI_REPLICATION_LINEAGE_H
#define HVRI_REPLICATION_LINEAGE_H

#include "base/env.h"
#include "format/record.h"

/* NULL when unknown (none is never known). */
struct hvri_epoch *hvri_lineage_find(struct hvri_lineage *lineage,
				     const struct hvrepl_uuid *id);
const struct hvri_epoch *
hvri_lineage_look(const struct hvri_lineage *lineage,
		  const struct hvrepl_uuid *id);

/* Is `ancestor` on the path of `id` (itself included)? */
bool hvri_lineage_on_path(const struct hvri_lineage *lineage,
			  const struct hvrepl_uuid *id,
			  const struct hvrepl_uuid *ancestor);
/* Is an epoch on the path of `id` known abandoned or refused? */
bool hvri_lineage_dead(const struct hvri_lineage *lineage,
		       const struct hvrepl_uuid *id);
bool hvri_outcome_dead(uint8_t outcome);

/* Nearest common ancestor; false when there is none (unrelated, or pruned). */
bool hvri_lineage_common(const struct hvri_lineage *lineage,
			 const struct hvrepl_uuid *a,
			 const struct hvrepl_uuid *b,
			 struct hvrepl_uuid *common_out);
/* Smallest fork point between `ancestor` and its descendant `id`: data of the
 * ancestor beyond it is not in the descendant. UINT64_MAX when they are one. */
uint64_t hvri_lineage_fork(const struct hvri_lineage *lineage,
			   const struct hvrepl_uuid *ancestor,
			   const struct hvrepl_uuid *id);

/* What a peer makes known takes no more places than so many: an operator here has the
 * others to go on alone. */
#define HVRI_EPOCHS_OF_PEER (HVRI_EPOCHS_MAX - 4u)

uint64_t hvri_lineage_next_ordinal(const struct hvri_lineage *lineage);
/* LIMIT: full; contact with the peer lets old ones be pruned. Known: OK. PROTOCOL:
 * older than its parent, or younger than a child of its. */
HVRI_MUST_CHECK int32_t hvri_lineage_add(struct hvri_lineage *lineage,
					 const struct hvri_epoch *epoch);
/* Only from OPEN: an outcome is final. */
void hvri_lineage_decide(struct hvri_lineage *lineage,
			 const struct hvrepl_uuid *id, uint8_t outcome);

/* Does `theirs` know an epoch entered by `site`, or its outcome, that `mine`
 * does not (O2)? Or was one entered that `mine` gave up before granting it?
 * Then `mine` was restored from a backup. */
bool hvri_lineage_knows_more(const struct hvri_lineage *theirs,
			     const struct hvri_lineage *mine,
			     const struct hvrepl_uuid *site);
/* Merged so, would an epoch on the path of `id` count as given up, and none does now?
 * *left_out: the one before all that would, which may not be known. */
bool hvri_lineage_overturns(const struct hvri_lineage *mine,
			    const struct hvri_lineage *theirs,
			    const struct hvrepl_uuid *site,
			    const struct hvrepl_uuid *id,
			    struct hvrepl_uuid *left_out);
/* Take over what `theirs` knows; what came of an epoch that `site` (ours) has
 * entered is ours to say, a commit is final, and what hvri_lineage_forget() let go
 * comes back as given up, if at all. `site` none: we were restored, and the peer's
 * outcomes count. LIMIT; PROTOCOL when the two contradict each other.
 * Nothing is changed on failure. *changed_out: anything new? */
HVRI_MUST_CHECK int32_t hvri_lineage_merge(struct hvri_lineage *mine,
					   const struct hvri_lineage *theirs,
					   const struct hvrepl_uuid *site,
					   bool *changed_out);
/* Once more than half of the room is used: drop child epochs of handovers that came
 * to nothing and can never be granted any more, but for those in `keep`. `theirs`:
 * what the peer of this `site` names now; `standby_at`: the newest point of the one
 * that stands by, 0: not known. True: some went. */
bool hvri_lineage_forget(struct hvri_lineage *lineage,
			 const struct hvri_lineage *theirs,
			 const struct hvrepl_uuid *site, uint64_t standby_at,
			 const struct hvrepl_uuid *keep, size_t keep_count);
/* Nearly full: drop epochs that were entered and given up, as both know, and from
 * then on take over no epoch of a smaller ordinal that is not known: it may be one
 * of those. What is known stays known, whatever its ordinal. */
bool hvri_lineage_squeeze(struct hvri_lineage *lineage,
			  const struct hvri_lineage *theirs,
			  uint64_t standby_at, const struct hvrepl_uuid *keep,
			  size_t keep_count);
/* Both sides confirmed `committed` (O1): once more than half of the room is
 * used, drop epochs older than its parent, except those in `keep`. */
void hvri_lineage_prune(struct hvri_lineage *lineage,
			const struct hvrepl_uuid *committed,
			const struct hvrepl_uuid *keep, size_t keep_count);
#endif
