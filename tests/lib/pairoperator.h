/* SPDX-License-Identifier: Apache-2.0 */
/* An operator of the two sites of pair.h, who looks at a site's status and asks
 * for what is sensible then. */
#ifndef PAIROPERATOR_H
#define PAIROPERATOR_H

#include "pair.h"

/* False: the site is down, or does not know the VM; the status is empty. */
bool pair_look(struct pair_site *site, struct hvrepl_vm_status *status);
/* Whether a guest may write there. */
bool pair_is_open(struct pair_site *site);
/* The VM runs at `to`, and is replicated to `from`. */
bool pair_is_protected(struct pair_site *to, struct pair_site *from);
/* One step of who wants that: asks for it, or for nothing while a job of `to`
 * is under way. Where both sites wrote, `to` is to win. */
void pair_ask_sensibly(struct pair_site *to);
#endif
