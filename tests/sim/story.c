/* SPDX-License-Identifier: Apache-2.0 */
/* One story: what is drawn from a seed, and told from beginning to end. */
#include "story.h"

struct pair pair;
struct teller tellers[2];
enum profile profile;
uint64_t seed;
uint32_t armed;
bool discarded;
bool handovers_only;
bool tracing;
struct tally *tally;

uint64_t story_random;
static uint64_t hash;

const char *const profile_names[PROFILE_COUNT] = {
	"disk", "operator", "adversary", "all", "tracker", "store",
	"threads", "late", "life", "relay", "backup", "outside",
};

/* Numbered as the brief of this proof does; docs/testing.md says them. */
const char *const guarantees[GUARANTEES] = {
	[1] = "no change is missed, after any crash",
	[2] = "a mark is durable before the write it is for",
	[3] = "recovery is a function, and repeatable",
	[4] = "what a failed flush covered is never believed",
	[5] = "trouble of tracking is not the guest's trouble",
	[6] = "zeroes and discards are changes",
	[7] = "each write is in one generation",
	[8] = "a cut holds the instant it names",
	[9] = "broken and resumed transfers give the same",
	[10] = "a point equals its cut, byte for byte",
	[11] = "a listed point is whole",
	[12] = "damage is said, and is not a torn tail",
	[13] = "an acknowledged point survives",
	[14] = "points are ordered by number, not by clock",
	[15] = "no damage is silent",
	[16] = "a chunk of another identity is refused",
	[17] = "damage is got again, never guessed",
	[18] = "what is not acknowledged is kept",
	[19] = "merging and dropping leave other points alone",
	[20] = "one writer an epoch",
	[21] = "an epoch is durable before its writer writes",
	[22] = "a test changes nothing but its own view",
	[23] = "a planned failover loses nothing",
	[24] = "who does not own does not write",
	[25] = "an unplanned failover gives the chosen point",
	[26] = "cancel brings back what was",
	[27] = "a commit is final",
	[28] = "failback sends all that differs",
	[29] = "after failback both are equal",
	[30] = "a divergence is seen",
	[31] = "nothing is overwritten without a word",
	[32] = "what the table refuses changes nothing",
	[33] = "an operation may be crashed anywhere",
	[34] = "no state is a dead end",
	[35] = "a failed allocation costs nothing",
	[36] = "without faults a new point comes",
	[38] = "memory and storage are bounded",
	[39] = "a stranger changes nothing durable",
	[40] = "any bytes are taken or refused",
	[41] = "a replayed or relayed handshake opens nothing",
	[42] = "a stranger's work is bounded",
	[43] = "objects are named by the library alone",
	[44] = "callbacks keep their contract",
};

uint64_t dice(uint64_t sides)
{
	return sides == 0 ? 0 : test_random(&story_random) % sides;
}

void mix(uint64_t value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
	hash ^= hash >> 31;
}

bool same(const struct hvrepl_uuid *a, const struct hvrepl_uuid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

bool look(struct pair_site *site, struct hvrepl_vm_status *status)
{
	*status = (struct hvrepl_vm_status)HVREPL_VM_STATUS_INIT;
	return site->node != NULL &&
	       hvrepl_vm_get_status(site->node, &pair_vm, status) == HVREPL_OK;
}

hvrepl_guest_disk *door(struct pair_site *site, unsigned disk)
{
	hvrepl_guest_disk *guest = NULL;

	if (site->node == NULL ||
	    hvrepl_vm_open_disk(site->node, &pair_vm, &pair_disk_ids[disk],
				&guest) < 0)
		return NULL;
	return guest;
}

void pass(uint64_t ns)
{
	unsigned slices = ns > SECOND ? 8 : 3;

	for (unsigned i = 0; i < slices; i++) {
		pair_run(&pair, ns / slices);
		for (int k = 0; k < 2; k++) {
			struct teller *t = &tellers[k];

			if (pair.now_ns < t->clear_at)
				continue;
			t->clear_at = UINT64_MAX;
			t->site->sim.fail_at = UINT64_MAX;
			t->site->sim.fail_on = false;
			t->site->env.alloc_fail_at = -1;
			t->site->env.alloc_fail_on = false;
			t->site->storage->capacity = UINT64_MAX;
		}
		watch(false);
		restart_due(false);
	}
}

static void begin(uint64_t n, enum profile kind)
{
	seed = n;
	profile = kind;
	story_random = n * 0x9e3779b97f4a7c15ull + kind + 1;
	(void)test_random(&story_random);
	hash = 0;
	memset(tellers, 0, sizeof(tellers));
	discarded = false;
	shadow_begin();
	oracle_begin();
	pair_init(&pair, n, DISK_SIZE);
	pair.may_fail_to_start = true;
	pair.seen = oracle_event;
	pair.tracing = tracing;
	tellers[0].site = &pair.a;
	tellers[1].site = &pair.b;
	tellers[0].tame = tellers[1].tame = true;
	tellers[0].clear_at = tellers[1].clear_at = UINT64_MAX;
	adversary_begin();
	swarm();
	for (unsigned i = 0; i < PAIR_DISKS && kind == PROFILE_OUTSIDE; i++)
		pair.a.disks[i]->flags = pair.b.disks[i]->flags = 0;
	pair.revives = true;
	pair_start(&pair, &pair.b);
	pair_start(&pair, &pair.a);
	pass(SECOND);
}

static void finish(void)
{
	calm();
	pair.revives = false;
	adversary_end();
	for (int i = 0; i < 2; i++) {
		tally->events += pair.a.events;
		if (tellers[i].site->node != NULL)
			pair_stop(&pair, tellers[i].site);
	}
	for (int i = 0; i < 2; i++) {
		struct pair_site *site = tellers[i].site;

		tally->events += site->sim.events + site->puts;
		mix(site->sim.trace);
		mix(site->sim.events);
		mix(site->puts);
	}
	tally->events += pair.turns + pair.deliveries;
	tally->virtual_ns += pair.now_ns;
	mix(pair.turns);
	mix(pair.deliveries);
	mix(pair.now_ns);
	pair_free(&pair);
	PROVE(44);
	for (int i = 0; i < 2; i++) {
		free_guest(&tellers[i].guest);
		free_guest(&tellers[i].saved);
	}
	shadow_end();
	tally->hash = hash;
	tally->hash_sum += hash;
	tally->stories++;
}

static void step(void)
{
	switch (dice(8)) {
	case 0:
	case 1:
		guest_writes(&tellers[0], 1 + (unsigned)dice(6));
		guest_writes(&tellers[1], 1 + (unsigned)dice(6));
		break;
	case 2:
		guest_flush(&tellers[dice(2)]);
		break;
	case 3:
		random_operation(false);
		break;
	case 4:
		if (profile == PROFILE_OPERATOR)
			random_operation(false);
		random_operation(false);
		break;
	case 5:
		random_fault();
		break;
	case 6:
		if (profile != PROFILE_OPERATOR)
			random_fault();
		break;
	default:
		/* What is begun is cut short by a change outside. */
		if (profile == PROFILE_OUTSIDE) {
			random_operation(true);
			pass(dice(80) * MS + MS);
			accident();
		}
		break;
	}
	switch (dice(8)) {
	case 0:
		pass(dice(14) * SECOND + MS);
		break;
	case 1:
	case 2:
		pass(dice(1500) * MS + MS);
		break;
	case 3:
		break;
	default:
		pass(dice(60) * MS + MS);
	}
}

void story(uint64_t n, enum profile kind)
{
	unsigned steps;

	tally->seed = n;
	if (kind == PROFILE_TRACKER || kind == PROFILE_THREADS) {
		story_of_tracker(n, kind);
		return;
	}
	if (kind == PROFILE_STORE) {
		story_of_store(n);
		return;
	}
	if (kind == PROFILE_LIFE) {
		story_of_life(n);
		return;
	}
	begin(n, kind);
	steps = kind == PROFILE_BACKUP ? 25 + (unsigned)dice(60) :
					 10 + (unsigned)dice(40);
	guest_writes(&tellers[0], 10);
	ask(&tellers[0], HVREPL_OPERATION_ENABLE);
	pass(SECOND);
	ask(&tellers[0], HVREPL_OPERATION_START_INITIAL);
	pass(dice(4) * SECOND + MS);
	for (tally->step = 1; tally->step <= steps && tally->step <= tally->limit;
	     tally->step++)
		step();
	heal();
	finish();
}

enum profile profile_of(uint64_t n)
{
	/* A quarter each: disks alone (half of it the parts by themselves),
	 * operators, adversaries, all at once. */
	static const enum profile turn[16] = {
		PROFILE_DISK,	 PROFILE_OPERATOR, PROFILE_ADVERSARY,
		PROFILE_ALL,	 PROFILE_TRACKER,  PROFILE_OPERATOR,
		PROFILE_ADVERSARY, PROFILE_ALL,	   PROFILE_DISK,
		PROFILE_OPERATOR, PROFILE_ADVERSARY, PROFILE_LATE,
		PROFILE_STORE,	 PROFILE_OPERATOR, PROFILE_ADVERSARY,
		PROFILE_ALL,
	};

	/* Of four stories of a store one is its whole life; the others are one of
	 * each sort that story_of_store() knows. */
	if (n % 64 == 28)
		return PROFILE_LIFE;
	if (n % 64 == 11)
		return PROFILE_OUTSIDE;
	return n % 32 == 14 ? PROFILE_RELAY : turn[n % 16];
}
