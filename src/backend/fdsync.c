/* SPDX-License-Identifier: Apache-2.0 */
/* Syncs of one descriptor, one at a time, each for all that wait; see fdsync.h. */
#include "backend/fdsync.h"

void hvri_fd_sync_init(struct hvri_fd_sync *sync)
{
	/* Default attributes: these calls cannot fail on Linux. */
	(void)pthread_mutex_init(&sync->mutex, NULL);
	(void)pthread_cond_init(&sync->ended, NULL);
	sync->begun = sync->well = 0;
	sync->running = false;
	sync->failed = 0;
}

void hvri_fd_sync_destroy(struct hvri_fd_sync *sync)
{
	(void)pthread_cond_destroy(&sync->ended);
	(void)pthread_mutex_destroy(&sync->mutex);
}

int hvri_fd_sync_join(struct hvri_fd_sync *sync, int (*run)(void *user),
		      void *user)
{
	uint64_t wanted;
	int failed;

	(void)pthread_mutex_lock(&sync->mutex);
	/* The one that runs may have begun before our writes ended. */
	wanted = sync->begun + 1;
	while (sync->failed == 0 && sync->well < wanted) {
		uint64_t number;

		if (sync->running) {
			(void)pthread_cond_wait(&sync->ended, &sync->mutex);
			continue;
		}
		sync->running = true;
		number = ++sync->begun;
		(void)pthread_mutex_unlock(&sync->mutex);
		failed = run(user);
		(void)pthread_mutex_lock(&sync->mutex);
		sync->running = false;
		if (failed == 0)
			sync->well = number;
		else
			sync->failed = failed;
		(void)pthread_cond_broadcast(&sync->ended);
	}
	/* One that ended well before another failed covered what it covered. */
	failed = sync->well >= wanted ? 0 : sync->failed;
	(void)pthread_mutex_unlock(&sync->mutex);
	return failed;
}
