/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop's clock, put forward: a lifetime of hours ends at once, and so no test needs
 * one so short that a slow machine cannot keep within it. Works in programs that are
 * linked with ${clock_wrap} (tests/CMakeLists.txt); Kerberos and certificates have the
 * machine's clock.
 */
#ifndef LOOPCLOCK_H
#define LOOPCLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC is so much later from now on, for what is linked statically. On the
 * thread of the loop, or while it does not run: one that sleeps is not woken. */
void loop_clock_forward(uint64_t ns);
#endif
