/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flushes of a base that a commit and the guest write to at the same time (S8). The
 * error of a flush is told once, to whoever asked, and may have taken what the other one
 * wrote. So each notes it for the other, and nobody flushes in between.
 */
#include "store/internal.h"

#include "base/plant.h"

void hvri_base_switch_begin(hvrepl_store *store, uint32_t disk)
{
	struct hvri_base_flush *flush = &store->flushes[disk];

	hvri_lock(&flush->mutex);
	flush->commit_lost = false;
	hvri_unlock(&flush->mutex);
}

int32_t hvri_base_switch_flush(hvrepl_store *store, uint32_t disk, bool shared)
{
	struct hvri_base_flush *flush = &store->flushes[disk];
	int32_t rc;

	hvri_lock(&flush->mutex);
	rc = hvri_disk_flush(&store->bases[disk]);
	if (rc < 0)
		flush->guest_lost = flush->untold = shared;
	else if (flush->commit_lost)
		rc = HVREPL_E_DISK_IO;
	hvri_unlock(&flush->mutex);
	return rc;
}

int32_t hvri_base_guest_flush(hvrepl_store *store, uint32_t disk, int32_t rc)
{
	struct hvri_base_flush *flush = &store->flushes[disk];

	hvri_lock(&flush->mutex);
	if (rc == HVREPL_OK && !HVRI_PLANT(guest_flush_leaves_base)) {
		rc = hvri_disk_flush(&store->bases[disk]);
		flush->commit_lost |= rc < 0;
	}
	if (rc == HVREPL_OK && flush->guest_lost)
		rc = HVREPL_E_POISONED;
	flush->guest_lost = flush->untold = false;
	hvri_unlock(&flush->mutex);
	return rc;
}

bool hvri_store_take_base_lost(hvrepl_store *store, uint32_t disk)
{
	struct hvri_base_flush *flush = &store->flushes[disk];
	bool untold;

	hvri_lock(&flush->mutex);
	untold = flush->untold;
	flush->untold = false;
	hvri_unlock(&flush->mutex);
	return untold;
}
