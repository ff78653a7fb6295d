/* SPDX-License-Identifier: Apache-2.0 */
/* A failover's overlay: opened under a tracker, thrown away, folded in (S7, S8). */
#include "driver/vm.h"

#include <string.h>

#define BUSY_NS 1000000ull

/* ---- OPEN_OVERLAY, DROP_OVERLAY ---- */

static int32_t seed_tracker(struct hvri_vm *vm, hvrepl_view *view)
{
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		uint64_t at = 0;

		for (;;) {
			struct hvrepl_extent extent = { 0, 0 };

			HVRI_TRY(hvri_view_next_changed(view, i, at, &extent));
			if (extent.length == 0)
				break;
			HVRI_TRY(hvrepl_tracker_mark(vm->disks[i].tracker,
						     &extent, 1));
			at = extent.offset + extent.length;
		}
	}
	return HVREPL_OK;
}

static bool all_tracked(const struct hvri_vm *vm)
{
	for (uint32_t i = 0; i < vm->disk_count; i++)
		if (vm->disks[i].tracker == NULL)
			return false;
	return true;
}

/* All that stands on the overlay goes: trackers, their files, the view. */
static int32_t take_down(struct hvri_vm *vm)
{
	HVRI_TRY(hvri_vm_detach_trackers(vm, 0));
	HVRI_TRY(hvri_vm_remove_tracker_files(vm));
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		hvri_live_set(&vm->disks[i].live, NULL);
		hvri_disk_drop(&vm->disks[i].overlay);
	}
	if (vm->view != NULL) {
		HVRI_TRY(hvri_view_close(vm->view));
		vm->view = NULL;
	}
	return HVREPL_OK;
}

static int32_t cancel_all(struct hvri_vm *vm, struct hvrepl_error *error)
{
	struct hvrepl_store_info info = HVREPL_STORE_INFO_INIT;
	uint32_t more = 1;

	hvri_store_info(vm->store, &info);
	if (info.state == HVREPL_STORE_REPLICA ||
	    info.state == HVREPL_STORE_EMPTY ||
	    info.state == HVREPL_STORE_INITIAL)
		return HVREPL_OK;
	while (more != 0)
		HVRI_TRY(hvri_store_cancel(vm->store, &more, error));
	return HVREPL_OK;
}

int32_t hvri_vm_open_view(struct hvri_vm *vm, uint64_t point,
			  struct hvrepl_error *error)
{
	/* In doubt or not: who asked for the failover knows (T9). */
	HVRI_TRY(hvri_view_open(vm->store, point,
				HVREPL_VIEW_FAILOVER | HVREPL_VIEW_AS_IS,
				&vm->view, error));
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct hvrepl_disk disk;

		HVRI_TRY(hvri_view_disk(vm->view, i, &disk));
		HVRI_TRY(hvri_disk_take(&vm->disks[i].overlay, &disk, error));
		hvri_live_set(&vm->disks[i].live, &vm->disks[i].overlay);
	}
	return HVREPL_OK;
}

static int32_t open_on(struct hvri_vm *vm, const struct hvri_action *action,
		       uint64_t point, struct hvrepl_error *error)
{
	/* Whose overlay it is, before there is one (read when opening). */
	HVRI_TRY(hvri_store_set_blob(vm->store, &action->epoch,
				     sizeof(action->epoch)));
	HVRI_TRY(hvri_vm_open_view(vm, point, error));
	HVRI_TRY(hvri_vm_attach_trackers(vm, HVREPL_TRACKER_CREATE, error));
	return seed_tracker(vm, vm->view);
}

static int32_t open_overlay(struct hvri_vm *vm,
			    const struct hvri_action *action,
			    struct hvrepl_error *error)
{
	struct hvrepl_point point = HVREPL_POINT_INIT;
	int32_t rc;

	HVRI_TRY(take_down(vm));
	HVRI_TRY(cancel_all(vm, error));
	HVRI_TRY(hvri_store_segments_drop(vm->store));
	HVRI_TRY(hvri_store_point_find(vm->store, &action->point.epoch,
				       action->point.number,
				       &action->point.cut, &point));
	rc = open_on(vm, action, point.point, error);
	/* That code is for the point (replication/relationship.h). */
	return rc == HVREPL_E_NOT_FOUND ? HVREPL_E_CORRUPT : rc;
}

static bool overlay_work(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;
	struct hvri_vm *vm = task->vm;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_store_info info = HVREPL_STORE_INFO_INIT;
	struct hvrepl_uuid epoch;
	uint32_t length = sizeof(epoch);
	int32_t rc;

	if (hvri_standby_reopen(task))
		return false;
	/* Open already for this epoch, or folded in: a repeated action. The
	 * attempt, or the process, before may have ended in the middle of the
	 * seeding (S7), which may be done twice. */
	hvri_store_info(vm->store, &info);
	if ((vm->view != NULL || info.state == HVREPL_STORE_BASE_ONLY) &&
	    hvri_store_blob(vm->store, &epoch, &length) == HVREPL_OK &&
	    length == sizeof(epoch) &&
	    hvri_uuid_equal(&epoch, &task->action.epoch) && all_tracked(vm))
		rc = info.state == HVREPL_STORE_FAILOVER ?
			     seed_tracker(vm, vm->view) :
			     HVREPL_OK;
	else
		rc = open_overlay(vm, &task->action, &error);
	if (rc < 0)
		hvri_task_error(task, rc, &error);
	return false;
}

static void overlay_finish(struct hvri_task *task)
{
	struct hvri_vm *vm = task->vm;

	if (hvri_standby_reopened(task) || hvri_task_overtaken(task) ||
	    hvri_task_waits(task, 20 * BUSY_NS))
		return;
	hvri_vm_list_points(vm);
	if (task->done.code < 0)
		return;
	hvri_vm_doors(vm, true, false);
	hvri_alarm_set(&vm->node->timers, &vm->maintain,
		       hvri_now(&vm->node->env)); /* Held back until now. */
}

int32_t hvri_standby_overlay(struct hvri_vm *vm,
			     const struct hvri_action *action)
{
	struct hvri_task *task;

	HVRI_TRY(hvri_task_new(vm, action, overlay_work, overlay_finish,
			       &task));
	task->turn = ++vm->overlay_turn;
	hvri_receive_stop(vm, NULL, false);
	hvri_standby_detach_failed(task);
	if (vm->store == NULL && !task->reopen) {
		hvri_task_end(task, HVREPL_E_STATE);
		return HVREPL_OK;
	}
	hvri_vm_doors(vm, false, false);
	hvri_task_submit(task);
	return HVREPL_OK;
}

static bool drop_work(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;
	struct hvri_vm *vm = task->vm;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc;

	if (hvri_standby_reopen(task))
		return false;
	rc = take_down(vm);
	if (rc == HVREPL_OK)
		rc = cancel_all(vm, &error);
	if (rc < 0)
		hvri_task_error(task, rc, &error);
	return false;
}

static void drop_finish(struct hvri_task *task)
{
	struct hvri_vm *vm = task->vm;

	if (hvri_standby_reopened(task) || hvri_task_overtaken(task) ||
	    hvri_task_waits(task, 20 * BUSY_NS))
		return;
	hvri_vm_list_points(vm);
	hvri_standby_maintain(vm);
}

int32_t hvri_standby_drop(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct hvri_task *task;

	HVRI_TRY(hvri_task_new(vm, action, drop_work, drop_finish, &task));
	task->turn = ++vm->overlay_turn;
	vm->armed = false;
	hvri_vm_doors(vm, false, false);
	hvri_standby_detach_failed(task);
	if (vm->store == NULL && !task->reopen)
		hvri_task_end(task, vm->reopening ? HVREPL_E_STATE : HVREPL_OK);
	else
		hvri_task_submit(task);
	return HVREPL_OK;
}

/* ---- FOLD: commit while the VM runs (S8). ---- */

static bool fold_work(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;
	struct hvri_vm *vm = task->vm;
	struct hvrepl_store_info info = HVREPL_STORE_INFO_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	uint32_t more = 1;
	int32_t rc = HVREPL_OK;

	hvri_store_info(vm->store, &info);
	if (info.state == HVREPL_STORE_FAILOVER)
		rc = hvri_store_commit_begin(vm->store, &error);
	if (info.state == HVREPL_STORE_BASE_ONLY)
		more = 0;
	else if (rc == HVREPL_OK)
		rc = hvri_store_commit_advance(vm->store, &more, &error);
	if (rc < 0) {
		/* What the guest wrote below went with a flush: it is told, and no
		 * cut is what it was. Once: asked for again, nothing new is lost. */
		for (uint32_t i = 0; i < vm->disk_count; i++)
			if (vm->disks[i].tracker != NULL &&
			    hvri_store_take_base_lost(vm->store, i))
				hvri_tracker_flush_failed(vm->disks[i].tracker,
							  rc);
		hvri_task_error(task, rc, &error);
		return false;
	}
	if (more != 0)
		return true;
	/* Base is the disk now: move everybody there and let the view go. The
	 * next save of the tracker notes the base disk's own token (T9). */
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		hvri_live_set(&vm->disks[i].live, &vm->disks[i].base);
		hvri_disk_drop(&vm->disks[i].overlay);
	}
	if (vm->view != NULL && hvri_view_close(vm->view) == HVREPL_OK)
		vm->view = NULL;
	for (uint32_t i = 0; i < vm->disk_count && rc == HVREPL_OK; i++)
		if (vm->disks[i].tracker != NULL)
			rc = hvrepl_tracker_save(vm->disks[i].tracker, NULL);
	if (rc < 0)
		hvri_task_error(task, rc, NULL);
	return false;
}

static void fold_finish(struct hvri_task *task)
{
	struct hvri_vm *vm = task->vm;

	/* A point is viewed or pinned, such as the tail of a lost epoch: a
	 * commit would drop it. The VM runs on the overlay until it is let
	 * go. */
	if (hvri_task_waits(task, 200 * BUSY_NS))
		return;
	hvri_vm_list_points(vm);
}

int32_t hvri_standby_fold(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct hvri_task *task;

	HVRI_TRY(hvri_task_new(vm, action, fold_work, fold_finish, &task));
	if (vm->store == NULL)
		hvri_task_end(task, HVREPL_E_STATE);
	else
		hvri_task_submit(task);
	return HVREPL_OK;
}
