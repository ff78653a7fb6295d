/* SPDX-License-Identifier: Apache-2.0 */
/* Life of a link: handshake, deadlines, receiving, end. */
#include "driver/link.h"

#include "base/abi.h"
#include "base/name.h"
#include "base/plant.h"
#include "driver/link_send.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

static void receive_more(struct hvri_link *link);

static struct hvri_slab_cache *cache_new(const struct hvri_env *env)
{
	struct hvri_slab_cache *cache = hvri_alloc(env, sizeof(*cache));

	if (cache == NULL)
		return NULL;
	cache->env = env;
	cache->references = 1;
	return cache;
}

static void cache_drop(struct hvri_slab_cache *cache)
{
	if (--cache->references == 0)
		hvri_free(cache->env, cache, sizeof(*cache));
}

static void slab_free(struct hvri_slab *slab)
{
	const struct hvri_env *env = slab->cache->env;

	cache_drop(slab->cache);
	hvri_free(env, slab->bytes, HVRI_SLAB_SIZE);
	hvri_free(env, slab, sizeof(*slab));
}

static void cache_close(struct hvri_slab_cache *cache)
{
	cache->closed = true;
	while (cache->spare != NULL) {
		struct hvri_slab *slab = cache->spare;

		cache->spare = slab->next;
		slab_free(slab);
	}
	cache_drop(cache);
}

static struct hvri_slab *slab_new(struct hvri_slab_cache *cache)
{
	struct hvri_slab *slab = cache->spare;

	if (slab != NULL) {
		cache->spare = slab->next;
		cache->spare_count--;
		slab->start = slab->end = 0;
		slab->references = 1;
		return slab;
	}
	slab = hvri_alloc(cache->env, sizeof(*slab));
	if (slab == NULL)
		return NULL;
	slab->bytes = hvri_alloc_io(cache->env, HVRI_SLAB_SIZE);
	if (slab->bytes == NULL) {
		hvri_free(cache->env, slab, sizeof(*slab));
		return NULL;
	}
	slab->cache = cache;
	cache->references++;
	slab->references = 1;
	return slab;
}

void hvri_slab_hold(struct hvri_slab *slab)
{
	slab->references++;
}

void hvri_slab_drop(struct hvri_slab *slab)
{
	struct hvri_slab_cache *cache;

	if (slab == NULL || --slab->references > 0)
		return;
	cache = slab->cache;
	if (cache->closed || cache->spare_count == HVRI_SLAB_SPARES) {
		slab_free(slab);
		return;
	}
	slab->next = cache->spare;
	cache->spare = slab;
	cache->spare_count++;
}

/* Go on closing: the BYE first, then the channel, then wait for what the
 * channel still holds, then tell. */
static void maybe_closed(struct hvri_link *link)
{
	if (!link->closing || link->state == HVRI_LINK_CLOSED)
		return;
	if (!link->channel_closed) {
		hvri_link_pump(link);
		if (link->sending || link->gathering)
			return;
		link->channel_closed = true;
		link->ops.close(link->channel);
	}
	if (link->receiving || link->sending)
		return;
	link->state = HVRI_LINK_CLOSED;
	hvri_alarm_set(link->timers, &link->timer, HVRI_NEVER);
	hvri_link_drop_output(link);
	link->calls->closed(link);
}

/* The channel itself broke, or the peer broke the protocol: no BYE gets
 * through, or one would be answered by more of the same. */
static void break_off(struct hvri_link *link, int32_t code)
{
	if (!link->closing) {
		link->closing = true;
		link->close_code = code;
	}
	if (!link->channel_closed) {
		link->channel_closed = true;
		link->ops.close(link->channel);
	}
	maybe_closed(link);
}

/* What an operator does about it. */
static const char *sentence_of(int32_t code)
{
	switch (code) {
	case HVREPL_E_PEER_VERSION:
		return "the two sites have no protocol version in common: "
		       "update the older one; nothing was changed";
	case HVREPL_E_PROTOCOL:
		return "the other side sent what this version does not know or "
		       "allow: if the sites run different versions, update the "
		       "older one";
	default:
		return hvrepl_strerror(code);
	}
}

void hvri_link_close(struct hvri_link *link, int32_t code, const char *sentence)
{
	struct hvri_bye bye = { .code = code };
	uint8_t payload[HVRI_BYE_SIZE_MAX];
	uint32_t length;

	if (link->closing || link->state == HVRI_LINK_CLOSED)
		return;
	snprintf(bye.sentence, sizeof(bye.sentence), "%s",
		 sentence != NULL ? sentence : sentence_of(code));
	snprintf(link->close_sentence, sizeof(link->close_sentence), "%s",
		 bye.sentence);
	length = hvri_bye_encode(&bye, payload);
	/* Without memory for a BYE the peer learns it from the close. */
	(void)!hvri_link_send(link, HVRI_FRAME_BYE, NULL, payload, length);
	link->closing = true;
	link->close_code = code;
	/* The peer has until then to read the BYE. */
	hvri_alarm_set(link->timers, &link->timer,
		       hvri_now(link->env) + HVRI_LINK_HANDSHAKE_NS);
	maybe_closed(link);
}

static int32_t on_hello(struct hvri_link *link, const struct hvri_frame *frame,
			const uint8_t *payload)
{
	uint8_t binder[32];

	if (link->state != HVRI_LINK_HELLO_WAIT)
		return HVREPL_E_PROTOCOL;
	HVRI_TRY(hvri_hello_decode(payload, frame->length, &link->peer));
	if (hvri_uuid_equal(&link->peer.node, &link->mine.node))
		return HVREPL_E_PROTOCOL; /* Our own words, reflected. */
	memcpy(link->peer_hello, payload, HVRI_HELLO_SIZE);
	HVRI_TRY(hvri_binder(link->info.exporter, link->initiator,
			     link->initiator ? link->my_hello :
					       link->peer_hello,
			     link->initiator ? link->peer_hello :
					       link->my_hello,
			     binder));
	/* Who is refused hears that in place of our BINDER: it never takes the
	 * session for one that stands. */
	if (link->calls->hello != NULL && !link->calls->hello(link))
		return HVREPL_OK;
	link->state = HVRI_LINK_BINDER_WAIT;
	if (HVRI_PLANT(early_session)) {
		link->state = HVRI_LINK_UP;
		link->calls->up(link);
	}
	return hvri_link_send(link, HVRI_FRAME_BINDER, NULL, binder,
			      sizeof(binder));
}

static int32_t on_binder(struct hvri_link *link, const struct hvri_frame *frame,
			 const uint8_t *payload)
{
	uint8_t binder[32];

	if (link->state != HVRI_LINK_BINDER_WAIT ||
	    frame->length != sizeof(binder))
		return HVREPL_E_PROTOCOL;
	HVRI_TRY(hvri_binder(link->info.exporter, !link->initiator,
			     link->initiator ? link->my_hello :
					       link->peer_hello,
			     link->initiator ? link->peer_hello :
					       link->my_hello,
			     binder));
	if (CRYPTO_memcmp(binder, payload, sizeof(binder)) != 0 &&
	    !HVRI_PLANT(replay_opens_session))
		return HVREPL_E_UNAUTHENTICATED;
	link->state = HVRI_LINK_UP;
	hvri_alarm_set(link->timers, &link->timer,
		       hvri_now(link->env) + HVRI_LINK_PING_NS);
	link->calls->up(link);
	return HVREPL_OK;
}

static int32_t on_bye(struct hvri_link *link, const struct hvri_frame *frame,
		      const uint8_t *payload)
{
	struct hvri_bye bye;

	HVRI_TRY(hvri_bye_decode(payload, frame->length, &bye));
	snprintf(link->close_sentence, sizeof(link->close_sentence), "%s",
		 bye.sentence);
	link->told_bye = true;
	/* Not answered: the peer reads no more. */
	break_off(link, hvri_code_known(bye.code) ? bye.code :
						    HVREPL_E_DISCONNECTED);
	return HVREPL_OK;
}

int32_t hvri_link_odd(struct hvri_link *link)
{
	return ++link->odd > HVRI_LINK_ODD_MAX ? HVREPL_E_LIMIT : HVREPL_OK;
}

static int32_t on_frame(struct hvri_link *link, const struct hvri_frame *frame,
			const uint8_t *payload)
{
	switch (frame->type) {
	case HVRI_FRAME_HELLO:
		return on_hello(link, frame, payload);
	case HVRI_FRAME_BINDER:
		return on_binder(link, frame, payload);
	case HVRI_FRAME_BYE:
		return on_bye(link, frame, payload);
	case HVRI_FRAME_PING:
		HVRI_TRY(hvri_link_odd(link));
		return hvri_link_send(link, HVRI_FRAME_PONG, NULL, NULL, 0);
	case HVRI_FRAME_PONG:
		return hvri_link_odd(link);
	default:
		return link->calls->frame(link, frame, payload, link->slab);
	}
}

/* All whole frames of the slab. */
static int32_t parse(struct hvri_link *link)
{
	struct hvri_slab *slab = link->slab;

	while (!link->closing &&
	       slab->end - slab->start >= HVRI_FRAME_HEADER_SIZE) {
		const uint8_t *header = slab->bytes + slab->start;
		struct hvri_frame frame;
		const uint8_t *payload = header + HVRI_FRAME_HEADER_SIZE;

		HVRI_TRY(hvri_frame_decode(
			header, link->state != HVRI_LINK_UP, &frame));
		if (HVRI_PLANT(length_wraps) ?
			    slab->end - slab->start <
				    (uint32_t)(frame.length +
					       HVRI_FRAME_HEADER_SIZE) :
			    slab->end - slab->start - HVRI_FRAME_HEADER_SIZE <
				    frame.length)
			break;
		HVRI_TRY(hvri_frame_check(header, &frame, payload));
		slab->start += HVRI_FRAME_HEADER_SIZE + frame.length;
		link->frame_ns = hvri_now(link->env);
		HVRI_TRY(on_frame(link, &frame, payload));
	}
	return HVREPL_OK;
}

/* Room for at least one more longest frame behind what is not parsed; others
 * may hold the old slab. */
static int32_t make_room(struct hvri_link *link)
{
	struct hvri_slab *old = link->slab, *slab;
	size_t rest = old == NULL ? 0 : old->end - old->start;
	size_t need = HVRI_FRAME_HEADER_SIZE + HVRI_FRAME_CHUNK_MAX;

	if (old != NULL && old->references == 1 && rest == 0)
		old->start = old->end = 0;
	if (old != NULL && HVRI_SLAB_SIZE - old->start >= need &&
	    old->end < HVRI_SLAB_SIZE)
		return HVREPL_OK;
	slab = slab_new(link->slabs);
	if (slab == NULL)
		return HVREPL_E_NOMEM;
	if (rest > 0)
		memcpy(slab->bytes, old->bytes + old->start, rest);
	slab->end = rest;
	hvri_slab_drop(old);
	link->slab = slab;
	return HVREPL_OK;
}

static void receive_done(struct hvri_item *item)
{
	struct hvri_link *link =
		(struct hvri_link *)((char *)item -
				     offsetof(struct hvri_link, receive_item));
	int32_t rc = link->receive_result;

	link->receiving = false;
	if (rc == HVREPL_OK && link->received == 0)
		rc = HVREPL_E_DISCONNECTED;
	if (rc == HVREPL_OK && link->received > HVRI_SLAB_SIZE - link->slab->end)
		rc = HVREPL_E_CALLBACK;
	if (rc == HVREPL_OK && !link->closing) {
		if (link->slab->end == link->slab->start)
			link->frame_ns = hvri_now(link->env);
		link->slab->end += link->received;
		link->received_bytes += link->received;
		link->heard_ns = hvri_now(link->env);
		rc = parse(link);
	}
	if (rc < 0) {
		if (rc == HVREPL_E_PROTOCOL || rc == HVREPL_E_PEER_VERSION ||
		    rc == HVREPL_E_LIMIT ||
		    rc == HVREPL_E_UNAUTHENTICATED || rc == HVREPL_E_DENIED)
			hvri_link_close(link, rc, NULL);
		else
			break_off(link, rc);
	}
	if (link->closing)
		maybe_closed(link);
	else
		receive_more(link);
}

static void receive_complete(struct hvrepl_op *op, int32_t result)
{
	struct hvri_link *link =
		(struct hvri_link *)((char *)op -
				     offsetof(struct hvri_link, receive_op));

	link->receive_result = result;
	hvri_queue_put(link->home, &link->receive_item);
}

static void receive_more(struct hvri_link *link)
{
	int32_t rc;

	if (link->receiving || link->closing || link->channel_closed)
		return;
	rc = make_room(link);
	if (rc < 0) {
		break_off(link, rc);
		return;
	}
	link->receiving = true;
	link->received = 0;
	rc = link->ops.receive(link->channel, &link->receive_op,
			       link->slab->bytes + link->slab->end,
			       HVRI_SLAB_SIZE - link->slab->end,
			       &link->received);
	if (rc != HVREPL_PENDING)
		receive_complete(&link->receive_op, rc);
}

static void on_timer(struct hvri_alarm *timer)
{
	struct hvri_link *link =
		(struct hvri_link *)((char *)timer -
				     offsetof(struct hvri_link, timer));
	uint64_t now = hvri_now(link->env);

	if (link->state != HVRI_LINK_UP || link->closing) {
		break_off(link, link->closing ? link->close_code :
						HVREPL_E_TIMEOUT);
		return;
	}
	/* Silence, or bytes that come to nothing. */
	if (now - link->heard_ns >= HVRI_LINK_DEAD_NS ||
	    (link->slab != NULL && link->slab->end > link->slab->start &&
	     now - link->frame_ns >= HVRI_LINK_FRAME_NS)) {
		break_off(link, HVREPL_E_TIMEOUT);
		return;
	}
	link->odd = 0;
	if (now - link->heard_ns >= HVRI_LINK_PING_NS &&
	    hvri_link_send(link, HVRI_FRAME_PING, NULL, NULL, 0) < 0) {
		break_off(link, HVREPL_E_LIMIT);
		return;
	}
	hvri_alarm_set(link->timers, timer, now + HVRI_LINK_PING_NS);
}

void hvri_link_broke(struct hvri_link *link, int32_t code)
{
	break_off(link, code);
}

void hvri_link_settled(struct hvri_link *link)
{
	maybe_closed(link);
}

int32_t hvri_link_start(struct hvri_link *link, const struct hvri_env *env,
			struct hvri_queue *home, struct hvri_timers *timers,
			const struct hvrepl_channel *channel, bool initiator,
			const struct hvri_hello *hello,
			const struct hvri_link_calls *calls)
{
	static const uint8_t none[HVREPL_EXPORTER_SIZE];
	int32_t rc;

	*link = (struct hvri_link){
		.env = env,
		.home = home,
		.timers = timers,
		.calls = calls,
		.channel = channel->user,
		.release = channel->release,
		.initiator = initiator,
		.mine = *hello,
		.info = { .struct_size = sizeof(link->info) },
	};
	link->last = &link->first;
	link->receive_op.complete = receive_complete;
	link->receive_item.run = receive_done;
	hvri_alarm_init(&link->timer, on_timer);
	hvri_link_send_init(link);
	rc = hvri_abi_copy_in(&link->ops, sizeof(link->ops),
			      HVRI_SIZE_UP_TO(struct hvrepl_channel_ops, close),
			      channel->ops);
	if (rc == HVREPL_OK &&
	    (link->ops.info == NULL || link->ops.send == NULL ||
	     link->ops.receive == NULL || link->ops.close == NULL))
		rc = HVREPL_E_INVALID;
	if (rc == HVREPL_OK)
		rc = link->ops.info(link->channel, &link->info);
	link->info.peer[HVREPL_PEER_NAME_MAX] = 0;
	hvri_name_fold(link->info.peer);
	/* What cannot stand in an entry, a sentence or a log line is nobody. */
	if (rc >= 0 && !hvri_name_ok(link->info.peer))
		rc = HVREPL_E_UNAUTHENTICATED;
	/* No exporter value: nothing that could bind the session (design 9). */
	if (rc >= 0 && memcmp(link->info.exporter, none, sizeof(none)) == 0)
		rc = HVREPL_E_UNAUTHENTICATED;
	if (rc >= 0)
		rc = hvri_random(env, link->mine.nonce,
				 sizeof(link->mine.nonce));
	link->slabs = rc >= 0 ? cache_new(env) : NULL;
	if (rc >= 0)
		rc = link->slabs == NULL ? HVREPL_E_NOMEM : make_room(link);
	if (rc >= 0) {
		hvri_hello_encode(&link->mine, link->my_hello);
		rc = hvri_link_send(link, HVRI_FRAME_HELLO, NULL,
				    link->my_hello, HVRI_HELLO_SIZE);
	}
	if (rc < 0) {
		hvri_link_drop_output(link);
		hvri_link_free(link);
		return rc;
	}
	link->heard_ns = hvri_now(env);
	hvri_alarm_set(timers, &link->timer,
		       link->heard_ns + HVRI_LINK_HANDSHAKE_NS);
	receive_more(link);
	return HVREPL_OK;
}

void hvri_link_free(struct hvri_link *link)
{
	hvri_slab_drop(link->slab);
	link->slab = NULL;
	if (link->slabs != NULL)
		cache_close(link->slabs);
	link->slabs = NULL;
	OPENSSL_cleanse(link->info.exporter, sizeof(link->info.exporter));
	if (link->release != NULL)
		link->release(link->channel);
	link->release = NULL;
}
