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
 * never believes itself connected.
 *
 * Connections live on a loop and are driven on its thread; the callbacks of
 * their channels may be called on any thread. For bulk, give them a loop with
 * a thread of its own.
 */

/** Credentials: who this end is and whom it believes. Opaque. */
typedef struct hvrepl_tls hvrepl_tls;

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
};
#define HVREPL_TLS_OPTIONS_INIT \
	{ sizeof(struct hvrepl_tls_options), 0, 0, 0, 0, 0, 0, 0, 0 }

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
 * fails, the old ones stay in use. Any thread.
 */
HVREPL_API int32_t hvrepl_tls_reload(hvrepl_tls *tls,
				     struct hvrepl_error *error);
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

/** "name lookup", "TCP connection", ...; static. Any thread. @since 0.1 */
HVREPL_API const char *hvrepl_step_name(uint32_t step);

/** How an attempt, or an incoming connection, ended. */
struct hvrepl_connect_result {
	uint32_t struct_size; /* Set by the library; never write past it. */
	int32_t code;         /* OK, or why not. */
	uint32_t step;        /* HVREPL_STEP_*: where; DONE with OK. */
	uint32_t reserved;
	uint64_t duration_ns; /* Of the whole attempt. */
	/** "192.0.2.7:4471"; empty before STEP_TCP. Borrowed for the call. */
	const char *address;
	/** Code, errno and a sentence; NULL with OK. Borrowed for the call. */
	const struct hvrepl_error *error;
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
	 * is refused. NULL: every peer the CA vouches for, under the first name
	 * of its certificate. With Kerberos: principals, and NULL is whoever has
	 * a ticket for us. Copied.
	 */
	const char *const *peers;
	uint32_t peer_count;
	/** Handshakes at once; more wait in the backlog. 0: 64. */
	uint32_t handshakes_max;
	/** A peer has proved itself. `channel` is the callee's. Loop thread. */
	void (*accepted)(void *user, const struct hvrepl_channel *channel,
			 const struct hvrepl_connect_result *result);
	/** Optional: somebody did not. Loop thread. */
	void (*refused)(void *user,
			const struct hvrepl_connect_result *result);
	void *user;
};
#define HVREPL_TLS_LISTEN_INIT \
	{ sizeof(struct hvrepl_tls_listen), 0, 0, 0, 0, 0, 0, 0, 0 }

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
