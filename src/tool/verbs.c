/* SPDX-License-Identifier: Apache-2.0 */
/* The one table of verbs: help, completion and dispatch all read it. */
#include "tool.h"

#include <string.h>

/* One line here, one `const struct tool_verb tool_verb_NAME` in its file. */
#define VERBS(X)          \
	X(site_run)           \
	X(site_check)         \
	X(site_reload)        \
	X(enable)             \
	X(start_initial)      \
	X(suspend)            \
	X(resume)             \
	X(resync)             \
	X(cut)                \
	X(remove)             \
	X(failover)           \
	X(change_point)       \
	X(cancel)             \
	X(commit)             \
	X(reverse)            \
	X(discard)            \
	X(force)              \
	X(status)             \
	X(points)             \
	X(measure)            \
	X(wait)               \
	X(verify)             \
	X(test_connection)    \
	X(log_create)         \
	X(log_apply)          \
	X(inspect)            \
	X(cert_init)          \
	X(cert_issue)         \
	X(cert_revoke)        \
	X(cert_show)          \
	X(audit_verify)       \
	X(help)               \
	X(completion)

#define DECLARE(name) extern const struct tool_verb tool_verb_##name;
VERBS(DECLARE)

#define LIST(name) &tool_verb_##name,
const struct tool_verb *const tool_verbs[] = { VERBS(LIST) NULL };

/* How many words of argv the name takes, or 0 when it is another verb. */
static int match(const char *name, int argc, char **argv)
{
	const char *space = strchr(name, ' ');
	size_t first = space == NULL ? strlen(name) : (size_t)(space - name);

	if (argc < 1 || strlen(argv[0]) != first ||
	    memcmp(argv[0], name, first) != 0)
		return 0;
	if (space == NULL)
		return 1;
	return argc >= 2 && strcmp(argv[1], space + 1) == 0 ? 2 : 0;
}

const struct tool_verb *tool_verb_find(int argc, char **argv, int *words_out)
{
	const struct tool_verb *found = NULL;

	*words_out = 0;
	for (size_t i = 0; tool_verbs[i] != NULL; i++) {
		int words = match(tool_verbs[i]->name, argc, argv);

		if (words > *words_out) {
			*words_out = words;
			found = tool_verbs[i];
		}
	}
	return found;
}

#define DISTANCE_MAX 32

/* Levenshtein distance, for names short enough to type. */
static size_t distance(const char *a, const char *b)
{
	size_t row[DISTANCE_MAX + 1];
	size_t a_length = strlen(a), b_length = strlen(b);

	if (a_length > DISTANCE_MAX || b_length > DISTANCE_MAX)
		return DISTANCE_MAX;
	for (size_t j = 0; j <= b_length; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[b_length];
}

const struct tool_verb *tool_verb_suggest(int argc, char **argv)
{
	const struct tool_verb *best = NULL;
	size_t best_distance = 4; /* Further away is a guess, not a typo. */
	char typed[2 * DISTANCE_MAX + 2];

	if (argc < 1)
		return NULL;
	for (size_t i = 0; tool_verbs[i] != NULL; i++) {
		const struct tool_verb *verb = tool_verbs[i];
		bool two = strchr(verb->name, ' ') != NULL && argc >= 2;
		size_t d;

		snprintf(typed, sizeof(typed), "%s%s%s", argv[0],
			 two ? " " : "", two ? argv[1] : "");
		d = distance(typed, verb->name);
		if (d < best_distance && d < strlen(verb->name)) {
			best_distance = d;
			best = verb;
		}
	}
	return best;
}
