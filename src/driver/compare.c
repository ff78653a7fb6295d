/* SPDX-License-Identifier: Apache-2.0 */
/* Digests between the two sites: which marked blocks are equal there already. */
#include "driver/vm.h"

/* Without an answer from the peer everything that is marked is shipped: more
 * than needed, never less. */
int32_t hvri_compare_start(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct hvri_task *task;

	HVRI_TRY(hvri_task_new(vm, action, NULL, NULL, &task));
	hvri_task_end(task, HVREPL_OK);
	return HVREPL_OK;
}

int32_t hvri_verify_start(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct hvri_task *task;

	HVRI_TRY(hvri_task_new(vm, action, NULL, NULL, &task));
	hvri_task_end(task, HVREPL_E_UNSUPPORTED);
	return HVREPL_OK;
}

int32_t hvri_compare_frame(struct hvri_vm *vm, const struct hvri_frame *frame,
			   const uint8_t *payload)
{
	(void)vm, (void)frame, (void)payload;
	return HVREPL_E_PROTOCOL;
}

void hvri_compare_session_down(struct hvri_vm *vm)
{
	(void)vm;
}

void hvri_compare_free(struct hvri_vm *vm)
{
	(void)vm;
}

void hvri_filter_apply(struct hvri_vm *vm, hvrepl_cut *cut)
{
	(void)vm, (void)cut;
}
