/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flushes of one disk, one at a time. The error of a flush is told once, whoever's writes
 * it took: of two at the same time one may end well that lost something. So each serves
 * all that came before it began, and what it gives goes to all of them: many callers pay
 * for few flushes.
 */
#ifndef HVRI_BASE_FLUSH_H
#define HVRI_BASE_FLUSH_H

#include "base/rc.h"
#include "base/sync.h"

#include <stdbool.h>

/* A caller that waits; on its stack until it is done. */
struct hvri_flush_call {
	struct hvri_flush_call *next;
	int32_t (*flush)(void *user, const void *what);
	const void *what;
	bool done;
	int32_t result;
};

struct hvri_flushes {
	hvri_mutex mutex;
	hvri_cond ended;
	struct hvri_flush_call *first, **last; /* Not begun, in their order. */
	bool running;
};

void hvri_flushes_init(struct hvri_flushes *flushes);
void hvri_flushes_destroy(struct hvri_flushes *flushes);
/*
 * What a flush(user, what) gave that began after this call did. It runs on the thread of
 * one of the callers, alone, without a lock of ours: it notes its end for the others
 * before the next begins. It serves all callers that wait with the same `flush` and
 * `what` (their `user` is the same thing); those with another one have a flush of their
 * own, in the order in which the first of each came. So nobody waits for more than the
 * one under way and one of each kind. Any thread; the caller holds nothing that a flush
 * needs.
 */
HVRI_MUST_CHECK int32_t hvri_flushes_join(
	struct hvri_flushes *flushes,
	int32_t (*flush)(void *user, const void *what), void *user,
	const void *what);
#endif
