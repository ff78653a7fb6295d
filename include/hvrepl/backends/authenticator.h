/* SPDX-License-Identifier: Apache-2.0 */
/* Channels over TCP and TLS 1.3, both ends proved by the application's mechanism. */
#ifndef HVREPL_BACKENDS_AUTHENTICATOR_H
#define HVREPL_BACKENDS_AUTHENTICATOR_H

#include <hvrepl/authenticator.h>
#include <hvrepl/backends/tls.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Credentials that prove a site by an authenticator of the application's
 * instead of by certificate, in the way Kerberos does (kerberos.h), which is one
 * of them: TLS 1.3 encrypts everything, with a certificate made in memory that
 * proves nothing; inside, tokens go back and forth until both sides are proved,
 * and the session is bound to the connection, to both identities and to what key
 * the proof left. They are a hvrepl_tls and go wherever one goes. ALPN is
 * "hvrepl/1-" and the mechanism's name, so that sites of different mechanisms
 * refuse each other at once: neither can be talked down to the other's.
 *
 * Bounded: HVREPL_PROOF_TOKEN_MAX bytes a token, HVREPL_PROOF_TOKENS_MAX tokens each way, the
 * handshake's time limit over all of it, and 64 proofs of strangers at once with
 * HVREPL_AUTHENTICATOR_BLOCKS.
 */
struct hvrepl_authenticator_options {
	uint32_t struct_size; /* sizeof(struct hvrepl_authenticator_options) */
	uint32_t reserved;    /* Must be zero. */
	/** 1 to HVREPL_MECHANISM_NAME_MAX of a to z, 0 to 9 and "-"; not
	 * "krb5". With a version in it, for what changes later. Copied. */
	const char *mechanism;
	/** Who we are, for hvrepl_tls_name(). NULL: "". Copied. */
	const char *self;
	/** Taken, also on failure; released when the last connection is gone. */
	struct hvrepl_authenticator authenticator;
	/** From the first byte to the last of TLS and the proof. 0: 10 s. So much
	 * late may a new proof come, but at most a lifetime or 10 s. */
	uint64_t handshake_timeout_ns;
	/* As in hvrepl_tls_options. */
	uint64_t rekey_bytes, rekey_records, rekey_ns;
	/* As in hvrepl_kerberos_options. */
	void (*renewal_failed)(void *user, const char *peer, uint64_t left_ns,
			       const struct hvrepl_error *error);
	void *user; /* Borrowed as long as there are connections with these. */
	void (*renewed)(void *user, const char *peer);
};
#define HVREPL_AUTHENTICATOR_OPTIONS_INIT                                     \
	{                                                                     \
		sizeof(struct hvrepl_authenticator_options), 0, 0, 0,         \
			{ 0, 0, 0 }, 0, 0, 0, 0, 0, 0, 0                      \
	}

/**
 * Make credentials of an authenticator. hvrepl_tls_reload() makes another
 * certificate, hvrepl_tls_expires() is 0, hvrepl_tls_replace() STATE.
 * @return OK; INVALID, TOO_NEW, NOMEM.
 * @threadsafety Any thread. @since 0.1
 */
HVREPL_API int32_t hvrepl_authenticator_create(
	const struct hvrepl_authenticator_options *options, hvrepl_tls **tls_out,
	struct hvrepl_error *error);

#ifdef __cplusplus
}
#endif
#endif
