/* SPDX-License-Identifier: Apache-2.0 */
/* The wrapped functions; see failing.h. */
#include "failing.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <zstd.h>
#include <zstd_errors.h>

struct failing failing = { -1, false, 0, 0 };

void failing_arm(long at, bool on)
{
	failing = (struct failing){ at, on, 0, 0 };
}

void failing_aside(bool begun)
{
	static long kept;

	if (begun)
		kept = failing.at;
	failing.at = begun ? -1 : kept;
}

static bool fails(void)
{
	bool now;

	if (failing.at < 0) /* As a rule; other threads may be here. */
		return false;
	failing.count++;
	now = failing.at == 0;
	if (!now || !failing.on)
		failing.at--;
	failing.failed += now;
	return now;
}

/* REAL: the function, and WRAPPED what stands for it. */
#define WRAP(type, name, bad, parameters, ...)  \
	type __real_##name parameters;          \
	type __wrap_##name parameters;          \
	type __wrap_##name parameters           \
	{                                       \
		if (fails())                    \
			return bad;             \
		return __real_##name(__VA_ARGS__); \
	}

WRAP(EVP_MD_CTX *, EVP_MD_CTX_new, NULL, (void))
WRAP(int, EVP_DigestInit_ex, 0,
	(EVP_MD_CTX *c, const EVP_MD *type, ENGINE *engine), c, type, engine)
WRAP(int, EVP_DigestUpdate, 0, (EVP_MD_CTX *c, const void *bytes, size_t n), c,
	bytes, n)
WRAP(int, EVP_DigestFinal_ex, 0, (EVP_MD_CTX *c, unsigned char *out, unsigned *n),
	c, out, n)
WRAP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_new, NULL, (void))
WRAP(int, EVP_EncryptInit_ex, 0,
	(EVP_CIPHER_CTX *c, const EVP_CIPHER *type, ENGINE *engine,
	 const unsigned char *key, const unsigned char *iv),
	c, type, engine, key, iv)
WRAP(int, EVP_EncryptUpdate, 0,
	(EVP_CIPHER_CTX *c, unsigned char *out, int *made, const unsigned char *in,
	 int n),
	c, out, made, in, n)
WRAP(int, EVP_EncryptFinal_ex, 0,
	(EVP_CIPHER_CTX *c, unsigned char *out, int *made), c, out, made)
WRAP(int, EVP_CIPHER_CTX_ctrl, 0,
	(EVP_CIPHER_CTX *c, int type, int argument, void *pointer), c, type,
	argument, pointer)
WRAP(unsigned char *, HMAC, NULL,
	(const EVP_MD *type, const void *key, int key_length,
	 const unsigned char *bytes, size_t n, unsigned char *out, unsigned *made),
	type, key, key_length, bytes, n, out, made)
WRAP(ZSTD_CCtx *, ZSTD_createCCtx, NULL, (void))
WRAP(size_t, ZSTD_CCtx_setParameter, (size_t)-ZSTD_error_memory_allocation,
	(ZSTD_CCtx *c, ZSTD_cParameter parameter, int value), c, parameter, value)
WRAP(size_t, ZSTD_compress2, (size_t)-ZSTD_error_memory_allocation,
	(ZSTD_CCtx *c, void *out, size_t room, const void *in, size_t n), c, out,
	room, in, n)
WRAP(size_t, ZSTD_decompress, (size_t)-ZSTD_error_memory_allocation,
	(void *out, size_t room, const void *in, size_t n), out, room, in, n)
