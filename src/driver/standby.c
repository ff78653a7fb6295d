/* SPDX-License-Identifier: Apache-2.0 */
/* What a store's owner is told to do: create, adopt, check, unpin, remove; and
 * its upkeep. */
#include "driver/quota.h"
#include "driver/status.h"
#include "driver/vm.h"

#include "base/plant.h"

#include <stdio.h>
#include <string.h>

#define MAINTAIN_NS 1000000000ull
#define BUSY_NS 1000000ull

static struct hvri_vm *vm_of_maintain(struct hvri_lane_job *job)
{
	return (struct hvri_vm *)((char *)job -
				  offsetof(struct hvri_vm, maintain_job));
}

/* ---- A store whose flush failed is opened again. ---- */

void hvri_standby_detach_failed(struct hvri_task *task)
{
	struct hvri_vm *vm = task->vm;

	/* Nor while another waits for its next attempt: it would find none. */
	if ((vm->store == NULL ? !vm->store_lost :
				 !hvri_store_poisoned(vm->store)) ||
	    vm->view != NULL || vm->maintaining ||
	    !hvri_lane_idle(&vm->lane) ||
	    (vm->tasks > 1 && !HVRI_PLANT(store_taken_away)))
		return;
	hvri_vm_list_points(vm); /* What is shown, and failed over to, meanwhile. */
	task->reopen = vm->reopening = true;
	task->store = vm->store;
	vm->store = NULL;
}

bool hvri_standby_reopen(struct hvri_task *task)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc = HVREPL_OK;

	if (!task->reopen)
		return false;
	if (task->store != NULL)
		rc = hvri_store_destroy(task->store);
	if (rc < 0) {
		rc = hvri_fail(&error, HVREPL_E_POISONED,
			       "the replica's storage failed a flush, and a "
			       "recovery point is being read: close its view");
	} else {
		task->store = NULL;
		rc = hvri_vm_open_store(task->vm, HVRI_STORE_SAME_BASES,
					&task->store, &error);
	}
	if (rc < 0)
		hvri_task_error(task, rc, &error);
	else
		task->done.code = HVREPL_E_BUSY; /* Now what was asked for. */
	return true;
}

bool hvri_standby_reopened(struct hvri_task *task)
{
	struct hvri_vm *vm = task->vm;
	bool was_lost = vm->store_lost;

	if (!task->reopen)
		return false;
	task->reopen = vm->reopening = false;
	vm->store = task->store;
	vm->store_lost = vm->store == NULL;
	vm->store_code = vm->store_lost ? task->done.code : HVREPL_OK;
	snprintf(vm->open_sentence, sizeof(vm->open_sentence), "%s",
		 vm->store_lost ? task->sentence : "");
	task->store = NULL;
	hvri_vm_list_points(vm);
	if (vm->store_lost != was_lost)
		hvri_vm_tell_health(vm, vm->store_code,
				    "the replica's storage is open again; ");
	hvri_standby_maintain(vm);
	if (vm->point_count > 0)
		hvri_receive_found(vm, &vm->points[vm->point_count - 1].cut);
	return hvri_task_waits(task, BUSY_NS);
}

/* ---- Upkeep: retention, merging, compaction. ---- */

static bool maintain_work(struct hvri_lane_job *job)
{
	struct hvri_vm *vm = vm_of_maintain(job);
	struct hvrepl_store_info info = HVREPL_STORE_INFO_INIT;
	uint32_t more = 0;

	if (__atomic_exchange_n(&vm->quota_new, false, __ATOMIC_ACQUIRE))
		hvri_quota_apply(vm, vm->store);
	vm->maintain_code = hvri_store_maintain(vm->store, &more, NULL);
	vm->maintain_more = more != 0;
	hvri_store_info(vm->store, &info);
	vm->maintain_full = info.accepting == 0 ||
			    vm->maintain_code == HVREPL_E_NO_SPACE;
	vm->doubted = info.newest_doubted != 0 ? info.doubted_point : 0;
	return false;
}

static void maintain_done(struct hvri_lane_job *job)
{
	struct hvri_vm *vm = vm_of_maintain(job);

	vm->maintaining = false;
	vm->full = vm->maintain_full;
	if (vm->closing || vm->store == NULL) {
		hvri_vm_settled(vm);
		return;
	}
	if (vm->doubted != 0 && vm->doubted != vm->told_doubt &&
	    !vm->doubt_event.queued) {
		vm->told_doubt = vm->doubted;
		vm->doubt_event.event.type = HVRI_EVENT_POINTS_DOUBTED;
		vm->doubt_event.event.u.data.code = HVREPL_E_CORRUPT;
		hvri_vm_feed(vm, &vm->doubt_event);
	}
	if (vm->maintain_code == HVREPL_OK && vm->maintain_more)
		hvri_standby_maintain(vm);
	else if (vm->maintain_code < 0)
		hvri_alarm_set(&vm->node->timers, &vm->maintain,
			       hvri_now(&vm->node->env) + MAINTAIN_NS);
}

/* The point of a failover is safe once its overlay stands on it. */
static bool is_opening(const struct hvri_vm *vm)
{
	const struct hvri_relationship *r = &vm->relationship;

	return (r->record.form == HVRI_FORM_OVERLAY ||
		r->record.form == HVRI_FORM_FOLDING) &&
	       !r->overlay_open;
}

bool hvri_standby_keep(struct hvri_vm *vm, uint64_t point)
{
	/* While it is opened again no upkeep is under way, and none begins before
	 * the failover that is decided now has its overlay. */
	if (vm->store == NULL)
		return true;
	if (hvri_store_keep(vm->store, point) < 0)
		return false;
	vm->keeps_points = true;
	return true;
}

void hvri_standby_let_go(struct hvri_vm *vm)
{
	if (!vm->keeps_points || is_opening(vm) ||
	    vm->relationship.record.job.operation ==
		    HVREPL_OPERATION_CHANGE_POINT)
		return;
	vm->keeps_points = false;
	if (vm->store != NULL)
		hvri_store_let_go(vm->store);
}

void hvri_standby_maintain(struct hvri_vm *vm)
{
	/* For a store that failed a flush upkeep can do nothing, and would be in
	 * the way of who opens it again: it begins anew after that. */
	if (!vm->opened || vm->store == NULL || vm->maintaining || vm->closing ||
	    vm->store_held || is_opening(vm) || hvri_store_poisoned(vm->store))
		return;
	vm->maintaining = true;
	vm->maintain_job.work = maintain_work;
	vm->maintain_job.done = maintain_done;
	hvri_lane_submit(&vm->lane, &vm->maintain_job);
}

/* ---- CREATE_REPLICA ---- */

static bool create_work(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc;

	rc = hvri_vm_open_store(task->vm, HVREPL_STORE_CREATE, &task->store,
				&error);
	/* Made before a crash, and not written to since. */
	if (rc == HVREPL_E_EXISTS)
		rc = hvri_vm_open_store(task->vm, 0, &task->store, &error);
	if (rc < 0)
		hvri_task_error(task, rc, &error);
	return false;
}

static void store_finish(struct hvri_task *task)
{
	if (task->store != NULL) {
		task->vm->store = task->store;
		hvri_vm_list_points(task->vm);
	}
}

/* Its disks are of an enable before, whose making failed. */
static bool same_shape(const struct hvri_vm *vm,
		       const struct hvri_record *record)
{
	bool same = vm->disk_count == record->disk_count;

	for (uint32_t i = 0; same && i < vm->disk_count; i++)
		same = hvri_uuid_equal(&vm->disks[i].spec.id,
				       &record->disks[i].id) &&
		       vm->disks[i].spec.size == record->disks[i].size;
	return same;
}

static int32_t bring_replica(struct hvri_vm *vm, struct hvrepl_error *error)
{
	struct hvrepl_node *node = vm->node;
	const struct hvri_record *record = &vm->relationship.record;
	struct hvrepl_disk_spec specs[HVRI_DISKS_MAX];
	struct hvrepl_disk disks[HVRI_DISKS_MAX];
	struct hvrepl_storage storage;
	int32_t rc;

	if (vm->disk_count > 0)
		return same_shape(vm, record) ?
			       HVREPL_OK :
			       hvri_fail(error, HVREPL_E_WRONG_DISK,
					 "VM %s was asked for with other disks "
					 "before, which are still there: remove "
					 "it, then enable it again",
					 record->vm_name);
	if (!node->has_vmm)
		return hvri_fail(error, HVREPL_E_UNSUPPORTED,
				 "this site takes no replicas");
	memset(disks, 0, sizeof(disks));
	memset(&storage, 0, sizeof(storage));
	for (uint32_t i = 0; i < record->disk_count; i++) {
		specs[i].id = record->disks[i].id;
		specs[i].size = record->disks[i].size;
		snprintf(specs[i].name, sizeof(specs[i].name), "%s",
			 record->disks[i].name);
	}
	snprintf(vm->name, sizeof(vm->name), "%s", record->vm_name);
	rc = hvri_vm_bring(vm, specs, HVREPL_VM_OPEN_CREATE, disks, &storage);
	if (rc < 0)
		return hvri_fail(error, rc,
				 "the site could not bring disks and storage "
				 "for VM %s: %s",
				 record->vm_name, hvrepl_strerror(rc));
	return hvri_vm_take_disks(vm, specs, disks, record->disk_count,
				  &storage, error);
}

int32_t hvri_standby_create(struct hvri_vm *vm,
			    const struct hvri_action *action)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvri_task *task;
	int32_t rc;

	HVRI_TRY(hvri_task_new(vm, action, create_work, store_finish, &task));
	rc = bring_replica(vm, &error);
	if (rc < 0 || vm->store != NULL) {
		hvri_task_end(task, rc);
		if (rc < 0)
			hvri_task_error(task, rc, &error);
	} else {
		hvri_task_submit(task);
	}
	return HVREPL_OK;
}

/* ---- ADOPT: our own live disk becomes the base of a store. ---- */

static bool adopt_work(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;
	struct hvri_vm *vm = task->vm;
	const struct hvri_point *point = &task->action.point;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvri_store_point_commit commit = {
		.number = point->number,
		.epoch = point->epoch,
		.cut = point->cut,
		.utc_ns = point->utc_ns,
		.pins = task->action.pin ? HVREPL_PIN_TAIL : 0,
	};
	hvrepl_store *store = vm->store;
	struct hvrepl_point held = HVREPL_POINT_INIT;
	int32_t rc = HVREPL_OK;

	if (hvri_standby_reopen(task))
		return false;
	if (store == NULL) {
		/* Its bases are what the guest made of them since. */
		rc = hvri_vm_open_store(vm, HVRI_STORE_SAME_BASES,
					&task->store, &error);
		if (rc == HVREPL_E_NOT_FOUND)
			rc = hvri_vm_open_store(vm, HVREPL_STORE_CREATE,
						&task->store, &error);
		store = task->store;
	}
	if (rc == HVREPL_OK &&
	    hvri_store_point_find(store, &point->epoch, point->number,
				  &point->cut, &held) == HVREPL_E_NOT_FOUND)
		rc = hvri_store_adopt(store, &commit, NULL, &error);
	/* Before the record says that the disk is a replica. */
	if (rc == HVREPL_OK && task->action.doubted)
		rc = hvri_store_doubt_newest(store);
	if (rc < 0)
		hvri_task_error(task, rc, &error);
	return false;
}

static void adopt_finish(struct hvri_task *task)
{
	struct hvri_vm *vm = task->vm;

	if (hvri_standby_reopened(task))
		return;
	store_finish(task);
	if (task->done.code == HVREPL_OK) {
		struct hvrepl_store_info info = HVREPL_STORE_INFO_INIT;

		/* Who asked for it knows of its doubt. */
		hvri_store_info(vm->store, &info);
		vm->told_doubt = info.doubted_point;
		/* From here on the base changes without the guest. */
		hvri_vm_doors(vm, false, false);
		hvri_vm_list_points(vm);
	}
}

int32_t hvri_standby_adopt(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct hvri_task *task;

	HVRI_TRY(hvri_task_new(vm, action, adopt_work, adopt_finish, &task));
	hvri_standby_detach_failed(task);
	if (vm->reopening && !task->reopen)
		hvri_task_end(task, HVREPL_E_STATE);
	else
		hvri_task_submit(task);
	return HVREPL_OK;
}

/* The first point after ADOPT: what our own end had changed has been sent, and
 * from here on the base is no longer what the tracker's file speaks of. */
static bool forget_tail_work(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;
	struct hvri_vm *vm = task->vm;

	task->done.code = hvri_vm_detach_trackers(vm, 0);
	if (task->done.code == HVREPL_OK)
		task->done.code = hvri_vm_remove_tracker_files(vm);
	for (uint32_t i = 0; i < vm->disk_count; i++)
		hvri_live_set(&vm->disks[i].live, NULL);
	return false;
}

void hvri_standby_forget_tail(struct hvri_vm *vm)
{
	struct hvri_action none = { 0 };
	struct hvri_task *task;

	/* Not now is no harm: the file is dropped with the next overlay. */
	if (vm->closing || vm->view != NULL || vm->disks[0].tracker == NULL ||
	    hvri_task_new(vm, &none, forget_tail_work, NULL, &task) < 0)
		return;
	hvri_task_submit(task);
}

/* ---- CHECK_REVERSE, UNPIN, REMOVE ---- */

int32_t hvri_standby_check(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct hvrepl_store_info info = HVREPL_STORE_INFO_INIT;
	struct hvri_task *task;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc = HVREPL_OK;

	HVRI_TRY(hvri_task_new(vm, action, NULL, NULL, &task));
	if (vm->store == NULL) {
		rc = hvri_fail(&error, HVREPL_E_STATE,
			       "there is no replica of VM %s here", vm->name);
	} else {
		hvri_store_info(vm->store, &info);
		if (info.poisoned != 0)
			rc = hvri_fail(&error, HVREPL_E_POISONED,
				       "the replica's storage failed a flush; "
				       "restart the site");
		else if (info.accepting == 0)
			rc = hvri_fail(&error, HVREPL_E_NO_SPACE,
				       "the replica's storage is full");
		else if ((hvri_node_verbs(vm->node, vm->peer_name) &
			  HVREPL_VERB_REVERSE) == 0)
			rc = hvri_fail(&error, HVREPL_E_DENIED,
				       "site %s does not let %.100s be "
				       "reversed to; add the verb reverse",
				       vm->node->site, vm->peer_name);
	}
	hvri_task_end(task, rc);
	if (rc < 0)
		hvri_task_error(task, rc, &error);
	return HVREPL_OK;
}

static bool unpin_work(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;
	struct hvri_vm *vm = task->vm;
	const struct hvri_point *point = &task->action.point;
	struct hvrepl_point found = HVREPL_POINT_INIT;

	if (hvri_standby_reopen(task))
		return false;
	if (hvri_store_point_find(vm->store, &point->epoch, point->number,
				  &point->cut, &found) == HVREPL_OK)
		task->done.code = hvri_store_unpin(vm->store, found.point,
						   HVREPL_PIN_TAIL);
	return false;
}

static void unpin_finish(struct hvri_task *task)
{
	if (hvri_standby_reopened(task))
		return;
	hvri_vm_list_points(task->vm);
	hvri_standby_maintain(task->vm);
}

int32_t hvri_standby_unpin(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct hvri_task *task;

	HVRI_TRY(hvri_task_new(vm, action, unpin_work, unpin_finish, &task));
	hvri_standby_detach_failed(task);
	if (vm->store == NULL && !task->reopen)
		hvri_task_end(task, vm->store_lost || vm->reopening ?
					    HVREPL_E_STATE : HVREPL_OK);
	else
		hvri_task_submit(task);
	return HVREPL_OK;
}

static bool remove_work(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;
	struct hvri_vm *vm = task->vm;
	struct hvrepl_storage storage = hvri_lend_storage(&vm->storage);
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc = HVREPL_OK;

	/* The view of a standing failover is the live disk: its store stays. */
	if (task->store == NULL && task->action.drop)
		return false;
	if (task->store != NULL) {
		struct hvrepl_store_info info = HVREPL_STORE_INFO_INIT;
		uint32_t more = 0;

		/* The disks are handed back as of the newest point. */
		hvri_store_info(task->store, &info);
		if (info.state == HVREPL_STORE_REPLICA &&
		    info.base_point != info.newest_point) {
			if (info.merge_target == 0)
				rc = hvri_store_merge_begin(task->store, 0,
							    &error);
			if (rc == HVREPL_OK)
				rc = hvri_store_merge_advance(task->store,
							      &more, &error);
			if (rc == HVREPL_OK)
				return true;
			hvri_task_error(task, rc, &error);
			return false;
		}
		rc = hvri_store_destroy(task->store);
		if (rc == HVREPL_OK)
			task->store = NULL;
	}
	if (rc == HVREPL_OK)
		rc = hvri_store_remove(&vm->node->env.app, &storage, &error);
	if (rc == HVREPL_E_NOT_FOUND)
		rc = HVREPL_OK;
	if (rc < 0)
		hvri_task_error(task, rc, &error);
	return false;
}

static void remove_finish(struct hvri_task *task)
{
	struct hvri_vm *vm = task->vm;

	if (task->store != NULL)
		vm->store = task->store; /* Still in use: tried again. */
	vm->point_count = task->done.code < 0 ? vm->point_count : 0;
	if (task->done.code == HVREPL_OK && !vm->own && vm->node->has_vmm &&
	    vm->node->vmm.removed != NULL)
		vm->node->vmm.removed(vm->node->user,
				      &vm->relationship.record.vm);
}

int32_t hvri_standby_remove(struct hvri_vm *vm,
			    const struct hvri_action *action)
{
	struct hvri_task *task;

	HVRI_TRY(hvri_task_new(vm, action, remove_work, remove_finish, &task));
	hvri_receive_stop(vm, NULL, false);
	/* In another task's hands: what it holds is merged before it goes. */
	if (vm->reopening) {
		hvri_task_end(task, HVREPL_E_STATE);
		return HVREPL_OK;
	}
	task->action.drop = vm->view != NULL || !vm->has_storage;
	if (vm->view == NULL) {
		task->store = vm->store;
		vm->store = NULL;
	}
	hvri_task_submit(task);
	return HVREPL_OK;
}
