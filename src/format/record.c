/* SPDX-License-Identifier: Apache-2.0 */
/* A site's record of one VM, and the parts of it that messages carry too. */
#include "format/record.h"

#include "format/record_parts.h"

#include <string.h>

/*
 * magic u32 "HVOR", version u16, flags u16, length u32 (of all), zero u32,
 * XXH3-128 of everything else (16 bytes), then the fields in order.
 */
#define RECORD_MAGIC 0x524f5648u
/* 1: ended before the loss. 2: ended before the generation told to the peer. */
#define RECORD_VERSION 3u
#define RECORD_HEAD 32u
#define DIGEST_AT 16u

void hvri_put_point(struct hvri_writer *w, const struct hvri_point *point)
{
	hvri_write_uuid(w, &point->epoch);
	hvri_write_u64(w, point->number);
	hvri_write_uuid(w, &point->cut);
	hvri_write_u64(w, point->utc_ns);
}

void hvri_get_point(struct hvri_reader *r, struct hvri_point *point)
{
	hvri_read_uuid(r, &point->epoch);
	point->number = hvri_read_u64(r);
	hvri_read_uuid(r, &point->cut);
	point->utc_ns = hvri_read_u64(r);
}

void hvri_put_frontier(struct hvri_writer *w,
		       const struct hvri_frontier *frontier)
{
	hvri_write_u32(w, frontier->disk);
	hvri_write_u64(w, frontier->offset);
}

void hvri_get_frontier(struct hvri_reader *r, struct hvri_frontier *frontier)
{
	frontier->disk = hvri_read_u32(r);
	frontier->offset = hvri_read_u64(r);
	if (frontier->disk > HVRI_DISKS_MAX)
		r->bad = true;
}

bool hvri_get_bool(struct hvri_reader *r)
{
	uint8_t value = hvri_read_u8(r);

	if (value > 1)
		r->bad = true;
	return value == 1;
}

uint8_t hvri_get_below(struct hvri_reader *r, uint32_t count)
{
	uint8_t value = hvri_read_u8(r);

	if (value >= count) {
		r->bad = true;
		return 0;
	}
	return value;
}

void hvri_get_text(struct hvri_reader *r, char *text, size_t size)
{
	hvri_read_bytes(r, text, size);
	if (memchr(text, 0, size) == NULL) {
		r->bad = true;
		text[0] = 0;
		return;
	}
	for (char *at = text; *at != 0; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			r->bad = true;
}

void hvri_put_lineage(struct hvri_writer *w,
		      const struct hvri_lineage *lineage)
{
	hvri_write_u64(w, lineage->floor);
	hvri_write_u32(w, lineage->count);
	for (uint32_t i = 0; i < lineage->count; i++) {
		const struct hvri_epoch *epoch = &lineage->epochs[i];

		hvri_write_uuid(w, &epoch->id);
		hvri_write_uuid(w, &epoch->parent);
		hvri_write_uuid(w, &epoch->owner);
		hvri_write_u64(w, epoch->ordinal);
		hvri_write_u64(w, epoch->fork_point);
		hvri_write_u8(w, epoch->outcome);
		hvri_write_u8(w, (uint8_t)(epoch->planned |
					   epoch->entered << 1));
	}
}

static bool known_before(const struct hvri_lineage *lineage, uint32_t count,
			 const struct hvrepl_uuid *id)
{
	for (uint32_t i = 0; i < count; i++)
		if (memcmp(&lineage->epochs[i].id, id, sizeof(*id)) == 0)
			return true;
	return false;
}

void hvri_get_lineage(struct hvri_reader *r, struct hvri_lineage *lineage)
{
	static const struct hvrepl_uuid none;

	lineage->floor = hvri_read_u64(r);
	lineage->count = hvri_read_u32(r);
	if (lineage->count > HVRI_EPOCHS_MAX) {
		r->bad = true;
		lineage->count = 0;
	}
	for (uint32_t i = 0; i < lineage->count && !r->bad; i++) {
		struct hvri_epoch *epoch = &lineage->epochs[i];
		uint8_t flags;

		hvri_read_uuid(r, &epoch->id);
		hvri_read_uuid(r, &epoch->parent);
		hvri_read_uuid(r, &epoch->owner);
		epoch->ordinal = hvri_read_u64(r);
		epoch->fork_point = hvri_read_u64(r);
		epoch->outcome =
			hvri_get_below(r, HVREPL_OUTCOME_REFUSED + 1);
		flags = hvri_get_below(r, 4);
		epoch->planned = (flags & 1) != 0;
		epoch->entered = (flags & 2) != 0;
		/* A second entry, or a child older than its parent could make
		 * a walk to the root endless. */
		if (epoch->ordinal == 0 ||
		    memcmp(&epoch->id, &none, sizeof(none)) == 0 ||
		    known_before(lineage, i, &epoch->id))
			r->bad = true;
	}
	for (uint32_t i = 0; i < lineage->count && !r->bad; i++)
		for (uint32_t k = 0; k < lineage->count; k++)
			if (memcmp(&lineage->epochs[i].parent,
				   &lineage->epochs[k].id,
				   sizeof(none)) == 0 &&
			    lineage->epochs[k].ordinal >=
				    lineage->epochs[i].ordinal)
				r->bad = true;
}

void hvri_put_policy(struct hvri_writer *w, const struct hvri_policy *policy)
{
	hvri_write_u64(w, policy->cycle_ns);
	hvri_write_u64(w, policy->window_bytes);
	hvri_write_u64(w, policy->start_wait_ns);
	hvri_write_u32(w, policy->start_without_peer);
	hvri_write_u32(w, policy->points_max);
	hvri_write_u8(w, policy->fence_diverged);
	hvri_write_u8(w, policy->manual_resync);
}

void hvri_get_policy(struct hvri_reader *r, struct hvri_policy *policy)
{
	policy->cycle_ns = hvri_read_u64(r);
	policy->window_bytes = hvri_read_u64(r);
	policy->start_wait_ns = hvri_read_u64(r);
	policy->start_without_peer = hvri_read_u32(r);
	policy->points_max = hvri_read_u32(r);
	policy->fence_diverged = hvri_get_bool(r);
	policy->manual_resync = hvri_get_bool(r);
	if (policy->start_without_peer > HVRI_START_REFUSE)
		r->bad = true;
}

void hvri_put_disks(struct hvri_writer *w, const struct hvri_disk_info *disks,
		    uint32_t count)
{
	hvri_write_u32(w, count);
	for (uint32_t i = 0; i < count; i++) {
		hvri_write_uuid(w, &disks[i].id);
		hvri_write_u64(w, disks[i].size);
		hvri_write_u32(w, disks[i].block_size);
		hvri_write_bytes(w, disks[i].name, sizeof(disks[i].name));
	}
}

void hvri_get_disks(struct hvri_reader *r, struct hvri_disk_info *disks,
		    uint32_t *count_out)
{
	uint32_t count = hvri_read_u32(r);

	if (count > HVRI_DISKS_MAX) {
		r->bad = true;
		count = 0;
	}
	for (uint32_t i = 0; i < count; i++) {
		hvri_read_uuid(r, &disks[i].id);
		disks[i].size = hvri_read_u64(r);
		disks[i].block_size = hvri_read_u32(r);
		hvri_get_text(r, disks[i].name, sizeof(disks[i].name));
		/* The sum over all disks must not wrap either. */
		if (disks[i].size == 0 || disks[i].size > UINT64_MAX >> 8)
			r->bad = true;
	}
	*count_out = count;
}

static void put_identity(struct hvri_writer *w, const struct hvri_record *rec)
{
	hvri_write_uuid(w, &rec->id);
	hvri_write_u64(w, rec->generation);
	hvri_write_uuid(w, &rec->peer_id);
	hvri_write_u64(w, rec->peer_generation);
	hvri_write_uuid(w, &rec->vm);
	hvri_write_uuid(w, &rec->site);
	hvri_write_uuid(w, &rec->peer);
	hvri_write_bytes(w, rec->vm_name, sizeof(rec->vm_name));
	hvri_put_policy(w, &rec->policy);
	hvri_put_disks(w, rec->disks, rec->disk_count);
}

static void get_identity(struct hvri_reader *r, struct hvri_record *rec)
{
	hvri_read_uuid(r, &rec->id);
	rec->generation = hvri_read_u64(r);
	hvri_read_uuid(r, &rec->peer_id);
	rec->peer_generation = hvri_read_u64(r);
	hvri_read_uuid(r, &rec->vm);
	hvri_read_uuid(r, &rec->site);
	hvri_read_uuid(r, &rec->peer);
	hvri_get_text(r, rec->vm_name, sizeof(rec->vm_name));
	hvri_get_policy(r, &rec->policy);
	hvri_get_disks(r, rec->disks, &rec->disk_count);
}

static void put_standing(struct hvri_writer *w, const struct hvri_record *rec)
{
	hvri_write_u8(w, rec->mode);
	hvri_write_u8(w, rec->phase);
	hvri_write_u8(w, rec->phase_before);
	hvri_write_u8(w, rec->form);
	hvri_write_u8(w, rec->ownership);
	hvri_write_u8(w, rec->pause);
	hvri_write_u8(w, rec->rolled_back);
	hvri_write_u8(w, rec->untrusted);
	hvri_write_u8(w, rec->dirty);
	hvri_write_u8(w, rec->peer_enabled);
	hvri_write_u8(w, rec->peer_has_points);
	hvri_write_u8(w, rec->handover_clean);
	hvri_write_u8(w, rec->adopted);
	hvri_write_u8(w, rec->tail_pinned);
	hvri_write_u32(w, (uint32_t)rec->error_code);
	hvri_put_lineage(w, &rec->lineage);
	hvri_write_uuid(w, &rec->current);
	hvri_write_uuid(w, &rec->relinquished);
	hvri_write_u64(w, rec->relinquished_point);
	hvri_write_u8(w, rec->verdict);
	hvri_write_uuid(w, &rec->verdict_mine);
	hvri_write_uuid(w, &rec->verdict_peer);
	hvri_write_uuid(w, &rec->discard_loser);
	hvri_write_uuid(w, &rec->discard_winner);
	hvri_write_uuid(w, &rec->joining);
	hvri_write_u64(w, rec->point_reserved);
	hvri_put_point(w, &rec->position);
	hvri_put_point(w, &rec->last_cut);
	hvri_put_point(w, &rec->last_acked);
	hvri_put_point(w, &rec->failover);
	hvri_write_uuid(w, &rec->overlay);
	hvri_put_point(w, &rec->tail);
	hvri_put_frontier(w, &rec->frontier);
	hvri_write_u64(w, rec->job.id);
	hvri_write_u32(w, rec->job.operation);
	hvri_write_u8(w, rec->job.asked_by_peer);
	hvri_write_uuid(w, &rec->job.epoch);
	hvri_write_u64(w, rec->job.point);
	hvri_write_u64(w, rec->loss.point);
	hvri_write_u64(w, rec->loss.point_utc_ns);
	hvri_write_u64(w, rec->loss.utc_ns);
	hvri_write_u64(w, rec->loss.said_bytes);
	hvri_write_u64(w, rec->loss.tail_bytes);
	hvri_write_u64(w, rec->loss.skipped_bytes);
	hvri_write_u64(w, rec->said_generation);
}

static void get_standing(struct hvri_reader *r, struct hvri_record *rec,
			 uint16_t version)
{
	rec->mode = hvri_get_below(r, HVREPL_MODE_COUNT);
	rec->phase = hvri_get_below(r, HVRI_PHASE_COUNT);
	rec->phase_before = hvri_get_below(r, HVRI_PHASE_COUNT);
	rec->form = hvri_get_below(r, HVRI_FORM_COUNT);
	rec->ownership = hvri_get_below(r, HVREPL_OWNERSHIP_COUNT);
	rec->pause = hvri_get_below(r, 4);
	rec->rolled_back = hvri_get_bool(r);
	rec->untrusted = hvri_get_bool(r);
	rec->dirty = hvri_get_bool(r);
	rec->peer_enabled = hvri_get_bool(r);
	rec->peer_has_points = hvri_get_bool(r);
	rec->handover_clean = hvri_get_bool(r);
	rec->adopted = hvri_get_bool(r);
	rec->tail_pinned = hvri_get_bool(r);
	rec->error_code = (int32_t)hvri_read_u32(r);
	hvri_get_lineage(r, &rec->lineage);
	hvri_read_uuid(r, &rec->current);
	hvri_read_uuid(r, &rec->relinquished);
	rec->relinquished_point = hvri_read_u64(r);
	rec->verdict = hvri_get_below(r, HVRI_VERDICT_DIVERGED + 1);
	hvri_read_uuid(r, &rec->verdict_mine);
	hvri_read_uuid(r, &rec->verdict_peer);
	hvri_read_uuid(r, &rec->discard_loser);
	hvri_read_uuid(r, &rec->discard_winner);
	hvri_read_uuid(r, &rec->joining);
	rec->point_reserved = hvri_read_u64(r);
	hvri_get_point(r, &rec->position);
	hvri_get_point(r, &rec->last_cut);
	hvri_get_point(r, &rec->last_acked);
	hvri_get_point(r, &rec->failover);
	hvri_read_uuid(r, &rec->overlay);
	hvri_get_point(r, &rec->tail);
	hvri_get_frontier(r, &rec->frontier);
	rec->job.id = hvri_read_u64(r);
	rec->job.operation = hvri_read_u32(r);
	rec->job.asked_by_peer = hvri_get_bool(r);
	hvri_read_uuid(r, &rec->job.epoch);
	rec->job.point = hvri_read_u64(r);
	if (rec->job.operation >= HVREPL_OPERATION_COUNT)
		r->bad = true;
	/* Before it was kept, each change was told as it came. */
	rec->said_generation = rec->generation;
	if (version < 2)
		return;
	rec->loss.point = hvri_read_u64(r);
	rec->loss.point_utc_ns = hvri_read_u64(r);
	rec->loss.utc_ns = hvri_read_u64(r);
	rec->loss.said_bytes = hvri_read_u64(r);
	rec->loss.tail_bytes = hvri_read_u64(r);
	rec->loss.skipped_bytes = hvri_read_u64(r);
	if (version < 3)
		return;
	rec->said_generation = hvri_read_u64(r);
	if (rec->said_generation > rec->generation)
		r->bad = true;
}

/* Head without the digest, then all that follows it. */
static void digest_of(const uint8_t *bytes, size_t length, uint8_t out[16])
{
	const struct hvri_part parts[] = {
		{ bytes, DIGEST_AT },
		{ bytes + RECORD_HEAD, length - RECORD_HEAD },
	};

	hvri_xxh3(parts, 2, out);
}

int32_t hvri_record_encode(const struct hvri_record *record, void *out,
			   size_t size, size_t *length_out)
{
	struct hvri_writer w =
		hvri_writer_over(out, HVRI_MIN(size, HVRI_RECORD_ENCODED_MAX));
	struct hvri_writer head;
	uint8_t *bytes = out;

	hvri_write_pad(&w, RECORD_HEAD);
	put_identity(&w, record);
	put_standing(&w, record);
	if (w.bad)
		return HVREPL_E_LIMIT;
	head = hvri_writer_over(out, DIGEST_AT);
	hvri_write_u32(&head, RECORD_MAGIC);
	hvri_write_u16(&head, RECORD_VERSION);
	hvri_write_u16(&head, 0);
	hvri_write_u32(&head, (uint32_t)w.written);
	hvri_write_u32(&head, 0);
	digest_of(bytes, w.written, bytes + DIGEST_AT);
	*length_out = w.written;
	return HVREPL_OK;
}

int32_t hvri_record_decode(const void *bytes, size_t length,
			   struct hvri_record *record_out)
{
	struct hvri_reader r = hvri_reader_over(bytes, length);
	const uint8_t *in = bytes;
	uint32_t magic = hvri_read_u32(&r);
	uint16_t version = hvri_read_u16(&r);
	uint16_t flags = hvri_read_u16(&r);
	uint32_t stated = hvri_read_u32(&r);
	uint8_t digest[16];

	if (length < RECORD_HEAD)
		return HVREPL_E_TRUNCATED;
	if (magic != RECORD_MAGIC)
		return HVREPL_E_CORRUPT;
	if (version == 0 || version > RECORD_VERSION)
		return version > RECORD_VERSION ? HVREPL_E_FORMAT_TOO_NEW :
						  HVREPL_E_CORRUPT;
	if (stated > length)
		return HVREPL_E_TRUNCATED;
	digest_of(in, length, digest);
	if (stated != length || flags != 0 ||
	    memcmp(digest, in + DIGEST_AT, sizeof(digest)) != 0)
		return HVREPL_E_CORRUPT;
	r = hvri_reader_over(in + RECORD_HEAD, length - RECORD_HEAD);
	memset(record_out, 0, sizeof(*record_out));
	get_identity(&r, record_out);
	get_standing(&r, record_out, version);
	return hvri_reader_end(&r, HVREPL_E_CORRUPT);
}
