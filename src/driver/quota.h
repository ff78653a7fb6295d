/* SPDX-License-Identifier: Apache-2.0 */
/* What the points of a VM may take at this site (S6). */
#ifndef HVRI_DRIVER_QUOTA_H
#define HVRI_DRIVER_QUOTA_H

#include "store/store.h"

struct hvri_vm;
struct hvrepl_node;

/* INVALID: too little to be meant. 0 is none. */
HVRI_MUST_CHECK int32_t hvri_quota_check(uint64_t bytes,
					 struct hvrepl_error *error);
/* The VM's own, on a store that was just opened: it stands whatever it holds,
 * and too little of it is told. Any thread that has the store to itself. */
void hvri_quota_apply(struct hvri_vm *vm, hvrepl_store *store);
HVRI_MUST_CHECK int32_t hvri_vm_set_quota(struct hvrepl_node *node,
					  const struct hvrepl_uuid *vm,
					  uint64_t bytes, uint32_t points_min,
					  struct hvrepl_error *error);
#endif
