/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes writes for somebody who counts instructions: 4 KiB each, to hot regions,
 * through a node's guest door ("tracked") or straight to a file disk ("bare").
 *
 *   bench-count tracked|bare WRITES
 */
#include "bench.h"
#include "testing.h"
#include "twonodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE (64u << 20)

/* Counted by its name. */
void make_writes(hvrepl_guest_disk *door, struct hvrepl_disk *disk, long count);
__attribute__((noinline)) void make_writes(hvrepl_guest_disk *door,
					   struct hvrepl_disk *disk, long count)
{
	static uint8_t block[4096];
	struct hvrepl_iovec iov = { block, sizeof(block) };
	uint64_t random = 7;

	for (; count > 0; count--) {
		uint64_t offset = test_random(&random) % (SIZE / 4096) * 4096;

		bench_must(door != NULL ?
				   hvrepl_guest_write(door, offset, block,
						      sizeof(block)) :
				   disk->ops->writev(disk->user, NULL, offset,
						     &iov, 1),
			   "write");
	}
}

int main(int argc, char **argv)
{
	static uint8_t block[4096];
	struct twonodes two;
	struct hvrepl_uuid vm, id;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_disk disk;
	hvrepl_guest_disk *door;
	char path[TEMPDIR_PATH_MAX];

	if (argc != 3)
		return 2;
	/* Both set up the same; an hour between cuts. */
	twonodes_start(&two, SIZE, 3600ull * 1000000000ull);
	twonodes_bring(&two, &vm, &id);
	bench_must(hvrepl_vm_open_disk(two.nodes[0], &vm, &id, &door), "door");
	tempdir_join(&two.dir, "bare.img", path);
	bench_must(hvrepl_file_disk_create(path, SIZE, &error), error.sentence);
	bench_must(hvrepl_file_disk_open(path, 0, &disk, &error),
		   error.sentence);
	for (uint64_t at = 0; at < SIZE; at += 1u << 20)
		bench_must(hvrepl_guest_write(door, at, block, sizeof(block)),
			   "write");
	make_writes(strcmp(argv[1], "tracked") == 0 ? door : NULL, &disk,
		    atol(argv[2]));
	disk.release(disk.user);
	twonodes_end(&two);
	return EXIT_SUCCESS;
}
