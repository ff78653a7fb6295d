/* SPDX-License-Identifier: Apache-2.0 */
/* Describing files to a visitor: what all kinds share. */
#ifndef HVRI_TRANSFER_INSPECT_H
#define HVRI_TRANSFER_INSPECT_H

#include "transfer/stream.h"

#include <hvrepl/inspect.h>
#include <stdbool.h>

/* Takes `source`, on failure too. `visitor` is of our size. */
HVRI_MUST_CHECK int32_t hvri_inspect(const struct hvri_env *env,
				     const struct hvrepl_log_source *source,
				     uint32_t flags,
				     const struct hvrepl_visitor *visitor,
				     struct hvrepl_error *error);

/* A walk. After the first failure of the visitor nothing more is given. */
struct hvri_walk {
	const struct hvri_env *env;
	const struct hvri_log_source *source;
	uint64_t size; /* Of the source. */
	uint32_t flags;
	const struct hvrepl_visitor *visitor;
	int32_t failed; /* The visitor's code. */
};

void hvri_walk_begin(struct hvri_walk *walk, const char *key, uint32_t node);
void hvri_walk_end(struct hvri_walk *walk);
void hvri_walk_number(struct hvri_walk *walk, const char *key, uint64_t value);
void hvri_walk_bool(struct hvri_walk *walk, const char *key, bool value);
void hvri_walk_text(struct hvri_walk *walk, const char *key, const char *text);
void hvri_walk_uuid(struct hvri_walk *walk, const char *key,
		    const struct hvrepl_uuid *uuid);
void hvri_walk_bytes(struct hvri_walk *walk, const char *key,
		     const void *bytes, size_t length);
/* [offset, offset + length) as an object of a list. */
void hvri_walk_extent(struct hvri_walk *walk, uint64_t offset,
		      uint64_t length);
/* All of [offset, offset + length), or TRUNCATED. */
HVRI_MUST_CHECK int32_t hvri_walk_read(const struct hvri_walk *walk,
				       uint64_t offset, void *buffer,
				       size_t length);

/* One kind of file each. OK or what is wrong with the file; the sentence goes
 * to `error`. "kind" and "valid" are given by the caller. */
HVRI_MUST_CHECK int32_t hvri_inspect_segment(struct hvri_walk *walk,
					     struct hvrepl_error *error);
HVRI_MUST_CHECK int32_t hvri_inspect_apply_record(struct hvri_walk *walk,
						  struct hvrepl_error *error);
HVRI_MUST_CHECK int32_t hvri_inspect_tracker(struct hvri_walk *walk,
					     struct hvrepl_error *error);
HVRI_MUST_CHECK int32_t hvri_inspect_store_head(struct hvri_walk *walk,
						struct hvrepl_error *error);
HVRI_MUST_CHECK int32_t hvri_inspect_store_log(struct hvri_walk *walk,
					       struct hvrepl_error *error);
#endif
