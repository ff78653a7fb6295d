/* SPDX-License-Identifier: Apache-2.0 */
/* Describing tracker files: who has it open, what is hot, what is dirty. */
#include "format/hvt.h"
#include "transfer/inspect.h"

#include <string.h>

/* Sectors, or fine blocks, read at once. */
#define BUFFER (64u << 10)

struct tally {
	struct hvri_walk *walk;
	const struct hvri_hvt_header *header;
	bool details;
	uint64_t hot, damaged_sectors, unequal_sectors;
	uint64_t dirty, damaged_fine;
};

static void give_header(struct hvri_walk *walk,
			const struct hvri_hvt_header *header, bool damaged)
{
	hvri_walk_number(walk, "version", 2);
	hvri_walk_uuid(walk, "vm", &header->vm);
	hvri_walk_uuid(walk, "disk", &header->disk);
	hvri_walk_uuid(walk, "file", &header->file);
	hvri_walk_bool(walk, "open", (header->flags & HVRI_HVT_OPEN) != 0);
	hvri_walk_bool(walk, "fine_map", (header->flags & HVRI_HVT_FINE) != 0);
	/* Normal after a crash: the other one counts, and the file as open. */
	hvri_walk_bool(walk, "slot_torn", damaged);
	hvri_walk_number(walk, "sequence", header->sequence);
	hvri_walk_number(walk, "disk_size", header->disk_size);
	hvri_walk_number(walk, "block_size", header->block_size);
	hvri_walk_number(walk, "region_size", header->region_size);
	hvri_walk_uuid(walk, "owner", &header->owner);
	hvri_walk_number(walk, "incarnation", header->incarnation);
	hvri_walk_uuid(walk, "epoch", &header->epoch);
	hvri_walk_number(walk, "generation", header->generation);
	hvri_walk_uuid(walk, "record", &header->record);
	hvri_walk_uuid(walk, "acknowledged_epoch", &header->ack_epoch);
	hvri_walk_number(walk, "acknowledged_point", header->ack_point);
	hvri_walk_uuid(walk, "acknowledged_cut", &header->ack_cut);
	hvri_walk_number(walk, "saved_utc_ns", header->saved_utc_ns);
	hvri_walk_bytes(walk, "token", header->token, header->token_length);
}

static void count_hot(struct tally *tally, uint32_t sector,
		      const uint8_t bits[HVRI_HVT_SECTOR_BYTES])
{
	const struct hvri_hvt_header *header = tally->header;
	uint64_t region = (uint64_t)sector * HVRI_HVT_SECTOR_REGIONS;

	for (uint32_t i = 0; i < HVRI_HVT_SECTOR_REGIONS &&
			     region + i < header->regions; i++) {
		uint64_t offset = (region + i) * header->region_size;

		if ((bits[i / 8] >> (i % 8) & 1) == 0)
			continue;
		tally->hot++;
		if (tally->details)
			hvri_walk_extent(tally->walk, offset,
					 HVRI_MIN(header->region_size,
						  header->disk_size - offset));
	}
}

static int32_t walk_coarse(struct tally *tally, uint8_t *buffer)
{
	const struct hvri_hvt_header *header = tally->header;
	uint8_t bits[HVRI_HVT_SECTOR_BYTES];
	uint32_t batch = BUFFER / HVRI_HVT_COPIES / HVRI_HVT_SECTOR_SIZE;
	uint8_t *second = buffer + BUFFER / HVRI_HVT_COPIES;

	if (tally->details)
		hvri_walk_begin(tally->walk, "hot", HVREPL_NODE_LIST);
	for (uint32_t at = 0; at < header->sectors; at += batch) {
		uint32_t count = HVRI_MIN(batch, header->sectors - at);
		size_t length = (size_t)count * HVRI_HVT_SECTOR_SIZE;

		HVRI_TRY(hvri_walk_read(tally->walk,
					hvri_hvt_sector_at(header, 0, at),
					buffer, length));
		HVRI_TRY(hvri_walk_read(tally->walk,
					hvri_hvt_sector_at(header, 1, at),
					second, length));
		for (uint32_t i = 0; i < count; i++) {
			size_t place = (size_t)i * HVRI_HVT_SECTOR_SIZE;
			bool unequal;

			tally->damaged_sectors +=
				hvri_hvt_sector_join(header, at + i,
						     buffer + place,
						     second + place, bits,
						     &unequal) > 0;
			tally->unequal_sectors += unequal;
			count_hot(tally, at + i, bits);
		}
	}
	if (tally->details)
		hvri_walk_end(tally->walk);
	return HVREPL_OK;
}

static void count_dirty(void *argument, uint64_t first, uint64_t count)
{
	struct tally *tally = argument;
	const struct hvri_hvt_header *header = tally->header;
	uint64_t offset = first * header->block_size;

	tally->dirty += count;
	/* Bits of the last entry may reach behind the end. */
	if (tally->details && offset < header->disk_size)
		hvri_walk_extent(tally->walk, offset,
				 HVRI_MIN(count * header->block_size,
					  header->disk_size - offset));
}

static int32_t walk_fine(struct tally *tally, uint8_t *buffer)
{
	const struct hvri_hvt_header *header = tally->header;

	if (tally->details)
		hvri_walk_begin(tally->walk, "dirty", HVREPL_NODE_LIST);
	for (uint64_t i = 0; i < header->fine_blocks; i++) {
		HVRI_TRY(hvri_walk_read(
			tally->walk,
			header->fine_offset + i * HVRI_HVT_FINE_BLOCK, buffer,
			HVRI_HVT_FINE_BLOCK));
		if (hvri_hvt_fine_decode(header, i, buffer, count_dirty,
					 tally) < 0)
			tally->damaged_fine++;
	}
	if (tally->details)
		hvri_walk_end(tally->walk);
	return HVREPL_OK;
}

static int32_t walk_maps(struct hvri_walk *walk,
			 const struct hvri_hvt_header *header, uint8_t *buffer,
			 struct hvrepl_error *error)
{
	struct tally tally = {
		.walk = walk,
		.header = header,
		.details = (walk->flags & HVREPL_INSPECT_DETAILS) != 0,
	};

	HVRI_TRY(walk_coarse(&tally, buffer));
	hvri_walk_number(walk, "hot_regions", tally.hot);
	/* Normal after a crash: what either copy says counts. */
	hvri_walk_number(walk, "unequal_sectors", tally.unequal_sectors);
	if ((header->flags & HVRI_HVT_FINE) != 0) {
		HVRI_TRY(walk_fine(&tally, buffer));
		hvri_walk_number(walk, "dirty_blocks", tally.dirty);
	}
	if (tally.damaged_sectors + tally.damaged_fine > 0)
		return hvri_fail(error, HVREPL_E_CORRUPT,
				 "%llu sectors of the coarse map and %llu "
				 "blocks of the fine map are damaged: what they "
				 "describe counts as changed",
				 (unsigned long long)tally.damaged_sectors,
				 (unsigned long long)tally.damaged_fine);
	return HVREPL_OK;
}

int32_t hvri_inspect_tracker(struct hvri_walk *walk,
			     struct hvrepl_error *error)
{
	uint8_t slots[2][HVRI_HVT_HEADER_SIZE];
	struct hvri_hvt_header header;
	uint8_t *buffer;
	bool damaged;
	int32_t rc;

	for (unsigned i = 0; i < 2; i++)
		HVRI_TRY(hvri_walk_read(walk, i * HVRI_HVT_SLOT_STRIDE,
					slots[i], sizeof(slots[i])));
	rc = hvri_hvt_newest(slots[0], slots[1], NULL, &header, &damaged);
	if (rc == HVREPL_E_NOT_FOUND)
		return HVREPL_E_CORRUPT;
	HVRI_TRY(rc);
	give_header(walk, &header, damaged);
	buffer = hvri_alloc(walk->env, BUFFER);
	if (buffer == NULL)
		return HVREPL_E_NOMEM;
	rc = walk_maps(walk, &header, buffer, error);
	hvri_free(walk->env, buffer, BUFFER);
	return rc;
}
