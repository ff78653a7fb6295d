/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Damage and want: flipped bits in every file of a store, the n-th allocation,
 * the n-th callback, a volume that is full. The answer is a typed error or the
 * right bytes, and what was acknowledged is still there afterwards.
 */
#include "storescript.h"

#include "store/view.h"

#include <stdlib.h>
#include <string.h>

static struct world w;

/* Points below and above the base, a merge under way, a failover. */
static void build(void)
{
	uint32_t more = 1;

	world_init(&w, 3);
	w.options.container_bytes = 12288;
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
	ck_assert_int_eq(world_merge(&w, world_kept(&w, 2)->key), HVREPL_OK);
	ck_assert_int_eq(world_failover(&w, world_kept(&w, 1)->key), HVREPL_OK);
	for (unsigned i = 0; i < 6; i++) {
		ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
		if (i % 2 == 1)
			ck_assert_int_eq(world_guest_flush(&w), HVREPL_OK);
	}
	ck_assert_int_eq(hvri_store_merge_begin(w.store, 0, NULL), HVREPL_OK);
	ck_assert_int_eq(hvri_store_merge_advance(w.store, &more, NULL),
			 HVREPL_OK);
	world_close(&w);
}

struct names {
	char ids[64][HVREPL_OBJECT_ID_MAX + 1];
	unsigned count;
};

static int32_t note_name(void *argument, const char *id, uint64_t size)
{
	struct names *names = argument;

	(void)size;
	ck_assert_uint_lt(names->count, 64);
	memcpy(names->ids[names->count++], id, strlen(id) + 1);
	return HVREPL_OK;
}

static void list_names(struct names *names)
{
	struct hvrepl_storage storage = sim_storage_handle(w.storage);

	names->count = 0;
	ck_assert_int_eq(storage.ops->list(storage.user, "", note_name, names),
			 HVREPL_OK);
}

/* Every byte of the kept points is right or refused as damaged; no point is
 * missing. */
static void right_or_refused(const char *id, uint64_t at)
{
	static uint8_t bytes[4096];

	for (uint32_t i = 0; i < w.point_count; i++) {
		hvrepl_view *view;

		if (hvrepl_view_open(w.store, w.points[i].key,
				     HVREPL_VIEW_READ_ONLY, &view,
				     NULL) != HVREPL_OK)
			ck_abort_msg("a bit of %s at %llu costs a point", id,
				     (unsigned long long)at);
		for (unsigned d = 0; d < WORLD_DISKS; d++)
			for (uint64_t o = 0; o < w.sizes[d]; o += 4096) {
				uint64_t n = HVRI_MIN(w.sizes[d] - o, 4096u);
				int32_t rc = hvri_view_read(view, d, o, bytes,
							    n);

				if (rc == HVREPL_OK ?
					    memcmp(bytes,
						   w.points[i].image->bytes[d] +
							   o,
						   n) != 0 :
					    rc != HVREPL_E_CORRUPT)
					ck_abort_msg("a bit of %s at %llu: %d",
						     id, (unsigned long long)at,
						     rc);
			}
		ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	}
}

/* One flipped bit: true when `at` lies in the object. */
static bool flip(unsigned object, uint64_t at, unsigned *refused)
{
	struct names names;
	uint64_t size;
	uint8_t *bytes;
	int32_t rc;

	build();
	list_names(&names);
	bytes = sim_object_bytes(w.storage, names.ids[object], &size);
	if (at >= size) {
		world_free(&w);
		return false;
	}
	bytes[at] ^= (uint8_t)(1u << (at % 8));
	rc = world_open(&w, false);
	if (rc == HVREPL_OK) {
		right_or_refused(names.ids[object], at);
	} else {
		(*refused)++;
		if (rc != HVREPL_E_CORRUPT && rc != HVREPL_E_TRUNCATED &&
		    rc != HVREPL_E_FORMAT_TOO_NEW)
			ck_abort_msg("a bit of %s at %llu: open gives %d",
				     names.ids[object], (unsigned long long)at,
				     rc);
		/* Nothing was changed: without the flip all is there. */
		bytes = sim_object_bytes(w.storage, names.ids[object], &size);
		bytes[at] ^= (uint8_t)(1u << (at % 8));
		ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
		world_check(&w);
	}
	world_free(&w);
	return true;
}

START_TEST(no_flipped_bit_gives_wrong_bytes)
{
	struct names names;
	unsigned refused = 0;

	build();
	list_names(&names);
	world_free(&w);
	for (unsigned i = 0; i < names.count; i++)
		for (uint64_t at = i; flip(i, at, &refused);)
			at += (at < 600 ? 41 : 331) * test_stride();
	ck_assert_uint_gt(refused, 20 / test_stride());
}
END_TEST

START_TEST(one_damaged_head_slot_costs_nothing)
{
	for (unsigned slot = 0; slot < 2; slot++) {
		uint8_t *bytes;
		uint64_t size;

		build();
		bytes = sim_object_bytes(w.storage, "store.head", &size);
		memset(bytes + slot * 4096, 0xff, 256);
		ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
		world_check(&w);
		ck_assert_int_eq(world_failover(&w, 0), HVREPL_OK);
		world_check_guest(&w, false);
		world_free(&w);
	}
	build();
	memset(sim_object_bytes(w.storage, "store.head", &(uint64_t){ 0 }), 1,
	       4096 + 256);
	ck_assert_int_eq(world_open(&w, false), HVREPL_E_CORRUPT);
	world_free(&w);
}
END_TEST

static void cut_head(uint64_t length)
{
	struct hvrepl_storage storage = sim_storage_handle(w.storage);
	void *object;

	ck_assert_int_eq(storage.ops->open(storage.user, "store.head", 0,
					   &object), HVREPL_OK);
	ck_assert_int_eq(storage.ops->resize(storage.user, object, length),
			 HVREPL_OK);
	storage.ops->close(storage.user, object);
}

/* It looks like the rest of a creation that did not end, but for what lies
 * beside it: neither to open nor to create takes it for an empty store. */
START_TEST(a_head_that_lost_its_slots_is_damage_not_an_empty_store)
{
	static const uint64_t lengths[] = { 0, 1, 200, 255 };

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		build();
		cut_head(lengths[i]);
		ck_assert_int_eq(world_open(&w, false), HVREPL_E_CORRUPT);
		ck_assert_int_eq(world_open(&w, true), HVREPL_E_CORRUPT);
		world_free(&w);
		/* Nothing but the log tells that a point was received. */
		world_init(&w, 3);
		ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
		ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
		world_close(&w);
		cut_head(lengths[i]);
		ck_assert_int_eq(world_open(&w, false), HVREPL_E_CORRUPT);
		ck_assert_int_eq(world_open(&w, true), HVREPL_E_CORRUPT);
		world_free(&w);
	}
}
END_TEST

START_TEST(a_missing_file_is_named_damage)
{
	struct names names;
	struct hvrepl_storage storage;

	build();
	list_names(&names);
	world_free(&w);
	for (unsigned i = 0; i < names.count; i++) {
		int32_t rc;

		build();
		storage = sim_storage_handle(w.storage);
		ck_assert_int_eq(storage.ops->remove(storage.user,
						     names.ids[i]),
				 HVREPL_OK);
		rc = world_open(&w, false);
		ck_assert_msg(rc == HVREPL_E_TRUNCATED ||
				      rc == HVREPL_E_NOT_FOUND,
			      "without %s: %d", names.ids[i], rc);
		world_free(&w);
	}
}
END_TEST

static const uint8_t all_of_it[] = { FIRST, SEND,  SEND,   MERGE_TO, SEND,
				     MERGE, DROP,  COMPACT, FAILOVER, WRITE,
				     FLUSH, STEPS, CANCEL, SEND,     FAILOVER,
				     WRITE, FLUSH, COMMIT, END };

START_TEST(no_failed_allocation_costs_a_byte)
{
	script_alloc_fails(all_of_it);
}
END_TEST

START_TEST(no_failed_callback_costs_a_byte)
{
	script_io_fails(all_of_it);
}
END_TEST

START_TEST(a_full_volume_stops_receiving_and_nothing_else)
{
	uint64_t full = 60000 + (uint64_t)_i * 12000;
	unsigned refused = 0;

	world_init(&w, 5);
	w.options.container_bytes = 8192;
	w.options.points_max = 3;
	w.options.base_at = (uint32_t)_i % 2;
	w.storage->capacity = full;
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	for (unsigned i = 0; i < 40; i++) {
		int32_t rc = world_send(&w);

		ck_assert_msg(rc == HVREPL_OK || rc == HVREPL_E_NO_SPACE,
			      "sending gives %d", rc);
		refused += rc < 0;
		w.maintaining = true;
		w.options.capacity = full; /* The model: points may go. */
		rc = world_maintain(&w);
		ck_assert_msg(rc == HVREPL_OK || rc == HVREPL_E_NO_SPACE,
			      "upkeep gives %d", rc);
		world_check(&w);
		if (i == 30)
			w.storage->capacity = UINT64_MAX;
	}
	/* Room again: it goes on. */
	ck_assert_int_eq(world_send(&w), HVREPL_OK);
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	world_check(&w);
	w.options.capacity = 0;
	world_close(&w);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	world_check(&w);
	world_free(&w);
	(void)refused;
}
END_TEST

START_TEST(a_capacity_keeps_room_for_merge_and_drop)
{
	world_init(&w, 6);
	w.options.container_bytes = 8192;
	w.options.points_max = 24;
	w.options.base_at = (uint32_t)_i;
	w.options.capacity = 600u << 10;
	w.options.reserve = 200u << 10;
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	for (unsigned i = 0; i < 100; i++) {
		int32_t rc = world_send(&w);

		/* Never stuck: old points make room for the new one. */
		for (unsigned n = 0; rc == HVREPL_E_NO_SPACE && n < 30; n++) {
			uint64_t key = hvri_state_newest(&w.store->state);

			ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
			ck_assert_uint_eq(key, world_newest(&w)->key);
			rc = world_send(&w);
		}
		ck_assert_int_eq(rc, HVREPL_OK);
		ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
		ck_assert_uint_le(hvri_store_used(w.store),
				  w.options.capacity);
		world_check(&w);
	}
	world_free(&w);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store-damage");
	TCase *tcase = tcase_create("store-damage");

	tcase_add_test(tcase, no_flipped_bit_gives_wrong_bytes);
	tcase_add_test(tcase, one_damaged_head_slot_costs_nothing);
	tcase_add_test(tcase,
		       a_head_that_lost_its_slots_is_damage_not_an_empty_store);
	tcase_add_test(tcase, a_missing_file_is_named_damage);
	tcase_add_test(tcase, no_failed_allocation_costs_a_byte);
	tcase_add_test(tcase, no_failed_callback_costs_a_byte);
	tcase_add_loop_test(tcase,
			    a_full_volume_stops_receiving_and_nothing_else, 0,
			    6);
	tcase_add_loop_test(tcase, a_capacity_keeps_room_for_merge_and_drop, 0,
			    2);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
