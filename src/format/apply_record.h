/* SPDX-License-Identifier: Apache-2.0 */
/* The record of logs being applied to a disk: what lets a repeat after a crash
 * know a half-written disk for what it is. */
#ifndef HVRI_FORMAT_APPLY_RECORD_H
#define HVRI_FORMAT_APPLY_RECORD_H

#include "base/rc.h"

#define HVRI_APPLY_RECORD_SIZE 160u
struct hvri_apply_record {
	uint64_t disk_size;
	uint32_t granule;  /* Bytes; what the kept digest tells apart. */
	uint8_t chain[32]; /* SHA-256 over the roots of the logs, in order. */
	uint8_t salt[16];  /* Random, first in each hash of the kept digest. */
	uint8_t kept[32];  /* Digest of all that the logs do not write. */
};

void hvri_apply_record_encode(const struct hvri_apply_record *record,
			      uint8_t out[HVRI_APPLY_RECORD_SIZE]);
HVRI_MUST_CHECK int32_t
hvri_apply_record_decode(const uint8_t bytes[HVRI_APPLY_RECORD_SIZE],
			 struct hvri_apply_record *record_out);
#endif
