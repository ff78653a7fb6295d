/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stories of two nodes: something goes wrong at one of them, or between them;
 * an operator who wants his VM back has it in the end, with every byte that
 * its guest was told is durable, and a recovery point of it at the other site.
 */
#include "sweep.h"

#include "pairoperator.h"

#include <stdlib.h>
#include <string.h>

#define SIZE (64u << 10) /* Of each disk. */
#define SECOND 1000000000ull
#define WRITES 4u

enum {
	END,
	GUEST,	   /* Writes some and flushes. */
	POINT,	   /* A recovery point of that. */
	TO_A,	   /* Planned failover, commit, reverse. */
	TO_B,
	AWAY,	   /* A is gone: unplanned failover to B, by an operator. */
	CANCEL,	   /* ...and back. */
	PAUSE,	   /* Suspend, write, resume. */
	CUT_NOW,
	VERIFY,
	RESTART_A, /* Clean end and start. */
	RESTART_B,
	LINK,	   /* Down for a while, with writes. */
};

static struct pair pair;
static uint8_t shadow[PAIR_DISKS][SIZE], seen[SIZE];
static struct pair_site *owner, *victim;
static uint64_t random_state;
static bool reached;

/* What fails from there on has failed enough. */
static void pass(uint64_t ns)
{
	uint64_t end = pair.now_ns + ns;

	while (pair.now_ns < end) {
		pair_run(&pair, SECOND / 10 < end - pair.now_ns ?
					SECOND / 10 :
					end - pair.now_ns);
		if (victim->env.alloc_fail_on && hit(&victim->env, &victim->sim))
			reached |= disarm(&victim->env, &victim->sim);
		if (victim->sim.fail_on && hit(&victim->env, &victim->sim))
			reached |= disarm(&victim->env, &victim->sim);
	}
}

/* What the guest finds when it starts again; false: it cannot read. */
static bool guest_reads(struct pair_site *site)
{
	for (unsigned d = 0; d < PAIR_DISKS; d++) {
		if (pair_read(site, d, 0, seen, SIZE) != HVREPL_OK)
			return false;
		memcpy(shadow[d], seen, SIZE);
	}
	return true;
}

/* Nothing that was flushed differs; `at` may be anything: not flushed. */
static void guest_compares(struct pair_site *site, const uint8_t *open)
{
	for (unsigned d = 0; d < PAIR_DISKS; d++) {
		ck_assert_int_eq(pair_read(site, d, 0, seen, SIZE), HVREPL_OK);
		for (unsigned at = 0; at < SIZE; at += 512) {
			if (open != NULL && open[d * SIZE / 512 + at / 512])
				memcpy(shadow[d] + at, seen + at, 512);
			ck_assert_msg(memcmp(seen + at, shadow[d] + at, 512) ==
					      0,
				      "disk %u of %s differs at %u", d,
				      site->name, at);
		}
	}
}

/* Writes and flushes; what failed or was open in a crash is looked at. */
static void guest_works(void)
{
	static uint8_t bytes[4096], open[PAIR_DISKS * SIZE / 512];
	unsigned revived = pair.revived;
	int32_t rc = HVREPL_OK;

	memset(open, 0, sizeof(open));
	for (unsigned i = 0; i < WRITES && rc == HVREPL_OK; i++) {
		unsigned d = (unsigned)(test_random(&random_state) % PAIR_DISKS);
		unsigned at = (unsigned)(test_random(&random_state) %
					 (SIZE / 512 - 8)) * 512;
		unsigned length =
			(unsigned)(test_random(&random_state) % 8 + 1) * 512;

		test_fill(bytes, length, test_random(&random_state));
		memset(open + d * SIZE / 512 + at / 512, 1, length / 512);
		rc = pair_is_open(owner) ? pair_write(owner, d, at, bytes, length) :
				      HVREPL_E_UNAVAILABLE;
		memcpy(shadow[d] + at, bytes, length);
		pass(1000000);
	}
	for (unsigned d = 0; d < PAIR_DISKS && rc == HVREPL_OK; d++)
		rc = pair_is_open(owner) ? pair_flush(owner, d) :
				      HVREPL_E_UNAVAILABLE;
	pass(1000000);
	if (rc == HVREPL_OK && pair.revived == revived)
		return;
	for (unsigned i = 0; i < 400 && !pair_is_open(owner); i++)
		pass(SECOND / 2);
	if (!pair_is_open(owner) || pair_read(owner, 0, 0, seen, 512) != HVREPL_OK) {
		/* A store that failed a flush wants to be opened again. */
		reached |= disarm(&victim->env, &victim->sim);
		pair_kill(&pair, owner, false);
		pair_start(&pair, owner);
		for (unsigned i = 0; i < 400 && !pair_is_open(owner); i++)
			pass(SECOND / 2);
	}
	guest_compares(owner, open);
	for (unsigned d = 0; d < PAIR_DISKS; d++)
		(void)!pair_flush(owner, d);
}

static void drive_to(struct pair_site *to, struct pair_site *from)
{
	struct hvrepl_vm_status t, f;

	for (unsigned round = 0; round < 400; round++) {
		pass(round < 200 ? SECOND / 2 : 20 * SECOND);
		if (pair_is_protected(to, from)) {
			owner = to;
			return;
		}
		if (round % 2 == 1 && pair.a.node != NULL)
			(void)hvrepl_node_connect_now(pair.a.node);
		/* "Restart the site", says a store that failed a flush. */
		if (round == 20) {
			reached |= disarm(&victim->env, &victim->sim);
			pair_kill(&pair, victim, false);
			pair_start(&pair, victim);
		}
		if (round % 2 == 0)
			pair_ask_sensibly(to);
	}
	(void)pair_look(to, &t);
	(void)pair_look(from, &f);
	ck_abort_msg("no way to run at %s: state %u ownership %u job %llu "
		     "allowed %x (%s), other %u %u (%s); last asked: %d %s",
		     to->name, t.state, t.ownership, (unsigned long long)t.job,
		     t.allowed, t.sentence, f.state, f.ownership, f.sentence,
		     to->job_code, to->job_sentence);
}

/* False: none came in time. */
static bool next_point(unsigned rounds)
{
	struct pair_site *copy = pair_other(owner);
	struct hvrepl_vm_status s, c;
	uint64_t wanted;

	if (!pair_look(owner, &s) || !pair_look(copy, &c))
		return false;
	wanted = (s.last_cut > c.last_point ? s.last_cut : c.last_point) + 1;
	for (unsigned i = 0; i < rounds; i++) {
		pass(SECOND / 2);
		if (pair_look(copy, &c) && c.last_point >= wanted)
			return true;
	}
	return false;
}

static void ask_and_wait(struct pair_site *site, uint32_t operation)
{
	if (site->node == NULL || pair_ask(site, operation, 0, NULL) < 0)
		return;
	for (unsigned i = 0; i < 120 && site->job_code == HVREPL_PENDING; i++)
		pass(SECOND / 4);
}

/* The other site takes over what the last point holds; asked until it does. */
static void away(void)
{
	struct hvrepl_vm_status b;

	(void)next_point(40);
	pair_link(&pair, false);
	for (unsigned i = 0; i < 60; i++) {
		ask_and_wait(&pair.b, HVREPL_OPERATION_UNPLANNED);
		if (pair_look(&pair.b, &b) && b.writable && pair_is_open(&pair.b))
			break;
		pass(SECOND);
		if (i == 30) {
			reached |= disarm(&victim->env, &victim->sim);
			pair_kill(&pair, &pair.b, false);
			pair_start(&pair, &pair.b);
		}
	}
	ck_assert_msg(pair_is_open(&pair.b), "the other site does not take over: %s",
		      pair.b.job_sentence);
	/* Without a point after the last write, that write is lost: said so. */
	ck_assert(guest_reads(&pair.b));
	owner = &pair.b;
	guest_works();
	pair_link(&pair, true);
}

static void cancel(void)
{
	struct hvrepl_vm_status a;

	for (unsigned i = 0; i < 60; i++) {
		ask_and_wait(&pair.b, HVREPL_OPERATION_CANCEL);
		pass(SECOND);
		if (pair_look(&pair.a, &a) &&
		    a.ownership == HVREPL_OWNERSHIP_OWNER && pair_is_open(&pair.a))
			break;
	}
	ck_assert_msg(pair_is_open(&pair.a), "no way back to the first site");
	ck_assert(guest_reads(&pair.a));
	owner = &pair.a;
}

static void restart(struct pair_site *site)
{
	uint64_t io = site->sim.fail_at, flush = site->sim.flush_fail_at;
	long memory = site->env.alloc_fail_at;
	struct test_refusals *refusals = site->refusals;

	/* Whether a process starts is not the question here. */
	if (site->node != NULL && !site->sim.crashed) {
		pair_stop(&pair, site);
		site->env.alloc_fail_at = -1;
		site->refusals = site->env.refusals = site->sim.refusals = NULL;
		site->sim.fail_at = site->sim.flush_fail_at = UINT64_MAX;
		pair_start(&pair, site);
		site->env.alloc_fail_at = memory;
		site->refusals = site->env.refusals = site->sim.refusals =
			refusals;
		site->sim.fail_at = io;
		site->sim.flush_fail_at = flush;
	}
	pass(SECOND);
}

static void step(uint8_t what)
{
	switch (what) {
	case GUEST:
		guest_works();
		break;
	case POINT:
		(void)next_point(20);
		break;
	case TO_A:
		drive_to(&pair.a, &pair.b);
		break;
	case TO_B:
		drive_to(&pair.b, &pair.a);
		break;
	case AWAY:
		away();
		break;
	case CANCEL:
		cancel();
		break;
	case PAUSE:
		ask_and_wait(owner, HVREPL_OPERATION_SUSPEND);
		guest_works();
		ask_and_wait(owner, HVREPL_OPERATION_RESUME);
		break;
	case CUT_NOW:
		ask_and_wait(owner, HVREPL_OPERATION_CUT_NOW);
		break;
	case VERIFY:
		ask_and_wait(owner, HVREPL_OPERATION_VERIFY);
		break;
	case RESTART_A:
		restart(&pair.a);
		break;
	case RESTART_B:
		restart(&pair.b);
		break;
	default:
		pair_link(&pair, false);
		guest_works();
		pass(2 * SECOND);
		pair_link(&pair, true);
		break;
	}
}

/* Down to the last byte, here and there. */
static void ends_well(void)
{
	struct pair_site *copy;

	drive_to(owner, pair_other(owner));
	guest_works();
	ck_assert_msg(next_point(200), "no recovery point in the end");
	copy = pair_other(owner);
	for (unsigned d = 0; d < PAIR_DISKS; d++) {
		pair_read_point(copy, pair_newest_point(copy), d, seen);
		ck_assert_msg(memcmp(seen, shadow[d], SIZE) == 0,
			      "disk %u differs in the last point", d);
	}
	guest_compares(owner, NULL);
}

static void arm_pair(enum kind kind, uint64_t n)
{
	arm(&victim->env, &victim->sim, kind, n);
	victim->refusals = victim->env.refusals;
	victim->sim.flush_objects = true;
	pair.a.sim.late = pair.b.sim.late = kind == ALL_LATE;
	if (kind == STATE)
		victim->put_fails_at = victim->puts + n;
	if (kind == CONNECT)
		pair.refuse_at = pair.secrets + n;
	if (kind == PIECES)
		pair.piece = n + 1;
	if (kind == SPLIT_AT)
		pair.split_at = pair.delivered + n;
	if (kind == CUT_AT)
		pair.cut_after = pair.moved + n;
	if (kind == KILLED || kind == POWER) {
		pair.revives = true;
		pair.power_loss = kind == POWER;
		victim->sim.crash_at = victim->sim.io_count + n;
	}
}

static bool disarm_pair(enum kind kind, uint64_t n)
{
	reached |= disarm(&victim->env, &victim->sim);
	if (kind == STATE)
		reached = victim->puts > victim->put_fails_at ||
			  victim->put_fails_at == UINT64_MAX;
	if (kind == CONNECT)
		reached = pair.refused > 0;
	if (kind == PIECES)
		reached = n < 32;
	if (kind == SPLIT_AT)
		reached = pair.delivered > pair.split_at;
	if (kind == CUT_AT)
		reached = pair.cut_after == UINT64_MAX;
	if (kind == KILLED || kind == POWER)
		reached = pair.revived > 0;
	victim->refusals = NULL;
	victim->put_fails_at = UINT64_MAX;
	victim->sim.crash_at = UINT64_MAX;
	pair.revives = false;
	pair.cut_after = pair.split_at = pair.refuse_at = UINT64_MAX;
	return reached;
}

static bool run(const struct scenario *scenario, enum kind kind, uint64_t n)
{
	pair_init(&pair, 7, SIZE);
	memset(shadow, 0, sizeof(shadow));
	random_state = 77;
	reached = false;
	owner = &pair.a;
	victim = scenario->option == 0 ? &pair.a : &pair.b;
	pair_start(&pair, &pair.b);
	pair_start(&pair, &pair.a);
	pair_run(&pair, SECOND);
	arm_pair(kind, n);
	for (const uint8_t *what = scenario->script; *what != END; what++)
		step(*what);
	if (pair.a.sim.crashed || pair.b.sim.crashed)
		pass(SECOND);
	reached = disarm_pair(kind, n);
	pair_link(&pair, true);
	ends_well();
	pair_free(&pair);
	return reached;
}

#define SCRIPT(name, ...) static const uint8_t name[] = { __VA_ARGS__, END }
SCRIPT(initial, GUEST, TO_A, GUEST, POINT);
SCRIPT(deltas, TO_A, GUEST, POINT, GUEST, POINT, CUT_NOW, GUEST);
SCRIPT(planned, GUEST, TO_A, GUEST, TO_B, GUEST);
SCRIPT(failback, TO_A, GUEST, TO_B, GUEST, POINT, TO_A, GUEST);
SCRIPT(unplanned, GUEST, TO_A, GUEST, AWAY, GUEST);
SCRIPT(cancelled, TO_A, GUEST, AWAY, GUEST, CANCEL, GUEST);
SCRIPT(paused, GUEST, TO_A, PAUSE, GUEST, POINT);
SCRIPT(verified, GUEST, TO_A, GUEST, POINT, VERIFY, GUEST, VERIFY);
SCRIPT(restarted, GUEST, TO_A, GUEST, RESTART_A, GUEST, RESTART_B, POINT);
SCRIPT(link_lost, GUEST, TO_A, LINK, GUEST, LINK, POINT);

#define SITE                                                                \
	(ALLOCS | IOS | BIT(STATE) | BIT(KILLED) | BIT(POWER))
#define BETWEEN (BIT(CONNECT) | BIT(PIECES) | BIT(SPLIT_AT) | BIT(CUT_AT))
#define PAIR(what, script)                                                  \
	{ "nodes: " what ", trouble at the first site", run,                \
	  SITE | BETWEEN, 0, script, true },                                      \
	{ "nodes: " what ", trouble at the second site", run, SITE, 1,      \
	  script, true }
static const struct scenario scenarios[] = {
	PAIR("initial replication", initial),
	PAIR("deltas", deltas),
	PAIR("planned failover, commit, reverse", planned),
	PAIR("planned failover and failback", failback),
	PAIR("unplanned failover, reverse", unplanned),
	PAIR("unplanned failover, cancelled", cancelled),
	PAIR("suspended and resumed", paused),
	PAIR("verified", verified),
	PAIR("restarted", restarted),
	PAIR("link lost", link_lost),
};

const struct scenarios pair_scenarios = {
	scenarios, sizeof(scenarios) / sizeof(scenarios[0])
};
