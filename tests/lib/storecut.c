/* SPDX-License-Identifier: Apache-2.0 */
/* The primary's side of storeworld.h: what changes, and the cut made of it. */
#include "storeworld.h"

#include <stdlib.h>
#include <string.h>

static void *must(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

static uint64_t draw(struct world *world, uint64_t below)
{
	return test_random(&world->random) % below;
}

void world_cut_free(struct world_cut *cut)
{
	for (unsigned d = 0; d < WORLD_DISKS; d++)
		for (unsigned i = 0; i < cut->counts[d]; i++)
			free(cut->chunks[d][i]);
	memset(cut, 0, sizeof(*cut));
}

static void change_disk(struct world *world, unsigned d, uint8_t *changed)
{
	uint64_t blocks = (world->sizes[d] + 4095) / 4096;
	uint64_t count = draw(world, world->change_blocks + 1);

	for (uint64_t i = 0; i < count; i++) {
		uint64_t block = draw(world, blocks);
		uint64_t at = block * 4096;
		uint64_t length = world->sizes[d] - at;

		length = length < 4096 ? length : 4096;
		memset(changed + at / SIM_SECTOR, 1,
		       (length + SIM_SECTOR - 1) / SIM_SECTOR);
		if (draw(world, 4) == 0)
			memset(world->primary.bytes[d] + at, 0, length);
		else
			test_fill(world->primary.bytes[d] + at, length,
				  test_random(&world->random));
	}
}

static void add_chunk(struct world *world, struct hvri_packer *packer,
		      const struct hvri_segment_header *header, unsigned d,
		      uint8_t kind, const struct hvrepl_extent *extents,
		      uint32_t count, struct hvri_segment_root *root)
{
	struct world_cut *cut = &world->cut;
	static uint8_t raw[HVRI_CHUNK_RAW_MAX], out[HVRI_CHUNK_ENCODED_MAX];
	struct hvri_chunk chunk;
	uint32_t length, used = 0;

	if (count == 0)
		return;
	for (uint32_t i = 0; kind == HVRI_CHUNK_DATA && i < count; i++) {
		memcpy(raw + used, world->primary.bytes[d] + extents[i].offset,
		       extents[i].length);
		used += (uint32_t)extents[i].length;
	}
	ck_assert_uint_lt(cut->counts[d], WORLD_CHUNKS);
	ck_assert_int_eq(hvri_chunk_pack(packer, header, cut->counts[d], kind,
					 extents, count,
					 kind == HVRI_CHUNK_DATA ? raw : NULL,
					 out, &length),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_chunk_decode(header, out, length, &chunk),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_segment_root_add(root, chunk.stored_digest),
			 HVREPL_OK);
	cut->chunks[d][cut->counts[d]] = must(malloc(length));
	memcpy(cut->chunks[d][cut->counts[d]], out, length);
	cut->lengths[d][cut->counts[d]++] = length;
}

/* As much of one kind as changed from `at`, up to 4 KiB. */
static uint64_t run_of(const struct world *world, unsigned d,
		       const uint8_t *changed, uint64_t at, uint64_t length)
{
	const uint8_t *bytes = world->primary.bytes[d];
	bool zero = hvri_is_zero(bytes + at, length);

	while (length < 4096 && at + length < world->sizes[d]) {
		uint64_t next = at + length;
		uint64_t more = HVRI_MIN(world->send_block,
					 world->sizes[d] - next);

		if (!changed[next / SIM_SECTOR] ||
		    hvri_is_zero(bytes + next, more) != zero)
			break;
		length += more;
	}
	return length;
}

static void pack_disk(struct world *world, unsigned d, const uint8_t *changed,
		      uint64_t from)
{
	struct hvri_env env = { world->env.env };
	struct world_cut *cut = &world->cut;
	struct hvri_segment_header header = {
		.identity = { .vm = world->vm,
			      .disk = world->disks[d],
			      .epoch = world->epoch,
			      .cut = cut->cut,
			      .from_point = from,
			      .to_point = cut->number },
		.disk_size = world->sizes[d],
		.block_size = 512,
	};
	struct hvrepl_extent data[3], zero[3];
	uint32_t data_count = 0, zero_count = 0;
	struct hvri_segment_root root;
	struct hvri_packer *packer;

	ck_assert_int_eq(hvri_packer_create(&env, 1, &packer), HVREPL_OK);
	hvri_segment_header_encode(&header, cut->header[d]);
	ck_assert_int_eq(hvri_segment_root_begin(&root, &header), HVREPL_OK);
	for (uint64_t at = 0, length; at < world->sizes[d]; at += length) {
		length = HVRI_MIN(world->send_block, world->sizes[d] - at);
		if (!changed[at / SIM_SECTOR])
			continue;
		length = run_of(world, d, changed, at, length);
		if (hvri_is_zero(world->primary.bytes[d] + at, length))
			zero[zero_count++] = (struct hvrepl_extent){ at,
								     length };
		else
			data[data_count++] = (struct hvrepl_extent){ at,
								     length };
		if (data_count == 3) {
			add_chunk(world, packer, &header, d, HVRI_CHUNK_DATA,
				  data, 3, &root);
			data_count = 0;
		}
		if (zero_count == 3) {
			add_chunk(world, packer, &header, d,
				  draw(world, 2) ? HVRI_CHUNK_ZERO :
						   HVRI_CHUNK_DISCARD,
				  zero, 3, &root);
			zero_count = 0;
		}
	}
	add_chunk(world, packer, &header, d, HVRI_CHUNK_DATA, data, data_count,
		  &root);
	add_chunk(world, packer, &header, d, HVRI_CHUNK_ZERO, zero, zero_count,
		  &root);
	ck_assert_int_eq(hvri_segment_root_end(&root, cut->root[d]), HVREPL_OK);
	hvri_segment_root_free(&root);
	hvri_packer_destroy(packer);
}

struct changed {
	uint8_t sectors[WORLD_DISKS][WORLD_SIZE_MAX / SIM_SECTOR];
};

/* What changed, as the primary has it now, becomes the pending cut. */
static void pack_cut(struct world *world, const struct changed *changed)
{
	uint64_t from = world->last_number;
	struct world_cut *cut = &world->cut;
	long fail_at = world->env.alloc_fail_at;

	ck_assert(!cut->pending);
	world->env.alloc_fail_at = -1; /* Not the store's. */
	if (world->aside != NULL)
		world->aside(true);
	world_cut_free(cut);
	cut->number = from + 1;
	test_fill(cut->cut.bytes, 16, test_random(&world->random) | 1);
	for (unsigned d = 0; d < WORLD_DISKS; d++)
		pack_disk(world, d, changed->sectors[d], from);
	cut->image = must(malloc(sizeof(*cut->image)));
	*cut->image = world->primary;
	cut->pending = true;
	world->env.alloc_fail_at = fail_at;
	if (world->aside != NULL)
		world->aside(false);
}

static void make_cut(struct world *world, uint64_t first, uint64_t past)
{
	struct changed changed = { 0 };

	for (unsigned d = 0; d < WORLD_DISKS; d++) {
		uint64_t end = HVRI_MIN(past, world->sizes[d]);

		if (end > first)
			memset(changed.sectors[d] + first / SIM_SECTOR, 1,
			       (end - first + SIM_SECTOR - 1) / SIM_SECTOR);
		change_disk(world, d, changed.sectors[d]);
	}
	pack_cut(world, &changed);
}

void world_make_cut_with(struct world *world, const struct world_change *changes,
			 unsigned count)
{
	struct changed changed = { 0 };

	for (unsigned i = 0; i < count; i++) {
		const struct world_change *c = &changes[i];
		uint8_t *bytes = world->primary.bytes[c->disk] + c->offset;

		memset(changed.sectors[c->disk] + c->offset / SIM_SECTOR, 1,
		       c->length / SIM_SECTOR);
		if (c->zero)
			memset(bytes, 0, c->length);
		else
			test_fill(bytes, c->length,
				  test_random(&world->random));
	}
	pack_cut(world, &changed);
}

void world_make_cut(struct world *world)
{
	make_cut(world, 0, 0);
}

void world_make_cut_of(struct world *world, uint64_t from, uint64_t to)
{
	make_cut(world, from, to);
}
