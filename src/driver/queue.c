/* SPDX-License-Identifier: Apache-2.0 */
/* Many bringers, one taker; a list under a lock that is held for a moment. */
#include "driver/queue.h"

void hvri_queue_init(struct hvri_queue *queue, void (*wake)(void *user),
		     void *user)
{
	hvri_mutex_init(&queue->mutex);
	queue->first = NULL;
	queue->last = &queue->first;
	queue->filled = false;
	queue->wake = wake;
	queue->user = user;
}

void hvri_queue_free(struct hvri_queue *queue)
{
	hvri_mutex_destroy(&queue->mutex);
}

void hvri_queue_put(struct hvri_queue *queue, struct hvri_item *item)
{
	bool was_empty;

	item->next = NULL;
	hvri_lock(&queue->mutex);
	was_empty = queue->first == NULL;
	*queue->last = item;
	queue->last = &item->next;
	__atomic_store_n(&queue->filled, true, __ATOMIC_RELEASE);
	/* Under the lock: once it is released the taker may run the item and
	 * destroy the queue with it. */
	if (was_empty && queue->wake != NULL)
		queue->wake(queue->user);
	hvri_unlock(&queue->mutex);
}

static struct hvri_item *take(struct hvri_queue *queue)
{
	struct hvri_item *item;

	if (hvri_queue_empty(queue))
		return NULL;
	hvri_lock(&queue->mutex);
	item = queue->first;
	if (item != NULL) {
		queue->first = item->next;
		if (queue->first == NULL) {
			queue->last = &queue->first;
			__atomic_store_n(&queue->filled, false,
					 __ATOMIC_RELEASE);
		}
	}
	hvri_unlock(&queue->mutex);
	return item;
}

uint32_t hvri_queue_run(struct hvri_queue *queue, uint32_t budget)
{
	uint32_t count = 0;
	struct hvri_item *item;

	while (count < budget && (item = take(queue)) != NULL) {
		item->run(item);
		count++;
	}
	return count;
}

/* The taker looks more often than anything is brought: without the lock. What is
 * brought a moment later wakes him. */
bool hvri_queue_empty(struct hvri_queue *queue)
{
	return !__atomic_load_n(&queue->filled, __ATOMIC_ACQUIRE);
}
