/* SPDX-License-Identifier: Apache-2.0 */
/* Directories for tests that need real files. */
#define _XOPEN_SOURCE 700
#include "tempdir.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

void tempdir_make(struct tempdir *dir)
{
	const char *base = getenv("TMPDIR");

	snprintf(dir->path, sizeof(dir->path), "%s/hvrepl-test-XXXXXX",
		 base != NULL && base[0] != 0 ? base : "/tmp");
	if (mkdtemp(dir->path) == NULL)
		abort();
}

const char *tempdir_join(const struct tempdir *dir, const char *name,
			 char out[TEMPDIR_PATH_MAX])
{
	if (snprintf(out, TEMPDIR_PATH_MAX, "%s/%s", dir->path, name) >=
	    TEMPDIR_PATH_MAX)
		abort();
	return out;
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void tempdir_remove(struct tempdir *dir)
{
	(void)nftw(dir->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
