/* SPDX-License-Identifier: Apache-2.0 */
/* What every test needs: an env that counts and fails, and a main(). */
#ifndef TESTING_H
#define TESTING_H

#include <check.h>
#include <hvrepl/hvrepl.h>
#include <stdbool.h>

/* Callbacks that are neither memory nor disk or object I/O: entropy, sizes,
 * records, connections... One of them fails: the n-th; or all from there on. */
struct test_refusals {
	uint64_t count, at;
	bool on;
};

static inline bool test_refuses(struct test_refusals *refusals)
{
	uint64_t n;

	if (refusals == NULL)
		return false;
	n = refusals->count++;
	return n == refusals->at || (refusals->on && n > refusals->at);
}

/* A deterministic env: virtual clock, seeded entropy, counted memory. */
/* Memory that was freed is given again, by size; for a program of one thread.
 * Under a sanitizer nothing is, so that it sees what is used after it. */
void test_env_recycle(void);
bool test_env_recycles(void);

struct test_env {
	struct hvrepl_env env; /* Pass this one. */
	uint64_t now_ns;       /* Monotonic; the test moves it. */
	uint64_t utc_ns;
	uint64_t random_state;
	long alloc_fail_at;    /* n-th allocation from now fails; -1 never. */
	bool alloc_fail_on;    /* ...and all after it. */
	long alloc_count;      /* Allocations so far. */
	long alloc_live;       /* Not yet freed. */
	size_t alloc_bytes;    /* Live bytes. */
	struct test_refusals *refusals; /* NULL: nothing is refused. */
};

void test_env_init(struct test_env *env, uint64_t seed);

/* xorshift64*: the same numbers on every machine. */
uint64_t test_random(uint64_t *state);
/* The generator with this state takes its numbers from bytes, two for each,
 * while there are any: a fuzzer decides what a seed would. NULL ends it. */
void test_random_feed(const uint64_t *state, const uint8_t *bytes,
		      size_t length);
void test_fill(void *bytes, size_t length, uint64_t seed);

/* Steps between crash points, seeds and bits to flip: 1 in the release build and with
 * HVREPL_LONG, which take each; elsewhere 5. Those builds look for other faults, of
 * memory or of a compiler, on a sample of the same way. */
unsigned test_stride(void);

/* Runs the suite and prints one "N passed, N failed" line; exit status. */
int test_run(Suite *suite);
#endif
