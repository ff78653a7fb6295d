/* SPDX-License-Identifier: Apache-2.0 */
/* The oracle: looks at both sites after each piece of time, and at what they
 * must hold. Whole images are read only at a point and at a failover. */
#include "story.h"

#define ALLOC_CAP (96u << 20) /* Bytes; a node with its buffers has a few. */
#define STORAGE_CAP (64u << 20)
#define WRITERS_MAX 256u
#define ENDS_MAX 64u /* Of a story; more are looked at while they are kept only. */

static struct content scratch;
static struct hvrepl_vm_status shown[2];
static uint64_t hooks;

/* Who wrote in which epoch, for the whole story. */
static struct {
	struct hvrepl_uuid epoch;
	uint32_t sites;
} writers[WRITERS_MAX];
static unsigned writer_count;

/* Ends that were kept, by the ids of their cuts. One of a site that was brought back
 * has the epoch of its owner, who may come to have a cut of that number too; let go,
 * it is not shown as an end any more. What it held first, it holds. */
static struct end {
	struct hvrepl_uuid cut;
	bool was_read;
	struct content content;
} ends[ENDS_MAX];
static unsigned end_count;

void oracle_begin(void)
{
	hooks = 0;
	writer_count = end_count = 0;
	memset(shown, 0, sizeof(shown));
}

static void note_writer(struct teller *t, const struct hvrepl_uuid *epoch)
{
	unsigned i = 0, bit = 1u << (t == &tellers[1]);

	while (i < writer_count && !same(&writers[i].epoch, epoch))
		i++;
	if (i == WRITERS_MAX)
		return;
	if (i == writer_count) {
		writers[i].sites = 0;
		writers[writer_count++].epoch = *epoch;
	}
	writers[i].sites |= bit;
	/* A site that came back from a backup may not know better, but it is
	 * alone with that: the other one is the epoch's. */
	HOLDS(20, writers[i].sites != 3,
	      "two writers in epoch %02x%02x, now %s", epoch->bytes[0],
	      epoch->bytes[1], t->site->name);
}

/* The epoch its guest wrote in is of its own, behind one that was given up: it is in
 * the one before that now, and its guest goes on with what it has. */
static bool goes_on(struct teller *t)
{
	struct hvrepl_epoch epoch;
	struct hvrepl_uuid id = t->guest.epoch;
	bool own = epoch_of(t->site, &id, &epoch) &&
		   epoch.outcome == HVREPL_OUTCOME_COMMITTED;

	while (own && epoch_of(t->site, &id, &epoch)) {
		if (epoch.outcome == HVREPL_OUTCOME_ABANDONED ||
		    epoch.outcome == HVREPL_OUTCOME_REFUSED)
			return t->guest.has_shadow;
		id = epoch.parent;
	}
	return false;
}

/* The site is about to become what a backup knows. */
void note_handed(struct teller *t)
{
	const struct guest *g = &t->guest;
	struct hvrepl_vm_status s;
	struct hvrepl_epoch epoch;

	t->of_backup = true;
	t->has_handed = false;
	if (!g->has_shadow || !look(t->site, &s) || s.writable ||
	    s.open_code < 0)
		return;
	t->handed_epoch = g->epoch;
	if (s.ownership == HVREPL_OWNERSHIP_RELINQUISHED &&
	    same(&s.epoch, &g->epoch))
		t->handed_cut = s.last_cut;
	else if (epoch_of(t->site, &s.epoch, &epoch) && epoch.planned &&
		 same(&epoch.parent, &g->epoch))
		t->handed_cut = epoch.fork_point;
	else
		return;
	t->handed = g->shadow;
	t->has_handed = true;
}

/* What a site left as it handed over to that epoch; NULL: nobody knows. Its guest may have
 * become what a backup knew of it meanwhile, and have handed over the same cut again. */
static const struct content *left_by(const struct teller *t,
				     const struct hvrepl_epoch *epoch)
{
	const struct content *now = NULL;

	if (t->guest.has_shadow && !t->of_backup &&
	    same(&t->guest.epoch, &epoch->parent))
		now = &t->guest.shadow;
	if (!t->has_handed || !same(&t->handed_epoch, &epoch->parent) ||
	    t->handed_cut != epoch->fork_point ||
	    (now != NULL && is_content(&scratch, now)))
		return now;
	return &t->handed;
}

/* The site's guest may write in an epoch in which it could not before. */
static void new_owner(struct teller *t, const struct hvrepl_vm_status *status)
{
	struct teller *other = &tellers[t == &tellers[0]];
	struct guest *g = &t->guest;
	struct hvrepl_epoch epoch;
	struct content *must = NULL;
	bool own = t->forced, back = false;
	const struct content *left = NULL;
	bool stale = t->restored;

	if (g->has_shadow)
		keep_ending(g);
	t->of_backup = false;
	/* Brought back into the epoch that it had handed over, it has handed it over all
	 * the same. */
	t->has_handed &= same(&t->handed_epoch, &status->epoch);
	HOLDS(21, epoch_of(t->site, &status->epoch, &epoch),
	      "%s writes in an epoch out of nowhere", t->site->name);
	if (!read_disks(t, &scratch))
		return;
	note_writer(t, &status->epoch);
	/* With both sites brought back an epoch of the lost life may begin anew, by
	 * its id of then. */
	if (t->brought_back && find_ending(t, &status->epoch) == NULL)
		blur_named(&status->epoch, epoch.fork_point);
	t->forced = false;
	if (t->restored) {
		/* It knows no more than its backup did. */
		t->restored = false;
	} else if (own && g->has_shadow && same(&g->epoch, &epoch.parent)) {
		must = &g->shadow;
	} else if (own) {
		own = false; /* Forced before it wrote: nothing to know. */
	} else if (t->wrote && goes_on(t)) {
		must = &g->shadow;
		own = true;
	} else if (find_ending(t, &status->epoch) != NULL) {
		must = find_ending(t, &status->epoch); /* Cancelled back. */
		back = true;
	} else if (g->has_shadow || epoch.fork_point != 0) {
		choose_image(&epoch.parent, epoch.fork_point, &scratch);
		must = find_point(t->site, epoch.parent, epoch.fork_point);
	}
	SAY("%s writes in epoch %02x%02x (parent %02x%02x at %llu%s), %s",
	    t->site->name, status->epoch.bytes[0], status->epoch.bytes[1],
	    epoch.parent.bytes[0], epoch.parent.bytes[1],
	    (unsigned long long)epoch.fork_point,
	    epoch.planned ? ", planned" : "",
	    must != NULL ? "content known" : "content not known");
	/* He named a point that is in doubt, or they were its disks by then, though
	 * its guest had not written. */
	if (stood_on_what_was(t, epoch.fork_point) ||
	    same(&t->changed_epoch, &status->epoch))
		open_outside(t, &scratch);
	if (must != NULL)
		compare(back	      ? 26 :
			own	      ? 31 :
			epoch.planned ? 23 :
					25,
			&scratch, must, own ? "forced disks" : "failover to",
			t, epoch.fork_point);
	left = left_by(other, &epoch);
	if (epoch.planned && !own && !back && !stale && left != NULL)
		compare(23, &scratch, left, "planned failover", t,
			epoch.fork_point);
	g->shadow = scratch;
	memset(g->shadow.unsure, 0, sizeof(g->shadow.unsure));
	g->has_shadow = true;
	g->on_base = false;
	memset(g->owed, 0, sizeof(g->owed));
	g->epoch = status->epoch;
	/* Cuts of before it could write hold what nobody has looked at. */
	g->last_cut = status->last_cut > epoch.fork_point ? status->last_cut :
							    epoch.fork_point;
	/* What the disk had not made durable before, it has not now. */
}

void settle(struct teller *t)
{
	struct guest *g = &t->guest;
	bool open = false;

	for (unsigned i = 0; i < PAIR_DISKS && !open; i++)
		open = memchr(g->shadow.unsure[i], 1, SECTORS) != NULL;
	if (!open || !read_disks(t, &scratch))
		return;
	compare(1, &scratch, &g->shadow, "disks after a crash", t, 0);
	if (t->flush_failed)
		PROVE(4);
	/* It stays as open as it was until a flush has succeeded. */
	g->shadow = scratch;
}

void note_reverts(struct teller *t)
{
	struct guest *g = &t->guest;
	unsigned overlays = sim_storage_reverts(t->site->storage);
	bool overlay = overlays != g->overlay_reverts, seen = false;

	g->overlay_reverts = overlays;
	for (unsigned i = 0; i < PAIR_DISKS; i++) {
		unsigned reverts = sim_disk_reverts(t->site->disks[i]);
		bool base = reverts != g->reverts[i];

		if (!base && !overlay)
			continue;
		g->reverts[i] = reverts;
		/* While it runs on an overlay the disk holds none of it: a fold
		 * that fails to flush what it has written there costs nothing. */
		if (!seen && !read_disks(t, &scratch))
			memset(&scratch, 0, sizeof(scratch));
		seen = true;
		for (unsigned s = 0; s < SECTORS; s++) {
			bool gone = g->unflushed[i][s] &&
				    !g->shadow.unsure[i][s] &&
				    scratch.sector[i][s] !=
					    g->shadow.sector[i][s];

			g->owed[i] |= gone && t->wrote;
			g->shadow.unsure[i][s] |=
				base ? g->unflushed[i][s] : gone;
		}
	}
}

/* The process died: what was not flushed may be gone, also without a loss of
 * power, for an overlay's map is durable only with a flush. */
static void note_crash(struct teller *t)
{
	if (t->revived == t->site->restarts)
		return;
	t->revived = t->site->restarts;
	t->up_since = pair.now_ns;
	t->wrote_epoch = true;
	/* It stays what its backup made it until it has met the other one. */
	t->restored = t->returning || (t->restored && t->unmet);
	t->returning = false;
	t->newest = 0;
	memset(t->guest.owed, 0, sizeof(t->guest.owed));
	for (unsigned i = 0; i < PAIR_DISKS; i++) {
		t->guest.reverts[i] = sim_disk_reverts(t->site->disks[i]);
		t->guest.overlay_reverts =
			sim_storage_reverts(t->site->storage);
		for (unsigned k = 0; k < SECTORS; k++)
			t->guest.shadow.unsure[i][k] |=
				t->guest.unflushed[i][k];
	}
}

static void watch_writer(struct teller *t, const struct hvrepl_vm_status *s)
{
	struct guest *g = &t->guest;

	settle(t);
	/* The failover over there was cancelled, or a fence was lifted. */
	if (!t->wrote && read_disks(t, &scratch))
		compare(26, &scratch, &g->shadow, "disks after a fence", t, 0);
	else if (hooks % 24 == 0 && read_disks(t, &scratch))
		compare(24, &scratch, &g->shadow, "guest's disks", t, 0);
	/* An overlay holds what differs, until it is folded. */
	if (hooks % 16 == 0) {
		read_base(t, &scratch);
		g->on_base = s->mode == HVREPL_MODE_PRIMARY &&
			     memcmp(scratch.sector, g->shadow.sector,
				    sizeof(scratch.sector)) == 0;
	}
}

/* The other site holds a point, or is known here to: it could have failed over.
 * A record of before that is excused: it cannot know (O3). */
static bool peer_could_own(const struct teller *t,
			   const struct hvrepl_vm_status *s)
{
	const struct teller *other = &tellers[t == &tellers[0]];

	return s->last_point > 0 || (other->seen_count > 0 && !t->brought_back);
}

static void watch_owner(struct teller *t, const struct hvrepl_vm_status *s)
{
	struct guest *g = &t->guest;

	note_crash(t);
	note_reverts(t);
	/* A VM that cannot be opened hears nothing, whatever session there is. */
	if (s->connected && s->open_code >= 0) {
		t->heard_life = t->site->restarts + 1;
		t->unmet = false;
	}
	/* A former owner waits for its peer first (O3: 10 s). */
	if (t->revived > 0 && t->heard_life != t->site->restarts + 1 &&
	    s->mode == HVREPL_MODE_PRIMARY &&
	    peer_could_own(t, s) && pair.now_ns - t->up_since < 6 * SECOND)
		HOLDS(24, !s->writable,
		      "%s writes %llu ms after its start and has not heard of "
		      "its peer",
		      t->site->name,
		      (unsigned long long)((pair.now_ns - t->up_since) / MS));
	if (s->writable && !t->site->sim.crashed &&
	    (!g->has_shadow || t->restored || !same(&g->epoch, &s->epoch)))
		new_owner(t, s);
	if (g->has_shadow && same(&g->epoch, &s->epoch) && !t->restored) {
		for (uint64_t n = g->last_cut + 1; n <= s->last_cut; n++)
			keep_image(&s->epoch, n, g);
		if (s->last_cut > g->last_cut) {
			g->last_cut = s->last_cut;
			g->instant_count = 0;
		}
	}
	if (s->writable && g->has_shadow && same(&g->epoch, &s->epoch) &&
	    !t->site->sim.crashed)
		watch_writer(t, s);
	t->wrote = s->writable != 0;
	/* Nothing of a loser is overwritten (O6, S7). */
	if (hooks % 12 == 0 && g->has_shadow && g->on_base && !s->writable &&
	    !t->restored && same(&g->epoch, &s->epoch) && s->open_code >= 0 &&
	    (s->ownership == HVREPL_OWNERSHIP_SUPERSEDED ||
	     s->ownership == HVREPL_OWNERSHIP_DIVERGED ||
	     s->ownership == HVREPL_OWNERSHIP_RELINQUISHED) &&
	    s->state != 0) {
		read_base(t, &scratch);
		compare(31, &scratch, &g->shadow, "fenced site's disks", t, 0);
	}
}

const struct hvrepl_uuid *epoch_shown(const struct teller *t)
{
	return &shown[t == &tellers[1]].epoch;
}

/* The end that the point is, or was; NULL: none. */
static struct end *end_of(const struct hvrepl_point *point)
{
	for (unsigned i = 0; i < end_count; i++)
		if (same(&ends[i].cut, &point->cut))
			return &ends[i];
	if ((point->pins & HVREPL_PIN_TAIL) == 0 || end_count == ENDS_MAX)
		return NULL;
	ends[end_count].was_read = false;
	ends[end_count].cut = point->cut;
	return &ends[end_count++];
}

/* What a listed point must hold; NULL: a cut nobody saw being named. */
static const struct content *promised(struct teller *t,
				      const struct hvrepl_point *point,
				      const struct end *end)
{
	const struct content *must = NULL;

	if (end == NULL && (point->pins & HVREPL_PIN_TAIL) == 0)
		return find_image(&point->epoch, point->number);
	if ((point->pins & HVREPL_PIN_TAIL) != 0 && !t->restored &&
	    !t->returning) {
		must = find_ending(t, &point->epoch);
		if (same(&t->guest.epoch, &point->epoch) &&
		    t->guest.has_shadow)
			must = &t->guest.shadow;
	}
	return must != NULL	      ? must :
	       end != NULL && end->was_read ? &end->content :
				      NULL;
}

static void watch_numbers(struct teller *t, const struct hvrepl_point *point,
			  struct hvrepl_point *before)
{
	/* By number, whatever the clock says. */
	if (before->number != 0 && same(&before->epoch, &point->epoch))
		HOLDS(14, point->number > before->number ||
			      (point->pins & HVREPL_PIN_TAIL) != 0 ||
			      (before->pins & HVREPL_PIN_TAIL) != 0,
		      "%s: point %llu is listed after %llu", t->site->name,
		      (unsigned long long)point->number,
		      (unsigned long long)before->number);
	*before = *point;
}

/* A site whose medium lost something reads it right, or not at all, and what
 * comes later stands on what was got again. */
static unsigned promise_of(const struct teller *t,
			   const struct hvrepl_point *point, bool old)
{
	if ((t->hurt && !old) || was_damaged(t, &point->epoch, point->number))
		return 17;
	return old ? 19 : 10;
}

/* Each point once when it is new, all of them now and then. */
static void watch_points(struct teller *t, bool all)
{
	struct hvrepl_point before = HVREPL_POINT_INIT;
	struct hvrepl_uuid epochs[NO_POINTS];
	uint64_t numbers[NO_POINTS];
	unsigned count = 0;

	if (t->site->sim.crashed)
		return;
	for (uint32_t i = 0;; i++) {
		struct hvrepl_point point = HVREPL_POINT_INIT;
		const struct content *must;
		struct end *end;
		bool old = false, doubted;

		if (hvrepl_vm_get_point(t->site->node, &pair_vm, i, &point) < 0)
			break;
		watch_numbers(t, &point, &before);
		doubted = (point.flags & HVREPL_POINT_DOUBTED) != 0;
		for (unsigned k = 0; k < t->seen_count; k++)
			old |= t->seen_numbers[k] == point.number &&
			       same(&t->seen_epochs[k], &point.epoch);
		end = end_of(&point);
		must = promised(t, &point, end);
		if (!old)
			SAY("%s: point %llu of %02x%02x%s%s", t->site->name,
			    (unsigned long long)point.number,
			    point.epoch.bytes[0], point.epoch.bytes[1],
			    (point.pins & HVREPL_PIN_TAIL) != 0 ? " tail" : "",
			    must == NULL ? " not known" : "");
		if ((!old || all || was_damaged(t, &point.epoch,
						point.number)) &&
		    must != NULL) {
			if (!read_point(t, point.number, doubted, &scratch)) {
				note_damaged(t, &point.epoch, point.number);
			} else {
				choose_image(&point.epoch, point.number,
					     &scratch);
				compare(promise_of(t, &point, old), &scratch,
					must,
					(point.pins & HVREPL_PIN_TAIL) != 0 ?
						"tail" :
						"point",
					t, point.number);
			}
		}
		if (end != NULL && !end->was_read &&
		    read_point(t, point.number, doubted, &end->content))
			end->was_read = true;
		if (count < NO_POINTS) {
			epochs[count] = point.epoch;
			numbers[count++] = point.number;
		}
	}
	memcpy(t->seen_epochs, epochs, sizeof(epochs[0]) * count);
	memcpy(t->seen_numbers, numbers, sizeof(numbers[0]) * count);
	t->seen_count = count;
}

/* What was acknowledged is there. */
static void watch_acknowledged(const struct hvrepl_vm_status *owner,
			       const struct hvrepl_vm_status *copy,
			       const struct teller *holder,
			       const struct teller *writer)
{
	if (!owner->writable || owner->mode != HVREPL_MODE_PRIMARY ||
	    copy->state == 0 || copy->open_code < 0 ||
	    copy->ownership != HVREPL_OWNERSHIP_STANDBY ||
	    copy->mode != HVREPL_MODE_REPLICA ||
	    !same(&owner->epoch, &copy->epoch) || holder->site->sim.crashed ||
	    owner->last_point == 0 || holder->hurt ||
	    holder->trouble || holder->brought_back ||
	    pair.now_ns - holder->up_since < 5 * SECOND ||
	    writer->brought_back)
		return;
	HOLDS(13, copy->point_count > 0 && copy->last_point >= owner->last_point,
	      "point %llu was acknowledged, the replica's newest is %llu of %u",
	      (unsigned long long)owner->last_point,
	      (unsigned long long)copy->last_point, copy->point_count);
}

/* Two writers that hear each other know that they have diverged (O6). */
static void watch_divergence(const struct hvrepl_vm_status s[2])
{
	bool blind = s[0].ownership == HVREPL_OWNERSHIP_DIVERGED ||
		     s[1].ownership == HVREPL_OWNERSHIP_DIVERGED;

	if (!s[0].writable || !s[1].writable || !s[0].connected ||
	    !s[1].connected || pair.stalled[0] || pair.stalled[1] ||
	    tellers[0].site->sim.fail_on || tellers[1].site->sim.fail_on ||
	    pair.piece != 0) {
		tellers[0].both_since = 0;
		return;
	}
	if (tellers[0].both_since == 0)
		tellers[0].both_since = pair.now_ns;
	if (pair.now_ns - tellers[0].both_since > 90 * SECOND)
		HOLDS(30, blind, "both sites write, hear each other for %llu s "
		      "and call it nothing",
		      (unsigned long long)((pair.now_ns -
					    tellers[0].both_since) /
					   SECOND));
	else if (blind)
		PROVE(30);
}

/* What a site wrote in, it knows when it comes back (O5). */
static void watch_lineage(struct teller *t)
{
	struct hvrepl_epoch epoch;

	if (!t->guest.has_shadow || t->restored || t->returning || t->hurt ||
	    !t->wrote_epoch)
		return;
	HOLDS(21, epoch_of(t->site, &t->guest.epoch, &epoch),
	      "%s wrote in epoch %02x%02x and does not know it any more",
	      t->site->name, t->guest.epoch.bytes[0], t->guest.epoch.bytes[1]);
	t->wrote_epoch = false;
}

/* What was committed stays so, but for an operator who gives it up by name. */
static void watch_commit(struct teller *t)
{
	struct hvrepl_epoch epoch;

	if (!t->committed || t->restored || t->returning || t->hurt ||
	    discarded || !epoch_of(t->site, &t->commit_epoch, &epoch))
		return; /* Long ago: of those only the end is kept. */
	HOLDS(27, epoch.outcome == HVREPL_OUTCOME_COMMITTED,
	      "%s committed epoch %02x%02x, and it is %u", t->site->name,
	      t->commit_epoch.bytes[0], t->commit_epoch.bytes[1],
	      epoch.outcome);
}

/* Who failed over, hears its peer and has nothing against it writes, after a restart
 * as well (O3, O5): where the link is good or dead, no I/O fails, and jobs are done
 * at once. */
static void watch_failover(struct teller *t, const struct hvrepl_vm_status *s)
{
	if (profile != PROFILE_OPERATOR || s->writable || s->open_code < 0 ||
	    !s->connected || pair.piece != 0 || t->site->sim.crashed ||
	    s->ownership != HVREPL_OWNERSHIP_OWNER ||
	    s->state != HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION) {
		t->idle_since = pair.now_ns;
		return;
	}
	if (t->up_since > t->idle_since)
		t->idle_since = t->up_since;
	HOLDS(34, pair.now_ns - t->idle_since < 700 * MS,
	      "%s failed over, hears its peer and does not write",
	      t->site->name);
}

static void watch_resources(struct teller *t)
{
	HOLDS(43, !t->site->sim.improper,
	      "%s opened an object whose id is none", t->site->name);
	HOLDS(38, t->site->env.alloc_bytes < ALLOC_CAP &&
		      sim_storage_used(t->site->storage) < STORAGE_CAP,
	      "%s holds %zu bytes of memory and %llu of storage",
	      t->site->name, t->site->env.alloc_bytes,
	      (unsigned long long)sim_storage_used(t->site->storage));
}

void watch(bool all)
{
	struct hvrepl_vm_status s[2];
	bool up[2];

	hooks++;
	for (int i = 0; i < 2; i++) {
		up[i] = look(tellers[i].site, &s[i]) && s[i].mode != 0;
		if (!up[i])
			continue;
		if (s[i].state != shown[i].state ||
		    s[i].ownership != shown[i].ownership ||
		    s[i].writable != shown[i].writable ||
		    !same(&s[i].epoch, &shown[i].epoch)) {
			SAY("%s: mode %u state %u ownership %u writable %u "
			    "epoch %02x%02x cut %llu %s",
			    tellers[i].site->name, s[i].mode, s[i].state,
			    s[i].ownership, s[i].writable, s[i].epoch.bytes[0],
			    s[i].epoch.bytes[1],
			    (unsigned long long)s[i].last_cut, s[i].sentence);
			mix((uint64_t)s[i].mode << 40 | s[i].state << 16 |
			    s[i].ownership << 8 | s[i].writable);
			mix(s[i].last_cut ^ (uint64_t)s[i].epoch.bytes[0] << 56);
		}
		shown[i] = s[i];
	}
	/* Handovers alone never make two histories (O4). */
	for (int i = 0; i < 2 && tellers[0].tame && tellers[1].tame; i++)
		if (up[i])
			HOLDS(30, s[i].ownership != HVREPL_OWNERSHIP_DIVERGED &&
				      s[i].ownership !=
					      HVREPL_OWNERSHIP_SUPERSEDED,
			      "%s: nobody forced or failed over, and it is "
			      "%u", tellers[i].site->name, s[i].ownership);
	HOLDS(20, !(up[0] && up[1] && s[0].writable && s[1].writable &&
		    same(&s[0].epoch, &s[1].epoch)),
	      "two writers in one epoch at once");
	for (int i = 0; i < 2; i++)
		if (up[i])
			watch_owner(&tellers[i], &s[i]);
	for (int i = 0; i < 2; i++)
		if (up[i])
			watch_failover(&tellers[i], &s[i]);
		else
			tellers[i].idle_since = pair.now_ns;
	for (int i = 0; i < 2; i++)
		if (up[i])
			watch_lineage(&tellers[i]);
	for (int i = 0; i < 2 && hooks % 4 == 0; i++)
		if (up[i])
			watch_commit(&tellers[i]);
	for (int i = 0; i < 2; i++)
		if (up[i] && s[i].open_code >= 0)
			watch_points(&tellers[i], all);
	for (int i = 0; i < 2 && up[0] && up[1]; i++)
		watch_acknowledged(&s[i], &s[1 - i], &tellers[1 - i],
				   &tellers[i]);
	if (up[0] && up[1])
		watch_divergence(s);
	if (hooks % 16 == 0)
		for (int i = 0; i < 2; i++)
			watch_resources(&tellers[i]);
}

/* The grammar of events: numbered without a gap, nothing after CLOSED. */
void oracle_event(struct pair_site *site, const struct hvrepl_event *event)
{
	mix((uint64_t)event->type << 32 | (uint32_t)event->code);
	HOLDS(44, !site->closed_seen || event->type == HVREPL_EVENT_NONE,
	      "%s: event %u after CLOSED", site->name, event->type);
	/* It can write again: a point came, and nothing failed since the one
	 * before. */
	/* That a session is up may be told no more, when it ends at once. */
	if ((event->type == HVREPL_EVENT_SESSION && event->value == 1) ||
	    (event->type == HVREPL_EVENT_AUDIT &&
	     event->value == HVREPL_AUDIT_AUTHENTICATION &&
	     event->code == HVREPL_OK))
		tellers[site == &pair.b].heard_life = site->restarts + 1;
	if (event->type == HVREPL_EVENT_POINT) {
		struct teller *t = &tellers[site == &pair.b];

		if (site->sim.fail_at == UINT64_MAX &&
		    site->sim.failed == t->failed_then)
			t->trouble = false;
		t->failed_then = site->sim.failed;
	}
	if (event->type == HVREPL_EVENT_JOB_DONE) {
		struct teller *t = &tellers[site == &pair.b];

		if (t->commit_job != 0 && event->job == t->commit_job) {
			t->committed = event->code == HVREPL_OK;
			t->commit_job = 0;
		}
	}
	if (event->type == HVREPL_EVENT_CLOSED)
		site->closed_seen = true;
	/* No false alarm, ever (S4); only damage differs. */
	if (event->type == HVREPL_EVENT_JOB_DONE &&
	    event->code == HVREPL_E_CORRUPT &&
	    strstr(event->sentence, "differ in") != NULL)
		HOLDS(10, tellers[0].hurt || tellers[1].hurt ||
			      tellers[0].changed || tellers[1].changed, "%s: %s",
		      site->name, event->sentence);
	if (event->type == HVREPL_EVENT_JOB_DONE && event->job == 0)
		violated(33, "%s: a job without a number has ended",
			 site->name);
}

bool excused(void)
{
	for (int i = 0; i < 2; i++) {
		struct teller *t = &tellers[i];
		struct hvrepl_vm_status s;

		if (!t->hurt || !look(t->site, &s))
			continue;
		if (s.open_code < 0 || s.health >= HVREPL_HEALTH_WARNING ||
		    s.state == HVREPL_STATE_ERROR)
			return true;
	}
	return false;
}
