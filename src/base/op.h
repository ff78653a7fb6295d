/* SPDX-License-Identifier: Apache-2.0 */
/* The operation behind the public hvrepl_op: who is told when it is done. */
#ifndef HVRI_BASE_OP_H
#define HVRI_BASE_OP_H

#include "base/rc.h"
#include "base/sync.h"

#include <stdbool.h>

/* Embedded in whatever waits; `complete` may run on any thread. */
struct hvrepl_op {
	void (*complete)(struct hvrepl_op *op, int32_t result);
};

/* An operation whose starter waits on its own thread. Lives on the stack. */
struct hvri_op_wait {
	struct hvrepl_op op;
	hvri_mutex mutex;
	hvri_cond cond;
	bool done;
	int32_t result;
};

void hvri_op_wait_init(struct hvri_op_wait *wait);
/* Result of the callback that got &wait->op and returned `rc`: waits when it
 * is PENDING. Ends the life of `wait`. */
HVRI_MUST_CHECK int32_t hvri_op_wait_end(struct hvri_op_wait *wait, int32_t rc);
#endif
