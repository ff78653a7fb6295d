/* SPDX-License-Identifier: Apache-2.0 */
/* Words for a VM's replication: modes, states, ownership, operations, reasons. */
#ifndef HVREPL_RELATIONSHIP_H
#define HVREPL_RELATIONSHIP_H

#include <hvrepl/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a site is to the VM; the numbers are Msvm_ComputerSystem's. */
#define HVREPL_MODE_NONE 0u
#define HVREPL_MODE_PRIMARY 1u
#define HVREPL_MODE_REPLICA 2u
#define HVREPL_MODE_TEST_REPLICA 3u
#define HVREPL_MODE_EXTENDED_REPLICA 4u
#define HVREPL_MODE_COUNT 5u

/*
 * Replication states. The numbers are hvrepl's own; WMI and PowerShell number
 * the same states differently, see hvrepl_state_to_wmi() and _to_powershell().
 */
#define HVREPL_STATE_DISABLED 0u
#define HVREPL_STATE_READY_FOR_INITIAL 1u
#define HVREPL_STATE_INITIAL_IN_PROGRESS 2u /* Primary. */
#define HVREPL_STATE_WAITING_FOR_INITIAL 3u /* Replica. */
#define HVREPL_STATE_REPLICATING 4u
#define HVREPL_STATE_PREPARED_FOR_FAILOVER 5u /* VM locked, handed over. */
#define HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION 6u
#define HVREPL_STATE_FAILED_OVER 7u /* Committed, not yet reversed. */
#define HVREPL_STATE_SUSPENDED 8u
#define HVREPL_STATE_ERROR 9u
#define HVREPL_STATE_WAITING_FOR_RESYNC 10u
#define HVREPL_STATE_RESYNCHRONIZING 11u
#define HVREPL_STATE_RESYNC_SUSPENDED 12u
#define HVREPL_STATE_FAILOVER_IN_PROGRESS 13u
#define HVREPL_STATE_FAILBACK_IN_PROGRESS 14u
#define HVREPL_STATE_FAILBACK_COMPLETE 15u
#define HVREPL_STATE_WAITING_FOR_UPDATE 16u
#define HVREPL_STATE_UPDATE_ERROR 17u
#define HVREPL_STATE_WAITING_FOR_REPURPOSE 18u /* Old primary, not reversed. */
#define HVREPL_STATE_PREPARED_FOR_SYNC 19u
#define HVREPL_STATE_PREPARED_FOR_GROUP_REVERSE 20u
#define HVREPL_STATE_FIREDRILL_IN_PROGRESS 21u
#define HVREPL_STATE_COUNT 22u

/* Who may write. */
#define HVREPL_OWNERSHIP_OWNER 0u
#define HVREPL_OWNERSHIP_STANDBY 1u
#define HVREPL_OWNERSHIP_SUPERSEDED 2u   /* Another epoch took over: fenced. */
#define HVREPL_OWNERSHIP_DIVERGED 3u     /* Both sites wrote. */
#define HVREPL_OWNERSHIP_RELINQUISHED 4u /* Given away, not yet confirmed. */
#define HVREPL_OWNERSHIP_COUNT 5u

/* What an operator may ask for. */
#define HVREPL_OPERATION_ENABLE 1u
#define HVREPL_OPERATION_START_INITIAL 2u
#define HVREPL_OPERATION_SUSPEND 3u
#define HVREPL_OPERATION_RESUME 4u
#define HVREPL_OPERATION_RESYNC 5u
#define HVREPL_OPERATION_PLANNED 6u      /* Planned failover, at either site. */
#define HVREPL_OPERATION_UNPLANNED 7u    /* To `point`, or the newest. */
#define HVREPL_OPERATION_CHANGE_POINT 8u
#define HVREPL_OPERATION_CANCEL 9u       /* The failover, or its handover. */
#define HVREPL_OPERATION_COMMIT 10u
#define HVREPL_OPERATION_REVERSE 11u
#define HVREPL_OPERATION_DISCARD 12u     /* `epoch` (or tail) is to lose. */
#define HVREPL_OPERATION_FORCE 13u       /* Write here, in a new epoch. */
#define HVREPL_OPERATION_REMOVE 14u
#define HVREPL_OPERATION_VERIFY 15u
#define HVREPL_OPERATION_CUT_NOW 16u
#define HVREPL_OPERATION_COUNT 17u

/* Outcome of an epoch. */
#define HVREPL_OUTCOME_OPEN 0u
#define HVREPL_OUTCOME_COMMITTED 1u
#define HVREPL_OUTCOME_ABANDONED 2u
#define HVREPL_OUTCOME_REFUSED 3u /* Abandoned before it was ever entered. */

#define HVREPL_HEALTH_NONE 0u
#define HVREPL_HEALTH_NORMAL 1u
#define HVREPL_HEALTH_WARNING 2u
#define HVREPL_HEALTH_CRITICAL 3u

/* Why health is not normal; a set. */
#define HVREPL_REASON_DIVERGED (1u << 0)
#define HVREPL_REASON_SUPERSEDED (1u << 1)
#define HVREPL_REASON_ROLLED_BACK (1u << 2)
#define HVREPL_REASON_ERROR (1u << 3)
#define HVREPL_REASON_RESYNC_NEEDED (1u << 4)
#define HVREPL_REASON_NOT_REVERSED (1u << 5)
#define HVREPL_REASON_DISCONNECTED (1u << 6)
#define HVREPL_REASON_PEER_REFUSES (1u << 7)
#define HVREPL_REASON_PEER_PAUSED (1u << 8)
#define HVREPL_REASON_PAUSED (1u << 9)
#define HVREPL_REASON_INITIAL_UNFINISHED (1u << 10)
#define HVREPL_REASON_CYCLES_MISSED (1u << 11)
#define HVREPL_REASON_POINT_OLD (1u << 12)
#define HVREPL_REASON_HANDOVER_OPEN (1u << 13)
#define HVREPL_REASON_PEER_UNKNOWN (1u << 14) /* Peer lost or removed it. */
/* A commit waits for the kept end of a lost epoch to be discarded. */
#define HVREPL_REASON_TAIL_KEPT (1u << 15)
/* The replica's disks were changed outside, or are damaged (T9, S1). */
#define HVREPL_REASON_REPLICA_CHANGED (1u << 16)
/* No room for the next recovery point: the quota or the volume is full. */
#define HVREPL_REASON_REPLICA_FULL (1u << 17)
/* A commit, or following again, waits for an open recovery point. */
#define HVREPL_REASON_POINT_VIEWED (1u << 18)
/* The storage of a running failover failed a flush: what it holds is known only
 * when it is opened again. Restart the site. Or a replica's storage failed one and
 * could not be opened again by itself: `open_code` and the sentence say why; it is
 * tried again with each cut that comes. */
#define HVREPL_REASON_STORAGE_FAILED (1u << 19)
/* See hvrepl_node_set_trust(): 30 days ahead a warning, 7 days critical, and
 * of what lives less than 90 days the same parts of its life. */
#define HVREPL_REASON_CERTIFICATE_ENDS (1u << 20)
#define HVREPL_REASON_PEER_CERTIFICATE_ENDS (1u << 21)
#define HVREPL_REASON_REVOCATION_LIST_ENDS (1u << 22)
/* See hvrepl_node_set_renewal(); critical in the last hour. */
#define HVREPL_REASON_TICKET_NOT_RENEWED (1u << 23)
/* This site's record of the VM cannot be written: nothing more is decided, and
 * operations get BUSY, until it can; the sentence says why. It is tried again five
 * times a second. */
#define HVREPL_REASON_STATE_FAILED (1u << 24)
#define HVREPL_REASON_COUNT 25u

#ifdef __cplusplus
}
#endif
#endif
