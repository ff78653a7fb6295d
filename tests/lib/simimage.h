/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of sim.h: images, their pending writes and what each I/O goes through. */
#ifndef SIMIMAGE_H
#define SIMIMAGE_H

#include "sim.h"

#include <stdlib.h>
#include <string.h>

struct sim_pending {
	struct sim_pending *next; /* Older first. */
	uint64_t offset, length;
	bool resize; /* length = new size. */
	uint8_t bytes[];
};

struct sim_image {
	struct sim_image *next;
	uint8_t *now, *medium; /* sim_durable() gives the other one. */
	uint64_t size, durable_size;
	uint64_t room, reach; /* Bytes there are; that were ever in use. */
	uint64_t medium_reach; /* Bytes after it are zeroes, and not written yet. */
	struct sim_pending *first, **last;
	bool whole; /* Removed or made anew: the next flush is of all of it. */
	bool late;  /* A flush said OK and was none; the next one fails. */
	/* `now` is not just `durable` with what is pending: nobody knows how
	 * they differ. */
	bool apart;
	bool odd; /* Bytes past the end may be other than zero, for ever. */
	unsigned reverts; /* Flushes that failed and took what was pending. */
	/* Storage objects only. */
	struct sim_storage *storage;
	char id[HVREPL_OBJECT_ID_MAX + 1];
	bool exists, durable_exists;
};

static inline void *sim_must(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

static inline void sim_set_size(uint8_t *bytes, uint64_t *size, uint64_t to)
{
	if (to < *size)
		memset(bytes + to, 0, *size - to);
	*size = to;
}

/* What a power loss leaves, as far as anything ever reached. */
static inline uint8_t *sim_durable(struct sim_image *image)
{
	if (image->medium_reach < image->reach) {
		memset(image->medium + image->medium_reach, 0,
		       image->reach - image->medium_reach);
		image->medium_reach = image->reach;
	}
	return image->medium;
}

/* Disks and storages are few and live as long as their sim. */
void *sim_owned(struct sim *sim, size_t size);
struct sim_image *sim_image_new(struct sim *sim, uint64_t size);
/* It holds `size` bytes then, zeroes where nothing was. */
void sim_make_room(struct sim_image *image, uint64_t size);
void sim_drop_pending(struct sim_image *image);
struct sim_pending *sim_add_pending(struct sim_image *image, uint64_t offset,
				    uint64_t length, bool resize);
/* A reader sees what is durable. */
void sim_image_revert(struct sim_image *image);
/* All that a reader sees is durable. */
void sim_settle(struct sim_image *image);
/* One step of the sim before an I/O. Negative: it fails with that. `changes`
 * I/O counts for crash_at; *crash_after says that it is the one. */
int32_t sim_step(struct sim *sim, bool changes, bool *crash_after);
/* How a disk or object callback returns that: at once, or through `op`. */
int32_t sim_late(const struct sim *sim, hvrepl_op *op, int32_t rc);
int32_t sim_finish(struct sim *sim, bool crash);
int32_t sim_image_write(struct sim *sim, struct sim_image *image,
			uint64_t offset, const struct hvrepl_iovec *iov,
			uint32_t iov_count);
int32_t sim_image_flush(struct sim *sim, struct sim_image *image);
#endif
