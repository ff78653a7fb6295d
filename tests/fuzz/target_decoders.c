/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Targets over the decoders of tests/lib: frame, segment, message, manifest,
 * tracker-codec. The first byte picks the decoder of a group; damage is
 * followed by digests made right again, so that what lies behind is reached.
 */
#include "fuzz.h"

#include "decoders.h"
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#define GROUP_MAX 8u

struct group {
	const char *names[GROUP_MAX];
	const struct decoder *decoders[GROUP_MAX];
	uint8_t count;
};

static void look_up(struct group *group)
{
	const struct decoder *one;

	if (group->count > 0)
		return;
	while (group->count < GROUP_MAX && group->names[group->count] != NULL) {
		for (size_t i = 0; (one = decoder_get(i)) != NULL; i++)
			if (strcmp(one->name, group->names[group->count]) == 0)
				break;
		fuzz_must(one != NULL, "no such decoder");
		group->decoders[group->count++] = one;
	}
}

static void one_of(struct group *group, const uint8_t *bytes, size_t length)
{
	uint8_t *exact;

	look_up(group);
	if (length == 0)
		return;
	/* By itself, so that it lies as aligned as it does in life. */
	exact = malloc(length);
	fuzz_must(exact != NULL, "no memory");
	memcpy(exact, bytes + 1, length - 1);
	(void)!group->decoders[bytes[0] % group->count]->decode(exact,
								length - 1);
	free(exact);
}

static void seeds_of(struct group *group)
{
	uint8_t *bytes = malloc(1 + DECODER_BYTES_MAX);

	look_up(group);
	fuzz_must(bytes != NULL, "no memory");
	for (uint8_t i = 0; i < group->count; i++) {
		uint64_t random = 12345;

		for (unsigned k = 0; k < 24; k++) {
			size_t length;

			bytes[0] = i;
			length = group->decoders[i]->sample(bytes + 1, &random);
			fuzz_seed(bytes, 1 + length);
		}
	}
	free(bytes);
}

static size_t mend_of(struct group *group, uint8_t *bytes, size_t length,
		      uint64_t *random)
{
	const struct decoder *decoder;

	look_up(group);
	if (length == 0)
		return 0;
	decoder = group->decoders[bytes[0] % group->count];
	if (decoder->sign != NULL)
		decoder->sign(bytes + 1, length - 1, random);
	return length;
}

#define TARGET(word, text, ...)                                              \
	static struct group group_##word = { .names = { __VA_ARGS__ } };     \
	static void one_##word(const uint8_t *bytes, size_t length)          \
	{                                                                    \
		one_of(&group_##word, bytes, length);                        \
	}                                                                    \
	static void seeds_##word(void)                                       \
	{                                                                    \
		seeds_of(&group_##word);                                     \
	}                                                                    \
	static size_t mend_##word(uint8_t *bytes, size_t length,             \
				  size_t room, uint64_t *random)             \
	{                                                                    \
		(void)room;                                                  \
		return mend_of(&group_##word, bytes, length, random);        \
	}                                                                    \
	extern const struct fuzz_target fuzz_##word;                         \
	const struct fuzz_target fuzz_##word = {                             \
		text, one_##word, seeds_##word, mend_##word                  \
	}

TARGET(frame, "frame", "frame");
TARGET(segment, "segment", "segment-header", "chunk", "index-page", "trailer",
	"log", "apply-record");
TARGET(message, "message", "message", "record");
TARGET(manifest, "manifest", "store-head", "store-checkpoint", "store-change");
TARGET(tracker_codec, "tracker-codec", "tracker-header", "tracker-fine");
