/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a JSON string. */
#ifndef SITE_TEXT_H
#define SITE_TEXT_H

#include <jansson.h>

/*
 * `text` as a JSON string; '?' for each byte that is no UTF-8, which json_string()
 * refuses: a path or what somebody typed, and a sentence that was cut in the midst of
 * a character. NULL when out of memory.
 */
json_t *text_json(const char *text);

#endif
