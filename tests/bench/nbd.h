/* SPDX-License-Identifier: Apache-2.0 */
/* A small NBD client that writes as fast as it can, for benchmarks. */
#ifndef BENCH_NBD_H
#define BENCH_NBD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NBD_DEPTH_MAX 64u
#define NBD_BLOCK 4096u

struct nbd {
	int socket;
	uint64_t size;   /* Of the export, bytes. */
	uint64_t random; /* Seed of the offsets. */
	uint64_t started[NBD_DEPTH_MAX]; /* When each slot's write was sent. */
	uint8_t data[NBD_BLOCK];
};

/* Random writes of 4 KiB: until `until_ns` or until `count` were made. */
struct nbd_load {
	uint32_t depth;
	uint32_t flush_every; /* Writes between two guest flushes; 0: none. */
	uint64_t span;        /* Offsets fall below it. */
	uint64_t until_ns;    /* bench_now(); 0: no limit. */
	uint64_t count;       /* 0: no limit. */
	double *latency_ms;   /* Optional: of each write, `count` of them. */
};

/* Waits up to 20 s until the export can be opened and written. */
void nbd_open(struct nbd *nbd, const char *socket_path, const char *export);
/* Number of writes completed. */
uint64_t nbd_run(struct nbd *nbd, const struct nbd_load *load);
void nbd_close(struct nbd *nbd);

/* nbdkit in a process of its own; `arguments` end with NULL. */
pid_t nbd_serve(const char *const *arguments);
/* Ask it to end, and wait. */
void nbd_stop(pid_t server);
/* CPU seconds of all its threads so far. */
double nbd_cpu(pid_t server);
#endif
