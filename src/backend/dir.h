/* SPDX-License-Identifier: Apache-2.0 */
/* What the directory stores share: the lock that keeps others out, listing. */
#ifndef HVRI_BACKEND_DIR_H
#define HVRI_BACKEND_DIR_H

#include "backend/fileio.h"

/* Open a directory and hold its file ".lock" (shared when read_only), so that
 * one process has it at a time. *lock_fd_out may be -1 when read_only. `other`
 * is the code of failures without one of their own. */
int32_t hvri_dir_open(const char *path, bool create, bool read_only,
		      int32_t other, int *dir_fd_out, int *lock_fd_out,
		      struct hvrepl_error *error);

struct hvri_dir_names {
	char **names; /* Ascending. */
	size_t count, room;
};
/* Names for which keep() holds; freed with hvri_dir_names_free(). */
int32_t hvri_dir_list(int dir_fd,
		      bool (*keep)(const char *name, const void *argument),
		      const void *argument, int32_t other,
		      struct hvri_dir_names *names_out);
void hvri_dir_names_free(struct hvri_dir_names *names);
#endif
