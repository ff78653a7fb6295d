/* SPDX-License-Identifier: Apache-2.0 */
/* The sparse bitmap against a byte for every bit, and at the edges. */
#include "testing.h"

#include "base/bitmap.h"

#include <string.h>

#define BITS (2 * 2097152u + 12345u) /* Three mids, the last one short. */

static struct test_env env;
static struct hvri_env inside;
static struct hvri_page_pool pool;
static struct hvri_bitmap map;
static uint8_t model[BITS];

static void setup(void)
{
	test_env_init(&env, 1);
	ck_assert_int_eq(hvri_env_copy(&inside, &env.env, NULL), HVREPL_OK);
	hvri_page_pool_init(&pool, &inside);
	ck_assert_int_eq(hvri_page_pool_fill(&pool, 4096, 8), HVREPL_OK);
	ck_assert_int_eq(hvri_bitmap_init(&map, &inside, BITS), HVREPL_OK);
	memset(model, 0, sizeof(model));
}

static void teardown(void)
{
	hvri_bitmap_free(&map, &pool);
	hvri_page_pool_free(&pool);
	ck_assert_int_eq(env.alloc_live, 0);
}

static void check_all(const struct hvri_bitmap *bits)
{
	uint64_t at = 0, first, count, total = 0, seen = 0, wrong = 0;

	for (uint64_t i = 0; i < BITS; i++)
		total += model[i];
	ck_assert_uint_eq(hvri_bitmap_count(bits, 0, BITS), total);
	while (hvri_bitmap_next(bits, at, BITS, UINT64_MAX, &first, &count)) {
		for (; at < first; at++)
			wrong += model[at] != 0;
		for (; at < first + count; at++)
			wrong += model[at] != 1;
		wrong += at < BITS && model[at] != 0;
		seen += count;
	}
	ck_assert_uint_eq(seen, total);
	ck_assert_uint_eq(wrong, 0);
}

START_TEST(ranges_are_set_as_in_the_model)
{
	uint64_t random = (uint64_t)_i * 2 + 3;

	for (int i = 0; i < 300; i++) {
		uint64_t first = test_random(&random) % BITS;
		uint64_t max = i % 20 == 0 ? BITS : i % 3 == 0 ? 9000 : 70;
		uint64_t count = 1 + test_random(&random) % max;

		if (i % 5 == 0)
			first &= ~UINT64_C(4095);
		if (count > BITS - first)
			count = BITS - first;
		if (!hvri_bitmap_try_set(&map, first, count))
			hvri_bitmap_set(&map, &pool, first, count);
		memset(model + first, 1, count);
		first = test_random(&random) % BITS;
		ck_assert_uint_eq(hvri_bitmap_get(&map, first), model[first]);
		count = 1 + test_random(&random) % 200;
		if (count > BITS - first)
			count = BITS - first;
		ck_assert_uint_eq(hvri_bitmap_any(&map, first, count),
				  memchr(model + first, 1, count) != NULL);
	}
	check_all(&map);
}
END_TEST

START_TEST(or_of_a_range_adds_just_that)
{
	struct hvri_bitmap other;
	uint64_t random = 5, from = 300000, to = 2500001;

	ck_assert_int_eq(hvri_bitmap_init(&other, &inside, BITS), HVREPL_OK);
	for (int i = 0; i < 400; i++) {
		uint64_t first = test_random(&random) % (BITS - 9000);
		uint64_t count = 1 + test_random(&random) % 9000;
		bool to_map = i % 2 == 0;

		hvri_bitmap_set(to_map ? &map : &other, &pool, first, count);
		for (uint64_t k = first; k < first + count; k++)
			if (to_map || (k >= from && k < to))
				model[k] = 1;
	}
	hvri_bitmap_or(&map, &pool, &other, from, to - from);
	check_all(&map);
	hvri_bitmap_free(&other, &pool);
}
END_TEST

/* T10: no memory widens, never loses; a wholly set range costs nothing. */
START_TEST(without_pages_a_set_widens)
{
	struct hvri_page_pool dry;
	long live = env.alloc_live;

	hvri_page_pool_init(&dry, &inside);
	hvri_bitmap_set(&map, &dry, 5000, 1);
	ck_assert(hvri_bitmap_get(&map, 5000));
	ck_assert_uint_eq(hvri_bitmap_count(&map, 0, BITS), 2097152);
	hvri_bitmap_set(&map, &dry, 0, BITS);
	ck_assert_uint_eq(hvri_bitmap_count(&map, 0, BITS), BITS);
	ck_assert_int_eq(env.alloc_live, live);
	hvri_page_pool_free(&dry);
}
END_TEST

START_TEST(reserve_makes_a_set_exact_or_says_why_not)
{
	struct hvri_page_pool dry;
	bool failed = false;

	hvri_page_pool_init(&dry, &inside);
	for (long n = 0; n < 10; n++) {
		int32_t rc;

		env.alloc_fail_at = n;
		rc = hvri_bitmap_reserve(&map, &dry, 4000, 200);
		env.alloc_fail_at = -1;
		failed |= rc == HVREPL_E_NOMEM;
		if (rc == HVREPL_OK)
			break;
	}
	ck_assert(failed);
	hvri_bitmap_set(&map, &dry, 4000, 200);
	ck_assert_uint_eq(hvri_bitmap_count(&map, 0, BITS), 200);
	hvri_page_pool_free(&dry);
}
END_TEST

START_TEST(reset_clears_and_keeps_what_the_next_sets_need)
{
	struct hvri_bitmap like;

	ck_assert_int_eq(hvri_bitmap_init(&like, &inside, BITS), HVREPL_OK);
	hvri_bitmap_set(&like, &pool, 7, 1);
	hvri_bitmap_set(&map, &pool, 3000000, 9);
	hvri_bitmap_set(&map, &pool, 0, 2097152);
	hvri_bitmap_reset(&map, &pool, &like);
	ck_assert_uint_eq(hvri_bitmap_count(&map, 0, BITS), 0);
	/* The mid is there; only a leaf is missing. */
	ck_assert_ptr_nonnull((void *)atomic_load(&map.top[0]));
	ck_assert_ptr_null((void *)atomic_load(&map.top[1]));
	hvri_bitmap_free(&like, &pool);
}
END_TEST

START_TEST(runs_are_cut_at_the_limit)
{
	uint64_t first, count;

	hvri_bitmap_set(&map, &pool, 100, 10000);
	ck_assert(hvri_bitmap_next(&map, 0, BITS, 64, &first, &count));
	ck_assert_uint_eq(first, 100);
	ck_assert_uint_eq(count, 64);
	ck_assert(hvri_bitmap_next(&map, 5000, 5003, UINT64_MAX, &first,
				   &count));
	ck_assert_uint_eq(first, 5000);
	ck_assert_uint_eq(count, 3);
	ck_assert(!hvri_bitmap_next(&map, 10100, BITS, 1, &first, &count));
	ck_assert(!hvri_bitmap_next(&map, BITS, BITS, 1, &first, &count));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("bitmap");
	TCase *tcase = tcase_create("all");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, ranges_are_set_as_in_the_model, 0, 5);
	tcase_add_test(tcase, or_of_a_range_adds_just_that);
	tcase_add_test(tcase, without_pages_a_set_widens);
	tcase_add_test(tcase, reserve_makes_a_set_exact_or_says_why_not);
	tcase_add_test(tcase, reset_clears_and_keeps_what_the_next_sets_need);
	tcase_add_test(tcase, runs_are_cut_at_the_limit);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
