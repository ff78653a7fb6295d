/* SPDX-License-Identifier: Apache-2.0 */
/* A cut used directly: what it holds, listing its extents, reading blocks. */
#include "tracker/internal.h"

/* part->mutex held. Counted when somebody asks: it costs a walk of the map. */
static uint64_t changed_bytes(struct hvri_member *part)
{
	hvri_part_poll(part);
	if (part->published && part->map != NULL && part->changed_bytes == 0)
		part->changed_bytes =
			HVRI_MIN(hvri_bitmap_count(part->map, 0, part->limit)
					 << part->block_shift,
				 part->header.disk_size);
	return part->changed_bytes;
}

void hvri_cut_info(hvrepl_cut *cut, struct hvrepl_cut_info *info_out)
{
	struct hvrepl_cut_info info = {
		.state = atomic_load(&cut->state),
		.reason = atomic_load(&cut->reason),
		.disk_count = cut->part_count,
		.id = cut->id,
		.utc_ns = cut->utc_ns,
	};

	for (uint32_t i = 0; i < cut->part_count; i++) {
		struct hvri_member *part = &cut->parts[i];

		hvri_lock(part->mutex);
		info.changed_bytes += changed_bytes(part);
		info.read_bytes += part->read_bytes;
		hvri_unlock(part->mutex);
	}
	hvri_lock(&cut->mutex);
	info.spool_bytes = cut->memory + cut->spill_end;
	hvri_unlock(&cut->mutex);
	*info_out = info;
}

int32_t hvri_cut_disk(hvrepl_cut *cut, uint32_t index,
		      struct hvrepl_cut_disk *disk_out)
{
	struct hvri_member *part;

	if (index >= cut->part_count)
		return HVREPL_E_INVALID;
	part = &cut->parts[index];
	hvri_lock(part->mutex);
	*disk_out = (struct hvrepl_cut_disk){
		.block_size = part->header.block_size,
		.vm = part->header.identity.vm,
		.disk = part->header.identity.disk,
		.tracker = part->tracker,
		.disk_size = part->header.disk_size,
		.limit = HVRI_MIN(part->limit << part->block_shift,
				  part->header.disk_size),
		.changed_bytes = changed_bytes(part),
	};
	hvri_unlock(part->mutex);
	return HVREPL_OK;
}

/* An external source knows itself. */
static int32_t source_extents(const struct hvri_member *part, uint64_t from,
			      uint64_t limit, struct hvrepl_extent *extents_out,
			      uint32_t *count_inout, uint64_t *end_out)
{
	struct hvrepl_cut *cut = part->cut;

	if (atomic_load(&cut->state) == HVREPL_CUT_VOIDED)
		return HVREPL_E_VOIDED;
	if (cut->source.changed(cut->source_user, cut->source_handle,
				part->index, from, extents_out, count_inout,
				end_out) < 0)
		return HVREPL_E_CALLBACK;
	*end_out = HVRI_MIN(*end_out, limit);
	return HVREPL_OK;
}

int32_t hvri_cut_next_extents(hvrepl_cut *cut, uint32_t disk, uint64_t from,
			      struct hvrepl_extent *extents_out,
			      uint32_t *count_inout, uint64_t *end_out)
{
	struct hvri_member *part;
	uint64_t at, first, count, limit;
	uint32_t found = 0;
	int32_t rc = HVREPL_OK;

	if (disk >= cut->part_count || *count_inout == 0)
		return HVREPL_E_INVALID;
	part = &cut->parts[disk];
	limit = HVRI_MIN(part->limit << part->block_shift,
			 part->header.disk_size);
	if (from > limit)
		return HVREPL_E_INVALID;
	if (part->tracker == NULL)
		return source_extents(part, from, limit, extents_out,
				      count_inout, end_out);
	hvri_lock(part->mutex);
	hvri_part_poll(part);
	if (atomic_load(&cut->state) == HVREPL_CUT_VOIDED)
		rc = HVREPL_E_VOIDED;
	else if (!part->published)
		rc = HVREPL_E_BUSY;
	else if (part->map == NULL)
		rc = part->failed ? HVREPL_E_VOIDED : HVREPL_E_STATE;
	at = from >> part->block_shift;
	while (rc == HVREPL_OK && found < *count_inout &&
	       hvri_bitmap_next(part->map, at, part->limit, UINT64_MAX, &first,
				&count)) {
		extents_out[found].offset = first << part->block_shift;
		extents_out[found].length =
			hvri_part_bytes(part, first, count);
		at = first + count;
		found++;
	}
	/* Full: there may be more behind the last one. */
	if (rc == HVREPL_OK) {
		*end_out = found == *count_inout ?
				   extents_out[found - 1].offset +
					   extents_out[found - 1].length :
				   limit;
		*count_inout = found;
	}
	hvri_unlock(part->mutex);
	return rc;
}

/* The sooner of `out` and the first run of `map`. */
static void sooner(const struct hvri_bitmap *map, uint64_t from, uint64_t end,
		   uint64_t *first_inout, uint64_t *count_out)
{
	uint64_t first, count;

	if (hvri_bitmap_next(map, from, HVRI_MIN(end, *first_inout), UINT64_MAX,
			     &first, &count)) {
		*first_inout = first;
		*count_out = count;
	}
}

bool hvri_tracker_next_changed(hvrepl_tracker *tracker, uint64_t from,
			       uint64_t end, struct hvrepl_extent *extent_out)
{
	uint64_t mask = (UINT64_C(1) << tracker->block_shift) - 1;
	uint64_t first = UINT64_MAX, count = 0;

	end = HVRI_MIN(end, tracker->size);
	extent_out->offset = end;
	extent_out->length = 0;
	if (from >= end)
		return false;
	from >>= tracker->block_shift;
	end = (end + mask) >> tracker->block_shift;
	/* The live maps, and those of cuts that are not settled. */
	hvri_lock(&tracker->mutex);
	for (unsigned i = 0; i < 2; i++)
		sooner(atomic_load(&tracker->map[i]), from, end, &first,
		       &count);
	for (const struct hvri_member *part = tracker->parts; part != NULL;
	     part = part->newer)
		sooner(part->map, from, end, &first, &count);
	hvri_unlock(&tracker->mutex);
	if (count == 0)
		return false;
	extent_out->offset = first << tracker->block_shift;
	extent_out->length =
		HVRI_MIN((first + count) << tracker->block_shift,
			 tracker->size) - extent_out->offset;
	return true;
}

enum where { NOWHERE, ON_DISK, IN_SPOOL, COMING };

/* part->mutex held. How the run of at most *count blocks at `first` is to be
 * read; shortens *count to where that holds. */
static enum where locate(const struct hvri_member *part, uint64_t first,
			 uint64_t *count)
{
	uint64_t run, length, copied, copied_length;

	if (first >= part->limit ||
	    !hvri_bitmap_next(part->map, first, first + 1, 1, &run, &length))
		return NOWHERE;
	(void)hvri_bitmap_next(part->map, first, first + *count, UINT64_MAX,
			       &run, &length);
	*count = HVRI_MIN(length, part->limit - first);
	if (part->detached)
		return IN_SPOOL;
	for (const struct hvri_claim *c = part->claims; c != NULL;
	     c = c->next) {
		for (uint32_t i = 0; i < c->count && !c->keep; i++) {
			uint64_t start = c->run[i].first;
			uint64_t end = start + c->run[i].count;

			if (first >= start && first < end)
				return COMING;
			if (start > first)
				*count = HVRI_MIN(*count, start - first);
		}
	}
	if (first < part->frontier) {
		*count = HVRI_MIN(*count, part->frontier - first);
		return IN_SPOOL;
	}
	if (part->copied.top == NULL ||
	    !hvri_bitmap_next(&part->copied, first, first + *count, UINT64_MAX,
			      &copied, &copied_length))
		return ON_DISK;
	if (copied > first) {
		*count = copied - first;
		return ON_DISK;
	}
	*count = copied_length;
	return IN_SPOOL;
}

/* One piece. PENDING: blocks are on their way into the spool. */
static int32_t read_piece(struct hvri_member *part, uint64_t first,
			  uint64_t *count, uint8_t *buffer)
{
	struct hvri_claim claim = { .keep = true };
	enum where where;
	int32_t rc;

	hvri_lock(part->mutex);
	if (part->map == NULL) {
		hvri_unlock(part->mutex);
		return HVREPL_E_VOIDED;
	}
	hvri_part_poll(part);
	if (!part->drained) {
		hvri_unlock(part->mutex);
		return HVREPL_E_BUSY;
	}
	where = locate(part, first, count);
	if (where == ON_DISK) {
		/* Writers wait while it is read; it stays owed. */
		hvri_claim_add(&claim, first, *count);
		hvri_claim_link(&claim, part);
	}
	hvri_unlock(part->mutex);
	if (where == NOWHERE)
		return HVREPL_E_RANGE;
	if (where == COMING)
		return HVREPL_PENDING;
	if (where == IN_SPOOL)
		return hvri_spool_read(part, first, *count, buffer);
	rc = hvri_claim_read(&claim, buffer);
	if (!hvri_claim_end(&claim, rc == HVREPL_OK) && rc == HVREPL_OK)
		rc = HVREPL_E_VOIDED;
	hvri_part_finish(part);
	hvri_claim_drop(&claim);
	if (atomic_load(&part->tracker->waiting_count) > 0)
		hvri_tracker_kick(part->tracker);
	return rc;
}

static int32_t read_source(struct hvri_member *part, uint64_t offset,
			   uint8_t *buffer, size_t length)
{
	struct hvrepl_cut *cut = part->cut;
	struct hvri_op_wait wait;
	int32_t rc;

	hvri_op_wait_init(&wait);
	rc = cut->source.read_frozen(cut->source_user, &wait.op,
				     cut->source_handle, part->index, offset,
				     buffer, length);
	rc = hvri_op_wait_end(&wait, rc);
	return rc < 0 ? HVREPL_E_DISK_IO : HVREPL_OK;
}

int32_t hvri_cut_read(hvrepl_cut *cut, uint32_t disk, uint64_t offset,
		      void *buffer, size_t length)
{
	uint8_t *to = buffer;
	struct hvri_member *part;
	uint64_t mask, size;

	if (disk >= cut->part_count)
		return HVREPL_E_INVALID;
	part = &cut->parts[disk];
	mask = (UINT64_C(1) << part->block_shift) - 1;
	size = part->header.disk_size;
	if (offset > size || length > size - offset || (offset & mask) != 0 ||
	    ((length & mask) != 0 && offset + length != size))
		return HVREPL_E_RANGE;
	if (cut->same != NULL)
		return HVREPL_E_STATE; /* What was left out is nowhere. */
	if (part->tracker == NULL)
		return read_source(part, offset, to, length);
	while (length > 0) {
		uint64_t first = offset >> part->block_shift;
		uint64_t count = (length + mask) >> part->block_shift;
		uint64_t bytes, seen = hvri_cut_news(cut);
		int32_t rc;

		if (atomic_load(&cut->state) == HVREPL_CUT_VOIDED)
			return HVREPL_E_VOIDED;
		rc = read_piece(part, first, &count, to);
		if (rc == HVREPL_PENDING) {
			hvri_cut_await(cut, seen);
			continue;
		}
		if (rc < 0)
			return rc;
		bytes = hvri_part_bytes(part, first, count);
		to += bytes;
		offset += bytes;
		length -= (size_t)bytes;
	}
	return HVREPL_OK;
}
