/* SPDX-License-Identifier: Apache-2.0 */
/* Breadth-first search over the model's states, to the end or to a bound. */
#ifndef MODEL_SEARCH_H
#define MODEL_SEARCH_H

#include "world.h"

struct search_result {
	uint64_t states, transitions, crash_transitions;
	uint32_t diameter;     /* Levels until nothing new was found. */
	bool complete;         /* Nothing was left out by a limit. */
	uint64_t bound_hits;   /* Transitions not followed: channel bound. */
	uint64_t quiet;        /* States at rest, asked for a way out. */
	uint32_t farthest;     /* Most operations any of them needed. */
	uint64_t forced;       /* Of those: only by force. */
	const char *broken;    /* NULL: every property holds. */
	uint32_t steps;        /* Of the shortest counterexample. */
};

struct search_options {
	uint64_t states_max;  /* 0: none. */
	uint32_t seconds_max; /* 0: none. */
	bool way_out;         /* Look for dead ends. */
	bool show;            /* Print the counterexample. */
	bool verbose;         /* ...with both sites at every step. */
	bool progress;
};

void search_run(const struct search_options *options,
		struct search_result *result_out);

/* A set of states, by 128-bit digest, with a value for each. */
struct search_set {
	uint64_t (*keys)[2];
	uint32_t *values; /* 0: empty place. */
	uint64_t size, count;
};
void search_set_init(struct search_set *set, uint64_t size);
void search_set_free(struct search_set *set);
/* Where the state's value is; 0 when it is new. */
uint32_t *search_set_at(struct search_set *set, const uint64_t key[2]);
void search_key(const struct model_world *w, uint64_t key_out[2]);

/* way_out.c: operations needed until the two sites replicate, or WAY_NONE.
 * w is at rest. */
#define WAY_NONE 100u
#define WAY_MAX 6u
uint32_t way_out(const struct model_world *w, bool *forced_out);
void way_out_reset(void);
#endif
