/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that a sim's disks and storages hold at one instant, pending writes too,
 * to be brought back as often as there are ways to lose power then: each
 * pending piece (a sector of a write, a resize, an object's existence) has a
 * fate of its own.
 */
#ifndef SIMSTATE_H
#define SIMSTATE_H

#include "sim.h"

#define SIM_LOST 0u
#define SIM_KEPT 1u
#define SIM_GARBAGE 2u /* A sector that tore; any other piece: lost. */

struct sim_state;

struct sim_state *sim_state_take(const struct sim *sim);
void sim_state_free(struct sim_state *state);
unsigned sim_state_pieces(const struct sim_state *state);
/* What is piece `i`, for people: "store.head sector 3". */
void sim_state_name(const struct sim_state *state, unsigned i, char *text,
		    size_t room);
/* The sim as that instant leaves it, working again. `fates` of each piece:
 * after a power loss. NULL: only the process died. Returns a digest of all
 * that the pieces could change: equal for equal outcomes of one state. */
uint64_t sim_state_put(struct sim *sim, const struct sim_state *state,
		       const uint8_t *fates);
#endif
