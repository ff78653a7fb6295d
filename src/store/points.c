/* SPDX-License-Identifier: Apache-2.0 */
/* The points: listing, pinning, giving up, and the policy for it. */
#include "store/internal.h"

#include "base/plant.h"

#include <string.h>

static void fill(const struct hvri_manifest *state,
		 const struct hvri_manifest_point *from,
		 struct hvrepl_point *out)
{
	struct hvrepl_point point = {
		.struct_size = sizeof(point),
		.pins = from->pins,
		.point = from->key,
		.number = from->number,
		.epoch = from->epoch,
		.cut = from->cut,
		.utc_ns = from->utc_ns,
		.config_version = from->config_version,
		.changed_bytes = from->changed_bytes,
		.flags = hvri_state_doubts(state, from->key) ?
				 HVREPL_POINT_DOUBTED : 0,
	};

	for (uint32_t i = 0; i < state->redo_count; i++)
		if (state->redo[i].to == from->key)
			point.stored_bytes = state->redo[i].stored_bytes;
	*out = point;
}

/* map held. One that is being dropped is as good as gone; once poisoned, nobody knows
 * before the next open. */
static bool offered(const hvrepl_store *store,
		    const struct hvri_manifest_point *point)
{
	return point != NULL && point->key != store->dropping;
}

uint32_t hvri_store_points_offered(const hvrepl_store *store)
{
	return store->state.point_count -
	       (hvri_state_point(&store->state, store->dropping) != NULL);
}

int32_t hvri_store_point_at(hvrepl_store *store, uint32_t i,
			    struct hvrepl_point *point_out)
{
	int32_t rc = HVREPL_E_NOT_FOUND;

	hvri_lock(&store->map);
	for (uint32_t at = 0; at < store->state.point_count; at++) {
		const struct hvri_manifest_point *point =
			&store->state.points[at];

		if (!offered(store, point) || i-- > 0)
			continue;
		fill(&store->state, point, point_out);
		rc = HVREPL_OK;
		break;
	}
	hvri_unlock(&store->map);
	return rc;
}

int32_t hvri_store_point_find(hvrepl_store *store,
			      const struct hvrepl_uuid *epoch, uint64_t number,
			      const struct hvrepl_uuid *cut,
			      struct hvrepl_point *point_out)
{
	int32_t rc = HVREPL_E_NOT_FOUND;

	hvri_lock(&store->map);
	for (uint32_t i = 0; i < store->state.point_count; i++) {
		const struct hvri_manifest_point *point =
			&store->state.points[i];

		if (point->number != number ||
		    !offered(store, point) ||
		    !hvri_uuid_equal(&point->epoch, epoch) ||
		    (!hvri_uuid_is_none(cut) &&
		     !hvri_uuid_equal(&point->cut, cut)))
			continue;
		fill(&store->state, point, point_out);
		rc = HVREPL_OK;
	}
	hvri_unlock(&store->map);
	return rc;
}

static int32_t set_pins(hvrepl_store *store, uint64_t key, uint32_t add,
			uint32_t remove)
{
	struct hvri_manifest_record record = { .type = HVRI_RECORD_PINS,
					       .key = key };
	const struct hvri_manifest_point *point;
	int32_t rc;

	hvri_lock(&store->work);
	rc = hvri_store_usable(store);
	point = hvri_state_point(&store->state, key);
	if (rc == HVREPL_OK && point == NULL)
		rc = HVREPL_E_NOT_FOUND;
	/* A commit has looked for pins when it began, and gives up all points. */
	if (rc == HVREPL_OK && add != 0 &&
	    (store->committing || store->state.commit == HVRI_COMMIT_FOLDING))
		rc = HVREPL_E_BUSY;
	if (rc == HVREPL_OK) {
		record.pins = (point->pins | add) & ~remove;
		if (record.pins != point->pins)
			rc = hvri_store_record(store, &record, NULL);
	}
	hvri_unlock(&store->work);
	return rc;
}

int32_t hvri_store_pin(hvrepl_store *store, uint64_t point, uint32_t pins)
{
	return set_pins(store, point, pins, 0);
}

int32_t hvri_store_unpin(hvrepl_store *store, uint64_t point, uint32_t pins)
{
	return set_pins(store, point, 0, pins);
}

bool hvri_store_viewed(hvrepl_store *store, uint64_t point)
{
	for (const struct hvrepl_view *view = store->views; view != NULL;
	     view = view->next)
		if (view->point == point)
			return true;
	return false;
}

int32_t hvri_store_keep(hvrepl_store *store, uint64_t key)
{
	int32_t rc = HVREPL_OK;

	hvri_lock(&store->map);
	if (!offered(store, hvri_state_point(&store->state, key)))
		rc = HVREPL_E_NOT_FOUND;
	else
		store->keeps = !HVRI_PLANT(points_not_kept);
	hvri_unlock(&store->map);
	return rc;
}

void hvri_store_let_go(hvrepl_store *store)
{
	hvri_lock(&store->map);
	store->keeps = false;
	hvri_unlock(&store->map);
}

/* Whether it may go; from then on nobody gets it any more (hvri_store_keep). */
static bool choose(hvrepl_store *store, const struct hvri_manifest_point *point)
{
	struct hvri_manifest_record record = { .type = HVRI_RECORD_DROP,
					       .key = point->key };
	bool may;

	if (hvri_state_check(&store->state, &record) != HVREPL_OK ||
	    (hvri_store_viewed(store, point->key) &&
	     !HVRI_PLANT(viewed_point_dropped)))
		return false;
	hvri_lock(&store->map);
	may = !store->keeps;
	if (may)
		store->dropping = point->key;
	hvri_unlock(&store->map);
	return may;
}

/* What choose() said yes to. */
static int32_t drop(hvrepl_store *store)
{
	struct hvri_manifest_record record = { .type = HVRI_RECORD_DROP,
					       .key = store->dropping };
	int32_t rc = hvri_store_record(store, &record, NULL);

	/* Once poisoned nobody knows whether it is gone, before the next open. */
	if (rc == HVREPL_OK || hvri_store_usable(store) == HVREPL_OK) {
		hvri_lock(&store->map);
		store->dropping = 0;
		hvri_unlock(&store->map);
	}
	return rc;
}

int32_t hvri_store_drop(hvrepl_store *store, uint64_t key,
			struct hvrepl_error *error)
{
	const struct hvri_manifest_point *point;
	int32_t rc;

	hvri_lock(&store->work);
	rc = hvri_store_usable(store);
	point = hvri_state_point(&store->state, key);
	if (rc == HVREPL_OK && point == NULL)
		rc = hvri_fail(error, HVREPL_E_NOT_FOUND,
			       "there is no point %llu",
			       (unsigned long long)key);
	if (rc == HVREPL_OK && !choose(store, point))
		rc = hvri_fail(error, HVREPL_E_BUSY,
			       "point %llu is pinned, in use or the newest, or "
			       "a failover has begun: unpin it, close what uses "
			       "it, or wait",
			       (unsigned long long)key);
	if (rc == HVREPL_OK)
		rc = drop(store);
	hvri_unlock(&store->work);
	return rc < 0 ? hvri_fail_plain(error, rc) : rc;
}

/* Points that policy counts: neither pinned nor the newest. */
static uint32_t counted(const struct hvri_manifest *state)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i + 1 < state->point_count; i++)
		count += state->points[i].pins == 0;
	return count;
}

/* 0: there is none; else for drop(). */
static uint64_t choose_oldest(hvrepl_store *store)
{
	for (uint32_t i = 0; i + 1 < store->state.point_count; i++)
		if (choose(store, &store->state.points[i]))
			return store->state.points[i].key;
	return 0;
}

/* Points in doubt go once there is one that is not: it came by a compare. */
static int32_t drop_doubted(hvrepl_store *store, uint32_t *dropped_out)
{
	const struct hvri_manifest *state = &store->state;

	if (hvri_store_doubts(store, hvri_state_newest(state)))
		return HVREPL_OK;
	for (uint32_t i = 0; i < state->point_count;) {
		uint64_t key = state->points[i].key;

		if (!hvri_store_doubts(store, key) ||
		    !choose(store, &state->points[i])) {
			i++;
			continue;
		}
		hvri_log(&store->env, HVREPL_LOG_WARNING,
			 "recovery point %llu is given up: it was in doubt",
			 (unsigned long long)key);
		HVRI_TRY(drop(store));
		(*dropped_out)++;
	}
	return HVREPL_OK;
}

int32_t hvri_retention_step(hvrepl_store *store, uint32_t *dropped_out)
{
	HVRI_TRY(drop_doubted(store, dropped_out));
	while (counted(&store->state) > store->options.points_max) {
		if (choose_oldest(store) == 0)
			break;
		HVRI_TRY(drop(store));
		(*dropped_out)++;
	}
	return HVREPL_OK;
}

/* Where policy wants the base; 0: where it is. */
static uint64_t wanted_base(const hvrepl_store *store)
{
	const struct hvri_manifest *state = &store->state;
	uint64_t key;

	/* Under a failover it stays: a commit would have to bring it back. */
	if (state->phase != HVRI_MANIFEST_REPLICA ||
	    state->commit != HVRI_COMMIT_NONE)
		return 0;
	key = store->options.base_at == HVREPL_BASE_AT_OLDEST ?
		      state->points[0].key :
		      hvri_state_newest(state);
	/* What is in doubt does not get into the base. */
	return key > state->base && !hvri_store_doubts(store, key) ? key : 0;
}

/* One at a time, and only when nothing else gives space back. */
static int32_t drop_for_space(hvrepl_store *store, bool short_of_space,
			      uint32_t *more_out)
{
	uint64_t key = 0;

	if (!short_of_space &&
	    hvri_store_used(store) <= hvri_store_high_water(store))
		return HVREPL_OK;
	if (counted(&store->state) >
	    __atomic_load_n(&store->options.points_min, __ATOMIC_RELAXED))
		key = choose_oldest(store);
	if (key == 0)
		return short_of_space ? HVREPL_E_NO_SPACE : HVREPL_OK;
	hvri_log(&store->env, HVREPL_LOG_WARNING,
		 "recovery point %llu is given up for space",
		 (unsigned long long)key);
	*more_out = 1;
	HVRI_TRY(drop(store));
	store->receive.refused = false;
	return HVREPL_OK;
}

static int32_t maintain(hvrepl_store *store, uint32_t *more_out)
{
	uint32_t dropped = 0;
	uint64_t target;
	bool short_of_space;
	int32_t rc;

	HVRI_TRY(hvri_store_usable(store));
	if (__atomic_exchange_n(&store->limits_new, false, __ATOMIC_ACQUIRE))
		store->receive.refused = false; /* By what no longer counts. */
	short_of_space = store->receive.refused;
	HVRI_TRY(hvri_retention_step(store, &dropped));
	HVRI_TRY(hvri_check_step(store, more_out));
	if (*more_out != 0)
		return HVREPL_OK;
	if (store->state.merge_target != 0) {
		*more_out = 1;
		rc = hvri_merge_go_on(store, &dropped);
		if (rc != HVREPL_E_NO_SPACE)
			return rc;
		short_of_space = true;
	}
	target = store->state.merge_target != 0 ? 0 : wanted_base(store);
	if (target != 0) {
		rc = hvri_merge_start(store, target, NULL);
		if (rc == HVREPL_OK)
			*more_out = 1;
		if (rc != HVREPL_E_NO_SPACE)
			return rc;
		short_of_space = true;
	}
	*more_out = 0;
	if (!store->compact_off)
		rc = hvri_compact_step(store, more_out);
	else
		rc = HVREPL_OK;
	/* Whoever reads it is told; the rest of upkeep goes on. */
	if (hvri_store_is_damage(rc)) {
		hvri_log(&store->env, HVREPL_LOG_ERROR,
			 "a log of the store is damaged: logs are not joined "
			 "any more");
		store->compact_off = true;
		*more_out = 1;
		return HVREPL_OK;
	}
	if (rc < 0 && rc != HVREPL_E_NO_SPACE)
		return rc;
	/* A join that was begun and has no room gets on when there is some, not
	 * by being asked again at once. */
	if (rc == HVREPL_OK && *more_out != 0)
		return HVREPL_OK;
	*more_out = 0;
	return drop_for_space(store, short_of_space, more_out);
}

int32_t hvri_store_maintain(hvrepl_store *store, uint32_t *more_out,
			    struct hvrepl_error *error)
{
	int32_t rc;

	*more_out = 0;
	hvri_lock(&store->work);
	rc = maintain(store, more_out);
	hvri_unlock(&store->work);
	return rc < 0 ? hvri_fail_plain(error, rc) : rc;
}

int32_t hvri_store_config(hvrepl_store *store, uint64_t key, void *buffer,
			  uint32_t *length_inout)
{
	const struct hvri_manifest_point *point;
	const struct hvri_manifest_config *config;
	uint32_t room = *length_inout;
	int32_t rc = HVREPL_OK;

	hvri_lock(&store->map);
	point = hvri_state_point(&store->state, key);
	if (!offered(store, point))
		point = NULL;
	config = point == NULL ? NULL :
				 hvri_state_config(&store->state,
						   point->config);
	*length_inout = config == NULL ? 0 : config->length;
	if (point == NULL)
		rc = HVREPL_E_NOT_FOUND;
	else if (config != NULL && config->length > room)
		rc = HVREPL_E_LIMIT;
	else if (config != NULL)
		memcpy(buffer, config->bytes, config->length);
	hvri_unlock(&store->map);
	return rc;
}

int32_t hvri_store_set_blob(hvrepl_store *store, const void *blob,
			    uint32_t length)
{
	struct hvri_manifest_record record = {
		.type = HVRI_RECORD_BLOB,
		.bytes = blob,
		.length = length,
	};
	int32_t rc;

	if (length > HVREPL_STORE_BLOB_MAX)
		return HVREPL_E_LIMIT;
	hvri_lock(&store->work);
	rc = hvri_store_record(store, &record, NULL);
	hvri_unlock(&store->work);
	return rc;
}

int32_t hvri_store_blob(hvrepl_store *store, void *buffer,
			uint32_t *length_inout)
{
	uint32_t room = *length_inout;
	int32_t rc = HVREPL_OK;

	hvri_lock(&store->map);
	*length_inout = store->state.blob_length;
	if (store->state.blob_length > room)
		rc = HVREPL_E_LIMIT;
	else if (store->state.blob_length > 0)
		memcpy(buffer, store->state.blob, store->state.blob_length);
	hvri_unlock(&store->map);
	return rc;
}
