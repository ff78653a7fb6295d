/* SPDX-License-Identifier: Apache-2.0 */
/* Every decoder of bytes from outside, with what must hold whatever they are. */
#ifndef DECODERS_H
#define DECODERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DECODER_BYTES_MAX (512u << 10)

struct decoder {
	const char *name;
	/* A good encoding, another one each time. */
	size_t (*sample)(uint8_t *out, uint64_t *random);
	/* Make the digests right again after damage, or NULL: so that what
	 * lies behind the digest is reached too. */
	void (*sign)(uint8_t *bytes, size_t length, uint64_t *random);
	/* Decode; aborts when the decoder took what it must not. */
	int32_t (*decode)(const uint8_t *bytes, size_t length);
};

/* Each ends with a NULL name. */
extern const struct decoder decoders_log[];
extern const struct decoder decoders_state[];
extern const struct decoder decoders_wire[];
/* One of all groups; NULL behind the last. */
const struct decoder *decoder_get(size_t index);

/* For the decoders: abort with the seed, and XXH3 of some bytes. */
void decoder_must(bool holds, const char *what);
void decoder_xxh3(const uint8_t *bytes, size_t length, uint8_t out[16]);

/* `rounds` damaged encodings from `seed` on; how many were still taken. */
uint64_t decoder_run(const struct decoder *decoder, uint64_t seed,
		     uint64_t rounds);

#endif
