/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scripted scenarios, each run again and again with one thing going wrong in
 * it, at every place where it can: allocations, I/O, callbacks, bytes on their
 * way. Afterwards what is promised holds, nothing leaks, and what failed
 * succeeds when it is done again.
 */
#ifndef SWEEP_H
#define SWEEP_H

#include "sim.h"
#include "testing.h"

enum kind {
	NOTHING,
	ALLOC_ONCE, /* The n-th allocation... */
	ALLOC_ON,   /* ...and all after it, until something says so. */
	IO_ERROR,   /* The n-th I/O. */
	IO_SPACE,
	IO_ON,
	FLUSH_KEEPS, /* The n-th flush fails; see sim.h. */
	FLUSH_CLEANS,
	FLUSH_REVERTS,
	FLUSH_LATE,
	ALL_LATE,  /* Every I/O completes through its operation. */
	SINK,	   /* The n-th append of a log is refused. */
	SOURCE,	   /* The n-th read of a log. */
	STATE,	   /* The n-th record of the state store. */
	CONNECT,   /* The n-th connection is refused. */
	PIECES,	   /* Bytes arrive n + 1 at a time. */
	SPLIT_AT,  /* What arrives is split after byte n. */
	CUT_AT,	   /* The connection breaks after byte n. */
	KILLED,	   /* The process dies at I/O n. */
	POWER,	   /* Power is lost at I/O n. */
	REFUSED,   /* The n-th other callback: entropy, sizes, records, bytes. */
	OTHER_ONCE, /* The n-th call of libcrypto or libzstd, for want of memory. */
	OTHER_ON,   /* ...and all after it. */
	KINDS
};

struct scenario {
	const char *name;
	/* One run; false: it ended before the n-th of that kind. */
	bool (*run)(const struct scenario *scenario, enum kind kind,
		    uint64_t n);
	uint32_t kinds; /* Bit k: kind k means something here. */
	uint32_t option;
	const uint8_t *script;
	bool dear; /* A run takes milliseconds. */
};

struct scenarios {
	const struct scenario *first;
	unsigned count;
};

extern const struct scenarios tracker_scenarios, store_scenarios,
	log_scenarios, pair_scenarios;

/* Arm env and sim; what they do not know is left alone. */
void arm(struct test_env *env, struct sim *sim, enum kind kind, uint64_t n);
/* Nothing goes wrong any more; whether anything had. */
bool disarm(struct test_env *env, struct sim *sim);
/* Whether anything has, so far. */
bool hit(const struct test_env *env, const struct sim *sim);

#define BIT(kind) (1u << (kind))
#define ALLOCS (BIT(ALLOC_ONCE) | BIT(ALLOC_ON))
#define OTHERS (BIT(OTHER_ONCE) | BIT(OTHER_ON))
#define IOS                                                           \
	(BIT(IO_ERROR) | BIT(IO_SPACE) | BIT(IO_ON) | BIT(REFUSED) |     \
	 BIT(FLUSH_KEEPS) |                                              \
	 BIT(FLUSH_CLEANS) | BIT(FLUSH_REVERTS) | BIT(FLUSH_LATE) |      \
	 BIT(ALL_LATE))
#endif
