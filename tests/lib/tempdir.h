/* SPDX-License-Identifier: Apache-2.0 */
/* A directory for one test, gone afterwards. */
#ifndef TEMPDIR_H
#define TEMPDIR_H

#define TEMPDIR_PATH_MAX 512

struct tempdir {
	char path[TEMPDIR_PATH_MAX];
};

void tempdir_make(struct tempdir *dir);
/* "path/name" in `out`; returns `out`. */
const char *tempdir_join(const struct tempdir *dir, const char *name,
			 char out[TEMPDIR_PATH_MAX]);
/* Removes the directory and what is in it, sub-directories included. */
void tempdir_remove(struct tempdir *dir);
#endif
