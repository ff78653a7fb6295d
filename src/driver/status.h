/* SPDX-License-Identifier: Apache-2.0 */
/* What a node shows of itself, and the VMs an application brings. */
#ifndef HVRI_DRIVER_STATUS_H
#define HVRI_DRIVER_STATUS_H

#include "driver/node.h"

/* The node's life; see <hvrepl/node.h> for what they promise. */
HVRI_MUST_CHECK int32_t hvri_node_create(const struct hvrepl_node_config *config,
					 hvrepl_node **out,
					 struct hvrepl_error *error);
/* Lets go of what they hold, for who cannot give them to a node. Of the VM's and the
 * peer's nothing is known yet. */
void hvri_node_config_drop(const struct hvrepl_node_config *config);
void hvri_vm_config_drop(const struct hvrepl_vm_config *given);
HVRI_MUST_CHECK int32_t hvri_node_close(struct hvrepl_node *node);
HVRI_MUST_CHECK int32_t hvri_node_destroy(struct hvrepl_node *node);
int32_t hvri_node_process(struct hvrepl_node *node, uint32_t budget);
uint64_t hvri_node_deadline(struct hvrepl_node *node);
HVRI_MUST_CHECK int32_t hvri_node_post(struct hvrepl_node *node,
				       void (*function)(void *argument),
				       void *argument);

HVRI_MUST_CHECK int32_t hvri_node_add_vm(struct hvrepl_node *node,
					 const struct hvrepl_vm_config *config,
					 struct hvrepl_error *error);
HVRI_MUST_CHECK int32_t hvri_vm_set_cycle(struct hvrepl_node *node,
					  const struct hvrepl_uuid *id,
					  uint64_t cycle_ns,
					  struct hvrepl_error *error);
HVRI_MUST_CHECK int32_t
hvri_node_operate(struct hvrepl_node *node,
		  const struct hvrepl_operation *operation, uint64_t *job_out,
		  struct hvrepl_error *error);

void hvri_node_status(const struct hvrepl_node *node,
		      struct hvrepl_node_status *status);
HVRI_MUST_CHECK int32_t hvri_peer_status(const struct hvrepl_node *node,
					 uint32_t index,
					 struct hvrepl_peer_status *status);
/* The i-th VM; NULL past the last. */
struct hvri_vm *hvri_node_vm_at(const struct hvrepl_node *node, uint32_t index);
/* Why no operation is taken just now: BUSY, or STATE of a VM that cannot be opened. */
HVRI_MUST_CHECK int32_t hvri_vm_not_now(const struct hvri_vm *vm,
					struct hvrepl_error *error);
void hvri_vm_status(struct hvri_vm *vm, struct hvrepl_vm_status *status);
/* Bytes of the transfer under way, as in hvrepl_vm_status; 0, 0: none. */
void hvri_vm_progress(const struct hvri_vm *vm, uint64_t *done_out,
		      uint64_t *total_out);
/* Bytes of all its disks, as far as `disk`, `offset`. */
uint64_t hvri_vm_bytes_before(const struct hvri_vm *vm, uint32_t disk,
			      uint64_t offset);
/* What the relationship does not know of ails it: the event, with `code`; or, OK, it
 * does so no more, as `over` says, which ends where what ails it still follows. */
void hvri_vm_tell_health(struct hvri_vm *vm, int32_t code, const char *over);
HVRI_MUST_CHECK int32_t hvri_vm_point(struct hvri_vm *vm, uint32_t index,
				      struct hvrepl_point *point);
HVRI_MUST_CHECK int32_t hvri_vm_epoch(const struct hvri_vm *vm, uint32_t index,
				      struct hvrepl_epoch *epoch);
HVRI_MUST_CHECK int32_t hvri_vm_disk_spec(const struct hvri_vm *vm,
					  uint32_t index,
					  struct hvrepl_disk_spec *spec);
HVRI_MUST_CHECK int32_t hvri_vm_door(struct hvri_vm *vm,
				     const struct hvrepl_uuid *disk,
				     hvrepl_guest_disk **out);
HVRI_MUST_CHECK int32_t hvri_vm_view(struct hvri_vm *vm, uint64_t point,
				     hvrepl_view **out,
				     struct hvrepl_error *error);
#endif
