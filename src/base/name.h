/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of peers, and the patterns of authorisation entries. Pure.
 *
 * A name of letters, digits, '-', '_' and dots between them is a host's: its
 * case does not count, nor does one dot at its end. Of an IPv6 address no spelling
 * counts. Any other name (a principal, what an application's own authenticator
 * gives) is compared byte by byte: two spellings of it may be two peers.
 */
#ifndef HVRI_BASE_NAME_H
#define HVRI_BASE_NAME_H

#include "base/rc.h"

#include <hvrepl/channel.h>
#include <stdbool.h>

/* A name, and room for the longest spelling of an address (INET6_ADDRSTRLEN). */
#define HVRI_NAME_ROOM (HVREPL_PEER_NAME_MAX + 1u)
/* The one spelling of a name, in place; `name` has HVRI_NAME_ROOM bytes, for the
 * spelling of an address may be the longer one. True: a host's or an address. */
bool hvri_name_fold(char *name);
/* May it name a peer: 1 to HVREPL_PEER_NAME_MAX bytes of UTF-8, no control
 * character, no '*'? */
bool hvri_name_ok(const char *name);
/* Text of whatever origin, in place: what is no well-formed UTF-8, as where it was cut, or
 * a control character is a '?' then. */
void hvri_text_clean(char *text);
/* May it stand in an entry: a name, or "*." and at least two labels more that
 * are no address? INVALID, with a sentence. */
HVRI_MUST_CHECK int32_t hvri_pattern_check(const char *pattern,
					   struct hvrepl_error *error);
bool hvri_pattern_is_wild(const char *pattern);
/* Both as they were given; a pattern that does not pass matches nothing. */
bool hvri_pattern_matches(const char *pattern, const char *name);
#endif
