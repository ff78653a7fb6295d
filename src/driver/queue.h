/* SPDX-License-Identifier: Apache-2.0 */
/* What other threads bring to the control thread, in order of arrival. */
#ifndef HVRI_DRIVER_QUEUE_H
#define HVRI_DRIVER_QUEUE_H

#include "base/env.h"
#include "base/sync.h"

#include <stdbool.h>

/* Embedded in whatever is brought; not touched by the bringer any more. */
struct hvri_item {
	struct hvri_item *next;
	void (*run)(struct hvri_item *item);
};

struct hvri_queue {
	hvri_mutex mutex;
	struct hvri_item *first, **last;
	bool filled; /* `first` is not NULL; read without the lock. */
	void (*wake)(void *user); /* Optional; called under the lock: it must only signal. */
	void *user;
};

void hvri_queue_init(struct hvri_queue *queue, void (*wake)(void *user),
		     void *user);
void hvri_queue_free(struct hvri_queue *queue);
/* Any thread. */
void hvri_queue_put(struct hvri_queue *queue, struct hvri_item *item);
/* Run at most `budget` items; how many were run. Control thread. */
uint32_t hvri_queue_run(struct hvri_queue *queue, uint32_t budget);
bool hvri_queue_empty(struct hvri_queue *queue);
#endif
