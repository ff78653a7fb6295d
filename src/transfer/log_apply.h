/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applies a chain of logs to a disk: a resumable operation that can be crashed
 * anywhere and repeated.
 *
 *   LOGS   every byte of every log is read and checked
 *   DISK   the disk is read: is it what the chain starts at?
 *   WRITE  a record of the apply is made durable, the logs are written, the
 *          disk is flushed, the record goes
 *
 * A half-written disk has the digest of nothing. What the logs do not write is
 * still as it was, though, and what they do write they write whole: so the
 * record holds a digest of the rest, and a disk whose rest is right is
 * completed, whatever a torn write left in between. Only with the record: the
 * rest alone would let a disk pass that somebody else wrote to.
 */
#ifndef HVRI_TRANSFER_LOG_APPLY_H
#define HVRI_TRANSFER_LOG_APPLY_H

#include "transfer/log_reader.h"

/* Takes disk and storage of `config` (our size), on failure too. */
HVRI_MUST_CHECK int32_t
hvri_log_apply_create(const struct hvri_env *env,
		      const struct hvrepl_log_apply_config *config,
		      struct hvrepl_log_apply **apply_out,
		      struct hvrepl_error *error);
HVRI_MUST_CHECK int32_t
hvri_log_apply_advance(struct hvrepl_log_apply *apply,
		       struct hvrepl_log_progress *progress_out,
		       struct hvrepl_error *error);
void hvri_log_apply_destroy(struct hvrepl_log_apply *apply);
#endif
