/* SPDX-License-Identifier: Apache-2.0 */
/* What an idle relationship costs in memory, at both sites together. */
#include "bench.h"
#include "twonodes.h"

#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#define RELATIONSHIPS 1000

static double heap(void)
{
	struct mallinfo2 info = mallinfo2();

	return (double)info.uordblks + (double)info.hblkhd;
}

int main(void)
{
	struct twonodes two;
	struct hvrepl_uuid vm, disk;
	double before;

	/* Only memory is of interest here, not how long flushes take. */
	if (access("/dev/shm", W_OK) == 0)
		bench_must(setenv("TMPDIR", "/dev/shm", 1), "setenv");
	/* A cycle of an hour: nothing happens while we look. */
	twonodes_start(&two, 1u << 20, 3600ull * 1000000000ull);
	twonodes_bring(&two, &vm, &disk);
	twonodes_operate(&two, 0, HVREPL_OPERATION_ENABLE, &vm);
	twonodes_operate(&two, 0, HVREPL_OPERATION_START_INITIAL, &vm);
	before = heap();
	for (int i = 1; i < RELATIONSHIPS; i++) {
		twonodes_bring(&two, &vm, &disk);
		twonodes_operate(&two, 0, HVREPL_OPERATION_ENABLE, &vm);
		twonodes_operate(&two, 0, HVREPL_OPERATION_START_INITIAL, &vm);
	}
	for (int i = 0; i < 100; i++)
		twonodes_turn(&two);
	/* Both sites are in this process: halved for one. */
	bench_goal("memory: an idle relationship of 1,000, one site",
		   (heap() - before) / (RELATIONSHIPS - 1) / 2 / 1024, "KiB",
		   "<= 64");
	twonodes_end(&two);
	return 0;
}
