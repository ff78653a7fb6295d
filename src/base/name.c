/* SPDX-License-Identifier: Apache-2.0 */
/* Names of peers and patterns for them: check, fold, match. */
#include "base/name.h"

#include <arpa/inet.h>
#include <hvrepl/authorisation.h>
#include <string.h>

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_host_character(char c)
{
	c = lower(c);
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
	       c == '_';
}

/* Length without one dot at the end; 0: no host's name. */
static size_t host_length(const char *name)
{
	size_t length = strlen(name);

	if (length > 1 && name[length - 1] == '.')
		length--;
	for (size_t i = 0; i < length; i++) {
		if (is_host_character(name[i]))
			continue;
		if (name[i] != '.' || i == 0 || i + 1 == length ||
		    name[i + 1] == '.')
			return 0;
	}
	return length;
}

bool hvri_name_fold(char *name)
{
	size_t length = host_length(name);
	char text[INET6_ADDRSTRLEN];
	struct in6_addr address;

	if (length == 0) {
		/* An address has many spellings. A scope is of one host alone:
		 * that is another name. */
		if (inet_pton(AF_INET6, name, &address) != 1 ||
		    inet_ntop(AF_INET6, &address, text, sizeof(text)) == NULL ||
		    strlen(text) > HVREPL_PEER_NAME_MAX)
			return false;
		memcpy(name, text, strlen(text) + 1);
		return true;
	}
	for (size_t i = 0; i < length; i++)
		name[i] = lower(name[i]);
	name[length] = 0;
	return true;
}

/* Bytes of the well-formed UTF-8 sequence at `at`; 0: there is none. */
static size_t sequence(const unsigned char *at)
{
	size_t more;
	unsigned low = 0x80, high = 0xbf;

	if (at[0] < 0x80)
		return 1;
	if (at[0] >= 0xc2 && at[0] <= 0xdf)
		more = 1;
	else if (at[0] >= 0xe0 && at[0] <= 0xef)
		more = 2;
	else if (at[0] >= 0xf0 && at[0] <= 0xf4)
		more = 3;
	else
		return 0;
	/* No overlong forms, no surrogates, nothing above U+10FFFF. */
	if (at[0] == 0xe0)
		low = 0xa0;
	else if (at[0] == 0xed)
		high = 0x9f;
	else if (at[0] == 0xf0)
		low = 0x90;
	else if (at[0] == 0xf4)
		high = 0x8f;
	for (size_t i = 1; i <= more; i++) {
		if (at[i] < low || at[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return more + 1;
}

/* C1 controls are two bytes: C2 80 to C2 9F. */
static bool is_control(const unsigned char *at)
{
	return *at < 0x20 || *at == 0x7f || (*at == 0xc2 && at[1] < 0xa0);
}

void hvri_text_clean(char *text)
{
	unsigned char *at = (unsigned char *)text;

	while (*at != 0) {
		size_t step = sequence(at);

		if (step == 0 || is_control(at)) {
			*at++ = '?';
			continue;
		}
		at += step;
	}
}

static bool is_text(const char *name)
{
	const unsigned char *at = (const unsigned char *)name;
	size_t length = strlen(name), step;

	if (length == 0 || length > HVREPL_PEER_NAME_MAX)
		return false;
	while (*at != 0) {
		step = sequence(at);
		if (step == 0 || is_control(at))
			return false;
		at += step;
	}
	return true;
}

bool hvri_name_ok(const char *name)
{
	return is_text(name) && strchr(name, '*') == NULL;
}

bool hvri_pattern_is_wild(const char *pattern)
{
	return pattern[0] == '*';
}

/* Of a host's name: is its last label a number, as an address' is? */
static bool ends_in_number(const char *name, size_t length)
{
	size_t i = length;

	while (i > 0 && name[i - 1] != '.')
		if (name[--i] < '0' || name[i] > '9')
			return false;
	return true;
}

int32_t hvri_pattern_check(const char *pattern, struct hvrepl_error *error)
{
	const char *rest;
	size_t length;

	if (!is_text(pattern))
		return hvri_fail(error, HVREPL_E_INVALID,
				 "a peer has a name of 1 to %u bytes of UTF-8 "
				 "without control characters",
				 HVREPL_PEER_NAME_MAX);
	if (strchr(pattern, '*') == NULL)
		return HVREPL_OK;
	rest = pattern + 2;
	if (pattern[0] != '*' || pattern[1] != '.' || strchr(rest, '*') != NULL)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "in '%.100s' the '*' does not stand for one "
				 "whole label at the front: write "
				 "*.example.com, or the whole name", pattern);
	length = host_length(rest);
	if (length == 0)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "'%.100s' is no pattern of host names; a "
				 "principal is named whole", pattern);
	if (memchr(rest, '.', length) == NULL)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "'%.100s' would let in everybody under a public "
				 "suffix: write at least two labels behind the "
				 "'*.'", pattern);
	if (ends_in_number(rest, length))
		return hvri_fail(error, HVREPL_E_INVALID,
				 "'%.100s' is a pattern of addresses: name each "
				 "host", pattern);
	return HVREPL_OK;
}

static bool same_host(const char *a, const char *b, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (lower(a[i]) != lower(b[i]))
			return false;
	return true;
}

static bool same_name(const char *a, const char *b)
{
	char one[HVRI_NAME_ROOM], other[HVRI_NAME_ROOM];

	memcpy(one, a, strlen(a) + 1);
	memcpy(other, b, strlen(b) + 1);
	(void)hvri_name_fold(one);
	(void)hvri_name_fold(other);
	return strcmp(one, other) == 0;
}

bool hvri_pattern_matches(const char *pattern, const char *name)
{
	size_t length = host_length(name), rest;
	const char *dot;

	if (!hvri_name_ok(name) || hvri_pattern_check(pattern, NULL) < 0)
		return false;
	if (!hvri_pattern_is_wild(pattern))
		return same_name(pattern, name);
	/* One label of the name, then the rest as it stands. */
	rest = host_length(pattern + 2);
	dot = length == 0 ? NULL : memchr(name, '.', length);
	return dot != NULL && dot != name &&
	       length - (size_t)(dot + 1 - name) == rest &&
	       same_host(pattern + 2, dot + 1, rest);
}

const char *hvrepl_verb_name(uint32_t bit)
{
	static const char *const names[HVREPL_VERB_COUNT] = {
		"enable",    "receive",	      "reverse",
		"overwrite", "delete-points", "verify",
	};

	return bit < HVREPL_VERB_COUNT ? names[bit] : NULL;
}
