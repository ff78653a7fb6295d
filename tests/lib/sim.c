/* SPDX-License-Identifier: Apache-2.0 */
/* Disks and storage over images with pending writes; see sim.h. */
#include "sim.h"

#include "testing.h"

#include <stdlib.h>
#include <string.h>

struct pending {
	struct pending *next; /* Older first. */
	uint64_t offset, length;
	bool resize; /* length = new size. */
	uint8_t bytes[];
};

struct sim_image {
	struct sim_image *next;
	uint8_t *now, *durable;
	uint64_t size, durable_size, room;
	struct pending *first, **last;
	/* Storage objects only. */
	struct sim_storage *storage;
	char id[HVREPL_OBJECT_ID_MAX + 1];
	bool exists, durable_exists;
};

static void *must(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

void sim_init(struct sim *sim, uint64_t seed)
{
	*sim = (struct sim){
		.random = seed * 2 + 1,
		.crash_at = UINT64_MAX,
		.fail_at = UINT64_MAX,
		.fail_code = HVREPL_E_DISK_IO,
		.survive_percent = 50,
		.garbage_percent = 10,
	};
}

static struct sim_image *image_new(struct sim *sim, uint64_t size)
{
	struct sim_image *image = must(calloc(1, sizeof(*image)));

	image->size = image->durable_size = image->room = size;
	image->now = must(calloc(1, size + 1));
	image->durable = must(calloc(1, size + 1));
	image->last = &image->first;
	image->next = sim->images;
	sim->images = image;
	return image;
}

static void drop_pending(struct sim_image *image)
{
	while (image->first != NULL) {
		struct pending *gone = image->first;

		image->first = gone->next;
		free(gone);
	}
	image->last = &image->first;
}

static void make_room(struct sim_image *image, uint64_t size)
{
	uint64_t room = image->room;

	if (size <= room)
		return;
	while (room < size)
		room = room < 4096 ? 4096 : room * 2;
	image->now = must(realloc(image->now, room + 1));
	image->durable = must(realloc(image->durable, room + 1));
	memset(image->now + image->room, 0, room - image->room);
	memset(image->durable + image->room, 0, room - image->room);
	image->room = room;
}

static struct pending *add_pending(struct sim_image *image, uint64_t offset,
				   uint64_t length, bool resize)
{
	struct pending *one =
		must(calloc(1, sizeof(*one) + (resize ? 0 : length)));

	one->offset = offset;
	one->length = length;
	one->resize = resize;
	*image->last = one;
	image->last = &one->next;
	return one;
}

static void set_size(uint8_t *bytes, uint64_t *size, uint64_t to)
{
	if (to < *size)
		memset(bytes + to, 0, *size - to);
	*size = to;
}

/* One step of the sim before an I/O. Negative: it fails with that. `changes`
 * I/O counts for crash_at; *crash_after says that it is the one. */
static int32_t step(struct sim *sim, bool changes, bool *crash_after)
{
	if (sim->hook != NULL && !sim->crashed)
		sim->hook(sim->hook_argument);
	*crash_after = false;
	if (sim->crashed)
		return HVREPL_E_UNAVAILABLE;
	if (sim->call_count++ >= sim->fail_at) {
		if (!sim->fail_on)
			sim->fail_at = UINT64_MAX;
		return sim->fail_code;
	}
	if (changes && sim->io_count++ == sim->crash_at)
		*crash_after = true;
	return HVREPL_OK;
}

static int32_t finish(struct sim *sim, bool crash)
{
	if (!crash)
		return HVREPL_OK;
	sim->crashed = true;
	return HVREPL_E_UNAVAILABLE;
}

static int32_t image_write(struct sim *sim, struct sim_image *image,
			   uint64_t offset, const struct hvrepl_iovec *iov,
			   uint32_t iov_count)
{
	uint64_t length = 0, at = 0;
	struct pending *one;
	bool crash;
	int32_t rc = step(sim, true, &crash);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < iov_count; i++)
		length += iov[i].length;
	make_room(image, offset + length);
	one = add_pending(image, offset, length, false);
	for (uint32_t i = 0; i < iov_count; i++) {
		memcpy(one->bytes + at, iov[i].base, iov[i].length);
		at += iov[i].length;
	}
	memcpy(image->now + offset, one->bytes, length);
	if (offset + length > image->size)
		image->size = offset + length;
	return finish(sim, crash);
}

static void settle(struct sim_image *image)
{
	drop_pending(image);
	memcpy(image->durable, image->now, image->room);
	image->durable_size = image->size;
	image->durable_exists = image->exists;
}

static int32_t image_flush(struct sim *sim, struct sim_image *image)
{
	bool crash;
	int32_t rc = step(sim, true, &crash);

	if (rc < 0)
		return rc;
	/* A flush that crashes may have done nothing yet. */
	if (!crash)
		settle(image);
	/* Done, and not yet known to be. */
	if (!crash && sim->hook != NULL)
		sim->hook(sim->hook_argument);
	if (sim->crashed)
		return HVREPL_E_UNAVAILABLE;
	return finish(sim, crash);
}

static bool chance(struct sim *sim, unsigned percent)
{
	return test_random(&sim->random) % 100 < percent;
}

static void lose_power(struct sim *sim, struct sim_image *image)
{
	for (struct pending *one = image->first; one != NULL; one = one->next) {
		uint64_t at = one->offset, end = at + one->length;

		if (one->resize) {
			if (chance(sim, sim->survive_percent))
				set_size(image->durable, &image->durable_size,
					 one->length);
			continue;
		}
		while (at < end) {
			uint64_t next = (at / SIM_SECTOR + 1) * SIM_SECTOR;
			uint64_t piece = (next < end ? next : end) - at;

			if (chance(sim, sim->survive_percent)) {
				if (chance(sim, sim->garbage_percent))
					test_fill(image->durable + at, piece,
						  test_random(&sim->random));
				else
					memcpy(image->durable + at,
					       one->bytes + (at - one->offset),
					       piece);
				if (at + piece > image->durable_size)
					image->durable_size = at + piece;
			}
			at += piece;
		}
	}
	/* Existence is one bit: a file made or removed and not yet synced. */
	if (image->exists != image->durable_exists &&
	    chance(sim, sim->survive_percent))
		image->durable_exists = image->exists;
	memcpy(image->now, image->durable, image->room);
	image->size = image->durable_size;
	image->exists = image->durable_exists;
	drop_pending(image);
}

void sim_restart(struct sim *sim, bool power_loss)
{
	for (struct sim_image *i = sim->images; i != NULL; i = i->next) {
		if (power_loss)
			lose_power(sim, i);
		if (i->storage != NULL && !i->exists) {
			set_size(i->now, &i->size, 0);
			if (!i->durable_exists)
				settle(i);
		}
	}
	sim->crashed = false;
	sim->crash_at = UINT64_MAX;
}

static int32_t disk_info(void *user, struct hvrepl_disk_info *out)
{
	struct sim_disk *disk = user;

	out->flags = disk->flags;
	out->size = disk->image->size;
	out->block_size = disk->block_size;
	out->token_length = sizeof(disk->token);
	memcpy(out->token, &disk->token, sizeof(disk->token));
	return HVREPL_OK;
}

static int32_t disk_readv(void *user, hvrepl_op *op, uint64_t offset,
			  const struct hvrepl_iovec *iov, uint32_t iov_count)
{
	struct sim_disk *disk = user;
	bool crash;
	int32_t rc = step(disk->sim, false, &crash);

	(void)op;
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < iov_count; i++) {
		memcpy(iov[i].base, disk->image->now + offset, iov[i].length);
		offset += iov[i].length;
	}
	return HVREPL_OK;
}

static int32_t disk_writev(void *user, hvrepl_op *op, uint64_t offset,
			   const struct hvrepl_iovec *iov, uint32_t iov_count)
{
	struct sim_disk *disk = user;

	(void)op;
	if ((disk->flags & HVREPL_DISK_READ_ONLY) != 0)
		return HVREPL_E_READ_ONLY;
	return image_write(disk->sim, disk->image, offset, iov, iov_count);
}

static int32_t disk_flush(void *user, hvrepl_op *op)
{
	struct sim_disk *disk = user;

	(void)op;
	return image_flush(disk->sim, disk->image);
}

static void disk_release(void *user)
{
	((struct sim_disk *)user)->released++;
}

static const struct hvrepl_disk_ops disk_ops = {
	.struct_size = sizeof(disk_ops),
	.info = disk_info,
	.readv = disk_readv,
	.writev = disk_writev,
	.flush = disk_flush,
};

/* Disks and storages are few and live as long as their sim. */
static void *owned(struct sim *sim, size_t size)
{
	if (sim->owned_count == SIM_OWNED_MAX)
		abort();
	return sim->owned[sim->owned_count++] = must(calloc(1, size));
}

struct sim_disk *sim_disk_new(struct sim *sim, uint64_t size)
{
	struct sim_disk *disk = owned(sim, sizeof(*disk));

	*disk = (struct sim_disk){
		.sim = sim,
		.image = image_new(sim, size),
		.block_size = SIM_SECTOR,
		.token = 1,
	};
	return disk;
}

struct hvrepl_disk sim_disk_handle(struct sim_disk *disk)
{
	return (struct hvrepl_disk){ &disk_ops, disk, disk_release };
}

const uint8_t *sim_disk_bytes(const struct sim_disk *disk)
{
	return disk->image->now;
}

uint64_t sim_disk_size(const struct sim_disk *disk)
{
	return disk->image->size;
}

void sim_disk_poke(struct sim_disk *disk, uint64_t offset, const void *bytes,
		   size_t length)
{
	memcpy(disk->image->now + offset, bytes, length);
	memcpy(disk->image->durable + offset, bytes, length);
}

static struct sim_image *find(struct sim_storage *storage, const char *id)
{
	struct sim_image *image = storage->sim->images;

	while (image != NULL &&
	       (image->storage != storage || strcmp(image->id, id) != 0))
		image = image->next;
	return image;
}

static int32_t object_open(void *user, const char *id, uint32_t flags,
			   void **object_out)
{
	struct sim_storage *storage = user;
	struct sim_image *image = find(storage, id);
	bool crash;
	int32_t rc = step(storage->sim, (flags & HVREPL_OBJECT_CREATE) != 0,
			  &crash);

	if (rc < 0)
		return rc;
	if ((flags & HVREPL_OBJECT_CREATE) != 0) {
		if (image != NULL && image->exists)
			return HVREPL_E_EXISTS;
		if (image == NULL) {
			image = image_new(storage->sim, 0);
			image->storage = storage;
			strncpy(image->id, id, HVREPL_OBJECT_ID_MAX);
		}
		image->exists = true;
		rc = finish(storage->sim, crash);
		if (rc < 0)
			return rc;
	} else if (image == NULL || !image->exists) {
		return HVREPL_E_NOT_FOUND;
	}
	*object_out = image;
	return HVREPL_OK;
}

static void object_close(void *user, void *object)
{
	(void)user, (void)object;
}

static int32_t object_size(void *user, void *object, uint64_t *size_out)
{
	(void)user;
	*size_out = ((struct sim_image *)object)->size;
	return HVREPL_OK;
}

static int32_t object_read(void *user, hvrepl_op *op, void *object,
			   uint64_t offset, void *buffer, size_t length)
{
	struct sim_storage *storage = user;
	struct sim_image *image = object;
	bool crash;
	int32_t rc = step(storage->sim, false, &crash);

	(void)op;
	if (rc < 0)
		return rc;
	if (offset > image->size || length > image->size - offset)
		return HVREPL_E_STORAGE_IO;
	memcpy(buffer, image->now + offset, length);
	return HVREPL_OK;
}

static int32_t room_for(struct sim_storage *storage, struct sim_image *image,
			uint64_t end)
{
	if (end <= image->size || storage->capacity == UINT64_MAX)
		return HVREPL_OK;
	return sim_storage_used(storage) + (end - image->size) >
			       storage->capacity ?
		       HVREPL_E_NO_SPACE :
		       HVREPL_OK;
}

static int32_t object_write(void *user, hvrepl_op *op, void *object,
			    uint64_t offset, const struct hvrepl_iovec *iov,
			    uint32_t iov_count)
{
	struct sim_storage *storage = user;
	uint64_t end = offset;
	int32_t rc;

	(void)op;
	for (uint32_t i = 0; i < iov_count; i++)
		end += iov[i].length;
	rc = room_for(storage, object, end);
	if (rc < 0)
		return rc;
	return image_write(storage->sim, object, offset, iov, iov_count);
}

static int32_t object_flush(void *user, hvrepl_op *op, void *object)
{
	(void)op;
	return image_flush(((struct sim_storage *)user)->sim, object);
}

static int32_t object_resize(void *user, void *object, uint64_t size)
{
	struct sim_storage *storage = user;
	struct sim_image *image = object;
	bool crash;
	int32_t rc = room_for(storage, image, size);

	if (rc < 0)
		return rc;
	rc = step(storage->sim, true, &crash);
	if (rc < 0)
		return rc;
	make_room(image, size);
	(void)add_pending(image, 0, size, true);
	set_size(image->now, &image->size, size);
	return finish(storage->sim, crash);
}

static int32_t object_punch(void *user, void *object, uint64_t offset,
			    uint64_t length)
{
	struct sim_image *image = object;
	struct hvrepl_iovec iov;
	int32_t rc;

	if (offset >= image->size)
		return HVREPL_OK;
	if (length > image->size - offset)
		length = image->size - offset;
	iov.base = must(calloc(1, length + 1));
	iov.length = length;
	rc = image_write(((struct sim_storage *)user)->sim, image, offset, &iov,
			 1);
	free(iov.base);
	return rc;
}

static int32_t storage_remove(void *user, const char *id)
{
	struct sim_storage *storage = user;
	struct sim_image *image = find(storage, id);
	bool crash;
	int32_t rc = step(storage->sim, true, &crash);

	if (rc < 0)
		return rc;
	if (image == NULL || !image->exists)
		return HVREPL_E_NOT_FOUND;
	image->exists = false;
	drop_pending(image);
	set_size(image->now, &image->size, 0);
	return finish(storage->sim, crash);
}

static int32_t storage_sync(void *user)
{
	struct sim_storage *storage = user;
	bool crash;
	int32_t rc = step(storage->sim, true, &crash);

	if (rc < 0)
		return rc;
	for (struct sim_image *i = storage->sim->images; i != NULL && !crash;
	     i = i->next)
		if (i->storage == storage && !i->exists)
			settle(i);
	return finish(storage->sim, crash);
}

static int32_t storage_list(void *user, const char *prefix,
			    int32_t (*found)(void *argument, const char *id,
					     uint64_t size),
			    void *argument)
{
	struct sim_storage *storage = user;
	bool crash;
	int32_t rc = step(storage->sim, false, &crash);

	for (struct sim_image *i = storage->sim->images; i != NULL && rc >= 0;
	     i = i->next)
		if (i->storage == storage && i->exists &&
		    strncmp(i->id, prefix, strlen(prefix)) == 0)
			rc = found(argument, i->id, i->size);
	return rc;
}

static int32_t storage_free_space(void *user, uint64_t *bytes_out)
{
	struct sim_storage *storage = user;
	uint64_t used = sim_storage_used(storage);

	*bytes_out = storage->capacity == UINT64_MAX ? UINT64_MAX :
		     storage->capacity > used	     ? storage->capacity - used :
						       0;
	return HVREPL_OK;
}

static void storage_release(void *user)
{
	((struct sim_storage *)user)->released++;
}

static const struct hvrepl_storage_ops storage_ops = {
	.struct_size = sizeof(storage_ops),
	.open = object_open,
	.close = object_close,
	.size = object_size,
	.read = object_read,
	.write = object_write,
	.flush = object_flush,
	.resize = object_resize,
	.punch = object_punch,
	.remove = storage_remove,
	.sync = storage_sync,
	.list = storage_list,
	.free_space = storage_free_space,
};

struct sim_storage *sim_storage_new(struct sim *sim)
{
	struct sim_storage *storage = owned(sim, sizeof(*storage));

	storage->sim = sim;
	storage->capacity = UINT64_MAX;
	return storage;
}

struct hvrepl_storage sim_storage_handle(struct sim_storage *storage)
{
	return (struct hvrepl_storage){ &storage_ops, storage,
					storage_release };
}

uint8_t *sim_object_bytes(struct sim_storage *storage, const char *id,
			  uint64_t *size_out)
{
	struct sim_image *image = find(storage, id);

	if (image == NULL || !image->exists)
		return NULL;
	settle(image);
	*size_out = image->size;
	return image->now;
}

uint64_t sim_storage_used(const struct sim_storage *storage)
{
	uint64_t used = 0;

	for (const struct sim_image *i = storage->sim->images; i != NULL;
	     i = i->next)
		if (i->storage == storage && i->exists)
			used += i->size;
	return used;
}

unsigned sim_storage_objects(const struct sim_storage *storage)
{
	unsigned count = 0;

	for (const struct sim_image *i = storage->sim->images; i != NULL;
	     i = i->next)
		count += i->storage == storage && i->exists;
	return count;
}

void sim_free(struct sim *sim)
{
	while (sim->images != NULL) {
		struct sim_image *gone = sim->images;

		sim->images = gone->next;
		drop_pending(gone);
		free(gone->now);
		free(gone->durable);
		free(gone);
	}
	while (sim->owned_count > 0)
		free(sim->owned[--sim->owned_count]);
}
