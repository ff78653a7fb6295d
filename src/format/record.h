/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A site's durable record of one VM (protocols O1): lineage, ownership and what
 * is under way. Pure: bytes <-> struct. docs/formats.md has every byte.
 *
 * Decided on by src/replication only; everybody else reads.
 */
#ifndef HVRI_FORMAT_RECORD_H
#define HVRI_FORMAT_RECORD_H

#include "base/digest.h"

#include <hvrepl/relationship.h>
#include <hvrepl/store.h>
#include <stdbool.h>

#define HVRI_EPOCHS_MAX 128u /* Of one lineage. */
#define HVRI_DISKS_MAX 64u   /* Of one VM. */
#define HVRI_VM_NAME_MAX 63u /* Bytes, without the zero. */

/* A generation of ownership. */
struct hvri_epoch {
	struct hvrepl_uuid id;
	struct hvrepl_uuid parent; /* None: the first. */
	struct hvrepl_uuid owner;  /* Site that may write in it. */
	uint64_t ordinal;    /* Larger than all its drawer knew; from 1. */
	uint64_t fork_point; /* Number of the parent's point it starts from. */
	uint8_t outcome;     /* HVREPL_OUTCOME_* */
	bool planned;        /* Child of a handover (O4). */
	bool entered;        /* Its owner took it; only the owner sets this. */
};

struct hvri_lineage {
	/* Epochs of a smaller ordinal were pruned, but for those that are here. */
	uint64_t floor;
	uint32_t count;
	struct hvri_epoch epochs[HVRI_EPOCHS_MAX];
};

/* Identity of a recovery point (O2), and its label. */
struct hvri_point {
	struct hvrepl_uuid epoch;
	uint64_t number; /* 0: none. Never returns, grows along a path. */
	struct hvrepl_uuid cut;
	uint64_t utc_ns;
};

struct hvri_disk_info {
	struct hvrepl_uuid id;
	uint64_t size; /* Bytes. */
	uint32_t block_size;
	char name[HVRI_VM_NAME_MAX + 1];
};

/* How far content has come, over all disks in order: disks before `disk` are
 * done, `disk` up to `offset`. */
struct hvri_frontier {
	uint32_t disk;
	uint64_t offset;
};

#define HVRI_START_ALLOW 0u
#define HVRI_START_REFUSE 1u

struct hvri_policy {
	uint64_t cycle_ns;      /* Between recovery points. */
	uint64_t window_bytes;  /* Of initial replication and resync (L1). */
	uint64_t start_wait_ns; /* O3 */
	uint32_t start_without_peer; /* HVRI_START_* */
	uint32_t points_max;    /* Kept at the replica. */
	bool fence_diverged;    /* Stop writing when both sites wrote. */
	bool manual_resync;     /* Do not start a needed one by itself. */
};

/* Where replication stands; state, which is shown, follows from it. */
enum hvri_phase {
	HVRI_PHASE_NONE,
	HVRI_PHASE_READY,       /* Enabled; initial replication not started. */
	HVRI_PHASE_INITIAL,     /* Windows straight into the peer's base. */
	HVRI_PHASE_DELTA,       /* A point each cycle. */
	HVRI_PHASE_RESYNC_WANTED,
	HVRI_PHASE_RESYNC,      /* Whole-disk compare by windows, then a cut. */
	HVRI_PHASE_FAILED_OVER, /* In an epoch entered here; not reversed. */
	HVRI_PHASE_JOIN,        /* Reverse under way: agreeing on the set. */
	HVRI_PHASE_WAITING,     /* Old primary, waits for the reverse. */
	HVRI_PHASE_ERROR,       /* `error_code` says why; operator resumes. */
	HVRI_PHASE_REMOVED,     /* Local part gone; the peer is to be told. */
	HVRI_PHASE_COUNT
};

/* What the VM's bytes are at this site. */
enum hvri_form {
	HVRI_FORM_NONE,
	HVRI_FORM_LIVE,    /* A plain disk under a tracker. */
	HVRI_FORM_STORE,   /* Base and logs; receives. */
	HVRI_FORM_OVERLAY, /* View of `failover` + durable overlay, tracked. */
	HVRI_FORM_FOLDING, /* The same while commit folds it in. */
	HVRI_FORM_COUNT
};

#define HVRI_PAUSE_FETCH (1u << 0) /* Do not cut and send / not receive. */
#define HVRI_PAUSE_APPLY (1u << 1) /* Replica: receive, do not merge. */

enum hvri_verdict_kind {
	HVRI_VERDICT_NONE,
	HVRI_VERDICT_SUPERSEDED,
	HVRI_VERDICT_DIVERGED
};

/* A job under way; one at a time. */
struct hvri_job {
	uint64_t id; /* 0: none. */
	uint32_t operation; /* HVREPL_OPERATION_* */
	bool asked_by_peer; /* Typed at the other site; it wants the answer. */
	struct hvrepl_uuid epoch; /* Drawn once for the job. */
	uint64_t point;
};

/* What a failover without the peer gives up: everything after a point. Bytes
 * may be HVREPL_BYTES_UNKNOWN. src/replication/loss.h has how they are made. */
struct hvri_loss {
	uint64_t point;        /* Number; 0: nothing to say. */
	uint64_t point_utc_ns;
	uint64_t utc_ns;       /* When the peer was given up. */
	uint64_t said_bytes;   /* Never arrived, as the peer itself said. */
	uint64_t tail_bytes;   /* The same, estimated up to `utc_ns`. */
	uint64_t skipped_bytes; /* Of points here that are newer. */
};

struct hvri_record {
	struct hvrepl_uuid id;   /* Random, new with each record made. */
	uint64_t generation;     /* Grows with each change of ownership. */
	uint64_t said_generation; /* Greatest one ever told to the peer. */
	struct hvrepl_uuid peer_id; /* The peer's, as last seen. */
	uint64_t peer_generation;

	struct hvrepl_uuid vm;
	struct hvrepl_uuid site;
	struct hvrepl_uuid peer;
	char vm_name[HVRI_VM_NAME_MAX + 1];
	struct hvri_policy policy;
	uint32_t disk_count;
	struct hvri_disk_info disks[HVRI_DISKS_MAX];

	uint8_t mode;      /* HVREPL_MODE_* */
	uint8_t phase;     /* enum hvri_phase */
	uint8_t phase_before; /* Of ERROR: what resume goes back to. */
	uint8_t form;      /* enum hvri_form */
	uint8_t ownership; /* HVREPL_OWNERSHIP_* */
	uint8_t pause;     /* HVRI_PAUSE_* */
	bool rolled_back;  /* This record was restored from a backup (O2). */
	bool untrusted;    /* Tracking was lost: compare everything (T8). */
	bool dirty;        /* Writes were possible since the last cut. */
	bool peer_enabled; /* The peer has its side of the relationship. */
	bool peer_has_points; /* It could fail over: arming must wait (O3). */
	bool handover_clean;  /* Standby by handover: disk is exactly `position`. */
	bool adopted;      /* The store's base is this site's own live disk. */
	bool tail_pinned;
	int32_t error_code;

	struct hvri_lineage lineage;
	struct hvrepl_uuid current;      /* Epoch. */
	struct hvrepl_uuid relinquished; /* Child given away, or none (O4). */
	uint64_t relinquished_point;

	uint8_t verdict; /* enum hvri_verdict_kind, about this pair: */
	struct hvrepl_uuid verdict_mine;
	struct hvrepl_uuid verdict_peer;
	struct hvrepl_uuid discard_loser; /* Pair; none: no discard. */
	struct hvrepl_uuid discard_winner;
	struct hvrepl_uuid joining; /* Epoch to come into (join), or none. */

	uint64_t point_reserved;     /* Smaller numbers may be in use (T6). */
	struct hvri_point position;  /* Standby: newest complete point held. */
	/* Owner: newest cut named. Who receives a first content: the window of it that
	 * was begun last, whose bytes may be in the base in part (O1). */
	struct hvri_point last_cut;
	struct hvri_point last_acked; /* Owner: newest the peer has; lazy. */
	struct hvri_point failover;  /* The point an overlay lies on. */
	struct hvrepl_uuid overlay;  /* Its name: the epoch it was made for. */
	struct hvri_point tail;      /* Own end kept as a point, or none. */
	struct hvri_frontier frontier;
	struct hvri_job job;
	struct hvri_loss loss; /* Of the failover that stands. */
};

/* Its disk is the point of the handover by itself: the guest has not written since. */
static inline bool hvri_is_handed_over(const struct hvri_record *rec)
{
	return rec->ownership == HVREPL_OWNERSHIP_STANDBY && rec->handover_clean;
}

/* Longest encoding. */
#define HVRI_RECORD_ENCODED_MAX 32768u

/* LIMIT when `size` is too small. */
HVRI_MUST_CHECK int32_t hvri_record_encode(const struct hvri_record *record,
					   void *out, size_t size,
					   size_t *length_out);
/* CORRUPT, TRUNCATED, FORMAT_TOO_NEW; every enum and limit is checked. */
HVRI_MUST_CHECK int32_t hvri_record_decode(const void *bytes, size_t length,
					   struct hvri_record *record_out);
#endif
