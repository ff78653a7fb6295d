/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two nodes with a link between them, whole: a guest with two disks of eight
 * blocks, an operator, and one of the two sites that crashes. A record that is
 * saved and a message that is sent are I/O like any other there, so that the
 * crash comes between any two of them. The other site lives on: each state is
 * therefore looked at in a process of its own.
 *
 * Afterwards the site comes back, the operator asks again for what he wanted,
 * and the guest finds every byte that it was told is durable, or, where an
 * unplanned failover was asked for, both disks as of one instant not before
 * the last recovery point; and the VM ends up protected, byte for byte.
 */
#include "exhaustive.h"

#include "pairoperator.h"

#include <string.h>

#define BLOCK 4096u
#define SIZE (8u * BLOCK)
#define SECTORS (SIZE / SIM_SECTOR)
#define SECOND 1000000000ull
#define VERSIONS 16u

static struct pair pair;
static struct pair_site *victim;
static struct pair_site *owner; /* Where the guest is to run. */

/* What the guest's disks held, one version after another. */
struct version {
	uint8_t disks[PAIR_DISKS][SIZE];
};
static struct version versions[VERSIONS];
static unsigned newest;
static unsigned current; /* What they hold now... */
static uint32_t possible; /* ...and may hold after a crash: bit n, version n. */
static unsigned shipped; /* Newest that a recovery point is known to have. */
static unsigned left;    /* What the other site holds after an unplanned one. */
/* Written and not flushed by the guest at `writer`: anything, once that site
 * has crashed. */
typedef bool open_sectors[PAIR_DISKS][SECTORS];
static open_sectors loose, left_loose;
static struct pair_site *writer;
static bool old_point; /* What the guest sees comes from a recovery point. */
static bool unplanned; /* Two sites may let their guests write meanwhile. */
static bool apart;     /* The link is down. */
static unsigned asked_last;
static uint8_t seen[PAIR_DISKS][SIZE];

enum {
	WRITE,
	WRITE_OVER,
	ZERO,
	DISCARD,
	FLUSH,
	CUT,
	TIME,
	ENABLE,
	INITIAL,
	SUSPEND,
	RESUME,
	RESYNC,
	VERIFY,
	PLANNED,
	UNPLANNED,
	CANCEL,
	COMMIT,
	REVERSE,
	RESTART,
	LINK_DOWN,
	LINK_UP,
	OPS
};

static const char *const op_names[OPS] = {
	[WRITE] = "guest writes, aligned",
	[WRITE_OVER] = "guest writes, unaligned, overlapping",
	[ZERO] = "guest writes zeroes",
	[DISCARD] = "guest discards",
	[FLUSH] = "guest flushes",
	[CUT] = "a cut, shipped and applied",
	[TIME] = "ten cycles, with merges",
	[ENABLE] = "enable",
	[INITIAL] = "initial replication",
	[SUSPEND] = "suspend",
	[RESUME] = "resume",
	[RESYNC] = "resynchronize",
	[VERIFY] = "verify",
	[PLANNED] = "planned failover",
	[UNPLANNED] = "the link fails, unplanned failover",
	[CANCEL] = "cancel",
	[COMMIT] = "commit",
	[REVERSE] = "reverse",
	[RESTART] = "the site ends cleanly and starts",
	[LINK_DOWN] = "the link fails",
	[LINK_UP] = "the link is back",
};

/* Each twice: one site crashes, or the other. */
enum { NOT_ENABLED, PROTECTED, PLANNED_OVER, UNPLANNED_OVER, COMMITTED, REVERSED, FROM };

static const char *const prefix_names[] = {
	"not replicated; the primary site crashes",
	"not replicated; the replica site crashes",
	"replicating; the primary crashes",
	"replicating; the replica crashes",
	"failed over as planned; the old primary crashes",
	"failed over as planned; the new primary crashes",
	"failed over unplanned; the old primary crashes",
	"failed over unplanned; the new primary crashes",
	"committed; the old primary crashes",
	"committed; the new primary crashes",
	"reversed; the new replica crashes",
	"reversed; the new primary crashes",
};

static bool crashed(struct pair *p)
{
	(void)p;
	return victim->sim.crashed;
}

/* Time goes by, until the victim crashes. */
static void pass(uint64_t ns)
{
	(void)pair_until(&pair, ns, crashed);
	if (unplanned || crashed(NULL))
		return;
	if (pair_is_open(&pair.a) && pair_is_open(&pair.b))
		violated(20, "both sites let their guests write");
	proved(20);
}

static uint32_t state_of(struct pair_site *site)
{
	struct hvrepl_vm_status status;

	(void)pair_look(site, &status);
	return status.state;
}

/* ---- The guest. ---- */

static void new_version(void)
{
	ck_assert(newest + 1 < VERSIONS);
	versions[newest + 1] = versions[current];
	current = ++newest;
	possible = 1u << current;
}

static void changes(unsigned disk, uint32_t offset, uint32_t length)
{
	for (uint32_t at = offset; at < offset + length; at += SIM_SECTOR)
		loose[disk][at / SIM_SECTOR] = true;
}

static void guest_writes(unsigned disk, uint32_t offset, uint32_t length,
			 bool zero)
{
	uint8_t *bytes = versions[current].disks[disk] + offset;
	int32_t rc;

	if (crashed(NULL))
		return;
	changes(disk, offset, length);
	if (zero) {
		memset(bytes, 0, length);
		rc = hvrepl_guest_zero(pair_door(owner, disk), offset, length);
	} else {
		test_fill(bytes, length, newest * 8 + disk + offset);
		rc = pair_write(owner, disk, offset, bytes, length);
	}
	ck_assert_msg(rc == HVREPL_OK || crashed(NULL), "a write gives %d", rc);
	pass(1000000);
}

static void guest_discards(void)
{
	int32_t rc;

	changes(0, 2 * BLOCK, 2 * BLOCK);
	rc = hvrepl_guest_discard(pair_door(owner, 0), 2 * BLOCK, 2 * BLOCK);
	ck_assert_msg(rc == HVREPL_OK || crashed(NULL), "a discard gives %d", rc);
	if (crashed(NULL))
		return;
	/* Anything, but from then on the same. */
	rc = pair_read(owner, 0, 2 * BLOCK,
		       versions[current].disks[0] + 2 * BLOCK, 2 * BLOCK);
	ck_assert_int_eq(rc, HVREPL_OK);
	pass(1000000);
}

static void guest_flushes(void)
{
	for (unsigned d = 0; d < PAIR_DISKS; d++) {
		int32_t rc = pair_flush(owner, d);

		ck_assert_msg(rc == HVREPL_OK || crashed(NULL),
			      "a flush gives %d", rc);
		if (crashed(NULL))
			return;
		memset(loose[d], 0, sizeof(loose[d]));
		pass(1000000);
	}
}

static enum done guest(unsigned op)
{
	if (!pair_is_open(owner))
		return NOT_NOW;
	if (op == FLUSH) {
		guest_flushes();
		return DONE;
	}
	if (writer != owner)
		memset(loose, 0, sizeof(loose));
	writer = owner;
	old_point = false;
	new_version();
	switch (op) {
	case WRITE:
		guest_writes(0, 2 * BLOCK, BLOCK, false);
		guest_writes(1, 5 * BLOCK, 2 * BLOCK, false);
		break;
	case WRITE_OVER:
		guest_writes(1, 5 * BLOCK + 3 * SIM_SECTOR, 9 * SIM_SECTOR,
			     false);
		guest_writes(0, SIZE - 2 * SIM_SECTOR, 2 * SIM_SECTOR, false);
		break;
	case ZERO:
		guest_writes(0, BLOCK, 2 * BLOCK, true);
		break;
	default:
		guest_discards();
		break;
	}
	return DONE;
}

/* A version that the guest's disks equal where nothing was open; or none. */
static bool equals(const struct version *version)
{
	bool may_differ = writer == victim && !old_point;

	for (unsigned d = 0; d < PAIR_DISKS; d++)
		for (unsigned s = 0; s < SECTORS; s++) {
			size_t at = (size_t)s * SIM_SECTOR;

			if (may_differ && loose[d][s])
				continue;
			if (memcmp(seen[d] + at, version->disks[d] + at,
				   SIM_SECTOR) != 0)
				return false;
		}
	return true;
}

/* The guest starts where it is to run, and looks. */
static void guest_finds(void)
{
	for (unsigned d = 0; d < PAIR_DISKS; d++)
		ck_assert_int_eq(pair_read(owner, d, 0, seen[d], SIZE),
				 HVREPL_OK);
	for (unsigned v = newest + 1; v-- > 0;) {
		if ((possible >> v & 1) == 0 || !equals(&versions[v]))
			continue;
		current = v;
		new_version();
		memcpy(versions[current].disks, seen, sizeof(seen));
		return;
	}
	violated(unplanned ? 25 : 23,
		 "the disks at %s equal none of the versions %x", owner->name,
		 possible);
}

/* ---- The operator. ---- */

/* False: refused, or it failed. One that still waits was asked for. */
static bool ask(struct pair_site *site, uint32_t operation)
{
	uint64_t end = pair.now_ns + 30 * SECOND;

	if (crashed(NULL) || site->node == NULL)
		return false;
	if (pair_ask(site, operation, 0, NULL) < 0)
		return false;
	while (!crashed(NULL) && site->job_code == HVREPL_PENDING &&
	       pair.now_ns < end)
		pass(SECOND / 20);
	return site->job_code >= 0;
}

static enum done asked(struct pair_site *site, uint32_t operation)
{
	return ask(site, operation) || crashed(NULL) ? DONE : NOT_NOW;
}

static void link_is(bool up)
{
	pair_link(&pair, up);
	apart = !up;
	if (up && pair.a.node != NULL && !pair.a.sim.crashed)
		(void)hvrepl_node_connect_now(pair.a.node);
}

static bool has_point_after(struct pair_site *copy, uint64_t point)
{
	struct hvrepl_vm_status status;

	return pair_look(copy, &status) && status.point_count > 0 &&
	       status.last_point > point;
}

/* False: none came. */
static bool next_point(void)
{
	struct pair_site *copy = pair_other(owner);
	struct hvrepl_vm_status s, c;
	uint64_t after;

	if (!pair_look(owner, &s) || !pair_look(copy, &c))
		return false;
	after = s.last_cut > c.last_point ? s.last_cut : c.last_point;
	for (unsigned i = 0; i < 400 && !crashed(NULL); i++) {
		if (has_point_after(copy, after)) {
			shipped = current;
			return true;
		}
		pass(SECOND / 10);
	}
	return false;
}

static enum done cut(void)
{
	if (!ask(owner, HVREPL_OPERATION_CUT_NOW))
		return crashed(NULL) ? DONE : NOT_NOW;
	(void)next_point();
	return DONE;
}

static enum done planned(void)
{
	struct pair_site *to = pair_other(owner);

	if (!pair_is_open(owner))
		return NOT_NOW;
	if (!ask(to, HVREPL_OPERATION_PLANNED) && !crashed(NULL))
		return NOT_NOW;
	owner = to;
	return DONE;
}

/* From the oldest that a recovery point may be to what there is. */
static void any_since(unsigned oldest)
{
	for (unsigned v = oldest; v <= newest; v++)
		possible |= 1u << v;
}

static enum done fail_over(void)
{
	struct pair_site *to = pair_other(owner);
	struct hvrepl_vm_status status;

	if (!pair_look(to, &status) ||
	    (status.allowed >> HVREPL_OPERATION_UNPLANNED & 1) == 0)
		return NOT_NOW;
	link_is(false);
	unplanned = true;
	left = current;
	memcpy(left_loose, loose, sizeof(loose));
	old_point = true;
	any_since(shipped);
	if (!ask(to, HVREPL_OPERATION_UNPLANNED) && !crashed(NULL))
		return NOT_NOW;
	owner = to;
	if (!crashed(NULL))
		guest_finds();
	return DONE;
}

static enum done cancel(void)
{
	struct pair_site *at = owner;

	if (!unplanned || state_of(at) !=
				  HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION)
		return NOT_NOW;
	if (!ask(at, HVREPL_OPERATION_CANCEL) && !crashed(NULL))
		return NOT_NOW;
	owner = pair_other(at);
	possible = 1u << left;
	current = left;
	memcpy(loose, left_loose, sizeof(loose));
	writer = owner;
	old_point = false;
	if (!crashed(NULL) && pair_is_open(owner))
		guest_finds();
	return DONE;
}

static enum done op(unsigned what)
{
	asked_last = what;
	switch (what) {
	case WRITE:
	case WRITE_OVER:
	case ZERO:
	case DISCARD:
	case FLUSH:
		return guest(what);
	case CUT:
		return cut();
	case TIME:
		pass(10 * SECOND);
		return DONE;
	case ENABLE:
		return asked(owner, HVREPL_OPERATION_ENABLE);
	case INITIAL:
		return asked(owner, HVREPL_OPERATION_START_INITIAL);
	case SUSPEND:
		return asked(owner, HVREPL_OPERATION_SUSPEND);
	case RESUME:
		return asked(owner, HVREPL_OPERATION_RESUME);
	case RESYNC:
		return asked(owner, HVREPL_OPERATION_RESYNC);
	case VERIFY:
		return asked(owner, HVREPL_OPERATION_VERIFY);
	case PLANNED:
		return planned();
	case UNPLANNED:
		return fail_over();
	case CANCEL:
		return cancel();
	case COMMIT:
		return asked(owner, HVREPL_OPERATION_COMMIT);
	case REVERSE:
		return asked(owner, HVREPL_OPERATION_REVERSE);
	case RESTART:
		if (pair_is_open(victim))
			guest_flushes();
		if (crashed(NULL))
			return DONE;
		pair_stop(&pair, victim);
		if (!crashed(NULL))
			pair_start(&pair, victim);
		pass(SECOND);
		return DONE;
	default:
		if (apart == (what == LINK_DOWN))
			return NOT_NOW;
		link_is(what == LINK_UP);
		pass(2 * SECOND);
		return DONE;
	}
}

/* ---- What the engine asks for. ---- */

static void start(unsigned prefix)
{
	unsigned from = prefix / 2;

	pair_init(&pair, 7, SIZE);
	pair.exact = true;
	memset(versions, 0, sizeof(versions));
	memset(loose, 0, sizeof(loose));
	memset(left_loose, 0, sizeof(left_loose));
	newest = current = shipped = left = 0;
	possible = 1;
	unplanned = apart = old_point = false;
	owner = writer = &pair.a;
	victim = prefix % 2 == 0 ? &pair.a : &pair.b;
	showing(33);
	pair_start(&pair, &pair.b);
	pair_start(&pair, &pair.a);
	pass(SECOND);
	(void)op(WRITE);
	(void)op(FLUSH);
	if (from == NOT_ENABLED)
		return;
	(void)op(ENABLE);
	(void)op(INITIAL);
	ck_assert(next_point());
	if (from == PROTECTED)
		return;
	(void)op(WRITE_OVER);
	ck_assert_int_eq(op(from == UNPLANNED_OVER ? UNPLANNED : PLANNED), DONE);
	(void)op(WRITE);
	if (from <= UNPLANNED_OVER)
		return;
	ck_assert_int_eq(op(COMMIT), DONE);
	if (from == COMMITTED)
		return;
	ck_assert_int_eq(op(REVERSE), DONE);
	ck_assert(next_point());
}

static struct sim *its_sim(void)
{
	return &victim->sim;
}

static void kill_it(void)
{
	if (victim->node != NULL)
		pair_kill(&pair, victim, false);
	else
		sim_restart(&victim->sim, false);
}

static void nothing(void)
{
}

/* False: a crash got in the way, and the process is gone again. */
static bool start_again(void)
{
	pair_start(&pair, victim);
	if (victim->node != NULL)
		pass(SECOND);
	if (!victim->sim.crashed)
		return true;
	kill_it();
	return false;
}

static void drive_to(struct pair_site *to)
{
	struct hvrepl_vm_status t, f;

	for (unsigned round = 0; round < 200; round++) {
		if (pair_is_protected(to, pair_other(to)))
			return;
		pair_ask_sensibly(to);
		pass(round < 100 ? SECOND / 2 : 20 * SECOND);
		if (pair.a.node != NULL)
			(void)hvrepl_node_connect_now(pair.a.node);
	}
	(void)pair_look(to, &t);
	(void)pair_look(pair_other(to), &f);
	violated(36, "no way to run at %s: state %u ownership %u (%s), other %u "
		 "%u (%s); last asked: %d %s",
		 to->name, t.state, t.ownership, t.sentence, f.state,
		 f.ownership, f.sentence, to->job_code, to->job_sentence);
}

/* What the operator had asked for, he asks for until it is so. */
static void insist(void)
{
	struct pair_site *other = pair_other(owner);

	for (unsigned i = 0; i < 60; i++) {
		if (asked_last == UNPLANNED && !pair_is_open(owner))
			(void)ask(owner, HVREPL_OPERATION_UNPLANNED);
		else if (asked_last == CANCEL &&
			 state_of(other) ==
				 HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION)
			(void)ask(other, HVREPL_OPERATION_CANCEL);
		else
			break;
		pass(SECOND);
	}
}

/* Both failed over, and the guest of one ended in the crash: that one gives way
 * (O6, siblings); what it wrote is kept, and the operator goes on with the
 * other. */
static void may_give_way(void)
{
	struct hvrepl_vm_status status;

	if (!unplanned || owner != victim || !pair_look(owner, &status) ||
	    status.ownership != HVREPL_OWNERSHIP_SUPERSEDED ||
	    !pair_is_open(pair_other(owner)))
		return;
	owner = pair_other(owner);
	current = left;
	possible = 1u << left;
	memcpy(loose, left_loose, sizeof(loose));
	old_point = false;
}

/* Where the guest is to run it finds what it must; it goes on, protected. */
static void check(bool thorough)
{
	(void)thorough;
	showing(36);
	insist();
	link_is(true);
	pass(SECOND);
	may_give_way();
	if (!pair_is_open(owner))
		drive_to(owner);
	guest_finds();
	proved(unplanned ? 25 : 23);
	drive_to(owner);
	proved(36);
	ck_assert_int_eq(guest(WRITE_OVER), DONE);
	guest_flushes();
	showing(10);
	ck_assert_msg(next_point(), "no recovery point in the end");
	for (unsigned d = 0; d < PAIR_DISKS; d++) {
		pair_read_point(pair_other(owner),
				pair_newest_point(pair_other(owner)), d,
				seen[d]);
		ck_assert_msg(memcmp(seen[d], versions[current].disks[d],
				     SIZE) == 0,
			      "disk %u differs in the last point", d);
	}
	proved(10);
}

static void finish(void)
{
	check(true);
}

/* The operation again, and what follows. A guest that starts looks first; a
 * failover is asked for again by check() itself. */
static void go_on(unsigned what)
{
	if (what <= FLUSH) {
		for (unsigned i = 0; i < 60 && !pair_is_open(owner); i++)
			pass(SECOND);
		if (pair_is_open(owner)) {
			guest_finds();
			(void)op(what);
		}
	} else if (what != PLANNED && what != UNPLANNED && what != CANCEL) {
		(void)op(what);
	}
	check(true);
}

static void end(void)
{
	pair_free(&pair);
}

const struct room nodes_room = {
	.name = "nodes",
	.apart = true,
	.prefixes = sizeof(prefix_names) / sizeof(prefix_names[0]),
	.ops = OPS,
	.prefix_names = prefix_names,
	.op_names = op_names,
	.start = start,
	.op = op,
	.sim = its_sim,
	.finish = finish,
	.kill = kill_it,
	.remember = nothing,
	.recall = nothing,
	.recover = start_again,
	.check = check,
	.leave = nothing,
	.go_on = go_on,
	.end = end,
};
