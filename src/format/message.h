/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control messages of one relationship between two nodes. Pure: bytes <->
 * struct. They travel in frames of type HVRI_FRAME_MESSAGE, in order.
 */
#ifndef HVRI_FORMAT_MESSAGE_H
#define HVRI_FORMAT_MESSAGE_H

#include "format/record.h"

#define HVRI_MESSAGE_VERSION 1u
/* Longest encoding (HELLO and ENABLE carry a lineage). */
#define HVRI_MESSAGE_ENCODED_MAX 32768u
#define HVRI_RANGES_MAX 1024u /* Extents of one RANGES. */

enum hvri_message_type {
	HVRI_MESSAGE_HELLO = 1,   /* claim */
	HVRI_MESSAGE_ENABLE,      /* claim, setup: become my replica */
	HVRI_MESSAGE_ENABLED,
	HVRI_MESSAGE_UNKNOWN,     /* No such relationship here. */
	HVRI_MESSAGE_STATUS,      /* status: for display and pacing */
	HVRI_MESSAGE_CUT_BEGIN,   /* cut */
	HVRI_MESSAGE_CUT_ACCEPT,  /* progress: send from this chunk on */
	HVRI_MESSAGE_CUT_DECLINE, /* progress.cut, answer.code: not now */
	HVRI_MESSAGE_CUT_GONE,    /* progress.cut: given up at the source */
	HVRI_MESSAGE_PROGRESS,    /* progress: durable through this chunk */
	HVRI_MESSAGE_DURABLE,     /* durable: the cut is a point (or window) */
	HVRI_MESSAGE_HANDOVER_REQUEST, /* handover: standby asks for it */
	HVRI_MESSAGE_HANDOVER_CHECK,   /* handover: could you take it? */
	HVRI_MESSAGE_HANDOVER_READY,
	HVRI_MESSAGE_GRANT,
	HVRI_MESSAGE_OWNED,
	HVRI_MESSAGE_REFUSED,
	HVRI_MESSAGE_CANCEL_REQUEST,
	HVRI_MESSAGE_JOIN,        /* join: come into my epoch */
	HVRI_MESSAGE_JOIN_READY,  /* join: what I have; RANGES came before */
	HVRI_MESSAGE_RANGES,      /* ranges: changed at the sender's side */
	HVRI_MESSAGE_DISCARD,     /* discard */
	HVRI_MESSAGE_DISCARDED,   /* discard */
	HVRI_MESSAGE_OPERATION,   /* operation: typed at the other site */
	HVRI_MESSAGE_ANSWER,      /* answer: outcome of what was asked */
	HVRI_MESSAGE_REMOVE,      /* remove */
	HVRI_MESSAGE_REMOVED,
	HVRI_MESSAGE_TYPE_COUNT
};

/* What a site says about itself (O2). */
struct hvri_claim {
	struct hvrepl_uuid site;
	struct hvrepl_uuid record_id;
	uint64_t generation;
	struct hvrepl_uuid seen_id; /* The receiver's record, as last seen. */
	uint64_t seen_generation;
	uint8_t mode, phase, ownership, pause;
	bool armed; /* Or was, before the fence of a job under way. */
	bool dirty;
	bool untrusted;
	bool rolled_back;
	struct hvrepl_uuid current;
	struct hvrepl_uuid verdict_peer; /* Echo of the standing verdict. */
	struct hvrepl_uuid joining;
	struct hvri_point position; /* Newest complete point it holds; for an
				     * owner, its newest cut. */
	struct hvri_frontier frontier;
	struct hvri_lineage lineage;
};

struct hvri_setup {
	struct hvrepl_uuid vm;
	char vm_name[HVRI_VM_NAME_MAX + 1];
	struct hvri_policy policy;
	uint32_t disk_count;
	struct hvri_disk_info disks[HVRI_DISKS_MAX];
};

/* What a cut carries. */
enum hvri_cut_kind {
	HVRI_CUT_DELTA = 1,
	HVRI_CUT_INITIAL, /* Window into base; no point until closed (L2). */
	HVRI_CUT_FINAL,   /* Delta of a handover (O4). */
	HVRI_CUT_KIND_COUNT
};

struct hvri_cut_begin {
	struct hvri_point point;    /* What it becomes. */
	struct hvri_point from;     /* What it applies to; number 0: nothing. */
	struct hvrepl_uuid handover; /* FINAL: the child epoch. */
	uint8_t kind;               /* enum hvri_cut_kind */
	bool closed;                /* The last window; others: true. */
	struct hvri_frontier frontier; /* After it; INITIAL. */
	uint64_t bytes;             /* Raw bytes in it; a label. */
	uint8_t set_digest[16];     /* Join: of the set agreed on; else zero. */
};

struct hvri_progress {
	struct hvrepl_uuid cut;
	uint64_t chunk; /* Chunks [0, chunk) are durable, over all disks as the
			 * driver counts them. */
};

struct hvri_durable {
	struct hvri_point point;
	struct hvrepl_uuid handover;
	bool closed;
	struct hvri_frontier frontier;
};

struct hvri_handover {
	struct hvrepl_uuid epoch; /* The child. */
	struct hvrepl_uuid parent;
	uint64_t ordinal;
	uint64_t point; /* GRANT, OWNED: exactly this one. */
};

struct hvri_join {
	struct hvrepl_uuid epoch; /* To come into. */
	struct hvri_point from;   /* READY: what the sender's disk is. */
	bool exact;     /* READY: disk is a point the receiver has: no set. */
	bool untrusted; /* READY: compare everything. */
	bool hot;       /* READY: some of the ranges are hot regions. */
	uint64_t ranges, bytes; /* READY: sums over all RANGES sent. */
	uint8_t digest[16];     /* READY: running digest over them. */
};

#define HVRI_RANGES_HOT (1u << 0) /* May have changed: compare by digest. */
struct hvri_ranges {
	uint32_t sequence; /* 0, 1, 2... of one join. */
	uint32_t disk;
	uint32_t flags;
	uint32_t count;
	const uint8_t *extents; /* count * 16 bytes, see hvri_ranges_get(). */
};

struct hvri_discard {
	struct hvrepl_uuid loser, winner; /* Epochs. */
	/* The sender's, by which one that comes again is known: it is sent again until
	 * it is answered. 0 to and from a peer without HVRI_FEATURE_DISCARD_JOB. */
	uint64_t job;
};

struct hvri_operation {
	uint64_t job;
	uint32_t operation; /* HVREPL_OPERATION_* */
	uint64_t point;     /* 0: newest. */
	struct hvrepl_uuid epoch;
};

#define HVRI_SENTENCE_MAX 255u
struct hvri_answer {
	uint8_t about;  /* Type of the message answered. */
	uint64_t job;   /* OPERATION: its job. */
	struct hvrepl_uuid epoch; /* Of what was asked. */
	int32_t code;
	char sentence[HVRI_SENTENCE_MAX + 1];
};

struct hvri_status {
	uint8_t mode, state, pause, phase;
	bool refuses; /* Does not take our frames until an operator decides. */
	int32_t error_code;
	uint64_t newest_point;
	/* Owner: bytes changed that the receiver does not have, in a cut on its
	 * way or in none. Sent only to a peer of HVRI_FEATURE_UNSHIPPED, and
	 * only when known; else HVREPL_BYTES_UNKNOWN. */
	uint64_t unshipped_bytes;
};

struct hvri_message {
	uint32_t type; /* enum hvri_message_type */
	uint64_t from_incarnation;
	uint64_t to_incarnation; /* 0: not known yet; HELLO only. */
	/* HELLO: how many the sender has sent since it started, with this one;
	 * 0 to a peer without HVRI_FEATURE_HELLO_NUMBER, and in all others. */
	uint32_t number;
	/* HELLO and ENABLE; borrowed: on sending from the relationship until
	 * its next step, on decoding from the caller's storage. */
	const struct hvri_claim *claim;
	const struct hvri_setup *setup; /* ENABLE */
	union {
		struct hvri_cut_begin cut;
		struct hvri_progress progress;
		struct hvri_durable durable;
		struct hvri_handover handover;
		struct hvri_join join;
		struct hvri_ranges ranges;
		struct hvri_discard discard;
		struct hvri_operation operation;
		struct hvri_status status;
		/* REMOVE: the epoch it is for; none from an older peer. */
		struct {
			struct hvrepl_uuid epoch;
		} remove;
	} u;
	struct hvri_answer answer; /* ANSWER; CUT_DECLINE: code, sentence. */
};

/* Numbers that are counted on from, of points, epochs and states of a record: more than
 * any site comes to, and so few that what goes on from a peer's never wraps. One that
 * says a greater one is refused. */
#define HVRI_COUNTER_MAX (UINT64_C(1) << 62)

/* Where decode puts what a message points at; it need not be cleared. */
struct hvri_message_storage {
	struct hvri_claim claim;
	struct hvri_setup setup;
};

/* As a node of these features (HVRI_FEATURE_*) reads it: itself, or *older_out, which
 * is it without what that node does not know. */
const struct hvri_message *hvri_message_for(const struct hvri_message *message,
					    uint64_t features,
					    struct hvri_message *older_out);
/* What it says that it is, unlooked at; 0: too short to say. */
uint32_t hvri_message_type(const void *bytes, size_t length);
HVRI_MUST_CHECK int32_t hvri_message_encode(const struct hvri_message *message,
					    void *out, size_t size,
					    size_t *length_out);
/* PROTOCOL: malformed or beyond a limit. PEER_VERSION: a newer version. `bytes`
 * must outlive the message (RANGES points into them). */
HVRI_MUST_CHECK int32_t
hvri_message_decode(const void *bytes, size_t length,
		    struct hvri_message_storage *storage,
		    struct hvri_message *message_out);
/* The i-th extent of a decoded RANGES. */
struct hvrepl_extent hvri_ranges_get(const struct hvri_ranges *ranges,
				     uint32_t i);
/* Encode extents for hvri_ranges.extents: 16 bytes each. */
void hvri_ranges_put(uint8_t *out, uint32_t i, struct hvrepl_extent extent);
/* Running digest of a join: over all RANGES in order. */
void hvri_ranges_digest(uint8_t digest_inout[16],
			const struct hvri_ranges *ranges);
const char *hvri_message_name(uint32_t type);
#endif
