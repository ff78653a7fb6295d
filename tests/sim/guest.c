/* SPDX-License-Identifier: Apache-2.0 */
/* The guests: their writes, and what they may believe afterwards. */
#include "story.h"

static uint8_t buffer[20 * SECTOR];

static void remember(struct guest *g, unsigned disk, unsigned first,
		     unsigned count, int32_t rc)
{
	for (unsigned s = 0; s < count; s++) {
		g->shadow.unsure[disk][first + s] = rc < 0;
		g->unflushed[disk][first + s] = true;
		if (rc >= 0)
			g->shadow.sector[disk][first + s] =
				sector_hash(buffer + s * SECTOR);
	}
}

/* See struct guest. */
static void note_instant(const struct teller *t, struct guest *g)
{
	const struct test_env *env = &t->site->env;

	if (!env->alloc_fail_on || env->alloc_fail_at != 0)
		return;
	g->instant_count = guest_instants(g);
	if (g->instant_count < INSTANTS_MAX)
		g->instant[g->instant_count] = g->shadow;
	if (g->instant_count <= INSTANTS_MAX)
		g->instant_count++;
	g->instants_ns = pair.now_ns;
}

static int32_t write_once(struct teller *t, unsigned *disk, unsigned *first,
			  unsigned *count)
{
	hvrepl_guest_disk *guest;

	*disk = (unsigned)dice(PAIR_DISKS);
	*first = (unsigned)dice(SECTORS);
	if (dice(3) > 0)
		*first %= 32; /* The same ones again. */
	*count = 1 + (unsigned)dice(SECTORS - *first < 20 ? SECTORS - *first :
							    20);
	guest = door(t->site, *disk);
	if (guest == NULL)
		return HVREPL_E_CLOSED;
	if (dice(12) == 0) {
		memset(buffer, 0, *count * SECTOR);
		return hvrepl_guest_zero(guest, *first * (uint64_t)SECTOR,
					 *count * (uint64_t)SECTOR);
	}
	test_fill(buffer, *count * SECTOR, dice(UINT64_MAX));
	return hvrepl_guest_write(guest, *first * (uint64_t)SECTOR, buffer,
				  *count * SECTOR);
}

/* A hint: reads give anything afterwards, and points what the disk gave. */
static void discard_some(struct teller *t)
{
	unsigned disk = (unsigned)dice(PAIR_DISKS);
	unsigned first = (unsigned)dice(SECTORS / 8) * 8u;
	hvrepl_guest_disk *guest = door(t->site, disk);

	if (guest == NULL)
		return;
	(void)!hvrepl_guest_discard(guest, first * (uint64_t)SECTOR, 4096);
	for (unsigned s = first; s < first + 8; s++) {
		t->guest.shadow.unsure[disk][s] = true;
		t->guest.unflushed[disk][s] = true;
	}
	settle(t);
	PROVE(6);
}

static void write_some(struct teller *t, unsigned writes)
{
	struct hvrepl_vm_status status;
	struct guest *g = &t->guest;

	watch(false); /* Before it changes anything. */
	if (!look(t->site, &status) || status.mode == 0)
		return;
	if (!status.writable) {
		hvrepl_guest_disk *guest = door(t->site, 0);

		/* A site that does not own the VM takes no write (O6). */
		if (guest != NULL && !t->site->sim.crashed)
			HOLDS(24, hvrepl_guest_write(guest, 0, buffer,
						     SECTOR) < 0,
			      "%s does not own the VM and took a write",
			      t->site->name);
		return;
	}
	if (!g->has_shadow || !same(&g->epoch, &status.epoch) || t->restored)
		return;
	for (unsigned i = 0; i < writes; i++) {
		unsigned disk, first, count;
		uint64_t failed = t->site->sim.failed;
		int32_t rc;

		note_instant(t, g);
		rc = write_once(t, &disk, &first, &count);
		mix((uint64_t)(uint32_t)rc);
		SAY("%s: guest writes disk %u, sectors %u to %u: %d",
		    t->site->name, disk, first, first + count - 1, rc);
		if (rc == HVREPL_E_FENCED || rc == HVREPL_E_CLOSED)
			return;
		remember(g, disk, first, count, rc);
		/* Its own I/O fails, the guest's does not. */
		if (rc >= 0 && (t->trouble || t->site->sim.failed != failed))
			PROVE(5);
		if (rc < 0 && !t->site->sim.crashed)
			settle(t);
	}
	/* One that cannot go on yet waits, until its time is over where what it waits for
	 * has failed: there is no other thread here that would pass it. */
	if (dice(16) == 0 && !t->site->sim.crashed &&
	    !(t->oom && t->trouble))
		discard_some(t);
}

static void flush_all(struct teller *t)
{
	struct guest *g = &t->guest;

	for (unsigned i = 0; i < PAIR_DISKS; i++) {
		hvrepl_guest_disk *guest = door(t->site, i);
		int32_t rc;

		if (guest == NULL)
			continue;
		rc = hvrepl_guest_flush(guest);
		mix((uint64_t)(uint32_t)rc);
		SAY("%s: guest flushes disk %u: %d", t->site->name, i, rc);
		note_reverts(t);
		HOLDS(4, rc != HVREPL_OK || !g->owed[i],
		      "%s: a flush of disk %u succeeds, and one before it had "
		      "lost what the guest wrote",
		      t->site->name, i);
		if (rc != HVREPL_E_FENCED)
			g->owed[i] = false;
		if (rc == HVREPL_OK) {
			memset(g->unflushed[i], 0, sizeof(g->unflushed[i]));
			continue;
		}
		/* The guest was told: what it wrote is there, or not. */
		if (rc != HVREPL_E_FENCED) {
			t->flush_failed = true;
			for (unsigned s = 0; s < SECTORS; s++)
				g->shadow.unsure[i][s] |= g->unflushed[i][s];
			if (!t->site->sim.crashed)
				settle(t);
		}
	}
}

/* A guest waits for the tracker's own jobs, in the one thread that there is: what is
 * late is done first, or the guest is quiet for now. */
static bool in_time(struct teller *t, uint64_t *take_out)
{
	*take_out = t->site->jobs_take_ns;
	if (profile != PROFILE_LATE && profile != PROFILE_OUTSIDE)
		return true;
	if (t->site->job_count > 0 && dice(3) > 0)
		return false;
	t->site->jobs_take_ns = 0;
	pair_do_jobs(t->site);
	/* A cut that they made is seen before the next write. */
	pair_run(&pair, 0);
	watch(false);
	return true;
}

void guest_writes(struct teller *t, unsigned writes)
{
	uint64_t take;

	if (!in_time(t, &take))
		return;
	write_some(t, writes);
	t->site->jobs_take_ns = take;
}

void guest_flush(struct teller *t)
{
	uint64_t take;

	if (!in_time(t, &take))
		return;
	flush_all(t);
	t->site->jobs_take_ns = take;
}
