/* SPDX-License-Identifier: Apache-2.0 */
/* A directory whose name is not durable takes all that lies in it along. */
#include "directory.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int directory_sync_parent(const char *path)
{
	char *copy = strdup(path);
	int fd, result = -1, reason;

	if (copy == NULL)
		return -1;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (fd < 0)
		return -1;
	result = fsync(fd);
	reason = errno;
	close(fd);
	errno = reason;
	return result;
}

int directory_make(const char *path)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return -1;
	return directory_sync_parent(path);
}
