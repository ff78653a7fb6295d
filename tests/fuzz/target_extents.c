/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extents: what keeps and reads ranges, each beside the most naive model of
 * itself: the sparse bitmap, the store's extent map, the set of blocks, the
 * extents of a chunk.
 */
#include "fuzz.h"

#include "base/bitmap.h"
#include "format/chunk.h"
#include "store/extmap.h"
#include "testing.h"
#include "transfer/blockset.h"

#include <string.h>

static struct test_env test;
static struct hvri_env env;

static void begin(void)
{
	test_env_init(&test, 1);
	fuzz_must(hvri_env_copy(&env, &test.env, NULL) == HVREPL_OK, "no env");
}

/* ---- The bitmap: two windows, one across the end of a mid. ---- */

#define WINDOW 8192u
#define HIGH ((1u << HVRI_MID_SHIFT) - 4096u)
#define BITS (HIGH + WINDOW - 13u)

static uint8_t model[2][2 * WINDOW];

static uint64_t at_of(uint32_t i)
{
	return i < WINDOW ? i : HIGH + (i - WINDOW);
}

static void compare_bits(const struct hvri_bitmap *map, const uint8_t *want)
{
	uint64_t total = 0, from = 0, first, count, seen = 0;

	for (uint32_t i = 0; i < 2 * WINDOW; i++) {
		if (at_of(i) >= BITS)
			continue;
		total += want[i];
		fuzz_must(hvri_bitmap_get(map, at_of(i)) == (want[i] != 0),
			  "a bit is not what was set");
	}
	fuzz_must(hvri_bitmap_count(map, 0, BITS) == total,
		  "bits are counted wrong");
	while (hvri_bitmap_next(map, from, BITS, 777, &first, &count)) {
		fuzz_must(first >= from && count > 0 && count <= 777 &&
				  first + count <= BITS,
			  "a run lies outside");
		seen += count;
		from = first + count;
	}
	fuzz_must(seen == total, "runs are not all that is set");
}

static void bitmaps(struct fuzz_in *in)
{
	struct hvri_page_pool pool;
	struct hvri_bitmap maps[2];

	begin();
	memset(model, 0, sizeof(model));
	hvri_page_pool_init(&pool, &env);
	fuzz_must(hvri_page_pool_fill(&pool, 64, 8) == HVREPL_OK, "no pool");
	for (unsigned m = 0; m < 2; m++)
		fuzz_must(hvri_bitmap_init(&maps[m], &env, BITS) == HVREPL_OK,
			  "no map");
	for (unsigned steps = 0; in->left > 0 && steps < 48; steps++) {
		uint8_t what = fuzz_u8(in);
		unsigned m = what >> 7;
		uint32_t i = fuzz_u16(in) % (2 * WINDOW);
		uint32_t room = (i < WINDOW ? WINDOW : 2 * WINDOW - 13) - i;
		uint32_t count;
		bool any = false;

		if (at_of(i) >= BITS)
			continue;
		count = what & 0x40 ? 1u + fuzz_u16(in) : 1 + fuzz_u8(in) % 70u;
		count = HVRI_MIN(count, room);
		switch (what % 8) {
		case 0:
			hvri_bitmap_reset(&maps[m], &pool,
					  what & 0x20 ? &maps[!m] : NULL);
			memset(model[m], 0, sizeof(model[m]));
			break;
		case 1:
			/* The other's bits of the whole window. */
			hvri_bitmap_or(&maps[m], &pool, &maps[!m], at_of(i),
				       count);
			for (uint32_t k = i; k < i + count; k++)
				model[m][k] |= model[!m][k];
			break;
		case 2:
			for (uint32_t k = i; k < i + count; k++)
				any |= model[m][k] != 0;
			fuzz_must(hvri_bitmap_any(&maps[m], at_of(i), count) ==
					  any,
				  "any");
			break;
		case 3:
			count = HVRI_MIN(count, 64u - (at_of(i) & 63));
			if (hvri_bitmap_try_set(&maps[m], at_of(i), count))
				memset(model[m] + i, 1, count);
			break;
		default:
			hvri_bitmap_set(&maps[m], &pool, at_of(i), count);
			memset(model[m] + i, 1, count);
			break;
		}
	}
	for (unsigned m = 0; m < 2; m++) {
		compare_bits(&maps[m], model[m]);
		hvri_bitmap_free(&maps[m], &pool);
	}
	hvri_page_pool_free(&pool);
	fuzz_must(test.alloc_live == 0, "a bitmap leaks");
}

/* ---- The extent map of a log: later entries win. ---- */

#define UNITS 1024u /* Bytes; the map does not care about blocks. */

static void extent_map(struct fuzz_in *in)
{
	static struct hvri_xent unit[UNITS]; /* What each byte is. */
	static bool known[UNITS];
	struct hvri_xmap map = { 0 };
	size_t entries = 0;

	begin();
	memset(known, 0, sizeof(known));
	for (unsigned i = 1; in->left > 0 && i <= 64; i++) {
		struct hvri_xent entry = { .offset = fuzz_u16(in) % UNITS,
					   .chunk_length = i };

		entry.length = 1 + fuzz_u8(in);
		entry.length = HVRI_MIN(entry.length, UNITS - entry.offset);
		entry.position = fuzz_u8(in) % 4 == 0 ? 0 : i * 100;
		entry.raw_offset = entry.position == 0 ? 0 : fuzz_u8(in);
		entry.chunk_length = entry.position == 0 ? 0 : i;
		fuzz_must(hvri_xmap_put(&env, &map, &entry) == HVREPL_OK,
			  "not put");
		for (uint64_t k = 0; k < entry.length; k++) {
			unit[entry.offset + k] = entry;
			unit[entry.offset + k].raw_offset +=
				entry.position == 0 ? 0 : (uint32_t)k;
			known[entry.offset + k] = true;
		}
	}
	for (uint64_t k = 0; k < UNITS; k++) {
		uint64_t next = 0, expected = k + 1;
		const struct hvri_xent *found =
			hvri_xmap_find(&map, k, &next);

		fuzz_must((found != NULL) == known[k],
			  "a byte is known that is not, or not that is");
		while (expected < UNITS && !known[expected])
			expected++;
		if (found == NULL)
			fuzz_must(next == (expected < UNITS ? expected :
							      UINT64_MAX),
				  "the next entry lies elsewhere");
		else
			fuzz_must(found->position == unit[k].position &&
					  (found->position == 0 ||
					   found->raw_offset +
							   (k - found->offset) ==
						   unit[k].raw_offset),
				  "an older entry wins");
	}
	for (entries = 1; entries < map.count; entries++)
		fuzz_must(map.at[entries - 1].offset +
					  map.at[entries - 1].length <=
				  map.at[entries].offset,
			  "entries overlap");
	hvri_xmap_free(&env, &map);
	fuzz_must(test.alloc_live == 0, "an extent map leaks");
}

/* ---- A set of blocks. ---- */

static void block_set(struct fuzz_in *in)
{
	static bool has[4096];
	struct hvri_blockset set;
	uint64_t far = (fuzz_u8(in) % 2) * (uint64_t)32768 * 4096;
	/* The last block is short. */
	uint64_t size = far + sizeof(has) * 4096 - 100;

	begin();
	memset(has, 0, sizeof(has));
	fuzz_must(hvri_blockset_init(&set, &env, size, 4096) == HVREPL_OK,
		  "no set");
	for (unsigned i = 0; in->left > 0 && i < 48; i++) {
		uint32_t block = fuzz_u16(in) % 4096u;
		uint64_t offset = far + block * 4096ull;
		uint64_t length = 1 + (fuzz_u8(in) % 4 != 0 ?
					       fuzz_u16(in) :
					       fuzz_u32(in) % (1u << 22));

		length = HVRI_MIN(length, size - offset);
		fuzz_must(hvri_blockset_add(&set, offset, length) == HVREPL_OK,
			  "not added");
		for (uint64_t at = 0; at < length; at += 4096)
			has[block + at / 4096] = true;
	}
	for (uint32_t i = 0; i < sizeof(has); i++)
		fuzz_must(hvri_blockset_has(&set, far + i * 4096ull) == has[i],
			  "a set of blocks is not what was added");
	hvri_blockset_free(&set);
	fuzz_must(test.alloc_live == 0, "a set of blocks leaks");
}

/* ---- Extents of a chunk, judged with 128 bits. ---- */

static void chunk_extents(struct fuzz_in *in)
{
	static uint8_t bytes[HVRI_CHUNK_HEADER_SIZE + 64 * 16];
	struct hvri_segment_header header;
	struct hvri_chunk chunk;
	uint8_t identity[HVRI_IDENTITY_SIZE];
	uint32_t count = 1 + fuzz_u8(in) % 64;
	unsigned __int128 from = 0;
	bool good = true;
	size_t length = HVRI_CHUNK_HEADER_SIZE + count * 16u;

	memset(&header, 0, sizeof(header));
	header.block_size = 512u << fuzz_u8(in) % 8;
	header.disk_size = 1 + fuzz_u64(in) % HVRI_SEGMENT_DISK_MAX;
	memset(bytes, 0, HVRI_CHUNK_HEADER_SIZE);
	memcpy(bytes, HVRI_CHUNK_MAGIC, 4);
	bytes[4] = HVRI_CHUNK_ZERO;
	bytes[6] = (uint8_t)count;
	for (uint32_t i = 0; i < count; i++) {
		uint8_t form = fuzz_u8(in);
		uint64_t offset = form & 1 ? (uint64_t)from + fuzz_u8(in) *
						 (uint64_t)header.block_size :
					     fuzz_u64(in);
		uint64_t size = form & 2 ? fuzz_u8(in) *
						   (uint64_t)header.block_size :
				form & 4 ? header.disk_size - offset :
					   fuzz_u64(in);
		unsigned __int128 end = (unsigned __int128)offset + size;

		for (unsigned k = 0; k < 8; k++) {
			uint8_t *at = bytes + HVRI_CHUNK_HEADER_SIZE + i * 16;

			at[k] = (uint8_t)(offset >> (8 * k));
			at[8 + k] = (uint8_t)(size >> (8 * k));
		}
		good &= size > 0 && offset >= from && end <= header.disk_size &&
			offset % header.block_size == 0 &&
			(end % header.block_size == 0 ||
			 end == header.disk_size);
		from = end;
	}
	hvri_segment_identity_encode(&header.identity, identity);
	hvri_chunk_stored_digest(identity, bytes, length,
				 bytes + HVRI_CHUNK_STORED_DIGEST);
	fuzz_must((hvri_chunk_decode(&header, bytes, length, &chunk) ==
		   HVREPL_OK) == good,
		  good ? "good extents are refused" : "bad extents are taken");
}

static void one(const uint8_t *bytes, size_t length)
{
	struct fuzz_in in = { bytes, length };

	switch (fuzz_u8(&in) % 4) {
	case 0:
		bitmaps(&in);
		break;
	case 1:
		extent_map(&in);
		break;
	case 2:
		block_set(&in);
		break;
	default:
		chunk_extents(&in);
		break;
	}
}

static void seeds(void)
{
	uint8_t bytes[400];

	for (uint8_t i = 0; i < 32; i++) {
		test_fill(bytes, sizeof(bytes), i + 1u);
		bytes[0] = i % 4;
		if (i % 4 == 3) /* Forms that are mostly good. */
			for (size_t k = 11; k < sizeof(bytes); k += 3)
				bytes[k] = 3;
		fuzz_seed(bytes, 20u + i * 12u);
	}
}

extern const struct fuzz_target fuzz_extents;
const struct fuzz_target fuzz_extents = { "extents", one, seeds, NULL };
