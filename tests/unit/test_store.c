/* SPDX-License-Identifier: Apache-2.0 */
/* The store's promises, one after the other, without crashes. */
#include "storeworld.h"

#include "store/view.h"

#include <stdlib.h>
#include <string.h>

static struct world w;

static void setup(void)
{
	world_init(&w, 1);
}

static void teardown(void)
{
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
}

static void begin(bool adopt)
{
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, adopt), HVREPL_OK);
}

static void send(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		ck_assert_int_eq(world_send(&w), HVREPL_OK);
}

static void reopen(void)
{
	world_close(&w);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
}

START_TEST(every_received_point_reads_back)
{
	begin(false);
	send(5);
	world_check(&w);
	reopen();
	world_check(&w);
}
END_TEST

START_TEST(twenty_four_points_survive_merging_to_the_newest)
{
	begin(false);
	send(24);
	ck_assert_int_eq(world_merge(&w, 0), HVREPL_OK);
	world_check(&w);
	ck_assert_mem_eq(sim_disk_bytes(w.bases[0]), w.primary.bytes[0],
			 w.sizes[0]);
	reopen();
	world_check(&w);
	ck_assert_ptr_nonnull(world_kept(&w, 24));
	send(1);
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	ck_assert_ptr_null(world_kept(&w, 25));
	world_check(&w);
	reopen();
	world_check(&w);
}
END_TEST

START_TEST(base_at_the_oldest_point_needs_no_undo)
{
	w.options.base_at = HVREPL_BASE_AT_OLDEST;
	w.options.points_max = 3;
	begin(false);
	for (unsigned i = 0; i < 12; i++) {
		send(1);
		ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
		ck_assert_uint_eq(w.store->state.undo_count, 0);
		ck_assert_uint_le(w.store->state.redo_count, 3);
		world_check(&w);
	}
}
END_TEST

START_TEST(steps_of_merging_keep_all_points_exact)
{
	uint32_t more = 1;

	begin(false);
	send(6);
	ck_assert_int_eq(hvri_store_merge_begin(w.store,
						world_kept(&w, 3)->key, NULL),
			 HVREPL_OK);
	while (more != 0) {
		ck_assert_int_eq(hvri_store_merge_advance(w.store, &more, NULL),
				 HVREPL_OK);
		world_check(&w);
	}
	send(2);
	ck_assert_int_eq(world_merge(&w, 0), HVREPL_OK);
	world_check(&w);
}
END_TEST

START_TEST(dropping_and_joining_keep_the_other_points_exact)
{
	begin(false);
	send(4);
	ck_assert_int_eq(world_merge(&w, world_kept(&w, 2)->key), HVREPL_OK);
	send(4);
	ck_assert_int_eq(world_merge(&w, world_kept(&w, 5)->key), HVREPL_OK);
	send(3);
	while (world_kept(&w, 1) != NULL) {
		uint32_t more = 1, n = 0;

		while (world_kept(&w, n) != NULL)
			n++;
		ck_assert_int_eq(world_drop(&w, world_kept(&w, (n - 1) / 2)->key),
				 HVREPL_OK);
		while (more != 0)
			ck_assert_int_eq(hvri_store_compact(w.store, &more),
					 HVREPL_OK);
		world_check(&w);
	}
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	ck_assert_uint_eq(w.store->state.undo_count, 0);
	ck_assert_uint_eq(w.store->state.redo_count, 0);
	world_check(&w);
}
END_TEST

START_TEST(pinned_viewed_and_newest_points_cannot_be_dropped)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_view *view;
	uint64_t key;

	begin(true);
	send(3);
	key = world_kept(&w, 1)->key;
	ck_assert_int_eq(hvrepl_store_pin(w.store, key, HVREPL_PIN_TEST),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_pin(w.store, key, HVREPL_PIN_TAIL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_drop(w.store, key, &error),
			 HVREPL_E_BUSY);
	ck_assert_uint_gt(strlen(error.sentence), 0);
	ck_assert_int_eq(hvrepl_store_unpin(w.store, key, HVREPL_PIN_TEST),
			 HVREPL_OK);
	reopen();
	ck_assert_int_eq(hvrepl_store_drop(w.store, key, NULL), HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_store_unpin(w.store, key, HVREPL_PIN_TAIL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_view_open(w.store, key, HVREPL_VIEW_READ_ONLY,
					  &view, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_drop(w.store, key, NULL), HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_store_destroy(w.store), HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	ck_assert_int_eq(world_drop(&w, key), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_drop(w.store, world_newest(&w)->key, NULL),
			 HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_store_drop(w.store, 999, NULL),
			 HVREPL_E_NOT_FOUND);
	world_check(&w);
}
END_TEST

START_TEST(test_failover_changes_nothing_but_its_own_view)
{
	hvrepl_view *view;
	struct hvrepl_disk disk;
	struct hvrepl_iovec iov;
	uint8_t bytes[8192];

	begin(false);
	send(3);
	ck_assert_int_eq(hvrepl_view_open(w.store, world_kept(&w, 1)->key,
					  HVREPL_VIEW_SCRATCH, &view, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_view_disk(view, 0, &disk), HVREPL_OK);
	test_fill(bytes, sizeof(bytes), 5);
	iov = (struct hvrepl_iovec){ bytes, 1024 };
	ck_assert_int_eq(disk.ops->writev(disk.user, NULL, 512, &iov, 1),
			 HVREPL_OK);
	memset(bytes, 0, sizeof(bytes));
	iov.length = 4096;
	ck_assert_int_eq(disk.ops->readv(disk.user, NULL, 0, &iov, 1),
			 HVREPL_OK);
	ck_assert_mem_eq(bytes, world_kept(&w, 1)->image->bytes[0], 512);
	ck_assert_mem_eq(bytes + 1536,
			 world_kept(&w, 1)->image->bytes[0] + 1536, 2560);
	world_check(&w);
	send(2);
	ck_assert_int_eq(world_merge(&w, 0), HVREPL_OK);
	world_check(&w);
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_E_BUSY);
	disk.release(disk.user);
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	reopen();
	world_check(&w);
}
END_TEST

START_TEST(failover_overlay_survives_a_restart_and_cancel_forgets_it)
{
	begin(false);
	send(4);
	ck_assert_int_eq(world_failover(&w, world_kept(&w, 2)->key), HVREPL_OK);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
	world_check_guest(&w, false);
	ck_assert_int_eq(world_guest_flush(&w), HVREPL_OK);
	reopen();
	ck_assert_int_eq(world_failover(&w, 0), HVREPL_OK);
	world_check_guest(&w, false);
	world_check(&w);
	ck_assert_int_eq(world_cancel(&w), HVREPL_OK);
	world_check(&w);
	/* Another point after that. */
	ck_assert_int_eq(world_failover(&w, world_kept(&w, 0)->key), HVREPL_OK);
	world_check_guest(&w, false);
}
END_TEST

static void commit_from(unsigned point, unsigned base)
{
	begin(false);
	send(5);
	if (base > 0)
		ck_assert_int_eq(world_merge(&w, world_kept(&w, base)->key),
				 HVREPL_OK);
	ck_assert_int_eq(world_failover(&w, world_kept(&w, point)->key),
			 HVREPL_OK);
	for (unsigned i = 0; i < 15; i++)
		ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
	ck_assert_int_eq(world_commit(&w), HVREPL_OK);
	world_check_guest(&w, false);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
	world_check_guest(&w, false);
	world_settle(&w);
	world_check(&w);
	world_view_close(&w);
	reopen();
	world_check_guest(&w, false);
}

START_TEST(commit_makes_the_base_the_guests_disk)
{
	commit_from((unsigned)_i / 3 * 2, (unsigned)(_i % 3) * 2);
	ck_assert_uint_eq(w.store->state.phase, HVRI_MANIFEST_BASE_ONLY);
	/* Its old files are gone. */
	ck_assert_uint_eq(sim_storage_objects(w.storage), 2);
}
END_TEST

START_TEST(cancel_while_folding_restores_every_point)
{
	uint32_t more = 1;

	begin(false);
	send(5);
	ck_assert_int_eq(world_merge(&w, world_kept(&w, 3)->key), HVREPL_OK);
	ck_assert_int_eq(world_failover(&w, world_kept(&w, 1)->key), HVREPL_OK);
	for (unsigned i = 0; i < 15; i++)
		ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL), HVREPL_OK);
	for (int i = 0; i < 2 + _i; i++) {
		ck_assert_int_eq(hvrepl_store_commit_advance(w.store, &more,
							     NULL),
				 HVREPL_OK);
		if (w.store->state.commit == HVRI_COMMIT_SWITCHING)
			return;
		world_check(&w);
		world_check_guest(&w, false);
		ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
		world_check_guest(&w, false);
	}
	ck_assert_int_eq(world_cancel(&w), HVREPL_OK);
	world_check(&w);
	send(2);
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	world_check(&w);
}
END_TEST

START_TEST(every_step_of_a_commit_shows_the_guest_its_writes)
{
	uint32_t more = 1;

	begin(false);
	send(4);
	ck_assert_int_eq(world_failover(&w, world_kept(&w, 2)->key), HVREPL_OK);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL), HVREPL_OK);
	while (more != 0) {
		ck_assert_int_eq(hvrepl_store_commit_advance(w.store, &more,
							     NULL),
				 HVREPL_OK);
		ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
		world_check_guest(&w, false);
	}
	ck_assert_uint_eq(w.store->state.phase, HVRI_MANIFEST_BASE_ONLY);
}
END_TEST

START_TEST(changed_ranges_name_all_that_differs_from_the_newest_point)
{
	struct world_point *point;

	begin(false);
	send(6);
	if (_i > 0)
		ck_assert_int_eq(world_merge(&w, world_kept(&w, 4)->key),
				 HVREPL_OK);
	point = world_kept(&w, 2);
	ck_assert_int_eq(world_failover(&w, point->key), HVREPL_OK);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
	for (unsigned d = 0; d < WORLD_DISKS; d++) {
		uint8_t named[WORLD_SIZE_MAX] = { 0 };
		struct hvrepl_extent e = { 0, 0 };

		for (;;) {
			ck_assert_int_eq(hvri_view_next_changed(
						 w.view, d, e.offset + e.length,
						 &e),
					 HVREPL_OK);
			if (e.length == 0)
				break;
			memset(named + e.offset, 1,
			       HVRI_MIN(e.length, w.sizes[d] - e.offset));
		}
		for (uint64_t i = 0; i < w.sizes[d]; i++)
			ck_assert(named[i] || w.guest.bytes[d][i] ==
						      w.primary.bytes[d][i]);
	}
}
END_TEST

START_TEST(segments_resume_only_under_the_same_cut)
{
	uint32_t next;
	struct hvri_store_partial partial;
	uint8_t other[HVRI_SEGMENT_HEADER_SIZE];
	struct hvri_segment_header header;

	w.change_blocks = 16;
	begin(false);
	world_make_cut(&w);
	while (w.cut.counts[0] < 3) {
		ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
		world_make_cut(&w);
	}
	ck_assert_int_eq(hvri_store_segment_begin(w.store, 0, w.cut.header[0],
						  &next, NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(next, 0);
	ck_assert_int_eq(hvri_store_segment_append(w.store, 0,
						   w.cut.chunks[0][1],
						   w.cut.lengths[0][1]),
			 HVREPL_E_PROTOCOL);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(hvri_store_segment_append(
					 w.store, 0, w.cut.chunks[0][i],
					 w.cut.lengths[0][i]),
				 HVREPL_OK);
	ck_assert_int_eq(hvri_store_flush(w.store), HVREPL_OK);
	reopen();
	ck_assert_int_eq(hvri_store_partial(w.store, 0, &partial), HVREPL_OK);
	ck_assert_uint_eq(partial.durable, 2);
	ck_assert_mem_eq(&partial.identity.cut, &w.cut.cut, 16);
	ck_assert_int_eq(hvri_store_segment_begin(w.store, 0, w.cut.header[0],
						  &next, NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(next, 2);
	/* Another cut: the partial one goes. */
	ck_assert_int_eq(hvri_segment_header_decode(w.cut.header[0], &header),
			 HVREPL_OK);
	header.identity.cut.bytes[0] ^= 1;
	hvri_segment_header_encode(&header, other);
	ck_assert_int_eq(hvri_store_segment_begin(w.store, 0, other, &next,
						  NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(next, 0);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	world_check(&w);
	reopen();
	world_check(&w);
}
END_TEST

START_TEST(segments_of_another_disk_or_history_are_refused)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvri_segment_header header;
	uint8_t bytes[HVRI_SEGMENT_HEADER_SIZE];
	uint32_t next;

	begin(false);
	send(1);
	world_make_cut(&w);
	for (unsigned i = 0; i < 5; i++) {
		ck_assert_int_eq(hvri_segment_header_decode(w.cut.header[0],
							    &header),
				 HVREPL_OK);
		if (i == 0)
			header.identity.vm.bytes[0] ^= 1;
		if (i == 1)
			header.identity.disk.bytes[0] ^= 1;
		if (i == 2)
			header.disk_size += 4096;
		if (i == 3)
			header.identity.from_point += 1;
		hvri_segment_header_encode(&header, bytes);
		if (i == 4)
			bytes[40] ^= 1;
		ck_assert_int_eq(hvri_store_segment_begin(w.store, 0, bytes,
							  &next, &error),
				 i < 3	? HVREPL_E_WRONG_DISK :
				 i == 3 ? HVREPL_E_STATE :
					  HVREPL_E_CORRUPT);
		ck_assert_uint_gt(strlen(error.sentence), 0);
	}
	if (w.cut.counts[0] > 0) {
		ck_assert_int_eq(hvri_store_segment_begin(
					 w.store, 0, w.cut.header[0], &next,
					 NULL),
				 HVREPL_OK);
		w.cut.chunks[0][0][w.cut.lengths[0][0] - 1] ^= 4;
		ck_assert_int_eq(hvri_store_segment_append(
					 w.store, 0, w.cut.chunks[0][0],
					 w.cut.lengths[0][0]),
				 HVREPL_E_CORRUPT);
		w.cut.chunks[0][0][w.cut.lengths[0][0] - 1] ^= 4;
	}
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	world_check(&w);
}
END_TEST

START_TEST(zeroes_and_holes_cost_nothing_on_disk)
{
	uint64_t before;

	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	memset(&w.primary, 0, sizeof(w.primary));
	w.change_blocks = 0;
	world_make_cut(&w);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	before = sim_storage_used(w.storage);
	ck_assert_uint_lt(before, 16384);
	world_check(&w);
}
END_TEST

START_TEST(numbers_of_another_epoch_may_be_lower)
{
	struct hvri_store_point_commit tail = { .number = 57 };
	uint64_t key, next_key;
	struct hvri_store_point_commit lower = { .number = 51 };

	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(hvri_store_adopt(w.store, &tail, &key, NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(key, 57);
	for (unsigned d = 0; d < WORLD_DISKS; d++) {
		struct hvri_segment_header header = {
			.identity = { .vm = w.vm, .disk = w.disks[d],
				      .cut = { { 3 } }, .from_point = 57,
				      .to_point = 51 },
			.disk_size = w.sizes[d], .block_size = 512,
		};
		struct hvri_segment_root root;
		uint8_t bytes[HVRI_SEGMENT_HEADER_SIZE], digest[32];
		uint32_t next;

		hvri_segment_header_encode(&header, bytes);
		ck_assert_int_eq(hvri_segment_root_begin(&root, &header),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_segment_root_end(&root, digest),
				 HVREPL_OK);
		hvri_segment_root_free(&root);
		ck_assert_int_eq(hvri_store_segment_begin(w.store, d, bytes,
							  &next, NULL),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_store_segment_end(w.store, d, 0, digest),
				 HVREPL_OK);
	}
	lower.cut.bytes[0] = 3;
	ck_assert_int_eq(hvri_store_point_commit(w.store, &lower, &next_key,
						 NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(next_key, 58);
}
END_TEST

START_TEST(the_owners_blob_is_kept)
{
	uint8_t blob[5000], back[6000];
	uint32_t length = sizeof(back);

	begin(true);
	test_fill(blob, sizeof(blob), 1);
	ck_assert_int_eq(hvri_store_set_blob(w.store, blob, sizeof(blob)),
			 HVREPL_OK);
	for (unsigned i = 0; i < 400; i++) {
		blob[7] = (uint8_t)i;
		ck_assert_int_eq(hvri_store_set_blob(w.store, blob,
						     sizeof(blob)),
				 HVREPL_OK);
	}
	/* Checkpoints kept the log short. */
	ck_assert_uint_lt(sim_storage_used(w.storage), 3u << 20);
	reopen();
	ck_assert_int_eq(hvri_store_blob(w.store, back, &length), HVREPL_OK);
	ck_assert_uint_eq(length, sizeof(blob));
	ck_assert_mem_eq(back, blob, sizeof(blob));
	length = 10;
	ck_assert_int_eq(hvri_store_blob(w.store, back, &length),
			 HVREPL_E_LIMIT);
	world_check(&w);
}
END_TEST

START_TEST(a_store_is_opened_only_with_its_own_disks)
{
	begin(false);
	world_close(&w);
	ck_assert_int_eq(world_open(&w, true), HVREPL_E_EXISTS);
	w.options.vm.bytes[0] ^= 1;
	ck_assert_int_eq(world_open(&w, false), HVREPL_E_WRONG_DISK);
	w.options.vm.bytes[0] ^= 1;
	w.disks[1].bytes[9] ^= 1;
	ck_assert_int_eq(world_open(&w, false), HVREPL_E_WRONG_DISK);
	w.disks[1].bytes[9] ^= 1;
	w.bases[0] = sim_disk_new(&w.sim, w.sizes[0] + 4096);
	ck_assert_int_eq(world_open(&w, false), HVREPL_E_WRONG_DISK);
	ck_assert_uint_eq(w.bases[0]->released, 1);
}
END_TEST

START_TEST(a_lower_fencing_token_is_refused_and_a_second_opener_stops_the_first)
{
	hvrepl_store *first;

	w.options.fencing_token = 5;
	begin(false);
	first = w.store;
	w.options.fencing_token = 4;
	ck_assert_int_eq(world_open(&w, false), HVREPL_E_FENCED);
	w.options.fencing_token = 6;
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	ck_assert_int_eq(hvri_store_set_blob(first, "x", 1), HVREPL_E_FENCED);
	ck_assert_int_eq(hvri_store_set_blob(w.store, "y", 1), HVREPL_OK);
	ck_assert_int_eq(hvri_store_destroy(first), HVREPL_OK);
}
END_TEST

START_TEST(removing_a_store_leaves_nothing)
{
	struct hvrepl_storage storage;

	begin(false);
	send(3);
	world_close(&w);
	storage = sim_storage_handle(w.storage);
	ck_assert_int_eq(hvrepl_store_remove(&w.env.env, &storage, NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(sim_storage_objects(w.storage), 0);
	ck_assert_int_eq(world_open(&w, false), HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store");
	TCase *tcase = tcase_create("store");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, every_received_point_reads_back);
	tcase_add_test(tcase, twenty_four_points_survive_merging_to_the_newest);
	tcase_add_test(tcase, base_at_the_oldest_point_needs_no_undo);
	tcase_add_test(tcase, steps_of_merging_keep_all_points_exact);
	tcase_add_test(tcase, dropping_and_joining_keep_the_other_points_exact);
	tcase_add_test(tcase,
		       pinned_viewed_and_newest_points_cannot_be_dropped);
	tcase_add_test(tcase, test_failover_changes_nothing_but_its_own_view);
	tcase_add_test(tcase,
		       failover_overlay_survives_a_restart_and_cancel_forgets_it);
	tcase_add_loop_test(tcase, commit_makes_the_base_the_guests_disk, 0, 9);
	tcase_add_loop_test(tcase, cancel_while_folding_restores_every_point, 0,
			    20);
	tcase_add_test(tcase,
		       every_step_of_a_commit_shows_the_guest_its_writes);
	tcase_add_loop_test(
		tcase,
		changed_ranges_name_all_that_differs_from_the_newest_point, 0,
		2);
	tcase_add_test(tcase, segments_resume_only_under_the_same_cut);
	tcase_add_test(tcase, segments_of_another_disk_or_history_are_refused);
	tcase_add_test(tcase, zeroes_and_holes_cost_nothing_on_disk);
	tcase_add_test(tcase, numbers_of_another_epoch_may_be_lower);
	tcase_add_test(tcase, the_owners_blob_is_kept);
	tcase_add_test(tcase, a_store_is_opened_only_with_its_own_disks);
	tcase_add_test(
		tcase,
		a_lower_fencing_token_is_refused_and_a_second_opener_stops_the_first);
	tcase_add_test(tcase, removing_a_store_leaves_nothing);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
