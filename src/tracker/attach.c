/* SPDX-License-Identifier: Apache-2.0 */
/* Attaching a disk: what its tracker file says, and what a crash left (T8). */
#include "tracker/internal.h"

#include "base/plant.h"

#include <string.h>

#define BLOCK_SIZE 4096u
#define REGION_SIZE (16u << 20)
#define TRACKERS_MAX 65536u

/* Free everything that attach may have made. */
void hvri_tracker_free(struct hvrepl_tracker *tracker)
{
	struct hvrepl_group *group = tracker->group;
	const struct hvri_env *env = &group->env;

	hvri_object_close(&tracker->file);
	hvri_storage_drop(&tracker->storage);
	hvri_disk_drop(&tracker->disk);
	for (int i = 0; i < 2; i++) {
		struct hvri_bitmap *map = atomic_load(&tracker->map[i]);

		if (map != NULL)
			hvri_bitmap_free(map, &group->pages);
		hvri_free(env, map, sizeof(*map));
	}
	hvri_free(env, (void *)tracker->region, tracker->regions);
	hvri_free(env, tracker->shards,
		  HVRI_SHARDS * sizeof(*tracker->shards));
	hvri_free(env, tracker->image,
		  (size_t)tracker->header.sectors * HVRI_HVT_SECTOR_BYTES);
	hvri_free(env, tracker->sector_dirty, tracker->header.sectors);
	hvri_flushes_destroy(&tracker->flushing);
	hvri_mutex_destroy(&tracker->mutex);
	hvri_cond_destroy(&tracker->cond);
	hvri_free(env, tracker, sizeof(*tracker));
}

/* What depends on the size of the disk. */
static int32_t tracker_shape(struct hvrepl_tracker *tracker)
{
	struct hvri_hvt_header *header = &tracker->header;
	const struct hvri_env *env = &tracker->group->env;
	size_t shards = HVRI_SHARDS * sizeof(*tracker->shards);

	tracker->size = header->disk_size;
	tracker->blocks = header->blocks;
	tracker->block_shift = (uint32_t)__builtin_ctz(header->block_size);
	tracker->region_shift = (uint32_t)__builtin_ctz(header->region_size);
	tracker->regions = (uint32_t)header->regions;
	tracker->region = hvri_alloc_array(env, tracker->regions, 1);
	tracker->image = hvri_alloc_array(env, header->sectors,
					  HVRI_HVT_SECTOR_BYTES);
	tracker->sector_dirty = hvri_alloc_array(env, header->sectors, 1);
	tracker->shards = hvri_alloc_io(env, shards);
	if (tracker->region == NULL || tracker->image == NULL ||
	    tracker->sector_dirty == NULL || tracker->shards == NULL)
		return HVREPL_E_NOMEM;
	memset(tracker->shards, 0, shards);
	for (int i = 0; i < 2; i++) {
		struct hvri_bitmap *map = hvri_alloc(env, sizeof(*map));

		if (map == NULL)
			return HVREPL_E_NOMEM;
		if (hvri_bitmap_init(map, env, tracker->blocks) < 0) {
			hvri_free(env, map, sizeof(*map));
			return HVREPL_E_NOMEM;
		}
		atomic_store(&tracker->map[i], map);
	}
	return HVREPL_OK;
}

static void take_token(struct hvrepl_tracker *tracker)
{
	struct hvri_hvt_header *header = &tracker->header;
	const struct hvrepl_disk_info *info = &tracker->disk.info;

	header->token_length = info->token_length;
	memset(header->token, 0, sizeof(header->token));
	memcpy(header->token, info->token, info->token_length);
	header->saved_utc_ns = hvri_utc(&tracker->group->env);
}

/* Until it joins the group, a tracker's bits are in the first map. */
static struct hvri_bitmap *current_map(struct hvrepl_tracker *tracker)
{
	return atomic_load(&tracker->map[0]);
}

/* All hot, all dirty. */
static void take_whole(struct hvrepl_tracker *tracker)
{
	hvri_bitmap_set(current_map(tracker), &tracker->group->pages, 0,
			tracker->blocks);
	for (uint32_t i = 0; i < tracker->regions; i++) {
		hvri_image_set(tracker, i, true);
		hvri_region_heat(tracker, i);
		(void)atomic_fetch_or(&tracker->region[i],
				      HVRI_REGION_WRITTEN);
	}
	tracker->recovery = HVREPL_RECOVERY_WHOLE;
	tracker->compare_bytes = tracker->size;
}

/* A crash: what its hot regions hold may or may not be at the replica. */
static void take_hot(struct hvrepl_tracker *tracker)
{
	uint32_t shift = tracker->region_shift - tracker->block_shift;

	for (uint32_t i = 0; i < tracker->regions; i++) {
		uint64_t first = (uint64_t)i << shift;
		uint64_t count = HVRI_MIN(UINT64_C(1) << shift,
					  tracker->blocks - first);

		if (!hvri_image_get(tracker, i))
			continue;
		/* Without pages of its own the set would widen far beyond the
		 * region, and with it what has to be sent. */
		(void)!hvri_bitmap_reserve(current_map(tracker),
					   &tracker->group->pages, first,
					   count);
		hvri_bitmap_set(current_map(tracker), &tracker->group->pages,
				first, count);
		tracker->compare_bytes += HVRI_MIN(
			(uint64_t)1 << tracker->region_shift,
			tracker->size -
				((uint64_t)i << tracker->region_shift));
	}
	tracker->recovery = HVREPL_RECOVERY_HOT;
}

/* One sector of the coarse map, from both copies; how many are damaged. */
static int32_t read_sector(struct hvrepl_tracker *tracker, uint32_t index,
			   uint32_t *damaged_out)
{
	uint8_t bytes[HVRI_HVT_COPIES][HVRI_HVT_SECTOR_SIZE];
	uint8_t *bits =
		tracker->image + (size_t)index * HVRI_HVT_SECTOR_BYTES;
	bool unequal;

	for (uint32_t copy = 0; copy < HVRI_HVT_COPIES; copy++)
		HVRI_TRY(hvri_object_read(
			&tracker->file,
			hvri_hvt_sector_at(&tracker->header, copy, index),
			bytes[copy], HVRI_HVT_SECTOR_SIZE));
	*damaged_out = hvri_hvt_sector_join(&tracker->header, index, bytes[0],
					    bytes[1], bits, &unequal);
	if (HVRI_PLANT(one_copy_of_marks))
		*damaged_out = hvri_hvt_sector_decode(&tracker->header, 0,
						      index, bytes[0],
						      bits) < 0;
	/* From here on both say it. */
	if (*damaged_out > 0 || unequal)
		tracker->sector_dirty[index] = 1;
	return HVREPL_OK;
}

/* T7: the marks that were read become durable before they count, and every
 * hot region counts as written. */
static int32_t read_coarse(struct hvrepl_tracker *tracker, bool clean,
			   bool rebuild, bool *damaged_out)
{
	const struct hvri_hvt_header *header = &tracker->header;
	uint32_t mended = 0;

	HVRI_TRY(hvri_file_flush(tracker));
	for (uint32_t i = 0; i < header->sectors; i++) {
		uint32_t damaged;

		HVRI_TRY(read_sector(tracker, i, &damaged));
		mended += tracker->sector_dirty[i];
		if (damaged < HVRI_HVT_COPIES)
			continue;
		/* Torn by a crash: all of it counts as hot. In a file that was
		 * closed cleanly it is damage. */
		if (clean && !rebuild)
			return HVREPL_E_CORRUPT;
		*damaged_out = true;
	}
	/* After a crash that is how they may be; else storage lost something. */
	if (clean && mended > 0)
		hvri_log(&tracker->group->env, HVREPL_LOG_WARNING,
			 "tracker file %s: the copies of its coarse map differ "
			 "or one is damaged, in %u places: what either says "
			 "counts",
			 tracker->object_id, (unsigned)mended);
	for (uint32_t i = 0; i < tracker->regions; i++) {
		if (!hvri_image_get(tracker, i))
			continue;
		hvri_region_heat(tracker, i);
		(void)atomic_fetch_or(&tracker->region[i],
				      HVRI_REGION_WRITTEN);
	}
	return HVREPL_OK;
}

static void fine_found(void *argument, uint64_t first, uint64_t count)
{
	struct hvrepl_tracker *tracker = argument;

	/* The last leaf may say more than there are blocks. */
	if (first >= tracker->blocks)
		return;
	count = HVRI_MIN(count, tracker->blocks - first);
	if (hvri_bitmap_reserve(current_map(tracker), &tracker->group->pages,
				first, count) < 0)
		hvri_log(&tracker->group->env, HVREPL_LOG_WARNING,
			 "no memory for the change map: it gets coarser");
	hvri_bitmap_set(current_map(tracker), &tracker->group->pages, first,
			count);
}

static int32_t read_fine(struct hvrepl_tracker *tracker)
{
	struct hvri_hvt_header *header = &tracker->header;
	uint8_t *block = hvri_alloc_io(&tracker->group->env,
				       HVRI_HVT_FINE_BLOCK);
	int32_t rc = HVREPL_OK;

	if (block == NULL)
		return HVREPL_E_NOMEM;
	for (uint64_t i = 0; rc == HVREPL_OK && i < header->fine_blocks; i++) {
		rc = hvri_object_read(&tracker->file,
				      header->fine_offset +
					      i * HVRI_HVT_FINE_BLOCK,
				      block, HVRI_HVT_FINE_BLOCK);
		if (rc == HVREPL_OK)
			rc = hvri_hvt_fine_decode(header, i, block, fine_found,
						  tracker);
	}
	hvri_free(&tracker->group->env, block, HVRI_HVT_FINE_BLOCK);
	return rc;
}

/* T9: is the disk still what it was when the file was last written? */
static bool same_disk(struct hvrepl_tracker *tracker,
		      const struct hvrepl_tracker_options *options, bool clean)
{
	const struct hvri_hvt_header *header = &tracker->header;
	const struct hvrepl_disk_info *info = &tracker->disk.info;

	if ((info->flags & HVREPL_DISK_EXCLUSIVE) != 0)
		return true;
	if (info->token_length == 0 || header->token_length == 0)
		return false;
	if (clean)
		return info->token_length == header->token_length &&
		       memcmp(info->token, header->token,
			      header->token_length) == 0;
	/* Our own writes may have moved it since it was saved. */
	return options->token_check != NULL &&
	       options->token_check(options->user, header->token,
				    header->token_length, header->saved_utc_ns,
				    info->token, info->token_length) == 1;
}

/* What the file tells becomes the map. */
static int32_t recover(struct hvrepl_tracker *tracker,
		       const struct hvrepl_tracker_options *options,
		       struct hvrepl_error *error)
{
	/* Closed, and what was dirty then is there. */
	bool clean = tracker->header.flags == HVRI_HVT_FINE;
	bool rebuild = (options->flags & HVREPL_TRACKER_REBUILD) != 0;
	bool damaged = false;
	int32_t rc = read_coarse(tracker, clean, rebuild, &damaged);

	if (rc == HVREPL_E_CORRUPT)
		return hvri_fail(error, rc,
				 "tracker file %s: its coarse map is damaged; "
				 "attach with REBUILD to compare the disk",
				 tracker->object_id);
	if (rc < 0)
		return hvri_fail_plain(error, rc);
	if ((options->flags & HVREPL_TRACKER_UNTRUSTED) != 0) {
		tracker->reason = HVREPL_REASON_UNTRUSTED;
		take_whole(tracker);
		return HVREPL_OK;
	}
	if (!same_disk(tracker, options, clean)) {
		tracker->reason = HVREPL_REASON_TOKEN;
		take_whole(tracker);
		return HVREPL_OK;
	}
	if (!clean) {
		tracker->reason = HVREPL_REASON_CRASH;
		take_hot(tracker);
		return HVREPL_OK;
	}
	tracker->recovery = HVREPL_RECOVERY_CLEAN;
	rc = read_fine(tracker);
	if (damaged || rc == HVREPL_E_CORRUPT) {
		if (!rebuild)
			return hvri_fail(error, HVREPL_E_CORRUPT,
					 "tracker file %s: its saved map is "
					 "damaged; attach with REBUILD to "
					 "compare what may have changed",
					 tracker->object_id);
		/* A clean close leaves every dirty block in a hot region. */
		tracker->reason = HVREPL_REASON_FINE_MAP;
		take_hot(tracker);
		return HVREPL_OK;
	}
	return rc < 0 ? hvri_fail_plain(error, rc) : HVREPL_OK;
}

static int32_t new_header(struct hvrepl_tracker *tracker,
			  const struct hvrepl_tracker_options *options,
			  struct hvrepl_error *error)
{
	struct hvri_hvt_header *header = &tracker->header;

	header->vm = options->vm;
	header->disk = options->disk;
	header->disk_size = tracker->disk.info.size;
	header->block_size = options->block_size != 0 ? options->block_size :
							BLOCK_SIZE;
	header->region_size = options->region_size != 0 ?
				      options->region_size :
				      REGION_SIZE;
	/* A tracked block is whole disk blocks. */
	if (hvri_hvt_plan(header) < 0 ||
	    header->block_size < tracker->disk.info.block_size)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "block_size must be a power of two from 512 to "
				 "65536 and not below the disk's, region_size "
				 "one from 64 KiB of at least 64 blocks, and the "
				 "disk not empty");
	return hvri_fail_plain(error, hvri_uuid_new(&tracker->group->env,
						    &header->file));
}

/* A file of the right length whose header is not there yet. */
static int32_t create_file(struct hvrepl_tracker *tracker, bool exists)
{
	int32_t rc = HVREPL_OK;

	if (!exists)
		rc = hvri_object_open(&tracker->storage, tracker->object_id,
				      HVREPL_OBJECT_CREATE, &tracker->file);
	if (rc == HVREPL_OK && exists)
		rc = hvri_object_resize(&tracker->file, 0);
	if (rc == HVREPL_OK)
		rc = hvri_object_resize(&tracker->file,
					tracker->header.fine_offset);
	memset(tracker->sector_dirty, 1, tracker->header.sectors);
	return rc;
}

/* Header and map of an existing file, or of a new one. */
static int32_t load(struct hvrepl_tracker *tracker,
		    const struct hvrepl_tracker_options *options,
		    struct hvrepl_error *error)
{
	bool rebuild = (options->flags & HVREPL_TRACKER_REBUILD) != 0;
	bool create = (options->flags & HVREPL_TRACKER_CREATE) != 0;
	struct hvri_hvt_header found = { 0 };
	int32_t rc = hvri_tracker_read_header(tracker, &options->disk,
					      &found);
	bool exists = tracker->file.object != NULL, usable = rc == HVREPL_OK;

	if (rc == HVREPL_E_NOT_FOUND && !create && !rebuild)
		return hvri_fail(error, rc,
				 "there is no tracker file %s: attach with "
				 "CREATE",
				 tracker->object_id);
	if (rc == HVREPL_OK && create && !rebuild)
		return hvri_fail(error, HVREPL_E_EXISTS,
				 "there is a tracker file %s already: attach "
				 "without CREATE",
				 tracker->object_id);
	if (found.block_size != 0)
		HVRI_TRY(hvri_tracker_check_owner(tracker, &found,
						  options, error));
	if ((rc == HVREPL_E_CORRUPT || rc == HVREPL_E_TRUNCATED) && !rebuild)
		return hvri_fail(error, rc,
				 "tracker file %s is damaged or cut short; "
				 "attach with REBUILD to compare the whole disk",
				 tracker->object_id);
	if (rc < 0 && rc != HVREPL_E_NOT_FOUND && rc != HVREPL_E_CORRUPT &&
	    rc != HVREPL_E_TRUNCATED)
		return hvri_fail_plain(error, rc);
	if (usable) {
		rc = hvri_tracker_check_size(tracker, &found, error);
		if (rc < 0 && !rebuild)
			return rc;
		usable = rc == HVREPL_OK;
	}
	if (usable) {
		tracker->header = found;
		tracker->owner_before = found.owner;
		HVRI_TRY(hvri_fail_plain(error, tracker_shape(tracker)));
		return recover(tracker, options, error);
	}
	HVRI_TRY(new_header(tracker, options, error));
	HVRI_TRY(hvri_fail_plain(error, tracker_shape(tracker)));
	HVRI_TRY(hvri_fail_plain(error, create_file(tracker, exists)));
	tracker->header.incarnation = found.incarnation;
	if (rebuild) {
		tracker->reason = HVREPL_REASON_REBUILT;
		take_whole(tracker);
	}
	return HVREPL_OK;
}

/* From here on the file durably says "open", in both slots: if one is lost,
 * the other must not say "closed". */
static int32_t say_open(struct hvrepl_tracker *tracker,
			const struct hvrepl_tracker_options *options)
{
	struct hvri_hvt_header *header = &tracker->header;

	bool dirty = memchr(tracker->sector_dirty, 1, header->sectors) != NULL;

	/* One copy after the other: what is torn here is not both of them. */
	for (uint32_t copy = 0; dirty && copy < HVRI_HVT_COPIES; copy++) {
		HVRI_TRY(hvri_sectors_copy(tracker, copy));
		HVRI_TRY(hvri_file_flush(tracker));
	}
	memset(tracker->sector_dirty, 0, header->sectors);
	if (!HVRI_PLANT(open_not_said)) {
		header->flags = HVRI_HVT_OPEN;
		header->fine_blocks = 0;
	}
	header->owner = options->owner;
	header->incarnation++;
	take_token(tracker);
	HVRI_TRY(hvri_header_write(tracker));
	return hvri_header_write(tracker);
}

/* The whole compare is on record here now: the application's may go. */
static void tell_trusted(struct hvrepl_tracker *tracker)
{
	struct hvri_op_wait wait;
	int32_t rc;

	if ((tracker->flags & HVREPL_TRACKER_UNTRUSTED) == 0 ||
	    tracker->trust == NULL)
		return;
	hvri_op_wait_init(&wait);
	rc = tracker->trust(tracker->trust_user, &wait.op, 1);
	rc = hvri_op_wait_end(&wait, rc);
	if (rc < 0)
		hvri_log(&tracker->group->env, HVREPL_LOG_WARNING,
			 "the record \"untrusted\" could not be taken back: the "
			 "next attach compares the whole disk again");
}

/* A place, before the file says "open": joining does not fail any more. */
static int32_t promise(struct hvrepl_group *group)
{
	int32_t rc;

	hvri_lock(&group->mutex);
	rc = hvri_grow(&group->env, (void **)&group->trackers,
		       &group->tracker_capacity,
		       group->tracker_count + group->promised + 1,
		       TRACKERS_MAX, sizeof(struct hvrepl_tracker *));
	if (rc == HVREPL_OK)
		group->promised++;
	hvri_unlock(&group->mutex);
	return rc;
}

void hvri_tracker_stay_out(struct hvrepl_group *group)
{
	hvri_lock(&group->mutex);
	group->promised--;
	hvri_unlock(&group->mutex);
}

/* group->mutex held. */
static void join(struct hvrepl_tracker *tracker)
{
	struct hvrepl_group *group = tracker->group;

	group->promised--;
	group->trackers[group->tracker_count++] = tracker;
}

void hvri_tracker_join(struct hvrepl_tracker *tracker)
{
	struct hvrepl_group *group = tracker->group;

	hvri_lock(&group->mutex);
	join(tracker);
	hvri_unlock(&group->mutex);
	hvri_timer_set(group, tracker->sweep_at);
}

/* The bits that were found become those of the present generation. A cut that
 * is open goes on without this disk. */
static void join_first(struct hvrepl_tracker *tracker)
{
	struct hvrepl_group *group = tracker->group;
	struct hvri_bitmap *found = atomic_load(&tracker->map[0]);

	hvri_lock(&group->mutex);
	if ((hvri_generation(atomic_load(&group->word)) & 1) != 0) {
		atomic_store(&tracker->map[0], atomic_load(&tracker->map[1]));
		atomic_store(&tracker->map[1], found);
	}
	join(tracker);
	hvri_unlock(&group->mutex);
}

bool hvri_tracker_part(struct hvrepl_tracker *tracker)
{
	struct hvrepl_group *group = tracker->group;
	bool free;
	size_t i = 0;

	hvri_lock(&group->mutex);
	free = atomic_load(&tracker->cuts) == 0;
	while (free && group->trackers[i] != tracker)
		i++;
	if (free) {
		group->promised++;
		group->tracker_count--;
		memmove(&group->trackers[i], &group->trackers[i + 1],
			(group->tracker_count - i) *
				sizeof(struct hvrepl_tracker *));
	}
	hvri_unlock(&group->mutex);
	return free;
}

static int32_t attach(struct hvrepl_tracker *tracker,
		      const struct hvrepl_tracker_options *options,
		      struct hvrepl_error *error)
{
	struct hvrepl_group *group = tracker->group;
	int32_t rc;

	HVRI_TRY(load(tracker, options, error));
	rc = say_open(tracker, options);
	if (rc < 0)
		return hvri_fail(error, rc,
				 "tracker file %s cannot be written: %s",
				 tracker->object_id, hvrepl_strerror(rc));
	tell_trusted(tracker);
	tracker->sweep_at = hvri_now(&group->env) + group->cool_after;
	if (atomic_load(&tracker->hot) > 0)
		hvri_timer_set(group, tracker->sweep_at);
	join_first(tracker);
	return HVREPL_OK;
}

int32_t hvri_tracker_attach(hvrepl_group *group, const struct hvrepl_disk *disk,
			    const struct hvrepl_storage *storage,
			    const struct hvrepl_tracker_options *options,
			    struct hvrepl_error *error,
			    hvrepl_tracker **tracker_out)
{
	struct hvri_storage taken;
	struct hvri_disk taken_disk;
	struct hvrepl_tracker *tracker;
	int32_t rc, disk_rc;

	/* Both are taken whatever happens. */
	disk_rc = hvri_disk_take(&taken_disk, disk, error);
	rc = hvri_storage_take(&taken, storage, disk_rc < 0 ? NULL : error);
	if (disk_rc < 0 || rc < 0) {
		if (disk_rc == HVREPL_OK)
			hvri_disk_drop(&taken_disk);
		if (rc == HVREPL_OK)
			hvri_storage_drop(&taken);
		return disk_rc < 0 ? disk_rc : rc;
	}
	tracker = hvri_alloc(&group->env, sizeof(*tracker));
	if (tracker == NULL) {
		hvri_disk_drop(&taken_disk);
		hvri_storage_drop(&taken);
		return hvri_fail_plain(error, HVREPL_E_NOMEM);
	}
	tracker->group = group;
	tracker->disk = taken_disk;
	tracker->storage = taken;
	tracker->flags = options->flags;
	tracker->trust = options->trust;
	tracker->trust_user = options->user;
	tracker->label = (struct hvrepl_cut_label)HVREPL_CUT_LABEL_INIT;
	tracker->waiting_last = &tracker->waiting;
	hvri_flushes_init(&tracker->flushing);
	hvri_mutex_init(&tracker->mutex);
	hvri_cond_init(&tracker->cond);
	memcpy(tracker->object_id, options->object_id,
	       strlen(options->object_id) + 1);
	rc = promise(group);
	if (rc < 0) {
		hvri_tracker_free(tracker);
		return hvri_fail_plain(error, rc);
	}
	rc = attach(tracker, options, error);
	if (rc < 0) {
		hvri_tracker_stay_out(group);
		(void)atomic_fetch_sub(&group->hot,
				       atomic_load(&tracker->hot));
		hvri_tracker_free(tracker);
		return rc;
	}
	hvri_group_refill(group);
	*tracker_out = tracker;
	return HVREPL_OK;
}
