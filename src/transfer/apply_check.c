/* SPDX-License-Identifier: Apache-2.0 */
/* Checking a chain of logs, and the disk it is meant for. */
#include "transfer/apply_check.h"

#include "base/cursor.h"

#include <string.h>

/* Blocks are at least 512 bytes, so runs of kept ones at most half of these;
 * and the salt. */
#define PARTS_MAX (HVRI_CONTENT_PIECE / HVRI_SEGMENT_BLOCK_MIN / 2 + 2)

int32_t hvri_chain_begin(struct hvri_chain *chain, const struct hvri_env *env,
			 struct hvrepl_log_reader *const *readers,
			 uint32_t count, const struct hvri_disk *disk,
			 struct hvrepl_error *error)
{
	const struct hvri_segment_header *first;

	memset(chain, 0, sizeof(*chain));
	if (count == 0)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "there is no log to apply");
	first = hvri_log_reader_header(readers[0]);
	chain->env = env;
	chain->readers = readers;
	chain->count = count;
	chain->granule = first->block_size;
	for (uint32_t i = 0; i < count; i++) {
		const struct hvri_segment_header *header =
			hvri_log_reader_header(readers[i]);

		if (!hvri_uuid_equal(&header->identity.vm,
				     &first->identity.vm) ||
		    !hvri_uuid_equal(&header->identity.disk,
				     &first->identity.disk))
			return hvri_fail(error, HVREPL_E_INVALID,
					 "log %u is of another VM or disk than "
					 "log 1: apply logs of one disk only",
					 i + 1);
		if (header->disk_size != disk->info.size)
			return hvri_fail(
				error, HVREPL_E_WRONG_DISK,
				"log %u is for a disk of %llu bytes, this one "
				"has %llu: give the disk it was made from",
				i + 1, (unsigned long long)header->disk_size,
				(unsigned long long)disk->info.size);
		chain->granule = HVRI_MIN(chain->granule, header->block_size);
		hvri_log_reader_rewind(readers[i]);
	}
	chain->roots_seen = hvri_alloc_array(env, count, 32);
	if (chain->roots_seen == NULL)
		return HVREPL_E_NOMEM;
	HVRI_TRY(hvri_blockset_init(&chain->written, env, first->disk_size,
				    chain->granule));
	return hvri_sha256_begin(&chain->roots);
}

/* Does log `at` begin where the one before it ended? By content where both
 * say so, which leaves no doubt; else by epoch and point. */
static bool links(const struct hvri_chain *chain)
{
	const struct hvri_segment_header *header =
		hvri_log_reader_header(chain->readers[chain->at]);
	const struct hvri_segment_header *before;

	if (chain->at == 0)
		return true;
	if (chain->result_kind != HVRI_DIGEST_NONE &&
	    header->base_digest_kind != HVRI_DIGEST_NONE)
		return chain->result_kind == header->base_digest_kind &&
		       memcmp(chain->result, header->base_digest, 32) == 0;
	before = hvri_log_reader_header(chain->readers[chain->at - 1]);
	return hvri_uuid_equal(&before->identity.epoch,
			       &header->identity.epoch) &&
	       before->identity.to_point == header->identity.from_point;
}

/* One log is read to its end. */
static int32_t end_log(struct hvri_chain *chain, struct hvrepl_error *error)
{
	struct hvrepl_log_summary summary;

	HVRI_TRY(hvri_log_reader_summary(chain->readers[chain->at], &summary));
	if (!links(chain))
		return hvri_fail(error, HVREPL_E_INVALID,
				 "log %u does not begin where log %u ends: "
				 "give the logs in order, none left out",
				 chain->at + 1, chain->at);
	HVRI_TRY(hvri_sha256_add(&chain->roots, summary.root,
				 sizeof(summary.root)));
	memcpy(chain->roots_seen[chain->at], summary.root, 32);
	chain->result_kind = (uint8_t)summary.result_digest_kind;
	memcpy(chain->result, summary.result_digest, 32);
	chain->at++;
	return HVREPL_OK;
}

static int32_t take_chunk(struct hvri_chain *chain,
			  const struct hvri_disk *disk,
			  const struct hvrepl_log_chunk *chunk,
			  struct hvrepl_error *error)
{
	uint32_t mask = disk->info.block_size - 1;

	for (uint32_t i = 0; i < chunk->extent_count; i++) {
		const struct hvrepl_extent *extent = &chunk->extents[i];

		if (((extent->offset | extent->length) & mask) != 0)
			return hvri_fail(error, HVREPL_E_RANGE,
					 "log %u has blocks smaller than the "
					 "%u bytes this disk writes at once",
					 chain->at + 1, disk->info.block_size);
		HVRI_TRY(hvri_blockset_add(&chain->written, extent->offset,
					   extent->length));
	}
	return HVREPL_OK;
}

static int32_t fail_read(const struct hvri_chain *chain, int32_t rc,
			 struct hvrepl_error *error)
{
	uint64_t position, size;

	hvri_log_reader_position(chain->readers[chain->at], &position, &size);
	if (rc == HVREPL_E_TRUNCATED)
		return hvri_fail(error, rc,
				 "log %u ends too early, after %llu bytes: it "
				 "was not finished, or not copied whole",
				 chain->at + 1, (unsigned long long)size);
	if (rc == HVREPL_E_CORRUPT)
		return hvri_fail(error, rc,
				 "log %u is damaged near byte %llu: fetch it "
				 "again; nothing was written",
				 chain->at + 1, (unsigned long long)position);
	return hvri_fail_plain(error, rc);
}

int32_t hvri_chain_advance(struct hvri_chain *chain,
			   const struct hvri_disk *disk, unsigned chunks,
			   bool *done_out, struct hvrepl_error *error)
{
	*done_out = false;
	while (chunks-- > 0 && chain->at < chain->count) {
		struct hvrepl_log_chunk chunk;
		int32_t rc = hvri_log_reader_next(chain->readers[chain->at],
						  &chunk);

		if (rc < 0)
			return fail_read(chain, rc, error);
		if (chunk.kind == HVREPL_LOG_END)
			HVRI_TRY(end_log(chain, error));
		else
			HVRI_TRY(take_chunk(chain, disk, &chunk, error));
	}
	if (chain->at < chain->count)
		return HVREPL_OK;
	*done_out = true;
	return hvri_sha256_end(&chain->roots, chain->digest);
}

void hvri_chain_free(struct hvri_chain *chain)
{
	if (chain->env == NULL)
		return;
	hvri_free(chain->env, chain->roots_seen, (size_t)chain->count * 32);
	hvri_blockset_free(&chain->written);
	hvri_sha256_free(&chain->roots);
}

int32_t hvri_survey_begin(struct hvri_apply_survey *survey,
			  const struct hvri_env *env,
			  const struct hvri_disk *disk, const uint8_t salt[16])
{
	memset(survey, 0, sizeof(*survey));
	survey->env = env;
	memcpy(survey->salt, salt, sizeof(survey->salt));
	survey->bytes = hvri_alloc_io(env, HVRI_CONTENT_PIECE);
	survey->parts = hvri_alloc_array(env, PARTS_MAX,
					 sizeof(*survey->parts));
	if (survey->bytes == NULL || survey->parts == NULL)
		return HVREPL_E_NOMEM;
	HVRI_TRY(hvri_content_begin(&survey->content, disk->info.size));
	return hvri_sha256_begin(&survey->kept);
}

/* Add what of a piece the chain leaves alone: one hash over the runs of kept
 * blocks. Nothing where they are all zero, as for a piece never read. */
static int32_t add_kept(struct hvri_apply_survey *survey,
			const struct hvri_chain *chain, uint32_t length)
{
	uint32_t granule = chain->granule, at = 0;
	size_t count = 1;
	bool zero = true;
	uint8_t record[24];
	struct hvri_writer writer = hvri_writer_over(record, sizeof(record));

	survey->parts[0] = (struct hvri_part){ survey->salt,
					       sizeof(survey->salt) };
	while (at < length) {
		uint32_t from = at;

		while (at < length && !hvri_blockset_has(&chain->written,
							 survey->offset + at))
			at += HVRI_MIN(granule, length - at);
		if (at > from) {
			survey->parts[count++] = (struct hvri_part){
				survey->bytes + from, at - from
			};
			zero = zero && hvri_is_zero(survey->bytes + from,
						    at - from);
		}
		while (at < length && hvri_blockset_has(&chain->written,
							survey->offset + at))
			at += HVRI_MIN(granule, length - at);
	}
	if (zero)
		return HVREPL_OK;
	hvri_write_u64(&writer, survey->offset);
	hvri_xxh3(survey->parts, count, writer.at);
	return hvri_sha256_add(&survey->kept, record, sizeof(record));
}

int32_t hvri_survey_advance(struct hvri_apply_survey *survey,
			    const struct hvri_disk *disk,
			    const struct hvri_chain *chain, unsigned pieces)
{
	while (pieces-- > 0) {
		uint32_t length;

		hvri_piece_next(&disk, 1, survey->offset, &survey->offset,
				&length);
		if (length == 0)
			return HVREPL_OK;
		HVRI_TRY(hvri_disk_read(disk, survey->offset, survey->bytes,
					length));
		HVRI_TRY(hvri_content_add(&survey->content, survey->offset,
					  survey->bytes, length));
		HVRI_TRY(add_kept(survey, chain, length));
		survey->offset += length;
	}
	return HVREPL_OK;
}

int32_t hvri_survey_end(struct hvri_apply_survey *survey,
			uint8_t content_out[32], uint8_t kept_out[32])
{
	HVRI_TRY(hvri_content_end(&survey->content, content_out));
	return hvri_sha256_end(&survey->kept, kept_out);
}

void hvri_survey_free(struct hvri_apply_survey *survey)
{
	if (survey->env == NULL)
		return;
	hvri_content_free(&survey->content);
	hvri_sha256_free(&survey->kept);
	hvri_free(survey->env, survey->bytes, HVRI_CONTENT_PIECE);
	hvri_free(survey->env, survey->parts,
		  PARTS_MAX * sizeof(*survey->parts));
	survey->env = NULL;
}
