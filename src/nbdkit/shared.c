/* SPDX-License-Identifier: Apache-2.0 */
/* One directory for several takers: its storage is released by the last. */
#include "site.h"

#include <stdatomic.h>
#include <stdlib.h>

struct shared {
	struct hvrepl_storage_ops ops;
	struct hvrepl_storage inner;
	atomic_uint references;
};

static void shared_release(void *user)
{
	struct shared *shared = user;

	if (atomic_fetch_sub(&shared->references, 1) != 1)
		return;
	if (shared->inner.release != NULL)
		shared->inner.release(shared->inner.user);
	free(shared);
}

static int32_t on_open(void *user, const char *id, uint32_t flags,
		       void **object_out)
{
	struct shared *shared = user;

	return shared->inner.ops->open(shared->inner.user, id, flags,
				       object_out);
}

static void on_close(void *user, void *object)
{
	struct shared *shared = user;

	shared->inner.ops->close(shared->inner.user, object);
}

static int32_t on_size(void *user, void *object, uint64_t *size_out)
{
	struct shared *shared = user;

	return shared->inner.ops->size(shared->inner.user, object, size_out);
}

static int32_t on_read(void *user, hvrepl_op *op, void *object,
		       uint64_t offset, void *buffer, size_t length)
{
	struct shared *shared = user;

	return shared->inner.ops->read(shared->inner.user, op, object, offset,
				       buffer, length);
}

static int32_t on_write(void *user, hvrepl_op *op, void *object,
			uint64_t offset, const struct hvrepl_iovec *iov,
			uint32_t iov_count)
{
	struct shared *shared = user;

	return shared->inner.ops->write(shared->inner.user, op, object, offset,
					iov, iov_count);
}

static int32_t on_flush(void *user, hvrepl_op *op, void *object)
{
	struct shared *shared = user;

	return shared->inner.ops->flush(shared->inner.user, op, object);
}

static int32_t on_resize(void *user, void *object, uint64_t size)
{
	struct shared *shared = user;

	return shared->inner.ops->resize(shared->inner.user, object, size);
}

static int32_t on_punch(void *user, void *object, uint64_t offset,
			uint64_t length)
{
	struct shared *shared = user;

	return shared->inner.ops->punch(shared->inner.user, object, offset,
					length);
}

static int32_t on_remove(void *user, const char *id)
{
	struct shared *shared = user;

	return shared->inner.ops->remove(shared->inner.user, id);
}

static int32_t on_sync(void *user)
{
	struct shared *shared = user;

	return shared->inner.ops->sync(shared->inner.user);
}

static int32_t on_list(void *user, const char *prefix,
		       int32_t (*found)(void *argument, const char *id,
					uint64_t size),
		       void *argument)
{
	struct shared *shared = user;

	return shared->inner.ops->list(shared->inner.user, prefix, found,
				       argument);
}

static int32_t on_free_space(void *user, uint64_t *bytes_out)
{
	struct shared *shared = user;

	return shared->inner.ops->free_space(shared->inner.user, bytes_out);
}

int32_t shared_storage(const struct hvrepl_storage *storage,
		       struct hvrepl_storage *shared_out)
{
	struct shared *shared = calloc(1, sizeof(*shared));

	if (shared == NULL) {
		if (storage->release != NULL)
			storage->release(storage->user);
		return HVREPL_E_NOMEM;
	}
	shared->inner = *storage;
	shared->ops.struct_size = sizeof(shared->ops);
	shared->ops.open = on_open;
	shared->ops.close = on_close;
	shared->ops.size = on_size;
	shared->ops.read = on_read;
	shared->ops.write = on_write;
	shared->ops.flush = on_flush;
	shared->ops.resize = on_resize;
	shared->ops.remove = on_remove;
	shared->ops.list = on_list;
	if (storage->ops->punch != NULL)
		shared->ops.punch = on_punch;
	if (storage->ops->sync != NULL)
		shared->ops.sync = on_sync;
	if (storage->ops->free_space != NULL)
		shared->ops.free_space = on_free_space;
	atomic_init(&shared->references, 1);
	shared_out->ops = &shared->ops;
	shared_out->user = shared;
	shared_out->release = shared_release;
	return HVREPL_OK;
}

struct hvrepl_storage shared_ref(const struct hvrepl_storage *shared)
{
	struct shared *inner = shared->user;

	atomic_fetch_add(&inner->references, 1);
	return *shared;
}
