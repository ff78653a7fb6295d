/* SPDX-License-Identifier: Apache-2.0 */
/* A link of two channels in memory, with a window, delay, stalls and cuts. */
#include "backend/fileio.h"

#include <hvrepl/backends/memory.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define WINDOW_DEFAULT (1024u * 1024u)
#define PACKET_MAX 65536u

/* Bytes under way. */
struct packet {
	struct packet *next; /* Sent later. */
	uint64_t due_ns;
	size_t length, taken;
	uint8_t bytes[];
};

/* What one end sends and the other receives. */
struct lane {
	struct packet *first, **last;
	uint64_t queued, moved, cut_after;
	bool stalled;

	hvrepl_op *send_op; /* NULL: none under way. */
	const struct hvrepl_iovec *iov;
	uint32_t iov_count;
	size_t skip; /* Bytes of iov[0] already queued. */

	hvrepl_op *receive_op;
	uint8_t *buffer;
	size_t room;
	size_t *received_out;
};

struct end {
	hvrepl_memory_pair *pair;
	uint32_t index;
	bool closed;
	char name[HVREPL_PEER_NAME_MAX + 1]; /* Its own. */
};

struct hvrepl_memory_pair {
	pthread_mutex_t mutex;
	uint32_t references; /* Two ends and, if asked for, the handle. */
	struct hvrepl_memory_pair_options options;
	uint64_t now_ns;
	bool cut;
	struct end ends[2];
	struct lane lanes[2]; /* Of what end 0, end 1 send. */
};

/* Operations that ended under the lock, to be completed outside it. */
struct ended {
	hvrepl_op *ops[4];
	int32_t results[4];
	unsigned count;
};

static void end_op(struct ended *ended, hvrepl_op **op, int32_t result)
{
	if (*op == NULL)
		return;
	ended->ops[ended->count] = *op;
	ended->results[ended->count++] = result;
	*op = NULL;
}

/* The result of `mine` if it is among them, else PENDING; completes the
 * others. Called without the lock. */
static int32_t complete(struct ended *ended, hvrepl_op *mine)
{
	int32_t result = HVREPL_PENDING;

	for (unsigned i = 0; i < ended->count; i++)
		if (ended->ops[i] == mine)
			result = ended->results[i];
		else
			hvrepl_op_complete(ended->ops[i], ended->results[i]);
	return result;
}

static void drop_packets(struct lane *lane)
{
	while (lane->first != NULL) {
		struct packet *gone = lane->first;

		lane->first = gone->next;
		free(gone);
	}
	lane->last = &lane->first;
	lane->queued = 0;
}

/* Everything under way fails; the reason depends on who looks. */
static void break_link(hvrepl_memory_pair *pair, struct ended *ended)
{
	pair->cut = true;
	for (unsigned i = 0; i < 2; i++) {
		struct lane *lane = &pair->lanes[i];

		drop_packets(lane);
		end_op(ended, &lane->send_op, HVREPL_E_DISCONNECTED);
		end_op(ended, &lane->receive_op, HVREPL_E_DISCONNECTED);
	}
}

static size_t gather(struct lane *lane, uint8_t *to, size_t room)
{
	size_t done = 0;

	while (done < room && lane->iov_count > 0) {
		size_t left = lane->iov->length - lane->skip;
		size_t piece = left < room - done ? left : room - done;

		if (piece > 0)
			memcpy(to + done,
			       (uint8_t *)lane->iov->base + lane->skip, piece);
		done += piece;
		lane->skip += piece;
		if (lane->skip == lane->iov->length) {
			lane->iov++, lane->iov_count--;
			lane->skip = 0;
		}
	}
	return done;
}

static size_t bytes_to_send(const struct lane *lane, size_t max)
{
	size_t total = 0;

	for (uint32_t i = 0; i < lane->iov_count && total < max; i++)
		total += lane->iov[i].length - (i == 0 ? lane->skip : 0);
	return total < max ? total : max;
}

static bool take_from_sender(hvrepl_memory_pair *pair, struct lane *lane,
			     struct ended *ended)
{
	uint64_t window = pair->options.window - lane->queued;
	struct packet *packet;
	size_t length;

	if (lane->send_op == NULL || lane->queued >= pair->options.window)
		return false;
	length = bytes_to_send(lane, window < PACKET_MAX ? (size_t)window :
							   PACKET_MAX);
	if (length > 0) {
		packet = malloc(sizeof(*packet) + length);
		if (packet == NULL) {
			end_op(ended, &lane->send_op, HVREPL_E_NOMEM);
			break_link(pair, ended);
			return false;
		}
		packet->next = NULL;
		packet->due_ns = pair->now_ns + pair->options.delay_ns;
		packet->length = gather(lane, packet->bytes, length);
		packet->taken = 0;
		*lane->last = packet;
		lane->last = &packet->next;
		lane->queued += length;
	}
	if (bytes_to_send(lane, 1) == 0)
		end_op(ended, &lane->send_op, HVREPL_OK);
	return true;
}

static bool give_to_receiver(hvrepl_memory_pair *pair, struct lane *lane,
			     struct ended *ended)
{
	struct packet *packet = lane->first;
	size_t room = lane->room, done = 0;

	if (lane->receive_op == NULL || lane->stalled)
		return false;
	if (pair->options.receive_max != 0 && room > pair->options.receive_max)
		room = (size_t)pair->options.receive_max;
	if (room > lane->cut_after)
		room = (size_t)lane->cut_after;
	while (packet != NULL && packet->due_ns <= pair->now_ns && done < room) {
		size_t left = packet->length - packet->taken;
		size_t piece = left < room - done ? left : room - done;

		memcpy(lane->buffer + done, packet->bytes + packet->taken,
		       piece);
		done += piece;
		packet->taken += piece;
		if (packet->taken < packet->length)
			break;
		lane->first = packet->next;
		if (lane->first == NULL)
			lane->last = &lane->first;
		free(packet);
		packet = lane->first;
	}
	if (done == 0)
		return false;
	lane->queued -= done;
	lane->moved += done;
	if (lane->cut_after != UINT64_MAX)
		lane->cut_after -= done;
	*lane->received_out = done;
	end_op(ended, &lane->receive_op, HVREPL_OK);
	return true;
}

/* Move what can be moved now, in an order that only the calls decide. */
static void pump(hvrepl_memory_pair *pair, struct ended *ended)
{
	for (unsigned i = 0; i < 2 && !pair->cut; i++) {
		struct lane *lane = &pair->lanes[i];
		bool moved;

		do {
			moved = take_from_sender(pair, lane, ended);
			if (pair->cut)
				return;
			moved |= give_to_receiver(pair, lane, ended);
		} while (moved && lane->cut_after > 0);
		/* The peer has closed and everything of it has arrived. */
		if (lane->receive_op != NULL && pair->ends[i].closed &&
		    lane->first == NULL && !lane->stalled) {
			*lane->received_out = 0;
			end_op(ended, &lane->receive_op, HVREPL_OK);
		}
		if (lane->cut_after == 0)
			break_link(pair, ended);
	}
}

static int32_t end_info(void *user, struct hvrepl_channel_info *out)
{
	struct end *end = user;

	out->mechanism = HVREPL_MECHANISM_MEMORY;
	strcpy(out->peer, end->pair->ends[1 - end->index].name);
	memcpy(out->exporter, end->pair->options.exporter,
	       sizeof(out->exporter));
	return HVREPL_OK;
}

static int32_t end_send(void *user, hvrepl_op *op,
			const struct hvrepl_iovec *iov, uint32_t iov_count)
{
	struct end *end = user;
	hvrepl_memory_pair *pair = end->pair;
	struct lane *lane = &pair->lanes[end->index];
	struct ended ended = { .count = 0 };
	int32_t rc = HVREPL_OK;

	pthread_mutex_lock(&pair->mutex);
	if (end->closed) {
		rc = HVREPL_E_CLOSED;
	} else if (pair->cut || pair->ends[1 - end->index].closed) {
		rc = HVREPL_E_DISCONNECTED;
	} else if (lane->send_op != NULL) {
		rc = HVREPL_E_STATE;
	} else {
		lane->send_op = op;
		lane->iov = iov;
		lane->iov_count = iov_count;
		lane->skip = 0;
		pump(pair, &ended);
	}
	pthread_mutex_unlock(&pair->mutex);
	return rc < 0 ? rc : complete(&ended, op);
}

static int32_t end_receive(void *user, hvrepl_op *op, void *buffer,
			   size_t length, size_t *received_out)
{
	struct end *end = user;
	hvrepl_memory_pair *pair = end->pair;
	struct lane *lane = &pair->lanes[1 - end->index];
	struct ended ended = { .count = 0 };
	int32_t rc = HVREPL_OK;

	pthread_mutex_lock(&pair->mutex);
	if (end->closed) {
		rc = HVREPL_E_CLOSED;
	} else if (pair->cut) {
		rc = HVREPL_E_DISCONNECTED;
	} else if (lane->receive_op != NULL || length == 0) {
		rc = HVREPL_E_STATE;
	} else {
		lane->receive_op = op;
		lane->buffer = buffer;
		lane->room = length;
		lane->received_out = received_out;
		pump(pair, &ended);
	}
	pthread_mutex_unlock(&pair->mutex);
	return rc < 0 ? rc : complete(&ended, op);
}

static void end_close(void *user)
{
	struct end *end = user;
	hvrepl_memory_pair *pair = end->pair;
	struct ended ended = { .count = 0 };

	pthread_mutex_lock(&pair->mutex);
	if (!end->closed) {
		struct lane *out = &pair->lanes[end->index];
		struct lane *in = &pair->lanes[1 - end->index];

		end->closed = true;
		end_op(&ended, &out->send_op, HVREPL_E_CLOSED);
		end_op(&ended, &in->receive_op, HVREPL_E_CLOSED);
		drop_packets(in);
		end_op(&ended, &in->send_op, HVREPL_E_DISCONNECTED);
		pump(pair, &ended);
	}
	pthread_mutex_unlock(&pair->mutex);
	(void)complete(&ended, NULL);
}

static void drop_reference(hvrepl_memory_pair *pair)
{
	uint32_t left;

	pthread_mutex_lock(&pair->mutex);
	left = --pair->references;
	pthread_mutex_unlock(&pair->mutex);
	if (left > 0)
		return;
	for (unsigned i = 0; i < 2; i++)
		drop_packets(&pair->lanes[i]);
	pthread_mutex_destroy(&pair->mutex);
	free(pair);
}

static void end_release(void *user)
{
	struct end *end = user;

	end_close(end);
	drop_reference(end->pair);
}

static const struct hvrepl_channel_ops end_ops = {
	.struct_size = sizeof(end_ops),
	.info = end_info,
	.send = end_send,
	.receive = end_receive,
	.close = end_close,
};

static bool name_fits(const char *name)
{
	return name != NULL && name[0] != 0 &&
	       strlen(name) <= HVREPL_PEER_NAME_MAX;
}

int32_t
hvrepl_memory_pair_create(const struct hvrepl_memory_pair_options *options,
			  struct hvrepl_channel ends_out[2],
			  hvrepl_memory_pair **pair_out)
{
	static const uint8_t none[HVREPL_EXPORTER_SIZE];
	hvrepl_memory_pair *pair;

	if (options == NULL || options->struct_size != sizeof(*options) ||
	    options->reserved != 0 || ends_out == NULL ||
	    !name_fits(options->names[0]) || !name_fits(options->names[1]))
		return HVREPL_E_INVALID;
	pair = calloc(1, sizeof(*pair));
	if (pair == NULL)
		return HVREPL_E_NOMEM;
	pair->options = *options;
	if (pair->options.window == 0)
		pair->options.window = WINDOW_DEFAULT;
	if (memcmp(options->exporter, none, sizeof(none)) == 0 &&
	    getrandom(pair->options.exporter, sizeof(none), 0) !=
		    (ssize_t)sizeof(none)) {
		free(pair);
		return HVREPL_E_UNAVAILABLE;
	}
	pthread_mutex_init(&pair->mutex, NULL);
	pair->references = pair_out != NULL ? 3 : 2;
	for (uint32_t i = 0; i < 2; i++) {
		pair->ends[i].pair = pair;
		pair->ends[i].index = i;
		strcpy(pair->ends[i].name, options->names[i]);
		pair->lanes[i].last = &pair->lanes[i].first;
		pair->lanes[i].cut_after = UINT64_MAX;
		ends_out[i].ops = &end_ops;
		ends_out[i].user = &pair->ends[i];
		ends_out[i].release = end_release;
	}
	if (pair_out != NULL)
		*pair_out = pair;
	return HVREPL_OK;
}

uint64_t hvrepl_memory_pair_advance(hvrepl_memory_pair *pair, uint64_t now_ns)
{
	struct ended ended = { .count = 0 };
	uint64_t next = UINT64_MAX;

	pthread_mutex_lock(&pair->mutex);
	if (now_ns > pair->now_ns)
		pair->now_ns = now_ns;
	pump(pair, &ended);
	for (unsigned i = 0; i < 2; i++) {
		const struct lane *lane = &pair->lanes[i];

		if (lane->first != NULL && !lane->stalled &&
		    lane->first->due_ns > pair->now_ns &&
		    lane->first->due_ns < next)
			next = lane->first->due_ns;
	}
	pthread_mutex_unlock(&pair->mutex);
	(void)complete(&ended, NULL);
	return next;
}

void hvrepl_memory_pair_stall(hvrepl_memory_pair *pair, uint32_t from,
			      uint32_t stalled)
{
	struct ended ended = { .count = 0 };

	pthread_mutex_lock(&pair->mutex);
	pair->lanes[from & 1].stalled = stalled != 0;
	pump(pair, &ended);
	pthread_mutex_unlock(&pair->mutex);
	(void)complete(&ended, NULL);
}

void hvrepl_memory_pair_cut(hvrepl_memory_pair *pair)
{
	struct ended ended = { .count = 0 };

	pthread_mutex_lock(&pair->mutex);
	break_link(pair, &ended);
	pthread_mutex_unlock(&pair->mutex);
	(void)complete(&ended, NULL);
}

void hvrepl_memory_pair_cut_after(hvrepl_memory_pair *pair, uint32_t from,
				  uint64_t bytes)
{
	struct ended ended = { .count = 0 };

	pthread_mutex_lock(&pair->mutex);
	pair->lanes[from & 1].cut_after = bytes;
	pump(pair, &ended);
	pthread_mutex_unlock(&pair->mutex);
	(void)complete(&ended, NULL);
}

uint64_t hvrepl_memory_pair_moved(hvrepl_memory_pair *pair, uint32_t from)
{
	uint64_t moved;

	pthread_mutex_lock(&pair->mutex);
	moved = pair->lanes[from & 1].moved;
	pthread_mutex_unlock(&pair->mutex);
	return moved;
}

void hvrepl_memory_pair_free(hvrepl_memory_pair *pair)
{
	if (pair != NULL)
		drop_reference(pair);
}
