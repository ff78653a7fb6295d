/* SPDX-License-Identifier: Apache-2.0 */
/* A disk and one object in memory, and an env, for trackers under real threads. */
#ifndef THREADBED_H
#define THREADBED_H

#include "testing.h"

#include "tracker/internal.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#define BLOCK 4096u
#define DISK_SIZE (288u * BLOCK)

/* A disk in memory. It takes no lock: the sanitizer sees a block that is read
 * for a cut while it is written. */
struct disk {
	uint8_t bytes[DISK_SIZE];
	void (*before_read)(void); /* Or NULL. */
	int32_t (*flushed)(void);  /* What a flush gives; or NULL. */
};

static int32_t disk_info(void *user, struct hvrepl_disk_info *out)
{
	(void)user;
	out->flags = HVREPL_DISK_EXCLUSIVE;
	out->size = DISK_SIZE;
	out->block_size = 512;
	return HVREPL_OK;
}

static int32_t disk_readv(void *user, hvrepl_op *op, uint64_t offset,
			  const struct hvrepl_iovec *iov, uint32_t count)
{
	struct disk *disk = user;

	(void)op;
	if (disk->before_read != NULL)
		disk->before_read();
	for (uint32_t i = 0; i < count; i++) {
		memcpy(iov[i].base, disk->bytes + offset, iov[i].length);
		offset += iov[i].length;
	}
	return HVREPL_OK;
}

static int32_t disk_writev(void *user, hvrepl_op *op, uint64_t offset,
			   const struct hvrepl_iovec *iov, uint32_t count)
{
	(void)user, (void)op, (void)offset, (void)iov, (void)count;
	return HVREPL_E_READ_ONLY; /* The tracker never writes the disk. */
}

static int32_t disk_flush(void *user, hvrepl_op *op)
{
	struct disk *disk = user;

	(void)op;
	return disk->flushed == NULL ? HVREPL_OK : disk->flushed();
}

static const struct hvrepl_disk_ops disk_ops = {
	.struct_size = sizeof(disk_ops),
	.info = disk_info,
	.readv = disk_readv,
	.writev = disk_writev,
	.flush = disk_flush,
};

/* One object in memory is storage enough. */
struct store {
	pthread_mutex_t mutex;
	void (*before_write)(void); /* Or NULL. */
	uint8_t bytes[524288];
	uint64_t size;
};

static int32_t store_open(void *user, const char *id, uint32_t flags,
			  void **object_out)
{
	struct store *store = user;

	(void)id;
	if ((flags & HVREPL_OBJECT_CREATE) == 0 && store->size == 0)
		return HVREPL_E_NOT_FOUND;
	*object_out = store;
	return HVREPL_OK;
}

static void store_close(void *user, void *object)
{
	(void)user, (void)object;
}

static int32_t store_size(void *user, void *object, uint64_t *size_out)
{
	(void)user;
	*size_out = ((struct store *)object)->size;
	return HVREPL_OK;
}

static int32_t store_read(void *user, hvrepl_op *op, void *object,
			  uint64_t offset, void *buffer, size_t length)
{
	struct store *store = object;

	(void)user, (void)op;
	pthread_mutex_lock(&store->mutex);
	memcpy(buffer, store->bytes + offset, length);
	pthread_mutex_unlock(&store->mutex);
	return HVREPL_OK;
}

static int32_t store_write(void *user, hvrepl_op *op, void *object,
			   uint64_t offset, const struct hvrepl_iovec *iov,
			   uint32_t count)
{
	struct store *store = object;

	(void)user, (void)op;
	if (store->before_write != NULL)
		store->before_write();
	pthread_mutex_lock(&store->mutex);
	for (uint32_t i = 0; i < count; i++) {
		ck_assert_uint_le(offset + iov[i].length,
				  sizeof(store->bytes));
		memcpy(store->bytes + offset, iov[i].base, iov[i].length);
		offset += iov[i].length;
	}
	if (offset > store->size)
		store->size = offset;
	pthread_mutex_unlock(&store->mutex);
	return HVREPL_OK;
}

static int32_t store_flush(void *user, hvrepl_op *op, void *object)
{
	(void)user, (void)op, (void)object;
	return HVREPL_OK;
}

static int32_t store_resize(void *user, void *object, uint64_t size)
{
	(void)user;
	((struct store *)object)->size = size;
	return HVREPL_OK;
}

static int32_t store_remove(void *user, const char *id)
{
	(void)user, (void)id;
	return HVREPL_OK;
}

static int32_t store_list(void *user, const char *prefix,
			  int32_t (*found)(void *argument, const char *id,
					   uint64_t size),
			  void *argument)
{
	(void)user, (void)prefix, (void)found, (void)argument;
	return HVREPL_OK;
}

static const struct hvrepl_storage_ops store_ops = {
	.struct_size = sizeof(store_ops),
	.open = store_open,
	.close = store_close,
	.size = store_size,
	.read = store_read,
	.write = store_write,
	.flush = store_flush,
	.resize = store_resize,
	.remove = store_remove,
	.list = store_list,
};

static uint64_t real_now(void *user)
{
	struct timespec now;

	(void)user;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int32_t some_random(void *user, void *buffer, size_t length)
{
	static uint64_t state = 1;
	uint64_t value = __atomic_add_fetch(&state, 2, __ATOMIC_RELAXED);

	(void)user;
	test_fill(buffer, length, value);
	return HVREPL_OK;
}

static inline struct hvrepl_env real_env(void)
{
	struct hvrepl_env env = HVREPL_ENV_INIT;

	env.monotonic_ns = env.utc_ns = real_now;
	env.random = some_random;
	return env;
}
#endif
