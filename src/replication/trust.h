/* SPDX-License-Identifier: Apache-2.0 */
/* Health of what proves two sites to each other: when it ends. Pure. */
#ifndef HVRI_REPLICATION_TRUST_H
#define HVRI_REPLICATION_TRUST_H

#include "replication/relationship.h"

/* ns since 1970 UTC; until 0: not known. */
struct hvri_validity {
	uint64_t from_ns, until_ns;
};

/* Of one relationship: this site's, its peer's. */
struct hvri_trust {
	struct hvri_validity own, peer;
	struct hvri_validity list;   /* Revocation list that ends first. */
	uint64_t session_until_ns;   /* Its renewal failed; 0: it did not. */
};

/* Put reasons, level and, where it is the gravest, the sentence into `health`;
 * one of HVREPL_HEALTH_NONE stays so. */
void hvri_trust_health(const struct hvri_trust *trust, uint64_t utc_ns,
		       struct hvri_health *health);
#endif
