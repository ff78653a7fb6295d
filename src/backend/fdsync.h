/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Syncs of one descriptor, one at a time. The kernel tells a lost write once: of two
 * syncs at the same time one may end well that lost something. So each serves all that
 * came before it began, and after one that failed there is no other. (base/flush.h is
 * inside libhvrepl, which this library sees no more of than an application does; what it
 * serialises may be flushed again after a failure.)
 */
#ifndef HVRI_BACKEND_FDSYNC_H
#define HVRI_BACKEND_FDSYNC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct hvri_fd_sync {
	pthread_mutex_t mutex;
	pthread_cond_t ended;
	uint64_t begun, well; /* Number of the newest; of the newest that ended well. */
	bool running;
	int failed; /* errno of the one that failed. */
};

void hvri_fd_sync_init(struct hvri_fd_sync *sync);
void hvri_fd_sync_destroy(struct hvri_fd_sync *sync);
/*
 * 0 when a run(user) that began after this call did gave 0; otherwise the errno of the
 * one that failed, of this descriptor. It runs on the thread of one of the callers,
 * alone, and nobody hears of its end before it has returned. Any thread.
 */
int hvri_fd_sync_join(struct hvri_fd_sync *sync, int (*run)(void *user),
		      void *user);
#endif
