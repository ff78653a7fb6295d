/* SPDX-License-Identifier: Apache-2.0 */
/* Deterministic env, seeded bytes and the runner every test program uses. */
#include "testing.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t env_monotonic(void *user)
{
	return ((struct test_env *)user)->now_ns;
}

static uint64_t env_utc(void *user)
{
	return ((struct test_env *)user)->utc_ns;
}

static const uint64_t *fed_state;
static const uint8_t *fed_bytes;
static size_t fed_left;

void test_random_feed(const uint64_t *state, const uint8_t *bytes,
		      size_t length)
{
	fed_state = state;
	fed_bytes = bytes;
	fed_left = length;
}

#define SCRAMBLE 0x2545f4914f6cdd1dull

static inline uint64_t step(uint64_t x)
{
	x ^= x >> 12;
	x ^= x << 25;
	return x ^ x >> 27;
}

uint64_t test_random(uint64_t *state)
{
	uint64_t x;

	if (state == fed_state && fed_left >= 2) {
		x = fed_bytes[0] | (uint64_t)fed_bytes[1] << 8;
		fed_bytes += 2;
		fed_left -= 2;
		return x;
	}
	*state = step(*state);
	return *state * SCRAMBLE;
}

/* A step waits for the one before it; many of them are done side by side, from
 * states that lie STRIDE steps apart. A state after so many steps is the sum (XOR) of
 * what its bits become, one at a time: `ahead` has that for each byte of it. */
#define STRIDE 64u

static uint64_t ahead[8][256];

__attribute__((constructor)) static void look_ahead(void)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t state = UINT64_C(1) << bit;
		unsigned value = 1u << bit % 8;

		for (unsigned i = 0; i < STRIDE; i++)
			state = step(state);
		for (unsigned i = 0; i < value; i++)
			ahead[bit / 8][value + i] = ahead[bit / 8][i] ^ state;
	}
}

static uint64_t jump(uint64_t state)
{
	uint64_t far = 0;

	for (unsigned i = 0; i < 8; i++)
		far ^= ahead[i][state >> (8 * i) & 0xff];
	return far;
}

static inline void put_word(uint8_t *to, uint64_t state)
{
	state *= SCRAMBLE;
	memcpy(to, &state, sizeof(state));
}

void test_fill(void *bytes, size_t length, uint64_t seed)
{
	uint64_t state = seed * 2 + 1;
	uint8_t *to = bytes;

	for (; length >= 4 * STRIDE * 8; length -= 4 * STRIDE * 8) {
		uint64_t a = state, b = jump(a), c = jump(b), d = jump(c);

		for (unsigned i = 0; i < STRIDE; i++, to += 8) {
			a = step(a);
			b = step(b);
			c = step(c);
			d = step(d);
			put_word(to, a);
			put_word(to + 1 * STRIDE * 8, b);
			put_word(to + 2 * STRIDE * 8, c);
			put_word(to + 3 * STRIDE * 8, d);
		}
		state = d;
		to += 3 * STRIDE * 8;
	}
	for (; length > 0; to += 8) {
		uint64_t value;

		state = step(state);
		value = state * SCRAMBLE;
		memcpy(to, &value, length < 8 ? length : 8);
		length -= length < 8 ? length : 8;
	}
}

static int32_t env_random(void *user, void *buffer, size_t length)
{
	struct test_env *env = user;

	if (test_refuses(env->refusals))
		return HVREPL_E_CALLBACK;
	test_fill(buffer, length, test_random(&env->random_state));
	return HVREPL_OK;
}

/* ---- Memory that is used again. ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RECYCLES 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RECYCLES 0
#endif
#endif
#ifndef RECYCLES
#define RECYCLES 1
#endif
#define SMALL 1024u /* Up to it by multiples of 64, then by doubling. */
#define SMALL_SIZES (SMALL / 64)
#define SIZES (SMALL_SIZES + 11u) /* Up to 2 MiB. */

static bool recycles;
static struct scrap {
	struct scrap *next;
} *scraps[SIZES];

void test_env_recycle(void)
{
	recycles = RECYCLES != 0;
}

bool test_env_recycles(void)
{
	return recycles;
}

/* SIZES: none. */
static unsigned size_index(size_t size)
{
	if (size <= SMALL)
		return size == 0 ? 0 : (unsigned)(size - 1) / 64;
	if (size > (size_t)SMALL << (SIZES - SMALL_SIZES))
		return SIZES;
	return SMALL_SIZES - 1 + 54 -
	       (unsigned)__builtin_clzll((unsigned long long)size - 1);
}

static size_t size_at(unsigned index)
{
	return index < SMALL_SIZES ? (index + 1) * (size_t)64 :
				     (size_t)SMALL << (index - SMALL_SIZES + 1);
}

static void *get_memory(size_t size, size_t alignment)
{
	unsigned i = recycles ? size_index(size) : SIZES;
	void *memory = NULL;

	if (i < SIZES) {
		size_t least = size > SMALL ? 4096 : 64;
		struct scrap *scrap = scraps[i];

		/* Of stricter ones there come to be as many as are needed. */
		if (scrap != NULL && (uintptr_t)scrap % alignment == 0) {
			scraps[i] = scrap->next;
			return scrap;
		}
		/* It will be on the list, whatever it is for now. */
		size = size_at(i);
		alignment = alignment > least ? alignment : least;
	}
	if (alignment <= _Alignof(max_align_t))
		return malloc(size > 0 ? size : 1);
	return posix_memalign(&memory, alignment, size) == 0 ? memory : NULL;
}

static void put_memory(void *memory, size_t size)
{
	unsigned i = recycles ? size_index(size) : SIZES;

	if (i < SIZES) {
		struct scrap *scrap = memory;

		scrap->next = scraps[i];
		scraps[i] = scrap;
		return;
	}
	free(memory);
}

static void *env_alloc(void *user, size_t size, size_t alignment)
{
	struct test_env *env = user;
	void *memory;

	if (__atomic_load_n(&env->alloc_fail_at, __ATOMIC_RELAXED) >= 0 &&
	    __atomic_sub_fetch(&env->alloc_fail_at, 1, __ATOMIC_RELAXED) < 0) {
		if (env->alloc_fail_on)
			__atomic_store_n(&env->alloc_fail_at, 0,
					 __ATOMIC_RELAXED);
		return NULL;
	}
	memory = get_memory(size, alignment);
	if (memory == NULL)
		return NULL;
	if (recycles) { /* For a program of one thread. */
		env->alloc_count++;
		env->alloc_live++;
		env->alloc_bytes += size;
		return memory;
	}
	__atomic_add_fetch(&env->alloc_count, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&env->alloc_live, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&env->alloc_bytes, size, __ATOMIC_RELAXED);
	return memory;
}

static void env_free(void *user, void *memory, size_t size)
{
	struct test_env *env = user;

	if (recycles) {
		env->alloc_live--;
		env->alloc_bytes -= size;
	} else {
		__atomic_sub_fetch(&env->alloc_live, 1, __ATOMIC_RELAXED);
		__atomic_sub_fetch(&env->alloc_bytes, size, __ATOMIC_RELAXED);
	}
	put_memory(memory, size);
}

void test_env_init(struct test_env *env, uint64_t seed)
{
	*env = (struct test_env){
		.env = HVREPL_ENV_INIT,
		.now_ns = 1000000000ull,
		.utc_ns = 1700000000ull * 1000000000ull,
		.random_state = seed * 2 + 1,
		.alloc_fail_at = -1,
	};
	env->env.user = env;
	env->env.monotonic_ns = env_monotonic;
	env->env.utc_ns = env_utc;
	env->env.random = env_random;
	env->env.alloc = env_alloc;
	env->env.free = env_free;
}

unsigned test_stride(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
	defined(__clang__)
	return getenv("HVREPL_LONG") != NULL ? 1 : 5;
#else
	return 1;
#endif
}

int test_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed, run;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	run = srunner_ntests_run(runner);
	srunner_free(runner);
	printf("%d passed, %d failed\n", run - failed, failed);
	return failed == 0 && run > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
