/* SPDX-License-Identifier: Apache-2.0 */
/* The public functions of stores and views: arguments and struct sizes. */
#include "store/store.h"

#include "base/abi.h"

#include <string.h>

static void release_all(const struct hvrepl_storage *storage,
			const struct hvrepl_store_disk *disks, uint32_t count)
{
	if (storage != NULL && storage->release != NULL)
		storage->release(storage->user);
	for (uint32_t i = 0; disks != NULL && i < count; i++)
		if (disks[i].base.release != NULL)
			disks[i].base.release(disks[i].base.user);
}

static int32_t check_options(struct hvrepl_store_options *out,
			     const struct hvrepl_store_options *app,
			     struct hvrepl_error *error)
{
	int32_t rc;

	rc = hvri_abi_copy_in(out, sizeof(*out),
			      HVRI_SIZE_UP_TO(struct hvrepl_store_options,
					      fencing_token),
			      app);
	if (rc == HVREPL_OK && (out->flags & ~HVREPL_STORE_CREATE) != 0)
		rc = HVREPL_E_TOO_NEW;
	if (rc < 0)
		return hvri_fail(error, rc,
				 "the store's options are of a newer version "
				 "or lack their struct_size");
	if (out->points_max > HVREPL_POINTS_MAX ||
	    out->base_at > HVREPL_BASE_AT_OLDEST)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "0 to %u recovery points can be kept besides "
				 "the newest",
				 HVREPL_POINTS_MAX);
	if (out->capacity != 0 &&
	    (out->reserve >= out->capacity || out->high_water > out->capacity))
		return hvri_fail(error, HVREPL_E_INVALID,
				 "the reserve and the high-water mark must lie "
				 "below the capacity");
	if (out->points_min > out->points_max)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "at least %u points cannot be kept of at most "
				 "%u", out->points_min, out->points_max);
	return HVREPL_OK;
}

int32_t hvrepl_store_open(const struct hvrepl_env *env,
			  const struct hvrepl_storage *storage,
			  const struct hvrepl_store_disk *disks,
			  uint32_t disk_count,
			  const struct hvrepl_store_options *options,
			  hvrepl_store **store_out, struct hvrepl_error *error)
{
	struct hvrepl_store_options copy;
	int32_t rc = HVREPL_OK;

	if (env == NULL || storage == NULL || disks == NULL ||
	    options == NULL || store_out == NULL || disk_count == 0 ||
	    disk_count > HVREPL_STORE_DISKS_MAX)
		rc = hvri_fail(error, HVREPL_E_INVALID,
			       "give an environment, a storage, 1 to %u disks, "
			       "options and a place for the handle",
			       HVREPL_STORE_DISKS_MAX);
	if (rc == HVREPL_OK)
		rc = check_options(&copy, options, error);
	if (rc < 0) {
		release_all(storage, disks,
			    HVRI_MIN(disk_count, HVREPL_STORE_DISKS_MAX));
		return rc;
	}
	return hvri_store_open(env, storage, disks, disk_count, &copy,
			       store_out, error);
}

int32_t hvrepl_store_destroy(hvrepl_store *store)
{
	return hvri_store_destroy(store);
}

int32_t hvrepl_store_remove(const struct hvrepl_env *env,
			    const struct hvrepl_storage *storage,
			    struct hvrepl_error *error)
{
	if (env == NULL || storage == NULL) {
		release_all(storage, NULL, 0);
		return hvri_fail_plain(error, HVREPL_E_INVALID);
	}
	return hvri_store_remove(env, storage, error);
}

int32_t hvrepl_store_info(hvrepl_store *store,
			  struct hvrepl_store_info *info_out)
{
	struct hvrepl_store_info info;

	if (store == NULL || info_out == NULL ||
	    info_out->struct_size < sizeof(uint32_t))
		return HVREPL_E_INVALID;
	hvri_store_info(store, &info);
	hvri_abi_copy_out(info_out, &info, sizeof(info));
	return HVREPL_OK;
}

int32_t hvrepl_store_points(hvrepl_store *store, struct hvrepl_point *points,
			    uint32_t *count_inout)
{
	uint32_t room, count = 0;
	size_t stride;
	struct hvrepl_point point;

	if (store == NULL || count_inout == NULL ||
	    (points == NULL && *count_inout > 0))
		return HVREPL_E_INVALID;
	room = *count_inout;
	stride = room > 0 ? points[0].struct_size : 0;
	if (room > 0 && stride < sizeof(uint32_t))
		return HVREPL_E_INVALID;
	/* Elements lie struct_size apart, whatever version the caller has. */
	while (hvri_store_point_at(store, count, &point) == HVREPL_OK) {
		if (count < room) {
			uint8_t *to = (uint8_t *)points + count * stride;
			uint32_t size = (uint32_t)stride;

			memcpy(to, &size, sizeof(size));
			hvri_abi_copy_out(to, &point, sizeof(point));
		}
		count++;
	}
	*count_inout = count;
	return HVREPL_OK;
}

int32_t hvrepl_store_pin(hvrepl_store *store, uint64_t point, uint32_t pins)
{
	return store == NULL ? HVREPL_E_INVALID :
			       hvri_store_pin(store, point, pins);
}

int32_t hvrepl_store_unpin(hvrepl_store *store, uint64_t point, uint32_t pins)
{
	return store == NULL ? HVREPL_E_INVALID :
			       hvri_store_unpin(store, point, pins);
}

int32_t hvrepl_store_drop(hvrepl_store *store, uint64_t point,
			  struct hvrepl_error *error)
{
	return store == NULL ? hvri_fail_plain(error, HVREPL_E_INVALID) :
			       hvri_store_drop(store, point, error);
}

int32_t hvrepl_store_config(hvrepl_store *store, uint64_t point, void *buffer,
			    uint32_t *length_inout)
{
	if (store == NULL || length_inout == NULL ||
	    (buffer == NULL && *length_inout > 0))
		return HVREPL_E_INVALID;
	return hvri_store_config(store, point, buffer, length_inout);
}

int32_t hvrepl_store_maintain(hvrepl_store *store, uint32_t *more_out,
			      struct hvrepl_error *error)
{
	if (store == NULL || more_out == NULL)
		return hvri_fail_plain(error, HVREPL_E_INVALID);
	return hvri_store_maintain(store, more_out, error);
}

int32_t hvrepl_view_open(hvrepl_store *store, uint64_t point, uint32_t kind,
			 hvrepl_view **view_out, struct hvrepl_error *error)
{
	if (store == NULL || view_out == NULL)
		return hvri_fail_plain(error, HVREPL_E_INVALID);
	return hvri_view_open(store, point, kind, view_out, error);
}

int32_t hvrepl_view_close(hvrepl_view *view)
{
	return hvri_view_close(view);
}

uint64_t hvrepl_view_point(const hvrepl_view *view)
{
	return view == NULL ? 0 : hvri_view_point(view);
}

int32_t hvrepl_view_disk(hvrepl_view *view, uint32_t index,
			 struct hvrepl_disk *disk_out)
{
	if (view == NULL || disk_out == NULL)
		return HVREPL_E_INVALID;
	return hvri_view_disk(view, index, disk_out);
}

int32_t hvrepl_store_commit_begin(hvrepl_store *store,
				  struct hvrepl_error *error)
{
	return store == NULL ? hvri_fail_plain(error, HVREPL_E_INVALID) :
			       hvri_store_commit_begin(store, error);
}

int32_t hvrepl_store_commit_advance(hvrepl_store *store, uint32_t *more_out,
				    struct hvrepl_error *error)
{
	if (store == NULL || more_out == NULL)
		return hvri_fail_plain(error, HVREPL_E_INVALID);
	return hvri_store_commit_advance(store, more_out, error);
}

int32_t hvrepl_store_cancel(hvrepl_store *store, uint32_t *more_out,
			    struct hvrepl_error *error)
{
	if (store == NULL || more_out == NULL)
		return hvri_fail_plain(error, HVREPL_E_INVALID);
	return hvri_store_cancel(store, more_out, error);
}
