/* SPDX-License-Identifier: Apache-2.0 */
/* What may be asked where, written a second time and another way. */
#ifndef REFERENCE_H
#define REFERENCE_H

#include "replication/rules.h"

struct reference {
	uint8_t plan;   /* enum hvri_plan */
	uint32_t needs; /* HVRI_NEED_* */
};

/* For any numbers within the public ranges. */
struct reference reference_rule(uint32_t mode, uint32_t state,
				uint32_t ownership, uint32_t operation);
#endif
