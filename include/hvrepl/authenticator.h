/* SPDX-License-Identifier: Apache-2.0 */
/* An authenticator: how two sites prove who they are, by tokens back and forth. */
#ifndef HVREPL_AUTHENTICATOR_H
#define HVREPL_AUTHENTICATOR_H

#include <hvrepl/channel.h>
#include <hvrepl/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Longest token of a mechanism, bytes. */
#define HVREPL_PROOF_TOKEN_MAX 12288u
/** Tokens that one side may send in one proof. */
#define HVREPL_PROOF_TOKENS_MAX 8u
/** Longest name of a mechanism, bytes without the zero. */
#define HVREPL_MECHANISM_NAME_MAX 32u
/** Bytes of a key that a proof leaves with both sides. */
#define HVREPL_PROOF_KEY_SIZE 32u

/*
 * A proof runs inside a TLS connection whose certificate proves nothing: a token
 * of a side that is not bound to `binding` can be relayed by whoever is in
 * between, and the mechanism has to refuse it. The initiator, which made the
 * connection, steps first, without a token; then each side steps with what the
 * other sent. The acceptor has the last word: the initiator is not connected
 * before the acceptor has ended well.
 */

/** What a proof is for. Borrowed for the call. */
struct hvrepl_proof_begin {
	uint32_t struct_size; /* Set by the library. */
	uint32_t initiator;   /* 1: we made the connection. */
	/** Initiator: whom it called. The library refuses a proof of anybody
	 * else. NULL: acceptor. */
	const char *peer;
	/** The same on both ends and on no other connection (RFC 9266). */
	uint8_t binding[HVREPL_EXPORTER_SIZE];
	/** 1: this connection was proved before, and has to be again, as the
	 * lifetime is over: what proves it should be fresh. */
	uint32_t again;
	uint32_t reserved;
};

/* Why an acceptor refused, as its peer hears it: a mechanism's own reasons begin
 * at HVREPL_REFUSED_OWN; below that the library's are. */
#define HVREPL_REFUSED_NAME 9u  /* The identity is no peer of that site. */
#define HVREPL_REFUSED_BUSY 11u /* Too many are being proved at once. */
#define HVREPL_REFUSED_OWN 256u

/** What a step came to; all zero when it is called, but for the first three. */
struct hvrepl_proof_step {
	uint32_t struct_size; /* Set by the library; never write past it. */
	uint32_t token_length; /* Written: bytes of `token`; 0: none. */
	uint8_t *token;        /* Room for HVREPL_PROOF_TOKEN_MAX bytes. */
	/** With OK: how long the proof is good from now. UINT64_MAX, as it is
	 * set: until the connection ends. Else the initiator proves itself anew
	 * when half of it is over, on the same connection. */
	uint64_t lifetime_ns;
	/** With a failure of the acceptor: HVREPL_REFUSED_*; 0: it is not said
	 * why. */
	uint32_t reason;
	uint32_t reserved;
	/**
	 * With OK: who the peer proved to be, and as whom the peer sees us; an
	 * identity as an authorisation entry names it. Both are bound into the
	 * session: an initiator and an acceptor that do not agree about them
	 * get none.
	 */
	char peer[HVREPL_PEER_NAME_MAX + 1];
	char self[HVREPL_PEER_NAME_MAX + 1];
	/** With OK, optional: a key that both ends have and nobody else. It is
	 * bound into the session, too. Zeroes: none. */
	uint8_t key[HVREPL_PROOF_KEY_SIZE];
	/** With a failure: a sentence that says what to do. */
	char sentence[HVREPL_SENTENCE_MAX];
};

/** begin and step may block (ask a server, read a file): they are called on threads
 * of their own. Without it they are on the loop's, and must not. `end` may be on the
 * loop's either way, and must not block. */
#define HVREPL_AUTHENTICATOR_BLOCKS (1u << 0)

/** Callbacks of one mechanism. Different proofs may run at the same time; the
 * calls of one come one after the other, on any thread. */
struct hvrepl_authenticator_ops {
	uint32_t struct_size; /* sizeof(struct hvrepl_authenticator_ops) */
	uint32_t flags;       /* HVREPL_AUTHENTICATOR_* */
	/** @return OK with *proof_out, or why not; `step` says what to do. */
	int32_t (*begin)(void *user, const struct hvrepl_proof_begin *begin,
			 void **proof_out, struct hvrepl_proof_step *step);
	/**
	 * `token` is what the peer sent, 1 to HVREPL_PROOF_TOKEN_MAX bytes that
	 * anybody may have made up, borrowed for the call; NULL for the
	 * initiator's first step.
	 * @return HVREPL_PENDING: with a token to send, and another one is
	 *         needed; OK: proved, with or without a last token; negative:
	 *         not proved, UNAUTHENTICATED for what the peer sent.
	 */
	int32_t (*step)(void *user, void *proof, const void *token,
			size_t token_length, struct hvrepl_proof_step *step);
	/** Once for each that began, also after a failure. Any thread; must not
	 * block. */
	void (*end)(void *user, void *proof);
	/**
	 * Optional: the one spelling of a name that a peer is called by, 1 to
	 * HVREPL_PEER_NAME_MAX bytes, so that names can be compared byte by
	 * byte. Any thread; must not block. Left out: as it is given.
	 * @return OK, or INVALID: no such name.
	 */
	int32_t (*canonical)(void *user, const char *name,
			     char name_out[HVREPL_PEER_NAME_MAX + 1]);
	/** Optional, initiator: a sentence for what the acceptor's reason means,
	 * from HVREPL_REFUSED_OWN up. Loop thread; must not block. */
	void (*refused)(void *user, uint32_t reason,
			char sentence_out[HVREPL_SENTENCE_MAX]);
};
#define HVREPL_AUTHENTICATOR_OPS_INIT \
	{ sizeof(struct hvrepl_authenticator_ops), 0, 0, 0, 0, 0, 0 }

/** As struct hvrepl_disk: ops copied, user taken, release exactly once. */
struct hvrepl_authenticator {
	const struct hvrepl_authenticator_ops *ops;
	void *user;
	void (*release)(void *user);
};

#ifdef __cplusplus
}
#endif
#endif
