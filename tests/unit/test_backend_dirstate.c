/* SPDX-License-Identifier: Apache-2.0 */
/* The directory state store: compare-and-swap, damage, kills. */
#define _GNU_SOURCE
#include "tempdir.h"
#include "testing.h"

#include <dirent.h>
#include <fcntl.h>
#include <hvrepl/backends.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct tempdir dir;
static struct hvrepl_state state;

static void open_state(uint32_t flags)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	ck_assert_msg(hvrepl_dir_state_open(dir.path, flags, &state, &error) ==
			      HVREPL_OK,
		      "%s", error.sentence);
}

static void setup(void)
{
	tempdir_make(&dir);
	open_state(0);
}

static void teardown(void)
{
	state.release(state.user);
	tempdir_remove(&dir);
}

static int32_t put(const char *key, const char *text, uint64_t expected)
{
	return state.ops->put(state.user, NULL, key, text,
			      (uint32_t)strlen(text), expected);
}

static int32_t get(const char *key, char *text, uint32_t room,
		   uint64_t *version)
{
	uint32_t length = room - 1;
	int32_t rc = state.ops->get(state.user, key, text, &length, version);

	if (rc == HVREPL_OK)
		text[length] = 0;
	return rc;
}

/* Where others may write, too: no file that somebody put in the way is written to,
 * nor made ours with the rights that it has. */
START_TEST(a_put_writes_to_a_file_of_its_own)
{
	static const char *const planted[] = { "victim", "link", "pipe" };
	char victim[TEMPDIR_PATH_MAX], way[TEMPDIR_PATH_MAX],
		file[TEMPDIR_PATH_MAX], text[16] = "";
	struct stat st;

	tempdir_join(&dir, "victim", victim);
	tempdir_join(&dir, ".put", way);
	tempdir_join(&dir, "=k", file);
	for (uint64_t i = 0; i < 3; i++) {
		int fd = open(victim, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
			      0644);

		ck_assert_int_eq(write(fd, "theirs", 6), 6);
		close(fd);
		if (i == 0)
			ck_assert_int_eq(link(victim, way), 0);
		else if (i == 1)
			ck_assert_int_eq(symlink(victim, way), 0);
		else
			ck_assert_int_eq(mkfifo(way, 0666), 0);
		ck_assert_msg(put("k", "ours", i) == HVREPL_OK, "%s",
			      planted[i]);
		ck_assert_int_eq(lstat(file, &st), 0);
		ck_assert(S_ISREG(st.st_mode));
		ck_assert_uint_eq(st.st_mode & 0777, 0600);
		ck_assert_uint_eq(st.st_nlink, 1);
		ck_assert_int_eq(stat(victim, &st), 0);
		ck_assert_int_eq(st.st_size, 6);
		ck_assert_int_eq(unlink(victim), 0);
	}
	ck_assert_int_eq(get("k", text, sizeof(text), &(uint64_t){ 0 }),
			 HVREPL_OK);
	ck_assert_str_eq(text, "ours");
}
END_TEST

START_TEST(only_the_expected_version_is_replaced)
{
	char text[64];
	uint64_t version = 99;

	ck_assert_int_eq(get("vm/a", text, 64, &version), HVREPL_E_NOT_FOUND);
	ck_assert_uint_eq(version, 0);
	ck_assert_int_eq(put("vm/a", "one", 1), HVREPL_E_BUSY);
	ck_assert_int_eq(put("vm/a", "one", 0), HVREPL_OK);
	ck_assert_int_eq(put("vm/a", "other", 0), HVREPL_E_BUSY);
	ck_assert_int_eq(put("vm/a", "two", 1), HVREPL_OK);
	ck_assert_int_eq(put("vm/a", "late", 1), HVREPL_E_BUSY);
	state.release(state.user);
	open_state(0);
	ck_assert_int_eq(get("vm/a", text, 64, &version), HVREPL_OK);
	ck_assert_str_eq(text, "two");
	ck_assert_uint_eq(version, 2);
	ck_assert_int_eq(get("vm/a", text, 2, &version), HVREPL_E_LIMIT);
	/* Length 0 takes it away, of the expected version only. */
	ck_assert_int_eq(put("vm/a", "", 1), HVREPL_E_BUSY);
	ck_assert_int_eq(put("vm/a", "", 2), HVREPL_OK);
	ck_assert_int_eq(get("vm/a", text, 64, &version), HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(put("vm/a", "", 0), HVREPL_E_NOT_FOUND);
}
END_TEST

START_TEST(bad_keys_and_long_blobs_are_refused)
{
	static char blob[HVREPL_STATE_BLOB_MAX + 1];
	char key[130];

	memset(key, 'k', 128);
	key[128] = 0;
	ck_assert_int_eq(put(key, "x", 0), HVREPL_E_INVALID);
	key[127] = 0;
	ck_assert_int_eq(put(key, "x", 0), HVREPL_OK);
	ck_assert_int_eq(put("", "x", 0), HVREPL_E_INVALID);
	ck_assert_int_eq(put("A", "x", 0), HVREPL_E_INVALID);
	ck_assert_int_eq(put("a+b", "x", 0), HVREPL_E_INVALID);
	/* Harmless here, though no path may be made of them. */
	ck_assert_int_eq(put("../../x", "x", 0), HVREPL_OK);
	ck_assert_int_eq(put(".lock", "x", 0), HVREPL_OK);
	ck_assert_int_eq(state.ops->put(state.user, NULL, "big", blob,
					sizeof(blob), 0),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(state.ops->put(state.user, NULL, "big", blob,
					sizeof(blob) - 1, 0),
			 HVREPL_OK);
}
END_TEST

static int32_t collect(void *argument, const char *key)
{
	char *all = argument;

	snprintf(all + strlen(all), 100 - strlen(all), "%s ", key);
	return HVREPL_OK;
}

static int32_t stop_at_once(void *argument, const char *key)
{
	(void)key;
	++*(int *)argument;
	return HVREPL_E_CANCELLED;
}

START_TEST(keys_are_listed_by_prefix_in_order)
{
	char all[100] = "";
	int seen = 0;

	ck_assert_int_eq(put("vm/b/x", "1", 0), HVREPL_OK);
	ck_assert_int_eq(put("vm/b.x", "1", 0), HVREPL_OK);
	ck_assert_int_eq(put("vm/a", "1", 0), HVREPL_OK);
	ck_assert_int_eq(put("node", "1", 0), HVREPL_OK);
	ck_assert_int_eq(state.ops->list(state.user, "vm/", collect, all),
			 HVREPL_OK);
	ck_assert_str_eq(all, "vm/a vm/b.x vm/b/x ");
	ck_assert_int_eq(state.ops->list(state.user, "", stop_at_once, &seen),
			 HVREPL_E_CANCELLED);
	ck_assert_int_eq(seen, 1);
}
END_TEST

START_TEST(damage_is_found_and_never_overwritten)
{
	char path[TEMPDIR_PATH_MAX], other[TEMPDIR_PATH_MAX], text[64];
	uint64_t version;
	struct stat st;

	ck_assert_int_eq(put("vm/a", "precious", 0), HVREPL_OK);
	tempdir_join(&dir, "=vm+a", path);
	ck_assert_int_eq(stat(path, &st), 0);
	for (off_t at = 0; at < st.st_size; at++) {
		int fd = open(path, O_RDWR);
		char byte;

		ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
		byte ^= 0x10;
		ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
		ck_assert_int_eq(get("vm/a", text, 64, &version),
				 HVREPL_E_CORRUPT);
		ck_assert_int_eq(put("vm/a", "new", 1), HVREPL_E_CORRUPT);
		byte ^= 0x10;
		ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
		close(fd);
	}
	ck_assert_int_eq(get("vm/a", text, 64, &version), HVREPL_OK);
	for (off_t size = 0; size < st.st_size; size++) {
		ck_assert_int_eq(put("vm/b", "precious", 0), HVREPL_OK);
		tempdir_join(&dir, "=vm+b", path);
		ck_assert_int_eq(truncate(path, size), 0);
		ck_assert_int_eq(get("vm/b", text, 64, &version),
				 HVREPL_E_CORRUPT);
		unlink(path);
	}
	/* A file under another key's name. */
	ck_assert_int_eq(put("vm/c", "mine", 0), HVREPL_OK);
	tempdir_join(&dir, "=vm+c", path);
	tempdir_join(&dir, "=vm+d", other);
	ck_assert_int_eq(rename(path, other), 0);
	ck_assert_int_eq(get("vm/d", text, 64, &version), HVREPL_E_CORRUPT);
}
END_TEST

START_TEST(a_put_that_fails_changes_nothing)
{
	struct rlimit before, small = { 90, 90 };
	char path[TEMPDIR_PATH_MAX], text[64], large[200];
	uint64_t version;

	ck_assert_int_eq(put("vm/a", "one", 0), HVREPL_OK);
	memset(large, 'x', 199);
	large[199] = 0;
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	small.rlim_max = before.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	ck_assert_int_eq(put("vm/a", large, 1), HVREPL_E_NO_SPACE);
	setrlimit(RLIMIT_FSIZE, &before);
	ck_assert_int_eq(get("vm/a", text, 64, &version), HVREPL_OK);
	ck_assert_str_eq(text, "one");
	ck_assert_uint_eq(version, 1);
	tempdir_join(&dir, ".put", path);
	ck_assert_int_ne(access(path, F_OK), 0);
	/* What a crash before the rename left is no blob and goes. */
	state.release(state.user);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	open_state(0);
	ck_assert_int_ne(access(path, F_OK), 0);
	/* A rename that cannot be: something else has the name. */
	tempdir_join(&dir, "=vm+z", path);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(put("vm/z", "x", 0), HVREPL_E_STATE_IO);
	ck_assert_int_eq(put("vm/a", "two", 1), HVREPL_OK);
}
END_TEST

/* The child puts ever newer blobs and says after each which; the parent kills
 * it anywhere and finds that one or the next, whole. */
static void put_until_killed(int tell)
{
	for (uint32_t n = 1;; n++) {
		char text[256];

		memset(text, 'a' + (int)(n % 26), 255);
		text[255] = 0;
		if (put("vm/a", text, n - 1) != HVREPL_OK ||
		    write(tell, &n, sizeof(n)) != sizeof(n))
			_exit(1);
	}
}

START_TEST(a_killed_process_leaves_the_last_or_the_next_blob)
{
	for (int round = 0; round < 8; round++) {
		uint32_t last = 0, n;
		uint64_t version = 0;
		char text[300];
		int ends[2], rc;
		pid_t child;

		state.release(state.user);
		ck_assert_int_eq(pipe(ends), 0);
		child = fork();
		if (child == 0) {
			open_state(0);
			put_until_killed(ends[1]);
		}
		close(ends[1]);
		/* Let it get somewhere first, another place each round. */
		for (int i = 0; i < 2 + round * 3; i++)
			ck_assert_int_eq(read(ends[0], &last, sizeof(last)),
					 sizeof(last));
		usleep((useconds_t)(round * 137));
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		while (read(ends[0], &n, sizeof(n)) == sizeof(n))
			last = n;
		close(ends[0]);
		open_state(0);
		rc = get("vm/a", text, sizeof(text), &version);
		ck_assert_int_eq(rc, HVREPL_OK);
		ck_assert(version == last || version == last + 1);
		ck_assert_uint_eq(strlen(text), 255);
		for (int i = 0; i < 255; i++)
			ck_assert_int_eq(text[i], 'a' + (int)(version % 26));
		ck_assert_int_eq(put("vm/a", "", version), HVREPL_OK);
	}
}
END_TEST

START_TEST(one_process_has_it_at_a_time)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_state other;

	ck_assert_int_eq(hvrepl_dir_state_open(dir.path, 0, &other, &error),
			 HVREPL_E_BUSY);
	ck_assert_ptr_nonnull(strstr(error.sentence, "in use by another"));
	ck_assert_int_eq(put("a", "1", 0), HVREPL_OK);
	state.release(state.user);
	open_state(HVREPL_DIR_READ_ONLY);
	ck_assert_int_eq(put("a", "2", 1), HVREPL_E_READ_ONLY);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("directory state");
	TCase *tc = tcase_create("blobs");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, only_the_expected_version_is_replaced);
	tcase_add_test(tc, a_put_writes_to_a_file_of_its_own);
	tcase_add_test(tc, bad_keys_and_long_blobs_are_refused);
	tcase_add_test(tc, keys_are_listed_by_prefix_in_order);
	tcase_add_test(tc, damage_is_found_and_never_overwritten);
	tcase_add_test(tc, a_put_that_fails_changes_nothing);
	tcase_add_test(tc, a_killed_process_leaves_the_last_or_the_next_blob);
	tcase_add_test(tc, one_process_has_it_at_a_time);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
