/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole life of a store beside the model of storeworld.h: policy gives
 * points up and pins keep them, readers stay while upkeep goes on, a guest
 * writes and flushes through a commit and after it, processes die, power goes,
 * and now and then the medium is looked at with something on it damaged.
 */
#ifndef STORELIFE_H
#define STORELIFE_H

#include <stdint.h>

struct store_lived {
	unsigned crashes;
	unsigned pins;    /* Pinned points that upkeep or a drop met. */
	unsigned damages; /* Bits and records that were changed behind its back. */
	unsigned direct; /* Flushes of a guest that was on the base already. */
	uint64_t events; /* I/Os. */
	uint64_t hash;   /* Of what was written where. */
};

/* Told what the next checks are about, as store_play_about. */
extern void (*store_life_about)(unsigned guarantee);

/* Ends the test program's case (check) where the store is wrong. */
struct store_lived store_life(uint64_t seed);
#endif
