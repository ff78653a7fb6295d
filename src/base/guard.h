/* SPDX-License-Identifier: Apache-2.0 */
/* What a control handle keeps to notice that it is entered a second time. */
#ifndef HVRI_BASE_GUARD_H
#define HVRI_BASE_GUARD_H

#include <stdint.h>

/*
 * One per node, shared by every handle that hangs on the node (relationship,
 * plan). Zero-initialised. Set while a public function of the node runs, and
 * so while any callback of it runs: callbacks run inside hvrepl_node_process()
 * and the other public functions, nowhere else. See api/guard.h.
 */
struct hvri_guard {
	uint32_t inside;
};
#endif
