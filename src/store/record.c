/* SPDX-License-Identifier: Apache-2.0 */
/* One manifest record: checked, durable, then in effect. */
#include "store/internal.h"

#include "base/plant.h"

#include <string.h>

int32_t hvri_store_usable(hvrepl_store *store)
{
	int32_t poisoned = __atomic_load_n(&store->poisoned, __ATOMIC_RELAXED);

	if (poisoned < 0 || store->journal.broken == HVREPL_OK)
		return poisoned;
	__atomic_store_n(&store->poisoned, store->journal.broken,
			 __ATOMIC_RELAXED);
	return store->journal.broken;
}

bool hvri_store_poisoned(const hvrepl_store *store)
{
	return __atomic_load_n(&store->poisoned, __ATOMIC_RELAXED) < 0;
}

int32_t hvri_store_poison(hvrepl_store *store, int32_t rc)
{
	if (HVRI_PLANT(flush_retried))
		return HVREPL_OK; /* "It will be written some day." */
	__atomic_store_n(&store->poisoned, HVREPL_E_POISONED, __ATOMIC_RELAXED);
	hvri_log(&store->env, HVREPL_LOG_ERROR,
		 "a flush failed (%s): the store must be opened again",
		 hvrepl_error_name(rc));
	return rc;
}

uint64_t hvri_store_new_id(hvrepl_store *store)
{
	return store->next_id++;
}

int32_t hvri_store_flush_bases(hvrepl_store *store)
{
	for (uint32_t i = 0; i < store->disk_count; i++) {
		int32_t rc = hvri_disk_flush(&store->bases[i]);

		if (rc < 0)
			return hvri_store_poison(store, rc);
	}
	return HVREPL_OK;
}

int32_t hvri_store_piece(hvrepl_store *store)
{
	if (store->piece == NULL)
		store->piece = hvri_alloc_io(&store->env, HVRI_STORE_PIECE);
	return store->piece == NULL ? HVREPL_E_NOMEM : HVREPL_OK;
}

void hvri_store_piece_free(hvrepl_store *store)
{
	hvri_free(&store->env, store->piece, HVRI_STORE_PIECE);
	store->piece = NULL;
}

struct leftovers {
	struct hvri_slog *slogs[2u * HVRI_MANIFEST_LOGS + 2];
	uint32_t count;
};

static struct hvri_slog *take(struct hvri_slog **from, uint32_t count,
			      uint64_t id)
{
	for (uint32_t i = 0; i < count; i++) {
		struct hvri_slog *slog = from[i];

		if (slog != NULL && slog->place.id == id) {
			from[i] = NULL;
			return slog;
		}
	}
	return NULL;
}

/* Bring one list in line with the state; what it loses goes to `left`. */
static void relist(struct hvri_slog **list, const struct hvri_manifest_log *logs,
		   uint32_t count, struct hvri_slog *added,
		   struct leftovers *left)
{
	struct hvri_slog *old[HVRI_MANIFEST_LOGS];
	uint32_t had = 0;

	/* One that was not loaded leaves a gap: the last one counts. */
	for (uint32_t i = 0; i < HVRI_MANIFEST_LOGS; i++)
		if (list[i] != NULL)
			had = i + 1;
	memcpy(old, list, had * sizeof(old[0]));
	memset(list, 0, had * sizeof(old[0]));
	for (uint32_t i = 0; i < count; i++) {
		list[i] = take(old, had, logs[i].id);
		if (list[i] == NULL && added != NULL &&
		    added->place.id == logs[i].id)
			list[i] = hvri_slog_ref(added);
	}
	for (uint32_t i = 0; i < had; i++)
		if (old[i] != NULL)
			left->slogs[left->count++] = old[i];
}

static void take_effect(hvrepl_store *store,
			const struct hvri_manifest_record *record,
			struct hvri_slog *added, uint8_t *owned,
			struct leftovers *left)
{
	struct hvri_manifest *state = &store->state;

	hvri_state_apply(&store->env, state, record, owned);
	relist(store->redo, state->redo, state->redo_count, added, left);
	relist(store->undo, state->undo, state->undo_count, added, left);
	if (record->type == HVRI_RECORD_MERGE && added != NULL)
		store->running = hvri_slog_ref(added);
	if (record->type == HVRI_RECORD_FREEZE && added != NULL)
		store->saved = hvri_slog_ref(added);
	if (state->merge_undo == 0 && store->running != NULL) {
		left->slogs[left->count++] = store->running;
		store->running = NULL;
	}
	if (state->commit_undo == 0 && store->saved != NULL) {
		left->slogs[left->count++] = store->saved;
		store->saved = NULL;
	}
}

int32_t hvri_store_record(hvrepl_store *store,
			  const struct hvri_manifest_record *record,
			  struct hvri_slog *added)
{
	struct leftovers left = { .count = 0 };
	uint8_t *owned = NULL;
	int32_t rc;

	HVRI_TRY(hvri_store_usable(store));
	HVRI_TRY(hvri_state_check(&store->state, record));
	if (record->length > 0) {
		owned = hvri_alloc(&store->env, record->length);
		if (owned == NULL)
			return HVREPL_E_NOMEM;
		memcpy(owned, record->bytes, record->length);
	}
	rc = hvri_journal_append(&store->journal, record);
	if (rc < 0) {
		hvri_free(&store->env, owned, record->length);
		if (store->journal.broken < 0) /* For who asks. */
			__atomic_store_n(&store->poisoned,
					 store->journal.broken,
					 __ATOMIC_RELAXED);
		return rc;
	}
	hvri_lock(&store->map);
	take_effect(store, record, added, owned, &left);
	store->generation = store->journal.head.generation;
	hvri_unlock(&store->map);
	for (uint32_t i = 0; i < left.count; i++) {
		struct hvri_container *container = left.slogs[i]->container;

		if (!hvri_state_needs_container(&store->state, container->id))
			hvri_container_doom(container);
		hvri_slog_unref(left.slogs[i]);
	}
	if (hvri_journal_is_long(&store->journal)) {
		rc = hvri_journal_checkpoint(&store->journal, &store->state);
		if (rc < 0)
			hvri_log(&store->env, HVREPL_LOG_WARNING,
				 "no checkpoint of the manifest (%s)",
				 hvrepl_error_name(rc));
	}
	return HVREPL_OK;
}
