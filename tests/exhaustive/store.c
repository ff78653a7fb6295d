/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store alone: two disks of eight blocks, points received, merged, given
 * up, failed over to, written on, committed, cancelled, and received again.
 */
#include "exhaustive.h"

#include "simimage.h"
#include "storeworld.h"

#include "store/view.h"

#include <string.h>

#define BLOCK 4096u /* Of an overlay, and what a cut is made of. */
#define SIZE_0 (8u * BLOCK)
#define SIZE_1 (8u * BLOCK - SIM_SECTOR)
#define ROW SIZE_0 /* Of an image that is used. */

static struct world w;
static uint8_t blob_said, blob_tried;

static struct {
	struct world_point points[WORLD_POINTS];
	uint32_t point_count;
	uint64_t last_number, random, failover_key;
	struct world_cut cut;
	bool failover, maintaining, direct;
	uint8_t guest[WORLD_DISKS][ROW], loose[WORLD_DISKS][ROW / SIM_SECTOR];
	uint8_t primary[WORLD_DISKS][ROW];
	uint8_t blob_said, blob_tried;
} kept;

enum {
	FIRST,
	ADOPT,
	RECEIVE,
	RECEIVE_OVER,
	RECEIVE_PART,
	MERGE,
	MERGE_STEP,
	DROP,
	COMPACT,
	MAINTAIN,
	FAILOVER,
	FAILOVER_OLD,
	WRITE,
	WRITE_UNALIGNED,
	DISCARD,
	FLUSH,
	COMMIT,
	COMMIT_STEP,
	CANCEL,
	TEST_FAILOVER,
	REOPEN,
	BLOB,
	PIN,
	RESIZE,
	LOSE,
	OPS
};

static const char *const op_names[OPS] = {
	[FIRST] = "initial replication",
	[ADOPT] = "the base becomes a point",
	[RECEIVE] = "receive a point, aligned",
	[RECEIVE_OVER] = "receive a point, unaligned, overlapping",
	[RECEIVE_PART] = "receive half a point",
	[MERGE] = "merge",
	[MERGE_STEP] = "one step of a merge",
	[DROP] = "give up a point",
	[COMPACT] = "compact",
	[MAINTAIN] = "upkeep",
	[FAILOVER] = "failover at the newest point",
	[FAILOVER_OLD] = "failover at an older point",
	[WRITE] = "guest writes, aligned",
	[WRITE_UNALIGNED] = "guest writes, unaligned, overlapping",
	[DISCARD] = "guest discards",
	[FLUSH] = "guest flushes",
	[COMMIT] = "commit",
	[COMMIT_STEP] = "one step of a commit",
	[CANCEL] = "cancel",
	[TEST_FAILOVER] = "test failover",
	[REOPEN] = "close, open",
	[BLOB] = "save the ownership record",
	[PIN] = "pin the oldest point",
	[RESIZE] = "open with a base of another size",
	[LOSE] = "the next write of an overlay's map will be lost",
};

static const char *const prefix_names[] = {
	"an empty store",
	"three points",
	"three points, the first merged",
	"failed over, written, flushed",
	"a commit half way",
};

/* The constants of the store smaller, so that there are many steps. */
static int32_t open_store(bool create)
{
	int32_t rc = world_open(&w, create);

	if (rc == HVREPL_OK) {
		w.store->piece_bytes = 3 * BLOCK;
		w.store->switch_bytes = 2 * BLOCK;
		w.store->refreeze_bytes = 2 * BLOCK;
	}
	return rc;
}

/* A refusal changes nothing; finish() sees to it. */
static enum done result(int32_t rc)
{
	if (rc == HVREPL_OK || w.sim.crashed)
		return DONE;
	ck_assert_msg(rc == HVREPL_E_STATE || rc == HVREPL_E_BUSY ||
			      rc == HVREPL_E_NOT_FOUND ||
			      rc == HVREPL_E_INVALID,
		      "it gives %d", rc);
	return NOT_NOW;
}

static bool receiving(void)
{
	return w.store->state.commit == HVRI_COMMIT_NONE &&
	       w.store->state.phase == HVRI_MANIFEST_REPLICA;
}

static enum done receive(bool over)
{
	static const struct world_change aligned[] = {
		{ 0, BLOCK, 2 * BLOCK, false },
		{ 0, 5 * BLOCK, BLOCK, true },
		{ 1, 2 * BLOCK, BLOCK, false },
	};
	static const struct world_change unaligned[] = {
		{ 0, BLOCK + SIM_SECTOR, 3 * SIM_SECTOR, false },
		{ 1, SIZE_1 - SIM_SECTOR, SIM_SECTOR, false },
		{ 1, 2 * BLOCK, SIM_SECTOR, true },
	};

	if (!receiving())
		return NOT_NOW;
	if (!w.cut.pending)
		world_make_cut_with(&w, over ? unaligned : aligned, 3);
	return result(world_send_cut(&w));
}

static enum done receive_part(void)
{
	static const struct world_change changes[] = {
		{ 0, 0, BLOCK, false },
		{ 1, 3 * BLOCK, 3 * BLOCK, false },
	};

	if (!receiving() || w.cut.pending)
		return NOT_NOW;
	world_make_cut_with(&w, changes, 2);
	return result(world_send_part(&w));
}

static enum done first(bool adopt)
{
	if (w.store->state.phase == HVRI_MANIFEST_BASE_ONLY) {
		if (!adopt)
			return NOT_NOW;
		if (w.view != NULL && world_guest_flush(&w) < 0)
			return result(HVREPL_E_BUSY);
		world_view_close(&w);
		return result(world_adopt_base(&w));
	}
	if (w.point_count > 0)
		return NOT_NOW;
	if (w.cut.pending && !adopt)
		return result(world_send_cut(&w));
	return result(world_first_point(&w, adopt));
}

static uint64_t older(void)
{
	uint32_t n = 0;

	while (world_kept(&w, n) != NULL)
		n++;
	return n < 2 ? 0 : world_kept(&w, n - 2)->key;
}

static enum done merge(bool whole)
{
	uint32_t more = 1;
	int32_t rc = HVREPL_OK;

	if (!receiving() || world_newest(&w) == NULL)
		return NOT_NOW;
	if (w.store->state.merge_target == 0) {
		if (w.store->state.base >= world_newest(&w)->key)
			return NOT_NOW;
		rc = hvri_store_merge_begin(w.store, world_newest(&w)->key,
					    NULL);
	}
	while (rc == HVREPL_OK && more != 0) {
		rc = hvri_store_merge_advance(w.store, &more, NULL);
		if (!whole)
			break;
	}
	return result(rc);
}

static enum done drop(void)
{
	struct world_point *point = world_kept(&w, 0);

	bool pinned;
	int32_t rc;

	if (point == NULL || point == world_newest(&w))
		return NOT_NOW;
	pinned = point->pinned;
	rc = world_drop(&w, point->key);
	showing(19);
	ck_assert_msg(!pinned || rc == HVREPL_E_BUSY || w.sim.crashed,
		      "a pinned point is given up: %d", rc);
	return result(rc);
}

static enum done compact(void)
{
	uint32_t more = 1;
	int32_t rc = HVREPL_OK;

	while (rc == HVREPL_OK && more != 0)
		rc = hvri_store_compact(w.store, &more);
	return result(rc);
}

static enum done failover(uint64_t key)
{
	if (key == 0 || w.view != NULL || w.failover)
		return NOT_NOW;
	return result(world_failover(&w, key));
}

static enum done guest(unsigned d, uint64_t at, uint64_t length, bool zero)
{
	if (w.view == NULL)
		return NOT_NOW;
	return result(world_guest_change(&w, d, at, length, zero));
}

static enum done commit(bool whole)
{
	uint32_t more = 1;
	int32_t rc;

	if (w.view == NULL ||
	    w.store->state.phase == HVRI_MANIFEST_BASE_ONLY)
		return NOT_NOW;
	rc = hvrepl_store_commit_begin(w.store, NULL);
	while (rc == HVREPL_OK && more != 0) {
		w.direct = true;
		rc = hvrepl_store_commit_advance(w.store, &more, NULL);
		if (!whole)
			break;
		if (rc == HVREPL_OK && more != 0)
			rc = world_guest_change(&w, 0, 6 * BLOCK, SIM_SECTOR,
						false);
	}
	if (rc == HVREPL_OK)
		world_settle(&w); /* Committed: its points are gone. */
	return result(rc);
}

static enum done cancel(void)
{
	if (!w.failover ||
	    w.store->state.phase == HVRI_MANIFEST_BASE_ONLY ||
	    w.store->state.commit == HVRI_COMMIT_SWITCHING)
		return NOT_NOW;
	return result(world_cancel(&w));
}

/* A view that writes and is thrown away; the point under it stays (G22). */
static enum done test_failover(void)
{
	const struct world_point *point = world_newest(&w);
	uint8_t bytes[BLOCK], back[3 * BLOCK];
	hvrepl_view *view = NULL;
	int32_t rc;

	if (!receiving() || point == NULL)
		return NOT_NOW;
	test_fill(bytes, sizeof(bytes), 99);
	rc = hvrepl_view_open(w.store, point->key, HVREPL_VIEW_SCRATCH, &view,
			      NULL);
	if (rc < 0)
		return result(rc);
	rc = hvri_view_write(view, 0, 2 * BLOCK, bytes, sizeof(bytes));
	if (rc == HVREPL_OK)
		rc = hvri_view_zero(view, 1, 0, BLOCK);
	if (rc == HVREPL_OK)
		rc = hvri_view_read(view, 0, BLOCK, back, sizeof(back));
	if (rc == HVREPL_OK) {
		showing(22);
		ck_assert_mem_eq(back, point->image->bytes[0] + BLOCK, BLOCK);
		ck_assert_mem_eq(back + BLOCK, bytes, BLOCK);
		ck_assert_mem_eq(back + 2 * BLOCK,
				 point->image->bytes[0] + 3 * BLOCK, BLOCK);
		proved(22);
	}
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	return result(rc);
}

static int32_t open_failover(void)
{
	if (w.store->state.commit == HVRI_COMMIT_NONE ||
	    w.store->state.commit == HVRI_COMMIT_RESTORING ||
	    w.store->state.phase == HVRI_MANIFEST_BASE_ONLY)
		return HVREPL_OK;
	return world_failover(&w, 0);
}

/* A base of another size is refused, and costs nothing. */
static enum done reopen(bool resized)
{
	static uint8_t loose[WORLD_DISKS][WORLD_SIZE_MAX / SIM_SECTOR];
	struct sim_image *image = w.bases[0]->image;
	int32_t rc;

	world_close(&w);
	if (resized) {
		sim_make_room(image, SIZE_0 + BLOCK);
		image->size = SIZE_0 + BLOCK;
		rc = world_open(&w, false);
		ck_assert_msg(rc == HVREPL_E_WRONG_DISK || w.sim.crashed,
			      "another size gives %d", rc);
		image->size = SIZE_0;
		proved(6);
	}
	rc = open_store(false);
	if (rc == HVREPL_OK)
		rc = open_failover();
	/* Closing is no flush (store.h): what was not flushed may be gone, and
	 * what is still there is not flushed yet. */
	if (rc == HVREPL_OK && w.failover) {
		memcpy(loose, w.loose, sizeof(loose));
		world_check_guest(&w, true);
		memcpy(w.loose, loose, sizeof(loose));
	}
	return result(rc);
}

static enum done set_blob(void)
{
	int32_t rc;

	blob_tried++;
	rc = hvri_store_set_blob(w.store, &blob_tried, 1);
	if (rc == HVREPL_OK)
		blob_said = blob_tried;
	return result(rc);
}

/* Of an overlay's map, which stands twice. */
static enum done lose(void)
{
	if (w.sim.stray != SIM_STRAY_NONE)
		return NOT_NOW;
	w.sim.stray = SIM_STRAY_LOST;
	w.sim.stray_at = w.sim.io_count;
	w.sim.stray_of = "store.map.";
	return DONE;
}

static enum done op(unsigned what)
{
	/* The store is closed in a workload that a crash ended. */
	if (w.store == NULL)
		return NOT_NOW;
	switch (what) {
	case FIRST:
	case ADOPT:
		return first(what == ADOPT);
	case RECEIVE:
	case RECEIVE_OVER:
		return receive(what == RECEIVE_OVER);
	case RECEIVE_PART:
		return receive_part();
	case MERGE:
	case MERGE_STEP:
		return merge(what == MERGE);
	case DROP:
		return drop();
	case COMPACT:
		return compact();
	case MAINTAIN:
		return result(world_maintain(&w));
	case FAILOVER:
		return failover(world_newest(&w) != NULL ?
					world_newest(&w)->key :
					0);
	case FAILOVER_OLD:
		return failover(older());
	case WRITE:
		return guest(0, 2 * BLOCK, BLOCK, false);
	case WRITE_UNALIGNED:
		return guest(0, 2 * BLOCK + SIM_SECTOR, 3 * SIM_SECTOR, false);
	case DISCARD:
		return guest(1, BLOCK, 3 * BLOCK, true);
	case FLUSH:
		return w.view == NULL ? NOT_NOW : result(world_guest_flush(&w));
	case COMMIT:
	case COMMIT_STEP:
		return commit(what == COMMIT);
	case CANCEL:
		return cancel();
	case TEST_FAILOVER:
		return test_failover();
	case REOPEN:
	case RESIZE:
		return reopen(what == RESIZE);
	case BLOB:
		return set_blob();
	case LOSE:
		return lose();
	default:
		return world_kept(&w, 0) == NULL ?
			       NOT_NOW :
			       result(world_pin(&w, world_kept(&w, 0), true));
	}
}

static void start(unsigned prefix)
{
	static const uint64_t sizes[WORLD_DISKS] = { SIZE_0, SIZE_1 };
	static const unsigned three[] = { ADOPT, RECEIVE, RECEIVE_OVER, OPS };
	static const unsigned merged[] = { ADOPT, RECEIVE, MERGE, RECEIVE_OVER,
					   OPS };
	static const unsigned over[] = { ADOPT, RECEIVE, RECEIVE_OVER,
					 FAILOVER_OLD, WRITE, DISCARD, FLUSH,
					 OPS };
	static const unsigned half[] = { ADOPT, RECEIVE, RECEIVE_OVER, FAILOVER,
					 WRITE, FLUSH, COMMIT_STEP,
					 WRITE_UNALIGNED, COMMIT_STEP, OPS };
	static const unsigned none[] = { OPS };
	static const unsigned *const prefixes[] = { none, three, merged, over,
						    half };

	world_init_sized(&w, 5, sizes);
	w.send_block = SIM_SECTOR;
	w.change_blocks = 1;
	w.options.points_max = 2;
	w.options.container_bytes = 16u << 10;
	blob_said = blob_tried = 0;
	showing(33);
	ck_assert_int_eq(open_store(true), HVREPL_OK);
	for (const unsigned *p = prefixes[prefix]; *p != OPS; p++)
		ck_assert_int_eq(op(*p), DONE);
}

static struct sim *sim(void)
{
	return &w.sim;
}

static void check_all(bool crashed)
{
	uint8_t blob = 0;
	uint32_t length = 1;

	showing(10);
	world_settle(&w);
	world_check(&w);
	proved(10);
	proved(11);
	proved(13);
	proved(14);
	proved(19);
	showing(21);
	ck_assert_int_eq(hvri_store_blob(w.store, &blob, &length), HVREPL_OK);
	if (length == 1) {
		ck_assert(blob == blob_said || blob == blob_tried);
		if (crashed)
			blob_said = blob_tried = blob;
		proved(21);
	} else {
		ck_assert_uint_eq(blob_said, 0);
	}
	if (!w.failover)
		return;
	showing(12);
	world_check_guest(&w, crashed);
	proved(12);
}

static void finish(void)
{
	if (w.store != NULL) {
		check_all(false);
		world_close(&w);
	}
}

static void kill_it(void)
{
	bool was = w.sim.crashed;

	w.sim.crashed = true;
	world_abandon(&w);
	w.sim.crashed = was;
	ck_assert_int_eq(w.env.alloc_live, 0);
}

static void remember(void)
{
	memcpy(kept.points, w.points, w.point_count * sizeof(w.points[0]));
	kept.point_count = w.point_count;
	kept.last_number = w.last_number;
	kept.random = w.random;
	kept.failover_key = w.failover_key;
	kept.cut = w.cut;
	kept.failover = w.failover;
	kept.maintaining = w.maintaining;
	kept.direct = w.direct;
	for (unsigned d = 0; d < WORLD_DISKS; d++) {
		memcpy(kept.guest[d], w.guest.bytes[d], ROW);
		memcpy(kept.primary[d], w.primary.bytes[d], ROW);
		memcpy(kept.loose[d], w.loose[d], sizeof(kept.loose[d]));
	}
	kept.blob_said = blob_said;
	kept.blob_tried = blob_tried;
}

static void recall(void)
{
	memcpy(w.points, kept.points, kept.point_count * sizeof(w.points[0]));
	w.point_count = kept.point_count;
	w.last_number = kept.last_number;
	w.random = kept.random;
	w.failover_key = kept.failover_key;
	w.cut = kept.cut;
	w.failover = kept.failover;
	w.maintaining = kept.maintaining;
	w.direct = kept.direct;
	/* Lost before the crash, or not at all. */
	w.sim.stray = SIM_STRAY_NONE;
	for (unsigned d = 0; d < WORLD_DISKS; d++) {
		memcpy(w.guest.bytes[d], kept.guest[d], ROW);
		memcpy(w.primary.bytes[d], kept.primary[d], ROW);
		memcpy(w.loose[d], kept.loose[d], sizeof(kept.loose[d]));
	}
	blob_said = kept.blob_said;
	blob_tried = kept.blob_tried;
}

/* Open; a cancel that had begun goes on to its end, a failover is found. */
static int32_t open_crashed(void)
{
	uint32_t more = 1;
	int32_t rc = open_store(false);

	if (rc < 0)
		return rc;
	world_settle(&w);
	if (w.store->state.commit == HVRI_COMMIT_RESTORING) {
		if (w.sim.crash_at == UINT64_MAX)
			world_check(&w);
		while (rc == HVREPL_OK && more != 0)
			rc = hvrepl_store_cancel(w.store, &more, NULL);
		if (rc < 0)
			return rc;
		showing(26);
		w.failover = w.direct = false;
		proved(26);
		return HVREPL_OK;
	}
	if (w.store->state.commit == HVRI_COMMIT_NONE &&
	    w.store->state.phase != HVRI_MANIFEST_BASE_ONLY)
		w.failover = false;
	return open_failover();
}

static bool recover(void)
{
	int32_t rc;

	showing(33);
	rc = open_crashed();
	if (!w.sim.crashed) {
		ck_assert_msg(rc == HVREPL_OK, "recovery gives %d", rc);
		return true;
	}
	kill_it();
	return false;
}

static void check(bool thorough)
{
	bool flushed;

	check_all(true);
	proved(33);
	if (!thorough)
		return;
	/* Opened once more it is the same. */
	flushed = w.view != NULL;
	if (flushed)
		ck_assert_int_eq(world_guest_flush(&w), HVREPL_OK);
	kill_it();
	sim_restart(&w.sim, flushed);
	ck_assert_int_eq(open_crashed(), HVREPL_OK);
	check_all(true);
}

static void leave(void)
{
	kill_it();
	w.sim.crashed = false;
}

/* The operation again; then the way that is open from here: cancel or the
 * base, one more point, a merge; and all is exact (G33, G34). */
static void go_on(unsigned what)
{
	check_all(true);
	showing(33);
	if (w.view != NULL)
		ck_assert_int_eq(world_guest_flush(&w), HVREPL_OK);
	(void)op(what);
	check_all(false);
	showing(34);
	if (w.failover && op(CANCEL) != DONE) {
		if (w.store->state.phase != HVRI_MANIFEST_BASE_ONLY)
			ck_assert_int_eq(op(COMMIT), DONE);
		check_all(false);
		ck_assert_int_eq(op(ADOPT), DONE);
	}
	if (w.point_count == 0) {
		/* What was begun one way cannot be ended the other. */
		if (op(FIRST) != DONE)
			ck_assert_int_eq(op(ADOPT), DONE);
	}
	ck_assert_int_eq(op(RECEIVE), DONE);
	ck_assert_int_eq(op(RECEIVE_OVER), DONE);
	(void)op(MERGE);
	check_all(false);
	proved(33);
	proved(34);
	world_close(&w);
}

static void end(void)
{
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
}

const struct room store_room = {
	.name = "store",
	.prefixes = sizeof(prefix_names) / sizeof(prefix_names[0]),
	.ops = OPS,
	.prefix_names = prefix_names,
	.op_names = op_names,
	.start = start,
	.op = op,
	.sim = sim,
	.finish = finish,
	.kill = kill_it,
	.remember = remember,
	.recall = recall,
	.recover = recover,
	.check = check,
	.leave = leave,
	.go_on = go_on,
	.end = end,
};
