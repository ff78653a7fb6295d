/* SPDX-License-Identifier: Apache-2.0 */
/* The path of a guest write: counted, marked, published, perhaps held up. */
#include "tracker/internal.h"

#include "base/plant.h"

/* Answers of attempt() besides OK and FENCED. */
#define NEEDS_MARK 2
#define MAY_OWE 3

/* Threads have their stacks apart: by 8 MiB, by 256 KiB... No thread-local
 * variable is needed, and a wrong guess costs only a shared cache line. */
static inline uint32_t shard_here(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	return (uint32_t)((here >> 23) + (here >> 21) + (here >> 18) +
			  (here >> 16)) &
	       (HVRI_SHARDS - 1);
}

static inline uint32_t counter_index(uint64_t word, uint32_t mode)
{
	return (uint32_t)(hvri_generation(word) & 1) |
	       (mode & HVRI_MODE_PARITY) << 1;
}

bool hvri_counters_zero(const struct hvrepl_tracker *tracker, uint32_t index,
			bool publishing_only)
{
	/* Each shard is looked at once: one that was left and is entered again
	 * was entered by a writer that sees the new generation (or parity),
	 * and leaves. */
	for (uint32_t i = 0; i < HVRI_SHARDS; i++) {
		uint64_t count =
			atomic_load(&tracker->shards[i].counter[index]);

		if (publishing_only)
			count &= HVRI_COUNT_PUBLISHING_MASK;
		if (count != 0)
			return false;
	}
	return true;
}

bool hvri_published(const struct hvrepl_tracker *tracker, uint64_t generation)
{
	uint32_t index = (uint32_t)(generation & 1);

	return hvri_counters_zero(tracker, index, true) &&
	       hvri_counters_zero(tracker, index | 2, true);
}

bool hvri_drained(const struct hvrepl_tracker *tracker, uint64_t generation)
{
	uint32_t index = (uint32_t)(generation & 1);

	return hvri_counters_zero(tracker, index, false) &&
	       hvri_counters_zero(tracker, index | 2, false);
}

static inline bool is_hot(_Atomic uint8_t *byte)
{
	return (atomic_load(byte) & HVRI_REGION_STATE) == HVRI_REGION_HOT;
}

/* All regions of the write marked? One that is cooling is taken back, without
 * I/O: its mark is still on disk (T7). */
static inline bool regions_hot(struct hvrepl_tracker *tracker,
			       const struct hvri_wait *wait)
{
	for (uint32_t i = 0; i < wait->region_count; i++) {
		_Atomic uint8_t *byte = &tracker->region[wait->region + i];

		if (is_hot(byte) ||
		    hvri_region_change(byte, HVRI_REGION_COOLING,
				       HVRI_REGION_HOT))
			continue;
		if (!is_hot(byte))
			return false;
	}
	return true;
}

/* Whoever waits for counters to reach zero looks again when one that moved
 * away from the present generation or parity is left. */
static inline bool moved(const struct hvrepl_tracker *tracker,
			 const struct hvri_wait *wait)
{
	return hvri_generation(atomic_load(&tracker->group->word)) !=
		       wait->generation ||
	       atomic_load(&tracker->mode) != wait->mode;
}

/* T2. OK: counted in flight, bits set. NEEDS_MARK, FENCED: not counted.
 * MAY_OWE: counted, and a cut is open. *kick_out: wake the pump when no lock is
 * held. */
static inline int32_t attempt(struct hvrepl_tracker *tracker,
			      struct hvri_wait *wait, bool *kick_out,
			      bool unlocked)
{
	_Atomic uint64_t *const word_at = &tracker->group->word;

	(void)unlocked; /* Others may come in between (HVRI_YIELD_IF). */
	for (;;) {
		uint64_t word = atomic_load(word_at), again;
		uint32_t mode = atomic_load(&tracker->mode);
		_Atomic uint64_t *counter;
		struct hvri_bitmap *map;

		if ((mode & HVRI_MODE_FENCED) != 0 &&
		    !HVRI_PLANT(fence_ignored))
			return HVREPL_E_FENCED;
		counter = &tracker->shards[shard_here()]
				   .counter[counter_index(word, mode)];
		/* Counting is the pin of the region too: a region that cools
		 * waits for the counters of its parity (T7). */
		(void)atomic_fetch_add(counter, HVRI_COUNT_FLIGHT +
							HVRI_COUNT_PUBLISHING);
		HVRI_YIELD_IF(unlocked);
		again = atomic_load(word_at);
		wait->generation = hvri_generation(word);
		wait->mode = mode;
		if (hvri_generation(again) != wait->generation ||
		    atomic_load(&tracker->mode) != mode) {
			(void)atomic_fetch_sub(counter,
					       HVRI_COUNT_FLIGHT +
						       HVRI_COUNT_PUBLISHING);
			*kick_out = true;
			continue;
		}
		if (!regions_hot(tracker, wait) &&
		    !HVRI_PLANT(write_before_mark)) {
			/* Not counted while the mark is written, so that a slow
			 * tracker file never holds up a cut. */
			(void)atomic_fetch_sub(counter,
					       HVRI_COUNT_FLIGHT +
						       HVRI_COUNT_PUBLISHING);
			if (moved(tracker, wait))
				*kick_out = true;
			return NEEDS_MARK;
		}
		HVRI_YIELD_IF(unlocked);
		map = atomic_load_explicit(
			&tracker->map[wait->generation & 1],
			memory_order_acquire);
		if (HVRI_PLANT(marks_lost_in_switch) &&
		    (again & HVRI_WORD_OPEN) != 0)
			map = atomic_load(
				&tracker->map[~wait->generation & 1]);
		if (HVRI_PLANT(discard_not_tracked) &&
		    wait->kind != HVREPL_WRITE_DATA)
			wait->count = 0;
		HVRI_YIELD_IF(unlocked);
		if (!hvri_bitmap_try_set(map, wait->first, wait->count)) {
			hvri_bitmap_set(map, &tracker->group->pages,
					wait->first, wait->count);
			*kick_out |= atomic_load_explicit(
				&tracker->group->pages.low,
				memory_order_relaxed);
		}
		HVRI_YIELD_IF(unlocked);
		(void)atomic_fetch_sub(counter, HVRI_COUNT_PUBLISHING);
		HVRI_YIELD_IF(unlocked);
		wait->counter = counter;
		if ((again & HVRI_WORD_OPEN) != 0)
			return MAY_OWE;
		if (hvri_generation(atomic_load(word_at)) != wait->generation)
			*kick_out = true;
		return HVREPL_OK;
	}
}

/* Leave in flight; true: wake the pump. */
static inline bool leave(struct hvrepl_tracker *tracker, struct hvri_wait *wait)
{
	(void)atomic_fetch_sub(wait->counter, HVRI_COUNT_FLIGHT);
	wait->counter = NULL;
	return moved(tracker, wait);
}

/* tracker->mutex held: must this write wait for the open cut? (T3) */
static bool owes(struct hvrepl_tracker *tracker, const struct hvri_wait *wait)
{
	struct hvri_member *part = tracker->open;

	return part != NULL && !HVRI_PLANT(owed_ignored) &&
	       atomic_load(&part->cut->state) == HVREPL_CUT_OPEN &&
	       part->cut->generation < wait->generation &&
	       hvri_part_owes(part, wait->first, wait->count);
}

static void enqueue(struct hvrepl_tracker *tracker,
		    struct hvrepl_ticket *ticket)
{
	struct hvri_wait *wait = hvri_wait_of(ticket);

	wait->next = NULL;
	*tracker->waiting_last = ticket;
	tracker->waiting_last = &wait->next;
	(void)atomic_fetch_add(&tracker->waiting_count, 1);
	(void)atomic_fetch_add_explicit(&tracker->waits, 1,
					memory_order_relaxed);
}

/* What attempt() did not settle: wait, with the pump's help. */
static int32_t begin_slow(struct hvrepl_tracker *tracker,
			  struct hvrepl_ticket *ticket, int32_t rc, bool kick)
{
	struct hvri_wait *wait = hvri_wait_of(ticket);
	uint64_t deadline;
	uint16_t still = 0;

	if (rc == HVREPL_OK || rc == HVREPL_E_FENCED) {
		if (kick)
			hvri_tracker_kick(tracker);
		return rc;
	}
	deadline = hvri_now(&tracker->group->env);
	deadline = HVRI_MIN(deadline, UINT64_MAX - tracker->group->write_wait) +
		   tracker->group->write_wait;
	wait->deadline = deadline;
	atomic_store(&wait->stage, 0);
	wait->reason = rc == MAY_OWE ? HVRI_WAIT_OWED : HVRI_WAIT_MARK;
	hvri_lock(&tracker->mutex);
	if (wait->reason == HVRI_WAIT_OWED && !owes(tracker, wait)) {
		hvri_unlock(&tracker->mutex);
		if (kick || moved(tracker, wait))
			hvri_tracker_kick(tracker);
		return HVREPL_OK;
	}
	enqueue(tracker, ticket);
	hvri_unlock(&tracker->mutex);
	hvri_timer_set(tracker->group, deadline);
	/* After it is queued: what the pump does from here on includes it. */
	hvri_tracker_kick(tracker);
	if (atomic_compare_exchange_strong(&wait->stage, &still, 1))
		return HVREPL_PENDING;
	return wait->result;
}

int32_t hvri_tracker_write_begin(hvrepl_tracker *tracker, uint64_t offset,
				 uint64_t length, uint32_t kind,
				 struct hvrepl_ticket *ticket)
{
	struct hvri_wait *wait = hvri_wait_of(ticket);
	bool kick = false;
	uint64_t last;
	int32_t rc;

	if (length == 0 || offset > tracker->size ||
	    length > tracker->size - offset)
		return HVREPL_E_RANGE;
	if (HVRI_PLANT(offset_32_bits))
		offset = (uint32_t)offset;
	last = offset + length - 1;
	wait->first = offset >> tracker->block_shift;
	wait->count = (last >> tracker->block_shift) - wait->first + 1;
	wait->region = (uint32_t)(offset >> tracker->region_shift);
	wait->region_count =
		(uint32_t)(last >> tracker->region_shift) - wait->region + 1;
	wait->kind = (uint8_t)kind;
	rc = attempt(tracker, wait, &kick, true);
	if (rc == HVREPL_OK && !kick)
		return HVREPL_OK;
	return begin_slow(tracker, ticket, rc, kick);
}

int32_t hvri_tracker_write_end(hvrepl_tracker *tracker,
			       struct hvrepl_ticket *ticket, int32_t result)
{
	struct hvri_wait *wait = hvri_wait_of(ticket);
	const uint8_t seen = HVRI_REGION_WRITTEN | HVRI_REGION_RECENT;

	if (wait->counter == NULL)
		return HVREPL_E_STATE;
	/* The write has ended, so a flush that begins after this covers it:
	 * noted at the end, before the pin is let go (T7 c). */
	for (uint32_t i = 0; i < wait->region_count; i++) {
		_Atomic uint8_t *byte = &tracker->region[wait->region + i];

		if ((atomic_load(byte) & seen) != seen &&
		    !HVRI_PLANT(write_counts_at_begin))
			(void)atomic_fetch_or(byte, seen);
	}
	HVRI_YIELD();
	if (leave(tracker, wait))
		hvri_tracker_kick(tracker);
	return result;
}

void hvri_tracker_set_bits(struct hvrepl_tracker *tracker, uint64_t first,
			   uint64_t count)
{
	_Atomic uint64_t *counter;
	uint64_t word, generation;

	/* As a write that lasts no time. */
	for (;;) {
		word = atomic_load(&tracker->group->word);
		counter = &tracker->shards[shard_here()]
				   .counter[counter_index(word, 0)];
		(void)atomic_fetch_add(counter, HVRI_COUNT_PUBLISHING);
		generation = hvri_generation(word);
		if (hvri_generation(atomic_load(&tracker->group->word)) ==
		    generation)
			break;
		(void)atomic_fetch_sub(counter, HVRI_COUNT_PUBLISHING);
		hvri_tracker_kick(tracker);
	}
	hvri_bitmap_set(atomic_load(&tracker->map[generation & 1]),
			&tracker->group->pages, first, count);
	(void)atomic_fetch_sub(counter, HVRI_COUNT_PUBLISHING);
	if (hvri_generation(atomic_load(&tracker->group->word)) !=
	    generation)
		hvri_tracker_kick(tracker);
}

/* Takes the ticket at *link out of the queue and puts it on `done`. */
static void finish(struct hvrepl_tracker *tracker, struct hvrepl_ticket **link,
		   struct hvrepl_ticket ***done_last, int32_t result)
{
	struct hvrepl_ticket *ticket = *link;
	struct hvri_wait *wait = hvri_wait_of(ticket);

	*link = wait->next;
	if (tracker->waiting_last == &wait->next)
		tracker->waiting_last = link;
	wait->next = NULL;
	wait->result = result;
	**done_last = ticket;
	*done_last = &wait->next;
	(void)atomic_fetch_sub(&tracker->waiting_count, 1);
}

/* No lock held: the callback may begin and end writes. */
static void complete(struct hvrepl_ticket *done)
{
	while (done != NULL) {
		struct hvrepl_ticket *ticket = done;
		struct hvri_wait *wait = hvri_wait_of(ticket);
		int32_t result = wait->result;

		done = wait->next;
		/* While write_begin is on its way, it returns the result. */
		if (atomic_exchange(&wait->stage, 2) == 1) {
			ticket->complete(ticket, result);
			if (HVRI_PLANT(completed_twice) &&
			    result == HVREPL_E_FENCED)
				ticket->complete(ticket, result);
		}
	}
}

/* May this ticket go on? PENDING: not yet. */
static int32_t look(struct hvrepl_tracker *tracker, struct hvri_wait *wait,
		    bool *kick)
{
	int32_t rc;

	if (wait->reason == HVRI_WAIT_MARK) {
		/* A woken writer looks again, from the start (T7). */
		rc = attempt(tracker, wait, kick, false);
		if (rc == NEEDS_MARK)
			return HVREPL_PENDING;
		if (rc != MAY_OWE)
			return rc;
		wait->reason = HVRI_WAIT_OWED;
	}
	if ((atomic_load(&tracker->mode) & HVRI_MODE_FENCED) != 0) {
		*kick |= leave(tracker, wait);
		return HVREPL_E_FENCED;
	}
	return owes(tracker, wait) ? HVREPL_PENDING : HVREPL_OK;
}

void hvri_waiters_serve(struct hvrepl_tracker *tracker)
{
	struct hvrepl_ticket *done = NULL, **done_last = &done, **link;
	bool kick = false;

	if (atomic_load(&tracker->waiting_count) == 0)
		return;
	hvri_lock(&tracker->mutex);
	link = &tracker->waiting;
	while (*link != NULL) {
		struct hvri_wait *wait = hvri_wait_of(*link);
		int32_t rc = look(tracker, wait, &kick);

		if (rc == HVREPL_PENDING)
			link = &wait->next;
		else
			finish(tracker, link, &done_last, rc);
	}
	hvri_unlock(&tracker->mutex);
	if (kick)
		hvri_tracker_kick(tracker);
	complete(done);
}

void hvri_waiters_fail(struct hvrepl_tracker *tracker, uint32_t reason,
		       uint64_t before, int32_t result)
{
	struct hvrepl_ticket *done = NULL, **done_last = &done, **link;
	bool kick = false;

	hvri_lock(&tracker->mutex);
	link = &tracker->waiting;
	while (*link != NULL) {
		struct hvri_wait *wait = hvri_wait_of(*link);

		if (wait->reason != reason || wait->deadline > before ||
		    (reason == HVRI_WAIT_OWED &&
		     wait->kind != HVREPL_WRITE_DISCARD)) {
			link = &wait->next;
			continue;
		}
		if (wait->reason == HVRI_WAIT_OWED)
			kick |= leave(tracker, wait);
		finish(tracker, link, &done_last, result);
	}
	hvri_unlock(&tracker->mutex);
	if (kick)
		hvri_tracker_kick(tracker);
	complete(done);
}

int32_t hvri_tracker_fence(hvrepl_tracker *tracker)
{
	uint32_t was = atomic_fetch_or(&tracker->mode, HVRI_MODE_FENCED);

	if ((was & HVRI_MODE_FENCED) == 0)
		hvri_tracker_kick(tracker); /* Those waiting end. */
	for (uint32_t i = 0; i < HVRI_COUNTERS; i++)
		if (!hvri_counters_zero(tracker, i, false))
			return HVREPL_E_BUSY;
	return HVREPL_OK;
}

void hvri_tracker_unfence(hvrepl_tracker *tracker)
{
	(void)atomic_fetch_and(&tracker->mode, ~HVRI_MODE_FENCED);
}
