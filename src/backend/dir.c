/* SPDX-License-Identifier: Apache-2.0 */
/* Directories: held by one process at a time, listed in order. */
#include "backend/dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_NAME ".lock"

int32_t hvri_dir_open(const char *path, bool create, bool read_only,
		      int32_t other, int *dir_fd_out, int *lock_fd_out,
		      struct hvrepl_error *error)
{
	int dir_fd, lock_fd = -1;
	int32_t rc = HVREPL_OK;

	/* Also where it is there already: whoever made it may have died before
	 * its name was durable, and with the name goes all that lies in it. */
	if (create && !read_only &&
	    ((mkdir(path, 0700) < 0 && errno != EEXIST) ||
	     hvri_sync_parent(path) < 0))
		return hvri_sys_fail(error, hvri_sys_code(errno, other), errno,
				     "cannot make the directory %s: %s", path,
				     strerror(errno));
	dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return hvri_sys_fail(error, hvri_sys_code(errno, other), errno,
				     "cannot open the directory %s: %s", path,
				     strerror(errno));
	lock_fd = openat(dir_fd, LOCK_NAME,
			 (read_only ? O_RDONLY : O_RDWR | O_CREAT) |
				 O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK,
			 0600);
	if (lock_fd >= 0)
		rc = hvri_fd_lock(lock_fd, read_only, other);
	else if (!read_only || errno != ENOENT)
		rc = hvri_sys_code(errno, other);
	if (rc < 0) {
		if (rc == HVREPL_E_BUSY)
			hvri_sys_fail(error, rc, 0,
				      "%s is in use by another process (or "
				      "twice in this one): stop that one first",
				      path);
		else
			hvri_sys_fail(error, rc, errno,
				      "cannot lock " LOCK_NAME " in %s: %s",
				      path, strerror(errno));
		if (lock_fd >= 0)
			close(lock_fd);
		close(dir_fd);
		return rc;
	}
	*dir_fd_out = dir_fd;
	*lock_fd_out = lock_fd;
	return HVREPL_OK;
}

static int32_t add_name(struct hvri_dir_names *names, const char *name)
{
	if (names->count == names->room) {
		size_t room = names->room == 0 ? 64 : names->room * 2;
		void *larger = realloc(names->names, room * sizeof(char *));

		if (larger == NULL)
			return HVREPL_E_NOMEM;
		names->names = larger;
		names->room = room;
	}
	names->names[names->count] = strdup(name);
	if (names->names[names->count] == NULL)
		return HVREPL_E_NOMEM;
	names->count++;
	return HVREPL_OK;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void hvri_dir_names_free(struct hvri_dir_names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->names[i]);
	free(names->names);
	*names = (struct hvri_dir_names){ 0 };
}

int32_t hvri_dir_list(int dir_fd,
		      bool (*keep)(const char *name, const void *argument),
		      const void *argument, int32_t other,
		      struct hvri_dir_names *names_out)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct hvri_dir_names names = { 0 };
	int32_t rc = HVREPL_OK;
	struct dirent *entry;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return other;
	}
	while (rc == HVREPL_OK && (errno = 0, entry = readdir(dir)) != NULL)
		if (keep(entry->d_name, argument))
			rc = add_name(&names, entry->d_name);
	if (rc == HVREPL_OK && errno != 0)
		rc = other;
	closedir(dir);
	if (rc < 0) {
		hvri_dir_names_free(&names);
		return rc;
	}
	if (names.count > 1)
		qsort(names.names, names.count, sizeof(char *), compare_names);
	*names_out = names;
	return HVREPL_OK;
}
