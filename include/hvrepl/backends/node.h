/* SPDX-License-Identifier: Apache-2.0 */
/* A node on a loop, and peers reached over TLS: the simple door. */
#ifndef HVREPL_BACKENDS_NODE_H
#define HVREPL_BACKENDS_NODE_H

#include <hvrepl/backends/tls.h>
#include <hvrepl/node.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Drives one node on one loop. Opaque. */
typedef struct hvrepl_runner hvrepl_runner;

/**
 * For hvrepl_node_config.wake with the loop as hvrepl_node_config.user; who
 * needs that `user` for more calls hvrepl_loop_wake() from a wake of his own.
 * Any thread; callback-safe. @since 0.1
 */
HVREPL_API void hvrepl_runner_wake(void *loop);

/**
 * From now on the loop processes `node` whenever it is due, and its events go
 * to on_event() in order, on the loop's thread, outside of the node: it may
 * call the node. The node's env must have the system's monotonic clock, as
 * hvrepl_default_env() has.
 *
 * @param on_event  Optional; without it events are taken and dropped.
 * @param user      Borrowed until hvrepl_runner_destroy().
 * @return OK, INVALID or NOMEM. Loop thread. @since 0.1
 */
HVREPL_API int32_t hvrepl_runner_create(hvrepl_loop *loop, hvrepl_node *node,
					void (*on_event)(void *user,
							 const struct hvrepl_event
								 *event),
					void *user,
					hvrepl_runner **runner_out);

/**
 * Run the loop on this thread until `job` is done; other events go to
 * on_event() as ever. A job that ended earlier is remembered, the last 64 are.
 *
 * @param timeout_ns  0: as long as it takes.
 * @param done_out    Optional; the job's HVREPL_EVENT_JOB_DONE. Its struct_size
 *                    set by the caller; the job's own code is in it.
 * @return OK: the job ended; TIMEOUT; CANCELLED: the loop was stopped
 *         meanwhile; STATE: the loop runs already (on_event() is then the
 *         place to hear of jobs). @since 0.1
 */
HVREPL_API int32_t hvrepl_runner_wait_job(hvrepl_runner *runner, uint64_t job,
					  uint64_t timeout_ns,
					  struct hvrepl_event *done_out);

/**
 * Close the node and run the loop on this thread until that is over
 * (HVREPL_EVENT_CLOSED); then hvrepl_node_destroy() works. As wait_job; with
 * STATE the node is not closed.
 */
HVREPL_API int32_t hvrepl_runner_close_node(hvrepl_runner *runner,
					    uint64_t timeout_ns);

/** Leave the node alone. It stays the caller's. Loop thread. NULL is fine. */
HVREPL_API void hvrepl_runner_destroy(hvrepl_runner *runner);

/** How to reach one peer of a node over TLS. */
struct hvrepl_tls_peer {
	uint32_t struct_size; /* sizeof(struct hvrepl_tls_peer) */
	uint32_t port;        /* 1 to 65535. */
	const char *name;     /* Whom its certificate must name. Copied. */
	const char *host;     /* NULL: `name`. Copied. */
	uint64_t connect_timeout_ns; /* As in hvrepl_tls_connect. */
	/** Optional: each attempt's end, on the loop's thread. It may destroy
	 * the node, which then gets no channel. */
	void (*attempted)(void *user,
			  const struct hvrepl_connect_result *result);
	void *user; /* Borrowed as long as the peer. */
};
#define HVREPL_TLS_PEER_INIT \
	{ sizeof(struct hvrepl_tls_peer), 0, 0, 0, 0, 0, 0 }

/**
 * Add that peer to the node: hvrepl_node_add_peer() with a connect that dials
 * over TLS. The node decides when; it must be processed on this loop.
 * @param tls  Kept alive as long as the peer.
 * @return What hvrepl_node_add_peer() says; INVALID, NOMEM. Loop thread.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_tls_add_peer(hvrepl_loop *loop, hvrepl_tls *tls,
				       hvrepl_node *node,
				       const struct hvrepl_tls_peer *peer,
				       struct hvrepl_error *error);

/**
 * For hvrepl_tls_listen.accepted with the node as its user: hands the channel
 * to the node.
 */
HVREPL_API void
hvrepl_runner_accept(void *node, const struct hvrepl_channel *channel,
		     const struct hvrepl_connect_result *result);

#ifdef __cplusplus
}
#endif
#endif
