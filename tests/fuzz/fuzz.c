/* SPDX-License-Identifier: Apache-2.0 */
/* What all fuzz targets share. */
#include "fuzz.h"

#include "testing.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void (*seed_take)(void *argument, const uint8_t *bytes, size_t length);
static void *seed_argument;

void fuzz_seeds_to(void (*take)(void *argument, const uint8_t *bytes,
				size_t length),
		   void *argument)
{
	seed_take = take;
	seed_argument = argument;
}

void fuzz_seed(const void *bytes, size_t length)
{
	if (length <= FUZZ_BYTES_MAX)
		seed_take(seed_argument, bytes, length);
}

void fuzz_seed_random(uint64_t seed, size_t length)
{
	uint8_t *bytes = malloc(length);

	fuzz_must(bytes != NULL, "no memory");
	test_fill(bytes, length, seed);
	fuzz_seed(bytes, length);
	free(bytes);
}

void fuzz_must(bool holds, const char *what)
{
	if (!holds) {
		fprintf(stderr, "fuzz: broken: %s\n", what);
		abort();
	}
}

uint8_t fuzz_u8(struct fuzz_in *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->at++;
}

uint16_t fuzz_u16(struct fuzz_in *in)
{
	unsigned low = fuzz_u8(in);

	return (uint16_t)(low | (unsigned)fuzz_u8(in) << 8);
}

uint32_t fuzz_u32(struct fuzz_in *in)
{
	uint32_t low = fuzz_u16(in);

	return low | (uint32_t)fuzz_u16(in) << 16;
}

uint64_t fuzz_u64(struct fuzz_in *in)
{
	uint64_t low = fuzz_u32(in);

	return low | (uint64_t)fuzz_u32(in) << 32;
}

uint32_t fuzz_below(struct fuzz_in *in, uint32_t limit)
{
	return (limit <= 256 ? fuzz_u8(in) : fuzz_u32(in)) % limit;
}

const uint8_t *fuzz_take(struct fuzz_in *in, size_t *length_inout)
{
	const uint8_t *at = in->at;

	if (*length_inout > in->left)
		*length_inout = in->left;
	in->at += *length_inout;
	in->left -= *length_inout;
	return at;
}

/*
 * The beds of tests/lib say what they find with Check's macros. There is no
 * Check here: what it would report ends the program (the linker wraps these).
 */
void __wrap__ck_assert_failed(const char *file, int line, const char *expr,
			      const char *msg, ...);
void __wrap__ck_assert_failed(const char *file, int line, const char *expr,
			      const char *msg, ...)
{
	fprintf(stderr, "fuzz: broken: %s:%d: %s: ", file, line, expr);
	if (msg != NULL) {
		va_list arguments;

		va_start(arguments, msg);
		vfprintf(stderr, msg, arguments);
		va_end(arguments);
	}
	fputc('\n', stderr);
	abort();
}

void __wrap__mark_point(const char *file, int line);
void __wrap__mark_point(const char *file, int line)
{
	(void)file;
	(void)line;
}
