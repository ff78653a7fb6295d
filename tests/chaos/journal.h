/* SPDX-License-Identifier: Apache-2.0 */
/* The journal of file calls that shim.c writes and powerloss.py undoes. */
#ifndef CHAOS_JOURNAL_H
#define CHAOS_JOURNAL_H

#include <stdint.h>

#define SECTOR 512u

/* The journal; powerloss.py has the same list. */
enum op {
	UNDO = 1, SIZE, FLUSHED, DOOMED, CREATED, RENAMED, GONE, NAMES_FLUSHED,
	DROPPED
};

struct record {
	uint32_t magic, op;
	uint64_t inode; /* Of the file, or of the directory of a name. */
	uint64_t offset, size; /* UNDO: where; SIZE, UNDO: size before. */
	uint64_t child; /* Inode that a name belongs to. */
	uint32_t name_length, other_length, data_length, keep;
};
#define MAGIC 0x4a564854u

struct sector {
	uint32_t writes, doomed; /* Since the last flush that covered it. */
	uint64_t old_at;         /* In the journal: what the medium has. */
};

struct sectors {
	struct sector *all;
	uint64_t count;
};

/* Of one file, from the whole journal; free `all`. */
struct sectors sectors_of(int journal, uint64_t inode);
#endif
