/* SPDX-License-Identifier: Apache-2.0 */
/*
 * story: the simulator of tests/sim, told by the input instead of a seed. All
 * its faults, operators and adversaries, and a check for each guarantee.
 */
#include "fuzz.h"

#include "../sim/story.h"

#include <stdarg.h>
#include <stdlib.h>

uint32_t suppressed;
bool lost_caches;
unsigned focus;

void violated(unsigned guarantee, const char *format, ...)
{
	va_list list;

	fprintf(stderr, "fuzz: broken: guarantee %u: ", guarantee);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fprintf(stderr, "\n");
	abort();
}

/* Kind, the seed that goes on where the input ends, decisions of two bytes. */
static void one(const uint8_t *bytes, size_t length)
{
	static struct tally mine;
	struct fuzz_in in = { bytes, length };
	enum profile kind = fuzz_u8(&in) % PROFILE_TRACKER;
	uint64_t n = fuzz_u16(&in);

	memset(&mine, 0, sizeof(mine));
	tally = &mine;
	tally->limit = UINT64_MAX;
	focus = 44;
	test_random_feed(&story_random, in.at, in.left);
	story(n, kind);
	test_random_feed(NULL, NULL, 0);
	fuzz_must(mine.stories == 1, "a story without end");
}

static void seeds(void)
{
	for (uint64_t i = 0; i < 16; i++) {
		uint8_t bytes[3 + 500];

		test_fill(bytes, sizeof(bytes), i + 1);
		bytes[0] = (uint8_t)(i % PROFILE_TRACKER);
		fuzz_seed(bytes, 3 + 30 * i);
	}
}

extern const struct fuzz_target fuzz_story;
const struct fuzz_target fuzz_story = { "story", one, seeds, NULL };
