/* SPDX-License-Identifier: Apache-2.0 */
/* Seeded damage to bytes. */
#include "mutate.h"

#include "testing.h"

#include <string.h>

/* Values at which comparisons and arithmetic go wrong. */
static uint64_t interesting(uint64_t *random)
{
	static const uint64_t values[] = {
		0,	    1,		2,	    0x7f,	0x80,
		0xff,	    0x100,	0x1ff,	    0x200,	511,
		1023,	    1024,	1025,	    4095,	4096,
		65535,	    65536,	65537,	    262144,	262145,
		0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
		INT64_MAX,  (uint64_t)INT64_MAX + 1, UINT64_MAX - 4095,
		UINT64_MAX - 1, UINT64_MAX,
	};

	return values[test_random(random) %
		      (sizeof(values) / sizeof(values[0]))];
}

static void put_number(uint8_t *bytes, size_t length, uint64_t *random)
{
	size_t width = (size_t)1 << (test_random(random) % 4);
	uint64_t value = interesting(random);
	size_t at;

	if (length < width)
		return;
	/* Fields mostly lie on multiples of their width. */
	at = test_random(random) % (length - width + 1);
	if (test_random(random) % 4 != 0)
		at -= at % width;
	for (size_t i = 0; i < width; i++)
		bytes[at + i] = (uint8_t)(value >> (8 * i));
}

static void copy_part(uint8_t *bytes, size_t length, uint64_t *random)
{
	size_t count = 1 + test_random(random) % 32;
	size_t from, to;

	if (length < count)
		return;
	from = test_random(random) % (length - count + 1);
	to = test_random(random) % (length - count + 1);
	memmove(bytes + to, bytes + from, count);
}

static void change_length(uint8_t *bytes, size_t *length, size_t capacity,
			  uint64_t *random)
{
	size_t count = 1 + test_random(random) % 64;
	size_t at = *length > 0 ? test_random(random) % *length : 0;

	switch (test_random(random) % 3) {
	case 0: /* Cut the end. */
		*length = at;
		break;
	case 1: /* Take a part out. */
		if (count > *length - at)
			count = *length - at;
		memmove(bytes + at, bytes + at + count, *length - at - count);
		*length -= count;
		break;
	default: /* Put a part in. */
		if (count > capacity - *length)
			return;
		memmove(bytes + at + count, bytes + at, *length - at);
		for (size_t i = 0; i < count; i++)
			bytes[at + i] = (uint8_t)test_random(random);
		*length += count;
		break;
	}
}

void mutate(uint8_t *bytes, size_t *length_inout, size_t capacity,
	    uint64_t *random)
{
	unsigned changes = 1 + (unsigned)(test_random(random) % 8);

	for (unsigned i = 0; i < changes && *length_inout > 0; i++) {
		size_t at = test_random(random) % *length_inout;

		switch (test_random(random) % 8) {
		case 0:
		case 1:
			bytes[at] ^= (uint8_t)(1u << test_random(random) % 8);
			break;
		case 2:
			bytes[at] = (uint8_t)test_random(random);
			break;
		case 3:
		case 4:
		case 5:
			put_number(bytes, *length_inout, random);
			break;
		case 6:
			copy_part(bytes, *length_inout, random);
			break;
		default:
			change_length(bytes, length_inout, capacity, random);
			break;
		}
	}
}
