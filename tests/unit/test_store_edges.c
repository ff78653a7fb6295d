/* SPDX-License-Identifier: Apache-2.0 */
/* Corners of upkeep, commit and limits: what is not due is left alone, what meets
 * something else meanwhile is right all the same. */
#include "storerot.h"
#include "storescript.h"

#include "store/view.h"

#include <stdio.h>
#include <string.h>

static struct world w;
static struct hvrepl_error error;

static void setup(void)
{
	world_init(&w, 31);
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	error = (struct hvrepl_error)HVREPL_ERROR_INIT;
}

static void teardown(void)
{
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
}

static void replica(unsigned cuts)
{
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	for (unsigned i = 0; i < cuts; i++)
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
}

static void failed_over(void)
{
	ck_assert_int_eq(world_failover(&w, world_kept(&w, 1)->key), HVREPL_OK);
	for (unsigned i = 0; i < 6; i++)
		ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
	ck_assert_int_eq(world_guest_flush(&w), HVREPL_OK);
}

static hvrepl_view *look_at(const struct world_point *point)
{
	hvrepl_view *view;

	ck_assert_int_eq(hvrepl_view_open(w.store, point->key,
					  HVREPL_VIEW_READ_ONLY, &view, NULL),
			 HVREPL_OK);
	return view;
}

/* ---- merging ---- */

START_TEST(the_base_moves_forward_to_a_point_and_once_at_a_time)
{
	uint32_t more = 7;

	replica(4);
	/* Nothing is under way: nothing is done. */
	ck_assert_int_eq(hvri_store_merge_advance(w.store, &more, NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(more, 0);
	ck_assert_int_eq(hvri_store_merge_begin(w.store, 999, &error),
			 HVREPL_E_STATE);
	ck_assert_ptr_nonnull(strstr(error.sentence, "point 999"));
	ck_assert_int_eq(world_merge(&w, world_kept(&w, 2)->key), HVREPL_OK);
	ck_assert_int_eq(hvri_store_merge_begin(w.store, world_kept(&w, 1)->key,
						NULL),
			 HVREPL_E_STATE);
	ck_assert_int_eq(hvri_store_merge_begin(w.store, world_kept(&w, 2)->key,
						NULL),
			 HVREPL_E_STATE);
	ck_assert_int_eq(hvri_store_merge_begin(w.store, 0, NULL), HVREPL_OK);
	ck_assert_int_eq(hvri_store_merge_begin(w.store, 0, NULL),
			 HVREPL_E_STATE);
	world_check(&w);
}
END_TEST

START_TEST(a_merge_below_a_point_changes_nothing_of_it)
{
	struct hvrepl_extent changed;
	hvrepl_view *view;
	uint32_t more;

	replica(4);
	ck_assert_int_eq(hvri_store_merge_begin(w.store, world_kept(&w, 2)->key,
						NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_store_merge_advance(w.store, &more, NULL),
			 HVREPL_OK);
	ck_assert_ptr_nonnull(w.store->running);
	view = look_at(world_newest(&w));
	for (uint32_t d = 0; d < WORLD_DISKS; d++) {
		ck_assert_int_eq(hvri_view_next_changed(view, d, 0, &changed),
				 HVREPL_OK);
		ck_assert_uint_eq(changed.length, 0);
	}
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	/* Of an older one it is the undo so far, among others. */
	view = look_at(world_kept(&w, 0));
	ck_assert_int_eq(hvri_view_next_changed(view, 0, 0, &changed), HVREPL_OK);
	ck_assert_uint_gt(changed.length, 0);
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	world_check(&w);
}
END_TEST

START_TEST(points_that_are_looked_at_stay_beyond_their_number)
{
	hvrepl_view *views[4];

	w.options.points_max = 1;
	world_close(&w);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	replica(4);
	for (uint32_t i = 0; i < 4; i++)
		views[i] = look_at(world_kept(&w, i));
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	for (uint32_t i = 0; i < 5; i++)
		ck_assert_ptr_nonnull(world_kept(&w, i));
	world_check(&w);
	for (uint32_t i = 0; i < 4; i++)
		ck_assert_int_eq(hvrepl_view_close(views[i]), HVREPL_OK);
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	ck_assert_ptr_null(world_kept(&w, 2));
	world_check(&w);
}
END_TEST

START_TEST(a_point_is_found_by_all_that_it_is_called)
{
	const struct hvrepl_uuid none = { { 0 } };
	struct hvrepl_uuid other = w.epoch;
	struct hvrepl_point point;

	replica(2);
	other.bytes[0] ^= 1;
#define FIND(epoch, number, cut) \
	hvri_store_point_find(w.store, epoch, number, cut, &point)
	ck_assert_int_eq(FIND(&w.epoch, 2, &none), HVREPL_OK);
	ck_assert_uint_eq(point.number, 2);
	ck_assert_int_eq(FIND(&w.epoch, 2, &world_kept(&w, 1)->cut), HVREPL_OK);
	ck_assert_int_eq(FIND(&w.epoch, 2, &other), HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(FIND(&other, 2, &none), HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(FIND(&w.epoch, 77, &none), HVREPL_E_NOT_FOUND);
}
END_TEST

/* ---- commit ---- */

START_TEST(a_commit_goes_on_while_no_vm_uses_the_disks)
{
	replica(3);
	failed_over();
	world_view_close(&w);
	ck_assert_int_eq(world_commit(&w), HVREPL_OK);
	ck_assert_uint_eq(w.store->state.phase, HVRI_MANIFEST_BASE_ONLY);
	for (unsigned d = 0; d < WORLD_DISKS; d++)
		ck_assert_mem_eq(sim_disk_bytes(w.bases[d]), w.guest.bytes[d],
				 w.sizes[d]);
}
END_TEST

START_TEST(a_commit_waits_for_points_that_are_looked_at)
{
	hvrepl_view *other;
	uint32_t more = 1;
	int32_t rc = HVREPL_OK;

	replica(3);
	failed_over();
	ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_advance(w.store, &more, NULL),
			 HVREPL_OK);
	other = look_at(world_kept(&w, 2));
	while (rc == HVREPL_OK && more != 0)
		rc = hvrepl_store_commit_advance(w.store, &more, &error);
	ck_assert_int_eq(rc, HVREPL_E_BUSY);
	ck_assert_ptr_nonnull(strstr(error.sentence, "close them"));
	/* It is still all there, and nothing was switched. */
	ck_assert_uint_eq(w.store->state.commit, HVRI_COMMIT_FOLDING);
	world_check(&w);
	/* Upkeep leaves the base alone meanwhile. */
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	ck_assert_uint_eq(w.store->state.merge_target, 0);
	world_check(&w);
	ck_assert_int_eq(hvrepl_view_close(other), HVREPL_OK);
	ck_assert_int_eq(world_commit(&w), HVREPL_OK);
	world_check_guest(&w, false);
}
END_TEST

START_TEST(a_disk_that_failed_over_is_not_adopted_and_a_newer_base_neither)
{
	struct hvri_store_point_commit commit = { .number = 50 };

	/* One point that is not in the base yet. */
	replica(1);
	ck_assert_int_eq(world_drop(&w, world_kept(&w, 0)->key), HVREPL_OK);
	ck_assert_int_eq(hvri_store_adopt(w.store, &commit, NULL, NULL),
			 HVREPL_E_STATE);
	ck_assert_int_eq(world_merge(&w, world_newest(&w)->key), HVREPL_OK);
	ck_assert_int_eq(world_failover(&w, world_newest(&w)->key), HVREPL_OK);
	world_view_close(&w);
	ck_assert_int_eq(hvri_store_adopt(w.store, &commit, NULL, NULL),
			 HVREPL_E_STATE);
	ck_assert_int_eq(world_cancel(&w), HVREPL_OK);
	world_check(&w);
	ck_assert_int_eq(hvri_store_adopt(w.store, &commit, NULL, NULL),
			 HVREPL_OK);
}
END_TEST

/* ---- limits ---- */

START_TEST(a_high_water_mark_alone_gives_up_old_points)
{
	unsigned points = 0;

	world_close(&w);
	w.options.high_water = 200u << 10;
	w.options.container_bytes = 16u << 10;
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	w.full = true;
	replica(0);
	for (unsigned i = 0; i < 20; i++) {
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
		ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
		world_check(&w);
	}
	ck_assert_uint_le(hvri_store_used(w.store), 200u << 10);
	while (world_kept(&w, points) != NULL)
		points++;
	ck_assert_uint_gt(points, 1);
	ck_assert_uint_lt(points, 21);
	/* A disk that its VM runs on is held to nothing. */
	ck_assert_uint_eq(hvri_store_high_water(w.store), 200u << 10);
}
END_TEST

START_TEST(no_limit_overflows_and_none_holds_a_running_vm)
{
	struct hvri_store_limits huge = { 64u << 10, UINT64_MAX, 0 };
	struct hvri_store_limits some = { 64u << 20, 1u << 20, 0 };

	replica(3);
	ck_assert_int_eq(hvri_store_set_limits(w.store, &huge, false, &error),
			 HVREPL_E_NO_SPACE);
	ck_assert_int_eq(hvri_store_set_limits(w.store, &huge, true, &error),
			 HVREPL_E_NO_SPACE);
	/* With a reserve of all there is, nothing may be used. */
	ck_assert_uint_eq(hvri_store_high_water(w.store), 0);
	ck_assert_uint_eq(hvri_store_room(w.store, false), 0);
	ck_assert_int_eq(world_send(&w), HVREPL_E_NO_SPACE);
	ck_assert_int_eq(hvri_store_set_limits(w.store, &some, false, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(world_send(&w), HVREPL_OK);
	ck_assert_uint_eq(hvri_store_capacity(w.store), some.capacity);
	failed_over();
	ck_assert_uint_eq(hvri_store_capacity(w.store), UINT64_MAX);
	ck_assert_int_eq(world_commit(&w), HVREPL_OK);
	ck_assert_uint_eq(hvri_store_capacity(w.store), UINT64_MAX);
	ck_assert_uint_eq(hvri_store_high_water(w.store), UINT64_MAX);
}
END_TEST

START_TEST(what_is_full_is_named)
{
	struct hvri_store_limits small = { 200u << 10, 0, 0 };
	struct test_refusals refusals = { 0, 0, true };

	replica(2);
	ck_assert_int_eq(hvri_store_set_limits(w.store, &small, false, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_store_why_full(w.store, &error),
			 HVREPL_E_NO_SPACE);
	ck_assert_msg(strstr(error.sentence, "quota of 200 KiB") != NULL, "%s",
		      error.sentence);
	/* Both, but the volume is what would have to grow first. */
	w.storage->capacity = sim_storage_used(w.storage) + 4096;
	ck_assert_int_eq(hvri_store_why_full(w.store, &error),
			 HVREPL_E_NO_SPACE);
	ck_assert_ptr_nonnull(strstr(error.sentence, "volume"));
	/* It does not say how much room it has: then it is the quota. */
	w.sim.refusals = &refusals;
	ck_assert_int_eq(hvri_store_why_full(w.store, &error),
			 HVREPL_E_NO_SPACE);
	w.sim.refusals = NULL;
	ck_assert_uint_gt(refusals.count, 0);
	ck_assert_ptr_nonnull(strstr(error.sentence, "quota"));
	w.storage->capacity = UINT64_MAX;
}
END_TEST

START_TEST(a_test_of_a_point_is_held_to_the_capacity)
{
	struct hvri_store_limits small = { 0, 0, 0 };
	static uint8_t bytes[16384] = { 1 };
	hvrepl_view *view;
	int32_t rc = HVREPL_OK;

	replica(2);
	small.capacity = hvri_store_used(w.store) + (48u << 10);
	ck_assert_int_eq(hvri_store_set_limits(w.store, &small, false, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_view_open(w.store, world_newest(&w)->key,
					  HVREPL_VIEW_SCRATCH, &view, NULL),
			 HVREPL_OK);
	for (uint64_t at = 0; at < w.sizes[0] && rc == HVREPL_OK;
	     at += sizeof(bytes))
		rc = hvri_view_write(view, 0, at, bytes, sizeof(bytes));
	ck_assert_int_eq(rc, HVREPL_E_NO_SPACE);
	ck_assert_uint_le(hvri_store_used(w.store), small.capacity);
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	world_check(&w);
}
END_TEST

/* ---- damage that upkeep meets ---- */

/* A bit of a chunk in each undo log. */
static void rot_undo(void)
{
	for (uint32_t i = 0; i < w.store->state.undo_count; i++)
		for (uint32_t d = 0; d < WORLD_DISKS; d++) {
			const struct hvri_slog *slog = w.store->undo[i];
			const struct hvri_xmap *map = &slog->disks[d].map;

			for (size_t e = 0; e < map->count; e++) {
				char id[HVREPL_OBJECT_ID_MAX + 1];
				uint64_t size;

				if (map->at[e].position == 0)
					continue;
				snprintf(id, sizeof(id),
					 HVRI_CONTAINER_PREFIX "%016llx",
					 (unsigned long long)
						 slog->container->id);
				sim_object_bytes(w.storage, id, &size)
					[map->at[e].position + 100] ^= 1;
			}
		}
}

START_TEST(a_damaged_old_log_stops_its_joining_and_no_other_upkeep)
{
	uint32_t more = 1;

	replica(1);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
		ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	}
	ck_assert_uint_ge(w.store->state.undo_count, 3);
	rot_undo();
	ck_assert_int_eq(world_drop(&w, world_kept(&w, 2)->key), HVREPL_OK);
	for (unsigned i = 0; more != 0; i++) {
		ck_assert_uint_lt(i, 1000);
		ck_assert_int_eq(hvrepl_store_maintain(w.store, &more, NULL),
				 HVREPL_OK);
	}
	ck_assert(w.store->compact_off);
	/* It receives, and moves its base, as before. */
	ck_assert_int_eq(world_send(&w), HVREPL_OK);
	more = 1;
	while (more != 0)
		ck_assert_int_eq(hvrepl_store_maintain(w.store, &more, NULL),
				 HVREPL_OK);
	ck_assert_uint_eq(w.store->state.base, world_newest(&w)->key);
}
END_TEST

static void rot_log(const struct world_point *point, bool cut_off)
{
	for (uint32_t i = 0; i < w.store->state.redo_count; i++) {
		const struct hvri_slog *slog = w.store->redo[i];

		if (slog->place.to != point->key)
			continue;
		for (uint32_t d = 0; d < WORLD_DISKS; d++)
			for (size_t e = 0; e < slog->disks[d].map.count; e++) {
				const struct hvri_xent *entry =
					&slog->disks[d].map.at[e];
				char id[HVREPL_OBJECT_ID_MAX + 1];
				uint64_t size;

				if (entry->position == 0)
					continue;
				snprintf(id, sizeof(id),
					 HVRI_CONTAINER_PREFIX "%016llx",
					 (unsigned long long)
						 slog->container->id);
				if (!cut_off) {
					sim_object_bytes(w.storage, id, &size)
						[entry->position + 100] ^= 1;
					continue;
				}
				ck_assert_int_eq(
					hvri_object_resize(
						&slog->container->object,
						entry->position),
					HVREPL_OK);
				return;
			}
	}
}

static struct hvrepl_store_info info(void)
{
	struct hvrepl_store_info now = HVREPL_STORE_INFO_INIT;

	ck_assert_int_eq(hvrepl_store_info(w.store, &now), HVREPL_OK);
	return now;
}

static void upkeep(void)
{
	uint32_t more = 1;

	for (unsigned i = 0; more != 0; i++) {
		ck_assert_uint_lt(i, 1000);
		ck_assert_int_eq(hvrepl_store_maintain(w.store, &more, NULL),
				 HVREPL_OK);
	}
}

/* What the guest wrote over in part since: the older points need the rest. */
START_TEST(rot_in_an_older_log_puts_all_from_there_in_doubt)
{
	static const struct world_change wide[] = { { 0, 0, 16384, false },
						    { 1, 0, 16384, false } };
	static const struct world_change narrow[] = { { 0, 4096, 4096, false },
						      { 1, 0, 4096, false } };
	struct world_point *bad;

	replica(1);
	world_make_cut_with(&w, wide, 2);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	bad = world_newest(&w);
	world_make_cut_with(&w, narrow, 2);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	rot_log(bad, false);
	if (_i == 1) /* Then only the newer one needs what is left of it. */
		ck_assert_int_eq(world_drop(&w, bad->key), HVREPL_OK);
	upkeep();
	ck_assert_uint_eq(info().newest_doubted, 1);
	ck_assert(hvri_store_doubts(w.store, bad->key));
	ck_assert(!hvri_store_doubts(w.store, world_kept(&w, 1)->key));
	ck_assert_uint_lt(w.store->state.base, bad->key);
}
END_TEST

/* A file that lost its end is as damaged as one with a wrong bit: it is named, the
 * owner compares, and the next point is right; upkeep does not stand still. */
START_TEST(a_log_that_was_cut_off_is_found_and_left_behind)
{
	uint32_t more;

	w.options.container_bytes = 4096; /* One for each point. */
	world_close(&w);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	replica(2);
	if (_i == 1) { /* After it was checked, in the merge itself. */
		do
			ck_assert_int_eq(hvrepl_store_maintain(w.store, &more,
							       NULL),
					 HVREPL_OK);
		while (w.store->state.merge_target == 0);
		hvri_cache_free(&w.store->cache);
		ck_assert_int_eq(hvri_cache_init(&w.store->cache, &w.store->env,
						 1u << 18),
				 HVREPL_OK);
	}
	rot_log(world_newest(&w), true);
	upkeep();
	ck_assert_uint_eq(info().newest_doubted, 1);
	ck_assert_uint_eq(info().merge_target, 0);
	/* What comes next brings it again. */
	world_make_cut_of(&w, 0, WORLD_SIZE_MAX);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	upkeep();
	ck_assert_uint_eq(info().newest_doubted, 0);
	ck_assert_uint_eq(info().base_point, world_newest(&w)->key);
	for (unsigned d = 0; d < WORLD_DISKS; d++)
		ck_assert_mem_eq(sim_disk_bytes(w.bases[d]), w.primary.bytes[d],
				 w.sizes[d]);
}
END_TEST

/* An index that names another chunk than it means, as one from elsewhere might. */
START_TEST(an_index_that_names_the_wrong_bytes_is_damage)
{
	static const struct world_change changes[] = { { 0, 0, 4096, false },
						       { 0, 8192, 4096, true } };
	struct hvri_xent *data, *zero;
	struct hvri_xent kept;
	uint8_t bytes[4096];
	struct hvri_slog *slog;

	replica(0);
	world_make_cut_with(&w, changes, 2);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	slog = w.store->redo[0];
	ck_assert_uint_eq(slog->disks[0].map.count, 2);
	data = &slog->disks[0].map.at[0];
	zero = &slog->disks[0].map.at[1];
	kept = *data;
#define READ(at) \
	hvri_store_read(w.store, world_newest(&w)->key, 0, at, bytes, 4096)
	ck_assert_int_eq(READ(0), HVREPL_OK);
	data->raw_offset = 8192;
	ck_assert_int_eq(READ(0), HVREPL_E_CORRUPT);
	data->raw_offset = 512;
	ck_assert_int_eq(READ(0), HVREPL_E_CORRUPT);
	*data = kept;
	/* The chunk behind it, in a batch of its own: it only says "zeroes". */
	zero->position = kept.position + kept.chunk_length;
	zero->position += HVRI_CONTAINER_PAGE -
			  zero->position % HVRI_CONTAINER_PAGE +
			  2 * HVRI_FRAME_SIZE + 8;
	zero->chunk_length = w.cut.lengths[0][1];
	ck_assert_int_eq(READ(8192), HVREPL_E_CORRUPT);
	zero->position = 0;
	zero->chunk_length = 0;
	world_check(&w);
}
END_TEST

/* A manifest from elsewhere may say that a merge runs that keeps no undo. */
START_TEST(a_merge_without_undo_hides_nothing)
{
	uint8_t bytes[4096];

	replica(2);
	ck_assert_int_eq(world_merge(&w, world_kept(&w, 1)->key), HVREPL_OK);
	w.store->state.merge_target = world_newest(&w)->key;
	ck_assert_ptr_null(w.store->running);
	ck_assert_int_eq(hvri_store_read(w.store, world_kept(&w, 1)->key, 0, 0,
					 bytes, sizeof(bytes)),
			 HVREPL_OK);
	ck_assert_mem_eq(bytes, world_kept(&w, 1)->image->bytes[0],
			 sizeof(bytes));
	w.store->state.merge_target = 0;
	world_check(&w);
}
END_TEST

/* ---- records ---- */

START_TEST(a_record_that_cannot_be_is_not_written)
{
	struct hvri_manifest_record record = { .type = HVRI_RECORD_MERGED };
	uint64_t changes;

	replica(2);
	changes = w.sim.io_count;
	ck_assert_int_eq(hvri_store_record(w.store, &record, NULL),
			 HVREPL_E_STATE);
	ck_assert_uint_eq(w.sim.io_count, changes);
	world_check(&w);
}
END_TEST

/* The manifest's log grows long, and the new one cannot be written at first. */
START_TEST(a_checkpoint_that_fails_costs_no_record)
{
	static const int32_t codes[] = { HVREPL_E_NO_SPACE, HVREPL_E_STORAGE_IO };
	static uint8_t blob[HVREPL_STORE_BLOB_MAX];
	unsigned poisoned = 0, went_on = 0;

	for (unsigned kind = 0; kind < 2; kind++)
		for (uint64_t n = 0; n < 12; n++) {
			uint8_t back[1];
			uint32_t length;
			int32_t rc;

			if (n + kind > 0)
				setup();
			replica(1);
			while (w.store->journal.head.length +
				       sizeof(blob) + 1024 < 1u << 20)
				ck_assert_int_eq(hvri_store_set_blob(w.store,
								     blob,
								     sizeof(blob)),
						 HVREPL_OK);
			blob[0]++;
			w.sim.fail_code = codes[kind];
			w.sim.fail_at = w.sim.call_count + n;
			rc = hvri_store_set_blob(w.store, blob, sizeof(blob));
			w.sim.fail_at = UINT64_MAX;
			if (rc == HVREPL_OK) {
				blob[0]++;
				rc = hvri_store_set_blob(w.store, blob, 1);
				went_on += rc == HVREPL_OK;
				if (rc < 0) {
					poisoned++;
					blob[0]--;
					ck_assert_int_eq(rc,
							 HVREPL_E_POISONED);
				}
				rc = HVREPL_OK;
			}
			world_close(&w);
			ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
			world_check(&w);
			length = 0;
			ck_assert_int_eq(hvri_store_blob(w.store, back, &length),
					 HVREPL_E_LIMIT);
			if (rc == HVREPL_OK) {
				uint8_t whole[HVREPL_STORE_BLOB_MAX];

				length = sizeof(whole);
				ck_assert_int_eq(hvri_store_blob(w.store, whole,
								 &length),
						 HVREPL_OK);
				ck_assert_uint_eq(whole[0], blob[0]);
			}
			teardown();
		}
	setup();
	ck_assert_uint_gt(poisoned, 1);
	ck_assert_uint_gt(went_on, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store edges");
	TCase *tcase = tcase_create("store edges");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase,
		       the_base_moves_forward_to_a_point_and_once_at_a_time);
	tcase_add_test(tcase, a_merge_below_a_point_changes_nothing_of_it);
	tcase_add_test(tcase,
		       points_that_are_looked_at_stay_beyond_their_number);
	tcase_add_test(tcase, a_point_is_found_by_all_that_it_is_called);
	tcase_add_test(tcase, a_commit_goes_on_while_no_vm_uses_the_disks);
	tcase_add_test(tcase, a_commit_waits_for_points_that_are_looked_at);
	tcase_add_test(
		tcase,
		a_disk_that_failed_over_is_not_adopted_and_a_newer_base_neither);
	tcase_add_test(tcase, a_high_water_mark_alone_gives_up_old_points);
	tcase_add_test(tcase, no_limit_overflows_and_none_holds_a_running_vm);
	tcase_add_test(tcase, what_is_full_is_named);
	tcase_add_test(tcase, a_test_of_a_point_is_held_to_the_capacity);
	tcase_add_test(tcase,
		       a_damaged_old_log_stops_its_joining_and_no_other_upkeep);
	tcase_add_loop_test(tcase,
			    rot_in_an_older_log_puts_all_from_there_in_doubt, 0,
			    2);
	tcase_add_loop_test(tcase,
			    a_log_that_was_cut_off_is_found_and_left_behind, 0,
			    2);
	tcase_add_test(tcase, an_index_that_names_the_wrong_bytes_is_damage);
	tcase_add_test(tcase, a_merge_without_undo_hides_nothing);
	tcase_add_test(tcase, a_record_that_cannot_be_is_not_written);
	tcase_add_test(tcase, a_checkpoint_that_fails_costs_no_record);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
