/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests between the two sites, inside: who asks (compare.c, verify.c), who
 * answers (answer.c), how content is digested (scan.c), what is left out of
 * the next cut (filter.c).
 *
 * No false alarm, and nothing left out that differs: digests of a replica are
 * of a frozen point. Digests of an owner are of live content, and count only
 * for granules that its tracker shows as unchanged since that point, looked at
 * after they were read, while that point was still the last acknowledged one.
 */
#ifndef HVRI_DRIVER_COMPARE_H
#define HVRI_DRIVER_COMPARE_H

#include "driver/vm.h"

/* Asks that may be unanswered; more is a peer that does not play by this. */
#define HVRI_ASKS_MAX 16u
#define HVRI_DIGEST_SIZE 16u

/* ---- scan.c: digests of one side's granules, a lane job's work. ---- */

struct hvri_scan {
	struct hvri_vm *vm;
	uint32_t disk, count, done;
	uint64_t offset;
	struct hvri_point point; /* Which content. */
	bool live;               /* The owner's disks, not the store's point. */
	hvrepl_store *store;
	uint64_t key_of_point;   /* In the store. */
	uint8_t key[HVRI_GMAC_KEY];
	int32_t code;
	/* Room for the prefix of a DIGESTS frame, then the digests. One of all
	 * zeroes: changed since the point, says nothing. */
	uint8_t frame[HVRI_DIGESTS_PREFIX_SIZE +
		      HVRI_DIGESTS_MAX * HVRI_DIGEST_SIZE];
};
static inline uint8_t *hvri_scan_digest(struct hvri_scan *scan, uint32_t i)
{
	return scan->frame + HVRI_DIGESTS_PREFIX_SIZE + i * HVRI_DIGEST_SIZE;
}
/* Control thread: fill in who and what for the ask; BUSY: this site is not at
 * that point, or not any more. Number 0: where it is. */
HVRI_MUST_CHECK int32_t hvri_scan_begin(struct hvri_scan *scan,
					struct hvri_vm *vm,
					const struct hvri_digest_ask *ask);
/* Lane: a bounded piece; true: again. `code` and `digests` are filled. */
bool hvri_scan_piece(struct hvri_scan *scan);
/* Control thread, after the last piece, once for each begin that was OK.
 * BUSY: the point has moved meanwhile, nothing of it counts. */
HVRI_MUST_CHECK int32_t hvri_scan_end(struct hvri_scan *scan);
/* The point both sites can be compared at now; number 0: none. */
struct hvri_point hvri_scan_point(const struct hvri_vm *vm);
/* Does the granule say nothing? */
bool hvri_digest_none(const uint8_t digest[HVRI_DIGEST_SIZE]);
/* Is it of what a store cannot read? It equals nothing, so that it is shipped. */
bool hvri_digest_unread(const uint8_t digest[HVRI_DIGEST_SIZE]);
/* Bytes of a granule: the disk's last one may be shorter. */
uint32_t hvri_granule_bytes(const struct hvri_vm *vm, uint32_t disk,
			    uint64_t offset);
uint32_t hvri_granules(const struct hvri_vm *vm, uint32_t disk,
		       uint64_t offset);

/* ---- filter.c ---- */

/* Digests of adjacent granules of the peer's point. */
struct hvri_filter_run {
	struct hvri_filter_run *next;
	uint32_t disk, count;
	uint64_t offset;
	uint8_t digests[];
};
/* For digests of `point` under `key`. */
HVRI_MUST_CHECK int32_t hvri_filter_new(const struct hvri_env *env,
					const struct hvri_point *point,
					struct hvri_filter **filter_out);
struct hvri_filter *hvri_filter_hold(struct hvri_filter *filter);
void hvri_filter_drop(struct hvri_filter *filter);
/* May digests of `point` be added, still? */
bool hvri_filter_takes(const struct hvri_filter *filter,
		       const struct hvri_point *point);
const uint8_t *hvri_filter_key(const struct hvri_filter *filter);
/* Copy of an answer; NULL: no memory or too much, these granules are shipped. */
struct hvri_filter_run *hvri_filter_run_new(struct hvri_filter *filter,
					    const struct hvri_digests *digests);
void hvri_filter_runs_free(struct hvri_filter *filter,
			   struct hvri_filter_run *runs);
/* Take the runs over, which are in order and behind all others. */
void hvri_filter_add(struct hvri_filter *filter, struct hvri_filter_run *runs);

/* ---- compare.c: asking. ---- */

struct hvri_asked {
	uint32_t disk, count;
	uint64_t offset, point;
};

/* A COMPARE or VERIFY under way. */
struct hvri_run {
	struct hvri_task *task;
	struct hvri_vm *vm;
	struct hvri_lane_job job;
	bool in_lane;
	bool ended; /* Its task has; it goes when it leaves the lane. */
	uint8_t key[HVRI_GMAC_KEY];
	/* Unanswered asks, in order. */
	struct hvri_asked asked[HVRI_ASKS_MAX];
	uint32_t asked_first, asked_count;
	/* An answer to the first of `asked`, which is out already. */
	int32_t (*answer)(struct hvri_run *run, const struct hvri_asked *asked,
			  const struct hvri_digests *digests);
	void (*free)(struct hvri_run *run); /* Of the whole struct. */
};
/* Make it the one that answers belong to; its action ends with it. */
void hvri_run_start(struct hvri_run *run, struct hvri_vm *vm,
		    struct hvri_task *task);
/* Send an ask; the caller sees to the limit. */
HVRI_MUST_CHECK int32_t hvri_run_ask(struct hvri_run *run, uint32_t disk,
				     uint64_t offset, uint32_t count,
				     uint64_t point);
void hvri_run_submit(struct hvri_run *run,
		     bool (*work)(struct hvri_lane_job *job),
		     void (*done)(struct hvri_lane_job *job));
/* In `done`: it left the lane. True: it has ended and is gone. */
bool hvri_run_back(struct hvri_run *run);
/* DONE with `code`; `run` may be gone on return. */
void hvri_run_end(struct hvri_run *run, int32_t code, const char *sentence);

/* ---- answer.c ---- */

struct hvri_waiting_ask {
	struct hvri_waiting_ask *next;
	struct hvri_digest_ask ask;
	uint64_t session; /* Serial of the session that asked. */
	int32_t refused;  /* Answered with that, in its turn; OK: not. */
};
int32_t hvri_answer_ask(struct hvri_vm *vm, const uint8_t *payload,
			size_t length);
/* The session ended: nobody waits for what is not begun. */
void hvri_answer_drop(struct hvri_vm *vm);

/* Everything about digests of one VM. */
struct hvri_comparison {
	struct hvri_run *run;
	uint32_t stale; /* Answers to come that nobody waits for any more. */
	/* Answering, one ask after the other. */
	struct hvri_waiting_ask *first, **last;
	uint32_t waiting; /* Atomic, for the lane to look at. */
	bool answering;
	struct hvri_lane_job job;
	struct hvri_scan scan;
	/* scan.c; but `users` for jobs of the lane only. */
	uint32_t users; /* Atomic: scans under way. */
	hvrepl_view *view;
	hvrepl_store *view_store;
	uint64_t view_point;
	struct hvri_disk view_disk;
	bool has_view_disk;
	uint32_t view_disk_index;
	uint8_t *buffer;
	struct hvri_gmac gmac;
	uint8_t gmac_key[HVRI_GMAC_KEY];
	bool has_gmac;
};
/* The VM's, made when it is first needed; NULL: no memory. */
struct hvri_comparison *hvri_comparison_of(struct hvri_vm *vm);
/* Control thread: no more asks wait; let the view go if nobody scans. */
void hvri_scan_idle(struct hvri_vm *vm);
/* Control thread, when nothing of the VM is in the lane. */
void hvri_scan_free(struct hvri_vm *vm);
#endif
