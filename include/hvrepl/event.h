/* SPDX-License-Identifier: Apache-2.0 */
/* What a node tells the application; pulled, never called back. */
#ifndef HVREPL_EVENT_H
#define HVREPL_EVENT_H

#include <hvrepl/channel.h>
#include <hvrepl/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HVREPL_EVENT_NONE 0u
#define HVREPL_EVENT_OVERFLOW 1u /* value = status events that were dropped. */
#define HVREPL_EVENT_CLOSED 2u   /* The node may be destroyed now. Never dropped. */
#define HVREPL_EVENT_SESSION 3u  /* value = 1 up, 0 down; code says why. */
#define HVREPL_EVENT_STATE 4u    /* A VM's mode, state or ownership moved. */
#define HVREPL_EVENT_POINT 5u    /* value = recovery point now available. */
/* job: value bytes of total are done, as bytes of the VM's disks. Of an initial
 * replication or a resynchronization (job 0: not asked for by anybody), and of a
 * verify. */
#define HVREPL_EVENT_PROGRESS 6u
#define HVREPL_EVENT_JOB_DONE 7u /* job, code, sentence. Never dropped. */
/*
 * Something that an audit has to hear of: value = HVREPL_AUDIT_* (audit.h), code,
 * vm, sentence. Never dropped. Together with JOB_DONE, which is never dropped
 * either, these are all there is to note: who proved itself or did not and whose
 * session ended, each denial, each change of an entry, each operation that was
 * asked for here or by a peer, epochs, failovers, commits, discards and verdicts,
 * each limit that was hit. What never gets as far as the node, TLS that fails and
 * new keys, hvrepl_tls_listen (refused) and hvrepl_tls_set_notes() tell; with
 * hvrepl_node_note() it comes as these do.
 *
 * What others bring about is bounded: of each peer's identity, or source where
 * nobody is proved, 60 events of a kind in a minute. Those beyond are counted, and
 * told as one of HVREPL_AUDIT_LIMIT as soon as the minute is over, which begins
 * with its first; process() is due then (hvrepl_node_deadline()), and before
 * CLOSED too. 32 identities and 32 sources have minutes of their own at a time,
 * others of the kind share one.
 * What operators ask for, and what this site decides by itself, is all told.
 *
 * Without memory for one it takes the place of a status event that waits. Where there is
 * none, how many were missed is told as one of HVREPL_AUDIT_LIMIT with HVREPL_E_NOMEM, in
 * their turn, and the env's log has their sentences.
 */
#define HVREPL_EVENT_AUDIT 8u
/* A VM's health, or a reason for it, is another one: value = HVREPL_HEALTH_*, and the
 * sentence of hvrepl_vm_status for the gravest reason. What only time brings about is
 * told with what happens next. Code: of a record that cannot be written
 * (HVREPL_REASON_STATE_FAILED), or of a replica's storage that cannot be opened again.
 * Not told: the ends of certificates, lists and tickets. */
#define HVREPL_EVENT_HEALTH 9u

#define HVREPL_SEVERITY_INFO 0u
#define HVREPL_SEVERITY_WARNING 1u
#define HVREPL_SEVERITY_CRITICAL 2u

/** Fixed header and payload; fields an event does not name are zero. */
struct hvrepl_event {
	uint32_t struct_size; /* Set by the caller; HVREPL_EVENT_INIT. */
	uint32_t type;        /* HVREPL_EVENT_*; skip what you do not know. */
	uint32_t severity;    /* HVREPL_SEVERITY_* */
	int32_t code;         /* HVREPL_E_* where something failed. */
	uint64_t utc_ns;      /* When, by the env's clock. */
	uint64_t seq;         /* 1, 2, 3... per node; a gap was dropped. */
	struct hvrepl_uuid vm;
	uint64_t job;
	uint64_t value, total;
	char sentence[HVREPL_SENTENCE_MAX]; /* UTF-8. */
	/** Of an audit's event, whose doing it is: a peer's identity, or the source
	 * where nobody is proved, whole. Empty: this site's. Of SESSION the peer it was
	 * with, empty where it never was up. Where struct_size has it. @since 0.1 */
	char actor[HVREPL_PEER_NAME_MAX + 1];
};
#define HVREPL_EVENT_INIT                                                    \
	{ sizeof(struct hvrepl_event), 0, 0, 0, 0, 0, { { 0 } }, 0, 0, 0, { 0 }, \
	  { 0 } }

#ifdef __cplusplus
}
#endif
#endif
