/* SPDX-License-Identifier: Apache-2.0 */
/* Every decoder, fed with damaged bytes: refuses, or takes what is in form. */
#include "decoders.h"
#include "testing.h"

#define ROUNDS 3000u

START_TEST(damaged_bytes_are_refused_or_harmless)
{
	const struct decoder *decoder = decoder_get((size_t)_i);
	uint64_t taken = decoder_run(decoder, 1, ROUNDS);

	/* Every 16th is a good one, and those are taken. */
	ck_assert_msg(taken >= ROUNDS / 16, "%s takes %u of its own",
		      decoder->name, (unsigned)taken);
	ck_assert_msg(taken < ROUNDS, "%s takes everything", decoder->name);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("decoders");
	TCase *tcase = tcase_create("decoders");
	int count = 0;

	while (decoder_get((size_t)count) != NULL)
		count++;
	tcase_add_loop_test(tcase, damaged_bytes_are_refused_or_harmless, 0,
			    count);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
