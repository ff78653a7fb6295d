/* SPDX-License-Identifier: Apache-2.0 */
/* Walking over what a disk may hold. */
#include "transfer/pieces.h"

void hvri_piece_next(const struct hvri_disk *const *disks, unsigned disk_count,
		     uint64_t offset, uint64_t *offset_out,
		     uint32_t *length_out)
{
	uint64_t size = disks[0]->info.size, first = size;

	for (unsigned i = 0; i < disk_count && offset < first; i++) {
		struct hvrepl_extent extent;

		hvri_disk_next_allocated(disks[i], offset, first, &extent);
		if (extent.length > 0)
			first = extent.offset;
	}
	if (first >= size) {
		*offset_out = size;
		*length_out = 0;
		return;
	}
	first -= first % HVRI_CONTENT_PIECE;
	*offset_out = first;
	*length_out = (uint32_t)HVRI_MIN(HVRI_CONTENT_PIECE, size - first);
}

static int32_t digest(const struct hvri_disk *disk,
		      struct hvri_content *content, uint8_t *buffer)
{
	uint64_t offset = 0;
	uint32_t length;

	for (;;) {
		hvri_piece_next(&disk, 1, offset, &offset, &length);
		if (length == 0)
			return HVREPL_OK;
		HVRI_TRY(hvri_disk_read(disk, offset, buffer, length));
		HVRI_TRY(hvri_content_add(content, offset, buffer, length));
		offset += length;
	}
}

int32_t hvri_disk_digest(const struct hvri_env *env,
			 const struct hvri_disk *disk, uint8_t digest_out[32])
{
	struct hvri_content content;
	uint8_t *buffer = hvri_alloc_io(env, HVRI_CONTENT_PIECE);
	int32_t rc;

	if (buffer == NULL)
		return HVREPL_E_NOMEM;
	rc = hvri_content_begin(&content, disk->info.size);
	if (rc == HVREPL_OK) {
		rc = digest(disk, &content, buffer);
		if (rc == HVREPL_OK)
			rc = hvri_content_end(&content, digest_out);
		hvri_content_free(&content);
	}
	hvri_free(env, buffer, HVRI_CONTENT_PIECE);
	return rc;
}
