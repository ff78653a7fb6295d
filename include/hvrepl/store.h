/* SPDX-License-Identifier: Apache-2.0 */
/* The replica's side: recovery points of one VM, views of them, failover. */
#ifndef HVREPL_STORE_H
#define HVREPL_STORE_H

#include <hvrepl/disk.h>
#include <hvrepl/env.h>
#include <hvrepl/error.h>
#include <hvrepl/storage.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The replica of one VM: a base disk for each of its disks, and ordered logs
 * in a storage. Needs no node and no network. A storage holds one store; the
 * store's objects are named "store.*", other names are left alone.
 *
 * Threads: every function may be called from any thread. Those that change
 * the store take turns; views are read and written beside them. The functions
 * that end a handle must be the last ones to use it.
 */
typedef struct hvrepl_store hvrepl_store;

/** Access to all disks of the VM as of one recovery point. */
typedef struct hvrepl_view hvrepl_view;

#define HVREPL_STORE_DISKS_MAX 64u
/** Most points kept besides the newest, pinned ones not counted. */
#define HVREPL_POINTS_MAX 24u
/** Longest configuration of a VM kept with a point, bytes. */
#define HVREPL_CONFIG_MAX (256u << 10)
/** Longest blob kept for the owner of the store, bytes. */
#define HVREPL_STORE_BLOB_MAX (64u << 10)

/** One disk of the VM; the base is taken (see struct hvrepl_disk). */
struct hvrepl_store_disk {
	struct hvrepl_uuid disk; /* Id of the disk: the segments' one. */
	struct hvrepl_disk base; /* Written by the store alone. */
};

/** Make a new store; EXISTS when the storage holds one. */
#define HVREPL_STORE_CREATE (1u << 0)

/** Base follows the newest point; older ones are undone. The default. */
#define HVREPL_BASE_AT_NEWEST 0u
/** Base stays at the oldest point; newer ones are redone. */
#define HVREPL_BASE_AT_OLDEST 1u

/** How a store is opened. Zero means the default everywhere. */
struct hvrepl_store_options {
	uint32_t struct_size;
	uint32_t flags;         /* HVREPL_STORE_* */
	struct hvrepl_uuid vm;  /* Checked when opening. */
	uint32_t points_max;    /* Besides the newest; 0 to 24. */
	/* Kept even when space runs out; at most points_max. */
	uint32_t points_min;
	uint32_t base_at;       /* HVREPL_BASE_AT_* */
	int32_t compression;    /* zstd level of what the store packs itself. */
	/**
	 * Bytes that logs, and what is written to a view for a test, may take;
	 * 0: unlimited. A VM that runs here after a failover is held to the
	 * volume only. Opening with less than pinned points, the newest and the
	 * reserve need is refused with NO_SPACE and the numbers; without a
	 * capacity the store opens always.
	 */
	uint64_t capacity;
	uint64_t reserve;       /* Bytes only merge and drop may use. */
	uint64_t high_water;    /* Old points go above this; 0: 90 %. */
	uint64_t cache_bytes;   /* Decoded frames kept; 0: 4 MiB. */
	uint64_t container_bytes; /* Size at which a log file is full. */
	/**
	 * Never lower than that of any earlier opener: a lower one is FENCED,
	 * and an opener that finds a head written by another stops.
	 */
	uint64_t fencing_token;
	/**
	 * May a base be taken as unchanged by others after an unclean end? As
	 * token_check of struct hvrepl_tracker_options; called while opening,
	 * with token_user. Optional: then only an equal token, or
	 * HVREPL_DISK_EXCLUSIVE, counts.
	 */
	int32_t (*token_check)(void *token_user, const uint8_t *saved,
			       uint32_t saved_length, uint64_t saved_utc_ns,
			       const uint8_t *now, uint32_t now_length);
	void *token_user; /* Borrowed until the call returns. */
};
#define HVREPL_STORE_OPTIONS_INIT \
	{ sizeof(struct hvrepl_store_options), 0, { { 0 } }, 0, 0, 0, 0, 0, 0, \
	  0, 0, 0, 0, 0, 0 }

/**
 * Open or create, and recover from whatever happened before.
 *
 * @param env      Copied; its user borrowed until the store is gone.
 * @param storage  Taken: its release is called once, also on failure.
 * @param disks    Copied; each base is taken, also on failure.
 * @param error    Optional.
 * @return EXISTS, NOT_FOUND, WRONG_DISK (other VM, disk id or size), FENCED,
 *         CORRUPT or TRUNCATED (committed bytes are damaged; nothing was
 *         changed), FORMAT_TOO_NEW, NO_SPACE, STORAGE_IO, DISK_IO, NOMEM.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_store_open(const struct hvrepl_env *env,
				     const struct hvrepl_storage *storage,
				     const struct hvrepl_store_disk *disks,
				     uint32_t disk_count,
				     const struct hvrepl_store_options *options,
				     hvrepl_store **store_out,
				     struct hvrepl_error *error);
/** Let go of everything; BUSY while a view is open. NULL is fine. @since 0.1 */
HVREPL_API int32_t hvrepl_store_destroy(hvrepl_store *store);
/**
 * Remove every object of a store; the base disks are left as they are. The
 * store must not be open. `storage` is taken. @since 0.1
 */
HVREPL_API int32_t hvrepl_store_remove(const struct hvrepl_env *env,
				       const struct hvrepl_storage *storage,
				       struct hvrepl_error *error);

/** Nothing received yet. */
#define HVREPL_STORE_EMPTY 0u
/** The first content is on its way into the base; no point exists. */
#define HVREPL_STORE_INITIAL 1u
/** Receives; points exist. */
#define HVREPL_STORE_REPLICA 2u
/** A durable overlay exists on one point. */
#define HVREPL_STORE_FAILOVER 3u
/** The overlay is being folded into the base; may still be cancelled. */
#define HVREPL_STORE_FOLDING 4u
/** Past the first direct range: the other points are gone. */
#define HVREPL_STORE_SWITCHING 5u
/** The base is being put back to what it was before the commit. */
#define HVREPL_STORE_RESTORING 6u
/** The base is plainly the current disk; no points. */
#define HVREPL_STORE_BASE_ONLY 7u

struct hvrepl_store_info {
	uint32_t struct_size;
	uint32_t state;        /* HVREPL_STORE_* */
	uint32_t point_count;
	uint32_t disk_count;
	uint64_t base_point;   /* 0: none. */
	uint64_t merge_target; /* 0: no merge runs. */
	uint64_t newest_point; /* 0: none. */
	uint64_t failover_point; /* 0: no durable overlay. */
	uint64_t used_bytes;   /* Of the storage. */
	uint64_t live_bytes;   /* Of that, what points still need. */
	uint64_t generation;   /* Of the head; moves with each record. */
	uint32_t accepting;    /* 0: receiving is refused for lack of space. */
	uint32_t poisoned;     /* 1: a flush failed; destroy and open again. */
	/**
	 * Newest point in doubt, for a base was changed outside (protocols T9)
	 * or a log is damaged (S1); 0: none. Such points go once there is one
	 * that is not.
	 */
	uint64_t doubted_point;
	uint32_t newest_doubted; /* 1: what the store holds now is in doubt. */
	uint32_t reserved;     /* 0 */
};
#define HVREPL_STORE_INFO_INIT \
	{ sizeof(struct hvrepl_store_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
	  0, 0, 0 }
/** @return HVREPL_OK, INVALID. Any thread. @since 0.1 */
HVREPL_API int32_t hvrepl_store_info(hvrepl_store *store,
				     struct hvrepl_store_info *info_out);

/* Why a point is pinned; a set. */
#define HVREPL_PIN_OPERATOR (1u << 0)
#define HVREPL_PIN_TEST (1u << 1)
#define HVREPL_PIN_FAILOVER (1u << 2)
#define HVREPL_PIN_TAIL (1u << 3) /* Unacknowledged end of a lost epoch. */
#define HVREPL_PIN_VERIFY (1u << 4)

/** A number of bytes that is not known. */
#define HVREPL_BYTES_UNKNOWN UINT64_MAX

/* In doubt (T9, S1): what it stands on was changed outside or is damaged. It is read
 * only as it is (HVREPL_VIEW_AS_IS), and failed over to only where it is named. When the
 * other site has compared, newer points are right, and it is given up as soon as
 * nothing holds it. @since 0.1 */
#define HVREPL_POINT_DOUBTED (1u << 0)

/** One recovery point. */
struct hvrepl_point {
	uint32_t struct_size;
	uint32_t pins; /* HVREPL_PIN_* */
	/**
	 * Key of the point in this store: ascending, never 0, never used
	 * again. Equal to `number` unless two epochs' numbers overlap.
	 */
	uint64_t point;
	uint64_t number;          /* As the primary numbered it. */
	struct hvrepl_uuid epoch; /* (epoch, number, cut) is its identity. */
	struct hvrepl_uuid cut;
	uint64_t utc_ns;          /* A label. */
	uint64_t config_version;  /* 0: no configuration came with it. */
	uint64_t stored_bytes;    /* Of its log; 0 once merged. */
	/**
	 * Bytes of the disks that were changed between the point before it in
	 * the list and it; where points in between were dropped, the sum of
	 * theirs, so that bytes changed twice count twice.
	 * HVREPL_BYTES_UNKNOWN: the first content, or written by a version that
	 * did not keep it. @since 0.1
	 */
	uint64_t changed_bytes;
	uint32_t flags; /* HVREPL_POINT_* @since 0.1 */
	uint32_t reserved;
};
#define HVREPL_POINT_INIT \
	{ sizeof(struct hvrepl_point), 0, 0, 0, { { 0 } }, { { 0 } }, 0, 0, 0, \
	  0, 0, 0 }

/**
 * The points, oldest first. `points` has room for *count_inout elements, the
 * first with struct_size set; *count_inout gets the number that exist.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_store_points(hvrepl_store *store,
				       struct hvrepl_point *points,
				       uint32_t *count_inout);
/**
 * Add to the pins of a point; durable on return. NOT_FOUND; BUSY: a commit is
 * under way, which gives up all points. @since 0.1
 */
HVREPL_API int32_t hvrepl_store_pin(hvrepl_store *store, uint64_t point,
				    uint32_t pins);
HVREPL_API int32_t hvrepl_store_unpin(hvrepl_store *store, uint64_t point,
				      uint32_t pins);
/**
 * Give up a point; durable on return. BUSY while it is pinned, viewed, the
 * newest one, or under a durable overlay. @since 0.1
 */
HVREPL_API int32_t hvrepl_store_drop(hvrepl_store *store, uint64_t point,
				     struct hvrepl_error *error);
/**
 * Configuration of the VM as of a point (S9). *length_inout: room in `buffer`,
 * then length; LIMIT when the room is too small. @since 0.1
 */
HVREPL_API int32_t hvrepl_store_config(hvrepl_store *store, uint64_t point,
				       void *buffer, uint32_t *length_inout);

/**
 * One bounded piece of upkeep: retention, merging the base forward,
 * compaction. *more_out: 1 when another call has something to do.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_store_maintain(hvrepl_store *store,
					 uint32_t *more_out,
					 struct hvrepl_error *error);

/** Only reads. */
#define HVREPL_VIEW_READ_ONLY 0u
/** Writes go to an overlay that goes with the view: a test failover. */
#define HVREPL_VIEW_SCRATCH 1u
/**
 * Writes go to a durable overlay: a failover. At most one exists in a store;
 * it outlives the view and crashes, until cancel or commit. Opening again
 * finds it; `point` must be its point or 0.
 */
#define HVREPL_VIEW_FAILOVER 2u
/**
 * Added to one of the above: also a point in doubt, as its bytes are now. With
 * it the caller says that wrong content is better than none.
 */
#define HVREPL_VIEW_AS_IS (1u << 8)

/**
 * Open a view of a point at once, whatever its age. The point stays while the
 * view is open.
 * @return NOT_FOUND, STATE (other failover or commit in the way), UNTRUSTED
 *         (the point is in doubt; see HVREPL_VIEW_AS_IS), NO_SPACE...
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_view_open(hvrepl_store *store, uint64_t point,
				    uint32_t kind, hvrepl_view **view_out,
				    struct hvrepl_error *error);
/** BUSY while a disk of it is still held. NULL is fine. Not a flush: writes of
 * a FAILOVER view that were not flushed before may be gone. @since 0.1 */
HVREPL_API int32_t hvrepl_view_close(hvrepl_view *view);
/** The point it shows. */
HVREPL_API uint64_t hvrepl_view_point(const hvrepl_view *view);
/**
 * Disk `index` of the view, in the form the library takes disks: call its ops
 * from any thread, hand it to a tracker or serve it. The caller owns it and
 * calls disk_out->release(disk_out->user) once, before closing the view.
 * Writes need a SCRATCH or FAILOVER view; a flush of a FAILOVER view's disk makes
 * writes to it that were completed survive a crash. It fails once more where a commit
 * flushed the disk itself, and that failed.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_view_disk(hvrepl_view *view, uint32_t index,
				    struct hvrepl_disk *disk_out);

/**
 * Fold the durable overlay into the base while the VM runs on the view (S8).
 * BUSY while another point is pinned or viewed: commit drops all points. Then
 * call hvrepl_store_commit_advance() until *more_out is 0. After a crash open
 * the store and the view again and begin again: it goes on where it was.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_store_commit_begin(hvrepl_store *store,
					     struct hvrepl_error *error);
HVREPL_API int32_t hvrepl_store_commit_advance(hvrepl_store *store,
					       uint32_t *more_out,
					       struct hvrepl_error *error);
/**
 * Throw the durable overlay away; a commit is undone up to state FOLDING.
 * The view must be closed. Call until *more_out is 0. STATE when there is
 * nothing to cancel or the commit is past that. @since 0.1
 */
HVREPL_API int32_t hvrepl_store_cancel(hvrepl_store *store, uint32_t *more_out,
				       struct hvrepl_error *error);

#ifdef __cplusplus
}
#endif
#endif
