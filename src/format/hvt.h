/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tracker file, DISK.hvt: header (two slots), coarse map (two copies), fine
 * map.
 *
 *   0      header slot 0, 512 bytes     4096   header slot 1
 *   8192   coarse map: sectors of 512 bytes, a bit for each hot region
 *   then, 64 KiB aligned: the same once more
 *   then, 4 KiB aligned: fine map blocks, only after a clean close
 *
 * The newest valid header counts. Every sector and block has its own digest,
 * so that a torn write is seen: a torn coarse sector means "all hot" (T7). A
 * write that was lost leaves a sound sector of before; that is what the second
 * copy is for.
 * Pure: bytes <-> structs. docs/formats.md has every byte.
 */
#ifndef HVRI_FORMAT_HVT_H
#define HVRI_FORMAT_HVT_H

#include "base/cursor.h"
#include "base/env.h"

#include <hvrepl/disk.h>

#define HVRI_HVT_HEADER_SIZE 512u
#define HVRI_HVT_SLOT_STRIDE 4096u
#define HVRI_HVT_COARSE_OFFSET 8192u
#define HVRI_HVT_COPIES 2u     /* Of the coarse map. */
#define HVRI_HVT_APART 65536u /* The second one starts at a multiple of it. */
#define HVRI_HVT_SECTOR_SIZE 512u
#define HVRI_HVT_SECTOR_BYTES 480u /* Of bits. */
#define HVRI_HVT_SECTOR_REGIONS (HVRI_HVT_SECTOR_BYTES * 8u)
#define HVRI_HVT_FINE_BLOCK 4096u
#define HVRI_HVT_FINE_BITS 4096u /* Blocks described by one bits entry. */

#define HVRI_HVT_OPEN (1u << 0) /* A tracker is attached, or was killed. */
#define HVRI_HVT_FINE (1u << 1) /* The fine map is valid. */

struct hvri_hvt_header {
	uint32_t flags; /* HVRI_HVT_* */
	uint64_t sequence;
	struct hvrepl_uuid file; /* Random, part of every digest. */
	struct hvrepl_uuid vm, disk;
	uint64_t disk_size;
	uint32_t block_size, region_size;
	uint64_t fine_blocks;
	struct hvrepl_uuid owner;
	uint64_t incarnation;
	struct hvrepl_uuid epoch; /* Stamp (O1). */
	uint64_t generation;
	struct hvrepl_uuid record;
	struct hvrepl_uuid ack_epoch; /* Newest acknowledgement (T7 b). */
	uint64_t ack_point;
	struct hvrepl_uuid ack_cut;
	uint64_t saved_utc_ns; /* When the token was taken. */
	uint32_t token_length;
	uint8_t token[HVREPL_TOKEN_MAX];
	/* Follow from the sizes; set by hvri_hvt_plan() and decode. */
	uint64_t blocks, regions;
	uint32_t sectors;       /* Of each copy of the coarse map. */
	uint64_t second_offset; /* Of its second copy. */
	uint64_t fine_offset;
};

/* Work out the derived members; INVALID when sizes are out of range. */
HVRI_MUST_CHECK int32_t hvri_hvt_plan(struct hvri_hvt_header *header);
void hvri_hvt_header_encode(const struct hvri_hvt_header *header,
			    uint8_t out[HVRI_HVT_HEADER_SIZE]);
/* CORRUPT, FORMAT_TOO_NEW. */
HVRI_MUST_CHECK int32_t
hvri_hvt_header_decode(const uint8_t bytes[HVRI_HVT_HEADER_SIZE],
		       struct hvri_hvt_header *header_out);
/* The newer valid one of both slots. `damaged_out`: one is not valid, and may
 * have said "open": what is returned says so, and has no fine map (T8). Of two
 * that are of different files one is not valid: its write landed here; if one is
 * of `disk` (optional), the other one. NOT_FOUND when both are all zeroes (never
 * finished). */
HVRI_MUST_CHECK int32_t
hvri_hvt_newest(const uint8_t slot0[HVRI_HVT_HEADER_SIZE],
		const uint8_t slot1[HVRI_HVT_HEADER_SIZE],
		const struct hvrepl_uuid *disk,
		struct hvri_hvt_header *header_out, bool *damaged_out);

/* Where coarse sector `index` lies in that copy. */
static inline uint64_t hvri_hvt_sector_at(const struct hvri_hvt_header *header,
					  uint32_t copy, uint32_t index)
{
	return (copy == 0 ? HVRI_HVT_COARSE_OFFSET : header->second_offset) +
	       (uint64_t)index * HVRI_HVT_SECTOR_SIZE;
}

void hvri_hvt_sector_encode(const struct hvri_hvt_header *header, uint32_t copy,
			    uint32_t index,
			    const uint8_t bits[HVRI_HVT_SECTOR_BYTES],
			    uint8_t out[HVRI_HVT_SECTOR_SIZE]);
HVRI_MUST_CHECK int32_t
hvri_hvt_sector_decode(const struct hvri_hvt_header *header, uint32_t copy,
		       uint32_t index,
		       const uint8_t bytes[HVRI_HVT_SECTOR_SIZE],
		       uint8_t bits_out[HVRI_HVT_SECTOR_BYTES]);
/* What both copies of a sector say together (T7): a region is cold only if both
 * are sound and both say so; if either is damaged, all are hot. Returns how
 * many are damaged. `unequal_out`: both are sound, and differ. */
HVRI_MUST_CHECK uint32_t
hvri_hvt_sector_join(const struct hvri_hvt_header *header, uint32_t index,
		     const uint8_t first[HVRI_HVT_SECTOR_SIZE],
		     const uint8_t second[HVRI_HVT_SECTOR_SIZE],
		     uint8_t bits_out[HVRI_HVT_SECTOR_BYTES],
		     bool *unequal_out);

/* Fills fine map blocks. */
struct hvri_hvt_fine {
	const struct hvri_hvt_header *header;
	uint8_t block[HVRI_HVT_FINE_BLOCK];
	struct hvri_writer writer;
	uint32_t entries;
	uint64_t index;
};
/* `header` as it will be written after these blocks: its sequence is part of
 * their digest. Lent until the last block is complete. */
void hvri_hvt_fine_begin(struct hvri_hvt_fine *fine,
			 const struct hvri_hvt_header *header);
/* Room for one more entry of either kind? If not: finish, write, begin. */
bool hvri_hvt_fine_room(const struct hvri_hvt_fine *fine);
void hvri_hvt_fine_run(struct hvri_hvt_fine *fine, uint64_t first,
		       uint64_t count);
/* `first` is a multiple of HVRI_HVT_FINE_BITS; bit i is block first + i. */
void hvri_hvt_fine_bits(struct hvri_hvt_fine *fine, uint64_t first,
			const uint64_t words[HVRI_HVT_FINE_BITS / 64]);
/* Completes fine->block, which lies at fine_offset + index * FINE_BLOCK, and
 * starts the next. */
void hvri_hvt_fine_finish(struct hvri_hvt_fine *fine,
			  uint8_t out[HVRI_HVT_FINE_BLOCK],
			  uint64_t *index_out);

/* Calls found() for every run of dirty blocks of one fine block; CORRUPT, and
 * nothing called, when it is damaged. */
HVRI_MUST_CHECK int32_t
hvri_hvt_fine_decode(const struct hvri_hvt_header *header, uint64_t index,
		     const uint8_t bytes[HVRI_HVT_FINE_BLOCK],
		     void (*found)(void *argument, uint64_t first,
				   uint64_t count),
		     void *argument);
#endif
