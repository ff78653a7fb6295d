/* SPDX-License-Identifier: Apache-2.0 */
/* Two nodes with files, directories and a thread pool, for benchmarks. */
#include "twonodes.h"

#include "bench.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int32_t open_replica(void *user, const struct hvrepl_uuid *vm,
			    const char *name, const char *peer,
			    const struct hvrepl_disk_spec *specs,
			    uint32_t count, uint32_t flags,
			    struct hvrepl_disk *disks,
			    struct hvrepl_storage *storage)
{
	struct twonodes *two = user;
	char path[TEMPDIR_PATH_MAX], file[HVREPL_NAME_MAX + 16];
	int32_t rc = HVREPL_OK;

	(void)vm, (void)peer, (void)count;
	snprintf(file, sizeof(file), "%s.b.img", name);
	tempdir_join(&two->dir, file, path);
	if ((flags & HVREPL_VM_OPEN_CREATE) != 0)
		rc = hvrepl_file_disk_create(path, specs[0].size, NULL);
	if (rc == HVREPL_OK)
		rc = hvrepl_file_disk_open(path, HVREPL_FILE_EXCLUSIVE,
					   &disks[0], NULL);
	snprintf(file, sizeof(file), "%s.b", name);
	if (rc == HVREPL_OK)
		rc = hvrepl_dir_storage_open(
			tempdir_join(&two->dir, file, path), HVREPL_DIR_CREATE,
			storage, NULL);
	return rc;
}

static const struct hvrepl_vmm_ops vmm = {
	.struct_size = sizeof(vmm),
	.open_replica = open_replica,
};

void twonodes_turn(struct twonodes *two)
{
	static const struct timespec pause = { 0, 50000 };
	bool busy = false;

	for (int i = 0; i < 2; i++) {
		struct hvrepl_event event = HVREPL_EVENT_INIT;

		busy |= hvrepl_node_process(two->nodes[i], 64) == 1;
		while (hvrepl_node_next_event(two->nodes[i], &event) == 1) {
			if (event.type != HVREPL_EVENT_JOB_DONE)
				continue;
			two->last_job = event.job;
			two->last_code = event.code;
		}
	}
	if (!busy)
		nanosleep(&pause, NULL);
}

void twonodes_start(struct twonodes *two, uint64_t disk_size, uint64_t cycle_ns)
{
	struct hvrepl_memory_pair_options link =
		HVREPL_MEMORY_PAIR_OPTIONS_INIT;
	struct hvrepl_channel ends[2];
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	char path[TEMPDIR_PATH_MAX];

	memset(two, 0, sizeof(*two));
	two->env = (struct hvrepl_env)HVREPL_ENV_INIT;
	two->disk_size = disk_size;
	two->cycle_ns = cycle_ns;
	tempdir_make(&two->dir);
	bench_must(hvrepl_pool_create(2, &two->pool, &error), error.sentence);
	bench_must(hvrepl_pool_env(two->pool, NULL, NULL, &two->env), "env");
	link.names[0] = "a";
	link.names[1] = "b";
	bench_must(hvrepl_memory_pair_create(&link, ends, NULL), "pair");
	for (int i = 0; i < 2; i++) {
		struct hvrepl_node_config config;
		struct hvrepl_authorisation entry = {
			.struct_size = sizeof(entry),
			.verbs = HVREPL_VERB_ALL,
			.peer = i == 0 ? "b" : "a",
		};

		memset(&config, 0, sizeof(config));
		config.struct_size = sizeof(config);
		config.env = &two->env;
		config.site = i == 0 ? "a" : "b";
		config.vmm = &vmm;
		config.user = two;
		tempdir_join(&two->dir, i == 0 ? "a.state" : "b.state", path);
		bench_must(hvrepl_dir_state_open(path, HVREPL_DIR_CREATE,
						 &config.state, &error),
			   error.sentence);
		bench_must(hvrepl_node_create(&config, &two->nodes[i], &error),
			   error.sentence);
		bench_must(hvrepl_node_authorise(two->nodes[i], &entry),
			   "authorise");
		bench_must(hvrepl_node_connected(
				   two->nodes[i], &ends[i],
				   i == 0 ? HVREPL_CHANNEL_INITIATOR : 0),
			   "connected");
	}
	for (int i = 0; i < 100; i++)
		twonodes_turn(two);
}

void twonodes_bring(struct twonodes *two, struct hvrepl_uuid *vm_id,
		    struct hvrepl_uuid *disk_id)
{
	struct hvrepl_disk_spec spec;
	struct hvrepl_vm_config vm;
	struct hvrepl_disk disk;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	char path[TEMPDIR_PATH_MAX], file[64], name[32];

	memset(vm_id, 0, sizeof(*vm_id));
	memcpy(vm_id->bytes, &two->vms, sizeof(two->vms));
	vm_id->bytes[15] = 1;
	*disk_id = *vm_id;
	disk_id->bytes[15] = 2;
	snprintf(name, sizeof(name), "vm%u", two->vms++);
	snprintf(file, sizeof(file), "%s.a.img", name);
	tempdir_join(&two->dir, file, path);
	bench_must(hvrepl_file_disk_create(path, two->disk_size, &error),
		   error.sentence);
	bench_must(hvrepl_file_disk_open(path, HVREPL_FILE_EXCLUSIVE, &disk,
					 &error),
		   error.sentence);
	memset(&spec, 0, sizeof(spec));
	spec.id = *disk_id;
	spec.size = two->disk_size;
	snprintf(spec.name, sizeof(spec.name), "disk");
	memset(&vm, 0, sizeof(vm));
	vm.struct_size = sizeof(vm);
	vm.id = *vm_id;
	vm.name = name;
	vm.specs = &spec;
	vm.disks = &disk;
	vm.disk_count = 1;
	vm.points_max = 24;
	vm.cycle_ns = two->cycle_ns;
	snprintf(file, sizeof(file), "%s.a", name);
	bench_must(hvrepl_dir_storage_open(tempdir_join(&two->dir, file, path),
					   HVREPL_DIR_CREATE, &vm.storage,
					   &error),
		   error.sentence);
	bench_must(hvrepl_node_add_vm(two->nodes[0], &vm, &error),
		   error.sentence);
	for (;;) {
		struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

		if (hvrepl_vm_get_status(two->nodes[0], vm_id, &status) ==
			    HVREPL_OK &&
		    status.writable != 0)
			break;
		twonodes_turn(two);
	}
}

void twonodes_operate(struct twonodes *two, int site, uint32_t type,
		      const struct hvrepl_uuid *vm)
{
	struct hvrepl_operation operation;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	uint64_t job = 0;
	int32_t rc = HVREPL_E_BUSY;

	memset(&operation, 0, sizeof(operation));
	operation.struct_size = sizeof(operation);
	operation.type = type;
	operation.vm = *vm;
	operation.peer = "b";
	while (rc == HVREPL_E_BUSY) {
		rc = hvrepl_node_operate(two->nodes[site], &operation, &job,
					 &error);
		if (rc == HVREPL_E_BUSY)
			twonodes_turn(two);
	}
	bench_must(rc, error.sentence);
	while (two->last_job != job)
		twonodes_turn(two);
	bench_must(two->last_code, "an operation failed");
}

void twonodes_status(struct twonodes *two, int site,
		     const struct hvrepl_uuid *vm,
		     struct hvrepl_vm_status *status)
{
	*status = (struct hvrepl_vm_status)HVREPL_VM_STATUS_INIT;
	bench_must(hvrepl_vm_get_status(two->nodes[site], vm, status),
		   "status");
}

void twonodes_end(struct twonodes *two)
{
	for (int i = 0; i < 2; i++)
		bench_must(hvrepl_node_close(two->nodes[i]), "close");
	for (int i = 0; i < 2; i++) {
		struct hvrepl_event event = HVREPL_EVENT_INIT;

		while (hvrepl_node_destroy(two->nodes[i]) == HVREPL_E_BUSY) {
			(void)hvrepl_node_process(two->nodes[i], 64);
			while (hvrepl_node_next_event(two->nodes[i], &event) ==
			       1)
				;
		}
	}
	hvrepl_pool_destroy(two->pool);
	tempdir_remove(&two->dir);
}
