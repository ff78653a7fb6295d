/* SPDX-License-Identifier: Apache-2.0 */
/* Compares two disks into a log: a resumable operation. */
#ifndef HVRI_TRANSFER_LOG_COMPARE_H
#define HVRI_TRANSFER_LOG_COMPARE_H

#include "format/segment.h"
#include "transfer/stream.h"

/* Takes both disks and the sink, on failure too. */
HVRI_MUST_CHECK int32_t hvri_log_compare_create(
	const struct hvri_env *env, const struct hvri_segment_header *header,
	int32_t level, const struct hvrepl_disk *from,
	const struct hvrepl_disk *to, const struct hvrepl_log_sink *sink,
	struct hvrepl_log_compare **compare_out, struct hvrepl_error *error);
/* A bounded piece; progress->phase says when it is done. */
HVRI_MUST_CHECK int32_t
hvri_log_compare_advance(struct hvrepl_log_compare *compare,
			 struct hvrepl_log_progress *progress_out,
			 struct hvrepl_error *error);
/* NULL before it is done. */
const struct hvrepl_log_writer *
hvri_log_compare_writer(const struct hvrepl_log_compare *compare);
void hvri_log_compare_destroy(struct hvrepl_log_compare *compare);
#endif
