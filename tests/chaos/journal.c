/* SPDX-License-Identifier: Apache-2.0 */
/* What of a file no flush has covered, by the journal. */
#define _GNU_SOURCE
#include "journal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct sector *sector_at(struct sectors *file, uint64_t number)
{
	if (number >= file->count) {
		uint64_t count = number + 1024;

		file->all = realloc(file->all, count * sizeof(*file->all));
		if (file->all == NULL)
			abort();
		memset(file->all + file->count, 0,
		       (count - file->count) * sizeof(*file->all));
		file->count = count;
	}
	return &file->all[number];
}

static void replay(struct sectors *file, const struct record *r, uint64_t data)
{
	for (uint64_t i = 0; r->op == UNDO && i < r->data_length / SECTOR; i++) {
		struct sector *s = sector_at(file, r->offset / SECTOR + i);

		if (s->writes++ == 0)
			s->old_at = data + i * SECTOR;
	}
	for (uint64_t i = 0; r->op != UNDO && i < file->count; i++) {
		struct sector *s = &file->all[i];

		if (r->op == DOOMED)
			s->doomed = s->writes;
		else if ((r->op == FLUSHED && s->doomed < s->writes) ||
			 (r->op == DROPPED && s->doomed == s->writes))
			*s = (struct sector){ 0 };
	}
}

struct sectors sectors_of(int journal, uint64_t inode)
{
	struct sectors file = { 0 };
	uint64_t at = 0;
	struct record r;

	while (pread(journal, &r, sizeof(r), (off_t)at) == (ssize_t)sizeof(r)) {
		uint64_t data = at + sizeof(r) + r.name_length + r.other_length;

		if (r.inode == inode && (r.op == UNDO || r.op == DOOMED ||
					 r.op == FLUSHED || r.op == DROPPED))
			replay(&file, &r, data);
		at = data + r.data_length;
	}
	return file;
}
