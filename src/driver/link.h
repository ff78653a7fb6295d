/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link: one channel turned into an authenticated stream of frames.
 *
 *   HELLO_WAIT --hello--> BINDER_WAIT --binder--> UP --close--> CLOSED
 *
 * From every state a bad frame, a deadline or the channel's end leads to
 * CLOSED. Nothing but HELLO, BINDER and BYE is read before UP (design 9).
 * Control frames have a lane of their own in front of the data frames, which
 * are pulled from their sources one after the other when there is room (F1):
 * data waits where it lies, never in a queue here.
 */
#ifndef HVRI_DRIVER_LINK_H
#define HVRI_DRIVER_LINK_H

#include "base/op.h"
#include "driver/queue.h"
#include "driver/timers.h"
#include "format/wire.h"

#include <hvrepl/channel.h>

#define HVRI_LINK_HANDSHAKE_NS (10ull * 1000000000ull)
#define HVRI_LINK_PING_NS (10ull * 1000000000ull)
#define HVRI_LINK_DEAD_NS (30ull * 1000000000ull)
/* A frame whose first byte came so long ago is whole by now: 5 KB/s for the
 * longest. Who trickles holds a slab and a session. */
#define HVRI_LINK_FRAME_NS (60ull * 1000000000ull)
/* PING and PONG between two looks at the clock (HVRI_LINK_PING_NS): a peer of
 * ours sends one. Each is harmless, and answered. */
#define HVRI_LINK_ODD_MAX 64u
/* Bytes of control frames waiting; more means a peer that does not read. */
#define HVRI_LINK_CONTROL_MAX (4u << 20)
#define HVRI_SLAB_SIZE (1u << 20)
#define HVRI_LINK_IOV_MAX 32u

enum hvri_link_state {
	HVRI_LINK_HELLO_WAIT,
	HVRI_LINK_BINDER_WAIT,
	HVRI_LINK_UP,
	HVRI_LINK_CLOSED,
};

/* Received bytes; frames in them are borrowed by whoever holds it. Control
 * thread. */
struct hvri_slab {
	struct hvri_slab_cache *cache;
	struct hvri_slab *next; /* Of the cache's spares. */
	uint32_t references;
	size_t start, end; /* Not yet parsed: [start, end). */
	uint8_t *bytes;    /* HVRI_SLAB_SIZE, page-aligned. */
};
/* Slabs that nobody holds, kept for the next bytes: fresh memory of that size
 * costs the system a page fault every 4 KiB. Outlives the link as long as slabs
 * are held. Control thread. */
#define HVRI_SLAB_SPARES 4u
struct hvri_slab_cache {
	const struct hvri_env *env;
	uint32_t references; /* Of the link and of each slab. */
	uint32_t spare_count;
	struct hvri_slab *spare;
	bool closed; /* The link is gone: keep none. */
};
void hvri_slab_hold(struct hvri_slab *slab);
void hvri_slab_drop(struct hvri_slab *slab);

struct hvri_link;

/* Something with data frames to send. Embedded in its owner. */
struct hvri_source {
	struct hvri_source *next, *previous; /* In the link's ring. */
	struct hvri_link *link;              /* NULL: not in a ring. */
	/* Fill one frame: header, up to `iov_max` pieces borrowed until
	 * `sent`. Returns the number of pieces, 0: nothing now (the source
	 * leaves the ring), negative: it failed (and leaves). */
	int32_t (*pull)(struct hvri_source *source, struct hvri_frame *frame,
			struct hvrepl_iovec *iov, uint32_t iov_max);
	/* What was pulled has been handed to the channel, or will never be. */
	void (*sent)(struct hvri_source *source, bool ok);
};

struct hvri_link_calls {
	void (*up)(struct hvri_link *link);
	/* One frame; the payload lies in `slab`. Negative: the link closes with
	 * that code. */
	int32_t (*frame)(struct hvri_link *link, const struct hvri_frame *frame,
			 const uint8_t *payload, struct hvri_slab *slab);
	/* Once, after which the link may be freed. */
	void (*closed)(struct hvri_link *link);
	/* The peer's HELLO is here: true: go on; false: it was closed instead.
	 * Optional. */
	bool (*hello)(struct hvri_link *link);
};

struct hvri_control_frame; /* One waiting control frame. */

struct hvri_link {
	const struct hvri_env *env;
	struct hvri_queue *home;
	struct hvri_timers *timers;
	const struct hvri_link_calls *calls;
	struct hvrepl_channel_ops ops;
	void *channel;
	void (*release)(void *user);
	struct hvrepl_channel_info info; /* Who the peer is. */
	bool initiator;
	enum hvri_link_state state;
	int32_t close_code;         /* Why it closes: a code of this version. */
	bool told_bye; /* The peer says so: nothing is decided by that code. */
	char close_sentence[HVRI_BYE_SENTENCE_MAX + 1]; /* Of a BYE, ours or its. */
	struct hvri_hello mine, peer;
	uint8_t my_hello[HVRI_HELLO_SIZE], peer_hello[HVRI_HELLO_SIZE];
	uint64_t heard_ns;
	uint64_t frame_ns; /* When a frame last ended, or began. */
	uint32_t odd;      /* PING and PONG since the timer fired. */
	struct hvri_alarm timer;
	/* Receiving. */
	struct hvri_slab *slab;
	struct hvri_slab_cache *slabs;
	struct hvrepl_op receive_op;
	struct hvri_item receive_item;
	size_t received;
	int32_t receive_result;
	bool receiving;
	/* Sending. */
	struct hvri_control_frame *first, **last;
	size_t control_bytes;
	struct hvri_source *ring; /* Next to be asked. */
	struct hvrepl_op send_op;
	struct hvri_item send_item;
	int32_t send_result;
	bool sending, closing, channel_closed;
	bool gathering; /* A source is asked, which may send by itself. */
	struct hvri_control_frame *in_flight;
	struct hvri_source *in_flight_source;
	struct hvrepl_iovec iov[HVRI_LINK_IOV_MAX];
	uint8_t data_header[HVRI_FRAME_HEADER_SIZE];
	uint64_t sent_bytes, received_bytes;
};

/* Take the channel and say HELLO. On failure the channel is let go. `timers`
 * needs room for one more. */
HVRI_MUST_CHECK int32_t hvri_link_start(struct hvri_link *link,
					const struct hvri_env *env,
					struct hvri_queue *home,
					struct hvri_timers *timers,
					const struct hvrepl_channel *channel,
					bool initiator,
					const struct hvri_hello *hello,
					const struct hvri_link_calls *calls);
/* Queue a control frame; the payload is copied. LIMIT closes the link. */
HVRI_MUST_CHECK int32_t hvri_link_send(struct hvri_link *link, uint8_t type,
				       const struct hvrepl_uuid *vm,
				       const void *payload, size_t length);
/* The source has something; asked until it says otherwise. */
void hvri_link_want(struct hvri_link *link, struct hvri_source *source);
/* A harmless frame that means nothing came: LIMIT when there were too many. */
HVRI_MUST_CHECK int32_t hvri_link_odd(struct hvri_link *link);
/* Take it out; `sent` is not called any more unless a frame is in flight. */
void hvri_source_leave(struct hvri_source *source);
/* Say BYE with a sentence (may be NULL) and close; `closed` follows later. */
void hvri_link_close(struct hvri_link *link, int32_t code,
		     const char *sentence);
/* Close at once, without a BYE: the channel failed, or the peer is not to hold the
 * link until it has read one. */
void hvri_link_broke(struct hvri_link *link, int32_t code);
/* After `closed`. */
void hvri_link_free(struct hvri_link *link);
#endif
