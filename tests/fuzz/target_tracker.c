/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracker-file: guests, cuts and the pump in an order that the input decides,
 * a crash at an I/O it picks, damage to the tracker files it picks; then they
 * are opened. What is opened covers every block that differs from the replica;
 * what is not opened is made anew and covers the whole disk.
 */
#include "fuzz.h"

#include "base/digest.h"
#include "format/hvt.h"
#include "trackbed.h"

#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 60u
#define MEMORY_MAX (64u << 20)

enum damage {
	DAMAGE_NONE,
	DAMAGE_FLIP,  /* Accident: digests do not match. */
	DAMAGE_CUT,   /* The file is shorter. */
	DAMAGE_FORGE, /* Headers of any content with right digests. */
	DAMAGE_COUNT
};

static struct bed bed;

static void live(unsigned steps)
{
	for (unsigned i = 0; i < steps && !bed.sim.crashed; i++)
		bed_step(&bed);
}

static void sign_slot(uint8_t *slot)
{
	struct hvri_part part = { slot, HVRI_HVT_HEADER_SIZE - 16 };

	hvri_xxh3(&part, 1, slot + HVRI_HVT_HEADER_SIZE - 16);
}

/* In both files; false: there is nothing to damage. */
static bool do_damage(enum damage damage, struct fuzz_in *in)
{
	static const char *const ids[BED_DISKS] = { "a.hvt", "b.hvt" };
	const char *id = ids[fuzz_u8(in) % BED_DISKS];
	uint64_t size = 0;
	uint8_t *bytes = sim_object_bytes(bed.files, id, &size);

	if (bytes == NULL || size < 2 * HVRI_HVT_SLOT_STRIDE ||
	    damage == DAMAGE_NONE)
		return false;
	if (damage == DAMAGE_CUT) {
		struct hvrepl_storage files = sim_storage_handle(bed.files);
		void *object = NULL;

		fuzz_must(files.ops->open(files.user, id, 0, &object) ==
					  HVREPL_OK &&
				  files.ops->resize(files.user, object,
						    fuzz_u32(in) % size) ==
					  HVREPL_OK,
			  "not cut");
		files.ops->close(files.user, object);
		(void)sim_object_bytes(bed.files, id, &size);
		return true;
	}
	for (unsigned n = 1 + fuzz_u8(in) % 8; n-- > 0;) {
		/* Either header, the marks of the regions, or anywhere. */
		static const uint32_t places[] = { 0, HVRI_HVT_SLOT_STRIDE,
						   HVRI_HVT_COARSE_OFFSET,
						   HVRI_HVT_APART };
		uint8_t place = fuzz_u8(in) % 5;
		uint64_t at = place < 4 ? places[place] + fuzz_u16(in) % 512u :
					  fuzz_u32(in);

		bytes[at % size] ^= (uint8_t)(1 + fuzz_u8(in) % 255);
	}
	if (damage == DAMAGE_FORGE) {
		sign_slot(bytes);
		sign_slot(bytes + HVRI_HVT_SLOT_STRIDE);
	}
	return true;
}

static void one(const uint8_t *bytes, size_t length)
{
	struct fuzz_in in = { bytes, length };
	uint8_t flags = fuzz_u8(&in);
	enum damage damage = fuzz_u8(&in) % DAMAGE_COUNT;
	uint64_t at = fuzz_u16(&in) % 2048u;
	unsigned steps = fuzz_u8(&in) % STEPS_MAX;
	size_t share = fuzz_u8(&in);
	struct fuzz_in later = { fuzz_take(&in, &share), share };
	bool power_loss = (flags & 1) != 0, damaged, tail;
	int32_t rc;

	bed_init(&bed, 5);
	bed.mingle = (flags & 2) != 0;
	bed.calm = (flags & 4) != 0 ? 50 : 0;
	bed.sim.garbage_percent = (flags & 8) != 0 ? 40 : 10;
	fuzz_must(bed_attach(&bed, HVREPL_TRACKER_CREATE) == HVREPL_OK,
		  "no tracker file is made");
	test_random_feed(&bed.random, in.at, in.left);
	if ((flags & 16) == 0)
		bed.sim.crash_at = bed.sim.io_count + at;
	live(steps);
	test_random_feed(NULL, NULL, 0);
	if ((flags & 16) != 0)
		(void)!bed_detach(&bed);
	if (bed.group != NULL)
		bed_kill(&bed);
	sim_restart(&bed.sim, power_loss);
	damaged = do_damage(damage, &later);
	rc = bed_attach(&bed, 0);
	fuzz_must(bed.env.alloc_bytes < MEMORY_MAX, "too much memory");
	fuzz_must(rc == HVREPL_OK || damaged, "a sound file is refused");
	if (rc < 0) {
		fuzz_must(rc == HVREPL_E_CORRUPT || rc == HVREPL_E_TRUNCATED ||
				  rc == HVREPL_E_NOT_FOUND ||
				  damage == DAMAGE_FORGE,
			  "damage has another name");
		rc = bed_attach(&bed, HVREPL_TRACKER_REBUILD |
					      HVREPL_TRACKER_TAKE_OVER);
		fuzz_must(rc == HVREPL_OK || damage == DAMAGE_FORGE,
			  "a damaged file cannot be made anew");
	}
	/* A forger may say what he likes; an accident may not. */
	tail = rc == HVREPL_OK && (!damaged || damage != DAMAGE_FORGE);
	if (tail) {
		bed_check_covered(&bed);
		live(8);
		bed_ship_all(&bed);
	}
	if (rc == HVREPL_OK)
		bed_kill(&bed);
	bed_free(&bed);
}

static void seeds(void)
{
	for (uint64_t i = 0; i < 24; i++)
		fuzz_seed_random(i + 1, 64 + 32 * i);
}

extern const struct fuzz_target fuzz_tracker_file;
const struct fuzz_target fuzz_tracker_file = { "tracker-file", one, seeds,
					       NULL };
