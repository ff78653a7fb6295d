/* SPDX-License-Identifier: Apache-2.0 */
/* What a store makes of segments that do not belong where they come, of what an ended
 * process left of them, and of the first content when writing it down fails. */
#include "storeworld.h"

#include "base/digest.h"
#include "store/container.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct world w;

static void setup(void)
{
	world_init(&w, 14);
	w.change_blocks = 16;
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
}

static void teardown(void)
{
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
}

/* A replica with a pending cut of at least three chunks of the first disk. */
static void replica(void)
{
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_send(&w), HVREPL_OK);
	world_make_cut(&w);
	while (w.cut.counts[0] < 3 || w.cut.counts[1] < 2) {
		ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
		world_make_cut(&w);
	}
}

static void kill_and_open(void)
{
	w.sim.crashed = true;
	world_abandon(&w);
	sim_restart(&w.sim, false);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
}

static struct hvri_segment_header header_of(unsigned disk)
{
	struct hvri_segment_header header;

	ck_assert_int_eq(hvri_segment_header_decode(w.cut.header[disk], &header),
			 HVREPL_OK);
	return header;
}

static int32_t begin_with(unsigned disk, const struct hvri_segment_header *header,
			  uint32_t *next)
{
	uint8_t bytes[HVRI_SEGMENT_HEADER_SIZE];
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc;

	hvri_segment_header_encode(header, bytes);
	rc = hvri_store_segment_begin(w.store, disk, bytes, next, &error);
	if (rc < 0 && rc != HVREPL_E_NOMEM)
		ck_assert_str_ne(error.sentence, "");
	return rc;
}

static int32_t append(unsigned disk, uint32_t i)
{
	return hvri_store_segment_append(w.store, disk, w.cut.chunks[disk][i],
					 w.cut.lengths[disk][i]);
}

START_TEST(segments_that_cannot_be_received_are_refused)
{
	struct hvri_segment_header header;
	uint32_t next;

	replica();
	header = header_of(0);
	memset(&header.identity.cut, 0, sizeof(header.identity.cut));
	ck_assert_int_eq(begin_with(0, &header, &next), HVREPL_E_INVALID);
	world_close(&w);
	w.bases[0]->block_size = 4096;
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	header = header_of(0);
	ck_assert_int_eq(begin_with(0, &header, &next), HVREPL_E_INVALID);
	header.block_size = 4096;
	ck_assert_int_eq(begin_with(0, &header, &next), HVREPL_OK);
	ck_assert_int_eq(hvri_store_segments_drop(w.store), HVREPL_OK);
	world_close(&w);
	w.bases[0]->block_size = 512;
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	world_check(&w);
}
END_TEST

START_TEST(who_owns_the_disks_or_commits_receives_nothing)
{
	struct hvri_segment_header header;
	uint32_t next, more = 1;

	replica();
	header = header_of(0);
	ck_assert_int_eq(world_failover(&w, world_newest(&w)->key), HVREPL_OK);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(world_guest_write(&w), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_begin(w.store, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_advance(w.store, &more, NULL),
			 HVREPL_OK);
	ck_assert_uint_gt(w.store->state.commit, HVRI_COMMIT_OVERLAY);
	ck_assert_int_eq(begin_with(0, &header, &next), HVREPL_E_STATE);
	ck_assert_int_eq(world_commit(&w), HVREPL_OK);
	ck_assert_uint_eq(w.store->state.phase, HVRI_MANIFEST_BASE_ONLY);
	ck_assert_int_eq(begin_with(0, &header, &next), HVREPL_E_STATE);
	world_check_guest(&w, false);
}
END_TEST

START_TEST(chunks_come_in_their_order_and_none_behind_the_end)
{
	struct hvri_segment_header header;
	struct hvri_segment_root root;
	struct hvri_chunk chunk;
	uint8_t one[32], wrong[32] = { 0 };
	uint32_t next;

	replica();
	header = header_of(0);
	ck_assert_int_eq(append(0, 0), HVREPL_E_STATE);
	ck_assert_int_eq(hvri_store_segment_end(w.store, 0, 0, wrong),
			 HVREPL_E_STATE);
	ck_assert_int_eq(begin_with(0, &header, &next), HVREPL_OK);
	ck_assert_int_eq(append(1, 0), HVREPL_E_STATE);
	ck_assert_int_eq(append(0, 1), HVREPL_E_PROTOCOL);
	ck_assert_int_eq(append(0, 0), HVREPL_OK);
	/* A whole segment of one chunk; the next one of the cut comes too late. */
	ck_assert_int_eq(hvri_chunk_decode(&header, w.cut.chunks[0][0],
					   w.cut.lengths[0][0], &chunk),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_segment_root_begin(&root, &header), HVREPL_OK);
	ck_assert_int_eq(hvri_segment_root_add(&root, chunk.stored_digest),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_segment_root_end(&root, one), HVREPL_OK);
	hvri_segment_root_free(&root);
	ck_assert_int_eq(hvri_store_segment_end(w.store, 0, 1, one), HVREPL_OK);
	ck_assert_int_eq(hvri_store_segment_end(w.store, 0, 1, one), HVREPL_OK);
	ck_assert_int_eq(append(0, 1), HVREPL_E_PROTOCOL);
	ck_assert_int_eq(append(0, 0), HVREPL_OK); /* It is here. */
	/* An end that is wrong: all of it is fetched again. */
	header = header_of(1);
	ck_assert_int_eq(begin_with(1, &header, &next), HVREPL_OK);
	ck_assert_int_eq(hvri_store_segment_end(w.store, 1, 7, wrong),
			 HVREPL_E_CORRUPT);
	ck_assert_int_eq(append(1, 0), HVREPL_E_STATE);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	world_check(&w);
}
END_TEST

START_TEST(a_segment_that_could_not_begin_leaves_nothing_to_drop)
{
	replica();
	for (uint64_t n = 0;; n++) {
		struct hvri_segment_header header = header_of(0);
		uint32_t next;
		int32_t rc;

		w.sim.failed = 0;
		w.sim.fail_code = HVREPL_E_NO_SPACE;
		w.sim.fail_at = w.sim.call_count + n;
		rc = begin_with(0, &header, &next);
		w.sim.fail_at = UINT64_MAX;
		ck_assert_int_eq(rc, w.sim.failed > 0 ? HVREPL_E_NO_SPACE :
							HVREPL_OK);
		ck_assert_int_eq(hvri_store_segments_drop(w.store), HVREPL_OK);
		if (w.sim.failed == 0)
			break;
	}
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	world_check(&w);
}
END_TEST

/* Dropping what was received fails: nobody knows what is there. */
START_TEST(what_cannot_be_dropped_poisons)
{
	for (unsigned i = 0; i < 4; i++) {
		struct hvri_segment_header header;
		uint8_t wrong[32] = { 0 };
		uint32_t next;
		int32_t rc;

		if (i > 0)
			setup();
		replica();
		ck_assert_int_eq(world_send_part(&w), HVREPL_OK);
		header = header_of(0);
		header.identity.cut.bytes[3] ^= 1;
		w.sim.fail_code = HVREPL_E_STORAGE_IO;
		/* The head is not looked at: nothing is recorded. */
		w.sim.fail_at = w.sim.call_count;
		rc = i == 0 ? begin_with(0, &header, &next) :
		     i == 1 ? hvri_store_segment_end(w.store, 0, 99, wrong) :
		     i == 2 ? hvri_store_segment_end(w.store, 0, 1, wrong) :
			      hvri_store_segments_drop(w.store);
		ck_assert_int_eq(rc, HVREPL_E_STORAGE_IO);
		ck_assert_int_eq(hvri_store_flush(w.store), HVREPL_E_POISONED);
		world_close(&w);
		ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
		ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
		world_check(&w);
		if (i < 3)
			teardown();
	}
}
END_TEST

/* ---- the first content ---- */

START_TEST(the_first_content_is_resumed_under_the_same_identity_only)
{
	for (unsigned i = 0; i < 5; i++) {
		struct hvri_segment_header header;
		struct hvri_store_partial partial;
		uint32_t next = 99;

		if (i > 0)
			setup();
		world_make_cut_of(&w, 0, WORLD_SIZE_MAX);
		ck_assert_int_eq(world_send_part(&w), HVREPL_OK);
		kill_and_open();
		header = header_of(0);
		if (i == 1)
			header.identity.epoch.bytes[0] ^= 1;
		if (i == 2)
			header.identity.from_point += 1;
		if (i == 3)
			header.identity.to_point += 1;
		if (i == 4)
			header.identity.cut.bytes[9] ^= 1;
		/* Without memory for a chunk it is asked for once more. */
		w.env.alloc_fail_at = 0;
		ck_assert_int_eq(begin_with(0, &header, &next), HVREPL_E_NOMEM);
		w.env.alloc_fail_at = -1;
		ck_assert_int_eq(begin_with(0, &header, &next), HVREPL_OK);
		ck_assert_uint_eq(next, i == 0 ? 1 : 0);
		ck_assert_int_eq(hvri_store_partial(w.store, 0, &partial),
				 HVREPL_OK);
		ck_assert_mem_eq(&partial.identity.cut, &header.identity.cut, 16);
		ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
		world_check(&w);
		if (i < 4)
			teardown();
	}
}
END_TEST

static int32_t whole_window(void)
{
	uint64_t frontiers[WORLD_DISKS] = { 32768, 32768 };

	for (unsigned d = 0; d < WORLD_DISKS; d++) {
		uint32_t next;

		HVRI_TRY(hvri_store_segment_begin(w.store, d, w.cut.header[d],
						  &next, NULL));
		for (uint32_t i = next; i < w.cut.counts[d]; i++)
			HVRI_TRY(append(d, i));
		HVRI_TRY(hvri_store_segment_end(w.store, d, w.cut.counts[d],
						w.cut.root[d]));
	}
	return hvri_store_window_commit(w.store, &w.cut.cut, frontiers, NULL);
}

START_TEST(a_window_that_fails_anywhere_is_sent_again)
{
	bool failed = true;

	for (uint64_t n = 0; failed; n++) {
		struct hvri_store_partial partial;
		int32_t rc;

		if (n > 0)
			setup();
		world_make_cut_of(&w, 0, 32768);
		w.sim.failed = 0;
		w.sim.fail_code = HVREPL_E_DISK_IO;
		w.sim.fail_at = w.sim.call_count + n;
		rc = whole_window();
		failed = w.sim.failed > 0;
		w.sim.fail_at = UINT64_MAX;
		ck_assert_int_eq(rc < 0, failed);
		if (failed) {
			world_close(&w);
			ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
			rc = hvri_store_partial(w.store, 0, &partial);
			/* All of it or nothing is known to be there. */
			ck_assert(partial.frontier == 0 ||
				  partial.frontier == 32768);
			ck_assert_int_eq(whole_window(), HVREPL_OK);
		}
		kill_and_open();
		(void)!hvri_store_partial(w.store, 0, &partial);
		ck_assert_uint_eq(partial.frontier, 32768);
		free(w.cut.image);
		w.cut.pending = false;
		w.last_number = 0;
		world_make_cut_of(&w, 0, WORLD_SIZE_MAX);
		ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
		world_check(&w);
		if (failed)
			teardown();
	}
}
END_TEST

/* A chunk of which only the raw bytes are not what they were signed as. */
static void forge_raw(unsigned disk, uint8_t *chunk, uint32_t length)
{
	struct hvri_segment_header header = header_of(disk);
	uint8_t identity[HVRI_IDENTITY_SIZE];
	struct hvri_part parts[3] = { { identity, sizeof(identity) },
				      { chunk, 40 },
				      { chunk + 56, length - 56 } };

	chunk[length - 1] ^= 1;
	hvri_segment_identity_encode(&header.identity, identity);
	hvri_xxh3(parts, 3, chunk + 40);
}

START_TEST(a_chunk_whose_raw_bytes_are_others_gets_not_into_the_base)
{
	static const struct world_change data = { 0, 0, 4096, false };
	struct hvri_segment_header header;
	uint32_t next;

	world_make_cut_with(&w, &data, 1);
	header = header_of(0);
	ck_assert_int_eq(begin_with(0, &header, &next), HVREPL_OK);
	forge_raw(0, w.cut.chunks[0][0], w.cut.lengths[0][0]);
	ck_assert_int_eq(append(0, 0), HVREPL_E_CORRUPT);
	ck_assert(hvri_is_zero(sim_disk_bytes(w.bases[0]), w.sizes[0]));
	forge_raw(0, w.cut.chunks[0][0], w.cut.lengths[0][0]);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	world_check(&w);
}
END_TEST

/* ---- what is left of it ---- */

static void frame(uint16_t type, uint16_t disk, const void *payload,
		  size_t length)
{
	uint64_t position;

	ck_assert_int_eq(hvri_container_append(w.store->receive.container, type,
					       disk, payload, length, &position),
			 HVREPL_OK);
}

static void end_frame(uint16_t disk, uint32_t count, const uint8_t root[32],
		      size_t length)
{
	uint8_t payload[HVRI_FRAME_END_PAYLOAD + 8] = { 0 };

	for (unsigned i = 0; i < 4; i++)
		payload[i] = (uint8_t)(count >> (8 * i));
	memcpy(payload + 8, root, 32);
	frame(HVRI_FRAME_END, disk, payload, length);
}

static void odd_frames(int which)
{
	struct hvri_segment_header other = header_of(1);
	uint8_t bytes[HVRI_SEGMENT_HEADER_SIZE], wrong[32] = { 9 };
	const size_t whole = HVRI_FRAME_END_PAYLOAD;

	switch (which) {
	case 0:
		frame(HVRI_FRAME_SEGMENT, 1, w.cut.header[1], 90);
		break;
	case 1:
		frame(HVRI_FRAME_SEGMENT, 0, w.cut.header[0], sizeof(bytes));
		break;
	case 2: /* Of another cut than what came before. */
		other.identity.cut.bytes[0] ^= 1;
		hvri_segment_header_encode(&other, bytes);
		frame(HVRI_FRAME_SEGMENT, 1, bytes, sizeof(bytes));
		break;
	case 3: /* Of another VM, disk, size. */
	case 4:
	case 5:
		if (which == 3)
			other.identity.vm.bytes[0] ^= 1;
		if (which == 4)
			other.identity.disk.bytes[0] ^= 1;
		if (which == 5)
			other.disk_size += 512;
		hvri_segment_header_encode(&other, bytes);
		frame(HVRI_FRAME_SEGMENT, 1, bytes, sizeof(bytes));
		break;
	case 6:
		frame(HVRI_FRAME_CHUNK, 1, w.cut.chunks[1][0],
		      w.cut.lengths[1][0]);
		break;
	case 7: /* Out of its order. */
		frame(HVRI_FRAME_CHUNK, 0, w.cut.chunks[0][2],
		      w.cut.lengths[0][2]);
		break;
	case 8: /* No chunk at all. */
		frame(HVRI_FRAME_CHUNK, 0, w.cut.header[0], sizeof(bytes));
		break;
	case 9:
		end_frame(0, 1, wrong, whole - 8);
		break;
	case 10:
		end_frame(1, 0, wrong, whole);
		break;
	case 11:
		end_frame(0, 2, wrong, whole);
		break;
	case 12:
		end_frame(0, 1, wrong, whole);
		break;
	case 13:
		frame(HVRI_FRAME_SEAL, 0, NULL, 0);
		break;
	case 14:
		frame(HVRI_FRAME_SEGMENT, WORLD_DISKS, w.cut.header[1],
		      sizeof(bytes));
		break;
	default: /* Behind the end of the segment. */
		for (uint32_t i = 1; i < w.cut.counts[0]; i++)
			ck_assert_int_eq(append(0, i), HVREPL_OK);
		ck_assert_int_eq(hvri_store_segment_end(w.store, 0,
							w.cut.counts[0],
							w.cut.root[0]),
				 HVREPL_OK);
		if (which == 15)
			frame(HVRI_FRAME_CHUNK, 0, w.cut.chunks[0][0],
			      w.cut.lengths[0][0]);
		else
			end_frame(0, w.cut.counts[0], w.cut.root[0], whole);
		break;
	}
}
#define ODD_FRAMES 17

/* Signed, and not what a store appends there: none of it is believed beyond that,
 * and the cut is sent again. */
START_TEST(frames_that_do_not_follow_are_not_believed)
{
	struct hvri_segment_header header;
	uint32_t next;

	replica();
	header = header_of(0);
	ck_assert_int_eq(begin_with(0, &header, &next), HVREPL_OK);
	ck_assert_int_eq(append(0, 0), HVREPL_OK);
	ck_assert_int_eq(hvri_store_flush(w.store), HVREPL_OK);
	odd_frames(_i);
	/* A later batch shows that they were flushed: no torn tail. */
	ck_assert_int_eq(hvri_container_flush(w.store->receive.container),
			 HVREPL_OK);
	frame(HVRI_FRAME_SEAL, 0, NULL, 0);
	ck_assert_int_eq(hvri_container_flush(w.store->receive.container),
			 HVREPL_OK);
	kill_and_open();
	world_check(&w);
	ck_assert_int_eq(begin_with(0, &header, &next), HVREPL_OK);
	ck_assert_uint_eq(next, 0);
	ck_assert_int_eq(world_send_cut(&w), HVREPL_OK);
	world_check(&w);
}
END_TEST

START_TEST(a_container_that_lost_points_is_damage)
{
	struct hvrepl_storage storage;
	char id[HVREPL_OBJECT_ID_MAX + 1];
	void *object;

	replica();
	ck_assert_uint_gt(w.store->state.receiving_tail, HVRI_CONTAINER_PAGE);
	snprintf(id, sizeof(id), HVRI_CONTAINER_PREFIX "%016llx",
		 (unsigned long long)w.store->state.receiving);
	/* Merged away: no index is read of it before the tail is looked at. */
	w.options.points_max = 0;
	w.store->options.points_max = 0;
	ck_assert_int_eq(world_maintain(&w), HVREPL_OK);
	ck_assert_uint_eq(w.store->state.redo_count, 0);
	world_close(&w);
	storage = sim_storage_handle(w.storage);
	ck_assert_int_eq(storage.ops->open(storage.user, id, 0, &object),
			 HVREPL_OK);
	ck_assert_int_eq(storage.ops->resize(storage.user, object,
					     HVRI_CONTAINER_PAGE),
			 HVREPL_OK);
	storage.ops->close(storage.user, object);
	ck_assert_int_eq(world_open(&w, false), HVREPL_E_TRUNCATED);
}
END_TEST

/* A volume that is full of what nobody needs any more is not full: the room lies in
 * the container that receives. */
START_TEST(dead_bytes_in_the_container_that_receives_make_room)
{
	w.options.container_bytes = 16u << 20;
	w.options.points_max = (uint32_t)_i;
	w.options.base_at = (uint32_t)_i;
	world_close(&w);
	w.storage->capacity = 900u << 10;
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, true), HVREPL_OK);
	for (unsigned i = 0; i < 60; i++) {
		int32_t rc, upkeep;

		/* Without memory for another container, once more. */
		w.env.alloc_fail_at = 0;
		rc = world_send(&w);
		w.env.alloc_fail_at = -1;
		if (rc == HVREPL_E_NOMEM)
			rc = world_send(&w);
		w.full = true;
		upkeep = world_maintain(&w);
		ck_assert(upkeep == HVREPL_OK || upkeep == HVREPL_E_NO_SPACE);
		if (rc == HVREPL_E_NO_SPACE)
			rc = world_send(&w);
		ck_assert_msg(rc == HVREPL_OK, "cut %u: %d", i, rc);
		world_check(&w);
	}
}
END_TEST

START_TEST(a_disk_in_use_does_not_become_a_point)
{
	struct hvri_store_point_commit commit = { .number = 3 };
	hvrepl_view *view;
	uint64_t key;

	ck_assert_int_eq(hvri_store_adopt(w.store, &commit, &key, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_view_open(w.store, key, HVREPL_VIEW_READ_ONLY,
					  &view, NULL),
			 HVREPL_OK);
	commit.number = 4;
	ck_assert_int_eq(hvri_store_adopt(w.store, &commit, NULL, NULL),
			 HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	commit.config = "";
	commit.config_length = HVREPL_CONFIG_MAX + 1;
	ck_assert_int_eq(hvri_store_adopt(w.store, &commit, NULL, NULL),
			 HVREPL_E_LIMIT);
	commit.config_length = 0;
	ck_assert_int_eq(hvri_store_adopt(w.store, &commit, NULL, NULL),
			 HVREPL_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("receiving");
	TCase *tcase = tcase_create("receiving");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, segments_that_cannot_be_received_are_refused);
	tcase_add_test(tcase, who_owns_the_disks_or_commits_receives_nothing);
	tcase_add_test(tcase, chunks_come_in_their_order_and_none_behind_the_end);
	tcase_add_test(tcase,
		       a_segment_that_could_not_begin_leaves_nothing_to_drop);
	tcase_add_test(tcase, what_cannot_be_dropped_poisons);
	tcase_add_test(tcase,
		       the_first_content_is_resumed_under_the_same_identity_only);
	tcase_add_test(tcase, a_window_that_fails_anywhere_is_sent_again);
	tcase_add_test(tcase,
		       a_chunk_whose_raw_bytes_are_others_gets_not_into_the_base);
	tcase_add_loop_test(tcase, frames_that_do_not_follow_are_not_believed, 0,
			    ODD_FRAMES);
	tcase_add_test(tcase, a_container_that_lost_points_is_damage);
	tcase_add_loop_test(tcase,
			    dead_bytes_in_the_container_that_receives_make_room,
			    0, 2);
	tcase_add_test(tcase, a_disk_in_use_does_not_become_a_point);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
