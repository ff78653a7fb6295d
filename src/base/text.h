/* SPDX-License-Identifier: Apache-2.0 */
/* Text as it stands, into a place of a fixed size: what snprintf() with "%s" does, at
 * a tenth of its cost, for names that are copied with each message or status. */
#ifndef HVRI_BASE_TEXT_H
#define HVRI_BASE_TEXT_H

#include <stddef.h>
#include <string.h>

/* At most room - 1 bytes of it and a zero; `room` at least 1. */
static inline void hvri_text(char *to, size_t room, const char *text)
{
	size_t length = strnlen(text, room - 1);

	memcpy(to, text, length);
	to[length] = 0;
}
#endif
