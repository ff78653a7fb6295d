/* SPDX-License-Identifier: Apache-2.0 */
/* The wrapped clock; see loopclock.h. */
#include "loopclock.h"

#include <time.h>

#define SECOND_NS 1000000000u

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

static uint64_t ahead_ns; /* Atomic. */

void loop_clock_forward(uint64_t ns)
{
	(void)__atomic_add_fetch(&ahead_ns, ns, __ATOMIC_SEQ_CST);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	uint64_t ahead = __atomic_load_n(&ahead_ns, __ATOMIC_SEQ_CST);
	int rc = __real_clock_gettime(clock, now);

	if (rc != 0 || clock != CLOCK_MONOTONIC)
		return rc;
	ahead += (uint64_t)now->tv_nsec;
	now->tv_sec += (time_t)(ahead / SECOND_NS);
	now->tv_nsec = (long)(ahead % SECOND_NS);
	return 0;
}
