/* SPDX-License-Identifier: Apache-2.0 */
/* Records of a store's objects, found, changed and signed; see storeforge.h. */
#include "storeforge.h"

#include "base/digest.h"
#include "format/manifest.h"
#include "format/segment.h"
#include "store/container.h"
#include "store/journal.h"
#include "store/overlay.h"
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OBJECTS_MAX 64u
#define RECORDS_MAX 256u
#define MAP_SIGNED 48u
#define MAP_HEADER 64u

struct forged {
	uint8_t *bytes;
	uint64_t size;
	uint64_t container; /* Its id, where it is one. */
	uint64_t at[RECORDS_MAX];
	unsigned count;
	void (*sign)(const struct forged *forged, unsigned record);
};

static uint32_t get_u32(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 |
	       (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void put_u64(uint8_t *bytes, uint64_t value)
{
	for (unsigned i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
}

static void note(struct forged *forged, uint64_t at)
{
	if (forged->count < RECORDS_MAX)
		forged->at[forged->count++] = at;
}

static void sha256(const void *a, size_t a_length, const void *b,
		   size_t b_length, uint8_t *out)
{
	struct hvri_sha256 sha;

	ck_assert(hvri_sha256_begin(&sha) == HVREPL_OK &&
		  hvri_sha256_add(&sha, a, a_length) == HVREPL_OK &&
		  hvri_sha256_add(&sha, b, b_length) == HVREPL_OK &&
		  hvri_sha256_end(&sha, out) == HVREPL_OK);
	hvri_sha256_free(&sha);
}

/* ---- the head ---- */

static void sign_head(const struct forged *forged, unsigned record)
{
	uint8_t *at = forged->bytes + forged->at[record];

	sha256(at, HVRI_HEAD_SIZE - 32, NULL, 0, at + HVRI_HEAD_SIZE - 32);
}

static void find_head(struct forged *forged)
{
	forged->sign = sign_head;
	for (unsigned slot = 0; slot < 2; slot++)
		if (slot * HVRI_HEAD_SLOT_STEP + HVRI_HEAD_SIZE <= forged->size)
			note(forged, slot * HVRI_HEAD_SLOT_STEP);
}

/* ---- a log of manifest records ---- */

static void sign_record(const struct forged *forged, unsigned record)
{
	uint8_t *at = forged->bytes + forged->at[record];
	uint32_t length = get_u32(at + 8);

	if (length <= forged->size - forged->at[record] - HVRI_RECORD_HEADER)
		sha256(at, 64, at + HVRI_RECORD_HEADER, length, at + 64);
}

static void find_records(struct forged *forged)
{
	uint64_t at = 0;

	forged->sign = sign_record;
	while (at + HVRI_RECORD_HEADER <= forged->size) {
		struct hvri_record_header header;

		if (hvri_record_header_decode(forged->bytes + at, &header) < 0)
			break;
		note(forged, at);
		at += hvri_record_span(header.length);
	}
}

/* ---- a container ---- */

/* The header of the segment that the chunk at `record` belongs to. */
static bool segment_of(const struct forged *forged, unsigned record,
		       struct hvri_segment_header *header)
{
	const uint8_t *chunk = forged->bytes + forged->at[record];

	while (record-- > 0) {
		const uint8_t *at = forged->bytes + forged->at[record];

		if (at[4] == HVRI_FRAME_SEGMENT && at[6] == chunk[6])
			return hvri_segment_header_decode(at + HVRI_FRAME_SIZE,
							  header) == HVREPL_OK;
	}
	return false;
}

static void sign_chunk(const struct forged *forged, unsigned record,
		       uint8_t *chunk, uint32_t length)
{
	struct hvri_segment_header header;
	uint8_t identity[HVRI_IDENTITY_SIZE];
	struct hvri_part parts[3] = { { identity, sizeof(identity) },
				      { chunk, 40 },
				      { chunk + 56, length - 56 } };

	if (length < HVRI_CHUNK_HEADER_SIZE ||
	    !segment_of(forged, record, &header))
		return;
	hvri_segment_identity_encode(&header.identity, identity);
	hvri_xxh3(parts, 3, chunk + 40);
}

static void sign_frame(const struct forged *forged, unsigned record)
{
	uint8_t *at = forged->bytes + forged->at[record], place[16];
	uint32_t length = get_u32(at + 8);
	bool small = at[4] != HVRI_FRAME_CHUNK && at[4] != HVRI_FRAME_INDEX;
	struct hvri_part parts[3] = { { place, sizeof(place) },
				      { at, 16 },
				      { at + HVRI_FRAME_SIZE, length } };

	if (length > forged->size - forged->at[record] - HVRI_FRAME_SIZE)
		return;
	if (at[4] == HVRI_FRAME_SEGMENT && length >= 16) {
		struct hvri_part body = { at + HVRI_FRAME_SIZE, length - 16 };

		hvri_xxh3(&body, 1, at + HVRI_FRAME_SIZE + length - 16);
	}
	if (at[4] == HVRI_FRAME_CHUNK)
		sign_chunk(forged, record, at + HVRI_FRAME_SIZE, length);
	put_u64(place, forged->container);
	put_u64(place + 8, forged->at[record]);
	hvri_xxh3(parts, small && length > 0 ? 3 : 2, at + 16);
}

static void find_frames(struct forged *forged)
{
	uint64_t at = HVRI_CONTAINER_PAGE;

	forged->sign = sign_frame;
	while (at + HVRI_FRAME_SIZE <= forged->size) {
		if (memcmp(forged->bytes + at, "HVRF", 4) == 0) {
			note(forged, at);
			at += HVRI_FRAME_SIZE + get_u32(forged->bytes + at + 8);
		} else {
			at = (at / HVRI_CONTAINER_PAGE + 1) * HVRI_CONTAINER_PAGE;
		}
	}
}

/* ---- the map of an overlay ---- */

static void sign_map(const struct forged *forged, unsigned record)
{
	uint8_t *at = forged->bytes + forged->at[record];
	uint64_t length = get_u32(at + 4) * UINT64_C(16);
	struct hvri_part parts[2] = { { at, MAP_SIGNED },
				      { at + MAP_HEADER, (size_t)length } };

	if (length <= forged->size - forged->at[record] - MAP_HEADER)
		hvri_xxh3(parts, length > 0 ? 2 : 1, at + MAP_SIGNED);
}

static void find_map(struct forged *forged)
{
	forged->sign = sign_map;
	for (uint64_t at = 0; at + MAP_HEADER <= forged->size; at += 512)
		if (memcmp(forged->bytes + at, "HVRO", 4) == 0)
			note(forged, at);
}

/* ---- any ---- */

struct names {
	char ids[OBJECTS_MAX][HVREPL_OBJECT_ID_MAX + 1];
	unsigned count;
};

static int32_t note_name(void *argument, const char *id, uint64_t size)
{
	struct names *names = argument;

	(void)size;
	ck_assert_uint_lt(names->count, OBJECTS_MAX);
	memcpy(names->ids[names->count++], id, strlen(id) + 1);
	return HVREPL_OK;
}

static bool begins(const char *id, const char *prefix)
{
	return strncmp(id, prefix, strlen(prefix)) == 0;
}

static void find(struct forged *forged, const char *id)
{
	if (strcmp(id, HVRI_HEAD_ID) == 0)
		find_head(forged);
	else if (begins(id, HVRI_LOG_PREFIX))
		find_records(forged);
	else if (begins(id, HVRI_OVERLAY_MAP_PREFIX))
		find_map(forged);
	else if (begins(id, HVRI_CONTAINER_PREFIX))
		find_frames(forged);
}

/* Another value of a byte: mostly one that a field may well have. */
static uint8_t other(uint8_t value, uint64_t draw)
{
	switch (draw % 5) {
	case 0:
		return (uint8_t)(value + 1);
	case 1:
		return (uint8_t)(value - 1);
	case 2:
		return value == 0 ? 0xff : 0;
	default:
		return value ^ (uint8_t)(1u << (draw / 5 % 8));
	}
}

const char *store_forge(struct sim_storage *storage, uint64_t *random)
{
	static struct names names;
	static char said[160];
	struct hvrepl_storage handle = sim_storage_handle(storage);
	struct forged forged;
	uint64_t at, reach;
	const char *id;
	unsigned record;

	names.count = 0;
	ck_assert_int_eq(handle.ops->list(handle.user, "", note_name, &names),
			 HVREPL_OK);
	do {
		memset(&forged, 0, sizeof(forged));
		id = names.ids[test_random(random) % names.count];
		forged.bytes = sim_object_bytes(storage, id, &forged.size);
		if (begins(id, HVRI_CONTAINER_PREFIX))
			forged.container = strtoull(
				id + strlen(HVRI_CONTAINER_PREFIX), NULL, 16);
		find(&forged, id);
	} while (forged.count == 0);
	record = (unsigned)(test_random(random) % forged.count);
	at = forged.at[record];
	/* Its fixed part, mostly. */
	reach = test_random(random) % 4 == 0 ? 320 : 64;
	at += test_random(random) % HVRI_MIN(reach, forged.size - at);
	if (test_random(random) % 16 == 0 && forged.sign == sign_frame)
		at = forged.at[record] + HVRI_FRAME_SIZE + 8 +
		     test_random(random) % 4;
	if (at >= forged.size)
		at = forged.at[record];
	forged.bytes[at] = other(forged.bytes[at], test_random(random));
	forged.sign(&forged, record);
	/* The manifest's records are a chain. */
	if (forged.sign == sign_record && test_random(random) % 8 != 0)
		for (unsigned i = record + 1; i < forged.count; i++) {
			memcpy(forged.bytes + forged.at[i] + 32,
			       forged.bytes + forged.at[i - 1] + 64, 32);
			forged.sign(&forged, i);
		}
	(void)snprintf(said, sizeof(said), "%s at %llu + %llu", id,
		       (unsigned long long)forged.at[record],
		       (unsigned long long)(at - forged.at[record]));
	return said;
}
