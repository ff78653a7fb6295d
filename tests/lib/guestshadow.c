/* SPDX-License-Identifier: Apache-2.0 */
/* The guest of two sites, and what its disks must hold. */
#include "guestshadow.h"

#include <stdio.h>
#include <string.h>

struct pair pair;
struct shadow shadow;
static uint8_t seen[SHADOW_SIZE];

void shadow_setup(void)
{
	pair_init(&pair, 7, SHADOW_SIZE);
	memset(&shadow, 0, sizeof(shadow));
	pair_start(&pair, &pair.b);
	pair_start(&pair, &pair.a);
	pair_run(&pair, SECOND);
}

void shadow_teardown(void)
{
	pair_free(&pair);
}

void shadow_scatter(struct pair_site *site, uint64_t seed, unsigned writes)
{
	uint64_t state = seed * 2 + 1;

	for (unsigned i = 0; i < writes; i++) {
		unsigned disk = (unsigned)(test_random(&state) % PAIR_DISKS);
		uint64_t offset =
			test_random(&state) % (SHADOW_SIZE / 512 - 16) * 512;
		size_t length = (test_random(&state) % 16 + 1) * 512;
		uint8_t *bytes = shadow.disks[disk] + offset;

		test_fill(bytes, length, test_random(&state));
		ck_assert_int_eq(pair_write(site, disk, offset, bytes, length),
				 HVREPL_OK);
	}
}

void shadow_flush(struct pair_site *site)
{
	for (unsigned i = 0; i < PAIR_DISKS; i++)
		ck_assert_int_eq(pair_flush(site, i), HVREPL_OK);
}

void shadow_expect_point(struct pair_site *site, uint64_t point)
{
	for (unsigned i = 0; i < PAIR_DISKS; i++) {
		pair_read_point(site, point, i, seen);
		ck_assert_msg(memcmp(seen, shadow.disks[i], SHADOW_SIZE) == 0,
			      "disk %u differs at point %llu", i,
			      (unsigned long long)point);
	}
}

void shadow_expect_disks(struct pair_site *site)
{
	for (unsigned i = 0; i < PAIR_DISKS; i++) {
		ck_assert_int_eq(pair_read(site, i, 0, seen, SHADOW_SIZE),
				 HVREPL_OK);
		ck_assert_msg(memcmp(seen, shadow.disks[i], SHADOW_SIZE) == 0,
			      "disk %u differs at %s", i, site->name);
	}
}

void shadow_reload(struct pair_site *site)
{
	for (unsigned i = 0; i < PAIR_DISKS; i++)
		ck_assert_int_eq(pair_read(site, i, 0, shadow.disks[i],
					   SHADOW_SIZE),
				 HVREPL_OK);
}

void shadow_expect_fenced(struct pair_site *site)
{
	memset(seen, 0xee, 512);
	ck_assert_int_eq(pair_write(site, 0, 0, seen, 512), HVREPL_E_FENCED);
}

static uint64_t wanted;
static struct pair_site *wanted_at;

static bool has_wanted(struct pair *p)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	(void)p;
	return wanted_at->node != NULL &&
	       hvrepl_vm_get_status(wanted_at->node, &pair_vm, &status) ==
		       HVREPL_OK &&
	       status.point_count > 0 && status.last_point >= wanted;
}

void shadow_ok(struct pair_site *site, uint32_t operation)
{
	int32_t rc = pair_operate(&pair, site, operation, 0);

	ck_assert_msg(rc == HVREPL_OK, "%s, operation %u: %d %s", site->name,
		      operation, rc, site->job_sentence);
}

void shadow_protect(void)
{
	shadow_ok(&pair.a, HVREPL_OPERATION_ENABLE);
	shadow_ok(&pair.a, HVREPL_OPERATION_START_INITIAL);
	wanted = 1;
	wanted_at = &pair.b;
	ck_assert(pair_until(&pair, 60 * SECOND, has_wanted));
}

void shadow_protect_full(void)
{
	for (unsigned i = 0; i < PAIR_DISKS; i++) {
		test_fill(shadow.disks[i], SHADOW_SIZE, 77 + i);
		ck_assert_int_eq(pair_write(&pair.a, i, 0, shadow.disks[i],
					    SHADOW_SIZE),
				 HVREPL_OK);
	}
	shadow_protect();
}

uint64_t shadow_next_point(struct pair_site *from, struct pair_site *to)
{
	struct hvrepl_vm_status status;

	pair_status(from, &status);
	/* A cut under way may have been made before: not that one. */
	wanted = status.last_cut;
	pair_status(to, &status);
	wanted = (status.last_point > wanted ? status.last_point : wanted) + 1;
	wanted_at = to;
	ck_assert_msg(pair_until(&pair, 60 * SECOND, has_wanted),
		      "no point at %s", to->name);
	return pair_newest_point(to);
}

static uint32_t wanted_state, wanted_ownership;

static bool is_so(struct pair *p)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	(void)p;
	return wanted_at->node != NULL &&
	       hvrepl_vm_get_status(wanted_at->node, &pair_vm, &status) ==
		       HVREPL_OK &&
	       status.state == wanted_state &&
	       status.ownership == wanted_ownership;
}

void shadow_await(struct pair_site *site, uint32_t state, uint32_t ownership)
{
	struct hvrepl_vm_status status;

	wanted_at = site;
	wanted_state = state;
	wanted_ownership = ownership;
	if (pair_until(&pair, 60 * SECOND, is_so))
		return;
	pair_status(site, &status);
	ck_abort_msg("%s: state %u ownership %u (%s), not %u %u", site->name,
		     status.state, status.ownership, status.sentence, state,
		     ownership);
}

void shadow_enable_over_quota(void)
{
	struct hvrepl_authorisation entry = HVREPL_AUTHORISATION_INIT;

	entry.peer = "site-a";
	entry.trust_group = "pair";
	entry.verbs = HVREPL_VERB_ALL;
	entry.points_max = 7; /* The VM asks for 8. */
	ck_assert_int_eq(hvrepl_node_authorise(pair.b.node, &entry), HVREPL_OK);
	pair_run(&pair, 3 * SECOND);
	ck_assert_int_eq(pair_operate(&pair, &pair.a, HVREPL_OPERATION_ENABLE,
				      0),
			 HVREPL_E_LIMIT);
}

struct hvrepl_vm_status shadow_status(struct pair_site *site)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	pair_status(site, &status);
	return status;
}

bool shadow_b_is_gone(struct pair *p)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	return hvrepl_vm_get_status(p->b.node, &pair_vm, &status) ==
	       HVREPL_E_NOT_FOUND;
}
