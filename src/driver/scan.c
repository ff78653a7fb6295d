/* SPDX-License-Identifier: Apache-2.0 */
/* Keyed digests of one site's granules: of a frozen point, or of live disks. */
#include "driver/compare.h"

#include "base/plant.h"

#include <openssl/crypto.h>
#include <string.h>

#define PIECE_GRANULES 4u

bool hvri_digest_none(const uint8_t digest[HVRI_DIGEST_SIZE])
{
	static const uint8_t none[HVRI_DIGEST_SIZE];

	return memcmp(digest, none, sizeof(none)) == 0;
}

bool hvri_digest_unread(const uint8_t digest[HVRI_DIGEST_SIZE])
{
	for (uint32_t i = 0; i < HVRI_DIGEST_SIZE; i++)
		if (digest[i] != 0xff)
			return false;
	return true;
}

uint32_t hvri_granule_bytes(const struct hvri_vm *vm, uint32_t disk,
			    uint64_t offset)
{
	return (uint32_t)HVRI_MIN(vm->disks[disk].spec.size - offset,
				  (uint64_t)HVRI_DIGEST_GRANULE);
}

uint32_t hvri_granules(const struct hvri_vm *vm, uint32_t disk, uint64_t offset)
{
	uint64_t left = vm->disks[disk].spec.size - offset;
	uint64_t count = left / HVRI_DIGEST_GRANULE +
			 (left % HVRI_DIGEST_GRANULE != 0 ? 1 : 0);

	return (uint32_t)HVRI_MIN(count, (uint64_t)HVRI_DIGESTS_MAX);
}

struct hvri_point hvri_scan_point(const struct hvri_vm *vm)
{
	const struct hvri_relationship *r = &vm->relationship;
	struct hvri_point none = { .number = 0 };

	if (vm->closing)
		return none;
	if (r->record.ownership == HVREPL_OWNERSHIP_STANDBY)
		return vm->store != NULL ? r->record.position : none;
	/* The record may be behind what the peer has confirmed, and the tracker
	 * forgotten it, until the peer has said where it is. */
	if (r->record.ownership != HVREPL_OWNERSHIP_OWNER || !r->peer_ready ||
	    vm->disk_count == 0)
		return none;
	for (uint32_t i = 0; i < vm->disk_count; i++)
		if (vm->disks[i].tracker == NULL)
			return none;
	return r->record.last_acked;
}

static bool same_point(const struct hvri_point *a, const struct hvri_point *b)
{
	return a->number == b->number && hvri_uuid_equal(&a->epoch, &b->epoch) &&
	       hvri_uuid_equal(&a->cut, &b->cut);
}

int32_t hvri_scan_begin(struct hvri_scan *scan, struct hvri_vm *vm,
			const struct hvri_digest_ask *ask)
{
	struct hvri_comparison *comparison = hvri_comparison_of(vm);
	struct hvri_point point = hvri_scan_point(vm);

	if (comparison == NULL)
		return HVREPL_E_NOMEM;
	if (ask->disk >= vm->disk_count ||
	    ask->offset >= vm->disks[ask->disk].spec.size ||
	    ask->count > hvri_granules(vm, ask->disk, ask->offset))
		return HVREPL_E_RANGE;
	if (point.number == 0 ||
	    (ask->point != 0 && ask->point != point.number))
		return HVREPL_E_BUSY;
	/* What differs then is not marked: it is found by a resynchronization, and
	 * is no damage. */
	if (vm->relationship.record.ownership == HVREPL_OWNERSHIP_OWNER &&
	    vm->relationship.record.untrusted)
		return HVREPL_E_UNTRUSTED;
	scan->vm = vm;
	scan->disk = ask->disk;
	scan->offset = ask->offset;
	scan->count = ask->count;
	scan->done = 0;
	scan->point = point;
	scan->live = vm->relationship.record.ownership ==
		     HVREPL_OWNERSHIP_OWNER;
	scan->store = vm->store;
	scan->key_of_point = 0;
	scan->code = HVREPL_OK;
	memcpy(scan->key, ask->key, sizeof(scan->key));
	if (!scan->live) {
		hvri_vm_list_points(vm);
		for (uint32_t i = 0; i < vm->point_count; i++)
			if (vm->points[i].number == point.number)
				scan->key_of_point = vm->points[i].point;
		if (scan->key_of_point == 0)
			return HVREPL_E_BUSY;
	}
	(void)__atomic_add_fetch(&comparison->users, 1, __ATOMIC_SEQ_CST);
	return HVREPL_OK;
}

static void close_view(struct hvri_comparison *comparison)
{
	if (comparison->has_view_disk)
		hvri_disk_drop(&comparison->view_disk);
	comparison->has_view_disk = false;
	if (comparison->view != NULL)
		(void)!hvri_view_close(comparison->view);
	comparison->view = NULL;
}

static int32_t open_disk(struct hvri_scan *scan, const struct hvri_disk **out)
{
	struct hvri_comparison *comparison = scan->vm->comparison;
	struct hvrepl_disk disk;

	if (scan->live) {
		*out = &scan->vm->disks[scan->disk].live.disk;
		return HVREPL_OK;
	}
	if (comparison->view != NULL &&
	    (comparison->view_store != scan->store ||
	     comparison->view_point != scan->key_of_point))
		close_view(comparison);
	if (comparison->view == NULL) {
		HVRI_TRY(hvri_view_open(scan->store, scan->key_of_point,
					HVREPL_VIEW_READ_ONLY |
						HVREPL_VIEW_AS_IS,
					&comparison->view, NULL));
		comparison->view_store = scan->store;
		comparison->view_point = scan->key_of_point;
	}
	if (comparison->has_view_disk &&
	    comparison->view_disk_index != scan->disk) {
		hvri_disk_drop(&comparison->view_disk);
		comparison->has_view_disk = false;
	}
	if (!comparison->has_view_disk) {
		HVRI_TRY(hvri_view_disk(comparison->view, scan->disk, &disk));
		HVRI_TRY(hvri_disk_take(&comparison->view_disk, &disk, NULL));
		comparison->has_view_disk = true;
		comparison->view_disk_index = scan->disk;
	}
	*out = &comparison->view_disk;
	return HVREPL_OK;
}

static int32_t prepare(struct hvri_scan *scan, const struct hvri_disk **out)
{
	struct hvri_comparison *comparison = scan->vm->comparison;

	if (comparison->buffer == NULL)
		comparison->buffer = hvri_alloc_io(&scan->vm->node->env,
						   HVRI_DIGEST_GRANULE);
	if (comparison->buffer == NULL)
		return HVREPL_E_NOMEM;
	if (!comparison->has_gmac ||
	    CRYPTO_memcmp(comparison->gmac_key, scan->key,
			  sizeof(scan->key)) != 0) {
		if (comparison->has_gmac)
			hvri_gmac_free(&comparison->gmac);
		comparison->has_gmac = false;
		HVRI_TRY(hvri_gmac_init(&comparison->gmac, scan->key));
		memcpy(comparison->gmac_key, scan->key, sizeof(scan->key));
		comparison->has_gmac = true;
	}
	return open_disk(scan, out);
}

static int32_t digest_one(struct hvri_scan *scan, const struct hvri_disk *disk)
{
	struct hvri_comparison *comparison = scan->vm->comparison;
	uint64_t offset = scan->offset +
			  (uint64_t)scan->done * HVRI_DIGEST_GRANULE;
	uint32_t length = hvri_granule_bytes(scan->vm, scan->disk, offset);
	uint8_t *digest = hvri_scan_digest(scan, scan->done);
	struct hvrepl_extent changed;
	int32_t rc;

	rc = hvri_disk_read(disk, offset, comparison->buffer, length);
	/* What a store cannot read differs from whatever the other has: it is
	 * sent again (S1). No digest of anything is that. */
	if (rc == HVREPL_E_DISK_IO && !scan->live) {
		memset(digest, 0xff, HVRI_DIGEST_SIZE);
		scan->done++;
		return HVREPL_OK;
	}
	if (rc < 0)
		return rc;
	if (HVRI_PLANT(stale_padding)) { /* Whole granules, whatever is behind. */
		memset(comparison->buffer + length,
		       (int)scan->vm->node->incarnation,
		       HVRI_DIGEST_GRANULE - length);
		length = HVRI_DIGEST_GRANULE;
	}
	HVRI_TRY(hvri_gmac_block(&comparison->gmac, scan->disk, offset,
				 comparison->buffer, length, digest));
	/* After the read: a write that it may have seen is marked by now. */
	if (scan->live &&
	    hvri_tracker_next_changed(scan->vm->disks[scan->disk].tracker,
				      offset, offset + length, &changed))
		memset(digest, 0, HVRI_DIGEST_SIZE);
	scan->done++;
	return HVREPL_OK;
}

bool hvri_scan_piece(struct hvri_scan *scan)
{
	struct hvri_comparison *comparison = scan->vm->comparison;
	const struct hvri_disk *disk = NULL;
	uint32_t left = PIECE_GRANULES;

	/* An earlier job of the lane may have taken the tracker away. */
	if (scan->live && scan->vm->disks[scan->disk].tracker == NULL)
		scan->code = HVREPL_E_BUSY;
	if (scan->code == HVREPL_OK)
		scan->code = prepare(scan, &disk);
	while (scan->code == HVREPL_OK && scan->done < scan->count &&
	       left-- > 0)
		scan->code = digest_one(scan, disk);
	if (scan->code == HVREPL_OK && scan->done < scan->count)
		return true;
	/* A view pins its point: it goes with the last who needs it. */
	if (__atomic_load_n(&comparison->users, __ATOMIC_SEQ_CST) == 1 &&
	    __atomic_load_n(&comparison->waiting, __ATOMIC_SEQ_CST) <= 1)
		close_view(comparison);
	(void)__atomic_sub_fetch(&comparison->users, 1, __ATOMIC_SEQ_CST);
	return false;
}

void hvri_scan_idle(struct hvri_vm *vm)
{
	if (__atomic_load_n(&vm->comparison->users, __ATOMIC_SEQ_CST) == 0)
		close_view(vm->comparison);
}

int32_t hvri_scan_end(struct hvri_scan *scan)
{
	struct hvri_point point = hvri_scan_point(scan->vm);

	OPENSSL_cleanse(scan->key, sizeof(scan->key));
	if (scan->code < 0)
		return scan->code;
	/* Live content: what the tracker showed as unchanged was that since the
	 * point that is acknowledged last. Points of a store do not change. */
	return !scan->live || same_point(&point, &scan->point) ? HVREPL_OK :
								  HVREPL_E_BUSY;
}

void hvri_scan_free(struct hvri_vm *vm)
{
	struct hvri_comparison *comparison = vm->comparison;

	close_view(comparison);
	if (comparison->has_gmac)
		hvri_gmac_free(&comparison->gmac);
	OPENSSL_cleanse(comparison->gmac_key, sizeof(comparison->gmac_key));
	hvri_free(&vm->node->env, comparison->buffer, HVRI_DIGEST_GRANULE);
}
