/* SPDX-License-Identifier: Apache-2.0 */
/* One target under libFuzzer; FUZZ_TARGET names it. */
#include "fuzz.h"

#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const struct fuzz_target FUZZ_TARGET;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t length, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t length, size_t room,
			       unsigned int seed);

static void write_seed(void *argument, const uint8_t *bytes, size_t length)
{
	static unsigned count;
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/seed-%03u", (char *)argument, count++);
	file = fopen(path, "wb");
	fuzz_must(file != NULL && fwrite(bytes, 1, length, file) == length &&
			  fclose(file) == 0,
		  "a seed cannot be written");
}

/* --seeds DIR: write them there and end. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	if (*argc == 3 && strcmp((*argv)[1], "--seeds") == 0) {
		fuzz_seeds_to(write_seed, (*argv)[2]);
		FUZZ_TARGET.seeds();
		exit(0);
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	if (length <= FUZZ_BYTES_MAX)
		FUZZ_TARGET.one(bytes, length);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t length, size_t room,
			       unsigned int seed)
{
	uint64_t random = (uint64_t)seed * 2 + 1;

	length = LLVMFuzzerMutate(bytes, length, room);
	/* Now and then it stays wrong. */
	if (FUZZ_TARGET.mend != NULL && test_random(&random) % 8 != 0)
		length = FUZZ_TARGET.mend(bytes, length, room, &random);
	return length;
}
