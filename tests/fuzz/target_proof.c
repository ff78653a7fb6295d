/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames of a proof, by an authenticator of an application (psk.h), at both
 * ends. Whoever has not the key proves nothing, whatever he says, and hears nothing
 * but tokens and a refusal. Once proved, content is what the DATA frames held, byte
 * for byte and in order, and nothing that a peer says changes who it is.
 */
#include "backend/proof.h"
#include "fuzz.h"
#include "psk.h"

#include <hvrepl/backends/authenticator.h>

#define SAID_MAX (256u << 10)
#define TURNS 200000u
#define AGAIN_MAX 4u /* Proofs more than the first: fewer than there may be. */

/* What takes the place of TLS under the session that is looked at. */
static struct hvri_tls_session under_test;
static struct {
	const uint8_t *at;
	size_t left, piece, now; /* `now`: of this piece. */
	bool ends; /* Closed behind it; or else there is nothing more yet. */
} heard;
static uint8_t said[SAID_MAX]; /* By the end that is looked at. */
static size_t said_length;

int32_t __real_hvri_tls_receive(struct hvri_tls_session *session, void *buffer,
				size_t length, size_t *received_out);
int32_t __wrap_hvri_tls_receive(struct hvri_tls_session *session, void *buffer,
				size_t length, size_t *received_out);
int32_t __real_hvri_tls_send(struct hvri_tls_session *session,
			     struct hvri_tls_out *out, size_t budget);
int32_t __wrap_hvri_tls_send(struct hvri_tls_session *session,
			     struct hvri_tls_out *out, size_t budget);
int32_t __real_hvri_tls_exporter(struct hvri_tls_session *session,
				 uint8_t out[HVREPL_EXPORTER_SIZE]);
int32_t __wrap_hvri_tls_exporter(struct hvri_tls_session *session,
				 uint8_t out[HVREPL_EXPORTER_SIZE]);

int32_t __wrap_hvri_tls_receive(struct hvri_tls_session *session, void *buffer,
				size_t length, size_t *received_out)
{
	size_t part = length < heard.left ? length : heard.left;

	if (session != &under_test)
		return __real_hvri_tls_receive(session, buffer, length,
					       received_out);
	if (heard.left == 0) {
		*received_out = 0;
		session->want = HVREPL_LOOP_READ;
		return heard.ends ? HVREPL_OK : HVREPL_PENDING;
	}
	if (heard.now == 0) {
		heard.now = heard.piece;
		session->want = HVREPL_LOOP_READ;
		return HVREPL_PENDING;
	}
	part = part < heard.now ? part : heard.now;
	memcpy(buffer, heard.at, part);
	heard.at += part;
	heard.left -= part;
	heard.now -= part;
	*received_out = part;
	return HVREPL_OK;
}

int32_t __wrap_hvri_tls_send(struct hvri_tls_session *session,
			     struct hvri_tls_out *out, size_t budget)
{
	if (session != &under_test)
		return __real_hvri_tls_send(session, out, budget);
	for (;;) {
		if (session->record_length == 0)
			hvri_tls_gather(session, out);
		if (session->record_length == 0)
			return HVREPL_OK;
		fuzz_must(said_length + session->record_length <= SAID_MAX,
			  "a proof that says without end");
		memcpy(said + said_length, session->record,
		       session->record_length);
		said_length += session->record_length;
		session->record_length = 0;
	}
}

int32_t __wrap_hvri_tls_exporter(struct hvri_tls_session *session,
				 uint8_t out[HVREPL_EXPORTER_SIZE])
{
	if (session != &under_test)
		return __real_hvri_tls_exporter(session, out);
	memset(out, 7, HVREPL_EXPORTER_SIZE);
	return HVREPL_OK;
}

static struct psk east = { .name = "east", .key = { 0x4b, 1, 2 } };
static struct psk west = { .name = "west", .key = { 0x4b, 1, 2 } };

static hvrepl_tls *credentials(struct psk *psk)
{
	struct hvrepl_authenticator_options options =
		psk_options(&psk_ops, psk, "psk-1");
	hvrepl_tls *tls = NULL;

	fuzz_must(hvrepl_authenticator_create(&options, &tls, NULL) ==
			  HVREPL_OK,
		  "credentials");
	return tls;
}

static void no_wake(void *user)
{
	(void)user;
}

static struct hvri_proof *begin(bool server, uint8_t piece)
{
	static hvrepl_tls *of_east, *of_west; /* Made once, kept to the end. */
	struct hvri_proof *proof = NULL;

	if (of_east == NULL) {
		of_east = credentials(&east);
		of_west = credentials(&west);
	}
	memset(&under_test, 0, sizeof(under_test));
	memset(&heard, 0, sizeof(heard));
	said_length = 0;
	heard.piece = piece == 0 ? SIZE_MAX : piece;
	under_test.server = server;
	if (!server)
		strcpy(under_test.expected, "west");
	fuzz_must(hvri_proof_create(&under_test, server ? of_west : of_east,
				    NULL, no_wake, NULL, &proof) == HVREPL_OK,
		  "no memory");
	return proof;
}

static void hear(const uint8_t *bytes, size_t length, bool ends)
{
	heard.at = bytes;
	heard.left = length;
	heard.ends = ends;
}

static uint64_t header_of(const uint8_t *at)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < HVRI_PROOF_HEADER; i++)
		value |= (uint64_t)at[i] << (8 * i);
	return value;
}

/* ---- Somebody who has not the key. ---- */

static void stranger(bool server, uint8_t piece, const uint8_t *bytes,
		     size_t length)
{
	static const uint8_t none[HVREPL_EXPORTER_SIZE];
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvri_proof *proof = begin(server, piece);
	int32_t rc = HVREPL_PENDING;
	size_t at = 0;

	hear(bytes, length, true);
	for (unsigned i = 0; rc == HVREPL_PENDING && i < TURNS; i++)
		rc = hvri_proof_step(proof, &error);
	fuzz_must(rc < 0, "who has not the key is proved, or waited for");
	fuzz_must(error.code == rc && error.sentence[0] != 0,
		  "it failed without a sentence");
	fuzz_must(under_test.peer[0] == 0 && hvri_proof_count(proof) == 0 &&
			  memcmp(hvri_proof_exporter(proof), none,
				 sizeof(none)) == 0,
		  "something is left of a proof that failed");
	while (at < said_length) {
		uint64_t header = header_of(said + at);

		fuzz_must(header >> 56 == HVRI_PROOF_TOKEN ||
				  (server && header >> 56 == HVRI_PROOF_REFUSED),
			  "a stranger hears more than tokens and a refusal");
		at += HVRI_PROOF_HEADER + (header & ((1ull << 56) - 1));
	}
	fuzz_must(at == said_length, "half a frame was said");
	hvri_proof_free(proof);
	fuzz_must(east.begun == east.ended && west.begun == west.ended,
		  "a proof has no end");
}

/* ---- A peer that is proved, and then says what it likes. ---- */

static uint8_t to_server[SAID_MAX];

static size_t put_frame(uint8_t *out, uint32_t kind, const void *bytes,
			size_t length)
{
	for (unsigned i = 0; i < HVRI_PROOF_HEADER - 1; i++)
		out[i] = (uint8_t)((uint64_t)length >> (8 * i));
	out[HVRI_PROOF_HEADER - 1] = (uint8_t)kind;
	memcpy(out + HVRI_PROOF_HEADER, bytes, length);
	return HVRI_PROOF_HEADER + length;
}

/* The client's two tokens, and what the server has to say to each. `turn` lets it
 * work on what it hears. */
static void prove(struct hvri_proof *proof,
		  void (*turn)(struct hvri_proof *proof))
{
	struct hvrepl_proof_begin call = { .struct_size = sizeof(call),
					   .initiator = 1,
					   .peer = "west" };
	static uint8_t room[HVREPL_PROOF_TOKEN_MAX];
	struct hvrepl_proof_step step = { .token = room };
	const uint8_t *token = NULL;
	void *ours = NULL;
	size_t length = 0, from;
	int32_t rc;

	memset(call.binding, 7, sizeof(call.binding));
	fuzz_must(psk_begin(&east, &call, &ours, &step) == HVREPL_OK, "psk");
	do {
		step = (struct hvrepl_proof_step){ .token = room };
		rc = psk_step(&east, ours, token, length, &step);
		fuzz_must(rc >= 0, "the server's token is not good");
		from = said_length;
		hear(to_server, put_frame(to_server, HVRI_PROOF_TOKEN, room,
					  step.token_length),
		     false);
		turn(proof);
		fuzz_must(heard.left == 0 && said_length > from, "no answer");
		token = said + from + HVRI_PROOF_HEADER;
		length = said_length - from - HVRI_PROOF_HEADER;
	} while (rc == HVREPL_PENDING);
	fuzz_must(said[from + HVRI_PROOF_HEADER - 1] == HVRI_PROOF_ACCEPTED,
		  "it does not say that all is well");
	psk_end(&east, ours);
}

static void first_turn(struct hvri_proof *proof)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	for (unsigned i = 0; i < TURNS; i++)
		if (hvri_proof_step(proof, &error) != HVREPL_PENDING ||
		    (heard.left == 0 && said_length > 0))
			return;
}

static uint8_t got[FUZZ_BYTES_MAX * 2], sent[FUZZ_BYTES_MAX * 2];
static size_t got_length, sent_length;
static int32_t ended; /* Of receiving; OK: it goes on. */

static void data_turn(struct hvri_proof *proof)
{
	for (unsigned i = 0; ended == HVREPL_OK && i < TURNS; i++) {
		size_t piece = 0;
		int32_t rc = hvri_proof_pump(proof);

		if (rc >= 0)
			rc = hvri_proof_receive(proof, got + got_length,
						sizeof(got) - got_length,
						&piece);
		if (rc == HVREPL_OK)
			got_length += piece;
		if (rc < 0)
			ended = rc;
		if (rc == HVREPL_PENDING && heard.left == 0)
			rc = hvri_proof_pump(proof) < 0 ? rc : HVREPL_OK;
		if (heard.left == 0 && piece == 0)
			return;
	}
}

static void check_stream(bool whole)
{
	size_t common = got_length < sent_length ? got_length : sent_length;

	fuzz_must(memcmp(got, sent, common) == 0, "content was changed");
	fuzz_must(whole ? got_length == sent_length :
			  got_length >= sent_length || ended < 0,
		  "content was lost, or made up");
}

static void say_data(struct hvri_proof *proof, struct fuzz_in *in)
{
	size_t length = 1 + fuzz_u8(in);
	const uint8_t *bytes = fuzz_take(in, &length);

	if (length == 0 || sent_length + length > FUZZ_BYTES_MAX)
		return;
	memcpy(sent + sent_length, bytes, length);
	sent_length += length;
	hear(to_server, put_frame(to_server, HVRI_PROOF_DATA, bytes, length),
	     false);
	data_turn(proof);
}

/* As it is, and nothing behind it. */
static void say_raw(struct hvri_proof *proof, struct fuzz_in *in)
{
	uint64_t count = hvri_proof_count(proof);
	size_t length = in->left;
	const uint8_t *bytes = fuzz_take(in, &length);

	hear(bytes, length, true);
	data_turn(proof);
	check_stream(false);
	fuzz_must(hvri_proof_count(proof) == count,
		  "who has not the key is proved again");
	fuzz_must(strcmp(under_test.peer, "east") == 0,
		  "it became somebody else");
}

static void proved(uint8_t piece, struct fuzz_in *in)
{
	struct hvri_proof *proof = begin(true, piece);
	uint8_t exporter[HVREPL_EXPORTER_SIZE];
	unsigned again = 0;
	bool raw = false;

	got_length = sent_length = 0;
	ended = HVREPL_OK;
	prove(proof, first_turn);
	fuzz_must(hvri_proof_count(proof) == 1 &&
			  strcmp(under_test.peer, "east") == 0,
		  "who has the key is not proved");
	memcpy(exporter, hvri_proof_exporter(proof), sizeof(exporter));
	while (in->left > 0 && !raw) {
		switch (fuzz_u8(in) % 4) {
		case 0:
		case 1:
			say_data(proof, in);
			break;
		case 2:
			if (again == AGAIN_MAX)
				break;
			again++;
			prove(proof, data_turn);
			break;
		default:
			raw = true;
		}
	}
	check_stream(true);
	fuzz_must(ended == HVREPL_OK && hvri_proof_count(proof) == 1 + again,
		  "a good peer is not served");
	if (raw)
		say_raw(proof, in);
	fuzz_must(memcmp(exporter, hvri_proof_exporter(proof),
			 sizeof(exporter)) == 0,
		  "the session is bound to something else");
	hvri_proof_free(proof);
	fuzz_must(east.begun == east.ended && west.begun == west.ended,
		  "a proof has no end");
}

static void one(const uint8_t *bytes, size_t length)
{
	struct fuzz_in in = { bytes, length };
	uint8_t what = fuzz_u8(&in), piece = fuzz_u8(&in);

	if (what % 4 < 2)
		stranger(what % 4 == 0, piece, in.at, in.left);
	else
		proved(piece, &in);
}

static void seeds(void)
{
	uint8_t bytes[2 + 8 + 4 * (HVRI_PROOF_HEADER + PSK_SECOND)];
	const uint8_t zeroes[PSK_SECOND] = { 0 };
	size_t at;

	for (uint8_t what = 0; what < 2; what++) {
		bytes[0] = what;
		bytes[1] = 5;
		/* Tokens of the right size that are nobody's. */
		at = 2 + put_frame(bytes + 2, HVRI_PROOF_TOKEN, zeroes,
				   what == 0 ? PSK_FIRST : PSK_SECOND);
		at += put_frame(bytes + at, HVRI_PROOF_TOKEN, zeroes, PSK_MAC);
		fuzz_seed(bytes, at);
		at = 2 + put_frame(bytes + 2, HVRI_PROOF_REFUSED, "\x09\0\0\0",
				   4);
		fuzz_seed(bytes, at);
		at = 2 + put_frame(bytes + 2, HVRI_PROOF_ACCEPTED, zeroes, 4);
		fuzz_seed(bytes, at);
		at = 2 + put_frame(bytes + 2, HVRI_PROOF_DATA, "abc", 3);
		fuzz_seed(bytes, at);
	}
	memcpy(bytes, "\x02\x00\x00\x02xyz\x02\x01\x01qw\x03", 12);
	at = 12 + put_frame(bytes + 12, HVRI_PROOF_DATA, "abc", 3);
	at += put_frame(bytes + at, HVRI_PROOF_TOKEN, zeroes, PSK_FIRST);
	at += put_frame(bytes + at, HVRI_PROOF_TOKEN, zeroes, PSK_MAC);
	fuzz_seed(bytes, at);
}

extern const struct fuzz_target fuzz_proof;
const struct fuzz_target fuzz_proof = { "proof", one, seeds, NULL };
