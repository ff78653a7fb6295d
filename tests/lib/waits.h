/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sees that a thread waits: for a lock that another one has, or for a condition. Works
 * in programs that are linked with ${waits_wrap} (tests/CMakeLists.txt).
 */
#ifndef WAITS_H
#define WAITS_H

/* How many threads wait now. Any thread. */
unsigned waits_now(void);
/* Returns once a thread waits; the caller holds what it will wait for. */
void waits_await(void);
#endif
