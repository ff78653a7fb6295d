/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work shared by a few processes: what one of them finds ends it, not the run,
 * and it is begun again behind that.
 *
 * A program that is linked with --wrap=_ck_assert_failed,--wrap=_mark_point has
 * the checks of tests/lib in these processes too: check_failed() is its own.
 */
#ifndef WORKERS_H
#define WORKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define WORKERS_MAX 64u

struct workers {
	unsigned count; /* 1 to WORKERS_MAX. */
	/* In a process of its own; does not return, and says in shared memory
	 * how far it is. */
	void (*work)(unsigned worker);
	/* Here, when it has ended with this status of waitpid(). True: there is
	 * more for it to do, begin it again. */
	bool (*ended)(unsigned worker, int status);
	pid_t pids[WORKERS_MAX]; /* For workers_run() alone. */
};

/* Until none has more to do. Ends the program if there is no process. */
void workers_run(struct workers *workers);
/* Zeroed memory that all of them see; there until the program ends. */
void *workers_memory(size_t size);

/* A check of tests/lib failed: the program says where it was, and ends the
 * process. `text`: file, line and what did not hold. */
void check_failed(const char *text) __attribute__((noreturn));
#endif
