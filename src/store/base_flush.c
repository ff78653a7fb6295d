/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flushes of a base that a commit and the guest write to at the same time (S8). The
 * error of a flush is told once, to whoever asked, and may have taken what the other one
 * wrote. So they come one at a time (base/flush.h), and each notes it for the other
 * before the next begins.
 */
#include "store/internal.h"

void hvri_base_flush_init(struct hvri_base_flush *flush,
			  const struct hvri_disk *base)
{
	hvri_flushes_init(&flush->flushes);
	hvri_mutex_init(&flush->mutex);
	flush->disk = base;
}

void hvri_base_flush_destroy(struct hvri_base_flush *flush)
{
	hvri_mutex_destroy(&flush->mutex);
	hvri_flushes_destroy(&flush->flushes);
}

void hvri_base_switch_begin(hvrepl_store *store, uint32_t disk)
{
	struct hvri_base_flush *flush = &store->flushes[disk];

	hvri_lock(&flush->mutex);
	flush->commit_lost = false;
	hvri_unlock(&flush->mutex);
}

static int32_t switch_flush(void *user, const void *what)
{
	struct hvri_base_flush *flush = user;
	const bool *shared = what;
	int32_t rc = hvri_disk_flush(flush->disk);

	hvri_lock(&flush->mutex);
	if (rc < 0)
		flush->guest_lost = flush->untold = *shared;
	else if (flush->commit_lost)
		rc = HVREPL_E_DISK_IO;
	hvri_unlock(&flush->mutex);
	return rc;
}

int32_t hvri_base_switch_flush(hvrepl_store *store, uint32_t disk, bool shared)
{
	struct hvri_base_flush *flush = &store->flushes[disk];

	return hvri_flushes_join(&flush->flushes, switch_flush, flush, &shared);
}

/* All guests' calls that it serves are told what is taken here. */
static int32_t guest_flush(void *user, const void *what)
{
	struct hvri_base_flush *flush = user;
	int32_t rc = hvri_disk_flush(flush->disk);

	(void)what;
	hvri_lock(&flush->mutex);
	flush->commit_lost |= rc < 0;
	if (rc == HVREPL_OK && flush->guest_lost)
		rc = HVREPL_E_POISONED;
	flush->guest_lost = flush->untold = false;
	hvri_unlock(&flush->mutex);
	return rc;
}

int32_t hvri_base_guest_flush(hvrepl_store *store, uint32_t disk)
{
	struct hvri_base_flush *flush = &store->flushes[disk];

	return hvri_flushes_join(&flush->flushes, guest_flush, flush, NULL);
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
