/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest embedding: a disk in memory, replicated between two nodes. */
#include <hvrepl/backends.h>
#include <hvrepl/hvrepl.h>
#include <stdio.h>
#include <string.h>

static uint8_t memory[2][8 << 20]; /* The disk at site a and at site b. */
static const char sector[512] = "hello, other site";

static int32_t info(void *disk, struct hvrepl_disk_info *out)
{
	(void)disk, out->size = sizeof(memory[0]), out->block_size = 512;
	return HVREPL_OK;
}

static int32_t readv(void *disk, hvrepl_op *op, uint64_t offset, const struct hvrepl_iovec *iov, uint32_t count)
{
	(void)op;
	for (uint32_t i = 0; i < count; offset += iov[i++].length)
		memcpy(iov[i].base, (uint8_t *)disk + offset, iov[i].length);
	return HVREPL_OK;
}

static int32_t writev(void *disk, hvrepl_op *op, uint64_t offset, const struct hvrepl_iovec *iov, uint32_t count)
{
	(void)op;
	for (uint32_t i = 0; i < count; offset += iov[i++].length)
		memcpy((uint8_t *)disk + offset, iov[i].base, iov[i].length);
	return HVREPL_OK;
}

static const struct hvrepl_disk_ops ops = { .struct_size = sizeof(ops), .info = info, .readv = readv, .writev = writev };

/* Site b is asked for disks when site a enables replication to it. */
static int32_t open_replica(void *user, const struct hvrepl_uuid *vm, const char *name, const char *peer,
			    const struct hvrepl_disk_spec *specs, uint32_t count, uint32_t flags,
			    struct hvrepl_disk *disks, struct hvrepl_storage *storage)
{
	(void)user, (void)vm, (void)name, (void)peer, (void)specs, (void)count, (void)flags;
	disks[0] = (struct hvrepl_disk){ .ops = &ops, .user = memory[1] };
	return hvrepl_dir_storage_open("embed.b.vm", HVREPL_DIR_CREATE, storage, NULL);
}

int main(void)
{
	static const struct hvrepl_vmm_ops vmm = { .struct_size = sizeof(vmm), .open_replica = open_replica };
	struct hvrepl_memory_pair_options link = { .struct_size = sizeof(link), .names = { "a", "b" } };
	struct hvrepl_disk_spec spec = { .id = { { 0xd1 } }, .size = sizeof(memory[0]), .name = "disk" };
	struct hvrepl_disk disk = { .ops = &ops, .user = memory[0] };
	struct hvrepl_vm_config vm = { .struct_size = sizeof(vm), .id = { { 0xaa } }, .name = "web",
				       .specs = &spec, .disks = &disk, .disk_count = 1 };
	struct hvrepl_operation operation = { .struct_size = sizeof(operation), .vm = vm.id, .peer = "b" };
	struct hvrepl_event done = HVREPL_EVENT_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_env env = HVREPL_ENV_INIT;
	struct hvrepl_channel ends[2];
	hvrepl_guest_disk *guest;
	hvrepl_runner *run[2];
	hvrepl_node *node[2];
	hvrepl_loop *loop;
	uint64_t job;
	int32_t rc = hvrepl_default_env(&env) | hvrepl_loop_create(&loop, &error) |
		     hvrepl_memory_pair_create(&link, ends, NULL);

	for (int i = 0; i < 2; i++) {
		struct hvrepl_node_config config = { .struct_size = sizeof(config), .env = &env, .site = link.names[i],
						     .vmm = &vmm, .wake = hvrepl_runner_wake, .user = loop };
		struct hvrepl_authorisation peer = { sizeof(peer), HVREPL_VERB_ALL, .peer = link.names[1 - i] };

		rc |= hvrepl_dir_state_open(i == 0 ? "embed.a" : "embed.b", HVREPL_DIR_CREATE, &config.state, &error);
		rc |= hvrepl_node_create(&config, &node[i], &error);
		rc |= hvrepl_node_authorise(node[i], &peer);
		rc |= hvrepl_node_connected(node[i], &ends[i], i == 0 ? HVREPL_CHANNEL_INITIATOR : 0);
		rc |= hvrepl_runner_create(loop, node[i], NULL, NULL, &run[i]);
	}
	rc |= hvrepl_dir_storage_open("embed.a.vm", HVREPL_DIR_CREATE, &vm.storage, &error);
	rc |= hvrepl_node_add_vm(node[0], &vm, &error);
	rc |= hvrepl_vm_open_disk(node[0], &vm.id, &spec.id, &guest);
	/* The session and the disk come up as the loop turns. */
	while (rc == HVREPL_OK && hvrepl_guest_write(guest, 4096, sector, sizeof(sector)) == HVREPL_E_FENCED)
		hvrepl_runner_wait_job(run[0], 1, 10000000, NULL);
	for (uint32_t type = HVREPL_OPERATION_ENABLE; rc == HVREPL_OK && type <= HVREPL_OPERATION_START_INITIAL; type++) {
		operation.type = type;
		while ((rc = hvrepl_node_operate(node[0], &operation, &job, &error)) == HVREPL_E_UNAVAILABLE)
			hvrepl_runner_wait_job(run[0], 1, 10000000, NULL);
		if (rc == HVREPL_OK)
			rc = hvrepl_runner_wait_job(run[0], job, 0, &done);
		printf("%s\n", rc == HVREPL_OK ? done.sentence : error.sentence);
	}
	printf("the disk at site b says: %s\n", (char *)memory[1] + 4096);
	for (int i = 0; rc == HVREPL_OK && i < 2; i++) {
		rc = hvrepl_runner_close_node(run[i], 0);
		hvrepl_runner_destroy(run[i]);
		hvrepl_node_destroy(node[i]);
	}
	hvrepl_loop_destroy(loop);
	return rc != HVREPL_OK || strcmp((char *)memory[1] + 4096, sector) != 0;
}
