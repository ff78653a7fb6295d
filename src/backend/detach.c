/* SPDX-License-Identifier: Apache-2.0 */
/* Starts threads that nobody waits for. */
#include "backend/detach.h"

#include <pthread.h>
#include <signal.h>

int hvri_detach(void *(*function)(void *argument), void *argument)
{
	sigset_t all, before;
	pthread_attr_t detached;
	pthread_t thread;
	int failed;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&thread, &detached, function, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&detached);
	return failed;
}
