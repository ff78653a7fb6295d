/* SPDX-License-Identifier: Apache-2.0 */
/* The loop that feeds decoders with damage. */
#include "decoders.h"

#include "base/digest.h"
#include "mutate.h"
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed_now; /* To repeat a failure. */

void decoder_must(bool holds, const char *what)
{
	if (!holds) {
		fprintf(stderr, "decoder: %s (seed %llu)\n", what,
			(unsigned long long)seed_now);
		abort();
	}
}

void decoder_xxh3(const uint8_t *bytes, size_t length,
		  uint8_t out[16])
{
	struct hvri_part part = { bytes, length };

	hvri_xxh3(&part, 1, out);
}

const struct decoder *decoder_get(size_t index)
{
	static const struct decoder *const groups[] = { decoders_log,
							decoders_state,
							decoders_wire };

	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		for (const struct decoder *one = groups[i]; one->name != NULL;
		     one++)
			if (index-- == 0)
				return one;
	return NULL;
}

uint64_t decoder_run(const struct decoder *decoder, uint64_t seed,
		     uint64_t rounds)
{
	uint8_t *bytes = malloc(DECODER_BYTES_MAX), *exact;
	uint64_t taken = 0;

	decoder_must(bytes != NULL, "no memory");
	for (uint64_t round = 0; round < rounds; round++) {
		/* Each round by itself, so that one can be repeated. */
		uint64_t random = (seed + round) * 0x9e3779b97f4a7c15u | 1;
		size_t length;

		seed_now = seed + round;
		length = decoder->sample(bytes, &random);
		if ((seed + round) % 16 != 0)
			mutate(bytes, &length, DECODER_BYTES_MAX, &random);
		if (decoder->sign != NULL && test_random(&random) % 4 != 0)
			decoder->sign(bytes, length, &random);
		/* Just as long as it is: a byte too far is seen. */
		exact = malloc(length > 0 ? length : 1);
		decoder_must(exact != NULL, "no memory");
		memcpy(exact, bytes, length);
		taken += decoder->decode(exact, length) == HVREPL_OK;
		free(exact);
	}
	free(bytes);
	return taken;
}
