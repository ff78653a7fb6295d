/* SPDX-License-Identifier: Apache-2.0 */
/* Seeded bytes through the channels of tlsrig.h, compared at the other end. */
#ifndef TLSSTREAM_H
#define TLSSTREAM_H

#include "tlsrig.h"

/* A stream of seeded bytes through one direction of a pair of channels. */
struct stream {
	struct hvrepl_op send_op, receive_op; /* First: found by cast. */
	const struct hvrepl_channel *from, *to;
	uint8_t *bytes, *got;
	size_t total, sent, received, piece, last;
	size_t send_piece, receive_piece;
	struct hvrepl_iovec iov[3];
	int32_t send_rc, receive_rc;
	unsigned pendings;
};

static unsigned streams_open;

static inline void stream_over(void)
{
	if (--streams_open == 0)
		hvrepl_loop_stop(loop);
}

static inline void send_more(struct stream *stream)
{
	while (stream->sent < stream->total && stream->send_rc >= 0) {
		size_t piece = stream->total - stream->sent;
		uint8_t *at = stream->bytes + stream->sent;

		if (piece > stream->send_piece)
			piece = stream->send_piece;
		/* A small head, nothing, the rest: as frames look. */
		stream->iov[0] = (struct hvrepl_iovec){ at, piece / 3 };
		stream->iov[1] = (struct hvrepl_iovec){ at, 0 };
		stream->iov[2] = (struct hvrepl_iovec){ at + piece / 3,
							piece - piece / 3 };
		stream->piece = piece;
		stream->send_rc = stream->from->ops->send(stream->from->user,
							  &stream->send_op,
							  stream->iov, 3);
		if (stream->send_rc == HVREPL_PENDING) {
			stream->pendings++;
			return;
		}
		if (stream->send_rc == HVREPL_OK)
			stream->sent += piece;
	}
}

static inline void sent_one(struct hvrepl_op *op, int32_t result)
{
	struct stream *stream = (struct stream *)op;

	stream->send_rc = result;
	if (result == HVREPL_OK)
		stream->sent += stream->piece;
	send_more(stream);
}

static inline void receive_more(struct stream *stream)
{
	while (stream->received < stream->total) {
		size_t room = stream->total - stream->received;

		if (room > stream->receive_piece)
			room = stream->receive_piece;
		stream->receive_rc = stream->to->ops->receive(
			stream->to->user, &stream->receive_op,
			stream->got + stream->received, room, &stream->last);
		if (stream->receive_rc == HVREPL_PENDING)
			return;
		if (stream->receive_rc < 0 || stream->last == 0)
			break;
		stream->received += stream->last;
	}
	stream_over();
}

static inline void received_one(struct hvrepl_op *op, int32_t result)
{
	struct stream *stream =
		(struct stream *)((char *)op -
				  offsetof(struct stream, receive_op));

	stream->receive_rc = result;
	if (result < 0 || stream->last == 0) {
		stream_over();
		return;
	}
	stream->received += stream->last;
	receive_more(stream);
}

static inline void stream_init(struct stream *stream, const struct side *from,
			const struct side *to, size_t total, size_t send_piece,
			size_t receive_piece)
{
	*stream = (struct stream){
		.send_op.complete = sent_one,
		.receive_op.complete = received_one,
		.from = &from->channel,
		.to = &to->channel,
		.bytes = malloc(total),
		.got = malloc(total),
		.total = total,
		.send_piece = send_piece,
		.receive_piece = receive_piece,
	};
	test_fill(stream->bytes, total, total);
	streams_open++;
}

static inline void stream_check(struct stream *stream)
{
	ck_assert_msg(stream->received == stream->total &&
			      stream->sent == stream->total,
		      "sent %zu (%s), received %zu (%s) of %zu", stream->sent,
		      hvrepl_error_name(stream->send_rc), stream->received,
		      hvrepl_error_name(stream->receive_rc), stream->total);
	ck_assert_mem_eq(stream->bytes, stream->got, stream->total);
	free(stream->bytes);
	free(stream->got);
}

static inline void start_streams(void *argument)
{
	struct stream *streams = argument;

	for (int i = 0; i < 2; i++) {
		receive_more(&streams[i]);
		send_more(&streams[i]);
	}
}
#endif
