/* SPDX-License-Identifier: Apache-2.0 */
/* Pages in a hash table; see sparsedisk.h. */
#include "sparsedisk.h"

#include <stdlib.h>
#include <string.h>

struct sparse_page {
	struct sparse_page *next;
	uint64_t number;
	uint8_t bytes[SPARSE_PAGE];
};

static struct sparse_page **place(struct sparse_disk *disk, uint64_t number)
{
	struct sparse_page **link = &disk->bucket[number % SPARSE_BUCKETS];

	while (*link != NULL && (*link)->number != number)
		link = &(*link)->next;
	return link;
}

void sparse_disk_read(struct sparse_disk *disk, uint64_t offset, void *bytes,
		      size_t length)
{
	uint8_t *to = bytes;

	while (length > 0) {
		size_t at = offset % SPARSE_PAGE;
		size_t piece = SPARSE_PAGE - at < length ? SPARSE_PAGE - at :
							   length;
		struct sparse_page *page = *place(disk, offset / SPARSE_PAGE);

		if (page == NULL)
			memset(to, 0, piece);
		else
			memcpy(to, page->bytes + at, piece);
		offset += piece;
		to += piece;
		length -= piece;
	}
}

void sparse_disk_write(struct sparse_disk *disk, uint64_t offset,
		       const void *bytes, size_t length)
{
	const uint8_t *from = bytes;

	while (length > 0) {
		size_t at = offset % SPARSE_PAGE;
		size_t piece = SPARSE_PAGE - at < length ? SPARSE_PAGE - at :
							   length;
		struct sparse_page **link = place(disk, offset / SPARSE_PAGE);

		if (*link == NULL) {
			*link = calloc(1, sizeof(**link));
			if (*link == NULL)
				abort();
			(*link)->number = offset / SPARSE_PAGE;
		}
		memcpy((*link)->bytes + at, from, piece);
		offset += piece;
		from += piece;
		length -= piece;
	}
}

static int32_t info(void *user, struct hvrepl_disk_info *out)
{
	struct sparse_disk *disk = user;

	out->flags = disk->flags;
	out->size = disk->size;
	out->block_size = disk->block_size;
	out->token_length = sizeof(disk->token);
	memcpy(out->token, &disk->token, sizeof(disk->token));
	return HVREPL_OK;
}

static int32_t readv(void *user, hvrepl_op *op, uint64_t offset,
		     const struct hvrepl_iovec *iov, uint32_t count)
{
	struct sparse_disk *disk = user;

	(void)op;
	disk->reads++;
	for (uint32_t i = 0; i < count; i++) {
		sparse_disk_read(disk, offset, iov[i].base, iov[i].length);
		offset += iov[i].length;
		disk->read_bytes += iov[i].length;
	}
	return HVREPL_OK;
}

static int32_t writev(void *user, hvrepl_op *op, uint64_t offset,
		      const struct hvrepl_iovec *iov, uint32_t count)
{
	(void)op;
	for (uint32_t i = 0; i < count; i++) {
		sparse_disk_write(user, offset, iov[i].base, iov[i].length);
		offset += iov[i].length;
	}
	return HVREPL_OK;
}

static int32_t flush(void *user, hvrepl_op *op)
{
	(void)op;
	((struct sparse_disk *)user)->flushes++;
	return HVREPL_OK;
}

/* Page by page over all buckets would never end on a large disk: the next
 * page that exists is looked for instead. */
static int32_t allocated(void *user, uint64_t offset, uint64_t length,
			 struct hvrepl_extent *extents_out,
			 uint32_t *count_inout, uint64_t *end_out)
{
	struct sparse_disk *disk = user;
	uint64_t end = offset + length, best = UINT64_MAX;

	for (size_t i = 0; i < SPARSE_BUCKETS; i++)
		for (struct sparse_page *page = disk->bucket[i]; page != NULL;
		     page = page->next)
			if (page->number >= offset / SPARSE_PAGE &&
			    page->number < best)
				best = page->number;
	*count_inout = 0;
	*end_out = end;
	if (best == UINT64_MAX || best * SPARSE_PAGE >= end)
		return HVREPL_OK;
	extents_out->offset = best * SPARSE_PAGE > offset ? best * SPARSE_PAGE :
							    offset;
	extents_out->length = (best + 1) * SPARSE_PAGE - extents_out->offset;
	if (extents_out->length > end - extents_out->offset)
		extents_out->length = end - extents_out->offset;
	*count_inout = 1;
	*end_out = extents_out->offset + extents_out->length;
	return HVREPL_OK;
}

static void release(void *user)
{
	((struct sparse_disk *)user)->released++;
}

static const struct hvrepl_disk_ops ops = {
	.struct_size = sizeof(ops),
	.info = info,
	.readv = readv,
	.writev = writev,
	.flush = flush,
	.allocated = allocated,
};

struct sparse_disk *sparse_disk_new(uint64_t size)
{
	struct sparse_disk *disk = calloc(1, sizeof(*disk));

	if (disk == NULL)
		abort();
	disk->size = size;
	disk->block_size = 512;
	disk->flags = HVREPL_DISK_EXCLUSIVE;
	disk->token = 1;
	return disk;
}

void sparse_disk_free(struct sparse_disk *disk)
{
	for (size_t i = 0; i < SPARSE_BUCKETS; i++)
		while (disk->bucket[i] != NULL) {
			struct sparse_page *gone = disk->bucket[i];

			disk->bucket[i] = gone->next;
			free(gone);
		}
	free(disk);
}

struct hvrepl_disk sparse_disk_handle(struct sparse_disk *disk)
{
	return (struct hvrepl_disk){ &ops, disk, release };
}
