/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manifest of a store: a small head with two slots, a log of checksummed
 * records it points into, and the state that the records add up to (S3).
 *
 *   store.head      slot A at 0, slot B at 4096; the newest valid one counts
 *   store.log.<n>   records from 0 on, each padded to 512 bytes; the first of
 *                   a log is a checkpoint
 *
 * Pure: bytes <-> structs. What a record does to the state is store/state.c's.
 * docs/formats.md has every byte.
 */
#ifndef HVRI_FORMAT_MANIFEST_H
#define HVRI_FORMAT_MANIFEST_H

#include "base/cursor.h"
#include "base/digest.h"
#include "base/env.h"

#include <hvrepl/store.h>

#define HVRI_HEAD_SLOT_STEP 4096u
#define HVRI_HEAD_SIZE 256u

/* Which bytes of which log are committed. */
struct hvri_head {
	struct hvrepl_uuid vm;
	uint64_t generation; /* Moves by one with each write of the head. */
	uint64_t fencing_token;
	uint64_t log;       /* Number of the log. */
	uint64_t length;    /* Bytes of it that are committed. */
	uint64_t sequence;  /* Of the last committed record. */
	uint8_t digest[32]; /* Of that record. */
};

/* `sha` here and below: kept by the caller for the next one, who frees it in
 * the end; NULL: not kept. */
HVRI_MUST_CHECK int32_t hvri_head_encode(const struct hvri_head *head,
					 struct hvri_sha256 *sha,
					 uint8_t out[HVRI_HEAD_SIZE]);
/* CORRUPT, FORMAT_TOO_NEW. */
HVRI_MUST_CHECK int32_t hvri_head_decode(const uint8_t bytes[HVRI_HEAD_SIZE],
					 struct hvri_sha256 *sha,
					 struct hvri_head *head_out);

#define HVRI_RECORD_ALIGN 512u
#define HVRI_RECORD_HEADER 96u
#define HVRI_RECORD_BODY_MAX (64u << 20)

#define HVRI_RECORD_CHECKPOINT 1u  /* The whole state. */
#define HVRI_RECORD_RECEIVE 2u	   /* Segments go to this container now. */
#define HVRI_RECORD_INITIAL 3u	   /* Progress of the first content. */
#define HVRI_RECORD_POINT 4u	   /* A point is durable. */
#define HVRI_RECORD_PINS 5u	   /* Pins of a point, all of them. */
#define HVRI_RECORD_DROP 6u	   /* A point is given up. */
#define HVRI_RECORD_MERGE 7u	   /* The base moves to `key` from now on. */
#define HVRI_RECORD_MERGED 8u	   /* It got there. */
#define HVRI_RECORD_REPLACE 9u	   /* One log takes the place of others. */
#define HVRI_RECORD_OVERLAY 10u	   /* Failover to `key`: durable overlay. */
#define HVRI_RECORD_OVERLAY_DROP 11u
#define HVRI_RECORD_FREEZE 12u	   /* Commit: overlay frozen, a new one. */
#define HVRI_RECORD_FOLDED 13u	   /* The frozen overlay is in the base. */
#define HVRI_RECORD_DIRECT 14u	   /* Disk is direct below `offset`. */
#define HVRI_RECORD_COMMITTED 15u  /* All direct: base only. */
#define HVRI_RECORD_CANCEL 16u	   /* Of a commit: base goes back. */
#define HVRI_RECORD_RESTORED 17u   /* It is back. */
#define HVRI_RECORD_BASE_ONLY 18u  /* No points, base is the disk. */
#define HVRI_RECORD_ADOPT 19u	   /* The base as it is becomes a point. */
#define HVRI_RECORD_BLOB 20u	   /* The owner's bytes. */
#define HVRI_RECORD_STAMP 21u	   /* The bases' identity (T9). */
#define HVRI_RECORD_DOUBT 22u	   /* Points that may not be what they were. */
#define HVRI_RECORD_LAST 22u

struct hvri_record_header {
	uint16_t type;
	uint32_t length;       /* Of the body. */
	uint64_t sequence;     /* One more than the record before. */
	uint64_t log;	       /* The log it was written to. */
	uint8_t previous[32];  /* Digest of the record before: a chain. */
	uint8_t digest[32];    /* Over all of the above and the body. */
};
/* Fills digest too. */
HVRI_MUST_CHECK int32_t hvri_record_seal(struct hvri_record_header *header,
					 const uint8_t *body,
					 struct hvri_sha256 *sha,
					 uint8_t out[HVRI_RECORD_HEADER]);
/* CORRUPT unless the fixed part makes sense; the digest is not looked at. */
HVRI_MUST_CHECK int32_t
hvri_record_header_decode(const uint8_t bytes[HVRI_RECORD_HEADER],
			  struct hvri_record_header *header_out);
/* CORRUPT unless the digest is that of these bytes. */
HVRI_MUST_CHECK int32_t
hvri_record_check(const uint8_t bytes[HVRI_RECORD_HEADER],
		  const struct hvri_record_header *header, const uint8_t *body,
		  struct hvri_sha256 *sha);
/* Bytes a record takes in the log. */
uint64_t hvri_record_span(uint32_t body_length);

#define HVRI_MANIFEST_POINTS 96u
#define HVRI_MANIFEST_LOGS 192u

#define HVRI_MANIFEST_EMPTY 0u
#define HVRI_MANIFEST_INITIAL 1u
#define HVRI_MANIFEST_REPLICA 2u
#define HVRI_MANIFEST_BASE_ONLY 3u

#define HVRI_COMMIT_NONE 0u
#define HVRI_COMMIT_OVERLAY 1u	 /* Failover, nothing folded. */
#define HVRI_COMMIT_FOLDING 2u
#define HVRI_COMMIT_SWITCHING 3u /* Past the first direct range. */
#define HVRI_COMMIT_RESTORING 4u

struct hvri_manifest_point {
	uint64_t key;
	uint64_t number;
	struct hvrepl_uuid epoch;
	struct hvrepl_uuid cut;
	uint64_t utc_ns;
	uint64_t config_version;
	uint64_t changed_bytes; /* As hvrepl_point's. */
	uint32_t config; /* Id of the stored configuration; 0: none. */
	uint32_t pins;
};

/* A redo log (to one point) or an undo log (a merge from, to]. */
struct hvri_manifest_log {
	uint64_t id; /* 0: none. */
	uint64_t from, to;
	uint64_t container;
	uint64_t index_position; /* Of the index in the container. */
	uint64_t index_length;
	uint64_t stored_bytes;
	uint8_t index_digest[16]; /* XXH3-128. */
};

struct hvri_manifest_disk {
	struct hvrepl_uuid disk;
	uint64_t size;
	uint64_t frontier;	/* INITIAL: content below is in the base. */
	uint64_t direct;	/* SWITCHING: base is authoritative below. */
	uint32_t init_sequence; /* INITIAL: chunks of the cut in the base. */
	uint32_t init_ended;
};

/* T9. NONE: never taken, or the base is the live disk. OPEN: the bases may have
 * been written since. SETTLED: not written since, nor before that unflushed.
 * CLOSED: as SETTLED, by a clean close. */
#define HVRI_STAMP_NONE 0u
#define HVRI_STAMP_OPEN 1u
#define HVRI_STAMP_SETTLED 2u
#define HVRI_STAMP_CLOSED 3u

struct hvri_manifest_stamp {
	uint64_t utc_ns; /* When the token was taken. */
	uint32_t token_length;
	uint8_t token[HVREPL_TOKEN_MAX];
};

struct hvri_manifest_config {
	uint32_t id;
	uint32_t length;
	uint8_t *bytes;
};

/* Everything the records add up to. */
struct hvri_manifest {
	struct hvrepl_uuid vm;
	uint32_t phase; /* HVRI_MANIFEST_* */
	uint32_t disk_count;
	struct hvri_manifest_disk disks[HVREPL_STORE_DISKS_MAX];
	uint64_t last_key;
	uint64_t next_id; /* Of containers, logs and overlays. */
	uint64_t receiving;	 /* Container, or 0. */
	uint64_t receiving_tail; /* Committed bytes of it. */
	/* INITIAL: the cut on its way into the base; none: no cut. */
	struct hvrepl_uuid init_cut, init_epoch;
	uint64_t init_from, init_to;
	uint64_t base;		 /* B of S5; 0: none. */
	uint64_t merge_target;	 /* T; 0: none. */
	uint64_t merge_undo;	 /* Container; 0: no undo. */
	uint32_t commit;	 /* HVRI_COMMIT_* */
	uint32_t materialised;	 /* FOLDING: base holds the point now. */
	uint64_t commit_point;
	uint64_t overlay_active, overlay_frozen;
	uint64_t commit_undo;	 /* Container; 0: none. */
	uint32_t stamped;	 /* HVRI_STAMP_* */
	struct hvri_manifest_stamp stamps[HVREPL_STORE_DISKS_MAX];
	/* Points from and up to these keys are in doubt: a base was changed
	 * outside, or what they need is damaged. 0: none. */
	uint64_t doubt_from, doubt_to;
	uint32_t point_count, redo_count, undo_count, config_count;
	struct hvri_manifest_point points[HVRI_MANIFEST_POINTS];
	struct hvri_manifest_log redo[HVRI_MANIFEST_LOGS]; /* By `to`. */
	struct hvri_manifest_log undo[HVRI_MANIFEST_LOGS]; /* By `to`. */
	struct hvri_manifest_config configs[HVRI_MANIFEST_POINTS];
	uint8_t *blob;
	uint32_t blob_length;
};

/* A record other than a checkpoint; which members count depends on `type`. */
struct hvri_manifest_record {
	uint16_t type;
	struct hvri_manifest_point point; /* POINT, ADOPT */
	struct hvri_manifest_log log; /* POINT (id 0: base), MERGED, REPLACE */
	uint64_t key;	    /* PINS, DROP, MERGE, OVERLAY: a point's key. */
	uint64_t id;	    /* Container or overlay. */
	uint64_t undo;	    /* MERGE, FREEZE: container of the undo. */
	uint64_t tail;	    /* POINT: committed bytes of the container. */
	uint64_t offset;    /* DIRECT */
	uint64_t replaced[2]; /* REPLACE: ids of logs; second may be 0. */
	uint32_t is_undo;     /* REPLACE */
	uint32_t disk;	      /* DIRECT */
	uint32_t pins;	      /* PINS */
	/* INITIAL: frontier, init_sequence and init_ended count. */
	struct hvrepl_uuid cut, epoch;
	uint64_t from, to; /* DOUBT too: keys of points. */
	struct hvri_manifest_disk *disks;
	uint32_t disk_count;
	/* POINT, ADOPT: configuration; BLOB. Borrowed. */
	const uint8_t *bytes;
	uint32_t length;
	/* Any type: the bases' identity as of this record; count 0: as before. */
	uint32_t stamped;
	uint32_t stamp_count;
	struct hvri_manifest_stamp *stamps;
};

/* Enough room for the body. */
size_t hvri_manifest_record_bound(const struct hvri_manifest_record *record);
size_t hvri_manifest_bound(const struct hvri_manifest *manifest);
/* Length through *length_out; the room given must be the bound's. */
HVRI_MUST_CHECK int32_t
hvri_manifest_record_encode(const struct hvri_manifest_record *record,
			    uint8_t *out, size_t room, uint32_t *length_out);
HVRI_MUST_CHECK int32_t hvri_manifest_encode(const struct hvri_manifest *state,
					     uint8_t *out, size_t room,
					     uint32_t *length_out);
/* record->disks and ->stamps must have room for HVREPL_STORE_DISKS_MAX; bytes
 * point into the body. */
HVRI_MUST_CHECK int32_t
hvri_manifest_record_decode(uint16_t type, const uint8_t *body, uint32_t length,
			    struct hvri_manifest_record *record_out);
/* A checkpoint. What *manifest_out held before is not freed. */
HVRI_MUST_CHECK int32_t
hvri_manifest_decode(const struct hvri_env *env, const uint8_t *body,
		     uint32_t length, struct hvri_manifest *manifest_out);
/* Frees configurations and blob. */
void hvri_manifest_clear(const struct hvri_env *env,
			 struct hvri_manifest *manifest);
const char *hvri_record_name(uint16_t type);
#endif
