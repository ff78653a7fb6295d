/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest on storage: append a record, move the head, recover (S3). */
#ifndef HVRI_STORE_JOURNAL_H
#define HVRI_STORE_JOURNAL_H

#include "base/io.h"
#include "format/manifest.h"

#include <stdbool.h>

#define HVRI_HEAD_ID "store.head"
#define HVRI_LOG_PREFIX "store.log."

/* One record is in flight at a time: the caller sees to that. */
struct hvri_journal {
	const struct hvri_env *env;
	const struct hvri_storage *storage;
	struct hvri_object head_object, log_object;
	struct hvri_head head; /* As last written. */
	uint64_t slot_log[2];  /* The log each slot names; 0: damaged. */
	/* What this journal wrote to each slot last, where it did. */
	struct {
		bool written;
		uint8_t bytes[HVRI_HEAD_SIZE];
		struct hvri_head head;
	} slot[2];
	struct hvri_sha256 sha; /* Kept for all its records. */
	/* A flush failed, or another opener wrote: nothing may follow. */
	int32_t broken;
};

/* EXISTS when there is a head already. */
HVRI_MUST_CHECK int32_t hvri_journal_create(struct hvri_journal *journal,
					    const struct hvri_env *env,
					    const struct hvri_storage *storage,
					    uint64_t fencing_token,
					    const struct hvri_manifest *state);
/* Recover: state_out is what all durable records add up to. NOT_FOUND, FENCED,
 * CORRUPT (a committed record is damaged), TRUNCATED. */
HVRI_MUST_CHECK int32_t hvri_journal_open(struct hvri_journal *journal,
					  const struct hvri_env *env,
					  const struct hvri_storage *storage,
					  uint64_t fencing_token,
					  struct hvri_manifest *state_out);
/* Durable on OK. NO_SPACE and NOMEM leave everything as it was; any other
 * failure breaks the journal. */
HVRI_MUST_CHECK int32_t
hvri_journal_append(struct hvri_journal *journal,
		    const struct hvri_manifest_record *record);
/* Worth a new log? */
bool hvri_journal_is_long(const struct hvri_journal *journal);
/* Start a new log with `state`; failing with NO_SPACE is harmless. */
HVRI_MUST_CHECK int32_t
hvri_journal_checkpoint(struct hvri_journal *journal,
			const struct hvri_manifest *state);
void hvri_journal_close(struct hvri_journal *journal);
#endif
