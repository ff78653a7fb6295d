/* SPDX-License-Identifier: Apache-2.0 */
/* A disk whose target can be exchanged between two I/Os. */
#include "driver/live.h"

#include "base/op.h"

static int32_t live_info(void *user, struct hvrepl_disk_info *info_out)
{
	struct hvri_live *live = user;
	int32_t rc = HVREPL_E_FENCED;

	hvri_lock_shared(&live->lock);
	if (live->current != NULL)
		rc = live->current->ops.info(live->current->user, info_out);
	hvri_rwlock_unlock(&live->lock);
	return rc;
}

/* Each waits inside: the lock covers the whole I/O. */
static int32_t live_readv(void *user, hvrepl_op *op, uint64_t offset,
			  const struct hvrepl_iovec *iov, uint32_t iov_count)
{
	struct hvri_live *live = user;
	int32_t rc = HVREPL_E_FENCED;

	(void)op;
	hvri_lock_shared(&live->lock);
	for (uint32_t i = 0; i < iov_count && live->current != NULL; i++) {
		rc = hvri_disk_read(live->current, offset, iov[i].base,
				    iov[i].length);
		if (rc < 0)
			break;
		offset += iov[i].length;
	}
	hvri_rwlock_unlock(&live->lock);
	return rc;
}

static int32_t live_writev(void *user, hvrepl_op *op, uint64_t offset,
			   const struct hvrepl_iovec *iov, uint32_t iov_count)
{
	struct hvri_live *live = user;
	int32_t rc = HVREPL_E_FENCED;

	(void)op;
	hvri_lock_shared(&live->lock);
	for (uint32_t i = 0; i < iov_count && live->current != NULL; i++) {
		rc = hvri_disk_write(live->current, offset, iov[i].base,
				     iov[i].length);
		if (rc < 0)
			break;
		offset += iov[i].length;
	}
	hvri_rwlock_unlock(&live->lock);
	return rc;
}

static int32_t live_flush(void *user, hvrepl_op *op)
{
	struct hvri_live *live = user;
	int32_t rc = HVREPL_E_FENCED;

	(void)op;
	hvri_lock_shared(&live->lock);
	if (live->current != NULL)
		rc = hvri_disk_flush(live->current);
	hvri_rwlock_unlock(&live->lock);
	return rc;
}

static int32_t live_zero(void *user, hvrepl_op *op, uint64_t offset,
			 uint64_t length)
{
	struct hvri_live *live = user;
	struct hvri_op_wait wait;
	int32_t rc = HVREPL_E_FENCED;

	(void)op;
	hvri_lock_shared(&live->lock);
	if (live->current != NULL && live->current->ops.zero == NULL) {
		rc = HVREPL_E_UNSUPPORTED; /* The caller writes zeroes then. */
	} else if (live->current != NULL) {
		hvri_op_wait_init(&wait);
		rc = live->current->ops.zero(live->current->user, &wait.op,
					     offset, length);
		rc = hvri_op_wait_end(&wait, rc);
	}
	hvri_rwlock_unlock(&live->lock);
	return rc;
}

static int32_t live_discard(void *user, hvrepl_op *op, uint64_t offset,
			    uint64_t length)
{
	struct hvri_live *live = user;

	(void)op;
	hvri_lock_shared(&live->lock);
	if (live->current != NULL)
		hvri_disk_discard(live->current, offset, length);
	hvri_rwlock_unlock(&live->lock);
	return HVREPL_OK;
}

static int32_t live_allocated(void *user, uint64_t offset, uint64_t length,
			      struct hvrepl_extent *extents_out,
			      uint32_t *count_inout, uint64_t *end_out)
{
	struct hvri_live *live = user;
	int32_t rc = HVREPL_E_UNSUPPORTED;

	hvri_lock_shared(&live->lock);
	if (live->current != NULL && live->current->ops.allocated != NULL)
		rc = live->current->ops.allocated(live->current->user, offset,
						  length, extents_out,
						  count_inout, end_out);
	hvri_rwlock_unlock(&live->lock);
	return rc;
}

static const struct hvrepl_disk_ops live_ops = {
	.struct_size = sizeof(live_ops),
	.info = live_info,
	.readv = live_readv,
	.writev = live_writev,
	.flush = live_flush,
	.zero = live_zero,
	.discard = live_discard,
	.allocated = live_allocated,
};

void hvri_live_init(struct hvri_live *live)
{
	*live = (struct hvri_live){ .disk = { .ops = live_ops, .user = live } };
	hvri_rwlock_init(&live->lock);
}

void hvri_live_free(struct hvri_live *live)
{
	hvri_rwlock_destroy(&live->lock);
}

void hvri_live_set(struct hvri_live *live, const struct hvri_disk *current)
{
	hvri_lock_alone(&live->lock);
	live->current = current;
	/* Guests check their ranges against it without the lock: written once.
	 * A view has the geometry of its base. */
	if (current != NULL &&
	    (live->disk.info.size != current->info.size ||
	     live->disk.info.block_size != current->info.block_size))
		live->disk.info = current->info;
	hvri_rwlock_unlock(&live->lock);
}

struct hvrepl_disk hvri_live_handle(struct hvri_live *live)
{
	return hvri_lend_disk(&live->disk);
}

struct hvrepl_disk hvri_lend_disk(const struct hvri_disk *disk)
{
	return (struct hvrepl_disk){ &disk->ops, disk->user, NULL };
}

struct hvrepl_storage hvri_lend_storage(const struct hvri_storage *storage)
{
	return (struct hvrepl_storage){ &storage->ops, storage->user, NULL };
}
