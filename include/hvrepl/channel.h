/* SPDX-License-Identifier: Apache-2.0 */
/* A channel: an authenticated byte stream to one peer, as it is lent. */
#ifndef HVREPL_CHANNEL_H
#define HVREPL_CHANNEL_H

#include <hvrepl/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Longest identity of a peer, bytes without the zero. */
#define HVREPL_PEER_NAME_MAX 255u
/** Bytes of the exporter value. */
#define HVREPL_EXPORTER_SIZE 32u

#define HVREPL_MECHANISM_X509 1u     /* TLS 1.3, certificates on both sides. */
#define HVREPL_MECHANISM_KERBEROS 2u /* krb5 inside TLS 1.3, bound to it. */
#define HVREPL_MECHANISM_MEMORY 3u   /* Both ends in one process. */
#define HVREPL_MECHANISM_OTHER 255u  /* The application vouches for it. */

struct hvrepl_channel_info {
	uint32_t struct_size; /* Set by the library; never write past it. */
	uint32_t mechanism;   /* HVREPL_MECHANISM_* */
	/** Who the peer proved to be, canonical, zero-terminated. */
	char peer[HVREPL_PEER_NAME_MAX + 1];
	/**
	 * The same 32 bytes on both ends and on no other channel (for TLS: the
	 * exporter of RFC 9266). All zero: the channel is refused.
	 */
	uint8_t exporter[HVREPL_EXPORTER_SIZE];
	/**
	 * When the peer's proof is valid, ns since 1970 UTC: of a certificate
	 * its two dates. 0, 0: no such dates. Written only where struct_size
	 * has them. @since 0.1
	 */
	uint64_t peer_from_utc_ns, peer_until_utc_ns;
};

/**
 * Callbacks of one channel. The node calls them on its control thread; they
 * only start work and never block. At most one send and one receive are under
 * way at a time. Completion: hvrepl_op_complete() from any thread.
 */
struct hvrepl_channel_ops {
	uint32_t struct_size; /* sizeof(struct hvrepl_channel_ops) */
	uint32_t reserved;    /* Must be zero. */

	/** Synchronous; asked once, when the channel is handed over. */
	int32_t (*info)(void *user, struct hvrepl_channel_info *info_out);
	/**
	 * Send all bytes in order. `iov` and what it points to are borrowed
	 * until completion; completion late is how a slow link pushes back.
	 */
	int32_t (*send)(void *user, hvrepl_op *op,
			const struct hvrepl_iovec *iov, uint32_t iov_count);
	/**
	 * Receive at least one and at most `length` bytes into `buffer`, both
	 * borrowed until completion; sets *received_out before it returns OK
	 * or completes with OK. 0 bytes: the peer has closed.
	 */
	int32_t (*receive)(void *user, hvrepl_op *op, void *buffer,
			   size_t length, size_t *received_out);
	/**
	 * Break the connection. What is under way completes, with
	 * HVREPL_E_CLOSED or as it ended, before `release` of the channel is
	 * called. No other callback follows.
	 */
	void (*close)(void *user);
};
#define HVREPL_CHANNEL_OPS_INIT \
	{ sizeof(struct hvrepl_channel_ops), 0, 0, 0, 0, 0 }

/** As struct hvrepl_disk: ops copied, user taken, release exactly once. */
struct hvrepl_channel {
	const struct hvrepl_channel_ops *ops;
	void *user;
	void (*release)(void *user);
};

#ifdef __cplusplus
}
#endif
#endif
