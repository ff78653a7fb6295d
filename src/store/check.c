/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw digests of what was received, checked in the background (S1).
 *
 * Each redo log above the base is decompressed once, before the base moves over
 * it. What is damaged puts the points from its log's on in doubt: they can be
 * got again, and what is not in doubt stays exact.
 */
#include "store/internal.h"

/* The redo log to check next: the first above the base and `checked`. */
static struct hvri_slog *next_log(hvrepl_store *store)
{
	const struct hvri_manifest *state = &store->state;
	uint64_t above = HVRI_MAX(state->base, store->check.done);

	for (uint32_t i = 0; i < state->redo_count; i++)
		if (state->redo[i].to > above)
			return store->redo[i];
	return NULL;
}

int32_t hvri_check_damaged(hvrepl_store *store, uint64_t from)
{
	struct hvri_manifest_record record = {
		.type = HVRI_RECORD_DOUBT,
		.from = from,
		.to = hvri_state_newest(&store->state),
	};

	hvri_log(&store->env, HVREPL_LOG_ERROR,
		 "a chunk of recovery point %llu is damaged: it and later "
		 "points are in doubt",
		 (unsigned long long)from);
	return hvri_store_record(store, &record, NULL);
}

int32_t hvri_store_doubt_newest(hvrepl_store *store)
{
	struct hvri_manifest_record record = { .type = HVRI_RECORD_DOUBT };
	int32_t rc = HVREPL_OK;

	hvri_lock(&store->work);
	record.from = record.to = hvri_state_newest(&store->state);
	if (record.to == 0)
		rc = HVREPL_E_STATE;
	else if (!hvri_store_doubts(store, record.to))
		rc = hvri_store_record(store, &record, NULL);
	hvri_unlock(&store->work);
	return rc;
}

/* Does the entry answer for any byte of a point that is not in doubt? What newer
 * logs have written over may be damaged. */
static bool needed(hvrepl_store *store, const struct hvri_slog *slog,
		   uint32_t disk, const struct hvri_xent *entry)
{
	const struct hvri_manifest *state = &store->state;
	bool found = false;

	hvri_lock(&store->map);
	for (uint32_t i = 0; i < state->point_count && !found; i++) {
		uint64_t key = state->points[i].key;
		uint64_t at = entry->offset, end = at + entry->length;

		if (key < slog->place.to || hvri_store_doubts(store, key))
			continue;
		while (at < end && !found) {
			struct hvri_source source;
			uint64_t length = end - at;

			hvri_store_resolve(store, key, disk, at, &length,
					   &source);
			found = source.slog == slog;
			hvri_slog_unref(source.slog);
			at += length;
		}
	}
	hvri_unlock(&store->map);
	return found;
}

/* Some entries of the log; true when all are done. */
static int32_t check_piece(hvrepl_store *store, struct hvri_slog *slog,
			   bool *all_out)
{
	struct hvri_check *check = &store->check;
	uint64_t bytes = 0;

	*all_out = false;
	while (check->disk < slog->disk_count && bytes < store->piece_bytes) {
		const struct hvri_xmap *map = &slog->disks[check->disk].map;
		struct hvri_source source = { .slog = slog };

		if (check->entry >= map->count) {
			check->disk++;
			check->entry = 0;
			check->position = 0;
			continue;
		}
		source.entry = map->at[check->entry];
		if (source.entry.position != 0 &&
		    source.entry.position != check->position) {
			int32_t rc = hvri_source_check(store, &source,
						       check->disk);

			bytes += HVRI_CHUNK_RAW_WRITTEN;
			if (rc == HVREPL_OK)
				check->position = source.entry.position;
			else if (!hvri_store_is_damage(rc) ||
				 needed(store, slog, check->disk,
					&source.entry))
				return rc;
		}
		check->entry++;
	}
	*all_out = check->disk >= slog->disk_count;
	return HVREPL_OK;
}

int32_t hvri_check_step(hvrepl_store *store, uint32_t *more_out)
{
	struct hvri_check *check = &store->check;
	struct hvri_slog *slog = next_log(store);
	bool all = false;
	int32_t rc;

	*more_out = 0;
	if (slog == NULL || store->state.commit > HVRI_COMMIT_OVERLAY)
		return HVREPL_OK;
	/* The log that was begun is gone, or another took its place. */
	if (check->log != slog->place.id) {
		check->log = slog->place.id;
		check->disk = 0;
		check->entry = 0;
		check->position = 0;
	}
	rc = check_piece(store, slog, &all);
	if (hvri_store_is_damage(rc)) {
		HVRI_TRY(hvri_check_damaged(store, slog->place.to));
		all = true;
		rc = HVREPL_OK;
	}
	if (rc < 0)
		return rc;
	if (all) {
		check->done = slog->place.to;
		check->log = 0;
	}
	*more_out = next_log(store) != NULL;
	return HVREPL_OK;
}
