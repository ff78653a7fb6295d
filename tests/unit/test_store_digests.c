/* SPDX-License-Identifier: Apache-2.0 */
/* A store is opened while memory is short, its own or that of libcrypto and libzstd: at
 * every call it says so, and nothing that was received or moved is lost for it. */
#include "failing.h"
#include "storeworld.h"

static struct world w;

START_TEST(an_opening_without_memory_is_done_again)
{
	bool reached = true;
	unsigned times = 0;

	for (long n = 0; reached; n++) {
		struct hvri_store_partial partial;
		uint32_t more;
		int32_t rc;

		world_init(&w, 3);
		w.change_blocks = 8;
		ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
		ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
		ck_assert_int_eq(hvri_store_merge_begin(w.store, 0, NULL),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_store_merge_advance(w.store, &more, NULL),
				 HVREPL_OK);
		world_make_cut(&w);
		ck_assert_int_eq(world_send_segments(&w), HVREPL_OK);
		w.sim.crashed = true;
		world_abandon(&w);
		sim_restart(&w.sim, false);
		if (_i == 0)
			failing_arm(n, n % 2 == 1);
		else
			w.env.alloc_fail_at = n;
		rc = world_open(&w, false);
		reached = _i == 0 ? failing.failed > 0 : w.env.alloc_fail_at < 0;
		failing_arm(-1, false);
		w.env.alloc_fail_at = -1;
		ck_assert_int_eq(rc, reached ? HVREPL_E_NOMEM : HVREPL_OK);
		times += reached;
		world_close(&w);
		ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
		for (uint32_t d = 0; d < WORLD_DISKS; d++) {
			ck_assert_int_eq(hvri_store_partial(w.store, d, &partial),
					 HVREPL_OK);
			ck_assert_uint_eq(partial.received, w.cut.counts[d]);
		}
		ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
		world_check(&w);
		world_free(&w);
		ck_assert_int_eq(w.env.alloc_live, 0);
	}
	ck_assert_uint_gt(times, 20);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store digests");
	TCase *tcase = tcase_create("store digests");

	tcase_add_loop_test(tcase, an_opening_without_memory_is_done_again, 0, 2);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
