/* SPDX-License-Identifier: Apache-2.0 */
/* Doors of guests: given out, opened and shut as ownership goes, and good for as long as
 * their node. */
#include "driver/status.h"
#include "driver/vm.h"

#include "base/plant.h"

int32_t hvri_vm_door(struct hvri_vm *vm, const struct hvrepl_uuid *disk,
		     hvrepl_guest_disk **out)
{
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		if (!hvri_uuid_equal(&vm->disks[i].spec.id, disk))
			continue;
		*out = &vm->disks[i].guest;
		vm->has_doors = true;
		return HVREPL_OK;
	}
	return HVREPL_E_NOT_FOUND;
}

void hvri_vm_doors(struct hvri_vm *vm, bool readable, bool writable)
{
	/* What comes home behind its end opens none: the trackers go. */
	if (vm->closing && !HVRI_PLANT(opened_behind_its_end))
		readable = writable = false;
	if (!writable)
		vm->arming = NULL;
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct hvri_vm_disk *disk = &vm->disks[i];
		struct hvri_backing backing = {
			readable ? &disk->live.disk : NULL,
			writable ? disk->tracker : NULL,
		};

		hvri_guest_switch(&disk->guest, &backing);
	}
}

static void free_disks(struct hvrepl_node *node, struct hvri_vm_disk *disks,
		       uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		hvri_guest_free(&disks[i].guest);
	hvri_free(&node->env, disks, count * sizeof(*disks));
}

void hvri_vm_leave_doors(struct hvri_vm *vm)
{
	struct hvrepl_node *node = vm->node;

	if (vm->has_doors) {
		vm->disks->kept = node->doors;
		vm->disks->kept_count = vm->disk_count;
		node->doors = vm->disks;
	} else {
		free_disks(node, vm->disks, vm->disk_count);
	}
	vm->disks = NULL;
}

void hvri_vm_free_doors(struct hvrepl_node *node)
{
	while (node->doors != NULL) {
		struct hvri_vm_disk *gone = node->doors;

		node->doors = gone->kept;
		free_disks(node, gone, gone->kept_count);
	}
}
