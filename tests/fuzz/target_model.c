/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracker-model: one tracker beside an array of bools. Writes of every kind
 * and outcome, marks, cuts that are acknowledged or fail, windows, clean ends
 * and kills, in an order that the input decides. Without a kill the map is
 * exactly the model; after one it has all of the model, and besides only whole
 * regions that were written.
 */
#include "fuzz.h"

#include "sim.h"
#include "testing.h"
#include "tracker/internal.h"

#include <string.h>

#define BLOCK 1024u
#define REGION 65536u
#define SECTORS (7 * 128 + 77u) /* The last region and block are short. */
#define SIZE (SECTORS * 512u)
#define BLOCKS ((SIZE + BLOCK - 1) / BLOCK)
#define REGIONS ((SIZE + REGION - 1) / REGION)
#define CUTS_MAX 3u

struct model_cut {
	hvrepl_cut *cut;
	bool taken[BLOCKS]; /* What the model says it has. */
	bool voided;	    /* One that it builds on failed. */
};

static struct test_env env;
static struct sim sim;
static struct sim_storage *files;
static struct sim_disk *disk;
static hvrepl_group *group;
static hvrepl_tracker *tracker;
static bool dirty[BLOCKS], written[REGIONS];
static struct model_cut cuts[CUTS_MAX]; /* Oldest first. */
static unsigned cut_count;
static uint64_t limit;
static int32_t result;

static int32_t attach(uint32_t flags)
{
	struct hvrepl_group_options options = HVREPL_GROUP_OPTIONS_INIT;
	struct hvrepl_tracker_options mine = HVREPL_TRACKER_OPTIONS_INIT;
	struct hvrepl_storage storage = sim_storage_handle(files);
	struct hvrepl_disk taken = sim_disk_handle(disk);

	options.level = HVREPL_LEVEL_STORE;
	options.cool_after_ns = 1000;
	fuzz_must(hvrepl_group_create(&env.env, &options, NULL, &group) ==
			  HVREPL_OK,
		  "no group");
	mine.flags = flags;
	mine.object_id = "d.hvt";
	mine.block_size = BLOCK;
	mine.region_size = REGION;
	limit = UINT64_MAX;
	return hvrepl_tracker_attach(group, &taken, &storage, &mine, NULL,
				     &tracker);
}

static void detach(uint32_t flags)
{
	fuzz_must(hvrepl_tracker_detach(tracker, flags) == HVREPL_OK &&
			  hvrepl_group_destroy(group) == HVREPL_OK,
		  "not detached");
}

static bool is_dirty(uint32_t block)
{
	uint64_t word = atomic_load(&group->word);

	return hvri_bitmap_get(
		atomic_load(&tracker->map[hvri_generation(word) & 1]), block);
}

/* Of a voided cut: changed, perhaps not yet in the map again. */
static bool comes_back(uint32_t block)
{
	for (unsigned i = 0; i < cut_count; i++)
		if (cuts[i].voided && cuts[i].taken[block])
			return true;
	return false;
}

static void check(bool exact)
{
	struct hvrepl_tracker_info info = HVREPL_TRACKER_INFO_INIT;
	uint64_t bytes = 0, most = 0;

	for (uint32_t b = 0; b < BLOCKS; b++) {
		bool real = is_dirty(b);

		fuzz_must(real || !dirty[b], "a changed block is clean");
		most += dirty[b] || comes_back(b) ? BLOCK : 0;
		if (real && !dirty[b] && !comes_back(b)) {
			fuzz_must(!exact, "a clean block counts as changed");
			fuzz_must(written[b * BLOCK / REGION],
				  "a region nobody wrote counts as changed");
			dirty[b] = true;
			most += BLOCK;
		}
		if (dirty[b])
			bytes += HVRI_MIN(BLOCK, SIZE - b * BLOCK);
	}
	fuzz_must(hvrepl_tracker_get_info(tracker, &info) == HVREPL_OK &&
			  info.dirty_bytes >= bytes &&
			  info.dirty_bytes <= most,
		  "dirty bytes are counted wrong");
}

static void mark(uint64_t offset, uint64_t length)
{
	for (uint64_t b = offset / BLOCK; b <= (offset + length - 1) / BLOCK;
	     b++)
		dirty[b] = true;
}

static void completed(struct hvrepl_ticket *ticket, int32_t rc)
{
	(void)ticket;
	result = rc;
}

static void write_some(struct fuzz_in *in)
{
	struct hvrepl_ticket ticket = HVREPL_TICKET_INIT;
	uint64_t first = fuzz_below(in, SECTORS);
	uint64_t count = 1 + (fuzz_u8(in) % 8 == 0 ? fuzz_u16(in) :
						     fuzz_u8(in) % 16u);
	uint32_t kind = fuzz_u8(in) % 3;
	bool fails = fuzz_u8(in) % 8 == 0;
	int32_t rc;

	count = HVRI_MIN(count, SECTORS - first);
	for (uint64_t s = first; s < first + count; s++)
		written[s * 512 / REGION] = true;
	ticket.complete = completed;
	result = HVREPL_PENDING;
	rc = hvrepl_tracker_write_begin(tracker, first * 512, count * 512,
					kind, &ticket);
	for (int i = 0; rc == HVREPL_PENDING && i < 100; i++) {
		(void)hvrepl_group_process(group);
		env.now_ns += 1000000;
		rc = result;
	}
	/* A discard over owed blocks may be dropped; it is a hint (T3). */
	if (rc == HVREPL_E_BUSY && kind == HVREPL_WRITE_DISCARD)
		return;
	fuzz_must(rc == HVREPL_OK, "a write is held up for ever");
	mark(first * 512, count * 512);
	(void)hvrepl_tracker_write_end(tracker, &ticket,
				       fails ? HVREPL_E_DISK_IO : HVREPL_OK);
}

static void check_extents(const struct model_cut *cut)
{
	static bool seen[BLOCKS];
	struct hvrepl_extent extents[4];
	uint64_t from = 0, limit_of = HVRI_MIN(limit, SIZE);

	memset(seen, 0, sizeof(seen));
	while (from < limit_of) {
		uint32_t count = 4;
		uint64_t end = 0;

		fuzz_must(hvrepl_cut_next_extents(cut->cut, 0, from, extents,
						  &count, &end) == HVREPL_OK &&
				  end > from,
			  "a cut does not say what it has");
		for (uint32_t i = 0; i < count; i++)
			for (uint64_t at = 0; at < extents[i].length;
			     at += BLOCK)
				seen[(extents[i].offset + at) / BLOCK] = true;
		from = end;
	}
	for (uint32_t b = 0; b < BLOCKS; b++)
		fuzz_must(seen[b] == cut->taken[b],
			  seen[b] ? "a cut has a block that did not change" :
				    "a cut misses a changed block");
}

static void end_cut(bool good)
{
	struct model_cut *first = &cuts[0];

	if (cut_count == 0)
		return;
	fuzz_must(hvrepl_cut_close(first->cut,
				   good ? HVREPL_OK : HVREPL_E_DISCONNECTED) ==
			  (good && first->voided ? HVREPL_E_VOIDED : HVREPL_OK),
		  "a cut is not closed");
	for (uint32_t b = 0; b < BLOCKS && (!good || first->voided); b++)
		dirty[b] |= first->taken[b];
	/* Later ones build on it: theirs come back when the pump gets there,
	 * at the latest when they are closed. */
	for (unsigned i = 1; i < cut_count; i++)
		cuts[i].voided |= !good || first->voided;
	cut_count--;
	memmove(cuts, cuts + 1, cut_count * sizeof(cuts[0]));
}

static void make_cut(struct fuzz_in *in)
{
	struct hvrepl_cut_label label = HVREPL_CUT_LABEL_INIT;
	struct model_cut *mine;
	uint32_t progress = 0;

	while (cut_count > 0 && cuts[0].voided)
		end_cut(fuzz_u8(in) % 2);
	if (cut_count == CUTS_MAX)
		return;
	mine = &cuts[cut_count];
	limit = fuzz_u8(in) % 4 != 0 ? UINT64_MAX :
				       fuzz_below(in, BLOCKS + 1) * BLOCK;
	label.limit = limit;
	fuzz_must(hvrepl_tracker_set_label(tracker, &label) == HVREPL_OK &&
			  hvrepl_group_cut(group, 0, NULL, &mine->cut) ==
				  HVREPL_OK,
		  "no cut is made");
	for (uint32_t b = 0; b < BLOCKS; b++) {
		mine->taken[b] = dirty[b] && (uint64_t)b * BLOCK < limit;
		dirty[b] &= !mine->taken[b];
	}
	mine->voided = false;
	cut_count++;
	check_extents(mine);
	for (int i = 0; progress != HVREPL_CUT_DONE && i < 10000; i++)
		fuzz_must(hvrepl_cut_advance(mine->cut, 1, &progress) ==
				  HVREPL_OK,
			  "a cut is given up for nothing");
	fuzz_must(progress == HVREPL_CUT_DONE, "a cut comes to no end");
}

static void cool(void)
{
	for (int i = 0; i < 4; i++) {
		env.now_ns += 2000;
		fuzz_must(hvrepl_group_process(group) == HVREPL_OK, "process");
	}
}

static void end_life(bool clean)
{
	/* An owner that goes gives its cuts back. */
	while (cut_count > 0)
		end_cut(false);
	detach(clean ? HVREPL_DETACH_CLEAN : 0);
	if (!clean)
		sim_restart(&sim, true);
	fuzz_must(attach(0) == HVREPL_OK, "not attached again");
	check(clean);
}

static void step(struct fuzz_in *in)
{
	struct hvrepl_extent extent;
	struct hvrepl_ticket ticket = HVREPL_TICKET_INIT;

	switch (fuzz_u8(in) % 16) {
	case 0:
	case 1:
		make_cut(in);
		break;
	case 2:
		end_cut(true);
		break;
	case 3:
		end_cut(false);
		break;
	case 4:
		extent.offset = fuzz_below(in, SECTORS) * 512ull;
		extent.length = HVRI_MIN(1u + fuzz_u16(in), SIZE - extent.offset);
		if (hvrepl_tracker_mark(tracker, &extent, 1) == HVREPL_OK) {
			mark(extent.offset, extent.length);
			for (uint64_t at = extent.offset / REGION;
			     at <= (extent.offset + extent.length - 1) / REGION;
			     at++)
				written[at] = true;
		}
		break;
	case 5:
		if (fuzz_u8(in) % 4 == 0) {
			fuzz_must(hvrepl_tracker_mark_all(tracker) == HVREPL_OK,
				  "not marked");
			memset(dirty, 1, sizeof(dirty));
			memset(written, 1, sizeof(written));
		}
		break;
	case 6:
		end_life(true);
		break;
	case 7:
		end_life(false);
		break;
	case 8:
	case 9:
		cool();
		break;
	case 10:
		ticket.complete = completed;
		fuzz_must(hvrepl_tracker_fence(tracker) == HVREPL_OK &&
				  hvrepl_tracker_write_begin(
					  tracker, 0, 512, HVREPL_WRITE_DATA,
					  &ticket) == HVREPL_E_FENCED &&
				  hvrepl_tracker_unfence(tracker) == HVREPL_OK,
			  "a fence lets a write through");
		break;
	case 11:
		fuzz_must(hvrepl_tracker_save(tracker, NULL) == HVREPL_OK,
			  "not saved");
		break;
	default:
		write_some(in);
		break;
	}
}

static void one(const uint8_t *bytes, size_t length)
{
	struct fuzz_in in = { bytes, length };

	test_env_init(&env, 1);
	env.now_ns = 1;
	sim_init(&sim, 1);
	sim.garbage_percent = 0; /* A torn sector of marks is all hot. */
	files = sim_storage_new(&sim);
	disk = sim_disk_new(&sim, SIZE);
	disk->flags = HVREPL_DISK_EXCLUSIVE;
	memset(dirty, 0, sizeof(dirty));
	memset(written, 0, sizeof(written));
	cut_count = 0;
	fuzz_must(attach(HVREPL_TRACKER_CREATE) == HVREPL_OK, "not made");
	for (unsigned i = 0; in.left > 0 && i < 200; i++) {
		step(&in);
		check(true);
	}
	end_life(true);
	detach(0);
	sim_free(&sim);
	fuzz_must(env.alloc_live == 0, "the tracker leaks");
}

static void seeds(void)
{
	for (uint64_t i = 0; i < 16; i++)
		fuzz_seed_random(i + 1, 32 + 32 * i);
}

extern const struct fuzz_target fuzz_tracker_model;
const struct fuzz_target fuzz_tracker_model = { "tracker-model", one, seeds,
						NULL };
