/* SPDX-License-Identifier: Apache-2.0 */
/* Somebody who can reach the port: he has recorded connections, knows names,
 * and speaks whatever he likes. He never gets further than HELLO. */
#include "story.h"

#include <stdlib.h>

#define TAPE (48u << 10)
#define HEARD 4096u

/* The first bytes of what each site was told, over all connections. */
static struct {
	uint8_t bytes[TAPE];
	size_t length;
} tapes[2];
static uint8_t heard[HEARD];
static size_t heard_length;
static bool listening;
static bool relaying; /* What is said to a stranger goes on to the other site. */
static uint8_t scratch[TAPE];

/* Each send starts a frame. */
static void show_frames(const struct pair_site *to, const uint8_t *bytes,
			size_t length)
{
	size_t at = 0;

	while (at + 32 <= length) {
		uint32_t of_payload;

		memcpy(&of_payload, bytes + at + 4, 4);
		if (bytes[at + 3] == 16 && at + 36 <= length)
			SAY("  to %s: message %u", to->name, bytes[at + 32]);
		else if (bytes[at + 3] != 4 && bytes[at + 3] != 5)
			SAY("  to %s: frame %u", to->name, bytes[at + 3]);
		at += 32 + of_payload;
	}
}

/* Nobody knows anybody by what was relayed: only the handshake is said. */
static void check_relayed(const struct pair_site *from, const uint8_t *bytes,
			  size_t length)
{
	size_t at = 0;

	while (at + 32 <= length) {
		uint32_t of_payload;
		uint8_t type = bytes[at + 3];

		memcpy(&of_payload, bytes + at + 4, 4);
		HOLDS(41, type >= 1 && type <= 3,
		      "%s sent frame %u to who relayed its handshake",
		      from->name, type);
		at += 32 + of_payload;
	}
}

static void tap(struct pair *p, struct pair_site *from, struct pair_site *to,
		const uint8_t *bytes, size_t length)
{
	(void)p;
	if (to == NULL) {
		if (relaying)
			check_relayed(from, bytes, length);
		/* What a node answers a stranger. */
		if (!listening || heard_length + length > HEARD)
			return;
		memcpy(heard + heard_length, bytes, length);
		heard_length += length;
		return;
	}
	if (from == NULL)
		return;
	if (tracing)
		show_frames(to, bytes, length);
	if (tapes[to == &pair.b].length + length <= TAPE) {
		memcpy(tapes[to == &pair.b].bytes + tapes[to == &pair.b].length,
		       bytes, length);
		tapes[to == &pair.b].length += length;
	}
}

void adversary_begin(void)
{
	tapes[0].length = tapes[1].length = 0;
	listening = relaying = false;
	pair.tap = tap;
}

void adversary_end(void)
{
	pair.tap = NULL;
}

/* Frames that a node may send to one it does not know yet. */
static void check_answer(const struct teller *t, bool stranger)
{
	size_t at = 0;

	while (at + 32 <= heard_length) {
		uint32_t length;
		uint8_t type = heard[at + 3];

		memcpy(&length, heard + at + 4, 4);
		HOLDS(41, type >= 1 && type <= 3,
		      "%s sent frame %u to somebody it cannot know (%s)",
		      t->site->name, type, stranger ? "a stranger" : "a replay");
		if (length > 4096)
			break;
		at += 32 + length;
	}
}

void adversary_act(void)
{
	struct teller *t = &tellers[dice(2)];
	unsigned to = t == &tellers[1];
	const char *peer = dice(4) == 0 ? "nobody" : pair_other(t->site)->name;
	size_t length = tapes[to].length, start = 0;
	uint64_t puts, ios;
	bool quiet, no_secret = false;
	struct hvrepl_vm_status s;

	if (t->site->node == NULL || t->site->sim.crashed)
		return;
	switch (dice(6)) {
	case 5: /* A header whose length wraps with what is added to it. */
		length = length < 64 ? length : 64;
		memcpy(scratch, tapes[to].bytes, length);
		if (length == 64)
			memset(scratch + 5, 0xff, 3);
		break;
	case 0: /* Garbage. */
		length = (size_t)dice(3000) + 1;
		test_fill(scratch, length, dice(UINT64_MAX));
		break;
	case 1: /* A recorded stream, from anywhere. */
		start = length > 0 ? (size_t)dice(length) : 0;
		length -= start;
		memcpy(scratch, tapes[to].bytes + start, length);
		break;
	case 2: /* With a byte changed. */
		memcpy(scratch, tapes[to].bytes, length);
		if (length > 0)
			scratch[dice(length < 400 ? length : 400)] ^=
				(uint8_t)(1 + dice(255));
		break;
	case 3: /* A channel that is bound to nothing. */
		memcpy(scratch, tapes[to].bytes, length);
		no_secret = true;
		break;
	default: /* As it was. */
		memcpy(scratch, tapes[to].bytes, length);
	}
	if (length == 0)
		return;
	SAY("a stranger says %zu bytes to %s as %s", length, t->site->name,
	    peer);
	/* A standby without its peer does nothing by itself that is durable. */
	quiet = look(t->site, &s) && s.mode == HVREPL_MODE_REPLICA &&
		s.connected == 0 && s.writable == 0 && s.job == 0 &&
		!pair.link_up;
	puts = t->site->puts;
	ios = t->site->sim.io_count;
	heard_length = 0;
	listening = true;
	pair_intrude(&pair, t->site, peer, no_secret, scratch, length);
	pair_run(&pair, MS);
	listening = false;
	check_answer(t, strcmp(peer, "nobody") == 0);
	PROVE(40);
	HOLDS(42, t->site->env.alloc_bytes < (96u << 20),
	      "a stranger made %s take %zu bytes", t->site->name,
	      t->site->env.alloc_bytes);
	if (quiet && t->site->node != NULL && look(t->site, &s) &&
	    s.connected == 0)
		HOLDS(39, t->site->puts == puts,
		      "%s wrote its state for a stranger (I/O %llu)",
		      t->site->name,
		      (unsigned long long)(t->site->sim.io_count - ios));
}

void adversary_relay(void)
{
	struct teller *from = &tellers[dice(2)];
	struct teller *to = dice(4) == 0 ? from : &tellers[from == &tellers[0]];
	bool both_call = dice(4) == 0, alone = dice(2) == 0;
	/* All of it, or as far as somewhere in the handshake. */
	size_t most = dice(3) == 0 ? (size_t)dice(400) : SIZE_MAX;
	uint64_t delays[2] = { pair.delay_ns[0], pair.delay_ns[1] };
	struct hvrepl_node_status status = HVREPL_NODE_STATUS_INIT;

	for (int i = 0; i < 2; i++)
		if (tellers[i].site->node == NULL ||
		    tellers[i].site->sim.crashed)
			return;
	SAY("somebody relays %s's handshake to %s%s", from->site->name,
	    to->site->name, most == SIZE_MAX ? "" : ", as far as he likes");
	/* Alone: whatever session there is afterwards would be his. */
	alone = alone && pair.link_up;
	if (alone)
		pair_link(&pair, false);
	pass(MS);
	relaying = true;
	pair_relay(&pair, from->site, to->site, both_call, most);
	pass(SECOND);
	for (int i = 0; alone && i < 2; i++)
		if (tellers[i].site->node != NULL &&
		    hvrepl_node_get_status(tellers[i].site->node, &status) ==
			    HVREPL_OK)
			HOLDS(41, status.session_count == 0,
			      "%s has a session with who relayed its handshake",
			      tellers[i].site->name);
	/* He lets go, and what is late is dropped. */
	pass(delays[0] + delays[1] + MS);
	relaying = false;
	if (alone)
		pair_link(&pair, true);
}
