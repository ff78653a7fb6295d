/* SPDX-License-Identifier: Apache-2.0 */
/* Rule S6: giving up points and compaction, crashed at every I/O. */
#include "storescript.h"

START_TEST(retention_and_compaction_lose_no_kept_point)
{
	static const uint8_t script[] = { ADOPT, SEND, SEND, SEND,     MERGE_TO,
					  SEND,	 SEND, SEND, MERGE_TO, DROP,
					  COMPACT, DROP, PIN, COMPACT, END };

	script_everywhere(script, NULL);
}
END_TEST

START_TEST(upkeep_by_policy_loses_no_kept_point)
{
	static const uint8_t script[] = { ADOPT,    SEND, MAINTAIN, SEND,
					  MAINTAIN, SEND, SEND,	    MAINTAIN,
					  SEND,	    MAINTAIN, END };
	struct hvrepl_store_options options = {
		.points_max = 2,
		.base_at = (uint32_t)_i,
		.container_bytes = 16384,
	};

	script_everywhere(script, &options);
}
END_TEST

START_TEST(points_given_up_for_space_take_no_other_with_them)
{
	static const uint8_t script[] = { ADOPT,    SEND, MAINTAIN, SEND,
					  MAINTAIN, SEND, MAINTAIN, SEND,
					  MAINTAIN, SEND, MAINTAIN, END };
	struct hvrepl_store_options options = {
		.points_max = 24,
		.points_min = 1,
		.base_at = (uint32_t)_i,
		.container_bytes = 16384,
		.capacity = 1024u << 10,
		.reserve = 64u << 10,
		.high_water = 24u << 10, /* Three points or so. */
	};

	script_everywhere(script, &options);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store-upkeep-crash");
	TCase *tcase = tcase_create("store-upkeep-crash");

	tcase_add_test(tcase, retention_and_compaction_lose_no_kept_point);
	tcase_add_loop_test(tcase, upkeep_by_policy_loses_no_kept_point, 0, 2);
	tcase_add_loop_test(tcase,
			    points_given_up_for_space_take_no_other_with_them,
			    0, 2);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
