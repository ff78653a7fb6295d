/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a segment: packs changes into chunks, keeps index and root. */
#include "transfer/log_writer.h"

#include <string.h>

#define RAW_MAX HVRI_CHUNK_RAW_WRITTEN
#define EXTENTS_MAX HVRI_CHUNK_EXTENTS_MAX

/* A chunk being filled. */
struct pending {
	struct hvrepl_extent extents[EXTENTS_MAX];
	uint32_t count;
	uint32_t length; /* Raw bytes, of DATA. */
};

struct hvrepl_log_writer {
	struct hvri_env env;
	struct hvri_segment_header header;
	struct hvri_log_sink sink;
	struct hvri_packer *packer;
	struct hvri_segment_root root;
	struct hvri_segment_trailer trailer;
	struct hvrepl_log_summary summary;
	uint64_t position;      /* Bytes given to the sink. */
	uint64_t previous_page; /* Position, 0: none yet. */
	uint32_t sequence;      /* Of the next chunk. */
	int32_t failed;         /* First failure: the log is lost. */
	bool busy, finished, rooted;
	/* Where the last added range ended: what begins before it may overlap
	 * something pending, which then has to go out first. */
	uint64_t last_end;
	struct pending data, zero, discard;
	struct hvri_segment_entry entries[HVRI_PAGE_ENTRIES];
	uint32_t entry_count;
	uint8_t *raw;  /* RAW_MAX, of `data`. */
	uint8_t *out;  /* One encoded chunk or page. */
};

#define OUT_SIZE HVRI_MAX(HVRI_CHUNK_ENCODED_MAX, HVRI_PAGE_ENCODED_MAX)

static int32_t append(struct hvrepl_log_writer *writer, const void *bytes,
		      size_t length)
{
	HVRI_TRY(hvri_log_sink_append(&writer->sink, bytes, length));
	writer->position += length;
	return HVREPL_OK;
}

static int32_t write_page(struct hvrepl_log_writer *writer)
{
	struct hvri_segment_page page = {
		.first_sequence = writer->sequence - writer->entry_count,
		.count = writer->entry_count,
		.previous = writer->previous_page,
	};
	uint32_t length = HVRI_PAGE_ENCODED(page.count);

	if (page.count == 0)
		return HVREPL_OK;
	hvri_segment_page_encode(&writer->header, &page, writer->entries,
				 writer->out);
	writer->trailer.index_position = writer->position;
	writer->trailer.index_length = length;
	writer->previous_page = writer->position;
	writer->entry_count = 0;
	return append(writer, writer->out, length);
}

static void count(struct hvrepl_log_writer *writer,
		  const struct hvri_chunk *chunk)
{
	uint64_t covered = hvri_chunk_covered(chunk);

	writer->trailer.raw_bytes += chunk->raw_length;
	if (chunk->kind == HVRI_CHUNK_DATA) {
		writer->summary.data_bytes += covered;
		writer->summary.stored_bytes += chunk->stored_length;
	} else if (chunk->kind == HVRI_CHUNK_ZERO) {
		writer->summary.zero_bytes += covered;
	} else {
		writer->summary.discard_bytes += covered;
	}
}

/* A whole encoded chunk goes out. */
static int32_t write_chunk(struct hvrepl_log_writer *writer,
			   const uint8_t *encoded, uint32_t length)
{
	struct hvri_segment_entry *entry =
		&writer->entries[writer->entry_count];
	struct hvri_chunk chunk;

	/* Not only for chunks made elsewhere: what leaves here is read back
	 * through the same gate as on the other side. */
	HVRI_TRY(hvri_chunk_decode(&writer->header, encoded, length, &chunk));
	if (chunk.sequence != writer->sequence)
		return HVREPL_E_INVALID;
	if (writer->sequence == UINT32_MAX)
		return HVREPL_E_LIMIT;
	entry->position = writer->position;
	entry->length = length;
	memcpy(entry->stored_digest, chunk.stored_digest, 16);
	HVRI_TRY(hvri_segment_root_add(&writer->root, chunk.stored_digest));
	HVRI_TRY(append(writer, encoded, length));
	count(writer, &chunk);
	writer->sequence++;
	writer->entry_count++;
	if (writer->entry_count == HVRI_PAGE_ENTRIES)
		return write_page(writer);
	return HVREPL_OK;
}

static int32_t emit(struct hvrepl_log_writer *writer, struct pending *pending,
		    uint8_t kind)
{
	uint32_t length;

	if (pending->count == 0)
		return HVREPL_OK;
	HVRI_TRY(hvri_chunk_pack(writer->packer, &writer->header,
				 writer->sequence, kind, pending->extents,
				 pending->count,
				 kind == HVRI_CHUNK_DATA ? writer->raw : NULL,
				 writer->out, &length));
	pending->count = 0;
	pending->length = 0;
	return write_chunk(writer, writer->out, length);
}

static int32_t emit_all(struct hvrepl_log_writer *writer)
{
	HVRI_TRY(emit(writer, &writer->data, HVRI_CHUNK_DATA));
	HVRI_TRY(emit(writer, &writer->zero, HVRI_CHUNK_ZERO));
	return emit(writer, &writer->discard, HVRI_CHUNK_DISCARD);
}

/* Put a range behind the pending ones, joined to the last where they touch. */
static int32_t pend(struct hvrepl_log_writer *writer, struct pending *pending,
		    uint8_t kind, uint64_t offset, uint64_t length)
{
	struct hvrepl_extent *last = NULL;

	if (pending->count > 0)
		last = &pending->extents[pending->count - 1];
	if (last != NULL && last->offset + last->length == offset) {
		last->length += length;
		return HVREPL_OK;
	}
	if (pending->count == EXTENTS_MAX)
		HVRI_TRY(emit(writer, pending, kind));
	pending->extents[pending->count++] =
		(struct hvrepl_extent){ offset, length };
	return HVREPL_OK;
}

static int32_t pend_data(struct hvrepl_log_writer *writer, uint64_t offset,
			 const uint8_t *bytes, size_t length)
{
	while (length > 0) {
		uint32_t room = RAW_MAX - writer->data.length;
		uint32_t piece = (uint32_t)HVRI_MIN(room, length);

		/* All of a pending chunk's extents lie on blocks, so does the
		 * room that is left, except behind the end of the disk. */
		if (room < writer->header.block_size) {
			HVRI_TRY(emit(writer, &writer->data, HVRI_CHUNK_DATA));
			continue;
		}
		HVRI_TRY(pend(writer, &writer->data, HVRI_CHUNK_DATA, offset,
			      piece));
		memcpy(writer->raw + writer->data.length, bytes, piece);
		writer->data.length += piece;
		offset += piece;
		bytes += piece;
		length -= piece;
	}
	return HVREPL_OK;
}

/* Gate of every add: state, range, and the order of what overlaps. */
static int32_t begin_add(struct hvrepl_log_writer *writer, uint64_t offset,
			 uint64_t length)
{
	const struct hvri_segment_header *header = &writer->header;
	uint64_t mask = header->block_size - 1;

	if (writer->failed < 0 || writer->finished)
		return HVREPL_E_STATE;
	if (offset > header->disk_size ||
	    length > header->disk_size - offset || (offset & mask) != 0 ||
	    (((offset + length) & mask) != 0 &&
	     offset + length != header->disk_size))
		return HVREPL_E_RANGE;
	if (offset < writer->last_end) {
		writer->failed = emit_all(writer);
		if (writer->failed < 0)
			return writer->failed;
	}
	writer->last_end = offset + length;
	return HVREPL_OK;
}

int32_t hvri_log_writer_add(struct hvrepl_log_writer *writer, uint64_t offset,
			    const uint8_t *bytes, size_t length)
{
	size_t done = 0;
	int32_t rc = HVREPL_OK;

	HVRI_TRY(begin_add(writer, offset, length));
	while (done < length && rc == HVREPL_OK) {
		size_t block = HVRI_MIN(writer->header.block_size,
					length - done);
		bool zero = hvri_is_zero(bytes + done, block);
		size_t run = block;

		/* A run of blocks of the same sort. */
		while (done + run < length) {
			block = HVRI_MIN(writer->header.block_size,
					 length - done - run);
			if (hvri_is_zero(bytes + done + run, block) != zero)
				break;
			run += block;
		}
		if (zero)
			rc = pend(writer, &writer->zero, HVRI_CHUNK_ZERO,
				  offset + done, run);
		else
			rc = pend_data(writer, offset + done, bytes + done,
				       run);
		done += run;
	}
	writer->failed = rc;
	return rc;
}

int32_t hvri_log_writer_add_range(struct hvrepl_log_writer *writer,
				  uint8_t kind, uint64_t offset,
				  uint64_t length)
{
	HVRI_TRY(begin_add(writer, offset, length));
	if (length > 0)
		writer->failed = pend(writer,
				      kind == HVRI_CHUNK_ZERO
					      ? &writer->zero
					      : &writer->discard,
				      kind, offset, length);
	return writer->failed;
}

int32_t hvri_log_writer_add_chunk(struct hvrepl_log_writer *writer,
				  const uint8_t *encoded, uint32_t length)
{
	if (writer->failed < 0 || writer->finished)
		return HVREPL_E_STATE;
	writer->failed = emit_all(writer);
	writer->last_end = UINT64_MAX;
	if (writer->failed == HVREPL_OK)
		writer->failed = write_chunk(writer, encoded, length);
	return writer->failed;
}

static int32_t finish(struct hvrepl_log_writer *writer)
{
	struct hvri_segment_trailer *trailer = &writer->trailer;

	HVRI_TRY(emit_all(writer));
	HVRI_TRY(write_page(writer));
	trailer->chunk_count = writer->sequence;
	HVRI_TRY(hvri_segment_root_end(&writer->root, trailer->root));
	hvri_segment_trailer_encode(trailer, writer->out);
	HVRI_TRY(append(writer, writer->out, HVRI_SEGMENT_TRAILER_SIZE));
	return hvri_log_sink_flush(&writer->sink);
}

int32_t hvri_log_writer_finish(struct hvrepl_log_writer *writer,
			       uint8_t result_digest_kind,
			       const uint8_t *result_digest)
{
	if (writer->failed < 0 || writer->finished)
		return HVREPL_E_STATE;
	if ((result_digest_kind != HVRI_DIGEST_NONE &&
	     result_digest_kind != HVRI_DIGEST_SHA256) ||
	    (result_digest_kind != HVRI_DIGEST_NONE) != (result_digest != NULL))
		return HVREPL_E_INVALID;
	writer->trailer.result_digest_kind = result_digest_kind;
	if (result_digest != NULL)
		memcpy(writer->trailer.result_digest, result_digest, 32);
	writer->failed = finish(writer);
	writer->finished = writer->failed == HVREPL_OK;
	return writer->failed;
}

void hvri_log_writer_summary(const struct hvrepl_log_writer *writer,
			     struct hvrepl_log_summary *summary_out)
{
	const struct hvri_segment_trailer *trailer = &writer->trailer;

	*summary_out = writer->summary;
	summary_out->struct_size = sizeof(*summary_out);
	summary_out->chunk_count = trailer->chunk_count;
	summary_out->length = writer->position;
	memcpy(summary_out->root, trailer->root, 32);
	summary_out->result_digest_kind = trailer->result_digest_kind;
	memcpy(summary_out->result_digest, trailer->result_digest, 32);
}

uint64_t hvri_log_writer_length(const struct hvrepl_log_writer *writer)
{
	return writer->position;
}

const struct hvri_segment_header *
hvri_log_writer_header(const struct hvrepl_log_writer *writer)
{
	return &writer->header;
}

static int32_t start(struct hvrepl_log_writer *writer, int32_t level)
{
	uint8_t bytes[HVRI_SEGMENT_HEADER_SIZE];

	if (hvri_uuid_is_none(&writer->header.identity.cut))
		HVRI_TRY(hvri_uuid_new(&writer->env,
				       &writer->header.identity.cut));
	if (writer->header.utc_ns == 0)
		writer->header.utc_ns = hvri_utc(&writer->env);
	writer->raw = hvri_alloc_io(&writer->env, RAW_MAX);
	writer->out = hvri_alloc_io(&writer->env, OUT_SIZE);
	if (writer->raw == NULL || writer->out == NULL)
		return HVREPL_E_NOMEM;
	HVRI_TRY(hvri_packer_create(&writer->env, level, &writer->packer));
	HVRI_TRY(hvri_packer_ready(writer->packer));
	HVRI_TRY(hvri_segment_root_begin(&writer->root, &writer->header));
	writer->rooted = true;
	hvri_segment_header_encode(&writer->header, bytes);
	return append(writer, bytes, sizeof(bytes));
}

int32_t hvri_log_writer_create(const struct hvri_env *env,
			       const struct hvri_segment_header *header,
			       int32_t level,
			       const struct hvrepl_log_sink *sink,
			       struct hvrepl_log_writer **writer_out,
			       struct hvrepl_error *error)
{
	struct hvri_log_sink taken;
	struct hvrepl_log_writer *writer;
	int32_t rc;

	HVRI_TRY(hvri_log_sink_take(&taken, sink, error));
	if (hvri_segment_header_check(header) < 0) {
		hvri_log_sink_drop(&taken);
		return hvri_fail(error, HVREPL_E_INVALID,
				 "the log's description is out of range: the "
				 "disk needs a size, the block size is a power "
				 "of two from 512 to 65536");
	}
	writer = hvri_alloc(env, sizeof(*writer));
	if (writer == NULL) {
		hvri_log_sink_drop(&taken);
		return hvri_fail_plain(error, HVREPL_E_NOMEM);
	}
	writer->env = *env;
	writer->header = *header;
	writer->sink = taken;
	rc = start(writer, level);
	if (rc < 0) {
		hvri_log_writer_destroy(writer);
		return hvri_fail_plain(error, rc);
	}
	*writer_out = writer;
	return HVREPL_OK;
}

void hvri_log_writer_destroy(struct hvrepl_log_writer *writer)
{
	struct hvri_env env;

	if (writer == NULL)
		return;
	env = writer->env;
	if (writer->rooted)
		hvri_segment_root_free(&writer->root);
	hvri_packer_destroy(writer->packer);
	hvri_free(&env, writer->raw, RAW_MAX);
	hvri_free(&env, writer->out, OUT_SIZE);
	hvri_log_sink_drop(&writer->sink);
	hvri_free(&env, writer, sizeof(*writer));
}

int32_t hvri_log_writer_enter(struct hvrepl_log_writer *writer)
{
	if (writer->busy)
		return HVREPL_E_REENTRANT;
	writer->busy = true;
	return HVREPL_OK;
}

void hvri_log_writer_leave(struct hvrepl_log_writer *writer)
{
	writer->busy = false;
}
