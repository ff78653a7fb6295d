/* SPDX-License-Identifier: Apache-2.0 */
/* Scripts over a store and its model. */
#include "sweep.h"

#include "failing.h"
#include "storescript.h"

struct armed {
	enum kind kind;
	uint64_t n;
};

static void arm_it(struct test_env *env, struct sim *sim, void *argument)
{
	const struct armed *armed = argument;

	arm(env, sim, armed->kind, armed->n);
}

static bool run(const struct scenario *scenario, enum kind kind, uint64_t n)
{
	struct armed armed = { kind, n };
	struct script_fault fault = {
		.arm = arm_it,
		.disarm = disarm,
		.argument = &armed,
		.aside = failing_aside,
		/* A storage that goes on showing what it has lost breaks its
		 * contract (storage.h): nobody could tell when power goes. */
		.lose_power = kind != FLUSH_CLEANS && kind != FLUSH_LATE,
	};

	return script_with(scenario->script, &fault);
}

#define SCRIPT(name, ...) \
	static const uint8_t name[] = { __VA_ARGS__, END }
SCRIPT(receive, FIRST, SEND, BLOB, SEND);
SCRIPT(adopt, ADOPT, SEND, SEND);
SCRIPT(merge, ADOPT, SEND, SEND, MERGE_TO, SEND, MERGE);
SCRIPT(merge_all, ADOPT, SEND, MERGE, SEND, MERGE, SEND, MERGE);
SCRIPT(drop, ADOPT, SEND, SEND, SEND, DROP, COMPACT, DROP, COMPACT);
SCRIPT(pin, ADOPT, SEND, PIN, SEND, MERGE, SEND);
SCRIPT(upkeep, ADOPT, SEND, MAINTAIN, SEND, MAINTAIN, SEND, MAINTAIN);
SCRIPT(failover, ADOPT, SEND, SEND, FAILOVER, WRITE, FLUSH, WRITE, FLUSH);
SCRIPT(cancel, ADOPT, SEND, SEND, FAILOVER, WRITE, FLUSH, CANCEL, SEND);
SCRIPT(commit, ADOPT, SEND, SEND, FAILOVER, WRITE, FLUSH, COMMIT);
SCRIPT(commit_undo, ADOPT, SEND, SEND, MERGE, FAILOVER, WRITE, FLUSH, COMMIT);
SCRIPT(cancel_late, ADOPT, SEND, SEND, MERGE_TO, FAILOVER, WRITE, FLUSH, STEPS,
	CANCEL, SEND);
SCRIPT(reopened, ADOPT, SEND, BLOB, PART, REOPEN, SEND, PART, REOPEN, SEND);
SCRIPT(reopened_first, FIRST, SEND, REOPEN, SEND);
SCRIPT(reopened_merge, ADOPT, SEND, SEND, MERGE_TO, SEND, REOPEN, MERGE, REOPEN,
	SEND, SEND, DROP, COMPACT, REOPEN);
SCRIPT(reopened_failover, ADOPT, SEND, SEND, FAILOVER, WRITE, FLUSH, WRITE, REOPEN,
	WRITE, FLUSH, STEPS, REOPEN, WRITE, COMMIT, REOPEN);
SCRIPT(reopened_whole, ADOPT, SEND, WHOLE, REOPEN, SEND);
SCRIPT(joined, ADOPT, SEND, SEND, SEND, MAINTAIN, DROP, MAINTAIN, SEND);
SCRIPT(commit_receiving, ADOPT, SEND, SEND, PART, FAILOVER, WRITE, FLUSH, COMMIT);

#define STORE(what, script) { "store: " what, run, ALLOCS | OTHERS | IOS, 0, script, false }
static const struct scenario scenarios[] = {
	STORE("initial replication, points, record", receive),
	STORE("seeded, points", adopt),
	STORE("merge to a kept point, then all", merge),
	STORE("base follows the newest point", merge_all),
	STORE("points given up, compacted", drop),
	STORE("a pinned point", pin),
	STORE("upkeep by policy", upkeep),
	STORE("failover, guest writes", failover),
	STORE("failover, cancel, receive", cancel),
	STORE("failover, commit", commit),
	STORE("failover at a merged point, commit", commit_undo),
	STORE("commit begun, cancelled", cancel_late),
	STORE("receiving, started again", reopened),
	STORE("replicated at first, started again", reopened_first),
	STORE("merged, compacted, started again", reopened_merge),
	STORE("failover and commit, started again", reopened_failover),
	STORE("received and no point yet, started again", reopened_whole),
	STORE("upkeep that joins logs", joined),
	STORE("committed while it receives", commit_receiving),
};

const struct scenarios store_scenarios = {
	scenarios, sizeof(scenarios) / sizeof(scenarios[0])
};
