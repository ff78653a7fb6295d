/* SPDX-License-Identifier: Apache-2.0 */
/* Two sites that replicate, and the update of a single step, for tests of the
 * relationship alone. SITES_SEED before it: another story of the same. */
#ifndef SITESRIG_H
#define SITESRIG_H

#include "sites.h"

#ifndef SITES_SEED
#define SITES_SEED 3
#endif

static struct sites w;
static struct hvri_update u;

static inline void set_up(void)
{
	sites_init(&w, SITES_SEED);
	sites_replicating(&w);
	ck_assert_ptr_null(w.broken);
}

static inline void tear_down(void)
{
	sites_free(&w);
}
#endif
