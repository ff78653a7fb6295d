/* SPDX-License-Identifier: Apache-2.0 */
/* Digest of a disk's content, piece by piece. */
#include "format/content.h"

#include "base/cursor.h"
#include "format/segment.h"

static const uint8_t label[16] = { 'h', 'v', 'r', 'e', 'p', 'l', '-', 'c',
				   'o', 'n', 't', 'e', 'n', 't', '-', '1' };

static int32_t add_u64(struct hvri_sha256 *sha, uint64_t value)
{
	uint8_t bytes[8];
	struct hvri_writer writer = hvri_writer_over(bytes, sizeof(bytes));

	hvri_write_u64(&writer, value);
	return hvri_sha256_add(sha, bytes, sizeof(bytes));
}

int32_t hvri_content_begin(struct hvri_content *content, uint64_t disk_size)
{
	int32_t rc;

	content->next = 0;
	HVRI_TRY(hvri_sha256_begin(&content->sha));
	rc = hvri_sha256_add(&content->sha, label, sizeof(label));
	if (rc == HVREPL_OK)
		rc = add_u64(&content->sha, disk_size);
	if (rc < 0)
		hvri_content_free(content);
	return rc;
}

int32_t hvri_content_add(struct hvri_content *content, uint64_t offset,
			 const void *bytes, size_t length)
{
	struct hvri_sha256 piece;
	uint8_t digest[32];
	int32_t rc;

	if (offset < content->next || offset % HVRI_CONTENT_PIECE != 0 ||
	    length > HVRI_CONTENT_PIECE)
		return HVREPL_E_INVALID;
	content->next = offset + HVRI_CONTENT_PIECE;
	if (hvri_is_zero(bytes, length))
		return HVREPL_OK;
	HVRI_TRY(hvri_sha256_begin(&piece));
	rc = hvri_sha256_add(&piece, bytes, length);
	if (rc == HVREPL_OK)
		rc = hvri_sha256_end(&piece, digest);
	hvri_sha256_free(&piece);
	if (rc == HVREPL_OK)
		rc = add_u64(&content->sha, offset);
	if (rc == HVREPL_OK)
		rc = hvri_sha256_add(&content->sha, digest, sizeof(digest));
	return rc;
}

int32_t hvri_content_end(struct hvri_content *content, uint8_t digest_out[32])
{
	return hvri_sha256_end(&content->sha, digest_out);
}

void hvri_content_free(struct hvri_content *content)
{
	hvri_sha256_free(&content->sha);
}
