/* SPDX-License-Identifier: Apache-2.0 */
/* What proves a site: made, read again while it runs, watched, shown. */
#ifndef SITE_TRUST_H
#define SITE_TRUST_H

#include "endpoint.h"

#include <jansson.h>

/* Before there are threads. */
int32_t trust_make(struct endpoint *endpoint, struct hvrepl_error *error);
/*
 * Control thread from here. Read all again, as `fresh` has it; a failure leaves
 * what is used. Nothing where `fresh` proves the site in the other way: that
 * needs a restart.
 */
int32_t trust_reload(struct endpoint *endpoint, const struct site_config *fresh,
		     struct hvrepl_error *error);
void trust_free(struct endpoint *endpoint);
/* When trust_turn() is due; it takes changed revocation lists, and tells. */
uint64_t trust_deadline(const struct endpoint *endpoint);
void trust_turn(struct endpoint *endpoint);
/* null: the site has nothing to prove itself with. */
json_t *trust_json(struct endpoint *endpoint);

#endif
