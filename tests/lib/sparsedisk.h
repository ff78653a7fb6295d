/* SPDX-License-Identifier: Apache-2.0 */
/* A disk of any size that holds only what was written; no crashes, no locks. */
#ifndef SPARSEDISK_H
#define SPARSEDISK_H

#include <hvrepl/hvrepl.h>

#define SPARSE_PAGE 65536u
#define SPARSE_BUCKETS 4096u

struct sparse_page;

struct sparse_disk {
	uint64_t size;
	uint32_t flags, block_size;
	uint64_t token;
	uint64_t reads, read_bytes, flushes; /* Calls. */
	unsigned released;
	struct sparse_page *bucket[SPARSE_BUCKETS];
};

struct sparse_disk *sparse_disk_new(uint64_t size);
void sparse_disk_free(struct sparse_disk *disk);
struct hvrepl_disk sparse_disk_handle(struct sparse_disk *disk);
void sparse_disk_read(struct sparse_disk *disk, uint64_t offset, void *bytes,
		      size_t length);
void sparse_disk_write(struct sparse_disk *disk, uint64_t offset,
		       const void *bytes, size_t length);
#endif
