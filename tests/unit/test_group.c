/* SPDX-License-Identifier: Apache-2.0 */
/* What a cut group and a tracker are made of: options, remains of a killed process,
 * disks that tell little of themselves. */
#include "cutbed.h"

#include <stdio.h>

static struct hvrepl_group_options options;

static int32_t create(void)
{
	hvrepl_group *made = NULL;
	int32_t rc = hvrepl_group_create(&env.env, &options, NULL, &made);

	if (rc == HVREPL_OK)
		ck_assert_int_eq(hvrepl_group_destroy(made), HVREPL_OK);
	return rc;
}

static void fresh(void)
{
	options = (struct hvrepl_group_options)HVREPL_GROUP_OPTIONS_INIT;
}

START_TEST(options_out_of_range_are_refused)
{
	static const struct {
		int32_t level;
		const char *prefix;
		int32_t expected;
	} cases[] = {
		{ 0, NULL, HVREPL_OK },
		{ 19, "a", HVREPL_OK },
		{ -7, "12345678901234567890123", HVREPL_OK },
		{ 20, NULL, HVREPL_E_INVALID },
		{ -8, NULL, HVREPL_E_INVALID },
		{ 0, "", HVREPL_E_INVALID },
		{ 0, "123456789012345678901234", HVREPL_E_INVALID },
		{ 0, ".a", HVREPL_E_INVALID },
	};

	for (size_t i = 0; i < HVRI_ARRAY_LEN(cases); i++) {
		fresh();
		options.level = cases[i].level;
		options.spill_prefix = cases[i].prefix;
		options.spool_memory = 1;
		options.write_wait_ns = 1;
		options.cool_after_ns = 1;
		options.spill_limit = 1;
		ck_assert_int_eq(create(), cases[i].expected);
	}
}
END_TEST

static void put_object(const char *id)
{
	struct hvrepl_storage storage = sim_storage_handle(spill);
	void *object = NULL;

	ck_assert_int_eq(storage.ops->open(storage.user, id,
					   HVREPL_OBJECT_CREATE, &object),
			 HVREPL_OK);
	storage.ops->close(storage.user, object);
}

START_TEST(only_spill_objects_are_remains)
{
	struct hvrepl_storage storage = sim_storage_handle(spill);
	char id[64];

	for (unsigned i = 0; i < 70; i++) {
		(void)snprintf(id, sizeof(id), "mine-%032x", i);
		put_object(id);
	}
	put_object("mine-0123");
	put_object("mine.0123456789abcdef0123456789abcdef");
	put_object("mine-0123456789abcdeX0123456789abcdef");
	fresh();
	options.spill = &storage;
	options.spill_prefix = "mine";
	ck_assert_int_eq(create(), HVREPL_OK);
	ck_assert_uint_eq(sim_storage_objects(spill), 3);
	ck_assert_uint_eq(spill->released, 1);
	for (unsigned i = 0; i < 3; i++) {
		static const char *const ids[] = {
			"mine-0123", "mine.0123456789abcdef0123456789abcdef",
			"mine-0123456789abcdeX0123456789abcdef"
		};

		ck_assert_int_eq(storage.ops->remove(storage.user, ids[i]),
				 HVREPL_OK);
	}
}
END_TEST

START_TEST(a_group_that_cannot_be_made_lets_its_spill_go)
{
	struct hvrepl_storage storage = sim_storage_handle(spill);
	struct hvrepl_storage_ops none = { .struct_size = sizeof(none) };
	bool failed = true;

	put_object("spool-0123456789abcdef0123456789abcdef");
	fresh();
	options.spill = &storage;
	for (long n = 0; failed; n++) {
		int32_t rc;

		env.alloc_fail_at = n;
		rc = create();
		failed = env.alloc_fail_at < 0;
		env.alloc_fail_at = -1;
		ck_assert_int_eq(rc, failed ? HVREPL_E_NOMEM : HVREPL_OK);
	}
	/* It went with the last one. */
	put_object("spool-0123456789abcdef0123456789abcdef");
	failed = true;
	for (uint64_t n = 0; failed; n++) {
		int32_t rc;

		sim.failed = 0;
		sim.fail_at = sim.call_count + n;
		sim.fail_code = HVREPL_E_STORAGE_IO;
		rc = create();
		failed = sim.failed > 0;
		sim.fail_at = UINT64_MAX;
		ck_assert_int_eq(rc, failed ? HVREPL_E_STORAGE_IO : HVREPL_OK);
	}
	storage.ops = &none;
	ck_assert_int_lt(create(), 0);
}
END_TEST

START_TEST(a_group_in_use_stays)
{
	hvrepl_cut *cut;

	open_all(0, 0);
	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_E_BUSY);
	cut = make_cut();
	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_E_BUSY);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	tracker = NULL;
	/* Nobody to cut. */
	ck_assert_int_lt(hvrepl_group_cut(group, 0, NULL, &cut), 0);
	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_OK);
	ck_assert_int_eq(hvrepl_group_create(&env.env, NULL, NULL, &group),
			 HVREPL_OK);
}
END_TEST

/* ---- attach ---- */

static uint32_t told_token;
static struct hvrepl_disk plain;

static int32_t info_without_token(void *user, struct hvrepl_disk_info *out)
{
	int32_t rc = plain.ops->info(user, out);

	out->token_length = told_token;
	return rc;
}

static struct hvrepl_tracker_options wanted;

static int32_t attach(bool clean)
{
	static struct hvrepl_disk_ops ops;
	struct hvrepl_storage storage = sim_storage_handle(files);
	struct hvrepl_disk taken;
	int32_t rc;

	plain = sim_disk_handle(disk);
	ops = *plain.ops;
	ops.info = info_without_token;
	taken = plain;
	taken.ops = &ops;
	rc = hvrepl_tracker_attach(group, &taken, &storage, &wanted, NULL,
				   &tracker);
	if (rc == HVREPL_OK) {
		ck_assert_int_eq(hvrepl_tracker_detach(
					 tracker,
					 clean ? HVREPL_DETACH_CLEAN : 0),
				 HVREPL_OK);
	}
	tracker = NULL;
	return rc;
}

static uint64_t dirty_after(void)
{
	struct hvrepl_storage storage = sim_storage_handle(files);
	struct hvrepl_disk_ops ops = *plain.ops;
	struct hvrepl_disk taken = plain;
	uint64_t bytes;

	ops.info = info_without_token;
	taken.ops = &ops;
	ck_assert_int_eq(hvrepl_tracker_attach(group, &taken, &storage, &wanted,
					       NULL, &tracker),
			 HVREPL_OK);
	bytes = dirty();
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN),
			 HVREPL_OK);
	tracker = NULL;
	return bytes;
}

static void begin_attaching(void)
{
	fresh();
	ck_assert_int_eq(hvrepl_group_create(&env.env, &options, NULL, &group),
			 HVREPL_OK);
	wanted = (struct hvrepl_tracker_options)HVREPL_TRACKER_OPTIONS_INIT;
	wanted.object_id = "d.hvt";
	wanted.flags = HVREPL_TRACKER_CREATE;
	told_token = 8;
	disk->flags = 0;
}

START_TEST(blocks_are_no_smaller_than_the_disks)
{
	begin_attaching();
	disk->block_size = 4096;
	wanted.block_size = 512;
	ck_assert_int_eq(attach(true), HVREPL_E_INVALID);
	wanted.block_size = 1000;
	ck_assert_int_eq(attach(true), HVREPL_E_INVALID);
	wanted.block_size = 0;
	ck_assert_int_eq(attach(true), HVREPL_OK);
	/* Another VM's file, another disk's. */
	wanted.flags = 0;
	wanted.vm.bytes[0] = 1;
	ck_assert_int_eq(attach(true), HVREPL_E_WRONG_DISK);
	wanted.vm.bytes[0] = 0;
	wanted.disk.bytes[0] = 1;
	ck_assert_int_eq(attach(true), HVREPL_E_WRONG_DISK);
	wanted.disk.bytes[0] = 0;
	ck_assert_int_eq(attach(true), HVREPL_OK);
}
END_TEST

START_TEST(a_disk_without_a_token_is_not_known_again)
{
	begin_attaching();
	ck_assert_int_eq(attach(true), HVREPL_OK);
	wanted.flags = 0;
	(void)dirty_after();
	ck_assert_uint_eq(dirty_after(), 0);
	/* It told one when the file was saved, and tells none now; then the
	 * other way; then a longer one. */
	told_token = 0;
	ck_assert_uint_eq(dirty_after(), SIZE);
	told_token = 8;
	ck_assert_uint_eq(dirty_after(), SIZE);
	told_token = 4;
	ck_assert_uint_eq(dirty_after(), SIZE);
}
END_TEST

START_TEST(tables_that_are_none_are_let_go)
{
	struct hvrepl_storage storage = sim_storage_handle(files);
	struct hvrepl_storage_ops no_storage = { .struct_size = 8 };
	struct hvrepl_disk_ops no_disk = { .struct_size = 8 };
	struct hvrepl_disk taken = sim_disk_handle(disk);

	begin_attaching();
	taken.ops = &no_disk;
	ck_assert_int_lt(hvrepl_tracker_attach(group, &taken, &storage, &wanted,
					       NULL, &tracker),
			 0);
	taken = sim_disk_handle(disk);
	storage.ops = &no_storage;
	ck_assert_int_lt(hvrepl_tracker_attach(group, &taken, &storage, &wanted,
					       NULL, &tracker),
			 0);
	taken.ops = &no_disk;
	ck_assert_int_lt(hvrepl_tracker_attach(group, &taken, &storage, &wanted,
					       NULL, &tracker),
			 0);
	ck_assert_ptr_null(tracker);
	ck_assert_uint_eq(disk->released, 3);
	ck_assert_uint_eq(files->released, 3);
}
END_TEST

START_TEST(ranges_that_are_none_are_not_marked)
{
	struct hvrepl_extent extents[2] = { { 0, 1024 }, { SIZE, 512 } };

	open_all(0, 0);
	ck_assert_int_eq(hvrepl_tracker_mark(tracker, extents, 2),
			 HVREPL_E_RANGE);
	extents[1] = (struct hvrepl_extent){ 0, 0 };
	ck_assert_int_eq(hvrepl_tracker_mark(tracker, extents, 2),
			 HVREPL_E_RANGE);
	extents[1] = (struct hvrepl_extent){ SIZE + 512, 512 };
	ck_assert_int_eq(hvrepl_tracker_mark(tracker, extents, 2),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_tracker_mark(tracker, extents, 1), HVREPL_OK);
	ck_assert_uint_ge(dirty(), 1024);
}
END_TEST

static void teardown_group(void)
{
	if (tracker == NULL && group == NULL) {
		sim_free(&sim);
		ck_assert_int_eq(env.alloc_live, 0);
		return;
	}
	sim.fail_at = UINT64_MAX;
	if (tracker != NULL)
		ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	tracker = NULL;
	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_OK);
	group = NULL;
	sim_free(&sim);
	ck_assert_int_eq(env.alloc_live, 0);
}

int main(void)
{
	Suite *suite = suite_create("group");
	TCase *tcase = tcase_create("group");

	tcase_add_checked_fixture(tcase, setup, teardown_group);
	tcase_add_test(tcase, options_out_of_range_are_refused);
	tcase_add_test(tcase, only_spill_objects_are_remains);
	tcase_add_test(tcase, a_group_that_cannot_be_made_lets_its_spill_go);
	tcase_add_test(tcase, a_group_in_use_stays);
	tcase_add_test(tcase, blocks_are_no_smaller_than_the_disks);
	tcase_add_test(tcase, a_disk_without_a_token_is_not_known_again);
	tcase_add_test(tcase, tables_that_are_none_are_let_go);
	tcase_add_test(tcase, ranges_that_are_none_are_not_marked);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
