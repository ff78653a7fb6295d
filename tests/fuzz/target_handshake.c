/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One production link against an adversary at the other end of its channel.
 * The link comes up if and only if it heard a HELLO of a version it speaks,
 * from another node, and then the binder over exactly the two HELLOs that were
 * said, under the channel's exporter value; nothing reaches its owner before.
 */
#include "fuzz.h"

#include "linkrig.h"

#include <stdlib.h>

enum step {
	STEP_HELLO,	 /* A good one. */
	STEP_ODD_HELLO,	 /* Bytes from the input over a good one. */
	STEP_REFLECT,	 /* What the link said, back. */
	STEP_BINDER,	 /* Right for what was said. */
	STEP_ODD_BINDER, /* Changed in one byte, or short. */
	STEP_OWN_BINDER, /* The link's own role. */
	STEP_BYE,
	STEP_FRAME, /* Any type, any payload, in form. */
	STEP_BYTES, /* Not even a frame. */
	STEP_TIME,
	STEP_END,
	STEP_COUNT
};

#define HEAD HVRI_FRAME_HEADER_SIZE

struct sending {
	struct hvrepl_op op;
	struct hvrepl_iovec iov;
};

static struct sending sending;
static uint8_t heard[1 << 16]; /* What the link says, from the start. */
static uint8_t said[HVRI_HELLO_SIZE]; /* The adversary's HELLO. */
/* What the link must make of it. */
static bool hello_heard, bound, refused, over;

static void nothing(struct hvrepl_op *op, int32_t result)
{
	(void)op, (void)result;
}

static void say(const uint8_t *bytes, size_t length)
{
	uint8_t *copy = malloc(length > 0 ? length : 1);

	fuzz_must(copy != NULL, "no memory");
	memcpy(copy, bytes, length);
	sending.op.complete = nothing;
	sending.iov = (struct hvrepl_iovec){ copy, length };
	if (length > 0)
		(void)!ends[1].ops->send(ends[1].user, &sending.op,
					 &sending.iov, 1);
	run();
	free(copy);
}

static void say_frame(uint8_t type, const uint8_t *payload, size_t length)
{
	uint8_t *bytes = malloc(HEAD + length);
	struct hvri_frame frame = { .type = type, .length = (uint32_t)length };

	fuzz_must(bytes != NULL, "no memory");
	if (length > 0)
		memcpy(bytes + HEAD, payload, length);
	hvri_frame_encode(&frame, payload, bytes);
	/* The model: what the link may make of it. */
	if (!over && !a.up && !bound)
		refused |= type == 0 || type > HVRI_FRAME_BYE ||
			   length > HVRI_FRAME_EARLY_MAX;
	say(bytes, HEAD + length);
	free(bytes);
}

static void say_hello(const uint8_t *payload, size_t length)
{
	struct hvri_hello hello;

	if (!over && !refused && !bound) {
		if (!hello_heard &&
		    hvri_hello_decode(payload, length, &hello) == HVREPL_OK &&
		    memcmp(hello.node.bytes, a.link.mine.node.bytes, 16) != 0) {
			hello_heard = true;
			memcpy(said, payload, sizeof(said));
		} else {
			refused = true;
		}
	} else if (bound) {
		refused = true; /* But it was up. */
	}
	say_frame(HVRI_FRAME_HELLO, payload, length);
}

static void say_binder(const uint8_t *payload, size_t length, bool right)
{
	if (!over && !refused && !bound) {
		if (hello_heard && right)
			bound = true;
		else
			refused = true;
	} else if (bound) {
		refused = true;
	}
	say_frame(HVRI_FRAME_BINDER, payload, length);
}

static void listen(void)
{
	struct sending waiting = { .op.complete = nothing };
	size_t length = 0;

	(void)!ends[1].ops->receive(ends[1].user, &waiting.op, heard,
				    sizeof(heard), &length);
	run();
	fuzz_must(length >= HEAD + HVRI_HELLO_SIZE &&
			  heard[3] == HVRI_FRAME_HELLO,
		  "the link does not begin with HELLO");
}

static void step(struct fuzz_in *in)
{
	static const uint8_t exporter[32] = {
		0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a,
		0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a,
		0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a,
		0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a,
	};
	struct hvri_hello hello = { .version_min = 1, .version_max = 1,
				    .incarnation = 9, .site = "fuzz" };
	uint8_t bytes[HVRI_HELLO_SIZE], binder[32], right[32];
	const uint8_t *mine = heard + HEAD, *taken;
	uint8_t what = fuzz_u8(in) % STEP_COUNT;
	size_t length;

	hello.node.bytes[0] = 9;
	hvri_hello_encode(&hello, bytes);
	switch (what) {
	case STEP_HELLO:
		say_hello(bytes, sizeof(bytes));
		break;
	case STEP_ODD_HELLO:
		for (unsigned n = fuzz_u8(in) % 8; n-- > 0;)
			bytes[fuzz_u8(in) % sizeof(bytes)] = fuzz_u8(in);
		say_hello(bytes, fuzz_u8(in) < 240 ? sizeof(bytes) :
						     fuzz_u8(in) % 160);
		break;
	case STEP_REFLECT:
		say_hello(mine, HVRI_HELLO_SIZE);
		break;
	case STEP_BINDER:
	case STEP_ODD_BINDER:
	case STEP_OWN_BINDER:
		fuzz_must(hvri_binder(exporter, a.link.initiator ?
						what == STEP_OWN_BINDER :
						what != STEP_OWN_BINDER,
				      a.link.initiator ? mine : said,
				      a.link.initiator ? said : mine,
				      binder) == HVREPL_OK,
			  "no binder");
		memcpy(right, binder, sizeof(right));
		length = sizeof(binder);
		if (what == STEP_ODD_BINDER) {
			binder[fuzz_u8(in) % 32] ^= fuzz_u8(in);
			length -= fuzz_u8(in) % 4 == 0 ? fuzz_u8(in) % 33 : 0;
		}
		say_binder(binder, length,
			   what != STEP_OWN_BINDER && length == sizeof(right) &&
				   memcmp(binder, right, sizeof(right)) == 0);
		break;
	case STEP_BYE:
		over = true;
		say_frame(HVRI_FRAME_BYE, in->at, HVRI_MIN(in->left, 8u));
		break;
	case STEP_FRAME:
		what = fuzz_u8(in);
		length = fuzz_u16(in);
		taken = fuzz_take(in, &length);
		if (what == HVRI_FRAME_HELLO)
			say_hello(taken, length);
		else if (what == HVRI_FRAME_BINDER)
			say_binder(taken, length, false);
		else if (what == HVRI_FRAME_BYE)
			over = true, say_frame(what, taken, length);
		else
			say_frame(what, taken, length);
		break;
	case STEP_BYTES:
		length = fuzz_u8(in);
		taken = fuzz_take(in, &length);
		/* What follows is no longer in step with the frames. */
		over |= length > 0;
		say(taken, length);
		break;
	case STEP_TIME:
		pass((uint64_t)fuzz_u8(in) * SECOND / 8);
		/* Of the handshake only; a link that is up is kept. */
		refused |= !bound && a.closed;
		break;
	default:
		ends[1].ops->close(ends[1].user);
		over = true;
		run();
		break;
	}
}

static void one(const uint8_t *bytes, size_t length)
{
	struct fuzz_in in = { bytes, length };
	bool initiator = fuzz_u8(&in) % 2 == 0;
	struct hvri_hello hello = { .version_min = HVRI_WIRE_VERSION,
				    .version_max = HVRI_WIRE_VERSION,
				    .incarnation = 7 };

	setup();
	hello_heard = bound = refused = over = false;
	memset(hello.node.bytes, 1, sizeof(hello.node));
	memset(said, 0, sizeof(said));
	fuzz_must(hvri_link_start(&a.link, &a.inner, &home, &a.timers, &ends[0],
				  initiator, &hello, &calls) == HVREPL_OK,
		  "the link does not start");
	a.started = true;
	ends[0].release = NULL;
	run();
	listen();
	for (unsigned steps = 0; in.left > 0 && steps < 64; steps++) {
		step(&in);
		fuzz_must(a.up == bound || (over && !a.up),
			  bound ? "a right handshake does not come up" :
				  "a link is up without the right binder");
		fuzz_must(!refused || a.closed,
			  "what must end a link does not end it");
		fuzz_must(a.up || a.heard == 0, "a stranger was heard");
		fuzz_must(a.heard < HEARD_MAX - 16, "more than was said");
		/* Both can only stop. */
		over |= a.closed;
	}
	teardown();
}

static void seeds(void)
{
	static const uint8_t all[][8] = {
		{ 0, STEP_HELLO, STEP_BINDER, STEP_FRAME, 16, 2, 0, 'x' },
		{ 1, STEP_HELLO, STEP_BINDER, STEP_TIME, 255, STEP_BYE },
		{ 0, STEP_REFLECT, STEP_BINDER },
		{ 0, STEP_HELLO, STEP_OWN_BINDER },
		{ 1, STEP_HELLO, STEP_ODD_BINDER, 3, 1, 1 },
		{ 0, STEP_HELLO, STEP_ODD_BINDER, 3, 0, 1 },
		{ 0, STEP_ODD_HELLO, 1, 0, 2, 0, STEP_BINDER },
		{ 0, STEP_BINDER, STEP_HELLO },
		{ 0, STEP_HELLO, STEP_HELLO, STEP_BINDER },
		{ 0, STEP_FRAME, 33, 4, 0, 1, 2, 3 },
		{ 0, STEP_BYTES, 4, 'H', 'V', 1, 1 },
		{ 0, STEP_TIME, 255, STEP_END },
	};

	for (size_t i = 0; i < HVRI_ARRAY_LEN(all); i++)
		fuzz_seed(all[i], sizeof(all[i]));
}

extern const struct fuzz_target fuzz_handshake;
const struct fuzz_target fuzz_handshake = { "handshake", one, seeds, NULL };
