/* SPDX-License-Identifier: Apache-2.0 */
/* Completion of operations from any thread. */
#include "base/op.h"

void hvrepl_op_complete(hvrepl_op *op, int32_t result)
{
	if (op != NULL)
		op->complete(op, result > 0 ? HVREPL_E_CALLBACK : result);
}

static void wait_complete(struct hvrepl_op *op, int32_t result)
{
	struct hvri_op_wait *wait = (struct hvri_op_wait *)op;

	/* Signalled under the lock: the waiter's stack frame goes away as soon
	 * as it can take the lock and see `done`. */
	hvri_lock(&wait->mutex);
	wait->done = true;
	wait->result = result;
	hvri_wake_all(&wait->cond);
	hvri_unlock(&wait->mutex);
}

void hvri_op_wait_init(struct hvri_op_wait *wait)
{
	wait->op.complete = wait_complete;
	wait->done = false;
	wait->result = 0;
	hvri_mutex_init(&wait->mutex);
	hvri_cond_init(&wait->cond);
}

int32_t hvri_op_wait_end(struct hvri_op_wait *wait, int32_t rc)
{
	if (rc == HVREPL_PENDING) {
		hvri_lock(&wait->mutex);
		while (!wait->done)
			hvri_wait(&wait->cond, &wait->mutex);
		rc = wait->result;
		hvri_unlock(&wait->mutex);
		/* Where nobody waited there is nothing to end, and most I/O is
		 * done when its callback returns. */
		hvri_cond_destroy(&wait->cond);
		hvri_mutex_destroy(&wait->mutex);
	} else if (rc > 0) {
		rc = HVREPL_E_CALLBACK; /* Not a value a callback may return. */
	}
	return rc;
}
