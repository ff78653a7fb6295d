/* SPDX-License-Identifier: Apache-2.0 */
/* Describing a store's manifest: its head, and the log of records. */
#include "format/manifest.h"
#include "transfer/inspect.h"

#include <string.h>

static const char *phase_name(uint32_t phase)
{
	static const char *const names[] = { "empty", "initial", "replica",
					     "base-only" };

	return phase < HVRI_ARRAY_LEN(names) ? names[phase] : "?";
}

static const char *commit_name(uint32_t commit)
{
	static const char *const names[] = { "none", "overlay", "folding",
					     "switching", "restoring" };

	return commit < HVRI_ARRAY_LEN(names) ? names[commit] : "?";
}

static void give_head(struct hvri_walk *walk, const struct hvri_head *head,
		      unsigned slot, bool torn)
{
	hvri_walk_number(walk, "version", 1);
	hvri_walk_number(walk, "slot", slot);
	/* Normal after a crash: the other one counts. */
	hvri_walk_bool(walk, "slot_torn", torn);
	hvri_walk_uuid(walk, "vm", &head->vm);
	hvri_walk_number(walk, "generation", head->generation);
	hvri_walk_number(walk, "fencing_token", head->fencing_token);
	hvri_walk_number(walk, "log", head->log);
	hvri_walk_number(walk, "committed", head->length);
	hvri_walk_number(walk, "sequence", head->sequence);
	hvri_walk_bytes(walk, "digest", head->digest, sizeof(head->digest));
}

int32_t hvri_inspect_store_head(struct hvri_walk *walk,
				struct hvrepl_error *error)
{
	struct hvri_head heads[2];
	uint8_t bytes[HVRI_HEAD_SIZE];
	int32_t rc[2];
	unsigned newer;

	(void)error;
	for (unsigned i = 0; i < 2; i++) {
		rc[i] = hvri_walk_read(walk, i * HVRI_HEAD_SLOT_STEP, bytes,
				       sizeof(bytes));
		if (rc[i] == HVREPL_OK)
			rc[i] = hvri_head_decode(bytes, NULL, &heads[i]);
		if (rc[i] < 0 &&
		    hvrepl_error_class(rc[i]) != HVREPL_CLASS_INTEGRITY)
			return rc[i];
	}
	if (rc[0] < 0 && rc[1] < 0)
		return rc[0];
	newer = rc[0] < 0 || (rc[1] == HVREPL_OK &&
			      heads[1].generation > heads[0].generation);
	give_head(walk, &heads[newer], newer, rc[!newer] < 0);
	return HVREPL_OK;
}

static void give_point(struct hvri_walk *walk, const char *key,
		       const struct hvri_manifest_point *point)
{
	hvri_walk_begin(walk, key, HVREPL_NODE_OBJECT);
	hvri_walk_number(walk, "key", point->key);
	hvri_walk_number(walk, "number", point->number);
	hvri_walk_uuid(walk, "epoch", &point->epoch);
	hvri_walk_uuid(walk, "cut", &point->cut);
	hvri_walk_number(walk, "utc_ns", point->utc_ns);
	hvri_walk_number(walk, "config_version", point->config_version);
	if (point->changed_bytes != HVREPL_BYTES_UNKNOWN)
		hvri_walk_number(walk, "changed_bytes", point->changed_bytes);
	hvri_walk_number(walk, "pins", point->pins);
	hvri_walk_end(walk);
}

static void give_log(struct hvri_walk *walk, const char *key,
		     const struct hvri_manifest_log *log)
{
	hvri_walk_begin(walk, key, HVREPL_NODE_OBJECT);
	hvri_walk_number(walk, "id", log->id);
	hvri_walk_number(walk, "from", log->from);
	hvri_walk_number(walk, "to", log->to);
	hvri_walk_number(walk, "container", log->container);
	hvri_walk_number(walk, "stored_bytes", log->stored_bytes);
	hvri_walk_end(walk);
}

static void give_logs(struct hvri_walk *walk, const char *key,
		      const struct hvri_manifest_log *logs, uint32_t count)
{
	hvri_walk_begin(walk, key, HVREPL_NODE_LIST);
	for (uint32_t i = 0; i < count; i++)
		give_log(walk, NULL, &logs[i]);
	hvri_walk_end(walk);
}

/* T9: whether the bases may have been written since they were stamped. */
static const char *stamped_name(uint32_t stamped)
{
	static const char *const names[] = { "not stamped", "open", "settled",
					     "closed" };

	return stamped < HVRI_ARRAY_LEN(names) ? names[stamped] : "?";
}

static void give_disks(struct hvri_walk *walk,
		       const struct hvri_manifest_disk *disks, uint32_t count)
{
	hvri_walk_begin(walk, "disks", HVREPL_NODE_LIST);
	for (uint32_t i = 0; i < count; i++) {
		hvri_walk_begin(walk, NULL, HVREPL_NODE_OBJECT);
		hvri_walk_uuid(walk, "disk", &disks[i].disk);
		hvri_walk_number(walk, "size", disks[i].size);
		hvri_walk_number(walk, "frontier", disks[i].frontier);
		hvri_walk_number(walk, "direct", disks[i].direct);
		hvri_walk_end(walk);
	}
	hvri_walk_end(walk);
}

static void give_manifest(struct hvri_walk *walk,
			  const struct hvri_manifest *state)
{
	hvri_walk_begin(walk, "checkpoint", HVREPL_NODE_OBJECT);
	hvri_walk_uuid(walk, "vm", &state->vm);
	hvri_walk_text(walk, "phase", phase_name(state->phase));
	give_disks(walk, state->disks, state->disk_count);
	hvri_walk_number(walk, "base", state->base);
	hvri_walk_number(walk, "merge_target", state->merge_target);
	hvri_walk_text(walk, "commit", commit_name(state->commit));
	if (state->commit != HVRI_COMMIT_NONE)
		hvri_walk_number(walk, "commit_point", state->commit_point);
	hvri_walk_begin(walk, "points", HVREPL_NODE_LIST);
	for (uint32_t i = 0; i < state->point_count; i++)
		give_point(walk, NULL, &state->points[i]);
	hvri_walk_end(walk);
	give_logs(walk, "redo", state->redo, state->redo_count);
	give_logs(walk, "undo", state->undo, state->undo_count);
	hvri_walk_number(walk, "configurations", state->config_count);
	hvri_walk_text(walk, "bases", stamped_name(state->stamped));
	hvri_walk_number(walk, "doubt_from", state->doubt_from);
	hvri_walk_number(walk, "doubt_to", state->doubt_to);
	hvri_walk_end(walk);
}

/* What a record other than a checkpoint says, by type. */
static void give_change(struct hvri_walk *walk,
			const struct hvri_manifest_record *record)
{
	switch (record->type) {
	case HVRI_RECORD_POINT:
	case HVRI_RECORD_ADOPT:
		give_point(walk, "point", &record->point);
		if (record->log.id != 0)
			give_log(walk, "log", &record->log);
		break;
	case HVRI_RECORD_MERGED:
	case HVRI_RECORD_REPLACE:
		give_log(walk, "log", &record->log);
		break;
	case HVRI_RECORD_INITIAL:
		hvri_walk_uuid(walk, "cut", &record->cut);
		give_disks(walk, record->disks, record->disk_count);
		break;
	case HVRI_RECORD_PINS:
		hvri_walk_number(walk, "key", record->key);
		hvri_walk_number(walk, "pins", record->pins);
		break;
	case HVRI_RECORD_DROP:
	case HVRI_RECORD_MERGE:
	case HVRI_RECORD_OVERLAY:
		hvri_walk_number(walk, "key", record->key);
		break;
	case HVRI_RECORD_DOUBT:
		hvri_walk_number(walk, "from", record->from);
		hvri_walk_number(walk, "to", record->to);
		break;
	case HVRI_RECORD_DIRECT:
		hvri_walk_number(walk, "disk", record->disk);
		hvri_walk_number(walk, "offset", record->offset);
		break;
	default:
		break;
	}
	if (record->stamp_count > 0)
		hvri_walk_text(walk, "bases", stamped_name(record->stamped));
}

/* Buffers of one walk through a log of records. */
struct records {
	struct hvri_walk *walk;
	struct hvri_manifest *manifest;
	struct hvri_manifest_disk *disks;
	struct hvri_manifest_stamp *stamps;
	uint8_t *body;
	uint64_t position, count, sequence, log;
	uint8_t digest[32]; /* Of the last good record. */
};

/* Read the frame of the record at `position`, and its body into
 * records->body (freed by the caller, header_out->length). */
static int32_t read_record(struct records *records, uint64_t position,
			   struct hvri_record_header *header_out)
{
	const struct hvri_walk *walk = records->walk;
	uint8_t frame[HVRI_RECORD_HEADER];
	int32_t rc;

	HVRI_TRY(hvri_walk_read(walk, position, frame, sizeof(frame)));
	HVRI_TRY(hvri_record_header_decode(frame, header_out));
	if (walk->size - position - sizeof(frame) < header_out->length)
		return HVREPL_E_TRUNCATED;
	records->body = hvri_alloc(walk->env, (size_t)header_out->length + 1);
	if (records->body == NULL)
		return HVREPL_E_NOMEM;
	rc = hvri_walk_read(walk, position + sizeof(frame), records->body,
			    header_out->length);
	if (rc == HVREPL_OK)
		rc = hvri_record_check(frame, header_out, records->body,
				       NULL);
	if (rc < 0) {
		hvri_free(walk->env, records->body,
			  (size_t)header_out->length + 1);
		records->body = NULL;
	}
	return rc;
}

static void drop_body(struct records *records,
		      const struct hvri_record_header *header)
{
	hvri_free(records->walk->env, records->body,
		  (size_t)header->length + 1);
	records->body = NULL;
}

static int32_t give_record(struct records *records,
			   const struct hvri_record_header *header)
{
	struct hvri_walk *walk = records->walk;
	struct hvri_manifest_record record = { .disks = records->disks,
					       .stamps = records->stamps };
	bool details = (walk->flags & HVREPL_INSPECT_DETAILS) != 0;

	if (header->type == HVRI_RECORD_CHECKPOINT) {
		HVRI_TRY(hvri_manifest_decode(walk->env, records->body,
					      header->length,
					      records->manifest));
		give_manifest(walk, records->manifest);
		hvri_manifest_clear(walk->env, records->manifest);
		if (details)
			hvri_walk_begin(walk, "records", HVREPL_NODE_LIST);
		return HVREPL_OK;
	}
	HVRI_TRY(hvri_manifest_record_decode(header->type, records->body,
					     header->length, &record));
	if (!details)
		return HVREPL_OK;
	hvri_walk_begin(walk, NULL, HVREPL_NODE_OBJECT);
	hvri_walk_number(walk, "position", records->position);
	hvri_walk_number(walk, "sequence", header->sequence);
	hvri_walk_text(walk, "type", hvri_record_name(header->type));
	give_change(walk, &record);
	hvri_walk_end(walk);
	return HVREPL_OK;
}

/* A good record behind a bad one of the same log proves that the bad one is
 * damage and no torn end. */
static int32_t look_behind(struct records *records, bool *damaged_out)
{
	*damaged_out = false;
	for (uint64_t at = records->position + HVRI_RECORD_ALIGN;
	     at < records->walk->size && !*damaged_out;
	     at += HVRI_RECORD_ALIGN) {
		struct hvri_record_header header;
		int32_t rc = read_record(records, at, &header);

		if (rc == HVREPL_OK) {
			*damaged_out = header.log == records->log &&
				       header.sequence > records->sequence;
			drop_body(records, &header);
		} else if (hvrepl_error_class(rc) != HVREPL_CLASS_INTEGRITY) {
			return rc;
		}
	}
	return HVREPL_OK;
}

/* The records that follow each other without a break. */
static int32_t walk_chain(struct records *records)
{
	for (;;) {
		struct hvri_record_header header;
		int32_t rc = read_record(records, records->position, &header);

		if (rc < 0)
			return rc;
		if ((header.type == HVRI_RECORD_CHECKPOINT) !=
			    (records->count == 0) ||
		    (records->count > 0 &&
		     (header.log != records->log ||
		      header.sequence != records->sequence + 1 ||
		      memcmp(header.previous, records->digest, 32) != 0)))
			rc = HVREPL_E_CORRUPT;
		if (rc == HVREPL_OK)
			rc = give_record(records, &header);
		drop_body(records, &header);
		if (rc < 0 || records->walk->failed < 0)
			return rc < 0 ? rc : records->walk->failed;
		records->count++;
		records->log = header.log;
		records->sequence = header.sequence;
		memcpy(records->digest, header.digest, 32);
		records->position += hvri_record_span(header.length);
	}
}

static int32_t walk_records(struct records *records,
			    struct hvrepl_error *error)
{
	struct hvri_walk *walk = records->walk;
	bool damaged = false;
	int32_t rc = walk_chain(records);

	if (hvrepl_error_class(rc) != HVREPL_CLASS_INTEGRITY)
		return rc;
	if (records->count == 0)
		return rc;
	if ((walk->flags & HVREPL_INSPECT_DETAILS) != 0)
		hvri_walk_end(walk);
	hvri_walk_number(walk, "log", records->log);
	hvri_walk_number(walk, "record_count", records->count);
	hvri_walk_number(walk, "last_sequence", records->sequence);
	hvri_walk_number(walk, "good_bytes", records->position);
	if (rc == HVREPL_E_FORMAT_TOO_NEW)
		return rc;
	HVRI_TRY(look_behind(records, &damaged));
	if (damaged)
		return hvri_fail(error, HVREPL_E_CORRUPT,
				 "the record at byte %llu is damaged, and good "
				 "ones follow it",
				 (unsigned long long)records->position);
	return HVREPL_OK;
}

int32_t hvri_inspect_store_log(struct hvri_walk *walk,
			       struct hvrepl_error *error)
{
	struct records records = { .walk = walk };
	int32_t rc = HVREPL_E_NOMEM;

	records.manifest = hvri_alloc(walk->env, sizeof(*records.manifest));
	records.disks = hvri_alloc_array(walk->env, HVREPL_STORE_DISKS_MAX,
					 sizeof(*records.disks));
	records.stamps = hvri_alloc_array(walk->env, HVREPL_STORE_DISKS_MAX,
					  sizeof(*records.stamps));
	if (records.manifest != NULL && records.disks != NULL &&
	    records.stamps != NULL)
		rc = walk_records(&records, error);
	hvri_free(walk->env, records.manifest, sizeof(*records.manifest));
	hvri_free(walk->env, records.stamps,
		  HVREPL_STORE_DISKS_MAX * sizeof(*records.stamps));
	hvri_free(walk->env, records.disks,
		  HVREPL_STORE_DISKS_MAX * sizeof(*records.disks));
	return rc;
}
