/* SPDX-License-Identifier: Apache-2.0 */
/* Stores whose objects say what no store would, with digests that are right: they are
 * refused, or opened without harm; and what was refused is as it was. */
#include "storeforge.h"
#include "storescript.h"

#include "store/view.h"

#include <string.h>

#define ROUNDS 1000u

static struct world w;

static void merging(void)
{
	uint32_t more = 1;

	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
	ck_assert_int_eq(world_merge(&w, world_kept(&w, 2)->key), HVREPL_OK);
	ck_assert_int_eq(hvri_store_merge_begin(w.store, 0, NULL), HVREPL_OK);
	ck_assert_int_eq(hvri_store_merge_advance(w.store, &more, NULL),
			 HVREPL_OK);
}

static void receiving(void)
{
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_send(&w), HVREPL_OK);
	world_make_cut(&w);
	ck_assert_int_eq(world_send_part(&w), HVREPL_OK);
}

static void failed_over(void)
{
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
	ck_assert_int_eq(world_failover(&w, world_kept(&w, 1)->key), HVREPL_OK);
	for (unsigned i = 0; i < 6; i++) {
		ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
		if (i % 2 == 1)
			ck_assert_int_eq(world_guest_flush(&w), HVREPL_OK);
	}
}

static void committing(void)
{
	uint32_t more = 1;

	failed_over();
	ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL), HVREPL_OK);
	for (unsigned i = 0; i < 3 && more != 0; i++)
		ck_assert_int_eq(hvrepl_store_commit_advance(w.store, &more,
							     NULL),
				 HVREPL_OK);
}

static void initial(void)
{
	world_make_cut(&w);
	ck_assert_int_eq(world_send_part(&w), HVREPL_OK);
}

static void (*const beginnings[])(void) = {
	merging, receiving, failed_over, committing, initial,
};

/* Whatever it says: typed errors, nothing outside, and it can be closed. */
static void look_around(void)
{
	static uint8_t bytes[4096];

	for (uint32_t i = 0; i < w.store->state.point_count; i++) {
		hvrepl_view *view;

		if (hvrepl_view_open(w.store, w.store->state.points[i].key,
				     HVREPL_VIEW_READ_ONLY, &view,
				     NULL) != HVREPL_OK)
			continue;
		for (unsigned d = 0; d < WORLD_DISKS; d++)
			for (uint64_t at = 0; at + sizeof(bytes) <= w.sizes[d];
			     at += 5 * sizeof(bytes)) {
				int32_t rc = hvri_view_read(view, d, at, bytes,
							    sizeof(bytes));

				ck_assert(rc == HVREPL_OK ||
					  rc == HVREPL_E_CORRUPT ||
					  rc == HVREPL_E_TRUNCATED ||
					  rc == HVREPL_E_FORMAT_TOO_NEW);
			}
		ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	}
}

/* ---- what the inspector says of it ---- */

struct object {
	const uint8_t *bytes;
	uint64_t size;
};

static int32_t object_size(void *user, uint64_t *size_out)
{
	*size_out = ((struct object *)user)->size;
	return HVREPL_OK;
}

static int32_t object_read(void *user, hvrepl_op *op, uint64_t offset,
			   void *to, size_t length)
{
	const struct object *object = user;

	(void)op;
	ck_assert(offset <= object->size && length <= object->size - offset);
	memcpy(to, object->bytes + offset, length);
	return HVREPL_OK;
}

static int32_t on_begin(void *user, const char *key, uint32_t node)
{
	(void)key, (void)node;
	(*(int *)user)++;
	return HVREPL_OK;
}

static int32_t on_end(void *user)
{
	(*(int *)user)--;
	return HVREPL_OK;
}

static int32_t on_value(void *user, const char *key,
			const struct hvrepl_value *value)
{
	(void)user, (void)key;
	ck_assert_ptr_nonnull(value);
	return HVREPL_OK;
}

static int32_t inspect_one(void *argument, const char *id, uint64_t size)
{
	static const struct hvrepl_log_source_ops ops = {
		.struct_size = sizeof(ops),
		.size = object_size,
		.read = object_read,
	};
	struct hvrepl_visitor visitor = HVREPL_VISITOR_INIT;
	struct object object;
	struct hvrepl_log_source source = { .ops = &ops, .user = &object };
	int depth = 0;
	int32_t rc;

	(void)argument, (void)size;
	object.bytes = sim_object_bytes(w.storage, id, &object.size);
	visitor.user = &depth;
	visitor.begin = on_begin;
	visitor.end = on_end;
	visitor.value = on_value;
	rc = hvrepl_inspect(&w.env.env, &source, HVREPL_INSPECT_DETAILS,
			    &visitor, NULL);
	if (rc == HVREPL_OK)
		ck_assert_int_eq(depth, 0);
	else
		ck_assert(hvrepl_error_class(rc) == HVREPL_CLASS_INTEGRITY ||
			  rc == HVREPL_E_FORMAT_TOO_NEW ||
			  rc == HVREPL_E_UNSUPPORTED ||
			  rc == HVREPL_E_NOT_FOUND);
	return HVREPL_OK;
}

static void inspect_all(void)
{
	struct hvrepl_storage storage = sim_storage_handle(w.storage);

	ck_assert_int_eq(storage.ops->list(storage.user, "store.", inspect_one,
					   NULL),
			 HVREPL_OK);
}

START_TEST(what_no_store_would_say_is_refused_or_harmless)
{
	uint64_t random = 77 + (uint64_t)_i;
	unsigned refused = 0;

	world_init(&w, 3);
	w.options.container_bytes = 12288;
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	beginnings[_i]();
	w.sim.crashed = true;
	world_abandon(&w);
	sim_restart(&w.sim, false);
	sim_backup(&w.sim);
	for (unsigned i = 0; i < ROUNDS; i++) {
		const char *said;
		int32_t rc;

		sim_restore(&w.sim);
		sim_backup(&w.sim);
		said = store_forge(w.storage, &random);
		inspect_all();
		rc = world_open(&w, false);
		if (rc == HVREPL_OK) {
			look_around();
			world_close(&w);
			continue;
		}
		refused++;
		ck_assert_msg(rc == HVREPL_E_CORRUPT ||
				      rc == HVREPL_E_TRUNCATED ||
				      rc == HVREPL_E_FORMAT_TOO_NEW ||
				      rc == HVREPL_E_NOT_FOUND ||
				      rc == HVREPL_E_FENCED ||
				      rc == HVREPL_E_WRONG_DISK,
			      "%s: opening gives %d", said, rc);
	}
	ck_assert_uint_gt(refused, ROUNDS / 20);
	/* All of it was in the bytes: without it everything is there. */
	sim_restore(&w.sim);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	world_settle(&w);
	world_check(&w);
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("forged stores");
	TCase *tcase = tcase_create("forged stores");

	tcase_add_loop_test(tcase, what_no_store_would_say_is_refused_or_harmless,
			    0, (int)HVRI_ARRAY_LEN(beginnings));
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
