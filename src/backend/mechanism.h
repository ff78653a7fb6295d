/* SPDX-License-Identifier: Apache-2.0 */
/* What proves a site where certificates do not: an authenticator and its words. */
#ifndef HVRI_BACKEND_MECHANISM_H
#define HVRI_BACKEND_MECHANISM_H

#include <hvrepl/authenticator.h>
#include <stdatomic.h>
#include <stdbool.h>

#define HVRI_MECHANISM_ALPN_MAX (10u + HVREPL_MECHANISM_NAME_MAX)

struct hvri_mechanism {
	struct hvrepl_authenticator_ops ops;
	void *user;
	void (*release)(void *user);
	char name[HVREPL_MECHANISM_NAME_MAX + 1]; /* "krb5". */
	const char *word;      /* As people call it: "Kerberos". */
	const char *long_hint; /* Why a token may be too long; or "". */
	/* As on the wire: length first. */
	char alpn[HVRI_MECHANISM_ALPN_MAX + 1];
	uint32_t channel;          /* HVREPL_MECHANISM_* */
	uint32_t step, acceptance; /* HVREPL_STEP_* of the proof. */
	const char *cannot_listen; /* Why; NULL: it can. */
	/* May what it needs be used, now? Optional. */
	int32_t (*check)(void *user, struct hvrepl_error *error);
	char self[HVREPL_PEER_NAME_MAX + 1];
	/* What a REFUSED means to us, in its own words. Optional. */
	int32_t (*explain)(void *user, const char *peer, uint32_t reason,
			   struct hvrepl_error *error);
	void (*renewal_failed)(void *user, const char *peer, uint64_t left_ns,
			       const struct hvrepl_error *error);
	void (*renewed)(void *user, const char *peer);
	void *notify; /* What those two get. */
	/* Proofs under way on threads of their own. */
	atomic_uint threads;
};

/* Name and ALPN. False: that is no name. */
bool hvri_mechanism_name(struct hvri_mechanism *mechanism, const char *name);
/* Lets go of the authenticator. NULL is fine. */
void hvri_mechanism_free(struct hvri_mechanism *mechanism);
/* The one spelling of a peer's name. */
bool hvri_mechanism_canonical(const struct hvri_mechanism *mechanism,
			      const char *name,
			      char out[HVREPL_PEER_NAME_MAX + 1]);
/* An identity that entries can name, and no pattern. */
bool hvri_mechanism_identity(const char *name);
/*
 * What the session is bound to (docs/formats.md): the connection, the mechanism,
 * both identities, and a key that only the two have. False: no memory.
 */
bool hvri_mechanism_exporter(const char *name,
			     const uint8_t binding[HVREPL_EXPORTER_SIZE],
			     const char *initiator, const char *acceptor,
			     const uint8_t key[HVREPL_PROOF_KEY_SIZE],
			     uint8_t out[HVREPL_EXPORTER_SIZE]);
/* Sign a certificate of this process and have `server` use it: an SSL_CTX.
 * False: no memory or no entropy. */
bool hvri_mechanism_certificate(void *server);
#endif
