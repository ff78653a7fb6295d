/* SPDX-License-Identifier: Apache-2.0 */
/* The audit's bytes and its segments, inside; docs/formats.md has every byte. */
#ifndef HVRI_TRANSFER_AUDIT_LOG_H
#define HVRI_TRANSFER_AUDIT_LOG_H

#include "base/env.h"
#include "base/io.h"
#include "base/sync.h"

#include <hvrepl/audit.h>
#include <stdbool.h>

#define HVRI_AUDIT_HEADER 96u
#define HVRI_AUDIT_RECORD_MAX 1024u
#define HVRI_AUDIT_SEGMENT (4u << 20) /* A segment is left when it has that. */
#define HVRI_AUDIT_ID 24u             /* Bytes of an object's id, with zero. */

/* Where a chain has come to. */
struct hvri_audit_chain {
	uint64_t records;
	uint8_t digest[32];
};

struct hvrepl_audit {
	struct hvri_env env;
	struct hvri_storage storage;
	hvri_mutex mutex;
	struct hvri_object object; /* The last segment; closed: look again. */
	uint32_t segment;          /* 1, 2, 3...; 0: none yet. */
	uint64_t end;              /* Bytes of it that are good. */
	uint64_t segment_max;
	struct hvri_audit_chain chain;
	int32_t code; /* Of the last append. */
};

/* A reading of one segment, in memory. */
struct hvri_audit_reading {
	const uint8_t *bytes;
	size_t length, at; /* `at`: the first that is not known to be good. */
	struct hvri_audit_chain chain;
};
/* The header of segment `segment`. TRUNCATED: none, and no record behind it;
 * CORRUPT; FORMAT_TOO_NEW. */
HVRI_MUST_CHECK int32_t
hvri_audit_read_header(struct hvri_audit_reading *reading, uint32_t segment);
/* The next record; its strings in `text`, one after the other. OK; NOT_FOUND:
 * the end; TRUNCATED: what follows is no record, nor is one behind it; CORRUPT. */
HVRI_MUST_CHECK int32_t
hvri_audit_next(struct hvri_audit_reading *reading,
		struct hvrepl_audit_record *record_out,
		char text[HVRI_AUDIT_RECORD_MAX]);
HVRI_MUST_CHECK int32_t
hvri_audit_make_header(uint32_t segment, const struct hvri_audit_chain *chain,
		       uint8_t out[HVRI_AUDIT_HEADER]);
/* The record as it lies after `chain`, which moves on to it. */
HVRI_MUST_CHECK int32_t hvri_audit_make(const struct hvrepl_audit_record *record,
					struct hvri_audit_chain *chain,
					uint8_t out[HVRI_AUDIT_RECORD_MAX],
					size_t *length_out);
void hvri_audit_id(uint32_t segment, char id[HVRI_AUDIT_ID]);
#endif
