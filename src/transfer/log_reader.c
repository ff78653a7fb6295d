/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a segment: one window of bytes, each record checked where it lies. */
#include "transfer/log_reader.h"

#include <string.h>

/* Holds at least one record of any kind; larger so that reads are. */
#define WINDOW (1u << 20)

struct buffers {
	/* Chunks no index page has named yet. */
	struct hvri_segment_entry entries[HVRI_PAGE_ENTRIES];
	struct hvrepl_extent extents[HVRI_CHUNK_EXTENTS_MAX];
	uint8_t raw[HVRI_CHUNK_RAW_MAX];
	uint8_t window[WINDOW];
};

struct hvrepl_log_reader {
	struct hvri_env env;
	struct hvri_log_source source;
	uint64_t size; /* Of the source, as of open or rewind. */
	struct hvri_segment_header header;
	struct hvri_segment_root root;
	struct hvri_segment_trailer trailer;
	struct hvrepl_log_summary summary;
	uint64_t position; /* Of the next record. */
	uint64_t previous_page, previous_page_length;
	uint32_t sequence; /* Of the next chunk. */
	int32_t failed;    /* Code of a failure, until rewind. */
	bool busy, rooted, ended;
	bool last_page; /* A page that was not full: only the trailer follows. */
	uint32_t entry_count;
	/* Only while chunks are read: a long chain of logs, all open, costs
	 * what one of them does. */
	struct buffers *buffers;
	uint64_t window_at;
	size_t window_length;
};

_Static_assert(WINDOW >= HVRI_CHUNK_ENCODED_MAX, "a chunk fits the window");
_Static_assert(WINDOW >= HVRI_PAGE_ENCODED_MAX, "a page fits the window");

/* `length` bytes at `position`, in the window, or TRUNCATED. */
static int32_t need(struct hvrepl_log_reader *reader, uint64_t position,
		    size_t length, const uint8_t **bytes_out)
{
	/* What was read before lies inside, so the position does. */
	if (length > reader->size - position)
		return HVREPL_E_TRUNCATED;
	if (position < reader->window_at ||
	    position + length > reader->window_at + reader->window_length) {
		uint64_t left = reader->size - position;

		reader->window_length = 0;
		HVRI_TRY(hvri_log_source_read(
			&reader->source, position, reader->buffers->window,
			(size_t)HVRI_MIN(left, WINDOW)));
		reader->window_at = position;
		reader->window_length = (size_t)HVRI_MIN(left, WINDOW);
	}
	*bytes_out = reader->buffers->window + (position - reader->window_at);
	return HVREPL_OK;
}

static int32_t take_chunk(struct hvrepl_log_reader *reader,
			  struct hvri_chunk *chunk_out)
{
	struct hvri_segment_entry *entry;
	struct hvri_chunk chunk;
	const uint8_t *bytes;
	uint32_t length;
	uint64_t covered;

	HVRI_TRY(need(reader, reader->position, HVRI_CHUNK_HEADER_SIZE,
		      &bytes));
	HVRI_TRY(hvri_chunk_measure(bytes, &length));
	HVRI_TRY(need(reader, reader->position, length, &bytes));
	HVRI_TRY(hvri_chunk_decode(&reader->header, bytes, length, &chunk));
	if (chunk.sequence != reader->sequence || reader->last_page ||
	    reader->entry_count == HVRI_PAGE_ENTRIES)
		return HVREPL_E_CORRUPT;
	HVRI_TRY(hvri_segment_root_add(&reader->root, chunk.stored_digest));
	entry = &reader->buffers->entries[reader->entry_count++];
	entry->position = reader->position;
	entry->length = length;
	memcpy(entry->stored_digest, chunk.stored_digest, 16);
	covered = hvri_chunk_covered(&chunk);
	reader->summary.chunk_count++;
	if (chunk.kind == HVRI_CHUNK_DATA) {
		reader->summary.data_bytes += covered;
		reader->summary.stored_bytes += chunk.stored_length;
	} else if (chunk.kind == HVRI_CHUNK_ZERO) {
		reader->summary.zero_bytes += covered;
	} else {
		reader->summary.discard_bytes += covered;
	}
	reader->sequence++;
	reader->position += length;
	*chunk_out = chunk;
	return HVREPL_OK;
}

/* An index page names exactly the chunks since the page before it. */
static int32_t take_page(struct hvrepl_log_reader *reader)
{
	struct hvri_segment_page page;
	const uint8_t *bytes;
	uint32_t length;

	HVRI_TRY(need(reader, reader->position, HVRI_PAGE_HEADER_SIZE,
		      &bytes));
	HVRI_TRY(hvri_segment_page_measure(bytes, &length));
	HVRI_TRY(need(reader, reader->position, length, &bytes));
	HVRI_TRY(hvri_segment_page_decode(&reader->header, bytes, length,
					  &page));
	/* Behind the last page there is no chunk that another could name. */
	if (page.count != reader->entry_count ||
	    page.first_sequence != reader->sequence - reader->entry_count ||
	    page.previous != reader->previous_page)
		return HVREPL_E_CORRUPT;
	for (uint32_t i = 0; i < page.count; i++) {
		struct hvri_segment_entry entry =
			hvri_segment_page_entry(&page, i);
		const struct hvri_segment_entry *seen = &reader->buffers->entries[i];

		if (entry.position != seen->position ||
		    entry.length != seen->length ||
		    memcmp(entry.stored_digest, seen->stored_digest, 16) != 0)
			return HVREPL_E_CORRUPT;
	}
	reader->last_page = page.count < HVRI_PAGE_ENTRIES;
	reader->previous_page = reader->position;
	reader->previous_page_length = length;
	reader->entry_count = 0;
	reader->position += length;
	return HVREPL_OK;
}

static int32_t take_trailer(struct hvrepl_log_reader *reader)
{
	struct hvri_segment_trailer trailer;
	const uint8_t *bytes;
	uint8_t root[32];

	HVRI_TRY(need(reader, reader->position, HVRI_SEGMENT_TRAILER_SIZE,
		      &bytes));
	HVRI_TRY(hvri_segment_trailer_decode(bytes, &trailer));
	HVRI_TRY(hvri_segment_root_end(&reader->root, root));
	reader->position += HVRI_SEGMENT_TRAILER_SIZE;
	if (reader->entry_count != 0 ||
	    trailer.chunk_count != reader->sequence ||
	    trailer.raw_bytes != reader->summary.data_bytes ||
	    trailer.index_position != reader->previous_page ||
	    trailer.index_length != reader->previous_page_length ||
	    memcmp(trailer.root, root, sizeof(root)) != 0 ||
	    reader->position != reader->size)
		return HVREPL_E_CORRUPT;
	reader->trailer = trailer;
	reader->ended = true;
	return HVREPL_OK;
}

static void drop_buffers(struct hvrepl_log_reader *reader)
{
	hvri_free(&reader->env, reader->buffers, sizeof(*reader->buffers));
	reader->buffers = NULL;
	reader->window_length = 0;
}

static int32_t next(struct hvrepl_log_reader *reader,
		    struct hvri_chunk *chunk_out)
{
	memset(chunk_out, 0, sizeof(*chunk_out));
	if (reader->buffers == NULL && !reader->ended) {
		reader->buffers = hvri_alloc_io(&reader->env,
						sizeof(*reader->buffers));
		if (reader->buffers == NULL)
			return HVREPL_E_NOMEM;
	}
	while (!reader->ended) {
		const uint8_t *magic;

		HVRI_TRY(need(reader, reader->position, 4, &magic));
		if (hvri_chunk_begins(magic))
			return take_chunk(reader, chunk_out);
		if (hvri_segment_trailer_begins(magic))
			HVRI_TRY(take_trailer(reader));
		else
			HVRI_TRY(take_page(reader));
	}
	drop_buffers(reader);
	return HVREPL_OK;
}

int32_t hvri_log_reader_next(struct hvrepl_log_reader *reader,
			     struct hvrepl_log_chunk *chunk_out)
{
	struct hvrepl_log_chunk out = HVREPL_LOG_CHUNK_INIT;
	struct hvri_chunk chunk;

	if (reader->failed == HVREPL_OK)
		reader->failed = next(reader, &chunk);
	if (reader->failed < 0)
		return reader->failed;
	if (chunk.kind == HVRI_CHUNK_DATA) {
		reader->failed = hvri_chunk_unpack(&reader->header, &chunk,
						   reader->buffers->raw);
		if (reader->failed < 0)
			return reader->failed;
		out.data = reader->buffers->raw;
	}
	for (uint32_t i = 0; i < chunk.extent_count; i++)
		reader->buffers->extents[i] = hvri_chunk_extent(&chunk, i);
	out.kind = chunk.kind;
	out.sequence = chunk.sequence;
	out.extent_count = chunk.extent_count;
	out.data_length = chunk.raw_length;
	out.stored_length = chunk.stored_length;
	if (chunk.kind != 0) {
		const struct buffers *buffers = reader->buffers;

		out.extents = buffers->extents;
		out.position = buffers->entries[reader->entry_count - 1].position;
	}
	*chunk_out = out;
	return HVREPL_OK;
}

/* To just behind the header, with a fresh root. */
static int32_t begin(struct hvrepl_log_reader *reader)
{
	if (reader->rooted)
		hvri_segment_root_free(&reader->root);
	reader->rooted = false;
	memset(&reader->summary, 0, sizeof(reader->summary));
	reader->position = HVRI_SEGMENT_HEADER_SIZE;
	reader->previous_page = 0;
	reader->previous_page_length = 0;
	reader->sequence = 0;
	reader->entry_count = 0;
	reader->ended = false;
	reader->last_page = false;
	HVRI_TRY(hvri_segment_root_begin(&reader->root, &reader->header));
	reader->rooted = true;
	return HVREPL_OK;
}

void hvri_log_reader_rewind(struct hvrepl_log_reader *reader)
{
	/* Not what the window held: the source may have been repaired, or
	 * damaged, since. */
	drop_buffers(reader);
	reader->failed = begin(reader);
}

const struct hvri_segment_header *
hvri_log_reader_header(const struct hvrepl_log_reader *reader)
{
	return &reader->header;
}

int32_t hvri_log_reader_summary(const struct hvrepl_log_reader *reader,
				struct hvrepl_log_summary *summary_out)
{
	const struct hvri_segment_trailer *trailer = &reader->trailer;
	struct hvrepl_log_summary summary = reader->summary;

	/* Behind the end nothing can fail any more. */
	if (!reader->ended)
		return HVREPL_E_STATE;
	summary.struct_size = sizeof(summary);
	summary.length = reader->size;
	memcpy(summary.root, trailer->root, 32);
	summary.result_digest_kind = trailer->result_digest_kind;
	memcpy(summary.result_digest, trailer->result_digest, 32);
	*summary_out = summary;
	return HVREPL_OK;
}

void hvri_log_reader_position(const struct hvrepl_log_reader *reader,
			      uint64_t *position_out, uint64_t *size_out)
{
	*position_out = reader->position;
	*size_out = reader->size;
}

static int32_t open_log(struct hvrepl_log_reader *reader,
			struct hvrepl_error *error)
{
	uint8_t bytes[HVRI_SEGMENT_HEADER_SIZE];
	int32_t rc;

	HVRI_TRY(hvri_log_source_size(&reader->source, &reader->size));
	if (reader->size < sizeof(bytes))
		return hvri_fail(error, HVREPL_E_TRUNCATED,
				 "this is not a log, or only its beginning: it "
				 "has %llu bytes",
				 (unsigned long long)reader->size);
	HVRI_TRY(hvri_log_source_read(&reader->source, 0, bytes,
				      sizeof(bytes)));
	rc = hvri_segment_header_decode(bytes, &reader->header);
	if (rc == HVREPL_E_FORMAT_TOO_NEW)
		return hvri_fail(error, rc,
				 "the log was made by a newer hvrepl: read it "
				 "with that version");
	if (rc < 0)
		return hvri_fail(error, rc,
				 "this is not a log, or its first 256 bytes "
				 "are damaged: fetch it again");
	return begin(reader);
}

int32_t hvri_log_reader_open(const struct hvri_env *env,
			     const struct hvrepl_log_source *source,
			     struct hvrepl_log_reader **reader_out,
			     struct hvrepl_error *error)
{
	struct hvri_log_source taken;
	struct hvrepl_log_reader *reader;
	int32_t rc;

	HVRI_TRY(hvri_log_source_take(&taken, source, error));
	reader = hvri_alloc(env, sizeof(*reader));
	if (reader == NULL) {
		hvri_log_source_drop(&taken);
		return hvri_fail_plain(error, HVREPL_E_NOMEM);
	}
	reader->env = *env;
	reader->source = taken;
	rc = open_log(reader, error);
	if (rc < 0) {
		hvri_log_reader_destroy(reader);
		return hvri_fail_plain(error, rc);
	}
	*reader_out = reader;
	return HVREPL_OK;
}

void hvri_log_reader_destroy(struct hvrepl_log_reader *reader)
{
	struct hvri_env env;

	if (reader == NULL)
		return;
	env = reader->env;
	if (reader->rooted)
		hvri_segment_root_free(&reader->root);
	drop_buffers(reader);
	hvri_log_source_drop(&reader->source);
	hvri_free(&env, reader, sizeof(*reader));
}

int32_t hvri_log_reader_enter(struct hvrepl_log_reader *reader)
{
	if (reader->busy)
		return HVREPL_E_REENTRANT;
	reader->busy = true;
	return HVREPL_OK;
}

void hvri_log_reader_leave(struct hvrepl_log_reader *reader)
{
	reader->busy = false;
}
