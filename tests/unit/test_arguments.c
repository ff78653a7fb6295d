/* SPDX-License-Identifier: Apache-2.0 */
/* What every public function makes of arguments that it cannot use: a code, nothing
 * touched, and what it was to take is let go. */
#include "testing.h"

#include "logbuf.h"
#include "sim.h"

#include <string.h>

static struct test_env env;
static struct sim sim;
static struct logbuf buffer;
/* A handle that is refused before anybody looks at it. */
static union {
	uint64_t align;
	char bytes[8192];
} any;
#define ANY ((void *)&any)

static void setup(void)
{
	test_env_init(&env, 1);
	sim_init(&sim, 1);
	logbuf_init(&buffer);
	memset(&any, 0, sizeof(any));
}

static void teardown(void)
{
	static const char untouched[sizeof(any.bytes)];

	ck_assert_mem_eq(any.bytes, untouched, sizeof(any.bytes));
	logbuf_free(&buffer);
	sim_free(&sim);
	ck_assert_int_eq(env.alloc_live, 0);
}

#define INVALID(...) ck_assert_int_eq(__VA_ARGS__, HVREPL_E_INVALID)

START_TEST(cuts)
{
	struct hvrepl_cut_info info = HVREPL_CUT_INFO_INIT;
	struct hvrepl_cut_disk disk = HVREPL_CUT_DISK_INIT;
	struct hvrepl_cut_label label = HVREPL_CUT_LABEL_INIT;
	struct hvrepl_change_token token = { .length = 0 };
	struct hvrepl_extent extent;
	uint32_t count = 1;
	uint64_t end;
	uint8_t bytes[8];

	INVALID(hvrepl_tracker_set_label(NULL, &label));
	INVALID(hvrepl_group_cut(NULL, 0, NULL, ANY));
	INVALID(hvrepl_group_cut(ANY, 0, NULL, NULL));
	ck_assert_int_lt(hvrepl_group_cut(ANY, 1, NULL, ANY), 0);
	INVALID(hvrepl_cut_get_info(NULL, &info));
	INVALID(hvrepl_cut_get_info(ANY, NULL));
	info.struct_size = 2;
	INVALID(hvrepl_cut_get_info(ANY, &info));
	INVALID(hvrepl_cut_get_disk(NULL, 0, &disk));
	INVALID(hvrepl_cut_get_disk(ANY, 0, NULL));
	disk.struct_size = 2;
	INVALID(hvrepl_cut_get_disk(ANY, 0, &disk));
	INVALID(hvrepl_cut_advance(NULL, 0, &count));
	INVALID(hvrepl_cut_advance(ANY, 0, NULL));
	INVALID(hvrepl_cut_next_extents(NULL, 0, 0, &extent, &count, &end));
	INVALID(hvrepl_cut_next_extents(ANY, 0, 0, NULL, &count, &end));
	INVALID(hvrepl_cut_next_extents(ANY, 0, 0, &extent, NULL, &end));
	INVALID(hvrepl_cut_next_extents(ANY, 0, 0, &extent, &count, NULL));
	INVALID(hvrepl_cut_read(NULL, 0, 0, bytes, 8));
	INVALID(hvrepl_cut_read(ANY, 0, 0, NULL, 8));
	label.struct_size = 4;
	INVALID(hvrepl_tracker_set_label(ANY, &label));
	INVALID(hvrepl_tracker_set_label(ANY, NULL));
	INVALID(hvrepl_cut_settle(NULL, 0, 0));
	INVALID(hvrepl_cut_settle(ANY, 0, 1));
	ck_assert_int_eq(hvrepl_cut_close(NULL, 0), HVREPL_OK);
	INVALID(hvrepl_cut_close(ANY, 1));
	INVALID(hvrepl_cut_void(NULL));
	INVALID(hvrepl_cut_token(NULL, &token, &count));
	INVALID(hvrepl_cut_token(ANY, NULL, &count));
	INVALID(hvrepl_cut_token(ANY, &token, NULL));
	INVALID(hvrepl_cut_token(ANY, &token, &count)); /* Not of a source. */
}
END_TEST

static int32_t begin_cut(void *user, const struct hvrepl_change_token *from,
			 struct hvrepl_change_token *to, void **handle)
{
	(void)user, (void)from, (void)to, (void)handle;
	return HVREPL_E_CALLBACK;
}

static int32_t changed(void *user, void *handle, uint32_t disk, uint64_t from,
		       struct hvrepl_extent *out, uint32_t *count, uint64_t *end)
{
	(void)user, (void)handle, (void)disk, (void)from, (void)out;
	(void)count, (void)end;
	return HVREPL_E_CALLBACK;
}

static int32_t read_frozen(void *user, hvrepl_op *op, void *handle,
			   uint32_t disk, uint64_t offset, void *to, size_t length)
{
	(void)user, (void)op, (void)handle, (void)disk, (void)offset;
	(void)to, (void)length;
	return HVREPL_E_CALLBACK;
}

static void end_cut(void *user, void *handle, uint32_t acknowledged)
{
	(void)user, (void)handle, (void)acknowledged;
}

START_TEST(change_sources)
{
	const struct hvrepl_source_ops whole = { sizeof(whole), 0, begin_cut,
						 changed, read_frozen, end_cut };
	struct hvrepl_source_ops ops = whole;
	const struct hvrepl_source_disk disk = { .size = 512 };
	struct hvrepl_cut_label label = HVREPL_CUT_LABEL_INIT;
	struct hvrepl_change_token token = { .length = 125 };
	hvrepl_cut *cut;

#define CUT(group, ops, disks, count, label, from, out) \
	hvrepl_source_cut(group, ops, NULL, disks, count, label, from, NULL, out)
	INVALID(CUT(NULL, &ops, &disk, 1, NULL, NULL, &cut));
	INVALID(CUT(ANY, &ops, NULL, 1, NULL, NULL, &cut));
	INVALID(CUT(ANY, &ops, &disk, 0, NULL, NULL, &cut));
	INVALID(CUT(ANY, &ops, &disk, 1, NULL, NULL, NULL));
	INVALID(CUT(ANY, &ops, &disk, 1, NULL, &token, &cut));
	INVALID(CUT(ANY, NULL, &disk, 1, &label, NULL, &cut));
	label.struct_size = 3;
	INVALID(CUT(ANY, &ops, &disk, 1, &label, NULL, &cut));
	ops.reserved = 1;
	ck_assert_int_eq(CUT(ANY, &ops, &disk, 1, NULL, NULL, &cut),
			 HVREPL_E_TOO_NEW);
	for (unsigned i = 0; i < 4; i++) {
		ops = whole;
		if (i == 0)
			ops.begin_cut = NULL;
		if (i == 1)
			ops.changed = NULL;
		if (i == 2)
			ops.read_frozen = NULL;
		if (i == 3)
			ops.end_cut = NULL;
		INVALID(CUT(ANY, &ops, &disk, 1, NULL, NULL, &cut));
	}
}
END_TEST

START_TEST(guest_disks)
{
	struct hvrepl_guest_info info = { .struct_size = sizeof(info) };
	struct hvrepl_extent extent;
	uint32_t count = 1, none = 0;
	uint64_t end;
	uint8_t bytes[8];

	INVALID(hvrepl_guest_get_info(NULL, &info));
	INVALID(hvrepl_guest_get_info(ANY, NULL));
	INVALID(hvrepl_guest_read(NULL, 0, bytes, 8));
	INVALID(hvrepl_guest_read(ANY, 0, NULL, 8));
	INVALID(hvrepl_guest_write(NULL, 0, bytes, 8));
	INVALID(hvrepl_guest_write(ANY, 0, NULL, 8));
	INVALID(hvrepl_guest_zero(NULL, 0, 8));
	INVALID(hvrepl_guest_discard(NULL, 0, 8));
	INVALID(hvrepl_guest_flush(NULL));
	INVALID(hvrepl_guest_allocated(NULL, 0, 8, &extent, &count, &end));
	INVALID(hvrepl_guest_allocated(ANY, 0, 8, NULL, &count, &end));
	INVALID(hvrepl_guest_allocated(ANY, 0, 8, &extent, NULL, &end));
	INVALID(hvrepl_guest_allocated(ANY, 0, 8, &extent, &none, &end));
	INVALID(hvrepl_guest_allocated(ANY, 0, 8, &extent, &count, NULL));
}
END_TEST

START_TEST(logs)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	struct hvrepl_log_summary summary = HVREPL_LOG_SUMMARY_INIT;
	struct hvrepl_log_chunk chunk = HVREPL_LOG_CHUNK_INIT;
	struct hvrepl_log_sink sink = logbuf_sink(&buffer);
	struct hvrepl_log_source source = logbuf_source(&buffer);
	struct hvrepl_disk disk = sim_disk_handle(sim_disk_new(&sim, 4096));
	hvrepl_log_writer *writer = NULL;
	hvrepl_log_reader *reader = NULL;
	hvrepl_log_compare *compare = NULL;
	uint8_t bytes[32];

	info.disk_size = 4096;
	INVALID(hvrepl_log_writer_create(&env.env, &info, 1, NULL, &writer,
					 NULL));
	INVALID(hvrepl_log_writer_create(NULL, &info, 1, &sink, &writer, NULL));
	INVALID(hvrepl_log_writer_create(&env.env, &info, 1, &sink, NULL, NULL));
	info.reserved = 1;
	ck_assert_int_eq(hvrepl_log_writer_create(&env.env, &info, 1, &sink,
						  &writer, NULL),
			 HVREPL_E_TOO_NEW);
	info.reserved = 0;
	info.base_digest_kind = HVREPL_LOG_DIGEST_SHA256 + 1;
	INVALID(hvrepl_log_writer_create(&env.env, &info, 1, &sink, &writer,
					 NULL));
	info.base_digest_kind = HVREPL_LOG_DIGEST_NONE;
	ck_assert_uint_eq(buffer.released, 4);
	sink.release = NULL;
	INVALID(hvrepl_log_writer_create(&env.env, &info, 1, &sink, NULL, NULL));
	INVALID(hvrepl_log_writer_info(NULL, &info));
	INVALID(hvrepl_log_writer_info(ANY, NULL));
	INVALID(hvrepl_log_writer_add(NULL, 0, bytes, 8));
	INVALID(hvrepl_log_writer_add(ANY, 0, NULL, 8));
	INVALID(hvrepl_log_writer_add_zero(NULL, 0, 8));
	INVALID(hvrepl_log_writer_finish(NULL, 0, NULL, NULL));
	INVALID(hvrepl_log_writer_finish(ANY, 256, NULL, NULL));

	INVALID(hvrepl_log_reader_open(&env.env, NULL, &reader, NULL));
	INVALID(hvrepl_log_reader_open(NULL, &source, &reader, NULL));
	INVALID(hvrepl_log_reader_open(&env.env, &source, NULL, NULL));
	ck_assert_uint_eq(buffer.released, 6);
	source.release = NULL;
	INVALID(hvrepl_log_reader_open(NULL, &source, &reader, NULL));
	ck_assert_uint_eq(buffer.released, 6);
	INVALID(hvrepl_log_reader_info(NULL, &info));
	INVALID(hvrepl_log_reader_info(ANY, NULL));
	INVALID(hvrepl_log_reader_next(NULL, &chunk));
	INVALID(hvrepl_log_reader_next(ANY, NULL));
	INVALID(hvrepl_log_reader_rewind(NULL));
	INVALID(hvrepl_log_reader_summary(NULL, &summary));
	INVALID(hvrepl_log_reader_summary(ANY, NULL));

	sink = logbuf_sink(&buffer);
	INVALID(hvrepl_log_compare_create(&env.env, &info, 1, NULL, &disk, &sink,
					  &compare, NULL));
	INVALID(hvrepl_log_compare_create(&env.env, &info, 1, &disk, NULL, &sink,
					  &compare, NULL));
	INVALID(hvrepl_log_compare_create(&env.env, &info, 1, &disk, &disk, NULL,
					  &compare, NULL));
	INVALID(hvrepl_log_compare_create(NULL, &info, 1, &disk, &disk, &sink,
					  &compare, NULL));
	INVALID(hvrepl_log_compare_create(&env.env, &info, 1, &disk, &disk,
					  &sink, NULL, NULL));
	INVALID(hvrepl_log_compare_create(&env.env, &info, 20, &disk, &disk,
					  &sink, &compare, NULL));
	INVALID(hvrepl_log_compare_create(&env.env, &info, -8, &disk, &disk,
					  &sink, &compare, NULL));
	INVALID(hvrepl_log_compare_advance(NULL, NULL, NULL));
	INVALID(hvrepl_log_compare_summary(NULL, &info, &summary));
	sink.release = NULL;
	INVALID(hvrepl_log_from_cut(NULL, ANY, 0, &sink, NULL, NULL));
	sink = logbuf_sink(&buffer);
	INVALID(hvrepl_disk_digest(&env.env, NULL, bytes, NULL));
	INVALID(hvrepl_disk_digest(NULL, &disk, bytes, NULL));
	INVALID(hvrepl_disk_digest(&env.env, &disk, NULL, NULL));
	INVALID(hvrepl_log_from_cut(&env.env, ANY, 0, NULL, NULL, NULL));
	INVALID(hvrepl_log_from_cut(&env.env, NULL, 0, &sink, NULL, NULL));
	INVALID(hvrepl_log_from_cut(NULL, ANY, 0, &sink, NULL, NULL));
}
END_TEST

static unsigned released;

static void count_release(void *user)
{
	(void)user;
	released++;
}

START_TEST(applying)
{
	struct {
		struct hvrepl_log_apply_config known;
		uint64_t member;
	} newer;
	struct hvrepl_log_apply_config config = { .struct_size = sizeof(config) };
	struct hvrepl_log_apply_config small = { .struct_size = 4 };
	hvrepl_log_apply *apply = NULL;

	INVALID(hvrepl_log_apply_create(&env.env, NULL, &apply, NULL));
	INVALID(hvrepl_log_apply_create(&env.env, &small, &apply, NULL));
	INVALID(hvrepl_log_apply_create(&env.env, &config, NULL, NULL));
	config.reader_count = 1;
	INVALID(hvrepl_log_apply_create(&env.env, &config, &apply, NULL));
	config.reserved = 1;
	ck_assert_int_eq(hvrepl_log_apply_create(&env.env, &config, &apply, NULL),
			 HVREPL_E_TOO_NEW);
	config.reserved = 0;
	newer.known = config;
	newer.known.struct_size = sizeof(newer);
	newer.known.disk.release = newer.known.storage.release = count_release;
	newer.member = 1;
	released = 0;
	ck_assert_int_eq(hvrepl_log_apply_create(&env.env, &newer.known, &apply,
						 NULL),
			 HVREPL_E_TOO_NEW);
	ck_assert_uint_eq(released, 2);
	INVALID(hvrepl_log_apply_create(NULL, &config, &apply, NULL));
	INVALID(hvrepl_log_apply_advance(NULL, NULL, NULL));
}
END_TEST

START_TEST(nodes)
{
	struct hvrepl_node_status node_status = { .struct_size =
							  sizeof(node_status) };
	struct hvrepl_peer_status peer_status = { .struct_size =
							  sizeof(peer_status) };
	struct hvrepl_vm_status vm_status = { .struct_size = sizeof(vm_status) };
	struct hvrepl_node_config config = { .struct_size = 4 };
	struct hvrepl_channel channel = { .ops = NULL };
	struct hvrepl_authorisation_status rights =
		HVREPL_AUTHORISATION_STATUS_INIT;
	struct hvrepl_uuid vm = { { 1 } };
	hvrepl_guest_disk *disk;
	hvrepl_node *node;
	hvrepl_view *view;
	uint64_t job;

	INVALID(hvrepl_node_create(NULL, &node, NULL));
	INVALID(hvrepl_node_create(ANY, NULL, NULL));
	INVALID(hvrepl_node_create(&config, &node, NULL));
	/* What is taken is let go also where nobody is there to take it. */
	config = (struct hvrepl_node_config)HVREPL_NODE_CONFIG_INIT;
	config.release = config.state.release = count_release;
	released = 0;
	INVALID(hvrepl_node_create(&config, NULL, NULL));
	ck_assert_uint_eq(released, 2);
	channel.release = count_release;
	INVALID(hvrepl_node_connected(NULL, &channel, 0));
	INVALID(hvrepl_node_connected(ANY, &channel, 0));
	ck_assert_uint_eq(released, 4);
	channel.release = NULL;
	ck_assert_int_eq(hvrepl_node_destroy(NULL), HVREPL_OK);
	INVALID(hvrepl_node_close(NULL));
	INVALID(hvrepl_node_process(NULL, 1));
	ck_assert_uint_eq(hvrepl_node_deadline(NULL), UINT64_MAX);
	INVALID(hvrepl_node_authorise(NULL, ANY));
	INVALID(hvrepl_node_authorise(ANY, NULL));
	INVALID(hvrepl_node_post(NULL, NULL, NULL));
	INVALID(hvrepl_node_set_trust(NULL, ANY));
	INVALID(hvrepl_node_set_renewal(NULL, "peer", 1));
	INVALID(hvrepl_node_set_renewal(ANY, NULL, 1));
	INVALID(hvrepl_node_get_authorisation(NULL, "peer", &rights));
	INVALID(hvrepl_node_get_authorisation(ANY, NULL, &rights));
	INVALID(hvrepl_node_get_authorisation(ANY, "peer", NULL));
	INVALID(hvrepl_vm_set_trust_group(NULL, &vm, "group", NULL));
	INVALID(hvrepl_vm_set_trust_group(ANY, NULL, "group", NULL));
	INVALID(hvrepl_vm_set_trust_group(ANY, &vm, NULL, NULL));
	ck_assert_int_eq(hvrepl_peer_pattern_matches(NULL, "peer"), 0);
	INVALID(hvrepl_node_add_peer(NULL, ANY, NULL));
	INVALID(hvrepl_node_connected(NULL, &channel, 0));
	INVALID(hvrepl_node_connected(ANY, NULL, 0));
	INVALID(hvrepl_node_connected(ANY, &channel, 0));
	INVALID(hvrepl_node_connect_failed(NULL, "peer", -1));
	INVALID(hvrepl_node_connect_failed(ANY, NULL, -1));
	INVALID(hvrepl_node_add_vm(NULL, ANY, NULL));
	INVALID(hvrepl_vm_set_cycle(NULL, &vm, 1, NULL));
	INVALID(hvrepl_vm_set_cycle(ANY, NULL, 1, NULL));
	INVALID(hvrepl_vm_set_quota(NULL, &vm, 1, 1, NULL));
	INVALID(hvrepl_vm_set_quota(ANY, NULL, 1, 1, NULL));
	INVALID(hvrepl_node_operate(NULL, ANY, &job, NULL));
	INVALID(hvrepl_node_next_event(NULL, ANY));
	INVALID(hvrepl_node_next_event(ANY, NULL));
	INVALID(hvrepl_node_connect_now(NULL));
	INVALID(hvrepl_node_get_status(NULL, &node_status));
	INVALID(hvrepl_node_get_status(ANY, NULL));
	INVALID(hvrepl_node_get_peer(NULL, 0, &peer_status));
	INVALID(hvrepl_node_get_peer(ANY, 0, NULL));
	INVALID(hvrepl_node_get_vm(NULL, 0, &vm_status));
	INVALID(hvrepl_node_get_vm(ANY, 0, NULL));
	INVALID(hvrepl_vm_get_status(NULL, &vm, &vm_status));
	INVALID(hvrepl_vm_get_status(ANY, NULL, &vm_status));
	INVALID(hvrepl_vm_get_status(ANY, &vm, NULL));
	ck_assert_int_eq(hvrepl_vm_get_disk(NULL, &vm, 0, ANY),
			 HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(hvrepl_vm_get_point(ANY, NULL, 0, ANY),
			 HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(hvrepl_vm_get_epoch(ANY, &vm, 0, NULL),
			 HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(hvrepl_vm_open_disk(NULL, &vm, &vm, &disk),
			 HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(hvrepl_vm_open_view(NULL, &vm, 0, &view, NULL),
			 HVREPL_E_NOT_FOUND);
}
END_TEST

START_TEST(stores)
{
	struct hvrepl_store_options options = HVREPL_STORE_OPTIONS_INIT;
	struct hvrepl_store_info info = { .struct_size = sizeof(info) };
	struct hvrepl_store_disk disks[2];
	struct hvrepl_storage storage =
		sim_storage_handle(sim_storage_new(&sim));
	struct hvrepl_point point = { .struct_size = 2 };
	uint32_t count = 1;
	hvrepl_store *store;
	hvrepl_view *view;
	uint8_t bytes[8];

	memset(disks, 0, sizeof(disks));
	disks[0].base.release = count_release;
	released = 0;
#define OPEN(env, storage, disks, count, options, out) \
	hvrepl_store_open(env, storage, disks, count, options, out, NULL)
	INVALID(OPEN(NULL, NULL, disks, 2, &options, &store));
	INVALID(OPEN(&env.env, NULL, disks, 2, &options, &store));
	INVALID(OPEN(&env.env, &storage, NULL, 2, &options, &store));
	INVALID(OPEN(&env.env, &storage, disks, 2, NULL, &store));
	INVALID(OPEN(&env.env, &storage, disks, 2, &options, NULL));
	INVALID(OPEN(&env.env, &storage, disks, 0, &options, &store));
	storage.release = NULL;
	INVALID(OPEN(&env.env, &storage, disks, 2, NULL, &store));
	ck_assert_uint_eq(released, 5);
	options.flags = 1u << 30;
	ck_assert_int_eq(OPEN(&env.env, &storage, disks, 2, &options, &store),
			 HVREPL_E_TOO_NEW);
	options.flags = 0;
	options.struct_size = 8;
	INVALID(OPEN(&env.env, &storage, disks, 2, &options, &store));
	options = (struct hvrepl_store_options)HVREPL_STORE_OPTIONS_INIT;
	options.points_max = HVREPL_POINTS_MAX + 1;
	INVALID(OPEN(&env.env, &storage, disks, 2, &options, &store));
	options = (struct hvrepl_store_options)HVREPL_STORE_OPTIONS_INIT;
	options.base_at = HVREPL_BASE_AT_OLDEST + 1;
	INVALID(OPEN(&env.env, &storage, disks, 2, &options, &store));
	options = (struct hvrepl_store_options)HVREPL_STORE_OPTIONS_INIT;
	options.capacity = 100;
	options.reserve = 100;
	INVALID(OPEN(&env.env, &storage, disks, 2, &options, &store));
	options.reserve = 1;
	options.high_water = 101;
	INVALID(OPEN(&env.env, &storage, disks, 2, &options, &store));

	storage = sim_storage_handle(sim_storage_new(&sim));
	INVALID(hvrepl_store_remove(NULL, &storage, NULL));
	INVALID(hvrepl_store_remove(&env.env, NULL, NULL));
	ck_assert_int_eq(hvrepl_store_destroy(NULL), HVREPL_OK);
	INVALID(hvrepl_store_info(NULL, &info));
	INVALID(hvrepl_store_info(ANY, NULL));
	info.struct_size = 2;
	INVALID(hvrepl_store_info(ANY, &info));
	INVALID(hvrepl_store_points(NULL, &point, &count));
	INVALID(hvrepl_store_points(ANY, &point, NULL));
	INVALID(hvrepl_store_points(ANY, NULL, &count));
	INVALID(hvrepl_store_points(ANY, &point, &count));
	INVALID(hvrepl_store_pin(NULL, 1, 1));
	INVALID(hvrepl_store_unpin(NULL, 1, 1));
	INVALID(hvrepl_store_drop(NULL, 1, NULL));
	INVALID(hvrepl_store_config(NULL, 1, bytes, &count));
	INVALID(hvrepl_store_config(ANY, 1, bytes, NULL));
	INVALID(hvrepl_store_config(ANY, 1, NULL, &count));
	INVALID(hvrepl_store_maintain(NULL, &count, NULL));
	INVALID(hvrepl_store_maintain(ANY, NULL, NULL));
	INVALID(hvrepl_view_open(NULL, 1, 0, &view, NULL));
	INVALID(hvrepl_view_open(ANY, 1, 0, NULL, NULL));
	ck_assert_int_eq(hvrepl_view_close(NULL), HVREPL_OK);
	ck_assert_uint_eq(hvrepl_view_point(NULL), 0);
	INVALID(hvrepl_view_disk(NULL, 0, ANY));
	INVALID(hvrepl_view_disk(ANY, 0, NULL));
	INVALID(hvrepl_store_commit_begin(NULL, NULL));
	INVALID(hvrepl_store_commit_advance(NULL, &count, NULL));
	INVALID(hvrepl_store_commit_advance(ANY, NULL, NULL));
	INVALID(hvrepl_store_cancel(NULL, &count, NULL));
	INVALID(hvrepl_store_cancel(ANY, NULL, NULL));
}
END_TEST

START_TEST(trackers)
{
	struct hvrepl_group_options options = HVREPL_GROUP_OPTIONS_INIT;
	struct hvrepl_tracker_options mine = HVREPL_TRACKER_OPTIONS_INIT;
	struct hvrepl_tracker_info info = HVREPL_TRACKER_INFO_INIT;
	struct hvrepl_ticket ticket = HVREPL_TICKET_INIT;
	struct hvrepl_storage storage =
		sim_storage_handle(sim_storage_new(&sim));
	struct hvrepl_disk disk = sim_disk_handle(sim_disk_new(&sim, 4096));
	static const char long_id[] =
		"0123456789012345678901234567890123456789012345678901234567890123";
	struct {
		struct hvrepl_group_options known;
		uint64_t member;
	} newer_group;
	hvrepl_group *group = NULL;
	hvrepl_tracker *tracker = NULL;

	released = 0;
	storage.release = count_release;
	disk.release = count_release;
	options.spill = &storage;
	INVALID(hvrepl_group_create(&env.env, &options, NULL, NULL));
	INVALID(hvrepl_group_create(NULL, &options, NULL, &group));
	ck_assert_uint_eq(released, 2);
	INVALID(hvrepl_group_create(NULL, NULL, NULL, &group));
	storage.release = NULL;
	INVALID(hvrepl_group_create(NULL, &options, NULL, &group));
	storage.release = count_release;
	/* Taken whatever the rest says, or where there is no memory; but not from
	 * what cannot be read. */
	released = 0;
	options.level = 99;
	INVALID(hvrepl_group_create(&env.env, &options, NULL, &group));
	options.level = 0;
	options.spill_prefix = ".";
	INVALID(hvrepl_group_create(&env.env, &options, NULL, &group));
	options.spill_prefix = NULL;
	env.alloc_fail_at = 0;
	ck_assert_int_eq(hvrepl_group_create(&env.env, &options, NULL, &group),
			 HVREPL_E_NOMEM);
	ck_assert_uint_eq(released, 3);
	newer_group.known = options;
	newer_group.known.struct_size = sizeof(newer_group);
	newer_group.member = 1;
	ck_assert_int_eq(hvrepl_group_create(&env.env, &newer_group.known, NULL,
					     &group),
			 HVREPL_E_TOO_NEW);
	ck_assert_uint_eq(released, 4);
	options.struct_size = 8;
	INVALID(hvrepl_group_create(&env.env, &options, NULL, &group));
	ck_assert_uint_eq(released, 4);
	INVALID(hvrepl_group_process(NULL));
	ck_assert_uint_eq(hvrepl_group_deadline(NULL), UINT64_MAX);
	ck_assert_int_eq(hvrepl_group_destroy(NULL), HVREPL_OK);

	released = 0;
	mine.object_id = "t";
#define ATTACH(group, disk, storage, out) \
	hvrepl_tracker_attach(group, disk, storage, &mine, NULL, out)
	INVALID(ATTACH(NULL, &disk, &storage, &tracker));
	INVALID(ATTACH(ANY, NULL, &storage, &tracker));
	INVALID(ATTACH(ANY, &disk, NULL, &tracker));
	INVALID(ATTACH(ANY, &disk, &storage, NULL));
	ck_assert_uint_eq(released, 6);
	mine.object_id = NULL;
	INVALID(ATTACH(ANY, &disk, &storage, &tracker));
	mine.object_id = "";
	INVALID(ATTACH(ANY, &disk, &storage, &tracker));
	mine.object_id = long_id;
	INVALID(ATTACH(ANY, &disk, &storage, &tracker));
	mine.flags = 1u << 30;
	ck_assert_int_eq(ATTACH(ANY, &disk, &storage, &tracker),
			 HVREPL_E_TOO_NEW);
	disk.release = storage.release = NULL;
	INVALID(ATTACH(NULL, &disk, &storage, &tracker));

	ck_assert_int_eq(hvrepl_tracker_detach(NULL, 0), HVREPL_OK);
	INVALID(hvrepl_tracker_detach(ANY, 1u << 30));
	INVALID(hvrepl_tracker_write_begin(NULL, 0, 512, 0, &ticket));
	INVALID(hvrepl_tracker_write_begin(ANY, 0, 512, 0, NULL));
	INVALID(hvrepl_tracker_write_begin(ANY, 0, 512, 0, &ticket));
	INVALID(hvrepl_tracker_write_begin(ANY, 0, 512, 99, &ticket));
	hvrepl_tracker_write_end(NULL, &ticket, 0);
	hvrepl_tracker_write_end(ANY, NULL, 0);
	INVALID(hvrepl_tracker_fence(NULL));
	(void)hvrepl_tracker_unfence(NULL);
	INVALID(hvrepl_tracker_mark(NULL, NULL, 0));
	INVALID(hvrepl_tracker_mark(ANY, NULL, 1));
	INVALID(hvrepl_tracker_mark_all(NULL));
	INVALID(hvrepl_tracker_save(NULL, NULL));
	INVALID(hvrepl_tracker_get_info(NULL, &info));
	INVALID(hvrepl_tracker_get_info(ANY, NULL));
	info.struct_size = 2;
	INVALID(hvrepl_tracker_get_info(ANY, &info));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("arguments");
	TCase *tcase = tcase_create("arguments");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, cuts);
	tcase_add_test(tcase, change_sources);
	tcase_add_test(tcase, guest_disks);
	tcase_add_test(tcase, logs);
	tcase_add_test(tcase, applying);
	tcase_add_test(tcase, nodes);
	tcase_add_test(tcase, stores);
	tcase_add_test(tcase, trackers);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
