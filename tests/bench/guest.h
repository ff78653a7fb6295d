/* SPDX-License-Identifier: Apache-2.0 */
/* One tracked write of a benchmark, whatever it has to wait for. */
#ifndef BENCH_GUEST_H
#define BENCH_GUEST_H

#include "bench.h"

#include <hvrepl/hvrepl.h>

static inline void guest_done(struct hvrepl_ticket *ticket, int32_t result)
{
	__atomic_store_n((int32_t *)ticket->user, result, __ATOMIC_RELEASE);
}

/* Without the write itself. `pump` (the tracker's group) runs while it waits. */
static inline void guest_write(hvrepl_group *pump, hvrepl_tracker *tracker,
			       uint64_t offset, uint64_t length)
{
	struct hvrepl_ticket ticket = HVREPL_TICKET_INIT;
	int32_t state = HVREPL_PENDING, rc;

	ticket.complete = guest_done;
	ticket.user = &state;
	rc = hvrepl_tracker_write_begin(tracker, offset, length,
					HVREPL_WRITE_DATA, &ticket);
	while (rc == HVREPL_PENDING) {
		bench_must(hvrepl_group_process(pump), "process");
		rc = __atomic_load_n(&state, __ATOMIC_ACQUIRE);
	}
	bench_must(rc, "write_begin");
	bench_must(hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK),
		   "write_end");
}
#endif
