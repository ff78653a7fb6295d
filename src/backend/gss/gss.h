/* SPDX-License-Identifier: Apache-2.0 */
/* Kerberos: credentials, one proof of a peer, tokens. No sockets. */
#ifndef HVRI_BACKEND_GSS_GSS_H
#define HVRI_BACKEND_GSS_GSS_H

#include "backend/mechanism.h"

#include <gssapi/gssapi.h>
#include <hvrepl/backends/kerberos.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Longest token of a peer that has not proved itself: room for a ticket with a
 * directory's list of groups, and still less than one TLS record. */
#define HVRI_GSS_TOKEN_MAX HVREPL_PROOF_TOKEN_MAX

/* Tickets for one peer, in a credential cache in memory. */
struct hvri_gss_tickets {
	struct hvri_gss_tickets *next;
	pthread_mutex_t mutex; /* Held while a KDC is asked for them. */
	uint64_t cache;        /* Number in the cache's name; 0: none yet. */
	char peer[HVREPL_PEER_NAME_MAX + 1];
};

/* What hvrepl_kerberos_create() was given, made definite. */
struct hvri_kerberos {
	char *keytab, *ccache;
	void (*renewal_failed)(void *user, const char *peer, uint64_t left_ns,
			       const struct hvrepl_error *error);
	void (*renewed)(void *user, const char *peer);
	void *user;
	char service[64];
	char principal[HVREPL_PEER_NAME_MAX + 1]; /* "": as in the ccache. */
	atomic_uint_fast64_t last_cache;
	pthread_mutex_t mutex;
	struct hvri_gss_tickets *tickets; /* Grows only. */
};
int32_t hvri_kerberos_new(const struct hvrepl_kerberos_options *options,
			  struct hvri_kerberos **out,
			  struct hvrepl_error *error);
/* The keytab has an AES key of the principal. Any thread. */
int32_t hvri_kerberos_check(const struct hvri_kerberos *kerberos,
			    struct hvrepl_error *error);
/* NULL is fine. */
void hvri_kerberos_free(struct hvri_kerberos *kerberos);
/* The principal that is meant by `name`, with its realm. Any thread. */
int32_t hvri_kerberos_canonical(const struct hvri_kerberos *kerberos,
				const char *name,
				char out[HVREPL_PEER_NAME_MAX + 1]);
/* Those for `peer`, locked; NULL: no memory. */
struct hvri_gss_tickets *hvri_gss_tickets_lock(struct hvri_kerberos *kerberos,
					       const char *peer);
#define HVRI_GSS_CACHE_NAME 64
void hvri_gss_cache_name(const struct hvri_kerberos *kerberos, uint64_t cache,
			 char out[HVRI_GSS_CACHE_NAME]);
/* A number that no cache of these credentials has had. */
uint64_t hvri_gss_cache_new(struct hvri_kerberos *kerberos);
void hvri_gss_cache_destroy(const struct hvri_kerberos *kerberos,
			    uint64_t cache);

/* Is it a principal as we hand them on: printable ASCII, not too long? */
bool hvri_gss_is_plain(const void *text, size_t length);

/* What a token must be before a library sees it. */
#define HVRI_GSS_AP_REQ 0x0100u
#define HVRI_GSS_AP_REP 0x0200u
/* RFC 2743 framing of exactly these bytes, mechanism krb5, of that kind. */
bool hvri_gss_token_is(const void *token, size_t length, unsigned kind);

/* Why an acceptor refuses: on the wire, so numbers stay. */
#define HVRI_REFUSE_TOKEN 1u    /* Damaged, or no krb5 request at all. */
#define HVRI_REFUSE_KEY 2u      /* The ticket is for no key of ours. */
#define HVRI_REFUSE_CLOCK 3u    /* The clocks differ. */
#define HVRI_REFUSE_EXPIRED 4u  /* The ticket has ended. */
#define HVRI_REFUSE_UNBOUND 5u  /* Not bound to any connection. */
#define HVRI_REFUSE_BINDING 6u  /* Bound to another connection. */
#define HVRI_REFUSE_FLAGS 7u    /* A protection is missing. */
#define HVRI_REFUSE_ENCTYPE 8u  /* No AES key. */
#define HVRI_REFUSE_NAME 9u     /* The principal is no peer of this site. */
#define HVRI_REFUSE_REPLAY 10u  /* Seen before. */
/* 11: HVREPL_REFUSED_BUSY, of any mechanism. */
#define HVRI_REFUSE_OURS 12u    /* The acceptor's own keytab or system. */

/*
 * One proof. Initiator: begin (asks a KDC, blocks), send the token, then finish
 * with the acceptor's. Acceptor: answer (reads files), send the token. One
 * thread at a time; `kerberos` must outlive it.
 */
struct hvri_gss {
	struct hvri_kerberos *kerberos;
	bool acceptor;
	bool fresh; /* Initiator: not with a ticket we have already. */
	/* Initiator: whom it calls. Acceptor: who called, when proved. */
	char peer[HVREPL_PEER_NAME_MAX + 1];
	char self[HVREPL_PEER_NAME_MAX + 1]; /* When proved: who we are. */
	uint8_t binding[HVREPL_EXPORTER_SIZE]; /* TLS exporter. */
	gss_ctx_id_t context;
	uint8_t token[HVRI_GSS_TOKEN_MAX]; /* In, then out. */
	uint32_t token_length;
	uint32_t refusal; /* HVRI_REFUSE_*, with a failure of the acceptor. */
	uint64_t lifetime_ns; /* Of the proof, from now; UINT64_MAX: no end. */
	uint8_t key[HVREPL_PROOF_KEY_SIZE]; /* When proved. */
	struct hvrepl_error error;          /* With a failure. */
};
void hvri_gss_init(struct hvri_gss *gss, struct hvri_kerberos *kerberos,
		   const char *peer, /* NULL: acceptor */
		   const uint8_t binding[HVREPL_EXPORTER_SIZE]);
int32_t hvri_gss_begin(struct hvri_gss *gss);
int32_t hvri_gss_finish(struct hvri_gss *gss);
int32_t hvri_gss_answer(struct hvri_gss *gss);
void hvri_gss_free(struct hvri_gss *gss);

/* explain.c: fill gss->error, set the refusal, return the code. `call` is the
 * function that failed. */
int32_t hvri_gss_explain(struct hvri_gss *gss, const char *call,
			 uint32_t major, uint32_t minor);
int32_t hvri_gss_lacks(struct hvri_gss *gss, uint32_t refusal);
/* What a REFUSED of the peer means for us. */
int32_t hvri_gss_refused(const struct hvri_kerberos *kerberos, const char *peer,
			 uint32_t refusal, struct hvrepl_error *error);

/* As an authenticator: what a connection knows of it. `kerberos` is taken, also
 * on failure. NULL: no memory. */
struct hvri_mechanism *hvri_kerberos_mechanism(struct hvri_kerberos *kerberos);
#endif
