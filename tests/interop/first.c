/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded with a sanitizer's runtime, so that this is set up before anything.
 *
 * It is set up at the first allocation. In nbdkit that one is made by the
 * constructor of a library (p11-kit, through GnuTLS) while the C library's lock
 * of locales is held, which the setting up takes once more: the lock is left
 * off balance, and the library's destructor waits for it for ever. Linked with
 * -z initfirst, the constructor here comes before that one.
 */
#include <stdlib.h>

__attribute__((constructor)) static void first(void)
{
	free(malloc(1));
}
