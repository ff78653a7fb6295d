/* SPDX-License-Identifier: Apache-2.0 */
/* Two nodes, their fakes, and the clock that drives them; see pair.h. */
#include "pair.h"

#include "simimage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct hvrepl_uuid pair_vm = { { 0xaa, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
				       12, 13, 14, 15 } };
const struct hvrepl_uuid pair_disk_ids[PAIR_DISKS] = { { { 0xd0, 1 } },
						       { { 0xd1, 1 } } };

/* ---- State store in memory: a put is durable when it returns. ---- */

static struct pair_blob *find_blob(struct pair_site *site, const char *key,
				   bool make)
{
	struct pair_blob *free_one = NULL;

	for (unsigned i = 0; i < PAIR_KEYS; i++) {
		if (site->blobs[i].length == 0)
			free_one = &site->blobs[i];
		else if (strcmp(site->blobs[i].key, key) == 0)
			return &site->blobs[i];
	}
	if (!make || free_one == NULL)
		return NULL;
	snprintf(free_one->key, sizeof(free_one->key), "%s", key);
	free_one->version = 0;
	return free_one;
}

static int32_t state_get(void *user, const char *key, void *buffer,
			 uint32_t *length, uint64_t *version)
{
	struct pair_site *site = user;
	struct pair_blob *blob = find_blob(site, key, false);

	if (test_refuses(site->refusals))
		return HVREPL_E_STATE_IO;
	if (site->get_code < 0)
		return site->get_code;
	if (blob == NULL)
		return HVREPL_E_NOT_FOUND;
	if (blob->length > *length)
		return HVREPL_E_LIMIT;
	memcpy(buffer, blob->bytes, blob->length);
	*length = blob->length;
	*version = blob->version;
	return HVREPL_OK;
}

static int32_t state_put(void *user, hvrepl_op *op, const char *key,
			 const void *bytes, uint32_t length, uint64_t expected)
{
	struct pair_site *site = user;
	struct pair_blob *blob = find_blob(site, key, true);
	int32_t code = site->put_code;
	bool crash = false;

	(void)op;
	if (code == HVREPL_OK && length == 0)
		code = site->removal_code;
	if (site->puts++ == site->put_fails_at || site->dead ||
	    test_refuses(site->refusals))
		return HVREPL_E_STATE_IO;
	if (site->pair->exact && sim_step(&site->sim, true, &crash) < 0)
		return HVREPL_E_STATE_IO;
	if (code < 0 && !site->put_happens)
		return code;
	if (blob == NULL)
		return HVREPL_E_NO_SPACE;
	if (blob->version != expected)
		return HVREPL_E_BUSY;
	free(blob->bytes);
	blob->bytes = NULL;
	blob->length = length;
	blob->version = length == 0 ? 0 : expected + 1;
	if (length > 0) {
		blob->bytes = malloc(length);
		if (blob->bytes == NULL)
			abort();
		memcpy(blob->bytes, bytes, length);
	}
	return code < 0 ? code : sim_finish(&site->sim, crash);
}

static int32_t state_list(void *user, const char *prefix,
			  int32_t (*found)(void *argument, const char *key),
			  void *argument)
{
	struct pair_site *site = user;

	if (test_refuses(site->refusals))
		return HVREPL_E_STATE_IO;
	for (unsigned i = 0; i < PAIR_KEYS; i++) {
		int32_t rc = HVREPL_OK;

		if (site->blobs[i].length > 0 &&
		    strncmp(site->blobs[i].key, prefix, strlen(prefix)) == 0)
			rc = found(argument, site->blobs[i].key);
		if (rc < 0)
			return rc;
	}
	return HVREPL_OK;
}

static const struct hvrepl_state_ops state_ops = {
	.struct_size = sizeof(state_ops),
	.get = state_get,
	.put = state_put,
	.list = state_list,
};

static void copy_blobs(struct pair_blob *to, const struct pair_blob *from)
{
	for (unsigned i = 0; i < PAIR_KEYS; i++) {
		free(to[i].bytes);
		to[i] = from[i];
		if (from[i].bytes == NULL)
			continue;
		to[i].bytes = malloc(from[i].length + 1);
		if (to[i].bytes == NULL)
			abort();
		memcpy(to[i].bytes, from[i].bytes, from[i].length);
	}
}

void pair_backup(struct pair_site *site)
{
	sim_backup(&site->sim);
	copy_blobs(site->saved, site->blobs);
}

void pair_restore(struct pair_site *site)
{
	sim_restore(&site->sim);
	copy_blobs(site->blobs, site->saved);
}

void pair_restore_records(struct pair_site *site)
{
	copy_blobs(site->blobs, site->saved);
}

/* ---- Sites. ---- */

static void fill_specs(struct pair *pair,
		       struct hvrepl_disk_spec specs[PAIR_DISKS])
{
	memset(specs, 0, PAIR_DISKS * sizeof(*specs));
	for (unsigned i = 0; i < PAIR_DISKS; i++) {
		specs[i].id = pair_disk_ids[i];
		specs[i].size = pair->disk_size;
		snprintf(specs[i].name, sizeof(specs[i].name), "../disk%u", i);
	}
}

static struct hvrepl_disk disk_handle(struct pair_site *site, unsigned disk)
{
	return site->sparse[disk] != NULL ?
		       sparse_disk_handle(site->sparse[disk]) :
		       sim_disk_handle(site->disks[disk]);
}

static int32_t open_replica(void *user, const struct hvrepl_uuid *vm,
			    const char *vm_name, const char *peer,
			    const struct hvrepl_disk_spec *specs,
			    uint32_t disk_count, uint32_t flags,
			    struct hvrepl_disk *disks,
			    struct hvrepl_storage *storage)
{
	struct pair_site *site = user;
	struct pair_more *more;

	(void)vm_name, (void)peer, (void)specs, (void)flags;
	if (test_refuses(site->refusals))
		return HVREPL_E_NO_SPACE;
	more = memcmp(vm, &pair_vm, sizeof(*vm)) == 0 ? NULL :
							pair_find_more(site, vm);
	if (more != NULL && disk_count == 1) {
		disks[0] = sim_disk_handle(more->disk);
		*storage = sim_storage_handle(more->storage);
		return HVREPL_OK;
	}
	if (disk_count != PAIR_DISKS)
		return HVREPL_E_INVALID;
	for (unsigned i = 0; i < PAIR_DISKS; i++)
		disks[i] = disk_handle(site, i);
	*storage = sim_storage_handle(site->storage);
	return HVREPL_OK;
}

static int32_t root_space(void *user, const char *storage_root,
			  uint64_t *free_out, uint64_t *total_out)
{
	struct pair_site *site = user;

	site->root_asked++;
	snprintf(site->root, sizeof(site->root), "%s", storage_root);
	*free_out = site->root_free;
	*total_out = site->root_total;
	return site->root_code;
}

static int32_t permit(void *user, const struct hvrepl_event *event)
{
	struct pair_site *site = user;

	site->permits++;
	snprintf(site->permit_sentence, sizeof(site->permit_sentence), "%s",
		 event->sentence);
	return site->permit_code;
}

static const struct hvrepl_vmm_ops vmm_ops = {
	.struct_size = sizeof(vmm_ops),
	.open_replica = open_replica,
	.root_space = root_space,
};

void pair_site_init(struct pair *pair, struct pair_site *site, const char *name,
		    uint64_t seed)
{
	site->pair = pair;
	site->name = name;
	site->put_fails_at = UINT64_MAX;
	test_env_init(&site->env, seed);
	site->env.env.execute = pair_execute;
	site->jobs_random = seed + 77;
	sim_init(&site->sim, seed);
	for (unsigned i = 0; i < PAIR_DISKS; i++) {
		site->disks[i] = sim_disk_new(&site->sim, pair->disk_size);
		site->disks[i]->flags = HVREPL_DISK_EXCLUSIVE;
	}
	site->storage = sim_storage_new(&site->sim);
}

void pair_init(struct pair *pair, uint64_t seed, uint64_t disk_size)
{
	memset(pair, 0, sizeof(*pair));
	pair->disk_size = disk_size;
	pair->link_up = true;
	pair->cut_after = UINT64_MAX;
	pair->flip_at = UINT64_MAX;
	pair->split_at = UINT64_MAX;
	pair->refuse_at = UINT64_MAX;
	pair->tracing = getenv("PAIR_TRACE") != NULL;
	pair->now_ns = 1000000000ull;
	pair_site_init(pair, &pair->a, "site-a", seed);
	pair_site_init(pair, &pair->b, "site-b", seed + 1000);
	pair->a.brings_vm = true;
	pair->a.connects = true;
}

static bool turn(struct pair *pair);

static void end_node(struct pair *pair, struct pair_site *site)
{
	int32_t rc = HVREPL_E_BUSY;

	ck_assert_int_eq(hvrepl_node_close(site->node), HVREPL_OK);
	for (int i = 0; i < 100000 && rc == HVREPL_E_BUSY; i++) {
		pair_do_jobs(site); /* It waits for all of them. */
		rc = hvrepl_node_destroy(site->node);
		if (rc == HVREPL_E_BUSY && !turn(pair))
			pair->now_ns += 1000000;
	}
	ck_assert_msg(rc == HVREPL_OK, "%s does not close", site->name);
	site->node = NULL;
}

struct pair_site *pair_other(struct pair_site *site)
{
	return site == &site->pair->b ? &site->pair->a : &site->pair->b;
}

void pair_rights(struct pair_site *site, uint32_t verbs)
{
	struct hvrepl_authorisation entry = HVREPL_AUTHORISATION_INIT;

	entry.verbs = verbs;
	entry.peer = pair_other(site)->name;
	entry.trust_group = "pair";
	/* Without memory the entry there was stays. */
	if (site->node != NULL)
		(void)!hvrepl_node_authorise(site->node, &entry);
}

void pair_start(struct pair *pair, struct pair_site *site)
{
	struct pair_site *other = pair_other(site);
	struct hvrepl_node_config config;
	struct hvrepl_authorisation entry;
	struct hvrepl_peer_config peer;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc;

	site->closed_seen = false;
	memset(&config, 0, sizeof(config));
	config.struct_size = sizeof(config);
	config.env = &site->env.env;
	config.site = site->name;
	config.state = (struct hvrepl_state){ &state_ops, site, NULL };
	config.vmm = &vmm_ops;
	config.user = site;
	config.permit = permit;
	config.start_without_peer = site->start_without_peer;
	rc = hvrepl_node_create(&config, &site->node, &error);
	if (rc < 0 && site->sim.crashed)
		return;
	/* What the process before was short of; one that finds no memory at
	 * once is started again. */
	site->env.alloc_fail_at = -1;
	site->env.alloc_fail_on = false;
	if (rc == HVREPL_E_NOMEM) {
		memcpy(site->start_sentence, error.sentence,
		       sizeof(site->start_sentence));
		rc = hvrepl_node_create(&config, &site->node, &error);
	}
	ck_assert_msg(rc == HVREPL_OK, "%s: %s", site->name, error.sentence);
	memset(&entry, 0, sizeof(entry));
	entry.struct_size = sizeof(entry);
	entry.verbs = HVREPL_VERB_ALL;
	entry.peer = other->name;
	entry.trust_group = "pair";
	ck_assert_int_eq(hvrepl_node_authorise(site->node, &entry), HVREPL_OK);
	memset(&peer, 0, sizeof(peer));
	peer.struct_size = sizeof(peer);
	peer.name = other->name;
	peer.connect = site->connects ? pair_connect : NULL;
	peer.user = site;
	ck_assert_int_eq(hvrepl_node_add_peer(site->node, &peer, NULL),
			 HVREPL_OK);
	if (site->brings_vm) {
		struct hvrepl_vm_config vm;
		struct hvrepl_disk_spec specs[PAIR_DISKS];
		struct hvrepl_disk disks[PAIR_DISKS];

		fill_specs(pair, specs);
		for (unsigned i = 0; i < PAIR_DISKS; i++)
			disks[i] = disk_handle(site, i);
		memset(&vm, 0, sizeof(vm));
		vm.struct_size = sizeof(vm);
		vm.id = pair_vm;
		vm.name = "web";
		vm.specs = specs;
		vm.disks = disks;
		vm.disk_count = PAIR_DISKS;
		vm.points_max = 8;
		vm.storage = sim_storage_handle(site->storage);
		vm.cycle_ns = 1000000000ull;
		rc = hvrepl_node_add_vm(site->node, &vm, &error);
		ck_assert_msg(rc == HVREPL_OK || pair->may_fail_to_start ||
				      site->sim.crashed,
			      "%s: %s", site->name, error.sentence);
		if (rc < 0)
			end_node(pair, site);
	}
}

static void take_events(struct pair_site *site)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	while (site->node != NULL &&
	       hvrepl_node_next_event(site->node, &event) == 1) {
		site->events++;
		if (site->pair->seen != NULL)
			site->pair->seen(site, &event);
		if (site->pair->tracing)
			printf("[%8.3f] %s %u %d %s\n",
			       (double)site->pair->now_ns / 1e9, site->name,
			       event.type, event.code, event.sentence);
		if (event.type == HVREPL_EVENT_JOB_DONE) {
			site->job = event.job;
			site->job_code = event.code;
			memcpy(site->job_sentence, event.sentence,
			       sizeof(site->job_sentence));
		}
		site->points += event.type == HVREPL_EVENT_POINT;
	}
}

/* One round of everything that can be done now. */
static bool turn(struct pair *pair)
{
	struct pair_site *sites[3] = { &pair->a, &pair->b, pair->c };
	bool busy = false;

	for (int i = 0; i < 3; i++) {
		struct pair_site *site = sites[i];

		if (site == NULL || site->node == NULL)
			continue;
		site->env.now_ns = pair->now_ns;
		site->env.utc_ns = 1700000000000000000ull + pair->now_ns +
				   site->utc_offset;
		if (hvrepl_node_deadline(site->node) <= pair->now_ns) {
			(void)hvrepl_node_process(site->node, 16);
			pair->turns++;
			busy = true;
		}
		take_events(site);
		busy |= pair_jobs_turn(site);
	}
	return pair_link_turn(pair) || busy;
}

static void revive(struct pair *pair, struct pair_site *site)
{
	/* Who knows that a start may fail sees to the next one. */
	if (!site->sim.crashed || site->dead ||
	    (site->node == NULL && pair->may_fail_to_start))
		return;
	pair->revived++;
	if (site->node != NULL)
		pair_kill(pair, site, pair->power_loss);
	else
		sim_restart(&site->sim, pair->power_loss && !site->keeps_power);
	pair_start(pair, site);
}

bool pair_until(struct pair *pair, uint64_t ns, bool (*done)(struct pair *pair))
{
	uint64_t end = pair->now_ns + ns;
	unsigned spins = 0;

	for (;;) {
		uint64_t next = end;

		if (pair->revives) {
			revive(pair, &pair->a);
			revive(pair, &pair->b);
		}
		if (done != NULL && done(pair))
			return true;
		if (turn(pair)) {
			ck_assert_msg(++spins < 2000000, "no progress in time");
			continue;
		}
		spins = 0;
		if (pair_link_next(pair) < next)
			next = pair_link_next(pair);
		if (pair_jobs_next(&pair->a) < next)
			next = pair_jobs_next(&pair->a);
		if (pair_jobs_next(&pair->b) < next)
			next = pair_jobs_next(&pair->b);
		if (pair->a.node != NULL &&
		    hvrepl_node_deadline(pair->a.node) < next)
			next = hvrepl_node_deadline(pair->a.node);
		if (pair->b.node != NULL &&
		    hvrepl_node_deadline(pair->b.node) < next)
			next = hvrepl_node_deadline(pair->b.node);
		if (pair->c != NULL && pair_jobs_next(pair->c) < next)
			next = pair_jobs_next(pair->c);
		if (pair->c != NULL && pair->c->node != NULL &&
		    hvrepl_node_deadline(pair->c->node) < next)
			next = hvrepl_node_deadline(pair->c->node);
		if (pair->now_ns >= end)
			return false;
		pair->now_ns = next > pair->now_ns ? next : pair->now_ns + 1;
	}
}

void pair_run(struct pair *pair, uint64_t ns)
{
	(void)pair_until(pair, ns, NULL);
}

void pair_stop(struct pair *pair, struct pair_site *site)
{
	end_node(pair, site);
}

void pair_kill(struct pair *pair, struct pair_site *site, bool power_loss)
{
	/* From here on every I/O of the dead process fails; what it did not
	 * flush is settled when the site starts again. */
	uint64_t puts = site->puts;

	site->restarts++;
	site->sim.crashed = true;
	site->put_fails_at = puts;
	pair_link_break(pair);
	site->dead = true;
	/* Nobody closes in a process that was killed: that is only how this test
	 * takes its memory back, and a close waits for the little it needs. */
	site->env.alloc_fail_at = -1;
	site->env.alloc_fail_on = false;
	end_node(pair, site);
	site->dead = false;
	site->put_fails_at = UINT64_MAX;
	sim_restart(&site->sim, power_loss && !site->keeps_power);
}

void pair_init_sparse(struct pair *pair, uint64_t seed, uint64_t disk_size)
{
	struct pair_site *sites[2] = { &pair->a, &pair->b };

	pair_init(pair, seed, SIM_SECTOR);
	pair->disk_size = disk_size;
	for (unsigned i = 0; i < 2 * PAIR_DISKS; i++) {
		struct sparse_disk *disk = sparse_disk_new(disk_size);

		ck_assert_ptr_nonnull(disk);
		disk->flags = HVREPL_DISK_EXCLUSIVE;
		sites[i / PAIR_DISKS]->sparse[i % PAIR_DISKS] = disk;
	}
}

void pair_free(struct pair *pair)
{
	struct pair_site *sites[3] = { &pair->a, &pair->b, pair->c };
	int count = pair->c == NULL ? 2 : 3;

	for (int i = 0; i < count; i++)
		if (sites[i]->node != NULL)
			pair_stop(pair, sites[i]);
	while (turn(pair))
		;
	for (int i = 0; i < count; i++) {
		ck_assert_int_eq(sites[i]->env.alloc_live, 0);
		sim_free(&sites[i]->sim);
		for (unsigned k = 0; k < PAIR_DISKS; k++)
			if (sites[i]->sparse[k] != NULL)
				sparse_disk_free(sites[i]->sparse[k]);
		for (unsigned k = 0; k < PAIR_KEYS; k++) {
			free(sites[i]->blobs[k].bytes);
			free(sites[i]->saved[k].bytes);
		}
		free(sites[i]->more);
	}
	free(pair->c);
}

int32_t pair_ask_vm(struct pair_site *site, const struct hvrepl_uuid *vm,
		    uint32_t type, uint64_t point,
		    const struct hvrepl_uuid *epoch)
{
	struct pair *pair = site->pair;
	struct hvrepl_operation operation;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc;

	memset(&operation, 0, sizeof(operation));
	operation.struct_size = sizeof(operation);
	operation.type = type;
	operation.vm = *vm;
	operation.point = point;
	operation.peer = pair_other(site)->name;
	if (epoch != NULL)
		operation.epoch = *epoch;
	for (int i = 0; i < 1000; i++) {
		rc = hvrepl_node_operate(site->node, &operation, &site->job,
					 &error);
		if (rc != HVREPL_E_BUSY)
			break;
		pair_run(pair, 1000000);
	}
	site->job_code = HVREPL_PENDING;
	if (rc < 0) {
		site->job_code = rc;
		memcpy(site->job_sentence, error.sentence,
		       sizeof(site->job_sentence));
	}
	return rc;
}

int32_t pair_ask(struct pair_site *site, uint32_t type, uint64_t point,
		 const struct hvrepl_uuid *epoch)
{
	return pair_ask_vm(site, &pair_vm, type, point, epoch);
}

int32_t pair_operate_vm(struct pair *pair, struct pair_site *site,
			const struct hvrepl_uuid *vm, uint32_t type,
			uint64_t point)
{
	uint64_t end = pair->now_ns + 60000000000ull;
	int32_t rc = pair_ask_vm(site, vm, type, point, NULL);

	while (rc == HVREPL_OK && site->job_code == HVREPL_PENDING &&
	       pair->now_ns < end)
		pair_run(pair, 1000000);
	if (pair->tracing)
		printf("%s: operation %u: %d %s\n", site->name, type,
		       site->job_code, site->job_sentence);
	return site->job_code;
}

int32_t pair_operate(struct pair *pair, struct pair_site *site, uint32_t type,
		     uint64_t point)
{
	return pair_operate_vm(pair, site, &pair_vm, type, point);
}

void pair_status(struct pair_site *site, struct hvrepl_vm_status *status)
{
	*status = (struct hvrepl_vm_status)HVREPL_VM_STATUS_INIT;
	ck_assert_int_eq(hvrepl_vm_get_status(site->node, &pair_vm, status),
			 HVREPL_OK);
}

hvrepl_guest_disk *pair_door(struct pair_site *site, unsigned disk)
{
	hvrepl_guest_disk *guest = NULL;

	ck_assert_int_eq(hvrepl_vm_open_disk(site->node, &pair_vm,
					     &pair_disk_ids[disk], &guest),
			 HVREPL_OK);
	return guest;
}

int32_t pair_write(struct pair_site *site, unsigned disk, uint64_t offset,
		   const void *bytes, size_t length)
{
	return hvrepl_guest_write(pair_door(site, disk), offset, bytes, length);
}

int32_t pair_read(struct pair_site *site, unsigned disk, uint64_t offset,
		  void *bytes, size_t length)
{
	return hvrepl_guest_read(pair_door(site, disk), offset, bytes, length);
}

int32_t pair_flush(struct pair_site *site, unsigned disk)
{
	return hvrepl_guest_flush(pair_door(site, disk));
}

void pair_read_point(struct pair_site *site, uint64_t point, unsigned disk,
		     void *bytes)
{
	struct hvrepl_iovec iov = { bytes, site->pair->disk_size };
	struct hvrepl_disk handle;
	hvrepl_view *view = NULL;
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	ck_assert_msg(hvrepl_vm_open_view(site->node, &pair_vm, point, &view,
					  &error) == HVREPL_OK,
		      "%s", error.sentence);
	ck_assert_int_eq(hvrepl_view_disk(view, disk, &handle), HVREPL_OK);
	ck_assert_int_eq(handle.ops->readv(handle.user, NULL, 0, &iov, 1),
			 HVREPL_OK);
	handle.release(handle.user);
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
}

uint64_t pair_newest_point(struct pair_site *site)
{
	struct hvrepl_point point = HVREPL_POINT_INIT;
	uint64_t newest = 0;

	for (uint32_t i = 0; hvrepl_vm_get_point(site->node, &pair_vm, i,
						 &point) == HVREPL_OK;
	     i++)
		newest = point.number;
	return newest;
}
