/* SPDX-License-Identifier: Apache-2.0 */
/* A set of blocks: one bitmap page for each region that has any. */
#include "transfer/blockset.h"

#include <string.h>

#define WORD_BITS 64u
#define REGION_WORDS 512u /* One page of 4 KiB. */
#define REGION_BITS (REGION_WORDS * WORD_BITS)
#define REGIONS_MAX (1u << 26)

int32_t hvri_blockset_init(struct hvri_blockset *set,
			   const struct hvri_env *env, uint64_t disk_size,
			   uint32_t block_size)
{
	uint64_t blocks = disk_size / block_size +
			  (disk_size % block_size != 0);

	memset(set, 0, sizeof(*set));
	set->env = env;
	set->block_size = block_size;
	set->region_count = blocks / REGION_BITS + 1;
	if (set->region_count > REGIONS_MAX)
		return HVREPL_E_LIMIT;
	set->regions = hvri_alloc_array(env, (size_t)set->region_count,
					sizeof(*set->regions));
	return set->regions != NULL ? HVREPL_OK : HVREPL_E_NOMEM;
}

static void set_bits(uint64_t *words, uint32_t from, uint32_t to)
{
	while (from < to) {
		uint32_t bit = from % WORD_BITS;
		uint32_t count = HVRI_MIN(WORD_BITS - bit, to - from);
		uint64_t mask = count == WORD_BITS ? UINT64_MAX
						   : (1ull << count) - 1;

		words[from / WORD_BITS] |= mask << bit;
		from += count;
	}
}

int32_t hvri_blockset_add(struct hvri_blockset *set, uint64_t offset,
			  uint64_t length)
{
	uint64_t block = offset / set->block_size;
	uint64_t end = (offset + length - 1) / set->block_size + 1;

	while (block < end) {
		uint64_t region = block / REGION_BITS;
		uint32_t first = (uint32_t)(block % REGION_BITS);
		uint32_t count = (uint32_t)HVRI_MIN(REGION_BITS - first,
						    end - block);

		if (set->regions[region] == NULL) {
			set->regions[region] = hvri_alloc_array(
				set->env, REGION_WORDS, sizeof(uint64_t));
			if (set->regions[region] == NULL)
				return HVREPL_E_NOMEM;
		}
		set_bits(set->regions[region], first, first + count);
		block += count;
	}
	return HVREPL_OK;
}

bool hvri_blockset_has(const struct hvri_blockset *set, uint64_t offset)
{
	uint64_t block = offset / set->block_size;
	const uint64_t *words = set->regions[block / REGION_BITS];
	uint32_t bit = (uint32_t)(block % REGION_BITS);

	return words != NULL &&
	       (words[bit / WORD_BITS] >> (bit % WORD_BITS) & 1) != 0;
}

void hvri_blockset_free(struct hvri_blockset *set)
{
	if (set->regions == NULL)
		return;
	for (uint64_t i = 0; i < set->region_count; i++)
		hvri_free(set->env, set->regions[i],
			  REGION_WORDS * sizeof(uint64_t));
	hvri_free(set->env, set->regions,
		  (size_t)set->region_count * sizeof(*set->regions));
	set->regions = NULL;
}
