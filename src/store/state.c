/* SPDX-License-Identifier: Apache-2.0 */
/* What each manifest record does to the state; rules S4, S5, S6 and S8. */
#include "store/state.h"

#include "base/plant.h"

#include <string.h>

bool hvri_state_kept_in(const struct hvri_manifest *state, uint64_t low,
			uint64_t high)
{
	for (uint32_t i = 0; i < state->point_count; i++)
		if (state->points[i].key >= low && state->points[i].key < high)
			return true;
	return false;
}

const struct hvri_manifest_point *
hvri_state_point(const struct hvri_manifest *state, uint64_t key)
{
	for (uint32_t i = 0; i < state->point_count; i++)
		if (state->points[i].key == key)
			return &state->points[i];
	return NULL;
}

uint64_t hvri_state_newest(const struct hvri_manifest *state)
{
	return state->point_count == 0 ?
		       0 :
		       state->points[state->point_count - 1].key;
}

const struct hvri_manifest_config *
hvri_state_config(const struct hvri_manifest *state, uint32_t id)
{
	for (uint32_t i = 0; id != 0 && i < state->config_count; i++)
		if (state->configs[i].id == id)
			return &state->configs[i];
	return NULL;
}

bool hvri_state_needs_container(const struct hvri_manifest *state,
				uint64_t container)
{
	if (container == state->receiving || container == state->merge_undo ||
	    container == state->commit_undo)
		return true;
	for (uint32_t i = 0; i < state->redo_count; i++)
		if (state->redo[i].container == container)
			return true;
	for (uint32_t i = 0; i < state->undo_count; i++)
		if (state->undo[i].container == container)
			return true;
	return false;
}

static const struct hvri_manifest_log *
find_log(const struct hvri_manifest_log *logs, uint32_t count, uint64_t id)
{
	for (uint32_t i = 0; i < count; i++)
		if (logs[i].id == id)
			return &logs[i];
	return NULL;
}

bool hvri_state_has_log(const struct hvri_manifest *state, uint64_t id)
{
	return find_log(state->redo, state->redo_count, id) != NULL ||
	       find_log(state->undo, state->undo_count, id) != NULL;
}

static const struct hvri_manifest_log *
redo_to(const struct hvri_manifest *state, uint64_t key)
{
	for (uint32_t i = 0; i < state->redo_count; i++)
		if (state->redo[i].to == key)
			return &state->redo[i];
	return NULL;
}

static void remove_log(struct hvri_manifest_log *logs, uint32_t *count,
		       uint32_t at)
{
	memmove(&logs[at], &logs[at + 1],
		(*count - at - 1) * sizeof(logs[0]));
	(*count)--;
}

/* Release redo logs with low < to <= high. */
static void release_redo(struct hvri_manifest *state, uint64_t low,
			 uint64_t high)
{
	for (uint32_t i = state->redo_count; i-- > 0;)
		if (state->redo[i].to > low && state->redo[i].to <= high)
			remove_log(state->redo, &state->redo_count, i);
}

/* Logs that no kept point can need (S6); the searched model's gc(). */
static void release_unneeded(struct hvri_manifest *state)
{
	while (state->undo_count > 0 &&
	       !hvri_state_kept_in(state, 0, state->undo[0].to)) {
		uint64_t to = state->undo[0].to;

		release_redo(state, 0, HVRI_MIN(to - 1, state->base));
		remove_log(state->undo, &state->undo_count, 0);
	}
	for (uint32_t i = 0; i < state->undo_count; i++) {
		const struct hvri_manifest_log *undo = &state->undo[i];

		for (uint32_t r = state->redo_count; r-- > 0;) {
			uint64_t to = state->redo[r].to;

			if (to > undo->from && to <= undo->to &&
			    !HVRI_PLANT(redo_outlives_points) &&
			    (!hvri_state_kept_in(state, to, undo->to) ||
			     HVRI_PLANT(redo_released_early)))
				remove_log(state->redo, &state->redo_count, r);
		}
	}
	if (state->undo_count == 0)
		release_redo(state, 0, state->base);
}

static void release_configs(const struct hvri_env *env,
			    struct hvri_manifest *state)
{
	for (uint32_t i = state->config_count; i-- > 0;) {
		struct hvri_manifest_config *config = &state->configs[i];
		bool used = false;

		for (uint32_t p = 0; p < state->point_count; p++)
			used |= state->points[p].config == config->id;
		if (used)
			continue;
		hvri_free(env, config->bytes, config->length);
		memmove(config, config + 1,
			(state->config_count - i - 1) * sizeof(*config));
		state->config_count--;
	}
}

static void drop_all_points(const struct hvri_env *env,
			    struct hvri_manifest *state)
{
	state->point_count = 0;
	state->redo_count = 0;
	state->undo_count = 0;
	state->base = 0;
	state->receiving = 0;
	state->receiving_tail = 0;
	release_configs(env, state);
}

static int32_t check_point(const struct hvri_manifest *state,
			   const struct hvri_manifest_record *record)
{
	const struct hvri_manifest_point *point = &record->point;
	const struct hvri_manifest_log *log = &record->log;

	if (point->key <= state->last_key)
		return HVREPL_E_STATE;
	if (record->length > 0 ?
		    hvri_state_config(state, point->config) != NULL ||
			    point->config == 0 ||
			    state->config_count == HVRI_MANIFEST_POINTS :
		    point->config != 0 &&
			    hvri_state_config(state, point->config) == NULL)
		return HVREPL_E_STATE;
	if (record->type == HVRI_RECORD_ADOPT)
		return log->id != 0 || (state->phase == HVRI_MANIFEST_REPLICA &&
					!hvri_state_only_base(state)) ?
			       HVREPL_E_STATE :
			       HVREPL_OK;
	if (state->phase == HVRI_MANIFEST_INITIAL)
		return log->id == 0 ? HVREPL_OK : HVREPL_E_STATE;
	if (state->phase != HVRI_MANIFEST_REPLICA ||
	    state->commit > HVRI_COMMIT_OVERLAY || log->id == 0 ||
	    log->to != point->key || log->from != hvri_state_newest(state) ||
	    log->container != state->receiving ||
	    record->tail < state->receiving_tail)
		return HVREPL_E_STATE;
	return state->point_count == HVRI_MANIFEST_POINTS ||
			       state->redo_count == HVRI_MANIFEST_LOGS ?
		       HVREPL_E_LIMIT :
		       HVREPL_OK;
}

static int32_t check_merge(const struct hvri_manifest *state,
			   const struct hvri_manifest_record *record)
{
	if (state->phase != HVRI_MANIFEST_REPLICA || state->merge_target != 0 ||
	    state->commit > HVRI_COMMIT_OVERLAY ||
	    record->key <= state->base ||
	    hvri_state_point(state, record->key) == NULL ||
	    redo_to(state, record->key) == NULL)
		return HVREPL_E_STATE;
	/* S4: "no undo" only if no kept point lies below the target. */
	if (record->undo == 0 && hvri_state_kept_in(state, 0, record->key))
		return HVREPL_E_STATE;
	return record->undo != 0 && state->undo_count == HVRI_MANIFEST_LOGS ?
		       HVREPL_E_LIMIT :
		       HVREPL_OK;
}

static int32_t check_replace(const struct hvri_manifest *state,
			     const struct hvri_manifest_record *record)
{
	const struct hvri_manifest_log *logs =
		record->is_undo ? state->undo : state->redo;
	uint32_t count = record->is_undo ? state->undo_count :
					   state->redo_count;

	for (uint32_t i = 0; i < count; i++) {
		if (logs[i].id != record->replaced[0])
			continue;
		if (record->replaced[1] == 0)
			return HVREPL_OK;
		if (i + 1 >= count || logs[i + 1].id != record->replaced[1])
			return HVREPL_E_STATE;
		return (record->is_undo ? hvri_state_undo_joins(state, i) :
					  hvri_state_redo_joins(state, i)) ?
			       HVREPL_OK :
			       HVREPL_E_STATE;
	}
	return HVREPL_E_STATE;
}

static int32_t check_direct(const struct hvri_manifest *state,
			    const struct hvri_manifest_record *record)
{
	bool ready = state->commit == HVRI_COMMIT_SWITCHING ||
		     (state->commit == HVRI_COMMIT_FOLDING &&
		      state->materialised != 0 && state->overlay_frozen == 0);

	if (!ready || record->disk >= state->disk_count ||
	    record->offset > state->disks[record->disk].size ||
	    record->offset <= state->disks[record->disk].direct)
		return HVREPL_E_STATE;
	return HVREPL_OK;
}

static bool all_direct(const struct hvri_manifest *state)
{
	for (uint32_t i = 0; i < state->disk_count; i++)
		if (state->disks[i].direct != state->disks[i].size)
			return false;
	return true;
}

static int32_t verdict(bool ok)
{
	return ok ? HVREPL_OK : HVREPL_E_STATE;
}

int32_t hvri_state_check(const struct hvri_manifest *state,
			 const struct hvri_manifest_record *record)
{
	const struct hvri_manifest_point *point;

	if (record->stamp_count != 0 &&
	    record->stamp_count != state->disk_count)
		return HVREPL_E_STATE;
	switch (record->type) {
	case HVRI_RECORD_RECEIVE:
		return verdict(state->phase == HVRI_MANIFEST_REPLICA &&
			       record->id != 0);
	case HVRI_RECORD_INITIAL:
		return verdict(state->phase <= HVRI_MANIFEST_INITIAL &&
			       record->disk_count == state->disk_count);
	case HVRI_RECORD_POINT:
	case HVRI_RECORD_ADOPT:
		return check_point(state, record);
	case HVRI_RECORD_PINS:
		return verdict(hvri_state_point(state, record->key) != NULL);
	case HVRI_RECORD_DROP:
		point = hvri_state_point(state, record->key);
		return verdict(point != NULL &&
			       (point->pins == 0 || HVRI_PLANT(pin_ignored)) &&
			       point->key != hvri_state_newest(state) &&
			       point->key != state->commit_point &&
			       point->key != state->merge_target);
	case HVRI_RECORD_MERGE:
		return check_merge(state, record);
	case HVRI_RECORD_MERGED:
		return verdict(state->merge_target != 0 &&
			       (record->log.id != 0) ==
				       (state->merge_undo != 0));
	case HVRI_RECORD_REPLACE:
		return check_replace(state, record);
	case HVRI_RECORD_OVERLAY:
		return verdict(state->phase == HVRI_MANIFEST_REPLICA &&
			       state->commit == HVRI_COMMIT_NONE &&
			       record->id != 0 &&
			       hvri_state_point(state, record->key) != NULL);
	case HVRI_RECORD_OVERLAY_DROP:
		return verdict(state->commit == HVRI_COMMIT_OVERLAY);
	case HVRI_RECORD_FREEZE:
		return verdict(record->id != 0 && state->merge_target == 0 &&
			       (state->commit == HVRI_COMMIT_OVERLAY ?
					record->undo != 0 :
					state->commit == HVRI_COMMIT_FOLDING &&
						state->materialised != 0 &&
						state->overlay_frozen == 0));
	case HVRI_RECORD_FOLDED:
		return verdict(state->commit == HVRI_COMMIT_FOLDING &&
			       state->overlay_frozen != 0);
	case HVRI_RECORD_DIRECT:
		return check_direct(state, record);
	case HVRI_RECORD_COMMITTED:
		return verdict(state->commit == HVRI_COMMIT_SWITCHING &&
			       all_direct(state));
	case HVRI_RECORD_CANCEL:
		return verdict(state->commit == HVRI_COMMIT_FOLDING);
	case HVRI_RECORD_RESTORED:
		return verdict(state->commit == HVRI_COMMIT_RESTORING);
	case HVRI_RECORD_BASE_ONLY:
		return verdict(state->phase != HVRI_MANIFEST_REPLICA);
	case HVRI_RECORD_BLOB:
		return HVREPL_OK;
	case HVRI_RECORD_STAMP:
		return verdict(record->stamp_count > 0);
	case HVRI_RECORD_DOUBT:
		return verdict(record->from <= record->to &&
			       record->to <= hvri_state_newest(state));
	default:
		return HVREPL_E_STATE;
	}
}

static void apply_point(const struct hvri_env *env, struct hvri_manifest *state,
			const struct hvri_manifest_record *record,
			uint8_t *owned)
{
	if (owned != NULL) {
		struct hvri_manifest_config *config =
			&state->configs[state->config_count++];

		config->id = record->point.config;
		config->bytes = owned;
		config->length = record->length;
	}
	/* What was adopted before goes: the base is this, now. */
	if (record->type == HVRI_RECORD_ADOPT)
		state->point_count = 0;
	state->points[state->point_count++] = record->point;
	state->last_key = record->point.key;
	if (record->log.id != 0) {
		state->redo[state->redo_count++] = record->log;
		state->receiving_tail = record->tail;
		return;
	}
	/* The base is this point: the first content, or an adopted disk. */
	state->phase = HVRI_MANIFEST_REPLICA;
	state->base = record->point.key;
	memset(&state->init_cut, 0, sizeof(state->init_cut));
	memset(&state->init_epoch, 0, sizeof(state->init_epoch));
	state->init_from = 0;
	state->init_to = 0;
	for (uint32_t i = 0; i < state->disk_count; i++) {
		state->disks[i].frontier = 0;
		state->disks[i].init_sequence = 0;
		state->disks[i].init_ended = 0;
	}
	release_configs(env, state);
}

static void apply_merged(struct hvri_manifest *state,
			 const struct hvri_manifest_record *record)
{
	uint64_t from = state->base, to = state->merge_target, top = from;

	if (record->log.id != 0)
		state->undo[state->undo_count++] = record->log;
	/* Redo r stays while a kept point lies in [r, to). */
	for (uint32_t i = 0; i < state->point_count; i++)
		if (state->points[i].key > from && state->points[i].key < to)
			top = HVRI_MAX(top, state->points[i].key);
	release_redo(state, top, to);
	state->base = to;
	state->merge_target = 0;
	state->merge_undo = 0;
	release_unneeded(state);
}

static void apply_replace(struct hvri_manifest *state,
			  const struct hvri_manifest_record *record)
{
	struct hvri_manifest_log *logs = record->is_undo ? state->undo :
							   state->redo;
	uint32_t *count = record->is_undo ? &state->undo_count :
					    &state->redo_count;

	for (uint32_t i = 0; i < *count; i++) {
		if (logs[i].id != record->replaced[0])
			continue;
		logs[i] = record->log;
		if (record->replaced[1] != 0)
			remove_log(logs, count, i + 1);
		return;
	}
}

static void end_commit(struct hvri_manifest *state)
{
	state->commit = HVRI_COMMIT_NONE;
	state->commit_point = 0;
	state->commit_undo = 0;
	state->materialised = 0;
	state->overlay_active = 0;
	state->overlay_frozen = 0;
	for (uint32_t i = 0; i < state->disk_count; i++)
		state->disks[i].direct = 0;
}

static void apply_initial(struct hvri_manifest *state,
			  const struct hvri_manifest_record *record)
{
	state->phase = HVRI_MANIFEST_INITIAL;
	state->init_cut = record->cut;
	state->init_epoch = record->epoch;
	state->init_from = record->from;
	state->init_to = record->to;
	for (uint32_t i = 0; i < state->disk_count; i++) {
		state->disks[i].frontier = HVRI_MIN(record->disks[i].frontier,
						    state->disks[i].size);
		state->disks[i].init_sequence = record->disks[i].init_sequence;
		state->disks[i].init_ended = record->disks[i].init_ended;
	}
}

/* Ids a record names are never given out again. */
static void note_ids(struct hvri_manifest *state,
		     const struct hvri_manifest_record *record)
{
	uint64_t highest = HVRI_MAX(HVRI_MAX(record->id, record->undo),
				    HVRI_MAX(record->log.id,
					     record->log.container));

	if (highest >= state->next_id && highest != UINT64_MAX)
		state->next_id = highest + 1;
}

/* A point goes: what changed up to it is part of the step to the next one. */
static void add_changed(struct hvri_manifest_point *point, uint64_t bytes)
{
	if (bytes == HVREPL_BYTES_UNKNOWN ||
	    point->changed_bytes > UINT64_MAX - bytes)
		point->changed_bytes = HVREPL_BYTES_UNKNOWN;
	else
		point->changed_bytes += bytes;
}

static void apply_stamps(struct hvri_manifest *state,
			 const struct hvri_manifest_record *record)
{
	if (record->type == HVRI_RECORD_COMMITTED ||
	    record->type == HVRI_RECORD_BASE_ONLY)
		state->stamped = HVRI_STAMP_NONE; /* The tracker's, now. */
	if (record->stamp_count > 0) {
		state->stamped = record->stamped;
		memcpy(state->stamps, record->stamps,
		       record->stamp_count * sizeof(record->stamps[0]));
	}
	/* Two doubts become one; what lies between is seldom any better. */
	if (record->type == HVRI_RECORD_DOUBT) {
		state->doubt_from = state->doubt_to == 0 ?
					    record->from :
					    HVRI_MIN(state->doubt_from,
						     record->from);
		state->doubt_to = HVRI_MAX(state->doubt_to, record->to);
	}
	if (!hvri_state_kept_in(state, state->doubt_from,
				state->doubt_to + 1)) {
		state->doubt_from = 0;
		state->doubt_to = 0;
	}
}

void hvri_state_apply(const struct hvri_env *env, struct hvri_manifest *state,
		      const struct hvri_manifest_record *record,
		      uint8_t *owned)
{
	note_ids(state, record);
	switch (record->type) {
	case HVRI_RECORD_RECEIVE:
		state->receiving = record->id;
		state->receiving_tail = record->tail;
		break;
	case HVRI_RECORD_INITIAL:
		apply_initial(state, record);
		break;
	case HVRI_RECORD_POINT:
	case HVRI_RECORD_ADOPT:
		apply_point(env, state, record, owned);
		break;
	case HVRI_RECORD_PINS:
		for (uint32_t i = 0; i < state->point_count; i++)
			if (state->points[i].key == record->key)
				state->points[i].pins = record->pins;
		break;
	case HVRI_RECORD_DROP:
		for (uint32_t i = 0; i < state->point_count; i++) {
			if (state->points[i].key != record->key)
				continue;
			if (i + 1 < state->point_count)
				add_changed(&state->points[i + 1],
					    state->points[i].changed_bytes);
			memmove(&state->points[i], &state->points[i + 1],
				(state->point_count - i - 1) *
					sizeof(state->points[0]));
			state->point_count--;
			break;
		}
		release_unneeded(state);
		release_configs(env, state);
		break;
	case HVRI_RECORD_MERGE:
		state->merge_target = record->key;
		state->merge_undo = record->undo;
		break;
	case HVRI_RECORD_MERGED:
		apply_merged(state, record);
		break;
	case HVRI_RECORD_REPLACE:
		apply_replace(state, record);
		break;
	case HVRI_RECORD_OVERLAY:
		state->commit = HVRI_COMMIT_OVERLAY;
		state->commit_point = record->key;
		state->overlay_active = record->id;
		break;
	case HVRI_RECORD_FREEZE:
		state->overlay_frozen = state->overlay_active;
		state->overlay_active = record->id;
		if (state->commit == HVRI_COMMIT_OVERLAY)
			state->commit_undo = record->undo;
		state->commit = HVRI_COMMIT_FOLDING;
		break;
	case HVRI_RECORD_FOLDED:
		state->overlay_frozen = 0;
		state->materialised = 1;
		break;
	case HVRI_RECORD_DIRECT:
		state->disks[record->disk].direct = record->offset;
		if (state->commit == HVRI_COMMIT_FOLDING) {
			state->commit = HVRI_COMMIT_SWITCHING;
			state->commit_undo = 0;
			if (!HVRI_PLANT(points_kept_past_direct))
				drop_all_points(env, state);
		}
		break;
	case HVRI_RECORD_CANCEL:
		state->commit = HVRI_COMMIT_RESTORING;
		state->overlay_active = 0;
		state->overlay_frozen = 0;
		break;
	case HVRI_RECORD_COMMITTED:
		end_commit(state);
		state->phase = HVRI_MANIFEST_BASE_ONLY;
		break;
	case HVRI_RECORD_OVERLAY_DROP:
	case HVRI_RECORD_RESTORED:
		end_commit(state);
		break;
	case HVRI_RECORD_BASE_ONLY:
		state->phase = HVRI_MANIFEST_BASE_ONLY;
		break;
	case HVRI_RECORD_BLOB:
		hvri_free(env, state->blob, state->blob_length);
		state->blob = owned;
		state->blob_length = record->length;
		break;
	default:
		break;
	}
	apply_stamps(state, record);
}

bool hvri_state_only_base(const struct hvri_manifest *state)
{
	/* Then there is no log, nor anything that could be merged. */
	return state->point_count == 1 && state->points[0].key == state->base &&
	       state->commit == HVRI_COMMIT_NONE;
}

bool hvri_state_redo_joins(const struct hvri_manifest *state, uint32_t first)
{
	uint64_t older, newer;

	if (first + 1 >= state->redo_count)
		return false;
	older = state->redo[first].to;
	newer = state->redo[first + 1].to;
	if (hvri_state_point(state, older) != NULL ||
	    state->merge_target == older)
		return false;
	if (older > state->base || HVRI_PLANT(redo_joins_over_base))
		return true;
	for (uint32_t i = 0; i < state->undo_count; i++)
		if (state->undo[i].from < older && newer < state->undo[i].to)
			return true;
	return false;
}

bool hvri_state_undo_joins(const struct hvri_manifest *state, uint32_t first)
{
	const struct hvri_manifest_log *a, *b;

	if (first + 1 >= state->undo_count)
		return false;
	a = &state->undo[first];
	b = &state->undo[first + 1];
	if (hvri_state_kept_in(state, a->to, b->to) &&
	    !HVRI_PLANT(undo_joins_over_point))
		return false;
	for (uint32_t i = 0; i < state->redo_count; i++)
		if (state->redo[i].to > b->from && state->redo[i].to < b->to)
			return false;
	return true;
}

void hvri_state_walk(const struct hvri_manifest *state, uint64_t key,
		     struct hvri_state_walk *walk_out)
{
	uint32_t i = 0;
	uint64_t low;

	walk_out->count = 0;
	/* (1) The first completed merge past the point bounds its redo. */
	while (i < state->undo_count && state->undo[i].to <= key)
		i++;
	low = i < state->undo_count ? state->undo[i].from : state->base;
	if (HVRI_PLANT(low_bound_ignored))
		low = 0;
	if (HVRI_PLANT(running_bounds_redo) && state->merge_target != 0)
		low = state->merge_target;
	/* (2) The newest redo in (low, key]. */
	for (uint32_t r = state->redo_count; r-- > 0;)
		if (state->redo[r].to > low && state->redo[r].to <= key)
			walk_out->at[walk_out->count++] = (uint16_t)r;
	/* (3) Then undo, oldest first. */
	for (uint32_t first = i; i < state->undo_count; i++)
		walk_out->at[walk_out->count++] =
			(uint16_t)((HVRI_PLANT(newest_undo_first) ?
					    state->undo_count - 1 - i + first :
					    i) |
				   HVRI_WALK_UNDO);
	/* (4) Then the running merge. */
	walk_out->running = state->merge_target > key &&
			    !HVRI_PLANT(running_undo_ignored);
}
