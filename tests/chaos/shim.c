/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a site's daemon by tests/chaos: makes file calls fail or kill
 * the process, and notes what a power loss would undo.
 *
 * Only what lies below HVREPL_CHAOS_ROOT is looked at. The test maps the file
 * HVREPL_CHAOS_CONTROL and sets faults while the daemon runs. What was there
 * before each write goes to HVREPL_CHAOS_JOURNAL, with a note for each flush;
 * names that are taken away keep a link in HVREPL_CHAOS_KEEP. After a kill
 * powerloss.py puts back, sector by sector, what no flush had covered. Flushes
 * themselves do nothing here: no test can see the difference, and it is faster.
 */
#define _GNU_SOURCE
#include "journal.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX 4096
/* More than this is never taken away at once by what is tested. */
#define UNDO_MAX (64u << 20)

/* Kinds of calls, as bits. */
#define WRITES 1u
#define FLUSHES 2u
#define NAMES 4u /* Create, rename, unlink, mkdir. */
#define READS 8u

/* The control file; site.py has the same list. All by this order, 64 bits. */
struct control {
	uint64_t marks;     /* Calls of kill_mask so far. */
	uint64_t kill_at;   /* The mark that kills; 0: none. */
	uint64_t kill_late; /* 1: after the call instead of before it. */
	uint64_t kill_mask;
	uint64_t fail_left; /* Calls of fail_mask that fail from now on. */
	uint64_t fail_skip; /* Calls of fail_mask that still succeed first. */
	uint64_t fail_mask;
	uint64_t fail_errno;
	uint64_t failed;    /* Calls made to fail. */
	uint64_t drop;      /* 1: a flush that fails drops what it covers. */
};

static struct {
	char root[4096];
	size_t root_length;
	char keep[4096];
	const char *journal_path;
	struct control *control;
	struct control none;
	int journal;
	uint32_t kept;
	pthread_mutex_t lock;
	struct { bool ours, directory; uint64_t inode; } fds[FDS_MAX];
} shim = { .journal = -1, .lock = PTHREAD_MUTEX_INITIALIZER };

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (function == NULL)
		abort();
	return function;
}

__attribute__((constructor)) static void begin(void)
{
	const char *root = getenv("HVREPL_CHAOS_ROOT");
	const char *control = getenv("HVREPL_CHAOS_CONTROL");
	const char *journal = getenv("HVREPL_CHAOS_JOURNAL");
	const char *keep = getenv("HVREPL_CHAOS_KEEP");
	void *map = MAP_FAILED;
	int fd;

	shim.control = &shim.none;
	if (root == NULL || control == NULL || journal == NULL || keep == NULL)
		return;
	shim.root_length = (size_t)snprintf(shim.root, sizeof(shim.root), "%s/",
					    root);
	snprintf(shim.keep, sizeof(shim.keep), "%s", keep);
	shim.kept = (uint32_t)getpid();
	fd = REAL(open)(control, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE,
			   MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		abort();
	REAL(close)(fd);
	shim.control = map;
	shim.journal_path = journal;
	shim.journal = REAL(open)(journal,
				  O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
				  0600);
	if (shim.journal < 0)
		abort();
}

static void die(void)
{
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

/* Under the lock. A mark that is hit ends here, or after the call. */
static bool marked(unsigned kind)
{
	struct control *c = shim.control;

	if ((c->kill_mask & kind) == 0 || ++c->marks != c->kill_at)
		return false;
	if (c->kill_late == 0)
		die();
	return true;
}

static bool fails(unsigned kind)
{
	struct control *c = shim.control;

	if ((c->fail_mask & kind) == 0 || c->fail_left == 0)
		return false;
	if (c->fail_skip > 0) {
		c->fail_skip--;
		return false;
	}
	if (c->fail_left != UINT64_MAX)
		c->fail_left--;
	c->failed++;
	errno = (int)c->fail_errno;
	return true;
}

static void note(struct record *record, const char *name, const char *other,
		 const void *data, size_t length)
{
	struct iovec parts[4];

	record->magic = MAGIC;
	record->name_length = name == NULL ? 0 : (uint32_t)strlen(name);
	record->other_length = other == NULL ? 0 : (uint32_t)strlen(other);
	record->data_length = (uint32_t)length;
	parts[0] = (struct iovec){ record, sizeof(*record) };
	parts[1] = (struct iovec){ (void *)(uintptr_t)name, record->name_length };
	parts[2] = (struct iovec){ (void *)(uintptr_t)other,
				   record->other_length };
	parts[3] = (struct iovec){ (void *)(uintptr_t)data, length };
	if (REAL(writev)(shim.journal, parts, 4) < 0)
		abort();
}

static bool ours(int fd)
{
	return shim.journal >= 0 && fd >= 0 && fd < FDS_MAX &&
	       shim.fds[fd].ours;
}

static void remember(int fd)
{
	char link[64], path[4096];
	struct stat st;
	ssize_t length;

	if (shim.journal < 0 || fd < 0 || fd >= FDS_MAX)
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0 || fstat(fd, &st) != 0)
		return;
	path[length] = 0;
	shim.fds[fd].ours =
		strncmp(path, shim.root, shim.root_length) == 0 &&
		(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));
	shim.fds[fd].directory = S_ISDIR(st.st_mode);
	shim.fds[fd].inode = st.st_ino;
}

/* What a write to [offset, offset + length) replaces, in whole sectors. */
static void note_undo(int fd, uint64_t offset, uint64_t length)
{
	struct record record = { .op = UNDO, .inode = shim.fds[fd].inode };
	uint64_t end = (offset + length + SECTOR - 1) / SECTOR * SECTOR;
	struct stat st;
	char *old;
	ssize_t count = 0;

	if (fstat(fd, &st) != 0)
		abort();
	offset = offset / SECTOR * SECTOR;
	record.offset = offset;
	record.size = (uint64_t)st.st_size;
	if (end - offset > UNDO_MAX)
		abort();
	old = calloc(1, end - offset + 1);
	if (old == NULL)
		abort();
	if (offset < record.size) {
		int again = REAL(open)("/proc/self/fd", O_PATH | O_CLOEXEC);
		char name[16];
		int reader;

		/* The descriptor itself may be write-only. */
		snprintf(name, sizeof(name), "%d", fd);
		reader = REAL(openat)(again, name, O_RDONLY | O_CLOEXEC);
		if (reader >= 0)
			count = REAL(pread)(reader, old, end - offset,
					    (off_t)offset);
		if (reader < 0 || count < 0)
			abort();
		REAL(close)(reader);
		REAL(close)(again);
	}
	note(&record, NULL, NULL, old, end - offset);
	free(old);
}

static void note_size(int fd)
{
	struct record record = { .op = SIZE, .inode = shim.fds[fd].inode };
	struct stat st;

	if (fstat(fd, &st) != 0)
		abort();
	record.size = (uint64_t)st.st_size;
	note(&record, NULL, NULL, NULL, 0);
}

/* Of a file or directory; 0: none, or something that holds no data. */
static uint64_t inode_at(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			       (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) ?
		       st.st_ino : 0;
}

/* A link to what a name stands for, so that the name can come back. */
static uint32_t keep(int dir, const char *name)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/%u", shim.keep, ++shim.kept);
	return linkat(dir, name, AT_FDCWD, path, 0) == 0 ? shim.kept : 0;
}

/* The directory of a path, as a descriptor to close, and the last name. */
static int split(int dir, const char *path, const char **name_out)
{
	const char *slash = strrchr(path, '/');
	char parent[4096];

	*name_out = slash == NULL ? path : slash + 1;
	if (slash == NULL)
		return dir == AT_FDCWD ?
			       REAL(open)(".", O_PATH | O_CLOEXEC) :
			       REAL(openat)(dir, ".", O_PATH | O_CLOEXEC);
	snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path + 1), path);
	return REAL(openat)(dir, parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static bool below_root(int dir)
{
	char link[64], path[4097];
	ssize_t length;

	if (shim.journal < 0)
		return false;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
	length = readlink(link, path, sizeof(path) - 2);
	if (length < 0)
		return false;
	path[length] = '/';
	path[length + 1] = 0;
	return strncmp(path, shim.root, shim.root_length) == 0;
}

static void note_name(enum op op, int dir, uint64_t child, const char *name,
		      const char *other, uint32_t kept)
{
	struct record record = { .op = op, .child = child, .keep = kept };
	struct stat st;

	if (fstat(dir, &st) != 0)
		abort();
	record.inode = st.st_ino;
	note(&record, name, other, NULL, 0);
}

static int open_in(int dir, const char *path, int flags, mode_t mode)
{
	const char *name;
	bool there, late = false;
	int parent, fd;

	if (shim.journal < 0 || (flags & (O_CREAT | O_TRUNC)) == 0) {
		fd = REAL(openat)(dir, path, flags, mode);
		remember(fd);
		return fd;
	}
	parent = split(dir, path, &name);
	if (parent < 0 || !below_root(parent)) {
		if (parent >= 0)
			REAL(close)(parent);
		return REAL(openat)(dir, path, flags, mode);
	}
	pthread_mutex_lock(&shim.lock);
	there = inode_at(parent, name) != 0;
	if (!there) {
		late = marked(NAMES);
		if (fails(NAMES)) {
			pthread_mutex_unlock(&shim.lock);
			REAL(close)(parent);
			return -1;
		}
	}
	fd = REAL(openat)(dir, path, flags & ~O_TRUNC, mode);
	remember(fd);
	if (fd >= 0 && !there)
		note_name(CREATED, parent, inode_at(parent, name), name, NULL,
			  0);
	if (fd >= 0 && (flags & O_TRUNC) != 0 && ours(fd)) {
		struct stat st;

		if (fstat(fd, &st) != 0)
			abort();
		if (st.st_size > 0)
			note_undo(fd, 0, (uint64_t)st.st_size);
		if (REAL(ftruncate)(fd, 0) != 0)
			abort();
	}
	if (late)
		die();
	pthread_mutex_unlock(&shim.lock);
	REAL(close)(parent);
	return fd;
}

int openat(int dir, const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0;
	va_end(args);
	return open_in(dir, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0;
	va_end(args);
	return open_in(AT_FDCWD, path, flags, mode);
}

int close(int fd)
{
	if (fd >= 0 && fd < FDS_MAX)
		shim.fds[fd].ours = false;
	return REAL(close)(fd);
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
	uint64_t length = 0;
	ssize_t done;
	bool late;

	if (!ours(fd))
		return REAL(pwritev)(fd, iov, count, offset);
	for (int i = 0; i < count; i++)
		length += iov[i].iov_len;
	pthread_mutex_lock(&shim.lock);
	late = marked(WRITES);
	if (fails(WRITES)) {
		pthread_mutex_unlock(&shim.lock);
		return -1;
	}
	note_undo(fd, (uint64_t)offset, length);
	done = REAL(pwritev)(fd, iov, count, offset);
	if (late)
		die();
	pthread_mutex_unlock(&shim.lock);
	return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
	struct iovec iov = { (void *)(uintptr_t)bytes, length };

	return ours(fd) ? pwritev(fd, &iov, 1, offset) :
			  REAL(pwrite)(fd, bytes, length, offset);
}

ssize_t preadv(int fd, const struct iovec *iov, int count, off_t offset)
{
	if (ours(fd)) {
		bool failed;

		pthread_mutex_lock(&shim.lock);
		failed = fails(READS);
		pthread_mutex_unlock(&shim.lock);
		if (failed)
			return -1;
	}
	return REAL(preadv)(fd, iov, count, offset);
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
	bool late;
	int result;

	if (!ours(fd))
		return REAL(fallocate)(fd, mode, offset, length);
	pthread_mutex_lock(&shim.lock);
	late = marked(WRITES);
	if (fails(WRITES)) {
		pthread_mutex_unlock(&shim.lock);
		return -1;
	}
	/* Space that is only reserved has nothing to undo. */
	if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0)
		note_undo(fd, (uint64_t)offset, (uint64_t)length);
	else
		note_size(fd);
	result = REAL(fallocate)(fd, mode, offset, length);
	if (late)
		die();
	pthread_mutex_unlock(&shim.lock);
	return result;
}

int ftruncate(int fd, off_t length)
{
	struct stat st;
	bool late;
	int result;

	if (!ours(fd))
		return REAL(ftruncate)(fd, length);
	pthread_mutex_lock(&shim.lock);
	late = marked(WRITES);
	if (fails(WRITES)) {
		pthread_mutex_unlock(&shim.lock);
		return -1;
	}
	if (fstat(fd, &st) != 0)
		abort();
	if (length < st.st_size)
		note_undo(fd, (uint64_t)length,
			  (uint64_t)(st.st_size - length));
	else
		note_size(fd);
	result = REAL(ftruncate)(fd, length);
	if (late)
		die();
	pthread_mutex_unlock(&shim.lock);
	return result;
}

static int flush(int fd)
{
	struct record record = { .inode = shim.fds[fd].inode };
	bool late;

	pthread_mutex_lock(&shim.lock);
	late = marked(FLUSHES);
	if (fails(FLUSHES)) {
		/* The pages stay as written and, as many file systems have it,
		 * count as clean: a power loss takes them, whatever later
		 * flushes say. */
		record.op = DOOMED;
		if (shim.control->drop != 0)
			note(&record, NULL, NULL, NULL, 0);
		pthread_mutex_unlock(&shim.lock);
		errno = (int)shim.control->fail_errno;
		return -1;
	}
	record.op = shim.fds[fd].directory ? NAMES_FLUSHED : FLUSHED;
	note(&record, NULL, NULL, NULL, 0);
	if (late)
		die();
	pthread_mutex_unlock(&shim.lock);
	return 0;
}

/* ---- A cache that is dropped: what a failed flush left clean reads as the
 * medium has it. ---- */

static void drop_cache(int fd)
{
	struct record record = { .op = DROPPED, .inode = shim.fds[fd].inode };
	struct sectors file;
	int journal = REAL(open)(shim.journal_path, O_RDONLY | O_CLOEXEC);
	uint64_t dropped = 0;
	char name[64], old[SECTOR];
	struct stat st;
	int writer;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	writer = REAL(open)(name, O_WRONLY | O_CLOEXEC);
	if (journal < 0 || writer < 0 || fstat(fd, &st) != 0)
		abort();
	file = sectors_of(journal, record.inode);
	for (uint64_t i = 0; i < file.count; i++) {
		struct sector *s = &file.all[i];

		if (s->writes == 0 || s->doomed != s->writes ||
		    (i + 1) * SECTOR > (uint64_t)st.st_size)
			continue; /* A newer write of it is dirty, and stays. */
		if (REAL(pread)(journal, old, SECTOR, (off_t)s->old_at) !=
			    (ssize_t)SECTOR ||
		    REAL(pwrite)(writer, old, SECTOR, (off_t)(i * SECTOR)) !=
			    (ssize_t)SECTOR)
			abort();
		dropped++;
	}
	if (dropped > 0)
		note(&record, NULL, NULL, NULL, 0);
	free(file.all);
	REAL(close)(journal);
	REAL(close)(writer);
}

int posix_fadvise(int fd, off_t offset, off_t length, int advice)
{
	if (ours(fd) && advice == POSIX_FADV_DONTNEED &&
	    shim.control->drop != 0) {
		pthread_mutex_lock(&shim.lock);
		drop_cache(fd);
		pthread_mutex_unlock(&shim.lock);
	}
	return REAL(posix_fadvise)(fd, offset, length, advice);
}

int fdatasync(int fd)
{
	return ours(fd) ? flush(fd) : REAL(fdatasync)(fd);
}

int fsync(int fd)
{
	return ours(fd) ? flush(fd) : REAL(fsync)(fd);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	const char *old_name, *new_name;
	int source = split(from_dir, from, &old_name);
	int target = split(to_dir, to, &new_name);
	uint64_t child;
	uint32_t kept = 0;
	struct stat a, b;
	bool late;
	int result;

	if (source < 0 || target < 0 || !below_root(source) ||
	    !below_root(target)) {
		if (source >= 0)
			REAL(close)(source);
		if (target >= 0)
			REAL(close)(target);
		return REAL(renameat)(from_dir, from, to_dir, to);
	}
	/* Nothing here moves between directories. */
	if (fstat(source, &a) != 0 || fstat(target, &b) != 0 ||
	    a.st_ino != b.st_ino)
		abort();
	pthread_mutex_lock(&shim.lock);
	late = marked(NAMES);
	result = fails(NAMES) ? -1 : 0;
	child = inode_at(source, old_name);
	if (result == 0 && child != 0) {
		if (inode_at(target, new_name) != 0)
			kept = keep(target, new_name);
		note_name(RENAMED, source, child, old_name, new_name, kept);
	}
	if (result == 0)
		result = REAL(renameat)(from_dir, from, to_dir, to);
	if (late)
		die();
	pthread_mutex_unlock(&shim.lock);
	REAL(close)(source);
	REAL(close)(target);
	return result;
}

int rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int unlinkat(int dir, const char *path, int flags)
{
	const char *name;
	int parent = split(dir, path, &name);
	uint64_t child;
	bool late;
	int result;

	if (parent < 0 || !below_root(parent) || (flags & AT_REMOVEDIR) != 0) {
		if (parent >= 0)
			REAL(close)(parent);
		return REAL(unlinkat)(dir, path, flags);
	}
	pthread_mutex_lock(&shim.lock);
	child = inode_at(parent, name);
	if (child == 0) {
		result = REAL(unlinkat)(dir, path, flags);
	} else {
		late = marked(NAMES);
		result = fails(NAMES) ? -1 : 0;
		if (result == 0) {
			note_name(GONE, parent, child, name, NULL,
				  keep(parent, name));
			result = REAL(unlinkat)(dir, path, flags);
		}
		if (late)
			die();
	}
	pthread_mutex_unlock(&shim.lock);
	REAL(close)(parent);
	return result;
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
	const char *name;
	int parent = split(dir, path, &name);
	bool late;
	int result;

	if (parent < 0 || !below_root(parent) || inode_at(parent, name) != 0) {
		if (parent >= 0)
			REAL(close)(parent);
		return REAL(mkdirat)(dir, path, mode);
	}
	pthread_mutex_lock(&shim.lock);
	late = marked(NAMES);
	result = fails(NAMES) ? -1 : REAL(mkdirat)(dir, path, mode);
	if (result == 0)
		note_name(CREATED, parent, inode_at(parent, name), name, NULL,
			  0);
	if (late)
		die();
	pthread_mutex_unlock(&shim.lock);
	REAL(close)(parent);
	return result;
}

int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

/* The names that 64-bit offsets give these on some systems. */
int open64(const char *, int, ...) __attribute__((alias("open")));
int openat64(int, const char *, int, ...) __attribute__((alias("openat")));
int ftruncate64(int, off_t) __attribute__((alias("ftruncate")));
int fallocate64(int, int, off_t, off_t) __attribute__((alias("fallocate")));
ssize_t pwrite64(int, const void *, size_t, off_t)
	__attribute__((alias("pwrite")));
ssize_t pwritev64(int, const struct iovec *, int, off_t)
	__attribute__((alias("pwritev")));
ssize_t preadv64(int, const struct iovec *, int, off_t)
	__attribute__((alias("preadv")));
int posix_fadvise64(int, off_t, off_t, int)
	__attribute__((alias("posix_fadvise")));
