/* SPDX-License-Identifier: Apache-2.0 */
/* Which function performs which action, and how an action ends in DONE. */
#include "driver/vm.h"

#include "base/plant.h"

#include <stdio.h>

static void task_release(struct hvri_vm *vm, struct hvri_vm_event *event)
{
	struct hvri_task *task =
		(struct hvri_task *)((char *)event -
				     offsetof(struct hvri_task, event));

	hvri_alarm_set(&vm->node->timers, &task->retry, HVRI_NEVER);
	hvri_free(&vm->node->env, task->bytes, task->room);
	hvri_free(&vm->node->env, task, sizeof(*task));
}

void hvri_task_drop_cut(struct hvri_task *task)
{
	if (task->cut == NULL)
		return;
	/* Voided, it can be closed: its bits go back. */
	(void)!hvrepl_cut_void(task->cut);
	(void)!hvrepl_cut_close(task->cut, HVREPL_E_CANCELLED);
	task->cut = NULL;
}

static void task_done(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;
	struct hvri_vm *vm = task->vm;

	task->again = false;
	if (task->finish != NULL)
		task->finish(task);
	if (task->again && (!vm->closing || task->of_closing))
		return; /* Submitted once more, or waits for its timer. */
	/* As the VM closes it has ended, though its timer may be set. */
	if (!HVRI_PLANT(ended_and_tried_again))
		hvri_alarm_set(&vm->node->timers, &task->retry, HVRI_NEVER);
	/* Half way, as the VM closes: its disks would never be let go. */
	if (!HVRI_PLANT(closing_leaves_cut))
		hvri_task_drop_cut(task);
	vm->tasks--;
	task->done.token = task->action.token;
	task->done.sentence = task->sentence[0] != 0 ? task->sentence : NULL;
	task->event.event.type = HVRI_EVENT_DONE;
	task->event.event.u.done = task->done;
	task->event.release = task_release;
	if (task->action.token == 0) {
		task_release(vm, &task->event);
		hvri_vm_settled(vm);
		return;
	}
	hvri_vm_feed(vm, &task->event);
}

bool hvri_task_overtaken(const struct hvri_task *task)
{
	return task->turn != 0 && task->turn != task->vm->overlay_turn;
}

static void task_retry(struct hvri_alarm *timer)
{
	struct hvri_task *task =
		(struct hvri_task *)((char *)timer -
				     offsetof(struct hvri_task, retry));

	/* It would undo now what was asked for after it. */
	if (hvri_task_overtaken(task))
		hvri_task_end(task, HVREPL_E_CANCELLED);
	else
		hvri_task_submit(task);
}

int32_t hvri_task_new(struct hvri_vm *vm, const struct hvri_action *action,
		      bool (*work)(struct hvri_lane_job *job),
		      void (*finish)(struct hvri_task *task),
		      struct hvri_task **task_out)
{
	struct hvri_task *task;

	task = hvri_alloc(&vm->node->env, sizeof(*task));
	if (task == NULL)
		return HVREPL_E_NOMEM;
	task->vm = vm;
	task->action = *action;
	task->job.work = work;
	task->job.done = task_done;
	task->finish = finish;
	hvri_alarm_init(&task->retry, task_retry);
	vm->tasks++;
	*task_out = task;
	return HVREPL_OK;
}

void hvri_task_submit(struct hvri_task *task)
{
	hvri_lane_submit(&task->vm->lane, &task->job);
}

bool hvri_task_waits(struct hvri_task *task, uint64_t pause_ns)
{
	if (task->done.code != HVREPL_E_BUSY)
		return false;
	task->again = true;
	task->done.code = HVREPL_OK;
	task->sentence[0] = 0;
	hvri_alarm_set(&task->vm->node->timers, &task->retry,
		       hvri_now(&task->vm->node->env) + pause_ns);
	return true;
}

static bool no_work(struct hvri_lane_job *job)
{
	(void)job;
	return false;
}

/* Even an action that ends at once ends at its own turn: DONE is never fed
 * from inside the performing that started it. */
void hvri_task_end(struct hvri_task *task, int32_t code)
{
	task->done.code = code;
	task->job.work = no_work;
	hvri_lane_submit(&task->vm->lane, &task->job);
}

void hvri_task_error(struct hvri_task *task, int32_t code,
		     const struct hvrepl_error *error)
{
	task->done.code = code;
	snprintf(task->sentence, sizeof(task->sentence), "%s",
		 error != NULL && error->sentence[0] != 0 ?
			 error->sentence :
			 hvrepl_strerror(code));
}

int32_t hvri_vm_perform(struct hvri_vm *vm, const struct hvri_action *action)
{
	switch (action->type) {
	case HVRI_ACTION_CUT:
		return hvri_owner_cut(vm, action);
	case HVRI_ACTION_SHIP:
		hvri_ship_start(vm, action);
		return HVREPL_OK;
	case HVRI_ACTION_HOLD:
		hvri_ship_hold(vm, action);
		return HVREPL_OK;
	case HVRI_ACTION_RELEASE:
		hvri_ship_release(vm, action);
		return HVREPL_OK;
	case HVRI_ACTION_SETTLE:
		hvri_ship_settle(vm, action);
		return HVREPL_OK;
	case HVRI_ACTION_FENCE:
		return hvri_owner_fence(vm, action);
	case HVRI_ACTION_ARM:
		return hvri_owner_arm(vm, action);
	case HVRI_ACTION_COMPARE:
		return hvri_compare_start(vm, action);
	case HVRI_ACTION_MARK:
		return HVREPL_OK; /* Done with the step, see vm.c. */
	case HVRI_ACTION_MARK_ALL:
		return hvri_owner_mark_all(vm, action);
	case HVRI_ACTION_EXPORT:
		return hvri_owner_export(vm, action);
	case HVRI_ACTION_ADOPT:
		return hvri_standby_adopt(vm, action);
	case HVRI_ACTION_UNPIN:
		return hvri_standby_unpin(vm, action);
	case HVRI_ACTION_CREATE_REPLICA:
		return hvri_standby_create(vm, action);
	case HVRI_ACTION_RECEIVE:
		return hvri_receive_start(vm, action);
	case HVRI_ACTION_STOP_RECEIVE:
		hvri_receive_stop(vm, &action->cut, action->drop);
		return HVREPL_OK;
	case HVRI_ACTION_OPEN_OVERLAY:
		return hvri_standby_overlay(vm, action);
	case HVRI_ACTION_DROP_OVERLAY:
		return hvri_standby_drop(vm, action);
	case HVRI_ACTION_FOLD:
		return hvri_standby_fold(vm, action);
	case HVRI_ACTION_CHECK_REVERSE:
		return hvri_standby_check(vm, action);
	case HVRI_ACTION_VERIFY:
		return hvri_verify_start(vm, action);
	case HVRI_ACTION_REMOVE:
		return hvri_standby_remove(vm, action);
	case HVRI_ACTION_FORGET:
		vm->forget = true;
		return HVREPL_OK;
	default:
		return HVREPL_OK;
	}
}
