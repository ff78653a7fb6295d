/* SPDX-License-Identifier: Apache-2.0 */
/* What each manifest record does to the state, and what the state says. Pure. */
#ifndef HVRI_STORE_STATE_H
#define HVRI_STORE_STATE_H

#include "format/manifest.h"

#include <stdbool.h>

/* May `record` follow `state`? STATE when not: while recovering that is
 * damage, before writing it is a bug or a race that was lost. */
HVRI_MUST_CHECK int32_t
hvri_state_check(const struct hvri_manifest *state,
		 const struct hvri_manifest_record *record);
/* Apply a checked record. `owned`, a copy of record->bytes from env, is taken
 * over; NULL when there are none. Cannot fail. */
void hvri_state_apply(const struct hvri_env *env, struct hvri_manifest *state,
		      const struct hvri_manifest_record *record,
		      uint8_t *owned);

/* A kept point in [low, high)? */
bool hvri_state_kept_in(const struct hvri_manifest *state, uint64_t low,
			uint64_t high);
const struct hvri_manifest_point *
hvri_state_point(const struct hvri_manifest *state, uint64_t key);
/* May the point be something else than it was? */
static inline bool hvri_state_doubts(const struct hvri_manifest *state,
				     uint64_t key)
{
	return key != 0 && key >= state->doubt_from && key <= state->doubt_to;
}
/* Key of the newest point, or 0. */
uint64_t hvri_state_newest(const struct hvri_manifest *state);
/* Nothing is held but the base itself, as one point. */
bool hvri_state_only_base(const struct hvri_manifest *state);
const struct hvri_manifest_config *
hvri_state_config(const struct hvri_manifest *state, uint32_t id);
/* Does any log, running merge or commit, or receiving need the container? */
bool hvri_state_needs_container(const struct hvri_manifest *state,
				uint64_t container);
bool hvri_state_has_log(const struct hvri_manifest *state, uint64_t id);

/* S6. A pair of logs that may be joined now: redo `first` into the next one
 * (the newer wins), or undo `first` and the next (the older wins). */
bool hvri_state_redo_joins(const struct hvri_manifest *state, uint32_t first);
bool hvri_state_undo_joins(const struct hvri_manifest *state, uint32_t first);

/* S5 step by step: the logs that may answer for point `key`, first come first.
 * The running merge's or the commit's own undo comes after them. */
#define HVRI_WALK_UNDO 0x8000u
struct hvri_state_walk {
	/* Index into redo, or into undo with HVRI_WALK_UNDO. */
	uint16_t at[2u * HVRI_MANIFEST_LOGS];
	uint32_t count;
	bool running; /* The merge's running undo counts too. */
};
void hvri_state_walk(const struct hvri_manifest *state, uint64_t key,
		     struct hvri_state_walk *walk_out);
#endif
