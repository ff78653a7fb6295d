/* SPDX-License-Identifier: Apache-2.0 */
/* Rules S3, S4: receiving and merging, crashed at every I/O. */
#include "storescript.h"

START_TEST(receiving_loses_no_acknowledged_point)
{
	static const uint8_t script[] = { FIRST, SEND, BLOB, SEND, SEND, BLOB,
					  END };

	script_everywhere(script, NULL);
}
END_TEST

START_TEST(merging_loses_no_kept_point)
{
	static const uint8_t script[] = { ADOPT, SEND, SEND, SEND, MERGE_TO,
					  SEND,	 MERGE, END };

	script_everywhere(script, NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store-crash");
	TCase *tcase = tcase_create("store-crash");

	tcase_add_test(tcase, receiving_loses_no_acknowledged_point);
	tcase_add_test(tcase, merging_loses_no_kept_point);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
