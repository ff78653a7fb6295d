/* SPDX-License-Identifier: Apache-2.0 */
/* The public functions of logs: struct sizes in and out, nothing else. */
#include <hvrepl/log.h>

#include "base/abi.h"
#include "transfer/log_apply.h"
#include "transfer/log_compare.h"
#include "transfer/log_writer.h"
#include "transfer/pieces.h"

#include <string.h>

#define BLOCK_DEFAULT 4096u

/* Functions that make a handle take what they are given, also when they fail
 * before anything could look at it. */
static void let_go(void (*release)(void *user), void *user)
{
	if (release != NULL)
		release(user);
}

static int32_t header_from(struct hvri_segment_header *header,
			   const struct hvrepl_log_info *app)
{
	struct hvrepl_log_info info;

	HVRI_TRY(hvri_abi_copy_in(&info, sizeof(info),
				  HVRI_SIZE_UP_TO(struct hvrepl_log_info,
						  base_digest),
				  app));
	if (info.reserved != 0)
		return HVREPL_E_TOO_NEW;
	if (info.base_digest_kind != HVREPL_LOG_DIGEST_NONE &&
	    info.base_digest_kind != HVREPL_LOG_DIGEST_SHA256)
		return HVREPL_E_INVALID;
	memset(header, 0, sizeof(*header));
	header->identity.vm = info.vm;
	header->identity.disk = info.disk;
	header->identity.epoch = info.epoch;
	header->identity.cut = info.cut;
	header->identity.from_point = info.from_point;
	header->identity.to_point = info.to_point;
	header->disk_size = info.disk_size;
	header->block_size = info.block_size != 0 ? info.block_size
						  : BLOCK_DEFAULT;
	header->utc_ns = info.utc_ns;
	header->base_digest_kind = (uint8_t)info.base_digest_kind;
	memcpy(header->base_digest, info.base_digest, 32);
	return HVREPL_OK;
}

static void info_from(void *info_out, const struct hvri_segment_header *header)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;

	info.block_size = header->block_size;
	info.vm = header->identity.vm;
	info.disk = header->identity.disk;
	info.epoch = header->identity.epoch;
	info.cut = header->identity.cut;
	info.from_point = header->identity.from_point;
	info.to_point = header->identity.to_point;
	info.disk_size = header->disk_size;
	info.utc_ns = header->utc_ns;
	info.base_digest_kind = header->base_digest_kind;
	memcpy(info.base_digest, header->base_digest, 32);
	hvri_abi_copy_out(info_out, &info, sizeof(info));
}

int32_t hvrepl_log_writer_create(const struct hvrepl_env *env,
				 const struct hvrepl_log_info *info,
				 int32_t level,
				 const struct hvrepl_log_sink *sink,
				 hvrepl_log_writer **writer_out,
				 struct hvrepl_error *error)
{
	struct hvri_segment_header header;
	struct hvri_env copy;
	int32_t rc;

	if (sink == NULL)
		return hvri_fail_plain(error, HVREPL_E_INVALID);
	rc = hvri_env_copy(&copy, env, error);
	if (rc == HVREPL_OK)
		rc = header_from(&header, info);
	if (rc == HVREPL_OK && writer_out == NULL)
		rc = HVREPL_E_INVALID;
	if (rc < 0) {
		let_go(sink->release, sink->user);
		return hvri_fail_plain(error, rc);
	}
	return hvri_log_writer_create(&copy, &header, level, sink, writer_out,
				      error);
}

int32_t hvrepl_log_writer_info(const hvrepl_log_writer *writer,
			       struct hvrepl_log_info *info_out)
{
	if (writer == NULL || !hvri_abi_sized(info_out))
		return HVREPL_E_INVALID;
	info_from(info_out, hvri_log_writer_header(writer));
	return HVREPL_OK;
}

int32_t hvrepl_log_writer_add(hvrepl_log_writer *writer, uint64_t offset,
			      const void *bytes, size_t length)
{
	int32_t rc;

	if (writer == NULL || (bytes == NULL && length > 0))
		return HVREPL_E_INVALID;
	HVRI_TRY(hvri_log_writer_enter(writer));
	rc = hvri_log_writer_add(writer, offset, bytes, length);
	hvri_log_writer_leave(writer);
	return rc;
}

static int32_t add_range(hvrepl_log_writer *writer, uint8_t kind,
			 uint64_t offset, uint64_t length)
{
	int32_t rc;

	if (writer == NULL)
		return HVREPL_E_INVALID;
	HVRI_TRY(hvri_log_writer_enter(writer));
	rc = hvri_log_writer_add_range(writer, kind, offset, length);
	hvri_log_writer_leave(writer);
	return rc;
}

int32_t hvrepl_log_writer_add_zero(hvrepl_log_writer *writer, uint64_t offset,
				   uint64_t length)
{
	return add_range(writer, HVRI_CHUNK_ZERO, offset, length);
}

int32_t hvrepl_log_writer_add_discard(hvrepl_log_writer *writer,
				      uint64_t offset, uint64_t length)
{
	return add_range(writer, HVRI_CHUNK_DISCARD, offset, length);
}

int32_t hvrepl_log_writer_finish(hvrepl_log_writer *writer,
				 uint32_t result_digest_kind,
				 const uint8_t *result_digest,
				 struct hvrepl_log_summary *summary_out)
{
	struct hvrepl_log_summary summary;
	int32_t rc;

	if (writer == NULL || result_digest_kind > UINT8_MAX ||
	    (summary_out != NULL && !hvri_abi_sized(summary_out)))
		return HVREPL_E_INVALID;
	HVRI_TRY(hvri_log_writer_enter(writer));
	rc = hvri_log_writer_finish(writer, (uint8_t)result_digest_kind,
				    result_digest);
	hvri_log_writer_leave(writer);
	if (rc == HVREPL_OK && summary_out != NULL) {
		hvri_log_writer_summary(writer, &summary);
		hvri_abi_copy_out(summary_out, &summary, sizeof(summary));
	}
	return rc;
}

void hvrepl_log_writer_destroy(hvrepl_log_writer *writer)
{
	hvri_log_writer_destroy(writer);
}

int32_t hvrepl_log_reader_open(const struct hvrepl_env *env,
			       const struct hvrepl_log_source *source,
			       hvrepl_log_reader **reader_out,
			       struct hvrepl_error *error)
{
	struct hvri_env copy;
	int32_t rc;

	if (source == NULL)
		return hvri_fail_plain(error, HVREPL_E_INVALID);
	rc = hvri_env_copy(&copy, env, error);
	if (rc == HVREPL_OK && reader_out == NULL)
		rc = HVREPL_E_INVALID;
	if (rc < 0) {
		let_go(source->release, source->user);
		return hvri_fail_plain(error, rc);
	}
	return hvri_log_reader_open(&copy, source, reader_out, error);
}

int32_t hvrepl_log_reader_info(const hvrepl_log_reader *reader,
			       struct hvrepl_log_info *info_out)
{
	if (reader == NULL || !hvri_abi_sized(info_out))
		return HVREPL_E_INVALID;
	info_from(info_out, hvri_log_reader_header(reader));
	return HVREPL_OK;
}

int32_t hvrepl_log_reader_next(hvrepl_log_reader *reader,
			       struct hvrepl_log_chunk *chunk_out)
{
	struct hvrepl_log_chunk chunk;
	int32_t rc;

	if (reader == NULL || !hvri_abi_sized(chunk_out))
		return HVREPL_E_INVALID;
	HVRI_TRY(hvri_log_reader_enter(reader));
	rc = hvri_log_reader_next(reader, &chunk);
	hvri_log_reader_leave(reader);
	if (rc == HVREPL_OK)
		hvri_abi_copy_out(chunk_out, &chunk, sizeof(chunk));
	return rc;
}

int32_t hvrepl_log_reader_rewind(hvrepl_log_reader *reader)
{
	if (reader == NULL)
		return HVREPL_E_INVALID;
	HVRI_TRY(hvri_log_reader_enter(reader));
	hvri_log_reader_rewind(reader);
	hvri_log_reader_leave(reader);
	return HVREPL_OK;
}

int32_t hvrepl_log_reader_summary(const hvrepl_log_reader *reader,
				  struct hvrepl_log_summary *summary_out)
{
	struct hvrepl_log_summary summary;

	if (reader == NULL || !hvri_abi_sized(summary_out))
		return HVREPL_E_INVALID;
	HVRI_TRY(hvri_log_reader_summary(reader, &summary));
	hvri_abi_copy_out(summary_out, &summary, sizeof(summary));
	return HVREPL_OK;
}

void hvrepl_log_reader_destroy(hvrepl_log_reader *reader)
{
	hvri_log_reader_destroy(reader);
}

int32_t hvrepl_log_compare_create(
	const struct hvrepl_env *env, const struct hvrepl_log_info *info,
	int32_t level, const struct hvrepl_disk *from,
	const struct hvrepl_disk *to, const struct hvrepl_log_sink *sink,
	hvrepl_log_compare **compare_out, struct hvrepl_error *error)
{
	struct hvri_segment_header header;
	struct hvri_env copy;
	int32_t rc;

	if (from == NULL || to == NULL || sink == NULL)
		rc = HVREPL_E_INVALID;
	else
		rc = hvri_env_copy(&copy, env, error);
	if (rc == HVREPL_OK)
		rc = header_from(&header, info);
	if (rc == HVREPL_OK &&
	    (compare_out == NULL || level < HVREPL_LOG_LEVEL_MIN ||
	     level > HVREPL_LOG_LEVEL_MAX))
		rc = HVREPL_E_INVALID;
	if (rc < 0) {
		if (from != NULL)
			let_go(from->release, from->user);
		if (to != NULL)
			let_go(to->release, to->user);
		if (sink != NULL)
			let_go(sink->release, sink->user);
		return hvri_fail_plain(error, rc);
	}
	return hvri_log_compare_create(&copy, &header, level, from, to, sink,
				       compare_out, error);
}

int32_t hvrepl_log_compare_advance(hvrepl_log_compare *compare,
				   struct hvrepl_log_progress *progress_out,
				   struct hvrepl_error *error)
{
	struct hvrepl_log_progress progress;

	if (compare == NULL ||
	    (progress_out != NULL && !hvri_abi_sized(progress_out)))
		return hvri_fail_plain(error, HVREPL_E_INVALID);
	HVRI_TRY(hvri_log_compare_advance(compare, &progress, error));
	if (progress_out != NULL)
		hvri_abi_copy_out(progress_out, &progress, sizeof(progress));
	return HVREPL_OK;
}

int32_t hvrepl_log_compare_summary(const hvrepl_log_compare *compare,
				   struct hvrepl_log_info *info_out,
				   struct hvrepl_log_summary *summary_out)
{
	const struct hvrepl_log_writer *writer;
	struct hvrepl_log_summary summary;

	if (compare == NULL ||
	    (info_out != NULL && !hvri_abi_sized(info_out)) ||
	    (summary_out != NULL && !hvri_abi_sized(summary_out)))
		return HVREPL_E_INVALID;
	writer = hvri_log_compare_writer(compare);
	if (writer == NULL)
		return HVREPL_E_STATE;
	if (info_out != NULL)
		info_from(info_out, hvri_log_writer_header(writer));
	if (summary_out != NULL) {
		hvri_log_writer_summary(writer, &summary);
		hvri_abi_copy_out(summary_out, &summary, sizeof(summary));
	}
	return HVREPL_OK;
}

void hvrepl_log_compare_destroy(hvrepl_log_compare *compare)
{
	hvri_log_compare_destroy(compare);
}

int32_t hvrepl_log_apply_create(const struct hvrepl_env *env,
				const struct hvrepl_log_apply_config *config,
				hvrepl_log_apply **apply_out,
				struct hvrepl_error *error)
{
	struct hvrepl_log_apply_config mine;
	struct hvri_env copy;
	int32_t rc;

	rc = hvri_abi_copy_in(&mine, sizeof(mine),
			      HVRI_SIZE_UP_TO(struct hvrepl_log_apply_config,
					      record_id),
			      config);
	/* Nothing is taken from a table that cannot be read. */
	if (rc == HVREPL_E_INVALID)
		return hvri_fail_plain(error, rc);
	if (rc == HVREPL_OK)
		rc = hvri_env_copy(&copy, env, error);
	if (rc == HVREPL_OK && mine.reserved != 0)
		rc = HVREPL_E_TOO_NEW;
	if (rc == HVREPL_OK &&
	    (apply_out == NULL ||
	     (mine.readers == NULL && mine.reader_count > 0)))
		rc = HVREPL_E_INVALID;
	if (rc < 0) {
		let_go(mine.disk.release, mine.disk.user);
		let_go(mine.storage.release, mine.storage.user);
		return hvri_fail_plain(error, rc);
	}
	return hvri_log_apply_create(&copy, &mine, apply_out, error);
}

int32_t hvrepl_log_apply_advance(hvrepl_log_apply *apply,
				 struct hvrepl_log_progress *progress_out,
				 struct hvrepl_error *error)
{
	struct hvrepl_log_progress progress;

	if (apply == NULL ||
	    (progress_out != NULL && !hvri_abi_sized(progress_out)))
		return hvri_fail_plain(error, HVREPL_E_INVALID);
	HVRI_TRY(hvri_log_apply_advance(apply, &progress, error));
	if (progress_out != NULL)
		hvri_abi_copy_out(progress_out, &progress, sizeof(progress));
	return HVREPL_OK;
}

void hvrepl_log_apply_destroy(hvrepl_log_apply *apply)
{
	hvri_log_apply_destroy(apply);
}

int32_t hvrepl_disk_digest(const struct hvrepl_env *env,
			   const struct hvrepl_disk *disk,
			   uint8_t digest_out[32], struct hvrepl_error *error)
{
	struct hvri_disk taken;
	struct hvri_env copy;
	int32_t rc;

	if (disk == NULL)
		return hvri_fail_plain(error, HVREPL_E_INVALID);
	rc = hvri_env_copy(&copy, env, error);
	if (rc == HVREPL_OK && digest_out == NULL)
		rc = HVREPL_E_INVALID;
	if (rc < 0) {
		let_go(disk->release, disk->user);
		return hvri_fail_plain(error, rc);
	}
	HVRI_TRY(hvri_disk_take(&taken, disk, error));
	rc = hvri_disk_digest(&copy, &taken, digest_out);
	hvri_disk_drop(&taken);
	return rc < 0 ? hvri_fail_plain(error, rc) : HVREPL_OK;
}
