/* SPDX-License-Identifier: Apache-2.0 */
/* Directories of the daemon and of the command, there also after a power loss. */
#ifndef NBDKIT_DIRECTORY_H
#define NBDKIT_DIRECTORY_H

/* Makes `path` (mode 0700) unless it is there, and its name durable, which a
 * process that died may have left undone. 0, or -1 with errno. */
int directory_make(const char *path);
/* Makes durable what was made, moved or taken away in the directory that `path`
 * lies in. 0, or -1 with errno. */
int directory_sync_parent(const char *path);

#endif
