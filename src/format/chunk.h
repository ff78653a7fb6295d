/* SPDX-License-Identifier: Apache-2.0 */
/* What reading and making chunks share; only for src/format. */
#ifndef HVRI_FORMAT_CHUNK_H
#define HVRI_FORMAT_CHUNK_H

#include "format/segment.h"

#define HVRI_CHUNK_MAGIC "HVRC"
#define HVRI_CHUNK_EXTENT_SIZE 16u
/* Where the two digests lie in the fixed part; the stored one is the last
 * thing in it and covers all that precedes it, the raw digest too. */
#define HVRI_CHUNK_RAW_DIGEST 24u
#define HVRI_CHUNK_STORED_DIGEST 40u

void hvri_chunk_stored_digest(const uint8_t identity[HVRI_IDENTITY_SIZE],
			      const uint8_t *bytes, size_t length,
			      uint8_t digest_out[16]);
void hvri_chunk_raw_digest(const uint8_t identity[HVRI_IDENTITY_SIZE],
			   const uint8_t *extents, uint32_t extent_count,
			   const uint8_t *raw, size_t raw_length,
			   uint8_t digest_out[16]);
/* Inside the disk, on block boundaries, not before `from`. */
bool hvri_extent_fits(const struct hvri_segment_header *header,
		      const struct hvrepl_extent *extent, uint64_t from);
#endif
