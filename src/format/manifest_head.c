/* SPDX-License-Identifier: Apache-2.0 */
/* Head slots and the frame of a manifest record. */
#include "format/manifest.h"

#include <string.h>

#define HEAD_MAGIC "HVRHEAD1"
#define HEAD_BODY (HVRI_HEAD_SIZE - 32u)
#define RECORD_MAGIC 0x4d525648u /* "HVRM" */
#define RECORD_SIGNED 64u
#define RECORD_VERSION 2u /* 1: points without changed_bytes. */

static int32_t sha256(struct hvri_sha256 *kept, const void *a, size_t a_length,
		      const void *b, size_t b_length, uint8_t out[32])
{
	struct hvri_sha256 own = { NULL };
	struct hvri_sha256 *sha = kept != NULL ? kept : &own;
	int32_t rc = hvri_sha256_again(sha);

	if (rc == HVREPL_OK)
		rc = hvri_sha256_add(sha, a, a_length);
	if (rc == HVREPL_OK && b_length > 0)
		rc = hvri_sha256_add(sha, b, b_length);
	if (rc == HVREPL_OK)
		rc = hvri_sha256_end(sha, out);
	if (kept == NULL)
		hvri_sha256_free(&own);
	return rc;
}

int32_t hvri_head_encode(const struct hvri_head *head, struct hvri_sha256 *sha,
			 uint8_t out[HVRI_HEAD_SIZE])
{
	struct hvri_writer writer = hvri_writer_over(out, HEAD_BODY);

	hvri_write_bytes(&writer, HEAD_MAGIC, 8);
	hvri_write_u32(&writer, 1); /* Version. */
	hvri_write_u32(&writer, 0); /* Flags. */
	hvri_write_uuid(&writer, &head->vm);
	hvri_write_u64(&writer, head->generation);
	hvri_write_u64(&writer, head->fencing_token);
	hvri_write_u64(&writer, head->log);
	hvri_write_u64(&writer, head->length);
	hvri_write_u64(&writer, head->sequence);
	hvri_write_bytes(&writer, head->digest, 32);
	hvri_write_pad(&writer, writer.left);
	return sha256(sha, out, HEAD_BODY, NULL, 0, out + HEAD_BODY);
}

int32_t hvri_head_decode(const uint8_t bytes[HVRI_HEAD_SIZE],
			 struct hvri_sha256 *sha,
			 struct hvri_head *head_out)
{
	struct hvri_reader reader = hvri_reader_over(bytes, HEAD_BODY);
	struct hvri_head head;
	uint8_t magic[8], digest[32];
	uint32_t version, flags;

	hvri_read_bytes(&reader, magic, 8);
	version = hvri_read_u32(&reader);
	flags = hvri_read_u32(&reader);
	hvri_read_uuid(&reader, &head.vm);
	head.generation = hvri_read_u64(&reader);
	head.fencing_token = hvri_read_u64(&reader);
	head.log = hvri_read_u64(&reader);
	head.length = hvri_read_u64(&reader);
	head.sequence = hvri_read_u64(&reader);
	hvri_read_bytes(&reader, head.digest, 32);
	if (memcmp(magic, HEAD_MAGIC, 8) != 0)
		return HVREPL_E_CORRUPT;
	HVRI_TRY(sha256(sha, bytes, HEAD_BODY, NULL, 0, digest));
	if (memcmp(digest, bytes + HEAD_BODY, 32) != 0)
		return HVREPL_E_CORRUPT;
	if (version != 1 || flags != 0)
		return HVREPL_E_FORMAT_TOO_NEW;
	hvri_read_pad(&reader, reader.left, true);
	HVRI_TRY(hvri_reader_end(&reader, HVREPL_E_CORRUPT));
	*head_out = head;
	return HVREPL_OK;
}

uint64_t hvri_record_span(uint32_t body_length)
{
	uint64_t bytes = (uint64_t)HVRI_RECORD_HEADER + body_length;

	return (bytes + HVRI_RECORD_ALIGN - 1) / HVRI_RECORD_ALIGN *
	       HVRI_RECORD_ALIGN;
}

int32_t hvri_record_seal(struct hvri_record_header *header, const uint8_t *body,
			 struct hvri_sha256 *sha, uint8_t out[HVRI_RECORD_HEADER])
{
	struct hvri_writer writer = hvri_writer_over(out, RECORD_SIGNED);

	hvri_write_u32(&writer, RECORD_MAGIC);
	hvri_write_u16(&writer, RECORD_VERSION);
	hvri_write_u16(&writer, header->type);
	hvri_write_u32(&writer, header->length);
	hvri_write_u32(&writer, 0);
	hvri_write_u64(&writer, header->sequence);
	hvri_write_u64(&writer, header->log);
	hvri_write_bytes(&writer, header->previous, 32);
	HVRI_TRY(sha256(sha, out, RECORD_SIGNED, body, header->length,
			header->digest));
	memcpy(out + RECORD_SIGNED, header->digest, 32);
	return HVREPL_OK;
}

int32_t hvri_record_header_decode(const uint8_t bytes[HVRI_RECORD_HEADER],
				  struct hvri_record_header *header_out)
{
	struct hvri_reader reader = hvri_reader_over(bytes, HVRI_RECORD_HEADER);
	struct hvri_record_header header;
	uint32_t magic = hvri_read_u32(&reader);
	uint16_t version = hvri_read_u16(&reader);
	uint32_t reserved;

	header.type = hvri_read_u16(&reader);
	header.length = hvri_read_u32(&reader);
	reserved = hvri_read_u32(&reader);
	header.sequence = hvri_read_u64(&reader);
	header.log = hvri_read_u64(&reader);
	hvri_read_bytes(&reader, header.previous, 32);
	hvri_read_bytes(&reader, header.digest, 32);
	if (magic != RECORD_MAGIC || reserved != 0 || header.type == 0 ||
	    header.length > HVRI_RECORD_BODY_MAX)
		return HVREPL_E_CORRUPT;
	if (version == 0 || version > RECORD_VERSION ||
	    header.type > HVRI_RECORD_LAST)
		return HVREPL_E_FORMAT_TOO_NEW;
	*header_out = header;
	return HVREPL_OK;
}

int32_t hvri_record_check(const uint8_t bytes[HVRI_RECORD_HEADER],
			  const struct hvri_record_header *header,
			  const uint8_t *body, struct hvri_sha256 *sha)
{
	uint8_t digest[32];

	HVRI_TRY(sha256(sha, bytes, RECORD_SIGNED, body, header->length,
			digest));
	return memcmp(digest, header->digest, 32) == 0 ? HVREPL_OK :
							 HVREPL_E_CORRUPT;
}

const char *hvri_record_name(uint16_t type)
{
	static const char *const names[] = {
		"?",	     "checkpoint", "receive",	   "initial",
		"point",     "pins",	   "drop",	   "merge",
		"merged",    "replace",	   "overlay",	   "overlay-drop",
		"freeze",    "folded",	   "direct",	   "committed",
		"cancel",    "restored",   "base-only",	   "adopt",
		"blob",	     "stamp",	   "doubt",
	};

	return names[type < HVRI_ARRAY_LEN(names) ? type : 0];
}
