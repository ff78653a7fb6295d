/* SPDX-License-Identifier: Apache-2.0 */
/* A disk read in the pieces its content digest is made of, holes left out. */
#ifndef HVRI_TRANSFER_PIECES_H
#define HVRI_TRANSFER_PIECES_H

#include "base/io.h"
#include "format/content.h"

/* Offset and length of the first piece at or after `offset` of which at least
 * one of `disks` may hold something; length 0 when there is none. All disks
 * have the size of the first. */
void hvri_piece_next(const struct hvri_disk *const *disks, unsigned disk_count,
		     uint64_t offset, uint64_t *offset_out,
		     uint32_t *length_out);
/* Digest of a whole disk at once. */
HVRI_MUST_CHECK int32_t hvri_disk_digest(const struct hvri_env *env,
					 const struct hvri_disk *disk,
					 uint8_t digest_out[32]);
#endif
