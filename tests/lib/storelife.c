/* SPDX-License-Identifier: Apache-2.0 */
/* The whole life of a store beside the model; see storelife.h. */
#include "storelife.h"

#include "storeworld.h"

#include "store/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 110u
#define READERS 2u
#define PIECE 4096u

static struct world w;
static struct store_lived lived;
static hvrepl_view *readers[READERS];
static uint64_t dice_state;

void (*store_life_about)(unsigned guarantee);

static void about(unsigned guarantee)
{
	if (store_life_about != NULL)
		store_life_about(guarantee);
}

static uint64_t dice(uint64_t sides)
{
	return test_random(&dice_state) % sides;
}

static struct world_point *any_kept(void)
{
	uint32_t n = world_kept_count(&w);

	return n == 0 ? NULL : world_kept(&w, (uint32_t)dice(n));
}

static const struct world_point *point_of(uint64_t key)
{
	for (uint32_t i = 0; i < w.point_count; i++)
		if (w.points[i].key == key)
			return &w.points[i];
	ck_abort_msg("nobody knows point %llu", (unsigned long long)key);
	return NULL;
}

/* ---- Readers: a view keeps its point while upkeep goes on. ---- */

static void close_readers(void)
{
	for (unsigned i = 0; i < READERS; i++)
		if (readers[i] != NULL) {
			ck_assert_int_eq(hvrepl_view_close(readers[i]),
					 HVREPL_OK);
			readers[i] = NULL;
		}
}

static bool is_read(uint64_t key)
{
	for (unsigned i = 0; i < READERS; i++)
		if (readers[i] != NULL && hvrepl_view_point(readers[i]) == key)
			return true;
	return false;
}

/* What is read is right; `refusable`: or refused, as damage may be. */
static void read_all(hvrepl_view *view, bool refusable)
{
	static uint8_t bytes[PIECE];
	const struct world_point *point = point_of(hvrepl_view_point(view));

	for (unsigned d = 0; d < WORLD_DISKS; d++)
		for (uint64_t at = 0; at < w.sizes[d]; at += PIECE) {
			uint64_t length = HVRI_MIN(w.sizes[d] - at, PIECE);
			int32_t rc = hvri_view_read(view, d, at, bytes, length);

			if (w.sim.crashed)
				return;
			if (rc < 0 && refusable && hvri_store_is_damage(rc))
				continue;
			if (rc < 0 || memcmp(bytes, point->image->bytes[d] + at,
					     length) != 0)
				ck_abort_msg("a reader got %d or wrong bytes "
					     "of point %llu",
					     rc,
					     (unsigned long long)point->key);
		}
}

static int32_t turn_of_readers(void)
{
	unsigned i = (unsigned)dice(READERS);
	struct world_point *point = any_kept();
	int32_t rc = HVREPL_OK;

	about(19);
	if (readers[i] != NULL) {
		read_all(readers[i], false);
		if (dice(3) != 0 && !w.sim.crashed)
			return HVREPL_OK;
		rc = hvrepl_view_close(readers[i]);
		readers[i] = NULL;
		return rc;
	}
	if (point == NULL || w.store->committing ||
	    w.store->state.commit > HVRI_COMMIT_OVERLAY)
		return HVREPL_OK;
	rc = hvrepl_view_open(w.store, point->key, HVREPL_VIEW_READ_ONLY,
			      &readers[i], NULL);
	if (rc < 0)
		readers[i] = NULL;
	return rc;
}

/* ---- Pins, drops, upkeep. ---- */

static bool any_pinned(void)
{
	for (uint32_t i = 0; i < w.point_count; i++)
		if (w.points[i].kept && w.points[i].pinned)
			return true;
	return false;
}

static int32_t pin(void)
{
	struct world_point *point = any_kept();
	int32_t rc;

	if (point == NULL)
		return HVREPL_OK;
	rc = world_pin(&w, point, dice(2) == 0);
	/* Not any more: its commit gives up all points. */
	about(19);
	ck_assert(rc != HVREPL_E_BUSY || w.store->committing ||
		  w.store->state.commit > HVRI_COMMIT_OVERLAY);
	return rc == HVREPL_E_BUSY ? HVREPL_OK : rc;
}

static int32_t drop(void)
{
	struct world_point *point = any_kept();
	bool pinned, read;
	int32_t rc;

	if (point == NULL)
		return HVREPL_OK;
	pinned = point->pinned;
	read = is_read(point->key);
	rc = world_drop(&w, point->key);
	if (w.sim.crashed)
		return rc;
	about(19);
	ck_assert_msg(rc == HVREPL_E_BUSY || (!pinned && !read),
		      "a point that is %s was given up: %d",
		      pinned ? "pinned" : "read", rc);
	lived.pins += pinned;
	return rc == HVREPL_E_BUSY ? HVREPL_OK : rc;
}

static int32_t upkeep(void)
{
	if (w.store->committing || w.store->state.commit > HVRI_COMMIT_OVERLAY)
		return HVREPL_OK;
	about(19);
	lived.pins += any_pinned();
	return world_maintain(&w);
}

static int32_t receive(void)
{
	uint32_t more;

	if (w.store->committing ||
	    w.store->state.commit > HVRI_COMMIT_OVERLAY)
		return HVREPL_OK;
	HVRI_TRY(world_send(&w));
	return dice(3) == 0 ? hvri_store_compact(w.store, &more) : HVREPL_OK;
}

static int32_t merge_piece(void)
{
	const struct hvri_manifest *state = &w.store->state;
	struct world_point *point = any_kept();
	uint32_t more;

	if (state->merge_target != 0)
		return hvri_store_merge_advance(w.store, &more, NULL);
	if (point == NULL || point->key <= state->base ||
	    state->commit > HVRI_COMMIT_OVERLAY || w.store->committing)
		return HVREPL_OK;
	return hvri_store_merge_begin(w.store, point->key, NULL);
}

/* ---- The guest of a failover. ---- */

static int32_t guest(void)
{
	bool direct = w.store->state.phase == HVRI_MANIFEST_BASE_ONLY ||
		      w.store->state.commit == HVRI_COMMIT_SWITCHING;

	about(1);
	if (dice(3) != 0)
		return world_guest_write(&w);
	lived.direct += direct;
	return world_guest_flush(&w);
}

static bool other_pinned(void)
{
	for (uint32_t i = 0; i < w.point_count; i++)
		if (w.points[i].kept && w.points[i].pinned &&
		    w.points[i].key != w.failover_key)
			return true;
	return false;
}

static int32_t advance(void)
{
	bool pinned = other_pinned();
	uint32_t more;
	int32_t rc = hvrepl_store_commit_advance(w.store, &more, NULL);

	if (rc != HVREPL_OK)
		return rc;
	world_settle(&w); /* Past the switch its points are gone. */
	about(19);
	ck_assert_msg(!pinned || other_pinned(),
		      "a commit gave up a point that is pinned");
	return HVREPL_OK;
}

/* The base becomes the first point of a new history. */
static int32_t begin_anew(void)
{
	if (w.view != NULL) {
		HVRI_TRY(world_guest_flush(&w));
		world_check_guest(&w, false);
		world_view_close(&w);
	}
	if (w.cut.pending)
		free(w.cut.image);
	world_cut_free(&w.cut);
	w.cut.pending = false;
	w.primary = w.guest;
	world_make_cut_with(&w, NULL, 0);
	HVRI_TRY(world_adopt_base(&w));
	w.direct = true;
	return HVREPL_OK;
}

static int32_t commit(void)
{
	bool busy = other_pinned();
	int32_t rc;

	close_readers();
	rc = hvrepl_store_commit_begin(w.store, NULL);
	if (w.sim.crashed)
		return rc;
	about(19);
	ck_assert_msg((rc == HVREPL_E_BUSY) == busy,
		      "a commit that would drop %s gives %d",
		      busy ? "a pinned point" : "nobody's point", rc);
	lived.pins += busy;
	return busy ? HVREPL_OK : rc;
}

static int32_t failed_over(void)
{
	const struct hvri_manifest *state = &w.store->state;

	if (state->phase == HVRI_MANIFEST_BASE_ONLY)
		return w.view == NULL || dice(12) == 0 ? begin_anew() : guest();
	switch (dice(8)) {
	case 0:
	case 1:
	case 2:
		if (w.store->committing ||
		    state->commit > HVRI_COMMIT_OVERLAY)
			return advance();
		return guest();
	case 3:
		return dice(3) == 0 && !w.store->committing &&
				       state->commit == HVRI_COMMIT_OVERLAY ?
			       commit() :
			       guest();
	case 4:
		return dice(6) == 0 && state->commit != HVRI_COMMIT_SWITCHING ?
			       world_cancel(&w) :
			       guest();
	default:
		return guest();
	}
}

static int32_t step(void)
{
	if (w.failover && dice(3) != 0)
		return failed_over();
	if (w.store->state.commit == HVRI_COMMIT_SWITCHING ||
	    w.store->state.phase == HVRI_MANIFEST_BASE_ONLY)
		return failed_over();
	switch (dice(12)) {
	case 0:
	case 1:
	case 2:
		return receive();
	case 3:
		return pin();
	case 4:
		return drop();
	case 5:
	case 6:
		return upkeep();
	case 7:
	case 8:
		return merge_piece();
	case 9:
		return w.failover || any_kept() == NULL || dice(2) == 0 ?
			       HVREPL_OK :
			       world_failover(&w, any_kept()->key);
	default:
		return turn_of_readers();
	}
}

/* ---- The end of a process, and what is found then. ---- */

static void open_failover(void)
{
	if (w.store->state.commit != HVRI_COMMIT_NONE &&
	    w.store->state.phase == HVRI_MANIFEST_REPLICA)
		ck_assert_int_eq(world_failover(&w, 0), HVREPL_OK);
}

static void come_back(void)
{
	static uint8_t unflushed[WORLD_DISKS][WORLD_SIZE_MAX / SIM_SECTOR];
	bool power = dice(3) != 0;
	uint32_t more = 1;

	lived.crashes++;
	close_readers();
	world_abandon(&w);
	sim_restart(&w.sim, power);
	w.sim.crash_at = UINT64_MAX;
	about(11);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	world_settle(&w);
	if (w.store->state.commit == HVRI_COMMIT_RESTORING)
		while (more != 0)
			ck_assert_int_eq(hvrepl_store_cancel(w.store, &more,
							     NULL),
					 HVREPL_OK);
	if (w.store->state.commit == HVRI_COMMIT_NONE &&
	    w.store->state.phase == HVRI_MANIFEST_REPLICA) {
		w.failover = false;
	} else {
		open_failover();
		about(1);
		memcpy(unflushed, w.loose, sizeof(unflushed));
		world_check_guest(&w, true);
		/* What is there after the end of a process alone may still go
		 * with the power, before a flush. */
		if (!power)
			memcpy(w.loose, unflushed, sizeof(unflushed));
	}
	about(10);
	world_check(&w);
}

/* ---- Damage: what is there is right, or it is said (G12, G15). ---- */

/* A bit of any object, or some bytes of a log of records. */
static bool hurt(void)
{
	char id[HVREPL_OBJECT_ID_MAX + 1];
	uint64_t size = 0, at, length;
	uint8_t *bytes = NULL;

	(void)snprintf(id, sizeof(id), HVRI_LOG_PREFIX "%016llx",
		       (unsigned long long)w.store->journal.head.log);
	world_close(&w);
	if (dice(2) == 0)
		return sim_rot(&w.sim) != NULL;
	bytes = sim_object_bytes(w.storage, id, &size);
	if (bytes == NULL || size == 0)
		return false;
	at = dice(size);
	length = 1 + dice(SIM_SECTOR);
	length = HVRI_MIN(size - at, length);
	test_fill(bytes + at, length, test_random(&dice_state));
	return true;
}

static void look_at_points(void)
{
	struct hvrepl_point listed[WORLD_POINTS];
	uint32_t count = WORLD_POINTS, at = 0;

	listed[0].struct_size = sizeof(listed[0]);
	ck_assert_int_eq(hvrepl_store_points(w.store, listed, &count),
			 HVREPL_OK);
	for (uint32_t i = 0; i < w.point_count; i++) {
		hvrepl_view *view;
		int32_t rc;

		if (!w.points[i].kept)
			continue;
		about(12);
		ck_assert_msg(at < count &&
				      listed[at].point == w.points[i].key &&
				      (listed[at].pins != 0) ==
					      w.points[i].pinned,
			      "damage cost point %llu or its pin, and nobody "
			      "said so",
			      (unsigned long long)w.points[i].key);
		at++;
		about(15);
		rc = hvrepl_view_open(w.store, w.points[i].key,
				      HVREPL_VIEW_READ_ONLY, &view, NULL);
		ck_assert_msg(rc == HVREPL_OK || hvri_store_is_damage(rc),
			      "damage is called %d", rc);
		if (rc < 0)
			continue;
		read_all(view, true);
		ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	}
	about(12);
	ck_assert_msg(at == count, "damage brought back a point");
}

static void look_at_damage(void)
{
	int32_t rc;

	/* Closing is no flush. */
	if (w.view != NULL)
		ck_assert_int_eq(world_guest_flush(&w), HVREPL_OK);
	world_view_close(&w);
	close_readers();
	sim_backup(&w.sim);
	if (hurt()) {
		lived.damages++;
		rc = world_open(&w, false);
		about(12);
		ck_assert_msg(rc == HVREPL_OK || hvri_store_is_damage(rc) ||
				      rc == HVREPL_E_FORMAT_TOO_NEW ||
				      rc == HVREPL_E_NOT_FOUND,
			      "damage is called %d", rc);
		if (rc == HVREPL_OK)
			look_at_points();
	}
	world_close(&w);
	sim_restore(&w.sim);
	about(10);
	ck_assert_int_eq(world_open(&w, false), HVREPL_OK);
	open_failover();
	if (w.failover)
		world_check_guest(&w, false);
}

static void set_up(uint64_t seed)
{
	memset(&lived, 0, sizeof(lived));
	memset(readers, 0, sizeof(readers));
	dice_state = seed * 0x9e3779b97f4a7c15ull + 31;
	world_init(&w, seed);
	w.direct = true;
	w.options.points_max = 2 + (uint32_t)dice(4);
	w.options.base_at = dice(3) == 0 ? HVREPL_BASE_AT_OLDEST :
					   HVREPL_BASE_AT_NEWEST;
	w.options.container_bytes = 4096u << dice(6);
	w.options.cache_bytes = dice(2) ? 1 : 1u << 20;
	w.change_blocks = 1 + (uint32_t)dice(9);
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, dice(2) == 0), HVREPL_OK);
}

struct store_lived store_life(uint64_t seed)
{
	about(10);
	set_up(seed);
	for (unsigned i = 0; i < STEPS && w.point_count + 4 < WORLD_POINTS;
	     i++) {
		int32_t rc;

		if (w.sim.crash_at == UINT64_MAX && dice(10) == 0)
			w.sim.crash_at = w.sim.io_count + dice(60);
		rc = step();
		if (w.sim.crashed) {
			come_back();
			if (dice(3) == 0)
				look_at_damage();
			continue;
		}
		if (rc < 0)
			ck_abort_msg("step %u gives %d", i, rc);
		if (i % 20 == 0) {
			uint64_t at = w.sim.crash_at;

			w.sim.crash_at = UINT64_MAX;
			about(10);
			world_check(&w);
			if (w.view != NULL)
				world_check_guest(&w, false);
			w.sim.crash_at = at;
		}
	}
	close_readers();
	w.sim.crash_at = UINT64_MAX;
	look_at_damage();
	about(10);
	world_check(&w);
	lived.events = w.sim.events;
	lived.hash = w.sim.trace ^ (uint64_t)lived.damages << 32 ^ lived.crashes;
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
	return lived;
}
