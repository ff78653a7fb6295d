/* SPDX-License-Identifier: Apache-2.0 */
/* Bits that rot on the volume of a store; see storerot.h. */
#include "storerot.h"

#include "store/internal.h"

#include <stdio.h>

unsigned store_rot_newest(struct hvrepl_store *store,
			  struct sim_storage *storage)
{
	const struct hvri_slog *slog =
		store->redo[store->state.redo_count - 1];
	unsigned flipped = 0;
	char id[64];

	snprintf(id, sizeof(id), HVRI_CONTAINER_PREFIX "%016llx",
		 (unsigned long long)slog->container->id);
	for (unsigned d = 0; d < slog->disk_count; d++) {
		const struct hvri_xmap *map = &slog->disks[d].map;
		uint64_t last = 0, size;

		for (size_t i = 0; i < map->count; i++) {
			const struct hvri_xent *entry = &map->at[i];

			if (entry->position == 0 || entry->position == last)
				continue;
			last = entry->position;
			sim_object_bytes(storage, id,
					 &size)[last + entry->chunk_length -
						9] ^= 0x10;
			flipped++;
		}
	}
	return flipped;
}
