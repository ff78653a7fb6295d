/* SPDX-License-Identifier: Apache-2.0 */
/* Files as disks: content, holes, identity, locks. */
#define _GNU_SOURCE
#include "base/io.h"
#include "tempdir.h"
#include "testing.h"

#include <fcntl.h>
#include <hvrepl/backends.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024u * 1024u)

static struct tempdir dir;
static char path[TEMPDIR_PATH_MAX];
static struct hvri_env env;

static void setup(void)
{
	struct hvrepl_env app = HVREPL_ENV_INIT;

	ck_assert_int_eq(hvrepl_default_env(&app), HVREPL_OK);
	ck_assert_int_eq(hvri_env_copy(&env, &app, NULL), HVREPL_OK);
	tempdir_make(&dir);
	tempdir_join(&dir, "disk.img", path);
}

static void teardown(void)
{
	tempdir_remove(&dir);
}

static void take(struct hvri_disk *disk, uint32_t flags)
{
	struct hvrepl_disk handle;
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	ck_assert_msg(hvrepl_file_disk_open(path, flags, &handle, &error) ==
			      HVREPL_OK,
		      "%s", error.sentence);
	ck_assert_int_eq(hvri_disk_take(disk, &handle, NULL), HVREPL_OK);
}

START_TEST(what_is_written_is_read_and_survives_close)
{
	uint8_t wrote[8192], got[8192];
	struct hvri_disk disk;

	ck_assert_int_eq(hvrepl_file_disk_create(path, 4 * MIB, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_file_disk_create(path, 4 * MIB, NULL),
			 HVREPL_E_EXISTS);
	take(&disk, 0);
	ck_assert_uint_eq(disk.info.size, 4 * MIB);
	ck_assert_uint_eq(disk.info.block_size, 512);
	test_fill(wrote, sizeof(wrote), 1);
	ck_assert_int_eq(hvri_disk_write(&disk, MIB, wrote, sizeof(wrote)),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_disk_flush(&disk), HVREPL_OK);
	hvri_disk_drop(&disk);
	take(&disk, HVREPL_FILE_READ_ONLY);
	ck_assert_int_eq(hvri_disk_read(&disk, MIB, got, sizeof(got)),
			 HVREPL_OK);
	ck_assert_mem_eq(wrote, got, sizeof(got));
	ck_assert_int_eq(hvri_disk_write(&disk, 0, wrote, 512),
			 HVREPL_E_READ_ONLY);
	ck_assert_uint_eq(disk.info.flags, HVREPL_DISK_READ_ONLY);
	hvri_disk_drop(&disk);
}
END_TEST

START_TEST(scattered_io_of_many_pieces_is_whole)
{
	enum { PIECES = 150 };
	static uint8_t wrote[PIECES * 512], got[PIECES * 512];
	struct hvrepl_iovec iov[PIECES];
	struct hvri_disk disk;

	ck_assert_int_eq(hvrepl_file_disk_create(path, MIB, NULL), HVREPL_OK);
	take(&disk, 0);
	test_fill(wrote, sizeof(wrote), 2);
	for (unsigned i = 0; i < PIECES; i++)
		iov[i] = (struct hvrepl_iovec){ wrote + i * 512, 512 };
	ck_assert_int_eq(disk.ops.writev(disk.user, NULL, 4096, iov, PIECES),
			 HVREPL_OK);
	/* Uneven pieces, an empty one among them. */
	iov[0] = (struct hvrepl_iovec){ got, 100 };
	iov[1] = (struct hvrepl_iovec){ got + 100, 0 };
	iov[2] = (struct hvrepl_iovec){ got + 100, sizeof(got) - 100 };
	ck_assert_int_eq(disk.ops.readv(disk.user, NULL, 4096, iov, 3),
			 HVREPL_OK);
	ck_assert_mem_eq(wrote, got, sizeof(got));
	/* A file cut behind our back is an error, not stale bytes. */
	ck_assert_int_eq(truncate(path, 4096), 0);
	ck_assert_int_eq(disk.ops.readv(disk.user, NULL, 4096, iov, 3),
			 HVREPL_E_DISK_IO);
	hvri_disk_drop(&disk);
}
END_TEST

START_TEST(zeroed_ranges_read_as_zeroes_and_give_space_back)
{
	static uint8_t bytes[MIB];
	struct hvri_disk disk;
	struct stat before, after;

	ck_assert_int_eq(hvrepl_file_disk_create(path, 2 * MIB, NULL),
			 HVREPL_OK);
	take(&disk, 0);
	test_fill(bytes, sizeof(bytes), 3);
	ck_assert_int_eq(hvri_disk_write(&disk, 0, bytes, MIB), HVREPL_OK);
	ck_assert_int_eq(hvri_disk_flush(&disk), HVREPL_OK);
	ck_assert_int_eq(stat(path, &before), 0);
	ck_assert_int_eq(hvri_disk_zero(&env, &disk, 65536, MIB - 65536),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_disk_read(&disk, 0, bytes, MIB), HVREPL_OK);
	ck_assert(bytes[65535] != 0 || bytes[65534] != 0);
	for (size_t i = 65536; i < MIB; i++)
		if (bytes[i] != 0)
			ck_abort_msg("byte %zu is not zero", i);
	ck_assert_int_eq(stat(path, &after), 0);
	ck_assert_int_eq(after.st_size, 2 * MIB);
	ck_assert(after.st_blocks < before.st_blocks);
	hvri_disk_drop(&disk);
}
END_TEST

START_TEST(only_written_ranges_are_allocated)
{
	uint8_t bytes[4096] = { 1 };
	struct hvri_disk disk;
	struct hvrepl_extent found;

	ck_assert_int_eq(hvrepl_file_disk_create(path, 64 * MIB, NULL),
			 HVREPL_OK);
	take(&disk, 0);
	hvri_disk_next_allocated(&disk, 0, 64 * MIB, &found);
	ck_assert_uint_eq(found.length, 0);
	ck_assert_int_eq(hvri_disk_write(&disk, 32 * MIB, bytes, 4096),
			 HVREPL_OK);
	hvri_disk_next_allocated(&disk, 0, 64 * MIB, &found);
	ck_assert_uint_le(found.offset, 32 * MIB);
	ck_assert_uint_ge(found.offset + found.length, 32 * MIB + 4096);
	ck_assert_uint_lt(found.length, 8 * MIB);
	/* Clipped to what was asked. */
	hvri_disk_next_allocated(&disk, 32 * MIB + 512, 32 * MIB + 1024, &found);
	ck_assert_uint_eq(found.offset, 32 * MIB + 512);
	ck_assert_uint_eq(found.length, 512);
	hvri_disk_drop(&disk);
}
END_TEST

/* T9: a change behind our back moves the token. */
START_TEST(a_write_from_outside_moves_the_identity_token)
{
	struct hvrepl_disk_info before;
	struct hvri_disk disk;
	int fd;

	ck_assert_int_eq(hvrepl_file_disk_create(path, MIB, NULL), HVREPL_OK);
	take(&disk, 0);
	before = disk.info;
	ck_assert_uint_gt(before.token_length, 0);
	ck_assert_int_eq(hvri_disk_refresh(&disk), HVREPL_OK);
	ck_assert_mem_eq(before.token, disk.info.token, HVREPL_TOKEN_MAX);
	usleep(20000); /* Past the kernel's time stamp grain. */
	fd = open(path, O_WRONLY);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	close(fd);
	ck_assert_int_eq(hvri_disk_refresh(&disk), HVREPL_OK);
	ck_assert(memcmp(before.token, disk.info.token, HVREPL_TOKEN_MAX) != 0);
	hvri_disk_drop(&disk);
}
END_TEST

static int open_in_child(uint32_t flags)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		struct hvrepl_disk disk;

		_exit(hvrepl_file_disk_open(path, flags, &disk, NULL) ==
			      HVREPL_E_BUSY ? 7 : 8);
	}
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}

START_TEST(a_second_opener_is_refused)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_disk second;
	struct hvri_disk disk, reader;

	ck_assert_int_eq(hvrepl_file_disk_create(path, MIB, NULL), HVREPL_OK);
	take(&disk, 0);
	ck_assert_int_eq(hvrepl_file_disk_open(path, 0, &second, &error),
			 HVREPL_E_BUSY);
	ck_assert_ptr_nonnull(strstr(error.sentence, "another program"));
	ck_assert_int_eq(error.error_class, HVREPL_CLASS_CALLER);
	ck_assert_int_eq(open_in_child(0), 7);
	ck_assert_int_eq(open_in_child(HVREPL_FILE_READ_ONLY), 7);
	ck_assert_int_eq(open_in_child(HVREPL_FILE_READ_ONLY |
				       HVREPL_FILE_NO_LOCK), 8);
	hvri_disk_drop(&disk);
	/* Readers share, and keep a writer out. */
	take(&disk, HVREPL_FILE_READ_ONLY);
	take(&reader, HVREPL_FILE_READ_ONLY);
	ck_assert_int_eq(open_in_child(0), 7);
	hvri_disk_drop(&disk);
	hvri_disk_drop(&reader);
	ck_assert_int_eq(open_in_child(0), 8);
}
END_TEST

START_TEST(what_is_no_disk_is_refused_with_a_sentence)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_disk disk;

	ck_assert_int_eq(hvrepl_file_disk_open(path, 0, &disk, &error),
			 HVREPL_E_NOT_FOUND);
	ck_assert_int_ne(error.sys_errno, 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(hvrepl_file_disk_open(path, 0, &disk, &error),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_file_disk_open(path, 1u << 30, &disk, NULL),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_file_disk_create(path, 100, NULL),
			 HVREPL_E_INVALID);
}
END_TEST

START_TEST(a_token_is_believed_only_for_the_same_file_in_time)
{
	struct hvrepl_disk_info saved = { sizeof(saved), 0, 0, 0, 0, { 0 } };
	struct hvrepl_disk_info now = saved;
	struct timespec times[2] = { { 100, 0 }, { 100, 0 } };
	const uint64_t second = 1000000000u;
	uint64_t slack = 5 * second, utc;
	struct hvrepl_disk disk;
	struct timespec clock;

	ck_assert_int_eq(hvrepl_file_disk_create(path, MIB, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_file_disk_open(path, 0, &disk, NULL), HVREPL_OK);
	ck_assert_int_eq(disk.ops->info(disk.user, &saved), HVREPL_OK);
	clock_gettime(CLOCK_REALTIME, &clock);
	utc = (uint64_t)clock.tv_sec * second;
	/* ctime moves, to now. */
	ck_assert_int_eq(futimens(open(path, O_RDONLY | O_CLOEXEC), times), 0);
	ck_assert_int_eq(disk.ops->info(disk.user, &now), HVREPL_OK);
	ck_assert_int_eq(hvrepl_file_token_check(&slack, saved.token, 48, utc,
						 now.token, 48), 1);
	ck_assert_int_eq(hvrepl_file_token_check(&slack, saved.token, 48,
						 utc - 60 * second, now.token,
						 48), 0);
	ck_assert_int_eq(hvrepl_file_token_check(&slack, saved.token, 47, utc,
						 now.token, 48), 0);
	now.token[0] ^= 1;
	ck_assert_int_eq(hvrepl_file_token_check(&slack, saved.token, 48, utc,
						 now.token, 48), 0);
	disk.release(disk.user);
}
END_TEST

/* Nobody can set a ctime: one before the saved one is of a change by a clock that was
 * set back. */
START_TEST(a_change_by_a_clock_that_was_set_back_is_a_change)
{
	struct hvrepl_disk_info saved = { sizeof(saved), 0, 0, 0, 0, { 0 } };
	const uint64_t second = 1000000000u;
	uint64_t slack = 5 * second, utc;
	struct hvrepl_disk disk;
	struct timespec clock;
	uint8_t now[48];

	ck_assert_int_eq(hvrepl_file_disk_create(path, MIB, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_file_disk_open(path, 0, &disk, NULL), HVREPL_OK);
	ck_assert_int_eq(disk.ops->info(disk.user, &saved), HVREPL_OK);
	disk.release(disk.user);
	clock_gettime(CLOCK_REALTIME, &clock);
	utc = (uint64_t)clock.tv_sec * second;
	memcpy(now, saved.token, sizeof(now));
	ck_assert_int_eq(hvrepl_file_token_check(&slack, saved.token, 48, utc,
						 now, 48), 1);
	/* Seconds of ctime, little-endian: 256 s earlier. */
	for (unsigned i = 9; now[i]-- == 0; i++)
		;
	ck_assert_int_eq(hvrepl_file_token_check(&slack, saved.token, 48, utc,
						 now, 48), 0);
}
END_TEST

/* What is gone from a file was no hole: whoever copies holes as zeroes would give the
 * other side zeroes for it, and be told nothing. */
START_TEST(a_file_that_was_cut_short_is_not_allocated_as_zeroes)
{
	struct hvrepl_extent extents[4];
	struct hvrepl_disk disk;
	uint8_t byte[512] = { 1 };
	struct hvrepl_iovec iov = { byte, sizeof(byte) };
	uint64_t end = 0;
	uint32_t count = 4;

	ck_assert_int_eq(hvrepl_file_disk_create(path, MIB, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_file_disk_open(path, 0, &disk, NULL), HVREPL_OK);
	ck_assert_int_eq(disk.ops->writev(disk.user, NULL, 0, &iov, 1),
			 HVREPL_OK);
	ck_assert_int_eq(disk.ops->allocated(disk.user, 0, MIB, extents, &count,
					     &end), HVREPL_OK);
	ck_assert_uint_eq(end, MIB);
	ck_assert_int_eq(truncate(path, MIB / 2), 0);
	ck_assert_int_eq(disk.ops->readv(disk.user, NULL, MIB - 512, &iov, 1),
			 HVREPL_E_DISK_IO);
	for (uint64_t from = 0; from < MIB; from += MIB / 4) {
		count = 4;
		ck_assert_int_eq(disk.ops->allocated(disk.user, from,
						     MIB - from, extents,
						     &count, &end),
				 HVREPL_E_DISK_IO);
	}
	/* Of what is there it tells as ever. */
	count = 4;
	ck_assert_int_eq(disk.ops->allocated(disk.user, 0, MIB / 2, extents,
					     &count, &end), HVREPL_OK);
	ck_assert_uint_eq(end, MIB / 2);
	disk.release(disk.user);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("file disk");
	TCase *tc = tcase_create("files");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_is_written_is_read_and_survives_close);
	tcase_add_test(tc, scattered_io_of_many_pieces_is_whole);
	tcase_add_test(tc, zeroed_ranges_read_as_zeroes_and_give_space_back);
	tcase_add_test(tc, only_written_ranges_are_allocated);
	tcase_add_test(tc, a_write_from_outside_moves_the_identity_token);
	tcase_add_test(tc, a_token_is_believed_only_for_the_same_file_in_time);
	tcase_add_test(tc, a_change_by_a_clock_that_was_set_back_is_a_change);
	tcase_add_test(tc, a_file_that_was_cut_short_is_not_allocated_as_zeroes);
	tcase_add_test(tc, a_second_opener_is_refused);
	tcase_add_test(tc, what_is_no_disk_is_refused_with_a_sentence);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
