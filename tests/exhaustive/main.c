/* SPDX-License-Identifier: Apache-2.0 */
/* The program: all workloads, in processes that a violation takes with it, and
 * what they have shown. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime(), strtok_r(). */

#include "exhaustive.h"

#include "testing.h"
#include "workers.h"

#include "base/plant.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>


struct counter {
	uint64_t next; /* Workload that nobody has taken. */
};

#ifndef HVREPL_PLANT
static const char *hvri_plant; /* Only exhaustive-planted has bugs. */
#endif

static const struct room *const rooms[] = { &tracker_room, &store_room,
					   &nodes_room };
#define ROOMS (sizeof(rooms) / sizeof(rooms[0]))

/* In CI, and what is to be shown once; by room. `every`: one workload in so
 * many, by length. */
static const struct setting {
	struct effort effort;
	unsigned every[OPS_MAX];
} settings[][ROOMS] = {
	{ { { 12, 48, 16, 97, 16, 3, 1 }, { 1, 1, 61 } },
	  { { 12, 48, 16, 97, 16, 3, 1 }, { 1, 32, 4001 } },
	  { { 4, 4, 4, 97, 16, 29, 23 }, { 3, 211, 6007 } } },
	{ { { 12, 512, 1, 211, 16, 3, 1 }, { 1, 1, 1 } },
	  { { 12, 512, 1, 211, 16, 3, 1 }, { 1, 1, 1 } },
	  { { 12, 64, 1, 211, 16, 7, 1 }, { 1, 1, 1 } } },
};

struct totals *totals;
static const struct setting *setting = settings[0];
static unsigned guarantee;
static struct totals *workers; /* Of each. */
static struct counter *counter;
static unsigned worker_count = 2, failures, failures_max = 10;
static unsigned ops_least = 1, ops_most = OPS_MAX, every, offset;
static const char *only_room;

const struct effort *effort_at(unsigned i)
{
	return &setting[i].effort;
}

const struct room *room_at(unsigned i)
{
	return i < ROOMS ? rooms[i] : NULL;
}

void showing(unsigned which)
{
	guarantee = which;
}

void proved(unsigned which)
{
	totals->proved[which]++;
}

void violated(unsigned which, const char *format, ...)
{
	va_list list;

	totals->broken = which == 0 ? 44 : which;
	va_start(list, format);
	vsnprintf(totals->message, sizeof(totals->message), format, list);
	va_end(list);
	if (!totals->working) {
		printf("VIOLATED %u: %s\n", totals->broken, totals->message);
		fflush(stdout);
	}
	_exit(3);
}

void check_failed(const char *text)
{
	violated(guarantee, "%s", text);
}

/* ---- Workloads, shortest first. ---- */

static struct list {
	struct workload *items;
	size_t count, room;
} list;

static void add(const struct workload *workload)
{
	if (list.count == list.room) {
		list.room = list.room == 0 ? 1024 : list.room * 2;
		list.items = realloc(list.items,
				     list.room * sizeof(*list.items));
		if (list.items == NULL)
			abort();
	}
	list.items[list.count++] = *workload;
}

static void list_room(unsigned room, unsigned length, unsigned step)
{
	const struct room *r = rooms[room];
	uint64_t count = 1, number = 0;

	for (unsigned i = 0; i < length; i++)
		count *= r->ops;
	for (unsigned prefix = 0; prefix < r->prefixes; prefix++)
		for (uint64_t n = 0; n < count; n++) {
			struct workload one = { room, prefix, length, { 0 } };
			uint64_t left = n;

			if (number++ % step != offset % step)
				continue;
			for (unsigned i = length; i-- > 0; left /= r->ops)
				one.ops[i] = (unsigned)(left % r->ops);
			add(&one);
		}
}

static void list_all(void)
{
	for (unsigned length = ops_least; length <= ops_most; length++)
		for (unsigned room = 0; room < ROOMS; room++) {
			unsigned step = setting[room].every[length - 1];

			/* Said by hand: of the longest. */
			if (every != 0 && length == ops_most)
				step = every;
			if (only_room == NULL ||
			    strcmp(only_room, rooms[room]->name) == 0)
				list_room(room, length, step);
		}
}

/* ---- Workers. ---- */

static void work(unsigned worker)
{
	totals = &workers[worker];
	totals->working = true;
	for (;;) {
		uint64_t n = __atomic_fetch_add(&counter->next, 1,
						__ATOMIC_SEQ_CST);

		if (n >= list.count)
			break;
		(void)explore(&list.items[n]);
	}
	totals->working = false;
	fflush(stdout);
	_exit(0);
}

static void describe(const char *where)
{
	char copy[TEXT_MAX];
	char *name, *prefix, *ops, *save = NULL;

	snprintf(copy, sizeof(copy), "%s", where);
	name = strtok_r(copy, ":", &save);
	prefix = strtok_r(NULL, ":", &save);
	ops = strtok_r(NULL, ":", &save);
	for (unsigned i = 0; i < ROOMS && ops != NULL; i++) {
		if (strcmp(rooms[i]->name, name) != 0)
			continue;
		printf("  %s, %s:", name,
		       rooms[i]->prefix_names[strtoul(prefix, NULL, 10)]);
		for (char *op = strtok_r(ops, ",", &save); op != NULL;
		     op = strtok_r(NULL, ",", &save))
			printf(" [%s]", rooms[i]->op_names[strtoul(op, NULL,
								   10)]);
		printf("\n");
	}
}

static void report(const struct totals *t, int status)
{
	failures++;
	if (t->broken != 0)
		printf("VIOLATED G%u: %s\n", t->broken, t->message);
	else
		printf("VIOLATED: the process ends with status %x\n", status);
	describe(t->where);
	printf("  replay: tests/run exhaustive --replay %s\n", t->where);
	fflush(stdout);
}

static void add_up(struct totals *sum, const struct totals *t)
{
	sum->workloads += t->workloads;
	sum->pruned += t->pruned;
	sum->points += t->points;
	sum->states += t->states;
	sum->seconds += t->seconds;
	sum->same += t->same;
	sum->recoveries += t->recoveries;
	sum->whole_points += t->whole_points;
	sum->sampled_points += t->sampled_points;
	sum->went_on += t->went_on;
	if (t->pieces_most > sum->pieces_most)
		sum->pieces_most = t->pieces_most;
	for (unsigned i = 0; i < GUARANTEES; i++)
		sum->proved[i] += t->proved[i];
}

static bool ended(unsigned worker, int status)
{
	struct totals *t = &workers[worker];

	if (status == 0 && !t->working)
		return false;
	report(t, status);
	t->broken = 0;
	t->message[0] = 0;
	if (failures >= failures_max)
		counter->next = list.count;
	return true;
}

static void show(const struct totals *t, double seconds)
{
	printf("%llu workloads (%llu have no meaning), %llu crash points "
	       "(all subsets at %llu, sampled at %llu, at most %u pending)\n",
	       (unsigned long long)t->workloads,
	       (unsigned long long)t->pruned, (unsigned long long)t->points,
	       (unsigned long long)t->whole_points,
	       (unsigned long long)t->sampled_points, t->pieces_most);
	printf("%llu crash states, of them %llu inside a recovery (%llu more "
	       "were equal to one of them); %llu recoveries, %llu went on; "
	       "%u violations; %.1f s\n",
	       (unsigned long long)(t->states + t->seconds),
	       (unsigned long long)t->seconds, (unsigned long long)t->same,
	       (unsigned long long)t->recoveries,
	       (unsigned long long)t->went_on, failures, seconds);
	printf("checks:");
	for (unsigned i = 0; i < GUARANTEES; i++)
		if (t->proved[i] > 0)
			printf(" G%u %llu", i,
			       (unsigned long long)t->proved[i]);
	printf("\n");
}

static double clock_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t number_of(const char *text)
{
	char *end;
	uint64_t value = text != NULL ? strtoull(text, &end, 10) : 0;

	if (text == NULL || *end != 0) {
		fprintf(stderr, "not a number: %s\n", text ? text : "");
		exit(2);
	}
	return value;
}

static void usage(void)
{
	printf("exhaustive [--setting ci|long] [--room NAME] [--least N] [--ops N]\n"
	       "           [--every N] [--offset N] [--workers N] [--stop N]\n"
	       "           [--plant NAME]\n"
	       "exhaustive --replay STATE\n"
	       "exhaustive --names\n");
}

static void names(void)
{
	for (unsigned i = 0; i < ROOMS; i++) {
		printf("%s\n", rooms[i]->name);
		for (unsigned n = 0; n < rooms[i]->prefixes; n++)
			printf("  from %u: %s\n", n, rooms[i]->prefix_names[n]);
		for (unsigned n = 0; n < rooms[i]->ops; n++)
			printf("  %2u %s\n", n, rooms[i]->op_names[n]);
	}
}

int main(int argc, char **argv)
{
	static struct totals sum;
	static struct workers at_work = { .work = work, .ended = ended };
	const char *again = NULL;
	double began;

	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (strcmp(argv[i], "--names") == 0) {
			names();
			return 0;
		}
		if (value == NULL) {
			usage();
			return 2;
		}
		i++;
		if (strcmp(argv[i - 1], "--replay") == 0)
			again = value;
		else if (strcmp(argv[i - 1], "--room") == 0)
			only_room = value;
		else if (strcmp(argv[i - 1], "--setting") == 0)
			setting = settings[strcmp(value, "long") == 0];
		else if (strcmp(argv[i - 1], "--ops") == 0)
			ops_most = (unsigned)number_of(value);
		else if (strcmp(argv[i - 1], "--least") == 0)
			ops_least = (unsigned)number_of(value);
		else if (strcmp(argv[i - 1], "--every") == 0)
			every = (unsigned)number_of(value);
		else if (strcmp(argv[i - 1], "--offset") == 0)
			offset = (unsigned)number_of(value);
		else if (strcmp(argv[i - 1], "--workers") == 0)
			worker_count = (unsigned)number_of(value);
		else if (strcmp(argv[i - 1], "--stop") == 0)
			failures_max = (unsigned)number_of(value);
		else if (strcmp(argv[i - 1], "--plant") == 0)
			hvri_plant = value;
		else {
			usage();
			return 2;
		}
	}
	(void)hvri_plant;
	if (ops_most > OPS_MAX || ops_least == 0 || worker_count == 0 ||
	    worker_count > WORKERS_MAX) {
		usage();
		return 2;
	}
	workers = workers_memory(worker_count * sizeof(*workers));
	counter = workers_memory(sizeof(*counter));
	if (again != NULL) {
		totals = &sum;
		replay(again);
		return 0;
	}
	list_all();
	began = clock_now();
	at_work.count = worker_count;
	workers_run(&at_work);
	for (unsigned i = 0; i < worker_count; i++)
		add_up(&sum, &workers[i]);
	free(list.items);
	show(&sum, clock_now() - began);
	printf("%llu passed, %u failed\n",
	       (unsigned long long)sum.workloads, failures);
	return failures == 0 && sum.states > 0 ? 0 : 1;
}
