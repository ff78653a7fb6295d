/* SPDX-License-Identifier: Apache-2.0 */
/* Two sites, and the update of a single step, for tests of the relationship alone.
 * Before it: SITES_SEED, another story of the same; SITES_BEGIN, sites_connect for two
 * that have met and no more. */
#ifndef SITESRIG_H
#define SITESRIG_H

#include "sites.h"

#ifndef SITES_SEED
#define SITES_SEED 3
#endif
#ifndef SITES_BEGIN
#define SITES_BEGIN sites_replicating
#endif

static struct sites w;
static struct hvri_update u __attribute__((unused));

static inline void set_up(void)
{
	sites_init(&w, SITES_SEED);
	SITES_BEGIN(&w);
	ck_assert_msg(w.broken == NULL, "%s", w.broken);
}

static inline void tear_down(void)
{
	ck_assert_msg(w.broken == NULL, "%s", w.broken);
	sites_free(&w);
}

/* It is taken; what follows from it is not waited for. */
static inline void begin(uint32_t site, uint32_t operation)
{
	ck_assert_int_eq(sites_operate(&w, site, operation, 0, NULL), HVREPL_OK);
	ck_assert_msg(w.broken == NULL, "%s", w.broken);
}
#endif
