/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pattern: which names an authorisation entry lets in, beside a second writing
 * of it that cuts names into labels and looks at each.
 */
#include "fuzz.h"

#include "base/name.h"

#include <arpa/inet.h>
#include <hvrepl/authorisation.h>
#include <stdio.h>
#include <string.h>

#define LABELS_MAX 256u
#define TEXT_MAX 300u

struct labels {
	unsigned count; /* 0: no host's name. */
	const char *at[LABELS_MAX];
	size_t length[LABELS_MAX];
};

static struct labels cut(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz-_0123456789"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	struct labels labels = { 0 }, none = { 0 };

	for (;;) {
		size_t length = strcspn(name, ".");

		/* One dot may be the last character. */
		if (length == 0 && name[0] == 0 && labels.count > 0)
			return labels;
		if (length == 0 || strspn(name, allowed) < length ||
		    labels.count == LABELS_MAX)
			return none;
		labels.at[labels.count] = name;
		labels.length[labels.count++] = length;
		if (name[length] == 0)
			return labels;
		name += length + 1;
	}
}

/* The next character of UTF-8, by what it stands for; negative: it is none. */
static long character(const char **at)
{
	static const long least[] = { 0, 0x80, 0x800, 0x10000 };
	const unsigned char *from = (const unsigned char *)*at;
	unsigned more = from[0] < 0x80           ? 0 :
			(from[0] & 0xe0) == 0xc0 ? 1 :
			(from[0] & 0xf0) == 0xe0 ? 2 :
			(from[0] & 0xf8) == 0xf0 ? 3 :
						   9;
	long value;

	if (more == 9)
		return -1;
	value = more == 0 ? from[0] : from[0] & (0x3f >> more);
	for (unsigned i = 1; i <= more; i++) {
		if ((from[i] & 0xc0) != 0x80)
			return -1;
		value = value << 6 | (from[i] & 0x3f);
	}
	*at += more + 1;
	if (value < least[more] || value > 0x10ffff ||
	    (value >= 0xd800 && value <= 0xdfff))
		return -1;
	return value;
}

static bool is_text(const char *name)
{
	const char *at = name;

	if (name[0] == 0 || strlen(name) > 255)
		return false;
	while (*at != 0) {
		long value = character(&at);

		if (value < 0x20 || (value >= 0x7f && value < 0xa0))
			return false;
	}
	return true;
}

static bool is_number(const char *at, size_t length)
{
	return strspn(at, "0123456789") >= length;
}

static bool may_stand(const char *pattern)
{
	struct labels rest;

	if (!is_text(pattern))
		return false;
	if (strchr(pattern, '*') == NULL)
		return true;
	if (strncmp(pattern, "*.", 2) != 0)
		return false;
	rest = cut(pattern + 2);
	return rest.count >= 2 && !is_number(rest.at[rest.count - 1],
					     rest.length[rest.count - 1]);
}

static bool same(const char *a, const char *b, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		char x = a[i], y = b[i];

		if (x != y && !((x ^ y) == 0x20 && (x | 0x20) >= 'a' &&
				(x | 0x20) <= 'z'))
			return false;
	}
	return true;
}

/* By its bits, not by how it is written. */
static bool same_address(const char *a, const char *b)
{
	uint8_t one[16], other[16];

	return inet_pton(AF_INET6, a, one) == 1 &&
	       inet_pton(AF_INET6, b, other) == 1 &&
	       memcmp(one, other, sizeof(one)) == 0;
}

static bool lets_in(const char *pattern, const char *name)
{
	bool wild = pattern[0] == '*';
	struct labels of_name = cut(name);
	struct labels wanted = cut(wild ? pattern + 2 : pattern);
	unsigned skip = wild ? 1 : 0;

	if (!may_stand(pattern) || !is_text(name) || strchr(name, '*') != NULL)
		return false;
	if (of_name.count == 0 || wanted.count == 0)
		return !wild && (strcmp(pattern, name) == 0 ||
				 same_address(pattern, name));
	if (of_name.count != wanted.count + skip)
		return false;
	for (unsigned i = 0; i < wanted.count; i++)
		if (of_name.length[i + skip] != wanted.length[i] ||
		    !same(of_name.at[i + skip], wanted.at[i], wanted.length[i]))
			return false;
	return true;
}

static void check(const char *pattern, const char *name)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	char folded[TEXT_MAX], twice[TEXT_MAX];
	int32_t rc = hvrepl_peer_pattern_check(pattern, &error);
	bool in = hvrepl_peer_pattern_matches(pattern, name) != 0;

	fuzz_must((rc == HVREPL_OK) == may_stand(pattern),
		  "another pattern may stand in an entry");
	fuzz_must(rc == HVREPL_OK || strlen(error.sentence) > 20,
		  "a refusal that does not say why");
	fuzz_must(in == lets_in(pattern, name), "somebody else is let in");
	/* One spelling, and it is the same peer. */
	snprintf(folded, sizeof(folded), "%s", name);
	hvri_name_fold(folded);
	snprintf(twice, sizeof(twice), "%s", folded);
	hvri_name_fold(twice);
	fuzz_must(strcmp(folded, twice) == 0, "a name has two spellings");
	fuzz_must(hvri_pattern_matches(pattern, folded) == in,
		  "a spelling decides");
	fuzz_must(!hvri_name_ok(name) || hvri_pattern_matches(name, name),
		  "a name that is not itself");
}

static void one(const uint8_t *bytes, size_t length)
{
	char text[TEXT_MAX], name[TEXT_MAX];
	size_t first;

	if (length >= sizeof(text))
		length = sizeof(text) - 1;
	memcpy(text, bytes, length);
	text[length] = 0;
	first = strlen(text);
	name[0] = 0;
	if (first < length)
		snprintf(name, sizeof(name), "%s", text + first + 1);
	check(text, name);
	check(name, text);
}

static void seeds(void)
{
	static const struct {
		const char *pattern, *name;
	} known[] = {
		{ "west.example.com", "WEST.example.com." },
		{ "*.example.com", "west.example.com" },
		{ "*.example.com", "a.west.example.com" },
		{ "*.example.com", "example.com" },
		{ "*.com", "example.com" },
		{ "w*.example.com", "west.example.com" },
		{ "*.*.example.com", "a.west.example.com" },
		{ "*", "west" },
		{ "*.2.3.4", "1.2.3.4" },
		{ "*.co.uk", "west.co.uk" },
		{ "hvrepl/west@REALM", "hvrepl/west@realm" },
		{ "hvrepl/*@REALM", "hvrepl/west@REALM" },
		{ "2001:db8::1", "2001:DB8::1" },
		{ "spiffe://a/b", "spiffe://a/B" },
		{ "m\xc3\xbcnchen.de", "M\xc3\xbcnchen.de" },
		{ "a\xc2\x85", "a\xed\xa0\x80" },
	};
	char pair[TEXT_MAX];

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		int length = snprintf(pair, sizeof(pair), "%s%c%s",
				      known[i].pattern, 0, known[i].name);

		fuzz_seed(pair, (size_t)length);
	}
}

extern const struct fuzz_target fuzz_pattern;
const struct fuzz_target fuzz_pattern = { "pattern", one, seeds, NULL };
