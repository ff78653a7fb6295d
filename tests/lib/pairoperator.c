/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator asks for, from what he sees; see pairoperator.h. */
#include "pairoperator.h"

bool pair_look(struct pair_site *site, struct hvrepl_vm_status *status)
{
	*status = (struct hvrepl_vm_status)HVREPL_VM_STATUS_INIT;
	return site->node != NULL &&
	       hvrepl_vm_get_status(site->node, &pair_vm, status) == HVREPL_OK;
}

bool pair_is_open(struct pair_site *site)
{
	struct hvrepl_guest_info info = HVREPL_GUEST_INFO_INIT;
	hvrepl_guest_disk *door = NULL;

	return site->node != NULL &&
	       hvrepl_vm_open_disk(site->node, &pair_vm, &pair_disk_ids[0],
				   &door) == HVREPL_OK &&
	       hvrepl_guest_get_info(door, &info) == HVREPL_OK &&
	       (info.flags & HVREPL_GUEST_WRITABLE) != 0;
}

bool pair_is_protected(struct pair_site *to, struct pair_site *from)
{
	struct hvrepl_vm_status t, f;
	bool both = pair_look(to, &t);

	both = pair_look(from, &f) && both;
	return both &&
	       t.ownership == HVREPL_OWNERSHIP_OWNER &&
	       t.state == HVREPL_STATE_REPLICATING && t.writable &&
	       f.ownership == HVREPL_OWNERSHIP_STANDBY &&
	       f.state == HVREPL_STATE_REPLICATING;
}

/* 0: nothing. */
static uint32_t sensible(const struct pair_site *to,
			 const struct hvrepl_vm_status *t)
{
	if (t->mode == HVREPL_MODE_NONE)
		return to->brings_vm ? HVREPL_OPERATION_ENABLE : 0;
	switch (t->state) {
	case HVREPL_STATE_READY_FOR_INITIAL:
		return HVREPL_OPERATION_START_INITIAL;
	case HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION:
		return HVREPL_OPERATION_COMMIT;
	case HVREPL_STATE_FAILED_OVER:
		return HVREPL_OPERATION_REVERSE;
	case HVREPL_STATE_SUSPENDED:
	case HVREPL_STATE_RESYNC_SUSPENDED:
		return HVREPL_OPERATION_RESUME;
	case HVREPL_STATE_WAITING_FOR_RESYNC:
		return HVREPL_OPERATION_RESYNC;
	case HVREPL_STATE_REPLICATING:
		return t->ownership == HVREPL_OWNERSHIP_STANDBY ?
			       HVREPL_OPERATION_PLANNED :
			       0;
	case HVREPL_STATE_ERROR:
		return (t->allowed >> HVREPL_OPERATION_RESUME & 1) != 0 ?
			       HVREPL_OPERATION_RESUME :
			       HVREPL_OPERATION_RESYNC;
	default:
		return 0;
	}
}

void pair_ask_sensibly(struct pair_site *to)
{
	struct hvrepl_vm_status t, f;
	uint32_t wish;

	if (!pair_look(to, &t) || t.job != 0)
		return;
	wish = sensible(to, &t);
	if (t.ownership == HVREPL_OWNERSHIP_DIVERGED &&
	    t.state == HVREPL_STATE_FAILED_OVER &&
	    pair_look(pair_other(to), &f)) {
		(void)pair_ask(to, HVREPL_OPERATION_DISCARD, 0, &f.epoch);
		pair_run(to->pair, 1000000000ull);
	}
	if (wish != 0 && (t.allowed >> wish & 1) != 0)
		(void)pair_ask(to, wish, 0, NULL);
}
