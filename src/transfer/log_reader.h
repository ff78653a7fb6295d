/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a segment from a source, front to back, believing nothing in it. */
#ifndef HVRI_TRANSFER_LOG_READER_H
#define HVRI_TRANSFER_LOG_READER_H

#include "format/segment.h"
#include "transfer/stream.h"

/* Takes `source`, on failure too. */
HVRI_MUST_CHECK int32_t hvri_log_reader_open(
	const struct hvri_env *env, const struct hvrepl_log_source *source,
	struct hvrepl_log_reader **reader_out, struct hvrepl_error *error);
const struct hvri_segment_header *
hvri_log_reader_header(const struct hvrepl_log_reader *reader);
/* The next chunk, both digests checked, unpacked; borrowed until the next call.
 * kind 0: the end, and all of the log was good. A failure stays until rewind. */
HVRI_MUST_CHECK int32_t hvri_log_reader_next(struct hvrepl_log_reader *reader,
					     struct hvrepl_log_chunk *chunk_out);
void hvri_log_reader_rewind(struct hvrepl_log_reader *reader);
/* STATE before the end was reached. */
HVRI_MUST_CHECK int32_t
hvri_log_reader_summary(const struct hvrepl_log_reader *reader,
			struct hvrepl_log_summary *summary_out);
/* How far reading is, and the log's size, bytes. */
void hvri_log_reader_position(const struct hvrepl_log_reader *reader,
			      uint64_t *position_out, uint64_t *size_out);
void hvri_log_reader_destroy(struct hvrepl_log_reader *reader);

/* Set while a public function runs, so that callbacks cannot come back. */
HVRI_MUST_CHECK int32_t hvri_log_reader_enter(struct hvrepl_log_reader *reader);
void hvri_log_reader_leave(struct hvrepl_log_reader *reader);
#endif
