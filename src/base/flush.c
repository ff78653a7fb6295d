/* SPDX-License-Identifier: Apache-2.0 */
/* Flushes of one disk, one at a time, each for all that wait; see flush.h. */
#include "base/flush.h"

void hvri_flushes_init(struct hvri_flushes *flushes)
{
	hvri_mutex_init(&flushes->mutex);
	hvri_cond_init(&flushes->ended);
	flushes->first = NULL;
	flushes->last = &flushes->first;
	flushes->running = false;
}

void hvri_flushes_destroy(struct hvri_flushes *flushes)
{
	hvri_cond_destroy(&flushes->ended);
	hvri_mutex_destroy(&flushes->mutex);
}

/* Takes the calls out that the flush of `call` serves. */
static struct hvri_flush_call *take_served(struct hvri_flushes *flushes,
					   const struct hvri_flush_call *call)
{
	struct hvri_flush_call *served = NULL, **served_last = &served;
	struct hvri_flush_call *at = flushes->first;

	flushes->first = NULL;
	flushes->last = &flushes->first;
	while (at != NULL) {
		struct hvri_flush_call *next = at->next;

		at->next = NULL;
		if (at->flush == call->flush && at->what == call->what) {
			*served_last = at;
			served_last = &at->next;
		} else {
			*flushes->last = at;
			flushes->last = &at->next;
		}
		at = next;
	}
	return served;
}

int32_t hvri_flushes_join(struct hvri_flushes *flushes,
			  int32_t (*flush)(void *user, const void *what),
			  void *user, const void *what)
{
	struct hvri_flush_call call = { .flush = flush, .what = what };
	struct hvri_flush_call *served, *next;
	int32_t rc;

	hvri_lock(&flushes->mutex);
	*flushes->last = &call;
	flushes->last = &call.next;
	while (!call.done && (flushes->running || flushes->first != &call))
		hvri_wait(&flushes->ended, &flushes->mutex);
	if (!call.done) {
		flushes->running = true;
		served = take_served(flushes, &call);
		hvri_unlock(&flushes->mutex);
		rc = flush(user, what);
		hvri_lock(&flushes->mutex);
		flushes->running = false;
		/* A frame may go once the lock is free. */
		for (; served != NULL; served = next) {
			next = served->next;
			served->result = rc;
			served->done = true;
		}
		hvri_wake_all(&flushes->ended);
	}
	rc = call.result;
	hvri_unlock(&flushes->mutex);
	return rc;
}
