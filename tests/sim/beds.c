/* SPDX-License-Identifier: Apache-2.0 */
/* Stories of one part alone: trackers with writers in every order, killed and
 * without power; a store beside a model. They reach deeper per second than a
 * story of two sites. */
#include "story.h"

#include "storeplay.h"
#include "trackbed.h"

static void life(struct bed *bed, unsigned steps)
{
	for (unsigned i = 0; i < steps && !bed->sim.crashed; i++)
		bed_step(bed);
}

/* The same image gives the same tracker, however often it is opened (I3). */
static void recover(struct bed *bed)
{
	struct hvrepl_tracker_info first[BED_DISKS], again;

	sim_backup(&bed->sim);
	ck_assert_int_eq(bed_attach(bed, 0), HVREPL_OK);
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
	ck_assert_int_eq(bed_attach(bed, 0), HVREPL_OK);
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

void story_of_tracker(uint64_t n)
{
	static struct bed bed;
	uint64_t draw = n * 0x9e3779b97f4a7c15ull + 99;
	unsigned lives = 1 + (unsigned)(test_random(&draw) % 4);

	profile = PROFILE_TRACKER;
	focus = 8;
	bed_init(&bed, n);
	bed.mingle = true;
	bed.calm = test_random(&draw) % 3 == 0 ? 50 : 0;
	bed.sim.garbage_percent = (unsigned)(test_random(&draw) % 40);
	bed.sim.flush_may_finish = true;
	ck_assert_int_eq(bed_attach(&bed, HVREPL_TRACKER_CREATE), HVREPL_OK);
	for (unsigned i = 0; i < lives; i++) {
		bool clean = test_random(&draw) % 8 == 0;

		focus = 8;
		if (!clean)
			bed.sim.crash_at = bed.sim.io_count +
					   test_random(&draw) % 400;
		life(&bed, 40 + (unsigned)(test_random(&draw) % 160));
		if (clean && !bed.sim.crashed) {
			bed_settle(&bed);
			if (bed_detach(&bed) != HVREPL_OK)
				violated(3, "a clean end failed");
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
	tally->hash_sum += tally->hash;
	tally->stories++;
}

void story_of_store(uint64_t n)
{
	struct store_played played;

	profile = PROFILE_STORE;
	focus = 19;
	played = store_play(n, n / 16 % 4 != 0);
	tally->hash = played.hash ^ played.events;
	tally->events += played.events;
	tally->hash_sum += tally->hash;
	tally->stories++;
	PROVE(10);
	PROVE(19);
	if (played.crashes > 0)
		PROVE(11);
}
