/* SPDX-License-Identifier: Apache-2.0 */
/* Names of modes, states, operations and reasons, and Microsoft's numbers. */
#ifndef HVRI_REPLICATION_NAMES_H
#define HVRI_REPLICATION_NAMES_H

#include <hvrepl/relationship.h>

/* Static text; "?" for unknown values. */
const char *hvri_mode_name(uint32_t mode);
const char *hvri_state_name(uint32_t state); /* PowerShell's spelling. */
const char *hvri_ownership_name(uint32_t ownership);
const char *hvri_operation_name(uint32_t operation);
const char *hvri_outcome_name(uint32_t outcome);
const char *hvri_health_name(uint32_t health);
/* Of one bit HVREPL_REASON_*. */
const char *hvri_reason_name(uint32_t reason);
/* A name as above to its value; UINT32_MAX. */
uint32_t hvri_operation_parse(const char *name);
uint32_t hvri_state_parse(const char *name);

/* Msvm_ReplicationRelationship.ReplicationState; 17 (unknown) if none. */
uint32_t hvri_state_to_wmi(uint32_t state);
/* VMReplicationState of PowerShell. */
uint32_t hvri_state_to_powershell(uint32_t state);
/* The other way; `mode` tells apart the two states that share WMI's 2.
 * UINT32_MAX when there is none. */
uint32_t hvri_state_from_wmi(uint32_t wmi, uint32_t mode);
uint32_t hvri_state_from_powershell(uint32_t powershell);
#endif
