/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong, and when it ends again. */
#include "story.h"

const char *const fault_names[FAULT_COUNT] = {
	"link",	 "slow", "stall", "kill", "crash",   "io",    "flush",
	"put",	 "memory", "full", "rot",  "stray",   "restore", "clock",
	"flip",	 "stranger", "rights",
};

#define BIT(fault) (1u << (fault))
#define OF_LINK (BIT(FAULT_LINK) | BIT(FAULT_SLOW) | BIT(FAULT_STALL))
#define OF_PROCESS (BIT(FAULT_KILL) | BIT(FAULT_CRASH))
#define OF_DISK (BIT(FAULT_IO) | BIT(FAULT_FLUSH) | BIT(FAULT_FULL))
#define OF_MEDIUM (BIT(FAULT_ROT) | BIT(FAULT_STRAY))
#define OF_STRANGERS (BIT(FAULT_FLIP) | BIT(FAULT_STRANGER) | BIT(FAULT_RIGHTS))
#define OF_REST (BIT(FAULT_PUT) | BIT(FAULT_MEMORY) | BIT(FAULT_CLOCK))

void swarm(void)
{
	static const uint32_t may[PROFILE_COUNT] = {
		[PROFILE_DISK] = OF_PROCESS | OF_DISK | OF_MEDIUM |
				 BIT(FAULT_PUT) | BIT(FAULT_RESTORE),
		[PROFILE_OPERATOR] = BIT(FAULT_LINK) | OF_PROCESS |
				     BIT(FAULT_CLOCK) | BIT(FAULT_RIGHTS),
		[PROFILE_ADVERSARY] = OF_STRANGERS | OF_LINK | BIT(FAULT_KILL),
		[PROFILE_RELAY] = OF_STRANGERS | OF_LINK | BIT(FAULT_KILL),
		[PROFILE_ALL] = OF_LINK | OF_PROCESS | OF_DISK | OF_MEDIUM |
				OF_STRANGERS | OF_REST | BIT(FAULT_RESTORE),
		[PROFILE_BACKUP] = OF_LINK | OF_PROCESS | OF_DISK |
				   BIT(FAULT_FLIP) | BIT(FAULT_RIGHTS) |
				   OF_REST | BIT(FAULT_RESTORE),
		[PROFILE_LATE] = OF_LINK | OF_PROCESS | OF_DISK | OF_MEDIUM |
				 OF_STRANGERS | OF_REST | BIT(FAULT_RESTORE),
		[PROFILE_OUTSIDE] = OF_LINK | OF_PROCESS,
	};
	uint32_t drawn = (uint32_t)dice(BIT(FAULT_COUNT));

	handovers_only = dice(4) == 0;
	armed = may[profile] & drawn;
	if (dice(3) == 0) {
		/* One kind alone: easier to read, and deeper. */
		unsigned n = (unsigned)dice(FAULT_COUNT);

		armed = 0;
		for (unsigned i = 0; i < FAULT_COUNT && armed == 0; i++)
			armed = may[profile] & BIT((n + i) % FAULT_COUNT);
	}
	/* Damage without a word is rare, and never with anything like it. */
	if ((armed & OF_MEDIUM) != 0 && dice(3) > 0)
		armed &= ~OF_MEDIUM;
	if ((armed & BIT(FAULT_RESTORE)) != 0 && dice(3) > 0)
		armed &= ~BIT(FAULT_RESTORE);
	if ((armed & OF_MEDIUM) != 0)
		armed &= ~BIT(FAULT_RESTORE);
	if (profile == PROFILE_BACKUP)
		armed |= BIT(FAULT_RESTORE);
	if (profile == PROFILE_OUTSIDE)
		armed |= BIT(FAULT_KILL);
	/* A byte that changes under the session's seal would be a bug in TLS:
	 * what is above it must see most of them, not live with all. */
	for (int i = 0; i < 2; i++)
		pair.delay_ns[i] = armed & BIT(FAULT_SLOW) ?
					   dice(6) * dice(60 * MS) :
					   0;
	if (profile == PROFILE_LATE ||
	    (profile == PROFILE_OUTSIDE && dice(2) == 0)) {
		pair.a.jobs_take_ns = dice(4) * dice(100 * MS);
		pair.b.jobs_take_ns = dice(4) * dice(100 * MS);
	}
	pair.a.sim.flush_may_finish = pair.b.sim.flush_may_finish = true;
}

void calm(void)
{
	pair.cut_after = pair.flip_at = UINT64_MAX;
	pair.piece = 0;
	pair.stalled[0] = pair.stalled[1] = false;
	for (int i = 0; i < 2; i++) {
		struct pair_site *site = tellers[i].site;

		site->sim.fail_at = site->sim.crash_at = UINT64_MAX;
		site->sim.fail_on = false;
		site->sim.stray = SIM_STRAY_NONE;
		site->put_fails_at = UINT64_MAX;
		site->env.alloc_fail_at = -1;
		site->env.alloc_fail_on = false;
		site->storage->capacity = UINT64_MAX;
		tellers[i].clear_at = UINT64_MAX;
		if (!tellers[i].revoked)
			continue;
		tellers[i].revoked = false;
		pair_rights(site, HVREPL_VERB_ALL);
	}
}

/* As an administrator who mounts the image. */
static void change_outside(struct teller *t)
{
	static uint8_t noise[8 * SECTOR];
	unsigned disk = (unsigned)dice(PAIR_DISKS);
	unsigned first = (unsigned)dice(SECTORS - 8);
	unsigned count = 1 + (unsigned)dice(8);

	SAY("%s: disk %u is changed outside, sectors %u to %u", t->site->name,
	    disk, first, first + count - 1);
	test_fill(noise, count * SECTOR, dice(UINT64_MAX));
	sim_disk_poke(t->site->disks[disk], first * (uint64_t)SECTOR, noise,
		      count * SECTOR);
	t->site->disks[disk]->token++;
	note_outside(t, disk, first, count);
}

void restart_due(bool now)
{
	for (int i = 0; i < 2; i++) {
		struct teller *t = &tellers[i];

		if (t->site->node != NULL ||
		    (!now && pair.now_ns < t->restart_at))
			continue;
		/* It crashed as it was being ended. */
		if (t->site->sim.crashed)
			sim_restart(&t->site->sim, pair.power_loss &&
							   !t->site->keeps_power);
		if (profile == PROFILE_OUTSIDE && !now && dice(2) == 0)
			change_outside(t);
		SAY("%s starts", t->site->name);
		pair_start(&pair, t->site);
		if (t->site->node == NULL) /* Its storage fails, say. */
			t->restart_at = pair.now_ns + SECOND;
	}
}

static void die(struct teller *t)
{
	if (profile == PROFILE_OUTSIDE && dice(2) == 0) {
		SAY("%s is ended", t->site->name);
		pair_stop(&pair, t->site);
		t->site->restarts++;
		t->restart_at = pair.now_ns + dice(20) * dice(2) * SECOND;
		return;
	}
	pair.power_loss = dice(2) == 0;
	SAY("%s dies%s", t->site->name, pair.power_loss ? ", power" : "");
	pair_kill(&pair, t->site, pair.power_loss);
	t->restart_at = pair.now_ns + dice(20) * dice(2) * SECOND;
}

void accident(void)
{
	struct teller *t = &tellers[dice(2)];

	if (t->site->node != NULL)
		die(t);
}

static void break_link(void)
{
	switch (dice(4)) {
	case 0:
		SAY("link %s", pair.link_up ? "down" : "up");
		pair_link(&pair, !pair.link_up);
		break;
	case 1:
		pair.cut_after = pair.moved + dice(30000);
		SAY("link breaks soon");
		break;
	case 2:
		SAY("connections break");
		pair_link_break(&pair);
		break;
	default:
		pair.piece = dice(2) ? 0 : 1 + (size_t)dice(2000);
		return;
	}
	pair.broken_links++;
}

static void fail_io(struct teller *t, bool flushes)
{
	struct sim *sim = &t->site->sim;

	t->trouble = true;
	sim->fail_at = sim->call_count + dice(60);
	sim->fail_code = dice(2) ? HVREPL_E_DISK_IO : HVREPL_E_NO_SPACE;
	sim->fail_on = dice(3) == 0;
	sim->flush_fails = flushes ? 1 + (unsigned)dice(3) : SIM_FLUSH_KEEPS;
	t->clear_at = pair.now_ns + dice(5) * SECOND;
	/* What a failed flush left in a cache that says it is clean is read back
	 * after the store is opened again, and believed: that is known, and
	 * told by --lost-caches alone (docs/testing.md). */
	if (flushes && sim->flush_fails != SIM_FLUSH_REVERTS && !lost_caches)
		t->site->keeps_power = true;
	/* Nor does that cache go later, with a flush that drops what it was to
	 * cover: that takes what power would have taken. */
	if (flushes && sim->flush_fails == SIM_FLUSH_REVERTS &&
	    t->site->keeps_power)
		sim->flush_fails = SIM_FLUSH_CLEANS;
	if (flushes)
		t->flush_failed = true;
	SAY("%s: I/O will fail %d%s, flushes %u", t->site->name, sim->fail_code,
	    sim->fail_on ? " and go on" : "", sim->flush_fails);
}

static void back_up(struct teller *t)
{
	struct hvrepl_vm_status s;

	if (t->site->node == NULL || t->site->sim.crashed)
		return;
	if (!t->has_backup) {
		SAY("%s is backed up", t->site->name);
		watch(false);
		pair_backup(t->site);
		copy_guest(&t->saved, &t->guest);
		(void)look(t->site, &s);
		t->saved_epoch = s.epoch;
		t->saved_cut = s.last_cut;
		t->has_backup = true;
		return;
	}
	SAY("%s is brought back as its backup had it", t->site->name);
	watch(false);
	note_handed(t);
	pair.power_loss = false;
	pair_kill(&pair, t->site, false);
	pair_restore(t->site);
	copy_guest(&t->guest, &t->saved);
	t->has_backup = t->tame = false;
	t->returning = t->brought_back = t->unmet = true;
	t->committed = false; /* The backup may be from before it. */
	/* Cuts of those numbers may be named anew. */
	blur_images(&t->guest.epoch, t->guest.last_cut);
	blur_images(&t->saved_epoch, t->saved_cut);
	t->restart_at = pair.now_ns + dice(5) * SECOND;
}

static void hurt_medium(struct teller *t, unsigned fault)
{
	struct sim *sim = &t->site->sim;

	/* Never both copies (2.1). */
	if (tellers[0].hurt || tellers[1].hurt)
		return;
	if (fault == FAULT_ROT) {
		const char *id = sim_rot(sim);

		if (id == NULL)
			return;
		SAY("%s: a bit of %s flips", t->site->name, id);
	} else {
		sim->stray = 1 + (unsigned)dice(2);
		sim->stray_at = sim->io_count + dice(60);
		SAY("%s: a write will go astray", t->site->name);
	}
	t->hurt = true;
}

static void fail_memory(struct teller *t)
{
	t->site->env.alloc_fail_at = (long)dice(200);
	t->site->env.alloc_fail_on = dice(4) == 0;
	t->clear_at = pair.now_ns + SECOND;
	t->oom = t->trouble = true;
	SAY("%s: an allocation will fail%s", t->site->name,
	    t->site->env.alloc_fail_on ? ", and all after it" : "");
}

static void fill_up(struct teller *t)
{
	t->site->storage->capacity =
		sim_storage_used(t->site->storage) + dice(40000);
	t->clear_at = pair.now_ns + (1 + dice(8)) * SECOND;
	t->trouble = true;
	SAY("%s: storage full", t->site->name);
}

static void take_rights(struct teller *t)
{
	uint32_t verbs;

	if (t->site->node == NULL)
		return;
	t->revoked = !t->revoked;
	SAY("%s: rights %s", t->site->name, t->revoked ? "taken" : "given");
	verbs = t->revoked ? (uint32_t)dice(0xf) : HVREPL_VERB_ALL;
	/* Newer verbs come and go with older ones, so that seeds of before there
	 * were any tell the same stories. */
	if ((verbs & HVREPL_VERB_OVERWRITE) != 0)
		verbs |= HVREPL_VERB_DELETE_POINTS;
	if ((verbs & HVREPL_VERB_RECEIVE) != 0)
		verbs |= HVREPL_VERB_VERIFY;
	pair_rights(t->site, verbs);
}

void random_fault(void)
{
	struct teller *t = &tellers[dice(2)];
	unsigned fault = (unsigned)dice(FAULT_COUNT), i = 0;

	while (i < FAULT_COUNT && (armed >> fault & 1) == 0) {
		fault = (fault + 1) % FAULT_COUNT;
		i++;
	}
	if (i == FAULT_COUNT)
		return;
	mix(fault);
	if ((suppressed >> fault & 1) != 0)
		return;
	switch (fault) {
	case FAULT_LINK:
		break_link();
		break;
	case FAULT_SLOW:
		pair.delay_ns[dice(2)] = dice(4) * dice(80 * MS);
		break;
	case FAULT_STALL: {
		unsigned way = (unsigned)dice(2);

		pair.stalled[way] = !pair.stalled[way];
		SAY("way %u %s", way, pair.stalled[way] ? "stalls" : "moves");
		break;
	}
	case FAULT_KILL:
		if (t->site->node != NULL)
			die(t);
		break;
	case FAULT_CRASH:
		pair.power_loss = dice(2) == 0;
		t->site->sim.crash_at = t->site->sim.io_count + dice(120);
		SAY("%s will crash%s", t->site->name,
		    pair.power_loss ? ", power" : "");
		break;
	case FAULT_IO:
		fail_io(t, false);
		break;
	case FAULT_FLUSH:
		fail_io(t, true);
		break;
	case FAULT_PUT:
		t->site->put_fails_at = t->site->puts + dice(4);
		SAY("%s: a put will fail", t->site->name);
		break;
	case FAULT_MEMORY:
		fail_memory(t);
		break;
	case FAULT_FULL:
		fill_up(t);
		break;
	case FAULT_ROT:
	case FAULT_STRAY:
		hurt_medium(t, fault);
		break;
	case FAULT_RESTORE:
		back_up(t);
		break;
	case FAULT_CLOCK:
		t->site->utc_offset = (dice(20) - 10) * dice(31536000 * SECOND);
		SAY("%s: the wall clock jumps", t->site->name);
		PROVE(14);
		break;
	case FAULT_FLIP:
		pair.flip_at = pair.moved + dice(20000);
		SAY("a byte will change on the link");
		break;
	case FAULT_STRANGER:
		if (profile == PROFILE_RELAY && dice(3) > 0)
			adversary_relay();
		else
			adversary_act();
		break;
	default:
		take_rights(t);
	}
}
