/* SPDX-License-Identifier: Apache-2.0 */
/* What a node is not made of, which VMs it does not take, and what may not be called
 * from inside its callbacks; each with a code, and a sentence where there is room. */
#include "pair.h"

#include <string.h>

#define SIZE (64u << 10)
#define SECOND UINT64_C(1000000000)

static struct pair pair;

static void setup(void)
{
	pair_init(&pair, 3, SIZE);
	pair_start(&pair, &pair.b);
	pair_start(&pair, &pair.a);
	pair_run(&pair, SECOND);
}

static void teardown(void)
{
	pair_free(&pair);
	ck_assert_int_eq(pair.a.env.alloc_live, 0);
	ck_assert_int_eq(pair.b.env.alloc_live, 0);
}

/* ---- the node's config ---- */

static unsigned let_go;
static uint8_t blob[64];
static uint32_t blob_length;
static int32_t get_code, put_code, list_code;
static bool stray_keys;

static int32_t state_get(void *user, const char *key, void *bytes,
			 uint32_t *length, uint64_t *version)
{
	(void)user, (void)key;
	if (get_code < 0)
		return get_code;
	ck_assert_uint_le(blob_length, *length);
	memcpy(bytes, blob, blob_length);
	*length = blob_length;
	*version = 1;
	return HVREPL_OK;
}

static int32_t state_put(void *user, hvrepl_op *op, const char *key,
			 const void *bytes, uint32_t length, uint64_t expected)
{
	(void)user, (void)op, (void)key, (void)bytes, (void)length, (void)expected;
	return put_code;
}

static int32_t state_list(void *user, const char *prefix,
			  int32_t (*found)(void *argument, const char *key),
			  void *argument)
{
	(void)user, (void)prefix;
	if (stray_keys) {
		ck_assert_int_eq(found(argument, "vx/"), HVREPL_OK);
		ck_assert_int_eq(found(argument, "vm/no-uuid"), HVREPL_OK);
	}
	return list_code;
}

static void release(void *user)
{
	(void)user;
	let_go++;
}

static const struct hvrepl_state_ops whole_state = {
	.struct_size = sizeof(whole_state),
	.get = state_get,
	.put = state_put,
	.list = state_list,
};

static int32_t create(const struct hvrepl_node_config *config,
		      struct hvrepl_error *error)
{
	hvrepl_node *node = NULL;
	int32_t rc;

	let_go = 0;
	*error = (struct hvrepl_error)HVREPL_ERROR_INIT;
	rc = hvrepl_node_create(config, &node, error);
	if (rc == HVREPL_OK) {
		ck_assert_int_eq(hvrepl_node_close(node), HVREPL_OK);
		/* Closing twice is one end. */
		ck_assert_int_eq(hvrepl_node_close(node), HVREPL_OK);
		ck_assert_int_ge(hvrepl_node_process(node, 0), 0);
		ck_assert_int_eq(hvrepl_node_destroy(node), HVREPL_OK);
	} else {
		ck_assert_ptr_null(node);
		ck_assert_int_eq(error->code, rc);
	}
	ck_assert_uint_eq(let_go, 2);
	return rc;
}

static struct hvrepl_node_config good_config(struct test_env *env)
{
	struct hvrepl_node_config config = HVREPL_NODE_CONFIG_INIT;

	config.env = &env->env;
	config.site = "here";
	config.state = (struct hvrepl_state){ &whole_state, NULL, release };
	config.release = release;
	config.compression_level = 100;
	config.retry_min_ns = SECOND;
	config.retry_max_ns = 2 * SECOND;
	config.start_wait_ns = SECOND;
	get_code = HVREPL_E_NOT_FOUND;
	put_code = list_code = HVREPL_OK;
	stray_keys = true;
	return config;
}

START_TEST(a_config_that_says_what_no_node_can_be_is_refused)
{
	static const struct hvrepl_vmm_ops no_vmm = {
		.struct_size = sizeof(no_vmm),
	};
	static char long_name[HVREPL_NAME_MAX + 2];
	struct hvrepl_node_config config;
	struct hvrepl_state_ops ops;
	struct hvrepl_error error;
	struct test_env env;

	test_env_init(&env, 1);
	memset(long_name, 'n', sizeof(long_name) - 1);
	config = good_config(&env);
	ck_assert_int_eq(create(&config, &error), HVREPL_OK);
#define REFUSED(change, rc, word)                                           \
	do {                                                                \
		config = good_config(&env);                                 \
		change;                                                     \
		ck_assert_int_eq(create(&config, &error), rc);              \
		ck_assert_msg(strstr(error.sentence, word) != NULL, "%s",   \
			      error.sentence);                              \
	} while (0)
	REFUSED(config.flags = 1, HVREPL_E_TOO_NEW, "flag");
	REFUSED(config.start_without_peer = 2, HVREPL_E_TOO_NEW, "flag");
	REFUSED(config.reserved = 1, HVREPL_E_INVALID, "reserved");
	REFUSED(config.site = NULL, HVREPL_E_INVALID, "name of 1 to");
	REFUSED(config.site = "", HVREPL_E_INVALID, "name of 1 to");
	REFUSED(config.site = long_name, HVREPL_E_INVALID, "name of 1 to");
	REFUSED(config.compression_level = 20, HVREPL_E_INVALID,
		"compression_level");
	REFUSED(config.compression_level = 99, HVREPL_E_INVALID,
		"compression_level");
	REFUSED(config.vmm = &no_vmm, HVREPL_E_INVALID, "open_replica_at");
	REFUSED(config.replica_quota = 1, HVREPL_E_INVALID, "quota");
	REFUSED(config.env = NULL, HVREPL_E_INVALID, "env");
	REFUSED(config.state.ops = NULL, HVREPL_E_INVALID, "state table");
	for (unsigned i = 0; i < 3; i++) {
		ops = whole_state;
		if (i == 0)
			ops.get = NULL;
		if (i == 1)
			ops.put = NULL;
		if (i == 2)
			ops.list = NULL;
		REFUSED(config.state.ops = &ops, HVREPL_E_INVALID, "state table");
	}
	ck_assert_int_eq(env.alloc_live, 0);
}
END_TEST

START_TEST(a_state_store_that_is_damaged_or_silent_makes_no_node)
{
	struct hvrepl_node_config config;
	struct hvrepl_error error;
	struct test_env env;

	test_env_init(&env, 1);
	REFUSED(get_code = HVREPL_E_CORRUPT, HVREPL_E_CORRUPT, "from a backup");
	REFUSED(get_code = HVREPL_E_STATE_IO, HVREPL_E_STATE_IO, "mend it");
	REFUSED(put_code = HVREPL_E_NO_SPACE, HVREPL_E_STATE_IO, "mend it");
	REFUSED(list_code = HVREPL_E_STATE_IO, HVREPL_E_STATE_IO,
		"start again when");
	REFUSED(list_code = HVREPL_E_CORRUPT, HVREPL_E_CORRUPT, "from a backup");
	/* An identity of another length, or of another kind. */
	blob_length = 20;
	memcpy(blob, "HVN1", 4);
	REFUSED(get_code = HVREPL_OK, HVREPL_E_CORRUPT, "from a backup");
	blob_length = 24;
	memcpy(blob, "HVN0", 4);
	REFUSED(get_code = HVREPL_OK, HVREPL_E_CORRUPT, "from a backup");
	memcpy(blob, "HVN1", 4);
	config = good_config(&env);
	get_code = HVREPL_OK;
	ck_assert_int_eq(create(&config, &error), HVREPL_OK);
	ck_assert_int_eq(env.alloc_live, 0);
}
END_TEST

static const struct hvrepl_channel_ops no_channel = {
	.struct_size = sizeof(no_channel),
};

/* ---- a VM's config ---- */

static int32_t add_vm(hvrepl_node *node, const struct hvrepl_vm_config *config,
		      const char *word)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc;

	let_go = 0;
	rc = hvrepl_node_add_vm(node, config, &error);
	ck_assert_msg(strstr(error.sentence, word) != NULL, "%s",
		      error.sentence);
	return rc;
}

START_TEST(a_vm_that_cannot_be_one_is_refused_and_its_disks_let_go)
{
	static char long_name[HVREPL_NAME_MAX + 2];
	struct sim_storage *storage = sim_storage_new(&pair.a.sim);
	struct sim_disk *disk = sim_disk_new(&pair.a.sim, SIZE);
	struct hvrepl_disk_spec spec = { .id = { { 7 } }, .size = SIZE };
	struct hvrepl_disk handle = sim_disk_handle(disk);
	struct hvrepl_vm_config good = { .struct_size = sizeof(good) }, vm;

	memset(long_name, 'v', sizeof(long_name) - 1);
	good.id.bytes[0] = 9;
	good.name = "second";
	good.specs = &spec;
	good.disks = &handle;
	good.disk_count = 1;
	good.storage = sim_storage_handle(storage);
	handle.release = good.storage.release = release;
#define NO_VM(change, rc, word, gone)                                       \
	do {                                                                \
		vm = good;                                                  \
		change;                                                     \
		ck_assert_int_eq(add_vm(pair.a.node, &vm, word), rc);       \
		ck_assert_uint_eq(let_go, gone);                            \
	} while (0)
	NO_VM(vm.flags = 1, HVREPL_E_TOO_NEW, "flag", 2);
	NO_VM(vm.reserved = 1, HVREPL_E_INVALID, "reserved", 2);
	NO_VM(vm.name = NULL, HVREPL_E_INVALID, "name of 1 to", 2);
	NO_VM(vm.name = "", HVREPL_E_INVALID, "name of 1 to", 2);
	NO_VM(vm.name = long_name, HVREPL_E_INVALID, "name of 1 to", 2);
	NO_VM(vm.disk_count = 0, HVREPL_E_INVALID, "needs 1 to", 1);
	NO_VM(vm.specs = NULL, HVREPL_E_INVALID, "needs 1 to", 2);
	NO_VM(vm.disks = NULL, HVREPL_E_INVALID, "needs 1 to", 1);
	NO_VM(vm.points_max = HVREPL_POINTS_MAX + 1, HVREPL_E_INVALID,
	      "points_max", 2);
	NO_VM(vm.quota = 1, HVREPL_E_INVALID, "quota", 2);
	NO_VM(memset(&vm.id, 0, sizeof(vm.id)), HVREPL_E_INVALID, "needs an id",
	      2);
	NO_VM(vm.id = pair_vm, HVREPL_E_EXISTS, "here already", 2);
	NO_VM(vm.struct_size = 8, HVREPL_E_INVALID, "", 0);
	/* Nothing to let go of is no reason to stumble. */
	handle.release = NULL;
	NO_VM(vm.storage.release = NULL; vm.flags = 1, HVREPL_E_TOO_NEW, "flag",
	      0);
	handle.release = release;
	/* A disk that is not what its spec says, or cannot be written. */
	spec.size = SIZE / 2;
	NO_VM((void)0, HVREPL_E_WRONG_DISK, "", 2);
	spec.size = SIZE;
	disk->flags = HVREPL_DISK_READ_ONLY;
	NO_VM((void)0, HVREPL_E_READ_ONLY, "", 2);
	disk->flags = HVREPL_DISK_EXCLUSIVE;
	{
		struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

		ck_assert_int_eq(hvrepl_vm_get_status(pair.a.node, &good.id,
						      &status),
				 HVREPL_E_NOT_FOUND);
	}
}
END_TEST

/* A program that was built with a newer library finds this one: what it hands over is let
 * go, and so can be handed over again as this one knows it. */
START_TEST(what_a_newer_program_hands_over_is_let_go)
{
	struct {
		struct hvrepl_node_config known;
		uint64_t member;
	} config = { .member = 1 };
	struct {
		struct hvrepl_vm_config known;
		uint64_t member;
	} vm = { .member = 1 };
	struct {
		struct hvrepl_peer_config known;
		uint64_t member;
	} peer = { .member = 1 };
	struct hvrepl_channel channel = { .ops = &no_channel,
					  .release = release };
	struct hvrepl_disk disk = { .release = release };
	struct hvrepl_error error;

	config.known = good_config(&pair.a.env);
	config.known.struct_size = sizeof(config);
	ck_assert_int_eq(create(&config.known, &error), HVREPL_E_TOO_NEW);
	ck_assert_str_ne(error.sentence, "");
	vm.known = (struct hvrepl_vm_config)HVREPL_VM_CONFIG_INIT;
	vm.known.struct_size = sizeof(vm);
	vm.known.disks = &disk;
	vm.known.disk_count = 1;
	vm.known.storage.release = release;
	ck_assert_int_eq(add_vm(pair.a.node, &vm.known, ""), HVREPL_E_TOO_NEW);
	ck_assert_uint_eq(let_go, 2);
	peer.known = (struct hvrepl_peer_config)HVREPL_PEER_CONFIG_INIT;
	peer.known.struct_size = sizeof(peer);
	peer.known.name = "newer";
	peer.known.release = release;
	ck_assert_int_eq(hvrepl_node_add_peer(pair.a.node, &peer.known, &error),
			 HVREPL_E_TOO_NEW);
	ck_assert_uint_eq(let_go, 3);
	/* A flag of a channel as well: it is not as if it had not been set. */
	ck_assert_int_eq(hvrepl_node_connected(pair.a.node, &channel, 1u << 31),
			 HVREPL_E_TOO_NEW);
	ck_assert_uint_eq(let_go, 4);
}
END_TEST

/* ---- operations ---- */

static int32_t operate(const struct hvrepl_operation *operation,
		       const char *word)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc = hvrepl_node_operate(pair.a.node, operation, NULL, &error);

	ck_assert_msg(strstr(error.sentence, word) != NULL, "%s",
		      error.sentence);
	return rc;
}

START_TEST(operations_that_there_are_not_change_nothing)
{
	struct hvrepl_operation good = HVREPL_OPERATION_INIT, op;
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	good.vm = pair_vm;
	good.type = HVREPL_OPERATION_ENABLE;
	good.peer = "site-b";
#define NO_OP(change, rc, word)                                             \
	do {                                                                \
		op = good;                                                  \
		change;                                                     \
		ck_assert_int_eq(operate(&op, word), rc);                   \
	} while (0)
	NO_OP(op.struct_size = 4, HVREPL_E_INVALID, "");
	NO_OP(op.flags = 1, HVREPL_E_TOO_NEW, "flag");
	NO_OP(op.reserved = 1, HVREPL_E_TOO_NEW, "flag");
	NO_OP(op.type = 0, HVREPL_E_INVALID, "no operation 0");
	NO_OP(op.type = HVREPL_OPERATION_COUNT, HVREPL_E_INVALID,
	      "no operation");
	NO_OP(op.vm.bytes[0] ^= 1, HVREPL_E_NOT_FOUND, "no such VM");
	NO_OP(op.peer = NULL, HVREPL_E_INVALID, "peer's name");
	NO_OP(op.peer = "nobody", HVREPL_E_UNAVAILABLE, "no session with nobody");
	ck_assert_int_eq(hvrepl_vm_set_cycle(pair.a.node, &pair_disk_ids[0],
					     SECOND, NULL),
			 HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(hvrepl_vm_set_cycle(pair.a.node, &pair_vm, 1, NULL),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_vm_get_status(pair.a.node, &pair_vm, &status),
			 HVREPL_OK);
	ck_assert_uint_eq(status.mode, HVREPL_MODE_NONE);
	/* And then the right one is taken. */
	ck_assert_int_eq(operate(&good, ""), HVREPL_OK);
}
END_TEST

/* The other site would refuse it: better here, and by its name. */
START_TEST(a_vm_whose_disks_cannot_be_told_apart_is_not_enabled)
{
	for (uint8_t i = 0; i < 3; i++) {
		struct hvrepl_disk_spec specs[2] = {
			{ .id = { { 7 } }, .size = SIZE, .name = "first" },
			{ .id = { { 8 } }, .size = SIZE, .name = "second" },
		};
		struct hvrepl_disk disks[2] = {
			sim_disk_handle(sim_disk_new(&pair.a.sim, SIZE)),
			sim_disk_handle(sim_disk_new(&pair.a.sim, SIZE)),
		};
		struct hvrepl_vm_config vm = { .struct_size = sizeof(vm) };
		struct hvrepl_operation op = HVREPL_OPERATION_INIT;

		if (i < 2)
			specs[1].id.bytes[0] = i == 0 ? 0 : 7;
		vm.id.bytes[0] = op.vm.bytes[0] = (uint8_t)(i + 1);
		vm.name = "apart";
		vm.specs = specs;
		vm.disks = disks;
		vm.disk_count = 2;
		vm.storage = sim_storage_handle(sim_storage_new(&pair.a.sim));
		ck_assert_int_eq(add_vm(pair.a.node, &vm, ""), HVREPL_OK);
		pair_run(&pair, SECOND);
		op.type = HVREPL_OPERATION_ENABLE;
		op.peer = "site-b";
		ck_assert_int_eq(operate(&op, i < 2 ? "disk second of VM apart" : ""),
				 i < 2 ? HVREPL_E_INVALID : HVREPL_OK);
	}
}
END_TEST

START_TEST(a_node_that_closes_says_so_and_not_try_again)
{
	struct hvrepl_operation operation = HVREPL_OPERATION_INIT;
	struct hvrepl_peer_config peer = HVREPL_PEER_CONFIG_INIT;
	hvrepl_node *node = pair.a.node;

	operation.vm = pair_vm;
	operation.type = HVREPL_OPERATION_ENABLE;
	operation.peer = "site-b";
	peer.name = "late";
	peer.release = release;
	let_go = 0;
	ck_assert_int_eq(hvrepl_node_close(node), HVREPL_OK);
	ck_assert_int_eq(operate(&operation, "closed"), HVREPL_E_CLOSED);
	ck_assert_int_eq(hvrepl_node_add_peer(node, &peer, NULL),
			 HVREPL_E_CLOSED);
	ck_assert_uint_eq(let_go, 1);
	pair_stop(&pair, &pair.a);
}
END_TEST

START_TEST(what_has_no_size_is_not_as_if_it_had_been_filled)
{
	struct hvrepl_event event = { .struct_size = 0 };
	struct hvrepl_vm_status status = { .struct_size = 0 };
	struct hvrepl_node_status of_node = { .struct_size = 0 };
	struct hvrepl_note note = HVREPL_NOTE_INIT;
	hvrepl_node *node = pair.a.node;
	int32_t rc;

	ck_assert_int_eq(hvrepl_node_get_status(node, &of_node),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_vm_get_status(node, &pair_vm, &status),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_node_get_vm(node, 0, &status),
			 HVREPL_E_INVALID);
	do {
		event = (struct hvrepl_event)HVREPL_EVENT_INIT;
		rc = hvrepl_node_next_event(node, &event);
	} while (rc == 1);
	/* One is told; who has no room for it does not lose it. */
	note.kind = HVREPL_AUDIT_AUTHENTICATION;
	note.source = "somewhere";
	note.sentence = "somebody was refused";
	ck_assert_int_eq(hvrepl_node_note(node, &note), HVREPL_OK);
	ck_assert_int_ge(hvrepl_node_process(node, 0), 0);
	event.struct_size = 0;
	ck_assert_int_eq(hvrepl_node_next_event(node, &event),
			 HVREPL_E_INVALID);
	event = (struct hvrepl_event)HVREPL_EVENT_INIT;
	ck_assert_int_eq(hvrepl_node_next_event(node, &event), 1);
}
END_TEST

static unsigned attempts;

static int32_t connect_in_vain(void *user)
{
	(void)user;
	attempts++;
	return HVREPL_E_UNAVAILABLE;
}

START_TEST(a_pause_beyond_the_clock_is_no_pause_of_nothing)
{
	struct hvrepl_node_config config = good_config(&pair.a.env);
	struct hvrepl_peer_config peer = HVREPL_PEER_CONFIG_INIT;
	hvrepl_node *node;
	uint64_t now = pair.a.env.now_ns;

	/* Less than a quarter is taken from a pause: it goes beyond. */
	pair.a.env.now_ns = UINT64_MAX / 2;
	config.retry_min_ns = config.retry_max_ns = UINT64_MAX;
	ck_assert_int_eq(hvrepl_node_create(&config, &node, NULL), HVREPL_OK);
	peer.name = "far";
	peer.connect = connect_in_vain;
	ck_assert_int_eq(hvrepl_node_add_peer(node, &peer, NULL), HVREPL_OK);
	attempts = 0;
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(hvrepl_node_process(node, 10), 0);
	ck_assert_uint_eq(attempts, 1);
	ck_assert_int_eq(hvrepl_node_close(node), HVREPL_OK);
	ck_assert_int_ge(hvrepl_node_process(node, 0), 0);
	ck_assert_int_eq(hvrepl_node_destroy(node), HVREPL_OK);
	pair.a.env.now_ns = now;
}
END_TEST

/* ---- from inside ---- */

static bool armed;
static unsigned asked;
static uint64_t (*real_utc)(void *user);

#define REENTRANT(...) ck_assert_int_eq(__VA_ARGS__, HVREPL_E_REENTRANT)

static void call_everything(hvrepl_node *node)
{
	struct hvrepl_authorisation entry = HVREPL_AUTHORISATION_INIT;
	struct hvrepl_operation operation = HVREPL_OPERATION_INIT;
	struct hvrepl_vm_config vm = { .struct_size = sizeof(vm) };
	struct hvrepl_peer_config peer = { .struct_size = sizeof(peer) };
	struct hvrepl_event event = HVREPL_EVENT_INIT;
	struct hvrepl_trust trust = HVREPL_TRUST_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_disk disk = { .release = release };
	hvrepl_view *view;

	REENTRANT(hvrepl_node_close(node));
	REENTRANT(hvrepl_node_destroy(node));
	REENTRANT(hvrepl_node_process(node, 0));
	let_go = 0;
	peer.release = release;
	REENTRANT(hvrepl_node_add_peer(node, &peer, &error));
	ck_assert_uint_eq(let_go, 1);
	ck_assert_str_ne(error.sentence, "");
	REENTRANT(hvrepl_node_authorise(node, &entry));
	vm.storage.release = release;
	vm.disks = &disk;
	vm.disk_count = 1;
	REENTRANT(hvrepl_node_add_vm(node, &vm, NULL));
	ck_assert_uint_eq(let_go, 3);
	REENTRANT(hvrepl_vm_set_trust_group(node, &pair_vm, "pair", NULL));
	REENTRANT(hvrepl_vm_set_cycle(node, &pair_vm, SECOND, NULL));
	REENTRANT(hvrepl_vm_set_quota(node, &pair_vm, 0, 0, NULL));
	error = (struct hvrepl_error)HVREPL_ERROR_INIT;
	REENTRANT(hvrepl_node_operate(node, &operation, NULL, &error));
	ck_assert_str_ne(error.sentence, "");
	REENTRANT(hvrepl_node_next_event(node, &event));
	REENTRANT(hvrepl_node_connect_now(node));
	REENTRANT(hvrepl_vm_open_view(node, &pair_vm, 0, &view, NULL));
	/* What is told to it may be told from anywhere. */
	ck_assert_int_eq(hvrepl_node_set_trust(node, &trust), HVREPL_OK);
	asked++;
}

static uint64_t utc_inside(void *user)
{
	if (armed) {
		armed = false;
		call_everything(pair.a.node);
	}
	return real_utc(user);
}

START_TEST(what_is_not_callback_safe_is_refused_inside_a_callback)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;

	pair_stop(&pair, &pair.a);
	real_utc = pair.a.env.env.utc_ns;
	pair.a.env.env.utc_ns = utc_inside;
	pair_start(&pair, &pair.a);
	pair_run(&pair, SECOND);
	asked = 0;
	armed = true;
	/* What happens is stamped with the time, inside process(). */
	ck_assert_int_eq(pair_operate(&pair, &pair.a, HVREPL_OPERATION_ENABLE, 0),
			 HVREPL_OK);
	pair_run(&pair, 10 * SECOND);
	ck_assert_uint_eq(asked, 1);
	/* Nothing of it came about. */
	pair_status(&pair.a, &status);
	ck_assert_uint_ne(status.mode, HVREPL_MODE_NONE);
}
END_TEST

static unsigned posted;

static void from_the_post(void *argument)
{
	hvrepl_node *node = argument;

	posted++;
	/* The application's own turn: everything but three may be called. */
	ck_assert_int_eq(hvrepl_node_connect_now(node), HVREPL_OK);
	ck_assert_int_eq(hvrepl_vm_set_cycle(node, &pair_vm, SECOND, NULL),
			 HVREPL_OK);
}

START_TEST(what_is_posted_runs_once_in_the_next_turn_of_the_node)
{
	hvrepl_node *node = pair.a.node;

	posted = 0;
	ck_assert_int_eq(hvrepl_node_post(NULL, from_the_post, node),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_node_post(node, NULL, node), HVREPL_E_INVALID);
	pair.a.env.alloc_fail_at = 0;
	ck_assert_int_eq(hvrepl_node_post(node, from_the_post, node),
			 HVREPL_E_NOMEM);
	ck_assert_int_eq(hvrepl_node_post(node, from_the_post, node), HVREPL_OK);
	ck_assert_uint_eq(posted, 0);
	ck_assert_uint_le(hvrepl_node_deadline(node), pair.a.env.now_ns);
	ck_assert_int_ge(hvrepl_node_process(node, 0), 0);
	ck_assert_uint_eq(posted, 1);
	ck_assert_int_ge(hvrepl_node_process(node, 0), 0);
	ck_assert_uint_eq(posted, 1);
}
END_TEST

/* ---- what a guest's disk holds ---- */

START_TEST(a_guest_learns_where_its_disk_holds_nothing)
{
	static uint8_t bytes[8192];
	hvrepl_guest_disk *door = pair_door(&pair.a, 0);
	struct hvrepl_extent extents[2];
	uint32_t count = 2;
	uint64_t end = 0, at = 0, told = 0;

	memset(bytes, 'd', sizeof(bytes));
	ck_assert_int_eq(pair_write(&pair.a, 0, 16384, bytes, 8192), HVREPL_OK);
	ck_assert_int_eq(pair_write(&pair.a, 0, 40960, bytes, 4096), HVREPL_OK);
	ck_assert_int_eq(hvrepl_guest_allocated(door, 0, SIZE + 512, extents,
						&count, &end),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_guest_allocated(door, SIZE + 512, 0, extents,
						&count, &end),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_guest_allocated(door, SIZE, 0, extents, &count,
						&end),
			 HVREPL_OK);
	ck_assert_uint_eq(count, 0);
	ck_assert_uint_eq(end, SIZE);
	/* One at a time: what is told covers all that was written. */
	while (at < SIZE) {
		count = 1;
		ck_assert_int_eq(hvrepl_guest_allocated(door, at, SIZE - at,
							extents, &count, &end),
				 HVREPL_OK);
		ck_assert_uint_gt(end, at);
		if (count == 1) {
			ck_assert_uint_ge(extents[0].offset, at);
			ck_assert_uint_le(extents[0].offset + extents[0].length,
					  end);
			if (extents[0].offset <= 16384 &&
			    extents[0].offset + extents[0].length >= 24576)
				told |= 1;
			if (extents[0].offset <= 40960 &&
			    extents[0].offset + extents[0].length >= 45056)
				told |= 2;
		}
		at = end;
	}
	ck_assert_uint_eq(told, 3);
	/* Without disks behind it there is nothing to tell. */
	pair_stop(&pair, &pair.a);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("node refusals");
	TCase *tcase = tcase_create("node refusals");

	tcase_add_test(tcase,
		       a_config_that_says_what_no_node_can_be_is_refused);
	tcase_add_test(tcase,
		       a_state_store_that_is_damaged_or_silent_makes_no_node);
	suite_add_tcase(suite, tcase);
	tcase = tcase_create("of a site");
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase,
		       a_vm_that_cannot_be_one_is_refused_and_its_disks_let_go);
	tcase_add_test(tcase, what_a_newer_program_hands_over_is_let_go);
	tcase_add_test(tcase, operations_that_there_are_not_change_nothing);
	tcase_add_test(tcase,
		       a_vm_whose_disks_cannot_be_told_apart_is_not_enabled);
	tcase_add_test(tcase, a_node_that_closes_says_so_and_not_try_again);
	tcase_add_test(tcase, what_has_no_size_is_not_as_if_it_had_been_filled);
	tcase_add_test(tcase, a_pause_beyond_the_clock_is_no_pause_of_nothing);
	tcase_add_test(tcase,
		       what_is_not_callback_safe_is_refused_inside_a_callback);
	tcase_add_test(tcase,
		       what_is_posted_runs_once_in_the_next_turn_of_the_node);
	tcase_add_test(tcase, a_guest_learns_where_its_disk_holds_nothing);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
