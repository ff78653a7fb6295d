/* SPDX-License-Identifier: Apache-2.0 */
/* Where hvrepl keeps its own bytes: named objects the application stores. */
#ifndef HVREPL_STORAGE_H
#define HVREPL_STORAGE_H

#include <hvrepl/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Longest object id, without the terminating zero. */
#define HVREPL_OBJECT_ID_MAX 63u

#define HVREPL_OBJECT_CREATE (1u << 0)    /* Fails with EXISTS if there. */
#define HVREPL_OBJECT_READ_ONLY (1u << 1)

/**
 * Callbacks of one place to store objects, such as a directory. An object id
 * is 1 to HVREPL_OBJECT_ID_MAX bytes of [a-z0-9._-], not starting with '.',
 * made by the library and never by a peer. Callbacks may run on any thread, on
 * several at once, and may block; they must not call into the handle that owns
 * the storage.
 *
 * Durability: what was written, and the object's being there and its size, is
 * durable once a flush() of the object that began later returned OK. A flush
 * that failed promises nothing about earlier writes; but reads after it, also
 * by a later process, give what is durable or fail: a cache that went on showing
 * bytes which are not on the medium would be believed (Linux does that after an
 * fsync() that failed; the backends drop such pages). A delete may be undone by
 * a crash until sync() has returned.
 */
struct hvrepl_storage_ops {
	uint32_t struct_size; /* sizeof(struct hvrepl_storage_ops) */
	uint32_t reserved;    /* Must be zero. */

	/** Synchronous. NOT_FOUND without CREATE, EXISTS with it. */
	int32_t (*open)(void *user, const char *id, uint32_t flags,
			void **object_out);
	void (*close)(void *user, void *object);
	/** Current size in bytes. Synchronous. */
	int32_t (*size)(void *user, void *object, uint64_t *size_out);
	/** All of [offset, offset + length), which lies inside the object. */
	int32_t (*read)(void *user, hvrepl_op *op, void *object,
			uint64_t offset, void *buffer, size_t length);
	/** Grows the object where needed; a gap reads as zeroes. */
	int32_t (*write)(void *user, hvrepl_op *op, void *object,
			 uint64_t offset, const struct hvrepl_iovec *iov,
			 uint32_t iov_count);
	int32_t (*flush)(void *user, hvrepl_op *op, void *object);
	/** Cut or grow (reads as zeroes). Synchronous. */
	int32_t (*resize)(void *user, void *object, uint64_t size);
	/** Optional. Give space back; the range reads as zeroes. */
	int32_t (*punch)(void *user, void *object, uint64_t offset,
			 uint64_t length);

	int32_t (*remove)(void *user, const char *id);
	/** Makes earlier removes durable. Optional: NULL means they are. */
	int32_t (*sync)(void *user);
	/**
	 * Call found() for every object whose id starts with `prefix`; a
	 * negative code from it stops the listing and is returned.
	 */
	int32_t (*list)(void *user, const char *prefix,
			int32_t (*found)(void *argument, const char *id,
					 uint64_t size),
			void *argument);
	/** Optional. Bytes that can still be written. */
	int32_t (*free_space)(void *user, uint64_t *bytes_out);
};
#define HVREPL_STORAGE_OPS_INIT \
	{ sizeof(struct hvrepl_storage_ops), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
	  0, 0 }

/** As struct hvrepl_disk: ops copied, user taken, release exactly once. */
struct hvrepl_storage {
	const struct hvrepl_storage_ops *ops;
	void *user;
	void (*release)(void *user);
};

#ifdef __cplusplus
}
#endif
#endif
