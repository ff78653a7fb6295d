/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tracker room inside: group, tracker, cut, and how they are locked.
 *
 * Order of locks: group->mutex, tracker->mutex (or the part's own, of an
 * external source), cut->mutex, group->service. No lock is held during I/O or
 * while a callback of the application runs. What many writers touch is atomic:
 * group->word, tracker->mode, the counters, the region bytes, the live map.
 */
#ifndef HVRI_TRACKER_INTERNAL_H
#define HVRI_TRACKER_INTERNAL_H

#include "base/bitmap.h"
#include "base/flush.h"
#include "base/io.h"
#include "base/op.h"
#include "base/sync.h"
#include "format/hvt.h"
#include "tracker/cut.h"
#include "tracker/tracker.h"

#include <stdatomic.h>

#define HVRI_CACHE_LINE 64
#define HVRI_SHARDS 16u

/* group->word: generation << 1 | a cut is open. */
#define HVRI_WORD_OPEN UINT64_C(1)
#define HVRI_WORD_STEP UINT64_C(2)

/* tracker->mode */
#define HVRI_MODE_PARITY (1u << 0) /* Flipped by each cooling (T7 grace). */
#define HVRI_MODE_FENCED (1u << 1)

/* A counter: writes in flight in the high half, publishing in the low one.
 * Index: generation & 1 | parity << 1. */
#define HVRI_COUNT_FLIGHT (UINT64_C(1) << 32)
#define HVRI_COUNT_PUBLISHING UINT64_C(1)
#define HVRI_COUNT_PUBLISHING_MASK UINT64_C(0xffffffff)
#define HVRI_COUNTERS 4u

struct hvri_shard {
	_Alignas(HVRI_CACHE_LINE) _Atomic uint64_t counter[HVRI_COUNTERS];
};

/* A region's byte: its state (T7)... */
#define HVRI_REGION_STATE 3u
#define HVRI_REGION_COLD 0u
#define HVRI_REGION_HOT 1u
#define HVRI_REGION_COOLING 2u
#define HVRI_REGION_ERASING 3u
/* ...and what happened since it was last looked at. */
#define HVRI_REGION_WRITTEN (1u << 2) /* A write ended since the last flush. */
#define HVRI_REGION_RECENT (1u << 3)  /* ...since the last sweep. */
#define HVRI_REGION_CANDIDATE (1u << 4)

/* What a waiting ticket waits for. */
#define HVRI_WAIT_MARK 1u /* Not counted in flight. */
#define HVRI_WAIT_OWED 2u /* Counted in flight, bits set. */

/* The library's side of struct hvrepl_ticket. */
struct __attribute__((may_alias)) hvri_wait {
	struct hvrepl_ticket *next;
	uint64_t first, count; /* Blocks. */
	uint64_t deadline;
	uint64_t generation;
	_Atomic uint64_t *counter; /* NULL: not counted. */
	uint32_t region, region_count;
	uint32_t mode;
	uint8_t kind, reason;
	/* 0: write_begin is still on its way; 1: it returned PENDING; 2: done. */
	_Atomic uint16_t stage;
	int32_t result;
};
_Static_assert(sizeof(struct hvri_wait) <=
		       sizeof(((struct hvrepl_ticket *)0)->opaque),
	       "fits the ticket");

static inline struct hvri_wait *hvri_wait_of(struct hvrepl_ticket *ticket)
{
	return (struct hvri_wait *)ticket->opaque;
}

/* State of asking the application to record "untrusted" (T8). */
#define HVRI_TRUST_IDLE 0u
#define HVRI_TRUST_ASKING 1u
#define HVRI_TRUST_ANSWERED 2u

struct hvrepl_tracker {
	/* Read by every write, changed seldom. */
	struct hvrepl_group *group;
	uint64_t size, blocks;
	uint32_t block_shift, region_shift;
	uint32_t regions;
	_Atomic uint32_t mode;
	_Atomic uint8_t *region; /* One byte each. */
	struct hvri_bitmap *_Atomic map[2]; /* By generation & 1. */
	struct hvri_shard *shards;

	hvri_mutex mutex;
	hvri_cond cond; /* The file is free; a user left. */
	struct hvrepl_ticket *waiting, **waiting_last;
	_Atomic uint64_t waiting_count;
	struct hvri_member *open;  /* Part of the cut that is open, or NULL. */
	struct hvri_member *parts; /* Not settled, oldest first. */

	/* Tracker file. `file_busy` lends all below to one thread (under
	 * `mutex` otherwise). */
	struct hvri_storage storage;
	struct hvri_object file;
	char object_id[HVREPL_OBJECT_ID_MAX + 1];
	bool file_busy, file_wanted;
	struct hvri_hvt_header header;
	uint8_t *image;        /* Coarse bits as written next. */
	uint8_t *sector_dirty; /* One byte a sector: differs from the file. */
	bool ack_unsaved;      /* header.ack_* is newer than the file. */

	struct hvri_disk disk;
	struct hvrepl_cut_label label;
	uint32_t flags;
	int32_t (*trust)(void *user, hvrepl_op *op, uint32_t trusted);
	void *trust_user;
	struct hvrepl_op trust_op;
	_Atomic uint32_t trust_state;
	_Atomic int32_t trust_result;
	uint32_t trust_asked; /* 0 or 1, while not IDLE. */
	_Atomic bool untrusted;
	_Atomic int32_t flush_lost; /* A flush failed, and the guest was not told. */
	struct hvri_flushes flushing; /* Of the disk; outside all locks here. */
	_Atomic uint64_t retry_at;

	/* Cooling. */
	uint64_t sweep_at;
	bool grace; /* Regions are COOLING; old parity drains. */
	bool sweeping;
	_Atomic uint64_t hot;

	/* Service queue of the group. */
	struct hvrepl_tracker *service_next;
	bool queued;
	_Atomic uint32_t users; /* Pump threads. */
	_Atomic uint32_t cuts;  /* Cut handles that name it. */

	uint32_t recovery, reason;
	uint64_t compare_bytes;
	struct hvrepl_uuid owner_before;
	_Atomic uint64_t marks, flushes, cooled, waits, copies;
};

struct hvrepl_group {
	struct hvri_env env;
	int32_t level;
	uint64_t spool_memory, spill_limit, write_wait, cool_after;
	void (*wake)(void *user);
	void *wake_user;
	bool has_spill;
	struct hvri_storage spill;
	char spill_prefix[32];

	_Alignas(HVRI_CACHE_LINE) _Atomic uint64_t word;

	_Alignas(HVRI_CACHE_LINE) hvri_mutex mutex;
	struct hvrepl_tracker **trackers;
	size_t tracker_count, tracker_capacity;
	size_t promised; /* Places kept for those that come, or come back. */
	struct hvrepl_cut *open; /* Until closed, or its bits are back. */
	bool undrained; /* A voided cut may have left old writes in flight. */
	struct hvrepl_cut *cuts, **cuts_last; /* Not closed, oldest first. */

	hvri_mutex service;
	struct hvrepl_tracker *service_first, **service_last;
	_Atomic uint32_t scheduled;
	_Atomic uint32_t jobs;
	struct hvri_page_pool pages;

	_Atomic uint64_t hot; /* Regions, of all trackers. */
	/* No timer of a tracker is due before; an upper bound of haste. */
	_Atomic uint64_t timer_at;
	_Atomic uint64_t memory, spilled;
	_Atomic uint64_t cuts_made, missed, voided, folded;
};

#define HVRI_CLAIM_EXTENTS 64u
#define HVRI_CLAIM_BYTES (256u << 10)

/* Blocks that one thread is reading from the frozen disk. */
struct hvri_claim {
	struct hvri_claim *next;
	struct hvri_member *part;
	uint32_t count;
	bool keep; /* A direct read: stays owed afterwards. */
	bool zero; /* Known to read as zeroes. */
	uint64_t bytes;
	struct {
		uint64_t first, count; /* Blocks. */
	} run[HVRI_CLAIM_EXTENTS];
};

/* A packed chunk. */
struct hvri_spooled {
	uint8_t *bytes;  /* NULL: not in memory. */
	uint64_t spill;  /* Position in the spill object. */
	uint32_t length; /* 0: not packed yet. */
	bool on_disk, released;
};

/* Where a run of blocks lies in the spool; for direct reads. */
struct hvri_place {
	uint64_t first, count; /* Blocks. */
	uint32_t sequence;
	uint32_t raw; /* Offset in the raw bytes; UINT32_MAX: zeroes. */
};

/* One disk in a cut. */
struct hvri_member {
	struct hvrepl_cut *cut;
	struct hvrepl_tracker *tracker; /* NULL: external source. */
	struct hvri_member *newer;        /* In tracker->parts. */
	uint32_t index;
	struct hvri_segment_header header;
	uint64_t blocks, limit; /* Blocks; limit <= blocks. */
	uint32_t block_shift;
	hvri_mutex *mutex; /* The tracker's, or `own`. */
	hvri_mutex own;

	struct hvri_bitmap *map;   /* The cut's bits. */
	struct hvri_bitmap *spare; /* Takes the map's slot at detach. */
	struct hvri_bitmap copied; /* Copied out of order. */
	uint64_t frontier;         /* All before it is copied or claimed. */
	uint64_t hole_end;         /* From the frontier to it all is zeroes. */
	uint64_t probed_end;       /* Asked so far. */
	struct hvri_claim *claims;
	uint32_t packing; /* Claims not in the spool yet, own ones too. */
	bool published;   /* The bits stand. */
	bool drained;     /* No write of the cut's generation is in flight. */
	bool detached;    /* Nothing is owed any more. */
	bool returned;    /* Voided, and the bits are back. */
	bool settled;
	bool failed;
	bool asking;      /* External: one thread asks for extents. */
	uint64_t changed_bytes, read_bytes;

	/* Under cut->mutex. */
	struct hvri_spooled *chunks;
	size_t chunk_count, chunk_capacity;
	size_t released;
	struct hvri_place *places;
	size_t place_count, place_capacity, placed;
};

/* Buffers of one thread that fills the spool. */
struct hvri_kit {
	struct hvri_kit *next;
	struct hvri_env env;
	uint8_t *raw;     /* HVRI_CLAIM_BYTES */
	uint8_t *encoded; /* HVRI_CHUNK_ENCODED_MAX */
	struct hvri_packer *packer;
};

struct hvrepl_cut {
	struct hvrepl_group *group;
	struct hvrepl_cut *next; /* In group->cuts. */
	struct hvrepl_uuid id;
	uint64_t utc_ns;
	uint64_t generation; /* Of the writes that are in it. */
	_Atomic uint32_t state;
	_Atomic int32_t reason;
	uint32_t part_count;
	struct hvri_member *parts;
	_Atomic uint32_t parts_open;
	_Atomic uint32_t turn; /* Where advance looks first. */

	bool external;
	struct hvrepl_source_ops source;
	void *source_user, *source_handle;
	struct hvrepl_change_token token;
	uint32_t whole;

	/* Serialises direct reads of the spool; held during their I/O, taken
	 * before all other locks. */
	hvri_mutex reading;
	hvri_mutex mutex;
	hvri_cond cond;  /* A claim ended, a chunk is there. */
	uint64_t news;   /* ...how often; see hvri_cut_wake(). */
	uint32_t active; /* Threads that read or pack; close waits for them. */
	bool orphan;     /* Closed while voided: freed when its bits are back. */
	struct hvri_kit *kits;
	bool has_spill, spill_opening;
	struct hvri_object spill;
	uint64_t spill_end, memory;
	void (*listener)(void *user);
	void *listener_user;
	/* hvri_cut_set_filter() */
	bool (*same)(void *user, uint32_t disk, uint64_t offset,
		     const void *bytes, size_t length);
	void (*same_release)(void *user);
	void *same_user;
};

static inline uint64_t hvri_generation(uint64_t word)
{
	return word >> 1;
}

/* cut->mutex held: something of it came to its end. */
static inline void hvri_cut_wake(struct hvrepl_cut *cut)
{
	cut->news++;
	hvri_wake_all(&cut->cond);
}

/* The region's state, if it is `from`, becomes `to`; false: it is another. */
static inline bool hvri_region_change(_Atomic uint8_t *byte, uint8_t from,
				      uint8_t to)
{
	uint8_t was = atomic_load(byte);

	while ((was & HVRI_REGION_STATE) == from)
		if (atomic_compare_exchange_weak(
			    byte, &was,
			    (uint8_t)((was & ~HVRI_REGION_STATE) | to)))
			return true;
	return false;
}

/* group.c */
/* The tracker needs the pump; no locks held. */
void hvri_tracker_kick(struct hvrepl_tracker *tracker);
/* The group needs the pump. */
void hvri_group_kick(struct hvrepl_group *group);
/* Pages for the next sets, as many as hot regions may need. */
void hvri_group_refill(struct hvrepl_group *group);
void hvri_tracker_ref(struct hvrepl_tracker *tracker);
void hvri_tracker_unref(struct hvrepl_tracker *tracker);
/* Take it out of the service queue. */
void hvri_tracker_forget(struct hvrepl_tracker *tracker);
/* A tracker's timer will be due at `at`. */
void hvri_timer_set(struct hvrepl_group *group, uint64_t at);

/* write.c */
/* All counters of a generation (both parities), or of a parity (both
 * generations): nothing publishing / in flight. */
bool hvri_counters_zero(const struct hvrepl_tracker *tracker, uint32_t index,
			bool publishing_only);
bool hvri_published(const struct hvrepl_tracker *tracker, uint64_t generation);
bool hvri_drained(const struct hvrepl_tracker *tracker, uint64_t generation);
/* Look at the waiting tickets again; complete those that may go on. Locks. */
void hvri_waiters_serve(struct hvrepl_tracker *tracker);
/* Complete waiting tickets of `reason` whose deadline is not after `before`
 * with `result` (negative). Locks. */
void hvri_waiters_fail(struct hvrepl_tracker *tracker, uint32_t reason,
		       uint64_t before, int32_t result);
/* Set bits in the current map, as a write would. */
void hvri_tracker_set_bits(struct hvrepl_tracker *tracker, uint64_t first,
			   uint64_t count);

/* marks.c */
/* The file for this thread alone; `wait` false: only if it is free. Takes and
 * leaves tracker->mutex. */
bool hvri_file_take(struct hvrepl_tracker *tracker, bool wait);
void hvri_file_give(struct hvrepl_tracker *tracker);
/* Marks that tickets wait for, durably. */
void hvri_marks_serve(struct hvrepl_tracker *tracker);
HVRI_MUST_CHECK int32_t hvri_marks_make(struct hvrepl_tracker *tracker,
					uint32_t region, uint32_t count);
/* With the file taken: write the dirty sectors, to one copy or to both; flush. */
HVRI_MUST_CHECK int32_t hvri_sectors_copy(struct hvrepl_tracker *tracker,
					  uint32_t copy);
HVRI_MUST_CHECK int32_t hvri_sectors_write(struct hvrepl_tracker *tracker);
HVRI_MUST_CHECK int32_t hvri_file_flush(struct hvrepl_tracker *tracker);
/* With the file taken: write the next header slot and flush. */
HVRI_MUST_CHECK int32_t hvri_header_write(struct hvrepl_tracker *tracker);
void hvri_image_set(struct hvrepl_tracker *tracker, uint32_t region, bool hot);
bool hvri_image_get(const struct hvrepl_tracker *tracker, uint32_t region);
/* tracker->mutex held, or nobody else has the tracker yet. */
void hvri_region_heat(struct hvrepl_tracker *tracker, uint32_t region);
/* The coarse map cannot be written: T8. `due`: tickets up to this deadline. */
void hvri_trust_lose(struct hvrepl_tracker *tracker, uint64_t due,
		     int32_t reason);
void hvri_trust_serve(struct hvrepl_tracker *tracker);
/* ...only an answer that has come: no I/O. */
void hvri_trust_take(struct hvrepl_tracker *tracker);

/* attach.c */
void hvri_tracker_free(struct hvrepl_tracker *tracker);
/* whose.c: both slots, or how they fail to be there. Of a file that is cut short the
 * header is filled where it can be read: it says whose file that is. */
HVRI_MUST_CHECK int32_t
hvri_tracker_read_header(struct hvrepl_tracker *tracker,
			 const struct hvrepl_uuid *disk,
			 struct hvri_hvt_header *header_out);
/* WRONG_DISK by ids; BUSY: somebody has it open. Not even to make it anew is it taken
 * from them. */
HVRI_MUST_CHECK int32_t
hvri_tracker_check_owner(const struct hvrepl_tracker *tracker,
			 const struct hvri_hvt_header *found,
			 const struct hvrepl_tracker_options *options,
			 struct hvrepl_error *error);
HVRI_MUST_CHECK int32_t
hvri_tracker_check_size(const struct hvrepl_tracker *tracker,
			const struct hvri_hvt_header *found,
			struct hvrepl_error *error);
/* Into the group, or not after all: to its promised place. */
void hvri_tracker_join(struct hvrepl_tracker *tracker);
void hvri_tracker_stay_out(struct hvrepl_group *group);
/* Out of the group, its place is kept; false: a cut handle still names it. */
bool hvri_tracker_part(struct hvrepl_tracker *tracker);

/* cool.c */
void hvri_cool_serve(struct hvrepl_tracker *tracker);
uint64_t hvri_cool_deadline(const struct hvrepl_tracker *tracker);
/* Take disk token and acknowledgement into the header and write it. Takes the
 * file; BUSY when it is not free and `wait` is false. */
HVRI_MUST_CHECK int32_t
hvri_record_save(struct hvrepl_tracker *tracker,
		 const struct hvrepl_tracker_stamp *stamp, bool wait);

/* owed.c; tracker->mutex (part->mutex) held. */
void hvri_part_poll(struct hvri_member *part);
bool hvri_part_owes(struct hvri_member *part, uint64_t first, uint64_t count);
/* The next run that nobody has copied or is copying. */
bool hvri_part_next(const struct hvri_member *part, uint64_t from, uint64_t end,
		    uint64_t max, uint64_t *first_out, uint64_t *count_out);
/* No lock held: read and spool blocks that tickets wait for; true if there
 * were any. */
bool hvri_copies_serve(struct hvrepl_tracker *tracker);
void hvri_claim_add(struct hvri_claim *claim, uint64_t first, uint64_t count);
/* part->mutex held; references the cut. */
void hvri_claim_link(struct hvri_claim *claim, struct hvri_member *part);
/* Lock taken inside. False: the cut is voided, throw the bytes away. */
bool hvri_claim_end(struct hvri_claim *claim, bool ok);
HVRI_MUST_CHECK int32_t hvri_claim_read(const struct hvri_claim *claim,
					uint8_t *raw);
/* Pack and spool what a claim read; voids the cut when that fails. Ends the
 * claim's reference to the cut. */
void hvri_claim_spool(struct hvri_claim *claim, struct hvri_kit *kit);
/* A claim that is not spooled: its reference ends. */
void hvri_claim_drop(struct hvri_claim *claim);
/* Blocks that are being copied: wait until there is news that came after `seen`,
 * which is the news there was before somebody looked. */
uint64_t hvri_cut_news(struct hvrepl_cut *cut);
void hvri_cut_await(struct hvrepl_cut *cut, uint64_t seen);
/* If nothing is left to read, let the disk go. No lock held. */
void hvri_part_finish(struct hvri_member *part);

/* cutmake.c */
void hvri_map_free(struct hvrepl_group *group, struct hvri_bitmap *map);
/* group->mutex held. */
void hvri_cut_delist(struct hvrepl_cut *cut);
/* group->mutex held. The part fails, and all newer ones of its disk, which
 * build on it (T5: never an older one without those after it). */
void hvri_part_fail(struct hvri_member *part, int32_t reason);
/* No lock held: those that were voided just now, perhaps newer ones too:
 * writers go on at once, owners are told. */
void hvri_cut_after_void(struct hvrepl_group *group);
/* No lock held: writers that had to wait for the part look again. */
void hvri_part_freed(struct hvri_member *part);
/* Keep a cut from being freed; under a lock that keeps it there meanwhile. */
void hvri_cut_ref(struct hvrepl_cut *cut);
void hvri_cut_unref(struct hvrepl_cut *cut);
void hvri_cut_fail(struct hvrepl_cut *cut, int32_t reason);
/* Give the bits of a voided cut back where that is possible. */
void hvri_cut_clean(struct hvrepl_group *group);
void hvri_part_detach(struct hvri_member *part); /* part->mutex held. */
void hvri_cut_maybe_spooled(struct hvrepl_cut *cut);
void hvri_cut_tell(struct hvrepl_cut *cut);
HVRI_MUST_CHECK int32_t hvri_cut_alloc(struct hvrepl_group *group,
				       uint32_t parts,
				       struct hvrepl_cut **cut_out);
void hvri_cut_free(struct hvrepl_cut *cut);
void hvri_cut_enlist(struct hvrepl_cut *cut); /* group->mutex held. */

/* spool.c */
HVRI_MUST_CHECK int32_t hvri_kit_take(struct hvrepl_cut *cut,
				      struct hvri_kit **kit_out);
void hvri_kit_give(struct hvrepl_cut *cut, struct hvri_kit *kit);
void hvri_kits_free(struct hvrepl_cut *cut);
HVRI_MUST_CHECK int32_t hvri_spool_reserve(struct hvri_member *part,
					   uint32_t *sequence_out);
HVRI_MUST_CHECK int32_t hvri_spool_put(struct hvri_member *part,
				       uint32_t sequence, const uint8_t *bytes,
				       uint32_t length);
void hvri_spool_free(struct hvrepl_cut *cut);
/* Raw bytes of a block run that is in the spool; PENDING: not packed yet. */
HVRI_MUST_CHECK int32_t hvri_spool_read(struct hvri_member *part, uint64_t first,
					uint64_t count, uint8_t *out);
uint64_t hvri_part_bytes(const struct hvri_member *part, uint64_t first,
			 uint64_t count);
#endif
