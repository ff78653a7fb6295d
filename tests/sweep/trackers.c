/* SPDX-License-Identifier: Apache-2.0 */
/* Scripts over two trackers in a group: what a guest, a shipper and a host do. */
#include "sweep.h"

#include "trackbed.h"

static struct bed bed;
static bool over; /* What was to fail has failed. */

enum {
	END,
	WRITE,	 /* A block. */
	LONG,	 /* Over the edge of two regions. */
	TAIL,	 /* The last, short block of the other disk. */
	DISCARD,
	ZERO,
	FLUSH,
	CUT,	 /* And spool. */
	CUT_STEP,
	SHIP,
	LOST,	 /* Shipping fails. */
	COOL,
	SAVE,
	REATTACH,
	MARK,
	UNTRACKED, /* Killed, and attached as after a crash. */
};

static void attach(uint32_t flags)
{
	int32_t rc = bed_attach(&bed, flags);

	if (rc == HVREPL_OK)
		return;
	ck_assert_msg(!over, "attaching gives %d", rc);
	over = disarm(&bed.env, &bed.sim);
	ck_assert_msg(over, "attaching gives %d", rc);
	/* One of the two may have been made. */
	rc = bed_attach(&bed, flags);
	if (rc < 0)
		rc = bed_attach(&bed, HVREPL_TRACKER_REBUILD);
	ck_assert_msg(rc == HVREPL_OK, "attaching again gives %d", rc);
}

static void guest(uint32_t disk, uint64_t offset, uint64_t length,
		  uint32_t kind)
{
	struct bed_ticket *mine = &bed.ticket[0];

	/* One that fails the guest does again. */
	for (unsigned tries = 0; tries < 3; tries++) {
		mine->disk = disk;
		mine->offset = offset;
		mine->length = length;
		mine->kind = kind;
		bed_begin(&bed, mine);
		for (unsigned i = 0; i < 50 && mine->stage == BED_WAITING;
		     i++) {
			bed.env.now_ns += 2000000;
			bed_process(&bed);
			bed_advance(&bed);
		}
		ck_assert_msg(mine->stage != BED_WAITING,
			      "a write waits for ever");
		if (mine->stage == BED_GO)
			bed_perform(&bed, mine);
		if (mine->stage != BED_WRITTEN)
			continue;
		bed_end(&bed, mine);
		if (mine->result == HVREPL_OK)
			return;
	}
}

static void cut(unsigned steps)
{
	(void)bed_cut_all(&bed);
	for (unsigned i = 0; i < steps; i++) {
		bed.env.now_ns += 1000000;
		bed_process(&bed);
		bed_advance(&bed);
	}
}

static void step(uint8_t what)
{
	struct hvrepl_extent extent = { 3 * BED_BLOCK, 5 * BED_BLOCK };

	switch (what) {
	case WRITE:
		guest(0, 4 * BED_BLOCK, BED_BLOCK, HVREPL_WRITE_DATA);
		break;
	case LONG:
		guest(1, BED_REGION - 3 * SIM_SECTOR, 7 * SIM_SECTOR,
		      HVREPL_WRITE_DATA);
		break;
	case TAIL:
		guest(1, bed.size[1] - SIM_SECTOR, SIM_SECTOR,
		      HVREPL_WRITE_DATA);
		break;
	case DISCARD:
		guest(0, 0, 8 * BED_BLOCK, HVREPL_WRITE_DISCARD);
		break;
	case ZERO:
		guest(1, BED_REGION, 4 * BED_BLOCK, HVREPL_WRITE_ZERO);
		break;
	case FLUSH:
		for (unsigned i = 0; i < BED_DISKS; i++) {
			struct hvrepl_disk disk = sim_disk_handle(bed.disk[i]);

			(void)!disk.ops->flush(disk.user, NULL);
		}
		break;
	case CUT:
	case CUT_STEP:
		cut(what == CUT ? 40 : 1);
		break;
	case SHIP:
	case LOST:
		bed_ship(&bed, what == LOST);
		break;
	case COOL:
		for (unsigned i = 0; i < 4; i++) {
			bed.env.now_ns += 2000000;
			bed_process(&bed);
		}
		break;
	case SAVE:
		(void)!hvrepl_tracker_save(bed.tracker[0], NULL);
		break;
	case REATTACH:
		/* Whoever detaches has the memory to end his cuts. */
		if (bed.env.alloc_fail_on && hit(&bed.env, &bed.sim))
			over = disarm(&bed.env, &bed.sim);
		(void)bed_detach(&bed);
		attach(0);
		break;
	case MARK:
		(void)!hvrepl_tracker_mark(bed.tracker[0], &extent, 1);
		break;
	default:
		bed_kill(&bed);
		sim_restart(&bed.sim, false);
		attach(0);
		bed_check_covered(&bed);
		break;
	}
}

static bool run(const struct scenario *scenario, enum kind kind, uint64_t n)
{
	static const uint64_t sizes[BED_DISKS] = {
		BED_REGION + 3 * BED_BLOCK, 2 * BED_REGION + 3 * SIM_SECTOR
	};
	bool reached;

	bed_init_sized(&bed, 9, sizes);
	over = false;
	/* A guest's disk that takes writes back is the guest's to notice. */
	bed.sim.flush_objects = kind == FLUSH_REVERTS;
	arm(&bed.env, &bed.sim, kind, n);
	attach(HVREPL_TRACKER_CREATE);
	for (const uint8_t *what = scenario->script; *what != END; what++)
		step(*what);
	reached = over;
	if (!over)
		reached = disarm(&bed.env, &bed.sim);
	/* What failed is done again, and everything arrives. */
	bed_settle(&bed);
	step(WRITE);
	bed_ship_all(&bed);
	/* And what is on the medium by then is covered (G1, G4). */
	step(LONG);
	bed_kill(&bed);
	bed.sim.survive_percent = 30;
	sim_restart(&bed.sim, kind != FLUSH_LATE);
	attach(0);
	bed_check_covered(&bed);
	bed_ship_all(&bed);
	bed_kill(&bed);
	bed_free(&bed);
	return reached;
}

#define SCRIPT(name, ...) static const uint8_t name[] = { __VA_ARGS__, END }
SCRIPT(writes, WRITE, LONG, TAIL, WRITE, FLUSH);
SCRIPT(cuts, WRITE, LONG, CUT, SHIP, WRITE, TAIL, CUT, SHIP);
SCRIPT(over_cut, WRITE, LONG, CUT_STEP, WRITE, LONG, CUT, SHIP);
SCRIPT(lost, WRITE, CUT, LOST, LONG, CUT, SHIP);
SCRIPT(cooled, WRITE, LONG, CUT, SHIP, FLUSH, COOL, WRITE, COOL);
SCRIPT(queued, WRITE, CUT, LONG, CUT, TAIL, CUT, SHIP, SHIP, SHIP);
SCRIPT(discards, WRITE, LONG, CUT_STEP, DISCARD, ZERO, CUT, SHIP, DISCARD);
SCRIPT(reattached, WRITE, CUT, SHIP, LONG, REATTACH, WRITE, REATTACH);
SCRIPT(killed, WRITE, CUT, SHIP, LONG, UNTRACKED, WRITE, CUT, SHIP, UNTRACKED);
SCRIPT(marked, MARK, WRITE, SAVE, CUT, SHIP, SAVE, COOL);

#define TRACKER(what, script) { "tracker: " what, run, ALLOCS | OTHERS | IOS, 0, script, false }
static const struct scenario scenarios[] = {
	TRACKER("guest writes", writes),
	TRACKER("cuts shipped", cuts),
	TRACKER("writes over an open cut", over_cut),
	TRACKER("shipping fails", lost),
	TRACKER("regions cool", cooled),
	TRACKER("cuts queue", queued),
	TRACKER("discards over a cut", discards),
	TRACKER("detached and attached", reattached),
	TRACKER("killed and attached", killed),
	TRACKER("ranges marked, stamps saved", marked),
};

const struct scenarios tracker_scenarios = {
	scenarios, sizeof(scenarios) / sizeof(scenarios[0])
};
