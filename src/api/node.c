/* SPDX-License-Identifier: Apache-2.0 */
/* The public door of the node: checks, guard, sizes of structs. */
#include "api/guard.h"
#include "base/abi.h"
#include "driver/node.h"
#include "driver/status.h"
#include "driver/quota.h"

#include <hvrepl/node.h>

static int32_t enter(hvrepl_node *node, enum hvri_function function,
		     struct hvrepl_error *error)
{
	int32_t rc;

	if (node == NULL)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "node must not be NULL");
	rc = hvri_guard_enter(&node->guard, function);
	return rc < 0 ? hvri_fail(error, rc, "%s", hvrepl_strerror(rc)) : rc;
}

/* Functions that end nothing: enter, do, leave. */
#define GUARDED(node, name, expression) SAID(node, name, expression, NULL)
/* Those that say why not. */
#define SAID(node, name, expression, error)                            \
	do {                                                           \
		int32_t guarded_rc;                                    \
		HVRI_TRY(enter(node, HVRI_FN(name), error));           \
		guarded_rc = (expression);                             \
		hvri_guard_leave(&(node)->guard, HVRI_FN(name));       \
		return guarded_rc;                                     \
	} while (0)

int32_t hvrepl_node_create(const struct hvrepl_node_config *config,
			   hvrepl_node **out, struct hvrepl_error *error)
{
	struct hvrepl_node_config copy;
	int32_t rc;

	rc = hvri_abi_copy_in(&copy, sizeof(copy),
			      HVRI_SIZE_UP_TO(struct hvrepl_node_config,
					      retry_max_ns),
			      config);
	if (rc == HVREPL_E_INVALID)
		return hvri_fail(error, rc,
				 "the node's config is missing or has a wrong "
				 "struct_size: begin with HVREPL_NODE_CONFIG_INIT");
	if (rc == HVREPL_OK && out == NULL)
		rc = hvri_fail(error, HVREPL_E_INVALID,
			       "out must not be NULL");
	if (rc < 0) {
		hvri_node_config_drop(&copy);
		return rc == HVREPL_E_TOO_NEW ?
			       hvri_fail(error, rc,
					 "the node's config has members that "
					 "this version does not know") :
			       rc;
	}
	return hvri_node_create(&copy, out, error);
}

int32_t hvrepl_node_close(hvrepl_node *node)
{
	GUARDED(node, hvrepl_node_close, hvri_node_close(node));
}

int32_t hvrepl_node_destroy(hvrepl_node *node)
{
	int32_t rc;

	if (node == NULL)
		return HVREPL_OK;
	HVRI_TRY(hvri_guard_enter(&node->guard, HVRI_FN(hvrepl_node_destroy)));
	rc = hvri_node_destroy(node);
	if (rc < 0)
		hvri_guard_leave(&node->guard, HVRI_FN(hvrepl_node_destroy));
	return rc;
}

int32_t hvrepl_node_process(hvrepl_node *node, uint32_t budget)
{
	GUARDED(node, hvrepl_node_process, hvri_node_process(node, budget));
}

uint64_t hvrepl_node_deadline(hvrepl_node *node)
{
	return node == NULL ? UINT64_MAX : hvri_node_deadline(node);
}

int32_t hvrepl_node_post(hvrepl_node *node, void (*function)(void *argument),
			 void *argument)
{
	if (node == NULL || function == NULL)
		return HVREPL_E_INVALID;
	return hvri_node_post(node, function, argument);
}

int32_t hvrepl_node_note(hvrepl_node *node, const struct hvrepl_note *note)
{
	if (node == NULL || note == NULL)
		return HVREPL_E_INVALID;
	return hvri_node_note(node, note);
}

int32_t hvrepl_node_set_trust(hvrepl_node *node,
			      const struct hvrepl_trust *trust)
{
	GUARDED(node, hvrepl_node_set_trust, hvri_node_set_trust(node, trust));
}

int32_t hvrepl_node_set_renewal(hvrepl_node *node, const char *peer,
				uint64_t until_utc_ns)
{
	if (peer == NULL)
		return HVREPL_E_INVALID;
	GUARDED(node, hvrepl_node_set_renewal,
		hvri_node_set_renewal(node, peer, until_utc_ns));
}

int32_t hvrepl_node_add_peer(hvrepl_node *node,
			     const struct hvrepl_peer_config *peer,
			     struct hvrepl_error *error)
{
	int32_t rc = enter(node, HVRI_FN(hvrepl_node_add_peer), error);

	if (rc < 0) {
		hvri_peer_config_drop(peer);
		return rc;
	}
	rc = hvri_node_add_peer(node, peer, error);
	hvri_guard_leave(&node->guard, HVRI_FN(hvrepl_node_add_peer));
	return rc;
}

int32_t hvrepl_node_connected(hvrepl_node *node,
			      const struct hvrepl_channel *channel,
			      uint32_t flags)
{
	if (channel == NULL)
		return HVREPL_E_INVALID;
	if (node == NULL) {
		hvri_channel_drop(channel);
		return HVREPL_E_INVALID;
	}
	return hvri_node_connected(node, channel, flags);
}

int32_t hvrepl_node_connect_failed(hvrepl_node *node, const char *peer,
				   int32_t code)
{
	if (node == NULL || peer == NULL)
		return HVREPL_E_INVALID;
	return hvri_node_connect_failed(node, peer, code);
}

int32_t hvrepl_node_try_peer(hvrepl_node *node,
			     const struct hvrepl_trial *trial,
			     struct hvrepl_error *error)
{
	SAID(node, hvrepl_node_try_peer, hvri_node_try_peer(node, trial, error),
	     error);
}

int32_t hvrepl_node_add_vm(hvrepl_node *node,
			   const struct hvrepl_vm_config *config,
			   struct hvrepl_error *error)
{
	int32_t rc = enter(node, HVRI_FN(hvrepl_node_add_vm), error);

	if (rc < 0) {
		hvri_vm_config_drop(config);
		return rc;
	}
	rc = hvri_node_add_vm(node, config, error);
	hvri_guard_leave(&node->guard, HVRI_FN(hvrepl_node_add_vm));
	return rc;
}

int32_t hvrepl_vm_set_cycle(hvrepl_node *node, const struct hvrepl_uuid *vm,
			    uint64_t cycle_ns, struct hvrepl_error *error)
{
	if (vm == NULL)
		return hvri_fail(error, HVREPL_E_INVALID, "vm must not be NULL");
	SAID(node, hvrepl_vm_set_cycle,
	     hvri_vm_set_cycle(node, vm, cycle_ns, error), error);
}

int32_t hvrepl_vm_set_quota(hvrepl_node *node, const struct hvrepl_uuid *vm,
			    uint64_t bytes, uint32_t points_min,
			    struct hvrepl_error *error)
{
	if (vm == NULL)
		return hvri_fail(error, HVREPL_E_INVALID, "vm must not be NULL");
	SAID(node, hvrepl_vm_set_quota,
	     hvri_vm_set_quota(node, vm, bytes, points_min, error), error);
}

int32_t hvrepl_node_operate(hvrepl_node *node,
			    const struct hvrepl_operation *operation,
			    uint64_t *job_out, struct hvrepl_error *error)
{
	uint64_t job = 0;

	SAID(node, hvrepl_node_operate,
	     hvri_node_operate(node, operation,
			       job_out != NULL ? job_out : &job, error),
	     error);
}

int32_t hvrepl_node_next_event(hvrepl_node *node, struct hvrepl_event *event)
{
	/* Before one is taken. */
	if (!hvri_abi_sized(event))
		return HVREPL_E_INVALID;
	GUARDED(node, hvrepl_node_next_event,
		hvri_events_take(&node->events, event));
}

int32_t hvrepl_node_connect_now(hvrepl_node *node)
{
	GUARDED(node, hvrepl_node_connect_now,
		(hvri_node_connect_now(node), HVREPL_OK));
}

/* ---- What is shown. ---- */

int32_t hvrepl_node_get_status(hvrepl_node *node,
			       struct hvrepl_node_status *status)
{
	struct hvrepl_node_status full;

	if (node == NULL || !hvri_abi_sized(status))
		return HVREPL_E_INVALID;
	hvri_node_status(node, &full);
	hvri_abi_copy_out(status, &full, sizeof(full));
	return HVREPL_OK;
}

int32_t hvrepl_node_get_peer(hvrepl_node *node, uint32_t index,
			     struct hvrepl_peer_status *status)
{
	struct hvrepl_peer_status full;

	if (node == NULL || !hvri_abi_sized(status))
		return HVREPL_E_INVALID;
	HVRI_TRY(hvri_peer_status(node, index, &full));
	hvri_abi_copy_out(status, &full, sizeof(full));
	return HVREPL_OK;
}

static int32_t show_vm(struct hvri_vm *vm, struct hvrepl_vm_status *status)
{
	struct hvrepl_vm_status full;

	if (vm == NULL)
		return HVREPL_E_NOT_FOUND;
	hvri_vm_status(vm, &full);
	hvri_abi_copy_out(status, &full, sizeof(full));
	return HVREPL_OK;
}

int32_t hvrepl_node_get_vm(hvrepl_node *node, uint32_t index,
			   struct hvrepl_vm_status *status)
{
	if (node == NULL || !hvri_abi_sized(status))
		return HVREPL_E_INVALID;
	return show_vm(hvri_node_vm_at(node, index), status);
}

int32_t hvrepl_vm_get_status(hvrepl_node *node, const struct hvrepl_uuid *vm,
			     struct hvrepl_vm_status *status)
{
	if (node == NULL || vm == NULL || !hvri_abi_sized(status))
		return HVREPL_E_INVALID;
	return show_vm(hvri_node_find_vm(node, vm), status);
}

static struct hvri_vm *find(hvrepl_node *node, const struct hvrepl_uuid *vm,
			    const void *out)
{
	return node == NULL || vm == NULL || out == NULL ?
		       NULL :
		       hvri_node_find_vm(node, vm);
}

int32_t hvrepl_vm_get_disk(hvrepl_node *node, const struct hvrepl_uuid *vm,
			   uint32_t index, struct hvrepl_disk_spec *spec_out)
{
	struct hvri_vm *found = find(node, vm, spec_out);

	return found == NULL ? HVREPL_E_NOT_FOUND :
			       hvri_vm_disk_spec(found, index, spec_out);
}

int32_t hvrepl_vm_get_point(hvrepl_node *node, const struct hvrepl_uuid *vm,
			    uint32_t index, struct hvrepl_point *point_out)
{
	struct hvri_vm *found = find(node, vm, point_out);
	struct hvrepl_point full;

	if (found == NULL)
		return HVREPL_E_NOT_FOUND;
	if (!hvri_abi_sized(point_out))
		return HVREPL_E_INVALID;
	HVRI_TRY(hvri_vm_point(found, index, &full));
	hvri_abi_copy_out(point_out, &full, sizeof(full));
	return HVREPL_OK;
}

int32_t hvrepl_vm_get_epoch(hvrepl_node *node, const struct hvrepl_uuid *vm,
			    uint32_t index, struct hvrepl_epoch *epoch_out)
{
	struct hvri_vm *found = find(node, vm, epoch_out);
	struct hvrepl_epoch full;

	if (found == NULL)
		return HVREPL_E_NOT_FOUND;
	if (!hvri_abi_sized(epoch_out))
		return HVREPL_E_INVALID;
	HVRI_TRY(hvri_vm_epoch(found, index, &full));
	hvri_abi_copy_out(epoch_out, &full, sizeof(full));
	return HVREPL_OK;
}

int32_t hvrepl_vm_open_disk(hvrepl_node *node, const struct hvrepl_uuid *vm,
			    const struct hvrepl_uuid *disk,
			    hvrepl_guest_disk **out)
{
	struct hvri_vm *found = find(node, vm, out);

	return found == NULL || disk == NULL ? HVREPL_E_NOT_FOUND :
					       hvri_vm_door(found, disk, out);
}

int32_t hvrepl_vm_open_view(hvrepl_node *node, const struct hvrepl_uuid *vm,
			    uint64_t point, hvrepl_view **out,
			    struct hvrepl_error *error)
{
	struct hvri_vm *found = find(node, vm, out);

	if (found == NULL)
		return hvri_fail(error, HVREPL_E_NOT_FOUND,
				 "this site has no such VM");
	SAID(node, hvrepl_vm_open_view, hvri_vm_view(found, point, out, error),
	     error);
}
