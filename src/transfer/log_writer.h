/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a segment to a sink: chunks packed here, or made elsewhere. */
#ifndef HVRI_TRANSFER_LOG_WRITER_H
#define HVRI_TRANSFER_LOG_WRITER_H

#include "format/segment.h"
#include "transfer/stream.h"

/* Takes `sink`, on failure too; the header goes out at once. A cut of none
 * gets a fresh id, a time of 0 the clock's. */
HVRI_MUST_CHECK int32_t hvri_log_writer_create(
	const struct hvri_env *env, const struct hvri_segment_header *header,
	int32_t level, const struct hvrepl_log_sink *sink,
	struct hvrepl_log_writer **writer_out, struct hvrepl_error *error);
const struct hvri_segment_header *
hvri_log_writer_header(const struct hvrepl_log_writer *writer);
/* Whole blocks, up to the end of the disk; zero blocks are found. */
HVRI_MUST_CHECK int32_t hvri_log_writer_add(struct hvrepl_log_writer *writer,
					    uint64_t offset,
					    const uint8_t *bytes,
					    size_t length);
/* kind: HVRI_CHUNK_ZERO or HVRI_CHUNK_DISCARD. */
HVRI_MUST_CHECK int32_t
hvri_log_writer_add_range(struct hvrepl_log_writer *writer, uint8_t kind,
			  uint64_t offset, uint64_t length);
/* A chunk packed elsewhere with this header and the next sequence number, as
 * a cut's spool has them. Its stored digest is checked. */
HVRI_MUST_CHECK int32_t
hvri_log_writer_add_chunk(struct hvrepl_log_writer *writer,
			  const uint8_t *encoded, uint32_t length);
/* Bytes given to the sink so far. */
uint64_t hvri_log_writer_length(const struct hvrepl_log_writer *writer);
HVRI_MUST_CHECK int32_t
hvri_log_writer_finish(struct hvrepl_log_writer *writer,
		       uint8_t result_digest_kind,
		       const uint8_t *result_digest);
/* As the trailer has it; only after finish. */
void hvri_log_writer_summary(const struct hvrepl_log_writer *writer,
			     struct hvrepl_log_summary *summary_out);
void hvri_log_writer_destroy(struct hvrepl_log_writer *writer);

/* Set while a public function runs, so that callbacks cannot come back. */
HVRI_MUST_CHECK int32_t hvri_log_writer_enter(struct hvrepl_log_writer *writer);
void hvri_log_writer_leave(struct hvrepl_log_writer *writer);
#endif
