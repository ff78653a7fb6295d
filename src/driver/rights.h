/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what here: entries, what a VM is bound to, quotas of a peer. */
#ifndef HVRI_DRIVER_RIGHTS_H
#define HVRI_DRIVER_RIGHTS_H

#include "base/env.h"
#include "base/rc.h"
#include "format/message.h"

#include <hvrepl/authorisation.h>
#include <stdbool.h>

/* Deeds that cost data here and that a peer may have in a minute. */
#define HVRI_DEEDS_MAX 60u

struct hvrepl_node;
struct hvri_session;
struct hvri_vm;

struct hvri_entry {
	struct hvri_entry *next;
	bool gone; /* Taken away; its place is used for the next one. */
	char peer[HVREPL_PEER_NAME_MAX + 1];
	char trust_group[HVREPL_TRUST_GROUP_MAX + 1];
	char storage_root[HVREPL_STORAGE_ROOT_MAX + 1];
	uint32_t verbs, flags;
	uint32_t relationships_max, points_max;
	uint64_t bytes_max, rate_max;
	uint32_t revision; /* Of all but the verbs. */
	/* What may still be received just now, as of `filled_ns`. */
	uint64_t allowance, filled_ns;
	uint64_t deeds_ns; /* Since when `deeds` are counted. */
	uint32_t deeds;    /* That were asked for and cost data. */
	uint64_t trial_ns; /* When its last trial began; 0: none did. */
};

/* What a session is up by, to see that it changed. */
struct hvri_session_rights {
	const struct hvri_entry *entry;
	uint32_t verbs, revision;
	uint32_t told; /* Verbs whose denial is noted already. */
};

/* What binds a VM; part of its record in the state store. */
struct hvri_binding {
	char trust_group[HVREPL_TRUST_GROUP_MAX + 1];
	char storage_root[HVREPL_STORAGE_ROOT_MAX + 1];
	struct hvrepl_uuid storage_id; /* None: not drawn. */
	bool group_decided; /* Also for none: no session decides it anew. */
};

HVRI_MUST_CHECK int32_t
hvri_node_authorise(struct hvrepl_node *node,
		    const struct hvrepl_authorisation *entry);
HVRI_MUST_CHECK int32_t
hvri_node_authorisation(const struct hvrepl_node *node, const char *peer,
			struct hvrepl_authorisation_status *status);
void hvri_rights_free(struct hvrepl_node *node);
/* The entry that applies to a peer; NULL: none. */
struct hvri_entry *hvri_node_entry(const struct hvrepl_node *node,
				   const char *peer);
/* What the peer may do now: the verbs of that entry. */
uint32_t hvri_node_verbs(const struct hvrepl_node *node, const char *peer);
/* May `peer` act for the VM: is it the one it is bound to, or of its group? */
bool hvri_node_same_trust(const struct hvrepl_node *node, const char *peer,
			  const struct hvri_vm *vm);
/* First contact: bind the VM to `peer`, its entry's group and root. */
void hvri_vm_bind(struct hvri_vm *vm, const char *peer);
/* A VM whose group was never decided (bound before there were groups, or while
 * no entry named its peer) joins its own peer's, durably. */
void hvri_vm_bind_late(struct hvri_vm *vm, const char *peer);
HVRI_MUST_CHECK int32_t hvri_vm_set_trust_group(struct hvrepl_node *node,
						const struct hvrepl_uuid *vm,
						const char *trust_group,
						struct hvrepl_error *error);
/* May the peer have this VM here, as far as its quotas go? OK, or LIMIT with a
 * sentence for the peer. */
HVRI_MUST_CHECK int32_t
hvri_rights_admit(const struct hvrepl_node *node, const char *peer,
		  const struct hvri_vm *vm, const struct hvri_setup *setup,
		  char sentence[HVRI_SENTENCE_MAX + 1]);
/* The same of a VM that is not there yet: its disks' bytes, the points it asks
 * for. */
HVRI_MUST_CHECK int32_t hvri_rights_fit(const struct hvrepl_node *node,
					const struct hvri_entry *entry,
					const struct hvri_vm *except,
					uint64_t disk_bytes, uint32_t points,
					char sentence[HVRI_SENTENCE_MAX + 1]);
/* Of what storage has, what this entry may take: its bytes_max, and that without
 * what it has. */
void hvri_rights_clip(const struct hvrepl_node *node,
		      const struct hvri_entry *entry, uint64_t *free_inout,
		      uint64_t *total_inout);
/* The peer's entry, where it has a rate and that has room for a frame just now; else
 * NULL. */
const struct hvri_entry *hvri_rights_rate_due(struct hvrepl_node *node,
					      const char *peer);
/* Of `bytes`, how many the peer may send just now (rate_max); they count. */
uint64_t hvri_rights_allow(struct hvrepl_node *node, const char *peer,
			   uint64_t bytes);
/* The session is up by these rights; false: by none. */
bool hvri_session_rights_take(struct hvri_session *session);
/* Note once a session what was refused: the audit's. `vm` NULL: of none. */
void hvri_session_denied(struct hvri_session *session, uint32_t verbs,
			 const struct hvrepl_uuid *vm);
/* Entries changed: sessions that lost something end. */
void hvri_rights_recheck(struct hvrepl_node *node);
#endif
