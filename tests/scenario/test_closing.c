/* SPDX-License-Identifier: Apache-2.0 */
/* A site that is ended in the midst of something ends, and lets no guest write. */
#include "guestshadow.h"

#include <string.h>

/* Jobs that the node's thread does itself are done by its turns, one at a time. Until
 * it is gone nobody may write, however much of its work is left, and who looks sees
 * nothing that went before. */
static void ends_and_lets_nobody_write(struct pair_site *site)
{
	uint8_t block[SIM_SECTOR] = { 1 };
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;
	struct hvrepl_point point = HVREPL_POINT_INIT;
	hvrepl_guest_disk *doors[PAIR_DISKS];

	for (unsigned i = 0; i < PAIR_DISKS; i++)
		doors[i] = pair_door(site, i);
	ck_assert_int_eq(hvrepl_node_close(site->node), HVREPL_OK);
	for (unsigned turns = 0; turns < 1000; turns++) {
		if (hvrepl_vm_get_status(site->node, &pair_vm, &status) < 0)
			break;
		ck_assert_uint_eq(status.writable, 0);
		(void)!hvrepl_vm_get_point(site->node, &pair_vm, 0, &point);
		for (unsigned i = 0; i < PAIR_DISKS; i++)
			ck_assert_int_eq(hvrepl_guest_write(doors[i], 0, block,
							    sizeof(block)),
					 HVREPL_E_FENCED);
		if (hvrepl_node_deadline(site->node) > pair.now_ns)
			pair_run(&pair, 1000000);
		pair_do_jobs(site);
		(void)hvrepl_node_process(site->node, 1);
	}
	for (unsigned i = 0; i < PAIR_DISKS; i++)
		ck_assert_int_eq(hvrepl_guest_write(doors[i], 0, block,
						    sizeof(block)),
				 HVREPL_E_FENCED);
	pair_stop(&pair, site);
}

/* The VM is nobody's replica, and what opens it comes home behind the end. */
START_TEST(a_vm_that_is_opened_behind_the_end_of_its_site_is_not_written)
{
	pair_stop(&pair, &pair.a);
	pair.a.holds_jobs = true;
	pair_start(&pair, &pair.a);
	ck_assert_uint_gt(pair.a.job_count, 0);
	ends_and_lets_nobody_write(&pair.a);
}
END_TEST

static bool b_writes(struct pair *p)
{
	(void)p;
	return shadow_status(&pair.b).writable;
}

/* b takes over, and is ended behind any turn of that. _i: turns. */
START_TEST(a_site_that_is_ended_as_it_takes_over_is_not_written)
{
	shadow_scatter(&pair.a, 1, 20);
	shadow_protect();
	pair_stop(&pair, &pair.a);
	pair_run(&pair, SECOND);
	ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_UNPLANNED, 0, NULL),
			 HVREPL_OK);
	for (int i = 0; i < _i; i++) {
		(void)hvrepl_node_process(pair.b.node, 1);
		pair_do_jobs(&pair.b);
	}
	ends_and_lets_nobody_write(&pair.b);
	pair_start(&pair, &pair.b);
	(void)pair_ask(&pair.b, HVREPL_OPERATION_UNPLANNED, 0, NULL);
	ck_assert(pair_until(&pair, 60 * SECOND, b_writes));
	shadow_expect_disks(&pair.b);
}
END_TEST

/* A replica is removed, and with it the VM here: its guest's door is good until the
 * node is destroyed, and shut. */
START_TEST(a_door_outlives_its_vm)
{
	uint8_t block[SIM_SECTOR] = { 1 };
	struct hvrepl_guest_info info = { .struct_size = sizeof(info) };
	hvrepl_guest_disk *door;

	shadow_protect();
	door = pair_door(&pair.b, 0);
	ck_assert_int_eq(hvrepl_guest_read(door, 0, block, sizeof(block)),
			 HVREPL_E_FENCED);
	shadow_ok(&pair.a, HVREPL_OPERATION_REMOVE);
	ck_assert(pair_until(&pair, 60 * SECOND, shadow_b_is_gone));
	pair_run(&pair, SECOND);
	ck_assert_int_eq(hvrepl_guest_write(door, 0, block, sizeof(block)),
			 HVREPL_E_FENCED);
	ck_assert_int_eq(hvrepl_guest_read(door, 0, block, sizeof(block)),
			 HVREPL_E_FENCED);
	ck_assert_int_eq(hvrepl_guest_flush(door), HVREPL_E_FENCED);
	ck_assert_int_eq(hvrepl_guest_get_info(door, &info), HVREPL_OK);
	ck_assert_uint_eq(info.flags, 0);
	ck_assert_uint_eq(info.reads, 2);
	ck_assert_uint_eq(info.size, pair.disk_size);
}
END_TEST

/* The VM comes to b again, by the same id, and b takes it over: who has the old door
 * does neither read nor write the new one's disk. */
START_TEST(an_old_door_is_none_of_the_vm_that_comes_again)
{
	uint8_t block[SIM_SECTOR] = { 1 };
	hvrepl_guest_disk *old[2], *door;

	shadow_protect();
	for (unsigned i = 0; i < 2; i++) {
		old[i] = pair_door(&pair.b, 0);
		shadow_ok(&pair.a, HVREPL_OPERATION_REMOVE);
		ck_assert(pair_until(&pair, 60 * SECOND, shadow_b_is_gone));
		pair_run(&pair, SECOND);
		shadow_protect();
	}
	ck_assert_ptr_ne(old[0], old[1]);
	pair_stop(&pair, &pair.a);
	pair_run(&pair, SECOND);
	ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_UNPLANNED, 0, NULL),
			 HVREPL_OK);
	ck_assert(pair_until(&pair, 60 * SECOND, b_writes));
	door = pair_door(&pair.b, 0);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_ptr_ne(old[i], door);
		ck_assert_int_eq(hvrepl_guest_write(old[i], 0, block,
						    sizeof(block)),
				 HVREPL_E_FENCED);
		ck_assert_int_eq(hvrepl_guest_read(old[i], 0, block,
						   sizeof(block)),
				 HVREPL_E_FENCED);
	}
	shadow_expect_disks(&pair.b);
}
END_TEST

static bool b_has_job(struct pair *p)
{
	return p->b.job_count > 0;
}

static void do_one_job(struct pair_site *site)
{
	struct pair_job job = site->jobs[0];

	site->job_count--;
	memmove(&site->jobs[0], &site->jobs[1], site->job_count * sizeof(job));
	job.run(job.argument);
}

/* A point is read, so that a commit waits and is tried again now and then. The site
 * is ended as it tries, with upkeep behind that, and the reader leaves in the end. */
START_TEST(what_waits_to_be_tried_again_is_not_as_its_site_ends)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_view *view = NULL;

	shadow_scatter(&pair.a, 1, 20);
	shadow_protect();
	shadow_scatter(&pair.a, 2, 20);
	(void)shadow_next_point(&pair.a, &pair.b);
	pair_stop(&pair, &pair.a);
	pair_run(&pair, SECOND);
	ck_assert_int_eq(pair_operate(&pair, &pair.b,
				      HVREPL_OPERATION_UNPLANNED, 0),
			 HVREPL_OK);
	ck_assert(pair_until(&pair, 60 * SECOND, b_writes));
	shadow_scatter(&pair.b, 3, 20);
	ck_assert_int_eq(hvrepl_vm_open_view(pair.b.node, &pair_vm, 0, &view,
					     &error),
			 HVREPL_OK);
	ck_assert_int_eq(pair_ask(&pair.b, HVREPL_OPERATION_COMMIT, 0, NULL),
			 HVREPL_OK);
	pair_run(&pair, SECOND);
	pair.b.holds_jobs = true;
	ck_assert(pair_until(&pair, SECOND, b_has_job));
	ck_assert_int_eq(hvrepl_vm_set_quota(pair.b.node, &pair_vm, 0, 1, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_node_close(pair.b.node), HVREPL_OK);
	do_one_job(&pair.b);
	ck_assert_uint_gt(pair.b.job_count, 0);
	pair_run(&pair, SECOND);
	pair_do_jobs(&pair.b);
	pair.b.holds_jobs = false;
	pair_run(&pair, SECOND);
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	pair_stop(&pair, &pair.b);
	pair_start(&pair, &pair.b);
	ck_assert(pair_until(&pair, 60 * SECOND, b_writes));
	shadow_expect_disks(&pair.b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("closing");
	TCase *tc = tcase_create("closing");

	tcase_add_checked_fixture(tc, shadow_setup, shadow_teardown);
	tcase_add_test(tc,
		       a_vm_that_is_opened_behind_the_end_of_its_site_is_not_written);
	tcase_add_loop_test(tc, a_site_that_is_ended_as_it_takes_over_is_not_written,
			    0, 40);
	tcase_add_test(tc, a_door_outlives_its_vm);
	tcase_add_test(tc, an_old_door_is_none_of_the_vm_that_comes_again);
	tcase_add_test(tc,
		       what_waits_to_be_tried_again_is_not_as_its_site_ends);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
