/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two nodes with real threads: a pool does the data jobs, a guest writes all
 * the time from a thread of its own, follows the VM through a planned failover
 * and back, and knows at the end what its disk must hold.
 */
#include "tempdir.h"
#include "testing.h"

#include <hvrepl/backends.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIZE (4u << 20)
#define BLOCK 4096u

static const struct hvrepl_uuid vm_id = { { 0xaa, 7 } };
static const struct hvrepl_disk_spec spec = { { { 0xd1, 7 } }, SIZE, "disk" };

static struct tempdir dir;
static hvrepl_pool *pool;
static struct hvrepl_env env = HVREPL_ENV_INIT;
static hvrepl_node *nodes[2];
static uint64_t last_job;
static int32_t last_code;
static uint8_t shadow[SIZE];

/* The guest: writes blocks at the site it runs at until told to stop. */
static hvrepl_guest_disk *doors[2];
static int guest_site; /* Atomic; -1: stop. */
static uint64_t guest_writes;

static void *guest_main(void *argument)
{
	uint64_t state = 99;
	static uint8_t block[BLOCK];
	int site;

	(void)argument;
	while ((site = __atomic_load_n(&guest_site, __ATOMIC_SEQ_CST)) >= 0) {
		uint64_t offset = test_random(&state) % (SIZE / BLOCK) * BLOCK;
		int32_t rc;

		test_fill(block, BLOCK, test_random(&state));
		rc = hvrepl_guest_write(doors[site], offset, block, BLOCK);
		if (rc == HVREPL_OK) {
			memcpy(shadow + offset, block, BLOCK);
			__atomic_add_fetch(&guest_writes, 1, __ATOMIC_SEQ_CST);
		} else {
			/* It does not run there (any more): never half. */
			ck_assert_int_eq(rc, HVREPL_E_FENCED);
		}
	}
	return NULL;
}

static uint64_t guest_has_written(void)
{
	return __atomic_load_n(&guest_writes, __ATOMIC_SEQ_CST);
}

static void path_of(char out[TEMPDIR_PATH_MAX], const char *name)
{
	(void)tempdir_join(&dir, name, out);
}

static int32_t open_replica(void *user, const struct hvrepl_uuid *vm,
			    const char *name, const char *peer,
			    const struct hvrepl_disk_spec *specs,
			    uint32_t count, uint32_t flags,
			    struct hvrepl_disk *disks,
			    struct hvrepl_storage *storage)
{
	char path[TEMPDIR_PATH_MAX];
	int32_t rc;

	(void)user, (void)vm, (void)name, (void)peer, (void)specs, (void)count;
	(void)flags;
	path_of(path, "b.img");
	rc = hvrepl_file_disk_open(path, HVREPL_FILE_EXCLUSIVE, &disks[0],
				   NULL);
	if (rc < 0)
		return rc;
	path_of(path, "b.storage");
	return hvrepl_dir_storage_open(path, HVREPL_DIR_CREATE, storage, NULL);
}

static const struct hvrepl_vmm_ops vmm = {
	.struct_size = sizeof(vmm),
	.open_replica = open_replica,
};

static void turn(void)
{
	struct timespec pause = { 0, 200000 };
	bool busy = false;

	for (int i = 0; i < 2; i++) {
		struct hvrepl_event event = HVREPL_EVENT_INIT;

		busy |= hvrepl_node_process(nodes[i], 64) == 1;
		while (hvrepl_node_next_event(nodes[i], &event) == 1) {
			if (event.type != HVREPL_EVENT_JOB_DONE)
				continue;
			last_job = event.job;
			last_code = event.code;
		}
	}
	if (!busy)
		nanosleep(&pause, NULL);
}

static void operate(int site, uint32_t type)
{
	struct hvrepl_operation operation;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	uint64_t job = 0;
	int32_t rc;

	memset(&operation, 0, sizeof(operation));
	operation.struct_size = sizeof(operation);
	operation.type = type;
	operation.vm = vm_id;
	operation.peer = "b";
	while ((rc = hvrepl_node_operate(nodes[site], &operation, &job,
					 &error)) == HVREPL_E_BUSY)
		turn();
	ck_assert_msg(rc == HVREPL_OK, "operation %u: %s", type,
		      error.sentence);
	while (last_job != job)
		turn();
	ck_assert_msg(last_code == HVREPL_OK, "operation %u ended with %d",
		      type, last_code);
}

static bool is_replicating(int site, uint32_t ownership)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	return hvrepl_vm_get_status(nodes[site], &vm_id, &status) ==
		       HVREPL_OK &&
	       status.state == HVREPL_STATE_REPLICATING &&
	       status.ownership == ownership;
}

static void points_at(int site, unsigned more)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;
	uint64_t wanted;

	(void)hvrepl_vm_get_status(nodes[site], &vm_id, &status);
	wanted = status.last_point + more;
	while (status.last_point < wanted) {
		turn();
		(void)hvrepl_vm_get_status(nodes[site], &vm_id, &status);
	}
}

static void make_nodes(void)
{
	struct hvrepl_memory_pair_options link =
		HVREPL_MEMORY_PAIR_OPTIONS_INIT;
	struct hvrepl_channel ends[2];
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	char path[TEMPDIR_PATH_MAX];

	link.names[0] = "a";
	link.names[1] = "b";
	ck_assert_int_eq(hvrepl_memory_pair_create(&link, ends, NULL),
			 HVREPL_OK);
	for (int i = 0; i < 2; i++) {
		struct hvrepl_node_config config;
		struct hvrepl_authorisation entry = {
			.struct_size = sizeof(entry),
			.verbs = HVREPL_VERB_ALL,
			.peer = i == 0 ? "b" : "a",
		};

		path_of(path, i == 0 ? "a.img" : "b.img");
		ck_assert_int_eq(hvrepl_file_disk_create(path, SIZE, NULL),
				 HVREPL_OK);
		memset(&config, 0, sizeof(config));
		config.struct_size = sizeof(config);
		config.env = &env;
		config.site = i == 0 ? "a" : "b";
		config.vmm = &vmm;
		path_of(path, i == 0 ? "a.state" : "b.state");
		ck_assert_int_eq(hvrepl_dir_state_open(path, HVREPL_DIR_CREATE,
						       &config.state, NULL),
				 HVREPL_OK);
		ck_assert_msg(hvrepl_node_create(&config, &nodes[i], &error) ==
				      HVREPL_OK,
			      "%s", error.sentence);
		ck_assert_int_eq(hvrepl_node_authorise(nodes[i], &entry),
				 HVREPL_OK);
		ck_assert_int_eq(
			hvrepl_node_connected(nodes[i], &ends[i],
					      i == 0 ? HVREPL_CHANNEL_INITIATOR :
						       0),
			HVREPL_OK);
	}
}

static void bring_vm(void)
{
	struct hvrepl_vm_config vm;
	struct hvrepl_disk disk;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	char path[TEMPDIR_PATH_MAX];

	memset(&vm, 0, sizeof(vm));
	vm.struct_size = sizeof(vm);
	vm.id = vm_id;
	vm.name = "web";
	vm.specs = &spec;
	path_of(path, "a.img");
	ck_assert_int_eq(hvrepl_file_disk_open(path, HVREPL_FILE_EXCLUSIVE,
					       &disk, NULL),
			 HVREPL_OK);
	vm.disks = &disk;
	vm.disk_count = 1;
	vm.points_max = 4;
	vm.cycle_ns = 20000000;
	path_of(path, "a.storage");
	ck_assert_int_eq(hvrepl_dir_storage_open(path, HVREPL_DIR_CREATE,
						 &vm.storage, NULL),
			 HVREPL_OK);
	ck_assert_msg(hvrepl_node_add_vm(nodes[0], &vm, &error) == HVREPL_OK,
		      "%s", error.sentence);
}

static void end_nodes(void)
{
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(hvrepl_node_close(nodes[i]), HVREPL_OK);
	for (int i = 0; i < 2; i++) {
		struct hvrepl_event event = HVREPL_EVENT_INIT;

		while (hvrepl_node_destroy(nodes[i]) == HVREPL_E_BUSY) {
			(void)hvrepl_node_process(nodes[i], 64);
			while (hvrepl_node_next_event(nodes[i], &event) == 1)
				;
		}
	}
}

static void expect_shadow(int site)
{
	static uint8_t seen[SIZE];

	ck_assert_int_eq(hvrepl_guest_read(doors[site], 0, seen, SIZE),
			 HVREPL_OK);
	ck_assert(memcmp(seen, shadow, SIZE) == 0);
}

START_TEST(a_guest_that_never_stops_writing_loses_nothing_in_a_planned_failover)
{
	pthread_t guest;

	tempdir_make(&dir);
	memset(shadow, 0, sizeof(shadow));
	ck_assert_int_eq(hvrepl_pool_create(2, &pool, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_pool_env(pool, NULL, NULL, &env), HVREPL_OK);
	make_nodes();
	bring_vm();
	while (hvrepl_vm_open_disk(nodes[0], &vm_id, &spec.id, &doors[0]) < 0)
		turn();
	for (int i = 0; i < 50; i++)
		turn();
	guest_site = 0;
	ck_assert_int_eq(pthread_create(&guest, NULL, guest_main, NULL), 0);
	operate(0, HVREPL_OPERATION_ENABLE);
	operate(0, HVREPL_OPERATION_START_INITIAL);
	points_at(1, 5);
	while (guest_has_written() <= 100)
		turn();
	ck_assert_int_eq(hvrepl_vm_open_disk(nodes[1], &vm_id, &spec.id,
					     &doors[1]),
			 HVREPL_OK);
	operate(1, HVREPL_OPERATION_PLANNED);
	__atomic_store_n(&guest_site, 1, __ATOMIC_SEQ_CST);
	operate(1, HVREPL_OPERATION_COMMIT);
	operate(1, HVREPL_OPERATION_REVERSE);
	while (!is_replicating(1, HVREPL_OWNERSHIP_OWNER) ||
	       !is_replicating(0, HVREPL_OWNERSHIP_STANDBY))
		turn();
	points_at(0, 5);
	operate(0, HVREPL_OPERATION_PLANNED);
	__atomic_store_n(&guest_site, 0, __ATOMIC_SEQ_CST);
	for (int i = 0; i < 100; i++)
		turn();
	__atomic_store_n(&guest_site, -1, __ATOMIC_SEQ_CST);
	pthread_join(guest, NULL);
	expect_shadow(0);
	end_nodes();
	hvrepl_pool_destroy(pool);
	tempdir_remove(&dir);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("threads");
	TCase *tc = tcase_create("threads");

	tcase_add_test(tc, a_guest_that_never_stops_writing_loses_nothing_in_a_planned_failover);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
