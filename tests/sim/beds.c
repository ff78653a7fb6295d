/* SPDX-License-Identifier: Apache-2.0 */
/* Stories of one part alone: trackers with writers in every order, killed and
 * without power; a store beside a model. They reach deeper per second than a
 * story of two sites. */
#include "story.h"

#include "sparsedisk.h"
#include "storelife.h"
#include "storeplay.h"
#include "trackbed.h"

#include "base/plant.h"

static void life(struct bed *bed, unsigned steps)
{
	for (unsigned i = 0; i < steps && !bed->sim.crashed; i++)
		bed_step(bed);
}

/* A fine map of which a write went astray is noticed, and then what was hot
 * counts. */
static void open_again(struct bed *bed)
{
	int32_t rc = bed_attach(bed, 0);

	if (rc == HVREPL_E_CORRUPT && bed->sim.hurt > 0)
		rc = bed_attach(bed, HVREPL_TRACKER_REBUILD);
	ck_assert_int_eq(rc, HVREPL_OK);
}

/* One write of a tracker's file, some time soon, is lost or lands elsewhere. */
static void lead_astray(struct bed *bed, uint64_t *draw)
{
	bed->sim.stray = 1 + (unsigned)(test_random(draw) % 2);
	bed->sim.stray_at = bed->sim.io_count + test_random(draw) % 200;
	bed->sim.stray_in = bed->files;
}

/* One call of storage or of a disk fails, and what it was for is given up or
 * done in another way. */
static void fail_once(struct bed *bed, uint64_t *draw)
{
	bed->sim.fail_at = bed->sim.call_count + test_random(draw) % 300;
	bed->sim.fail_code = test_random(draw) % 2 == 0 ? HVREPL_E_STORAGE_IO :
							  HVREPL_E_NO_SPACE;
}

/* The same image gives the same tracker, however often it is opened (I3). */
static void recover(struct bed *bed)
{
	struct hvrepl_tracker_info first[BED_DISKS], again;
	struct bed_word word[BED_DISKS];

	bed->sim.stray = SIM_STRAY_NONE;
	bed->sim.fail_at = UINT64_MAX;
	sim_backup(&bed->sim);
	memcpy(word, bed->word, sizeof(word));
	open_again(bed);
	for (unsigned i = 0; i < BED_DISKS; i++) {
		first[i] = (struct hvrepl_tracker_info)HVREPL_TRACKER_INFO_INIT;
		(void)!hvrepl_tracker_get_info(bed->tracker[i], &first[i]);
	}
	focus = 2;
	bed_check_covered(bed);
	PROVE(1);
	PROVE(2);
	bed_kill(bed);
	sim_restore(&bed->sim);
	memcpy(bed->word, word, sizeof(word));
	open_again(bed);
	for (unsigned i = 0; i < BED_DISKS; i++) {
		again = (struct hvrepl_tracker_info)HVREPL_TRACKER_INFO_INIT;
		(void)!hvrepl_tracker_get_info(bed->tracker[i], &again);
		HOLDS(3,
		      again.recovery == first[i].recovery &&
			      again.dirty_bytes == first[i].dirty_bytes &&
			      again.hot_regions == first[i].hot_regions,
		      "disk %u recovers as %u with %llu bytes, then as %u "
		      "with %llu",
		      i, first[i].recovery,
		      (unsigned long long)first[i].dirty_bytes, again.recovery,
		      (unsigned long long)again.dirty_bytes);
	}
	focus = 1;
	bed_check_covered(bed);
}

static void never(struct hvrepl_ticket *ticket, int32_t result)
{
	(void)ticket;
	violated(44, "a ticket that did not wait ended with %d", result);
}

/* Writes beside the borders that others have tripped over; each is in the cut,
 * and nothing far from it is (I6). */
static void story_of_geometry(uint64_t n)
{
	static const uint64_t borders[] = { 1ull << 31, 1ull << 32, 1ull << 33,
					    1ull << 37, 1ull << 40,
					    (5ull << 40) - 4096 };
	struct hvrepl_group_options of_group = HVREPL_GROUP_OPTIONS_INIT;
	struct hvrepl_tracker_options options = HVREPL_TRACKER_OPTIONS_INIT;
	struct sparse_disk *disk = sparse_disk_new(5ull << 40);
	struct hvrepl_disk handle = sparse_disk_handle(disk);
	uint64_t draw = n * 77 + 5, offset, end = 0;
	hvrepl_tracker *tracker = NULL;
	hvrepl_group *group = NULL;
	struct hvrepl_storage files;
	struct test_env env;
	struct sim sim;

	test_env_init(&env, n);
	sim_init(&sim, n);
	files = sim_storage_handle(sim_storage_new(&sim));
	focus = 6;
	ck_assert_int_eq(hvrepl_group_create(&env.env, &of_group, NULL, &group),
			 HVREPL_OK);
	options.flags = HVREPL_TRACKER_CREATE;
	options.vm.bytes[0] = options.disk.bytes[0] = 1;
	options.owner.bytes[0] = 2;
	options.object_id = "a.hvt";
	options.region_size = 1u << 30;
	ck_assert_int_eq(hvrepl_tracker_attach(group, &handle, &files, &options,
					       NULL, &tracker),
			 HVREPL_OK);
	offset = borders[test_random(&draw) %
			 (sizeof(borders) / sizeof(borders[0]))] -
		 test_random(&draw) % 3 * 4096;
	{
		struct hvrepl_ticket ticket = HVREPL_TICKET_INIT;
		struct hvrepl_extent found = { 0, 0 };
		uint32_t count = 1;
		hvrepl_cut *cut = NULL;

		ticket.complete = never;
		ck_assert_int_eq(hvrepl_tracker_write_begin(
					 tracker, offset, 4096,
					 (uint32_t)(test_random(&draw) % 3),
					 &ticket),
				 HVREPL_OK);
		ck_assert_int_eq(hvrepl_tracker_write_end(tracker, &ticket,
							  HVREPL_OK),
				 HVREPL_OK);
		ck_assert_int_eq(hvrepl_group_cut(group, 0, NULL, &cut),
				 HVREPL_OK);
		ck_assert_int_eq(hvrepl_cut_next_extents(cut, 0, 0, &found,
							 &count, &end),
				 HVREPL_OK);
		HOLDS(6,
		      count == 1 && found.offset <= offset &&
			      found.offset + found.length >= offset + 4096 &&
			      found.length <= 8192,
		      "a write at %llu is in the cut as %llu bytes at %llu",
		      (unsigned long long)offset,
		      (unsigned long long)found.length,
		      (unsigned long long)found.offset);
		(void)!hvrepl_cut_void(cut);
		(void)!hvrepl_cut_close(cut, HVREPL_E_CANCELLED);
	}
	ck_assert_int_eq(hvrepl_group_process(group), HVREPL_OK);
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_OK);
	sparse_disk_free(disk);
	sim_free(&sim);
	ck_assert_int_eq(env.alloc_live, 0);
	tally->hash = offset ^ end;
	tally->events += sim.events;
	tally->hash_sum += tally->hash;
	tally->stories++;
}

#ifdef HVREPL_PLANT
static struct bed *mingling;

/* In the middle of a write, or of the pump: what other threads may do there. */
static void others(void)
{
	bed_between(mingling, 12);
}

static void let_others_in(struct bed *bed)
{
	mingling = bed;
	bed->yields = true;
	hvri_yield = others;
}

static void keep_others_out(void)
{
	hvri_yield = NULL;
}
#else
static void let_others_in(struct bed *bed)
{
	(void)bed;
}

static void keep_others_out(void)
{
}
#endif

void story_of_tracker(uint64_t n, enum profile kind)
{
	static struct bed bed;
	uint64_t draw = n * 0x9e3779b97f4a7c15ull + 99;
	unsigned lives = 1 + (unsigned)(test_random(&draw) % 4);
	uint64_t astray = n * 0xd1342543de82ef95ull + 5;
	unsigned ill = (unsigned)(test_random(&astray) % 4);

	if (kind == PROFILE_TRACKER && test_random(&draw) % 16 == 0) {
		story_of_geometry(n);
		return;
	}
	profile = kind;
	focus = 8;
	bed_init(&bed, n);
	bed.mingle = true;
	if (kind == PROFILE_THREADS)
		let_others_in(&bed);
	bed.trusts = ill == 1;
	bed.calm = test_random(&draw) % 3 == 0 ? 50 : 0;
	bed.sim.garbage_percent = (unsigned)(test_random(&draw) % 40);
	bed.sim.flush_may_finish = true;
	ck_assert_int_eq(bed_attach(&bed, HVREPL_TRACKER_CREATE), HVREPL_OK);
	for (unsigned i = 0; i < lives; i++) {
		bool clean = test_random(&draw) % 8 == 0;

		focus = 8;
		if (ill == 0 && bed.sim.hurt == 0)
			lead_astray(&bed, &astray);
		if (ill == 1)
			fail_once(&bed, &astray);
		if (!clean)
			bed.sim.crash_at = bed.sim.io_count +
					   test_random(&draw) % 400;
		life(&bed, 40 + (unsigned)(test_random(&draw) % 160));
		if (clean && !bed.sim.crashed) {
			bed.sim.fail_at = UINT64_MAX;
			bed_settle(&bed);
			if (bed_detach(&bed) != HVREPL_OK)
				violated(3, "a clean end failed");
			/* What a closed file says holds without power too. */
			if (test_random(&draw) % 2 == 0)
				sim_restart(&bed.sim, true);
			recover(&bed);
			continue;
		}
		bed_kill(&bed);
		sim_restart(&bed.sim, test_random(&draw) % 2 == 0);
		recover(&bed);
	}
	focus = 7;
	bed_ship_all(&bed);
	PROVE(7);
	if (bed.shipped > 0)
		PROVE(8);
	tally->hash = bed.sim.trace ^ bed.shipped << 32 ^ bed.env.now_ns;
	tally->events += bed.sim.events;
	tally->virtual_ns += bed.env.now_ns;
	bed_kill(&bed);
	bed_free(&bed);
	keep_others_out();
	tally->hash_sum += tally->hash;
	tally->stories++;
}

static void about(unsigned guarantee)
{
	focus = guarantee;
}

void story_of_store(uint64_t n)
{
	struct store_played played;

	profile = PROFILE_STORE;
	focus = 19;
	store_play_about = about;
	played = store_play(n, n / 16 % 4 != 0);
	tally->hash = played.hash ^ played.events;
	tally->events += played.events;
	tally->hash_sum += tally->hash;
	tally->stories++;
	PROVE(10);
	PROVE(19);
	if (played.strange > 0)
		PROVE(16);
	if (played.tests > 0)
		PROVE(22);
	if (played.crashes > 0)
		PROVE(11);
}

void story_of_life(uint64_t n)
{
	struct store_lived lived;

	profile = PROFILE_LIFE;
	store_life_about = about;
	lived = store_life(n);
	tally->hash = lived.hash ^ lived.events;
	tally->events += lived.events;
	tally->hash_sum += tally->hash;
	tally->stories++;
	PROVE(10);
	if (lived.pins > 0)
		PROVE(19);
	if (lived.damages > 0) {
		PROVE(12);
		PROVE(15);
	}
	if (lived.crashes > 0)
		PROVE(11);
	if (lived.direct > 0 && lived.crashes > 0)
		PROVE(1);
}
