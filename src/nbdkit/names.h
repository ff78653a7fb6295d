/* SPDX-License-Identifier: Apache-2.0 */
/* The library's numbers as the words people and scripts type and read. */
#ifndef SITE_NAMES_H
#define SITE_NAMES_H

#include <hvrepl/hvrepl.h>
#include <stdbool.h>

/* "Replicating"; "?" for a number that has no word. Static. */
const char *name_of_mode(uint32_t mode);
const char *name_of_state(uint32_t state);
const char *name_of_ownership(uint32_t ownership);
const char *name_of_operation(uint32_t operation);
const char *name_of_health(uint32_t health);
const char *name_of_outcome(uint32_t outcome);
/* The n-th bit of a set of HVREPL_REASON_*. */
const char *name_of_reason(uint32_t bit);

/* The other way, whatever the case; false when there is no such word. */
bool state_of_name(const char *name, uint32_t *state_out);
bool ownership_of_name(const char *name, uint32_t *ownership_out);
bool operation_of_name(const char *name, uint32_t *operation_out);

/* "01234567-89ab-...": RFC 9562's form. */
#define UUID_TEXT 37
void uuid_text(const struct hvrepl_uuid *id, char out[UUID_TEXT]);
bool uuid_parse(const char *text, struct hvrepl_uuid *id_out);

#endif
