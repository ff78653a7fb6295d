/* SPDX-License-Identifier: Apache-2.0 */
/* Holding writers up, by range or all of them (S8: freeze, last switch). */
#include "store/gate.h"

#include <stddef.h>
#include <string.h>

#define ANY_DISK UINT32_MAX

void hvri_gate_init(struct hvri_gate *gate)
{
	memset(gate, 0, sizeof(*gate));
	hvri_mutex_init(&gate->mutex);
	hvri_cond_init(&gate->moved);
}

void hvri_gate_free(struct hvri_gate *gate)
{
	hvri_cond_destroy(&gate->moved);
	hvri_mutex_destroy(&gate->mutex);
}

static bool overlap(const struct hvri_gate_pass *a,
		    const struct hvri_gate_pass *b)
{
	bool disks = a->disk == b->disk || a->disk == ANY_DISK ||
		     b->disk == ANY_DISK;

	return disks && a->from < b->to && b->from < a->to;
}

static bool meets_inside(const struct hvri_gate *gate,
			 const struct hvri_gate_pass *pass)
{
	for (const struct hvri_gate_pass *p = gate->inside; p != NULL;
	     p = p->next)
		if (overlap(p, pass))
			return true;
	return false;
}

static bool blocked(const struct hvri_gate *gate,
		    const struct hvri_gate_pass *pass)
{
	return (gate->held && overlap(&gate->hold, pass)) ||
	       meets_inside(gate, pass);
}

void hvri_gate_enter(struct hvri_gate *gate, struct hvri_gate_pass *pass)
{
	hvri_lock(&gate->mutex);
	while (blocked(gate, pass))
		hvri_wait(&gate->moved, &gate->mutex);
	pass->next = gate->inside;
	gate->inside = pass;
	hvri_unlock(&gate->mutex);
}

void hvri_gate_leave(struct hvri_gate *gate, struct hvri_gate_pass *pass)
{
	struct hvri_gate_pass **link = &gate->inside;

	hvri_lock(&gate->mutex);
	while (*link != pass)
		link = &(*link)->next;
	*link = pass->next;
	hvri_wake_all(&gate->moved);
	hvri_unlock(&gate->mutex);
}

bool hvri_gate_would_wait(struct hvri_gate *gate, uint32_t disk, uint64_t from,
			  uint64_t to)
{
	struct hvri_gate_pass pass = { NULL, disk, from, to };
	bool would;

	hvri_lock(&gate->mutex);
	would = blocked(gate, &pass);
	hvri_unlock(&gate->mutex);
	return would;
}

void hvri_gate_hold(struct hvri_gate *gate, uint32_t disk, uint64_t from,
		    uint64_t to)
{
	hvri_lock(&gate->mutex);
	gate->hold = (struct hvri_gate_pass){ NULL, disk, from, to };
	gate->held = true;
	while (meets_inside(gate, &gate->hold))
		hvri_wait(&gate->moved, &gate->mutex);
	hvri_unlock(&gate->mutex);
}

void hvri_gate_hold_all(struct hvri_gate *gate)
{
	hvri_gate_hold(gate, ANY_DISK, 0, UINT64_MAX);
}

void hvri_gate_release(struct hvri_gate *gate)
{
	hvri_lock(&gate->mutex);
	gate->held = false;
	hvri_wake_all(&gate->moved);
	hvri_unlock(&gate->mutex);
}
