/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts of an external change source: RCT, CBT, bitmaps (T11). */
#include "tracker/internal.h"

#include "base/abi.h"

#include <string.h>

#define BLOCK_SHIFT 9u

static int32_t begin(struct hvrepl_cut *cut,
		     const struct hvrepl_change_token *from)
{
	static const struct hvrepl_change_token none;
	int32_t rc;

	rc = cut->source.begin_cut(cut->source_user, from != NULL ? from : &none,
				   &cut->token, &cut->source_handle);
	/* A lost or unknown token: everything counts as changed (T11). */
	if (rc == HVREPL_E_UNTRUSTED) {
		cut->whole = 1;
		rc = cut->source.begin_cut(cut->source_user, &none, &cut->token,
					   &cut->source_handle);
	}
	if (from == NULL || from->length == 0)
		cut->whole = 1;
	if (rc >= 0 && cut->token.length > sizeof(cut->token.bytes)) {
		cut->source.end_cut(cut->source_user, cut->source_handle, 0);
		return HVREPL_E_CALLBACK;
	}
	return rc < 0 ? HVREPL_E_CALLBACK : HVREPL_OK;
}

static int32_t fill(struct hvri_member *part,
		    const struct hvrepl_source_disk *disk,
		    const struct hvrepl_cut_label *label)
{
	struct hvri_segment_header *header = &part->header;

	if (disk->size == 0 || (disk->size & 511) != 0 ||
	    disk->size > UINT64_C(1) << 60 ||
	    (label->limit != UINT64_MAX && (label->limit & 511) != 0))
		return HVREPL_E_INVALID;
	header->identity.vm = disk->vm;
	header->identity.disk = disk->disk;
	header->identity.epoch = label->epoch;
	header->identity.cut = part->cut->id;
	header->identity.from_point = label->from_point;
	header->identity.to_point = label->to_point;
	header->disk_size = disk->size;
	header->block_size = 1u << BLOCK_SHIFT;
	header->utc_ns = part->cut->utc_ns;
	part->block_shift = BLOCK_SHIFT;
	part->blocks = disk->size >> BLOCK_SHIFT;
	part->limit = HVRI_MIN(label->limit >> BLOCK_SHIFT, part->blocks);
	/* Frozen by the source: nothing to wait for. */
	part->published = part->drained = true;
	return HVREPL_OK;
}

int32_t hvri_source_cut(hvrepl_group *group,
			const struct hvrepl_source_ops *ops, void *user,
			const struct hvrepl_source_disk *disks,
			uint32_t disk_count,
			const struct hvrepl_cut_label *label,
			const struct hvrepl_change_token *from,
			struct hvrepl_error *error, hvrepl_cut **cut_out)
{
	struct hvrepl_cut *cut;
	int32_t rc;

	rc = hvri_cut_alloc(group, disk_count, &cut);
	if (rc < 0)
		return hvri_fail_plain(error, rc);
	cut->external = true;
	cut->source = *ops;
	cut->source_user = user;
	for (uint32_t i = 0; rc == HVREPL_OK && i < disk_count; i++)
		rc = fill(&cut->parts[i], &disks[i], label);
	if (rc < 0) {
		hvri_cut_free(cut);
		return hvri_fail(error, rc,
				 "a source disk's size or the label's limit is "
				 "not a multiple of 512 bytes");
	}
	rc = begin(cut, from);
	if (rc < 0) {
		hvri_cut_free(cut);
		return hvri_fail(error, rc,
				 "the source's begin_cut failed: nothing was "
				 "frozen, try again");
	}
	hvri_lock(&group->mutex);
	hvri_cut_enlist(cut);
	hvri_unlock(&group->mutex);
	(void)atomic_fetch_add(&group->cuts_made, 1);
	*cut_out = cut;
	return HVREPL_OK;
}
