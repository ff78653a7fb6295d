/* SPDX-License-Identifier: Apache-2.0 */
/* Damages bytes the way accidents and attackers do; the same for a seed. */
#ifndef MUTATE_H
#define MUTATE_H

#include <stddef.h>
#include <stdint.h>

/* One to eight changes; *length_inout may shrink, or grow up to capacity. */
void mutate(uint8_t *bytes, size_t *length_inout, size_t capacity,
	    uint64_t *random);

#endif
