/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator's program: many stories, in a few processes that a story which
 * goes wrong takes with it, and what they have shown. */
#define _DEFAULT_SOURCE /* setitimer(), sysconf(), madvise(). */

#include "sim.h"
#include "story.h"
#include "workers.h"

#include "base/plant.h"

#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FAILURES_MAX 200u
#define CHUNK 16u
#define HEAP (32u << 20)
#define LARGE_PAGE (2u << 20)
#define STORY_SECONDS 60 /* Of CPU; a story takes some milliseconds. */
#define WAIT_SECONDS 600 /* By the clock on the wall: it waits for itself. */

uint32_t suppressed;
bool lost_caches;
unsigned focus;
#ifndef HVREPL_PLANT
/* Only sim-planted has bugs to switch on. */
static const char *hvri_plant, *hvri_plant_too;
#endif

struct worker {
	struct tally tally;
	uint64_t next, end; /* Of its chunk. */
};

struct job {
	uint64_t next, end; /* Not handed out yet. */
};

static struct worker *workers;
static struct job *job;
static enum profile only = PROFILE_COUNT;
static unsigned worker_count = 1, failures, failures_max = 20, failures_stop;
static uint64_t limit = UINT64_MAX;
static bool quiet;
static uint64_t failed_seeds[FAILURES_MAX];
static struct tally total;

void violated(unsigned guarantee, const char *format, ...)
{
	va_list list;

	tally->broken = guarantee == 0 ? 44 : guarantee;
	va_start(list, format);
	vsnprintf(tally->message, sizeof(tally->message), format, list);
	va_end(list);
	if (tracing) {
		printf("VIOLATED %u: %s\n", tally->broken, tally->message);
		fflush(stdout);
	}
	_exit(3);
}

void check_failed(const char *text)
{
	violated(focus, "%s", text);
}

static enum profile profile_for(uint64_t n)
{
	return only < PROFILE_COUNT ? only : profile_of(n);
}

/* ---- Workers. ---- */

static void guard_time(void)
{
	struct itimerval timer = { { 0, 0 }, { STORY_SECONDS, 0 } };
	struct itimerval wait = { { 0, 0 }, { WAIT_SECONDS, 0 } };

	(void)setitimer(ITIMER_PROF, &timer, NULL);
	(void)setitimer(ITIMER_REAL, &wait, NULL);
}

static void tell(uint64_t n)
{
	enum profile kind = profile_for(n);
	uint64_t hash;

	guard_time();
	focus = 44;
	tally->limit = limit;
	story(n, kind);
	/* That a violation is seen at all. */
	if (hvri_plant != NULL && strcmp(hvri_plant, "canary") == 0 && n == 3)
		violated(37, "the canary");
	if (n % 128 != 1)
		return;
	/* Told again it is the same, whatever the wall clock said (I37). */
	hash = tally->hash;
	story(n, kind);
	tally->replayed++;
	if (hash != tally->hash)
		violated(37 < GUARANTEES ? 37 : 44,
			 "told twice, hash %016llx and %016llx",
			 (unsigned long long)hash,
			 (unsigned long long)tally->hash);
	tally->hash_sum -= hash;
	tally->stories--;
	tally->proved[37]++;
}

/* What the first stories take of the heap, which the others take again, lies on few
 * pages: a story goes over some megabytes again and again. */
static void use_large_pages(void)
{
	size_t size = (size_t)HEAP;
	char *heap = malloc(size), *begin;

	if (heap == NULL)
		return;
	begin = heap + (LARGE_PAGE - (uintptr_t)heap % LARGE_PAGE);
	(void)madvise(begin, (size_t)(heap + size - begin), MADV_HUGEPAGE);
	free(heap);
}

/* Memory of a story is used again by the next one, instead of going back to
 * the system and coming from there in pages that have to be cleared. */
static void keep_memory(void)
{
	(void)mallopt(M_MMAP_THRESHOLD, 1 << 30);
	(void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
	(void)mallopt(M_TOP_PAD, 4 << 20);
	test_env_recycle();
	if (test_env_recycles())
		use_large_pages();
}

static void work(unsigned number)
{
	struct worker *worker = &workers[number];

	tally = &worker->tally;
	keep_memory();
	for (;;) {
		if (worker->next == worker->end) {
			uint64_t from = __atomic_fetch_add(&job->next, CHUNK,
							   __ATOMIC_SEQ_CST);

			if (from >= job->end)
				break;
			worker->next = from;
			worker->end = from + CHUNK < job->end ? from + CHUNK :
								job->end;
		}
		tally->seed = worker->next;
		tell(worker->next);
		worker->next++;
	}
	tally->done = true;
	fflush(stdout);
	_exit(0);
}

static void report(struct worker *worker, int status)
{
	struct tally *t = &worker->tally;
	const char *name;

	if (t->broken == 0) {
		t->broken = 44;
		if (WIFSIGNALED(status))
			snprintf(t->message, sizeof(t->message),
				 WTERMSIG(status) == SIGPROF ?
					 "it does not end (signal %d)" :
				 WTERMSIG(status) == SIGALRM ?
					 "it waits for itself (signal %d)" :
					 "it crashes with signal %d",
				 WTERMSIG(status));
		else
			snprintf(t->message, sizeof(t->message),
				 "it ends with status %d",
				 WEXITSTATUS(status));
	}
	if (failures < FAILURES_MAX)
		failed_seeds[failures] = t->seed;
	failures++;
	total.broken = t->broken;
	memcpy(total.message, t->message, sizeof(total.message));
	total.seed = t->seed;
	if (quiet)
		return;
	name = guarantees[t->broken];
	printf("seed %llu breaks %u (%s): %s\n"
	       "  replay: tests/run sim --seeds 1 --first %llu --profile %s\n",
	       (unsigned long long)t->seed, t->broken,
	       name != NULL ? name : "it ends well", t->message,
	       (unsigned long long)t->seed,
	       profile_names[profile_for(t->seed)]);
	fflush(stdout);
}

static void add_up(const struct tally *t)
{
	total.stories += t->stories;
	total.events += t->events;
	total.virtual_ns += t->virtual_ns;
	total.hash_sum += t->hash_sum;
	total.degraded += t->degraded;
	total.replayed += t->replayed;
	total.restarts += t->restarts;
	for (unsigned i = 0; i < GUARANTEES; i++)
		total.proved[i] += t->proved[i];
	for (unsigned i = 0; i < FAULT_COUNT; i++)
		total.faults[i] += t->faults[i];
}

static bool ended(unsigned number, int status)
{
	struct worker *worker = &workers[number];

	if (worker->tally.done && status == 0)
		return false;
	report(worker, status);
	worker->next++;
	if (failures >= failures_stop) {
		job->next = job->end;
		return false;
	}
	worker->tally.broken = 0;
	worker->tally.done = false;
	worker->tally.message[0] = 0;
	return true;
}

/* Tell `count` stories from `first`; how many went wrong. */
static unsigned run(uint64_t first, uint64_t count, unsigned stop_after)
{
	static struct workers at_work = { .work = work, .ended = ended };
	unsigned before = failures;

	job->next = first;
	job->end = first + count;
	failures_stop = before + stop_after;
	at_work.count = count < worker_count ? (unsigned)count : worker_count;
	memset(workers, 0, at_work.count * sizeof(*workers));
	workers_run(&at_work);
	for (unsigned i = 0; i < at_work.count; i++)
		add_up(&workers[i].tally);
	return failures - before;
}

/* ---- What it showed. ---- */

static __attribute__((noinline)) void show(double seconds)
{
	printf("%llu stories, %llu events (%llu a story), %.0f virtual hours; "
	       "%.0f stories/s, %.2f million events/s\n",
	       (unsigned long long)total.stories,
	       (unsigned long long)total.events,
	       (unsigned long long)(total.stories > 0 ?
					    total.events / total.stories :
					    0),
	       (double)total.virtual_ns / 3.6e12,
	       (double)total.stories / seconds,
	       (double)total.events / seconds / 1e6);
	printf("hash of all %016llx; %llu told twice, %llu ended damaged and "
	       "said so, %llu needed a restart\n",
	       (unsigned long long)total.hash_sum,
	       (unsigned long long)total.replayed,
	       (unsigned long long)total.degraded,
	       (unsigned long long)total.restarts);
	printf("faults:");
	for (unsigned i = 0; i < FAULT_COUNT; i++)
		printf(" %s %llu", fault_names[i],
		       (unsigned long long)total.faults[i]);
	printf("\n");
	for (unsigned i = 1; i < GUARANTEES; i++)
		if (guarantees[i] != NULL)
			printf("  G%-2u %12llu  %s\n", i,
			       (unsigned long long)total.proved[i],
			       guarantees[i]);
}

static unsigned guarantee_count(void)
{
	unsigned count = 0;

	for (unsigned i = 1; i < GUARANTEES; i++)
		count += guarantees[i] != NULL;
	return count;
}

/* A guarantee that a run of all profiles never looked at is a failure. */
static unsigned silent_guarantees(void)
{
	unsigned silent = 0;

	for (unsigned i = 1; i < GUARANTEES; i++)
		if (guarantees[i] != NULL && total.proved[i] == 0) {
			printf("G%u was never exercised\n", i);
			silent++;
		}
	return silent;
}

/* ---- Lists of seeds: the corpus. ---- */

static enum profile profile_named(const char *name)
{
	unsigned i = 0;

	while (i < PROFILE_COUNT && strcmp(profile_names[i], name) != 0)
		i++;
	return (enum profile)i;
}

static unsigned run_corpus(const char *path, unsigned *bad)
{
	FILE *file = fopen(path, "r");
	char line[512], name[32];
	unsigned count = 0;
	unsigned long long n;

	if (file == NULL) {
		perror(path);
		exit(2);
	}
	while (fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "%llu %31s", &n, name) != 2)
			continue;
		only = profile_named(name);
		if (only == PROFILE_COUNT) {
			fprintf(stderr, "%s: no profile %s\n", path, name);
			exit(2);
		}
		*bad += run(n, 1, 1);
		count++;
	}
	(void)fclose(file);
	only = PROFILE_COUNT;
	return count;
}

/* ---- Shrinking. ---- */

static bool still_fails(uint64_t n, uint32_t broken)
{
	return run(n, 1, 1) > 0 && total.broken == broken;
}

static void shrink(uint64_t n)
{
	uint32_t broken;
	uint64_t steps;

	quiet = true;
	if (run(n, 1, 1) == 0) {
		printf("seed %llu breaks nothing\n", (unsigned long long)n);
		return;
	}
	broken = total.broken;
	for (unsigned f = 0; f < FAULT_COUNT; f++) {
		suppressed |= 1u << f;
		if (!still_fails(n, broken))
			suppressed &= ~(1u << f);
	}
	for (steps = 0; steps < 60; steps++) {
		limit = steps;
		if (still_fails(n, broken))
			break;
	}
	if (steps == 60)
		limit = UINT64_MAX;
	printf("seed %llu breaks %u with %llu steps, without faults",
	       (unsigned long long)n, broken, (unsigned long long)limit);
	for (unsigned f = 0; f < FAULT_COUNT; f++)
		if (suppressed >> f & 1)
			printf(" %s", fault_names[f]);
	printf("\n  replay: tests/run sim --seeds 1 --first %llu --profile %s "
	       "--steps %llu --without %x --trace\n",
	       (unsigned long long)n, profile_names[profile_for(n)],
	       (unsigned long long)limit, suppressed);
}

static double now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static uint64_t number(char **argv, int *i, int argc, int base)
{
	if (*i + 1 >= argc) {
		fprintf(stderr, "%s needs a number\n", argv[*i]);
		exit(2);
	}
	return strtoull(argv[++*i], NULL, base);
}

/* "a+b": where one rule stands behind another, neither is missed alone. */
static void plant(char *names)
{
	char *second = strchr(names, '+');

	hvri_plant = names;
	if (second == NULL)
		return;
	*second = 0;
	hvri_plant_too = second + 1;
	(void)hvri_plant_too;
}

int main(int argc, char **argv)
{
	uint64_t first = 1, count = 1000;
	bool shrinks = false, all = false;
	const char *corpus = NULL;
	unsigned told = 0, bad = 0, silent = 0;
	double began;

	worker_count = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--first") == 0)
			first = number(argv, &i, argc, 10);
		else if (strcmp(argv[i], "--seeds") == 0)
			count = number(argv, &i, argc, 10);
		else if (strcmp(argv[i], "--jobs") == 0)
			worker_count = (unsigned)number(argv, &i, argc, 10);
		else if (strcmp(argv[i], "--steps") == 0)
			limit = number(argv, &i, argc, 10);
		else if (strcmp(argv[i], "--without") == 0)
			suppressed = (uint32_t)number(argv, &i, argc, 16);
		else if (strcmp(argv[i], "--plant") == 0 && i + 1 < argc)
			plant(argv[++i]);
		else if (strcmp(argv[i], "--stop-after") == 0)
			failures_max = (unsigned)number(argv, &i, argc, 10);
		else if (strcmp(argv[i], "--trace") == 0)
			tracing = true;
		else if (strcmp(argv[i], "--lost-caches") == 0)
			lost_caches = true;
		else if (strcmp(argv[i], "--shrink") == 0)
			shrinks = true;
		else if (strcmp(argv[i], "--all-guarantees") == 0)
			all = true;
		else if (strcmp(argv[i], "--quiet") == 0)
			quiet = true;
		else if (strcmp(argv[i], "--corpus") == 0 && i + 1 < argc)
			corpus = argv[++i];
		else if (strcmp(argv[i], "--profile") == 0 && i + 1 < argc &&
			 profile_named(argv[i + 1]) < PROFILE_COUNT)
			only = profile_named(argv[++i]);
		else {
			fprintf(stderr, "sim: what is %s?\n", argv[i]);
			return 2;
		}
	}
	if (worker_count < 1 || worker_count > WORKERS_MAX)
		worker_count = 2;
	workers = workers_memory(sizeof(*workers) * WORKERS_MAX);
	job = workers_memory(sizeof(*job));
	if (shrinks) {
		shrink(first);
		return 0;
	}
	began = now();
	if (corpus != NULL)
		told = run_corpus(corpus, &bad);
	bad += run(first, count, failures_max);
	if (!quiet)
		show(now() - began);
	if (all)
		silent = silent_guarantees();
	if (quiet && bad > 0)
		printf("caught %llu %u %s\n", (unsigned long long)total.seed,
		       total.broken, total.message);
	/* A case: a seed of the corpus, a guarantee, the stories as a whole. */
	printf("%u passed, %u failed\n",
	       (bad == 0 ? told + 1 : told) + (all ? guarantee_count() - silent : 0),
	       bad + silent);
	return bad + silent > 0;
}
