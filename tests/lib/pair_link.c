/* SPDX-License-Identifier: Apache-2.0 */
/* The fake link between two sites, and what comes in from elsewhere; see
 * pair.h. */
#include "pair.h"

#include "simimage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct packet {
	struct packet *next;
	uint64_t at_ns;
	size_t length, taken;
	uint8_t bytes[];
};

struct pair_end {
	struct pair_pipe *pipe;
	struct pair_end *other;
	struct pair_site *site; /* Whose end it is; NULL: an intruder's. */
	const char *peer; /* Who the other side is. */
	/* Of an intruder: what comes here goes on to that end, so many bytes. */
	struct pair_end *onward;
	size_t onward_left;
	bool closed, released;
	struct packet *first, **last; /* On their way to this end. */
	hvrepl_op *op; /* A receive that waits. */
	uint8_t *buffer;
	size_t wanted;
	size_t *received;
};

struct pair_pipe {
	struct pair_pipe *next;
	struct pair *pair;
	struct pair_end ends[2];
	uint32_t secret;
	bool broken;
};

static void *must(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

static int32_t end_info(void *user, struct hvrepl_channel_info *info)
{
	struct pair_end *end = user;

	if (end->site != NULL && test_refuses(end->site->refusals))
		return HVREPL_E_UNAUTHENTICATED;
	info->mechanism = HVREPL_MECHANISM_MEMORY;
	snprintf(info->peer, sizeof(info->peer), "%s", end->peer);
	if (end->other != NULL && end->other->site != NULL) {
		info->peer_from_utc_ns = end->other->site->valid_from;
		info->peer_until_utc_ns = end->other->site->valid_until;
	}
	for (size_t i = 0; i < sizeof(info->exporter); i++)
		info->exporter[i] =
			(uint8_t)(end->pipe->secret >> i % 4 * 8);
	return HVREPL_OK;
}

static unsigned direction_to(const struct pair_end *end)
{
	return end->site == &end->pipe->pair->b;
}

static struct packet *put_packet(struct pair_end *to, size_t length,
				 uint64_t at_ns)
{
	struct packet *packet = must(malloc(sizeof(*packet) + length));

	packet->next = NULL;
	packet->at_ns = at_ns;
	packet->length = length;
	packet->taken = 0;
	*to->last = packet;
	to->last = &packet->next;
	return packet;
}

void pair_deliver(struct pair_end *end, const void *bytes, size_t length)
{
	struct pair *pair = end->pipe->pair;
	struct packet *packet;

	if (length == 0)
		return;
	packet = put_packet(end, length,
			    pair->now_ns + pair->delay_ns[direction_to(end)]);
	memcpy(packet->bytes, bytes, length);
}

struct pair_site *pair_sender(struct pair_end *end)
{
	return end->other->site;
}

/* The link sends one frame at a time; what comes of it is put back. */
static void tamper(struct pair_end *to, const struct packet *packet)
{
	uint8_t *copy = must(malloc(packet->length));

	memcpy(copy, packet->bytes, packet->length);
	to->pipe->pair->tamper(to->pipe->pair, to->site, to, copy,
			       packet->length);
	free(copy);
}

/* Out of the queue again: it was put last. */
static void take_back(struct pair_end *to, struct packet *packet)
{
	struct packet **at = &to->first;

	while (*at != packet)
		at = &(*at)->next;
	*at = NULL;
	to->last = at;
}

static int32_t end_send(void *user, hvrepl_op *op,
			const struct hvrepl_iovec *iov, uint32_t iov_count)
{
	struct pair_end *end = user, *to = end->other;
	struct pair *pair = end->pipe->pair;
	struct packet *packet;
	size_t length = 0, at = 0;
	bool crash = false;

	(void)op;
	if (end->closed || end->pipe->broken ||
	    (end->site != NULL && test_refuses(end->site->refusals)))
		return HVREPL_E_DISCONNECTED;
	if (pair->exact && end->site != NULL &&
	    sim_step(&end->site->sim, true, &crash) < 0)
		return HVREPL_E_DISCONNECTED;
	for (uint32_t i = 0; i < iov_count; i++)
		length += iov[i].length;
	packet = put_packet(to, length,
			    pair->now_ns + pair->delay_ns[direction_to(to)]);
	for (uint32_t i = 0; i < iov_count; i++) {
		memcpy(packet->bytes + at, iov[i].base, iov[i].length);
		at += iov[i].length;
	}
	pair->moved += length;
	if (pair->tap != NULL)
		pair->tap(pair, end->site, to->site, packet->bytes, length);
	if (pair->moved >= pair->flip_at && length > 0 && to->site != NULL) {
		pair->flip_at = UINT64_MAX;
		packet->bytes[pair->moved % length] ^= 0x10;
	}
	if (to->onward != NULL) {
		take_back(to, packet);
		length = length < to->onward_left ? length : to->onward_left;
		to->onward_left -= length;
		if (!to->onward->closed)
			pair_deliver(to->onward, packet->bytes, length);
		free(packet);
	} else if (pair->tamper != NULL && to->site != NULL && length > 0) {
		take_back(to, packet);
		tamper(to, packet);
		free(packet);
	}
	if (pair->moved >= pair->cut_after) {
		pair->cut_after = UINT64_MAX;
		end->pipe->broken = true;
	}
	return crash ? sim_finish(&end->site->sim, true) : HVREPL_OK;
}

static int32_t end_receive(void *user, hvrepl_op *op, void *buffer,
			   size_t length, size_t *received)
{
	struct pair_end *end = user;

	if (end->closed)
		return HVREPL_E_CLOSED;
	if (end->site != NULL && test_refuses(end->site->refusals))
		return HVREPL_E_DISCONNECTED;
	end->op = op;
	end->buffer = buffer;
	end->wanted = length;
	end->received = received;
	return HVREPL_PENDING;
}

static void end_close(void *user)
{
	struct pair_end *end = user;
	hvrepl_op *op = end->op;

	end->closed = true;
	end->op = NULL;
	if (op != NULL)
		hvrepl_op_complete(op, HVREPL_E_CLOSED);
}

static void end_release(void *user)
{
	((struct pair_end *)user)->released = true;
}

static const struct hvrepl_channel_ops end_ops = {
	.struct_size = sizeof(end_ops),
	.info = end_info,
	.send = end_send,
	.receive = end_receive,
	.close = end_close,
};

/* Deliver what is there; true when something moved. */
static bool move_end(struct pair_end *end)
{
	struct pair *pair = end->pipe->pair;
	struct packet *packet = end->first;
	hvrepl_op *op = end->op;
	size_t length = 0;

	if (op == NULL)
		return false;
	if (end->pipe->broken) {
		end->op = NULL;
		hvrepl_op_complete(op, HVREPL_E_DISCONNECTED);
		return true;
	}
	if (pair->stalled[direction_to(end)] && end->other->site != NULL)
		return false;
	if (packet == NULL && !end->other->closed)
		return false;
	if (packet != NULL && packet->at_ns > pair->now_ns)
		return false;
	while (packet != NULL && packet->at_ns <= pair->now_ns &&
	       length < end->wanted &&
	       (pair->piece == 0 || length < pair->piece)) {
		size_t part = packet->length - packet->taken;

		if (part > end->wanted - length)
			part = end->wanted - length;
		if (pair->piece != 0 && part > pair->piece - length)
			part = pair->piece - length;
		if (pair->delivered + length < pair->split_at &&
		    part > pair->split_at - pair->delivered - length)
			part = pair->split_at - pair->delivered - length;
		else if (pair->delivered + length == pair->split_at &&
			 length > 0)
			break;
		memcpy(end->buffer + length, packet->bytes + packet->taken,
		       part);
		length += part;
		packet->taken += part;
		if (packet->taken < packet->length)
			break;
		end->first = packet->next;
		if (end->first == NULL)
			end->last = &end->first;
		free(packet);
		packet = end->first;
	}
	if (length == 0 && !end->other->closed)
		return false;
	pair->deliveries++;
	pair->delivered += length;
	*end->received = length;
	end->op = NULL;
	hvrepl_op_complete(op, HVREPL_OK);
	return true;
}

static struct pair_pipe *pipe_new(struct pair *pair, struct pair_site *from,
				  struct pair_site *to)
{
	struct pair_pipe *pipe = must(calloc(1, sizeof(*pipe)));
	struct pair_site *sites[2] = { from, to };

	pipe->pair = pair;
	pipe->secret = ++pair->secrets;
	for (int i = 0; i < 2; i++) {
		pipe->ends[i].pipe = pipe;
		pipe->ends[i].other = &pipe->ends[1 - i];
		pipe->ends[i].site = sites[i];
		pipe->ends[i].last = &pipe->ends[i].first;
	}
	pipe->next = pair->pipes;
	pair->pipes = pipe;
	return pipe;
}

int32_t pair_connect(void *user)
{
	struct pair_site *from = user;
	struct pair *pair = from->pair;
	struct pair_site *to = pair_other(from);
	struct pair_pipe *pipe;

	if (!pair->link_up || to->node == NULL || test_refuses(from->refusals))
		return HVREPL_E_UNAVAILABLE;
	if (pair->secrets == pair->refuse_at && pair->refused++ == 0)
		return HVREPL_E_UNAVAILABLE;
	pipe = pipe_new(pair, from, to);
	pipe->ends[0].peer = to->name;
	pipe->ends[1].peer = from->name;
	(void)!hvrepl_node_connected(
		from->node,
		&(struct hvrepl_channel){ &end_ops, &pipe->ends[0],
					  end_release },
		HVREPL_CHANNEL_INITIATOR);
	(void)!hvrepl_node_connected(
		to->node,
		&(struct hvrepl_channel){ &end_ops, &pipe->ends[1],
					  end_release },
		0);
	return HVREPL_OK;
}

/* A channel of the site's whose other end is an intruder's. */
static struct pair_pipe *pipe_to(struct pair *pair, struct pair_site *site,
				 const char *peer, uint32_t flags)
{
	struct pair_pipe *pipe = pipe_new(pair, NULL, site);

	pipe->ends[0].peer = site->name;
	pipe->ends[0].released = true;
	pipe->ends[1].peer = peer;
	(void)!hvrepl_node_connected(
		site->node,
		&(struct hvrepl_channel){ &end_ops, &pipe->ends[1],
					  end_release },
		flags);
	return pipe;
}

void pair_intrude(struct pair *pair, struct pair_site *to, const char *peer,
		  bool no_secret, const void *bytes, size_t length)
{
	struct pair_pipe *pipe;

	if (to->node == NULL)
		return;
	pipe = pipe_to(pair, to, peer, 0);
	if (no_secret)
		pipe->secret = 0;
	memcpy(put_packet(&pipe->ends[1], length, pair->now_ns)->bytes, bytes,
	       length);
}

void pair_relay(struct pair *pair, struct pair_site *from, struct pair_site *to,
		bool both_call, size_t most)
{
	struct pair_pipe *one, *other;

	if (from->node == NULL || to->node == NULL)
		return;
	one = pipe_to(pair, from, pair_other(from)->name,
		      HVREPL_CHANNEL_INITIATOR);
	other = from == to ? one :
			     pipe_to(pair, to, pair_other(to)->name,
				     both_call ? HVREPL_CHANNEL_INITIATOR : 0);
	one->ends[0].onward = &other->ends[1];
	other->ends[0].onward = &one->ends[1];
	one->ends[0].onward_left = other->ends[0].onward_left = most;
}

/* Nobody passes anything on to it any more. */
static void forget_pipe(struct pair *pair, const struct pair_pipe *gone)
{
	for (struct pair_pipe *p = pair->pipes; p != NULL; p = p->next)
		if (p->ends[0].onward == &gone->ends[1])
			p->ends[0].onward = NULL;
}

bool pair_link_turn(struct pair *pair)
{
	bool busy = false;

	for (struct pair_pipe *p = pair->pipes; p != NULL; p = p->next) {
		busy |= move_end(&p->ends[0]);
		busy |= move_end(&p->ends[1]);
	}
	for (struct pair_pipe **at = &pair->pipes; *at != NULL;) {
		struct pair_pipe *gone = *at;

		if (!gone->ends[0].released || !gone->ends[1].released) {
			at = &gone->next;
			continue;
		}
		*at = gone->next;
		forget_pipe(pair, gone);
		for (int i = 0; i < 2; i++)
			while (gone->ends[i].first != NULL) {
				struct packet *packet = gone->ends[i].first;

				gone->ends[i].first = packet->next;
				free(packet);
			}
		free(gone);
	}
	return busy;
}

uint64_t pair_link_next(const struct pair *pair)
{
	uint64_t next = UINT64_MAX;

	for (const struct pair_pipe *p = pair->pipes; p != NULL; p = p->next)
		for (int i = 0; i < 2; i++) {
			const struct pair_end *end = &p->ends[i];

			if (end->op != NULL && end->first != NULL &&
			    !(pair->stalled[direction_to(end)] &&
			      end->other->site != NULL) &&
			    end->first->at_ns < next)
				next = end->first->at_ns;
		}
	return next;
}

void pair_link_break(struct pair *pair)
{
	for (struct pair_pipe *p = pair->pipes; p != NULL; p = p->next)
		p->broken = true;
}

void pair_link(struct pair *pair, bool up)
{
	pair->link_up = up;
	if (!up)
		pair_link_break(pair);
}
