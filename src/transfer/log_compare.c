/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing two disks: first pass the digest of one, second pass the log. */
#include "transfer/log_compare.h"

#include "transfer/log_writer.h"
#include "transfer/pieces.h"

#include <string.h>

/* Pieces of one advance. */
#define BATCH 4u

struct hvrepl_log_compare {
	struct hvri_env env;
	struct hvri_segment_header header;
	int32_t level;
	struct hvri_disk from, to;
	struct hvri_log_sink sink; /* Until the writer has it. */
	struct hvrepl_log_writer *writer;
	struct hvri_content from_content, to_content;
	uint32_t phase;
	uint64_t offset;
	int32_t failed;
	bool busy;
	uint8_t *from_bytes, *to_bytes; /* One piece each. */
};

static int32_t digest_pieces(struct hvrepl_log_compare *compare)
{
	const struct hvri_disk *from = &compare->from;

	for (unsigned i = 0; i < BATCH; i++) {
		uint32_t length;

		hvri_piece_next(&from, 1, compare->offset, &compare->offset,
				&length);
		if (length == 0)
			return HVREPL_OK;
		HVRI_TRY(hvri_disk_read(from, compare->offset,
					compare->from_bytes, length));
		HVRI_TRY(hvri_content_add(&compare->from_content,
					  compare->offset, compare->from_bytes,
					  length));
		compare->offset += length;
	}
	return HVREPL_OK;
}

/* The header can only be written when the digest of `from` is known. */
static int32_t start_log(struct hvrepl_log_compare *compare,
			 struct hvrepl_error *error)
{
	struct hvri_segment_header *header = &compare->header;
	struct hvrepl_log_sink sink = { &compare->sink.ops, compare->sink.user,
					compare->sink.release };

	HVRI_TRY(hvri_content_end(&compare->from_content,
				  header->base_digest));
	header->base_digest_kind = HVRI_DIGEST_SHA256;
	hvri_content_free(&compare->from_content);
	HVRI_TRY(hvri_content_begin(&compare->from_content,
				    header->disk_size));
	HVRI_TRY(hvri_content_begin(&compare->to_content, header->disk_size));
	compare->sink.release = NULL;
	HVRI_TRY(hvri_log_writer_create(&compare->env, header, compare->level,
					&sink, &compare->writer, error));
	compare->phase = HVREPL_LOG_PHASE_WRITE;
	compare->offset = 0;
	return HVREPL_OK;
}

static int32_t add_differences(struct hvrepl_log_compare *compare,
			       uint32_t length)
{
	uint32_t block = compare->header.block_size;
	uint32_t at = 0;

	while (at < length) {
		uint32_t end = at;

		/* A run of differing blocks is added as one. */
		while (end < length &&
		       memcmp(compare->from_bytes + end,
			      compare->to_bytes + end,
			      HVRI_MIN(block, length - end)) != 0)
			end += HVRI_MIN(block, length - end);
		if (end > at)
			HVRI_TRY(hvri_log_writer_add(
				compare->writer, compare->offset + at,
				compare->to_bytes + at, end - at));
		at = end + HVRI_MIN(block, length - end);
	}
	return HVREPL_OK;
}

static int32_t compare_pieces(struct hvrepl_log_compare *compare)
{
	const struct hvri_disk *disks[2] = { &compare->from, &compare->to };

	for (unsigned i = 0; i < BATCH; i++) {
		uint32_t length;

		hvri_piece_next(disks, 2, compare->offset, &compare->offset,
				&length);
		if (length == 0)
			return HVREPL_OK;
		HVRI_TRY(hvri_disk_read(&compare->from, compare->offset,
					compare->from_bytes, length));
		HVRI_TRY(hvri_disk_read(&compare->to, compare->offset,
					compare->to_bytes, length));
		HVRI_TRY(hvri_content_add(&compare->from_content,
					  compare->offset, compare->from_bytes,
					  length));
		HVRI_TRY(hvri_content_add(&compare->to_content,
					  compare->offset, compare->to_bytes,
					  length));
		HVRI_TRY(add_differences(compare, length));
		compare->offset += length;
	}
	return HVREPL_OK;
}

static int32_t finish_log(struct hvrepl_log_compare *compare,
			  struct hvrepl_error *error)
{
	uint8_t from[32], to[32];

	HVRI_TRY(hvri_content_end(&compare->from_content, from));
	HVRI_TRY(hvri_content_end(&compare->to_content, to));
	if (memcmp(from, compare->header.base_digest, sizeof(from)) != 0)
		return hvri_fail(error, HVREPL_E_UNTRUSTED,
				 "the old disk changed while it was compared: "
				 "stop what writes to it and compare again");
	HVRI_TRY(hvri_log_writer_finish(compare->writer, HVRI_DIGEST_SHA256,
					to));
	compare->phase = HVREPL_LOG_PHASE_DONE;
	return HVREPL_OK;
}

static int32_t advance(struct hvrepl_log_compare *compare,
		       struct hvrepl_error *error)
{
	uint64_t size = compare->header.disk_size;

	if (compare->phase == HVREPL_LOG_PHASE_DISK) {
		if (compare->offset >= size)
			return start_log(compare, error);
		return digest_pieces(compare);
	}
	if (compare->phase == HVREPL_LOG_PHASE_WRITE) {
		if (compare->offset >= size)
			return finish_log(compare, error);
		return compare_pieces(compare);
	}
	return HVREPL_OK;
}

int32_t hvri_log_compare_advance(struct hvrepl_log_compare *compare,
				 struct hvrepl_log_progress *progress_out,
				 struct hvrepl_error *error)
{
	struct hvrepl_log_progress progress = HVREPL_LOG_PROGRESS_INIT;

	if (compare->busy)
		return hvri_fail_plain(error, HVREPL_E_REENTRANT);
	if (compare->failed < 0)
		return hvri_fail_plain(error, HVREPL_E_STATE);
	compare->busy = true;
	compare->failed = advance(compare, error);
	compare->busy = false;
	if (compare->failed < 0)
		return hvri_fail_plain(error, compare->failed);
	progress.phase = compare->phase;
	progress.done = HVRI_MIN(compare->offset, compare->header.disk_size);
	progress.total = compare->header.disk_size;
	if (compare->writer != NULL)
		progress.written = hvri_log_writer_length(compare->writer);
	*progress_out = progress;
	return HVREPL_OK;
}

const struct hvrepl_log_writer *
hvri_log_compare_writer(const struct hvrepl_log_compare *compare)
{
	return compare->phase == HVREPL_LOG_PHASE_DONE ? compare->writer
						       : NULL;
}

static int32_t begin(struct hvrepl_log_compare *compare,
		     struct hvrepl_error *error)
{
	uint64_t size = compare->from.info.size;

	if (size != compare->to.info.size)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "the disks differ in size, %llu and %llu "
				 "bytes: a log is of one size, so resize one",
				 (unsigned long long)size,
				 (unsigned long long)compare->to.info.size);
	compare->header.disk_size = size;
	compare->header.base_digest_kind = HVRI_DIGEST_NONE;
	memset(compare->header.base_digest, 0,
	       sizeof(compare->header.base_digest));
	if (hvri_segment_header_check(&compare->header) < 0)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "the disks are empty, or the block size is no "
				 "power of two from 512 to 65536");
	compare->from_bytes = hvri_alloc_io(&compare->env, HVRI_CONTENT_PIECE);
	compare->to_bytes = hvri_alloc_io(&compare->env, HVRI_CONTENT_PIECE);
	if (compare->from_bytes == NULL || compare->to_bytes == NULL)
		return HVREPL_E_NOMEM;
	return hvri_content_begin(&compare->from_content, size);
}

int32_t hvri_log_compare_create(
	const struct hvri_env *env, const struct hvri_segment_header *header,
	int32_t level, const struct hvrepl_disk *from,
	const struct hvrepl_disk *to, const struct hvrepl_log_sink *sink,
	struct hvrepl_log_compare **compare_out, struct hvrepl_error *error)
{
	struct hvrepl_log_compare taken, *compare;
	int32_t rc, rc_to, rc_sink;

	/* All three are taken, whichever of them is bad. */
	memset(&taken, 0, sizeof(taken));
	rc = hvri_disk_take(&taken.from, from, error);
	rc_to = hvri_disk_take(&taken.to, to, rc < 0 ? NULL : error);
	rc = rc < 0 ? rc : rc_to;
	rc_sink = hvri_log_sink_take(&taken.sink, sink, rc < 0 ? NULL : error);
	rc = rc < 0 ? rc : rc_sink;
	compare = rc < 0 ? NULL : hvri_alloc(env, sizeof(*compare));
	if (compare == NULL) {
		hvri_disk_drop(&taken.from);
		hvri_disk_drop(&taken.to);
		hvri_log_sink_drop(&taken.sink);
		return hvri_fail_plain(error, rc < 0 ? rc : HVREPL_E_NOMEM);
	}
	*compare = taken;
	compare->env = *env;
	compare->header = *header;
	compare->level = level;
	compare->phase = HVREPL_LOG_PHASE_DISK;
	rc = begin(compare, error);
	if (rc < 0) {
		hvri_log_compare_destroy(compare);
		return hvri_fail_plain(error, rc);
	}
	*compare_out = compare;
	return HVREPL_OK;
}

void hvri_log_compare_destroy(struct hvrepl_log_compare *compare)
{
	struct hvri_env env;

	if (compare == NULL)
		return;
	env = compare->env;
	hvri_log_writer_destroy(compare->writer);
	hvri_log_sink_drop(&compare->sink);
	hvri_content_free(&compare->from_content);
	hvri_content_free(&compare->to_content);
	hvri_free(&env, compare->from_bytes, HVRI_CONTENT_PIECE);
	hvri_free(&env, compare->to_bytes, HVRI_CONTENT_PIECE);
	hvri_disk_drop(&compare->from);
	hvri_disk_drop(&compare->to);
	hvri_free(&env, compare, sizeof(*compare));
}
