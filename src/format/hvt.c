/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of the tracker file. */
#include "format/hvt.h"

#include "base/digest.h"

#include <string.h>

#define VERSION 2u /* 1 had one copy of the coarse map. */
#define DIGEST 16u
#define BODY (HVRI_HVT_HEADER_SIZE - DIGEST)
#define SIZE_MAX_DISK (UINT64_C(1) << 60)
#define FINE_HEAD 32u
#define ENTRY_RUN 1u
#define ENTRY_BITS 2u
#define RUN_SIZE 24u
#define BITS_SIZE (16u + HVRI_HVT_FINE_BITS / 8)

static const uint8_t magic[8] = { 'H', 'V', 'R', 'T', 'R', 'A', 'C', 'K' };

static uint64_t round_up(uint64_t value, uint64_t step)
{
	return (value + step - 1) / step * step;
}

static bool power_of_two(uint32_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

int32_t hvri_hvt_plan(struct hvri_hvt_header *header)
{
	uint64_t size = header->disk_size, length;

	if (!power_of_two(header->block_size) || header->block_size < 512 ||
	    header->block_size > 65536 || !power_of_two(header->region_size) ||
	    header->region_size < (1u << 16) ||
	    header->region_size / header->block_size < 64 || size == 0 ||
	    size > SIZE_MAX_DISK)
		return HVREPL_E_INVALID;
	header->blocks = (size + header->block_size - 1) / header->block_size;
	header->regions =
		(size + header->region_size - 1) / header->region_size;
	if (header->regions > UINT32_MAX)
		return HVREPL_E_INVALID;
	header->sectors =
		(uint32_t)((header->regions + HVRI_HVT_SECTOR_REGIONS - 1) /
			   HVRI_HVT_SECTOR_REGIONS);
	length = (uint64_t)header->sectors * HVRI_HVT_SECTOR_SIZE;
	header->second_offset =
		round_up(HVRI_HVT_COARSE_OFFSET + length, HVRI_HVT_APART);
	header->fine_offset = round_up(header->second_offset + length,
				       HVRI_HVT_FINE_BLOCK);
	return HVREPL_OK;
}

static void digest_of(const struct hvrepl_uuid *file, uint64_t place,
		      const uint8_t *bytes, size_t length, uint8_t out[DIGEST])
{
	uint8_t number[8];
	struct hvri_writer writer = hvri_writer_over(number, sizeof(number));
	struct hvri_part parts[3] = { { file->bytes, sizeof(file->bytes) },
				      { number, sizeof(number) },
				      { bytes, length } };

	hvri_write_u64(&writer, place);
	hvri_xxh3(parts, HVRI_ARRAY_LEN(parts), out);
}

static void header_digest(const uint8_t *bytes, uint8_t out[DIGEST])
{
	struct hvri_part part = { bytes, BODY };

	hvri_xxh3(&part, 1, out);
}

void hvri_hvt_header_encode(const struct hvri_hvt_header *header,
			    uint8_t out[HVRI_HVT_HEADER_SIZE])
{
	struct hvri_writer to = hvri_writer_over(out, BODY);

	hvri_write_bytes(&to, magic, sizeof(magic));
	hvri_write_u32(&to, VERSION);
	hvri_write_u32(&to, header->flags);
	hvri_write_u64(&to, header->sequence);
	hvri_write_uuid(&to, &header->file);
	hvri_write_uuid(&to, &header->vm);
	hvri_write_uuid(&to, &header->disk);
	hvri_write_u64(&to, header->disk_size);
	hvri_write_u32(&to, header->block_size);
	hvri_write_u32(&to, header->region_size);
	hvri_write_u64(&to, HVRI_HVT_COARSE_OFFSET);
	hvri_write_u32(&to, header->sectors);
	hvri_write_u32(&to, 0);
	hvri_write_u64(&to, header->fine_offset);
	hvri_write_u64(&to, header->fine_blocks);
	hvri_write_uuid(&to, &header->owner);
	hvri_write_u64(&to, header->incarnation);
	hvri_write_uuid(&to, &header->epoch);
	hvri_write_u64(&to, header->generation);
	hvri_write_uuid(&to, &header->record);
	hvri_write_uuid(&to, &header->ack_epoch);
	hvri_write_u64(&to, header->ack_point);
	hvri_write_uuid(&to, &header->ack_cut);
	hvri_write_u64(&to, header->saved_utc_ns);
	hvri_write_u32(&to, header->token_length);
	hvri_write_u32(&to, 0);
	hvri_write_bytes(&to, header->token, sizeof(header->token));
	hvri_write_u64(&to, header->second_offset);
	hvri_write_pad(&to, to.left);
	header_digest(out, out + BODY);
}

int32_t hvri_hvt_header_decode(const uint8_t bytes[HVRI_HVT_HEADER_SIZE],
			       struct hvri_hvt_header *header_out)
{
	struct hvri_reader from = hvri_reader_over(bytes, BODY);
	struct hvri_hvt_header header = { 0 };
	uint8_t found[sizeof(magic)], digest[DIGEST];
	uint64_t coarse, second, fine, reserved;
	uint32_t version, sectors;

	header_digest(bytes, digest);
	hvri_read_bytes(&from, found, sizeof(found));
	version = hvri_read_u32(&from);
	if (memcmp(found, magic, sizeof(magic)) != 0 ||
	    memcmp(digest, bytes + BODY, DIGEST) != 0 ||
	    version < VERSION)
		return HVREPL_E_CORRUPT;
	if (version > VERSION)
		return HVREPL_E_FORMAT_TOO_NEW;
	header.flags = hvri_read_u32(&from);
	header.sequence = hvri_read_u64(&from);
	hvri_read_uuid(&from, &header.file);
	hvri_read_uuid(&from, &header.vm);
	hvri_read_uuid(&from, &header.disk);
	header.disk_size = hvri_read_u64(&from);
	header.block_size = hvri_read_u32(&from);
	header.region_size = hvri_read_u32(&from);
	coarse = hvri_read_u64(&from);
	sectors = hvri_read_u32(&from);
	reserved = hvri_read_u32(&from);
	fine = hvri_read_u64(&from);
	header.fine_blocks = hvri_read_u64(&from);
	hvri_read_uuid(&from, &header.owner);
	header.incarnation = hvri_read_u64(&from);
	hvri_read_uuid(&from, &header.epoch);
	header.generation = hvri_read_u64(&from);
	hvri_read_uuid(&from, &header.record);
	hvri_read_uuid(&from, &header.ack_epoch);
	header.ack_point = hvri_read_u64(&from);
	hvri_read_uuid(&from, &header.ack_cut);
	header.saved_utc_ns = hvri_read_u64(&from);
	header.token_length = hvri_read_u32(&from);
	reserved |= hvri_read_u32(&from);
	hvri_read_bytes(&from, header.token, sizeof(header.token));
	second = hvri_read_u64(&from);
	hvri_read_pad(&from, from.left, true);
	HVRI_TRY(hvri_reader_end(&from, HVREPL_E_CORRUPT));
	if (hvri_hvt_plan(&header) < 0 || reserved != 0 ||
	    (header.flags & ~(HVRI_HVT_OPEN | HVRI_HVT_FINE)) != 0 ||
	    coarse != HVRI_HVT_COARSE_OFFSET || sectors != header.sectors ||
	    second != header.second_offset || fine != header.fine_offset ||
	    header.token_length > HVREPL_TOKEN_MAX ||
	    /* Each block describes at least one leaf or run between leaves. */
	    header.fine_blocks > header.blocks / HVRI_HVT_FINE_BITS * 2 + 2)
		return HVREPL_E_CORRUPT;
	*header_out = header;
	return HVREPL_OK;
}

static bool all_zero(const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

int32_t hvri_hvt_newest(const uint8_t slot0[HVRI_HVT_HEADER_SIZE],
			const uint8_t slot1[HVRI_HVT_HEADER_SIZE],
			const struct hvrepl_uuid *disk,
			struct hvri_hvt_header *header_out, bool *damaged_out)
{
	struct hvri_hvt_header header[2] = { { 0 }, { 0 } };
	int32_t rc[2];
	int newer;

	rc[0] = hvri_hvt_header_decode(slot0, &header[0]);
	rc[1] = hvri_hvt_header_decode(slot1, &header[1]);
	/* A newer version in either slot: that program wrote last. */
	if (rc[0] == HVREPL_E_FORMAT_TOO_NEW || rc[1] == HVREPL_E_FORMAT_TOO_NEW)
		return HVREPL_E_FORMAT_TOO_NEW;
	if (rc[0] < 0 && rc[1] < 0)
		return all_zero(slot0, HVRI_HVT_HEADER_SIZE) &&
				       all_zero(slot1, HVRI_HVT_HEADER_SIZE) ?
			       HVREPL_E_NOT_FOUND :
			       HVREPL_E_CORRUPT;
	for (int i = 0; i < 2 && disk != NULL; i++)
		if (rc[0] == HVREPL_OK && rc[1] == HVREPL_OK &&
		    !hvri_uuid_equal(&header[i].disk, disk) &&
		    hvri_uuid_equal(&header[1 - i].disk, disk))
			rc[i] = HVREPL_E_CORRUPT;
	newer = rc[0] < 0 ? 1 : rc[1] < 0 ? 0 :
		header[1].sequence > header[0].sequence;
	*header_out = header[newer];
	*damaged_out = rc[0] < 0 || rc[1] < 0 ||
		       !hvri_uuid_equal(&header[0].file, &header[1].file);
	/* The other one may have said "open" (T8). */
	if (*damaged_out) {
		header_out->flags = HVRI_HVT_OPEN;
		header_out->fine_blocks = 0;
	}
	return HVREPL_OK;
}

static uint64_t sector_place(uint32_t copy, uint32_t index)
{
	return (uint64_t)copy << 32 | index;
}

void hvri_hvt_sector_encode(const struct hvri_hvt_header *header, uint32_t copy,
			    uint32_t index,
			    const uint8_t bits[HVRI_HVT_SECTOR_BYTES],
			    uint8_t out[HVRI_HVT_SECTOR_SIZE])
{
	struct hvri_writer to = hvri_writer_over(out + DIGEST,
						 HVRI_HVT_SECTOR_SIZE - DIGEST);

	hvri_write_u32(&to, index);
	hvri_write_u32(&to, copy);
	hvri_write_pad(&to, 8);
	hvri_write_bytes(&to, bits, HVRI_HVT_SECTOR_BYTES);
	digest_of(&header->file, sector_place(copy, index), out + DIGEST,
		  HVRI_HVT_SECTOR_SIZE - DIGEST, out);
}

int32_t hvri_hvt_sector_decode(const struct hvri_hvt_header *header,
			       uint32_t copy, uint32_t index,
			       const uint8_t bytes[HVRI_HVT_SECTOR_SIZE],
			       uint8_t bits_out[HVRI_HVT_SECTOR_BYTES])
{
	uint8_t digest[DIGEST];

	digest_of(&header->file, sector_place(copy, index), bytes + DIGEST,
		  HVRI_HVT_SECTOR_SIZE - DIGEST, digest);
	if (memcmp(digest, bytes, DIGEST) != 0)
		return HVREPL_E_CORRUPT;
	memcpy(bits_out, bytes + HVRI_HVT_SECTOR_SIZE - HVRI_HVT_SECTOR_BYTES,
	       HVRI_HVT_SECTOR_BYTES);
	return HVREPL_OK;
}

uint32_t hvri_hvt_sector_join(const struct hvri_hvt_header *header,
			      uint32_t index,
			      const uint8_t first[HVRI_HVT_SECTOR_SIZE],
			      const uint8_t second[HVRI_HVT_SECTOR_SIZE],
			      uint8_t bits_out[HVRI_HVT_SECTOR_BYTES],
			      bool *unequal_out)
{
	uint8_t other[HVRI_HVT_SECTOR_BYTES];
	uint32_t damaged = 0;

	damaged += hvri_hvt_sector_decode(header, 0, index, first, bits_out) < 0;
	damaged += hvri_hvt_sector_decode(header, 1, index, second, other) < 0;
	*unequal_out = damaged == 0 && memcmp(bits_out, other,
					      sizeof(other)) != 0;
	if (damaged > 0) {
		memset(bits_out, 0xff, HVRI_HVT_SECTOR_BYTES);
		return damaged;
	}
	for (size_t i = 0; i < sizeof(other); i++)
		bits_out[i] |= other[i];
	return 0;
}

static void fine_start(struct hvri_hvt_fine *fine)
{
	memset(fine->block, 0, sizeof(fine->block));
	fine->writer = hvri_writer_over(fine->block + FINE_HEAD,
					sizeof(fine->block) - FINE_HEAD);
	fine->entries = 0;
}

void hvri_hvt_fine_begin(struct hvri_hvt_fine *fine,
			 const struct hvri_hvt_header *header)
{
	fine->header = header;
	fine->index = 0;
	fine_start(fine);
}

bool hvri_hvt_fine_room(const struct hvri_hvt_fine *fine)
{
	return fine->writer.left >= BITS_SIZE;
}

void hvri_hvt_fine_run(struct hvri_hvt_fine *fine, uint64_t first,
		       uint64_t count)
{
	hvri_write_u32(&fine->writer, ENTRY_RUN);
	hvri_write_u32(&fine->writer, 0);
	hvri_write_u64(&fine->writer, first);
	hvri_write_u64(&fine->writer, count);
	fine->entries++;
}

void hvri_hvt_fine_bits(struct hvri_hvt_fine *fine, uint64_t first,
			const uint64_t words[HVRI_HVT_FINE_BITS / 64])
{
	hvri_write_u32(&fine->writer, ENTRY_BITS);
	hvri_write_u32(&fine->writer, 0);
	hvri_write_u64(&fine->writer, first);
	for (size_t i = 0; i < HVRI_HVT_FINE_BITS / 64; i++)
		hvri_write_u64(&fine->writer, words[i]);
	fine->entries++;
}

/* The sequence of the header that closed it is in the digest: blocks of an
 * earlier close are no blocks of this one, not even where that close failed and
 * the same incarnation closes again. */
static void fine_digest(const struct hvri_hvt_header *header,
			const uint8_t *block, uint8_t out[DIGEST])
{
	digest_of(&header->file, header->sequence, block + DIGEST,
		  HVRI_HVT_FINE_BLOCK - DIGEST, out);
}

void hvri_hvt_fine_finish(struct hvri_hvt_fine *fine,
			  uint8_t out[HVRI_HVT_FINE_BLOCK],
			  uint64_t *index_out)
{
	struct hvri_writer head = hvri_writer_over(fine->block + DIGEST,
						   FINE_HEAD - DIGEST);

	hvri_write_u64(&head, fine->index);
	hvri_write_u32(&head, fine->entries);
	hvri_write_u32(&head, 0);
	fine_digest(fine->header, fine->block, fine->block);
	memcpy(out, fine->block, sizeof(fine->block));
	*index_out = fine->index++;
	fine_start(fine);
}

static void bits_found(struct hvri_reader *from, uint64_t first,
		       void (*found)(void *argument, uint64_t first,
				     uint64_t count),
		       void *argument)
{
	uint64_t start = 0, length = 0;

	for (uint64_t i = 0; i < HVRI_HVT_FINE_BITS / 64; i++) {
		uint64_t word = hvri_read_u64(from);

		for (uint64_t bit = 0; bit < 64; bit++) {
			bool set = (word >> bit & 1) != 0;

			if (set && length++ == 0)
				start = first + i * 64 + bit;
			if (!set && length != 0) {
				if (found != NULL)
					found(argument, start, length);
				length = 0;
			}
		}
	}
	if (length != 0 && found != NULL)
		found(argument, start, length);
}

static bool fine_walk(const struct hvri_hvt_header *header,
		      const uint8_t *bytes, uint64_t index,
		      void (*found)(void *argument, uint64_t first,
				    uint64_t count),
		      void *argument)
{
	struct hvri_reader from = hvri_reader_over(
		bytes + DIGEST, HVRI_HVT_FINE_BLOCK - DIGEST);
	uint64_t number = hvri_read_u64(&from);
	uint32_t entries = hvri_read_u32(&from);

	if (number != index || hvri_read_u32(&from) != 0)
		return false;
	for (uint32_t i = 0; i < entries && !from.bad; i++) {
		uint32_t kind = hvri_read_u32(&from);
		uint32_t reserved = hvri_read_u32(&from);
		uint64_t first = hvri_read_u64(&from);

		if (reserved != 0 || first >= header->blocks)
			return false;
		if (kind == ENTRY_RUN) {
			uint64_t count = hvri_read_u64(&from);

			if (count == 0 || count > header->blocks - first)
				return false;
			if (found != NULL)
				found(argument, first, count);
		} else if (kind == ENTRY_BITS &&
			   first % HVRI_HVT_FINE_BITS == 0) {
			bits_found(&from, first, found, argument);
		} else {
			return false;
		}
	}
	hvri_read_pad(&from, from.left, true);
	return !from.bad;
}

int32_t hvri_hvt_fine_decode(const struct hvri_hvt_header *header,
			     uint64_t index,
			     const uint8_t bytes[HVRI_HVT_FINE_BLOCK],
			     void (*found)(void *argument, uint64_t first,
					   uint64_t count),
			     void *argument)
{
	uint8_t digest[DIGEST];

	fine_digest(header, bytes, digest);
	if (memcmp(digest, bytes, DIGEST) != 0 ||
	    !fine_walk(header, bytes, index, NULL, NULL))
		return HVREPL_E_CORRUPT;
	(void)fine_walk(header, bytes, index, found, argument);
	return HVREPL_OK;
}
