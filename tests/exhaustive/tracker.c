/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tracker alone: two disks of eight blocks in use, one of them over the
 * edge of two regions, in a cut group; what is acknowledged is on two replicas.
 */
#include "exhaustive.h"

#include "simimage.h"
#include "trackbed.h"

#include "tracker/cut.h"

#include <string.h>

/* Eight blocks; and eight blocks around the edge of two regions, of which the
 * last is cut short. Nothing is ever written before those. */
#define SIZE_0 (8u * BED_BLOCK)
#define EDGE BED_REGION
#define SIZE_1 (EDGE + 4 * BED_BLOCK - SIM_SECTOR)
#define FIRST_1 (EDGE - 4 * BED_BLOCK)

static struct bed bed;
static bool grew; /* A disk got larger: its file may be refused. */
static bool astray; /* A write of storage was lost: it may be damaged. */
static struct {
	uint8_t replica[BED_DISKS][SIZE_1 + BED_GROWS];
	uint64_t size[BED_DISKS];
	uint64_t acknowledged[BED_DISKS][BED_REGIONS];
	bool grew, astray;
} kept;

enum {
	WRITE,
	WRITE_UNALIGNED,
	WRITE_OVER_EDGE,
	WRITE_TAIL,
	DISCARD,
	ZERO,
	BEGIN,
	PERFORM,
	END_WRITE,
	FLUSH,
	CUT,
	CUT_STEP,
	ADVANCE,
	SHIP,
	SHIP_FAILS,
	COOL,
	SAVE,
	FENCE,
	REATTACH,
	MARK,
	RESIZE,
	LOSE,
	OPS
};

static const char *const op_names[OPS] = {
	[WRITE] = "write aligned",
	[WRITE_UNALIGNED] = "write unaligned, overlapping",
	[WRITE_OVER_EDGE] = "write over the edge of a region",
	[WRITE_TAIL] = "write the last, short block",
	[DISCARD] = "discard",
	[ZERO] = "write zeroes",
	[BEGIN] = "begin a write",
	[PERFORM] = "the begun write reaches the disk",
	[END_WRITE] = "end the begun write",
	[FLUSH] = "flush",
	[CUT] = "cut and spool",
	[CUT_STEP] = "cut, one step of spooling",
	[ADVANCE] = "spool the rest",
	[SHIP] = "ship",
	[SHIP_FAILS] = "shipping fails",
	[COOL] = "regions cool",
	[SAVE] = "save",
	[FENCE] = "fence and unfence",
	[REATTACH] = "detach, attach",
	[MARK] = "mark a range",
	[RESIZE] = "detach, grow a disk, attach",
	[LOSE] = "the next write of storage will be lost",
};

static const char *const prefix_names[] = {
	"a new disk",
	"written and acknowledged",
	"written and acknowledged twice, cooled once",
	"a cut held open",
};

static void attach(uint32_t flags)
{
	ck_assert_int_eq(bed_attach(&bed, flags), HVREPL_OK);
}

static struct bed_ticket *place(unsigned which, uint32_t disk, uint64_t offset,
				uint64_t length, uint32_t kind)
{
	struct bed_ticket *mine = &bed.ticket[which];

	mine->disk = disk;
	mine->offset = offset;
	mine->length = length;
	mine->kind = kind;
	return mine;
}

/* As a guest's write goes, all of it; it may have to wait for a mark. */
static enum done write_at(uint32_t disk, uint64_t offset, uint64_t length,
			  uint32_t kind)
{
	struct bed_ticket *mine = &bed.ticket[1];

	if (mine->stage != BED_FREE)
		return NOT_NOW;
	place(1, disk, offset, length, kind);
	bed_begin(&bed, mine);
	for (unsigned i = 0; i < 20 && mine->stage == BED_WAITING; i++) {
		bed_process(&bed);
		bed_advance(&bed);
	}
	if (mine->stage == BED_GO)
		bed_perform(&bed, mine);
	if (mine->stage == BED_WRITTEN)
		bed_end(&bed, mine);
	return DONE;
}

static struct bed_cut *cut_in(uint32_t state)
{
	for (unsigned i = 0; i < BED_CUTS; i++)
		if (bed.cut[i].cut != NULL &&
		    atomic_load(&bed.cut[i].cut->state) == state)
			return &bed.cut[i];
	return NULL;
}

static void spool(unsigned steps)
{
	for (unsigned i = 0; i < steps && cut_in(HVREPL_CUT_OPEN) != NULL;
	     i++) {
		bed_process(&bed);
		bed_advance(&bed);
	}
}

static enum done cut(unsigned steps)
{
	if (cut_in(HVREPL_CUT_OPEN) != NULL || !bed_cut_all(&bed))
		return bed.sim.crashed ? DONE : NOT_NOW;
	spool(steps);
	return DONE;
}

static enum done ship(bool fails)
{
	unsigned held = 0;

	for (unsigned i = 0; i < BED_CUTS; i++)
		held += bed.cut[i].cut != NULL;
	if (held == 0 || (held == 1 && cut_in(HVREPL_CUT_OPEN) != NULL))
		return NOT_NOW;
	bed_ship(&bed, fails);
	return DONE;
}

static void cool(void)
{
	for (unsigned i = 0; i < 3; i++) {
		bed.env.now_ns += 2000000;
		bed_process(&bed);
	}
}

/* Other sizes than the file says are refused, and a fine map of which a write
 * was lost; then all is to compare, or all that was hot. */
static void open_again(void)
{
	int32_t rc = bed_attach(&bed, 0);

	if (rc < 0 && (grew || astray) && !bed.sim.crashed)
		rc = bed_attach(&bed, HVREPL_TRACKER_REBUILD);
	ck_assert(rc == HVREPL_OK || bed.sim.crashed);
}

static enum done reattach(bool grow)
{
	struct sim_image *image = bed.disk[0]->image;

	if (bed_detach(&bed) < 0) {
		ck_assert(bed.sim.crashed);
		return DONE;
	}
	if (grow) {
		int32_t rc;

		sim_make_room(image, image->size + BED_BLOCK);
		image->size += BED_BLOCK;
		image->durable_size = image->size;
		bed.size[0] = image->size;
		grew = true;
		rc = bed_attach(&bed, 0);
		ck_assert(rc == HVREPL_E_WRONG_DISK || bed.sim.crashed);
	}
	open_again();
	return DONE;
}

static enum done flush(void)
{
	for (unsigned i = 0; i < BED_DISKS; i++) {
		struct hvrepl_disk disk = sim_disk_handle(bed.disk[i]);

		(void)!disk.ops->flush(disk.user, NULL);
	}
	return DONE;
}

static enum done mark(void)
{
	struct hvrepl_extent extent = { FIRST_1, 2 * BED_BLOCK };
	int32_t rc = hvrepl_tracker_mark(bed.tracker[1], &extent, 1);

	ck_assert(rc == HVREPL_OK || bed.sim.crashed);
	return DONE;
}

static enum done lose(void)
{
	if (astray)
		return NOT_NOW;
	bed.sim.stray = SIM_STRAY_LOST;
	bed.sim.stray_at = bed.sim.io_count;
	bed.sim.stray_in = bed.files;
	astray = true;
	return DONE;
}

static enum done begun(enum bed_stage stage)
{
	struct bed_ticket *mine = &bed.ticket[0];

	if (mine->stage == BED_WAITING)
		bed_process(&bed);
	if (mine->stage != stage)
		return bed.sim.crashed ? DONE : NOT_NOW;
	if (stage == BED_GO)
		bed_perform(&bed, mine);
	else
		bed_end(&bed, mine);
	return DONE;
}

static enum done op(unsigned what)
{
	switch (what) {
	case WRITE:
		return write_at(0, 2 * BED_BLOCK, BED_BLOCK, HVREPL_WRITE_DATA);
	case WRITE_UNALIGNED:
		return write_at(0, 2 * BED_BLOCK + SIM_SECTOR, 3 * SIM_SECTOR,
				HVREPL_WRITE_DATA);
	case WRITE_OVER_EDGE:
		return write_at(1, EDGE - BED_BLOCK, 2 * BED_BLOCK + SIM_SECTOR,
				HVREPL_WRITE_DATA);
	case WRITE_TAIL:
		return write_at(1, SIZE_1 - SIM_SECTOR, SIM_SECTOR,
				HVREPL_WRITE_DATA);
	case DISCARD:
		return write_at(0, BED_BLOCK, 5 * BED_BLOCK,
				HVREPL_WRITE_DISCARD);
	case ZERO:
		return write_at(1, FIRST_1 + BED_BLOCK, 4 * BED_BLOCK,
				HVREPL_WRITE_ZERO);
	case BEGIN:
		if (bed.ticket[0].stage != BED_FREE)
			return NOT_NOW;
		bed_begin(&bed, place(0, 1, EDGE + SIM_SECTOR, BED_BLOCK,
				      HVREPL_WRITE_DATA));
		return DONE;
	case PERFORM:
		return begun(BED_GO);
	case END_WRITE:
		return begun(BED_WRITTEN);
	case FLUSH:
		return flush();
	case CUT:
		return cut(100);
	case CUT_STEP:
		return cut(1);
	case ADVANCE:
		if (cut_in(HVREPL_CUT_OPEN) == NULL)
			return NOT_NOW;
		spool(100);
		return DONE;
	case SHIP:
		return ship(false);
	case SHIP_FAILS:
		return ship(true);
	case COOL:
		cool();
		return DONE;
	case SAVE:
		ck_assert(hvrepl_tracker_save(bed.tracker[1], NULL) ==
				  HVREPL_OK ||
			  bed.sim.crashed);
		return DONE;
	case FENCE:
		(void)!hvrepl_tracker_fence(bed.tracker[0]);
		(void)!hvrepl_tracker_fence(bed.tracker[1]);
		(void)!hvrepl_tracker_unfence(bed.tracker[0]);
		(void)!hvrepl_tracker_unfence(bed.tracker[1]);
		return DONE;
	case REATTACH:
		return reattach(false);
	case MARK:
		return mark();
	case RESIZE:
		return reattach(true);
	default:
		return lose();
	}
}

static void acknowledge_all(void)
{
	(void)cut(100);
	bed_ship(&bed, false);
}

static void start(unsigned prefix)
{
	static const uint64_t sizes[BED_DISKS] = { SIZE_0, SIZE_1 };

	bed_init_sized(&bed, 3, sizes);
	grew = astray = false;
	showing(1);
	attach(HVREPL_TRACKER_CREATE);
	if (prefix == 0)
		return;
	(void)op(WRITE);
	(void)op(WRITE_OVER_EDGE);
	(void)op(WRITE_TAIL);
	if (prefix == 3) {
		(void)cut(1);
		return;
	}
	acknowledge_all();
	if (prefix == 1)
		return;
	(void)op(FLUSH);
	cool();
	(void)op(WRITE_UNALIGNED);
	acknowledge_all();
}

static struct sim *sim(void)
{
	return &bed.sim;
}

static void kill_it(void)
{
	bed_kill(&bed);
	ck_assert_int_eq(bed.env.alloc_live, 0);
}

static void finish(void)
{
	/* What a cut shipped is the instant that it names. */
	showing(8);
	bed_ship_all(&bed);
	proved(7);
	proved(8);
	proved(10);
	bed_kill(&bed);
}

static void remember(void)
{
	for (unsigned i = 0; i < BED_DISKS; i++) {
		memcpy(kept.replica[i], bed.replica[i], bed.size[i]);
		kept.size[i] = bed.size[i];
	}
	memcpy(kept.acknowledged, bed.acknowledged, sizeof(kept.acknowledged));
	kept.grew = grew;
	kept.astray = astray;
}

static void recall(void)
{
	for (unsigned i = 0; i < BED_DISKS; i++) {
		memcpy(bed.replica[i], kept.replica[i], bed.size[i]);
		bed.size[i] = kept.size[i];
	}
	memcpy(bed.acknowledged, kept.acknowledged, sizeof(kept.acknowledged));
	grew = kept.grew;
	astray = kept.astray;
	/* Lost before the crash, or not at all. */
	bed.sim.stray = SIM_STRAY_NONE;
}

static bool recover(void)
{
	showing(3);
	open_again();
	if (!bed.sim.crashed)
		return true;
	if (bed.group != NULL)
		kill_it();
	return false;
}

/* G1: all that differs from what is acknowledged will be sent. G3: and none
 * of it is forgotten by opening it once more. */
static void check(bool thorough)
{
	showing(1);
	bed_check_covered(&bed);
	proved(1);
	proved(2);
	if (!thorough)
		return;
	kill_it();
	showing(3);
	sim_restart(&bed.sim, true);
	open_again();
	bed_check_covered(&bed);
	proved(3);
	proved(33);
	showing(10);
	bed_ship_all(&bed);
	proved(10);
}

static void leave(void)
{
	kill_it();
	bed.sim.crashed = false;
}

static void go_on(unsigned what)
{
	showing(33);
	(void)op(what);
	if (bed.tracker[0] != NULL && bed.ticket[0].stage == BED_WAITING)
		bed_settle(&bed);
	(void)op(WRITE_UNALIGNED);
	bed_ship_all(&bed);
	proved(29);
	proved(33);
	/* Closed cleanly, nothing is left to send. */
	ck_assert_int_eq(bed_detach(&bed), HVREPL_OK);
	open_again();
	bed_check_covered(&bed);
	bed_kill(&bed);
}

static void end(void)
{
	bed_free(&bed);
}

const struct room tracker_room = {
	.name = "tracker",
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
