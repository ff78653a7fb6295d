/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest embedding: a disk in memory, replicated between two nodes. */
#include <hvrepl/backends.h>
#include <hvrepl/hvrepl.h>
#include <stdio.h>
#include <string.h>

#define SIZE (8u << 20)
static uint8_t memory[2][SIZE]; /* The disk at site a and at site b. */
static const char sector[512] = "hello, other site";

static int32_t info(void *user, struct hvrepl_disk_info *out)
{
	(void)user;
	out->size = SIZE;
	out->block_size = 512;
	out->flags = HVREPL_DISK_EXCLUSIVE;
	return HVREPL_OK;
}

static int32_t readv(void *user, hvrepl_op *op, uint64_t offset,
		     const struct hvrepl_iovec *iov, uint32_t count)
{
	(void)op;
	for (uint32_t i = 0; i < count; offset += iov[i++].length)
		memcpy(iov[i].base, (uint8_t *)user + offset, iov[i].length);
	return HVREPL_OK;
}

static int32_t writev(void *user, hvrepl_op *op, uint64_t offset,
		      const struct hvrepl_iovec *iov, uint32_t count)
{
	(void)op;
	for (uint32_t i = 0; i < count; offset += iov[i++].length)
		memcpy((uint8_t *)user + offset, iov[i].base, iov[i].length);
	return HVREPL_OK;
}

static const struct hvrepl_disk_ops ops = {
	sizeof(ops), 0, info, readv, writev, NULL, NULL, NULL, NULL
};
static const struct hvrepl_disk_spec spec = { { { 0xd1 } }, SIZE, "disk" };
static const struct hvrepl_uuid vm_id = { { 0xaa } };
static struct hvrepl_node_config config[2];
static hvrepl_node *node[2];

static int32_t open_replica(void *user, const struct hvrepl_uuid *vm,
			    const char *name, const char *peer,
			    const struct hvrepl_disk_spec *specs,
			    uint32_t count, uint32_t flags,
			    struct hvrepl_disk *disks,
			    struct hvrepl_storage *storage)
{
	(void)user, (void)vm, (void)name, (void)peer, (void)specs;
	(void)count, (void)flags;
	disks[0] = (struct hvrepl_disk){ &ops, memory[1], NULL };
	return hvrepl_dir_storage_open("embed.b/vm", HVREPL_DIR_CREATE,
				       storage, NULL);
}

static const struct hvrepl_vmm_ops vmm = { sizeof(vmm), 0, open_replica, NULL };

/* Both nodes run until the job (or the first point, for 0) is done. */
static void run(uint64_t job)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	for (;;) {
		for (int i = 0; i < 2; i++) {
			hvrepl_node_process(node[i], 0);
			while (hvrepl_node_next_event(node[i], &event) == 1) {
				printf("site %c: %s\n", 'a' + i,
				       event.sentence);
				if (job == 0 && i == 1 &&
				    event.type == HVREPL_EVENT_POINT)
					return;
				if (event.type == HVREPL_EVENT_JOB_DONE &&
				    event.job == job)
					return;
				if (job == 1 && i == 0 && event.value == 1 &&
				    event.type == HVREPL_EVENT_SESSION)
					return;
			}
		}
	}
}

static int32_t operate(uint32_t type)
{
	struct hvrepl_operation operation = { .struct_size = sizeof(operation),
					      .type = type,
					      .vm = vm_id,
					      .peer = "b" };
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	uint64_t job = 0;
	int32_t rc = hvrepl_node_operate(node[0], &operation, &job, &error);

	if (rc == HVREPL_OK)
		run(job);
	else
		fprintf(stderr, "%s\n", error.sentence);
	return rc;
}

int main(void)
{
	struct hvrepl_memory_pair_options link =
		HVREPL_MEMORY_PAIR_OPTIONS_INIT;
	struct hvrepl_disk disk = { &ops, memory[0], NULL };
	struct hvrepl_vm_config vm = { .struct_size = sizeof(vm),
				       .id = vm_id,
				       .name = "web",
				       .specs = &spec,
				       .disks = &disk,
				       .disk_count = 1 };
	struct hvrepl_env env = HVREPL_ENV_INIT;
	struct hvrepl_channel ends[2];
	hvrepl_guest_disk *guest;
	int32_t rc = hvrepl_default_env(&env);

	link.names[0] = "a";
	link.names[1] = "b";
	rc |= hvrepl_memory_pair_create(&link, ends, NULL);
	for (int i = 0; i < 2 && rc == HVREPL_OK; i++) {
		struct hvrepl_authorisation peer = {
			sizeof(peer), HVREPL_VERB_ALL, i == 0 ? "b" : "a", NULL
		};

		config[i].struct_size = sizeof(config[i]);
		config[i].env = &env;
		config[i].site = i == 0 ? "a" : "b";
		config[i].vmm = i == 1 ? &vmm : NULL;
		rc |= hvrepl_dir_state_open(i == 0 ? "embed.a" : "embed.b",
					    HVREPL_DIR_CREATE,
					    &config[i].state, NULL);
		rc |= hvrepl_node_create(&config[i], &node[i], NULL);
		rc |= hvrepl_node_authorise(node[i], &peer);
		rc |= hvrepl_node_connected(node[i], &ends[i],
					    i == 0 ? HVREPL_CHANNEL_INITIATOR :
						     0);
	}
	rc |= hvrepl_dir_storage_open("embed.a/vm", HVREPL_DIR_CREATE,
				      &vm.storage, NULL);
	rc |= hvrepl_node_add_vm(node[0], &vm, NULL);
	if (rc != HVREPL_OK)
		return 1;
	run(1); /* Until the session stands. */
	hvrepl_vm_open_disk(node[0], &vm_id, &spec.id, &guest);
	if (hvrepl_guest_write(guest, 4096, sector, sizeof(sector)) < 0 ||
	    operate(HVREPL_OPERATION_ENABLE) < 0 ||
	    operate(HVREPL_OPERATION_START_INITIAL) < 0)
		return 1;
	printf("the disk at site b says: %s\n", (char *)memory[1] + 4096);
	for (int i = 0; i < 2; i++) {
		hvrepl_node_close(node[i]);
		while (hvrepl_node_destroy(node[i]) < 0)
			hvrepl_node_process(node[i], 0);
	}
	return strcmp((char *)memory[1] + 4096, sector) != 0;
}
