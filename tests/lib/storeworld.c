/* SPDX-License-Identifier: Apache-2.0 */
/* A store beside its naive model; see storeworld.h. */
#include "storeworld.h"

#include "store/view.h"

#include <stdlib.h>
#include <string.h>

static uint64_t draw(struct world *world, uint64_t below)
{
	return test_random(&world->random) % below;
}

void world_init(struct world *world, uint64_t seed)
{
	/* One size that is no multiple of a block. */
	static const uint64_t sizes[WORLD_DISKS] = { 64u << 10,
						     (40u << 10) + 1536 };

	world_init_sized(world, seed, sizes);
}

void world_init_sized(struct world *world, uint64_t seed,
		      const uint64_t sizes[WORLD_DISKS])
{
	memset(world, 0, sizeof(*world));
	sim_init(&world->sim, seed);
	test_env_init(&world->env, seed + 1);
	world->random = seed * 2654435761u + 12345;
	world->storage = sim_storage_new(&world->sim);
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		world->sizes[i] = sizes[i];
		world->bases[i] = sim_disk_new(&world->sim, world->sizes[i]);
		world->disks[i].bytes[0] = (uint8_t)(i + 1);
	}
	world->vm.bytes[15] = 7;
	world->epoch.bytes[3] = 9;
	world->change_blocks = 6;
	world->send_block = 4096;
	world->options = (struct hvrepl_store_options)
		HVREPL_STORE_OPTIONS_INIT;
	world->options.vm = world->vm;
	world->options.points_max = 24;
	world->options.compression = 1;
	world->options.container_bytes = 64u << 10;
	world->options.cache_bytes = 256u << 10;
}

static void tick(void *argument)
{
	struct world *world = argument;

	world->env.utc_ns += world->utc_step;
}

/* As hvrepl_file_token_check() does it. */
static int32_t token_check(void *user, const uint8_t *saved,
			   uint32_t saved_length, uint64_t saved_utc_ns,
			   const uint8_t *now, uint32_t now_length)
{
	const struct world *world = user;
	uint64_t token;

	(void)saved;
	ck_assert_uint_eq(saved_length, sizeof(token));
	ck_assert_uint_eq(now_length, sizeof(token));
	memcpy(&token, now, sizeof(token));
	return token <= saved_utc_ns + world->token_slack;
}

void world_run_clock(struct world *world, uint64_t step_ns)
{
	world->utc_step = step_ns;
	world->token_slack = 30000000000u;
	world->sim.hook = tick;
	world->sim.hook_argument = world;
	for (unsigned i = 0; i < WORLD_DISKS; i++)
		world->bases[i]->token_clock = &world->env.utc_ns;
	world->options.token_check = token_check;
	world->options.token_user = world;
}

void world_free(struct world *world)
{
	world_close(world);
	if (world->cut.pending)
		free(world->cut.image);
	world_cut_free(&world->cut);
	for (uint32_t i = 0; i < world->point_count; i++)
		free(world->points[i].image);
	sim_free(&world->sim);
}

int32_t world_open(struct world *world, bool create)
{
	struct hvrepl_storage storage = sim_storage_handle(world->storage);
	struct hvrepl_store_disk disks[WORLD_DISKS];
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc;

	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		disks[i].disk = world->disks[i];
		disks[i].base = sim_disk_handle(world->bases[i]);
	}
	world->options.flags = create ? HVREPL_STORE_CREATE : 0;
	rc = hvrepl_store_open(&world->env.env, &storage, disks, WORLD_DISKS,
			       &world->options, &world->store, &error);
	if (rc < 0) {
		ck_assert_int_eq(error.code, rc);
		ck_assert_uint_gt(strlen(error.sentence), 0);
		world->store = NULL;
		return rc;
	}
	world->store->piece_bytes = 12u << 10;
	world->store->switch_bytes = 8u << 10;
	world->store->refreeze_bytes = 16u << 10;
	return HVREPL_OK;
}

void world_view_close(struct world *world)
{
	if (world->view != NULL)
		ck_assert_int_eq(hvrepl_view_close(world->view), HVREPL_OK);
	world->view = NULL;
}

void world_close(struct world *world)
{
	world_view_close(world);
	if (world->store != NULL)
		ck_assert_int_eq(hvrepl_store_destroy(world->store),
				 HVREPL_OK);
	world->store = NULL;
}

void world_abandon(struct world *world)
{
	/* Every callback fails by now: closing changes nothing. */
	ck_assert(world->sim.crashed);
	world_close(world);
}

/* ---- the primary ---- */

/* The model takes the pending cut in. */
static void accept(struct world *world, uint64_t key)
{
	struct world_point *point = &world->points[world->point_count++];

	ck_assert_uint_le(world->point_count, WORLD_POINTS);
	*point = (struct world_point){ .kept = true,
				       .key = key,
				       .number = world->cut.number,
				       .cut = world->cut.cut,
				       .image = world->cut.image };
	world->last_number = world->cut.number;
	world->cut.pending = false;
	world->cut.image = NULL;
}

int32_t world_send_segments(struct world *world)
{
	struct world_cut *cut = &world->cut;
	uint32_t next[WORLD_DISKS];

	for (unsigned d = 0; d < WORLD_DISKS; d++)
		HVRI_TRY(hvri_store_segment_begin(world->store, d,
						  cut->header[d], &next[d],
						  NULL));
	/* Disks take turns, and some chunks come twice. */
	for (uint32_t i = 0; i < WORLD_CHUNKS; i++) {
		for (unsigned d = 0; d < WORLD_DISKS; d++) {
			if (i < next[d] || i >= cut->counts[d])
				continue;
			HVRI_TRY(hvri_store_segment_append(
				world->store, d, cut->chunks[d][i],
				cut->lengths[d][i]));
			HVRI_TRY(hvri_store_segment_append(
				world->store, d, cut->chunks[d][i],
				cut->lengths[d][i]));
		}
		if (i == 0)
			HVRI_TRY(hvri_store_flush(world->store));
	}
	for (unsigned d = 0; d < WORLD_DISKS; d++)
		HVRI_TRY(hvri_store_segment_end(world->store, d,
						cut->counts[d], cut->root[d]));
	return HVREPL_OK;
}

int32_t world_send_cut(struct world *world)
{
	struct world_cut *cut = &world->cut;
	struct hvri_store_point_commit commit = {
		.number = cut->number,
		.epoch = world->epoch,
		.cut = cut->cut,
		.utc_ns = cut->number * 1000,
		.config = cut->cut.bytes,
		.config_length = 16,
		.config_version = cut->number,
	};
	uint64_t key = 0;

	HVRI_TRY(world_send_segments(world));
	HVRI_TRY(hvri_store_point_commit(world->store, &commit, &key, NULL));
	accept(world, key);
	return HVREPL_OK;
}

int32_t world_send_part(struct world *world)
{
	struct world_cut *cut = &world->cut;
	uint32_t next;

	for (unsigned d = 0; d < WORLD_DISKS; d++)
		HVRI_TRY(hvri_store_segment_begin(world->store, d,
						  cut->header[d], &next, NULL));
	for (uint32_t d = 0; d < WORLD_DISKS; d++)
		if (cut->counts[d] > 0)
			HVRI_TRY(hvri_store_segment_append(
				world->store, d, cut->chunks[d][0],
				cut->lengths[d][0]));
	return hvri_store_flush(world->store);
}

int32_t world_send(struct world *world)
{
	if (!world->cut.pending)
		world_make_cut(world);
	return world_send_cut(world);
}

int32_t world_first_point(struct world *world, bool adopt)
{
	struct hvri_store_point_commit commit = { .number = 1 };
	uint64_t key;

	for (unsigned d = 0; d < WORLD_DISKS && !world->cut.pending; d++)
		for (uint64_t at = 0; at < world->sizes[d]; at += 8192)
			test_fill(world->primary.bytes[d] + at,
				  world->sizes[d] - at < 4096 ?
					  world->sizes[d] - at :
					  4096,
				  test_random(&world->random));
	if (!world->cut.pending)
		world_make_cut_of(world, 0, WORLD_SIZE_MAX);
	if (!adopt)
		return world_send_cut(world);
	for (unsigned d = 0; d < WORLD_DISKS; d++)
		sim_disk_poke(world->bases[d], 0, world->primary.bytes[d],
			      world->sizes[d]);
	commit.epoch = world->epoch;
	commit.cut = world->cut.cut;
	HVRI_TRY(hvri_store_adopt(world->store, &commit, &key, NULL));
	accept(world, key);
	return HVREPL_OK;
}

int32_t world_adopt_base(struct world *world)
{
	struct hvri_store_point_commit commit = { 0 };
	uint64_t key;

	if (!world->cut.pending) {
		world->primary = world->guest;
		world_make_cut_with(world, NULL, 0);
	}
	commit.number = world->cut.number;
	commit.epoch = world->epoch;
	commit.cut = world->cut.cut;
	HVRI_TRY(hvri_store_adopt(world->store, &commit, &key, NULL));
	accept(world, key);
	world->failover = world->direct = false;
	return HVREPL_OK;
}

int32_t world_drop(struct world *world, uint64_t key)
{
	int32_t rc = hvri_store_drop(world->store, key, NULL);

	for (uint32_t i = 0; i < world->point_count; i++)
		if (world->points[i].key == key &&
		    rc != HVREPL_E_BUSY && rc != HVREPL_E_NOMEM)
			world->points[i].kept = false;
	return rc;
}

int32_t world_pin(struct world *world, struct world_point *point, bool pinned)
{
	bool before = point->pin_tried;
	int32_t rc;

	point->pin_tried = pinned;
	rc = pinned ? hvri_store_pin(world->store, point->key,
				     HVREPL_PIN_OPERATOR) :
		      hvri_store_unpin(world->store, point->key,
				       HVREPL_PIN_OPERATOR);
	if (world->sim.crashed)
		return rc;
	if (rc == HVREPL_OK)
		point->pinned = pinned;
	else if (hvri_store_usable(world->store) == HVREPL_OK)
		point->pin_tried = before; /* Refused: nothing of it is written. */
	return rc;
}

/* ---- the failed-over VM ---- */

static struct world_point *by_key(struct world *world, uint64_t key)
{
	for (uint32_t i = 0; i < world->point_count; i++)
		if (world->points[i].key == key)
			return &world->points[i];
	return NULL;
}

int32_t world_failover(struct world *world, uint64_t key)
{
	int32_t rc;

	if (world->view != NULL)
		return HVREPL_OK;
	rc = hvrepl_view_open(world->store, key, HVREPL_VIEW_FAILOVER,
			      &world->view, NULL);
	if (rc < 0)
		return rc;
	if (!world->failover) {
		world->failover = true;
		world->failover_key = hvrepl_view_point(world->view);
		world->guest = *by_key(world, world->failover_key)->image;
		memset(world->loose, 0, sizeof(world->loose));
	}
	return HVREPL_OK;
}

int32_t world_guest_change(struct world *world, unsigned d, uint64_t at,
			   uint64_t length, bool zero)
{
	uint8_t *bytes = world->guest.bytes[d] + at;

	/* From now on, and also if it fails, nobody knows these sectors. */
	memset(world->loose[d] + at / SIM_SECTOR, 1, length / SIM_SECTOR);
	if (zero)
		memset(bytes, 0, length);
	else
		test_fill(bytes, length, test_random(&world->random));
	for (unsigned tries = 0;; tries++) {
		int32_t rc = zero ? hvri_view_zero(world->view, d, at, length) :
				    hvri_view_write(world->view, d, at, bytes,
						    length);

		/* As a guest would. */
		if (rc == HVREPL_OK || world->sim.crashed || tries == 1)
			return rc;
	}
}

int32_t world_guest_write(struct world *world)
{
	unsigned d = (unsigned)draw(world, WORLD_DISKS);
	uint64_t sectors = world->sizes[d] / SIM_SECTOR;
	uint64_t at = draw(world, sectors);
	uint64_t count = 1 + draw(world, 24);

	count = count < sectors - at ? count : sectors - at;
	return world_guest_change(world, d, at * SIM_SECTOR, count * SIM_SECTOR,
				  draw(world, 5) == 0);
}

int32_t world_guest_look(struct world *world)
{
	for (unsigned d = 0; d < WORLD_DISKS; d++)
		for (uint64_t at = 0; at < world->sizes[d]; at += SIM_SECTOR)
			if (world->loose[d][at / SIM_SECTOR])
				HVRI_TRY(hvri_view_read(
					world->view, d, at,
					world->guest.bytes[d] + at,
					SIM_SECTOR));
	return HVREPL_OK;
}

int32_t world_guest_flush(struct world *world)
{
	int32_t rc = HVREPL_OK;

	for (unsigned d = 0; d < WORLD_DISKS && rc == HVREPL_OK; d++)
		rc = hvri_view_flush(world->view, d);

	/* A dead process says nothing: what failed to be written stays open. */
	if (rc == HVREPL_OK && !world->sim.crashed)
		memset(world->loose, 0, sizeof(world->loose));
	return rc;
}

/* ---- upkeep, to the end ---- */

int32_t world_merge(struct world *world, uint64_t target)
{
	struct hvrepl_store_info info = HVREPL_STORE_INFO_INIT;
	uint32_t more = 1;

	HVRI_TRY(hvrepl_store_info(world->store, &info));
	if (info.merge_target == 0)
		HVRI_TRY(hvri_store_merge_begin(world->store, target, NULL));
	while (more != 0)
		HVRI_TRY(hvri_store_merge_advance(world->store, &more, NULL));
	return HVREPL_OK;
}

/* Points that what comes next cannot give up, or gives up whatever their age. */
static void note_held(struct world *world)
{
	hvrepl_store *store = world->store;
	const struct hvri_manifest *state = &store->state;

	for (uint32_t i = 0; i < world->point_count; i++) {
		struct world_point *point = &world->points[i];
		const struct hvri_manifest_point *found =
			hvri_state_point(state, point->key);

		point->held |= found != NULL &&
			       (found->pins != 0 ||
				point->key == hvri_state_newest(state) ||
				point->key == state->commit_point ||
				point->key == state->merge_target ||
				hvri_store_viewed(store, point->key));
		point->doubted |= hvri_store_doubts(store, point->key);
	}
}

/* The model follows what policy gave up: the oldest that may go, and of them what is
 * beyond its number, which counts neither the newest point nor pinned ones. */
static void follow_policy(struct world *world)
{
	const struct world_point *newest = world_newest(world);
	const struct world_point *stays = NULL;
	uint32_t counted = 0;
	bool gone = false;

	note_held(world);
	for (uint32_t i = 0; i < world->point_count; i++) {
		struct world_point *point = &world->points[i];

		if (!point->kept)
			continue;
		hvri_lock(&world->store->map);
		point->kept = hvri_state_point(&world->store->state,
					       point->key) != NULL;
		hvri_unlock(&world->store->map);
		gone |= !point->kept;
		ck_assert_msg(point->kept || (!point->pinned && point != newest),
			      "upkeep gave up point %llu, which is %s",
			      (unsigned long long)point->key,
			      point->pinned ? "pinned" : "the newest");
		ck_assert_msg(point->kept || stays == NULL || point->doubted,
			      "upkeep gave up point %llu and kept the older "
			      "%llu",
			      (unsigned long long)point->key,
			      stays == NULL ? 0ull :
					      (unsigned long long)stays->key);
		if (point->kept && !point->held && stays == NULL)
			stays = point;
		point->held = point->doubted = false;
		counted += point->kept && !point->pinned && point != newest;
	}
	ck_assert(!gone || counted >= world->options.points_max ||
		  world->options.capacity != 0 || world->full);
	world->maintaining = false;
}

int32_t world_maintain(struct world *world)
{
	uint32_t more = 1;

	world->maintaining = true;
	for (unsigned i = 0; more != 0; i++) {
		if (i == 5000)
			ck_abort_msg("upkeep has no end");
		note_held(world);
		HVRI_TRY(hvrepl_store_maintain(world->store, &more, NULL));
	}
	follow_policy(world);
	return HVREPL_OK;
}

int32_t world_commit(struct world *world)
{
	uint32_t more = 1;

	HVRI_TRY(hvrepl_store_commit_begin(world->store, NULL));
	while (more != 0) {
		int32_t rc = hvrepl_store_commit_advance(world->store, &more,
							 NULL);

		if (world->store->state.commit == HVRI_COMMIT_SWITCHING ||
		    world->store->state.materialised != 0)
			world->direct = true;
		if (rc < 0)
			return rc;
	}
	return HVREPL_OK;
}

int32_t world_cancel(struct world *world)
{
	uint32_t more = 1;

	world_view_close(world);
	while (more != 0)
		HVRI_TRY(hvrepl_store_cancel(world->store, &more, NULL));
	world->failover = false;
	return HVREPL_OK;
}

/* ---- checks ---- */

struct world_point *world_kept(struct world *world, uint32_t i)
{
	for (uint32_t p = 0; p < world->point_count; p++)
		if (world->points[p].kept && i-- == 0)
			return &world->points[p];
	return NULL;
}

uint32_t world_kept_count(struct world *world)
{
	uint32_t n = 0;

	while (world_kept(world, n) != NULL)
		n++;
	return n;
}

struct world_point *world_newest(struct world *world)
{
	struct world_point *newest = NULL;

	for (uint32_t p = 0; p < world->point_count; p++)
		if (world->points[p].kept)
			newest = &world->points[p];
	return newest;
}

/* A pin is there if it was said to be, or was asked for when all ended. */
static void settle_pins(struct world *world)
{
	for (uint32_t i = 0; i < world->point_count; i++) {
		struct world_point *point = &world->points[i];
		const struct hvri_manifest_point *found =
			hvri_state_point(&world->store->state, point->key);
		bool pinned = found != NULL && found->pins != 0;

		if (!point->kept || found == NULL)
			continue;
		ck_assert_msg(pinned == point->pinned ||
				      pinned == point->pin_tried,
			      "point %llu lost its pin",
			      (unsigned long long)point->key);
		point->pinned = point->pin_tried = pinned;
	}
}

void world_settle(struct world *world)
{
	struct hvrepl_point point;

	if (world->cut.pending &&
	    hvri_store_point_find(world->store, &world->epoch,
				  world->cut.number, &world->cut.cut,
				  &point) == HVREPL_OK)
		accept(world, point.point);
	if (world->maintaining)
		follow_policy(world);
	/* A drop whose record did not make it. */
	for (uint32_t i = 0; i < world->point_count; i++)
		if (!world->points[i].kept &&
		    hvri_state_point(&world->store->state,
				     world->points[i].key) != NULL)
			world->points[i].kept = true;
	if (world->direct &&
	    (world->store->state.commit == HVRI_COMMIT_SWITCHING ||
	     world->store->state.phase == HVRI_MANIFEST_BASE_ONLY))
		for (uint32_t i = 0; i < world->point_count; i++)
			world->points[i].kept = false;
	settle_pins(world);
}

static void compare(struct world *world, hvrepl_view *view,
		    const struct world_image *image)
{
	static uint8_t bytes[512 * 60];

	for (unsigned d = 0; d < WORLD_DISKS; d++) {
		uint64_t at = 0, size = world->sizes[d];
		int32_t rc;

		/* Pieces of any size. */
		while (at < size) {
			const uint8_t *must = image->bytes[d] + at;
			uint64_t length = 512 * (1 + draw(world, 60)), i = 0;

			length = length < size - at ? length : size - at;
			rc = hvri_view_read(view, d, at, bytes, length);
			if (rc < 0)
				ck_abort_msg("reading a view gives %d", rc);
			if (memcmp(bytes, must, length) != 0) {
				while (bytes[i] == must[i])
					i++;
				ck_abort_msg("point %llu disk %u differs at "
					     "%llu",
					     (unsigned long long)
						     hvrepl_view_point(view),
					     d, (unsigned long long)(at + i));
			}
			at += length;
		}
	}
}

void world_check(struct world *world)
{
	struct hvrepl_point listed[WORLD_POINTS];
	uint32_t count = WORLD_POINTS, at = 0;

	listed[0].struct_size = sizeof(listed[0]);
	ck_assert_int_eq(hvrepl_store_points(world->store, listed, &count),
			 HVREPL_OK);
	for (uint32_t i = 0; i < world->point_count; i++) {
		struct world_point *point = &world->points[i];
		hvrepl_view *view;
		uint8_t config[64];
		uint32_t length = sizeof(config);

		if (!point->kept)
			continue;
		ck_assert_uint_lt(at, count);
		ck_assert_uint_eq(listed[at].point, point->key);
		ck_assert_uint_eq(listed[at].number, point->number);
		at++;
		ck_assert_int_eq(hvrepl_view_open(world->store, point->key,
						  HVREPL_VIEW_READ_ONLY, &view,
						  NULL),
				 HVREPL_OK);
		compare(world, view, point->image);
		ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
		ck_assert_int_eq(hvrepl_store_config(world->store, point->key,
						     config, &length),
				 HVREPL_OK);
		if (length > 0)
			ck_assert_mem_eq(config, point->cut.bytes, 16);
	}
	ck_assert_uint_eq(at, count);
}

static int32_t read_guest(struct world *world, unsigned d, uint8_t *bytes)
{
	if (world->view != NULL)
		return hvri_view_read(world->view, d, 0, bytes,
				      world->sizes[d]);
	ck_assert_uint_eq(world->store->state.phase, HVRI_MANIFEST_BASE_ONLY);
	memcpy(bytes, sim_disk_bytes(world->bases[d]), world->sizes[d]);
	return HVREPL_OK;
}

void world_check_guest(struct world *world, bool crashed)
{
	static uint8_t bytes[WORLD_SIZE_MAX];

	for (unsigned d = 0; d < WORLD_DISKS; d++) {
		ck_assert_int_eq(read_guest(world, d, bytes), HVREPL_OK);
		for (uint64_t at = 0; at < world->sizes[d]; at += SIM_SECTOR) {
			uint8_t *want = world->guest.bytes[d] + at;

			if (crashed && world->loose[d][at / SIM_SECTOR])
				memcpy(want, bytes + at, SIM_SECTOR);
			if (memcmp(bytes + at, want, SIM_SECTOR) != 0)
				ck_abort_msg("guest differs: disk %u at %llu",
					     d, (unsigned long long)at);
		}
	}
	if (crashed)
		memset(world->loose, 0, sizeof(world->loose));
}
