/* SPDX-License-Identifier: Apache-2.0 */
/* The owner's side: naming cuts, fencing and arming guests, the tracker. */
#include "driver/vm.h"
#include "driver/window.h"
#include "tracker/tracker.h"

#include "base/plant.h"

#include <stdio.h>
#include <string.h>

#define FENCE_POLL_NS 1000000ull
#define HURRY_NS 20000000ull
#define SAVE_NS (10ull * 1000000000ull)
/* Extents gathered for EXPORT at a time. */
#define EXPORT_EXTENTS HVRI_RANGES_MAX

/* The pump may be hanging in a tracker's file, or wait for a thread while others
 * hang: this one frees the writes that have waited long enough (T8). */
static void hurry(struct hvri_vm *vm, uint64_t up_to)
{
	uint64_t now = hvri_now(&vm->node->env);
	uint64_t due = hvri_group_hurry(vm->group, up_to);

	if (due != HVRI_NEVER)
		due = HVRI_MAX(due, now + HURRY_NS);
	hvri_alarm_set(&vm->node->timers, &vm->pump, due);
}

void hvri_owner_pump(struct hvri_vm *vm)
{
	uint64_t due;

	if (vm->group == NULL || vm->closing)
		return;
	if (vm->pumping) {
		hurry(vm, hvri_now(&vm->node->env));
		return;
	}
	due = hvrepl_group_deadline(vm->group);
	if (due > hvri_now(&vm->node->env)) {
		hvri_alarm_set(&vm->node->timers, &vm->pump, due);
		return;
	}
	vm->pumping = true;
	hvri_lane_submit(&vm->cut_lane, &vm->pump_job);
	hurry(vm, 0);
}

static uint64_t limit_of(const struct hvri_frontier *frontier, uint32_t disk,
			 uint64_t size)
{
	if (disk < frontier->disk)
		return UINT64_MAX;
	if (disk > frontier->disk)
		return 0;
	return frontier->offset >= size ? UINT64_MAX : frontier->offset;
}

/* Where the cut ends: a window goes on over holes. */
static struct hvri_frontier reach(struct hvri_vm *vm,
				  const struct hvri_action *action)
{
	const struct hvri_disk *disks[HVRI_DISKS_MAX];
	uint64_t block = 4096;

	if (action->frontier.disk >= vm->disk_count)
		return action->frontier;
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		disks[i] = &vm->disks[i].live.disk;
		block = HVRI_MAX(block,
				 vm->relationship.record.disks[i].block_size);
	}
	return hvri_window_over_holes(disks, vm->disk_count, block,
				      action->from_frontier, action->frontier);
}

static int32_t name_cut(struct hvri_vm *vm, const struct hvri_action *action,
			struct hvri_task *task)
{
	struct hvri_frontier frontier;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_cut_info info = { .struct_size = sizeof(info) };
	hvrepl_cut *cut;
	int32_t rc;

	/* An update that is still being performed: what is under way was settled,
	 * and nobody would settle this one. */
	if (vm->closing)
		return HVREPL_E_CLOSED;
	if (vm->group == NULL || vm->ship.cut != NULL)
		return HVREPL_E_BUSY; /* T5 */
	frontier = reach(vm, action);
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct hvrepl_cut_label label = HVREPL_CUT_LABEL_INIT;

		label.epoch = action->point.epoch;
		label.from_point = action->from;
		label.to_point = action->point.number;
		label.limit = limit_of(&frontier, i,
				       vm->disks[i].spec.size);
		HVRI_TRY(hvrepl_tracker_set_label(vm->disks[i].tracker,
						  &label));
	}
	rc = hvrepl_group_cut(vm->group, 0, &error, &cut);
	if (rc < 0) {
		snprintf(task->sentence, sizeof(task->sentence), "%s",
			 error.sentence);
		return rc;
	}
	(void)hvrepl_cut_get_info(cut, &info);
	task->done.cut = info.id;
	task->done.utc_ns = info.utc_ns;
	task->done.bytes = info.changed_bytes;
	task->done.frontier = frontier;
	vm->ship.cut = cut;
	vm->ship.id = info.id;
	hvri_filter_apply(vm, cut);
	hvri_ship_read(vm);
	return HVREPL_OK;
}

int32_t hvri_owner_cut(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct hvri_task *task;

	HVRI_TRY(hvri_task_new(vm, action, NULL, NULL, &task));
	hvri_task_end(task, name_cut(vm, action, task));
	return HVREPL_OK;
}

/* ---- FENCE ---- */

static bool fence_work(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;
	struct hvri_vm *vm = task->vm;
	int32_t rc = HVREPL_OK;

	for (uint32_t i = 0; i < vm->disk_count && rc == HVREPL_OK; i++)
		if (vm->disks[i].tracker != NULL)
			rc = hvrepl_tracker_fence(vm->disks[i].tracker);
	for (uint32_t i = 0; i < vm->disk_count && rc == HVREPL_OK; i++)
		if (vm->disks[i].tracker != NULL)
			rc = hvri_tracker_flush(vm->disks[i].tracker);
	task->done.code = rc;
	return false;
}

static void fence_finish(struct hvri_task *task)
{
	struct hvri_vm *vm = task->vm;

	/* Writes are leaving; they may need the pump. */
	if (hvri_task_waits(task, FENCE_POLL_NS)) {
		hvri_owner_pump(vm);
		return;
	}
	if (task->done.code == HVREPL_OK)
		hvri_vm_doors(vm, true, false);
}

int32_t hvri_owner_fence(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct hvri_task *task;

	HVRI_TRY(hvri_task_new(vm, action, fence_work, fence_finish, &task));
	vm->armed = false;
	vm->arming = NULL;
	for (uint32_t i = 0; i < vm->disk_count; i++)
		if (vm->disks[i].tracker != NULL)
			(void)!hvrepl_tracker_fence(vm->disks[i].tracker);
	hvri_task_submit(task);
	return HVREPL_OK;
}

/* ---- ARM ---- */

static bool arm_work(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;
	struct hvri_vm *vm = task->vm;
	struct hvrepl_tracker_stamp stamp = HVREPL_TRACKER_STAMP_INIT;
	int32_t rc = HVREPL_OK;

	stamp.epoch = task->action.epoch;
	stamp.generation = task->action.generation;
	stamp.record_id = vm->relationship.record.id;
	for (uint32_t i = 0; i < vm->disk_count && rc == HVREPL_OK; i++) {
		if (vm->disks[i].tracker == NULL)
			rc = HVREPL_E_STATE;
		else
			rc = hvrepl_tracker_save(vm->disks[i].tracker, &stamp);
	}
	task->done.code = rc;
	return false;
}

static void arm_finish(struct hvri_task *task)
{
	struct hvri_vm *vm = task->vm;

	/* Decided against meanwhile: what was flushed since stays all there is. */
	if (vm->arming != task ||
	    (vm->closing && !HVRI_PLANT(opened_behind_its_end)))
		return;
	vm->arming = NULL;
	if (task->done.code < 0)
		return;
	for (uint32_t i = 0; i < vm->disk_count; i++)
		(void)!hvrepl_tracker_unfence(vm->disks[i].tracker);
	vm->armed = true;
	hvri_vm_doors(vm, true, true);
}

int32_t hvri_owner_arm(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct hvri_task *task;

	HVRI_TRY(hvri_task_new(vm, action, arm_work, arm_finish, &task));
	vm->arming = task;
	hvri_task_submit(task);
	return HVREPL_OK;
}

/* ---- Saving the disks' tokens. ---- */

static bool save_work(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;
	struct hvri_vm *vm = task->vm;

	for (uint32_t i = 0; i < vm->disk_count; i++)
		if (vm->disks[i].tracker != NULL &&
		    hvrepl_tracker_save(vm->disks[i].tracker, NULL) < 0)
			task->done.code = HVREPL_E_STORAGE_IO;
	return false;
}

void hvri_owner_save(struct hvri_vm *vm)
{
	struct hvri_action none = { 0 };
	struct hvri_task *task;

	if (vm->closing)
		return;
	hvri_alarm_set(&vm->node->timers, &vm->save,
		       hvri_now(&vm->node->env) + SAVE_NS);
	/* Regions cool by the group's own deadlines, which move unseen. */
	hvri_owner_pump(vm);
	/* One that cannot be made is made the next time: until then an unclean
	 * end costs a longer compare. */
	if (vm->armed && hvri_lane_idle(&vm->lane) &&
	    hvri_task_new(vm, &none, save_work, NULL, &task) == HVREPL_OK)
		hvri_task_submit(task);
}

/* ---- MARK, MARK_ALL ---- */

static bool mark_all_work(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;
	struct hvri_vm *vm = task->vm;
	int32_t rc = HVREPL_OK;

	for (uint32_t i = 0; i < vm->disk_count && rc == HVREPL_OK; i++) {
		if (vm->disks[i].tracker == NULL)
			rc = HVREPL_E_STATE;
		else
			rc = hvrepl_tracker_mark_all(vm->disks[i].tracker);
	}
	task->done.code = rc;
	return false;
}

int32_t hvri_owner_mark_all(struct hvri_vm *vm,
			    const struct hvri_action *action)
{
	struct hvri_task *task;

	HVRI_TRY(hvri_task_new(vm, action, mark_all_work, NULL, &task));
	hvri_task_submit(task);
	return HVREPL_OK;
}

void hvri_owner_mark(struct hvri_vm *vm, const struct hvri_action *action)
{
	const struct hvri_ranges *ranges = &action->message->u.ranges;
	struct hvri_vm_disk *disk;

	if (ranges->disk >= vm->disk_count)
		return;
	disk = &vm->disks[ranges->disk];
	for (uint32_t i = 0; i < ranges->count && disk->tracker != NULL; i++) {
		struct hvrepl_extent extent = hvri_ranges_get(ranges, i);

		/* On failure they are marked in memory; a crash before the
		 * join is done starts the join again. */
		(void)!hvrepl_tracker_mark(disk->tracker, &extent, 1);
	}
}

/* ---- EXPORT: what nobody acknowledged, as RANGES ---- */

static int32_t export_piece(struct hvri_task *task)
{
	struct hvri_vm *vm = task->vm;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc;

	if (vm->group == NULL) {
		task->length = 0;
		return HVREPL_OK;
	}
	if (task->cut == NULL) {
		for (uint32_t i = 0; i < vm->disk_count; i++) {
			struct hvrepl_cut_label label = HVREPL_CUT_LABEL_INIT;

			HVRI_TRY(hvrepl_tracker_set_label(
				vm->disks[i].tracker, &label));
		}
		rc = hvrepl_group_cut(vm->group, 0, &error, &task->cut);
		if (rc < 0)
			return rc;
	}
	task->length = 0;
	while (task->disk < vm->disk_count && task->length == 0) {
		uint32_t count = EXPORT_EXTENTS;
		uint64_t end = task->at;

		rc = hvrepl_cut_next_extents(task->cut, task->disk, task->at,
					     (struct hvrepl_extent *)(void *)
						     task->bytes,
					     &count, &end);
		if (rc < 0)
			return rc;
		task->length = count;
		task->sequence = task->disk;
		task->at = end;
		if (end >= vm->disks[task->disk].spec.size) {
			task->disk++;
			task->at = 0;
		}
	}
	return HVREPL_OK;
}

static bool export_work(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;

	task->done.code = export_piece(task);
	/* The cut only listed: its bits go back. */
	if (task->cut != NULL &&
	    ((task->done.code < 0 && task->done.code != HVREPL_E_BUSY) ||
	     (task->done.code == HVREPL_OK && task->length == 0)))
		hvri_task_drop_cut(task);
	return false;
}

static void export_again(struct hvri_task *task, uint64_t pause_ns)
{
	task->again = true;
	hvri_alarm_set(&task->vm->node->timers, &task->retry,
		       hvri_now(&task->vm->node->env) + pause_ns);
}

static void send_ranges(struct hvri_task *task)
{
	struct hvri_vm *vm = task->vm;
	const struct hvrepl_extent *extents =
		(const struct hvrepl_extent *)(void *)task->bytes;
	uint8_t *encoded = task->bytes + EXPORT_EXTENTS * sizeof(*extents);
	struct hvri_message message = { .type = HVRI_MESSAGE_RANGES };
	size_t length;

	for (uint32_t i = 0; i < task->length; i++) {
		hvri_ranges_put(encoded, i, extents[i]);
		task->done.bytes += extents[i].length;
	}
	message.u.ranges.sequence = task->messages++;
	message.u.ranges.disk = task->sequence;
	message.u.ranges.flags = task->done.hot ? HVRI_RANGES_HOT : 0;
	message.u.ranges.count = (uint32_t)task->length;
	message.u.ranges.extents = encoded;
	task->done.count += task->length;
	hvri_ranges_digest(task->done.digest, &message.u.ranges);
	hvri_relationship_address(&vm->relationship, &message);
	if (hvri_message_encode(&message, vm->node->scratch,
				HVRI_MESSAGE_ENCODED_MAX, &length) < 0 ||
	    hvri_link_send(&vm->session->link, HVRI_FRAME_MESSAGE,
			   &vm->relationship.record.vm, vm->node->scratch,
			   length) < 0)
		hvri_link_close(&vm->session->link, HVREPL_E_NOMEM, NULL);
}

static void export_finish(struct hvri_task *task)
{
	struct hvri_vm *vm = task->vm;

	if (task->done.code == HVREPL_E_BUSY) {
		export_again(task, FENCE_POLL_NS);
		return;
	}
	if (task->done.code < 0 || task->length == 0)
		return;
	if (vm->session != NULL) {
		send_ranges(task);
		/* The link's control lane is bounded: let it drain. */
		export_again(task, vm->session != NULL &&
						   vm->session->link.control_bytes >
							   HVRI_LINK_CONTROL_MAX / 4 ?
					   10 * FENCE_POLL_NS :
					   0);
		return;
	}
	/* The session is gone: the join starts over in the next one. */
	task->done.code = HVREPL_E_DISCONNECTED;
	hvri_task_drop_cut(task);
}

int32_t hvri_owner_export(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct hvri_task *task;
	size_t room = EXPORT_EXTENTS * (sizeof(struct hvrepl_extent) + 16u);
	uint8_t *bytes = hvri_alloc(&vm->node->env, room);
	int32_t rc;

	if (bytes == NULL)
		return HVREPL_E_NOMEM;
	rc = hvri_task_new(vm, action, export_work, export_finish, &task);
	if (rc < 0) {
		hvri_free(&vm->node->env, bytes, room);
		return rc;
	}
	task->bytes = bytes;
	task->room = room;
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct hvrepl_tracker_info info = {
			.struct_size = sizeof(info)
		};

		if (vm->disks[i].tracker != NULL &&
		    hvrepl_tracker_get_info(vm->disks[i].tracker, &info) ==
			    HVREPL_OK &&
		    info.compare_bytes > 0)
			task->done.hot = true;
	}
	hvri_task_submit(task);
	return HVREPL_OK;
}
