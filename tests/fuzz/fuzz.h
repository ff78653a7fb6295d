/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz target: bytes in, promises checked. libFuzzer runs one (libfuzzer.c),
 * every other build replays all of them over their seeds, the kept findings
 * and some damage (replay.c).
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUZZ_BYTES_MAX (64u << 10)

struct fuzz_target {
	const char *name;
	/* Aborts when a promise does not hold. Any bytes; deterministic. */
	void (*one)(const uint8_t *bytes, size_t length);
	/* Calls fuzz_seed() for inputs worth starting from: real encodings. */
	void (*seeds)(void);
	/* Make lengths and digests right again after damage, or NULL. Returns
	 * the new length, at most `room`. */
	size_t (*mend)(uint8_t *bytes, size_t length, size_t room,
		       uint64_t *random);
};

/* All of them, in one order; NULL behind the last. */
const struct fuzz_target *fuzz_target_get(size_t index);

void fuzz_seed(const void *bytes, size_t length);
/* Where fuzz_seed() brings them. */
void fuzz_seeds_to(void (*take)(void *argument, const uint8_t *bytes,
				size_t length),
		   void *argument);

/* Says what is broken and aborts. */
void fuzz_must(bool holds, const char *what);

/* Takes decisions from the input; an input that ran out decides zero. */
struct fuzz_in {
	const uint8_t *at;
	size_t left;
};
uint8_t fuzz_u8(struct fuzz_in *in);
uint16_t fuzz_u16(struct fuzz_in *in);
uint32_t fuzz_u32(struct fuzz_in *in);
uint64_t fuzz_u64(struct fuzz_in *in);
uint32_t fuzz_below(struct fuzz_in *in, uint32_t limit);
/* Up to `length` bytes in place. */
const uint8_t *fuzz_take(struct fuzz_in *in, size_t *length_inout);

/* Seed and damage for targets that read decisions: random bytes. */
void fuzz_seed_random(uint64_t seed, size_t length);
#endif
