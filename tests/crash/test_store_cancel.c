/* SPDX-License-Identifier: Apache-2.0 */
/* Rule S8: a commit cancelled while it folds, crashed at every I/O. */
#include "storescript.h"

START_TEST(cancelling_a_commit_restores_every_point)
{
	static const uint8_t script[] = { ADOPT, SEND,	SEND,	SEND, MERGE_TO,
					  FAILOVER, WRITE, FLUSH, STEPS,
					  CANCEL, SEND, MERGE, END };

	script_everywhere(script, NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store-cancel-crash");
	TCase *tcase = tcase_create("store-cancel-crash");

	tcase_add_test(tcase, cancelling_a_commit_restores_every_point);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
