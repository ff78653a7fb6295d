/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mechanism as an application might bring one: both sides know a key, and prove
 * it over two nonces, both names and the connection they are on.
 *
 *   initiator -> acceptor   its nonce, its name
 *   acceptor -> initiator   its nonce, its name, its HMAC
 *   initiator -> acceptor   its HMAC
 */
#ifndef PSK_H
#define PSK_H

#include <hvrepl/authenticator.h>
#include <hvrepl/backends/authenticator.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PSK_NONCE 32u
#define PSK_MAC 32u
#define PSK_NAME 64u /* Zero-terminated, padded. */
#define PSK_FIRST (PSK_NONCE + PSK_NAME)
#define PSK_SECOND (PSK_NONCE + PSK_NAME + PSK_MAC)
#define PSK_REASON_KEY (HVREPL_REFUSED_OWN + 1)

/* One side; what it may be told to do wrong, too. */
struct psk {
	char name[PSK_NAME];
	uint8_t key[32];
	uint64_t lifetime_ns; /* 0: no end. */
	bool fails; /* To begin, from now on. */
	unsigned begun, ended, released, again;
};

struct psk_proof {
	struct psk *psk;
	bool initiator;
	uint8_t binding[HVREPL_EXPORTER_SIZE];
	uint8_t nonces[2][PSK_NONCE]; /* Initiator's, acceptor's. */
	char names[2][PSK_NAME];
};

static inline void psk_mac(const struct psk_proof *proof, const char *label,
			   uint8_t out[PSK_MAC])
{
	uint8_t text[16 + sizeof(proof->binding) + sizeof(proof->nonces) +
		     sizeof(proof->names)] = { 0 };
	size_t at = 16;
	unsigned length;

	snprintf((char *)text, 16, "%s", label);
	memcpy(text + at, proof->binding, sizeof(proof->binding));
	at += sizeof(proof->binding);
	memcpy(text + at, proof->nonces, sizeof(proof->nonces));
	at += sizeof(proof->nonces);
	memcpy(text + at, proof->names, sizeof(proof->names));
	HMAC(EVP_sha256(), proof->psk->key, sizeof(proof->psk->key), text,
	     sizeof(text), out, &length);
}

static inline int32_t psk_fail(struct hvrepl_proof_step *step, const char *why)
{
	step->reason = PSK_REASON_KEY;
	snprintf(step->sentence, sizeof(step->sentence), "%s", why);
	return HVREPL_E_UNAUTHENTICATED;
}

static inline int32_t psk_proved(struct psk_proof *proof,
				 struct hvrepl_proof_step *step)
{
	if (proof->psk->lifetime_ns != 0)
		step->lifetime_ns = proof->psk->lifetime_ns;
	strcpy(step->self, proof->names[proof->initiator ? 0 : 1]);
	strcpy(step->peer, proof->names[proof->initiator ? 1 : 0]);
	psk_mac(proof, "key", step->key);
	return HVREPL_OK;
}

static inline bool psk_matches(const struct psk_proof *proof, const char *label,
			       const uint8_t *mac)
{
	uint8_t expected[PSK_MAC];

	psk_mac(proof, label, expected);
	return CRYPTO_memcmp(mac, expected, sizeof(expected)) == 0;
}

static inline void psk_say(struct hvrepl_proof_step *step, const void *bytes,
			   uint32_t length)
{
	memcpy(step->token + step->token_length, bytes, length);
	step->token_length += length;
}

static inline int32_t psk_begin(void *user,
				const struct hvrepl_proof_begin *begin,
				void **proof_out, struct hvrepl_proof_step *step)
{
	struct psk *psk = user;
	struct psk_proof *proof;

	if (psk->fails) {
		snprintf(step->sentence, sizeof(step->sentence),
			 "the safe with the key is shut");
		return HVREPL_E_UNAVAILABLE;
	}
	proof = calloc(1, sizeof(*proof));
	if (proof == NULL)
		return HVREPL_E_NOMEM;
	proof->psk = psk;
	proof->initiator = begin->initiator != 0;
	memcpy(proof->binding, begin->binding, sizeof(proof->binding));
	if (RAND_bytes(proof->nonces[proof->initiator ? 0 : 1], PSK_NONCE) !=
	    1) {
		free(proof);
		return HVREPL_E_UNAVAILABLE;
	}
	strcpy(proof->names[proof->initiator ? 0 : 1], psk->name);
	__atomic_add_fetch(&psk->begun, 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&psk->again, begin->again, __ATOMIC_SEQ_CST);
	*proof_out = proof;
	return HVREPL_OK;
}

static inline int32_t psk_step(void *user, void *argument, const void *token,
			       size_t length, struct hvrepl_proof_step *step)
{
	struct psk_proof *proof = argument;
	const uint8_t *bytes = token;
	unsigned mine = proof->initiator ? 0 : 1, theirs = 1 - mine;
	uint8_t mac[PSK_MAC];

	(void)user;
	if (token != NULL && length > PSK_MAC) {
		if (length != (proof->initiator ? PSK_SECOND : PSK_FIRST) ||
		    proof->names[theirs][0] != 0 ||
		    bytes[PSK_NONCE + PSK_NAME - 1] != 0)
			return psk_fail(step, "that is no token of ours");
		memcpy(proof->nonces[theirs], bytes, PSK_NONCE);
		memcpy(proof->names[theirs], bytes + PSK_NONCE, PSK_NAME);
		if (!proof->initiator)
			psk_mac(proof, "acceptor", mac);
		else if (!psk_matches(proof, "acceptor",
				      bytes + PSK_NONCE + PSK_NAME))
			return psk_fail(step, "the acceptor has another key");
	} else if (token != NULL) {
		if (proof->initiator || length != PSK_MAC ||
		    !psk_matches(proof, "initiator", bytes))
			return psk_fail(step, "the initiator has another key");
		return psk_proved(proof, step);
	}
	if (proof->initiator && token != NULL) {
		psk_mac(proof, "initiator", mac);
		psk_say(step, mac, sizeof(mac));
		return psk_proved(proof, step);
	}
	psk_say(step, proof->nonces[mine], PSK_NONCE);
	psk_say(step, proof->names[mine], PSK_NAME);
	if (!proof->initiator)
		psk_say(step, mac, sizeof(mac));
	return HVREPL_PENDING;
}

/* Of an initiator that believes any acceptor, and has no key to speak of. */
static inline int32_t psk_blind_step(void *user, void *argument,
				     const void *token, size_t length,
				     struct hvrepl_proof_step *step)
{
	struct psk_proof *proof = argument;
	uint8_t mac[PSK_MAC] = { 0 };
	int32_t rc = psk_step(user, argument, token, length, step);

	if (rc >= 0 || token == NULL)
		return rc;
	memset(step->sentence, 0, sizeof(step->sentence));
	psk_say(step, mac, sizeof(mac));
	return psk_proved(proof, step);
}

static inline void psk_end(void *user, void *proof)
{
	struct psk *psk = user;

	__atomic_add_fetch(&psk->ended, 1, __ATOMIC_SEQ_CST);
	free(proof);
}

static inline void psk_refused(void *user, uint32_t reason,
			       char sentence[HVREPL_SENTENCE_MAX])
{
	(void)user;
	if (reason == PSK_REASON_KEY)
		snprintf(sentence, HVREPL_SENTENCE_MAX,
			 "it has another key for us");
}

static inline void psk_release(void *user)
{
	((struct psk *)user)->released++;
}

static const struct hvrepl_authenticator_ops psk_ops = {
	.struct_size = sizeof(psk_ops),
	.begin = psk_begin,
	.step = psk_step,
	.end = psk_end,
	.refused = psk_refused,
};

/* What makes credentials of one side. */
static inline struct hvrepl_authenticator_options
psk_options(const struct hvrepl_authenticator_ops *ops, struct psk *psk,
	    const char *mechanism)
{
	struct hvrepl_authenticator_options options =
		HVREPL_AUTHENTICATOR_OPTIONS_INIT;

	options.mechanism = mechanism;
	options.self = psk->name[0] != 0 ? psk->name : NULL;
	options.authenticator.ops = ops;
	options.authenticator.user = psk;
	options.authenticator.release = psk_release;
	return options;
}
#endif
