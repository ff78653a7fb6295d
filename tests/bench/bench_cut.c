/* SPDX-License-Identifier: Apache-2.0 */
/* How long naming a cut takes for 1, 16 and 1024 disks of 1 TiB, and what the
 * writes around it see. */
#include "bench.h"
#include "guest.h"
#include "tempdir.h"
#include "testing.h"

#include <hvrepl/backends.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISK (1ull << 40)
#define BLOCK 4096u
#define DISKS_MAX 1024u
#define ROUNDS 20u
#define WRITES_PER_ROUND 2000u
#define SPREAD (256ull << 20) /* Writes fall into the first 256 MiB. */

static struct test_env test;
static struct tempdir place;
static hvrepl_tracker *trackers[DISKS_MAX];

/* A disk whose content does not matter, so that 1024 TiB fit. */
static int32_t big_info(void *user, struct hvrepl_disk_info *info)
{
	(void)user;
	info->size = DISK;
	info->block_size = 512;
	info->flags = HVREPL_DISK_EXCLUSIVE;
	return HVREPL_OK;
}

static int32_t big_readv(void *user, hvrepl_op *op, uint64_t offset,
			 const struct hvrepl_iovec *iov, uint32_t count)
{
	(void)user, (void)op, (void)offset;
	for (uint32_t i = 0; i < count; i++)
		memset(iov[i].base, 0x5a, iov[i].length);
	return HVREPL_OK;
}

static int32_t big_writev(void *user, hvrepl_op *op, uint64_t offset,
			  const struct hvrepl_iovec *iov, uint32_t count)
{
	(void)user, (void)op, (void)offset, (void)iov, (void)count;
	return HVREPL_OK;
}

static double write_once(hvrepl_group *group, uint32_t disks,
			 uint64_t *random)
{
	hvrepl_tracker *tracker = trackers[test_random(random) % disks];
	uint64_t offset = test_random(random) % (SPREAD / BLOCK) * BLOCK;
	uint64_t start = bench_now();

	guest_write(group, tracker, offset, BLOCK);
	return (double)(bench_now() - start) / 1e6;
}

static void measure(uint32_t disks, const char *goal)
{
	static double latency[ROUNDS * WRITES_PER_ROUND];
	struct hvrepl_tracker_options options = HVREPL_TRACKER_OPTIONS_INIT;
	struct hvrepl_disk_ops ops = HVREPL_DISK_OPS_INIT;
	struct hvrepl_disk disk = { &ops, NULL, NULL };
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	double named[ROUNDS];
	hvrepl_group *group = NULL;
	uint64_t random = 7;
	size_t writes = 0;
	char name[80], path[TEMPDIR_PATH_MAX];

	ops.info = big_info;
	ops.readv = big_readv;
	ops.writev = big_writev;
	bench_must(hvrepl_group_create(&test.env, NULL, &error, &group), "group");
	options.flags = HVREPL_TRACKER_CREATE;
	options.object_id = name;
	for (uint32_t i = 0; i < disks; i++) {
		struct hvrepl_storage storage;

		snprintf(name, sizeof(name), "%u-%u", disks, i);
		bench_must(hvrepl_dir_storage_open(tempdir_join(&place, name, path),
						   HVREPL_DIR_CREATE,
						   &storage, &error),
			   error.sentence);
		snprintf(name, sizeof(name), "disk.hvt");
		memcpy(options.disk.bytes, &i, sizeof(i));
		options.disk.bytes[15] = 1;
		bench_must(hvrepl_tracker_attach(group, &disk, &storage, &options,
						 &error, &trackers[i]),
			   error.sentence);
	}
	for (uint32_t round = 0; round < ROUNDS; round++) {
		hvrepl_cut *cut = NULL;
		uint64_t start;

		for (uint32_t i = 0; i < WRITES_PER_ROUND / 2; i++)
			latency[writes++] = write_once(group, disks, &random);
		start = bench_now();
		bench_must(hvrepl_group_cut(group, 0, &error, &cut), error.sentence);
		named[round] = (double)(bench_now() - start) / 1e6;
		for (uint32_t i = 0; i < WRITES_PER_ROUND / 2; i++)
			latency[writes++] = write_once(group, disks, &random);
		bench_must(hvrepl_cut_close(cut, HVREPL_OK), "close");
	}
	snprintf(name, sizeof(name), "cut: naming it, %u disks of 1 TiB", disks);
	bench_goal(name, bench_median(named, ROUNDS), "ms", goal);
	snprintf(name, sizeof(name), "cut: p99.9 of writes across it, %u disks",
		 disks);
	bench_goal(name, bench_quantile(latency, writes, 0.999), "ms", "<= 50");
	for (uint32_t i = 0; i < disks; i++)
		bench_must(hvrepl_tracker_detach(trackers[i], 0), "detach");
	bench_must(hvrepl_group_destroy(group), "destroy");
}

int main(void)
{
	test_env_init(&test, 1);
	tempdir_make(&place);
	measure(1, "<= 0.02");
	measure(16, "<= 0.02");
	measure(1024, "<= 1");
	tempdir_remove(&place);
	return EXIT_SUCCESS;
}
