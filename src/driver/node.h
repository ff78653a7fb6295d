/* SPDX-License-Identifier: Apache-2.0 */
/* The node inside: what one replication endpoint holds. */
#ifndef HVRI_DRIVER_NODE_H
#define HVRI_DRIVER_NODE_H

#include "base/guard.h"
#include "driver/events.h"
#include "driver/link.h"
#include "driver/note.h"
#include "driver/rights.h"
#include "driver/timers.h"
#include "format/message.h"
#include "replication/trial.h"
#include "replication/trust.h"

#include <hvrepl/audit.h>
#include <hvrepl/node.h>

struct hvri_vm;
struct hvri_trial;

/* Bytes of chunks that may be on their way here, of all VMs and of one (F1). */
#define HVRI_CREDIT_POOL (256ull << 20)
#define HVRI_CREDIT_VM (32ull << 20)

/* Links that one identity may have at once, whatever node ids they say; each holds a
 * megabyte and more. Two sites that connect to each other have two for a moment. */
#define HVRI_LINKS_MAX 16u

/* A peer to be connected to. */
struct hvri_peer {
	struct hvri_peer *next;
	struct hvrepl_node *node;
	char name[HVREPL_PEER_NAME_MAX + 1];
	int32_t (*connect)(void *user);
	void *user;
	void (*release)(void *user);
	bool connecting;
	bool awaited; /* What became of connect() is not known yet. */
	uint32_t failures;
	int32_t last_code; /* Of the last attempt. */
	struct hvri_validity validity; /* As it showed last. */
	uint64_t renewal_until_ns;     /* hvrepl_node_set_renewal() */
	struct hvri_alarm retry;
};

/* One link and what the node knows of it. */
struct hvri_session {
	struct hvri_link link; /* First: found by its address. */
	struct hvri_session *next;
	struct hvrepl_node *node;
	uint64_t serial; /* 1, 2, 3... of this node. */
	bool up;
	bool was_up; /* It is, or it was. */
	bool denied; /* By us, and that was noted. */
	bool spare;  /* Closed by us before it was up: another one stands. */
	bool stray;  /* We connected, to somebody else than was looked for. */
	struct hvri_session_rights rights;
	uint64_t lent; /* Credit that its VMs have; wraps below zero. */
	struct hvri_trial_host trial; /* The peer's of this site. */
	struct hvri_alarm trial_alarm;
	struct hvri_item free_item; /* Frees it outside its own calls. */
};

struct hvrepl_node {
	struct hvri_guard guard;
	struct hvri_env env;
	struct hvri_queue home;
	struct hvri_timers timers;
	struct hvri_events events;
	struct hvri_notes notes;
	struct hvrepl_state_ops state;
	void *state_user;
	void (*state_release)(void *user);
	struct hvrepl_vmm_ops vmm;
	bool has_vmm;
	void (*wake)(void *user);
	int32_t (*token_check)(void *user, const uint8_t *saved,
			       uint32_t saved_length, uint64_t saved_utc_ns,
			       const uint8_t *now, uint32_t now_length);
	void *user;
	void (*release)(void *user);
	int32_t (*permit)(void *user, const struct hvrepl_event *event);
	char site[HVREPL_NAME_MAX + 1];
	struct hvrepl_uuid id;
	uint64_t incarnation;
	uint64_t start_wait_ns, retry_min_ns, retry_max_ns, spool_memory;
	uint64_t replica_quota;
	uint32_t replica_points_min;
	uint32_t start_without_peer;
	int32_t level;
	struct hvri_entry *entries;
	struct hvri_peer *peers;
	struct hvri_session *sessions;
	struct hvri_vm *vms;
	struct hvri_vm_disk *doors; /* Left by VMs that are gone. */
	struct hvri_validity own_validity, list_validity;
	uint64_t credit_left;
	bool credit_wanted; /* Somebody got less than it asked for. */
	uint64_t rate_turns; /* Given so far: who waits for the rate of its entry. */
	uint64_t session_serial;
	struct hvri_trial *trial; /* This site's of a peer; one at a time. */
	uint64_t trials;          /* Begun so far. */
	struct hvri_item lost_item; /* An attempt was lost for want of memory. */
	bool lost_queued;
	uint64_t jobs; /* Ids given so far, beside the incarnation. */
	uint8_t *scratch; /* HVRI_MESSAGE_ENCODED_MAX; control thread. */
	bool closing, closed;
};

void hvri_node_event(struct hvrepl_node *node,
		     const struct hvrepl_event *event);
struct hvri_vm *hvri_node_find_vm(struct hvrepl_node *node,
				  const struct hvrepl_uuid *id);
/* Goes on closing when something ended. */
void hvri_node_settled(struct hvrepl_node *node);

/* peer.c */
HVRI_MUST_CHECK int32_t hvri_node_add_peer(struct hvrepl_node *node,
					   const struct hvrepl_peer_config *peer,
					   struct hvrepl_error *error);
void hvri_peer_config_drop(const struct hvrepl_peer_config *config);
void hvri_channel_drop(const struct hvrepl_channel *channel);
HVRI_MUST_CHECK int32_t hvri_node_connected(struct hvrepl_node *node,
					    const struct hvrepl_channel *channel,
					    uint32_t flags);
HVRI_MUST_CHECK int32_t hvri_node_connect_failed(struct hvrepl_node *node,
						 const char *peer,
						 int32_t code);
/* What is known of the trust between this site and that peer. */
void hvri_node_trust(const struct hvrepl_node *node, const char *peer,
		     struct hvri_trust *trust_out);
HVRI_MUST_CHECK int32_t hvri_node_set_trust(struct hvrepl_node *node,
					    const struct hvrepl_trust *trust);
HVRI_MUST_CHECK int32_t hvri_node_set_renewal(struct hvrepl_node *node,
					      const char *peer,
					      uint64_t until_utc_ns);
/* The session that is up with this peer; NULL: none. */
struct hvri_session *hvri_node_session_named(struct hvrepl_node *node,
					     const char *peer);
/* Connect now where a connection is wanted and none is under way. */
void hvri_node_connect_now(struct hvrepl_node *node);
void hvri_peer_free_all(struct hvrepl_node *node);

/* trial.c */
HVRI_MUST_CHECK int32_t hvri_node_try_peer(struct hvrepl_node *node,
					   const struct hvrepl_trial *trial,
					   struct hvrepl_error *error);
void hvri_trial_session_init(struct hvri_session *session);
/* One of the four frames of a trial. */
HVRI_MUST_CHECK int32_t hvri_trial_frame(struct hvri_session *session,
					 const struct hvri_frame *frame,
					 const uint8_t *payload);
void hvri_trial_session_down(struct hvri_session *session);
#endif
