/* SPDX-License-Identifier: Apache-2.0 */
/* A guest that remembers what it wrote, over the two sites of pair.h. */
#ifndef GUESTSHADOW_H
#define GUESTSHADOW_H

#include "pair.h"

#define SHADOW_SIZE (1u << 20) /* Of each disk. */
#define SECOND 1000000000ull

struct shadow {
	uint8_t disks[PAIR_DISKS][SHADOW_SIZE];
};
extern struct pair pair;
extern struct shadow shadow; /* What the guest wrote. */

/* Both sites up and connected; nothing protected. */
void shadow_setup(void);
void shadow_teardown(void);
/* `writes` random writes through the site's doors; they must succeed. */
void shadow_scatter(struct pair_site *site, uint64_t seed, unsigned writes);
void shadow_flush(struct pair_site *site);
/* A recovery point at the site equals the shadow. */
void shadow_expect_point(struct pair_site *site, uint64_t point);
/* What a guest reads at the site equals the shadow. */
void shadow_expect_disks(struct pair_site *site);
/* The guest takes what it reads at the site for what it has. */
void shadow_reload(struct pair_site *site);
/* A write is refused with FENCED. */
void shadow_expect_fenced(struct pair_site *site);
/* Enabled from a to b, with a first recovery point. */
void shadow_protect(void);
/* The same, with disks that are full of bytes that do not compress. */
void shadow_protect_full(void);
/* Wait for a point at `to` of a cut that `from` makes after now; its number. */
uint64_t shadow_next_point(struct pair_site *from, struct pair_site *to);
/* Wait until the VM has this state and ownership at the site. */
void shadow_await(struct pair_site *site, uint32_t state, uint32_t ownership);
void shadow_ok(struct pair_site *site, uint32_t operation);
struct hvrepl_vm_status shadow_status(struct pair_site *site);
/* b knows the VM no more. */
bool shadow_b_is_gone(struct pair *p);
/* An enable that b refuses: a's entry there lets it have one point too few. */
void shadow_enable_over_quota(void);
#endif
