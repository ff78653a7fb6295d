/* SPDX-License-Identifier: Apache-2.0 */
/* Where a node keeps its small durable records: key -> versioned blob. */
#ifndef HVREPL_STATE_H
#define HVREPL_STATE_H

#include <hvrepl/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HVREPL_STATE_KEY_MAX 127u         /* Bytes, [a-z0-9._/-]. */
#define HVREPL_STATE_BLOB_MAX (64u << 10) /* Bytes. */

/**
 * Callbacks of a state store. The node calls them on its control thread, but
 * for keys under "untrusted/": a tracker that cannot mark a write in time says
 * so at once, on whatever thread it is (protocols T8). One at a time a key, for
 * different keys at once. A put that returned OK (or completed with OK) is durable; one
 * that failed or was cut off by a crash has happened or has not, and nothing
 * else: the same bytes are put again, and where that meets BUSY the node reads
 * whether they are there. Any others there are another process's.
 */
struct hvrepl_state_ops {
	uint32_t struct_size; /* sizeof(struct hvrepl_state_ops) */
	uint32_t reserved;    /* Must be zero. */

	/**
	 * Read a blob: up to *length_inout bytes, then its length; *version_out
	 * is 1 or more. NOT_FOUND (version 0). Synchronous.
	 */
	int32_t (*get)(void *user, const char *key, void *buffer,
		       uint32_t *length_inout, uint64_t *version_out);
	/**
	 * Replace the blob if its version is still `expected` (0: it must not
	 * exist): it gets version expected + 1. BUSY when the version moved.
	 * length 0 removes it.
	 */
	int32_t (*put)(void *user, hvrepl_op *op, const char *key,
		       const void *blob, uint32_t length, uint64_t expected);
	/** Call found() for each key with this prefix; negative stops. */
	int32_t (*list)(void *user, const char *prefix,
			int32_t (*found)(void *argument, const char *key),
			void *argument);
};
#define HVREPL_STATE_OPS_INIT \
	{ sizeof(struct hvrepl_state_ops), 0, 0, 0, 0 }

/** As struct hvrepl_disk: ops copied, user taken, release exactly once. */
struct hvrepl_state {
	const struct hvrepl_state_ops *ops;
	void *user;
	void (*release)(void *user);
};

#ifdef __cplusplus
}
#endif
#endif
