/* SPDX-License-Identifier: Apache-2.0 */
/* Random work of a store against the model; see storeplay.h. */
#include "storeplay.h"

#include "storeworld.h"

#include "store/view.h"

#include <stdlib.h>
#include <string.h>

static struct world w;
static struct store_played played;
static bool inside; /* A hook's own I/O does not call the hook. */

static bool writing; /* The guest is: what it gets meanwhile is open. */
static hvrepl_view *reader; /* Kept open across many steps. */
/* A test failover at the side: what it must see, and a draw of its own. */
static hvrepl_view *trial;
static struct world_image tried;
static uint64_t side;
static bool meddles;

void (*store_play_about)(unsigned guarantee);

static void about(unsigned guarantee)
{
	if (store_play_about != NULL)
		store_play_about(guarantee);
}

static uint64_t draw(uint64_t below)
{
	return test_random(&w.random) % below;
}

static void read_some(hvrepl_view *view)
{
	static uint8_t bytes[16384];
	const struct world_point *point = NULL;
	unsigned d = (unsigned)draw(WORLD_DISKS);
	uint64_t sectors = w.sizes[d] / 512, at = draw(sectors) * 512;
	uint64_t length = 512 * (1 + draw(32));
	int32_t rc;

	for (uint32_t i = 0; i < w.point_count; i++)
		if (w.points[i].key == hvrepl_view_point(view))
			point = &w.points[i];
	length = HVRI_MIN(length, w.sizes[d] - at);
	rc = hvri_view_read(view, d, at, bytes, length);
	if (w.sim.crashed)
		return;
	if (rc < 0 || memcmp(bytes, point->image->bytes[d] + at, length) != 0)
		ck_abort_msg("a reader got %d or wrong bytes of point %llu", rc,
			     (unsigned long long)point->key);
}

static void read_guest(void)
{
	static uint8_t bytes[WORLD_SIZE_MAX];

	for (unsigned d = 0; d < WORLD_DISKS && !w.sim.crashed; d++) {
		int32_t rc = hvri_view_read(w.view, d, 0, bytes, w.sizes[d]);

		if (!w.sim.crashed &&
		    (rc < 0 || memcmp(bytes, w.guest.bytes[d], w.sizes[d]) != 0))
			ck_abort_msg("the guest got %d or wrong bytes", rc);
	}
}

static void guest_in_hook(void)
{
	static uint8_t bytes[WORLD_SIZE_MAX];
	unsigned d = (unsigned)draw(WORLD_DISKS);
	uint64_t at = draw(w.sizes[d] / 4096) * 4096;
	uint64_t length = HVRI_MIN(8192u, w.sizes[d] - at);
	int32_t rc;

	rc = hvri_view_read(w.view, d, at, bytes, length);
	if (rc < 0 || memcmp(bytes, w.guest.bytes[d] + at, length) != 0)
		ck_abort_msg("the guest got %d or wrong bytes at %u:%llu", rc,
			     d, (unsigned long long)at);
	/* A writer that is held up would wait for ever on the one thread. */
	if (hvri_gate_would_wait(&w.view->gate, d, at, at + length))
		return;
	memset(w.loose[d] + at / SIM_SECTOR, 1, length / SIM_SECTOR);
	test_fill(w.guest.bytes[d] + at, length, test_random(&w.random));
	rc = hvri_view_write(w.view, d, at, w.guest.bytes[d] + at, length);
	ck_assert(rc == HVREPL_OK || w.sim.crashed);
}

/* The other way round: the base moves inside a reader's I/O. */
static bool moving;

static void move_on(void)
{
	uint32_t more;
	int32_t rc;

	rc = w.store->state.merge_target != 0 ?
		     hvri_store_merge_advance(w.store, &more, NULL) :
	     w.store->state.commit == HVRI_COMMIT_FOLDING &&
			     w.store->frozen != NULL ?
		     hvrepl_store_commit_advance(w.store, &more, NULL) :
		     HVREPL_OK;
	ck_assert(rc == HVREPL_OK || w.sim.crashed);
}

static void hook(void *argument)
{
	(void)argument;
	if (moving && !inside && w.store != NULL) {
		inside = true;
		move_on();
		inside = false;
		return;
	}
	if (inside || w.store == NULL || draw(3) != 0)
		return;
	inside = true;
	played.hooks++;
	if (reader != NULL)
		read_some(reader);
	if (w.view != NULL && !w.sim.crashed && !writing && draw(4) == 0)
		guest_in_hook();
	inside = false;
}

/* ---- What has no business in this store. ---- */

/* A chunk that is sound, of another VM, disk, epoch, cut or point. */
static void offer_strange(unsigned d, uint32_t next)
{
	static const struct hvrepl_extent extent = { 0, 4096 };
	struct hvri_env env = { w.env.env };
	struct hvri_segment_header header;
	struct hvri_packer *packer;
	uint8_t *bytes = malloc(HVRI_CHUNK_ENCODED_MAX);
	uint32_t length;
	int32_t rc;

	ck_assert_ptr_nonnull(bytes);
	ck_assert_int_eq(hvri_segment_header_decode(w.cut.header[d], &header),
			 HVREPL_OK);
	switch (test_random(&side) % 5) {
	case 0:
		header.identity.vm.bytes[4] ^= 1;
		break;
	case 1:
		header.identity.disk = w.disks[1 - d];
		break;
	case 2:
		header.identity.epoch.bytes[0] ^= 1;
		break;
	case 3:
		header.identity.cut.bytes[15] ^= 0x80;
		break;
	default:
		header.identity.from_point--;
	}
	ck_assert_int_eq(hvri_packer_create(&env, 1, &packer), HVREPL_OK);
	ck_assert_int_eq(hvri_chunk_pack(packer, &header, next, HVRI_CHUNK_ZERO,
					 &extent, 1, NULL, bytes, &length),
			 HVREPL_OK);
	hvri_packer_destroy(packer);
	rc = hvri_store_segment_append(w.store, d, bytes, length);
	free(bytes);
	if (rc >= 0)
		ck_abort_msg("a chunk of another identity was taken");
	played.strange += !w.sim.crashed;
}

static int32_t send_among_strangers(void)
{
	unsigned d = (unsigned)(test_random(&side) % WORLD_DISKS);
	uint32_t next = 0;

	if (!w.cut.pending)
		world_make_cut(&w);
	HVRI_TRY(hvri_store_segment_begin(w.store, d, w.cut.header[d], &next,
					  NULL));
	about(16);
	offer_strange(d, next);
	about(19);
	return world_send(&w);
}

/* ---- A test failover: a view of a point that may be written. ---- */

static void end_trial(void)
{
	if (trial == NULL)
		return;
	ck_assert_int_eq(hvrepl_view_close(trial), HVREPL_OK);
	trial = NULL;
	played.tests++;
}

static void try_at_side(void)
{
	static uint8_t bytes[8192];
	unsigned d = (unsigned)(test_random(&side) % WORLD_DISKS);
	uint64_t at = test_random(&side) % (w.sizes[d] / 4096) * 4096;
	uint64_t length = HVRI_MIN(sizeof(bytes), w.sizes[d] - at);
	struct world_point *point;
	int32_t rc;

	about(22);
	if (trial == NULL) {
		point = world_kept(&w, (uint32_t)(test_random(&side) %
						  world_kept_count(&w)));
		rc = hvrepl_view_open(w.store, point->key, HVREPL_VIEW_SCRATCH,
				      &trial, NULL);
		if (rc < 0)
			trial = NULL;
		else
			tried = *point->image;
		ck_assert(rc >= 0 || w.sim.crashed);
	}
	if (trial != NULL && !w.sim.crashed) {
		test_fill(tried.bytes[d] + at, length, test_random(&side));
		rc = hvri_view_write(trial, d, at, tried.bytes[d] + at, length);
		ck_assert(rc == HVREPL_OK || w.sim.crashed);
		d = 1 - d;
		at = at % w.sizes[d] / 4096 * 4096;
		length = HVRI_MIN(sizeof(bytes), w.sizes[d] - at);
		if (!w.sim.crashed)
			rc = hvri_view_read(trial, d, at, bytes, length);
		if (!w.sim.crashed &&
		    (rc < 0 || memcmp(bytes, tried.bytes[d] + at, length) != 0))
			ck_abort_msg("a test got %d or wrong bytes", rc);
	}
	if (test_random(&side) % 4 == 0 && !w.sim.crashed) {
		end_trial();
		/* And all is as it was. */
		inside = true;
		if (!w.sim.crashed)
			world_check(&w);
		inside = false;
	}
	about(19);
}

static bool may_try(void)
{
	return meddles && world_kept_count(&w) > 0 && !w.store->committing &&
	       w.store->state.commit <= HVRI_COMMIT_OVERLAY &&
	       test_random(&side) % 6 == 0;
}

static void open_reader(void)
{
	struct world_point *point = world_kept(&w, (uint32_t)draw(world_kept_count(&w)));

	if (reader != NULL)
		ck_assert_int_eq(hvrepl_view_close(reader), HVREPL_OK);
	reader = NULL;
	if (w.failover || point == NULL)
		return;
	ck_assert_int_eq(hvrepl_view_open(w.store, point->key,
					  HVREPL_VIEW_READ_ONLY, &reader, NULL),
			 HVREPL_OK);
}

static int32_t merge_piece(void)
{
	const struct hvri_manifest *state = &w.store->state;
	uint32_t more;

	if (state->merge_target != 0)
		return hvri_store_merge_advance(w.store, &more, NULL);
	for (uint32_t i = 0; i < world_kept_count(&w); i++) {
		uint64_t key = world_kept(&w, i)->key;

		if (key > state->base && draw(3) == 0 &&
		    state->commit <= HVRI_COMMIT_OVERLAY)
			return hvri_store_merge_begin(w.store, key, NULL);
	}
	return HVREPL_OK;
}

static int32_t drop_random(void)
{
	struct world_point *point = world_kept(&w, (uint32_t)draw(world_kept_count(&w)));
	int32_t rc;

	/* Few are kept, so that logs are joined and released. */
	if (point == NULL || world_kept_count(&w) < 6)
		return HVREPL_OK;
	rc = world_drop(&w, point->key);
	return rc == HVREPL_E_BUSY ? HVREPL_OK : rc;
}

static int32_t failover_piece(void)
{
	uint32_t more;
	int32_t rc;

	if (!w.failover) {
		if (draw(6) != 0)
			return HVREPL_OK;
		open_reader();
		return world_failover(
			&w, world_kept(&w, (uint32_t)draw(world_kept_count(&w)))->key);
	}
	if (w.store->state.commit == HVRI_COMMIT_OVERLAY && draw(12) == 0) {
		if (reader != NULL)
			ck_assert_int_eq(hvrepl_view_close(reader), HVREPL_OK);
		reader = NULL;
		end_trial();
		HVRI_TRY(hvrepl_store_commit_begin(w.store, NULL));
	}
	if (w.store->committing || w.store->state.commit == HVRI_COMMIT_FOLDING)
		HVRI_TRY(hvrepl_store_commit_advance(w.store, &more, NULL));
	if (w.store->state.commit >= HVRI_COMMIT_SWITCHING ||
	    w.store->state.phase == HVRI_MANIFEST_BASE_ONLY)
		return HVREPL_OK; /* The caller ends it. */
	switch (draw(5)) {
	case 0:
		writing = true;
		rc = world_guest_flush(&w);
		writing = false;
		return rc;
	case 1:
		return draw(8) == 0 ? world_cancel(&w) : HVREPL_OK;
	default:
		writing = true;
		rc = world_guest_write(&w);
		writing = false;
		return rc;
	}
}

/* The commit to its end; the base becomes the first point of a new history. */
static int32_t end_commit(void)
{
	struct hvri_store_point_commit tail = { .number = 1 };
	uint64_t key;
	uint32_t more = 1;

	w.sim.crash_at = UINT64_MAX;
	for (uint32_t i = 0; i < w.point_count; i++)
		w.points[i].kept = false;
	while (more != 0)
		HVRI_TRY(hvrepl_store_commit_advance(w.store, &more, NULL));
	world_check_guest(&w, false);
	world_view_close(&w);
	w.failover = false;
	if (w.cut.pending)
		free(w.cut.image);
	w.cut.pending = false;
	w.primary = w.guest;
	tail.number = ++w.last_number;
	HVRI_TRY(hvri_store_adopt(w.store, &tail, &key, NULL));
	w.points[w.point_count] = (struct world_point){
		.kept = true,
		.key = key,
		.number = tail.number,
		.image = malloc(sizeof(w.primary)),
	};
	*w.points[w.point_count++].image = w.primary;
	return HVREPL_OK;
}

static int32_t work(void)
{
	uint32_t more;

	if (w.store->state.commit >= HVRI_COMMIT_SWITCHING ||
	    w.store->state.phase == HVRI_MANIFEST_BASE_ONLY)
		return end_commit();
	switch (draw(10)) {
	case 0:
	case 1:
		if (w.store->state.commit > HVRI_COMMIT_OVERLAY ||
		    w.point_count + 4 >= WORLD_POINTS)
			return HVREPL_OK;
		return meddles ? send_among_strangers() : world_send(&w);
	case 2:
	case 3:
	case 4:
		return merge_piece();
	case 5:
		return drop_random();
	case 6:
		moving = true;
		if (reader != NULL)
			read_some(reader);
		if (w.view != NULL)
			read_guest();
		moving = false;
		return hvri_store_compact(w.store, &more);
	case 7:
		if (!w.store->committing &&
		    w.store->state.commit <= HVRI_COMMIT_OVERLAY)
			open_reader();
		return HVREPL_OK;
	default:
		return failover_piece();
	}
}

static void lose_power(void)
{
	uint32_t more = 1;

	played.crashes++;
	/* The model does not know yet what the guest has left. */
	inside = true;
	if (reader != NULL)
		ck_assert_int_eq(hvrepl_view_close(reader), HVREPL_OK);
	reader = NULL;
	if (trial != NULL)
		ck_assert_int_eq(hvrepl_view_close(trial), HVREPL_OK);
	trial = NULL;
	world_abandon(&w);
	sim_restart(&w.sim, draw(3) != 0);
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
		if (w.store->state.phase == HVRI_MANIFEST_REPLICA)
			ck_assert_int_eq(world_failover(&w, 0), HVREPL_OK);
		world_check_guest(&w, true);
	}
	world_check(&w);
	inside = false;
}

struct store_played store_play(uint64_t seed, bool crashes)
{
	memset(&played, 0, sizeof(played));
	inside = moving = writing = false;
	reader = trial = NULL;
	meddles = seed / 16 % 4 == 3;
	side = seed * 0x9e3779b97f4a7c15ull + 7;
	world_init(&w, seed);
	w.direct = true;
	w.options.container_bytes = 4096u << (seed % 6);
	w.options.cache_bytes = seed % 2 ? 1 : 1u << 20;
	w.change_blocks = 1 + (uint32_t)(seed % 9);
	w.sim.hook = hook;
	inside = true;
	ck_assert_int_eq(world_open(&w, true), HVREPL_OK);
	ck_assert_int_eq(world_first_point(&w, seed % 2), HVREPL_OK);
	inside = false;
	for (unsigned i = 0; i < 260 && w.point_count + 4 < WORLD_POINTS; i++) {
		int32_t rc;

		if (crashes && draw(12) == 0)
			w.sim.crash_at = w.sim.io_count + draw(40);
		rc = work();
		if (rc == HVREPL_OK && !w.sim.crashed && may_try())
			try_at_side();
		if (w.sim.crashed)
			lose_power();
		else if (rc < 0)
			ck_abort_msg("seed %llu, work %u gives %d",
				     (unsigned long long)seed, i, rc);
		if (i % 20 == 0 &&
		    w.store->state.commit < HVRI_COMMIT_SWITCHING) {
			inside = true;
			world_check(&w);
			if (w.view != NULL)
				world_check_guest(&w, false);
			inside = false;
		}
	}
	if (reader != NULL)
		ck_assert_int_eq(hvrepl_view_close(reader), HVREPL_OK);
	reader = NULL;
	inside = true;
	w.sim.crash_at = UINT64_MAX;
	end_trial();
	if (w.store->state.commit >= HVRI_COMMIT_SWITCHING ||
	    w.store->state.phase == HVRI_MANIFEST_BASE_ONLY)
		ck_assert_int_eq(end_commit(), HVREPL_OK);
	world_check(&w);
	played.events = w.sim.events;
	played.hash = w.sim.trace;
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
	return played;
}
