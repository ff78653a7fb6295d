/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes calls of libcrypto and libzstd fail, as they do without memory. Works in
 * programs that are linked with ${failing_wrap} (tests/CMakeLists.txt).
 */
#ifndef FAILING_H
#define FAILING_H

#include <stdbool.h>

struct failing {
	long at;      /* The n-th call from now fails; -1 never. */
	bool on;      /* ...and all after it. */
	long count;   /* Calls so far. */
	long failed;  /* Of them. */
};

extern struct failing failing;
/* As the enclosing struct says, from now on; counts begin again. */
void failing_arm(long at, bool on);
/* Nothing fails until it is over: the test's own calls. */
void failing_aside(bool begun);
#endif
