/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a cut into the spool: claims in order, zeroes found, chunks packed. */
#include "tracker/internal.h"

#include "format/wire.h"

#include <string.h>

#define BUDGET (UINT64_C(1) << 20)
/* A run worth asking the disk which of it is allocated. */
#define PROBE_BYTES (UINT64_C(64) << 10)
/* Zeroes are looked for in pieces of this size. */
#define ZERO_UNIT 4096u
/* Known zeroes that one claim of a filtered cut holds. */
#define FILTERED_ZERO (UINT64_C(64) << 20)

void hvri_cut_set_filter(hvrepl_cut *cut,
			 bool (*same)(void *user, uint32_t disk,
				      uint64_t offset, const void *bytes,
				      size_t length),
			 void (*release)(void *user), void *user)
{
	cut->same = same;
	cut->same_release = release;
	cut->same_user = user;
}

/* Extents being gathered for one chunk. */
struct gather {
	struct hvri_member *part;
	struct hvri_kit *kit;
	struct hvrepl_extent extents[HVRI_CHUNK_EXTENTS_MAX];
	uint32_t count;
	uint8_t kind;
	uint8_t *raw;     /* Of DATA: start, and bytes so far. */
	uint32_t length;
};

static int32_t emit(struct gather *gather)
{
	struct hvri_member *part = gather->part;
	uint32_t sequence = 0, length = 0;
	int32_t rc;

	if (gather->count == 0)
		return HVREPL_OK;
	HVRI_TRY(hvri_spool_reserve(part, &sequence));
	rc = hvri_chunk_pack(gather->kit->packer, &part->header, sequence,
			     gather->kind, gather->extents, gather->count,
			     gather->kind == HVRI_CHUNK_DATA ? gather->raw :
							       NULL,
			     gather->kit->encoded, &length);
	if (rc == HVREPL_OK)
		rc = hvri_spool_put(part, sequence, gather->kit->encoded,
				    length);
	if (gather->raw != NULL) /* Nothing was read: all zeroes so far. */
		gather->raw += gather->length;
	gather->length = 0;
	gather->count = 0;
	return rc;
}

/* A claim is at most so many runs, and so many pieces of what was read, or, of
 * zeroes that are compared, every other granule: the extents of all fit one
 * chunk. */
_Static_assert(HVRI_CLAIM_EXTENTS + HVRI_CLAIM_BYTES / ZERO_UNIT <
			       HVRI_CHUNK_EXTENTS_MAX &&
		       2 * HVRI_CLAIM_EXTENTS +
				       FILTERED_ZERO / HVRI_DIGEST_GRANULE / 2 <
			       HVRI_CHUNK_EXTENTS_MAX,
	       "a claim's extents fit");

static void add_extent(struct gather *gather, uint64_t offset, uint64_t length)
{
	struct hvrepl_extent *last = &gather->extents[gather->count];

	if (gather->count > 0 &&
	    last[-1].offset + last[-1].length == offset) {
		last[-1].length += length;
		return;
	}
	last->offset = offset;
	last->length = length;
	gather->count++;
}

static int32_t add_data(struct gather *data, uint64_t offset,
			const uint8_t *bytes, uint32_t length)
{
	if (data->length + length > HVRI_CHUNK_RAW_WRITTEN)
		HVRI_TRY(emit(data));
	add_extent(data, offset, length);
	/* Zeroes that were left out make the rest move up. */
	if (data->raw + data->length != bytes)
		memmove(data->raw + data->length, bytes, length);
	data->length += length;
	return HVREPL_OK;
}

/* Bytes at `offset`, of `left` in the run, that the replica has already. */
static uint64_t left_out(const struct hvri_member *part, uint64_t offset,
			 const uint8_t *bytes, uint64_t left)
{
	const struct hvrepl_cut *cut = part->cut;
	uint64_t length;

	if (cut->same == NULL || offset % HVRI_DIGEST_GRANULE != 0)
		return 0;
	length = HVRI_MIN(part->header.disk_size - offset, HVRI_DIGEST_GRANULE);
	return length <= left && cut->same(cut->same_user, part->index, offset,
					   bytes, (size_t)length) ?
		       length :
		       0;
}

/* To the next granule's start, or to the run's end. */
static uint64_t in_granule(uint64_t offset, uint64_t left)
{
	return HVRI_MIN(left,
			HVRI_DIGEST_GRANULE - offset % HVRI_DIGEST_GRANULE);
}

static void pack_zero(struct gather *zero, uint64_t offset, uint64_t left)
{
	const struct hvri_member *part = zero->part;

	while (left > 0) {
		uint64_t piece = part->cut->same == NULL ?
					 left :
					 in_granule(offset, left);

		if (left_out(part, offset, NULL, left) == 0)
			add_extent(zero, offset, piece);
		offset += piece;
		left -= piece;
	}
}

static int32_t pack(struct hvri_claim *claim, struct gather *data,
		    struct gather *zero)
{
	const struct hvri_member *part = claim->part;
	uint32_t unit = HVRI_MAX(1u << part->block_shift, ZERO_UNIT);
	const uint8_t *from = data->raw;

	for (uint32_t i = 0; i < claim->count; i++) {
		uint64_t offset = claim->run[i].first << part->block_shift;
		uint64_t left = hvri_part_bytes(part, claim->run[i].first,
						claim->run[i].count);

		if (claim->zero) {
			pack_zero(zero, offset, left);
			continue;
		}
		while (left > 0) {
			uint32_t piece =
				(uint32_t)left_out(part, offset, from, left);

			if (piece > 0) {
				from += piece;
				offset += piece;
				left -= piece;
				continue;
			}
			piece = (uint32_t)HVRI_MIN(left, unit);

			if (hvri_is_zero(from, piece))
				add_extent(zero, offset, piece);
			else
				HVRI_TRY(add_data(data, offset, from, piece));
			from += piece;
			offset += piece;
			left -= piece;
		}
	}
	HVRI_TRY(emit(data));
	return emit(zero);
}

void hvri_claim_drop(struct hvri_claim *claim)
{
	struct hvri_member *part = claim->part;

	if (!claim->keep) {
		hvri_lock(part->mutex);
		part->packing--;
		hvri_unlock(part->mutex);
	}
	hvri_cut_unref(part->cut);
}

void hvri_claim_spool(struct hvri_claim *claim, struct hvri_kit *kit)
{
	const struct hvri_env *env = &claim->part->cut->group->env;
	struct hvri_member *part = claim->part;
	struct gather *both = hvri_alloc_raw(env, 2 * sizeof(*both));
	int32_t rc = HVREPL_E_NOMEM;

	if (both != NULL) {
		both[0].part = both[1].part = part;
		both[0].kit = both[1].kit = kit;
		both[0].count = both[1].count = 0;
		both[0].length = both[1].length = 0;
		both[0].kind = HVRI_CHUNK_DATA;
		both[0].raw = kit->raw;
		both[1].kind = HVRI_CHUNK_ZERO;
		both[1].raw = NULL;
		rc = pack(claim, &both[0], &both[1]);
	}
	hvri_free(env, both, 2 * sizeof(*both));
	hvri_kit_give(part->cut, kit);
	if (rc < 0)
		hvri_cut_fail(part->cut, rc);
	hvri_lock(part->mutex);
	part->packing--;
	hvri_unlock(part->mutex);
	hvri_part_finish(part);
	hvri_cut_tell(part->cut);
	hvri_cut_unref(part->cut);
}

#define STEP_WORKED 1
#define STEP_WAITS 2
#define STEP_NOTHING 3

/* Ask what of a long run is allocated. The answer is about blocks that are
 * owed, so it stays true until they are copied. No lock held. */
static void probe(struct hvri_member *part, uint64_t first, uint64_t count)
{
	uint64_t offset = first << part->block_shift;
	uint64_t end = offset + hvri_part_bytes(part, first, count);
	uint64_t mask = (UINT64_C(1) << part->block_shift) - 1;
	struct hvrepl_extent found;
	uint64_t data_first, data_end;

	hvri_disk_next_allocated(&part->tracker->disk, offset, end, &found);
	/* Whole blocks: those that are partly allocated are read. */
	data_first = found.length == 0 ? first + count :
					 found.offset >> part->block_shift;
	data_end = found.length == 0 ? first + count :
				       (found.offset + found.length + mask) >>
					       part->block_shift;
	hvri_lock(part->mutex);
	/* Unless another thread asked, and went on, meanwhile. */
	if (data_end > part->probed_end) {
		part->hole_end = data_first;
		part->probed_end = data_end;
	}
	hvri_unlock(part->mutex);
}

/* Of `max` blocks from `first` on so many that the next claim begins with a
 * granule, which can be compared as a whole then; 0: none fits. */
static uint64_t whole_granules(const struct hvri_member *part, uint64_t first,
			       uint64_t max)
{
	uint64_t granule = HVRI_MAX(HVRI_DIGEST_GRANULE >> part->block_shift,
				    UINT64_C(1));
	uint64_t end = (first + max) / granule * granule;

	return end > first ? end - first : 0;
}

/* part->mutex held: put the next blocks into the claim. False: all claimed. */
static bool claim_next(struct hvri_member *part, struct hvri_claim *claim)
{
	uint64_t room = HVRI_CLAIM_BYTES >> part->block_shift;
	uint64_t zero_room = part->cut->same == NULL ?
				     UINT64_MAX :
				     FILTERED_ZERO >> part->block_shift;
	uint64_t end = part->limit, first, count;

	while (claim->count < HVRI_CLAIM_EXTENTS && room > 0) {
		uint64_t max;

		if (!hvri_part_next(part, part->frontier, end, UINT64_MAX,
				    &first, &count)) {
			if (claim->count == 0)
				part->frontier = part->limit;
			break;
		}
		/* The hole that was found begins at the frontier, or before. */
		if (claim->count == 0 && first < part->hole_end) {
			claim->zero = true;
			room = zero_room;
		} else if (claim->zero && first >= part->hole_end) {
			break;
		}
		max = claim->zero ? HVRI_MIN(room, part->hole_end - first) :
				    room;
		if (count > max && part->cut->same != NULL) {
			uint64_t whole = whole_granules(part, first, max);

			if (whole == 0 && claim->count > 0)
				break;
			max = whole == 0 ? max : whole;
		}
		if (count > max)
			room = max;
		count = HVRI_MIN(count, max);
		hvri_claim_add(claim, first, count);
		part->frontier = first + count;
		room -= count;
	}
	return claim->count > 0;
}

/* The next changed extents of an external source become a claim. */
static int32_t claim_external(struct hvri_member *part, struct hvri_claim *claim)
{
	struct hvrepl_cut *cut = part->cut;
	struct hvrepl_extent extents[HVRI_CLAIM_EXTENTS];
	uint64_t limit = HVRI_MIN(part->limit << part->block_shift,
				  part->header.disk_size);
	uint64_t from = part->frontier << part->block_shift, end = from;
	uint64_t room = HVRI_CLAIM_BYTES;
	uint32_t count = HVRI_CLAIM_EXTENTS;
	uint64_t mask = (UINT64_C(1) << part->block_shift) - 1;
	int32_t rc;

	rc = cut->source.changed(cut->source_user, cut->source_handle,
				 part->index, from, extents, &count, &end);
	if (rc < 0 || count > HVRI_CLAIM_EXTENTS || (count == 0 && end <= from))
		return HVREPL_E_CALLBACK;
	for (uint32_t i = 0; i < count && room > 0; i++) {
		uint64_t offset = extents[i].offset, length = extents[i].length;

		if (offset >= limit) {
			end = limit;
			break;
		}
		if (offset < from || length == 0 ||
		    ((offset | length) & mask) != 0 ||
		    length > part->header.disk_size - offset)
			return HVREPL_E_CALLBACK;
		length = HVRI_MIN(HVRI_MIN(length, limit - offset), room);
		hvri_claim_add(claim, offset >> part->block_shift,
			       length >> part->block_shift);
		room -= length;
		from = offset + length;
		/* Cut short: go on from there. */
		if (length < extents[i].length)
			end = from;
		else if (room == 0)
			end = from;
	}
	/* Looked less far than it found: it would be asked the same again. */
	if (end < from)
		return HVREPL_E_CALLBACK;
	hvri_lock(part->mutex);
	part->frontier = HVRI_MIN((end + mask) >> part->block_shift,
				  part->limit);
	if (claim->count > 0)
		hvri_claim_link(claim, part);
	hvri_unlock(part->mutex);
	return HVREPL_OK;
}

static int32_t step_external(struct hvri_member *part, struct hvri_claim *claim)
{
	int32_t rc;

	hvri_lock(part->mutex);
	if (part->asking) {
		hvri_unlock(part->mutex);
		return STEP_WAITS;
	}
	if (part->detached || part->frontier >= part->limit) {
		hvri_unlock(part->mutex);
		return STEP_NOTHING;
	}
	part->asking = true;
	hvri_unlock(part->mutex);
	rc = claim_external(part, claim);
	hvri_lock(part->mutex);
	part->asking = false;
	hvri_unlock(part->mutex);
	if (rc < 0) {
		hvri_cut_fail(part->cut, rc);
		return STEP_NOTHING;
	}
	return STEP_WORKED;
}

static int32_t step_claim(struct hvri_member *part, struct hvri_claim *claim)
{
	uint64_t first, count;
	bool ask;

	if (part->tracker == NULL)
		return step_external(part, claim);
	hvri_lock(part->mutex);
	hvri_part_poll(part);
	if (part->detached) {
		hvri_unlock(part->mutex);
		return STEP_NOTHING;
	}
	/* T3: read only after the I/O of its generation has ended. */
	if (!part->drained) {
		hvri_unlock(part->mutex);
		return STEP_WAITS;
	}
	ask = part->tracker->disk.ops.allocated != NULL &&
	      part->frontier >= part->probed_end &&
	      hvri_part_next(part, part->frontier, part->limit, UINT64_MAX,
			     &first, &count) &&
	      count >= PROBE_BYTES >> part->block_shift;
	if (ask) {
		hvri_cut_ref(part->cut);
		hvri_unlock(part->mutex);
		probe(part, first, count);
		hvri_lock(part->mutex);
		hvri_cut_unref(part->cut);
	}
	/* Voided by now, what it reads is thrown away. */
	if (part->detached || !claim_next(part, claim)) {
		hvri_unlock(part->mutex);
		return STEP_NOTHING;
	}
	hvri_claim_link(claim, part);
	hvri_unlock(part->mutex);
	return STEP_WORKED;
}

/* One claim of one disk: read, spooled. */
static int32_t step(struct hvri_member *part, uint64_t *bytes_inout)
{
	struct hvrepl_cut *cut = part->cut;
	struct hvri_claim claim = { .keep = false };
	struct hvri_kit *kit = NULL;
	int32_t rc, worked;
	bool alive;

	/* First, so that want of memory changes nothing. */
	HVRI_TRY(hvri_kit_take(cut, &kit));
	worked = step_claim(part, &claim);
	if (worked != STEP_WORKED || claim.count == 0) {
		hvri_kit_give(cut, kit);
		if (worked != STEP_WAITS)
			hvri_part_finish(part);
		return worked;
	}
	rc = hvri_claim_read(&claim, kit->raw);
	alive = hvri_claim_end(&claim, rc == HVREPL_OK);
	for (uint32_t i = 0; !claim.zero && i < claim.count; i++)
		*bytes_inout += hvri_part_bytes(part, claim.run[i].first,
						claim.run[i].count);
	if (rc < 0)
		hvri_cut_fail(cut, rc);
	else if (part->tracker != NULL &&
		 atomic_load(&part->tracker->waiting_count) > 0)
		hvri_tracker_kick(part->tracker);
	if (rc == HVREPL_OK && alive) {
		hvri_claim_spool(&claim, kit);
	} else {
		hvri_kit_give(cut, kit);
		hvri_claim_drop(&claim);
	}
	return STEP_WORKED;
}

int32_t hvri_cut_advance(hvrepl_cut *cut, uint64_t budget,
			 uint32_t *progress_out)
{
	uint64_t bytes = 0;

	if (budget == 0)
		budget = BUDGET;
	for (;;) {
		uint32_t turn = atomic_load(&cut->turn), i;
		bool worked = false;

		for (i = 0; i < cut->part_count && !worked; i++) {
			struct hvri_member *part =
				&cut->parts[(turn + i) % cut->part_count];
			int32_t rc = HVREPL_OK;

			if (atomic_load(&cut->state) == HVREPL_CUT_OPEN)
				rc = step(part, &bytes);
			if (rc < 0)
				return rc;
			worked = rc == STEP_WORKED;
			if (worked)
				atomic_store(&cut->turn, part->index);
		}
		switch (atomic_load(&cut->state)) {
		case HVREPL_CUT_VOIDED:
			hvri_cut_clean(cut->group);
			return HVREPL_E_VOIDED;
		case HVREPL_CUT_SPOOLED:
			*progress_out = HVREPL_CUT_DONE;
			return HVREPL_OK;
		default:
			break;
		}
		if (!worked || bytes >= budget) {
			*progress_out = worked ? HVREPL_CUT_MORE :
						 HVREPL_CUT_WAITING;
			return HVREPL_OK;
		}
	}
}
