/* SPDX-License-Identifier: Apache-2.0 */
/* Rule T9 across a planned failover: disks that are changed outside after the VM was handed
 * over, or just before it is taken. */
#include "format/message.h"
#include "format/wire.h"
#include "guestshadow.h"
#include "pairoperator.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 4096u

static uint8_t noise[BLOCK];

static void nobody_promises(struct pair_site *site)
{
	for (unsigned i = 0; i < PAIR_DISKS; i++)
		site->disks[i]->flags = 0;
}

/* As an administrator who mounts the image: bytes and times change. */
static void damage(struct pair_site *site)
{
	test_fill(noise, BLOCK, 5);
	sim_disk_poke(site->disks[0], 3 * BLOCK, noise, BLOCK);
	site->disks[0]->token++;
}

/* B runs the VM; A, whose disk is the point of the handover, goes down. */
static void handed_over_and_down(bool clean)
{
	nobody_promises(&pair.a);
	shadow_protect_full();
	shadow_ok(&pair.a, HVREPL_OPERATION_PLANNED);
	pair_run(&pair, 5 * SECOND);
	shadow_expect_disks(&pair.b);
	if (clean)
		pair_stop(&pair, &pair.a);
	else
		pair_kill(&pair, &pair.a, true);
}

static bool changed_no_more(struct pair *p)
{
	struct hvrepl_vm_status status = shadow_status(&p->a);

	return status.state == HVREPL_STATE_REPLICATING && status.reasons == 0;
}

/* Is that point of the handover offered by A? */
static bool offers(uint64_t number)
{
	for (uint32_t i = 0;; i++) {
		struct hvrepl_point point = HVREPL_POINT_INIT;

		if (hvrepl_vm_get_point(pair.a.node, &pair_vm, i, &point) < 0)
			return false;
		if (point.number == number)
			return true;
	}
}

/* B keeps the VM, and A follows it, compared. */
static void follow_b(void)
{
	shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
	pair_run(&pair, 5 * SECOND);
	shadow_ok(&pair.b, HVREPL_OPERATION_REVERSE);
	ck_assert(pair_until(&pair, 60 * SECOND, changed_no_more));
	shadow_scatter(&pair.b, 7, 3);
	shadow_expect_point(&pair.a, shadow_next_point(&pair.b, &pair.a));
}

/* By a clean end or by a kill; and as it was left. */
START_TEST(a_disk_changed_after_it_was_handed_over_is_compared_when_it_follows)
{
	bool changed = _i < 2;
	uint64_t handed;

	handed_over_and_down(_i % 2 == 0);
	if (changed)
		damage(&pair.a);
	pair_start(&pair, &pair.a);
	pair_run(&pair, 5 * SECOND);
	handed = shadow_status(&pair.a).last_cut;
	ck_assert_uint_ne(handed, 0);
	follow_b();
	/* What the disk was adopted as is no point that anybody is offered. */
	if (changed)
		ck_assert(!offers(handed));
	else if (_i == 2)
		shadow_ok(&pair.b, HVREPL_OPERATION_PLANNED);
}
END_TEST

/* What B has is right; the VM does not go from there to what is not. */
START_TEST(a_failover_from_it_is_not_cancelled)
{
	handed_over_and_down(true);
	damage(&pair.a);
	pair_start(&pair, &pair.a);
	pair_run(&pair, 5 * SECOND);
	ck_assert_int_eq(pair_operate(&pair, &pair.b, HVREPL_OPERATION_CANCEL,
				      0),
			 HVREPL_E_UNTRUSTED);
	/* As that says. */
	shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
	pair_run(&pair, 5 * SECOND);
	shadow_ok(&pair.b, HVREPL_OPERATION_REVERSE);
	ck_assert(pair_until(&pair, 60 * SECOND, changed_no_more));
	shadow_ok(&pair.b, HVREPL_OPERATION_PLANNED);
	pair_run(&pair, 5 * SECOND);
	shadow_expect_disks(&pair.a);
}
END_TEST

/* It was cancelled by a site that could not know, and A's guest goes on with the disk. */
START_TEST(its_guest_goes_on_with_it_where_the_failover_was_cancelled_alone)
{
	handed_over_and_down(true);
	shadow_ok(&pair.b, HVREPL_OPERATION_CANCEL);
	damage(&pair.a);
	pair_start(&pair, &pair.a);
	pair_run(&pair, 60 * SECOND);
	shadow_reload(&pair.a);
	shadow_scatter(&pair.a, 7, 3);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	shadow_ok(&pair.a, HVREPL_OPERATION_PLANNED);
	pair_run(&pair, 5 * SECOND);
	shadow_expect_disks(&pair.b);
}
END_TEST

START_TEST(nobody_fails_over_onto_it_unless_he_names_its_point)
{
	uint64_t point;

	handed_over_and_down(true);
	damage(&pair.a);
	pair_kill(&pair, &pair.b, true);
	pair_start(&pair, &pair.a);
	pair_run(&pair, 30 * SECOND);
	ck_assert(shadow_status(&pair.a).reasons & HVREPL_REASON_REPLICA_CHANGED);
	point = shadow_status(&pair.a).last_cut;
	ck_assert_int_eq(pair_operate(&pair, &pair.a,
				      HVREPL_OPERATION_UNPLANNED, 0),
			 HVREPL_E_UNTRUSTED);
	ck_assert_int_eq(pair_operate(&pair, &pair.a,
				      HVREPL_OPERATION_UNPLANNED, point),
			 HVREPL_OK);
}
END_TEST

static bool job_ended(struct pair *p)
{
	return p->a.job_code != HVREPL_PENDING;
}

/* Its own, as soon as that is decided; changed before its guest could write, it is not
 * the point that was asked for. */
START_TEST(a_failover_to_it_says_where_it_was_changed_meanwhile)
{
	bool changed = _i == 0;

	handed_over_and_down(true);
	pair_link(&pair, false);
	pair_start(&pair, &pair.a);
	pair_run(&pair, 20 * SECOND);
	pair.a.holds_jobs = true;
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_UNPLANNED, 0, NULL),
			 HVREPL_OK);
	pair_run(&pair, SECOND);
	ck_assert_int_eq(pair.a.job_code, HVREPL_PENDING);
	ck_assert_uint_eq(shadow_status(&pair.a).ownership,
			  HVREPL_OWNERSHIP_OWNER);
	pair.a.holds_jobs = false;
	if (changed) {
		pair_kill(&pair, &pair.a, true);
		damage(&pair.a);
		pair_start(&pair, &pair.a);
	}
	ck_assert(pair_until(&pair, 60 * SECOND, job_ended));
	ck_assert_int_eq(pair.a.job_code, HVREPL_OK);
	ck_assert_msg((strstr(pair.a.job_sentence, "changed outside since") !=
		       NULL) == changed,
		      "%s", pair.a.job_sentence);
}
END_TEST

/* As an operator who wants B protected by A, whatever comes between. */
static void follow_somehow(void)
{
	struct hvrepl_vm_status a;

	for (unsigned round = 0; round < 400; round++) {
		pair_run(&pair, SECOND / 2);
		if (pair_is_protected(&pair.b, &pair.a))
			return;
		if (pair_look(&pair.a, &a) && a.job == 0)
			pair_ask_sensibly(&pair.b);
	}
	ck_abort_msg("no way to protect what runs at site b");
}

/* A dies at I/O `n` since it came back; how many there are. */
static uint64_t followed(uint64_t n, bool power_loss)
{
	uint64_t handed, io;

	shadow_setup();
	handed_over_and_down(true);
	damage(&pair.a);
	handed = shadow_status(&pair.b).last_point;
	shadow_ok(&pair.b, HVREPL_OPERATION_COMMIT);
	pair.may_fail_to_start = true;
	pair.revives = true;
	pair.power_loss = power_loss;
	io = pair.a.sim.io_count;
	if (n != UINT64_MAX)
		pair.a.sim.crash_at = io + n;
	pair_start(&pair, &pair.a);
	follow_somehow();
	io = pair.a.sim.io_count - io;
	shadow_scatter(&pair.b, 7, 3);
	shadow_expect_point(&pair.a, shadow_next_point(&pair.b, &pair.a));
	ck_assert(!offers(handed));
	pair.revives = false;
	shadow_teardown();
	return io;
}

/* Of the process (0) and of the power (1). */
START_TEST(a_crash_at_any_io_on_the_way_leaves_no_difference_and_no_false_point)
{
	uint64_t all = followed(UINT64_MAX, false);
	uint64_t step = getenv("HVREPL_LONG") != NULL ? 1 : all / 24 + 1;

	for (uint64_t n = (uint64_t)_i % step; n < all; n += step)
		(void)followed(n, _i == 1);
}
END_TEST

/* ---- Before it is taken. ---- */

static bool given(struct pair *p)
{
	return shadow_status(&p->a).ownership == HVREPL_OWNERSHIP_RELINQUISHED;
}

static bool taken(struct pair *p)
{
	return shadow_status(&p->a).ownership == HVREPL_OWNERSHIP_STANDBY;
}

/* On its way as site B goes down. */
static void stops_grant(struct pair *p, struct pair_site *to,
			struct pair_end *end, const uint8_t *bytes,
			size_t length)
{
	static struct hvri_message_storage storage;
	struct hvri_message m;
	struct hvri_frame frame;

	if (to == &p->b && length >= HVRI_FRAME_HEADER_SIZE &&
	    hvri_frame_decode(bytes, false, &frame) == HVREPL_OK &&
	    frame.type == HVRI_FRAME_MESSAGE &&
	    frame.length + HVRI_FRAME_HEADER_SIZE == length &&
	    hvri_message_decode(bytes + HVRI_FRAME_HEADER_SIZE, frame.length,
				&storage, &m) == HVREPL_OK &&
	    m.type == HVRI_MESSAGE_GRANT)
		return;
	pair_deliver(end, bytes, length);
}

static bool put_failed(struct pair *p)
{
	return p->a.puts > p->a.put_fails_at;
}

/* A start finds the change, and its state store takes nothing: it is ended in good order.
 * A is relinquished (0), or has been told that B has the VM (1). */
START_TEST(a_change_that_could_not_be_put_on_record_is_found_at_the_next_start)
{
	nobody_promises(&pair.a);
	shadow_protect_full();
	if (_i == 0)
		pair.tamper = stops_grant;
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_PLANNED, 0, NULL),
			 HVREPL_OK);
	ck_assert(pair_until(&pair, 60 * SECOND, _i == 0 ? given : taken));
	pair_run(&pair, SECOND / 10);
	pair_stop(&pair, &pair.a);
	pair.tamper = NULL;
	damage(&pair.a);
	pair_link(&pair, false);
	pair.a.put_fails_at = pair.a.puts;
	pair_start(&pair, &pair.a);
	ck_assert(pair_until(&pair, SECOND, put_failed));
	pair_stop(&pair, &pair.a);
	pair.a.put_fails_at = UINT64_MAX;
	pair_start(&pair, &pair.a);
	pair_run(&pair, 2 * SECOND);
	pair_link(&pair, true);
	pair_run(&pair, 30 * SECOND);
	follow_b();
}
END_TEST

static bool settled(struct pair *p)
{
	struct hvrepl_vm_status a = shadow_status(&p->a), b = shadow_status(&p->b);

	return a.ownership != HVREPL_OWNERSHIP_RELINQUISHED &&
	       (a.writable != 0 || b.writable != 0);
}

START_TEST(a_vm_is_given_back_by_a_site_whose_disks_were_changed_before_it_took_it)
{
	bool changed = _i == 0;

	nobody_promises(&pair.b);
	shadow_protect_full();
	pair.tamper = stops_grant;
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_PLANNED, 0, NULL),
			 HVREPL_OK);
	ck_assert(pair_until(&pair, 60 * SECOND, given));
	pair_run(&pair, SECOND / 10);
	pair.tamper = NULL;
	pair_stop(&pair, &pair.b);
	if (changed)
		damage(&pair.b);
	pair_start(&pair, &pair.b);
	ck_assert(pair_until(&pair, 60 * SECOND, settled));
	ck_assert_uint_eq(shadow_status(changed ? &pair.a : &pair.b).writable, 1);
	shadow_expect_disks(changed ? &pair.a : &pair.b);
	if (!changed)
		return;
	/* And may be asked again, once all was compared. */
	shadow_scatter(&pair.a, 9, 3);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
	ck_assert(pair_until(&pair, 60 * SECOND, changed_no_more));
	shadow_ok(&pair.a, HVREPL_OPERATION_PLANNED);
	pair_run(&pair, 5 * SECOND);
	shadow_expect_disks(&pair.b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("handed over and changed");
	TCase *tc = tcase_create("handed");

	tcase_add_checked_fixture(tc, shadow_setup, shadow_teardown);
	tcase_add_loop_test(
		tc,
		a_disk_changed_after_it_was_handed_over_is_compared_when_it_follows,
		0, 4);
	tcase_add_test(tc, a_failover_from_it_is_not_cancelled);
	tcase_add_test(
		tc,
		its_guest_goes_on_with_it_where_the_failover_was_cancelled_alone);
	tcase_add_loop_test(
		tc,
		a_change_that_could_not_be_put_on_record_is_found_at_the_next_start,
		0, 2);
	tcase_add_loop_test(tc,
			    a_failover_to_it_says_where_it_was_changed_meanwhile,
			    0, 2);
	tcase_add_test(tc, nobody_fails_over_onto_it_unless_he_names_its_point);
	tcase_add_loop_test(
		tc,
		a_vm_is_given_back_by_a_site_whose_disks_were_changed_before_it_took_it,
		0, 2);
	suite_add_tcase(suite, tc);
	tc = tcase_create("crash");
	tcase_add_loop_test(
		tc,
		a_crash_at_any_io_on_the_way_leaves_no_difference_and_no_false_point,
		0, 2);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
