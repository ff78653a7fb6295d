/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs fuzz targets without libFuzzer, in every build: the seeds, what
 * tests/fuzz/corpus/TARGET keeps of former findings, then damage to the seeds
 * for as long as asked.
 *
 *   fuzz-corpora CORPUS TARGET [--damage MILLISECONDS] [--first SEED]
 *   fuzz-corpora FILE TARGET      one input
 */
#include "fuzz.h"

#include "mutate.h"
#include "testing.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define SEEDS_MAX 512u

struct input {
	uint8_t *bytes;
	size_t length;
};

static struct input seeds[SEEDS_MAX];
static size_t seed_count;
static unsigned passed;

static void run(const struct fuzz_target *target, const uint8_t *bytes,
		size_t length)
{
	/* Just as long as it is: a byte too far is seen. */
	uint8_t *exact = malloc(length > 0 ? length : 1);

	fuzz_must(exact != NULL, "no memory");
	if (length > 0)
		memcpy(exact, bytes, length);
	target->one(exact, length);
	free(exact);
}

static void keep_seed(void *argument, const uint8_t *bytes, size_t length)
{
	(void)argument;
	fuzz_must(seed_count < SEEDS_MAX, "more seeds than room");
	seeds[seed_count].bytes = malloc(length + 1);
	fuzz_must(seeds[seed_count].bytes != NULL, "no memory");
	if (length > 0)
		memcpy(seeds[seed_count].bytes, bytes, length);
	seeds[seed_count++].length = length;
}

static void run_file(const struct fuzz_target *target, const char *path)
{
	uint8_t *bytes = malloc(FUZZ_BYTES_MAX);
	FILE *file = fopen(path, "rb");
	size_t length;

	fuzz_must(bytes != NULL && file != NULL, path);
	length = fread(bytes, 1, FUZZ_BYTES_MAX, file);
	fuzz_must(!ferror(file), path);
	fclose(file);
	/* A crash says nothing after: who it was is said before. */
	printf("%s\n", path);
	fflush(stdout);
	run(target, bytes, length);
	free(bytes);
	passed++;
}

static void run_corpus(const struct fuzz_target *target, const char *corpus)
{
	char path[4096];
	struct dirent *entry;
	DIR *directory;

	snprintf(path, sizeof(path), "%s/%s", corpus, target->name);
	directory = opendir(path);
	if (directory == NULL)
		return; /* Nothing was found here yet. */
	while ((entry = readdir(directory)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s/%s", corpus, target->name,
			 entry->d_name);
		run_file(target, path);
	}
	closedir(directory);
}

static double now_ms(void)
{
	struct timespec at;

	(void)clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec * 1e3 + (double)at.tv_nsec / 1e6;
}

static void damage(const struct fuzz_target *target, double ms, uint64_t first)
{
	uint8_t *bytes = malloc(FUZZ_BYTES_MAX);
	double start = now_ms(), shown = 0;
	uint64_t rounds = 0;

	fuzz_must(bytes != NULL && seed_count > 0, "no seeds");
	while (now_ms() - start < ms) {
		/* Each round by itself, so that one can be repeated. */
		uint64_t random = (first + rounds) * 0x9e3779b97f4a7c15u | 1;
		const struct input *from =
			&seeds[test_random(&random) % seed_count];
		size_t length = from->length;

		if (now_ms() - shown > 200) {
			shown = now_ms();
			printf("%s: --first %llu\n", target->name,
			       (unsigned long long)(first + rounds));
			fflush(stdout);
		}
		if (length > 0)
			memcpy(bytes, from->bytes, length);
		mutate(bytes, &length, FUZZ_BYTES_MAX, &random);
		if (target->mend != NULL && test_random(&random) % 8 != 0)
			length = target->mend(bytes, length, FUZZ_BYTES_MAX,
					      &random);
		run(target, bytes, length);
		rounds++;
	}
	free(bytes);
	printf("%s: %llu damaged\n", target->name, (unsigned long long)rounds);
	passed++;
}

static const struct fuzz_target *find(const char *name)
{
	const struct fuzz_target *one;

	for (size_t i = 0; (one = fuzz_target_get(i)) != NULL; i++)
		if (strcmp(one->name, name) == 0)
			return one;
	fprintf(stderr, "fuzz: there is no target '%s'; these are:", name);
	for (size_t i = 0; (one = fuzz_target_get(i)) != NULL; i++)
		fprintf(stderr, " %s", one->name);
	fprintf(stderr, "\n");
	exit(2);
}

int main(int argc, char **argv)
{
	const struct fuzz_target *target;
	uint64_t first = 1;
	double ms = 0;
	struct stat found;

	if (argc < 3) {
		fprintf(stderr, "usage: fuzz-corpora CORPUS|FILE TARGET "
				"[--damage MS] [--first SEED]\n");
		return 2;
	}
	target = find(argv[2]);
	for (int i = 3; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--damage") == 0)
			ms = strtod(argv[i + 1], NULL);
		else if (strcmp(argv[i], "--first") == 0)
			first = strtoull(argv[i + 1], NULL, 10);
	}
	if (stat(argv[1], &found) == 0 && S_ISREG(found.st_mode)) {
		run_file(target, argv[1]);
	} else {
		fuzz_seeds_to(keep_seed, NULL);
		target->seeds();
		for (size_t i = 0; i < seed_count; i++)
			run(target, seeds[i].bytes, seeds[i].length);
		passed++;
		run_corpus(target, argv[1]);
		if (ms > 0)
			damage(target, ms, first);
	}
	for (size_t i = 0; i < seed_count; i++)
		free(seeds[i].bytes);
	/* A broken promise ends the program. */
	printf("%u passed, 0 failed\n", passed);
	return 0;
}
