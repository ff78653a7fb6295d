/* SPDX-License-Identifier: Apache-2.0 */
/* Writers of a view pass here; a freeze or a switch holds some or all up. */
#ifndef HVRI_STORE_GATE_H
#define HVRI_STORE_GATE_H

#include "base/sync.h"

#include <stdbool.h>
#include <stdint.h>

struct hvri_gate_pass {
	struct hvri_gate_pass *next;
	uint32_t disk;
	uint64_t from, to;
};

struct hvri_gate {
	hvri_mutex mutex;
	hvri_cond moved;
	struct hvri_gate_pass *inside;
	bool held;
	struct hvri_gate_pass hold; /* from 0 to UINT64_MAX: everything. */
};

void hvri_gate_init(struct hvri_gate *gate);
void hvri_gate_free(struct hvri_gate *gate);
/* One writer at a time in overlapping ranges; waits for them and for holds. */
void hvri_gate_enter(struct hvri_gate *gate, struct hvri_gate_pass *pass);
void hvri_gate_leave(struct hvri_gate *gate, struct hvri_gate_pass *pass);
/* Would enter() wait? For tests that have one thread. */
bool hvri_gate_would_wait(struct hvri_gate *gate, uint32_t disk, uint64_t from,
			  uint64_t to);
/* Stop new writers of the range and wait until those inside are out. */
void hvri_gate_hold(struct hvri_gate *gate, uint32_t disk, uint64_t from,
		    uint64_t to);
void hvri_gate_hold_all(struct hvri_gate *gate);
void hvri_gate_release(struct hvri_gate *gate);
#endif
