/* SPDX-License-Identifier: Apache-2.0 */
/* Feeds decoders with damage for as long as asked; a seed repeats a failure. */
#include "decoders.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH 256u

static const struct decoder *find(const char *name)
{
	const struct decoder *one;

	for (size_t i = 0; (one = decoder_get(i)) != NULL; i++)
		if (strcmp(one->name, name) == 0)
			return one;
	fprintf(stderr, "fuzz: there is no target '%s'; these are:", name);
	for (size_t i = 0; (one = decoder_get(i)) != NULL; i++)
		fprintf(stderr, " %s", one->name);
	fprintf(stderr, "\n");
	exit(2);
}

static double now(void)
{
	struct timespec at;

	(void)clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void run(const struct decoder *decoder, double seconds, uint64_t seed)
{
	double start = now(), shown = start;
	uint64_t rounds = 0, taken = 0;

	/* A crash says nothing after: where to begin is said before. */
	printf("%s: from seed %llu\n", decoder->name,
	       (unsigned long long)seed);
	fflush(stdout);
	do {
		if (now() - shown > 10) {
			shown = now();
			printf("%s: at seed %llu\n", decoder->name,
			       (unsigned long long)(seed + rounds));
			fflush(stdout);
		}
		taken += decoder_run(decoder, seed + rounds, BATCH);
		rounds += BATCH;
	} while (now() - start < seconds);
	printf("%s: %llu rounds, %llu taken\n", decoder->name,
	       (unsigned long long)rounds, (unsigned long long)taken);
}

int main(int argc, char **argv)
{
	const struct decoder *only = NULL, *one;
	double seconds = 2;
	uint64_t seed = 1;
	unsigned passed = 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
			seconds = strtod(argv[++i], NULL);
		else if (strcmp(argv[i], "--first") == 0 && i + 1 < argc)
			seed = strtoull(argv[++i], NULL, 10);
		else
			only = find(argv[i]);
	}
	for (size_t i = 0; (one = decoder_get(i)) != NULL; i++) {
		if (only != NULL && only != one)
			continue;
		run(one, seconds, seed);
		passed++;
	}
	/* A decoder that takes what it must not ends the program. */
	printf("%u passed, 0 failed\n", passed);
	return 0;
}
