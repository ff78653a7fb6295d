/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that has answered is not gone yet, and keeps what libcrypto gave it: who
 * looks for leaks waits for it. */
#ifndef THREADCOUNT_H
#define THREADCOUNT_H

#include "testing.h"

#include <dirent.h>
#include <time.h>

static inline unsigned threads_now(void)
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned count = 0;

	ck_assert_ptr_nonnull(tasks);
	while (readdir(tasks) != NULL)
		count++;
	closedir(tasks);
	return count;
}

static unsigned threads_before; /* 0: not counted. */

/* The first time only: later there may be some that are about to go. */
static inline void count_threads(void)
{
	if (threads_before == 0)
		threads_before = threads_now();
}

/* Leaks are looked for by the address sanitizer alone; others have threads of their
 * own, that come and stay. */
static inline void await_threads(void)
{
#ifdef __SANITIZE_ADDRESS__
	for (int i = 0; i < 60000 && threads_before > 0 &&
			threads_now() > threads_before;
	     i++)
		nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
#endif
}
#endif
