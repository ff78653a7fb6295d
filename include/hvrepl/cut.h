/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts: one instant over all disks of a group, readable while writes go on. */
#ifndef HVREPL_CUT_H
#define HVREPL_CUT_H

#include <hvrepl/tracker.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A cut: the blocks changed since the last one, with their content as of one
 * instant. Writers go on; what they are about to overwrite is copied first.
 *
 * Two ways to use it. Spooled: call hvrepl_cut_advance() until DONE, the
 * content then lies in the spool and the disk is free again. Direct: list
 * with next_extents and read with hvrepl_cut_read(); then only overwritten
 * blocks take spool space, for as long as the cut is open.
 */
typedef struct hvrepl_cut hvrepl_cut;

/** What the next cuts of one disk are called and how far they reach. */
struct hvrepl_cut_label {
	uint32_t struct_size;
	uint32_t reserved;
	struct hvrepl_uuid epoch; /* All three go into the chunks' identity. */
	uint64_t from_point;
	uint64_t to_point;
	/**
	 * Bytes: changes at or beyond it stay out of the cut and stay dirty,
	 * so that initial replication goes by windows (L1). A multiple of the
	 * tracker's block size, or UINT64_MAX (as _INIT has it).
	 */
	uint64_t limit;
};
#define HVREPL_CUT_LABEL_INIT \
	{ sizeof(struct hvrepl_cut_label), 0, { { 0 } }, 0, 0, UINT64_MAX }

/**
 * Set the label used for this disk by cuts made from now on.
 * @returns HVREPL_OK, INVALID. Any thread. @since 0.1
 */
HVREPL_API int32_t
hvrepl_tracker_set_label(hvrepl_tracker *tracker,
			 const struct hvrepl_cut_label *label);

/**
 * Cut all disks of the group at one instant.
 *
 * @param flags  Must be zero.
 * @param cut_out  Owned by the caller; ends with hvrepl_cut_close().
 * @returns HVREPL_OK; BUSY: the one before is still open or has writes in
 *          flight (counted as a miss, T5); STATE: no trackers; NOMEM;
 *          CALLBACK (random).
 * @threadsafety  Any thread; not callback-safe.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_group_cut(hvrepl_group *group, uint32_t flags,
				    struct hvrepl_error *error,
				    hvrepl_cut **cut_out);

#define HVREPL_CUT_OPEN 1u    /* Disks are frozen for what is not read yet. */
#define HVREPL_CUT_SPOOLED 2u /* All in the spool; the disks are free. */
/** Given up: its changes count as changed again and the next cut has them. */
#define HVREPL_CUT_VOIDED 3u

struct hvrepl_cut_info {
	uint32_t struct_size; /* Set by the caller; never written past. */
	uint32_t state;       /* HVREPL_CUT_* */
	int32_t reason;       /* Why voided: TIMEOUT, NO_SPACE, LIMIT, ... */
	uint32_t disk_count;
	struct hvrepl_uuid id; /* Random (T6). */
	uint64_t utc_ns;       /* When; a label. */
	uint64_t changed_bytes; /* Of all disks; 0 until known. */
	uint64_t read_bytes;    /* Of these read so far. */
	uint64_t spool_bytes;   /* Encoded chunks held now. */
};
#define HVREPL_CUT_INFO_INIT \
	{ sizeof(struct hvrepl_cut_info), 0, 0, 0, { { 0 } }, 0, 0, 0, 0 }
/** @returns HVREPL_OK, INVALID. Any thread. @since 0.1 */
HVREPL_API int32_t hvrepl_cut_get_info(hvrepl_cut *cut,
				       struct hvrepl_cut_info *info);

struct hvrepl_cut_disk {
	uint32_t struct_size; /* Set by the caller; never written past. */
	uint32_t block_size;
	struct hvrepl_uuid vm;
	struct hvrepl_uuid disk;
	hvrepl_tracker *tracker; /* NULL with an external source. */
	uint64_t disk_size;
	uint64_t limit;         /* Bytes; at most disk_size. */
	uint64_t changed_bytes; /* 0 until known. */
};
#define HVREPL_CUT_DISK_INIT \
	{ sizeof(struct hvrepl_cut_disk), 0, { { 0 } }, { { 0 } }, 0, 0, 0, 0 }
/** Disk `index` of 0 to disk_count - 1. @returns OK, INVALID. @since 0.1 */
HVREPL_API int32_t hvrepl_cut_get_disk(hvrepl_cut *cut, uint32_t index,
				       struct hvrepl_cut_disk *disk);

#define HVREPL_CUT_WAITING 1u /* For writes in flight; a wake follows. */
#define HVREPL_CUT_MORE 2u    /* Call again. */
#define HVREPL_CUT_DONE 3u    /* State is SPOOLED. */

/**
 * Read a bounded piece of the frozen blocks into the spool.
 *
 * @param budget  Raw bytes to stop after; 0: 1 MiB.
 * @param progress_out  HVREPL_CUT_WAITING, MORE or DONE.
 * @returns HVREPL_OK; VOIDED; NOMEM (nothing lost: call again).
 * @threadsafety  Any thread, several at once; not callback-safe.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_cut_advance(hvrepl_cut *cut, uint64_t budget,
				      uint32_t *progress_out);

/**
 * The first changed extents of a disk at or after `from`, ascending.
 *
 * @param extents_out  Room for *count_inout; *count_inout is set to how many.
 * @param end_out  How far the answer reaches; go on from there. It equals the
 *                 disk's limit when there is nothing beyond.
 * @returns HVREPL_OK; BUSY: not known yet (writes are leaving), after a wake;
 *          STATE: the disk was settled as acknowledged, nothing is changed any
 *          more; VOIDED; CALLBACK: of an external source; INVALID.
 * @threadsafety  Any thread; not callback-safe.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_cut_next_extents(hvrepl_cut *cut, uint32_t disk,
					   uint64_t from,
					   struct hvrepl_extent *extents_out,
					   uint32_t *count_inout,
					   uint64_t *end_out);

/**
 * Content of changed blocks as of the cut, from the disk or the spool.
 *
 * @param offset, length  Multiples of the block size (the end of the disk is
 *                        one too), inside extents of next_extents.
 * @returns HVREPL_OK; RANGE: not all of it is in the cut; BUSY: writes from
 *          before the cut are in flight, after a wake; VOIDED; DISK_IO;
 *          STORAGE_IO; NOMEM; CORRUPT (spill).
 * @threadsafety  Any thread, several at once; not callback-safe.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_cut_read(hvrepl_cut *cut, uint32_t disk,
				   uint64_t offset, void *buffer,
				   size_t length);

/**
 * The fate of one disk's part of the cut: HVREPL_OK means that a replica has
 * it durably (its changes are forgotten), anything negative that it failed:
 * its changes count as changed again, and parts of later cuts of the same
 * disk, which build on it, are void too. An open cut must be voided or DONE
 * before parts of it can be acknowledged, unless it is read directly.
 *
 * @returns HVREPL_OK; STATE: settled before, voided (cannot be acknowledged),
 *          or an earlier cut of this disk is not settled yet; BUSY: not read
 *          to its end yet, or writes from before the cut are in flight.
 * @threadsafety  Any thread; not callback-safe.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_cut_settle(hvrepl_cut *cut, uint32_t disk,
				     int32_t result);

/**
 * Settle what is not settled yet, let the spool go, free the handle.
 *
 * @param result  As for hvrepl_cut_settle(). A voided cut counts as failed.
 * @returns HVREPL_OK (NULL too); VOIDED: an acknowledgement came too late, the
 *          handle is freed all the same; STATE, BUSY: as hvrepl_cut_settle()
 *          says, nothing happened.
 * @threadsafety  No other call on the cut may run.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_cut_close(hvrepl_cut *cut, int32_t result);

/**
 * Give a cut up now; not an error if it already is. Any thread.
 * @returns HVREPL_OK, STATE (all of it is acknowledged). @since 0.1
 */
HVREPL_API int32_t hvrepl_cut_void(hvrepl_cut *cut);

/** Where a change source other than our tracker stands (RCT, CBT, bitmaps). */
struct hvrepl_change_token {
	uint32_t length; /* 0: none. */
	uint8_t bytes[124];
};

/**
 * An external change source (T11). It cannot fence writes. Callbacks may run
 * on any thread and may block.
 */
struct hvrepl_source_ops {
	uint32_t struct_size;
	uint32_t reserved; /* Must be zero. */
	/**
	 * Freeze all disks at one instant and hand out a handle to read them,
	 * and the token that the next cut starts from. `from` is the token of
	 * the last acknowledged cut; if it has none, or the source does not
	 * know it, return HVREPL_E_UNTRUSTED: then it is called again with an
	 * empty token, and everything counts as changed.
	 */
	int32_t (*begin_cut)(void *user, const struct hvrepl_change_token *from,
			     struct hvrepl_change_token *to_out,
			     void **handle_out);
	/**
	 * Changed extents, as hvrepl_cut_next_extents() gives them; *end_out is
	 * no less than the last one's end, or the cut is voided, CALLBACK.
	 */
	int32_t (*changed)(void *user, void *handle, uint32_t disk,
			   uint64_t from, struct hvrepl_extent *extents_out,
			   uint32_t *count_inout, uint64_t *end_out);
	int32_t (*read_frozen)(void *user, hvrepl_op *op, void *handle,
			       uint32_t disk, uint64_t offset, void *buffer,
			       size_t length);
	/** The handle ends. `acknowledged` 1: the source may forget `from`. */
	void (*end_cut)(void *user, void *handle, uint32_t acknowledged);
};
#define HVREPL_SOURCE_OPS_INIT \
	{ sizeof(struct hvrepl_source_ops), 0, 0, 0, 0, 0 }

/** One disk of an external source. */
struct hvrepl_source_disk {
	struct hvrepl_uuid vm;
	struct hvrepl_uuid disk;
	uint64_t size; /* Bytes, a multiple of 512. */
};

/**
 * Cut through an external source. The group lends its spool; its trackers, if
 * it has any, take no part. Works like any other cut, except that it is never
 * voided by a deadline and that one may be open beside a cut of the trackers.
 *
 * @param ops    Copied. `user` is borrowed until the cut is closed.
 * @param disks  Copied.
 * @param label  Label of all disks; NULL: zeroes. Its limit applies.
 * @param from   Token of the last acknowledged cut; NULL: none.
 * @returns HVREPL_OK, INVALID, TOO_NEW, NOMEM, CALLBACK.
 * @threadsafety  Any thread; not callback-safe.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_source_cut(
	hvrepl_group *group, const struct hvrepl_source_ops *ops, void *user,
	const struct hvrepl_source_disk *disks, uint32_t disk_count,
	const struct hvrepl_cut_label *label,
	const struct hvrepl_change_token *from, struct hvrepl_error *error,
	hvrepl_cut **cut_out);

/**
 * The token that the next hvrepl_source_cut() starts from once this cut has
 * been acknowledged durably; `whole_out` is 1 when this cut holds everything
 * because `from` was not known. @returns OK, INVALID. @since 0.1
 */
HVREPL_API int32_t hvrepl_cut_token(hvrepl_cut *cut,
				    struct hvrepl_change_token *token_out,
				    uint32_t *whole_out);

#ifdef __cplusplus
}
#endif
#endif
