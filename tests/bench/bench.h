/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of measurements: one JSON object a line; tests/bench/run collects them. */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

/* Monotonic nanoseconds of this machine. */
uint64_t bench_now(void);

/* A value by itself. */
void bench_value(const char *name, double value, const char *unit);
/* A value against another of the same run. `goal` is about their ratio,
 * "<= 6" or ">= 0.97"; NULL: none. */
void bench_against(const char *name, double value, const char *unit,
		   const char *against, double against_value, const char *goal);
/* Medians of two series that were taken in pairs; the ratio is the median of
 * the pairs' ratios, so that a machine's moods fall on both alike. Sorts. */
void bench_paired(const char *name, double *values, const char *unit,
		  const char *against, double *others, size_t count,
		  const char *goal);
/* A value with a goal of its own, "<= 0.02". */
void bench_goal(const char *name, double value, const char *unit,
		const char *goal);

/* Middle one of `count` values; sorts them. */
double bench_median(double *values, size_t count);
/* The value that a `fraction` of the sorted values does not exceed; sorts. */
double bench_quantile(double *values, size_t count, double fraction);

/* Prints what failed and ends the program: a benchmark has no other way on. */
void bench_must(int64_t rc, const char *what);
#endif
