/* SPDX-License-Identifier: Apache-2.0 */
/* What tracking costs a write to a hot region, beside a bare atomic OR. */
#include "bench.h"
#include "guest.h"
#include "sim.h"
#include "testing.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define DISK (1ull << 30)
#define BLOCK 4096u
#define WRITES 2000000u
#define ROUNDS 5

static struct sim sim;
static struct test_env test;
static uint64_t *bits;

struct worker {
	hvrepl_group *group;
	hvrepl_tracker *tracker;
	uint64_t seed;
	double ns; /* Per write. */
};

static void *track(void *argument)
{
	struct worker *worker = argument;
	uint64_t random = worker->seed, start = bench_now();

	for (uint32_t i = 0; i < WRITES; i++) {
		uint64_t offset = test_random(&random) % (DISK / BLOCK) * BLOCK;

		guest_write(worker->group, worker->tracker, offset, BLOCK);
	}
	worker->ns = (double)(bench_now() - start) / WRITES;
	return NULL;
}

static void *set_bits(void *argument)
{
	struct worker *worker = argument;
	uint64_t random = worker->seed, start = bench_now();

	for (uint32_t i = 0; i < WRITES; i++) {
		uint64_t block = test_random(&random) % (DISK / BLOCK);

		__atomic_fetch_or(&bits[block / 64], 1ull << (block % 64),
				  __ATOMIC_RELAXED);
	}
	worker->ns = (double)(bench_now() - start) / WRITES;
	return NULL;
}

/* Writes a microsecond by two threads at once. */
static double both(hvrepl_group *group, hvrepl_tracker *tracker)
{
	struct worker workers[2] = { { group, tracker, 11, 0 },
				     { group, tracker, 12, 0 } };
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, track, &workers[i]) != 0)
			exit(EXIT_FAILURE);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	return 1000 / workers[0].ns + 1000 / workers[1].ns;
}

int main(void)
{
	struct hvrepl_tracker_options options = HVREPL_TRACKER_OPTIONS_INIT;
	double tracked[ROUNDS], bare[ROUNDS], two[ROUNDS], one[ROUNDS];
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_tracker *tracker = NULL;
	struct hvrepl_storage storage;
	hvrepl_group *group = NULL;
	struct hvrepl_disk disk;
	uint64_t whole;
	long allocations;

	test_env_init(&test, 1);
	sim_init(&sim, 1);
	disk = sim_disk_handle(sim_disk_new(&sim, DISK));
	storage = sim_storage_handle(sim_storage_new(&sim));
	bits = calloc(DISK / BLOCK / 64, sizeof(*bits));
	if (bits == NULL)
		return EXIT_FAILURE;
	options.flags = HVREPL_TRACKER_CREATE;
	options.object_id = "bench.hvt";
	options.disk.bytes[0] = 1;
	bench_must(hvrepl_group_create(&test.env, NULL, &error, &group),
		   "group");
	bench_must(hvrepl_tracker_attach(group, &disk, &storage, &options,
					 &error, &tracker),
		   error.sentence);
	/* Every region hot and every page of the map there. */
	for (whole = 0; whole < DISK; whole += BLOCK)
		guest_write(group, tracker, whole, BLOCK);
	allocations = test.alloc_count;
	for (int i = 0; i < ROUNDS; i++) {
		struct worker worker = { group, tracker, (uint64_t)i + 1, 0 };

		set_bits(&worker);
		bare[i] = worker.ns;
		track(&worker);
		tracked[i] = worker.ns;
		one[i] = 1000 / worker.ns;
		two[i] = both(group, tracker);
	}
	bench_against("tracker: write_begin + write_end, hot region",
		      bench_median(tracked, ROUNDS), "ns", "atomic OR",
		      bench_median(bare, ROUNDS), "<= 6");
	bench_against("tracker: two threads", bench_median(two, ROUNDS),
		      "writes/us", "one thread", bench_median(one, ROUNDS),
		      ">= 1.8");
	bench_goal("tracker: allocations in steady state",
		   (double)(test.alloc_count - allocations), "", "<= 0");
	bench_must(hvrepl_tracker_detach(tracker, 0), "detach");
	bench_must(hvrepl_group_destroy(group), "destroy");
	sim_free(&sim);
	free(bits);
	return EXIT_SUCCESS;
}
