/* SPDX-License-Identifier: Apache-2.0 */
/* A delta must cost what changed: the same change on disks of growing size. */
#include "bench.h"
#include "guest.h"
#include "tempdir.h"
#include "testing.h"

#include <hvrepl/backends.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHANGED (16u << 20)
#define ROUNDS 7

struct subject {
	uint64_t size;
	hvrepl_group *group;
	hvrepl_tracker *tracker;
	int file;
	double ms[ROUNDS];
};

static struct test_env test;
static struct tempdir place;

static void open_subject(struct subject *subject, const char *name)
{
	struct hvrepl_tracker_options options = HVREPL_TRACKER_OPTIONS_INIT;
	char path[TEMPDIR_PATH_MAX], file[64];
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_storage storage;
	struct hvrepl_disk disk;

	snprintf(file, sizeof(file), "%s.img", name);
	tempdir_join(&place, file, path);
	bench_must(hvrepl_file_disk_create(path, subject->size, &error),
		   error.sentence);
	bench_must(hvrepl_file_disk_open(path, HVREPL_FILE_EXCLUSIVE, &disk,
					 &error),
		   error.sentence);
	subject->file = open(path, O_WRONLY | O_CLOEXEC);
	bench_must(subject->file, "open");
	bench_must(hvrepl_dir_storage_open(tempdir_join(&place, name, path),
					   HVREPL_DIR_CREATE, &storage, &error),
		   error.sentence);
	options.flags = HVREPL_TRACKER_CREATE;
	options.object_id = "disk.hvt";
	options.disk.bytes[0] = 1;
	bench_must(hvrepl_group_create(&test.env, NULL, &error, &subject->group),
		   error.sentence);
	bench_must(hvrepl_tracker_attach(subject->group, &disk, &storage,
					 &options, &error, &subject->tracker),
		   error.sentence);
}

/* Runs of 64 KiB, spread over the whole disk. */
static void change(struct subject *subject, uint64_t seed)
{
	static uint8_t bytes[65536];
	uint64_t random = seed;

	for (uint32_t done = 0; done < CHANGED; done += sizeof(bytes)) {
		uint64_t offset = test_random(&random) %
				  (subject->size / sizeof(bytes)) *
				  sizeof(bytes);

		test_fill(bytes, sizeof(bytes), random);
		guest_write(subject->group, subject->tracker, offset,
			    sizeof(bytes));
		bench_must(pwrite(subject->file, bytes, sizeof(bytes),
				  (off_t)offset),
			   "pwrite");
	}
}

/* Cut, read everything into the spool, acknowledge. */
static double cut(struct subject *subject)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	uint32_t progress = HVREPL_CUT_MORE;
	uint64_t start = bench_now();
	hvrepl_cut *made;

	bench_must(hvrepl_group_cut(subject->group, 0, &error, &made),
		   error.sentence);
	while (progress != HVREPL_CUT_DONE)
		bench_must(hvrepl_cut_advance(made, 0, &progress), "advance");
	bench_must(hvrepl_cut_close(made, HVREPL_OK), "close");
	return (double)(bench_now() - start) / 1e6;
}

int main(void)
{
	struct subject subjects[] = { { .size = 1ull << 30 },
				      { .size = 16ull << 30 },
				      { .size = 256ull << 30 } };
	static const char *const names[] = { "1", "16", "256" };
	double small;
	char name[80];

	test_env_init(&test, 1);
	tempdir_make(&place);
	for (int i = 0; i < 3; i++)
		open_subject(&subjects[i], names[i]);
	/* Alternating, so that the machine's moods fall on all alike. */
	for (uint64_t round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < 3; i++) {
			change(&subjects[i], round + 1);
			subjects[i].ms[round] = cut(&subjects[i]);
		}
	}
	small = bench_median(subjects[0].ms, ROUNDS);
	bench_value("delta: 16 MiB changed into the spool, disk of 1 GiB",
		    small, "ms");
	for (int i = 1; i < 3; i++) {
		snprintf(name, sizeof(name), "delta: the same, disk of %s GiB",
			 names[i]);
		bench_against(name, bench_median(subjects[i].ms, ROUNDS), "ms",
			      "1 GiB", small, "<= 1.2");
	}
	for (int i = 0; i < 3; i++) {
		bench_must(hvrepl_tracker_detach(subjects[i].tracker, 0),
			   "detach");
		bench_must(hvrepl_group_destroy(subjects[i].group), "destroy");
		close(subjects[i].file);
	}
	tempdir_remove(&place);
	return EXIT_SUCCESS;
}
