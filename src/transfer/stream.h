/* SPDX-License-Identifier: Apache-2.0 */
/* Where the bytes of a log come from and go to; the only callers of the
 * application's log callbacks. */
#ifndef HVRI_TRANSFER_STREAM_H
#define HVRI_TRANSFER_STREAM_H

#include "base/io.h"

#include <hvrepl/log.h>

struct hvri_log_source {
	struct hvrepl_log_source_ops ops; /* Our size. */
	void *user;
	void (*release)(void *user);
};

struct hvri_log_sink {
	struct hvrepl_log_sink_ops ops;
	void *user;
	void (*release)(void *user);
};

/* On failure the application's part is let go too. */
HVRI_MUST_CHECK int32_t hvri_log_source_take(
	struct hvri_log_source *source_out,
	const struct hvrepl_log_source *source, struct hvrepl_error *error);
/* A zeroed struct is fine. */
void hvri_log_source_drop(struct hvri_log_source *source);
/* Any failure of the callbacks is CALLBACK, except STORAGE_IO, NO_SPACE,
 * NOMEM and UNAVAILABLE, which pass. */
HVRI_MUST_CHECK int32_t
hvri_log_source_size(const struct hvri_log_source *source, uint64_t *size_out);
HVRI_MUST_CHECK int32_t
hvri_log_source_read(const struct hvri_log_source *source, uint64_t offset,
		     void *buffer, size_t length);

HVRI_MUST_CHECK int32_t hvri_log_sink_take(struct hvri_log_sink *sink_out,
					   const struct hvrepl_log_sink *sink,
					   struct hvrepl_error *error);
void hvri_log_sink_drop(struct hvri_log_sink *sink);
HVRI_MUST_CHECK int32_t hvri_log_sink_append(const struct hvri_log_sink *sink,
					     const void *bytes, size_t length);
HVRI_MUST_CHECK int32_t hvri_log_sink_flush(const struct hvri_log_sink *sink);
#endif
