/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a cut: a point, a window, or a base that becomes a point. */
#include "store/internal.h"

#include "base/plant.h"

#include <string.h>

/* INITIAL: what the base holds of the cut, durable in the manifest (L2). */
int32_t hvri_receive_record_initial(hvrepl_store *store, bool cut_open,
				    const uint64_t *frontiers)
{
	const struct hvri_receive *receive = &store->receive;
	struct hvri_manifest_disk disks[HVREPL_STORE_DISKS_MAX];
	struct hvri_manifest_record record = {
		.type = HVRI_RECORD_INITIAL,
		.disks = disks,
		.disk_count = store->disk_count,
	};

	memcpy(disks, store->state.disks, sizeof(disks));
	for (uint32_t i = 0; i < store->disk_count; i++) {
		if (frontiers != NULL)
			disks[i].frontier = frontiers[i];
		disks[i].init_sequence = cut_open ? receive->disks[i].next : 0;
		disks[i].init_ended = cut_open && receive->disks[i].ended;
	}
	if (cut_open) {
		record.cut = receive->identity.cut;
		record.epoch = receive->identity.epoch;
		record.from = receive->identity.from_point;
		record.to = receive->identity.to_point;
	}
	HVRI_TRY(hvri_stamp_fill(store, HVRI_STAMP_OPEN, &record));
	return hvri_store_record(store, &record, NULL);
}

static bool is_initial(const hvrepl_store *store)
{
	return store->state.phase <= HVRI_MANIFEST_INITIAL;
}

static int32_t check_complete(hvrepl_store *store,
			      const struct hvrepl_uuid *cut,
			      struct hvrepl_error *error)
{
	const struct hvri_receive *receive = &store->receive;

	if (!receive->active || !hvri_uuid_equal(&receive->identity.cut, cut))
		return hvri_fail(error, HVREPL_E_STATE,
				 "no segments of this cut are here");
	for (uint32_t i = 0; i < store->disk_count; i++)
		if (!receive->disks[i].ended && !HVRI_PLANT(point_half_there))
			return hvri_fail(error, HVREPL_E_STATE,
					 "the segment of disk %u is not "
					 "complete",
					 i);
	return HVREPL_OK;
}

static int32_t fill_point(hvrepl_store *store,
			  const struct hvri_store_point_commit *commit,
			  struct hvri_manifest_record *record,
			  struct hvrepl_error *error)
{
	const struct hvri_manifest *state = &store->state;
	const struct hvri_manifest_point *newest = NULL;
	const struct hvri_manifest_config *config;
	struct hvri_manifest_point *point = &record->point;

	if (state->point_count > 0)
		newest = &state->points[state->point_count - 1];
	if (commit->config_length > HVREPL_CONFIG_MAX)
		return hvri_fail(error, HVREPL_E_LIMIT,
				 "the configuration is longer than %u bytes",
				 HVREPL_CONFIG_MAX);
	*point = (struct hvri_manifest_point){
		.key = HVRI_MAX(state->last_key + 1, commit->number),
		.number = commit->number,
		.epoch = commit->epoch,
		.cut = commit->cut,
		.utc_ns = commit->utc_ns,
		.pins = commit->pins,
		.changed_bytes = HVREPL_BYTES_UNKNOWN,
	};
	if (newest != NULL) {
		point->config = newest->config;
		point->config_version = newest->config_version;
	}
	if (commit->config == NULL)
		return HVREPL_OK;
	point->config_version = commit->config_version;
	config = hvri_state_config(state, point->config);
	if (commit->config_length == 0) {
		point->config = 0;
		return HVREPL_OK;
	}
	if (config != NULL && config->length == commit->config_length &&
	    memcmp(config->bytes, commit->config, config->length) == 0)
		return HVREPL_OK;
	point->config = 1;
	for (uint32_t i = 0; i < state->config_count; i++)
		point->config = HVRI_MAX(point->config,
					 state->configs[i].id + 1);
	record->bytes = commit->config;
	record->length = commit->config_length;
	return HVREPL_OK;
}

static int32_t commit_log(hvrepl_store *store,
			  struct hvri_manifest_record *record)
{
	struct hvri_receive *receive = &store->receive;
	struct hvri_slog *slog = receive->slog;
	int32_t rc;

	slog->place.id = hvri_store_new_id(store);
	slog->place.from = hvri_state_newest(&store->state);
	slog->place.to = record->point.key;
	record->point.changed_bytes = hvri_slog_bytes(slog);
	HVRI_TRY(hvri_slog_write_index(slog));
	rc = HVRI_PLANT(ack_before_flush) ?
		     HVREPL_OK :
		     hvri_container_flush(receive->container);
	if (rc < 0)
		return hvri_store_poison(store, rc);
	record->log = slog->place;
	record->tail = receive->container->size;
	return hvri_store_record(store, record, slog);
}

static int32_t commit_point(hvrepl_store *store,
			    const struct hvri_store_point_commit *commit,
			    uint64_t *point_out, struct hvrepl_error *error)
{
	const struct hvri_segment_identity *identity =
		&store->receive.identity;
	struct hvri_manifest_record record = { .type = HVRI_RECORD_POINT };
	int32_t rc;

	HVRI_TRY(check_complete(store, &commit->cut, error));
	if (identity->to_point != commit->number ||
	    !hvri_uuid_equal(&identity->epoch, &commit->epoch))
		return hvri_fail(error, HVREPL_E_INVALID,
				 "the segments are of another point or epoch");
	HVRI_TRY(fill_point(store, commit, &record, error));
	if (!is_initial(store)) {
		rc = commit_log(store, &record);
	} else {
		HVRI_TRY(hvri_store_flush_bases(store));
		/* A POINT record follows INITIAL, also for an empty disk. */
		HVRI_TRY(hvri_receive_record_initial(store, true, NULL));
		HVRI_TRY(hvri_stamp_fill(store, HVRI_STAMP_SETTLED, &record));
		rc = hvri_store_record(store, &record, NULL);
	}
	if (rc < 0)
		return hvri_fail_plain(error, rc);
	hvri_receive_reset(store);
	store->receive.refused = false; /* There was room. */
	if (point_out != NULL)
		*point_out = record.point.key;
	return HVREPL_OK;
}

int32_t hvri_store_point_commit(hvrepl_store *store,
				const struct hvri_store_point_commit *commit,
				uint64_t *point_out,
				struct hvrepl_error *error)
{
	int32_t rc;

	hvri_lock(&store->work);
	rc = hvri_store_usable(store);
	if (rc == HVREPL_OK)
		rc = commit_point(store, commit, point_out, error);
	hvri_unlock(&store->work);
	return rc < 0 ? hvri_fail_plain(error, rc) : rc;
}

static int32_t commit_window(hvrepl_store *store,
			     const struct hvrepl_uuid *cut,
			     const uint64_t *frontiers,
			     struct hvrepl_error *error)
{
	if (!is_initial(store))
		return hvri_fail(error, HVREPL_E_STATE,
				 "points exist: a window ends in a point");
	HVRI_TRY(check_complete(store, cut, error));
	for (uint32_t i = 0; i < store->disk_count; i++)
		if (frontiers[i] > store->state.disks[i].size)
			return HVREPL_E_RANGE;
	HVRI_TRY(hvri_store_flush_bases(store));
	HVRI_TRY(hvri_receive_record_initial(store, false, frontiers));
	hvri_receive_reset(store);
	return HVREPL_OK;
}

int32_t hvri_store_window_commit(hvrepl_store *store,
				 const struct hvrepl_uuid *cut,
				 const uint64_t *frontiers,
				 struct hvrepl_error *error)
{
	int32_t rc;

	hvri_lock(&store->work);
	rc = hvri_store_usable(store);
	if (rc == HVREPL_OK)
		rc = commit_window(store, cut, frontiers, error);
	hvri_unlock(&store->work);
	return rc < 0 ? hvri_fail_plain(error, rc) : rc;
}

static int32_t become(hvrepl_store *store,
		      struct hvri_manifest_record *record,
		      struct hvrepl_error *error)
{
	HVRI_TRY(hvri_store_usable(store));
	if (store->state.phase == HVRI_MANIFEST_REPLICA &&
	    (record->type != HVRI_RECORD_ADOPT ||
	     !hvri_state_only_base(&store->state)))
		return hvri_fail(error, HVREPL_E_STATE,
				 "the store holds recovery points");
	if (store->views != NULL)
		return hvri_fail(error, HVREPL_E_BUSY,
				 "the disks are in use: close them first");
	/* What was written before belongs to what the base is now. */
	HVRI_TRY(hvri_store_flush_bases(store));
	if (record->type == HVRI_RECORD_ADOPT)
		HVRI_TRY(hvri_stamp_fill(store, HVRI_STAMP_SETTLED, record));
	HVRI_TRY(hvri_store_record(store, record, NULL));
	hvri_receive_reset(store);
	return HVREPL_OK;
}

int32_t hvri_store_adopt(hvrepl_store *store,
			 const struct hvri_store_point_commit *commit,
			 uint64_t *point_out, struct hvrepl_error *error)
{
	struct hvri_manifest_record record = { .type = HVRI_RECORD_ADOPT };
	int32_t rc;

	hvri_lock(&store->work);
	rc = fill_point(store, commit, &record, error);
	if (rc == HVREPL_OK)
		rc = become(store, &record, error);
	hvri_unlock(&store->work);
	if (rc < 0)
		return hvri_fail_plain(error, rc);
	if (point_out != NULL)
		*point_out = record.point.key;
	return HVREPL_OK;
}

int32_t hvri_store_base_only(hvrepl_store *store, struct hvrepl_error *error)
{
	struct hvri_manifest_record record = { .type = HVRI_RECORD_BASE_ONLY };
	int32_t rc;

	hvri_lock(&store->work);
	rc = become(store, &record, error);
	hvri_unlock(&store->work);
	return rc < 0 ? hvri_fail_plain(error, rc) : rc;
}
