/* SPDX-License-Identifier: Apache-2.0 */
/* Channels over TCP and TLS 1.3, both ends proved by X.509 certificates. */
#ifndef HVREPL_BACKENDS_TLS_H
#define HVREPL_BACKENDS_TLS_H

#include <hvrepl/backends/loop.h>
#include <hvrepl/channel.h>
#include <hvrepl/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What is accepted, on both ends alike: TLS 1.3 and nothing else, ALPN
 * "hvrepl/1", no tickets, no early data; a certificate that chains to the CA
 * file, is valid now, has its name as a subject alternative name (DNS or IP,
 * no wildcard; the common name does not count) and both extended key usages
 * serverAuth and clientAuth. The server says "hvrepl/1" as its first bytes when
 * it has accepted the client's certificate, so that a client that was refused
 * never believes itself connected. Ciphers are AES-256-GCM, AES-128-GCM and
 * ChaCha20-Poly1305, groups X25519MLKEM768 (where OpenSSL has it), X25519 and
 * P-256; keys of certificates have at least 112 bits of security (RSA 2048).
 * What the system's openssl.cnf says changes none of it.
 *
 * Connections live on a loop and are driven on its thread; the callbacks of
 * their channels may be called on any thread. For bulk, give them a loop with
 * a thread of its own.
 */

/** Credentials: who this end is and whom it believes. Opaque. */
typedef struct hvrepl_tls hvrepl_tls;

/** The keys that a peer may have, whatever else is in order. */
struct hvrepl_tls_pin {
	const char *peer; /* Its name, as proved. */
	/** "sha256:" and the 64 hexadecimal digits of the SHA-256 of the key
	 * (SubjectPublicKeyInfo, DER): of the one in use, and of one that is
	 * kept aside for the day when the first is lost. Both are needed. */
	const char *pin, *backup_pin;
};

/** A certificate of a peer, whose status is asked for. */
struct hvrepl_tls_certificate {
	uint32_t struct_size; /* Set by the library; never write past it. */
	uint32_t depth;       /* 0: the peer's own; 1...: intermediates. */
	const char *peer;     /* First name of the peer's own. Borrowed. */
	const uint8_t *der;   /* All of it. Borrowed for the call. */
	size_t der_length;
	uint8_t pin[32]; /* SHA-256 of its key. */
};
#define HVREPL_TLS_GOOD 0
#define HVREPL_TLS_REVOKED 1
#define HVREPL_TLS_UNKNOWN 2

/* Where `crl` or `revocation` is given, what they do not settle is refused,
 * unless: */
#define HVREPL_TLS_ALLOW_UNKNOWN (1u << 0) /* No word on a certificate. */
#define HVREPL_TLS_ALLOW_STALE (1u << 1)   /* A list is past its end; what it
					    * lists stays revoked. */

struct hvrepl_tls_options {
	uint32_t struct_size; /* sizeof(struct hvrepl_tls_options) */
	uint32_t reserved;    /* Must be zero. */
	/* PEM files; paths are copied. */
	const char *ca_file;   /* Those whose signature counts. */
	const char *cert_file; /* Own certificate, then intermediates. */
	const char *key_file;  /* Its key, not encrypted. */
	/** From the first byte to the last of the handshake. 0: 10 s. */
	uint64_t handshake_timeout_ns;
	/* New keys for what is sent after so much: 0: 64 GiB, 4 Mi records,
	 * one hour. */
	uint64_t rekey_bytes, rekey_records, rekey_ns;
	/* Below: since 0.1, later than the rest; may be left out by size. */
	/**
	 * Certificate revocation lists, PEM: a file with one or more, or a
	 * directory of such files (*.pem, *.crl, *.r0 to *.r9). Whole lists:
	 * a delta is refused. Every
	 * certificate of a peer's chain below the trust anchor is looked up in
	 * the list of its issuer. Changed files are read again at the next
	 * handshake and by hvrepl_tls_refresh(). NULL: no lists. Copied.
	 */
	const char *crl;
	/**
	 * Optional: the application's word on each certificate of a chain that
	 * is good otherwise, HVREPL_TLS_*; any other value is UNKNOWN. On the
	 * loop's thread, or on the one that reloads; must not block, nor call
	 * hvrepl_tls_* functions.
	 */
	int32_t (*revocation)(void *user,
			      const struct hvrepl_tls_certificate *certificate);
	/**
	 * Optional: a connection that lives is being closed, because what was
	 * read again no longer trusts its peer. On the thread that reloads, or
	 * the loop's; must not block. Borrowed for the call.
	 */
	void (*distrusted)(void *user, const char *peer,
			   const struct hvrepl_error *error);
	void *user; /* Borrowed as long as there are connections with these. */
	/** Copied. They come on top of all other checks. */
	const struct hvrepl_tls_pin *pins;
	uint32_t pin_count;
	uint32_t flags; /* HVREPL_TLS_ALLOW_*; unknown bits are refused. */
};
#define HVREPL_TLS_OPTIONS_INIT                                              \
	{                                                                    \
		sizeof(struct hvrepl_tls_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, \
			0, 0, 0, 0, 0, 0                                     \
	}

/**
 * Read and check the files: the key belongs to the certificate, which is valid
 * now and has names and usages as above.
 * @return OK; NOT_FOUND, INVALID or NOMEM, with a sentence that says which file
 *         and what to do.
 * @threadsafety Any thread; blocks on the files. @since 0.1
 */
HVREPL_API int32_t hvrepl_tls_create(const struct hvrepl_tls_options *options,
				     hvrepl_tls **tls_out,
				     struct hvrepl_error *error);
/**
 * Read the files again. Connections made from now on use the new ones; if it
 * fails, the old ones stay in use. Connections that live go on, also past the
 * end of a certificate or list, or before its begin where the clock was set
 * back, unless their peer would be refused now for another reason: revoked, of
 * no known CA, another key than its pins, no word on its revocation. Those are
 * closed (UNAUTHENTICATED) after `distrusted`.
 * Any thread; blocks on the files.
 */
HVREPL_API int32_t hvrepl_tls_reload(hvrepl_tls *tls,
				     struct hvrepl_error *error);
/**
 * The same with other files, lists, pins and flags, which count from now on,
 * also for later reloads. What `options` says of time limits and new keys is
 * not looked at. Not for Kerberos: STATE. @since 0.1
 */
HVREPL_API int32_t
hvrepl_tls_replace(hvrepl_tls *tls, const struct hvrepl_tls_options *options,
		   struct hvrepl_error *error);
/**
 * Look whether the files of `crl` have changed, and then read them, and them
 * alone, again, as hvrepl_tls_reload() does. Cheap when nothing changed: call it
 * every few seconds, so that a revocation ends connections that live.
 * @return 1: read; 0: nothing new, or no lists; negative: new ones cannot be
 *         read or are damaged, those in use stay. What is missing or damaged
 *         is tried again when it changes once more; what could not be read
 *         for another reason (memory, descriptors, the disk) at the next call.
 * @threadsafety Any thread; blocks on the files. @since 0.1
 */
HVREPL_API int32_t hvrepl_tls_refresh(hvrepl_tls *tls,
				      struct hvrepl_error *error);

/** What is in use, for health. Times are ns since 1970 UTC, 0: not known. */
struct hvrepl_tls_info {
	uint32_t struct_size; /* Set by the caller; never written past. */
	uint32_t lists;       /* Revocation lists read. */
	/* Own certificate, or that of its intermediates that ends first. */
	uint64_t from_utc_ns, until_utc_ns;
	/* The revocation list that ends first; of one issuer the newest. */
	uint64_t list_from_utc_ns, list_until_utc_ns;
	uint64_t reads;    /* Times that files were read and taken. */
	int32_t last_code; /* Of the last attempt to read any. */
	uint32_t reserved;
	char name[256];        /* As hvrepl_tls_name(). */
	char pin[80];          /* "sha256:..." of the own key. */
	char list_issuer[128]; /* Of the list that ends first. */
	char sentence[HVREPL_SENTENCE_MAX]; /* What last_code means. */
};
#define HVREPL_TLS_INFO_INIT                                             \
	{                                                                \
		sizeof(struct hvrepl_tls_info), 0, 0, 0, 0, 0, 0, 0, 0, \
			{ 0 }, { 0 }, { 0 }, { 0 }                      \
	}
/** Any thread. @return OK, INVALID. @since 0.1 */
HVREPL_API int32_t hvrepl_tls_get_info(hvrepl_tls *tls,
				       struct hvrepl_tls_info *info);
/**
 * When the certificate in use, or the first of its intermediates, expires: ns
 * since 1970 UTC, 0 when not known. For health. Any thread.
 */
HVREPL_API uint64_t hvrepl_tls_expires(hvrepl_tls *tls);
/**
 * The name that peers see: the first DNS name of the certificate in use, or
 * its first IP address. Cut to `size`, zero-terminated. Any thread.
 */
HVREPL_API void hvrepl_tls_name(hvrepl_tls *tls, char *name_out, size_t size);
/** What happens on connections that live, for an audit. */
struct hvrepl_tls_notes {
	uint32_t struct_size; /* sizeof(struct hvrepl_tls_notes) */
	uint32_t reserved;    /* Must be zero. */
	/** Optional: what we send on a connection to `peer` has new keys, for
	 * the `count`-th time. The peer's own it tells its side. */
	void (*rekeyed)(void *user, const char *peer, uint64_t count);
	/** Optional: the peer was proved anew (kerberos.h, authenticator.h); 2
	 * is the first time after it was let in. */
	void (*proved)(void *user, const char *peer, uint64_t count);
	void *user; /* Borrowed as long as there are connections with these. */
	/** Optional: a connection ends because what proved its peer does: a new
	 * proof failed here or there, came from somebody else or too often, or
	 * came not at all. `why` is borrowed for the call. By struct_size. */
	void (*ended)(void *user, const char *peer,
		      const struct hvrepl_error *why);
};
#define HVREPL_TLS_NOTES_INIT \
	{ sizeof(struct hvrepl_tls_notes), 0, 0, 0, 0, 0 }
/**
 * Tell that, also of credentials of Kerberos or an authenticator. The callbacks run
 * on the loop's thread and must not block. Before the first connection.
 * @return OK, INVALID. @since 0.1
 */
HVREPL_API int32_t hvrepl_tls_set_notes(hvrepl_tls *tls,
					const struct hvrepl_tls_notes *notes);
/** Let go; listeners, attempts and connections keep it alive. NULL is fine. */
HVREPL_API void hvrepl_tls_destroy(hvrepl_tls *tls);

/* How far an attempt got; the one that failed is reported. */
#define HVREPL_STEP_NAME 1u        /* Host name to addresses. */
#define HVREPL_STEP_TCP 2u         /* Reach the port. */
#define HVREPL_STEP_TLS 3u         /* Version, cipher, ALPN. */
#define HVREPL_STEP_CERTIFICATE 4u /* Their certificate, checked here. */
#define HVREPL_STEP_ACCEPTANCE 5u  /* Our certificate, checked there. */
#define HVREPL_STEP_DONE 6u
#define HVREPL_STEP_KERBEROS 7u            /* Tickets, and their proof here. */
#define HVREPL_STEP_KERBEROS_ACCEPTANCE 8u /* Our proof, checked there. */
#define HVREPL_STEP_PROOF 9u             /* Their proof, by an authenticator. */
#define HVREPL_STEP_PROOF_ACCEPTANCE 10u /* Our proof, checked there. */
#define HVREPL_STEP_ROUTE 11u /* A way there: none, or the last host said no. */

/** "name lookup", "TCP connection", ...; static. Any thread. @since 0.1 */
HVREPL_API const char *hvrepl_step_name(uint32_t step);

/* Which check of the peer's certificate failed, at STEP_CERTIFICATE. */
#define HVREPL_CHECK_NONE 0u
#define HVREPL_CHECK_CHAIN 1u    /* Signed by a CA of ours, all the way. */
#define HVREPL_CHECK_VALIDITY 2u /* Valid now. */
#define HVREPL_CHECK_USAGE 3u    /* Key usages, strength of the key. */
#define HVREPL_CHECK_NAME 4u     /* The name that was called. */
#define HVREPL_CHECK_KNOWN 5u    /* A peer of this site. */
#define HVREPL_CHECK_REVOKED 6u  /* Revoked. */
#define HVREPL_CHECK_REVOCATION_UNKNOWN 7u /* No word on whether it is. */
#define HVREPL_CHECK_REVOCATION_STALE 8u   /* The list is past its end. */
#define HVREPL_CHECK_PIN 9u                /* The key is none of the pins. */
#define HVREPL_CHECK_OTHER 10u             /* See the sentence. */

/** "chain", "validity", ...; static, "" for NONE. Any thread. @since 0.1 */
HVREPL_API const char *hvrepl_check_name(uint32_t check);

/** How an attempt, or an incoming connection, ended. */
struct hvrepl_connect_result {
	uint32_t struct_size; /* Set by the library; never write past it. */
	int32_t code;         /* OK, or why not. */
	uint32_t step;        /* HVREPL_STEP_*: where; DONE with OK. */
	uint32_t check;       /* HVREPL_CHECK_*: which, at STEP_CERTIFICATE. */
	uint64_t duration_ns; /* Of the whole attempt. */
	/** "192.0.2.7:4471"; empty before STEP_TCP. Borrowed for the call. */
	const char *address;
	/** Code, errno and a sentence; NULL with OK. Borrowed for the call. */
	const struct hvrepl_error *error;
	/** Of an attempt that reached the port: how long its SYN and the answer
	 * took, one round trip of the network; 0: it did not, or it came in.
	 * Where struct_size has it. @since 0.1 */
	uint64_t round_trip_ns;
	/** Of an incoming one, who is behind the address as far as limits go
	 * (handshakes_per_source): "192.0.2.7", also where it was mapped into IPv6,
	 * "2001:db8::/64", "fe80::1"; else "". For hvrepl_node_note(). Borrowed for
	 * the call. Where struct_size has it. @since 0.1 */
	const char *source;
};

struct hvrepl_tls_connect {
	uint32_t struct_size; /* sizeof(struct hvrepl_tls_connect) */
	uint32_t port;        /* 1 to 65535. */
	const char *host;     /* Name or address; copied. */
	/** Name its certificate must have, or its principal (kerberos.h).
	 * NULL: `host`. Copied. */
	const char *peer;
	/** For name and TCP together. 0: 10 s. */
	uint64_t connect_timeout_ns;
	/**
	 * Called once, on the loop's thread, after hvrepl_tls_connect() has
	 * returned OK. With OK `channel` is the callee's: give it to a node, or
	 * release it; otherwise NULL.
	 */
	void (*done)(void *user, const struct hvrepl_channel *channel,
		     const struct hvrepl_connect_result *result);
	void *user;
};
#define HVREPL_TLS_CONNECT_INIT \
	{ sizeof(struct hvrepl_tls_connect), 0, 0, 0, 0, 0, 0 }

/**
 * Start an attempt. It ends by itself within its two time limits.
 * @return OK: done() will be called; otherwise it will not: INVALID, NOMEM.
 * @threadsafety Any thread. @since 0.1
 */
HVREPL_API int32_t hvrepl_tls_connect(hvrepl_loop *loop, hvrepl_tls *tls,
				      const struct hvrepl_tls_connect *connect,
				      struct hvrepl_error *error);

typedef struct hvrepl_listener hvrepl_listener;

struct hvrepl_tls_listen {
	uint32_t struct_size; /* sizeof(struct hvrepl_tls_listen) */
	uint32_t port;        /* 0: one the system chooses. */
	/** Numeric IPv4 or IPv6 address. NULL: all of both. Copied. */
	const char *address;
	/**
	 * Names by which peers are known here: a peer whose certificate covers
	 * one of them is handed over under that name, one that covers none
	 * is refused. A pattern ("*.example.com", see authorisation.h) hands
	 * over under the certificate's own name that it matches.
	 * NULL: every peer the CA vouches for, under the first name of its
	 * certificate. With Kerberos: principals, and NULL is whoever has
	 * a ticket for us. Copied. NULL with a peer_count is refused.
	 */
	const char *const *peers;
	uint32_t peer_count;
	/** Handshakes at once; more wait in the backlog. One that failed counts
	 * until its peer has hung up, at most a second. 0: 64. */
	uint32_t handshakes_max;
	/** A peer has proved itself. `channel` is the callee's. Loop thread. */
	void (*accepted)(void *user, const struct hvrepl_channel *channel,
			 const struct hvrepl_connect_result *result);
	/** Optional: somebody did not. Loop thread. */
	void (*refused)(void *user,
			const struct hvrepl_connect_result *result);
	void *user;
	/* Below: since 0.1, later than the rest; may be left out by size. */
	/**
	 * Of those handshakes, how many one source may have under way: an IPv4
	 * address, or the first 64 bits of an IPv6 address. One more is closed
	 * at once and told to `refused` (LIMIT at STEP_TCP), so that nobody
	 * keeps others out by knocking. 0: 16.
	 */
	uint32_t handshakes_per_source;
	uint32_t reserved; /* Must be zero. */
};
#define HVREPL_TLS_LISTEN_INIT                                          \
	{                                                               \
		sizeof(struct hvrepl_tls_listen), 0, 0, 0, 0, 0, 0, 0, 0, \
			0, 0                                            \
	}

/**
 * Listen. Loop thread.
 * @return OK; BUSY when the port is taken; INVALID, UNAVAILABLE, NOMEM.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_tls_listen(hvrepl_loop *loop, hvrepl_tls *tls,
				     const struct hvrepl_tls_listen *listen,
				     hvrepl_listener **listener_out,
				     struct hvrepl_error *error);
/** The port it listens on. */
HVREPL_API uint32_t hvrepl_listener_port(const hvrepl_listener *listener);
/**
 * Stop listening and break handshakes under way; channels handed over stay.
 * No callback follows. Loop thread, also from inside its callbacks. Destroying
 * the loop does it too, and then the handle is gone. NULL is fine.
 */
HVREPL_API void hvrepl_listener_close(hvrepl_listener *listener);

#ifdef __cplusplus
}
#endif
#endif
