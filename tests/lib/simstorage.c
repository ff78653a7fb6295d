/* SPDX-License-Identifier: Apache-2.0 */
/* Named objects over images that lose power; see sim.h. */
#include "simimage.h"

static struct sim_image *find(struct sim_storage *storage, const char *id)
{
	struct sim_image *image = storage->sim->images;

	while (image != NULL &&
	       (image->storage != storage || strcmp(image->id, id) != 0))
		image = image->next;
	return image;
}

/* As storage.h promises: nothing that could be a path, and no peer's word. */
static bool proper(const char *id)
{
	size_t length = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789._-");

	return length > 0 && length <= HVREPL_OBJECT_ID_MAX &&
	       id[length] == 0 && id[0] != '.';
}

static int32_t object_open(void *user, const char *id, uint32_t flags,
			   void **object_out)
{
	struct sim_storage *storage = user;
	struct sim_image *image = find(storage, id);
	bool crash;
	int32_t rc = sim_step(storage->sim, (flags & HVREPL_OBJECT_CREATE) != 0,
			  &crash);

	storage->sim->improper |= !proper(id);
	if (rc < 0)
		return rc;
	if ((flags & HVREPL_OBJECT_CREATE) != 0) {
		if (image != NULL && image->exists)
			return HVREPL_E_EXISTS;
		if (image == NULL) {
			image = sim_image_new(storage->sim, 0);
			image->storage = storage;
			image->whole = true;
			strncpy(image->id, id, HVREPL_OBJECT_ID_MAX);
		}
		image->exists = true;
		rc = sim_finish(storage->sim, crash);
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
	struct sim_storage *storage = user;

	if (test_refuses(storage->sim->refusals))
		return HVREPL_E_STORAGE_IO;
	*size_out = ((struct sim_image *)object)->size;
	return HVREPL_OK;
}

static int32_t object_read(void *user, hvrepl_op *op, void *object,
			   uint64_t offset, void *buffer, size_t length)
{
	struct sim_storage *storage = user;
	struct sim_image *image = object;
	bool crash;
	int32_t rc = sim_step(storage->sim, false, &crash);

	if (rc == HVREPL_OK &&
	    (offset > image->size || length > image->size - offset))
		rc = HVREPL_E_STORAGE_IO;
	if (rc == HVREPL_OK)
		memcpy(buffer, image->now + offset, length);
	return sim_late(storage->sim, op, rc);
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

	for (uint32_t i = 0; i < iov_count; i++)
		end += iov[i].length;
	rc = room_for(storage, object, end);
	if (rc == HVREPL_OK)
		rc = sim_image_write(storage->sim, object, offset, iov,
				     iov_count);
	return sim_late(storage->sim, op, rc);
}

static int32_t object_flush(void *user, hvrepl_op *op, void *object)
{
	struct sim *sim = ((struct sim_storage *)user)->sim;

	return sim_late(sim, op, sim_image_flush(sim, object));
}

static int32_t object_resize(void *user, void *object, uint64_t size)
{
	struct sim_storage *storage = user;
	struct sim_image *image = object;
	bool crash;
	int32_t rc = room_for(storage, image, size);

	if (rc < 0)
		return rc;
	rc = sim_step(storage->sim, true, &crash);
	if (rc < 0)
		return rc;
	sim_make_room(image, size);
	(void)sim_add_pending(image, 0, size, true);
	sim_set_size(image->now, &image->size, size);
	return sim_finish(storage->sim, crash);
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
	iov.base = sim_must(calloc(1, length + 1));
	iov.length = length;
	rc = sim_image_write(((struct sim_storage *)user)->sim, image, offset, &iov,
			 1);
	free(iov.base);
	return rc;
}

static int32_t storage_remove(void *user, const char *id)
{
	struct sim_storage *storage = user;
	struct sim_image *image = find(storage, id);
	bool crash;
	int32_t rc = sim_step(storage->sim, true, &crash);

	if (rc < 0)
		return rc;
	if (image == NULL || !image->exists)
		return crash ? sim_finish(storage->sim, true) :
			       HVREPL_E_NOT_FOUND;
	image->exists = false;
	image->whole = image->apart = true;
	image->late = false;
	sim_drop_pending(image);
	sim_set_size(image->now, &image->size, 0);
	return sim_finish(storage->sim, crash);
}

static int32_t storage_sync(void *user)
{
	struct sim_storage *storage = user;
	bool crash;
	int32_t rc = sim_step(storage->sim, true, &crash);

	if (rc < 0)
		return rc;
	for (struct sim_image *i = storage->sim->images; i != NULL && !crash;
	     i = i->next)
		if (i->storage == storage && !i->exists)
			sim_settle(i);
	return sim_finish(storage->sim, crash);
}

static int32_t storage_list(void *user, const char *prefix,
			    int32_t (*found)(void *argument, const char *id,
					     uint64_t size),
			    void *argument)
{
	struct sim_storage *storage = user;
	bool crash;
	int32_t rc = sim_step(storage->sim, false, &crash);

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

	if (test_refuses(storage->sim->refusals))
		return HVREPL_E_STORAGE_IO;
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
	struct sim_storage *storage = sim_owned(sim, sizeof(*storage));

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
	sim_settle(image);
	image->odd = true; /* The caller may write to one of the two. */
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

struct sim_copy {
	struct sim_copy *next;
	struct sim_image *image;
	uint64_t size;
	bool exists;
	uint8_t bytes[];
};

static void drop_backup(struct sim *sim)
{
	while (sim->backup != NULL) {
		struct sim_copy *gone = sim->backup;

		sim->backup = gone->next;
		free(gone);
	}
}

void sim_backup(struct sim *sim)
{
	drop_backup(sim);
	for (struct sim_image *i = sim->images; i != NULL; i = i->next) {
		struct sim_copy *copy = sim_must(malloc(sizeof(*copy) + i->size));

		copy->image = i;
		copy->size = i->size;
		copy->exists = i->exists;
		memcpy(copy->bytes, i->now, i->size);
		copy->next = sim->backup;
		sim->backup = copy;
	}
}

void sim_restore(struct sim *sim)
{
	for (struct sim_image *i = sim->images; i != NULL; i = i->next) {
		struct sim_copy *copy = sim->backup;

		while (copy != NULL && copy->image != i)
			copy = copy->next;
		sim_set_size(i->now, &i->size, 0);
		i->exists = copy != NULL && copy->exists;
		if (copy != NULL) {
			memcpy(i->now, copy->bytes, copy->size);
			i->size = copy->size;
		}
		i->late = false;
		i->apart = true;
		sim_settle(i);
	}
	drop_backup(sim);
}

void sim_free(struct sim *sim)
{
	drop_backup(sim);
	while (sim->images != NULL) {
		struct sim_image *gone = sim->images;

		sim->images = gone->next;
		sim_drop_pending(gone);
		free(gone->now);
		free(gone->medium);
		free(gone);
	}
	while (sim->owned_count > 0)
		free(sim->owned[--sim->owned_count]);
}
