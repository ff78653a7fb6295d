/* SPDX-License-Identifier: Apache-2.0 */
/* Authenticators of the application's: how much and how often, mechanisms that do
 * it wrong, and proofs that are made anew. */
#define _GNU_SOURCE
#include "backend/proofjob.h"
#include "backend/tls.h"
#include "loopclock.h"
#include "pskrig.h"
#include "tlsreaders.h"

/* ---- How much, and how often. ---- */

/* Each side says `left` tokens, of `size` bytes; the acceptor's last ends it. */
static unsigned tokens_each_way;
static uint32_t token_size;

struct counting {
	bool initiator;
	unsigned said;
};

static int32_t count_begin(void *user, const struct hvrepl_proof_begin *begin,
			   void **proof_out, struct hvrepl_proof_step *step)
{
	struct counting *counting = calloc(1, sizeof(*counting));

	(void)step;
	if (counting == NULL)
		return HVREPL_E_NOMEM;
	counting->initiator = begin->initiator != 0;
	((struct psk *)user)->begun++;
	*proof_out = counting;
	return HVREPL_OK;
}

static int32_t count_step(void *user, void *proof, const void *token,
			  size_t length, struct hvrepl_proof_step *step)
{
	struct counting *counting = proof;
	bool over;

	(void)user;
	if (token != NULL && length != token_size)
		return HVREPL_E_UNAUTHENTICATED;
	over = counting->said + (counting->initiator ? 0 : 1) ==
	       tokens_each_way;
	if (over) {
		strcpy(step->self, counting->initiator ? "east" : "west");
		strcpy(step->peer, counting->initiator ? "west" : "east");
	}
	if (!over || !counting->initiator) {
		memset(step->token, 'x', token_size);
		step->token_length = token_size;
		counting->said++;
	}
	return over ? HVREPL_OK : HVREPL_PENDING;
}

static const struct hvrepl_authenticator_ops count_ops = {
	.struct_size = sizeof(count_ops),
	.begin = count_begin,
	.step = count_step,
	.end = psk_end,
};

START_TEST(a_proof_may_take_eight_tokens_each_way_of_12288_bytes)
{
	tokens_each_way = HVREPL_PROOF_TOKENS_MAX;
	token_size = HVREPL_PROOF_TOKEN_MAX;
	again_with(&count_ops, &count_ops);
	join();
}
END_TEST

START_TEST(a_ninth_token_ends_it)
{
	tokens_each_way = HVREPL_PROOF_TOKENS_MAX + 1;
	token_size = 5;
	again_with(&count_ops, &count_ops);
	try_to_join();
	steps(HVREPL_STEP_PROOF, HVREPL_STEP_PROOF);
	ck_assert(client.code == HVREPL_E_LIMIT ||
		  server.code == HVREPL_E_LIMIT);
	SAID(server, "more than 8 tokens");
}
END_TEST

START_TEST(sixty_four_strangers_are_proved_at_once_and_not_one_more)
{
	static const uint8_t binding[HVREPL_EXPORTER_SIZE] = { 1 };
	struct hvrepl_authenticator_ops ops = blocking();
	struct hvri_mechanism *mechanism;
	struct hvri_proof_job *job;
	int32_t rc;

	again_with(&ops, &ops);
	mechanism = hvri_tls_mechanism(replica);
	job = hvri_proof_job_new(replica, NULL, binding, false);
	atomic_store(&mechanism->threads, HVRI_PROOF_THREADS_MAX);
	rc = hvri_proof_job_step(job, "x", 1, loop, true, NULL, NULL);
	ck_assert_int_eq(rc, HVREPL_E_BUSY);
	ck_assert_ptr_nonnull(strstr(job->error.sentence, "more than 64"));
	hvri_proof_job_drop(job);
	/* The listener says so to whom it turns away. */
	try_to_join();
	ck_assert_int_eq(server.code, HVREPL_E_BUSY);
	SAID(client, "busy proving others");
	hvrepl_listener_close(listener);
	atomic_store(&mechanism->threads, HVRI_PROOF_THREADS_MAX - 1);
	join();
	ck_assert_uint_eq(atomic_load(&mechanism->threads),
			  HVRI_PROOF_THREADS_MAX - 1);
}
END_TEST

/* ---- Mechanisms that do it wrong. ---- */

static unsigned mistake;
static uint8_t elsewhere[4];

static int32_t mistaken_step(void *user, void *proof, const void *token,
			     size_t length, struct hvrepl_proof_step *step)
{
	(void)user, (void)proof, (void)token, (void)length;
	strcpy(step->self, "east");
	strcpy(step->peer, "west");
	switch (mistake) {
	case 0:
		return HVREPL_PENDING; /* Without a token. */
	case 1:
		step->token_length = HVREPL_PROOF_TOKEN_MAX + 1;
		return HVREPL_OK;
	case 2:
		step->peer[0] = 0;
		return HVREPL_OK;
	case 3:
		strcpy(step->self, "*.example.com");
		return HVREPL_OK;
	case 4:
		memset(step->peer, 'x', sizeof(step->peer));
		return HVREPL_OK;
	case 5: /* A buffer of its own: where it is, and how long, nobody knows. */
		step->token = elsewhere;
		step->token_length = sizeof(elsewhere);
		return HVREPL_PENDING;
	case 6: /* Of a peer that nobody has asked anything. */
		return HVREPL_OK;
	default:
		return 42;
	}
}

START_TEST(a_mistake_of_the_mechanism_is_an_error_of_the_callback)
{
	struct hvrepl_authenticator_ops ops = psk_ops;

	mistake = (unsigned)_i;
	ops.step = mistaken_step;
	again_with(&ops, &psk_ops);
	try_to_join();
	ck_assert_int_eq(client.code, HVREPL_E_CALLBACK);
	ck_assert_uint_eq(client.step, HVREPL_STEP_PROOF);
	SAID(client, "the authenticator of psk-1");
}
END_TEST

START_TEST(what_cannot_begin_says_why)
{
	east.fails = true;
	try_to_join();
	ck_assert_int_eq(client.code, HVREPL_E_UNAVAILABLE);
	SAID(client, "the safe with the key is shut");
	ck_assert_uint_eq(east.begun, 0);
}
END_TEST

START_TEST(an_authenticator_is_released_once_also_when_it_is_not_taken)
{
	struct hvrepl_authenticator_options options =
		HVREPL_AUTHENTICATOR_OPTIONS_INIT;
	struct hvrepl_authenticator_ops ops = psk_ops;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	static const char *const names[] = { "", "krb5", "Psk", "p/1", "p 1",
		"abcdefghijklmnopqrstuvwxyz0123456", NULL };
	struct psk lone = { .released = 0 };
	hvrepl_tls *tls = NULL;
	unsigned expected = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		ck_assert_int_eq(make(&psk_ops, &lone, names[i], &tls, &error),
				 HVREPL_E_INVALID);
		ck_assert_uint_eq(lone.released, ++expected);
	}
	ops.step = NULL;
	ck_assert_int_eq(make(&ops, &lone, "p", &tls, &error),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(make(NULL, &lone, "p", &tls, &error),
			 HVREPL_E_INVALID);
	ops = psk_ops;
	ops.flags = 2;
	ck_assert_int_eq(make(&ops, &lone, "p", &tls, &error),
			 HVREPL_E_TOO_NEW);
	ops = psk_ops;
	ops.struct_size = 8;
	ck_assert_int_eq(make(&ops, &lone, "p", &tls, &error),
			 HVREPL_E_INVALID);
	ck_assert_uint_eq(lone.released, expected += 4);
	options.authenticator.user = &lone;
	options.authenticator.release = psk_release;
	options.authenticator.ops = &psk_ops;
	options.mechanism = "p";
	options.reserved = 1;
	ck_assert_int_eq(hvrepl_authenticator_create(&options, &tls, NULL),
			 HVREPL_E_INVALID);
	options.reserved = 0;
	options.self = "a\nb";
	ck_assert_int_eq(hvrepl_authenticator_create(&options, &tls, NULL),
			 HVREPL_E_INVALID);
	options.self = NULL;
	ck_assert_int_eq(hvrepl_authenticator_create(&options, NULL, NULL),
			 HVREPL_E_INVALID);
	ck_assert_uint_eq(lone.released, expected += 3);
	ck_assert_int_eq(hvrepl_authenticator_create(&options, &tls, NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(lone.released, expected);
	hvrepl_tls_destroy(tls);
	ck_assert_uint_eq(lone.released, expected + 1);
}
END_TEST

/* ---- Time: the loop's, put forward. ---- */

#define MINUTE (60 * SECOND)
/* Of a proof; Check counts a test's time by the same clock, up to an hour. */
#define LIFE (10 * MINUTE)
#define LONG_LIFE (600 * MINUTE)
/* The client makes it anew when half of it is over. */
#define HALF (LIFE / 2 + SECOND)

static unsigned times; /* That both are to have been proved. */

static bool proved(void)
{
	return west.ended >= times && east.ended >= times;
}

static uint64_t proofs_told;

static void note_proof(void *user, const char *peer, uint64_t count)
{
	ck_assert_ptr_eq(user, &west);
	ck_assert_str_eq(peer, "east");
	ck_assert_uint_eq(count, proofs_told + 1);
	proofs_told = count;
}

START_TEST(a_proof_is_made_anew_on_the_same_connection)
{
	struct hvrepl_tls_notes notes = HVREPL_TLS_NOTES_INIT;
	struct hvrepl_authenticator_ops ops = blocking();

	if (_i == 1)
		again_with(&ops, &ops);
	notes.proved = note_proof;
	notes.user = &west;
	proofs_told = 1; /* When it was let in. */
	/* Of before `ended`, too. */
	notes.struct_size = offsetof(struct hvrepl_tls_notes, ended) - 1;
	ck_assert_int_eq(hvrepl_tls_set_notes(replica, &notes),
			 HVREPL_E_INVALID);
	notes.struct_size++;
	ck_assert_int_eq(hvrepl_tls_set_notes(replica, &notes), HVREPL_OK);
	notes.reserved = 1;
	ck_assert_int_eq(hvrepl_tls_set_notes(replica, &notes),
			 HVREPL_E_INVALID);
	east.lifetime_ns = LIFE;
	west.lifetime_ns = LONG_LIFE;
	join();
	/* Under load, of three tokens each, which may take several transfers: between
	 * two nobody reads, and so no token is heard. */
	for (times = 2; times <= 3; times++) {
		loop_clock_forward(HALF);
		while (!proved())
			transfer(200000, 10000);
	}
	ck_assert_uint_ge(east.again, 2);
	ck_assert_uint_ge(west.again, 2);
	ck_assert_uint_ge(proofs_told, 3);
	read_on_both_sides();
	east.begun = east.ended = west.begun = west.ended = 0;
	for (times = 1; times <= 2; times++) { /* ...and idle. */
		loop_clock_forward(HALF);
		UNTIL(proved());
	}
	ck_assert(both_wait());
}
END_TEST

START_TEST(a_proof_that_cannot_be_made_anew_ends_with_its_lifetime)
{
	east.lifetime_ns = LIFE;
	west.lifetime_ns = LONG_LIFE;
	join();
	east.fails = true;
	read_on_both_sides();
	loop_clock_forward(HALF);
	UNTIL(failed_renewals > 0);
	ck_assert_int_eq(readers[0].rc, HVREPL_PENDING);
	loop_clock_forward(HALF);
	UNTIL(none_waits());
	ck_assert_int_eq(readers[0].rc, HVREPL_E_UNAUTHENTICATED);
}
END_TEST

START_TEST(a_renewal_that_comes_late_is_in_time)
{
	east.lifetime_ns = LIFE;
	west.lifetime_ns = LONG_LIFE;
	join();
	east.fails = true;
	read_on_both_sides();
	loop_clock_forward(HALF);
	UNTIL(failed_renewals > 0);
	east.fails = false;
	loop_clock_forward(LIFE / 16); /* An eighth of what was left. */
	UNTIL(mended_renewals > 0);
	loop_clock_forward(LIFE / 2); /* The first proof would be over. */
	run_for(SECOND / 20);
	ck_assert_int_eq(readers[0].rc, HVREPL_PENDING);
}
END_TEST

/* What each side is told of the end of a proof, beside the code of its channel. */
static struct hvrepl_error why[2];
static unsigned ends[2];

static void note_end(void *user, const char *peer,
		     const struct hvrepl_error *error)
{
	unsigned at = user == &west;

	ck_assert_str_eq(peer, at == 0 ? "west" : "east");
	why[at] = *error;
	ends[at]++;
}

static void join_and_watch(void)
{
	struct hvrepl_tls_notes notes = HVREPL_TLS_NOTES_INIT;

	notes.ended = note_end;
	memset(ends, 0, sizeof(ends));
	notes.user = &east;
	ck_assert_int_eq(hvrepl_tls_set_notes(primary, &notes), HVREPL_OK);
	notes.user = &west;
	ck_assert_int_eq(hvrepl_tls_set_notes(replica, &notes), HVREPL_OK);
	join();
	read_on_both_sides();
}

#define WHY(side, words)                                                    \
	ck_assert_msg(ends[side] == 1 &&                                    \
			      strstr(why[side].sentence, words) != NULL,    \
		      "%u %s", ends[side], why[side].sentence)

START_TEST(nobody_else_proves_himself_on_a_proved_connection)
{
	east.lifetime_ns = LIFE;
	west.lifetime_ns = LONG_LIFE;
	join_and_watch();
	strcpy(east.name, "north");
	loop_clock_forward(HALF);
	UNTIL(none_waits());
	ck_assert_int_eq(readers[1].rc, HVREPL_E_UNAUTHENTICATED);
	ck_assert_int_eq(readers[0].rc, HVREPL_E_UNAUTHENTICATED);
	ck_assert_int_eq(why[1].code, HVREPL_E_UNAUTHENTICATED);
	WHY(1, "the new proof of east by psk-1 failed: on its connection north "
	       "proved itself");
	WHY(0, "west refused our proof by psk-1: we are not among its peers");
}
END_TEST

START_TEST(a_new_proof_that_fails_at_the_acceptor_says_why_on_both_sides)
{
	struct hvrepl_authenticator_ops blind = psk_ops;

	blind.step = psk_blind_step;
	again_with(&blind, &psk_ops);
	east.lifetime_ns = LIFE;
	west.lifetime_ns = LONG_LIFE;
	join_and_watch();
	west.key[0] ^= 1;
	loop_clock_forward(HALF);
	UNTIL(none_waits());
	WHY(1, "the new proof of east by psk-1 failed: the initiator has "
	       "another key");
	WHY(0, "west refused our proof by psk-1: it has another key for us");
}
END_TEST

START_TEST(a_proof_that_ends_says_so_on_the_side_where_it_does)
{
	/* Who accepts waits for as long as a handshake may take, and where that is
	 * without an end for as long as the proof was good: it ends all the same. */
	bool here = _i % 2 == 0;

	patience_ns = _i < 2 ? MINUTE : UINT64_MAX;
	again_with(&psk_ops, &psk_ops);
	east.lifetime_ns = here ? LIFE : LONG_LIFE;
	west.lifetime_ns = here ? LONG_LIFE : LIFE;
	join_and_watch();
	east.fails = true;
	if (here) {
		loop_clock_forward(HALF);
		UNTIL(failed_renewals > 0);
		loop_clock_forward(HALF);
	} else {
		loop_clock_forward(LIFE);
		run_for(SECOND / 20);
		ck_assert_int_eq(readers[1].rc, HVREPL_PENDING);
		loop_clock_forward(_i < 2 ? MINUTE : LIFE);
	}
	UNTIL(none_waits());
	WHY(!here, here ? "our proof to west by psk-1 has ended" :
			  "east has not proved itself anew in time");
	ck_assert_uint_eq(ends[here], 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("authenticator limits");
	TCase *tc = tcase_create("authenticator");

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, open_ends, close_ends);
	tcase_add_test(
		tc, a_proof_may_take_eight_tokens_each_way_of_12288_bytes);
	tcase_add_test(tc, a_ninth_token_ends_it);
	tcase_add_test(
		tc, sixty_four_strangers_are_proved_at_once_and_not_one_more);
	tcase_add_loop_test(
		tc, a_mistake_of_the_mechanism_is_an_error_of_the_callback, 0,
		8);
	tcase_add_test(tc, what_cannot_begin_says_why);
	tcase_add_test(
		tc, an_authenticator_is_released_once_also_when_it_is_not_taken);
	tcase_add_loop_test(tc, a_proof_is_made_anew_on_the_same_connection, 0,
			    2);
	tcase_add_test(
		tc, a_proof_that_cannot_be_made_anew_ends_with_its_lifetime);
	tcase_add_test(tc, a_renewal_that_comes_late_is_in_time);
	tcase_add_test(tc, nobody_else_proves_himself_on_a_proved_connection);
	tcase_add_test(
		tc,
		a_new_proof_that_fails_at_the_acceptor_says_why_on_both_sides);
	tcase_add_loop_test(
		tc, a_proof_that_ends_says_so_on_the_side_where_it_does, 0, 4);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
