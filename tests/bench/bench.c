/* SPDX-License-Identifier: Apache-2.0 */
/* Rows, medians and the clock of the benchmarks; see bench.h. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

uint64_t bench_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void bench_value(const char *name, double value, const char *unit)
{
	printf("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"}\n", name, value,
	       unit);
	fflush(stdout);
}

static void compared(const char *name, double value, const char *unit,
		     const char *against, double against_value, double ratio,
		     const char *goal)
{
	printf("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\","
	       "\"against\":\"%s\",\"against_value\":%.6g,\"ratio\":%.4g",
	       name, value, unit, against, against_value, ratio);
	if (goal != NULL)
		printf(",\"goal\":\"%s\"", goal);
	printf("}\n");
	fflush(stdout);
}

void bench_against(const char *name, double value, const char *unit,
		   const char *against, double against_value, const char *goal)
{
	compared(name, value, unit, against, against_value,
		 against_value == 0 ? 0 : value / against_value, goal);
}

void bench_goal(const char *name, double value, const char *unit,
		const char *goal)
{
	printf("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\",\"goal\":\"%s\"}\n",
	       name, value, unit, goal);
	fflush(stdout);
}

static int compare(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

double bench_quantile(double *values, size_t count, double fraction)
{
	size_t index = (size_t)(fraction * (double)count);

	qsort(values, count, sizeof(*values), compare);
	return values[index < count ? index : count - 1];
}

double bench_median(double *values, size_t count)
{
	return bench_quantile(values, count, 0.5);
}

void bench_paired(const char *name, double *values, const char *unit,
		  const char *against, double *others, size_t count,
		  const char *goal)
{
	double ratios[64];

	if (count > sizeof(ratios) / sizeof(ratios[0]))
		bench_must(-1, "too many pairs");
	for (size_t i = 0; i < count; i++)
		ratios[i] = values[i] / others[i];
	compared(name, bench_median(values, count), unit, against,
		 bench_median(others, count), bench_median(ratios, count), goal);
}

void bench_must(int64_t rc, const char *what)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "%s: %lld\n", what, (long long)rc);
	exit(EXIT_FAILURE);
}
