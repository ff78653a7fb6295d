/* SPDX-License-Identifier: Apache-2.0 */
/* Directories as storage: objects, listing, locks, hostile names. */
#define _GNU_SOURCE
#include "base/io.h"
#include "tempdir.h"
#include "testing.h"

#include <fcntl.h>
#include <hvrepl/backends.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct tempdir dir;
static char path[TEMPDIR_PATH_MAX];
static struct hvri_storage storage;

static void open_storage(uint32_t flags)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_storage handle;

	ck_assert_msg(hvrepl_dir_storage_open(path, flags, &handle, &error) ==
			      HVREPL_OK,
		      "%s", error.sentence);
	ck_assert_int_eq(hvri_storage_take(&storage, &handle, NULL), HVREPL_OK);
}

static void setup(void)
{
	tempdir_make(&dir);
	tempdir_join(&dir, "store", path);
	open_storage(HVREPL_DIR_CREATE);
}

static void teardown(void)
{
	hvri_storage_drop(&storage);
	tempdir_remove(&dir);
}

static void make(const char *id, const void *bytes, size_t length)
{
	struct hvri_object object;

	ck_assert_int_eq(hvri_object_open(&storage, id, HVREPL_OBJECT_CREATE,
					  &object),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_object_write(&object, 0, bytes, length),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_object_flush(&object), HVREPL_OK);
	hvri_object_close(&object);
}

START_TEST(an_object_is_created_once_and_read_back_after_reopen)
{
	struct hvri_object object;
	uint64_t size;
	char got[8];

	ck_assert_int_eq(hvri_object_open(&storage, "a", 0, &object),
			 HVREPL_E_NOT_FOUND);
	make("a", "content", 7);
	ck_assert_int_eq(hvri_object_open(&storage, "a", HVREPL_OBJECT_CREATE,
					  &object),
			 HVREPL_E_EXISTS);
	hvri_storage_drop(&storage);
	open_storage(0);
	ck_assert_int_eq(hvri_object_open(&storage, "a",
					  HVREPL_OBJECT_READ_ONLY, &object),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_object_size(&object, &size), HVREPL_OK);
	ck_assert_uint_eq(size, 7);
	ck_assert_int_eq(hvri_object_read(&object, 0, got, 7), HVREPL_OK);
	ck_assert_mem_eq(got, "content", 7);
	ck_assert_int_eq(hvri_object_read(&object, 0, got, 8),
			 HVREPL_E_STORAGE_IO);
	ck_assert_int_eq(hvri_object_write(&object, 0, "x", 1),
			 HVREPL_E_READ_ONLY);
	hvri_object_close(&object);
	ck_assert_int_eq(hvri_storage_remove(&storage, "a"), HVREPL_OK);
	ck_assert_int_eq(hvri_storage_remove(&storage, "a"),
			 HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(hvri_storage_sync(&storage), HVREPL_OK);
}
END_TEST

START_TEST(gaps_growth_and_punched_ranges_read_as_zeroes)
{
	static uint8_t bytes[256 * 1024];
	struct hvri_object object;
	uint64_t size;

	ck_assert_int_eq(hvri_object_open(&storage, "log-1",
					  HVREPL_OBJECT_CREATE, &object),
			 HVREPL_OK);
	memset(bytes, 7, sizeof(bytes));
	ck_assert_int_eq(hvri_object_write(&object, 4096, bytes, 200000),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_object_resize(&object, 250000), HVREPL_OK);
	ck_assert_int_eq(hvri_object_punch(&object, 8192, 65536), HVREPL_OK);
	/* Beyond the end: nothing grows. */
	ck_assert_int_eq(hvri_object_punch(&object, 240000, 65536), HVREPL_OK);
	ck_assert_int_eq(hvri_object_size(&object, &size), HVREPL_OK);
	ck_assert_uint_eq(size, 250000);
	ck_assert_int_eq(hvri_object_read(&object, 0, bytes, 250000),
			 HVREPL_OK);
	for (size_t i = 0; i < 250000; i++) {
		bool written = i >= 4096 && i < 204096;
		bool punched = i >= 8192 && i < 8192 + 65536;

		if (bytes[i] != (written && !punched ? 7 : 0))
			ck_abort_msg("byte %zu is %u", i, bytes[i]);
	}
	hvri_object_close(&object);
}
END_TEST

static int32_t collect(void *argument, const char *id, uint64_t size)
{
	char *all = argument;

	snprintf(all + strlen(all), 200 - strlen(all), "%s:%u ", id,
		 (unsigned)size);
	return HVREPL_OK;
}

static int32_t remove_it(void *argument, const char *id, uint64_t size)
{
	(void)argument, (void)size;
	ck_assert_int_eq(hvri_storage_remove(&storage, id), HVREPL_OK);
	return HVREPL_OK;
}

static int32_t stop_listing(void *argument, const char *id, uint64_t size)
{
	(void)id, (void)size;
	++*(int *)argument;
	return HVREPL_E_BUSY;
}

START_TEST(listing_is_sorted_by_prefix_and_survives_removal)
{
	char all[200] = "", file[TEMPDIR_PATH_MAX];
	int seen = 0;

	make("seg-2", "xx", 2);
	make("seg-1", "x", 1);
	make("head", "", 0);
	snprintf(file, sizeof(file), "%.400s/Foreign File", path);
	close(open(file, O_CREAT | O_WRONLY, 0600));
	ck_assert_int_eq(hvri_storage_list(&storage, "seg-", collect, all),
			 HVREPL_OK);
	ck_assert_str_eq(all, "seg-1:1 seg-2:2 ");
	ck_assert_int_eq(hvri_storage_list(&storage, "", stop_listing, &seen),
			 HVREPL_E_BUSY);
	ck_assert_int_eq(seen, 1);
	ck_assert_int_eq(hvri_storage_list(&storage, "", remove_it, NULL),
			 HVREPL_OK);
	all[0] = 0;
	ck_assert_int_eq(hvri_storage_list(&storage, "", collect, all),
			 HVREPL_OK);
	ck_assert_str_eq(all, "");
}
END_TEST

START_TEST(links_and_foreign_names_are_never_followed)
{
	static const char *const bad[] = { "", ".lock", "../disk", "a/b", "A" };
	struct hvri_object object;
	char link[TEMPDIR_PATH_MAX];

	for (size_t i = 0; i < 5; i++)
		ck_assert_int_eq(storage.ops.open(storage.user, bad[i],
						  HVREPL_OBJECT_CREATE,
						  &object.object),
				 HVREPL_E_INVALID);
	snprintf(link, sizeof(link), "%.400s/victim", path);
	ck_assert_int_eq(symlink("/etc/passwd", link), 0);
	ck_assert_int_eq(hvri_object_open(&storage, "victim", 0, &object),
			 HVREPL_E_STORAGE_IO);
	ck_assert_int_eq(hvri_object_open(&storage, "victim",
					  HVREPL_OBJECT_CREATE, &object),
			 HVREPL_E_EXISTS);
	snprintf(link, sizeof(link), "%.400s/pipe", path);
	ck_assert_int_eq(mkfifo(link, 0600), 0);
	ck_assert_int_eq(hvri_object_open(&storage, "pipe", 0, &object),
			 HVREPL_E_STORAGE_IO);
}
END_TEST

START_TEST(a_second_daemon_on_the_same_store_is_refused)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_storage other;
	pid_t child;
	int status;

	ck_assert_int_eq(hvrepl_dir_storage_open(path, 0, &other, &error),
			 HVREPL_E_BUSY);
	ck_assert_ptr_nonnull(strstr(error.sentence, "in use by another"));
	child = fork();
	if (child == 0)
		_exit(hvrepl_dir_storage_open(path, 0, &other, NULL) ==
			      HVREPL_E_BUSY ? 7 : 8);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(WEXITSTATUS(status), 7);
	ck_assert_int_eq(hvrepl_dir_storage_open("/nonexistent/x", 0, &other,
						 &error),
			 HVREPL_E_NOT_FOUND);
}
END_TEST

START_TEST(a_read_only_storage_changes_nothing)
{
	struct hvri_object object;
	uint64_t space = 0;

	make("a", "1", 1);
	hvri_storage_drop(&storage);
	open_storage(HVREPL_DIR_READ_ONLY);
	ck_assert_int_eq(hvri_object_open(&storage, "b", HVREPL_OBJECT_CREATE,
					  &object),
			 HVREPL_E_READ_ONLY);
	ck_assert_int_eq(hvri_storage_remove(&storage, "a"),
			 HVREPL_E_READ_ONLY);
	ck_assert_int_eq(hvri_object_open(&storage, "a", 0, &object),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_object_resize(&object, 5), HVREPL_E_READ_ONLY);
	hvri_object_close(&object);
	ck_assert_int_eq(hvri_storage_free_space(&storage, &space), HVREPL_OK);
	ck_assert_uint_gt(space, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("directory storage");
	TCase *tc = tcase_create("objects");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, an_object_is_created_once_and_read_back_after_reopen);
	tcase_add_test(tc, gaps_growth_and_punched_ranges_read_as_zeroes);
	tcase_add_test(tc, listing_is_sorted_by_prefix_and_survives_removal);
	tcase_add_test(tc, links_and_foreign_names_are_never_followed);
	tcase_add_test(tc, a_second_daemon_on_the_same_store_is_refused);
	tcase_add_test(tc, a_read_only_storage_changes_nothing);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
