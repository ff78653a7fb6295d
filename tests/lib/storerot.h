/* SPDX-License-Identifier: Apache-2.0 */
/* Bits that rot on the volume of a store. */
#ifndef STOREROT_H
#define STOREROT_H

#include "sim.h"

/* Flip a bit in each chunk of data of the newest point's log, which the base has
 * not moved over yet; how many. */
unsigned store_rot_newest(struct hvrepl_store *store,
			  struct sim_storage *storage);
#endif
