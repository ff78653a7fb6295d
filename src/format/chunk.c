/* SPDX-License-Identifier: Apache-2.0 */
/* Reading one chunk of a segment: limits first, then digests, then zstd. */
#include "format/segment.h"

#include "base/cursor.h"
#include "base/plant.h"
#include "format/chunk.h"

#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

bool hvri_chunk_begins(const uint8_t bytes[4])
{
	return memcmp(bytes, HVRI_CHUNK_MAGIC, 4) == 0;
}

static size_t identity_length(void)
{
	return HVRI_PLANT(identity_left_out) ? 0 : HVRI_IDENTITY_SIZE;
}

void hvri_chunk_stored_digest(const uint8_t identity[HVRI_IDENTITY_SIZE],
			      const uint8_t *bytes, size_t length,
			      uint8_t digest_out[16])
{
	struct hvri_part parts[3] = {
		{ identity, identity_length() },
		{ bytes, HVRI_CHUNK_STORED_DIGEST },
		{ bytes + HVRI_CHUNK_HEADER_SIZE,
		  length - HVRI_CHUNK_HEADER_SIZE },
	};

	hvri_xxh3(parts, HVRI_ARRAY_LEN(parts), digest_out);
}

void hvri_chunk_raw_digest(const uint8_t identity[HVRI_IDENTITY_SIZE],
			   const uint8_t *extents, uint32_t extent_count,
			   const uint8_t *raw, size_t raw_length,
			   uint8_t digest_out[16])
{
	struct hvri_part parts[3] = {
		{ identity, identity_length() },
		{ extents, (size_t)extent_count * HVRI_CHUNK_EXTENT_SIZE },
		{ raw, raw_length },
	};

	hvri_xxh3(parts, HVRI_ARRAY_LEN(parts), digest_out);
}

/* The fixed part, with every limit of the format checked. */
static int32_t read_fixed(const uint8_t bytes[HVRI_CHUNK_HEADER_SIZE],
			  struct hvri_chunk *chunk)
{
	struct hvri_reader reader =
		hvri_reader_over(bytes, HVRI_CHUNK_HEADER_SIZE);
	uint8_t magic[4];
	bool data, plain;

	hvri_read_bytes(&reader, magic, sizeof(magic));
	chunk->kind = hvri_read_u8(&reader);
	chunk->codec = hvri_read_u8(&reader);
	chunk->extent_count = hvri_read_u16(&reader);
	chunk->sequence = hvri_read_u32(&reader);
	chunk->raw_length = hvri_read_u32(&reader);
	chunk->stored_length = hvri_read_u32(&reader);
	hvri_read_pad(&reader, 4, true);
	hvri_read_bytes(&reader, chunk->raw_digest, 16);
	hvri_read_bytes(&reader, chunk->stored_digest, 16);
	HVRI_TRY(hvri_reader_end(&reader, HVREPL_E_CORRUPT));

	if (!hvri_chunk_begins(magic) || chunk->extent_count == 0 ||
	    chunk->extent_count > HVRI_CHUNK_EXTENTS_MAX)
		return HVREPL_E_CORRUPT;
	data = chunk->kind == HVRI_CHUNK_DATA && chunk->raw_length > 0 &&
	       chunk->raw_length <= HVRI_CHUNK_RAW_MAX &&
	       ((chunk->codec == HVRI_CODEC_STORED &&
		 chunk->stored_length == chunk->raw_length) ||
		(chunk->codec == HVRI_CODEC_ZSTD && chunk->stored_length > 0 &&
		 chunk->stored_length < chunk->raw_length));
	plain = (chunk->kind == HVRI_CHUNK_ZERO ||
		 chunk->kind == HVRI_CHUNK_DISCARD) &&
		chunk->codec == HVRI_CODEC_STORED && chunk->raw_length == 0 &&
		chunk->stored_length == 0;
	return data || plain ? HVREPL_OK : HVREPL_E_CORRUPT;
}

static uint32_t encoded_length(const struct hvri_chunk *chunk)
{
	return HVRI_CHUNK_HEADER_SIZE +
	       chunk->extent_count * HVRI_CHUNK_EXTENT_SIZE +
	       chunk->stored_length;
}

int32_t hvri_chunk_measure(const uint8_t bytes[HVRI_CHUNK_HEADER_SIZE],
			   uint32_t *length_out)
{
	struct hvri_chunk chunk;

	HVRI_TRY(read_fixed(bytes, &chunk));
	*length_out = encoded_length(&chunk);
	return HVREPL_OK;
}

bool hvri_extent_fits(const struct hvri_segment_header *header,
		      const struct hvrepl_extent *extent, uint64_t from)
{
	uint32_t mask = header->block_size - 1;
	uint64_t end;

	if (extent->offset < from || extent->offset >= header->disk_size ||
	    extent->length == 0 ||
	    extent->length > header->disk_size - extent->offset ||
	    (extent->offset & mask) != 0)
		return false;
	end = extent->offset + extent->length;
	return (end & mask) == 0 || end == header->disk_size;
}

struct hvrepl_extent hvri_chunk_extent(const struct hvri_chunk *chunk,
				       uint32_t i)
{
	struct hvri_reader reader = hvri_reader_over(
		chunk->extents + (size_t)i * HVRI_CHUNK_EXTENT_SIZE,
		HVRI_CHUNK_EXTENT_SIZE);
	struct hvrepl_extent extent;

	extent.offset = hvri_read_u64(&reader);
	extent.length = hvri_read_u64(&reader);
	return extent;
}

uint64_t hvri_chunk_covered(const struct hvri_chunk *chunk)
{
	uint64_t covered = 0;

	for (uint32_t i = 0; i < chunk->extent_count; i++)
		covered += hvri_chunk_extent(chunk, i).length;
	return covered;
}

int32_t hvri_chunk_decode(const struct hvri_segment_header *header,
			  const uint8_t *bytes, size_t length,
			  struct hvri_chunk *chunk_out)
{
	struct hvri_chunk chunk;
	uint8_t identity[HVRI_IDENTITY_SIZE], digest[16];
	uint64_t from = 0, covered = 0;

	if (length < HVRI_CHUNK_HEADER_SIZE)
		return HVREPL_E_TRUNCATED;
	HVRI_TRY(read_fixed(bytes, &chunk));
	if (encoded_length(&chunk) != length)
		return encoded_length(&chunk) > length ? HVREPL_E_TRUNCATED
						       : HVREPL_E_CORRUPT;
	hvri_segment_identity_encode(&header->identity, identity);
	hvri_chunk_stored_digest(identity, bytes, length, digest);
	if (memcmp(digest, chunk.stored_digest, 16) != 0 &&
	    !HVRI_PLANT(digest_ignored))
		return HVREPL_E_CORRUPT;
	chunk.extents = bytes + HVRI_CHUNK_HEADER_SIZE;
	chunk.payload = chunk.extents +
			(size_t)chunk.extent_count * HVRI_CHUNK_EXTENT_SIZE;
	for (uint32_t i = 0; i < chunk.extent_count; i++) {
		struct hvrepl_extent extent = hvri_chunk_extent(&chunk, i);

		if (!hvri_extent_fits(header, &extent, from))
			return HVREPL_E_CORRUPT;
		from = extent.offset + extent.length;
		covered += extent.length;
	}
	/* No overflow: extents lie apart inside the disk. */
	if (chunk.kind == HVRI_CHUNK_DATA && covered != chunk.raw_length)
		return HVREPL_E_CORRUPT;
	*chunk_out = chunk;
	return HVREPL_OK;
}

/* Exactly one frame that says its size and needs no dictionary: then the
 * output is bounded before a byte of it is made. */
static bool frame_is_ours(const struct hvri_chunk *chunk)
{
	const void *payload = chunk->payload;
	size_t length = chunk->stored_length;

	return ZSTD_findFrameCompressedSize(payload, length) == length &&
	       ZSTD_getFrameContentSize(payload, length) ==
		       chunk->raw_length &&
	       ZSTD_getDictID_fromFrame(payload, length) == 0;
}

int32_t hvri_chunk_unpack(const struct hvri_segment_header *header,
			  const struct hvri_chunk *chunk, uint8_t *raw_out)
{
	uint8_t identity[HVRI_IDENTITY_SIZE], digest[16];

	if (chunk->kind != HVRI_CHUNK_DATA)
		return HVREPL_E_INVALID;
	if (chunk->codec == HVRI_CODEC_STORED) {
		memcpy(raw_out, chunk->payload, chunk->raw_length);
	} else {
		size_t made;

		if (!frame_is_ours(chunk))
			return HVREPL_E_CORRUPT;
		made = ZSTD_decompress(raw_out, chunk->raw_length,
				       chunk->payload, chunk->stored_length);
		if (ZSTD_isError(made) &&
		    ZSTD_getErrorCode(made) == ZSTD_error_memory_allocation)
			return HVREPL_E_NOMEM;
		if (made != chunk->raw_length)
			return HVREPL_E_CORRUPT;
	}
	hvri_segment_identity_encode(&header->identity, identity);
	hvri_chunk_raw_digest(identity, chunk->extents, chunk->extent_count,
			      raw_out, chunk->raw_length, digest);
	if (memcmp(digest, chunk->raw_digest, 16) != 0 &&
	    !HVRI_PLANT(digest_ignored))
		return HVREPL_E_CORRUPT;
	return HVREPL_OK;
}

bool hvri_is_zero(const void *bytes, size_t length)
{
	const uint8_t *at = bytes;
	uint64_t word[8];

	for (; length >= sizeof(word); length -= sizeof(word)) {
		memcpy(word, at, sizeof(word));
		if ((word[0] | word[1] | word[2] | word[3] | word[4] | word[5] |
		     word[6] | word[7]) != 0)
			return false;
		at += sizeof(word);
	}
	for (; length > 0; length--)
		if (*at++ != 0)
			return false;
	return true;
}
