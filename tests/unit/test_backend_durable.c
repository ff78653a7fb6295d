/* SPDX-License-Identifier: Apache-2.0 */
/* What files and directories promise about crashes: which calls, in which
 * order, and what follows when one of them fails. */
#define _GNU_SOURCE
#include "tempdir.h"
#include "testing.h"
#include "waits.h"

#include <errno.h>
#include <fcntl.h>
#include <hvrepl/backends.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Linked with --wrap: the backends' calls come here, are written down as one
 * letter each, and fail when it is their turn. */
int __real_fsync(int fd);
int __real_fdatasync(int fd);
int __real_renameat(int from, const char *old, int to, const char *new);
ssize_t __real_pwritev(int fd, const struct iovec *iov, int count, off_t at);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_renameat(int from, const char *old, int to, const char *new);
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int count, off_t at);
int __real_posix_fadvise(int fd, off_t offset, off_t length, int advice);
int __wrap_posix_fadvise(int fd, off_t offset, off_t length, int advice);

static char calls[64];
static char fail_call; /* Letter of the call that fails, once. */
static void (*under_failure)(void); /* Runs before it does; or NULL. */
static size_t short_write; /* Bytes the next write takes; 0: all. */

static bool fails(char letter)
{
	size_t length = strlen(calls);

	if (length + 1 < sizeof(calls))
		calls[length] = letter;
	if (fail_call != letter)
		return false;
	fail_call = 0;
	if (under_failure != NULL)
		under_failure();
	errno = EIO;
	return true;
}

/* 'd' of a directory, 'f' of a file. */
int __wrap_fsync(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return fails(S_ISDIR(st.st_mode) ? 'd' : 'f') ? -1 : __real_fsync(fd);
}

int __wrap_fdatasync(int fd)
{
	return fails('f') ? -1 : __real_fdatasync(fd);
}

int __wrap_renameat(int from, const char *old, int to, const char *new)
{
	return fails('r') ? -1 : __real_renameat(from, old, to, new);
}

ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
	struct iovec first;

	if (fails('w'))
		return -1;
	if (short_write == 0)
		return __real_pwritev(fd, iov, count, at);
	first = iov[0];
	if (first.iov_len > short_write)
		first.iov_len = short_write;
	short_write = 0;
	return __real_pwritev(fd, &first, 1, at);
}

/* 'c': the whole of a cache is let go. */
int __wrap_posix_fadvise(int fd, off_t offset, off_t length, int advice)
{
	ck_assert_int_eq(advice, POSIX_FADV_DONTNEED);
	ck_assert_int_eq(offset, 0);
	ck_assert_int_eq(length, 0);
	(void)fails('c');
	return __real_posix_fadvise(fd, offset, length, advice);
}

/* Locks of a byte range fail with this errno; 0: they do not. */
static int no_byte_locks;
int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __real_flock(int fd, int operation);
int __wrap_flock(int fd, int operation);

int __wrap_fcntl(int fd, int command, ...)
{
	va_list rest;
	void *argument;

	va_start(rest, command);
	argument = va_arg(rest, void *);
	va_end(rest);
	if (command != F_OFD_SETLK || no_byte_locks == 0)
		return __real_fcntl(fd, command, argument);
	errno = no_byte_locks;
	return -1;
}

/* 'l': the file as a whole is locked. */
int __wrap_flock(int fd, int operation)
{
	(void)fails('l');
	return __real_flock(fd, operation);
}

static struct tempdir dir;
static char path[TEMPDIR_PATH_MAX];

static void forget(void)
{
	memset(calls, 0, sizeof(calls));
	fail_call = 0;
	under_failure = NULL;
	short_write = 0;
}

static void setup(void)
{
	tempdir_make(&dir);
	forget();
}

static void teardown(void)
{
	tempdir_remove(&dir);
}

static struct hvrepl_state open_state(void)
{
	struct hvrepl_state state;

	ck_assert_int_eq(hvrepl_dir_state_open(dir.path, 0, &state, NULL),
			 HVREPL_OK);
	return state;
}

static int32_t put(const struct hvrepl_state *state, const char *text,
		   uint64_t expected)
{
	return state->ops->put(state->user, NULL, "k", text,
			       (uint32_t)strlen(text), expected);
}

static void expect(const struct hvrepl_state *state, const char *text,
		   uint64_t version)
{
	uint64_t found = 0;
	char got[64] = "";
	uint32_t length = 63;

	ck_assert_int_eq(state->ops->get(state->user, "k", got, &length,
					 &found),
			 HVREPL_OK);
	got[length] = 0;
	ck_assert_str_eq(got, text);
	ck_assert_uint_eq(found, version);
}

/* The new blob is on the disk before it gets the name, and the name before the
 * put is over. */
START_TEST(a_put_is_written_flushed_renamed_and_the_name_flushed)
{
	struct hvrepl_state state = open_state();

	/* What an earlier process renamed last is made durable first. */
	ck_assert_str_eq(calls, "d");
	forget();
	ck_assert_int_eq(put(&state, "one", 0), HVREPL_OK);
	ck_assert_str_eq(calls, "wfrd");
	forget();
	ck_assert_int_eq(put(&state, "", 1), HVREPL_OK);
	ck_assert_str_eq(calls, "d");
	state.release(state.user);
}
END_TEST

START_TEST(a_put_that_fails_before_its_rename_changes_nothing)
{
	static const char steps[] = { 'w', 'f', 'r' };
	struct hvrepl_state state = open_state();
	char temp[TEMPDIR_PATH_MAX];

	ck_assert_int_eq(put(&state, "one", 0), HVREPL_OK);
	for (size_t i = 0; i < sizeof(steps); i++) {
		forget();
		fail_call = steps[i];
		ck_assert_int_eq(put(&state, "two", 1), HVREPL_E_STATE_IO);
		ck_assert_int_ne(access(tempdir_join(&dir, ".put", temp), F_OK),
				 0);
		expect(&state, "one", 1);
	}
	forget();
	short_write = 10;
	ck_assert_int_eq(put(&state, "two", 1), HVREPL_OK);
	ck_assert_str_eq(calls, "wwfrd");
	expect(&state, "two", 2);
	state.release(state.user);
}
END_TEST

/* Whether the name is durable is not known then: not before a reopen. */
START_TEST(after_a_name_that_could_not_be_flushed_nothing_is_put)
{
	struct hvrepl_state state = open_state();

	ck_assert_int_eq(put(&state, "one", 0), HVREPL_OK);
	fail_call = 'd';
	ck_assert_int_eq(put(&state, "two", 1), HVREPL_E_STATE_IO);
	ck_assert_int_eq(put(&state, "three", 2), HVREPL_E_POISONED);
	ck_assert_int_eq(put(&state, "three", 1), HVREPL_E_POISONED);
	state.release(state.user);
	state = open_state();
	expect(&state, "two", 2);
	ck_assert_int_eq(put(&state, "three", 2), HVREPL_OK);
	state.release(state.user);
}
END_TEST

static struct hvrepl_storage open_storage(void)
{
	struct hvrepl_storage storage;

	ck_assert_int_eq(hvrepl_dir_storage_open(dir.path, 0, &storage, NULL),
			 HVREPL_OK);
	return storage;
}

static void *object(const struct hvrepl_storage *storage, const char *id,
		    uint32_t flags)
{
	void *opened = NULL;

	ck_assert_int_eq(storage->ops->open(storage->user, id, flags, &opened),
			 HVREPL_OK);
	return opened;
}

static int32_t flush(const struct hvrepl_storage *storage, void *opened)
{
	forget();
	return storage->ops->flush(storage->user, NULL, opened);
}

/* With its name everything in it would go. One that is there already may have
 * been made by a process that died before the flush. */
START_TEST(a_directory_that_is_opened_for_creation_has_a_durable_name)
{
	struct hvrepl_storage storage;
	struct hvrepl_state state;

	tempdir_join(&dir, "made", path);
	for (unsigned again = 0; again < 2; again++) {
		forget();
		ck_assert_int_eq(hvrepl_dir_storage_open(
					 path, HVREPL_DIR_CREATE, &storage,
					 NULL), HVREPL_OK);
		ck_assert_str_eq(calls, "d");
		storage.release(storage.user);
	}
	forget();
	fail_call = 'd';
	ck_assert_int_lt(hvrepl_dir_state_open(path, HVREPL_DIR_CREATE, &state,
					       NULL), 0);
	forget();
	ck_assert_int_eq(hvrepl_dir_storage_open(path, 0, &storage, NULL),
			 HVREPL_OK);
	ck_assert_str_eq(calls, "");
	storage.release(storage.user);
}
END_TEST

START_TEST(the_first_flush_makes_the_name_durable_too)
{
	struct hvrepl_storage storage = open_storage();
	void *a = object(&storage, "a", HVREPL_OBJECT_CREATE);
	void *b = object(&storage, "b", HVREPL_OBJECT_CREATE);

	/* One flush of the directory serves both names. */
	ck_assert_int_eq(flush(&storage, a), HVREPL_OK);
	ck_assert_str_eq(calls, "fd");
	ck_assert_int_eq(flush(&storage, b), HVREPL_OK);
	ck_assert_str_eq(calls, "f");
	/* Made, closed without a flush, and opened again. */
	storage.ops->close(storage.user, b);
	b = object(&storage, "c", HVREPL_OBJECT_CREATE);
	storage.ops->close(storage.user, b);
	b = object(&storage, "c", 0);
	ck_assert_int_eq(flush(&storage, b), HVREPL_OK);
	ck_assert_str_eq(calls, "fd");
	storage.ops->close(storage.user, a);
	storage.ops->close(storage.user, b);
	/* Another process may have made what this one finds. */
	storage.release(storage.user);
	storage = open_storage();
	a = object(&storage, "a", 0);
	ck_assert_int_eq(flush(&storage, a), HVREPL_OK);
	ck_assert_str_eq(calls, "fd");
	ck_assert_int_eq(storage.ops->remove(storage.user, "c"), HVREPL_OK);
	forget();
	ck_assert_int_eq(storage.ops->sync(storage.user), HVREPL_OK);
	ck_assert_str_eq(calls, "d");
	storage.ops->close(storage.user, a);
	storage.release(storage.user);
}
END_TEST

/* The kernel says once that bytes were lost; asking again gives OK. */
START_TEST(after_a_failed_flush_an_object_takes_nothing_more)
{
	struct hvrepl_storage storage = open_storage();
	void *a = object(&storage, "a", HVREPL_OBJECT_CREATE);
	void *b = object(&storage, "b", HVREPL_OBJECT_CREATE);
	struct hvrepl_iovec iov = { path, 10 };

	forget();
	fail_call = 'f';
	ck_assert_int_eq(storage.ops->flush(storage.user, NULL, a),
			 HVREPL_E_STORAGE_IO);
	/* What the cache shows may not be on the medium. */
	ck_assert_str_eq(calls, "fc");
	ck_assert_int_eq(flush(&storage, a), HVREPL_E_POISONED);
	ck_assert_int_eq(storage.ops->write(storage.user, NULL, a, 0, &iov, 1),
			 HVREPL_E_POISONED);
	ck_assert_int_eq(storage.ops->resize(storage.user, a, 5),
			 HVREPL_E_POISONED);
	/* Only that one. */
	ck_assert_int_eq(storage.ops->write(storage.user, NULL, b, 0, &iov, 1),
			 HVREPL_OK);
	/* The directory's failure is everybody's. */
	fail_call = 'd';
	ck_assert_int_eq(storage.ops->flush(storage.user, NULL, b),
			 HVREPL_E_STORAGE_IO);
	ck_assert_int_eq(flush(&storage, b), HVREPL_E_POISONED);
	ck_assert_int_eq(storage.ops->sync(storage.user), HVREPL_E_POISONED);
	ck_assert_int_eq(storage.ops->write(storage.user, NULL, b, 0, &iov, 1),
			 HVREPL_E_POISONED);
	ck_assert_int_eq(storage.ops->resize(storage.user, b, 5),
			 HVREPL_E_POISONED);
	ck_assert_int_eq(storage.ops->punch(storage.user, b, 0, 5),
			 HVREPL_E_POISONED);
	ck_assert_int_eq(storage.ops->remove(storage.user, "b"),
			 HVREPL_E_POISONED);
	storage.ops->close(storage.user, a);
	ck_assert_int_eq(storage.ops->open(storage.user, "n",
					   HVREPL_OBJECT_CREATE, &a),
			 HVREPL_E_POISONED);
	storage.ops->close(storage.user, b);
	storage.release(storage.user);
}
END_TEST

/* The two kinds of locks do not see each other: who had one of the other kind because
 * the kernel was short of something would share the directory with the next. */
START_TEST(a_lock_that_fails_for_a_moment_is_not_taken_in_another_way)
{
	static const struct {
		int error;
		const char *calls;
	} cases[] = {
		{ ENOLCK, "" },	      { ENOMEM, "" },	 { EIO, "" },
		{ EOPNOTSUPP, "l" }, { ENOSYS, "l" }, { EINVAL, "l" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool whole = cases[i].calls[0] != 0;
		struct hvrepl_storage storage;
		struct hvrepl_state state;

		forget();
		no_byte_locks = cases[i].error;
		if (hvrepl_dir_storage_open(dir.path, 0, &storage, NULL) ==
		    HVREPL_OK) {
			ck_assert(whole);
			ck_assert_int_eq(hvrepl_dir_state_open(dir.path, 0,
							       &state, NULL),
					 HVREPL_E_BUSY);
			storage.release(storage.user);
		} else {
			ck_assert(!whole);
			ck_assert_str_eq(calls, "");
		}
		no_byte_locks = 0;
	}
}
END_TEST

/* It may have met a failed flush and died before it could say so. */
START_TEST(what_an_earlier_process_left_in_a_cache_is_written_or_gone)
{
	struct hvrepl_storage storage = open_storage();
	void *a = object(&storage, "a", HVREPL_OBJECT_CREATE);
	struct hvrepl_disk disk;

	storage.ops->close(storage.user, a);
	forget();
	a = object(&storage, "a", 0);
	ck_assert_str_eq(calls, "fc");
	storage.ops->close(storage.user, a);
	/* Also where the error comes now. */
	forget();
	fail_call = 'f';
	a = object(&storage, "a", 0);
	ck_assert_str_eq(calls, "fc");
	storage.ops->close(storage.user, a);
	forget();
	a = object(&storage, "a", HVREPL_OBJECT_READ_ONLY);
	ck_assert_str_eq(calls, "");
	storage.ops->close(storage.user, a);
	storage.release(storage.user);
	tempdir_join(&dir, "disk", path);
	ck_assert_int_eq(hvrepl_file_disk_create(path, 4096, NULL), HVREPL_OK);
	forget();
	ck_assert_int_eq(hvrepl_file_disk_open(path, 0, &disk, NULL), HVREPL_OK);
	ck_assert_str_eq(calls, "fc");
	disk.release(disk.user);
}
END_TEST

START_TEST(after_a_failed_flush_a_disk_takes_nothing_more)
{
	uint8_t bytes[1024], got[1024];
	struct hvrepl_iovec iov = { bytes, sizeof(bytes) };
	struct hvrepl_disk disk;

	tempdir_join(&dir, "disk", path);
	ck_assert_int_eq(hvrepl_file_disk_create(path, 4096, NULL), HVREPL_OK);
	/* The file and its name. */
	ck_assert_str_eq(calls, "fd");
	ck_assert_int_eq(hvrepl_file_disk_open(path, 0, &disk, NULL),
			 HVREPL_OK);
	test_fill(bytes, sizeof(bytes), 3);
	forget();
	short_write = 100;
	ck_assert_int_eq(disk.ops->writev(disk.user, NULL, 512, &iov, 1),
			 HVREPL_OK);
	ck_assert_str_eq(calls, "ww");
	iov.base = got;
	ck_assert_int_eq(disk.ops->readv(disk.user, NULL, 512, &iov, 1),
			 HVREPL_OK);
	ck_assert_mem_eq(bytes, got, sizeof(got));
	forget();
	fail_call = 'f';
	ck_assert_int_eq(disk.ops->flush(disk.user, NULL), HVREPL_E_DISK_IO);
	ck_assert_str_eq(calls, "fc");
	ck_assert_int_eq(disk.ops->flush(disk.user, NULL), HVREPL_E_POISONED);
	ck_assert_int_eq(disk.ops->writev(disk.user, NULL, 0, &iov, 1),
			 HVREPL_E_POISONED);
	ck_assert_int_eq(disk.ops->zero(disk.user, NULL, 0, 512),
			 HVREPL_E_POISONED);
	ck_assert_int_eq(disk.ops->readv(disk.user, NULL, 0, &iov, 1),
			 HVREPL_OK);
	disk.release(disk.user);
}
END_TEST

static struct hvrepl_disk shared_disk;
static struct hvrepl_storage shared;
static void *objects[2];
static int together; /* What is flushed: see the test. */
static pthread_t other;
static unsigned other_ended; /* Atomic. */
static int32_t other_code;

static int32_t flush_one(unsigned which)
{
	if (together == 0)
		return shared_disk.ops->flush(shared_disk.user, NULL);
	return shared.ops->flush(shared.user, NULL,
				 objects[together == 1 ? 0 : which]);
}

static void *other_flushes(void *argument)
{
	(void)argument;
	other_code = flush_one(1);
	__atomic_store_n(&other_ended, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void until_the_other_waits(void)
{
	ck_assert_int_eq(pthread_create(&other, NULL, other_flushes, NULL), 0);
	while (waits_now() == 0 &&
	       __atomic_load_n(&other_ended, __ATOMIC_ACQUIRE) == 0)
		(void)sched_yield();
}

/* The kernel tells it to one of them. Of a disk, of an object, of two new names. */
START_TEST(a_flush_beside_one_that_fails_does_not_end_well)
{
	int32_t code;

	together = _i;
	other_ended = 0;
	tempdir_join(&dir, "disk", path);
	ck_assert_int_eq(hvrepl_file_disk_create(path, 4096, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_file_disk_open(path, 0, &shared_disk, NULL),
			 HVREPL_OK);
	tempdir_join(&dir, "store", path);
	ck_assert_int_eq(hvrepl_dir_storage_open(path, HVREPL_DIR_CREATE,
						 &shared, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(shared.ops->open(shared.user, "a",
					  HVREPL_OBJECT_CREATE, &objects[0]),
			 HVREPL_OK);
	ck_assert_int_eq(shared.ops->open(shared.user, "b",
					  HVREPL_OBJECT_CREATE, &objects[1]),
			 HVREPL_OK);
	forget();
	fail_call = _i == 2 ? 'd' : 'f';
	under_failure = until_the_other_waits;
	code = flush_one(0);
	pthread_join(other, NULL);
	ck_assert_int_eq(code, _i == 0 ? HVREPL_E_DISK_IO :
					 HVREPL_E_STORAGE_IO);
	ck_assert_int_eq(other_code, code);
	/* One call: none follows one that failed. */
	ck_assert_str_eq(calls, _i == 2 ? "fdf" : "fc");
	ck_assert_int_eq(flush_one(1), HVREPL_E_POISONED);
	shared.ops->close(shared.user, objects[0]);
	shared.ops->close(shared.user, objects[1]);
	shared.release(shared.user);
	shared_disk.release(shared_disk.user);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("durability of files");
	TCase *tc = tcase_create("calls");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_put_is_written_flushed_renamed_and_the_name_flushed);
	tcase_add_test(tc, a_put_that_fails_before_its_rename_changes_nothing);
	tcase_add_test(tc, after_a_name_that_could_not_be_flushed_nothing_is_put);
	tcase_add_test(tc,
		a_directory_that_is_opened_for_creation_has_a_durable_name);
	tcase_add_test(tc, the_first_flush_makes_the_name_durable_too);
	tcase_add_test(tc, after_a_failed_flush_an_object_takes_nothing_more);
	tcase_add_test(
		tc,
		a_lock_that_fails_for_a_moment_is_not_taken_in_another_way);
	tcase_add_test(tc, what_an_earlier_process_left_in_a_cache_is_written_or_gone);
	tcase_add_test(tc, after_a_failed_flush_a_disk_takes_nothing_more);
	tcase_add_loop_test(tc, a_flush_beside_one_that_fails_does_not_end_well,
			    0, 3);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
