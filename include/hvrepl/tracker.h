/* SPDX-License-Identifier: Apache-2.0 */
/* Change tracking: which blocks of which disk were written, whatever happens. */
#ifndef HVREPL_TRACKER_H
#define HVREPL_TRACKER_H

#include <hvrepl/disk.h>
#include <hvrepl/env.h>
#include <hvrepl/error.h>
#include <hvrepl/storage.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A cut group: trackers whose disks are cut at one instant. The trackers of a
 * VM, or of several VMs, share one. It owns the spool and the pump.
 */
typedef struct hvrepl_group hvrepl_group;
/** The change tracker of one disk. */
typedef struct hvrepl_tracker hvrepl_tracker;

/** zstd level meaning "do not compress"; 0 means the default, 1. */
#define HVREPL_LEVEL_STORE INT32_MIN

struct hvrepl_group_options {
	uint32_t struct_size;
	int32_t level;         /* zstd level of spooled chunks; 0: 1. */
	uint64_t spool_memory; /* Bytes of chunks held in memory; 0: 64 MiB. */
	uint64_t spill_limit;  /* Bytes of chunks in `spill`; 0: 1 GiB. */
	/**
	 * Where chunks go when memory is used up; NULL: nowhere, a cut that
	 * does not fit is given up (its changes stay tracked). Taken, as
	 * described at struct hvrepl_storage.
	 */
	const struct hvrepl_storage *spill;
	/** Start of the ids of spill objects (a dash and 32 hexadecimal digits
	 * follow), copied; such objects that are there already are remains of
	 * a crash and are removed: groups that share a storage need different
	 * ones. NULL: "spool". */
	const char *spill_prefix;
	/** The longest a guest write may be held up; 0: 50 ms (T3). */
	uint64_t write_wait_ns;
	/** A region not written for this long may cool; 0: 10 s (T7). */
	uint64_t cool_after_ns;
	/**
	 * hvrepl_group_process() has work, or hvrepl_group_deadline() moved.
	 * Any thread, no locks held; must not call into the group. Optional:
	 * with env.execute the group schedules itself (deadlines excepted),
	 * with neither the slow part of write_begin runs on its caller.
	 */
	void (*wake)(void *user);
	void *wake_user;
};
#define HVREPL_GROUP_OPTIONS_INIT \
	{ sizeof(struct hvrepl_group_options), 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/**
 * Make a cut group without trackers.
 *
 * @param env      Copied; its `user` is borrowed until the group is destroyed.
 * @param options  NULL for defaults.
 * @param error    Optional.
 * @param group_out  Set on success only.
 * @returns HVREPL_OK, INVALID, TOO_NEW, NOMEM, STORAGE_IO.
 * @threadsafety  Any thread.
 * @since 0.1
 */
HVREPL_API int32_t
hvrepl_group_create(const struct hvrepl_env *env,
		    const struct hvrepl_group_options *options,
		    struct hvrepl_error *error, hvrepl_group **group_out);

/**
 * Destroy a group.
 * @returns HVREPL_OK (NULL too); BUSY while it has trackers, cuts, or a pump
 *          job on the executor.
 * @threadsafety  No other call on the group may run.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_group_destroy(hvrepl_group *group);

/**
 * The pump: makes marks durable, copies blocks that held-up writes are about
 * to overwrite, ends waits at their deadline, cools regions. Does I/O through
 * the disk and storage callbacks of the trackers, and completes tickets.
 *
 * A call that hangs in a callback does not stop another thread's call from
 * ending waits: applications whose storage may hang call it from a timer of
 * its own at hvrepl_group_deadline().
 *
 * @returns HVREPL_OK.
 * @threadsafety  Any thread, several at once; not from the group's callbacks.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_group_process(hvrepl_group *group);

/**
 * When hvrepl_group_process() is next due, in env's monotonic nanoseconds;
 * 0: now; UINT64_MAX: never. Any thread. @since 0.1
 */
HVREPL_API uint64_t hvrepl_group_deadline(hvrepl_group *group);

/** There is no tracker file yet: make it. EXISTS if there is one. */
#define HVREPL_TRACKER_CREATE (1u << 0)
/** Fail a write whose mark cannot be made durable in time (T8). */
#define HVREPL_TRACKER_STRICT (1u << 1)
/** "Untrusted" was made durable elsewhere: the whole disk counts as changed. */
#define HVREPL_TRACKER_UNTRUSTED (1u << 2)
/** Open although the file says that another owner has it open: the caller
 * knows that owner to be dead. */
#define HVREPL_TRACKER_TAKE_OVER (1u << 3)
/** The file is missing or damaged, or of this disk when it had another size: make
 * it anew, the whole disk changed. Not one that says it is another disk's. */
#define HVREPL_TRACKER_REBUILD (1u << 4)

struct hvrepl_tracker_options {
	uint32_t struct_size;
	uint32_t flags;          /* HVREPL_TRACKER_* */
	struct hvrepl_uuid vm;
	struct hvrepl_uuid disk; /* Must match an existing file. */
	struct hvrepl_uuid owner; /* Of this host; the same after a restart. */
	/** Id of the tracker file in the storage, copied. Mandatory. */
	const char *object_id;
	/** Granularity of tracking, bytes, a power of two from 512 to 65536
	 * and not below the disk's block_size; 0: 4096. CREATE only. */
	uint32_t block_size;
	/** Granularity of crash recovery, bytes, a power of two from 64 KiB to
	 * 2 GiB, at least 64 blocks; 0: 16 MiB. CREATE only. */
	uint32_t region_size;
	/**
	 * Make durable, elsewhere than in the tracker file, that after a crash
	 * the whole disk must be compared (`trusted` 0), or no longer (1): T8.
	 * Called when the file cannot be written in time, and when it could be
	 * again. Returns as disk callbacks do (OK, PENDING, negative); any
	 * thread. Optional: without it such writes fail.
	 */
	int32_t (*trust)(void *user, hvrepl_op *op, uint32_t trusted);
	/**
	 * After an unclean end: may the disk be taken as unchanged by others,
	 * given the token last saved, when (UTC ns), and the token now?
	 * Returns 1 or 0. Optional: without it only a disk that promises
	 * HVREPL_DISK_EXCLUSIVE is (T9).
	 */
	int32_t (*token_check)(void *user, const uint8_t *saved,
			       uint32_t saved_length, uint64_t saved_utc_ns,
			       const uint8_t *now, uint32_t now_length);
	void *user; /* Of the two callbacks above. */
};
#define HVREPL_TRACKER_OPTIONS_INIT                                        \
	{ sizeof(struct hvrepl_tracker_options), 0, { { 0 } }, { { 0 } },  \
	  { { 0 } }, 0, 0, 0, 0, 0, 0 }

/**
 * Put a disk under tracking: from here on every write to it must be wrapped in
 * write_begin / write_end. What the file says about earlier changes is in
 * hvrepl_tracker_get_info().
 *
 * @param disk     Taken, also on failure. Read for cuts, flushed for cooling.
 * @param storage  Where the tracker file lies. Taken, also on failure.
 * @returns HVREPL_OK; INVALID, NOT_FOUND (no file; CREATE), EXISTS, BUSY (open
 *          for another owner; TAKE_OVER), WRONG_DISK (ids; size, then REBUILD),
 *          CORRUPT or TRUNCATED (REBUILD), FORMAT_TOO_NEW, NOMEM, DISK_IO,
 *          STORAGE_IO, NO_SPACE, CALLBACK (random).
 * @threadsafety  Any thread.
 * @since 0.1
 */
HVREPL_API int32_t
hvrepl_tracker_attach(hvrepl_group *group, const struct hvrepl_disk *disk,
		      const struct hvrepl_storage *storage,
		      const struct hvrepl_tracker_options *options,
		      struct hvrepl_error *error,
		      hvrepl_tracker **tracker_out);

/** Save the exact map and say "closed" in the file. */
#define HVREPL_DETACH_CLEAN (1u << 0)

/**
 * End tracking and free the handle. With CLEAN, the disk is flushed and the
 * exact map saved first, so that an attach (also elsewhere) goes on exactly;
 * if that fails the tracker stays attached. Without it the file is left as a
 * crash would leave it.
 *
 * @returns HVREPL_OK (NULL too); BUSY while writes are in flight or waiting,
 *          or a cut of this disk is not closed; DISK_IO, STORAGE_IO, NO_SPACE,
 *          NOMEM; POISONED: the file may say "closed" and could not be told
 *          otherwise, writes are refused.
 * @threadsafety  No other call on the tracker may run.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_tracker_detach(hvrepl_tracker *tracker,
					 uint32_t flags);

#define HVREPL_WRITE_DATA 0u
#define HVREPL_WRITE_ZERO 1u
#define HVREPL_WRITE_DISCARD 2u

/**
 * One guest write on its way. Owned by the caller, zeroed (or _INIT) before
 * write_begin, not moved until write_end or a negative result.
 */
struct hvrepl_ticket {
	uint32_t struct_size;
	uint32_t reserved; /* Must be zero. */
	/**
	 * Called once if write_begin returned PENDING: OK means go on and write
	 * (write_end follows), negative as write_begin returns it. Any thread,
	 * perhaps before write_begin has returned; may call write_begin and
	 * write_end.
	 */
	void (*complete)(struct hvrepl_ticket *ticket, int32_t result);
	void *user;          /* The caller's. */
	uint64_t opaque[14]; /* The library's. */
};
#define HVREPL_TICKET_INIT \
	{ sizeof(struct hvrepl_ticket), 0, 0, 0, { 0 } }

/**
 * Announce a write to the disk, before it is submitted.
 *
 * The usual case (region hot, no cut open) takes no lock, allocates nothing
 * and makes no system call. Otherwise the ticket waits, at most write_wait_ns,
 * for a mark to be durable or for old content to be copied.
 *
 * @returns HVREPL_OK: write now, then call write_end. HVREPL_PENDING:
 *          ticket->complete will be called. FENCED: this write must not
 *          happen. RANGE, INVALID. BUSY (DISCARD only): a cut still needs
 *          these blocks; skip the discard. STORAGE_IO, TIMEOUT: the mark
 *          could not be made durable and the policy is strict, or "untrusted"
 *          could not be made durable either; fail the write.
 * @threadsafety  Any thread; callback-safe in ticket->complete only.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_tracker_write_begin(hvrepl_tracker *tracker,
					      uint64_t offset, uint64_t length,
					      uint32_t kind,
					      struct hvrepl_ticket *ticket);

/**
 * The write that `ticket` announced is over. Always follows a GO, also for a
 * failed write (its blocks stay dirty).
 *
 * @param result  What the disk said.
 * @returns What to tell the guest: `result`, or FENCED.
 * @threadsafety  Any thread; callback-safe in ticket->complete.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_tracker_write_end(hvrepl_tracker *tracker,
					    struct hvrepl_ticket *ticket,
					    int32_t result);

/**
 * Refuse writes from now on; those waiting end with FENCED, those in flight
 * may finish. Repeat it (after a wake) until it returns OK. In memory only.
 *
 * @returns HVREPL_OK: fenced, and no write is in flight. BUSY: fenced, writes
 *          are still in flight.
 * @threadsafety  Any thread.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_tracker_fence(hvrepl_tracker *tracker);
/** Take writes again. @returns HVREPL_OK. Any thread. @since 0.1 */
HVREPL_API int32_t hvrepl_tracker_unfence(hvrepl_tracker *tracker);

/**
 * Count blocks as changed, durably, though nobody wrote them: skipped points,
 * what the peer changed. Synchronous I/O. Where the file cannot be written they
 * count as changed in memory all the same.
 *
 * @param extents  Borrowed; each of at least one byte and on the disk; clipped
 *                 to whole blocks outwards.
 * @returns HVREPL_OK; RANGE: one is empty or not on the disk, and none was
 *          marked; STORAGE_IO, NO_SPACE.
 * @threadsafety  Any thread; not callback-safe.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_tracker_mark(hvrepl_tracker *tracker,
				       const struct hvrepl_extent *extents,
				       size_t count);
/** As hvrepl_tracker_mark() of the whole disk: initial replication, and
 * compares of it. Costs no memory. @since 0.1 */
HVREPL_API int32_t hvrepl_tracker_mark_all(hvrepl_tracker *tracker);

/** Who owned the disk's VM when, kept in the tracker file (O1). */
struct hvrepl_tracker_stamp {
	uint32_t struct_size;
	uint32_t reserved;
	struct hvrepl_uuid epoch;
	uint64_t generation;         /* Of the ownership record. */
	struct hvrepl_uuid record_id;
};
#define HVREPL_TRACKER_STAMP_INIT \
	{ sizeof(struct hvrepl_tracker_stamp), 0, { { 0 } }, 0, { { 0 } } }

/**
 * Save stamp, disk token (T9) and acknowledgement record, durably: once a
 * cycle, and with every new epoch. One write and one flush.
 *
 * @param stamp  NULL keeps the one there is.
 * @returns HVREPL_OK, BUSY (another has taken the file over: the tracker is
 *          fenced), STORAGE_IO, NO_SPACE, DISK_IO.
 * @threadsafety  Any thread; not callback-safe.
 * @since 0.1
 */
HVREPL_API int32_t
hvrepl_tracker_save(hvrepl_tracker *tracker,
		    const struct hvrepl_tracker_stamp *stamp);

#define HVREPL_RECOVERY_CREATED 0u /* New file: nothing is known changed. */
#define HVREPL_RECOVERY_CLEAN 1u   /* Closed cleanly: the map is exact. */
#define HVREPL_RECOVERY_HOT 2u     /* Crash: the hot regions are dirty. */
#define HVREPL_RECOVERY_WHOLE 3u   /* Cannot be trusted: all is dirty. */

#define HVREPL_REASON_NONE 0u
/* The file said "open", or the half of it that would say so is damaged. */
#define HVREPL_REASON_CRASH 1u
#define HVREPL_REASON_TOKEN 2u      /* The disk was changed untracked (T9). */
#define HVREPL_REASON_UNTRUSTED 3u  /* HVREPL_TRACKER_UNTRUSTED. */
#define HVREPL_REASON_REBUILT 4u    /* HVREPL_TRACKER_REBUILD. */
#define HVREPL_REASON_FINE_MAP 5u   /* The saved map is damaged. */

struct hvrepl_tracker_info {
	uint32_t struct_size; /* Set by the caller; never written past. */
	uint32_t recovery;    /* HVREPL_RECOVERY_*: what attach found... */
	uint32_t reason;      /* ...and HVREPL_REASON_*: why. */
	uint32_t fenced;      /* 0 or 1 */
	uint32_t untrusted;   /* 1: a crash now costs a whole compare. */
	uint32_t block_size;  /* Bytes. */
	uint32_t region_size; /* Bytes. */
	uint32_t reserved;
	uint64_t disk_size;     /* Bytes. */
	uint64_t dirty_bytes;   /* Changed, in no cut; an upper bound. */
	uint64_t compare_bytes; /* Of these marked by attach, not by writes. */
	uint64_t hot_regions;
	uint64_t writes_in_flight;
	uint64_t writes_waiting;
	uint64_t marks;      /* Regions made hot, since attach. */
	uint64_t flushes;    /* Of the tracker file. */
	uint64_t cooled;     /* Regions. */
	uint64_t waits;      /* Writes that were held up. */
	uint64_t copies;     /* Blocks copied before they were overwritten. */
	uint64_t incarnation; /* Of the file: how often it was attached. */
	struct hvrepl_uuid owner;  /* Before this attach. */
	struct hvrepl_uuid epoch;  /* The stamp, see hvrepl_tracker_save(). */
	uint64_t generation;
	struct hvrepl_uuid record_id;
	/** The newest acknowledgement on record: a replica older than this
	 * means a compare of the whole disk (T7). */
	struct hvrepl_uuid acknowledged_epoch;
	uint64_t acknowledged_point;
	struct hvrepl_uuid acknowledged_cut;
};
#define HVREPL_TRACKER_INFO_INIT                                           \
	{ sizeof(struct hvrepl_tracker_info), 0, 0, 0, 0, 0, 0, 0, 0, 0,   \
	  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, { { 0 } }, { { 0 } }, 0,           \
	  { { 0 } }, { { 0 } }, 0, { { 0 } } }

/**
 * Fill `info` (set its struct_size first). Counting dirty_bytes walks the map.
 * @returns HVREPL_OK, INVALID. Any thread; not callback-safe. @since 0.1
 */
HVREPL_API int32_t hvrepl_tracker_get_info(hvrepl_tracker *tracker,
					   struct hvrepl_tracker_info *info);

#ifdef __cplusplus
}
#endif
#endif
