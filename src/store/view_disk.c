/* SPDX-License-Identifier: Apache-2.0 */
/* A view's disk as a table of disk callbacks. */
#include "store/view.h"

struct view_disk {
	hvrepl_store *store;
	hvrepl_view *view;
	uint32_t index;
};

static int32_t check_range(const struct view_disk *disk, uint64_t offset,
			   uint64_t length)
{
	const struct hvrepl_disk_info *info =
		&disk->store->bases[disk->index].info;

	if (offset > info->size || length > info->size - offset ||
	    ((offset | length) & (info->block_size - 1)) != 0)
		return HVREPL_E_RANGE;
	return HVREPL_OK;
}

static int32_t view_info(void *user, struct hvrepl_disk_info *out)
{
	const struct view_disk *disk = user;
	const struct hvrepl_disk_info *base =
		&disk->store->bases[disk->index].info;

	out->flags = disk->view->kind == HVREPL_VIEW_READ_ONLY ?
			     HVREPL_DISK_READ_ONLY :
			     0;
	out->size = base->size;
	out->block_size = base->block_size;
	out->token_length = 0;
	return HVREPL_OK;
}

static uint64_t total(const struct hvrepl_iovec *iov, uint32_t count)
{
	uint64_t length = 0;

	for (uint32_t i = 0; i < count; i++)
		length += iov[i].length;
	return length;
}

static int32_t view_readv(void *user, hvrepl_op *op, uint64_t offset,
			  const struct hvrepl_iovec *iov, uint32_t iov_count)
{
	const struct view_disk *disk = user;

	(void)op;
	HVRI_TRY(check_range(disk, offset, total(iov, iov_count)));
	for (uint32_t i = 0; i < iov_count; i++) {
		HVRI_TRY(hvri_view_read(disk->view, disk->index, offset,
					iov[i].base, iov[i].length));
		offset += iov[i].length;
	}
	return HVREPL_OK;
}

static int32_t view_writev(void *user, hvrepl_op *op, uint64_t offset,
			   const struct hvrepl_iovec *iov, uint32_t iov_count)
{
	const struct view_disk *disk = user;

	(void)op;
	HVRI_TRY(check_range(disk, offset, total(iov, iov_count)));
	for (uint32_t i = 0; i < iov_count; i++) {
		HVRI_TRY(hvri_view_write(disk->view, disk->index, offset,
					 iov[i].base, iov[i].length));
		offset += iov[i].length;
	}
	return HVREPL_OK;
}

static int32_t view_flush(void *user, hvrepl_op *op)
{
	const struct view_disk *disk = user;

	(void)op;
	return hvri_view_flush(disk->view, disk->index);
}

static int32_t view_zero(void *user, hvrepl_op *op, uint64_t offset,
			 uint64_t length)
{
	const struct view_disk *disk = user;

	(void)op;
	HVRI_TRY(check_range(disk, offset, length));
	return hvri_view_zero(disk->view, disk->index, offset, length);
}

/* A discarded range reads as zeroes: one content, whatever layer it is in. */
static int32_t view_discard(void *user, hvrepl_op *op, uint64_t offset,
			    uint64_t length)
{
	return view_zero(user, op, offset, length);
}

/* What a point holds of a range, while the base may be written: true when it
 * may hold anything but zeroes. */
static bool may_hold_data(const struct view_disk *disk, uint64_t offset,
			  uint64_t *length_inout)
{
	hvrepl_store *store = disk->store;
	const struct hvri_disk *base = &store->bases[disk->index];
	struct hvri_source source;
	struct hvrepl_extent found;
	uint64_t again;
	bool data;

	hvri_lock(&store->map);
	hvri_store_resolve(store, disk->view->point, disk->index, offset,
			   length_inout, &source);
	hvri_unlock(&store->map);
	if (source.slog != NULL) {
		hvri_slog_unref(source.slog);
		return source.entry.position != 0;
	}
	hvri_disk_next_allocated(base, offset, offset + *length_inout, &found);
	data = found.length > 0 && found.offset == offset;
	if (data)
		*length_inout = found.length;
	else if (found.length > 0)
		*length_inout = found.offset - offset;
	/* As with reading: what a log answers for by now was written. */
	again = *length_inout;
	hvri_lock(&store->map);
	hvri_store_resolve(store, disk->view->point, disk->index, offset,
			   &again, &source);
	hvri_unlock(&store->map);
	hvri_slog_unref(source.slog);
	return data || source.slog != NULL || again < *length_inout;
}

/* The overlay that is in front now, referenced, as long as no commit moves its
 * bytes; NULL: where they are cannot be told. */
static struct hvri_overlay *front(const struct view_disk *disk)
{
	hvrepl_store *store = disk->store;
	struct hvri_overlay *overlay = disk->view->scratch;

	hvri_lock(&store->map);
	if (disk->view->kind == HVREPL_VIEW_FAILOVER)
		overlay = store->state.commit == HVRI_COMMIT_OVERLAY ?
				  store->active :
				  NULL;
	if (overlay != NULL)
		hvri_overlay_ref(overlay);
	hvri_unlock(&store->map);
	return overlay;
}

/* What is written changes, so what is said holds for now; a write that had ended
 * before is in the overlay's map. */
static bool overlay_may_hold_data(const struct view_disk *disk, uint64_t offset,
				  uint64_t *length_inout)
{
	struct hvri_overlay *overlay = front(disk), *still;
	uint32_t state;
	bool data;

	if (overlay == NULL)
		return true;
	state = hvri_overlay_run(overlay, disk->index, offset, length_inout);
	data = state == HVRI_OVERLAY_ABSENT ?
		       may_hold_data(disk, offset, length_inout) :
		       state == HVRI_OVERLAY_DATA;
	/* A commit that began meanwhile may have moved what was looked at. */
	still = front(disk);
	data |= still != overlay;
	hvri_overlay_unref(still);
	hvri_overlay_unref(overlay);
	return data;
}

static int32_t view_allocated(void *user, uint64_t offset, uint64_t length,
			      struct hvrepl_extent *extents_out,
			      uint32_t *count_inout, uint64_t *end_out)
{
	const struct view_disk *disk = user;
	uint32_t room = *count_inout, count = 0;
	uint64_t end = offset + length;

	HVRI_TRY(check_range(disk, offset, length));
	while (offset < end) {
		uint64_t piece = end - offset;
		bool data = disk->view->kind == HVREPL_VIEW_READ_ONLY ?
				    may_hold_data(disk, offset, &piece) :
				    overlay_may_hold_data(disk, offset, &piece);

		if (data && count > 0 &&
		    extents_out[count - 1].offset +
				    extents_out[count - 1].length ==
			    offset) {
			extents_out[count - 1].length += piece;
		} else if (data) {
			if (count == room)
				break;
			extents_out[count++] =
				(struct hvrepl_extent){ offset, piece };
		}
		offset += piece;
	}
	*count_inout = count;
	*end_out = offset;
	return HVREPL_OK;
}

static void view_release(void *user)
{
	struct view_disk *disk = user;
	hvrepl_store *store = disk->store;
	hvrepl_view *view = disk->view;

	hvri_free(&store->env, disk, sizeof(*disk));
	__atomic_sub_fetch(&view->disks_held, 1, __ATOMIC_RELEASE);
}

static const struct hvrepl_disk_ops view_ops = {
	.struct_size = sizeof(view_ops),
	.info = view_info,
	.readv = view_readv,
	.writev = view_writev,
	.flush = view_flush,
	.zero = view_zero,
	.discard = view_discard,
	.allocated = view_allocated,
};

int32_t hvri_view_disk(hvrepl_view *view, uint32_t index,
		       struct hvrepl_disk *disk_out)
{
	hvrepl_store *store = view->store;
	struct view_disk *disk;

	if (index >= store->disk_count)
		return HVREPL_E_NOT_FOUND;
	disk = hvri_alloc(&store->env, sizeof(*disk));
	if (disk == NULL)
		return HVREPL_E_NOMEM;
	*disk = (struct view_disk){ store, view, index };
	*disk_out = (struct hvrepl_disk){ &view_ops, disk, view_release };
	__atomic_add_fetch(&view->disks_held, 1, __ATOMIC_RELAXED);
	return HVREPL_OK;
}
