/* SPDX-License-Identifier: Apache-2.0 */
/* What the control interface answers about replicated VMs, jobs and peers. */
#include "endpoint_routes.h"

#include "names.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MAX_MS 86400000u

/* A request on its way to the control thread. */
struct errand {
	struct endpoint *endpoint;
	struct control_request *request;
	void (*run)(struct endpoint *endpoint,
		    struct control_request *request);
};

static void run_errand(void *argument)
{
	struct errand *errand = argument;

	if (errand->endpoint->node != NULL)
		errand->run(errand->endpoint, errand->request);
	else
		control_fail(errand->request, HVREPL_E_CLOSED,
			     "The daemon is shutting down. Start it again first.");
	free(errand);
}

void endpoint_request(struct endpoint *endpoint,
		      struct control_request *request,
		      void (*run)(struct endpoint *endpoint,
				  struct control_request *request))
{
	struct errand *errand = calloc(1, sizeof(*errand));

	if (errand != NULL) {
		errand->endpoint = endpoint;
		errand->request = request;
		errand->run = run;
		if (hvrepl_loop_post(endpoint->control_loop, run_errand,
				     errand) == HVREPL_OK)
			return;
	}
	free(errand);
	control_fail(request, HVREPL_E_NOMEM, "Not enough memory.");
}

static json_t *uuid_json(const struct hvrepl_uuid *id)
{
	static const struct hvrepl_uuid none;
	char text[UUID_TEXT];

	if (memcmp(id, &none, sizeof(none)) == 0)
		return json_null();
	uuid_text(id, text);
	return json_string(text);
}

/* All 64 bits: more than a JSON number keeps in every reader. */
static json_t *job_id(uint64_t job)
{
	char text[24];

	if (job == 0)
		return json_null();
	snprintf(text, sizeof(text), "%llu", (unsigned long long)job);
	return json_string(text);
}

static json_t *disks_json(struct endpoint *endpoint,
			  const struct hvrepl_vm_status *vm)
{
	struct hvrepl_disk_spec spec;
	json_t *disks = json_array();

	for (uint32_t i = 0; hvrepl_vm_get_disk(endpoint->node, &vm->id, i,
						&spec) == HVREPL_OK; i++)
		json_array_append_new(
			disks, json_pack("{s:s,s:o,s:I}", "name", spec.name,
					 "id", uuid_json(&spec.id), "size",
					 (json_int_t)spec.size));
	return disks;
}

static json_t *epochs_json(struct endpoint *endpoint,
			   const struct hvrepl_vm_status *vm)
{
	struct hvrepl_epoch epoch = HVREPL_EPOCH_INIT;
	json_t *epochs = json_array();

	for (uint32_t i = 0; hvrepl_vm_get_epoch(endpoint->node, &vm->id, i,
						 &epoch) == HVREPL_OK; i++)
		json_array_append_new(
			epochs,
			json_pack("{s:o,s:o,s:o,s:I,s:s,s:b,s:b}", "id",
				  uuid_json(&epoch.id), "parent",
				  uuid_json(&epoch.parent), "owner",
				  uuid_json(&epoch.owner), "fork_point",
				  (json_int_t)epoch.fork_point, "outcome",
				  name_of_outcome(epoch.outcome), "planned",
				  (int)epoch.planned, "current",
				  (int)epoch.current));
	return epochs;
}

static json_t *bits_json(uint32_t set, uint32_t count,
			 const char *(*name)(uint32_t bit))
{
	json_t *names = json_array();

	for (uint32_t bit = 0; bit < count; bit++)
		if ((set & (1u << bit)) != 0)
			json_array_append_new(names, json_string(name(bit)));
	return names;
}

static json_t *bytes_json(uint64_t bytes)
{
	return bytes == HVREPL_BYTES_UNKNOWN ? json_null() :
					       json_integer((json_int_t)bytes);
}

static json_t *loss_json(const struct hvrepl_vm_status *vm)
{
	if (vm->loss_point == 0)
		return json_null();
	return json_pack("{s:I,s:I,s:o,s:o}", "point",
			 (json_int_t)vm->loss_point, "age_ns",
			 (json_int_t)vm->loss_age_ns, "said_bytes",
			 bytes_json(vm->loss_said_bytes), "bytes",
			 bytes_json(vm->loss_bytes));
}

static json_t *vm_json(struct endpoint *endpoint,
		       const struct hvrepl_vm_status *vm)
{
	json_t *json = json_pack(
		"{s:s,s:o,s:s,s:s,s:s,s:s,s:s,s:b,s:b,s:o}", "name", vm->name,
		"id", uuid_json(&vm->id), "mode", name_of_mode(vm->mode),
		"state", name_of_state(vm->state), "ownership",
		name_of_ownership(vm->ownership), "health",
		name_of_health(vm->health), "peer", vm->peer_name, "writable",
		(int)vm->writable, "connected", (int)vm->connected, "sentence",
		text_json(vm->sentence));
	json_t *more = json_pack(
		"{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:i}",
		"interval_ns", (json_int_t)vm->cycle_ns, "last_point",
		(json_int_t)vm->last_point, "last_point_utc_ns",
		(json_int_t)vm->last_point_utc_ns, "last_cut",
		(json_int_t)vm->last_cut, "points", (json_int_t)vm->point_count,
		"changed_bytes", (json_int_t)vm->dirty_bytes, "sent_bytes",
		(json_int_t)vm->sent_bytes, "received_bytes",
		(json_int_t)vm->received_bytes, "progress_bytes",
		(json_int_t)vm->progress, "total_bytes", (json_int_t)vm->total,
		"job", job_id(vm->job), "open_code", (int)vm->open_code);

	json_object_update(json, more);
	json_decref(more);
	json_object_set_new(json, "loss", loss_json(vm));
	json_object_set_new(json, "epoch", uuid_json(&vm->epoch));
	json_object_set_new(json, "reasons",
			    bits_json(vm->reasons, HVREPL_REASON_COUNT,
				      name_of_reason));
	if (endpoint_audit_code(endpoint) < 0) {
		json_array_append_new(json_object_get(json, "reasons"),
				      json_string("audit-failed"));
		json_object_set_new(json, "health", json_string("Critical"));
		json_object_set_new(json, "sentence",
				    json_string("the site's audit cannot be written: nothing that costs data is done until it can"));
	}
	json_object_set_new(json, "allowed_operations",
			    bits_json(vm->allowed & ~1u, HVREPL_OPERATION_COUNT,
				      name_of_operation));
	json_object_set_new(json, "disks", disks_json(endpoint, vm));
	json_object_set_new(json, "epochs", epochs_json(endpoint, vm));
	return json;
}

json_t *endpoint_vms_json(struct endpoint *endpoint)
{
	struct hvrepl_vm_status vm = HVREPL_VM_STATUS_INIT;
	json_t *vms = json_array();

	for (uint32_t i = 0; hvrepl_node_get_vm(endpoint->node, i, &vm) ==
			     HVREPL_OK; i++)
		json_array_append_new(vms, vm_json(endpoint, &vm));
	return vms;
}

json_t *endpoint_peers_json(struct endpoint *endpoint)
{
	struct hvrepl_peer_status peer = HVREPL_PEER_STATUS_INIT;
	json_t *peers = json_array();

	for (uint32_t i = 0; hvrepl_node_get_peer(endpoint->node, i, &peer) ==
			     HVREPL_OK; i++)
		json_array_append_new(
			peers,
			json_pack("{s:s,s:s,s:b,s:I,s:s,s:I,s:I,s:I,s:I}", "name",
				  peer.name, "site", peer.site, "connected",
				  (int)peer.connected, "failures",
				  (json_int_t)peer.failures, "last_error",
				  peer.code < 0 ? hvrepl_error_name(peer.code) :
						  "", "sent_bytes",
				  (json_int_t)peer.sent_bytes,
				  "received_bytes",
				  (json_int_t)peer.received_bytes,
				  "until_utc_ns", (json_int_t)peer.until_utc_ns,
				  "renewal_until_utc_ns",
				  (json_int_t)peer.renewal_until_utc_ns));
	return peers;
}

/* The VM that the pattern's first {} names; false after saying so. */
static bool vm_of(struct endpoint *endpoint, struct control_request *request,
		  struct hvrepl_vm_status *vm)
{
	if (endpoint_find_vm(endpoint, control_parameter(request, 0), vm) ==
	    HVREPL_OK)
		return true;
	control_fail(request, HVREPL_E_NOT_FOUND,
		     "There is no VM '%s' at site '%s'. 'hvrepl status' lists them.",
		     control_parameter(request, 0), endpoint->config->name);
	return false;
}

void endpoint_get_vm(struct endpoint *endpoint,
		     struct control_request *request)
{
	struct hvrepl_vm_status vm = HVREPL_VM_STATUS_INIT;

	if (vm_of(endpoint, request, &vm))
		control_reply(request, vm_json(endpoint, &vm));
}

void endpoint_get_points(struct endpoint *endpoint,
			 struct control_request *request)
{
	struct hvrepl_vm_status vm = HVREPL_VM_STATUS_INIT;
	struct hvrepl_point point = HVREPL_POINT_INIT;
	json_t *points;

	if (!vm_of(endpoint, request, &vm))
		return;
	points = json_array();
	for (uint32_t i = 0; hvrepl_vm_get_point(endpoint->node, &vm.id, i,
						 &point) == HVREPL_OK; i++)
		json_array_append_new(
			points,
			json_pack("{s:I,s:I,s:o,s:o,s:I,s:o,s:b,s:b,s:b}", "point",
				  (json_int_t)point.number, "utc_ns",
				  (json_int_t)point.utc_ns, "epoch",
				  uuid_json(&point.epoch), "cut",
				  uuid_json(&point.cut), "stored_bytes",
				  (json_int_t)point.stored_bytes, "changed_bytes",
				  bytes_json(point.changed_bytes), "pinned",
				  (int)(point.pins != 0), "tail",
				  (int)((point.pins & HVREPL_PIN_TAIL) != 0),
				  "in_doubt",
				  (int)((point.flags & HVREPL_POINT_DOUBTED) != 0)));
	control_reply(request, json_pack("{s:s,s:o}", "vm", vm.name, "points",
					 points));
}

void endpoint_get_measure(struct endpoint *endpoint,
			  struct control_request *request)
{
	struct hvrepl_vm_status vm = HVREPL_VM_STATUS_INIT;
	const struct endpoint_measure *m;

	if (!vm_of(endpoint, request, &vm))
		return;
	m = endpoint_measure(endpoint, &vm.id);
	if (m == NULL) {
		control_fail(request, HVREPL_E_NOMEM, "Not enough memory.");
		return;
	}
	control_reply(
		request,
		json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}",
			  "vm", vm.name, "interval_ns", (json_int_t)vm.cycle_ns,
			  "cuts", (json_int_t)vm.cuts, "missed",
			  (json_int_t)vm.missed, "points",
			  (json_int_t)vm.points, "sent_bytes",
			  (json_int_t)vm.sent_bytes, "received_bytes",
			  (json_int_t)vm.received_bytes, "pending_bytes",
			  (json_int_t)vm.dirty_bytes, "last_latency_ns",
			  (json_int_t)m->last_ns, "average_latency_ns",
			  (json_int_t)(m->points == 0 ? 0 :
				       m->sum_ns / m->points),
			  "max_latency_ns", (json_int_t)m->max_ns,
			  "last_point_bytes", (json_int_t)m->last_bytes,
			  "max_point_bytes", (json_int_t)m->max_bytes));
}

static const char *body_text(const struct control_request *request,
			     const char *name)
{
	return json_string_value(
		json_object_get(control_body(request), name));
}

static void start_operation(struct endpoint *endpoint,
			    struct control_request *request, uint32_t type,
			    const struct hvrepl_vm_status *vm)
{
	struct hvrepl_operation operation = HVREPL_OPERATION_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	const char *epoch = body_text(request, "epoch");
	json_int_t point = json_integer_value(
		json_object_get(control_body(request), "point"));
	uint64_t job = 0;
	int32_t rc;

	operation.type = type;
	if (epoch != NULL && !uuid_parse(epoch, &operation.epoch)) {
		control_fail(request, HVREPL_E_INVALID,
			     "'%s' is not the id of an epoch. 'hvrepl status %s' shows them.",
			     epoch, vm->name);
		return;
	}
	if (point < 0) {
		control_fail(request, HVREPL_E_INVALID,
			     "A point is a positive number.");
		return;
	}
	operation.vm = vm->id;
	operation.point = (uint64_t)point;
	operation.peer = body_text(request, "peer");
	/* With one peer there is nothing to choose. */
	if (operation.type == HVREPL_OPERATION_ENABLE &&
	    operation.peer == NULL && endpoint->config->peer_count == 1)
		operation.peer = endpoint->config->peers[0].name;
	if (operation.type == HVREPL_OPERATION_ENABLE &&
	    operation.peer == NULL) {
		control_fail(request, HVREPL_E_INVALID,
			     "Name the peer with --peer: the site has %zu.",
			     endpoint->config->peer_count);
		return;
	}
	rc = endpoint_audit_operation(endpoint, type, name_of_operation(type),
				      vm, &error);
	if (rc == HVREPL_OK)
		rc = hvrepl_node_operate(endpoint->node, &operation, &job,
					 &error);
	if (rc < 0) {
		if (error.code == HVREPL_OK)
			error.code = rc;
		control_fail_error(request, &error);
		return;
	}
	endpoint_add_job(endpoint, job, &vm->id, operation.type);
	control_reply(request, json_pack("{s:o,s:s,s:s}", "job", job_id(job),
					 "vm", vm->name, "operation",
					 name_of_operation(operation.type)));
}

/* What an operation does not look at is not said to it: who names a point to a
 * planned failover would find out afterwards that it was not taken. */
static bool says_what_counts(struct control_request *request, uint32_t type)
{
	bool point = type == HVREPL_OPERATION_UNPLANNED ||
		     type == HVREPL_OPERATION_CHANGE_POINT ||
		     type == HVREPL_OPERATION_VERIFY;
	const char *extra =
		body_text(request, "peer") != NULL &&
				type != HVREPL_OPERATION_ENABLE ?
			"peer" :
		body_text(request, "epoch") != NULL &&
				type != HVREPL_OPERATION_DISCARD ?
			"epoch" :
		json_is_integer(json_object_get(control_body(request),
						"point")) &&
				!point ?
			"point" :
			NULL;

	if (extra == NULL)
		return true;
	control_fail(request, HVREPL_E_INVALID,
		     "The operation '%s' takes no '%s'. Leave it away.",
		     name_of_operation(type), extra);
	return false;
}

void endpoint_post_operation(struct endpoint *endpoint,
			     struct control_request *request)
{
	static const struct control_field fields[] = {
		{ "operation", JSON_STRING },
		{ "peer", JSON_STRING },
		{ "point", JSON_INTEGER },
		{ "epoch", JSON_STRING },
		{ NULL, JSON_NULL },
	};
	struct hvrepl_vm_status vm = HVREPL_VM_STATUS_INIT;
	const char *name = body_text(request, "operation");
	uint32_t type;

	if (!control_check_body(request, fields) ||
	    !vm_of(endpoint, request, &vm))
		return;
	if (name == NULL || !operation_of_name(name, &type))
		control_fail(request, HVREPL_E_INVALID,
			     "There is no operation '%s'.",
			     name == NULL ? "" : name);
	else if (says_what_counts(request, type))
		start_operation(endpoint, request, type, &vm);
}

void endpoint_post_cut(struct endpoint *endpoint,
		       struct control_request *request)
{
	struct hvrepl_vm_status vm = HVREPL_VM_STATUS_INIT;

	if (vm_of(endpoint, request, &vm))
		start_operation(endpoint, request, HVREPL_OPERATION_CUT_NOW,
				&vm);
}

/* A waiting request, and what it waits for. */
struct waiting {
	struct endpoint *endpoint;
	uint64_t job;
	struct hvrepl_uuid vm;
	uint64_t point;
	bool any_state, any_ownership;
	uint32_t state, ownership;
};

static json_t *job_json(struct endpoint *endpoint,
			const struct endpoint_job *job)
{
	struct hvrepl_vm_status vm = HVREPL_VM_STATUS_INIT;
	uint64_t done = job->bytes, total = job->total_bytes;

	if (hvrepl_vm_get_status(endpoint->node, &job->vm, &vm) == HVREPL_OK &&
	    vm.job == job->id && vm.total != 0) {
		done = vm.progress;
		total = vm.total;
	}
	return json_pack("{s:o,s:s,s:s,s:b,s:i,s:o,s:I,s:I}", "job",
			 job_id(job->id), "vm", vm.name, "operation",
			 name_of_operation(job->type), "done", (int)job->done,
			 "code", (int)job->code, "sentence", text_json(job->sentence),
			 "bytes", (json_int_t)done, "total_bytes",
			 (json_int_t)total);
}

static bool look_job(struct control_request *request, void *argument,
		     bool expired)
{
	struct waiting *waiting = argument;
	const struct endpoint_job *job =
		endpoint_find_job(waiting->endpoint, waiting->job);

	if (job == NULL) {
		control_fail(request, HVREPL_E_NOT_FOUND,
			     "There is no job %llu any more; 'hvrepl status' shows what became of it.",
			     (unsigned long long)waiting->job);
		return true;
	}
	if (!job->done && !expired)
		return false;
	control_reply(request, job_json(waiting->endpoint, job));
	return true;
}

static bool look_vm(struct control_request *request, void *argument,
		    bool expired)
{
	struct waiting *w = argument;
	struct hvrepl_vm_status vm = HVREPL_VM_STATUS_INIT;

	if (hvrepl_vm_get_status(w->endpoint->node, &w->vm, &vm) < 0) {
		control_fail(request, HVREPL_E_NOT_FOUND,
			     "The VM is no longer replicated.");
		return true;
	}
	if ((w->any_state || vm.state == w->state) &&
	    (w->any_ownership || vm.ownership == w->ownership) &&
	    vm.last_point >= w->point) {
		control_reply(request, vm_json(w->endpoint, &vm));
		return true;
	}
	if (expired)
		control_fail(request, HVREPL_E_TIMEOUT,
			     "The time limit passed: VM '%s' is %s, %s, at point %llu. %s",
			     vm.name, name_of_ownership(vm.ownership),
			     name_of_state(vm.state),
			     (unsigned long long)vm.last_point, vm.sentence);
	return expired;
}

static bool query_number(struct control_request *request, const char *name,
			 uint64_t max, uint64_t *value_inout)
{
	const char *text = control_query(request, name);
	unsigned long long value;
	char *end;

	if (text == NULL)
		return true;
	value = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != 0 || value > max) {
		control_fail(request, HVREPL_E_INVALID,
			     "%s=%s is not a number from 0 to %llu.", name,
			     text, (unsigned long long)max);
		return false;
	}
	*value_inout = value;
	return true;
}

static void wait_for(struct control_request *request, uint64_t limit_ms,
		     wait_look *look, const struct waiting *waiting)
{
	struct waiting *copy = malloc(sizeof(*copy));

	if (copy == NULL) {
		control_fail(request, HVREPL_E_NOMEM, "Not enough memory.");
		return;
	}
	*copy = *waiting;
	waits_add(&copy->endpoint->waits, request,
		  endpoint_now(copy->endpoint), limit_ms * 1000000u, look,
		  copy);
	/* The loop looks at the new deadline. */
	hvrepl_loop_wake(waiting->endpoint->control_loop);
}

void endpoint_get_job(struct endpoint *endpoint,
		      struct control_request *request)
{
	static const char *const names[] = { "wait_ms", NULL };
	struct waiting waiting = { .endpoint = endpoint };
	uint64_t limit_ms = 0;
	char *end;

	waiting.job = strtoull(control_parameter(request, 0), &end, 10);
	if (*end != 0)
		waiting.job = 0;
	if (control_check_query(request, names) &&
	    query_number(request, "wait_ms", WAIT_MAX_MS, &limit_ms))
		wait_for(request, limit_ms, look_job, &waiting);
}

void endpoint_get_wait(struct endpoint *endpoint,
		       struct control_request *request)
{
	static const char *const names[] = { "state", "ownership", "point",
					     "timeout_ms", NULL };
	struct waiting waiting = { .endpoint = endpoint };
	struct hvrepl_vm_status vm = HVREPL_VM_STATUS_INIT;
	const char *state = control_query(request, "state");
	const char *ownership = control_query(request, "ownership");
	uint64_t limit_ms = WAIT_MAX_MS;

	if (!control_check_query(request, names) ||
	    !vm_of(endpoint, request, &vm))
		return;
	waiting.vm = vm.id;
	waiting.any_state = state == NULL;
	waiting.any_ownership = ownership == NULL;
	if ((state != NULL && !state_of_name(state, &waiting.state)) ||
	    (ownership != NULL &&
	     !ownership_of_name(ownership, &waiting.ownership))) {
		control_fail(request, HVREPL_E_INVALID,
			     "There is no state or ownership of that name. hvrepl(1) lists them.");
		return;
	}
	if (query_number(request, "point", INT64_MAX, &waiting.point) &&
	    query_number(request, "timeout_ms", WAIT_MAX_MS, &limit_ms))
		wait_for(request, limit_ms, look_vm, &waiting);
}
