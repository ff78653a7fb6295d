/* SPDX-License-Identifier: Apache-2.0 */
/* A third site, and VMs beside the usual one; see pair.h. */
#include "pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pair_more *pair_find_more(struct pair_site *site,
				 const struct hvrepl_uuid *vm)
{
	static const struct hvrepl_uuid none;

	for (unsigned i = 0; site->more != NULL && i < PAIR_MORE_VMS; i++) {
		struct pair_more *more = &site->more[i];

		if (memcmp(&more->id, &none, sizeof(none)) == 0) {
			more->id = *vm;
			more->disk = sim_disk_new(&site->sim,
						  site->pair->disk_size);
			more->disk->flags = HVREPL_DISK_EXCLUSIVE;
			more->storage = sim_storage_new(&site->sim);
		}
		if (memcmp(&more->id, vm, sizeof(*vm)) == 0)
			return more;
	}
	return NULL;
}

static void *must_zero(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (memory == NULL)
		abort();
	return memory;
}

void pair_more_vms(struct pair_site *site)
{
	site->more = must_zero(PAIR_MORE_VMS, sizeof(struct pair_more));
}

void pair_add_third(struct pair *pair, const char *name, uint64_t seed)
{
	struct hvrepl_authorisation entry = HVREPL_AUTHORISATION_INIT;

	pair->c = must_zero(1, sizeof(*pair->c));
	pair_site_init(pair, pair->c, name, seed);
	pair->c->connects = true;
	pair_more_vms(pair->c);
	pair_more_vms(&pair->b);
	entry.verbs = HVREPL_VERB_ALL;
	entry.peer = name;
	entry.trust_group = "third";
	ck_assert_int_eq(hvrepl_node_authorise(pair->b.node, &entry),
			 HVREPL_OK);
}

static struct hvrepl_uuid more_id(unsigned number)
{
	struct hvrepl_uuid id = { { 0xcc, (uint8_t)number, (uint8_t)(number >> 8) } };

	return id;
}

void pair_add_vm(struct pair_site *site, unsigned number)
{
	struct hvrepl_vm_config vm = HVREPL_VM_CONFIG_INIT;
	struct hvrepl_disk_spec spec = { .size = site->pair->disk_size };
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_disk disk;
	struct pair_more *more;
	char name[16];

	vm.id = spec.id = more_id(number);
	spec.id.bytes[0] = 0xcd;
	more = pair_find_more(site, &vm.id);
	ck_assert_ptr_nonnull(more);
	snprintf(spec.name, sizeof(spec.name), "disk");
	snprintf(name, sizeof(name), "vm%u", number);
	disk = sim_disk_handle(more->disk);
	vm.name = name;
	vm.specs = &spec;
	vm.disks = &disk;
	vm.disk_count = 1;
	vm.points_max = 8;
	vm.storage = sim_storage_handle(more->storage);
	vm.cycle_ns = 1000000000ull;
	ck_assert_msg(hvrepl_node_add_vm(site->node, &vm, &error) == HVREPL_OK,
		      "%s", error.sentence);
}

int32_t pair_operate_more(struct pair *pair, struct pair_site *site,
			  unsigned number, uint32_t type)
{
	struct hvrepl_uuid id = more_id(number);

	return pair_operate_vm(pair, site, &id, type, 0);
}

int32_t pair_ask_more(struct pair_site *site, unsigned number, uint32_t type)
{
	struct hvrepl_uuid id = more_id(number);

	return pair_ask_vm(site, &id, type, 0, NULL);
}

void pair_enable_more(struct pair *pair, unsigned count)
{
	pair_init(pair, 3, 16384);
	pair_more_vms(&pair->a);
	pair_more_vms(&pair->b);
	pair_start(pair, &pair->b);
	pair_start(pair, &pair->a);
	pair_link(pair, true);
	pair_run(pair, 5000000000ull);
	for (unsigned i = 0; i < count; i++) {
		pair_add_vm(&pair->a, i);
		pair_run(pair, 1000000000ull);
		ck_assert_int_eq(pair_operate_more(pair, &pair->a, i,
						   HVREPL_OPERATION_ENABLE),
				 HVREPL_OK);
	}
}
