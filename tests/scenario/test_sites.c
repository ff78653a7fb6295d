/* SPDX-License-Identifier: Apache-2.0 */
/* Two sites with every backend of ours: files, directories, threads, TLS. */
#define _GNU_SOURCE
#include "pki.h"
#include "testing.h"

#include <fcntl.h>
#include <hvrepl/backends.h>
#include <hvrepl/hvrepl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE (4u << 20)
#define SECOND 1000000000ull
#define PATIENCE (20 * SECOND)

static const struct hvrepl_uuid vm_id = { { 0xaa, 7 } };
static const struct hvrepl_disk_spec spec = { { { 0xd1, 7 } }, SIZE, "disk" };

static struct tempdir dir;
static struct pki_ca *ca;
static hvrepl_loop *loop;
static hvrepl_pool *pool;
static struct hvrepl_env env;

static struct site {
	const char *name; /* Of its certificate, too. */
	char path[3][TEMPDIR_PATH_MAX]; /* State, storage, disk. */
	hvrepl_tls *tls;
	hvrepl_node *node;
	hvrepl_runner *runner;
	hvrepl_listener *listener;
	unsigned attempts;
	uint32_t step; /* How the last attempt ended. */
} a, b;

static uint8_t shadow[SIZE], seen[SIZE];

static const char *file(const char *name, const char *suffix,
			char out[TEMPDIR_PATH_MAX])
{
	snprintf(out, TEMPDIR_PATH_MAX, "%.400s/%s%s", dir.path, name, suffix);
	return out;
}

static void site_init(struct site *site, const char *name)
{
	struct hvrepl_tls_options options = HVREPL_TLS_OPTIONS_INIT;
	char ca_file[TEMPDIR_PATH_MAX], cert[TEMPDIR_PATH_MAX],
		key[TEMPDIR_PATH_MAX];

	memset(site, 0, sizeof(*site));
	site->name = name;
	file(name, ".state", site->path[0]);
	file(name, ".store", site->path[1]);
	file(name, ".img", site->path[2]);
	pki_good(ca, &dir, name);
	options.ca_file = file("ca", ".pem", ca_file);
	options.cert_file = file(name, ".pem", cert);
	options.key_file = file(name, ".key", key);
	ck_assert_int_eq(hvrepl_tls_create(&options, &site->tls, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_file_disk_create(site->path[2], SIZE, NULL),
			 HVREPL_OK);
}

static int32_t open_disk(const struct site *site, struct hvrepl_disk *disk,
			 struct hvrepl_storage *storage)
{
	int32_t rc = hvrepl_file_disk_open(site->path[2],
					   HVREPL_FILE_EXCLUSIVE, disk, NULL);

	if (rc < 0)
		return rc;
	rc = hvrepl_dir_storage_open(site->path[1], HVREPL_DIR_CREATE, storage,
				     NULL);
	if (rc < 0)
		disk->release(disk->user);
	return rc;
}

static int32_t open_replica(void *user, const struct hvrepl_uuid *vm,
			    const char *vm_name, const char *peer,
			    const struct hvrepl_disk_spec *specs,
			    uint32_t disk_count, uint32_t flags,
			    struct hvrepl_disk *disks_out,
			    struct hvrepl_storage *storage_out)
{
	(void)user, (void)vm, (void)vm_name, (void)peer, (void)specs;
	(void)flags;
	if (disk_count != 1)
		return HVREPL_E_INVALID;
	return open_disk(&b, disks_out, storage_out);
}

static const struct hvrepl_vmm_ops vmm_ops = {
	.struct_size = sizeof(vmm_ops),
	.open_replica = open_replica,
};

static void start_node(struct site *site, const char *peer)
{
	struct hvrepl_node_config config;
	struct hvrepl_authorisation entry;
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	memset(&config, 0, sizeof(config));
	memset(&entry, 0, sizeof(entry));
	config.struct_size = sizeof(config);
	config.env = &env;
	config.site = site->name;
	config.vmm = site == &b ? &vmm_ops : NULL;
	config.wake = hvrepl_runner_wake;
	config.user = loop;
	config.retry_min_ns = SECOND / 20;
	config.start_wait_ns = SECOND / 10;
	ck_assert_int_eq(hvrepl_dir_state_open(site->path[0],
					       HVREPL_DIR_CREATE,
					       &config.state, &error),
			 HVREPL_OK);
	ck_assert_msg(hvrepl_node_create(&config, &site->node, &error) ==
			      HVREPL_OK,
		      "%s", error.sentence);
	ck_assert_int_eq(hvrepl_runner_create(loop, site->node, NULL, NULL,
					      &site->runner),
			 HVREPL_OK);
	entry.struct_size = sizeof(entry);
	entry.verbs = HVREPL_VERB_ALL;
	entry.peer = peer;
	ck_assert_int_eq(hvrepl_node_authorise(site->node, &entry), HVREPL_OK);
}

static void note_attempt(void *user, const struct hvrepl_connect_result *result)
{
	struct site *site = user;

	site->attempts++;
	site->step = result->step;
}

static uint32_t port; /* Of the replica; the same after a restart. */

static void start_replica(void)
{
	struct hvrepl_tls_listen options = HVREPL_TLS_LISTEN_INIT;
	struct hvrepl_peer_config peer;
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	start_node(&b, a.name);
	memset(&peer, 0, sizeof(peer));
	peer.struct_size = sizeof(peer);
	peer.name = a.name; /* It calls us. */
	ck_assert_int_eq(hvrepl_node_add_peer(b.node, &peer, NULL), HVREPL_OK);
	options.address = "127.0.0.1";
	options.port = port;
	options.accepted = hvrepl_runner_accept;
	options.user = b.node;
	ck_assert_msg(hvrepl_tls_listen(loop, b.tls, &options, &b.listener,
					&error) == HVREPL_OK,
		      "%s", error.sentence);
	port = hvrepl_listener_port(b.listener);
}

static void start_primary(void)
{
	struct hvrepl_tls_peer peer = HVREPL_TLS_PEER_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_vm_config vm;
	struct hvrepl_disk disk;

	start_node(&a, b.name);
	peer.name = b.name;
	peer.host = "127.0.0.1";
	peer.port = port;
	peer.attempted = note_attempt;
	peer.user = &a;
	ck_assert_int_eq(hvrepl_tls_add_peer(loop, a.tls, a.node, &peer, NULL),
			 HVREPL_OK);
	memset(&vm, 0, sizeof(vm));
	vm.struct_size = sizeof(vm);
	vm.id = vm_id;
	vm.name = "web";
	vm.specs = &spec;
	vm.disks = &disk;
	vm.disk_count = 1;
	vm.points_max = 4;
	vm.cycle_ns = SECOND / 20;
	ck_assert_int_eq(open_disk(&a, &disk, &vm.storage), HVREPL_OK);
	ck_assert_msg(hvrepl_node_add_vm(a.node, &vm, &error) == HVREPL_OK,
		      "%s", error.sentence);
}

static void stop_site(struct site *site)
{
	hvrepl_listener_close(site->listener);
	site->listener = NULL;
	ck_assert_int_eq(hvrepl_runner_close_node(site->runner, PATIENCE),
			 HVREPL_OK);
	hvrepl_runner_destroy(site->runner);
	ck_assert_int_eq(hvrepl_node_destroy(site->node), HVREPL_OK);
	site->node = NULL;
}

static bool connected(void);
static void run_until(bool (*reached)(void));

static void setup(void)
{
	tempdir_make(&dir);
	ca = pki_ca_new(&dir, "ca");
	port = 0;
	memset(shadow, 0, sizeof(shadow));
	ck_assert_int_eq(hvrepl_loop_create(&loop, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_pool_create(2, &pool, NULL), HVREPL_OK);
	env = (struct hvrepl_env)HVREPL_ENV_INIT;
	ck_assert_int_eq(hvrepl_pool_env(pool, NULL, NULL, &env), HVREPL_OK);
	site_init(&a, "primary.test");
	site_init(&b, "replica.test");
	start_replica();
	start_primary();
	run_until(connected);
	ck_assert_uint_eq(a.step, HVREPL_STEP_DONE);
}

static void teardown(void)
{
	if (a.node != NULL)
		stop_site(&a);
	if (b.node != NULL)
		stop_site(&b);
	hvrepl_loop_destroy(loop);
	hvrepl_pool_destroy(pool);
	hvrepl_tls_destroy(a.tls);
	hvrepl_tls_destroy(b.tls);
	pki_ca_free(ca);
	tempdir_remove(&dir);
}

/* Run until `reached` holds; the loop is stopped now and then to look. */
static void stop_loop(void *user)
{
	(void)user;
	hvrepl_loop_stop(loop);
}

static void run_until(bool (*reached)(void))
{
	uint64_t end = hvrepl_loop_now() + PATIENCE;
	hvrepl_loop_timer *timer;

	ck_assert_int_eq(hvrepl_loop_timer_create(loop, stop_loop, NULL,
						  &timer),
			 HVREPL_OK);
	while (!reached()) {
		ck_assert_uint_lt(hvrepl_loop_now(), end);
		hvrepl_loop_timer_set(timer, hvrepl_loop_now() + SECOND / 100);
		ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	}
	hvrepl_loop_timer_free(timer);
}

static struct hvrepl_vm_status status_of(const struct site *site)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	(void)hvrepl_vm_get_status(site->node, &vm_id, &status);
	return status;
}

static bool connected(void)
{
	struct hvrepl_node_status status = HVREPL_NODE_STATUS_INIT;

	return hvrepl_node_get_status(a.node, &status) == HVREPL_OK &&
	       status.session_count == 1 && status_of(&a).writable != 0;
}

static const struct site *watched;
static uint64_t wanted;

static bool point_is_there(void)
{
	return status_of(watched).last_point >= wanted;
}

static bool is_writable(void)
{
	return status_of(watched).writable != 0;
}

static bool is_replicating(void)
{
	struct hvrepl_vm_status status = status_of(watched);

	return status.state == HVREPL_STATE_REPLICATING &&
	       status.ownership == HVREPL_OWNERSHIP_OWNER;
}

static void operate(struct site *site, uint32_t type)
{
	struct hvrepl_event done = HVREPL_EVENT_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_operation operation;
	uint64_t job = 0;

	memset(&operation, 0, sizeof(operation));
	operation.struct_size = sizeof(operation);
	operation.type = type;
	operation.vm = vm_id;
	operation.peer = site == &a ? b.name : a.name;
	ck_assert_msg(hvrepl_node_operate(site->node, &operation, &job,
					  &error) == HVREPL_OK,
		      "operation %u: %s", type, error.sentence);
	ck_assert_int_eq(hvrepl_runner_wait_job(site->runner, job, PATIENCE,
						&done),
			 HVREPL_OK);
	ck_assert_msg(done.code == HVREPL_OK, "operation %u: %s", type,
		      done.sentence);
}

static void guest_write(struct site *site, uint64_t seed, unsigned writes)
{
	uint64_t state = seed * 2 + 1;
	hvrepl_guest_disk *guest;

	ck_assert_int_eq(hvrepl_vm_open_disk(site->node, &vm_id, &spec.id,
					     &guest),
			 HVREPL_OK);
	for (unsigned i = 0; i < writes; i++) {
		uint64_t offset = test_random(&state) % (SIZE / 512 - 64) * 512;
		size_t length = (test_random(&state) % 64 + 1) * 512;

		test_fill(shadow + offset, length, test_random(&state));
		ck_assert_int_eq(hvrepl_guest_write(guest, offset,
						    shadow + offset, length),
				 HVREPL_OK);
	}
}

/* The next point at `to` is what the guest wrote at `from`. */
static void expect_next_point(const struct site *from, const struct site *to)
{
	struct hvrepl_iovec iov = { seen, SIZE };
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_disk disk;
	hvrepl_view *view;

	watched = to;
	wanted = status_of(from).last_cut;
	if (status_of(to).last_point > wanted)
		wanted = status_of(to).last_point;
	/* The next one may have been cut already, on another thread. */
	wanted += 2;
	run_until(point_is_there);
	ck_assert_msg(hvrepl_vm_open_view(to->node, &vm_id, 0, &view, &error) ==
			      HVREPL_OK,
		      "%s", error.sentence);
	ck_assert_int_eq(hvrepl_view_disk(view, 0, &disk), HVREPL_OK);
	ck_assert_int_eq(disk.ops->readv(disk.user, NULL, 0, &iov, 1),
			 HVREPL_OK);
	disk.release(disk.user);
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	ck_assert_mem_eq(seen, shadow, SIZE);
}

/* `from` gives the VM to `to`, which has every byte of it. */
static void fail_over(struct site *from, struct site *to)
{
	hvrepl_guest_disk *guest;

	operate(from, HVREPL_OPERATION_PLANNED);
	watched = to;
	run_until(is_writable);
	ck_assert_uint_eq(status_of(from).writable, 0);
	ck_assert_int_eq(hvrepl_vm_open_disk(to->node, &vm_id, &spec.id,
					     &guest),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_guest_read(guest, 0, seen, SIZE), HVREPL_OK);
	ck_assert_mem_eq(seen, shadow, SIZE);
}

static void protect(void)
{
	operate(&a, HVREPL_OPERATION_ENABLE);
	operate(&a, HVREPL_OPERATION_START_INITIAL);
	watched = &b;
	wanted = 1;
	run_until(point_is_there);
}

START_TEST(disks_on_files_are_replicated_over_tls)
{
	guest_write(&a, 1, 100);
	protect();
	for (uint64_t i = 0; i < 3; i++) {
		guest_write(&a, 10 + i, 20);
		expect_next_point(&a, &b);
	}
}
END_TEST

START_TEST(a_replica_that_restarts_is_found_again)
{
	protect();
	guest_write(&a, 1, 20);
	expect_next_point(&a, &b);
	stop_site(&b);
	guest_write(&a, 2, 20);
	start_replica();
	expect_next_point(&a, &b);
}
END_TEST

START_TEST(a_planned_failover_and_back_loses_nothing)
{
	guest_write(&a, 1, 50);
	protect();
	guest_write(&a, 2, 20);
	fail_over(&a, &b);
	guest_write(&b, 3, 20);
	operate(&b, HVREPL_OPERATION_COMMIT);
	operate(&b, HVREPL_OPERATION_REVERSE);
	watched = &b;
	run_until(is_replicating);
	guest_write(&b, 4, 20);
	expect_next_point(&b, &a);
	fail_over(&b, &a);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("two sites");
	TCase *tc = tcase_create("real backends");

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, disks_on_files_are_replicated_over_tls);
	tcase_add_test(tc, a_replica_that_restarts_is_found_again);
	tcase_add_test(tc, a_planned_failover_and_back_loses_nothing);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
