/* SPDX-License-Identifier: Apache-2.0 */
/* Windows of initial replication cost what they hold, not what they span. */
#include "driver/window.h"

/* A disk in so many pieces gets shorter windows instead of a long look. */
#define PIECES_MAX 4096u

static bool before(struct hvri_frontier a, struct hvri_frontier b)
{
	return a.disk < b.disk || (a.disk == b.disk && a.offset < b.offset);
}

/* Addresses from `from` to `end`. */
static uint64_t span(const struct hvri_disk *const *disks, uint32_t count,
		     struct hvri_frontier from, struct hvri_frontier end)
{
	uint64_t bytes = 0;

	for (uint32_t i = from.disk; i < count && i <= end.disk; i++) {
		uint64_t first = i == from.disk ? from.offset : 0;
		uint64_t last = i == end.disk ? end.offset :
						disks[i]->info.size;

		bytes += last > first ? last - first : 0;
	}
	return bytes;
}

struct hvri_frontier hvri_window_over_holes(const struct hvri_disk *const *disks,
					    uint32_t count, uint64_t block,
					    struct hvri_frontier from,
					    struct hvri_frontier end)
{
	struct hvri_frontier at = from;
	uint64_t room = span(disks, count, from, end);

	for (uint32_t pieces = 0; at.disk < count && room > 0; pieces++) {
		uint64_t size = disks[at.disk]->info.size, taken;
		struct hvrepl_extent found;

		if (pieces == PIECES_MAX)
			break;
		hvri_disk_next_allocated(disks[at.disk], at.offset, size,
					 &found);
		taken = HVRI_MIN(found.length, room);
		at.offset = found.offset + taken;
		room -= taken;
		if (found.length == 0 || at.offset >= size) {
			at.disk++;
			at.offset = 0;
		}
	}
	at.offset -= at.offset % block;
	return before(at, end) ? end : at;
}
