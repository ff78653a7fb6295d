/* SPDX-License-Identifier: Apache-2.0 */
/* One table a kind; the two numberings of states differ on purpose. */
#include "replication/names.h"

#include "base/rc.h"

#include <string.h>

#define WMI_UNKNOWN 17u

static const struct {
	const char *name;
	uint8_t wmi, powershell;
} states[HVREPL_STATE_COUNT] = {
	[HVREPL_STATE_DISABLED] = { "Disabled", 0, 0 },
	[HVREPL_STATE_READY_FOR_INITIAL] =
		{ "ReadyForInitialReplication", 1, 1 },
	[HVREPL_STATE_INITIAL_IN_PROGRESS] =
		{ "InitialReplicationInProgress", 2, 2 },
	[HVREPL_STATE_WAITING_FOR_INITIAL] =
		{ "WaitingForInitialReplication", 2, 3 },
	[HVREPL_STATE_REPLICATING] = { "Replicating", 3, 4 },
	[HVREPL_STATE_PREPARED_FOR_FAILOVER] = { "PreparedForFailover", 4, 5 },
	[HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION] =
		{ "FailedOverWaitingCompletion", 5, 6 },
	[HVREPL_STATE_FAILED_OVER] = { "FailedOver", 6, 7 },
	[HVREPL_STATE_SUSPENDED] = { "Suspended", 7, 8 },
	[HVREPL_STATE_ERROR] = { "Error", 8, 9 },
	[HVREPL_STATE_WAITING_FOR_RESYNC] =
		{ "WaitingForStartResynchronize", 9, 10 },
	[HVREPL_STATE_RESYNCHRONIZING] = { "Resynchronizing", 10, 11 },
	[HVREPL_STATE_RESYNC_SUSPENDED] = { "ResynchronizeSuspended", 11, 12 },
	[HVREPL_STATE_FAILOVER_IN_PROGRESS] = { "RecoveryInProgress", 12, 13 },
	[HVREPL_STATE_FAILBACK_IN_PROGRESS] = { "FailbackInProgress", 13, 14 },
	[HVREPL_STATE_FAILBACK_COMPLETE] = { "FailbackComplete", 14, 15 },
	[HVREPL_STATE_WAITING_FOR_UPDATE] =
		{ "WaitingForUpdateCompletion", 15, 16 },
	[HVREPL_STATE_UPDATE_ERROR] = { "UpdateError", 16, 17 },
	[HVREPL_STATE_WAITING_FOR_REPURPOSE] =
		{ "WaitingForRepurposeCompletion", 18, 18 },
	[HVREPL_STATE_PREPARED_FOR_SYNC] =
		{ "PreparedForSyncReplication", 19, 19 },
	[HVREPL_STATE_PREPARED_FOR_GROUP_REVERSE] =
		{ "PreparedForGroupReverseReplication", 20, 20 },
	[HVREPL_STATE_FIREDRILL_IN_PROGRESS] =
		{ "FiredrillInProgress", 21, 21 },
};

static const char *const modes[HVREPL_MODE_COUNT] = {
	"None", "Primary", "Replica", "TestReplica", "ExtendedReplica",
};
static const char *const ownerships[HVREPL_OWNERSHIP_COUNT] = {
	"owner", "standby", "superseded", "diverged", "relinquished",
};
static const char *const operations[HVREPL_OPERATION_COUNT] = {
	NULL,
	"enable",
	"start-initial",
	"suspend",
	"resume",
	"resync",
	"planned-failover",
	"unplanned-failover",
	"change-point",
	"cancel",
	"commit",
	"reverse",
	"discard",
	"force",
	"remove",
	"verify",
	"cut-now",
};
static const char *const outcomes[] = {
	"open", "committed", "abandoned", "refused",
};
static const char *const healths[] = {
	"NotApplicable", "Normal", "Warning", "Critical",
};
static const char *const reasons[HVREPL_REASON_COUNT] = {
	"diverged",	  "superseded",	      "rolled-back",
	"error",	  "resync-needed",    "not-reversed",
	"disconnected",	  "peer-refuses",     "peer-paused",
	"paused",	  "initial-unfinished", "cycles-missed",
	"point-old",	  "handover-open",    "peer-unknown",
	"tail-kept",
	"replica-changed", "replica-full", "point-viewed",
	"storage-failed", "certificate-ends", "peer-certificate-ends",
	"revocation-list-ends", "ticket-not-renewed",
	"state-failed",
};

static const char *pick(const char *const *table, size_t count, uint32_t i)
{
	return i < count && table[i] ? table[i] : "?";
}

const char *hvri_mode_name(uint32_t mode)
{
	return pick(modes, HVRI_ARRAY_LEN(modes), mode);
}

const char *hvri_state_name(uint32_t state)
{
	return state < HVREPL_STATE_COUNT ? states[state].name : "?";
}

const char *hvri_ownership_name(uint32_t ownership)
{
	return pick(ownerships, HVRI_ARRAY_LEN(ownerships), ownership);
}

const char *hvri_operation_name(uint32_t operation)
{
	return pick(operations, HVRI_ARRAY_LEN(operations), operation);
}

const char *hvri_outcome_name(uint32_t outcome)
{
	return pick(outcomes, HVRI_ARRAY_LEN(outcomes), outcome);
}

const char *hvri_health_name(uint32_t health)
{
	return pick(healths, HVRI_ARRAY_LEN(healths), health);
}

const char *hvri_reason_name(uint32_t reason)
{
	for (uint32_t i = 0; i < HVREPL_REASON_COUNT; i++)
		if (reason == 1u << i)
			return reasons[i];
	return "?";
}

uint32_t hvri_operation_parse(const char *name)
{
	for (uint32_t i = 1; i < HVREPL_OPERATION_COUNT; i++)
		if (strcmp(operations[i], name) == 0)
			return i;
	return UINT32_MAX;
}

uint32_t hvri_state_parse(const char *name)
{
	for (uint32_t i = 0; i < HVREPL_STATE_COUNT; i++)
		if (strcmp(states[i].name, name) == 0)
			return i;
	return UINT32_MAX;
}

uint32_t hvri_state_to_wmi(uint32_t state)
{
	return state < HVREPL_STATE_COUNT ? states[state].wmi : WMI_UNKNOWN;
}

uint32_t hvri_state_to_powershell(uint32_t state)
{
	return state < HVREPL_STATE_COUNT ? states[state].powershell :
					    UINT32_MAX;
}

uint32_t hvri_state_from_wmi(uint32_t wmi, uint32_t mode)
{
	if (wmi == 2)
		return mode == HVREPL_MODE_PRIMARY ?
			       HVREPL_STATE_INITIAL_IN_PROGRESS :
			       HVREPL_STATE_WAITING_FOR_INITIAL;
	for (uint32_t i = 0; i < HVREPL_STATE_COUNT; i++)
		if (states[i].wmi == wmi)
			return i;
	return UINT32_MAX;
}

uint32_t hvri_state_from_powershell(uint32_t powershell)
{
	for (uint32_t i = 0; i < HVREPL_STATE_COUNT; i++)
		if (states[i].powershell == powershell)
			return i;
	return UINT32_MAX;
}
