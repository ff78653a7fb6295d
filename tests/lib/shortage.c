/* SPDX-License-Identifier: Apache-2.0 */
/* Memory, libcrypto, I/O or an answer that is wanting; see shortage.h. */
#include "shortage.h"

#include "failing.h"

void shortage_begin(struct shortage *shortage, enum shortage_kind kind,
		    uint64_t n)
{
	struct sim *sim = shortage->sim;

	shortage->kind = kind;
	shortage->refusals = (struct test_refusals){ 0, n, false };
	sim->failed = 0;
	sim->fail_code = shortage->code;
	if (kind == SHORT_MEMORY)
		shortage->env->alloc_fail_at = (long)n;
	if (kind == SHORT_CRYPTO)
		failing_arm((long)n, false);
	if (kind == SHORT_IO)
		sim->fail_at = sim->call_count + n;
	if (kind == SHORT_FLUSHES)
		sim->flush_fail_at = sim->flush_count + n;
	if (kind == SHORT_ANSWERS)
		sim->refusals = &shortage->refusals;
	if (kind == SHORT_ENTROPY)
		shortage->env->refusals = &shortage->refusals;
}

bool shortage_end(struct shortage *shortage)
{
	struct sim *sim = shortage->sim;
	bool reached = false;

	switch (shortage->kind) {
	case SHORT_MEMORY:
		reached = shortage->env->alloc_fail_at < 0;
		break;
	case SHORT_CRYPTO:
		reached = failing.failed > 0;
		break;
	case SHORT_IO:
	case SHORT_FLUSHES:
		reached = sim->failed > 0;
		break;
	case SHORT_ANSWERS:
	case SHORT_ENTROPY:
		reached = shortage->refusals.count > shortage->refusals.at;
		break;
	case SHORT_OWN:
		break;
	}
	shortage->env->alloc_fail_at = -1;
	shortage->env->refusals = NULL;
	failing_arm(-1, false);
	sim->fail_at = sim->flush_fail_at = UINT64_MAX;
	sim->refusals = NULL;
	return reached;
}
