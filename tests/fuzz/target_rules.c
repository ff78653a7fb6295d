/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules: the table of operations beside a second writing of it, by what a site
 * is (who writes, who receives, who failed over) and not by sets of states; and
 * what must hold between rules. Inputs are questions of four bytes.
 */
#include "fuzz.h"

#include "reference.h"

#include <string.h>

#define S(name) (state == HVREPL_STATE_##name)
#define NEED(name) HVRI_NEED_##name
#define HERE(n) ((struct reference){ HVRI_PLAN_HERE, n })

static const struct reference refuse = { HVRI_PLAN_REFUSE, 0 };
static const struct reference nothing = { HVRI_PLAN_NOTHING, 0 };
static const struct reference forward = {
	HVRI_PLAN_FORWARD, HVRI_NEED_SESSION | HVRI_NEED_FREE
};

struct reference reference_rule(uint32_t mode, uint32_t state,
				uint32_t ownership, uint32_t operation)
{
	bool none = mode == HVREPL_MODE_NONE;
	bool primary = mode == HVREPL_MODE_PRIMARY;
	bool replica = mode == HVREPL_MODE_REPLICA;
	bool here = primary || replica; /* A side of a relationship. */
	bool owner = here && ownership == HVREPL_OWNERSHIP_OWNER;
	bool standby = here && ownership == HVREPL_OWNERSHIP_STANDBY;
	bool diverged = here && ownership == HVREPL_OWNERSHIP_DIVERGED;
	bool superseded = here && ownership == HVREPL_OWNERSHIP_SUPERSEDED;
	bool gave = here && ownership == HVREPL_OWNERSHIP_RELINQUISHED;
	bool writer = owner || diverged; /* Claims to write. */
	/* Whose data goes over the link, and who takes it. */
	bool sends = primary && owner, takes = replica && standby;
	bool resyncing = S(RESYNCHRONIZING) || S(RESYNC_SUSPENDED);
	bool suspended = S(SUSPENDED) || S(RESYNC_SUSPENDED);
	bool had_initial = S(REPLICATING) || S(SUSPENDED) || S(ERROR) ||
			   S(WAITING_FOR_RESYNC) || resyncing;
	/* Failed over here, to be cancelled or committed; and committed. */
	bool open = replica && writer && S(FAILED_OVER_WAITING_COMPLETION);
	bool committed = writer && S(FAILED_OVER);
	/* Handed over by us, and the other side has not reversed. */
	bool repurpose = takes && S(WAITING_FOR_REPURPOSE);

	switch (operation) {
	case HVREPL_OPERATION_ENABLE:
		return none && S(DISABLED) ? HERE(0) : refuse;
	case HVREPL_OPERATION_START_INITIAL:
		if (sends && S(READY_FOR_INITIAL))
			return HERE(NEED(REACH) | NEED(FREE));
		if (sends && S(INITIAL_IN_PROGRESS))
			return nothing;
		return takes && S(WAITING_FOR_INITIAL) ? forward : refuse;
	case HVREPL_OPERATION_SUSPEND:
		if (!owner && !standby)
			return refuse;
		if (suspended)
			return nothing;
		if (sends && (had_initial || S(INITIAL_IN_PROGRESS)))
			return HERE(0);
		return takes && (S(WAITING_FOR_INITIAL) || S(REPLICATING) ||
				 S(ERROR)) ?
			       HERE(0) :
			       refuse;
	case HVREPL_OPERATION_RESUME:
		if (!owner && !standby)
			return refuse;
		if (suspended || S(ERROR))
			return HERE(0);
		if (sends && S(WAITING_FOR_RESYNC))
			return HERE(NEED(SESSION) | NEED(FREE));
		return S(REPLICATING) || S(INITIAL_IN_PROGRESS) ||
				       S(WAITING_FOR_INITIAL) ||
				       S(RESYNCHRONIZING) ?
			       nothing :
			       refuse;
	case HVREPL_OPERATION_RESYNC:
		if (sends && had_initial)
			return HERE(NEED(SESSION) | NEED(FREE));
		return takes && had_initial ? forward : refuse;
	case HVREPL_OPERATION_PLANNED:
		if (!S(REPLICATING))
			return refuse;
		if (sends)
			return HERE(NEED(SESSION) | NEED(FREE) |
				    NEED(PEER_READY));
		return takes ? HERE(NEED(SESSION) | NEED(FREE) | NEED(POINT)) :
			       refuse;
	case HVREPL_OPERATION_UNPLANNED:
		return takes && (had_initial || repurpose) ? HERE(NEED(POINT)) :
							     refuse;
	case HVREPL_OPERATION_CHANGE_POINT:
		return open ? HERE(NEED(FREE) | NEED(OVERLAY) |
				   NEED(UNPLANNED)) :
			      refuse;
	case HVREPL_OPERATION_CANCEL:
		if (open)
			return HERE(NEED(OVERLAY));
		if (owner && S(PREPARED_FOR_FAILOVER))
			return HERE(0);
		if ((gave && S(PREPARED_FOR_FAILOVER)) || superseded)
			return HERE(NEED(SESSION) | NEED(GIVEN));
		if ((takes && S(REPLICATING)) ||
		    (sends && (S(INITIAL_IN_PROGRESS) || resyncing)))
			return HERE(0);
		return repurpose ? forward : refuse;
	case HVREPL_OPERATION_COMMIT:
		if (open)
			return HERE(NEED(FREE));
		if (committed)
			return nothing;
		return repurpose ? forward : refuse;
	case HVREPL_OPERATION_REVERSE:
		if (owner && (committed || (primary && S(WAITING_FOR_RESYNC))))
			return HERE(NEED(REACH) | NEED(FREE) | NEED(COMMITTED));
		return repurpose || superseded ? forward : refuse;
	case HVREPL_OPERATION_DISCARD:
		if (diverged)
			return HERE(NEED(SESSION) | NEED(FREE));
		if (takes || superseded ||
		    (replica && owner &&
		     (S(FAILED_OVER_WAITING_COMPLETION) || S(FAILED_OVER))))
			return HERE(NEED(TAIL));
		return sends && (S(REPLICATING) || S(SUSPENDED)) ? forward :
								   refuse;
	case HVREPL_OPERATION_FORCE:
		if (superseded || gave)
			return HERE(0);
		return owner ? HERE(NEED(UNARMED)) : refuse;
	case HVREPL_OPERATION_REMOVE:
		if (none)
			return nothing;
		return replica && S(FAILED_OVER_WAITING_COMPLETION) ?
			       refuse :
			       HERE(NEED(PLAIN));
	case HVREPL_OPERATION_VERIFY:
		if (!S(REPLICATING) && !S(SUSPENDED))
			return refuse;
		if (owner)
			return HERE(NEED(SESSION) | NEED(PEER_READY));
		return takes ? HERE(NEED(SESSION) | NEED(POINT)) : refuse;
	case HVREPL_OPERATION_CUT_NOW:
		if (!S(REPLICATING))
			return refuse;
		if (sends)
			return HERE(NEED(SESSION) | NEED(PEER_READY));
		return takes ? forward : refuse;
	default:
		return refuse;
	}
}

static bool here_somewhere(uint32_t operation)
{
	for (uint32_t m = 0; m < HVREPL_MODE_COUNT; m++)
		for (uint32_t s = 0; s < HVREPL_STATE_COUNT; s++)
			for (uint32_t o = 0; o < HVREPL_OWNERSHIP_COUNT; o++)
				if (hvri_rule_find(m, s, o, operation)->plan ==
				    HVRI_PLAN_HERE)
					return true;
	return false;
}

static void question(struct fuzz_in *in)
{
	uint32_t mode = fuzz_u8(in) % HVREPL_MODE_COUNT;
	uint32_t state = fuzz_u8(in) % HVREPL_STATE_COUNT;
	uint32_t ownership = fuzz_u8(in) % HVREPL_OWNERSHIP_COUNT;
	uint32_t operation = 1 + fuzz_u8(in) % (HVREPL_OPERATION_COUNT - 1);
	const struct hvri_rule *rule =
		hvri_rule_find(mode, state, ownership, operation);
	struct reference must =
		reference_rule(mode, state, ownership, operation);

	fuzz_must(rule != NULL, "no rule");
	fuzz_must(rule->plan == must.plan, "another plan than the reference");
	fuzz_must(rule->needs == must.needs, "other needs than the reference");
	fuzz_must((rule->plan == HVRI_PLAN_REFUSE) == (rule->code < 0) &&
			  (rule->code < 0) == (rule->sentence != NULL &&
					       strlen(rule->sentence) > 10),
		  "a refusal that does not say why");
	/* What is asked of the other site can be done at one. */
	fuzz_must(rule->plan != HVRI_PLAN_FORWARD || here_somewhere(operation),
		  "both sites ask each other");
}

static void one(const uint8_t *bytes, size_t length)
{
	struct fuzz_in in = { bytes, length };

	while (in.left >= 4)
		question(&in);
}

/* All there are. */
static void seeds(void)
{
	uint8_t bytes[4 * HVREPL_OPERATION_COUNT * HVREPL_OWNERSHIP_COUNT];

	for (uint8_t m = 0; m < HVREPL_MODE_COUNT; m++)
		for (uint8_t s = 0; s < HVREPL_STATE_COUNT; s++) {
			size_t at = 0;

			for (uint8_t o = 0; o < HVREPL_OWNERSHIP_COUNT; o++)
				for (uint8_t p = 0;
				     p + 1u < HVREPL_OPERATION_COUNT; p++) {
					bytes[at++] = m;
					bytes[at++] = s;
					bytes[at++] = o;
					bytes[at++] = p;
				}
			fuzz_seed(bytes, at);
		}
}

extern const struct fuzz_target fuzz_rules;
const struct fuzz_target fuzz_rules = { "rules", one, seeds, NULL };
