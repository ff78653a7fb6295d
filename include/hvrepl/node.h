/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node: one replication endpoint. It decides and drives; the application
 * lends it state storage, channels, disks and threads.
 *
 * Control plane: every hvrepl_node_* and hvrepl_vm_* function is to be called
 * by one thread at a time, except those marked "any thread". Control callbacks
 * run inside hvrepl_node_process() and nowhere else. A function that is not
 * callback-safe returns HVREPL_E_REENTRANT inside one.
 *
 * What a function takes (channels, disks, storages, a state, whatever has a
 * `release`) it takes also when it fails, REENTRANT and TOO_NEW included. Only of a
 * struct that is NULL or smaller than in its first version nothing can be known, and
 * nothing is taken.
 */
#ifndef HVREPL_NODE_H
#define HVREPL_NODE_H

#include <hvrepl/authorisation.h>
#include <hvrepl/channel.h>
#include <hvrepl/disk.h>
#include <hvrepl/env.h>
#include <hvrepl/error.h>
#include <hvrepl/event.h>
#include <hvrepl/guest.h>
#include <hvrepl/relationship.h>
#include <hvrepl/state.h>
#include <hvrepl/storage.h>
#include <hvrepl/store.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hvrepl_node hvrepl_node;

#define HVREPL_NAME_MAX 63u       /* Bytes of a name, without the zero. */
#define HVREPL_VM_DISKS_MAX 64u   /* Disks of one VM. */

/** A disk of a VM, as asked for or announced. */
struct hvrepl_disk_spec {
	struct hvrepl_uuid id; /* Not zero, and no other disk's of the VM. */
	uint64_t size; /* Bytes. */
	char name[HVREPL_NAME_MAX + 1]; /* A label, never a path. */
};

#define HVREPL_VM_OPEN_CREATE (1u << 0) /* Disks must be new and all zero. */

/**
 * A replica to be made or opened. What `storage_id` and `storage_root` were
 * when it was made is kept with the VM: entries may change, it stays where it
 * lies. All borrowed for the call.
 */
struct hvrepl_replica {
	uint32_t struct_size; /* Set by the library. */
	uint32_t flags;       /* HVREPL_VM_OPEN_* */
	struct hvrepl_uuid vm;
	/** Drawn by this site: name what it lies in by this, never by what the
	 * peer says. All zero: made by a version that had none; its `vm`. */
	struct hvrepl_uuid storage_id;
	const char *storage_root; /* Of the entry; "": none. */
	const char *trust_group;  /* It is bound to; "": none. */
	const char *peer;         /* Identity it is bound to. */
	const char *vm_name;      /* A label from the peer, never a path. */
	const struct hvrepl_disk_spec *specs; /* Names: labels as well. */
	uint32_t disk_count;
	uint32_t reserved;
};

/**
 * Where a VM lives at this site. The callbacks run on the control thread and
 * may block shortly.
 */
struct hvrepl_vmm_ops {
	uint32_t struct_size; /* sizeof(struct hvrepl_vmm_ops) */
	uint32_t reserved;    /* Must be zero. */
	/**
	 * Bring the disks and the storage of a replica VM: with
	 * HVREPL_VM_OPEN_CREATE when a primary enables replication to here,
	 * without when the node starts and knows the VM. `vm_name` and the
	 * names in `specs` come from the peer: labels, never paths.
	 * On success all `disk_count` disks and the storage are taken over.
	 */
	int32_t (*open_replica)(void *user, const struct hvrepl_uuid *vm,
				const char *vm_name, const char *peer,
				const struct hvrepl_disk_spec *specs,
				uint32_t disk_count, uint32_t flags,
				struct hvrepl_disk *disks_out,
				struct hvrepl_storage *storage_out);
	/** Replication was removed: disks stay or go as the site sees fit. */
	void (*removed)(void *user, const struct hvrepl_uuid *vm);
	/**
	 * In the place of open_replica, which then is not called: with all that
	 * this site itself has decided about where the VM lies. Optional.
	 * @since 0.1
	 */
	int32_t (*open_replica_at)(void *user,
				   const struct hvrepl_replica *replica,
				   struct hvrepl_disk *disks_out,
				   struct hvrepl_storage *storage_out);
	/**
	 * Can replicas be kept in that storage root of an entry ("": none, the
	 * site's own place)? Bytes that can still be written there, and of how
	 * many. Asked when a peer that may enable or receive tries its session
	 * (hvrepl_node_try_peer()), every 5 s of an entry at most; it hears the
	 * numbers, but no more than its entry's bytes_max. Optional.
	 * @since 0.1
	 */
	int32_t (*root_space)(void *user, const char *storage_root,
			      uint64_t *free_out, uint64_t *total_out);
};
#define HVREPL_VMM_OPS_INIT { sizeof(struct hvrepl_vmm_ops), 0, 0, 0, 0, 0 }

struct hvrepl_node_config {
	uint32_t struct_size; /* sizeof(struct hvrepl_node_config) */
	uint32_t flags;       /* Must be zero. */
	const struct hvrepl_env *env;   /* Copied. */
	const char *site;               /* This site's name; copied. */
	struct hvrepl_state state;      /* Taken; mandatory. */
	const struct hvrepl_vmm_ops *vmm; /* Copied; NULL: no replica here. */
	/** From any thread: hvrepl_node_process() has work now. Optional. */
	void (*wake)(void *user);
	/**
	 * May a disk be taken as unchanged by others after an unclean end? See
	 * struct hvrepl_tracker_options. Any thread. Optional.
	 */
	int32_t (*token_check)(void *user, const uint8_t *saved,
			       uint32_t saved_length, uint64_t saved_utc_ns,
			       const uint8_t *now, uint32_t now_length);
	/** Given to vmm callbacks, wake and token_check. */
	void *user;
	void (*release)(void *user); /* Once, at the end or on failure. */
	/** A former owner waits this long for contact before it lets its VMs
	 * write (O3). 0: 10 s. */
	uint64_t start_wait_ns;
	/** What then: HVREPL_START_*. */
	uint32_t start_without_peer;
	uint32_t compression_level; /* zstd level 1 to 19; 0: 1; 100: off. */
	uint64_t spool_memory;      /* Bytes per VM in memory. 0: 64 MiB. */
	/** First and longest pause between connection attempts (L4).
	 * 0: 1 s and 60 s. */
	uint64_t retry_min_ns, retry_max_ns;
	/** Of each VM that is replicated to here: as hvrepl_vm_set_quota().
	 * @since 0.1 */
	uint64_t replica_quota;
	uint32_t replica_points_min;
	uint32_t reserved; /* Must be zero. */
	/**
	 * Before what a peer asks for is done, where it costs data here or makes
	 * a replica: enable, remove, discard, commit and cancel of a failover, a
	 * reverse or content over what is in doubt. `event` is an
	 * HVREPL_EVENT_AUDIT of HVREPL_AUDIT_OPERATION, which next_event() does
	 * not bring: note it durably. Negative: it is not done, and the peer
	 * hears why and tries again. What became of it comes as events. Of an
	 * entry 60 times a minute at most; what is asked for beyond that is not
	 * done. On the control thread; may block shortly. Optional: all is done.
	 * @since 0.1
	 */
	int32_t (*permit)(void *user, const struct hvrepl_event *event);
};
#define HVREPL_NODE_CONFIG_INIT                                          \
	{ sizeof(struct hvrepl_node_config), 0, 0, 0, { 0, 0, 0 }, 0, 0, 0, \
	  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define HVREPL_START_ALLOW 0u  /* Production does not depend on the link. */
#define HVREPL_START_REFUSE 1u /* Stay fenced until the peer was heard. */

/**
 * Make a node. Nothing runs before the first hvrepl_node_process().
 * On failure the state's and config's `release` have been called and `*out` is
 * untouched.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_node_create(const struct hvrepl_node_config *config,
				      hvrepl_node **out,
				      struct hvrepl_error *error);
/** Start the end: sessions close, jobs are cancelled; EVENT_CLOSED follows. */
HVREPL_API int32_t hvrepl_node_close(hvrepl_node *node);
/** NULL is fine. BUSY before the node is closed and drained. */
HVREPL_API int32_t hvrepl_node_destroy(hvrepl_node *node);

/**
 * Do what is due, at most about `budget` pieces of work (0: all of it).
 * @return 1 when more is due at once, 0 when not, or a negative code.
 */
HVREPL_API int32_t hvrepl_node_process(hvrepl_node *node, uint32_t budget);
/** When process() is next due by the env's monotonic clock. */
HVREPL_API uint64_t hvrepl_node_deadline(hvrepl_node *node);
/**
 * Run function(argument) inside the next process(). Any thread.
 * The function may call everything but process, close and destroy.
 */
HVREPL_API int32_t hvrepl_node_post(hvrepl_node *node,
				    void (*function)(void *argument),
				    void *argument);

/** Of what never gets as far as the node. */
struct hvrepl_note {
	uint32_t struct_size; /* sizeof(struct hvrepl_note) */
	uint32_t kind;        /* HVREPL_AUDIT_*, AUTHENTICATION to REKEY. */
	uint32_t severity;    /* HVREPL_SEVERITY_* */
	int32_t code;         /* HVREPL_OK or why not. */
	/** Whose doing it is, one of the two: an identity that is proved, */
	const char *peer;
	/** ...or where it came from: hvrepl_connect_result.source. 1 to
	 * HVREPL_PEER_NAME_MAX bytes both. */
	const char *source;
	const char *sentence; /* Cut to HVREPL_SENTENCE_MAX - 1 bytes. */
};
#define HVREPL_NOTE_INIT { sizeof(struct hvrepl_note), 0, 0, 0, 0, 0, 0 }

/**
 * Have the node tell an HVREPL_EVENT_AUDIT of what it cannot know: a connection
 * that was refused (hvrepl_tls_listen), new keys and new proofs
 * (hvrepl_tls_set_notes()). It is told once the node is processed, in order, or
 * counted where its peer or source has had more than is told in a minute
 * (event.h). Strings are copied.
 * @return OK: told or counted, without memory counted; INVALID; CLOSED: it has
 *         told its last event.
 * @threadsafety Any thread, also from callbacks of listeners and connections;
 *               never blocks. @since 0.1
 */
HVREPL_API int32_t hvrepl_node_note(hvrepl_node *node,
				    const struct hvrepl_note *note);

/**
 * Add or replace the entry of `entry->peer`, or (verbs = 0, without DENY) take
 * it away. Evaluated at once: a session whose peer lost a verb, or whose trust
 * group, storage root or quota is another one now, is closed, and its peer may
 * come back with what it still has. Control thread.
 * @return OK; INVALID: see hvrepl_peer_pattern_check(), or a quota is out of
 *         range; TOO_NEW: a verb or flag that this version does not know; NOMEM.
 */
HVREPL_API int32_t
hvrepl_node_authorise(hvrepl_node *node,
		      const struct hvrepl_authorisation *entry);
/**
 * What applies to `peer`, by its exact entry or else the pattern it matches:
 * fills `status` (struct_size set by the caller). NOT_FOUND: no entry, and all
 * of `status` but the sentence is zero. Control thread. @since 0.1
 */
HVREPL_API int32_t
hvrepl_node_get_authorisation(hvrepl_node *node, const char *peer,
			      struct hvrepl_authorisation_status *status);

/**
 * When what proves this site ends, ns since 1970 UTC; until 0: not known. When
 * its peers' ends comes with their channels (hvrepl_channel_info).
 */
struct hvrepl_trust {
	uint32_t struct_size; /* sizeof(struct hvrepl_trust) */
	uint32_t reserved;    /* Must be zero. */
	uint64_t from_utc_ns, until_utc_ns; /* Own certificate. */
	/** Revocation list that ends first. */
	uint64_t list_from_utc_ns, list_until_utc_ns;
};
#define HVREPL_TRUST_INIT { sizeof(struct hvrepl_trust), 0, 0, 0, 0, 0 }
/**
 * Tell the node, for the health of its VMs; replaces what was told. Say it at
 * the start and after each reload. Control thread.
 * @return OK, INVALID, TOO_NEW. @since 0.1
 */
HVREPL_API int32_t hvrepl_node_set_trust(hvrepl_node *node,
					 const struct hvrepl_trust *trust);
/**
 * The session with `peer` could not prove itself anew and ends at `until_utc_ns`
 * (see renewal_failed of its mechanism); 0: it did after all. A new session of
 * that peer takes it back by itself. Control thread.
 * @return OK; NOT_FOUND: no such peer was added. @since 0.1
 */
HVREPL_API int32_t hvrepl_node_set_renewal(hvrepl_node *node, const char *peer,
					   uint64_t until_utc_ns);

/** How to reach a peer. */
struct hvrepl_peer_config {
	uint32_t struct_size; /* sizeof(struct hvrepl_peer_config) */
	uint32_t reserved;
	const char *name; /* Identity the peer must prove; copied. */
	/**
	 * Start connecting; end with hvrepl_node_connected() or
	 * hvrepl_node_connect_failed(), from any thread. NULL: the peer calls.
	 */
	int32_t (*connect)(void *user);
	void *user;
	void (*release)(void *user);
};
#define HVREPL_PEER_CONFIG_INIT \
	{ sizeof(struct hvrepl_peer_config), 0, 0, 0, 0, 0 }
/** Add a peer. Its `release` is called once, also on failure. @since 0.1 */
HVREPL_API int32_t hvrepl_node_add_peer(hvrepl_node *node,
					const struct hvrepl_peer_config *peer,
					struct hvrepl_error *error);

#define HVREPL_CHANNEL_INITIATOR (1u << 0) /* We connected. */
/**
 * Hand an authenticated channel to the node. Taken, also on failure: closed and
 * released.
 * @return OK, NOMEM; INVALID: no table; TOO_NEW: a flag is not known. Any thread.
 */
HVREPL_API int32_t hvrepl_node_connected(hvrepl_node *node,
					 const struct hvrepl_channel *channel,
					 uint32_t flags);
/** An attempt of `peer` failed; the next one follows by itself. Any thread. */
HVREPL_API int32_t hvrepl_node_connect_failed(hvrepl_node *node,
					      const char *peer, int32_t code);

/** What a trial found. Strings are borrowed for the call. */
struct hvrepl_trial_result {
	uint32_t struct_size; /* Set by the library; never read past it. */
	/** OK: the peer answered. PEER_VERSION: it is too old to tell. BUSY:
	 * too soon after the last one. DISCONNECTED, TIMEOUT. */
	int32_t code;
	/** Of the peer's storage: OK; NO_SPACE, LIMIT: the VM does not fit;
	 * DENIED: its entry for this site lets nothing be sent there;
	 * UNSUPPORTED: it takes no replicas, or cannot tell; STORAGE_IO... */
	int32_t storage_code;
	uint32_t reserved;
	/** Of what this site's entry there may use; HVREPL_BYTES_UNKNOWN. */
	uint64_t free_bytes, total_bytes;
	/** From the question to the answer, ns, with the time that the peer
	 * took to look; 0: none came. */
	uint64_t round_trip_ns;
	/** Bytes that came there, and in how many ns: as the peer counted. A
	 * rate is a lower bound: it is a short transfer, beside what runs. 0:
	 * not measured. */
	uint64_t bytes, duration_ns;
	const char *sentence;         /* Why not `code`; "" for OK. */
	const char *storage_sentence; /* What to do about storage_code. */
};

/** A trial of the session with a peer: its storage, the bandwidth to it. */
struct hvrepl_trial {
	uint32_t struct_size; /* sizeof(struct hvrepl_trial) */
	uint32_t disk_count;  /* Of a VM that is to be replicated to there; */
	const char *peer;
	uint64_t disk_bytes;  /* ...all its disks. 0, 0: of none. */
	uint32_t points_max;  /* ...and how many points it asks for. */
	uint32_t reserved;    /* Must be zero. */
	/** Once, inside hvrepl_node_process(). */
	void (*done)(void *user, const struct hvrepl_trial_result *result);
	void *user;
};
#define HVREPL_TRIAL_INIT { sizeof(struct hvrepl_trial), 0, 0, 0, 0, 0, 0, 0 }
/**
 * Ask a peer whose session is up what its storage has left for this site, and
 * send it at most 8 MiB in at most 2 s, within its credit and in turns with what
 * is replicated; ends within 10 s. One at a time. `trial` is copied.
 * @return OK: `done` will be called. INVALID, TOO_NEW, NOMEM, CLOSED; BUSY: one
 * is under way; DISCONNECTED: there is no session with that peer.
 * Control thread. @since 0.1
 */
HVREPL_API int32_t hvrepl_node_try_peer(hvrepl_node *node,
					const struct hvrepl_trial *trial,
					struct hvrepl_error *error);

/** A VM whose disks this site brings itself (the first primary). */
struct hvrepl_vm_config {
	uint32_t struct_size; /* sizeof(struct hvrepl_vm_config) */
	uint32_t flags;       /* Must be zero. */
	struct hvrepl_uuid id;
	const char *name; /* Copied. */
	const struct hvrepl_disk_spec *specs; /* Copied; sizes checked. */
	struct hvrepl_disk *disks;            /* Taken. */
	uint32_t disk_count;
	uint32_t points_max;  /* Kept at the replica beside the newest: 0-24. */
	struct hvrepl_storage storage; /* Taken: tracker files, logs, points. */
	uint64_t cycle_ns;    /* Between recovery points. 0: 30 s. */
	/** For when this site is its replica: as hvrepl_vm_set_quota().
	 * @since 0.1 */
	uint64_t quota;
	uint32_t points_min;
	uint32_t reserved; /* Must be zero. */
};
#define HVREPL_VM_CONFIG_INIT                                          \
	{ sizeof(struct hvrepl_vm_config), 0, { { 0 } }, 0, 0, 0, 0, 0, \
	  { 0, 0, 0 }, 0, 0, 0, 0 }
/**
 * Disks are tracked from here on and writable as the record says. Disks and storage
 * are let go when it fails.
 * @return OK, INVALID, TOO_NEW, NOMEM, CLOSED; EXISTS: the node has it, or it was
 * replicated to here; WRONG_DISK, READ_ONLY: of a disk; why its record cannot be read.
 */
HVREPL_API int32_t hvrepl_node_add_vm(hvrepl_node *node,
				      const struct hvrepl_vm_config *config,
				      struct hvrepl_error *error);
/**
 * Make recovery points of a VM every `cycle_ns` nanoseconds from now on: 100 ms
 * to 24 hours. The wait under way is replaced; no point, session or guest is
 * disturbed. It survives a restart; a VM that is not replicated yet is enabled
 * with it. It is this site's own interval: the other site keeps what it was told
 * when the VM was enabled, for when it owns the VM. Control thread.
 * @return OK, INVALID, NOT_FOUND, NOMEM, CLOSED, or why the VM is not open.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_vm_set_cycle(hvrepl_node *node,
				       const struct hvrepl_uuid *vm,
				       uint64_t cycle_ns,
				       struct hvrepl_error *error);

/**
 * Bind a VM to another trust group ("": none, then its peer alone may act for
 * it). It is bound to its peer's at first contact, and an entry whose group
 * differs is refused for it from then on: this is how an operator renames one.
 * None is a decision too: an entry that gets a group later does not change it.
 * Durable with the VM's next record; sessions that no longer fit leave the VM,
 * others come to it. Control thread.
 * @return OK, INVALID, NOT_FOUND, NOMEM, CLOSED, STATE: the VM is not replicated,
 * or why the VM is not open. @since 0.1
 */
HVREPL_API int32_t hvrepl_vm_set_trust_group(hvrepl_node *node,
					     const struct hvrepl_uuid *vm,
					     const char *trust_group,
					     struct hvrepl_error *error);

/**
 * Bytes that the recovery points of a VM may take at this site; 0: as much as
 * its storage has. An eighth of it is kept for moving and joining logs. Above
 * nine tenths of the rest the oldest points that are not pinned go, down to
 * `points_min` besides the newest; then the site receives nothing, its health
 * has REPLICA_FULL and the owner hears the reason. The disks themselves do not
 * count, and neither do the writes of a VM that runs here after a failover. Not
 * kept over a restart: say it again. Control thread.
 * @return OK, NOT_FOUND, INVALID (a quota below 4 MiB), CLOSED; NO_SPACE, with
 * the numbers: less than pinned points, the newest and the reserve need, and
 * nothing is changed. A VM that is opened with too little opens all the same, so
 * that it can fail over, but receives nothing.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_vm_set_quota(hvrepl_node *node,
				       const struct hvrepl_uuid *vm,
				       uint64_t bytes, uint32_t points_min,
				       struct hvrepl_error *error);

/** What an operator asks for. */
struct hvrepl_operation {
	uint32_t struct_size; /* sizeof(struct hvrepl_operation) */
	uint32_t type;        /* HVREPL_OPERATION_* */
	struct hvrepl_uuid vm;
	const char *peer;     /* ENABLE: to whom. */
	uint64_t point;       /* UNPLANNED, CHANGE_POINT, VERIFY; 0: newest. */
	struct hvrepl_uuid epoch; /* DISCARD: the one that is to lose. */
	uint32_t flags;       /* HVREPL_OPERATE_* */
	uint32_t reserved;
};
#define HVREPL_OPERATION_INIT                                           \
	{ sizeof(struct hvrepl_operation), 0, { { 0 } }, 0, 0, { { 0 } }, \
	  0, 0 }
/**
 * Start an operation: refused at once with a sentence, or a job that survives
 * restarts and ends with EVENT_JOB_DONE carrying *job_out.
 *
 * @return BUSY: another change of the VM is just being written, or cannot be (the
 * sentence says why): nothing was decided, ask again. STATE: not where the VM is
 * now, or it cannot be opened. CLOSED: hvrepl_node_close() was called. INVALID: no such
 * operation; ENABLE without a peer, or of disks whose ids do not tell them apart.
 */
HVREPL_API int32_t hvrepl_node_operate(hvrepl_node *node,
				       const struct hvrepl_operation *operation,
				       uint64_t *job_out,
				       struct hvrepl_error *error);

/* ---- What is shown. All of it from the control plane's thread. ---- */

/**
 * The oldest event not taken yet; event->struct_size is set by the caller.
 * @return 1: filled, 0: none, INVALID: no size, and none is taken. @since 0.1
 */
HVREPL_API int32_t hvrepl_node_next_event(hvrepl_node *node,
					  struct hvrepl_event *event);

struct hvrepl_node_status {
	uint32_t struct_size; /* Set by the caller; never written past. */
	uint32_t vm_count;
	struct hvrepl_uuid id;
	uint64_t incarnation;
	uint32_t session_count; /* Up. */
	uint32_t peer_count;
	char site[HVREPL_NAME_MAX + 1];
};
#define HVREPL_NODE_STATUS_INIT \
	{ sizeof(struct hvrepl_node_status), 0, { { 0 } }, 0, 0, 0, { 0 } }
/** Fill `status`; OK or INVALID. @since 0.1 */
HVREPL_API int32_t hvrepl_node_get_status(hvrepl_node *node,
					  struct hvrepl_node_status *status);

struct hvrepl_peer_status {
	uint32_t struct_size; /* Set by the caller; never written past. */
	uint32_t connected;   /* 1: a session is up. */
	uint32_t failures;    /* Attempts since the last success. */
	int32_t code;         /* Of the last one that failed or ended. */
	uint64_t retry_ns;    /* Monotonic; UINT64_MAX: none is due. */
	uint64_t sent_bytes, received_bytes; /* Of the session. */
	struct hvrepl_uuid node;
	char name[HVREPL_PEER_NAME_MAX + 1];
	char site[HVREPL_NAME_MAX + 1];
	/** Of the certificate it showed last, while this site runs; ns since
	 * 1970 UTC, 0: none. @since 0.1 */
	uint64_t from_utc_ns, until_utc_ns;
	/** As hvrepl_node_set_renewal(). */
	uint64_t renewal_until_utc_ns;
};
#define HVREPL_PEER_STATUS_INIT                                        \
	{ sizeof(struct hvrepl_peer_status), 0, 0, 0, 0, 0, 0, { { 0 } }, \
	  { 0 }, { 0 }, 0, 0, 0 }
/** Peer `index` of those added; NOT_FOUND past the last. @since 0.1 */
HVREPL_API int32_t hvrepl_node_get_peer(hvrepl_node *node, uint32_t index,
					struct hvrepl_peer_status *status);
/** Try all peers now that are not connected, whatever their pause. */
HVREPL_API int32_t hvrepl_node_connect_now(hvrepl_node *node);

struct hvrepl_vm_status {
	uint32_t struct_size; /* Set by the caller; never written past. */
	uint32_t mode;        /* HVREPL_MODE_* */
	uint32_t state;       /* HVREPL_STATE_* */
	uint32_t ownership;   /* HVREPL_OWNERSHIP_* */
	uint32_t health;      /* HVREPL_HEALTH_* */
	uint32_t reasons;     /* HVREPL_REASON_* */
	uint32_t allowed;     /* Bit n: HVREPL_OPERATION_n. */
	uint32_t writable;    /* 1: guests may write here now. */
	uint32_t disk_count;
	uint32_t point_count;
	/* Negative: the VM could not be opened, or its replica's storage, which
	 * failed a flush, could not be opened again. */
	int32_t open_code;
	uint32_t connected;   /* 1: a session with its peer is up. */
	struct hvrepl_uuid id;
	struct hvrepl_uuid epoch;   /* Current. */
	struct hvrepl_uuid peer;    /* Node id. */
	uint64_t last_point;        /* Owner: newest acknowledged. Standby:
				     * newest held. */
	uint64_t last_point_utc_ns;
	uint64_t last_cut;          /* Owner: newest named. */
	uint64_t dirty_bytes;       /* Owner: changed, in no cut. */
	uint64_t cuts, missed, points; /* Since the site started. */
	uint64_t sent_bytes, received_bytes; /* Of chunks. */
	uint64_t progress, total;   /* Of a transfer under way, as bytes of the
				     * disks; holes count. 0, 0: none. */
	uint64_t cycle_ns;          /* Between recovery points; 0: not known. */
	uint64_t job;               /* Under way; 0: none. */
	char name[HVREPL_NAME_MAX + 1];
	char peer_name[HVREPL_PEER_NAME_MAX + 1];
	char sentence[HVREPL_SENTENCE_MAX]; /* Of health. */
	/**
	 * What a failover without the peer gives up: every write after
	 * `loss_point`. At a standby: if it were made now, to the newest point.
	 * After one: what it gave up, until the VM is replicated again.
	 * loss_point 0: nothing to say. @since 0.1
	 *
	 * The point and its age (by the owner's clock and ours) are known. The
	 * bytes are an estimate: what the owner last said it had changed and
	 * not shipped, plus what it will have changed since, and in half a
	 * cycle (1 s to 10 s) more, if it went on as fast as in the points of
	 * late (their changed bytes over their time, or those of the newest if
	 * that is more), plus the changed bytes of newer points that were
	 * passed over. `loss_said_bytes` is the same without the middle part:
	 * the least that is lost. Blocks that
	 * were changed twice may count twice. HVREPL_BYTES_UNKNOWN: the owner
	 * said nothing since this site was started (loss_said_bytes), or there
	 * is no rate to go by (loss_bytes).
	 */
	uint64_t loss_point;
	uint64_t loss_age_ns;
	uint64_t loss_said_bytes;
	uint64_t loss_bytes;
};
#define HVREPL_VM_STATUS_INIT                                              \
	{ sizeof(struct hvrepl_vm_status), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
	  { { 0 } }, { { 0 } }, { { 0 } }, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  \
	  0, 0, { 0 }, { 0 }, { 0 }, 0, 0, 0, 0 }
/** VM `index`, in no particular order; NOT_FOUND past the last. @since 0.1 */
HVREPL_API int32_t hvrepl_node_get_vm(hvrepl_node *node, uint32_t index,
				      struct hvrepl_vm_status *status);
/** The VM of this id. @since 0.1 */
HVREPL_API int32_t hvrepl_vm_get_status(hvrepl_node *node,
					const struct hvrepl_uuid *vm,
					struct hvrepl_vm_status *status);
/** Disk `index` of a VM; NOT_FOUND past the last. @since 0.1 */
HVREPL_API int32_t hvrepl_vm_get_disk(hvrepl_node *node,
				      const struct hvrepl_uuid *vm,
				      uint32_t index,
				      struct hvrepl_disk_spec *spec_out);
/** Recovery point `index` held here, oldest first; NOT_FOUND past the last. */
HVREPL_API int32_t hvrepl_vm_get_point(hvrepl_node *node,
				       const struct hvrepl_uuid *vm,
				       uint32_t index,
				       struct hvrepl_point *point_out);

struct hvrepl_epoch {
	uint32_t struct_size; /* Set by the caller; never written past. */
	uint32_t outcome;     /* HVREPL_OUTCOME_* */
	uint32_t planned;     /* 1: child of a planned failover. */
	uint32_t current;     /* 1: the VM's present one here. */
	struct hvrepl_uuid id, parent;
	struct hvrepl_uuid owner; /* Node id. */
	uint64_t fork_point;
};
#define HVREPL_EPOCH_INIT                                               \
	{ sizeof(struct hvrepl_epoch), 0, 0, 0, { { 0 } }, { { 0 } }, \
	  { { 0 } }, 0 }
/** Epoch `index` of the VM's lineage; NOT_FOUND past the last. @since 0.1 */
HVREPL_API int32_t hvrepl_vm_get_epoch(hvrepl_node *node,
				       const struct hvrepl_uuid *vm,
				       uint32_t index,
				       struct hvrepl_epoch *epoch_out);

/**
 * The guest's door to a disk; good until the node is destroyed. Close the doors
 * before that: I/O afterwards is the caller's mistake. One whose VM is gone, removed
 * here or with a node that was closed, is shut for good (FENCED); a VM that comes anew
 * has another. @since 0.1
 */
HVREPL_API int32_t hvrepl_vm_open_disk(hvrepl_node *node,
				       const struct hvrepl_uuid *vm,
				       const struct hvrepl_uuid *disk,
				       hvrepl_guest_disk **out);
/**
 * A view of a recovery point held here, of all disks, read-only; see
 * hvrepl_view_open(). `point` is the point's number; the newest of that number.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_vm_open_view(hvrepl_node *node,
				       const struct hvrepl_uuid *vm,
				       uint64_t point, hvrepl_view **out,
				       struct hvrepl_error *error);

#ifdef __cplusplus
}
#endif
#endif
