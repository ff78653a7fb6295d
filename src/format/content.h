/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digest of the whole content of a disk that does not cost what is empty:
 * SHA-256 over a label, the size, and for each piece of 1 MiB that is not all
 * zero its offset and its SHA-256. Holes and written zeroes are the same.
 */
#ifndef HVRI_FORMAT_CONTENT_H
#define HVRI_FORMAT_CONTENT_H

#include "base/digest.h"

#define HVRI_CONTENT_PIECE (1u << 20)

struct hvri_content {
	struct hvri_sha256 sha;
	uint64_t next; /* Pieces come in ascending order. */
};

HVRI_MUST_CHECK int32_t hvri_content_begin(struct hvri_content *content,
					   uint64_t disk_size);
/* A whole piece (the disk's last one may be short). Those never given are
 * zero. */
HVRI_MUST_CHECK int32_t hvri_content_add(struct hvri_content *content,
					 uint64_t offset, const void *bytes,
					 size_t length);
HVRI_MUST_CHECK int32_t hvri_content_end(struct hvri_content *content,
					 uint8_t digest_out[32]);
/* Always, also after a failure; a zeroed struct is fine. */
void hvri_content_free(struct hvri_content *content);
#endif
