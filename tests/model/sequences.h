/* SPDX-License-Identifier: Apache-2.0 */
/* Every sequence of operations, with one crash anywhere. */
#ifndef MODEL_SEQUENCES_H
#define MODEL_SEQUENCES_H

#include "world.h"

struct sequences_result {
	uint64_t sequences; /* Of every length up to the one asked for. */
	uint64_t crashes;   /* The same with a crash in the last operation. */
	uint64_t states;    /* At rest, summed over the lengths. */
	/* Crashes at the site that was asked: */
	uint64_t finished;    /* The operation came to its end by itself. */
	uint64_t rolled_back; /* As if it had not been asked for. */
	uint64_t again;     /* Asked again it ends as without the crash. */
	uint64_t otherwise; /* It ends otherwise (a way out was found). */
	uint32_t farthest;  /* Operations to protected, at most. */
	uint64_t bound_hits;
	const char *broken;
};

void sequences_run(uint32_t length, struct sequences_result *result_out);
#endif
