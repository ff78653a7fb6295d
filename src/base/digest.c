/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3-128 from xxHash, SHA-256 and AES-GMAC from libcrypto. */
#include "base/digest.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>
/* Where libxxhash can choose by processor, its AVX2 or AVX-512 code is more than
 * twice as fast as what the compiler may put in here. */
#ifdef HVRI_XXH_DISPATCH
#define XXH_STATIC_LINKING_ONLY /* The state's size. */
#include <xxhash.h>
#include <xxh_x86dispatch.h>
#else
#define XXH_INLINE_ALL
#include <xxhash.h>
#endif

size_t hvri_digest_size(uint8_t kind)
{
	switch (kind) {
	case HVRI_DIGEST_XXH3_128:
	case HVRI_DIGEST_GMAC:
		return 16;
	case HVRI_DIGEST_SHA256:
		return 32;
	default:
		return 0;
	}
}

/* Headers and records: one call is much faster than a state, and gives the same
 * value. */
#define XXH3_SHORT 240u

static bool gather(const struct hvri_part *parts, size_t count,
		   uint8_t bytes[XXH3_SHORT], size_t *length_out)
{
	size_t length = 0;

	for (size_t i = 0; i < count; i++) {
		if (parts[i].length > XXH3_SHORT - length)
			return false;
		if (parts[i].length > 0)
			memcpy(bytes + length, parts[i].bytes,
			       parts[i].length);
		length += parts[i].length;
	}
	*length_out = length;
	return true;
}

void hvri_xxh3(const struct hvri_part *parts, size_t count,
	       uint8_t digest_out[16])
{
	XXH128_canonical_t canonical;
	XXH3_state_t state; /* On the stack: no allocation on hot paths. */
	uint8_t bytes[XXH3_SHORT];
	size_t length;

	if (gather(parts, count, bytes, &length)) {
		XXH128_canonicalFromHash(&canonical,
					 XXH3_128bits(bytes, length));
		memcpy(digest_out, canonical.digest,
		       sizeof(canonical.digest));
		return;
	}
	XXH3_INITSTATE(&state);
	(void)XXH3_128bits_reset(&state);
	for (size_t i = 0; i < count; i++)
		if (parts[i].length > 0)
			(void)XXH3_128bits_update(&state, parts[i].bytes,
						  parts[i].length);
	XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state));
	memcpy(digest_out, canonical.digest, sizeof(canonical.digest));
}

int32_t hvri_sha256_begin(struct hvri_sha256 *sha)
{
	sha->context = EVP_MD_CTX_new();
	if (sha->context == NULL)
		return HVREPL_E_NOMEM;
	if (EVP_DigestInit_ex(sha->context, EVP_sha256(), NULL) != 1) {
		hvri_sha256_free(sha);
		return HVREPL_E_NOMEM;
	}
	return HVREPL_OK;
}

int32_t hvri_sha256_again(struct hvri_sha256 *sha)
{
	if (sha->context == NULL)
		return hvri_sha256_begin(sha);
	return EVP_DigestInit_ex(sha->context, NULL, NULL) == 1 ?
		       HVREPL_OK :
		       HVREPL_E_NOMEM;
}

int32_t hvri_sha256_add(struct hvri_sha256 *sha, const void *bytes,
			size_t length)
{
	if (EVP_DigestUpdate(sha->context, bytes, length) != 1)
		return HVREPL_E_NOMEM;
	return HVREPL_OK;
}

int32_t hvri_sha256_end(struct hvri_sha256 *sha, uint8_t digest_out[32])
{
	unsigned length = 0;

	if (EVP_DigestFinal_ex(sha->context, digest_out, &length) != 1)
		return HVREPL_E_NOMEM;
	return HVREPL_OK;
}

void hvri_sha256_free(struct hvri_sha256 *sha)
{
	EVP_MD_CTX_free(sha->context);
	sha->context = NULL;
}

int32_t hvri_gmac_init(struct hvri_gmac *gmac,
		       const uint8_t key[HVRI_GMAC_KEY])
{
	gmac->context = EVP_CIPHER_CTX_new();
	if (gmac->context == NULL)
		return HVREPL_E_NOMEM;
	if (EVP_EncryptInit_ex(gmac->context, EVP_aes_256_gcm(), NULL, key,
			       NULL) != 1) {
		hvri_gmac_free(gmac);
		return HVREPL_E_NOMEM;
	}
	return HVREPL_OK;
}

int32_t hvri_gmac_block(struct hvri_gmac *gmac, uint32_t disk, uint64_t offset,
			const void *bytes, size_t length,
			uint8_t digest_out[16])
{
	uint8_t nonce[12];
	int done = 0;

	if (length > INT32_MAX)
		return HVREPL_E_INVALID;
	for (size_t i = 0; i < 4; i++)
		nonce[i] = (uint8_t)(disk >> (8 * i));
	for (size_t i = 0; i < 8; i++)
		nonce[4 + i] = (uint8_t)(offset >> (8 * i));
	if (EVP_EncryptInit_ex(gmac->context, NULL, NULL, NULL, nonce) != 1 ||
	    EVP_EncryptUpdate(gmac->context, NULL, &done, bytes,
			      (int)length) != 1 ||
	    EVP_EncryptFinal_ex(gmac->context, NULL, &done) != 1 ||
	    EVP_CIPHER_CTX_ctrl(gmac->context, EVP_CTRL_GCM_GET_TAG, 16,
				digest_out) != 1)
		return HVREPL_E_NOMEM;
	return HVREPL_OK;
}

void hvri_gmac_free(struct hvri_gmac *gmac)
{
	EVP_CIPHER_CTX_free(gmac->context);
	gmac->context = NULL;
}
