/* SPDX-License-Identifier: Apache-2.0 */
/* The spool: chunks in memory, then in the spill, until they are durable. */
#include "tracker/internal.h"

#include <string.h>

#define CHUNKS_MAX ((size_t)1 << 28)

void hvri_kit_give(struct hvrepl_cut *cut, struct hvri_kit *kit)
{
	hvri_lock(&cut->mutex);
	kit->next = cut->kits;
	cut->kits = kit;
	hvri_unlock(&cut->mutex);
}

static void kit_free(struct hvri_kit *kit)
{
	struct hvri_env env = kit->env;

	hvri_packer_destroy(kit->packer);
	hvri_free(&env, kit->raw, HVRI_CLAIM_BYTES);
	hvri_free(&env, kit->encoded, HVRI_CHUNK_ENCODED_MAX);
	hvri_free(&env, kit, sizeof(*kit));
}

int32_t hvri_kit_take(struct hvrepl_cut *cut, struct hvri_kit **kit_out)
{
	const struct hvri_env *env = &cut->group->env;
	struct hvri_kit *kit;

	hvri_lock(&cut->mutex);
	kit = cut->kits;
	if (kit != NULL)
		cut->kits = kit->next;
	hvri_unlock(&cut->mutex);
	if (kit == NULL) {
		kit = hvri_alloc(env, sizeof(*kit));
		if (kit == NULL)
			return HVREPL_E_NOMEM;
		kit->env = *env;
		kit->raw = hvri_alloc_io(env, HVRI_CLAIM_BYTES);
		kit->encoded = hvri_alloc_io(env, HVRI_CHUNK_ENCODED_MAX);
		if (kit->raw == NULL || kit->encoded == NULL ||
		    hvri_packer_create(env, cut->group->level, &kit->packer) <
			    0 ||
		    hvri_packer_ready(kit->packer) < 0) {
			kit_free(kit);
			return HVREPL_E_NOMEM;
		}
	}
	*kit_out = kit;
	return HVREPL_OK;
}

void hvri_kits_free(struct hvrepl_cut *cut)
{
	struct hvri_kit *kits;

	hvri_lock(&cut->mutex);
	kits = cut->kits;
	cut->kits = NULL;
	hvri_unlock(&cut->mutex);
	while (kits != NULL) {
		struct hvri_kit *kit = kits;

		kits = kit->next;
		kit_free(kit);
	}
}

int32_t hvri_spool_reserve(struct hvri_member *part, uint32_t *sequence_out)
{
	struct hvrepl_cut *cut = part->cut;
	int32_t rc;

	hvri_lock(&cut->mutex);
	rc = hvri_grow(&cut->group->env, (void **)&part->chunks,
		       &part->chunk_capacity, part->chunk_count + 1, CHUNKS_MAX,
		       sizeof(*part->chunks));
	if (rc == HVREPL_OK)
		*sequence_out = (uint32_t)part->chunk_count++;
	hvri_unlock(&cut->mutex);
	return rc;
}

/* "spool-" and the cut's id in hexadecimal. */
static int32_t spill_open(struct hvrepl_cut *cut, uint32_t flags)
{
	static const char hex[] = "0123456789abcdef";
	char id[HVREPL_OBJECT_ID_MAX + 1];
	size_t at = strlen(cut->group->spill_prefix);

	memcpy(id, cut->group->spill_prefix, at);
	id[at++] = '-';
	for (size_t i = 0; i < sizeof(cut->id.bytes); i++) {
		id[at++] = hex[cut->id.bytes[i] >> 4];
		id[at++] = hex[cut->id.bytes[i] & 15];
	}
	id[at] = 0;
	if (flags == 0)
		return hvri_storage_remove(&cut->group->spill, id);
	return hvri_object_open(&cut->group->spill, id, flags, &cut->spill);
}

/* Room for `length` bytes in the spill; opens it with the first. PENDING:
 * another thread is opening it. */
static int32_t spill_reserve(struct hvrepl_cut *cut, uint32_t length,
			     uint64_t *position_out)
{
	struct hvrepl_group *group = cut->group;
	int32_t rc = HVREPL_OK;
	bool open = false;

	if (!group->has_spill)
		return HVREPL_E_LIMIT;
	hvri_lock(&cut->mutex);
	if (cut->spill_opening)
		rc = HVREPL_PENDING;
	else if (!cut->has_spill)
		open = cut->spill_opening = true;
	hvri_unlock(&cut->mutex);
	if (open)
		rc = spill_open(cut, HVREPL_OBJECT_CREATE);
	if (open) {
		hvri_lock(&cut->mutex);
		cut->spill_opening = false;
		cut->has_spill = rc == HVREPL_OK;
		hvri_unlock(&cut->mutex);
	}
	if (rc != HVREPL_OK)
		return rc;
	if (atomic_fetch_add(&group->spilled, length) + length >
	    group->spill_limit) {
		(void)atomic_fetch_sub(&group->spilled, length);
		return HVREPL_E_LIMIT;
	}
	hvri_lock(&cut->mutex);
	*position_out = cut->spill_end;
	cut->spill_end += length;
	hvri_unlock(&cut->mutex);
	return HVREPL_OK;
}

/* A copy in memory, if the budget allows it or `beyond` it. */
static uint8_t *keep(struct hvrepl_group *group, const uint8_t *bytes,
		     uint32_t length, bool beyond)
{
	uint8_t *copy = NULL;

	if (atomic_fetch_add(&group->memory, length) + length <=
		    group->spool_memory ||
	    beyond)
		copy = hvri_alloc_io(&group->env, length);
	if (copy == NULL)
		(void)atomic_fetch_sub(&group->memory, length);
	else
		memcpy(copy, bytes, length);
	return copy;
}

int32_t hvri_spool_put(struct hvri_member *part, uint32_t sequence,
		       const uint8_t *bytes, uint32_t length)
{
	struct hvrepl_cut *cut = part->cut;
	struct hvrepl_group *group = cut->group;
	struct hvri_spooled *chunk;
	uint8_t *copy = keep(group, bytes, length, false);
	uint64_t position = 0;
	int32_t rc;

	if (copy == NULL) {
		rc = spill_reserve(cut, length, &position);
		if (rc == HVREPL_OK)
			rc = hvri_object_write(&cut->spill, position, bytes,
					       length);
		/* A chunk beyond the budget rather than a wait: this may be
		 * the pump. */
		if (rc == HVREPL_PENDING) {
			copy = keep(group, bytes, length, true);
			rc = copy != NULL ? HVREPL_OK : HVREPL_E_NOMEM;
		}
		if (rc < 0)
			return rc;
	}
	hvri_lock(&cut->mutex);
	chunk = &part->chunks[sequence];
	chunk->bytes = copy;
	chunk->spill = position;
	chunk->on_disk = copy == NULL;
	chunk->length = length;
	if (copy != NULL)
		cut->memory += length;
	hvri_cut_wake(cut);
	hvri_unlock(&cut->mutex);
	return HVREPL_OK;
}

/* cut->mutex held. */
static void chunk_forget(struct hvrepl_cut *cut, struct hvri_spooled *chunk)
{
	if (chunk->bytes != NULL) {
		hvri_free(&cut->group->env, chunk->bytes, chunk->length);
		(void)atomic_fetch_sub(&cut->group->memory, chunk->length);
		cut->memory -= chunk->length;
	}
	chunk->bytes = NULL;
	chunk->released = true;
}

void hvri_spool_free(struct hvrepl_cut *cut)
{
	const struct hvri_env *env = &cut->group->env;

	for (uint32_t i = 0; i < cut->part_count; i++) {
		struct hvri_member *part = &cut->parts[i];

		for (size_t k = part->released; k < part->chunk_count; k++)
			chunk_forget(cut, &part->chunks[k]);
		hvri_free(env, part->chunks,
			  part->chunk_capacity * sizeof(*part->chunks));
		hvri_free(env, part->places,
			  part->place_capacity * sizeof(*part->places));
	}
	if (cut->has_spill) {
		hvri_object_close(&cut->spill);
		if (spill_open(cut, 0) < 0)
			hvri_log(env, HVREPL_LOG_WARNING,
				 "a spill object could not be removed; it will "
				 "be when the group is made again");
		(void)atomic_fetch_sub(&cut->group->spilled, cut->spill_end);
	}
}

/* A chunk that was spilled comes back into memory. The budget is passed over
 * here: what is shipped is bounded by the shipper's window. */
static int32_t bring_back(struct hvri_member *part, uint32_t sequence)
{
	struct hvrepl_cut *cut = part->cut;
	struct hvri_spooled *chunk;
	uint64_t position;
	uint32_t length;
	uint8_t *bytes;
	int32_t rc;

	hvri_lock(&cut->mutex);
	position = part->chunks[sequence].spill;
	length = part->chunks[sequence].length;
	hvri_unlock(&cut->mutex);
	bytes = hvri_alloc_io(&cut->group->env, length);
	if (bytes == NULL)
		return HVREPL_E_NOMEM;
	rc = hvri_object_read(&cut->spill, position, bytes, length);
	if (rc < 0) {
		hvri_free(&cut->group->env, bytes, length);
		return rc;
	}
	hvri_lock(&cut->mutex);
	chunk = &part->chunks[sequence];
	if (chunk->bytes == NULL) {
		chunk->bytes = bytes;
		bytes = NULL;
		cut->memory += length;
		(void)atomic_fetch_add(&cut->group->memory, length);
	}
	hvri_unlock(&cut->mutex);
	hvri_free(&cut->group->env, bytes, length);
	return HVREPL_OK;
}

const struct hvri_segment_header *hvri_cut_header(hvrepl_cut *cut,
						  uint32_t disk)
{
	return disk < cut->part_count ? &cut->parts[disk].header : NULL;
}

void hvri_cut_progress(hvrepl_cut *cut, uint32_t disk, uint32_t *chunks_out,
		       bool *complete_out)
{
	struct hvri_member *part = &cut->parts[disk];

	/* In this order: a chunk is in the spool before its part is complete. */
	hvri_lock(part->mutex);
	*complete_out = part->detached && !part->failed && !part->returned;
	hvri_unlock(part->mutex);
	hvri_lock(&cut->mutex);
	*chunks_out = (uint32_t)part->chunk_count;
	hvri_unlock(&cut->mutex);
}

int32_t hvri_cut_chunk(hvrepl_cut *cut, uint32_t disk, uint32_t sequence,
		       const uint8_t **bytes_out, uint32_t *length_out)
{
	struct hvri_member *part;
	struct hvri_spooled *chunk;
	bool complete, failed, spilled = false;
	int32_t rc = HVREPL_OK;

	if (disk >= cut->part_count)
		return HVREPL_E_INVALID;
	part = &cut->parts[disk];
	hvri_lock(part->mutex);
	complete = part->detached;
	failed = part->failed || part->returned ||
		 atomic_load(&cut->state) == HVREPL_CUT_VOIDED;
	hvri_unlock(part->mutex);
	if (failed)
		return HVREPL_E_VOIDED;
	hvri_lock(&cut->mutex);
	if (sequence >= part->chunk_count) {
		rc = complete ? HVREPL_E_NOT_FOUND : HVREPL_PENDING;
	} else {
		chunk = &part->chunks[sequence];
		if (chunk->released)
			rc = HVREPL_E_STATE;
		else if (chunk->length == 0)
			rc = HVREPL_PENDING;
		else if (chunk->bytes == NULL)
			spilled = true;
	}
	hvri_unlock(&cut->mutex);
	if (rc != HVREPL_OK)
		return rc;
	if (spilled)
		HVRI_TRY(bring_back(part, sequence));
	hvri_lock(&cut->mutex);
	*bytes_out = part->chunks[sequence].bytes;
	*length_out = part->chunks[sequence].length;
	hvri_unlock(&cut->mutex);
	return HVREPL_OK;
}

void hvri_cut_release_through(hvrepl_cut *cut, uint32_t disk, uint32_t sequence)
{
	struct hvri_member *part;

	if (disk >= cut->part_count)
		return;
	part = &cut->parts[disk];
	hvri_lock(&cut->mutex);
	while (part->released < part->chunk_count &&
	       part->released <= sequence &&
	       part->chunks[part->released].length != 0)
		chunk_forget(cut, &part->chunks[part->released++]);
	hvri_unlock(&cut->mutex);
}

/* Direct reads: an index of the spool by block, made when it is needed. */

static int32_t add_place(struct hvri_member *part, uint64_t first, uint64_t count,
			 uint32_t sequence, uint32_t raw)
{
	HVRI_TRY(hvri_grow(&part->cut->group->env, (void **)&part->places,
			   &part->place_capacity, part->place_count + 1,
			   SIZE_MAX / sizeof(*part->places),
			   sizeof(*part->places)));
	part->places[part->place_count++] =
		(struct hvri_place){ first, count, sequence, raw };
	return HVREPL_OK;
}

static void sift(struct hvri_place *places, size_t at, size_t count)
{
	for (size_t child; (child = at * 2 + 1) < count; at = child) {
		struct hvri_place swap;

		if (child + 1 < count &&
		    places[child + 1].first > places[child].first)
			child++;
		if (places[at].first >= places[child].first)
			return;
		swap = places[at];
		places[at] = places[child];
		places[child] = swap;
	}
}

static void sort_places(struct hvri_place *places, size_t count)
{
	for (size_t i = count / 2; i-- > 0;)
		sift(places, i, count);
	for (size_t end = count; end-- > 1;) {
		struct hvri_place swap = places[0];

		places[0] = places[end];
		places[end] = swap;
		sift(places, 0, end);
	}
}

static int32_t place_chunk(struct hvri_member *part, uint32_t sequence)
{
	const uint8_t *bytes;
	uint32_t length, raw = 0;
	struct hvri_chunk chunk;
	int32_t rc = hvri_cut_chunk(part->cut, part->index, sequence, &bytes,
				    &length);

	if (rc != HVREPL_OK) /* PENDING: it is being packed. */
		return rc;
	HVRI_TRY(hvri_chunk_decode(&part->header, bytes, length, &chunk));
	for (uint32_t i = 0; i < chunk.extent_count; i++) {
		struct hvrepl_extent extent = hvri_chunk_extent(&chunk, i);
		uint64_t first = extent.offset >> part->block_shift;
		uint64_t last = (extent.offset + extent.length - 1) >>
				part->block_shift;

		HVRI_TRY(add_place(part, first, last - first + 1, sequence,
				   chunk.kind == HVRI_CHUNK_DATA ? raw :
								   UINT32_MAX));
		raw += (uint32_t)extent.length;
	}
	return HVREPL_OK;
}

static const struct hvri_place *find_place(const struct hvri_member *part,
					   uint64_t block)
{
	size_t low = 0, high = part->place_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (part->places[middle].first <= block)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || block - part->places[low - 1].first >=
				part->places[low - 1].count)
		return NULL;
	return &part->places[low - 1];
}

/* cut->reading held. */
static int32_t find_or_index(struct hvri_member *part, uint64_t block,
			     struct hvri_place *out)
{
	const struct hvri_place *place = find_place(part, block);
	size_t count;

	if (place == NULL) {
		hvri_lock(&part->cut->mutex);
		count = part->chunk_count;
		hvri_unlock(&part->cut->mutex);
		while (part->placed < count) {
			/* A later chunk may be packed before an earlier one. */
			int32_t rc = place_chunk(part, (uint32_t)part->placed);

			if (rc == HVREPL_PENDING)
				break;
			if (rc < 0)
				return rc;
			part->placed++;
		}
		sort_places(part->places, part->place_count);
		place = find_place(part, block);
	}
	if (place == NULL)
		return HVREPL_PENDING;
	*out = *place;
	return HVREPL_OK;
}

int32_t hvri_spool_read(struct hvri_member *part, uint64_t first, uint64_t count,
			uint8_t *out)
{
	struct hvrepl_cut *cut = part->cut;
	uint8_t *raw = hvri_alloc_io(&cut->group->env, HVRI_CHUNK_RAW_MAX);
	int32_t rc = HVREPL_OK;

	if (raw == NULL)
		return HVREPL_E_NOMEM;
	hvri_lock(&cut->reading);
	while (count > 0 && rc == HVREPL_OK) {
		struct hvri_place place = { 0 };
		struct hvri_chunk chunk;
		const uint8_t *bytes;
		uint32_t length;
		uint64_t piece, size, skip;

		rc = find_or_index(part, first, &place);
		if (rc != HVREPL_OK)
			break;
		piece = HVRI_MIN(count, place.first + place.count - first);
		size = hvri_part_bytes(part, first, piece);
		skip = (first - place.first) << part->block_shift;
		if (place.raw == UINT32_MAX) {
			memset(out, 0, (size_t)size);
		} else {
			rc = hvri_cut_chunk(cut, part->index, place.sequence,
					    &bytes, &length);
			if (rc == HVREPL_OK)
				rc = hvri_chunk_decode(&part->header, bytes,
						       length, &chunk);
			if (rc == HVREPL_OK)
				rc = hvri_chunk_unpack(&part->header, &chunk,
						       raw);
			if (rc == HVREPL_OK)
				memcpy(out, raw + place.raw + skip,
				       (size_t)size);
		}
		first += piece;
		count -= piece;
		out += size;
	}
	hvri_unlock(&cut->reading);
	hvri_free(&cut->group->env, raw, HVRI_CHUNK_RAW_MAX);
	return rc;
}
