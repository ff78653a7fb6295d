/* SPDX-License-Identifier: Apache-2.0 */
/* Digests against published vectors, and what the keyed one must depend on. */
#include "testing.h"

#include "base/digest.h"

#include <stdio.h>
#include <string.h>

static const char *hex(const uint8_t *bytes, size_t length)
{
	static char text[2 * HVRI_DIGEST_MAX + 1];

	for (size_t i = 0; i < length; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return text;
}

START_TEST(xxh3_matches_its_published_value_however_it_is_cut)
{
	uint8_t whole[16], pieces[16], bytes[1000];
	struct hvri_part none = { NULL, 0 };
	struct hvri_part one = { bytes, sizeof(bytes) };
	struct hvri_part three[] = {
		{ bytes, 1 }, { bytes + 1, 700 }, { bytes + 701, 299 }
	};

	hvri_xxh3(&none, 1, whole);
	ck_assert_str_eq(hex(whole, 16), "99aa06d3014798d86001c324468d497f");
	test_fill(bytes, sizeof(bytes), 1);
	hvri_xxh3(&one, 1, whole);
	hvri_xxh3(three, 3, pieces);
	ck_assert_mem_eq(whole, pieces, 16);
}
END_TEST

START_TEST(sha256_matches_its_published_value)
{
	struct hvri_sha256 sha;
	uint8_t digest[32];

	ck_assert_int_eq(hvri_sha256_begin(&sha), HVREPL_OK);
	ck_assert_int_eq(hvri_sha256_add(&sha, "a", 1), HVREPL_OK);
	ck_assert_int_eq(hvri_sha256_add(&sha, "bc", 2), HVREPL_OK);
	ck_assert_int_eq(hvri_sha256_end(&sha, digest), HVREPL_OK);
	hvri_sha256_free(&sha);
	ck_assert_str_eq(hex(digest, 32),
			 "ba7816bf8f01cfea414140de5dae2223"
			 "b00361a396177a9cb410ff61f20015ad");
}
END_TEST

START_TEST(gmac_matches_its_published_value)
{
	static const uint8_t key[HVRI_GMAC_KEY];
	struct hvri_gmac gmac;
	uint8_t digest[16];

	/* AES-256-GCM, zero key, zero nonce, nothing authenticated. */
	ck_assert_int_eq(hvri_gmac_init(&gmac, key), HVREPL_OK);
	ck_assert_int_eq(hvri_gmac_block(&gmac, 0, 0, "", 0, digest), HVREPL_OK);
	hvri_gmac_free(&gmac);
	ck_assert_str_eq(hex(digest, 16), "530f8afbc74536b9a963b4f1c4cb738b");
}
END_TEST

START_TEST(gmac_depends_on_key_disk_offset_and_every_byte)
{
	uint8_t key[HVRI_GMAC_KEY] = { 7 }, bytes[4096], first[16], again[16];
	struct hvri_gmac gmac;

	test_fill(bytes, sizeof(bytes), 2);
	ck_assert_int_eq(hvri_gmac_init(&gmac, key), HVREPL_OK);
	ck_assert_int_eq(hvri_gmac_block(&gmac, 1, 4096, bytes, 4096, first), 0);
	ck_assert_int_eq(hvri_gmac_block(&gmac, 1, 4096, bytes, 4096, again), 0);
	ck_assert_mem_eq(first, again, 16);
	ck_assert_int_eq(hvri_gmac_block(&gmac, 2, 4096, bytes, 4096, again), 0);
	ck_assert_mem_ne(first, again, 16);
	ck_assert_int_eq(hvri_gmac_block(&gmac, 1, 8192, bytes, 4096, again), 0);
	ck_assert_mem_ne(first, again, 16);
	ck_assert_int_eq(hvri_gmac_block(&gmac, 1, 4096ull + (1ull << 32),
					 bytes, 4096, again), 0);
	ck_assert_mem_ne(first, again, 16);
	for (size_t i = 0; i < sizeof(bytes); i += 97) {
		bytes[i] ^= 1;
		ck_assert_int_eq(hvri_gmac_block(&gmac, 1, 4096, bytes, 4096,
						 again), 0);
		ck_assert_mem_ne(first, again, 16);
		bytes[i] ^= 1;
	}
	hvri_gmac_free(&gmac);
	key[31] = 1;
	ck_assert_int_eq(hvri_gmac_init(&gmac, key), HVREPL_OK);
	ck_assert_int_eq(hvri_gmac_block(&gmac, 1, 4096, bytes, 4096, again), 0);
	ck_assert_mem_ne(first, again, 16);
	hvri_gmac_free(&gmac);
}
END_TEST

START_TEST(an_unknown_kind_has_no_size)
{
	ck_assert_uint_eq(hvri_digest_size(HVRI_DIGEST_NONE), 0);
	ck_assert_uint_eq(hvri_digest_size(HVRI_DIGEST_XXH3_128), 16);
	ck_assert_uint_eq(hvri_digest_size(HVRI_DIGEST_SHA256), 32);
	ck_assert_uint_eq(hvri_digest_size(HVRI_DIGEST_GMAC), 16);
	ck_assert_uint_eq(hvri_digest_size(200), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("digest");
	TCase *tcase = tcase_create("digest");

	tcase_add_test(tcase, xxh3_matches_its_published_value_however_it_is_cut);
	tcase_add_test(tcase, sha256_matches_its_published_value);
	tcase_add_test(tcase, gmac_matches_its_published_value);
	tcase_add_test(tcase, gmac_depends_on_key_disk_offset_and_every_byte);
	tcase_add_test(tcase, an_unknown_kind_has_no_size);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
