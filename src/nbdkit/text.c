/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a JSON string: what is no UTF-8 is shown as '?'. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

#define CHARACTER_MAX 4u

/* Bytes of the character there, by the rules that a JSON string goes by; 0: none. */
static size_t character(const char *at, size_t left)
{
	for (size_t length = 1; length <= CHARACTER_MAX && length <= left;
	     length++) {
		json_t *one = json_stringn(at, length);

		json_decref(one);
		if (one != NULL)
			return length;
	}
	return 0;
}

json_t *text_json(const char *text)
{
	json_t *value = json_string(text);
	size_t length = strlen(text);
	char *copy;

	if (value != NULL)
		return value;
	copy = strdup(text);
	if (copy == NULL)
		return NULL;
	for (size_t at = 0; at < length;) {
		size_t step = character(copy + at, length - at);

		if (step == 0)
			copy[at] = '?';
		at += step == 0 ? 1 : step;
	}
	value = json_string(copy);
	free(copy);
	return value;
}
