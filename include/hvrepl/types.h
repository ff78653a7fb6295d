/* SPDX-License-Identifier: Apache-2.0 */
/* Types every other header uses: export macro, ids, extents, operations. */
#ifndef HVREPL_TYPES_H
#define HVREPL_TYPES_H

#include <stddef.h>
#include <stdint.h>

#if defined(HVREPL_STATIC)
#define HVREPL_API
#elif defined(_WIN32) && defined(HVREPL_BUILDING)
#define HVREPL_API __declspec(dllexport)
#elif defined(_WIN32)
#define HVREPL_API __declspec(dllimport)
#elif defined(HVREPL_BUILDING)
#define HVREPL_API __attribute__((visibility("default")))
#else
#define HVREPL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** A 16-byte id in RFC 4122 byte order. All zero means "none". */
struct hvrepl_uuid {
	uint8_t bytes[16];
};

/** Bytes [offset, offset + length) of a disk. */
struct hvrepl_extent {
	uint64_t offset; /* Bytes. */
	uint64_t length; /* Bytes, never 0. */
};

/** One piece of memory of a scattered read or write. */
struct hvrepl_iovec {
	void *base;
	size_t length; /* Bytes. */
};

/**
 * One I/O that a callback was asked to start. Opaque, owned by the library,
 * valid until hvrepl_op_complete() has been called for it.
 *
 * A callback that takes an operation returns
 *  - HVREPL_OK: finished, `op` must not be completed;
 *  - HVREPL_PENDING: started; hvrepl_op_complete() will be called exactly once,
 *    from any thread, also before the callback has returned;
 *  - a negative code: failed, `op` must not be completed.
 * Buffers handed to the callback stay valid until completion.
 */
typedef struct hvrepl_op hvrepl_op;

/**
 * Finish an operation whose callback returned HVREPL_PENDING.
 *
 * @param op      As given to the callback; not to be used afterwards.
 * @param result  HVREPL_OK or a negative HVREPL_E_* code.
 * @threadsafety  Any thread; callback-safe.
 * @since 0.1
 */
HVREPL_API void hvrepl_op_complete(hvrepl_op *op, int32_t result);

#ifdef __cplusplus
}
#endif
#endif
