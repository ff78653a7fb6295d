/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bases' identity: stamped as they are written, checked on opening (T9).
 *
 * SETTLED and CLOSED stamps are taken behind the last write and flush, in the
 * record that ends the writing: an equal token proves that nothing has changed.
 * OPEN ones are renewed while the base is written, so that after an unclean end
 * the application can say whether the token is later than our own writes.
 */
#include "store/internal.h"

#include <string.h>

/* Less than the slack that a token is given after an unclean end. */
#define RENEW_NS (10ull * 1000000000ull)

int32_t hvri_stamp_fill(hvrepl_store *store, uint32_t kind,
			struct hvri_manifest_record *record)
{
	for (uint32_t i = 0; i < store->disk_count; i++) {
		struct hvri_manifest_stamp *stamp = &store->stamps[i];
		struct hvri_disk now = store->bases[i];

		HVRI_TRY(hvri_disk_refresh(&now));
		memset(stamp, 0, sizeof(*stamp));
		stamp->utc_ns = hvri_utc(&store->env);
		stamp->token_length = now.info.token_length;
		memcpy(stamp->token, now.info.token, now.info.token_length);
	}
	record->stamped = kind;
	record->stamps = store->stamps;
	record->stamp_count = store->disk_count;
	return HVREPL_OK;
}

static int32_t stamp_now(hvrepl_store *store, uint32_t kind)
{
	struct hvri_manifest_record record = { .type = HVRI_RECORD_STAMP };

	HVRI_TRY(hvri_stamp_fill(store, kind, &record));
	return hvri_store_record(store, &record, NULL);
}

int32_t hvri_stamp_writing(hvrepl_store *store)
{
	const struct hvri_manifest *state = &store->state;
	bool open = state->stamped == HVRI_STAMP_OPEN;
	uint64_t now = hvri_utc(&store->env), at = state->stamps[0].utc_ns;
	int32_t rc;

	if (open && now >= at && now - at < RENEW_NS)
		return HVREPL_OK;
	rc = stamp_now(store, HVRI_STAMP_OPEN);
	/* A stamp that grows old costs a compare after a crash, no more; one
	 * that says "not written" must go before the write. */
	if (rc == HVREPL_E_NO_SPACE && open)
		return HVREPL_OK;
	return rc;
}

void hvri_stamp_close(hvrepl_store *store)
{
	const struct hvri_manifest *state = &store->state;

	if (state->phase == HVRI_MANIFEST_EMPTY ||
	    state->phase == HVRI_MANIFEST_BASE_ONLY ||
	    state->stamped == HVRI_STAMP_CLOSED ||
	    hvri_store_usable(store) < 0 || hvri_store_flush_bases(store) < 0)
		return;
	/* What cannot be saved is an unclean end at the next opening. */
	(void)!stamp_now(store, HVRI_STAMP_CLOSED);
}

static bool same_base(const hvrepl_store *store, uint32_t i)
{
	const struct hvrepl_store_options *options = &store->options;
	const struct hvri_manifest_stamp *saved = &store->state.stamps[i];
	const struct hvrepl_disk_info *now = &store->bases[i].info;
	bool closed = store->state.stamped == HVRI_STAMP_CLOSED;

	if ((now->flags & HVREPL_DISK_EXCLUSIVE) != 0)
		return true;
	if (now->token_length == 0 && saved->token_length == 0)
		return closed;
	if (now->token_length == saved->token_length &&
	    memcmp(now->token, saved->token, now->token_length) == 0)
		return true;
	/* A power loss may take a token back, our own writes move it on. */
	return !closed && now->token_length != 0 && saved->token_length != 0 &&
	       options->token_check != NULL &&
	       options->token_check(options->token_user, saved->token,
				    saved->token_length, saved->utc_ns,
				    now->token, now->token_length) == 1;
}

/* Durable before anything is served or written: the stamps that tell are lost
 * with the next ones. */
static int32_t doubt(hvrepl_store *store, uint32_t disk)
{
	const struct hvri_manifest *state = &store->state;
	uint64_t zeroes[HVREPL_STORE_DISKS_MAX] = { 0 };
	struct hvri_manifest_record record = { .type = HVRI_RECORD_DOUBT };

	hvri_log(&store->env, HVREPL_LOG_ERROR,
		 "disk %u of the replica was changed outside while the store "
		 "was not open",
		 disk);
	store->base_changed = true;
	/* Without a point nothing is lost: the first content starts over. */
	if (state->phase == HVRI_MANIFEST_INITIAL)
		return hvri_receive_record_initial(store, false, zeroes);
	record.to = hvri_state_newest(state);
	HVRI_TRY(hvri_stamp_fill(store, HVRI_STAMP_OPEN, &record));
	return hvri_store_record(store, &record, NULL);
}

int32_t hvri_stamp_check(hvrepl_store *store, struct hvrepl_error *error)
{
	const struct hvri_manifest *state = &store->state;
	int32_t rc;

	/* None without first content, and none once a VM has the disks. */
	if (state->stamped == HVRI_STAMP_NONE ||
	    (store->options.flags & HVRI_STORE_SAME_BASES) != 0)
		return HVREPL_OK;
	for (uint32_t i = 0; i < store->disk_count; i++) {
		if (same_base(store, i))
			continue;
		rc = doubt(store, i);
		return rc < 0 ? hvri_fail(error, rc,
					  "disk %u of the replica was changed "
					  "outside, and there is no room to "
					  "note that",
					  i) :
				rc;
	}
	return HVREPL_OK;
}

bool hvri_store_doubts(const hvrepl_store *store, uint64_t point)
{
	return hvri_state_doubts(&store->state, point);
}
