/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main story of two sites with a crash at an I/O of one of them: initial
 * replication, deltas, planned failover, commit, reverse, failback. The site
 * comes back, the operator asks again for what did not happen, and no write
 * that the guest was told is durable may be missing (protocols O4, O9).
 */
#include "guestshadow.h"
#include "pairoperator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WRITES 6u

struct extent {
	unsigned disk;
	uint64_t offset;
	size_t length;
};

static struct pair_site *owner; /* Where the guest runs. */
static char crash[64];          /* Which crash this is. */

/* The guest writes and flushes; what a crash left open it reads again, as an
 * operating system does when it starts. */
static void guest_works(uint64_t seed)
{
	struct extent written[WRITES];
	uint64_t state = seed * 2 + 1;
	unsigned revived = pair.revived, count = 0;
	int32_t rc = HVREPL_OK;

	for (; count < WRITES && rc == HVREPL_OK; count++) {
		struct extent *e = &written[count];
		static uint8_t bytes[8192];

		e->disk = (unsigned)(test_random(&state) % PAIR_DISKS);
		e->offset = test_random(&state) % (SHADOW_SIZE / 512 - 16) * 512;
		e->length = (test_random(&state) % 16 + 1) * 512;
		test_fill(bytes, e->length, test_random(&state));
		rc = pair_write(owner, e->disk, e->offset, bytes, e->length);
		if (rc == HVREPL_OK)
			memcpy(shadow.disks[e->disk] + e->offset, bytes,
			       e->length);
		pair_run(&pair, 1000000);
	}
	for (unsigned i = 0; i < PAIR_DISKS && rc == HVREPL_OK; i++)
		rc = pair_flush(owner, i);
	pair_run(&pair, 1000000);
	if (rc == HVREPL_OK && pair.revived == revived)
		return;
	/* Until the site is back and lets the guest start. */
	for (unsigned i = 0; i < 200; i++) {
		pair_run(&pair, SECOND / 4);
		if (pair_is_open(owner))
			break;
	}
	for (unsigned i = 0; i < count; i++)
		ck_assert_int_eq(pair_read(owner, written[i].disk,
					   written[i].offset,
					   shadow.disks[written[i].disk] +
						   written[i].offset,
					   written[i].length),
				 HVREPL_OK);
	for (unsigned i = 0; i < PAIR_DISKS; i++)
		(void)pair_flush(owner, i);
}

/* What an operator does who wants the VM to run at `to` and be protected. */
static void drive_to(struct pair_site *to, struct pair_site *from)
{
	struct hvrepl_vm_status t, f;

	for (unsigned round = 0; round < 400; round++) {
		pair_run(&pair, SECOND / 2);
		if (pair_is_protected(to, from))
			return;
		/* Not while the other site is still at it. */
		(void)pair_look(from, &f);
		if (f.job == 0)
			pair_ask_sensibly(to);
	}
	(void)pair_look(to, &t);
	(void)pair_look(from, &f);
	ck_abort_msg("%s; no way to run at %s: state %u ownership %u (%s), other "
		     "%u %u (%s)",
		     crash, to->name, t.state, t.ownership, t.sentence, f.state,
		     f.ownership, f.sentence);
}

static void story(void)
{
	owner = &pair.a;
	guest_works(1);
	drive_to(&pair.a, &pair.b);
	guest_works(2);
	pair_run(&pair, SECOND + SECOND / 3);
	guest_works(3);
	drive_to(&pair.b, &pair.a);
	owner = &pair.b;
	shadow_expect_disks(&pair.b);
	guest_works(4);
	pair_run(&pair, SECOND + SECOND / 3);
	drive_to(&pair.a, &pair.b);
	owner = &pair.a;
	shadow_expect_disks(&pair.a);
	guest_works(5);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}

/* I/O of a whole story, for the stride. */
static uint64_t lengths[2];

static void measure(void)
{
	if (lengths[0] != 0)
		return;
	shadow_setup();
	lengths[0] = pair.a.sim.io_count;
	lengths[1] = pair.b.sim.io_count;
	story();
	lengths[0] = pair.a.sim.io_count - lengths[0];
	lengths[1] = pair.b.sim.io_count - lengths[1];
	shadow_teardown();
}

#define POINTS 24 /* Crashes of a run, spread over the story. */

static void crash_story(unsigned site, bool power_loss, uint64_t n)
{
	struct pair_site *victim = site == 0 ? &pair.a : &pair.b;

	snprintf(crash, sizeof(crash), "site %u, %s, I/O %llu", site,
		 power_loss ? "power" : "process", (unsigned long long)n);
	shadow_setup();
	pair.revives = true;
	pair.power_loss = power_loss;
	victim->sim.crash_at = victim->sim.io_count + n;
	story();
	pair.revives = false;
	shadow_teardown();
}

/* All of them with HVREPL_LONG set, else a spread. */
START_TEST(a_crash_at_any_io_of_a_site_loses_nothing_and_leaves_a_way_on)
{
	unsigned site = (unsigned)_i & 1;
	bool power_loss = (_i & 2) != 0;
	uint64_t step;

	measure();
	step = getenv("HVREPL_LONG") != NULL ? 1 : lengths[site] / POINTS + 1;
	for (uint64_t n = (uint64_t)_i % step; n < lengths[site]; n += step)
		crash_story(site, power_loss, n);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("node");
	TCase *tc = tcase_create("crash");

	tcase_add_loop_test(tc, a_crash_at_any_io_of_a_site_loses_nothing_and_leaves_a_way_on,
			    0, 4);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
