/* SPDX-License-Identifier: Apache-2.0 */
/* The program: every scenario with every fault at every place, in processes
 * that a violation takes with it. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime(). */

#include "sweep.h"
#include "workers.h"

#include "base/plant.h"
#include "failing.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FAILURES_MAX 40u

struct work { /* Of one worker; shared. */
	unsigned job;	/* Scenario and kind. */
	uint64_t n;	/* Place in it. */
	unsigned bad;	/* Violations there. */
	bool working, resume; /* Resume: on from n, not with a new job. */
	uint64_t runs, places[KINDS];
	char message[400];
};

struct shared {
	unsigned next; /* Job that nobody has taken. */
	struct work works[WORKERS_MAX];
};

#ifndef HVREPL_PLANT
static const char *hvri_plant; /* Only sweep-planted has bugs to switch on. */
#endif

static const struct scenarios *const groups[] = {
	&tracker_scenarios,
	&store_scenarios,
	&pair_scenarios,
};
static const char *const kind_names[KINDS] = {
	[NOTHING] = "nothing",
	[ALLOC_ONCE] = "allocation once",
	[ALLOC_ON] = "allocations from there on",
	[IO_ERROR] = "I/O error",
	[IO_SPACE] = "no space",
	[IO_ON] = "I/O errors from there on",
	[FLUSH_KEEPS] = "flush fails, keeps",
	[FLUSH_CLEANS] = "flush fails, forgets",
	[FLUSH_REVERTS] = "flush fails, reverts",
	[FLUSH_LATE] = "flush fails late",
	[ALL_LATE] = "late completion",
	[SINK] = "sink refuses",
	[SOURCE] = "source refuses",
	[STATE] = "state store refuses",
	[CONNECT] = "connection refused",
	[PIECES] = "arrives in pieces",
	[SPLIT_AT] = "split at a byte",
	[CUT_AT] = "broken at a byte",
	[KILLED] = "process dies at an I/O",
	[POWER] = "power lost at an I/O",
	[REFUSED] = "callback refuses",
	[OTHER_ONCE] = "libcrypto, libzstd once",
	[OTHER_ON] = "libcrypto, libzstd from there on",
};

static struct shared *shared;
static struct work *mine; /* NULL: one run by hand. */
static unsigned worker_count = 2, failures;
static uint64_t dense = 4; /* Places taken one by one; then ever fewer. */
static uint64_t dear; /* The same for those that are dear; 0: few. */
static bool cheap; /* Only scenarios that are not dear. */
static bool armed_alloc, armed_other;
static struct test_refusals refusals;

static const struct scenario *scenario_at(unsigned i)
{
	for (unsigned g = 0; g < sizeof(groups) / sizeof(groups[0]); g++) {
		if (i < groups[g]->count)
			return &groups[g]->first[i];
		i -= groups[g]->count;
	}
	return NULL;
}

void arm(struct test_env *env, struct sim *sim, enum kind kind, uint64_t n)
{
	armed_alloc = kind == ALLOC_ONCE || kind == ALLOC_ON;
	armed_other = kind == OTHER_ONCE || kind == OTHER_ON;
	if (armed_alloc) {
		env->alloc_fail_at = (long)n;
		env->alloc_fail_on = kind == ALLOC_ON;
	}
	if (kind == IO_ERROR || kind == IO_SPACE || kind == IO_ON) {
		sim->fail_at = sim->call_count + n;
		sim->fail_code = kind == IO_SPACE ? HVREPL_E_NO_SPACE :
						    HVREPL_E_STORAGE_IO;
		sim->fail_on = kind == IO_ON;
	}
	if (kind >= FLUSH_KEEPS && kind <= FLUSH_LATE) {
		sim->flush_fail_at = sim->flush_count + n;
		sim->flush_fails = kind - FLUSH_KEEPS;
	}
	env->refusals = sim->refusals = kind == REFUSED ? &refusals : NULL;
	refusals.count = 0;
	refusals.at = n;
	failing_arm(armed_other ? (long)n : -1, kind == OTHER_ON);
	sim->late = kind == ALL_LATE;
	sim->failed = 0;
}

bool hit(const struct test_env *env, const struct sim *sim)
{
	if (env->refusals != NULL)
		return refusals.count > refusals.at;
	if (armed_other)
		return failing.failed > 0;
	if (!armed_alloc)
		return sim->failed > 0;
	return env->alloc_fail_at < 0 ||
	       (env->alloc_fail_on && env->alloc_fail_at == 0);
}

bool disarm(struct test_env *env, struct sim *sim)
{
	bool reached = hit(env, sim);

	env->alloc_fail_at = -1;
	env->alloc_fail_on = false;
	failing.at = -1;
	sim->fail_at = UINT64_MAX;
	sim->fail_on = false;
	sim->flush_fail_at = UINT64_MAX;
	env->refusals = sim->refusals = NULL;
	refusals.at = UINT64_MAX;
	armed_alloc = armed_other = false;
	return reached;
}

static _Noreturn void violated(const char *format, ...)
{
	char text[400];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	if (mine != NULL)
		memcpy(mine->message, text, sizeof(text));
	else
		printf("VIOLATED: %s\n", text);
	fflush(stdout);
	_exit(3);
}

void check_failed(const char *text)
{
	violated("%s", text);
}

/* The place after n: fewer and fewer, and fewest where a run is dear. */
static uint64_t after(const struct scenario *scenario, uint64_t n)
{
	if (dense == 0)
		return n + 1;
	if (scenario->dear)
		return n + 1 + (dear == 0 ? n * 4 : n / dear);
	return n + 1 + n / dense;
}

/* All places of one scenario and kind, from mine->n on. */
static void sweep(unsigned job)
{
	const struct scenario *scenario = scenario_at(job / KINDS);
	enum kind kind = job % KINDS;

	if ((kind != NOTHING && (scenario->kinds & BIT(kind)) == 0) ||
	    (cheap && scenario->dear))
		return;
	for (;;) {
		bool reached = scenario->run(scenario, kind, mine->n);

		mine->runs++;
		mine->places[kind] += reached || kind == ALL_LATE;
		/* These two have but one place. */
		if (!reached || kind == NOTHING || kind == ALL_LATE)
			break;
		mine->n = after(scenario, mine->n);
	}
}

static void work(unsigned worker)
{
	mine = &shared->works[worker];
	mine->working = true;
	for (;;) {
		if (!mine->resume) {
			mine->job = __atomic_fetch_add(&shared->next, 1,
						       __ATOMIC_SEQ_CST);
			mine->n = mine->bad = 0;
		}
		mine->resume = false;
		if (scenario_at(mine->job / KINDS) == NULL)
			break;
		sweep(mine->job);
	}
	mine->working = false;
	fflush(stdout);
	_exit(0);
}

static void report(const struct work *worker, int status)
{
	unsigned number = worker->job / KINDS;

	failures++;
	printf("VIOLATED, %s, %s %llu: ", scenario_at(number)->name,
	       kind_names[worker->job % KINDS], (unsigned long long)worker->n);
	if (worker->message[0] != 0)
		printf("%s\n", worker->message);
	else
		printf("the process ends with status %x\n", status);
	printf("  replay: tests/run sweep --replay %u:%u:%llu\n", number,
	       worker->job % KINDS, (unsigned long long)worker->n);
	fflush(stdout);
}

static bool ended(unsigned worker, int status)
{
	struct work *work = &shared->works[worker];

	if (status == 0 && !work->working)
		return false;
	report(work, status);
	work->message[0] = 0;
	work->n = after(scenario_at(work->job / KINDS), work->n);
	if (failures >= FAILURES_MAX)
		shared->next = 1u << 30;
	/* On with the next place; what fails everywhere, with the next kind. */
	work->resume = ++work->bad < 3 && work->job % KINDS != NOTHING;
	return true;
}

static void run_all(void)
{
	static struct workers workers = { .work = work, .ended = ended };

	workers.count = worker_count;
	workers_run(&workers);
}

static unsigned show(double seconds)
{
	uint64_t runs = 0, places[KINDS] = { 0 };
	unsigned scenarios = 0, silent = 0;

	while (scenario_at(scenarios) != NULL)
		scenarios++;
	for (unsigned i = 0; i < worker_count; i++) {
		runs += shared->works[i].runs;
		for (unsigned k = 0; k < KINDS; k++)
			places[k] += shared->works[i].places[k];
	}
	printf("%u scenarios, %llu runs, %u violations; %.1f s\n", scenarios,
	       (unsigned long long)runs, failures, seconds);
	for (unsigned k = 1; k < KINDS; k++) {
		bool used = false;

		for (unsigned i = 0; i < scenarios; i++)
			used |= (scenario_at(i)->kinds & BIT(k)) != 0;
		if (!used)
			continue;
		printf("  %8llu %s\n", (unsigned long long)places[k],
		       kind_names[k]);
		silent += places[k] == 0 && !cheap;
	}
	if (silent > 0)
		printf("%u kinds never came about\n", silent);
	printf("%llu passed, %u failed\n", (unsigned long long)runs,
	       failures + silent);
	return failures + silent;
}

static double clock_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int replay(const char *text)
{
	unsigned number, kind;
	unsigned long long n;

	if (sscanf(text, "%u:%u:%llu", &number, &kind, &n) != 3 ||
	    scenario_at(number) == NULL || kind >= KINDS) {
		fprintf(stderr, "not a run: %s\n", text);
		return 2;
	}
	printf("%s, %s %llu\n", scenario_at(number)->name, kind_names[kind], n);
	fflush(stdout);
	printf("%s; no violation\n",
	       scenario_at(number)->run(scenario_at(number), kind, n) ?
		       "it came about" :
		       "it ended before");
	return 0;
}

int main(int argc, char **argv)
{
	const char *again = NULL;
	double began;

	if (argc > 1 && strcmp(argv[argc - 1], "--cheap") == 0) {
		cheap = true;
		argc--;
	}
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--replay") == 0)
			again = argv[i + 1];
		else if (strcmp(argv[i], "--dense") == 0)
			dense = strtoull(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--dear") == 0)
			dear = strtoull(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--workers") == 0)
			worker_count = (unsigned)atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--plant") == 0)
			hvri_plant = argv[i + 1];
		else
			argc = 2;
	}
	(void)hvri_plant;
	if (argc % 2 == 0 || worker_count == 0 || worker_count > WORKERS_MAX) {
		printf("sweep [--dense N] [--dear N] [--workers N] [--replay RUN] "
		       "[--plant NAME] [--cheap]\n"
		       "  --dense 0: every place; --cheap: not those that take "
		       "milliseconds\n");
		return 2;
	}
	if (again != NULL)
		return replay(again);
	shared = workers_memory(sizeof(*shared));
	began = clock_now();
	run_all();
	return show(clock_now() - began) == 0 ? 0 : 1;
}
