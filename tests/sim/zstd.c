/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts of libzstd that are used again, from story to story: making one takes longer
 * than what a story compresses with it (the processor is asked what it can do, which a
 * virtual machine answers for it). A frame is the same with an old context as with a
 * new one; `told twice` would see it if it were not. */
#include "testing.h"

#include <zstd.h>

ZSTD_CCtx *__real_ZSTD_createCCtx(void);
size_t __real_ZSTD_freeCCtx(ZSTD_CCtx *context);
size_t __real_ZSTD_decompress(void *to, size_t room, const void *from, size_t length);
ZSTD_CCtx *__wrap_ZSTD_createCCtx(void);
size_t __wrap_ZSTD_freeCCtx(ZSTD_CCtx *context);
size_t __wrap_ZSTD_decompress(void *to, size_t room, const void *from, size_t length);

#define KEPT_MAX 8u

static ZSTD_CCtx *kept[KEPT_MAX];
static unsigned kept_count;

ZSTD_CCtx *__wrap_ZSTD_createCCtx(void)
{
	return kept_count > 0 ? kept[--kept_count] : __real_ZSTD_createCCtx();
}

size_t __wrap_ZSTD_freeCCtx(ZSTD_CCtx *context)
{
	if (context == NULL || !test_env_recycles() || kept_count == KEPT_MAX ||
	    ZSTD_isError(ZSTD_CCtx_reset(context,
					 ZSTD_reset_session_and_parameters)))
		return __real_ZSTD_freeCCtx(context);
	kept[kept_count++] = context;
	return 0;
}

size_t __wrap_ZSTD_decompress(void *to, size_t room, const void *from, size_t length)
{
	static ZSTD_DCtx *context;

	if (!test_env_recycles())
		return __real_ZSTD_decompress(to, room, from, length);
	if (context == NULL)
		context = ZSTD_createDCtx();
	return context == NULL ?
		       __real_ZSTD_decompress(to, room, from, length) :
		       ZSTD_decompressDCtx(context, to, room, from, length);
}
