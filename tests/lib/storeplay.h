/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store against a naive model, an array of whole images: random work, with
 * views opened and read inside the I/O of merging, folding and compaction, and
 * the guest of a failover writing there too; now and then power is lost.
 */
#ifndef STOREPLAY_H
#define STOREPLAY_H

#include <stdbool.h>
#include <stdint.h>

struct store_played {
	unsigned hooks; /* How often something came between two I/Os. */
	unsigned crashes;
	unsigned strange; /* Chunks of another identity that were refused. */
	unsigned tests;   /* Test views that wrote and left nothing. */
	uint64_t events; /* I/Os. */
	uint64_t hash;   /* Of what was written where. */
};

/* Told what the next checks are about: a guarantee of docs/guarantees.md. */
extern void (*store_play_about)(unsigned guarantee);

/* Ends the test program's case (check) where the store is wrong. */
struct store_played store_play(uint64_t seed, bool crashes);
#endif
