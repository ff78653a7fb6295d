/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T8 in a node: a tracker file that fails or hangs does not fail the guest's
 * writes; that the whole disk must be compared stands in the state store before
 * they go on, and goes when the file is good again.
 */
#include "tempdir.h"
#include "testing.h"

#include <hvrepl/backends.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SIZE (256u << 20)
#define REGION (16u << 20)
#define BLOCK 4096u
#define KEYS 8
#define THREADS 2

static const struct hvrepl_uuid vm_id = { { 0xaa, 9 } };
static const struct hvrepl_disk_spec spec = { { { 0xd1, 9 } }, SIZE, "disk" };

static struct tempdir dir;
static hvrepl_pool *pool;
static struct hvrepl_env env = HVREPL_ENV_INIT;
static hvrepl_node *node;

/* A storage that can be told to fail or to hang. */
enum mood { GOOD, FAILING, HANGING };
static struct hvrepl_storage inner;
static int mood; /* Atomic. */

static int32_t moody(void)
{
	struct timespec pause = { 0, 1000000 };

	while (__atomic_load_n(&mood, __ATOMIC_SEQ_CST) == HANGING)
		nanosleep(&pause, NULL);
	return __atomic_load_n(&mood, __ATOMIC_SEQ_CST) == FAILING ?
		       HVREPL_E_STORAGE_IO :
		       HVREPL_OK;
}

static int32_t moody_write(void *user, hvrepl_op *op, void *object,
			   uint64_t offset, const struct hvrepl_iovec *iov,
			   uint32_t count)
{
	int32_t rc = moody();

	return rc < 0 ? rc :
			inner.ops->write(user, op, object, offset, iov, count);
}

static int32_t moody_flush(void *user, hvrepl_op *op, void *object)
{
	int32_t rc = moody();

	return rc < 0 ? rc : inner.ops->flush(user, op, object);
}

/* A state store in memory that outlives the node and can fail. */
static struct {
	char key[HVREPL_STATE_KEY_MAX + 1];
	uint8_t bytes[HVREPL_STATE_BLOB_MAX];
	uint32_t length;
	uint64_t version;
} blobs[KEYS];
static bool state_fails;
static unsigned untrusted_said; /* How often. Atomic. */
static pthread_mutex_t state_lock = PTHREAD_MUTEX_INITIALIZER;

static int find(const char *key)
{
	for (int i = 0; i < KEYS; i++)
		if (blobs[i].version > 0 && strcmp(blobs[i].key, key) == 0)
			return i;
	return -1;
}

static int32_t state_get(void *user, const char *key, void *buffer,
			 uint32_t *length_inout, uint64_t *version_out)
{
	int32_t rc = HVREPL_E_NOT_FOUND;
	int i;

	(void)user;
	pthread_mutex_lock(&state_lock);
	i = find(key);
	if (i >= 0) {
		memcpy(buffer, blobs[i].bytes,
		       blobs[i].length < *length_inout ? blobs[i].length :
							 *length_inout);
		*length_inout = blobs[i].length;
		*version_out = blobs[i].version;
		rc = HVREPL_OK;
	}
	pthread_mutex_unlock(&state_lock);
	return rc;
}

static int32_t put(const char *key, const void *blob, uint32_t length,
		   uint64_t expected)
{
	int i = find(key);

	if (state_fails && strncmp(key, "untrusted/", 10) == 0)
		return HVREPL_E_STATE_IO;
	if ((i < 0 ? 0 : blobs[i].version) != expected)
		return HVREPL_E_BUSY;
	for (int free = 0; i < 0; free++)
		if (blobs[free].version == 0)
			i = free;
	if (length > 0 && strncmp(key, "untrusted/", 10) == 0)
		(void)__atomic_add_fetch(&untrusted_said, 1, __ATOMIC_SEQ_CST);
	snprintf(blobs[i].key, sizeof(blobs[i].key), "%s", key);
	memcpy(blobs[i].bytes, blob, length);
	blobs[i].length = length;
	blobs[i].version = length == 0 ? 0 : expected + 1;
	return HVREPL_OK;
}

static int32_t state_put(void *user, hvrepl_op *op, const char *key,
			 const void *blob, uint32_t length, uint64_t expected)
{
	int32_t rc;

	(void)user, (void)op;
	pthread_mutex_lock(&state_lock);
	rc = put(key, blob, length, expected);
	pthread_mutex_unlock(&state_lock);
	return rc;
}

static int32_t state_list(void *user, const char *prefix,
			  int32_t (*found)(void *argument, const char *key),
			  void *argument)
{
	int32_t rc = HVREPL_OK;

	(void)user;
	for (int i = 0; i < KEYS && rc >= 0; i++)
		if (blobs[i].version > 0 &&
		    strncmp(blobs[i].key, prefix, strlen(prefix)) == 0)
			rc = found(argument, blobs[i].key);
	return rc;
}

static const struct hvrepl_state_ops state_ops = {
	sizeof(state_ops), 0, state_get, state_put, state_list
};

static bool untrusted_stands(void)
{
	bool stands = false;

	pthread_mutex_lock(&state_lock);
	for (int i = 0; i < KEYS; i++)
		stands |= blobs[i].version > 0 &&
			  strncmp(blobs[i].key, "untrusted/", 10) == 0;
	pthread_mutex_unlock(&state_lock);
	return stands;
}

static void turn(void)
{
	struct timespec pause = { 0, 200000 };
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	if (hvrepl_node_process(node, 64) != 1)
		nanosleep(&pause, NULL);
	while (hvrepl_node_next_event(node, &event) == 1)
		;
}

static void status(struct hvrepl_vm_status *out)
{
	*out = (struct hvrepl_vm_status)HVREPL_VM_STATUS_INIT;
	ck_assert_int_eq(hvrepl_vm_get_status(node, &vm_id, out), HVREPL_OK);
}

static void start(void)
{
	static struct hvrepl_storage_ops ops;
	struct hvrepl_node_config config = HVREPL_NODE_CONFIG_INIT;
	struct hvrepl_vm_config vm = HVREPL_VM_CONFIG_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_vm_status now;
	char path[TEMPDIR_PATH_MAX];
	struct hvrepl_disk disk;

	config.env = &env;
	config.site = "a";
	config.state.ops = &state_ops;
	config.start_wait_ns = 1000000;
	ck_assert_msg(hvrepl_node_create(&config, &node, &error) == HVREPL_OK,
		      "%s", error.sentence);
	tempdir_join(&dir, "disk.img", path);
	ck_assert_int_eq(hvrepl_file_disk_open(path, HVREPL_FILE_EXCLUSIVE,
					       &disk, NULL),
			 HVREPL_OK);
	tempdir_join(&dir, "storage", path);
	ck_assert_int_eq(hvrepl_dir_storage_open(path, HVREPL_DIR_CREATE,
						 &inner, NULL),
			 HVREPL_OK);
	ops = *inner.ops;
	ops.write = moody_write;
	ops.flush = moody_flush;
	vm.id = vm_id;
	vm.name = "web";
	vm.specs = &spec;
	vm.disks = &disk;
	vm.disk_count = 1;
	vm.storage = inner;
	vm.storage.ops = &ops;
	ck_assert_msg(hvrepl_node_add_vm(node, &vm, &error) == HVREPL_OK, "%s",
		      error.sentence);
	do {
		turn();
		status(&now);
	} while (now.writable == 0);
}

static void stop(void)
{
	ck_assert_int_eq(hvrepl_node_close(node), HVREPL_OK);
	while (hvrepl_node_destroy(node) == HVREPL_E_BUSY)
		turn();
	node = NULL;
}

struct guest {
	hvrepl_guest_disk *door;
	uint64_t offset;
	int32_t result;
	bool done; /* Atomic. */
};

static void *guest_main(void *argument)
{
	static const uint8_t block[BLOCK] = { 1 };
	struct guest *guest = argument;

	guest->result = hvrepl_guest_write(guest->door, guest->offset, block,
					   BLOCK);
	__atomic_store_n(&guest->done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

/* From a thread of the guest's, while the node runs. */
static int32_t write_at(uint64_t offset)
{
	struct guest guest = { .offset = offset };
	pthread_t thread;

	ck_assert_int_eq(hvrepl_vm_open_disk(node, &vm_id, &spec.id,
					     &guest.door),
			 HVREPL_OK);
	ck_assert_int_eq(pthread_create(&thread, NULL, guest_main, &guest), 0);
	while (!__atomic_load_n(&guest.done, __ATOMIC_SEQ_CST))
		turn();
	pthread_join(thread, NULL);
	return guest.result;
}

static void setup(void)
{
	char path[TEMPDIR_PATH_MAX];

	tempdir_make(&dir);
	memset(blobs, 0, sizeof(blobs));
	state_fails = false;
	untrusted_said = 0;
	mood = GOOD;
	ck_assert_int_eq(hvrepl_pool_create(THREADS, &pool, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_pool_env(pool, NULL, NULL, &env),
			 HVREPL_OK);
	tempdir_join(&dir, "disk.img", path);
	ck_assert_int_eq(hvrepl_file_disk_create(path, SIZE, NULL), HVREPL_OK);
	start();
}

static void teardown(void)
{
	stop();
	hvrepl_pool_destroy(pool);
	tempdir_remove(&dir);
}

static void be(int new_mood)
{
	__atomic_store_n(&mood, new_mood, __ATOMIC_SEQ_CST);
}

/* A first write whose mark came in time. A machine that was busy for that long
 * says untrusted once, and then no mark matters: from the start again. */
static void first_write(void)
{
	ck_assert_int_eq(write_at(0), HVREPL_OK);
	while (__atomic_load_n(&untrusted_said, __ATOMIC_SEQ_CST) > 0) {
		teardown();
		setup();
		ck_assert_int_eq(write_at(0), HVREPL_OK);
	}
	ck_assert(!untrusted_stands());
}

START_TEST(writes_go_on_when_marks_fail_and_the_record_stands_first)
{
	first_write();
	be(FAILING);
	ck_assert_int_eq(write_at(2 * REGION), HVREPL_OK);
	ck_assert(untrusted_stands());
	/* The file is good again: exact tracking, no compare. */
	be(GOOD);
	while (untrusted_stands())
		turn();
	ck_assert_int_eq(write_at(4 * REGION), HVREPL_OK);
	/* On a busy machine it may be said once more, and is taken back. */
	while (untrusted_stands())
		turn();
}
END_TEST

START_TEST(writes_go_on_when_marks_hang)
{
	be(HANGING);
	ck_assert_int_eq(write_at(REGION), HVREPL_OK);
	ck_assert(untrusted_stands());
	be(GOOD);
}
END_TEST

/* Whatever else hangs: all threads of the executor do. */
static int held; /* Atomic. */
static bool letting_go; /* Atomic. */

static void hold(void *argument)
{
	struct timespec pause = { 0, 1000000 };

	(void)argument;
	(void)__atomic_add_fetch(&held, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&letting_go, __ATOMIC_SEQ_CST))
		nanosleep(&pause, NULL);
	(void)__atomic_sub_fetch(&held, 1, __ATOMIC_SEQ_CST);
}

START_TEST(writes_go_on_when_marks_hang_and_no_thread_is_left)
{
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_ge(env.execute(env.user, hold, NULL), 0);
	while (__atomic_load_n(&held, __ATOMIC_SEQ_CST) < THREADS)
		turn();
	ck_assert_int_eq(write_at(REGION), HVREPL_OK);
	ck_assert(untrusted_stands());
	__atomic_store_n(&letting_go, true, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&held, __ATOMIC_SEQ_CST) > 0)
		turn();
}
END_TEST

START_TEST(with_neither_file_nor_state_store_the_write_fails)
{
	be(FAILING);
	state_fails = true;
	ck_assert_int_lt(write_at(REGION), 0);
	ck_assert(!untrusted_stands());
	be(GOOD);
	state_fails = false;
	ck_assert_int_eq(write_at(REGION), HVREPL_OK);
}
END_TEST

START_TEST(after_an_unclean_end_the_whole_disk_counts_as_changed)
{
	struct hvrepl_vm_status now;

	be(FAILING);
	ck_assert_int_eq(write_at(REGION), HVREPL_OK);
	stop(); /* What could not be saved is as a crash leaves it. */
	ck_assert(untrusted_stands());
	be(GOOD);
	start();
	do { /* Not shown while the trackers are being looked at. */
		turn();
		status(&now);
	} while (now.dirty_bytes == 0);
	ck_assert_uint_eq(now.dirty_bytes, SIZE);
	while (untrusted_stands())
		turn();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("untrusted");
	TCase *tcase = tcase_create("untrusted");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase,
		       writes_go_on_when_marks_fail_and_the_record_stands_first);
	tcase_add_test(tcase, writes_go_on_when_marks_hang);
	tcase_add_test(tcase,
		       writes_go_on_when_marks_hang_and_no_thread_is_left);
	tcase_add_test(tcase,
		       with_neither_file_nor_state_store_the_write_fails);
	tcase_add_test(tcase,
		       after_an_unclean_end_the_whole_disk_counts_as_changed);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
