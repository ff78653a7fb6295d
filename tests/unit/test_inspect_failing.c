/* SPDX-License-Identifier: Apache-2.0 */
/* Describing the files of a store and of a tracker while they cannot be read, or memory
 * is short: that is said, and nothing is called damaged for it. */
#include "storescript.h"
#include "trackbed.h"

#include <string.h>

static struct world w;
static struct bed bed;

struct object {
	const uint8_t *bytes;
	uint64_t size, reads, fail_at;
	bool no_size;
	unsigned released;
};

static int32_t object_size(void *user, uint64_t *size_out)
{
	struct object *object = user;

	*size_out = object->size;
	return object->no_size ? HVREPL_E_CALLBACK : HVREPL_OK;
}

static int32_t object_read(void *user, hvrepl_op *op, uint64_t offset, void *to,
			   size_t length)
{
	struct object *object = user;

	(void)op;
	ck_assert(offset <= object->size && length <= object->size - offset);
	if (object->reads++ == object->fail_at)
		return HVREPL_E_CALLBACK;
	memcpy(to, object->bytes + offset, length);
	return HVREPL_OK;
}

static void object_release(void *user)
{
	((struct object *)user)->released++;
}

static int32_t on_begin(void *user, const char *key, uint32_t node)
{
	(void)user, (void)key, (void)node;
	return HVREPL_OK;
}

static int32_t on_end(void *user)
{
	(void)user;
	return HVREPL_OK;
}

static int32_t on_value(void *user, const char *key,
			const struct hvrepl_value *value)
{
	(void)user, (void)key, (void)value;
	return HVREPL_OK;
}

static const struct hvrepl_log_source_ops ops = {
	.struct_size = sizeof(ops),
	.size = object_size,
	.read = object_read,
};

static int32_t inspect(struct test_env *env, struct object *object)
{
	struct hvrepl_visitor visitor = HVREPL_VISITOR_INIT;
	struct hvrepl_log_source source = { &ops, object, object_release };
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc;

	visitor.begin = on_begin;
	visitor.end = on_end;
	visitor.value = on_value;
	object->reads = 0;
	object->released = 0;
	rc = hvrepl_inspect(&env->env, &source, HVREPL_INSPECT_DETAILS, &visitor,
			    &error);
	ck_assert_uint_eq(object->released, 1);
	if (rc < 0)
		ck_assert_int_eq(error.code, rc);
	return rc;
}

static struct test_env *env;
static unsigned looked_at;

static void every_failure(const uint8_t *bytes, uint64_t size)
{
	struct object object = { .bytes = bytes, .size = size,
				 .fail_at = UINT64_MAX };
	int32_t good = inspect(env, &object);
	uint64_t reads = object.reads;

	looked_at += good == HVREPL_OK;
	for (uint64_t n = 0; n < reads; n++) {
		object.fail_at = n;
		ck_assert_int_eq(inspect(env, &object), HVREPL_E_CALLBACK);
	}
	object.fail_at = UINT64_MAX;
	for (long n = 0;; n++) {
		int32_t rc;

		env->alloc_fail_at = n;
		rc = inspect(env, &object);
		if (env->alloc_fail_at >= 0)
			break;
		ck_assert_int_eq(rc, HVREPL_E_NOMEM);
	}
	env->alloc_fail_at = -1;
	object.no_size = true;
	ck_assert_int_eq(inspect(env, &object), HVREPL_E_CALLBACK);
	object.no_size = false;
	ck_assert_int_eq(inspect(env, &object), good);
}

static int32_t each_of_store(void *argument, const char *id, uint64_t size)
{
	const uint8_t *bytes;

	(void)argument;
	bytes = sim_object_bytes(w.storage, id, &size);
	every_failure(bytes, size);
	return HVREPL_OK;
}

START_TEST(files_of_a_store_that_cannot_be_read_are_not_called_damaged)
{
	struct hvrepl_storage storage;
	uint32_t more = 1;

	world_init(&w, 3);
	env = &w.env;
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
	ck_assert_int_eq(world_failover(&w, world_kept(&w, 1)->key), HVREPL_OK);
	ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_advance(w.store, &more, NULL),
			 HVREPL_OK);
	storage = sim_storage_handle(w.storage);
	looked_at = 0;
	ck_assert_int_eq(storage.ops->list(storage.user, "store.", each_of_store,
					   NULL),
			 HVREPL_OK);
	ck_assert_uint_ge(looked_at, 2);
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
}
END_TEST

static int32_t each_of_trackers(void *argument, const char *id, uint64_t size)
{
	const uint8_t *bytes;

	(void)argument;
	bytes = sim_object_bytes(bed.files, id, &size);
	every_failure(bytes, size);
	return HVREPL_OK;
}

START_TEST(files_of_a_tracker_that_cannot_be_read_are_not_called_damaged)
{
	struct hvrepl_storage storage;

	bed_init(&bed, 5);
	env = &bed.env;
	ck_assert_int_eq(bed_attach(&bed, HVREPL_TRACKER_CREATE), HVREPL_OK);
	for (unsigned i = 0; i < 200; i++)
		bed_step(&bed);
	ck_assert_int_eq(bed_detach(&bed), HVREPL_OK);
	storage = sim_storage_handle(bed.files);
	looked_at = 0;
	ck_assert_int_eq(storage.ops->list(storage.user, "", each_of_trackers,
					   NULL),
			 HVREPL_OK);
	ck_assert_uint_ge(looked_at, BED_DISKS);
	bed_free(&bed);
}
END_TEST

START_TEST(a_source_or_a_visitor_with_something_missing_is_refused)
{
	struct hvrepl_visitor whole = HVREPL_VISITOR_INIT, visitor;
	struct hvrepl_log_source_ops no_read = ops;
	struct object object = { .bytes = (const uint8_t *)"", .size = 0 };
	struct hvrepl_log_source source = { &ops, &object, object_release };
	struct test_env mine;

	test_env_init(&mine, 1);
	whole.begin = on_begin;
	whole.end = on_end;
	whole.value = on_value;
#define REFUSED(change, flags, rc)                                            \
	do {                                                                  \
		visitor = whole;                                              \
		change;                                                       \
		ck_assert_int_eq(hvrepl_inspect(&mine.env, &source, flags,    \
						&visitor, NULL),              \
				 rc);                                         \
	} while (0)
	REFUSED(visitor.begin = NULL, 0, HVREPL_E_INVALID);
	REFUSED(visitor.end = NULL, 0, HVREPL_E_INVALID);
	REFUSED(visitor.value = NULL, 0, HVREPL_E_INVALID);
	REFUSED(visitor.reserved = 1, 0, HVREPL_E_TOO_NEW);
	REFUSED((void)0, 1u << 30, HVREPL_E_TOO_NEW);
	ck_assert_uint_eq(object.released, 5);
	no_read.read = NULL;
	source.ops = &no_read;
	REFUSED((void)0, 0, HVREPL_E_INVALID);
	ck_assert_uint_eq(object.released, 6);
	source.release = NULL;
	REFUSED(visitor.end = NULL, 0, HVREPL_E_INVALID);
	ck_assert_int_eq(mine.alloc_live, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("inspect failing");
	TCase *tcase = tcase_create("inspect failing");

	tcase_add_test(tcase,
		       files_of_a_store_that_cannot_be_read_are_not_called_damaged);
	tcase_add_test(
		tcase,
		files_of_a_tracker_that_cannot_be_read_are_not_called_damaged);
	tcase_add_test(tcase,
		       a_source_or_a_visitor_with_something_missing_is_refused);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
