/* SPDX-License-Identifier: Apache-2.0 */
/* Two channels that are each other's peer, in one process: tests, examples. */
#ifndef HVREPL_BACKENDS_MEMORY_H
#define HVREPL_BACKENDS_MEMORY_H

#include <hvrepl/channel.h>
#include <hvrepl/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The link between the two ends. Opaque. */
typedef struct hvrepl_memory_pair hvrepl_memory_pair;

struct hvrepl_memory_pair_options {
	uint32_t struct_size; /* sizeof(struct hvrepl_memory_pair_options) */
	uint32_t reserved;    /* Must be zero. */
	/**
	 * Names of end 0 and end 1; each end proves its own to the other, so
	 * that info() of end 0 gives names[1]. Copied; mandatory.
	 */
	const char *names[2];
	/** Bytes under way in one direction before sends wait. 0: 1 MiB. */
	uint64_t window;
	/**
	 * From sent to receivable, by the time given to
	 * hvrepl_memory_pair_advance(); 0: at once, and no advance is needed.
	 */
	uint64_t delay_ns;
	/** Most bytes one receive gets. 0: no limit; 1: byte by byte. */
	uint64_t receive_max;
	/** The exporter value of both ends. All zero: random. */
	uint8_t exporter[HVREPL_EXPORTER_SIZE];
};
#define HVREPL_MEMORY_PAIR_OPTIONS_INIT \
	{ sizeof(struct hvrepl_memory_pair_options), 0, { 0, 0 }, 0, 0, 0, \
	  { 0 } }

/**
 * Make a pair. Nothing in it runs by itself: bytes move inside the callbacks
 * of the two channels and inside the functions below, and with them the
 * operations of the *other* end are completed, so that one thread and one
 * order of calls always give the same run. Several threads may use it too.
 *
 * @param options   Copied.
 * @param ends_out  Two channels; give each to a node, or call its release.
 * @param pair_out  Optional. To be freed with hvrepl_memory_pair_free(), before
 *                  or after the ends are released.
 * @return OK, INVALID, NOMEM or UNAVAILABLE (no entropy).
 * @threadsafety Any thread; all of this header. @since 0.1
 */
HVREPL_API int32_t
hvrepl_memory_pair_create(const struct hvrepl_memory_pair_options *options,
			  struct hvrepl_channel ends_out[2],
			  hvrepl_memory_pair **pair_out);

/**
 * Move the pair's clock to `now_ns` (never back) and deliver what is due.
 * Returns when it is next worth calling; UINT64_MAX when nothing is under way.
 */
HVREPL_API uint64_t hvrepl_memory_pair_advance(hvrepl_memory_pair *pair,
					       uint64_t now_ns);

/**
 * A partition: from now on (stalled = 1) nothing sent by `from` (0 or 1)
 * arrives, and nothing is lost either; until stalled = 0.
 */
HVREPL_API void hvrepl_memory_pair_stall(hvrepl_memory_pair *pair,
					 uint32_t from, uint32_t stalled);

/** A cut: what is under way is lost, both ends fail with DISCONNECTED. */
HVREPL_API void hvrepl_memory_pair_cut(hvrepl_memory_pair *pair);

/**
 * Cut when `bytes` more of what `from` sends have been received, which is
 * anywhere inside a message. UINT64_MAX takes it back.
 */
HVREPL_API void hvrepl_memory_pair_cut_after(hvrepl_memory_pair *pair,
					     uint32_t from, uint64_t bytes);

/** Bytes that `from` sent and the other end has received so far. */
HVREPL_API uint64_t hvrepl_memory_pair_moved(hvrepl_memory_pair *pair,
					     uint32_t from);

/** Let the pair go; its ends work on until they are released. NULL is fine. */
HVREPL_API void hvrepl_memory_pair_free(hvrepl_memory_pair *pair);

#ifdef __cplusplus
}
#endif
#endif
