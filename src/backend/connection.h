/* SPDX-License-Identifier: Apache-2.0 */
/* One TLS connection on a loop: handshake, then a channel, then its end. */
#ifndef HVRI_BACKEND_CONNECTION_H
#define HVRI_BACKEND_CONNECTION_H

#include "backend/loop.h"
#include "backend/tcp.h"
#include "backend/tls.h"

/*
 *   HANDSHAKE ──> OPEN ──> CLOSING ──> DRAINING ──> DEAD
 *       └───────────┴─────────┴────────────┴─────────^
 * Everything but the submission of operations happens on the loop's thread.
 */
struct hvri_connection;

/* Called once, on the loop's thread. With result->code OK `channel` is the
 * callee's; otherwise it is NULL and the connection goes by itself. */
typedef void (*hvri_settled)(void *user, struct hvri_connection *connection,
			     const struct hvrepl_channel *channel,
			     const struct hvrepl_connect_result *result);

struct hvri_connection_setup {
	hvrepl_loop *loop;
	hvrepl_tls *tls; /* A reference is taken. */
	int fd;          /* Connected, non-blocking; taken, also on failure. */
	const char *expected;     /* Client: the name; NULL: server. */
	const char *const *known; /* Server: borrowed until settled. */
	uint32_t known_count;
	uint64_t started_ns; /* Of the whole attempt. */
	uint64_t round_trip_ns; /* Client: of its connect; 0: not known. */
	char address[HVRI_ADDRESS_TEXT];
	char source[HVRI_ADDRESS_TEXT]; /* Of an incoming one; or "". */
	hvri_settled settled;
	/* Optional: after settled() told of a failure, when the socket is closed:
	 * until then the peer is told why. Loop thread. */
	void (*gone)(void *user, struct hvri_connection *connection);
	void *user;
};

/* Loop thread. settled() is not called from inside it. */
int32_t hvri_connection_start(const struct hvri_connection_setup *setup,
			      struct hvri_connection **connection_out);
/* Before settled() or gone(): break it; neither is called. One whose peer is being told
 * why it failed is nobody's from then on, and ends as its timer says. */
void hvri_connection_abort(struct hvri_connection *connection);
#endif
