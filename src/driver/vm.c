/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's events in order: step, persist, perform, then the next (design 5). */
#include "driver/vm.h"
#include "driver/status.h"
#include "replication/names.h"

#include "base/plant.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

enum perform_phase { AT_PERSIST, AT_ACTIONS, AT_SENDS, AT_REST };

#define PERFORM_RETRY_NS 200000000ull
#define OPERATE_TURNS 1000u

static void free_event(struct hvri_vm *vm, struct hvri_vm_event *event)
{
	hvri_free(&vm->node->env, event, sizeof(*event));
}

struct hvri_vm_event *hvri_vm_event_new(struct hvri_vm *vm, uint32_t type)
{
	struct hvri_vm_event *event =
		hvri_alloc(&vm->node->env, sizeof(*event));

	if (event == NULL)
		return NULL;
	event->event.type = type;
	event->release = free_event;
	return event;
}

void hvri_vm_feed(struct hvri_vm *vm, struct hvri_vm_event *event)
{
	if (event->queued)
		return;
	event->queued = true;
	event->next = NULL;
	*vm->last = event;
	vm->last = &event->next;
	hvri_vm_go_on(vm);
}

static void send_message(struct hvri_vm *vm, const struct hvri_message *message)
{
	struct hvrepl_node *node = vm->node;
	struct hvri_message older;
	size_t length;
	int32_t rc;

	if (vm->session == NULL)
		return;
	message = hvri_message_for(message, vm->session->link.peer.features, &older);
	rc = hvri_message_encode(message, node->scratch,
				 HVRI_MESSAGE_ENCODED_MAX, &length);
	if (rc == HVREPL_OK)
		rc = hvri_link_send(&vm->session->link, HVRI_FRAME_MESSAGE,
				    &vm->relationship.record.vm, node->scratch,
				    length);
	/* A message must not be missing in the middle of a session. */
	if (rc < 0)
		hvri_link_close(&vm->session->link, rc, NULL);
}

/* What a peer's message came to is told as far as its meter goes, and what of it
 * decided nothing apart from what did: it hides no verdict by saying nonsense. */
static void tell_audit(struct hvri_vm *vm, const struct hvri_notice *notice)
{
	const char *asker = vm->asker[0] != 0 ? vm->asker : NULL;
	uint32_t kind = HVREPL_AUDIT_OWNERSHIP;

	if (notice->code == HVREPL_E_LIMIT)
		kind = HVREPL_AUDIT_LIMIT;
	else if (notice->code == HVREPL_E_DENIED ||
		 (notice->code < 0 && asker != NULL && !vm->decided))
		kind = HVREPL_AUDIT_DENIED;
	hvri_note_of(vm->node, asker, kind, notice->severity, notice->code,
		     &vm->relationship.record.vm, "%s", notice->sentence);
}

static void tell(struct hvri_vm *vm, const struct hvri_notice *notice)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	if (notice->type == HVREPL_EVENT_AUDIT) {
		tell_audit(vm, notice);
		return;
	}
	event.type = notice->type;
	event.severity = notice->severity;
	event.code = notice->code;
	event.vm = vm->relationship.record.vm;
	event.value = notice->value;
	if (notice->type == HVREPL_EVENT_PROGRESS) {
		event.job = vm->relationship.record.job.id;
		hvri_vm_progress(vm, &event.value, &event.total);
	}
	if (notice->type == HVREPL_EVENT_HEALTH && vm->store_lost &&
	    vm->store_code < 0 && !HVRI_PLANT(well_without_a_store)) {
		hvri_vm_tell_health(vm, vm->store_code, NULL);
		return;
	}
	if (notice->type == HVREPL_EVENT_HEALTH)
		snprintf(event.sentence, sizeof(event.sentence), "VM %s: %.180s",
			 vm->name, notice->sentence);
	else
		hvri_text(event.sentence, sizeof(event.sentence),
			  notice->sentence);
	hvri_node_event(vm->node, &event);
}

static int32_t end_job(struct hvri_vm *vm, const struct hvri_job_end *job)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	event.type = HVREPL_EVENT_JOB_DONE;
	event.severity = job->code < 0 ? HVREPL_SEVERITY_WARNING :
					 HVREPL_SEVERITY_INFO;
	event.code = job->code;
	event.vm = vm->relationship.record.vm;
	event.job = job->id;
	hvri_text(event.sentence, sizeof(event.sentence), job->sentence);
	return hvri_events_put(&vm->node->events, &event);
}

/* The update's parts in their fixed order. True: all of it is done. */
static bool perform(struct hvri_vm *vm)
{
	struct hvri_update *update = &vm->update;
	int32_t rc = HVREPL_OK;

	if (vm->perform_phase == AT_PERSIST && update->persist) {
		if (vm->putting)
			return false;
		rc = hvri_vm_save(vm, false);
		if (rc == HVREPL_OK)
			return false; /* Goes on when it is durable. */
		goto again;
	}
	if (vm->perform_phase == AT_PERSIST)
		vm->perform_phase = AT_ACTIONS;
	while (vm->perform_phase == AT_ACTIONS &&
	       vm->perform_index < update->action_count) {
		rc = hvri_vm_perform(vm, &update->actions[vm->perform_index]);
		if (rc < 0)
			goto again;
		vm->perform_index++;
	}
	if (vm->perform_phase == AT_ACTIONS) {
		vm->perform_phase = AT_SENDS;
		for (uint32_t i = 0; i < update->send_count; i++)
			send_message(vm, &update->sends[i]);
		for (uint32_t i = 0; i < update->timer_count; i++) {
			const struct hvri_timer_set *set = &update->timers[i];

			hvri_alarm_set(&vm->node->timers,
				       &vm->timers[set->timer].timer,
				       set->at_ns == 0 ? HVRI_NEVER :
							 set->at_ns);
		}
		for (uint32_t i = 0; i < update->notice_count; i++)
			tell(vm, &update->notices[i]);
		vm->perform_phase = AT_REST;
		vm->perform_index = 0;
	}
	while (vm->perform_index < update->job_count) {
		rc = end_job(vm, &update->jobs[vm->perform_index]);
		if (rc < 0)
			goto again;
		vm->perform_index++;
	}
	return true;
again:
	/* Out of memory, or the state store failed: nothing is skipped. */
	hvri_log(&vm->node->env, HVREPL_LOG_WARNING,
		 "VM %s waits: %s", vm->name, hvrepl_strerror(rc));
	hvri_alarm_set(&vm->node->timers, &vm->perform_retry,
		       hvri_now(&vm->node->env) + PERFORM_RETRY_NS);
	return false;
}

static void on_perform_retry(struct hvri_alarm *timer)
{
	struct hvri_vm *vm = (struct hvri_vm *)((char *)timer -
						offsetof(struct hvri_vm,
							 perform_retry));

	if (!vm->opened && vm->open_code < 0 && !vm->closing &&
	    vm->tasks == 0) {
		int32_t rc = vm->disk_count > 0 ? hvri_vm_open(vm) :
						  hvri_vm_open_known(vm);

		if (rc < 0)
			hvri_alarm_set(&vm->node->timers, timer,
				       hvri_now(&vm->node->env) +
					       PERFORM_RETRY_NS);
	}
	hvri_vm_go_on(vm);
}

/* MARK reads the message, which is there until the step's event is released;
 * marking early only ever marks too much. */
static void mark_at_once(struct hvri_vm *vm)
{
	for (uint32_t i = 0; i < vm->update.action_count; i++)
		if (vm->update.actions[i].type == HVRI_ACTION_MARK)
			hvri_owner_mark(vm, &vm->update.actions[i]);
}

/* Decide one event; false: not without entropy, later. */
static bool decide(struct hvri_vm *vm, struct hvri_event *event)
{
	const struct hvri_env *env = &vm->node->env;

	event->now_ns = hvri_now(env);
	event->utc_ns = hvri_utc(env);
	hvri_vm_look(vm);
	event->changed_bytes = HVREPL_BYTES_UNKNOWN;
	if (event->type == HVRI_EVENT_TIMER &&
	    event->u.timer == HVRI_TIMER_STATUS)
		event->changed_bytes = hvri_vm_changed_bytes(vm);
	for (size_t i = 0; i < HVRI_ARRAY_LEN(event->fresh); i++)
		if (hvri_uuid_new(env, &event->fresh[i]) < 0)
			return false;
	hvri_relationship_step(&vm->relationship, event, &vm->update);
	hvri_standby_let_go(vm);
	vm->performing = true;
	/* Its session may end before all is done. */
	hvri_text(vm->asker, sizeof(vm->asker),
		  event->type == HVRI_EVENT_MESSAGE ?
			  vm->session->link.info.peer : "");
	vm->decided = vm->update.persist;
	vm->perform_phase = AT_PERSIST;
	vm->perform_index = 0;
	return true;
}

/* False: not now. */
static bool step_message(struct hvri_vm *vm, struct hvri_vm_event *waiting)
{
	const struct hvri_env *env = &vm->node->env;
	struct hvri_message_storage *storage;
	struct hvri_message message;
	char quota[HVRI_SENTENCE_MAX + 1];
	int32_t rc = HVREPL_E_NOMEM;
	bool taken = true;

	if (vm->session == NULL || waiting->session != vm->told_session)
		return true; /* Its session is gone, and it with it. */
	storage = hvri_alloc_raw(env, sizeof(*storage));
	if (storage != NULL)
		rc = hvri_message_decode(waiting->message,
					 waiting->message_length, storage,
					 &message);
	if (rc == HVREPL_OK) {
		const char *peer = vm->session->link.info.peer;
		const struct hvri_entry *entry =
			hvri_node_entry(vm->node, peer);

		waiting->event.u.message.message = &message;
		waiting->event.u.message.authorised =
			entry == NULL ? 0 : entry->verbs;
		waiting->event.u.message.entry = entry == NULL ? NULL :
								 entry->peer;
		waiting->event.u.message.withheld =
			hvri_withheld(vm, &message);
		waiting->event.u.message.quota = NULL;
		if (message.type == HVRI_MESSAGE_ENABLE &&
		    hvri_rights_admit(vm->node, peer, vm, message.setup,
				      quota) < 0)
			waiting->event.u.message.quota = quota;
		taken = decide(vm, &waiting->event);
		if (taken) {
			mark_at_once(vm);
			hvri_note_message(vm, waiting);
		}
	}
	hvri_free(env, storage, sizeof(*storage));
	/* A message must not be missing in the middle of a session. */
	if (rc < 0)
		hvri_link_close(&vm->session->link, rc, NULL);
	return taken;
}

/* What the relationship was told and what is so: one difference a turn. False:
 * not now. */
static bool step_session(struct hvri_vm *vm)
{
	uint64_t serial = vm->session == NULL ? 0 : vm->session->serial;
	struct hvri_event event = { 0 };

	if (serial == vm->told_session)
		return true;
	event.type = vm->told_session != 0 ? HVRI_EVENT_SESSION_DOWN :
					     HVRI_EVENT_SESSION_UP;
	if (!decide(vm, &event))
		return false;
	vm->told_session = vm->told_session != 0 ? 0 : serial;
	if (vm->told_session != serial)
		hvri_vm_session_changed(vm);
	return true;
}

static void put_first(struct hvri_vm *vm, struct hvri_vm_event *event)
{
	event->queued = true;
	event->next = vm->first;
	if (vm->first == NULL)
		vm->last = &event->next;
	vm->first = event;
}

void hvri_vm_unhear(struct hvri_vm *vm)
{
	struct hvri_vm_event **at = &vm->first;

	while (*at != NULL) {
		struct hvri_vm_event *event = *at;

		if (event->session == 0) {
			at = &event->next;
			continue;
		}
		*at = event->next;
		event->release(vm, event);
	}
	vm->last = at;
}

void hvri_vm_session_changed(struct hvri_vm *vm)
{
	/* In front: what is queued behind it is of the new session, or void. Nothing
	 * is heard before START. */
	if (!vm->session_event.queued && vm->opened && !vm->start_event.queued)
		put_first(vm, &vm->session_event);
}

void hvri_vm_begin(struct hvri_vm *vm)
{
	vm->start_event.event.type = HVRI_EVENT_START;
	vm->start_event.event.u.start = vm->start;
	/* Before what came while it was being opened: a group was decided. */
	put_first(vm, &vm->start_event);
	hvri_vm_go_on(vm);
}

static void step_credit(struct hvri_vm *vm, const struct hvri_vm_event *waiting)
{
	int32_t rc;

	if (vm->session == NULL || waiting->session != vm->told_session)
		return; /* Its session is gone, and it with it. */
	rc = hvri_ship_credit(vm, waiting->message, waiting->message_length);
	if (rc < 0)
		hvri_link_close(&vm->session->link, rc, NULL);
}

static bool step(struct hvri_vm *vm, struct hvri_vm_event *event)
{
	if (event->credit) {
		step_credit(vm, event);
		return true;
	}
	if (event == &vm->session_event)
		return step_session(vm);
	if (event->event.type == HVRI_EVENT_MESSAGE)
		return step_message(vm, event);
	if (!decide(vm, &event->event))
		return false;
	if (event == &vm->start_event)
		hvri_vm_session_changed(vm); /* Where there is one already. */
	return true;
}

/* Nothing that happened may be missing, and nothing is decided without fresh
 * ids: the event waits in front until there is entropy. */
static void try_later(struct hvri_vm *vm, struct hvri_vm_event *event)
{
	hvri_log(&vm->node->env, HVREPL_LOG_ERROR,
		 "VM %s waits: the environment gives no random bytes", vm->name);
	if (!event->queued)
		put_first(vm, event);
	hvri_alarm_set(&vm->node->timers, &vm->perform_retry,
		       hvri_now(&vm->node->env) + PERFORM_RETRY_NS);
}

void hvri_vm_go_on(struct hvri_vm *vm)
{
	while (vm->opened && !vm->inside) {
		struct hvri_vm_event *event;

		vm->inside = true;
		if (vm->performing && perform(vm))
			vm->performing = false;
		event = vm->first;
		if (!vm->performing && event != NULL && !vm->closing &&
		    !vm->forget) {
			vm->first = event->next;
			if (vm->first == NULL)
				vm->last = &vm->first;
			event->queued = false;
			if (!step(vm, event)) {
				try_later(vm, event);
				vm->inside = false;
				break;
			}
			if (event->release != NULL)
				event->release(vm, event);
			vm->inside = false;
			continue;
		}
		vm->inside = false;
		break;
	}
	hvri_vm_settled(vm);
}

static void on_timer(struct hvri_alarm *timer)
{
	struct hvri_vm_timer *one = (struct hvri_vm_timer *)timer;

	hvri_vm_feed(one->vm, &one->event);
}

static void on_pump_item(struct hvri_item *item)
{
	struct hvri_vm *vm = (struct hvri_vm *)((char *)item -
						offsetof(struct hvri_vm,
							 pump_item));

	__atomic_store_n(&vm->pump_queued, false, __ATOMIC_SEQ_CST);
	hvri_owner_pump(vm);
	hvri_vm_settled(vm); /* Closing may have waited for this. */
}

static void on_pump_timer(struct hvri_alarm *timer)
{
	hvri_owner_pump((struct hvri_vm *)((char *)timer -
					   offsetof(struct hvri_vm, pump)));
}

static void on_maintain(struct hvri_alarm *timer)
{
	hvri_standby_maintain(
		(struct hvri_vm *)((char *)timer -
				   offsetof(struct hvri_vm, maintain)));
}

static void on_save(struct hvri_alarm *timer)
{
	hvri_owner_save((struct hvri_vm *)((char *)timer -
					   offsetof(struct hvri_vm, save)));
}

int32_t hvri_vm_create(struct hvrepl_node *node, const struct hvrepl_uuid *id,
		       struct hvri_vm **vm_out)
{
	struct hvri_vm *vm;

	vm = hvri_alloc(&node->env, sizeof(*vm));
	if (vm == NULL)
		return HVREPL_E_NOMEM;
	vm->node = node;
	vm->quota = node->replica_quota;
	vm->points_min = node->replica_points_min;
	vm->last = &vm->first;
	hvri_relationship_init(&vm->relationship, &node->id, id);
	hvri_lane_init(&vm->lane, &node->env, &node->home);
	hvri_lane_init(&vm->cut_lane, &node->env, &node->home);
	for (uint32_t i = 0; i < HVRI_TIMER_COUNT; i++) {
		hvri_alarm_init(&vm->timers[i].timer, on_timer);
		vm->timers[i].vm = vm;
		vm->timers[i].event.event.type = HVRI_EVENT_TIMER;
		vm->timers[i].event.event.u.timer = i;
	}
	hvri_alarm_init(&vm->perform_retry, on_perform_retry);
	hvri_alarm_init(&vm->pump, on_pump_timer);
	hvri_alarm_init(&vm->maintain, on_maintain);
	hvri_alarm_init(&vm->save, on_save);
	vm->pump_item.run = on_pump_item;
	hvri_ship_init(vm);
	hvri_receive_init(vm);
	vm->next = node->vms;
	node->vms = vm;
	*vm_out = vm;
	return HVREPL_OK;
}

static void clear_events(struct hvri_vm *vm)
{
	while (vm->first != NULL) {
		struct hvri_vm_event *gone = vm->first;

		vm->first = gone->next;
		gone->queued = false;
		if (gone->release != NULL)
			gone->release(vm, gone);
	}
	vm->last = &vm->first;
}

void hvri_vm_free(struct hvri_vm *vm)
{
	struct hvrepl_node *node = vm->node;
	struct hvri_vm **at = &node->vms;

	while (*at != vm)
		at = &(*at)->next;
	*at = vm->next;
	clear_events(vm);
	for (uint32_t i = 0; i < HVRI_TIMER_COUNT; i++)
		hvri_alarm_set(&node->timers, &vm->timers[i].timer, HVRI_NEVER);
	hvri_alarm_set(&node->timers, &vm->perform_retry, HVRI_NEVER);
	hvri_alarm_set(&node->timers, &vm->pump, HVRI_NEVER);
	hvri_alarm_set(&node->timers, &vm->maintain, HVRI_NEVER);
	hvri_alarm_set(&node->timers, &vm->save, HVRI_NEVER);
	hvri_alarm_set(&node->timers, &vm->ship.poll, HVRI_NEVER);
	hvri_alarm_set(&node->timers, &vm->reception.report, HVRI_NEVER);
	hvri_vm_drop_blob(vm);
	hvri_segment_root_free(&vm->ship.root);
	hvri_lane_free(&vm->lane);
	hvri_lane_free(&vm->cut_lane);
	hvri_compare_free(vm);
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		hvri_live_free(&vm->disks[i].live);
		hvri_disk_drop(&vm->disks[i].overlay);
		hvri_disk_drop(&vm->disks[i].base);
	}
	hvri_vm_leave_doors(vm);
	if (vm->has_storage)
		hvri_storage_drop(&vm->storage);
	hvri_free(&node->env, vm, sizeof(*vm));
}

/* The point that was named, or the newest; none where it is gone. */
static void resolve(struct hvri_vm *vm, struct hvri_operator *asked)
{
	uint64_t key = 0;

	hvri_vm_list_points(vm);
	for (uint32_t i = 0; i < vm->point_count; i++) {
		const struct hvrepl_point *point = &vm->points[i];

		if (asked->point != 0 && point->number != asked->point)
			continue;
		if (HVRI_PLANT(clock_orders_points) &&
		    point->utc_ns < asked->resolved.utc_ns)
			continue;
		key = point->point;
		asked->resolved.epoch = point->epoch;
		asked->resolved.number = point->number;
		asked->resolved.cut = point->cut;
		asked->resolved.utc_ns = point->utc_ns;
	}
	if ((asked->operation == HVREPL_OPERATION_UNPLANNED ||
	     asked->operation == HVREPL_OPERATION_CHANGE_POINT) &&
	    key != 0 && !hvri_standby_keep(vm, key))
		memset(&asked->resolved, 0, sizeof(asked->resolved));
	hvri_vm_point_facts(vm, &asked->resolved, &asked->facts);
}

int32_t hvri_vm_operate(struct hvri_vm *vm,
			const struct hvrepl_operation *operation,
			const struct hvri_setup *setup,
			const struct hvrepl_uuid *peer, const char *peer_name,
			uint64_t *job_out, struct hvrepl_error *error)
{
	struct hvri_event event = { .type = HVRI_EVENT_OPERATION };
	struct hvri_operator *asked = &event.u.operation;

	/* Deciding takes a turn. One that is being performed usually waits for
	 * a record that is durable already: let it end first. */
	vm->asked = true;
	for (unsigned i = 0; i < OPERATE_TURNS && vm->performing && !vm->inside;
	     i++)
		if (hvri_queue_run(&vm->node->home, 1) == 0)
			break;
	vm->asked = false;
	if (vm->performing || vm->inside || vm->closing || !vm->opened)
		return hvri_vm_not_now(vm, error);
	asked->operation = operation->type;
	asked->job = (vm->node->incarnation & ~0xffffull) +
		     ++vm->node->jobs;
	asked->point = operation->point;
	asked->epoch = operation->epoch;
	asked->setup = setup;
	asked->authorised = hvri_node_verbs(
		vm->node, vm->session != NULL ? vm->session->link.info.peer :
						vm->peer_name);
	if (peer != NULL)
		asked->peer = *peer;
	if (vm->store != NULL || vm->reopening)
		resolve(vm, asked);
	if (!decide(vm, &event))
		return hvri_fail(error, HVREPL_E_CALLBACK,
				 "the env's random callback failed");
	hvri_note_operation(vm, operation->type, NULL, vm->update.code,
			    vm->update.sentence);
	if (vm->update.code < 0) {
		vm->performing = false;
		return hvri_fail(error, vm->update.code, "%s",
				 vm->update.sentence[0] != 0 ?
					 vm->update.sentence :
					 hvrepl_strerror(vm->update.code));
	}
	if (peer_name != NULL)
		hvri_vm_bind(vm, peer_name);
	*job_out = asked->job;
	hvri_vm_go_on(vm);
	return HVREPL_OK;
}

/* ---- The end. ---- */

bool hvri_vm_idle(const struct hvri_vm *vm)
{
	return vm->tasks == 0 && !vm->putting && !vm->pumping &&
	       !vm->pump_queued && !vm->maintaining &&
	       !vm->reception.flushing && hvri_ship_idle(vm) &&
	       hvri_lane_idle(&vm->lane) && hvri_lane_idle(&vm->cut_lane);
}

void hvri_vm_close(struct hvri_vm *vm)
{
	struct hvri_action settle = { .cut = vm->ship.id,
				      .code = HVREPL_E_CANCELLED };

	vm->closing = true;
	vm->armed = false;
	hvri_vm_doors(vm, false, false);
	hvri_ship_stop(vm);
	hvri_ship_settle(vm, &settle);
	hvri_receive_stop(vm, NULL, false);
	hvri_compare_session_down(vm);
	hvri_vm_settled(vm);
}

/* Removed, but the application's own VM, which is running: its disks stay as
 * they are, only the relationship is a new one. */
static void begin_anew(struct hvri_vm *vm)
{
	struct hvrepl_uuid id = vm->relationship.record.vm;

	hvri_relationship_init(&vm->relationship, &vm->node->id, &id);
	vm->peer_name[0] = 0;
	memset(&vm->binding, 0, sizeof(vm->binding));
	vm->told_session = 0;
	vm->session = NULL;
	vm->forget = false;
	clear_events(vm);
	vm->start = (struct hvri_start){ 0 };
	hvri_vm_start_fill(vm);
	hvri_vm_begin(vm);
}

/* The record goes; then the VM, unless it runs here. */
static void go_on_forgetting(struct hvri_vm *vm)
{
	if (vm->putting || vm->performing || vm->inside)
		return;
	if (vm->version > 0) {
		if (hvri_vm_save(vm, true) < 0)
			hvri_alarm_set(&vm->node->timers, &vm->perform_retry,
				       hvri_now(&vm->node->env) +
					       PERFORM_RETRY_NS);
	} else if (vm->own && vm->armed) {
		begin_anew(vm);
	} else {
		hvri_vm_close(vm);
	}
}

void hvri_vm_settled(struct hvri_vm *vm)
{
	if (vm->forget && !vm->closing)
		go_on_forgetting(vm);
	if (!vm->closing || vm->inside || !hvri_vm_idle(vm))
		return;
	if (!vm->shutting) {
		vm->shutting = true;
		/* What waits to be performed, for want of memory say, is as after
		 * a crash here: begun now, it would outlive the VM. */
		vm->performing = false;
		clear_events(vm);
		if (hvri_vm_shut(vm) < 0) {
			vm->shutting = false; /* Tried again by the timer. */
			hvri_alarm_set(&vm->node->timers, &vm->perform_retry,
				       hvri_now(&vm->node->env) +
					       PERFORM_RETRY_NS);
		}
		return;
	}
	if (!vm->shut)
		return;
	vm->finished = true;
	hvri_node_settled(vm->node);
}
