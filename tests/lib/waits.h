/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sees that a thread waits: for a lock that another one has, or for a condition. Works
 * in programs that are linked with ${waits_wrap} (tests/CMakeLists.txt).
 */
#ifndef WAITS_H
#define WAITS_H

#include "base/flush.h"

/* How many threads wait now. Any thread. */
unsigned waits_now(void);
/* Returns once a thread waits; the caller holds what it will wait for. */
void waits_await(void);
/* How many calls wait for a flush that has not begun. Any thread. */
unsigned waits_for_flush(struct hvri_flushes *flushes);
#endif
