/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a VM as its record says, and closing it cleanly. */
#include "driver/vm.h"
#include "driver/quota.h"

#include "base/plant.h"

#include <stdio.h>
#include <string.h>

#define OPEN_RETRY_NS (10ull * 1000000000ull)

void hvri_vm_tracker_object(uint32_t disk, char id_out[32])
{
	snprintf(id_out, 32, "disk%u.hvt", disk);
}

/* A guest's write waits: somebody must look at the group's deadline. */
static void guest_waits(void *user)
{
	struct hvri_vm *vm = user;

	if (!__atomic_exchange_n(&vm->pump_queued, true, __ATOMIC_SEQ_CST))
		hvri_queue_put(&vm->node->home, &vm->pump_item);
}

static bool pump_work(struct hvri_lane_job *job)
{
	struct hvri_vm *vm = (struct hvri_vm *)((char *)job -
						offsetof(struct hvri_vm,
							 pump_job));

	(void)!hvrepl_group_process(vm->group);
	return false;
}

static void pump_done(struct hvri_lane_job *job)
{
	struct hvri_vm *vm = (struct hvri_vm *)((char *)job -
						offsetof(struct hvri_vm,
							 pump_job));

	vm->pumping = false;
	hvri_owner_pump(vm);
	hvri_vm_settled(vm);
}

static int32_t make_group(struct hvri_vm *vm, struct hvrepl_error *error)
{
	struct hvrepl_group_options options = HVREPL_GROUP_OPTIONS_INIT;
	struct hvrepl_storage spill = hvri_lend_storage(&vm->storage);

	options.level = vm->node->level;
	options.spool_memory = vm->node->spool_memory;
	options.spill = &spill;
	vm->pump_job.work = pump_work;
	vm->pump_job.done = pump_done;
	return hvrepl_group_create(&vm->node->env.app, &options, error,
				   &vm->group);
}

int32_t hvri_vm_take_disks(struct hvri_vm *vm,
			   const struct hvrepl_disk_spec *specs,
			   struct hvrepl_disk *disks, uint32_t disk_count,
			   const struct hvrepl_storage *storage,
			   struct hvrepl_error *error)
{
	const struct hvri_env *env = &vm->node->env;
	uint32_t taken = 0;
	int32_t rc;

	vm->disks = hvri_alloc_array(env, disk_count, sizeof(*vm->disks));
	rc = vm->disks == NULL ? HVREPL_E_NOMEM : HVREPL_OK;
	for (; taken < disk_count && rc == HVREPL_OK; taken++) {
		struct hvri_vm_disk *disk = &vm->disks[taken];

		disk->vm = vm;
		disk->index = taken;
		disk->spec = specs[taken];
		rc = hvri_disk_take(&disk->base, &disks[taken], error);
		if (rc == HVREPL_OK && disk->base.info.size != disk->spec.size)
			rc = hvri_fail(error, HVREPL_E_WRONG_DISK,
				       "disk %s of VM %s has %llu bytes, not "
				       "%llu",
				       disk->spec.name, vm->name,
				       (unsigned long long)disk->base.info.size,
				       (unsigned long long)disk->spec.size);
		if (rc == HVREPL_OK &&
		    (disk->base.info.flags & HVREPL_DISK_READ_ONLY) != 0)
			rc = hvri_fail(error, HVREPL_E_READ_ONLY,
				       "disk %s of VM %s is read-only",
				       disk->spec.name, vm->name);
	}
	if (rc == HVREPL_OK)
		rc = hvri_storage_take(&vm->storage, storage, error);
	else if (storage->release != NULL)
		storage->release(storage->user);
	if (rc < 0) {
		for (uint32_t i = 0; i < disk_count; i++) {
			if (i < taken)
				hvri_disk_drop(&vm->disks[i].base);
			else if (disks[i].release != NULL)
				disks[i].release(disks[i].user);
		}
		hvri_free(env, vm->disks, disk_count * sizeof(*vm->disks));
		vm->disks = NULL;
		return hvri_fail_plain(error, rc);
	}
	vm->has_storage = true;
	vm->disk_count = disk_count;
	for (uint32_t i = 0; i < disk_count; i++) {
		struct hvri_vm_disk *disk = &vm->disks[i];

		hvri_live_init(&disk->live);
		disk->live.disk.info = disk->base.info;
		hvri_guest_init(&disk->guest, env, disk->base.info.size,
				disk->base.info.block_size);
		disk->guest.waiting = guest_waits;
		disk->guest.user = vm;
	}
	return make_group(vm, error);
}

static int32_t token_check(void *user, const uint8_t *saved,
			   uint32_t saved_length, uint64_t saved_utc_ns,
			   const uint8_t *now, uint32_t now_length)
{
	const struct hvrepl_node *node = ((struct hvri_vm_disk *)user)->vm->node;

	return node->token_check(node->user, saved, saved_length, saved_utc_ns,
				 now, now_length);
}

int32_t hvri_vm_attach_trackers(struct hvri_vm *vm, uint32_t flags,
				struct hvrepl_error *error)
{
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct hvrepl_tracker_options options =
			HVREPL_TRACKER_OPTIONS_INIT;
		struct hvri_vm_disk *disk = &vm->disks[i];
		struct hvrepl_disk lent = hvri_live_handle(&disk->live);
		struct hvrepl_storage storage =
			hvri_lend_storage(&vm->storage);
		char object[32];

		hvri_vm_tracker_object(i, object);
		if (HVRI_PLANT(label_as_path))
			snprintf(object, sizeof(object), "%.31s",
				 disk->spec.name);
		options.flags = flags;
		options.vm = vm->relationship.record.vm;
		options.disk = disk->spec.id;
		options.owner = vm->node->id;
		options.object_id = object;
		if (hvri_disk_untrusted(disk))
			options.flags |= HVREPL_TRACKER_UNTRUSTED;
		options.trust = hvri_disk_trust;
		if (vm->node->token_check != NULL)
			options.token_check = token_check;
		options.user = disk;
		HVRI_TRY(hvrepl_tracker_attach(vm->group, &lent, &storage,
					       &options, error,
					       &disk->tracker));
		/* Until ARM nothing is written. */
		(void)!hvrepl_tracker_fence(disk->tracker);
	}
	return HVREPL_OK;
}

int32_t hvri_vm_detach_trackers(struct hvri_vm *vm, uint32_t flags)
{
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		HVRI_TRY(hvrepl_tracker_detach(vm->disks[i].tracker, flags));
		vm->disks[i].tracker = NULL;
	}
	return HVREPL_OK;
}

int32_t hvri_vm_remove_tracker_files(struct hvri_vm *vm)
{
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		char object[32];
		int32_t rc;

		hvri_vm_tracker_object(i, object);
		rc = hvri_storage_remove(&vm->storage, object);
		if (rc < 0 && rc != HVREPL_E_NOT_FOUND)
			return rc;
	}
	return hvri_storage_sync(&vm->storage);
}

static int32_t base_token_check(void *user, const uint8_t *saved,
				uint32_t saved_length, uint64_t saved_utc_ns,
				const uint8_t *now, uint32_t now_length)
{
	const struct hvrepl_node *node = ((struct hvri_vm *)user)->node;

	return node->token_check(node->user, saved, saved_length, saved_utc_ns,
				 now, now_length);
}

int32_t hvri_vm_open_store(struct hvri_vm *vm, uint32_t flags,
			   hvrepl_store **store_out, struct hvrepl_error *error)
{
	struct hvrepl_store_options options = HVREPL_STORE_OPTIONS_INIT;
	struct hvrepl_storage storage = hvri_lend_storage(&vm->storage);
	struct hvrepl_store_disk disks[HVRI_DISKS_MAX];

	for (uint32_t i = 0; i < vm->disk_count; i++) {
		disks[i].disk = vm->disks[i].spec.id;
		disks[i].base = hvri_lend_disk(&vm->disks[i].base);
	}
	options.flags = flags;
	options.vm = vm->relationship.record.vm;
	if (vm->node->token_check != NULL)
		options.token_check = base_token_check;
	options.token_user = vm;
	options.points_max = vm->relationship.record.policy.points_max;
	HVRI_TRY(hvri_store_open(&vm->node->env.app, &storage, disks,
				 vm->disk_count, &options, store_out, error));
	hvri_quota_apply(vm, *store_out);
	return HVREPL_OK;
}

/* The guest's own disk: a point that an adoption left behind, of which the record
 * knows nothing, is of what was there before. That of the adoption under way is
 * known by its cut. */
static bool is_shown(const struct hvri_vm *vm, const struct hvrepl_point *point)
{
	const struct hvri_record *record = &vm->relationship.record;

	return record->form != HVRI_FORM_LIVE ||
	       (vm->relationship.pending.adopt != 0 &&
		(hvri_uuid_equal(&point->cut, &record->tail.cut) ||
		 hvri_uuid_equal(&point->cut, &record->position.cut)));
}

void hvri_vm_list_points(struct hvri_vm *vm)
{
	uint32_t count = 0;

	/* In a task's hands: its points are what they were. */
	if (vm->reopening || !vm->opened)
		return;
	for (uint32_t i = 0;
	     vm->store != NULL && count < HVRI_ARRAY_LEN(vm->points); i++) {
		struct hvrepl_point *point = &vm->points[count];

		*point = (struct hvrepl_point)HVREPL_POINT_INIT;
		if (hvri_store_point_at(vm->store, i, point) < 0)
			break;
		count += is_shown(vm, point);
	}
	vm->point_count = count;
}

/* ---- Opening. ---- */

/* Attach what is there; a missing or damaged file costs a compare, never a
 * refusal. */
static int32_t attach_existing(struct hvri_vm *vm, bool fresh,
			       struct hvrepl_error *error)
{
	int32_t rc = hvri_vm_attach_trackers(vm, 0, error);

	if (rc == HVREPL_E_NOT_FOUND || rc == HVREPL_E_CORRUPT ||
	    rc == HVREPL_E_TRUNCATED) {
		HVRI_TRY(hvri_vm_detach_trackers(vm, 0));
		if (fresh && rc == HVREPL_E_NOT_FOUND) {
			rc = hvri_vm_attach_trackers(vm, HVREPL_TRACKER_CREATE,
						     error);
			if (rc != HVREPL_E_EXISTS)
				return rc;
			HVRI_TRY(hvri_vm_detach_trackers(vm, 0));
		}
		rc = hvri_vm_attach_trackers(vm, HVREPL_TRACKER_REBUILD, error);
	}
	return rc;
}

static const char *unclean_reason(uint32_t reason)
{
	switch (reason) {
	case HVREPL_REASON_CRASH:
		return "it was not closed cleanly";
	case HVREPL_REASON_TOKEN:
		return "it was changed while nobody tracked it";
	case HVREPL_REASON_UNTRUSTED:
		return "a mark was late before it ended";
	case HVREPL_REASON_REBUILT:
		return "its tracker file was missing or damaged";
	default:
		return "its saved map is damaged";
	}
}

/* Of a disk that was handed over the other site has all: nothing of it is marked, and
 * nobody writes it. All of it is, where an earlier start found that it was changed and
 * ended before its record said so: the tracker's file has the new token by then (T9).
 * One that was hot as a whole as it died counts, too: it is small, and soon compared. */
static bool was_found_changed(const struct hvri_record *record,
			      const struct hvrepl_tracker_info *info)
{
	return (record->ownership == HVREPL_OWNERSHIP_RELINQUISHED ||
		hvri_is_handed_over(record)) &&
	       info->dirty_bytes >= info->disk_size;
}

static void look_at_trackers(struct hvri_vm *vm)
{
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct hvrepl_tracker_info info = {
			.struct_size = sizeof(info)
		};

		if (vm->disks[i].tracker == NULL ||
		    hvrepl_tracker_get_info(vm->disks[i].tracker, &info) < 0)
			continue;
		if (!hvri_uuid_is_none(&info.record_id) &&
		    info.generation >= vm->start.stamp_generation) {
			vm->start.stamped = true;
			vm->start.stamp_generation = info.generation;
			vm->start.stamp_record = info.record_id;
		}
		if (info.recovery == HVREPL_RECOVERY_HOT ||
		    info.recovery == HVREPL_RECOVERY_WHOLE)
			hvri_log(&vm->node->env, HVREPL_LOG_NOTICE,
				 "VM %s, disk %s: %s; %llu of %llu bytes count "
				 "as changed",
				 vm->name, vm->disks[i].spec.name,
				 unclean_reason(info.reason),
				 (unsigned long long)info.compare_bytes,
				 (unsigned long long)info.disk_size);
		if (info.recovery == HVREPL_RECOVERY_HOT)
			vm->start.unclean = true;
		if (info.recovery == HVREPL_RECOVERY_WHOLE ||
		    was_found_changed(&vm->relationship.record, &info))
			vm->start.unclean = vm->start.untrusted = true;
	}
}

static void look_at_store(struct hvri_vm *vm, hvrepl_store *store)
{
	struct hvrepl_point point = HVREPL_POINT_INIT;
	struct hvrepl_store_info info = HVREPL_STORE_INFO_INIT;
	struct hvri_store_partial partial;

	hvri_store_info(store, &info);
	vm->start.doubted = info.newest_doubted != 0;
	vm->told_doubt = info.doubted_point;
	for (uint32_t i = 0;
	     hvri_store_point_at(store, i, &point) == HVREPL_OK; i++) {
		vm->start.has_points = true;
		vm->start.newest.epoch = point.epoch;
		vm->start.newest.number = point.number;
		vm->start.newest.cut = point.cut;
		vm->start.newest.utc_ns = point.utc_ns;
	}
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		uint64_t frontier = 0;

		if (hvri_store_partial(store, i, &partial) == HVREPL_OK)
			frontier = partial.frontier;
		vm->start.frontier.disk = i;
		vm->start.frontier.offset = frontier;
		if (frontier < vm->disks[i].spec.size)
			break;
	}
}

static int32_t open_live(struct hvri_vm *vm, struct hvrepl_error *error)
{
	for (uint32_t i = 0; i < vm->disk_count; i++)
		hvri_live_set(&vm->disks[i].live, &vm->disks[i].base);
	return attach_existing(
		vm, vm->relationship.record.mode == HVREPL_MODE_NONE, error);
}

/* The file of an adopted disk, for EXPORT: it says what differs, until the first
 * point of the epoch that is followed. After that nobody asks for it, and what is
 * left of it is in nobody's way. Before, nothing else says it: one that is damaged or
 * gone (a record of before the disk was forced) costs a compare, one that cannot be read
 * just now is tried again. */
static int32_t attach_tail(struct hvri_vm *vm, struct hvrepl_error *error)
{
	const struct hvri_point *newest = &vm->start.newest;
	const struct hvri_point *tail = &vm->relationship.record.tail;
	bool wanted = !vm->start.has_points ||
		      (newest->number == tail->number &&
		       hvri_uuid_equal(&newest->epoch, &tail->epoch));
	int32_t rc = hvri_vm_attach_trackers(vm, 0, error);

	if (wanted && (rc == HVREPL_E_CORRUPT || rc == HVREPL_E_TRUNCATED ||
		       (rc == HVREPL_E_NOT_FOUND &&
			!HVRI_PLANT(tail_without_a_file)))) {
		HVRI_TRY(hvri_vm_detach_trackers(vm, 0));
		rc = hvri_vm_attach_trackers(vm, HVREPL_TRACKER_REBUILD, error);
	}
	if (rc >= 0)
		return HVREPL_OK;
	HVRI_TRY(hvri_vm_detach_trackers(vm, 0));
	return rc == HVREPL_E_NOT_FOUND || !wanted ? HVREPL_OK : rc;
}

static int32_t open_form(struct hvri_task *task, struct hvrepl_error *error)
{
	struct hvri_vm *vm = task->vm;
	const struct hvri_record *record = &vm->relationship.record;
	struct hvrepl_store_info info = HVREPL_STORE_INFO_INIT;
	int32_t rc;

	if (record->form == HVRI_FORM_LIVE || record->form == HVRI_FORM_NONE)
		return open_live(vm, error);
	rc = hvri_vm_open_store(vm, 0, &task->store, error);
	/* Points were held: an empty store would take their place. */
	if (rc == HVREPL_E_NOT_FOUND && record->form == HVRI_FORM_STORE &&
	    record->position.number != 0 && !record->adopted)
		return hvri_fail(error, HVREPL_E_CORRUPT,
				 "the store of this replica is gone: restore "
				 "it, or replicate anew");
	if (rc == HVREPL_E_NOT_FOUND && record->form == HVRI_FORM_STORE)
		return HVREPL_OK; /* Not made yet: the step asks again. */
	if (rc < 0)
		return rc;
	vm->store = task->store;
	look_at_store(vm, vm->store);
	hvri_store_info(vm->store, &info);
	if (record->form == HVRI_FORM_STORE) {
		if (!record->adopted)
			return HVREPL_OK;
		for (uint32_t i = 0; i < vm->disk_count; i++)
			hvri_live_set(&vm->disks[i].live, &vm->disks[i].base);
		return attach_tail(vm, error);
	}
	if (info.state == HVREPL_STORE_BASE_ONLY)
		return open_live(vm, error);
	if (info.state == HVREPL_STORE_REPLICA)
		return HVREPL_OK; /* No overlay yet: the step asks again. */
	HVRI_TRY(hvri_vm_open_view(vm, 0, error));
	return attach_existing(vm, false, error);
}

/* What was opened before something failed: closed again, so that the next
 * attempt starts from nothing. */
static void give_up(struct hvri_task *task)
{
	struct hvri_vm *vm = task->vm;

	(void)!hvri_vm_detach_trackers(vm, 0);
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		hvri_live_set(&vm->disks[i].live, NULL);
		hvri_disk_drop(&vm->disks[i].overlay);
	}
	if (vm->view != NULL && hvri_view_close(vm->view) == HVREPL_OK)
		vm->view = NULL;
	if (task->store != NULL && hvri_store_destroy(task->store) == HVREPL_OK)
		vm->store = task->store = NULL;
}

static bool open_work(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc = open_form(task, &error);

	if (rc == HVREPL_OK) {
		look_at_trackers(task->vm);
		return false;
	}
	hvri_task_error(task, rc, &error);
	give_up(task);
	return false;
}

void hvri_vm_start_fill(struct hvri_vm *vm)
{
	vm->start.incarnation = vm->node->incarnation;
	vm->start.start_wait_ns = vm->node->start_wait_ns;
	vm->start.start_without_peer = vm->node->start_without_peer;
}

static void open_finish(struct hvri_task *task)
{
	struct hvri_vm *vm = task->vm;
	struct hvrepl_event event = HVREPL_EVENT_INIT;
	bool standby = vm->relationship.record.form == HVRI_FORM_STORE;

	if (task->done.code < 0) {
		/* Not opened: nothing is served, nothing is decided. */
		event.type = HVREPL_EVENT_STATE;
		event.severity = HVREPL_SEVERITY_CRITICAL;
		event.code = task->done.code;
		event.vm = vm->relationship.record.vm;
		snprintf(event.sentence, sizeof(event.sentence),
			 "VM %s cannot be opened: %.160s", vm->name,
			 task->sentence);
		hvri_node_event(vm->node, &event);
		vm->open_code = task->done.code;
		snprintf(vm->open_sentence, sizeof(vm->open_sentence), "%s",
			 task->sentence);
		/* Memory, space or a disk may be there later: no dead end. */
		hvri_alarm_set(&vm->node->timers, &vm->perform_retry,
			       hvri_now(&vm->node->env) + OPEN_RETRY_NS);
		return;
	}
	vm->open_code = HVREPL_OK;
	vm->open_sentence[0] = 0;
	vm->opened = true;
	hvri_vm_list_points(vm);
	hvri_vm_doors(vm, !standby, false);
	hvri_vm_start_fill(vm);
	hvri_vm_begin(vm);
	if (vm->relationship.record.mode == HVREPL_MODE_NONE &&
	    (!vm->closing || HVRI_PLANT(opened_behind_its_end))) {
		/* Not protected: an ordinary disk, tracked all the same. */
		for (uint32_t i = 0; i < vm->disk_count; i++)
			(void)!hvrepl_tracker_unfence(vm->disks[i].tracker);
		vm->armed = true;
		hvri_vm_doors(vm, true, true);
	}
	hvri_vm_go_on(vm);
	hvri_standby_maintain(vm);
	hvri_owner_save(vm);
}

int32_t hvri_vm_open(struct hvri_vm *vm)
{
	struct hvri_action none = { 0 };
	struct hvri_task *task;

	/* Where an earlier attempt had no memory for it. */
	if (vm->group == NULL && vm->disk_count > 0)
		HVRI_TRY(make_group(vm, NULL));
	vm->start = (struct hvri_start){ 0 };
	HVRI_TRY(hvri_task_new(vm, &none, open_work, open_finish, &task));
	hvri_task_submit(task);
	return HVREPL_OK;
}

/* ---- Closing. ---- */

static bool shut_work(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;
	struct hvri_vm *vm = task->vm;
	int32_t rc = HVREPL_OK;

	for (uint32_t i = 0; i < vm->disk_count && rc == HVREPL_OK; i++)
		if (vm->disks[i].tracker != NULL)
			rc = hvrepl_tracker_fence(vm->disks[i].tracker);
	if (rc == HVREPL_OK)
		rc = hvri_vm_detach_trackers(vm, HVREPL_DETACH_CLEAN);
	/* What cannot be saved cleanly is found unclean at the next start. */
	if (rc < 0 && rc != HVREPL_E_BUSY)
		rc = hvri_vm_detach_trackers(vm, 0);
	if (rc == HVREPL_OK) {
		for (uint32_t i = 0; i < vm->disk_count; i++) {
			hvri_live_set(&vm->disks[i].live, NULL);
			hvri_disk_drop(&vm->disks[i].overlay);
		}
		if (vm->view != NULL)
			rc = hvri_view_close(vm->view);
		if (rc == HVREPL_OK)
			vm->view = NULL;
	}
	if (rc == HVREPL_OK && task->store != NULL) {
		rc = hvri_store_destroy(task->store);
		if (rc == HVREPL_OK)
			task->store = NULL;
	}
	/* Nobody of the control thread uses the group of a VM that closes: it is
	 * cleared there, in shut_finish(). */
	if (rc == HVREPL_OK && vm->group != NULL)
		rc = hvrepl_group_destroy(vm->group);
	task->done.code = rc;
	return false;
}

static void shut_finish(struct hvri_task *task)
{
	struct hvri_vm *vm = task->vm;

	if (task->done.code == HVREPL_OK)
		vm->group = NULL;
	/* Guests, views or the pump are still leaving. */
	if (hvri_task_waits(task, 2000000))
		return;
	vm->shut = true;
}

int32_t hvri_vm_shut(struct hvri_vm *vm)
{
	struct hvri_action none = { 0 };
	struct hvri_task *task;

	HVRI_TRY(hvri_task_new(vm, &none, shut_work, shut_finish, &task));
	task->of_closing = true;
	/* The control thread shows what it has while this goes on: not that. */
	task->store = vm->store;
	vm->store = NULL;
	hvri_task_submit(task);
	return HVREPL_OK;
}
