/* SPDX-License-Identifier: Apache-2.0 */
/* TLS over a descriptor: credentials, and one connection's state machine. */
#ifndef HVRI_BACKEND_TLS_H
#define HVRI_BACKEND_TLS_H

#include "backend/mechanism.h"

#include <hvrepl/backends/tls.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define HVRI_TLS_ALPN "\x08hvrepl/1" /* As on the wire: length first. */
#define HVRI_TLS_GREETING "hvrepl/1"
#define HVRI_TLS_GREETING_LENGTH 8u
#define HVRI_TLS_RECORD 16384u
#define HVRI_TLS_NAMES_MAX 64u

/* What hvrepl_tls_options says, made ours; shared by contexts. */
struct hvri_tls_pin {
	char peer[HVREPL_PEER_NAME_MAX + 1];
	uint8_t keys[2][32];
};
struct hvri_tls_sources {
	atomic_int references;
	char *ca, *cert, *key, *crl; /* crl may be NULL. */
	int32_t (*revocation)(void *user,
			      const struct hvrepl_tls_certificate *certificate);
	void (*distrusted)(void *user, const char *peer,
			   const struct hvrepl_error *error);
	void *user;
	struct hvri_tls_pin *pins;
	uint32_t pin_count, flags;
};
int32_t hvri_tls_sources_new(const struct hvrepl_tls_options *options,
			     struct hvri_tls_sources **out,
			     struct hvrepl_error *error);
struct hvri_tls_sources *hvri_tls_sources_hold(struct hvri_tls_sources *sources);
void hvri_tls_sources_drop(struct hvri_tls_sources *sources);
/* The pins of a peer; NULL: none. */
const struct hvri_tls_pin *
hvri_tls_pin_of(const struct hvri_tls_sources *sources, const char *peer);
/* SHA-256 of a certificate's key; false: no memory. */
bool hvri_tls_key_digest(const X509 *cert, uint8_t out[32]);
#define HVRI_TLS_PIN_TEXT 72 /* "sha256:", 64 digits, zero. */
void hvri_tls_pin_text(const uint8_t digest[32], char out[HVRI_TLS_PIN_TEXT]);

/* Own certificate and those that are believed, as read. */
struct hvri_tls_material {
	X509 *cert;
	EVP_PKEY *key;
	STACK_OF(X509) *chain;   /* Own intermediates. */
	STACK_OF(X509) *anchors;
};
int32_t hvri_tls_material_read(const struct hvri_tls_sources *sources,
			       struct hvri_tls_material *out,
			       struct hvrepl_error *error);
/* The same once more, by reference; false: no memory. */
bool hvri_tls_material_copy(const struct hvri_tls_material *from,
			    struct hvri_tls_material *out);
void hvri_tls_material_free(struct hvri_tls_material *material);
/* All of a file of at most `max` bytes. `what` is for the sentence. */
int32_t hvri_tls_file(const char *path, const char *what, size_t max,
		      BIO **out, struct hvrepl_error *error);

/* Revocation lists, as read. */
struct hvri_tls_lists {
	STACK_OF(X509_CRL) *crls; /* NULL: none are wanted. */
	uint64_t signature; /* Of the files' names, sizes and times. */
	uint64_t from_utc_ns, until_utc_ns; /* Of the one that ends first. */
	char issuer[128];
};
int32_t hvri_tls_lists_read(const struct hvri_tls_sources *sources,
			    struct hvri_tls_lists *out,
			    struct hvrepl_error *error);
void hvri_tls_lists_free(struct hvri_tls_lists *lists);
/* As the files are now; 0: they cannot be looked at. */
uint64_t hvri_tls_lists_signature(const char *path);

/* The files as they were read once; shared by connections. */
struct hvri_tls_context {
	atomic_int references;
	SSL_CTX *client, *server;
	BIO_METHOD *socket;
	/* With an authenticator none of the following. */
	struct hvri_tls_sources *sources;
	struct hvri_tls_material material;
	struct hvri_tls_lists lists;
	X509_STORE *store;
	uint64_t from_utc_ns, expires_utc_ns;
	char name[HVREPL_PEER_NAME_MAX + 1];
};
/* Two SSL_CTX with what all connections have in common; NULL: no memory. */
struct hvri_tls_context *
hvri_tls_context_new(const struct hvri_mechanism *mechanism);
/* As on the wire: length first. */
const char *hvri_tls_alpn(const struct hvri_mechanism *mechanism);
int32_t hvri_tls_context_load(struct hvri_tls_context *context,
			      struct hvrepl_error *error);
/* Whether our own certificate counts now: asked where it is new. New lists are
 * taken also past its end, so that what they revoke goes. */
int32_t hvri_tls_context_check_time(const struct hvri_tls_context *context,
				    struct hvrepl_error *error);
/* How sessions reach their descriptor. NULL: no memory. */
BIO_METHOD *hvri_tls_socket_method(void);
/* Those in use now, with a reference for the caller. */
struct hvri_tls_context *hvri_tls_current(hvrepl_tls *tls);
void hvri_tls_context_drop(struct hvri_tls_context *context);
const struct hvrepl_tls_options *hvri_tls_options(const hvrepl_tls *tls);
hvrepl_tls *hvri_tls_hold(hvrepl_tls *tls);
/* Borrowed; callbacks may be NULL. */
const struct hvrepl_tls_notes *hvri_tls_notes(const hvrepl_tls *tls);
struct hvri_tls_session;
/* What was told of a connection by hvri_tls_tell(): so many of each. */
struct hvri_tls_told {
	uint64_t rekeys, proofs;
};
/* Tell the application of new keys and of the `proofs`-th proof, once each. */
void hvri_tls_tell(const hvrepl_tls *tls, const struct hvri_tls_session *session,
		   uint64_t proofs, struct hvri_tls_told *told);
/* What proves a site, borrowed from `tls`; NULL: certificates do. */
struct hvri_mechanism *hvri_tls_mechanism(const hvrepl_tls *tls);
bool hvri_tls_is_kerberos(const hvrepl_tls *tls);
/* Options without sources: what a mechanism's credentials have. */
struct hvrepl_tls_options hvri_tls_limits(uint64_t handshake_timeout_ns,
					  uint64_t rekey_bytes,
					  uint64_t rekey_records,
					  uint64_t rekey_ns);
/* `mechanism` is taken, also on failure; NULL: certificates. */
int32_t hvri_tls_new(const struct hvrepl_tls_options *options,
		     struct hvri_mechanism *mechanism, hvrepl_tls **tls_out,
		     struct hvrepl_error *error);
/* A caller's struct of `size` bytes: what an older caller leaves out is zero; what
 * a newer one adds must be. */
int32_t hvri_tls_copy_sized(const void *from, size_t size, void *out,
			    size_t out_size, struct hvrepl_error *error);
/* For a sentence: what has such names, and what they look like. */
const char *hvri_tls_names_by(const hvrepl_tls *tls);
/* The one spelling of a peer's name: a certificate's or a principal. False when
 * it cannot be one. */
bool hvri_tls_peer_name(const hvrepl_tls *tls, const char *name,
			char out[HVREPL_PEER_NAME_MAX + 1]);

/* Subject alternative names of a certificate, canonical: lower case, no
 * wildcards. */
struct hvri_tls_names {
	char (*names)[HVREPL_PEER_NAME_MAX + 1];
	uint32_t count;
	uint32_t dns_count; /* These come first; then addresses. */
};
int32_t hvri_tls_names_of(X509 *cert, struct hvri_tls_names *names_out);
void hvri_tls_names_free(struct hvri_tls_names *names);
/* Lower case, and an address in its usual form; false when it cannot be one. */
bool hvri_tls_canonical(const char *name,
			char out[HVREPL_PEER_NAME_MAX + 1]);
bool hvri_tls_has_both_usages(X509 *cert);
/* ns since 1970 UTC; 0: before that, or no date. */
uint64_t hvri_tls_time(const ASN1_TIME *time);
uint64_t hvri_tls_not_after(const X509 *cert);

/* Bytes still to be sent. */
struct hvri_tls_out {
	const struct hvrepl_iovec *iov;
	uint32_t count;
	size_t skip;
};

struct hvri_tls_session {
	SSL *ssl;
	struct hvri_tls_context *context;
	bool server;
	/* Then certificates prove nothing; no greeting. NULL: they do. */
	const struct hvri_mechanism *mechanism;
	int fd;
	uint32_t want;       /* HVREPL_LOOP_*: what the last call waits for. */
	size_t barren;       /* Bytes read that brought nothing, in this call. */
	uint32_t step;       /* HVREPL_STEP_* */
	bool greeting_done;
	uint32_t greeting_at;
	char expected[HVREPL_PEER_NAME_MAX + 1]; /* Client: whom we called. */
	char peer[HVREPL_PEER_NAME_MAX + 1];     /* When done: who it is. */
	const char *const *known; /* Server: names it may have; or NULL. */
	uint32_t known_count;
	int verify_error;    /* X509_V_*, and our own below. */
	char verify_name[HVREPL_PEER_NAME_MAX + 1];
	char verify_about[128]; /* More for the sentence. */
	uint64_t peer_from_utc_ns, peer_expires_utc_ns;
	/* Sending. */
	uint8_t record[HVRI_TLS_RECORD];
	size_t record_length;
	/* Since the last change of keys. */
	uint64_t rekey_bytes, rekey_records, rekey_ns;
	uint64_t sent_bytes, sent_records, keyed_ns, rekeys;
};
#define HVRI_VERIFY_NO_USAGE (-1)
#define HVRI_VERIFY_NO_NAME (-2)
#define HVRI_VERIFY_NOT_KNOWN (-3)
#define HVRI_VERIFY_NO_PIN (-4)
#define HVRI_VERIFY_REVOKED (-5) /* By the callback, as the next. */
#define HVRI_VERIFY_UNKNOWN (-6)

/*
 * One look at a peer's certificate, in a handshake or later: chain, usages,
 * name, revocation, pin. What it found is in `session` (verify_*, peer*), of
 * which it needs server, expected, known and context. `living`: names are
 * settled, and what time it is does not count.
 */
void hvri_tls_verify_with(SSL_CTX *ctx);
bool hvri_tls_verify(struct hvri_tls_session *session, X509_STORE_CTX *store,
		     bool living);

/* Connections that were proved, so that a reload can look again. */
struct hvri_tls_living {
	struct hvri_tls_living *next, *previous;
	uint64_t id;
	X509 *leaf;
	STACK_OF(X509) *chain; /* As the peer sent it. */
	bool server;
	char peer[HVREPL_PEER_NAME_MAX + 1];
	/* Any thread, under a lock: must only make a note. */
	void (*distrusted)(struct hvri_tls_living *living);
};
struct hvri_tls_registry {
	pthread_mutex_t mutex;
	struct hvri_tls_living *first;
	uint64_t last_id;
};
/* Join when the handshake is over. UNAUTHENTICATED with a sentence: a reload in
 * the meantime no longer trusts the peer, and it is not in. */
int32_t hvri_tls_living_join(hvrepl_tls *tls, struct hvri_tls_living *living,
			     struct hvri_tls_session *session,
			     struct hvrepl_error *error);
/* Also fine when it never joined. */
void hvri_tls_living_leave(hvrepl_tls *tls, struct hvri_tls_living *living);
struct hvri_tls_registry *hvri_tls_registry(hvrepl_tls *tls);
/* Look at all of them again with `context`; `scratch` is overwritten. */
void hvri_tls_living_recheck(hvrepl_tls *tls, struct hvri_tls_context *context,
			     struct hvri_tls_session *scratch);
/* Read changed lists, at most once a second. Loop thread. */
void hvri_tls_look(hvrepl_tls *tls);

/* `expected` for a client, `known` (may be NULL, borrowed until done) for a
 * server. The descriptor stays the caller's. */
int32_t hvri_tls_session_init(struct hvri_tls_session *session, hvrepl_tls *tls,
			      int fd, const char *expected,
			      const char *const *known, uint32_t known_count);
void hvri_tls_session_free(struct hvri_tls_session *session);
/* OK when both sides are proved and know it; PENDING: wait for session->want;
 * negative: failed, with a sentence, at session->step. */
int32_t hvri_tls_handshake(struct hvri_tls_session *session,
			   struct hvrepl_error *error);
int32_t hvri_tls_exporter(struct hvri_tls_session *session,
			  uint8_t out[HVREPL_EXPORTER_SIZE]);
/* Put what fits of `out` behind the bytes that begin the next record. */
void hvri_tls_gather(struct hvri_tls_session *session,
		     struct hvri_tls_out *out);
/* OK when all of `out` is in the socket, PENDING otherwise; stops (PENDING,
 * want = WRITE) after about `budget` bytes. */
int32_t hvri_tls_send(struct hvri_tls_session *session,
		      struct hvri_tls_out *out, size_t budget);
/* OK with *received_out >= 1; or 0: the peer has closed in order. */
int32_t hvri_tls_receive(struct hvri_tls_session *session, void *buffer,
			 size_t length, size_t *received_out);
/* Say that nothing follows; may be PENDING as above. */
int32_t hvri_tls_shutdown(struct hvri_tls_session *session);

/* TLS it is, but not what we speak inside of it. */
int32_t hvri_tls_other_protocol(const struct hvri_tls_session *session,
				struct hvrepl_error *error);
/* A handshake, or its proof, that has no time left. */
void hvri_tls_explain_late(const struct hvri_tls_session *session,
			   struct hvrepl_error *error);
/* HVREPL_CHECK_* of session->verify_error. */
uint32_t hvri_tls_check_of(int verify_error);
/* Fill `error` with what hvri_tls_verify() found wrong. */
int32_t hvri_tls_explain_theirs(const struct hvri_tls_session *session,
				struct hvrepl_error *error);
/* Fill `error` for a handshake that failed now; returns its code. Looks at the
 * thread's error queue and at the session; sets session->step. */
int32_t hvri_tls_explain(struct hvri_tls_session *session, int ssl_result,
			 int sys_errno, struct hvrepl_error *error);
#endif
