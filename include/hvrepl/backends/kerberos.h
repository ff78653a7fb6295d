/* SPDX-License-Identifier: Apache-2.0 */
/* Channels over TCP and TLS 1.3, both ends proved by Kerberos. */
#ifndef HVREPL_BACKENDS_KERBEROS_H
#define HVREPL_BACKENDS_KERBEROS_H

#include <hvrepl/backends/tls.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Credentials that prove a site by Kerberos (MIT krb5 through GSSAPI) instead
 * of by certificate. They are a hvrepl_tls and go wherever one goes; ALPN is
 * "hvrepl/1-krb5", so that a site with certificates and one with Kerberos
 * refuse each other at once: neither can be talked down to the other.
 *
 * TLS 1.3 encrypts everything, with a certificate made in memory that proves
 * nothing. Inside, the client sends a Kerberos request and the server answers:
 * mechanism krb5 alone, both sides proved, replay and sequence detection,
 * integrity and confidentiality, AES keys, no delegation, bound to this one TLS
 * connection (RFC 9266). What lacks one of these is refused, a request without
 * a binding too. A proof ends with its ticket: the client proves itself anew on
 * the same connection when half of that time is over, and data goes on
 * meanwhile; when it could not until the end, both sides close.
 *
 * A peer is named by its principal: "hvrepl/host@REALM". Where a name is asked
 * for, "host" means SERVICE/host in the default realm and a principal without
 * realm is one of the default realm. No name is looked up in DNS. What a channel
 * says of its peer, and what authorisation entries name, has its realm. A
 * principal of other than printable ASCII characters, or of more than
 * HVREPL_PEER_NAME_MAX, is refused.
 *
 * The library reads and sets no environment variable; MIT krb5 itself finds
 * krb5.conf, and with it the KDC, through KRB5_CONFIG or in its usual place.
 * What may wait for a KDC or a file runs on a thread of its own, never on the
 * loop's; such a thread can outlive everything else by the KDC's time limits
 * and then touches nothing of the caller's.
 */
struct hvrepl_kerberos_options {
	uint32_t struct_size; /* sizeof(struct hvrepl_kerberos_options) */
	uint32_t reserved;    /* Must be zero. */
	/**
	 * Own keys: a path, or a name as MIT has it ("FILE:/etc/krb5.keytab").
	 * Serves to be called, and to call when there is no `ccache`; tickets
	 * are then kept in memory. Read again for each connection, so that new
	 * keys count at once. NULL: `ccache` is needed, and listening with
	 * these credentials is refused. Copied.
	 */
	const char *keytab;
	/**
	 * Tickets to call with, kept fresh by somebody else ("FILE:/run/cc").
	 * NULL: from `keytab`. Copied.
	 */
	const char *ccache;
	/**
	 * Who we are. NULL: SERVICE/host with this machine's host name; with
	 * `ccache` and no `keytab` whoever the tickets are for. Copied.
	 */
	const char *principal;
	/** First part of principals that are named by host. NULL: "hvrepl". */
	const char *service;
	/** From the first byte to the last of TLS and Kerberos. 0: 10 s. So much
	 * late may a new proof come, but at most a lifetime or 10 s. */
	uint64_t handshake_timeout_ns;
	/* As in hvrepl_tls_options. */
	uint64_t rekey_bytes, rekey_records, rekey_ns;
	/**
	 * Optional: a connection that we made could not prove itself anew to
	 * `peer`. It goes on until its ticket ends, in `left_ns`, and tries
	 * again meanwhile. On the loop's thread; must not block; `peer` and
	 * `error` are borrowed for the call.
	 */
	void (*renewal_failed)(void *user, const char *peer, uint64_t left_ns,
			       const struct hvrepl_error *error);
	void *user; /* Borrowed as long as there are connections with these. */
	/** Optional: after that, it could. As renewal_failed. @since 0.1 */
	void (*renewed)(void *user, const char *peer);
};
#define HVREPL_KERBEROS_OPTIONS_INIT                                       \
	{                                                                  \
		sizeof(struct hvrepl_kerberos_options), 0, 0, 0, 0, 0, 0, 0, \
			0, 0, 0, 0, 0                                      \
	}

/**
 * Check that the keytab has an AES key of the principal, and make the
 * certificate. No KDC is asked. Then as with hvrepl_tls_create():
 * hvrepl_tls_reload() checks the keytab again and makes another certificate,
 * hvrepl_tls_expires() is 0, hvrepl_tls_name() is the own principal.
 *
 * @return OK; NOT_FOUND, INVALID, UNAVAILABLE or NOMEM, with a sentence that
 *         says which file or principal and what to do.
 * @threadsafety Any thread; blocks on the files. @since 0.1
 */
HVREPL_API int32_t
hvrepl_kerberos_create(const struct hvrepl_kerberos_options *options,
		       hvrepl_tls **tls_out, struct hvrepl_error *error);

#ifdef __cplusplus
}
#endif
#endif
