/* SPDX-License-Identifier: Apache-2.0 */
/* The operators: one who asks for anything, and one who knows what he wants. */
#include "story.h"

static struct content scratch;

static const char *const operations[] = {
	"", "enable", "start-initial", "suspend", "resume", "resync", "planned",
	"unplanned", "change-point", "cancel", "commit", "reverse", "discard",
	"force", "remove", "verify", "cut-now",
};

/* The last point that is listed, 0: none; and whether `number` is one of them. */
static uint64_t newest_listed(const struct teller *t, uint64_t number,
			      bool *listed)
{
	struct hvrepl_point point = HVREPL_POINT_INIT;
	uint64_t newest = 0;

	*listed = false;
	for (uint32_t i = 0; hvrepl_vm_get_point(t->site->node, &pair_vm, i,
						 &point) == HVREPL_OK;
	     i++) {
		newest = point.number;
		*listed |= newest == number;
	}
	return newest;
}

/* Who names no point gets the newest, whatever the clocks say (O5). The disk of a
 * VM that was handed over is a point by itself, which no list has. */
static void check_newest_taken(struct teller *t, uint64_t newest,
			       const struct hvrepl_uuid *epoch_before)
{
	struct hvrepl_vm_status after;
	struct hvrepl_epoch epoch;
	bool listed;

	if (newest == 0 || !look(t->site, &after) ||
	    same(&after.epoch, epoch_before) ||
	    !epoch_of(t->site, &after.epoch, &epoch) ||
	    newest != newest_listed(t, epoch.fork_point, &listed) || !listed)
		return;
	HOLDS(14, epoch.fork_point == newest,
	      "%s failed over to point %llu, the newest is %llu",
	      t->site->name, (unsigned long long)epoch.fork_point,
	      (unsigned long long)newest);
}

static void ask_point(struct teller *t, uint32_t operation, uint64_t point)
{
	struct hvrepl_uuid epoch = { { 0 } };
	struct hvrepl_vm_status before, after;
	uint64_t newest;
	uint64_t at = pair.now_ns;
	bool listed;
	int32_t rc;

	if (!look(t->site, &before))
		return;
	if (operation == HVREPL_OPERATION_DISCARD) {
		struct hvrepl_epoch e = HVREPL_EPOCH_INIT;
		uint32_t count = 0;

		while (hvrepl_vm_get_epoch(t->site->node, &pair_vm, count,
					   &e) == HVREPL_OK)
			count++;
		if (count > 0)
			(void)hvrepl_vm_get_epoch(t->site->node, &pair_vm,
						  (uint32_t)dice(count), &e);
		epoch = e.id;
	}
	newest = newest_listed(t, 0, &listed);
	rc = pair_ask(t->site, operation, point, &epoch);
	if (rc >= 0 && operation == HVREPL_OPERATION_UNPLANNED && point == 0)
		check_newest_taken(t, newest, &before.epoch);
	mix((uint64_t)operation << 32 | (uint32_t)rc);
	discarded |= operation == HVREPL_OPERATION_DISCARD;
	/* A site that was brought back may commit what it knows not to be given up
	 * by then: it learns that when it meets the other one. Behind another job
	 * it is that one's outcome which is committed. */
	if (rc >= 0 && operation == HVREPL_OPERATION_COMMIT && !t->unmet &&
	    before.job == 0 &&
	    before.state == HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION) {
		t->commit_epoch = before.epoch;
		t->commit_job = t->site->job;
		t->committed = false;
	}
	/* What is not allowed is refused, and changes nothing. */
	if ((before.allowed >> operation & 1) == 0 && pair.now_ns == at &&
	    look(t->site, &after))
		HOLDS(32, rc < 0 && after.state == before.state &&
			      same(&after.epoch, &before.epoch) &&
			      after.ownership == before.ownership,
		      "%s: %s is not allowed and was answered %d",
		      t->site->name, operations[operation], rc);
	SAY("%s: %s %llu -> %d %s", t->site->name, operations[operation],
	    (unsigned long long)point, rc, rc < 0 ? t->site->job_sentence : "");
	if (operation == HVREPL_OPERATION_UNPLANNED ||
	    operation == HVREPL_OPERATION_FORCE ||
	    operation == HVREPL_OPERATION_DISCARD)
		t->tame = false;
	if (rc >= 0) {
		t->asked = operation;
		t->asked_point = point;
		t->forced |= operation == HVREPL_OPERATION_FORCE;
		if (operation == HVREPL_OPERATION_FORCE) /* His word is. */
			t->heard_life = t->site->restarts + 1;
	}
	/* A cut of it is named before a guest writes again. */
	pair_run(&pair, 1);
	watch(false);
}

void ask(struct teller *t, uint32_t operation)
{
	struct hvrepl_vm_status status;
	uint64_t point = 0;

	if (!look(t->site, &status))
		return;
	if ((operation == HVREPL_OPERATION_UNPLANNED ||
	     operation == HVREPL_OPERATION_CHANGE_POINT) &&
	    t->seen_count > 0 && dice(2) == 0)
		point = t->seen_numbers[dice(t->seen_count)];
	ask_point(t, operation, point);
}

/* A disk that was handed over is one point, which no store lists, and in doubt only who
 * names it gets it: the other site has nothing that it could be compared with. */
static void take_disk_as_it_is(struct teller *t)
{
	struct hvrepl_vm_status status;
	struct hvrepl_epoch epoch;

	if (look(t->site, &status) && epoch_of(t->site, &status.epoch, &epoch) &&
	    epoch.fork_point != 0)
		ask_point(t, HVREPL_OPERATION_UNPLANNED, epoch.fork_point);
}

void random_operation(bool faithful)
{
	struct teller *t = &tellers[dice(2)];
	struct hvrepl_vm_status status;
	uint32_t allowed[HVREPL_OPERATION_COUNT], count = 0;
	uint32_t operation = 1 + (uint32_t)dice(HVREPL_OPERATION_COUNT - 1);

	if (!look(t->site, &status))
		return;
	for (uint32_t i = 1; i < HVREPL_OPERATION_COUNT; i++)
		if (status.allowed >> i & 1 && i != HVREPL_OPERATION_REMOVE)
			allowed[count++] = i;
	if (count > 0 && (faithful || dice(5) > 0))
		operation = allowed[dice(count)];
	if (operation == HVREPL_OPERATION_REMOVE ||
	    (handovers_only && (operation == HVREPL_OPERATION_UNPLANNED ||
				operation == HVREPL_OPERATION_FORCE ||
				operation == HVREPL_OPERATION_DISCARD)))
		return;
	ask(t, operation);
}

/* The end of an older history keeps an overlay from folding, and a site from
 * following; both say so. */
static bool discard_ends(const bool up[2])
{
	bool any = false;

	discarded = true;
	for (int i = 0; i < 2; i++) {
		struct hvrepl_point point = HVREPL_POINT_INIT;

		for (uint32_t k = 0;
		     up[i] && hvrepl_vm_get_point(tellers[i].site->node,
						  &pair_vm, k,
						  &point) == HVREPL_OK;
		     k++)
			any |= (point.pins & HVREPL_PIN_TAIL) != 0 &&
			       pair_ask(tellers[i].site,
					HVREPL_OPERATION_DISCARD, 0,
					&point.cut) >= 0;
	}
	return any;
}

/* What an operator asks who wants the VM to run and be protected. */
static void sensible_operation(unsigned round)
{
	static const uint32_t order[] = {
		HVREPL_OPERATION_COMMIT,  HVREPL_OPERATION_RESUME,
		HVREPL_OPERATION_DISCARD, HVREPL_OPERATION_REVERSE,
		HVREPL_OPERATION_START_INITIAL, HVREPL_OPERATION_RESYNC,
		HVREPL_OPERATION_ENABLE,
	};
	static uint32_t tried[2];
	struct hvrepl_vm_status s[2];
	bool up[2];

	if (round < 2)
		tried[0] = tried[1] = 0;
	for (int i = 0; i < 2; i++)
		up[i] = look(tellers[i].site, &s[i]);
	if (round > 40 && round % 8 == 1 && discard_ends(up))
		return;
	for (unsigned k = 0; k < sizeof(order) / sizeof(order[0]); k++)
		for (int turn = 0; turn < 2; turn++) {
			uint32_t operation = order[k];
			int i = (turn + (int)(round / 2)) % 2;

			/* He does not repeat at once what has just failed. */
			if (round % 8 != 1 && tried[i] == operation &&
			    tellers[i].site->job_code < 0)
				continue;
			if (!up[i] ||
			    (s[i].job != 0 &&
			     operation != HVREPL_OPERATION_RESUME) ||
			    !(s[i].allowed >> operation & 1))
				continue;
			/* A healthy pair needs neither. */
			if ((operation == HVREPL_OPERATION_RESYNC ||
			     operation == HVREPL_OPERATION_DISCARD) &&
			    s[i].state == HVREPL_STATE_REPLICATING &&
			    (round < 150 ||
			     operation == HVREPL_OPERATION_DISCARD))
				continue; /* But no point for an hour... */
			if (operation == HVREPL_OPERATION_ENABLE && i == 1)
				continue;
			/* Allowed, but there is nothing to do. */
			if (operation == HVREPL_OPERATION_COMMIT &&
			    s[i].state !=
				    HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION)
				continue;
			if (operation == HVREPL_OPERATION_RESUME &&
			    s[i].state != HVREPL_STATE_SUSPENDED &&
			    s[i].state != HVREPL_STATE_RESYNC_SUSPENDED &&
			    s[i].state != HVREPL_STATE_ERROR &&
			    s[i].state != HVREPL_STATE_WAITING_FOR_RESYNC)
				continue;
			if (operation == HVREPL_OPERATION_DISCARD) {
				int32_t rc;

				/* The one that committed wins. */
				if (!up[1 - i] ||
				    s[i].ownership !=
					    HVREPL_OWNERSHIP_DIVERGED)
					continue;
				discarded = true;
				rc = pair_ask(tellers[i].site, operation, 0,
					      &s[1 - i].epoch);
				SAY("%s: discard the other -> %d %s",
				    tellers[i].site->name, rc,
				    rc < 0 ? tellers[i].site->job_sentence :
					     "");
				if (rc >= 0)
					return;
				continue;
			}
			ask(&tellers[i], operation);
			tried[i] = operation;
			if (tellers[i].site->job_code == HVREPL_PENDING)
				return;
		}
	/* A superseded site that holds the end of an older history folds after
	 * force only; then the operator decides anew. */
	if (round > 100 && round % 40 == 1)
		for (int i = 0; i < 2; i++)
			if (up[i] &&
			    s[i].ownership == HVREPL_OWNERSHIP_SUPERSEDED &&
			    s[i].allowed >> HVREPL_OPERATION_FORCE & 1) {
				ask(&tellers[i], HVREPL_OPERATION_FORCE);
				return;
			}
	/* Nothing helps: force or fail over where nobody writes; what that has begun
	 * is forced next where health says so, before it is cancelled. */
	if (round % 16 != 15 || (up[0] && s[0].writable) ||
	    (up[1] && s[1].writable))
		return;
	for (int i = 0; i < 2; i++)
		if (up[i] && s[i].allowed >> HVREPL_OPERATION_CANCEL & 1 &&
		    round % 64 == 15) {
			ask(&tellers[i], HVREPL_OPERATION_CANCEL);
			return;
		}
	for (int i = 0; i < 2; i++)
		if (up[i] && s[i].allowed >> HVREPL_OPERATION_FORCE & 1) {
			ask(&tellers[i], HVREPL_OPERATION_FORCE);
			/* There may be no point to start from. */
			if (tellers[i].site->job_code != HVREPL_E_NOT_FOUND)
				return;
		}
	for (int i = 0; i < 2; i++)
		if (up[i] && s[i].allowed >> HVREPL_OPERATION_UNPLANNED & 1) {
			ask(&tellers[i], HVREPL_OPERATION_UNPLANNED);
			if (tellers[i].site->job_code == HVREPL_E_UNTRUSTED &&
			    tellers[i].seen_count == 0)
				take_disk_as_it_is(&tellers[i]);
			return;
		}
}

static bool is_protected(struct teller **owner, struct teller **copy)
{
	struct hvrepl_vm_status s[2];

	if (!look(tellers[0].site, &s[0]) || !look(tellers[1].site, &s[1]))
		return false;
	/* What cannot be opened yet has not said what it knows. */
	if (s[0].open_code < 0 || s[1].open_code < 0)
		return false;
	/* The owner's guest gets errors until the restart that health asks for. */
	if ((s[0].reasons | s[1].reasons) & HVREPL_REASON_STORAGE_FAILED)
		return false;
	/* What was asked of the other site over a slow link is still to come: a
	 * planned failover leaves it failed over, to be committed. */
	if (s[0].job != 0 || s[1].job != 0)
		return false;
	for (int i = 0; i < 2; i++)
		if (s[i].writable && s[i].state == HVREPL_STATE_REPLICATING &&
		    s[i].ownership == HVREPL_OWNERSHIP_OWNER &&
		    s[1 - i].state == HVREPL_STATE_REPLICATING &&
		    s[1 - i].ownership == HVREPL_OWNERSHIP_STANDBY &&
		    s[0].connected && s[1].connected) {
			*owner = &tellers[i];
			*copy = &tellers[1 - i];
			return true;
		}
	return false;
}

/* Over a slow link a site looks well until it has heard what the other knows. */
static bool stays_protected(struct teller **owner, struct teller **copy)
{
	if (!is_protected(owner, copy))
		return false;
	pass(SECOND / 10 + 4 * (pair.delay_ns[0] + pair.delay_ns[1]));
	if (is_protected(owner, copy))
		return true;
	*owner = *copy = NULL;
	return false;
}

/* "Close and open again", as a store says that failed a flush under a running VM. */
static bool restart_asked_for(void)
{
	struct hvrepl_vm_status s;

	for (int i = 0; i < 2; i++)
		if (look(tellers[i].site, &s) &&
		    ((s.reasons & HVREPL_REASON_STORAGE_FAILED) != 0 ||
		     s.open_code < 0))
			return true;
	return false;
}

static void restart_both(void)
{
	SAY("both sites are restarted");
	tally->restarts++;
	for (int i = 0; i < 2; i++)
		if (tellers[i].site->node != NULL) {
			pair_stop(&pair, tellers[i].site);
			/* What a poisoned store had not flushed is gone. */
			tellers[i].site->restarts++;
			tellers[i].restart_at = 0;
		}
	restart_due(true);
}

/* What the owner's guest wrote is in a point, read into `scratch`: its number; 0:
 * none came, and a damaged site is excused. */
static uint64_t last_point(struct teller *owner, struct teller *copy,
			   bool *readable)
{
	struct hvrepl_vm_status s, c;
	uint64_t named = 0;

	*readable = false;
	pass(SECOND / 10);
	guest_writes(owner, 5);
	guest_flush(owner);
	pair_status(owner->site, &s);
	pair_status(copy->site, &c);
	for (unsigned i = 0; i < 120; i++) {
		struct hvrepl_vm_status now, then;

		pass(i < 20 ? SECOND / 2 : 20 * SECOND);
		pair_status(copy->site, &now);
		pair_status(owner->site, &then);
		/* Of a cut named since: the copy may still complete an older
		 * one, of which an owner that was restarted knows nothing. */
		if (named == 0 && then.last_cut > s.last_cut)
			named = then.last_cut;
		if (named != 0 && now.last_point >= named &&
		    now.last_point > c.last_point)
			break;
		if (i == 119 && excused())
			return 0;
		HOLDS(36, i < 119, "no point after healing");
	}
	watch(true);
	HOLDS(36, read_disks(owner, &scratch), "the owner cannot read");
	compare(1, &scratch, &owner->guest.shadow, "final disks", owner, 0);
	pair_status(copy->site, &c);
	*readable = read_point(copy, c.last_point, false, &scratch);
	return c.last_point;
}

/* All faults end; an operator brings it back, and the last point is right. */
void heal(void)
{
	struct teller *owner = NULL, *copy = NULL;
	struct hvrepl_vm_status s, c;
	uint64_t number;
	bool readable;
	unsigned round = 0;

	SAY("---- healing");
	calm();
	pass(MS);
	restart_due(true);
	pair_link(&pair, true);
	for (; round < 400 && !stays_protected(&owner, &copy); round++) {
		/* The longest pause after a storage fault is 30 minutes (L4). */
		pass(round < 200 ? SECOND / 2 : 20 * SECOND);
		/* Only where health asks for it: what stands still for another
		 * reason is a dead end. */
		if (round >= 120 && round % 40 == 0 && restart_asked_for())
			restart_both();
		if (round % 2 == 1)
			sensible_operation(round);
	}
	if (owner == NULL && excused()) {
		tally->degraded++;
		PROVE(12);
		return;
	}
	if (owner == NULL) {
		(void)look(&pair.a, &s);
		(void)look(&pair.b, &c);
		violated(34, "no way back: a %u/%u/%u w%u job %llx "
			     "allowed %x open %d (%s), b %u/%u/%u w%u job %llx "
			     "allowed %x open %d (%s)",
			     s.mode, s.state,
			     s.ownership, s.writable, (unsigned long long)s.job,
			     s.allowed, s.open_code, s.sentence, c.mode,
			     c.state, c.ownership, c.writable,
			     (unsigned long long)c.job, c.allowed, c.open_code,
			     c.sentence);
	}
	PROVE(34);
	number = last_point(owner, copy, &readable);
	/* A flush of upkeep that failed late closes the store until the next cut. */
	if (!readable && number != 0 && !copy->hurt)
		number = last_point(owner, copy, &readable);
	if (!readable) {
		HOLDS(12, number == 0 || copy->hurt,
		      "the final point cannot be read");
		tally->degraded++;
		return;
	}
	compare(copy->hurt ? 17 : 29, &scratch, &owner->guest.shadow, "final point", copy,
		number);
	for (unsigned f = 0; f < FAULT_COUNT; f++)
		if (armed >> f & 1)
			tally->faults[f]++;
	if (pair.broken_links > 0)
		PROVE(9);
	if (owner->site->restarts + copy->site->restarts > 0) {
		PROVE(18);
		PROVE(33);
	}
	if (owner->oom || copy->oom)
		PROVE(35);
	PROVE(28);
}
