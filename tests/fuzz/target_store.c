/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store: receiving, merging, dropping, compacting, failing over, committing
 * and cancelling in an order that the input decides, with a crash at an I/O it
 * picks, beside the naive model of tests/lib; then bytes of the store's files
 * are damaged and it is opened. Every point is exact after recovery; after
 * damage every byte is right or refused, and opening says what is wrong.
 */
#include "fuzz.h"

#include "base/digest.h"
#include "store/view.h"
#include "storeworld.h"

#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 40u
#define OBJECTS_MAX 64u
#define MEMORY_MAX (64u << 20)

static struct world w;
static bool power_loss;

static uint32_t kept(void)
{
	uint32_t n = 0;

	while (world_kept(&w, n) != NULL)
		n++;
	return n;
}

static int32_t some_steps(uint8_t count)
{
	uint32_t more = 1;
	int32_t rc;

	if (w.store->state.phase != HVRI_MANIFEST_REPLICA || !w.failover)
		return HVREPL_OK;
	rc = hvrepl_store_commit_begin(w.store, NULL);
	/* Another point is pinned: commit would drop it. */
	if (rc == HVREPL_E_BUSY)
		return HVREPL_OK;
	HVRI_TRY(rc);
	for (unsigned i = 0; i < count && w.store->state.materialised == 0; i++)
		HVRI_TRY(hvrepl_store_commit_advance(w.store, &more, NULL));
	return HVREPL_OK;
}

/* A commit gives up all points: none is pinned under it. */
static int32_t pin(struct world_point *point)
{
	bool refused = w.store->committing ||
		       w.store->state.commit == HVRI_COMMIT_FOLDING;
	int32_t rc = world_pin(&w, point, true);

	if (refused && rc == HVREPL_OK)
		return HVREPL_E_STATE;
	return refused && rc == HVREPL_E_BUSY ? HVREPL_OK : rc;
}

static int32_t commit(void)
{
	uint32_t more = 1;
	int32_t rc;

	if (w.store->state.phase == HVRI_MANIFEST_BASE_ONLY || !w.failover)
		return HVREPL_OK;
	rc = hvrepl_store_commit_begin(w.store, NULL);
	if (rc == HVREPL_E_BUSY)
		return HVREPL_OK;
	HVRI_TRY(rc);
	while (more != 0) {
		w.direct = true;
		HVRI_TRY(hvrepl_store_commit_advance(w.store, &more, NULL));
	}
	return world_guest_flush(&w);
}

static int32_t merge(uint64_t target)
{
	if (w.store->state.merge_target == 0 && w.store->state.base >= target)
		return HVREPL_OK;
	return world_merge(&w, target);
}

static int32_t step(struct fuzz_in *in)
{
	uint8_t what = fuzz_u8(in) % 14, more_of_it = fuzz_u8(in);
	bool replica = w.store->state.phase == HVRI_MANIFEST_REPLICA;
	uint32_t more = 1;
	struct world_point *point;
	uint64_t key;
	int32_t rc;

	if (w.point_count == 0)
		return w.cut.pending ? world_send_cut(&w) :
				       world_first_point(&w, more_of_it % 2);
	if (!replica)
		what = what % 2 == 0 ? 7 : 8; /* Committed: a guest only. */
	point = kept() > 0 ? world_kept(&w, more_of_it % kept()) : NULL;
	key = point != NULL ? point->key : 0;
	switch (what) {
	case 0:
	case 1:
		return w.failover ? HVREPL_OK : world_send(&w);
	case 2:
		return w.failover ? HVREPL_OK : merge(key);
	case 3:
		return w.failover ? HVREPL_OK : world_maintain(&w);
	case 4:
		if (key == 0 || key == world_newest(&w)->key ||
		    (w.failover && key == w.failover_key))
			return HVREPL_OK;
		rc = world_drop(&w, key);
		return rc == HVREPL_E_BUSY ? HVREPL_OK : rc; /* Pinned. */
	case 5:
		while (more != 0)
			HVRI_TRY(hvri_store_compact(w.store, &more));
		return HVREPL_OK;
	case 6:
		return world_failover(&w, w.failover ? 0 : key);
	case 7:
		return w.view == NULL ? HVREPL_OK : world_guest_write(&w);
	case 8:
		return w.view == NULL ? HVREPL_OK : world_guest_flush(&w);
	case 9:
		return some_steps(more_of_it % 8);
	case 10:
		return more_of_it % 4 == 0 ? commit() : HVREPL_OK;
	case 11:
		if (w.store->state.commit == HVRI_COMMIT_NONE) {
			w.failover = false;
			return HVREPL_OK;
		}
		return w.direct ? HVREPL_OK : world_cancel(&w);
	case 12:
		return point == NULL ? HVREPL_OK : pin(point);
	default:
		/* Closing a view is no flush. */
		if (w.view != NULL)
			HVRI_TRY(world_guest_flush(&w));
		world_view_close(&w);
		world_close(&w);
		HVRI_TRY(world_open(&w, false));
		return w.store->state.commit != HVRI_COMMIT_NONE ?
			       world_failover(&w, 0) :
			       HVREPL_OK;
	}
}

static void recover(void)
{
	uint32_t more = 1;
	int32_t rc;

	world_abandon(&w);
	sim_restart(&w.sim, power_loss);
	rc = world_open(&w, false);
	if (rc == HVREPL_E_NOT_FOUND && w.point_count == 0)
		rc = world_open(&w, true); /* Creating it had not ended. */
	fuzz_must(rc == HVREPL_OK, "a crash keeps a store from opening");
	world_settle(&w);
	world_check(&w);
	if (w.store->state.commit == HVRI_COMMIT_RESTORING) {
		while (more != 0)
			fuzz_must(hvrepl_store_cancel(w.store, &more, NULL) ==
					  HVREPL_OK,
				  "a cancel does not go on");
		w.failover = w.direct = false;
	} else if (w.store->state.phase == HVRI_MANIFEST_BASE_ONLY) {
		world_check_guest(&w, true);
	} else if (w.store->state.commit == HVRI_COMMIT_NONE) {
		w.failover = false;
	} else {
		fuzz_must(world_failover(&w, 0) == HVREPL_OK,
			  "a failover does not go on");
		world_check_guest(&w, true);
	}
}

struct names {
	char ids[OBJECTS_MAX][HVREPL_OBJECT_ID_MAX + 1];
	unsigned count;
};

static int32_t note_name(void *argument, const char *id, uint64_t size)
{
	struct names *names = argument;

	(void)size;
	fuzz_must(names->count < OBJECTS_MAX, "more files than expected");
	memcpy(names->ids[names->count++], id, strlen(id) + 1);
	return HVREPL_OK;
}

static void right_or_refused(void)
{
	static uint8_t bytes[4096];

	for (uint32_t i = 0; i < w.point_count; i++) {
		hvrepl_view *view;

		if (!w.points[i].kept ||
		    hvrepl_view_open(w.store, w.points[i].key,
				     HVREPL_VIEW_READ_ONLY, &view,
				     NULL) != HVREPL_OK)
			continue;
		for (unsigned d = 0; d < WORLD_DISKS; d++)
			for (uint64_t o = 0; o < w.sizes[d]; o += 4096) {
				uint64_t n = HVRI_MIN(w.sizes[d] - o, 4096u);
				int32_t rc = hvri_view_read(view, d, o, bytes,
							    n);

				fuzz_must(rc < 0 ||
						  memcmp(bytes,
							 w.points[i].image
									 ->bytes[d] +
								 o,
							 n) == 0,
					  "damage gives wrong bytes");
			}
		fuzz_must(hvrepl_view_close(view) == HVREPL_OK, "view");
	}
}

static void sign_head(uint8_t *slot)
{
	struct hvri_sha256 sha;

	fuzz_must(hvri_sha256_begin(&sha) == HVREPL_OK &&
			  hvri_sha256_add(&sha, slot, HVRI_HEAD_SIZE - 32) ==
				  HVREPL_OK &&
			  hvri_sha256_end(&sha, slot + HVRI_HEAD_SIZE - 32) ==
				  HVREPL_OK,
		  "no SHA-256");
	hvri_sha256_free(&sha);
}

/* Damage some bytes, open; `forge`: heads of any content in form. */
static void damaged(struct fuzz_in *in, bool forge)
{
	struct hvrepl_storage storage = sim_storage_handle(w.storage);
	struct names names = { .count = 0 };
	bool head = false;
	int32_t rc;

	world_close(&w);
	fuzz_must(storage.ops->list(storage.user, "", note_name, &names) ==
			  HVREPL_OK,
		  "no list");
	for (unsigned n = 1 + fuzz_u8(in) % 6; n-- > 0 && names.count > 0;) {
		const char *id = names.ids[fuzz_u8(in) % names.count];
		uint64_t size = 0;
		uint8_t *bytes;

		if (forge)
			id = "store.head";
		bytes = sim_object_bytes(w.storage, id, &size);
		if (bytes == NULL || size == 0)
			continue;
		bytes[(fuzz_u8(in) % 2 == 0 ? fuzz_u8(in) : fuzz_u32(in)) %
		      size] ^= (uint8_t)(1 + fuzz_u8(in) % 255);
		if (forge && size >= HVRI_HEAD_SLOT_STEP + HVRI_HEAD_SIZE) {
			sign_head(bytes);
			sign_head(bytes + HVRI_HEAD_SLOT_STEP);
		}
		head |= strcmp(id, "store.head") == 0;
	}
	rc = world_open(&w, false);
	fuzz_must(w.env.alloc_bytes < MEMORY_MAX, "too much memory");
	if (rc == HVREPL_OK)
		right_or_refused();
	else
		fuzz_must(rc == HVREPL_E_CORRUPT || rc == HVREPL_E_TRUNCATED ||
				  rc == HVREPL_E_FORMAT_TOO_NEW ||
				  rc == HVREPL_E_NOT_FOUND || head,
			  "damage has another name");
}

static void one(const uint8_t *bytes, size_t length)
{
	struct fuzz_in in = { bytes, length };
	uint8_t flags = fuzz_u8(&in);
	uint64_t at = fuzz_u16(&in) % 1024u;
	size_t share = fuzz_u8(&in);
	struct fuzz_in later = { fuzz_take(&in, &share), share };
	int32_t rc;

	world_init(&w, 3);
	w.change_blocks = 4;
	w.options.container_bytes = 12288;
	w.options.points_max = 8;
	power_loss = (flags & 1) != 0;
	fuzz_must(world_open(&w, true) == HVREPL_OK, "not made");
	if ((flags & 2) != 0)
		w.sim.crash_at = w.sim.io_count + at;
	for (unsigned i = 0; in.left > 0 && i < STEPS_MAX; i++) {
		rc = step(&in);
		if (w.sim.crashed)
			recover();
		else
			ck_assert_msg(rc == HVREPL_OK,
				      "step %u fails by itself: %d", i, rc);
	}
	w.sim.crash_at = UINT64_MAX;
	world_settle(&w);
	world_check(&w);
	if (w.failover)
		world_check_guest(&w, false);
	if ((flags & 4) != 0)
		damaged(&later, (flags & 8) != 0);
	world_free(&w);
	fuzz_must(w.env.alloc_live == 0, "the store leaks");
}

static void seeds(void)
{
	for (uint64_t i = 0; i < 24; i++)
		fuzz_seed_random(i + 1, 40 + 8 * i);
}

extern const struct fuzz_target fuzz_store;
const struct fuzz_target fuzz_store = { "store", one, seeds, NULL };
