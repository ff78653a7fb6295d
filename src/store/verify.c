/* SPDX-License-Identifier: Apache-2.0 */
/* One digest of a whole disk, in bounded pieces; holes cost nothing. */
#include "store/store.h"

#include "base/cursor.h"

#include <string.h>

#define BLOCK (64u << 10)
#define BLOCKS_A_PIECE 16u

int32_t hvri_disk_digest_begin(struct hvri_disk_digest *digest,
			       const struct hvri_env *env,
			       const struct hvri_disk *disk,
			       uint32_t disk_index,
			       const uint8_t key[HVRI_GMAC_KEY])
{
	int32_t rc;

	memset(digest, 0, sizeof(*digest));
	digest->env = env;
	digest->disk = disk;
	digest->disk_index = disk_index;
	rc = hvri_gmac_init(&digest->gmac, key);
	if (rc == HVREPL_OK)
		rc = hvri_sha256_begin(&digest->sha);
	if (rc == HVREPL_OK) {
		digest->buffer = hvri_alloc_io(env, BLOCK);
		rc = digest->buffer == NULL ? HVREPL_E_NOMEM : HVREPL_OK;
	}
	if (rc < 0)
		hvri_disk_digest_free(digest);
	return rc;
}

static int32_t add_block(struct hvri_disk_digest *digest, uint64_t offset)
{
	uint64_t left = digest->disk->info.size - offset;
	size_t length = (size_t)HVRI_MIN(left, BLOCK);
	uint8_t entry[24];
	struct hvri_writer writer = hvri_writer_over(entry, sizeof(entry));

	HVRI_TRY(hvri_disk_read(digest->disk, offset, digest->buffer, length));
	if (hvri_is_zero(digest->buffer, length))
		return HVREPL_OK;
	hvri_write_u64(&writer, offset);
	HVRI_TRY(hvri_gmac_block(&digest->gmac, digest->disk_index, offset,
				 digest->buffer, length, entry + 8));
	return hvri_sha256_add(&digest->sha, entry, sizeof(entry));
}

int32_t hvri_disk_digest_advance(struct hvri_disk_digest *digest,
				 uint32_t *more_out, uint8_t digest_out[32])
{
	uint64_t size = digest->disk->info.size;

	*more_out = 1;
	for (unsigned i = 0; i < BLOCKS_A_PIECE && digest->at < size; i++) {
		struct hvrepl_extent found;

		HVRI_TRY(hvri_disk_next_allocated(digest->disk, digest->at,
						  size, &found));
		if (found.length == 0) {
			digest->at = size;
			break;
		}
		digest->at = found.offset / BLOCK * BLOCK;
		HVRI_TRY(add_block(digest, digest->at));
		digest->at += HVRI_MIN(size - digest->at, BLOCK);
	}
	if (digest->at < size)
		return HVREPL_OK;
	*more_out = 0;
	return hvri_sha256_end(&digest->sha, digest_out);
}

void hvri_disk_digest_free(struct hvri_disk_digest *digest)
{
	hvri_gmac_free(&digest->gmac);
	hvri_sha256_free(&digest->sha);
	if (digest->env != NULL)
		hvri_free(digest->env, digest->buffer, BLOCK);
	memset(digest, 0, sizeof(*digest));
}
