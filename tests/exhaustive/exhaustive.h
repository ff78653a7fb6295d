/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every short workload, crashed at every I/O, in every way that power can be
 * lost there; recovered, checked, and crashed again inside the recovery.
 *
 * A room knows one part of the library: how to start it, what can be done to
 * it, how to open it again after a crash and what must hold then. The engine
 * knows none of that: it counts I/O and decides which pending sectors survive.
 */
#ifndef EXHAUSTIVE_H
#define EXHAUSTIVE_H

#include "simstate.h"

#include <stdbool.h>
#include <stdint.h>

#define OPS_MAX 3u
#define GUARANTEES 45u /* reliability: numbers of guarantees. */
#define TEXT_MAX 4096u

enum done {
	DONE,	/* As asked, or a crash got in the way. */
	NOT_NOW /* It has no meaning here: no workload begins like this. */
};

struct room {
	const char *name;
	/* More than a sim is changed by what follows a crash: each state is
	 * looked at in a process of its own. */
	bool apart;
	unsigned prefixes, ops;
	const char *const *prefix_names, *const *op_names;
	/* Anew, with what the prefix says done; nothing crashes meanwhile. */
	void (*start)(unsigned prefix);
	enum done (*op)(unsigned op);
	struct sim *(*sim)(void);
	/* After a workload without a crash: all is as it should be. */
	void (*finish)(void);
	/* What a dead process leaves; the sim says `crashed`. */
	void (*kill)(void);
	/* The model beside it, as of the crash. */
	void (*remember)(void);
	void (*recall)(void);
	/* Open again. False: a second crash got in the way, and it is killed. */
	bool (*recover)(void);
	/* Of what recover() opened; `thorough` may cost more. */
	void (*check)(bool thorough);
	/* Close what recover() opened, as a crash would. */
	void (*leave)(void);
	/* The operation that crashed is done again, and the rest goes well. */
	void (*go_on)(unsigned op);
	void (*end)(void);
};

struct workload {
	unsigned room, prefix, count;
	unsigned ops[OPS_MAX];
};

/* How much of it; the same numbers every time. */
struct effort {
	unsigned whole;	  /* All subsets up to so many pending pieces... */
	unsigned samples; /* ...else so many, beside singles. */
	unsigned thin;	  /* One subset in so many; 1: all. */
	unsigned deep;	  /* A second crash in one state of so many; 0: none. */
	unsigned thorough;
	unsigned go_on;   /* ...and one crash point in so many goes on. */
	unsigned points;  /* One crash point in so many; 1: all. */
};

struct totals {
	uint64_t workloads, pruned, points, states, seconds, same, recoveries;
	uint64_t whole_points, sampled_points, went_on;
	uint64_t recovery_io; /* Of the last one. */
	unsigned pieces_most;
	uint64_t proved[GUARANTEES];
	/* Which state it is, should it go wrong. */
	char where[TEXT_MAX], message[TEXT_MAX];
	unsigned broken;
	bool working;
};

extern struct totals *totals; /* Of this worker; shared with the parent. */

extern const struct room tracker_room, store_room, nodes_room;

/* What is being looked at, for the report of a failed check. */
void showing(unsigned guarantee);
void proved(unsigned guarantee);
_Noreturn void violated(unsigned guarantee, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

const struct room *room_at(unsigned i);
const struct effort *effort_at(unsigned i); /* For that room. */
/* All crash points of the last operation of a workload. False: it means
 * nothing, nor does any that begins with it. */
bool explore(const struct workload *workload);
/* One state, as `where` named it: room:prefix:ops:io:fates[:io:fates]. */
void replay(const char *where);
#endif
