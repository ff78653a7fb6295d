/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules, by operation. Within one operation all rules but the last are
 * apart from each other; the last takes what is left. States that no flow of
 * this version leads to are refused by it, except that everything can be
 * removed.
 */
#include "replication/rules.h"

#include "base/plant.h"

#define ANY 0xffffffffu
#define M(name) (1u << HVREPL_MODE_##name)
#define S(name) (1u << HVREPL_STATE_##name)
#define O(name) (1u << HVREPL_OWNERSHIP_##name)
#define OP(name) HVREPL_OPERATION_##name
#define N(name) HVRI_NEED_##name
#define HERE(needs) HVRI_PLAN_HERE, needs, HVREPL_OK, NULL
#define NOTHING HVRI_PLAN_NOTHING, 0, HVREPL_OK, NULL
#define FORWARD HVRI_PLAN_FORWARD, N(SESSION) | N(FREE), HVREPL_OK, NULL
#define REFUSE(code, sentence) HVRI_PLAN_REFUSE, 0, code, sentence

/* States in which a standby holds or may hold a complete point. */
#define STANDBY_STATES                                                  \
	(S(REPLICATING) | S(SUSPENDED) | S(ERROR) | S(WAITING_FOR_RESYNC) | \
	 S(RESYNCHRONIZING) | S(RESYNC_SUSPENDED))
#define FAILED (S(FAILED_OVER_WAITING_COMPLETION) | S(FAILED_OVER))
#define BOTH (M(PRIMARY) | M(REPLICA))
#define CLAIMS (O(OWNER) | O(DIVERGED))

static const struct hvri_rule rules[] = {
	{ M(NONE), S(DISABLED), ANY, OP(ENABLE), HERE(0) },
	{ ANY, ANY, ANY, OP(ENABLE),
	  REFUSE(HVREPL_E_EXISTS, "replication of this VM is enabled already; "
				  "remove it first to set it up anew") },

	{ M(PRIMARY), S(READY_FOR_INITIAL), O(OWNER), OP(START_INITIAL),
	  HERE(N(REACH) | N(FREE)) },
	{ M(PRIMARY), S(INITIAL_IN_PROGRESS), O(OWNER), OP(START_INITIAL),
	  NOTHING },
	{ M(REPLICA), S(WAITING_FOR_INITIAL), O(STANDBY), OP(START_INITIAL),
	  FORWARD },
	{ ANY, ANY, ANY, OP(START_INITIAL),
	  REFUSE(HVREPL_E_STATE,
		 "initial replication starts at a primary in state "
		 "ReadyForInitialReplication") },

	{ M(PRIMARY),
	  S(INITIAL_IN_PROGRESS) | S(REPLICATING) | S(ERROR) |
		  S(WAITING_FOR_RESYNC) | S(RESYNCHRONIZING),
	  O(OWNER), OP(SUSPEND), HERE(0) },
	{ M(REPLICA), S(WAITING_FOR_INITIAL) | S(REPLICATING) | S(ERROR),
	  O(STANDBY), OP(SUSPEND), HERE(0) },
	{ BOTH, S(SUSPENDED) | S(RESYNC_SUSPENDED), O(OWNER) | O(STANDBY),
	  OP(SUSPEND), NOTHING },
	{ ANY, ANY, ANY, OP(SUSPEND),
	  REFUSE(HVREPL_E_STATE, "nothing is being replicated that could be "
				 "suspended") },

	{ BOTH, S(SUSPENDED) | S(RESYNC_SUSPENDED) | S(ERROR),
	  O(OWNER) | O(STANDBY), OP(RESUME), HERE(0) },
	{ M(PRIMARY), S(WAITING_FOR_RESYNC), O(OWNER), OP(RESUME),
	  HERE(N(SESSION) | N(FREE)) },
	{ BOTH,
	  S(REPLICATING) | S(INITIAL_IN_PROGRESS) | S(WAITING_FOR_INITIAL) |
		  S(RESYNCHRONIZING),
	  O(OWNER) | O(STANDBY), OP(RESUME), NOTHING },
	{ ANY, ANY, ANY, OP(RESUME),
	  REFUSE(HVREPL_E_STATE, "replication is not suspended here") },

	{ M(PRIMARY),
	  S(REPLICATING) | S(SUSPENDED) | S(ERROR) | S(WAITING_FOR_RESYNC) |
		  S(RESYNC_SUSPENDED) | S(RESYNCHRONIZING),
	  O(OWNER), OP(RESYNC), HERE(N(SESSION) | N(FREE)) },
	{ M(REPLICA), STANDBY_STATES, O(STANDBY), OP(RESYNC), FORWARD },
	{ BOTH, ANY, O(DIVERGED), OP(RESYNC),
	  REFUSE(HVREPL_E_DIVERGED, "both sites wrote: discard the epoch that "
				    "is to lose first") },
	{ ANY, ANY, ANY, OP(RESYNC),
	  REFUSE(HVREPL_E_STATE,
		 "there is no finished initial replication between the two "
		 "sites that could be resynchronized") },

	{ M(PRIMARY), S(REPLICATING), O(OWNER), OP(PLANNED),
	  HERE(N(SESSION) | N(FREE) | N(PEER_READY)) },
	{ M(REPLICA), S(REPLICATING), O(STANDBY), OP(PLANNED),
	  HERE(N(SESSION) | N(FREE) | N(POINT)) },
	{ BOTH, FAILED, O(OWNER), OP(PLANNED),
	  REFUSE(HVREPL_E_STATE, "this site has failed over: commit and "
				 "reverse first, then fail back") },
	{ ANY, ANY, ANY, OP(PLANNED),
	  REFUSE(HVREPL_E_STATE,
		 "a planned failover starts from state Replicating, with both "
		 "sites connected") },

	{ M(REPLICA), STANDBY_STATES | S(WAITING_FOR_REPURPOSE), O(STANDBY),
	  OP(UNPLANNED), HERE(N(POINT)) },
	{ M(REPLICA), S(WAITING_FOR_INITIAL), O(STANDBY), OP(UNPLANNED),
	  REFUSE(HVREPL_E_STATE, "initial replication is not finished: there "
				 "is no recovery point yet") },
	{ BOTH, FAILED, O(OWNER) | O(DIVERGED), OP(UNPLANNED),
	  REFUSE(HVREPL_E_STATE, "this site has failed over already; another "
				 "point is chosen with change-point") },
	{ BOTH, ANY, O(SUPERSEDED) | O(RELINQUISHED), OP(UNPLANNED),
	  REFUSE(HVREPL_E_STATE, "this site gave the VM away; it can be "
				 "started here only with force") },
	{ ANY, ANY, ANY, OP(UNPLANNED),
	  REFUSE(HVREPL_E_STATE, "an unplanned failover is started at the "
				 "replica") },

	{ M(REPLICA), S(FAILED_OVER_WAITING_COMPLETION), CLAIMS,
	  OP(CHANGE_POINT), HERE(N(FREE) | N(OVERLAY) | N(UNPLANNED)) },
	{ ANY, ANY, ANY, OP(CHANGE_POINT),
	  REFUSE(HVREPL_E_STATE, "the point can be changed only after an "
				 "unplanned failover and before its commit") },

	{ M(REPLICA), S(FAILED_OVER_WAITING_COMPLETION), CLAIMS, OP(CANCEL),
	  HERE(N(OVERLAY)) },
	{ BOTH, S(PREPARED_FOR_FAILOVER), O(OWNER), OP(CANCEL), HERE(0) },
	{ BOTH, S(PREPARED_FOR_FAILOVER), O(RELINQUISHED), OP(CANCEL),
	  HERE(N(SESSION) | N(GIVEN)) },
	{ BOTH, ANY, O(SUPERSEDED), OP(CANCEL), HERE(N(SESSION) | N(GIVEN)) },
	{ M(REPLICA), S(REPLICATING), O(STANDBY), OP(CANCEL), HERE(0) },
	{ M(REPLICA), S(WAITING_FOR_REPURPOSE), O(STANDBY), OP(CANCEL),
	  FORWARD },
	{ M(PRIMARY),
	  S(INITIAL_IN_PROGRESS) | S(RESYNCHRONIZING) | S(RESYNC_SUSPENDED),
	  O(OWNER), OP(CANCEL), HERE(0) },
	{ BOTH, S(FAILED_OVER), CLAIMS, OP(CANCEL),
	  REFUSE(HVREPL_E_STATE, "the failover is committed and can no longer "
				 "be cancelled; reverse and fail back") },
	{ ANY, ANY, ANY, OP(CANCEL),
	  REFUSE(HVREPL_E_STATE, "nothing is under way that could be "
				 "cancelled") },

	{ M(REPLICA), S(FAILED_OVER_WAITING_COMPLETION), CLAIMS, OP(COMMIT),
	  HERE(N(FREE)) },
	{ BOTH, S(FAILED_OVER), CLAIMS, OP(COMMIT), NOTHING },
	{ M(REPLICA), S(WAITING_FOR_REPURPOSE), O(STANDBY), OP(COMMIT),
	  FORWARD },
	{ ANY, ANY, ANY, OP(COMMIT),
	  REFUSE(HVREPL_E_STATE, "no failover waits for completion here") },

	{ BOTH, S(FAILED_OVER), O(OWNER), OP(REVERSE),
	  HERE(N(REACH) | N(FREE) | N(COMMITTED)) },
	{ M(PRIMARY), S(WAITING_FOR_RESYNC), O(OWNER), OP(REVERSE),
	  HERE(N(REACH) | N(FREE) | N(COMMITTED)) },
	{ M(REPLICA), S(FAILED_OVER_WAITING_COMPLETION), O(OWNER), OP(REVERSE),
	  REFUSE(HVREPL_E_STATE, "commit the failover first") },
	{ BOTH, ANY, O(DIVERGED), OP(REVERSE),
	  REFUSE(HVREPL_E_DIVERGED, "both sites wrote: discard the epoch that "
				    "is to lose first") },
	{ M(REPLICA), S(WAITING_FOR_REPURPOSE), O(STANDBY), OP(REVERSE),
	  FORWARD },
	{ BOTH, ANY, O(SUPERSEDED), OP(REVERSE), FORWARD },
	{ ANY, ANY, ANY, OP(REVERSE),
	  REFUSE(HVREPL_E_STATE, "there is no committed failover to reverse") },

	{ BOTH, ANY, O(DIVERGED), OP(DISCARD), HERE(N(SESSION) | N(FREE)) },
	{ M(REPLICA), ANY, O(STANDBY), OP(DISCARD), HERE(N(TAIL)) },
	/* What is kept of an older history keeps the overlay from folding. */
	{ BOTH, ANY, O(SUPERSEDED), OP(DISCARD), HERE(N(TAIL)) },
	{ M(REPLICA), FAILED, O(OWNER), OP(DISCARD), HERE(N(TAIL)) },
	{ M(PRIMARY), S(REPLICATING) | S(SUSPENDED), O(OWNER), OP(DISCARD),
	  FORWARD },
	{ ANY, ANY, ANY, OP(DISCARD),
	  REFUSE(HVREPL_E_STATE, "neither have both sites written nor is a "
				 "lost end kept here") },

	{ BOTH, ANY, O(SUPERSEDED) | O(RELINQUISHED), OP(FORCE), HERE(0) },
	{ BOTH, ANY, O(OWNER), OP(FORCE), HERE(N(UNARMED)) },
	{ ANY, ANY, ANY, OP(FORCE),
	  REFUSE(HVREPL_E_STATE, "force is for a site that was superseded or "
				 "has handed the VM over") },

	{ M(NONE), ANY, ANY, OP(REMOVE), NOTHING },
	{ M(REPLICA), S(FAILED_OVER_WAITING_COMPLETION), ANY, OP(REMOVE),
	  REFUSE(HVREPL_E_STATE, "what the VM wrote since the failover is not "
				 "part of its disk yet: commit or cancel "
				 "first") },
	{ ANY, ANY, ANY, OP(REMOVE), HERE(N(PLAIN)) },

	{ BOTH, S(REPLICATING) | S(SUSPENDED), O(OWNER), OP(VERIFY),
	  HERE(N(SESSION) | N(PEER_READY)) },
	{ M(REPLICA), S(REPLICATING) | S(SUSPENDED), O(STANDBY), OP(VERIFY),
	  HERE(N(SESSION) | N(POINT)) },
	{ ANY, ANY, ANY, OP(VERIFY),
	  REFUSE(HVREPL_E_STATE, "there is no point that both sites hold") },

	{ M(PRIMARY), S(REPLICATING), O(OWNER), OP(CUT_NOW),
	  HERE(N(SESSION) | N(PEER_READY)) },
	{ M(REPLICA), S(REPLICATING), O(STANDBY), OP(CUT_NOW), FORWARD },
	{ ANY, ANY, ANY, OP(CUT_NOW),
	  REFUSE(HVREPL_E_STATE, "recovery points are made in state "
				 "Replicating only") },
};

static const struct {
	int32_t code;
	const char *sentence;
} needs[HVRI_NEED_COUNT] = {
	{ HVREPL_E_UNAVAILABLE,
	  "the other site cannot be reached now; try again when it is "
	  "connected" },
	{ HVREPL_E_BUSY, "another job of this VM is under way; wait for it, or "
			 "cancel it" },
	{ HVREPL_E_NOT_FOUND, "there is no such recovery point here" },
	{ HVREPL_E_STATE, "commit the failover first" },
	{ HVREPL_E_STATE, "this failover writes to the VM's own disk, there is "
			  "nothing to go back to" },
	{ HVREPL_E_STATE, "after a planned failover there is no other point "
			  "without loss; cancel it first" },
	{ HVREPL_E_BUSY, "what was written since the failover is not folded "
			 "into the disk yet: wait for that; a superseded site "
			 "folds after force" },
	{ HVREPL_E_STATE, "nothing was handed over that could be taken back" },
	{ HVREPL_E_NOT_FOUND, "no lost end is kept here" },
	{ HVREPL_E_STATE, "the other site does not stand by for this one" },
	{ HVREPL_E_STATE, "the VM may write here already" },
	{ HVREPL_E_UNAVAILABLE,
	  "the other site cannot be reached now; try again when it is "
	  "connected" },
};

static bool matches(const struct hvri_rule *rule, uint32_t mode,
		    uint32_t state, uint32_t ownership, uint32_t operation)
{
	return rule->operation == operation && (rule->modes >> mode & 1) &&
	       (rule->states >> state & 1) &&
	       (rule->ownerships >> ownership & 1);
}

static uint32_t planted_state(uint32_t operation, uint32_t state)
{
	if (HVRI_PLANT(joinc) && operation == OP(REVERSE) &&
	    state == HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION)
		return HVREPL_STATE_FAILED_OVER;
	return state;
}

const struct hvri_rule *hvri_rule_find(uint32_t mode, uint32_t state,
				       uint32_t ownership, uint32_t operation)
{
	state = planted_state(operation, state);
	for (size_t i = 0; i < HVRI_ARRAY_LEN(rules); i++)
		if (matches(&rules[i], mode, state, ownership, operation))
			return &rules[i];
	return NULL;
}

uint32_t hvri_rules_allowed(uint32_t mode, uint32_t state, uint32_t ownership,
			    uint32_t has)
{
	uint32_t found = 0, allowed = 0;

	for (size_t i = 0; i < HVRI_ARRAY_LEN(rules); i++) {
		const struct hvri_rule *rule = &rules[i];
		uint32_t bit = 1u << rule->operation;

		/* The first that matches decides, as hvri_rule_find() does. */
		if ((found & bit) != 0 ||
		    !matches(rule, mode, planted_state(rule->operation, state),
			     ownership, rule->operation))
			continue;
		found |= bit;
		if (rule->plan != HVRI_PLAN_REFUSE && (rule->needs & ~has) == 0)
			allowed |= bit;
	}
	return allowed;
}

uint32_t hvri_rule_matches(uint32_t mode, uint32_t state, uint32_t ownership,
			   uint32_t operation)
{
	uint32_t count = 0;

	for (size_t i = 0; i + 1 < HVRI_ARRAY_LEN(rules); i++)
		if (rules[i + 1].operation == rules[i].operation &&
		    matches(&rules[i], mode, state, ownership, operation))
			count++;
	return count;
}

int32_t hvri_rule_need(uint32_t missing, const char **sentence_out)
{
	for (uint32_t i = 0; i < HVRI_NEED_COUNT; i++)
		if (missing >> i & 1) {
			*sentence_out = needs[i].sentence;
			return needs[i].code;
		}
	*sentence_out = NULL;
	return HVREPL_OK;
}
