/* SPDX-License-Identifier: Apache-2.0 */
/* A proof's frames over a socket pair, to a peer that speaks them by hand, and what a session
 * is bound to by it. */
#include "backend/mechanism.h"
#include "backend/proof.h"
#include "psk.h"
#include "tlspair.h"

/* As slow or as fast as the machine may be: put in at the link. */
static uint64_t now_ns = 1000000000u;

uint64_t __wrap_hvrepl_loop_now(void);
uint64_t __wrap_hvrepl_loop_now(void)
{
	return now_ns;
}

static struct psk east = { .name = "east", .key = { 0x4b } };
static struct psk west = { .name = "west", .key = { 0x4b } };
static hvrepl_tls *of_east, *of_west;
static struct link pair_of;
static struct hvri_proof *proof; /* The server's. */

static hvrepl_tls *by_psk(struct psk *psk)
{
	struct hvrepl_authenticator_options options =
		psk_options(&psk_ops, psk, "psk-1");
	hvrepl_tls *tls = NULL;

	ck_assert_int_eq(hvrepl_authenticator_create(&options, &tls, NULL),
			 HVREPL_OK);
	return tls;
}

static void no_wake(void *user)
{
	(void)user;
}

static void setup_proof(void)
{
	setup();
	of_east = by_psk(&east);
	of_west = by_psk(&west);
	open_link(&pair_of, of_east, of_west, "west", NULL, 0);
	shake(&pair_of);
	ck_assert_int_eq(pair_of.client_rc, HVREPL_OK);
	ck_assert_int_eq(pair_of.server_rc, HVREPL_OK);
	ck_assert_int_eq(hvri_proof_create(&pair_of.server, of_west, NULL,
					   no_wake, NULL, &proof),
			 HVREPL_OK);
}

static void teardown_proof(void)
{
	hvri_proof_free(proof);
	close_link(&pair_of);
	hvrepl_tls_destroy(of_east);
	hvrepl_tls_destroy(of_west);
	teardown();
	ck_assert_uint_eq(east.begun, east.ended);
	ck_assert_uint_eq(west.begun, west.ended);
}

static void say(uint32_t kind, const uint8_t *bytes, uint32_t length)
{
	uint8_t frame[HVRI_PROOF_HEADER + PSK_SECOND] = { (uint8_t)length };
	struct hvrepl_iovec iov = { frame, HVRI_PROOF_HEADER + length };
	struct hvri_tls_out out = { &iov, 1, 0 };

	ck_assert_uint_lt(length, 256);
	frame[HVRI_PROOF_HEADER - 1] = (uint8_t)kind;
	memcpy(frame + HVRI_PROOF_HEADER, bytes, length);
	ck_assert_int_eq(hvri_tls_send(&pair_of.client, &out, SIZE_MAX),
			 HVREPL_OK);
}

/* What the server says, whole; its length without the header. */
static size_t hear(uint8_t out[512])
{
	size_t got = 0;

	ck_assert_int_eq(hvri_tls_receive(&pair_of.client, out, 512, &got),
			 HVREPL_OK);
	ck_assert_uint_ge(got, HVRI_PROOF_HEADER);
	memmove(out, out + HVRI_PROOF_HEADER, got - HVRI_PROOF_HEADER);
	return got - HVRI_PROOF_HEADER;
}

/* The server works on what it hears; its code. */
static int32_t server_turn(bool first)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	uint8_t bytes[64];
	size_t got = 0;
	int32_t rc;

	if (first)
		return hvri_proof_step(proof, &error);
	rc = hvri_proof_receive(proof, bytes, sizeof(bytes), &got);
	ck_assert(rc != HVREPL_OK || got == 0);
	return rc < 0 ? rc : hvri_proof_pump(proof);
}

static uint8_t key[HVREPL_PROOF_KEY_SIZE]; /* As the client proved it. */

/* A proof by hand; OK, or what the server made of it. */
static int32_t prove(bool first)
{
	struct hvrepl_proof_begin begin = { .struct_size = sizeof(begin),
					    .initiator = 1,
					    .peer = "west" };
	static uint8_t room[HVREPL_PROOF_TOKEN_MAX];
	struct hvrepl_proof_step step = { .token = room };
	uint8_t heard[512];
	size_t length = 0;
	void *ours = NULL;
	int32_t rc = HVREPL_PENDING, theirs = HVREPL_OK;

	ck_assert_int_eq(hvri_tls_exporter(&pair_of.client, begin.binding),
			 HVREPL_OK);
	ck_assert_int_eq(psk_begin(&east, &begin, &ours, &step), HVREPL_OK);
	while (rc == HVREPL_PENDING && theirs >= 0) {
		step = (struct hvrepl_proof_step){ .token = room };
		rc = psk_step(&east, ours, length == 0 ? NULL : heard, length,
			      &step);
		ck_assert_int_ge(rc, 0);
		say(HVRI_PROOF_TOKEN, room, step.token_length);
		theirs = server_turn(first);
		if (theirs >= 0)
			length = hear(heard);
	}
	memcpy(key, step.key, sizeof(key));
	psk_end(&east, ours);
	return theirs < 0 ? theirs : HVREPL_OK;
}

static void prove_eight_times(void)
{
	for (unsigned i = 0; i < HVRI_PROOF_AGAIN_MAX; i++)
		ck_assert_int_eq(prove(false), HVREPL_OK);
}

START_TEST(eight_new_proofs_in_a_row_and_not_one_more)
{
	ck_assert_int_eq(prove(true), HVREPL_OK);
	prove_eight_times();
	ck_assert_uint_eq(hvri_proof_count(proof), 1 + HVRI_PROOF_AGAIN_MAX);
	ck_assert_ptr_null(hvri_proof_why(proof));
	now_ns += 4000000000u - 1;
	ck_assert_int_eq(prove(false), HVREPL_E_LIMIT);
	ck_assert_ptr_nonnull(strstr(hvri_proof_why(proof)->sentence,
				     "east began more than 8 new proofs by "
				     "psk-1 within 4 s"));
}
END_TEST

START_TEST(after_four_seconds_there_may_be_eight_more)
{
	ck_assert_int_eq(prove(true), HVREPL_OK);
	prove_eight_times();
	now_ns += 4000000000u;
	prove_eight_times();
	ck_assert_int_eq(prove(false), HVREPL_E_LIMIT);
}
END_TEST

/* docs/formats.md, by another implementation. */
START_TEST(what_a_session_is_bound_to_is_as_its_format_says)
{
	static const uint8_t expected[HVREPL_EXPORTER_SIZE] = {
		0x94, 0x19, 0x9b, 0x05, 0x8d, 0x56, 0x27, 0x7e,
		0x7b, 0x05, 0xe0, 0x8c, 0x9a, 0x36, 0x03, 0xb4,
		0xc0, 0xe6, 0xcf, 0x8b, 0x82, 0x51, 0x28, 0x77,
		0x31, 0x6e, 0x2c, 0xa6, 0x1d, 0x5f, 0xb2, 0xc5
	};
	uint8_t binding[HVREPL_EXPORTER_SIZE], out[HVREPL_EXPORTER_SIZE];

	for (unsigned i = 0; i < sizeof(binding); i++)
		binding[i] = (uint8_t)i;
	for (unsigned i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)(100 + i);
	ck_assert(hvri_mechanism_exporter("krb5", binding, "hvrepl/east@REALM",
					  "hvrepl/west@REALM", key, out));
	ck_assert_mem_eq(out, expected, sizeof(out));
}
END_TEST

/* Whose names in which order, and of which connection: as the client has them. */
START_TEST(a_proved_session_is_bound_to_its_connection_its_names_and_its_key)
{
	uint8_t binding[HVREPL_EXPORTER_SIZE], out[HVREPL_EXPORTER_SIZE];

	ck_assert_int_eq(prove(true), HVREPL_OK);
	ck_assert_int_eq(hvri_tls_exporter(&pair_of.client, binding),
			 HVREPL_OK);
	ck_assert(hvri_mechanism_exporter("psk-1", binding, "east", "west", key,
					  out));
	ck_assert_mem_eq(hvri_proof_exporter(proof), out, sizeof(out));
	/* Of the first proof: a later one has another key. */
	ck_assert_int_eq(prove(false), HVREPL_OK);
	ck_assert_mem_eq(hvri_proof_exporter(proof), out, sizeof(out));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proof");
	TCase *tc = tcase_create("again");

	tcase_add_checked_fixture(tc, setup_proof, teardown_proof);
	tcase_add_test(tc, eight_new_proofs_in_a_row_and_not_one_more);
	tcase_add_test(tc, what_a_session_is_bound_to_is_as_its_format_says);
	tcase_add_test(
		tc,
		a_proved_session_is_bound_to_its_connection_its_names_and_its_key);
	tcase_add_test(tc, after_four_seconds_there_may_be_eight_more);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
