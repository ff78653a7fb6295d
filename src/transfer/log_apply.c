/* SPDX-License-Identifier: Apache-2.0 */
/* Applying logs: the phases, the record, and the writes. */
#include "transfer/log_apply.h"

#include "transfer/apply_check.h"

#include <string.h>

/* Work of one advance. */
#define CHECK_CHUNKS 64u
#define CHECK_PIECES 4u
#define WRITE_BUDGET (8u << 20)
/* Most zeroes in one call, and what they cost of the budget. */
#define ZERO_PIECE (64u << 20)
#define ZERO_COST (1u << 20)

struct hvrepl_log_apply {
	struct hvri_env env;
	struct hvri_disk disk;
	struct hvri_storage storage;
	bool has_storage, busy;
	bool recorded; /* The record in storage is that of this apply. */
	char record_id[HVREPL_OBJECT_ID_MAX + 1];
	uint32_t flags, phase, outcome;
	int32_t failed;
	uint64_t written;
	uint64_t logs_size; /* Bytes of all logs. */
	struct hvri_chain chain;
	struct hvri_apply_survey survey;
	struct hvri_apply_record record; /* As found; valid with `found`. */
	bool found;
	/* Writing: log, its chunk, and how far within the chunk. */
	uint32_t log;
	struct hvrepl_log_chunk chunk;
	uint32_t extent;
	uint64_t extent_done;
	uint32_t data_done;
};

/* The record of an apply, if there is one that can be read. */
static int32_t find_record(struct hvrepl_log_apply *apply)
{
	uint8_t bytes[HVRI_APPLY_RECORD_SIZE];
	struct hvri_object object = { NULL, NULL };
	uint64_t size = 0;
	int32_t rc;

	apply->found = false;
	if (!apply->has_storage)
		return HVREPL_OK;
	rc = hvri_object_open(&apply->storage, apply->record_id, 0, &object);
	if (rc == HVREPL_E_NOT_FOUND)
		return HVREPL_OK;
	if (rc < 0)
		return rc;
	rc = hvri_object_size(&object, &size);
	if (rc == HVREPL_OK && size == sizeof(bytes)) {
		rc = hvri_object_read(&object, 0, bytes, sizeof(bytes));
		/* A torn one was never followed by a write to the disk. */
		if (rc == HVREPL_OK)
			apply->found = hvri_apply_record_decode(
					       bytes, &apply->record) ==
				       HVREPL_OK;
	}
	hvri_object_close(&object);
	return rc;
}

/* Durable before the first write. An older record may be overwritten in place:
 * this is only done on a disk whose whole digest is known, so that nothing
 * depends on the old one any more. */
static int32_t write_record(struct hvrepl_log_apply *apply,
			    const uint8_t kept[32])
{
	struct hvri_apply_record record = {
		.disk_size = apply->disk.info.size,
		.granule = apply->chain.granule,
	};
	uint8_t bytes[HVRI_APPLY_RECORD_SIZE];
	struct hvri_object object = { NULL, NULL };
	int32_t rc;

	if (!apply->has_storage)
		return HVREPL_OK;
	memcpy(record.chain, apply->chain.digest, sizeof(record.chain));
	memcpy(record.salt, apply->survey.salt, sizeof(record.salt));
	memcpy(record.kept, kept, sizeof(record.kept));
	hvri_apply_record_encode(&record, bytes);
	rc = hvri_object_open(&apply->storage, apply->record_id, 0, &object);
	if (rc == HVREPL_E_NOT_FOUND)
		rc = hvri_object_open(&apply->storage, apply->record_id,
				      HVREPL_OBJECT_CREATE, &object);
	if (rc < 0)
		return rc;
	rc = hvri_object_write(&object, 0, bytes, sizeof(bytes));
	if (rc == HVREPL_OK)
		rc = hvri_object_resize(&object, sizeof(bytes));
	if (rc == HVREPL_OK)
		rc = hvri_object_flush(&object);
	hvri_object_close(&object);
	return rc;
}

static int32_t drop_record(struct hvrepl_log_apply *apply)
{
	int32_t rc;

	if (!apply->has_storage)
		return HVREPL_OK;
	rc = hvri_storage_remove(&apply->storage, apply->record_id);
	if (rc == HVREPL_E_NOT_FOUND)
		return HVREPL_OK;
	if (rc == HVREPL_OK)
		rc = hvri_storage_sync(&apply->storage);
	return rc;
}

static bool digest_is(uint8_t kind, const uint8_t *digest,
		      const uint8_t content[32])
{
	return kind == HVRI_DIGEST_SHA256 && memcmp(digest, content, 32) == 0;
}

/* Is the record that of this chain, on this disk? */
static bool record_matches(const struct hvrepl_log_apply *apply)
{
	return apply->found &&
	       memcmp(apply->record.chain, apply->chain.digest, 32) == 0 &&
	       apply->record.disk_size == apply->disk.info.size &&
	       apply->record.granule == apply->chain.granule;
}

static int32_t begin_writing(struct hvrepl_log_apply *apply, uint32_t log,
			     uint32_t outcome, bool recorded)
{
	apply->recorded = recorded;
	apply->log = log;
	apply->outcome = outcome;
	apply->phase = HVREPL_LOG_PHASE_WRITE;
	memset(&apply->chunk, 0, sizeof(apply->chunk));
	for (uint32_t i = 0; i < apply->chain.count; i++)
		hvri_log_reader_rewind(apply->chain.readers[i]);
	return HVREPL_OK;
}

static int32_t refuse(struct hvrepl_log_apply *apply,
		      struct hvrepl_error *error)
{
	if (record_matches(apply))
		return hvri_fail(error, HVREPL_E_WRONG_DISK,
				 "an apply of these logs was interrupted here, "
				 "but the disk has since been changed outside "
				 "what they write: restore it first");
	if (apply->found)
		return hvri_fail(error, HVREPL_E_WRONG_DISK,
				 "the disk is not what the log was made from; "
				 "an apply of other logs was interrupted here: "
				 "repeat that one first");
	return hvri_fail(error, HVREPL_E_WRONG_DISK,
			 "the disk is not what the log was made from: its "
			 "content has another digest; nothing was written");
}

/* The whole disk has been read: what is it? */
static int32_t judge(struct hvrepl_log_apply *apply,
		     struct hvrepl_error *error)
{
	const struct hvri_chain *chain = &apply->chain;
	uint8_t content[32], kept[32];

	HVRI_TRY(hvri_survey_end(&apply->survey, content, kept));
	/* At a log's beginning; not always the first, so that a chain may be
	 * repeated with more logs at its end. */
	for (uint32_t i = 0; i < chain->count; i++) {
		const struct hvri_segment_header *header =
			hvri_log_reader_header(chain->readers[i]);

		if (!digest_is(header->base_digest_kind, header->base_digest,
			       content))
			continue;
		HVRI_TRY(write_record(apply, kept));
		return begin_writing(apply, i, HVREPL_LOG_APPLY_FRESH, true);
	}
	if (digest_is(chain->result_kind, chain->result, content)) {
		/* Flushed all the same: the one who wrote it may have died
		 * before that. */
		HVRI_TRY(hvri_disk_flush(&apply->disk));
		if (record_matches(apply))
			HVRI_TRY(drop_record(apply));
		apply->outcome = HVREPL_LOG_APPLY_ALREADY;
		apply->phase = HVREPL_LOG_PHASE_DONE;
		return HVREPL_OK;
	}
	if (record_matches(apply) &&
	    memcmp(kept, apply->record.kept, sizeof(kept)) == 0)
		return begin_writing(apply, 0, HVREPL_LOG_APPLY_RESUMED,
				     true);
	return refuse(apply, error);
}

static int32_t check_logs(struct hvrepl_log_apply *apply,
			  struct hvrepl_error *error)
{
	const struct hvri_segment_header *first;
	uint8_t salt[16];
	bool done;

	HVRI_TRY(hvri_chain_advance(&apply->chain, &apply->disk, CHECK_CHUNKS,
				    &done, error));
	if (!done)
		return HVREPL_OK;
	first = hvri_log_reader_header(apply->chain.readers[0]);
	if (first->base_digest_kind == HVRI_DIGEST_NONE) {
		if ((apply->flags & HVREPL_LOG_APPLY_ANY_BASE) == 0)
			return hvri_fail(
				error, HVREPL_E_UNTRUSTED,
				"the log does not say which content it was "
				"made from, so the disk cannot be checked: "
				"allow any base if you know it is right");
		/* Repeatable as it is: any base will do again. */
		return begin_writing(apply, 0, HVREPL_LOG_APPLY_FRESH, false);
	}
	HVRI_TRY(find_record(apply));
	HVRI_TRY(hvri_random(&apply->env, salt, sizeof(salt)));
	apply->phase = HVREPL_LOG_PHASE_DISK;
	return hvri_survey_begin(&apply->survey, &apply->env, &apply->disk,
				 record_matches(apply) ? apply->record.salt
						       : salt);
}

static int32_t check_disk(struct hvrepl_log_apply *apply,
			  struct hvrepl_error *error)
{
	if (apply->survey.offset >= apply->disk.info.size)
		return judge(apply, error);
	return hvri_survey_advance(&apply->survey, &apply->disk,
				   &apply->chain, CHECK_PIECES);
}

/* Everything is written. */
static int32_t finish(struct hvrepl_log_apply *apply)
{
	HVRI_TRY(hvri_disk_flush(&apply->disk));
	if (apply->recorded)
		HVRI_TRY(drop_record(apply));
	apply->phase = HVREPL_LOG_PHASE_DONE;
	return HVREPL_OK;
}

/* The next piece of the current chunk; *cost_out of the budget. */
static int32_t write_piece(struct hvrepl_log_apply *apply, uint32_t *cost_out)
{
	const struct hvrepl_log_chunk *chunk = &apply->chunk;
	const struct hvrepl_extent *extent = &chunk->extents[apply->extent];
	uint64_t offset = extent->offset + apply->extent_done;
	uint64_t length = extent->length - apply->extent_done;

	if (chunk->kind == HVREPL_LOG_DATA) {
		HVRI_TRY(hvri_disk_write(&apply->disk, offset,
					 (const uint8_t *)chunk->data +
						 apply->data_done,
					 (size_t)length));
		apply->data_done += (uint32_t)length;
		*cost_out = (uint32_t)length;
	} else {
		length = HVRI_MIN(length, ZERO_PIECE);
		HVRI_TRY(hvri_disk_zero(&apply->env, &apply->disk, offset,
					length));
		*cost_out = ZERO_COST;
	}
	apply->written += length;
	apply->extent_done += length;
	if (apply->extent_done == extent->length) {
		apply->extent++;
		apply->extent_done = 0;
	}
	return HVREPL_OK;
}

/* The next chunk; read a second time and checked a second time. */
static int32_t next_chunk(struct hvrepl_log_apply *apply,
			  struct hvrepl_error *error)
{
	struct hvrepl_log_reader *reader = apply->chain.readers[apply->log];
	struct hvrepl_log_summary summary;
	int32_t rc = hvri_log_reader_next(reader, &apply->chunk);

	apply->extent = 0;
	apply->data_done = 0;
	if (rc == HVREPL_OK && apply->chunk.kind == HVREPL_LOG_END) {
		rc = hvri_log_reader_summary(reader, &summary);
		if (rc == HVREPL_OK &&
		    memcmp(summary.root, apply->chain.roots_seen[apply->log],
			   sizeof(summary.root)) != 0)
			rc = HVREPL_E_CORRUPT;
		apply->log++;
	}
	if (rc < 0)
		return hvri_fail(error, rc,
				 "log %u was good when it was checked and is "
				 "not any more: mend it and repeat the apply",
				 apply->log + 1);
	return HVREPL_OK;
}

static int32_t write_logs(struct hvrepl_log_apply *apply,
			  struct hvrepl_error *error)
{
	uint32_t budget = WRITE_BUDGET, cost;

	while (budget > 0) {
		if (apply->extent < apply->chunk.extent_count) {
			HVRI_TRY(write_piece(apply, &cost));
			budget -= HVRI_MIN(budget, cost);
			continue;
		}
		if (apply->log == apply->chain.count)
			return finish(apply);
		HVRI_TRY(next_chunk(apply, error));
	}
	return HVREPL_OK;
}

static int32_t advance(struct hvrepl_log_apply *apply,
		       struct hvrepl_error *error)
{
	switch (apply->phase) {
	case HVREPL_LOG_PHASE_LOGS:
		return check_logs(apply, error);
	case HVREPL_LOG_PHASE_DISK:
		return check_disk(apply, error);
	case HVREPL_LOG_PHASE_WRITE:
		return write_logs(apply, error);
	default:
		return HVREPL_OK;
	}
}

static void report(const struct hvrepl_log_apply *apply,
		   struct hvrepl_log_progress *progress)
{
	uint64_t position, size;

	progress->phase = apply->phase;
	progress->written = apply->written;
	progress->outcome = apply->outcome;
	if (apply->phase == HVREPL_LOG_PHASE_DISK) {
		progress->total = apply->disk.info.size;
		progress->done = HVRI_MIN(apply->survey.offset,
					  progress->total);
		return;
	}
	for (uint32_t i = 0; i < apply->chain.count; i++) {
		hvri_log_reader_position(apply->chain.readers[i], &position,
					 &size);
		progress->total += size;
		if (apply->phase == HVREPL_LOG_PHASE_DONE ||
		    (apply->phase == HVREPL_LOG_PHASE_WRITE && i < apply->log))
			position = size;
		progress->done += position;
	}
}

int32_t hvri_log_apply_advance(struct hvrepl_log_apply *apply,
			       struct hvrepl_log_progress *progress_out,
			       struct hvrepl_error *error)
{
	struct hvrepl_log_progress progress = HVREPL_LOG_PROGRESS_INIT;

	if (apply->busy)
		return hvri_fail_plain(error, HVREPL_E_REENTRANT);
	if (apply->failed < 0)
		return hvri_fail_plain(error, HVREPL_E_STATE);
	apply->busy = true;
	apply->failed = advance(apply, error);
	apply->busy = false;
	if (apply->failed < 0)
		return hvri_fail_plain(error, apply->failed);
	report(apply, &progress);
	*progress_out = progress;
	return HVREPL_OK;
}

static int32_t take_all(struct hvrepl_log_apply *taken,
			const struct hvrepl_log_apply_config *config,
			struct hvrepl_error *error)
{
	int32_t rc, rc_storage = HVREPL_OK;

	rc = hvri_disk_take(&taken->disk, &config->disk, error);
	if (config->storage.ops != NULL) {
		rc_storage = hvri_storage_take(&taken->storage,
					       &config->storage,
					       rc < 0 ? NULL : error);
		taken->has_storage = true;
	}
	return rc < 0 ? rc : rc_storage;
}

static int32_t begin(struct hvrepl_log_apply *apply,
		     const struct hvrepl_log_apply_config *config,
		     struct hvrepl_error *error)
{
	if (apply->has_storage) {
		size_t length = config->record_id == NULL
					? 0 : strlen(config->record_id);

		if (length == 0 || length > HVREPL_OBJECT_ID_MAX)
			return hvri_fail(error, HVREPL_E_INVALID,
					 "give the id of the object that "
					 "records the apply: 1 to %u bytes",
					 HVREPL_OBJECT_ID_MAX);
		memcpy(apply->record_id, config->record_id, length);
	}
	if ((apply->disk.info.flags & HVREPL_DISK_READ_ONLY) != 0)
		return hvri_fail(error, HVREPL_E_READ_ONLY,
				 "the disk to apply to is read-only");
	return hvri_chain_begin(&apply->chain, &apply->env, config->readers,
				config->reader_count, &apply->disk, error);
}

int32_t hvri_log_apply_create(const struct hvri_env *env,
			      const struct hvrepl_log_apply_config *config,
			      struct hvrepl_log_apply **apply_out,
			      struct hvrepl_error *error)
{
	struct hvrepl_log_apply taken, *apply = NULL;
	int32_t rc;

	memset(&taken, 0, sizeof(taken));
	rc = take_all(&taken, config, error);
	if (rc == HVREPL_OK && (config->flags & ~HVREPL_LOG_APPLY_ANY_BASE) != 0)
		rc = HVREPL_E_TOO_NEW;
	if (rc == HVREPL_OK)
		apply = hvri_alloc(env, sizeof(*apply));
	if (apply == NULL) {
		hvri_disk_drop(&taken.disk);
		hvri_storage_drop(&taken.storage);
		return hvri_fail_plain(error, rc < 0 ? rc : HVREPL_E_NOMEM);
	}
	*apply = taken;
	apply->env = *env;
	apply->flags = config->flags;
	apply->phase = HVREPL_LOG_PHASE_LOGS;
	rc = begin(apply, config, error);
	if (rc < 0) {
		hvri_log_apply_destroy(apply);
		return hvri_fail_plain(error, rc);
	}
	*apply_out = apply;
	return HVREPL_OK;
}

void hvri_log_apply_destroy(struct hvrepl_log_apply *apply)
{
	struct hvri_env env;

	if (apply == NULL)
		return;
	env = apply->env;
	hvri_chain_free(&apply->chain);
	hvri_survey_free(&apply->survey);
	hvri_disk_drop(&apply->disk);
	hvri_storage_drop(&apply->storage);
	hvri_free(&env, apply, sizeof(*apply));
}
