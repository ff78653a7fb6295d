/* SPDX-License-Identifier: Apache-2.0 */
/* What an apply knows of its logs and its disk before it writes. */
#ifndef HVRI_TRANSFER_APPLY_CHECK_H
#define HVRI_TRANSFER_APPLY_CHECK_H

#include "format/apply_record.h"
#include "transfer/blockset.h"
#include "transfer/log_reader.h"
#include "transfer/pieces.h"

/* Readers of one chain, checked one after the other. */
struct hvri_chain {
	struct hvrepl_log_reader *const *readers;
	uint32_t count;
	uint32_t at;     /* The one being read. */
	uint32_t granule; /* Smallest block size of all. */
	struct hvri_blockset written; /* What they write, together. */
	struct hvri_sha256 roots;
	uint8_t (*roots_seen)[32]; /* Of each log. */
	uint8_t digest[32]; /* SHA-256 over the roots, once all are read. */
	const struct hvri_env *env;
	/* Result of the log before `at`, and of the last one at the end. */
	uint8_t result_kind;
	uint8_t result[32];
};

/* Headers only: one disk, one size, alignment of `disk`. */
HVRI_MUST_CHECK int32_t hvri_chain_begin(
	struct hvri_chain *chain, const struct hvri_env *env,
	struct hvrepl_log_reader *const *readers, uint32_t count,
	const struct hvri_disk *disk, struct hvrepl_error *error);
/* Read at most `chunks` chunks; *done_out when every log is good and each
 * begins where the one before it ends. */
HVRI_MUST_CHECK int32_t hvri_chain_advance(struct hvri_chain *chain,
					   const struct hvri_disk *disk,
					   unsigned chunks, bool *done_out,
					   struct hvrepl_error *error);
/* A zeroed struct is fine. */
void hvri_chain_free(struct hvri_chain *chain);

/* Reading of the disk: its digest, and that of what the chain leaves alone. */
struct hvri_apply_survey {
	struct hvri_content content;
	struct hvri_sha256 kept;
	uint8_t salt[16];
	uint64_t offset; /* Of the next piece; the disk's size at the end. */
	uint8_t *bytes;  /* One piece. */
	const struct hvri_env *env;
	struct hvri_part *parts;
};

HVRI_MUST_CHECK int32_t
hvri_survey_begin(struct hvri_apply_survey *survey, const struct hvri_env *env,
		  const struct hvri_disk *disk, const uint8_t salt[16]);
HVRI_MUST_CHECK int32_t hvri_survey_advance(struct hvri_apply_survey *survey,
					    const struct hvri_disk *disk,
					    const struct hvri_chain *chain,
					    unsigned pieces);
HVRI_MUST_CHECK int32_t hvri_survey_end(struct hvri_apply_survey *survey,
					uint8_t content_out[32],
					uint8_t kept_out[32]);
/* A zeroed struct is fine. */
void hvri_survey_free(struct hvri_apply_survey *survey);
#endif
