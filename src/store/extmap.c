/* SPDX-License-Identifier: Apache-2.0 */
/* Sorted extents; later ones win over what they cover. */
#include "store/extmap.h"

#include <string.h>

/* Index of the first entry that ends after `offset`. */
static size_t first_ending_after(const struct hvri_xmap *map, uint64_t offset)
{
	size_t low = 0, high = map->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct hvri_xent *entry = &map->at[middle];

		if (entry->offset + entry->length > offset)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

const struct hvri_xent *hvri_xmap_find(const struct hvri_xmap *map,
				       uint64_t offset, uint64_t *next_out)
{
	size_t i = first_ending_after(map, offset);

	if (i == map->count) {
		*next_out = UINT64_MAX;
		return NULL;
	}
	if (map->at[i].offset <= offset)
		return &map->at[i];
	*next_out = map->at[i].offset;
	return NULL;
}

/* One entry where there could be two? */
static bool continues(const struct hvri_xent *a, const struct hvri_xent *b)
{
	if (a->offset + a->length != b->offset || a->position != b->position)
		return false;
	return a->position == 0 || a->raw_offset + a->length == b->raw_offset;
}

static struct hvri_xent tail_of(const struct hvri_xent *entry, uint64_t from)
{
	struct hvri_xent tail = *entry;
	uint64_t cut = from - entry->offset;

	tail.offset = from;
	tail.length -= cut;
	if (tail.position != 0)
		tail.raw_offset += (uint32_t)cut;
	return tail;
}

int32_t hvri_xmap_put(const struct hvri_env *env, struct hvri_xmap *map,
		      const struct hvri_xent *entry)
{
	uint64_t end = entry->offset + entry->length;
	struct hvri_xent pieces[3];
	size_t first, past, count = 0;
	int32_t rc;

	rc = hvri_grow(env, (void **)&map->at, &map->room, map->count + 2,
		       HVRI_XMAP_MAX, sizeof(map->at[0]));
	if (rc < 0)
		return rc;
	if (map->count > 0 && continues(&map->at[map->count - 1], entry)) {
		map->at[map->count - 1].length += entry->length;
		return HVREPL_OK;
	}
	first = past = first_ending_after(map, entry->offset);
	while (past < map->count && map->at[past].offset < end)
		past++;
	if (first < past && map->at[first].offset < entry->offset) {
		pieces[count] = map->at[first];
		pieces[count++].length = entry->offset - map->at[first].offset;
	}
	pieces[count++] = *entry;
	if (first < past) {
		const struct hvri_xent *last = &map->at[past - 1];

		if (last->offset + last->length > end)
			pieces[count++] = tail_of(last, end);
	}
	memmove(&map->at[first + count], &map->at[past],
		(map->count - past) * sizeof(map->at[0]));
	memcpy(&map->at[first], pieces, count * sizeof(pieces[0]));
	map->count = map->count - (past - first) + count;
	return HVREPL_OK;
}

void hvri_xmap_free(const struct hvri_env *env, struct hvri_xmap *map)
{
	hvri_free(env, map->at, map->room * sizeof(map->at[0]));
	memset(map, 0, sizeof(*map));
}
