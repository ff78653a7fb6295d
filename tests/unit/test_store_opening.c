/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and removing a store: what lies beside it, what does not belong to it, and
 * every call that can fail on the way; nothing of the store is lost, nothing leaks. */
#include "storeworld.h"

#include "store/overlay.h"

#include <string.h>

static struct world w;

static void setup(void)
{
	world_init(&w, 12);
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_send(&w), HVREPL_OK);
	ck_assert_int_eq(world_send(&w), HVREPL_OK);
}

static void teardown(void)
{
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
}

static void put(const char *id)
{
	struct hvrepl_storage storage = sim_storage_handle(w.storage);
	void *object;

	ck_assert_int_eq(storage.ops->open(storage.user, id,
					   HVREPL_OBJECT_CREATE, &object),
			 HVREPL_OK);
	storage.ops->close(storage.user, object);
}

static bool there(const char *id)
{
	uint64_t size;

	return sim_object_bytes(w.storage, id, &size) != NULL;
}

/* A storage that has more to say: a name no object of ours can have; and somebody
 * who removes things too. */
static const struct hvrepl_storage_ops *real;
static struct hvrepl_storage_ops odd;
static const char too_long[] =
	"store.box.00000000000000ab.0000000000000000.0000000000000000.000000";
static unsigned also_removed;

static int32_t odd_list(void *user, const char *prefix,
			int32_t (*found)(void *argument, const char *id,
					 uint64_t size),
			void *argument)
{
	int32_t rc = found(argument, too_long, 1);

	return rc < 0 ? rc : real->list(user, prefix, found, argument);
}

static int32_t odd_remove(void *user, const char *id)
{
	int32_t rc = real->remove(user, id);

	ck_assert_str_ne(id, too_long);
	also_removed += rc == HVREPL_OK;
	return rc == HVREPL_OK ? HVREPL_E_NOT_FOUND : rc;
}

static struct hvrepl_storage odd_storage(void)
{
	struct hvrepl_storage storage = sim_storage_handle(w.storage);

	real = storage.ops;
	odd = *real;
	odd.list = odd_list;
	odd.remove = odd_remove;
	storage.ops = &odd;
	also_removed = 0;
	return storage;
}

static int32_t open_with(const struct hvrepl_storage *storage, uint32_t count)
{
	struct hvrepl_store_disk disks[WORLD_DISKS];
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc;

	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		disks[i].disk = w.disks[i];
		disks[i].base = sim_disk_handle(w.bases[i]);
	}
	w.options.flags = 0;
	rc = hvrepl_store_open(&w.env.env, storage, disks, count, &w.options,
			       &w.store, &error);
	if (rc < 0) {
		ck_assert_int_eq(error.code, rc);
		ck_assert_str_ne(error.sentence, "");
		w.store = NULL;
	}
	return rc;
}

static const char *const strangers[] = {
	"store.box.12", "store.box.000000000000000g",
	"store.box.00000000000000001", "store.box.0000000000000001x",
	"store.note",
};
static const char *const left_over[] = {
	"store.box.00000000000000ff", "store.log.0000000000000077",
	HVRI_OVERLAY_DATA_PREFIX "00000000000000fe.00",
	HVRI_OVERLAY_MAP_PREFIX "00000000000000fd.01",
};

START_TEST(what_no_record_names_goes_and_other_names_stay)
{
	struct hvrepl_storage storage;
	uint64_t next;

	world_close(&w);
	for (size_t i = 0; i < HVRI_ARRAY_LEN(strangers); i++)
		put(strangers[i]);
	for (size_t i = 0; i < HVRI_ARRAY_LEN(left_over); i++)
		put(left_over[i]);
	storage = odd_storage();
	ck_assert_int_eq(open_with(&storage, WORLD_DISKS), HVREPL_OK);
	for (size_t i = 0; i < HVRI_ARRAY_LEN(strangers); i++)
		ck_assert(there(strangers[i]));
	for (size_t i = 0; i < HVRI_ARRAY_LEN(left_over); i++)
		ck_assert(!there(left_over[i]));
	ck_assert_uint_eq(also_removed, HVRI_ARRAY_LEN(left_over));
	/* No name comes twice, whatever becomes of the removal. */
	next = w.store->next_id;
	ck_assert_uint_gt(next, 0xff);
	world_check(&w);
	ck_assert_int_eq(world_send(&w), HVREPL_OK);
	world_check(&w);
}
END_TEST

START_TEST(an_opening_that_fails_anywhere_can_be_done_again)
{
	bool failed = true;

	world_close(&w);
	for (unsigned kind = 0; kind < 3; kind++, failed = true)
		for (uint64_t n = 0; failed; n++) {
			struct test_refusals refusals = { 0, n, false };
			int32_t rc;

			for (size_t i = 0; i < HVRI_ARRAY_LEN(left_over); i++)
				if (!there(left_over[i]))
					put(left_over[i]);
			w.sim.failed = 0;
			w.sim.fail_code = HVREPL_E_STORAGE_IO;
			if (kind == 0)
				w.sim.fail_at = w.sim.call_count + n;
			if (kind == 1)
				w.env.alloc_fail_at = (long)n;
			if (kind == 2)
				w.sim.refusals = &refusals;
			rc = world_open(&w, false);
			failed = kind == 0 ? w.sim.failed > 0 :
				 kind == 1 ? w.env.alloc_fail_at < 0 :
					     refusals.count > n;
			w.sim.refusals = NULL;
			w.sim.fail_at = UINT64_MAX;
			w.env.alloc_fail_at = -1;
			ck_assert(failed || rc == HVREPL_OK);
			/* Never anything but what went wrong. */
			ck_assert_msg(rc == HVREPL_OK ||
					      rc == HVREPL_E_STORAGE_IO ||
					      rc == HVREPL_E_DISK_IO ||
					      (kind == 1 &&
					       rc == HVREPL_E_NOMEM),
				      "kind %u, place %llu: %d", kind,
				      (unsigned long long)n, rc);
			world_close(&w);
		}
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	world_check(&w);
}
END_TEST

START_TEST(a_store_is_opened_with_disks_that_can_be_written_and_all_of_them)
{
	struct hvrepl_storage storage = sim_storage_handle(w.storage);

	world_close(&w);
	ck_assert_int_eq(open_with(&storage, 1), HVREPL_E_WRONG_DISK);
	w.bases[1]->flags = HVREPL_DISK_READ_ONLY;
	ck_assert_int_eq(open_with(&storage, WORLD_DISKS), HVREPL_E_READ_ONLY);
	/* What is said first is what is told. */
	w.bases[0]->block_size = 768;
	ck_assert_int_eq(open_with(&storage, WORLD_DISKS), HVREPL_E_INVALID);
	w.bases[0]->block_size = 512;
	w.bases[1]->flags = 0;
	{
		struct sim_disk *disk = w.bases[1];

		w.bases[1] = sim_disk_new(&w.sim, 0);
		ck_assert_int_eq(open_with(&storage, WORLD_DISKS),
				 HVREPL_E_INVALID);
		w.bases[1] = disk;
	}
	ck_assert_int_eq(open_with(&storage, WORLD_DISKS), HVREPL_OK);
	world_check(&w);
}
END_TEST

static void forget_release(void *user)
{
	(void)user;
}

START_TEST(without_an_env_or_memory_everything_is_let_go)
{
	struct hvrepl_storage storage = sim_storage_handle(w.storage);
	struct hvrepl_store_disk disks[WORLD_DISKS];
	struct hvrepl_env half = w.env.env;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_store *store = NULL;

	world_close(&w);
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		disks[i].disk = w.disks[i];
		disks[i].base = sim_disk_handle(w.bases[i]);
		w.bases[i]->released = 0;
	}
	w.storage->released = 0;
	half.utc_ns = NULL;
	ck_assert_int_eq(hvrepl_store_open(&half, &storage, disks, WORLD_DISKS,
					   &w.options, &store, &error),
			 HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(error.sentence, "utc_ns"));
	w.env.alloc_fail_at = 0;
	ck_assert_int_eq(hvrepl_store_open(&w.env.env, &storage, disks,
					   WORLD_DISKS, &w.options, &store,
					   &error),
			 HVREPL_E_NOMEM);
	ck_assert_uint_eq(w.storage->released, 2);
	ck_assert_uint_eq(w.bases[0]->released, 2);
	ck_assert_uint_eq(w.bases[1]->released, 2);
	/* Nobody who wants to be told. */
	storage.release = NULL;
	disks[0].base.release = NULL;
	disks[1].base.release = forget_release;
	ck_assert_int_eq(hvrepl_store_open(&half, &storage, disks, WORLD_DISKS,
					   &w.options, &store, NULL),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_store_remove(&half, &storage, NULL),
			 HVREPL_E_INVALID);
	ck_assert_ptr_null(store);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	world_check(&w);
}
END_TEST

START_TEST(a_removal_that_fails_anywhere_is_done_again_and_leaves_nothing)
{
	bool failed = true;

	for (unsigned kind = 0; kind < 2; kind++, failed = true)
		for (uint64_t n = 0; failed; n++) {
			struct hvrepl_storage storage;
			struct hvrepl_error error = HVREPL_ERROR_INIT;
			int32_t rc;

			if (w.store == NULL)
				setup();
			world_close(&w);
			storage = sim_storage_handle(w.storage);
			w.sim.failed = 0;
			w.sim.fail_code = HVREPL_E_STORAGE_IO;
			if (kind == 0)
				w.sim.fail_at = w.sim.call_count + n;
			else
				w.env.alloc_fail_at = (long)n;
			rc = hvrepl_store_remove(&w.env.env, &storage, &error);
			failed = kind == 0 ? w.sim.failed > 0 :
					     w.env.alloc_fail_at < 0;
			w.sim.fail_at = UINT64_MAX;
			w.env.alloc_fail_at = -1;
			if (failed) {
				ck_assert_int_eq(rc, kind == 0 ?
							     HVREPL_E_STORAGE_IO :
							     HVREPL_E_NOMEM);
				ck_assert_int_eq(error.code, rc);
				rc = hvrepl_store_remove(&w.env.env, &storage,
							 NULL);
			}
			ck_assert_int_eq(rc, HVREPL_OK);
			ck_assert_uint_eq(sim_storage_objects(w.storage), 0);
			ck_assert_int_eq(world_open(&w, false),
					 HVREPL_E_NOT_FOUND);
			teardown();
		}
	setup();
}
END_TEST

START_TEST(what_somebody_else_removed_meanwhile_is_removed)
{
	struct hvrepl_storage storage;

	world_close(&w);
	storage = odd_storage();
	ck_assert_int_eq(hvrepl_store_remove(&w.env.env, &storage, NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(sim_storage_objects(w.storage), 0);
	ck_assert_uint_gt(also_removed, 2);
	storage = sim_storage_handle(w.storage);
	odd = *storage.ops;
	odd.reserved = 1;
	storage.ops = &odd;
	ck_assert_int_eq(hvrepl_store_remove(&w.env.env, &storage, NULL),
			 HVREPL_E_TOO_NEW);
}
END_TEST

/* The table of the cache is bounded, whatever was asked for. */
START_TEST(a_cache_however_large_has_a_bounded_table)
{
	size_t before;

	world_close(&w);
	w.options.cache_bytes = 1;
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	world_check(&w);
	before = w.env.alloc_bytes;
	world_close(&w);
	w.options.cache_bytes = UINT64_MAX;
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	ck_assert_uint_lt(w.env.alloc_bytes, before + (40u << 20));
	world_check(&w);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("opening stores");
	TCase *tcase = tcase_create("opening stores");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, what_no_record_names_goes_and_other_names_stay);
	tcase_add_test(tcase, an_opening_that_fails_anywhere_can_be_done_again);
	tcase_add_test(
		tcase,
		a_store_is_opened_with_disks_that_can_be_written_and_all_of_them);
	tcase_add_test(tcase, without_an_env_or_memory_everything_is_let_go);
	tcase_add_test(
		tcase,
		a_removal_that_fails_anywhere_is_done_again_and_leaves_nothing);
	tcase_add_test(tcase, what_somebody_else_removed_meanwhile_is_removed);
	tcase_add_test(tcase, a_cache_however_large_has_a_bounded_table);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
