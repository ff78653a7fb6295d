/* SPDX-License-Identifier: Apache-2.0 */
/* Damage to the objects of a store that its digests do not show: what somebody writes
 * who knows the format, or a program that has a bug. */
#ifndef STOREFORGE_H
#define STOREFORGE_H

#include "sim.h"

/* One change to a record or frame of some object, with all digests right again but,
 * now and then, the chain of the manifest's records. What it changed, for a message
 * (overwritten by the next call). */
const char *store_forge(struct sim_storage *storage, uint64_t *random);
#endif
