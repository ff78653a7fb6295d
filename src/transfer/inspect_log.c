/* SPDX-License-Identifier: Apache-2.0 */
/* Describing segments, and the record of an apply under way. */
#include "format/apply_record.h"
#include "transfer/inspect.h"
#include "transfer/log_reader.h"

static const char *chunk_name(uint32_t kind)
{
	if (kind == HVREPL_LOG_DATA)
		return "data";
	return kind == HVREPL_LOG_ZERO ? "zero" : "discard";
}

static void give_header(struct hvri_walk *walk,
			const struct hvri_segment_header *header)
{
	hvri_walk_number(walk, "version", 1);
	hvri_walk_uuid(walk, "vm", &header->identity.vm);
	hvri_walk_uuid(walk, "disk", &header->identity.disk);
	hvri_walk_uuid(walk, "epoch", &header->identity.epoch);
	hvri_walk_uuid(walk, "cut", &header->identity.cut);
	hvri_walk_number(walk, "from_point", header->identity.from_point);
	hvri_walk_number(walk, "to_point", header->identity.to_point);
	hvri_walk_number(walk, "disk_size", header->disk_size);
	hvri_walk_number(walk, "block_size", header->block_size);
	hvri_walk_number(walk, "utc_ns", header->utc_ns);
	if (header->base_digest_kind != HVRI_DIGEST_NONE)
		hvri_walk_bytes(walk, "base_digest", header->base_digest, 32);
}

static void give_chunk(struct hvri_walk *walk,
		       const struct hvrepl_log_chunk *chunk)
{
	hvri_walk_begin(walk, NULL, HVREPL_NODE_OBJECT);
	hvri_walk_number(walk, "position", chunk->position);
	hvri_walk_text(walk, "kind", chunk_name(chunk->kind));
	hvri_walk_number(walk, "raw_length", chunk->data_length);
	hvri_walk_number(walk, "stored_length", chunk->stored_length);
	hvri_walk_begin(walk, "extents", HVREPL_NODE_LIST);
	for (uint32_t i = 0; i < chunk->extent_count; i++)
		hvri_walk_extent(walk, chunk->extents[i].offset,
				 chunk->extents[i].length);
	hvri_walk_end(walk);
	hvri_walk_end(walk);
}

static void give_summary(struct hvri_walk *walk,
			 const struct hvrepl_log_summary *summary)
{
	hvri_walk_number(walk, "chunk_count", summary->chunk_count);
	hvri_walk_number(walk, "data_bytes", summary->data_bytes);
	hvri_walk_number(walk, "stored_bytes", summary->stored_bytes);
	hvri_walk_number(walk, "zero_bytes", summary->zero_bytes);
	hvri_walk_number(walk, "discard_bytes", summary->discard_bytes);
	hvri_walk_bytes(walk, "root", summary->root, 32);
	if (summary->result_digest_kind != HVREPL_LOG_DIGEST_NONE)
		hvri_walk_bytes(walk, "result_digest", summary->result_digest,
				32);
}

static int32_t walk_log(struct hvri_walk *walk,
			struct hvrepl_log_reader *reader,
			struct hvrepl_error *error)
{
	bool details = (walk->flags & HVREPL_INSPECT_DETAILS) != 0;
	struct hvrepl_log_summary summary;
	struct hvrepl_log_chunk chunk;
	uint64_t position, size;
	int32_t rc;

	give_header(walk, hvri_log_reader_header(reader));
	if (details)
		hvri_walk_begin(walk, "chunks", HVREPL_NODE_LIST);
	do {
		rc = hvri_log_reader_next(reader, &chunk);
		if (rc == HVREPL_OK && details && chunk.kind != HVREPL_LOG_END)
			give_chunk(walk, &chunk);
	} while (rc == HVREPL_OK && chunk.kind != HVREPL_LOG_END &&
		 walk->failed >= 0);
	if (details)
		hvri_walk_end(walk);
	if (walk->failed < 0)
		return walk->failed;
	hvri_log_reader_position(reader, &position, &size);
	if (rc == HVREPL_E_TRUNCATED)
		return hvri_fail(error, rc,
				 "the log ends too early, after %llu bytes: it "
				 "was not finished, or not copied whole",
				 (unsigned long long)size);
	if (rc == HVREPL_E_CORRUPT)
		return hvri_fail(error, rc,
				 "the log is damaged near byte %llu: fetch it "
				 "again", (unsigned long long)position);
	HVRI_TRY(rc);
	HVRI_TRY(hvri_log_reader_summary(reader, &summary));
	give_summary(walk, &summary);
	return HVREPL_OK;
}

int32_t hvri_inspect_segment(struct hvri_walk *walk,
			     struct hvrepl_error *error)
{
	/* Shared with the walk, which lets it go. */
	struct hvrepl_log_source source = { &walk->source->ops,
					    walk->source->user, NULL };
	struct hvrepl_log_reader *reader = NULL;
	int32_t rc;

	HVRI_TRY(hvri_log_reader_open(walk->env, &source, &reader, error));
	rc = walk_log(walk, reader, error);
	hvri_log_reader_destroy(reader);
	return rc;
}

int32_t hvri_inspect_apply_record(struct hvri_walk *walk,
				  struct hvrepl_error *error)
{
	uint8_t bytes[HVRI_APPLY_RECORD_SIZE];
	struct hvri_apply_record record;

	(void)error;
	HVRI_TRY(hvri_walk_read(walk, 0, bytes, sizeof(bytes)));
	HVRI_TRY(hvri_apply_record_decode(bytes, &record));
	if (walk->size != sizeof(bytes))
		return HVREPL_E_CORRUPT;
	hvri_walk_number(walk, "version", 1);
	hvri_walk_number(walk, "disk_size", record.disk_size);
	hvri_walk_number(walk, "granule", record.granule);
	hvri_walk_bytes(walk, "chain", record.chain, sizeof(record.chain));
	hvri_walk_bytes(walk, "salt", record.salt, sizeof(record.salt));
	hvri_walk_bytes(walk, "kept", record.kept, sizeof(record.kept));
	return HVREPL_OK;
}
