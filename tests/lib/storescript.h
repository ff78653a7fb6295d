/* SPDX-License-Identifier: Apache-2.0 */
/* Scripts over a store's world, crashed at every I/O and recovered. */
#ifndef STORESCRIPT_H
#define STORESCRIPT_H

#include "storeworld.h"

/* Where a script is; steps look at the store first, so that the step that
 * crashed can be done again. */
enum {
	FIRST = 1,
	ADOPT,
	SEND,
	MERGE,	  /* To the newest point. */
	MERGE_TO, /* To the middle one. */
	MAINTAIN,
	DROP, /* The second oldest. */
	COMPACT,
	FAILOVER, /* At the middle point. */
	WRITE,
	FLUSH,
	COMMIT,
	STEPS, /* A few steps of a commit only. */
	CANCEL,
	BLOB,
	PIN,
	PART,	/* Of a cut, and no point yet. */
	WHOLE,	/* All of a cut, and no point yet. */
	REOPEN, /* The process ends, and starts again. */
	END = 0,
};

/* Run the script with a crash at every I/O, power loss and process crash, and
 * mostly another one inside the recovery. After each recovery every kept point
 * is exact, what is not acknowledged is whole or absent, and what the guest
 * flushed is there; then the script goes on to its end. */
void script_everywhere(const uint8_t *script,
		       const struct hvrepl_store_options *options);
/* Run it with the n-th allocation failing, for every n: a step that fails says
 * NOMEM and succeeds when it is done again. */
void script_alloc_fails(const uint8_t *script);
/* Run it with the n-th callback failing, for every n: what is not poisoned
 * goes on, what is poisoned goes on after opening again. */
void script_io_fails(const uint8_t *script);

/* One run with what `arm` puts into env and sim; what failed is done again
 * when `disarm` has taken it out. With `lose_power` what is acknowledged in
 * the end is durable. False: nothing had failed. */
struct script_fault {
	void (*arm)(struct test_env *env, struct sim *sim, void *argument);
	bool (*disarm)(struct test_env *env, struct sim *sim);
	void *argument;
	void (*aside)(bool begun); /* As in storeworld.h; or NULL. */
	bool lose_power;
};
bool script_with(const uint8_t *script, const struct script_fault *fault);
#endif
