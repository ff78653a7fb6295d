/* SPDX-License-Identifier: Apache-2.0 */
/* Peers and sessions: connecting, retrying (L4), routing frames to VMs. */
#include "base/abi.h"

#include "base/name.h"
#include "base/plant.h"
#include "base/text.h"
#include "driver/node.h"
#include "driver/vm.h"

#include <stdio.h>
#include <string.h>

static struct hvri_peer *find_peer(struct hvrepl_node *node, const char *name)
{
	struct hvri_peer *peer = node->peers;
	char folded[HVREPL_PEER_NAME_MAX + 1];

	hvri_text(folded, sizeof(folded), name);
	hvri_name_fold(folded);
	while (peer != NULL && strcmp(peer->name, folded) != 0)
		peer = peer->next;
	return peer;
}

struct hvri_session *hvri_node_session_named(struct hvrepl_node *node,
					     const char *peer)
{
	struct hvri_session *session = node->sessions;
	char folded[HVREPL_PEER_NAME_MAX + 1];

	hvri_text(folded, sizeof(folded), peer);
	hvri_name_fold(folded);
	while (session != NULL &&
	       (!session->up || strcmp(session->link.info.peer, folded) != 0))
		session = session->next;
	return session;
}

static void retry_later(struct hvri_peer *peer, int32_t code)
{
	struct hvrepl_node *node = peer->node;
	uint64_t pause = node->retry_min_ns, jitter = 0;

	for (uint32_t i = 0; i < peer->failures && pause < node->retry_max_ns;
	     i++)
		pause = pause > UINT64_MAX / 2 ? UINT64_MAX : pause * 2;
	pause = HVRI_MIN(pause, node->retry_max_ns);
	/* Up to a quarter less, so that two sites do not run in step. */
	if (hvri_random(&node->env, &jitter, sizeof(jitter)) == HVREPL_OK)
		pause -= jitter % (pause / 4 + 1);
	peer->connecting = peer->awaited = false;
	peer->last_code = code;
	peer->failures++;
	if (!node->closing && peer->connect != NULL)
		hvri_alarm_set(&node->timers, &peer->retry,
			       hvri_now(&node->env) +
				       HVRI_MIN(pause, UINT64_MAX -
							       hvri_now(&node->env)));
}

static void connect_now(struct hvri_peer *peer)
{
	int32_t rc;

	if (peer->connect == NULL || peer->connecting || peer->node->closing ||
	    hvri_node_session_named(peer->node, peer->name) != NULL)
		return;
	hvri_alarm_set(&peer->node->timers, &peer->retry, HVRI_NEVER);
	peer->connecting = peer->awaited = true;
	rc = peer->connect(peer->user);
	if (rc < 0)
		retry_later(peer, rc);
}

static void on_retry(struct hvri_alarm *timer)
{
	connect_now((struct hvri_peer *)((char *)timer -
					 offsetof(struct hvri_peer, retry)));
}

void hvri_node_connect_now(struct hvrepl_node *node)
{
	for (struct hvri_peer *peer = node->peers; peer != NULL;
	     peer = peer->next) {
		peer->failures = 0;
		connect_now(peer);
	}
}

void hvri_peer_config_drop(const struct hvrepl_peer_config *config)
{
	struct hvrepl_peer_config copy;

	if (hvri_abi_copy_in(&copy, sizeof(copy),
			     HVRI_SIZE_UP_TO(struct hvrepl_peer_config, release),
			     config) != HVREPL_E_INVALID &&
	    copy.release != NULL)
		copy.release(copy.user);
}

int32_t hvri_node_add_peer(struct hvrepl_node *node,
			   const struct hvrepl_peer_config *config,
			   struct hvrepl_error *error)
{
	struct hvrepl_peer_config copy;
	struct hvri_peer *peer = NULL;
	int32_t rc;

	rc = hvri_abi_copy_in(&copy, sizeof(copy),
			      HVRI_SIZE_UP_TO(struct hvrepl_peer_config,
					      release),
			      config);
	if (rc == HVREPL_E_TOO_NEW && copy.release != NULL)
		copy.release(copy.user);
	if (rc < 0)
		return hvri_fail_plain(error, rc);
	if (copy.name == NULL || !hvri_name_ok(copy.name))
		rc = hvri_fail(error, HVREPL_E_INVALID,
			       "a peer needs a name of 1 to %u bytes of UTF-8 "
			       "without control characters and '*'",
			       HVREPL_PEER_NAME_MAX);
	else if (node->closing)
		rc = hvri_fail_plain(error, HVREPL_E_CLOSED);
	else if (find_peer(node, copy.name) != NULL)
		rc = hvri_fail(error, HVREPL_E_EXISTS,
			       "peer %s is there already", copy.name);
	if (rc == HVREPL_OK) {
		peer = hvri_alloc(&node->env, sizeof(*peer));
		if (peer == NULL)
			rc = HVREPL_E_NOMEM;
	}
	if (rc < 0) {
		if (copy.release != NULL)
			copy.release(copy.user);
		return hvri_fail_plain(error, rc);
	}
	peer->node = node;
	snprintf(peer->name, sizeof(peer->name), "%s", copy.name);
	hvri_name_fold(peer->name);
	peer->connect = copy.connect;
	peer->user = copy.user;
	peer->release = copy.release;
	hvri_alarm_init(&peer->retry, on_retry);
	peer->next = node->peers;
	node->peers = peer;
	/* Not from here: control callbacks run inside process(). */
	if (peer->connect != NULL)
		hvri_alarm_set(&node->timers, &peer->retry,
			       hvri_now(&node->env));
	return HVREPL_OK;
}

int32_t hvri_node_set_trust(struct hvrepl_node *node,
			    const struct hvrepl_trust *trust)
{
	struct hvrepl_trust copy;

	HVRI_TRY(hvri_abi_copy_in(&copy, sizeof(copy),
				  HVRI_SIZE_UP_TO(struct hvrepl_trust,
						  list_until_utc_ns),
				  trust));
	if (copy.reserved != 0)
		return HVREPL_E_INVALID;
	node->own_validity = (struct hvri_validity){ copy.from_utc_ns,
						     copy.until_utc_ns };
	node->list_validity = (struct hvri_validity){ copy.list_from_utc_ns,
						      copy.list_until_utc_ns };
	return HVREPL_OK;
}

int32_t hvri_node_set_renewal(struct hvrepl_node *node, const char *peer,
			      uint64_t until_utc_ns)
{
	struct hvri_peer *found = find_peer(node, peer);

	if (found == NULL)
		return HVREPL_E_NOT_FOUND;
	found->renewal_until_ns = until_utc_ns;
	return HVREPL_OK;
}

void hvri_node_trust(const struct hvrepl_node *node, const char *peer,
		     struct hvri_trust *trust_out)
{
	*trust_out = (struct hvri_trust){ .own = node->own_validity,
					  .list = node->list_validity };
	/* One that was never added is known while it is here. */
	for (const struct hvri_session *s = node->sessions; s != NULL;
	     s = s->next)
		if (s->up && strcmp(s->link.info.peer, peer) == 0)
			trust_out->peer = (struct hvri_validity){
				s->link.info.peer_from_utc_ns,
				s->link.info.peer_until_utc_ns
			};
	for (const struct hvri_peer *p = node->peers; p != NULL; p = p->next) {
		if (strcmp(p->name, peer) != 0)
			continue;
		trust_out->peer = p->validity;
		trust_out->session_until_ns = p->renewal_until_ns;
	}
}

void hvri_peer_free_all(struct hvrepl_node *node)
{
	while (node->peers != NULL) {
		struct hvri_peer *peer = node->peers;

		node->peers = peer->next;
		hvri_alarm_set(&node->timers, &peer->retry, HVRI_NEVER);
		if (peer->release != NULL)
			peer->release(peer->user);
		hvri_free(&node->env, peer, sizeof(*peer));
	}
}

/* ---- Sessions. ---- */

static struct hvri_session *session_of(struct hvri_link *link)
{
	return (struct hvri_session *)link;
}

static void tell(struct hvri_session *session, bool up, int32_t code)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;
	const struct hvri_link *link = &session->link;

	event.type = HVREPL_EVENT_SESSION;
	/* One of whom nobody here knows takes no place of its own among what waits. */
	if (session->was_up)
		hvri_text(event.actor, sizeof(event.actor), link->info.peer);
	event.value = up;
	event.code = code;
	event.severity = up ? HVREPL_SEVERITY_INFO : HVREPL_SEVERITY_WARNING;
	if (up)
		snprintf(event.sentence, sizeof(event.sentence),
			 "session with %.100s (site %s) is up",
			 link->info.peer, link->peer.site);
	else
		snprintf(event.sentence, sizeof(event.sentence),
			 "session with %.100s ended: %.120s", link->info.peer,
			 link->close_sentence[0] != 0 ? link->close_sentence :
							hvrepl_strerror(code));
	hvri_node_event(session->node, &event);
}

static const char *proved_by(uint32_t mechanism)
{
	switch (mechanism) {
	case HVREPL_MECHANISM_X509:
		return "its certificate";
	case HVREPL_MECHANISM_KERBEROS:
		return "Kerberos";
	case HVREPL_MECHANISM_MEMORY:
		return "being of this process";
	default:
		return "the application's mechanism";
	}
}

/* Who was let in, who was not, and who took too much. */
static void note_end(struct hvri_session *session)
{
	const struct hvri_link *link = &session->link;
	int32_t code = link->close_code;
	uint32_t kind = code == HVREPL_E_LIMIT && !link->told_bye ?
				HVREPL_AUDIT_LIMIT :
				HVREPL_AUDIT_AUTHENTICATION;
	const char *why = link->close_sentence[0] != 0 ? link->close_sentence :
							 hvrepl_strerror(code);

	if (session->was_up)
		hvri_note_of(session->node, link->info.peer, kind,
			     HVREPL_SEVERITY_WARNING, code, NULL,
			     "session with %.100s ended: %.120s",
			     link->info.peer, why);
	else if (!session->denied) /* That was noted. */
		hvri_note_of(session->node, link->info.peer, kind,
			     HVREPL_SEVERITY_WARNING, code, NULL,
			     "%.100s got no session: %.120s", link->info.peer,
			     why);
}

static void session_down(struct hvri_session *session)
{
	session->up = false;
	hvri_vms_session_down(session->node, session);
	hvri_trial_session_down(session);
}

/* May it have a session here? Else it hears why not, and it is noted. */
static bool let_in(struct hvri_session *session)
{
	if (hvri_session_rights_take(session))
		return true;
	hvri_session_denied(session, HVREPL_VERB_ALL, NULL);
	session->denied = true;
	hvri_link_close(&session->link, HVREPL_E_DENIED,
			session->rights.entry == NULL ?
				"no authorisation entry names you here" :
				"an authorisation entry denies you everything "
				"here");
	return false;
}

static bool link_hello(struct hvri_link *link)
{
	return let_in(session_of(link));
}

/* Of the same node and identity. */
static bool is_older(const struct hvri_session *old,
		     const struct hvri_session *session)
{
	return old != session && old->up &&
	       strcmp(old->link.info.peer, session->link.info.peer) == 0 &&
	       hvri_uuid_equal(&old->link.peer.node, &session->link.peer.node);
}

static void link_up(struct hvri_link *link)
{
	struct hvri_session *session = session_of(link), *old;
	struct hvrepl_node *node = session->node;
	struct hvri_peer *peer = find_peer(node, link->info.peer);

	/* Entries may have changed since its HELLO. */
	if (!let_in(session))
		return;
	/* A newer session of the same peer replaces the older: the peer gave
	 * that one up, or both sides connected at the same time. Of the same
	 * identity: which node it is, a peer says by itself, and nobody ends
	 * another's session by naming its node. */
	for (old = node->sessions; old != NULL; old = old->next) {
		if (!is_older(old, session))
			continue;
		if (old->link.peer.incarnation == link->peer.incarnation &&
		    old->link.initiator != link->initiator &&
		    /* Both connected: the one of the smaller id stays. */
		    (memcmp(node->id.bytes, link->peer.node.bytes, 16) < 0) ==
			    old->link.initiator) {
			session->spare = true;
			hvri_link_close(link, HVREPL_E_EXISTS,
					"another session stands");
			return;
		}
	}
	session->up = session->was_up = true;
	if (peer != NULL) {
		peer->connecting = false;
		peer->failures = 0;
		peer->validity = (struct hvri_validity){
			link->info.peer_from_utc_ns,
			link->info.peer_until_utc_ns
		};
		peer->renewal_until_ns = 0;
		hvri_alarm_set(&node->timers, &peer->retry, HVRI_NEVER);
	}
	tell(session, true, HVREPL_OK);
	hvri_note_of(node, link->info.peer, HVREPL_AUDIT_AUTHENTICATION,
		     HVREPL_SEVERITY_INFO, HVREPL_OK, NULL,
		     "%.100s proved itself by %s; its session (site %.60s) is up",
		     link->info.peer, proved_by(link->info.mechanism),
		     link->peer.site);
	/* Its VMs go from the one to the other: it is up, or they would go to who
	 * else of their trust group says that it is that node. */
	for (old = node->sessions; old != NULL; old = old->next)
		if (is_older(old, session)) {
			hvri_link_close(&old->link, HVREPL_E_DISCONNECTED,
					"replaced by a newer session");
			session_down(old);
		}
	hvri_vms_session_up(node, session);
}

static int32_t link_frame(struct hvri_link *link,
			  const struct hvri_frame *frame,
			  const uint8_t *payload, struct hvri_slab *slab)
{
	struct hvri_session *session = session_of(link);

	if (!session->up)
		return HVREPL_OK; /* On its way out. */
	if (frame->type >= HVRI_FRAME_TRIAL &&
	    frame->type <= HVRI_FRAME_TRIAL_RESULT)
		return hvri_trial_frame(session, frame, payload);
	return hvri_vms_frame(session->node, session, frame, payload, slab);
}

static void free_session(struct hvri_item *item)
{
	struct hvri_session *session =
		(struct hvri_session *)((char *)item -
					offsetof(struct hvri_session,
						 free_item));
	struct hvrepl_node *node = session->node;
	struct hvri_session **at = &node->sessions;

	while (*at != session)
		at = &(*at)->next;
	*at = session->next;
	hvri_link_free(&session->link);
	hvri_free(&node->env, session, sizeof(*session));
	hvri_node_settled(node);
}

static void attempt_lost(struct hvrepl_node *node, int32_t code);

static void link_closed(struct hvri_link *link)
{
	struct hvri_session *session = session_of(link);
	struct hvrepl_node *node = session->node;
	struct hvri_peer *peer = find_peer(node, link->info.peer);

	if (session->up)
		session_down(session);
	/* What a peer says in its BYE hides nothing. */
	if (!session->spare) {
		tell(session, false, link->close_code);
		note_end(session);
	}
	if (peer != NULL &&
	    hvri_node_session_named(node, link->info.peer) == NULL) {
		/* Ours may be on its way: one attempt at a time. */
		if (peer->awaited && !HVRI_PLANT(attempts_pile_up))
			peer->connecting = true;
		else
			retry_later(peer, link->close_code);
	}
	/* Who was looked for is not there: by a wrong address, or with the certificate of
	 * another. That may be mended, so it is tried again. */
	if (session->stray && !HVRI_PLANT(given_up_by_another))
		attempt_lost(node, link->close_code);
	session->free_item.run = free_session;
	hvri_queue_put(&node->home, &session->free_item);
}

static const struct hvri_link_calls calls = { link_up, link_frame, link_closed,
					      link_hello };

/* An attempt came to nothing and it cannot be said whose it was. */
static void attempt_lost(struct hvrepl_node *node, int32_t code)
{
	for (struct hvri_peer *peer = node->peers; peer != NULL;
	     peer = peer->next) {
		peer->awaited = false;
		if (peer->connecting &&
		    hvri_node_session_named(node, peer->name) == NULL)
			retry_later(peer, code);
	}
}

static void lost_arrived(struct hvri_item *item)
{
	struct hvrepl_node *node =
		(struct hvrepl_node *)((char *)item -
				       offsetof(struct hvrepl_node, lost_item));

	__atomic_store_n(&node->lost_queued, false, __ATOMIC_SEQ_CST);
	attempt_lost(node, HVREPL_E_NOMEM);
}

/* Any thread; allocates nothing. */
static void tell_lost(struct hvrepl_node *node)
{
	if (__atomic_exchange_n(&node->lost_queued, true, __ATOMIC_SEQ_CST))
		return;
	node->lost_item.run = lost_arrived;
	hvri_queue_put(&node->home, &node->lost_item);
}

struct arrival {
	struct hvri_item item;
	struct hvrepl_node *node;
	struct hvrepl_channel channel;
	uint32_t flags;
	int32_t code;
	char peer[HVREPL_PEER_NAME_MAX + 1];
};

/* Is the link what came of our attempt to reach whom it is with? */
static bool was_awaited(struct hvrepl_node *node, const char *peer)
{
	struct hvri_peer *found = find_peer(node, peer);

	if (found == NULL || !found->awaited)
		return false;
	found->awaited = false;
	return true;
}

static uint32_t links_of(const struct hvrepl_node *node, const char *peer)
{
	uint32_t count = 0;

	for (const struct hvri_session *session = node->sessions;
	     session != NULL; session = session->next)
		count += strcmp(session->link.info.peer, peer) == 0;
	return count;
}

/* Nobody has looked at its table yet. */
void hvri_channel_drop(const struct hvrepl_channel *channel)
{
	if (channel->ops != NULL && channel->ops->close != NULL)
		channel->ops->close(channel->user);
	if (channel->release != NULL)
		channel->release(channel->user);
}

static void take_channel(struct hvrepl_node *node, struct arrival *arrival)
{
	struct hvri_hello hello = {
		.version_min = HVRI_WIRE_VERSION,
		.version_max = HVRI_WIRE_VERSION,
		.features = HVRI_FEATURES,
		.node = node->id,
		.incarnation = node->incarnation,
	};
	bool initiator = (arrival->flags & HVREPL_CHANNEL_INITIATOR) != 0;
	struct hvri_session *session = NULL;
	int32_t rc = node->closing ? HVREPL_E_CLOSED : HVREPL_OK;

	if (rc == HVREPL_OK) {
		session = hvri_alloc(&node->env, sizeof(*session));
		rc = session == NULL ? HVREPL_E_NOMEM : HVREPL_OK;
	}
	if (rc < 0) {
		hvri_channel_drop(&arrival->channel);
		if (initiator && !HVRI_PLANT(connect_given_up))
			attempt_lost(node, rc);
		return;
	}
	snprintf(hello.site, sizeof(hello.site), "%s", node->site);
	session->node = node;
	session->serial = ++node->session_serial;
	hvri_trial_session_init(session);
	rc = hvri_link_start(&session->link, &node->env, &node->home,
			     &node->timers, &arrival->channel, initiator,
			     &hello, &calls);
	if (rc < 0) {
		hvri_log(&node->env, HVREPL_LOG_WARNING,
			 "a channel was refused: %s", hvrepl_strerror(rc));
		hvri_free(&node->env, session, sizeof(*session));
		if (initiator)
			attempt_lost(node, rc);
		return;
	}
	session->stray = initiator &&
			 !was_awaited(node, session->link.info.peer);
	session->next = node->sessions;
	node->sessions = session;
	if (links_of(node, session->link.info.peer) > HVRI_LINKS_MAX) {
		snprintf(session->link.close_sentence,
			 sizeof(session->link.close_sentence),
			 "it has %u connections already", HVRI_LINKS_MAX);
		hvri_link_broke(&session->link, HVREPL_E_LIMIT);
	}
}

static void arrived(struct hvri_item *item)
{
	struct arrival *arrival = (struct arrival *)item;
	struct hvrepl_node *node = arrival->node;

	if (arrival->channel.ops != NULL) {
		take_channel(node, arrival);
	} else {
		struct hvri_peer *peer = find_peer(node, arrival->peer);

		if (peer != NULL)
			peer->awaited = false;
		if (peer != NULL && peer->connecting)
			retry_later(peer, arrival->code);
	}
	hvri_free(&node->env, arrival, sizeof(*arrival));
}

int32_t hvri_node_connected(struct hvrepl_node *node,
			    const struct hvrepl_channel *channel,
			    uint32_t flags)
{
	struct arrival *arrival = NULL;
	int32_t rc = channel->ops == NULL ? HVREPL_E_INVALID :
		     (flags & ~HVREPL_CHANNEL_INITIATOR) != 0 ?
						  HVREPL_E_TOO_NEW :
						  HVREPL_OK;

	if (rc == HVREPL_OK) {
		arrival = hvri_alloc(&node->env, sizeof(*arrival));
		rc = arrival == NULL ? HVREPL_E_NOMEM : HVREPL_OK;
	}
	if (rc < 0) {
		hvri_channel_drop(channel);
		if ((flags & HVREPL_CHANNEL_INITIATOR) != 0)
			tell_lost(node);
		return rc;
	}
	arrival->item.run = arrived;
	arrival->node = node;
	arrival->channel = *channel;
	arrival->flags = flags;
	hvri_queue_put(&node->home, &arrival->item);
	return HVREPL_OK;
}

int32_t hvri_node_connect_failed(struct hvrepl_node *node, const char *peer,
				 int32_t code)
{
	struct arrival *arrival = hvri_alloc(&node->env, sizeof(*arrival));

	if (arrival == NULL) {
		tell_lost(node);
		return HVREPL_E_NOMEM;
	}
	arrival->item.run = arrived;
	arrival->node = node;
	arrival->code = code;
	snprintf(arrival->peer, sizeof(arrival->peer), "%s", peer);
	hvri_queue_put(&node->home, &arrival->item);
	return HVREPL_OK;
}
