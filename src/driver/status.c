/* SPDX-License-Identifier: Apache-2.0 */
/* What a node and its VMs show; bringing VMs and asking operations of them. */
#include "driver/status.h"

#include "base/abi.h"
#include "base/text.h"
#include "driver/vm.h"
#include "driver/quota.h"
#include "replication/loss.h"
#include "tracker/tracker.h"

#include <stdio.h>
#include <string.h>

void hvri_node_status(const struct hvrepl_node *node,
		      struct hvrepl_node_status *status)
{
	*status = (struct hvrepl_node_status){
		.struct_size = sizeof(*status),
		.id = node->id,
		.incarnation = node->incarnation,
	};
	snprintf(status->site, sizeof(status->site), "%s", node->site);
	while (hvri_node_vm_at(node, status->vm_count) != NULL)
		status->vm_count++;
	for (const struct hvri_session *s = node->sessions; s != NULL;
	     s = s->next)
		status->session_count += s->up;
	for (const struct hvri_peer *p = node->peers; p != NULL; p = p->next)
		status->peer_count++;
}

int32_t hvri_peer_status(const struct hvrepl_node *node, uint32_t index,
			 struct hvrepl_peer_status *status)
{
	const struct hvri_peer *peer = node->peers;

	while (peer != NULL && index-- > 0)
		peer = peer->next;
	if (peer == NULL)
		return HVREPL_E_NOT_FOUND;
	*status = (struct hvrepl_peer_status){
		.struct_size = sizeof(*status),
		.failures = peer->failures,
		.code = peer->last_code,
		.retry_ns = peer->retry.deadline_ns,
		.from_utc_ns = peer->validity.from_ns,
		.until_utc_ns = peer->validity.until_ns,
		.renewal_until_utc_ns = peer->renewal_until_ns,
	};
	snprintf(status->name, sizeof(status->name), "%s", peer->name);
	for (const struct hvri_session *s = node->sessions; s != NULL;
	     s = s->next) {
		if (!s->up || strcmp(s->link.info.peer, peer->name) != 0)
			continue;
		status->connected = 1;
		status->code = HVREPL_OK;
		status->sent_bytes = s->link.sent_bytes;
		status->received_bytes = s->link.received_bytes;
		status->node = s->link.peer.node;
		snprintf(status->site, sizeof(status->site), "%s",
			 s->link.peer.site);
	}
	return HVREPL_OK;
}

struct hvri_vm *hvri_node_vm_at(const struct hvrepl_node *node, uint32_t index)
{
	struct hvri_vm *vm = node->vms;

	for (; vm != NULL; vm = vm->next)
		if (!vm->finished && index-- == 0)
			break;
	return vm;
}

/* Of the cut that ships: what has been sent of the bytes that changed. */
static bool cut_progress(const struct hvri_vm *vm, uint64_t *done_out,
			 uint64_t *total_out)
{
	struct hvrepl_cut_info info = { .struct_size = sizeof(info) };
	double sent = 0;

	if (vm->ship.cut == NULL ||
	    hvrepl_cut_get_info(vm->ship.cut, &info) < 0)
		return false;
	/* Chunks are counted as they travel, compressed; holes do not travel. */
	if (info.spool_bytes != 0)
		sent = (double)vm->ship.bytes / (double)info.spool_bytes;
	*done_out = (uint64_t)((double)info.read_bytes * HVRI_MIN(sent, 1.0));
	*total_out = HVRI_MAX(info.changed_bytes, *done_out);
	return true;
}

uint64_t hvri_vm_bytes_before(const struct hvri_vm *vm, uint32_t disk,
			      uint64_t offset)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < vm->disk_count && i <= disk; i++)
		bytes += i < disk ? vm->disks[i].spec.size :
				    HVRI_MIN(offset, vm->disks[i].spec.size);
	return bytes;
}

/* One by windows is of the whole disks (L1). */
void hvri_vm_progress(const struct hvri_vm *vm, uint64_t *done_out,
		      uint64_t *total_out)
{
	const struct hvri_record *record = &vm->relationship.record;
	const struct hvri_frontier *frontier = &record->frontier;
	uint64_t done = 0, total = 0;
	bool ships = cut_progress(vm, &done, &total);

	*done_out = ships ? done : 0;
	*total_out = ships ? total : 0;
	if (record->phase != HVRI_PHASE_INITIAL &&
	    record->phase != HVRI_PHASE_RESYNC)
		return;
	*total_out = hvri_vm_bytes_before(vm, vm->disk_count, 0);
	/* A cut also carries what changed behind the frontier. */
	*done_out = HVRI_MIN(*done_out + hvri_vm_bytes_before(vm, frontier->disk,
							      frontier->offset),
			     *total_out);
}

void hvri_vm_look(struct hvri_vm *vm)
{
	vm->relationship.points_open = vm->store != NULL &&
				       hvri_store_open_points(vm->store) > 0;
	vm->relationship.full = vm->store != NULL && vm->full;
	vm->relationship.storage_failed =
		vm->store != NULL && (hvri_store_poisoned(vm->store) ||
				      hvri_store_overlay_failed(vm->store));
}

uint64_t hvri_vm_changed_bytes(const struct hvri_vm *vm)
{
	uint64_t bytes = 0;

	/* Trackers come and go with jobs of the lane: not beside them. */
	if (!hvri_lane_idle(&vm->lane))
		return HVREPL_BYTES_UNKNOWN;
	for (uint32_t i = 0; i < vm->disk_count; i++)
		if (vm->disks[i].tracker != NULL)
			bytes += hvri_tracker_dirty(vm->disks[i].tracker);
	return bytes;
}

/* Steps between points that the rate is taken from. */
#define RATE_POINTS 8u

void hvri_vm_point_facts(const struct hvri_vm *vm,
			 const struct hvri_point *point,
			 struct hvri_point_facts *facts)
{
	uint32_t steps = 0;

	*facts = (struct hvri_point_facts){ 0 };
	if (vm->point_count == 0)
		return;
	facts->newest_utc_ns = vm->points[vm->point_count - 1].utc_ns;
	for (uint32_t i = vm->point_count; i-- > 0;) {
		const struct hvrepl_point *at = &vm->points[i];

		if (at->number == point->number &&
		    hvri_uuid_equal(&at->epoch, &point->epoch) &&
		    hvri_uuid_equal(&at->cut, &point->cut))
			break;
		if (at->changed_bytes == HVREPL_BYTES_UNKNOWN ||
		    facts->skipped_bytes == HVREPL_BYTES_UNKNOWN)
			facts->skipped_bytes = HVREPL_BYTES_UNKNOWN;
		else
			facts->skipped_bytes += at->changed_bytes;
	}
	for (uint32_t i = vm->point_count; i-- > 1 && steps < RATE_POINTS;
	     steps++) {
		const struct hvrepl_point *at = &vm->points[i];
		const struct hvrepl_point *before = &vm->points[i - 1];

		if (at->changed_bytes == HVREPL_BYTES_UNKNOWN ||
		    at->utc_ns <= before->utc_ns || before->utc_ns == 0)
			continue;
		facts->recent_bytes += at->changed_bytes;
		facts->recent_ns += at->utc_ns - before->utc_ns;
	}
}

/* Of the failover that stands here, or of the one that could be made now. */
static void fill_loss(struct hvri_vm *vm, struct hvrepl_vm_status *status)
{
	const struct hvri_record *record = &vm->relationship.record;
	struct hvri_loss loss = record->loss;
	struct hvri_point point = record->position;
	struct hvri_point_facts facts;

	if (loss.point == 0) {
		if (record->ownership != HVREPL_OWNERSHIP_STANDBY ||
		    point.number == 0)
			return;
		if (vm->point_count > 0 && record->form == HVRI_FORM_STORE) {
			const struct hvrepl_point *newest =
				&vm->points[vm->point_count - 1];

			point = (struct hvri_point){
				.epoch = newest->epoch,
				.number = newest->number,
				.cut = newest->cut,
				.utc_ns = newest->utc_ns,
			};
		}
		hvri_vm_point_facts(vm, &point, &facts);
		hvri_loss_now(&vm->relationship, &point, &facts,
			      hvri_now(&vm->node->env),
			      hvri_utc(&vm->node->env), &loss);
	}
	status->loss_point = loss.point;
	status->loss_age_ns = hvri_loss_age_ns(&loss);
	status->loss_said_bytes = hvri_loss_said(&loss);
	status->loss_bytes = hvri_loss_bytes(&loss);
}

static const char *why_not_open(const struct hvri_vm *vm)
{
	return vm->open_sentence[0] != 0 ? vm->open_sentence :
					   hvrepl_strerror(vm->open_code);
}

int32_t hvri_vm_not_now(const struct hvri_vm *vm, struct hvrepl_error *error)
{
	char why[HVREPL_SENTENCE_MAX];

	if (!vm->opened && vm->open_code < 0)
		return hvri_fail(error, HVREPL_E_STATE,
				 "VM %s cannot be opened: %.160s", vm->name,
				 why_not_open(vm));
	if (vm->put_code < 0) {
		hvri_vm_say_put(vm, why, sizeof(why));
		return hvri_fail(error, HVREPL_E_BUSY, "VM %s: %.180s",
				 vm->name, why);
	}
	return hvri_fail(error, HVREPL_E_BUSY,
			 "VM %s is just being changed; try again", vm->name);
}

void hvri_vm_status(struct hvri_vm *vm, struct hvrepl_vm_status *status)
{
	const struct hvri_relationship *relationship = &vm->relationship;
	const struct hvri_record *record = &relationship->record;
	struct hvri_health health = { 0 };
	struct hvri_trust trust;

	*status = (struct hvrepl_vm_status){
		.struct_size = sizeof(*status),
		.mode = record->mode,
		.disk_count = vm->disk_count,
		.point_count = vm->point_count,
		.open_code = vm->open_code,
		.writable = vm->armed,
		.connected = vm->session != NULL,
		.id = record->vm,
		.epoch = record->current,
		.peer = record->peer,
		.last_cut = record->last_cut.number,
		.cuts = relationship->statistics.cuts,
		.missed = relationship->statistics.missed,
		.points = relationship->statistics.points,
		.sent_bytes = vm->sent_bytes,
		.received_bytes = vm->received_bytes,
		.cycle_ns = record->mode != HVREPL_MODE_NONE ?
				    record->policy.cycle_ns : vm->cycle_ns,
		.job = record->job.id,
		.loss_said_bytes = HVREPL_BYTES_UNKNOWN,
		.loss_bytes = HVREPL_BYTES_UNKNOWN,
	};
	hvri_text(status->name, sizeof(status->name), vm->name);
	hvri_text(status->peer_name, sizeof(status->peer_name), vm->peer_name);
	if (vm->point_count > 0) {
		const struct hvrepl_point *newest =
			&vm->points[vm->point_count - 1];

		status->last_point = newest->number;
		status->last_point_utc_ns = newest->utc_ns;
	}
	if (record->mode == HVREPL_MODE_PRIMARY) {
		status->last_point = record->last_acked.number;
		status->last_point_utc_ns = record->last_acked.utc_ns;
	}
	/* As recorded, also where nothing of it can be used. */
	status->state = hvri_relationship_state(relationship);
	status->ownership = hvri_relationship_ownership(relationship);
	if (!vm->opened) {
		status->health = HVREPL_HEALTH_CRITICAL;
		hvri_text(status->sentence, sizeof(status->sentence),
			 vm->open_code < 0 ? why_not_open(vm) : "opening");
		return;
	}
	status->allowed = hvri_relationship_allowed(relationship);
	hvri_vm_look(vm);
	hvri_relationship_health(relationship, hvri_now(&vm->node->env),
				 hvri_utc(&vm->node->env), &health);
	hvri_node_trust(vm->node, vm->peer_name, &trust);
	hvri_trust_health(&trust, hvri_utc(&vm->node->env), &health);
	status->health = health.level;
	status->reasons = health.reasons;
	hvri_text(status->sentence, sizeof(status->sentence), health.sentence);
	if (vm->store_lost && vm->store_code < 0) {
		/* A replica that has points on record, and can read none. */
		status->open_code = vm->store_code;
		status->health = HVREPL_HEALTH_CRITICAL;
		status->reasons |= HVREPL_REASON_STORAGE_FAILED;
		snprintf(status->sentence, sizeof(status->sentence),
			 "the replica's storage failed a flush and cannot be "
			 "opened again: %.100s",
			 vm->open_sentence[0] != 0 ?
				 vm->open_sentence :
				 hvrepl_strerror(vm->store_code));
	}
	if (vm->put_code < 0) {
		/* Above all else: the rest is not so before it is on record. */
		status->health = HVREPL_HEALTH_CRITICAL;
		status->reasons |= HVREPL_REASON_STATE_FAILED;
		hvri_vm_say_put(vm, status->sentence, sizeof(status->sentence));
	}
	hvri_vm_progress(vm, &status->progress, &status->total);
	status->dirty_bytes = hvri_vm_changed_bytes(vm);
	if (status->dirty_bytes == HVREPL_BYTES_UNKNOWN)
		status->dirty_bytes = 0;
	fill_loss(vm, status);
}

void hvri_vm_tell_health(struct hvri_vm *vm, int32_t code, const char *over)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;
	struct hvrepl_vm_status status;

	hvri_vm_status(vm, &status);
	event.type = HVREPL_EVENT_HEALTH;
	event.severity = hvri_health_severity(status.health);
	event.code = code;
	event.value = status.health;
	event.vm = vm->relationship.record.vm;
	/* And what ails it still. */
	snprintf(event.sentence, sizeof(event.sentence), "VM %s: %s%.160s",
		 vm->name, code < 0 ? "" : over, status.sentence);
	hvri_node_event(vm->node, &event);
}

int32_t hvri_vm_point(struct hvri_vm *vm, uint32_t index,
		      struct hvrepl_point *point)
{
	/* Upkeep drops points by itself: look again from the first. */
	if (index == 0)
		hvri_vm_list_points(vm);
	if (index >= vm->point_count)
		return HVREPL_E_NOT_FOUND;
	*point = vm->points[index];
	return HVREPL_OK;
}

int32_t hvri_vm_epoch(const struct hvri_vm *vm, uint32_t index,
		      struct hvrepl_epoch *epoch)
{
	const struct hvri_record *record = &vm->relationship.record;
	const struct hvri_epoch *from;

	if (index >= record->lineage.count)
		return HVREPL_E_NOT_FOUND;
	from = &record->lineage.epochs[index];
	*epoch = (struct hvrepl_epoch){
		.struct_size = sizeof(*epoch),
		.outcome = from->outcome,
		.planned = from->planned,
		.current = hvri_uuid_equal(&from->id, &record->current),
		.id = from->id,
		.parent = from->parent,
		.owner = from->owner,
		.fork_point = from->fork_point,
	};
	return HVREPL_OK;
}

int32_t hvri_vm_disk_spec(const struct hvri_vm *vm, uint32_t index,
			  struct hvrepl_disk_spec *spec)
{
	if (index >= vm->disk_count)
		return HVREPL_E_NOT_FOUND;
	*spec = vm->disks[index].spec;
	return HVREPL_OK;
}

int32_t hvri_vm_view(struct hvri_vm *vm, uint64_t point, hvrepl_view **out,
		     struct hvrepl_error *error)
{
	uint64_t key = 0;

	/* The lane has it until the VM is open. */
	if (!vm->opened || vm->store == NULL)
		return hvri_fail(error, HVREPL_E_NOT_FOUND,
				 "this site holds no recovery points of VM %s",
				 vm->name);
	hvri_vm_list_points(vm);
	for (uint32_t i = 0; i < vm->point_count; i++)
		if (vm->points[i].number == point || point == 0)
			key = vm->points[i].point;
	if (key == 0)
		return hvri_fail(error, HVREPL_E_NOT_FOUND,
				 "VM %s has no recovery point %llu here",
				 vm->name, (unsigned long long)point);
	return hvri_view_open(vm->store, key, HVREPL_VIEW_READ_ONLY, out,
			      error);
}

/* ---- Bringing a VM. ---- */

static void let_go(const struct hvrepl_vm_config *config)
{
	for (uint32_t i = 0; i < config->disk_count && config->disks != NULL;
	     i++)
		if (config->disks[i].release != NULL)
			config->disks[i].release(config->disks[i].user);
	if (config->storage.release != NULL)
		config->storage.release(config->storage.user);
}

void hvri_vm_config_drop(const struct hvrepl_vm_config *given)
{
	struct hvrepl_vm_config config;

	if (hvri_abi_copy_in(&config, sizeof(config),
			     HVRI_SIZE_UP_TO(struct hvrepl_vm_config, cycle_ns),
			     given) != HVREPL_E_INVALID)
		let_go(&config);
}

static int32_t check_vm(struct hvrepl_node *node,
			const struct hvrepl_vm_config *config,
			struct hvrepl_error *error)
{
	if (config->flags != 0)
		return hvri_fail(error, HVREPL_E_TOO_NEW,
				 "a flag of the VM's config is not known");
	if (config->reserved != 0)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "reserved of the VM's config must be zero");
	if (config->name == NULL || config->name[0] == 0 ||
	    strlen(config->name) > HVREPL_NAME_MAX)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "a VM needs a name of 1 to %u bytes",
				 HVREPL_NAME_MAX);
	if (config->disk_count == 0 ||
	    config->disk_count > HVREPL_VM_DISKS_MAX ||
	    config->specs == NULL || config->disks == NULL)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "VM %s needs 1 to %u disks", config->name,
				 HVREPL_VM_DISKS_MAX);
	if (config->points_max > HVREPL_POINTS_MAX)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "VM %s: points_max is 0 to %u", config->name,
				 HVREPL_POINTS_MAX);
	HVRI_TRY(hvri_quota_check(config->quota, error));
	if (hvri_uuid_is_none(&config->id))
		return hvri_fail(error, HVREPL_E_INVALID,
				 "VM %s needs an id", config->name);
	if (hvri_node_find_vm(node, &config->id) != NULL)
		return hvri_fail(error, HVREPL_E_EXISTS,
				 "VM %s is here already", config->name);
	if (node->closing)
		return hvri_fail_plain(error, HVREPL_E_CLOSED);
	return HVREPL_OK;
}

int32_t hvri_node_add_vm(struct hvrepl_node *node,
			 const struct hvrepl_vm_config *given,
			 struct hvrepl_error *error)
{
	struct hvrepl_vm_config config;
	struct hvri_vm *vm = NULL;
	int32_t rc;

	rc = hvri_abi_copy_in(&config, sizeof(config),
			      HVRI_SIZE_UP_TO(struct hvrepl_vm_config,
					      cycle_ns),
			      given);
	if (rc == HVREPL_E_TOO_NEW)
		let_go(&config);
	if (rc < 0)
		return hvri_fail_plain(error, rc);
	rc = check_vm(node, &config, error);
	if (rc == HVREPL_OK)
		rc = hvri_vm_create(node, &config.id, &vm);
	if (rc < 0) {
		let_go(&config);
		return hvri_fail_plain(error, rc);
	}
	rc = hvri_vm_load(vm);
	if (rc == HVREPL_E_NOT_FOUND) {
		vm->own = true;
		rc = HVREPL_OK;
	} else if (rc == HVREPL_OK && !vm->own) {
		rc = hvri_fail(error, HVREPL_E_EXISTS,
			       "VM %s was replicated to here; its disks come "
			       "from the vmm table",
			       config.name);
	} else if (rc < 0) {
		hvri_fail(error, rc, "the record of VM %s cannot be read: %s",
			  config.name, hvrepl_strerror(rc));
	}
	if (rc < 0) {
		let_go(&config);
		hvri_vm_free(vm);
		return rc;
	}
	snprintf(vm->name, sizeof(vm->name), "%s", config.name);
	vm->cycle_ns = config.cycle_ns != 0 ? config.cycle_ns :
					      30ull * 1000000000ull;
	vm->points_max = config.points_max;
	vm->quota = config.quota;
	vm->points_min = config.points_min;
	/* What the application says now counts, also for a VM that is
	 * replicated already; saved with the record's next change. */
	if (vm->relationship.record.mode != HVREPL_MODE_NONE) {
		vm->relationship.record.policy.cycle_ns = vm->cycle_ns;
		vm->relationship.record.policy.points_max = vm->points_max;
	}
	rc = hvri_vm_take_disks(vm, config.specs, config.disks,
				config.disk_count, &config.storage, error);
	if (rc == HVREPL_OK)
		rc = hvri_vm_open(vm);
	if (rc < 0) {
		hvri_vm_free(vm);
		return hvri_fail_plain(error, rc);
	}
	hvri_vm_meet_sessions(vm);
	return HVREPL_OK;
}

int32_t hvri_vm_changeable(const struct hvri_vm *vm, struct hvrepl_error *error)
{
	if (vm->node->closing || vm->closing)
		return hvri_fail_plain(error, HVREPL_E_CLOSED);
	if (vm->open_code < 0)
		return hvri_fail(error, vm->open_code,
				 "VM %s could not be opened: %.150s", vm->name,
				 why_not_open(vm));
	return HVREPL_OK;
}

int32_t hvri_vm_set_cycle(struct hvrepl_node *node,
			  const struct hvrepl_uuid *id, uint64_t cycle_ns,
			  struct hvrepl_error *error)
{
	struct hvri_vm *vm = hvri_node_find_vm(node, id);
	struct hvri_vm_event *event;

	if (vm == NULL)
		return hvri_fail(error, HVREPL_E_NOT_FOUND,
				 "this site has no such VM");
	if (cycle_ns < HVRI_CYCLE_MIN_NS || cycle_ns > HVRI_CYCLE_MAX_NS)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "the interval of VM %s is 100 ms to 24 hours",
				 vm->name);
	HVRI_TRY(hvri_vm_changeable(vm, error));
	event = hvri_vm_event_new(vm, HVRI_EVENT_CYCLE_SET);
	if (event == NULL)
		return hvri_fail_plain(error, HVREPL_E_NOMEM);
	vm->cycle_ns = cycle_ns;
	event->event.u.cycle_ns = cycle_ns;
	hvri_vm_feed(vm, event);
	return HVREPL_OK;
}

/* ---- Operations. ---- */

static void fill_setup(const struct hvri_vm *vm, struct hvri_setup *setup)
{
	const struct hvrepl_node *node = vm->node;

	*setup = (struct hvri_setup){ .vm = vm->relationship.record.vm };
	snprintf(setup->vm_name, sizeof(setup->vm_name), "%s", vm->name);
	setup->policy.cycle_ns = vm->cycle_ns;
	setup->policy.points_max = vm->points_max;
	setup->policy.window_bytes = 1ull << 30;
	setup->policy.start_wait_ns = node->start_wait_ns;
	setup->policy.start_without_peer = node->start_without_peer;
	setup->disk_count = vm->disk_count;
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		setup->disks[i].id = vm->disks[i].spec.id;
		setup->disks[i].size = vm->disks[i].spec.size;
		setup->disks[i].block_size = 4096;
		snprintf(setup->disks[i].name, sizeof(setup->disks[i].name),
			 "%s", vm->disks[i].spec.name);
	}
}

/* The other site tells them apart by their ids, and makes no replica of others. */
static int32_t check_disk_ids(const struct hvri_vm *vm,
			      struct hvrepl_error *error)
{
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		const struct hvrepl_uuid *id = &vm->disks[i].spec.id;
		bool own = !hvri_uuid_is_none(id);

		for (uint32_t k = 0; k < i && own; k++)
			own = !hvri_uuid_equal(&vm->disks[k].spec.id, id);
		if (!own)
			return hvri_fail(error, HVREPL_E_INVALID,
					 "disk %s of VM %s needs an id that no "
					 "other disk of it has",
					 vm->disks[i].spec.name, vm->name);
	}
	return HVREPL_OK;
}

int32_t hvri_node_operate(struct hvrepl_node *node,
			  const struct hvrepl_operation *given,
			  uint64_t *job_out, struct hvrepl_error *error)
{
	struct hvrepl_operation operation;
	const struct hvri_session *session = NULL;
	char peer_name[HVREPL_PEER_NAME_MAX + 1];
	struct hvrepl_uuid peer;
	struct hvri_setup *setup;
	struct hvri_vm *vm;
	int32_t rc;

	rc = hvri_abi_copy_in(&operation, sizeof(operation),
			      HVRI_SIZE_UP_TO(struct hvrepl_operation,
					      reserved),
			      given);
	if (rc < 0)
		return hvri_fail_plain(error, rc);
	if (operation.flags != 0 || operation.reserved != 0)
		return hvri_fail(error, HVREPL_E_TOO_NEW,
				 "a flag of the operation is not known");
	if (node->closing)
		return hvri_fail_plain(error, HVREPL_E_CLOSED);
	if (operation.type == 0 || operation.type >= HVREPL_OPERATION_COUNT)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "there is no operation %u", operation.type);
	vm = hvri_node_find_vm(node, &operation.vm);
	if (vm == NULL)
		return hvri_fail(error, HVREPL_E_NOT_FOUND,
				 "this site has no such VM");
	if (vm->open_code < 0)
		return hvri_fail(error, vm->open_code,
				 "VM %s could not be opened: %.150s", vm->name,
				 why_not_open(vm));
	if (operation.type != HVREPL_OPERATION_ENABLE)
		return hvri_vm_operate(vm, &operation, NULL, NULL, NULL,
				       job_out, error);
	if (operation.peer == NULL)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "enable needs the peer's name");
	if (vm->relationship.record.mode == HVREPL_MODE_NONE)
		HVRI_TRY(check_disk_ids(vm, error));
	session = hvri_node_session_named(node, operation.peer);
	if (session == NULL)
		return hvri_fail(error, HVREPL_E_UNAVAILABLE,
				 "no session with %.100s: see test-connection",
				 operation.peer);
	setup = hvri_alloc(&node->env, sizeof(*setup));
	if (setup == NULL)
		return hvri_fail_plain(error, HVREPL_E_NOMEM);
	fill_setup(vm, setup);
	/* Bound before the first message goes out. One that is replicated keeps its
	 * peer's: this will be refused. */
	if (vm->relationship.record.mode == HVREPL_MODE_NONE)
		vm->session = (struct hvri_session *)(uintptr_t)session;
	/* The session may end in the turns that the VM takes first. */
	peer = session->link.peer.node;
	hvri_text(peer_name, sizeof(peer_name), session->link.info.peer);
	rc = hvri_vm_operate(vm, &operation, setup, &peer, peer_name, job_out,
			     error);
	hvri_free(&node->env, setup, sizeof(*setup));
	if (rc == HVREPL_OK) {
		hvri_vm_session_changed(vm);
		hvri_vm_go_on(vm);
	} else if (vm->relationship.record.mode == HVREPL_MODE_NONE) {
		vm->session = NULL;
	}
	return rc;
}
