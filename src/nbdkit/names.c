/* SPDX-License-Identifier: Apache-2.0 */
/* The library's numbers as the words people and scripts type and read. */
#include "names.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define COUNT(names) ((uint32_t)(sizeof(names) / sizeof((names)[0])))

static const char *const modes[HVREPL_MODE_COUNT] = {
	[HVREPL_MODE_NONE] = "None",
	[HVREPL_MODE_PRIMARY] = "Primary",
	[HVREPL_MODE_REPLICA] = "Replica",
	[HVREPL_MODE_TEST_REPLICA] = "TestReplica",
	[HVREPL_MODE_EXTENDED_REPLICA] = "ExtendedReplica",
};

/* As PowerShell and Hyper-V spell them. */
static const char *const states[HVREPL_STATE_COUNT] = {
	[HVREPL_STATE_DISABLED] = "Disabled",
	[HVREPL_STATE_READY_FOR_INITIAL] = "ReadyForInitialReplication",
	[HVREPL_STATE_INITIAL_IN_PROGRESS] = "InitialReplicationInProgress",
	[HVREPL_STATE_WAITING_FOR_INITIAL] = "WaitingForInitialReplication",
	[HVREPL_STATE_REPLICATING] = "Replicating",
	[HVREPL_STATE_PREPARED_FOR_FAILOVER] = "PreparedForFailover",
	[HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION] =
		"FailedOverWaitingCompletion",
	[HVREPL_STATE_FAILED_OVER] = "FailedOver",
	[HVREPL_STATE_SUSPENDED] = "Suspended",
	[HVREPL_STATE_ERROR] = "Error",
	[HVREPL_STATE_WAITING_FOR_RESYNC] = "WaitingForStartResynchronize",
	[HVREPL_STATE_RESYNCHRONIZING] = "Resynchronizing",
	[HVREPL_STATE_RESYNC_SUSPENDED] = "ResynchronizeSuspended",
	[HVREPL_STATE_FAILOVER_IN_PROGRESS] = "RecoveryInProgress",
	[HVREPL_STATE_FAILBACK_IN_PROGRESS] = "FailbackInProgress",
	[HVREPL_STATE_FAILBACK_COMPLETE] = "FailbackComplete",
	[HVREPL_STATE_WAITING_FOR_UPDATE] = "WaitingForUpdateCompletion",
	[HVREPL_STATE_UPDATE_ERROR] = "UpdateError",
	[HVREPL_STATE_WAITING_FOR_REPURPOSE] = "WaitingForRepurposeCompletion",
	[HVREPL_STATE_PREPARED_FOR_SYNC] = "PreparedForSyncReplication",
	[HVREPL_STATE_PREPARED_FOR_GROUP_REVERSE] =
		"PreparedForGroupReverseReplication",
	[HVREPL_STATE_FIREDRILL_IN_PROGRESS] = "FiredrillInProgress",
};

static const char *const ownerships[HVREPL_OWNERSHIP_COUNT] = {
	[HVREPL_OWNERSHIP_OWNER] = "owner",
	[HVREPL_OWNERSHIP_STANDBY] = "standby",
	[HVREPL_OWNERSHIP_SUPERSEDED] = "superseded",
	[HVREPL_OWNERSHIP_DIVERGED] = "diverged",
	[HVREPL_OWNERSHIP_RELINQUISHED] = "relinquished",
};

/* As the command's verbs are called. */
static const char *const operations[HVREPL_OPERATION_COUNT] = {
	[0] = "job",
	[HVREPL_OPERATION_ENABLE] = "enable",
	[HVREPL_OPERATION_START_INITIAL] = "start-initial",
	[HVREPL_OPERATION_SUSPEND] = "suspend",
	[HVREPL_OPERATION_RESUME] = "resume",
	[HVREPL_OPERATION_RESYNC] = "resync",
	[HVREPL_OPERATION_PLANNED] = "planned-failover",
	[HVREPL_OPERATION_UNPLANNED] = "unplanned-failover",
	[HVREPL_OPERATION_CHANGE_POINT] = "change-point",
	[HVREPL_OPERATION_CANCEL] = "cancel",
	[HVREPL_OPERATION_COMMIT] = "commit",
	[HVREPL_OPERATION_REVERSE] = "reverse",
	[HVREPL_OPERATION_DISCARD] = "discard",
	[HVREPL_OPERATION_FORCE] = "force",
	[HVREPL_OPERATION_REMOVE] = "remove",
	[HVREPL_OPERATION_VERIFY] = "verify",
	[HVREPL_OPERATION_CUT_NOW] = "cut",
};

static const char *const healths[] = { "NotApplicable", "Normal", "Warning",
				       "Critical" };
static const char *const outcomes[] = { "open", "committed", "abandoned",
					"refused" };
static const char *const reasons[HVREPL_REASON_COUNT] = {
	"diverged",	 "superseded",	 "rolled-back",	      "error",
	"resync-needed", "not-reversed", "disconnected",      "peer-refuses",
	"peer-paused",	 "paused",	 "initial-unfinished", "cycles-missed",
	"point-old",	 "handover-open", "peer-unknown",
	"tail-kept",
	"replica-changed",
	"replica-full",
	"point-viewed",
	"storage-failed",
	"certificate-ends",
	"peer-certificate-ends",
	"revocation-list-ends",
	"ticket-not-renewed",
	"state-failed",
};

static const char *look(const char *const *names, uint32_t count,
			uint32_t value)
{
	return value < count && names[value] != NULL ? names[value] : "?";
}

static bool find(const char *const *names, uint32_t count, const char *name,
		 uint32_t *value_out)
{
	for (uint32_t i = 0; i < count; i++) {
		if (names[i] != NULL && strcasecmp(names[i], name) == 0) {
			*value_out = i;
			return true;
		}
	}
	return false;
}

const char *name_of_mode(uint32_t mode)
{
	return look(modes, COUNT(modes), mode);
}

const char *name_of_state(uint32_t state)
{
	return look(states, COUNT(states), state);
}

const char *name_of_ownership(uint32_t ownership)
{
	return look(ownerships, COUNT(ownerships), ownership);
}

const char *name_of_operation(uint32_t operation)
{
	return look(operations, COUNT(operations), operation);
}

const char *name_of_health(uint32_t health)
{
	return look(healths, COUNT(healths), health);
}

const char *name_of_outcome(uint32_t outcome)
{
	return look(outcomes, COUNT(outcomes), outcome);
}

const char *name_of_reason(uint32_t bit)
{
	return look(reasons, COUNT(reasons), bit);
}

bool state_of_name(const char *name, uint32_t *state_out)
{
	return find(states, COUNT(states), name, state_out);
}

bool ownership_of_name(const char *name, uint32_t *ownership_out)
{
	return find(ownerships, COUNT(ownerships), name, ownership_out);
}

bool operation_of_name(const char *name, uint32_t *operation_out)
{
	return find(operations, COUNT(operations), name, operation_out) &&
	       *operation_out != 0;
}

void uuid_text(const struct hvrepl_uuid *id, char out[UUID_TEXT])
{
	for (size_t i = 0; i < sizeof(id->bytes); i++)
		out += sprintf(out, "%s%02x",
			       i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
			       id->bytes[i]);
}

bool uuid_parse(const char *text, struct hvrepl_uuid *id_out)
{
	struct hvrepl_uuid id;

	if (strlen(text) != UUID_TEXT - 1)
		return false;
	for (size_t i = 0; i < sizeof(id.bytes); i++) {
		unsigned value;
		int used = 0;

		if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
			return false;
		if (strspn(text, "0123456789abcdefABCDEF") < 2 ||
		    sscanf(text, "%2x%n", &value, &used) != 1 || used != 2)
			return false;
		id.bytes[i] = (uint8_t)value;
		text += 2;
	}
	*id_out = id;
	return true;
}
