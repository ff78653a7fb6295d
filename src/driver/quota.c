/* SPDX-License-Identifier: Apache-2.0 */
/* What the points of a VM may take at this site (S6). */
#include "driver/quota.h"

#include "driver/vm.h"

#define QUOTA_MIN (UINT64_C(4) << 20)
/* Room that only merging and joining may use: the largest piece of either is
 * one point's log, and older points go where that is more. */
#define RESERVE_PART 8u

int32_t hvri_quota_check(uint64_t bytes, struct hvrepl_error *error)
{
	if (bytes == 0 || bytes >= QUOTA_MIN)
		return HVREPL_OK;
	return hvri_fail(error, HVREPL_E_INVALID,
			 "a quota is at least 4 MiB, or 0 for none");
}

static struct hvri_store_limits limits_of(const struct hvri_vm *vm,
					  uint64_t bytes, uint32_t points_min)
{
	return (struct hvri_store_limits){
		.capacity = bytes,
		.reserve = bytes / RESERVE_PART,
		.points_min =
			HVRI_MIN(points_min,
				 vm->relationship.record.policy.points_max),
	};
}

void hvri_quota_apply(struct hvri_vm *vm, hvrepl_store *store)
{
	struct hvri_store_limits limits =
		limits_of(vm, __atomic_load_n(&vm->quota, __ATOMIC_RELAXED),
			  __atomic_load_n(&vm->points_min, __ATOMIC_RELAXED));
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	if (hvri_store_set_limits(store, &limits, true, &error) < 0)
		hvri_log(&vm->node->env, HVREPL_LOG_ERROR,
			 "VM %s: %.180s; until then nothing is received",
			 vm->name, error.sentence);
}

int32_t hvri_vm_set_quota(struct hvrepl_node *node,
			  const struct hvrepl_uuid *id, uint64_t bytes,
			  uint32_t points_min, struct hvrepl_error *error)
{
	struct hvri_vm *vm = hvri_node_find_vm(node, id);
	struct hvri_store_limits limits;
	bool has_store;

	if (vm == NULL)
		return hvri_fail(error, HVREPL_E_NOT_FOUND,
				 "this site has no such VM");
	if (node->closing || vm->closing)
		return hvri_fail_plain(error, HVREPL_E_CLOSED);
	HVRI_TRY(hvri_quota_check(bytes, error));
	limits = limits_of(vm, bytes, points_min);
	has_store = vm->opened && vm->store != NULL; /* Not in the lane's hands. */
	if (has_store)
		HVRI_TRY(hvri_store_set_limits(vm->store, &limits, false,
					       error));
	__atomic_store_n(&vm->quota, bytes, __ATOMIC_RELAXED);
	__atomic_store_n(&vm->points_min, points_min, __ATOMIC_RELAXED);
	__atomic_store_n(&vm->quota_new, !has_store, __ATOMIC_RELEASE);
	hvri_standby_maintain(vm);
	return HVREPL_OK;
}
