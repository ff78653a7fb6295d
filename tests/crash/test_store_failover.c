/* SPDX-License-Identifier: Apache-2.0 */
/* Rules S7, S8: overlay and commit, crashed at every I/O. */
#include "storescript.h"

START_TEST(a_failover_loses_no_flushed_write)
{
	static const uint8_t script[] = { ADOPT, SEND,	SEND,  FAILOVER, WRITE,
					  FLUSH, WRITE, WRITE, FLUSH,	 WRITE,
					  CANCEL, SEND, END };

	script_everywhere(script, NULL);
}
END_TEST

START_TEST(a_commit_loses_no_flushed_write)
{
	static const uint8_t redo[] = { ADOPT, SEND, SEND, FAILOVER, WRITE,
					FLUSH, WRITE, COMMIT, WRITE, FLUSH,
					BLOB,  BLOB, END };
	static const uint8_t undo[] = { ADOPT, SEND,  SEND,   MERGE, FAILOVER,
					WRITE, FLUSH, COMMIT, WRITE, FLUSH,
					BLOB,  END };

	script_everywhere(_i == 0 ? redo : undo, NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store-failover-crash");
	TCase *tcase = tcase_create("store-failover-crash");

	tcase_add_test(tcase, a_failover_loses_no_flushed_write);
	tcase_add_loop_test(tcase, a_commit_loses_no_flushed_write, 0, 2);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
