/* SPDX-License-Identifier: Apache-2.0 */
/* Making chunks: one zstd frame straight into its place, or stored. */
#include "format/segment.h"

#include "base/cursor.h"
#include "format/chunk.h"

#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#define LEVEL_MIN (-7)
#define LEVEL_MAX 19

struct hvri_packer {
	struct hvri_env env;
	int32_t level; /* 0: store. */
	/* Not before it is needed: to make one libzstd asks the processor what it can
	 * do, which costs microseconds in a virtual machine. */
	ZSTD_CCtx *context;
};

int32_t hvri_packer_create(const struct hvri_env *env, int32_t level,
			   struct hvri_packer **packer_out)
{
	struct hvri_packer *packer;

	if (level < LEVEL_MIN || level > LEVEL_MAX)
		return HVREPL_E_INVALID;
	packer = hvri_alloc(env, sizeof(*packer));
	if (packer == NULL)
		return HVREPL_E_NOMEM;
	packer->env = *env;
	packer->level = level;
	*packer_out = packer;
	return HVREPL_OK;
}

int32_t hvri_packer_ready(struct hvri_packer *packer)
{
	ZSTD_CCtx *context;

	if (packer->level == 0 || packer->context != NULL)
		return HVREPL_OK;
	context = ZSTD_createCCtx();
	if (context == NULL)
		return HVREPL_E_NOMEM;
	if (ZSTD_isError(ZSTD_CCtx_setParameter(
		    context, ZSTD_c_compressionLevel, packer->level))) {
		(void)ZSTD_freeCCtx(context);
		return HVREPL_E_NOMEM;
	}
	packer->context = context;
	return HVREPL_OK;
}

void hvri_packer_destroy(struct hvri_packer *packer)
{
	if (packer == NULL)
		return;
	(void)ZSTD_freeCCtx(packer->context);
	hvri_free(&packer->env, packer, sizeof(*packer));
}

/* Length of the frame made in `out`, or 0 when the payload would not shrink:
 * the room given is one byte too short for that. */
static int32_t compress(struct hvri_packer *packer, const uint8_t *raw,
			uint32_t raw_length, uint8_t *out, uint32_t *length_out)
{
	size_t made;

	*length_out = 0;
	if (packer->level == 0)
		return HVREPL_OK;
	HVRI_TRY(hvri_packer_ready(packer));
	made = ZSTD_compress2(packer->context, out, raw_length - 1, raw,
			      raw_length);
	if (!ZSTD_isError(made))
		*length_out = (uint32_t)made;
	else if (ZSTD_getErrorCode(made) != ZSTD_error_dstSize_tooSmall)
		return HVREPL_E_NOMEM;
	return HVREPL_OK;
}

static int32_t check(const struct hvri_segment_header *header, uint8_t kind,
		     const struct hvrepl_extent *extents, uint32_t extent_count,
		     const uint8_t *raw, uint64_t *covered_out)
{
	uint64_t from = 0, covered = 0;

	if (extent_count == 0 || extent_count > HVRI_CHUNK_EXTENTS_MAX ||
	    (kind != HVRI_CHUNK_DATA && kind != HVRI_CHUNK_ZERO &&
	     kind != HVRI_CHUNK_DISCARD) ||
	    (kind == HVRI_CHUNK_DATA) != (raw != NULL))
		return HVREPL_E_INVALID;
	for (uint32_t i = 0; i < extent_count; i++) {
		if (!hvri_extent_fits(header, &extents[i], from))
			return HVREPL_E_RANGE;
		from = extents[i].offset + extents[i].length;
		covered += extents[i].length;
	}
	if (kind == HVRI_CHUNK_DATA && covered > HVRI_CHUNK_RAW_WRITTEN)
		return HVREPL_E_LIMIT;
	*covered_out = covered;
	return HVREPL_OK;
}

int32_t hvri_chunk_pack(struct hvri_packer *packer,
			const struct hvri_segment_header *header,
			uint32_t sequence, uint8_t kind,
			const struct hvrepl_extent *extents,
			uint32_t extent_count, const uint8_t *raw, uint8_t *out,
			uint32_t *length_out)
{
	struct hvri_writer writer;
	uint8_t identity[HVRI_IDENTITY_SIZE], *encoded_extents;
	uint8_t codec = HVRI_CODEC_STORED;
	uint32_t raw_length, stored = 0, place;
	uint64_t covered;

	HVRI_TRY(check(header, kind, extents, extent_count, raw, &covered));
	raw_length = kind == HVRI_CHUNK_DATA ? (uint32_t)covered : 0;
	place = HVRI_CHUNK_HEADER_SIZE + extent_count * HVRI_CHUNK_EXTENT_SIZE;
	if (raw_length > 0) {
		HVRI_TRY(compress(packer, raw, raw_length, out + place,
				  &stored));
		if (stored > 0) {
			codec = HVRI_CODEC_ZSTD;
		} else {
			memcpy(out + place, raw, raw_length);
			stored = raw_length;
		}
	}
	encoded_extents = out + HVRI_CHUNK_HEADER_SIZE;
	writer = hvri_writer_over(encoded_extents,
				  extent_count * HVRI_CHUNK_EXTENT_SIZE);
	for (uint32_t i = 0; i < extent_count; i++) {
		hvri_write_u64(&writer, extents[i].offset);
		hvri_write_u64(&writer, extents[i].length);
	}
	writer = hvri_writer_over(out, HVRI_CHUNK_HEADER_SIZE);
	hvri_write_bytes(&writer, HVRI_CHUNK_MAGIC, 4);
	hvri_write_u8(&writer, kind);
	hvri_write_u8(&writer, codec);
	hvri_write_u16(&writer, (uint16_t)extent_count);
	hvri_write_u32(&writer, sequence);
	hvri_write_u32(&writer, raw_length);
	hvri_write_u32(&writer, stored);
	hvri_write_pad(&writer, 4);
	hvri_segment_identity_encode(&header->identity, identity);
	hvri_chunk_raw_digest(identity, encoded_extents, extent_count, raw,
			      raw_length, out + HVRI_CHUNK_RAW_DIGEST);
	hvri_chunk_stored_digest(identity, out, place + stored,
				 out + HVRI_CHUNK_STORED_DIGEST);
	*length_out = place + stored;
	return HVREPL_OK;
}
