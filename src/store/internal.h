/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's inside, shared by the files of this room.
 *
 * Locks, outermost first: `work` (whoever changes the store: one record is in
 * flight at a time), a view's gate, `map`, an overlay's, the cache's. `map` is
 * held for looking up and for swapping lists, never across I/O. Reading a view
 * takes `map` only; writing it takes its gate too, never `work`. A base's `flushes`
 * come after the gate, and across one flush; nothing is taken under them.
 */
#ifndef HVRI_STORE_INTERNAL_H
#define HVRI_STORE_INTERNAL_H

#include "base/flush.h"
#include "base/sync.h"
#include "store/cache.h"
#include "store/gate.h"
#include "store/journal.h"
#include "store/overlay.h"
#include "store/slog.h"
#include "store/state.h"
#include "store/store.h"

/* Most raw bytes that one advance() moves. */
#define HVRI_STORE_PIECE (4u << 20)
#define HVRI_STORE_CACHE_BYTES (4u << 20)
#define HVRI_STORE_CONTAINER_BYTES (64u << 20)
/* Overlay bytes switched under one range lock, and the amount from which the
 * active overlay is frozen and folded again first. */
#define HVRI_STORE_SWITCH_BYTES (4u << 20)
#define HVRI_STORE_REFREEZE_BYTES (64u << 20)
#define HVRI_STORE_FREEZES 4u

/* A segment on its way in. */
struct hvri_receive_disk {
	bool begun, ended;
	uint32_t next, durable; /* Chunk sequences. */
	bool root_whole;	/* The running root covers all chunks. */
	struct hvri_segment_root root;
};

struct hvri_receive {
	bool active;
	bool refused; /* For lack of space, and no point has gone since. */
	struct hvri_segment_identity identity; /* disk: none. */
	struct hvri_container *container; /* Referenced; REPLICA only. */
	struct hvri_slog *slog;		  /* REPLICA only. */
	struct hvri_segment_header headers[HVREPL_STORE_DISKS_MAX];
	struct hvri_receive_disk disks[HVREPL_STORE_DISKS_MAX];
	uint64_t frontiers[HVREPL_STORE_DISKS_MAX]; /* INITIAL, durable. */
	uint8_t *raw; /* INITIAL: HVRI_CHUNK_RAW_MAX, page-aligned. */
};

/* Chunks of a new log packed from ranges that come in ascending order. */
struct hvri_slog_writer {
	hvrepl_store *store;
	struct hvri_slog *slog;
	struct hvri_packer *packer;
	uint32_t disk;
	uint32_t sequence[HVREPL_STORE_DISKS_MAX];
	uint8_t *raw, *out;
	uint32_t raw_length;
	uint32_t data_count, zero_count;
	/* Chunks appended and not yet noted in the slog. */
	struct hvri_written {
		uint32_t disk, extent_count;
		uint64_t position;
		uint32_t length;
		bool data;
		uint32_t first; /* In `extents`. */
	} *written;
	size_t written_count, written_room;
	struct hvrepl_extent *extents;
	size_t extent_count, extent_room;
	/* So many as are counted; 32 KB that nobody clears. */
	struct hvrepl_extent data[HVRI_CHUNK_EXTENTS_MAX];
	struct hvrepl_extent zeroes[HVRI_CHUNK_EXTENTS_MAX];
};

/* A place in the work that goes over all disks. */
struct hvri_cursor {
	uint32_t disk;
	uint64_t at;
};

struct hvri_merge {
	bool ready; /* The members below are set up. */
	struct hvri_cursor at;
	struct hvri_slog_writer *writer; /* NULL: no undo. */
	uint64_t damaged; /* `to` of the log that the last step met, or 0. */
};

/* Where the background check of raw digests is (S1); not kept. */
struct hvri_check {
	uint64_t done; /* Key of the last point whose log was checked. */
	uint64_t log;  /* Id of the one under way. */
	uint32_t disk;
	size_t entry;
	uint64_t position; /* Of the chunk that was looked at last. */
};

struct hvri_compact {
	bool active;
	bool is_undo;
	uint32_t count;
	struct hvri_slog *inputs[2]; /* First come first. */
	uint64_t replaced[2];
	struct hvri_cursor at;
	struct hvri_slog_writer *writer;
};

/* Of one base that a guest writes to, and a commit too while it switches range by range
 * (base_flush.c). */
struct hvri_base_flush {
	struct hvri_flushes flushes;
	const struct hvri_disk *disk;
	hvri_mutex mutex; /* Of what follows; inside all others. */
	bool guest_lost;  /* The commit's failed: the guest's next one fails. */
	bool untold;	  /* ...and who keeps what changed does not know either. */
	bool commit_lost; /* The guest's failed, since the range was begun. */
};

struct hvrepl_store {
	struct hvri_env env;
	struct hvri_storage storage;
	struct hvrepl_store_options options;
	uint32_t disk_count;
	uint32_t block_size; /* Largest of the bases'. */
	struct hvri_disk bases[HVREPL_STORE_DISKS_MAX];
	uint64_t used; /* Bytes of containers and overlays; atomic. */

	hvri_mutex work;
	struct hvri_journal journal;
	uint64_t next_id;
	int32_t poisoned; /* 0, or the code everything fails with; atomic. */
	/* A record of the last switch may be durable or not: what an overlay gets
	 * from here on may not be read after the next open (S8). Atomic. */
	bool switch_unsure;
	struct hvri_base_flush flushes[HVREPL_STORE_DISKS_MAX];
	struct hvri_receive receive;
	struct hvri_merge merge;
	struct hvri_compact compact;
	uint32_t open_points; /* Views that are not the failover's; atomic. */
	bool limits_new;  /* The limits changed; atomic. */
	bool compact_off; /* It met damage; until the store is opened again. */
	struct hvri_check check;
	struct hvri_cursor fold;       /* Of the commit, in all its phases. */
	struct hvri_slog_writer *saver; /* Of the commit's undo. */
	uint32_t freezes;
	bool committing; /* commit_begin() was called in state OVERLAY. */
	uint8_t *piece; /* hvri_store_piece(), or NULL. */
	/* As the constants above; smaller in tests, which want many steps. */
	uint64_t piece_bytes, switch_bytes, refreeze_bytes;

	hvri_mutex map;
	struct hvri_manifest state; /* Changed under work and map. */
	struct hvri_manifest_stamp stamps[HVREPL_STORE_DISKS_MAX]; /* Of a record. */
	bool base_changed; /* Found when it was opened (T9). */
	uint64_t generation;	    /* Of the head, for who asks. */
	struct hvri_slog *redo[HVRI_MANIFEST_LOGS]; /* As state.redo. */
	struct hvri_slog *undo[HVRI_MANIFEST_LOGS];
	struct hvri_slog *running; /* Undo of the running merge. */
	struct hvri_slog *saved;   /* Undo of the commit. */
	struct hvri_overlay *active, *frozen;
	struct hvrepl_view *views; /* Linked by next. */
	bool keeps;        /* No point is dropped: hvri_store_keep(). */
	/* Key of the point whose drop is being recorded, or 0. Once that has failed and
	 * nobody knows, it stays. Such a point is offered to nobody. */
	uint64_t dropping;

	struct hvri_cache cache;
};

struct hvrepl_view {
	hvrepl_store *store;
	struct hvrepl_view *next;
	uint64_t point;
	uint32_t kind;
	uint32_t disks_held; /* Atomic. */
	struct hvri_overlay *scratch;
	struct hvri_gate gate;
};

/* ---- records (open.c, record.c) ---- */
/* Check, make durable, apply. `added`, the log that the record brings, is
 * referenced by the lists then. Caller holds work. */
HVRI_MUST_CHECK int32_t hvri_store_record(hvrepl_store *store,
					  const struct hvri_manifest_record *r,
					  struct hvri_slog *added);
/* Fails when nothing may be changed any more. */
HVRI_MUST_CHECK int32_t hvri_store_usable(hvrepl_store *store);
/* After a flush that failed nobody knows what is durable. */
int32_t hvri_store_poison(hvrepl_store *store, int32_t rc);
uint64_t hvri_store_new_id(hvrepl_store *store);
HVRI_MUST_CHECK int32_t hvri_store_flush_bases(hvrepl_store *store);

/* ---- flushes of a base in the last switch (base_flush.c, S8) ---- */
void hvri_base_flush_init(struct hvri_base_flush *flush,
			  const struct hvri_disk *base);
void hvri_base_flush_destroy(struct hvri_base_flush *flush);
/* From here on the commit writes a range of the base. */
void hvri_base_switch_begin(hvrepl_store *store, uint32_t disk);
/* Of what it wrote. Fails too where one of the guest's failed since it began. `shared`:
 * the guest writes to this base already, and is told if this one fails. */
HVRI_MUST_CHECK int32_t hvri_base_switch_flush(hvrepl_store *store,
					       uint32_t disk, bool shared);
/* The guest's, once what it wrote elsewhere is flushed. One serves all that came before it
 * began. POISONED: one of the commit's failed since the last one, for all of these. */
HVRI_MUST_CHECK int32_t hvri_base_guest_flush(hvrepl_store *store,
					      uint32_t disk);

/* ---- room (capacity.c, S6); not under map ---- */
uint64_t hvri_store_used(hvrepl_store *store);
/* UINT64_MAX: none, or a VM runs here and none counts. */
uint64_t hvri_store_capacity(hvrepl_store *store);
/* Bytes that may still be written: of all, or all but the reserve. */
uint64_t hvri_store_room(hvrepl_store *store, bool reserve_too);
/* May receiving write so much more? By the capacity alone. */
bool hvri_store_fits(hvrepl_store *store, uint64_t length);
/* At which a container is full. */
uint64_t hvri_container_limit(hvrepl_store *store);
/* Old points go above it. */
uint64_t hvri_store_high_water(hvrepl_store *store);
/* NO_SPACE: less than pinned, newest and reserve need. */
HVRI_MUST_CHECK int32_t hvri_capacity_check(hvrepl_store *store,
					    uint64_t capacity, uint64_t reserve,
					    struct hvrepl_error *error);

/* ---- looking up and reading (read.c) ---- */
/* What answers for [offset, offset + *length_inout): a log (referenced; entry
 * copied) or, NULL, the base. *length_inout shrinks to what it holds for. Caller
 * holds map. */
struct hvri_source {
	struct hvri_slog *slog;
	struct hvri_xent entry;
};
void hvri_store_resolve(hvrepl_store *store, uint64_t point, uint32_t disk,
			uint64_t offset, uint64_t *length_inout,
			struct hvri_source *source_out);
/* As above, from these logs alone, first come first. */
void hvri_slogs_resolve(struct hvri_slog *const *slogs, uint32_t count,
			uint32_t disk, uint64_t offset, uint64_t *length_inout,
			struct hvri_source *source_out);
/* Read [offset, +length) out of a source that is a log. */
HVRI_MUST_CHECK int32_t hvri_source_read(hvrepl_store *store,
					 const struct hvri_source *source,
					 uint32_t disk, uint64_t offset,
					 void *buffer, size_t length);
/* Is the chunk it lies in sound, raw bytes too? */
HVRI_MUST_CHECK int32_t hvri_source_check(hvrepl_store *store,
					  const struct hvri_source *source,
					  uint32_t disk);
/* A point's content, right at any time (S5). */
HVRI_MUST_CHECK int32_t hvri_store_read(hvrepl_store *store, uint64_t point,
					uint32_t disk, uint64_t offset,
					void *buffer, size_t length);
/* Zero a range of the base; what is a hole stays one. */
HVRI_MUST_CHECK int32_t hvri_store_zero_base(hvrepl_store *store, uint32_t disk,
					     uint64_t offset, uint64_t length);
HVRI_MUST_CHECK int32_t hvri_store_write_base(hvrepl_store *store,
					      uint32_t disk, uint64_t offset,
					      const void *bytes, size_t length);

/* ---- writing logs (write.c) ---- */
HVRI_MUST_CHECK int32_t
hvri_slog_writer_create(hvrepl_store *store, struct hvri_slog *slog,
		       struct hvri_slog_writer **writer_out);
void hvri_slog_writer_destroy(struct hvri_slog_writer *writer);
HVRI_MUST_CHECK int32_t hvri_slog_writer_add(struct hvri_slog_writer *writer,
					    uint32_t disk, uint64_t offset,
					    const uint8_t *bytes,
					    size_t length);
HVRI_MUST_CHECK int32_t hvri_slog_writer_zero(struct hvri_slog_writer *writer,
					     uint32_t disk, uint64_t offset,
					     uint64_t length);
/* Pack what is left, flush the container, then enter all of it in the slog's
 * index. `undo`: seal it, since the base is written next, and hold map, since
 * the index is in use. */
HVRI_MUST_CHECK int32_t hvri_slog_writer_flush(struct hvri_slog_writer *writer,
					      bool undo);
/* A container with the headers of an undo log in it, durable; and its slog. */
HVRI_MUST_CHECK int32_t hvri_store_new_undo(hvrepl_store *store,
					    struct hvri_slog **slog_out);
/* The opposite, after a crash: what was saved so far. */
HVRI_MUST_CHECK int32_t hvri_store_load_undo(hvrepl_store *store,
					     uint64_t container,
					     struct hvri_slog **slog_out);
/* Save what the base holds of the range and `slog` lacks. Not flushed. */
HVRI_MUST_CHECK int32_t hvri_store_save_base(hvrepl_store *store,
					     struct hvri_slog_writer *writer,
					     uint32_t disk, uint64_t offset,
					     uint64_t length);
/* Move the cursor to the next disk; false when there is none. */
bool hvri_cursor_next_disk(const hvrepl_store *store, struct hvri_cursor *at);

/* ---- the bases' identity (stamp.c, T9) ---- */
/* Take the bases' tokens as of now into `record`, which must follow a flush
 * unless `kind` is OPEN. */
HVRI_MUST_CHECK int32_t hvri_stamp_fill(hvrepl_store *store, uint32_t kind,
					struct hvri_manifest_record *record);
/* Before each piece of writing to a base: says OPEN, and not too long ago. */
HVRI_MUST_CHECK int32_t hvri_stamp_writing(hvrepl_store *store);
void hvri_stamp_close(hvrepl_store *store);
HVRI_MUST_CHECK int32_t hvri_stamp_check(hvrepl_store *store,
					 struct hvrepl_error *error);
/* May the point be something else than it was? */
bool hvri_store_doubts(const hvrepl_store *store, uint64_t point);

/* ---- raw digests in the background (check.c, S1) ---- */
/* Of a log that is read: a wrong bit, or its end is missing. */
static inline bool hvri_store_is_damage(int32_t rc)
{
	return rc == HVREPL_E_CORRUPT || rc == HVREPL_E_TRUNCATED;
}
HVRI_MUST_CHECK int32_t hvri_check_step(hvrepl_store *store,
					uint32_t *more_out);
/* Points from this key on are in doubt. */
HVRI_MUST_CHECK int32_t hvri_check_damaged(hvrepl_store *store, uint64_t from);

/* ---- others ---- */
/* The buffer of HVRI_STORE_PIECE bytes that long work shares; page-aligned, and
 * let go of when nothing is under way. */
HVRI_MUST_CHECK int32_t hvri_store_piece(hvrepl_store *store);
void hvri_store_piece_free(hvrepl_store *store);
void hvri_receive_reset(hvrepl_store *store);
void hvri_receive_free(hvrepl_store *store);
HVRI_MUST_CHECK int32_t hvri_receive_drop(hvrepl_store *store);
/* INITIAL: what the base holds of the cut, durable in the manifest (L2). */
HVRI_MUST_CHECK int32_t hvri_receive_record_initial(hvrepl_store *store,
						    bool cut_open,
						    const uint64_t *frontiers);
HVRI_MUST_CHECK int32_t hvri_receive_recover(hvrepl_store *store);
void hvri_merge_reset(hvrepl_store *store);
void hvri_compact_reset(hvrepl_store *store);
void hvri_commit_reset(hvrepl_store *store);
HVRI_MUST_CHECK int32_t hvri_merge_start(hvrepl_store *store, uint64_t target,
					 struct hvrepl_error *error);
/* Damage of a log is an error once: its points are in doubt then, and the next step
 * leaves what they hold there. */
HVRI_MUST_CHECK int32_t hvri_merge_step(hvrepl_store *store,
					uint32_t *more_out);
/* For whom doubt is enough. */
HVRI_MUST_CHECK int32_t hvri_merge_go_on(hvrepl_store *store,
					 uint32_t *more_out);
HVRI_MUST_CHECK int32_t hvri_compact_step(hvrepl_store *store,
					  uint32_t *more_out);
/* More than 1.3 times what lives in it? */
bool hvri_container_sparse(const hvrepl_store *store,
			   const struct hvri_container *container);
HVRI_MUST_CHECK int32_t hvri_retention_step(hvrepl_store *store,
					    uint32_t *dropped_out);
HVRI_MUST_CHECK int32_t hvri_overlays_recover(hvrepl_store *store);
/* As many as are listed: without the one that is being dropped. Caller holds map. */
uint32_t hvri_store_points_offered(const hvrepl_store *store);
/* Is a view of this point open? Caller holds work. */
bool hvri_store_viewed(hvrepl_store *store, uint64_t point);
struct hvrepl_view *hvri_store_failover_view(hvrepl_store *store);
/* Put the overlays of the state in place; what is no longer named goes. */
void hvri_store_take_overlays(hvrepl_store *store, struct hvri_overlay *active,
			      struct hvri_overlay *frozen);
#endif
