/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests, one kind byte everywhere (design section 8).
 *  XXH3_128  accident: chunks, records. Not against an attacker.
 *  SHA256    roots, manifests, audit; equality where policy asks for it.
 *  GMAC      AES-256-GMAC under a secret of the run: equality decisions that a
 *            guest cannot craft collisions for (resync, verify, seeding).
 */
#ifndef HVRI_BASE_DIGEST_H
#define HVRI_BASE_DIGEST_H

#include "base/rc.h"

#define HVRI_DIGEST_NONE 0u
#define HVRI_DIGEST_XXH3_128 1u
#define HVRI_DIGEST_SHA256 2u
#define HVRI_DIGEST_GMAC 3u
#define HVRI_DIGEST_MAX 32u /* Bytes of the longest one. */

struct hvri_digest {
	uint8_t bytes[HVRI_DIGEST_MAX]; /* Tail zero for the short kinds. */
};

/* 16 or 32; 0 for NONE and unknown kinds. */
size_t hvri_digest_size(uint8_t kind);

/* XXH3-128, canonical (big-endian) bytes, of the concatenation of `parts`. */
struct hvri_part {
	const void *bytes;
	size_t length;
};
void hvri_xxh3(const struct hvri_part *parts, size_t count,
	       uint8_t digest_out[16]);

/* Running SHA-256; free always, also after a failure. */
struct hvri_sha256 {
	void *context; /* EVP_MD_CTX */
};
HVRI_MUST_CHECK int32_t hvri_sha256_begin(struct hvri_sha256 *sha);
/* For one that is kept and begun over and over: making it costs more than a
 * short input does. `context` NULL: there is none yet. */
HVRI_MUST_CHECK int32_t hvri_sha256_again(struct hvri_sha256 *sha);
HVRI_MUST_CHECK int32_t hvri_sha256_add(struct hvri_sha256 *sha,
					const void *bytes, size_t length);
HVRI_MUST_CHECK int32_t hvri_sha256_end(struct hvri_sha256 *sha,
					uint8_t digest_out[32]);
void hvri_sha256_free(struct hvri_sha256 *sha);

/* Keyed digest of one block. `offset` (and `disk`) are part of the nonce: the
 * same bytes elsewhere have another digest. One nonce is used for one block of
 * one image only; both sides compute it under the same key, so equal digests
 * of different content need a collision under an unknown key. */
#define HVRI_GMAC_KEY 32u
struct hvri_gmac {
	void *context; /* EVP_CIPHER_CTX with the key set. */
};
HVRI_MUST_CHECK int32_t hvri_gmac_init(struct hvri_gmac *gmac,
				       const uint8_t key[HVRI_GMAC_KEY]);
HVRI_MUST_CHECK int32_t hvri_gmac_block(struct hvri_gmac *gmac, uint32_t disk,
					uint64_t offset, const void *bytes,
					size_t length, uint8_t digest_out[16]);
void hvri_gmac_free(struct hvri_gmac *gmac);
#endif
