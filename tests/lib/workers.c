/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that are begun again; see workers.h. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS. */

#include "workers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

void *workers_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return memory;
}

static void begin(struct workers *workers, unsigned worker)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		perror("fork");
		exit(2);
	}
	if (pid == 0) {
		workers->work(worker);
		abort();
	}
	workers->pids[worker] = pid;
}

void workers_run(struct workers *workers)
{
	unsigned running = workers->count;

	for (unsigned i = 0; i < workers->count; i++)
		begin(workers, i);
	while (running > 0) {
		int status;
		pid_t pid = waitpid(-1, &status, 0);
		unsigned i = 0;

		if (pid < 0 && errno == EINTR)
			continue;
		while (i < workers->count && workers->pids[i] != pid)
			i++;
		if (i == workers->count) {
			fprintf(stderr, "a process is missing\n");
			exit(2);
		}
		if (workers->ended(i, status))
			begin(workers, i);
		else
			running--;
	}
}
